//! Fail2Ban's own commands: what each does to the plan, what is asked of the engine, and what is answered (contract
//! §8.5).
//!
//! A command is applied to the live [`Plan`]. What changed by it comes out as [`Amended`], so that the shell around
//! the engine can put it in force, whatever the outcome: a stream that fails half-way has changed what it came to.
//! Answers and exceptions are Fail2Ban's, in value, kind and text.

mod action;
mod get;
mod hand;
mod kind;
mod mail;
mod reload;
mod server;
mod set;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use kind::Words;
use reload::Reload;

use crate::config::plan::{JailPlan, Plan};
use crate::config::{FAIL2BAN_VERSION, extract};
use crate::engine::{Engine, Request};
use crate::exception::{Class, Exception};
use crate::value::Value;

/// What a command sees and may change.
pub struct Live<'l> {
    /// The configuration in force
    pub plan: &'l mut Plan,
    /// What is counted and banned
    pub engine: &'l Engine,
    /// What only the system knows
    pub world: &'l dyn World,
}

/// Questions about the system that a command cannot do without.
pub trait World {
    /// Whether a log can be read: the number and the text of the system's error if it cannot.
    ///
    /// # Errors
    /// The error, such as `(2, "No such file or directory")`.
    fn can_read(&self, path: &str) -> Result<(), (i32, String)>;

    /// Whether logs can be read in an encoding of that name.
    fn knows_encoding(&self, name: &str) -> bool;

    /// A time on the steady clock as local time, in the form `2026-11-22 15:25:08`.
    fn local_time(&self, time: crate::time::Timestamp) -> String;

    /// The encoding that `auto` stands for.
    fn encoding(&self) -> String {
        "UTF-8".to_owned()
    }

    /// Whether the log can go to this target, given with its options, or to this socket if that is `SYSLOG`.
    fn can_log(&self, _target: &str, _syslogsocket: &str) -> bool {
        true
    }

    /// The kind of source that a backend comes to: `pyinotify`, `polling` or `systemd`.
    fn backend(&self, backend: &str) -> &'static str {
        match backend_kind(backend).as_str() {
            "polling" => "polling",
            "systemd" => "systemd",
            _ => "pyinotify",
        }
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Obeyed {
    /// What is other than before in the plan, and not in force yet
    pub amended: Amended,
    /// What is left to do, or why the command was refused
    pub outcome: Result<Deed, Exception>,
}

/// Parts of the plan that a command changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amended {
    /// Server options that were set, by name
    pub server: BTreeSet<String>,
    /// Jails that are new, changed or gone, by name
    pub jails: BTreeSet<Arc<str>>,
    /// Of these, the ones to be stopped and started again
    pub restarted: BTreeSet<Arc<str>>,
    /// Of these, the ones whose actions are told that they are reloaded
    pub reloaded: BTreeSet<Arc<str>>,
    /// Whether everybody in these jails is freed before (`reload --unban`)
    pub freed: BTreeSet<Arc<str>>,
    /// Whether this was a whole configuration (`reload`, `server-stream`)
    pub is_stream: bool,
    /// How many commands of it were obeyed, with the one that failed
    pub taken: usize,
    /// What the log is to say of it, as errors
    pub errors: Vec<String>,
}

/// What is left to do when the plan is in force.
#[derive(Debug, PartialEq)]
pub enum Deed {
    /// Nothing: this is the answer.
    Answer(Value),
    /// Ask the engine; its answer is the answer.
    Ask(Request),
    /// Have a method of an action run and answer what comes of it.
    Call {
        /// The jail
        jail: Arc<str>,
        /// The action
        action: Arc<str>,
        /// `ban`, `unban`, `start`, …
        method: String,
        /// A dict of its arguments
        arguments: Value,
    },
    /// Close and open the log; [`flushed`] is the answer.
    FlushLogs,
    /// Free everybody and end.
    Stop,
    /// Answer nothing for so many seconds, then `None`.
    Sleep(f64),
}

impl Amended {
    /// Whether everything is in force already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Amended::default()
    }

    /// Whether the configuration is another one, and not only something to be said in the log.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.is_stream || !self.server.is_empty() || !self.jails.is_empty()
    }
}

