//! Who was banned where: a table for looking up thousands of sockets in thousands of bans.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_core::address::canonical;

use super::Victim;
use crate::enforce::ports::{Ports, Protocol};

/// What a ban covers: ports that the client dialled, and protocols; no protocols are all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    /// The ports
    pub ports: Ports,
    /// The protocols
    pub protocols: Vec<Protocol>,
}

impl Cover {
    /// Whether a flow of this protocol (its number in the IP header) to this port is within; as the rules of
    /// nftables have it.
    fn covers(&self, protocol: u8, port: u16) -> bool {
        if !self.has(protocol) {
            return false;
        }
        let is_ported = Protocol::PORTED.iter().any(|ported| ported.number() == protocol);
        match &self.ports {
            Ports::All => true,
            Ports::Some(ranges) if is_ported => ranges.iter().any(|range| (range.first..=range.last).contains(&port)),
            // Ports limit only what has some; where all protocols are meant, they are all that has.
            Ports::Some(_) => !self.protocols.is_empty(),
        }
    }

    fn has(&self, protocol: u8) -> bool {
        self.protocols.is_empty() || self.protocols.iter().any(|own| own.number() == protocol)
    }
}

/// Bans, by network.
#[derive(Debug, Default)]
pub(super) struct Victims {
    covers: HashMap<IpNet, Vec<Arc<Cover>>>,
    /// The lengths of the networks, by family, IPv4 first
    lengths: [BTreeSet<u8>; 2],
}

impl Victims {
    /// A table of these; the same ban twice is one.
    pub(super) fn new(victims: impl IntoIterator<Item = Victim>) -> Victims {
        let mut table = Victims::default();
        for Victim { net, cover } in victims {
            let net = net.trunc();
            let [v4, v6] = &mut table.lengths;
            if net.addr().is_ipv4() { v4 } else { v6 }.insert(net.prefix_len());
            let covers = table.covers.entry(net).or_default();
            if !covers.contains(&cover) {
                covers.push(cover);
            }
        }
        table
    }

    /// How many networks and addresses.
    pub(super) fn count(&self) -> usize {
        self.covers.len()
    }

    /// Whether there are any of IPv4, and of IPv6.
    pub(super) fn families(&self) -> (bool, bool) {
        let [v4, v6] = &self.lengths;
        (!v4.is_empty(), !v6.is_empty())
    }

    /// Whether any ban covers this protocol.
    pub(super) fn concern(&self, protocol: Protocol) -> bool {
        self.covers.values().flatten().any(|cover| cover.has(protocol.number()))
    }

    /// Whether what `remote` has with our port, by a protocol, is banned. What comes from the machine itself never is.
    pub(super) fn strike(&self, remote: IpAddr, protocol: u8, port: u16) -> bool {
        let remote = canonical(remote);
        if remote.is_loopback() || remote.is_unspecified() {
            return false;
        }
        let [v4, v6] = &self.lengths;
        let lengths = if remote.is_ipv4() { v4 } else { v6 };
        lengths.iter().any(|length| {
            let net = IpNet::new(remote, *length).map(|net| net.trunc());
            let covers = net.ok().and_then(|net| self.covers.get(&net));
            covers.is_some_and(|covers| covers.iter().any(|cover| cover.covers(protocol, port)))
        })
    }
}
