//! What every match of a pattern must contain near its start: a separator right after a certain character.
//!
//! Nearly all dates hold a digit and a colon within a few characters. Where a line has none, there is no date, and
//! where it has one, only the few places before it can start a match; so most of a line is never tried.

use super::shape::{Node, Set};

/// A separator that every match contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Landmark {
    separator: u8,
    /// What stands right before it.
    before: Set,
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
        for part in parts {
            match (part, before) {
                (Node::One(set), Some(before)) if set.ascii == 1 << b':' && !set.may_be_wide() => {
                    return Some(Landmark {
                        separator: b':',
                        before,
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
            let fits = match bytes.get(at - 1) {
                Some(&byte) if byte < 128 => self.before.ascii >> byte & 1 == 1,
                _ => self.before.may_be_wide(),
            };
            if fits {
                return Some(at);
            }
            at += 1;
        }
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
