//! Who is counted and banned: an address, a network, or any other text.
//!
//! Fail2Ban's ban key (its *fid*) is whatever the filter captured. What parses as an address or a network is
//! one, in canonical spelling; all else is kept as text and can be banned too (contract §3.5, §13.7).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The key under which failures are counted and bans are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A single address; an IPv4-mapped one is IPv4.
    Ip(IpAddr),
    /// A network, its host bits cleared.
    Net(IpNet),
    /// Any other text, a text that only looks like an address among them.
    Raw(String),
}

/// An address family, as actions know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `inet4`
    Inet4,
    /// `inet6`
    Inet6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet4 => "inet4",
            Family::Inet6 => "inet6",
        })
    }
}

/// A mask that is no prefix, such as 255.0.255.0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid mask '{0}', no plen representation")]
pub struct BadMask(pub String);

impl Id {
    /// Reads an id as Fail2Ban does: `[v6]` brackets stripped, `/24` and `/255.255.255.0` masks applied,
    /// IPv4-mapped addresses made IPv4. What is no address stays text.
    ///
    /// # Errors
    /// [`BadMask`] where a dotted mask is not contiguous (contract §13.7).
    pub fn parse(text: &str) -> Result<Id, BadMask> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Id::Ip(canonical(ip)));
        }
        let Some((address, mask)) = bare.split_once('/') else {
            return Ok(Id::Raw(text.to_owned()));
        };
        let address = address
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(address);
        let Ok(ip) = address.parse::<IpAddr>() else {
            return Ok(Id::Raw(text.to_owned()));
        };
        match prefix_length(mask)? {
            Some(length) => Ok(masked(ip, length)),
            None => Ok(Id::Raw(text.to_owned())),
        }
    }

    /// Like [`Id::parse`], with a captured address and, apart from it, a captured prefix length.
    ///
    /// # Errors
    /// As [`Id::parse`].
    pub fn parse_captured(address: &str, cidr: Option<&str>) -> Result<Id, BadMask> {
        match cidr {
            Some(cidr) => Id::parse(&format!("{address}/{cidr}")),
            None => Id::parse(address),
        }
    }

    /// The family, if this is an address or a network.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        let is_v4 = match self {
            Id::Ip(ip) => ip.is_ipv4(),
            Id::Net(net) => net.addr().is_ipv4(),
            Id::Raw(_) => return None,
        };
        Some(if is_v4 { Family::Inet4 } else { Family::Inet6 })
    }

    /// As a network (a single address is one of full length), if this is an address at all.
    #[must_use]
    pub fn network(&self) -> Option<IpNet> {
        match self {
            Id::Ip(ip) => Some(IpNet::from(*ip)),
            Id::Net(net) => Some(*net),
            Id::Raw(_) => None,
        }
    }

    /// Whether `other` is this or lies within this network.
    #[must_use]
    pub fn contains(&self, other: &Id) -> bool {
        match (self.network(), other.network()) {
            (Some(outer), Some(inner)) => outer.contains(&inner),
            _ => self == other,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Ip(ip) => ip.fmt(f),
            Id::Net(net) => net.fmt(f),
            Id::Raw(text) => f.write_str(text),
        }
    }
}

/// An IPv4-mapped IPv6 address is IPv4.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn masked(ip: IpAddr, length: u32) -> Id {
    // A mapped address carries the prefix of its IPv6 spelling.
    let (ip, length) = match (ip, canonical(ip)) {
        (IpAddr::V6(_), v4 @ IpAddr::V4(_)) => (v4, length.saturating_sub(96)),
        (ip, _) => (ip, length),
    };
    let full = if ip.is_ipv4() { 32 } else { 128 };
    match u8::try_from(length)
        .ok()
        .filter(|n| *n < full)
        .and_then(|n| IpNet::new(ip, n).ok())
    {
        Some(net) => Id::Net(net.trunc()),
        None => Id::Ip(ip),
    }
}

/// The length of a mask; `None` for text that is no mask at all.
fn prefix_length(mask: &str) -> Result<Option<u32>, BadMask> {
    if let Ok(length) = mask.parse::<u32>() {
        return Ok(Some(length));
    }
    let (ones, zeros, width) = match mask.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => (
            Ipv4Addr::to_bits(v4).leading_ones(),
            Ipv4Addr::to_bits(v4).trailing_zeros(),
            32,
        ),
        Ok(IpAddr::V6(v6)) => (
            Ipv6Addr::to_bits(v6).leading_ones(),
            Ipv6Addr::to_bits(v6).trailing_zeros(),
            128,
        ),
        Err(_) => return Ok(None),
    };
    if ones + zeros < width {
        Err(BadMask(mask.to_owned()))
    } else {
        Ok(Some(ones))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, family: Option<Family>, expect: &str) {
        let id = Id::parse(text).unwrap();
        assert_eq!((id.family(), id.to_string().as_str()), (family, expect), "{text}");
    }

    #[test]
    fn the_table_of_contract_13_7() {
        let (v4, v6) = (Some(Family::Inet4), Some(Family::Inet6));
        check("1.2.3.4/24", v4, "1.2.3.0/24");
        check("1.2.3.4/255.255.255.0", v4, "1.2.3.0/24");
        for raw in [
            "01.2.3.4",
            "1.2.3",
            "host",
            "fe80::1%eth0",
            "some/path/as/id",
            "1.2.3.4/path",
            "999.1.1.1",
        ] {
            check(raw, None, raw);
        }
        check("[2001:db8::1]", v6, "2001:db8::1");
        check("2001:DB8:0:0::1", v6, "2001:db8::1");
        check("::ffff:1.2.3.4", v4, "1.2.3.4");
        check("1.2.3.4/33", v4, "1.2.3.4");
        check("1.2.3.4/32", v4, "1.2.3.4");
        check("2001:db8::/32", v6, "2001:db8::/32");
        assert!(Id::parse("1.2.3.4/255.0.255.0").is_err());
    }

    #[test]
    fn networks_contain() {
        let net = Id::parse("10.0.0.0/8").unwrap();
        assert!(net.contains(&Id::parse("10.1.2.3").unwrap()));
        assert!(!net.contains(&Id::parse("11.1.2.3").unwrap()));
        assert!(!net.contains(&Id::Raw("10.1.2.3x".into())));
    }
}
