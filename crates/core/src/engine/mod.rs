//! The decisions, as one state machine: inputs in, effects out, the clock an argument.
//!
//! This is the only place where a ban begins or ends (invariant 2). The daemon, back-tests and the tests drive the
//! same [`Engine`]; none of them can make it wait, because what it needs from outside it asks for and goes on.

mod exempt;
mod jail;
mod known;
mod layer;
mod message;
mod request;
mod view;
mod waiting;

pub use message::{Answer, Arrangement, Batch, Effect, Event, Input, Question, ReplyTo, Request, Saved};
pub use view::{BanView, JailView, LayerView, Query, View};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jail::Jail;
use known::{Dice, Shared};
use request::Parked;

use crate::address::Id;
use crate::allow::{Known, Lists, Names, Verdict};
use crate::ledger::{Entry, LayerId, Ledger, Mark, Stand, Ticket};
use crate::time::{Seconds, Timestamp};
use waiting::Waits;

/// Positions without failures are kept this late at most: read again, such lines change nothing.
const READS_LATE: Seconds = Seconds::new(1);

/// The state of everything that is decided.
#[derive(Default)]
pub struct Engine {
    jails: BTreeMap<Arc<str>, Jail>,
    own: BTreeSet<IpAddr>,
    names: Names,
    lists: Lists,
    waits: Waits,
    /// Requests that wait for the addresses of names
    parked: Vec<Parked>,
    /// Names that an `ignoreip` asks for
    listed: BTreeSet<String>,
    reads: BTreeMap<(Arc<str>, Arc<str>), Mark>,
    reads_due: Option<Timestamp>,
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
        self.pass(now, out);
        match input {
            Input::Plan(arrangements) => {
                let gone = self.others(&arrangements);
                self.arrange(now, (gone, arrangements), out);
            }
            Input::Amend { gone, jails } => self.arrange(now, (gone, jails), out),
            Input::Restore(saved) => self.restore(now, saved, out),
            Input::Batch(batch) => self.batch(now, batch, out),
            Input::Own(own) => self.own = own,
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
            Input::Request(request, to) => {
                if let Some(reply) = self.request(now, request, to, out) {
                    out.push(Effect::Reply(to, reply));
                }
            }
            Input::Seed(seed) => self.shared.dice = Dice(seed),
            Input::Purge(before) => self.shared.history.purge(before),
            Input::Stop => self.stop(out),
            Input::Tick => {}
        }
    }

    /// When [`Engine::handle`] wants to be called with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.jails
            .values()
            .filter_map(Jail::next_wake)
            .chain(self.reads_due)
            .min()
    }

    /// What control and observation see.
    #[must_use]
    pub fn query(&self, query: &Query) -> View {
        view::answer(self, query)
    }

    /// Whether somebody is banned in a jail, under just this id.
    #[must_use]
    pub fn is_banned(&self, jail: &str, id: &Id) -> bool {
        self.jails.get(jail).is_some_and(|jail| jail.ledger.get(id).is_some())
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

    /// Whether a jail bans anybody.
    #[must_use]
    pub fn has_bans(&self, jail: &str) -> bool {
        self.jails.get(jail).is_some_and(|jail| !jail.ledger.is_empty())
    }

    fn pass(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        for jail in self.jails.values_mut() {
            jail.pass(now, out);
        }
        if self.reads_due.is_some_and(|due| due <= now) {
            self.write_reads(out);
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
        for (ban, adopted) in bans {
            self.restore_ban(now, ban, adopted, out);
        }
        for kept in saved.waiting {
            self.consider_again(now, kept, out);
        }
    }

    /// Whoever is exempt by now is not banned again (contract §7.4). Where that must be found out first, the ban
    /// stays until it is.
    fn restore_ban(&mut self, now: Timestamp, ban: (Arc<str>, Ticket), adopted: bool, out: &mut Vec<Effect>) {
        let (name, ticket) = ban;
        let Some(jail) = self.jails.get_mut(&name) else { return };
        let known = Known {
            own: &self.own,
            names: &self.names,
            lists: &self.lists,
            since: now,
        };
        let verdict = jail.allow.judge(&ticket.id, &known);
        if let Verdict::Allowed(rule, _) = verdict {
            let id = ticket.id.clone();
            out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(&name),
                id: id.clone(),
            }));
            out.push(Effect::Note(Event::Ignored { jail: name, id, rule }));
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
        let changed = !batch.failures.is_empty() || !batch.sessions.is_empty();
        for failure in batch.failures {
            self.consider_failure(now, batch.clock, failure, out);
        }
        for (jail, path, mark) in batch.reads {
            self.reads.insert((jail, path), mark);
        }
        out.extend(
            batch
                .sessions
                .into_iter()
                .map(|(jail, text)| Effect::Record(Entry::Sessions { jail, text })),
        );
        if changed {
            self.write_reads(out);
        } else if self.reads_due.is_none() && !self.reads.is_empty() {
            self.reads_due = Some(now + READS_LATE);
        }
    }

    fn write_reads(&mut self, out: &mut Vec<Effect>) {
        self.reads_due = None;
        for ((jail, path), mark) in std::mem::take(&mut self.reads) {
            out.push(Effect::Record(Entry::Read { jail, path, mark }));
        }
    }

    fn stop(&mut self, out: &mut Vec<Effect>) {
        self.write_reads(out);
        for (_, jail) in std::mem::take(&mut self.jails) {
            jail.stop(out);
        }
    }
}

#[cfg(test)]
mod tests;
