//! The list of one rule as it is written.

use proptest::prelude::*;

use super::*;

/// What was read, what is wanted and what is to go, and the list or what stands against it.
const LISTS: &[(&str, &str, &str, Result<&str, &str>)] = &[
    ("", "", "", Ok("192.0.2.1/32")),
    ("", "198.51.100.7", "", Ok("192.0.2.1/32 198.51.100.7/32")),
    (
        "203.0.113.9/32 192.0.2.1/32",
        "198.51.100.7",
        "",
        Ok("203.0.113.9/32 192.0.2.1/32 198.51.100.7/32"),
    ),
    (
        "203.0.113.9 198.51.100.0/24",
        "",
        "",
        Ok("203.0.113.9/32 198.51.100.0/24 192.0.2.1/32"),
    ),
    ("192.0.2.1 198.51.100.7", "", "198.51.100.7", Ok("192.0.2.1/32")),
    ("198.51.100.7", "", "198.51.100.7", Ok("192.0.2.1/32")),
    ("192.0.2.1/32", "", "192.0.2.1", Ok("192.0.2.1/32")),
    (
        "192.0.2.1 198.51.100.7 198.51.100.7/32",
        "198.51.100.7",
        "",
        Ok("192.0.2.1/32 198.51.100.7/32"),
    ),
    (
        "192.0.2.1 198.51.100.7/24 198.51.100.0/24",
        "",
        "",
        Ok("192.0.2.1/32 198.51.100.0/24"),
    ),
    (
        "192.0.2.1 198.51.100.7",
        "198.51.100.7",
        "198.51.100.7",
        Ok("192.0.2.1/32 198.51.100.7/32"),
    ),
    (
        "192.0.2.1",
        "198.51.100.9 198.51.100.7",
        "",
        Ok("192.0.2.1/32 198.51.100.7/32 198.51.100.9/32"),
    ),
    ("192.0.2.1 8.0.0.0/8", "", "", Ok("192.0.2.1/32 8.0.0.0/8")),
    ("192.0.2.1 garbage", "", "", Err("its entry 'garbage' is no network")),
    (
        "192.0.2.1 192.0.2.300",
        "",
        "",
        Err("its entry '192.0.2.300' is no network"),
    ),
    (
        "192.0.2.1 192.0.2.0/33",
        "",
        "",
        Err("its entry '192.0.2.0/33' is no network"),
    ),
    (
        "192.0.2.1 \u{1b}[31m",
        "",
        "",
        Err("its entry '\\u{1b}[31m' is no network"),
    ),
    (
        "192.0.2.1 2001:db8::/32",
        "",
        "",
        Err("it holds 2001:db8::/32, and a rule takes either IPv4 or IPv6"),
    ),
    (
        "192.0.2.1",
        "2001:db8::5",
        "",
        Err("2001:db8::5/128 does not belong into a rule for inet4"),
    ),
    (
        "0.0.0.0/0",
        "198.51.100.7",
        "",
        Err("it holds 0.0.0.0/0, which denies nearly everybody"),
    ),
    (
        "192.0.2.1 8.0.0.0/7",
        "",
        "8.0.0.0/7",
        Err("it holds 8.0.0.0/7, which denies nearly everybody"),
    ),
    (
        "192.0.2.1",
        "8.0.0.0/7",
        "",
        Err("8.0.0.0/7 is wider than any ban in a firewall rule"),
    ),
];

#[test]
fn the_list_that_is_written() {
    for (read, want, gone, expect) in LISTS {
        let texts: Vec<String> = read.split_whitespace().map(str::to_owned).collect();
        let list = target(&texts, &nets(want), &nets(gone), Family::Inet4);
        let shown = list.map(|list| list.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" "));
        let shown = shown.as_deref().map_err(String::as_str);
        assert_eq!(shown, *expect, "{read} + {want} - {gone}");
    }
}

#[test]
fn the_list_of_the_other_family() {
    let read = ["::ffff:192.0.2.7".to_owned(), "2001:DB8:0:0::5".to_owned()];
    let list = target(&read, &nets("2001:db8:7::/64"), &nets("2001:db8::5"), Family::Inet6).unwrap();
    assert_eq!(list, nets("::ffff:192.0.2.7/128 2001:db8::1/128 2001:db8:7::/64"));
    assert!(target(&read, &nets("192.0.2.7"), &[], Family::Inet6).is_err());
}

fn few() -> impl Strategy<Value = Vec<IpNet>> {
    let net = (0_u8..16, 28_u8..=32).prop_map(|(low, length)| {
        IpNet::new(std::net::Ipv4Addr::new(192, 0, 2, low).into(), length)
            .unwrap()
            .trunc()
    });
    prop::collection::vec(net, 0..12)
}

proptest! {
    #[test]
    fn a_list_is_what_was_read_and_wanted_without_what_is_gone(read in few(), want in few(), gone in few()) {
        let sentinel = net("192.0.2.1/32");
        let texts: Vec<String> = read.iter().map(IpNet::to_string).collect();
        let list = target(&texts, &want, &gone, Family::Inet4).unwrap();
        let mut model: BTreeSet<IpNet> = read.iter().filter(|net| !gone.contains(net)).copied().collect();
        model.extend(&want);
        model.insert(sentinel);
        prop_assert_eq!(list.len(), model.len());
        prop_assert_eq!(&list.iter().copied().collect::<BTreeSet<_>>(), &model);
        // Written and read again it asks for nothing more.
        let texts: Vec<String> = list.iter().map(IpNet::to_string).collect();
        let gone: Vec<IpNet> = gone.into_iter().filter(|net| !want.contains(net)).collect();
        prop_assert_eq!(target(&texts, &want, &gone, Family::Inet4).unwrap(), list);
    }

    #[test]
    fn whatever_stands_in_a_list_is_read_without_harm(texts in prop::collection::vec(any::<String>(), 0..4), of_six: bool) {
        let of = if of_six { Family::Inet6 } else { Family::Inet4 };
        if let Ok(list) = target(&texts, &[], &[], of) {
            prop_assert!(!list.is_empty() && texts.iter().all(|text| entry(text).is_some_and(|net| list.contains(&net))));
        }
    }
}
