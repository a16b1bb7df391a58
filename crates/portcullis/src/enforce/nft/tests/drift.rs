//! What somebody else does to the table is found, named and put right.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use portcullis_core::ledger::Drift;

use super::*;

/// Waits this long for a message of the kernel that must not come.
const QUIET: Duration = Duration::from_millis(300);

/// The bans of [`three`].
const BANS: [&str; 3] = ["192.0.2.2", "192.0.2.0/25", "2001:db8::2"];

/// A layer with three bans, looked at once.
fn three(world: &World) -> Nft {
    let mut nft = started(world);
    tell_all(&mut nft, &BANS);
    assert_eq!(drift(&mut nft), None);
    nft
}

fn tell_all(nft: &mut Nft, ids: &[&str]) {
    let applied = nft.apply(NOW, &orders("sshd", ids.iter().map(|id| Order::Ban(hour(id)))));
    assert!(
        applied.iter().all(|fact| fact.result == Ok(Standing::Applied)),
        "{applied:?}"
    );
}

fn readings(nft: &mut Nft) -> Vec<Reading> {
    nft.mend(NOW).unwrap().unwrap()
}

/// What a look finds, at a layer alone.
fn drift(nft: &mut Nft) -> Option<Drift> {
    let mut readings = readings(nft);
    assert_eq!(readings.len(), 1, "{readings:?}");
    readings.remove(0).drift
}

/// The number of the first rule of a chain.
fn handle(world: &World, chain: &str) -> String {
    let text = world.nft(&format!("-a list chain inet portcullis {chain}"));
    let (_, number) = text
        .lines()
        .find(|line| line.contains("# handle") && !line.contains("chain"))
        .and_then(|line| line.rsplit_once(' '))
        .unwrap();
    number.to_owned()
}

/// Does this, and expects that it is found (bans past which packets come, what nobody ordered, what was moved), that it
/// is put right, and that nothing is found after it.
fn check(does: &[&str], words: &str, (missing, extra, moved): (usize, usize, usize)) {
    let world = World::new();
    world.echo(2222);
    let mut nft = three(&world);
    for line in does {
        let first = |chain: &str| handle(&world, chain);
        let line = if line.contains("HANDLE") {
            let chain = if line.contains("sshd.nft HANDLE") {
                "sshd.nft"
            } else {
                "prerouting"
            };
            line.replace("HANDLE", &format!("handle {}", first(chain)))
        } else {
            (*line).to_owned()
        };
        world.nft(&line);
    }
    let found = drift(&mut nft).unwrap_or_else(|| panic!("nothing found after {does:?}"));
    assert_eq!(found.what, words, "{does:?}");
    assert_eq!(
        (found.missing, found.extra, found.moved),
        (missing, extra, moved),
        "{does:?}"
    );
    assert!(found.until.is_some_and(|until| until >= found.since), "{does:?}");
    assert_eq!(drift(&mut nft), None, "still wrong after {does:?}");
    assert_eq!(
        held(&mut nft),
        ["sshd 192.0.2.0/25", "sshd 192.0.2.2", "sshd 2001:db8::2"],
        "{does:?}"
    );
    assert!(!world.reaches("192.0.2.2", 2222), "{does:?}");
    assert!(world.reaches("192.0.2.130", 2222), "{does:?}");
}

#[test]
fn the_table() {
    check(&["delete table inet portcullis"], "the table was gone", (3, 0, 0));
    check(&["flush ruleset"], "the table was gone", (3, 0, 0));
    check(
        &["add table inet portcullis { flags dormant ; }"],
        "the table was dormant",
        (3, 0, 0),
    );
}

#[test]
fn the_base_chain() {
    check(
        &["add chain inet portcullis prerouting { policy drop ; }"],
        "chain prerouting had another policy",
        (0, 0, 0),
    );
    check(
        &[
            "flush chain inet portcullis prerouting",
            "delete chain inet portcullis prerouting",
        ],
        "chain prerouting was gone",
        (3, 0, 0),
    );
    check(
        &[
            "flush chain inet portcullis prerouting",
            "delete chain inet portcullis prerouting",
            "add chain inet portcullis prerouting { type filter hook input priority 7 ; }",
            "add rule inet portcullis prerouting accept",
        ],
        "chain prerouting had another type, hook or priority, a rule of chain prerouting was gone",
        (3, 0, 0),
    );
}

