//! Which bans are never written, and why.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{entry, inside, normal};
use crate::cloud::SENTINELS;
use crate::cloud::aggregate::ceiling;

/// Networks that are never written, whatever the options say.
const ALWAYS: [(&str, &str); 11] = [
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("169.254.169.254/32", "the cloud metadata server"),
    ("fd20:ce::254/128", "the cloud metadata server"),
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("0.0.0.0/8", "unspecified addresses"),
    ("::/128", "the unspecified address"),
    ("255.255.255.255/32", "broadcast"),
];

/// Networks that are written only where the options allow it: whoever comes from them is inside the VPC, or behind
/// the same carrier's NAT (RFC 1918, RFC 4193, RFC 6598; compute v1 lets subnets use 240.0.0.0/4 as well).
const PRIVATE: [&str; 6] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "240.0.0.0/4",
    "fc00::/7",
];

/// The private ranges.
pub fn private() -> impl Iterator<Item = IpNet> {
    PRIVATE.iter().filter_map(|text| entry(text))
}

/// Networks, to be asked which of them another one touches: two networks touch where one holds the other.
#[derive(Default)]
struct Nets<'a> {
    by_net: BTreeMap<IpNet, &'a str>,
    /// The lengths that occur, so that few questions find what holds a network
    lengths: BTreeSet<u8>,
}

impl<'a> Nets<'a> {
    /// Of two that are the same, the first is kept.
    fn of(nets: impl IntoIterator<Item = (IpNet, &'a str)>) -> Nets<'a> {
        let mut known = Nets::default();
        for (net, what) in nets {
            let net = normal(net);
            known.lengths.insert(net.prefix_len());
            known.by_net.entry(net).or_insert(what);
        }
        known
    }

    /// One that touches this network: the narrowest that holds it, or else the first within it.
    fn touched(&self, range: &IpNet) -> Option<(&IpNet, &'a str)> {
        let wider = self.lengths.range(..=range.prefix_len()).rev();
        let holding = wider.filter_map(|length| IpNet::new(range.addr(), *length).ok());
        let mut holding = holding.filter_map(|net| self.by_net.get_key_value(&net.trunc()));
        let within = || self.by_net.range(inside(range)).next();
        holding.next().or_else(within).map(|(net, what)| (net, *what))
    }
}

/// Everything that keeps a ban out of the rules.
pub(super) struct Fence<'a> {
    /// All that follows, merged: most bans touch none of it, which one look tells
    all: Vec<IpNet>,
    sentinels: Vec<IpNet>,
    always: Nets<'a>,
    protected: Nets<'a>,
    private: Option<Nets<'a>>,
}

impl<'a> Fence<'a> {
    pub(super) fn new(protected: &'a [(IpNet, String)], allow_private: bool) -> Fence<'a> {
        let always = ALWAYS.iter().filter_map(|(text, what)| Some((entry(text)?, *what)));
        let private = private().map(|net| (net, "a private range"));
        let always = Nets::of(always);
        let protected = Nets::of(protected.iter().map(|(net, what)| (*net, what.as_str())));
        let private = (!allow_private).then(|| Nets::of(private));
        let nets = [Some(&always), Some(&protected), private.as_ref()];
        let all = nets
            .iter()
            .flatten()
            .flat_map(|nets| nets.by_net.keys().copied())
            .collect();
        Fence {
            all: IpNet::aggregate(&all),
            sentinels: SENTINELS.iter().filter_map(|text| entry(text)).collect(),
            always,
            protected,
            private,
        }
    }

    /// Whether this range touches any of the networks at all. Those are sorted and apart from each other, so that only
    /// the last that begins no later, and the one after it, can.
    fn is_near(&self, range: &IpNet) -> bool {
        let next = self.all.partition_point(|net| net <= range);
        let holds = next.checked_sub(1).and_then(|last| self.all.get(last));
        holds.is_some_and(|net| net.contains(range)) || self.all.get(next).is_some_and(|net| range.contains(net))
    }

    /// Why this range is not written, if it is not. What no option changes is said first.
    pub(super) fn refuses(&self, range: &IpNet) -> Option<String> {
        if self.sentinels.contains(range) {
            return Some("it stands in every rule anyway, so that none is ever empty".to_owned());
        }
        if range.prefix_len() < ceiling(range) {
            return Some(format!("protected: {range} is wider than /{}", ceiling(range)));
        }
        if !self.is_near(range) {
            return None;
        }
        let of = |nets: &Nets<'_>| nets.touched(range).map(|(net, what)| describe(range, net, what));
        of(&self.always)
            .or_else(|| of(&self.protected))
            .or_else(|| Some(of(self.private.as_ref()?)? + "; allow_private=yes lets it be written"))
    }
}

/// What a range touches, in words.
fn describe(range: &IpNet, net: &IpNet, what: &str) -> String {
    if net == range {
        format!("protected: {what}")
    } else if net.contains(range) {
        format!("protected: within {net}, {what}")
    } else {
        format!("protected: holds {net}, {what}")
    }
}
