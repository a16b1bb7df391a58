//! Who is never counted: own addresses and the jail's `ignoreip` (contract §4.1).
//!
//! [`Allow`] holds one jail's rules and gives a [`Verdict`]; what it must know from outside is in [`Names`] and
//! [`Lists`], and what these do not know yet the verdict names. [`Cache`] keeps verdicts (`ignorecache`).

mod cache;
mod known;
mod list;

pub use cache::Cache;
pub use known::{Found, Lists, Names, Stat};
pub use list::{List, list_path, list_text};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::address::Id;
use crate::time::Timestamp;

/// Why somebody is not counted; the text is what Fail2Ban's log says after *by*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An own address
    Own,
    /// A listed address or network
    Ip,
    /// A listed host name
    Dns,
    /// An entry of this file
    List(Arc<str>),
    /// `ignorecommand`
    Command,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Own => f.write_str("ignoreself rule"),
            Rule::Ip => f.write_str("ip"),
            Rule::Dns => f.write_str("dns"),
            Rule::List(path) => f.write_str(&list_text(path)),
            Rule::Command => f.write_str("command"),
        }
    }
}

/// The answer to *is this one allowed?*
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not counted, why, and whether `ignorecache` keeps that.
    Allowed(Rule, bool),
    /// No rule is for this one.
    Counts,
    /// This must be known first.
    Ask(Vec<Unknown>),
}

/// What a verdict waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The addresses of a name
    Name(String),
    /// Whether the file of this path has changed, and what is in it
    List(Arc<str>),
}

/// What is known from outside when somebody is judged.
#[derive(Clone, Copy, Debug)]
pub struct Known<'k> {
    /// The host's own addresses
    pub own: &'k BTreeSet<IpAddr>,
    /// Addresses of names
    pub names: &'k Names,
    /// Files with addresses
    pub lists: &'k Lists,
    /// What was believed at this time or later will do: when the question first arose, on the steady clock
    pub since: Timestamp,
}

/// The `ignoreip` list and `ignoreself` of one jail.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    ignoreself: bool,
    single: BTreeSet<Id>,
    listed: Vec<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Net(Id),
    Name(String),
    List(Arc<str>),
}

/// An `ignoreip` entry that cannot be honoured: a mask such as 255.0.255.0. The jail must not ban until it can
/// (invariant 12).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ignoreip = {0}: {1}")]
pub struct Error(String, crate::address::BadMask);

impl Allow {
    /// From a jail's options.
    ///
    /// # Errors
    /// The first entry that cannot be honoured.
    pub fn new(ignoreself: bool, ignoreip: &[String]) -> Result<Self, Error> {
        let mut allow = Allow {
            ignoreself,
            ..Allow::default()
        };
        for text in ignoreip {
            if let Some(path) = list_path(text) {
                allow.listed.push(Entry::List(path.into()));
                continue;
            }
            match Id::parse(text).map_err(|error| Error(text.clone(), error))? {
                id @ Id::Ip(_) => {
                    allow.single.insert(id);
                }
                id @ Id::Net(_) => allow.listed.push(Entry::Net(id)),
                Id::Raw(name) => allow.listed.push(Entry::Name(name)),
            }
        }
        Ok(allow)
    }

    /// The files that are named.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<str>> {
        self.listed.iter().filter_map(|entry| match entry {
            Entry::List(path) => Some(path),
            Entry::Net(_) | Entry::Name(_) => None,
        })
    }

    /// Whether `id` is exempt. Entries are tried in their order. What is not known yet is asked for all at once, and
    /// ends the search, because nobody may be counted whom a later answer would have let pass.
    #[must_use]
    pub fn judge(&self, id: &Id, known: &Known<'_>) -> Verdict {
        if let Id::Ip(ip) = id
            && self.ignoreself
            && known.own.contains(ip)
        {
            return Verdict::Allowed(Rule::Own, true);
        }
        if self.single.contains(id) {
            return Verdict::Allowed(Rule::Ip, false);
        }
        let mut unknown = Vec::new();
        for entry in &self.listed {
            match entry.judge(id, known) {
                Verdict::Allowed(rule, keep) if unknown.is_empty() => return Verdict::Allowed(rule, keep),
                // Which of the two is the reason, the answer must show.
                Verdict::Allowed(..) => break,
                Verdict::Ask(more) => unknown.extend(more),
                Verdict::Counts => {}
            }
        }
        if unknown.is_empty() {
            Verdict::Counts
        } else {
            Verdict::Ask(unknown)
        }
    }
}

impl Allow {
    /// Whether a network holds somebody who is exempt, whether or not the jail ignores own addresses; `None` where that
    /// is not known now.
    #[must_use]
    pub fn has_within(&self, net: &IpNet, known: &Known<'_>) -> Option<bool> {
        let (first, last) = (net.network(), net.broadcast());
        let is_single = self.single.range(Id::Ip(first)..=Id::Ip(last)).next().is_some();
        if is_single || known.own.range(first..=last).next().is_some() {
            return Some(true);
        }
        within(self.listed.iter().map(|entry| entry.is_within(net, known)))
    }
}

/// Whether any is; unknown where none is and some may be.
fn within(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(false);
    for part in parts {
        match part {
            Some(true) => return part,
            Some(false) => {}
            None => result = None,
        }
    }
    result
}

/// Whether an address of a name is in a network.
fn has_name(name: &str, net: &IpNet, known: &Known<'_>) -> Option<bool> {
    let addresses = known.names.get(name, known.since)?;
    Some(addresses.iter().any(|ip| net.contains(ip)))
}

impl Entry {
    /// Whether somebody whom it exempts is in a network.
    fn is_within(&self, net: &IpNet, known: &Known<'_>) -> Option<bool> {
        match self {
            Entry::Net(entry) => Some(entry.contains(&Id::Net(*net)) || Id::Net(*net).contains(entry)),
            Entry::Name(name) => has_name(name, net, known),
            Entry::List(path) if path.is_empty() => Some(false),
            Entry::List(path) => known.lists.get(path, known.since)?.has_within(net, known),
        }
    }

    fn judge(&self, id: &Id, known: &Known<'_>) -> Verdict {
        match self {
            Entry::Net(net) if net.covers(id) => Verdict::Allowed(Rule::Ip, true),
            Entry::Net(_) => Verdict::Counts,
            Entry::Name(name) => resolves_to(name, id, known).map_or_else(
                || Verdict::Ask(vec![Unknown::Name(name.clone())]),
                |is| {
                    if is {
                        Verdict::Allowed(Rule::Dns, true)
                    } else {
                        Verdict::Counts
                    }
                },
            ),
            Entry::List(path) if path.is_empty() => Verdict::Counts,
            Entry::List(path) => match known.lists.get(path, known.since) {
                None => Verdict::Ask(vec![Unknown::List(Arc::clone(path))]),
                Some(list) => list.judge(path, id, known),
            },
        }
    }
}

/// Whether an address is one of a name's; any other id is not (contract §4.1). `None` where it must be looked up.
fn resolves_to(name: &str, id: &Id, known: &Known<'_>) -> Option<bool> {
    let Id::Ip(ip) = id else { return Some(false) };
    known
        .names
        .get(name, known.since)
        .map(|addresses| addresses.contains(ip))
}

/// Networks by their length, so that an id is looked up in each length once.
type Nets = BTreeMap<(bool, u8), BTreeSet<u128>>;

#[cfg(test)]
mod tests;
