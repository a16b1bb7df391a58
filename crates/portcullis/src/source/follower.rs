//! One path: which of its files is being read, which come next, and what its receiver is told.
//!
//! A step reads at most one chunk and never waits, so that many paths can share a thread. What a full channel
//! refuses is kept here, at most one chunk, and nothing further is read until it is taken.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use portcullis_core::ledger::Mark;

use super::file::{Fill, LogFile, Scratch, Stat, wall};
use super::late::{Late, LateLines};
use super::rotation::{Generations, History, is_missing};
use super::sibling::Place;
use super::{Chunk, Follow, From, Limits, Lines, Report};
use crate::observe::words_of;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to do at once.
    More,
    /// Nothing to do until something changes, or until that moment.
    Idle(Option<Instant>),
    /// The receiver has to take something first.
    Blocked,
    /// The receiver is gone.
    Gone,
}

/// One followed path.
pub(crate) struct Follower {
    path: Arc<str>,
    to: SyncSender<Report>,
    wide: bool,
    from: From,
    /// Reports that wait for room.
    pending: VecDeque<Report>,
    /// The file being read.
    current: Option<LogFile>,
    /// The files after it; the last of all is the present file.
    next: VecDeque<LogFile>,
    late: Late,
    /// The last mark that was sent.
    last: Option<Mark>,
    history: History,
    generation: u64,
    /// Whether there was more to read than a chunk holds.
    behind: bool,
    /// Whether the receiver knows that the end was reached.
    caught_up: bool,
    /// Whether copies of the present file were looked for since it was begun.
    looked: bool,
    /// When the end of a replaced file with an unfinished line was first seen.
    waiting: Option<Instant>,
    missing: bool,
    trouble: Option<String>,
    /// Whether the set of files or directories to be watched may have changed.
    pub(crate) moved: bool,
}

impl Follower {
    pub(crate) fn new(follow: Follow) -> Self {
        Follower {
            path: follow.path,
            to: follow.to,
            wide: follow.wide,
            from: follow.from,
            pending: VecDeque::new(),
            current: None,
            next: VecDeque::new(),
            late: Late::default(),
            last: None,
            history: History::default(),
            generation: 0,
            behind: false,
            caught_up: false,
            looked: false,
            waiting: None,
            missing: false,
            trouble: None,
            moved: true,
        }
    }

    /// The open files, for watches.
    pub(crate) fn files(&self) -> impl Iterator<Item = &File> {
        let files = self.current.iter().chain(&self.next);
        files.chain(self.late.files()).map(LogFile::handle)
    }

