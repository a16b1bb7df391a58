//! The reader of Python's regex dialect: text in, a tree or a refusal in Python's words out.
//!
//! It takes and refuses what CPython 3.11's `re` does (contract §3.1), apart from named limits of our own:
//! nesting, and characters by their names.

use std::collections::BTreeMap;

use super::branch;
use super::escape::{self, Escape};
use super::group::Opened;
use super::token::{Refusal, Token, Tokens};
use super::tree::{At, Case, Class, Greed, Item, Node, Times};

/// The deepest nesting of parentheses taken; the reader is recursive.
const NESTING_MAX: usize = 200;

/// Python's repeat counts end below this.
const REPEAT_MAX: u64 = u32::MAX as u64;

/// The flags in force at a place of the regex.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    pub(super) multiline: bool,
    pub(super) dot_all: bool,
    pub(super) verbose: bool,
    pub(super) ascii: bool,
    /// `u` was written; it is in force anyhow, but excludes `a`.
    pub(super) unicode: bool,
    /// `t`: no repetitions.
    pub(super) template: bool,
}

impl Flags {
    pub(super) fn case(self) -> Case {
        match (self.ignore_case, self.ascii) {
            (false, _) => Case::Exact,
            (true, false) => Case::Unicode,
            (true, true) => Case::Ascii,
        }
    }

    pub(super) fn class(self, items: Vec<Item>, negated: bool) -> Class {
        Class {
            items,
            negated,
            case: self.case(),
            ascii: self.ascii,
        }
    }

    /// Turns the flag of this letter on or off.
    pub(super) fn set(&mut self, letter: char, on: bool) {
        match letter {
            'i' => self.ignore_case = on,
            'm' => self.multiline = on,
            's' => self.dot_all = on,
            'x' => self.verbose = on,
            'a' => self.ascii = true,
            'u' => (self.ascii, self.unicode) = (false, true),
            't' => self.template = on,
            _ => {}
        }
    }
}

/// A regex that Python would compile.
pub(super) struct Parsed {
    pub(super) root: Node,
    /// Named groups with their numbers, in the order of the numbers.
    pub(super) names: Vec<(String, usize)>,
    /// How many capture groups there are.
    pub(super) groups: usize,
}

/// Reads a whole regex.
///
/// # Errors
/// What Python refuses, and our own limits.
pub(super) fn parse(text: &str, multiline: bool) -> Result<Parsed, Refusal> {
    let mut reader = Reader {
        tokens: Tokens::new(text)?,
        global: Flags {
            multiline,
            ..Flags::default()
        },
        names: BTreeMap::new(),
        widths: vec![None],
        look_behind: None,
        forward: BTreeMap::new(),
        both_types: false,
    };
    let mut root = reader.alternation(reader.global, 0)?;
    if reader.both_types {
        return Err(Refusal::anywhere("ASCII and UNICODE flags are incompatible"));
    }
    if reader.tokens.peek().is_some() {
        return Err(reader.tokens.refuse("unbalanced parenthesis", 0));
    }
    if let Some((group, &position)) = reader.forward.iter().find(|&(&group, _)| group >= reader.widths.len()) {
        let reason = format!("invalid group reference {group}");
        return Err(Refusal {
            reason,
            position: Some(position),
            ours: false,
        });
    }
    if let Some(reason) = root.fault(reader.global.template) {
        return Err(Refusal::anywhere(reason));
    }
    root.settle_look_behind(None);
    let mut names: Vec<_> = reader.names.into_iter().collect();
    names.sort_by_key(|&(_, group)| group);
    Ok(Parsed {
        root,
        names,
        groups: reader.widths.len() - 1,
    })
}

/// The state of the reading, which is recursive over parentheses.
pub(super) struct Reader {
    pub(super) tokens: Tokens,
    pub(super) global: Flags,
    pub(super) names: BTreeMap<String, usize>,
    /// By group number: the width of its match once the group is closed.
    pub(super) widths: Vec<Option<(u64, u64)>>,
    /// Inside a look-behind: how many groups there were at its start.
    pub(super) look_behind: Option<usize>,
    /// Groups that a conditional names by number, and where: they may come later.
    pub(super) forward: BTreeMap<usize, usize>,
    /// `a` and `u` were both turned on for the whole, which Python finds when all is read.
    pub(super) both_types: bool,
}

impl Reader {
    /// Everything up to the closing parenthesis or the end.
    pub(super) fn alternation(&mut self, mut flags: Flags, depth: usize) -> Result<Node, Refusal> {
        descend(depth)?;
        let mut arms = vec![self.sequence(flags, depth, depth == 0)?];
        while self.tokens.take('|')? {
            if depth == 0 {
                flags = self.global;
            }
            arms.push(self.sequence(flags, depth, false)?);
        }
        if arms.len() > 1 {
            Ok(branch::joined(arms))
        } else {
            Ok(branch::sequence(arms.pop().unwrap_or_default()))
        }
    }

