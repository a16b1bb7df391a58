//! One jail's share of a group: its filter, and how far it has come in each of its files.

mod entries;
mod repeats;
mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use portcullis_core::encoding::Text;
use portcullis_core::filter::{self, Candidates, Failure, Filter, Prefilter, Sessions, Which};
use portcullis_core::ledger::Mark;
use portcullis_core::time::{Clock, Timestamp};

pub(super) use repeats::Repeats;

use words::{in_operation, place_of, quote};

use super::joiner::Whole;
use super::progress::{Behind, Progress, is_same_file};
use super::{LogEncoding, News, Seen};
use crate::source::journal::{self, JOURNAL, Matches};
use crate::source::{Chunk, Line, output};

/// Another mode of the jail's filter that would see failures which this one lets pass.
pub(crate) struct Unseen {
    /// The filter in that mode
    pub(crate) filter: Filter,
    /// What it would see, such as `SASL failures`
    pub(crate) what: String,
    /// What to write instead, such as `filter = postfix[mode=extra]`
    pub(crate) mend: String,
}

/// What a run of lines came to.
#[derive(Default)]
pub(super) struct Found {
    pub(super) failures: Vec<Failure>,
    pub(super) news: Vec<News>,
    /// The first line with something in it that is no character
    pub(super) odd: Option<Odd>,
}

/// A line with something in it that is no character.
pub(super) struct Odd {
    pub(super) line: Box<[u8]>,
    /// As the jail names it
    pub(super) encoding: Arc<str>,
}

/// A jail within a matching group.
pub(crate) struct Reading {
    name: Arc<str>,
    filter: Filter,
    encoding: LogEncoding,
    /// Which entries of a journal are its
    matches: Matches,
    unseen: Option<Unseen>,
    files: BTreeMap<Arc<str>, Progress>,
    warned: BTreeMap<&'static str, Timestamp>,
    counts: Counts,
    shown: Counts,
    seen: Arc<Seen>,
    /// Lines, and those with a failure, that are still to be told there
    untold: (u64, u64),
}

/// What status shows beside failures and bans.
#[derive(Clone, Default, PartialEq)]
struct Counts {
    cut: u64,
    unknown: BTreeMap<Which, u64>,
    broken: u64,
    deadly: u64,
    unseen: u64,
    odd_bytes: u64,
}

impl Reading {
    /// A jail that has read nothing yet.
    pub(crate) fn new(name: Arc<str>, filter: Filter, encoding: LogEncoding, unseen: Option<Unseen>) -> Self {
        Reading {
            name,
            filter,
            encoding,
            matches: Matches::default(),
            unseen,
            files: BTreeMap::new(),
            warned: BTreeMap::new(),
            counts: Counts::default(),
            shown: Counts::default(),
            seen: Arc::default(),
            untold: (0, 0),
        }
    }

    /// Adds a file. `done` is how far it was read before; `operating` says that its lines are new from the start.
    pub(crate) fn follow(&mut self, path: Arc<str>, done: Option<Mark>, operating: bool) {
        self.files.insert(
            path,
            Progress {
                done,
                behind: None,
                past: None,
                place: None,
                floor: None,
                operating,
                generation: 0,
                joiners: BTreeMap::new(),
                repeats: None,
            },
        );
    }

    /// What failed in a log up to this time was read elsewhere: in the journal, before there was such a log.
    pub(crate) fn begin_after(&mut self, path: &str, time: Timestamp) {
        if let Some(progress) = self.files.get_mut(path) {
            progress.floor = Some(time);
        }
    }

    /// The group begins a file at `begin`, or at its start: where that is not how far this jail has come, what lies
    /// between is not for it.
    pub(crate) fn begins(&mut self, path: &str, begin: Option<&Mark>) {
        let Some(progress) = self.files.get_mut(path) else {
            return;
        };
        let Some(mark) = progress.done.clone().filter(|mark| Some(mark) != begin) else {
            return;
        };
        let elsewhere = begin.is_some_and(|begin| !is_same_file(begin, &mark));
        progress.behind = Some(Behind {
            mark,
            elsewhere,
            reached: false,
        });
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.keys()
    }

    pub(crate) fn follows(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether what it reads there is new.
    pub(super) fn is_operating(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|progress| progress.operating)
    }

    /// Whether its lines may span newline bytes.
    pub(crate) fn is_wide(&self) -> bool {
        self.encoding.encoding.is_wide()
    }

    /// How far the jail has read a file.
    pub(crate) fn done(&self, path: &str) -> Option<&Mark> {
        self.files.get(path)?.done.as_ref()
    }