    /// Whether it has more to read than a chunk holds, as far as it has seen.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// The directories in which something may happen to the path: its own and that of the file behind a symbolic
    /// link; for each that is missing, the nearest one above.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let path = Path::new(&*self.path);
        let own = path.parent().unwrap_or(Path::new("/")).to_owned();
        let mut directories = vec![own, Place::of(path).directory];
        for directory in &mut directories {
            while !directory.is_dir() && directory.pop() {}
        }
        directories.dedup();
        directories
    }

    /// Delivers, or reads and delivers, at most one chunk.
    pub(crate) fn step(&mut self, scratch: &mut Scratch, limits: &Limits) -> Progress {
        if let Some(stop) = self.deliver() {
            return stop;
        }
        let limits = limits.of(self.wide);
        let progress = self.advance(scratch, &limits).unwrap_or_else(|error| self.fail(&error));
        match self.deliver() {
            Some(stop) => stop,
            None => progress,
        }
    }

    fn deliver(&mut self) -> Option<Progress> {
        while let Some(report) = self.pending.pop_front() {
            match self.to.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => {
                    self.pending.push_front(report);
                    return Some(Progress::Blocked);
                }
                Err(TrySendError::Disconnected(_)) => return Some(Progress::Gone),
            }
        }
        None
    }

    fn advance(&mut self, scratch: &mut Scratch, limits: &Limits) -> io::Result<Progress> {
        self.behind = false;
        if self.read_late(scratch, limits) {
            return Ok(Progress::More);
        }
        // Whether a next file has lines must be seen before the end of this one is: what its writer wrote here
        // before it turned to the next file is then seen, too.
        let replaced = self.next_is_ready();
        let Some(current) = &mut self.current else {
            return self.begin();
        };
        let started = current.is_fresh();
        let mut lines = Lines::default();
        let fill = match current.fill(scratch, limits, &mut lines) {
            Err(error) if self.is_elsewhere() => return Ok(self.begin_again(&error)),
            result => result?,
        };
        let Some(current) = &mut self.current else {
            return Ok(Progress::More);
        };
        // A file that is as empty as before and yet was written to was truncated in between.
        self.looked &= !(started && current.was_touched());
        if started && !self.looked && self.put_copies_first() {
            return Ok(Progress::More);
        }
        match fill {
            Fill::Replaced(reason) => {
                self.truncated(reason);
                Ok(Progress::More)
            }
            Fill::Full => {
                self.behind = true;
                if !lines.is_empty() {
                    self.push(lines, false, started);
                }
                Ok(Progress::More)
            }
            Fill::End if replaced => Ok(self.leave(lines, started, limits)),
            Fill::End => {
                let more = self.look_at_path();
                let caught_up = !matches!(more, Ok(true));
                if !lines.is_empty() || (caught_up && !self.caught_up) {
                    self.push(lines, caught_up, started);
                    // What was found at the path comes after the lines.
                    self.pending.rotate_right(1);
                }
                Ok(if more? { Progress::More } else { Progress::Idle(None) })
            }
        }
    }

    /// Opens the file for the first time, or after it was missing.
    fn begin(&mut self) -> io::Result<Progress> {
        let path = self.path.clone();
        let path = Path::new(&*path);
        self.moved = true;
        let from = mem::replace(&mut self.from, From::Start);
        let result = match &from {
            From::Mark(mark) => self.history.resume(path, mark),
            From::Start | From::End => LogFile::open(path).and_then(|mut file| {
                if from == From::End {
                    file.seek(file.stat_now()?.size)?;
                }
                self.history.begin(&Place::of(path));
                Ok(Generations {
                    files: vec![file],
                    found: true,
                })
            }),
        };
        let generations = match result {
            Ok(generations) if !generations.files.is_empty() => generations,
            result => {
                // A file that comes into being later has only new lines; a stored position stays worth a search.
                let missing = result.as_ref().map_or_else(is_missing, |_| true);
                if !(missing && from == From::End) {
                    self.from = from;
                }
                return Err(result.err().unwrap_or_else(|| io::ErrorKind::NotFound.into()));
            }
        };
        if self.missing || self.trouble.is_some() {
            self.pending.push_back(Report::Appeared {
                path: self.path.clone(),
            });
        }
        if !generations.found || generations.files.len() > 1 {
            self.say_rotated("rotated while it was not read", generations.found);
        }
        self.recover();
        self.next = generations.files.into();
        self.current = self.next.pop_front();
        self.generation += 1;
        Ok(Progress::More)
    }

    /// Whether another file stands at the path than the one being read.
    fn is_elsewhere(&self) -> bool {
        let stat = Stat::at(Path::new(&*self.path));
        let current = self.current.as_ref();
        stat.is_ok_and(|stat| current.is_some_and(|current| !current.stat.same(&stat)))
    }

    /// A replaced file cannot be read any more (a network file system forgets it): what came after it can.
    fn begin_again(&mut self, error: &io::Error) -> Progress {
        self.from = self
            .current
            .take()
            .map_or(From::Start, |current| From::Mark(current.mark()));
        self.next.clear();
        self.fail(error);
        Progress::More
    }

    /// Whether there is a next file to turn to: an empty one is left alone until its writer uses it, but for one
    /// that was truncated.
    fn next_is_ready(&self) -> bool {
        let has_bytes = |file: &LogFile| file.stat_now().is_ok_and(|stat| stat.size > 0);
        let copy = self.current.as_ref().is_some_and(|current| current.copy);
        (copy && !self.next.is_empty()) || self.next.len() > 1 || self.next.front().is_some_and(has_bytes)
    }

    /// The end of a file that was replaced.
    fn leave(&mut self, lines: Lines, started: bool, limits: &Limits) -> Progress {
        let grew = !lines.is_empty();
        if grew {
            self.push(lines, false, started);
        }
        let Some(current) = &mut self.current else {
            return Progress::More;
        };
        if grew && current.is_partial() {
            return Progress::More;
        }
        if current.is_partial() {
            let since = *self.waiting.get_or_insert_with(Instant::now);
            if current.is_quiet(limits.quiet) {
                let mut lines = Lines::default();
                current.finish(&mut lines);
                self.push(lines, false, started);
                return Progress::More;
            }
            // A writer that goes on and on in the old file must not keep the new one waiting.
            if since.elapsed() < limits.quiet * 3 {
                return Progress::Idle(Some(Instant::now() + limits.quiet / 10));
            }
        }
        self.turn();
        Progress::More
    }

    /// Turns to the next file.
    fn turn(&mut self) {
        let next = self.next.pop_front();
        if let Some(file) = mem::replace(&mut self.current, next) {
            self.late.add(self.generation, file);
        }
        self.generation += 1;
        self.looked = false;
        self.waiting = None;
        self.moved = true;
    }

    /// Lines that a late writer put into a file that was replaced. Their chunk has the mark of the file being
    /// read: the place to begin again is there.
    fn read_late(&mut self, scratch: &mut Scratch, limits: &Limits) -> bool {
        let Some(LateLines {
            generation,
            lines,
            mark,
        }) = self.late.read(scratch, limits)
        else {
            return false;
        };
        if generation + 1 == self.generation {
            self.last = Some(mark);
        }
        self.push_of(generation, lines, false, false);
        true
    }

    /// Looks whether the path still leads to the last file. Returns whether there is something new to read.
    fn look_at_path(&mut self) -> io::Result<bool> {
        let path = self.path.clone();
        let path = Path::new(&*path);
        let stat = match Stat::at(path) {
            Err(error) if is_missing(&error) => {
                self.say_missing();
                return Ok(false);
            }
            result => result?,
        };
        let Some(last) = self.next.back().or(self.current.as_ref()) else {
            return Ok(false);
        };
        if stat.same(&last.stat) {
            if self.missing {
                self.pending.push_back(Report::Appeared {
                    path: self.path.clone(),
                });
            }
            self.recover();
            return Ok(false);
        }
        if self.current.as_ref().is_some_and(|current| stat.same(&current.stat)) {
            // It was renamed away and back, and what stood there in between is empty.
            self.next.clear();
            return Ok(false);
        }
        let taken: Vec<Stat> = self.held().collect();
        let generations = match self.history.after(path, last, &taken) {
            Err(error) if is_missing(&error) => return Ok(false),
            result => result?,
        };
        self.recover();
        self.say_rotated("renamed", generations.found);
        let mut files: VecDeque<LogFile> = generations.files.into();
        files.retain(|file| file.stat.same(&stat) || !self.late.was_read(file));
        if let Some(present) = files.pop_back() {
            files.push_back(self.late.take_back(present));
        }
        self.next.append(&mut files);
        self.moved = true;
        Ok(true)
    }

    /// The files that are open, and so need not be searched for.
    fn held(&self) -> impl Iterator<Item = Stat> {
        let files = self.current.iter().chain(&self.next).map(|file| file.stat);
        files.chain(self.late.stats())
    }

    /// The contents of the current file are not what they were.
    fn truncated(&mut self, reason: &'static str) {
        let Some(mut file) = self.current.take() else { return };
        self.moved = true;
        if !self.next.is_empty() {
            // It is no longer the present file, so what it held will not come back.
            self.say_rotated(reason, false);
            self.current = self.next.pop_front();
            self.generation += 1;
            self.looked = false;
            return;
        }
        let path = self.path.clone();
        let mark = file.mark();
        file.restart();
        let generations = self.history.truncated(Path::new(&*path), &mark, &file);
        self.say_rotated(reason, generations.found);
        self.next.extend(generations.files);
        self.next.push_back(file);
        self.current = self.next.pop_front();
        self.generation += 1;
        self.looked = false;
        self.waiting = None;
    }

    /// Before the first lines of the present file are given out: whether it was copied and truncated since it
    /// was begun. Then the copies come first, and it is read again.
    fn put_copies_first(&mut self) -> bool {
        self.looked = true;
        if !self.next.is_empty() {
            return false;
        }
        let taken: Vec<Stat> = self.held().collect();
        let Some(current) = &mut self.current else { return false };
        let begun = wall();
        let copies = self.history.copies(Path::new(&*self.path), current, &taken);
        if copies.is_empty() {
            return false;
        }
        current.restart();
        current.begun = begun;
        self.next.extend(copies);
        self.next.extend(self.current.take());
        self.current = self.next.pop_front();
        self.say_rotated("copied and truncated", true);
        self.moved = true;
        true
    }

    fn push(&mut self, lines: Lines, caught_up: bool, started: bool) {
        self.push_of(self.generation, lines, caught_up, started);
        self.caught_up = caught_up;
        self.waiting = None;
    }

    fn push_of(&mut self, generation: u64, lines: Lines, caught_up: bool, started: bool) {
        let Some(current) = &self.current else { return };
        // Where a file has not given a line yet, the end of the one before tells more: what was made in between is
        // younger than that one.
        let mark = match &self.last {
            Some(last) if current.is_fresh() => last.clone(),
            _ => current.mark(),
        };
        self.last = Some(mark.clone());
        let started = started && !lines.is_empty();
        let path = self.path.clone();
        self.pending.push_back(Report::Chunk(Chunk {
            path,
            generation,
            lines,
            mark,
            caught_up,
            started,
        }));
    }

    fn say_rotated(&mut self, reason: &'static str, complete: bool) {
        let path = self.path.clone();
        self.pending.push_back(Report::Rotated { path, reason, complete });
    }

    fn say_missing(&mut self) {
        if !mem::replace(&mut self.missing, true) {
            self.pending.push_back(Report::Missing {
                path: self.path.clone(),
            });
        }
        self.moved = true;
    }

    fn recover(&mut self) {
        self.missing = false;
        self.trouble = None;
    }

    fn fail(&mut self, error: &io::Error) -> Progress {
        self.moved = true;
        if is_missing(error) {
            self.say_missing();
            return Progress::Idle(None);
        }
        let error = describe(error);
        if self.trouble.as_ref() != Some(&error) {
            self.trouble = Some(error.clone());
            self.pending.push_back(Report::Unreadable {
                path: self.path.clone(),
                error,
            });
        }
        Progress::Idle(None)
    }
}

/// The error without Rust's number behind it.
fn describe(error: &io::Error) -> String {
    let text = words_of(error);
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
