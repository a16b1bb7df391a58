//! Several writers, each with its books and its bans, against one simulated API, on a clock that only they move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::api::{Api, Change, Fault, trouble};
use crate::cloud::books::{Books, Claim, State};
use crate::cloud::is_sentinel;
use crate::cloud::options::Options;
use crate::cloud::reconcile::{Answer, Call, Host, Input, Output, Reconciler};
use crate::cloud::trouble::{Kind, Trouble};
use crate::ledger::{LayerId, Reading, Standing};
use crate::time::{Clock, Seconds, Timestamp};

/// A call that nobody answers is given up after this.
const TIMEOUT: Seconds = Seconds::new(5);

/// A call on its way.
struct Flight {
    number: u64,
    call: Call,
    fault: Option<Fault>,
    /// When it arrives; then, with the answer, when that does
    at: Timestamp,
    /// When the rule was read on which it builds
    basis: Timestamp,
    answer: Option<Result<Answer, Trouble>>,
}

pub(super) struct Writer {
    pub(super) options: Options,
    host: Host,
    pub(super) reconciler: Reconciler,
    /// What was kept, as it comes to
    pub(super) books: State,
    /// The daemon's own memory: bans in force
    pub(super) wanted: BTreeMap<IpNet, Option<Timestamp>>,
    pub(super) protected: Vec<(IpNet, String)>,
    flight: Option<Flight>,
    /// What goes wrong with the next calls
    pub(super) faults: Vec<Fault>,
    /// How many outputs are heard before it dies
    pub(super) dies_after: Option<usize>,
    pub(super) standings: BTreeMap<IpNet, Standing>,
    pub(super) failing: Option<String>,
    pub(super) freed: Vec<IpNet>,
    pub(super) readings: Vec<Reading>,
    pub(super) notes: Vec<String>,
    /// What each rule held when it was last read, and when that was
    pub(super) reads: BTreeMap<String, (Timestamp, BTreeSet<IpNet>)>,
    /// What was wanted when the write under way was sent
    wanted_at_write: BTreeSet<IpNet>,
    pub(super) crashes: usize,
    starts: u64,
}

pub(super) struct Stage {
    pub(super) api: Api,
    pub(super) now: Timestamp,
    pub(super) writers: Vec<Writer>,
    /// Called with every list that came true
    pub(super) changes: Vec<(Timestamp, Change)>,
}

pub(super) fn layer() -> LayerId {
    LayerId {
        jail: Arc::from("sshd"),
        action: Arc::from("gcp"),
    }
}

impl Writer {
    pub(super) fn new(name: &str, options: Options) -> Writer {
        let host = Host {
            writer: name.to_owned(),
            has_ipv6: true,
            ..Host::default()
        };
        Writer {
            options,
            reconciler: Reconciler::new(host.clone(), Books::default(), 0),
            host,
            books: State::default(),
            wanted: BTreeMap::new(),
            protected: Vec::new(),
            flight: None,
            faults: Vec::new(),
            dies_after: None,
            standings: BTreeMap::new(),
            failing: None,
            freed: Vec::new(),
            readings: Vec::new(),
            notes: Vec::new(),
            reads: BTreeMap::new(),
            wanted_at_write: BTreeSet::new(),
            crashes: 0,
            starts: 0,
        }
    }

    /// Where this range stands in the list that is on its way.
    pub(super) fn is_about_to_write(&self, range: &IpNet) -> Option<usize> {
        let flight = self.flight.as_ref().filter(|flight| flight.answer.is_none())?;
        match &flight.call {
            Call::Write { ranges, .. } => ranges.iter().position(|one| one == range),
            _ => None,
        }
    }

    /// The call that is on its way goes wrong.
    pub(super) fn fail_flight(&mut self, fault: Fault) {
        if let Some(flight) = &mut self.flight {
            flight.fault = Some(fault);
        }
    }

