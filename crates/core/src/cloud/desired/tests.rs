//! The desired state: tables, and what holds whatever is banned.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::*;

mod list;
mod model;
mod names;

fn net(text: &str) -> IpNet {
    entry(text).unwrap_or_else(|| panic!("{text}"))
}

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(net).collect()
}

/// A situation that is kept from one question to the next.
#[derive(Clone, Debug)]
struct Stage {
    bans: Vec<Ban>,
    protected: Vec<(IpNet, String)>,
    max_ranges: usize,
    max_rules: usize,
    allow_private: bool,
    ipv6: Result<(), &'static str>,
    present: BTreeMap<String, Present>,
}

impl Stage {
    fn new(max_ranges: usize, max_rules: usize) -> Stage {
        Stage {
            bans: Vec::new(),
            protected: Vec::new(),
            max_ranges,
            max_rules,
            allow_private: false,
            ipv6: Ok(()),
            present: BTreeMap::new(),
        }
    }

    /// Bans for an hour.
    fn ban(&mut self, ranges: &str) -> &mut Stage {
        for range in nets(ranges) {
            self.bans.push(Ban {
                range,
                until: Some(Timestamp::from_seconds(3_600)),
                bancount: 1,
            });
        }
        self
    }

    fn unban(&mut self, ranges: &str) -> &mut Stage {
        let gone = nets(ranges);
        self.bans.retain(|ban| !gone.contains(&ban.range));
        self
    }

    fn rule(&mut self, name: &str) -> &mut Present {
        self.present.entry(name.to_owned()).or_default()
    }

    fn desired(&self) -> Desired {
        Desired::of(&Situation {
            base: "block-ip",
            bans: &self.bans,
            protected: &self.protected,
            max_ranges: self.max_ranges,
            max_rules: self.max_rules,
            allow_private: self.allow_private,
            ipv6: self.ipv6,
            present: &self.present,
        })
    }

    /// Asks, and makes the answer true.
    fn settle(&mut self) -> Desired {
        let desired = self.desired();
        for share in &desired.shares {
            self.rule(&share.rule).ours = share.ranges.iter().copied().collect();
        }
        desired
    }

    /// Asks, makes the answer true, and compares the rules: `NAME: RANGE…`.
    #[track_caller]
    fn expect(&mut self, rules: &[&str]) -> Desired {
        let desired = self.settle();
        let short = |range: &IpNet| {
            if range.prefix_len() == range.max_prefix_len() {
                range.addr().to_string()
            } else {
                range.to_string()
            }
        };
        let line = |share: &Share| {
            let ranges: Vec<String> = share.ranges.iter().map(short).collect();
            format!("{}: {}", share.rule, ranges.join(" ")).trim().to_owned()
        };
        assert_eq!(desired.shares.iter().map(line).collect::<Vec<_>>(), rules);
        desired
    }
}

#[test]
fn one_rule_for_each_family() {
    let mut stage = Stage::new(5_000, 10);
    stage.expect(&["block-ip:"]);
    stage.ban("198.51.100.9 192.0.2.7 2001:db8:1::/64 192.0.2.0/24 192.0.2.6 192.0.2.7");
    let desired = stage.expect(&[
        "block-ip: 192.0.2.0/24 192.0.2.6 192.0.2.7 198.51.100.9",
        "block-ip-v6: 2001:db8:1::/64",
    ]);
    assert_eq!(
        desired.places.get(&net("2001:db8:1::/64")),
        Some(&Place {
            share: 1,
            range: net("2001:db8:1::/64")
        })
    );
    assert_eq!(desired.places.len(), 5);
    // A rule that is there is named as long as it is there.
    stage.unban("2001:db8:1::/64");
    stage.expect(&[
        "block-ip: 192.0.2.0/24 192.0.2.6 192.0.2.7 198.51.100.9",
        "block-ip-v6:",
    ]);
    stage.ipv6 = Err("no external IPv6 address");
    stage.ban("2001:db8:2::1");
    let desired = stage.expect(&[
        "block-ip: 192.0.2.0/24 192.0.2.6 192.0.2.7 198.51.100.9",
        "block-ip-v6:",
    ]);
    assert_eq!(
        (desired.local, desired.local_because.as_deref()),
        (nets("2001:db8:2::1"), Some("no external IPv6 address"))
    );
}

#[test]
fn a_mapped_address_is_ipv4() {
    let mut stage = Stage::new(5_000, 10);
    stage.ban("::ffff:192.0.2.7 192.0.2.7 ::ffff:192.0.2.0/120");
    stage.expect(&["block-ip: 192.0.2.0/24 192.0.2.7"]);
}

