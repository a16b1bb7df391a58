//! Matches that span lines: the last `maxlines` lines, and which of them a match used up (contract §13.6).

use crate::pattern::Found;

/// A line in the window, split around its date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffered {
    /// What stands before the date
    pub before: String,
    /// The date
    pub date: String,
    /// What stands after it
    pub after: String,
}

impl Buffered {
    /// The line as it was read.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("{}{}{}", self.before, self.date, self.after)
    }

    /// The line without its date.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.before, self.after)
    }
}

/// Memory for the lines of one jail: they are searched anew at each line, and whoever writes the log chooses how long
/// they are.
const MOST_BYTES: usize = 16 << 20;

/// The last lines of a jail whose matches span lines.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) lines: Vec<Buffered>,
    most: usize,
}

impl Window {
    /// A window of at most this many lines.
    pub(super) fn new(most: usize) -> Self {
        Window {
            lines: Vec::new(),
            most,
        }
    }

    /// Whether the next line pushes one out.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= self.most
    }

    /// Takes a line in; the oldest goes. True where more had to go than `maxlines` asks for (D-050).
    pub(super) fn push(&mut self, line: Buffered) -> bool {
        self.lines.push(line);
        let mut bytes = 0;
        let room = |line: &&Buffered| {
            bytes += line.before.len() + line.date.len() + line.after.len() + size_of::<Buffered>();
            bytes <= MOST_BYTES
        };
        let kept = self.lines.iter().rev().take(self.most);
        let (most, kept) = (kept.len(), kept.take_while(room).count());
        self.lines.drain(..self.lines.len() - kept);
        kept < most
    }
}

/// What patterns are searched in: the lines without their dates.
pub(super) fn joined(lines: &[Buffered]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&line.before);
        text.push_str(&line.after);
    }
    text.push('\n');
    text
}

/// A window after a match.
pub(super) struct Cut {
    /// The lines of the match, without those that it skipped
    pub(super) matched: Vec<Buffered>,
    /// All others, which later matches may use
    pub(super) rest: Vec<Buffered>,
}

/// Says which lines a match used up.
pub(super) fn cut(found: &Found<'_>, text: &str, lines: &[Buffered]) -> Cut {
    if lines.len() <= 1 {
        return Cut {
            matched: lines.to_vec(),
            rest: Vec::new(),
        };
    }
    let (first, last) = lines_of(text, found.start(), found.end());
    let last = last.min(lines.len());
    let first = first.min(last);
    let mut matched = lines.get(first..last).unwrap_or_default().to_vec();
    let mut rest = lines.get(..first).unwrap_or_default().to_vec();
    let mut from = 0;
    for skipped in skipped(found) {
        let place = matched.iter().skip(from).position(|line| line.text() == skipped);
        if let Some(place) = place {
            from += place;
            rest.push(matched.remove(from));
        }
    }
    rest.extend_from_slice(lines.get(last..).unwrap_or_default());
    Cut { matched, rest }
}

/// The numbers of the first line of a match and of the line after its last.
fn lines_of(text: &str, start: usize, end: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let count = |part: &[u8]| part.iter().filter(|byte| **byte == b'\n').count();
    let head = bytes.get(..(start + 1).min(bytes.len())).unwrap_or_default();
    // A match that ends at 0 makes Fail2Ban look from the end of the text.
    let from = end.checked_sub(1).unwrap_or_else(|| bytes.len().saturating_sub(1));
    let tail = bytes.get(from..).unwrap_or_default();
    let close = tail
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |at| from + at + 1);
    (count(head), count(bytes.get(..close).unwrap_or_default()))
}

/// The lines that `<SKIPLINES>` stands for.
fn skipped(found: &Found<'_>) -> Vec<String> {
    let mut text = String::new();
    for number in 0.. {
        let name = format!("skiplines{number}");
        let Some((_, group)) = found.groups().find(|(own, _)| ***own == *name) else {
            break;
        };
        text.push_str(group.unwrap_or_default());
    }
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let text = text.replace("\r\n", "\n");
    let mut lines: Vec<String> = text.split(ends).map(str::to_owned).collect();
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}
