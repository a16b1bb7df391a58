//! Counting failures: when is enough?
//!
//! Fail2Ban's rule is a rate estimate, not a window of stamps: once the first failure is older than `findtime`,
//! the count so far is scaled down to what it would have been within `findtime` (contract §4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::Id;
use crate::ledger::{Count, Data};
use crate::time::{Seconds, Timestamp};

/// One more failure of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When, on the steady clock
    pub time: Timestamp,
    /// Its lines
    pub matches: Vec<Arc<str>>,
    /// Its captured fields
    pub data: Data,
    /// How much it weighs; a line of a log weighs 1
    pub weight: u32,
}

/// The thresholds of a jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// This many failures are a ban
    pub maxretry: u32,
    /// Within this time
    pub findtime: Seconds,
    /// Lines kept a counter; 0 keeps none
    pub maxmatches: u32,
    /// Counters kept a jail; the longest silent goes first
    pub most: usize,
}

/// The half-full counters of one jail.
#[derive(Clone, Debug)]
pub struct Tracker {
    limits: Limits,
    counts: BTreeMap<Id, Counter>,
    /// Each counter under the time of its last failure or an earlier one: whoever looks for the longest silent puts those
    /// that have counted since in their places
    by_age: BTreeSet<(Timestamp, Id)>,
    /// Those that changed since this was last asked, or are gone; some of them several times
    changed: Vec<Id>,
    total: u64,
    evicted: u64,
}

#[derive(Clone, Debug)]
struct Counter {
    count: Count,
    /// Under which time it is listed
    listed: Timestamp,
    /// Whether it is among those that changed
    is_changed: bool,
}

impl Tracker {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Tracker {
            limits,
            counts: BTreeMap::new(),
            by_age: BTreeSet::new(),
            changed: Vec::new(),
            total: 0,
            evicted: 0,
        }
    }

    /// New thresholds; what was counted stays.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Counts a failure. At `maxretry` the counter is full: it is taken out and returned as the offence.
    pub fn count(&mut self, id: &Id, attempt: Attempt) -> Option<Count> {
        self.total += 1;
        let Limits {
            findtime, maxmatches, ..
        } = self.limits;
        let Some(counter) = self.counts.get_mut(id) else {
            return self.begin(id, begin(attempt));
        };
        age(&mut counter.count, attempt.time, findtime);
        add(&mut counter.count, attempt, maxmatches);
        self.offence(id)
    }

    /// Counts the last failure of somebody again, because it is known to be a bad one: `extra` more, and one more
    /// attempt (contract §4.4). Where the counter began with it, `began_after` says after how many bans; its lines are
    /// there then, otherwise they come a second time, as with Fail2Ban. Somebody who is not being counted is not begun
    /// with.
    pub fn count_again(&mut self, id: &Id, mut attempt: Attempt, began_after: Option<u32>) -> Option<Count> {
        let counter = self.counts.get_mut(id)?;
        self.total += 1;
        if let Some(bancount) = began_after {
            attempt.matches.clear();
            counter.count.bancount = bancount;
        }
        add(&mut counter.count, attempt, self.limits.maxmatches);
        self.offence(id)
    }

    /// Puts a counter kept from an earlier run in place.
    pub fn restore(&mut self, id: Id, count: Count) {
        self.insert(id, count, false);
    }

    fn begin(&mut self, id: &Id, count: Count) -> Option<Count> {
        if count.retry >= self.limits.maxretry {
            return Some(count);
        }
        self.changed.push(id.clone());
        self.insert(id.clone(), count, true);
        None
    }

    /// The counter, taken out, if it is full.
    fn offence(&mut self, id: &Id) -> Option<Count> {
        let counter = self.counts.get_mut(id)?;
        if !std::mem::replace(&mut counter.is_changed, true) {
            self.changed.push(id.clone());
        }
        if counter.count.retry < self.limits.maxretry {
            return None;
        }
        self.take_out(id).map(|counter| counter.count)
    }

    fn take_out(&mut self, id: &Id) -> Option<Counter> {
        let counter = self.counts.remove(id)?;
        self.by_age.remove(&(counter.listed, id.clone()));
        Some(counter)
    }

    fn insert(&mut self, id: Id, count: Count, is_changed: bool) {
        let listed = count.last;
        self.by_age.insert((listed, id.clone()));
        self.counts.insert(
            id,
            Counter {
                count,
                listed,
                is_changed,
            },
        );
        while self.counts.len() > self.limits.most
            && let Some(oldest) = self.longest_silent(None)
        {
            self.drop(oldest);
            self.evicted += 1;
        }
    }

    /// Whose counter was silent for the longest time; nobody's where its last failure is later than `limit`.
    fn longest_silent(&mut self, limit: Option<Timestamp>) -> Option<Id> {
        loop {
            let (listed, id) = self.by_age.first()?;
            if limit.is_some_and(|limit| *listed > limit) {
                return None;
            }
            let counter = self.counts.get_mut(id)?;
            if counter.count.last == *listed {
                return Some(id.clone());
            }
            counter.listed = counter.count.last;
            let (_, id) = self.by_age.pop_first()?;
            self.by_age.insert((counter.listed, id));
        }
    }

    fn drop(&mut self, id: Id) {
        if self.take_out(&id).is_some_and(|counter| !counter.is_changed) {
            self.changed.push(id);
        }
    }

    /// Drops counters that had no failure for `findtime`, and says how many. Fail2Ban does so every now and then; here it
    /// is done before each failure, so that a result does not depend on when it was last done.
    pub fn purge(&mut self, now: Timestamp) -> usize {
        let limit = now - self.limits.findtime;
        let before = self.counts.len();
        while let Some(id) = self.longest_silent(Some(limit)) {
            self.drop(id);
        }
        before - self.counts.len()
    }

    /// Whether a counter changed since they were last taken.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The counters that changed since this was last asked, each once; nothing for those that are gone.
    pub fn take_changed(&mut self) -> Vec<(Id, Option<Count>)> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let present = |id: Id| {
            let count = self.counts.get_mut(&id).map(|counter| {
                counter.is_changed = false;
                counter.count.clone()
            });
            (id, count)
        };
        changed.into_iter().map(present).collect()
    }

    /// The counter of somebody.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Count> {
        self.counts.get(id).map(|counter| &counter.count)
    }

    /// How many counters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nobody is being counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Failures counted since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Counters dropped because there were too many.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