    /// Whether a list or a mark is on its way.
    pub(super) fn is_writing(&self) -> bool {
        let is_read = |call: &Call| matches!(call, Call::Read { .. } | Call::List { .. });
        self.flight.as_ref().is_some_and(|flight| !is_read(&flight.call))
    }

    /// Whether it is to be banned there.
    fn may_be_written(&self, range: &IpNet) -> bool {
        !self
            .protected
            .iter()
            .any(|(net, _)| net.contains(range) || range.contains(net))
    }

    /// What is to be in force in the end.
    pub(super) fn in_force(&self) -> BTreeSet<IpNet> {
        self.wanted
            .keys()
            .filter(|range| self.may_be_written(range))
            .copied()
            .collect()
    }
}

pub(super) fn covers(ranges: &BTreeSet<IpNet>, range: &IpNet) -> bool {
    std::iter::successors(Some(*range), IpNet::supernet).any(|net| ranges.contains(&net))
}

impl Stage {
    pub(super) fn new(api: Api, writers: Vec<Writer>) -> Stage {
        let mut stage = Stage {
            api,
            now: Timestamp::from_seconds(1_700_000_000),
            writers,
            changes: Vec::new(),
        };
        for index in 0..stage.writers.len() {
            stage.start(index);
        }
        stage
    }

    /// One writer over one rule without others' entries.
    pub(super) fn single(options: Options, ranges: &[&str]) -> Stage {
        let api = Api::new(vec![super::api::base_rule(&options.rule, ranges)]);
        Stage::new(api, vec![Writer::new("mail", options)])
    }

    fn clock(&self) -> Clock {
        Clock::at(self.now)
    }

    /// A process starts with what was kept, and orders what is in force.
    pub(super) fn start(&mut self, index: usize) {
        let writer = &mut self.writers[index];
        writer.starts += 1;
        // The same seed: ids must differ all the same.
        let books = Books {
            entries: writer.books.entries(),
        };
        assert_eq!(
            books.state(),
            writer.books,
            "the books come to the same when they are written anew"
        );
        writer.reconciler = Reconciler::new(writer.host.clone(), books, 7 + index as u64);
        writer.flight = None;
        writer.dies_after = None;
        writer.standings.clear();
        writer.failing = None;
        writer.reads.clear();
        let options = writer.options.clone();
        let protected = writer.protected.clone();
        let bans: Vec<(IpNet, Option<Timestamp>)> =
            writer.wanted.iter().map(|(range, until)| (*range, *until)).collect();
        self.hear(index, Input::Open(layer(), options));
        self.hear(index, Input::Protect(protected));
        for (range, until) in bans {
            self.hear(
                index,
                Input::Ban {
                    layer: layer(),
                    range,
                    until,
                    bancount: 1,
                },
            );
        }
        self.hear(index, Input::Settled);
    }

    pub(super) fn ban(&mut self, index: usize, range: &str) {
        self.ban_until(index, range, None);
    }

    pub(super) fn ban_until(&mut self, index: usize, range: &str, until: Option<Timestamp>) {
        let range: IpNet = range.parse().unwrap();
        self.writers[index].wanted.insert(range, until);
        self.hear(
            index,
            Input::Ban {
                layer: layer(),
                range,
                until,
                bancount: 1,
            },
        );
    }

    pub(super) fn unban(&mut self, index: usize, range: &str) {
        self.lift(index, range.parse().unwrap());
    }

    fn lift(&mut self, index: usize, range: IpNet) {
        if self.writers[index].wanted.remove(&range).is_some() {
            self.writers[index].standings.remove(&range);
            self.hear(index, Input::Unban { layer: layer(), range });
        }
    }

    pub(super) fn protect(&mut self, index: usize, range: &str) {
        let writer = &mut self.writers[index];
        writer
            .protected
            .push((range.parse().unwrap(), "somebody is logged in from there".to_owned()));
        let all = writer.protected.clone();
        self.hear(index, Input::Protect(all));
    }

