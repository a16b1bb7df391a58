//! Every line of our samples, read by our stock filters through the whole of the filter: date, prefix, patterns,
//! sessions. `README.md` beside this file says how the samples are written.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where its set-up fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use portcullis_core::config::plan::Plan;
use portcullis_core::config::{Face, FilterName, MemoryTree, filter_options};
use portcullis_core::filter::{Failure, Filter, Prefilter, Settings, Tell};
use portcullis_core::ledger::Field;
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::value::Value;

/// Later than every sample, so that no line lies in the future.
const NOW: i64 = 1_780_000_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The stock as it lies on the disk.
fn stock() -> MemoryTree {
    let mut files = BTreeMap::new();
    for folder in ["", "filter.d", "action.d"] {
        for entry in fs::read_dir(root().join("stock").join(folder)).unwrap().flatten() {
            if entry.path().is_file() {
                let name = entry.file_name().into_string().unwrap();
                let path = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                files.insert(format!("/etc/{path}"), fs::read(entry.path()).unwrap());
            }
        }
    }
    MemoryTree(files)
}

/// The filter under one of the variants that a file of samples names.
fn filter(name: &str, variant: &str) -> Filter {
    let parameters = match variant.split_once('=') {
        _ if variant == "default" => Vec::new(),
        Some((option, value)) => vec![(option.to_owned(), value.to_owned())],
        None => vec![("mode".to_owned(), variant.to_owned())],
    };
    let alone = filter_options(&stock(), "/etc", FilterName::Stock(name), &parameters, "auto").unwrap();
    let add: Vec<Value> = vec!["add".into(), "fail2ban-regex-jail".into(), "auto".into()];
    let stream: Vec<_> = std::iter::once(add).chain(alone.stream).collect();
    let (plan, refused) = Plan::from_stream(&stream, Face::Fail2Ban);
    assert!(refused.is_empty(), "{refused:?}");
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: false,
        tell: Tell::Prefixes,
    };
    Filter::new(&plan.jails[0], settings).unwrap()
}

/// What is expected of a line under some variants: address, user, attempts.
type Reading = (String, String, usize);

#[derive(Default)]
struct Expected {
    said: bool,
    bans: Vec<(Reading, Option<BTreeSet<String>>)>,
}

/// `ban 192.0.2.7 user="a b" attempts=2 modes=auth,extra`
fn expected(text: &str) -> (Reading, Option<BTreeSet<String>>) {
    let (address, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (mut user, mut attempts, mut modes) = (String::new(), 1, None);
    let mut rest = rest.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        match name {
            "user" => value.clone_into(&mut user),
            "attempts" => attempts = value.parse().unwrap(),
            "modes" => modes = Some(value.split(',').map(str::to_owned).collect()),
            other => panic!("{other} in {text}"),
        }
        rest = left.trim_start();
    }
    ((address.to_owned(), user, attempts), modes)
}

fn reading(failure: &Failure) -> Reading {
    let user = match failure.data.get("user") {
        Some(Field::Text(user)) => user.to_string(),
        _ => String::new(),
    };
    (failure.identity.to_string(), user, failure.matches.len())
}

/// Reads a file of samples; how many lines there were, and what was wrong.
fn check(name: &str) {
    let text = fs::read_to_string(root().join(format!("tests/samples/{name}.log"))).unwrap();
    let variants = text.lines().find_map(|line| line.strip_prefix("# variants ")).unwrap();
    let mut filters: Vec<(&str, Filter)> = variants
        .split(' ')
        .map(|variant| (variant, filter(name, variant)))
        .collect();
    let mut prefilter = Prefilter::new(filters.iter().map(|(_, filter)| filter));
    let now = Clock::at(Timestamp::from_seconds(NOW));
    let (mut checks, mut wrong) = (0, Vec::new());
    let mut next = Expected::default();
    for line in text.lines() {
        if let Some(ban) = line.strip_prefix("# ban ") {
            next.said = true;
            next.bans.push(expected(ban));
            continue;
        }
        next.said |= line == "# none";
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let told = std::mem::take(&mut next);
        assert!(told.said, "nothing is said of: {line}");
        prefilter.look(line.as_bytes());
        for (number, (variant, filter)) in filters.iter_mut().enumerate() {
            let applies =
                |modes: &Option<BTreeSet<String>>| modes.as_ref().is_none_or(|modes| modes.contains(*variant));
            let expect: Vec<&Reading> = told
                .bans
                .iter()
                .filter(|(_, modes)| applies(modes))
                .map(|(r, _)| r)
                .collect();
            let read = filter.read(now, true, line, prefilter.candidates(number));
            let found: Vec<Reading> = read.failures.iter().map(reading).collect();
            checks += 1;
            if found.iter().collect::<Vec<_>>() != expect {
                wrong.push(format!(
                    "{variant}: {line}\n    expected {expect:?}\n    found    {found:?}"
                ));
            }
        }
    }
    println!("{name}: {checks} readings");
    assert!(
        checks > 100 && wrong.is_empty(),
        "{} of {checks} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn postfix() {
    check("postfix");
}

#[test]
fn dovecot() {
    check("dovecot");
}

#[test]
fn sshd() {
    check("sshd");
}

/// A file of samples without a test of its own would never be read.
#[test]
fn every_file_is_checked() {
    let files = fs::read_dir(root().join("tests/samples")).unwrap().flatten();
    let names = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".log").map(str::to_owned));
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        ["dovecot", "postfix", "sshd"].map(str::to_owned).into()
    );
}
