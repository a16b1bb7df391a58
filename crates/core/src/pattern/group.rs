//! What may stand behind an opening parenthesis in Python's dialect.

use std::fmt::Write as _;

use super::branch;
use super::is_python_space;
use super::parse::{Flags, Reader, descend};
use super::set::within;
use super::tables::{DIGIT, FIRST, REST, WORD};
use super::token::{Refusal, Token};
use super::tree::{Code, Node};

/// Python has no group of this number or a higher one.
const GROUPS_MAX: usize = (i32::MAX / 2) as usize;

/// What an opening parenthesis turned out to be.
pub(super) enum Opened {
    /// A group whose content comes next.
    Group(Group),
    /// Something already read to its closing parenthesis.
    Node(Node),
    /// A comment, or global flags.
    Nothing,
}

/// A group of which only the head was read.
pub(super) struct Group {
    capture: Option<usize>,
    atomic: bool,
    /// Its flags are its own.
    flagged: bool,
    flags: Flags,
    /// Where its parenthesis stands.
    start: usize,
}

impl Reader {
    /// Reads on after `(`. Global flags are right only where `at_start`.
    pub(super) fn open(&mut self, flags: Flags, depth: usize, at_start: bool) -> Result<Opened, Refusal> {
        let start = self.tokens.tell() - 1;
        let plain = Group {
            capture: None,
            atomic: false,
            flagged: false,
            flags,
            start,
        };
        if !self.tokens.take('?')? {
            let capture = Some(self.new_group(None)?);
            return Ok(Opened::Group(Group { capture, ..plain }));
        }
        let Some(this) = self.tokens.get()? else {
            return Err(self.tokens.refuse("unexpected end of pattern", 0));
        };
        match this {
            Token::Char('P') => self.open_named(plain),
            Token::Char(':') => Ok(Opened::Group(plain)),
            Token::Char('>') => Ok(Opened::Group(Group { atomic: true, ..plain })),
            Token::Char('#') => self.comment(start),
            Token::Char(c @ ('=' | '!' | '<')) => self.look(c, &plain, depth),
            Token::Char('(') => self.conditional(&plain, depth),
            Token::Char(c @ ('i' | 'L' | 'm' | 's' | 'x' | 'a' | 't' | 'u' | '-')) => self.flags(c, plain, at_start),
            other => Err(self.unknown("?", other)),
        }
    }

    fn unknown(&self, prefix: &str, token: Token) -> Refusal {
        let text = match token {
            Token::Char(c) => c.to_string(),
            Token::Escape(c) => format!(r"\{c}"),
        };
        let back = text.chars().count() + prefix.len();
        self.tokens.refuse(format!("unknown extension {prefix}{text}"), back)
    }

    fn new_group(&mut self, name: Option<String>) -> Result<usize, Refusal> {
        let group = self.widths.len();
        if let Some(name) = name {
            if let Some(old) = self.names.get(&name) {
                let reason = format!(
                    "redefinition of group name {} as group {group}; was group {old}",
                    quoted(&name)
                );
                return Err(self.tokens.refuse(reason, name.chars().count() + 1));
            }
            self.names.insert(name, group);
        }
        self.widths.push(None);
        Ok(group)
    }

    fn open_named(&mut self, plain: Group) -> Result<Opened, Refusal> {
        if self.tokens.take('<')? {
            let name = self.tokens.until('>', "group name")?;
            self.check_name(&name)?;
            let capture = Some(self.new_group(Some(name))?);
            return Ok(Opened::Group(Group { capture, ..plain }));
        }
        if !self.tokens.take('=')? {
            return Err(match self.tokens.get()? {
                None => self.tokens.refuse("unexpected end of pattern", 0),
                Some(token) => self.unknown("?P", token),
            });
        }
        let name = self.tokens.until(')', "group name")?;
        self.check_name(&name)?;
        let back = name.chars().count() + 1;
        let Some(&group) = self.names.get(&name) else {
            return Err(self
                .tokens
                .refuse(format!("unknown group name {}", quoted(&name)), back));
        };
        if self.widths.get(group).copied().flatten().is_none() {
            return Err(self.tokens.refuse("cannot refer to an open group", back));
        }
        self.backref(group, plain.flags).map(Opened::Node)
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if is_identifier(name) {
            return Ok(());
        }
        let reason = format!("bad character in group name {}", quoted(name));
        Err(self.tokens.refuse(reason, name.chars().count() + 1))
    }

