//! A file of addresses: `ignoreip = file:…` (contract §4.1).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Known, Nets, Rule, Unknown, Verdict, has_name, resolves_to, within};
use crate::address::{BadMask, Id};

/// The path that an entry `file:…` names, by Fail2Ban's rule: `file:/a/x`, `file://a/x` and `file:///a/x` are `/a/x`,
/// unless the first part has one or two characters (`file:/a/x` is `a/x` then). `None` for other entries.
#[must_use]
pub fn list_path(entry: &str) -> Option<String> {
    let rest = entry.strip_prefix("file:")?;
    let rest = rest.strip_suffix('\n').unwrap_or(rest);
    if rest.contains('\n') {
        return None;
    }
    let slashes = rest.bytes().take_while(|byte| *byte == b'/').count();
    let begins = (0..=slashes.min(2)).rev().find(|skipped| {
        let path = rest.get(*skipped..).unwrap_or_default();
        path.strip_prefix('/').is_some_and(is_whole)
    });
    rest.get(begins.unwrap_or(slashes.min(2))..).map(str::to_owned)
}

/// What may follow the slash of a path that is taken as it stands.
fn is_whole(path: &str) -> bool {
    !path.chars().take(3).any(|c| c == '/')
}

/// A file as logs and lists show it: `file://etc/x` for `/etc/x`.
#[must_use]
pub fn list_text(path: &str) -> String {
    let slash = if path.starts_with('/') { "/" } else { "" };
    format!("file:{slash}{path}")
}

/// What stands in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    exact: BTreeSet<Id>,
    nets: Nets,
    names: BTreeSet<String>,
}

impl List {
    /// Reads the text of a file: entries with blanks, commas or line ends between them; `#` and `;` begin a comment
    /// at the start of a line or after a blank.
    ///
    /// # Errors
    /// A mask that is none. Such a file counts as not read.
    pub fn parse(text: &str) -> Result<List, BadMask> {
        let mut list = List::default();
        for line in text.split(['\n', '\r']) {
            for word in without_comment(line).split(|c| is_space(c) || c == ',') {
                if !word.is_empty() {
                    list.add(Id::parse(word)?);
                }
            }
        }
        Ok(list)
    }

    fn add(&mut self, id: Id) {
        match &id {
            Id::Net(net) => {
                let (v4, bits) = bits(net.addr());
                self.nets.entry((v4, net.prefix_len())).or_default().insert(bits);
            }
            Id::Raw(name) => {
                self.names.insert(name.clone());
            }
            Id::Ip(_) => {}
        }
        self.exact.insert(id);
    }

    pub(super) fn judge(&self, path: &Arc<str>, id: &Id, known: &Known<'_>) -> Verdict {
        if self.exact.contains(id) || self.covers(id) {
            return Verdict::Allowed(Rule::List(Arc::clone(path)), true);
        }
        let mut unknown = Vec::new();
        for name in &self.names {
            match resolves_to(name, id, known) {
                Some(true) => return Verdict::Allowed(Rule::List(Arc::clone(path)), true),
                Some(false) => {}
                None => unknown.push(Unknown::Name(name.clone())),
            }
        }
        if unknown.is_empty() {
            Verdict::Counts
        } else {
            Verdict::Ask(unknown)
        }
    }

    /// Whether somebody who is listed is in a network; `None` where a name's addresses are not known.
    pub(super) fn has_within(&self, net: &IpNet, known: &Known<'_>) -> Option<bool> {
        let (is_v4, first) = bits(net.network());
        let (_, last) = bits(net.broadcast());
        let range = Id::Ip(net.network())..=Id::Ip(net.broadcast());
        let is_inside = |length: &u8, nets: &BTreeSet<u128>| {
            *length >= net.prefix_len() && nets.range(first..=last).next().is_some()
        };
        let mut nets = self.nets.range((is_v4, 0)..=(is_v4, u8::MAX));
        let is_net = nets.any(|((_, length), nets)| is_inside(length, nets));
        if is_net || self.covers(&Id::Net(*net)) || self.exact.range(range).next().is_some() {
            return Some(true);
        }
        within(self.names.iter().map(|name| has_name(name, net, known)))
    }

    /// Whether the first address of `id` is in a network. Where there is any entry that is no single address,
    /// Fail2Ban takes the single ones for networks too, which only matters to wider ids.
    fn covers(&self, id: &Id) -> bool {
        let Some(net) = id.network() else { return false };
        let (is_v4, first) = bits(net.addr());
        let width = if is_v4 { 32 } else { 128 };
        let in_nets = self
            .nets
            .range((is_v4, 0)..=(is_v4, u8::MAX))
            .any(|((_, length), nets)| {
                let cut = width - u32::from(*length);
                let masked = first.checked_shr(cut).unwrap_or(0).checked_shl(cut).unwrap_or(0);
                nets.contains(&masked)
            });
        let any_wide = !self.nets.is_empty() || !self.names.is_empty();
        in_nets || (any_wide && self.exact.contains(&Id::Ip(net.addr())))
    }
}

fn bits(ip: IpAddr) -> (bool, u128) {
    match ip {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (false, v6.to_bits()),
    }
}

fn without_comment(line: &str) -> &str {
    let mut after_blank = true;
    for (at, c) in line.char_indices() {
        if after_blank && (c == '#' || c == ';') {
            return line.get(..at).unwrap_or(line);
        }
        after_blank = is_space(c);
    }
    line
}

/// Python's white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
