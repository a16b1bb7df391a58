//! From log files to lines: one thread frames the raw bytes of all of them. [`journal`]: the same of systemd's journal;
//! [`output`]: of programs, and of standard input.
//!
//! In goes a list of paths with the place to begin at ([`Follow`]); out come [`Report`]s, one bounded channel a
//! path. Nothing here knows about encodings, dates or jails: a line is the bytes between two newlines, and
//! whoever reads UTF-16 puts them together. What is promised is that every line that survives in the file, in a renamed generation or in a copy of it comes
//! exactly once and in order, also when the reader was stopped while the file was rotated.

mod file;
mod follower;
mod frame;
pub(crate) mod journal;
mod late;
mod lines;
pub(crate) mod output;
mod reader;
mod rotation;
mod sibling;
mod turns;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use portcullis_core::ledger::Mark;

pub(crate) use lines::{Line, Lines};
pub(crate) use reader::Reader;

/// Where a line was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At a newline, which is not in its bytes
    Newline,
    /// At the NUL behind a newline, alone: only where [`Follow::wide`] asks for it
    Nul,
    /// At the end of a file that was replaced
    File,
}

/// Lines that stand one after the other in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The path as it was asked for, whatever the file is called by now.
    pub(crate) path: Arc<str>,
    /// Grows with each further file read under that path. A chunk with an older generation than the one
    /// before holds lines that a late writer put into the file that was rotated away.
    pub(crate) generation: u64,
    /// The lines; none where only `caught_up` is news.
    pub(crate) lines: Lines,
    /// Where to begin again after these lines. It may name a rotated file or a copy.
    pub(crate) mark: Mark,
    /// Whether the end of the newest file was reached.
    pub(crate) caught_up: bool,
    /// Whether the first of these lines is the first of its file.
    pub(crate) started: bool,
}

/// What the receiver of a path is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Lines
    Chunk(Chunk),
    /// There is no such file at present; it is waited for.
    Missing {
        /// The path
        path: Arc<str>,
    },
    /// The file that was missing or unreadable is there.
    Appeared {
        /// The path
        path: Arc<str>,
    },
    /// The file was renamed, truncated or replaced.
    Rotated {
        /// The path
        path: Arc<str>,
        /// What was seen, as a lower-case fragment
        reason: &'static str,
        /// Whether the place that was read last was found again. Where it is false, lines that were written
        /// after it are gone or compressed.
        complete: bool,
    },
    /// The program that prints a journal, or is the log, ended; it is started again.
    Interrupted {
        /// The log
        path: Arc<str>,
        /// Why, as a sentence without its stop
        why: String,
    },
    /// What the program that is the log wrote on its error output.
    Complaint {
        /// The log
        path: Arc<str>,
        /// The line, quoted
        text: String,
    },
    /// The file cannot be read; said once for each new reason, and retried.
    Unreadable {
        /// The path
        path: Arc<str>,
        /// Why, as a lower-case fragment
        error: String,
    },
}

/// Where in a file to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// After the lines that were read before. Parts that are not known are not compared: inode 0, an empty head
    /// or an empty tail, as in a position that Fail2Ban stored (contract §6.2).
    Mark(Mark),
    /// At the first byte.
    Start,
    /// At the present end (`tail`).
    End,
}

/// An order to follow one path.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    /// The path, absolute. A second order for the same path takes the place of the first.
    pub(crate) path: Arc<str>,
    /// Where to begin.
    pub(crate) from: From,
    /// Who gets the reports. While it is full, this path waits and others go on; when the other end is
    /// dropped, the path is no longer followed.
    pub(crate) to: SyncSender<Report>,
    /// Whether somebody reads the file as UTF-16, where a newline byte may be half of a character and a newline is
    /// two bytes. A NUL behind a newline is a line of its own then, so that every place where a line may end, for
    /// whatever encoding, is the end of one.
    pub(crate) wide: bool,
}

/// The caps and times of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Longest line in bytes, at least 4; what is beyond is dropped up to the newline.
    pub(crate) line: usize,
    /// Most lines in a chunk.
    pub(crate) lines: usize,
    /// Most bytes in a chunk, but for its last line.
    pub(crate) bytes: usize,
    /// How often everything is looked at, because not every file system tells of changes.
    pub(crate) poll: Duration,
    /// For how long a file that was replaced must be quiet before its unterminated last line is taken as it is.
    pub(crate) quiet: Duration,
    /// For how long a file that was replaced is watched for late writers, from its last growth.
    pub(crate) grace: Duration,
    /// As [`Follow::wide`]; each path has its own.
    pub(crate) wide: bool,
}

impl Limits {
    /// For one path.
    fn of(self, wide: bool) -> Limits {
        Limits { wide, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line: 64 << 10,
            lines: 2048,
            bytes: 512 << 10,
            poll: Duration::from_secs(2),
            quiet: Duration::from_secs(1),
            grace: Duration::from_secs(60),
            wide: false,
        }
    }
}
