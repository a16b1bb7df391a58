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
    /// Bytes of lines kept in all of them; those of the longest silent go first
    pub most_bytes: usize,
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
    /// Those with lines, as `by_age` has them
    with_lines: BTreeSet<(Timestamp, Id)>,
    /// What their lines take
    bytes: usize,
    total: u64,
    evicted: u64,
    emptied: u64,
}

#[derive(Clone, Debug)]
struct Counter {
    count: Count,
    /// What its lines take
    bytes: usize,
    /// Under which time it is among those with lines, if it is
    lined: Option<Timestamp>,
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
            with_lines: BTreeSet::new(),
            bytes: 0,
            total: 0,
            evicted: 0,
            emptied: 0,
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
            self.weigh(id);
            return None;
        }
        self.take_out(id).map(|counter| counter.count)
    }

    fn take_out(&mut self, id: &Id) -> Option<Counter> {
        let counter = self.counts.remove(id)?;
        self.by_age.remove(&(counter.listed, id.clone()));
        self.bytes -= counter.bytes;
        if let Some(lined) = counter.lined {
            self.with_lines.remove(&(lined, id.clone()));
        }
        Some(counter)
    }

    /// A counter has other lines than before: those of the longest silent make room for them.
    fn weigh(&mut self, id: &Id) {
        let Some(counter) = self.counts.get_mut(id) else { return };
        let before = std::mem::replace(&mut counter.bytes, size(&counter.count));
        self.bytes = self.bytes - before + counter.bytes;
        if counter.bytes > 0 && counter.lined.is_none() {
            counter.lined = Some(counter.count.last);
            self.with_lines.insert((counter.count.last, id.clone()));
        }
        while self.bytes > self.limits.most_bytes && self.empty_one() {}
    }

    /// Drops the lines of the longest silent that has some. Whether there was one.
    fn empty_one(&mut self) -> bool {
        let Some((lined, id)) = self.with_lines.pop_first() else {
            return false;
        };
        let Some(counter) = self.counts.get_mut(&id) else {
            return true;
        };
        if counter.count.last > lined {
            counter.lined = Some(counter.count.last);
            self.with_lines.insert((counter.count.last, id));
            return true;
        }
        counter.lined = None;
        counter.count.matches = Vec::new();
        self.bytes -= std::mem::take(&mut counter.bytes);
        self.emptied += 1;
        true
    }

    fn insert(&mut self, id: Id, count: Count, is_changed: bool) {
        let listed = count.last;
        self.by_age.insert((listed, id.clone()));
        let counter = Counter {
            count,
            bytes: 0,
            lined: None,
            listed,
            is_changed,
        };
        self.counts.insert(id.clone(), counter);
        self.weigh(&id);
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

    /// Counters that lost their lines because all lines together were too long.
    #[must_use]
    pub fn emptied(&self) -> u64 {
        self.emptied
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

/// What the lines of a counter take, about.
fn size(count: &Count) -> usize {
    /// What a line takes beside its text
    const LINE: usize = 40;
    count.matches.iter().map(|line| line.len() + LINE).sum()
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
            most_bytes: usize::MAX,
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
            most_bytes: usize::MAX,
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

    /// Six letters and what a line takes beside: 46 bytes; there is room for two of them.
    #[test]
    fn lines_make_room() {
        let mut tracker = tracker(9);
        tracker.limit(Limits {
            most_bytes: 100,
            ..tracker.limits
        });
        for (host, seconds) in [(1, 1), (2, 2), (1, 3), (3, 4), (2, 5)] {
            fail(&mut tracker, &format!("192.0.2.{host}"), seconds);
        }
        let lines = |host: u8| {
            let count = tracker.get(&Id::parse(&format!("192.0.2.{host}")).unwrap()).unwrap();
            (count.failures, count.matches.len())
        };
        assert_eq!([lines(1), lines(2), lines(3)], [(2, 0), (2, 1), (1, 1)]);
        assert_eq!((tracker.emptied(), tracker.bytes, tracker.len()), (2, 92, 3));
        assert_eq!(tracker.purge(Timestamp::from_seconds(9999)), 3);
        assert_eq!(
            (tracker.bytes, tracker.with_lines.len(), tracker.by_age.len()),
            (0, 0, 0)
        );
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