    /// A process dies, and its books with it; another one starts.
    pub(super) fn lose_books(&mut self, index: usize) {
        self.writers[index].books = State::default();
        self.start(index);
    }

    /// Somebody else writes a rule: at once, as the console seems to.
    pub(super) fn edit(&mut self, rule: &str, edit: impl FnOnce(&mut Vec<String>)) {
        if let Some(rule) = self.api.rules.get_mut(rule) {
            edit(&mut rule.source_ranges);
        }
    }

    /// An input, and what comes of it, up to where the process dies.
    pub(super) fn hear(&mut self, index: usize, input: Input) {
        let now = self.clock();
        let mut out = Vec::new();
        self.writers[index].reconciler.handle(now, input, &mut out);
        let mut lifted = Vec::new();
        for output in out {
            if let Some(left) = &mut self.writers[index].dies_after {
                if *left == 0 {
                    self.writers[index].crashes += 1;
                    return self.start(index);
                }
                *left -= 1;
            }
            self.heed(index, output, &mut lifted);
        }
        for range in lifted {
            self.lift(index, range);
        }
    }

    fn heed(&mut self, index: usize, output: Output, lifted: &mut Vec<IpNet>) {
        let now = self.now;
        let latency = self.api.latency;
        let writer = &mut self.writers[index];
        match output {
            Output::Keep(entries) => entries.iter().for_each(|entry| writer.books.apply(entry)),
            Output::Call(number, call) => {
                assert!(writer.flight.is_none(), "two calls at a time");
                writer.check_call(&call);
                let is_write = !matches!(call, Call::Read { .. } | Call::Follow { .. } | Call::List { .. });
                if is_write {
                    writer.wanted_at_write = writer.in_force();
                }
                let basis = rule_of(&call)
                    .and_then(|rule| writer.reads.get(rule))
                    .map(|(at, _)| *at);
                let fault = (!writer.faults.is_empty()).then(|| writer.faults.remove(0));
                writer.flight = Some(Flight {
                    number,
                    call,
                    fault,
                    at: now + latency,
                    basis: basis.unwrap_or(now),
                    answer: None,
                });
            }
            Output::Stand { range, standing, .. } => {
                if standing == Standing::Verified {
                    let is_held = writer.reads.values().any(|(_, ranges)| covers(ranges, &range));
                    // Whoever orders a ban once more is told what is known of it.
                    let is_known = writer.standings.get(&range) == Some(&standing);
                    assert!(is_held || is_known, "{range} is said to be verified and was not read");
                }
                writer.standings.insert(range, standing);
            }
            Output::Failing(_, text) => writer.failing = text,
            Output::Freed(range, _) => {
                writer.freed.push(range);
                lifted.push(range);
            }
            Output::Read(reading) => writer.readings.push(reading),
            Output::Note(_, text) => writer.notes.push(text),
        }
    }

