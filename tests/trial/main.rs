//! `portcullis try` as a newcomer runs it: as root, as an ordinary user, without a network of its own, interrupted,
//! and with a daemon that is killed. They make network namespaces, so they need root.

#![expect(clippy::unwrap_used, reason = "the whole file is tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// `nobody` on Debian.
const NOBODY: u32 = 65534;
/// What the trial promises.
const LONGEST: f64 = 15.0;

const ATTACKERS: [(&str, &str); 6] = [
    ("198.51.100.23", "sshd"),
    ("198.51.100.66", "postfix"),
    ("198.51.100.99", "sshd"),
    ("2001:db8:bad::5", "sshd"),
    ("203.0.113.7", "postfix"),
    ("203.0.113.80", "dovecot"),
];
const HONEST: [&str; 3] = ["192.0.2.20", "192.0.2.30", "2001:db8:900d::40"];

/// A folder for temporary files that everybody may use, with a copy of the program that everybody may run. The path is
/// short, because a socket's may have 108 bytes at most.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::Builder::new().prefix("pct").tempdir_in("/tmp").unwrap();
        // Copied by a process of its own: a program that is open for writing here would be so, for a moment, in
        // whatever another test starts meanwhile, and could not be run.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_portcullis"))
            .arg(folder.path().join("portcullis"));
        assert!(copy.status().unwrap().success());
        for path in ["", "tmp"] {
            let path = folder.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        Stage { folder }
    }

    fn tmp(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("portcullis"));
        command
            .arg("try")
            .args(words)
            .env("TMPDIR", self.tmp())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Starts it and waits until this stands in its output.
    fn start_until(&self, words: &[&str], text: &str) -> (Child, BufReader<std::process::ChildStdout>) {
        let mut command = self.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "it ended before '{text}'");
        }
        (child, output)
    }

    /// The numbers of all processes that run this stage's program.
    fn processes(&self) -> Vec<i32> {
        let program = self.folder.path().join("portcullis");
        let numbers = fs::read_dir("/proc").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers
            .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program))
            .collect()
    }

    /// No process, no file. A network namespace without a name lives no longer than the processes in it.
    fn assert_nothing_is_left(&self) {
        // The kernel takes a moment to bury a killed process.
        let until = Instant::now() + Duration::from_secs(1);
        while !self.processes().is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.processes(), Vec::<i32>::new());
        assert_eq!(entries(&self.tmp()), BTreeSet::new());
    }
}

/// What a daemon without a folder of its own would touch.
const HOST: [&str; 4] = [
    "/var/log/fail2ban.log",
    "/var/lib/portcullis",
    "/var/lib/fail2ban",
    "/run/fail2ban",
];

fn modified(path: &str) -> Option<std::time::SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}{complaint}", output.status);
    assert_eq!(complaint, "");
    serde_json::from_str(&text).unwrap()
}

