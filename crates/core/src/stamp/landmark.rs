//! What every match of a pattern must contain near its start: a separator right after a certain character.
//!
//! Nearly all dates hold a digit and a colon within a few characters. Where a line has none, there is no date, and
//! where it has one, only the few places before it can start a match; so most of a line is never tried.

use super::mask::Witness;
use super::shape::{Node, Set};

/// A separator that every match contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Landmark {
    separator: u8,
    /// What stands right before it.
    before: Set,
    /// What stands right after it, if that is known.
    after: Option<Set>,
    /// The most bytes from the start of a match to the separator.
    pub(super) reach: usize,
}

impl Landmark {
    /// The first colon that the pattern cannot do without, if the way to it is bounded.
    pub(super) fn of(root: &Node) -> Option<Landmark> {
        let mut parts = Vec::new();
        flatten(root, &mut parts);
        let mut reach = 0;
        let mut before = None;
        for (index, &part) in parts.iter().enumerate() {
            match (part, before) {
                (Node::One(set), Some(before)) if set.ascii == 1 << b':' && !set.may_be_wide() => {
                    return Some(Landmark {
                        separator: b':',
                        before,
                        after: parts.get(index + 1..).and_then(first),
                        reach,
                    });
                }
                _ => {}
            }
            reach += longest(part)?;
            before = if matches!(part, Node::At(_)) {
                before
            } else {
                last(part)
            };
        }
        None
    }

    /// The next place of the separator at or after a byte.
    pub(super) fn next(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from.max(1);
        loop {
            at += bytes.get(at..)?.iter().position(|&byte| byte == self.separator)?;
            if self.fits(bytes, at) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// The same, where the places of all separators are known, in order.
    pub(super) fn next_of(&self, bytes: &[u8], places: &[usize], from: usize) -> Option<usize> {
        let next = places.partition_point(|&place| place < from.max(1));
        let mut places = places
            .get(next..)?
            .iter()
            .copied()
            .take_while(|&place| place < bytes.len());
        places.find(|&place| self.fits(bytes, place))
    }

    fn fits(&self, bytes: &[u8], at: usize) -> bool {
        let before = bytes.get(at - 1).is_none_or(|&byte| may_hold(self.before, byte));
        let after = || {
            self.after
                .is_none_or(|set| bytes.get(at + 1).is_some_and(|&byte| may_hold(set, byte)))
        };
        before && after()
    }

    /// Tells the witness what was asked from one byte to the place found.
    #[inline]
    pub(super) fn tell(&self, bytes: &[u8], (from, to): (usize, Option<usize>), witness: &mut impl Witness) {
        if !witness.listens() {
            return;
        }
        let Some(to) = to else { return witness.lost() };
        for at in from.max(1)..=to {
            let Some(&byte) = bytes.get(at) else { continue };
            witness.asked(at, byte, 1 << self.separator);
            if byte == self.separator {
                self.tell_around(bytes, at, witness);
            }
        }
    }

    fn tell_around(&self, bytes: &[u8], at: usize, witness: &mut impl Witness) {
        if let Some(&before) = bytes.get(at - 1) {
            witness.asked(at - 1, before, self.before.ascii);
        }
        let Some(after) = self.after else { return };
        match bytes.get(at + 1) {
            Some(&byte) => witness.asked(at + 1, byte, after.ascii),
            None => witness.end(),
        }
    }
}

/// Whether a character of the set may begin or end with a byte.
fn may_hold(set: Set, byte: u8) -> bool {
    if byte < 128 {
        set.ascii >> byte & 1 == 1
    } else {
        set.may_be_wide()
    }
}

/// The parts of a sequence, those of plain groups among them.
fn flatten<'n>(node: &'n Node, parts: &mut Vec<&'n Node>) {
    match node {
        Node::All(inner) => inner.iter().for_each(|part| flatten(part, parts)),
        Node::Group(_, inner) if matches!(**inner, Node::All(_)) => flatten(inner, parts),
        other => parts.push(other),
    }
}

/// The most bytes that a part can match; `None` without a bound.
fn longest(node: &Node) -> Option<usize> {
    match node {
        Node::One(set) => Some(if set.may_be_wide() { 4 } else { 1 }),
        Node::At(_) => Some(0),
        Node::Group(_, inner) => longest(inner),
        Node::All(parts) => parts.iter().map(longest).sum(),
        Node::Any(branches) => branches
            .iter()
            .map(longest)
            .try_fold(0, |most, branch| Some(most.max(branch?))),
        Node::Repeat(inner, _, most, _) => Some(longest(inner)? * (*most)?),
        Node::Same(_, _, longest) => *longest,
    }
}

/// What a part that is never empty can end in.
fn last(node: &Node) -> Option<Set> {
    match node {
        Node::One(set) => Some(*set),
        Node::Group(_, inner) => last(inner),
        Node::All(parts) => last(parts.last()?),
        Node::Any(branches) => {
            let mut ends = branches.iter().map(last);
            let first = ends.next()??;
            ends.try_fold(first, |all, end| all.joined(end?))
        }
        Node::Repeat(inner, least, ..) if *least > 0 => last(inner),
        _ => None,
    }
}

/// What a sequence of parts that is never empty can begin with.
fn first(parts: &[&Node]) -> Option<Set> {
    match sequence(parts.iter().copied())? {
        (set, false) => Some(set),
        (_, true) => None,
    }
}

fn sequence<'n>(parts: impl Iterator<Item = &'n Node>) -> Option<(Set, bool)> {
    let mut all = Set::default();
    for part in parts {
        let (set, empty) = opening(part)?;
        all = all.joined(set)?;
        if !empty {
            return Some((all, false));
        }
    }
    Some((all, true))
}

/// What a part can begin with, and whether it can be empty.
fn opening(node: &Node) -> Option<(Set, bool)> {
    match node {
        Node::One(set) => Some((*set, false)),
        Node::At(_) => Some((Set::default(), true)),
        Node::Group(_, inner) => opening(inner),
        Node::All(parts) => sequence(parts.iter()),
        Node::Any(branches) => branches.iter().try_fold((Set::default(), false), |(all, any), branch| {
            let (set, empty) = opening(branch)?;
            Some((all.joined(set)?, any || empty))
        }),
        Node::Repeat(inner, least, most, _) => {
            let (set, empty) = opening(inner)?;
            Some((set, empty || *least == 0 || *most == Some(0)))
        }
        Node::Same(..) => None,
    }
}