#[test]
fn foreign_rules_before_ours() {
    check(
        &["insert rule inet portcullis prerouting accept"],
        "a foreign rule stood before ours in chain prerouting",
        (3, 0, 0),
    );
    check(
        &["insert rule inet portcullis sshd.nft ip saddr 192.0.2.2 return"],
        "a foreign rule stood before ours in chain sshd.nft",
        (3, 0, 0),
    );
    // An expression that nobody here knows is a rule all the same.
    check(
        &["insert rule inet portcullis prerouting fib saddr type local counter accept"],
        "a foreign rule stood before ours in chain prerouting",
        (3, 0, 0),
    );
}

#[test]
fn foreign_rules_behind_ours_stay() {
    let world = World::new();
    let mut nft = three(&world);
    world.nft("insert rule inet portcullis prerouting tcp dport 1 accept");
    world.nft("add rule inet portcullis prerouting tcp dport 2 accept");
    assert!(drift(&mut nft).is_some());
    assert_eq!(drift(&mut nft), None);
    tell(&mut nft, "sshd", Order::Reload);
    assert_eq!(drift(&mut nft), None);
    let chain = world.nft("list chain inet portcullis prerouting");
    let at = |text: &str| chain.find(text).unwrap_or_else(|| panic!("no {text} in {chain}"));
    assert!(
        at("jump") < at("dport 1 ") && at("dport 1 ") < at("dport 2 "),
        "{chain}"
    );
}

#[test]
fn rules_of_ours() {
    check(
        &["flush chain inet portcullis prerouting"],
        "a rule of chain prerouting was gone",
        (3, 0, 0),
    );
    check(
        &["replace rule inet portcullis prerouting HANDLE tcp dport 23 jump sshd.nft"],
        "a rule of chain prerouting was altered",
        (3, 0, 0),
    );
    check(
        &["add rule inet portcullis prerouting jump sshd.nft"],
        "a rule of chain prerouting was altered",
        (3, 0, 0),
    );
    check(
        &["delete rule inet portcullis sshd.nft HANDLE"],
        "a rule of chain sshd.nft was gone",
        (3, 0, 0),
    );
    check(
        &["replace rule inet portcullis sshd.nft HANDLE ip saddr @sshd.nft.ip4 accept"],
        "a rule of chain sshd.nft was altered",
        (3, 0, 0),
    );
    check(
        &[
            "flush chain inet portcullis prerouting",
            "flush chain inet portcullis sshd.nft",
            "delete chain inet portcullis sshd.nft",
        ],
        "a rule of chain prerouting was gone, chain sshd.nft was gone",
        (3, 0, 0),
    );
}

#[test]
fn sets_of_ours() {
    check(
        &[
            "flush chain inet portcullis sshd.nft",
            "delete set inet portcullis sshd.nft.ip4",
        ],
        "a rule of chain sshd.nft was gone, set sshd.nft.ip4 was gone, element 192.0.2.2 was missing",
        (3, 0, 0),
    );
    check(
        &[
            "flush chain inet portcullis sshd.nft",
            "delete set inet portcullis sshd.nft.ip4",
            "add set inet portcullis sshd.nft.ip4 { type ipv4_addr ; flags timeout ; size 2 ; }",
            "add element inet portcullis sshd.nft.ip4 { 198.51.100.7 timeout 1h }",
        ],
        "a rule of chain sshd.nft was gone, set sshd.nft.ip4 had another shape, element 192.0.2.2 was missing, \
         element 198.51.100.7 was there that nobody ordered",
        (3, 1, 0),
    );
}

