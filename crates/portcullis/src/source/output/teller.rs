//! The thread that reads one program, and starts it again when it ends; of standard input there is one life only.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime};

use portcullis_core::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::complaints::Complaints;
use super::{Shared, mark};
use crate::runner::{Feed, Link, Outcome, Ran, TemplateId, pause};
use crate::source::frame::Framer;
use crate::source::journal::number_of;
use crate::source::{Chunk, Ending, Limits, Lines, Report};

/// The first pause before a program that ended is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause; a program that lived for longer begins with the first one again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So often it may end, one time shortly after the other, before that is a failure.
const PATIENCE: u32 = 3;
/// A program that runs for so long is in order.
const HEALTHY: Duration = Duration::from_secs(10);
/// When nothing has come for so long, what it had to say of the past is said.
const QUIET: Duration = Duration::from_secs(1);
/// How soon it is looked for an end that nothing else tells of.
const IDLE: Duration = Duration::from_secs(2);
/// How soon it is looked whether all this is over, where nothing wakes.
const TICK: Duration = Duration::from_millis(100);
/// How soon a receiver that has gone is looked for again.
const BUSY: Duration = Duration::from_millis(5);
/// A piece of the output.
const PIECE: usize = 64 << 10;
/// The codes with which a shell tells that there is no such program, or that it cannot be run.
const NO_PROGRAM: [i32; 2] = [126, 127];

/// Where lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spring {
    /// A program that the runner has learned
    Program(TemplateId),
    /// Standard input
    Input,
}

/// This is over.
#[derive(Debug)]
pub(super) struct Over;

/// Reads one log until it is told to stop.
pub(super) struct Teller {
    link: Link,
    shared: Arc<Shared>,
    path: Arc<str>,
    spring: Spring,
    one_by_one: Box<dyn Fn() -> bool + Send>,
    limits: Limits,
    /// The life of the program: no other one had this number, in this run or an earlier one
    generation: u64,
    /// The receiver that was told how things stand
    turn: u64,
    /// Whether what it had to say of the past is said
    caught_up: bool,
    /// How often the program ended shortly after its start
    failures: u32,
    /// What is wrong, as it was said
    trouble: Option<String>,
    complaints: Complaints,
}

impl Teller {
    pub(super) fn new(
        (link, shared): (Link, Arc<Shared>),
        (path, spring): (Arc<str>, Spring),
        one_by_one: Box<dyn Fn() -> bool + Send>,
    ) -> Self {
        Teller {
            link,
            shared,
            path,
            spring,
            one_by_one,
            limits: Limits::default(),
            generation: 0,
            turn: 0,
            caught_up: false,
            failures: 0,
            trouble: None,
            complaints: Complaints::new(),
        }
    }

    /// Reads until this is over.
    pub(super) fn run(mut self) {
        // Its end is the only way out.
        while self.turn().is_ok() {}
    }

