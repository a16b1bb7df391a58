//! Who is counted and banned: an address, a network, or any other text.
//!
//! Fail2Ban's ban key (its *fid*) is whatever the filter captured. What parses as an address or a network is
//! one, in canonical spelling; all else is kept as text and can be banned too (contract §3.5, §13.7).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use ipnet::IpNet;
use regex::Regex;

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

/// An address with a mask as Fail2Ban knows it by its look alone; the digits are those of any script. What looks otherwise
/// is a name, a real address with too many colons in front of its mask among them.
static MASKED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let v4 = r"(?:\d{1,3}\.){3}\d{1,3}";
    let v6 = r"(?:[0-9a-fA-F]{1,4}::?|:){1,7}(?:[0-9a-fA-F]{1,4}|:)";
    Regex::new(&format!(r"^({v4}|{v6})/(?:(\d+)|({v4}|{v6}))\n?$")).ok()
});

impl Id {
    /// Reads an id as Fail2Ban does: brackets stripped, `/24` and `/255.255.255.0` masks applied, IPv4-mapped
    /// addresses made IPv4, those with a mask excepted. What is no address stays text, without its brackets; of what
    /// only looks like an address with a mask, the address stays.
    ///
    /// # Errors
    /// [`BadMask`] where a mask is no prefix (contract §13.7) or no address at all (D-101).
    pub fn parse(text: &str) -> Result<Id, BadMask> {
        let bare = unbracketed(text);
        let parts = bare
            .contains('/')
            .then(|| MASKED.as_ref().and_then(|masked| masked.captures(bare)));
        let Some(parts) = parts.flatten() else {
            return Ok(Id::plain(bare));
        };
        let part = |number| parts.get(number).map(|part| part.as_str());
        let address = part(1).unwrap_or(bare);
        let length = match (part(2), part(3)) {
            (Some(digits), _) => length(digits),
            (None, Some(mask)) => mask_length(mask)?,
            (None, None) => return Ok(Id::plain(bare)),
        };
        Ok(Id::masked(address, length))
    }

    /// An id captured from a line: as [`Id::parse`], but a mask that is no address counts as a length of 0, as in
    /// Fail2Ban. That text comes from outside; nobody who writes a configuration can mend it.
    ///
    /// # Errors
    /// [`BadMask`] where a mask is an address and no prefix.
    pub fn parse_captured(text: &str) -> Result<Id, BadMask> {
        match Id::parse(text) {
            Err(BadMask(mask)) if mask.parse::<IpAddr>().is_err() => {
                let bare = unbracketed(text);
                Ok(Id::masked(bare.split('/').next().unwrap_or(bare), 0))
            }
            read => read,
        }
    }

    /// An address alone, IPv4-mapped ones made IPv4; any other text as it is.
    #[must_use]
    pub fn plain(text: &str) -> Id {
        match text.parse::<IpAddr>() {
            Ok(ip) => Id::Ip(canonical(ip)),
            Err(_) => Id::Raw(text.to_owned()),
        }
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

    /// Fail2Ban's *is in this network*: whether the first address of `other` is, however wide that itself is.
    #[must_use]
    pub fn covers(&self, other: &Id) -> bool {
        match (self.network(), other.network()) {
            (Some(outer), Some(inner)) => outer.contains(&inner.addr()),
            _ => false,
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

/// A network of full length is its address.
impl From<IpNet> for Id {
    fn from(net: IpNet) -> Id {
        if net.prefix_len() == net.max_prefix_len() {
            Id::Ip(net.addr())
        } else {
            Id::Net(net)
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Id::Ip(ip) => f.write_str(&text(*ip)),
            // Fail2Ban does not write a length of 0 (Q-22).
            Id::Net(net) if net.prefix_len() == 0 => f.write_str(&text(net.addr())),
            Id::Net(net) => write!(f, "{}/{}", text(net.addr()), net.prefix_len()),
            Id::Raw(text) => f.write_str(text),
        }
    }
}

/// An address as the C library spells it: `::192.0.2.1` where 96 leading bits are nought.
#[must_use]
pub fn text(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
                format!("::{v4}")
            }
            _ => v6.to_string(),
        },
        IpAddr::V4(v4) => v4.to_string(),
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

/// `[…]` as addresses with ports are written; anything may stand in it.
fn unbracketed(text: &str) -> &str {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.filter(|bare| !bare.is_empty()).unwrap_or(text)
}

/// A prefix as long as the address, or longer, is the address.
fn masked(ip: IpAddr, length: u32) -> Id {
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

/// A number too large for its type is larger than any address.
fn length(digits: &str) -> u32 {
    let value = |sum: u32, c| {
        sum.saturating_mul(10)
            .saturating_add(letter::digit(c).unwrap_or_default())
    };
    digits.chars().fold(0, value)
}

/// The length of a mask. Fail2Ban looks its number up, so that `::ffff:0` is a mask of 16 bits for IPv4, and those
/// are tried first.
fn mask_length(mask: &str) -> Result<u32, BadMask> {
    let mask = mask.parse().map(canonical).map_err(|_| BadMask(mask.to_owned()))?;
    let number = match mask {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if let Ok(short) = u32::try_from(number)
        && short.leading_ones() + short.trailing_zeros() >= 32
    {
        return Ok(short.leading_ones());
    }
    if number.leading_ones() + number.trailing_zeros() >= 128 {
        return Ok(number.leading_ones());
    }
    Err(BadMask(text(mask)))
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
        check("[host]", None, "host");
        check("999.1.1.1/24", None, "999.1.1.1");
        check("[2001:db8::1]/64", None, "[2001:db8::1]/64");
        check("::1:2:3:4:5:6:7/64", None, "::1:2:3:4:5:6:7/64");
        check("::1.2.3.4", v6, "::1.2.3.4");
        check("::ffff:102:304/120", v6, "::ffff:1.2.3.0/120");
        check("::ffff:1.2.3.4/120", None, "::ffff:1.2.3.4/120");
        check("1.2.3.4/ffff::", v4, "1.2.0.0/16");
        check("2001:db8::/::ffff:0", v6, "2001::/16");
        check("1.2.3.4/99999999999", v4, "1.2.3.4");
        check("1.2.3.4/+7", None, "1.2.3.4/+7");
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
        assert!(Id::parse("1.2.3.4/999.1.1.1").is_err());
    }

    #[test]
    fn networks_contain() {
        let net = Id::parse("10.0.0.0/8").unwrap();
        assert!(net.contains(&Id::parse("10.1.2.3").unwrap()));
        assert!(!net.contains(&Id::parse("11.1.2.3").unwrap()));
        assert!(!net.contains(&Id::Raw("10.1.2.3x".into())));
    }
}