/// What a trial must show. `proof` is what stands in its proofs: true for real packets, null for a dry run.
fn check(report: &Value, sandbox: &str, proof: &Value) {
    assert_eq!(report["ok"], true);
    assert_eq!(report["missing"], Value::Array(Vec::new()));
    assert_eq!(report["sandbox"], sandbox);
    assert_eq!(report["dry_run"], proof.is_null());
    let banned = report["banned"].as_array().unwrap();
    let mut who: Vec<(&str, &str)> = banned
        .iter()
        .map(|ban| (ban["ip"].as_str().unwrap(), ban["jail"].as_str().unwrap()))
        .collect();
    who.sort_unstable();
    assert_eq!(who, ATTACKERS);
    for ban in banned {
        assert_eq!(ban["dropped"], *proof, "{ban}");
        assert_eq!(ban["failures"], 5, "{ban}");
        let ip = ban["ip"].as_str().unwrap();
        let lines = ban["lines"].as_array().unwrap();
        assert_eq!(lines.len(), 5, "{ban}");
        assert!(lines.iter().all(|line| line.as_str().unwrap().contains(ip)), "{ban}");
        assert!(ban["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{ban}");
        let standings: &[&str] = if proof.is_null() {
            &["dry"]
        } else {
            &["applied", "verified"]
        };
        assert!(standings.contains(&ban["layers"]["nft"].as_str().unwrap()), "{ban}");
    }
    let spared = report["spared"].as_array().unwrap();
    let who: Vec<&str> = spared.iter().map(|one| one["ip"].as_str().unwrap()).collect();
    assert_eq!(who, HONEST);
    assert!(
        spared
            .iter()
            .all(|one| one["banned"] == false && one["connects"] == *proof),
        "{spared:?}"
    );
    assert_eq!(report["unbanned"]["connects"], *proof);
    assert!(report["seconds"].as_f64().unwrap() < LONGEST);
}

#[test]
fn root_sees_real_packets_dropped() {
    let stage = Stage::new();
    let before = HOST.map(modified);
    check(
        &report(&stage.run(&["--json"])),
        "network namespace",
        &Value::Bool(true),
    );
    assert_eq!(before, HOST.map(modified));
    stage.assert_nothing_is_left();
}

#[test]
fn an_ordinary_user_sees_them_too_where_the_kernel_lets_users_have_a_network() {
    let stage = Stage::new();
    let can = Command::new("unshare")
        .args(["-Urn", "nft", "list", "ruleset"])
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    let output = stage.command(&["--json"]).uid(NOBODY).gid(NOBODY).output().unwrap();
    if can.unwrap().status.success() {
        check(&report(&output), "user and network namespace", &Value::Bool(true));
    } else {
        check(&report(&output), "none", &Value::Null);
    }
    stage.assert_nothing_is_left();
}

#[test]
fn without_a_network_it_says_so_and_goes_on() {
    let stage = Stage::new();
    check(&report(&stage.run(&["--json", "--dry-run"])), "none", &Value::Null);
    // A namespace whose own user limit is 0 allows no further ones, as containers do.
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$0\" try";
    let program = stage.folder.path().join("portcullis");
    let output = Command::new("unshare")
        .args(["-Ur", "sh", "-c", script])
        .arg(&program)
        .env("TMPDIR", stage.tmp())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("DRY RUN (this system allows no private network here"),
        "{text}"
    );
    assert!(text.contains("Every attacker was banned, and nobody else."), "{text}");
    stage.assert_nothing_is_left();
}

#[test]
fn plain_output_has_no_escapes_and_tells_who_and_why() {
    let stage = Stage::new();
    let output = stage.run(&["--verbose"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(['\x1b', '\r']), "{text}");
    for (ip, jail) in ATTACKERS {
        assert!(text.contains(&format!("  {ip}  ")), "{ip}: {text}");
        assert!(
            text.contains(&format!("failure 5: banned by {jail}, port ")),
            "{jail}: {text}"
        );
    }
    for expected in [
        "user=<alice@example.org>",
        "portcullis unban ",
        "portcullis check -c /etc/fail2ban",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn an_interrupt_ends_it_within_a_second_and_leaves_nothing() {
    for (sent, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let stage = Stage::new();
        let (mut child, _output) = stage.start_until(&[], "banned by");
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        let own = namespace(std::process::id().cast_signed());
        let processes = stage.processes();
        assert_eq!(processes.len(), 3, "the trial, the runner and the daemon");
        assert!(processes.into_iter().all(|pid| namespace(pid) != own));
        let told = Instant::now();
        signal(child.id(), sent);
        let status = child.wait().unwrap();
        assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
        assert_eq!(status.code(), Some(code));
        stage.assert_nothing_is_left();
    }
}

#[test]
fn a_daemon_that_dies_is_reported() {
    let stage = Stage::new();
    let (child, _output) = stage.start_until(&[], "banned by");
    let trial = child.id().cast_signed();
    let parent = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.nth(1).unwrap().parse::<i32>().unwrap()
    };
    let runner = stage
        .processes()
        .into_iter()
        .find(|pid| *pid != trial && parent(*pid) == trial);
    signal(runner.unwrap().cast_unsigned(), Signal::KILL);
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("the daemon died"), "{complaint}");
    stage.assert_nothing_is_left();
}

#[test]
fn the_folder_is_kept_on_request() {
    let stage = Stage::new();
    let report = report(&stage.run(&["--json", "--dry-run", "--keep"]));
    let folder = Path::new(report["folder"].as_str().unwrap());
    for file in ["etc/jail.local", "log/mail.log", "log/auth.log", "state/fail2ban.log"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    assert!(!folder.join("socket").exists());
}