/// A range, whether private ranges may be written, and why this one is not.
const REFUSALS: &[(&str, bool, &str)] = &[
    ("203.0.113.5", false, "protected: this machine's own address"),
    ("203.0.113.4", false, ""),
    (
        "203.0.113.0/24",
        true,
        "protected: holds 203.0.113.5/32, this machine's own address",
    ),
    (
        "35.191.7.7",
        false,
        "protected: within 35.191.0.0/16, Google health checks",
    ),
    (
        "35.0.0.0/8",
        false,
        "protected: holds 35.191.0.0/16, Google health checks",
    ),
    ("2001:db8:5::8", false, "protected: within 2001:db8:5::/64, ignoreip"),
    ("2001:db8::/32", false, "protected: holds 2001:db8:5::/64, ignoreip"),
    ("2001:db8:6::8", false, ""),
    ("127.0.0.1", true, "protected: within 127.0.0.0/8, loopback"),
    ("::1", true, "protected: loopback"),
    ("169.254.169.254", true, "protected: the cloud metadata server"),
    ("fd20:ce::254", true, "protected: the cloud metadata server"),
    ("169.254.1.1", true, "protected: within 169.254.0.0/16, link-local"),
    ("169.0.0.0/8", true, "protected: holds 169.254.0.0/16, link-local"),
    ("fe80::1", true, "protected: within fe80::/10, link-local"),
    ("224.0.0.1", true, "protected: within 224.0.0.0/4, multicast"),
    ("ff02::1", true, "protected: within ff00::/8, multicast"),
    ("0.0.0.0", true, "protected: within 0.0.0.0/8, unspecified addresses"),
    ("255.255.255.255", true, "protected: broadcast"),
    ("198.0.0.0/7", true, "protected: 198.0.0.0/7 is wider than /8"),
    ("198.0.0.0/8", true, ""),
    ("0.0.0.0/0", true, "protected: 0.0.0.0/0 is wider than /8"),
    ("2a00::/18", true, "protected: 2a00::/18 is wider than /19"),
    ("2a00::/19", true, ""),
    (
        "192.0.2.1",
        true,
        "it stands in every rule anyway, so that none is ever empty",
    ),
    (
        "2001:db8::1",
        true,
        "it stands in every rule anyway, so that none is ever empty",
    ),
    ("192.0.2.0/30", false, ""),
    ("10.9.9.9", false, "private 10.0.0.0/8"),
    ("10.9.9.9", true, ""),
    ("10.1.9.9", true, "protected: within 10.1.0.0/16, ignoreip"),
    ("10.1.9.9", false, "protected: within 10.1.0.0/16, ignoreip"),
    ("172.31.255.255", false, "private 172.16.0.0/12"),
    ("172.32.0.1", false, ""),
    ("192.168.1.1", false, "private 192.168.0.0/16"),
    ("100.64.0.1", false, "private 100.64.0.0/10"),
    ("100.128.0.1", false, ""),
    ("240.0.0.1", false, "private 240.0.0.0/4"),
    ("fd00::1", false, "private fc00::/7"),
    ("fd00::1", true, ""),
];

#[test]
fn who_is_never_written() {
    for (range, allow_private, expect) in REFUSALS {
        let mut stage = Stage::new(5_000, 10);
        stage.allow_private = *allow_private;
        for (range, what) in [
            ("203.0.113.5", "this machine's own address"),
            ("35.191.0.0/16", "Google health checks"),
            ("2001:db8:5::/64", "ignoreip"),
            ("10.1.0.0/16", "ignoreip"),
        ] {
            stage.protected.push((net(range), what.to_owned()));
        }
        let desired = stage.ban(range).desired();
        let why = desired
            .protected
            .first()
            .map(|(_, why)| why.clone())
            .unwrap_or_default();
        let expect = match expect.strip_prefix("private ") {
            Some(net) => format!("protected: within {net}, a private range; allow_private=yes lets it be written"),
            None => (*expect).to_owned(),
        };
        assert_eq!(why, expect, "{range}");
        assert_eq!(desired.places.len(), usize::from(expect.is_empty()), "{range}");
    }
}

#[test]
fn a_mapped_network_protects_ipv4() {
    let mut stage = Stage::new(5_000, 10);
    stage.protected.push((net("::ffff:192.0.2.7"), "ignoreip".to_owned()));
    stage.ban("192.0.2.7 ::ffff:192.0.2.7 192.0.2.8");
    stage.expect(&["block-ip: 192.0.2.8"]);
}

