//! `logencoding`: names, bytes and whole files, as Fail2Ban decodes them on CPython 3.11.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use portcullis_core::encoding::Encoding;
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::count::Count;
use crate::oracle::{Oracle, python};

/// Bytes at which the rules of UTF-8 turn.
const TURNS: [u8; 10] = [0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
/// Code units with newline bytes, surrogates and marks.
const UNITS: [u16; 16] = [
    0x41, 0x0a, 0x0d, 0x0a0d, 0x0d0a, 0x0a0a, 0, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xd80a, 0xd80d, 0xfeff, 0xfffe, 0xffff,
];

fn byte(dice: &mut Chance) -> u8 {
    u8::try_from(dice.below(256)).unwrap()
}

/// All encodings that are read, by Python's own names.
fn encodings(oracle: &mut Oracle) -> Vec<Encoding> {
    let names = texts(&oracle.ask(&json!({"ask": "names"})));
    let mut found: Vec<Encoding> = names.iter().filter_map(|name| Encoding::named(name).ok()).collect();
    found.sort_by_key(|encoding| encoding.name());
    found.dedup();
    found
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name in many spellings.
fn spellings(name: &str) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = ["-", " ", ".", "", "__", "_-"]
        .iter()
        .map(|by| name.replace('_', by))
        .collect();
    all.extend([
        name.to_owned(),
        name.to_uppercase(),
        name.replace('_', "-").to_uppercase(),
    ]);
    all.extend([
        format!(" {name}\t"),
        format!("{name}é"),
        format!("é{name}"),
        format!("x{name}"),
        format!("{name}0"),
    ]);
    all
}

#[test]
fn names() {
    let mut oracle = Oracle::start("encodings");
    let mut count = Count::of("names of encodings");
    let ours = encodings(&mut oracle);
    let own: Vec<&str> = ours.iter().map(|encoding| encoding.name()).collect();
    let codecs = texts(&oracle.ask(&json!({"ask": "codecs", "names": own})));
    let own: BTreeMap<&str, &str> = own.into_iter().zip(codecs.iter().map(String::as_str)).collect();
    assert_eq!(own.len(), 35, "{own:?}");
    let names = texts(&oracle.ask(&json!({"ask": "names"})));
    let names: BTreeSet<String> = names.iter().flat_map(|name| spellings(name)).collect();
    let names: Vec<String> = names.into_iter().collect();
    let theirs = oracle.ask(&json!({"ask": "codecs", "names": names}));
    for (name, theirs) in names.iter().zip(theirs.as_array().unwrap()) {
        let ours = Encoding::named(name).ok().map(|encoding| own[encoding.name()]);
        // What Python has and we have not is refused.
        let theirs = theirs.as_str().filter(|codec| own.values().any(|own| own == codec));
        count.compare(&ours, &theirs, || format!("{name:?}"));
    }
    count.close(4000);
}

/// Compares what becomes of each input.
fn decode(oracle: &mut Oracle, count: &mut Count, encoding: Encoding, inputs: &[Vec<u8>]) {
    let hexes: Vec<String> = inputs.iter().map(|input| hex(input)).collect();
    let answer = oracle.ask(&json!({"ask": "decode", "encoding": encoding.name(), "inputs": hexes}));
    let theirs: Vec<(String, bool)> = serde_json::from_value(answer).unwrap();
    assert_eq!(theirs.len(), inputs.len());
    for (input, theirs) in inputs.iter().zip(theirs) {
        let ours = encoding.decode(input);
        count.compare(&(ours.text.into_owned(), ours.odd), &theirs, || {
            format!("{} {}", encoding.name(), hex(input))
        });
    }
}

fn pairs() -> impl Iterator<Item = [u8; 2]> {
    (0..=u16::MAX).map(u16::to_be_bytes)
}

/// Each byte alone and before a line end, every two bytes beside each other, and lines of chance.
fn everywhere(dice: &mut Chance) -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = (0..=255u8)
        .flat_map(|byte| [vec![byte], vec![byte, b'\r', b'\n']])
        .collect();
    inputs.extend((0..=255u8).map(|one| (0..=255).flat_map(|other| [one, other]).collect()));
    for _ in 0..400 {
        let ascii = dice.below(4);
        let some = |dice: &mut Chance| {
            if dice.below(4) < ascii {
                byte(dice) & 0x7f
            } else {
                byte(dice)
            }
        };
        inputs.push((0..dice.below(60)).map(|_| some(dice)).collect());
    }
    inputs
}

