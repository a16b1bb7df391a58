//! What Fail2Ban's log says of commands that change the configuration (contract §8.6, §13.10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_core::address::Id;
use portcullis_core::config::plan::{JailPlan, LogPath, Plan};
use portcullis_core::value::{Value, repr_str};

use crate::observe::log::{Level, note as say};

const SERVER: &str = "fail2ban.server";
const JAIL: &str = "fail2ban.jail";
const FILTER: &str = "fail2ban.filter";
const JOURNAL: &str = "fail2ban.filtersystemd";
const ACTIONS: &str = "fail2ban.actions";
const FINISHED: &str = "Reload finished.";

/// The jails that a reload finds, and those that read the journal once the command is obeyed.
pub(super) struct Former {
    jails: BTreeMap<Arc<str>, Jail>,
    journals: BTreeSet<Arc<str>>,
}

struct Jail {
    backend: String,
    paths: BTreeSet<String>,
    /// Whether it reads the journal, and not all of that
    is_matched: bool,
}

impl Former {
    /// Of the jails in force, those that the command reloads without a stop. Only `reload` has some. `plan` is what
    /// the command made of the configuration.
    pub(super) fn of(words: &[Value], jails: &BTreeMap<Arc<str>, JailPlan>, plan: &Plan) -> Former {
        let journals = plan.jails.iter().filter(|jail| reads_journal(jail));
        let journals = journals.map(|jail| Arc::clone(&jail.name)).collect();
        let Some((scope, options, _)) = reload(words) else {
            let jails = BTreeMap::new();
            return Former { jails, journals };
        };
        let stops = options.iter().any(|option| option.as_str() == Some("--restart"));
        let is_meant = |name: &str| !stops && (scope == "--all" || scope == name);
        let of = |plan: &JailPlan| Jail {
            backend: plan.backend.clone(),
            paths: plan.logpath.iter().map(|log| log.path.clone()).collect(),
            is_matched: reads_journal(plan) && !plan.journalmatch.is_empty(),
        };
        let jails = jails.iter().filter(|(name, _)| is_meant(name));
        let jails = jails.map(|(name, plan)| (Arc::clone(name), of(plan))).collect();
        Former { jails, journals }
    }

    /// Says what a command does before it is put in force; of a stream, the first commands, the last of which failed
    /// unless all is done.
    pub(super) fn tell(&self, words: &[Value], taken: usize, is_done: bool) {
        let stream = match (words, reload(words)) {
            (_, Some((scope, _, stream))) => {
                say_reload(scope);
                self.tell_unmatched();
                stream
            }
            ([first, stream, ..], None) if first.as_str() == Some("server-stream") => items(stream),
            _ if is_done => return self.tell_one(words),
            _ => return,
        };
        let taken = stream.get(..taken).unwrap_or(stream);
        for (at, command) in taken.iter().enumerate() {
            let words = items(command);
            // A jail is announced before it turns out that there can be none.
            let is_add = words.first().and_then(Value::as_str) == Some("add");
            if is_done || is_add || at + 1 < taken.len() {
                self.tell_one(words);
            }
        }
    }

    /// What Fail2Ban says of one command.
    fn tell_one(&self, words: &[Value]) {
        let text = |at: usize| words.get(at).map(ToString::to_string).unwrap_or_default();
        match text(0).as_str() {
            "add" => self.tell_jail(&text(1), &text(2)),
            "set" if text(2) == "addlogpath" && self.has_log(&text(1), &text(3)) => {}
            "set" if text(2) == "addlogcommand" && self.has_log(&text(1), &LogPath::of_program(&text(3)).path) => {}
            "set" if matches!(&*text(2), "addjournalmatch" | "deljournalmatch") => self.tell_match(&text(1), words),
            "set" if text(2) == "addignoreip" => words.iter().skip(3).for_each(|value| ignore(&value.to_string())),
            "set" => {
                if let Some((logger, line)) = option(&text(2), &text(3)) {
                    say(Level::Info, logger, &line);
                }
            }
            _ => {}
        }
    }

    /// A reload begins by taking the matches of the journal away.
    fn tell_unmatched(&self) {
        for (name, _) in self.jails.iter().filter(|(_, jail)| jail.is_matched) {
            say(
                Level::Info,
                JOURNAL,
                &format!("[{name}] Removed journal match for: '*'"),
            );
        }
    }

    /// Other sources take no notice of matches.
    fn tell_match(&self, name: &str, words: &[Value]) {
        if !self.journals.contains(name) {
            return;
        }
        let terms = words.get(3..).unwrap_or_default();
        let text = match words.get(2).and_then(Value::as_str) {
            Some("addjournalmatch") => {
                let terms: Vec<String> = terms.iter().map(ToString::to_string).collect();
                format!("[{name}] Added journal match for: {}", repr_str(&terms.join(" ")))
            }
            _ => format!(
                "[{name}] Removed journal match for: {}",
                Value::List(terms.to_vec()).repr()
            ),
        };
        say(Level::Info, JOURNAL, &text);
    }