#[test]
fn elements() {
    check(
        &["delete element inet portcullis sshd.nft.ip4 { 192.0.2.2 }"],
        "element 192.0.2.2 was missing",
        (1, 0, 0),
    );
    check(
        &["add element inet portcullis sshd.nft.ip4 { 198.51.100.7, 198.51.100.8 timeout 1h }"],
        "2 elements were there that nobody ordered",
        (0, 2, 0),
    );
    check(
        &[
            "delete element inet portcullis sshd.nft.ip6 { 2001:db8::2 }",
            "add element inet portcullis sshd.nft.ip6 { 2001:db8::2 timeout 20s }",
        ],
        "element 2001:db8::2 was to end at another time",
        (0, 0, 1),
    );
    check(
        &["flush set inet portcullis sshd.nft.net4-25"],
        "element 192.0.2.0/25 was missing",
        (1, 0, 0),
    );
}

#[test]
fn a_ruleset_that_was_saved_and_loaded_again() {
    let world = World::new();
    let mut nft = three(&world);
    let text = world.nft("list ruleset");
    let file = std::env::temp_dir().join(format!("{}.nft", world.server));
    std::fs::write(&file, format!("flush ruleset\n{text}")).unwrap();
    world.nft(&format!("-f {}", file.display()));
    std::fs::remove_file(&file).unwrap();
    assert!(drift(&mut nft).unwrap().until.is_some());
    assert_eq!(drift(&mut nft), None);
    assert_eq!(held(&mut nft).len(), 3);
}

#[test]
fn other_layers_and_tables_are_left_alone() {
    let world = World::new();
    let mut nft = three(&world);
    nft.configure(layer("mail", "nft"), scope("25", "tcp", Blocktype::Drop));
    tell(&mut nft, "mail", Order::Ban(hour("192.0.2.9")));
    world.nft("add table inet docker");
    world.nft("add chain inet docker input { type filter hook input priority -500 ; }");
    world.nft("add rule inet docker input accept");
    assert_eq!(
        readings(&mut nft)
            .iter()
            .filter(|reading| reading.drift.is_some())
            .count(),
        0
    );
    world.nft("delete element inet portcullis mail.nft.ip4 { 192.0.2.9 }");
    let found = readings(&mut nft);
    let drifted: Vec<&str> = found
        .iter()
        .filter(|reading| reading.drift.is_some())
        .map(|reading| &*reading.layer.jail)
        .collect();
    assert_eq!(drifted, ["mail"]);
    assert_eq!(held(&mut nft).len(), 4);
    assert!(world.nft("list chain inet docker input").contains("accept"));
}

/// A layer that listens, and what wakes for it.
fn listening(world: &World) -> (Nft, Receiver<()>) {
    let mut nft = three(world);
    let (wake, woken) = channel();
    let wake = std::sync::Mutex::new(wake);
    world
        .at_server(|| nft.listen(Arc::new(move || wake.lock().unwrap().send(()).unwrap_or_default())))
        .unwrap();
    (nft, woken)
}

#[test]
fn what_others_do_is_noticed_at_once() {
    let world = World::new();
    let (mut nft, woken) = listening(&world);
    for (line, is_ours) in [
        ("delete element inet portcullis sshd.nft.ip4 { 192.0.2.2 }", true),
        ("add table inet other", false),
        ("add table ip portcullis", false),
        ("insert rule inet portcullis prerouting accept", true),
        ("flush ruleset", true),
    ] {
        let begun = Instant::now();
        world.nft(line);
        if !is_ours {
            assert!(woken.recv_timeout(QUIET).is_err(), "{line}");
            continue;
        }
        woken
            .recv_timeout(Duration::from_secs(1))
            .unwrap_or_else(|_| panic!("not noticed: {line}"));
        println!("noticed {line} after {:?}", begun.elapsed());
        let found = drift(&mut nft).unwrap();
        assert!(found.by.as_ref().unwrap().starts_with("nft (pid "), "{found:?}");
        let exposed = (found.until.unwrap() - found.since).as_f64();
        assert!(exposed > 0.0 && exposed < 2.0, "{found:?}");
        // Putting it right wakes nobody.
        assert!(woken.recv_timeout(QUIET).is_err(), "own repair of {line}");
    }
}

