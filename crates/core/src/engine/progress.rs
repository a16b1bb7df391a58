//! How far the counting has come: counters, later ends of bans, open sessions and positions, which are kept together.
//!
//! What is read again after a death must be counted again, and nothing else. So a counter is kept with the position up to
//! which it has counted, and neither before the other. Until then both may wait: the lines are in their files. Bans do
//! not wait; one whose counter and position are still to be kept is in force already when its lines are read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use super::message::Effect;
use crate::filter::Sessions;
use crate::json;
use crate::ledger::{Entry, Mark};
use crate::time::{Seconds, Timestamp};

/// Progress is kept this late at most.
const LATE: Seconds = Seconds::new(1);

/// What is to be kept of the progress.
#[derive(Default)]
pub(super) struct Owed {
    /// How far each jail has read each log
    reads: BTreeMap<(Arc<str>, Arc<str>), Mark>,
    /// The sessions of each jail, where they changed
    sessions: BTreeMap<Arc<str>, Sessions>,
    /// Whether it must not wait
    pub(super) at_once: bool,
    /// Until when it may
    pub(super) due: Option<Timestamp>,
}

impl Owed {
    /// Where a run of lines came to.
    pub(super) fn came_to(&mut self, reads: Vec<(Arc<str>, Arc<str>, Mark)>, sessions: Vec<(Arc<str>, Sessions)>) {
        for (jail, path, mark) in reads {
            self.reads.insert((jail, path), mark);
        }
        self.sessions.extend(sessions);
    }
}

impl Engine {
    /// Keeps the progress if its time has come, or sees to it that it does.
    pub(super) fn settle_progress(&mut self, now: Timestamp, may_wait: bool, out: &mut Vec<Effect>) {
        let counted = self.jails.values().any(|jail| jail.has_progressed());
        if !counted && self.owed.reads.is_empty() && self.owed.sessions.is_empty() {
            return;
        }
        let due = *self.owed.due.get_or_insert(now + LATE);
        let is_hasty = self.jails.values().any(|jail| jail.is_hasty);
        if !may_wait || self.owed.at_once || is_hasty || due <= now {
            self.keep_progress(out);
        }
    }

    /// Keeps it.
    pub(super) fn keep_progress(&mut self, out: &mut Vec<Effect>) {
        let owed = std::mem::take(&mut self.owed);
        for jail in self.jails.values_mut() {
            jail.record_progress(out);
        }
        for (jail, sessions) in owed.sessions {
            let text = json::from_value(&sessions.to_value()).to_string();
            out.push(Effect::Record(Entry::Sessions { jail, text }));
        }
        for ((jail, path), mark) in owed.reads {
            out.push(Effect::Record(Entry::Read { jail, path, mark }));
        }
    }
}
