use std::collections::BTreeMap;

use proptest::prelude::*;

use super::known::whole_second;
use super::*;
use crate::address::Id;
use crate::config::plan::{ActionPlan, JailPlan};
use crate::filter::{Failure, Identity};
use crate::history::Past;
use crate::ledger::{Applied, Change, Count, Data, Mark, Order, OrderKind, Pending, Standing, Ticket};
use crate::time::{Clock, Seconds};

mod exempt;
mod orders;
mod prefix;
mod standing;

/// A daemon in miniature: a clock, the engine, what the store kept and what one layer holds.
struct Stage {
    now: Timestamp,
    engine: Engine,
    bans: BTreeMap<(String, Id), Ticket>,
    counts: BTreeMap<(String, Id), Count>,
    offset: u64,
    /// Whom the layer holds, and until when
    layer: BTreeMap<Id, Option<Timestamp>>,
    history: BTreeMap<(String, Id), Past>,
    plans: Vec<JailPlan>,
    notes: Vec<String>,
    asked: Vec<Question>,
    waiting: BTreeMap<u64, (String, Pending)>,
    failing: bool,
}

fn plan(name: &str) -> JailPlan {
    let mut plan = JailPlan::new(name, "auto");
    plan.started = true;
    plan.actions = vec![ActionPlan {
        name: "nft".into(),
        properties: Vec::new(),
    }];
    plan.ignoreip = vec!["127.0.0.0/8".into()];
    plan
}

fn arrangement(plan: JailPlan) -> Arrangement {
    Arrangement {
        native: plan.actions.iter().map(|a| Arc::clone(&a.name)).collect(),
        cloud: BTreeSet::new(),
        plan,
        held: None,
        reloaded: true,
    }
}

impl Stage {
    fn new(plans: Vec<JailPlan>) -> Stage {
        let mut stage = Stage {
            now: Timestamp::from_seconds(1_000_000),
            engine: Engine::new(),
            bans: BTreeMap::new(),
            counts: BTreeMap::new(),
            offset: 0,
            layer: BTreeMap::new(),
            history: BTreeMap::new(),
            plans: plans.clone(),
            notes: Vec::new(),
            asked: Vec::new(),
            waiting: BTreeMap::new(),
            failing: false,
        };
        stage.input(Input::Plan(plans.into_iter().map(arrangement).collect()));
        stage
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        for effect in out {
            match effect {
                Effect::Record(entry) => self.keep(entry),
                Effect::Change(change) => self.tell(change),
                Effect::Note(event) => self.notes.push(format!("{event:?}")),
                Effect::Ask(question) => self.asked.push(question),
                Effect::Reply(_, reply) => self.notes.push(format!("reply {reply:?}")),
            }
        }
    }

    fn keep(&mut self, entry: Entry) {
        match entry {
            Entry::Ban { jail, ticket } => {
                let key = (jail.to_string(), ticket.id.clone());
                let past = Past {
                    count: ticket.bancount,
                    time: whole_second(ticket.time, Seconds::ZERO),
                    bantime: ticket.bantime,
                };
                if !ticket.restored {
                    self.history.insert(key.clone(), past);
                }
                self.bans.insert(key, ticket);
            }
            Entry::Prolong { jail, ticket } => {
                self.bans.insert((jail.to_string(), ticket.id.clone()), ticket);
            }
            Entry::Expire { jail, id } => {
                self.bans.remove(&(jail.to_string(), id));
            }
            Entry::Empty { jail } => {
                self.history.retain(|(name, _), _| **name != *jail);
                self.bans.retain(|(name, _), _| **name != *jail);
            }
            Entry::Lift { jail, id } => {
                self.history.remove(&(jail.to_string(), id.clone()));
                self.bans.remove(&(jail.to_string(), id));
            }
            Entry::Count {
                jail,
                id,
                count: Some(count),
            } => {
                self.counts.insert((jail.to_string(), id), count);
            }
            Entry::Count { jail, id, count: None } => {
                self.counts.remove(&(jail.to_string(), id));
            }
            Entry::Read { mark, .. } => self.offset = mark.offset,
            Entry::Wait {
                jail,
                number,
                pending: Some(pending),
            } => {
                self.waiting.insert(number, (jail.to_string(), pending));
            }
            Entry::Wait { number, .. } => {
                self.waiting.remove(&number);
            }
            Entry::Jail { .. } | Entry::Sessions { .. } => {}
        }
    }

