//! Which template finds the date of a line, and how the templates are ranked meanwhile (contract §3.8).
//!
//! A date format belongs to a log file, so the detector remembers: the last template and the place of its match are
//! tried first, templates that win rise, and a date far behind the usual place is taken only when there is no
//! nearer one. An attacker who writes a date into a user name must not move the time of the line.

use jiff::tz::TimeZone;

use super::letter;
use super::program::Scratch;
use super::reckon::{self, Zone};
use super::roster;
use super::template::{Kind, Template};
use super::zone;
use super::{Error, Found, PatternName, Read, Reading, TemplateView};
use crate::time::{Seconds, Timestamp};

/// The latest year of `%ExY` until the first line tells what year it is.
const FIRST_LAST_YEAR: i16 = 2029;

/// A template that was idle for longer than this gives up its place.
const IDLE: Seconds = Seconds::new(300);

/// No distance yet.
const FAR: usize = 0x7fff_ffff;

/// Finds and reads the dates of one jail's log lines; it learns from each line.
#[derive(Clone, Debug)]
pub struct Detector {
    datepattern: Option<String>,
    zone: Zone,
    last_year: Option<i16>,
    ranked: Vec<Ranked>,
    first_unused: usize,
    last: Option<Last>,
    exhausted: u64,
    scratch: Scratch,
}

/// A template with its history.
#[derive(Clone, Debug)]
struct Ranked {
    /// Its number in the roster, which stays when the order changes.
    id: usize,
    template: Template,
    hits: u64,
    /// Matches including those that did not win.
    matches: u64,
    last_used: Timestamp,
    distance: usize,
}

impl Ranked {
    #[expect(clippy::cast_precision_loss, reason = "2^53 lines are more than any log has")]
    fn weight(&self) -> f64 {
        self.hits as f64 * self.template.weight / self.distance.max(1) as f64
    }
}

/// The last match; places are counted in characters, as lines before and after may hold others.
#[derive(Clone, Copy, Debug)]
struct Last {
    index: usize,
    start: usize,
    before: Option<char>,
    first: char,
    end: usize,
    final_char: Option<char>,
    after: Option<char>,
}

/// A match of one line.
#[derive(Clone, Copy, Debug)]
struct Match {
    index: usize,
    /// In characters.
    start: usize,
    end: usize,
    found: Found,
}

impl Detector {
    /// A detector for a `datepattern` (one pattern a line; `None` for the default list), with the zone of dates that
    /// name none: `logtimezone` (contract §3.9), or else `local`.
    ///
    /// # Errors
    /// A pattern or a zone that Fail2Ban would refuse, or a regex that does not compile.
    pub fn new(datepattern: Option<&str>, logtimezone: Option<&str>, local: TimeZone) -> Result<Detector, Error> {
        let fixed = logtimezone.map(zone::standing_offset).transpose();
        let fixed = fixed.map_err(|_| Error::Zone(logtimezone.unwrap_or_default().to_owned()))?;
        let mut detector = Detector {
            datepattern: datepattern.map(str::to_owned),
            zone: Zone { fixed, local },
            last_year: None,
            ranked: Vec::new(),
            first_unused: 0,
            last: None,
            exhausted: 0,
            scratch: Scratch::default(),
        };
        detector.enlist(roster::read(datepattern.unwrap_or_default(), FIRST_LAST_YEAR)?);
        Ok(detector)
    }

    /// Sets the latest year that `%ExY` accepts; the earliest is 2000. Without it, it is three years after the year
    /// of the first line's `now`. A back-test of old logs needs it; to be called before the first line, as it
    /// forgets what was learned.
    ///
    /// # Errors
    /// None that [`Detector::new`] would not have had.
    pub fn accept_years_to(&mut self, last_year: i16) -> Result<(), Error> {
        self.last_year = Some(last_year);
        let mut templates = roster::read(self.datepattern.as_deref().unwrap_or_default(), last_year)?;
        if templates.is_empty() {
            templates = roster::defaults(last_year)?;
        }
        self.enlist(templates);
        self.first_unused = 0;
        self.last = None;
        Ok(())
    }

    fn enlist(&mut self, templates: Vec<Template>) {
        let ranked = templates.into_iter().enumerate().map(|(id, template)| Ranked {
            id,
            template,
            hits: 0,
            matches: 0,
            last_used: Timestamp::default(),
            distance: FAR,
        });
        self.ranked = ranked.collect();
    }

