//! Points in time, lengths of time, and Fail2Ban's way to write lengths.
//!
//! Two clocks exist, and one type serves both. The *steady* clock starts at the wall clock's reading and then
//! only ever runs forward at one second a second, whatever happens to the wall clock; the engine counts and
//! bans on it, so that a clock set back or forth neither lifts nor stretches a ban. The *wall* clock is what
//! log lines carry and what people read; [`Clock`] holds the difference.

use std::fmt;
use std::ops::{Add, Sub};

const MICROS: i64 = 1_000_000;

/// A point in time: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A length of time in microseconds; negative lengths are before, and a negative ban time means for ever.
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

    /// A negative ban time means that the ban does not end (contract §2.2).
    #[must_use]
    pub const fn is_forever(self) -> bool {
        self.0 < 0
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

/// Reads a time expression: numbers, units, `+ - * /` and parentheses (contract §2.5).
///
/// # Errors
/// [`NotALength`] for anything else.
pub fn parse_length(text: &str) -> Result<Number, NotALength> {
    let fail = || NotALength(text.to_owned());
    let tokens = tokens(text).ok_or_else(fail)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let number = parser.sum().ok_or_else(fail)?;
    if parser.at == tokens.len() {
        Ok(number)
    } else {
        Err(fail())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Number(Number),
    Sign(char),
}

/// A number, its unit if one follows, and the `+` that Fail2Ban puts between neighbours.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() || first == '.' {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (digits, after) = rest.split_at(end);
            if matches!(out.last(), Some(Token::Number(_))) {
                out.push(Token::Sign('+'));
            }
            out.push(Token::Number(number(digits)?));
            rest = after;
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let Some(Token::Number(last)) = out.pop() else {
                return None;
            };
            out.push(Token::Number(times(last, unit(&word.to_ascii_lowercase())?)));
            rest = after;
        } else if "+-*/()".contains(first) {
            out.push(Token::Sign(first));
            rest = rest.get(1..)?;
        } else if first.is_whitespace() {
            rest = rest.trim_start();
        } else {
            return None;
        }
    }
    Some(out)
}

fn number(digits: &str) -> Option<Number> {
    if digits.contains('.') {
        digits.parse().ok().map(Number::Float)
    } else {
        digits.parse().ok().map(Number::Int)
    }
}

fn unit(word: &str) -> Option<i64> {
    Some(match word {
        "s" | "ss" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "mm" | "min" | "minute" | "minutes" => 60,
        "h" | "hh" | "hou" | "hour" | "hours" => 3600,
        "d" | "dd" | "da" | "day" | "days" => 86_400,
        "w" | "ww" | "wee" | "week" | "weeks" => 604_800,
        "mo" | "mon" | "month" | "months" => 2_629_800,
        "y" | "yy" | "yea" | "year" | "years" => 31_557_600,
        _ => return None,
    })
}

fn times(number: Number, factor: i64) -> Number {
    match number {
        Number::Int(n) => Number::Int(n.saturating_mul(factor)),
        #[expect(clippy::cast_precision_loss, reason = "units are small")]
        Number::Float(f) => Number::Float(f * factor as f64),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    fn sum(&mut self) -> Option<Number> {
        let mut left = self.product()?;
        while let Some(Token::Sign(sign @ ('+' | '-'))) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            left = arithmetic(left, sign, right)?;
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Number> {
        let mut left = self.atom()?;
        while let Some(Token::Sign(sign @ ('*' | '/'))) = self.peek() {
            self.at += 1;
            let right = self.atom()?;
            left = arithmetic(left, sign, right)?;
        }
        Some(left)
    }

    fn atom(&mut self) -> Option<Number> {
        // Brackets and signs nest; 64 is deeper than anything a person writes.
        self.depth += 1;
        if self.depth > 64 {
            return None;
        }
        let token = self.peek()?;
        self.at += 1;
        let value = match token {
            Token::Number(number) => number,
            Token::Sign('-') => arithmetic(Number::Int(0), '-', self.atom()?)?,
            Token::Sign('+') => self.atom()?,
            Token::Sign('(') => {
                let inner = self.sum()?;
                if self.peek()? != Token::Sign(')') {
                    return None;
                }
                self.at += 1;
                inner
            }
            Token::Sign(_) => return None,
        };
        self.depth -= 1;
        Some(value)
    }
}

/// Python's arithmetic: whole numbers stay whole but for `/`.
fn arithmetic(left: Number, sign: char, right: Number) -> Option<Number> {
    if let (Number::Int(a), Number::Int(b)) = (left, right) {
        let whole = match sign {
            '+' => a.checked_add(b),
            '-' => a.checked_sub(b),
            '*' => a.checked_mul(b),
            _ => None,
        };
        if sign != '/' {
            return whole.map(Number::Int);
        }
    }
    let (a, b) = (left.as_f64(), right.as_f64());
    let result = match sign {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ if b == 0.0 => return None,
        _ => a / b,
    };
    Some(Number::Float(result))
}

/// A length of time as Fail2Ban's log prints it: at most three units, rounded (contract §2.5).
#[must_use]
pub fn print_length(length: Seconds) -> String {
    const UNITS: [(i64, char); 6] = [
        (31_557_600, 'y'),
        (604_800, 'w'),
        (86_400, 'd'),
        (3600, 'h'),
        (60, 'm'),
        (1, 's'),
    ];
    let seconds = length.whole();
    let step = match seconds.abs() {
        n if n >= 31_557_600 => 86_400,
        n if n >= 604_800 => 3600,
        n if n >= 86_400 => 60,
        n if n >= 3595 => 10,
        _ => 1,
    };
    let mut rest = (seconds + step / 2).div_euclid(step) * step;
    let mut parts = Vec::new();
    for (size, name) in UNITS {
        if rest >= size && parts.len() < 3 {
            parts.push(format!("{}{name}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() {
        "0".to_owned()
    } else {
        parts.join(" ")
    }
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
        check("1year-6mo", Number::Int(15_778_800));
        check("-1", Number::Int(-1));
        check("10 m", Number::Int(600));
        check(" 600 ", Number::Int(600));
        check("(1h+30m)*2", Number::Int(10_800));
        for junk in ["", "abc", "10x", "1/0", "1+", "((1)", "1;2"] {
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
        ] {
            assert_eq!(print_length(Seconds::new(seconds)), expect);
        }
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
