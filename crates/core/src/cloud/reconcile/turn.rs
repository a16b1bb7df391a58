//! What is to be done next, of everything that could be.

use std::sync::Arc;

use jiff::Timestamp as Moment;

use super::draft::{Draft, beyond};
use super::group::{Cause, Group};
use super::part::{Part, Presence};
use super::plan::Around;
use super::work::{Step, Target};
use super::{Output, Reconciler};
use crate::cloud::books::{Claim, Entry, State};
use crate::cloud::rule::Mark;
use crate::time::{Clock, Seconds, Timestamp};

/// A list is written on a read that is no older: what somebody changed since would be lost.
const FRESH: Seconds = Seconds::new(2);
/// What may go waits for a write that goes there anyway, at most so long.
const LAZY: Seconds = Seconds::new(60);
/// Plans that lead to no write follow one another no faster.
const IDLE: Seconds = Seconds::new(2);
/// Our mark is renewed when it is older and nothing else is to be done, and when it is older than this in any case.
const RENEWAL: Seconds = Seconds::new(24 * 3600);
const LAST_RENEWAL: Seconds = Seconds::new(36 * 3600);
/// A mark of somebody else's counts for so long.
pub(super) const EXPIRY: Seconds = Seconds::new(2 * 24 * 3600);
/// A rule that we made goes when nothing was in it for so long.
const EMPTY: Seconds = Seconds::new(3600);

/// What could be done with a rule. The first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Something protected stands in it
    Urgent,
    /// The mark is due and a write has just been made: neither starves the other
    ClaimNow,
    Adds(Timestamp),
    Claim,
    Removes,
    Delete,
}