    fn comment(&mut self, start: usize) -> Result<Opened, Refusal> {
        loop {
            match self.tokens.get()? {
                None => {
                    let back = self.tokens.tell() - start;
                    return Err(self.tokens.refuse("missing ), unterminated comment", back));
                }
                Some(Token::Char(')')) => return Ok(Opened::Nothing),
                Some(_) => {}
            }
        }
    }

    fn look(&mut self, sign: char, plain: &Group, depth: usize) -> Result<Opened, Refusal> {
        let behind = sign == '<';
        let sign = match (
            behind,
            if behind {
                self.tokens.get()?
            } else {
                Some(Token::Char(sign))
            },
        ) {
            (_, Some(Token::Char(c @ ('=' | '!')))) => c,
            (_, Some(token)) => return Err(self.unknown("?<", token)),
            (_, None) => return Err(self.tokens.refuse("unexpected end of pattern", 0)),
        };
        let outermost = behind && self.look_behind.is_none();
        if outermost {
            self.look_behind = Some(self.widths.len());
        }
        let body = self.alternation(plain.flags, depth + 1)?;
        if outermost {
            self.look_behind = None;
        }
        self.close(plain.start)?;
        Ok(Opened::Node(Node::Look {
            behind,
            negated: sign == '!',
            body: Box::new(body),
        }))
    }

    fn conditional(&mut self, plain: &Group, depth: usize) -> Result<Opened, Refusal> {
        let name = self.tokens.until(')', "group name")?;
        let group = self.condition(&name)?;
        self.check_look_behind(group)?;
        let yes = self.branch(plain.flags, depth)?;
        let mut no = Node::Empty;
        if self.tokens.take('|')? {
            no = self.branch(plain.flags, depth)?;
            if self.tokens.peek_char() == Some('|') {
                return Err(self.tokens.refuse("conditional backref with more than two branches", 0));
            }
        }
        self.close(plain.start)?;
        Ok(Opened::Node(Node::Conditional {
            group,
            yes: Box::new(yes),
            no: Box::new(no),
        }))
    }

    fn branch(&mut self, flags: Flags, depth: usize) -> Result<Node, Refusal> {
        descend(depth + 1)?;
        self.sequence(flags, depth + 1, false).map(branch::sequence)
    }

    /// The group that a conditional asks for: a name already seen, or any number.
    fn condition(&mut self, name: &str) -> Result<usize, Refusal> {
        let length = name.chars().count();
        if is_identifier(name) {
            return self.names.get(name).copied().ok_or_else(|| {
                self.tokens
                    .refuse(format!("unknown group name {}", quoted(name)), length + 1)
            });
        }
        let Some(group) = number(name) else {
            let reason = format!("bad character in group name {}", quoted(name));
            return Err(self.tokens.refuse(reason, length + 1));
        };
        if group == 0 {
            return Err(self.tokens.refuse("bad group number", length + 1));
        }
        if group >= GROUPS_MAX {
            return Err(self
                .tokens
                .refuse(format!("invalid group reference {group}"), length + 1));
        }
        let position = self.tokens.tell().saturating_sub(length + 1);
        self.forward.entry(group).or_insert(position);
        Ok(group)
    }

    /// `(?i)`, `(?i-s:`; the first letter or the minus was read.
    fn flags(&mut self, first: char, mut plain: Group, at_start: bool) -> Result<Opened, Refusal> {
        let mut on = String::new();
        let mut next = first;
        while next != '-' {
            self.check_flag_on(next, &on)?;
            on.push(next);
            next = self.flag_letter("missing -, : or )", ")-:")?;
            if next == ')' {
                return self.global_flags(&on, plain.start, at_start);
            }
            if next == ':' {
                break;
            }
        }
        if on.contains('t') {
            return Err(self.tokens.refuse("bad inline flags: cannot turn on global flag", 1));
        }
        let off = if next == '-' { self.flags_off()? } else { String::new() };
        if off.contains('t') {
            return Err(self.tokens.refuse("bad inline flags: cannot turn off global flag", 1));
        }
        if on.chars().any(|c| off.contains(c)) {
            return Err(self.tokens.refuse("bad inline flags: flag turned on and off", 1));
        }
        plain.flagged = true;
        on.chars().for_each(|c| plain.flags.set(c, true));
        off.chars().for_each(|c| plain.flags.set(c, false));
        Ok(Opened::Group(plain))
    }

    fn check_flag_on(&self, letter: char, on: &str) -> Result<(), Refusal> {
        if letter == 'L' {
            return Err(self
                .tokens
                .refuse("bad inline flags: cannot use 'L' flag with a str pattern", 0));
        }
        if (letter == 'a' && on.contains('u')) || (letter == 'u' && on.contains('a')) {
            return Err(self
                .tokens
                .refuse("bad inline flags: flags 'a', 'u' and 'L' are incompatible", 0));
        }
        Ok(())
    }

