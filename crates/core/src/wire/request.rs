//! What clients ask for.
//!
//! Our own verbs are commands of Fail2Ban's protocol: `['portcullis', VERB, {option: value}]`, answered with a
//! JSON text. Everything else is a command of Fail2Ban's own ([`crate::command`]).

use crate::address::Id;
use crate::exception::{Class, Exception};
use crate::time::{Seconds, parse_length};
use crate::value::Value;

/// Addresses a single request may name.
const MOST_IDS: usize = 1_000_000;

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// A command in Fail2Ban's own language.
    Command(Vec<Value>),
    /// How things stand, in one jail or all.
    Status {
        /// Only this jail
        jail: Option<String>,
    },
    /// Who is banned.
    Banned {
        /// Only in this jail
        jail: Option<String>,
    },
    /// Ban by hand.
    Ban {
        /// Whom
        ids: Vec<Id>,
        /// In which jail; the pseudo-jail `manual` for `None`
        jail: Option<String>,
        /// How long
        bantime: Option<Seconds>,
        /// Why, for the log
        reason: Option<String>,
    },
    /// Lift bans.
    Unban {
        /// Whom; everybody for `None`
        ids: Option<Vec<Id>>,
        /// In which jail
        jail: Option<String>,
    },
    /// Read the configuration again.
    Reload,
    /// Free everybody and end.
    Stop,
    /// Free everybody and go on.
    Flush,
    /// Compare what is decided with what the layers hold.
    Verify,
    /// How the rules of the cloud firewall stand.
    Cloud {
        /// Read everything and plan it again instead; the answer does not wait for that
        review: bool,
    },
    /// Close and reopen the log.
    FlushLogs,
}

/// A request that was not understood, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too few or wrong words.
    #[error("Sorry but the command is invalid")]
    Invalid,
    /// It is no list, but one of these.
    #[error("'{0}' object is not subscriptable")]
    NoList(&'static str),
    /// One of our verbs that we do not have.
    #[error("command '{0}' is not supported yet")]
    Unsupported(String),
    /// An argument that is not what it should be.
    #[error("{0}")]
    Argument(String),
}

/// As Fail2Ban's server would raise it.
impl From<Error> for Exception {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid => Exception::index(),
            Error::NoList(_) => Exception::new(Class::Builtin("TypeError"), error.to_string()),
            Error::Unsupported(_) | Error::Argument(_) => Exception::from(error.to_string()),
        }
    }
}

