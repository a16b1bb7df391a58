//! How far the counting has come: counters, later ends of bans, open sessions and positions, which are kept together.
//!
//! What is read again after a death must be counted again, and nothing else. So a counter is kept with the position up to
//! which it has counted, and neither before the other. Until then both may wait: the lines are in their files. Bans do
//! not wait; one whose counter and position are still to be kept is in force already when its lines are read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use super::jail::Jail;
use super::message::Effect;
use crate::filter::Sessions;
use crate::json;
use crate::ledger::{Entry, Mark};
use crate::time::{Seconds, Timestamp};

/// Progress is kept this late at most.
const LATE: Seconds = Seconds::new(1);

/// What is to be kept of the progress, jail by jail: how far one has come has nothing to do with another, which is still
/// catching up with its log.
#[derive(Default)]
pub(super) struct Owed {
    jails: BTreeMap<Arc<str>, Unkept>,
    /// Until when it may wait
    pub(super) due: Option<Timestamp>,
}

/// What is to be kept of one jail, beside its counters.
#[derive(Default)]
struct Unkept {
    /// How far it has read each log
    reads: BTreeMap<Arc<str>, Mark>,
    /// Its sessions, where they changed
    sessions: Option<Sessions>,
}

impl Owed {
    /// Where a run of lines came to.
    pub(super) fn came_to(&mut self, reads: Vec<(Arc<str>, Arc<str>, Mark)>, sessions: Vec<(Arc<str>, Sessions)>) {
        for (jail, path, mark) in reads {
            self.jails.entry(jail).or_default().reads.insert(path, mark);
        }
        for (jail, sessions) in sessions {
            self.jails.entry(jail).or_default().sessions = Some(sessions);
        }
    }
}

impl Unkept {
    fn record(self, jail: &Arc<str>, out: &mut Vec<Effect>) {
        if let Some(sessions) = self.sessions {
            let text = json::from_value(&sessions.to_value()).to_string();
            let jail = Arc::clone(jail);
            out.push(Effect::Record(Entry::Sessions { jail, text }));
        }
        for (path, mark) in self.reads {
            let jail = Arc::clone(jail);
            out.push(Effect::Record(Entry::Read { jail, path, mark }));
        }
    }
}

impl Engine {
    /// The progress of a jail must not wait.
    pub(super) fn hurry(&mut self, jail: &str) {
        if let Some(jail) = self.jails.get_mut(jail) {
            jail.is_hasty = true;
        }
    }

    /// Keeps the progress if its time has come, or sees to it that it does.
    pub(super) fn settle_progress(&mut self, now: Timestamp, may_wait: bool, out: &mut Vec<Effect>) {
        if !self.owes() {
            return;
        }
        let due = *self.owed.due.get_or_insert(now + LATE);
        if !may_wait || due <= now {
            return self.keep_progress(out);
        }
        for (name, jail) in self.jails.iter_mut().filter(|(_, jail)| jail.is_hasty) {
            jail.record_progress(out);
            if let Some(unkept) = self.owed.jails.remove(name) {
                unkept.record(name, out);
            }
        }
        if !self.owes() {
            self.owed.due = None;
        }
    }

    /// Keeps all of it.
    pub(super) fn keep_progress(&mut self, out: &mut Vec<Effect>) {
        for jail in self.jails.values_mut() {
            jail.record_progress(out);
        }
        for (jail, unkept) in std::mem::take(&mut self.owed).jails {
            unkept.record(&jail, out);
        }
    }

    /// Whether anything is to be kept.
    fn owes(&self) -> bool {
        !self.owed.jails.is_empty() || self.jails.values().any(Jail::has_progressed)
    }
}
