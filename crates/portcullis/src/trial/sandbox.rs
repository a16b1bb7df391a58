//! A private network: a network namespace with the documentation addresses on its loopback, and nothing else.
//!
//! The namespace has no name. It belongs to this process and those it starts, and is gone with the last of them,
//! so there is nothing to clean up. Root makes it directly; others make a user namespace around it, where the
//! system allows that. Every address of the documentation ranges is local in it, so that a connection may come from
//! any of them; its packets pass the kernel's filter as those from a network card do.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::thread::UnshareFlags;

use crate::enforce::nft;

/// Where attackers, clients and the server live (RFC 5737, RFC 3849).
const RANGES: [(IpAddr, u8); 4] = [
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 0)), 24),
    (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)), 32),
];

/// The loopback is the first interface of every network namespace.
const LOOPBACK: u32 = 1;
/// Message types, flags and numbers of rtnetlink.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWROUTE: u16 = 24;
const REQUEST_ACK: u16 = 0x1 | 0x4;
const CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

/// What could be had.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sandbox {
    /// A network of our own with nftables
    Private {
        /// Whether a user namespace is around it
        is_user: bool,
        /// Whether there is IPv6
        ipv6: bool,
    },
    /// None; why
    Missing(String),
}

/// Moves this process into a network of its own. It must have one thread only.
pub(super) fn enter() -> Sandbox {
    let is_user = match leave() {
        Ok(is_user) => is_user,
        Err(reason) => return Sandbox::Missing(reason),
    };
    match furnish() {
        Ok(ipv6) => Sandbox::Private { is_user, ipv6 },
        Err(reason) => Sandbox::Missing(reason),
    }
}

/// Leaves the machine's network. Says whether that took a user namespace.
fn leave() -> Result<bool, String> {
    if unshare(UnshareFlags::NEWNET).is_ok() {
        return Ok(false);
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
        .map_err(|error| format!("this system allows no private network here ({error})"))?;
    let write = |file: &str, text: &str| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| format!("this system allows no user namespace here ({file}: {error})"))
    };
    // The kernel takes a map of groups from an ordinary user only after setgroups is given up for good.
    write("setgroups", "deny")?;
    write("uid_map", &format!("0 {} 1", uid.as_raw()))?;
    write("gid_map", &format!("0 {} 1", gid.as_raw()))?;
    Ok(true)
}

#[expect(
    deprecated,
    reason = "the successor is marked unsafe for its flag FILES alone, which is not used here"
)]
fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    rustix::thread::unshare(flags)
}

/// Brings the loopback up, makes the ranges local, and asks whether nftables is there. Says whether IPv6 is.
fn furnish() -> Result<bool, String> {
    let refused = |error| format!("this system allows no addresses in a private network ({error})");
    order(RTM_NEWLINK, 0, &link_up()).map_err(refused)?;
    let (ranges6, ranges4): (Vec<_>, Vec<_>) = RANGES.into_iter().partition(|(network, _)| network.is_ipv6());
    for (network, length) in ranges4 {
        order(RTM_NEWROUTE, CREATE, &local_route(network, length)).map_err(refused)?;
    }
    // Machines without IPv6 are common; the trial does without its clients there.
    let route6 =
        |(network, length): &(IpAddr, u8)| order(RTM_NEWROUTE, CREATE, &local_route(*network, *length)).is_ok();
    let ipv6 = Path::new("/proc/net/if_inet6").exists() && ranges6.iter().all(route6);
    // Nobody else has ever been in this network: there is no table to lose, and a refusal tells what is missing.
    nft::flush_everything(nft::TABLE).map_err(|error| format!("no nftables in a private network ({error})"))?;
    Ok(ipv6)
}

/// `ifinfomsg`: family, type, index, flags, and which of the flags are meant.
fn link_up() -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [LOOPBACK, IFF_UP, IFF_UP] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// `rtmsg` and two attributes: the network, and the interface.
fn local_route(network: IpAddr, length: u8) -> Vec<u8> {
    let (family, address) = match network {
        IpAddr::V4(ip) => (AddressFamily::INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
    };
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let mut body = vec![
        family,
        length,
        0,
        0,
        RT_TABLE_LOCAL,
        RTPROT_STATIC,
        RT_SCOPE_HOST,
        RTN_LOCAL,
    ];
    body.extend(0_u32.to_ne_bytes());
    for (kind, value) in [(RTA_DST, address), (RTA_OIF, LOOPBACK.to_ne_bytes().to_vec())] {
        // The values are 4 or 16 bytes long, and so need no padding.
        let length = u16::try_from(4 + value.len()).unwrap_or_default();
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    }
    body
}

/// Sends one order to the kernel's routing side and waits for its answer.
fn order(kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
    // Protocol 0 of the netlink family is routing.
    let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(2)))?;
    let length = u32::try_from(16 + body.len()).map_err(|_| Errno::MSGSIZE)?;
    let mut message = Vec::from(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST_ACK | flags).to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    rustix::net::send(&fd, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 4096];
    let (count, _) = rustix::net::recv(&fd, &mut answer[..], RecvFlags::empty())?;
    answered(answer.get(..count).unwrap_or_default())
}

/// Reads the answer: an error message whose number is 0 is a yes.
fn answered(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let number = answer.get(16..20).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), number.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(Errno::from_raw_os_error(number.saturating_neg())),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_the_kernels_layout() {
        assert_eq!(link_up().len(), 16);
        let route = local_route("203.0.113.0".parse().unwrap(), 24);
        assert_eq!(route.len(), 12 + 8 + 8);
        assert_eq!(route[..8], [2, 24, 0, 0, 255, 4, 254, 2]);
        assert_eq!(route[16..20], [203, 0, 113, 0]);
        assert_eq!(local_route("2001:db8::".parse().unwrap(), 32).len(), 12 + 20 + 8);
    }

    #[test]
    fn only_a_zero_is_a_yes() {
        let answer = |kind: u16, number: i32| {
            let mut bytes = vec![0; 20];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..].copy_from_slice(&number.to_ne_bytes());
            answered(&bytes)
        };
        assert_eq!(answer(NLMSG_ERROR, 0), Ok(()));
        assert_eq!(answer(NLMSG_ERROR, -1), Err(Errno::PERM));
        assert_eq!(answer(3, 0), Err(Errno::PROTO));
        assert_eq!(answered(&[]), Err(Errno::PROTO));
    }
}