impl Verb {
    /// Understands a request.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(request: &Value) -> Result<Verb, Error> {
        let words = request.as_items().ok_or_else(|| Error::NoList(request.class()))?;
        if words.is_empty() {
            return Err(Error::Invalid);
        }
        match words.first().and_then(Value::as_str) {
            Some("portcullis") => {
                let verb = words.get(1).and_then(Value::as_str).ok_or(Error::Invalid)?;
                own(verb, words.get(2).unwrap_or(&Value::None))
            }
            _ => Ok(Verb::Command(words.to_vec())),
        }
    }

    /// Are you there?
    #[must_use]
    pub fn ping() -> Verb {
        Verb::Command(vec!["ping".into()])
    }

    /// The request that [`Verb::parse`] understands as this.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let options = |pairs: Vec<(&str, Value)>| {
            Value::Dict(
                pairs
                    .into_iter()
                    .filter(|(_, v)| *v != Value::None)
                    .map(|(k, v)| (k.into(), v))
                    .collect(),
            )
        };
        let text = |text: &Option<String>| text.clone().map_or(Value::None, Value::Str);
        let list = |ids: &[Id]| Value::List(ids.iter().map(|id| Value::Str(id.to_string())).collect());
        let (verb, options) = match self {
            Verb::Command(words) => return Value::List(words.clone()),
            Verb::Status { jail } => ("status", options(vec![("jail", text(jail))])),
            Verb::Banned { jail } => ("banned", options(vec![("jail", text(jail))])),
            Verb::Ban {
                ids,
                jail,
                bantime,
                reason,
            } => {
                let bantime = bantime.map_or(Value::None, |length| Value::Int(length.whole()));
                let pairs = vec![
                    ("ids", list(ids)),
                    ("jail", text(jail)),
                    ("for", bantime),
                    ("reason", text(reason)),
                ];
                ("ban", options(pairs))
            }
            Verb::Unban { ids, jail } => {
                let ids = ids.as_deref().map_or(Value::None, list);
                ("unban", options(vec![("ids", ids), ("jail", text(jail))]))
            }
            Verb::Reload => ("reload", Value::None),
            Verb::Stop => ("stop", Value::None),
            Verb::Flush => ("flush", Value::None),
            Verb::Verify => ("verify", Value::None),
            Verb::Cloud { review } => {
                let review = if *review { Value::Bool(true) } else { Value::None };
                ("cloud", options(vec![("review", review)]))
            }
            Verb::FlushLogs => ("flushlogs", Value::None),
        };
        Value::List(vec!["portcullis".into(), verb.into(), options])
    }

    /// Whether it only looks, and at nothing that may be secret: values of actions hold passwords and keys. What is not
    /// known to only look, changes something; so does [`Verb::Verify`], which orders again what it finds missing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        match self {
            Verb::Command(words) => {
                let word = |at: usize| words.get(at).and_then(Value::as_str);
                word(0).is_some_and(looks) && (word(0), word(2)) != (Some("get"), Some("action"))
            }
            Verb::Status { .. } | Verb::Banned { .. } | Verb::Cloud { review: false } => true,
            Verb::Ban { .. }
            | Verb::Unban { .. }
            | Verb::Reload
            | Verb::Stop
            | Verb::Flush
            | Verb::Verify
            | Verb::Cloud { review: true }
            | Verb::FlushLogs => false,
        }
    }
}

/// Whether one of Fail2Ban's commands only looks (contract §8.5).
fn looks(command: &str) -> bool {
    matches!(
        command,
        "ping"
            | "echo"
            | "version"
            | "status"
            | "stats"
            | "statistic"
            | "statistics"
            | "banned"
            | "get"
            | "server-status"
    )
}

fn own(verb: &str, options: &Value) -> Result<Verb, Error> {
    let jail = || text(options, "jail");
    Ok(match verb {
        "status" => Verb::Status { jail: jail()? },
        "banned" => Verb::Banned { jail: jail()? },
        "ban" => Verb::Ban {
            ids: ids(options)?.ok_or(Error::Invalid)?,
            jail: jail()?,
            bantime: length(options)?,
            reason: text(options, "reason")?,
        },
        "unban" => Verb::Unban {
            ids: ids(options)?,
            jail: jail()?,
        },
        "reload" => Verb::Reload,
        "stop" => Verb::Stop,
        "flush" => Verb::Flush,
        "verify" => Verb::Verify,
        "cloud" => Verb::Cloud {
            review: option(options, "review") == Some(&Value::Bool(true)),
        },
        "flushlogs" => Verb::FlushLogs,
        other => return Err(Error::Unsupported(format!("portcullis {other}"))),
    })
}

fn option<'v>(options: &'v Value, name: &str) -> Option<&'v Value> {
    let Value::Dict(pairs) = options else { return None };
    pairs
        .iter()
        .find(|(key, _)| key.as_str() == Some(name))
        .map(|(_, value)| value)
        .filter(|v| **v != Value::None)
}

fn text(options: &Value, name: &str) -> Result<Option<String>, Error> {
    let Some(value) = option(options, name) else {
        return Ok(None);
    };
    value
        .as_str()
        .map(|text| Some(text.to_owned()))
        .ok_or_else(|| Error::Argument(format!("{name} must be a text")))
}

fn length(options: &Value) -> Result<Option<Seconds>, Error> {
    match option(options, "for") {
        None => Ok(None),
        Some(Value::Int(seconds)) => Ok(Some(Seconds::new(*seconds))),
        Some(value) => {
            let length = parse_length(&value.to_string()).map_err(|error| Error::Argument(error.to_string()))?;
            Ok(Some(length.seconds()))
        }
    }
}

