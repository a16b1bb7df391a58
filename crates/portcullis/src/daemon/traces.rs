//! What shell actions have set up, noted so that the next start knows it.
//!
//! Before the first command of an action its trace is kept; it goes when the action was stopped. A start that finds
//! traces of this boot and this network namespace tells the lanes what is left of them before their first orders. In
//! another boot or namespace there is nothing left, and the traces are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::action::{Action, Scope};
use portcullis_core::config::plan::{ActionPlan, Plan};
use portcullis_core::json;
use portcullis_core::ledger::{Applied, Change, LayerId, Order, OrderKind, Ticket};

use super::Daemon;
use super::keeper::Keeper;
use super::way::Way;
use crate::enforce::shell::past::{Past, Present, scope, word};
use crate::store::{Boot, Trace};

/// The lanes are asked again after this, so that their facts are taken meanwhile.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// All that is known of what shell actions have set up.
pub(super) struct Traces {
    boot: String,
    network: String,
    /// Of an earlier run, not looked at yet
    past: BTreeMap<LayerId, Trace>,
    /// Of this run, as they are kept
    live: BTreeMap<LayerId, BTreeSet<&'static str>>,
    /// Ordered to stop, and not ordered to start since
    ending: BTreeSet<LayerId>,
    actions: BTreeMap<LayerId, Defined>,
}

/// A shell action as it is configured.
struct Defined {
    definition: String,
    /// The families that start with the jail; none where each starts with its first ban
    with_jail: Vec<Scope>,
    norestored: bool,
}

impl Traces {
    /// Nothing is known yet.
    pub(super) fn new() -> Traces {
        Traces {
            boot: Boot::read().id,
            network: network(),
            past: BTreeMap::new(),
            live: BTreeMap::new(),
            ending: BTreeSet::new(),
            actions: BTreeMap::new(),
        }
    }

    /// Takes up what an earlier run has noted in a database that was just opened, and notes there what stands already.
    pub(super) fn take_up(&mut self, keeper: &mut Keeper) {
        let (here, elsewhere): (Vec<_>, Vec<_>) = keeper
            .traces()
            .into_iter()
            .partition(|trace| is_here(trace, &self.boot, &self.network));
        let gone: Vec<LayerId> = elsewhere.into_iter().map(|trace| trace.layer).collect();
        let standing: Vec<Trace> = self.live.keys().filter_map(|layer| self.trace(layer)).collect();
        keeper.mark(&standing, &gone);
        let own = here.into_iter().filter(|trace| !self.live.contains_key(&trace.layer));
        self.past = own.map(|trace| (trace.layer.clone(), trace)).collect();
    }

    /// These actions are done this way from now on.
    pub(super) fn put(&mut self, ways: &BTreeMap<LayerId, Way>, plan: &Plan) {
        for (layer, way) in ways {
            let (Way::Shell(action) | Way::Beside(action)) = way else {
                self.actions.remove(layer);
                continue;
            };
            let jail = plan.jails.iter().find(|jail| jail.name == layer.jail);
            let found = jail.and_then(|jail| jail.actions.iter().find(|action| action.name == layer.action));
            let Some(found) = found else { continue };
            let defined = Defined {
                definition: definition(found),
                with_jail: if action.on_demand() {
                    Vec::new()
                } else {
                    action.families().to_vec()
                },
                norestored: action.norestored(),
            };
            self.actions.insert(layer.clone(), defined);
        }
    }

    /// What is to be kept before these orders go out, and which actions they are the first for.
    fn before(&mut self, changes: &[Change]) -> (Vec<Trace>, Vec<Trace>) {
        let (mut first, mut touched) = (Vec::new(), BTreeSet::new());
        for Change { layer, order } in changes {
            let Some(defined) = self.actions.get(layer) else {
                continue;
            };
            let scopes = match order {
                Order::Start => defined.with_jail.clone(),
                Order::Ban(ticket) if !(ticket.restored && defined.norestored) => vec![Scope::of(ticket)],
                Order::Stop => {
                    self.ending.insert(layer.clone());
                    continue;
                }
                _ => continue,
            };
            self.ending.remove(layer);
            first.extend(self.past.remove(layer));
            let known = self.live.entry(layer.clone()).or_default();
            let news = scopes.into_iter().filter(|scope| known.insert(word(*scope))).count();
            if news > 0 {
                touched.insert(layer.clone());
            }
        }
        let traces = touched.iter().filter_map(|layer| self.trace(layer)).collect();
        (first, traces)
    }

    fn trace(&self, layer: &LayerId) -> Option<Trace> {
        let families: Vec<&str> = self.live.get(layer)?.iter().copied().collect();
        Some(Trace {
            layer: layer.clone(),
            boot: self.boot.clone(),
            network: self.network.clone(),
            families: serde_json::to_string(&families).ok()?,
            clean: false,
            definition: self.actions.get(layer)?.definition.clone(),
            told: "[]".to_owned(),
        })
    }

