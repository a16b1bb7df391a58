//! Fewer and wider networks that cover exactly the same addresses.
//!
//! In come networks of one or both families, out go as few as will do, in order. Nothing is lost and nothing is
//! gained: what a rule with the result denies is what a rule with the networks themselves would.

use ipnet::IpNet;

#[cfg(test)]
mod tests;

/// No range that is written into a rule is wider, by family: IPv4 and IPv6.
pub const CEILINGS: (u8, u8) = (8, 19);

/// The shortest prefix that may be written, for the family of this network.
#[must_use]
pub(crate) fn ceiling(net: &IpNet) -> u8 {
    match net {
        IpNet::V4(_) => CEILINGS.0,
        IpNet::V6(_) => CEILINGS.1,
    }
}

/// The fewest networks that cover exactly the addresses of `ranges`, sorted, IPv4 first; none of them is wider than
/// [`CEILINGS`], and what comes in wider goes out in parts. Host bits count for nothing. Linear after sorting.
///
/// Every range that is no wider than the ceilings lies within exactly one of the result.
#[must_use]
pub fn aggregate(ranges: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    let whole = IpNet::aggregate(&ranges.into_iter().collect());
    whole.into_iter().flat_map(parts).collect()
}

/// A network in parts that are no wider than the ceiling; itself where it is none.
fn parts(net: IpNet) -> impl Iterator<Item = IpNet> {
    let length = ceiling(&net).max(net.prefix_len());
    net.subnets(length).into_iter().flatten()
}
