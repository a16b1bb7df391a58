//! One open log file: how far it was read, how to know it again, and its next lines.
//!
//! Every read takes up to 64 bytes from before the position along and compares them with what was read there
//! before. A file that was truncated, or truncated and grown again, is thereby found out before any of its
//! bytes is taken for a continuation.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::mem;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;
use rustix::fs::OFlags;
use sha1::{Digest, Sha1};

use super::frame::Framer;
use super::{Ending, Limits, Lines};

/// How many bytes before a position are its fingerprint.
const TAIL: usize = 64;
/// How many bytes one read asks for.
const READ: usize = 128 << 10;
/// And where only one line is wanted.
const SHORT: usize = 4 << 10;
/// How many bytes are read at most before others get their turn, where they give no lines.
const TURN: u64 = 4 << 20;
/// A first line longer than this has no hash.
const HEAD: usize = 1 << 20;
/// After so long a silence the first line is hashed again before anything is read.
const SILENCE: Duration = Duration::from_secs(1);

/// What a directory entry or an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Nanoseconds since the epoch; 0 where the file system does not keep it.
    pub(crate) born: i64,
    /// Nanoseconds since the epoch.
    pub(crate) modified: i64,
    pub(crate) size: u64,
    /// How many names it has.
    pub(crate) links: u64,
}

impl Stat {
    /// From what the file system says of a regular file.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for everything that is no regular file.
    pub(crate) fn of(metadata: &Metadata) -> io::Result<Stat> {
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        Ok(Stat {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().map_or(0, nanoseconds),
            modified: seconds.saturating_add(metadata.mtime_nsec()),
            size: metadata.len(),
            links: metadata.nlink(),
        })
    }

    /// What stands at a path, symbolic links followed.
    pub(crate) fn at(path: &Path) -> io::Result<Stat> {
        Stat::of(&std::fs::metadata(path)?)
    }

    /// Whether both are the same file, not merely the same inode number used again.
    pub(crate) fn same(&self, other: &Stat) -> bool {
        (self.device, self.inode, self.born) == (other.device, other.inode, other.born)
    }

    /// Whether a mark could have been made in this file.
    pub(crate) fn may_hold(&self, mark: &Mark) -> bool {
        (self.device, self.inode) == (mark.device, mark.inode)
            && self.size >= mark.offset
            && self.born / 1000 <= mark.read_at.micros()
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |length| i64::try_from(length.as_nanos()).unwrap_or(i64::MAX))
}

/// The wall clock.
pub(crate) fn wall() -> Timestamp {
    Timestamp::from_micros(nanoseconds(SystemTime::now()) / 1000)
}

/// Room for one read, shared by all files of a reader.
pub(crate) struct Scratch(Vec<u8>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Scratch(vec![0; TAIL + READ])
    }
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The chunk is full; there may be more.
    Full,
    /// The end of the file.
    End,
    /// What was read before is no longer there; nothing was taken.
    Replaced(&'static str),
}

/// An open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    /// As it was when it was opened.
    pub(crate) stat: Stat,
    /// Whether it is a copy that nobody will write to.
    pub(crate) copy: bool,
    framer: Framer,
    /// The next byte to read.
    at: u64,
    /// The bytes before `at`.
    window: Vec<u8>,
    /// The byte after the last line given out.
    end: u64,
    /// The bytes before `end`.
    tail: Vec<u8>,
    /// The hash of the first line, once it was looked for.
    head: Option<String>,
    /// When its contents were last seen to be what they were.
    checked: Instant,
    /// The time of its last write, as last seen.
    touched: i64,
    /// When it was opened or begun anew, on the wall clock, or a little before.
    pub(crate) begun: Timestamp,
    /// When it was last read, on the wall clock, or a little before: what is written later was not read.
    seen: Timestamp,
    /// When it last grew.
    pub(crate) grown: Instant,
}

impl LogFile {
    /// Opens a regular file at its beginning; a FIFO or a device is refused without being touched.
    ///
    /// # Errors
    /// What the system says, or that it is no regular file.
    pub(crate) fn open(path: &Path) -> io::Result<LogFile> {
        Stat::at(path)?;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
            .open(path)?;
        let stat = Stat::of(&file.metadata()?)?;
        let now = Instant::now();
        Ok(LogFile {
            file,
            stat,
            copy: false,
            framer: Framer::default(),
            at: 0,
            window: Vec::new(),
            end: 0,
            tail: Vec::new(),
            head: None,
            checked: now,
            touched: stat.modified,
            begun: wall(),
            seen: wall(),
            grown: now,
        })
    }

