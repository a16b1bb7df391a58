//! The decisions, as one state machine: inputs in, effects out, the clock an argument.
//!
//! This is the only place where a ban begins or ends (invariant 2). The daemon, back-tests and the tests drive the
//! same [`Engine`]; none of them can make it wait, because what it needs from outside it asks for and goes on.

mod exempt;
mod jail;
mod known;
mod layer;
mod message;
mod prefix;
mod progress;
mod request;
mod view;
mod waiting;
mod wide;

pub use jail::{MOST_COUNTERS, MOST_LINES};
pub use message::{Answer, Arrangement, Batch, Effect, Event, Input, Question, ReplyTo, Request, Saved};
pub use view::{BanView, JailView, LayerView, Progress, Query, View};
pub use waiting::MOST_WAITING;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jail::Jail;
use known::{Dice, Shared};
use progress::Owed;
use request::Parked;

use crate::address::Id;
use crate::allow::Verdict;
use crate::ledger::{Entry, LayerId, Ledger, Stand, Ticket};
use crate::time::Timestamp;
use waiting::Waits;

/// The state of everything that is decided.
#[derive(Default)]
pub struct Engine {
    jails: BTreeMap<Arc<str>, Jail>,
    waits: Waits,
    /// Requests that wait for the addresses of names
    parked: Vec<Parked>,
    /// Names that an `ignoreip` asks for
    listed: BTreeSet<String>,
    owed: Owed,
    shared: Shared,
}

impl Engine {
    /// An engine without jails.
    #[must_use]
    pub fn new() -> Self {
        Engine::default()
    }

