//! The layer against the real kernel, with real packets, in namespaces of the tests' own.

mod drift;
mod kill;
mod load;
mod world;

use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::ledger::{Data, OrderKind, Ticket};
use portcullis_core::time::Seconds;
use rustix::thread::CapabilitySet;

use self::world::{PATIENCE, World, is_alive};
use super::wish::BACKSTOP;
use super::*;
use crate::enforce::ports::{Services, protocols};

const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

fn layer(jail: &str, action: &str) -> LayerId {
    LayerId {
        jail: jail.into(),
        action: action.into(),
    }
}

fn scope(ports: &str, protocol: &str, blocktype: Blocktype) -> Scope {
    Scope {
        ports: Ports::parse(ports, &Services::default()).unwrap(),
        protocols: protocols(protocol).unwrap(),
        blocktype,
        kill_sessions: false,
    }
}

fn ticket(id: &str, bantime: Seconds) -> Ticket {
    Ticket {
        id: Id::parse(id).unwrap(),
        time: NOW,
        bantime,
        bancount: 1,
        failures: 5,
        matches: Vec::new(),
        data: Data::default(),
        restored: false,
    }
}

fn hour(id: &str) -> Ticket {
    ticket(id, Seconds::new(3600))
}

/// A layer with one started scope, `sshd`/`nft`, TCP port 2222.
fn started(world: &World) -> Nft {
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    nft.configure(layer("sshd", "nft"), scope("2222", "tcp", Blocktype::Drop));
    tell(&mut nft, "sshd", Order::Start);
    nft
}

fn orders(jail: &str, orders: impl IntoIterator<Item = Order>) -> Vec<Change> {
    let layer = layer(jail, "nft");
    let change = |order| Change {
        layer: layer.clone(),
        order,
    };
    orders.into_iter().map(change).collect()
}

/// One change, which must succeed.
fn tell(nft: &mut Nft, jail: &str, order: Order) {
    for applied in nft.apply(NOW, &orders(jail, [order])) {
        assert_eq!(applied.result, Ok(Standing::Applied));
    }
}

/// What is held, as text, in order.
fn held(nft: &mut Nft) -> Vec<String> {
    let mut out: Vec<String> = nft
        .held()
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|held| format!("{} {}", held.layer.jail, held.id))
        .collect();
    out.sort();
    out
}

fn ban_holds_and_unban_frees(banned: &str, other: &str) {
    let world = World::new();
    world.echo(2222);
    world.echo(8080);
    let mut nft = started(&world);
    let mut open = world.dial(banned, 2222).unwrap();
    assert!(is_alive(&mut open), "before the ban");
    tell(&mut nft, "sshd", Order::Ban(hour(banned)));
    assert!(!world.reaches(banned, 2222), "a new connection after the ban");
    assert!(!is_alive(&mut open), "the established connection after the ban");
    assert!(world.reaches(other, 2222), "another address");
    assert!(world.reaches(banned, 8080), "another port");
    tell(&mut nft, "sshd", Order::Unban(hour(banned)));
    assert!(world.reaches(banned, 2222), "after the unban");
}

#[test]
fn a_ban_stops_packets_of_ipv4() {
    ban_holds_and_unban_frees("192.0.2.2", "192.0.2.3");
}

#[test]
fn a_ban_stops_packets_of_ipv6() {
    ban_holds_and_unban_frees("2001:db8::2", "2001:db8::3");
}

#[test]
fn every_port_and_protocol_of_the_pseudo_jail_manual() {
    let world = World::new();
    world.echo(2222);
    world.echo(8080);
    let mut nft = started(&world);
    nft.configure(layer("manual", "nft"), scope("all", "all", Blocktype::Drop));
    tell(&mut nft, "manual", Order::Ban(hour("192.0.2.2")));
    assert!(!world.reaches("192.0.2.2", 2222));
    assert!(!world.reaches("192.0.2.2", 8080));
    assert!(world.reaches("192.0.2.3", 8080));
}

