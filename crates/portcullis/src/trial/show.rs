//! What a trial looks like: plain lines, colours and progress on a terminal only, or one JSON object.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::attack::Client;
use super::house::House;
use super::sandbox::Sandbox;
use crate::client::failure::fail;
use crate::client::status::print;

/// Log lines are cut to this many signs, unless all is wanted.
const WIDTH: usize = 140;

const GREEN: &str = "32";
const RED: &str = "31";
const BOLD: &str = "1";
const FAINT: &str = "2";

/// Everything that came out. The shape is stable: fields are added, never changed or removed.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Result {
    /// Whether everything that was promised was seen
    pub(super) ok: bool,
    /// What was not, one sentence each
    pub(super) missing: Vec<String>,
    /// `network namespace`, `user and network namespace` or `none`
    pub(super) sandbox: String,
    /// Whether bans were decided only
    pub(super) dry_run: bool,
    /// How many log lines were written
    pub(super) lines_count: usize,
    /// In the order of their bans
    pub(super) banned: Vec<Ban>,
    /// Those who must not be banned
    pub(super) spared: Vec<Spared>,
    /// Who was let in again
    pub(super) unbanned: Option<Unbanned>,
    /// The folder, if it is kept
    pub(super) folder: Option<String>,
    /// How long it took
    pub(super) seconds: f64,
}

/// A ban that was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Ban {
    pub(super) ip: String,
    pub(super) jail: String,
    pub(super) story: String,
    pub(super) port: u16,
    pub(super) failures: u64,
    /// The lines that led to it, from the daemon's database
    pub(super) lines: Vec<String>,
    /// From the last line before it being written to the first connection that got no answer (in a dry run: to the
    /// daemon's word), at most so many milliseconds
    pub(super) ms: Option<f64>,
    pub(super) layers: BTreeMap<String, String>,
    /// Whether a connection at the end got no answer; null in a dry run
    pub(super) dropped: Option<bool>,
}

/// Somebody honest.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Spared {
    pub(super) ip: String,
    pub(super) story: String,
    pub(super) port: u16,
    pub(super) banned: bool,
    /// Whether a connection at the end was answered; null in a dry run
    pub(super) connects: Option<bool>,
}

/// Somebody who was let in again.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Unbanned {
    pub(super) ip: String,
    pub(super) port: u16,
    /// Whether a connection was answered afterwards; null in a dry run
    pub(super) connects: Option<bool>,
}

/// As JSON names it.
pub(super) fn sandbox_word(sandbox: &Sandbox) -> &'static str {
    match sandbox {
        Sandbox::Private { is_user: false, .. } => "network namespace",
        Sandbox::Private { is_user: true, .. } => "user and network namespace",
        Sandbox::Missing(_) => "none",
    }
}

/// Where it is shown, and how.
pub(super) struct Screen {
    json: bool,
    verbose: bool,
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new(json: bool, verbose: bool) -> Screen {
        let is_terminal = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Screen {
            json,
            verbose,
            is_terminal: is_terminal && !json,
        }
    }

    fn say(&self, text: &str) {
        if !self.json {
            self.wipe();
            print(&format!("{text}\n"));
        }
    }

