//! Which range stands in which rule.
//!
//! A range stays where it is; a new one goes where its neighbours are, or else into the first rule with room. Where
//! there is too little room for all, the least valuable have none. Rules are emptied only where two fit into one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Bans, Worth, inside};

/// A rule that ranges may be placed in.
pub(super) struct Slot {
    pub(super) name: String,
    /// Ranges of ours that it takes
    pub(super) room: usize,
    /// Ranges of ours that stand in it; none where they count for nothing
    pub(super) held: BTreeSet<IpNet>,
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
    pub(super) fn of(written: Vec<Written>, slots: &[Slot]) -> Placement {
        let room = slots.iter().map(|slot| slot.room).sum();
        let kept = kept(&written, room);
        let homes = Homes::of(slots);
        let mut filling = Filling {
            placed: vec![None; written.len()],
            free: slots.iter().map(|slot| slot.room).collect(),
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

/// Where those go that find room, the most valuable first. Of equals the lowest address gives way.
fn kept(written: &[Written], room: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..written.len()).collect();
    places.sort_by_key(|place| written.get(*place).map(|one| Reverse((one.worth, one.range))));
    places.truncate(room);
    places
}

/// The rule that each range of ours stands in, the first where it is several.
struct Homes(BTreeMap<IpNet, usize>, BTreeSet<u8>);

impl Homes {
    fn of(slots: &[Slot]) -> Homes {
        let mut homes = Homes(BTreeMap::new(), BTreeSet::new());
        for (number, slot) in slots.iter().enumerate() {
            for range in &slot.held {
                homes.0.entry(*range).or_insert(number);
                homes.1.insert(range.prefix_len());
            }
        }
        homes
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
    free: Vec<usize>,
}

impl Filling {
    fn is_open(&self, place: usize) -> bool {
        self.placed.get(place).is_some_and(Option::is_none)
    }

    fn has_room(&self, slot: usize) -> bool {
        self.free.get(slot).is_some_and(|free| *free > 0)
    }

    fn first_room(&self) -> Option<usize> {
        self.free.iter().position(|free| *free > 0)
    }

    /// Places a range in a rule, if that has room.
    fn put(&mut self, place: usize, slot: usize) {
        if let (Some(at), Some(free)) = (self.placed.get_mut(place), self.free.get_mut(slot))
            && *free > 0
        {
            *free -= 1;
            *at = Some(slot);
        }
    }
}

/// Empties later rules into earlier ones wherever two fit into one with a tenth to spare: less, and the next ban would
/// need the rule again.
fn compact(placed: Vec<Option<usize>>, slots: &[Slot]) -> Vec<Option<usize>> {
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
            let room = slots[*earlier].room;
            let is_used = *earlier == 0 || counts[*earlier] > 0;
            is_used && counts[*earlier] + counts[later] <= room - room / 10
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
