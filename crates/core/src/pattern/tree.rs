//! A Python regex as a tree, its flags already resolved into the nodes, and what can be read off it: how wide a
//! match is, how much room the compiled form may need, whether a linear engine can run it.

use super::class::members;
use super::set::Set;

/// A code point as Python counts it: surrogates included, which no searched text contains.
pub(super) type Code = u32;

/// Python's "without end", for counts and widths.
const ENDLESS: u64 = u32::MAX as u64;

/// How far Python looks behind.
const BEHIND_MAX: u64 = i32::MAX as u64;

/// How a literal, a class or a back-reference treats upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Exact,
    /// `(?i)`: Unicode's simple folding, and Python's dotless i.
    Unicode,
    /// `(?ai)`: the 26 ASCII letters only.
    Ascii,
}

/// `\d`, `\s` and `\w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Digit,
    Space,
    Word,
}

/// One member of a character class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// One character, written as such.
    One(Code),
    Range(Code, Code),
    Category {
        kind: Category,
        negated: bool,
    },
}

/// A character class, or a category that stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) items: Vec<Item>,
    pub(super) negated: bool,
    pub(super) case: Case,
    /// `(?a)`: the categories hold ASCII characters only.
    pub(super) ascii: bool,
}

/// A position in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    TextStart,
    LineStart,
    /// `$` without MULTILINE: the end, or before one newline at the end.
    End,
    LineEnd,
    TextEnd,
    Word {
        negated: bool,
        ascii: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

impl Greed {
    /// Python's name of such a repetition.
    fn operator(self) -> &'static str {
        match self {
            Greed::Greedy => "MAX_REPEAT",
            Greed::Lazy => "MIN_REPEAT",
            Greed::Possessive => "POSSESSIVE_REPEAT",
        }
    }
}

/// How often a part repeats; no `max` is no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    pub(super) greed: Greed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    Literal(Code, Case),
    Class(Class),
    /// `.`; true: newline too.
    Dot(bool),
    At(At),
    Capture(usize, Box<Node>),
    /// `(?:…)`. Those without flags are gone from a finished tree.
    Plain {
        flagged: bool,
        body: Box<Node>,
    },
    Concat(Vec<Node>),
    Alternation(Vec<Node>),
    Repeat(Times, Box<Node>),
    Look {
        behind: bool,
        negated: bool,
        body: Box<Node>,
    },
    Atomic(Box<Node>),
    /// The width is that of the group referred to, known once it is closed.
    Backref {
        group: usize,
        case: Case,
        width: (u64, u64),
    },
    Conditional {
        group: usize,
        yes: Box<Node>,
        no: Box<Node>,
    },
}

impl Node {
    /// The least and the most characters a match takes, as Python counts them for look-behind.
    pub(super) fn width(&self) -> (u64, u64) {
        match self {
            Node::Empty | Node::At(_) | Node::Look { .. } => (0, 0),
            Node::Literal(..) | Node::Class(_) | Node::Dot(_) => (1, 1),
            Node::Capture(_, body) | Node::Plain { body, .. } | Node::Atomic(body) => body.width(),
            Node::Concat(parts) => parts
                .iter()
                .map(Node::width)
                .fold((0, 0), |(lo, hi), (l, h)| clamped((lo + l, hi + h))),
            Node::Alternation(arms) => widest(arms.iter().map(Node::width)),
            Node::Repeat(times, body) => repeated(*times, body.width()),
            Node::Backref { width, .. } => *width,
            Node::Conditional { yes, no, .. } => widest([yes.width(), no.width()].into_iter()),
        }
    }

