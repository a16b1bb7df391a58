//! From the parts of a date to a point in time (contract §3.9).
//!
//! A year, or a month and a day, that a line leaves out is taken from the wall clock, and moved back if that would
//! put the line into the future. The reckoning is on calendar time without a zone, as Fail2Ban does it, so a
//! date with an explicit zone is compared with the local clock as if both were of one zone; only the last step
//! knows zones. A time that a change of the clocks leaves out is read by the offset before the change; one that comes
//! twice is read as the first (Fail2Ban reads whichever the C library used last).

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::Reading;
use super::letter;
use super::template::Kind;
use super::zone::{self, NoZone};
use crate::time::{Seconds, Timestamp};

const DAY: i64 = 86_400;
const MICROS: i64 = 1_000_000;
const EPOCH: DateTime = jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0);
/// The Gregorian calendar repeats after 146,097 days.
const YEARS_400: i64 = 146_097 * DAY;
/// The start of the year 9999.
const LAST_PLACED: i64 = 253_370_764_800;
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// The zone of dates that name none.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    /// `logtimezone`, in minutes.
    pub(super) fixed: Option<i32>,
    /// What else they are read in.
    pub(super) local: TimeZone,
}

/// Why there is no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The parts make no date.
    NoDate,
    /// Fail2Ban drops the whole line.
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refused(why.into()))
}

/// Reads the groups of a match: name (empty if it has none) and text; and until when it is read so.
pub(super) fn read(kind: Kind, groups: &[(&str, Option<&str>)], now: Timestamp, zone: &Zone) -> (Reading, Timestamp) {
    let value = match kind {
        Kind::Date => parts(groups).and_then(|parts| parts.reckon(now, zone)),
        Kind::Epoch { group, long } => {
            epoch(groups.get(group).and_then(|group| group.1), long).map(|at| (at, Timestamp::MAX))
        }
        Kind::Tai => tai(groups.get(1).and_then(|group| group.1)).map(|at| (at, Timestamp::MAX)),
    };
    match value {
        Ok((at, until)) => (Reading::At(at), until),
        Err(Fault::NoDate) => (Reading::Unreadable, now),
        Err(Fault::Refused(why)) => (Reading::Refused(why), now),
    }
}

/// The year of the local calendar.
pub(super) fn year(now: Timestamp, local: &TimeZone) -> i16 {
    civil(now, local).year()
}

fn civil(now: Timestamp, local: &TimeZone) -> DateTime {
    local.to_datetime(jiff::Timestamp::from_microsecond(now.micros()).unwrap_or_default())
}

/// Seconds since the epoch; a long number may be of milli- or microseconds.
///
/// # Errors
/// A number that is none, or no number at all.
pub(super) fn epoch(text: Option<&str>, long: bool) -> Result<Timestamp, Fault> {
    let Some(text) = text else {
        return refused("the group of an epoch pattern is empty");
    };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let length = if plain { text.len() } else { text.chars().count() };
    let number: Option<f64> = if plain {
        text.parse().ok()
    } else {
        decimal(text).and_then(|text| text.parse().ok())
    };
    let number = number.ok_or(Fault::NoDate)?;
    let scale = match length {
        16.. if long && !text.contains('.') => 1e6,
        13.. if long => 1e3,
        _ => 1.0,
    };
    Ok(Timestamp::from_seconds_f64(number / scale))
}

/// The label without its first digit, which says that the time is after 1970; leap seconds are not taken out.
fn tai(label: Option<&str>) -> Result<Timestamp, Fault> {
    let digits = label.and_then(|label| label.get(2..17)).ok_or(Fault::NoDate)?;
    let seconds = i64::from_str_radix(digits, 16).map_err(|_| Fault::NoDate)?;
    Ok(Timestamp::from_seconds(seconds))
}

/// A plain decimal number, its digits brought to ASCII.
fn decimal(text: &str) -> Option<String> {
    let digits = text
        .trim_matches(letter::is_space)
        .chars()
        .map(|c| match letter::digit(c) {
            Some(value) => char::from_digit(value, 10),
            None => matches!(c, '.' | '+' | '-').then_some(c),
        });
    digits.collect()
}