impl Reconciler {
    /// Nothing is due before, but for what comes in.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    pub(super) fn next_step(&mut self, now: Clock, out: &mut Vec<Output>) -> Option<Step> {
        if !self.is_settled {
            return None;
        }
        if let Some(step) = self.unfinished().or_else(|| self.due_read(now.steady)) {
            return Some(step);
        }
        if let Some(at) = self.pace.gate(now.steady) {
            self.wake_at(at);
            return None;
        }
        let bases: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for base in &bases {
            self.replan_if_due(now, base, out);
        }
        if let Some(step) = self.due_read(now.steady) {
            return Some(step);
        }
        match self.best(now, &bases, out) {
            Some((_, step)) => Some(self.on_fresh_read(now.steady, step)),
            None => self.probe(now.steady),
        }
    }

    /// An operation of which nobody knows how it ended.
    fn unfinished(&self) -> Option<Step> {
        let mut open = self.books.rules.iter();
        open.find_map(|(rule, account)| {
            let base = account.base.as_ref().unwrap_or(rule).as_str().into();
            let rule = rule.as_str().into();
            Some(Step::Resume(Target { base, rule }, account.operation.clone()?))
        })
    }

    /// A rule that is to be read by now. The others of a group are of no interest while the base rule is not.
    fn due_read(&mut self, now: Timestamp) -> Option<Step> {
        let mut next: Option<Timestamp> = None;
        for (base, group) in &self.groups {
            if let Some(at) = group.retry_at.filter(|&at| at > now) {
                next = Some(next.map_or(at, |next| next.min(at)));
                continue;
            }
            for part in &group.parts {
                match part.read_by.filter(|&by| by > now) {
                    Some(by) => next = Some(next.map_or(by, |next| next.min(by))),
                    None => {
                        return Some(Step::Read(Target {
                            base: Arc::clone(base),
                            rule: Arc::clone(&part.name),
                        }));
                    }
                }
                if group.is_base(part) && !group.is_ready() {
                    break;
                }
            }
        }
        if let Some(at) = next {
            self.wake_at(at);
        }
        None
    }

    fn replan_if_due(&mut self, now: Clock, base: &Arc<str>, out: &mut Vec<Output>) {
        let Some(group) = self.groups.get(base) else { return };
        if group.retry_at.is_some_and(|at| at > now.steady) || !group.is_ready() {
            return;
        }
        let loose = group.loose_since.map(|since| since + LAZY);
        let until = [group.closed.as_ref(), group.local_six.as_ref()];
        let reopened = until.into_iter().flatten().map(|(until, _)| *until).min();
        let lapse = [loose, reopened].into_iter().flatten().min();
        if !group.is_dirty && lapse.is_none_or(|at| at > now.steady) {
            lapse.into_iter().for_each(|at| self.wake_at(at));
            return;
        }
        if let Some(at) = group.idle_plan.map(|last| last + IDLE).filter(|&at| at > now.steady) {
            return self.wake_at(at);
        }
        let is_dirty = group.is_dirty;
        self.replan(now, base, out);
        if let Some(group) = self.groups.get_mut(base).filter(|_| is_dirty) {
            group.idle_plan = Some(now.steady);
        }
    }

    /// Plans a group anew. What is wanted no more goes in our memory at once, and in the books with the write that
    /// takes it out: after a crash in between it is wanted no more either.
    pub(super) fn replan(&mut self, now: Clock, base: &Arc<str>, out: &mut Vec<Output>) {
        let around = Around {
            host: &self.host,
            protected: &self.protected,
            books: &self.books,
        };
        let Some(group) = self.groups.get_mut(base) else { return };
        let unwanted = group.plan(now, &around, out);
        if !unwanted.is_empty() {
            group.loose_since.get_or_insert(now.steady);
        }
        for (rule, range) in unwanted {
            self.books.apply(&Entry::Put {
                rule: rule.to_string(),
                range,
                claim: Claim::Gone,
            });
        }
        self.plans += 1;
    }

    /// The most urgent of all that could be done.
    fn best(&mut self, now: Clock, bases: &[Arc<str>], out: &mut Vec<Output>) -> Option<(Rank, Step)> {
        let mut best: Option<(Rank, Step)> = None;
        for base in bases {
            let options = self.options(now, base, out);
            let first = options.into_iter().min_by_key(|(rank, _)| *rank);
            let is_better = |(rank, _): &(Rank, Step)| best.as_ref().is_none_or(|(known, _)| rank < known);
            if let Some(option) = first.filter(is_better) {
                best = Some(option);
            }
        }
        best
    }

    /// What could be done in a group.
    fn options(&mut self, now: Clock, base: &Arc<str>, out: &mut Vec<Output>) -> Vec<(Rank, Step)> {
        let around = Around {
            host: &self.host,
            protected: &self.protected,
            books: &self.books,
        };
        let Some(group) = self.groups.get_mut(base) else {
            return Vec::new();
        };
        if group.retry_at.is_some_and(|at| at > now.steady) || !group.is_ready() || group.is_dirty {
            return Vec::new();
        }
        let mut options = group.writes(now.steady, &around, out);
        let mut wakes = group.chores(now, (&around, self.has_just_written), &mut options);
        let is_idle = options.is_empty();
        wakes.extend(group.loose_since.filter(|_| is_idle).map(|since| since + LAZY));
        let later = wakes.into_iter().filter(|&at| at > now.steady);
        later.for_each(|at| self.wake_at(at));
        options
    }

    /// The same, or the look at the rule that has to come before.
    fn on_fresh_read(&self, now: Timestamp, step: Step) -> Step {
        let target = match &step {
            Step::Write(target, _) | Step::Claim(target) | Step::Delete(target) => target,
            Step::Read(_) | Step::Resume(..) | Step::Create(..) | Step::Probe(_) => return step,
        };
        let part = self.groups.get(&target.base).and_then(|group| group.part(&target.rule));
        let read_at = part.and_then(Part::found).map(|found| found.at.steady);
        if read_at.is_some_and(|at| at + FRESH >= now) {
            // Whoever is said to be alone there is not any more.
            let is_shared = part.is_some_and(|part| part.is_another_ones(&self.host.writer));
            return match step {
                Step::Write(target, _) if is_shared => Step::Claim(target),
                step => step,
            };
        }
        Step::Read(target.clone())
    }
}

/// What would be written into the rules of a group, and what stands against it.
#[derive(Default)]
struct Drafts {
    drafts: Vec<Draft>,
    faults: Vec<String>,
}

fn rank(draft: &Draft, is_lapsed: bool, now: Timestamp) -> Option<Rank> {
    if draft.is_urgent {
        return Some(Rank::Urgent);
    }
    if !draft.adds.is_empty() {
        return Some(Rank::Adds(draft.oldest.unwrap_or(now)));
    }
    is_lapsed.then_some(Rank::Removes)
}

impl Group {
    /// Whether the base rule is one that may be written.
    pub(super) fn is_ready(&self) -> bool {
        let base = self.part(self.base());
        base.is_some_and(|part| part.refused.is_none() && matches!(part.presence, Presence::Here(_)))
    }

    fn target(&self, rule: &Arc<str>) -> Target {
        Target {
            base: self.base().into(),
            rule: Arc::clone(rule),
        }
    }

