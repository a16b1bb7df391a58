//! What comes over the control socket: answered at once, or passed to the engine and answered from its effects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;

use portcullis_core::address::Id;
use portcullis_core::engine::{Effect, Input, Query, ReplyTo, Request, View};
use portcullis_core::exception::Exception;
use portcullis_core::ledger::LayerId;
use portcullis_core::time::{Clock, Seconds};
use portcullis_core::value::Value;
use portcullis_core::wire::{Reply, Verb};

use super::answers::Bans;
use super::origin::{Kind, Origin};
use super::setup::{self, MANUAL, Setup};
use super::way::Way;
use super::{Daemon, End, Message, SERVER, logging};
use crate::control::Asked;
use crate::control::answer::Done;
use crate::enforce::protect::{Reach, Spares, Verdict};
use crate::fault::{self, Step};
use crate::observe::log::{Level, note as say};
use crate::observe::notify;

/// Networks named in one answer.
const MOST_NOTES: usize = 100;
/// Bans by hand that are decided, kept and handed to the layers together.
pub(super) const AT_ONCE: usize = 4096;

impl Daemon {
    /// An answer of the engine's; that to one of Fail2Ban's commands waits for the orders.
    pub(super) fn reply(&mut self, to: ReplyTo, result: Result<Value, Exception>, orders: &BTreeMap<LayerId, usize>) {
        let Some((sender, notes)) = self.replies.remove(&to.0) else {
            return;
        };
        let reply = match (result, notes) {
            (Ok(value), Some(notes)) => done(count(&value), notes),
            // One of Fail2Ban's commands.
            (Ok(value), None) => return self.held.hold(orders.clone(), (sender, Reply::Done(value))),
            (Err(exception), _) => Reply::Refused(exception),
        };
        // A client that has gone away wants no answer.
        let _ = sender.send(reply);
    }

    /// A request from the socket.
    pub(super) fn answer(&mut self, asked: Asked, inbox: &Receiver<Message>, out: &mut Vec<Effect>) -> Option<End> {
        let Asked { verb, reply } = asked;
        let clock = self.clock.now();
        let answer = match verb {
            Verb::Command(words) => return self.obey_command(&words, reply, inbox, out),
            Verb::Status { jail } => {
                let view = self.engine.query(&jail.clone().map_or(Query::Status, Query::Jail));
                match &jail {
                    Some(name) if view.jails.is_empty() => Reply::Refused(self.no_such_jail(name).into()),
                    _ => json(&self.status(&view, clock, jail.is_some())),
                }
            }
            Verb::Banned { jail } => {
                let view = self.engine.query(&jail.clone().map_or(Query::Banned, Query::Jail));
                match &jail {
                    Some(name) if view.jails.is_empty() => Reply::Refused(self.no_such_jail(name).into()),
                    _ => return self.list(view, clock, reply),
                }
            }
            Verb::Ban {
                ids,
                jail,
                bantime,
                reason,
            } => {
                return self.ban((ids, jail, bantime), reason.as_deref(), reply, out);
            }
            Verb::Unban { ids, jail } => {
                let notes = self.lifted_with(ids.as_deref().unwrap_or_default(), jail.as_deref());
                let jail = jail.map(Into::into);
                return self.request(Request::Unban { ids, jail }, reply, Some(notes), out);
            }
            Verb::Flush => {
                let everybody = Request::Unban { ids: None, jail: None };
                let notes = self.cloud_follows();
                let end = self.request(everybody, reply, Some(notes), out);
                // What is to go from the cloud goes now, not with the next ban.
                self.carry_out(clock, std::mem::take(out));
                self.lanes.review();
                return end;
            }
            Verb::Reload => return self.load(Some(reply)),
            Verb::FlushLogs => {
                logging::reopen();
                done(1, Vec::new())
            }
            Verb::Verify => return self.read_back(reply, out),
            Verb::Cloud { review: false } => json(&self.clouds()),
            Verb::Cloud { review: true } => {
                self.lanes.review();
                done(self.cloud.read().projects.len(), Vec::new())
            }
            Verb::Stop => {
                self.farewell = Some((reply, true));
                return Some(End::Free);
            }
        };
        let _ = reply.send(answer);
        None
    }

