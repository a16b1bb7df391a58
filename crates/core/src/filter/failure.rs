//! What the patterns captured, and whose failure it is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::fields::Fields;
use super::session::Case;
use crate::address::Id;
use crate::config::plan::UseDns;
use crate::ledger::Field;
use crate::pattern::Found;
use crate::time::Timestamp;

/// One failed attempt by somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The jail whose filter found it
    pub jail: Arc<str>,
    /// By whom
    pub identity: Identity,
    /// When, on the wall clock
    pub time: Timestamp,
    /// Captured fields by group name
    pub data: BTreeMap<String, Field>,
    /// The lines that it is made of, oldest first
    pub matches: Vec<String>,
}

/// Who failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// Known from the line.
    Known(Id),
    /// A host name, to be looked up: every address of it failed (contract §3.5).
    Name(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Known(id) => id.fmt(f),
            Identity::Name(name) => f.write_str(name),
        }
    }
}

/// The named groups of a match, alternatives (`alt_user_1` for `user`) merged (contract §3.2).
pub(super) fn groups(found: &Found<'_>) -> Fields {
    let mut groups: Fields = found
        .groups()
        .map(|(name, text)| (name.to_owned(), text.map(str::to_owned)))
        .collect();
    let mut alternatives: Vec<(String, String)> = groups
        .iter()
        .filter_map(|(name, _)| alternative(name).map(|target| (name.to_owned(), target)))
        .collect();
    alternatives.sort();
    for (name, target) in alternatives {
        if let Some(text) = groups.truth(&name).map(str::to_owned)
            && groups.truth(&target).is_none()
        {
            groups.set(&target, Some(text));
        }
    }
    groups
}

/// `alt_user`, `alt_user_2` → `user`; `alt_id` → `fid`, as the tags of the same name.
fn alternative(name: &str) -> Option<String> {
    let rest = name.strip_prefix("alt_").filter(|rest| !rest.is_empty())?;
    let target = match rest.rsplit_once('_') {
        Some((target, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => target,
        _ => rest,
    };
    Some(match target {
        "id" => "fid".to_owned(),
        "port" => "fport".to_owned(),
        other => other.to_owned(),
    })
}

/// The prefix's groups, overridden by the failregex's own where those took part. The content is no field.
pub(super) fn merge(prefix: &Fields, fields: Fields) -> Fields {
    let mut merged = prefix.clone();
    merged.remove("content");
    if merged == Fields::default() {
        return fields;
    }
    merged.update(fields);
    merged
}

/// Whose failure the case is; `None` while nobody is known (contract §3.5).
pub(super) fn identify(case: &Case, usedns: UseDns) -> Option<Identity> {
    let address = case.text("ip4").or_else(|| case.text("ip6"));
    let name = if address.is_some() { None } else { case.text("dns") };
    let fid = case.text("fid");
    let cidr = case.text("cidr");
    match (fid, address, name) {
        (_, None, Some(name)) if usedns != UseDns::Raw => Some(by_name(name)),
        (Some(fid), address, _) if address != Some(fid) => Some(Identity::Known(read(fid, None, usedns))),
        (_, Some(address), _) => Some(Identity::Known(read(address, cidr, UseDns::Warn))),
        (_, None, Some(name)) => Some(Identity::Known(Id::Raw(name.to_owned()))),
        (_, None, None) => None,
    }
}

fn by_name(name: &str) -> Identity {
    match Id::parse(name) {
        Ok(id @ Id::Ip(_)) => Identity::Known(id),
        _ => Identity::Name(name.to_owned()),
    }
}

/// An address or network if it parses and names may be anything else, the raw text otherwise.
fn read(text: &str, cidr: Option<&str>, usedns: UseDns) -> Id {
    if usedns == UseDns::Raw {
        return Id::Raw(text.to_owned());
    }
    Id::parse_captured(text, cidr.filter(|cidr| !cidr.is_empty())).unwrap_or_else(|_| Id::Raw(text.to_owned()))
}

/// Where the ban key is not the address, the address is kept for `<ip>`.
pub(super) fn note_address(case: &mut Case, identity: &Identity) {
    let (Some(address), Identity::Known(id)) = (case.text("ip4").or_else(|| case.text("ip6")), identity) else {
        return;
    };
    let ip = read(address, case.text("cidr"), UseDns::Warn);
    if case.text("fid").is_some() && ip != *id {
        case.set("ip", ip.to_string());
    }
}
