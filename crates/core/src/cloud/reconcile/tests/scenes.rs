//! What happens to one rule, step by step.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::stage::{Stage, Writer};
use crate::cloud::SENTINELS;
use crate::cloud::options::Options;
use crate::cloud::reconcile::Input;
use crate::ledger::Standing;
use crate::time::Seconds;

pub(super) fn own() -> Options {
    Options {
        own_rule: true,
        ..Options::new("block-ip")
    }
}

pub(super) fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// These, and the sentinel of IPv4.
pub(super) fn with_sentinel(texts: &[&str]) -> BTreeSet<IpNet> {
    let mut all = nets(texts);
    all.insert(SENTINELS[0].parse().unwrap());
    all
}

fn standing(stage: &Stage, range: &str) -> Option<Standing> {
    stage.writers[0].standings.get(&range.parse().unwrap()).cloned()
}

#[test]
fn a_ban_is_written_at_once_applied_at_the_end_of_the_operation_and_verified_by_a_read() {
    let mut stage = Stage::single(Options::new("block-ip"), &["203.0.113.7/32"]);
    stage.run(Seconds::new(10));
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(1));
    assert_eq!(stage.api.writes, 1);
    assert_eq!(standing(&stage, "198.51.100.1/32"), None);
    stage.run(Seconds::from_f64(4.45));
    assert_eq!(standing(&stage, "198.51.100.1/32"), Some(Standing::Applied));
    stage.run(Seconds::new(1));
    assert_eq!(standing(&stage, "198.51.100.1/32"), Some(Standing::Verified));
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&["203.0.113.7/32", "198.51.100.1/32"])
    );
    stage.run(Seconds::new(7200));
    assert_eq!(stage.api.writes, 1);
}

#[test]
fn bans_that_come_while_an_operation_runs_are_one_write() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    for number in 0..100 {
        stage.ban(0, &format!("198.51.100.{number}/32"));
        stage.run(Seconds::from_f64(0.04));
    }
    stage.run(Seconds::new(60));
    assert_eq!(stage.api.writes, 2);
    assert_eq!(stage.api.ranges("block-ip").len(), 101);
}

#[test]
fn an_unban_waits_for_a_minute_or_for_the_next_ban() {
    let mut stage = Stage::single(Options::new("block-ip"), &["203.0.113.7/32"]);
    stage.ban(0, "198.51.100.1/32");
    stage.ban(0, "198.51.100.2/32");
    stage.run(Seconds::new(300));
    let before = stage.api.writes;
    stage.unban(0, "198.51.100.1/32");
    stage.run(Seconds::new(58));
    assert_eq!(stage.api.writes, before);
    stage.run(Seconds::new(10));
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&["203.0.113.7/32", "198.51.100.2/32"])
    );
    stage.unban(0, "198.51.100.2/32");
    stage.run(Seconds::new(5));
    stage.ban(0, "198.51.100.3/32");
    stage.run(Seconds::new(10));
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&["203.0.113.7/32", "198.51.100.3/32"])
    );
    stage.unban(0, "198.51.100.3/32");
    stage.run(Seconds::new(200));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["203.0.113.7/32"]));
    let mut claims = stage.writers[0]
        .books
        .rules
        .values()
        .flat_map(|account| &account.claims);
    assert_eq!(claims.next(), None);
}

#[test]
fn what_somebody_else_put_there_is_never_taken_out_even_where_we_banned_it_too() {
    let mut stage = Stage::single(Options::new("block-ip"), &["198.51.100.1/32"]);
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(20));
    assert_eq!(standing(&stage, "198.51.100.1/32"), Some(Standing::Verified));
    stage.unban(0, "198.51.100.1/32");
    stage.run(Seconds::new(4000));
    assert_eq!(stage.api.ranges("block-ip"), nets(&["198.51.100.1/32"]));
    assert_eq!(stage.api.writes, 0);
}

