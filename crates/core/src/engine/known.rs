//! Those who come back: they count more, and are banned longer (contract §4.4, §4.5).
//!
//! Fail2Ban does this in a thread of its own some moments later; here it belongs to the failure and to the ban that it
//! is about. What Fail2Ban tells shell actions in two steps, the ban and its prolonging, they are told in the same two
//! steps; native layers get the final length at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::jail::Jail;
use super::message::{Effect, Event};
use crate::address::Id;
use crate::allow::{Known, Lists, Names};
use crate::expression::Amount;
use crate::history::{History, Past};
use crate::judge;
use crate::ledger::{Change, Count, Entry, Order, Ticket};
use crate::time::{Number, Seconds, Timestamp};
use crate::tracker::Attempt;

/// So long before the time that they know is over shell actions are told of a longer one …
const EARLY: Seconds = Seconds::new(5);
/// … and at the latest after this.
const LATEST: Seconds = Seconds::new(10);

/// What all jails share while one input is handled.
pub(super) struct Turn<'t> {
    pub(super) now: Timestamp,
    /// Wall clock minus steady clock
    pub(super) ahead: Seconds,
    pub(super) history: &'t mut History,
    pub(super) dice: &'t mut Dice,
    pub(super) around: Around<'t>,
}

/// Who must not be banned, as far as that is known.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) known: Known<'a>,
    /// Networks that native layers do not ban
    pub(super) protected: &'a [IpNet],
}

/// What all jails share from one input to the next.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) history: History,
    pub(super) dice: Dice,
    /// Wall clock minus steady clock, as lines were last read
    pub(super) ahead: Seconds,
    pub(super) outside: Outside,
}

/// What is known of the world.
#[derive(Default)]
pub(super) struct Outside {
    pub(super) own: BTreeSet<IpAddr>,
    pub(super) names: Names,
    pub(super) lists: Lists,
    /// Networks that native layers do not ban
    pub(super) protected: Vec<IpNet>,
}

impl Outside {
    /// What was believed at `since` or later.
    pub(super) fn around(&self, since: Timestamp) -> Around<'_> {
        Around {
            known: Known {
                own: &self.own,
                names: &self.names,
                lists: &self.lists,
                since,
            },
            protected: &self.protected,
        }
    }
}

impl Shared {
    /// For one input at steady time `now`.
    pub(super) fn turn(&mut self, now: Timestamp) -> Turn<'_> {
        Turn {
            now,
            ahead: self.ahead,
            history: &mut self.history,
            dice: &mut self.dice,
            around: self.outside.around(now),
        }
    }
}

/// Random numbers from a seed that was drawn outside (`SplitMix64`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// From 0 up to, not including, 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A ban with the length that it comes to.
struct Grown {
    ticket: Ticket,
    events: Vec<Event>,
    /// When shell actions are told of it
    prolong: Option<Timestamp>,
}

impl Jail {
    /// How much a failure counts of somebody who was banned before, and how many bans that were; nothing where it counts
    /// once, as all do.
    pub(super) fn heavier(
        &self,
        turn: &Turn<'_>,
        (id, time): (&Id, Timestamp),
        out: &mut Vec<Effect>,
    ) -> Option<(u32, u32)> {
        let past = self.growth.as_ref().and_then(|_| turn.history.of(self.name(), id));
        // A line that led to the ban on record, or is older, has been counted already.
        let past = past.filter(|past| time > past.time)?;
        let maxretry = self.plan.maxretry;
        let weight = judge::weight(past.count, maxretry);
        if weight <= 1 {
            return None;
        }
        out.push(Effect::Note(Event::Bad {
            jail: Arc::clone(self.name()),
            id: id.clone(),
            time,
            count: past.count,
            weight,
            maxretry,
        }));
        Some((weight, past.count))
    }

    /// Counts such a failure: once as all are, and then what it counts more. Says how many bans there were, where the
    /// counter began with it, and gives the counter if that fills it.
    pub(super) fn count_heavier(
        &mut self,
        id: &Id,
        attempt: Attempt,
        (weight, before): (u32, u32),
    ) -> (Option<u32>, Option<Count>) {
        let again = Attempt {
            weight: weight - 1,
            ..attempt.clone()
        };
        let began_after = self.tracker.get(id).is_none().then_some(before);
        let full = self.tracker.count(id, attempt);
        let fuller = self.tracker.count_again(id, again, began_after);
        (began_after, full.or(fuller))
    }

