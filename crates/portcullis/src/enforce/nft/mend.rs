//! The kernel held against the wish, and made equal to it again.
//!
//! Nothing is asked of anybody: what is missing is put back from what was confirmed before, in the same call that finds
//! it missing. What was found, and since when it may have been so, goes out as one [`Reading`] for each layer.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::address::Id;
use portcullis_core::ledger::{Drift, LayerId, Reading};
use portcullis_core::time::Seconds;
use rustix::io::Errno;

use super::batch::{Chunk, Step, chunks};
use super::build::{foreign, is_crooked};
use super::elements::{self, Element};
use super::rules::{self, KnownRule};
use super::sets::{self, SetKey};
use super::survey::{Print, Survey};
use super::watch::Stir;
use super::wish::{BACKSTOP, MOVED_END, Members, Moment, Wish, is_near};
use super::{Nft, Result, kill, refusal};
use crate::fault;

/// An order may find the table gone before word of it has come, which says since when and by whom.
const WORD_OF_IT: Duration = Duration::from_millis(20);

/// What was done was done before word of it came, by about so much.
const WORD_TAKES: Seconds = Seconds::from_micros(1000);

/// An element that the kernel is about to end anyway is neither missing nor too many.
const NEARLY_OVER: Seconds = Seconds::new(2);

/// So often a set is listed in which elements are missing, as long as each list shows some that were not seen before.
const LISTS_MOST: usize = 8;

/// So often a look is repeated at once that somebody came into.
const TORN_MOST: usize = 3;

/// How one layer differs from what it was told.
#[derive(Debug, Default)]
struct Finding {
    held: usize,
    missing: usize,
    extra: usize,
    moved: usize,
    /// Packets come past it
    leaks: bool,
    /// Its chain, sets and rules are to be made again
    is_broken: bool,
    words: Vec<String>,
    /// Elements to put right
    work: Vec<Chunk>,
}

impl Finding {
    fn broken(&mut self, leaks: bool, what: String) {
        self.is_broken = true;
        self.leaks |= leaks;
        self.words.push(what);
    }

    fn drift(&self, wish: &Wish, stir: Option<&Stir>, now: Moment) -> Option<Drift> {
        let first = self.words.first()?;
        let now = now.now();
        let since = stir.map_or(wish.whole, |stir| now - stir.ago() - WORD_TAKES);
        Some(Drift {
            since: since.min(now),
            until: None,
            missing: if self.leaks { wish.len() } else { self.missing },
            extra: self.extra,
            moved: self.moved,
            what: self
                .words
                .iter()
                .skip(1)
                .fold(first.clone(), |all, one| format!("{all}, {one}")),
            by: stir.and_then(|stir| stir.by.clone()),
        })
    }
}

impl Nft {
    /// Reads back and repairs; what was found in between times comes with it.
    pub(super) fn mend_now(&mut self, now: Moment) -> Result<Vec<Reading>> {
        for layer in std::mem::take(&mut self.leaving) {
            // Whoever ordered it was told of the first failure.
            let _ = self.stop(&layer);
        }
        let mut readings = self.look_and_repair(now, Duration::ZERO)?;
        // What was repaired on the way is told together with what was found now.
        for earlier in std::mem::take(&mut self.findings).into_iter().rev() {
            readings.insert(0, earlier);
        }
        Ok(readings)
    }

    /// The same in the middle of other work; what was found is told later.
    pub(super) fn heal(&mut self, now: Moment) {
        match self.look_and_repair(now, WORD_OF_IT) {
            Ok(readings) => {
                let drifts = readings.into_iter().filter(|reading| reading.drift.is_some());
                self.findings.extend(drifts);
            }
            Err(error) => {
                self.is_suspect = true;
                log::warn!("table inet {} was changed by somebody else: {error}", self.table);
            }
        }
    }

    /// `patience` is how long to wait for word of who touched the table.
    fn look_and_repair(&mut self, now: Moment, patience: Duration) -> Result<Vec<Reading>> {
        self.is_suspect = false;
        if self.wishes.is_empty() {
            return Ok(Vec::new());
        }
        // Taken before the look: what is changed after it comes as another one.
        let mut stir = self.watch.as_ref().and_then(|watch| watch.take(patience));
        if std::mem::take(&mut self.by_hand) {
            stir = Some(Stir::by_hand());
        }
        // What is changed while it is looked at may fit together nowhere, and then the repair is refused.
        for _ in 0..TORN_MOST {
            let before = self.socket.generation();
            let readings = self.look_once(now, stir.as_ref())?;
            let is_stuck = |reading: &Reading| reading.drift.as_ref().is_some_and(|drift| drift.until.is_none());
            if !readings.iter().any(is_stuck) || before == self.socket.generation() {
                return Ok(readings);
            }
        }
        self.look_once(now, stir.as_ref())
    }

