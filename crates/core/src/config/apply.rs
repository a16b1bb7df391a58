//! Commands applied to a [`Plan`], one after the other (contract §2.1, §2.2, §8.5).
//!
//! Known is every command that a configuration can come to, and those by which a client changes the same things.
//! What acts on a running jail (`banip`, `status`, …) is no matter of the plan and is an unknown command here.

use std::collections::BTreeSet;

use super::given;
use super::options::{extract, parse_int, split_shell};
use super::plan::{ActionPlan, CachePlan, JailPlan, LogPath, Plan, Server, UseDns};
use super::refusal::{CommandError, Refusal};
use super::words::{Words, bad};
use super::{Command, Face};
use crate::address::Id;
use crate::diagnostic::{Diagnostic, Severity};
use crate::expression::{Expression, Scope};
use crate::prefix::Prefix;
use crate::time::{Seconds, length, parse_length};
use crate::value::{Value, repr_str};

/// Where Fail2Ban can read from (contract §6.1).
const BACKENDS: [&str; 4] = ["auto", "polling", "pyinotify", "systemd"];
/// Where we can, too (D-218).
const OWN_BACKEND: &str = "command";

impl Plan {
    /// Applies one command.
    ///
    /// # Errors
    /// [`CommandError`]; the plan is unchanged then.
    pub fn apply(&mut self, command: &[Value]) -> Result<(), CommandError> {
        let words = Words(command);
        match words.text(0)? {
            "add" => self.add(words.text(1)?, command.get(2).and_then(Value::as_str).unwrap_or("auto")),
            "start" => {
                let jail = self.jail(words.text(1)?)?;
                (jail.started, jail.idle) = (true, false);
                Ok(())
            }
            "config-error" => Ok(()),
            "set" if self.is_server_option(words) => self.set_server(words),
            "set" => self.jail(words.text(1)?)?.set(words),
            "multi-set" => self.jail(words.text(1)?)?.set_many(words),
            _ => Err(words.unknown()),
        }
    }

    /// Applies a stream. As Fail2Ban, the first error ends it; in our face only the command at fault is left out,
    /// and what belongs to a jail or an action that could not be made.
    #[must_use]
    pub fn from_stream(stream: &[Command], face: Face) -> (Plan, Vec<Diagnostic>) {
        let (plan, refusals) = Plan::from_stream_by_option(stream, face);
        (plan, refusals.into_iter().map(|refusal| refusal.diagnostic).collect())
    }

    /// As [`Plan::from_stream`], with the jail and the option that each complaint concerns, so that the caller can say
    /// where they are written.
    #[must_use]
    pub fn from_stream_by_option(stream: &[Command], face: Face) -> (Plan, Vec<Refusal>) {
        let mut plan = Plan::default();
        let mut refusals = Vec::new();
        let mut lost = BTreeSet::new();
        for command in stream {
            let result = plan.apply(command);
            let jail = command.get(1).and_then(Value::as_str);
            if command.first().and_then(Value::as_str) == Some("config-error") {
                let text = jail.unwrap_or_default();
                refusals.push(Diagnostic::new(Severity::Error, "config-error", text).into());
                continue;
            }
            refusals.extend(doubt(command).map(Refusal::from));
            let Err(error) = result else { continue };
            if face == Face::Portcullis && !lost.insert(subject(&error)) {
                continue;
            }
            let mut diagnostic = Diagnostic::new(Severity::Error, "bad-command", error.to_string());
            diagnostic.jail = jail
                .filter(|_| !plan.is_server_option(Words(command)))
                .map(str::to_owned);
            refusals.push(Refusal {
                option: error.option().map(str::to_owned),
                diagnostic,
            });
            if face == Face::Fail2Ban {
                break;
            }
        }
        (plan, refusals)
    }

    fn add(&mut self, name: &str, backend: &str) -> Result<(), CommandError> {
        if name == "--all" {
            return Err(CommandError::Unknown(format!("add {name}")));
        }
        if self.jails.iter().any(|jail| &*jail.name == name) {
            return Err(CommandError::JailTwice(name.to_owned()));
        }
        let kind = backend.split('[').next().unwrap_or(backend).to_lowercase();
        if !BACKENDS.contains(&kind.as_str()) && kind != OWN_BACKEND {
            return Err(CommandError::Value {
                option: "backend".into(),
                value: repr_str(backend),
                reason: format!("it must be one of {}", BACKENDS.join(", ")),
            });
        }
        self.jails.push(JailPlan::new(name, backend));
        Ok(())
    }

    fn jail(&mut self, name: &str) -> Result<&mut JailPlan, CommandError> {
        let jail = self.jails.iter_mut().find(|jail| &*jail.name == name);
        jail.ok_or_else(|| CommandError::NoJail(name.to_owned()))
    }