#[test]
fn a_rule_of_our_own_is_marked_and_the_mark_renewed() {
    let mut stage = Stage::single(own(), &[SENTINELS[0]]);
    stage.edit("block-ip", |_| {});
    stage.run(Seconds::new(60));
    let first = stage.api.rules["block-ip"].description.clone();
    assert!(first.contains("writer=mail"), "{first}");
    stage.run(Seconds::new(20 * 3600));
    assert_eq!(stage.api.rules["block-ip"].description, first);
    stage.run(Seconds::new(6 * 3600));
    let second = stage.api.rules["block-ip"].description.clone();
    assert!(second.contains("writer=mail") && second != first, "{second}");
    assert_eq!(stage.api.writes, 2);
}

#[test]
fn what_a_person_takes_out_of_our_own_rule_is_freed_once() {
    let mut stage = Stage::single(own(), &[SENTINELS[0]]);
    for number in 1..=5 {
        stage.ban(0, &format!("198.51.100.{number}/32"));
    }
    stage.run(Seconds::new(60));
    stage.edit("block-ip", |ranges| ranges.retain(|range| range != "198.51.100.3/32"));
    stage.run(Seconds::new(3 * 3600));
    assert_eq!(stage.writers[0].freed, ["198.51.100.3/32".parse().unwrap()]);
    assert!(
        !stage
            .api
            .ranges("block-ip")
            .contains(&"198.51.100.3/32".parse().unwrap())
    );
    assert!(
        stage.writers[0]
            .notes
            .iter()
            .any(|note| note.contains("198.51.100.3/32")),
        "{:?}",
        stage.writers[0].notes
    );
    stage.ban(0, "198.51.100.3/32");
    stage.run(Seconds::new(3 * 3600));
    assert!(
        stage
            .api
            .ranges("block-ip")
            .contains(&"198.51.100.3/32".parse().unwrap())
    );
    assert_eq!(stage.writers[0].freed.len(), 1);
}

#[test]
fn what_vanishes_in_numbers_or_from_a_shared_rule_is_put_back_and_reported() {
    let check = |options: Options, gone: usize| {
        let mut stage = Stage::single(options, &[SENTINELS[0]]);
        for number in 1..=5 {
            stage.ban(0, &format!("198.51.100.{number}/32"));
        }
        stage.run(Seconds::new(60));
        let full = stage.api.ranges("block-ip");
        stage.edit("block-ip", |ranges| ranges.truncate(ranges.len() - gone));
        stage.run(Seconds::new(3 * 3600));
        assert_eq!(stage.writers[0].freed, []);
        assert_eq!(stage.api.ranges("block-ip"), full);
        let drifts = stage.writers[0]
            .readings
            .iter()
            .filter_map(|reading| reading.drift.as_ref());
        let missing: Vec<usize> = drifts.map(|drift| drift.missing).collect();
        assert_eq!(missing, [gone]);
        assert!(stage.writers[0].readings.last().unwrap().drift.is_none());
        assert_eq!(stage.writers[0].readings.last().unwrap().held, 5);
    };
    check(own(), 4);
    check(own(), 2);
    check(Options::new("block-ip"), 1);
    check(Options::new("block-ip"), 4);
}

#[test]
fn what_is_protected_is_not_written_and_taken_out_at_once() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    stage.protect(0, "198.51.100.1/32");
    stage.ban(0, "198.51.100.1/32");
    stage.ban(0, "198.51.100.2/32");
    stage.run(Seconds::new(20));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["198.51.100.2/32"]));
    assert!(matches!(
        standing(&stage, "198.51.100.1/32"),
        Some(Standing::Protected(_))
    ));
    stage.protect(0, "198.51.100.2/32");
    stage.run(Seconds::new(12));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&[]));
}

