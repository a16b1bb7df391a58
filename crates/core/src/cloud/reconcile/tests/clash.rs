//! Names that could be two rules': no rule is written by two groups, and what cannot be done is named.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::api::{Api, base_rule};
use super::scenes::nets;
use super::stage::{Stage, Writer};
use crate::cloud::SENTINELS;
use crate::cloud::options::Options;
use crate::cloud::reconcile::Input;
use crate::ledger::LayerId;
use crate::time::Seconds;

/// One machine whose two actions ban in these rules; the second is opened when asked for.
fn stage(rules: &[&str], cap: usize) -> Stage {
    let mut api = Api::new(rules.iter().map(|name| base_rule(name, &[SENTINELS[0]])).collect());
    api.cap = cap;
    Stage::new(api, vec![Writer::new("mail", Options::new("block-ip"))])
}

fn other() -> LayerId {
    LayerId {
        jail: Arc::from("web"),
        action: Arc::from("gcp"),
    }
}

fn open(stage: &mut Stage, rule: &str) {
    stage.hear(0, Input::Open(other(), Options::new(rule)));
}

fn ban(stage: &mut Stage, range: &str) {
    let ban = Input::Ban {
        layer: other(),
        range: range.parse().unwrap(),
        until: None,
        bancount: 1,
    };
    stage.hear(0, ban);
}

fn many(stage: &mut Stage) -> BTreeSet<IpNet> {
    let ranges = (0..15).map(|number| format!("198.51.100.{}/32", number * 3));
    let ranges: Vec<String> = ranges.collect();
    ranges.iter().for_each(|range| stage.ban(0, range));
    ranges.iter().map(|range| range.parse().unwrap()).collect()
}

fn held(stage: &Stage, rules: &[&str]) -> BTreeSet<IpNet> {
    let all = rules.iter().flat_map(|rule| stage.api.ranges(rule));
    all.filter(|range| !crate::cloud::is_sentinel(range)).collect()
}

#[test]
fn another_actions_rule_is_no_part_of_ours() {
    let mut stage = stage(&["block-ip", "block-ip-2"], 10);
    open(&mut stage, "block-ip-2");
    let all = many(&mut stage);
    ban(&mut stage, "203.0.113.7/32");
    stage.run(Seconds::new(120));
    assert_eq!(held(&stage, &["block-ip", "block-ip-3"]), all);
    assert_eq!(held(&stage, &["block-ip-2"]), nets(&["203.0.113.7/32"]));
    let said = |note: &&String| note.contains("block-ip leave out block-ip-2");
    assert_eq!(stage.writers[0].notes.iter().filter(said).count(), 1);
    assert_eq!(stage.writers[0].failing, None);
    // Nor after a restart, nor without books.
    stage.writers[0].books = crate::cloud::books::State::default();
    stage.hear(0, Input::Review);
    stage.run(Seconds::new(4000));
    assert_eq!(held(&stage, &["block-ip-2"]), nets(&["203.0.113.7/32"]));
}

#[test]
fn ipv6_stays_local_where_its_rule_is_another_actions() {
    let mut stage = stage(&["block-ip", "block-ip-v6"], 10);
    open(&mut stage, "block-ip-v6");
    stage.ban(0, "2001:db8:1::/64");
    ban(&mut stage, "203.0.113.7/32");
    stage.run(Seconds::new(120));
    assert_eq!(held(&stage, &["block-ip-v6"]), nets(&["203.0.113.7/32"]));
    let standing = &stage.writers[0].standings[&"2001:db8:1::/64".parse::<IpNet>().unwrap()];
    let shown = format!("{standing:?}");
    assert!(
        shown.contains("IPv6 stays local") && shown.contains("block-ip-v6") && shown.contains("mend"),
        "{shown}"
    );
    // The further rules of the two would have the same names as well.
    for number in 0..15 {
        ban(&mut stage, &format!("198.51.100.{}/32", number * 3));
    }
    stage.run(Seconds::new(120));
    assert_eq!(held(&stage, &["block-ip-v6", "block-ip-v6-2"]).len(), 16);
}

#[test]
fn a_part_that_we_made_is_no_base_rule() {
    let mut stage = stage(&["block-ip"], 10);
    let all = many(&mut stage);
    stage.run(Seconds::new(120));
    open(&mut stage, "block-ip-2");
    let text = stage.writers[0].failing.clone().unwrap();
    assert!(
        text.contains("further rules of block-ip") && text.contains("mend: "),
        "{text}"
    );
    ban(&mut stage, "203.0.113.7/32");
    stage.run(Seconds::new(120));
    assert_eq!(held(&stage, &["block-ip", "block-ip-2"]), all);
}

#[test]
fn a_persons_rule_under_a_parts_name_is_passed_over_and_said_once() {
    let mut stage = stage(&["block-ip", "block-ip-2"], 10);
    let all = many(&mut stage);
    stage.run(Seconds::new(4 * 3600));
    assert_eq!(held(&stage, &["block-ip", "block-ip-3"]), all);
    assert_eq!(held(&stage, &["block-ip-2"]), nets(&[]));
    let said = |note: &&String| note.contains("rule block-ip-2 carries no mark");
    assert_eq!(stage.writers[0].notes.iter().filter(said).count(), 1);
}

#[test]
fn the_longest_name_has_parts_as_well() {
    let base = "b".repeat(63);
    let mut api = Api::new(vec![base_rule(&base, &[SENTINELS[0]])]);
    api.cap = 10;
    let mut stage = Stage::new(api, vec![Writer::new("mail", Options::new(&base))]);
    let mut all = many(&mut stage);
    stage.ban(0, "2001:db8:1::/64");
    all.insert("2001:db8:1::/64".parse().unwrap());
    stage.run(Seconds::new(120));
    let names: Vec<&str> = stage.api.rules.keys().map(String::as_str).collect();
    assert!(
        names.len() == 3 && names.iter().all(|name| name.len() <= 63),
        "{names:?}"
    );
    assert_eq!(held(&stage, &names), all);
}

#[test]
fn a_part_that_another_writer_made_is_no_rule_of_its_own_after_a_restart() {
    let api = Api::new(vec![base_rule("block-ip", &[SENTINELS[0]])]);
    let writers = ["mail", "web"].map(|name| Writer::new(name, Options::new("block-ip")));
    let mut stage = Stage::new(api, writers.into());
    stage.ban(1, "2001:db8:1::/64");
    stage.run(Seconds::new(60));
    stage.ban(0, "2001:db8:2::/64");
    stage.run(Seconds::new(60));
    stage.start(0);
    stage.run(Seconds::new(120));
    let view = stage.writers[0].reconciler.view(crate::time::Clock::at(stage.now));
    let names: Vec<(&str, &str)> = view.rules.iter().map(|rule| (&*rule.name, &*rule.base)).collect();
    assert_eq!(names, [("block-ip", "block-ip"), ("block-ip-v6", "block-ip")]);
    assert_eq!(
        held(&stage, &["block-ip-v6"]),
        nets(&["2001:db8:1::/64", "2001:db8:2::/64"])
    );
}
