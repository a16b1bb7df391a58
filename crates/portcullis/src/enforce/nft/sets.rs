//! Sets: their names, their shape, and what they say about themselves.
//!
//! Each prefix length of a family has a hash set of its own, single addresses (/32, /128) like networks. Two
//! networks of one length are equal or apart, so nested bans never collide, which they do in nftables' interval
//! sets, and adding one costs the same however many there are.
//!
//! A set carries jail and action in its user data, and for people in its comment; so what a former run left
//! in the kernel is found again.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{NfTablesMessage, SetAttribute, SetFlags, SetMessage};
use portcullis_core::address::{Family, Id, canonical};
use portcullis_core::ledger::LayerId;
use sha1::{Digest as _, Sha1};

use super::attributes::{attributes, long_number, number, text};
use super::socket::Message;
use crate::enforce::Error;

/// nft's type numbers, by which `nft list` knows how to print.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;

/// User data of a set, type and length before each value: nft prints number 7 as comment and passes over ours.
const COMMENT_OF_SET: u8 = 7;
const JAIL: u8 = 0x80;
const ACTION: u8 = 0x81;

/// Attributes of a set's message.
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DESCRIPTION: u16 = 9;
const SET_TIMEOUT: u16 = 11;
const SET_USER_DATA: u16 = 13;
const SET_EXPRESSION: u16 = 17;
const SET_EXPRESSIONS: u16 = 18;

/// The kernel keeps 256 bytes of user data; ours need two for type and length, twice.
const MOST_NAMES: usize = 250;

/// Which of a scope's sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SetKey {
    /// IPv4 or IPv6
    pub family: Family,
    /// Prefix length of its elements
    pub prefix: u8,
}

impl SetKey {
    /// The sets that every scope has.
    pub(super) const ADDRESSES: [SetKey; 2] = [
        SetKey {
            family: Family::Inet4,
            prefix: 32,
        },
        SetKey {
            family: Family::Inet6,
            prefix: 128,
        },
    ];

    const fn full(family: Family) -> u8 {
        match family {
            Family::Inet4 => 32,
            Family::Inet6 => 128,
        }
    }

    /// Whether its elements are single addresses.
    pub(super) fn is_addresses(self) -> bool {
        self.prefix == SetKey::full(self.family)
    }

    /// Bytes of an element.
    pub(super) const fn width(self) -> u32 {
        SetKey::full(self.family) as u32 / 8
    }

    /// The netmask, in network order.
    pub(super) fn mask(self) -> Vec<u8> {
        match self.family {
            Family::Inet4 => u32::MAX
                .checked_shl(32 - u32::from(self.prefix))
                .unwrap_or(0)
                .to_be_bytes()
                .to_vec(),
            Family::Inet6 => u128::MAX
                .checked_shl(128 - u32::from(self.prefix))
                .unwrap_or(0)
                .to_be_bytes()
                .to_vec(),
        }
    }

    /// `sshd.nft.ip4`, `sshd.nft.net6-64`.
    pub(super) fn name(self, scope: &str) -> String {
        let digit = if self.family == Family::Inet4 { '4' } else { '6' };
        if self.is_addresses() {
            format!("{scope}.ip{digit}")
        } else {
            format!("{scope}.net{digit}-{}", self.prefix)
        }
    }

    /// The key of a name that [`SetKey::name`] gave.
    pub(super) fn of_name(name: &str, scope: &str) -> Option<SetKey> {
        let tail = name.strip_prefix(scope)?.strip_prefix('.')?;
        let key = match tail {
            "ip4" => SetKey::ADDRESSES[0],
            "ip6" => SetKey::ADDRESSES[1],
            _ => {
                let (kind, prefix) = tail.split_once('-')?;
                let family = match kind {
                    "net4" => Family::Inet4,
                    "net6" => Family::Inet6,
                    _ => return None,
                };
                SetKey {
                    family,
                    prefix: prefix.parse().ok()?,
                }
            }
        };
        (key.prefix <= SetKey::full(key.family)).then_some(key)
    }
}

/// Addresses before networks, narrow before wide, IPv4 before IPv6.
pub(super) fn in_reading_order(keys: impl Iterator<Item = SetKey>) -> Vec<SetKey> {
    let mut out: Vec<SetKey> = keys.collect();
    out.sort_by_key(|key| (!key.is_addresses(), key.family, Reverse(key.prefix)));
    out
}

/// Where an id is kept: its set, and its key there. `None` for what is no address.
pub(super) fn place(id: &Id) -> Option<(SetKey, IpAddr)> {
    let (ip, prefix) = match id {
        Id::Ip(ip) => {
            let ip = canonical(*ip);
            (ip, if ip.is_ipv4() { 32 } else { 128 })
        }
        Id::Net(net) => (net.network(), net.prefix_len()),
        Id::Raw(_) => return None,
    };
    let family = if ip.is_ipv4() { Family::Inet4 } else { Family::Inet6 };
    Some((SetKey { family, prefix }, ip))
}

/// The chain of a layer, and what its sets' names begin with: `jail.action`, readable, and different for
/// different layers. Parts that nftables would not take are spelled otherwise and get a mark from their hash.
pub(super) fn scope_name(layer: &LayerId) -> String {
    format!("{}.{}", part(&layer.jail), part(&layer.action))
}