#[test]
fn what_we_do_ourselves_wakes_nobody() {
    let world = World::new();
    let (mut nft, woken) = listening(&world);
    let many = (0..3000_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string());
    nft.apply(NOW, &orders("sshd", many.map(|id| Order::Ban(hour(&id)))));
    tell(&mut nft, "sshd", Order::Unban(hour("10.0.0.1")));
    tell(&mut nft, "sshd", Order::Reload);
    assert!(woken.recv_timeout(QUIET).is_err());
    assert_eq!(drift(&mut nft), None);
    // The ear is open again.
    world.nft("flush set inet portcullis sshd.nft.ip4");
    woken.recv_timeout(Duration::from_secs(1)).unwrap();
    assert_eq!(drift(&mut nft).unwrap().missing, 3000);
}

#[test]
fn what_is_there_is_adopted_without_a_word() {
    let world = World::new();
    let mut nft = three(&world);
    let many: Vec<String> = (0..3000_u32)
        .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string())
        .collect();
    let bans = || orders("sshd", many.iter().map(|id| Order::Ban(hour(id))));
    nft.apply(NOW, &bans());
    drop(nft);
    let mut nft = started(&world);
    let sent = nft.sent;
    assert!(
        nft.apply(NOW, &bans())
            .iter()
            .all(|fact| fact.result == Ok(Standing::Applied))
    );
    assert_eq!(nft.sent, sent, "nothing had to be written");
    // One has another end in the ledger.
    tell(&mut nft, "sshd", Order::Ban(ticket("10.0.0.7", Seconds::new(7200))));
    assert_eq!(nft.sent, sent + 1);
    // What nobody ordered stays until the start is over, and goes then.
    assert_eq!(drift(&mut nft), None);
    assert_eq!(held(&mut nft).len(), 3003);
    tell_all(&mut nft, &["192.0.2.2"]);
    nft.complete();
    assert!(nft.is_suspect());
    assert_eq!(drift(&mut nft), None, "a leftover is no drift");
    assert_eq!(held(&mut nft).len(), 3001);
    assert!(!nft.is_suspect());
    assert_eq!(drift(&mut nft), None);
}

#[test]
fn what_is_known_to_be_there_is_not_written_again() {
    let world = World::new();
    let mut nft = three(&world);
    let sent = nft.sent;
    tell_all(&mut nft, &BANS);
    tell(&mut nft, "sshd", Order::Unban(hour("198.51.100.1")));
    assert_eq!(nft.sent, sent);
    tell(&mut nft, "sshd", Order::Again(hour("192.0.2.2")));
    assert_eq!(nft.sent, sent + 1, "who offends again is written again");
    // Whatever became of it, a ban that is written to what is gone brings everything back, and says so.
    world.nft("flush ruleset");
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.77")));
    assert!(nft.is_suspect());
    let found = readings(&mut nft);
    let what: Vec<String> = found.into_iter().filter_map(|one| Some(one.drift?.what)).collect();
    assert_eq!(what, ["the table was gone"]);
    assert_eq!(held(&mut nft).len(), 4);
}

#[test]
fn fifty_thousand_come_back() {
    let world = World::new();
    let mut nft = started(&world);
    // The kernel's clock goes on while so many are written, and ends that differ by seconds are a drift. On a busy
    // machine that takes seconds, so that the layer is told what time it is.
    let start = Instant::now();
    let now = || NOW + Seconds::from_micros(i64::try_from(start.elapsed().as_micros()).unwrap());
    let look = |nft: &mut Nft| nft.mend(now()).unwrap().unwrap().remove(0).drift;
    let ban = |n: u32| Order::Ban(hour(&std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string()));
    nft.apply(now(), &orders("sshd", (0..50_000).map(ban)));
    world.nft("flush ruleset");
    let begun = Instant::now();
    let found = look(&mut nft).unwrap();
    println!("50,000 put back in {:?}", begun.elapsed());
    assert_eq!((found.missing, found.what.as_str()), (50_000, "the table was gone"));
    assert!(found.until.is_some());
    let begun = Instant::now();
    assert_eq!(look(&mut nft), None);
    println!("50,000 compared in {:?}", begun.elapsed());
}

