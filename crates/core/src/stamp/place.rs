//! Where in a line a date was found, counted in characters, and what stands around it.

use super::Found;
use super::letter;
use super::mask::Mask;

/// The last match; places are counted in characters, as lines before and after may hold others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) index: usize,
    pub(super) start: usize,
    before: Option<char>,
    first: char,
    pub(super) end: usize,
    final_char: Option<char>,
    after: Option<char>,
}

/// A match of one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    pub(super) index: usize,
    /// In characters.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) found: Found,
}

impl Match {
    pub(super) fn new(index: usize, line: &str, found: Found) -> Match {
        Match {
            index,
            start: characters(line, found.from),
            end: characters(line, found.to),
            found,
        }
    }

    /// The match that a search of the line would give, as its text fits the mask.
    pub(super) fn of_mask(mask: &Mask, index: usize, line: &str, limit: usize) -> Option<Match> {
        let (from, to) = mask.group(0)?;
        let (start, end) = mask.group(1).unwrap_or((0, 0));
        let found = Found {
            start,
            end,
            template: mask.template,
            from,
            to,
            limit,
            beyond_end: false,
            mask: mask.serial,
        };
        Some(Match::new(index, line, found))
    }
}

impl Last {
    /// The place of a match; `None` if it begins at the end of the line.
    pub(super) fn new(line: &str, found: &Match) -> Option<Last> {
        let start = byte_of(line, found.start);
        let end = byte_of(line, found.end);
        let first = line.get(start..)?.chars().next()?;
        let before = line.get(..start)?.chars().next_back();
        // A match that ends at 0 makes Fail2Ban take the last character of the line here.
        let head = if found.end == 0 { line } else { line.get(..end)? };
        Some(Last {
            index: found.index,
            start: found.start,
            before,
            first,
            end: found.end,
            final_char: head.chars().next_back(),
            after: line.get(end..)?.chars().next(),
        })
    }

    /// The same place, its template having risen.
    pub(super) fn moved_to(self, index: usize) -> Last {
        Last { index, ..self }
    }

    /// The last place in another line, in bytes, if its borders look the same: equal outside, or inside equal and
    /// no letter or digit.
    pub(super) fn part(&self, line: &str) -> Option<(usize, usize)> {
        let (start, end) = (byte_of(line, self.start), byte_of(line, self.end));
        let (head, tail) = (line.get(..start)?, line.get(start..)?);
        // Beyond the end of a short line there is nothing on either side.
        let within = line.len() > start || characters(line, start) == self.start;
        let before = head.chars().next_back().filter(|_| within && self.start > 0);
        let first = tail.chars().next();
        let left = before == self.before || (first == Some(self.first) && !letter::is_alphanumeric(self.first));
        let within = line.len() > end || characters(line, end) == self.end;
        let final_char = line.get(..end)?.chars().next_back().filter(|_| within && self.end > 0);
        let after = line.get(end..)?.chars().next();
        let same_end = final_char.is_some() && final_char == self.final_char;
        let right = after == self.after || (same_end && !self.final_char.is_some_and(letter::is_alphanumeric));
        (left && right).then_some((start, end))
    }
}

/// The number of characters before a byte.
fn characters(line: &str, byte: usize) -> usize {
    match line.get(..byte) {
        Some(head) if !head.is_ascii() => head.chars().count(),
        _ => byte,
    }
}

/// The byte where a character begins; the length of the line if there are fewer.
fn byte_of(line: &str, character: usize) -> usize {
    match line.as_bytes().get(..character) {
        Some(head) if head.is_ascii() => character,
        _ => line.char_indices().nth(character).map_or(line.len(), |(byte, _)| byte),
    }
}
