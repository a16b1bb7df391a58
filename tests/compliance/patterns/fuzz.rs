//! Regexes made up at random from a seed, and stock ones with random faults, each searched in texts that nearly match.
//!
//! A short run is always made; `COMPLIANCE_MINUTES` makes a longer one.

use portcullis_core::pattern::Error;
use serde_json::{Value, json};

use super::{pattern, search};
use crate::chance::{Chance, rounds};
use crate::count::Count;
use crate::oracle::{self, Oracle};

/// Regexes in one question.
const BATCH: usize = 250;

/// What could not be compared.
#[derive(Default)]
struct Unknown {
    /// CPython took longer than a quarter of a second.
    late: u64,
    /// Our steps ran out (D-061).
    over_budget: u64,
}

/// Compares one regex: refused or not, with which words, and what it finds in the texts.
pub(super) fn compare(count: &mut Count, regex: (&str, bool), texts: &[&str], theirs: &Value) {
    let mut unknown = Unknown::default();
    compare_known(count, &mut unknown, regex, texts, theirs);
    assert_eq!((unknown.late, unknown.over_budget), (0, 0), "{regex:?}");
}

fn compare_known(
    count: &mut Count,
    unknown: &mut Unknown,
    (source, multiline): (&str, bool),
    texts: &[impl AsRef<str>],
    theirs: &Value,
) {
    let ours = match pattern(source, multiline) {
        Ok(ours) => ours,
        Err(error) => return compare_refusal(count, source, &error, theirs),
    };
    count.compare(&json!(ours.expanded()), &theirs["expanded"], || {
        format!("{source:?}: {theirs}")
    });
    let Some(found) = theirs["found"].as_array() else {
        return;
    };
    for (text, theirs) in texts.iter().map(AsRef::as_ref).zip(found) {
        let ours = search(&ours, text);
        if theirs == "late" {
            unknown.late += 1;
        } else if ours == "over budget" {
            unknown.over_budget += 1;
        } else {
            count.compare(&ours, theirs, || {
                format!("{source:?} (multiline: {multiline}) on {text:?}")
            });
        }
    }
}

/// Fail2Ban's own words are compared; where CPython's error goes through it as it is, only that there is one.
fn compare_refusal(count: &mut Count, source: &str, error: &Error, theirs: &Value) {
    let theirs = theirs["refused"].as_str().unwrap_or("accepted");
    let ours = error.to_string();
    let passed_on = theirs != "accepted" && !theirs.starts_with("Unable") && !theirs.starts_with("Cannot");
    let expected = if passed_on && matches!(error, Error::Compile { .. }) {
        &ours
    } else {
        theirs
    };
    count.compare(&ours.as_str(), &expected, || format!("{source:?}"));
}

#[test]
fn made_up_regexes() {
    let mut oracle = Oracle::start("patterns");
    let stock = oracle.ask(&json!({"stock": oracle::configuration(), "logs": oracle::sample_logs()}));
    let (mut count, mut unknown) = (Count::of("made-up regexes"), Unknown::default());
    let mut regexes = 0_u64;
    for batch in rounds(24) {
        let cases: Vec<_> = (0..BATCH)
            .map(|n| Maker::of(batch * 1_000 + n as u64).case(&stock))
            .collect();
        let theirs = oracle.ask(&json!({"cases": cases}));
        for ((source, multiline, texts), theirs) in cases.iter().zip(theirs.as_array().unwrap()) {
            compare_known(&mut count, &mut unknown, (source, *multiline), texts, theirs);
        }
        regexes += BATCH as u64;
    }
    println!(
        "{regexes} regexes; {} searches late, {} over budget",
        unknown.late, unknown.over_budget
    );
    assert!(
        unknown.over_budget * 1_000 < regexes * 10,
        "{} over budget",
        unknown.over_budget
    );
    count.close(30_000);
}

/// Makes a regex and a text that it likely matches.
struct Maker {
    chance: Chance,
    groups: usize,
    /// The groups that are closed, with a text that they may hold.
    closed: Vec<(usize, String)>,
}

