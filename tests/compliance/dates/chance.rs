//! Lines, date patterns and sequences made by chance, from a seed that a failure names.
//!
//! `COMPLIANCE_MINUTES` makes the run longer, with further seeds.

use super::{Case, Pair, Way};
use crate::chance::{Chance, rounds};

/// One of several.
fn one<T: Copy>(dice: &mut Chance, of: &[T]) -> T {
    *dice.pick(of)
}

/// Forms of dates; a letter stands for a part of a date, as [`part`] has them, and a backslash keeps one as it is.
const FORMS: &[&str] = &[
    "Y-m-d H:M:S",
    "Y-m-d\\TH:M:S",
    "Y-m-d\\TH:M:S.fz",
    "Y/m/d H:M:S",
    "Y.m.d H:M:S,f z",
    "b d H:M:S",
    "b d H:M:S",
    "b d Y H:M:S",
    "a b d H:M:S Y",
    "a b d H:M:S.f Y",
    "d/m/Y H:M:S",
    "d-m-y H:M:S",
    "d/b/Y:H:M:S z",
    "d-b-Y H:M:S.f",
    "m/d/Y:H:M:S",
    "m-d-Y H:M:S.f",
    "E",
    "E.f",
    "[E]",
    "[E.f]",
    "\\aud\\it(E.f:7)",
    "H:M:S",
    "<m/d/y@H:M:S>",
    "ymd H:M:S",
    "ymd  H:M:S",
    "b d, Y H:M:S \\A\\M",
    "b d, Y H:M:S \\p\\m",
    "b-d-y H:M:S",
    "YmdHMS",
    "Ymd\\THMS",
    "Ymd H:M:S z",
    "Z b d H:M:S",
    "z b d H:M:S Y",
    "@4000000066aabbcc00000000",
    "Y-m-d",
    "H:M",
    "d.m.Y H:M",
];

const BEFORE: &[&str] = &[
    "",
    "",
    "",
    "",
    " ",
    "[",
    "<",
    "(",
    "host ",
    "host x[7]: ",
    "é ",
    "日本 ",
    "x",
    "7",
    "_",
    "192.0.2.1 - - [",
    "---",
    "\"",
    "t=",
    "\t",
    "audit(",
    "2024-01-01 ",
    "ERROR ",
    "1718445600 ",
];
const AFTER: &[&str] = &[
    "",
    " x",
    ": x",
    "]",
    "] x",
    "\"",
    "é",
    "7",
    "_",
    ".",
    ".5",
    " ",
    "\t",
    " 2024-01-01 00:00:00",
    " Jan 1 00:00:00",
    " +0200",
    " UTC",
    " CEST",
    "Z",
    ")",
    ">",
    " 2023",
];
const ODD: &[char] = &[
    '0', '1', '9', ' ', ' ', ':', '-', '/', '.', ',', 'T', 'Z', '[', ']', 'é', '日', '²', '٣', 'ſ', '\u{130}',
    '\u{a0}', '\t', '+', '_', '%', '@', 'a', '\u{301}', '\u{1e}',
];

fn part(dice: &mut Chance, letter: char) -> String {
    let two = |dice: &mut Chance, end: usize| match dice.below(12) {
        0 => dice.below(100).to_string(),
        1 => format!("{:2}", dice.below(end)),
        2 => dice.below(end).to_string(),
        _ => format!("{:02}", dice.below(end)),
    };
    match letter {
        'Y' => one(dice, &["2024", "2024", "2023", "2025", "2000", "1999", "2030"]).to_owned(),
        'y' => one(dice, &["24", "23", "00", "99"]).to_owned(),
        'm' => two(dice, 13),
        'd' => two(dice, 32),
        'H' => two(dice, 25),
        'M' | 'S' => two(dice, 60),
        'f' => (0..=dice.below(7)).map(|_| one(dice, &["0", "5", "9"])).collect(),
        'b' => one(dice, &["Jan", "Feb", "Mar", "Jun", "JUN", "jun", "Oct", "Dec", "Okt"]).to_owned(),
        'a' => one(dice, &["Mon", "Sat", "Sun", "sun", "Don"]).to_owned(),
        'z' => one(dice, &["Z", "UTC", "+0200", "-03:30", "+01", " +0200", "CET", "+2"]).to_owned(),
        'Z' => one(dice, &["UTC", "CEST", "PDT", "XYZ", "Z", "pdt"]).to_owned(),
        'E' => (1_718_000_000 + dice.below(1_000_000)).to_string(),
        other => other.to_string(),
    }
}

fn date(dice: &mut Chance, form: &str) -> String {
    let mut out = String::new();
    let mut letters = form.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.extend(letters.next()),
            letter => out.push_str(&part(dice, letter)),
        }
    }
    out
}

/// Changes a few characters.
fn mutate(dice: &mut Chance, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..dice.below(3) {
        let at = dice.below(letters.len() + 1);
        let odd = ODD[dice.below(ODD.len())];
        match dice.below(4) {
            0 => letters.insert(at, odd),
            1 if at < letters.len() => letters[at] = odd,
            2 if at < letters.len() => drop(letters.remove(at)),
            3 if at > 1 => letters.swap(at - 1, at - 2),
            _ => {}
        }
    }
    letters.into_iter().collect()
}

