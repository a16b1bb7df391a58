//! Who is never written to a cloud rule, besides what no native layer bans ([`protect`](crate::enforce::protect)):
//! ranges of Google's own over which people and names reach the machine, and [`visitors`].
//!
//! A deny rule of the network is not undone by a login on the machine, so it must not shut out who could do that.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::visitors::{self, VISITOR};

/// Ranges of Google's, as it publishes them, from which nobody attacks and without which something stands still.
const RANGES: &[(&str, &str)] = &[
    ("35.235.240.0/20", "Google IAP, the way in for SSH from the console"),
    ("2600:2d00:1:7::/64", "Google IAP, the way in for SSH from the console"),
    ("35.199.192.0/19", "Google Cloud DNS, which forwards queries"),
    ("2600:2d00:1:b029::/64", "Google health checks"),
    ("2600:2d00:1:1::/64", "Google load balancers"),
];

/// Networks that must not be written to a cloud rule now, and what they are. A wider network that holds one of them
/// must not be written either. Cheap enough to be asked before every write; never fails.
pub(crate) fn spared() -> Vec<(IpNet, String)> {
    with(visitors::visitors())
}

/// The same, of these visitors.
pub(crate) fn with(visitors: BTreeSet<IpNet>) -> Vec<(IpNet, String)> {
    let ranges = RANGES
        .iter()
        .filter_map(|(net, what)| Some((net.parse().ok()?, (*what).to_owned())));
    let visitors = visitors.into_iter().map(|net| (net, VISITOR.to_owned()));
    ranges.chain(visitors).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_spared_on_every_machine() {
        let spared = spared();
        let nets: Vec<String> = spared.iter().map(|(net, _)| net.to_string()).collect();
        assert_eq!(
            nets[..RANGES.len()],
            RANGES.iter().map(|(net, _)| *net).collect::<Vec<_>>()
        );
    }
}