    fn look_once(&mut self, now: Moment, stir: Option<&Stir>) -> Result<Vec<Reading>> {
        let survey = self.survey()?;
        if survey.is_foreign() {
            return Ok(self.all_lost(now, stir, &foreign(&self.table).to_string()));
        }
        let layers: Vec<LayerId> = self.wishes.keys().cloned().collect();
        let mut findings = BTreeMap::new();
        for layer in layers {
            let finding = self.examine(now, &layer, &survey)?;
            findings.insert(layer, finding);
        }
        let mut readings: Vec<Reading> = Vec::new();
        for (layer, finding) in &findings {
            let wish = self.wishes.get(layer);
            readings.push(Reading {
                layer: layer.clone(),
                held: finding.held,
                drift: wish.and_then(|wish| finding.drift(wish, stir, now)),
            });
        }
        let mut returned = Vec::new();
        for (layer, Finding { leaks, work, .. }) in &findings {
            let (scope, wish) = (self.scopes.get(layer), self.wishes.get(layer));
            returned.extend(kill::returned(scope, wish, *leaks, work));
        }
        let repaired = self.repair(now, findings, &survey);
        let until = now.now();
        for reading in &mut readings {
            match (&mut reading.drift, &repaired) {
                (Some(drift), Ok(())) => drift.until = Some(until),
                (Some(drift), Err(error)) => drift.what = format!("{}, and {error}", drift.what),
                (None, _) => {}
            }
        }
        if repaired.is_ok() {
            self.sessions.end(returned);
            self.wishes.values_mut().for_each(|wish| wish.whole = until);
        }
        Ok(readings)
    }

    /// What is said where nothing can be put right.
    fn all_lost(&self, now: Moment, stir: Option<&Stir>, why: &str) -> Vec<Reading> {
        let lost = |(layer, wish): (&LayerId, &Wish)| {
            let mut finding = Finding::default();
            finding.broken(true, why.to_owned());
            Reading {
                layer: layer.clone(),
                held: 0,
                drift: finding.drift(wish, stir, now),
            }
        };
        self.wishes.iter().map(lost).collect()
    }

    fn repair(&mut self, now: Moment, findings: BTreeMap<LayerId, Finding>, survey: &Survey) -> Result<()> {
        let broken = findings.iter().filter(|(_, finding)| finding.is_broken);
        let broken: BTreeSet<LayerId> = broken.map(|(layer, _)| layer.clone()).collect();
        let work: Vec<Chunk> = findings.into_values().flat_map(|finding| finding.work).collect();
        if broken.is_empty() && work.is_empty() {
            return Ok(());
        }
        fault::reach(fault::Step::Mend);
        self.build(now, &broken, survey, work)?;
        fault::reach(fault::Step::Mended);
        Ok(())
    }

    fn examine(&mut self, now: Moment, layer: &LayerId, survey: &Survey) -> Result<Finding> {
        // The wish steps out while the kernel is asked.
        let mut wish = self.wishes.get_mut(layer).map(std::mem::take).unwrap_or_default();
        wish.lapse(now.now());
        let mut finding = Finding::default();
        self.examine_rules(layer, &wish, survey, &mut finding);
        let examined = match survey.table {
            Some(_) => self.examine_sets(now, (layer, &mut wish), survey, &mut finding),
            None => Ok(()),
        };
        self.wishes.insert(layer.clone(), wish);
        examined.map(|()| finding)
    }

    /// Whether packets come past a layer that was set up.
    pub(super) fn leaks(&self, layer: &LayerId, survey: &Survey) -> bool {
        let mut finding = Finding::default();
        if let Some(wish) = self.wishes.get(layer) {
            self.examine_rules(layer, wish, survey, &mut finding);
        }
        finding.leaks
    }

