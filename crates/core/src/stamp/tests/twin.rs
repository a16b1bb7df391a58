//! A detector that remembers its searches, and its twin that searches each line anew, must never differ.

use super::*;

/// Formats with digits left open: `#` is any of them, `@` what makes a valid time of day most of the time.
const FORMATS: [&str; 22] = [
    "Nov 2# @:@:@ mx1 sshd[##]: x",
    "Dec  # @:@:@ é: x",
    "Oct 2# 02:@:@ x",
    "Mar 31 02:@:@ x",
    "Feb 30 @:@:@ x",
    "Jan 1# #:@:@ x",
    "Nov 2# ##:##:## x 2#2#",
    "2024-0#-1# @:@:@,### x",
    "2024-10-27T@:@:@.######+01:00 x",
    "2024-03-31 @:@:@.### x",
    "2024-1#-##T@:@:@.###Z #x",
    "20##.0#.## @:@:@ CET +0#:00",
    "[Mon Nov 2# @:@:@.###### 2024] [error]",
    "192.0.2.1## - - [2#/Nov/2024:@:@:@ +0#00] x",
    "x 20##/03/1# @:@:@ 2024-01-01 00:00:00",
    "1718#####0.### x",
    "audit(17184####0.##:1): x",
    "@400000005f##00#0a##00000 x",
    "@:@:@ x",
    "2406## @:@:@ x",
    "0#/1#/2024:@:@:@ 1## x",
    "user Nov 2# @:@:@ from 2024-01-0# @:@:@",
];

const PATTERNS: [Option<&str>; 9] = [
    None,
    Some("{^LN-BEG}"),
    Some(r"%b %d %H:%M:%S"),
    Some(r"^[^ ]+ (?P<_>[A-Z]).*%Y"),
    Some(r"%d(?P<_sep>[-/])%b(?P=_sep)%Y:%H:%M:%S %z"),
    Some("{^LN-BEG}%Y-%m-%dT%H:%M:%S(?:\\.%f)?\n%b %d %k:%M:%S\nEPOCH"),
    Some(r"%I:%M:%S %p"),
    Some(r"{UNB}%b +%d %H:%M(?::%S)?"),
    Some("LEPOCH\n%H:%M:%S$"),
];

fn filled(format: &str, digits: &[u8]) -> String {
    let mut digits = digits.iter().copied().cycle();
    let mut next = |below: u8| digits.next().map_or('0', |digit| char::from(b'0' + digit % below));
    let mut line = String::new();
    for c in format.chars() {
        match c {
            '#' => line.push(next(10)),
            '@' if format.starts_with("@4") && line.is_empty() => line.push('@'),
            '@' => {
                line.push(next(6));
                line.push(next(10));
            }
            other => line.push(other),
        }
    }
    line
}

#[derive(Clone, Debug)]
struct Row {
    format: usize,
    front: &'static str,
    digits: Vec<Vec<u8>>,
    /// Seconds that the clock runs between two lines.
    step: i64,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let front = prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("é "), 1 => Just("<"), 1 => Just("["), 1 => Just("7"), 1 => Just("日x")];
    let digits = prop::collection::vec(prop::collection::vec(0u8..60, 24), 1..6);
    let step = prop_oneof![4 => 0i64..3, 1 => Just(3600), 1 => Just(-7200), 1 => Just(40_000), 1 => Just(4_000_000)];
    let row = (0..FORMATS.len(), front, digits, step).prop_map(|(format, front, digits, step)| Row {
        format,
        front,
        digits,
        step,
    });
    prop::collection::vec(row, 1..14)
}

struct Twins {
    quick: Detector,
    eager: Detector,
    memo: Option<Memo>,
}

impl Twins {
    fn new(pattern: Option<&str>, logtimezone: Option<&str>) -> Twins {
        let mut quick = Detector::new(pattern, logtimezone, zone()).unwrap();
        quick.accept_years_to(2027).unwrap();
        let mut eager = quick.clone();
        eager.eager = true;
        Twins {
            quick,
            eager,
            memo: None,
        }
    }

