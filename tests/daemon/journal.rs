//! The journal as a log: systemd's own daemon writes it, inside the house; it is rotated and vacuumed meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, Jail, eventually};

/// As many entries with `COMPLIANCE_MINUTES` as the journal of a busy mail server has in an hour.
const ENTRIES: usize = 12_000;
const ENTRIES_FULL: usize = 100_000;

const FILTER: &str =
    "[Definition]\nfailregex = ^\\S+ plain\\S*: fail from <HOST>\njournalmatch = SYSLOG_IDENTIFIER=plain\n";

/// A folder of the machine that the house has for itself, and what it needs to be found there.
const FURNISH: &str = "set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mkdir -p /run/systemd/journal /var/log/journal
: > /run/systemd/journal/flushed
printf '[Journal]\\nStorage=persistent\\nRateLimitBurst=0\\nReadKMsg=no\\nAudit=no\\nSystemMaxFileSize=1M\\nSystemMaxUse=200M\\n' > /run/conf
mount --bind /run/conf /etc/systemd/journald.conf
exec /lib/systemd/systemd-journald";

/// The machine's journal, in a house.
struct Journald {
    child: Child,
    socket: String,
    written: BTreeMap<String, u64>,
}

impl Journald {
    fn start(house: &House) -> Journald {
        let child = house
            .inside("sh")
            .args(["-c", FURNISH])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let socket = format!("/proc/{}/root/run/systemd/journal/socket", house.holder());
        eventually("journald listens", || {
            UnixDatagram::unbound().unwrap().connect(&socket).is_ok()
        });
        Journald {
            child,
            socket,
            written: BTreeMap::new(),
        }
    }

    fn write(&self, fields: &[(&str, &str)]) {
        let entry: String = fields.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(&self.socket).unwrap();
        socket.send(entry.as_bytes()).unwrap();
    }

