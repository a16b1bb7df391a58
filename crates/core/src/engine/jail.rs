//! One jail inside the engine: its counters, its bans, its layers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::known::Turn;
use super::message::{Arrangement, Effect, Event};
use crate::action::Script;
use crate::address::Id;
use crate::allow::{Allow, Cache};
use crate::config::plan::{CachePlan, JailPlan};
use crate::judge::{self, Growth};
use crate::ledger::{Applied, Count, Entered, Entry, LayerId, Ledger, Order, OrderKind, Standing, Ticket};
use crate::time::{Seconds, Timestamp};
use crate::tracker::{Attempt, Limits, Tracker};

/// Counters a jail keeps at most: at some 200 bytes each this bounds an attack by a million addresses.
const MOST_COUNTERS: usize = 1_000_000;
/// Offences that an idle jail keeps at most.
const MOST_ASLEEP: usize = 10_000;
/// A native layer that failed is tried again after this, doubling up to [`RETRY_MOST`].
const RETRY_FIRST: Seconds = Seconds::new(1);
const RETRY_MOST: Seconds = Seconds::new(60);
/// An offence this much after the one that led to the ban may have been under way when it began.
const LATE: Seconds = Seconds::new(3);
/// The ban time of rows from before there was one (contract §7.4).
const JAILS_OWN: Seconds = Seconds::new(-2);

pub(super) struct Jail {
    pub(super) plan: JailPlan,
    pub(super) allow: Allow,
    pub(super) held: Option<String>,
    /// A file of `ignoreip` that was never read, and why
    pub(super) unread: Option<String>,
    /// `ignorecommand`
    pub(super) command: Option<Script>,
    /// `ignorecache`
    pub(super) cache: Option<(Script, Cache)>,
    pub(super) tracker: Tracker,
    pub(super) ledger: Ledger,
    pub(super) layers: Vec<Layer>,
    /// How bans grow, if they do
    pub(super) growth: Option<Growth>,
    /// Offences while the jail is idle
    asleep: Vec<(Id, Count)>,
    /// Whose shell actions are to be told of a longer ban, and when
    pub(super) prolongs: BTreeMap<(Timestamp, Id), Ticket>,
}

/// One action of the jail.
pub(super) struct Layer {
    pub(super) action: Arc<str>,
    pub(super) native: bool,
    /// Whether it was told to start. In a jail that is not started, shell actions are not; one that came to a started
    /// jail by itself starts with its first ban.
    started: bool,
    pub(super) failure: Option<String>,
    /// The action's definition, so that a changed one is told from an unchanged one at a reload.
    properties: Vec<(String, crate::value::Value)>,
    retry: Option<(Timestamp, Seconds)>,
}