    /// An upper estimate, in bytes, of what the linear engine's program needs for this part. The figures are
    /// rounded up from measured programs: a Unicode category is some hundred UTF-8 ranges.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Node::Empty | Node::At(_) => 128,
            Node::Literal(_, Case::Unicode) => 8_192,
            Node::Literal(..) => 2_048,
            Node::Dot(_) => 4_096,
            Node::Class(class) => weight_of(&members(class)),
            Node::Capture(_, body) | Node::Plain { body, .. } | Node::Atomic(body) => body.weight().saturating_add(256),
            Node::Concat(parts) | Node::Alternation(parts) => {
                parts.iter().fold(256, |sum, part| part.weight().saturating_add(sum))
            }
            Node::Repeat(times, body) => {
                let copies = u64::from(times.max.unwrap_or(times.min.saturating_add(1)).max(1));
                body.weight().saturating_add(256).saturating_mul(copies)
            }
            Node::Look { body, .. } => body.weight(),
            Node::Backref { .. } => 4_096,
            Node::Conditional { yes, no, .. } => yes.weight().saturating_add(no.weight()).saturating_add(256),
        }
    }

    /// Whether it is one character or position, so that two of them can be told to be the same.
    pub(super) fn is_plain(&self) -> bool {
        matches!(
            self,
            Node::Literal(..) | Node::Class(_) | Node::Dot(_) | Node::At(_) | Node::Backref { .. }
        )
    }

    /// Whether `test` holds for this node or one below it.
    pub(super) fn any(&self, test: fn(&Node) -> bool) -> bool {
        test(self)
            || match self {
                Node::Capture(_, body)
                | Node::Plain { body, .. }
                | Node::Atomic(body)
                | Node::Repeat(_, body)
                | Node::Look { body, .. } => body.any(test),
                Node::Concat(parts) | Node::Alternation(parts) => parts.iter().any(|part| part.any(test)),
                Node::Conditional { yes, no, .. } => yes.any(test) || no.any(test),
                _ => false,
            }
    }

    /// Whether this node itself needs an engine that backtracks.
    pub(super) fn is_irregular(&self) -> bool {
        matches!(
            self,
            Node::Look { .. }
                | Node::Atomic(_)
                | Node::Backref { .. }
                | Node::Conditional { .. }
                | Node::Repeat(
                    Times {
                        greed: Greed::Possessive,
                        ..
                    },
                    _
                )
        ) || self.repeats_nothing()
    }

    /// Whether this is a loop that may go round without taking a character: what its groups then hold, only a
    /// search step by step can tell.
    fn repeats_nothing(&self) -> bool {
        match self {
            Node::Repeat(times, body) => times.max.is_none_or(|max| max > 1) && body.width().0 == 0,
            _ => false,
        }
    }

    /// What of this node is wrong although it could be read; Python finds it when it compiles.
    pub(super) fn fault(&self, template: bool) -> Option<String> {
        match self {
            Node::Repeat(times, body) => match template {
                true => Some(format!(
                    "internal: unsupported template operator {}",
                    times.greed.operator()
                )),
                false => body.fault(template),
            },
            Node::Look { behind: true, body, .. } if body.width().0 != body.width().1 => {
                Some("look-behind requires fixed-width pattern".to_owned())
            }
            Node::Look { behind: true, body, .. } if body.width().0 > BEHIND_MAX => Some("invalid SRE code".to_owned()),
            Node::Capture(_, body) | Node::Plain { body, .. } | Node::Atomic(body) | Node::Look { body, .. } => {
                body.fault(template)
            }
            Node::Concat(parts) | Node::Alternation(parts) => parts.iter().find_map(|part| part.fault(template)),
            Node::Conditional { yes, no, .. } => yes.fault(template).or_else(|| no.fault(template)),
            _ => None,
        }
    }

    /// Removes each look-behind for a character that the text before it always ends in, as in `<HOST>`, where
    /// `(?<=:)` follows a group that cannot end otherwise. This alone makes most of Fail2Ban's regexes regular.
    ///
    /// `before` is the character known to stand before this node; the result, the one known to stand after it.
    pub(super) fn settle_look_behind(&mut self, before: Option<Code>) -> Option<Code> {
        match self {
            Node::Empty | Node::At(_) => before,
            Node::Literal(code, case) => {
                let caseless = *case == Case::Exact || char::from_u32(*code).is_some_and(|c| c.is_ascii_punctuation());
                caseless.then_some(*code)
            }
            Node::Class(_) | Node::Dot(_) | Node::Backref { .. } => None,
            Node::Capture(_, body) | Node::Plain { body, .. } | Node::Atomic(body) => body.settle_look_behind(before),
            Node::Concat(parts) => parts
                .iter_mut()
                .fold(before, |known, part| part.settle_look_behind(known)),
            Node::Alternation(arms) => agreed(arms.iter_mut().map(|arm| arm.settle_look_behind(before))),
            Node::Repeat(times, body) => {
                let once = times.max.is_some_and(|max| max <= 1);
                let after = body.settle_look_behind(before.filter(|_| once));
                if times.max == Some(0) {
                    return before;
                }
                after.filter(|_| times.min > 0 || after == before)
            }
            Node::Look {
                behind: true,
                negated: false,
                body,
            } if body.is_character(before) => {
                *self = Node::Empty;
                before
            }
            Node::Look {
                behind: false, body, ..
            } => {
                body.settle_look_behind(before);
                before
            }
            Node::Look { .. } => before,
            Node::Conditional { yes, no, .. } => {
                agreed([yes, no].into_iter().map(|arm| arm.settle_look_behind(before)))
            }
        }
    }

    fn is_character(&self, known: Option<Code>) -> bool {
        match self {
            Node::Literal(code, Case::Exact) => Some(*code) == known,
            Node::Plain { body, .. } => body.is_character(known),
            _ => false,
        }
    }
}

fn agreed(mut arms: impl Iterator<Item = Option<Code>>) -> Option<Code> {
    let first = arms.next().flatten();
    // Every arm has to be visited, so no short cut at the first disagreement.
    arms.fold(first, |known, arm| known.filter(|_| arm == known))
}

fn widest(arms: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    arms.reduce(|(lo, hi), (l, h)| (lo.min(l), hi.max(h))).unwrap_or((0, 0))
}

fn repeated(times: Times, (lo, hi): (u64, u64)) -> (u64, u64) {
    let most = times.max.map_or(ENDLESS, u64::from);
    clamped((lo.saturating_mul(u64::from(times.min)), hi.saturating_mul(most)))
}

/// Python counts no further than this.
fn clamped((lo, hi): (u64, u64)) -> (u64, u64) {
    (lo.min(ENDLESS - 1), hi.min(ENDLESS))
}

/// What a program needs for a set, rounded up from measured programs.
fn weight_of(set: &Set) -> u64 {
    let outside = set.ranges().iter().filter(|&&(_, high)| high >= 0x80).count();
    let outside = u64::try_from(outside).unwrap_or(u64::MAX);
    8_192 + outside.min(1) * 65_536 + outside.saturating_mul(512)
}
