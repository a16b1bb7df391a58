//! How many failures are on their way to the engine: when it is slower than the groups, they wait, and the files keep the
//! lines.

use std::sync::atomic::{AtomicUsize, Ordering};

/// With so many on their way no further run of lines is sent: a failure has its line with it.
pub(super) const MOST: usize = 2048;

/// Failures on their way, of all groups together.
#[derive(Debug, Default)]
pub(super) struct Backlog(AtomicUsize);

impl Backlog {
    /// Whether another run of lines may be sent, however many failures it has.
    pub(super) fn has_room(&self) -> bool {
        self.0.load(Ordering::Relaxed) < MOST
    }

    /// So many more are on their way.
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// So many have arrived, or were not sent.
    pub(super) fn less(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_until_there_are_many() {
        let backlog = Backlog::default();
        backlog.add(MOST - 1);
        assert!(backlog.has_room());
        backlog.add(5000);
        assert!(!backlog.has_room());
        backlog.less(5000);
        assert!(backlog.has_room());
    }
}
