//! The layers of a jail, one for each action: started, told of bans, tried again, ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::jail::Jail;
use super::message::{Effect, Event};
use crate::address::Id;
use crate::ledger::{Applied, Drift, Exposure, Order, OrderKind, Reading, Stand, Standing, Ticket};
use crate::time::{Seconds, Timestamp};
use crate::value::Value;

/// A native layer that failed is tried again after this, doubling up to [`RETRY_MOST`].
const RETRY_FIRST: Seconds = Seconds::new(1);
const RETRY_MOST: Seconds = Seconds::new(60);

/// One action of the jail.
pub(super) struct Layer {
    pub(super) action: Arc<str>,
    pub(super) native: bool,
    /// Whether it is a rule of a cloud's firewall, which says by and by what came of a ban, and tries again by itself
    pub(super) cloud: bool,
    /// Why it cannot follow what was decided, where it says so by itself
    pub(super) lag: Option<String>,
    /// Whether it was told to start. In a jail that is not started, shell actions are not; one that came to a started
    /// jail by itself starts with its first ban.
    pub(super) started: bool,
    pub(super) failure: Option<String>,
    /// Whether the failure may let somebody in who is banned
    lets_in: bool,
    /// The action's definition, so that a changed one is told from an unchanged one at a reload.
    properties: Vec<(String, Value)>,
    pub(super) retry: Option<(Timestamp, Seconds)>,
    /// When it was last read back and found whole, or mended
    pub(super) read: Option<Timestamp>,
    /// How it last differed from what it was told
    pub(super) drift: Option<Drift>,
    pub(super) exposure: Exposure,
}

impl Layer {
    /// Whether it was found without bans that it has not got back since.
    fn is_adrift(&self) -> bool {
        let open = |drift: &Drift| drift.until.is_none() && drift.missing > 0;
        self.drift.as_ref().is_some_and(open)
    }

    /// Takes in what differed. Says whether that is news: what is found again and again, and cannot be mended, is one
    /// drift.
    fn differ(&mut self, mut drift: Drift) -> bool {
        let open = self.drift.take().filter(|last| last.until.is_none());
        let is_news = open.is_none() || drift.until.is_some();
        match open {
            Some(open) => {
                drift.since = drift.since.min(open.since);
                self.exposure.span(&drift);
            }
            None => self.exposure.drift(&drift),
        }
        self.drift = Some(drift);
        is_news
    }
}

