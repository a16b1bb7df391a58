//! A log line, read by one jail: is it a failure, whose, and when?
//!
//! [`Filter`] holds what Fail2Ban keeps per jail: the date detector with its ranking, the compiled patterns, the
//! open sessions and the last date seen. [`Filter::read`] takes one decoded line and says what it means. Names are
//! not looked up here: a failure that carries only a host name says so, and the engine asks (contract §3.4–3.6).

mod failure;
mod session;

pub use failure::{Failure, Identity};
pub use session::Sessions;

use std::collections::BTreeMap;
use std::sync::Arc;

use failure::Groups;
use jiff::tz::TimeZone;

use crate::config::plan::{JailPlan, UseDns};
use crate::pattern::{self, Flags, Found, Lane, Pattern, Search};
use crate::stamp::{self, Detector};
use crate::time::{Clock, Seconds, Timestamp};

/// A line may carry a date this far from the clock before it counts as odd, and an undated line takes the last
/// date if that is no older (contract §3.4).
const NEAR: Seconds = Seconds::new(60);

/// What a jail's filter needs to know that is not in its plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The zone of stamps that name none.
    pub zone: TimeZone,
    /// Every pattern is tried on every line, as `fail2ban-regex` does; the daemon stops at the first that matches.
    pub check_all: bool,
    /// Old lines are dropped and odd dates taken as now, as the daemon does; tools switch it off.
    pub check_age: bool,
}

/// Why a jail has no filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pattern that cannot be used.
    #[error("{option} {number}: {error}")]
    Pattern {
        /// `failregex`, `ignoreregex` or `prefregex`
        option: &'static str,
        /// Which one, counted from 1
        number: usize,
        /// What is wrong with it
        error: pattern::Error,
    },
    /// A `datepattern` or `logtimezone` that cannot be used.
    #[error(transparent)]
    Stamp(#[from] stamp::Error),
    /// Something that is not supported yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
}

/// One jail's way of reading lines.
pub struct Filter {
    jail: Arc<str>,
    prefregex: Option<Pattern>,
    failregex: Vec<Pattern>,
    ignoreregex: Vec<Pattern>,
    usedns: UseDns,
    findtime: Seconds,
    detector: Detector,
    settings: Settings,
    sessions: Sessions,
    last: Option<LastDate>,
    memo: Option<LastDate>,
}

/// The last date read, with its text: undated lines that follow within a minute take it.
#[derive(Clone, Debug)]
struct LastDate {
    text: String,
    at: Timestamp,
}

/// What became of one line.
#[derive(Debug, Default)]
pub struct Reading {
    /// The failures to be counted, in order.
    pub failures: Vec<Failure>,
    /// What the line was, when it was no failure.
    pub outcome: Outcome,
    /// Every pattern that matched, in order (several only with `check_all`).
    pub hits: Vec<Hit>,
    /// Whether the prefregex matched.
    pub prefiltered: bool,
    /// The number of the ignoreregex that matched, from 0.
    pub ignored_by: Option<usize>,
    /// What is to be said in the log, once a day each.
    pub warnings: Vec<Warning>,
}

/// A failregex that matched.
#[derive(Debug, Clone)]
pub struct Hit {
    /// Its number, from 0.
    pub regex: usize,
    /// Whose, as text; `None` while the session has no address yet.
    pub who: Option<String>,
    /// When; `None` for an undated line outside the daemon.
    pub time: Option<Timestamp>,
    /// Whether the match only informs (`<F-NOFAIL>`).
    pub nofail: bool,
    /// What was captured.
    pub data: BTreeMap<String, crate::ledger::Field>,
    /// The lines that belong to it.
    pub matches: Vec<String>,
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

/// What Fail2Ban says about lines at most once a day and jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// In operation, a date far from the clock was taken as now.
    OddDate {
        /// Line minus clock
        off: Seconds,
        /// The line
        line: String,
    },
    /// While catching up, a line older than findtime was left out.
    OldLine {
        /// The jail's findtime
        findtime: Seconds,
        /// The line
        line: String,
    },
    /// A pattern matched a line that has no date.
    NoDate {
        /// The line
        line: String,
    },
    /// A date was found but is none (30 February).
    BadDate {
        /// Its text
        text: String,
    },
}

