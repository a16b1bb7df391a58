//! What is banned, until when, and what each layer has made of it.
//!
//! [`Ticket`] is one offender's case; [`Change`] is what a layer is told; [`Applied`] is what it answers;
//! [`Entry`] is what the store is asked to keep before any layer is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::address::Id;
use crate::handful::Handful;
use crate::time::{Clock, Seconds, Timestamp};

mod data;
mod field;
mod marks;
mod order;
mod standing;
#[cfg(test)]
mod tests;

pub use data::Data;
pub use field::Field;
pub use order::{Applied, Change, Order, OrderKind};
pub use standing::{Drift, Exposure, Reading, Stand, Standing};

/// One offender's case: what a ban, an unban and a database row are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The ban key.
    pub id: Id,
    /// Time of the last failure, on the steady clock.
    pub time: Timestamp,
    /// How long; [`Seconds::FOREVER`] does not end.
    pub bantime: Seconds,
    /// Which ban of this offender it is; 1 is the first.
    pub bancount: u32,
    /// Real attempts; 0 for a ban by hand.
    pub failures: u32,
    /// The lines that led here, newest last, already cut to `maxmatches`.
    pub matches: Vec<Arc<str>>,
    /// Captured fields by group name (`user`, `ip4`, `ip`, `mlfid`, …).
    pub data: Data,
    /// Whether it comes from the database and not from a log line of this run.
    pub restored: bool,
}

impl Ticket {
    /// When the ban ends, on the steady clock; never for `None`.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        (!self.bantime.is_forever()).then(|| self.time + self.bantime)
    }

    /// [`Ticket::ip`] as an id.
    #[must_use]
    pub fn address(&self) -> Id {
        match self.data.get("ip") {
            Some(Field::Text(ip)) => Id::parse(ip).unwrap_or_else(|_| Id::Raw(ip.to_string())),
            _ => self.id.clone(),
        }
    }

    /// The address for `<ip>`: the captured one where it differs from the ban key, else the ban key.
    #[must_use]
    pub fn ip(&self) -> String {
        match self.data.get("ip") {
            Some(Field::Text(ip)) => ip.to_string(),
            _ => self.id.to_string(),
        }
    }
}

/// Which layer: one action of one jail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId {
    /// The jail
    pub jail: Arc<str>,
    /// The action, by its name within the jail
    pub action: Arc<str>,
}

/// A half-full counter: one offender's failures so far (contract §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Start of the rate estimate, on the steady clock.
    pub first: Timestamp,
    /// The last failure, on the steady clock.
    pub last: Timestamp,
    /// The weighted count that is held against `maxretry`.
    pub retry: u32,
    /// Real attempts.
    pub failures: u32,
    /// The lines, newest last, cut to `maxmatches`.
    pub matches: Vec<Arc<str>>,
    /// Captured fields of the first failure.
    pub data: Data,
    /// How many bans there had been when it began, as far as that was looked at (contract §4.4).
    pub bancount: u32,
}

/// A failure of which is not known yet whether it counts, or whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Whose
    pub id: Id,
    /// Whether `id` is a host name that is to be looked up
    pub is_name: bool,
    /// When: its time on the steady clock, and which wall time that was
    pub clock: Clock,
    /// Its lines
    pub matches: Vec<Arc<str>>,
    /// Its captured fields
    pub data: Data,
}

/// How far a log file has been read, and how to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Device number of the file.
    pub device: u64,
    /// Inode number of the file.
    pub inode: u64,
    /// The byte after the last line read.
    pub offset: u64,
    /// SHA-1 (hex) of the first line with its newline, as Fail2Ban keeps it; empty while there is none.
    pub head: String,
    /// SHA-1 (hex) of the last 64 bytes (or fewer) before `offset`.
    pub tail: String,
    /// When that was, on the wall clock: later files of a rotation are younger.
    pub read_at: Timestamp,
}