#[test]
fn neighbours_become_one_range_beyond_four_fifths() {
    // Eleven entries, one of them the sentinel.
    let mut stage = Stage::new(11, 1);
    stage.ban("192.0.2.16 192.0.2.17 192.0.2.18 192.0.2.19 192.0.2.20 192.0.2.21 192.0.2.22 192.0.2.23");
    stage
        .expect(&["block-ip: 192.0.2.16 192.0.2.17 192.0.2.18 192.0.2.19 192.0.2.20 192.0.2.21 192.0.2.22 192.0.2.23"]);
    stage.ban("192.0.2.40");
    let desired = stage.expect(&["block-ip: 192.0.2.16/29 192.0.2.40"]);
    assert_eq!(
        desired.places.get(&net("192.0.2.21")),
        Some(&Place {
            share: 0,
            range: net("192.0.2.16/29")
        })
    );
    assert_eq!(desired.places.len(), 9);
    // An unban leaves the others in, and a few bans less do not spell them out again at once.
    stage.unban("192.0.2.16");
    stage.expect(&["block-ip: 192.0.2.17 192.0.2.18/31 192.0.2.20/30 192.0.2.40"]);
    stage.unban("192.0.2.40");
    stage.expect(&["block-ip: 192.0.2.17 192.0.2.18 192.0.2.19 192.0.2.20 192.0.2.21 192.0.2.22 192.0.2.23"]);
    stage.ban("192.0.2.40");
    stage
        .expect(&["block-ip: 192.0.2.17 192.0.2.18 192.0.2.19 192.0.2.20 192.0.2.21 192.0.2.22 192.0.2.23 192.0.2.40"]);
}

#[test]
fn the_whole_room_counts_before_neighbours_become_one() {
    // Two rules of 5 have 8 places besides the sentinels; six are needed.
    let mut stage = Stage::new(5, 2);
    stage.ban("192.0.2.16 192.0.2.17 192.0.2.18 192.0.2.19 192.0.2.20 192.0.2.21");
    stage.expect(&[
        "block-ip: 192.0.2.16 192.0.2.17 192.0.2.18 192.0.2.19",
        "block-ip-2: 192.0.2.20 192.0.2.21",
    ]);
    // Foreign entries make it too little.
    stage.rule("block-ip").foreign = 1;
    stage.expect(&["block-ip: 192.0.2.16/30 192.0.2.20/31", "block-ip-2:"]);
}

#[test]
fn what_stands_in_a_wider_ban_goes_with_it_when_room_is_scarce() {
    let mut stage = Stage::new(6, 1);
    stage.ban("192.0.2.0/24 192.0.2.7 192.0.2.9");
    stage.expect(&["block-ip: 192.0.2.0/24 192.0.2.7 192.0.2.9"]);
    stage.ban("198.51.100.1 198.51.100.4");
    let desired = stage.expect(&["block-ip: 192.0.2.0/24 198.51.100.1 198.51.100.4"]);
    assert_eq!(
        desired.places.get(&net("192.0.2.7")).map(|place| place.range),
        Some(net("192.0.2.0/24"))
    );
}

#[test]
fn rules_are_filled_one_after_another_and_ranges_stay() {
    let mut stage = Stage::new(4, 5);
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40 192.0.2.50");
    stage.expect(&[
        "block-ip: 192.0.2.10 192.0.2.20 192.0.2.30",
        "block-ip-2: 192.0.2.40 192.0.2.50",
    ]);
    // A lower address does not push anything aside.
    stage.ban("192.0.2.5");
    stage.expect(&[
        "block-ip: 192.0.2.10 192.0.2.20 192.0.2.30",
        "block-ip-2: 192.0.2.5 192.0.2.40 192.0.2.50",
    ]);
    stage.ban("192.0.2.60");
    stage.expect(&[
        "block-ip: 192.0.2.10 192.0.2.20 192.0.2.30",
        "block-ip-2: 192.0.2.5 192.0.2.40 192.0.2.50",
        "block-ip-3: 192.0.2.60",
    ]);
    // The place that becomes free is taken by the next.
    stage.unban("192.0.2.20").ban("192.0.2.70");
    stage.expect(&[
        "block-ip: 192.0.2.10 192.0.2.30 192.0.2.70",
        "block-ip-2: 192.0.2.5 192.0.2.40 192.0.2.50",
        "block-ip-3: 192.0.2.60",
    ]);
}

