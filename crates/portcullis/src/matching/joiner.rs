//! Pieces of a log → the lines of one jail.
//!
//! The reader cuts at every newline byte. In UTF-16 such a byte may be half of a character, and a newline is two bytes:
//! there the pieces are put together until they end in one. A jail with another encoding that reads the same file gets
//! the NUL bytes back that the reader cut off.

use std::borrow::Cow;

use portcullis_core::encoding::Encoding;

use crate::source::{Ending, Line};

/// Longest line in bytes, as the reader has it; what is beyond is dropped. Even, so that code units stay whole.
const LONGEST: usize = 64 << 10;

/// The beginning of a line in one file.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    held: Vec<u8>,
    /// How long it is, with what was dropped
    length: u64,
    /// Its last two bytes
    last: [u8; 2],
    over: bool,
    /// Where in the file it begins, if anything before it was read
    begin: Option<u64>,
    /// Where the last piece ended
    at: Option<u64>,
}

/// A line, as it is to be decoded.
pub(super) struct Whole<'l> {
    /// In UTF-16 with its newline
    pub(super) bytes: Cow<'l, [u8]>,
    pub(super) truncated: bool,
}

impl<'l> Whole<'l> {
    /// A line that the reader cut where the jail would.
    pub(super) fn of(line: Line<'l>) -> Self {
        Whole {
            bytes: Cow::Borrowed(line.bytes),
            truncated: line.truncated,
        }
    }
}

impl Joiner {
    /// Whether a line has begun and not ended.
    pub(super) fn is_joining(&self) -> bool {
        self.length > 0
    }

    /// Where in the file that line begins; nothing where no line before it was read in this run.
    pub(super) fn begin(&self) -> Option<u64> {
        self.begin
    }

    /// Takes the next piece. Returns the line that it makes whole.
    pub(super) fn take<'l>(&mut self, encoding: Encoding, piece: Line<'l>) -> Option<Whole<'l>> {
        if !encoding.is_wide() && !self.is_joining() && piece.ending != Ending::Nul {
            return Some(Whole::of(piece));
        }
        // Where an earlier run read the file in another encoding, it may have come to the middle of a newline.
        if encoding.ends_line(b"\n\0") && !self.is_joining() && piece.ending == Ending::Nul {
            self.at = Some(piece.end);
            return None;
        }
        self.add(&piece);
        let whole = match piece.ending {
            Ending::File => true,
            Ending::Newline if !encoding.is_wide() => true,
            Ending::Newline | Ending::Nul => encoding.is_wide() && self.is_whole(encoding),
        };
        whole.then(|| self.finish())
    }

    fn add(&mut self, piece: &Line<'_>) {
        if !self.is_joining() {
            // Others come here with a NUL only.
            let is_nul = piece.ending == Ending::Nul;
            self.begin = if is_nul { piece.end.checked_sub(1) } else { self.at };
        }
        let end: &[u8] = match piece.ending {
            Ending::Newline => b"\n",
            Ending::Nul => b"\0",
            Ending::File => b"",
        };
        for part in [piece.bytes, end] {
            let room = LONGEST.saturating_sub(self.held.len());
            self.over |= part.len() > room;
            self.held.extend_from_slice(part.get(..room).unwrap_or(part));
            for byte in part.iter().rev().take(2).rev() {
                self.last = [self.last[1], *byte];
            }
        }
        let shown = (piece.bytes.len() + end.len()) as u64;
        // Of a piece that was cut the beginning tells how long it was.
        self.length += match self.at {
            Some(at) if piece.truncated => piece.end.saturating_sub(at),
            // What came before is not known; but lines begin at even places.
            None if piece.truncated => shown + (shown + piece.end) % 2,
            _ => shown,
        };
        self.over |= piece.truncated;
        self.at = Some(piece.end);
    }

    fn is_whole(&self, encoding: Encoding) -> bool {
        let mark = self.held.get(..2).filter(|_| self.length > 2).unwrap_or_default();
        self.length.is_multiple_of(2) && encoding.ends_line(&[mark, &self.last].concat())
    }

    fn finish(&mut self) -> Whole<'static> {
        let Joiner { held, over, at, .. } = std::mem::take(self);
        self.at = at;
        Whole {
            bytes: Cow::Owned(held),
            truncated: over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lines become that are cut from `text` as the reader does for a wide file.
    fn check(encoding: &str, text: &[u8], expect: &[&str], rest: bool) {
        let encoding = Encoding::named(encoding).unwrap();
        let (mut joiner, mut lines, mut begin) = (Joiner::default(), Vec::new(), 0);
        for (at, byte) in text.iter().enumerate() {
            let behind_newline = at == begin && at > 0 && text[at - 1] == b'\n';
            let ending = match byte {
                b'\n' => Ending::Newline,
                0 if behind_newline => Ending::Nul,
                _ => continue,
            };
            let piece = Line {
                bytes: &text[begin..at],
                end: at as u64 + 1,
                truncated: false,
                ending,
                entry: None,
            };
            begin = at + 1;
            let whole = joiner.take(encoding, piece);
            lines.extend(whole.map(|whole| encoding.line(&whole.bytes).text.into_owned()));
        }
        assert_eq!(
            (lines.as_slice(), joiner.is_joining()),
            (expect.map_owned().as_slice(), rest),
            "{text:x?}"
        );
    }

    trait Owned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl Owned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    fn little(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn big(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_be_bytes).collect()
    }

    #[test]
    fn newline_bytes_in_characters() {
        let text = "a\r\n\n上\u{a0a}\u{a00}\u{1280a}b\n\u{10a}\n";
        let lines = ["a", "", "上\u{a0a}\u{a00}\u{1280a}b", "\u{10a}"];
        check("utf-16-le", &little(text), &lines, false);
        check("utf-16-be", &big(text), &lines, false);
        check("utf-16", &little(text), &lines, false);
        check("utf-16", &little(&format!("\u{feff}{text}")), &lines, false);
        check("utf-16", &big("\u{feff}上\u{a0a}b\n"), &["上\u{a0a}b"], false);
    }

    #[test]
    fn a_line_waits_for_its_end() {
        check("utf-16-le", b"a\0\n", &[], true);
        check("utf-16-be", b"\0a\0\n\x0a\n", &["a"], true);
        check("utf-16-le", b"a\0\n\0\n\xd8\n", &["a"], true);
    }

    #[test]
    fn others_get_their_nul_bytes_back() {
        check(
            "utf-8",
            b"a\0\n\0b\0\n\0\n\0\0\n",
            &["a\0", "\0b\0", "\0", "\0\0"],
            false,
        );
        check("utf-8", b"a\n\0", &["a"], true);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let long = format!("{}\n", "上".repeat(LONGEST));
        let mut text = little(&long);
        text.extend(little("end\n"));
        check("utf-16-le", &text, &[&"上".repeat(LONGEST / 2), "end"], false);
    }
}