    /// Looks for a date. To be called for every line, in order, also for those whose date nobody needs: each match
    /// decides how later lines are searched.
    pub fn find(&mut self, line: &str, now: Timestamp) -> Option<Found> {
        if self.last_year.is_none() {
            let last_year = reckon::year(now, &self.zone.local).saturating_add(3);
            self.accept_years_to(last_year).ok()?;
        }
        let (provisional, skipped) = match self.again(line) {
            Again::Accepted(found) => return Some(self.win(line, found, now)),
            Again::Provisional(found) => (Some(found), None),
            Again::Whole(found, index) => (found, Some(index)),
            Again::Nothing => (None, None),
        };
        let found = self.search_all(line, provisional, skipped)?;
        Some(self.win(line, found, now))
    }

    /// The time that a found date stands for. Missing years and days are taken from `now`, the wall time.
    #[must_use]
    pub fn read(&self, line: &str, found: &Found, now: Timestamp) -> Reading {
        self.read_whole(line, found, now).reading
    }

    /// Like [`Detector::read`], with all that is known of the date.
    #[must_use]
    pub fn read_whole(&self, line: &str, found: &Found, now: Timestamp) -> Read {
        let no_date = |reading| Read {
            reading,
            whole: false,
            until: now,
        };
        let Some(ranked) = self.ranked.iter().find(|ranked| ranked.id == found.template) else {
            return no_date(Reading::Unreadable);
        };
        if found.beyond_end {
            let why = "a date pattern matched at the end of the line";
            return no_date(Reading::Refused(why.to_owned()));
        }
        if found.start == found.end {
            return no_date(Reading::NoText);
        }
        let mut scratch = Scratch::default();
        let (Some(engine), Some(text)) = (ranked.template.engine(), line.get(..found.limit)) else {
            return no_date(Reading::Unreadable);
        };
        match engine.search(text, found.from, &mut scratch) {
            Ok(true) => {}
            _ => return no_date(Reading::Unreadable),
        }
        let groups: Vec<(&str, Option<&str>)> = engine
            .names()
            .iter()
            .enumerate()
            .map(|(group, name)| {
                let value = scratch.group(group).and_then(|(start, end)| text.get(start..end));
                (name.as_deref().unwrap_or_default(), value)
            })
            .collect();
        let own = groups
            .iter()
            .any(|(name, text)| matches!(*name, "z" | "Z") && text.is_some());
        let whole = match ranked.template.kind {
            Kind::Date => own || self.zone.fixed.is_some(),
            Kind::Epoch { .. } => false,
            Kind::Tai => true,
        };
        let (reading, until) = reckon::read(ranked.template.kind, &groups, now, &self.zone);
        Read { reading, whole, until }
    }

