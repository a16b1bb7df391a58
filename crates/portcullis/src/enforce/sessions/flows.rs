//! Flows that are tracked, forwarded ones above all, through ctnetlink: the kernel's list of them, and their deletion.
//!
//! An entry is named to the kernel by its own bytes: its tuple, zone and number go back as they came.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DefaultNla, Emitable as _, Parseable as _};
use netlink_packet_sock_diag::{AF_INET, AF_INET6};
use portcullis_core::address::canonical;
use rustix::io::Errno;
use rustix::net::netlink;

use super::victims::Victims;
use crate::enforce::netlink::{Netlink, Request, attributes};

/// There is none where no connection is tracked.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// `NFNL_SUBSYS_CTNETLINK` and its verbs.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

/// Bytes of netfilter's header: family, version, a number.
const HEADER: usize = 4;

/// Attributes of an entry.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const NUMBER: u16 = 12;
const ZONE: u16 = 18;
/// Attributes of a direction.
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
/// Attributes of its addresses: source and destination of IPv4, then of IPv6.
const SOURCES: [u16; 2] = [1, 3];
/// Attributes of its protocol.
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// Where a flow arrives after translation: whose socket it is, if it is one of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Landing {
    /// The protocol's number
    pub protocol: u8,
    /// The client's address and port
    pub client: (IpAddr, u16),
    /// The port that it reached
    pub port: u16,
}

/// One flow of a banned address.
#[derive(Debug)]
pub(super) struct Flow {
    /// The order to delete it
    pub order: Request,
    /// Where it arrives, if that is another port than the client dialled
    pub landing: Option<Landing>,
}

/// The way to the tracked connections.
pub(super) struct Flows(Netlink);

impl Flows {
    /// `None` where no connection is tracked. Asking would load the module.
    pub(super) fn open() -> Result<Option<Flows>, Errno> {
        match std::fs::read_to_string(COUNT) {
            Ok(text) if text.trim() == "0" => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Errno::NOENT),
            _ => {}
        }
        Netlink::open(netlink::NETFILTER).map(|socket| Some(Flows(socket)))
    }

    /// The flows of the banned, to the ports that they dialled.
    pub(super) fn find(&mut self, victims: &Victims) -> Result<Vec<Flow>, Errno> {
        let (v4, v6) = victims.families();
        let mut out = Vec::new();
        for (family, _) in [(AF_INET, v4), (AF_INET6, v6)].iter().filter(|(_, wanted)| *wanted) {
            let request = Request {
                kind: GET,
                payload: vec![*family, 0, 0, 0],
            };
            self.0.list(&request, |payload| out.extend(read(payload, victims)))?;
        }
        Ok(out)
    }

    /// Deletes them. A refusal for one that has ended meanwhile is none.
    pub(super) fn delete(&mut self, orders: &[Request]) -> Result<Vec<Errno>, Errno> {
        super::carry_out(&mut self.0, orders)
    }
}

/// One direction of a flow.
struct Direction {
    source: (IpAddr, u16),
    destination_port: u16,
    protocol: u8,
}

/// Reads an entry; `None` for one that is not banned.
pub(super) fn read(payload: &[u8], victims: &Victims) -> Option<Flow> {
    let (header, body) = payload.split_at_checked(HEADER)?;
    let original = direction(attributes(body).find(|part| part.kind() == ORIGINAL)?.value())?;
    let (client, port) = (original.source, original.destination_port);
    if !victims.strike(client.0, original.protocol, port) {
        return None;
    }
    let reply = attributes(body).find(|part| part.kind() == REPLY);
    let server = reply.and_then(|part| direction(part.value()));
    let landing = server.filter(|server| server.source.1 != port).map(|server| Landing {
        protocol: original.protocol,
        client: (canonical(client.0), client.1),
        port: server.source.1,
    });
    let family = header.first().copied().unwrap_or_default();
    let order = Request {
        kind: DELETE,
        payload: name(family, body),
    };
    Some(Flow { order, landing })
}

/// What of an entry the kernel knows it by.
fn name(family: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![family, 0, 0, 0];
    let parts = attributes(body).filter(|part| [ORIGINAL, ZONE, NUMBER].contains(&part.kind()));
    for part in parts.filter_map(|part| DefaultNla::parse(&part).ok()) {
        let start = out.len();
        out.resize(start + part.buffer_len(), 0);
        if let Some(place) = out.get_mut(start..) {
            part.emit(place);
        }
    }
    out
}

fn direction(bytes: &[u8]) -> Option<Direction> {
    let addresses = attributes(bytes).find(|part| part.kind() == ADDRESSES)?;
    let source = attributes(addresses.value()).find(|part| SOURCES.contains(&part.kind()))?;
    let protocol = attributes(bytes).find(|part| part.kind() == PROTOCOL)?;
    let value = |kind| attributes(protocol.value()).find(move |part| part.kind() == kind);
    // What has no ports has none here.
    let port = |kind| value(kind).and_then(|part| Some(u16::from_be_bytes(*part.value().first_chunk()?)));
    Some(Direction {
        source: (address(source.value())?, port(SOURCE_PORT).unwrap_or_default()),
        destination_port: port(DESTINATION_PORT).unwrap_or_default(),
        protocol: value(PROTOCOL_NUMBER)?.value().first().copied()?,
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    v4.or(v6).ok()
}
