//! When lines are written: evenly spread over a span, in seconds and microseconds of UTC.

use std::fmt::Write as _;

/// How the stamp at the start of a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamps {
    /// `Jan 15 12:00:00`, as syslog has always written it
    Traditional,
    /// `2026-01-15T12:00:00.000000+00:00`
    Iso,
    /// Either, by chance, line by line
    Mixed,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Appends the stamp of a time, in microseconds since 1970.
pub(crate) fn stamp(out: &mut String, at: u64, iso: bool) {
    let (second, micro) = (at / 1_000_000, at % 1_000_000);
    let (year, month, day) = date(second / 86_400);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    // Writing to a string cannot fail.
    let _ = if iso {
        write!(
            out,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}+00:00"
        )
    } else {
        let month = MONTHS[month as usize - 1];
        write!(out, "{month} {day:>2} {hour:02}:{minute:02}:{second:02}")
    };
}

/// Year, month (1 to 12) and day of the month of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is a year's last.
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + 400 * era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{date, stamp};

    #[test]
    fn days_are_those_of_the_calendar() {
        let check = |day: u64, expect: (u64, u64, u64)| assert_eq!(date(day), expect, "{day}");
        check(0, (1970, 1, 1));
        check(11_016, (2000, 2, 29));
        check(11_017, (2000, 3, 1));
        check(20_468, (2026, 1, 15));
        check(20_818, (2026, 12, 31));
    }

    #[test]
    fn stamps_are_those_of_syslog() {
        let check = |iso: bool, expect: &str| {
            let mut text = String::new();
            stamp(&mut text, 1_767_603_909_000_042, iso);
            assert_eq!(text, expect);
        };
        check(false, "Jan  5 09:05:09");
        check(true, "2026-01-05T09:05:09.000042+00:00");
    }
}
