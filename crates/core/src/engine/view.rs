//! What control and observation see of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use super::jail::Jail;
use crate::address::Id;
use crate::ledger::{Drift, Exposure, LayerId, Stand, Standing};
use crate::time::{Seconds, Timestamp};

/// What can be asked without changing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// All jails, without their bans.
    Status,
    /// One jail without its bans.
    Counts(String),
    /// One jail with its bans.
    Jail(String),
    /// All bans of all jails.
    Banned,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// The jails asked for, by name.
    pub jails: Vec<JailView>,
}

/// One jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailView {
    /// Its name
    pub name: Arc<str>,
    /// Counters that are half full
    pub failing: usize,
    /// Failures since the start
    pub failures: u64,
    /// Counters dropped for want of room
    pub evicted: u64,
    /// Counters that lost their lines for want of room
    pub emptied: u64,
    /// How long its bans last
    pub bantime: Seconds,
    /// Bans in force
    pub banned: usize,
    /// Bans since the start
    pub bans_total: u64,
    /// Why it must not ban, if it must not
    pub held: Option<String>,
    /// Its layers, by action name
    pub layers: BTreeMap<Arc<str>, LayerView>,
    /// Its bans, where they were asked for
    pub bans: Vec<BanView>,
}

/// One layer of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerView {
    /// Whether we enforce it ourselves
    pub native: bool,
    /// Why it cannot follow what was decided, where it says so by itself
    pub lag: Option<String>,
    /// The last failure, until something succeeds and nobody is left whom it failed to ban
    pub failure: Option<String>,
    /// Addresses that it failed to ban, and has not banned since
    pub failed: usize,
    /// When it was last read back and found whole, or mended; on the steady clock
    pub read: Option<Timestamp>,
    /// How it last differed from what it was told; not mended yet where that has no end
    pub drift: Option<Drift>,
    /// For how long it did not enforce what was decided
    pub exposure: Exposure,
}

/// How far the bans of a jail have come in one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bans that it is to make true
    pub decided: usize,
    /// Of these, the ones that it has confirmed
    pub applied: usize,
    /// Of these, the ones that were read back
    pub verified: usize,
    /// Of the decided, the ones of which nothing is known yet
    pub pending: usize,
    /// Of the decided, the ones that it failed to make true
    pub failed: usize,
    /// Bans that it refuses, because they are protected
    pub refused: usize,
    /// When the oldest of which nothing is known was ordered, on the steady clock
    pub oldest: Option<Timestamp>,
}

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanView {
    /// Whom
    pub id: Id,
    /// From when, on the steady clock
    pub since: Timestamp,
    /// Until when, on the steady clock; `None` for ever
    pub until: Option<Timestamp>,
    /// How long
    pub bantime: Seconds,
    /// Attempts that led to it
    pub failures: u32,
    /// How far it has come, by action name
    pub layers: BTreeMap<Arc<str>, Stand>,
}

pub(super) fn answer(engine: &Engine, query: &Query) -> View {
    let jails = engine.jails.values();
    let one = |name: &str, with_bans| engine.jails.get(name).map(|jail| view(jail, with_bans));
    let jails = match query {
        Query::Status => jails.map(|jail| view(jail, false)).collect(),
        Query::Counts(name) => one(name, false).into_iter().collect(),
        Query::Jail(name) => one(name, true).into_iter().collect(),
        Query::Banned => jails.map(|jail| view(jail, true)).collect(),
    };
    View { jails }
}

pub(super) fn progress(engine: &Engine, layer: &LayerId) -> Progress {
    let mut progress = Progress::default();
    let Some(jail) = engine.jails.get(&layer.jail) else {
        return progress;
    };
    let known = jail.layers.iter().find(|known| known.action == layer.action);
    let Some(read) = known.map(|known| known.read) else {
        return progress;
    };
    for ban in jail.ledger.iter() {
        let stand = ban.layers.get(&layer.action).map(|stand| stand.clone().read(read));
        progress.count(stand.as_ref());
    }
    progress
}

impl Progress {
    fn count(&mut self, stand: Option<&Stand>) {
        let standing = stand.map_or(&Standing::Decided, |stand| &stand.standing);
        if matches!(standing, Standing::Protected(_)) {
            self.refused += 1;
            return;
        }
        self.decided += 1;
        match standing {
            Standing::Decided => {
                self.pending += 1;
                let since = stand.map(|stand| stand.decided);
                self.oldest = [self.oldest, since].into_iter().flatten().min();
            }
            Standing::Applied => self.applied += 1,
            Standing::Verified => (self.applied, self.verified) = (self.applied + 1, self.verified + 1),
            Standing::Failed(_) => self.failed += 1,
            Standing::Protected(_) | Standing::Dry => {}
        }
    }
}

fn view(jail: &Jail, with_bans: bool) -> JailView {
    JailView {
        name: Arc::clone(&jail.plan.name),
        failing: jail.tracker.len(),
        failures: jail.tracker.total(),
        evicted: jail.tracker.evicted(),
        emptied: jail.tracker.emptied(),
        bantime: jail.plan.bantime,
        banned: jail.ledger.len(),
        bans_total: jail.ledger.total(),
        held: jail.why_held().cloned(),
        layers: jail
            .layers
            .iter()
            .map(|layer| {
                let view = LayerView {
                    native: layer.native,
                    lag: layer.lag.clone(),
                    failure: layer.failure.clone(),
                    failed: jail.ledger.failed(&layer.action),
                    read: layer.read,
                    drift: layer.drift.clone(),
                    exposure: layer.exposure.clone(),
                };
                (Arc::clone(&layer.action), view)
            })
            .collect(),
        bans: if with_bans {
            jail.ledger.iter().map(|one| ban(jail, one)).collect()
        } else {
            Vec::new()
        },
    }
}

fn ban(jail: &Jail, ban: &crate::ledger::Ban) -> BanView {
    let read = |action: &Arc<str>| jail.layers.iter().find(|layer| layer.action == *action)?.read;
    let layers = ban.layers.iter();
    BanView {
        id: ban.ticket.id.clone(),
        since: ban.ticket.time,
        until: ban.ticket.until(),
        bantime: ban.ticket.bantime,
        failures: ban.ticket.failures,
        layers: layers
            .map(|(action, stand)| (Arc::clone(action), stand.clone().read(read(action))))
            .collect(),
    }
}
