mod together;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use portcullis_core::action::{Batch, Form, Operation, render};
use portcullis_core::address::Id;
use portcullis_core::config::plan::ActionPlan;
use portcullis_core::ledger::Data;
use portcullis_core::time::Seconds;
use portcullis_core::value::Value;

use super::*;
use crate::runner::{Outcome, Template};

/// What was run and logged, and which commands are to fail how often.
#[derive(Default)]
struct Record {
    templates: Vec<Template>,
    ran: Vec<String>,
    log: Vec<Line>,
    failing: Vec<(String, u32)>,
}

#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Record>>);

impl Run for Stub {
    fn run(&mut self, template: TemplateId, values: &Values) -> Ran {
        let mut record = self.0.lock().unwrap();
        let script = record
            .templates
            .iter()
            .find(|t| t.id == template)
            .unwrap()
            .script
            .clone();
        record.take(render(&script, values).script)
    }

    fn batch(&mut self, items: Vec<Item>) -> Ran {
        let mut record = self.0.lock().unwrap();
        let script = |id| &record.templates.iter().find(|t| t.id == id).unwrap().script;
        let forms: Vec<Form> = items
            .iter()
            .map(|item| Form::of(script(item.template)).unwrap())
            .collect();
        let operations: Vec<_> = items
            .iter()
            .map(|item| Operation::new(&item.element, item.bantime).unwrap())
            .collect();
        let batch = Batch::of(forms.iter().zip(&operations)).unwrap();
        let lines: Vec<&str> = batch.input.lines().collect();
        record.take(format!("{} < {}", batch.invocation.program, lines.join(" | ")))
    }
}

impl Record {
    /// Writes down what is run, and fails if it is to.
    fn take(&mut self, command: String) -> Ran {
        self.ran.push(command.clone());
        let fails = self
            .failing
            .iter_mut()
            .find(|(part, left)| command.contains(part.as_str()) && *left > 0);
        let code = match fails {
            Some((_, left)) => {
                *left -= 1;
                1
            }
            None => 0,
        };
        Ran {
            outcome: Outcome::Exit(code),
            stdout: "it's\r\nout\n".into(),
            stderr: String::new(),
            duration_ms: 1,
        }
    }
}

impl Surroundings for Stub {
    fn clock(&mut self, now: Timestamp) -> Clock {
        Clock::at(now)
    }

    fn jail(&mut self, jail: &str) -> JailFacts {
        JailFacts {
            name: jail.to_owned(),
            bantime: Seconds::new(600),
            ..JailFacts::default()
        }
    }

    fn fetch(&mut self, _: &BTreeSet<Need>, _: &str, _: Option<&Ticket>) -> Fetched {
        Fetched::default()
    }

    fn log(&mut self, line: Line) {
        self.0.lock().unwrap().log.push(line);
    }
}

/// One jail `j` with one action `a`.
struct Stage {
    layer: ShellLayer,
    stub: Stub,
    catalogue: Catalogue,
    seconds: i64,
}

const ID: &str = "ja";

fn layer_id() -> LayerId {
    LayerId {
        jail: ID[..1].into(),
        action: ID[1..].into(),
    }
}

fn plan(properties: &[(&str, &str)]) -> ActionPlan {
    let properties = properties.iter().map(|(key, value)| match *value {
        "False" => ((*key).to_owned(), Value::Bool(false)),
        "True" => ((*key).to_owned(), Value::Bool(true)),
        text => ((*key).to_owned(), Value::from(text)),
    });
    ActionPlan {
        name: "a".into(),
        properties: properties.collect(),
    }
}

impl Stage {
    fn new(properties: &[(&str, &str)]) -> Self {
        let mut stage = Stage::empty();
        stage.put(properties);
        stage
    }

    fn empty() -> Self {
        let stub = Stub::default();
        let layer = ShellLayer::new(Box::new(stub.clone()), Box::new(stub.clone()));
        Stage {
            layer,
            stub,
            catalogue: Catalogue::default(),
            seconds: 1_000,
        }
    }

