//! Lines, date patterns and sequences made by chance, from a seed that a failure names.
//!
//! `COMPLIANCE_MINUTES` makes the run longer, with further seeds.

use std::time::{Duration, Instant};

use super::{Case, Pair, Way};

/// A row of numbers that looks like chance and is the same for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
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

fn part(dice: &mut Dice, letter: char) -> String {
    let two = |dice: &mut Dice, end: usize| match dice.below(12) {
        0 => dice.below(100).to_string(),
        1 => format!("{:2}", dice.below(end)),
        2 => dice.below(end).to_string(),
        _ => format!("{:02}", dice.below(end)),
    };
    match letter {
        'Y' => dice
            .one(&["2024", "2024", "2023", "2025", "2000", "1999", "2030"])
            .to_owned(),
        'y' => dice.one(&["24", "23", "00", "99"]).to_owned(),
        'm' => two(dice, 13),
        'd' => two(dice, 32),
        'H' => two(dice, 25),
        'M' | 'S' => two(dice, 60),
        'f' => (0..=dice.below(7)).map(|_| dice.one(&["0", "5", "9"])).collect(),
        'b' => dice
            .one(&["Jan", "Feb", "Mar", "Jun", "JUN", "jun", "Oct", "Dec", "Okt"])
            .to_owned(),
        'a' => dice.one(&["Mon", "Sat", "Sun", "sun", "Don"]).to_owned(),
        'z' => dice
            .one(&["Z", "UTC", "+0200", "-03:30", "+01", " +0200", "CET", "+2"])
            .to_owned(),
        'Z' => dice.one(&["UTC", "CEST", "PDT", "XYZ", "Z", "pdt"]).to_owned(),
        'E' => (1_718_000_000 + dice.below(1_000_000)).to_string(),
        other => other.to_string(),
    }
}

fn date(dice: &mut Dice, form: &str) -> String {
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
fn mutate(dice: &mut Dice, text: &str) -> String {
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

fn line(dice: &mut Dice, form: &str) -> String {
    let (before, after) = (dice.one(BEFORE), dice.one(AFTER));
    let text = format!("{before}{}{after}", date(dice, form));
    match dice.below(10) {
        0 => "undated".to_owned(),
        1..4 => mutate(dice, &text),
        _ => text,
    }
}

/// Lines of one to three forms, as a log has them, at times from no distance to minutes.
fn lines(dice: &mut Dice, forms: &[&str]) -> Vec<(i64, String)> {
    let few: Vec<&str> = (0..=dice.below(3)).map(|_| dice.one(forms)).collect();
    let mut now = 1_718_445_600_000_000;
    let count = 1 + dice.below(12);
    (0..count)
        .map(|_| {
            now += dice.one(&[&0, &0, &1_250_000, &30_000_000, &61_000_000, &301_000_000]);
            let form = dice.one(&few);
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

fn datepattern(dice: &mut Dice) -> String {
    if dice.once_in(8) {
        let whole = dice.one(WHOLE);
        return format!(
            "{}{}{whole}{}",
            dice.one(HEADS),
            dice.one(&["", "", "t=", "\\["]),
            dice.one(&["", "", "\\]", "$"])
        );
    }
    let mut pattern = dice.one(HEADS).to_owned();
    for _ in 0..1 + dice.below(5) {
        pattern.push_str(dice.one(TOKENS));
        if !dice.once_in(3) {
            pattern.push_str(dice.one(GLUE));
        }
    }
    if pattern.matches('(').count() > pattern.matches(')').count() && !dice.once_in(10) {
        pattern.push(')');
    }
    if dice.once_in(6) {
        pattern.push('\n');
        pattern.push_str(dice.one(&["%H:%M", "{^LN-BEG}", "EPOCH", "{DATE}", "%b %d"]));
    }
    pattern
}

fn way(dice: &mut Dice) -> Way {
    [Way::Detector, Way::Detector, Way::Filter, Way::CatchUp, Way::Operating][dice.below(5)]
}

/// Compares so many cases, then more until the time of `COMPLIANCE_MINUTES` is over.
fn repeat(pair: &mut Pair, seed: u64, cases: u64, make: impl Fn(&mut Dice) -> Case) {
    let minutes = std::env::var("COMPLIANCE_MINUTES")
        .ok()
        .and_then(|minutes| minutes.parse().ok());
    let longer = Duration::from_secs(60 * minutes.unwrap_or(0));
    let start = Instant::now();
    let mut done = 0;
    while done < cases || start.elapsed() < longer {
        pair.compare(&make(&mut Dice(seed + done)));
        done += 1;
    }
}

#[test]
fn lines_by_chance() {
    let mut pair = Pair::start("Europe/Berlin", "dates by chance", "rankings by chance");
    repeat(&mut pair, 1, 700, |dice| Case {
        way: way(dice),
        datepattern: None,
        logtimezone: dice.once_in(5).then(|| dice.one(&["UTC", "CET", "-0330"]).to_owned()),
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
