//! Elements of sets: the messages that add, delete and list them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLA_F_NESTED, NLM_F_CREATE};
use portcullis_core::address::Id;
use portcullis_core::ledger::LayerId;
use portcullis_core::time::{Seconds, Timestamp};

use super::attributes::{attribute, attributes, long_number, value};
use super::sets::{SetKey, comment, scope_name, tagged};
use super::socket::{Message, Reply};
use super::wish::BACKSTOP;

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

/// One element, and how long its ban lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// The address, or the network's first
    pub ip: IpAddr,
    /// When it ends; `None` for never
    pub end: Option<Timestamp>,
}

impl Element {
    /// The kernel's time-out, in milliseconds: never zero, because zero means for ever.
    fn timeout(&self, now: Timestamp) -> Option<u64> {
        let left = (self.end? - now).micros().saturating_add(BACKSTOP.micros());
        Some(u64::try_from(left / 1000).unwrap_or(0).max(1))
    }
}

/// Adds elements.
pub(super) fn add(now: Timestamp, table: &str, (layer, key): (&LayerId, SetKey), elements: &[Element]) -> Message {
    message(NEW, NLM_F_CREATE, of_set(table, layer, key), |body| {
        for element in elements {
            attribute(body, ENTRY | NLA_F_NESTED, |body| {
                put_key(body, element.ip);
                if let Some(timeout) = element.timeout(now) {
                    attribute(body, TIMEOUT, |body| body.extend(timeout.to_be_bytes()));
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

/// Asks for these elements of a set.
pub(super) fn get(table: &str, layer: &LayerId, key: SetKey, whom: &[IpAddr]) -> Message {
    message(GET, 0, of_set(table, layer, key), |body| {
        for ip in whom {
            attribute(body, ENTRY | NLA_F_NESTED, |body| put_key(body, *ip));
        }
    })
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

/// Reads the elements of one message of a list: each with the time that the kernel still keeps it.
pub(super) fn found(reply: &Reply, mut take: impl FnMut(IpAddr, Option<Seconds>)) {
    for list in attributes(&reply.body).filter(|list| list.kind() == ELEMENTS) {
        for entry in attributes(list.value()) {
            if let Some((ip, remaining)) = element(entry.value()) {
                take(ip, remaining);
            }
        }
    }
}

fn element(bytes: &[u8]) -> Option<(IpAddr, Option<Seconds>)> {
    let (mut ip, mut remaining) = (None, None);
    for attribute in attributes(bytes) {
        match attribute.kind() {
            KEY => ip = address(value(attribute.value(), VALUE)?),
            EXPIRATION => {
                let left = i64::try_from(long_number(attribute.value())).unwrap_or(i64::MAX);
                remaining = Some(Seconds::from_micros(left.saturating_mul(1000)));
            }
            _ => {}
        }
    }
    Some((ip?, remaining))
}

/// Who an element of a set is.
pub(super) fn id(key: SetKey, ip: IpAddr) -> Option<Id> {
    if key.is_addresses() {
        Some(Id::Ip(ip))
    } else {
        IpNet::new(ip, key.prefix).ok().map(Id::Net)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    v4.or(v6).ok()
}
