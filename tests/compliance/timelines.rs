//! Timelines of failures, bans by hand and restarts: the same bans, ends, counts and log lines as Fail2Ban's own parts,
//! at the same second. Both get the same clock and the same random numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use portcullis_core::address::Id;
use portcullis_core::config::plan::{ActionPlan, JailPlan};
use portcullis_core::engine::{Arrangement, Batch, Effect, Engine, Input, Query, ReplyTo, Request, Saved};
use portcullis_core::filter::{Failure, Identity};
use portcullis_core::history::Past;
use portcullis_core::ledger::{Change, Count as Counter, Data, Entry, Order, Ticket};
use portcullis_core::note::{Level, note};
use portcullis_core::time::{Clock, Seconds, Timestamp};
use serde_json::{Value, json};

use crate::chance::{Chance, rounds};
use crate::count::Count;
use crate::oracle::Oracle;

/// Lines that the database keeps of a ban.
const MOST_LINES: usize = 10;

#[test]
fn timelines_are_fail2bans() {
    let mut timelines = Count::of("timelines");
    let mut events = Count::of("events of timelines");
    let mut oracle = Oracle::start("timelines");
    for seed in rounds(3000) {
        let course = write(&mut Chance(seed));
        let theirs = oracle.ask(&course);
        let ours = Ours::run(&course);
        timelines.compare(&first_difference(&ours, &theirs), &None, || {
            format!("timeline {seed}: {course}")
        });
        events.equal(
            ["log", "told", "looks", "records"]
                .iter()
                .map(|part| size(&ours[*part]))
                .sum(),
        );
    }
    timelines.close(3000);
    events.close(100_000);
}

/// A course with one jail that bans at the first failure, for 600 seconds unless `growth` says otherwise. Each look is
/// given as the ends of the bans in force, in seconds from the start: of ours and of Fail2Ban's.
fn looks(growth: &Value, more: &Value, steps: &[Value]) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
    const START: i64 = 1_000_000_000;
    let later = |at: &Value| {
        at.as_i64()
            .map_or_else(|| json!(at.as_f64().unwrap() + 1e9), |at| json!(START + at))
    };
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            let mut step = step.clone();
            step[0] = later(&step[0]);
            if step[1] == "fail" {
                step[4] = later(&step[4]);
                step.as_array_mut().unwrap().push(json!([]));
            }
            step
        })
        .collect();
    let jail = json!({
        "name": "a", "maxretry": 1, "findtime": 600, "maxmatches": 5, "bantime": 600, "growth": growth,
    });
    let mut course = json!({ "jails": [jail], "seed": 0, "start": START, "purgeage": 86_400, "steps": steps });
    for (name, value) in more.as_object().unwrap() {
        course[name] = value.clone();
    }
    let ends = |answer: &Value| {
        let looks = answer["looks"].as_array().unwrap().iter();
        let ends = |look: &Value| {
            let ends = look[5].as_array().unwrap().iter();
            ends.map(|end| end[1].as_i64().unwrap() - START).collect()
        };
        looks.map(ends).collect()
    };
    let theirs = Oracle::start("timelines").ask(&course);
    (ends(&Ours::run(&course)), ends(&theirs))
}

/// D-090: a ban that is made shorter ends when it says; Fail2Ban looks again only when the longer time is over.
#[test]
fn a_ban_that_is_made_shorter() {
    let steps = [
        json!([0, "fail", "a", "192.0.2.1", 0]),
        json!([700, "fail", "a", "192.0.2.1", 700]),
        json!([800, "look"]),
        json!([801, "look"]),
        json!([1299, "look"]),
        json!([1301, "look"]),
    ];
    let (ours, theirs) = looks(&json!([["increment", true], ["maxtime", "100"]]), &json!({}), &steps);
    assert_eq!(ours, [vec![800], vec![], vec![], vec![]]);
    assert_eq!(theirs, [vec![800], vec![800], vec![800], vec![]]);
}

/// D-091: bans also grow with `dbfile = None`.
#[test]
fn growth_without_fail2bans_database() {
    let steps = [
        json!([0, "fail", "a", "192.0.2.1", 0]),
        json!([700, "fail", "a", "192.0.2.1", 700]),
        json!([700, "look"]),
    ];
    let (ours, theirs) = looks(&json!([["increment", true]]), &json!({ "database": false }), &steps);
    assert_eq!((ours, theirs), (vec![vec![1900]], vec![vec![1300]]));
}