    fn put(&mut self, properties: &[(&str, &str)]) {
        let action = Action::compile(&plan(properties), true).unwrap();
        self.layer.put(&layer_id(), action, &mut self.catalogue);
        self.stub.0.lock().unwrap().templates = self.catalogue.templates();
    }

    fn fail(&self, part: &str, times: u32) {
        self.stub.0.lock().unwrap().failing.push((part.to_owned(), times));
    }

    /// Gives an order; returns what was run for it, and the error.
    fn order(&mut self, order: Order) -> (Vec<String>, Option<String>) {
        let change = Change {
            layer: layer_id(),
            order,
        };
        let facts = self
            .layer
            .apply(Timestamp::from_seconds(self.seconds), std::slice::from_ref(&change));
        assert_eq!((facts.len(), facts[0].order), (1, change.order.kind()));
        let ran = std::mem::take(&mut self.stub.0.lock().unwrap().ran);
        let error = match facts[0].result.clone() {
            Ok(standing) => {
                assert_eq!(standing, Standing::Applied);
                None
            }
            Err(error) => Some(error),
        };
        (ran, error)
    }

    #[track_caller]
    fn check(&mut self, order: Order, ran: &[&str]) {
        assert_eq!(self.order(order), (ran.iter().map(|c| (*c).to_owned()).collect(), None));
    }

    #[track_caller]
    fn check_error(&mut self, order: Order, ran: &[&str], error: &str) {
        let ran = ran.iter().map(|c| (*c).to_owned()).collect();
        let (commands, said) = self.order(order);
        let said = said.map(|said| said.split(" (its command").next().unwrap_or_default().to_owned());
        assert_eq!((commands, said), (ran, Some(error.to_owned())));
    }

    /// The lines logged since the last time, but for those of successful commands.
    fn log(&self) -> Vec<(&'static str, Level, String)> {
        let lines = std::mem::take(&mut self.stub.0.lock().unwrap().log);
        let loud = lines.into_iter().filter(|line| line.level > Level::Debug);
        loud.map(|line| (line.logger, line.level, line.text)).collect()
    }
}

fn ticket(id: &str) -> Ticket {
    Ticket {
        id: Id::parse(id).unwrap(),
        time: Timestamp::from_seconds(900),
        bantime: Seconds::new(600),
        bancount: 1,
        failures: 3,
        matches: vec!["line".into()],
        data: Data::default(),
        restored: false,
    }
}

fn ban(id: &str) -> Order {
    Order::Ban(ticket(id))
}

fn unban(id: &str) -> Order {
    Order::Unban(ticket(id))
}

const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

const FAMILIES: [(&str, &str); 8] = [
    ("actionstart", "start <fam>"),
    ("actionstop", "stop <fam>"),
    ("actionban", "ban <fam> <ip>"),
    ("actionunban", "unban <fam> <ip>"),
    ("actioncheck", "check <fam>"),
    ("actionflush", "flush <fam>"),
    ("fam", "4"),
    ("fam?family=inet6", "6"),
];

const PLAIN: [(&str, &str); 5] = [
    ("actionstart", "start"),
    ("actionstop", "stop"),
    ("actionban", "ban <ip>"),
    ("actionunban", "unban <ip>"),
    ("actioncheck", "check"),
];

#[test]
fn families_start_with_their_first_ban() {
    let mut stage = Stage::new(&FAMILIES);
    stage.check(Order::Start, &[]);
    stage.check(unban(V4), &[]);
    stage.check(ban(V4), &["start 4", "ban 4 192.0.2.1"]);
    stage.check(ban("192.0.2.2"), &["ban 4 192.0.2.2"]);
    stage.check(unban(V6), &[]);
    stage.check(ban(V6), &["start 6", "ban 6 2001:db8::1"]);
    stage.check(unban(V4), &["unban 4 192.0.2.1"]);
    stage.check(Order::Flush, &["flush 4", "flush 6"]);
    stage.check(Order::Flush, &[]);
    stage.check(unban(V4), &[]);
    stage.check(Order::Stop, &["stop 4", "stop 6"]);
    stage.check(Order::Stop, &[]);
    stage.check(ban(V6), &["start 6", "ban 6 2001:db8::1"]);
    stage.check(Order::Vacate, &["flush 6"]);
    stage.check(Order::Stop, &["stop 6"]);
}

