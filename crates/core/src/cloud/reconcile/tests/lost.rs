//! Lost books: what our marks say is ours is taken back, and what is anybody's stays.

use std::collections::BTreeSet;

use super::api::{Api, base_rule};
use super::scenes::{nets, own, with_sentinel};
use super::stage::{Stage, Writer};
use crate::cloud::SENTINELS;
use crate::cloud::options::Options;
use crate::cloud::rule::Mark;
use crate::ledger::Standing;
use crate::time::Seconds;

/// A range that a person put into the rule.
const THEIRS: &str = "203.0.113.0/24";

fn mark(stage: &Stage, rule: &str) -> Mark {
    Mark::of(&stage.api.rules[rule].description).unwrap()
}

fn notes(stage: &Stage, part: &str) -> usize {
    stage.writers[0].notes.iter().filter(|note| note.contains(part)).count()
}

#[test]
fn in_a_rule_where_we_are_alone_everything_is_ours_again() {
    let mut stage = Stage::single(own(), &[SENTINELS[0]]);
    stage.ban(0, "198.51.100.1/32");
    stage.ban(0, "198.51.100.3/32");
    stage.run(Seconds::new(60));
    assert!(mark(&stage, "block-ip").is_alone);
    stage.writers[0].wanted.remove(&"198.51.100.1/32".parse().unwrap());
    stage.lose_books(0);
    // A write from before may still be under way: nothing is decided before it is over.
    stage.run(Seconds::new(10));
    assert!(stage.writers[0].books.rules.is_empty());
    stage.run(Seconds::new(110));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&["198.51.100.3/32"]));
    assert_eq!(notes(&stage, "2 entries of it are taken back"), 1);
    stage.unban(0, "198.51.100.3/32");
    stage.run(Seconds::new(120));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&[]));
    // It is said once, and what a person puts there now is theirs.
    stage.edit("block-ip", |ranges| ranges.push(THEIRS.to_owned()));
    stage.start(0);
    stage.run(Seconds::new(4000));
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&[THEIRS]));
    assert_eq!(notes(&stage, "taken back"), 1);
}

#[test]
fn where_others_write_as_well_what_nobody_is_banned_for_stays_and_is_named() {
    let mut stage = Stage::single(own(), &[THEIRS]);
    stage.ban(0, "198.51.100.1/32");
    stage.ban(0, "198.51.100.3/32");
    stage.run(Seconds::new(60));
    assert!(!mark(&stage, "block-ip").is_alone);
    stage.writers[0].wanted.remove(&"198.51.100.1/32".parse().unwrap());
    stage.lose_books(0);
    stage.run(Seconds::new(120));
    let left = [THEIRS, "198.51.100.1/32", "198.51.100.3/32"];
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&left));
    let named = format!("{THEIRS} 198.51.100.1/32; mend: ");
    assert_eq!(notes(&stage, &named), 1, "{:?}", stage.writers[0].notes);
    stage.unban(0, "198.51.100.3/32");
    stage.run(Seconds::new(4000));
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&[THEIRS, "198.51.100.1/32"])
    );
}

#[test]
fn a_mark_says_that_we_are_alone_only_while_that_is_so() {
    let mut stage = Stage::single(own(), &[SENTINELS[0]]);
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(60));
    assert!(mark(&stage, "block-ip").is_alone);
    stage.edit("block-ip", |ranges| ranges.push(THEIRS.to_owned()));
    stage.run(Seconds::new(2000));
    assert!(!mark(&stage, "block-ip").is_alone);
    stage.edit("block-ip", |ranges| ranges.retain(|range| range != THEIRS));
    stage.run(Seconds::new(26 * 3600));
    assert!(mark(&stage, "block-ip").is_alone);
}

#[test]
fn further_rules_are_found_again_and_no_second_one_is_made_beside_them() {
    let check = |options: Options| {
        let mut stage = Stage::single(options, &[SENTINELS[0]]);
        stage.api.cap = 10;
        for number in 0..20 {
            stage.ban(0, &format!("198.51.100.{}/32", number * 3));
        }
        stage.ban(0, "2001:db8:1::/64");
        stage.run(Seconds::new(120));
        let before: BTreeSet<String> = stage.api.rules.keys().cloned().collect();
        assert_eq!(before.len(), 4, "{before:?}");
        stage.writers[0].wanted.retain(|range, _| range.prefix_len() == 32);
        stage.lose_books(0);
        stage.run(Seconds::new(300));
        assert_eq!(stage.api.rules.keys().cloned().collect::<BTreeSet<_>>(), before);
        assert_eq!(stage.api.ranges("block-ip-v6"), nets(&[SENTINELS[1]]));
        let verified = |standing: &&Standing| **standing == Standing::Verified;
        assert_eq!(stage.writers[0].standings.values().filter(verified).count(), 20);
        for number in 0..20 {
            stage.unban(0, &format!("198.51.100.{}/32", number * 3));
        }
        stage.run(Seconds::new(3 * 3600));
        assert!(!stage.api.rules.contains_key("block-ip-2") && !stage.api.rules.contains_key("block-ip-3"));
        stage
    };
    let stage = check(own());
    assert_eq!(stage.api.ranges("block-ip"), with_sentinel(&[]));
    // A shared base rule has no mark: what is in it is anybody's.
    let stage = check(Options::new("block-ip"));
    assert_eq!(stage.api.ranges("block-ip").len(), 10);
}

#[test]
fn a_further_rule_that_two_write_is_nobodys_alone() {
    let mut api = Api::new(vec![base_rule("block-ip", &[SENTINELS[0]])]);
    api.cap = 6;
    let writers = ["mail", "web"].map(|name| Writer::new(name, Options::new("block-ip")));
    let mut stage = Stage::new(api, writers.into());
    for number in 0..8 {
        stage.ban(0, &format!("198.51.100.{}/32", number * 3));
    }
    stage.run(Seconds::new(60));
    assert!(mark(&stage, "block-ip-2").is_alone);
    stage.ban(1, "198.51.100.100/32");
    stage.run(Seconds::new(60));
    let shared = mark(&stage, "block-ip-2");
    assert!(!shared.is_alone && shared.writer == "mail");
    stage.writers[0].wanted.clear();
    stage.lose_books(0);
    stage.run(Seconds::new(300));
    assert!(
        stage
            .api
            .ranges("block-ip-2")
            .contains(&"198.51.100.100/32".parse().unwrap())
    );
    assert_eq!(stage.writers[1].standings.len(), 1);
}

#[test]
fn what_others_made_under_such_a_name_is_left_alone() {
    let mut theirs = base_rule("block-ip-2", &[THEIRS]);
    theirs.description = "mine".to_owned();
    let mut another = base_rule("block-ip-3", &[THEIRS]);
    another.description = "[portcullis writer=other at=2026-01-02T03:04:05Z alone]".to_owned();
    let mut described = base_rule("block-ip-4", &[THEIRS]);
    described.description = "kept [portcullis writer=mail at=2026-01-02T03:04:05Z alone]".to_owned();
    let api = Api::new(vec![base_rule("block-ip", &[SENTINELS[0]]), theirs, another, described]);
    let mut stage = Stage::new(api, vec![Writer::new("mail", own())]);
    stage.run(Seconds::new(3 * 3600));
    for rule in ["block-ip-2", "block-ip-3", "block-ip-4"] {
        assert_eq!(stage.api.ranges(rule), nets(&[THEIRS]), "{rule}");
    }
    assert_eq!(notes(&stage, "taken back"), 0);
}
