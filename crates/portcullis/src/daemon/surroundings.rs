//! What shell actions want to know beside their tickets: counters, names, earlier bans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::action::{Fetched, JailFacts, Need};
use portcullis_core::address::Id;
use portcullis_core::ledger::Ticket;
use portcullis_core::time::{Clock, Timestamp};

use crate::enforce::shell::{Level as Loudness, Line, Surroundings};
use crate::observe::log::{Level, note};
use crate::store::Running;

/// The counters of all jails, as the daemon last put them up.
pub(super) type Board = Arc<Mutex<BTreeMap<String, JailFacts>>>;

/// The daemon's answers to its shell actions.
pub(super) struct Around {
    pub(super) clock: Running,
    pub(super) board: Board,
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

    /// Earlier bans stay empty: the ticket itself stands in for them (contract §5.1).
    fn fetch(&mut self, needs: &BTreeSet<Need>, _: &str, ticket: Option<&Ticket>) -> Fetched {
        let mut fetched = Fetched::default();
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