impl Jail {
    /// A jail that starts: its layers are told so.
    pub(super) fn start(arrangement: Arrangement, out: &mut Vec<Effect>) -> Self {
        let name = Arc::clone(&arrangement.plan.name);
        out.push(Effect::Record(Entry::Jail {
            jail: Arc::clone(&name),
            enabled: true,
        }));
        let mut jail = Jail {
            tracker: Tracker::new(limits(&arrangement.plan)),
            ledger: Ledger::default(),
            allow: Allow::default(),
            held: None,
            unread: None,
            command: None,
            cache: None,
            layers: Vec::new(),
            growth: None,
            asleep: Vec::new(),
            prolongs: BTreeMap::new(),
            plan: arrangement.plan.clone(),
        };
        // A jail that is not started yet says so when it is.
        jail.plan.started = false;
        jail.arrange(arrangement, out);
        jail
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    /// Takes over a plan, new or changed. Counters and bans stay; layers that are no more free their bans, new ones
    /// are told the bans in force.
    pub(super) fn arrange(&mut self, arrangement: Arrangement, out: &mut Vec<Effect>) {
        let Arrangement {
            plan,
            held,
            native,
            reloaded,
        } = arrangement;
        self.tracker.limit(limits(&plan));
        let starts = plan.started && !self.plan.started;
        self.plan = plan;
        match Allow::new(self.plan.ignoreself, &self.plan.ignoreip) {
            Ok(allow) => (self.allow, self.held) = (allow, held),
            Err(error) => self.held = Some(held.unwrap_or_else(|| error.to_string())),
        }
        // Whoever wants longer bans must not get shorter ones.
        match Growth::of(&self.plan.increment) {
            Ok(growth) => self.growth = growth,
            Err(error) => self.held = Some(self.held.take().unwrap_or(error)),
        }
        let command = &self.plan.ignorecommand;
        self.command = (!command.is_empty()).then(|| Script::new(command.clone()));
        self.cache = cache(&self.plan);
        self.arrange_layers(&native, reloaded, out);
        if starts {
            self.start_layers(out);
            let jail = Arc::clone(self.name());
            out.push(Effect::Note(Event::Started { jail }));
        }
    }

    fn arrange_layers(&mut self, native: &BTreeSet<Arc<str>>, reloaded: bool, out: &mut Vec<Effect>) {
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
            let native = native.contains(&action.name);
            let old = kept
                .iter()
                .position(|layer| layer.action == action.name)
                .map(|at| kept.swap_remove(at));
            match old {
                Some(mut layer) => {
                    let changed = native && layer.properties != action.properties;
                    (layer.native, layer.properties) = (native, action.properties);
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
                        started: false,
                        failure: None,
                        properties: action.properties,
                        retry: None,
                    });
                    if complete && self.plan.started {
                        self.start_layers(out);
                        self.tell_all(&action.name, out);
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
    fn tell_all(&mut self, action: &Arc<str>, out: &mut Vec<Effect>) {
        self.tell(action, |_| true, out);
    }

    /// Tells a layer that has lost them the bans that it held. What a shell action failed to do is not tried again: each
    /// try could lose all others.
    pub(super) fn tell_again(&mut self, action: &Arc<str>, out: &mut Vec<Effect>) {
        let native = self.layers.iter().any(|layer| layer.action == *action && layer.native);
        let held = |standing: Option<&Standing>| native || !matches!(standing, Some(Standing::Failed(_)));
        self.tell(action, held, out);
    }

    fn tell(&mut self, action: &Arc<str>, which: impl Fn(Option<&Standing>) -> bool, out: &mut Vec<Effect>) {
        let told = self.ledger.in_order().filter(|ban| which(ban.layers.get(action)));
        let tickets: Vec<Ticket> = told.map(|ban| ban.ticket.clone()).collect();
        for ticket in tickets {
            self.ledger.stand(&ticket.id, action, Standing::Decided);
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

    /// Ends the jail. Its rows in the database stay (contract §4.3); what we enforce does not.
    pub(super) fn stop(mut self, out: &mut Vec<Effect>) {
        self.free_all(true, out);
        for layer in self.layers.iter().rev() {
            self.change(&layer.action, Order::Stop, out);
        }
        out.push(Effect::Record(Entry::Jail {
            jail: Arc::clone(self.name()),
            enabled: false,
        }));
        out.push(Effect::Note(Event::Stopped {
            jail: Arc::clone(self.name()),
        }));
    }

    /// Frees everybody: layers that can empty themselves at once do, the others are told one by one.
    pub(super) fn free_all(&mut self, repealed: bool, out: &mut Vec<Effect>) -> usize {
        let ids: Vec<Id> = self.ledger.in_order().map(|ban| ban.ticket.id.clone()).collect();
        out.push(Effect::Note(Event::Emptied {
            jail: Arc::clone(self.name()),
        }));
        // Also where nobody is banned: an action may still hold what a failed command has left.
        for layer in &self.layers {
            let order = if repealed { Order::Vacate } else { Order::Flush };
            self.change(&layer.action, order, out);
            out.push(Effect::Note(Event::Flushed {
                layer: self.layer_id(&layer.action),
            }));
        }
        for id in &ids {
            self.free(id, repealed, out);
        }
        ids.len()
    }

    /// Ends one ban in every layer.
    pub(super) fn free(&mut self, id: &Id, repealed: bool, out: &mut Vec<Effect>) -> bool {
        let Some(ban) = self.ledger.remove(id) else {
            return false;
        };
        self.release(&ban.ticket, repealed, out);
        true
    }

    fn release(&self, ticket: &Ticket, repealed: bool, out: &mut Vec<Effect>) {
        let (jail, id) = (Arc::clone(self.name()), ticket.id.clone());
        out.push(Effect::Note(Event::Unbanned { jail, id, repealed }));
        for layer in &self.layers {
            self.change(&layer.action, Order::Unban(ticket.clone()), out);
        }
    }

    /// Ends the bans whose time has come, and drops silent counters.
    pub(super) fn pass(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        while let Some(ban) = self.ledger.expire(now) {
            out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(self.name()),
                id: ban.ticket.id.clone(),
            }));
            self.release(&ban.ticket, false, out);
        }
        self.prolong_due(now, out);
        for id in self.tracker.purge(now) {
            self.record_count(&id, out);
        }
        self.retry(now, out);
    }

    /// When [`Jail::pass`] has something to do.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        // A ban ends just after its last instant (contract §4.3: now > end).
        let end = self.ledger.next_end().map(|end| end + Seconds::from_micros(1));
        let retry = self
            .layers
            .iter()
            .filter_map(|layer| layer.retry)
            .map(|(at, _)| at)
            .min();
        let prolong = self.prolongs.first_key_value().map(|((at, _), _)| *at);
        [end, retry, prolong].into_iter().flatten().min()
    }

    /// Counts a failure, and bans where that was one too many.
    pub(super) fn count(&mut self, turn: &mut Turn<'_>, id: &Id, attempt: Attempt, out: &mut Vec<Effect>) {
        for gone in self.tracker.purge(turn.now) {
            self.record_count(&gone, out);
        }
        let is_first = self.tracker.get(id).is_none();
        let full = self.tracker.count(id, attempt.clone());
        let (began_after, fuller) = self.observe(turn, (id, attempt), is_first, out);
        self.record_count(id, out);
        if let Some(mut count) = full.or(fuller) {
            count.bancount = began_after.unwrap_or(count.bancount);
            self.offend(turn, id, count, out);
        }
    }

    fn offend(&mut self, turn: &mut Turn<'_>, id: &Id, count: Count, out: &mut Vec<Effect>) {
        if self.plan.idle {
            if self.asleep.len() < MOST_ASLEEP {
                self.asleep.push((id.clone(), count));
            }
            return;
        }
        if let Some(reason) = self.why_held() {
            let (jail, id, reason) = (Arc::clone(self.name()), id.clone(), reason.clone());
            out.push(Effect::Note(Event::Held { jail, id, reason }));
            return;
        }
        let ticket = judge::sentence(id.clone(), count, self.plan.bantime);
        self.ban(turn, ticket, false, out);
    }

    /// Bans those who were found while the jail was idle, if it is no longer.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>, out: &mut Vec<Effect>) {
        if self.plan.idle {
            return;
        }
        for (id, count) in std::mem::take(&mut self.asleep) {
            self.offend(turn, &id, count, out);
        }
    }

