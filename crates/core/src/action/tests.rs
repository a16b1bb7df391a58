use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::address::Id;
use crate::ledger::{Field, Ticket};
use crate::time::{Clock, Seconds, Timestamp};

const ACTS: &str = "\\#&;`|*?~<>^()[]{}$'\"\n\r";

fn plan(properties: &[(&str, &str)]) -> ActionPlan {
    ActionPlan {
        name: "a".into(),
        properties: properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect(),
    }
}

fn compile(properties: &[(&str, &str)]) -> Action {
    Action::compile(&plan(properties), true).unwrap()
}

fn ticket(id: &str, data: &[(&str, &str)]) -> Ticket {
    Ticket {
        id: Id::parse(id).unwrap(),
        time: Timestamp::from_seconds(1_000),
        bantime: Seconds::new(600),
        bancount: 2,
        failures: 3,
        matches: vec!["first".into(), "it's".into()],
        data: data
            .iter()
            .map(|(name, text)| (*name, Field::Text((*text).into())))
            .collect(),
        restored: false,
    }
}

fn jail() -> JailFacts {
    JailFacts {
        name: "sshd".into(),
        bantime: Seconds::new(600),
        banned: 1,
        banned_total: 2,
        found: 3,
        found_total: 4,
    }
}

/// Renders `actionban` for a ticket while the wall clock is 50 s ahead.
fn ban(properties: &[(&str, &str)], ticket: &Ticket) -> Command {
    let action = compile(properties);
    let script = action.script(Verb::Ban, Scope::of(ticket)).unwrap();
    let (jail, fetched) = (jail(), Fetched::default());
    let clock = Clock {
        steady: Timestamp::from_seconds(2_000),
        wall: Timestamp::from_seconds(2_050),
    };
    let context = Context {
        clock,
        jail: &jail,
        fetched: &fetched,
    };
    render(script.text(), &script.values(ticket, &context))
}

fn check(command: &str, ticket: &Ticket, expect: &str) {
    let made = ban(&[("actionban", command)], ticket);
    assert_eq!((made.script.as_str(), made.values.len()), (expect, 0), "{command}");
}

fn check_values(command: &str, ticket: &Ticket, expect: &[&str]) {
    let made = ban(&[("actionban", command)], ticket);
    let mut argv = vec![made.script];
    argv.extend(made.values);
    assert_eq!(argv, expect, "{command}");
}

#[test]
fn tags_of_a_ticket() {
    let v4 = ticket("203.0.113.5", &[("user", "bob"), ("fid", "x"), ("fport", "22")]);
    for (command, expect) in [
        ("<ip> <fid> <family>", "203.0.113.5 203.0.113.5 inet4"),
        ("<ip-rev>", "5.113.0.203."),
        ("<failures> <bancount> <bantime> <restored> <time>", "3 2 600 0 1050.0"),
        (
            "<jail.name> <jail.banned> <jail.banned_total> <jail.found> <jail.found_total>",
            "sshd 1 2 3 4",
        ),
        ("<F-USER> <F-ID> <F-PORT> <F-FAILURES>", "bob x 22 3"),
        ("a<F-NONE>b <nope> <F-user> < ip> <>", "ab <nope> <F-user> < ip> <>"),
        ("a<br>b<sp>c", "a\nb c"),
        ("<ip-host> <ipfailures> <ipjailfailures>", "None 3 3"),
        ("<timeout> <actionstop>.", "60 ."),
        ("<x<ip>> <F-<F-USER>>", "<x203.0.113.5> <F-bob>"),
    ] {
        check(command, &v4, expect);
    }
    check("<family> <ip> <ip-rev>.", &ticket("bob", &[]), "None bob .");
    check("<ip-rev>", &ticket("192.0.2.0/24", &[]), "0/24.2.0.192.");
    let rev6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.";
    check("<ip-rev>", &ticket("2001:db8::1", &[]), rev6);
    let apart = ticket("bob", &[("ip", "2001:db8::1")]);
    check("<ip> <fid> <family>", &apart, "2001:db8::1 bob inet6");
}

#[test]
fn ban_times_are_whole() {
    let mut forever = ticket("192.0.2.1", &[]);
    forever.bantime = Seconds::FOREVER;
    check("<bantime>", &forever, "-1");
    forever.bantime = Seconds::from_f64(5400.5);
    check("<bantime>", &forever, "5400");
}

