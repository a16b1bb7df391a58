//! The small part of Python's regex language that dates are written in, as a tree.
//!
//! Date patterns are short sequences of digits, names and separators. [`parse`] reads those into a [`Node`]; what
//! is outside (general look-around, conditions, escapes that dates do not need) is [`Outside`] and goes to the
//! general engine. Reading never fails on a pattern that Python would accept, it only declines.

use super::letter;

/// How deep groups may nest before the general engine takes over.
const MAX_DEPTH: usize = 32;

/// The most a counted repetition may ask for before the general engine takes over.
const MAX_COUNT: usize = 100;

/// The pattern needs more than this module knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside;

/// A set of characters: ASCII as a bitmap, the rest by property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) ascii: u128,
    wide: u16,
    negated: bool,
}

const DIGIT: u16 = 1;
const NO_DIGIT: u16 = 2;
const WORD: u16 = 4;
const NO_WORD: u16 = 8;
const SPACE: u16 = 16;
const NO_SPACE: u16 = 32;
const DOTTED_I: u16 = 64;
const LONG_S: u16 = 128;
const KELVIN: u16 = 256;

impl Set {
    /// Whether a character beyond ASCII belongs to the set.
    pub(super) fn holds_wide(self, c: char) -> bool {
        let w = self.wide;
        let has = |flag: u16| w & flag != 0;
        let inside = (has(DIGIT) && letter::digit(c).is_some())
            || (has(NO_DIGIT) && letter::digit(c).is_none())
            || (has(WORD) && letter::is_word(c))
            || (has(NO_WORD) && !letter::is_word(c))
            || (has(SPACE) && letter::is_space(c))
            || (has(NO_SPACE) && !letter::is_space(c))
            || (has(DOTTED_I) && matches!(c, '\u{130}' | '\u{131}'))
            || (has(LONG_S) && c == '\u{17f}')
            || (has(KELVIN) && c == '\u{212a}');
        inside != self.negated
    }

    /// Whether any character beyond ASCII can belong to the set.
    pub(super) fn may_be_wide(self) -> bool {
        self.wide != 0 || self.negated
    }

    /// Both sets in one; `None` if that cannot be told in this form.
    pub(super) fn joined(mut self, other: Set) -> Option<Set> {
        self.add(other);
        (!self.negated && !other.negated).then_some(self)
    }

    fn one(byte: u8) -> Set {
        Set {
            ascii: 1 << byte,
            ..Set::default()
        }
    }

    fn add(&mut self, other: Set) {
        self.ascii |= other.ascii;
        self.wide |= other.wide;
    }

    /// Python's ignore-case: both cases of each letter, and the few foreign letters that fold to ASCII ones.
    fn fold(mut self) -> Set {
        for lower in b'a'..=b'z' {
            let both = (1 << lower) | (1 << lower.to_ascii_uppercase());
            if self.ascii & both != 0 {
                self.ascii |= both;
                self.wide |= match lower {
                    b'i' => DOTTED_I,
                    b's' => LONG_S,
                    b'k' => KELVIN,
                    _ => 0,
                };
            }
        }
        self
    }

    fn negate(self) -> Set {
        Set {
            ascii: !self.ascii,
            negated: !self.negated,
            ..self
        }
    }

    /// `\d`, `\w`, `\s` and their opposites.
    fn class(name: u8) -> Option<Set> {
        let inside: fn(char) -> bool = match name.to_ascii_lowercase() {
            b'd' => |c| c.is_ascii_digit(),
            b'w' => letter::is_word,
            b's' => letter::is_space,
            _ => return None,
        };
        let ascii = (0..128u8)
            .filter(|&b| inside(char::from(b)))
            .fold(0, |set, b| set | (1 << b));
        let (ascii, wide) = match name {
            b'd' => (ascii, DIGIT),
            b'w' => (ascii, WORD),
            b's' => (ascii, SPACE),
            b'D' => (!ascii, NO_DIGIT),
            b'W' => (!ascii, NO_WORD),
            _ => (!ascii, NO_SPACE),
        };
        Some(Set {
            ascii,
            wide,
            negated: false,
        })
    }
}

