//! LOG: the lines to be tried, from a file or from the command line itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_core::encoding::Encoding;
use portcullis_core::filter::{Filter, Prefilter, Reading};
use portcullis_core::time::{Clock, Timestamp};

use super::entries::{self, Entries};
use super::screen::Screen;
use crate::observe::words_of;

/// A longer line is cut: nobody's log has such, and it must not fill the memory.
const LONGEST: u64 = 16 << 20;
/// Lines of the command line that are shown.
const SHOWN: usize = 5;
/// The LOG that is standard input.
pub(super) const INPUT: &str = "-";
/// So often somebody who waits at a terminal is told how far it is.
const TELL: Duration = Duration::from_millis(500);

/// The lines of a log.
pub(crate) enum Lines {
    /// Of a file
    File(FileLines),
    /// Of the command line
    Text(std::vec::IntoIter<String>),
    /// Entries of the journal
    Journal(Box<Entries>),
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) enum Tested<'l> {
    /// A line, with its date somewhere in it
    Line(&'l str),
    /// When an entry was written, that as text, and its line
    Entry(Timestamp, &'l str, &'l str),
}

impl<'l> Tested<'l> {
    /// What a filter makes of it; the prefilter is of that filter alone.
    pub(crate) fn read(self, (filter, prefilter): (&mut Filter, &mut Prefilter), clock: Clock) -> Reading {
        let (Tested::Line(line) | Tested::Entry(_, _, line)) = self;
        prefilter.look(line.as_bytes());
        let candidates = prefilter.candidates(0);
        match self {
            Tested::Line(line) => filter.read(clock, false, line, candidates),
            Tested::Entry(at, date, line) => filter.read_entry(clock, false, (at, date), (line, candidates)),
        }
    }

    /// As it is shown.
    pub(crate) fn text(self) -> Cow<'l, str> {
        match self {
            Tested::Line(line) => line.into(),
            Tested::Entry(_, date, line) => format!("{date}{line}").into(),
        }
    }
}

/// The lines of a file, by bytes.
pub(crate) struct FileLines {
    reader: BufReader<File>,
    encoding: Encoding,
    bytes: Vec<u8>,
    done: u64,
    size: u64,
    told: Option<Instant>,
    /// Whether nothing more is written behind the end
    is_whole: bool,
}

/// Why a log cannot be read; the text is Fail2Ban's where it has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be opened.
    #[error("[Errno {}] {}: '{path}'", .error.raw_os_error().unwrap_or_default(), words_of(.error))]
    Open {
        /// The file
        path: String,
        /// Why
        error: io::Error,
    },
    /// The encoding is none of ours.
    #[error("ERROR: unknown encoding: {0}")]
    Encoding(String),
    /// The journal cannot be read so.
    #[error("ERROR: {0}")]
    Journal(String),
}

/// A text cut to what fits into a line of the output.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= 53 {
        return text.to_owned();
    }
    let head: String = text.chars().take(50).collect();
    format!("{head}...")
}

impl Lines {
    /// Opens LOG and says what it is, unless `quiet`. `buffered` is said of filters whose matches span lines.
    pub(crate) fn open<W: Write>(
        (log, matches): (&str, &[String]),
        encoding: &str,
        buffered: bool,
        quiet: bool,
        screen: &mut Screen<W>,
    ) -> io::Result<Result<Lines, Error>> {
        let mut say = |text: &str| if quiet { Ok(()) } else { screen.line(text) };
        if Path::new(log).is_file() {
            let opened = FileLines::open(log, encoding);
            if opened.is_ok() {
                say(&format!("Use         log file : {log}"))?;
                say(&format!("Use         encoding : {encoding}"))?;
            }
            return Ok(opened.map(Lines::File));
        }
        if entries::is_journal(log) {
            say("Use         systemd journal")?;
            say(&format!("Use         encoding : {encoding}"))?;
            let opened = Entries::open(log, matches, encoding);
            if opened.is_ok() && !matches.is_empty() {
                say(&format!("Use    journal match : {}", matches.join(" ")))?;
            }
            return Ok(opened.map(|entries| Lines::Journal(Box::new(entries))));
        }
        if !buffered && !log.contains('\n') {
            say(&format!("Use      single line : {}", short(log)))?;
            return Ok(Ok(Lines::Text(vec![log.to_owned()].into_iter())));
        }
        let lines: Vec<String> = log.split('\n').map(str::to_owned).collect();
        say(&format!("Use      multi line : {} line(s)", lines.len()))?;
        for (index, line) in lines.iter().take(SHOWN).enumerate() {
            say(&format!("| {:>2}: {}", index + 1, short(line)))?;
        }
        if lines.len() > SHOWN {
            say("| ...")?;
        }
        say("`-")?;
        Ok(Ok(Lines::Text(lines.into_iter())))
    }