#[test]
fn without_on_demand_all_families_start_with_the_jail() {
    let mut properties = FAMILIES.to_vec();
    properties.push(("actionstart_on_demand", "False"));
    let mut stage = Stage::new(&properties);
    stage.check(Order::Start, &["start 4", "start 6"]);
    stage.check(Order::Start, &[]);
    stage.check(ban(V4), &["ban 4 192.0.2.1"]);
    stage.check(Order::Vacate, &["flush 4"]);
    stage.check(Order::Stop, &["stop 4", "stop 6"]);
}

#[test]
fn equal_commands_of_two_families_run_once() {
    let mut stage = Stage::new(&[
        ("actionstart", "start"),
        ("actionstop", "stop"),
        ("actionban", "ban <fam>"),
        ("actionflush", "flush"),
        ("fam", "4"),
        ("fam?family=inet6", "6"),
        ("actionstart_on_demand", "False"),
    ]);
    stage.check(Order::Start, &["start"]);
    for _ in 0..2 {
        stage.check(ban(V4), &["ban 4"]);
        stage.check(ban(V6), &["ban 6"]);
        stage.check(Order::Flush, &["flush"]);
    }
    stage.check(Order::Stop, &["stop"]);
    stage.check(Order::Start, &["start"]);
}

#[test]
fn an_action_without_flush_unbans_each() {
    let mut stage = Stage::new(&PLAIN);
    stage.check(Order::Start, &["start"]);
    stage.check(ban(V4), &["ban 192.0.2.1"]);
    stage.check(ban("bob"), &["ban bob"]);
    stage.check(Order::Prolong(ticket(V4)), &[]);
    stage.check(Order::Flush, &[]);
    stage.check(unban(V4), &["unban 192.0.2.1"]);
    stage.check(unban("bob"), &["unban bob"]);
    stage.check(Order::Vacate, &[]);
    stage.check(Order::Stop, &["stop"]);
}

#[test]
fn an_action_with_flush_is_told_of_no_single_unban_behind_it() {
    let mut stage = Stage::new(&FAMILIES);
    stage.check(ban(V4), &["start 4", "ban 4 192.0.2.1"]);
    stage.fail("flush", 1);
    let error = "Error flushing action Jail('j')/a: 'Script error'";
    stage.check_error(Order::Flush, &["flush 4", "check 4"], error);
    stage.check(unban(V4), &[]);
    stage.check(unban(V4), &["unban 4 192.0.2.1"]);
    stage.check(ban(V4), &["ban 4 192.0.2.1"]);
    stage.check(Order::Flush, &["flush 4"]);
    stage.check(ban(V4), &["ban 4 192.0.2.1"]);
    stage.check(unban(V4), &["unban 4 192.0.2.1"]);
}

#[test]
fn whoever_offends_again_has_the_environment_checked() {
    let mut properties = PLAIN.to_vec();
    properties.push(("actionreban", "reban <ip>"));
    let mut stage = Stage::new(&properties);
    let again = |who: &str| Order::Again(ticket(who));
    stage.check(Order::Start, &["start"]);
    stage.check(ban(V4), &["ban 192.0.2.1"]);
    stage.check(ban("192.0.2.2"), &["ban 192.0.2.2"]);
    stage.check(again(V4), &["check", "check"]);
    stage.check(again(V4), &[]);
    stage.seconds += 3;
    stage.check(again(V4), &[]);
    stage.seconds += 1;
    stage.fail("check", 1);
    stage.check(again(V4), &["check", "stop", "start", "check", "check"]);
    assert_eq!(stage.layer.take_lost(), [layer_id()]);
    stage.log();
    stage.check(again(V4), &["reban 192.0.2.1"]);
    assert_eq!(stage.log()[0].2, "[j] Reban 192.0.2.1, action 'a'");
    stage.check(ban("192.0.2.2"), &["reban 192.0.2.2"]);
    stage.check(ban("192.0.2.2"), &[]);
}