#[test]
fn what_a_shell_acts_upon_is_never_in_the_script() {
    check_values(
        "x <F-A> <F-B> <F-USER> <nope>",
        &ticket("192.0.2.1", &[("a", "it's"), ("b", "plain v"), ("user", "a;b")]),
        &[
            "f2bV_F_a=$0 f2bV_F_user=$1 \nx $f2bV_F_a plain v $f2bV_F_user <nope>",
            "it's",
            "a;b",
        ],
    );
    check_values(
        "\"<matches>\" <matches>",
        &ticket("192.0.2.1", &[]),
        &["f2bV_matches=$0 \n\"$f2bV_matches\" $f2bV_matches", "first\nit's"],
    );
    for c in ACTS.chars() {
        let value = format!("a{c}<ip>");
        check_values(
            "<F-A-B>",
            &ticket("192.0.2.1", &[("a-b", &value)]),
            &["f2bV_F_a_b=$0 \n$f2bV_F_a_b", &value],
        );
    }
}

#[test]
fn more_than_ten_values_are_braced() {
    let data: Vec<(String, String)> = ('a'..='l').map(|c| (c.to_string(), format!("{c};"))).collect();
    let data: Vec<(&str, &str)> = data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let (mut command, mut script, mut body) = (String::new(), String::new(), String::new());
    for (index, c) in ('a'..='l').enumerate() {
        let _ = write!(command, "<F-{}>", c.to_ascii_uppercase());
        let number = if index < 10 {
            format!("{index}")
        } else {
            format!("{{{index}}}")
        };
        let _ = write!(script, "f2bV_F_{c}=${number} ");
        let _ = write!(body, "$f2bV_F_{c}");
    }
    let made = ban(&[("actionban", &command)], &ticket("192.0.2.1", &data));
    assert_eq!(made.script, format!("{script}\n{body}"));
    assert_eq!(made.values.len(), 12);
}

#[test]
fn no_value_can_make_a_command_impossible() {
    check("<F-USER>", &ticket("192.0.2.1", &[("user", "a\0b")]), "ab");
    let long = "ä;".repeat(200_000);
    let made = ban(&[("actionban", "<F-USER>")], &ticket("192.0.2.1", &[("user", &long)]));
    assert!(made.values[0].len() <= 64 * 1024 && long.starts_with(&made.values[0]));
    let harmless = "a".repeat(10_000);
    let made = ban(
        &[("actionban", "<F-USER>")],
        &ticket("192.0.2.1", &[("user", &harmless)]),
    );
    assert_eq!(made.values, [harmless]);
}

#[test]
fn static_tags_are_resolved_for_each_family() {
    let properties = [
        ("actionban", "<cmd> <fam> <blocktype> <ip>"),
        ("cmd", "run-<fam>"),
        ("fam", "four"),
        ("fam?family=inet6", "six<deep>"),
        ("deep", "!"),
        ("blocktype", "<b<x>>"),
        ("x", "4"),
        ("x?family=inet6", "6"),
        ("b4", "DROP"),
        ("b6", "REJECT"),
    ];
    let made = |id| ban(&properties, &ticket(id, &[])).script;
    assert_eq!(made("192.0.2.1"), "run-four four DROP 192.0.2.1");
    assert_eq!(made("2001:db8::1"), "run-six! six! REJECT 2001:db8::1");
    assert_eq!(made("bob"), "run-four four DROP bob");
}

#[test]
fn operations_know_their_family_and_checks_nothing_else() {
    let action = compile(&[
        ("actionstart", "s <family> <ip>|<jail.name>"),
        ("actioncheck", "c <family> <ip> <fq-hostname>"),
        ("x?family=inet6", ""),
    ]);
    let inet6 = Scope::Family(Family::Inet6);
    let start = action.script(Verb::Start, inet6).unwrap();
    assert_eq!(start.text(), "s inet6 <ip>|<jail.name>");
    let fetched = Fetched {
        full_hostname: "host.example".into(),
        ..Fetched::default()
    };
    let jail = jail();
    let context = Context {
        clock: Clock::at(Timestamp::default()),
        jail: &jail,
        fetched: &fetched,
    };
    let values = start.values_without_ticket(inet6, &context);
    assert_eq!(render(start.text(), &values).script, "s inet6 |sshd");
    let probe = action.script(Verb::Check, inet6).unwrap();
    assert_eq!(probe.needs().into_iter().collect::<Vec<_>>(), [Need::FullHostname]);
    let values = probe.values_of_machine(&fetched);
    assert_eq!(render(probe.text(), &values).script, "c inet6 <ip> host.example");
    assert!(action.script(Verb::Stop, inet6).is_none());
    assert!(action.script(Verb::Prolong, Scope::Whole).is_none());
}

