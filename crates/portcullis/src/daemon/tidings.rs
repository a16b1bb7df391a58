//! What Fail2Ban's log says of commands that change the configuration (contract §8.6, §13.10).

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::value::{Value, repr_str};

use crate::observe::log::{Level, note as say};

const SERVER: &str = "fail2ban.server";
const JAIL: &str = "fail2ban.jail";
const FILTER: &str = "fail2ban.filter";
const ACTIONS: &str = "fail2ban.actions";

/// What is said before a command is put in force: all but its end. `known` are the jails that are there.
pub(super) fn before(words: &[Value], known: &BTreeSet<Arc<str>>) {
    let one = |words: &[Value]| one(words, known);
    if let [first, name, _, stream, ..] = words
        && first.as_str() == Some("reload")
    {
        let name = name.as_str().unwrap_or_default();
        let what = if name == "--all" {
            "all jails".to_owned()
        } else {
            format!("jail {name}")
        };
        say(Level::Info, SERVER, &format!("Reload {what}"));
        each(stream, one);
    } else if let [first, stream, ..] = words
        && first.as_str() == Some("server-stream")
    {
        each(stream, one);
    } else {
        one(words);
    }
}

/// What is said when it is in force.
pub(super) fn after(words: &[Value], known: &BTreeSet<Arc<str>>) {
    let [first, _, _, stream, ..] = words else { return };
    if first.as_str() == Some("reload") {
        each(stream, |words| {
            if let [first, name] = words
                && first.as_str() == Some("start")
                && known.contains(name.as_str().unwrap_or_default())
            {
                let name = repr_str(name.as_str().unwrap_or_default());
                say(Level::Info, SERVER, &format!("Jail {name} reloaded"));
            }
        });
        say(Level::Info, SERVER, "Reload finished.");
    }
}

fn each(stream: &Value, mut tell: impl FnMut(&[Value])) {
    for command in stream.as_items().unwrap_or_default() {
        tell(command.as_items().unwrap_or_default());
    }
}

/// What Fail2Ban says of one command.
fn one(words: &[Value], known: &BTreeSet<Arc<str>>) {
    let text = |at: usize| words.get(at).map(ToString::to_string).unwrap_or_default();
    match text(0).as_str() {
        "add" if known.contains(text(1).as_str()) => {
            say(Level::Info, SERVER, &format!("Reload jail {}", repr_str(&text(1))));
        }
        "add" => {
            let (name, backend) = (text(1), text(2));
            say(Level::Info, JAIL, &format!("Creating new jail '{name}'"));
            let kind = match backend.split('[').next().unwrap_or_default().to_lowercase().as_str() {
                "polling" => "polling",
                "systemd" => "systemd",
                _ => "pyinotify",
            };
            let uses = if kind == "polling" { "poller" } else { kind };
            say(Level::Info, JAIL, &format!("Jail '{name}' uses {uses} {{}}"));
            say(Level::Info, JAIL, &format!("Initiated '{kind}' backend"));
        }
        "set" => {
            if let Some((logger, line)) = option(&text(2), &text(3)) {
                say(Level::Info, logger, &line);
            }
        }
        _ => {}
    }
}

fn option(name: &str, value: &str) -> Option<(&'static str, String)> {
    let line = match name {
        "maxretry" => format!("  maxRetry: {value}"),
        "findtime" => format!("  findtime: {value}"),
        "maxlines" => format!("  maxLines: {value}"),
        "logencoding" => format!("  encoding: {value}"),
        "addlogpath" => format!("Added logfile: {}", repr_str(value)),
        "dellogpath" => format!("Removed logfile: {}", repr_str(value)),
        "bantime" => return Some((ACTIONS, format!("  banTime: {value}"))),
        _ => {
            let part = name.strip_prefix("bantime.")?;
            return Some((JAIL, format!("Set banTime.{part} = {value}")));
        }
    };
    Some((FILTER, line))
}