    fn list(&self, view: View, clock: Clock, reply: Sender<Reply>) -> Option<End> {
        let ways = self.setup.ways.iter();
        let clouds = ways.filter(|(_, way)| way.cloud().is_some());
        let clouds = clouds.map(|(id, _)| id.clone()).collect();
        list(Bans { view, clock, clouds }, reply)
    }

    /// A ban by hand.
    fn ban(
        &mut self,
        (ids, jail, bantime): (Vec<Id>, Option<String>, Option<Seconds>),
        reason: Option<&str>,
        reply: Sender<Reply>,
        out: &mut Vec<Effect>,
    ) -> Option<End> {
        let jail: Arc<str> = jail.unwrap_or_else(|| MANUAL.to_owned()).into();
        if *jail == *MANUAL {
            let clock = self.clock.now();
            self.carry_out(clock, std::mem::take(out));
            self.open_manual();
        }
        let (ids, notes) = self.spare(&jail, ids);
        if ids.is_empty() {
            let _ = reply.send(Reply::Refused(notes.join("; ").into()));
            return None;
        }
        say_why(&jail, &ids, reason);
        let banned = self.ban_in_parts(&ids, &jail, bantime, out);
        let _ = reply.send(banned.map_or_else(Reply::Refused, |count| done(count, notes)));
        None
    }

    /// While the layers do one part of a long list, the next one is decided and kept; the log is written when all are
    /// ordered. How many are new.
    pub(super) fn ban_in_parts(
        &mut self,
        ids: &[Id],
        jail: &Arc<str>,
        bantime: Option<Seconds>,
        out: &mut Vec<Effect>,
    ) -> Result<usize, Exception> {
        let (mut rests, mut sum) = (Vec::new(), Ok(0));
        for part in ids.chunks(AT_ONCE) {
            let clock = self.clock.now();
            let request = Request::Ban {
                ids: part.to_vec(),
                jail: Arc::clone(jail),
                bantime,
            };
            self.engine
                .handle(clock.steady, Input::Request(request, ReplyTo(0)), out);
            let is_answer = |effect: &Effect| matches!(effect, Effect::Reply(ReplyTo(0), _));
            let answer = out.iter().rposition(is_answer).map(|at| out.remove(at));
            rests.push(self.put_through(clock, out));
            if let Some(Effect::Reply(_, result)) = answer {
                sum = sum.and_then(|sum| Ok(sum + count(&result?)));
            }
            if sum.is_err() {
                // Of a jail that is not there no part can be done.
                break;
            }
        }
        rests.into_iter().for_each(|rest| self.tell(rest));
        sum
    }

    /// Asks the engine. An answer with notes is for one of our verbs, one without for a command of Fail2Ban's.
    pub(super) fn request(
        &mut self,
        request: Request,
        reply: Sender<Reply>,
        notes: Option<Vec<String>>,
        out: &mut Vec<Effect>,
    ) -> Option<End> {
        self.next_reply += 1;
        self.replies.insert(self.next_reply, (reply, notes));
        let now = self.clock.now().steady;
        self.engine
            .handle(now, Input::Request(request, ReplyTo(self.next_reply)), out);
        None
    }

    /// Bans by hand that the kernel layer would refuse are refused at once, where a person can read it.
    pub(super) fn spare(&self, jail: &str, ids: Vec<Id>) -> (Vec<Id>, Vec<String>) {
        let native = |way: &Way| matches!(way, Way::Nft(_, spares) if *spares != Spares::Nobody);
        let mut ways = self.setup.ways.iter().filter(|(id, _)| *id.jail == *jail);
        let all_native = ways.all(|(_, way)| native(way));
        if !all_native {
            return (ids, Vec::new());
        }
        let mut notes = Vec::new();
        let allowed = ids
            .into_iter()
            .filter(|id| match self.protected.judge(id, None, Reach::ByHand) {
                Verdict::Refused(reason) => {
                    notes.push(format!("{id}: {reason}"));
                    false
                }
                _ => true,
            });
        let allowed = allowed.collect();
        (allowed, notes)
    }

