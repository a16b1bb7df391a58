//! Fail2Ban's commands on the control socket: obeyed by the core, put in force here.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use portcullis_core::address::Id;
use portcullis_core::command::{self, Deed, Live, Obeyed, World};
use portcullis_core::config::plan::{LogPath, Server};
use portcullis_core::engine::{Effect, Request};
use portcullis_core::exception::Exception;
use portcullis_core::judge;
use portcullis_core::ledger::{Change, LayerId, Order};
use portcullis_core::note;
use portcullis_core::time::{Seconds, Timestamp};
use portcullis_core::value::Value;
use portcullis_core::wire::Reply;
use rustix::fs::OFlags;

use super::origin::{Kind, Origin};
use super::requests::AT_ONCE;
use super::setup::{self, MANUAL};
use super::{Daemon, End, Message, SERVER, logging, tidings};
use crate::observe::log::{Level, note as say};
use crate::observe::words_of;

/// No command sleeps longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a command asks the system.
struct System<'d> {
    daemon: &'d Daemon,
}

impl World for System<'_> {
    fn can_read(&self, path: &str) -> Result<(), (i32, String)> {
        // It is the runner's that is read, not ours.
        if path == LogPath::INPUT {
            return Ok(());
        }
        // A pipe that nobody writes to would hold up everything.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(_) => Ok(()),
            Err(error) => Err((error.raw_os_error().unwrap_or(0), words_of(&error))),
        }
    }

    fn can_log(&self, target: &str, syslogsocket: &str) -> bool {
        logging::can_log(target, syslogsocket)
    }

    fn encoding(&self) -> String {
        crate::matching::preferred()
    }

    fn knows_encoding(&self, name: &str) -> bool {
        crate::matching::LogEncoding::named(name).is_ok()
    }

    fn local_time(&self, time: Timestamp) -> String {
        let wall = self.daemon.clock.now().to_wall(time);
        note::shown(wall, &self.daemon.zone)
    }
}

impl Daemon {
    /// One of Fail2Ban's commands. It is answered when what it changed is in force, and the actions that end or are
    /// reloaded have run.
    pub(super) fn obey_command(
        &mut self,
        words: &[Value],
        reply: Sender<Reply>,
        inbox: &Receiver<Message>,
        out: &mut Vec<Effect>,
    ) -> Option<End> {
        let before = self.plan.server.clone();
        let obeyed = self.apply(words);
        let in_force = if obeyed.amended.is_empty() {
            self.held.command.clear();
            tidings::nothing(words);
            Ok(())
        } else {
            let clock = self.clock.now();
            self.carry_out(clock, std::mem::take(out));
            self.held.command.clear();
            self.put_in_force(&before, words, &obeyed, inbox)
        };
        let answer = match in_force.and(obeyed.outcome) {
            Ok(Deed::Answer(value)) => Reply::Done(value),
            Ok(Deed::Stop) => {
                self.farewell = Some((reply, false));
                return Some(End::Free);
            }
            Ok(Deed::Ask(Request::Ban { ids, jail, bantime })) if ids.len() > AT_ONCE => {
                let answer = match self.ban_in_parts(&ids, &jail, bantime, out) {
                    Ok(count) => Reply::Done(i64::try_from(count).unwrap_or(i64::MAX).into()),
                    Err(exception) => Reply::Refused(exception),
                };
                self.held.hold_open(&jail, (reply, answer));
                return None;
            }
            Ok(Deed::Ask(request)) => return self.request(request, reply, None, out),
            Ok(Deed::FlushLogs) => {
                logging::reopen();
                Reply::Done(command::flushed(&self.plan))
            }
            Ok(Deed::Sleep(seconds)) => return sleep(seconds, reply),
            Ok(Deed::Call {
                jail,
                action,
                method,
                arguments,
            }) => return self.call(LayerId { jail, action }, &method, &arguments, reply),
            Err(exception) => Reply::Refused(exception),
        };
        let orders = std::mem::take(&mut self.held.command);
        self.held.hold(orders, (reply, answer));
        self.answer_held(false);
        None
    }

    /// Has the core obey. The pseudo-jail of bans by hand shows where it holds a ban.
    fn apply(&mut self, words: &[Value]) -> Obeyed {
        let mut plan = std::mem::take(&mut self.plan);
        let shows = self.engine.has_bans(MANUAL);
        let has_own = plan.jails.iter().any(|jail| &*jail.name == MANUAL);
        if shows && !has_own {
            plan.jails.push(setup::manual_plan());
        }
        let mut live = Live {
            plan: &mut plan,
            engine: &self.engine,
            world: &System { daemon: self },
        };
        let mut obeyed = command::obey(&mut live, words);
        if shows && !has_own {
            plan.jails.retain(|jail| &*jail.name != MANUAL);
            leave_manual(words, &mut obeyed);
        }
        self.plan = plan;
        obeyed
    }