    /// One arm of an alternation. Only the very first may begin with global flags.
    pub(super) fn sequence(&mut self, mut flags: Flags, depth: usize, first: bool) -> Result<Vec<Node>, Refusal> {
        let mut parts: Vec<Node> = Vec::new();
        loop {
            if matches!(self.tokens.peek(), None | Some(Token::Char('|' | ')'))) {
                break;
            }
            let Some(this) = self.tokens.get()? else { break };
            match this {
                Token::Char(c) if flags.verbose && self.is_blank(c)? => {}
                Token::Escape(c) => parts.push(self.escaped(c, flags)?),
                Token::Char('[') => parts.push(Node::Class(escape::class(&mut self.tokens, flags)?)),
                Token::Char(c @ ('*' | '+' | '?' | '{')) => self.quantify(c, flags, &mut parts)?,
                Token::Char('(') => match self.open(flags, depth, first && parts.is_empty())? {
                    Opened::Nothing => {
                        if depth == 0 {
                            flags = self.global;
                        }
                    }
                    Opened::Node(node) => parts.push(node),
                    Opened::Group(group) => parts.push(self.group(group, depth)?),
                },
                Token::Char(c) => parts.push(plain(c, flags)),
            }
        }
        Ok(branch::unpacked(parts))
    }

    /// Skips what `(?x)` makes meaningless.
    fn is_blank(&mut self, c: char) -> Result<bool, Refusal> {
        if c != '#' {
            return Ok(matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'));
        }
        while !matches!(self.tokens.get()?, None | Some(Token::Char('\n'))) {}
        Ok(true)
    }

    fn escaped(&mut self, c: char, flags: Flags) -> Result<Node, Refusal> {
        match escape::in_pattern(&mut self.tokens, c, flags)? {
            Escape::Node(node) => Ok(node),
            Escape::Group(group, _) if group < self.widths.len() => {
                let open = self.widths.get(group).copied().flatten().is_none();
                if open {
                    let back = if group > 9 { 3 } else { 2 };
                    return Err(self.tokens.refuse("cannot refer to an open group", back));
                }
                self.backref(group, flags)
            }
            Escape::Group(group, length) => Err(self
                .tokens
                .refuse(format!("invalid group reference {group}"), length - 1)),
        }
    }

    pub(super) fn backref(&mut self, group: usize, flags: Flags) -> Result<Node, Refusal> {
        self.check_look_behind(group)?;
        let case = flags.case();
        let width = self.widths.get(group).copied().flatten().unwrap_or((0, 0));
        Ok(Node::Backref { group, case, width })
    }

    pub(super) fn check_look_behind(&self, group: usize) -> Result<(), Refusal> {
        let Some(groups) = self.look_behind else { return Ok(()) };
        if self.widths.get(group).copied().flatten().is_none() {
            return Err(self.tokens.refuse("cannot refer to an open group", 0));
        }
        if group >= groups {
            return Err(self
                .tokens
                .refuse("cannot refer to group defined in the same lookbehind subpattern", 0));
        }
        Ok(())
    }

    fn quantify(&mut self, c: char, flags: Flags, parts: &mut Vec<Node>) -> Result<(), Refusal> {
        let here = self.tokens.tell();
        let bounds = match c {
            '?' => Some((0, Some(1))),
            '*' => Some((0, None)),
            '+' => Some((1, None)),
            _ => self.bounds(here)?,
        };
        let Some((min, max)) = bounds else {
            parts.push(plain('{', flags));
            return Ok(());
        };
        let back = self.tokens.tell() + 1 - here;
        let item = match parts.pop() {
            None | Some(Node::At(_)) => return Err(self.tokens.refuse("nothing to repeat", back)),
            Some(Node::Repeat(..)) => return Err(self.tokens.refuse("multiple repeat", back)),
            Some(Node::Plain { flagged: false, body }) => *body,
            Some(item) => item,
        };
        let greed = if self.tokens.take('?')? {
            Greed::Lazy
        } else if self.tokens.take('+')? {
            Greed::Possessive
        } else {
            Greed::Greedy
        };
        parts.push(Node::Repeat(Times { min, max, greed }, Box::new(item)));
        Ok(())
    }

    /// `{n}`, `{n,}`, `{,m}`, `{n,m}`; anything else is a literal brace, and `{,}` is `*`.
    fn bounds(&mut self, here: usize) -> Result<Option<(u32, Option<u32>)>, Refusal> {
        if self.tokens.peek_char() == Some('}') {
            return Ok(None);
        }
        let low = self.tokens.take_while(usize::MAX, |c| c.is_ascii_digit())?;
        let high = if self.tokens.take(',')? {
            self.tokens.take_while(usize::MAX, |c| c.is_ascii_digit())?
        } else {
            low.clone()
        };
        if !self.tokens.take('}')? {
            self.tokens.seek(here)?;
            return Ok(None);
        }
        let min = count(&low)?.unwrap_or(0);
        let max = count(&high)?;
        if max.is_some_and(|max| max < min) {
            return Err(self
                .tokens
                .refuse("min repeat greater than max repeat", self.tokens.tell() - here));
        }
        Ok(Some((min, max)))
    }
}

/// Stops before the stack does.
pub(super) fn descend(depth: usize) -> Result<(), Refusal> {
    if depth > NESTING_MAX {
        return Err(Refusal::ours(format!(
            "nesting deeper than {NESTING_MAX} is not supported"
        )));
    }
    Ok(())
}

fn plain(c: char, flags: Flags) -> Node {
    match c {
        '.' => Node::Dot(flags.dot_all),
        '^' if flags.multiline => Node::At(At::LineStart),
        '^' => Node::At(At::TextStart),
        '$' if flags.multiline => Node::At(At::LineEnd),
        '$' => Node::At(At::End),
        c => Node::Literal(c.into(), flags.case()),
    }
}

fn count(digits: &str) -> Result<Option<u32>, Refusal> {
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse::<u64>() {
        Ok(count) if count < REPEAT_MAX => Ok(u32::try_from(count).ok()),
        _ => Err(Refusal::anywhere("the repetition number is too large")),
    }
}