    /// Takes the progress line away.
    fn wipe(&self) {
        if self.is_terminal {
            print("\r\x1b[K");
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.is_terminal {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn tick(&self, is_right: bool) -> String {
        if is_right {
            self.paint(GREEN, "✓")
        } else {
            self.paint(RED, "✗")
        }
    }

    fn head(&self, text: &str) {
        self.say(&format!("\n{}", self.paint(BOLD, text)));
    }

    pub(super) fn opening(&self, sandbox: &Sandbox, house: &House, cast: &[Client]) {
        let network = match sandbox {
            Sandbox::Private { .. } => "a private one with the kernel's nftables; yours is not touched".to_owned(),
            Sandbox::Missing(reason) => self.paint(
                RED,
                &format!("DRY RUN ({reason}): bans are decided and shown, but nothing is dropped"),
            ),
        };
        let attackers = cast.iter().filter(|client| client.jail.is_some()).count();
        let honest = cast.len() - attackers;
        let fate = if house.is_kept() { "kept" } else { "removed at the end" };
        self.say(&self.paint(BOLD, "portcullis try: a mail server under attack"));
        self.say(&format!("  network  {network}"));
        self.say("  daemon   portcullis run, with its built-in jails postfix, dovecot and sshd as they are shipped");
        self.say(&format!(
            "  folder   {} (configuration, logs, database; {fate})",
            house.path().display()
        ));
        self.say(&format!(
            "  clients  {attackers} attackers and {honest} honest users, taking turns"
        ));
        self.head("The attack");
    }

    /// How far it is.
    pub(super) fn progress(&self, text: &str) {
        if self.is_terminal {
            print(&format!("\r\x1b[K  {}", self.paint(FAINT, text)));
            let _ = io::stdout().flush();
        }
    }

    /// A log line that was written.
    pub(super) fn line(&self, line: &str) {
        if self.verbose {
            self.say(&self.paint(FAINT, &format!("  {line}")));
        }
    }

    pub(super) fn ban(&self, ban: &Ban, has_network: bool) {
        self.say(&format!("  {}  {}", self.paint(BOLD, &ban.ip), ban.story));
        let skip = if self.verbose {
            0
        } else {
            ban.lines.len().saturating_sub(1)
        };
        for line in ban.lines.iter().skip(skip) {
            self.say(&self.paint(FAINT, &format!("    {}", self.cut(line))));
        }
        let when = ban
            .ms
            .map_or(String::new(), |ms| format!(" {ms:.1} ms after that line"));
        let what = if has_network {
            format!("port {} is silent{when}", ban.port)
        } else {
            format!("known{when}")
        };
        let (tick, failures) = (self.tick(true), ban.failures);
        self.say(&format!(
            "    {tick} failure {failures}: banned by {}, {what}",
            ban.jail
        ));
    }

    /// A line without its time and host, and not too long.
    fn cut(&self, line: &str) -> String {
        let text = line.split_once(" mail ").map_or(line, |(_, text)| text);
        if self.verbose || text.chars().count() <= WIDTH {
            return text.to_owned();
        }
        text.chars().take(WIDTH - 1).chain(['…']).collect()
    }

    /// The end.
    pub(super) fn result(&self, report: &Result) {
        if self.json {
            let text = serde_json::to_string_pretty(report).unwrap_or_default();
            print(&(text + "\n"));
            return;
        }
        self.head(if report.dry_run {
            "Who is banned"
        } else {
            "Everybody dials once more"
        });
        for ban in &report.banned {
            let (is_right, what) = match ban.dropped {
                Some(true) => (true, "no answer"),
                Some(false) => (false, "connected"),
                None => (true, "banned"),
            };
            self.row(is_right, (&ban.ip, ban.port), what, &ban.story);
        }
        for one in &report.spared {
            let (is_right, what) = match one.connects {
                Some(true) => (!one.banned, "connected"),
                Some(false) => (false, "no answer"),
                None if one.banned => (false, "banned"),
                None => (true, "not banned"),
            };
            self.row(is_right, (&one.ip, one.port), what, &one.story);
        }
        if let Some(one) = &report.unbanned {
            self.head(&format!("portcullis unban {}", one.ip));
            let what = match one.connects {
                Some(true) => "connected",
                Some(false) => "no answer",
                None => "not banned",
            };
            self.row(one.connects != Some(false), (&one.ip, one.port), what, "gets in again");
        }
        self.summary(report);
    }

    fn row(&self, is_right: bool, (ip, port): (&str, u16), what: &str, story: &str) {
        let tick = self.tick(is_right);
        self.say(&format!("  {tick} {ip:17} port {port:<4} {what:10}  {story}"));
    }

    fn summary(&self, report: &Result) {
        for missing in &report.missing {
            self.say(&self.paint(RED, &format!("\nmissing: {missing}")));
        }
        if !report.ok {
            self.say("\nThis is not as it must be. Please report it, with what `portcullis try --verbose` shows.");
            return;
        }
        let what = if report.dry_run { "banned" } else { "dropped" };
        let speed = self.speed(report, what);
        self.head(&format!("Every attacker was {what}, and nobody else."));
        let rest = match &report.folder {
            Some(folder) => format!("Everything is kept in {folder}."),
            None => "Nothing is left behind.".to_owned(),
        };
        self.say(&format!("{speed}The trial took {:.1} s. {rest}", report.seconds));
        if report.dry_run {
            self.say("As root, or where user namespaces are allowed, the trial drops real packets.");
        }
        self.head("Next");
        self.say("  portcullis check -c /etc/fail2ban   what portcullis makes of your Fail2Ban configuration");
        self.say("  portcullis run -c /etc/fail2ban     the real thing, as root, in place of Fail2Ban");
    }

    fn speed(&self, report: &Result, what: &str) -> String {
        let mut times: Vec<f64> = report.banned.iter().filter_map(|ban| ban.ms).collect();
        times.sort_by(f64::total_cmp);
        match (times.get(times.len() / 2), times.last()) {
            (Some(median), Some(last)) => {
                format!("From the log line to being {what}: median {median:.1} ms, longest {last:.1} ms. ")
            }
            _ => String::new(),
        }
    }

    pub(super) fn interrupted(&self, exit: u8) {
        self.end("interrupted; the daemon is stopped", exit);
    }

    pub(super) fn failed(&self, reason: &str, exit: u8) {
        self.end(&format!("the trial cannot go on: {reason}"), exit);
    }

    fn end(&self, error: &str, exit: u8) {
        self.wipe();
        fail(self.json, error, exit);
    }
}
