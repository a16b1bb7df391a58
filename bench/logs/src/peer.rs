//! Who a line is about: an address, and the name that it has or does not have.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::chance::mixed;

/// 198.18.0.0/15, which is kept for measurements; nobody's configuration ignores it
const ATTACKERS_V4: u32 = 0xC612_0000;
const ATTACKERS_V4_COUNT: u64 = 1 << 17;
/// 10.0.0.0/8
const CUSTOMERS_V4: u32 = 0x0A00_0000;
const NAMES: [&str; 6] = ["static", "dsl", "pool", "host", "ip", "cable"];

/// Somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    attacks: bool,
    number: u64,
}

impl Peer {
    /// The attacker of a number; no two numbers below 2⁶⁰ have the same address. Three quarters have IPv4, as long as
    /// there are addresses.
    pub(crate) const fn attacker(number: u64) -> Self {
        Self { attacks: true, number }
    }

    /// The customer of a number, of which there are 2²⁴ with IPv4.
    pub(crate) const fn customer(number: u64) -> Self {
        Self { attacks: false, number }
    }

    fn four(self) -> Option<Ipv4Addr> {
        let ordinal = self.number / 4 * 3 + self.number % 4;
        if self.number % 4 == 3 {
            return None;
        }
        // Odd factors and powers of two: every address comes once.
        if self.attacks {
            let spread = ordinal.wrapping_mul(0x2_6D35) % ATTACKERS_V4_COUNT;
            (ordinal < ATTACKERS_V4_COUNT).then(|| Ipv4Addr::from(ATTACKERS_V4 | spread as u32))
        } else {
            Some(Ipv4Addr::from(
                CUSTOMERS_V4 | (ordinal.wrapping_mul(0x9E_3779) as u32 & 0xFF_FFFF),
            ))
        }
    }

    /// 2001:db8:a::/48 for attackers, 2001:db8:c::/48 for customers; the number is in it, so that it is the only one.
    fn six(self) -> Ipv6Addr {
        let network = if self.attacks { 0xA } else { 0xC };
        let low = if self.number % 8 == 7 {
            self.number
        } else {
            self.number << 20
        };
        let part = |shift: u32| (low >> shift) as u16;
        Ipv6Addr::new(
            0x2001,
            0xDB8,
            network,
            u16::from(self.number % 8 == 7),
            part(48),
            part(32),
            part(16),
            part(0),
        )
    }

    /// Appends the address.
    pub(crate) fn address(self, out: &mut String) {
        let _ = match self.four() {
            Some(four) => write!(out, "{four}"),
            None => write!(out, "{}", self.six()),
        };
    }

    /// Appends the name of the address, or `unknown`.
    pub(crate) fn name(self, out: &mut String) {
        let bits = mixed(self.number.wrapping_add(u64::from(self.attacks) << 40));
        if bits % 8 < if self.attacks { 5 } else { 1 } {
            out.push_str("unknown");
            return;
        }
        let kind = NAMES[(bits >> 8) as usize % NAMES.len()];
        let (first, second) = (bits >> 16 & 255, bits >> 24 & 255);
        let _ = write!(out, "{kind}-{first}-{second}.net{}.example.net", bits >> 32 & 63);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Peer;

    fn addresses(peer: fn(u64) -> Peer, count: u64) -> BTreeSet<String> {
        let text = |number| {
            let mut text = String::new();
            peer(number).address(&mut text);
            text
        };
        (0..count).map(text).collect()
    }

    #[test]
    fn every_number_has_its_own_address() {
        let (attackers, customers) = (addresses(Peer::attacker, 180_000), addresses(Peer::customer, 50_000));
        assert_eq!((attackers.len(), customers.len()), (180_000, 50_000));
        assert!(attackers.is_disjoint(&customers));
        assert_eq!(attackers.iter().filter(|text| text.contains('.')).count(), 1 << 17);
        assert!(
            attackers
                .iter()
                .all(|text| text.starts_with("198.1") || text.starts_with("2001:db8:a:"))
        );
    }
}
