//! What CPython makes of every code point. Surrogates are left out: no text of ours holds one, as a byte that is no
//! UTF-8 is read as U+FFFD.

use std::path::Path;

use portcullis_core::pattern::{Lane, Pattern, Search};
use serde_json::{Value, json};

use super::pattern;
use crate::count::Count;
use crate::oracle::{self, Oracle};

#[test]
fn tables_are_those_of_cpython() {
    let made = oracle::python()
        .arg(oracle::here().join("drivers/tables.py"))
        .output()
        .unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/pattern/tables.rs");
    let kept = std::fs::read_to_string(source).unwrap();
    assert!(made.status.success() && kept == String::from_utf8(made.stdout).unwrap());
}

/// Regexes of which each match in a text of all characters is a run of those that match.
const RUNS: [&str; 25] = [
    r"\w+",
    r"\W+",
    r"\d+",
    r"\D+",
    r"\s+",
    r"\S+",
    r".+",
    r"[^a]+",
    r"[\W]+",
    r"[^\W]+",
    r"[\w\s]+",
    r"[^\d\s]+",
    r"(?a)\w+",
    r"(?a)\W+",
    r"(?a)\d+",
    r"(?a)\s+",
    r"(?a)[^\S]+",
    r"(?i)k+",
    r"(?i)[^i]+",
    r"(?i)[h-t]+",
    r"(?i)[\u0300-\U00010410]+",
    r"(?i)[^\u0100-\u1f00_]+",
    r"(?ai)[\u0100-\U00010410k]+",
    r"(?i)[\U00010400-\U00010427\W]+",
    r"(?i:ß|[ſK])+",
];

/// Regexes that are tried between the texts before and after each code point.
const EACH: [(&str, &str, &str); 6] = [
    (r"\ba", "", "a\n"),
    (r"\Ba", "", "a\n"),
    (r"a\b", "a", "\n"),
    (r"a\B", "a", "\n"),
    (r"(?a)\ba", "", "a\n"),
    (r"(?=a)\b|b$", "", "a\n"),
];

/// How many characters there are.
const CHARACTERS: u64 = 0x11_0000 - 0x800;

#[test]
fn every_code_point() {
    let mut oracle = Oracle::start("patterns");
    let mut count = Count::of("code points");
    let text: String = ('\0'..=char::MAX).collect();
    for source in RUNS {
        let theirs = oracle.ask(&json!({"runs": source}));
        let ours = json!(all_spans(&pattern(source, false).unwrap(), &text));
        count.compare(&ours, &theirs, || source.to_owned());
        count.equal(CHARACTERS - 1);
    }
    for (source, before, after) in EACH {
        let theirs = oracle.ask(&json!({"letters": source, "before": before, "after": after}));
        let ours = pattern(source, false).unwrap();
        let matched = |c: &char| !matches!(ours.search(&format!("{before}{c}{after}"), Lane::Fast), Search::No);
        let ours = ranges(('\0'..=char::MAX).filter(matched));
        count.compare(&ours, &theirs, || format!("{source} between {before:?} and {after:?}"));
        count.equal(CHARACTERS - 1);
    }
    count.close(31 * CHARACTERS);
}

fn ranges(chars: impl Iterator<Item = char>) -> Value {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for code in chars.map(u32::from) {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == code => last.1 = code,
            _ => ranges.push((code, code)),
        }
    }
    json!(ranges)
}

/// Regexes with a code point for `@` and the third one after it for `#`, and each how many-th code point is put there.
const CASELESS: [(&str, usize); 14] = [
    ("(?i)@", 1),
    ("(?ai)@", 1),
    ("(?i)[@_]", 1),
    ("(?i)[@1]", 7),
    ("(?ai)[@_]", 1),
    ("(?i)[@-#]", 1),
    ("(?ai)[@-#]", 3),
    ("(?i)(?:@|_)", 1),
    ("(?i:@)|(?i:_)", 1),
    (r"(?i)@(?<=[@_])", 5),
    (r"(?i)(?=@)[^\W\d_]", 11),
    (r"(?i)(?=(@))\1", 11),
    (r"(?i)(?P<one>@)(?P=one)", 1),
    (r"(?ai)(?P<one>@)(?P=one)", 5),
];

#[test]
fn upper_and_lower_case() {
    let mut oracle = Oracle::start("patterns");
    let mut count = Count::of("caseless code points");
    let universe = oracle.ask(&json!({"folds": {}}));
    let universe: Vec<_> = universe.as_array().unwrap().iter().map(code).collect();
    let text: String = universe.iter().collect();
    for (template, step) in CASELESS {
        let theirs = oracle.ask(&json!({"folds": {"template": template, "step": step}}));
        for (c, theirs) in universe.iter().step_by(step).zip(theirs.as_array().unwrap()) {
            let source = regex_of(template, *c);
            let ours: Vec<_> = all_spans(&pattern(&source, false).unwrap(), &text)
                .into_iter()
                .map(|span| span.0)
                .collect();
            count.compare(&json!(ours), theirs, || source);
        }
    }
    count.close(25_000);
}

fn code(value: &Value) -> char {
    char::from_u32(u32::try_from(value.as_u64().unwrap()).unwrap()).unwrap()
}

fn regex_of(template: &str, c: char) -> String {
    let code = u32::from(c);
    let one = template.replace('@', &format!(r"\U{code:08x}"));
    one.replace('#', &format!(r"\U{:08x}", code + 3))
}

/// Where the matches in a text begin and end, in characters.
fn all_spans(pattern: &Pattern, text: &str) -> Vec<(usize, usize)> {
    let (mut spans, mut from, mut chars) = (Vec::new(), 0, 0);
    while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
        let Search::Found(found) = pattern.search(rest, Lane::Slow) else {
            break;
        };
        let start = chars + rest[..found.start()].chars().count();
        chars = start + found.as_str().chars().count();
        spans.push((start, chars));
        from += found.end();
    }
    spans
}