    /// Failures of one address, among entries of others.
    fn fail(&mut self, who: &str, count: usize) {
        let before = *self.written.entry(who.to_owned()).or_default();
        for number in before..before + count as u64 {
            let message = format!("fail from {who} session {number}");
            self.write(&[("SYSLOG_IDENTIFIER", "plain"), ("MESSAGE", &message)]);
            if number % 4 == 0 {
                self.write(&[("SYSLOG_IDENTIFIER", "other"), ("MESSAGE", "fail from 192.0.2.99")]);
            }
        }
        *self.written.entry(who.to_owned()).or_default() += count as u64;
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn journalctl(house: &House, words: &[&str]) {
    let output = house.inside("journalctl").args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A house with a jail that reads the journal of the machine.
fn house(maxretry: u32) -> House {
    let house = House::empty();
    house.write("etc/filter.d/entry.conf", FILTER);
    house.jails(&[Jail {
        name: "plain",
        maxretry,
        options: "backend = systemd\nfilter = entry",
    }]);
    house
}

/// Waits for as long as more and more is read: after a death the daemon reads line by line for a minute.
fn until_read(house: &House, journal: &Journald) {
    let read = || house.counted("plain").values().sum::<u64>();
    let (all, mut before) = (journal.written.values().sum::<u64>(), 0);
    while read() < all {
        eventually("more is read", || read() > before);
        before = read();
    }
    house.counts_become("plain", &journal.written);
}

/// The program that prints the journal, if one runs in the house.
fn printer(house: &House) -> Option<Pid> {
    let runner = house.runner().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{runner}/task")).unwrap().flatten();
    let of_threads = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let all: String = std::iter::once(children)
        .chain(of_threads)
        .collect::<Vec<_>>()
        .join(" ");
    let is_it = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "journalctl\n");
    all.split_whitespace()
        .find(is_it)
        .and_then(|pid| Pid::from_raw(pid.parse().unwrap()))
}

#[test]
fn every_entry_is_read_once() {
    let full = std::env::var_os("COMPLIANCE_MINUTES").is_some();
    let entries = if full { ENTRIES_FULL } else { ENTRIES };
    let mut house = house(1_000_000);
    let mut journal = Journald::start(&house);
    // Some are there before the daemon is.
    journal.fail("10.0.0.1", 300);
    house.start();
    house.until_said("Jail is in operation now (process new journal entries)");
    let rounds = 12;
    for round in 0..rounds {
        let part = entries / rounds / 4;
        journal.fail(&format!("10.0.{round}.2"), part);
        match round % 4 {
            0 => journalctl(&house, &["--rotate"]),
            1 => house.kill(),
            2 => {
                eventually("a program prints the journal", || printer(&house).is_some());
                kill_process(printer(&house).unwrap(), Signal::KILL).unwrap();
            }
            _ => kill_process(house.daemon(), Signal::KILL).unwrap(),
        }
        journal.fail(&format!("10.0.{round}.3"), part);
        journalctl(&house, &["--rotate"]);
        journal.fail(&format!("10.0.{round}.4"), part);
        if round % 4 == 1 {
            // It goes away while nobody reads.
            journalctl(&house, &["--rotate"]);
            house.start();
        }
        journal.fail(&format!("10.0.{round}.5"), part);
        if round % 3 == 2 {
            // What has been read may go, and with it the place that is kept.
            until_read(&house, &journal);
            journalctl(&house, &["--rotate"]);
            journalctl(&house, &["--vacuum-files=1"]);
        }
    }
    until_read(&house, &journal);
    assert_eq!(house.said("192.0.2.99"), [""; 0]);
}

/// A path that several hold on to is not there for the daemon any more.
fn without_journalctl(house: &mut House) {
    house.through = ["env", "PATH=/nowhere"].map(str::to_owned).into();
}

/// Why the daemon says that it does not protect.
fn reasons(house: &House) -> String {
    house.json(&["status"])["reasons"].to_string() + &house.json(&["status"])["not_protected"].to_string()
}

#[test]
fn without_the_program_it_is_said_and_other_jails_go_on() {
    let mut house = house(1_000_000);
    let mut journal = Journald::start(&house);
    let jail = |name, options| Jail {
        name,
        maxretry: 1,
        options,
    };
    house.jails(&[
        jail("plain", "backend = systemd\nfilter = entry"),
        jail("file", "backend = polling"),
    ]);
    without_journalctl(&mut house);
    house.start();
    house.until_said(
        "NOT PROTECTED: jail 'plain' sees nothing: systemd-journal: cannot be read: journalctl is not installed",
    );
    assert!(
        reasons(&house).contains("apt-get install systemd"),
        "{}",
        reasons(&house)
    );
    house.fail("file", "192.0.2.1");
    house.until_banned("file 192.0.2.1");
    journal.fail("192.0.2.2", 1);
    house.terminate();
    // What was written meanwhile is read as soon as it can be.
    house.through.clear();
    house.start();
    house.until_banned("plain 192.0.2.2");
    assert_eq!(
        house.said("cannot be read: journalctl is not installed").len(),
        2,
        "once and its alarm"
    );
}

#[test]
fn a_journal_that_appears_later_is_read() {
    let mut house = house(1);
    // The house's own folders for logs are empty.
    let empty = house
        .inside("sh")
        .args(["-c", "mount -t tmpfs t /run; mount -t tmpfs t /var/log"])
        .status()
        .unwrap();
    assert!(empty.success());
    house.start();
    house.until_said("NOT PROTECTED: jail 'plain' sees nothing: systemd-journal: cannot be read: there is no journal");
    let mut journal = Journald::start(&house);
    journal.fail("192.0.2.2", 1);
    house.until_banned("plain 192.0.2.2");
    house.until_said("protected again");
}

#[test]
fn a_program_that_dies_again_and_again_is_loud() {
    let mut house = house(1);
    let mut journal = Journald::start(&house);
    house.start();
    house.until_said("Jail is in operation now");
    let mut last = None;
    for _ in 0..3 {
        eventually("it is started again", || {
            printer(&house).is_some_and(|pid| Some(pid) != last)
        });
        last = printer(&house);
        kill_process(last.unwrap(), Signal::KILL).unwrap();
    }
    house.until_said("journalctl was ended by signal 9; it is started again");
    house.until_said(
        "NOT PROTECTED: jail 'plain' sees nothing: systemd-journal: cannot be read: journalctl was ended by signal 9",
    );
    journal.fail("192.0.2.2", 1);
    house.until_banned("plain 192.0.2.2");
    house.until_said("protected again");
}

/// The client's reply.
fn reply(house: &House, words: &[&str]) -> String {
    String::from_utf8_lossy(&house.client(words).stdout).into_owned()
}

#[test]
fn matches_are_changed_while_it_runs() {
    let mut house = house(1);
    house.write("etc/fail2ban.conf", "[Definition]\n");
    let mut journal = Journald::start(&house);
    house.start();
    house.until_said("Jail is in operation now");
    let other = [
        ("SYSLOG_IDENTIFIER", "plain-two"),
        ("A_B", "1"),
        ("MESSAGE", "fail from 192.0.2.3"),
    ];
    journal.write(&other);
    journal.fail("192.0.2.1", 1);
    house.until_banned("plain 192.0.2.1");
    let shown = reply(
        &house,
        &[
            "set",
            "plain",
            "addjournalmatch",
            "SYSLOG_IDENTIFIER=plain-two",
            "A_B=1",
        ],
    );
    assert_eq!(
        shown,
        "Current match filter:\nSYSLOG_IDENTIFIER=plain + SYSLOG_IDENTIFIER=plain-two A_B=1\n"
    );
    journal.write(&[
        ("SYSLOG_IDENTIFIER", "plain-two"),
        ("A_B", "2"),
        ("MESSAGE", "fail from 192.0.2.5"),
    ]);
    journal.write(&[
        ("SYSLOG_IDENTIFIER", "plain-two"),
        ("A_B", "1"),
        ("MESSAGE", "fail from 192.0.2.4"),
    ]);
    house.until_banned("plain 192.0.2.4");
    reply(&house, &["set", "plain", "deljournalmatch", "SYSLOG_IDENTIFIER=plain"]);
    journal.fail("192.0.2.6", 1);
    journal.write(&[
        ("SYSLOG_IDENTIFIER", "plain-two"),
        ("A_B", "1"),
        ("MESSAGE", "fail from 192.0.2.7"),
    ]);
    house.until_banned("plain 192.0.2.7");
    let status = reply(&house, &["status", "plain"]);
    assert!(
        status.contains("|  `- Journal matches:\tSYSLOG_IDENTIFIER=plain-two A_B=1\n"),
        "{status}"
    );
    let banned = ["plain 192.0.2.1", "plain 192.0.2.4", "plain 192.0.2.7"];
    let mut now = house.banned();
    now.sort();
    assert_eq!(now, banned);
}

/// Lines of a mail server whose clients guess passwords, as both logs have them.
const MAIL: &[(&str, &str, &str)] = &[
    (
        "postfix.service",
        "postfix/smtpd",
        "warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6",
    ),
    (
        "postfix@-.service",
        "postfix/submission/smtpd",
        "warning: unknown[192.0.2.7]: SASL PLAIN authentication failed:",
    ),
    (
        "postfix@-.service",
        "postfix/smtpd",
        "warning: unknown[192.0.2.8]: SASL PLAIN authentication failed:",
    ),
    ("postfix@-.service", "postfix/smtpd", "connect from unknown[192.0.2.9]"),
    (
        "dovecot.service",
        "dovecot",
        "imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<a>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.1, session=<x>",
    ),
    (
        "dovecot.service",
        "dovecot",
        "imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<a>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.1, session=<y>",
    ),
    (
        "dovecot.service",
        "dovecot",
        "imap-login: Login: user=<a>, method=PLAIN, rip=192.0.2.11, lip=198.51.100.1, mpid=1, session=<z>",
    ),
    (
        "ssh.service",
        "sshd",
        "Failed password for root from 192.0.2.12 port 22 ssh2",
    ),
    (
        "ssh.service",
        "sshd",
        "Failed password for root from 192.0.2.12 port 22 ssh2",
    ),
];

/// A journal of these lines, in a folder of the house. Only the journal's own daemon may say of which unit an entry is.
fn mail_journal(house: &House) {
    let now = jiff::Timestamp::now().as_microsecond() - 20_000_000;
    let mut text = String::new();
    for (number, (unit, who, message)) in MAIL.iter().enumerate() {
        text += &format!(
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={number}\n_BOOT_ID={:032}\n_HOSTNAME=mx1\n_SYSTEMD_UNIT={unit}\n\
             SYSLOG_IDENTIFIER={who}\n_PID={number}\nMESSAGE={message}\n\n",
            now + i64::try_from(number).unwrap() * 1000,
            7
        );
    }
    house.write("mail.export", text);
    fs::create_dir(house.path("journal")).unwrap();
    import(house);
}

/// Has systemd make a journal of what was written down.
fn import(house: &House) {
    let ended = house
        .inside("/lib/systemd/systemd-journal-remote")
        .arg("-o")
        .arg(house.path("journal/system.journal"))
        .arg(house.path("mail.export"))
        .stderr(Stdio::null())
        .status();
    assert!(ended.unwrap().success());
}

#[test]
fn the_stock_jails_read_the_journal_as_the_file() {
    let mut in_journal = House::empty();
    mail_journal(&in_journal);
    let folder = in_journal.path("journal").display().to_string();
    let jails = |house: &House, backend: &str, logpath: &str| {
        let mut text =
            format!("[DEFAULT]\nmaxretry = 2\nignoreself = false\nbackend = {backend}\nlogpath = {logpath}\n");
        for name in ["postfix", "dovecot", "sshd"] {
            text += &format!("[{name}]\nenabled = true\nlogpath = {logpath}\naction = note[name={name}]\n");
        }
        house.write("etc/jail.local", text);
    };
    let expect = ["dovecot 192.0.2.10", "postfix 192.0.2.7", "sshd 192.0.2.12"];
    jails(&in_journal, &format!("systemd[journalpath={folder}]"), "/nowhere");
    let mut in_file = House::empty();
    let stamp = |message: &str| format!("{} {message}\n", jiff::Zoned::now().strftime("%b %e %H:%M:%S"));
    let lines = MAIL.iter().enumerate();
    let lines: String = lines
        .map(|(number, (_, who, text))| stamp(&format!("mx1 {who}[{number}]: {text}")))
        .collect();
    in_file.write("mail.log", lines);
    jails(&in_file, "auto", in_file.path("mail.log").to_str().unwrap());
    for house in [&mut in_journal, &mut in_file] {
        house.start();
        for who in expect {
            house.until_banned(who);
        }
        let mut banned = house.banned();
        banned.sort();
        assert_eq!(banned, expect);
    }
    // One program prints for all three.
    let words = fs::read(format!(
        "/proc/{}/cmdline",
        printer(&in_journal).unwrap().as_raw_nonzero()
    ))
    .unwrap();
    let words = String::from_utf8(words).unwrap();
    for unit in ["postfix@-.service", "dovecot.service", "ssh.service"] {
        assert!(words.contains(&format!("_SYSTEMD_UNIT={unit}")), "{words}");
    }
}

#[test]
fn files_of_a_journal_are_followed_over_their_rotation() {
    let mut house = House::empty();
    mail_journal(&house);
    let pattern = house.path("journal/sys*.journal").display().to_string();
    house.write(
        "etc/filter.d/entry.conf",
        "[Definition]\nfailregex = \\[<HOST>\\]: SASL \n",
    );
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1_000,
        options: &format!("filter = entry\nbackend = systemd[journalfiles={pattern}]\njournalmatch = _HOSTNAME=mx1"),
    }]);
    house.start();
    let expect = |times: u64| BTreeMap::from([("192.0.2.7".to_owned(), 2 * times), ("192.0.2.8".to_owned(), times)]);
    house.counts_become("plain", &expect(1));
    for times in 2..4 {
        let old = format!("journal/system@{:032}-{times:016}-{times:016}.journal", 5);
        fs::rename(house.path("journal/system.journal"), house.path(&old)).unwrap();
        let now = jiff::Timestamp::now().as_microsecond();
        let text = house.read("mail.export");
        let (_, rest) = text.split_once("__MONOTONIC").unwrap();
        let text = format!("__REALTIME_TIMESTAMP={now}\n__MONOTONIC{rest}");
        let text = text.replace("MESSAGE=warning", &format!("ROUND={times}\nMESSAGE=warning"));
        house.write("mail.export", retimed(&text, now));
        import(&house);
        house.counts_become("plain", &expect(times));
    }
}