/// D-092: another `bantime` leaves the bans in force as they are.
#[test]
fn another_bantime() {
    let steps = [
        json!([0, "fail", "a", "192.0.2.1", 0]),
        json!([10, "set_bantime", "a", 3600]),
        json!([20, "look"]),
    ];
    let (ours, theirs) = looks(&json!([]), &json!({}), &steps);
    assert_eq!((ours, theirs), (vec![vec![600]], vec![vec![3600]]));
}

/// D-093: the end that a ban was prolonged to outlives a restart.
#[test]
fn a_prolonged_ban_and_a_restart() {
    let steps = [
        json!([0, "fail", "a", "192.0.2.1", 0]),
        json!([300, "fail", "a", "192.0.2.1", 300]),
        json!([301, "look"]),
        json!([400.5, "restart", true]),
        json!([401, "look"]),
    ];
    let (ours, theirs) = looks(&json!([]), &json!({ "own": true }), &steps);
    assert_eq!((ours, theirs), (vec![vec![900], vec![900]], vec![vec![900], vec![600]]));
}

fn size(list: &Value) -> u64 {
    list.as_array().map_or(0, |list| list.len() as u64)
}

/// Where the two begin to differ, and what each says there.
fn first_difference(ours: &Value, theirs: &Value) -> Option<String> {
    if let Some(error) = theirs.get("error") {
        return Some(format!("{error}: {}", theirs["text"]));
    }
    for part in ["log", "told", "looks", "records"] {
        let (a, b) = (ours[part].as_array().unwrap(), theirs[part].as_array().unwrap());
        for at in 0..a.len().max(b.len()) {
            if a.get(at) != b.get(at) {
                return Some(format!("{part} {at}: ours {:?}, theirs {:?}", a.get(at), b.get(at)));
            }
        }
    }
    None
}

/// A timeline, as both sides get it.
fn write(chance: &mut Chance) -> Value {
    let names: &[&str] = if chance.percent(40) { &["a", "b"] } else { &["a"] };
    let jails: Vec<Value> = names.iter().map(|name| jail(chance, name)).collect();
    let start = 1_000_000_000 + chance.between(0, 100_000);
    let mut now = start;
    let mut steps = Vec::new();
    for _ in 0..chance.between(8, 40) {
        now += match chance.below(10) {
            0..=2 => 0,
            3..=5 => chance.between(1, 6),
            6..=7 => chance.between(5, 90),
            8 => chance.between(60, 700),
            _ => chance.between(600, 8000),
        };
        let name = *chance.pick(names);
        let who = format!("192.0.2.{}", chance.between(1, 3));
        steps.push(match chance.below(100) {
            0..=74 => json!([now, "fail", name, who, stamp(chance, now), lines(chance)]),
            75..=78 => json!([now, "ban", name, who]),
            79..=81 => json!([now, "unban", name, who]),
            82 => json!([now, "unban_all", name]),
            83..=85 => json!([now, "purge"]),
            86..=89 => {
                now += 1;
                json!([Number::half_past(now - 1), "restart", chance.percent(50)])
            }
            _ => json!([now, "look"]),
        });
    }
    steps.push(json!([now, "look"]));
    steps.push(json!([now + 20_000, "look"]));
    json!({ "jails": jails, "seed": chance.below(1_u64 << 53), "start": start, "purgeage": 3000, "steps": steps })
}

struct Number;

impl Number {
    /// Restarts are between the seconds, so that no ban ends in the very moment.
    fn half_past(second: i64) -> f64 {
        f64::from(i32::try_from(second).unwrap()) + 0.5
    }
}

/// When a failure was logged: now, late, long ago, at a part of a second, or by a clock that is ahead.
fn stamp(chance: &mut Chance, now: i64) -> Value {
    match chance.below(20) {
        0..=12 => json!(now),
        13..=14 => json!(now - chance.between(1, 10)),
        15 => json!(now - chance.between(1, 700)),
        16 => json!(now + chance.between(1, 100)),
        17 => json!(Number::half_past(now - 1)),
        18 => json!(Number::half_past(now - 2) + 0.25),
        _ => json!(now - chance.between(1, 100)),
    }
}

fn lines(chance: &mut Chance) -> Vec<String> {
    let many = if chance.percent(80) { 1 } else { chance.between(0, 7) };
    (0..many).map(|_| format!("line {}", chance.below(1000))).collect()
}

fn jail(chance: &mut Chance, name: &str) -> Value {
    let bantime = *chance.pick(&[30, 60, 60, 600, 600, 3600, -1, 0, -5]);
    json!({
        "name": name,
        "maxretry": chance.between(1, 6),
        "findtime": chance.pick(&[10, 60, 600, 3600]),
        "maxmatches": chance.pick(&[0, 1, 2, 5, 5]),
        "bantime": bantime,
        "growth": growth(chance, bantime),
    })
}