fn part(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty()
        && text.len() <= 40
        && text.chars().all(keep)
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        return text.to_owned();
    }
    let spelled: String = text.chars().take(40).map(|c| if keep(c) { c } else { '_' }).collect();
    let hash: String = Sha1::digest(text)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // A '/' cannot stand in a name that was kept as it is, so the two kinds never meet.
    format!("x{spelled}/{hash}")
}

/// A set as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundSet {
    /// Whose it says it is
    pub layer: Option<LayerId>,
    flags: u32,
    key_type: u32,
    key_length: u32,
    /// Whether it has a limit of its size, a time-out for all, or expressions that its elements need
    has_more: bool,
}

impl FoundSet {
    /// Whether it has the shape that we give it.
    pub(super) fn is_sound(&self, key: SetKey) -> bool {
        let shape = (SetFlags::Timeout.bits(), type_of(key), key.width());
        !self.has_more && (self.flags, self.key_type, self.key_length) == shape
    }

    /// Whether its elements can be ours at all, whatever else it is.
    pub(super) fn is_readable(&self, key: SetKey) -> bool {
        self.key_length == key.width()
    }
}

/// Creates a set; content with one that exists.
pub(super) fn create(table: &str, layer: &LayerId, key: SetKey) -> Result<Message, Error> {
    let attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(key.name(&scope_name(layer))),
        SetAttribute::Flags(SetFlags::Timeout),
        SetAttribute::KeyType(type_of(key)),
        SetAttribute::KeyLen(key.width()),
        SetAttribute::Id(1),
        SetAttribute::UserData(user_data(layer)?),
    ];
    let body = NfTablesMessage::NewSet(SetMessage { attributes });
    Ok(Message::new(body, NLM_F_CREATE))
}

/// Deletes a set that is there.
pub(super) fn delete(table: &str, layer: &LayerId, key: SetKey) -> Message {
    let attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(key.name(&scope_name(layer))),
    ];
    Message::new(NfTablesMessage::DeleteSet(SetMessage { attributes }), 0)
}

/// Asks for all sets of the table.
pub(super) fn list(table: &str) -> Message {
    let attributes = vec![SetAttribute::Table(table.to_owned())];
    Message::new(NfTablesMessage::GetSet(SetMessage { attributes }), 0)
}

/// Reads one set of a list: its name and the rest.
pub(super) fn found(body: &[u8]) -> Option<(String, FoundSet)> {
    let (mut name, mut set) = (None, FoundSet::default());
    for attribute in attributes(body) {
        let value = attribute.value();
        match attribute.kind() {
            SET_NAME => name = Some(text(value).to_owned()),
            SET_FLAGS => set.flags = number(value),
            SET_KEY_TYPE => set.key_type = number(value),
            SET_KEY_LENGTH => set.key_length = number(value),
            SET_USER_DATA => set.layer = layer_of(value),
            SET_DESCRIPTION => set.has_more |= attributes(value).next().is_some(),
            SET_TIMEOUT => set.has_more |= long_number(value) > 0,
            SET_EXPRESSION | SET_EXPRESSIONS => set.has_more = true,
            _ => {}
        }
    }
    Some((name?, set))
}

const fn type_of(key: SetKey) -> u32 {
    match key.family {
        Family::Inet4 => TYPE_IPV4,
        Family::Inet6 => TYPE_IPV6,
    }
}

fn user_data(layer: &LayerId) -> Result<Vec<u8>, Error> {
    let too_long = || Error::TooLong {
        jail: layer.jail.to_string(),
        action: layer.action.to_string(),
        most: MOST_NAMES,
    };
    if layer.jail.len() + layer.action.len() > MOST_NAMES {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    for (kind, text) in [(JAIL, &layer.jail), (ACTION, &layer.action)] {
        tagged(&mut bytes, kind, text.as_bytes()).ok_or_else(too_long)?;
    }
    let comment = comment(&format!("jail {}, action {}", layer.jail, layer.action));
    if bytes.len() + comment.len() + 2 <= 256 {
        tagged(&mut bytes, COMMENT_OF_SET, &comment).ok_or_else(too_long)?;
    }
    Ok(bytes)
}

/// Text that `nft list` prints between quotes, and reads again: no quotes, nothing unprintable, a zero at the end.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let printable = |c: char| {
        if c == '"' || c.is_control() || !c.is_ascii() {
            '?'
        } else {
            c
        }
    };
    let mut bytes: Vec<u8> = text.chars().take(120).map(printable).collect::<String>().into_bytes();
    bytes.push(0);
    bytes
}

/// Appends one piece of user data: type, length, value. `None` where it is too long.
pub(super) fn tagged(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) -> Option<()> {
    bytes.extend([kind, u8::try_from(value.len()).ok()?]);
    bytes.extend(value);
    Some(())
}

fn layer_of(mut bytes: &[u8]) -> Option<LayerId> {
    let (mut jail, mut action): (Option<Arc<str>>, Option<Arc<str>>) = (None, None);
    while let [kind, length, rest @ ..] = bytes {
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        match *kind {
            JAIL => jail = Some(std::str::from_utf8(value).ok()?.into()),
            ACTION => action = Some(std::str::from_utf8(value).ok()?.into()),
            _ => {}
        }
        bytes = rest;
    }
    Some(LayerId {
        jail: jail?,
        action: action?,
    })
}