#[test]
fn a_restored_ban_is_not_for_norestored_actions() {
    let mut properties = PLAIN.to_vec();
    properties.push(("norestored", "True"));
    let mut stage = Stage::new(&properties);
    let mut restored = ticket(V4);
    restored.restored = true;
    stage.check(Order::Ban(restored.clone()), &[]);
    stage.check(ban(V6), &["ban 2001:db8::1"]);
    Stage::new(&PLAIN).check(Order::Ban(restored), &["ban 192.0.2.1"]);
}

#[test]
fn a_failed_command_is_tried_again_in_a_sound_environment() {
    let mut stage = Stage::new(&FAMILIES);
    stage.fail("ban 4", 1);
    stage.check(ban(V4), &["start 4", "ban 4 192.0.2.1", "check 4", "ban 4 192.0.2.1"]);
    assert!(stage.layer.take_lost().is_empty());
    stage.fail("ban 4", 2);
    stage.check_error(
        ban("192.0.2.2"),
        &["ban 4 192.0.2.2", "check 4", "ban 4 192.0.2.2"],
        "Error banning 192.0.2.2",
    );
}

#[test]
fn a_broken_environment_is_stopped_and_started() {
    let mut stage = Stage::new(&FAMILIES);
    stage.check(ban(V4), &["start 4", "ban 4 192.0.2.1"]);
    stage.log();
    stage.fail("ban 4", 1);
    stage.fail("check", 1);
    stage.check(
        ban("192.0.2.2"),
        &[
            "ban 4 192.0.2.2",
            "check 4",
            "stop 4",
            "start 4",
            "check 4",
            "ban 4 192.0.2.2",
        ],
    );
    let said: Vec<String> = stage
        .log()
        .into_iter()
        .map(|(logger, _, text)| format!("{logger}: {text}"))
        .collect();
    assert!(
        said.contains(&"fail2ban.CommandAction: Invariant check failed. Trying to restore a sane environment".into())
    );
    assert_eq!(stage.layer.take_lost(), [layer_id()]);
    assert!(stage.layer.take_lost().is_empty());
}

#[test]
fn what_cannot_be_mended_is_an_error() {
    let mut stage = Stage::new(&FAMILIES);
    stage.fail("ban 4", 9);
    stage.fail("check", 9);
    stage.check_error(
        ban(V4),
        &["start 4", "ban 4 192.0.2.1", "check 4", "stop 4", "start 4", "check 4"],
        "Error banning 192.0.2.1",
    );
    let critical: Vec<_> = stage
        .log()
        .into_iter()
        .filter(|(_, level, _)| *level == Level::Critical)
        .collect();
    let text = "Unable to restore environment".to_owned();
    assert_eq!(critical, [("fail2ban.CommandAction", Level::Critical, text)]);
    stage.check(Order::Stop, &["stop 4"]);
}

#[test]
fn an_action_that_knows_no_families_is_started_again_as_a_whole() {
    let mut stage = Stage::new(&PLAIN);
    stage.check(Order::Start, &["start"]);
    stage.fail("ban", 1);
    stage.fail("check", 1);
    stage.check(
        ban(V4),
        &["ban 192.0.2.1", "check", "stop", "start", "check", "ban 192.0.2.1"],
    );
}