    fn feed(&mut self, line: &str, now: Timestamp) {
        let (quick, eager) = (self.quick.find(line, now), self.eager.find(line, now));
        assert_eq!(
            quick.map(|found| Found { mask: 0, ..found }),
            eager,
            "{line:?} at {now:?}"
        );
        let (one, other): (Vec<_>, Vec<_>) = (self.quick.templates().collect(), self.eager.templates().collect());
        assert_eq!(one, other, "{line:?} at {now:?}");
        assert_eq!(self.quick.exhausted(), self.eager.exhausted());
        assert_eq!(self.quick.standing(), self.eager.standing(), "{line:?} at {now:?}");
        if let (Some(quick), Some(eager)) = (quick, eager) {
            let read = self.eager.read_whole(line, &eager, now);
            let next = self.quick.read_next(line, &quick, now, &mut self.memo);
            assert_eq!(next, (read.reading, read.whole), "{line:?} at {now:?}");
        }
    }
}

proptest! {
    #[test]
    fn remembering_changes_nothing(
        rows in rows(),
        pattern in 0..PATTERNS.len(),
        logtimezone in prop_oneof![3 => Just(None), 1 => Just(Some("UTC+0230"))],
        start in prop_oneof![Just(1_735_500_000), Just(1_718_445_600), Just(1_730_000_000), Just(1_732_370_000)],
    ) {
        let mut twins = Twins::new(PATTERNS[pattern], logtimezone);
        let mut now = Timestamp::from_seconds(start);
        for row in &rows {
            for digits in &row.digits {
                let line = format!("{}{}", row.front, filled(FORMATS[row.format], digits));
                twins.feed(&line, now);
                now = now + crate::time::Seconds::new(row.step);
            }
        }
    }

    #[test]
    fn remembering_changes_nothing_in_a_jumble(
        lines in prop::collection::vec(date_like(), 1..8),
        again in prop::collection::vec((0..8usize, prop::collection::vec(0u8..10, 40)), 0..24),
        bound in any::<bool>(),
    ) {
        let mut twins = Twins::new(bound.then_some("{^LN-BEG}"), None);
        for line in &lines {
            twins.feed(line, NOON);
        }
        for (place, digits) in &again {
            let mut digits = digits.iter().cycle();
            let other = lines[place % lines.len()].chars().map(|c| match c {
                '0'..='9' if digits.next().is_some_and(|digit| *digit < 4) => {
                    digits.next().map_or('0', |digit| char::from(b'0' + digit))
                }
                c => c,
            });
            twins.feed(&other.collect::<String>(), NOON);
        }
    }
}

/// A second each, over a year with both changes of the clocks, as a clock sees them that is `late` behind.
fn year(format: fn(jiff::civil::DateTime) -> String, late: i64) {
    let mut twins = Twins::new(None, None);
    let mut at: i64 = 1_704_000_000;
    while at < 1_736_500_000 {
        let time = zone().to_datetime(jiff::Timestamp::from_second(at).unwrap());
        twins.feed(&format(time), Timestamp::from_seconds(at + late));
        at += 2_711;
    }
}

#[test]
fn a_year_of_lines() {
    let traditional = |time: jiff::civil::DateTime| time.strftime("%b %e %H:%M:%S host x: y").to_string();
    year(traditional, 1);
    year(traditional, -90_000);
    year(traditional, -8_000_000);
    year(traditional, 20_000_000);
    year(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%f+02:00 x").to_string(), 0);
    year(|time| time.strftime("x - - [%d/%b/%Y:%H:%M:%S] y").to_string(), 0);
}

#[test]
fn digits_alone_need_no_search() {
    let mut detector = detector(None);
    let mut memo = None;
    for second in 0..60 {
        let line = format!("Jun 14 12:{second:02}:{second:02} host x: y");
        let found = detector.find(&line, NOON).unwrap();
        detector.read_next(&line, &found, NOON, &mut memo);
    }
    assert!(detector.searches() <= 2, "{}", detector.searches());
}