    /// Takes one input at steady time `now` and appends what is to be done. Records precede the changes that rest
    /// on them.
    pub fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Effect>) {
        // There is a fact for each order: they need no look at what time has brought, which the next input has.
        if !matches!(input, Input::Applied(_)) {
            self.pass(now, out);
        }
        if matches!(input, Input::Plan(_) | Input::Amend { .. } | Input::Stop) {
            // What jails that end have counted is kept for their next start.
            self.keep_progress(out);
        }
        let may_wait = matches!(
            input,
            Input::Batch(_) | Input::Applied(_) | Input::Read(_) | Input::Tick
        );
        self.take(now, input, out);
        for jail in self.jails.values_mut() {
            jail.weigh_due(&mut self.shared.turn(now), out);
        }
        self.settle_progress(now, may_wait, out);
    }

    fn take(&mut self, now: Timestamp, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Plan(arrangements) => {
                let gone = self.others(&arrangements);
                self.arrange(now, (gone, arrangements), out);
            }
            Input::Amend { gone, jails } => self.arrange(now, (gone, jails), out),
            Input::Restore(saved) => self.restore(now, saved, out),
            Input::Batch(batch) => self.batch(now, batch, out),
            Input::Own(own) => {
                if std::mem::replace(&mut self.shared.outside.own, own) != self.shared.outside.own {
                    self.doubt_wide(false);
                }
            }
            Input::Protected(networks) => {
                if std::mem::replace(&mut self.shared.outside.protected, networks) != self.shared.outside.protected {
                    self.doubt_wide(false);
                }
            }
            Input::Answer(answer) => self.answer(now, answer, out),
            Input::Applied(applied) => {
                if let Some(jail) = self.jails.get_mut(&applied.layer.jail) {
                    jail.applied(now, applied, out);
                }
            }
            Input::Lost(layer) => {
                if let Some(jail) = self.jails.get_mut(&layer.jail) {
                    jail.tell_again(now, &layer.action, out);
                }
            }
            Input::Read(reading) => {
                if let Some(jail) = self.jails.get_mut(&reading.layer.jail) {
                    jail.read(now, reading, out);
                }
            }
            Input::Failing(layer, why) => {
                if let Some(jail) = self.jails.get_mut(&layer.jail) {
                    jail.lag(now, &layer.action, why);
                }
            }
            Input::Request(request, to) => {
                if let Some(reply) = self.request(now, request, to, out) {
                    out.push(Effect::Reply(to, reply));
                }
            }
            Input::Seed(seed) => self.shared.dice = Dice(seed),
            Input::Purge(before) => self.shared.history.purge(before),
            Input::Stop => self.stop(out),
            Input::Keep | Input::Tick => {}
        }
    }

    /// What is known of the world changed, and with it who may be banned whole.
    fn doubt_wide(&mut self, only_unsure: bool) {
        for jail in self.jails.values_mut() {
            jail.doubt_wide(only_unsure);
        }
    }

    /// When [`Engine::handle`] wants to be called with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.jails
            .values()
            .filter_map(Jail::next_wake)
            .chain(self.owed.due)
            .min()
    }

    /// What control and observation see.
    #[must_use]
    pub fn query(&self, query: &Query) -> View {
        view::answer(self, query)
    }

    /// Whether somebody is banned in a jail: under just this id, or with the network under which it counts.
    #[must_use]
    pub fn is_banned(&self, jail: &str, id: &Id) -> bool {
        let is_banned = |jail: &Jail| jail.ledger.get(id).is_some() || !jail.networks_over(id).is_empty();
        self.jails.get(jail).is_some_and(is_banned)
    }

    /// The networks in force around an address that jails banned by their prefix options, by jail: what is lifted where
    /// that address is to be freed.
    #[must_use]
    pub fn networks_over(&self, jail: Option<&str>, id: &Id) -> Vec<(Arc<str>, Id)> {
        let jails = self.jails.values();
        let jails = jails.filter(|known| jail.is_none_or(|name| **known.name() == *name));
        jails
            .flat_map(|jail| {
                let networks = jail.networks_over(id).into_iter();
                networks.map(|net| (Arc::clone(jail.name()), net))
            })
            .collect()
    }

    /// The bans in force of a jail, in the order in which they began; none where there is no such jail.
    pub fn bans(&self, jail: &str) -> impl Iterator<Item = &Ticket> {
        let ledger = self.jails.get(jail).map(|jail| &jail.ledger);
        ledger.into_iter().flat_map(Ledger::in_order).map(|ban| &ban.ticket)
    }

    /// How far a ban has come in a layer; none where there is no such ban, or the layer was not told of it. Reading the
    /// whole layer back is not counted in.
    #[must_use]
    pub fn stand(&self, layer: &LayerId, id: &Id) -> Option<&Stand> {
        self.jails.get(&layer.jail)?.ledger.get(id)?.layers.get(&layer.action)
    }

    /// How far the bans of a jail have come in one of its layers; all zero where there is no such layer.
    #[must_use]
    pub fn progress(&self, layer: &LayerId) -> Progress {
        view::progress(self, layer)
    }

    /// Whether a jail bans anybody.
    #[must_use]
    pub fn has_bans(&self, jail: &str) -> bool {
        self.jails.get(jail).is_some_and(|jail| !jail.ledger.is_empty())
    }

    fn pass(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for jail in self.jails.values_mut() {
            jail.pass(now, out);
        }
    }

    /// The jails that are not among these.
    fn others(&self, arrangements: &[Arrangement]) -> BTreeSet<Arc<str>> {
        let is_wanted = |name: &Arc<str>| arrangements.iter().any(|wanted| wanted.plan.name == *name);
        self.jails.keys().filter(|name| !is_wanted(name)).cloned().collect()
    }

    /// Jails that go, and jails as they shall be.
    fn arrange(
        &mut self,
        now: Timestamp,
        (gone, arrangements): (BTreeSet<Arc<str>>, Vec<Arrangement>),
        out: &mut Vec<Effect>,
    ) {
        for name in gone {
            if let Some(jail) = self.jails.remove(&name) {
                jail.stop(out);
            }
        }
        for arrangement in arrangements {
            let name = Arc::clone(&arrangement.plan.name);
            match self.jails.get_mut(&name) {
                Some(jail) => jail.arrange(now, arrangement, out),
                None => {
                    self.jails.insert(name, Jail::start(now, arrangement, out));
                }
            }
        }
        for jail in self.jails.values_mut() {
            let mut turn = self.shared.turn(now);
            jail.wake(&mut turn, out);
            jail.doubt_wide(false);
        }
        self.glance_at_lists(out);
    }

    fn restore(&mut self, now: Timestamp, saved: Saved, out: &mut Vec<Effect>) {
        for (jail, id, past) in saved.history {
            self.shared.history.note(&jail, &id, past);
        }
        for (name, id, count) in saved.counts {
            if let Some(jail) = self.jails.get_mut(&name) {
                jail.tracker.restore(id, count);
            }
        }
        // Reviews of bans take numbers, which must not be those of failures that are kept.
        for (_, number, _) in &saved.waiting {
            self.waits.know_number(*number);
        }
        let ours = saved.bans.into_iter().map(|ban| (ban, false));
        let theirs = saved.adopted.into_iter().map(|ban| (ban, true));
        let mut bans: Vec<_> = ours.chain(theirs).collect();
        // In the order in which Fail2Ban's query gives them (contract §7.4).
        bans.sort_by_cached_key(|((_, ticket), _)| ticket.id.to_string());
        for (name, ticket) in bans
            .iter()
            .map(|(ban, _)| ban)
            .filter(|(_, ticket)| ticket.is_widened())
        {
            if let Some(jail) = self.jails.get_mut(name) {
                jail.keep_wide(ticket);
            }
        }
        for (ban, adopted) in bans.into_iter().filter(|((_, ticket), _)| !ticket.is_widened()) {
            self.restore_ban(now, ban, adopted, out);
        }
        for jail in self.jails.values_mut() {
            jail.drop_kept(out);
        }
        for kept in saved.waiting {
            self.consider_again(now, kept, out);
        }
    }

    /// Whoever is exempt by now is not banned again (contract §7.4). Where that must be found out first, the ban
    /// stays until it is.
    fn restore_ban(&mut self, now: Timestamp, ban: (Arc<str>, Ticket), adopted: bool, out: &mut Vec<Effect>) {
        let (name, mut ticket) = ban;
        let Some(jail) = self.jails.get_mut(&name) else { return };
        let around = self.shared.outside.around(now);
        let narrow = prefix::narrowed(&ticket, &jail.allow, &around);
        let adopted = adopted || narrow.is_some();
        if let Some(narrow) = narrow {
            let (jail, id) = (Arc::clone(&name), ticket.id.clone());
            out.push(Effect::Record(Entry::Expire { jail, id }));
            ticket = narrow;
        }
        let whom = ticket.offender().map_or_else(|| ticket.id.clone(), Id::Ip);
        let verdict = jail.allow.judge(&whom, &around.known);
        if let Verdict::Allowed(rule, _) = verdict {
            out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(&name),
                id: ticket.id,
            }));
            out.push(Effect::Note(Event::Ignored {
                jail: name,
                id: whom,
                rule,
            }));
            return;
        }
        let is_open = verdict != Verdict::Counts || jail.command.is_some();
        let mut turn = self.shared.turn(now);
        jail.restore(&mut turn, ticket.clone(), adopted, out);
        if is_open && jail.ledger.get(&ticket.id).is_some() {
            self.review(now, &name, &ticket, out);
        }
    }

    fn batch(&mut self, now: Timestamp, batch: Batch, out: &mut Vec<Effect>) {
        self.shared.ahead = batch.clock.wall - batch.clock.steady;
        if batch.at_once {
            let failed = batch.failures.iter().map(|failure| &failure.jail);
            let changed = batch.sessions.iter().map(|(jail, _)| jail);
            failed.chain(changed).for_each(|jail| self.hurry(jail));
        }
        for failure in batch.failures {
            self.consider_failure(now, batch.clock, failure, out);
        }
        self.owed.came_to(batch.reads, batch.sessions);
    }

    fn stop(&mut self, out: &mut Vec<Effect>) {
        for (_, jail) in std::mem::take(&mut self.jails) {
            jail.stop(out);
        }
    }
}

#[cfg(test)]
mod tests;
