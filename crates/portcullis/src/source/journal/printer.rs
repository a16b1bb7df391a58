//! The thread that reads what the program prints, and starts the program again when it ends.
//!
//! It is started first to print what is there, and ends by itself; so it is known that the end of the journal was
//! reached. From there on it is started to go on printing.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use portcullis_core::ledger::Mark;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Entry, Stop, export};
use crate::runner::{Begin, Excerpt, Feed, Link, Outcome, Ran, pause};
use crate::source::{Chunk, Limits, Lines, Report};

/// The first pause before a program that ended is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So often it may end, one time shortly after the other, before that is a failure.
const PATIENCE: u32 = 3;
/// A program that has printed for so long is in order.
const HEALTHY: Duration = Duration::from_secs(2);
/// How soon it is looked whether all this is over, where nothing else wakes.
const TICK: Duration = Duration::from_millis(100);
/// A piece of the program's output.
const PIECE: usize = 64 << 10;
/// So much of what the program complained of is told.
const COMPLAINT: usize = 300;

/// Reads one journal until it is told to stop, or nobody wants its reports.
pub(super) struct Printer {
    link: Link,
    stop: Arc<Stop>,
    path: Arc<str>,
    to: SyncSender<Report>,
    one_by_one: Box<dyn Fn() -> bool + Send>,
    zone: TimeZone,
    limits: Limits,
    /// The last entry that was given out
    last: Option<Entry>,
    /// How often the program ended shortly after its start
    failures: u32,
    /// What is wrong, as it was said
    trouble: Option<String>,
}

/// This is over.
struct Over;

/// How the program ended.
enum End {
    /// Well, or with a failure
    Ran(Ran),
    /// It printed what cannot come from a journal.
    Damaged(super::Damage),
}

impl Printer {
    pub(super) fn new(
        link: Link,
        stop: Arc<Stop>,
        (path, to): (Arc<str>, SyncSender<Report>),
        one_by_one: Box<dyn Fn() -> bool + Send>,
    ) -> Self {
        Printer {
            link,
            stop,
            path,
            to,
            one_by_one,
            zone: TimeZone::system(),
            limits: Limits::default(),
            last: None,
            failures: 0,
            trouble: None,
        }
    }

    pub(super) fn path(&self) -> Arc<str> {
        Arc::clone(&self.path)
    }

    /// The journal cannot be read as it is asked for.
    pub(super) fn give_up(mut self, why: &str) {
        let _ = self.complain(why.to_owned());
    }

    /// Reads until this is over.
    pub(super) fn run(mut self, mut excerpt: Excerpt) {
        excerpt.follow = false;
        // Its end is the only way out.
        while self.turn(&mut excerpt).is_ok() {}
    }

    /// One life of the program.
    fn turn(&mut self, excerpt: &mut Excerpt) -> Result<(), Over> {
        if let Some(last) = &self.last {
            excerpt.begin = Begin::Cursor(last.cursor.to_string());
        }
        let born = Instant::now();
        let (number, feed) = self.link.journal(excerpt.clone());
        let end = self.life(excerpt, &feed);
        if !matches!(end, Ok(End::Ran(_))) {
            self.link.hush(number);
        }
        let (why, is_hopeless) = match end? {
            End::Ran(ran) if ran.succeeded() && !excerpt.follow => {
                excerpt.follow = true;
                self.recover()?;
                return self.send(Vec::new(), true);
            }
            // The set of files has changed.
            End::Ran(ran) if ran.succeeded() => return Ok(()),
            End::Ran(ran) => explained(&ran),
            End::Damaged(damage) => (format!("journalctl prints what is no journal: {damage}"), false),
        };
        if born.elapsed() >= HEALTHY {
            self.failures = 0;
        }
        self.failures += 1;
        self.failed(why, is_hopeless)?;
        self.rest(pause(self.failures, FIRST_PAUSE, LONGEST_PAUSE))
    }

    /// From the start of the program to its end.
    fn life(&mut self, excerpt: &Excerpt, feed: &Receiver<Feed>) -> Result<End, Over> {
        match self.next(feed)? {
            Feed::Ended(ran) => Ok(End::Ran(ran)),
            Feed::Opened(output, _) => {
                if let Err(damage) = self.read(excerpt, output)? {
                    return Ok(End::Damaged(damage));
                }
                match self.next(feed)? {
                    Feed::Ended(ran) => Ok(End::Ran(ran)),
                    Feed::Opened(..) => Err(Over),
                }
            }
        }
    }

    fn next(&self, feed: &Receiver<Feed>) -> Result<Feed, Over> {
        loop {
            match feed.recv_timeout(TICK) {
                Ok(feed) => return Ok(feed),
                Err(RecvTimeoutError::Timeout) if !self.stop.is_over() => {}
                Err(_) => return Err(Over),
            }
        }
    }

    /// Reads to the end of the output.
    fn read(&mut self, excerpt: &Excerpt, output: OwnedFd) -> Result<Result<(), super::Damage>, Over> {
        let born = Instant::now();
        let mut output = File::from(output);
        let mut export = export(excerpt);
        let mut piece = vec![0; PIECE];
        let mut behind = self.last.as_ref().map(|last| last.cursor.clone());
        loop {
            if born.elapsed() >= HEALTHY {
                self.recover()?;
            }
            if !self.wait(&output)? {
                continue;
            }
            let length = match output.read(&mut piece) {
                Ok(0) => return Ok(Ok(())),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Ok(Ok(())),
            };
            let mut entries = Vec::new();
            let pushed = export.push(piece.get(..length).unwrap_or_default(), |fields| {
                entries.extend(Entry::new(fields, &self.zone));
            });
            // The first is the last one of before, if that still is there.
            if let Some(cursor) = behind.take_if(|_| !entries.is_empty())
                && entries.first().is_some_and(|entry| entry.cursor == cursor)
            {
                entries.remove(0);
            }
            self.give(entries)?;
            if let Err(damage) = pushed {
                return Ok(Err(damage));
            }
        }
    }

