use portcullis_core::ledger::OrderKind;
use portcullis_core::time::Seconds;

use super::*;

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn machine() -> Protected {
    Protected::new(
        [ip("198.51.100.10"), ip("2001:db8:1::10")],
        [ip("198.51.100.1"), ip("2001:db8:1::1")],
    )
}

fn check(text: &str, offender: Option<&str>, reach: Reach, expect: &Verdict) {
    assert_eq!(&machine().judge(&id(text), offender.map(ip), reach), expect, "{text}");
}

fn allowed(text: &str, reach: Reach) {
    check(text, None, reach, &Verdict::Allowed(id(text)));
}

fn refused(text: &str, offender: Option<&str>, reach: Reach, reason: &str) {
    check(text, offender, reach, &Verdict::Refused(reason.into()));
}

#[test]
fn the_neighbour_is_banned_and_the_machine_is_not() {
    let reach = Reach::Automatic;
    for text in [
        "192.0.2.7",
        "198.51.100.11",
        "2001:db8:1::11",
        "2001:db8:2::/64",
        "192.0.2.0/24",
    ] {
        allowed(text, reach);
    }
    refused(
        "198.51.100.10",
        None,
        reach,
        "protected: 198.51.100.10 is this machine's own address",
    );
    refused(
        "::ffff:198.51.100.10",
        None,
        reach,
        "protected: 198.51.100.10 is this machine's own address",
    );
    refused("198.51.100.1", None, reach, "protected: 198.51.100.1 is the gateway");
    refused("2001:db8:1::1", None, reach, "protected: 2001:db8:1::1 is the gateway");
    refused("127.8.9.10", None, reach, "protected: 127.0.0.0/8 (loopback)");
    refused(
        "169.254.169.254",
        None,
        reach,
        "protected: 169.254.169.254 is the cloud metadata server",
    );
    refused(
        "35.191.3.4",
        None,
        reach,
        "protected: 35.191.0.0/16 (Google health checks)",
    );
    refused(
        "fd20:ce::254",
        None,
        reach,
        "protected: fd20:ce::254 is the cloud metadata server",
    );
    refused(
        "2600:2d00:1:b029::7",
        None,
        reach,
        "protected: 2600:2d00:1:b029::/64 (Google health checks)",
    );
    refused(
        "2600:1901:8001:2::/64",
        None,
        reach,
        "protected: 2600:1901:8001:2::/64 holds 2600:1901:8001::/48 (Google health checks)",
    );
    refused("fe80::1", None, reach, "protected: fe80::/10 (link-local)");
    refused("224.0.0.1", None, reach, "protected: 224.0.0.0/4 (multicast)");
    refused("some text", None, reach, "not an address");
}

#[test]
fn a_prefix_with_a_protected_address_is_narrowed() {
    let reason = "2001:db8:1::/64 holds 2001:db8:1::10 (this machine's own address)";
    check(
        "2001:db8:1::/64",
        Some("2001:db8:1::666"),
        Reach::Automatic,
        &Verdict::Narrowed(id("2001:db8:1::666"), format!("narrowed to 2001:db8:1::666: {reason}")),
    );
    refused(
        "2001:db8:1::/64",
        None,
        Reach::Automatic,
        &format!("protected: {reason}"),
    );
    // An offender that is elsewhere, or protected itself, is not what the network is narrowed to.
    for offender in ["192.0.2.7", "2001:db8:1::1"] {
        refused(
            "2001:db8:1::/64",
            Some(offender),
            Reach::Automatic,
            &format!("protected: {reason}"),
        );
    }
}

#[test]
fn prefixes_have_ceilings() {
    allowed("192.0.0.0/8", Reach::ByHand);
    allowed("192.0.2.0/24", Reach::Automatic);
    refused(
        "192.0.0.0/23",
        None,
        Reach::Automatic,
        "protected: 192.0.0.0/23 is wider than /24",
    );
    refused(
        "192.0.0.0/7",
        None,
        Reach::ByHand,
        "protected: 192.0.0.0/7 is wider than /8",
    );
    allowed("2001:db8:7::/48", Reach::Automatic);
    refused(
        "2001:db8::/47",
        None,
        Reach::Automatic,
        "protected: 2001:db8::/47 is wider than /48",
    );
    allowed("2a00::/19", Reach::ByHand);
    refused(
        "2a00::/18",
        None,
        Reach::ByHand,
        "protected: 2a00::/18 is wider than /19",
    );
    refused(
        "0.0.0.0/0",
        None,
        Reach::ByHand,
        "protected: 0.0.0.0/0 is wider than /8",
    );
}

