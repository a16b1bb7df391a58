//! The mails of Fail2Ban's `smtp.py` (contract §5.6): what is written when, to the byte.
//!
//! In go the options of the action and what happened; out comes a [`Letter`], and of it the bytes that a mail server is
//! given, as Python's `email` makes them. Who is banned and for which lines is written by attackers: a line break never
//! comes into a header, and a letter has a greatest length. Nothing is sent here.

mod body;
mod header;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::action::{JailFacts, Merged, Need};
use crate::ledger::Ticket;
use crate::time::Timestamp;
use crate::value::repr_str;

/// So many bytes of lines are put into a letter. Mail servers refuse what is larger than some ten million bytes, and
/// the lines may grow by a third on their way.
pub const MOST: usize = 4 << 20;

/// The options that `smtp.py` takes.
const OPTIONS: [&str; 8] = [
    "host",
    "ssl",
    "user",
    "password",
    "sendername",
    "sender",
    "dest",
    "matches",
];
/// Under which of its attributes Fail2Ban keeps the options that are named otherwise.
const ATTRIBUTES: [(&str, &str); 3] = [("fromname", "sendername"), ("fromaddr", "sender"), ("toaddr", "dest")];
/// The port of mail servers, where `host` names none.
const PORT: u16 = 25;

/// Why there is no mail, in general or of this once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option that `smtp.py` does not have.
    #[error("smtp.py has no option {}; it has host, ssl, user, password, sendername, sender, dest and matches", repr_str(.0))]
    Option(String),
    /// `host` is neither a name nor a name with a port.
    #[error("host {} is neither NAME nor NAME:PORT", repr_str(.0))]
    Host(String),
    /// An address in `sender` or `dest` that a mail server could not be told.
    #[error("{option} {} is no mail address", repr_str(.text))]
    Address {
        /// The option
        option: &'static str,
        /// The address
        text: String,
    },
    /// A line break in a header: of the subject, which has the id of the offender, or of a name.
    #[error("Header values may not contain linefeed or carriage return characters")]
    LineBreak,
}

/// Which lines a letter about a ban has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// None
    None,
    /// Those of this ban
    Matches,
    /// Those of all bans of the address, in all jails
    IpMatches,
    /// Those of all its bans in this jail
    IpJailMatches,
}

/// One action `smtp.py`, with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The mail server: a name or an address
    pub host: String,
    /// Its port
    pub port: u16,
    /// Whether the connection is encrypted (`STARTTLS`) before anything is said
    pub encrypted: bool,
    /// The name and the password to log in with, where both are given
    pub login: Option<(String, String)>,
    /// What is said to the server: the address of the sender
    pub sender: String,
    /// What is said to the server: the addresses of the recipients
    pub recipients: Vec<String>,
    sender_name: String,
    sender_text: String,
    recipients_text: String,
    lines: Lines,
}

/// One mail, not encoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its subject
    pub subject: String,
    /// Its text
    pub text: String,
}

