//! What a line meant: the values that a filter gives back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use super::session::Case;
use super::{Failure, Identity};
use crate::ledger::Field;
use crate::time::{Seconds, Timestamp};

/// What became of one line.
#[derive(Debug, Default)]
pub struct Reading {
    /// The failures to be counted, in order.
    pub failures: Vec<Failure>,
    /// What the line was, when it was no failure.
    pub outcome: Outcome,
    /// Every pattern that matched, in order (several only with `check_all`).
    pub hits: Vec<Hit>,
    /// If the prefregex matched, what it captured; nothing of it where that is not told.
    pub prefix: Option<Captured>,
    /// The number of the ignoreregex that matched last, from 0.
    pub ignored_by: Option<usize>,
    /// The numbers of all that matched, in order: with `check_all`, one for each failregex that matched.
    pub ignored: Vec<usize>,
    /// The last pattern that went over its budget, where one did.
    pub over_budget: Option<Which>,
    /// Whether its date is a likely one.
    pub age: Age,
    /// What is to be said in the log, once a day each.
    pub warnings: Vec<Warning>,
    /// For each session of which a pattern told, the first hit that has its names.
    shared: BTreeMap<String, usize>,
}

impl Reading {
    /// Fail2Ban fails over the line: nothing comes of it.
    pub(super) fn refuse(&mut self, why: &str, line: &str) {
        self.outcome = Outcome::Refused;
        self.failures.clear();
        self.hits.clear();
        self.warnings.push(Warning::Refused {
            why: why.to_owned(),
            line: line.to_owned(),
        });
    }

    /// Where several patterns tell of one session, its names are one set for all of them, as in Fail2Ban.
    pub(super) fn share(&mut self, case: &Case) {
        let Some(mlfid) = case.mlfid() else { return };
        let here = self.hits.len();
        if case.is_fresh() {
            self.shared.insert(mlfid.to_owned(), here);
        }
        let first = *self.shared.entry(mlfid.to_owned()).or_insert(here);
        for hit in self.hits.iter_mut().skip(first) {
            let of = |name: &str| {
                hit.fields
                    .iter()
                    .position(|(own, field)| **own == *name && field.is_some())
            };
            let same =
                of("mlfid").is_some_and(|at| hit.fields.get(at).map(|(_, f)| f.as_ref()) == Some(case.get("mlfid")));
            if let Some(users) = of("users").filter(|_| same).and_then(|at| hit.fields.get_mut(at)) {
                users.1 = case.users();
            }
        }
    }
}

/// A pattern of a filter, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The prefregex
    Prefregex,
    /// A failregex
    Failregex(usize),
    /// An ignoreregex
    Ignoreregex(usize),
}

impl fmt::Display for Which {
    /// As people count: from 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Prefregex => f.write_str("prefregex"),
            Which::Failregex(number) => write!(f, "failregex {}", number + 1),
            Which::Ignoreregex(number) => write!(f, "ignoreregex {}", number + 1),
        }
    }
}

/// What groups captured, by their names in Fail2Ban's order; nothing for those that took no part.
pub type Captured = Vec<(SmolStr, Option<Field>)>;

/// A failregex that matched.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its number, from 0.
    pub regex: usize,
    /// Whose; `None` while the session has no address yet.
    pub identity: Option<Identity>,
    /// When; `None` for an undated line outside the daemon.
    pub time: Option<Timestamp>,
    /// Whether Python would hold the time as a whole number: it came with a zone.
    pub whole: bool,
    /// Whether the match only informs (`<F-NOFAIL>`).
    pub nofail: bool,
    /// What was captured, in Fail2Ban's order, with the groups that took no part.
    pub fields: Captured,
    /// The lines that belong to it.
    pub matches: Vec<Arc<str>>,
}

/// What a line was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// No pattern matched.
    #[default]
    Missed,
    /// Older than `findtime` when it was caught up with.
    TooOld,
    /// A pattern matched and counts.
    Failed,
    /// A pattern matched and only informs, or waits for the address.
    Informed,
    /// An ignoreregex took it.
    Ignored,
    /// A pattern went over its budget: whether it matches is not known (invariant 5).
    Unknown,
    /// The date could not be read at all and Fail2Ban drops such a line with an error.
    Refused,
}

/// How far the date of a line is from the clock; Fail2Ban says so at most once a day and jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Age {
    /// As far as is usual.
    #[default]
    Usual,
    /// In operation, the line's date minus the clock, where it is so far that the line was taken as of now.
    Odd(Seconds),
    /// While catching up, the line was older than this findtime and was left out.
    Old(Seconds),
}

/// What else Fail2Ban says about lines at most once a day and jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A pattern matched a line that has no date.
    NoDate {
        /// The text of a date that could not be read, or of the last date where that stands in
        text: String,
        /// The lines of the match
        line: String,
    },
    /// A date was found but is none (30 February).
    BadDate {
        /// Its text
        text: String,
    },
    /// The last `maxlines` lines are too long to be kept all; the oldest were left out.
    Crowded,
    /// Fail2Ban fails over the line and drops it.
    Refused {
        /// The reason
        why: String,
        /// The line
        line: String,
    },
}