    fn is_server_option(&self, words: Words<'_>) -> bool {
        words.text(1).is_ok_and(|name| Server::OPTIONS.contains(&name))
    }

    fn set_server(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        let server = &mut self.server;
        let option = words.text(1)?;
        match option {
            "loglevel" => server.loglevel = words.shown(2)?.to_uppercase(),
            "logtarget" => {
                let target = words.text(2)?;
                extract(target).map_err(|reason| bad(option, &Value::from(target), reason))?;
                server.logtarget = target.to_owned();
            }
            "syslogsocket" => server.syslogsocket = words.text(2)?.to_owned(),
            "allowipv6" => server.allowipv6 = words.shown(2)?,
            "dbfile" => {
                let file = words.text(2)?;
                server.dbfile = (!file.eq_ignore_ascii_case("none")).then(|| file.to_owned());
            }
            "dbmaxmatches" => server.dbmaxmatches = words.count(option, 2)?,
            "dbpurgeage" => server.dbpurgeage = words.length(option, 2)?,
            _ => {}
        }
        given::remember_server(&mut server.given, option, words);
        Ok(())
    }
}

/// What later commands would fail for as well: a jail or an action that was not made. Other errors stand alone.
fn subject(error: &CommandError) -> String {
    match error {
        CommandError::NoJail(jail) | CommandError::JailTwice(jail) => format!("jail {jail}"),
        CommandError::NoAction { jail, action } => format!("action {jail}\n{action}"),
        other => other.to_string(),
    }
}

/// A value that is taken, but hardly as it was meant.
fn doubt(command: &[Value]) -> Option<Diagnostic> {
    let [_, jail, option, value] = command else { return None };
    let is_odd = option.as_str() == Some("usedns") && usedns(value).is_none();
    is_odd.then(|| {
        let message = format!("usedns cannot be {}; no is taken", value.repr());
        Diagnostic::new(Severity::Warning, "bad-usedns", message)
            .mend("write one of yes, warn, no, raw")
            .jail(jail.to_string())
    })
}

fn usedns(value: &Value) -> Option<UseDns> {
    match value {
        Value::Bool(true) => Some(UseDns::Yes),
        Value::Bool(false) => Some(UseDns::No),
        value => match value.as_str()?.to_lowercase().as_str() {
            "yes" => Some(UseDns::Yes),
            "warn" => Some(UseDns::Warn),
            "no" => Some(UseDns::No),
            "raw" => Some(UseDns::Raw),
            _ => None,
        },
    }
}

impl JailPlan {
    /// `set JAIL OPTION …`
    fn set(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        let option = words.text(2)?;
        match option {
            "idle" => self.idle = words.text(3)? == "on",
            "addfailregex" => self.failregex.push(words.text(3)?.to_owned()),
            "addignoreregex" => self.ignoreregex.push(words.text(3)?.to_owned()),
            "delfailregex" => remove_at(&mut self.failregex, words)?,
            "delignoreregex" => remove_at(&mut self.ignoreregex, words)?,
            "prefregex" => self.prefregex = words.maybe(3)?,
            "usedns" => self.usedns = usedns(words.value(3)?).unwrap_or(UseDns::No),
            "maxlines" => self.maxlines = words.at_least_one(option, 3)?,
            "datepattern" => self.datepattern = words.maybe(3)?,
            "logtimezone" => self.logtimezone = words.maybe(3)?,
            "logencoding" => words.text(3)?.clone_into(&mut self.logencoding),
            "maxretry" => self.maxretry = words.count(option, 3)?,
            "maxmatches" => self.maxmatches = words.count(option, 3)?,
            "findtime" => self.findtime = words.length(option, 3)?,
            // Fail2Ban keeps it as a whole number.
            "bantime" => self.bantime = Seconds::new(words.length(option, 3)?.micros() / 1_000_000),
            "ignoreself" => self.ignoreself = words.truth(3)?,
            "ignorecommand" => self.ignorecommand = words.maybe(3)?.unwrap_or_default(),
            "ignorecache" => self.ignorecache = ignorecache(words)?,
            "addignoreip" => self.add_ignoreip(words)?,
            "delignoreip" => remove_text(&mut self.ignoreip, words)?,
            "addlogpath" => self.add_logpath(words)?,
            "dellogpath" => self.remove_logpath(words.text(3)?),
            "addlogcommand" => self.add_program(words.text(3)?)?,
            "dellogcommand" => self.remove_logpath(&LogPath::of_program(words.text(3)?).path),
            "addjournalmatch" => self.journalmatch.push(words.texts(3)?),
            "deljournalmatch" => self.remove_journalmatch(words)?,
            "addaction" => self.add_action(words)?,
            "delaction" => self.remove_action(words.text(3)?)?,
            "action" => self.action(words.text(3)?)?.set(words.text(4)?, words.value(5)?)?,
            _ => match (option.strip_prefix("bantime."), option.strip_prefix("prefix.")) {
                (Some(part), _) => self.set_increment(part, words.value(3)?)?,
                (None, Some(part)) if Prefix::PARTS.contains(&part) => self.set_prefix(part, words.value(3)?)?,
                _ => return Err(words.unknown()),
            },
        }
        given::remember(&mut self.given, option, words);
        Ok(())
    }

