use super::*;
use crate::engine::Effect;
use crate::value::Value;

/// A system on which nothing can be done.
struct Nowhere;

impl World for Nowhere {
    fn can_read(&self, _: &str) -> Result<(), (i32, String)> {
        Err((2, "No such file or directory".into()))
    }

    fn knows_encoding(&self, _: &str) -> bool {
        false
    }

    fn local_time(&self, _: crate::time::Timestamp) -> String {
        String::new()
    }

    fn can_log(&self, _: &str, _: &str) -> bool {
        false
    }
}

/// What the last of some commands, words between blanks, comes to.
fn last(lines: &[&str]) -> (Plan, Obeyed) {
    let mut plan = Plan::default();
    let engine = Engine::new();
    let mut obeyed = None;
    for line in lines {
        let words: Vec<Value> = line.split(' ').map(Value::from).collect();
        let mut live = Live {
            plan: &mut plan,
            engine: &engine,
            world: &Nowhere,
        };
        obeyed = Some(obey(&mut live, &words));
    }
    (plan, obeyed.unwrap())
}

fn check(lines: &[&str], expect: &str) {
    let shown = match last(lines).1.outcome {
        Ok(Deed::Answer(value)) => value.repr(),
        Ok(deed) => format!("{deed:?}"),
        Err(exception) => format!("{}: {exception}", exception.class.path().1),
    };
    assert_eq!(shown, expect, "{lines:?}");
}

#[test]
fn prefixes() {
    let unknown = "Exception: Invalid command (no get action or not yet implemented)";
    check(&["add j", "get j prefix.ipv6"], unknown);
    check(&["add j", "set j prefix.ipv6 64"], "64");
    check(&["add j", "set j prefix.ipv6 64", "get j prefix.ipv6"], "64");
    check(&["add j", "set j prefix.ipv6 64", "get j prefix.ipv4"], unknown);
    check(
        &[
            "add j",
            "set j prefix.ipv6 64",
            "set j prefix.ipv6 47",
            "get j prefix.ipv6",
        ],
        "64",
    );
    check(
        &["add j", "set j prefix.ipv6 47"],
        "Exception: prefix.ipv6 cannot be '47': write a prefix length from 48, as wide as a ban that nobody typed may \
         be, to 128",
    );
    check(
        &["add j", "set j prefix.other 64"],
        "Exception: Invalid command 'prefix.other' (no set action or not yet implemented)",
    );
    check(&["set j prefix.ipv6 64"], "UnknownJailException: 'j'");
}

#[test]
fn the_journal() {
    let add = "set j addjournalmatch A=1 B=2 + C=3";
    check(&["add j systemd", add], "[['A=1', 'B=2'], ['C=3']]");
    check(&["add j systemd", add, "set j deljournalmatch A=1 B=2"], "[['C=3']]");
    check(
        &["add j systemd", add, "set j deljournalmatch A=1"],
        "ValueError: Match ['A=1'] not found",
    );
    check(&["add j systemd", "set j addlogpath /x"], "[]");
    check(
        &["add j systemd", add, "status j short"],
        "[('Filter', [('Currently failed', 0), ('Total failed', 0), ('Journal matches', ['A=1 B=2 + C=3'])]), \
         ('Actions', [('Currently banned', 0), ('Total banned', 0)])]",
    );
    check(
        &["add j systemd[journalflags=1]", "status j stats"],
        "['systemd', (0, 0), (0, 0)]",
    );
}

#[test]
fn what_the_system_refuses() {
    check(
        &["add j", "set j addlogpath /x"],
        "FileNotFoundError: [Errno 2] No such file or directory: '/x'",
    );
    check(&["set logtarget SYSLOG"], "Exception: Failed to change log target");
    check(&["set logtarget SYSLOG", "get syslogsocket"], "'/dev/log'");
    check(
        &["add j", "set j logencoding utf-8"],
        "LookupError: unknown encoding: utf-8",
    );
}

#[test]
fn what_is_amended_is_told() {
    let (_, obeyed) = last(&["add j", "start j", "set j maxretry 5"]);
    assert_eq!(obeyed.amended.jails, BTreeSet::from(["j".into()]));
    let (_, obeyed) = last(&["add j", "set j maxretry x"]);
    assert!(obeyed.amended.is_empty(), "{obeyed:?}");
    let (plan, obeyed) = last(&["add j", "add k", "stop --all"]);
    assert_eq!((plan.jails.len(), obeyed.amended.jails.len()), (0, 2));
    let (_, obeyed) = last(&["set loglevel debug"]);
    assert_eq!(obeyed.amended.server, BTreeSet::from(["loglevel".into()]));
    let (_, obeyed) = last(&["config-error text"]);
    assert_eq!(obeyed.amended.errors, ["text"]);
    assert!(!obeyed.amended.is_empty() && !obeyed.amended.is_change());
}

/// An attempt waits for what must be found out, and is answered then.
#[test]
fn an_attempt_is_answered_when_it_is_decided() {
    use crate::engine::{Answer, Arrangement, Input, Question, ReplyTo};
    let (plan, _) = last(&["add j", "set j addignoreip host.example", "start j"]);
    let mut engine = Engine::new();
    let (now, mut out) = (crate::time::Timestamp::from_seconds(1000), Vec::new());
    let arrangement = Arrangement {
        plan: plan.jails[0].clone(),
        held: None,
        native: BTreeSet::new(),
        cloud: BTreeSet::new(),
        reloaded: false,
    };
    engine.handle(now, Input::Plan(vec![arrangement]), &mut out);
    let request = Request::Attempt {
        jail: "j".into(),
        id: crate::address::Id::parse("192.0.2.1").unwrap(),
        lines: vec!["x".into()],
    };
    engine.handle(now, Input::Request(request, ReplyTo(7)), &mut out);
    let is_asked = |effect: &Effect| matches!(effect, Effect::Ask(Question::Name { .. }));
    let is_answered = |effect: &Effect| matches!(effect, Effect::Reply(..));
    assert!(out.iter().any(is_asked) && !out.iter().any(is_answered), "{out:?}");
    let answer = Answer::Name {
        name: "host.example".into(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    engine.handle(now, Input::Answer(answer), &mut out);
    assert!(out.contains(&Effect::Reply(ReplyTo(7), Ok(Value::Int(0)))), "{out:?}");
}

#[test]
fn who_asks_wrongly_changes_nothing() {
    for line in ["status j odd", "config-error x", "status --all odd"] {
        let amended = last(&["add j polling", line]).1.amended;
        assert!(!amended.is_change() && !amended.is_empty(), "{line}: {amended:?}");
    }
    assert!(last(&["add j polling", "set j maxretry 3"]).1.amended.is_change());
}
