//! Private networks, and what is put into them: a link, an address, a route, ordered from the kernel's routing side.
//!
//! A namespace has no name here: it belongs to the thread or process that entered it and is gone with the last of them,
//! and so is every link with an end in it. Each order acts in the network of the thread that gives it.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, sockopt};
use rustix::thread::UnshareFlags;

/// The loopback is the first interface of every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// Message types, flags and numbers of rtnetlink.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const REQUEST_ACK: u16 = 0x1 | 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;

/// Leaves the namespaces of these kinds for new ones; of the network, a thread does so by itself.
#[expect(
    deprecated,
    reason = "the successor is marked unsafe for its flag FILES alone, which is not used here"
)]
pub(crate) fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    rustix::thread::unshare(flags)
}

/// Brings a link up.
pub(crate) fn up(index: u32) -> Result<(), Errno> {
    order(RTM_NEWLINK, 0, &link(index, IFF_UP))
}

/// Deletes a link, and the other end with it.
pub(crate) fn delete(index: u32) -> Result<(), Errno> {
    order(RTM_DELLINK, 0, &link(index, 0))
}

/// Makes a pair of links; `peer` is put into the network namespace that the file stands for.
pub(crate) fn pair(name: &str, peer: &str, network: BorrowedFd<'_>) -> Result<(), Errno> {
    let number = u32::try_from(network.as_raw_fd()).map_err(|_| Errno::BADF)?;
    order(RTM_NEWLINK, CREATE | EXCLUSIVE, &veth(name, peer, number))
}

/// Gives a link this one address.
pub(crate) fn address(index: u32, ip: IpAddr) -> Result<(), Errno> {
    let (family, octets) = octets(ip);
    let length = u8::try_from(octets.len() * 8).unwrap_or_default();
    let mut body = vec![family, length, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(attribute(IFA_LOCAL, &octets));
    body.extend(attribute(IFA_ADDRESS, &octets));
    order(RTM_NEWADDR, CREATE | EXCLUSIVE, &body)
}

/// Sends what goes to this address out on a link.
pub(crate) fn reach(ip: IpAddr, index: u32) -> Result<(), Errno> {
    let length = if ip.is_ipv4() { 32 } else { 128 };
    let kind = [RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST];
    order(RTM_NEWROUTE, CREATE | EXCLUSIVE, &route((ip, length), kind, index))
}

/// Makes every address of a network one of this machine.
pub(crate) fn own(network: IpAddr, length: u8) -> Result<(), Errno> {
    let kind = [RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL];
    order(RTM_NEWROUTE, CREATE, &route((network, length), kind, LOOPBACK))
}

/// The number of a link.
pub(crate) fn index(name: &str) -> Result<u32, Errno> {
    let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    netdevice::name_to_index(&fd, name)
}

/// `ifinfomsg`: family, type, index, flags, and which of the flags are meant.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [index, flags, flags] {
        body.extend(word.to_ne_bytes());
    }
    body
}

fn veth(name: &str, peer: &str, network: u32) -> Vec<u8> {
    let name_of = |name: &str| attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    let mut other = link(0, 0);
    other.extend(name_of(peer));
    other.extend(attribute(IFLA_NET_NS_FD, &network.to_ne_bytes()));
    let data = attribute(VETH_INFO_PEER, &other);
    let info = [attribute(IFLA_INFO_KIND, b"veth"), attribute(IFLA_INFO_DATA, &data)].concat();
    let mut body = link(0, 0);
    body.extend(name_of(name));
    body.extend(attribute(IFLA_LINKINFO, &info));
    body
}

/// `rtmsg` and two attributes: the network, and the interface.
fn route((network, length): (IpAddr, u8), [table, protocol, scope, kind]: [u8; 4], index: u32) -> Vec<u8> {
    let (family, octets) = octets(network);
    let mut body = vec![family, length, 0, 0, table, protocol, scope, kind];
    body.extend(0_u32.to_ne_bytes());
    body.extend(attribute(RTA_DST, &octets));
    body.extend(attribute(RTA_OIF, &index.to_ne_bytes()));
    body
}

fn octets(ip: IpAddr) -> (u8, Vec<u8>) {
    let (family, octets) = match ip {
        IpAddr::V4(ip) => (AddressFamily::INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AddressFamily::INET6, ip.octets().to_vec()),
    };
    (u8::try_from(family.as_raw()).unwrap_or_default(), octets)
}

/// Length and kind, then the value, filled up to a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    let mut bytes = Vec::from(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
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
        assert_eq!(link(1, IFF_UP).len(), 16);
        let kind = [RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL];
        let route4 = route(("203.0.113.0".parse().unwrap(), 24), kind, LOOPBACK);
        assert_eq!(route4.len(), 12 + 8 + 8);
        assert_eq!(route4[..8], [2, 24, 0, 0, 255, 4, 254, 2]);
        assert_eq!(route4[16..20], [203, 0, 113, 0]);
        let route6 = route(("2001:db8::".parse().unwrap(), 32), kind, LOOPBACK);
        assert_eq!(route6.len(), 12 + 20 + 8);
        assert_eq!(attribute(3, b"ab\0")[..], [7, 0, 3, 0, b'a', b'b', 0, 0]);
        // A name of two bytes takes 8, the kind 8, the peer 16 + 8 + 8 in two heads of 4.
        assert_eq!(veth("a", "b", 3).len(), 16 + 8 + (4 + 8 + (4 + (4 + 32))));
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