#[test]
fn gateways_are_read_from_the_route_lists() {
    let four = "Iface\tDestination\tGateway\tFlags\tRefCnt\n\
        eth0\t00000000\t016433C6\t0003\t0\neth0\t006433C6\t00000000\t0001\t0\njunk\n";
    assert_eq!(gateways4(four), BTreeSet::from([ip("198.51.100.1")]));
    let six = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
        20010db8000100000000000000000001 00000400 00000001 00000000 00000003 eth0\n\
        20010db8000100000000000000000000 40 00000000000000000000000000000000 00 \
        00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0\n\n";
    assert_eq!(gateways6(six), BTreeSet::from([ip("2001:db8:1::1")]));
    assert!(
        Protected::gather()
            .unwrap()
            .reason(&"127.0.0.1/32".parse().unwrap())
            .is_some()
    );
}

/// Remembers what it was told.
#[derive(Default)]
struct Memory {
    held: BTreeSet<(LayerId, Id)>,
}

impl Layer for Memory {
    fn apply(&mut self, _now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        for change in changes {
            match &change.order {
                Order::Ban(t) | Order::Prolong(t) => drop(self.held.insert((change.layer.clone(), t.id.clone()))),
                Order::Unban(t) => drop(self.held.remove(&(change.layer.clone(), t.id.clone()))),
                _ => {}
            }
        }
        changes.iter().map(|c| answer(c, Ok(Standing::Applied))).collect()
    }

    fn held(&mut self) -> Option<Result<Vec<Held>, Error>> {
        let held = self.held.iter().map(|(layer, id)| Held {
            layer: layer.clone(),
            id: id.clone(),
            remaining: None,
        });
        Some(Ok(held.collect()))
    }
}

fn layer() -> LayerId {
    LayerId {
        jail: "sshd".into(),
        action: "nft".into(),
    }
}

fn ticket(text: &str, offender: Option<&str>) -> Ticket {
    Ticket {
        id: id(text),
        time: Timestamp::from_seconds(0),
        bantime: Seconds::new(600),
        bancount: 1,
        failures: 5,
        matches: Vec::new(),
        data: offender.map(|ip| ("ip", Field::Text(ip.into()))).into_iter().collect(),
        restored: false,
    }
}

fn tell(guard: &mut Guard<Memory>, order: Order) -> Applied {
    let changes = [Change { layer: layer(), order }];
    guard.apply(Timestamp::from_seconds(0), &changes).remove(0)
}

fn ids(held: Option<Result<Vec<Held>, Error>>) -> Vec<String> {
    held.unwrap()
        .unwrap()
        .into_iter()
        .map(|held| held.id.to_string())
        .collect()
}

#[test]
fn the_guard_keeps_protected_addresses_from_the_layer() {
    let mut guard = Guard::new(Memory::default(), machine());
    let applied = tell(&mut guard, Order::Ban(ticket("198.51.100.1", None)));
    assert_eq!(
        applied.result,
        Ok(Standing::Protected("protected: 198.51.100.1 is the gateway".into()))
    );
    assert_eq!((applied.order, applied.id), (OrderKind::Ban, Some(id("198.51.100.1"))));
    let applied = tell(&mut guard, Order::Ban(ticket("192.0.2.7", None)));
    assert_eq!(applied.result, Ok(Standing::Applied));
    assert_eq!(ids(guard.held()), ["192.0.2.7"]);
    guard.oblige(layer(), Spares::Nobody);
    tell(&mut guard, Order::Ban(ticket("198.51.100.1", None)));
    assert_eq!(ids(guard.inner().held()), ["192.0.2.7", "198.51.100.1"]);
}

#[test]
fn the_guard_narrows_and_takes_back_what_it_narrowed() {
    let mut guard = Guard::new(Memory::default(), machine());
    let case = ticket("2001:db8:1::/64", Some("2001:db8:1::666"));
    let applied = tell(&mut guard, Order::Ban(case.clone()));
    assert_eq!(applied.id, Some(id("2001:db8:1::/64")));
    assert!(
        matches!(applied.result, Ok(Standing::Protected(reason)) if reason.starts_with("narrowed to 2001:db8:1::666"))
    );
    assert_eq!(ids(guard.inner().held()), ["2001:db8:1::666"]);
    assert_eq!(ids(guard.held()), ["2001:db8:1::/64"]);
    assert_eq!(tell(&mut guard, Order::Unban(case)).result, Ok(Standing::Applied));
    assert_eq!(ids(guard.held()), Vec::<String>::new());
}

#[test]
fn what_was_narrowed_is_freed_whatever_is_protected_by_then() {
    let mut guard = Guard::new(Memory::default(), machine());
    let ban = |offender| ticket("2001:db8:1::/64", Some(offender));
    tell(&mut guard, Order::Ban(ban("2001:db8:1::666")));
    tell(&mut guard, Order::Prolong(ban("2001:db8:1::777")));
    assert_eq!(guard.inner().held().unwrap().unwrap().len(), 2);
    guard.protect(Protected::new([], []));
    tell(&mut guard, Order::Unban(ban("2001:db8:1::777")));
    assert_eq!(ids(guard.inner().held()), Vec::<String>::new());
}

