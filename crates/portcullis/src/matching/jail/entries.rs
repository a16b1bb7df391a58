//! What a jail reads of a journal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use portcullis_core::filter::Prefilter;
use portcullis_core::ledger::Mark;
use portcullis_core::time::{Clock, Seconds};

use super::words::in_operation;
use super::{Found, Reading, break_on_purpose};
use crate::source::Chunk;
use crate::source::journal::{self, Entry, Matches, Past};

/// An entry that is no older is a new one (contract §6.6).
const MOMENT: Seconds = Seconds::new(1);

impl Reading {
    /// Which entries of a journal are its.
    pub(crate) fn take_only(&mut self, matches: Matches) {
        self.matches = matches;
    }

    pub(crate) fn matches(&self) -> &Matches {
        &self.matches
    }

    /// Adds a journal. What is `past` is not for it. One that it read before it reads on.
    pub(crate) fn follow_journal(&mut self, path: Arc<str>, done: Option<Mark>, past: Past) {
        let operating = self.files.get(&path).is_some_and(|former| former.operating);
        self.follow(Arc::clone(&path), done, operating);
        if let Some(progress) = self.files.get_mut(&path) {
            progress.past = Some(past);
        }
    }

    pub(crate) fn past(&self, path: &str) -> Option<&Past> {
        self.files.get(path)?.past.as_ref()
    }

    /// Reads one entry of a journal, unless it is past or not for this jail.
    pub(super) fn entry(
        &mut self,
        clock: Clock,
        (chunk, entry): (&Chunk, &Entry),
        (prefilter, first): (&mut Prefilter, usize),
        found: &mut Found,
    ) {
        let Some(progress) = self.files.get_mut(&chunk.path) else {
            return;
        };
        if let Some(past) = &progress.past {
            if past.has(entry) {
                progress.past.take_if(|past| past.ends_with(entry));
                return;
            }
            progress.past = None;
        }
        if !self.matches.take(entry) {
            return;
        }
        progress.place = Some(journal::mark(&chunk.path, entry));
        if entry.at >= clock.wall - MOMENT && !progress.operating {
            progress.operating = true;
            found.news.push(in_operation(&self.name));
        }
        let operating = progress.operating;
        self.counts.cut += u64::from(entry.is_cut);
        let text = entry.line(self.encoding.encoding);
        prefilter.look(text.as_bytes());
        let (candidates, beside) = (prefilter.candidates(first), prefilter.candidates(first + 1));
        let date = (entry.at, &*entry.date);
        let reading = catch_unwind(AssertUnwindSafe(|| {
            break_on_purpose(&text);
            self.filter.read_entry(clock, operating, date, (&text, candidates))
        }));
        let place = || format!("{} of {}", chunk.path, entry.date.trim_end());
        if self.take(clock, reading, (&text, &place), found) {
            self.look_beside(beside, |unseen, candidates| {
                unseen.read_entry(clock, operating, date, (&text, candidates))
            });
        }
    }
}
