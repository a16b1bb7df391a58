//! The cloud firewall: from bans to the lists of addresses in firewall rules that are kept elsewhere.
//!
//! In come bans, what was read of the rules, and what became of calls; out go calls, records and facts. Nothing here
//! knows HTTP, a clock or a file: a [`Reconciler`](reconcile::Reconciler) is one project's rules as a state machine,
//! its [`books`] say what in them is ours, and [`desired`] is a pure function from bans to lists.

pub mod aggregate;
pub mod books;
pub mod desired;
pub mod gcloud;
pub mod options;
pub mod reconcile;
pub mod rule;
pub mod trouble;

use ipnet::IpNet;

use crate::address::canonical;

/// What stands in a rule so that its list is never empty: documentation addresses (RFC 5737, RFC 3849), which nobody
/// has. A deny rule without sources denies everybody.
pub const SENTINELS: [&str; 2] = ["192.0.2.1/32", "2001:db8::1/128"];

/// The one spelling of a network: no host bits, and IPv4 where IPv4 was mapped into IPv6.
#[must_use]
pub fn normal(net: IpNet) -> IpNet {
    let net = net.trunc();
    match (net, canonical(net.addr())) {
        (IpNet::V6(six), std::net::IpAddr::V4(four)) if six.prefix_len() >= 96 => {
            IpNet::new_assert(four.into(), six.prefix_len() - 96)
        }
        _ => net,
    }
}

/// Whether this is the sentinel of its family.
#[must_use]
pub fn is_sentinel(net: &IpNet) -> bool {
    SENTINELS.iter().any(|text| text.parse() == Ok(*net))
}
