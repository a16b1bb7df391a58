//! One jail inside the engine: its counters, its bans, its layers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::known::Turn;
use super::layer::Layer;
use super::message::{Arrangement, Effect, Event};
use super::wide::Wide;
use crate::action::Script;
use crate::address::Id;
use crate::allow::{Allow, Cache};
use crate::config::plan::{CachePlan, JailPlan};
use crate::judge::{self, Growth};
use crate::ledger::{Count, Entered, Entry, LayerId, Ledger, Order, Ticket};
use crate::time::{Seconds, Timestamp};
use crate::tracker::{Attempt, Limits, Tracker};

/// Counters a jail keeps at most: at some 600 bytes each this bounds an attack by a million addresses.
pub const MOST_COUNTERS: usize = 1_000_000;
/// Bytes of their lines.
pub const MOST_LINES: usize = 16 << 20;
/// Offences that an idle jail keeps at most.
const MOST_ASLEEP: usize = 10_000;
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
    /// Neighbourhoods with many bans
    pub(super) wide: Wide,
    /// Bans that are otherwise than they are kept: they end later, or are marked
    pub(super) altered: BTreeMap<Id, Ticket>,
    /// Whether its progress must not wait: at the end of a log, and with a ban where bans grow, because lines that are
    /// read again count otherwise there
    pub(super) is_hasty: bool,
}

impl Jail {
    /// A jail that starts: its layers are told so.
    pub(super) fn start(now: Timestamp, arrangement: Arrangement, out: &mut Vec<Effect>) -> Self {
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
            wide: Wide::default(),
            altered: BTreeMap::new(),
            is_hasty: false,
            plan: arrangement.plan.clone(),
        };
        // A jail that is not started yet says so when it is.
        jail.plan.started = false;
        jail.arrange(now, arrangement, out);
        jail
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.plan.name
    }

    /// Takes over a plan, new or changed. Counters and bans stay; layers that are no more free their bans, new ones
    /// are told the bans in force.
    pub(super) fn arrange(&mut self, now: Timestamp, arrangement: Arrangement, out: &mut Vec<Effect>) {
        let Arrangement {
            plan,
            held,
            native,
            cloud,
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
        self.arrange_layers(now, (&native, &cloud, reloaded), out);
        if starts {
            self.start_layers(out);
            let jail = Arc::clone(self.name());
            out.push(Effect::Note(Event::Started { jail }));
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
            if let Some(ban) = self.ledger.remove(id) {
                // A native layer has emptied itself at the one order.
                self.release(&ban.ticket, repealed, |layer| !layer.native, out);
            }
        }
        ids.len()
    }

    /// Ends one ban in every layer.
    pub(super) fn free(&mut self, id: &Id, repealed: bool, out: &mut Vec<Effect>) -> bool {
        let Some(ban) = self.ledger.remove(id) else {
            return false;
        };
        self.release(&ban.ticket, repealed, |_| true, out);
        true
    }

    fn release(&mut self, ticket: &Ticket, repealed: bool, told: impl Fn(&Layer) -> bool, out: &mut Vec<Effect>) {
        let (jail, id) = (Arc::clone(self.name()), ticket.id.clone());
        self.altered.remove(&id);
        out.push(Effect::Note(Event::Unbanned { jail, id, repealed }));
        for layer in self.layers.iter().filter(|layer| told(layer)) {
            self.change(&layer.action, Order::Unban(ticket.clone()), out);
        }
        self.ungather(ticket, repealed, out);
    }

    /// Ends the bans whose time has come, and drops silent counters.
    pub(super) fn pass(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        while let Some(ban) = self.ledger.expire(now) {
            out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(self.name()),
                id: ban.ticket.id.clone(),
            }));
            self.release(&ban.ticket, false, |_| true, out);
        }
        self.prolong_due(now, out);
        self.tracker.purge(now);
        self.retry(now, out);
        self.watch(now);
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
        self.tracker.purge(turn.now);
        let offender = attempt.data.get(Ticket::OFFENDER).cloned();
        let (began_after, full) = match self.heavier(turn, (id, attempt.time), out) {
            None => (None, self.tracker.count(id, attempt)),
            Some((weight, before)) => self.count_heavier(id, attempt, (weight, before)),
        };
        if let Some(mut count) = full {
            if let Some(offender) = offender {
                count.data.insert(Ticket::OFFENDER, offender);
            }
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
        ticket.bancount = ticket.bancount.saturating_add(1);
        let (jail, id) = (Arc::clone(self.name()), ticket.id.clone());
        match self.ledger.enter(turn.now, ticket.clone(), &self.action_names()) {
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
                    self.gather(turn, &id, out);
                }
            }
            Entered::New => {
                self.start_layers(out);
                self.begin(turn, ticket, fixed, out);
                self.gather(turn, &id, out);
                return true;
            }
        }
        false
    }

    pub(super) fn action_names(&self) -> Vec<Arc<str>> {
        self.layers.iter().map(|layer| Arc::clone(&layer.action)).collect()
    }

    /// Who offends long after the ban is perhaps not kept out any more: shell actions look after it (contract §4.3).
    fn doubt(&self, id: &Id, out: &mut Vec<Effect>) {
        let Some(ban) = self.ledger.get(id) else { return };
        for layer in self.layers.iter().filter(|layer| !layer.native) {
            self.change(&layer.action, Order::Again(ban.ticket.clone()), out);
        }
    }

    /// A later end: shell actions never hear of it (as in Fail2Ban), native layers renew their time-outs, and where a
    /// cloud's rule is full, who is banned for longer stays in it.
    pub(super) fn prolong(&mut self, ticket: &Ticket, out: &mut Vec<Effect>) {
        self.altered.insert(ticket.id.clone(), ticket.clone());
        for layer in self.layers.iter().filter(|layer| layer.native || layer.cloud) {
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

    /// Whether counting has changed what is to be kept.
    pub(super) fn has_progressed(&self) -> bool {
        self.tracker.has_changed() || !self.altered.is_empty()
    }

    /// Writes the bans that were altered, and the present state of the counters that changed, which may be that they are gone.
    pub(super) fn record_progress(&mut self, out: &mut Vec<Effect>) {
        self.is_hasty = false;
        for ticket in std::mem::take(&mut self.altered).into_values() {
            let jail = Arc::clone(self.name());
            out.push(Effect::Record(Entry::Prolong { jail, ticket }));
        }
        let changed = self.tracker.take_changed();
        out.reserve(changed.len());
        for (id, count) in changed {
            let jail = Arc::clone(self.name());
            out.push(Effect::Record(Entry::Count { jail, id, count }));
        }
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
        most_bytes: MOST_LINES,
    }
}