#[test]
fn what_has_no_room_goes_into_further_rules_which_go_when_they_are_empty() {
    let mut stage = Stage::single(Options::new("block-ip"), &["203.0.113.7/32"]);
    stage.api.cap = 10;
    for number in 0..30 {
        stage.ban(0, &format!("198.51.100.{}/32", number * 3));
    }
    stage.run(Seconds::new(120));
    assert_eq!(stage.api.ranges("block-ip").len(), 10);
    assert_eq!(stage.api.rules.len(), 4, "{:?}", stage.api.rules.keys());
    let all: BTreeSet<IpNet> = stage.api.rules.values().flat_map(super::api::set).collect();
    assert_eq!(all.len(), 32);
    assert!(stage.api.rules["block-ip-2"].description.contains("writer=mail"));
    // Whoever deletes a part deletes no ban.
    stage.api.rules.remove("block-ip-2");
    stage.hear(0, Input::Review);
    stage.run(Seconds::new(60));
    let again: BTreeSet<IpNet> = stage.api.rules.values().flat_map(super::api::set).collect();
    assert_eq!(again, all);
    for number in 0..30 {
        stage.unban(0, &format!("198.51.100.{}/32", number * 3));
    }
    stage.run(Seconds::new(3 * 3600));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["203.0.113.7/32"]));
    assert_eq!(stage.api.rules.len(), 1, "{:?}", stage.api.rules.keys());
    assert!(
        stage.writers[0]
            .books
            .rules
            .values()
            .all(|account| account.claims.is_empty())
    );
}

#[test]
fn ipv6_has_a_rule_of_its_own_or_stays_local() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    stage.ban(0, "2001:db8:1::/64");
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(60));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["198.51.100.1/32"]));
    assert_eq!(
        stage.api.ranges("block-ip-v6"),
        nets(&["2001:db8:1::/64", SENTINELS[1]])
    );
    assert_eq!(standing(&stage, "2001:db8:1::/64"), Some(Standing::Verified));
}

#[test]
fn a_rule_that_is_not_fit_is_not_written_until_it_is() {
    let mut stage = Stage::single(Options::new("block-ip"), &["0.0.0.0/0"]);
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(300));
    assert_eq!(stage.api.writes, 0);
    let text = stage.writers[0].failing.clone().unwrap();
    assert!(
        text.contains("0.0.0.0/0") && text.contains("gcloud compute firewall-rules update"),
        "{text}"
    );
    stage.edit("block-ip", |ranges| *ranges = vec![SENTINELS[0].to_owned()]);
    stage.run(Seconds::new(90));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["198.51.100.1/32"]));
    assert_eq!(stage.writers[0].failing, None);
}

#[test]
fn a_rule_with_another_ones_fresh_mark_is_refused() {
    let mut stage = Stage::single(own(), &[SENTINELS[0]]);
    stage.run(Seconds::new(60));
    let api = std::mem::replace(&mut stage.api, super::api::Api::new(Vec::new()));
    let mut second = Stage::new(api, vec![Writer::new("other", own())]);
    second.now = stage.now;
    second.ban(0, "198.51.100.1/32");
    second.run(Seconds::new(120));
    assert_eq!(second.api.ranges("block-ip"), with_sentinel(&[]));
    assert!(second.writers[0].failing.as_ref().unwrap().contains("mail"));
    // Nobody renews it.
    second.run(Seconds::new(3 * 24 * 3600));
    assert_eq!(second.api.ranges("block-ip"), with_sentinel(&["198.51.100.1/32"]));
}

#[test]
fn a_missing_rule_is_named_with_the_command_that_makes_it() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    let rule = stage.api.rules.remove("block-ip").unwrap();
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(300));
    let text = stage.writers[0].failing.clone().unwrap();
    assert!(text.contains("gcloud compute firewall-rules create block-ip"), "{text}");
    stage.api.rules.insert("block-ip".to_owned(), rule);
    stage.run(Seconds::new(90));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["198.51.100.1/32"]));
    assert_eq!(stage.writers[0].failing, None);
}

#[test]
fn after_a_restart_what_is_ours_and_not_wanted_goes() {
    let mut stage = Stage::single(Options::new("block-ip"), &["203.0.113.7/32"]);
    stage.ban(0, "198.51.100.1/32");
    stage.ban(0, "198.51.100.2/32");
    stage.run(Seconds::new(30));
    stage.writers[0].wanted.remove(&"198.51.100.1/32".parse().unwrap());
    let writes = stage.api.writes;
    stage.start(0);
    stage.run(Seconds::new(90));
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&["203.0.113.7/32", "198.51.100.2/32"])
    );
    assert_eq!(stage.api.writes, writes + 1);
}