fn growth(chance: &mut Chance, bantime: i64) -> Vec<Value> {
    const FORMULAS: &[&str] = &[
        "ban.Time * (ban.Count + 1)",
        "ban.Time * math.exp(ban.Count / 2) * banFactor",
        "ban.Time << min(ban.Count, 5)",
        "ban.Time * 3 if ban.Count > 1 else ban.Time",
        "60 / (ban.Count - 2)",
        "ban.Time + 60 * random.random()",
        "ban.Time ** ban.Count",
        "-ban.Time",
    ];
    if chance.percent(25) {
        return vec![];
    }
    let mut options = vec![json!(["increment", !chance.percent(5)])];
    if chance.percent(30) {
        options.push(json!([
            "factor",
            chance.pick(&["1", "2", "1.5", "0.5", "1.25", "3 / 2"])
        ]));
    }
    if chance.percent(35) {
        options.push(json!(["formula", chance.pick(FORMULAS)]));
    }
    if chance.percent(20) {
        options.push(json!([
            "multipliers",
            chance.pick(&["1 2 4 8", "1 5 30", "2", "1 1 3"])
        ]));
    }
    if chance.percent(40) {
        // One below bantime is another matter (D-090).
        let most = bantime.max(1) * *chance.pick(&[1, 3, 10]);
        options.push(json!(["maxtime", most.to_string()]));
    } else if chance.percent(5) {
        options.push(json!(["maxtime", "-1"]));
        return options;
    }
    if chance.percent(25) {
        options.push(json!(["rndtime", chance.pick(&["10", "1m", "2.5m", "1h"])]));
    }
    if chance.percent(40) {
        options.push(json!(["overalljails", true]));
    }
    // A factor below one with multipliers makes bans shorter, which is D-090 as well.
    let named = |name: &str| options.iter().any(|option| option[0] == name);
    if named("multipliers") {
        options.retain(|option| option[0] != "factor");
    }
    options
}

/// Our side: the engine, what the database would keep, and what an action is told.
struct Ours {
    now: Timestamp,
    engine: Engine,
    seed: u64,
    plans: Vec<JailPlan>,
    records: BTreeMap<(String, String), Ticket>,
    counters: BTreeMap<(Arc<str>, Id), Counter>,
    /// Our own rows, and whether a restart goes by them and not by Fail2Ban's
    own: BTreeMap<(Arc<str>, Id), Ticket>,
    goes_by_own: bool,
    purgeage: Seconds,
    log: Vec<(i64, String, String, String)>,
    told: Vec<Value>,
    looks: Vec<Value>,
}

impl Ours {
    fn run(course: &Value) -> Value {
        let mut ours = Ours {
            now: Timestamp::from_seconds(course["start"].as_i64().unwrap()),
            engine: Engine::new(),
            seed: course["seed"].as_u64().unwrap(),
            plans: course["jails"].as_array().unwrap().iter().map(plan).collect(),
            records: BTreeMap::new(),
            counters: BTreeMap::new(),
            own: BTreeMap::new(),
            goes_by_own: course["own"] == true,
            purgeage: Seconds::new(course["purgeage"].as_i64().unwrap()),
            log: Vec::new(),
            told: Vec::new(),
            looks: Vec::new(),
        };
        ours.input(Input::Seed(ours.seed));
        ours.arrange();
        for step in course["steps"].as_array().unwrap() {
            ours.advance(Timestamp::from_seconds_f64(step[0].as_f64().unwrap()));
            let verb = step[1].as_str().unwrap();
            let (log, told) = (ours.log.len(), ours.told.len());
            ours.step(verb, step);
            if !["fail", "ban"].contains(&verb) {
                ours.sort(log, told);
            }
        }
        let records: Vec<Value> = ours
            .records
            .iter()
            .map(|((jail, ip), ticket)| record(jail, ip, ticket))
            .collect();
        json!({ "log": ours.log, "told": ours.told, "looks": ours.looks, "records": records })
    }

