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

const FILTER: &str = "[Definition]\nfailregex = ^\\S+ plain\\S*: fail from <HOST>\njournalmatch = SYSLOG_IDENTIFIER=plain\n";

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
        let child = house.inside("sh").args(["-c", FURNISH]).stderr(Stdio::null()).spawn().unwrap();
        let socket = format!("/proc/{}/root/run/systemd/journal/socket", house.holder());
        eventually("journald listens", || UnixDatagram::unbound().unwrap().connect(&socket).is_ok());
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
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A house with a jail that reads the journal of the machine.
fn house(options: &str) -> House {
    let house = House::empty();
    house.write("etc/filter.d/entry.conf", FILTER);
    let options = format!("backend = systemd\nfilter = entry\n{options}");
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1_000_000,
        options: &options,
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
    let all: String = std::iter::once(children).chain(of_threads).collect::<Vec<_>>().join(" ");
    let is_it = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "journalctl\n");
    all.split_whitespace().find(is_it).and_then(|pid| Pid::from_raw(pid.parse().unwrap()))
}

#[test]
fn every_entry_is_read_once() {
    let full = std::env::var_os("COMPLIANCE_MINUTES").is_some();
    let entries = if full { ENTRIES_FULL } else { ENTRIES };
    let mut house = house("");
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
                let printer = printer(&house).unwrap();
                kill_process(printer, Signal::KILL).unwrap();
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
