//! Counting and banning by prefix: the network that stands for an address.
//!
//! Whoever has one IPv6 address mostly has the whole /64 around it, and hops through it. In come a jail's `prefix.*`
//! options and an address; out comes the network under which it is counted, and the wider one for which it is
//! evidence. No option makes a ban wider than /24 (IPv4) or /48 (IPv6).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::address::{Id, canonical};

/// No ban that a jail decides is wider, by family.
pub const WIDEST: (u8, u8) = (24, 48);
/// What evidence widens to where nothing else is said.
const WIDENED: (u8, u8) = (24, 56);
/// One ban alone is no neighbourhood; more than these need not be asked for.
const THRESHOLDS: (u32, u32) = (2, 100_000);

/// Networks whose addresses belong to different people: translated IPv4 (RFC 6052, RFC 8215) and addresses that hold
/// one, tunnels of Teredo, and the link. There every address stands for itself.
const SHARED: [Ipv6Net; 5] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96),
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
];

/// The `prefix.*` options of a jail; what is not set does not count by networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Prefix {
    ipv4: Option<u8>,
    ipv6: Option<u8>,
    widen: Option<u32>,
    widen_ipv4: Option<u8>,
    widen_ipv6: Option<u8>,
}

impl Prefix {
    /// The options, by what follows `prefix.`.
    pub const PARTS: [&str; 5] = ["ipv4", "ipv6", "widen", "widen.ipv4", "widen.ipv6"];

    /// Sets one option; an empty text takes it back.
    ///
    /// # Errors
    /// What is wrong with the value, and what it takes; the option is then as it was.
    pub fn set(&mut self, part: &str, text: &str) -> Result<(), String> {
        let (least, most) = range(part).ok_or("there is no such option")?;
        let bare = text.trim();
        let number = if bare.is_empty() {
            None
        } else {
            let digits = bare.strip_prefix('/').unwrap_or(bare);
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse::<u32>().ok().filter(|_| is_plain);
            let off = part == "widen" && number == Some(0);
            Some(
                number
                    .filter(|number| off || (least..=most).contains(number))
                    .ok_or_else(|| expected(part, least, most))?,
            )
        };
        let length = number.and_then(|number| u8::try_from(number).ok());
        match part {
            "ipv4" => self.ipv4 = length,
            "ipv6" => self.ipv6 = length,
            "widen" => self.widen = number,
            "widen.ipv4" => self.widen_ipv4 = length,
            _ => self.widen_ipv6 = length,
        }
        Ok(())
    }

    /// The value of one option, if it is set.
    #[must_use]
    pub fn get(&self, part: &str) -> Option<u32> {
        match part {
            "ipv4" => self.ipv4.map(u32::from),
            "ipv6" => self.ipv6.map(u32::from),
            "widen" => self.widen,
            "widen.ipv4" => self.widen_ipv4.map(u32::from),
            "widen.ipv6" => self.widen_ipv6.map(u32::from),
            _ => None,
        }
    }