/// One line, split around its date.
struct Split<'l> {
    before: &'l str,
    date: String,
    after: &'l str,
    line: &'l str,
    at: Option<Timestamp>,
    undated: bool,
}

impl Split<'_> {
    /// What the patterns are searched in.
    fn text(&self) -> String {
        let mut text = String::with_capacity(self.before.len() + self.after.len() + 1);
        text.push_str(self.before);
        text.push_str(self.after);
        text.push('\n');
        text
    }

    /// The line as it is kept among the matches.
    fn whole(&self) -> String {
        format!("{}{}{}", self.before, self.date, self.after)
    }
}

impl Filter {
    /// Compiles a jail's patterns.
    ///
    /// # Errors
    /// The first pattern or option that cannot be used.
    pub fn new(plan: &JailPlan, settings: Settings) -> Result<Self, Error> {
        if plan.maxlines > 1 {
            return Err(Error::Unsupported("maxlines above 1".into()));
        }
        let host_is_addr = plan.usedns == UseDns::No;
        let flags = Flags {
            multiline: false,
            host_is_addr,
        };
        let compile = |option, list: &[String], id: bool| -> Result<Vec<Pattern>, Error> {
            list.iter()
                .enumerate()
                .map(|(index, text)| one(option, index + 1, text, flags, id))
                .collect()
        };
        // An address may come from the prefregex, so that only the pair must have one.
        let prefregex = plan
            .prefregex
            .as_deref()
            .filter(|p| !p.is_empty())
            .map(|p| one("prefregex", 1, p, flags, false));
        let prefregex = prefregex.transpose()?;
        let needs_id = !prefregex.as_ref().is_some_and(Pattern::has_failure_id);
        Ok(Filter {
            jail: Arc::clone(&plan.name),
            failregex: compile("failregex", &plan.failregex, needs_id)?,
            ignoreregex: compile("ignoreregex", &plan.ignoreregex, false)?,
            prefregex,
            usedns: plan.usedns,
            findtime: plan.findtime,
            detector: Detector::new(
                plan.datepattern.as_deref(),
                plan.logtimezone.as_deref(),
                settings.zone.clone(),
            )?,
            settings,
            sessions: Sessions::default(),
            last: None,
            memo: None,
        })
    }

    /// The date detector, for tools that show its templates.
    #[must_use]
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The failregexes, for tools that list them.
    #[must_use]
    pub fn failregex(&self) -> &[Pattern] {
        &self.failregex
    }

    /// The ignoreregexes, for tools that list them.
    #[must_use]
    pub fn ignoreregex(&self) -> &[Pattern] {
        &self.ignoreregex
    }

    /// The prefregex, for tools that show it.
    #[must_use]
    pub fn prefregex(&self) -> Option<&Pattern> {
        self.prefregex.as_ref()
    }

    /// The open sessions, to be kept over a restart.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The open sessions, if they changed since this was last asked.
    pub fn changed_sessions(&mut self) -> Option<&Sessions> {
        self.sessions.take_changed().then_some(&self.sessions)
    }

    /// Takes over sessions kept from an earlier run or plan.
    pub fn resume(&mut self, sessions: Sessions) {
        self.sessions = sessions;
    }

    /// Reads one line. `operating` says that the log's end was reached once, so that lines are new and odd dates
    /// are a clock's fault, not an age.
    pub fn read(&mut self, now: Clock, operating: bool, line: &str) -> Reading {
        let mut reading = Reading::default();
        let Some(mut split) = self.split(now, operating, line, &mut reading) else {
            reading.outcome = Outcome::Refused;
            return reading;
        };
        if self.settings.check_age && !self.age(now, operating, &mut split, &mut reading) {
            reading.outcome = Outcome::TooOld;
            return reading;
        }
        self.search(now, &split, &mut reading);
        reading
    }