/// Python's `int()` of digits.
fn integer(text: &str) -> Result<i64, Fault> {
    let text = decimal(text).ok_or(Fault::NoDate)?;
    text.parse().map_err(|_| Fault::NoDate)
}

/// The parts of a date as far as the line gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is Monday.
    weekday: Option<i64>,
    yearday: Option<i64>,
    /// Number, and whether it starts on Monday.
    week: Option<(i64, bool)>,
    /// Minutes
    offset: Option<i32>,
}

fn parts(groups: &[(&str, Option<&str>)]) -> Result<Parts, Fault> {
    let half = groups.iter().find(|(name, _)| *name == "p").map(|(_, text)| *text);
    let mut parts = Parts::default();
    for (name, text) in groups {
        let Some(text) = text else { continue };
        match *name {
            "y" => parts.year = Some(short_year(integer(text)?)),
            "Y" => parts.year = Some(integer(text)?),
            "m" => parts.month = Some(integer(text)?),
            "B" => parts.month = Some(named(text, &MONTHS, usize::MAX)? + 1),
            "b" => parts.month = Some(named(text, &MONTHS, 3)? + 1),
            "d" => parts.day = Some(integer(text)?),
            "H" => parts.hour = integer(text)?,
            "I" => parts.hour = half_day(integer(text)?, half)?,
            "M" => parts.minute = integer(text)?,
            "S" => parts.second = integer(text)?,
            "A" => parts.weekday = Some(named(text, &WEEKDAYS, usize::MAX)?),
            "a" => parts.weekday = Some(named(text, &WEEKDAYS, 3)?),
            "w" => parts.weekday = Some((integer(text)? + 6).rem_euclid(7)),
            "j" => parts.yearday = Some(integer(text)?),
            "U" => parts.week = Some((integer(text)?, false)),
            "W" => parts.week = Some((integer(text)?, true)),
            "z" | "Z" => parts.offset = Some(offset(text)?),
            _ => {}
        }
    }
    Ok(parts)
}

fn short_year(year: i64) -> i64 {
    if year <= 2000 { year + 2000 } else { year }
}

/// Whether the text of a group has a part in the time, but for hour, minute and second.
pub(super) fn counts(name: &str) -> bool {
    matches!(
        name,
        "y" | "Y" | "m" | "B" | "b" | "d" | "p" | "A" | "a" | "w" | "j" | "U" | "W" | "z" | "Z"
    )
}

/// The place of a name among those cut to `length` letters.
fn named(text: &str, names: &[&str], length: usize) -> Result<i64, Fault> {
    let text = text.to_lowercase();
    let place = names.iter().position(|name| name.get(..length).unwrap_or(name) == text);
    place.and_then(|place| i64::try_from(place).ok()).ok_or(Fault::NoDate)
}

/// The hour of the day; `half` is what stands in the group for am or pm, if there is one.
fn half_day(hour: i64, half: Option<Option<&str>>) -> Result<i64, Fault> {
    let half = match half {
        Some(None) => return refused("the half of the day is missing"),
        Some(Some(text)) => text.to_lowercase(),
        None => String::new(),
    };
    Ok(match (half.as_str(), hour) {
        ("" | "am", 12) => 0,
        ("pm", 12) => 12,
        ("pm", hour) => hour + 12,
        (_, hour) => hour,
    })
}

fn offset(text: &str) -> Result<i32, Fault> {
    zone::offset(text).map_err(|fault| match fault {
        NoZone::Form => Fault::NoDate,
        NoZone::Name => Fault::Refused(format!("unknown time zone '{text}'")),
    })
}

/// A day of the calendar, as a line names it: which time each of its seconds is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    /// The time of midnight; no change of the clocks is on that day.
    midnight: i64,
    /// Where the line gives no year: whether it is the one before the clock's.
    past: Option<bool>,
    /// In microseconds: so much after midnight, less the wall time, a line is a day ahead of the clock.
    ahead: i64,
    /// Until when the clock has a year and an offset.
    until: Timestamp,
}

