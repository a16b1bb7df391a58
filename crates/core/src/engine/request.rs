//! What somebody asks for by hand: to ban, to lift bans, to count a failure (contract §8.5).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::jail::Jail;
use super::message::{Effect, Question, ReplyTo, Request};
use super::waiting::Told;
use crate::address::Id;
use crate::exception::Exception;
use crate::history::History;
use crate::judge;
use crate::ledger::{Data, Entry, Pending};
use crate::time::{Clock, Timestamp};
use crate::value::Value;

/// Requests that may wait for names at a time.
const MOST_PARKED: usize = 100;

/// A request that waits for the addresses of names.
pub(super) struct Parked {
    freeing: Freeing,
    to: ReplyTo,
    since: Timestamp,
    missing: BTreeSet<String>,
}

/// Whom to free, where, and whether absent ones are to be reported.
type Freeing = (Vec<(String, Id)>, Option<Arc<str>>, bool);

type Answer = Result<Value, Exception>;

impl Engine {
    /// Does what is asked. No answer yet where something must be found out first.
    pub(super) fn request(
        &mut self,
        now: Timestamp,
        request: Request,
        to: ReplyTo,
        out: &mut Vec<Effect>,
    ) -> Option<Answer> {
        let answer = match request {
            Request::Ban { ids, jail, bantime } => match self.jails.get_mut(&jail) {
                None => Err(Exception::no_jail(&*jail)),
                Some(jail) => {
                    let length = bantime.unwrap_or(jail.plan.bantime);
                    let mut turn = self.shared.turn(now);
                    // A record, a note and an order each.
                    out.reserve(3 * ids.len());
                    let mut ban = |id: Id| {
                        jail.hand_over(&id);
                        jail.ban(&mut turn, judge::by_hand(id, now, length), bantime.is_some(), out)
                    };
                    Ok(count(ids.into_iter().map(|id| usize::from(ban(id))).sum()))
                }
            },
            Request::Unban { ids, jail: Some(name) } => match self.jails.get_mut(&name) {
                None => Err(Exception::no_jail(&*name)),
                Some(jail) => Ok(count(unban(jail, &mut self.shared.history, ids.as_deref(), out))),
            },
            Request::Unban { ids, jail: None } => {
                let jails = self.jails.values_mut();
                let freed = jails.map(|jail| unban(jail, &mut self.shared.history, ids.as_deref(), out));
                Ok(count(freed.sum()))
            }
            Request::Attempt { jail, id, lines } => return self.attempt(now, (jail, id, lines), to, out),
            Request::Free {
                whom,
                jail,
                report_absent,
            } => return self.park(now, (whom, jail, report_absent), to, out),
        };
        Some(answer)
    }

    fn attempt(
        &mut self,
        now: Timestamp,
        (jail, id, lines): (Arc<str>, Id, Vec<String>),
        to: ReplyTo,
        out: &mut Vec<Effect>,
    ) -> Option<Answer> {
        if !self.jails.contains_key(&jail) {
            return Some(Err(Exception::no_jail(&*jail)));
        }
        let told = Told {
            to,
            weight: u32::try_from(lines.len()).unwrap_or(u32::MAX).max(1),
        };
        let pending = Pending {
            id,
            is_name: false,
            clock: Clock {
                steady: now,
                wall: now + self.shared.ahead,
            },
            matches: lines.into_iter().map(Arc::from).collect(),
            data: Data::default(),
        };
        self.consider_told(now, (jail, pending), told, out);
        None
    }

    /// Frees at once where all names are known, and asks for the others.
    fn park(&mut self, now: Timestamp, freeing: Freeing, to: ReplyTo, out: &mut Vec<Effect>) -> Option<Answer> {
        if let Some(name) = &freeing.1
            && !self.jails.contains_key(name)
        {
            return Some(Err(Exception::no_jail(&**name)));
        }
        let missing = self.unknown_names(now, &freeing);
        if missing.is_empty() {
            return Some(self.free(now, freeing, out));
        }
        if self.parked.len() >= MOST_PARKED {
            return Some(Err("Too many requests wait for the addresses of names".into()));
        }
        for name in &missing {
            let name = name.clone();
            self.listed.insert(name.clone());
            out.push(Effect::Ask(Question::Name { name, is_listed: true }));
        }
        self.parked.push(Parked {
            freeing,
            to,
            since: now,
            missing,
        });
        None
    }

    /// Names that somebody who is banned may have, and whose addresses are not known.
    fn unknown_names(&self, now: Timestamp, (whom, jail, _): &Freeing) -> BTreeSet<String> {
        let mut unknown = BTreeSet::new();
        for jail in self.concerned(jail.as_ref()) {
            // A name that is banned itself is freed by its first mention; a second one means its addresses.
            let mut mentioned = BTreeSet::new();
            let names = whom.iter().filter_map(|(_, id)| match id {
                Id::Raw(_) if jail.ledger.is_empty() || (mentioned.insert(id) && jail.ledger.get(id).is_some()) => None,
                Id::Raw(name) => Some(name),
                _ => None,
            });
            unknown.extend(
                names
                    .filter(|name| self.shared.outside.names.get(name, now).is_none())
                    .cloned(),
            );
        }
        unknown
    }

