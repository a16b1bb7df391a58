//! Sets: their names, what they say about themselves, and their elements.
//!
//! Each prefix length of a family has a hash set of its own, single addresses (/32, /128) like networks. Two
//! networks of one length are equal or apart, so nested bans never collide, which they do in nftables' interval
//! sets, and adding one costs the same however many there are.
//!
//! A set carries jail and action in its user data, and for people in its comment; so what a former run left
//! in the kernel is found again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, DataAttribute, ListAttribute, NfTablesMessage, RuleAttribute, SetAttribute, SetElementAttribute,
    SetElementList, SetElementMessage, SetFlags, SetMessage,
};
use portcullis_core::address::{Family, Id, canonical};
use portcullis_core::ledger::LayerId;
use portcullis_core::time::Seconds;
use sha1::{Digest as _, Sha1};

use super::socket::Message;
use crate::enforce::{Error, Held};

/// `NFT_MSG_DESTROYSETELEM`: delete that is content where there is nothing (kernel 6.3).
const DESTROY_ELEMENT: u8 = 30;

/// Elements in one message: the longest, an IPv6 network with its comment, takes 112 bytes, and an attribute
/// holds less than 64 KiB.
pub(super) const PER_MESSAGE: usize = 500;

/// nft's type numbers, by which `nft list` knows how to print.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;

/// User data of a set, type and length before each value: nft prints number 7 as comment and passes over ours.
const COMMENT_OF_SET: u8 = 7;
const COMMENT_OF_ELEMENT: u8 = 0;
const JAIL: u8 = 0x80;
const ACTION: u8 = 0x81;

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
    fn of_name(name: &str, scope: &str) -> Option<SetKey> {
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownSet {
    /// Whose
    pub layer: LayerId,
    /// Which
    pub key: SetKey,
    /// Whether it has the shape that we give it
    pub is_sound: bool,
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
pub(super) fn list(table: &str) -> NfTablesMessage {
    NfTablesMessage::GetSet(SetMessage {
        attributes: vec![SetAttribute::Table(table.to_owned())],
    })
}

/// Reads one set of a list; `None` for one that is not ours.
pub(super) fn known(message: &NfTablesMessage, table: &str) -> Option<KnownSet> {
    let NfTablesMessage::NewSet(SetMessage { attributes }) = message else {
        return None;
    };
    let (mut name, mut layer, mut shape) = (None, None, (SetFlags::empty(), 0));
    for attribute in attributes {
        match attribute {
            SetAttribute::Table(of) if of != table => return None,
            SetAttribute::Name(text) => name = Some(text),
            SetAttribute::UserData(bytes) => layer = layer_of(bytes),
            SetAttribute::Flags(flags) => shape.0 = *flags,
            SetAttribute::KeyType(number) => shape.1 = *number,
            _ => {}
        }
    }
    let layer = layer?;
    let key = SetKey::of_name(name?, &scope_name(&layer))?;
    Some(KnownSet {
        is_sound: shape == (SetFlags::Timeout, type_of(key)),
        layer,
        key,
    })
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

fn tagged(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) -> Option<()> {
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
    Message::new(
        NfTablesMessage::NewSetElement(message(table, layer, key, elements, true)),
        NLM_F_CREATE,
    )
}

/// Deletes elements; with `must_exist` one that is not there is an error.
pub(super) fn remove(table: &str, layer: &LayerId, key: SetKey, elements: &[Element], must_exist: bool) -> Message {
    let body = NfTablesMessage::DeleteSetElement(message(table, layer, key, elements, false));
    Message {
        body,
        kind: (!must_exist).then_some(DESTROY_ELEMENT),
        flags: 0,
    }
}

/// Deletes all elements of a set that is there.
pub(super) fn clear(table: &str, layer: &LayerId, key: SetKey) -> Message {
    Message::new(NfTablesMessage::DeleteSetElement(of_set(table, layer, key)), 0)
}

/// Asks for all elements of a set.
pub(super) fn elements(table: &str, layer: &LayerId, key: SetKey) -> NfTablesMessage {
    NfTablesMessage::GetSetElement(of_set(table, layer, key))
}

fn of_set(table: &str, layer: &LayerId, key: SetKey) -> SetElementMessage {
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(key.name(&scope_name(layer))),
        ],
    }
}

fn message(table: &str, layer: &LayerId, key: SetKey, elements: &[Element], is_new: bool) -> SetElementMessage {
    let mut message = of_set(table, layer, key);
    let elements = elements.iter().map(|element| {
        let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(octets(element.ip)))];
        if is_new {
            if let Some(remaining) = element.remaining {
                attributes.push(SetElementAttribute::Timeout(milliseconds(remaining)));
            }
            if !key.is_addresses() {
                let mut bytes = Vec::new();
                let text = format!("{}/{}", element.ip, key.prefix);
                if tagged(&mut bytes, COMMENT_OF_ELEMENT, &comment(&text)).is_some() {
                    attributes.push(SetElementAttribute::UserData(bytes));
                }
            }
        }
        ListAttribute::Element(attributes)
    });
    message.attributes.push(SetElementList::Elements(elements.collect()));
    message
}

