//! Netlink's attributes, read and written by hand: length, kind, value, in a row or one within another.
//!
//! The codec's list reader prints the whole message into an error text for every element, even where there is no
//! error, and it understands no expression that is not ours; what is read often, or may be foreign, is read here.

pub(super) use crate::enforce::netlink::attributes;

/// Bytes before an attribute's value.
const HEADER: usize = 4;

/// Appends one attribute: length and kind, its value, and zeros to a multiple of four.
pub(super) fn attribute(body: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
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

/// The value of the first attribute of this kind.
pub(super) fn value(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let found = attributes(bytes).find(|attribute| attribute.kind() == kind)?;
    let length = usize::from(found.length());
    found.into_inner().get(HEADER..length)
}

/// A text that ends with a zero.
pub(super) fn text(bytes: &[u8]) -> &str {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A number of 32 bits, in network order as nf_tables has it.
pub(super) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

/// A number of 64 bits.
pub(super) fn long_number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.first_chunk().copied().unwrap_or_default())
}
