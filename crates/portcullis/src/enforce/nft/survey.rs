//! What the kernel has of our table: found, not remembered.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::ledger::LayerId;

use super::attributes::{attributes, number, text, value};
use super::rules::{self, KnownRule};
use super::sets::{self, FoundSet, SetKey};
use super::socket::Reply;

/// Attributes of a table's message: name, flags, user data.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USER_DATA: u16 = 6;

/// Flags of a table: its rules do not act; it belongs to one program, and nobody else may change it.
const DORMANT: u32 = 1;
const OWNED: u32 = 2;

/// Attributes of a chain's message, and of its hook.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;

/// How to know a rule again: its number, which no other rule ever gets, and its expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Print {
    /// The kernel's number for it
    pub handle: u64,
    /// Its expressions as the kernel gives them
    pub expressions: Box<[u8]>,
}

/// Our table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Whether its rules do not act
    pub is_dormant: bool,
    /// Whether another program keeps it for itself
    pub is_owned: bool,
    /// Whether it carries our mark
    pub is_marked: bool,
}

/// Where a chain is hooked in; zeros and nothing for one that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hook {
    /// The hook's number
    pub number: u32,
    /// Its priority, as two's complement
    pub priority: u32,
    /// `NF_ACCEPT` or `NF_DROP`
    pub policy: u32,
    /// `filter`, `nat`, `route`
    pub kind: String,
}

/// What the kernel has of our table.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The table itself
    pub table: Option<Table>,
    /// The chains by name
    pub chains: BTreeMap<String, Hook>,
    /// The sets by name
    pub sets: BTreeMap<String, FoundSet>,
    /// The rules of all chains, in their order
    pub rules: Vec<KnownRule>,
}

impl Survey {
    /// Whether somebody else made the table: none of our marks is on it, and it is not empty.
    pub(super) fn is_foreign(&self) -> bool {
        self.table.is_some_and(|table| {
            let is_ours = table.is_marked || self.sets.values().any(|set| set.layer.is_some());
            let is_empty = self.chains.is_empty() && self.sets.is_empty();
            table.is_owned || !(is_ours || is_empty)
        })
    }

    /// The layers that sets say they belong to.
    pub(super) fn layers(&self) -> BTreeSet<LayerId> {
        self.sets.values().filter_map(|set| set.layer.clone()).collect()
    }

    /// The sets that stand where those of a layer stand, and whether they are as we make them.
    pub(super) fn sets_of(&self, layer: &LayerId) -> BTreeMap<SetKey, bool> {
        let scope = sets::scope_name(layer);
        let own = self.sets.iter().filter_map(|(name, set)| {
            let key = SetKey::of_name(name, &scope)?;
            Some((key, set.is_sound(key) && set.layer.as_ref() == Some(layer)))
        });
        own.collect()
    }

    /// The rules of a chain, in their order.
    pub(super) fn rules_of(&self, chain: &str) -> impl Iterator<Item = &KnownRule> {
        self.rules.iter().filter(move |rule| rule.chain == chain)
    }

    /// The rules of the base chain that lead to this chain.
    pub(super) fn jumps_to(&self, chain: &str) -> impl Iterator<Item = &KnownRule> {
        self.rules_of(rules::BASE)
            .filter(move |rule| rule.jump.as_deref() == Some(chain))
    }

    /// The rules of a layer's chain that look into its sets.
    pub(super) fn lookups_of(&self, chain: &str) -> impl Iterator<Item = &KnownRule> {
        let looks = move |set: &String| SetKey::of_name(set, chain).is_some();
        self.rules_of(chain).filter(move |rule| rule.sets.iter().any(looks))
    }

    /// Whether packets are looked up in this set at all.
    pub(super) fn is_enforced(&self, layer: &LayerId, key: SetKey) -> bool {
        let chain = sets::scope_name(layer);
        let set = key.name(&chain);
        self.table.is_some_and(|table| !table.is_dormant)
            && self.jumps_to(&chain).next().is_some()
            && self.rules_of(&chain).any(|rule| rule.sets.contains(&set))
    }
}

/// Reads one table of a list; `None` for another one.
pub(super) fn table(reply: &Reply, name: &str) -> Option<Table> {
    (reply.is_inet() && text(value(&reply.body, TABLE_NAME)?) == name).then(|| {
        let flags = value(&reply.body, TABLE_FLAGS).map_or(0, number);
        Table {
            is_dormant: flags & DORMANT != 0,
            is_owned: flags & OWNED != 0,
            is_marked: value(&reply.body, TABLE_USER_DATA).is_some_and(rules::is_mark),
        }
    })
}

/// Reads one chain of a list: its name and hook; `None` for one of another table.
pub(super) fn chain(reply: &Reply, table: &str) -> Option<(String, Hook)> {
    if !reply.is_inet() || text(value(&reply.body, CHAIN_TABLE)?) != table {
        return None;
    }
    let (mut name, mut hook) = (String::new(), Hook::default());
    for attribute in attributes(&reply.body) {
        match attribute.kind() {
            CHAIN_NAME => text(attribute.value()).clone_into(&mut name),
            CHAIN_POLICY => hook.policy = number(attribute.value()),
            CHAIN_TYPE => text(attribute.value()).clone_into(&mut hook.kind),
            CHAIN_HOOK => {
                hook.number = value(attribute.value(), HOOK_NUMBER).map_or(0, number);
                hook.priority = value(attribute.value(), HOOK_PRIORITY).map_or(0, number);
            }
            _ => {}
        }
    }
    Some((name, hook))
}