const LETTERS: [&str; 24] = [
    "a", "a", "a", "b", "b", "b", "c", "A", "B", "1", "0", "_", " ", "-", ":", ",", "é", "É", "ſ", "İ", "\u{301}", "K",
    "ß", "\n",
];
const CLASSES: [(&str, &str); 17] = [
    ("[ab]", "a"),
    ("[^a]", "b"),
    ("[a-c]", "c"),
    ("[A-Ca]", "B"),
    ("[]a]", "]"),
    ("[^\\W]", "é"),
    ("[\\s\\d]", "1"),
    ("[^\\s:]", "b"),
    ("[é-ü]", "é"),
    ("\\w", "a"),
    ("\\W", "-"),
    ("\\d", "0"),
    ("\\D", "b"),
    ("\\s", " "),
    ("\\S", "c"),
    (".", "a"),
    ("[\\w.-]", "b"),
];
const PLACES: [&str; 10] = ["^", "$", "\\b", "\\B", "\\A", "\\Z", "\\b", "$", "(?m:^)", "(?m:$)"];
const TIMES: [(&str, usize); 14] = [
    ("*", 2),
    ("+", 1),
    ("?", 1),
    ("*?", 1),
    ("+?", 2),
    ("??", 0),
    ("{2}", 2),
    ("{1,2}", 1),
    ("{,2}", 2),
    ("{2,}?", 2),
    ("*+", 2),
    ("++", 1),
    ("?+", 1),
    ("{0}", 0),
];
const NOISE: &str = "()[]{}|*+?.^$\\-,:=!<>PiamsxuLt#0123 abnwdZ_é";

impl Maker {
    fn of(seed: u64) -> Maker {
        Maker {
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d),
            groups: 0,
            closed: Vec::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.chance.below(end)
    }

    fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A regex, whether it is for lines, and texts.
    fn case(&mut self, stock: &Value) -> (String, bool, Vec<String>) {
        let multiline = self.below(8) == 0;
        if self.below(12) == 0 {
            let regexes = stock["regexes"].as_array().unwrap();
            let lines = stock["texts"].as_array().unwrap();
            let source = super::text(self.one_of(regexes), 2).to_owned();
            let texts = (0..6)
                .map(|_| self.one_of(lines).as_str().unwrap().to_owned())
                .collect();
            let faults = 1 + self.below(2);
            return (
                (0..faults).fold(source, |source, _| self.changed(&source)),
                multiline,
                texts,
            );
        }
        let (mut source, sample) = self.alternation(0);
        if self.below(5) == 0 {
            source.insert_str(
                0,
                ["(?i)", "(?i)", "(?a)", "(?s)", "(?m)", "(?x)", "(?ai)"][self.below(7)],
            );
        }
        if self.below(8) == 0 {
            source = self.changed(&source);
        }
        let mut texts = vec![String::new(), sample.clone(), format!("{sample}\n")];
        for _ in 0..5 {
            let changed = self.changed_text(texts.last().unwrap_or(&sample).clone());
            texts.push(changed);
        }
        let random: String = (0..self.below(9)).map(|_| *self.one_of(&LETTERS)).collect();
        texts.push(random);
        (source, multiline, texts)
    }

    fn changed(&mut self, text: &str) -> String {
        let mut chars: Vec<_> = text.chars().collect();
        let noise: Vec<_> = NOISE.chars().collect();
        let at = self.below(chars.len() + 1);
        match self.below(4) {
            0 if at < chars.len() => drop(chars.remove(at)),
            1 if at < chars.len() => chars[at] = *self.one_of(&noise),
            2 if at < chars.len() => chars.insert(at, chars[at]),
            _ => chars.insert(at, *self.one_of(&noise)),
        }
        chars.into_iter().collect()
    }

    fn changed_text(&mut self, text: String) -> String {
        let mut chars: Vec<_> = text.chars().collect();
        let at = self.below(chars.len() + 1);
        match self.below(5) {
            0 if at < chars.len() => drop(chars.remove(at)),
            1 if at < chars.len() => {
                chars[at] = self.one_of(&LETTERS).chars().next().unwrap();
            }
            2 => return text.to_uppercase(),
            3 => return format!("{text}{}", chars.iter().skip(at).collect::<String>()),
            _ => chars.insert(at, self.one_of(&LETTERS).chars().next().unwrap()),
        }
        chars.into_iter().take(40).collect()
    }

