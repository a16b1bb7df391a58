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
mod session;
mod window;

pub use failure::{Failure, Identity};
use prefilter::Chosen;
pub use prefilter::{Candidates, Prefilter};
pub use reading::{Age, Captured, Hit, Outcome, Reading, Warning, Which};
pub use session::Sessions;
pub use window::Buffered;
use window::{Window, cut, joined};

use std::sync::Arc;

use dated::{LastDate, Memo, Split};
use failure::Refused;
use fields::Fields;
use jiff::tz::TimeZone;

use crate::config::plan::{JailPlan, UseDns};
use crate::ledger::Field;
use crate::pattern::{self, Flags, Found, Lane, Pattern, Search};
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

/// What the patterns are searched in.
#[derive(Default)]
struct Text {
    text: String,
    /// Where the part begins in which the failregexes are searched
    start: usize,
    /// The window that it was made of, where matches span lines.
    lines: Vec<Buffered>,
}

impl Text {
    fn as_str(&self) -> &str {
        self.text.get(self.start..).unwrap_or_default()
    }

    fn set(&mut self, text: String) {
        (self.text, self.start) = (text, 0);
    }

    /// What the prefregex leaves for the failregexes, and the end of the line, which is mostly there already.
    fn leave(&mut self, content: &str) {
        match self.text.strip_suffix('\n').filter(|line| line.ends_with(content)) {
            Some(line) => self.start = line.len() - content.len(),
            None => self.set(format!("{content}\n")),
        }
    }
}