/// The entries with other times.
fn retimed(text: &str, from: i64) -> String {
    let mut number = from;
    let lines = text.lines().map(|line| {
        number += 1;
        if line.starts_with("__REALTIME") {
            format!("__REALTIME_TIMESTAMP={number}\n")
        } else if line.starts_with("__MONOTONIC") {
            format!("__MONOTONIC_TIMESTAMP={number}\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

#[test]
fn a_log_that_appears_later_takes_the_place_of_the_journal() {
    let mut house = house(3);
    let log = house.path("later.log");
    house.write(
        "etc/filter.d/both.conf",
        "[Definition]\nfailregex = ^\\s*\\S+ plain\\S*: fail from <HOST>\njournalmatch = SYSLOG_IDENTIFIER=plain\n",
    );
    let jail = |logpath: &str| {
        let options = format!("backend = auto\nsystemd_if_nologs = true\nfilter = both\nlogpath = {logpath}");
        house.jails(&[Jail {
            name: "plain",
            maxretry: 3,
            options: &options,
        }]);
    };
    jail(&log.display().to_string());
    fs::remove_file(house.log_of("plain")).unwrap();
    let mut journal = Journald::start(&house);
    house.start();
    house.until_said("Have not found any log file for 'plain' jail");
    house.until_said("Jail is in operation now");
    journal.fail("192.0.2.1", 2);
    journal.fail("192.0.2.2", 3);
    house.until_banned("plain 192.0.2.2");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.1".to_owned(), 2)]));
    // The log begins with what stood in the journal.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let line = |off, who: &str| format!("{} mx plain[1]: fail from {who}\n", crate::house::stamp(off));
    house.write("later.log", line(-3, "192.0.2.1").repeat(2));
    house.until_said("is there now: it is read, and the journal no longer");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.1".to_owned(), 2)]));
    assert_eq!(house.banned(), ["plain 192.0.2.2"]);
    crate::house::append(&log, line(0, "192.0.2.1").as_bytes());
    house.until_banned("plain 192.0.2.1");
    journal.fail("192.0.2.3", 3);
    // And so it is after a start.
    house.terminate();
    house.start();
    crate::house::append(&log, line(0, "192.0.2.4").repeat(3).as_bytes());
    house.until_banned("plain 192.0.2.4");
    let mut banned = house.banned();
    banned.sort();
    assert_eq!(banned, ["plain 192.0.2.1", "plain 192.0.2.2", "plain 192.0.2.4"]);
}