    /// Finds and reads the date (contract §3.4 step 1). `None` drops the line.
    fn split<'l>(&mut self, now: Clock, operating: bool, line: &'l str, reading: &mut Reading) -> Option<Split<'l>> {
        let mut split = Split {
            before: "",
            date: String::new(),
            after: line,
            line,
            at: None,
            undated: false,
        };
        if let Some(found) = self.detector.find(line, now.wall) {
            let (before, rest) = line.split_at_checked(found.start).unwrap_or(("", line));
            let (date, after) = rest
                .split_at_checked(found.end.saturating_sub(found.start))
                .unwrap_or(("", rest));
            (split.before, split.date, split.after) = (before, date.to_owned(), after);
            match self
                .known(&split.date)
                .map_or_else(|| self.detector.read(line, &found, now.wall), stamp::Reading::At)
            {
                stamp::Reading::At(at) => {
                    split.at = Some(at);
                    let read = LastDate {
                        text: split.date.clone(),
                        at,
                    };
                    self.memo = Some(read.clone());
                    self.last = Some(read);
                }
                stamp::Reading::Unreadable => reading.warnings.push(Warning::BadDate {
                    text: split.date.clone(),
                }),
                stamp::Reading::NoText => match self.recent(now) {
                    Some(last) => take(&mut split, last),
                    None => split.at = Some(now.wall),
                },
                stamp::Reading::Refused(_) => return None,
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
        Some(split)
    }

    /// A stamp with the same text as the last one means the same second; most lines of a busy log share theirs.
    /// Short ones may depend on the day, so only the very last text counts.
    fn known(&self, text: &str) -> Option<Timestamp> {
        self.memo
            .as_ref()
            .filter(|memo| !text.is_empty() && memo.text == text)
            .map(|memo| memo.at)
    }

    fn recent(&self, now: Clock) -> Option<&LastDate> {
        self.last.as_ref().filter(|last| last.at > now.wall - NEAR)
    }

    /// Whether the line is young enough; in operation odd dates become now (contract §3.4 step 2).
    fn age(&mut self, now: Clock, operating: bool, split: &mut Split<'_>, reading: &mut Reading) -> bool {
        let Some(at) = split.at else { return true };
        let off = at - now.wall;
        if operating {
            // Whole seconds, rounded towards zero, as Python's int() does.
            if (off.micros() / 1_000_000).abs() > NEAR.whole() {
                reading.warnings.push(Warning::OddDate {
                    off,
                    line: split.line.to_owned(),
                });
                split.at = Some(now.wall);
                if let Some(last) = &mut self.last {
                    *last = LastDate {
                        text: std::mem::take(&mut last.text),
                        at: now.wall,
                    };
                }
            }
            return true;
        }
        if at < now.wall - self.findtime {
            reading.warnings.push(Warning::OldLine {
                findtime: self.findtime,
                line: split.line.to_owned(),
            });
            return false;
        }
        true
    }

    /// Ignoreregex, prefregex, failregexes (contract §3.4 steps 4–6).
    fn search(&mut self, now: Clock, split: &Split<'_>, reading: &mut Reading) {
        let whole = split.text();
        let early = !self.ignoreregex.is_empty() && self.ignoreregex.len() + 2 < self.failregex.len();
        if early && self.ignores(&whole, reading) {
            return;
        }
        let mut prefix = Groups::new();
        let mut content = None;
        if let Some(prefregex) = &self.prefregex {
            let Some(found) = looked(prefregex, &whole, &mut reading.outcome) else {
                return;
            };
            reading.prefiltered = true;
            prefix = failure::groups(&found);
            content = prefix.remove("content").flatten().filter(|text| !text.is_empty());
        }
        let text = content.map_or(whole, |content| content + "\n");
        for number in 0..self.failregex.len() {
            let Some(fields) = self.groups_of(number, &text, reading) else {
                continue;
            };
            if !self.ignoreregex.is_empty() && self.ignores(&text, reading) {
                if self.settings.check_all { continue } else { return }
            }
            if split.undated {
                reading.warnings.push(Warning::NoDate {
                    line: split.line.to_owned(),
                });
                if split.at.is_none() && self.settings.check_age {
                    continue;
                }
            }
            self.found(now, (number, failure::merge(&prefix, fields)), split, reading);
            if !self.settings.check_all {
                return;
            }
        }
    }

    fn groups_of(&self, number: usize, text: &str, reading: &mut Reading) -> Option<Groups> {
        let regex = self.failregex.get(number)?;
        let found = looked(regex, text, &mut reading.outcome)?;
        Some(failure::groups(&found))
    }

    fn ignores(&self, text: &str, reading: &mut Reading) -> bool {
        let hit = self
            .ignoreregex
            .iter()
            .position(|regex| looked(regex, text, &mut reading.outcome).is_some());
        if hit.is_some() {
            reading.ignored_by = hit;
            reading.outcome = Outcome::Ignored;
        }
        hit.is_some()
    }

    /// A failregex matched: the session, the id, and whether it counts (contract §3.5, §3.6).
    fn found(&mut self, now: Clock, (regex, groups): (usize, Groups), split: &Split<'_>, reading: &mut Reading) {
        let mlfid = groups.get("mlfid").cloned().flatten();
        let mut case = match mlfid {
            Some(mlfid) => self.sessions.merge(now.steady, &mlfid, groups, &split.whole()),
            None => session::Case::single(groups, split.whole()),
        };
        let mut hit = Hit {
            regex,
            who: None,
            time: split.at,
            nofail: case.nofail(),
            data: BTreeMap::new(),
            matches: case.matches().to_vec(),
        };
        if !hit.nofail || self.settings.check_all {
            match failure::identify(&case, self.usedns) {
                Some(identity) => {
                    failure::note_address(&mut case, &identity);
                    hit.who = Some(identity.to_string());
                    if !hit.nofail {
                        self.push(&case, identity, split, reading);
                        reading.outcome = Outcome::Failed;
                    }
                }
                None => case.wait(),
            }
        }
        if reading.outcome != Outcome::Failed {
            reading.outcome = Outcome::Informed;
        }
        hit.data = case.data();
        self.sessions.keep(case);
        reading.hits.push(hit);
    }

    fn push(&self, case: &session::Case, identity: Identity, split: &Split<'_>, reading: &mut Reading) {
        let Some(time) = split.at else { return };
        reading.failures.push(Failure {
            jail: Arc::clone(&self.jail),
            identity,
            time,
            data: case.data(),
            matches: case.matches().to_vec(),
        });
    }
}

