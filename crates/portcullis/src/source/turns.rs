//! Whose turn it is among the paths that are behind: whose file holds more than a chunk that was not read.
//!
//! As many are caught up with at a time as there are processors, the others one after the other. Side by side they would
//! fill the memory with their chunks, drive each other's counters out of the caches and end all at the last moment; one
//! after the other, who attacked through the first is banned while the last still waits. Nobody keeps a turn for long, so
//! that a huge log does not hold up the rest. What is not behind needs no turn: a new line is read at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a turn lasts where another waits.
const LONGEST: Duration = Duration::from_secs(1);
/// Turns at a time on a machine of one processor: who has one must not wait for its own receiver alone.
const FEWEST: usize = 2;

/// The paths that are behind.
#[derive(Debug)]
pub(super) struct Turns {
    /// Turns at a time
    most: usize,
    /// Whose turn it is, and until when
    called: BTreeMap<Arc<str>, Instant>,
    /// Who is next
    waiting: VecDeque<Arc<str>>,
}

/// How many turns there are at a time on this machine.
pub(super) fn at_a_time() -> usize {
    std::thread::available_parallelism().map_or(FEWEST, |count| count.get().max(FEWEST))
}

impl Turns {
    /// A turn for each processor.
    pub(super) fn new() -> Turns {
        Turns::of(at_a_time())
    }

    fn of(most: usize) -> Turns {
        Turns {
            most,
            called: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// A path is behind: it gets a turn.
    pub(super) fn enter(&mut self, path: &Arc<str>) {
        if !self.called.contains_key(path) && !self.must_wait(path) {
            self.waiting.push_back(Arc::clone(path));
        }
    }

    /// A path is behind no longer.
    pub(super) fn leave(&mut self, path: &str) {
        self.called.remove(path);
        self.waiting.retain(|other| **other != *path);
    }

    /// Whether a path is not to be read, because it is the turn of others.
    pub(super) fn must_wait(&self, path: &str) -> bool {
        self.waiting.iter().any(|other| **other == *path)
    }

    /// Ends the turns that have lasted long enough, and tells whose begin.
    pub(super) fn call(&mut self, now: Instant) -> Vec<Arc<str>> {
        if !self.waiting.is_empty() {
            let over = self.called.extract_if(.., |_, until| *until <= now);
            self.waiting.extend(over.map(|(path, _)| path));
        }
        let room = self.most.saturating_sub(self.called.len()).min(self.waiting.len());
        let next: Vec<Arc<str>> = self.waiting.drain(..room).collect();
        let begun = next.iter().map(|path| (Arc::clone(path), now + LONGEST));
        self.called.extend(begun);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[Arc<str>]) -> Vec<&str> {
        paths.iter().map(|path| &**path).collect()
    }

    #[test]
    fn as_many_as_may_have_a_turn_and_the_next_when_one_leaves() {
        let (mut turns, now) = (Turns::of(2), Instant::now());
        for path in ["a", "b", "c", "c"] {
            turns.enter(&path.into());
        }
        assert_eq!(names(&turns.call(now)), ["a", "b"]);
        assert!(turns.must_wait("c") && !turns.must_wait("a"));
        turns.enter(&"a".into());
        assert!(!turns.must_wait("a"), "its turn goes on");
        assert!(turns.call(now).is_empty());
        turns.leave("a");
        assert_eq!(names(&turns.call(now)), ["c"]);
        assert!(!turns.must_wait("c"));
    }

    #[test]
    fn a_turn_ends_where_another_waits() {
        let (mut turns, now) = (Turns::of(1), Instant::now());
        turns.enter(&"huge".into());
        assert_eq!(names(&turns.call(now)), ["huge"]);
        assert!(turns.call(now + LONGEST).is_empty(), "nobody waits");
        assert!(!turns.must_wait("huge"));
        turns.enter(&"small".into());
        assert!(turns.call(now + LONGEST / 2).is_empty());
        assert_eq!(names(&turns.call(now + LONGEST)), ["small"]);
        assert!(turns.must_wait("huge"));
        turns.leave("small");
        assert_eq!(names(&turns.call(now + LONGEST)), ["huge"]);
    }

    #[test]
    fn who_is_gone_is_not_called() {
        let (mut turns, now) = (Turns::of(1), Instant::now());
        turns.enter(&"a".into());
        turns.enter(&"b".into());
        turns.leave("a");
        assert_eq!(names(&turns.call(now)), ["b"]);
        turns.leave("b");
        assert!(turns.call(now).is_empty());
    }
}
