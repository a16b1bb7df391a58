//! Jails that read the journal because their logs were not there turn to these as soon as they are (D-213).

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use portcullis_core::command::Amended;
use portcullis_core::config::Tree as _;
use portcullis_core::config::plan::LogPath;

use super::{Daemon, Message};
use crate::folder::Disk;
use crate::observe::log::{Level, note as say};

/// It is looked for the logs this often.
const EVERY: Duration = Duration::from_secs(5);

impl Daemon {
    /// When it is to be looked for logs, if there are any to look for.
    pub(super) fn files_due(&self) -> Option<Instant> {
        (!self.setup.awaited.is_empty()).then_some(self.files_due)
    }

    /// Turns jails to the logs that are there now. What they found in the journal, and who is banned, stays.
    pub(super) fn turn_to_files(&mut self, inbox: &Receiver<Message>) {
        let now = Instant::now();
        if self.files_due().is_none_or(|due| now < due) {
            return;
        }
        self.files_due = now + EVERY;
        let awaited = self.setup.awaited.iter();
        let there = awaited.map(|(jail, lines)| (jail.clone(), found(lines)));
        let there: Vec<_> = there.filter(|(_, logs)| !logs.is_empty()).collect();
        let mut amended = Amended::default();
        for (name, logs) in there {
            self.setup.awaited.remove(&name);
            let turns = self
                .plan
                .jails
                .iter_mut()
                .find(|jail| *jail.name == *name && jail.backend == "systemd");
            let Some(jail) = turns else { continue };
            let first = logs.first().map(|log| log.path.as_str()).unwrap_or_default();
            let text = format!("[{name}] {first} is there now: it is read, and the journal no longer");
            say(Level::Notice, "fail2ban.filter", &text);
            "auto".clone_into(&mut jail.backend);
            jail.logpath = logs;
            amended.jails.insert(Arc::clone(&jail.name));
        }
        if !amended.jails.is_empty() {
            let before = self.plan.server.clone();
            // Nothing of the server is changed, which is all that could be refused.
            let _ = self.amend(&before, &amended, inbox);
        }
    }
}

/// The logs that are there of these lines of `logpath`.
fn found(lines: &[String]) -> Vec<LogPath> {
    let logs = lines.iter().flat_map(|line| {
        let (pattern, word) = line.rsplit_once(' ').unwrap_or((line, "head"));
        let tail = word == "tail";
        Disk.glob(pattern).into_iter().map(move |path| LogPath { path, tail })
    });
    logs.collect()
}
