//! The linear engine: a tree as the regular expression that `regex-automata` runs.
//!
//! Two are made of a tree that asks where words end, for text of ASCII characters and for any text, as the engine knows
//! Python's words in the first only. And there is a *wider* one, which matches wherever the tree does and maybe
//! elsewhere, so that a line which it rejects needs no engine that goes back and forth.

use regex_automata::meta::{BuildError, Config, Regex};
use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, Look, Repetition};

use super::class::{literal, members};
use super::set::Set;
use super::tree::{At, Case, Greed, Node, Times};

/// Bytes that one compiled program may take; the largest stock pattern takes a fiftieth.
const PROGRAM_MAX: usize = 32 << 20;

/// What an expression is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    /// Only text of ASCII characters is searched.
    pub(super) ascii: bool,
    /// It may match where the tree does not; it has no groups.
    pub(super) wider: bool,
}

/// Builds the engine for a tree, with Python's group numbers.
///
/// # Errors
/// It would need more memory than it may have.
pub(super) fn build(root: &Node, aim: Aim) -> Result<Regex, Box<BuildError>> {
    build_within(root, aim, PROGRAM_MAX)
}

/// The same with a limit in bytes.
pub(super) fn build_within(root: &Node, aim: Aim, bytes: usize) -> Result<Regex, Box<BuildError>> {
    compile(&aim.node(root), bytes)
}

/// One that tells only whether there is a match, in a text without newlines other than a last one: it need not go through
/// the rest of the line where any will do.
///
/// # Errors
/// It would need more memory than it may have.
pub(super) fn build_bare(root: &Node, aim: Aim) -> Result<Regex, Box<BuildError>> {
    compile(&aim.bare(root), PROGRAM_MAX)
}

fn compile(hir: &Hir, bytes: usize) -> Result<Regex, Box<BuildError>> {
    let config = Config::new().nfa_size_limit(Some(bytes));
    Regex::builder().configure(config).build_from_hir(hir).map_err(Box::new)
}

/// How many characters a part takes at least that takes whatever there is up to the end of the line.
fn rest_of_line(node: &Node) -> Option<u32> {
    match node {
        Node::Capture(_, body) | Node::Plain { body, .. } => rest_of_line(body),
        Node::Repeat(times, body) if times.max.is_none() && **body == Node::Dot(false) => Some(times.min),
        _ => None,
    }
}

impl Aim {
    /// A tree whose groups nobody asks for.
    fn bare(self, root: &Node) -> Hir {
        let Node::Concat(parts) = root else {
            return self.node(root);
        };
        let [head @ .., rest, Node::At(At::End | At::LineEnd)] = parts.as_slice() else {
            return self.node(root);
        };
        let Some(min) = rest_of_line(rest) else {
            return self.node(root);
        };
        let least = Times {
            min,
            max: Some(min),
            greed: Greed::Greedy,
        };
        let parts = head.iter().map(|part| self.node(part));
        Hir::concat(parts.chain([self.repeat(least, &Node::Dot(false))]).collect())
    }

    fn node(self, node: &Node) -> Hir {
        match node {
            Node::Empty => Hir::empty(),
            Node::Literal(code, Case::Exact) => self.character(*code),
            Node::Literal(code, case) => self.set(&literal(*code, *case)),
            Node::Class(class) => self.set(&members(class)),
            Node::Dot(true) => self.set(&Set::default().complement()),
            Node::Dot(false) => self.set(&Set::one(0x0a).complement()),
            Node::At(at) => self.at(*at),
            Node::Capture(group, body) => self.capture(*group, body),
            Node::Plain { body, .. } | Node::Atomic(body) => self.node(body),
            Node::Concat(parts) => Hir::concat(parts.iter().map(|part| self.node(part)).collect()),
            Node::Alternation(arms) => Hir::alternation(arms.iter().map(|arm| self.node(arm)).collect()),
            Node::Repeat(times, body) => self.repeat(*times, body),
            Node::Look { .. } => Hir::empty(),
            Node::Backref { .. } => self.repeat(
                Times {
                    min: 0,
                    max: None,
                    greed: Greed::Greedy,
                },
                &Node::Dot(true),
            ),
            Node::Conditional { yes, no, .. } => Hir::alternation(vec![self.node(yes), self.node(no)]),
        }
    }

    fn character(self, code: u32) -> Hir {
        match char::from_u32(code) {
            Some(c) if c.is_ascii() || !self.ascii => Hir::literal(c.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => Hir::fail(),
        }
    }

    fn set(self, set: &Set) -> Hir {
        let last = if self.ascii { '\x7f' } else { char::MAX };
        let ranges = set.characters().filter(|&(low, _)| low <= last);
        let ranges = ranges.map(|(low, high)| ClassUnicodeRange::new(low, high.min(last)));
        Hir::class(Class::Unicode(ClassUnicode::new(ranges)))
    }

    fn at(self, at: At) -> Hir {
        let look = match at {
            At::TextStart => Look::Start,
            At::TextEnd => Look::End,
            At::LineStart => Look::StartLF,
            // Right for a text without newlines other than a last one; others are not given to this engine.
            At::LineEnd | At::End => Look::EndLF,
            At::Word { negated, ascii } if ascii || self.ascii => match negated {
                false => Look::WordAscii,
                true => Look::WordAsciiNegate,
            },
            At::Word { .. } => return Hir::empty(),
        };
        Hir::look(look)
    }

    fn capture(self, group: usize, body: &Node) -> Hir {
        let sub = self.node(body);
        match u32::try_from(group) {
            Ok(index) if !self.wider => Hir::capture(Capture {
                index,
                name: None,
                sub: Box::new(sub),
            }),
            _ => sub,
        }
    }

    fn repeat(self, times: Times, body: &Node) -> Hir {
        if times.max == Some(0) {
            return Hir::empty();
        }
        Hir::repetition(Repetition {
            min: times.min,
            max: times.max,
            greedy: times.greed != Greed::Lazy,
            sub: Box::new(self.node(body)),
        })
    }
}