    /// One life of the program, and the pause after it.
    fn turn(&mut self) -> Result<(), Over> {
        self.generation = microseconds().max(self.generation + 1);
        self.caught_up = false;
        let born = Instant::now();
        let (number, feed) = match self.spring {
            Spring::Program(template) => self.link.program(template),
            Spring::Input => self.link.input(),
        };
        let ended = self.life(number, &feed);
        if ended.is_err() {
            self.link.hush(number);
        }
        let ran = ended?;
        if self.spring == Spring::Input {
            self.complain(over(&ran))?;
            loop {
                self.rest(IDLE)?;
            }
        }
        if born.elapsed() >= LONGEST_PAUSE {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let (why, is_hopeless) = explained(&ran, self.complaints.last());
        if self.failures >= PATIENCE || is_hopeless {
            self.complain(why)?;
        } else {
            let path = Arc::clone(&self.path);
            self.tell(Report::Interrupted { path, why })?;
        }
        self.rest(pause(self.failures, FIRST_PAUSE, LONGEST_PAUSE))
    }

    /// From the start of the program to its end.
    fn life(&mut self, number: u64, feed: &Receiver<Feed>) -> Result<Ran, Over> {
        let (output, complaints) = match self.next(feed)? {
            Feed::Ended(ran) => return Ok(ran),
            Feed::Opened(output, complaints) => (output, complaints),
        };
        if self.spring == Spring::Input
            && let Ok(stat) = rustix::fs::fstat(&output)
        {
            // A daemon that follows one that died goes on in the same life.
            self.generation = stat.st_ino.max(1);
        }
        self.complaints.begin(complaints);
        let ended = self.read(output, feed)?;
        let texts = self.complaints.finish();
        self.pass_on(texts)?;
        match (ended, self.spring) {
            (Some(ran), _) => Ok(ran),
            (None, Spring::Input) => Ok(Ran::nothing(Outcome::Exit(0))),
            (None, Spring::Program(_)) => match feed.recv_timeout(TICK) {
                Ok(Feed::Ended(ran)) => Ok(ran),
                // It has closed its output, so that it is of no use any more.
                _ => {
                    self.link.hush(number);
                    match self.next(feed)? {
                        Feed::Ended(ran) => Ok(ran),
                        Feed::Opened(..) => Err(Over),
                    }
                }
            },
        }
    }

    fn next(&mut self, feed: &Receiver<Feed>) -> Result<Feed, Over> {
        loop {
            match feed.recv_timeout(TICK) {
                Ok(feed) => return Ok(feed),
                Err(RecvTimeoutError::Timeout) if !self.shared.is_over() => {}
                Err(_) => return Err(Over),
            }
        }
    }

    /// Reads to the end of the output, or to the end of the program where others hold its output open.
    fn read(&mut self, output: OwnedFd, feed: &Receiver<Feed>) -> Result<Option<Ran>, Over> {
        let mut output = File::from(output);
        let mut framer = Framer::default();
        let mut piece = vec![0; PIECE];
        let (born, mut spoke, mut ended) = (Instant::now(), Instant::now(), None);
        while ended.is_none() {
            self.greet()?;
            if born.elapsed() >= HEALTHY {
                self.recover()?;
            }
            if !self.caught_up && spoke.elapsed() >= QUIET {
                self.caught_up = true;
                self.give(Lines::default())?;
            }
            if !self.wait(&output)? {
                match feed.try_recv() {
                    Ok(Feed::Ended(ran)) => ended = Some(ran),
                    Err(TryRecvError::Disconnected) => return Err(Over),
                    Ok(Feed::Opened(..)) | Err(TryRecvError::Empty) => {}
                }
                continue;
            }
            match output.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => self.frame(&mut framer, piece.get(..length).unwrap_or_default())?,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(_) => break,
            }
            spoke = Instant::now();
        }
        if framer.is_partial() {
            let mut lines = Lines::default();
            framer.finish(0, Ending::File, &mut lines);
            self.give(lines)?;
        }
        Ok(ended)
    }

    fn frame(&mut self, framer: &mut Framer, mut bytes: &[u8]) -> Result<(), Over> {
        while !bytes.is_empty() {
            let limits = Limits {
                lines: if (self.one_by_one)() { 1 } else { self.limits.lines },
                ..self.limits
            };
            let mut lines = Lines::default();
            let taken = framer.push(bytes, 0, &limits, &mut lines);
            bytes = bytes.get(taken..).unwrap_or_default();
            if !lines.is_empty() {
                self.give(lines)?;
            }
        }
        Ok(())
    }