fn ids(options: &Value) -> Result<Option<Vec<Id>>, Error> {
    let Some(value) = option(options, "ids") else {
        return Ok(None);
    };
    let items = value.as_items().ok_or(Error::Invalid)?;
    if items.is_empty() || items.len() > MOST_IDS {
        return Err(Error::Argument(format!(
            "between 1 and {MOST_IDS} addresses, not {}",
            items.len()
        )));
    }
    let read = |item: &Value| {
        let text = item.as_str().ok_or(Error::Invalid)?;
        Id::parse(text).map_err(|error| Error::Argument(error.to_string()))
    };
    items.iter().map(read).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_round_trips() {
        let ids = vec![Id::parse("192.0.2.1").unwrap(), Id::parse("2001:db8::/64").unwrap()];
        let jail = Some("sshd".to_owned());
        for verb in [
            Verb::ping(),
            Verb::Status { jail: None },
            Verb::Status { jail: jail.clone() },
            Verb::Banned { jail: jail.clone() },
            Verb::Ban {
                ids: ids.clone(),
                jail: jail.clone(),
                bantime: Some(Seconds::new(60)),
                reason: Some("x".into()),
            },
            Verb::Ban {
                ids: ids.clone(),
                jail: None,
                bantime: None,
                reason: None,
            },
            Verb::Unban { ids: Some(ids), jail },
            Verb::Unban { ids: None, jail: None },
            Verb::Reload,
            Verb::Stop,
            Verb::Flush,
            Verb::Verify,
            Verb::Cloud { review: false },
            Verb::Cloud { review: true },
            Verb::FlushLogs,
        ] {
            assert_eq!(Verb::parse(&verb.to_value()), Ok(verb));
        }
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        let parse = |words: &[&str]| Verb::parse(&Value::List(words.iter().map(|w| (*w).into()).collect()));
        assert_eq!(parse(&[]), Err(Error::Invalid));
        assert_eq!(
            parse(&["portcullis", "dance"]),
            Err(Error::Unsupported("portcullis dance".into()))
        );
        assert_eq!(parse(&["portcullis", "ban"]), Err(Error::Invalid));
    }

    /// The commands of contract §8.5.
    #[test]
    fn who_only_looks_is_told_from_who_changes() {
        let looks = |line: &str| {
            let words = line.split(' ').map(Value::from).collect();
            Verb::parse(&Value::List(words)).unwrap().is_read_only()
        };
        for line in [
            "ping",
            "echo a b",
            "version",
            "status",
            "status sshd cymru",
            "status --all",
            "stats",
            "statistic",
            "statistics",
            "banned",
            "banned 192.0.2.1",
            "server-status",
            "get loglevel",
            "get sshd banip --with-time",
            "get sshd actions",
            "get sshd actionproperties iptables",
            "get sshd actionmethods iptables",
        ] {
            assert!(looks(line), "{line}");
        }
        for line in [
            "start",
            "start sshd",
            "restart",
            "stop",
            "stop sshd",
            "reload --all",
            "unban --all",
            "unban 192.0.2.1",
            "flushlogs",
            "add sshd auto",
            "set loglevel DEBUG",
            "get sshd action smtp password",
            "get sshd action iptables actionban",
            "set sshd banip 192.0.2.1",
            "set sshd unbanip 192.0.2.1",
            "set sshd attempt 192.0.2.1",
            "set sshd action iptables ban",
            "multi-set sshd addfailregex",
            "server-stream",
            "config-error x",
            "sleep 1",
            "help",
            "Get loglevel",
            "",
        ] {
            assert!(!looks(line), "{line}");
        }
        assert!(Verb::Status { jail: None }.is_read_only());
        assert!(!Verb::Verify.is_read_only());
        assert!(Verb::Cloud { review: false }.is_read_only());
        assert!(!Verb::Cloud { review: true }.is_read_only());
    }
}
