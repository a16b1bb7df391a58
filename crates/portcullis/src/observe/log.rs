//! The log, in Fail2Ban's line format byte for byte (contract §8.7), because its `recidive` jail and people's
//! scripts read it.
//!
//! Lines come in through the `log` crate, the logger's name as the target, or through [`note`] for the two
//! levels which that crate does not have. They go to a file, a standard stream, the system log or the journal. A target that
//! fails never stops the caller: lost lines are counted, and the next line that gets through is preceded by
//! their number. Control characters are written as `\x1b`, so that no captured text can drive the terminal of
//! whoever reads the log, nor begin a line of its own.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use jiff::Zoned;

mod shape;
mod target;

use shape::harmless;
use target::Place;
pub(crate) use target::{Target, unknown_facility};

/// Lines that come together are written in pieces of about so many bytes.
const PIECE: usize = 64 * 1024;

static INSTALLED: OnceLock<Log> = OnceLock::new();

/// Fail2Ban's levels; the higher, the graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// 5
    HeavyDebug,
    /// 7
    TraceDebug,
    /// 10
    Debug,
    /// 18
    Msg,
    /// 20
    Info,
    /// 25: bans and unbans
    Notice,
    /// 30
    Warning,
    /// 40
    Error,
    /// 50
    Critical,
}

impl Level {
    const ALL: [(Level, &'static str, &'static str, u8); 9] = [
        (Level::HeavyDebug, "HEAVYDEBUG", "HEAVY", 5),
        (Level::TraceDebug, "TRACEDEBUG", "TRACE", 7),
        (Level::Debug, "DEBUG", "DEBUG", 10),
        (Level::Msg, "MSG", "MSG", 18),
        (Level::Info, "INFO", "INFO", 20),
        (Level::Notice, "NOTICE", "NOTICE", 25),
        (Level::Warning, "WARNING", "WARNING", 30),
        (Level::Error, "ERROR", "ERROR", 40),
        (Level::Critical, "CRITICAL", "CRITICAL", 50),
    ];

    fn row(self) -> (&'static str, u8) {
        let found = Level::ALL.iter().find(|row| row.0 == self);
        found.map_or(("INFO", 20), |row| (row.2, row.3))
    }

    /// As a line names it.
    pub(crate) fn name(self) -> &'static str {
        self.row().0
    }

    /// Its number: lines below the number of `loglevel` are not written.
    pub(crate) fn number(self) -> u8 {
        self.row().1
    }

    /// The number of a `loglevel`: one of the names in any case, or a number.
    ///
    /// # Errors
    /// [`Error::Level`].
    pub(crate) fn threshold(text: &str) -> Result<u8, Error> {
        let named = Level::ALL.iter().find(|row| row.1.eq_ignore_ascii_case(text));
        let number = named.map(|row| row.3).or_else(|| text.parse().ok());
        number.ok_or_else(|| Error::Level(text.to_owned()))
    }

    /// As Fail2Ban ranks them for the system log; a name that Python's handler does not know is a warning.
    fn severity(self) -> u8 {
        match self {
            Level::Critical => 2,
            Level::Error => 3,
            Level::Notice => 5,
            Level::Info => 6,
            Level::Debug => 7,
            Level::Warning | Level::Msg | Level::TraceDebug | Level::HeavyDebug => 4,
        }
    }
}

impl Level {
    /// As Python's handler ranks them for the journal: by the next of its own levels.
    fn priority(self) -> u8 {
        match self.number() {
            0..=10 => 7,
            11..=20 => 6,
            21..=30 => 4,
            31..=40 => 3,
            _ => 2,
        }
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Level {
        match level {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warning,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::TraceDebug,
        }
    }
}

/// Why a log target or level cannot be had; what was in force before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not writable.
    #[error("Unable to log to {target:?}: {source}")]
    Target {
        /// The file or socket
        target: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The option `format` cannot be read.
    #[error(
        "the log's format cannot be read from {0:?} on: it may have asctime, created, levelname, levelno, message, \
             msecs, name, process, relativeCreated, as %(name)-24s or %(process)d"
    )]
    Format(String),
    /// No level.
    #[error("Invalid log level {0:?}")]
    Level(String),
}

/// A line to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How loud
    pub(crate) level: Level,
    /// Which part of Fail2Ban says so
    pub(crate) logger: &'static str,
    /// The text
    pub(crate) text: String,
}

/// The open log.
#[derive(Debug)]
pub(crate) struct Log {
    threshold: AtomicU8,
    output: Mutex<Output>,
}

#[derive(Debug)]
struct Output {
    target: Target,
    sink: Sink,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// The last write stopped within a line.
    torn: bool,
}

