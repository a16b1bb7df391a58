//! The kernel after the same bans: Debian 12's own Fail2Ban, under its own configuration, in one network namespace,
//! portcullis under the same files in another. What both leave in the kernel must be equal, after the bans, after half
//! of them were lifted, and after the stop; only what cannot be equal is put in order before: handles, counters, the
//! seeds of hash tables and with them the order in which a hash set is listed.
//!
//! Both programs are asked in the same way, by the client of their own: one request for the addresses, and one for the
//! networks, because stock sets of `nftables` take none and a command that fails stands alone with either program. Each
//! takes the time from a request to the last element in the kernel, and the ratios are printed (`bench/parity` prints
//! those of a release build). What must hold is no time: how many processes the server started for the addresses.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;

use crate::debian;
use crate::namespace::Namespace;

const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");
/// So long a server may take to start, to end, or to bring its last ban into the kernel.
const PATIENCE: Duration = Duration::from_secs(180);
/// Where commands go together, Fail2Ban starts at least so many times as many processes for the same addresses.
const FEWER: u64 = 10;

/// One of each family, with whom the action starts.
const FIRST: [&str; 2] = ["203.0.113.1", "2001:db8:1::3"];

/// What is compared.
struct Case {
    /// The action that Debian's configuration is told to ban with
    banaction: &'static str,
    jail: &'static str,
    /// How many are banned; every other one is freed again
    bans: usize,
    /// Where the action's programs are those of the older variant
    legacy: bool,
    /// Whether this is done natively, and so must take few processes
    native: bool,
    dump: &'static [&'static [&'static str]],
}

const NFT: &[&[&str]] = &[&["nft", "-j", "list", "ruleset"]];
const IPTABLES: &[&[&str]] = &[&["iptables-save"], &["ip6tables-save"]];
const IPSET: &[&[&str]] = &[&["ipset", "save"], &["iptables-save"], &["ip6tables-save"]];
const UFW: &[&[&str]] = &[
    &["cat", "/etc/ufw/user.rules", "/etc/ufw/user6.rules"],
    &["ufw", "status"],
    &["iptables-save"],
    &["ip6tables-save"],
];

const CASE: Case = Case {
    banaction: "nftables-multiport",
    jail: "sshd",
    bans: 500,
    legacy: false,
    native: true,
    dump: NFT,
};

#[test]
fn nftables_multiport() {
    compare(&CASE);
}

#[test]
fn nftables_allports() {
    let banaction = "nftables-allports";
    compare(&Case { banaction, ..CASE });
}

#[test]
fn iptables_multiport() {
    let banaction = "iptables-multiport";
    let dump = IPTABLES;
    compare(&Case {
        banaction,
        dump,
        ..CASE
    });
}

#[test]
fn iptables_multiport_in_the_older_variant() {
    compare(&Case {
        banaction: "iptables-multiport",
        dump: IPTABLES,
        legacy: true,
        ..CASE
    });
}

#[test]
fn iptables_ipset() {
    compare(&Case {
        banaction: "iptables-ipset-proto6",
        dump: IPSET,
        ..CASE
    });
}

/// `ufw` takes a fifth of a second for each rule, with either program: a few bans must do.
#[test]
fn ufw() {
    let own = || fs::read_to_string("/etc/ufw/ufw.conf").unwrap();
    let before = own();
    compare(&Case {
        banaction: "ufw",
        dump: UFW,
        bans: 16,
        native: false,
        ..CASE
    });
    assert_eq!(own(), before);
}

/// Who is banned there is let in, so that these commands run one by one, with either program: fewer bans must do.
#[test]
fn pass2allow_ftp() {
    compare(&Case {
        banaction: "iptables-multiport",
        jail: "pass2allow-ftp",
        bans: 150,
        dump: IPTABLES,
        native: false,
        ..CASE
    });
}

/// What is left in the kernel at each step, and what the steps took.
struct Course {
    steps: Vec<Step>,
    stopped: String,
}

/// One request: what is in the kernel after it, how long that took, and how many processes and threads the client
/// and the server started meanwhile.
struct Step {
    name: &'static str,
    dump: String,
    took: Duration,
    started: u64,
    /// The server's processor time, with that of what it started
    spent: Duration,
}

fn compare(case: &Case) {
    let mut theirs = course(case, Make::Fail2Ban, None);
    if case.jail == "pass2allow-ftp" {
        // D-189: Fail2Ban 1.0 lets the action's own `blocktype` for IPv6 win over the jail's; 1.1, which we follow, not.
        for step in &mut theirs.steps {
            let as_in_1_1 = step
                .dump
                .replace("-j REJECT --reject-with icmp6-port-unreachable", "-j RETURN");
            assert_ne!(step.dump, as_in_1_1);
            step.dump = as_in_1_1;
        }
    }
    let ours = course(case, Make::Portcullis, Some(&theirs));
    let variant = if case.legacy { " (legacy)" } else { "" };
    println!(
        "{} in {}{variant}: 0 differences after {} bans, {} unbans, stop",
        case.banaction,
        case.jail,
        case.bans,
        case.bans / 2,
    );
    let of_addresses = |course: &Course| -> Duration {
        let steps = course.steps.iter().filter(|step| step.name.ends_with("addresses"));
        steps.map(|step| step.took).sum()
    };
    let (all_theirs, all_ours) = (of_addresses(&theirs), of_addresses(&ours));
    println!(
        "  addresses in all: {all_theirs:.2?} / {all_ours:.2?} = {:.0} x sooner",
        all_theirs.as_secs_f64() / all_ours.as_secs_f64()
    );
    for (theirs, ours) in theirs.steps.iter().zip(&ours.steps) {
        println!(
            "  {}: {:.0?} / {:.0?} = {:.0} x sooner, {} / {} processes, {:?} / {:?} of the processor, {} bytes of dump",
            theirs.name,
            theirs.took,
            ours.took,
            theirs.took.as_secs_f64() / ours.took.as_secs_f64(),
            theirs.started,
            ours.started,
            theirs.spent,
            ours.spent,
            theirs.dump.len(),
        );
        if case.native && theirs.name.ends_with("addresses") {
            assert!(
                theirs.started >= FEWER * ours.started,
                "{} / {}",
                theirs.started,
                ours.started
            );
        }
    }
}

/// The life of one program. One that is compared with another has until then to come to the same state.
fn course(case: &Case, make: Make, other: Option<&Course>) -> Course {
    let mut side = Side::new(case, make);
    side.start(case);
    let all = addresses(case.bans);
    let half: Vec<String> = all.iter().step_by(2).cloned().collect();
    let of = |who: &[String], networks: bool| -> Vec<String> {
        who.iter()
            .filter(|one| one.contains('/') == networks)
            .cloned()
            .collect()
    };
    // With the first ban of each family the action's own commands make its tables and chains.
    let (first, rest): (Vec<String>, Vec<String>) = of(&all, false)
        .into_iter()
        .partition(|who| FIRST.contains(&who.as_str()));
    assert_eq!(first.len(), FIRST.len());
    let steps = [
        ("banip: the first", first),
        ("banip: addresses", rest),
        ("banip: networks", of(&all, true)),
        ("unbanip: addresses", of(&half, false)),
        ("unbanip: networks", of(&half, true)),
    ];
    let steps: Vec<Step> = steps
        .into_iter()
        .enumerate()
        .map(|(at, (name, who))| side.change(case, name, &who, other.map(|other| &other.steps[at].dump)))
        .collect();
    let [_, banned, _, freed, _] = steps.as_slice() else {
        unreachable!("there are five steps")
    };
    assert!(banned.dump.matches("203.0.113.").count() > 10, "{}", banned.dump);
    assert_ne!(banned.dump, freed.dump);
    let stopped = side.stop(case);
    if let Some(other) = other {
        same("after the stop", &other.stopped, &stopped, &side);
    }
    Course { steps, stopped }
}

/// Addresses of both families, and some networks.
fn addresses(count: usize) -> Vec<String> {
    // Networks among those that stay and those that are freed.
    let one = |number: usize| match number % 200 {
        7 | 12 | 107 => format!("198.51.{}.0/29", number % 256),
        _ if number % 3 == 2 => format!("2001:db8:{:x}::{:x}", number / 7 + 1, number + 1),
        _ if number < 250 => format!("203.0.113.{number}"),
        _ => format!("192.0.2.{}", number - 250),
    };
    (0..count).map(one).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Make {
    Fail2Ban,
    Portcullis,
}

/// One program with a network, a configuration and, for its commands, folders of its own.
struct Side {
    make: Make,
    folder: tempfile::TempDir,
    server: Option<Child>,
    /// Folders that stand in the place of the machine's
    places: Vec<(PathBuf, &'static str)>,
    namespace: Namespace,
}

impl Side {
    fn new(case: &Case, make: Make) -> Side {
        let folder = tempfile::tempdir().unwrap();
        let side = Side {
            make,
            server: None,
            places: Vec::new(),
            namespace: Namespace::new(),
            folder,
        };
        debian::copy(&debian::fail2ban(), &side.path("etc"));
        let here = side.folder.path().display().to_string();
        for log in ["auth.log", "access.log"] {
            fs::write(side.path(log), "").unwrap();
        }
        let local = "[Definition]\nsocket = HERE/socket\npidfile = HERE/pid\ndbfile = HERE/db\nlogtarget = HERE/log\n";
        fs::write(side.path("etc/fail2ban.local"), local.replace("HERE", &here)).unwrap();
        // Debian's file turns sshd on; its own log is left out.
        let local = format!(
            "[DEFAULT]\nbackend = polling\nbanaction = {}\n[sshd]\nenabled = {}\nlogpath = {here}/auth.log\n\
             [pass2allow-ftp]\nenabled = {}\nlogpath = {here}/access.log\nknocking_url = /knocking/\n",
            case.banaction,
            case.jail == "sshd",
            case.jail != "sshd"
        );
        fs::write(side.path("etc/jail.local"), local).unwrap();
        side.programs(case)
    }

    fn programs(mut self, case: &Case) -> Side {
        fs::create_dir(self.path("bin")).unwrap();
        for name in ["fail2ban-server", "fail2ban-client"] {
            let program = match self.make {
                Make::Fail2Ban => debian::root().join("usr/bin").join(name),
                Make::Portcullis => PROGRAM.into(),
            };
            symlink(program, self.path("bin").join(name)).unwrap();
        }
        if case.legacy {
            for family in ["iptables", "ip6tables"] {
                for what in ["", "-save", "-restore"] {
                    let program = format!("/usr/sbin/{family}-legacy{what}");
                    symlink(program, self.path("bin").join(format!("{family}{what}"))).unwrap();
                }
            }
        }
        if case.banaction == "ufw" {
            debian::copy(Path::new("/etc/ufw"), &self.path("ufw"));
            self.places.push((self.path("ufw"), "/etc/ufw"));
            let output = self.command("ufw").args(["--force", "enable"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        self
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.namespace.command(&self.places, Path::new(program));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("PYTHONPATH", debian::root().join("usr/lib/python3/dist-packages"))
            .env("PORTCULLIS_STATE", self.path("state"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut command = self.inside("fail2ban-client");
        command.arg("-c").arg(self.path("etc")).args(words);
        command
    }

    /// A command among the server's processes.
    fn inside(&self, program: &str) -> Command {
        let server = self.server.as_ref().unwrap().id();
        let first = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let mut command = self.command("nsenter");
        command.args(["--target", first.trim(), "--pid", "--mount", program]);
        command
    }

    fn start(&mut self, case: &Case) {
        fs::create_dir(self.path("state")).unwrap();
        let log = fs::File::create(self.path("stderr")).unwrap();
        // With a number space of its own, the kernel counts what the server starts. The shell is the first in it, and
        // stays until the last client has its answer.
        let mut command = self.command("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"])
            .args(["\"$@\" </dev/null; read -r _", "sh", "fail2ban-server", "-c"])
            .arg(self.path("etc"))
            .args(["-f", "start"]);
        let server = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn();
        self.server = Some(server.unwrap());
        let end = Instant::now() + PATIENCE;
        let started = format!("Jail '{}' started", case.jail);
        while !fs::read_to_string(self.path("log")).is_ok_and(|log| log.contains(&started)) {
            assert!(
                Instant::now() < end,
                "{:?} does not start: {}",
                self.make,
                self.evidence()
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// One request, and the time until the kernel is as it is to be.
    fn change(&self, case: &Case, name: &'static str, who: &[String], wanted: Option<&String>) -> Step {
        let verb = name.split(':').next().unwrap_or_default();
        let mut words = vec!["set", case.jail, verb];
        words.extend(who.iter().map(String::as_str));
        let (newest, spent) = self.effort();
        let begin = Instant::now();
        let output = self.client(&words).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?} {}", self.evidence());
        let mut took = begin.elapsed();
        let mut dump = self.dump(case);
        // Both answer when their actions are done; who does so too early gets the time that it really took.
        while let Some(wanted) = wanted.filter(|wanted| **wanted != dump) {
            if took > PATIENCE {
                same(name, wanted, &dump, self);
            }
            if !case.native {
                // `ufw` waits for whoever else looks.
                sleep(Duration::from_secs(1));
            }
            dump = self.dump(case);
            took = begin.elapsed();
        }
        // The one that asks has a number, too.
        let after = self.effort();
        let started = after.0 - newest - 1;
        Step {
            name,
            dump,
            took,
            started,
            spent: after.1.saturating_sub(spent),
        }
    }

    /// The number of the newest process or thread in the server's own count of them, and the processor time of all that
    /// are in it or were, but for the clients.
    fn effort(&self) -> (u64, Duration) {
        let read = "exec cat /proc/loadavg /proc/[0-9]*/stat 2>/dev/null";
        let output = self.inside("sh").args(["-c", read]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines();
        let newest = lines.next().and_then(|line| line.split(' ').next_back()?.parse().ok());
        // Its own times and those of its children that have ended, behind a name in brackets that may hold anything.
        let hundredths = lines.filter_map(|line| {
            let words = line.rsplit_once(')')?.1.split_whitespace();
            Some(
                words
                    .skip(11)
                    .take(4)
                    .filter_map(|word| word.parse::<u64>().ok())
                    .sum::<u64>(),
            )
        });
        let spent = Duration::from_millis(hundredths.sum::<u64>() * 10);
        (newest.unwrap_or_else(|| panic!("{output:?}")), spent)
    }

    fn stop(&mut self, case: &Case) -> String {
        let output = self.client(&["stop"]).output().unwrap();
        assert!(output.status.success(), "stop: {output:?} {}", self.evidence());
        let mut server = self.server.take().unwrap();
        drop(server.stdin.take());
        let end = Instant::now() + PATIENCE;
        while server.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < end,
                "{:?} does not end: {}",
                self.make,
                self.evidence()
            );
            sleep(Duration::from_millis(20));
        }
        self.dump(case)
    }

    fn dump(&self, case: &Case) -> String {
        let of = |words: &&[&str]| {
            let output = self.command(words[0]).args(&words[1..]).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{words:?}: {error}");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            format!("== {}\n{}\n", words.join(" "), in_order(words[0], &text))
        };
        case.dump.iter().map(of).collect()
    }

    fn evidence(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(30).collect();
        let stderr = fs::read_to_string(self.path("stderr")).unwrap_or_default();
        format!("{stderr}\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The namespace ends every process in it.
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// A dump without what cannot be equal.
fn in_order(program: &str, text: &str) -> String {
    match program {
        "nft" => {
            let mut all: Value = serde_json::from_str(text).unwrap();
            settle(&mut all);
            serde_json::to_string_pretty(&all).unwrap()
        }
        // The line of the set has the seed of its hash table.
        "ipset" => {
            let seed = Regex::new(" initval 0x[0-9a-f]+").unwrap();
            let lines: BTreeSet<String> = text.lines().map(|line| seed.replace(line, "").into_owned()).collect();
            lines.into_iter().collect::<Vec<_>>().join("\n")
        }
        "iptables-save" | "ip6tables-save" => {
            let counters = Regex::new(r"\[\d+:\d+\]").unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| counters.replace(line, "") + "\n").collect()
        }
        _ => text.to_owned(),
    }
}

/// Takes handles and counts out of what `nft` lists, and sorts elements.
fn settle(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for gone in ["handle", "packets", "bytes"] {
                members.remove(gone);
            }
            if let Some(Value::Array(elements)) = members.get_mut("elem") {
                elements.sort_by_key(ToString::to_string);
            }
            members.values_mut().for_each(settle);
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}

/// The lines that only one of them has.
fn same(when: &str, theirs: &str, ours: &str, side: &Side) {
    if theirs == ours {
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (theirs, ours) = (lines(theirs), lines(ours));
    let only = |one: &BTreeSet<String>, other| one.difference(other).take(15).cloned().collect::<Vec<_>>().join("\n");
    panic!(
        "{when}:\nonly Fail2Ban's:\n{}\nonly ours:\n{}\n{}",
        only(&theirs, &ours),
        only(&ours, &theirs),
        side.evidence()
    );
}