    /// `multi-set JAIL OPTION LIST`, or `multi-set JAIL action NAME PAIRS`
    fn set_many(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        match words.text(2)? {
            "addfailregex" => self.failregex.extend(words.list(3)?),
            "addignoreregex" => self.ignoreregex.extend(words.list(3)?),
            "action" => {
                let pairs = words.value(4)?.as_items().ok_or_else(|| words.malformed())?;
                let action = self.action(words.text(3)?)?;
                let mut changed = action.clone();
                for pair in pairs {
                    let Some([key, value]) = pair.as_items() else {
                        return Err(words.malformed());
                    };
                    changed.set(key.as_str().ok_or_else(|| words.malformed())?, value)?;
                }
                *action = changed;
            }
            _ => return Err(words.unknown()),
        }
        Ok(())
    }

    fn add_ignoreip(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        for entry in words.texts(3)? {
            let is_known = |known: &String| is_same(known, &entry) && !entry.starts_with("file:");
            if !entry.is_empty() && !self.ignoreip.iter().any(is_known) {
                self.ignoreip.push(entry);
            }
        }
        Ok(())
    }

    fn add_logpath(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        let path = words.text(3)?.to_owned();
        let tail = match words.0.get(4) {
            None => false,
            Some(word) => match word.as_str().unwrap_or_default().to_lowercase().as_str() {
                "head" => false,
                "tail" => true,
                _ => return Err(bad("addlogpath", word, "it begins at head or at tail")),
            },
        };
        if words.0.len() > 5 {
            return Err(words.malformed());
        }
        if LogPath::program(&path).is_some() {
            return Err(bad("addlogpath", words.value(3)?, "a program stands in logcommand"));
        }
        if !self.logpath.iter().any(|log| log.path == path) {
            self.logpath.push(LogPath { path, tail });
        }
        Ok(())
    }

    fn add_program(&mut self, script: &str) -> Result<(), CommandError> {
        if script.trim().is_empty() || script.contains('\0') {
            return Err(bad("addlogcommand", &script.into(), "it is no program"));
        }
        let log = LogPath::of_program(script);
        if !self.logpath.contains(&log) {
            self.logpath.push(log);
        }
        Ok(())
    }

    fn remove_logpath(&mut self, path: &str) {
        self.logpath.retain(|log| log.path != path);
    }

    fn remove_journalmatch(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        let group = words.texts(3)?;
        let Some(at) = self.journalmatch.iter().position(|known| *known == group) else {
            return Err(bad("deljournalmatch", words.value(3)?, "there is none like it"));
        };
        self.journalmatch.remove(at);
        Ok(())
    }

    fn add_action(&mut self, words: Words<'_>) -> Result<(), CommandError> {
        let name = words.text(3)?;
        let jail = self.name.to_string();
        if self.actions.iter().any(|action| &*action.name == name) {
            return Err(CommandError::ActionTwice {
                jail,
                action: name.to_owned(),
            });
        }
        // Whether anything stands in for the Python file is known to those who can read it.
        let python = [ActionPlan::FILE, ActionPlan::OPTIONS]
            .into_iter()
            .zip(words.0.iter().skip(4));
        self.actions.push(ActionPlan {
            name: name.into(),
            properties: python.map(|(key, value)| (key.to_owned(), value.clone())).collect(),
        });
        Ok(())
    }

    fn action(&mut self, name: &str) -> Result<&mut ActionPlan, CommandError> {
        let error = CommandError::NoAction {
            jail: self.name.to_string(),
            action: name.to_owned(),
        };
        let action = self.actions.iter_mut().find(|action| &*action.name == name);
        action.ok_or(error)
    }

    fn remove_action(&mut self, name: &str) -> Result<(), CommandError> {
        self.action(name)?;
        self.actions.retain(|action| &*action.name != name);
        Ok(())
    }

    fn set_prefix(&mut self, part: &str, value: &Value) -> Result<(), CommandError> {
        let text = match value {
            Value::None => String::new(),
            value => value.to_string(),
        };
        let refused = |reason| bad(&format!("prefix.{part}"), value, reason);
        self.prefix.set(part, &text).map_err(refused)
    }