/// What the store is asked to keep. All entries of one step go into one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The jail exists (`true`) or was stopped (`false`).
    Jail {
        /// Its name
        jail: Arc<str>,
        /// Whether it is in force
        enabled: bool,
    },
    /// A new or prolonged ban: Fail2Ban's `bans` and `bips`, and our own row.
    Ban {
        /// The jail
        jail: Arc<str>,
        /// The case
        ticket: Ticket,
    },
    /// A ban in force now ends later; Fail2Ban's tables do not learn of it, ours do.
    Prolong {
        /// The jail
        jail: Arc<str>,
        /// The case
        ticket: Ticket,
    },
    /// The ban ended by itself: our own row goes, Fail2Ban's stay (contract §7.2).
    Expire {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
    },
    /// All bans of a jail were lifted by hand: all rows of it go, those of past bans among them.
    Empty {
        /// The jail
        jail: Arc<str>,
    },
    /// The ban was lifted by hand: all rows of it go (contract §7.2).
    Lift {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
    },
    /// A counter changed, or is gone (`None`).
    Count {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// The new state
        count: Option<Count>,
    },
    /// A log was read up to here.
    Read {
        /// The jail
        jail: Arc<str>,
        /// The file
        path: Arc<str>,
        /// How far
        mark: Mark,
    },
    /// A failure waits for an answer from outside, or does so no more (`None`).
    Wait {
        /// The jail
        jail: Arc<str>,
        /// Which one; of two the later has the higher number
        number: u64,
        /// The failure
        pending: Option<Pending>,
    },
    /// The open sessions of a jail's filter (§3.6), as the filter writes them.
    Sessions {
        /// The jail
        jail: Arc<str>,
        /// Opaque text
        text: String,
    },
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The case
    pub ticket: Ticket,
    /// Which ban of the jail since the start it is; later ones have greater numbers
    pub number: u64,
    /// How far it has come in each layer, by action name
    pub(crate) layers: Handful<Stand>,
}

/// What came of entering a ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is new.
    New,
    /// It would have been over already.
    Expired,
    /// It is in force already, this much older; its end has moved if `prolonged`.
    Already {
        /// New failure minus the failure that the ban in force stands on
        lateness: Seconds,
        /// The ban in force with its new end, where that moved
        prolonged: Option<Ticket>,
    },
}

/// The bans in force of one jail.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    bans: BTreeMap<Id, Ban>,
    /// When each ban ends, the earlier begun first
    ends: BTreeSet<(Timestamp, u64)>,
    /// Whose the bans are, in the order of their beginnings
    order: BTreeMap<u64, Id>,
    /// Which addresses each action failed to ban, and has not banned since
    failed: BTreeMap<Arc<str>, BTreeSet<Id>>,
    total: u64,
}

impl Ledger {
    /// Enters a ban, which `actions` are to make true (contract §4.3). The end of a ban in force only ever moves
    /// further away.
    pub fn enter(&mut self, now: Timestamp, ticket: Ticket, actions: &[Arc<str>]) -> Entered {
        if ticket.until().is_some_and(|until| until < now) {
            return Entered::Expired;
        }
        if let Some(old) = self.bans.get_mut(&ticket.id) {
            let lateness = ticket.time - old.ticket.time;
            let prolonged = prolong(old, &ticket, &mut self.ends);
            return Entered::Already { lateness, prolonged };
        }
        self.total += 1;
        let number = self.total;
        self.ends.extend(ticket.until().map(|until| (until, number)));
        self.order.insert(number, ticket.id.clone());
        let mut layers = Handful::default();
        for action in actions {
            layers.insert(action, Stand::new(now));
        }
        let ban = Ban { ticket, layers, number };
        self.bans.insert(ban.ticket.id.clone(), ban);
        Entered::New
    }

    /// Gives a ban that was just entered another length.
    pub fn amend(&mut self, ticket: &Ticket) {
        let Some(ban) = self.bans.get_mut(&ticket.id).filter(|ban| ban.ticket != *ticket) else {
            return;
        };
        if let Some(until) = ban.ticket.until() {
            self.ends.remove(&(until, ban.number));
        }
        self.ends.extend(ticket.until().map(|until| (until, ban.number)));
        ban.ticket = ticket.clone();
    }

