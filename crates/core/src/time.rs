//! Points in time, lengths of time, and Fail2Ban's way to write lengths.
//!
//! Two clocks exist, and one type serves both. The *steady* clock starts at the wall clock's reading and then
//! only ever runs forward at one second a second, whatever happens to the wall clock; the engine counts and
//! bans on it, so that a clock set back or forth neither lifts nor stretches a ban. The *wall* clock is what
//! log lines carry and what people read; [`Clock`] holds the difference.

use std::fmt;
use std::ops::{Add, Sub};

use crate::expression::{Amount, Expression, Scope};
use crate::value::repr_float;

const MICROS: i64 = 1_000_000;

/// A point in time: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A length of time in microseconds; negative lengths are before, and a ban time of −1 s means for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seconds(i64);

impl Timestamp {
    /// Later than every other.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// From whole seconds since the epoch; saturates.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(MICROS))
    }

    /// From seconds since the epoch with a fraction, kept to the microsecond; saturates.
    #[must_use]
    pub fn from_seconds_f64(seconds: f64) -> Self {
        Timestamp(Seconds::from_f64(seconds).0)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Seconds since the epoch with their fraction.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits hold microseconds until the year 2255"
    )]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }
}

impl Seconds {
    /// No time at all.
    pub const ZERO: Seconds = Seconds(0);

    /// For ever, as a ban time.
    pub const FOREVER: Seconds = Seconds(-MICROS);

    /// From whole seconds; saturates.
    #[must_use]
    pub const fn new(seconds: i64) -> Self {
        Seconds(seconds.saturating_mul(MICROS))
    }

    /// From seconds with a fraction, kept to the microsecond; saturates.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float cast saturates, which is what is wanted"
    )]
    pub fn from_f64(seconds: f64) -> Self {
        Seconds((seconds * 1e6).round() as i64)
    }

    /// From microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Seconds(micros)
    }

    /// Microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn whole(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Seconds with their fraction.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "53 bits hold microseconds for 285 years")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / MICROS as f64
    }

    /// A ban time of −1 means that the ban does not end (contract §2.2); other negative ones are over at once.
    #[must_use]
    pub const fn is_forever(self) -> bool {
        self.0 == Self::FOREVER.0
    }
}

impl Add<Seconds> for Timestamp {
    type Output = Timestamp;
    fn add(self, length: Seconds) -> Timestamp {
        Timestamp(self.0.saturating_add(length.0))
    }
}

impl Sub<Seconds> for Timestamp {
    type Output = Timestamp;
    fn sub(self, length: Seconds) -> Timestamp {
        Timestamp(self.0.saturating_sub(length.0))
    }
}

impl Sub for Timestamp {
    type Output = Seconds;
    fn sub(self, other: Timestamp) -> Seconds {
        Seconds(self.0.saturating_sub(other.0))
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What the engine counts by.
    pub steady: Timestamp,
    /// What log lines and people go by.
    pub wall: Timestamp,
}

impl Clock {
    /// Both clocks at the same reading: tests, back-tests, a process that has just started.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Clock { steady: now, wall: now }
    }

    /// The steady time of a wall time, by the present difference.
    #[must_use]
    pub fn to_steady(self, wall: Timestamp) -> Timestamp {
        wall + (self.steady - self.wall)
    }

    /// The wall time of a steady time, by the present difference.
    #[must_use]
    pub fn to_wall(self, steady: Timestamp) -> Timestamp {
        steady + (self.wall - self.steady)
    }
}

/// A time expression that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no length of time (examples: 600, 10m, 1d12h, 1.5h, -1)")]
pub struct NotALength(pub String);

/// What a time expression comes to; Python keeps integers and floats apart, and so do dumps and replies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number
    Int(i64),
    /// A float
    Float(f64),
}

impl Number {
    /// From what an expression came to; nothing for what is infinite or no number. Whole numbers are kept to 63 bits.
    #[must_use]
    pub fn of(amount: &Amount) -> Option<Number> {
        match amount {
            Amount::Float(number) => number.is_finite().then_some(Number::Float(*number)),
            Amount::Truth(truth) => Some(Number::Int(i64::from(*truth))),
            Amount::Whole(number) => {
                Some(Number::Int(i64::try_from(number).unwrap_or_else(|_| {
                    if amount.nearest() < 0.0 { i64::MIN } else { i64::MAX }
                })))
            }
        }
    }

