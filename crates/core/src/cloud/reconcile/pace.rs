//! How often the API may be called: not at all for a while after some troubles, and writes only so often.

use std::collections::VecDeque;

use super::dice::Dice;
use crate::time::{Clock, Seconds, Timestamp};

/// Writes in any minute, a guess that leaves most of the project's quota to others (global mutations).
const WRITES: usize = 20;
const MINUTE: Seconds = Seconds::new(60);
/// From the beginning of one write to that of the next.
const MIN_INTERVAL: Seconds = Seconds::new(2);
/// Waiting times where nobody knows what became of a call: doubled from the first up to the last.
const BACKOFF: (i64, i64) = (1, 64);
/// How long the longest operation takes, as long as none was seen, and at most.
const OPERATION: (Seconds, Seconds) = (Seconds::new(10), Seconds::new(120));

/// When the next call may be made.
#[derive(Default)]
pub(super) struct Pace {
    /// The beginnings of the last writes
    writes: VecDeque<Timestamp>,
    /// The next write need not keep its distance from the last one
    is_forgiven: bool,
    /// No call before
    hold: Option<Timestamp>,
    /// Calls in a row of which nobody knows what became of them
    unknown: u32,
    longest: Seconds,
}

impl Pace {
    /// When any call may be made again, where that is later than now.
    pub(super) fn held(&self, now: Timestamp) -> Option<Timestamp> {
        self.hold.filter(|&hold| hold > now)
    }

    /// When a write may begin, where that is later than now. An idle queue waits for nothing.
    pub(super) fn gate(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.writes.back().filter(|_| !self.is_forgiven);
        let interval = last.map(|&last| last + MIN_INTERVAL);
        let bucket = (self.writes.len() >= WRITES).then(|| self.writes.front().map(|&first| first + MINUTE));
        interval.max(bucket.flatten()).filter(|&at| at > now)
    }

    /// The last write was refused for what it was, so nothing is under way that the next one could meet.
    pub(super) fn forgive(&mut self) {
        self.is_forgiven = true;
    }

    /// A write begins.
    pub(super) fn spend(&mut self, now: Timestamp) {
        self.is_forgiven = false;
        self.writes.push_back(now);
        while self.writes.len() > WRITES {
            self.writes.pop_front();
        }
    }

    /// No call for so long.
    pub(super) fn wait(&mut self, now: Timestamp, length: Seconds) {
        self.hold = self.hold.max(Some(now + length));
    }

    /// Too many calls: quotas are filled again at the full minute (compute API, "rate quotas").
    pub(super) fn wait_for_the_minute(&mut self, now: Clock, retry_after: Option<Seconds>, dice: &mut Dice) {
        let into = now.wall.micros().rem_euclid(MINUTE.micros());
        let rest = Seconds::from_micros(MINUTE.micros() - into);
        let length = rest.max(retry_after.unwrap_or(Seconds::ZERO));
        let jitter = dice.between(Seconds::ZERO, Seconds::new(5));
        self.wait(now.steady, Seconds::from_micros(length.micros() + jitter.micros()));
    }

    /// Nobody knows what became of a call; how long to wait before the next.
    pub(super) fn back_off(&mut self, dice: &mut Dice) -> Seconds {
        let most = BACKOFF
            .0
            .checked_shl(self.unknown.min(16))
            .unwrap_or(BACKOFF.1)
            .min(BACKOFF.1);
        self.unknown = self.unknown.saturating_add(1);
        let half = Seconds::from_micros(most * 500_000);
        dice.between(half, Seconds::new(most))
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.unknown = 0;
    }

    /// Calls in a row that were not.
    pub(super) fn unanswered(&self) -> u32 {
        self.unknown
    }

    /// An operation took so long.
    pub(super) fn took(&mut self, length: Seconds) {
        self.longest = self.longest.max(length).min(OPERATION.1);
    }

    /// Two reads that are further apart than this have an operation's length between them, and no write that was
    /// prepared before the first of them comes true after the second.
    pub(super) fn operation(&self) -> Seconds {
        let longest = self.longest.max(OPERATION.0);
        Seconds::from_micros(longest.micros() + longest.micros() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_first_write_waits_for_nothing_and_later_ones_for_the_interval_and_the_bucket() {
        let mut pace = Pace::default();
        assert_eq!(pace.gate(at(0)), None);
        for write in 0..20 {
            assert_eq!(pace.gate(at(write * 2)), None);
            pace.spend(at(write * 2));
            assert_eq!(
                pace.gate(at(write * 2 + 1)),
                Some(if write < 19 { at(write * 2 + 2) } else { at(60) })
            );
        }
        assert_eq!(pace.gate(at(60)), None);
    }

    #[test]
    fn a_refused_write_is_one_of_the_minute_and_holds_up_no_other() {
        let mut pace = Pace::default();
        for _ in 0..19 {
            pace.spend(at(0));
        }
        pace.forgive();
        assert_eq!(pace.gate(at(0)), None);
        pace.spend(at(0));
        assert_eq!(pace.gate(at(0)), Some(at(60)));
        pace.forgive();
        assert_eq!(pace.gate(at(0)), Some(at(60)));
    }

    #[test]
    fn waiting_grows_up_to_a_minute_and_starts_anew_after_an_answer() {
        let (mut pace, mut dice) = (Pace::default(), Dice::new(1));
        for most in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
            let length = pace.back_off(&mut dice);
            assert!(
                length <= Seconds::new(most) && length.micros() >= most * 500_000,
                "{length:?} for {most}"
            );
        }
        pace.answered();
        assert!(pace.back_off(&mut dice) <= Seconds::new(1));
    }

    #[test]
    fn a_used_up_quota_waits_for_the_full_minute_or_longer_where_that_is_said() {
        let mut dice = Dice::new(1);
        let now = Clock {
            steady: at(1_000),
            wall: at(90),
        };
        let mut pace = Pace::default();
        pace.wait_for_the_minute(now, None, &mut dice);
        let until = pace.held(at(1_000)).unwrap();
        assert!((at(1_030)..=at(1_035)).contains(&until), "{until:?}");
        pace.wait_for_the_minute(now, Some(Seconds::new(300)), &mut dice);
        let until = pace.held(at(1_000)).unwrap();
        assert!((at(1_300)..=at(1_305)).contains(&until), "{until:?}");
    }
}
