//! What a jail has seen since it was last set to read: counted on the matching threads, looked at by whoever asks.
//!
//! A jail that reads thousands of lines and finds nothing in any of them is on and may be blind; only these numbers
//! tell it from one that has nothing to do.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use portcullis_core::time::Timestamp;

/// No such moment yet.
const NEVER: i64 = i64::MIN;

/// The counters of one jail. Each is right by itself; together they may be a line apart.
#[derive(Debug)]
pub(crate) struct Seen {
    lines: AtomicU64,
    matched: AtomicU64,
    last_line: AtomicI64,
    last_match: AtomicI64,
}

impl Default for Seen {
    fn default() -> Self {
        Seen {
            lines: AtomicU64::new(0),
            matched: AtomicU64::new(0),
            last_line: AtomicI64::new(NEVER),
            last_match: AtomicI64::new(NEVER),
        }
    }
}

impl Seen {
    /// So many lines more were read at the wall time `at`, and in so many of them there was a failure.
    pub(crate) fn add(&self, at: Timestamp, lines: u64, matched: u64) {
        if lines > 0 {
            self.lines.fetch_add(lines, Ordering::Relaxed);
            self.last_line.store(at.micros(), Ordering::Relaxed);
        }
        if matched > 0 {
            self.matched.fetch_add(matched, Ordering::Relaxed);
            self.last_match.store(at.micros(), Ordering::Relaxed);
        }
    }

    /// How many lines were read.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// In how many of them there was a failure.
    pub(crate) fn matched(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }

    /// When the last line was read, by the wall clock.
    pub(crate) fn last_line(&self) -> Option<Timestamp> {
        moment(&self.last_line)
    }

    /// When the last one with a failure was.
    pub(crate) fn last_match(&self) -> Option<Timestamp> {
        moment(&self.last_match)
    }
}

fn moment(kept: &AtomicI64) -> Option<Timestamp> {
    let micros = kept.load(Ordering::Relaxed);
    (micros != NEVER).then(|| Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_matches() {
        let (seen, at) = (Seen::default(), Timestamp::from_seconds);
        assert_eq!((seen.lines(), seen.last_line(), seen.last_match()), (0, None, None));
        seen.add(at(5), 1, 1);
        seen.add(at(7), 1, 0);
        seen.add(at(9), 0, 0);
        assert_eq!((seen.lines(), seen.matched()), (2, 1));
        assert_eq!((seen.last_line(), seen.last_match()), (Some(at(7)), Some(at(5))));
    }
}