    /// The open file, for a watch.
    pub(crate) fn handle(&self) -> &File {
        &self.file
    }

    /// As it is now.
    pub(crate) fn stat_now(&self) -> io::Result<Stat> {
        Stat::of(&self.file.metadata()?)
    }

    /// Whether no line of it was given out yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.end == 0
    }

    /// Whether there are bytes after the last newline.
    pub(crate) fn is_partial(&self) -> bool {
        self.framer.is_partial()
    }

    /// Whether it was written to or truncated since this was asked last.
    pub(crate) fn was_touched(&mut self) -> bool {
        let now = self.stat_now().map_or(0, |stat| stat.modified);
        mem::replace(&mut self.touched, now) != now
    }

    /// Whether nothing was written to it for so long.
    pub(crate) fn is_quiet(&self, quiet: Duration) -> bool {
        let modified = self.stat_now().map_or(i64::MAX, |stat| stat.modified / 1000);
        let idle = wall().micros().saturating_sub(modified);
        u128::try_from(idle).is_ok_and(|idle| idle >= quiet.as_micros())
    }

    /// Goes to an offset, at most to the end, as if the lines before it had been read.
    pub(crate) fn seek(&mut self, offset: u64) -> io::Result<()> {
        let offset = offset.min(self.stat_now()?.size);
        self.window = self.before(offset)?;
        self.tail.clone_from(&self.window);
        self.at = offset;
        self.end = offset;
        self.head = if offset > 0 { Some(self.first_line()?) } else { None };
        self.framer.clear(self.window.last() == Some(&b'\n'));
        self.checked = Instant::now();
        Ok(())
    }

    /// Goes behind what a mark tells of, if that stands in this file.
    pub(crate) fn go_to(&mut self, mark: &Mark) -> bool {
        // The file may be truncated between the comparison and the move, so both ends are compared.
        let there = self.contains(mark) && self.seek(mark.offset).is_ok() && self.end == mark.offset;
        let there = there && (mark.tail.is_empty() || hex(&self.tail) == mark.tail);
        if !there {
            self.restart();
        }
        there
    }

    /// Goes to the beginning, as if nothing had been read.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
        self.end = 0;
        self.begun = wall();
        self.window.clear();
        self.tail.clear();
        self.head = None;
        self.framer.clear(false);
    }

    /// Where it was read to.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            device: self.stat.device,
            inode: self.stat.inode,
            offset: self.end,
            head: self.head.clone().unwrap_or_default(),
            tail: if self.tail.is_empty() {
                String::new()
            } else {
                hex(&self.tail)
            },
            read_at: self.seen,
        }
    }

    /// Whether the bytes that a mark tells of stand in this file, wherever it came from.
    pub(crate) fn contains(&self, mark: &Mark) -> bool {
        let same = || -> io::Result<bool> {
            Ok(self.stat_now()?.size >= mark.offset
                && (mark.tail.is_empty() || hex(&self.before(mark.offset)?) == mark.tail)
                && (mark.head.is_empty() || self.first_line()? == mark.head))
        };
        same().unwrap_or(false)
    }

    /// Whether `other` begins with everything that stands in this file.
    pub(crate) fn is_beginning_of(&self, other: &LogFile) -> bool {
        let same = || -> io::Result<bool> {
            let size = self.stat_now()?.size;
            let first = size.min(4096);
            Ok(other.stat_now()?.size >= size
                && self.before(size)? == other.before(size)?
                && self.read(0, usize::try_from(first).unwrap_or(0))?
                    == other.read(0, usize::try_from(first).unwrap_or(0))?)
        };
        same().unwrap_or(false)
    }

    /// SHA-1 (hex) of the first line with its newline; empty while there is none.
    pub(crate) fn first_line(&self) -> io::Result<String> {
        let mut size = 512;
        loop {
            let bytes = self.read(0, size)?;
            if let Some(end) = memchr::memchr(b'\n', &bytes) {
                return Ok(hex(bytes.get(..=end).unwrap_or_default()));
            }
            if bytes.len() < size || size >= HEAD {
                return Ok(String::new());
            }
            size *= 8;
        }
    }

    /// Reads on until a chunk is full or the file ends; whole lines go to `out`.
    ///
    /// # Errors
    /// What the system says; nothing is lost by it.
    pub(crate) fn fill(&mut self, scratch: &mut Scratch, limits: &Limits, out: &mut Lines) -> io::Result<Fill> {
        match self.read_on(scratch, limits, out) {
            // What was framed before is given out first; the error is still there at the next read.
            Err(_) if !out.is_empty() => Ok(Fill::Full),
            result => result,
        }
    }

    fn read_on(&mut self, scratch: &mut Scratch, limits: &Limits, out: &mut Lines) -> io::Result<Fill> {
        let turn = self.at + TURN;
        let length = if limits.lines == 1 { SHORT } else { READ };
        loop {
            let now = wall();
            let before = self.window.len();
            let from = self.at.saturating_sub(before as u64);
            let room = scratch.0.get_mut(..before + length).unwrap_or_default();
            let got = retry(|| self.file.read_at(room, from))?;
            let bytes = room.get(..got).unwrap_or_default();
            if got < before {
                return Ok(self.replaced(out, "truncated"));
            }
            if bytes.get(..before) != Some(&*self.window) || !self.head_stands()? {
                return Ok(self.replaced(out, "contents replaced"));
            }
            self.seen = now;
            let taken = self.frame(bytes, before, limits, out);
            if before + taken < got || self.at > turn {
                return Ok(Fill::Full);
            }
            if got < before + length {
                return Ok(Fill::End);
            }
        }
    }

    /// The unterminated last line as it stands.
    pub(crate) fn finish(&mut self, out: &mut Lines) {
        self.framer.finish(self.at, Ending::File, out);
        self.end = self.at;
        self.tail.clone_from(&self.window);
    }

    /// Lines that were framed before the change was seen are given out first: the change is still there at the
    /// next read.
    fn replaced(&self, out: &Lines, reason: &'static str) -> Fill {
        if out.is_empty() {
            Fill::Replaced(reason)
        } else {
            Fill::Full
        }
    }

    fn head_stands(&mut self) -> io::Result<bool> {
        let known = self.head.as_ref().filter(|head| !head.is_empty());
        if let Some(head) = known
            && self.checked.elapsed() > SILENCE
            && self.first_line()? != *head
        {
            return Ok(false);
        }
        self.checked = Instant::now();
        Ok(true)
    }

    /// Frames what follows the first `before` bytes, and moves the position and both fingerprints.
    fn frame(&mut self, bytes: &[u8], before: usize, limits: &Limits, out: &mut Lines) -> usize {
        let fresh = bytes.get(before..).unwrap_or_default();
        let count = out.len();
        let taken = self.framer.push(fresh, self.at, limits, out);
        if taken == 0 {
            return 0;
        }
        if let Some(line) = out.last().filter(|_| out.len() > count) {
            let past = usize::try_from(line.end - self.at).unwrap_or(0);
            self.tail = last_bytes(bytes, before + past);
            self.end = line.end;
        }
        self.window = last_bytes(bytes, before + taken);
        self.at += taken as u64;
        self.grown = Instant::now();
        if self.head.is_none() && self.end > 0 {
            self.head = self.first_line().ok();
        }
        taken
    }

    /// The fingerprinted bytes before an offset.
    fn before(&self, offset: u64) -> io::Result<Vec<u8>> {
        let length = offset.min(TAIL as u64);
        self.read(offset - length, usize::try_from(length).unwrap_or(TAIL))
    }

    /// Up to `length` bytes from an offset; fewer at the end of the file.
    fn read(&self, mut offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut have = 0;
        while let Some(room) = bytes.get_mut(have..).filter(|room| !room.is_empty()) {
            let got = retry(|| self.file.read_at(room, offset))?;
            if got == 0 {
                break;
            }
            have += got;
            offset += got as u64;
        }
        bytes.truncate(have);
        Ok(bytes)
    }
}

/// The fingerprinted bytes before an index.
fn last_bytes(bytes: &[u8], index: usize) -> Vec<u8> {
    bytes
        .get(index.saturating_sub(TAIL)..index)
        .unwrap_or_default()
        .to_vec()
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// SHA-1 in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
