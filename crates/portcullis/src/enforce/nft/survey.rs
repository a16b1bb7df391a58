//! What the kernel has of our table: found, not remembered.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::ledger::LayerId;

use super::rules::{self, KnownRule};
use super::sets::{self, SetKey};

/// What the kernel has of our table.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Sets by layer, and whether they have our shape
    pub sets: BTreeMap<LayerId, BTreeMap<SetKey, bool>>,
    /// Names of the chains
    pub chains: BTreeSet<String>,
    /// The rules of all chains
    pub rules: Vec<KnownRule>,
}

impl Survey {
    /// The rules of the base chain that lead to this chain.
    pub(super) fn jumps_to(&self, chain: &str) -> impl Iterator<Item = u64> {
        self.rules
            .iter()
            .filter(move |rule| rule.chain == rules::BASE && rule.jump.as_deref() == Some(chain))
            .map(|rule| rule.handle)
    }

    /// Whether packets are looked up in this set at all.
    pub(super) fn is_enforced(&self, layer: &LayerId, key: SetKey) -> bool {
        let chain = sets::scope_name(layer);
        let set = key.name(&chain);
        self.jumps_to(&chain).next().is_some()
            && self
                .rules
                .iter()
                .any(|rule| rule.chain == chain && rule.sets.contains(&set))
    }
}
