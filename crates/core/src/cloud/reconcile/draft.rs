//! What would be written into a rule: what was read, with what is wanted and without what is to go.
//!
//! A ban that moves from one rule into another, or under a wider entry, is in force all the while: what covered it goes
//! only once what is to cover it was read in its place, or goes there with the same write.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::group::{Group, Place};
use super::part::Part;
use super::plan::Around;
use crate::cloud::desired::target;
use crate::time::Timestamp;

/// A write that would change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) rule: Arc<str>,
    pub(super) adds: Vec<IpNet>,
    pub(super) removes: Vec<IpNet>,
    /// The whole list
    pub(super) ranges: Vec<IpNet>,
    /// Whether it takes out what may never be there
    pub(super) is_urgent: bool,
    /// Since when the oldest of the bans waits for which it adds something
    pub(super) oldest: Option<Timestamp>,
}

impl Group {
    /// What is to be written into this rule, if it changes anything; the whole list where the rule is not there. What
    /// finds no room because something else has to stay for now waits; with `force` it takes that room.
    ///
    /// # Errors
    /// What stands against writing the rule.
    pub(super) fn draft(&self, part: &Part, around: &Around<'_>, force: bool) -> Result<Option<Draft>, String> {
        let mut adds: Vec<IpNet> = self.adds(part).collect();
        adds.truncate(part.most_adds.unwrap_or(usize::MAX));
        let (mut removes, mut kept) = self.removes(part, around, &adds);
        if adds.is_empty() && removes.is_empty() {
            return Ok(None);
        }
        let read = part.found().map_or(&[][..], |found| &found.rule.source_ranges);
        let most = self.most(around.books);
        let mut ranges = target(read, &adds, &removes, part.family)?;
        if ranges.len() > most && force {
            kept.truncate(ranges.len() - most);
            removes.append(&mut kept);
            ranges = target(read, &adds, &removes, part.family)?;
        }
        if ranges.len() > most {
            adds.truncate(adds.len().saturating_sub(ranges.len() - most));
            // What was to go under an entry that does not come is to stay.
            removes = self.removes(part, around, &adds).0;
            ranges = target(read, &adds, &removes, part.family)?;
        }
        let is_urgent = removes.iter().any(|range| touches(around.protected, range));
        let oldest = self.oldest(part, &adds);
        let changes = !adds.is_empty() || !removes.is_empty();
        Ok(changes.then(|| Draft {
            rule: Arc::clone(&part.name),
            adds,
            removes,
            ranges,
            is_urgent,
            oldest,
        }))
    }

    /// What is wanted there and was not read there, but for what somebody may just have taken out.
    pub(super) fn adds<'p>(&self, part: &'p Part) -> impl Iterator<Item = IpNet> + use<'p> {
        let held = part.found().into_iter().flat_map(|found| &found.set);
        let is_open = |entry: &&IpNet| !part.suspects.contains_key(*entry);
        beyond(part.wanted.iter(), held).filter(is_open).copied()
    }

    /// What is ours there and not wanted: what may go, and what has to stay until something else covers its bans.
    fn removes(&self, part: &Part, around: &Around<'_>, adds: &[IpNet]) -> (Vec<IpNet>, Vec<IpNet>) {
        let claims = around.books.rules.get(&*part.name).map(|account| &account.claims);
        let ours = claims.into_iter().flat_map(std::collections::BTreeMap::keys);
        let going = beyond(ours, part.wanted.iter()).filter(|range| part.holds(range));
        let adds: BTreeSet<IpNet> = adds.iter().copied().collect();
        going
            .copied()
            .partition(|range| touches(around.protected, range) || self.is_covered(part, range, &adds))
    }

    /// Whether every ban in force that this entry covers is covered without it.
    fn is_covered(&self, part: &Part, range: &IpNet, adds: &BTreeSet<IpNet>) -> bool {
        self.touching(range).all(|(_, ban)| match &ban.place {
            Place::In(rule, entry) if **rule == *part.name => part.holds(entry) || adds.contains(entry),
            Place::In(rule, entry) => self.part(rule).is_some_and(|other| other.holds(entry)),
            Place::Open | Place::Protected(_) | Place::Local(_) | Place::Evicted | Place::Freed => true,
        })
    }

    /// Since when the oldest ban waits that one of these entries, which are sorted, is to make true.
    fn oldest(&self, part: &Part, adds: &[IpNet]) -> Option<Timestamp> {
        if adds.is_empty() {
            return None;
        }
        let is_here = |place: &Place| match place {
            Place::In(rule, by) => **rule == *part.name && adds.binary_search(by).is_ok(),
            _ => false,
        };
        let bans = self.bans.values().filter(|ban| is_here(&ban.place));
        bans.map(|ban| ban.since).min()
    }
}

/// Those of sorted ranges that are not among others, sorted as well. With tens of thousands of them, one walk along both
/// costs a tenth of what it costs to look up each.
pub(super) fn beyond<'a>(
    ranges: impl Iterator<Item = &'a IpNet>,
    others: impl Iterator<Item = &'a IpNet>,
) -> impl Iterator<Item = &'a IpNet> {
    let mut others = others.peekable();
    ranges.filter(move |range| {
        while others.next_if(|other| other < range).is_some() {}
        others.peek() != Some(range)
    })
}

/// Whether a range has an address that is never written.
pub(super) fn touches(protected: &[(IpNet, String)], range: &IpNet) -> bool {
    protected
        .iter()
        .any(|(net, _)| net.contains(range) || range.contains(net))
}