    /// Takes over the sessions of an earlier run or plan.
    pub(crate) fn resume(&mut self, sessions: Sessions) {
        self.filter.resume(sessions);
    }

    /// Takes the place of a reading of the same jail that read otherwise: what it counted and warned of goes on.
    pub(crate) fn succeed(&mut self, former: Reading) {
        self.warned = former.warned;
        self.counts = former.counts;
        self.shown = former.shown;
        if self.unseen.is_none() {
            self.unseen = former.unseen;
        }
    }

    /// The parts that make something of a line, for whoever tries them beside the daemon: the filter, how bytes become
    /// text, and the mode that would see more.
    pub(crate) fn parts(&mut self) -> (&mut Filter, &LogEncoding, Option<&mut Unseen>) {
        (&mut self.filter, &self.encoding, self.unseen.as_mut())
    }

    /// What it has seen, as it goes on.
    pub(crate) fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// The filter, to hand its sessions to its successor.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The filters that its lines are read with: its own, and the mode that would see more.
    pub(super) fn filters(&self) -> impl Iterator<Item = &Filter> {
        [&self.filter]
            .into_iter()
            .chain(self.unseen.as_ref().map(|unseen| &unseen.filter))
    }

    /// Reads one line, unless an earlier run has. The prefilter has looked at it; from the number on, its filters are
    /// this jail's.
    pub(super) fn line(
        &mut self,
        clock: Clock,
        (chunk, line): (&Chunk, Line<'_>),
        (prefilter, first): (&mut Prefilter, usize),
        found: &mut Found,
    ) {
        let Some(progress) = self.files.get_mut(&chunk.path) else {
            return;
        };
        if let Some(entry) = line.entry {
            return self.entry(clock, (chunk, entry), (prefilter, first), found);
        }
        if progress.has_read(chunk, line.end) {
            return;
        }
        if let Some(repeats) = &mut progress.repeats
            && repeats.begin(chunk.generation)
        {
            progress.operating = false;
        }
        let operating = progress.operating;
        // A time that is still to come is one of a clock that was put back.
        let floor = progress.floor.filter(|floor| *floor <= clock.wall);
        let encoding = self.encoding.encoding;
        let Some(Whole { bytes, truncated }) = progress.join(encoding, chunk.generation, line) else {
            return;
        };
        let Text { text, odd } = encoding.line(&bytes);
        self.counts.cut += u64::from(truncated);
        self.counts.odd_bytes += u64::from(odd);
        if odd && found.odd.is_none() {
            found.odd = Some(Odd {
                line: bytes.as_ref().into(),
                encoding: Arc::clone(&self.encoding.name),
            });
        }
        // In UTF-16 the bytes of a literal are others, and a line of several pieces was not looked at as a whole.
        let looked_at = !encoding.is_wide() && matches!(bytes, Cow::Borrowed(_));
        let candidates = |number| match looked_at {
            true => prefilter.candidates(number),
            false => Candidates::ALL,
        };
        // A filter that panics is in an unknown state, but its state is rankings and sessions: the next lines are
        // read no worse for it than lines of a new start.
        let reading = catch_unwind(AssertUnwindSafe(|| {
            break_on_purpose(&text);
            let mut reading = self.filter.read(clock, operating, &text, candidates(first));
            reading
                .failures
                .retain(|failure| floor.is_none_or(|floor| failure.time > floor));
            if let Some(repeats) = &mut progress.repeats {
                reading
                    .failures
                    .retain(|failure| repeats.is_new(failure.time, clock.wall));
            }
            reading
        }));
        let place = || place_of(&chunk.path, line.end);
        if self.take(clock, reading, (&text, &place), found) {
            self.look_beside(candidates(first + 1), |unseen, candidates| {
                unseen.read(clock, operating, &text, candidates)
            });
        }
    }

    /// Takes what the filter made of a line. Returns whether it found nothing.
    fn take(
        &mut self,
        clock: Clock,
        reading: thread::Result<filter::Reading>,
        (text, place): (&str, &dyn Fn() -> String),
        found: &mut Found,
    ) -> bool {
        let Ok(reading) = reading else {
            self.counts.broken += 1;
            let text = format!(
                "[{}] the matcher broke on a line of {}, skipped: {}",
                self.name,
                place(),
                quote(text)
            );
            found.news.push(News::Said {
                logger: "fail2ban.filter",
                warning: true,
                text,
            });
            return false;
        };
        self.untold.0 += 1;
        self.untold.1 += u64::from(!reading.failures.is_empty());
        if let Some(which) = reading.over_budget {
            *self.counts.unknown.entry(which).or_default() += 1;
        }
        let is_nothing = reading.failures.is_empty();
        found.failures.extend(reading.failures);
        self.warn_of_age(clock, reading.age, text, &mut found.news);
        for warning in &reading.warnings {
            self.warn(clock, warning, &mut found.news);
        }
        is_nothing
    }

    /// Passes over a line that was in hand when the daemon died, twice.
    pub(super) fn skip(&mut self, chunk: &Chunk, end: u64, news: &mut Vec<News>) {
        self.counts.deadly += 1;
        if let Some(progress) = self.files.get_mut(&chunk.path) {
            progress.joiners.remove(&chunk.generation);
            let entry = chunk
                .lines
                .iter()
                .find(|line| line.end == end)
                .and_then(|line| line.entry);
            if let Some(entry) = entry {
                progress.place = Some(journal::mark(&chunk.path, entry));
            }
        }
        let text = format!(
            "[{}] the daemon died twice over the line of {}; it is skipped",
            self.name,
            place_of(&chunk.path, end)
        );
        news.push(News::Said {
            logger: "fail2ban.filter",
            warning: true,
            text,
        });
        self.remarks(news);
    }

    /// Reads a line in the mode that would see more, which has the candidates behind those of the filter.
    fn look_beside(
        &mut self,
        candidates: Candidates<'_>,
        read: impl FnOnce(&mut Filter, Candidates<'_>) -> filter::Reading,
    ) {
        let Some(unseen) = self.unseen.as_mut().filter(|_| !candidates.are_none()) else {
            return;
        };
        let seen = catch_unwind(AssertUnwindSafe(|| read(&mut unseen.filter, candidates).failures.len()));
        self.counts.unseen += u64::from(seen.is_ok_and(|failures| failures > 0));
    }

    /// A chunk was read: how far the jail has come now.
    pub(super) fn reached(&mut self, chunk: &Chunk, news: &mut Vec<News>) -> Option<(Arc<str>, Arc<str>, Mark)> {
        let progress = self.files.get_mut(&chunk.path)?;
        if journal::is_journal(&chunk.path) {
            if chunk.caught_up && !progress.operating {
                progress.operating = true;
                news.push(in_operation(&self.name));
            }
            let mark = progress.place.take()?;
            progress.done = Some(mark.clone());
            return Some((Arc::clone(&self.name), JOURNAL.into(), mark));
        }
        progress.operating |= chunk.caught_up;
        if let Some(repeats) = &mut progress.repeats {
            if chunk.caught_up {
                repeats.catch_up(chunk.generation);
            }
            let mark = output::mark(&chunk.path, repeats.news()?, chunk.generation);
            progress.done = Some(mark.clone());
            return Some((Arc::clone(&self.name), Arc::clone(&chunk.path), mark));
        }
        let had_read = progress.has_read(chunk, chunk.mark.offset);
        progress.catch_up(chunk);
        // Late lines of a file that was rotated away must not take the position back to it.
        let late = chunk.generation < progress.generation;
        // The beginning of a file without lines is a place, too: what is written next may be rotated away before it
        // is seen.
        let first = progress.done.is_none() && chunk.caught_up;
        if (chunk.lines.is_empty() && !first) || late || had_read {
            return None;
        }
        progress.generation = chunk.generation;
        let mark = progress.whole(chunk)?;
        progress.done = Some(mark.clone());
        Some((Arc::clone(&self.name), Arc::clone(&chunk.path), mark))
    }

    /// Tells what it has seen in a run of lines.
    pub(super) fn tell_seen(&mut self, at: Timestamp) {
        let (lines, matched) = std::mem::take(&mut self.untold);
        self.seen.add(at, lines, matched);
    }

    /// The filter's sessions, if they changed.
    pub(super) fn sessions(&mut self) -> Option<(Arc<str>, Sessions)> {
        let sessions = self.filter.changed_sessions()?.clone();
        Some((Arc::clone(&self.name), sessions))
    }
}

/// The tests' way to break the matcher (invariant 8), or the whole daemon; release builds have no such hook.
#[cfg(debug_assertions)]
fn break_on_purpose(text: &str) {
    let is_named = |name| std::env::var(name).is_ok_and(|word| text.contains(&word));
    if is_named("PORTCULLIS_ABORT_ON") {
        std::process::abort();
    }
    if is_named("PORTCULLIS_BREAK_ON") {
        #[expect(clippy::panic, reason = "this is what the hook is for")]
        {
            panic!("the test asked for this");
        }
    }
}

#[cfg(not(debug_assertions))]
fn break_on_purpose(_: &str) {}