    /// The next flag letter, or one of `ends`.
    fn flag_letter(&mut self, missing: &str, ends: &str) -> Result<char, Refusal> {
        match self.tokens.get()? {
            None => Err(self.tokens.refuse(missing, 0)),
            Some(Token::Char(c)) if ends.contains(c) || "iLmsxatu".contains(c) => Ok(c),
            Some(Token::Char(c)) if c.is_alphabetic() => Err(self.tokens.refuse("unknown flag", 1)),
            Some(Token::Char(_)) => Err(self.tokens.refuse(missing, 1)),
            Some(Token::Escape(_)) => Err(self.tokens.refuse(missing, 2)),
        }
    }

    fn flags_off(&mut self) -> Result<String, Refusal> {
        let mut off = String::new();
        let mut next = self.flag_letter("missing flag", "")?;
        loop {
            if "aLu".contains(next) {
                let reason = "bad inline flags: cannot turn off flags 'a', 'u' and 'L'";
                return Err(self.tokens.refuse(reason, 0));
            }
            off.push(next);
            next = self.flag_letter("missing :", ":")?;
            if next == ':' {
                return Ok(off);
            }
        }
    }

    fn global_flags(&mut self, on: &str, start: usize, at_start: bool) -> Result<Opened, Refusal> {
        if !at_start {
            let back = self.tokens.tell() - start;
            return Err(self
                .tokens
                .refuse("global flags not at the start of the expression", back));
        }
        let had = self.global;
        on.chars().for_each(|c| self.global.set(c, true));
        if (had.ascii && on.contains('u')) || (had.unicode && on.contains('a')) {
            self.both_types = true;
        }
        Ok(Opened::Nothing)
    }

    /// Reads a group whose head was read.
    pub(super) fn group(&mut self, group: Group, depth: usize) -> Result<Node, Refusal> {
        let body = self.alternation(group.flags, depth + 1)?;
        self.close(group.start)?;
        let Some(number) = group.capture else {
            let body = Box::new(body);
            return Ok(if group.atomic {
                Node::Atomic(body)
            } else {
                Node::Plain {
                    flagged: group.flagged,
                    body,
                }
            });
        };
        if let Some(width) = self.widths.get_mut(number) {
            *width = Some(body.width());
        }
        Ok(Node::Capture(number, Box::new(body)))
    }

    fn close(&mut self, start: usize) -> Result<(), Refusal> {
        if self.tokens.take(')')? {
            return Ok(());
        }
        let back = self.tokens.tell().saturating_sub(start);
        Err(self.tokens.refuse("missing ), unterminated subpattern", back))
    }
}

/// Python's rule for names, which are Unicode there as well.
fn is_identifier(name: &str) -> bool {
    let begins = |c: char| within(WORD, c.into()) != within(FIRST, c.into());
    let goes_on = |c: char| within(WORD, c.into()) != within(REST, c.into());
    name.chars().next().is_some_and(begins) && name.chars().all(goes_on)
}

/// A whole number as Python reads one: blanks around it, a plus, underscores between digits of any script.
fn number(text: &str) -> Option<usize> {
    // Only a text with other characters has its blanks of Unicode put right first.
    let ascii = text.is_ascii();
    let text = text.trim_matches(|c: char| is_python_space(c) && !(ascii && ('\x1c'..='\x1f').contains(&c)));
    let (digits, negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let mut sum: usize = 0;
    for part in digits.split('_') {
        if part.is_empty() {
            return None;
        }
        for c in part.chars() {
            sum = sum.saturating_mul(10).saturating_add(digit(c)?);
        }
    }
    (!negative || sum == 0).then_some(sum)
}

/// The worth of a decimal digit: each script has ten in a row.
fn digit(c: char) -> Option<usize> {
    let code = Code::from(c);
    let &(first, _) = DIGIT.iter().find(|&&(first, last)| (first..=last).contains(&code))?;
    usize::try_from((code - first) % 10).ok()
}

/// A name as Python's messages quote it.
fn quoted(name: &str) -> String {
    let mark = if name.contains('\'') && !name.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(mark);
    for c in name.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            '\t' => out.push_str(r"\t"),
            c if c == mark => out.extend(['\\', c]),
            c if c.is_control() || matches!(c, '\u{a0}' | '\u{ad}') => {
                // Writing into a String cannot fail.
                let _ = write!(out, r"\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(mark);
    out
}