    /// Waits until something happens; whether it is output. What the program complains of is passed on.
    fn wait(&mut self, output: &File) -> Result<bool, Over> {
        let mut sources = vec![
            PollFd::new(&self.shared.wake, PollFlags::IN),
            PollFd::new(output, PollFlags::IN),
        ];
        sources.extend(self.complaints.pipe().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let time = if self.caught_up { IDLE } else { QUIET };
        // An interrupted wait is a short one.
        let _ = poll(&mut sources, Timespec::try_from(time).ok().as_ref());
        let is_due = |at: usize| sources.get(at).is_some_and(|source| !source.revents().is_empty());
        let (woken, has_output, complains) = (is_due(0), is_due(1), is_due(2));
        drop(sources);
        self.settle(woken)?;
        if complains {
            let texts = self.complaints.read();
            self.pass_on(texts)?;
        }
        Ok(has_output)
    }

    fn settle(&self, woken: bool) -> Result<(), Over> {
        if woken {
            let _ = rustix::io::read(self.shared.wake.as_fd(), &mut [0; 8]);
        }
        if self.shared.is_over() { Err(Over) } else { Ok(()) }
    }

    /// Tells a new receiver how things stand.
    fn greet(&mut self) -> Result<(), Over> {
        let (turn, wide) = {
            let seat = self.shared.seat();
            (seat.turn, seat.wide)
        };
        if turn == self.turn {
            return Ok(());
        }
        (self.turn, self.limits.wide) = (turn, wide);
        if let Some(error) = self.trouble.clone() {
            let path = Arc::clone(&self.path);
            self.tell(Report::Unreadable { path, error })?;
        }
        if self.caught_up {
            self.give(Lines::default())?;
        }
        Ok(())
    }

    /// Gives lines out. There is no place in this log, so what tells a line from others is what it says.
    fn give(&mut self, mut lines: Lines) -> Result<(), Over> {
        lines.number(|bytes| number_of(bytes));
        self.tell(Report::Chunk(Chunk {
            path: Arc::clone(&self.path),
            generation: self.generation,
            lines,
            mark: mark(&self.path, (Timestamp::default(), 0), 0),
            caught_up: self.caught_up,
            started: false,
        }))
    }

    fn pass_on(&mut self, texts: Vec<String>) -> Result<(), Over> {
        texts.into_iter().try_for_each(|text| {
            let path = Arc::clone(&self.path);
            self.tell(Report::Complaint { path, text })
        })
    }

    /// Waits for a receiver, and for a full one: it is the way to make the program wait.
    fn tell(&mut self, mut report: Report) -> Result<(), Over> {
        loop {
            let mut seat = self.shared.seat();
            let to = loop {
                if self.shared.is_over() {
                    return Err(Over);
                }
                if let Some(to) = &seat.to {
                    break to.clone();
                }
                let waited = self.shared.seated.wait(seat);
                seat = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
            };
            drop(seat);
            match to.send(report) {
                Ok(()) => return Ok(()),
                Err(back) => report = back.0,
            }
            std::thread::sleep(BUSY);
        }
    }

    /// The program is in order.
    fn recover(&mut self) -> Result<(), Over> {
        if self.trouble.take().is_some() {
            let path = Arc::clone(&self.path);
            self.tell(Report::Appeared { path })?;
        }
        Ok(())
    }

    /// Said once for each new reason.
    fn complain(&mut self, error: String) -> Result<(), Over> {
        if self.trouble.as_ref() == Some(&error) {
            return Ok(());
        }
        self.trouble = Some(error.clone());
        let path = Arc::clone(&self.path);
        self.tell(Report::Unreadable { path, error })
    }

    fn rest(&mut self, length: Duration) -> Result<(), Over> {
        let until = Instant::now() + length;
        loop {
            self.greet()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let mut sources = [PollFd::new(&self.shared.wake, PollFlags::IN)];
            let _ = poll(&mut sources, Timespec::try_from(left).ok().as_ref());
            let woken = !sources[0].revents().is_empty();
            self.settle(woken)?;
        }
    }
}

/// Since 1970, by the wall clock.
fn microseconds() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX >> 1)
}

/// Why standard input gives nothing more.
fn over(ran: &Ran) -> String {
    match &ran.outcome {
        Outcome::CouldNotStart(why) | Outcome::Refused(why) => why.clone(),
        _ => "standard input has ended; nothing more comes from it".to_owned(),
    }
}

/// Why the program ended, for people, and whether waiting a moment does not mend that.
fn explained(ran: &Ran, said: Option<&str>) -> (String, bool) {
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    match &ran.outcome {
        Outcome::CouldNotStart(why) | Outcome::Refused(why) => (why.clone(), true),
        Outcome::Exit(code) if NO_PROGRAM.contains(code) => {
            (format!("the program cannot be run (code {code}){said}"), true)
        }
        Outcome::Exit(code) => (format!("the program ended with code {code}{said}"), false),
        Outcome::Signal(signal) => (format!("the program was ended by signal {signal}{said}"), false),
        Outcome::TimedOut(_) => (format!("the program was ended{said}"), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let pauses: Vec<u128> = [1, 2, 3, 8, 9, 40]
            .map(|failures| pause(failures, FIRST_PAUSE, LONGEST_PAUSE).as_millis())
            .into();
        assert_eq!(pauses, [250, 500, 1000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn ends_are_explained() {
        let check = |outcome, said, expect: (&str, bool)| {
            let (why, is_hopeless) = explained(&Ran::nothing(outcome), said);
            assert_eq!((&*why, is_hopeless), expect);
        };
        let said = Some("\"no such container\"");
        check(
            Outcome::Exit(1),
            said,
            ("the program ended with code 1: \"no such container\"", false),
        );
        check(Outcome::Exit(0), None, ("the program ended with code 0", false));
        check(Outcome::Exit(127), None, ("the program cannot be run (code 127)", true));
        check(Outcome::Signal(9), None, ("the program was ended by signal 9", false));
        check(Outcome::Refused("why".into()), said, ("why", true));
    }
}
