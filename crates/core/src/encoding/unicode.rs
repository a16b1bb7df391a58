//! UTF-8 and UTF-16.

use std::borrow::Cow;
use std::ops::Range;

/// In which order the two bytes of a code unit stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// Decodes UTF-8; each longest beginning of a character that is cut short becomes one U+FFFD, each other bad byte one.
pub(super) fn utf8(bytes: &[u8]) -> (Cow<'_, str>, Option<Range<usize>>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => {
            let start = error.valid_up_to();
            let end = error.error_len().map_or(bytes.len(), |length| start + length);
            (String::from_utf8_lossy(bytes), Some(start..end))
        }
    }
}

/// The order in which a text in UTF-16 is read, and how long its mark is. Without one it is the machine's, as for
/// Python, which is little-endian wherever this program is built for.
pub(super) fn order(bytes: &[u8], order: Option<Order>) -> (Order, usize) {
    match (order, bytes) {
        (Some(order), _) => (order, 0),
        (None, [0xff, 0xfe, ..]) => (Order::Little, 2),
        (None, [0xfe, 0xff, ..]) => (Order::Big, 2),
        (None, _) => (Order::Little, 0),
    }
}

/// The code unit at an index.
pub(super) fn unit(bytes: &[u8], at: usize, order: Order) -> Option<u16> {
    let pair = [*bytes.get(at)?, *bytes.get(at + 1)?];
    Some(match order {
        Order::Little => u16::from_le_bytes(pair),
        Order::Big => u16::from_be_bytes(pair),
    })
}

/// Decodes UTF-16. A surrogate that is not one of a pair becomes U+FFFD; so does an odd byte at the end, together
/// with a high surrogate before it.
pub(super) fn utf16(bytes: &[u8], given: Option<Order>) -> (String, Option<Range<usize>>) {
    let (order, mut at) = order(bytes, given);
    let (mut text, mut wrong) = (String::with_capacity(bytes.len() / 2), None);
    while at < bytes.len() {
        let first = unit(bytes, at, order);
        let (character, length) = match (first, unit(bytes, at + 2, order)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                let number = 0x1_0000 + (u32::from(high - 0xd800) << 10) + u32::from(low - 0xdc00);
                (char::from_u32(number), 4)
            }
            (Some(0xd800..=0xdbff), None) | (None, _) => (None, bytes.len() - at),
            (Some(unit), _) => (char::from_u32(u32::from(unit)), 2),
        };
        if character.is_none() && wrong.is_none() {
            wrong = Some(at..at + length);
        }
        text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        at += length;
    }
    (text, wrong)
}