/// A condition on a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `^`
    Start,
    /// `$`: at the end, or before one line feed that ends the text.
    End,
    /// `\b`
    WordEdge,
    /// `(?=^|\b|\W)`: what Fail2Ban puts before a date (contract §3.7).
    Before,
    /// `(?=\b|\W|$)`: what Fail2Ban puts after a date.
    After,
    /// `(?<=^\[)`: after a bracket that opens the line.
    Bracket,
    /// `(?<=\baudit\()`: after the word that SELinux writes before its times.
    Audit,
}

/// The tree of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    One(Set),
    At(Place),
    Group(Option<usize>, Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    /// node, least, most, greedy
    Repeat(Box<Node>, usize, Option<usize>, bool),
    /// The text of a group again, with true in either case, and the most bytes it can be.
    Same(usize, bool, Option<usize>),
}

/// A pattern that was read.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) root: Node,
    /// Name of each capturing group; the whole match is number 0.
    pub(super) names: Vec<Option<String>>,
}

/// Reads a Python regex.
///
/// # Errors
/// [`Outside`] if it is not of the small kind (it may still be a valid Python regex).
pub(super) fn parse(source: &str) -> Result<Shape, Outside> {
    let mut rest = source;
    let mut fold = false;
    if let Some((flags, after)) = source.strip_prefix("(?").and_then(|text| text.split_once(')'))
        && !flags.is_empty()
        && flags.bytes().all(|flag| matches!(flag, b'i' | b'u'))
    {
        fold = flags.contains('i');
        rest = after;
    }
    if !rest.is_ascii() {
        return Err(Outside);
    }
    let mut parser = Parser {
        rest,
        fold,
        names: vec![None],
        depth: 0,
        singles: Vec::new(),
    };
    let root = parser.any()?;
    if parser.rest.is_empty() {
        Ok(Shape {
            root,
            names: parser.names,
        })
    } else {
        Err(Outside)
    }
}

struct Parser<'s> {
    rest: &'s str,
    fold: bool,
    names: Vec<Option<String>>,
    depth: usize,
    /// Groups that hold one character.
    singles: Vec<usize>,
}

