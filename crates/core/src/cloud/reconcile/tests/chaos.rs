//! Whatever happens, in whatever order: in the end the rules hold what is to be in force, and nobody's entries are
//! lost but where they were changed between a read and the write that builds on it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::api::{Api, Change, Fault, base_rule, set};
use super::stage::{Stage, Writer};
use crate::cloud::SENTINELS;
use crate::cloud::aggregate::aggregate;
use crate::cloud::books::Claim;
use crate::cloud::desired::rule_number;
use crate::cloud::is_sentinel;
use crate::cloud::options::Options;
use crate::cloud::reconcile::Input;
use crate::cloud::rule::Mark;
use crate::cloud::trouble::Kind;
use crate::ledger::Standing;
use crate::time::{Seconds, Timestamp};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Ban(usize, u8),
    Unban(usize, u8),
    Protect(usize, u8),
    Wait(f64),
    Goes(usize, Fault),
    /// It dies, and its books are lost
    Loses(usize),
    /// It dies once so many outputs more were heard
    Dies(usize, usize),
    Review(usize),
    /// A person adds an entry to a base rule
    Adds(usize, u8),
    /// A person takes out an entry of any rule
    Takes(u16, u16),
    /// A person deletes a rule that is none of the base rules
    Deletes(u16),
    Down(bool),
}

#[derive(Clone, Debug)]
struct Case {
    writers: usize,
    is_shared: bool,
    cap: usize,
    events: Vec<Event>,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Token,
        Kind::Rate,
        Kind::Permission,
        Kind::Busy,
        Kind::Conflict,
        Kind::Unknown,
        Kind::Quota,
        Kind::Refused,
        Kind::Credentials,
    ])
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::LostRequest),
        3 => Just(Fault::LostReply),
        2 => kinds().prop_map(Fault::Refused),
        2 => kinds().prop_map(Fault::Ends),
    ]
}

