//! A private network: a network namespace with the documentation addresses on its loopback, and nothing else.
//!
//! The namespace has no name. It belongs to this process and those it starts, and is gone with the last of them,
//! so there is nothing to clean up. Root makes it directly; others make a user namespace around it, where the
//! system allows that. Every address of the documentation ranges is local in it, so that a connection may come from
//! any of them; its packets pass the kernel's filter as those from a network card do.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustix::thread::UnshareFlags;

use crate::enforce::nft;
use crate::namespace::{self, LOOPBACK, unshare};

/// Where attackers, clients and the server live (RFC 5737, RFC 3849).
const RANGES: [(IpAddr, u8); 4] = [
    (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(198, 51, 100, 0)), 24),
    (IpAddr::V4(Ipv4Addr::new(203, 0, 113, 0)), 24),
    (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0)), 32),
];

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

/// Brings the loopback up, makes the ranges local, and asks whether nftables is there. Says whether IPv6 is.
fn furnish() -> Result<bool, String> {
    let refused = |error| format!("this system allows no addresses in a private network ({error})");
    namespace::up(LOOPBACK).map_err(refused)?;
    let (ranges6, ranges4): (Vec<_>, Vec<_>) = RANGES.into_iter().partition(|(network, _)| network.is_ipv6());
    for (network, length) in ranges4 {
        namespace::own(network, length).map_err(refused)?;
    }
    // Machines without IPv6 are common; the trial does without its clients there.
    let route6 = |(network, length): &(IpAddr, u8)| namespace::own(*network, *length).is_ok();
    let ipv6 = Path::new("/proc/net/if_inet6").exists() && ranges6.iter().all(route6);
    // Nobody else has ever been in this network: there is no table to lose, and a refusal tells what is missing.
    nft::flush_everything(nft::TABLE).map_err(|error| format!("no nftables in a private network ({error})"))?;
    Ok(ipv6)
}
