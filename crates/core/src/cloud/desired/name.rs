//! How further rules are called: `block-ip-2` beside `block-ip`, `block-ip-v6` and `block-ip-v6-2` for IPv6.

use crate::address::Family;

/// Most rules of one family.
pub(super) const MOST_RULES: usize = 100;
/// Longest name of a rule, in bytes (RFC 1035, a label).
const LONGEST: usize = 63;
/// What may follow: `-v6-100`.
const LONGEST_ENDING: usize = 7;
/// The hash in a name that had to be cut, with its hyphen.
const HASH: usize = 17;

/// The name of one of a base rule's rules; of IPv4 the first is the base rule itself. Where the longest ending would
/// make it too long, all but that one have a cut name with a hash of the whole, so that no two base rules share one.
#[must_use]
pub fn rule_name(base: &str, family: Family, number: usize) -> String {
    let six = if family == Family::Inet6 { "-v6" } else { "" };
    match (family, number) {
        (Family::Inet4, ..=1) => base.to_owned(),
        (Family::Inet6, ..=1) => format!("{}{six}", stem(base)),
        _ => format!("{}{six}-{number}", stem(base)),
    }
}

/// Which of a base rule's rules has this name; none where it is not one of them.
#[must_use]
pub fn rule_number(base: &str, name: &str) -> Option<(Family, usize)> {
    if name == base {
        return Some((Family::Inet4, 1));
    }
    let ending = name.strip_prefix(&stem(base))?;
    let (family, ending) = match ending.strip_prefix("-v6") {
        Some(ending) => (Family::Inet6, ending),
        None => (Family::Inet4, ending),
    };
    let number = match ending.strip_prefix('-') {
        Some(digits) => digits.parse().ok().filter(|number| (2..=MOST_RULES).contains(number))?,
        None => 1,
    };
    (rule_name(base, family, number) == name).then_some((family, number))
}

/// What the names of all rules of a base rule begin with, and perhaps others as well.
#[must_use]
pub fn listed_under(base: &str) -> &str {
    if fits(base) {
        base
    } else {
        cut(base, LONGEST - LONGEST_ENDING - HASH)
    }
}

/// A name for a rule beside one that cannot be used.
pub(crate) fn name_besides(name: &str) -> String {
    format!("{}-deny", cut(name, LONGEST - "-deny".len()))
}

fn fits(base: &str) -> bool {
    base.len() <= LONGEST - LONGEST_ENDING
}

fn stem(base: &str) -> String {
    if fits(base) {
        return base.to_owned();
    }
    format!("{}-{:016x}", listed_under(base), hash(base))
}

/// At most so many bytes, whole characters.
fn cut(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or_default()
}

/// FNV-1a with 64 bits: the same on every machine and in every version, as names must be.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}