    fn concerned(&self, only: Option<&Arc<str>>) -> impl Iterator<Item = &Jail> {
        let jails = self.jails.values();
        jails.filter(move |jail| only.is_none_or(|name| jail.name() == name))
    }

    /// A name's addresses are known: requests that waited for nothing else are done.
    pub(super) fn unpark(&mut self, now: Timestamp, name: &str, out: &mut Vec<Effect>) {
        for parked in &mut self.parked {
            parked.missing.remove(name);
        }
        while let Some(at) = self.parked.iter().position(|parked| parked.missing.is_empty()) {
            let parked = self.parked.remove(at);
            let answer = self.free(parked.since.min(now), parked.freeing, out);
            out.push(Effect::Reply(parked.to, answer));
        }
    }

    fn free(&mut self, since: Timestamp, (whom, only, report_absent): Freeing, out: &mut Vec<Effect>) -> Answer {
        let mut freed = 0;
        let mut absent = Vec::new();
        let (names, history) = (&self.shared.outside.names, &mut self.shared.history);
        for jail in self.jails.values_mut() {
            if only.as_ref().is_some_and(|name| jail.name() != name) {
                continue;
            }
            for (word, id) in &whom {
                let mut meant = vec![id.clone()];
                // Many addresses at once must not each look through all bans.
                match id {
                    Id::Ip(_) => meant.extend(jail.networks_over(id)),
                    _ if jail.ledger.get(id).is_some() => {}
                    Id::Net(net) => meant.extend(jail.ledger.within(*net).map(|ban| ban.ticket.id.clone())),
                    Id::Raw(name) => {
                        let addresses = names.get(name, since).unwrap_or_default();
                        let addresses: BTreeSet<Id> = addresses.iter().copied().map(Id::Ip).collect();
                        let networks = addresses.iter().flat_map(|id| jail.networks_over(id));
                        meant.extend(networks.collect::<BTreeSet<Id>>());
                        meant.extend(addresses.into_iter().filter(|id| jail.ledger.get(id).is_some()));
                    }
                }
                pardon(jail, &mut meant);
                lift(jail, history, meant.clone(), out);
                let done = meant.iter().filter(|id| jail.free(id, false, out)).count();
                freed += done;
                if done == 0 {
                    out.push(Effect::Note(super::Event::Absent { whom: word.clone() }));
                    if report_absent {
                        absent.push(Value::from(word.as_str()));
                    }
                }
            }
        }
        if absent.is_empty() {
            return Ok(count(freed));
        }
        Err(Exception::value(format!("not banned: {}", Value::List(absent).repr())))
    }
}

fn count(number: usize) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// Lifts bans and forgets them; a network frees every banned member (contract §8.5). What was counted since stays
/// counted.
fn unban(jail: &mut Jail, history: &mut History, ids: Option<&[Id]>, out: &mut Vec<Effect>) -> usize {
    let Some(ids) = ids else {
        history.empty(jail.name());
        out.push(Effect::Record(Entry::Empty {
            jail: Arc::clone(jail.name()),
        }));
        return jail.free_all(false, out);
    };
    let mut freed = 0;
    for id in ids {
        let mut members = vec![id.clone()];
        members.extend(jail.networks_over(id));
        if let Id::Net(net) = id {
            let inside = jail.ledger.within(*net).map(|ban| &ban.ticket.id);
            let inside = inside.filter(|banned| *banned != id && id.contains(banned));
            members.extend(inside.cloned());
        }
        pardon(jail, &mut members);
        lift(jail, history, members.clone(), out);
        for member in members {
            freed += usize::from(jail.free(&member, false, out));
        }
    }
    freed
}

/// Puts the wide bans around those who are to be freed in front of them.
fn pardon(jail: &mut Jail, members: &mut Vec<Id>) {
    let wide: BTreeSet<Id> = members.iter().filter_map(|id| jail.shrink(id)).collect();
    members.retain(|id| !wide.contains(id));
    members.splice(0..0, wide);
}

/// Of whom the jail knows nothing, nothing is kept.
fn lift(jail: &Jail, history: &mut History, ids: impl IntoIterator<Item = Id>, out: &mut Vec<Effect>) {
    for id in ids {
        if jail.ledger.get(&id).is_none() && history.of(jail.name(), &id).is_none() {
            continue;
        }
        history.forget(jail.name(), &id);
        out.push(Effect::Record(Entry::Lift {
            jail: Arc::clone(jail.name()),
            id,
        }));
    }
}