#[test]
fn repair_goes_before_stop_and_start_and_reban_follows() {
    let mut properties = PLAIN.to_vec();
    properties.extend([("actionrepair", "repair"), ("actionreban", "reban <ip>")]);
    let mut stage = Stage::new(&properties);
    stage.check(Order::Start, &["start"]);
    stage.check(ban(V4), &["ban 192.0.2.1"]);
    stage.fail("ban", 1);
    stage.fail("check", 1);
    stage.check(
        ban(V6),
        &["ban 2001:db8::1", "check", "repair", "check", "ban 2001:db8::1"],
    );
    stage.check(ban(V4), &["reban 192.0.2.1"]);
    stage.check(ban(V4), &[]);
    stage.check(unban(V4), &["unban 192.0.2.1"]);
    stage.fail("ban", 1);
    stage.fail("check", 1);
    stage.fail("repair", 1);
    stage.check_error(
        ban(V4),
        &["ban 192.0.2.1", "check", "repair"],
        "Error banning 192.0.2.1",
    );
}

#[test]
fn an_unban_is_not_worth_a_repair_unless_told() {
    let mut stage = Stage::new(&PLAIN);
    stage.check(ban(V4), &["ban 192.0.2.1"]);
    stage.log();
    stage.fail("unban", 1);
    stage.fail("check", 1);
    stage.check_error(unban(V4), &["unban 192.0.2.1", "check"], "Error unbanning 192.0.2.1");
    assert!(stage.log().contains(&(
        "fail2ban.CommandAction",
        Level::Error,
        "Invariant check failed. Unban is impossible.".into()
    )));
    let mut properties = PLAIN.to_vec();
    properties.push(("actionrepair_on_unban", "True"));
    let mut stage = Stage::new(&properties);
    stage.check(ban(V4), &["ban 192.0.2.1"]);
    stage.fail("unban", 1);
    stage.fail("check", 1);
    stage.check(
        unban(V4),
        &["unban 192.0.2.1", "check", "stop", "start", "check", "unban 192.0.2.1"],
    );
}

#[test]
fn a_failed_flush_is_checked() {
    for (at_stop, commands) in [
        (true, &["flush 4", "check 4"][..]),
        (false, &["flush 4", "check 4", "stop 4", "start 4", "check 4"]),
    ] {
        let mut stage = Stage::new(&FAMILIES);
        stage.check(ban(V4), &["start 4", "ban 4 192.0.2.1"]);
        stage.log();
        stage.fail("flush", 1);
        stage.fail("check", 1);
        let order = if at_stop { Order::Vacate } else { Order::Flush };
        stage.check_error(order, commands, "Error flushing action Jail('j')/a: 'Script error'");
        let texts: Vec<String> = stage.log().into_iter().map(|(_, _, text)| text).collect();
        let refused = texts.contains(&"Invariant check failed. Flush is impossible.".to_owned());
        assert_eq!(refused, at_stop, "{texts:?}");
        assert_eq!(texts[0], "[j] Flush ticket(s) with a");
        assert!(
            texts.contains(
                &"Failed to flush bans in jail 'j' action 'a': Error flushing action Jail('j')/a: 'Script error'"
                    .to_owned()
            )
        );
    }
}

#[test]
fn a_stop_after_a_failed_flush_flushes_again() {
    let mut stage = Stage::new(&FAMILIES);
    stage.check(ban(V4), &["start 4", "ban 4 192.0.2.1"]);
    stage.fail("flush", 1);
    let error = "Error flushing action Jail('j')/a: 'Script error'";
    stage.check_error(Order::Flush, &["flush 4", "check 4"], error);
    stage.check(Order::Vacate, &["flush 4"]);
    stage.check(Order::Stop, &["stop 4"]);
}

#[test]
fn a_failed_start_and_stop_are_logged() {
    let mut stage = Stage::new(&PLAIN);
    stage.fail("start", 1);
    let error = "Error starting action Jail('j')/a: 'Script error'";
    stage.check_error(Order::Start, &["start"], error);
    assert_eq!(
        stage.log().pop(),
        Some((
            "fail2ban.actions",
            Level::Error,
            format!("Failed to start jail 'j' action 'a': {error}")
        ))
    );
    stage.check(Order::Start, &["start"]);
    stage.fail("stop", 1);
    stage.check_error(
        Order::Stop,
        &["stop"],
        "Error stopping action Jail('j')/a: 'Script error'",
    );
}