    /// A ban that is new: kept, said and told to the layers, with the length that it deserves. A `fixed` one has the
    /// length that was asked for.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>, base: Ticket, fixed: bool, out: &mut Vec<Effect>) {
        let grown = if fixed || base.restored {
            Grown {
                ticket: base.clone(),
                events: Vec::new(),
                prolong: None,
            }
        } else {
            self.grow(turn, &base)
        };
        let ticket = grown.ticket;
        self.ledger.amend(&ticket);
        let jail = Arc::clone(self.name());
        self.is_hasty |= self.growth.is_some();
        if !base.restored {
            out.push(Effect::Record(Entry::Ban {
                jail: Arc::clone(&jail),
                ticket: ticket.clone(),
            }));
        }
        if !ticket.restored {
            let past = Past {
                count: ticket.bancount,
                time: whole_second(ticket.time, turn.ahead),
                bantime: ticket.bantime,
            };
            turn.history.note(&jail, &ticket.id, past);
        }
        out.push(Effect::Note(Event::Banned {
            jail,
            id: ticket.id.clone(),
            restored: base.restored,
        }));
        let told = Ticket {
            bantime: base.bantime,
            bancount: base.bancount,
            ..ticket.clone()
        };
        for layer in &self.layers {
            let ticket = if layer.native { &ticket } else { &told };
            self.change(&layer.action, Order::Ban(ticket.clone()), out);
        }
        out.extend(grown.events.into_iter().map(Effect::Note));
        self.prolongs
            .extend(grown.prolong.map(|at| ((at, ticket.id.clone()), ticket)));
    }

    fn grow(&self, turn: &mut Turn<'_>, base: &Ticket) -> Grown {
        let mut grown = Grown {
            ticket: base.clone(),
            events: Vec::new(),
            prolong: None,
        };
        let (jail, id) = (Arc::clone(self.name()), base.id.clone());
        let Some(growth) = self.growth.as_ref().filter(|_| base.bantime > Seconds::ZERO) else {
            return grown;
        };
        let past = if growth.overall {
            turn.history.overall(&id)
        } else {
            turn.history.of(&jail, &id)
        };
        let Some(past) = past else { return grown };
        if past.count >= base.bancount {
            grown.ticket.bancount = past.count.saturating_add(1);
        }
        let before = Amount::from(base.bantime.whole());
        let length = if past.count == 0 {
            Ok(before.clone())
        } else {
            growth.length(base.bantime, past.count, &mut || turn.dice.draw())
        };
        match length {
            Ok(length) => grown.last(turn.now, (jail, past), (&before, &length)),
            Err(error) => grown.events.push(Event::GrowthFailed {
                jail,
                id,
                error: error.0,
            }),
        }
        grown
    }

    /// Tells shell actions of bans that turned out longer. As Fail2Ban does, also of one that was lifted since, if a new
    /// one stands in its place.
    pub(super) fn prolong_due(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        while self.prolongs.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let Some(((_, id), told)) = self.prolongs.pop_first() else {
                return;
            };
            let Some(ban) = self.ledger.get(&id) else { continue };
            let same = ban.ticket.time == told.time && ban.ticket.bancount == told.bancount;
            let ticket = if same { &ban.ticket } else { &told };
            for layer in self.layers.iter().filter(|layer| !layer.native) {
                self.change(&layer.action, Order::Prolong(ticket.clone()), out);
            }
        }
    }

    pub(super) fn change(&self, action: &Arc<str>, order: Order, out: &mut Vec<Effect>) {
        out.push(Effect::Change(Change {
            layer: self.layer_id(action),
            order,
        }));
    }

    /// What bans from an earlier run are cut to.
    pub(super) fn most(&self) -> Option<Seconds> {
        match &self.growth {
            Some(growth) => growth.cap(),
            None => Some(self.plan.bantime).filter(|bantime| !bantime.is_forever()),
        }
    }
}

impl Grown {
    /// Gives the ban its length; `lengths` are the jail's and the one that it came to.
    fn last(&mut self, now: Timestamp, (jail, past): (Arc<str>, Past), lengths: (&Amount, &Amount)) {
        let (before, after) = lengths;
        let ticket = &mut self.ticket;
        ticket.bantime = judge::seconds(after);
        let number = |amount: &Amount| Number::of(amount).unwrap_or(Number::Float(amount.nearest()));
        if ticket.time > past.time {
            self.events.push(Event::Known {
                jail: Arc::clone(&jail),
                id: ticket.id.clone(),
                past,
                from: number(before),
                to: number(after),
            });
        } else {
            // A line that is read a second time: the ban is on record already.
            ticket.restored = true;
        }
        if ticket.until().is_some_and(|until| until < now) {
            ticket.restored = true;
            return;
        }
        if judge::seconds(before) == ticket.bantime {
            return;
        }
        self.events.push(Event::Increased {
            jail,
            id: ticket.id.clone(),
            count: ticket.bancount,
            length: number(after),
            until: ticket.until(),
        });
        let early = ticket.bantime.micros() - judge::seconds(before).micros() - EARLY.micros();
        self.prolong = Some(now + Seconds::from_micros(early).clamp(Seconds::ZERO, LATEST));
    }
}

/// The whole second of the wall clock that the database keeps, a half going to the even one, on the steady clock.
pub(super) fn whole_second(time: Timestamp, ahead: Seconds) -> Timestamp {
    const SECOND: i64 = 1_000_000;
    let wall = (time + ahead).micros();
    let (whole, rest) = (wall.div_euclid(SECOND), wall.rem_euclid(SECOND));
    let up = rest > SECOND / 2 || (rest == SECOND / 2 && whole.rem_euclid(2) == 1);
    Timestamp::from_seconds(whole + i64::from(up)) - ahead
}