    fn examine_rules(&self, layer: &LayerId, wish: &Wish, survey: &Survey, finding: &mut Finding) {
        match survey.table {
            None => return finding.broken(true, "the table was gone".to_owned()),
            Some(table) if table.is_dormant => finding.broken(true, "the table was dormant".to_owned()),
            Some(_) => {}
        }
        let base = rules::BASE;
        match survey.chains.get(base) {
            None => return finding.broken(true, format!("chain {base} was gone")),
            Some(_) if is_crooked(survey) => {
                finding.broken(true, format!("chain {base} had another type, hook or priority"));
            }
            Some(hook) if *hook != rules::base_hook() => {
                finding.broken(false, format!("chain {base} had another policy"));
            }
            Some(_) => {}
        }
        let chain = sets::scope_name(layer);
        let scopes: BTreeSet<String> = survey
            .layers()
            .iter()
            .chain(self.wishes.keys())
            .map(sets::scope_name)
            .collect();
        let is_ours = |rule: &KnownRule| rule.jump.as_ref().is_some_and(|to| scopes.contains(to));
        let jumps: Vec<&KnownRule> = survey.jumps_to(&chain).collect();
        complain(base, survey.rules_of(base), (&jumps, &wish.jumps), is_ours, finding);
        if !survey.chains.contains_key(&chain) {
            return finding.broken(true, format!("chain {chain} was gone"));
        }
        let lookups: Vec<&KnownRule> = survey.lookups_of(&chain).collect();
        let is_ours = |rule: &KnownRule| lookups.iter().any(|one| one.handle == rule.handle);
        complain(
            &chain,
            survey.rules_of(&chain),
            (&lookups, &wish.lookups),
            is_ours,
            finding,
        );
    }

    fn examine_sets(
        &mut self,
        now: Moment,
        (layer, wish): (&LayerId, &mut Wish),
        survey: &Survey,
        finding: &mut Finding,
    ) -> Result<()> {
        let there = survey.sets_of(layer);
        let scope = sets::scope_name(layer);
        let mut odds = Odds::default();
        for (key, members) in &mut wish.sets {
            let name = key.name(&scope);
            let Some(is_sound) = there.get(key) else {
                odds.lost
                    .extend(members.iter().filter_map(|(ip, _)| elements::id(*key, ip)));
                finding.broken(true, format!("set {name} was gone"));
                continue;
            };
            if survey.sets.get(&name).is_some_and(|set| set.is_readable(*key)) {
                let found = self.compare(now, (layer, *key), members)?;
                finding.held += found.held;
                odds.add(*key, &found);
                if *is_sound {
                    finding.work.extend(found.work(layer, *key));
                }
            }
            if !is_sound {
                finding.broken(false, format!("set {name} had another shape"));
            } else if wish.is_complete {
                let strays = members.take_strays();
                finding.held = finding.held.saturating_sub(strays.len());
                if !strays.is_empty() {
                    log::info!("set {name}: {} elements of a former run are over", strays.len());
                }
                let gone = strays.into_iter().map(|ip| (Element { ip, end: None }, Vec::new()));
                finding.work.extend(chunks(Step::End, (layer, *key), gone));
            }
        }
        odds.tell(finding);
        Ok(())
    }

    /// While the kernel makes room for many new elements, a list of the set leaves out some of those that are there, others
    /// each time: what is missing is missing from all lists, until one has nothing that was not seen before.
    fn compare(&mut self, now: Moment, (layer, key): (&LayerId, SetKey), members: &Members) -> Result<Found> {
        let mut found = Found::default();
        let mut seen: HashSet<IpAddr> = HashSet::with_capacity(members.len());
        for _ in 0..LISTS_MOST {
            let before = seen.len();
            (found.extra, found.moved) = self.look_through(now, (layer, key), members, &mut seen)?;
            if seen.len() == members.len() || seen.len() == before {
                break;
            }
        }
        found.held = seen.len();
        if found.held < members.len() {
            let gone = members.iter().filter(|(ip, _)| !seen.contains(ip));
            // A ban that is over is missed by nobody.
            let now = now.now();
            let missed = gone.filter(|(_, end)| end.is_none_or(|end| end > now));
            found.missing.extend(missed.map(|(ip, end)| Element { ip, end }));
        }
        Ok(found)
    }

    /// Lists a set once: which of the members are seen, who is not one of them, and who is to end at another time.
    fn look_through(
        &mut self,
        now: Moment,
        (layer, key): (&LayerId, SetKey),
        members: &Members,
        seen: &mut HashSet<IpAddr>,
    ) -> Result<(Vec<IpAddr>, Vec<Element>)> {
        let (mut extra, mut moved) = (Vec::new(), Vec::new());
        let over = now.now() + NEARLY_OVER;
        self.elements(now, (layer, key), |ip, kept| {
            let Some(end) = members.end(ip) else {
                if kept.is_none_or(|end| end + BACKSTOP > over) {
                    extra.push(ip);
                }
                return;
            };
            seen.insert(ip);
            if !is_near(kept, end, MOVED_END) {
                moved.push(Element { ip, end });
            }
        })?;
        Ok((extra, moved))
    }