    /// What goes together with addresses that are freed, because nothing less frees them.
    fn lifted_with(&self, ids: &[Id], jail: Option<&str>) -> Vec<String> {
        let networks = ids.iter().flat_map(|id| {
            let networks = self.engine.networks_over(jail, id).into_iter();
            networks.map(move |(jail, net)| format!("{id} was banned with its network in jail {jail}: {net} is lifted"))
        });
        networks.take(MOST_NOTES).collect()
    }

    /// Reads the configuration on a thread of its own; the wheel goes on turning.
    pub(super) fn load(&self, reply: Option<Sender<Reply>>) -> Option<End> {
        let (places, outbox) = (self.places.clone(), self.outbox.clone());
        notify::reloading();
        let spawned = thread::Builder::new().name("reload".into()).spawn(move || {
            let setup = Box::new(setup::read(&places));
            let _ = outbox.send(Message::Loaded(setup, reply));
        });
        if let Err(error) = spawned {
            say(Level::Error, SERVER, &format!("cannot reload: {error}"));
        }
        None
    }

    pub(super) fn reload(&mut self, setup: Setup, reply: Option<Sender<Reply>>, inbox: &Receiver<Message>) {
        say(Level::Info, SERVER, "Reload all jails");
        let wall = self.clock.now().wall;
        let former = std::mem::replace(&mut self.origin, Origin::new(Kind::Files, wall).of(&setup.plan));
        Origin::forget(&self.places.live());
        let replaced = former.describe(&self.places.config, &self.zone);
        let is_other = former.kind != Kind::Files || former.has_changed();
        self.stop_reading(inbox);
        fault::reach(Step::Reload);
        logging::open(&setup.server, &self.places.fallback_log());
        self.remarks.clear();
        self.files.clear();
        self.arrange(setup, None);
        say(Level::Info, SERVER, "Reload finished.");
        let mut notes = self.complaints();
        if is_other {
            let text = format!("the configuration folder replaces what was in force: {replaced}");
            say(Level::Notice, SERVER, &text);
            notes.insert(0, text);
        }
        if let Some(reply) = reply {
            let _ = reply.send(json(&self.reloaded(notes)));
        }
        notify::ready();
    }
}

/// Answers with the bans; many of them are written beside the wheel.
fn list(bans: Bans, reply: Sender<Reply>) -> Option<End> {
    let again = reply.clone();
    let write = move |bans: &Bans| drop(reply.send(json(bans)));
    if !bans.are_many() {
        write(&bans);
        return None;
    }
    let spawned = thread::Builder::new().name("banned".into()).spawn(move || write(&bans));
    if let Err(error) = spawned {
        let _ = again.send(Reply::Refused(format!("the bans cannot be listed: {error}").into()));
    }
    None
}

/// The number that an answer is.
fn count(value: &Value) -> usize {
    match value {
        Value::Int(count) => usize::try_from(*count).unwrap_or_default(),
        _ => 0,
    }
}

pub(super) fn done(count: usize, notes: Vec<String>) -> Reply {
    json(&Done { count, notes })
}

pub(super) fn json(answer: &impl serde::Serialize) -> Reply {
    match serde_json::to_string(answer) {
        Ok(text) => Reply::Done(text.into()),
        Err(error) => Reply::Refused(error.to_string().into()),
    }
}

/// Why somebody is banned by hand stands in the log; the reason is the user's text and is escaped there.
fn say_why(jail: &str, ids: &[Id], reason: Option<&str>) {
    let Some(reason) = reason else { return };
    let shown: Vec<String> = ids.iter().take(10).map(ToString::to_string).collect();
    let more = if ids.len() > 10 {
        format!(" and {} more", ids.len() - 10)
    } else {
        String::new()
    };
    say(
        Level::Notice,
        "fail2ban.actions",
        &format!("[{jail}] by hand, {reason:?}: {}{more}", shown.join(" ")),
    );
}