/// The answer to `flushlogs`, when that is done: whether a file was opened anew.
#[must_use]
pub fn flushed(plan: &Plan) -> Value {
    let target = server::target(plan);
    let is_stream = matches!(target.as_str(), "STDERR" | "STDOUT" | "SYSLOG" | "SYSTEMD-JOURNAL");
    if is_stream { "flushed" } else { "rolled over" }.into()
}

/// Obeys one command as far as that can be done without the system.
#[must_use]
pub fn obey(live: &mut Live<'_>, words: &[Value]) -> Obeyed {
    let mut session = Session {
        plan: &mut *live.plan,
        engine: live.engine,
        world: live.world,
        amended: Amended::default(),
        is_quiet: false,
        reload: None,
    };
    let outcome = session.dispatch(words);
    Obeyed {
        amended: session.amended,
        outcome,
    }
}

/// One command, with all that stand in its stream.
struct Session<'s> {
    plan: &'s mut Plan,
    engine: &'s Engine,
    world: &'s dyn World,
    amended: Amended,
    /// Whether nobody reads the answers, as in a stream
    is_quiet: bool,
    reload: Option<Reload>,
}

impl Session<'_> {
    fn dispatch(&mut self, words: &[Value]) -> Result<Deed, Exception> {
        let verb = words.first().ok_or_else(Exception::index)?;
        let rest = Words(words.get(1..).unwrap_or_default());
        let answer = match verb.as_str().unwrap_or_default() {
            "ping" => "pong".into(),
            "version" => FAIL2BAN_VERSION.into(),
            "echo" => Value::List(rest.0.to_vec()),
            "server-status" => "Server ready".into(),
            "flushlogs" => return Ok(Deed::FlushLogs),
            "config-error" => {
                self.amended.errors.push(rest.at(0)?.to_string());
                Value::None
            }
            "sleep" => return sleep(rest.at(0)?),
            "add" => self.add(rest)?,
            "start" => self.start(rest.at(0)?)?,
            "stop" => return self.stop(rest),
            "status" => status::status(self, rest)?,
            "stats" | "statistic" | "statistics" => status::statistics(self),
            "get" => get::get(self, rest)?,
            "set" => return set::set(self, rest, false),
            "multi-set" => return set::set(self, rest, true),
            "banned" => hand::banned_in_all(self, rest.0)?,
            "unban" if !rest.0.is_empty() => return hand::unban(rest.0),
            "server-stream" => self.stream(rest)?,
            "reload" => self.reload(rest)?,
            _ => return Err("Invalid command".into()),
        };
        Ok(Deed::Answer(answer))
    }

    /// A whole configuration for a server that has none; the first error ends it.
    fn stream(&mut self, words: Words<'_>) -> Result<Value, Exception> {
        self.amended.is_stream = true;
        self.is_quiet = true;
        let result = words
            .at(0)
            .and_then(kind::items)
            .and_then(|commands| self.run(&commands));
        self.is_quiet = false;
        result.map(|()| Value::None)
    }

    /// The commands of a stream. What would have to be done outside before the next one is no matter of a stream.
    fn run(&mut self, commands: &[Value]) -> Result<(), Exception> {
        for command in commands {
            self.amended.taken += 1;
            let words = match command {
                Value::List(words) | Value::Tuple(words) => words.as_slice(),
                Value::Str(_) => return Err("Invalid command".into()),
                other => return Err(kind::no_items(other)),
            };
            match self.dispatch(words)? {
                Deed::Answer(_) => {}
                _ => {
                    let shown = Value::List(words.iter().take(3).cloned().collect()).repr();
                    return Err(format!("{shown} within a stream is not supported").into());
                }
            }
        }
        Ok(())
    }

    /// `add JAIL [BACKEND]`
    fn add(&mut self, words: Words<'_>) -> Result<Value, Exception> {
        let name = words.at(0)?;
        if name.as_str() == Some("--all") {
            return Err(format!("Reserved name {}", name.repr()).into());
        }
        let auto = Value::from("auto");
        let backend = words.0.get(1).unwrap_or(&auto);
        let known = self.find(kind::hashable(name)?);
        if let Some(at) = known
            && let Some(fresh) = self.renew(at, backend)?
        {
            return Ok(fresh);
        }
        if known.is_some() {
            return Err(Exception::new(Class::DuplicateJail, name.clone()));
        }
        let jail = JailPlan::new(kind::sized(name)?, check_backend(backend)?);
        let is_back = self.amended.jails.contains(&jail.name) || self.was_there(&jail.name);
        if is_back {
            self.amended.restarted.insert(Arc::clone(&jail.name));
        }
        self.amended.jails.insert(Arc::clone(&jail.name));
        self.plan.jails.push(jail);
        Ok(name.clone())
    }

    /// `start JAIL`
    fn start(&mut self, name: &Value) -> Result<Value, Exception> {
        let at = self.jail(name)?;
        let jail = self.change(at);
        (jail.started, jail.idle) = (true, false);
        let name = Arc::clone(&jail.name);
        self.commit(&name);
        Ok(Value::None)
    }

    /// `stop`, `stop --all`, `stop JAIL`
    fn stop(&mut self, words: Words<'_>) -> Result<Deed, Exception> {
        let Some(name) = words.0.first() else {
            return Ok(Deed::Stop);
        };
        if name.as_str() == Some("--all") {
            let names = self.plan.jails.drain(..).map(|jail| jail.name);
            self.amended.jails.extend(names);
        } else {
            let at = self.jail(name)?;
            let jail = self.plan.jails.remove(at);
            self.amended.jails.insert(jail.name);
        }
        Ok(Deed::Answer(Value::None))
    }

    fn find(&self, name: &Value) -> Option<usize> {
        let name = name.as_str()?;
        self.plan.jails.iter().position(|jail| &*jail.name == name)
    }

    /// The place of a jail in the plan.
    fn jail(&self, name: &Value) -> Result<usize, Exception> {
        let name = kind::hashable(name)?;
        self.find(name).ok_or_else(|| Exception::no_jail(name.clone()))
    }

    /// A jail that is about to be changed.
    fn change(&mut self, at: usize) -> &mut JailPlan {
        // The place comes from `jail`, and nothing was taken out since.
        let jail = &mut self.plan.jails[at];
        self.amended.jails.insert(Arc::clone(&jail.name));
        jail
    }

    /// Has the plan take a command that was found good.
    fn apply(&mut self, at: usize, command: &[Value]) -> Result<(), Exception> {
        let name = Arc::clone(&self.plan.jails[at].name);
        let mut words = vec![Value::from("set"), Value::from(&*name)];
        words.extend_from_slice(command);
        self.plan.apply(&words)?;
        self.amended.jails.insert(name);
        Ok(())
    }
}

