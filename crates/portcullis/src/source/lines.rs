//! The lines of a chunk, in one piece of memory.

use std::ops::Range;

use super::Ending;
use super::journal::Entry;

/// One line of a log, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'l> {
    /// The bytes without the newline; a carriage return stays (contract §3.3 strips it after decoding).
    pub(crate) bytes: &'l [u8],
    /// The offset in its file after its newline.
    pub(crate) end: u64,
    /// Whether the line was longer than the longest ([`Limits::line`](super::Limits)), and was cut there.
    pub(crate) truncated: bool,
    /// What it ends in.
    pub(crate) ending: Ending,
    /// The entry of a journal that it is made of; its bytes are empty then, and its end tells entries apart
    pub(crate) entry: Option<&'l Entry>,
}

/// Lines one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    text: Vec<u8>,
    list: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    range: Range<usize>,
    end: u64,
    truncated: bool,
    ending: Ending,
    entry: Option<Box<Entry>>,
}

impl Lines {
    /// Adds a line.
    pub(crate) fn push(&mut self, line: Line<'_>) {
        let start = self.text.len();
        self.text.extend_from_slice(line.bytes);
        self.list.push(Place {
            range: start..self.text.len(),
            end: line.end,
            truncated: line.truncated,
            ending: line.ending,
            entry: line.entry.cloned().map(Box::new),
        });
    }

    /// Adds an entry of a journal, told from others by a number.
    pub(crate) fn push_entry(&mut self, entry: Entry, number: u64) {
        self.list.push(Place {
            range: 0..0,
            end: number,
            truncated: entry.is_cut,
            ending: Ending::Newline,
            entry: Some(Box::new(entry)),
        });
    }

    /// Gives each line a number of its own in the place of its end.
    pub(crate) fn number(&mut self, number: impl Fn(&[u8]) -> u64) {
        for place in &mut self.list {
            place.end = number(self.text.get(place.range.clone()).unwrap_or_default());
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What they take together, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<Line<'_>> {
        self.list.last().map(|place| self.line(place))
    }

    /// All of them in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        self.list.iter().map(|place| self.line(place))
    }

    /// Their bytes one after the other, and where in them each stands.
    pub(crate) fn placed(&self) -> (&[u8], impl Iterator<Item = (Range<usize>, Line<'_>)>) {
        let lines = self.list.iter().map(|place| (place.range.clone(), self.line(place)));
        (&self.text, lines)
    }

    fn line<'l>(&'l self, place: &'l Place) -> Line<'l> {
        Line {
            bytes: self.text.get(place.range.clone()).unwrap_or_default(),
            end: place.end,
            truncated: place.truncated,
            ending: place.ending,
            entry: place.entry.as_deref(),
        }
    }
}
