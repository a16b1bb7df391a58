//! Which sockets and flows a ban meets, and entries that nobody's kernel sent.

use proptest::prelude::*;

use super::flows::read;
use super::*;
use crate::enforce::ports::{Ports, Services, protocols};

/// `192.0.2.0/24 25,587 tcp`: who, ports, protocols.
fn victims(bans: &[&str]) -> Victims {
    Victims::new(bans.iter().map(|ban| {
        let [net, ports, names] = ban.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let cover = Cover {
            ports: Ports::parse(ports, &Services::default()).unwrap(),
            protocols: protocols(names).unwrap(),
        };
        Victim {
            net: net.parse().unwrap(),
            cover: Arc::new(cover),
        }
    }))
}

#[test]
fn a_ban_meets_its_addresses_ports_and_protocols() {
    let check = |bans: &[&str], (remote, protocol, port): (&str, u8, u16), expect: bool| {
        let met = victims(bans).strike(remote.parse().unwrap(), protocol, port);
        assert_eq!(met, expect, "{bans:?}: {remote} {protocol} {port}");
    };
    let mail = &["192.0.2.7/32 25,587 tcp"];
    check(mail, ("192.0.2.7", 6, 25), true);
    check(mail, ("::ffff:192.0.2.7", 6, 587), true);
    check(mail, ("192.0.2.7", 6, 143), false);
    check(mail, ("192.0.2.7", 17, 25), false);
    check(mail, ("192.0.2.70", 6, 25), false);
    check(mail, ("2001:db8::7", 6, 25), false);
    let range = &["2001:db8:0:1::/64 8000:8010 tcp,udp", "2001:db8:0:2::9/128 all all"];
    check(range, ("2001:db8:0:1:a::", 17, 8010), true);
    check(range, ("2001:db8:0:1:a::", 17, 8011), false);
    check(range, ("2001:db8:0:2::9", 132, 1), true);
    check(range, ("2001:db8:0:2::8", 132, 1), false);
    // An address in one jail, its network in another: each with its own ports.
    let nested = &[
        "198.51.100.0/24 22 tcp",
        "198.51.100.9/32 25 tcp",
        "198.51.100.9/32 143 tcp",
    ];
    for port in [22, 25, 143] {
        check(nested, ("198.51.100.9", 6, port), true);
    }
    check(nested, ("198.51.100.8", 6, 25), false);
    // A protocol without ports is met where it is named.
    check(&["192.0.2.7/32 25 icmp,tcp"], ("192.0.2.7", 1, 0), true);
    check(&["192.0.2.7/32 25 all"], ("192.0.2.7", 1, 0), false);
    check(&["192.0.2.7/32 25 all"], ("192.0.2.7", 132, 25), true);
    // Whatever a ban says, what the machine says to itself goes on.
    for own in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"] {
        check(&["0.0.0.0/0 all all"], (own, 6, 25), false);
    }
    check(&["::/0 all all"], ("::1", 6, 25), false);
}

#[test]
fn only_what_is_banned_is_asked_for() {
    let check = |bans: &[&str], families: (bool, bool), udp: bool| {
        let victims = victims(bans);
        assert_eq!(victims.families(), families, "{bans:?}");
        assert_eq!(victims.concern(Protocol::Udp), udp, "{bans:?}");
    };
    check(&["192.0.2.7/32 25 tcp"], (true, false), false);
    check(&["2001:db8::/64 25 tcp", "2001:db8::1/128 53 udp"], (false, true), true);
    check(&["192.0.2.7/32 25 tcp", "2001:db8::1/128 all all"], (true, true), true);
}

/// An attribute, its value padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// One direction of an entry of IPv4.
fn direction(kind: u16, source: [u8; 4], target: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    let addresses = [attribute(1, &source), attribute(2, &target)].concat();
    let protocol = [
        attribute(1, &[6]),
        attribute(2, &ports.0.to_be_bytes()),
        attribute(3, &ports.1.to_be_bytes()),
    ]
    .concat();
    attribute(
        kind | 0x8000,
        &[attribute(0x8001, &addresses), attribute(0x8002, &protocol)].concat(),
    )
}

#[test]
fn an_entry_is_named_by_what_the_kernel_said() {
    let (client, router, server) = ([192, 0, 2, 7], [203, 0, 113, 1], [198, 51, 100, 5]);
    let original = direction(1, client, router, (40_000, 25));
    let reply = direction(2, server, client, (2525, 40_000));
    let [status, zone, number] = [
        attribute(3, &[0; 4]),
        attribute(18, &[0, 9]),
        attribute(12, &[1, 2, 3, 4]),
    ];
    let header = [2, 0, 0, 0].as_slice();
    let entry = [header, &original, &reply, &status, &zone, &number].concat();
    let flow = read(&entry, &victims(&["192.0.2.7/32 25 tcp"])).unwrap();
    assert_eq!(flow.order.payload, [header, &original, &zone, &number].concat());
    let landing = flow.landing.unwrap();
    assert_eq!((landing.client, landing.port), ((client.into(), 40_000), 2525));
    // The port behind is not what the client dialled.
    assert!(read(&entry, &victims(&["192.0.2.7/32 2525 tcp"])).is_none());
    assert!(read(&entry, &victims(&["198.51.100.5/32 all all"])).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let everybody = victims(&["0.0.0.0/0 all all", "::/0 all all"]);
        let _ = read(&bytes, &everybody);
        // Behind lengths that are right, so that more of it is reached.
        let entry = [vec![2, 0, 0, 0], attribute(1, &[attribute(1, &bytes), attribute(2, &bytes)].concat())].concat();
        let _ = read(&entry, &everybody);
    }
}

#[test]
fn failures_are_told_when_they_double() {
    let mut end = End::default();
    let told: Vec<usize> = (1..=9)
        .filter(|_| {
            let before = end.failed;
            end.fail(1, "sockets", Errno::BUSY);
            before.leading_zeros() != end.failed.leading_zeros()
        })
        .collect();
    assert_eq!(told, [1, 2, 4, 8]);
    assert_eq!(end.count("sockets", 5, Ok(vec![Errno::BUSY; 2])), 3);
    // What is not there is no failure.
    assert_eq!(end.expect::<()>("tracked flows", Err(Errno::NOENT)), None);
    assert_eq!(end.failed, 11);
}