fn begin(attempt: Attempt) -> Count {
    Count {
        first: attempt.time,
        last: attempt.time,
        retry: attempt.weight,
        failures: 1,
        matches: attempt.matches,
        data: attempt.data,
        bancount: 0,
    }
}

/// Scales the count down to the rate within `findtime`, with Python's arithmetic: floats, and halves to even.
fn age(count: &mut Count, time: Timestamp, findtime: Seconds) {
    if time <= count.last {
        return;
    }
    if count.first < time - findtime {
        let rate = f64::from(count.retry) / (time - count.first).as_f64() * findtime.as_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never above the count before"
        )]
        let scaled = rate.round_ties_even() as u32;
        count.retry = scaled;
        count.first = time - findtime;
    }
    count.last = time;
}

fn add(count: &mut Count, attempt: Attempt, maxmatches: u32) {
    count.retry = count.retry.saturating_add(attempt.weight);
    count.failures = count.failures.saturating_add(1);
    let keep = usize::try_from(maxmatches).unwrap_or(usize::MAX);
    if keep == 0 {
        count.matches.clear();
        return;
    }
    count.matches.extend(attempt.matches);
    if count.matches.len() > keep {
        count.matches.drain(..count.matches.len() - keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(maxretry: u32) -> Tracker {
        Tracker::new(Limits {
            maxretry,
            findtime: Seconds::new(600),
            maxmatches: 5,
            most: 3,
        })
    }

    fn fail(tracker: &mut Tracker, who: &str, seconds: i64) -> Option<Count> {
        let attempt = Attempt {
            time: Timestamp::from_seconds(seconds),
            matches: vec![format!("line {seconds}").into()],
            data: Data::default(),
            weight: 1,
        };
        tracker.count(&Id::parse(who).unwrap(), attempt)
    }

    #[test]
    fn the_third_is_a_ban() {
        let mut tracker = tracker(3);
        assert!(fail(&mut tracker, "192.0.2.1", 0).is_none());
        assert!(fail(&mut tracker, "192.0.2.2", 1).is_none());
        assert!(fail(&mut tracker, "192.0.2.1", 2).is_none());
        let full = fail(&mut tracker, "192.0.2.1", 3).unwrap();
        assert_eq!(
            (full.failures, full.matches.len(), tracker.len(), tracker.total()),
            (3, 3, 1, 4)
        );
    }

    /// Lines are cut when more come, not when the first come; counting again brings them a second time.
    #[test]
    fn lines_and_what_is_counted_again() {
        let mut tracker = Tracker::new(Limits {
            maxretry: 9,
            findtime: Seconds::new(600),
            maxmatches: 2,
            most: 3,
        });
        let id = Id::parse("192.0.2.1").unwrap();
        let attempt = |matches: &[&str], weight| Attempt {
            time: Timestamp::from_seconds(1000),
            matches: matches.iter().map(|&line| line.into()).collect(),
            data: Data::default(),
            weight,
        };
        let check = |tracker: &Tracker, retry, failures, matches: &[&str]| {
            let count = tracker.get(&id).unwrap();
            assert_eq!((count.retry, count.failures), (retry, failures));
            let lines: Vec<&str> = count.matches.iter().map(|line| &**line).collect();
            assert_eq!(lines, matches);
        };
        assert!(tracker.count_again(&id, attempt(&["x"], 1), Some(1)).is_none() && tracker.is_empty());
        tracker.count(&id, attempt(&["a", "b", "c"], 1));
        check(&tracker, 1, 1, &["a", "b", "c"]);
        tracker.count_again(&id, attempt(&["a", "b", "c"], 2), Some(1));
        check(&tracker, 3, 2, &["b", "c"]);
        tracker.count(&id, attempt(&["d"], 1));
        tracker.count_again(&id, attempt(&["d"], 2), None);
        check(&tracker, 6, 4, &["d", "d"]);
        assert_eq!(tracker.total(), 4);
    }

    /// Contract §13.4: one failure every 500 s never reaches three in 600 s.
    #[test]
    fn ageing_is_a_rate_estimate() {
        let mut tracker = tracker(3);
        for seconds in (0..20_000).step_by(500) {
            assert!(fail(&mut tracker, "192.0.2.1", 1000 + seconds).is_none(), "{seconds}");
        }
        let count = tracker.get(&Id::parse("192.0.2.1").unwrap()).unwrap();
        assert_eq!((count.retry, count.failures), (2, 40));
    }

    #[test]
    fn purge_and_the_cap() {
        let mut tracker = tracker(3);
        for (host, seconds) in [(1, 1000), (2, 1001), (3, 1002), (4, 1003)] {
            fail(&mut tracker, &format!("192.0.2.{host}"), seconds);
        }
        assert_eq!((tracker.len(), tracker.evicted()), (3, 1));
        assert_eq!(tracker.purge(Timestamp::from_seconds(1601)), 1);
        assert_eq!(tracker.purge(Timestamp::from_seconds(1603)), 2);
    }
}
