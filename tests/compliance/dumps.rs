//! What `fail2ban-client -d` prints: the stock with every jail, configurations made for the purpose, and the stock
//! with faults put in.

use portcullis_core::config::Outcome;

use super::count::Count;
use super::folder::{Dump, Folder};
use super::oracle::{self, Oracle};

/// Fail2Ban's stock with these jails enabled.
pub(crate) fn enable<'j>(folder: &Folder, jails: impl IntoIterator<Item = &'j str>) {
    let sections: Vec<_> = jails
        .into_iter()
        .map(|jail| format!("[{jail}]\nenabled = true\n"))
        .collect();
    folder.write("jail.local", sections.concat());
}

/// The names of the jails of jail.conf.
pub(crate) fn jails(folder: &Folder) -> Vec<String> {
    let text = folder.read("jail.conf");
    let headers = text
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let jails = headers.filter(|name| !["INCLUDES", "DEFAULT"].contains(name));
    jails.map(str::to_owned).collect()
}

/// Compares one folder: the dump, and whether it passes the test.
fn compare(folder: &Folder, oracle: &mut Oracle, count: &mut Count, told: &str) -> (Dump, Outcome) {
    let dumped = compare_dump(folder, oracle, count, || told.to_owned());
    let passes = (folder.passes_ours(), folder.passes_theirs(oracle));
    count.compare(&passes.0, &passes.1, || format!("{told}: does it pass?"));
    dumped
}

/// Compares the dumps of one folder. A refusal of ours names its place.
pub(crate) fn compare_dump(
    folder: &Folder,
    oracle: &mut Oracle,
    count: &mut Count,
    told: impl FnOnce() -> String,
) -> (Dump, Outcome) {
    let (theirs, words) = folder.theirs(oracle);
    let (ours, outcome) = folder.ours();
    let misplaced = match ours {
        Dump::Refused => folder.misplaced(&outcome),
        Dump::Lines { .. } => Vec::new(),
    };
    count.compare(&(ours == theirs, misplaced), &(true, Vec::new()), || {
        let log = &words["log"];
        let diagnostics: Vec<_> = outcome.diagnostics.iter().map(ToString::to_string).collect();
        format!("{}: {}\n    {log}\n    {diagnostics:?}", told(), ours.beside(&theirs))
    });
    (theirs, outcome)
}

/// Makes the log files that the stock's jails look for.
fn make_logs(folder: &Folder, outcome: &Outcome) -> usize {
    let missing = outcome.diagnostics.iter().filter(|told| told.code == "no-log-file");
    let patterns: Vec<_> = missing
        .filter_map(|told| told.message.split_once("the logpath ").map(|(_, path)| path))
        .collect();
    for pattern in &patterns {
        folder.log(&pattern.replace(['*', '?'], "x"));
    }
    patterns.len()
}

pub(crate) fn stock(oracle: &mut Oracle) -> Folder {
    let folder = Folder::copy_of(&oracle::configuration(), oracle);
    // Debian's own choice of one jail would be part of every case.
    folder.write(
        "jail.d/defaults-debian.conf",
        "[DEFAULT]\nbanaction = nftables\nbanaction_allports = nftables[type=allports]\n",
    );
    folder
}

#[test]
fn every_jail_of_the_stock() {
    let mut oracle = Oracle::start("configuration");
    let folder = stock(&mut oracle);
    let names = jails(&folder);
    let mut count = Count::of("jails of the stock, dumped");
    for name in &names {
        enable(&folder, [name.as_str()]);
        compare(&folder, &mut oracle, &mut count, &format!("[{name}] without logs"));
    }
    enable(&folder, names.iter().map(String::as_str));
    let (_, outcome) = compare(&folder, &mut oracle, &mut count, "all jails without logs");
    let made = make_logs(&folder, &outcome);
    assert!(made > 50, "only {made} log files are missing");
    compare(&folder, &mut oracle, &mut count, "all jails with logs");
    for name in &names {
        enable(&folder, [name.as_str()]);
        compare(&folder, &mut oracle, &mut count, &format!("[{name}] with logs"));
    }
    count.close(2 * 90);
}

/// A case of `configurations.txt`.
struct Case<'t> {
    name: &'t str,
    expect: &'t str,
    files: Vec<(&'t str, Vec<u8>)>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut escaped = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            let (name, expect) = title.rsplit_once(": ").unwrap();
            let files = Vec::new();
            cases.push(Case { name, expect, files });
        } else if let (Some(name), Some(case)) = (line.strip_prefix("--- "), cases.last_mut()) {
            escaped = name.ends_with(" \\");
            case.files.push((name.trim_end_matches(" \\"), Vec::new()));
        } else if let Some((_, content)) = cases.last_mut().and_then(|case| case.files.last_mut()) {
            content.extend(if escaped { bytes(line) } else { line.as_bytes().to_vec() });
            content.push(b'\n');
        }
    }
    cases
}

/// A line in which `\t`, `\r`, `\\` and `\xNN` stand for bytes.
fn bytes(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((head, tail)) = rest.split_once('\\') {
        bytes.extend(head.as_bytes());
        let length = if tail.starts_with('x') { 3 } else { 1 };
        bytes.push(match &tail[..length] {
            "t" => b'\t',
            "r" => b'\r',
            "\\" => b'\\',
            hex => u8::from_str_radix(&hex[1..], 16).unwrap(),
        });
        rest = &tail[length..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[test]
fn configurations_made_for_the_purpose() {
    let mut oracle = Oracle::start("configuration");
    let folder = Folder::new(&mut oracle);
    let mut count = Count::of("configurations made for the purpose");
    let text = include_str!("configurations.txt");
    let mut wrong = Vec::new();
    for case in cases(text) {
        folder.clear();
        folder.write("fail2ban.conf", "[Definition]\n");
        for (name, content) in &case.files {
            match name.strip_prefix("root") {
                Some(log) => folder.log(log),
                None => folder.write(name, content),
            }
        }
        let (theirs, _) = compare(&folder, &mut oracle, &mut count, case.name);
        if theirs.kind() != case.expect {
            wrong.push(format!("{}: {} and not {}", case.name, theirs.kind(), case.expect));
        }
    }
    count.close(2 * 60);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