    /// As a float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "lengths of time are far below 2^53 seconds")]
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(f) => f,
        }
    }

    /// As a length of time.
    #[must_use]
    pub fn seconds(self) -> Seconds {
        match self {
            Number::Int(n) => Seconds::new(n),
            Number::Float(f) => Seconds::from_f64(f),
        }
    }
}

/// Reads a length of time: units of time written out, then computed as an expression (contract §2.5).
///
/// # Errors
/// [`NotALength`] for anything else, and for what is infinite or no number.
pub fn parse_length(text: &str) -> Result<Number, NotALength> {
    let amount = length(text).ok();
    amount
        .and_then(|amount| Number::of(&amount))
        .ok_or_else(|| NotALength(text.to_owned()))
}

/// A length of time exactly as Python computes it.
///
/// # Errors
/// What is wrong with the expression; a place in it counts with the units written out.
pub fn length(text: &str) -> Result<Amount, String> {
    if text.len() > LONGEST_LENGTH {
        return Err(format!("a length of time has at most {LONGEST_LENGTH} bytes"));
    }
    let expression = Expression::parse(&spell_out(text), Scope::Length).map_err(|error| error.to_string())?;
    expression.alone().map_err(|error| error.to_string())
}

/// Longer texts are no lengths of time.
const LONGEST_LENGTH: usize = 1024;

/// Words for units and what stands for them, in the order in which Fail2Ban replaces them. A month is the twelfth part
/// of a year, and both are floats.
const WORDS: [(&[&str], &str); 7] = [
    (&["d", "dd", "da", "day", "days"], "*86400"),
    (&["w", "ww", "we", "wee", "week", "weeks"], "*604800"),
    (&["mo", "mon", "month", "months"], "*2629800.0"),
    (&["y", "yy", "ye", "yea", "year", "years"], "*31557600.0"),
    (&["s", "ss", "se", "sec", "second", "seconds"], "*1"),
    (&["m", "mm", "mi", "min", "minute", "minutes"], "*60"),
    (&["h", "hh", "ho", "hou", "hour", "hours"], "*3600"),
];
/// No word of [`WORDS`] is longer.
const LONGEST_WORD: usize = 7;

/// `1d12h` → `1*86400+12*3600`
fn spell_out(text: &str) -> String {
    let mut text: Vec<char> = part_from_letters(text);
    for (words, factor) in WORDS {
        text = replace(&text, words, factor);
    }
    add_neighbours(&text)
}