    fn tell(&mut self, change: Change) {
        let result = if self.failing {
            Err("no nftables".to_owned())
        } else {
            Ok(Standing::Verified)
        };
        let id = change.order.ticket().map(|ticket| ticket.id.clone());
        let order = change.order.kind();
        if !self.failing {
            match change.order {
                Order::Ban(ticket) | Order::Prolong(ticket) => {
                    self.layer.insert(ticket.id.clone(), ticket.until());
                }
                Order::Unban(ticket) => {
                    self.layer.remove(&ticket.id);
                }
                Order::Flush | Order::Vacate | Order::Stop => self.layer.clear(),
                Order::Start | Order::Reload | Order::Again(_) => {}
            }
        }
        self.input(Input::Applied(Applied {
            layer: change.layer,
            id,
            order,
            result,
        }));
    }

    fn wait(&mut self, seconds: i64) {
        let end = self.now + Seconds::new(seconds);
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake <= end) {
            self.now = wake.max(self.now);
            self.input(Input::Tick);
        }
        self.now = end;
        self.input(Input::Tick);
    }

    fn fail(&mut self, jail: &str, who: &str) {
        let failure = failure(jail, Identity::Known(Id::parse(who).unwrap()), self.now);
        self.lines(vec![failure], self.offset + 1);
    }

    fn lines(&mut self, failures: Vec<Failure>, offset: u64) {
        self.lines_of(failures, offset, true);
    }

    fn lines_of(&mut self, failures: Vec<Failure>, offset: u64, at_once: bool) {
        let mark = Mark {
            device: 1,
            inode: 1,
            offset,
            head: String::new(),
            tail: String::new(),
            read_at: self.now,
        };
        let reads = vec![("j".into(), "/log".into(), mark)];
        self.input(Input::Batch(Batch {
            clock: Clock::at(self.now),
            failures,
            reads,
            sessions: vec![],
            at_once,
        }));
    }

    fn banned(&self) -> Vec<String> {
        let view = self.engine.query(&Query::Banned);
        view.jails
            .iter()
            .flat_map(|jail| jail.bans.iter().map(|ban| ban.id.to_string()))
            .collect()
    }

    /// Who is banned until when.
    fn ends(&self) -> impl Iterator<Item = (Id, Option<Timestamp>)> {
        let jails = self.engine.query(&Query::Banned).jails;
        jails
            .into_iter()
            .flat_map(|jail| jail.bans)
            .map(|ban| (ban.id, ban.until))
    }

    /// The process dies and a new one begins from what was kept; the layer keeps what it holds.
    fn crash(&mut self) {
        self.crash_into(self.plans.clone());
    }

    fn crash_into(&mut self, plans: Vec<JailPlan>) {
        self.plans.clone_from(&plans);
        self.engine = Engine::new();
        self.asked.clear();
        self.input(Input::Plan(plans.into_iter().map(arrangement).collect()));
        let history = self.history.iter();
        let saved = Saved {
            history: history
                .map(|((jail, id), past)| (jail.as_str().into(), id.clone(), *past))
                .collect(),
            adopted: vec![],
            bans: self
                .bans
                .iter()
                .map(|((jail, _), ticket)| (jail.as_str().into(), ticket.clone()))
                .collect(),
            counts: self
                .counts
                .iter()
                .map(|((jail, id), count)| (jail.as_str().into(), id.clone(), count.clone()))
                .collect(),
            waiting: self
                .waiting
                .iter()
                .map(|(number, (jail, pending))| (jail.as_str().into(), *number, pending.clone()))
                .collect(),
        };
        self.input(Input::Restore(saved));
    }
}

