//! What the rules shall hold: a pure function of the bans in force.
//!
//! In come the bans, who is never written, what room there is, and which range of ours stands where; out go the ranges
//! of each rule, where each ban is, and by name every ban that is in none. The same question has the same answer, and
//! its answer asked again is the same once more.
//!
//! The steps: bans that touch a protected network are refused; what is left is split by family, since a rule takes one
//! family only; as long as four fifths of the room are enough, every ban is written as it was spelt, so that an
//! address is found by looking for it, and beyond that neighbours become one range without loss; the least valuable
//! give way where there is still too little room; the rest is placed, each where it stands already.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use super::aggregate::aggregate;
use super::normal;
use crate::address::Family;
use crate::time::Timestamp;

mod entry;
mod name;
mod placement;
mod refusal;
#[cfg(test)]
mod tests;

pub use entry::{entry, family, target};
pub(crate) use name::name_besides;
pub use name::{listed_under, rule_name, rule_number};
use placement::{Placement, Slot, Written};
use refusal::Fence;
pub use refusal::private;

/// Entries that one rule takes where nothing else is known or was learned: the most that compute v1 documents.
pub const MAX_RANGES: usize = 5_000;

/// No rule is filled with more, whatever the options say.
const MOST_RANGES: usize = 1_000_000;

/// A ban in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom; an address is a /32 or /128
    pub range: IpNet,
    /// When it ends; never for `None`
    pub until: Option<Timestamp>,
    /// How often this offender was banned
    pub bancount: u32,
}

/// What is known of a rule that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Ranges of ours that stand in it, or are about to
    pub ours: BTreeSet<IpNet>,
    /// Entries of others, without the sentinel; they take up room
    pub foreign: usize,
    /// The most entries that it takes, where that was learned
    pub limit: Option<usize>,
    /// Whether nothing may be written into it: it is unfit, or somebody else's. What of ours is in it counts for
    /// nothing then, and is placed elsewhere.
    pub is_closed: bool,
}

/// Everything that decides what the rules of one base rule shall hold.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The base rule's name
    pub base: &'a str,
    /// The bans in force, in any order; several of one range count as one, with the latest end and the highest count
    pub bans: &'a [Ban],
    /// Networks that are never written, and what they are
    pub protected: &'a [(IpNet, String)],
    /// Entries in one rule, the sentinel and those of others included
    pub max_ranges: usize,
    /// Rules of one family, the base rule among them; 1–100
    pub max_rules: usize,
    /// Whether private ranges may be written
    pub allow_private: bool,
    /// Whether rules for IPv6 may be written; else why not
    pub ipv6: Result<(), &'a str>,
    /// The rules that are there, by name; of other names than [`rule_name`] gives none is looked at
    pub present: &'a BTreeMap<String, Present>,
}

/// What one rule shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The rule's name
    pub rule: String,
    /// Its family
    pub family: Family,
    /// Which of its family it is; 1 is the first
    pub number: usize,
    /// Our ranges in it, sorted, the sentinel not among them; empty for a rule that is there and not needed
    pub ranges: Vec<IpNet>,
}

/// Where a ban is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The place of its rule in [`Desired::shares`]
    pub share: usize,
    /// The range that covers it there
    pub range: IpNet,
}

/// What the rules shall hold. Every ban, in its [normal] spelling, stands either in `places` or in one of `protected`,
/// `evicted` and `local`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Each rule that is needed or there, IPv4 before IPv6, in the order of their numbers. That of the base rule is
    /// always among them, unless it is closed.
    pub shares: Vec<Share>,
    /// By ban, where it is
    pub places: BTreeMap<IpNet, Place>,
    /// Bans that are not written because they are protected, and why
    pub protected: Vec<(IpNet, String)>,
    /// Bans that found no room, sorted
    pub evicted: Vec<IpNet>,
    /// IPv6 bans that stay in the kernel alone, sorted
    pub local: Vec<IpNet>,
    /// Why they do; there where IPv6 may not be written, whether or not there is such a ban
    pub local_because: Option<String>,
}

/// How much a ban is worth: of two the one for ever, then the one that ends later, then the one of the more frequent
/// offender. What is worth least is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    is_forever: bool,
    until: Timestamp,
    bancount: u32,
}

impl Worth {
    fn of(ban: &Ban) -> Worth {
        Worth {
            is_forever: ban.until.is_none(),
            until: ban.until.unwrap_or(Timestamp::MAX),
            bancount: ban.bancount,
        }
    }

    /// That of one range for both.
    fn and(self, other: Worth) -> Worth {
        let until = (self.is_forever, self.until).max((other.is_forever, other.until));
        Worth {
            is_forever: until.0,
            until: until.1,
            bancount: self.bancount.max(other.bancount),
        }
    }
}

/// The bans that may be written, by range.
type Bans = BTreeMap<IpNet, Worth>;

impl Desired {
    /// What the rules shall hold.
    #[must_use]
    pub fn of(situation: &Situation<'_>) -> Desired {
        let mut desired = Desired::default();
        let (four, six) = desired.sift(situation);
        desired.fill(situation, Family::Inet4, &four);
        match situation.ipv6 {
            Ok(()) => desired.fill(situation, Family::Inet6, &six),
            Err(why) => {
                desired.local_because = Some(why.to_owned());
                desired.local = six.into_keys().collect();
                desired.fill(situation, Family::Inet6, &Bans::new());
            }
        }
        desired.evicted.sort_unstable();
        desired
    }