#[test]
fn options_of_the_server() {
    let plain = compile(&[("actionban", "x")]);
    assert_eq!((plain.on_demand(), plain.families()), (false, &[Scope::Whole][..]));
    let both = [Scope::Family(Family::Inet4), Scope::Family(Family::Inet6)];
    let conditional = compile(&[("x?family=inet6", "y"), ("timeout", "1m")]);
    assert_eq!((conditional.on_demand(), conditional.families()), (true, &both[..]));
    assert_eq!(conditional.timeout(), Number::Int(60));
    let mut forced = plan(&[("x?family=inet6", "y"), ("bantime", "5")]);
    forced
        .properties
        .push(("actionstart_on_demand".into(), Value::Bool(false)));
    let forced = Action::compile(&forced, false).unwrap();
    assert_eq!((forced.on_demand(), forced.families()), (false, &both[..1]));
}

#[test]
fn a_literal_property_of_matches_is_backslashed() {
    let made = ban(
        &[("actionban", "x <matches>"), ("matches", "it's\n$x")],
        &ticket("192.0.2.1", &[]),
    );
    assert_eq!((made.script.as_str(), made.values.len()), ("x it\\'s\\n\\$x", 0));
}

#[test]
fn circles_and_explosions_are_refused() {
    let refused = |properties: &[(&str, &str)]| Action::compile(&plan(properties), true).unwrap_err();
    for circle in [
        &[("actionban", "<a>"), ("a", "<b>"), ("b", "<a>")][..],
        &[("actionban", "<a>"), ("a", "x<a>")],
    ] {
        assert!(matches!(refused(circle), Error::SelfReference { .. }));
    }
    let names: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
    let values: Vec<String> = (1..41).map(|n| format!("<t{n}><t{n}>")).collect();
    let mut bomb: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(values.iter().map(String::as_str))
        .collect();
    bomb.push(("t40", "boom"));
    assert!(matches!(refused(&bomb), Error::TooLong(_)));
    assert!(matches!(refused(&[("timeout", "soon")]), Error::Timeout(_)));
    assert!(matches!(refused(&[("families", "inet4 inet5")]), Error::Families(_)));
}

#[test]
fn the_log_shows_what_a_command_asked_for() {
    let action = compile(&[("actionban", "<ip> <failures> <ip-host>")]);
    let script = action.script(Verb::Ban, Scope::Whole).unwrap();
    let (jail, fetched) = (jail(), Fetched::default());
    let context = Context {
        clock: Clock::at(Timestamp::default()),
        jail: &jail,
        fetched: &fetched,
    };
    assert_eq!(
        script.describe(&ticket("192.0.2.1", &[]), &context),
        "ActionInfo({'ip': '192.0.2.1', 'family': 'inet4', 'ip-host': None, 'fid': '192.0.2.1', 'failures': 3, \
         'raw-ticket': 'BanTicket: ip=192.0.2.1 time=1000.0 bantime=None bancount=2 #attempts=3 \
         matches=[\\'first\\', \"it\\'s\"]'})"
    );
}

proptest::proptest! {
    /// Whatever was captured, the script holds of it only characters that no shell acts upon.
    #[test]
    fn scripts_are_made_of_the_template_alone(user in ".*", id in ".*") {
        let values = Values {
            tags: BTreeMap::from([("ip".to_owned(), id)]),
            fields: BTreeMap::from([("user".to_owned(), user)]),
        };
        let made = render("x <ip> <F-USER> y", &values);
        let body = made.script.split_once(" \n").filter(|_| !made.values.is_empty()).map_or(made.script.as_str(), |(_, body)| body);
        let inner = body.strip_prefix("x ").and_then(|b| b.strip_suffix(" y")).unwrap();
        let clean = inner.replace("$f2bV_ip", "").replace("$f2bV_F_user", "");
        proptest::prop_assert!(!clean.contains(|c| ACTS.contains(c)), "{:?}", made);
    }
}