impl Day {
    /// The day of a date that was read; none if it cannot be told from the time of day.
    pub(super) fn of(groups: &[(&str, Option<&str>)], now: Timestamp, zone: &Zone) -> Option<Day> {
        let parts = parts(groups).ok()?;
        let here = civil(now, &zone.local);
        let year = parts.year.unwrap_or_else(|| i64::from(here.year()));
        if !(1000..9000).contains(&year) {
            return None;
        }
        let (month, day) = (parts.month?, parts.day?);
        let offset = parts.offset.or(zone.fixed);
        let mut midnight = midnight(year, month, day).ok()? - i64::from(offset.unwrap_or(0)) * 60;
        let (mut past, mut ahead, mut until) = (None, 0, Timestamp::MAX);
        if parts.year.is_none() {
            let here = seconds_of(here) * MICROS + i64::from(here.subsec_nanosecond()) / 1000;
            ahead = here - now.micros() + (DAY - midnight) * MICROS;
            let before = parts.time_of_day().ok()? * MICROS > now.micros() + ahead;
            if before && offset.is_some_and(|offset| offset != 0) {
                return None;
            }
            if before {
                midnight = self::midnight(year - 1, month, day).ok()?;
            }
            past = Some(before);
            until = same_clock(year, here, now, &zone.local)?;
        }
        if offset.is_none() {
            midnight = even_day(midnight, &zone.local)?;
        }
        Some(Day {
            midnight,
            past,
            ahead,
            until,
        })
    }

    /// The time of hour, minute and second on that day; none if it must be reckoned anew.
    pub(super) fn at(&self, (hour, minute, second): (i64, i64, i64), wall: Timestamp) -> Option<Timestamp> {
        if hour > 23 || minute > 59 || second > 59 || wall >= self.until {
            return None;
        }
        let seconds = (hour * 60 + minute) * 60 + second;
        let same = |past| past == (seconds * MICROS > wall.micros() + self.ahead);
        self.past
            .is_none_or(same)
            .then(|| Timestamp::from_seconds(self.midnight + seconds))
    }
}

/// Until when the clock stays in its year, by the margin of [`Parts::reckon`], and at its offset.
fn same_clock(year: i64, here: i64, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let left = midnight(year + 1, 1, 1).ok()? - here.div_euclid(MICROS) - 2 * DAY;
    let until = now + Seconds::new(left.max(0));
    let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
    let change = zone.following(now).next();
    Some(change.map_or(until, |change| {
        until.min(Timestamp::from_seconds(change.timestamp().as_second()))
    }))
}

/// The time of a midnight, if the clocks do not change until the next.
fn even_day(midnight: i64, zone: &TimeZone) -> Option<i64> {
    let at = |seconds: i64| {
        let time = zone.to_ambiguous_timestamp(time_of(seconds)?);
        (!time.is_ambiguous()).then(|| time.compatible().ok()).flatten()
    };
    let (first, last) = (at(midnight)?, at(midnight + DAY - 1)?);
    let even = last.as_second() - first.as_second() == DAY - 1;
    let change = zone.following(first).next().map(|change| change.timestamp());
    (even && change.is_none_or(|change| change > last)).then(|| first.as_second())
}

impl Parts {
    /// The time, and until when it is that.
    fn reckon(mut self, now: Timestamp, zone: &Zone) -> Result<(Timestamp, Timestamp), Fault> {
        let here = civil(now, &zone.local);
        let assume_year = self.year.is_none();
        let mut year = self.year.unwrap_or_else(|| i64::from(here.year()));
        if self.month.is_none() || self.day.is_none() {
            year = self.place_yearday(year)?;
        }
        let assume_today = self.month.is_none() && self.day.is_none();
        if assume_today {
            self.month = Some(i64::from(here.month()));
            self.day = Some(i64::from(here.day()));
        }
        let (Some(month), Some(day)) = (self.month, self.day) else {
            return refused("a date has a month or a day only");
        };
        let offset = self.offset.or(zone.fixed);
        let mut seconds = midnight(year, month, day)? + self.time_of_day()? - i64::from(offset.unwrap_or(0)) * 60;
        in_range(seconds)?;
        let here = seconds_of(here) * MICROS + i64::from(here.subsec_nanosecond()) / 1000;
        if assume_today && seconds * MICROS > here {
            seconds -= DAY;
        }
        let mut until = Timestamp::MAX;
        if assume_today {
            until = now;
        } else if assume_year {
            // A day's margin is more than the clock can be put forth by its zone.
            let left = midnight(year + 1, 1, 1)? - here.div_euclid(MICROS) - 2 * DAY;
            until = now + Seconds::new(left.max(0));
        }
        if assume_year && seconds * MICROS > here + DAY * MICROS {
            seconds = midnight(year - 1, month, day)? + seconds.rem_euclid(DAY);
            until = now;
        }
        in_range(seconds)?;
        let at = match offset {
            Some(_) => seconds,
            None => local(seconds, &zone.local)?,
        };
        Ok((Timestamp::from_seconds(at), until))
    }