/// A timeout; never zero, because zero means for ever.
fn milliseconds(remaining: Seconds) -> u64 {
    u64::try_from(remaining.micros() / 1000).unwrap_or(0).max(1)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Reads the elements of one message of a list.
pub(super) fn held(message: &NfTablesMessage, layer: &LayerId, key: SetKey, out: &mut Vec<Held>) {
    let NfTablesMessage::NewSetElement(SetElementMessage { attributes }) = message else {
        return;
    };
    for list in attributes {
        let SetElementList::Elements(elements) = list else {
            continue;
        };
        let attributes = elements.iter().filter_map(|element| match element {
            ListAttribute::Element(attributes) => Some(attributes),
            _ => None,
        });
        out.extend(attributes.filter_map(|attributes| {
            let (id, remaining) = element(attributes, key)?;
            Some(Held {
                layer: layer.clone(),
                id,
                remaining,
            })
        }));
    }
}

fn element(attributes: &[SetElementAttribute], key: SetKey) -> Option<(Id, Option<Seconds>)> {
    let (mut ip, mut remaining) = (None, None);
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(data) => ip = address(data),
            SetElementAttribute::Expiration(left) => {
                let micros = i64::try_from(*left).unwrap_or(i64::MAX).saturating_mul(1000);
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

fn address(data: &DataAttribute) -> Option<IpAddr> {
    let DataAttribute::Value(bytes) = data else {
        return None;
    };
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes.as_slice())
            .ok()
            .map(|b| IpAddr::V4(Ipv4Addr::from(b))),
        16 => <[u8; 16]>::try_from(bytes.as_slice())
            .ok()
            .map(|b| IpAddr::V6(Ipv6Addr::from(b))),
        _ => None,
    }
}

/// What a message was about, for an error.
pub(super) fn describe(body: &NfTablesMessage) -> String {
    let verb = match body {
        NfTablesMessage::DeleteTable(_)
        | NfTablesMessage::DeleteChain(_)
        | NfTablesMessage::DeleteRule(_)
        | NfTablesMessage::DeleteSet(_)
        | NfTablesMessage::DeleteSetElement(_) => "delete",
        _ => "create",
    };
    let name = match body {
        NfTablesMessage::NewTable(_) | NfTablesMessage::DeleteTable(_) => "the table".to_owned(),
        NfTablesMessage::NewChain(m) | NfTablesMessage::DeleteChain(m) => {
            let name = m.attributes.iter().find_map(|a| match a {
                ChainAttribute::Name(name) => Some(name.as_str()),
                _ => None,
            });
            format!("chain {}", name.unwrap_or_default())
        }
        NfTablesMessage::NewRule(m) | NfTablesMessage::DeleteRule(m) => {
            let name = m.attributes.iter().find_map(|a| match a {
                RuleAttribute::Chain(name) => Some(name.as_str()),
                _ => None,
            });
            format!("a rule of chain {}", name.unwrap_or_default())
        }
        NfTablesMessage::NewSet(m) | NfTablesMessage::DeleteSet(m) => {
            let name = m.attributes.iter().find_map(|a| match a {
                SetAttribute::Name(name) => Some(name.as_str()),
                _ => None,
            });
            format!("set {}", name.unwrap_or_default())
        }
        _ => "elements".to_owned(),
    };
    format!("{verb} {name}")
}