    /// Whether an action was stopped by this fact.
    pub(super) fn learn(&mut self, applied: &Applied) -> Option<LayerId> {
        let is_stop = applied.order == OrderKind::Stop && applied.result.is_ok();
        if !is_stop || !self.ending.remove(&applied.layer) {
            return None;
        }
        self.live.remove(&applied.layer).map(|_| applied.layer.clone())
    }

    /// The traces of a clean end.
    fn at_end(&self, present: &[Present]) -> Vec<Trace> {
        let trace = |present: &Present| {
            let families: Vec<&str> = present.families.iter().map(|scope| word(*scope)).collect();
            let told: Vec<String> = present.told.iter().map(ToString::to_string).collect();
            Some(Trace {
                clean: true,
                families: serde_json::to_string(&families).ok()?,
                told: serde_json::to_string(&told).ok()?,
                ..self.trace(&present.layer)?
            })
        };
        present.iter().filter_map(trace).collect()
    }

    /// Traces of actions that are configured no more.
    fn orphans(&mut self) -> Vec<Trace> {
        let actions = &self.actions;
        let orphans = self.past.extract_if(.., |layer, _| !actions.contains_key(layer));
        orphans.map(|(_, trace)| trace).collect()
    }
}

impl Daemon {
    /// Before orders go to shell actions: what is left of them goes first, and what they will set up is kept.
    pub(super) fn trace(&mut self, changes: &[Change]) {
        let (first, traces) = self.traces.before(changes);
        self.bequeath(&first);
        if !traces.is_empty() {
            self.keeper.mark(&traces, &[]);
        }
    }

    fn bequeath(&mut self, traces: &[Trace]) {
        let clock = self.clock.now();
        let mut kept: BTreeMap<Arc<str>, Vec<Ticket>> = BTreeMap::new();
        for trace in traces {
            let defined = self.traces.actions.get(&trace.layer);
            let is_same = defined.is_some_and(|defined| defined.definition == trace.definition);
            let jail = &trace.layer.jail;
            let bans = kept.entry(Arc::clone(jail)).or_insert_with(|| {
                let saved = self.keeper.saved_of(clock, jail);
                let bans = saved.bans.into_iter().chain(saved.adopted);
                bans.map(|(_, ticket)| ticket).collect()
            });
            if let Some(past) = past(trace, is_same, bans.iter().cloned()) {
                self.lanes.inherit(clock.steady, trace.layer.clone(), past);
            }
        }
    }

    /// All that was kept of a jail, or of all, has been ordered.
    pub(super) fn settle_past(&mut self, jail: Option<&str>) {
        self.lanes.settle(self.clock.now().steady, jail);
    }

    /// Ends what is left of actions that are configured no more.
    pub(super) fn bury(&mut self) {
        if self.dry_run {
            return;
        }
        let orphans = self.traces.orphans();
        self.bequeath(&orphans);
        let gone: Vec<LayerId> = orphans.into_iter().map(|trace| trace.layer).collect();
        self.keeper.mark(&[], &gone);
    }

    /// Keeps what stands after everything was done that was ordered.
    pub(super) fn keep_traces(&mut self, present: &[Present]) {
        let traces = self.traces.at_end(present);
        self.keeper.mark(&traces, &[]);
    }

    /// Nothing stands any more.
    pub(super) fn drop_traces(&mut self) {
        let gone: Vec<LayerId> = std::mem::take(&mut self.traces.live).into_keys().collect();
        self.keeper.mark(&[], &gone);
    }
}

/// Whether what a trace tells of can stand here.
pub(crate) fn is_here(trace: &Trace, boot: &str, network: &str) -> bool {
    !boot.is_empty() && trace.boot == boot && trace.network == network
}

/// The kernel's name of the network namespace that we are in; empty where it cannot be read.
pub(crate) fn network() -> String {
    let name = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What is left according to a trace; `None` where its commands cannot be understood any more.
pub(crate) fn past(trace: &Trace, is_same: bool, bans: impl Iterator<Item = Ticket>) -> Option<Past> {
    let action = Action::compile(&plan(trace)?, true).ok()?;
    let families: Vec<String> = serde_json::from_str(&trace.families).ok()?;
    let told: BTreeSet<String> = serde_json::from_str(&trace.told).ok()?;
    let is_held = |ticket: &Ticket| !trace.clean || told.contains(&ticket.id.to_string());
    Some(Past {
        action: Box::new(action),
        is_sound: trace.clean && is_same,
        families: families.iter().filter_map(|name| scope(name)).collect(),
        held: bans.filter(is_held).collect(),
    })
}

/// All that an action's commands are made of.
fn definition(plan: &ActionPlan) -> String {
    let pair = |(name, value): &(String, _)| serde_json::json!([name, json::from_value(value)]);
    let pairs: serde_json::Value = plan.properties.iter().map(pair).collect();
    pairs.to_string()
}

fn plan(trace: &Trace) -> Option<ActionPlan> {
    let pairs: Vec<(String, serde_json::Value)> = serde_json::from_str(&trace.definition).ok()?;
    let property = |(name, value): (String, serde_json::Value)| (name, json::to_value(&value));
    Some(ActionPlan {
        name: trace.layer.action.clone(),
        properties: pairs.into_iter().map(property).collect(),
    })
}
