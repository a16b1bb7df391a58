//! Widening by evidence: when many in one neighbourhood are banned, the neighbourhood is.
//!
//! A wide ban rests on the bans in its network that the jail decided itself. It begins when there are enough of them
//! and ends when there are no longer; they stay in the ledger beside it. Who frees somebody in there by hand lifts the
//! wide ban, and the bans that it rested on are evidence no more: they last, and a new wide ban needs new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::jail::Jail;
use super::known::Turn;
use super::message::{Effect, Event};
use super::prefix::Within;
use crate::address::Id;
use crate::ledger::{Entered, Entry, Field, Ticket};
use crate::prefix::Prefix;
use crate::time::{Seconds, Timestamp};

/// What one jail knows of its neighbourhoods.
#[derive(Default)]
pub(super) struct Wide {
    /// The options that the rest goes by
    prefix: Prefix,
    nets: BTreeMap<IpNet, Evidence>,
    /// Wide bans of an earlier run that are not in force again yet
    kept: BTreeSet<IpNet>,
    /// Whether all is to be weighed anew
    is_due: bool,
    /// Whether something waits for what is not known
    is_unsure: bool,
}

/// The bans in one neighbourhood.
#[derive(Default)]
struct Evidence {
    bans: BTreeSet<Id>,
    is_in_force: bool,
    /// Whether it was said that it is not widened
    is_told: bool,
}

/// A ban that nobody typed, that is no wide one, and that was not pardoned.
fn is_evidence(ticket: &Ticket) -> bool {
    ticket.failures > 0 && !ticket.is_widened() && !ticket.data.contains_key(Ticket::PARDONED)
}

impl Jail {
    /// A ban begins or lasts longer: is it one too many?
    pub(super) fn gather(&mut self, turn: &mut Turn<'_>, id: &Id, out: &mut Vec<Effect>) {
        let Some(net) = self.plan.prefix.widened(id) else {
            return;
        };
        if self.ledger.get(id).is_some_and(|ban| is_evidence(&ban.ticket)) {
            let evidence = self.wide.nets.entry(net).or_default();
            evidence.bans.insert(id.clone());
            self.weigh(turn, (net, Some(id)), out);
        }
    }

    /// Bans a neighbourhood where that is due, or as long as `latest`, the one ban that is new.
    fn weigh(&mut self, turn: &mut Turn<'_>, (net, latest): (IpNet, Option<&Id>), out: &mut Vec<Effect>) {
        let Some(threshold) = self.plan.prefix.threshold() else {
            return;
        };
        let Some(evidence) = self.wide.nets.get(&net) else {
            return;
        };
        if evidence.bans.len() < threshold {
            return;
        }
        let was_there = evidence.is_in_force || self.wide.kept.contains(&net);
        match turn.around.within(&self.allow, &net) {
            Within::Somebody(whom) => self.refrain(net, whom, out),
            Within::Unknown if !was_there => self.wide.is_unsure = true,
            Within::Unknown | Within::Nobody => self.widen(turn, (net, latest), out),
        }
    }

    fn widen(&mut self, turn: &mut Turn<'_>, (net, latest): (IpNet, Option<&Id>), out: &mut Vec<Effect>) {
        let id = Id::Net(net);
        let Some(evidence) = self.wide.nets.get(&net) else {
            return;
        };
        if self.ledger.get(&id).is_some() && !evidence.is_in_force {
            return;
        }
        // One that is in force already needs to be told of the newest only.
        let rests_on = match latest.filter(|_| evidence.is_in_force) {
            Some(latest) => self.wide_ticket(net, std::iter::once(latest)),
            None => self.wide_ticket(net, evidence.bans.iter()),
        };
        let Some(mut ticket) = rests_on else { return };
        let count = evidence.bans.len();
        ticket.restored = self.wide.kept.remove(&net);
        match self.ledger.enter(turn.now, ticket.clone(), &self.action_names()) {
            Entered::New => {
                if let Some(evidence) = self.wide.nets.get_mut(&net) {
                    evidence.is_in_force = true;
                }
                let jail = Arc::clone(self.name());
                out.push(Effect::Note(Event::Widened { jail, id, count }));
                self.begin(turn, ticket, true, out);
            }
            Entered::Already {
                prolonged: Some(ticket),
                ..
            } => self.prolong(&ticket, out),
            Entered::Already { .. } | Entered::Expired => {}
        }
    }

