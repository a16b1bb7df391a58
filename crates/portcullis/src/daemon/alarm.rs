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

/// What is wrong for the time being.
#[derive(Default)]
pub(super) struct Alarm {
    /// Why what is decided may not be in force
    unprotected: Known,
    /// Where the cloud lags behind the kernel
    lags: Known,
}

/// Troubles that were told of. One that goes on in other words, or for other addresses, is no news.
#[derive(Default)]
struct Known(BTreeSet<String>);

impl Known {
    /// Tells what has begun since the last look, and when nothing is wrong any more; whether anything is other than then.
    fn take(&mut self, troubles: &[String], begun: impl Fn(&str), over: &str) -> bool {
        let present: BTreeSet<String> = troubles.iter().map(|text| subject(text).to_owned()).collect();
        if present == self.0 {
            return false;
        }
        let new = troubles.iter().filter(|text| !self.0.contains(subject(text)));
        new.for_each(|text| begun(text));
        if present.is_empty() {
            say(Level::Notice, SERVER, over);
        }
        self.0 = present;
        true
    }
}

impl Daemon {
    /// Says what has begun to be wrong since the last look, and when nothing is any more.
    pub(super) fn watch_protection(&mut self) {
        if self.dry_run {
            return;
        }
        let view = self.engine.query(&Query::Status);
        let (lags, reasons) = (self.lags(&view), self.reasons(&view));
        let lag = |text: &str| say(Level::Error, SERVER, text);
        let lags = self.alarm.lags.take(&lags, lag, "the cloud lags no more");
        let cry = |reason: &str| {
            say(Level::Error, SERVER, &format!("NOT PROTECTED: {reason}"));
            eprintln!("portcullis: NOT PROTECTED: {reason}");
        };
        let over = "protected again: every layer does what was decided";
        if self.alarm.unprotected.take(&reasons, cry, over) || lags {
            self.tell_systemd();
        }
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
            None => match self.alarm.lags.0.first() {
                Some(subject) => format!("protected; the cloud lags: {subject}"),
                None => "protected".to_owned(),
            },
        });
    }
}

fn subject(reason: &str) -> &str {
    reason.split(": ").next().unwrap_or(reason)
}
