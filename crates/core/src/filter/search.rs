//! A line without its date, searched: ignoreregex, prefregex, failregexes, and what a match means (contract §3.4 steps 4
//! to 6, §3.5, §3.6).

use std::sync::Arc;

use super::dated::Split;
use super::failure::{self, Refused};
use super::fields::Fields;
use super::prefilter::Chosen;
use super::window::{cut, joined};
use super::{
    Buffered, Captured, Failure, Filter, Hit, Identity, Outcome, Reading, Tell, Warning, Which, session, window,
};
use crate::ledger::Field;
use crate::pattern::{Found, Lane, Pattern, Search};

/// What the patterns are searched in.
#[derive(Default)]
pub(super) struct Text {
    pub(super) text: String,
    /// Where the part begins in which the failregexes are searched
    start: usize,
    /// The window that it was made of, where matches span lines.
    lines: Vec<Buffered>,
}

impl Text {
    /// None yet, in the room of another.
    pub(super) fn within(text: String) -> Text {
        Text {
            text,
            ..Text::default()
        }
    }

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
    /// Whether nobody wants to know what the prefregex captured, and nothing can be wrong with that.
    fn tells_no_prefix(&self) -> bool {
        let is_plain = |prefregex: &Pattern| !prefregex.group_names().iter().any(|name| failure::is_complex(name));
        self.settings.tell < Tell::Prefixes && self.prefregex.as_ref().is_some_and(is_plain)
    }

    /// Ignoreregex, prefregex, failregexes (contract §3.4 steps 4–6).
    pub(super) fn search(&mut self, (on, chosen): (&mut Text, &Chosen<'_>), split: &Split<'_>, reading: &mut Reading) {
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
            let told = (self.settings.tell == Tell::Prefixes).then(|| prefix.clone().into_list());
            let content = match prefix.remove("content") {
                Some(Field::Tuple(_)) => return reading.refuse("content of several parts", split.line),
                Some(Field::Text(content)) if !content.is_empty() => Some(content),
                _ => None,
            };
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
