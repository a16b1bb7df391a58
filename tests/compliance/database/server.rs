//! The real `fail2ban-server` on a house's configuration, database and logs, with its own client.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::house::{House, eventually};
use crate::oracle;

/// One run of it.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    /// What its log held before
    before: usize,
}

const LOG: &str = "theirs.log";

impl Server {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(house: &House) -> Self {
        let before = house.read(LOG).len();
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(house.path("theirs.out"));
        let out = out.unwrap();
        let mut command = program(house, "fail2ban-server");
        command
            .arg("-f")
            .arg("--logtarget")
            .arg(house.path(LOG))
            .arg("start")
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let log = house.path(LOG);
        let server = Server { child, log, before };
        eventually("Fail2Ban answers", || server.client(house, &["ping"]).contains("pong"));
        server
    }

    /// What its client prints.
    #[expect(clippy::unused_self, reason = "it must run to be asked")]
    pub(crate) fn client(&self, house: &House, words: &[&str]) -> String {
        let output = program(house, "fail2ban-client").args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What this run has said.
    pub(crate) fn said(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[self.before..]).into_owned()
    }

    /// Waits until so many lines hold `text`.
    pub(crate) fn until_said(&self, text: &str, times: usize) {
        eventually(&format!("Fail2Ban says {text:?} {times} times"), || {
            self.said().matches(text).count() >= times
        });
    }

    /// Ends it by its client; what it has said is given back.
    pub(crate) fn stop(mut self, house: &House) -> String {
        self.client(house, &["stop"]);
        eventually("Fail2Ban ends", || self.child.try_wait().unwrap().is_some());
        self.said()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(15)..];
            eprintln!("--- Fail2Ban\n{}", last.join("\n"));
        }
    }
}

fn program(house: &House, name: &str) -> Command {
    let mut command = house.inside(oracle::PYTHON);
    command
        .env("PYTHONPATH", oracle::modules())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LC_ALL", "C.UTF-8")
        .arg(oracle::root().join("usr/bin").join(name))
        .arg("-c")
        .arg(house.path("etc"))
        .arg("-s")
        .arg(house.path("theirs.sock"))
        .arg("-p")
        .arg(house.path("theirs.pid"));
    command
}
