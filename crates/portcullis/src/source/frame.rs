//! Bytes in pieces of any size → lines.
//!
//! Only the beginning of an unfinished line is kept, never more than the cap.

use super::{Ending, Limits, Line, Lines};

/// A log that was truncated under a writer that does not append gets a hole: its next line begins with as many
/// NUL bytes as the file was long. Up to three NULs are kept, because UTF-16 and UTF-32 have so many around a
/// newline.
const HOLE: u64 = 4;

/// The unfinished line at the end of what was pushed.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    held: Vec<u8>,
    zeros: u64,
    over: bool,
    /// Whether the byte before the unfinished line is a newline
    behind_newline: bool,
}

impl Framer {
    /// Whether there are bytes after the last newline.
    pub(crate) fn is_partial(&self) -> bool {
        !self.held.is_empty() || self.zeros > 0
    }

    /// Takes the bytes that stand at `offset`, and stops behind a newline when `out` has reached the limits of
    /// a chunk. Returns how many bytes were taken.
    pub(crate) fn push(&mut self, bytes: &[u8], offset: u64, limits: &Limits, out: &mut Lines) -> usize {
        let mut taken = 0;
        while out.len() < limits.lines && out.size() < limits.bytes {
            let Some(rest) = bytes.get(taken..) else { break };
            if limits.wide && self.behind_newline && !self.is_partial() && rest.first() == Some(&0) {
                taken += 1;
                self.finish(offset + taken as u64, Ending::Nul, out);
                continue;
            }
            let Some(length) = memchr::memchr(b'\n', rest) else {
                self.take(rest, limits);
                return bytes.len();
            };
            let part = rest.get(..length).unwrap_or_default();
            taken += length + 1;
            let end = offset + taken as u64;
            if !self.is_partial() && length <= limits.line && part.first() != Some(&0) {
                self.give(part, end, Ending::Newline, out);
            } else {
                self.take(part, limits);
                self.finish(end, Ending::Newline, out);
            }
        }
        taken
    }

    /// Gives out the line as it stands, ending at `end`.
    pub(crate) fn finish(&mut self, end: u64, ending: Ending, out: &mut Lines) {
        if self.held.is_empty() && self.zeros < HOLE {
            self.held.resize(usize::try_from(self.zeros).unwrap_or(0), 0);
        }
        let held = std::mem::take(&mut self.held);
        self.give(&held, end, ending, out);
        self.held = held;
        self.held.clear();
    }

    fn give(&mut self, bytes: &[u8], end: u64, ending: Ending, out: &mut Lines) {
        out.push(Line {
            bytes,
            end,
            truncated: self.over,
            ending,
            entry: None,
        });
        self.clear(ending == Ending::Newline);
    }

    /// Forgets the unfinished line. What comes next may stand behind a newline.
    pub(crate) fn clear(&mut self, behind_newline: bool) {
        self.held.clear();
        self.zeros = 0;
        self.over = false;
        self.behind_newline = behind_newline;
    }

    fn take(&mut self, mut part: &[u8], limits: &Limits) {
        if self.held.is_empty() {
            let zeros = leading_zeros(part);
            self.zeros += zeros as u64;
            part = part.get(zeros..).unwrap_or_default();
            if part.is_empty() {
                return;
            }
            // Of a hole in UTF-16 as much is left out as keeps what follows in step.
            let kept = match self.zeros {
                zeros if zeros < HOLE => zeros,
                zeros if limits.wide => zeros % 2,
                _ => 0,
            };
            self.held.resize(usize::try_from(kept).unwrap_or(0), 0);
        }
        let room = limits.line.saturating_sub(self.held.len());
        self.over |= part.len() > room;
        self.held.extend_from_slice(part.get(..room).unwrap_or(part));
    }
}

