//! The same journal to Fail2Ban's reader and to ours: the lines that both make of its entries, what is found in them,
//! who is banned, and how far both came, each also after the other.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::count::Count;
use crate::house::{House, Jail};
use crate::oracle::{self, Oracle};

/// A journal of its own.
struct Journal {
    folder: TempDir,
    files: u32,
    number: u64,
}

/// An entry: its fields but for those that every one has.
type Entry = Vec<(String, Vec<u8>)>;

impl Journal {
    fn new() -> Journal {
        Journal {
            folder: tempfile::tempdir().unwrap(),
            files: 0,
            number: 0,
        }
    }

    fn folder(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Writes a further file with these entries, each some seconds old and a little younger than the one before.
    fn add(&mut self, entries: &[Entry]) {
        let mut text = Vec::new();
        for entry in entries {
            self.number += 1;
            let time = now() - 60_000_000 + self.number * 10_000;
            let known = format!(
                "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n",
                5_004_321 + self.number
            );
            text.extend_from_slice(known.as_bytes());
            for (name, value) in entry {
                text.extend_from_slice(name.as_bytes());
                text.push(b'\n');
                text.extend_from_slice(&(value.len() as u64).to_le_bytes());
                text.extend_from_slice(value);
                text.push(b'\n');
            }
            text.push(b'\n');
        }
        self.files += 1;
        let file = self.folder.path().join(format!("part{}.journal", self.files));
        let mut child = Command::new("/lib/systemd/systemd-journal-remote")
            .arg("-o")
            .arg(file)
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&text).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

fn entry(fields: &[(&str, &[u8])]) -> Entry {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

/// Entries with all that is odd about them.
fn odd() -> Vec<Entry> {
    let host: (&str, &[u8]) = ("_HOSTNAME", b"mail");
    let sshd: (&str, &[u8]) = ("SYSLOG_IDENTIFIER", b"sshd");
    let message: (&str, &[u8]) = ("MESSAGE", b"Failed password for root from 192.0.2.1 port 22 ssh2");
    let rows: &[&[(&str, &[u8])]] = &[
        &[host, sshd, message, ("_PID", b"12")],
        &[sshd, message, ("_PID", b"12")],
        &[host, message, ("_PID", b"12")],
        &[message],
        &[host, ("_COMM", b"sshd"), message, ("_PID", b"7")],
        &[host, ("SYSLOG_IDENTIFIER", b""), ("_COMM", b"sshd"), message],
        &[host, sshd, message, ("SYSLOG_PID", b"007"), ("_PID", b"12")],
        &[host, sshd, message, ("SYSLOG_PID", b"0"), ("_PID", b"12")],
        &[host, sshd, message, ("SYSLOG_PID", b" 42 ")],
        &[host, sshd, message, ("SYSLOG_PID", b"-3")],
        &[host, sshd, message, ("SYSLOG_PID", b"+1_000")],
        &[host, sshd, message, ("SYSLOG_PID", b"0x1F")],
        &[host, sshd, message, ("SYSLOG_PID", b"-0b_11")],
        &[host, sshd, message, ("SYSLOG_PID", b"0o")],
        &[host, sshd, message, ("SYSLOG_PID", b"1__0")],
        &[host, sshd, message, ("SYSLOG_PID", b"0x0")],
        &[host, sshd, message, ("SYSLOG_PID", b"-0"), ("_PID", b"5")],
        &[host, sshd, message, ("SYSLOG_PID", b"123456789012345678901234567890")],
        &[host, sshd, message, ("SYSLOG_PID", b"x[1]\n'")],
        &[
            host,
            ("SYSLOG_IDENTIFIER", b"kernel"),
            ("MESSAGE", b"IN=eth0 SRC=192.0.2.5"),
        ],
        &[
            host,
            ("SYSLOG_IDENTIFIER", b"kernel"),
            message,
            ("_SOURCE_MONOTONIC_TIMESTAMP", b"1234567890"),
        ],
        &[host, ("SYSLOG_IDENTIFIER", b"kernel"), message, ("_PID", b"1")],
        &[host, sshd, ("MESSAGE", b"two\nlines from 192.0.2.6\n")],
        &[host, sshd, ("MESSAGE", b"one from 192.0.2.7"), ("MESSAGE", b"two")],
        &[host, sshd, ("MESSAGE", b"")],
        &[host, sshd],
        &[("MESSAGE", b"# from 192.0.2.8")],
        &[("MESSAGE", b"from 192.0.2.9 \r\t ")],
        &[host, sshd, ("MESSAGE", b"caf\xc3\xa9 from 192.0.2.10")],
        &[host, sshd, ("MESSAGE", b"caf\xe9 from 192.0.2.11 \x00\x1b[31m")],
        &[
            ("_HOSTNAME", b"m\xc3\xbcller"),
            ("SYSLOG_IDENTIFIER", b"a b: c"),
            message,
        ],
        &[host, sshd, message, ("_SOURCE_REALTIME_TIMESTAMP", b"1700000000000000")],
        &[
            host,
            sshd,
            message,
            ("_SOURCE_REALTIME_TIMESTAMP", b"1700000000000001"),
            ("_UID", b"5"),
        ],
        &[host, sshd, message, ("_UID", b"5"), ("A_B", b"c d")],
    ];
    rows.iter().map(|row| entry(row)).collect()
}

/// What a run printed, but for how long it took.
fn run(program: &Path, script: Option<&Path>, words: &[&str]) -> (Option<i32>, String) {
    let python = oracle::python();
    let output = Command::new(program)
        .args(script)
        .arg("-c")
        .arg(oracle::configuration())
        .args(words)
        .envs(python.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("[processed in "));
    (output.status.code(), lines.collect())
}

#[test]
fn lines_of_entries() {
    let mut journal = Journal::new();
    journal.add(&odd());
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("fail2ban-regex");
    symlink(env!("CARGO_BIN_EXE_portcullis"), &ours).unwrap();
    let theirs = oracle::root().join("usr/bin/fail2ban-regex");
    let log = format!("systemd-journal[journalpath={}]", journal.folder());
    let all = "<F-ID>.*</F-ID>";
    let mut count = Count::of("entries of the journal through fail2ban-regex");
    for words in [
        &[all, "--print-all-matched"][..],
        &[all, "-o", "row"],
        &[all, "-o", "msg"],
        &[all, "-v", "--VD"],
        &["from <HOST>", "--print-all-missed", "--print-all-matched"],
        &["from <HOST>", "192", "--print-all-ignored"],
        &["from <HOST>", "-o", "msg", "-i"],
        &[all, "-o", "id", "-m", "SYSLOG_IDENTIFIER=sshd"],
        &[
            all,
            "-o",
            "id",
            "-m",
            "SYSLOG_IDENTIFIER=sshd _UID=5 + SYSLOG_IDENTIFIER=kernel",
        ],
        &[all, "-m", "SYSLOG_PID=0 SYSLOG_PID=007 'A_B=c d'"],
        &[all, "-m", "'A_B=c d' + _PID=7"],
        &[all, "-m", ""],
        &[all, "-e", "latin-1", "-o", "msg"],
        &["sshd", "-v"],
        &["sshd[logtype=short]", "--print-all-matched"],
        &["sshd", "-o", "row", "-m", "_HOSTNAME=mail"],
        &["postfix", "-v", "-m", "_HOSTNAME=mail"],
        &["recidive", "-m", "_HOSTNAME=mail"],
    ] {
        let words = [&[&*log], words].concat();
        let (ours, theirs) = (
            run(&ours, None, &words),
            run(Path::new(oracle::PYTHON), Some(&theirs), &words),
        );
        count.compare(&ours, &theirs, || words.join(" "));
    }
    count.close(18);
}

const FAILREGEX: &str = "^\\S+ plain\\S*: fail from <ADDR>";

/// Failures in a mixed order, with entries of others between.
fn failures(from: u32, count: u32) -> Vec<Entry> {
    let failure = |number: u32| {
        let who: &[u8] = if number % 5 == 4 { b"other" } else { b"plain" };
        let message = format!("fail from 192.0.2.{} session {number}", number * 7 % 11);
        entry(&[
            ("_HOSTNAME", b"mail"),
            ("SYSLOG_IDENTIFIER", who),
            ("_PID", number.to_string().as_bytes()),
            ("MESSAGE", message.as_bytes()),
        ])
    };
    (from..from + count).map(failure).collect()
}

fn theirs(oracle: &mut Oracle, journal: &Journal, database: &Path, maxretry: u32) -> Value {
    let answer = oracle.ask(&json!({
        "database": database, "folder": journal.folder(), "findtime": 3600, "maxretry": maxretry,
        "matches": [["SYSLOG_IDENTIFIER=plain"]], "failregex": FAILREGEX,
    }));
    assert_eq!(answer["error"], Value::Null, "{answer}");
    answer
}

/// A house whose jail reads the journal.
fn house(journal: &Journal, maxretry: u32) -> House {
    let house = House::empty();
    house.write(
        "etc/filter.d/entry.conf",
        format!("[Definition]\nfailregex = {FAILREGEX}\n"),
    );
    let options = format!(
        "backend = systemd[journalpath={}]\nfilter = entry\njournalmatch = SYSLOG_IDENTIFIER=plain\nusedns = no\nfindtime = 1h",
        journal.folder()
    );
    house.jails(&[Jail {
        name: "plain",
        maxretry,
        options: &options,
    }]);
    house
}

/// What our jail found and who it banned, and how far it came.
fn ours(house: &mut House) -> Value {
    house.start();
    house.until_said("Jail is in operation now (process new journal entries)");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let banned = house.banned();
    house.terminate();
    let found: BTreeMap<String, u64> = house.counted("plain");
    let db = house.database().unwrap();
    let place = db
        .query_row("SELECT path, firstlinemd5, lastfilepos FROM logs", [], |row| {
            Ok(json!([
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, f64>(2)?
            ]))
        })
        .unwrap();
    fs::remove_file(house.path("fail2ban.log")).unwrap();
    json!({"banned": banned, "found": found.into_iter().collect::<Vec<_>>(), "place": [place]})
}

/// The parts that both tell.
fn common(theirs: &Value) -> Value {
    let name = |ban: &Value| json!(format!("plain {}", ban[0].as_str().unwrap()));
    let banned: Vec<Value> = theirs["banned"].as_array().unwrap().iter().map(name).collect();
    json!({"banned": banned, "found": theirs["found"], "place": theirs["place"]})
}

#[test]
fn what_a_jail_finds_and_how_far_it_comes() {
    let mut count = Count::of("a jail on a journal: failures, bans, the place that is kept");
    let mut oracle = Oracle::start("journal");
    for (maxretry, many) in [(1000, 200), (30, 200), (1, 1)] {
        let mut journal = Journal::new();
        journal.add(&failures(0, many));
        let mut house = house(&journal, maxretry);
        let folder = tempfile::tempdir().unwrap();
        let theirs = theirs(&mut oracle, &journal, &folder.path().join("f.sqlite3"), maxretry);
        count.compare(&ours(&mut house), &common(&theirs), || {
            format!("{many} entries, maxretry {maxretry}")
        });
    }
    count.close(3);
}

#[test]
fn each_goes_on_where_the_other_was() {
    let mut count = Count::of("a journal read on after the other program");
    let mut oracle = Oracle::start("journal");
    let mut journal = Journal::new();
    journal.add(&failures(0, 103));
    let folder = tempfile::tempdir().unwrap();
    let after_theirs = folder.path().join("theirs.sqlite3");
    theirs(&mut oracle, &journal, &after_theirs, 1000);
    let mut first = house(&journal, 1000);
    let found = ours(&mut first);
    let after_ours = folder.path().join("ours.sqlite3");
    fs::copy(first.path("state/fail2ban.sqlite3"), &after_ours).unwrap();
    journal.add(&failures(103, 97));
    // Fail2Ban reads on after us as it does after itself.
    let again = folder.path().join("again.sqlite3");
    fs::copy(&after_theirs, &again).unwrap();
    let (by_itself, by_us) = (
        theirs(&mut oracle, &journal, &again, 1000),
        theirs(&mut oracle, &journal, &after_ours, 1000),
    );
    count.compare(&common(&by_us), &common(&by_itself), || "Fail2Ban after us".to_owned());
    // We read what is new after Fail2Ban, and nothing twice.
    let mut second = house(&journal, 1000);
    fs::copy(&after_theirs, second.path("state/fail2ban.sqlite3")).unwrap();
    let fresh = ours(&mut second);
    let sum = |told: &Value| -> u64 {
        told["found"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[1].as_u64().unwrap())
            .sum()
    };
    let all = failures(0, 200).iter().filter(|entry| entry[1].1 == b"plain").count() as u64;
    count.compare(&(sum(&found) + sum(&fresh)), &all, || "we after Fail2Ban".to_owned());
    // And after ourselves.
    let ours_again = ours(&mut first);
    count.compare(&sum(&ours_again), &all, || "we after ourselves".to_owned());
    count.close(3);
}
