//! Files that nobody would write, read by Python's `ConfigParser`, as Fail2Ban sets it up, and by ours: the same
//! sections, options and values, or the same complaint about the same line.

use std::time::Instant;

use portcullis_core::config;
use portcullis_core::value::Value as Datum;
use serde_json::{Value, json};

use super::chance::{Chance, patience};
use super::count::Count;
use super::oracle::Oracle;

/// What lines are made of.
const PIECES: &[&str] = &[
    "[",
    "]",
    "=",
    ":",
    "#",
    ";",
    "%",
    "<",
    ">",
    "\"",
    "'",
    ",",
    "\\",
    " ",
    "  ",
    "\t",
    "\r",
    "\r\n",
    "\n",
    "\u{b}",
    "\u{c}",
    "\u{1c}",
    "\u{1f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\u{feff}",
    "\0",
    "é",
    "İ",
    "ß",
    "Σ",
    "ǅ",
    "𝔸",
    "a",
    "B",
    "ab",
    "key",
    "KEY",
    "value",
    "x y",
    " ;",
    "; ",
    " # ",
    "[]",
    "[a]",
    "[A]",
    "[DEFAULT]",
    "[default]",
    "[a]b",
    "[Init?f=x]",
    "a = 1",
    "a: 2",
    "b=",
    "=c",
    "a = b = c",
    "__name__ = n",
];

/// Whole lines, so that files are not only nonsense.
const LINES: &[&str] = &[
    "[s]",
    "[s]",
    "[t]",
    "[DEFAULT]",
    "[a b]",
    "a = 1",
    "b : 2",
    "c=3",
    "d = 4 ; four",
    "e = 5 # five",
    "f =",
    "  more",
    "    deeper",
    "\tafter a tab",
    "",
    " ",
    "# comment",
    "; comment",
    "  # inside",
    "  ; inside",
    "g = ;none",
    "h = x;y",
    "A = 1",
    "i j = k",
    "[u] ; v",
    "l = [m]",
    "  [n]",
    "  o = p",
];

fn pieces(dice: &mut Chance, most: usize) -> String {
    let many = dice.below(most + 1);
    (0..many).map(|_| *dice.pick(PIECES)).collect()
}

fn line(dice: &mut Chance) -> String {
    match dice.below(40) {
        0 => pieces(dice, 6),
        1 | 2 => (*dice.pick(LINES)).to_owned(),
        3 | 4 => format!("[s{}]", dice.below(1000)),
        5..=9 => (*dice.pick(&["", " ", "# comment", "  ; inside", "\t", "; c", "   # inside"])).to_owned(),
        10..=17 => format!("{}{}", dice.pick(&[" ", "  ", "\t", "      "]), pieces(dice, 3)),
        _ => {
            let sign = *dice.pick(&["=", " = ", ":", " : ", "= ", "\t=\t", " =", "="]);
            let indent = *dice.pick(&["", "", "", " ", "  "]);
            format!("{indent}k{}{sign}{}", dice.below(1000), pieces(dice, 4))
        }
    }
}

fn file(dice: &mut Chance) -> Vec<u8> {
    let mut text = String::from(if dice.one_in(8) { "" } else { "[s]\n" });
    // Now and then a file is longer than what Python decodes at a time.
    if dice.one_in(200) {
        let filler = "# filler\n".repeat(890 + dice.below(40));
        text.push_str(&filler);
    }
    for _ in 0..dice.below(14) {
        text.push_str(&line(dice));
        let ends: &[&str] = if dice.one_in(30) { &["\r", "\r\n"] } else { &["\n"] };
        let end: &&str = dice.pick(ends);
        text.push_str(end);
    }
    let mut bytes = text.into_bytes();
    if dice.one_in(30) && !bytes.is_empty() {
        let at = dice.below(bytes.len());
        bytes[at] = u8::try_from(dice.below(256)).unwrap();
    }
    if dice.one_in(10) {
        bytes.pop();
    }
    bytes
}

fn ours(bytes: &[u8]) -> Value {
    match config::raw_sections(bytes) {
        Ok(sections) => json!({"sections": sections}),
        Err((class, line)) => json!({"refused": [class, line]}),
    }
}

/// Where a carriage return stands before what cannot be read: found by chance, once in a million.
const FOUND: [&[u8]; 6] = [
    b" :\r\xe4",
    b" :\n\xe4",
    b"[s]\r\xe4",
    b"x\r\n\xe4",
    b"x\r\xff",
    b"\xe4",
];

/// As many are compared at the least.
const ENOUGH: u64 = 4000;

#[test]
fn files_nobody_would_write() {
    let mut oracle = Oracle::start("ini");
    let mut count = Count::of("files read as by ConfigParser");
    let (mut read, mut made, mut dice) = (0, 0, Chance(3));
    let end = Instant::now() + patience();
    while made < ENOUGH || Instant::now() < end {
        made += 200;
        let found = FOUND.iter().map(|bytes| bytes.to_vec());
        let files: Vec<Vec<u8>> = found.chain((0..200).map(|_| file(&mut dice))).collect();
        let texts: Vec<String> = files
            .iter()
            .map(|bytes| bytes.iter().map(|&byte| char::from(byte)).collect())
            .collect();
        let answers = oracle.ask(&json!(texts));
        for (bytes, theirs) in files.iter().zip(answers.as_array().unwrap()) {
            let ours = ours(bytes);
            read += u64::from(ours["sections"].is_array());
            count.compare(&ours, theirs, || format!("{:?}", String::from_utf8_lossy(bytes)));
        }
    }
    println!("{read} of them can be read");
    assert!(read > ENOUGH / 4, "only {read} files can be read");
    count.close(ENOUGH);
}

#[test]
fn every_code_point() {
    let mut oracle = Oracle::start("text");
    let mut count = Count::of("code points printed, and taken for letters, blanks and digits");
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    for chunk in all.chunks(4096) {
        let text: String = chunk.iter().collect();
        let ours = Datum::from(text.as_str()).repr();
        let theirs = oracle.ask(&json!({"repr": [&text]}));
        count.compare(&Some(ours.as_str()), &theirs[0].as_str(), || {
            format!("from {:?}", chunk[0])
        });
        let letters = oracle.ask(&json!({"word": &text}));
        let named = |c: &&char| config::extract(&format!("a[{c}=x]")).is_ok_and(|named| named.options.len() == 1);
        let ours: String = chunk.iter().filter(|c| !"-.".contains(**c)).filter(named).collect();
        count.compare(&Some(ours.as_str()), &letters.as_str(), || {
            format!("letters from {:?}", chunk[0])
        });
        let blanks = oracle.ask(&json!({"space": &text}));
        let is_cut = |c: &&char| config::extract(&format!("a[b={c}]")).is_ok_and(|named| named.options[0].1.is_empty());
        let ours: String = chunk.iter().filter(|c| !"],'\"".contains(**c)).filter(is_cut).collect();
        count.compare(&Some(ours.as_str()), &blanks.as_str(), || {
            format!("blanks from {:?}", chunk[0])
        });
    }
    count.close(800);
}