fn events(writers: usize) -> impl Strategy<Value = Event> {
    let who = 0..writers;
    prop_oneof![
        12 => (who.clone(), 0..24u8).prop_map(|(who, whom)| Event::Ban(who, whom)),
        6 => (who.clone(), 0..24u8).prop_map(|(who, whom)| Event::Unban(who, whom)),
        1 => (who.clone(), 0..24u8).prop_map(|(who, whom)| Event::Protect(who, whom)),
        10 => prop_oneof![0.01..0.3f64, 0.3..8.0f64, 8.0..90.0f64].prop_map(Event::Wait),
        4 => (who.clone(), faults()).prop_map(|(who, fault)| Event::Goes(who, fault)),
        4 => (who.clone(), 0..6usize).prop_map(|(who, after)| Event::Dies(who, after)),
        1 => who.clone().prop_map(Event::Review),
        1 => who.clone().prop_map(Event::Loses),
        2 => (who, 0..8u8).prop_map(|(who, what)| Event::Adds(who, what)),
        2 => any::<(u16, u16)>().prop_map(|(rule, entry)| Event::Takes(rule, entry)),
        1 => any::<u16>().prop_map(Event::Deletes),
        1 => any::<bool>().prop_map(Event::Down),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let setting = (1..=6usize, any::<bool>(), prop::sample::select(vec![8, 12, 40, 5_000]));
    setting.prop_flat_map(|(writers, is_shared, cap)| {
        prop::collection::vec(events(writers), 1..60).prop_map(move |events| Case {
            writers,
            is_shared,
            cap,
            events,
        })
    })
}

/// Bans and people's entries are of two pools, so that each entry is known for whose it is. Two bans are no
/// neighbours.
fn banned(number: u8) -> String {
    if number % 8 == 7 {
        format!("2001:db8:{number}::/64")
    } else {
        format!("198.51.100.{}/32", u32::from(number) * 2)
    }
}

fn by_hand(number: u8) -> IpNet {
    format!("203.0.113.{number}/32").parse().unwrap()
}

fn is_by_hand(range: &IpNet) -> bool {
    (0..8).any(|number| by_hand(number) == *range)
}

/// The stage, and what people did.
struct World {
    stage: Stage,
    /// By rule, what people put there and is there, and when they last touched it
    theirs: BTreeMap<String, BTreeSet<IpNet>>,
    touched: BTreeMap<(String, IpNet), Timestamp>,
    /// What people took out
    taken: BTreeSet<IpNet>,
    /// By base rule, what may stay there for ever: nobody knows any more whose it was
    left: BTreeMap<String, BTreeSet<IpNet>>,
    losses: usize,
    changes: usize,
    /// People's edits that a write undid which built on a read before them
    raced: usize,
}

fn base(case: &Case, writer: usize) -> String {
    if case.is_shared {
        "block-ip".to_owned()
    } else {
        format!("block-{writer}x")
    }
}

impl World {
    fn new(case: &Case) -> World {
        let names: BTreeSet<String> = (0..case.writers).map(|writer| base(case, writer)).collect();
        let mut api = Api::new(names.iter().map(|name| base_rule(name, &[SENTINELS[0]])).collect());
        api.cap = case.cap;
        let writers = (0..case.writers).map(|writer| {
            let options = Options {
                own_rule: !case.is_shared,
                ..Options::new(&base(case, writer))
            };
            Writer::new(&format!("vm-{writer}"), options)
        });
        World {
            stage: Stage::new(api, writers.collect()),
            theirs: BTreeMap::new(),
            touched: BTreeMap::new(),
            taken: BTreeSet::new(),
            left: BTreeMap::new(),
            losses: 0,
            changes: 0,
            raced: 0,
        }
    }

    fn happen(&mut self, case: &Case, event: &Event) {
        match event {
            Event::Ban(who, whom) => self.stage.ban(*who, &banned(*whom)),
            Event::Unban(who, whom) => self.stage.unban(*who, &banned(*whom)),
            Event::Protect(who, whom) => self.stage.protect(*who, &banned(*whom)),
            Event::Wait(seconds) => self.stage.run(Seconds::from_f64(*seconds)),
            Event::Goes(who, fault) => self.stage.writers[*who].faults.push(fault.clone()),
            Event::Dies(who, after) => self.stage.writers[*who].dies_after = Some(*after),
            Event::Loses(who) => self.lose(case, *who),
            Event::Review(who) => self.stage.hear(*who, Input::Review),
            Event::Adds(who, what) => self.add(&base(case, *who), by_hand(*what)),
            Event::Takes(rule, entry) => self.take(*rule, *entry),
            Event::Deletes(rule) => self.delete(case, *rule),
            Event::Down(is_down) => self.stage.api.is_down = *is_down,
        }
        self.look();
    }

    /// Books are lost where it is known what has to become of the entries. What a person puts into a rule of our own
    /// counts as theirs from when we have seen it, and said in the mark that we are not alone.
    fn lose(&mut self, case: &Case, who: usize) {
        let base = base(case, who);
        let is_alone = self.is_alone(&base);
        let has_theirs = self.theirs.get(&base).is_some_and(|theirs| !theirs.is_empty());
        let writer = &self.stage.writers[who];
        if writer.is_writing() || !case.is_shared && has_theirs && is_alone != Some(false) {
            return;
        }
        if case.is_shared || is_alone != Some(true) {
            let rules = self.stage.api.rules.values();
            let rules = rules.filter(|rule| rule_number(&base, &rule.name).is_some());
            let all: BTreeSet<IpNet> = rules.flat_map(set).filter(|net| !is_by_hand(net)).collect();
            self.left.entry(base).or_default().extend(all);
        }
        self.losses += 1;
        self.stage.lose_books(who);
    }

    /// What the mark of a rule says.
    fn is_alone(&self, rule: &str) -> Option<bool> {
        let rule = self.stage.api.rules.get(rule)?;
        Mark::of(&rule.description).map(|mark| mark.is_alone)
    }

    fn add(&mut self, rule: &str, entry: IpNet) {
        let mut writers = self.stage.writers.iter().filter(|writer| writer.options.rule == rule);
        if writers.any(|writer| !writer.books.knows(rule)) && self.is_alone(rule) == Some(true) {
            return;
        }
        if self.stage.api.ranges(rule).len() + 2 > self.stage.api.cap || self.stage.api.ranges(rule).contains(&entry) {
            return;
        }
        self.stage.edit(rule, |ranges| ranges.push(entry.to_string()));
        self.theirs.entry(rule.to_owned()).or_default().insert(entry);
        self.touched.insert((rule.to_owned(), entry), self.stage.now);
    }

    fn take(&mut self, rule: u16, entry: u16) {
        let names: Vec<String> = self.stage.api.rules.keys().cloned().collect();
        let name = &names[usize::from(rule) % names.len()];
        let entries: Vec<IpNet> = self
            .stage
            .api
            .ranges(name)
            .into_iter()
            .filter(|net| !is_sentinel(net))
            .collect();
        if entries.is_empty() {
            return;
        }
        let entry = entries[usize::from(entry) % entries.len()];
        if self.stage.api.ranges(name).len() > 1 {
            self.stage
                .edit(name, |ranges| ranges.retain(|text| *text != entry.to_string()));
            self.taken.insert(entry);
            self.theirs.entry(name.clone()).or_default().remove(&entry);
            self.touched.insert((name.clone(), entry), self.stage.now);
        }
    }

    fn delete(&mut self, case: &Case, rule: u16) {
        let bases: BTreeSet<String> = (0..case.writers).map(|writer| base(case, writer)).collect();
        let names: Vec<String> = self
            .stage
            .api
            .rules
            .keys()
            .filter(|name| !bases.contains(*name))
            .cloned()
            .collect();
        if let Some(name) = names.get(usize::from(rule) % names.len().max(1)) {
            self.stage.api.rules.remove(name);
            self.theirs.remove(name);
        }
    }

    /// What was written since the last look: people's entries stay as they are, but for edits that a write could not
    /// know of.
    fn look(&mut self) {
        let changes: Vec<(Timestamp, Change)> = self.stage.changes[self.changes..].to_vec();
        self.changes = self.stage.changes.len();
        for (at, change) in changes {
            for entry in change
                .before
                .symmetric_difference(&change.after)
                .filter(|entry| is_by_hand(entry))
            {
                let touched = self.touched.get(&(change.rule.clone(), *entry));
                let is_race = touched.is_some_and(|&touched| touched >= change.basis);
                assert!(is_race, "{entry} is a person's, and this write changed it: {change:?}");
                self.raced += 1;
                // Another writer's write may build on a read from before this one.
                self.touched.insert((change.rule.clone(), *entry), at);
                let theirs = self.theirs.entry(change.rule.clone()).or_default();
                if change.after.contains(entry) {
                    theirs.insert(*entry);
                } else {
                    theirs.remove(entry);
                }
            }
        }
    }

    /// Everything works again, and all is looked at.
    fn heal(&mut self) {
        self.stage.api.is_down = false;
        for writer in &mut self.stage.writers {
            writer.faults.clear();
            writer.dies_after = None;
        }
        self.stage.run(Seconds::new(700));
        for _ in 0..4 {
            for who in 0..self.stage.writers.len() {
                self.stage.hear(who, Input::Review);
                self.stage.run(Seconds::new(120));
            }
        }
        self.look();
    }

    fn check_end(&self, case: &Case) {
        let bases: BTreeSet<String> = (0..case.writers).map(|writer| base(case, writer)).collect();
        for base in bases {
            let rules = self
                .stage
                .api
                .rules
                .values()
                .filter(|rule| rule_number(&base, &rule.name).is_some());
            let mut ours = BTreeSet::new();
            for rule in rules {
                let theirs = self.theirs.get(&rule.name).cloned().unwrap_or_default();
                let entries: BTreeSet<IpNet> = set(rule).into_iter().filter(|net| !is_sentinel(net)).collect();
                let by_hand: BTreeSet<IpNet> = entries.iter().filter(|net| is_by_hand(net)).copied().collect();
                assert_eq!(by_hand, theirs, "people's entries of {}", rule.name);
                ours.extend(entries.difference(&theirs).copied());
            }
            let writers = self.stage.writers.iter().filter(|writer| writer.options.rule == base);
            let wanted: BTreeSet<IpNet> = writers.flat_map(Writer::in_force).collect();
            if let Some(left) = self.left.get(&base) {
                let kept = ours
                    .iter()
                    .filter(|range| wanted.contains(range) || !left.contains(range));
                ours = kept.copied().collect();
            }
            assert_eq!(aggregate(ours), aggregate(wanted), "{base}");
        }
        for writer in &self.stage.writers {
            for range in writer.in_force() {
                assert_eq!(writer.standings.get(&range), Some(&Standing::Verified), "{range}");
            }
            assert_eq!(writer.failing, None);
            let mut claims = writer.books.rules.values().flat_map(|account| account.claims.values());
            assert!(
                claims.all(|claim| *claim == Claim::Held) || case.is_shared,
                "{:?}",
                writer.books
            );
            assert!(
                writer.freed.iter().all(|range| self.taken.contains(range)),
                "{:?}",
                writer.freed
            );
            assert!(writer.freed.is_empty() || !case.is_shared);
        }
    }
}

#[test]
fn whatever_happens_the_rules_hold_what_is_to_be_in_force() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let counts = std::cell::Cell::new([0usize; 6]);
    let result = runner.run(&cases(), |case| {
        let mut world = World::new(&case);
        for event in &case.events {
            world.happen(&case, event);
        }
        world.heal();
        world.check_end(&case);
        let writers = &world.stage.writers;
        let crashes: usize = writers.iter().map(|writer| writer.crashes).sum();
        let freed: usize = writers.iter().map(|writer| writer.freed.len()).sum();
        let more = [
            world.stage.api.writes,
            crashes,
            freed,
            world.raced,
            world.stage.api.refused_as_busy,
            world.losses,
        ];
        let mut sums = counts.get();
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        counts.set(sums);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let [writes, crashes, freed, raced, busy, losses] = counts.get();
    println!(
        "{writes} writes, {crashes} crashes, {freed} freed, {raced} edits lost to a race, {busy} busy, {losses} lost books"
    );
    // It is of no use where nothing happens.
    assert!(
        writes > 1_000 && crashes > 50 && freed > 0 && busy > 0 && losses > 50,
        "{:?}",
        counts.get()
    );
}
