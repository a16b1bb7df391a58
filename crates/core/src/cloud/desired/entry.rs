//! The list of one rule: what stands in it, and what it is to be.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::address::Family;
use crate::cloud::SENTINELS;
use crate::cloud::aggregate::ceiling;

/// An entry with fewer bits stops every write: compute v1 turns an emptied list into `0.0.0.0/0`.
const WIDE: u8 = 8;
/// Bytes of an entry that are shown.
const SHOWN: usize = 64;

/// An entry of a rule's list as a network, without host bits; a bare address is a /32 or /128. None where it is
/// neither. An IPv4 address that is mapped into IPv6 stays IPv6, as it is in the list.
#[must_use]
pub fn entry(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok();
    let net = net.or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| IpNet::from(ip)));
    net.map(|net| net.trunc())
}

/// The family of a network.
#[must_use]
pub fn family(net: &IpNet) -> Family {
    match net {
        IpNet::V4(_) => Family::Inet4,
        IpNet::V6(_) => Family::Inet6,
    }
}

/// The whole list of a rule as it is to be written: what was read, without what is to go, and with what is wanted and
/// the sentinel of the family. What is wanted stays, even if it is to go as well. Entries keep their order, new ones
/// follow sorted, and each network stands once; the list is never empty.
///
/// # Errors
/// Which entry stands against it. compute v1 replaces the whole list, so one that cannot be read would be lost; one
/// of the other family would be refused; and one that denies nearly everybody is not to be confirmed by writing it.
/// Nor is anything of ours written that is wider than the ceiling.
pub fn target(read: &[String], want: &[IpNet], gone: &[IpNet], of: Family) -> Result<Vec<IpNet>, String> {
    let mut wanted: BTreeSet<IpNet> = want.iter().copied().collect();
    if let Some(wide) = want.iter().find(|range| range.prefix_len() < ceiling(range)) {
        return Err(format!("{wide} is wider than any ban in a firewall rule"));
    }
    wanted.extend(
        SENTINELS
            .iter()
            .filter_map(|text| text.parse().ok())
            .filter(|net| family(net) == of),
    );
    if let Some(other) = wanted.iter().find(|range| family(range) != of) {
        return Err(format!("{other} does not belong into a rule for {of}"));
    }
    let gone: BTreeSet<IpNet> = gone.iter().copied().collect();
    let mut list = Vec::with_capacity(read.len() + wanted.len());
    let mut there = BTreeSet::new();
    for text in read {
        let shown = || text.chars().take(SHOWN).collect::<String>().escape_debug().to_string();
        let net = entry(text).ok_or_else(|| format!("its entry '{}' is no network", shown()))?;
        if family(&net) != of {
            return Err(format!("it holds {net}, and a rule takes either IPv4 or IPv6"));
        }
        if net.prefix_len() < WIDE {
            return Err(format!("it holds {net}, which denies nearly everybody"));
        }
        if (wanted.contains(&net) || !gone.contains(&net)) && there.insert(net) {
            list.push(net);
        }
    }
    list.extend(wanted.into_iter().filter(|range| !there.contains(range)));
    Ok(list)
}
