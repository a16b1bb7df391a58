//! What the logs of this crate promise to those who measure with them.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portcullis_logs::{Kind, Log, Order, Stamps, Writer, Written};

fn order(log: Log) -> Order {
    Order {
        log,
        lines: 20_000,
        share: 100,
        seed: 7,
        stamps: Stamps::Traditional,
        until: 1_768_478_400,
        span: 3600,
        addresses: 20_000,
    }
}

fn write(order: &Order, mut each: impl FnMut(&str, Written)) {
    let mut writer = Writer::new(order.clone()).unwrap();
    let mut line = String::new();
    while let Some(written) = writer.next_line(&mut line) {
        each(&line, written);
    }
}

fn text(order: &Order) -> String {
    let mut text = String::new();
    write(order, |line, _| text.push_str(line));
    text
}

/// The addresses in a line, without the server's own.
fn addresses(line: &str) -> impl Iterator<Item = IpAddr> {
    let is_part = |letter: char| letter.is_ascii_hexdigit() || letter == '.' || letter == ':';
    let own = "192.0.2.25".parse::<IpAddr>().unwrap();
    let words = line.split(move |letter| !is_part(letter));
    words
        .filter_map(|word| word.trim_end_matches([':', '.']).parse().ok())
        .filter(move |address| *address != own)
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for log in [Log::Mail, Log::Auth, Log::Flood, Log::Quiet] {
        let first = Order {
            lines: 3000,
            stamps: Stamps::Mixed,
            ..order(log)
        };
        let other = Order {
            seed: 8,
            ..first.clone()
        };
        assert_eq!(text(&first), text(&first));
        assert_ne!(text(&first), text(&other));
    }
}

/// Bytes that another machine wrote: the sum is that of the lines' bytes, each times its place.
#[test]
fn the_bytes_do_not_depend_on_the_machine() {
    let order = Order {
        lines: 20_000,
        ..order(Log::Mail)
    };
    let sum = text(&order)
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    assert_eq!(sum, SUM);
}

const SUM: u64 = 2158066011452329090;

#[test]
fn shapes_lengths_and_addresses_are_many() {
    for (log, share) in [(Log::Mail, 100), (Log::Auth, 500)] {
        let (mut shapes, mut kinds, mut all) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut shortest, mut longest) = (usize::MAX, 0);
        let order = Order {
            lines: 60_000,
            share,
            ..order(log)
        };
        write(&order, |line, written| {
            shapes.insert(written.shape);
            kinds.insert(format!("{:?}", written.kind));
            all.extend(addresses(line));
            (shortest, longest) = (shortest.min(line.len() - 1), longest.max(line.len() - 1));
        });
        assert!(shapes.len() >= 40, "{log:?}: {} shapes", shapes.len());
        assert!(kinds.contains("Near") && kinds.contains("Hostile"));
        assert!(
            shortest >= 60 && (1700..=2000).contains(&longest),
            "{log:?}: {shortest} to {longest} bytes"
        );
        assert!(all.len() >= 10_000, "{log:?}: {} addresses", all.len());
        let six = all.iter().filter(|address| address.is_ipv6()).count();
        assert!(six * 10 > all.len(), "{log:?}: {six} of {} with IPv6", all.len());
    }
}

#[test]
fn the_share_is_the_one_asked() {
    let check = |log: Log, share: u64, expect: u64| {
        let mut matched = 0;
        let order = Order { share, ..order(log) };
        write(&order, |_, written| matched += u64::from(written.kind.is_matched()));
        assert_eq!(matched, expect, "{log:?} with {share} ‰");
    };
    check(Log::Mail, 100, 2000);
    check(Log::Mail, 0, 0);
    check(Log::Auth, 500, 10_000);
    check(Log::Auth, 1000, 20_000);
    check(Log::Quiet, 500, 0);
}

#[test]
fn every_attacker_of_a_flood_comes_as_often_as_the_others() {
    let mut seen: BTreeMap<IpAddr, u32> = BTreeMap::new();
    let order = Order {
        share: 600,
        addresses: 2400,
        ..order(Log::Flood)
    };
    write(&order, |line, written| {
        if written.kind == Kind::Hostile {
            let found: BTreeSet<IpAddr> = addresses(line).collect();
            assert_eq!(found.len(), 1, "{line}");
            *seen.entry(*found.first().unwrap()).or_default() += 1;
        }
    });
    assert_eq!(seen.len(), 2400);
    assert!(seen.values().all(|count| *count == 5));
}

#[test]
fn stamps_end_where_they_are_asked_to() {
    let check = |stamps: Stamps, first: &str, last: &str| {
        let text = text(&Order {
            lines: 1000,
            stamps,
            ..order(Log::Mail)
        });
        let (start, end) = (text.lines().next().unwrap(), text.lines().last().unwrap());
        assert!(start.starts_with(first) && end.starts_with(last), "{start}\n{end}");
    };
    check(Stamps::Traditional, "Jan 15 11:00:03 ", "Jan 15 12:00:00 ");
    check(
        Stamps::Iso,
        "2026-01-15T11:00:03.600000+00:00 ",
        "2026-01-15T12:00:00.000000+00:00 ",
    );
}