/// A backend that Fail2Ban has, with options that it takes.
fn check_backend(backend: &Value) -> Result<&str, Exception> {
    const KNOWN: [&str; 3] = ["pyinotify", "polling", "systemd"];
    let text = kind::text(backend)?;
    let named = extract(text).map_err(Exception::value)?;
    let kind = named.name.to_lowercase();
    // D-218
    if kind != "auto" && kind != "command" && !KNOWN.contains(&kind.as_str()) {
        return Err(Exception::value(format!(
            "Unknown backend {kind}. Must be among ['pyinotify', 'polling', 'systemd'] or 'auto'"
        )));
    }
    match named.options.first() {
        Some((option, _)) if kind != "systemd" => Err(Exception::builtin(
            "TypeError",
            format!("FilterPoll.__init__() got an unexpected keyword argument '{option}'"),
        )),
        _ => Ok(text),
    }
}

/// A backend without its options.
fn backend_kind(backend: &str) -> String {
    backend.split('[').next().unwrap_or(backend).trim().to_lowercase()
}

fn reads_journal(jail: &JailPlan) -> bool {
    backend_kind(&jail.backend) == "systemd"
}

fn sleep(length: &Value) -> Result<Deed, Exception> {
    let seconds = kind::float(length)?;
    if seconds.is_nan() {
        return Err(Exception::value("Invalid value NaN (not a number)"));
    }
    if seconds < 0.0 {
        return Err(Exception::value("sleep length must be non-negative"));
    }
    Ok(Deed::Sleep(seconds))
}

#[cfg(test)]
mod tests;