    fn put_in_force(
        &mut self,
        before: &Server,
        words: &[Value],
        obeyed: &Obeyed,
        inbox: &Receiver<Message>,
    ) -> Result<(), Exception> {
        let (amended, is_done) = (&obeyed.amended, obeyed.outcome.is_ok());
        for error in &amended.errors {
            say(Level::Error, "fail2ban.transmitter", error);
        }
        let former = tidings::Former::of(words, &self.setup.jails, &self.plan);
        former.tell(words, amended.taken, is_done);
        if !amended.is_change() {
            return Ok(());
        }
        let result = self.amend(before, amended, inbox);
        former.tell_end(words, is_done);
        let is_whole = words.first().and_then(Value::as_str) == Some("server-stream")
            || words.get(1).and_then(Value::as_str) == Some("--all");
        if amended.is_stream && is_whole {
            self.origin = Origin::new(Kind::Stream, self.clock.now().wall);
        } else {
            self.origin.changed();
        }
        self.keep_live();
        result
    }

    /// Has one method of an action run, in the lane of that action; the wheel goes on. What is decided stays as it is.
    fn call(&self, layer: LayerId, method: &str, arguments: &Value, reply: Sender<Reply>) -> Option<End> {
        let now = self.clock.now().steady;
        let bantime = self
            .setup
            .jails
            .get(&layer.jail)
            .map_or(Seconds::ZERO, |jail| jail.bantime);
        let ticket = || whom(arguments).map(|id| judge::by_hand(id, now, bantime));
        let order = match method {
            "ban" => ticket().map(Order::Ban),
            "reban" | "prolong" => ticket().map(Order::Prolong),
            "unban" => ticket().map(Order::Unban),
            "start" => Ok(Order::Start),
            "stop" => Ok(Order::Stop),
            "flush" => Ok(Order::Flush),
            "reload" => Ok(Order::Reload),
            other => Err(format!("method {other} of an action is not supported")),
        };
        let refused = |text: String| Reply::Refused(Exception::builtin("RuntimeError", text));
        match order {
            Ok(order) => {
                let answer = move |result: Result<(), String>| {
                    let _ = reply.send(result.map_or_else(refused, |()| Reply::Done(Value::None)));
                };
                self.lanes.call(now, Change { layer, order }, Box::new(answer));
            }
            Err(text) => {
                let _ = reply.send(refused(text));
            }
        }
        None
    }

    /// Keeps what is in force for a daemon that follows this one after a death.
    fn keep_live(&mut self) {
        if let Err(error) = self.origin.keep(&self.places.live(), &self.plan) {
            let text = format!("what commands changed would not outlive the daemon: {error}");
            say(Level::Error, SERVER, &text);
        }
    }

    /// Messages of this turn that were not taken yet wait, ahead of those that came since.
    pub(super) fn defer(&mut self, messages: &mut VecDeque<Message>) {
        messages.append(&mut self.later);
        self.later = std::mem::take(messages);
    }
}

/// The pseudo-jail stays as it is, whatever becomes of the others: a command about it alone is refused.
fn leave_manual(words: &[Value], obeyed: &mut Obeyed) {
    const REFUSED: &str = "the jail 'manual' is portcullis's own and cannot be changed";
    let amended = &mut obeyed.amended;
    let is_told = amended.reloaded.remove(MANUAL) | amended.restarted.remove(MANUAL);
    if !amended.jails.remove(MANUAL) {
        return;
    }
    let is_about_all = amended.is_stream || words.get(1).and_then(Value::as_str) == Some("--all");
    if !is_about_all {
        obeyed.outcome = Err(Exception::from(REFUSED));
    } else if is_told {
        amended.errors.push(REFUSED.to_owned());
    }
}

/// Whom a method of an action is to concern: the `ip` of its `aInfo`.
fn whom(arguments: &Value) -> Result<Id, String> {
    let find = |value: &Value, name: &str| {
        let Value::Dict(pairs) = value else { return None };
        let found = pairs.iter().find(|(key, _)| key.as_str() == Some(name));
        found.map(|(_, value)| value.clone())
    };
    let info = find(arguments, "aInfo");
    let ip = find(info.as_ref().unwrap_or(arguments), "ip").ok_or("'ip'")?;
    Id::parse(ip.as_str().ok_or("ip is no text")?).map_err(|error| error.to_string())
}

/// Answers later; nothing waits for it.
fn sleep(seconds: f64, reply: Sender<Reply>) -> Option<End> {
    let length = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .min(LONGEST_SLEEP);
    let late = reply.clone();
    let spawned = thread::Builder::new().name("sleep".into()).spawn(move || {
        thread::sleep(length);
        let _ = late.send(Reply::Done(Value::None));
    });
    if let Err(error) = spawned {
        let _ = reply.send(Reply::Refused(error.to_string().into()));
    }
    None
}