    /// The lists that could be written by now.
    fn writes(&mut self, now: Timestamp, around: &Around<'_>, out: &mut Vec<Output>) -> Vec<(Rank, Step)> {
        let is_lapsed = self.loose_since.is_some_and(|since| since + LAZY <= now);
        let mut may_remove = is_lapsed;
        let mut all = self.drafts(around, false);
        if all.drafts.iter().all(|draft| draft.adds.is_empty()) && self.lacks_room() {
            // Only what is to go makes room; where nothing may go yet either, two rules wait for each other.
            may_remove = true;
            if all.drafts.is_empty() {
                all = self.drafts(around, true);
            }
        }
        if is_lapsed && all.drafts.iter().all(|draft| draft.removes.is_empty()) {
            self.loose_since = self.has_leftovers(around.books).then_some(now);
        }
        if all.drafts.is_empty() {
            // What could not be written is wanted no more.
            self.mend(Cause::Write, out);
        }
        for text in all.faults {
            self.fail(text, Cause::Rule, out);
        }
        let mut options = Vec::new();
        for draft in all.drafts {
            let is_there = self.part(&draft.rule).is_some_and(|part| part.found().is_some());
            let step = if is_there { Step::Write } else { Step::Create };
            if let Some(rank) = rank(&draft, may_remove, now) {
                options.push((rank, step(self.target(&draft.rule), draft)));
            }
        }
        options
    }

    /// Whether there is something to be added. Where nothing is drafted for it, there is no room.
    fn lacks_room(&self) -> bool {
        let mut open = self.parts.iter().filter(|part| part.refused.is_none());
        open.any(|part| self.adds(part).next().is_some())
    }

    /// Marks to be renewed and rules to be deleted, and when there will be more of that.
    fn chores(
        &self,
        now: Clock,
        (around, has_just_written): (&Around<'_>, bool),
        options: &mut Vec<(Rank, Step)>,
    ) -> Vec<Timestamp> {
        let mut wakes = Vec::new();
        for part in self.parts.iter().filter(|part| part.refused.is_none()) {
            if let Some(is_pressing) = self.claim_is_due(now, part, around) {
                let is_now = is_pressing && has_just_written;
                let rank = if is_now { Rank::ClaimNow } else { Rank::Claim };
                options.push((rank, Step::Claim(self.target(&part.name))));
            }
            match self.delete_is_due(part, around) {
                Some(at) if at <= now.steady => options.push((Rank::Delete, Step::Delete(self.target(&part.name)))),
                Some(at) => wakes.push(at),
                None => {}
            }
        }
        wakes
    }

    fn drafts(&self, around: &Around<'_>, force: bool) -> Drafts {
        let mut all = Drafts::default();
        for part in self.parts.iter().filter(|part| part.refused.is_none()) {
            match self.draft(part, around, force) {
                Ok(draft) => all.drafts.extend(draft),
                Err(text) => all.faults.push(format!("rule {} is not written: {text}", part.name)),
            }
        }
        all
    }

    /// Whether our mark is to be written into its description, and whether that cannot wait until nothing else is to be
    /// written.
    fn claim_is_due(&self, now: Clock, part: &Part, around: &Around<'_>) -> Option<bool> {
        let found = part.found().filter(|_| !self.layers.is_empty())?;
        let mark = part.mark();
        let is_marked_alone = |mark: &Mark| mark.writer == around.host.writer && mark.is_alone;
        if mark.as_ref().is_some_and(is_marked_alone) && !found.is_ours(around.books) {
            return Some(true);
        }
        match mark.filter(|_| self.options.own_rule) {
            None if !self.options.own_rule => None,
            Some(mark) if mark.writer == around.host.writer => {
                let age = age(&mark, now);
                (age > RENEWAL).then_some(age > LAST_RENEWAL)
            }
            // Another one's mark that counts has the rule refused.
            Some(_) | None => Some(true),
        }
    }

    /// When it is to be deleted, as things stand: a rule that we made, and that holds nothing.
    fn delete_is_due(&self, part: &Part, around: &Around<'_>) -> Option<Timestamp> {
        let number = crate::cloud::desired::rule_number(self.base(), &part.name).map(|(_, number)| number)?;
        let is_made = around
            .books
            .rules
            .get(&*part.name)
            .is_some_and(|account| account.base.is_some());
        let is_ours = is_made && part.mark().is_some_and(|mark| mark.writer == around.host.writer);
        let is_empty = number > 1 && part.wanted.is_empty() && part.is_bare();
        part.empty_since
            .filter(|_| is_ours && is_empty)
            .map(|since| since + EMPTY)
    }

    /// Whether something of ours stands somewhere that is wanted no more.
    fn has_leftovers(&self, books: &State) -> bool {
        self.parts.iter().any(|part| {
            let claims = books.rules.get(&*part.name).map(|account| &account.claims);
            let ours = claims.into_iter().flat_map(std::collections::BTreeMap::keys);
            beyond(ours, part.wanted.iter()).any(|range| part.holds(range))
        })
    }
}

/// How old a mark is; one without a time that can be read is older than any.
pub(super) fn age(mark: &Mark, now: Clock) -> Seconds {
    match mark.at.parse::<Moment>() {
        Ok(moment) => now.wall - Timestamp::from_micros(moment.as_microsecond()),
        Err(_) => now.wall - Timestamp::default(),
    }
}
