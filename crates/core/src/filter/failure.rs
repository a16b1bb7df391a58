//! What the patterns captured, and whose failure it is.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::fields::Fields;
use super::session::Case;
use crate::address::{Family, Id, canonical};
use crate::config::plan::UseDns;
use crate::ledger::{Data, Field};
use crate::letter;
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
    pub data: Data,
    /// The lines that it is made of, oldest first
    pub matches: Vec<Arc<str>>,
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

/// The named groups of a match, alternatives (`alt_user_1` for `user`) merged, parts (`tuple_id`) combined (contract
/// §3.2). Those that took no part are there only where `all` are wanted, or one of them may stand for another.
pub(super) fn groups(found: &Found<'_>, all: bool) -> Fields {
    let is_complex = found.groups().any(|(name, _)| is_complex(name));
    let mut groups: Fields = found
        .groups()
        .filter(|(_, text)| all || is_complex || text.is_some())
        .map(|(name, text)| (name.clone(), text.map(|text| Field::Text(text.into()))))
        .collect();
    if !is_complex {
        return groups;
    }
    for (name, target) in complex(&groups, "alt_") {
        if groups.is_true(&name) && !groups.is_true(&target) {
            groups.set(&target, groups.get(&name).cloned());
        }
    }
    for (name, target) in complex(&groups, "tuple_") {
        let part = groups.text(&name).map(str::to_owned);
        let parts = match groups.get(&target).cloned() {
            Some(Field::Tuple(parts)) => parts.into_iter().chain([part]).collect(),
            _ => vec![groups.text(&target).map(str::to_owned), part],
        };
        groups.set(&target, Some(Field::Tuple(parts)));
    }
    groups
}

/// Whether a group may stand for another, or be part of one.
pub(super) fn is_complex(name: &str) -> bool {
    name.starts_with("alt_") || name.starts_with("tuple_")
}

/// The groups whose names begin so, each with the group that it stands for, in order.
fn complex(groups: &Fields, kind: &str) -> Vec<(SmolStr, String)> {
    let names = groups.iter().map(|(name, _)| name);
    let mut list: Vec<_> = names
        .filter_map(|name| Some((name.clone(), target(name.strip_prefix(kind)?)?)))
        .collect();
    list.sort();
    list
}

