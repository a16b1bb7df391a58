//! Portcullis itself, on the server's machine, and its verbs.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::site::Site;
use crate::wait;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

/// A running `portcullis run` over the site's folder `etc`.
pub(crate) struct Daemon<'s> {
    site: &'s Site,
}

impl<'s> Daemon<'s> {
    /// Starts it and waits until it answers.
    pub(crate) fn start(site: &'s Site) -> Daemon<'s> {
        let mut command = site.command(PROGRAM);
        command.arg("run").arg("-c").arg(site.path("etc"));
        command
            .arg("--socket")
            .arg(site.path("sock"))
            .arg("--state")
            .arg(site.path("state"));
        site.start("portcullis", &mut command);
        let daemon = Daemon { site };
        wait::until(
            "the daemon's answer",
            || daemon.run(&["status"]).status.code().filter(|code| *code != 3),
            || site.all_logs(),
        );
        daemon
    }

    /// Runs a verb.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = self.site.command(PROGRAM);
        command.args(words).arg("--socket").arg(self.site.path("sock"));
        command.output().unwrap()
    }

    /// What a verb prints as JSON.
    pub(crate) fn ask(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_str(&text).unwrap_or_else(|problem| panic!("{words:?}: {problem}: {text}{error}"))
    }

    /// How far the ban of an address has come in a jail's layer: `applied`, once the kernel has it.
    pub(crate) fn standing(&self, jail: &str, ip: &str) -> Option<String> {
        let banned = self.ask(&["banned", "--jail", jail]);
        let entry = banned.as_array()?.iter().find(|entry| entry["ip"] == ip)?.clone();
        let layers = entry["layers"].as_object()?;
        layers.values().next()?.as_str().map(str::to_owned)
    }

    /// Waits until an address is banned and every layer has said so.
    pub(crate) fn wait_for_ban(&self, jail: &str, ip: &str) {
        let applied = || {
            self.standing(jail, ip)
                .filter(|standing| ["applied", "verified"].contains(&standing.as_str()))
        };
        wait::until(&format!("{jail} to ban {ip}"), applied, || self.evidence());
    }

    /// Waits until a jail has counted so many failures.
    pub(crate) fn wait_for_failures(&self, jail: &str, count: u64) {
        let reached = || (self.failures(jail) >= count).then_some(());
        wait::until(&format!("{count} failures in {jail}"), reached, || self.evidence());
        let failures = self.failures(jail);
        assert_eq!(failures, count, "failures in {jail}\n{}", self.evidence());
    }

    fn failures(&self, jail: &str) -> u64 {
        self.jail(jail)["total_failed"].as_u64().unwrap()
    }

    /// A jail's part of `status`.
    pub(crate) fn jail(&self, jail: &str) -> Value {
        self.ask(&["status", jail])["jails"][0].clone()
    }

    /// Nobody is banned, nor will be by what was written so far.
    pub(crate) fn assert_nobody_banned(&self) {
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(self.ask(&["banned"]), serde_json::json!([]), "{}", self.evidence());
    }

    /// What to look at when something did not happen.
    pub(crate) fn evidence(&self) -> String {
        let status = self.run(&["status"]);
        String::from_utf8_lossy(&status.stdout).into_owned() + &self.site.all_logs()
    }
}