    /// The bans that may be written, by family; the others become `protected`.
    fn sift(&mut self, situation: &Situation<'_>) -> (Bans, Bans) {
        let fence = Fence::new(situation.protected, situation.allow_private);
        let mut bans: Vec<(IpNet, Worth)> = situation
            .bans
            .iter()
            .map(|ban| (normal(ban.range), Worth::of(ban)))
            .collect();
        bans.sort_unstable();
        bans.dedup_by(|next, known| {
            let is_same = next.0 == known.0;
            if is_same {
                known.1 = known.1.and(next.1);
            }
            is_same
        });
        bans.retain(|(range, _)| match fence.refuses(range) {
            Some(why) => {
                self.protected.push((*range, why));
                false
            }
            None => true,
        });
        let six = bans.split_off(bans.partition_point(|(range, _)| family(range) == Family::Inet4));
        (bans.into_iter().collect(), six.into_iter().collect())
    }

    /// Places the bans of one family.
    fn fill(&mut self, situation: &Situation<'_>, family: Family, bans: &Bans) {
        let slots = slots(situation, family);
        let room: usize = slots.iter().map(|slot| slot.room).sum();
        let written = if is_tight(bans, room, &slots) {
            merged(bans)
        } else {
            let whole = |(range, worth): (&IpNet, &Worth)| Written::new(*range, *worth);
            bans.iter().map(whole).collect()
        };
        let placement = Placement::of(written, &slots);
        let mut shares = Vec::with_capacity(slots.len());
        for (number, (slot, ranges)) in (1..).zip(slots.iter().zip(placement.ranges(slots.len()))) {
            let is_base = number == 1 && family == Family::Inet4;
            let is_listed = !slot.is_closed && (slot.is_there || is_base || !ranges.is_empty());
            shares.push(is_listed.then_some(self.shares.len()));
            if is_listed {
                let rule = slot.name.clone();
                self.shares.push(Share {
                    rule,
                    family,
                    number,
                    ranges,
                });
            }
        }
        let mut places = BTreeMap::new();
        for (range, covered, slot) in placement.of_bans(bans) {
            match slot.and_then(|slot| *shares.get(slot)?) {
                Some(share) => {
                    places.insert(covered, Place { share, range });
                }
                None => self.evicted.push(covered),
            }
        }
        self.places.append(&mut places);
    }
}

/// The rules that bans of this family may go into, the base rule first, and those that are there beyond that number.
fn slots<'a>(situation: &Situation<'a>, family: Family) -> Vec<Slot<'a>> {
    let most = situation.max_rules.clamp(1, name::MOST_RULES);
    let name = |number| rule_name(situation.base, family, number);
    let is_there = |number: &usize| situation.present.contains_key(&name(*number));
    let last = (most..=name::MOST_RULES).rev().find(is_there).unwrap_or(most);
    let slot = |number| {
        let name = name(number);
        let present = situation.present.get(&name);
        let limit = present.and_then(|present| present.limit).unwrap_or(usize::MAX);
        let taken = present.map_or(0, |present| present.foreign).saturating_add(1);
        let is_closed = present.is_some_and(|present| present.is_closed);
        let is_beyond = number > most || is_closed;
        Slot {
            room: if is_beyond {
                0
            } else {
                situation.max_ranges.min(limit).min(MOST_RANGES).saturating_sub(taken)
            },
            held: present.filter(|_| !is_beyond).map(|present| &present.ours),
            is_there: present.is_some(),
            is_closed,
            name,
        }
    };
    (1..=last).map(slot).collect()
}

/// Whether neighbours become one range: where more than four fifths of the room are needed, and then until seven
/// tenths are enough, so that a few bans more or less do not write everything anew each time.
fn is_tight(bans: &Bans, room: usize, slots: &[Slot<'_>]) -> bool {
    let needed = bans.len().saturating_mul(10);
    needed > room.saturating_mul(8) || (needed > room.saturating_mul(7) && is_merged(bans, slots))
}

/// Whether a range of ours stands for bans without being one.
fn is_merged(bans: &Bans, slots: &[Slot<'_>]) -> bool {
    let stands_for_others = |range: &IpNet| !bans.contains_key(range) && bans.range(inside(range)).next().is_some();
    slots
        .iter()
        .filter_map(|slot| slot.held)
        .flatten()
        .any(stands_for_others)
}

/// The bans as the fewest ranges.
fn merged(bans: &Bans) -> Vec<Written> {
    let mut whole = bans.iter().peekable();
    let mut written = Vec::new();
    for range in aggregate(bans.keys().copied()) {
        let mut one: Option<Written> = None;
        while let Some((_, worth)) = whole.next_if(|(ban, _)| range.contains(*ban)) {
            let known = one.map_or(*worth, |one| one.worth.and(*worth));
            one = Some(Written::new(range, known));
        }
        written.extend(one);
    }
    written
}

/// The bounds of a network and all that lies within it, in a sorted map.
fn inside(range: &IpNet) -> std::ops::RangeInclusive<IpNet> {
    let last = IpNet::from(range.broadcast());
    *range..=last
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for share in &self.shares {
            writeln!(f, "{} ({}, {} ranges)", share.rule, share.family, share.ranges.len())?;
            for range in &share.ranges {
                writeln!(f, "  {range}")?;
            }
        }
        for (range, why) in &self.protected {
            writeln!(f, "not written: {range}, {why}")?;
        }
        for range in &self.evicted {
            writeln!(f, "no room: {range}")?;
        }
        for range in &self.local {
            writeln!(
                f,
                "local only: {range}, {}",
                self.local_because.as_deref().unwrap_or_default()
            )?;
        }
        Ok(())
    }
}
