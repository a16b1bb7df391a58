//! How the rules of each project stand, put up by the lane for whoever is asked, so that nobody waits for the lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::cloud::options::Options;
use portcullis_core::cloud::reconcile::View;
use portcullis_core::ledger::LayerId;
use portcullis_core::time::Clock;

/// Whose rules: the API's base address and the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// With `…/compute/v1/`
    pub(crate) endpoint: String,
    /// The project's id
    pub(crate) project: String,
}

/// One project, as it stood at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// Whose
    pub(crate) key: Key,
    /// Who writes
    pub(crate) writer: String,
    /// The layers that ban there, with their base rules
    pub(crate) layers: BTreeMap<LayerId, String>,
    /// The rules
    pub(crate) view: View,
    /// Why the books are not kept, where they are not
    pub(crate) unsaved: Option<String>,
    /// A fault of ours, after which nothing is done here any more
    pub(crate) fault: Option<String>,
    /// The moment
    pub(crate) at: Clock,
}

/// Everything that is put up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Posts {
    /// The projects
    pub(crate) projects: BTreeMap<Key, Arc<Posted>>,
    /// Layers of which nobody knows the project yet, and why
    pub(crate) homeless: BTreeMap<LayerId, String>,
}

/// The board.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Posts>>);

impl Board {
    /// What is put up now.
    pub(crate) fn read(&self) -> Posts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts something up, or takes it down.
    pub(crate) fn change(&self, with: impl FnOnce(&mut Posts)) {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Posts {
    /// The project that a layer bans in.
    pub(crate) fn of(&self, layer: &LayerId) -> Option<&Posted> {
        let posted = self
            .projects
            .values()
            .find(|posted| posted.layers.contains_key(layer))?;
        Some(posted)
    }
}

impl Posted {
    /// The rule that a layer bans in, and those that are a part of it.
    pub(crate) fn rules(&self, layer: &LayerId) -> BTreeSet<String> {
        let Some(base) = self.layers.get(layer) else {
            return BTreeSet::new();
        };
        let parts = self.view.rules.iter().filter(|rule| rule.base == *base);
        parts.map(|rule| rule.name.clone()).chain([base.clone()]).collect()
    }
}

/// What of an action's options decides in which rules it bans.
pub(crate) fn is_same_place(one: &Options, other: &Options) -> bool {
    (&one.rule, &one.project, &one.endpoint, &one.token_file)
        == (&other.rule, &other.project, &other.endpoint, &other.token_file)
}