    /// A ban of the whole network, as long as the longest of these.
    fn wide_ticket<'i>(&self, net: IpNet, bans: impl Iterator<Item = &'i Id>) -> Option<Ticket> {
        let (mut time, mut until) = (None::<Timestamp>, Some(Timestamp::from_seconds(0)));
        let (mut failures, mut count) = (0_u32, 0_usize);
        for ticket in bans.filter_map(|id| self.ledger.get(id)).map(|ban| &ban.ticket) {
            time = time.max(Some(ticket.time));
            until = until.zip(ticket.until()).map(|(one, other)| one.max(other));
            failures = failures.saturating_add(ticket.failures);
            count += 1;
        }
        let time = time?;
        let mark = (Ticket::WIDENED.to_owned(), Field::Text(count.to_string().into()));
        Some(Ticket {
            id: Id::Net(net),
            time,
            bantime: until.map_or(Seconds::FOREVER, |until| until - time),
            bancount: 1,
            failures: failures.max(1),
            matches: Vec::new(),
            data: [mark].into_iter().collect(),
            restored: false,
        })
    }

    /// Somebody in there must not be banned with the others: said once.
    fn refrain(&mut self, net: IpNet, whom: &'static str, out: &mut Vec<Effect>) {
        let Some(evidence) = self.wide.nets.get_mut(&net) else {
            return;
        };
        let is_new = !std::mem::replace(&mut evidence.is_told, true);
        let (count, is_in_force) = (evidence.bans.len(), evidence.is_in_force);
        if is_new {
            out.push(Effect::Note(Event::NotWidened {
                jail: Arc::clone(self.name()),
                id: Id::Net(net),
                count,
                whom,
            }));
        }
        if is_in_force {
            self.end_wide(net, false, out);
        }
    }

    /// A ban is over: what rested on it may be, too.
    pub(super) fn ungather(&mut self, ticket: &Ticket, repealed: bool, out: &mut Vec<Effect>) {
        if let Id::Net(net) = &ticket.id
            && let Some(evidence) = self.wide.nets.get_mut(net)
        {
            evidence.is_in_force = false;
            // One that was typed has given way to what the evidence says.
            self.wide.is_due |= !ticket.is_widened();
            if evidence.bans.is_empty() {
                self.wide.nets.remove(net);
            }
            return;
        }
        let Some(net) = self.plan.prefix.widened(&ticket.id) else {
            return;
        };
        let Some(evidence) = self.wide.nets.get_mut(&net) else {
            return;
        };
        evidence.bans.remove(&ticket.id);
        let is_weak = self
            .plan
            .prefix
            .threshold()
            .is_none_or(|least| evidence.bans.len() < least);
        let (is_over, is_empty) = (is_weak && evidence.is_in_force, evidence.bans.is_empty());
        if is_over {
            self.end_wide(net, repealed, out);
        } else if is_empty {
            self.wide.nets.remove(&net);
        }
    }

    /// Ends a wide ban. Where the jail stops, its row stays like the others.
    fn end_wide(&mut self, net: IpNet, repealed: bool, out: &mut Vec<Effect>) {
        let id = Id::Net(net);
        if !repealed {
            out.push(Effect::Record(Entry::Expire {
                jail: Arc::clone(self.name()),
                id: id.clone(),
            }));
        }
        self.free(&id, repealed, out);
    }

    /// Somebody is about to be freed by hand: the wide ban around must go as well, and is returned; what it rested on is
    /// pardoned. Who frees the whole neighbourhood pardons also what was not enough yet.
    pub(super) fn shrink(&mut self, id: &Id) -> Option<Id> {
        let is_wide = |net: &IpNet| self.wide.nets.get(net).is_some_and(|evidence| evidence.is_in_force);
        let net = match id {
            Id::Net(net) if self.wide.nets.contains_key(net) => *net,
            _ => self.plan.prefix.widened(id).filter(is_wide)?,
        };
        let bans = std::mem::take(&mut self.wide.nets.get_mut(&net)?.bans);
        for other in bans.iter().filter(|other| *other != id) {
            let Some(ticket) = self.ledger.mark(other, Ticket::PARDONED) else {
                continue;
            };
            self.altered.insert(other.clone(), self.as_kept(ticket));
        }
        Some(Id::Net(net))
    }

    /// A ticket so that a restart, which cuts it to what the jail gives at most, comes to the same end.
    fn as_kept(&self, mut ticket: Ticket) -> Ticket {
        if let (Some(until), Some(most)) = (ticket.until(), self.most())
            && ticket.bantime > most
        {
            (ticket.time, ticket.bantime) = (until - most, most);
        }
        ticket
    }

    /// Somebody bans by hand what the evidence has banned: it is theirs from now on.
    pub(super) fn hand_over(&mut self, id: &Id) {
        let Id::Net(net) = id else { return };
        let Some(evidence) = self.wide.nets.get_mut(net).filter(|evidence| evidence.is_in_force) else {
            return;
        };
        evidence.is_in_force = false;
        if let Some(ticket) = self.ledger.own_up(id, Ticket::WIDENED) {
            self.altered.insert(id.clone(), self.as_kept(ticket));
        }
    }

    /// A wide ban of an earlier run: it is in force again once what it rests on is.
    pub(super) fn keep_wide(&mut self, ticket: &Ticket) {
        if let Id::Net(net) = &ticket.id {
            self.wide.kept.insert(*net);
        }
    }

    /// All bans of an earlier run are in force again: what is left of the wide ones rests on nothing.
    pub(super) fn drop_kept(&mut self, out: &mut Vec<Effect>) {
        for net in std::mem::take(&mut self.wide.kept) {
            let (jail, id) = (Arc::clone(self.name()), Id::Net(net));
            if self.ledger.get(&id).is_none() {
                out.push(Effect::Record(Entry::Expire { jail, id }));
            }
        }
    }

    /// The world or the rules changed: weighs everything anew at the end of the input.
    pub(super) fn doubt_wide(&mut self, only_unsure: bool) {
        self.wide.is_due |= !only_unsure || self.wide.is_unsure;
    }

    /// Weighs everything anew where that is due.
    pub(super) fn weigh_due(&mut self, turn: &mut Turn<'_>, out: &mut Vec<Effect>) {
        if !std::mem::take(&mut self.wide.is_due) {
            return;
        }
        if self.wide.prefix != self.plan.prefix {
            self.gather_anew(out);
        }
        self.wide.is_unsure = false;
        let nets: Vec<IpNet> = self.wide.nets.keys().copied().collect();
        for net in nets {
            self.weigh(turn, (net, None), out);
        }
    }

    /// Other options: what rests on what is another matter now.
    fn gather_anew(&mut self, out: &mut Vec<Effect>) {
        self.wide.prefix = self.plan.prefix;
        self.wide.nets.clear();
        for ticket in self.ledger.iter().map(|ban| &ban.ticket) {
            if let (Id::Net(net), true) = (&ticket.id, ticket.is_widened()) {
                self.wide.nets.entry(*net).or_default().is_in_force = true;
            } else if let Some(net) = self.plan.prefix.widened(&ticket.id).filter(|_| is_evidence(ticket)) {
                let evidence = self.wide.nets.entry(net).or_default();
                evidence.bans.insert(ticket.id.clone());
            }
        }
        let least = self.plan.prefix.threshold().unwrap_or(usize::MAX);
        let weak = self.wide.nets.iter();
        let weak = weak.filter(|(_, evidence)| evidence.is_in_force && evidence.bans.len() < least);
        let weak: Vec<IpNet> = weak.map(|(net, _)| *net).collect();
        for net in weak {
            self.end_wide(net, false, out);
        }
    }
}