    /// Waits for output; `false` where there is none yet.
    fn wait(&self, output: &File) -> Result<bool, Over> {
        let mut sources = [
            PollFd::new(output, PollFlags::IN),
            PollFd::new(&self.stop.wake, PollFlags::IN),
        ];
        let time = Timespec::try_from(HEALTHY).ok();
        // An interrupted wait is a short one.
        let _ = poll(&mut sources, time.as_ref());
        if self.stop.is_over() {
            return Err(Over);
        }
        Ok(!sources[0].revents().is_empty())
    }

    /// Gives entries out, in chunks.
    fn give(&mut self, entries: Vec<Entry>) -> Result<(), Over> {
        if entries.is_empty() {
            return Ok(());
        }
        self.recover()?;
        let mut waiting = entries.into_iter().peekable();
        while waiting.peek().is_some() {
            let most = if (self.one_by_one)() { 1 } else { self.limits.lines };
            let part: Vec<Entry> = waiting.by_ref().take(most).collect();
            self.send(part, false)?;
        }
        Ok(())
    }

    fn send(&mut self, entries: Vec<Entry>, caught_up: bool) -> Result<(), Over> {
        if let Some(last) = entries.last() {
            self.last = Some(last.clone());
        }
        let Some(last) = &self.last else {
            // Without an entry there is no place; that the end was reached is said all the same.
            return self.tell(Report::Chunk(self.chunk(Vec::new(), nowhere(&self.path), caught_up)));
        };
        let mark = mark(&self.path, last);
        self.tell(Report::Chunk(self.chunk(entries, mark, caught_up)))
    }

    fn chunk(&self, entries: Vec<Entry>, mark: Mark, caught_up: bool) -> Chunk {
        let mut lines = Lines::default();
        for entry in entries {
            let number = number_of(&*entry.cursor);
            lines.push_entry(entry, number);
        }
        Chunk {
            path: Arc::clone(&self.path),
            generation: 0,
            lines,
            mark,
            caught_up,
            started: false,
        }
    }

    /// Waits for a full receiver: it is the way to make the program wait.
    fn tell(&self, report: Report) -> Result<(), Over> {
        if self.stop.is_over() {
            return Err(Over);
        }
        self.to.send(report).map_err(|_| Over)
    }

    /// The program is in order.
    fn recover(&mut self) -> Result<(), Over> {
        if self.trouble.take().is_some() {
            self.tell(Report::Appeared { path: self.path() })?;
        }
        Ok(())
    }

    /// The program has ended that should not: once in a while that is a matter of a line in the log, unless waiting a
    /// moment is hopeless.
    fn failed(&mut self, why: String, is_hopeless: bool) -> Result<(), Over> {
        if self.failures >= PATIENCE || is_hopeless {
            return self.complain(why);
        }
        self.tell(Report::Interrupted { path: self.path(), why })
    }

    /// Said once for each new reason.
    fn complain(&mut self, error: String) -> Result<(), Over> {
        if self.trouble.as_ref() == Some(&error) {
            return Ok(());
        }
        self.trouble = Some(error.clone());
        self.tell(Report::Unreadable {
            path: self.path(),
            error,
        })
    }

    fn rest(&self, length: Duration) -> Result<(), Over> {
        let mut sources = [PollFd::new(&self.stop.wake, PollFlags::IN)];
        let _ = poll(&mut sources, Timespec::try_from(length).ok().as_ref());
        if self.stop.is_over() { Err(Over) } else { Ok(()) }
    }
}

/// Why the program ended, for people, and whether waiting a moment does not mend that.
fn explained(ran: &Ran) -> (String, bool) {
    let said = ran.stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
    let said: String = said.unwrap_or_default().chars().take(COMPLAINT).collect();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let why = match &ran.outcome {
        Outcome::CouldNotStart(why) | Outcome::Refused(why) => return (why.clone(), true),
        Outcome::Exit(code) => format!("journalctl ended with code {code}{said}"),
        Outcome::Signal(signal) => format!("journalctl was ended by signal {signal}{said}"),
        Outcome::TimedOut(_) => format!("journalctl was ended{said}"),
    };
    (why, false)
}

/// A number for a text, the same in every run (FNV-1a): an entry's line has no offset, and a journal no inode.
pub(crate) fn number_of(text: impl AsRef<[u8]>) -> u64 {
    text.as_ref().iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The place behind an entry. Its parts that Fail2Ban keeps are the time, and that as text; ours is the cursor.
pub(crate) fn mark(path: &str, entry: &Entry) -> Mark {
    Mark {
        head: entry.date.to_string(),
        tail: entry.cursor.to_string(),
        read_at: entry.at,
        ..nowhere(path)
    }
}

/// A journal without any place in it.
fn nowhere(path: &str) -> Mark {
    Mark {
        device: 0,
        inode: number_of(path),
        offset: 0,
        head: String::new(),
        tail: String::new(),
        read_at: portcullis_core::time::Timestamp::default(),
    }
}
