//! The date of a line: found, read, or taken from the line before (contract §3.4 steps 1 and 2).

use std::borrow::Cow;
use std::sync::Arc;

use super::{Age, Buffered, Filter, Reading, Warning};
use crate::stamp;
pub(super) use crate::stamp::Memo;
use crate::time::{Clock, Seconds, Timestamp};

/// A line may carry a date this far from the clock before it counts as odd, and an undated line takes the last
/// date if that is no older (contract §3.4).
const NEAR: Seconds = Seconds::new(60);

/// The last date read, with its text: undated lines that follow within a minute take it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastDate {
    text: String,
    pub(super) at: Timestamp,
    pub(super) whole: bool,
}

/// One line, split around its date.
pub(super) struct Split<'l> {
    pub(super) now: Clock,
    pub(super) before: &'l str,
    date: Cow<'l, str>,
    pub(super) after: &'l str,
    pub(super) line: &'l str,
    pub(super) at: Option<Timestamp>,
    pub(super) whole: bool,
    pub(super) undated: bool,
}

impl Split<'_> {
    /// What the patterns are searched in.
    pub(super) fn text(&self, text: &mut String) {
        text.clear();
        text.push_str(self.before);
        text.push_str(self.after);
        text.push('\n');
    }

    /// The text of the date, or of the last one where that stands in.
    pub(super) fn date(&self) -> &str {
        &self.date
    }

    /// The line as it is kept among the matches.
    pub(super) fn whole(&self) -> Arc<str> {
        if self.before.len() + self.date.len() + self.after.len() == self.line.len() {
            return self.line.into();
        }
        format!("{}{}{}", self.before, self.date, self.after).into()
    }

    pub(super) fn buffered(&self) -> Buffered {
        Buffered {
            before: self.before.to_owned(),
            date: self.date.clone().into_owned(),
            after: self.after.to_owned(),
        }
    }
}

impl Filter {
    /// Finds and reads the date (contract §3.4 step 1). A reason drops the line.
    pub(super) fn split<'l>(
        &mut self,
        now: Clock,
        operating: bool,
        line: &'l str,
        reading: &mut Reading,
    ) -> Result<Split<'l>, String> {
        let mut split = Split {
            now,
            before: "",
            date: Cow::Borrowed(""),
            after: line,
            line,
            at: None,
            whole: false,
            undated: false,
        };
        if let Some(found) = self.detector.find(line, now.wall) {
            let (before, rest) = line.split_at_checked(found.start).unwrap_or(("", line));
            let (date, after) = rest
                .split_at_checked(found.end.saturating_sub(found.start))
                .unwrap_or(("", rest));
            (split.before, split.date, split.after) = (before, Cow::Borrowed(date), after);
            let (read, whole) = self.read_date(line, &found, now.wall);
            match read {
                stamp::Reading::At(at) => {
                    (split.at, split.whole) = (Some(at), whole);
                    let last = self.last.get_or_insert_default();
                    (last.at, last.whole) = (at, whole);
                    date.clone_into(&mut last.text);
                }
                stamp::Reading::Unreadable => reading.warnings.push(Warning::BadDate { text: date.to_owned() }),
                stamp::Reading::NoText => match self.recent(now) {
                    Some(last) => take(&mut split, last),
                    None => split.at = Some(now.wall),
                },
                stamp::Reading::Refused(why) => return Err(why),
            }
        }
        if split.at.is_none() {
            split.undated = true;
            match self.recent(now) {
                Some(last) => take(&mut split, last),
                None if self.settings.check_age && operating => split.at = Some(now.wall),
                None => {}
            }
        }
        Ok(split)
    }

    /// A line whose date came with it; undated lines that follow take it, as any other.
    pub(super) fn entry<'l>(&mut self, now: Clock, (at, date): (Timestamp, &'l str), line: &'l str) -> Split<'l> {
        let last = self.last.get_or_insert_default();
        (last.at, last.whole) = (at, false);
        date.clone_into(&mut last.text);
        Split {
            now,
            before: "",
            date: Cow::Borrowed(date),
            after: line,
            line,
            at: Some(at),
            whole: false,
            undated: false,
        }
    }

    /// Reads a date, unless it is the one that was read last.
    fn read_date(&mut self, line: &str, found: &stamp::Found, wall: Timestamp) -> (stamp::Reading, bool) {
        self.detector.read_next(line, found, wall, &mut self.memo)
    }

    fn recent(&self, now: Clock) -> Option<&LastDate> {
        self.last.as_ref().filter(|last| last.at > now.wall - NEAR)
    }

    /// Whether the line is young enough; in operation odd dates become now (contract §3.4 step 2).
    pub(super) fn age(&mut self, now: Clock, operating: bool, split: &mut Split<'_>, reading: &mut Reading) -> bool {
        let Some(at) = split.at else { return true };
        let off = at - now.wall;
        if operating {
            // Whole seconds, rounded towards zero, as Python's int() does.
            if (off.micros() / 1_000_000).abs() > NEAR.whole() {
                reading.age = Age::Odd(off);
                (split.at, split.whole) = (Some(now.wall), false);
                if let Some(last) = &mut self.last {
                    (last.at, last.whole) = (now.wall, false);
                }
            }
            return true;
        }
        if at < now.wall - self.findtime {
            reading.age = Age::Old(self.findtime);
            return false;
        }
        true
    }
}

/// The last known date stands in; nothing is cut from the line then.
fn take(split: &mut Split<'_>, last: &LastDate) {
    (split.at, split.whole) = (Some(last.at), last.whole);
    (split.before, split.date, split.after) = ("", last.text.clone().into(), split.line);
}