fn failure(jail: &str, identity: Identity, time: Timestamp) -> Failure {
    Failure {
        jail: jail.into(),
        identity,
        time,
        data: Data::default(),
        matches: vec!["line".into()],
    }
}

/// what `<bancount>` shows is one more after each restart, and what is kept stays.
#[test]
fn a_restored_ban_counts_once_more() {
    let mut stage = Stage::new(vec![plan("j")]);
    for _ in 0..3 {
        stage.fail("j", "192.0.2.1");
    }
    let kept = stage.bans.values().next().unwrap().clone();
    assert_eq!(kept.bancount, 1);
    let (mut engine, mut out) = (Engine::new(), Vec::new());
    engine.handle(stage.now, Input::Plan(vec![arrangement(plan("j"))]), &mut out);
    let saved = Saved {
        bans: vec![("j".into(), kept)],
        ..Saved::default()
    };
    engine.handle(stage.now, Input::Restore(saved), &mut out);
    let told = out.iter().filter_map(|effect| match effect {
        Effect::Change(Change {
            order: Order::Ban(ticket),
            ..
        }) => Some(ticket.bancount),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [2]);
    assert!(
        !out.iter()
            .any(|effect| matches!(effect, Effect::Record(Entry::Ban { .. })))
    );
}

#[test]
fn three_failures_ban_until_the_time_is_up() {
    let mut stage = Stage::new(vec![plan("j")]);
    for _ in 0..3 {
        assert!(stage.banned().is_empty());
        stage.fail("j", "192.0.2.1");
        stage.wait(1);
    }
    assert_eq!(stage.banned(), ["192.0.2.1"]);
    assert!(stage.layer.contains_key(&Id::parse("192.0.2.1").unwrap()));
    stage.wait(598);
    assert_eq!(stage.banned(), ["192.0.2.1"], "ends 600 s after the last failure");
    stage.wait(2);
    assert!(stage.banned().is_empty() && stage.layer.is_empty() && stage.bans.is_empty());
}

/// The wall clock, and with it the stamps of the log, stands an hour away from one failure to the next; the bans and
/// counters go by the steady clock.
#[test]
fn steps_of_the_wall_clock_change_nothing() {
    for steps in [[0, 3600, 0], [0, -3600, 3600], [3600, 0, -3600]] {
        let mut stage = Stage::new(vec![plan("j")]);
        for step in steps {
            let wall = stage.now + Seconds::new(step);
            let failure = failure("j", Identity::Known(Id::parse("192.0.2.1").unwrap()), wall);
            let clock = Clock {
                steady: stage.now,
                wall,
            };
            stage.input(Input::Batch(Batch {
                clock,
                failures: vec![failure],
                reads: vec![],
                sessions: vec![],
                at_once: true,
            }));
            stage.wait(1);
        }
        assert_eq!(stage.banned(), ["192.0.2.1"], "{steps:?}");
        stage.wait(598);
        assert_eq!(stage.banned(), ["192.0.2.1"], "{steps:?}: not lifted early");
        stage.wait(2);
        assert!(
            stage.banned().is_empty() && stage.layer.is_empty(),
            "{steps:?}: not stretched"
        );
    }
}

#[test]
fn the_ignored_are_not_counted() {
    let mut stage = Stage::new(vec![plan("j")]);
    stage.input(Input::Own(BTreeSet::from(["203.0.113.9".parse().unwrap()])));
    for who in ["127.0.0.1", "203.0.113.9"] {
        for _ in 0..5 {
            stage.fail("j", who);
        }
    }
    assert!(stage.banned().is_empty() && stage.counts.is_empty());
}

#[test]
fn a_held_jail_counts_and_does_not_ban() {
    let mut stage = Stage::new(vec![]);
    let mut held = arrangement(plan("j"));
    held.held = Some("jail.local:3 could not be read".into());
    stage.input(Input::Plan(vec![held]));
    for _ in 0..4 {
        stage.fail("j", "192.0.2.1");
    }
    assert!(stage.banned().is_empty());
    assert!(stage.notes.iter().any(|note| note.starts_with("Held")));
}

#[test]
fn an_ignoreip_that_cannot_be_honoured_holds_the_jail() {
    let mut jail = plan("j");
    jail.ignoreip.push("10.0.0.0/255.0.255.0".into());
    let mut stage = Stage::new(vec![jail]);
    for _ in 0..4 {
        stage.fail("j", "192.0.2.1");
    }
    assert!(stage.banned().is_empty());
}

#[test]
fn a_layer_that_fails_is_loud_and_retried() {
    let mut stage = Stage::new(vec![plan("j")]);
    stage.failing = true;
    for _ in 0..3 {
        stage.fail("j", "192.0.2.1");
    }
    let view = stage.engine.query(&Query::Banned);
    assert_eq!(view.jails[0].layers["nft"].failure.as_deref(), Some("no nftables"));
    assert!(matches!(
        view.jails[0].bans[0].layers["nft"].standing,
        Standing::Failed(_)
    ));
    stage.failing = false;
    stage.wait(5);
    assert!(stage.layer.contains_key(&Id::parse("192.0.2.1").unwrap()));
    assert!(
        stage.engine.query(&Query::Status).jails[0].layers["nft"]
            .failure
            .is_none()
    );
}

#[test]
fn by_hand() {
    let mut stage = Stage::new(vec![plan("j")]);
    let ids = vec![
        Id::parse("192.0.2.1").unwrap(),
        Id::parse("127.0.0.1").unwrap(),
        Id::parse("10.0.0.0/8").unwrap(),
    ];
    let ban = Request::Ban {
        ids,
        jail: "j".into(),
        bantime: Some(Seconds::FOREVER),
    };
    stage.input(Input::Request(ban.clone(), ReplyTo(1)));
    stage.input(Input::Request(ban, ReplyTo(2)));
    assert_eq!(stage.banned().len(), 3, "ignoreip does not count by hand");
    stage.wait(1_000_000);
    assert_eq!(stage.banned().len(), 3);
    let unban = Request::Unban {
        ids: Some(vec![Id::parse("192.0.2.0/24").unwrap()]),
        jail: None,
    };
    stage.input(Input::Request(unban, ReplyTo(3)));
    assert_eq!(stage.banned(), ["127.0.0.1", "10.0.0.0/8"]);
    stage.input(Input::Request(Request::Unban { ids: None, jail: None }, ReplyTo(4)));
    assert!(stage.banned().is_empty() && stage.layer.is_empty() && stage.bans.is_empty());
    let replies: Vec<&String> = stage.notes.iter().filter(|note| note.starts_with("reply")).collect();
    assert_eq!(
        replies,
        [
            "reply Ok(Int(3))",
            "reply Ok(Int(0))",
            "reply Ok(Int(1))",
            "reply Ok(Int(2))"
        ]
    );
}

#[test]
fn reload_keeps_bans_and_a_removed_jail_frees_them() {
    let mut stage = Stage::new(vec![plan("j"), plan("k")]);
    for jail in ["j", "k"] {
        for _ in 0..3 {
            stage.fail(jail, "192.0.2.1");
        }
    }
    let mut longer = plan("j");
    longer.bantime = Seconds::new(60);
    stage.input(Input::Plan(vec![arrangement(longer)]));
    assert_eq!(stage.banned(), ["192.0.2.1"]);
    assert!(stage.notes.iter().any(|note| note.contains("repealed: true")));
    stage.input(Input::Stop);
    assert!(stage.banned().is_empty() && stage.layer.is_empty());
    assert_eq!(stage.bans.len(), 2, "a stop keeps the rows");
}

/// A jail whose bans grow, with these options on top.
fn growing(options: &[(&str, &str)]) -> JailPlan {
    let mut plan = plan("j");
    let options = options.iter().chain(&[("increment", "True")]);
    plan.increment = options.map(|(name, value)| ((*name).into(), (*value).into())).collect();
    plan
}

#[test]
fn who_comes_back_counts_more_and_is_banned_longer() {
    let mut stage = Stage::new(vec![growing(&[("maxtime", "2000")])]);
    for (failures, length) in [(3, 600), (2, 1200), (1, 2000), (1, 2000)] {
        for left in (0..failures).rev() {
            assert!(stage.banned().is_empty(), "{length}: {left} more");
            stage.fail("j", "192.0.2.1");
        }
        let until = stage.now + Seconds::new(length);
        assert_eq!(stage.banned(), ["192.0.2.1"], "{length}");
        assert_eq!(
            stage.layer.values().next(),
            Some(&Some(until)),
            "the layer knows the end"
        );
        stage.wait(length);
        assert_eq!(stage.banned(), ["192.0.2.1"], "{length}: its last second");
        stage.wait(1);
        assert!(stage.banned().is_empty() && stage.layer.is_empty(), "{length}: over");
    }
    let by_hand = |jail: &str, bantime| Request::Ban {
        ids: vec![Id::parse("192.0.2.1").unwrap()],
        jail: jail.into(),
        bantime,
    };
    stage.input(Input::Request(by_hand("j", Some(Seconds::new(60))), ReplyTo(1)));
    assert_eq!(
        stage.layer.values().next(),
        Some(&Some(stage.now + Seconds::new(60))),
        "as asked for"
    );
    stage.input(Input::Request(Request::Unban { ids: None, jail: None }, ReplyTo(2)));
    stage.input(Input::Request(by_hand("j", None), ReplyTo(3)));
    assert_eq!(
        stage.layer.values().next(),
        Some(&Some(stage.now + Seconds::new(600))),
        "forgotten"
    );
}

/// Shell actions are told as Fail2Ban tells them: the jail's length first, the longer one later.
#[test]
fn shell_actions_are_told_in_two_steps() {
    let mut engine = Engine::new();
    let mut jail = growing(&[]);
    jail.maxretry = 1;
    let mut arrangement = arrangement(jail);
    arrangement.native.clear();
    let mut told = Vec::new();
    let mut step = |now: i64, input| {
        let mut out = Vec::new();
        engine.handle(Timestamp::from_seconds(now), input, &mut out);
        for effect in out {
            if let Effect::Change(change) = effect
                && let Some(ticket) = change.order.ticket()
            {
                told.push((now, change.order.kind(), ticket.bantime.whole()));
            }
        }
    };
    let line = |now| {
        let now = Timestamp::from_seconds(now);
        Input::Batch(Batch {
            clock: Clock::at(now),
            failures: vec![failure("j", Identity::Known(Id::parse("192.0.2.1").unwrap()), now)],
            reads: vec![],
            sessions: vec![],
            at_once: true,
        })
    };
    step(1000, Input::Plan(vec![arrangement]));
    step(1000, line(1000));
    step(1601, Input::Tick);
    step(2000, line(2000));
    step(2009, Input::Tick);
    step(2010, Input::Tick);
    let expect = [
        (1000, OrderKind::Ban, 600),
        (1601, OrderKind::Unban, 600),
        (2000, OrderKind::Ban, 600),
        (2010, OrderKind::Prolong, 1200),
    ];
    assert_eq!(told, expect);
}

/// Options for growing bans that cannot be read hold the jail.
#[test]
fn growth_that_cannot_be_read_holds_the_jail() {
    let mut stage = Stage::new(vec![growing(&[("formula", "ban.Time * x")])]);
    for _ in 0..4 {
        stage.fail("j", "192.0.2.1");
    }
    assert!(stage.banned().is_empty());
    assert!(
        stage
            .notes
            .iter()
            .any(|note| note.contains("'x' is not supported here"))
    );
}

/// D-090: with a `maxtime` below `bantime` the second ban is the shorter one, and ends when it says.
#[test]
fn a_shorter_ban_ends_on_its_time() {
    let mut stage = Stage::new(vec![growing(&[("maxtime", "100")])]);
    for length in [600, 100] {
        for _ in 0..3 {
            stage.fail("j", "192.0.2.1");
        }
        stage.wait(length);
        assert_eq!(stage.banned(), ["192.0.2.1"], "{length}");
        stage.wait(1);
        assert!(stage.banned().is_empty() && stage.layer.is_empty(), "{length}");
    }
}

/// D-092: another `bantime` is for the bans that are still to come.
#[test]
fn another_bantime_leaves_the_bans_in_force() {
    for bantime in [60, 6000] {
        let mut stage = Stage::new(vec![plan("j")]);
        for _ in 0..3 {
            stage.fail("j", "192.0.2.1");
        }
        let mut other = plan("j");
        other.bantime = Seconds::new(bantime);
        stage.input(Input::Plan(vec![arrangement(other)]));
        stage.wait(600);
        assert_eq!(stage.banned(), ["192.0.2.1"], "{bantime}");
        stage.wait(1);
        assert!(stage.banned().is_empty(), "{bantime}");
    }
}

proptest! {
    /// The same failures in any split into batches and with crashes anywhere give the same bans, also where bans grow,
    /// and the layer holds what the ledger says.
    #[test]
    fn splits_and_crashes_change_nothing(
        events in prop::collection::vec((1_u8..4, 0_i64..400, any::<bool>()), 1..60),
        growth in 0_usize..4,
    ) {
        let plan = [
            plan("j"),
            growing(&[]),
            growing(&[("factor", "1.5"), ("overalljails", "True")]),
            growing(&[("multipliers", "1 1 3"), ("maxtime", "20m")]),
        ][growth].clone();
        let run = |crashes: bool| {
            let mut stage = Stage::new(vec![plan.clone()]);
            let mut history = Vec::new();
            for (who, gap, crash) in &events {
                stage.wait(*gap);
                if crashes && *crash {
                    stage.crash();
                }
                stage.fail("j", &format!("192.0.2.{who}"));
                let ledger: BTreeMap<Id, Option<Timestamp>> = stage.ends().collect();
                assert_eq!(ledger, stage.layer);
                assert_eq!(
                    ledger.keys().cloned().collect::<BTreeSet<Id>>(),
                    stage.bans.keys().map(|(_, id)| id.clone()).collect()
                );
                history.push(ledger);
            }
            history
        };
        prop_assert_eq!(run(false), run(true));
    }
}

proptest! {
    /// While a log is caught up with, the counting is kept late. After a crash the lines behind what was kept are read
    /// again: in the end there are the same bans and the same counters as without.
    #[test]
    fn a_crash_before_the_counting_is_kept_changes_nothing(
        lines in prop::collection::vec((1_u8..5, 0_i64..400, prop::bool::weighted(0.2)), 1..80),
        growth in 0_usize..3,
    ) {
        let plan = [plan("j"), growing(&[]), growing(&[("multipliers", "1 1 3"), ("maxtime", "20m")])][growth].clone();
        let run = |mut crashes: Vec<bool>| {
            let mut stage = Stage::new(vec![plan.clone()]);
            let begin = stage.now;
            let mut place = 0;
            while let Some((who, ..)) = lines.get(place) {
                let millis: i64 = lines[..=place].iter().map(|(_, gap, _)| gap).sum();
                let time = begin + Seconds::from_micros(millis * 1000);
                stage.now = stage.now.max(time);
                let failure = failure("j", Identity::Known(Id::parse(&format!("192.0.2.{who}")).unwrap()), time);
                stage.lines_of(vec![failure], place as u64 + 1, false);
                if std::mem::take(&mut crashes[place]) {
                    stage.crash();
                    place = usize::try_from(stage.offset).unwrap();
                } else {
                    place += 1;
                }
            }
            stage.wait(2);
            let ends: Vec<_> = stage.ends().collect();
            (ends, stage.counts, stage.offset)
        };
        let crashes = lines.iter().map(|(.., crash)| *crash).collect();
        prop_assert_eq!(run(vec![false; lines.len()]), run(crashes));
    }
}

/// The orders that shell layers are given, in a word each.
fn orders(out: &[Effect]) -> Vec<String> {
    let order = |effect: &Effect| match effect {
        Effect::Change(change) => Some(match &change.order {
            Order::Start => "start".to_owned(),
            Order::Stop => "stop".to_owned(),
            Order::Reload => "reload".to_owned(),
            Order::Ban(ticket) => format!("ban {}", ticket.id),
            Order::Unban(ticket) => format!("unban {}", ticket.id),
            _ => "other".to_owned(),
        }),
        _ => None,
    };
    out.iter().filter_map(order).collect()
}

/// An engine of one jail with one shell action, and what it does about it.
struct Alone {
    engine: Engine,
    now: Timestamp,
}

impl Alone {
    fn new() -> Alone {
        Alone {
            engine: Engine::new(),
            now: Timestamp::from_seconds(1_000_000),
        }
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        orders(&out)
    }

    fn amend(&mut self, plan: &JailPlan, reloaded: bool) -> Vec<String> {
        let jails = vec![Arrangement {
            native: BTreeSet::new(),
            reloaded,
            ..arrangement(plan.clone())
        }];
        let gone = BTreeSet::new();
        self.input(Input::Amend { gone, jails })
    }

    fn ban(&mut self) -> Vec<String> {
        let ids = vec![Id::parse("192.0.2.1").unwrap()];
        let (jail, bantime) = ("j".into(), None);
        self.input(Input::Request(Request::Ban { ids, jail, bantime }, ReplyTo(1)))
    }
}

#[test]
fn a_jail_that_never_started_frees_whom_it_banned() {
    let (mut alone, mut plan) = (Alone::new(), plan("j"));
    plan.started = false;
    assert_eq!(alone.amend(&plan, false), Vec::<String>::new());
    assert_eq!(alone.ban(), ["ban 192.0.2.1"]);
    let gone = BTreeSet::from([Arc::from("j")]);
    let orders = alone.input(Input::Amend {
        gone,
        jails: Vec::new(),
    });
    assert!(orders.contains(&"unban 192.0.2.1".to_owned()), "{orders:?}");
}

#[test]
fn only_a_reload_tells_actions_of_itself() {
    let (mut alone, mut plan) = (Alone::new(), plan("j"));
    plan.actions[0].properties = vec![("actionban".into(), "true".into())];
    assert_eq!(alone.amend(&plan, false), ["start"]);
    plan.maxretry = 9;
    assert_eq!(alone.amend(&plan, false), Vec::<String>::new());
    assert_eq!(alone.amend(&plan, true), ["reload"]);
    // One that comes without anything starts with its first ban.
    let mut late = plan.actions[0].clone();
    (late.name, late.properties) = ("late".into(), Vec::new());
    plan.actions.push(late);
    assert_eq!(alone.amend(&plan, false), Vec::<String>::new());
    assert_eq!(alone.ban(), ["start", "ban 192.0.2.1", "ban 192.0.2.1"]);
}

#[test]
fn an_idle_jail_still_frees() {
    let (mut alone, mut plan) = (Alone::new(), plan("j"));
    alone.amend(&plan, false);
    alone.ban();
    plan.idle = true;
    alone.amend(&plan, false);
    alone.now = alone.now + plan.bantime + Seconds::new(1);
    assert_eq!(alone.input(Input::Tick), ["unban 192.0.2.1"]);
}
