//! Lines that nobody wrote for a filter: cut off, with bytes turned over, two in one, with odd characters and odd
//! addresses. What an attacker can bring into a log must be read as Fail2Ban reads it, too.

use std::time::Instant;

use super::subject::{self, Subject};
use super::{CATCHING_UP, FOLLOWING, Pair, TOOL};
use crate::chance::{Chance, patience};
use crate::count::Count;
use crate::oracle::sample_logs;

/// Lines per filter and mode, in the short form.
const LINES: usize = 120;

/// What is put into lines: white space of Python's and nobody else's, ends of lines that end none, marks, addresses
/// that are none, dates.
const ODDITIES: &[&str] = &[
    "\0",
    "\r",
    "\t",
    "\u{1b}[2K",
    "\u{b}",
    "\u{c}",
    "\u{1c}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{200b}",
    "e\u{301}",
    "ß",
    "İ",
    "ſ",
    "K",
    "٣",
    "\u{fffd}",
    "\u{1f600}",
    "[",
    "]",
    "<",
    ">",
    "\"",
    "'",
    " ",
    "  ",
    ":",
    ": ",
    ",",
    "=",
    "999.1.1.1",
    "1.2.3.4/33",
    "::1",
    "2001:DB8:0:0::1",
    "::ffff:192.0.2.9",
    "[2001:db8::2]",
    "192.000.2.1",
    "12:34:56",
    "evil.example",
    "localhost",
    "rhost=192.0.2.7",
    "from 192.0.2.8 port 22",
    "user=<a>",
    "2005-08-14 11:59:59",
    "Aug 14 11:58:01 ",
    "Feb 30 10:00:00 ",
    "1124013599",
    "@4000000042ff17cf00000000",
    "14/Aug/2005:11:00:00 +0200",
    " XYZ ",
    "2005-08-14T11:00:00+99:99",
];

/// A line in another shape.
fn spoil(dice: &mut Chance, line: &str, other: &str) -> String {
    let place = |dice: &mut Chance, text: &str| text.floor_char_boundary(dice.below(text.len() + 1));
    let at = place(dice, line);
    let there = place(dice, other);
    match dice.below(10) {
        0 => line[..at].to_owned(),
        1 => line[at..].to_owned(),
        2 => format!("{line}{other}"),
        3 => format!("{}{}", &line[..at], &other[there..]),
        4 => format!("{}{}{}", &line[..at], &other[there..], &line[at..]),
        5 | 6 => {
            let mut bytes = line.as_bytes().to_vec();
            for _ in 0..=dice.below(3) {
                if let Some(byte) = {
                    let at = dice.below(bytes.len().max(1));
                    bytes.get_mut(at)
                } {
                    *byte ^= 1 << dice.below(8);
                }
            }
            String::from_utf8_lossy(&bytes).replace('\n', " ")
        }
        7 => {
            // A number or a word becomes something else, so that the shape of the line stays.
            let word = |c: char| c.is_alphanumeric() || ".:".contains(c);
            let from = line[..at]
                .rfind(|c| !word(c))
                .map_or(0, |p| p + line[p..].chars().next().map_or(1, char::len_utf8));
            let to = line[at..].find(|c| !word(c)).map_or(line.len(), |p| at + p);
            format!(
                "{}{}{}",
                &line[..from],
                ODDITIES[dice.below(ODDITIES.len())],
                &line[to..]
            )
        }
        _ => format!("{}{}{}", &line[..at], ODDITIES[dice.below(ODDITIES.len())], &line[at..]),
    }
}

/// Spoilt lines of a filter's own samples, now and then one of somebody else's, now and then a sound one.
fn lines(dice: &mut Chance, own: &[Box<str>], all: &[Box<str>]) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.len() < LINES {
        let from = if dice.below(8) == 0 { all } else { own };
        let line = dice.pick(from).to_string();
        let other = if dice.below(2) == 0 {
            dice.pick(own)
        } else {
            dice.pick(all)
        };
        lines.push(match dice.below(6) {
            0 => line,
            1 => {
                let once = spoil(dice, &line, other);
                spoil(dice, &once, other)
            }
            _ => spoil(dice, &line, other),
        });
    }
    lines
}

fn read_spoilt(half: usize, row: &'static str) {
    let mut count = Count::of(row);
    let end = Instant::now() + patience();
    let boxed = |lines: Vec<String>| lines.into_iter().map(String::into_boxed_str).collect::<Vec<_>>();
    let all = boxed(subject::log_lines());
    let mut pair = Pair::new(Vec::new());
    let (mut failures, mut read) = (0, 0);
    let seed = std::env::var("COMPLIANCE_SEED").map_or(1, |text| text.parse().unwrap());
    for round in seed.. {
        for (number, subject) in Subject::all().iter().enumerate().skip(half).step_by(2) {
            let mut dice = Chance(round << 16 | number as u64);
            let path = sample_logs().join(&subject.filter);
            let mut own = if path.is_file() {
                boxed(subject::read(&path))
            } else {
                all.clone()
            };
            own.retain(|line| !line.trim().is_empty() && !line.starts_with('#'));
            pair.take(lines(&mut dice, &own, &all));
            let way = [CATCHING_UP, FOLLOWING, TOOL][dice.below(3)];
            pair.compare(subject, way, &mut count, &mut failures);
            read += LINES as u64;
        }
        if Instant::now() >= end {
            break;
        }
    }
    println!("{row}: {read} lines, {failures} readings");
    assert!(failures > 500, "{failures}");
    count.close(read);
}

#[test]
fn spoilt_lines_first_half() {
    read_spoilt(0, "readings, spoilt lines, first half");
}

#[test]
fn spoilt_lines_second_half() {
    read_spoilt(1, "readings, spoilt lines, second half");
}
