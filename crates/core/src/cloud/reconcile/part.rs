//! One rule of a group: what was read of it, what it is to hold, and what would have to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::address::Family;
use crate::cloud::desired::entry;
use crate::cloud::is_sentinel;
use crate::cloud::rule::{Mark, Rule};
use crate::time::{Clock, Timestamp};

/// A rule.
pub(super) struct Part {
    pub(super) name: Arc<str>,
    pub(super) family: Family,
    pub(super) presence: Presence,
    /// When it is to be read at the latest; at once for `None`
    pub(super) read_by: Option<Timestamp>,
    /// What it is to hold of ours
    pub(super) wanted: BTreeSet<IpNet>,
    /// What of ours was not there, in a rule that is ours alone, and since when
    pub(super) suspects: BTreeMap<IpNet, Timestamp>,
    /// What is to be gone and was not there, and since when
    pub(super) absent: BTreeMap<IpNet, Timestamp>,
    /// How often what is to be gone was back
    pub(super) returns: BTreeMap<IpNet, u32>,
    /// Why it is not written
    pub(super) refused: Option<String>,
    /// At most so many new entries in one write, while one of them is refused and nobody says which
    pub(super) most_adds: Option<usize>,
    /// Since when there is nothing of ours in it
    pub(super) empty_since: Option<Timestamp>,
    /// Since when it is known to carry our mark and to be in no books
    pub(super) orphaned_since: Option<Timestamp>,
}

/// Whether there is such a rule.
pub(super) enum Presence {
    Unknown,
    Missing,
    Here(Box<Found>),
}

/// A rule as it was read.
pub(super) struct Found {
    pub(super) rule: Rule,
    /// When the answer came
    pub(super) at: Clock,
    /// Its ranges in their order, each once
    pub(super) ranges: Vec<IpNet>,
    pub(super) set: BTreeSet<IpNet>,
}

impl Found {
    pub(super) fn new(rule: Rule, at: Clock) -> Found {
        let mut set = BTreeSet::new();
        let nets = rule.source_ranges.iter().filter_map(|text| entry(text));
        let ranges = nets.filter(|net| set.insert(*net)).collect();
        Found { rule, at, ranges, set }
    }
}

impl Part {
    pub(super) fn new(name: &str, family: Family) -> Part {
        Part {
            name: name.into(),
            family,
            presence: Presence::Unknown,
            read_by: None,
            wanted: BTreeSet::new(),
            suspects: BTreeMap::new(),
            absent: BTreeMap::new(),
            returns: BTreeMap::new(),
            refused: None,
            most_adds: None,
            empty_since: None,
            orphaned_since: None,
        }
    }

    pub(super) fn found(&self) -> Option<&Found> {
        match &self.presence {
            Presence::Here(found) => Some(found),
            Presence::Unknown | Presence::Missing => None,
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.presence, Presence::Missing)
    }

    /// Whose the rule is, by its description.
    pub(super) fn mark(&self) -> Option<Mark> {
        Mark::of(&self.found()?.rule.description)
    }

    /// Whether this entry was there when it was last read.
    pub(super) fn holds(&self, range: &IpNet) -> bool {
        self.found().is_some_and(|found| found.set.contains(range))
    }

    /// It is to be read at this time at the latest.
    pub(super) fn read_before(&mut self, at: Timestamp) {
        self.read_by = self.read_by.map(|by| by.min(at));
    }

    /// Whether the sentinel or nothing is all that is in it.
    pub(super) fn is_bare(&self) -> bool {
        self.found().is_some_and(|found| found.ranges.iter().all(is_sentinel))
    }
}