/// A digit directly after a letter begins a new part.
fn part_from_letters(text: &str) -> Vec<char> {
    let mut out: Vec<char> = Vec::new();
    for c in text.chars() {
        if c.is_ascii_digit() && out.last().is_some_and(char::is_ascii_alphabetic) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Replaces the words of one unit where they follow a digit or a blank and end as words do.
fn replace(text: &[char], words: &[&str], factor: &str) -> Vec<char> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text.get(at) {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        if before.is_some_and(|c| c.is_ascii_digit() || is_blank(*c)) {
            let rest = text.iter().skip(at).take(LONGEST_WORD + 1);
            let word: String = rest.take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            if words.contains(&word.to_ascii_lowercase().as_str()) {
                out.extend(factor.chars());
                at += word.chars().count();
                continue;
            }
        }
        out.push(*c);
        at += 1;
    }
    out
}

/// A blank between two digits is a `+`. Each digit is looked at once: in `1 2 3` there is only one such pair.
fn add_neighbours(text: &[char]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(c) = text.get(at) {
        out.push(*c);
        at += 1;
        let blanks = text.iter().skip(at).take_while(|c| is_blank(**c)).count();
        let Some(next) = text.get(at + blanks) else { continue };
        if c.is_ascii_digit() && blanks > 0 && next.is_ascii_digit() {
            out.push('+');
            out.push(*next);
            at += blanks + 1;
        } else {
            // What was seen to be blank need not be looked at again.
            out.extend(text.iter().skip(at).take(blanks));
            at += blanks;
        }
    }
    out
}

/// What Python's `\s` matches.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// A length of time as Fail2Ban's log prints it: at most three units, rounded (contract §2.5).
#[must_use]
pub fn print_length(length: Seconds) -> String {
    let micros = length.micros();
    print_number(if micros % MICROS == 0 {
        Number::Int(micros / MICROS)
    } else {
        Number::Float(length.as_f64())
    })
}

/// As [`print_length`]; a float below an hour is printed as one.
#[must_use]
pub fn print_number(number: Number) -> String {
    let seconds = number.as_f64();
    let rounded = |unit: f64| Number::Float((seconds / unit).round_ties_even()).seconds().whole();
    // So many of the smallest unit are one of the middle and one of the largest.
    let (mut rest, units) = match seconds {
        s if !s.is_finite() => return format!("{s}s"),
        s if s >= 31_536_000.0 => (rounded(86_400.0), [(365, 'y'), (7, 'w'), (1, 'd')]),
        s if s >= 604_800.0 => (rounded(3600.0), [(168, 'w'), (24, 'd'), (1, 'h')]),
        s if s >= 86_400.0 => (rounded(60.0), [(1440, 'd'), (60, 'h'), (1, 'm')]),
        s if s >= 3595.0 => (rounded(10.0), [(360, 'h'), (6, 'm'), (0, ' ')]),
        _ => return print_short(number),
    };
    let mut parts = Vec::new();
    for (index, (size, name)) in units.into_iter().enumerate() {
        if size > 0 && (index == 0 || rest >= size) {
            parts.push(format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    parts.join(" ")
}

/// Minutes and seconds.
fn print_short(number: Number) -> String {
    let (minutes, seconds, is_zero) = match number {
        Number::Int(n) => {
            let minutes = (n >= 60).then(|| format!("{}m", n / 60));
            let rest = if n >= 60 { n % 60 } else { n };
            (minutes, (rest != 0).then(|| format!("{rest}s")), n == 0)
        }
        Number::Float(f) => {
            let minutes = (f >= 60.0).then(|| format!("{}m", repr_float((f / 60.0).floor())));
            let rest = if f >= 60.0 { f % 60.0 } else { f };
            (
                minutes,
                (rest != 0.0).then(|| format!("{}s", repr_float(rest))),
                f == 0.0,
            )
        }
    };
    if is_zero {
        return "0".to_owned();
    }
    let parts: Vec<String> = minutes.into_iter().chain(seconds).collect();
    parts.join(" ")
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_length(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Number) {
        assert_eq!(parse_length(text), Ok(expect), "{text}");
    }

    #[test]
    fn lengths_of_time() {
        check("1d12h", Number::Int(129_600));
        check("1h+30m", Number::Int(5400));
        check("2*3m", Number::Int(360));
        check("1d 2", Number::Int(86_402));
        check("1.5h", Number::Float(5400.0));
        check("1year-6mo", Number::Float(15_778_800.0));
        check("600 # ten minutes", Number::Int(600));
        check("max(1h, 30m)", Number::Int(3600));
        check("2**3m", Number::Int(480));
        check("-1", Number::Int(-1));
        check("10 m", Number::Int(600));
        check(" 600 ", Number::Int(600));
        check("(1h+30m)*2", Number::Int(10_800));
        for junk in [
            "", "abc", "10x", "1/0", "1+", "((1)", "1;2", "1 2 3", "05m", "1e5", "math.pi",
        ] {
            assert!(parse_length(junk).is_err(), "{junk}");
        }
        assert!(parse_length(&"(".repeat(10_000)).is_err());
    }

    #[test]
    fn printed_lengths() {
        for (seconds, expect) in [
            (5, "5s"),
            (61, "1m 1s"),
            (3600, "1h"),
            (90_000, "1d 1h"),
            (698_400, "1w 1d 2h"),
            (0, "0"),
            (600, "10m"),
            (31_536_000, "1y"),
            (33_696_000, "1y 3w 4d"),
            (3590, "59m 50s"),
            (3595, "1h"),
            (-5, "-5s"),
        ] {
            assert_eq!(print_length(Seconds::new(seconds)), expect);
        }
        assert_eq!(print_number(Number::Float(900.0)), "15.0m");
        assert_eq!(print_number(Number::Float(90.5)), "1.0m 30.5s");
    }

    #[test]
    fn a_clock_keeps_the_difference() {
        let clock = Clock {
            steady: Timestamp::from_seconds(1000),
            wall: Timestamp::from_seconds(4600),
        };
        assert_eq!(
            clock.to_steady(Timestamp::from_seconds(4590)),
            Timestamp::from_seconds(990)
        );
        assert_eq!(
            clock.to_wall(Timestamp::from_seconds(990)),
            Timestamp::from_seconds(4590)
        );
    }
}