/// A failregex matched.
struct Match {
    groups: Fields,
    /// The lines of the match, as read
    matches: Vec<Arc<str>>,
    cut: Option<window::Cut>,
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
            let mut text = Text {
                text: std::mem::take(&mut self.room),
                ..Text::default()
            };
            self.search((&mut text, &chosen), &split, &mut reading);
            self.room = text.text;
        }
        reading
    }

    /// Whether nobody wants to know what the prefregex captured, and nothing can be wrong with that.
    fn tells_no_prefix(&self) -> bool {
        let is_plain = |prefregex: &Pattern| !prefregex.group_names().iter().any(|name| failure::is_complex(name));
        self.settings.tell < Tell::Prefixes && self.prefregex.as_ref().is_some_and(is_plain)
    }

    /// Ignoreregex, prefregex, failregexes (contract §3.4 steps 4–6).
    fn search(&mut self, (on, chosen): (&mut Text, &Chosen<'_>), split: &Split<'_>, reading: &mut Reading) {
        match &mut self.window {
            Some(window) => {
                if window.push(split.buffered()) {
                    reading.warnings.push(Warning::Crowded);
                }
                on.lines = window.lines.clone();
                on.set(joined(&on.lines));
            }
            None => split.text(&mut on.text),
        }
        let early = !self.ignoreregex.is_empty() && self.ignoreregex.len() + 2 < self.failregex.len();
        if early && self.ignores(&on.text, reading) {
            return;
        }
        let mut prefix = Fields::default();
        if let Some(prefregex) = self
            .prefregex
            .as_ref()
            .filter(|_| chosen.is_empty() && self.tells_no_prefix())
        {
            // Only whether it matches is asked for.
            if matched((Which::Prefregex, prefregex), &on.text, reading) {
                reading.prefix = Some(Captured::new());
            }
            return;
        }
        if let Some(prefregex) = &self.prefregex {
            let Some(found) = looked((Which::Prefregex, prefregex), &on.text, reading) else {
                return;
            };
            prefix = failure::groups(&found, self.settings.tell >= Tell::Hits);
            let content = match prefix.remove("content") {
                Some(Field::Tuple(_)) => return reading.refuse("content of several parts", split.line),
                Some(Field::Text(content)) if !content.is_empty() => Some(content),
                _ => None,
            };
            let told = (self.settings.tell == Tell::Prefixes).then(|| failure::groups(&found, true).into_list());
            reading.prefix = Some(told.unwrap_or_default());
            if let Some(content) = content {
                on.leave(&content);
                if let Some(window) = &mut self.window {
                    window.lines = vec![Buffered {
                        after: content.to_string(),
                        ..Buffered::default()
                    }];
                }
            }
        }
        self.try_all((on, chosen), &prefix, split, reading);
    }

    /// The failregexes in order, with what the prefregex left of the line.
    fn try_all(
        &mut self,
        (on, chosen): (&mut Text, &Chosen<'_>),
        prefix: &Fields,
        split: &Split<'_>,
        reading: &mut Reading,
    ) {
        let spans_lines = self.window.is_some();
        for number in (0..self.failregex.len()).filter(|&number| chosen.has(number)) {
            let Some(hit) = self.try_one(number, on, split, reading) else {
                continue;
            };
            let ignored = !self.ignoreregex.is_empty()
                && match &hit.cut {
                    Some(cut) => self.ignores(&joined(&cut.matched), reading),
                    None => self.ignores(on.as_str(), reading),
                };
            if !ignored && split.undated {
                reading.warnings.push(Warning::NoDate {
                    text: split.date().to_owned(),
                    line: hit.matches.join("\n"),
                });
                if split.at.is_none() && self.settings.check_age {
                    continue;
                }
            }
            if let (Some(cut), Some(window)) = (hit.cut, &mut self.window) {
                on.set(joined(&cut.rest));
                window.lines = cut.rest;
            }
            if !ignored {
                let groups = failure::merge(prefix, hit.groups);
                match self.found(number, (groups, hit.matches), split, reading) {
                    Ok(true) => {}
                    Ok(false) => {
                        // Fail2Ban goes on, but has put the line away.
                        if !self.settings.check_all && !spans_lines {
                            on.set("\n".into());
                        }
                        continue;
                    }
                    Err(refused) => return reading.refuse(refused.0, split.line),
                }
            }
            if !self.settings.check_all {
                return;
            }
        }
    }

    fn try_one(&self, number: usize, on: &Text, split: &Split<'_>, reading: &mut Reading) -> Option<Match> {
        let found = looked(
            (Which::Failregex(number), self.failregex.get(number)?),
            on.as_str(),
            reading,
        )?;
        let cut = self.window.is_some().then(|| cut(&found, on.as_str(), &on.lines));
        Some(Match {
            groups: failure::groups(&found, self.settings.tell >= Tell::Hits),
            matches: match &cut {
                Some(cut) => cut.matched.iter().map(|line| line.whole().into()).collect(),
                None => vec![split.whole()],
            },
            cut,
        })
    }

    /// Whether an ignoreregex matches. Where all failregexes are tried, all ignoreregexes are, too, to be counted.
    fn ignores(&self, text: &str, reading: &mut Reading) -> bool {
        let mut any = false;
        for (number, regex) in self.ignoreregex.iter().enumerate() {
            if looked((Which::Ignoreregex(number), regex), text, reading).is_none() {
                continue;
            }
            any = true;
            reading.ignored_by = Some(number);
            reading.ignored.push(number);
            reading.outcome = Outcome::Ignored;
            if !self.settings.check_all {
                break;
            }
        }
        any
    }

    /// A failregex matched: the session, the id, and whether it counts (contract §3.5, §3.6). False where nobody is
    /// named, now or later.
    fn found(
        &mut self,
        regex: usize,
        (groups, matches): (Fields, Vec<Arc<str>>),
        split: &Split<'_>,
        reading: &mut Reading,
    ) -> Result<bool, Refused> {
        let mut case = match groups.get("mlfid").map(Field::to_string) {
            Some(mlfid) => self.sessions.merge(split.now.steady, &mlfid, groups, matches),
            None => session::Case::single(groups, matches),
        };
        let informs = case.nofail();
        let mut identity = None;
        if !informs || self.settings.check_all {
            match failure::identify(&case, self.usedns) {
                Ok(Some(whose)) => {
                    if let Some(address) = whose.address {
                        case.set("ip", address.to_string());
                    }
                    if !informs {
                        reading.outcome = Outcome::Failed;
                    }
                    identity = Some(whose.identity);
                }
                Ok(None) if case.mlfid().is_none() => return Ok(false),
                Ok(None) => case.wait(),
                Err(refused) => {
                    self.sessions.keep(case);
                    return Err(refused);
                }
            }
        }
        if reading.outcome != Outcome::Failed {
            reading.outcome = Outcome::Informed;
        }
        if informs && !self.settings.check_all {
            self.sessions.keep(case);
            return Ok(true);
        }
        self.tell(regex, (case, identity, informs), split, reading);
        Ok(true)
    }

    /// Tells of a match, and gives its case back to the session.
    fn tell(
        &mut self,
        regex: usize,
        (case, identity, informs): (session::Case, Option<Identity>, bool),
        split: &Split<'_>,
        reading: &mut Reading,
    ) {
        if self.settings.tell >= Tell::Hits {
            reading.share(&case);
            reading.hits.push(Hit {
                regex,
                identity: identity.clone(),
                time: split.at,
                whole: split.whole,
                nofail: informs || case.get("nofail").is_some_and(Field::is_true),
                fields: case.fields(),
                matches: case.matches().to_vec(),
            });
        }
        let Some((identity, time)) = identity.zip(split.at).filter(|_| !informs) else {
            return self.sessions.keep(case);
        };
        let (data, matches) = self.sessions.told(case);
        reading.failures.push(Failure {
            jail: Arc::clone(&self.jail),
            identity,
            time,
            data,
            matches,
        });
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

/// One search within the budget; what goes over it goes once to the slow lane, and over that it is unknown.
fn looked<'t>((which, regex): (Which, &Pattern), text: &'t str, reading: &mut Reading) -> Option<Found<'t>> {
    let search = match regex.search(text, Lane::Fast) {
        Search::OverBudget => regex.search(text, Lane::Slow),
        other => other,
    };
    match search {
        Search::Found(found) => Some(found),
        Search::No => None,
        Search::OverBudget => {
            (reading.outcome, reading.over_budget) = (Outcome::Unknown, Some(which));
            None
        }
    }
}

/// Whether a pattern matches, where no more is asked.
fn matched((which, regex): (Which, &Pattern), text: &str, reading: &mut Reading) -> bool {
    match regex.is_match(text) {
        Some(answer) => answer,
        None => looked((which, regex), text, reading).is_some(),
    }
}

#[cfg(test)]
mod tests;
