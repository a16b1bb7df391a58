//! What shell actions want to know beside their tickets: counters, names, earlier bans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_core::action::{Fetched, JailFacts, Merged, Need};
use portcullis_core::address::Id;
use portcullis_core::ledger::Ticket;
use portcullis_core::time::{Clock, Timestamp};

use crate::enforce::shell::{Level as Loudness, Line, Surroundings};
use crate::observe::log::{Level, note};
use crate::store::{self, Running};

use super::Message;

/// An action waits so long for what the database knows.
const PATIENCE: Duration = Duration::from_secs(2);

/// The counters of all jails, as the daemon last put them up.
pub(super) type Board = Arc<Mutex<BTreeMap<String, JailFacts>>>;

/// The daemon's answers to its shell actions.
pub(super) struct Around {
    pub(super) clock: Running,
    pub(super) board: Board,
    pub(super) outbox: SyncSender<Message>,
}

impl Surroundings for Around {
    fn clock(&mut self, now: Timestamp) -> Clock {
        let present = self.clock.now();
        Clock {
            steady: now,
            wall: present.to_wall(now),
        }
    }

    fn jail(&mut self, jail: &str) -> JailFacts {
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(jail).cloned().unwrap_or_else(|| JailFacts {
            name: jail.to_owned(),
            ..JailFacts::default()
        })
    }

    fn fetch(&mut self, needs: &BTreeSet<Need>, jail: &str, ticket: Option<&Ticket>) -> Fetched {
        let mut fetched = Fetched::default();
        if let Some(ticket) = ticket {
            let ip = ticket.ip();
            if needs.contains(&Need::Everywhere) {
                fetched.everywhere = self.merged(&ip, None);
            }
            if needs.contains(&Need::InJail) {
                fetched.in_jail = self.merged(&ip, Some(jail));
            }
        }
        if needs.contains(&Need::IpHost) {
            fetched.ip_host = ticket.and_then(|ticket| reverse(&ticket.id));
        }
        if needs.contains(&Need::FullHostname) || needs.contains(&Need::ShortHostname) {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            fetched.full_hostname = full_name(&host);
            fetched.short_hostname = host;
        }
        fetched
    }

    fn log(&mut self, line: Line) {
        let level = match line.level {
            Loudness::Debug => Level::Debug,
            Loudness::Info => Level::Info,
            Loudness::Notice => Level::Notice,
            Loudness::Error => Level::Error,
            Loudness::Critical => Level::Critical,
        };
        note(level, line.logger, &line.text);
    }
}

impl Around {
    /// The store belongs to the daemon's thread: it is asked, and where it does not answer the ticket itself stands in
    /// (contract §5.1).
    fn merged(&self, ip: &str, jail: Option<&str>) -> Option<Merged> {
        let (to, answer) = channel();
        let question = Question {
            ip: ip.to_owned(),
            jail: jail.map(str::to_owned),
            to,
        };
        self.outbox.send(Message::Merged(question)).ok()?;
        let merged = answer.recv_timeout(PATIENCE).ok()??;
        Some(Merged {
            failures: merged.failures,
            matches: merged.matches,
        })
    }
}

/// What an action wants to know of an address' earlier bans.
pub(super) struct Question {
    ip: String,
    jail: Option<String>,
    to: Sender<Option<store::Merged>>,
}

impl Question {
    /// Answers it.
    pub(super) fn answer(self, look: impl FnOnce(&str, Option<&str>) -> Option<store::Merged>) {
        // Who does not wait any more needs no answer.
        let _ = self.to.send(look(&self.ip, self.jail.as_deref()));
    }
}

fn reverse(id: &Id) -> Option<String> {
    let Id::Ip(ip) = id else { return None };
    dns_lookup::lookup_addr(ip)
        .ok()
        .filter(|name| name.parse::<IpAddr>().is_err())
}

/// The canonical name that begins with the short one, where the resolver knows it (contract §13.9).
fn full_name(host: &str) -> String {
    let hints = dns_lookup::AddrInfoHints {
        flags: 2,
        ..dns_lookup::AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints));
    let canonical = found.into_iter().flatten().flatten().find_map(|info| info.canonname);
    canonical
        .filter(|name| name.starts_with(host))
        .unwrap_or_else(|| host.to_owned())
}
