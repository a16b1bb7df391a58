//! Elements of sets: the messages that add, delete and list them.
//!
//! These few attributes are written and read by hand. The codec's list reader prints the whole message into an
//! error text for every element, even where there is no error, which makes 100,000 elements take minutes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLA_F_NESTED, NLM_F_CREATE, NlaBuffer, NlasIterator};
use portcullis_core::address::Id;
use portcullis_core::ledger::LayerId;
use portcullis_core::time::Seconds;

use super::sets::{SetKey, comment, scope_name, tagged};
use super::socket::{Message, Reply};
use crate::enforce::Held;

/// Elements in one message: the longest, an IPv6 network with its comment, takes 112 bytes, and an attribute
/// holds less than 64 KiB.
pub(super) const PER_MESSAGE: usize = 500;

/// Verbs of nf_tables.
const NEW: u8 = 12;
const GET: u8 = 13;
const DELETE: u8 = 14;
/// Deletion that is content where there is nothing (kernel 6.3).
const DESTROY: u8 = 30;

/// Attributes of the message.
const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
/// The one attribute of a list, and of a value.
const ENTRY: u16 = 1;
const VALUE: u16 = 1;
/// Attributes of an element.
const KEY: u16 = 1;
const TIMEOUT: u16 = 4;
const EXPIRATION: u16 = 5;
const USER_DATA: u16 = 6;

/// User data that nft prints as the element's comment.
const COMMENT: u8 = 0;

/// One element, and how long it is to last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// The address, or the network's first
    pub ip: IpAddr,
    /// `None` for ever
    pub remaining: Option<Seconds>,
}

/// Adds elements.
pub(super) fn add(table: &str, layer: &LayerId, key: SetKey, elements: &[Element]) -> Message {
    message(NEW, NLM_F_CREATE, of_set(table, layer, key), |body| {
        for element in elements {
            attribute(body, ENTRY | NLA_F_NESTED, |body| {
                put_key(body, element.ip);
                if let Some(remaining) = element.remaining {
                    attribute(body, TIMEOUT, |body| body.extend(milliseconds(remaining).to_be_bytes()));
                }
                if !key.is_addresses() {
                    put_comment(body, &format!("{}/{}", element.ip, key.prefix));
                }
            });
        }
    })
}

/// Deletes elements; with `must_exist` one that is not there is an error.
pub(super) fn remove(table: &str, layer: &LayerId, key: SetKey, elements: &[Element], must_exist: bool) -> Message {
    let kind = if must_exist { DELETE } else { DESTROY };
    message(kind, 0, of_set(table, layer, key), |body| {
        for element in elements {
            attribute(body, ENTRY | NLA_F_NESTED, |body| put_key(body, element.ip));
        }
    })
}

/// Deletes all elements of a set that is there.
pub(super) fn clear(table: &str, layer: &LayerId, key: SetKey) -> Message {
    plain(DELETE, of_set(table, layer, key))
}

/// Asks for all elements of a set.
pub(super) fn list(table: &str, layer: &LayerId, key: SetKey) -> Message {
    plain(GET, of_set(table, layer, key))
}

fn plain(kind: u8, body: Vec<u8>) -> Message {
    Message {
        kind,
        flags: 0,
        body,
        about: "elements".to_owned(),
    }
}

fn message(kind: u8, flags: u16, mut body: Vec<u8>, elements: impl FnOnce(&mut Vec<u8>)) -> Message {
    attribute(&mut body, ELEMENTS | NLA_F_NESTED, elements);
    Message {
        flags,
        ..plain(kind, body)
    }
}

fn of_set(table: &str, layer: &LayerId, key: SetKey) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, name) in [(TABLE, table), (SET, &key.name(&scope_name(layer)))] {
        attribute(&mut body, kind, |body| {
            body.extend(name.as_bytes());
            body.push(0);
        });
    }
    body
}

/// Appends one attribute: length and kind, its value, and zeros to a multiple of four.
fn attribute(body: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = body.len();
    body.extend([0; 2]);
    body.extend(kind.to_ne_bytes());
    value(body);
    let length = u16::try_from(body.len() - start).unwrap_or(u16::MAX);
    if let Some(place) = body.get_mut(start..start + 2) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
    body.resize(body.len().next_multiple_of(4), 0);
}

fn put_key(body: &mut Vec<u8>, ip: IpAddr) {
    attribute(body, KEY | NLA_F_NESTED, |body| {
        attribute(body, VALUE, |body| match ip {
            IpAddr::V4(v4) => body.extend(v4.octets()),
            IpAddr::V6(v6) => body.extend(v6.octets()),
        });
    });
}

fn put_comment(body: &mut Vec<u8>, text: &str) {
    let mut data = Vec::new();
    if tagged(&mut data, COMMENT, &comment(text)).is_some() {
        attribute(body, USER_DATA, |body| body.extend(data));
    }
}

/// A timeout; never zero, because zero means for ever.
fn milliseconds(remaining: Seconds) -> u64 {
    u64::try_from(remaining.micros() / 1000).unwrap_or(0).max(1)
}

/// Reads the elements of one message of a list.
pub(super) fn held(reply: &Reply, layer: &LayerId, key: SetKey, out: &mut Vec<Held>) {
    for list in attributes(&reply.body).filter(|list| list.kind() == ELEMENTS) {
        for entry in attributes(list.value()) {
            if let Some((id, remaining)) = element(entry.value(), key) {
                let layer = layer.clone();
                out.push(Held { layer, id, remaining });
            }
        }
    }
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn element(bytes: &[u8], key: SetKey) -> Option<(Id, Option<Seconds>)> {
    let (mut ip, mut remaining) = (None, None);
    for attribute in attributes(bytes) {
        match attribute.kind() {
            KEY => {
                let value = attributes(attribute.value()).find(|value| value.kind() == VALUE)?;
                ip = address(value.value());
            }
            EXPIRATION => {
                let left = u64::from_be_bytes(*attribute.value().first_chunk()?);
                let micros = i64::try_from(left).unwrap_or(i64::MAX).saturating_mul(1000);
                remaining = Some(Seconds::from_micros(micros));
            }
            _ => {}
        }
    }
    let ip = ip?;
    let id = if key.is_addresses() {
        Id::Ip(ip)
    } else {
        Id::Net(IpNet::new(ip, key.prefix).ok()?)
    };
    Some((id, remaining))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    v4.or(v6).ok()
}