/// All sequences of up to two bytes, and longer ones of bytes at which the rules turn.
fn utf_8() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = pairs().map(Vec::from).collect();
    for lead in 0xe0..=0xff {
        for (two, three) in TURNS.iter().flat_map(|two| TURNS.map(|three| (*two, three))) {
            inputs.push(vec![lead, two, three]);
            inputs.extend(TURNS.map(|four| vec![lead, two, three, four]));
            inputs.push(vec![lead, two, three, 0x80, 0x80, b'\n']);
        }
    }
    inputs
}

/// All code units, and sequences of those at which the rules turn, also cut in the middle.
fn utf_16() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = pairs().map(Vec::from).collect();
    for one in UNITS {
        for (two, three) in UNITS.iter().flat_map(|two| UNITS.map(|three| (*two, three))) {
            for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
                let input = [one, two, three].map(bytes).concat();
                inputs.push(input[..5].to_vec());
                inputs.push(input);
            }
        }
    }
    inputs
}

/// All pairs, alone and with something behind or around them; all make-up sequences, whole, cut and spoilt.
fn korean(dice: &mut Chance) -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = pairs().map(Vec::from).collect();
    inputs.extend(pairs().map(|[one, two]| vec![one, two, b'A']));
    inputs.extend(pairs().map(|[one, two]| vec![0xb0, one, two, b'\n']));
    for first in 0xa0..=0xbf {
        for middle in 0xbe..=0xd4 {
            inputs.extend(
                (0xa0..=0xbf)
                    .chain([0xd3, 0xd4, 0xd5])
                    .map(|last| vec![0xa4, 0xd4, 0xa4, first, 0xa4, middle, 0xa4, last]),
            );
        }
    }
    for _ in 0..4000 {
        let mut input = vec![b'x', 0xa4, 0xd4, 0xa4, 0xa1, 0xa4, 0xbf, 0xa4, 0xd4, b'y', b'\n'];
        let at = dice.below(input.len());
        input[at] = byte(dice);
        input.truncate(dice.below(input.len() + 1));
        inputs.push(input);
    }
    inputs
}

#[test]
fn bytes() {
    let mut oracle = Oracle::start("encodings");
    let mut count = Count::of("bytes decoded");
    for (seed, encoding) in encodings(&mut oracle).into_iter().enumerate() {
        let mut dice = Chance(seed as u64);
        let mut inputs = everywhere(&mut dice);
        inputs.extend(match encoding.name() {
            "utf_8" | "utf_8_sig" => utf_8(),
            "euc_kr" | "cp949" => korean(&mut dice),
            name if name.starts_with("utf_16") => utf_16(),
            _ => Vec::new(),
        });
        for inputs in inputs.chunks(50_000) {
            decode(&mut oracle, &mut count, encoding, inputs);
        }
    }
    count.close(900_000);
}

/// The lines that our reader makes of a file.
fn read(encoding: &str, bytes: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        // Raw, because NUL bytes are in no name or address.
        .args(["regex", "-r", "-d", "{NONE}", "-o", "msg", "-e", encoding])
        .arg(file.path())
        .arg("^<F-ID>.+</F-ID>$")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\n').map(str::to_owned).collect()
}

/// The lines that Fail2Ban's makes of files; what `fail2ban-regex` leaves out is left out.
fn lines(oracle: &mut Oracle, encoding: &str, files: &[Vec<u8>]) -> Vec<Vec<String>> {
    let hexes: Vec<String> = files.iter().map(|file| hex(file)).collect();
    let answer = oracle.ask(&json!({"ask": "lines", "encoding": encoding, "inputs": hexes}));
    let files: Vec<Vec<String>> = serde_json::from_value(answer).unwrap();
    let counts = |line: &String| !line.is_empty() && !line.starts_with('#');
    let kept = |lines: Vec<String>| lines.into_iter().filter(counts).collect();
    files.into_iter().map(kept).collect()
}

/// A file of chance: any bytes, NULs, both line ends, and a last line without one.
fn any_file(dice: &mut Chance) -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..dice.below(40) {
        for _ in 0..dice.below(30) {
            file.push(if dice.below(2) == 0 { byte(dice) } else { b'a' });
        }
        file.extend([&b"\n"[..], b"\r\n", b"\0\0\n", b"\n\0"][dice.below(4)]);
    }
    file.extend(b"the last line");
    file
}

/// The same in code units, most of which have a newline byte.
fn wide_file(dice: &mut Chance, bytes: fn(u16) -> [u8; 2], end: &str) -> Vec<u8> {
    const UNITS: [u16; 10] = [0x41, 0x0a41, 0x410a, 0x0a0a, 0x0a00, 0, 0xd800, 0xdc00, 0xd80a, 0xdc0a];
    let mut units = Vec::new();
    for _ in 0..dice.below(30) {
        // A line that begins with half a newline is D-080.
        units.push(0x44);
        for _ in 0..dice.below(20) {
            units.push(UNITS[dice.below(UNITS.len())]);
        }
        units.extend(end.encode_utf16());
    }
    units.push(0x43);
    let mut file: Vec<u8> = units.into_iter().flat_map(bytes).collect();
    file.truncate(file.len() - dice.below(2));
    file
}