    /// The templates in their present order.
    pub fn templates(&self) -> impl Iterator<Item = TemplateView<'_>> {
        self.ranked.iter().map(|ranked| TemplateView {
            id: ranked.id,
            name: &ranked.template.name,
            pattern: ranked.template.pattern.as_deref(),
            regex: &ranked.template.regex,
            hits: ranked.hits,
            weight: ranked.weight(),
            base_weight: ranked.template.weight,
            last_used: (ranked.last_used != Timestamp::default()).then_some(ranked.last_used),
        })
    }

    /// What `get <jail> datepattern` shows.
    #[must_use]
    pub fn pattern_name(&self) -> PatternName<'_> {
        match self.ranked.as_slice() {
            [first] | [first, _] => PatternName::Template {
                pattern: first.template.pattern.as_deref(),
                name: &first.template.name,
            },
            _ => PatternName::Default,
        }
    }

    /// Searches that were given up because a line cost too much; whether those lines hold a date is not known.
    #[must_use]
    pub fn exhausted(&self) -> u64 {
        self.exhausted
    }

    /// One template, on the text up to `limit` from `from` on.
    fn try_template(&mut self, index: usize, line: &str, (from, limit): (usize, usize)) -> Option<Match> {
        let ranked = self.ranked.get_mut(index)?;
        let text = line.get(..limit)?;
        match ranked.template.search(text, from, &mut self.scratch) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(_) => {
                self.exhausted += 1;
                return None;
            }
        }
        ranked.matches += 1;
        let (whole_start, whole_end) = self.scratch.group(0)?;
        let (start, end) = self.scratch.group(1).unwrap_or((0, 0));
        let found = Found {
            start,
            end,
            template: ranked.id,
            from: whole_start,
            to: whole_end,
            limit,
            beyond_end: false,
        };
        Some(Match {
            index,
            start: characters(line, whole_start),
            end: characters(line, whole_end),
            found,
        })
    }

    /// Step A: the last template, at the last place if what stands around it looks the same.
    fn again(&mut self, line: &str) -> Again {
        let Some(last) = self.last else { return Again::Nothing };
        let Some(anchored) = self.ranked.get(last.index).map(|ranked| ranked.template.anchored) else {
            return Again::Nothing;
        };
        let whole = (0, line.len());
        if anchored {
            return match self.try_template(last.index, line, whole) {
                Some(found) => Again::Accepted(found),
                None => Again::Whole(None, last.index),
            };
        }
        let part = last.part(line);
        let found = self.try_template(last.index, line, part.unwrap_or(whole));
        match found {
            Some(found) if self.ranked.len() == 1 || (found.start == last.start && found.end == last.end) => {
                Again::Accepted(found)
            }
            found if part.is_none() => Again::Whole(found, last.index),
            Some(found) => Again::Provisional(found),
            None => Again::Nothing,
        }
    }

    /// Step B: all templates in order, on the whole line.
    fn search_all(&mut self, line: &str, mut best: Option<Match>, skipped: Option<usize>) -> Option<Match> {
        let last_start = self.last.map_or(1, |last| last.start);
        for index in 0..self.ranked.len() {
            if skipped == Some(index) {
                continue;
            }
            let Some(found) = self.try_template(index, line, (0, line.len())) else {
                continue;
            };
            let Some(ranked) = self.ranked.get(index) else { continue };
            let Some(next) = self.ranked.get(index + 1) else {
                return Some(found);
            };
            let settled = found.start == 0 && ranked.hits > 0 && next.matches == 0;
            let near = found.start <= ranked.distance && found.start <= last_start;
            if ranked.template.anchored || settled || near {
                return Some(found);
            }
            if best.is_none_or(|best| found.start < best.start) {
                best = Some(found);
            }
        }
        best
    }

    /// Step C: counts the winner, remembers the place and lets it rise.
    fn win(&mut self, line: &str, found: Match, now: Timestamp) -> Found {
        let index = found.index;
        if let Some(ranked) = self.ranked.get_mut(index) {
            ranked.hits += 1;
            ranked.last_used = now;
            ranked.distance = found.start;
        }
        if self.first_unused == index {
            self.first_unused += 1;
        }
        let Some(place) = Last::new(line, &found) else {
            // Fail2Ban fails on such a line, after it has counted the hit and before it remembers the place.
            return Found {
                beyond_end: true,
                ..found.found
            };
        };
        let moved = index != 0 && self.last.is_none_or(|last| last.index != index);
        let index = if moved { self.rise(index) } else { index };
        self.last = Some(Last { index, ..place });
        found.found
    }

    /// Moves a template up if its weight, or the idleness of the one above, allows it; returns its new place.
    fn rise(&mut self, from: usize) -> usize {
        let far = if self.first_unused < from {
            self.first_unused
        } else {
            from / 2
        };
        let Some(to) = [far, from - 1].into_iter().find(|&to| self.outranks(from, to)) else {
            return from;
        };
        let ranked = self.ranked.remove(from);
        self.ranked.insert(to, ranked);
        while self.ranked.get(self.first_unused).is_some_and(|ranked| ranked.hits > 0) {
            self.first_unused += 1;
        }
        to
    }

    fn outranks(&self, from: usize, to: usize) -> bool {
        let (Some(lower), Some(upper)) = (self.ranked.get(from), self.ranked.get(to)) else {
            return false;
        };
        lower.weight() > upper.weight() || lower.last_used - IDLE > upper.last_used
    }
}

/// How the repeated search of step A ended.
enum Again {
    /// The winner.
    Accepted(Match),
    /// A match within the last place, but not all of it.
    Provisional(Match),
    /// What the whole line gave for this template, which need not be tried again.
    Whole(Option<Match>, usize),
    /// No match.
    Nothing,
}

impl Last {
    /// The place of a match; `None` if it begins at the end of the line.
    fn new(line: &str, found: &Match) -> Option<Last> {
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

    /// The last place in another line, in bytes, if its borders look the same: equal outside, or inside equal and
    /// no letter or digit.
    fn part(&self, line: &str) -> Option<(usize, usize)> {
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