    /// Whether the kernel holds these bans, asked for one by one.
    pub(super) fn look_up(&mut self, bans: &[(LayerId, Id)]) -> Result<Vec<bool>> {
        let mut groups: BTreeMap<(&LayerId, SetKey), Vec<(usize, IpAddr)>> = BTreeMap::new();
        for (at, (layer, id)) in bans.iter().enumerate() {
            if let Some((key, ip)) = sets::place(id) {
                groups.entry((layer, key)).or_default().push((at, ip));
            }
        }
        let mut out = vec![false; bans.len()];
        for ((layer, key), whom) in groups {
            let ips: Vec<IpAddr> = whom.iter().map(|(_, ip)| *ip).collect();
            let request = elements::get(&self.table, layer, key, &ips);
            let replies = match self.socket.get(&request) {
                Ok(replies) => replies,
                // Where one is not there nothing is said of the others; all are looked at by the next mending.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(refusal("read elements back".to_owned(), errno)),
            };
            let mut held = HashSet::new();
            for reply in &replies {
                elements::found(reply, |ip, _| held.extend([ip]));
            }
            for (at, ip) in whom {
                if let Some(place) = out.get_mut(at) {
                    *place = held.contains(&ip);
                }
            }
        }
        self.is_suspect |= out.contains(&false);
        Ok(out)
    }
}

/// What of a set's elements differs.
#[derive(Default)]
struct Found {
    held: usize,
    missing: Vec<Element>,
    extra: Vec<IpAddr>,
    moved: Vec<Element>,
}

impl Found {
    fn work(self, layer: &LayerId, key: SetKey) -> Vec<Chunk> {
        let no_change = |element| (element, Vec::new());
        let extra = self.extra.into_iter().map(|ip| Element { ip, end: None });
        let mut out = chunks(Step::End, (layer, key), extra.map(no_change));
        out.extend(chunks(Step::Renew, (layer, key), self.moved.into_iter().map(no_change)));
        out.extend(chunks(Step::Add, (layer, key), self.missing.into_iter().map(no_change)));
        out
    }
}

/// The elements of a layer that differ, by name.
#[derive(Default)]
struct Odds {
    lost: Vec<Id>,
    extra: Vec<Id>,
    moved: Vec<Id>,
}

impl Odds {
    fn add(&mut self, key: SetKey, found: &Found) {
        let name = |ip: &IpAddr| elements::id(key, *ip);
        self.lost.extend(found.missing.iter().filter_map(|one| name(&one.ip)));
        self.extra.extend(found.extra.iter().filter_map(name));
        self.moved.extend(found.moved.iter().filter_map(|one| name(&one.ip)));
    }

    fn tell(&self, finding: &mut Finding) {
        (finding.missing, finding.extra, finding.moved) = (self.lost.len(), self.extra.len(), self.moved.len());
        let kinds = [
            (&self.lost, "missing"),
            (&self.extra, "there that nobody ordered"),
            (&self.moved, "to end at another time"),
        ];
        for (ids, what) in kinds {
            match ids.as_slice() {
                [] => {}
                [id] => finding.words.push(format!("element {id} was {what}")),
                ids => finding.words.push(format!("{} elements were {what}", ids.len())),
            }
        }
    }
}

/// Compares the rules of ours that stand in a chain with those that were made.
fn complain<'s>(
    chain: &str,
    all: impl Iterator<Item = &'s KnownRule>,
    (there, made): (&[&KnownRule], &[Print]),
    is_ours: impl Fn(&KnownRule) -> bool,
    finding: &mut Finding,
) {
    if there.len() < made.len() || there.is_empty() {
        finding.broken(true, format!("a rule of chain {chain} was gone"));
    } else if there.len() != made.len() || there.iter().zip(made).any(|(rule, print)| !rule.is(print)) {
        finding.broken(true, format!("a rule of chain {chain} was altered"));
    }
    let Some(last) = there.last() else { return };
    let mut before = all.take_while(|rule| rule.handle != last.handle);
    if before.any(|rule| !is_ours(rule)) {
        finding.broken(true, format!("a foreign rule stood before ours in chain {chain}"));
    }
}