    /// Whether every address stands for itself, and nothing is widened.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.ipv4.is_none_or(|length| length == 32)
            && self.ipv6.is_none_or(|length| length == 128)
            && self.threshold().is_none()
    }

    /// The network under which an address is counted; none where it stands for itself.
    #[must_use]
    pub fn counted(&self, ip: IpAddr) -> Option<IpNet> {
        let ip = canonical(ip);
        let length = if ip.is_ipv4() { self.ipv4 } else { self.ipv6 }?;
        cut(ip, length)
    }

    /// How many bans in a wider network are one of that network; none where nothing is widened.
    #[must_use]
    pub fn threshold(&self) -> Option<usize> {
        let threshold = self.widen.filter(|count| *count > 0)?;
        usize::try_from(threshold).ok()
    }

    /// The wider network for which a ban is evidence; none where nothing is widened, or it is no part of a wider one.
    #[must_use]
    pub fn widened(&self, id: &Id) -> Option<IpNet> {
        self.threshold()?;
        let inner = id.network()?;
        let ip = canonical(inner.addr());
        // A mapped network would change its length with its family.
        if ip.is_ipv4() != inner.addr().is_ipv4() && matches!(id, Id::Net(_)) {
            return None;
        }
        let length = if ip.is_ipv4() {
            self.widen_ipv4.unwrap_or(WIDENED.0)
        } else {
            self.widen_ipv6.unwrap_or(WIDENED.1)
        };
        let wide = cut(ip, length)?;
        let own = if matches!(id, Id::Net(_)) {
            inner.prefix_len()
        } else {
            wide.max_prefix_len()
        };
        (own > length).then_some(wide)
    }

    /// The option that widens nothing, because what it widens is counted at least as wide; if there is one.
    #[must_use]
    pub fn without_effect(&self) -> Option<&'static str> {
        self.threshold()?;
        let v4 = self
            .ipv4
            .is_some_and(|counted| counted <= self.widen_ipv4.unwrap_or(WIDENED.0));
        let v6 = self
            .ipv6
            .is_some_and(|counted| counted <= self.widen_ipv6.unwrap_or(WIDENED.1));
        match (v4, v6) {
            (true, _) => Some("widen.ipv4"),
            (_, true) => Some("widen.ipv6"),
            _ => None,
        }
    }

    /// The networks around an address that a jail may have banned, from narrow to wide.
    pub fn around(ip: IpAddr) -> impl Iterator<Item = IpNet> {
        let ip = canonical(ip);
        let (widest, full) = if ip.is_ipv4() { (WIDEST.0, 32) } else { (WIDEST.1, 128) };
        (widest..full).rev().filter_map(move |length| cut(ip, length))
    }
}

/// The network of that length, unless it is no wider than the address or some of its addresses are shared out one by one.
fn cut(ip: IpAddr, length: u8) -> Option<IpNet> {
    let net = IpNet::new(ip, length).ok()?.trunc();
    let overlaps = |v6: &Ipv6Net| SHARED.iter().any(|shared| shared.contains(v6) || v6.contains(shared));
    let is_shared = matches!(&net, IpNet::V6(v6) if overlaps(v6));
    (length < net.max_prefix_len() && !is_shared).then_some(net)
}

/// What an option takes.
fn range(part: &str) -> Option<(u32, u32)> {
    let (v4, v6) = (u32::from(WIDEST.0), u32::from(WIDEST.1));
    Some(match part {
        "ipv4" => (v4, 32),
        "ipv6" => (v6, 128),
        "widen" => THRESHOLDS,
        "widen.ipv4" => (v4, 31),
        "widen.ipv6" => (v6, 127),
        _ => return None,
    })
}