    /// Standard input as LOG.
    pub(super) fn input<W: Write>(
        encoding: &str,
        quiet: bool,
        screen: &mut Screen<W>,
    ) -> io::Result<Result<Lines, Error>> {
        let opened = FileLines::input(encoding);
        if opened.is_ok() && !quiet {
            screen.line("Use   standard input")?;
            screen.line(&format!("Use         encoding : {encoding}"))?;
        }
        Ok(opened.map(Lines::File))
    }

    /// Hands each line that counts, without its line end, to `take`. Empty lines and comments are left out.
    pub(crate) fn each(mut self, mut take: impl FnMut(Tested<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut keep = |line: &str| {
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() || line.starts_with('#') {
                Ok(())
            } else {
                take(Tested::Line(line))
            }
        };
        match &mut self {
            Lines::Journal(entries) => {
                while let Some((at, date, line)) = entries.next()? {
                    take(Tested::Entry(at, &date, &line))?;
                }
                Ok(())
            }
            Lines::Text(lines) => lines.try_for_each(|line| keep(&line)),
            Lines::File(file) => {
                while file.next()? {
                    keep(&file.encoding.line(&file.bytes).text)?;
                }
                file.untell();
                Ok(())
            }
        }
    }
}

impl FileLines {
    fn open(path: &str, encoding: &str) -> Result<FileLines, Error> {
        let wrap = |error| Error::Open {
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(wrap)?;
        let size = file.metadata().map_err(wrap)?.len();
        Ok(FileLines {
            encoding: Encoding::named(encoding).map_err(|_| Error::Encoding(encoding.to_owned()))?,
            reader: BufReader::with_capacity(1 << 18, file),
            bytes: Vec::new(),
            done: 0,
            size,
            told: io::stderr().is_terminal().then(Instant::now),
            is_whole: false,
        })
    }

    fn input(encoding: &str) -> Result<FileLines, Error> {
        let wrap = |error| Error::Open {
            path: INPUT.to_owned(),
            error,
        };
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(wrap)?;
        Ok(FileLines {
            encoding: Encoding::named(encoding).map_err(|_| Error::Encoding(encoding.to_owned()))?,
            reader: BufReader::with_capacity(1 << 18, File::from(input)),
            bytes: Vec::new(),
            done: 0,
            size: 0,
            told: None,
            is_whole: true,
        })
    }

    /// Reads the next whole line. In a file, one without a line end is still being written: Fail2Ban leaves it, too.
    fn next(&mut self) -> io::Result<bool> {
        self.bytes.clear();
        while self.read_piece()? {
            if self.encoding.ends_line(&self.bytes) {
                return Ok(true);
            }
        }
        if self.bytes.len() as u64 == LONGEST {
            self.done += self.reader.skip_until(b'\n')? as u64;
            return Ok(true);
        }
        Ok(self.is_whole && !self.bytes.is_empty())
    }

    /// Reads on behind the next newline byte, and the NUL behind that where a newline takes two bytes. Returns whether
    /// there was one.
    fn read_piece(&mut self) -> io::Result<bool> {
        let room = LONGEST.saturating_sub(self.bytes.len() as u64);
        let had = self.bytes.len();
        let has_newline = self.take_piece(room)?;
        let is_half = has_newline && self.encoding.is_wide() && !self.encoding.ends_line(&self.bytes);
        if is_half && self.reader.fill_buf()?.first() == Some(&0) {
            self.reader.consume(1);
            self.bytes.push(0);
        }
        self.done += (self.bytes.len() - had) as u64;
        if self.told.is_some_and(|told| told.elapsed() > TELL) {
            self.told = Some(Instant::now());
            let percent = self.done * 100 / self.size.max(1);
            write!(io::stderr(), "\r{percent} %")?;
        }
        Ok(has_newline)
    }

    /// Takes the bytes up to the next newline byte, which is one of them, and at most so many. Returns whether there was one.
    fn take_piece(&mut self, mut room: u64) -> io::Result<bool> {
        loop {
            let there = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            let length = usize::try_from(room).map_or(there.len(), |room| there.len().min(room));
            let there = there.get(..length).unwrap_or_default();
            let newline = memchr::memchr(b'\n', there);
            let taken = newline.map_or(there.len(), |at| at + 1);
            self.bytes.extend_from_slice(there.get(..taken).unwrap_or_default());
            self.reader.consume(taken);
            room -= taken as u64;
            if newline.is_some() || taken == 0 {
                return Ok(newline.is_some());
            }
        }
    }

    fn untell(&self) {
        if self.told.is_some() {
            let _ = write!(io::stderr(), "\r      \r");
        }
    }
}
