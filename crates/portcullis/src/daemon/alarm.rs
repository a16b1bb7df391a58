//! Not enforcing is never quiet (invariant 13): said when it begins, repeated every hour, and said when it is over.

use std::collections::BTreeSet;

use portcullis_core::engine::{Query, View};
use portcullis_core::time::Seconds;

use super::origin::Kind;
use super::{Daemon, SERVER, logging};
use crate::observe::log::{Level, note as say};
use crate::observe::notify;

/// So long nothing is said of a server that has no configuration yet.
const PATIENCE: Seconds = Seconds::new(60);

impl Daemon {
    /// Says what has begun to be wrong since the last look, and when nothing is any more.
    pub(super) fn watch_protection(&mut self) {
        if self.dry_run {
            return;
        }
        let view = self.engine.query(&Query::Status);
        self.watch_lags(&view);
        let reasons = self.reasons(&view);
        // One that goes on failing in other words, or for other addresses, is no news.
        let present: BTreeSet<String> = reasons.iter().map(|reason| subject(reason).to_owned()).collect();
        if present == self.alarm {
            return;
        }
        for reason in reasons.iter().filter(|reason| !self.alarm.contains(subject(reason))) {
            say(Level::Error, SERVER, &format!("NOT PROTECTED: {reason}"));
            eprintln!("portcullis: NOT PROTECTED: {reason}");
        }
        if present.is_empty() {
            say(
                Level::Notice,
                SERVER,
                "protected again: every layer does what was decided",
            );
        }
        self.alarm = present;
        self.tell_systemd();
    }

    /// A few words for whoever started the service by hand: where the log is, and whether all is well.
    pub(super) fn greet(&self) {
        let jails = self.reloaded(Vec::new()).count;
        eprintln!(
            "portcullis: {jails} jails in force, configuration {}",
            self.places.config.display()
        );
        eprintln!("portcullis: the log goes to {}", logging::target());
        if self.dry_run {
            eprintln!("portcullis: dry run, nothing is enforced");
        }
    }

    /// What was seen and not counted is worth a word every hour.
    pub(super) fn repeat_remarks(&self) {
        for ((jail, _), text) in self.remarks.iter().filter(|((_, kind), _)| *kind == "unseen") {
            say(Level::Warning, "fail2ban.filter", &format!("[{jail}] {text}"));
        }
    }

    /// Not enforcing is never quiet (invariant 13).
    pub(super) fn complain_if_unprotected(&self) {
        self.tell_systemd();
        if self.dry_run {
            say(
                Level::Warning,
                SERVER,
                "dry run: bans are decided and logged, nothing is enforced",
            );
            return;
        }
        let view = self.engine.query(&Query::Status);
        for reason in self.reasons(&view) {
            say(Level::Error, SERVER, &format!("NOT PROTECTED: {reason}"));
        }
        for lag in self.lags(&view) {
            say(Level::Error, SERVER, &lag);
        }
    }

    /// Why what is decided may not be in force; a server that waits for its client is given a moment.
    fn reasons(&self, view: &View) -> Vec<String> {
        let waits = self.origin.kind == Kind::Waiting && self.clock.now().steady < self.since + PATIENCE;
        if waits {
            return Vec::new();
        }
        self.not_protected(view)
    }

    pub(super) fn tell_systemd(&self) {
        let reasons = self.reasons(&self.engine.query(&Query::Status));
        notify::status(&match reasons.first() {
            _ if self.dry_run => "dry run: nothing is enforced".to_owned(),
            Some(first) => format!("NOT PROTECTED: {first}"),
            None => match self.lagging.first() {
                Some(subject) => format!("protected; the cloud lags: {subject}"),
                None => "protected".to_owned(),
            },
        });
    }
}

pub(super) fn subject(reason: &str) -> &str {
    reason.split(": ").next().unwrap_or(reason)
}