    /// Bans, and says whether that is new. A `fixed` ban has the length that was asked for. Records come before changes.
    pub(super) fn ban(&mut self, turn: &mut Turn<'_>, mut ticket: Ticket, fixed: bool, out: &mut Vec<Effect>) -> bool {
        let actions: Vec<Arc<str>> = self.layers.iter().map(|layer| Arc::clone(&layer.action)).collect();
        ticket.bancount = ticket.bancount.saturating_add(1);
        let (jail, id) = (Arc::clone(self.name()), ticket.id.clone());
        match self.ledger.enter(turn.now, ticket.clone(), &actions) {
            Entered::Expired => out.push(Effect::Note(Event::Expired { jail, id })),
            Entered::Already { lateness, prolonged } => {
                out.push(Effect::Note(Event::Already {
                    jail,
                    id: id.clone(),
                    lateness,
                }));
                if lateness > LATE {
                    self.doubt(&id, out);
                }
                if let Some(ticket) = prolonged {
                    self.prolong(&ticket, out);
                }
            }
            Entered::New => {
                self.start_layers(out);
                self.begin(turn, ticket, fixed, out);
                return true;
            }
        }
        false
    }

    /// Who offends long after the ban is perhaps not kept out any more: shell actions look after it (contract §4.3).
    fn doubt(&self, id: &Id, out: &mut Vec<Effect>) {
        let Some(ban) = self.ledger.get(id) else { return };
        for layer in self.layers.iter().filter(|layer| !layer.native) {
            self.change(&layer.action, Order::Again(ban.ticket.clone()), out);
        }
    }