fn expected(part: &str, least: u32, most: u32) -> String {
    if part == "widen" {
        return format!("write a number of bans from {least} to {most}, or 0 to widen nothing");
    }
    format!("write a prefix length from {least}, as wide as a ban that nobody typed may be, to {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(options: &[(&str, &str)]) -> Prefix {
        let mut prefix = Prefix::default();
        for (part, text) in options {
            prefix.set(part, text).unwrap();
        }
        prefix
    }

    #[test]
    fn an_address_counts_for_its_network() {
        let check = |options: &[(&str, &str)], address: &str, expect: &str| {
            let counted = prefix(options).counted(address.parse().unwrap());
            let shown = counted.map_or("itself".to_owned(), |net| Id::Net(net).to_string());
            assert_eq!(shown, expect, "{options:?} {address}");
        };
        let stock: &[(&str, &str)] = &[("ipv6", "64"), ("ipv4", "32")];
        check(&[], "2001:db8:1:2::5", "itself");
        check(stock, "2001:db8:1:2:a:b:c:d", "2001:db8:1:2::/64");
        check(stock, "192.0.2.5", "itself");
        check(stock, "::ffff:192.0.2.5", "itself");
        check(&[("ipv4", "/24")], "192.0.2.5", "192.0.2.0/24");
        check(&[("ipv4", "24")], "::ffff:192.0.2.5", "192.0.2.0/24");
        check(&[("ipv6", "48")], "2001:db8:1:2::5", "2001:db8:1::/48");
        check(&[("ipv6", "128")], "2001:db8:1:2::5", "itself");
        for shared in [
            "64:ff9b::c000:205",
            "64:ff9b:1::5",
            "2001::5",
            "fe80::5",
            "::1",
            "::192.0.2.5",
            // Beside shared addresses, in one network with them.
            "64:ff9b::1:0:0:5",
            "::1:0:0:5",
        ] {
            check(stock, shared, "itself");
        }
        check(&[("ipv6", "48")], "64:ff9b:0:2::5", "itself");
        check(stock, "64:ff9b:0:2::5", "64:ff9b:0:2::/64");
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let mut prefix = prefix(&[("ipv6", "64"), ("widen", "4")]);
        let before = prefix;
        for (part, text) in [
            ("ipv6", "47"),
            ("ipv6", "129"),
            ("ipv6", "0"),
            ("ipv6", "-1"),
            ("ipv6", "+64"),
            ("ipv6", "sixty-four"),
            ("ipv6", "//64"),
            ("ipv6", "64 # comment"),
            ("ipv6", "99999999999999999999"),
            ("ipv4", "23"),
            ("ipv4", "33"),
            ("widen", "1"),
            ("widen", "-4"),
            ("widen", "100001"),
            ("widen.ipv4", "16"),
            ("widen.ipv4", "32"),
            ("widen.ipv6", "32"),
            ("wide", "4"),
        ] {
            assert!(prefix.set(part, text).is_err(), "{part} = {text}");
            assert_eq!(prefix, before, "{part} = {text}");
        }
        prefix.set("ipv6", "").unwrap();
        prefix.set("widen", "0").unwrap();
        assert!(prefix.is_off() && prefix.get("ipv6").is_none());
    }

    #[test]
    fn a_ban_is_evidence_for_what_is_wider() {
        let check = |options: &[(&str, &str)], id: &str, expect: Option<&str>| {
            let wide = prefix(options).widened(&Id::parse(id).unwrap());
            let wide = wide.map(|net| Id::Net(net).to_string());
            assert_eq!(wide.as_deref(), expect, "{options:?} {id}");
        };
        check(&[("widen", "4")], "192.0.2.5", Some("192.0.2.0/24"));
        check(&[("widen", "4")], "192.0.2.0/28", Some("192.0.2.0/24"));
        check(&[("widen", "4")], "192.0.2.0/24", None);
        check(&[("widen", "4")], "2001:db8:1:2::/64", Some("2001:db8:1::/56"));
        check(&[("widen", "4")], "2001:db8:1:2::5", Some("2001:db8:1::/56"));
        check(
            &[("widen", "4"), ("widen.ipv6", "48")],
            "2001:db8:1:2::/64",
            Some("2001:db8:1::/48"),
        );
        check(&[("widen", "4"), ("widen.ipv6", "64")], "2001:db8:1:2::/64", None);
        check(&[("widen", "4")], "somebody", None);
        check(&[("widen", "4")], "64:ff9b::c000:205", None);
        check(&[("widen", "4")], "::ffff:192.0.2.0/120", None);
        check(&[("widen", "0")], "192.0.2.5", None);
        check(&[], "192.0.2.5", None);
    }

    #[test]
    fn around_an_address() {
        let around: Vec<IpNet> = Prefix::around("192.0.2.5".parse().unwrap()).collect();
        assert_eq!(around.len(), 8);
        assert_eq!(around.first().unwrap().to_string(), "192.0.2.4/31");
        assert_eq!(around.last().unwrap().to_string(), "192.0.2.0/24");
        assert_eq!(Prefix::around("2001:db8::1".parse().unwrap()).count(), 80);
    }
}