impl Mail {
    /// The option that an attribute of `smtp.py` holds, if it is one that a mail depends on.
    #[must_use]
    pub fn option(attribute: &str) -> Option<&'static str> {
        let renamed = ATTRIBUTES.iter().find(|(name, _)| *name == attribute);
        let kept = || OPTIONS.into_iter().find(|name| *name == attribute);
        match renamed {
            Some((_, option)) => Some(option),
            None => kept().filter(|name| ATTRIBUTES.iter().all(|(_, option)| option != name)),
        }
    }

    /// Reads the options, by the names of `smtp.py`.
    ///
    /// # Errors
    /// An unknown option, or a host or an address that is none.
    pub fn new(options: &BTreeMap<String, String>) -> Result<Mail, Error> {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in options {
            if !OPTIONS.contains(&name.as_str()) {
                return Err(Error::Option(name.clone()));
            }
            known.insert(name, value);
        }
        let get = |name: &str, default: &'static str| known.get(name).copied().unwrap_or(default).to_owned();
        let (host, port) = server(&get("host", "localhost"))?;
        let (user, password) = (get("user", ""), get("password", ""));
        let (sender_text, recipients_text) = (get("sender", "fail2ban"), get("dest", "root"));
        let recipients = recipients_text.split(',').map(|text| address("dest", text));
        Ok(Mail {
            host,
            port,
            encrypted: !get("ssl", "").is_empty(),
            login: (!user.is_empty() && !password.is_empty()).then_some((user, password)),
            sender: address("sender", &sender_text)?,
            recipients: recipients.collect::<Result<_, _>>()?,
            sender_name: get("sendername", "Fail2Ban"),
            sender_text,
            recipients_text,
            lines: match get("matches", "").as_str() {
                "matches" => Lines::Matches,
                "ipmatches" => Lines::IpMatches,
                "ipjailmatches" => Lines::IpJailMatches,
                _ => Lines::None,
            },
        })
    }

    /// What must be fetched before [`Mail::about_ban`].
    #[must_use]
    pub fn needs(&self) -> BTreeSet<Need> {
        let need = match self.lines {
            Lines::None | Lines::Matches => None,
            Lines::IpMatches => Some(Need::Everywhere),
            Lines::IpJailMatches => Some(Need::InJail),
        };
        need.into_iter().collect()
    }

    /// The letter about a jail that has started, on the machine of this name.
    #[must_use]
    pub fn about_start(&self, jail: &str, machine: &str) -> Letter {
        Letter {
            subject: format!("[Fail2Ban] {jail}: started on {machine}"),
            text: format!("Hi,\n\nThe jail {jail} has been started successfully.\n\nRegards,\nFail2Ban"),
        }
    }

    /// The letter about a jail that has stopped.
    #[must_use]
    pub fn about_stop(&self, jail: &str, machine: &str) -> Letter {
        Letter {
            subject: format!("[Fail2Ban] {jail}: stopped on {machine}"),
            text: format!("Hi,\n\nThe jail {jail} has been stopped.\n\nRegards,\nFail2Ban"),
        }
    }

    /// The letter about a ban. `merged` are the lines of the address' earlier bans, as [`Mail::needs`] has asked for
    /// them; without them those of the ticket stand.
    #[must_use]
    pub fn about_ban(&self, ticket: &Ticket, jail: &JailFacts, machine: &str, merged: Option<&Merged>) -> Letter {
        let (ip, name) = (ticket.ip(), &jail.name);
        let bantime = jail.bantime.micros() / 1_000_000;
        let failures = ticket.failures;
        let matches = match (self.lines, merged) {
            (Lines::IpMatches | Lines::IpJailMatches, Some(merged)) => &merged.matches,
            _ => &ticket.matches,
        };
        let heading = match self.lines {
            Lines::None => String::new(),
            Lines::Matches => "Matches for this ban".to_owned(),
            Lines::IpMatches => format!("Matches for {ip}"),
            Lines::IpJailMatches => format!("Matches for {ip} for jail {name}"),
        };
        let lines = match self.lines {
            Lines::None => String::new(),
            _ => format!("\n{heading}:\n{}\n", joined(matches)),
        };
        Letter {
            subject: format!("[Fail2Ban] {name}: banned {ip} from {machine}"),
            text: format!(
                "Hi,\n\nThe IP {ip} has just been banned for {bantime} seconds\n\
                 by Fail2Ban after {failures} attempts against {name}.\n{lines}\nRegards,\nFail2Ban"
            ),
        }
    }

    /// The letter as a mail server is given it, lines ending with carriage return and newline; `wall` is when it is
    /// written, by the wall clock. Everything in it is ASCII.
    ///
    /// # Errors
    /// [`Error::LineBreak`]
    pub fn write(&self, letter: &Letter, wall: Timestamp) -> Result<String, Error> {
        let subject = header::text("Subject", &letter.subject)?;
        let from = header::sender(&self.sender_name, &self.sender_text)?;
        let to = header::addresses("To", &self.recipients_text)?;
        let (encoding, text) = body::encode(&letter.text);
        let date = date(wall);
        Ok(format!(
            "Content-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: {encoding}\r\n\
             MIME-Version: 1.0\r\n{subject}{from}{to}Date: {date}\r\n\r\n{text}"
        ))
    }
}

/// `NAME` or `NAME:PORT`.
fn server(text: &str) -> Result<(String, u16), Error> {
    let wrong = || Error::Host(text.to_owned());
    let (host, port) = match text.split_once(':') {
        None => (text, PORT),
        Some((host, port)) => (host, port.trim().parse().map_err(|_| wrong())?),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !host.is_empty() && host.len() < 256 && host.chars().all(is_name) {
        Ok((host.to_owned(), port))
    } else {
        Err(wrong())
    }
}

/// The address alone: of `Name <address>` what is between the brackets.
fn address(option: &'static str, text: &str) -> Result<String, Error> {
    let bare = match text.rsplit_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => text,
    };
    let bare = bare.trim();
    let fits = |c: char| c.is_ascii_graphic() && !"<>()\\,;\"".contains(c);
    if !bare.is_empty() && bare.len() <= 320 && bare.chars().all(fits) {
        Ok(bare.to_owned())
    } else {
        let text = text.to_owned();
        Err(Error::Address { option, text })
    }
}

/// The lines one below the other, up to [`MOST`].
fn joined(lines: &[Arc<str>]) -> String {
    let mut joined = lines.join("\n");
    if joined.len() > MOST {
        let at = joined.floor_char_boundary(MOST);
        let rest = joined.len() - at;
        joined.truncate(at);
        joined.push_str(&format!("\n[{rest} more bytes are left out]"));
    }
    joined
}

/// `Mon, 23 Nov 2026 00:06:22 -0000`: in the zone of Greenwich, as Python writes it.
fn date(wall: Timestamp) -> String {
    let seconds = wall.micros().div_euclid(1_000_000);
    let instant = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.strftime("%a, %d %b %Y %H:%M:%S -0000").to_string()
}