#[test]
fn bans_that_are_over_are_not_missed() {
    let world = World::new();
    let mut nft = three(&world);
    tell(&mut nft, "sshd", Order::Ban(ticket("192.0.2.9", Seconds::new(2))));
    world.nft("delete element inet portcullis sshd.nft.ip4 { 192.0.2.9 }");
    let later = NOW + Seconds::new(3);
    let found = nft.mend(later).unwrap().unwrap();
    assert!(found[0].drift.is_none(), "{found:?}");
}

#[test]
fn a_foreign_table_of_our_name_is_refused_and_left_as_it_is() {
    let world = World::new();
    world.nft("add table inet portcullis");
    world.nft("add chain inet portcullis mine { type filter hook input priority 0 ; }");
    world.nft("add rule inet portcullis mine tcp dport 1 accept");
    let before = world.nft("list ruleset");
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    nft.configure(layer("sshd", "nft"), scope("2222", "tcp", Blocktype::Drop));
    let ways = [Order::Start, Order::Ban(hour("192.0.2.2"))];
    for applied in nft.apply(NOW, &orders("sshd", ways)) {
        let error = applied.result.unwrap_err();
        assert!(error.contains("`nft list table inet portcullis`"), "{error}");
    }
    tell(&mut nft, "sshd", Order::Flush);
    tell(&mut nft, "sshd", Order::Stop);
    nft.remove_orphans(&BTreeSet::new()).unwrap();
    assert!(world.at_server(|| flush_everything(TABLE)).is_err());
    assert_eq!(world.nft("list ruleset"), before);
    // It goes away, and all is well; another one comes in place of ours, and is told.
    world.nft("flush ruleset");
    let mut nft = three(&world);
    world.nft("flush ruleset");
    world.nft("add table inet portcullis");
    world.nft("add set inet portcullis mine { type ipv4_addr ; }");
    let found = drift(&mut nft).unwrap();
    assert!(found.what.contains("another program"), "{found:?}");
    assert_eq!((found.missing, found.until), (3, None));
    world.nft("flush ruleset");
    assert!(drift(&mut nft).unwrap().until.is_some());
    assert_eq!(held(&mut nft).len(), 3);
}

#[test]
fn a_table_that_another_program_owns_is_refused() {
    let world = World::new();
    let mut other = world.at_server(Socket::open).unwrap();
    let [mut make, _] = rules::create_base(TABLE);
    // The second attribute is the flags, the last four bytes of it; "owner" is 2.
    let flags = [&8_u16.to_ne_bytes()[..], &2_u16.to_ne_bytes(), &[0; 4]].concat();
    let at = make.body.windows(8).position(|bytes| bytes == flags).unwrap();
    make.body[at + 7] = 2;
    other.transact(&[make]).unwrap();
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    nft.configure(layer("sshd", "nft"), scope("2222", "tcp", Blocktype::Drop));
    let applied = nft.apply(NOW, &orders("sshd", [Order::Start]));
    assert!(
        applied[0]
            .result
            .as_ref()
            .is_err_and(|error| error.contains("another program"))
    );
    // It goes with the program.
    drop(other);
    tell(&mut nft, "sshd", Order::Start);
}

#[test]
fn a_rule_of_the_admin_makes_our_table_no_foreign_one() {
    let world = World::new();
    let mut nft = three(&world);
    world.nft("add chain inet portcullis extra");
    world.nft("add rule inet portcullis extra counter accept");
    assert_eq!(drift(&mut nft), None);
    drop(nft);
    let mut nft = started(&world);
    assert_eq!(held(&mut nft).len(), 3);
}