#[test]
fn what_stands_for_a_network_outlives_an_order_by_hand() {
    let mut guard = Guard::new(Memory::default(), machine());
    let case = ticket("2001:db8:1::/64", Some("2001:db8:1::666"));
    tell(&mut guard, Order::Ban(case.clone()));
    let narrowed = guard.narrowed();
    tell(&mut guard, Order::Unban(case.clone()));
    guard.put_back(narrowed);
    // What is behind the guard comes back by itself.
    let single = with_id(
        &Change {
            layer: layer(),
            order: Order::Ban(case),
        },
        id("2001:db8:1::666"),
    );
    guard.inner().apply(Timestamp::from_seconds(0), &[single]);
    assert_eq!(ids(guard.held()), ["2001:db8:1::/64"]);
}

/// Where the network was counted for its addresses, the one that offended last stands in a field of its own.
#[test]
fn a_ban_by_prefix_is_narrowed_to_its_offender() {
    let mut guard = Guard::new(Memory::default(), machine());
    let mut case = ticket("2001:db8:1::/64", None);
    let offender = Field::Text("2001:db8:1::666".into());
    case.data.insert(Ticket::OFFENDER, offender);
    tell(&mut guard, Order::Ban(case));
    assert_eq!(ids(guard.inner().held()), ["2001:db8:1::666"]);
}

#[test]
fn what_becomes_protected_is_taken_back() {
    let mut guard = Guard::new(Memory::default(), machine());
    guard.oblige(layer(), Spares::Nobody);
    tell(&mut guard, Order::Ban(ticket("198.51.100.1", None)));
    tell(&mut guard, Order::Ban(ticket("2001:db8:1::/64", None)));
    guard.oblige(layer(), Spares::Machine);
    tell(&mut guard, Order::Ban(ticket("198.51.100.1", None)));
    tell(
        &mut guard,
        Order::Prolong(ticket("2001:db8:1::/64", Some("2001:db8:1::666"))),
    );
    assert_eq!(ids(guard.inner().held()), ["2001:db8:1::666"]);
    let applied = tell(&mut guard, Order::Ban(ticket("some text", None)));
    assert_eq!(applied.result, Ok(Standing::Protected("not an address".into())));
}

#[test]
fn who_is_logged_in_is_not_banned_until_they_are_gone() {
    let mut guard = Guard::new(Memory::default(), machine());
    let visitors = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<BTreeSet<IpNet>>();
    let ban = |ip: &str| Change {
        layer: layer(),
        order: Order::Ban(ticket(ip, None)),
    };
    guard.receive(visitors(&["203.0.113.9/32"]));
    assert!(!guard.concerns_visitors(&[ban("203.0.113.9")]));
    tell(&mut guard, Order::Ban(ticket("203.0.113.9", None)));
    assert_eq!(
        ids(guard.held()),
        ["203.0.113.9"],
        "by default they are banned like everybody"
    );
    tell(&mut guard, Order::Unban(ticket("203.0.113.9", None)));

    guard.oblige(layer(), Spares::Visitors);
    assert!(guard.concerns_visitors(&[ban("203.0.113.9")]));
    let applied = tell(&mut guard, Order::Ban(ticket("203.0.113.9", None)));
    let reason = "protected: 203.0.113.9 is the client of an open SSH session";
    assert_eq!(applied.result, Ok(Standing::Protected(reason.into())));
    let net = ticket("203.0.113.0/24", Some("203.0.113.7"));
    tell(&mut guard, Order::Ban(net));
    assert_eq!(ids(guard.inner().held()), ["203.0.113.7"]);
    // What is protected besides is not waited for.
    tell(&mut guard, Order::Ban(ticket("198.51.100.1", None)));
    assert!(guard.is_withholding() && guard.due().is_empty());

    guard.receive(visitors(&[]));
    assert_eq!(guard.due(), [ban("203.0.113.9")]);
    let due = guard.due();
    guard.apply(Timestamp::from_seconds(0), &due);
    assert!(!guard.is_withholding());
    assert_eq!(ids(guard.inner().held()), ["203.0.113.7", "203.0.113.9"]);

    // An unban while they are logged in is the end of it.
    guard.receive(visitors(&["203.0.113.10/32"]));
    tell(&mut guard, Order::Ban(ticket("203.0.113.10", None)));
    tell(&mut guard, Order::Unban(ticket("203.0.113.10", None)));
    assert!(!guard.is_withholding());
    tell(&mut guard, Order::Ban(ticket("203.0.113.10", None)));
    guard.oblige(layer(), Spares::Machine);
    assert!(!guard.is_withholding());
}