#[test]
fn ten_rules_come_in_the_order_of_their_numbers() {
    let mut stage = Stage::new(2, 14);
    for low in (20..42).step_by(2) {
        stage.ban(&format!("192.0.2.{low}"));
    }
    let desired = stage.settle();
    let last: Vec<&str> = desired.shares.iter().map(|share| share.rule.as_str()).skip(8).collect();
    assert_eq!(last, ["block-ip-9", "block-ip-10", "block-ip-11"]);
    assert!(
        desired
            .shares
            .iter()
            .zip(1..)
            .all(|(share, number)| share.number == number && share.ranges.len() == 1)
    );
}

#[test]
fn two_rules_become_one_where_one_has_room_to_spare() {
    let mut stage = Stage::new(5, 4);
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40 192.0.2.50 192.0.2.60");
    stage.expect(&[
        "block-ip: 192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40",
        "block-ip-2: 192.0.2.50 192.0.2.60",
    ]);
    stage.unban("192.0.2.10");
    stage.expect(&[
        "block-ip: 192.0.2.20 192.0.2.30 192.0.2.40",
        "block-ip-2: 192.0.2.50 192.0.2.60",
    ]);
    stage.unban("192.0.2.20");
    stage.expect(&["block-ip: 192.0.2.30 192.0.2.40 192.0.2.50 192.0.2.60", "block-ip-2:"]);
    // The empty one is the next to be used, if it is still there.
    stage.ban("192.0.2.70");
    stage.expect(&[
        "block-ip: 192.0.2.30 192.0.2.40 192.0.2.50 192.0.2.60",
        "block-ip-2: 192.0.2.70",
    ]);
}

#[test]
fn a_rule_that_is_used_is_filled_before_one_that_is_not() {
    let mut stage = Stage::new(4, 3);
    stage.rule("block-ip-3").ours = nets("192.0.2.40").into_iter().collect();
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40");
    stage.expect(&["block-ip: 192.0.2.10 192.0.2.20 192.0.2.30", "block-ip-3: 192.0.2.40"]);
    stage.ban("192.0.2.50");
    stage.expect(&[
        "block-ip: 192.0.2.10 192.0.2.20 192.0.2.30",
        "block-ip-3: 192.0.2.40 192.0.2.50",
    ]);
}

#[test]
fn a_tenth_is_left_when_two_become_one() {
    let mut stage = Stage::new(11, 2);
    let all: Vec<String> = (10..22).map(|low| format!("192.0.2.{}", low * 2)).collect();
    stage.ban(&all[..10].join(" ")).settle();
    stage.ban(&all[10]).settle();
    assert_eq!(stage.desired().shares.len(), 2);
    stage.unban(&all[0]);
    assert_eq!(
        stage
            .settle()
            .shares
            .iter()
            .map(|share| share.ranges.len())
            .collect::<Vec<_>>(),
        [9, 1]
    );
    stage.unban(&all[1]);
    assert_eq!(
        stage
            .settle()
            .shares
            .iter()
            .map(|share| share.ranges.len())
            .collect::<Vec<_>>(),
        [9, 0]
    );
}

#[test]
fn the_least_valuable_gives_way() {
    let mut stage = Stage::new(3, 1);
    let ban = |range: &str, until: Option<i64>, bancount: u32| Ban {
        range: net(range),
        until: until.map(Timestamp::from_seconds),
        bancount,
    };
    stage.bans.push(ban("192.0.2.10", None, 1));
    stage.bans.push(ban("192.0.2.20", Some(900), 9));
    stage.bans.push(ban("192.0.2.30", Some(800), 2));
    stage.bans.push(ban("192.0.2.40", Some(800), 1));
    stage.bans.push(ban("192.0.2.50", Some(800), 1));
    let desired = stage.expect(&["block-ip: 192.0.2.10 192.0.2.20"]);
    assert_eq!(desired.evicted, nets("192.0.2.30 192.0.2.40 192.0.2.50"));
    let mut worth_less = |range: &str, expect: &str| {
        stage.unban(range);
        assert_eq!(stage.settle().evicted, nets(expect), "without {range}");
    };
    worth_less("192.0.2.20", "192.0.2.40 192.0.2.50");
    worth_less("192.0.2.30", "192.0.2.40");
    worth_less("192.0.2.10", "");
    // Two bans of one range: the later end counts, and the higher number.
    stage.bans.push(ban("192.0.2.40", None, 1));
    stage.bans.push(ban("192.0.2.60", Some(9_000), 7));
    assert_eq!(stage.settle().evicted, nets("192.0.2.50"));
    stage.bans.push(ban("192.0.2.70", None, 8));
    assert_eq!(stage.settle().evicted, nets("192.0.2.50 192.0.2.60"));
    stage.bans.push(ban("192.0.2.80", None, 8));
    assert_eq!(stage.settle().evicted, nets("192.0.2.40 192.0.2.50 192.0.2.60"));
}

