//! Which template finds the date of a line, and how the templates are ranked meanwhile (contract §3.8).
//!
//! A date format belongs to a log file, so the detector remembers: the last template and the place of its match are
//! tried first, templates that win rise, and a date far behind the usual place is taken only when there is no
//! nearer one. An attacker who writes a date into a user name must not move the time of the line.

use jiff::tz::TimeZone;

use super::mask::{Asked, Mask, Nobody};
use super::memo::{Memo, Part};
use super::place::{Last, Match};
use super::program::{Scratch, pair};
use super::reckon::{self, Day, Zone};
use super::roster;
use super::search::{Engine, Exhausted};
use super::template::{Kind, Template};
use super::zone;
use super::{Error, Found, PatternName, Read, Reading, TemplateView};
use crate::time::{Seconds, Timestamp};

/// The latest year of `%ExY` until the first line tells what year it is.
const FIRST_LAST_YEAR: i16 = 2029;

/// A template that was idle for longer than this gives up its place.
const IDLE: Seconds = Seconds::new(300);

/// Searches that are remembered: a log has one format of dates, of one or two lengths.
const MASKS: usize = 4;

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
    asked: Asked,
    /// The last used first.
    masks: Vec<Mask>,
    /// How many were made.
    masked: u64,
    #[cfg(test)]
    pub(super) eager: bool,
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

    /// The names of the groups, empty for those that have none.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.template.engine().map(Engine::names).unwrap_or_default();
        names.iter().map(|name| name.as_deref().unwrap_or_default())
    }

    /// The groups of a match with their texts.
    fn groups<'l>(&self, line: &'l str, slots: &[usize]) -> Vec<(&str, Option<&'l str>)> {
        let text = |group| pair(slots, group).and_then(|(start, end)| line.get(start..end));
        self.names()
            .enumerate()
            .map(|(group, name)| (name, text(group)))
            .collect()
    }
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
            asked: Asked::default(),
            masks: Vec::new(),
            masked: 0,
            #[cfg(test)]
            eager: false,
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
        self.masks.clear();
    }

    /// Looks for a date. To be called for every line, in order, also for those whose date nobody needs: each match
    /// decides how later lines are searched.
    pub fn find(&mut self, line: &str, now: Timestamp) -> Option<Found> {
        if self.last_year.is_none() {
            let last_year = reckon::year(now, &self.zone.local).saturating_add(3);
            self.accept_years_to(last_year).ok()?;
        }
        self.scratch.turn();
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
        let Some(slots) = self.slots(line, found) else {
            return no_date(Reading::Unreadable);
        };
        let groups = ranked.groups(line, &slots);
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

    /// Like [`Detector::read`], with whether the time is a whole number, for lines one after the other: `memo` holds
    /// what was read before.
    pub(crate) fn read_next(
        &self,
        line: &str,
        found: &Found,
        now: Timestamp,
        memo: &mut Option<Memo>,
    ) -> (Reading, bool) {
        if let Some((at, whole)) = memo.as_ref().and_then(|memo| memo.recall(line, found, now)) {
            return (Reading::At(at), whole);
        }
        let read = self.read_whole(line, found, now);
        if let Some(new) = Memo::new(line, found, &read, now) {
            *memo = Some(self.dialled(new, line, found, now));
        }
        (read.reading, read.whole)
    }

    fn dialled(&self, memo: Memo, line: &str, found: &Found, now: Timestamp) -> Memo {
        let mask = self.masks.iter().find(|mask| mask.serial == found.mask);
        let ranked = self.ranked.iter().find(|ranked| ranked.id == found.template);
        let (Some(mask), Some(ranked)) = (mask, ranked) else {
            return memo;
        };
        let names = ranked.names();
        let parts: Vec<Part<'_>> = names
            .enumerate()
            .map(|(group, name)| Part {
                name,
                place: mask.group(group),
            })
            .collect();
        let day = match ranked.template.kind {
            Kind::Date => Day::of(&ranked.groups(line, &mask.slots), now, &self.zone),
            _ => None,
        };
        memo.with_dial(line, (mask.serial, ranked.template.kind), &parts, day)
    }

    /// The places of the groups of what was found.
    fn slots(&self, line: &str, found: &Found) -> Option<Vec<usize>> {
        if let Some(mask) = self.masks.iter().find(|mask| mask.serial == found.mask) {
            return Some(mask.slots.clone());
        }
        let ranked = self.ranked.iter().find(|ranked| ranked.id == found.template)?;
        let mut scratch = Scratch::default();
        let text = line.get(..found.limit)?;
        let engine = ranked.template.engine()?;
        let again = engine.search(text, found.from, &mut scratch, &mut Nobody);
        (again == Ok(true)).then(|| scratch.slots().to_vec())
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

    /// All that decides how the next line is searched, but for the ranking.
    #[cfg(test)]
    pub(super) fn standing(&self) -> String {
        let ranked: Vec<_> = self
            .ranked
            .iter()
            .map(|ranked| (ranked.matches, ranked.distance))
            .collect();
        format!("{ranked:?} {:?} {}", self.last, self.first_unused)
    }

    /// How many searches were remembered.
    #[cfg(test)]
    pub(super) fn searches(&self) -> u64 {
        self.masked
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
        let found = ranked.template.search(text, from, &mut self.scratch, &mut Nobody);
        self.matched(index, line, limit, found)
    }

    /// The same, with the help of earlier searches, for a line that most likely looks like the last one.
    fn retry_template(&mut self, index: usize, line: &str, (from, limit): (usize, usize)) -> Option<Match> {
        #[cfg(test)]
        if self.eager {
            return self.try_template(index, line, (from, limit));
        }
        let text = line.get(..limit)?;
        let ranked = self.ranked.get_mut(index)?;
        let id = ranked.id;
        let fits = |mask: &Mask| mask.template == id && mask.from == from && mask.fits(text.as_bytes());
        if let Some(place) = self.masks.iter().position(fits) {
            ranked.matches += 1;
            if place != 0 {
                self.masks.swap(0, place);
            }
            return self
                .masks
                .first()
                .and_then(|mask| Match::of_mask(mask, index, line, limit));
        }
        self.asked.begin(from);
        let found = ranked.template.search(text, from, &mut self.scratch, &mut self.asked);
        let mut found = self.matched(index, line, limit, found)?;
        let serial = self.masked + 1;
        if let Some(mask) = Mask::new((id, from, serial), text, &self.asked, &self.scratch) {
            self.masked = serial;
            found.found.mask = serial;
            self.masks.truncate(MASKS - 1);
            self.masks.insert(0, mask);
        }
        Some(found)
    }

    /// Counts what a search came to; the groups are in the working memory.
    fn matched(&mut self, index: usize, line: &str, limit: usize, found: Result<bool, Exhausted>) -> Option<Match> {
        let ranked = self.ranked.get_mut(index)?;
        match found {
            Ok(true) => {}
            Ok(false) => return None,
            Err(Exhausted) => {
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
            mask: 0,
        };
        Some(Match::new(index, line, found))
    }

    /// Step A: the last template, at the last place if what stands around it looks the same.
    fn again(&mut self, line: &str) -> Again {
        let Some(last) = self.last else { return Again::Nothing };
        let Some(anchored) = self.ranked.get(last.index).map(|ranked| ranked.template.anchored) else {
            return Again::Nothing;
        };
        let whole = (0, line.len());
        if anchored {
            return match self.retry_template(last.index, line, whole) {
                Some(found) => Again::Accepted(found),
                None => Again::Whole(None, last.index),
            };
        }
        let part = last.part(line);
        let found = self.retry_template(last.index, line, part.unwrap_or(whole));
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
        self.scratch.survey(line);
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
        self.last = Some(place.moved_to(index));
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
