//! What a program that is a log prints again when it is started again (`docker logs -f --since 1m`): a failure that was
//! counted is not counted twice.
//!
//! There is no place in such a log to go back to, so that the times of failures must do. What is older than the newest
//! one that was counted is known; of those of that very moment, as many as were counted. This holds from a start of the
//! program until it has said what it had to say of the past, and also over a restart of the daemon.

use std::sync::Arc;

use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;

use super::Reading;

/// What was counted of one log.
#[derive(Clone, Debug, Default)]
pub(in crate::matching) struct Repeats {
    /// When the newest failure was, and how many were of that moment
    newest: Option<(Timestamp, u64)>,
    /// The same as it was when the program was started, less what it printed again since
    known: Option<(Timestamp, u64)>,
    /// The life of the program that is read
    generation: u64,
    /// Whether `newest` is other than it was told
    is_news: bool,
}

impl Repeats {
    /// As an earlier run, or a reading before this one, left it.
    pub(super) fn after(mark: Option<&Mark>) -> Self {
        Repeats {
            newest: mark.map(|mark| (mark.read_at, mark.offset)),
            generation: mark.map_or(0, |mark| mark.device),
            ..Repeats::default()
        }
    }

    /// A line of this life of the program comes. Returns whether it is the first of that.
    pub(super) fn begin(&mut self, generation: u64) -> bool {
        let is_first = self.generation != generation;
        if is_first {
            (self.generation, self.known) = (generation, self.newest);
        }
        is_first
    }

    /// Nothing of the past is to come any more in this life.
    pub(super) fn catch_up(&mut self, generation: u64) {
        self.begin(generation);
        self.known = None;
    }

    /// Whether a failure of this time is to be counted. A known time that is still to come is one of a clock that was
    /// put back, and says nothing.
    pub(super) fn is_new(&mut self, time: Timestamp, now: Timestamp) -> bool {
        if let Some((known, left)) = &mut self.known
            && *known <= now
        {
            if time < *known {
                return false;
            }
            if time == *known && *left > 0 {
                *left -= 1;
                return false;
            }
        }
        match &mut self.newest {
            Some((newest, count)) if time == *newest => *count += 1,
            Some((newest, _)) if time < *newest && *newest <= now => return true,
            newest => *newest = Some((time, 1)),
        }
        self.is_news = true;
        true
    }

    /// What is to be kept, where it has changed.
    pub(super) fn news(&mut self) -> Option<(Timestamp, u64)> {
        std::mem::take(&mut self.is_news).then_some(self.newest)?
    }
}

impl Reading {
    /// Adds the output of a program, or standard input. `done` is how far an earlier run came.
    pub(crate) fn follow_output(&mut self, path: Arc<str>, done: Option<Mark>) {
        let former = self.files.remove(&path);
        let repeats = former.as_ref().and_then(|former| former.repeats.clone());
        let operating = former.is_some_and(|former| former.operating);
        let repeats = repeats.unwrap_or_else(|| Repeats::after(done.as_ref()));
        self.follow(Arc::clone(&path), done, operating);
        if let Some(progress) = self.files.get_mut(&path) {
            progress.repeats = Some(repeats);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds lives of a program, given as the seconds of their failures with `|` where it has caught up; the numbers of
    /// those that count.
    fn check(repeats: &mut Repeats, first: u64, lives: &[&str], expect: &str) {
        let (mut counted, now) = (Vec::new(), Timestamp::from_seconds(1000));
        for (generation, life) in (first..).zip(lives) {
            for word in life.split_whitespace() {
                if word == "|" {
                    repeats.catch_up(generation);
                    continue;
                }
                repeats.begin(generation);
                let time = Timestamp::from_seconds(word.parse().unwrap());
                if repeats.is_new(time, now) {
                    counted.push(word);
                }
            }
        }
        assert_eq!(counted.join(" "), expect, "{lives:?}");
    }

    #[test]
    fn what_is_printed_again_is_not_counted_again() {
        let new = || Repeats::after(None);
        check(&mut new(), 1, &["5 6 7 | 7 6"], "5 6 7 7 6");
        check(&mut new(), 1, &["5 6 7 |", "5 6 7 | 7"], "5 6 7 7");
        check(&mut new(), 1, &["5 7 7 |", "7 7 7 8 |", "8 8"], "5 7 7 7 8 8");
        check(&mut new(), 1, &["5", "7", "5 7 9"], "5 7 9");
        // A clock that was put back, behind the time that is known.
        check(&mut new(), 1, &["2000 5", "5 6"], "2000 5 6");
    }

    #[test]
    fn an_earlier_run_is_known() {
        let mut earlier = Repeats::after(None);
        check(&mut earlier, 1, &["5 7 7"], "5 7 7");
        let (newest, count) = earlier.news().unwrap();
        assert_eq!((newest, count), (Timestamp::from_seconds(7), 2));
        assert!(earlier.news().is_none());
        let mark = crate::source::output::mark("command:x", (newest, count), 1);
        check(&mut Repeats::after(Some(&mark)), 2, &["5 7 7 7 9"], "7 9");
        // The same life goes on: it prints nothing again.
        check(&mut Repeats::after(Some(&mark)), 1, &["7 7 9"], "7 7 9");
    }
}