/// How many NULs a text begins with; a hole of gigabytes is passed by whole blocks.
fn leading_zeros(part: &[u8]) -> usize {
    const BLOCK: [u8; 4096] = [0; 4096];
    let blocks = part.chunks_exact(BLOCK.len()).take_while(|block| **block == BLOCK);
    let whole = blocks.count() * BLOCK.len();
    let rest = part.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|&&byte| byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(line: usize, lines: usize) -> Limits {
        Limits {
            line,
            lines,
            ..Limits::default()
        }
    }

    /// Pushes the pieces as the reader does: what was not taken is offered again.
    fn frame(pieces: &[&[u8]], limits: &Limits) -> (Lines, Framer) {
        let (mut framer, mut all, mut offset) = (Framer::default(), Lines::default(), 0);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let mut out = Lines::default();
                let taken = framer.push(rest, offset, limits, &mut out);
                assert!(taken > 0 && out.len() <= limits.lines);
                assert!(framer.held.len() <= limits.line);
                rest = &rest[taken..];
                offset += taken as u64;
                out.iter().for_each(|line| all.push(line));
            }
        }
        (all, framer)
    }

    fn check(bytes: &[u8], cap: usize, expect: &[(&[u8], u64, bool)]) {
        let (lines, _) = frame(&[bytes], &limits(cap, 512));
        let lines: Vec<(&[u8], u64, bool)> = lines.iter().map(|l| (l.bytes, l.end, l.truncated)).collect();
        assert_eq!(lines, expect);
    }

    #[test]
    fn lines_are_what_stands_between_newlines() {
        check(b"", 10, &[]);
        check(b"abc", 10, &[]);
        check(b"abc\n", 10, &[(b"abc", 4, false)]);
        check(
            b"a\r\n\nb\nrest",
            10,
            &[(b"a\r", 3, false), (b"", 4, false), (b"b", 6, false)],
        );
        check(b"123456\n12345\n", 5, &[(b"12345", 7, true), (b"12345", 13, false)]);
        check(b"a\0b\xff\n", 10, &[(b"a\0b\xff", 5, false)]);
    }

    #[test]
    fn in_a_wide_file_every_end_of_a_line_is_one() {
        let wide = Limits::default().of(true);
        let text = [b"a\0\n\0\0\n\n\0\0b".as_slice(), b"\0\n", b"\0", b"\0\0\0\0\0\0c\n"];
        let (lines, _) = frame(&text, &wide);
        let lines: Vec<(&[u8], u64, Ending)> = lines.iter().map(|l| (l.bytes, l.end, l.ending)).collect();
        let expect = [
            (b"a\0".as_slice(), 3, Ending::Newline),
            (b"", 4, Ending::Nul),
            (b"\0", 6, Ending::Newline),
            (b"", 7, Ending::Newline),
            (b"", 8, Ending::Nul),
            (b"\0b\0", 12, Ending::Newline),
            (b"", 13, Ending::Nul),
            (b"c", 21, Ending::Newline),
        ];
        assert_eq!(lines, expect);
    }

    #[test]
    fn a_hole_is_dropped_and_wide_characters_are_not() {
        check(b"\0\0\0\0\0\0ab\n", 10, &[(b"ab", 9, false)]);
        check(b"\0\0\0\0\0\0\n", 10, &[(b"", 7, false)]);
        check(b"\0a\0\n\0b\0\n", 10, &[(b"\0a\0", 4, false), (b"\0b\0", 8, false)]);
        check(b"\0\0\0\n", 10, &[(b"\0\0\0", 4, false)]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0u8), any::<u8>()], 0..400),
            cuts in prop::collection::vec(0usize..400, 0..12),
            cap in 4usize..40,
            lines in 1usize..9,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (whole, rest) = frame(&[&bytes], &limits(cap, 512));
            let (split, other) = frame(&pieces, &limits(cap, lines));
            prop_assert_eq!(&whole, &split);
            prop_assert_eq!(rest.is_partial(), other.is_partial());
            let ends: Vec<u64> = memchr::memchr_iter(b'\n', &bytes).map(|at| at as u64 + 1).collect();
            prop_assert_eq!(whole.iter().map(|line| line.end).collect::<Vec<_>>(), ends);
        }
    }
}