#[derive(Debug)]
enum Sink {
    File(File),
    Stdout,
    Stderr,
    Socket(UnixDatagram),
}

impl Log {
    /// Opens the target; lines below the level of number `threshold` are dropped.
    ///
    /// # Errors
    /// [`Error::Target`].
    pub(crate) fn open(target: Target, threshold: u8) -> Result<Log, Error> {
        let sink = Sink::open(&target.place)?;
        Ok(Log {
            threshold: AtomicU8::new(threshold),
            output: Mutex::new(Output {
                target,
                sink,
                lost: 0,
                torn: false,
            }),
        })
    }

    /// One on standard error, of lines from this level on.
    pub(crate) fn to_stderr(threshold: Level) -> Log {
        Log {
            threshold: AtomicU8::new(threshold.number()),
            output: Mutex::new(Output {
                target: Target::stderr(),
                sink: Sink::Stderr,
                lost: 0,
                torn: false,
            }),
        }
    }

    /// Makes it the log of the process, for the `log` crate's macros and for [`note`].
    ///
    /// # Errors
    /// If there is one already.
    pub(crate) fn install(self) -> Result<&'static Log, log::SetLoggerError> {
        let log = INSTALLED.get_or_init(|| self);
        log::set_logger(log)?;
        log::set_max_level(log::LevelFilter::Trace);
        Ok(log)
    }

    /// Changes the level.
    pub(crate) fn set_threshold(&self, threshold: u8) {
        self.threshold.store(threshold, Ordering::Relaxed);
    }

    /// Changes the target; the former one stays if the new one cannot be opened.
    ///
    /// # Errors
    /// [`Error::Target`].
    pub(crate) fn retarget(&self, target: Target) -> Result<(), Error> {
        let sink = Sink::open(&target.place)?;
        let mut output = self.output();
        output.target = target;
        output.sink = sink;
        output.torn = false;
        Ok(())
    }

    /// Closes and opens the target again: after log rotation (`flushlogs`, SIGUSR1).
    ///
    /// # Errors
    /// [`Error::Target`]; what is open stays so.
    pub(crate) fn reopen(&self) -> Result<(), Error> {
        let target = self.output().target.clone();
        self.retarget(target)
    }

    /// Where it goes, for people.
    pub(crate) fn place(&self) -> String {
        self.output().target.place.to_string()
    }

    /// Writes one line.
    pub(crate) fn write(&self, level: Level, logger: &str, message: &str) {
        if level.number() < self.threshold.load(Ordering::Relaxed) {
            return;
        }
        self.output().write(&Zoned::now(), level, logger, message);
    }

    /// Writes lines that come together, with one stamp and few writes.
    pub(crate) fn write_all(&self, lines: impl Iterator<Item = Line>) {
        let threshold = self.threshold.load(Ordering::Relaxed);
        let mut lines = lines.filter(|line| line.level.number() >= threshold).peekable();
        if lines.peek().is_some() {
            self.output().write_all(&Zoned::now(), lines);
        }
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        // A thread that panicked while it wrote leaves at worst a torn line behind.
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether lines of this level are written.
pub(crate) fn is_told(level: Level) -> bool {
    let threshold = |log: &Log| log.threshold.load(Ordering::Relaxed);
    INSTALLED.get().is_some_and(|log| level.number() >= threshold(log))
}

/// Writes one line to the log of the process; before [`Log::install`] it goes nowhere.
pub(crate) fn note(level: Level, logger: &str, message: &str) {
    if let Some(log) = INSTALLED.get() {
        log.write(level, logger, message);
    }
}

/// Writes lines that come together, as [`note`] does one.
pub(crate) fn notes(lines: impl Iterator<Item = Line>) {
    if let Some(log) = INSTALLED.get() {
        log.write_all(lines);
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        is_ours(metadata.target()) && Level::from(metadata.level()).number() >= self.threshold.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.write(record.level().into(), record.target(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Whether a line comes from this program. Libraries have lines of their own at level DEBUG, about handshakes and
/// proxies with their passwords; whoever wants to see what portcullis does finds nothing in them.
fn is_ours(logger: &str) -> bool {
    ["fail2ban", "portcullis"].iter().any(|ours| logger.starts_with(ours))
}

impl Output {
    fn write(&mut self, now: &Zoned, level: Level, logger: &str, message: &str) {
        if self.lost > 0 {
            let loss = format!("{} log message(s) were lost: the log could not be written", self.lost);
            if self.put(now, Level::Error, "fail2ban.server", &loss).is_ok() {
                self.lost = 0;
            }
        }
        if self.lost > 0 || self.put(now, level, logger, message).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    fn write_all(&mut self, now: &Zoned, lines: impl Iterator<Item = Line>) {
        let mut piece = String::new();
        let mut head = None;
        for Line { level, logger, text } in lines {
            // What must be told apart goes by itself: a datagram, and the first line after a loss.
            if matches!(self.sink, Sink::Socket(_)) || self.lost > 0 || self.torn {
                self.write(now, level, logger, &text);
                continue;
            }
            let shape = &self.target.shape;
            if head.as_ref().is_none_or(|(of, _)| *of != (level, logger)) {
                head = Some(((level, logger), shape.head(now, level, logger)));
            }
            match &head {
                Some((_, Some(head))) => {
                    piece.push_str(head);
                    piece.push_str(&harmless(&text));
                }
                _ => piece.push_str(&shape.line(now, level, logger, &text)),
            }
            piece.push('\n');
            if piece.len() >= PIECE {
                self.put_piece(&std::mem::take(&mut piece));
            }
        }
        self.put_piece(&piece);
    }

    /// Writes whole lines; those that do not get out are counted.
    fn put_piece(&mut self, lines: &str) {
        let (done, result) = self.sink.write(lines.as_bytes());
        if result.is_err() {
            let (out, rest) = lines.as_bytes().split_at(done);
            self.torn = out.last().is_some_and(|byte| *byte != b'\n');
            let ends = rest.iter().filter(|byte| **byte == b'\n').count();
            self.lost = self.lost.saturating_add(u64::try_from(ends).unwrap_or(u64::MAX));
        }
    }

    fn put(&mut self, now: &Zoned, level: Level, logger: &str, message: &str) -> io::Result<()> {
        let target = &self.target;
        let mut text = match &target.place {
            Place::Journal(path) => return self.sink.send(path, &entry(level, logger, message)),
            Place::Syslog(path, facility) => {
                let text = target.shape.line(now, level, logger, message);
                // One datagram a line, with a closing NUL as Python's handler sends it.
                let datagram = format!("<{}>{text}\0", facility * 8 + level.severity());
                return self.sink.send(path, datagram.as_bytes());
            }
            _ => target.shape.line(now, level, logger, message),
        };
        text.push('\n');
        if self.torn {
            text.insert(0, '\n');
        }
        let (done, result) = self.sink.write(text.as_bytes());
        if done > 0 {
            self.torn = result.is_err();
        }
        result
    }
}

impl Sink {
    fn open(place: &Place) -> Result<Sink, Error> {
        let fail = |path: &Path, source| Error::Target {
            target: path.to_owned(),
            source,
        };
        match place {
            Place::Stdout => Ok(Sink::Stdout),
            Place::Stderr => Ok(Sink::Stderr),
            Place::File(path) => open_file(path).map(Sink::File).map_err(|error| fail(path, error)),
            Place::Syslog(path, _) | Place::Journal(path) => {
                connect(path).map(Sink::Socket).map_err(|error| fail(path, error))
            }
        }
    }

    /// How many bytes went out, and what stopped the rest.
    fn write(&mut self, mut bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while !bytes.is_empty() {
            let result = match self {
                Sink::File(file) => file.write(bytes),
                // Unbuffered, so that nothing is held back and a failure is seen at its own line.
                Sink::Stdout => rustix::io::write(io::stdout(), bytes).map_err(io::Error::from),
                Sink::Stderr => rustix::io::write(io::stderr(), bytes).map_err(io::Error::from),
                Sink::Socket(socket) => socket.send(bytes),
            };
            match result {
                Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    done += count;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Sends one datagram; a system log that was restarted has a new socket under the same path.
    fn send(&mut self, path: &Path, datagram: &[u8]) -> io::Result<()> {
        let Sink::Socket(socket) = self else {
            return Ok(());
        };
        match socket.send(datagram) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                *socket = connect(path)?;
                socket.send(datagram).map(drop)
            }
        }
    }
}

/// A message in the journal's native protocol; Fail2Ban's handler gives it no format either.
fn entry(level: Level, logger: &str, message: &str) -> Vec<u8> {
    let (priority, message) = (level.priority(), harmless(message));
    format!("SYSLOG_IDENTIFIER=fail2ban\nPRIORITY={priority}\nLOGGER={logger}\nMESSAGE={message}\n").into_bytes()
}

/// Opens for appending. A new file is 0640 whatever the umask says; an old one keeps its mode.
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o640);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            file.set_permissions(Permissions::from_mode(0o640))?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(path),
        Err(error) => Err(error),
    }
}

/// Never waits: a system log that does not read loses lines, not the daemon.
fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
