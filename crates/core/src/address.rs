//! Who is counted and banned: an address, a network, or any other text.
//!
//! Fail2Ban's ban key (its *fid*) is whatever the filter captured. What parses as an address or a network is
//! one, in canonical spelling; all else is kept as text and can be banned too (contract §3.5, §13.7).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::letter;

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
    /// Reads an id as Fail2Ban does: `[…]` brackets stripped, `/24` and `/255.255.255.0` masks applied,
    /// IPv4-mapped addresses made IPv4. What is no address stays text; of what only looks like an address with a mask,
    /// the address stays.
    ///
    /// # Errors
    /// [`BadMask`] where a dotted mask is not contiguous (contract §13.7).
    pub fn parse(text: &str) -> Result<Id, BadMask> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        let bare = inner.filter(|inner| !inner.is_empty()).unwrap_or(text);
        let Some((address, mask)) = bare.split_once('/') else {
            return Ok(Id::of(bare));
        };
        let digits = !mask.is_empty() && mask.chars().all(|c| letter::digit(c).is_some());
        if !looks_like_address(address) || !(digits || looks_like_address(mask)) {
            return Ok(Id::Raw(bare.to_owned()));
        }
        let length = if digits { decimal(mask) } else { mask_length(mask)? };
        Ok(Id::masked(address, length))
    }

    /// A text as a network of so many bits; what is no address stays text. More bits than there are mean the address
    /// itself.
    #[must_use]
    pub fn masked(address: &str, length: u32) -> Id {
        match address.parse() {
            Ok(ip) => masked(ip, length),
            Err(_) => Id::Raw(address.to_owned()),
        }
    }

    /// A single address, or text.
    fn of(text: &str) -> Id {
        match text.parse::<IpAddr>() {
            Ok(ip) => Id::Ip(canonical(ip)),
            Err(_) => Id::Raw(text.to_owned()),
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
            Id::Ip(ip) => write_address(*ip, f),
            // Fail2Ban does not write a length of 0 (contract §13.7).
            Id::Net(net) if net.prefix_len() == 0 => write_address(net.addr(), f),
            Id::Net(net) => {
                write_address(net.addr(), f)?;
                write!(f, "/{}", net.prefix_len())
            }
            Id::Raw(text) => f.write_str(text),
        }
    }
}

/// Writes an address as the C library does: `::192.0.2.1` where Rust has `::c000:201`.
fn write_address(ip: IpAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match ip {
        IpAddr::V6(v6) if (0x1_0000..1 << 32).contains(&v6.to_bits()) => {
            write!(
                f,
                "::{}",
                Ipv4Addr::from_bits(u32::try_from(v6.to_bits()).unwrap_or_default())
            )
        }
        ip => fmt::Display::fmt(&ip, f),
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

/// Four numbers of one to three digits, or hexadecimal groups between colons: what Fail2Ban takes for an address until
/// it has tried to read it.
fn looks_like_address(text: &str) -> bool {
    let number = |part: &str| {
        let length = part.chars().count();
        (1..=3).contains(&length) && part.chars().all(|c| letter::digit(c).is_some())
    };
    let dotted = text.split('.').count() == 4 && text.split('.').all(number);
    let groups = text.split(':');
    let hex = |part: &str| part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    dotted || (text.contains(':') && groups.clone().count() <= 9 && groups.clone().all(hex))
}

fn decimal(digits: &str) -> u32 {
    let value = |sum: u32, c| {
        sum.saturating_mul(10)
            .saturating_add(letter::digit(c).unwrap_or_default())
    };
    digits.chars().fold(0, value)
}

/// The length of a mask in the form of an address; one that cannot be read counts as 0, as in Fail2Ban.
fn mask_length(mask: &str) -> Result<u32, BadMask> {
    let (bits, width) = match mask.parse::<IpAddr>().map(canonical) {
        Ok(IpAddr::V4(v4)) => (u128::from(v4.to_bits()), 32),
        Ok(IpAddr::V6(v6)) => match v6.to_bits() {
            // Fail2Ban looks the number up, whichever family it comes from.
            bits if bits <= u128::from(u32::MAX) => (bits, 32),
            bits => (bits, 128),
        },
        Err(_) => return Ok(0),
    };
    let bits = bits << (128 - width);
    let ones = bits.leading_ones();
    if bits.trailing_zeros() + ones < 128 {
        return Err(BadMask(mask.to_owned()));
    }
    Ok(ones)
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
        check("1.2.3.4/0", v4, "0.0.0.0");
        check("1.2.3.4/ffff::", v4, "1.2.0.0/16");
        check("[host]", None, "host");
        check("::192.0.2.1", v6, "::192.0.2.1");
        check("::1", v6, "::1");
        check("::1:0", v6, "::0.1.0.0");
        check("[]", None, "[]");
        check("[2001:db8::]/32", None, "[2001:db8::]/32");
        check("999.1.1.1/8", None, "999.1.1.1");
        check("1.2.3.4/٨", v4, "1.0.0.0/8");
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
