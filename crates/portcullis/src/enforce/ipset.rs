//! The kernel's sets of `ipset`: only their names, and only looked at.

use rustix::io::Errno;
use rustix::net::netlink;

use super::netlink::{Netlink, Request, attributes};

/// The subsystem of netfilter that sets have, and its verb that lists them.
const LIST: u16 = 6 << 8 | 7;
/// The family of a request, the version of netfilter's header, no resource.
const HEADER: [u8; 4] = [2, 0, 0, 0];
/// The version of the protocol that every kernel understands.
const PROTOCOL: u8 = 6;
/// Only the names are asked for.
const NAMES_ONLY: u32 = 2;
/// Attributes: the version, a set's name, flags in the network's byte order.
const OF_PROTOCOL: u16 = 1;
const OF_NAME: u16 = 2;
const OF_FLAGS: u16 = 0x4000 | 6;

/// The names of all sets.
///
/// # Errors
/// The kernel has no sets, or they may not be looked at.
pub(crate) fn names() -> Result<Vec<String>, Errno> {
    let mut payload = HEADER.to_vec();
    let mut put = |kind: u16, value: &[u8]| {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        payload.extend(length.to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(value);
        payload.resize(payload.len().next_multiple_of(4), 0);
    };
    put(OF_PROTOCOL, &[PROTOCOL]);
    put(OF_FLAGS, &NAMES_ONLY.to_be_bytes());
    let mut names = Vec::new();
    let request = Request { kind: LIST, payload };
    Netlink::open(netlink::NETFILTER)?.list(&request, |message| {
        let body = message.get(HEADER.len()..).unwrap_or_default();
        let name = attributes(body).find(|attribute| attribute.kind() == OF_NAME);
        let name = name.map(|name| String::from_utf8_lossy(name.value()).trim_end_matches('\0').to_owned());
        names.extend(name);
    })?;
    Ok(names)
}