#[test]
fn networks_are_banned_and_may_lie_in_one_another() {
    let world = World::new();
    world.echo(2222);
    let mut nft = started(&world);
    for id in [
        "192.0.2.0/25",
        "192.0.2.2",
        "192.0.2.0/24",
        "2001:db8:0:1::/64",
        "2001:db8:0:1::/48",
    ] {
        tell(&mut nft, "sshd", Order::Ban(hour(id)));
    }
    assert_eq!(
        held(&mut nft),
        [
            "sshd 192.0.2.0/24",
            "sshd 192.0.2.0/25",
            "sshd 192.0.2.2",
            "sshd 2001:db8:0:1::/64",
            "sshd 2001:db8::/48",
        ]
    );
    assert!(!world.reaches("192.0.2.130", 2222), "in the /24");
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.0/24")));
    assert!(world.reaches("192.0.2.130", 2222), "no longer in any network");
    assert!(!world.reaches("192.0.2.3", 2222), "still in the /25");
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.0/25")));
    assert!(world.reaches("192.0.2.3", 2222), "freed with the /25");
    assert!(!world.reaches("192.0.2.2", 2222), "banned by itself");
    tell(&mut nft, "sshd", Order::Unban(hour("2001:db8::/48")));
    assert!(!world.reaches("2001:db8:0:1::9", 2222), "in the /64");
    assert!(world.reaches("2001:db8::2", 2222), "not in the /64");
}

#[test]
fn blocktypes() {
    assert_eq!("DROP".parse(), Ok(Blocktype::Drop));
    assert_eq!(" reject ".parse(), Ok(Blocktype::Reject));
    assert_eq!("accept".parse::<Blocktype>(), Err(BadBlocktype("accept".into())));
}

#[test]
fn reject_is_answered() {
    let world = World::new();
    world.echo(2222);
    let mut nft = started(&world);
    nft.configure(layer("sshd", "nft"), scope("2222", "tcp", Blocktype::Reject));
    tell(&mut nft, "sshd", Order::Reload);
    for address in ["192.0.2.2", "2001:db8::2"] {
        tell(&mut nft, "sshd", Order::Ban(hour(address)));
        // The kernel's first ICMPv6 answer gets lost on a fresh link; the one to the second attempt comes through.
        let refusal = world.dial_for(PATIENCE * 8, address, 2222).unwrap_err();
        assert_eq!(refusal, Errno::CONNREFUSED);
    }
}

#[test]
fn the_kernel_ends_bans_by_itself_and_prolonging_moves_the_end() {
    let world = World::new();
    world.echo(2222);
    let mut nft = started(&world);
    let short = |id| Order::Ban(ticket(id, Seconds::new(4)));
    nft.apply(
        NOW,
        &orders(
            "sshd",
            ["192.0.2.2", "192.0.2.3", "192.0.2.130", "2001:db8::3"].map(short),
        ),
    );
    tell(&mut nft, "sshd", Order::Prolong(hour("192.0.2.3")));
    tell(
        &mut nft,
        "sshd",
        Order::Prolong(ticket("192.0.2.130", Seconds::FOREVER)),
    );
    // A ban for ever that gets an end, and a second ban of the same address in place of the first.
    tell(&mut nft, "sshd", Order::Ban(ticket("2001:db8::2", Seconds::FOREVER)));
    tell(&mut nft, "sshd", Order::Ban(ticket("2001:db8::2", Seconds::new(4))));
    assert!(!world.reaches("192.0.2.2", 2222));
    assert!(!world.reaches("2001:db8::2", 2222));
    // Nobody unbans them, so the kernel does, later than their end by its slack.
    let slack = u64::try_from(BACKSTOP.whole()).unwrap();
    std::thread::sleep(Duration::from_millis(4200));
    assert!(!world.reaches("192.0.2.2", 2222));
    std::thread::sleep(Duration::from_secs(slack));
    assert!(world.reaches("192.0.2.2", 2222));
    assert!(world.reaches("2001:db8::2", 2222));
    assert!(world.reaches("2001:db8::3", 2222));
    assert!(!world.reaches("192.0.2.3", 2222));
    assert!(!world.reaches("192.0.2.130", 2222));
    let held: BTreeMap<String, Option<i64>> = nft
        .held()
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|held| (held.id.to_string(), held.remaining.map(Seconds::whole)))
        .collect();
    assert_eq!(held.len(), 2);
    assert_eq!(held["192.0.2.130"], None);
    assert!((3570..3600).contains(&held["192.0.2.3"].unwrap()), "{held:?}");
    // What the kernel ended by itself may still be unbanned.
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.2")));
}

