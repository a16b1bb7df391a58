//! Which range stands in which rule.
//!
//! A range stays where it is; a new one goes where its neighbours are, or else into the first rule with room. Where
//! there is too little room for all, the least valuable have none. Rules are emptied only where two fit into one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Bans, Worth, inside};

/// A rule that ranges may be placed in.
pub(super) struct Slot<'a> {
    pub(super) name: String,
    /// Ranges of ours that it takes
    pub(super) room: usize,
    /// Ranges of ours that stand in it; none where they count for nothing
    pub(super) held: Option<&'a BTreeSet<IpNet>>,
    pub(super) is_there: bool,
    pub(super) is_closed: bool,
}

/// A range as it is written.
#[derive(Clone, Copy)]
pub(super) struct Written {
    range: IpNet,
    pub(super) worth: Worth,
}

impl Written {
    pub(super) fn new(range: IpNet, worth: Worth) -> Written {
        Written { range, worth }
    }
}

/// Ranges, sorted, and the place of the rule that each stands in; none for those without room.
pub(super) struct Placement {
    written: Vec<Written>,
    slots: Vec<Option<usize>>,
}

impl Placement {
    /// Places ranges, which come sorted.
    pub(super) fn of(written: Vec<Written>, slots: &[Slot<'_>]) -> Placement {
        let kept = kept(&written, slots);
        let homes = Homes::of(slots);
        let mut filling = Filling {
            placed: vec![None; written.len()],
            room: slots.iter().map(|slot| slot.room).collect(),
            free: slots.iter().map(|slot| slot.room).collect(),
            // The base rule is there whatever is in it.
            is_used: (0..slots.len()).map(|number| number == 0).collect(),
        };
        let range = |place: usize| written.get(place).map(|one| one.range);
        for &place in &kept {
            if let Some(slot) = range(place).and_then(|range| homes.0.get(&range)) {
                filling.put(place, *slot);
            }
        }
        // By value the best stayed where they are; by address the others come to stand in order.
        let mut others: Vec<usize> = kept.into_iter().filter(|place| filling.is_open(*place)).collect();
        others.sort_unstable();
        for place in others {
            let near = range(place).and_then(|range| homes.near(&range).find(|slot| filling.has_room(*slot)));
            if let Some(slot) = near.or_else(|| filling.first_room()) {
                filling.put(place, slot);
            }
        }
        let slots = compact(filling.placed, slots);
        Placement { written, slots }
    }

    /// The ranges of each of so many rules, sorted.
    pub(super) fn ranges(&self, rules: usize) -> Vec<Vec<IpNet>> {
        let mut ranges = vec![Vec::new(); rules];
        for (one, slot) in self.written.iter().zip(&self.slots) {
            if let Some(ranges) = slot.and_then(|slot| ranges.get_mut(slot)) {
                ranges.push(one.range);
            }
        }
        ranges
    }

    /// Each ban with the range that covers it, which comes first, and the place of its rule.
    pub(super) fn of_bans<'a>(&'a self, bans: &'a Bans) -> impl Iterator<Item = (IpNet, IpNet, Option<usize>)> + 'a {
        bans.keys().filter_map(|ban| {
            // Ranges either are the bans or do not overlap, so the last that begins no later is the one.
            let place = self.written.partition_point(|one| one.range <= *ban).checked_sub(1)?;
            Some((self.written.get(place)?.range, *ban, *self.slots.get(place)?))
        })
    }
}

/// Those that find room, the most valuable first; of equals the lowest address gives way. Where there is room for all
/// wherever they stand, the order is of no account.
fn kept(written: &[Written], slots: &[Slot<'_>]) -> Vec<usize> {
    let room = slots.iter().map(|slot| slot.room).sum();
    let mut places: Vec<usize> = (0..written.len()).collect();
    let has_room = |slot: &Slot<'_>| slot.held.map_or(0, BTreeSet::len) <= slot.room;
    if written.len() > room || !slots.iter().all(has_room) {
        places.sort_by_key(|place| written.get(*place).map(|one| Reverse((one.worth, one.range))));
        places.truncate(room);
    }
    places
}

/// The rule that each range of ours stands in, the first where it is several, and the lengths that occur.
struct Homes(BTreeMap<IpNet, usize>, BTreeSet<u8>);

impl Homes {
    fn of(slots: &[Slot<'_>]) -> Homes {
        // The last of the same wins, so the first rule comes last.
        let slots = (0..slots.len()).zip(slots).rev();
        let ranges = |(number, slot): (usize, &Slot<'_>)| {
            let held = slot.held.into_iter().flatten();
            held.map(|range| (*range, number)).collect::<Vec<_>>()
        };
        let homes: BTreeMap<IpNet, usize> = slots.flat_map(ranges).collect();
        let lengths = homes.keys().map(IpNet::prefix_len).collect();
        Homes(homes, lengths)
    }

    /// The rules in which ranges stand that this one is a part of, or that are parts of it.
    fn near(&self, range: &IpNet) -> impl Iterator<Item = usize> {
        let wider = self.1.range(..range.prefix_len()).rev();
        let wider = wider.filter_map(|length| IpNet::new(range.addr(), *length).ok());
        let wider = wider.filter_map(|net| self.0.get(&net.trunc()));
        wider.chain(self.0.range(inside(range)).map(|(_, slot)| slot)).copied()
    }
}

/// What is placed so far.
struct Filling {
    placed: Vec<Option<usize>>,
    room: Vec<usize>,
    free: Vec<usize>,
    is_used: Vec<bool>,
}

impl Filling {
    fn is_open(&self, place: usize) -> bool {
        self.placed.get(place).is_some_and(Option::is_none)
    }

    fn has_room(&self, slot: usize) -> bool {
        self.free.get(slot).is_some_and(|free| *free > 0)
    }

    /// The first rule with room: one that is used before one that is not, and of those rather one that no later rule
    /// would then be emptied into, which happens only where it takes more than others.
    fn first_room(&self) -> Option<usize> {
        let free = || (0..self.free.len()).filter(|slot| self.has_room(*slot));
        let is_used = |slot: usize| self.is_used.get(slot) == Some(&true);
        let count = |slot: usize| Some(self.room.get(slot)? - self.free.get(slot)?);
        let draws = |slot: usize| {
            let most = self.room.get(slot).map_or(0, |room| spared(*room));
            let later = (slot + 1..self.free.len()).filter(|later| is_used(*later));
            later.filter_map(count).any(|count| count < most)
        };
        let used = free().find(|slot| is_used(*slot));
        used.or_else(|| free().find(|slot| !draws(*slot)))
            .or_else(|| free().next())
    }

    /// Places a range in a rule, if that has room.
    fn put(&mut self, place: usize, slot: usize) {
        let parts = (
            self.placed.get_mut(place),
            self.free.get_mut(slot),
            self.is_used.get_mut(slot),
        );
        if let (Some(at), Some(free), Some(is_used)) = parts
            && *free > 0
        {
            *free -= 1;
            *is_used = true;
            *at = Some(slot);
        }
    }
}

/// What a rule that takes so many may hold after another one was emptied into it.
fn spared(room: usize) -> usize {
    room - room / 10
}

/// Empties later rules into earlier ones wherever two fit into one with a tenth to spare: less, and the next ban would
/// need the rule again.
fn compact(placed: Vec<Option<usize>>, slots: &[Slot<'_>]) -> Vec<Option<usize>> {
    let mut counts = vec![0_usize; slots.len()];
    for slot in placed.iter().flatten() {
        counts[*slot] += 1;
    }
    let mut moved: Vec<usize> = (0..slots.len()).collect();
    for later in (1..slots.len()).rev() {
        if counts[later] == 0 {
            continue;
        }
        let takes = |earlier: &usize| {
            let is_used = *earlier == 0 || counts[*earlier] > 0;
            is_used && counts[*earlier] + counts[later] <= spared(slots[*earlier].room)
        };
        if let Some(earlier) = (0..later).find(takes) {
            counts[earlier] += counts[later];
            counts[later] = 0;
            moved[later] = earlier;
        }
    }
    let whither = |slot: usize| {
        let mut slot = slot;
        while moved[slot] != slot {
            slot = moved[slot];
        }
        slot
    };
    placed.into_iter().map(|slot| slot.map(whither)).collect()
}
