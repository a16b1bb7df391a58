//! The system's resolver, asked as Fail2Ban asks it (contract §3.5, §4.6, §13.9). Everything here may take long.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use dns_lookup::{AddrInfoHints, LookupError};
use portcullis_core::address::{Id, canonical};
use portcullis_core::config::parse_bool;

/// The longest host name, a final dot included, and the longest part of one (RFC 1035 §2.3.4).
const LONGEST: usize = 254;
const LONGEST_LABEL: usize = 63;
/// Where the kernel says whether it has IPv6.
const DISABLED: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// Numbers of the C library.
const INET: i32 = 2;
const INET6: i32 = 10;
const TCP: i32 = 6;
const DATAGRAM: i32 = 2;
const CANONICAL_NAME: i32 = 2;

/// What `allowipv6` says: it concerns the whole process, as it does in Fail2Ban.
static ALLOW_IPV6: AtomicU8 = AtomicU8::new(AUTO);
const AUTO: u8 = 2;

/// Takes over `allowipv6`: `auto`, or a truth.
pub(super) fn allow_ipv6(option: &str) {
    let value = if option.eq_ignore_ascii_case("auto") {
        AUTO
    } else {
        u8::from(parse_bool(option))
    };
    ALLOW_IPV6.store(value, Ordering::Relaxed);
}

/// Whether IPv6 is allowed (contract §4.6).
pub(super) fn ipv6_is_allowed() -> bool {
    match ALLOW_IPV6.load(Ordering::Relaxed) {
        AUTO => kernel_has_ipv6(),
        value => value == 1,
    }
}

fn kernel_has_ipv6() -> bool {
    use rustix::net::{AddressFamily, SocketType, socket};
    match fs::read_to_string(DISABLED)
        .ok()
        .and_then(|text| text.trim().parse::<i64>().ok())
    {
        Some(disabled) => disabled == 0,
        None => socket(AddressFamily::INET6, SocketType::STREAM, None).is_ok(),
    }
}

/// The addresses of a name: those of IPv4 and, where it is allowed, of IPv6.
///
/// # Errors
/// Why there is none, as Fail2Ban's log says it; nothing is an error that found any address.
pub(super) fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    if let Some(reason) = is_no_name(name) {
        return Err(reason.to_owned());
    }
    let mut found = BTreeSet::new();
    let mut failure = None;
    let families: &[i32] = if ipv6_is_allowed() { &[INET, INET6] } else { &[INET] };
    for family in families {
        let hints = AddrInfoHints {
            address: *family,
            protocol: TCP,
            ..AddrInfoHints::default()
        };
        match dns_lookup::getaddrinfo(Some(name), None, Some(hints)) {
            Ok(answers) => found.extend(answers.flatten().filter_map(|answer| global(answer.sockaddr))),
            Err(error) => failure = Some(explain(error)),
        }
    }
    match failure {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found.into_iter().collect()),
    }
}

/// An address without a zone; one with a zone is none to Fail2Ban.
fn global(address: SocketAddr) -> Option<IpAddr> {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => None,
        address => Some(canonical(address.ip())),
    }
}

/// What no resolver is bothered with. Names with letters that DNS does not have are looked up by Fail2Ban after a
/// translation (D-104).
fn is_no_name(name: &str) -> Option<&'static str> {
    if name.contains('\0') {
        Some("embedded null character")
    } else if !name.is_ascii() {
        Some("it has letters that DNS does not have")
    } else if name.is_empty() || name.len() > LONGEST {
        Some("[Errno -2] Name or service not known")
    } else if labels(name).any(|label| label.is_empty() || label.len() > LONGEST_LABEL) {
        Some("encoding with 'idna' codec failed (UnicodeError: label empty or too long)")
    } else {
        None
    }
}

/// The parts of a name, which may end with a dot.
fn labels(name: &str) -> impl Iterator<Item = &str> {
    name.strip_suffix('.').unwrap_or(name).split('.')
}

/// What the usual library says of a number, because the static program's says it in other words.
const REASONS: [(i32, &str); 4] = [
    (-2, "Name or service not known"),
    (-3, "Temporary failure in name resolution"),
    (-4, "Non-recoverable failure in name resolution"),
    (-5, "No address associated with hostname"),
];

/// As Python's exception has it.
fn explain(error: LookupError) -> String {
    let number = error.error_num();
    if let Some((_, text)) = REASONS.iter().find(|(known, _)| *known == number) {
        return format!("[Errno {number}] {text}");
    }
    let text = std::io::Error::from(error).to_string();
    let text = text
        .rsplit_once("information: ")
        .map_or(text.as_str(), |(_, text)| text);
    format!("[Errno {number}] {text}")
}

/// The primary name of an address (`<ip-host>`); what is no address is looked up first.
pub(super) fn reverse(id: &Id) -> Option<String> {
    let address = match id {
        Id::Ip(ip) => *ip,
        Id::Net(_) => return None,
        Id::Raw(name) if is_no_name(name).is_some() => return None,
        Id::Raw(name) => {
            let answers = dns_lookup::getaddrinfo(Some(name), None, None).ok()?;
            answers.flatten().next()?.sockaddr.ip()
        }
    };
    dns_lookup::lookup_addr(&address)
        .ok()
        .filter(|name| name.parse::<IpAddr>().is_err())
}

/// This machine's short name.
pub(super) fn short_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This machine's full name: the canonical one that begins with the short one, else the first canonical one, else the
/// short one (contract §13.9).
pub(super) fn full_name() -> String {
    let host = short_name();
    let hints = AddrInfoHints {
        flags: CANONICAL_NAME,
        socktype: DATAGRAM,
        ..AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(&host), None, Some(hints));
    let names: Vec<String> = found
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|info| info.canonname)
        .filter(|name| !name.is_empty())
        .collect();
    let full = names.iter().find(|name| name.starts_with(&format!("{host}.")));
    full.or(names.first()).cloned().unwrap_or(host)
}

/// The addresses of our own interfaces: at once.
pub(super) fn own_addresses() -> BTreeSet<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().map(|interface| canonical(interface.ip())).collect()
}

/// Those, and what our own names resolve to, which may take a while (contract §4.1).
pub(super) fn own_addresses_and_names() -> BTreeSet<IpAddr> {
    let mut own = own_addresses();
    let names = BTreeSet::from(["localhost".to_owned(), short_name(), full_name()]);
    for name in names {
        own.extend(look_up(&name).into_iter().flatten());
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_resolver_is_bothered_with_these() {
        let long = "a".repeat(64);
        for name in [
            "",
            "a\0b",
            "bücher.example",
            "a..b",
            ".",
            "a.b..",
            &long,
            &"a.".repeat(200),
        ] {
            assert!(is_no_name(name).is_some(), "{name}");
        }
        for name in ["a", "a.b.", "a b", "192.0.2.1", "under_score.example"] {
            assert!(is_no_name(name).is_none(), "{name}");
        }
    }

    #[test]
    fn an_address_is_its_own() {
        assert_eq!(look_up("192.0.2.1"), Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert!(look_up("a..b").is_err());
        assert!(own_addresses_and_names().contains(&"127.0.0.1".parse().unwrap()));
    }
}