/// Openings with a meaning of their own, looked for before the general group syntax.
const PLACES: [(&str, Place); 7] = [
    (r"(?=^|\b|\W)", Place::Before),
    (r"(?=\b|\W|$)", Place::After),
    (r"(?<=^\[)", Place::Bracket),
    (r"(?<=\baudit\()", Place::Audit),
    (r"\b", Place::WordEdge),
    ("^", Place::Start),
    ("$", Place::End),
];

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn next(&mut self) -> Result<u8, Outside> {
        let first = *self.rest.as_bytes().first().ok_or(Outside)?;
        self.rest = self.rest.get(1..).ok_or(Outside)?;
        Ok(first)
    }

    fn any(&mut self) -> Result<Node, Outside> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Outside);
        }
        let mut branches = vec![self.all()?];
        while self.eat("|") {
            branches.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if branches.len() == 1 {
            branches.remove(0)
        } else {
            Node::Any(branches)
        })
    }

    fn all(&mut self) -> Result<Node, Outside> {
        let mut parts = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let node = self.atom()?;
            parts.push(self.repeated(node)?);
        }
        Ok(Node::All(parts))
    }

    fn atom(&mut self) -> Result<Node, Outside> {
        for (text, place) in PLACES {
            if self.eat(text) {
                return Ok(Node::At(place));
            }
        }
        match self.next()? {
            b'(' => self.group(),
            b'[' => self.class().map(Node::One),
            b'\\' => {
                let escaped = self.next()?;
                self.escape(escaped).map(Node::One)
            }
            b'.' => Ok(Node::One(Set::one(b'\n').negate())),
            b'*' | b'+' | b'?' => Err(Outside),
            literal => Ok(Node::One(self.folded(Set::one(literal)))),
        }
    }

    fn folded(&self, set: Set) -> Set {
        if self.fold { set.fold() } else { set }
    }

    fn escape(&self, escaped: u8) -> Result<Set, Outside> {
        if let Some(class) = Set::class(escaped) {
            return Ok(class);
        }
        match escaped {
            b't' => Ok(Set::one(b'\t')),
            _ if escaped.is_ascii_alphanumeric() => Err(Outside),
            _ => Ok(Set::one(escaped)),
        }
    }

    fn group(&mut self) -> Result<Node, Outside> {
        if self.eat("?P=") {
            let (name, after) = self.rest.split_once(')').ok_or(Outside)?;
            let index = self
                .names
                .iter()
                .position(|known| known.as_deref() == Some(name))
                .ok_or(Outside)?;
            self.rest = after;
            let longest = self.singles.contains(&index).then_some(4);
            return Ok(Node::Same(index, self.fold, longest));
        }
        let index = if self.eat("?:") {
            None
        } else if self.eat("?P<") {
            let (name, after) = self.rest.split_once('>').ok_or(Outside)?;
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if name.is_empty() || !plain || self.names.iter().flatten().any(|known| known == name) {
                return Err(Outside);
            }
            self.names.push(Some(name.to_owned()));
            self.rest = after;
            Some(self.names.len() - 1)
        } else if self.rest.starts_with('?') {
            return Err(Outside);
        } else {
            self.names.push(None);
            Some(self.names.len() - 1)
        };
        let inner = self.any()?;
        if let (Some(index), Node::All(parts)) = (index, &inner)
            && matches!(parts.as_slice(), [Node::One(_)])
        {
            self.singles.push(index);
        }
        if self.eat(")") {
            Ok(Node::Group(index, Box::new(inner)))
        } else {
            Err(Outside)
        }
    }

    fn class(&mut self) -> Result<Set, Outside> {
        let negated = self.eat("^");
        let mut set = Set::default();
        let mut first = true;
        loop {
            let byte = self.next()?;
            if byte == b']' && !first {
                break;
            }
            first = false;
            let (from, member) = self.member(byte)?;
            let range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let (Some(from), true) = (from, range) else {
                set.add(member);
                continue;
            };
            self.rest = self.rest.get(1..).ok_or(Outside)?;
            let byte = self.next()?;
            let to = self.member(byte)?.0.filter(|&to| to >= from).ok_or(Outside)?;
            (from..=to).for_each(|byte| set.add(Set::one(byte)));
        }
        let set = self.folded(set);
        Ok(if negated { set.negate() } else { set })
    }

    /// One member of a class, with its byte if it is a single character that may start a range.
    fn member(&mut self, byte: u8) -> Result<(Option<u8>, Set), Outside> {
        if byte != b'\\' {
            return Ok((Some(byte), Set::one(byte)));
        }
        let escaped = self.next()?;
        let set = self.escape(escaped)?;
        let single = set.ascii.count_ones() == 1 && !set.may_be_wide();
        let byte = u8::try_from(set.ascii.trailing_zeros()).map_err(|_| Outside)?;
        Ok((single.then_some(byte), set))
    }

    fn repeated(&mut self, node: Node) -> Result<Node, Outside> {
        let (least, most) = match self.rest.as_bytes().first() {
            Some(b'?') => (0, Some(1)),
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'{') => return self.counted(node),
            _ => return Ok(node),
        };
        self.next()?;
        self.finish(node, least, most)
    }

    fn counted(&mut self, node: Node) -> Result<Node, Outside> {
        let (inside, after) = self.rest.split_once('}').ok_or(Outside)?;
        let counts = inside.get(1..).unwrap_or_default();
        let (least, most) = counts.split_once(',').unwrap_or((counts, counts));
        let number = |text: &str| text.parse::<usize>().ok().filter(|&n| n <= MAX_COUNT).ok_or(Outside);
        let (least, most) = (number(least)?, number(most)?);
        if least > most {
            return Err(Outside);
        }
        self.rest = after;
        self.finish(node, least, Some(most))
    }

    /// Only single characters repeat often: then no line can make the work explode, whatever it holds.
    fn finish(&mut self, node: Node, least: usize, most: Option<usize>) -> Result<Node, Outside> {
        let lazy = self.eat("?");
        if self.rest.starts_with(['*', '+', '?']) || matches!(node, Node::At(_)) {
            return Err(Outside);
        }
        let single = matches!(node, Node::One(_));
        if !single && most != Some(1) {
            return Err(Outside);
        }
        Ok(Node::Repeat(Box::new(node), least, most, !lazy))
    }
}
