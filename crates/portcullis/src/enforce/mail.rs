//! The layer of Fail2Ban's one action in Python, `smtp.py`: a mail when a jail starts, at each ban, when it stops
//! (contract §5.6). The letters come from the core, `lettre` speaks to the mail server.
//!
//! In come changes, out go facts. A server that does not answer is left alone for a while, and where a slow one lets
//! too many letters wait, those whose turn comes are given up: nothing waits for mails without end, not even `stop`.

mod post;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_core::action::{Context, Fetched, Need, Script};
use portcullis_core::config::plan::ActionPlan;
use portcullis_core::ledger::{Applied, Change, LayerId, Order, Standing, Ticket};
use portcullis_core::mail::{Letter, Mail};
use portcullis_core::time::Timestamp;
use portcullis_core::value::Value as Set;
use serde_json::Value as Json;
use sha1::{Digest as _, Sha1};

use super::shell::{Level, Line, Surroundings};
use super::{Error, Held, Layer, answer};

/// The SHA-1 of `smtp.py` in the releases whose mails these are: 0.10.0, 0.10.5 to 1.0.2, 1.1.0, 1.1.1.
const RELEASES: [&str; 4] = [
    "9a48d69a3dcafa45a66d71013da0118e255c7c13",
    "3451577581c782b413d45c6c984edfc8b2c8c08b",
    "297ddd0446b1933248956681425f7de664793207",
    "46196b9b881f211d19c4f325c38f0c8c16111158",
];
/// No release comes near.
const LARGEST: u64 = 1 << 20;
/// A server that did not answer is not asked again for so long.
const REST: Duration = Duration::from_secs(60);
/// Letters wait for a slow server at most so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The mails of an action written in Python, if it is Fail2Ban's `smtp.py`.
///
/// # Errors
/// What is wrong, and what to write instead.
pub(crate) fn of(plan: &ActionPlan) -> Result<Mail, String> {
    let path = plan.property(ActionPlan::FILE).unwrap_or_default();
    is_known(Path::new(&path))?;
    let text = plan.property(ActionPlan::OPTIONS).unwrap_or_else(|| "{}".into());
    let given: BTreeMap<String, Json> =
        serde_json::from_str(&text).map_err(|error| format!("its options are no JSON object: {error}"))?;
    let text = |json: &Json| match json {
        Json::Null | Json::Bool(false) => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    options.extend(
        given
            .iter()
            .filter_map(|(name, json)| Some((name.clone(), text(json)?))),
    );
    // Any other attribute may be set, and means nothing.
    for (name, value) in &plan.properties {
        let Some(option) = Mail::option(name) else { continue };
        match value {
            Set::None | Set::Bool(false) => options.remove(option),
            value => options.insert(option.to_owned(), value.to_string()),
        };
    }
    Mail::new(&options).map_err(|error| error.to_string())
}

/// Whether mails of ours do what this file does. One that is not there would be that of a release.
fn is_known(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let mend = "run the program from an action of the shell instead, an action.d/NAME.conf with \
                actionban = PROGRAM <ip>";
    if path.file_name().is_none_or(|name| name != "smtp.py") {
        return Err(format!(
            "it is written in Python ({shown}), which is not supported: {mend}"
        ));
    }
    let content = fs::metadata(path).and_then(|about| {
        if about.is_file() && about.len() <= LARGEST {
            fs::read(path)
        } else {
            Ok(Vec::new())
        }
    });
    let content = match content {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{shown} cannot be read: {error}")),
    };
    let digest: String = Sha1::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if RELEASES.contains(&digest.as_str()) {
        return Ok(());
    }
    Err(format!(
        "it is written in Python ({shown}), and is not the smtp.py of a Fail2Ban release, whose mails are sent without \
         Python: put that one in its place, or {mend}"
    ))
}

/// All mails of all jails.
pub(crate) struct MailLayer {
    mails: BTreeMap<LayerId, Mail>,
    surroundings: Box<dyn Surroundings>,
    /// Servers that did not answer: since when, and what came instead
    silent: BTreeMap<(String, u16), (Instant, String)>,
    /// How long the last letter took
    took: Duration,
    waiting: usize,
}

impl MailLayer {
    /// A layer without actions.
    pub(crate) fn new(surroundings: Box<dyn Surroundings>) -> Self {
        MailLayer {
            mails: BTreeMap::new(),
            surroundings,
            silent: BTreeMap::new(),
            took: Duration::ZERO,
            waiting: 0,
        }
    }

    /// Puts an action in place.
    pub(crate) fn put(&mut self, layer: LayerId, mail: Mail) {
        self.mails.insert(layer, mail);
    }

    /// Takes all other actions away.
    pub(crate) fn retain(&mut self, layers: &BTreeSet<LayerId>) {
        self.mails.retain(|layer, _| layers.contains(layer));
    }

    /// So many orders wait.
    pub(crate) fn wait(&mut self, waiting: usize) {
        self.waiting = waiting;
    }

    fn obey(&mut self, now: Timestamp, change: &Change) -> Result<(), String> {
        let (jail, action) = (&*change.layer.jail, &*change.layer.action);
        let Some(mail) = self.mails.get(&change.layer).cloned() else {
            return Err(format!("Invalid Action name: {action}"));
        };
        let (letter, failed) = match &change.order {
            Order::Start => (mail.about_start(jail, &self.machine(jail)), "start"),
            Order::Stop => (mail.about_stop(jail, &self.machine(jail)), "stop"),
            Order::Ban(ticket) if !ticket.restored => (self.about_ban(&mail, jail, ticket), "execute ban"),
            Order::Ban(_) | Order::Prolong(_) | Order::Unban(_) | Order::Again(_) => return Ok(()),
            Order::Flush | Order::Vacate | Order::Reload => return Ok(()),
        };
        let sent = self.send(now, &mail, &letter, jail);
        if let Err(error) = &sent {
            let info = match &change.order {
                Order::Ban(ticket) => format!(" info '{}'", self.describe(now, jail, ticket)),
                _ => String::new(),
            };
            let text = format!("Failed to {failed} jail '{jail}' action '{action}'{info}: {error}");
            self.log(Level::Error, text);
        }
        sent
    }

    fn about_ban(&mut self, mail: &Mail, jail: &str, ticket: &Ticket) -> Letter {
        let mut needs = mail.needs();
        needs.insert(Need::ShortHostname);
        let fetched = self.surroundings.fetch(&needs, jail, Some(ticket));
        let merged = fetched.everywhere.or(fetched.in_jail);
        let facts = self.surroundings.jail(jail);
        mail.about_ban(ticket, &facts, &fetched.short_hostname, merged.as_ref())
    }

    fn machine(&mut self, jail: &str) -> String {
        let needs = BTreeSet::from([Need::ShortHostname]);
        self.surroundings.fetch(&needs, jail, None).short_hostname
    }

    fn send(&mut self, now: Timestamp, mail: &Mail, letter: &Letter, jail: &str) -> Result<(), String> {
        let wall = self.surroundings.clock(now).wall;
        let text = mail.write(letter, wall).map_err(|error| error.to_string())?;
        let server = (mail.host.clone(), mail.port);
        if let Some((since, reason)) = self.silent.get(&server)
            && since.elapsed() < REST
        {
            return Err(format!("the mail server did not answer a moment ago: {reason}"));
        }
        let behind = u32::try_from(self.waiting).unwrap_or(u32::MAX);
        if self.took.saturating_mul(behind) > PATIENCE {
            // The next ones may find it faster.
            self.took /= 2;
            return Err(format!(
                "{behind} mails wait for a slow mail server; this one is given up"
            ));
        }
        let begin = Instant::now();
        let needs = BTreeSet::from([Need::FullHostname]);
        let name = self.surroundings.fetch(&needs, jail, None).full_hostname;
        let sent = post::send(mail, &name, &text);
        self.took = begin.elapsed();
        match sent {
            Ok(refused) => {
                self.silent.remove(&server);
                for (recipient, reason) in refused {
                    let text = format!("Email to '{recipient}' failed: {reason}");
                    self.log(Level::Error, text);
                }
                Ok(())
            }
            Err(post::Failure { reason, silent }) => {
                if silent {
                    self.silent.insert(server, (Instant::now(), reason.clone()));
                }
                Err(reason)
            }
        }
    }

    /// A ticket as Fail2Ban's log shows it.
    fn describe(&mut self, now: Timestamp, jail: &str, ticket: &Ticket) -> String {
        let clock = self.surroundings.clock(now);
        let facts = self.surroundings.jail(jail);
        let context = Context {
            clock,
            jail: &facts,
            fetched: &Fetched::default(),
        };
        Script::new("").describe(ticket, &context)
    }

    fn log(&mut self, level: Level, text: String) {
        let logger = "fail2ban.actions";
        self.surroundings.log(Line { logger, level, text });
    }
}

impl Layer for MailLayer {
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        let mut facts = Vec::with_capacity(changes.len());
        for change in changes {
            let result = self.obey(now, change);
            self.waiting = self.waiting.saturating_sub(1);
            facts.push(answer(change, result.map(|()| Standing::Applied)));
        }
        facts
    }

    fn held(&mut self) -> Option<Result<Vec<Held>, Error>> {
        None
    }
}
