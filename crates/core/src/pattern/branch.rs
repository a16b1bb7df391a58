//! How CPython tidies up what it has read: groups without a meaning are opened, alternatives that begin alike share
//! their beginning, and alternatives of one character each become a class.
//!
//! Only the last can be seen from outside: a class compares upper and lower case in its own way.

use super::escape::add;
use super::tree::{Class, Item, Node};

/// Puts the content of groups without number and flags in their place.
pub(super) fn unpacked(parts: Vec<Node>) -> Vec<Node> {
    let mut out = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Node::Plain { flagged: false, body } => match *body {
                Node::Concat(inner) => out.extend(inner),
                Node::Empty => {}
                inner => out.push(inner),
            },
            part => out.push(part),
        }
    }
    out
}

/// Parts one after the other.
pub(super) fn sequence(mut parts: Vec<Node>) -> Node {
    if parts.len() > 1 {
        Node::Concat(parts)
    } else {
        parts.pop().unwrap_or(Node::Empty)
    }
}

/// Alternatives.
pub(super) fn joined(mut arms: Vec<Vec<Node>>) -> Node {
    let shared = shared(&arms);
    let mut parts: Vec<Node> = Vec::new();
    for arm in &mut arms {
        parts = arm.drain(..shared).collect();
    }
    parts.push(match as_class(&arms) {
        Some(class) => Node::Class(class),
        None => Node::Alternation(arms.into_iter().map(sequence).collect()),
    });
    sequence(parts)
}

/// How many parts all arms begin with alike.
fn shared(arms: &[Vec<Node>]) -> usize {
    let Some((first, others)) = arms.split_first() else {
        return 0;
    };
    let alike = |(n, part): &(usize, &Node)| {
        part.is_plain() && others.iter().all(|arm| arm.get(*n).is_some_and(|other| other == *part))
    };
    first.iter().enumerate().take_while(alike).count()
}

fn as_class(arms: &[Vec<Node>]) -> Option<Class> {
    let mut joined: Option<Class> = None;
    for arm in arms {
        let [part] = arm.as_slice() else { return None };
        let class = match part {
            Node::Literal(code, case) => Class {
                items: vec![Item::One(*code)],
                negated: false,
                case: *case,
                ascii: false,
            },
            Node::Class(class) if !class.negated => class.clone(),
            _ => return None,
        };
        match &mut joined {
            None => joined = Some(class),
            Some(joined) => {
                joined.ascii |= class.ascii;
                class.items.into_iter().for_each(|item| add(&mut joined.items, item));
            }
        }
    }
    joined
}