fn one(option: &'static str, number: usize, text: &str, flags: Flags, id: bool) -> Result<Pattern, Error> {
    let wrap = |error| Error::Pattern { option, number, error };
    let pattern = Pattern::new(text, flags).map_err(wrap)?;
    if id && !pattern.has_failure_id() {
        return Err(wrap(pattern::Error::NoFailureId(pattern.expanded().to_owned())));
    }
    if pattern.group_names().iter().any(|name| name.starts_with("tuple_")) {
        return Err(Error::Unsupported("a <F-TUPLE_…> group".into()));
    }
    Ok(pattern)
}

/// One search within the budget; what goes over it goes once to the slow lane, and over that it is unknown.
fn looked<'t>(regex: &Pattern, text: &'t str, outcome: &mut Outcome) -> Option<Found<'t>> {
    let search = match regex.search(text, Lane::Fast) {
        Search::OverBudget => regex.search(text, Lane::Slow),
        other => other,
    };
    match search {
        Search::Found(found) => Some(found),
        Search::No => None,
        Search::OverBudget => {
            *outcome = Outcome::Unknown;
            None
        }
    }
}

/// The last known date stands in; nothing is cut from the line then.
fn take(split: &mut Split<'_>, last: &LastDate) {
    split.at = Some(last.at);
    (split.before, split.date, split.after) = ("", last.text.clone(), split.line);
}

#[cfg(test)]
mod tests;