#[test]
fn a_set_with_a_limit_is_made_again_without_it() {
    let world = World::new();
    let mut nft = three(&world);
    for line in [
        "flush chain inet portcullis sshd.nft",
        "delete set inet portcullis sshd.nft.ip4",
        "add set inet portcullis sshd.nft.ip4 { type ipv4_addr ; flags timeout ; size 1 ; }",
        "add element inet portcullis sshd.nft.ip4 { 192.0.2.2 timeout 1h }",
    ] {
        world.nft(line);
    }
    // The next ban finds it full.
    tell(&mut nft, "sshd", Order::Ban(hour("192.0.2.9")));
    let what: Vec<String> = readings(&mut nft)
        .into_iter()
        .filter_map(|one| Some(one.drift?.what))
        .collect();
    assert_eq!(what.len(), 1);
    assert!(what[0].contains("set sshd.nft.ip4 had another shape"), "{what:?}");
    assert_eq!(held(&mut nft).len(), 4);
    assert!(!world.nft("list set inet portcullis sshd.nft.ip4").contains("size"));
}

#[test]
fn what_is_taken_away_by_hand_comes_back() {
    let world = World::new();
    let mut nft = three(&world);
    for order in [Order::Flush, Order::Stop, Order::Unban(hour("192.0.2.2"))] {
        let change = orders("sshd", [order]).remove(0);
        let kept = nft.keep(&change);
        assert_eq!(nft.apply(NOW, &[change])[0].result, Ok(Standing::Applied));
        nft.put_back(kept);
        assert!(nft.is_suspect());
        let found = drift(&mut nft).unwrap();
        assert!(found.until.is_some());
        assert_eq!(found.by.as_deref(), Some("a command"));
        assert_eq!(held(&mut nft).len(), 3);
    }
}

#[test]
fn who_was_freed_while_nothing_could_be_written_stays_free() {
    for order in [Order::Unban(hour("192.0.2.2")), Order::Flush] {
        let world = World::new();
        let mut nft = three(&world);
        world.nft("flush ruleset");
        world.nft("add table inet portcullis");
        world.nft("add set inet portcullis mine { type ipv4_addr ; }");
        nft.apply(NOW, &orders("sshd", [order]));
        world.nft("flush ruleset");
        let last = readings(&mut nft).pop().and_then(|reading| reading.drift);
        assert!(last.is_some_and(|drift| drift.until.is_some()));
        assert!(!held(&mut nft).contains(&"sshd 192.0.2.2".to_owned()));
    }
}

#[test]
fn a_layer_that_cannot_be_removed_goes_later() {
    let world = World::new();
    let mut nft = three(&world);
    nft.configure(layer("web", "nft"), scope("80", "tcp", Blocktype::Drop));
    tell(&mut nft, "web", Order::Start);
    world.nft("add chain inet portcullis mine");
    world.nft("add rule inet portcullis mine ip saddr @sshd.nft.ip4 drop");
    let stopped = nft.apply(NOW, &orders("sshd", [Order::Stop]));
    assert!(stopped[0].result.is_err(), "{stopped:?}");
    world.nft("delete chain inet portcullis mine");
    assert_eq!(drift(&mut nft), None);
    assert!(!world.nft("list ruleset").contains("sshd"));
}

#[test]
fn single_bans_are_read_back_by_themselves() {
    let world = World::new();
    let mut nft = three(&world);
    let ask = |ids: &[&str]| -> Vec<(LayerId, Id)> {
        let pair = |id: &&str| (layer("sshd", "nft"), Id::parse(id).unwrap());
        ids.iter().map(pair).collect()
    };
    assert_eq!(nft.holds(&ask(&BANS)).unwrap().unwrap(), [true; 3]);
    assert!(!nft.is_suspect());
    world.nft("delete element inet portcullis sshd.nft.ip4 { 192.0.2.2 }");
    assert_eq!(nft.holds(&ask(&BANS)).unwrap().unwrap(), [false, true, true]);
    assert!(nft.is_suspect());
}