#[test]
fn the_remaining_time_is_counted_from_the_steady_clock() {
    let world = World::new();
    let mut nft = started(&world);
    let later = NOW + Seconds::new(3000);
    let ancient = Seconds::new(1000 * 31_557_600);
    let bans = [
        hour("192.0.2.2"),
        ticket("192.0.2.3", Seconds::new(10)),
        ticket("192.0.2.4", ancient),
    ];
    for applied in nft.apply(later, &orders("sshd", bans.map(Order::Ban))) {
        assert_eq!(applied.result, Ok(Standing::Applied));
    }
    for held in nft.held().unwrap().unwrap() {
        match (held.id.to_string().as_str(), held.remaining.map(Seconds::whole)) {
            ("192.0.2.2", Some(590..=600)) | ("192.0.2.3", Some(0..=1)) | ("192.0.2.4", None) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_new_run_adopts_what_the_old_one_left() {
    let world = World::new();
    world.echo(2222);
    world.echo(8080);
    let mut nft = started(&world);
    for id in ["192.0.2.2", "2001:db8:0:1::/64"] {
        tell(&mut nft, "sshd", Order::Ban(hour(id)));
    }
    drop(nft);
    assert!(!world.reaches("192.0.2.2", 2222), "while nobody runs");
    let mut nft = started(&world);
    assert_eq!(held(&mut nft), ["sshd 192.0.2.2", "sshd 2001:db8:0:1::/64"]);
    assert!(!world.reaches("2001:db8:0:1::9", 2222));
    tell(&mut nft, "sshd", Order::Start);
    nft.configure(
        layer("sshd", "nft"),
        scope("8080,9000:9010", "tcp,udp", Blocktype::Drop),
    );
    tell(&mut nft, "sshd", Order::Reload);
    assert!(world.reaches("192.0.2.2", 2222), "the old port is free");
    assert!(!world.reaches("192.0.2.2", 8080), "the new port is not");
    assert_eq!(held(&mut nft), ["sshd 192.0.2.2", "sshd 2001:db8:0:1::/64"]);
    assert_eq!(
        world
            .nft("list chain inet portcullis prerouting")
            .matches("jump")
            .count(),
        1
    );
    // An unban before any start, straight after a restart.
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    nft.configure(layer("sshd", "nft"), scope("8080", "tcp", Blocktype::Drop));
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.2")));
    assert_eq!(held(&mut nft), ["sshd 2001:db8:0:1::/64"]);
}

#[test]
fn no_moment_without_the_bans_while_a_scope_is_started_again() {
    let world = World::new();
    world.echo(2222);
    let mut nft = started(&world);
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.2")));
    std::thread::scope(|threads| {
        let restarts = threads.spawn(move || {
            let end = Instant::now() + PATIENCE * 4;
            let mut count = 0;
            while Instant::now() < end {
                tell(&mut nft, "sshd", Order::Start);
                count += 1;
            }
            count
        });
        while !restarts.is_finished() {
            assert!(!world.reaches("192.0.2.2", 2222));
        }
        assert!(restarts.join().unwrap() > 10);
    });
}

#[test]
fn stop_flush_orphans_and_the_end_of_the_table() {
    let world = World::new();
    let mut nft = started(&world);
    nft.configure(layer("caf\u{e9} \"1\"", "nft"), scope("25", "tcp", Blocktype::Drop));
    tell(&mut nft, "caf\u{e9} \"1\"", Order::Ban(hour("192.0.2.9")));
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.2")));
    tell(&mut nft, "sshd", Order::Ban(hour("198.51.100.0/24")));
    assert_eq!(held(&mut nft).len(), 3);
    tell(&mut nft, "sshd", Order::Flush);
    assert_eq!(held(&mut nft), ["caf\u{e9} \"1\" 192.0.2.9"]);
    drop(nft);
    let mut nft = started(&world);
    let known = BTreeSet::from([layer("sshd", "nft")]);
    assert_eq!(nft.remove_orphans(&known).unwrap(), [layer("caf\u{e9} \"1\"", "nft")]);
    assert_eq!(nft.remove_orphans(&known).unwrap(), []);
    assert!(!world.nft("list table inet portcullis").contains("caf"));
    tell(&mut nft, "sshd", Order::Stop);
    assert_eq!(world.nft("list tables"), "");
    // Orders that come late make nothing anew.
    tell(&mut nft, "sshd", Order::Stop);
    tell(&mut nft, "sshd", Order::Flush);
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.2")));
    assert_eq!(world.nft("list tables"), "");
    assert_eq!(held(&mut nft), Vec::<String>::new());
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.2")));
    assert_eq!(held(&mut nft), ["sshd 192.0.2.2"]);
    assert!(world.at_server(|| flush_everything(TABLE)).unwrap());
    assert!(!world.at_server(|| flush_everything(TABLE)).unwrap());
}

#[test]
fn the_table_reads_as_if_written_by_hand() {
    let world = World::new();
    let mut nft = started(&world);
    let ports = "smtp,ssmtp,submission,8000:8010";
    nft.configure(layer("postfix", "nft"), scope(ports, "tcp,udp", Blocktype::Reject));
    nft.configure(layer("recidive", "nft"), scope("all", "tcp", Blocktype::Drop));
    nft.configure(layer("named", "nft"), scope("domain", "udp,icmp", Blocktype::Drop));
    for jail in ["postfix", "recidive", "named"] {
        tell(&mut nft, jail, Order::Start);
    }
    tell(&mut nft, "sshd", Order::Ban(ticket("192.0.2.7", Seconds::FOREVER)));
    tell(
        &mut nft,
        "sshd",
        Order::Ban(ticket("198.51.100.0/24", Seconds::FOREVER)),
    );
    let text = world.nft("list table inet portcullis");
    println!("{text}");
    for line in [
        "set sshd.nft.ip4 {",
        "comment \"jail sshd, action nft\"",
        "elements = { 192.0.2.7 }",
        "elements = { 198.51.100.0 comment \"198.51.100.0/24\" }",
        "type filter hook prerouting priority raw; policy accept;",
        "tcp dport 2222 jump sshd.nft comment \"jail sshd, action nft\"",
        "meta l4proto { tcp, udp } th dport { 25, 465, 587, 8000-8010 } jump postfix.nft",
        "meta l4proto tcp jump recidive.nft",
        "udp dport 53 jump named.nft",
        "meta l4proto icmp jump named.nft",
        "ip saddr @sshd.nft.ip4 drop",
        "ip6 saddr @sshd.nft.ip6 drop",
        "ip saddr & 255.255.255.0 == @sshd.nft.net4-24 drop",
        "ip saddr @postfix.nft.ip4 reject",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // What nft prints it can read again.
    let file = std::env::temp_dir().join(format!("{}.nft", world.server));
    std::fs::write(&file, &text).unwrap();
    world.nft(&format!("-c -f {}", file.display()));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_somebody_else_emptied_is_set_up_again() {
    let world = World::new();
    world.echo(2222);
    let mut nft = started(&world);
    world.nft("flush ruleset");
    assert_eq!(held(&mut nft), Vec::<String>::new());
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.3")));
    world.nft("flush ruleset");
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.2")));
    assert!(!world.reaches("192.0.2.2", 2222));
    assert_eq!(held(&mut nft), ["sshd 192.0.2.2"]);
    // Elements that no rule looks up are not held.
    world.nft("flush chain inet portcullis prerouting");
    assert!(world.reaches("192.0.2.2", 2222));
    assert_eq!(held(&mut nft), Vec::<String>::new());
    assert!(nft.is_suspect());
    nft.mend(NOW).unwrap().unwrap();
    assert!(!world.reaches("192.0.2.2", 2222));
}

#[test]
fn a_set_of_another_shape_is_made_anew() {
    let world = World::new();
    let mut nft = started(&world);
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.2")));
    let mut survey = nft.survey().unwrap();
    assert!(survey.sets_of(&layer("sshd", "nft"))[&SetKey::ADDRESSES[0]]);
    // The name and the user data of one of ours, but an interval set.
    let mut wrong = sets::create(TABLE, &layer("old", "nft"), SetKey::ADDRESSES[0]).unwrap();
    let flags = |flags: u32| [&8_u16.to_ne_bytes()[..], &3_u16.to_ne_bytes(), &flags.to_be_bytes()].concat();
    let at = wrong.body.windows(8).position(|bytes| bytes == flags(0x10)).unwrap();
    wrong.body[at..at + 8].copy_from_slice(&flags(0x14));
    nft.transact(&[wrong], "test").unwrap();
    survey = nft.survey().unwrap();
    assert!(!survey.sets_of(&layer("old", "nft"))[&SetKey::ADDRESSES[0]]);
    nft.configure(layer("old", "nft"), scope("25", "tcp", Blocktype::Drop));
    tell(&mut nft, "old", Order::Start);
    tell(&mut nft, "old", Order::Ban(hour("192.0.2.2")));
    assert_eq!(held(&mut nft), ["old 192.0.2.2", "sshd 192.0.2.2"]);
}

#[test]
fn one_refused_element_does_not_keep_the_others_out() {
    let world = World::new();
    let mut nft = started(&world);
    let mut pending = Pending::default();
    for n in 0..1200 {
        let id = format!("198.51.{}.{}", n / 200, n % 200 + 1);
        let put = pending.put(NOW, n, &layer("sshd", "nft"), (OrderKind::Ban, &hour(&id)));
        assert_eq!(put, None);
    }
    // The kernel does not count to a thousand years.
    for n in [7, 900] {
        pending.works[n].2.element.end = Some(NOW + Seconds::new(1000 * 31_557_600));
    }
    let mut answers = vec![None; 1200];
    nft.settle(Moment::new(NOW), pending, &mut answers);
    for (n, answer) in answers.into_iter().enumerate() {
        if n == 7 || n == 900 {
            let id = format!("198.51.{}.{}", n / 200, n % 200 + 1);
            let complaint = answer.unwrap().unwrap_err();
            let expect = format!("cannot add element {id} of set sshd.nft.ip4 in table inet portcullis: ");
            assert!(complaint.starts_with(&expect), "{complaint}");
            assert!(complaint.contains("out of range"), "{complaint}");
        } else {
            assert_eq!(answer, Some(Ok(Standing::Applied)), "{n}");
        }
    }
    assert_eq!(held(&mut nft).len(), 1198);
}

#[test]
fn answers_are_one_for_each_change_and_in_order() {
    let world = World::new();
    let mut nft = started(&world);
    let mut changes = orders(
        "sshd",
        [
            Order::Ban(hour("192.0.2.2")),
            Order::Ban(hour("some text")),
            Order::Unban(hour("192.0.2.2")),
            Order::Ban(hour("192.0.2.3")),
            Order::Unban(hour("192.0.2.77")),
        ],
    );
    changes.extend(orders("unknown", [Order::Ban(hour("192.0.2.4")), Order::Start]));
    let answers = nft.apply(NOW, &changes);
    let results: Vec<Result<Standing, String>> = answers.iter().map(|a| a.result.clone()).collect();
    let missing = Err("cannot start action 'nft' of jail 'unknown': its ports were never configured".to_owned());
    let text = Err("'some text' is not an address: nftables cannot hold it".to_owned());
    let fine = Ok(Standing::Applied);
    assert_eq!(
        results,
        [
            fine.clone(),
            text,
            fine.clone(),
            fine.clone(),
            fine,
            missing.clone(),
            missing
        ]
    );
    assert_eq!(
        (answers[3].order, answers[3].id.clone()),
        (OrderKind::Ban, Id::parse("192.0.2.3").ok())
    );
    assert_eq!(held(&mut nft), ["sshd 192.0.2.3"]);
}

#[test]
fn older_kernels_are_served_without_the_newer_verbs() {
    let world = World::new();
    let mut nft = started(&world);
    assert!(nft.can_destroy, "this kernel has them");
    nft.can_destroy = false;
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.2")));
    tell(&mut nft, "sshd", Order::Ban(ticket("192.0.2.2", Seconds::new(60))));
    tell(&mut nft, "sshd", Order::Prolong(hour("192.0.2.2")));
    let remaining = nft.held().unwrap().unwrap()[0].remaining.unwrap().whole();
    assert!((3590..=3600).contains(&remaining), "{remaining}");
    tell(&mut nft, "sshd", Order::Unban(hour("192.0.2.2")));
    assert_eq!(held(&mut nft), Vec::<String>::new());
}

#[test]
fn without_the_right_it_says_so() {
    let world = World::new();
    let error = world.at_server(|| {
        let mut mine = rustix::thread::capabilities(None).unwrap();
        mine.effective.remove(CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, mine).unwrap();
        Nft::open(TABLE).unwrap_err()
    });
    assert!(
        matches!(&error, Error::Unavailable(reason) if reason.contains("CAP_NET_ADMIN")),
        "{error}"
    );
}

#[test]
fn forwarded_ports_are_covered() {
    let world = World::new();
    world.echo(9999);
    let mut nft = started(&world);
    // What a container engine does: the dialled port goes elsewhere before any input chain sees it.
    world.nft("add table ip nat");
    world.nft("add chain ip nat prerouting { type nat hook prerouting priority dstnat ; }");
    world.nft("add rule ip nat prerouting tcp dport 2222 redirect to :9999");
    assert!(world.reaches("192.0.2.2", 2222));
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.2")));
    assert!(!world.reaches("192.0.2.2", 2222), "the dialled port");
    assert!(world.reaches("192.0.2.2", 9999), "the port behind");
    assert!(world.ip("-brief link").contains("s0"));
}

#[test]
fn names_are_readable_and_never_shared() {
    for (jail, action, expect) in [
        ("sshd", "nft", "sshd.nft"),
        ("postfix-sasl", "nft_all", "postfix-sasl.nft_all"),
    ] {
        assert_eq!(sets::scope_name(&layer(jail, action)), expect);
    }
    let odd = [
        ("a.b", "c"),
        ("a", "b.c"),
        ("a_b", "c"),
        ("a b", "c"),
        ("a\tb", "c"),
        ("3proxy", "nft"),
        ("x3proxy", "nft"),
        ("", "nft"),
        ("\u{fc}", "nft"),
        ("\u{f6}", "nft"),
    ];
    let names: BTreeSet<String> = odd
        .iter()
        .map(|(jail, action)| sets::scope_name(&layer(jail, action)))
        .collect();
    assert_eq!(names.len(), odd.len(), "{names:?}");
    let world = World::new();
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    let long = "j".repeat(240);
    for (jail, action) in odd.into_iter().chain([(long.as_str(), "nft")]) {
        nft.configure(layer(jail, action), scope("25", "tcp", Blocktype::Drop));
        let change = Change {
            layer: layer(jail, action),
            order: Order::Ban(hour("192.0.2.2")),
        };
        assert_eq!(nft.apply(NOW, &[change])[0].result, Ok(Standing::Applied), "{jail}");
    }
    let found: BTreeSet<LayerId> = nft
        .held()
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|held| held.layer)
        .collect();
    assert_eq!(found.len(), 11);
    let too_long = layer(&"j".repeat(300), "nft");
    nft.configure(too_long.clone(), scope("25", "tcp", Blocktype::Drop));
    let result = nft.apply(
        NOW,
        &[Change {
            layer: too_long,
            order: Order::Start,
        }],
    )[0]
    .result
    .clone();
    assert!(result.unwrap_err().contains("too long for nftables"));
}