    fn step(&mut self, verb: &str, step: &Value) {
        let jail: Arc<str> = step[2].as_str().unwrap_or_default().into();
        let who = || Id::parse(step[3].as_str().unwrap()).unwrap();
        match verb {
            "fail" => self.fail(&jail, who(), step),
            "ban" => {
                let (ids, bantime) = (vec![who()], None);
                self.input(Input::Request(Request::Ban { ids, jail, bantime }, ReplyTo(0)));
            }
            "unban" => {
                let (ids, jail) = (Some(vec![who()]), Some(jail));
                self.input(Input::Request(Request::Unban { ids, jail }, ReplyTo(0)));
            }
            "unban_all" => {
                let (ids, jail) = (None, Some(jail));
                self.input(Input::Request(Request::Unban { ids, jail }, ReplyTo(0)));
            }
            "purge" => {
                // Fail2Ban takes the second that the clock is in.
                let before = Timestamp::from_seconds(self.now.seconds()) - self.purgeage;
                self.records.retain(|_, ticket| {
                    let thrice = Seconds::from_micros(ticket.bantime.micros() * 3);
                    ticket.time >= before || ticket.bantime.is_forever() || ticket.time + thrice >= before
                });
                self.input(Input::Purge(before));
            }
            "set_bantime" => {
                for plan in self.plans.iter_mut().filter(|plan| plan.name == jail) {
                    plan.bantime = Seconds::new(step[3].as_i64().unwrap());
                }
                self.arrange();
            }
            "restart" => self.restart(step[2].as_bool().unwrap()),
            _ => self.look(),
        }
    }

    fn fail(&mut self, jail: &Arc<str>, who: Id, step: &Value) {
        let texts = step[5].as_array().unwrap().iter();
        let failure = Failure {
            jail: Arc::clone(jail),
            identity: Identity::Known(who),
            time: Timestamp::from_seconds_f64(step[4].as_f64().unwrap()),
            data: Data::default(),
            matches: texts.map(|line| line.as_str().unwrap().into()).collect(),
        };
        self.input(Input::Batch(Batch {
            clock: Clock::at(self.now),
            failures: vec![failure],
            reads: vec![],
            sessions: vec![],
            at_once: true,
        }));
    }

    fn arrange(&mut self) {
        let arrangements = self.plans.iter().map(|plan| Arrangement {
            plan: plan.clone(),
            held: None,
            native: BTreeSet::new(),
            cloud: BTreeSet::new(),
            reloaded: true,
        });
        self.input(Input::Plan(arrangements.collect()));
    }

    /// As with Fail2Ban, only its own tables survive, and the counters where the timeline says so.
    fn restart(&mut self, keeps: bool) {
        self.engine = Engine::new();
        self.input(Input::Seed(self.seed));
        self.arrange();
        let row = |(key, ticket): (&(String, String), &Ticket)| (Arc::<str>::from(key.0.as_str()), ticket.clone());
        let alive = |(_, ticket): &(Arc<str>, Ticket)| ticket.until().is_none_or(|until| until > self.now);
        let adopted = self
            .records
            .iter()
            .map(row)
            .filter(alive)
            .map(|(jail, ticket)| (jail, restored(ticket)));
        let history = self.records.iter().map(row).map(|(jail, ticket)| {
            let past = Past {
                count: ticket.bancount,
                time: ticket.time,
                bantime: ticket.bantime,
            };
            (jail, ticket.id, past)
        });
        let counts = std::mem::take(&mut self.counters);
        let own = self.own.iter().filter(|_| self.goes_by_own);
        let own = own
            .map(|((jail, _), ticket)| (Arc::clone(jail), ticket.clone()))
            .collect();
        let saved = Saved {
            bans: own,
            adopted: if self.goes_by_own { vec![] } else { adopted.collect() },
            counts: counts
                .into_iter()
                .filter(|_| keeps)
                .map(|((jail, id), count)| (jail, id, count))
                .collect(),
            history: history.collect(),
            waiting: vec![],
        };
        self.counters = saved
            .counts
            .iter()
            .map(|(jail, id, count)| ((Arc::clone(jail), id.clone()), count.clone()))
            .collect();
        self.input(Input::Restore(saved));
    }

    fn look(&mut self) {
        for jail in self.engine.query(&Query::Banned).jails {
            let end = |until: Option<Timestamp>| until.map_or(-1, whole);
            let mut ends: Vec<(String, i64)> = jail
                .bans
                .iter()
                .map(|ban| (ban.id.to_string(), end(ban.until)))
                .collect();
            ends.sort();
            let counts = (jail.failing, jail.failures, jail.banned, jail.bans_total);
            self.looks
                .push(json!([&*jail.name, counts.0, counts.1, counts.2, counts.3, ends]));
        }
    }

    /// Second by second, as far as there is anything to do.
    fn advance(&mut self, until: Timestamp) {
        while let Some(wake) = self.engine.next_wake() {
            let second = (wake.micros() + 999_999).div_euclid(1_000_000);
            let now = Timestamp::from_seconds(second.max(self.now.seconds() + 1));
            if now > until {
                break;
            }
            self.tick(now);
        }
        self.tick(until);
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
        let (log, told) = (self.log.len(), self.told.len());
        self.input(Input::Tick);
        self.sort(log, told);
    }