#[test]
fn a_failed_ban_in_the_log() {
    let mut stage = Stage::new(&[("actionban", "ban <matches> <F-X>")]);
    let mut hostile = ticket(V4);
    hostile.matches = vec!["it's\nmine".into()];
    stage.fail("ban", 2);
    stage.order(Order::Ban(hostile));
    let log = stage.log();
    let texts: Vec<&str> = log.iter().map(|(_, _, text)| text.as_str()).collect();
    let exec = "exec: ['f2bV_matches=$0 \\nban $f2bV_matches ', \"it's\\nmine\"]";
    assert_eq!(
        texts[..4],
        [
            format!("1 -- {exec}"),
            "1 -- stdout: \"it's\"".to_owned(),
            "1 -- stdout: 'out'".to_owned(),
            "1 -- returned 1".to_owned(),
        ]
    );
    assert_eq!(
        texts.last(),
        Some(
            &"Failed to execute ban jail 'j' action 'a' info 'ActionInfo({'ip': '192.0.2.1', 'family': 'inet4', \
              'fid': '192.0.2.1', 'matches': \"it's\\nmine\", 'raw-ticket': 'BanTicket: ip=192.0.2.1 time=900.0 \
              bantime=None bancount=1 #attempts=3 matches=[\"it\\'s\\\\nmine\"]'})': Error banning 192.0.2.1"
        )
    );
    assert!(
        log[..4]
            .iter()
            .all(|(logger, level, _)| (*logger, *level) == ("fail2ban.utils", Level::Error))
    );
}

#[test]
fn a_reload_keeps_what_is_started_and_held() {
    let mut stage = Stage::new(&PLAIN);
    stage.check(Order::Start, &["start"]);
    stage.check(ban(V4), &["ban 192.0.2.1"]);
    let mut changed = PLAIN.to_vec();
    changed.extend([("actionunban", "away <ip>"), ("actionreload", "reload")]);
    stage.put(&changed);
    stage.check(Order::Reload, &["reload"]);
    stage.check(Order::Reload, &["reload"]);
    stage.check(unban(V4), &["away 192.0.2.1"]);
    stage.check(Order::Stop, &["stop"]);
    stage.layer.retain(&std::collections::BTreeSet::new());
    stage.check_error(Order::Start, &[], "Invalid Action name: a");
    assert!(!stage.layer.uses(stage.catalogue.templates()[0].id));
}

#[test]
fn endings_in_the_log() {
    let command = render("cmd", &Values::default());
    let last = |outcome| {
        let ran = Ran::nothing(outcome);
        let (_, text) = report::lines(0xab, &command, portcullis_core::time::Number::Int(60), &ran, &[0])
            .pop()
            .unwrap();
        text
    };
    for (outcome, expect) in [
        (Outcome::Exit(0), "ab -- returned successfully 0"),
        (Outcome::Exit(128), "ab -- returned 128"),
        (Outcome::Exit(143), "ab -- killed with SIGTERM (return code: 143)"),
        (Outcome::Exit(255), "ab -- killed with signal 127 (return code: 255)"),
        (Outcome::Signal(9), "ab -- killed with SIGKILL (return code: -9)"),
        (
            Outcome::TimedOut(Some(-15)),
            "ab -- killed with SIGTERM (return code: -15)",
        ),
        (Outcome::CouldNotStart("why".into()), "cmd -- failed with why"),
    ] {
        assert_eq!(last(outcome), expect);
    }
    let ran = Ran::nothing(Outcome::TimedOut(Some(-15)));
    let lines = report::lines(1, &command, portcullis_core::time::Number::Float(0.5), &ran, &[0]);
    assert_eq!(lines[1], (Level::Error, "1 -- timed out after 0.5 seconds.".into()));
}
