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

/// Compares the dumps of one folder. What we complain of has its file and line.
pub(crate) fn compare_dump(
    folder: &Folder,
    oracle: &mut Oracle,
    count: &mut Count,
    told: impl FnOnce() -> String,
) -> (Dump, Outcome) {
    let (theirs, words) = folder.theirs(oracle);
    let (ours, outcome) = folder.ours();
    let misplaced = folder.misplaced(&outcome);
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

/// A folder with one jail of these options, and what both make of it.
fn one_jail(options: &str, filter: &str) -> (Folder, Dump, Dump, Outcome) {
    let mut oracle = Oracle::start("configuration");
    let folder = Folder::new(&mut oracle);
    folder.write("fail2ban.conf", "[Definition]\n");
    folder.write("jail.conf", format!("[door]\nenabled = true\n{options}"));
    folder.write("filter.d/door.conf", filter);
    for log in ["b", "c", "a"] {
        folder.log(&format!("/var/log/{log}.log"));
    }
    let (theirs, _) = folder.theirs(&mut oracle);
    let (ours, outcome) = folder.ours();
    (folder, ours, theirs, outcome)
}

fn lines(dump: &Dump) -> Vec<String> {
    let Dump::Lines { lines, .. } = dump else {
        panic!("{dump:?}")
    };
    lines.clone()
}

/// D-040.
#[test]
fn whole_numbers_of_more_than_64_bits() {
    let (_, ours, theirs, outcome) = one_jail("maxretry = 99999999999999999999\n", "");
    let line = |value: &str| format!("['set', 'door', 'maxretry', {value}]");
    assert!(lines(&theirs).contains(&line("99999999999999999999")), "{theirs:?}");
    assert!(lines(&ours).contains(&line("None")), "{ours:?}");
    assert!(
        outcome
            .diagnostics
            .iter()
            .any(|told| told.code == "not-a-number" && told.position.is_some())
    );
}

/// D-041.
#[test]
fn values_that_grow_beyond_a_mebibyte() {
    let mut filter = format!("[Definition]\nfailregex = <t0> <HOST>\nt15 = {}\n", "x".repeat(64));
    for level in 0..15 {
        filter.push_str(&format!("t{level} = <t{0}><t{0}>\n", level + 1));
    }
    let (folder, ours, theirs, outcome) = one_jail("filter = door\n", &filter);
    assert!(
        lines(&theirs).iter().any(|line| line.len() > 64 << 15),
        "Fail2Ban does not print it"
    );
    assert_eq!(ours, Dump::Refused);
    assert_eq!(outcome.diagnostics.last().unwrap().code, "too-large");
    assert!(folder.misplaced(&outcome).is_empty());
    let (folder, ours, theirs, outcome) = one_jail(&format!("bantime = {}\n", "1".repeat(1 << 20)), "");
    assert!(
        lines(&theirs).iter().any(|line| line.len() > 1 << 20),
        "Fail2Ban does not print it"
    );
    assert_eq!(
        (ours, outcome.diagnostics.last().unwrap().code),
        (Dump::Refused, "line-too-long")
    );
    assert!(folder.misplaced(&outcome).is_empty());
}

/// D-195: what the option adds to the stream, and that nothing is added where it is not written.
#[test]
fn prefix_options() {
    let options = "maxretry = 2\nbantime.increment = true\nignoreself = true\n";
    let (_, ours, theirs, _) = one_jail(options, "");
    assert_eq!(ours, theirs);
    let (_, ours, theirs, _) = one_jail(&format!("{options}prefix.ipv6 = 64\nprefix.widen = 4\n"), "");
    assert!(!lines(&theirs).iter().any(|line| line.contains("prefix")), "{theirs:?}");
    let (added, rest): (Vec<_>, Vec<_>) = lines(&ours).into_iter().partition(|line| line.contains("prefix"));
    assert_eq!(
        added,
        [
            "['set', 'door', 'prefix.ipv6', '64']",
            "['set', 'door', 'prefix.widen', '4']",
        ]
    );
    assert_eq!(rest, lines(&theirs));
}

/// D-042.
#[test]
fn logs_of_a_wildcard_in_order() {
    let (_, ours, theirs, _) = one_jail("logpath = /var/log/*.log\n", "");
    let logs = |dump: &Dump| -> Vec<String> {
        lines(dump)
            .into_iter()
            .filter(|line| line.contains("addlogpath"))
            .collect()
    };
    let expect = ["a", "b", "c"].map(|log| format!("['set', 'door', 'addlogpath', '/var/log/{log}.log', 'head']"));
    assert_eq!(logs(&ours), expect);
    let mut theirs = logs(&theirs);
    theirs.sort();
    assert_eq!(theirs, expect);
}