#[test]
fn files() {
    let mut oracle = Oracle::start("encodings");
    let mut count = Count::of("files read");
    for (seed, encoding) in encodings(&mut oracle).into_iter().enumerate() {
        let mut dice = Chance(seed as u64);
        let name = encoding.name();
        let file = |dice: &mut Chance| match name {
            "utf_16_le" => wide_file(dice, u16::to_le_bytes, "\n"),
            "utf_16_be" => {
                let end = ["\n", "\r\n"][dice.below(2)];
                wide_file(dice, u16::to_be_bytes, end)
            }
            // More than one line is D-081.
            "utf_16" => "\u{feff}上ab\n"
                .encode_utf16()
                .flat_map([u16::to_le_bytes, u16::to_be_bytes][dice.below(2)])
                .collect(),
            _ => any_file(dice),
        };
        let many = if encoding.is_wide() { 20 } else { 5 };
        let files: Vec<Vec<u8>> = (0..many).map(|_| file(&mut dice)).collect();
        let theirs = lines(&mut oracle, name, &files);
        for (file, theirs) in files.iter().zip(theirs) {
            count.compare(&read(name, file), &theirs, || format!("{name} {}", hex(file)));
        }
    }
    count.close(220);
}

/// What is mended: both outputs, as docs/deviations.md has them.
#[test]
fn mended() {
    let mut oracle = Oracle::start("encodings");
    let mut check = |id: &str, encoding: &str, file: &[u8], theirs: &[&str], ours: &[&str]| {
        let found = lines(&mut oracle, encoding, &[file.to_vec()]).remove(0);
        assert_eq!(found, theirs, "{id}: Fail2Ban");
        assert_eq!(read(encoding, file), ours, "{id}: portcullis");
    };
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    check(
        "D-080",
        "utf-16-le",
        &little("ab\r\ncd\r\nef\r\n"),
        &["ab"],
        &["ab", "cd", "ef"],
    );
    check(
        "D-080",
        "utf-16-be",
        &big("ab\r\u{a15}c\nd\n"),
        &["ab"],
        &["ab\r\u{a15}c", "d"],
    );
    check(
        "D-080",
        "utf-16-le",
        &little("ab\n\u{410a}cd\nef\n"),
        &["ab"],
        &["ab", "\u{410a}cd", "ef"],
    );
    check(
        "D-081",
        "utf-16",
        &little("\u{feff}ab\ncd\nef\ngh\n"),
        &["ab", "cd", "f", "h"],
        &["ab", "cd", "ef", "gh"],
    );
    check("D-082", "euc-kr", b"x\xa4\xd4ab\n", &[], &["x\u{fffd}\u{fffd}ab"]);
    check(
        "D-082",
        "euc-kr",
        b"x\xa4\xd4ab\r\nc\n",
        &["x\u{fffd}\u{fffd}ab\r", "c"],
        &["x\u{fffd}\u{fffd}ab", "c"],
    );
    check("D-083", "utf-8", b"abc\r", &["abc"], &[]);
}

#[test]
fn what_auto_stands_for() {
    let mut count = Count::of("locales");
    let file = tempfile::NamedTempFile::new().unwrap();
    for variables in [
        "",
        "LANG=",
        "LANG=C",
        "LC_ALL=C",
        "LANG=POSIX",
        "LC_ALL=C.UTF-8",
        "LANG=C.UTF-8",
        "LANG=C.utf8",
        "LC_CTYPE=C.UTF-8",
        "LC_ALL= LANG=C.UTF-8",
        "LANG=xx_XX.UTF-8",
        "LANG=xx_XX.ISO-8859-1",
        "LANG=xx_XX",
        "LC_ALL=xx_XX.KOI8-R@x LANG=C.UTF-8",
    ] {
        let set = |command: &mut Command| {
            for name in ["LC_ALL", "LC_CTYPE", "LANG", "LANGUAGE"] {
                command.env_remove(name);
            }
            for (name, value) in variables.split(' ').filter_map(|pair| pair.split_once('=')) {
                command.env(name, value);
            }
        };
        let mut command = python();
        set(&mut command);
        let theirs = Oracle::of(&mut command, "encodings").ask(&json!({"ask": "preferred"}));
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        set(command.arg("regex").arg(file.path()).arg("<HOST>"));
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let ours = output
            .lines()
            .find_map(|line| line.strip_prefix("Use         encoding : "));
        count.compare(&ours, &theirs.as_str(), || variables.to_owned());
    }
    count.close(14);
}