    /// A later end: shell actions never hear of it (as in Fail2Ban), native layers renew their time-outs.
    fn prolong(&self, ticket: &Ticket, out: &mut Vec<Effect>) {
        out.push(Effect::Record(Entry::Prolong {
            jail: Arc::clone(self.name()),
            ticket: ticket.clone(),
        }));
        for layer in self.layers.iter().filter(|layer| layer.native) {
            self.change(&layer.action, Order::Prolong(ticket.clone()), out);
        }
    }

    /// A ban kept from an earlier run, or adopted from another program; then it becomes ours for good.
    pub(super) fn restore(&mut self, turn: &mut Turn<'_>, mut ticket: Ticket, adopted: bool, out: &mut Vec<Effect>) {
        if adopted && ticket.bantime == JAILS_OWN {
            ticket.bantime = self.plan.bantime;
        }
        let most = usize::try_from(self.plan.maxmatches).unwrap_or(usize::MAX);
        ticket.matches.drain(..ticket.matches.len().saturating_sub(most));
        match judge::restored(ticket.clone(), turn.now, self.most()) {
            Some(ticket) => {
                if adopted {
                    let jail = Arc::clone(self.name());
                    out.push(Effect::Record(Entry::Ban {
                        jail,
                        ticket: ticket.clone(),
                    }));
                }
                self.ban(turn, ticket, true, out);
            }
            None => out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(self.name()),
                id: ticket.id,
            })),
        }
    }

    /// A layer's answer.
    pub(super) fn applied(&mut self, now: Timestamp, applied: Applied, out: &mut Vec<Effect>) {
        let Some(layer) = self
            .layers
            .iter_mut()
            .find(|layer| layer.action == applied.layer.action)
        else {
            return;
        };
        match applied.result {
            Ok(standing) => {
                if layer.failure.take().is_some() {
                    layer.retry = None;
                }
                if let (Some(id), OrderKind::Ban | OrderKind::Prolong) = (&applied.id, applied.order) {
                    self.ledger.stand(id, &applied.layer.action, standing);
                }
            }
            Err(error) => {
                if layer.native && applied.order != OrderKind::Stop {
                    let pause = layer.retry.map_or(RETRY_FIRST, |(_, pause)| pause);
                    layer.retry = Some((now + pause, pause));
                }
                let news = layer.failure.as_ref() != Some(&error);
                layer.failure = Some(error.clone());
                if let Some(id) = &applied.id {
                    self.ledger
                        .stand(id, &applied.layer.action, Standing::Failed(error.clone()));
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
    }

    /// Tells native layers again what they failed to do.
    fn retry(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
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
                    ban.layers.get(&action),
                    None | Some(Standing::Failed(_) | Standing::Decided)
                )
            };
            for ban in self.ledger.iter().filter(undone) {
                self.change(&action, Order::Ban(ban.ticket.clone()), out);
            }
        }
    }

    /// Writes a counter's present state, which may be that it is gone.
    pub(super) fn record_count(&self, id: &Id, out: &mut Vec<Effect>) {
        let count = self.tracker.get(id).cloned();
        out.push(Effect::Record(Entry::Count {
            jail: Arc::clone(self.name()),
            id: id.clone(),
            count,
        }));
    }

    pub(super) fn layer_id(&self, action: &Arc<str>) -> LayerId {
        LayerId {
            jail: Arc::clone(self.name()),
            action: Arc::clone(action),
        }
    }

    /// Why the jail must not ban, if it must not.
    pub(super) fn why_held(&self) -> Option<&String> {
        self.held.as_ref().or(self.unread.as_ref())
    }

    /// Ends a ban of an earlier run, because whom it concerns is exempt by now (contract §7.4).
    pub(super) fn excuse(&mut self, id: &Id, out: &mut Vec<Effect>) {
        if self.ledger.get(id).is_some() {
            out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(self.name()),
                id: id.clone(),
            }));
            self.free(id, false, out);
        }
    }
}

/// `ignorecache`: the key with its tags, and what is known under it. A value that cannot be read was refused before.
fn cache(plan: &JailPlan) -> Option<(Script, Cache)> {
    let cache = CachePlan::read(plan.ignorecache.as_deref()?).ok().flatten()?;
    Some((Script::new(cache.key), Cache::new(cache.most, cache.lasts)))
}

fn limits(plan: &JailPlan) -> Limits {
    Limits {
        maxretry: plan.maxretry,
        findtime: plan.findtime,
        maxmatches: plan.maxmatches,
        most: MOST_COUNTERS,
    }
}
