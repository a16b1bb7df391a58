//! What the kernel is to hold: what it was told and has confirmed, remembered so that an order for what is there costs
//! nothing, and what has gone is known without asking anybody.
//!
//! What a former run left in the kernel is taken in as well, as *strays*: held, and ordered by nobody yet. They keep
//! their place until the orders of the start have come; those that nobody ordered then may go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use portcullis_core::time::{Seconds, Timestamp};

use super::sets::SetKey;
use super::survey::Print;

/// So much longer than the ban the kernel keeps an element: bans are ended by the ledger, and the kernel's time-out is
/// the backstop for the case that nobody is left to end them. The order to unban has so long to arrive.
pub(super) const BACKSTOP: Seconds = Seconds::new(5);

/// An order whose end differs by less from the kernel's means the same: two runs do not read their clocks at once.
const SAME_END: Seconds = Seconds::new(1);

/// Ends in the kernel that differ by more were moved by somebody.
pub(super) const MOVED_END: Seconds = Seconds::new(3);

/// A reading of the steady clock, and when it was taken, so that what takes long knows how late it has become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    taken: Timestamp,
    at: Instant,
}

impl Moment {
    /// It is this late now.
    pub(super) fn new(now: Timestamp) -> Moment {
        Moment {
            taken: now,
            at: Instant::now(),
        }
    }

    /// How late it is by now.
    pub(super) fn now(self) -> Timestamp {
        self.when(Instant::now())
    }

    /// How late it was then.
    pub(super) fn when(self, then: Instant) -> Timestamp {
        let passed = then.saturating_duration_since(self.at);
        self.taken + Seconds::from_micros(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Stands for an end that never comes.
const NEVER: i64 = i64::MAX;

/// What one layer was told, and how it was built.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// Its sets in the kernel, and what they are to hold
    pub sets: BTreeMap<SetKey, Members>,
    /// Its rules in the base chain, as the kernel gave them back when they were made
    pub jumps: Vec<Print>,
    /// Its rules in its own chain, likewise
    pub lookups: Vec<Print>,
    /// Whether that is what its present configuration says
    pub is_current: bool,
    /// Whether the orders of the start have come, so that strays are nobody's
    pub is_complete: bool,
    /// When it was last known to be whole
    pub whole: Timestamp,
}

impl Wish {
    /// How many bans it is to hold.
    pub(super) fn len(&self) -> usize {
        self.sets.values().map(Members::len).sum()
    }

    /// Whether there are strays that may go.
    pub(super) fn has_strays(&self) -> bool {
        self.is_complete && self.sets.values().any(|members| !members.strays.is_empty())
    }

    /// Forgets what has ended, in the kernel too.
    pub(super) fn lapse(&mut self, now: Timestamp) {
        for members in self.sets.values_mut() {
            members.lapse(now);
        }
    }
}

/// What one set is to hold. An address takes 33 bytes, in a table that is at least seven sixteenths full.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    /// When each ban ends, in microseconds of the steady clock
    ends: HashMap<IpAddr, i64>,
    /// Those of them that nobody ordered in this run
    strays: HashSet<IpAddr>,
}

impl Members {
    /// The kernel holds this already.
    pub(super) fn adopt(&mut self, ip: IpAddr, end: Option<Timestamp>) {
        self.ends.insert(ip, pack(end));
        self.strays.insert(ip);
    }

    /// It was ordered, and the kernel has confirmed it.
    pub(super) fn order(&mut self, ip: IpAddr, end: Option<Timestamp>) {
        self.ends.insert(ip, pack(end));
        self.strays.remove(&ip);
    }

    /// What is there was ordered as it stands.
    pub(super) fn claim(&mut self, ip: IpAddr) {
        self.strays.remove(&ip);
    }

    /// It is to be held no more.
    pub(super) fn forget(&mut self, ip: IpAddr) {
        self.ends.remove(&ip);
        self.strays.remove(&ip);
        // A flood that is over gives its memory back.
        if self.ends.capacity() > 4096 && self.ends.len() < self.ends.capacity() / 8 {
            self.ends.shrink_to_fit();
            self.strays.shrink_to_fit();
        }
    }

    /// Nothing is to be held.
    pub(super) fn clear(&mut self) {
        *self = Members::default();
    }

    /// Whether it is to be held, and until when.
    pub(super) fn end(&self, ip: IpAddr) -> Option<Option<Timestamp>> {
        self.ends.get(&ip).map(|end| unpack(*end))
    }

    /// Whether it is to be held until about then.
    pub(super) fn holds(&self, ip: IpAddr, end: Option<Timestamp>) -> bool {
        self.end(ip).is_some_and(|held| is_near(held, end, SAME_END))
    }

    /// All that is to be held, and until when.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, Option<Timestamp>)> {
        self.ends.iter().map(|(ip, end)| (*ip, unpack(*end)))
    }

    /// Those that nobody ordered, from now on forgotten.
    pub(super) fn take_strays(&mut self) -> Vec<IpAddr> {
        let strays: Vec<IpAddr> = std::mem::take(&mut self.strays).into_iter().collect();
        for ip in &strays {
            self.ends.remove(ip);
        }
        strays
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn lapse(&mut self, now: Timestamp) {
        let over = |end: i64| end != NEVER && Timestamp::from_micros(end) + BACKSTOP < now;
        if self.ends.values().any(|end| over(*end)) {
            self.ends.retain(|_, end| !over(*end));
            let ends = &self.ends;
            self.strays.retain(|ip| ends.contains_key(ip));
        }
    }
}

fn pack(end: Option<Timestamp>) -> i64 {
    end.map_or(NEVER, Timestamp::micros)
}

fn unpack(end: i64) -> Option<Timestamp> {
    (end != NEVER).then(|| Timestamp::from_micros(end))
}

/// Whether two ends are the same but for so much.
pub(super) fn is_near(one: Option<Timestamp>, other: Option<Timestamp>, by: Seconds) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => one.micros().abs_diff(other.micros()) <= by.micros().unsigned_abs(),
        _ => false,
    }
}