impl Jail {
    /// Makes the layers those of the plan: new ones start and are told the bans in force, those that stay may be told
    /// that they are reloaded, the others end.
    pub(super) fn arrange_layers(
        &mut self,
        now: Timestamp,
        (native, cloud, reloaded): (&BTreeSet<Arc<str>>, &BTreeSet<Arc<str>>, bool),
        out: &mut Vec<Effect>,
    ) {
        let wanted: BTreeSet<Arc<str>> = self
            .plan
            .actions
            .iter()
            .map(|action| Arc::clone(&action.name))
            .collect();
        let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.layers)
            .into_iter()
            .partition(|layer| wanted.contains(&layer.action));
        for action in self.plan.actions.clone() {
            let (native, cloud) = (native.contains(&action.name), cloud.contains(&action.name));
            let old = kept
                .iter()
                .position(|layer| layer.action == action.name)
                .map(|at| kept.swap_remove(at));
            match old {
                Some(mut layer) => {
                    let changed = native && layer.properties != action.properties;
                    (layer.native, layer.cloud, layer.properties) = (native, cloud, action.properties);
                    if layer.started && (reloaded || changed) {
                        self.change(&layer.action, Order::Reload, out);
                    }
                    self.layers.push(layer);
                }
                None => {
                    // One that has nothing yet is being put together, command by command.
                    let complete = !action.properties.is_empty();
                    self.layers.push(Layer {
                        action: Arc::clone(&action.name),
                        native,
                        cloud,
                        lag: None,
                        started: false,
                        failure: None,
                        lets_in: false,
                        properties: action.properties,
                        retry: None,
                        read: None,
                        drift: None,
                        exposure: Exposure::default(),
                    });
                    if complete && self.plan.started {
                        self.start_layers(out);
                        self.tell_all(now, &action.name, out);
                    }
                }
            }
        }
        self.close(&gone, out);
    }

    /// Starts the layers that are not: all of them in a started jail; in one that is not, those that bans by hand need.
    pub(super) fn start_layers(&mut self, out: &mut Vec<Effect>) {
        let all = self.plan.started;
        let due = |layer: &&mut Layer| !layer.started && (all || layer.native);
        let mut starting = Vec::new();
        for layer in self.layers.iter_mut().filter(due) {
            layer.started = true;
            starting.push(Arc::clone(&layer.action));
        }
        for action in starting {
            self.change(&action, Order::Start, out);
        }
    }

    /// Tells a layer that is new the bans in force.
    fn tell_all(&mut self, now: Timestamp, action: &Arc<str>, out: &mut Vec<Effect>) {
        self.tell(now, action, |_| true, out);
    }

    /// Tells a layer that has lost them the bans that it held. What a shell action failed to do is not tried again: each
    /// try could lose all others.
    pub(super) fn tell_again(&mut self, now: Timestamp, action: &Arc<str>, out: &mut Vec<Effect>) {
        let is_ours = |layer: &Layer| layer.action == *action && (layer.native || layer.cloud);
        let ours = self.layers.iter().any(is_ours);
        let held = |standing: Option<&Standing>| ours || !matches!(standing, Some(Standing::Failed(_)));
        self.tell(now, action, held, out);
    }

    fn tell(
        &mut self,
        now: Timestamp,
        action: &Arc<str>,
        which: impl Fn(Option<&Standing>) -> bool,
        out: &mut Vec<Effect>,
    ) {
        let standing = |stand: Option<&Stand>| which(stand.map(|stand| &stand.standing));
        let told = self.ledger.in_order().filter(|ban| standing(ban.layers.get(action)));
        let tickets: Vec<Ticket> = told.map(|ban| ban.ticket.clone()).collect();
        for ticket in tickets {
            self.ledger.stand(now, &ticket.id, action, Standing::Decided);
            self.change(action, Order::Ban(ticket), out);
        }
    }

    /// Ends layers: their bans are freed there, without a word in the log, then they are stopped, the last one first
    /// (contract §5.4).
    fn close(&mut self, gone: &[Layer], out: &mut Vec<Effect>) {
        for layer in gone {
            self.change(&layer.action, Order::Vacate, out);
        }
        for ban in self.ledger.in_order() {
            for layer in gone {
                self.change(&layer.action, Order::Unban(ban.ticket.clone()), out);
            }
        }
        for layer in gone.iter().rev() {
            self.change(&layer.action, Order::Stop, out);
            self.ledger.drop_layer(&layer.action);
        }
    }

    /// A layer's answer.
    pub(super) fn applied(&mut self, now: Timestamp, applied: Applied, out: &mut Vec<Effect>) {
        let Some(at) = self.layer(&applied.layer.action) else {
            return;
        };
        let layer = &mut self.layers[at];
        let is_ban = matches!(applied.order, OrderKind::Ban | OrderKind::Prolong);
        match applied.result {
            // It was heard; what comes of it is told later.
            Ok(Standing::Decided) => {}
            Ok(standing) => {
                if let (Some(id), true) = (&applied.id, is_ban) {
                    self.ledger.stand(now, id, &applied.layer.action, standing);
                }
                // One success does not speak for those whom it failed to ban.
                if self.ledger.failed(&applied.layer.action) == 0 && layer.failure.take().is_some() {
                    (layer.retry, layer.lets_in) = (None, false);
                }
            }
            Err(error) if layer.native && is_text(applied.id.as_ref()) => {
                // What is no address sends no packets: nobody is protected less.
                if let Some(id) = &applied.id {
                    let failed = Standing::Failed(error.clone());
                    self.ledger.stand(now, id, &applied.layer.action, failed);
                }
                out.push(Effect::Note(Event::LayerFailed {
                    layer: applied.layer,
                    id: applied.id,
                    error,
                }));
            }
            Err(error) => {
                if layer.native && applied.order != OrderKind::Stop {
                    let pause = layer.retry.map_or(RETRY_FIRST, |(_, pause)| pause);
                    layer.retry = Some((now + pause, pause));
                }
                let news = layer.failure.as_ref() != Some(&error);
                layer.failure = Some(error.clone());
                // A command that failed to free somebody protects the others as before.
                layer.lets_in |= layer.native || applied.order != OrderKind::Unban;
                if let Some(id) = &applied.id {
                    self.ledger
                        .stand(now, id, &applied.layer.action, Standing::Failed(error.clone()));
                }
                if news {
                    out.push(Effect::Note(Event::LayerFailed {
                        layer: applied.layer,
                        id: applied.id,
                        error,
                    }));
                }
            }
        }
        self.watch(now);
    }

    /// A layer was read back.
    pub(super) fn read(&mut self, now: Timestamp, reading: Reading, out: &mut Vec<Effect>) {
        let Some(at) = self.layer(&reading.layer.action) else {
            return;
        };
        let layer = &mut self.layers[at];
        match reading.drift {
            None => {
                layer.read = Some(now);
                if let Some(last) = &mut layer.drift {
                    last.until.get_or_insert(now);
                }
            }
            Some(drift) => {
                if drift.until.is_some() {
                    layer.read = Some(now);
                }
                if layer.differ(drift.clone()) {
                    out.push(Effect::Note(Event::Drifted {
                        layer: reading.layer,
                        drift,
                    }));
                }
            }
        }
        self.watch(now);
    }

    /// A layer says that it cannot follow, and why, or that it can again.
    pub(super) fn lag(&mut self, now: Timestamp, action: &str, why: Option<String>) {
        if let Some(layer) = self.layer(action).and_then(|at| self.layers.get_mut(at)) {
            layer.lag = why;
        }
        self.watch(now);
    }

    fn layer(&self, action: &str) -> Option<usize> {
        self.layers.iter().position(|layer| *layer.action == *action)
    }

    /// Counts the time in which a layer does not enforce what was decided.
    pub(super) fn watch(&mut self, now: Timestamp) {
        for layer in &mut self.layers {
            let fails = (layer.lets_in || layer.lag.is_some()) && !self.ledger.is_empty();
            let is_exposed = fails || layer.is_adrift() || self.ledger.failed(&layer.action) > 0;
            layer.exposure.set(now, is_exposed);
        }
    }

    /// Tells native layers again what they failed to do.
    pub(super) fn retry(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let mut due = Vec::new();
        for layer in &mut self.layers {
            if let Some((at, pause)) = layer.retry
                && at <= now
            {
                let pause = Seconds::from_micros(pause.micros().saturating_mul(2)).min(RETRY_MOST);
                layer.retry = Some((now + pause, pause));
                due.push(Arc::clone(&layer.action));
            }
        }
        for action in due {
            self.change(&action, Order::Start, out);
            let undone = |ban: &&crate::ledger::Ban| {
                matches!(
                    ban.layers.get(&action).map(|stand| &stand.standing),
                    None | Some(Standing::Failed(_) | Standing::Decided)
                )
            };
            for ban in self
                .ledger
                .iter()
                .filter(undone)
                .filter(|ban| !is_text(Some(&ban.ticket.id)))
            {
                self.change(&action, Order::Ban(ban.ticket.clone()), out);
            }
        }
    }
}

/// Whether this is neither an address nor a network.
fn is_text(id: Option<&Id>) -> bool {
    id.is_some_and(|id| id.family().is_none())
}