    /// Month and day from the day of the year, or from week and weekday; returns the year, which may change.
    fn place_yearday(&mut self, year: i64) -> Result<i64, Fault> {
        let first = || midnight(year, 1, 1).map(|seconds| seconds.div_euclid(DAY));
        let yearday = match (self.yearday, self.week, self.weekday) {
            (None, Some(week), Some(weekday)) => of_week(first()?, week, weekday),
            (Some(yearday), ..) => yearday,
            _ => return Ok(year),
        };
        let date = date_of((first()? + yearday - 1) * DAY)?;
        self.month = Some(i64::from(date.month()));
        self.day = Some(i64::from(date.day()));
        Ok(i64::from(date.year()))
    }

    fn time_of_day(&self) -> Result<i64, Fault> {
        let valid = (0..24).contains(&self.hour) && (0..60).contains(&self.minute) && (0..60).contains(&self.second);
        if valid {
            Ok((self.hour * 60 + self.minute) * 60 + self.second)
        } else {
            Err(Fault::NoDate)
        }
    }
}

/// The day of the year of a weekday in a week; week 0 is what stands before the first whole week.
fn of_week(first: i64, (week, from_monday): (i64, bool), weekday: i64) -> i64 {
    let shift = i64::from(!from_monday);
    // The first of January 1970 was a Thursday.
    let first_weekday = (first + 3 + shift).rem_euclid(7);
    let weekday = (weekday + shift).rem_euclid(7);
    if week == 0 {
        return 1 + weekday - first_weekday;
    }
    1 + (7 - first_weekday) % 7 + 7 * (week - 1) + weekday
}

/// The calendar's midnight in seconds, of the years 1 to 9999.
fn midnight(year: i64, month: i64, day: i64) -> Result<i64, Fault> {
    let year = i16::try_from(year).ok().filter(|year| (1..=9999).contains(year));
    let date = year.and_then(|year| Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok());
    Ok(seconds_of(
        date.ok_or(Fault::NoDate)?.to_datetime(jiff::civil::Time::midnight()),
    ))
}

/// Calendar time in seconds, as if it were UTC.
fn seconds_of(time: DateTime) -> i64 {
    time.duration_since(EPOCH).as_secs()
}

fn time_of(seconds: i64) -> Option<DateTime> {
    EPOCH.checked_add(SignedDuration::from_secs(seconds)).ok()
}

fn date_of(seconds: i64) -> Result<Date, Fault> {
    let date = time_of(seconds).map(DateTime::date);
    date.filter(|date| (1..=9999).contains(&date.year()))
        .ok_or(Fault::NoDate)
}

/// Fail2Ban cannot count beyond the years 1 to 9999.
fn in_range(seconds: i64) -> Result<(), Fault> {
    date_of(seconds)
        .map(drop)
        .map_err(|_| Fault::Refused("the zone moves the date out of the calendar".to_owned()))
}

/// Calendar time of a zone in seconds since the epoch. The last day that the calendar library can place in a zone is
/// in 9999, so that year is placed by its twin 400 years before.
fn local(seconds: i64, zone: &TimeZone) -> Result<i64, Fault> {
    let twin = if seconds > LAST_PLACED { YEARS_400 } else { 0 };
    let time = time_of(seconds - twin).ok_or(Fault::NoDate)?;
    let at = zone
        .to_ambiguous_timestamp(time)
        .compatible()
        .map_err(|_| Fault::NoDate)?;
    Ok(at.as_second() + twin)
}
