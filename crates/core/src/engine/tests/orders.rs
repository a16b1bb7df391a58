//! In which order shell actions are told what (contract §4.3, §5.4).

use super::*;
use crate::ledger::LayerId;

/// A jail with two shell actions, and what they are told.
struct Actions {
    engine: Engine,
    now: i64,
}

impl Actions {
    fn new() -> (Self, Vec<String>) {
        let mut actions = Actions {
            engine: Engine::new(),
            now: 1000,
        };
        let told = actions.plan(&["a", "b"]);
        (actions, told)
    }

    fn plan(&mut self, names: &[&str]) -> Vec<String> {
        let mut plan = plan("j");
        plan.maxretry = 1;
        let action = |name: &&str| ActionPlan {
            name: (*name).into(),
            properties: vec![("actionban".into(), "true".into())],
        };
        plan.actions = names.iter().map(action).collect();
        let mut arrangement = arrangement(plan);
        arrangement.native.clear();
        self.input(Input::Plan(vec![arrangement]))
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.engine.handle(Timestamp::from_seconds(self.now), input, &mut out);
        let changes = out.into_iter().filter_map(|effect| match effect {
            Effect::Change(change) => Some(change),
            _ => None,
        });
        let word = |change: Change| {
            let whom = change
                .order
                .ticket()
                .map_or(String::new(), |ticket| format!(" {}", ticket.id));
            format!("{} {:?}{whom}", change.layer.action, change.order.kind())
        };
        changes.map(word).collect()
    }

    fn fail(&mut self, who: &str) -> Vec<String> {
        let now = Timestamp::from_seconds(self.now);
        self.input(Input::Batch(Batch {
            clock: Clock::at(now),
            failures: vec![failure("j", Identity::Known(Id::parse(who).unwrap()), now)],
            reads: vec![],
            sessions: vec![],
            at_once: true,
        }))
    }
}

#[test]
fn from_the_start_to_the_end() {
    let (mut actions, told) = Actions::new();
    assert_eq!(told, ["a Start", "b Start"]);
    assert_eq!(actions.fail("192.0.2.2"), ["a Ban 192.0.2.2", "b Ban 192.0.2.2"]);
    actions.fail("192.0.2.1");
    let everybody = [
        "a Unban 192.0.2.2",
        "b Unban 192.0.2.2",
        "a Unban 192.0.2.1",
        "b Unban 192.0.2.1",
    ];
    let free = Input::Request(Request::Unban { ids: None, jail: None }, ReplyTo(1));
    let told = actions.input(free.clone());
    assert_eq!(
        told,
        [&["a Flush", "b Flush"][..], &everybody].concat(),
        "in the order of their bans"
    );
    assert_eq!(
        actions.input(free),
        ["a Flush", "b Flush"],
        "something may be left of a failed command"
    );
    actions.fail("192.0.2.2");
    actions.fail("192.0.2.1");
    actions.now += 700;
    assert_eq!(
        actions.input(Input::Tick),
        everybody,
        "of equal ends the earlier ban first"
    );
    let told = actions.input(Input::Stop);
    assert_eq!(told, ["a Vacate", "b Vacate", "b Stop", "a Stop"]);
}

#[test]
fn actions_that_a_reload_takes_away() {
    let (mut actions, _) = Actions::new();
    actions.fail("192.0.2.2");
    let told = actions.plan(&["c"]);
    let ended = [
        "a Vacate",
        "b Vacate",
        "a Unban 192.0.2.2",
        "b Unban 192.0.2.2",
        "b Stop",
        "a Stop",
    ];
    assert_eq!(told, [&["c Start", "c Ban 192.0.2.2"][..], &ended].concat());
}

#[test]
fn whoever_offends_again_and_what_was_lost() {
    let (mut actions, _) = Actions::new();
    actions.fail("192.0.2.2");
    actions.fail("192.0.2.1");
    actions.now += 3;
    assert!(actions.fail("192.0.2.1").is_empty(), "it may have been under way");
    actions.now += 1;
    assert_eq!(actions.fail("192.0.2.1"), ["a Again 192.0.2.1", "b Again 192.0.2.1"]);
    let layer = LayerId {
        jail: "j".into(),
        action: "a".into(),
    };
    actions.input(Input::Applied(Applied {
        layer: layer.clone(),
        id: Some(Id::parse("192.0.2.2").unwrap()),
        order: OrderKind::Ban,
        result: Err("no".into()),
    }));
    let told = actions.input(Input::Lost(layer));
    assert_eq!(told, ["a Ban 192.0.2.1"], "what failed is not tried for ever");
}