    fn set_increment(&mut self, part: &str, value: &Value) -> Result<(), CommandError> {
        const PARTS: [&str; 7] = [
            "increment",
            "factor",
            "formula",
            "multipliers",
            "maxtime",
            "rndtime",
            "overalljails",
        ];
        if !PARTS.contains(&part) {
            return Err(CommandError::Unknown(format!("bantime.{part}")));
        }
        let text = match value {
            Value::None => String::new(),
            value => value.to_string(),
        };
        let option = format!("bantime.{part}");
        match part {
            "maxtime" | "rndtime" if !text.is_empty() => {
                length(&text).map_err(|error| bad(&option, value, error))?;
            }
            "formula" if !text.is_empty() => {
                let parsed = Expression::parse(&text, Scope::Formula);
                parsed.map_err(|error| bad(&option, value, error.to_string()))?;
            }
            "factor" if !text.is_empty() => {
                let parsed = Expression::parse(&text, Scope::Factor).map_err(|error| error.to_string());
                let number = parsed.and_then(|factor| factor.alone().map_err(|error| error.to_string()));
                number.map_err(|error| bad(&option, value, error))?;
            }
            "multipliers" if !text.is_empty() && text.split(' ').any(|number| parse_int(number).is_none()) => {
                return Err(bad(
                    &option,
                    value,
                    "it takes whole numbers with single blanks between them",
                ));
            }
            _ => {}
        }
        self.increment.retain(|(name, _)| name != part);
        if !text.is_empty() {
            self.increment.push((part.to_owned(), text));
        }
        Ok(())
    }
}

impl ActionPlan {
    /// Sets a property; `bantime` is none of a shell action, because it is another at every ban. One that is written in
    /// Python takes anything.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), CommandError> {
        let is_shell = self.properties.iter().all(|(key, _)| key != ActionPlan::FILE);
        if name == "bantime" && is_shell {
            return Ok(());
        }
        if name == "timeout" && is_shell {
            parse_length(&value.to_string()).map_err(|error| bad(name, value, error.to_string()))?;
        }
        match self.properties.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value.clone(),
            None => self.properties.push((name.to_owned(), value.clone())),
        }
        Ok(())
    }
}

fn ignorecache(words: Words<'_>) -> Result<Option<String>, CommandError> {
    let Some(text) = words.maybe(3)? else { return Ok(None) };
    let value = Value::from(text.as_str());
    let read = CachePlan::read(&text).map_err(|reason| bad("ignorecache", &value, reason))?;
    Ok(read.map(|_| text))
}

impl CachePlan {
    /// Reads the value of `ignorecache`; nothing where it has no options.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Option<CachePlan>, String> {
        let named = extract(&format!("cache[{text}]"))?;
        let find = |name: &str| {
            let found = named.options.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        if named.options.is_empty() {
            return Ok(None);
        }
        let key = find("key").ok_or("it needs key=\"…\"")?.to_owned();
        let count = match find("max-count") {
            Some(count) => parse_int(count).ok_or("max-count is no whole number")?,
            None => 100,
        };
        let lasts = match find("max-time") {
            Some(time) => parse_length(time).map_err(|error| error.to_string())?.seconds(),
            None => Seconds::new(300),
        };
        Ok(Some(CachePlan {
            key,
            most: usize::try_from(count).unwrap_or(0),
            lasts,
        }))
    }
}

fn remove_at(list: &mut Vec<String>, words: Words<'_>) -> Result<(), CommandError> {
    let index = words.int(3).and_then(|index| usize::try_from(index).ok());
    match index.filter(|index| *index < list.len()) {
        Some(index) => {
            list.remove(index);
            Ok(())
        }
        None => Err(bad(words.text(2)?, words.value(3)?, "there is none of that number")),
    }
}

fn remove_text(list: &mut Vec<String>, words: Words<'_>) -> Result<(), CommandError> {
    let text = words.text(3)?;
    let Some(at) = list.iter().position(|known| is_same(known, text)) else {
        return Err(bad(words.text(2)?, words.value(3)?, "it is not in the list"));
    };
    list.remove(at);
    Ok(())
}

/// Whether two entries of `ignoreip` mean the same, in whatever spelling.
fn is_same(one: &str, other: &str) -> bool {
    one == other || matches!((Id::parse(one), Id::parse(other)), (Ok(one), Ok(other)) if one == other)
}

/// Words as a shell would split them: how a client's line becomes a command.
///
/// # Errors
/// A quotation or an escape that does not end; the text says which.
pub fn split_line(line: &str) -> Result<Vec<String>, &'static str> {
    split_shell(line)
}

#[cfg(test)]
mod tests;
