//! Fail2Ban's own commands: what each does to the plan, what is asked of the engine, and what is answered (contract
//! §8.5).
//!
//! A command is applied to the live [`Plan`]. What changed by it comes out as [`Amended`], so that the shell around
//! the engine can put it in force, whatever the outcome: a stream that fails half-way has changed what it came to.

mod get;
mod set;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::plan::{JailPlan, Plan};
use crate::config::{Command, FAIL2BAN_VERSION};
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
    /// Close and open the log.
    FlushLogs,
    /// Free everybody and end.
    Stop,
    /// Answer nothing for so many seconds.
    Sleep(f64),
}

impl Amended {
    /// Whether everything is in force already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Amended::default()
    }
}

/// Obeys one command as far as that can be done without the system.
#[must_use]
pub fn obey(live: &mut Live<'_>, words: &[Value]) -> Obeyed {
    let mut amended = Amended::default();
    let outcome = dispatch(live, words, &mut amended);
    Obeyed { amended, outcome }
}

fn dispatch(live: &mut Live<'_>, words: &[Value], amended: &mut Amended) -> Result<Deed, Exception> {
    let name = words.first().ok_or_else(Exception::index)?;
    let answer = match name.as_str().unwrap_or_default() {
        "ping" => "pong".into(),
        "version" => FAIL2BAN_VERSION.into(),
        "echo" => Value::List(words.get(1..).unwrap_or_default().to_vec()),
        "server-status" => "Server ready".into(),
        "flushlogs" => return Ok(Deed::FlushLogs),
        "stop" if words.len() == 1 => return Ok(Deed::Stop),
        "status" => status::status(live, words)?,
        "get" => get::get(live, words)?,
        "set" | "multi-set" => return set::set(live, words, amended),
        "server-stream" => stream(live, words.get(1), amended)?,
        _ => return Err("Invalid command".into()),
    };
    Ok(Deed::Answer(answer))
}

/// A whole configuration; the first error ends it.
fn stream(live: &mut Live<'_>, commands: Option<&Value>, amended: &mut Amended) -> Result<Value, Exception> {
    amended.is_stream = true;
    let commands = commands.and_then(Value::as_items).ok_or_else(Exception::index)?;
    for command in commands {
        let words: Command = command.as_items().ok_or_else(Exception::index)?.to_vec();
        dispatch(live, &words, amended)?;
    }
    Ok(Value::None)
}

fn jail<'p>(plan: &'p Plan, name: &str) -> Result<&'p JailPlan, Exception> {
    let jail = plan.jails.iter().find(|jail| &*jail.name == name);
    jail.ok_or_else(|| Exception::new(Class::UnknownJail, name))
}

/// The word at a place, as text.
fn word(words: &[Value], at: usize) -> Result<&str, Exception> {
    let word = words.get(at).ok_or_else(Exception::index)?;
    word.as_str()
        .ok_or_else(|| Exception::value(format!("{} is no text", word.repr())))
}
