//! What a program writes on its error output: told in the log, escaped, and not without end.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::source::frame::Framer;
use crate::source::{Ending, Limits, Lines};

/// So many lines are told in each [`WINDOW`]; the others are counted.
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// So many bytes of a line are told.
const LONGEST: usize = 300;
/// So much is read at once.
const PIECE: usize = 4096;

/// The error output of one program, over all its lives.
pub(super) struct Complaints {
    pipe: Option<File>,
    framer: Framer,
    limits: Limits,
    /// The last line that is not blank, quoted
    last: Option<String>,
    since: Instant,
    told: u32,
    left_out: u64,
}

impl Complaints {
    pub(super) fn new() -> Self {
        Complaints {
            pipe: None,
            framer: Framer::default(),
            limits: Limits {
                line: LONGEST,
                ..Limits::default()
            },
            last: None,
            since: Instant::now(),
            told: 0,
            left_out: 0,
        }
    }

    /// The program begins anew.
    pub(super) fn begin(&mut self, pipe: Option<OwnedFd>) {
        // A pipe that blocks could hold up the reading of the log.
        let pipe = pipe.filter(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok());
        self.pipe = pipe.map(File::from);
        self.framer = Framer::default();
        self.last = None;
    }

    pub(super) fn pipe(&self) -> Option<&File> {
        self.pipe.as_ref()
    }

    /// What it said last in this life.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Reads a piece of what is there; what is to be told of it.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut piece = [0; PIECE];
        let mut lines = Lines::default();
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut piece)) {
            Some(Ok(0)) | None => self.close(&mut lines),
            Some(Ok(length)) => self.frame(piece.get(..length).unwrap_or_default(), &mut lines),
            Some(Err(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Some(Err(_)) => self.close(&mut lines),
        }
        self.tell(lines, Instant::now())
    }

    /// Reads what is left when the program has ended.
    pub(super) fn finish(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        // A pipe holds no more than this.
        for _ in 0..=(64 << 10) / PIECE {
            if self.pipe.is_some() {
                all.extend(self.read());
            }
        }
        let mut lines = Lines::default();
        self.close(&mut lines);
        all.extend(self.tell(lines, Instant::now()));
        all
    }

    fn close(&mut self, lines: &mut Lines) {
        self.pipe = None;
        if self.framer.is_partial() {
            self.framer.finish(0, Ending::File, lines);
        }
    }

    fn frame(&mut self, mut bytes: &[u8], lines: &mut Lines) {
        while !bytes.is_empty() {
            let mut part = Lines::default();
            let taken = self.framer.push(bytes, 0, &self.limits, &mut part);
            bytes = bytes.get(taken..).unwrap_or_default();
            part.iter().for_each(|line| lines.push(line));
        }
    }

    /// What is said of these lines at this time; what was left out is said when the next window begins.
    fn tell(&mut self, lines: Lines, now: Instant) -> Vec<String> {
        let mut texts = Vec::new();
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.told) = (now, 0);
            if self.left_out > 0 {
                texts.push(format!(
                    "{} lines more were left out",
                    std::mem::take(&mut self.left_out)
                ));
            }
        }
        for line in lines.iter() {
            let text = String::from_utf8_lossy(line.bytes);
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let more = if line.truncated { " …" } else { "" };
            let quoted = format!("{text:?}{more}");
            if self.told < MOST {
                self.told += 1;
                texts.push(quoted.clone());
            } else {
                self.left_out += 1;
            }
            self.last = Some(quoted);
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_are_escaped_cut_and_counted() {
        let (read, mut write) = std::io::pipe().unwrap();
        let mut complaints = Complaints::new();
        complaints.begin(Some(read.into()));
        assert_eq!(complaints.read(), [""; 0], "nothing waits");
        write
            .write_all(b"first \x1b[31m\n\n  \nno such container\r\nhalf")
            .unwrap();
        assert_eq!(complaints.read(), ["\"first \\u{1b}[31m\"", "\"no such container\""]);
        write.write_all(&[b'x'; 2000]).unwrap();
        drop(write);
        let cut = format!("\"half{}\" …", "x".repeat(LONGEST - 4));
        assert_eq!(complaints.finish(), std::slice::from_ref(&cut));
        assert_eq!(complaints.last(), Some(&*cut));
        let lines = |count: usize| {
            let mut framed = Lines::default();
            Framer::default().push(&b"again\n".repeat(count), 0, &Limits::default(), &mut framed);
            framed
        };
        let now = Instant::now();
        assert_eq!(complaints.tell(lines(30), now).len(), 7, "three were told before");
        assert_eq!(complaints.tell(lines(5), now), [""; 0]);
        let told = complaints.tell(lines(1), now + WINDOW);
        assert_eq!(told, ["28 lines more were left out", "\"again\""]);
    }
}
