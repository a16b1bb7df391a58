//! A log line, read by one jail: is it a failure, whose, and when?
//!
//! [`Filter`] holds what Fail2Ban keeps per jail: the date detector with its ranking, the compiled patterns, the
//! open sessions and the last date seen. [`Filter::read`] takes one decoded line and says what it means. Names are
//! not looked up here: a failure that carries only a host name says so, and the engine asks (contract §3.4–3.6).

mod dated;
mod failure;
mod fields;
mod prefilter;
mod reading;
mod search;
mod session;
mod window;

pub use failure::{Failure, Identity};
pub use prefilter::{Candidates, Prefilter};
pub use reading::{Age, Captured, Hit, Outcome, Reading, Warning, Which};
pub use session::Sessions;
pub use window::Buffered;
use window::Window;

use std::sync::Arc;

use dated::{LastDate, Memo, Split};
use jiff::tz::TimeZone;
use search::Text;

use crate::config::plan::{JailPlan, UseDns};
use crate::pattern::{self, Flags, Pattern};
use crate::stamp::{self, Detector};
use crate::time::{Clock, Seconds, Timestamp};

/// What Fail2Ban keeps beside the captured groups under names of their kind; over such a group it fails at every
/// match (D-051).
const OWN: [&str; 3] = ["matches", "users", "failures"];

/// What a jail's filter needs to know that is not in its plan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The zone of stamps that name none.
    pub zone: TimeZone,
    /// Every pattern is tried on every line, as `fail2ban-regex` does; the daemon stops at the first that matches.
    pub check_all: bool,
    /// Old lines are dropped and odd dates taken as now, as the daemon does; tools switch it off.
    pub check_age: bool,
    /// What is told of a line.
    pub tell: Tell,
}

/// What a filter tells of a line, each with all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tell {
    /// The failures that count, as the daemon wants them.
    Failures,
    /// Each pattern that matched, with all of its groups.
    Hits,
    /// What the prefregex captured, also where no failregex can match.
    Prefixes,
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
    memo: Option<Memo>,
    window: Option<Window>,
    /// Room for the text of a line
    room: String,
}

impl Filter {
    /// Compiles a jail's patterns.
    ///
    /// # Errors
    /// The first pattern or option that cannot be used.
    pub fn new(plan: &JailPlan, settings: Settings) -> Result<Self, Error> {
        let most = usize::try_from(plan.maxlines).unwrap_or(usize::MAX);
        let host_is_addr = plan.usedns == UseDns::No;
        let flags = Flags {
            multiline: false,
            host_is_addr,
        };
        let compile = |option, list: &[String], id: bool, flags: Flags| -> Result<Vec<Pattern>, Error> {
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
            failregex: compile(
                "failregex",
                &plan.failregex,
                needs_id,
                Flags {
                    multiline: most > 1,
                    ..flags
                },
            )?,
            ignoreregex: compile("ignoreregex", &plan.ignoreregex, false, flags)?,
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
            window: (most > 1).then(|| Window::new(most)),
            room: String::new(),
        })
    }

    /// The date detector, for tools that show its templates.
    #[must_use]
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Whether one match may span several lines.
    #[must_use]
    pub fn spans_lines(&self) -> bool {
        self.window.is_some()
    }

    /// Whether the next line pushes the oldest out of those that later matches may use.
    #[must_use]
    pub fn is_buffer_full(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_full)
    }

    /// The lines that later matches may use, where matches span lines.
    #[must_use]
    pub fn buffered(&self) -> &[Buffered] {
        self.window.as_ref().map_or(&[], |window| &window.lines)
    }

    /// Sets the latest year that `%ExY` accepts, before the first line is read; without it, it is three years after
    /// the year of the first line's `now`.
    ///
    /// # Errors
    /// None that [`Filter::new`] would not have had.
    pub fn accept_years_to(&mut self, last_year: i16) -> Result<(), Error> {
        Ok(self.detector.accept_years_to(last_year)?)
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

    /// The last date read, and whether Python would hold it as a whole number.
    #[must_use]
    pub fn last_date(&self) -> Option<(Timestamp, bool)> {
        self.last.as_ref().map(|last| (last.at, last.whole))
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
    /// are a clock's fault, not an age. `candidates` are the failregexes that the line may match.
    pub fn read(&mut self, now: Clock, operating: bool, line: &str, candidates: Candidates<'_>) -> Reading {
        let mut reading = Reading::default();
        match self.split(now, operating, line, &mut reading) {
            Ok(split) => return self.read_split(split, operating, candidates, reading),
            Err(why) => reading.refuse(&why, line),
        }
        reading
    }

    /// Reads an entry whose time is known without looking for it, as the journal's is. `date` is that time as the
    /// entry shows it; it stands before the text in the matches and is not searched. With the text come the failregexes
    /// that it may match.
    pub fn read_entry(
        &mut self,
        now: Clock,
        operating: bool,
        date: (Timestamp, &str),
        (text, candidates): (&str, Candidates<'_>),
    ) -> Reading {
        let split = self.entry(now, date, text);
        self.read_split(split, operating, candidates, Reading::default())
    }

    fn read_split(
        &mut self,
        mut split: Split<'_>,
        operating: bool,
        candidates: Candidates<'_>,
        mut reading: Reading,
    ) -> Reading {
        let now = split.now;
        if self.settings.check_age && !self.age(now, operating, &mut split, &mut reading) {
            reading.outcome = Outcome::TooOld;
            return reading;
        }
        let chosen = candidates.without_date(split.before, split.after);
        // Tools count also what the prefregex and the ignoreregexes take.
        if !chosen.is_empty() || !self.settings.check_age {
            let mut text = Text::within(std::mem::take(&mut self.room));
            self.search((&mut text, &chosen), &split, &mut reading);
            self.room = text.text;
        }
        reading
    }
}

fn one(option: &'static str, number: usize, text: &str, flags: Flags, id: bool) -> Result<Pattern, Error> {
    let wrap = |error| Error::Pattern { option, number, error };
    let pattern = Pattern::new(text, flags).map_err(wrap)?;
    if id && !pattern.has_failure_id() {
        return Err(wrap(pattern::Error::NoFailureId(pattern.expanded().to_owned())));
    }
    match pattern.group_names().iter().find(|name| OWN.contains(&name.as_str())) {
        Some(name) => Err(Error::Unsupported(format!("a group of the name {name}"))),
        None => Ok(pattern),
    }
}

#[cfg(test)]
mod tests;