/// `user`, `user_2` → `user`; `id` → `fid`, as the tags of the same name. A bare `alt_` stands for nothing.
fn target(rest: &str) -> Option<String> {
    if rest.is_empty() {
        return None;
    }
    let target = match rest.rsplit_once('_') {
        Some((target, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => target,
        _ => rest,
    };
    Some(match target.to_lowercase().as_str() {
        "id" => "fid".to_owned(),
        "port" => "fport".to_owned(),
        other => other.to_owned(),
    })
}

/// The prefix's groups, overridden by the failregex's own where those took part.
pub(super) fn merge(prefix: &Fields, fields: Fields) -> Fields {
    if *prefix == Fields::default() {
        return fields;
    }
    let mut merged = prefix.clone();
    merged.update(fields);
    merged
}

/// Whose failure a case is.
pub(super) struct Whose {
    pub(super) identity: Identity,
    /// The address where the ban key is another value, for `<ip>`
    pub(super) address: Option<Id>,
}

/// Fail2Ban fails over such a value and drops the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str);

/// What an id is read as.
#[derive(Clone, Copy)]
enum As {
    Text,
    Any,
    Family(Family),
    Network(u32),
}

/// Whose failure the case is; `None` while nobody is known (contract §3.5).
pub(super) fn identify(case: &Case, usedns: UseDns) -> Result<Option<Whose>, Refused> {
    let own = if usedns == UseDns::Raw { As::Text } else { As::Any };
    let families = [("ip4", Family::Inet4), ("ip6", Family::Inet6)];
    let address = families
        .into_iter()
        .find_map(|(name, family)| Some((case.get(name)?, family)));
    let fid = case.get("fid");
    let (captured, kind) = match (address, case.get("dns"), fid) {
        (Some((address, family)), ..) => (address, length(case.get("cidr"))?.unwrap_or(As::Family(family))),
        (None, Some(name), _) if usedns != UseDns::Raw => return by_name(name).map(Some),
        (None, Some(name), _) => (name, own),
        (None, None, Some(fid)) => (fid, own),
        (None, None, None) => return Ok(None),
    };
    let (id, address) = match fid.filter(|fid| *fid != captured) {
        Some(fid) => (read(fid, own)?, Some(read(captured, kind)?)),
        None => (read(captured, kind)?, None),
    };
    Ok(Some(Whose {
        identity: Identity::Known(id),
        address,
    }))
}

fn by_name(name: &Field) -> Result<Whose, Refused> {
    let Field::Text(name) = name else {
        return Err(Refused("a host name of several parts"));
    };
    let bare = name.strip_prefix('[').unwrap_or(name);
    let bare = bare.strip_suffix(']').unwrap_or(bare);
    let identity = match (name.parse(), bare.parse()) {
        (Ok(IpAddr::V4(v4)), _) => Identity::Known(Id::Ip(v4.into())),
        (_, Ok(IpAddr::V6(v6))) if !bare.contains('.') => Identity::Known(Id::Ip(canonical(v6.into()))),
        _ => Identity::Name(name.to_string()),
    };
    Ok(Whose {
        identity,
        address: None,
    })
}

/// What the captured prefix length says; `None` without one.
fn length(cidr: Option<&Field>) -> Result<Option<As>, Refused> {
    const NUMBER: Refused = Refused("a prefix length that is no number");
    let digits = match cidr {
        None => return Ok(None),
        Some(Field::Text(text)) if text.is_empty() => return Ok(None),
        Some(Field::Text(text)) => text.trim_matches(letter::is_space),
        Some(_) => return Err(NUMBER),
    };
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let value = number(digits).ok_or(NUMBER)?;
    Ok(Some(match (negative, value) {
        (true, 1) => As::Any,
        // The numbers by which Fail2Ban tells the families; any other negative one is no family, hence plain text.
        (true, 4) => As::Family(Family::Inet4),
        (true, 12) => As::Family(Family::Inet6),
        (true, 1..) => As::Text,
        _ => As::Network(value),
    }))
}

/// Python's `int()` of digits: any decimal digits, single underscores between them. Large ones are all the same here.
fn number(digits: &str) -> Option<u32> {
    /// Python reads no longer number.
    const MOST: usize = 4300;
    let grouped = digits.split('_').all(|group| !group.is_empty());
    if !grouped || digits.chars().filter(|c| *c != '_').count() > MOST {
        return None;
    }
    let mut value = 0_u32;
    for c in digits.chars().filter(|c| *c != '_') {
        value = value.saturating_mul(10).saturating_add(letter::digit(c)?);
    }
    Some(value)
}

/// Reads an id; what is no address stays text.
fn read(field: &Field, kind: As) -> Result<Id, Refused> {
    let text = match (field, kind) {
        (Field::Text(text), _) => text,
        (_, As::Text | As::Any) => return Ok(Id::Raw(field.to_string())),
        _ => return Err(Refused("an address of several parts")),
    };
    if matches!(kind, As::Text) {
        return Ok(Id::Raw(text.to_string()));
    }
    if text.contains('\0') {
        return Err(Refused("embedded null character"));
    }
    Ok(match kind {
        As::Network(length) => Id::masked(text, length),
        As::Family(family) => match text.parse() {
            Ok(IpAddr::V4(v4)) if family == Family::Inet4 => Id::Ip(v4.into()),
            Ok(IpAddr::V6(v6)) if family == Family::Inet6 => Id::Ip(canonical(v6.into())),
            _ => Id::Raw(text.to_string()),
        },
        As::Any | As::Text => Id::parse_captured(text).map_err(|_| Refused("a mask that is no prefix"))?,
    })
}