    /// What happens at once to several has no order.
    fn sort(&mut self, log: usize, told: usize) {
        self.log[log..].sort();
        self.told[told..].sort_by_key(ToString::to_string);
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        for effect in out {
            match effect {
                Effect::Record(entry) => self.keep(entry),
                Effect::Change(change) => self.tell(&change),
                Effect::Note(event) => {
                    if let Some(note) = note(&event, Clock::at(self.now), &TimeZone::UTC) {
                        let level = level(note.level).to_owned();
                        self.log
                            .push((self.now.seconds(), level, note.logger.to_owned(), note.text));
                    }
                }
                Effect::Ask(_) | Effect::Reply(..) => {}
            }
        }
    }

    /// As the store does it: Fail2Ban's rows are not touched by bans that come from it.
    fn keep(&mut self, entry: Entry) {
        match &entry {
            Entry::Ban { jail, ticket } | Entry::Prolong { jail, ticket } => {
                self.own.insert((Arc::clone(jail), ticket.id.clone()), ticket.clone());
            }
            Entry::Expire { jail, id } | Entry::Lift { jail, id } => {
                self.own.remove(&(Arc::clone(jail), id.clone()));
            }
            Entry::Empty { jail } => self.own.retain(|(of, _), _| of != jail),
            _ => {}
        }
        match entry {
            Entry::Ban { jail, mut ticket } if !ticket.restored => {
                ticket.time = Timestamp::from_seconds_f64(ticket.time.as_f64().round_ties_even());
                ticket.matches.drain(..ticket.matches.len().saturating_sub(MOST_LINES));
                self.records.insert((jail.to_string(), ticket.id.to_string()), ticket);
            }
            Entry::Lift { jail, id } => {
                self.records.remove(&(jail.to_string(), id.to_string()));
            }
            Entry::Empty { jail } => self.records.retain(|(of, _), _| **of != *jail),
            Entry::Count { jail, id, count } => {
                match count {
                    Some(count) => self.counters.insert((jail, id), count),
                    None => self.counters.remove(&(jail, id)),
                };
            }
            _ => {}
        }
    }

    fn tell(&mut self, change: &Change) {
        let verb = match &change.order {
            Order::Ban(_) => "ban",
            Order::Unban(_) => "unban",
            Order::Prolong(_) => "prolong",
            _ => return,
        };
        let Some(ticket) = change.order.ticket() else { return };
        let length = ticket.bantime.micros() / 1_000_000;
        let mut told = json!([
            self.now.seconds(),
            &*change.layer.jail,
            verb,
            ticket.id.to_string(),
            length
        ]);
        if let (Some(told), "ban") = (told.as_array_mut(), verb) {
            told.extend([json!(ticket.failures), json!(ticket.matches.join("\n"))]);
        }
        self.told.push(told);
    }
}

fn plan(value: &Value) -> JailPlan {
    let number = |name: &str| value[name].as_i64().unwrap();
    let mut plan = JailPlan::new(value["name"].as_str().unwrap(), "auto");
    plan.started = true;
    plan.ignoreself = false;
    plan.maxretry = u32::try_from(number("maxretry")).unwrap();
    plan.maxmatches = u32::try_from(number("maxmatches")).unwrap();
    plan.findtime = Seconds::new(number("findtime"));
    plan.bantime = Seconds::new(number("bantime"));
    let option = |option: &Value| {
        let text = match &option[1] {
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            other => other.as_str().unwrap().to_owned(),
        };
        (option[0].as_str().unwrap().to_owned(), text)
    };
    plan.increment = value["growth"].as_array().unwrap().iter().map(option).collect();
    plan.actions = vec![ActionPlan {
        name: "note".into(),
        properties: Vec::new(),
    }];
    plan
}

fn restored(mut ticket: Ticket) -> Ticket {
    ticket.restored = true;
    ticket
}

/// The second that a time is in; one that missed the whole second by a rounding is in that one.
fn whole(time: Timestamp) -> i64 {
    (time + Seconds::from_micros(10)).seconds()
}

fn record(jail: &str, ip: &str, ticket: &Ticket) -> Value {
    let length = Seconds::from_micros(ticket.bantime.micros() + 10).whole();
    json!([jail, ip, ticket.time.seconds(), length, ticket.bancount])
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Notice => "NOTICE",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    }
}