fn line(dice: &mut Chance, form: &str) -> String {
    let (before, after) = (one(dice, BEFORE), one(dice, AFTER));
    let text = format!("{before}{}{after}", date(dice, form));
    match dice.below(10) {
        0 => "undated".to_owned(),
        1..4 => mutate(dice, &text),
        _ => text,
    }
}

/// Lines of one to three forms, as a log has them, at times from no distance to minutes.
fn lines(dice: &mut Chance, forms: &[&str]) -> Vec<(i64, String)> {
    let few: Vec<&str> = (0..=dice.below(3)).map(|_| one(dice, forms)).collect();
    let mut now = 1_718_445_600_000_000;
    let count = 1 + dice.below(12);
    (0..count)
        .map(|_| {
            now += one(dice, &[&0, &0, &1_250_000, &30_000_000, &61_000_000, &301_000_000]);
            let form = one(dice, &few);
            (now, line(dice, form))
        })
        .collect()
}

const TOKENS: &[&str] = &[
    "%Y", "%ExY", "%y", "%Exy", "%m", "%Exm", "%d", "%Exd", "%b", "%B", "%a", "%A", "%H", "%ExH", "%k", "%Exk", "%I",
    "%l", "%Exl", "%M", "%ExM", "%S", "%ExS", "%f", "%p", "%j", "%U", "%W", "%w", "%z", "%Z", "%Exz", "%ExZ", "%%",
    "%x", "%X", "%c", "%G", "%u", "%V",
];
const GLUE: &[&str] = &[
    " ",
    " ",
    "-",
    "/",
    ":",
    ":",
    "\\.",
    ",",
    "T",
    "\\s+",
    "\\s*",
    "(?: )?",
    "[ :]?",
    "x?",
    "\\S+",
    "[^\\]]*",
    "\\[",
    "\\]",
    "(?:x|y)",
    "(x)?",
    "(?P<n>\\d)",
    "\\d{2}",
    "\\w*",
    "$",
    "^",
    "**",
    "\\b",
    "|",
    "é",
    ".",
];
const WHOLE: &[&str] = &[
    "{DATE}",
    "{EPOCH}",
    "{LEPOCH}",
    "EPOCH",
    "LEPOCH",
    "TAI64N",
    "{NONE}",
    "{^LN-BEG}",
    "{DEFAULT}",
    "{date}",
    "{epoch}",
];
const HEADS: &[&str] = &[
    "",
    "",
    "",
    "",
    "^",
    "{^LN-BEG}",
    "{UNB}",
    "**",
    "(?i)",
    "^(?:",
    "(",
    "(?:^|x)",
];

fn datepattern(dice: &mut Chance) -> String {
    if dice.one_in(8) {
        let whole = one(dice, WHOLE);
        return format!(
            "{}{}{whole}{}",
            one(dice, HEADS),
            one(dice, &["", "", "t=", "\\["]),
            one(dice, &["", "", "\\]", "$"])
        );
    }
    let mut pattern = one(dice, HEADS).to_owned();
    for _ in 0..1 + dice.below(5) {
        pattern.push_str(one(dice, TOKENS));
        if !dice.one_in(3) {
            pattern.push_str(one(dice, GLUE));
        }
    }
    if pattern.matches('(').count() > pattern.matches(')').count() && !dice.one_in(10) {
        pattern.push(')');
    }
    if dice.one_in(6) {
        pattern.push('\n');
        pattern.push_str(one(dice, &["%H:%M", "{^LN-BEG}", "EPOCH", "{DATE}", "%b %d"]));
    }
    pattern
}

fn way(dice: &mut Chance) -> Way {
    [Way::Detector, Way::Detector, Way::Filter, Way::CatchUp, Way::Operating][dice.below(5)]
}

/// Compares so many cases, then more for as long as there is patience.
fn repeat(pair: &mut Pair, seed: u64, cases: u64, make: impl Fn(&mut Chance) -> Case) {
    for round in rounds(cases) {
        pair.compare(&make(&mut Chance(seed + round)));
    }
}

#[test]
fn lines_by_chance() {
    let mut pair = Pair::start("Europe/Berlin", "dates by chance", "rankings by chance");
    repeat(&mut pair, 1, 700, |dice| Case {
        way: way(dice),
        datepattern: None,
        logtimezone: dice.one_in(5).then(|| one(dice, &["UTC", "CET", "-0330"]).to_owned()),
        lines: lines(dice, FORMS),
    });
    pair.dates.close(4000);
    pair.rankings.close(1400);
}

/// A pattern, and lines of which some are made after it.
#[test]
fn patterns_by_chance() {
    let mut pair = Pair::start(
        "America/New_York",
        "date patterns by chance",
        "rankings of patterns by chance",
    );
    repeat(&mut pair, 1_000_000, 1000, |dice| {
        let datepattern = datepattern(dice);
        // `%Exm` becomes the letter m, and so on: a form of lines that may fit.
        let form = datepattern
            .replace("%Ex", "")
            .replace(['%', '^', '$', '*'], "")
            .replace("\\", "\\\\");
        Case {
            way: way(dice),
            datepattern: Some(datepattern),
            logtimezone: None,
            lines: lines(dice, &[&form, "Y-m-d H:M:S", "b d H:M:S", first_line(&form)]),
        }
    });
    pair.dates.close(4000);
    pair.rankings.close(1000);
}

/// What stands for the first of several patterns.
fn first_line(form: &str) -> &str {
    form.split('\n').next().unwrap_or_default()
}