#[test]
fn what_is_evicted_takes_the_place_of_none_other() {
    let mut stage = Stage::new(3, 2);
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40");
    stage.expect(&["block-ip: 192.0.2.10 192.0.2.20", "block-ip-2: 192.0.2.30 192.0.2.40"]);
    stage.bans.push(Ban {
        range: net("192.0.2.1/29"),
        until: None,
        bancount: 1,
    });
    let desired = stage.expect(&["block-ip: 192.0.2.0/29 192.0.2.20", "block-ip-2: 192.0.2.30 192.0.2.40"]);
    assert_eq!(desired.evicted, nets("192.0.2.10"));
}

#[test]
fn rules_that_cannot_be_written_are_passed_over() {
    let mut stage = Stage::new(3, 3);
    stage.rule("block-ip-2").is_closed = true;
    stage.rule("block-ip-2").ours = nets("192.0.2.30").into_iter().collect();
    stage.rule("block-ip").foreign = 1;
    stage.rule("somebody-elses").ours = nets("192.0.2.10").into_iter().collect();
    stage.ban("192.0.2.10 192.0.2.30");
    stage.expect(&["block-ip: 192.0.2.10", "block-ip-3: 192.0.2.30"]);
    stage.rule("block-ip").limit = Some(2);
    stage.rule("block-ip-3").limit = Some(2);
    let desired = stage.expect(&["block-ip:", "block-ip-3: 192.0.2.30"]);
    assert_eq!(desired.evicted, nets("192.0.2.10"));
    stage.rule("block-ip").is_closed = true;
    stage.expect(&["block-ip-3: 192.0.2.30"]);
}

#[test]
fn a_rule_that_got_fuller_keeps_the_most_valuable() {
    let mut stage = Stage::new(5, 2);
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30");
    stage.bans.push(Ban {
        range: net("192.0.2.5"),
        until: Some(Timestamp::from_seconds(1)),
        bancount: 1,
    });
    stage.expect(&["block-ip: 192.0.2.5 192.0.2.10 192.0.2.20 192.0.2.30"]);
    stage.rule("block-ip").foreign = 1;
    stage.expect(&["block-ip: 192.0.2.10 192.0.2.20 192.0.2.30", "block-ip-2: 192.0.2.5"]);
}

#[test]
fn fewer_rules_than_there_were() {
    let mut stage = Stage::new(3, 3);
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40 192.0.2.50");
    stage.settle();
    stage.max_rules = 2;
    let desired = stage.expect(&[
        "block-ip: 192.0.2.20 192.0.2.50",
        "block-ip-2: 192.0.2.30 192.0.2.40",
        "block-ip-3:",
    ]);
    assert_eq!(desired.evicted, nets("192.0.2.10"));
}

#[test]
fn a_range_in_two_rules_stays_in_the_first() {
    let mut stage = Stage::new(5, 2);
    stage.ban("192.0.2.10 192.0.2.20");
    stage.rule("block-ip").ours = nets("192.0.2.20").into_iter().collect();
    stage.rule("block-ip-2").ours = nets("192.0.2.10 192.0.2.20").into_iter().collect();
    stage.expect(&["block-ip: 192.0.2.10 192.0.2.20", "block-ip-2:"]);
}

#[test]
fn neighbours_stay_in_the_rule_where_they_were() {
    let mut stage = Stage::new(5, 2);
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 192.0.2.40 198.51.100.8 198.51.100.12");
    stage.settle();
    stage.unban("192.0.2.10").ban("198.51.100.9 198.51.100.11");
    stage.expect(&[
        "block-ip: 192.0.2.20 192.0.2.30 192.0.2.40 198.51.100.11",
        "block-ip-2: 198.51.100.8/31 198.51.100.12",
    ]);
}

#[test]
fn it_can_be_printed() {
    let mut stage = Stage::new(3, 1);
    stage.ipv6 = Err("no external IPv6 address");
    stage.ban("192.0.2.10 192.0.2.20 192.0.2.30 2001:db8::5 127.0.0.1");
    let expect = "block-ip (inet4, 2 ranges)\n  192.0.2.20/32\n  192.0.2.30/32\n\
                  not written: 127.0.0.1/32, protected: within 127.0.0.0/8, loopback\n\
                  no room: 192.0.2.10/32\n\
                  local only: 2001:db8::5/128, no external IPv6 address\n";
    assert_eq!(stage.desired().to_string(), expect);
}