    fn has_log(&self, jail: &str, path: &str) -> bool {
        self.jails.get(jail).is_some_and(|jail| jail.paths.contains(path))
    }

    fn tell_jail(&self, name: &str, backend: &str) {
        match self.jails.get(name) {
            Some(jail) if jail.backend == backend => {
                return say(Level::Info, SERVER, &format!("Reload jail {}", repr_str(name)));
            }
            Some(jail) => {
                let reason = format!("{} != {}", repr_str(&jail.backend), repr_str(backend));
                let text = format!("Restart jail {} (reason: {reason})", repr_str(name));
                say(Level::Info, SERVER, &text);
            }
            None => {}
        }
        say(Level::Info, JAIL, &format!("Creating new jail '{name}'"));
        let kind = match backend.split('[').next().unwrap_or_default().to_lowercase().as_str() {
            "polling" => "polling",
            "systemd" => "systemd",
            "" | "auto" | "pyinotify" => "pyinotify",
            _ => return,
        };
        let uses = if kind == "polling" { "poller" } else { kind };
        say(Level::Info, JAIL, &format!("Jail '{name}' uses {uses} {{}}"));
        say(Level::Info, JAIL, &format!("Initiated '{kind}' backend"));
    }

    /// What is said when a command is in force.
    pub(super) fn tell_end(&self, words: &[Value], is_done: bool) {
        let Some((_, _, stream)) = reload(words) else { return };
        if is_done {
            for command in stream {
                self.tell_reloaded(items(command), stream);
            }
        }
        say(Level::Info, SERVER, FINISHED);
    }

    fn tell_reloaded(&self, words: &[Value], stream: &[Value]) {
        let [first, name] = words else { return };
        let name = name.as_str().unwrap_or_default();
        let Some(jail) = self.jails.get(name).filter(|_| first.as_str() == Some("start")) else {
            return;
        };
        let is = |words: &[Value], head: [&str; 3]| words.iter().map(Value::as_str).take(3).eq(head.map(Some));
        let commands = || stream.iter().map(items);
        if commands().any(|words| is(words, ["add", name, &jail.backend])) {
            say(Level::Info, SERVER, &format!("Jail {} reloaded", repr_str(name)));
        }
        let added = commands().filter(|words| is(words, ["set", name, "addlogpath"]));
        let now: BTreeSet<&str> = added.filter_map(|words| words.get(3)?.as_str()).collect();
        let files = jail.paths.iter().filter(|path| LogPath::program(path).is_none());
        for path in files.filter(|path| !now.contains(path.as_str())) {
            say(Level::Info, FILTER, &format!("Removed logfile: {}", repr_str(path)));
        }
    }
}

fn reads_journal(plan: &JailPlan) -> bool {
    plan.backend.to_ascii_lowercase().starts_with("systemd")
}

/// What is said of a command that changes nothing: a reload of a jail that is not there.
pub(super) fn nothing(words: &[Value]) {
    if let Some((scope, ..)) = reload(words) {
        say_reload(scope);
        say(Level::Info, SERVER, FINISHED);
    }
}

fn say_reload(scope: &str) {
    let what = match scope {
        "--all" => "all jails".to_owned(),
        name => format!("jail {name}"),
    };
    say(Level::Info, SERVER, &format!("Reload {what}"));
}

/// The parts of `reload NAME OPTIONS STREAM`.
fn reload(words: &[Value]) -> Option<(&str, &[Value], &[Value])> {
    match words {
        [first, name, options, stream, ..] if first.as_str() == Some("reload") => {
            Some((name.as_str().unwrap_or_default(), items(options), items(stream)))
        }
        _ => None,
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_items().unwrap_or_default()
}

/// A file of addresses is added without a word.
fn ignore(value: &str) {
    if value.is_empty() || value.starts_with("file:") {
        return;
    }
    let id = Id::parse(value).map_or_else(|_| value.to_owned(), |id| id.to_string());
    let text = format!("  Add {} to ignore list ({})", repr_str(&id), repr_str(value));
    say(Level::Debug, FILTER, &text);
}

fn option(name: &str, value: &str) -> Option<(&'static str, String)> {
    let line = match name {
        "maxretry" => format!("  maxRetry: {value}"),
        "findtime" => format!("  findtime: {value}"),
        "maxlines" => format!("  maxLines: {value}"),
        "logencoding" => format!("  encoding: {value}"),
        "addlogpath" => format!("Added logfile: {}", repr_str(value)),
        "dellogpath" => format!("Removed logfile: {}", repr_str(value)),
        "addlogcommand" => format!("Added log command: {}", repr_str(value)),
        "dellogcommand" => format!("Removed log command: {}", repr_str(value)),
        "bantime" => return Some((ACTIONS, format!("  banTime: {value}"))),
        _ => {
            let part = name.strip_prefix("bantime.")?;
            return Some((JAIL, format!("Set banTime.{part} = {value}")));
        }
    };
    Some((FILTER, line))
}
