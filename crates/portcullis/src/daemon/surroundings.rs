//! What shell actions want to know beside their tickets: counters, names, earlier bans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::action::{Fetched, JailFacts, Merged, Need};
use portcullis_core::address::Id;
use portcullis_core::engine::Query;
use portcullis_core::ledger::Ticket;
use portcullis_core::time::{Clock, Timestamp};

use crate::enforce::shell::{Level as Loudness, Line, Surroundings};
use crate::observe::log::{Level, note};
use crate::store::{self, Running};

use super::{Daemon, Message, resolver};

/// An action waits so long for what the database knows.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reverse name is believed so long, and one that there is not, too (contract §13.9).
const HOSTS_LAST: Duration = Duration::from_secs(300);
/// Reverse names kept at most.
const MOST_HOSTS: usize = 1000;

/// The counters of all jails, as the daemon last put them up.
pub(super) type Board = Arc<Mutex<BTreeMap<String, JailFacts>>>;

/// Reverse names, with the time until which they are believed.
pub(super) type Hosts = Arc<Mutex<BTreeMap<Id, (Option<String>, Instant)>>>;

/// The daemon's answers to its shell actions.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) clock: Running,
    pub(super) board: Board,
    pub(super) outbox: SyncSender<Message>,
    pub(super) hosts: Hosts,
    /// Counters of jails that end
    parting: BTreeMap<String, JailFacts>,
}

impl Around {
    /// Nothing is known yet.
    pub(super) fn new(clock: &Running, outbox: &SyncSender<Message>) -> Around {
        Around {
            clock: clock.clone(),
            board: Board::default(),
            outbox: outbox.clone(),
            hosts: Hosts::default(),
            parting: BTreeMap::new(),
        }
    }
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
        if let Some(facts) = self.parting.get(jail) {
            return facts.clone();
        }
        let board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(jail).cloned().unwrap_or_else(|| JailFacts {
            name: jail.to_owned(),
            ..JailFacts::default()
        })
    }

    fn part(&mut self, facts: &BTreeMap<String, JailFacts>) {
        self.parting.clone_from(facts);
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
            fetched.ip_host = ticket.and_then(|ticket| self.name_of(ticket));
        }
        if needs.contains(&Need::FullHostname) || needs.contains(&Need::ShortHostname) {
            fetched.full_hostname = resolver::full_name();
            fetched.short_hostname = resolver::short_name();
        }
        fetched
    }

    fn log(&mut self, line: Line) {
        note(line.level.into(), line.logger, &line.text);
    }
}

impl From<Loudness> for Level {
    fn from(level: Loudness) -> Self {
        match level {
            Loudness::Debug => Level::Debug,
            Loudness::Info => Level::Info,
            Loudness::Notice => Level::Notice,
            Loudness::Error => Level::Error,
            Loudness::Critical => Level::Critical,
        }
    }
}

impl Around {
    /// The name of an offender's address, found out at most every five minutes (contract §13.9).
    fn name_of(&self, ticket: &Ticket) -> Option<String> {
        let id = ticket.address();
        let now = Instant::now();
        let hosts = || self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, until)) = hosts().get(&id)
            && *until > now
        {
            return name.clone();
        }
        // Others go on meanwhile.
        let name = resolver::reverse(&id);
        let mut hosts = hosts();
        if hosts.len() >= MOST_HOSTS {
            hosts.retain(|_, (_, until)| *until > now);
        }
        if hosts.len() >= MOST_HOSTS {
            hosts.pop_first();
        }
        hosts.insert(id, (name.clone(), now + HOSTS_LAST));
        name
    }

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

impl Daemon {
    /// Shell actions may ask for a jail's counters.
    pub(super) fn put_up_counters(&self) {
        *self.board.lock().unwrap_or_else(PoisonError::into_inner) = self.counters();
    }

    /// Each jail's numbers.
    pub(super) fn counters(&self) -> BTreeMap<String, JailFacts> {
        let view = self.engine.query(&Query::Status);
        let facts = view.jails.iter().map(|jail| {
            let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            let facts = JailFacts {
                name: jail.name.to_string(),
                bantime: jail.bantime,
                banned: count(jail.banned),
                banned_total: jail.bans_total,
                found: count(jail.failing),
                found_total: jail.failures,
            };
            (facts.name.clone(), facts)
        });
        facts.collect()
    }
}