    /// When anything happens next.
    fn next(&self) -> Option<Timestamp> {
        let of_writers = self.writers.iter().flat_map(|writer| {
            let flight = writer.flight.as_ref().map(|flight| flight.at);
            [flight, writer.reconciler.next_wake().map(|at| at.max(self.now))]
        });
        of_writers.chain([self.api.ends()]).flatten().min()
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, length: Seconds) {
        let end = self.now + length;
        let mut steps = 0;
        while let Some(at) = self.next().filter(|&at| at <= end) {
            steps += 1;
            assert!(steps < 200_000, "it goes round and round");
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        while let Some(change) = self.api.settle(self.now) {
            self.check_change(&change);
            self.changes.push((self.now, change));
        }
        for index in 0..self.writers.len() {
            self.fly(index);
            let wake = self.writers[index].reconciler.next_wake();
            if wake.is_some_and(|at| at <= self.now) {
                self.hear(index, Input::Tick);
                let again = self.writers[index].reconciler.next_wake();
                assert!(again.is_none_or(|at| at > self.now), "it wakes at once again");
            }
        }
    }

    /// A call arrives, or its answer does.
    fn fly(&mut self, index: usize) {
        let now = self.now;
        let Some(mut flight) = self.writers[index].flight.take_if(|flight| flight.at <= now) else {
            return;
        };
        if let Some(answer) = flight.answer.take() {
            if let Ok(Answer::Rule(rule)) = &answer {
                let read = (now - self.api.latency, super::api::set(rule));
                self.writers[index].reads.insert(rule.name.clone(), read);
            }
            return self.hear(index, Input::Answer(flight.number, answer));
        }
        let fault = flight.fault.take();
        let (answer, at) = match fault {
            _ if self.api.is_down => (Err(trouble(Kind::Unknown)), now + TIMEOUT),
            Some(Fault::LostRequest) => (Err(trouble(Kind::Unknown)), now + TIMEOUT),
            Some(Fault::Refused(kind)) => (Err(trouble(kind)), now + self.api.latency),
            Some(Fault::LostReply) => {
                self.api.call(now, (index, flight.basis), &flight.call, None);
                (Err(trouble(Kind::Unknown)), now + TIMEOUT)
            }
            fault => {
                let end = match fault {
                    Some(Fault::Ends(kind)) => Some(kind),
                    _ => None,
                };
                match self.api.call(now, (index, flight.basis), &flight.call, end) {
                    Some(answer) => (answer, now + self.api.latency),
                    None => {
                        flight.at = self.api.ends().unwrap_or(now);
                        self.writers[index].flight = Some(flight);
                        return;
                    }
                }
            }
        };
        flight.answer = Some(answer);
        flight.at = at;
        self.writers[index].flight = Some(flight);
    }

    /// No list that came true takes out of force what is to be there before and after.
    fn check_change(&self, change: &Change) {
        let writer = &self.writers[change.writer];
        let base = &writer.options.rule;
        let others = self
            .api
            .rules
            .values()
            .filter(|rule| rule.name != change.rule && rule.name.starts_with(base.as_str()));
        let others: BTreeSet<IpNet> = others.flat_map(super::api::set).collect();
        let is_evicted = |range: &&IpNet| matches!(writer.standings.get(*range), Some(Standing::Failed(_)));
        for range in writer
            .in_force()
            .intersection(&writer.wanted_at_write)
            .filter(|range| !is_evicted(range))
        {
            let before = covers(&others, range) || covers(&change.before, range);
            let after = covers(&others, range) || covers(&change.after, range);
            assert!(
                after || !before,
                "{range} was in force and is to be, and this write lifts it: {change:?}"
            );
        }
    }
}

fn rule_of(call: &Call) -> Option<&str> {
    match call {
        Call::Write { rule, .. } | Call::Describe { rule, .. } | Call::Delete { rule, .. } => Some(rule),
        Call::Read { .. } | Call::List { .. } | Call::Create { .. } | Call::Follow { .. } => None,
    }
}

impl Writer {
    fn check_call(&self, call: &Call) {
        let (rule, ranges) = match call {
            Call::Write { rule, ranges, .. } => (rule, ranges.clone()),
            Call::Create { rule, .. } => (&rule.name, super::api::set(rule).into_iter().collect()),
            _ => return,
        };
        assert!(ranges.iter().any(is_sentinel), "the sentinel is missing");
        let read = self.reads.get(rule).map(|(_, read)| read.clone()).unwrap_or_default();
        for range in ranges.iter().filter(|range| !is_sentinel(range)) {
            let claim = self.books.claim(rule, range);
            assert!(
                read.contains(range) || claim.is_some(),
                "{range} is written and in no book"
            );
            let is_ours = claim.is_some_and(|claim| claim != Claim::Gone);
            assert!(
                !is_ours || self.may_be_written(range),
                "{range} is protected and written"
            );
        }
    }
}
