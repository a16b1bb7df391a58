//! Aggregation against tables, and against a look at every address.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::{CEILINGS, aggregate, ceiling};

fn nets(text: &str) -> Vec<IpNet> {
    text.split_whitespace().map(|net| net.parse().unwrap()).collect()
}

#[test]
fn what_becomes_one() {
    let check = |ranges: &str, expect: &str| assert_eq!(aggregate(nets(ranges)), nets(expect), "{ranges}");
    check("", "");
    check("192.0.2.5/32", "192.0.2.5/32");
    check("192.0.2.5/32 192.0.2.5/32", "192.0.2.5/32");
    check("192.0.2.4/32 192.0.2.5/32", "192.0.2.4/31");
    check("192.0.2.5/32 192.0.2.6/32", "192.0.2.5/32 192.0.2.6/32");
    check("192.0.2.9/32 192.0.2.0/24", "192.0.2.0/24");
    check("192.0.2.9/24", "192.0.2.0/24");
    check("192.0.2.0/25 192.0.2.128/26 192.0.2.192/26", "192.0.2.0/24");
    check(
        "2001:db8:0:1::/64 192.0.2.1/32 2001:db8::/64",
        "192.0.2.1/32 2001:db8::/63",
    );
    check(
        "255.255.255.254/32 255.255.255.255/32 0.0.0.0/32",
        "0.0.0.0/32 255.255.255.254/31",
    );
    check("10.0.0.0/8 11.0.0.0/8", "10.0.0.0/8 11.0.0.0/8");
    check("10.0.0.0/9 10.128.0.0/9 11.0.0.0/8", "10.0.0.0/8 11.0.0.0/8");
    check("2001:4000::/19 2001:6000::/19", "2001:4000::/19 2001:6000::/19");
    check("10.0.0.0/7", "10.0.0.0/8 11.0.0.0/8");
}

#[test]
fn the_whole_of_a_family_comes_in_parts() {
    let all = aggregate(nets("0.0.0.0/0"));
    assert_eq!(all.len(), 256);
    assert!(all.iter().all(|net| net.prefix_len() == CEILINGS.0));
    assert_eq!(aggregate(nets("::/0")).len(), 1 << 19);
}

/// Networks of 0 to 6 addresses' bits within one /26 or /122, so that every address can be looked at.
fn small() -> impl Strategy<Value = Vec<IpNet>> {
    let net = (any::<bool>(), 0_u8..64, prop_oneof![3 => Just(0_u8), 2 => 1_u8..=6]);
    let net = net.prop_map(|(is_v4, low, bits)| {
        let (ip, full): (IpAddr, u8) = if is_v4 {
            (Ipv4Addr::new(192, 0, 2, low).into(), 32)
        } else {
            (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low.into()).into(), 128)
        };
        IpNet::new(ip, full - bits).unwrap().trunc()
    });
    prop::collection::vec(net, 0..40)
}

/// Every address of a few small networks.
fn addresses(nets: &[IpNet]) -> BTreeSet<IpAddr> {
    let each = |net: &IpNet| match net {
        IpNet::V4(four) => four
            .subnets(32)
            .unwrap()
            .map(|net| net.addr().into())
            .collect::<Vec<IpAddr>>(),
        IpNet::V6(six) => six.subnets(128).unwrap().map(|net| net.addr().into()).collect(),
    };
    nets.iter().flat_map(each).collect()
}

proptest! {
    #[test]
    fn the_same_addresses_in_the_fewest_networks(ranges in small()) {
        let result = aggregate(ranges.iter().copied());
        prop_assert_eq!(addresses(&result), addresses(&ranges));
        prop_assert!(result.is_sorted());
        prop_assert_eq!(&aggregate(result.iter().copied()), &result);
        // Fewest: none lies in another, and no two are the halves of one.
        for (place, one) in result.iter().enumerate() {
            for other in result.iter().skip(place + 1) {
                prop_assert!(!one.contains(other) && !other.contains(one), "{} {}", one, other);
                prop_assert!(one.supernet() != other.supernet() || one.prefix_len() != other.prefix_len(), "{} {}", one, other);
            }
        }
        for range in &ranges {
            prop_assert_eq!(result.iter().filter(|wide| wide.contains(range)).count(), 1);
        }
    }

    #[test]
    fn never_wider_than_the_ceilings(ranges in prop::collection::vec((any::<u8>(), 3_u8..12), 0..200)) {
        let wide = |(high, length): (u8, u8)| IpNet::new(Ipv4Addr::new(high, 0, 0, 0).into(), length).unwrap().trunc();
        let ranges: Vec<IpNet> = ranges.into_iter().map(wide).collect();
        let result = aggregate(ranges.iter().copied());
        prop_assert!(result.iter().all(|net| net.prefix_len() >= ceiling(net)));
        let size = |nets: &[IpNet]| nets.iter().map(|net| 1_u64 << (32 - net.prefix_len())).sum::<u64>();
        prop_assert_eq!(size(&result), size(&IpNet::aggregate(&ranges)));
        prop_assert!(result.is_sorted());
    }
}
