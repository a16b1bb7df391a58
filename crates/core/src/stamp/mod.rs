//! Finding and reading the date of a log line (contract §3.7–3.9).
//!
//! In come the lines of one jail, in order, and the wall time; out come the place of the date, which is cut out of
//! the line before a filter sees it, and on demand the time it stands for. [`Detector`] holds what is learned
//! on the way: which date format a log uses, and where.

mod code;
mod detector;
mod landmark;
mod mask;
mod memo;
mod place;
mod program;
mod reckon;
mod roster;
mod search;
mod shape;
mod template;
mod token;
mod zone;

#[cfg(test)]
mod tests;

pub use detector::Detector;
pub(crate) use memo::Memo;

use crate::letter;

use crate::time::Timestamp;
use crate::value::repr_str;

/// Where the date of a line stands, and what is needed to read it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first byte of what is cut out of the line.
    pub start: usize,
    /// The byte after it; equal to `start` if nothing is cut (`{NONE}`).
    pub end: usize,
    /// The template, as [`TemplateView::id`] has it.
    pub template: usize,
    /// The first byte of the whole match.
    from: usize,
    /// The byte after it.
    to: usize,
    /// The text was searched up to here.
    limit: usize,
    beyond_end: bool,
    /// What the detector remembers of a search that went the same way; 0 for nothing.
    mask: u64,
}

impl Found {
    /// The whole match with the character on either side of it: what the reading is made of. Two lines that have the
    /// same, found by the same template, are read as the same date, unless the wall clock has a part in it.
    #[must_use]
    pub fn seen<'l>(&self, line: &'l str) -> &'l str {
        let before = line.get(..self.from).and_then(|head| head.chars().next_back());
        let after = line.get(self.to..).and_then(|tail| tail.chars().next());
        let start = self.from - before.map_or(0, char::len_utf8);
        let end = self.to + after.map_or(0, char::len_utf8);
        line.get(start..end).unwrap_or_default()
    }
}

/// A date that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What it comes to.
    pub reading: Reading,
    /// Whether Fail2Ban would hold the time as a whole number: dates with a zone of their own or by `logtimezone`, and
    /// TAI64N. `fail2ban-regex -o row` shows the difference.
    pub whole: bool,
    /// Until when the same text is read as the same date: a year or a day that it leaves out is taken from the clock.
    pub until: Timestamp,
}

/// What a found date comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A time: whole seconds, but for epochs, which keep their fraction.
    At(Timestamp),
    /// It looks like a date but is none (30 February, 25 o'clock); the line counts as undated.
    Unreadable,
    /// There is no text to read (`{NONE}`): the last known date stands in, or now.
    NoText,
    /// Fail2Ban drops the whole line with an error, for the reason given: an unknown zone abbreviation, a pattern
    /// that gives half a date.
    Refused(String),
}

/// A template as `fail2ban-regex` shows it (contract §9).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TemplateView<'d> {
    /// Its number, which stays when the order changes.
    pub id: usize,
    /// The pattern with its tokens as words.
    pub name: &'d str,
    /// The pattern; none for epochs and TAI64N.
    pub pattern: Option<&'d str>,
    /// The regex made of it.
    pub regex: &'d str,
    /// How many lines it won.
    pub hits: u64,
    /// Its rank: hits times base weight, by the distance of its last match from the start of the line.
    pub weight: f64,
    /// What a hit counts.
    pub base_weight: f64,
    /// The wall time of its last hit.
    pub last_used: Option<Timestamp>,
}

/// The name of a jail's date pattern (contract §8.5, `get <jail> datepattern`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternName<'d> {
    /// `None, 'Default Detectors'`: no pattern yet, or more than two templates.
    Default,
    /// The first of one or two templates.
    Template {
        /// Its pattern, if it is made of one.
        pattern: Option<&'d str>,
        /// Its name.
        name: &'d str,
    },
}

/// A date pattern or zone that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A `%` that starts no token
    #[error("datepattern '{pattern}': '{token}' is no token (a percent sign itself is written '%%')")]
    Token {
        /// The pattern
        pattern: String,
        /// What follows the percent sign
        token: String,
    },
    /// Not a regex
    #[error("datepattern: unable to compile '{regex}': {reason}")]
    Regex {
        /// The regex made of the pattern
        regex: String,
        /// What the engine says
        reason: String,
    },
    /// The same template twice
    #[error("There is already a template with name {0}")]
    Duplicate(String),
    /// `logtimezone` has another form, or an unknown abbreviation.
    #[error("Unknown or unsupported time zone: {}", repr_str(.0))]
    Zone(String),
}