    fn alternation(&mut self, depth: usize) -> (String, String) {
        let arms = [1, 1, 1, 2, 2, 3][self.below(6)];
        let arms: Vec<_> = (0..arms).map(|_| self.sequence(depth)).collect();
        let sample = self.one_of(&arms).1.clone();
        let arms: Vec<_> = arms.into_iter().map(|(source, _)| source).collect();
        (arms.join("|"), sample)
    }

    fn sequence(&mut self, depth: usize) -> (String, String) {
        let (mut source, mut sample) = (String::new(), String::new());
        for _ in 0..self.below(if depth == 0 { 6 } else { 4 }) {
            let (part, text) = self.part(depth);
            source.push_str(&part);
            sample.push_str(&text);
        }
        (source, sample)
    }

    fn part(&mut self, depth: usize) -> (String, String) {
        let (source, text) = self.atom(depth);
        if self.below(5) > 1 || PLACES.contains(&source.as_str()) && self.below(9) > 0 {
            return (source, text);
        }
        let (times, count) = *self.one_of(&TIMES);
        (format!("{source}{times}"), text.repeat(count))
    }

    fn atom(&mut self, depth: usize) -> (String, String) {
        match self.below(if depth > 4 { 10 } else { 20 }) {
            0..=5 => {
                let letter = *self.one_of(&LETTERS);
                (letter.to_owned(), letter.to_owned())
            }
            6 | 7 => {
                let (class, text) = *self.one_of(&CLASSES);
                (class.to_owned(), text.to_owned())
            }
            8 => ((*self.one_of(&PLACES)).to_owned(), String::new()),
            9 => self.backref(),
            10 | 11 => self.wrapped("(?:", depth),
            12..=14 => self.capture(depth),
            15 => {
                let open = *self.one_of(&["(?>", "(?i:", "(?a:", "(?s:", "(?-i:"]);
                self.wrapped(open, depth)
            }
            16 => {
                let open = *self.one_of(&["(?=", "(?!"]);
                let (source, _) = self.wrapped(open, depth);
                (source, String::new())
            }
            17 => {
                let (class, _) = *self.one_of(&CLASSES);
                let letter = *self.one_of(&LETTERS);
                let open = ["(?<=", "(?<!"][self.below(2)];
                let body = match self.below(4) {
                    0 => format!("{letter}|{class}"),
                    1 => format!("{letter}{class}"),
                    2 => self.alternation(4).0,
                    _ => letter.to_owned(),
                };
                (format!("{open}{body})"), String::new())
            }
            18 => self.conditional(depth),
            _ => self.capture(depth),
        }
    }

    fn wrapped(&mut self, open: &str, depth: usize) -> (String, String) {
        let (source, sample) = self.alternation(depth + 1);
        (format!("{open}{source})"), sample)
    }

    fn capture(&mut self, depth: usize) -> (String, String) {
        self.groups += 1;
        let group = self.groups;
        let (source, sample) = self.alternation(depth + 1);
        self.closed.push((group, sample.clone()));
        (format!("(?P<g{group}>{source})"), sample)
    }

    fn backref(&mut self) -> (String, String) {
        let Some((group, text)) = self.known() else {
            return ("a".to_owned(), "a".to_owned());
        };
        match self.below(2) {
            0 => (format!("(?P=g{group})"), text),
            _ => (format!("\\{group}(?:)"), text),
        }
    }

    fn known(&mut self) -> Option<(usize, String)> {
        let closed = self.closed.clone();
        (!closed.is_empty()).then(|| self.one_of(&closed).clone())
    }

    fn conditional(&mut self, depth: usize) -> (String, String) {
        let group = match self.known() {
            // Any number may be asked for, also of a group that is open or comes later.
            Some((group, _)) if self.below(4) > 0 => group,
            _ => 1 + self.below(self.groups + 1),
        };
        let (yes, sample) = self.sequence(depth + 1);
        if self.below(3) == 0 {
            return (format!("(?({group}){yes})"), sample);
        }
        let (no, other) = self.sequence(depth + 1);
        let sample = if self.below(2) == 0 { sample } else { other };
        (format!("(?({group}){yes}|{no})"), sample)
    }
}
