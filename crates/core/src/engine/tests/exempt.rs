//! Failures that wait for answers, and who is exempt.

use super::*;
use crate::action::{Fetched, Need};
use crate::allow::{Found, List, Stat};

fn named(stage: &mut Stage, name: &str) {
    let failure = failure("j", Identity::Name(name.into()), stage.now);
    stage.lines(vec![failure], stage.offset + 1);
}

fn name_asked(name: &str) -> Question {
    Question::Name {
        name: name.into(),
        is_listed: false,
    }
}

fn name(stage: &mut Stage, name: &str, addresses: &[&str]) {
    stage.input(Input::Answer(Answer::Name {
        name: name.into(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }));
}

fn list(stage: &mut Stage, text: Option<&str>) {
    let found = match text {
        Some(text) => Found::Read(
            Stat {
                modified: stage.now.micros(),
                inode: 1,
                size: text.len() as u64,
            },
            List::parse(text).unwrap(),
        ),
        None => Found::Failed("no such file".into(), None),
    };
    let path = "/allowed".into();
    stage.input(Input::Answer(Answer::List { path, found }));
}

fn said(stage: &Stage, what: &str) -> usize {
    stage.notes.iter().filter(|note| note.contains(what)).count()
}

/// The number of the only command that was asked for since the last look.
fn command(stage: &mut Stage) -> Option<(u64, String)> {
    match std::mem::take(&mut stage.asked).as_slice() {
        [Question::Command { number, script, values }] => Some((*number, crate::action::render(script, values).script)),
        [] => None,
        other => panic!("{other:?}"),
    }
}

fn ends(stage: &mut Stage, number: u64, ignore: bool) {
    stage.input(Input::Answer(Answer::Command { number, ignore }));
}

#[test]
fn names_are_asked_for_and_counted_at_their_time() {
    let mut stage = Stage::new(vec![plan("j")]);
    for _ in 0..3 {
        named(&mut stage, "evil.example");
    }
    assert_eq!(stage.asked, [name_asked("evil.example")], "asked once");
    assert!(stage.banned().is_empty());
    stage.fail("j", "192.0.2.9");
    assert_eq!(said(&stage, "Found"), 1, "others go on");
    stage.wait(5);
    name(&mut stage, "evil.example", &["192.0.2.1", "2001:db8::1"]);
    assert_eq!(stage.banned(), ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(said(&stage, "Resolved"), 3, "said for each failure");
    assert!(stage.waiting.is_empty());
}

#[test]
fn what_waits_outlives_a_crash() {
    let mut stage = Stage::new(vec![plan("j")]);
    for _ in 0..2 {
        named(&mut stage, "evil.example");
    }
    stage.crash();
    assert_eq!(stage.asked, [name_asked("evil.example")]);
    named(&mut stage, "evil.example");
    stage.crash();
    assert_eq!(stage.waiting.len(), 3);
    name(&mut stage, "evil.example", &["192.0.2.1"]);
    assert_eq!(stage.banned(), ["192.0.2.1"]);
    assert!(stage.waiting.is_empty());
    stage.crash();
    assert!(stage.asked.is_empty());
}

#[test]
fn a_list_is_read_when_it_is_needed_and_holds_the_jail_until_then() {
    let mut jail = plan("j");
    jail.ignoreip.push("file:/allowed".into());
    let mut stage = Stage::new(vec![jail]);
    let question = |known| Question::List {
        path: "/allowed".into(),
        known,
    };
    assert_eq!(
        std::mem::take(&mut stage.asked),
        [question(None)],
        "a glance at the start"
    );
    list(&mut stage, None);
    let held = |stage: &Stage| stage.engine.query(&Query::Status).jails[0].held.clone();
    assert_eq!(held(&stage).as_deref(), Some("ignoreip = file://allowed: no such file"));
    stage.fail("j", "192.0.2.1");
    assert_eq!(
        std::mem::take(&mut stage.asked),
        [question(None)],
        "a failure looks again"
    );
    list(&mut stage, None);
    assert_eq!(said(&stage, "Found"), 1);
    for _ in 0..3 {
        stage.fail("j", "192.0.2.1");
    }
    assert!(stage.asked.is_empty(), "not again within a minute");
    assert!(stage.banned().is_empty() && said(&stage, "Held") == 1);
    stage.wait(62);
    stage.fail("j", "192.0.2.1");
    list(&mut stage, Some("192.0.2.1"));
    assert_eq!((held(&stage), said(&stage, "Ignored")), (None, 1));
    for _ in 0..3 {
        stage.fail("j", "192.0.2.2");
    }
    assert_eq!(stage.banned(), ["192.0.2.2"]);
}

#[test]
fn a_command_decides_one_failure_after_the_other() {
    let mut jail = plan("j");
    jail.ignorecommand = "test <ip> <F-USER>".into();
    let mut stage = Stage::new(vec![jail]);
    for user in ["a", "b"] {
        let mut failure = failure("j", Identity::Known(Id::parse("192.0.2.1").unwrap()), stage.now);
        failure.data.insert("user", crate::ledger::Field::Text(user.into()));
        stage.lines(vec![failure], 1);
    }
    let (first, text) = command(&mut stage).unwrap();
    assert_eq!(text, "test 192.0.2.1 a", "the second waits behind the first");
    stage.fail("j", "192.0.2.2");
    let (other, text) = command(&mut stage).unwrap();
    assert_eq!(text, "test 192.0.2.2 ", "others do not wait");
    assert_eq!(stage.waiting.len(), 3);
    ends(&mut stage, first, true);
    assert_eq!(said(&stage, "rule: Command"), 1);
    let (second, text) = command(&mut stage).unwrap();
    assert_eq!(text, "test 192.0.2.1 b");
    ends(&mut stage, second, false);
    ends(&mut stage, other, false);
    assert_eq!((said(&stage, "Found"), stage.waiting.len()), (2, 0));
    ends(&mut stage, other, true);
    assert_eq!(said(&stage, "rule: Command"), 1, "an answer to nobody");
}

#[test]
fn verdicts_are_kept_under_their_key() {
    let mut jail = plan("j");
    jail.ignorecommand = "test <ip>".into();
    jail.ignorecache = Some("key=\"<ip-host>\", max-count=5, max-time=10".into());
    let mut stage = Stage::new(vec![jail]);
    let facts = |stage: &mut Stage, host: &str| {
        let [Question::Facts { number, needs, .. }] = &*std::mem::take(&mut stage.asked) else {
            panic!("facts are asked for")
        };
        assert_eq!(*needs, BTreeSet::from([Need::IpHost]));
        let fetched = Fetched {
            ip_host: Some(host.into()),
            ..Fetched::default()
        };
        stage.input(Input::Answer(Answer::Facts {
            number: *number,
            fetched,
        }));
    };
    stage.fail("j", "192.0.2.1");
    facts(&mut stage, "a.example");
    let (first, _) = command(&mut stage).unwrap();
    stage.fail("j", "192.0.2.2");
    facts(&mut stage, "a.example");
    assert_eq!(command(&mut stage), None, "the first finds out for both");
    ends(&mut stage, first, true);
    assert_eq!(
        (said(&stage, "Ignored"), stage.waiting.len()),
        (1, 0),
        "silent from the cache"
    );
    stage.wait(11);
    stage.fail("j", "192.0.2.2");
    facts(&mut stage, "a.example");
    assert!(command(&mut stage).is_some(), "asked again when it is old");
}

#[test]
fn a_restored_ban_stays_until_its_exemption_is_known() {
    let mut stage = Stage::new(vec![plan("j")]);
    for _ in 0..3 {
        stage.fail("j", "192.0.2.1");
        stage.fail("j", "192.0.2.2");
    }
    let mut jail = plan("j");
    jail.ignoreip.push("good.example".into());
    stage.crash_into(vec![jail]);
    assert_eq!(stage.banned().len(), 2);
    name(&mut stage, "good.example", &["192.0.2.2"]);
    assert_eq!(stage.banned(), ["192.0.2.1"]);
    assert_eq!((stage.layer.len(), stage.bans.len()), (1, 1));
}

#[test]
fn one_subject_does_not_take_the_room_of_all() {
    let mut stage = Stage::new(vec![plan("j")]);
    for _ in 0..102 {
        named(&mut stage, "one.example");
    }
    assert_eq!(said(&stage, "TooManyQuestions"), 2);
}

#[test]
fn too_many_that_wait_are_counted_and_others_are_not_crowded_out() {
    let mut stage = Stage::new(vec![plan("j")]);
    for number in 0..10_001 {
        named(&mut stage, &format!("host{number}.example"));
    }
    assert_eq!(said(&stage, "TooManyQuestions"), 1);
    for _ in 0..3 {
        stage.fail("j", "192.0.2.1");
    }
    assert_eq!(stage.banned(), ["192.0.2.1"]);
}