    /// Takes out a ban whose end has passed; `None` when there is none left.
    pub fn expire(&mut self, now: Timestamp) -> Option<Ban> {
        if self.ends.first().is_none_or(|(until, _)| *until >= now) {
            return None;
        }
        let (_, number) = self.ends.pop_first()?;
        let id = self.order.remove(&number)?;
        self.forgive(&id);
        self.bans.remove(&id)
    }

    /// Takes out a ban.
    pub fn remove(&mut self, id: &Id) -> Option<Ban> {
        let ban = self.bans.remove(id)?;
        self.forgive(id);
        self.order.remove(&ban.number);
        if let Some(until) = ban.ticket.until() {
            self.ends.remove(&(until, ban.number));
        }
        Some(ban)
    }

    /// The ban of somebody.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Ban> {
        self.bans.get(id)
    }

    /// Notes how far a ban has come in a layer.
    pub fn stand(&mut self, now: Timestamp, id: &Id, action: &Arc<str>, standing: Standing) {
        let Some(ban) = self.bans.get_mut(id) else { return };
        // What is no address sends no packets: that it cannot be banned protects nobody less.
        let is_failed = matches!(standing, Standing::Failed(_)) && id.family().is_some();
        if let Some(stand) = ban.layers.get_mut(action) {
            stand.reach(now, standing);
        } else {
            let mut stand = Stand::new(now);
            stand.reach(now, standing);
            ban.layers.insert(action, stand);
        }
        if is_failed {
            self.failed.entry(Arc::clone(action)).or_default().insert(id.clone());
        } else if let Some(failed) = self.failed.get_mut(action) {
            failed.remove(id);
        }
    }

    /// How many addresses an action failed to ban, and has not banned since.
    #[must_use]
    pub fn failed(&self, action: &str) -> usize {
        self.failed.get(action).map_or(0, BTreeSet::len)
    }

    fn forgive(&mut self, id: &Id) {
        for failed in self.failed.values_mut() {
            failed.remove(id);
        }
    }

    /// Forgets a layer that is no more.
    pub fn drop_layer(&mut self, action: &str) {
        self.failed.remove(action);
        for ban in self.bans.values_mut() {
            ban.layers.remove(action);
        }
    }

    /// All bans in force, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values()
    }

    /// The bans in force that begin within this network: of its addresses, and of networks with such a first address.
    pub fn within(&self, net: IpNet) -> impl Iterator<Item = &Ban> {
        let (first, last) = (net.network(), net.broadcast());
        let addresses = self.bans.range(Id::Ip(first)..=Id::Ip(last));
        let widest = IpNet::new_assert(first, 0);
        let nets = self.bans.range(Id::Net(widest)..=Id::Net(IpNet::from(last)));
        addresses.chain(nets).map(|(_, ban)| ban)
    }

    /// Whether any ban is of a network.
    #[must_use]
    pub fn has_networks(&self) -> bool {
        let first = IpNet::new_assert(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let last = IpNet::from(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
        self.bans.range(Id::Net(first)..=Id::Net(last)).next().is_some()
    }

    /// All bans in force, in the order in which they began (contract §4.3).
    pub fn in_order(&self) -> impl Iterator<Item = &Ban> {
        self.order.values().filter_map(|id| self.bans.get(id))
    }

    /// When the next ban ends.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// How many bans are in force.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether nobody is banned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// Bans since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// Moves the end of `old` to the end that `new` would have, if that is later.
fn prolong(old: &mut Ban, new: &Ticket, ends: &mut BTreeSet<(Timestamp, u64)>) -> Option<Ticket> {
    let before = old.ticket.until()?;
    let after = new.until();
    if after.is_some_and(|after| after <= before) {
        return None;
    }
    ends.remove(&(before, old.number));
    // An older failure with a longer ban keeps its length, which then runs from the younger one.
    let time = new.time.max(old.ticket.time);
    old.ticket.bantime = match after {
        Some(_) => {
            let after = time + new.bantime;
            ends.insert((after, old.number));
            after - old.ticket.time
        }
        None => Seconds::FOREVER,
    };
    // What is kept names the failure that the new end stands on, so that a restart comes to the same end under
    // the jail's ban time.
    Some(Ticket {
        time,
        bantime: new.bantime,
        ..old.ticket.clone()
    })
}
