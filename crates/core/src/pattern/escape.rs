//! Escapes and character classes of Python's dialect.
//!
//! Here `[` inside a class is a plain character, `]` is one in first place, and `&&`, `--` and `~~` mean nothing
//! (contract §3.1).

use super::parse::Flags;
use super::set::CODE_MAX;
use super::token::{Refusal, Token, Tokens};
use super::tree::{At, Category, Class, Code, Item, Node};

/// What an escape outside a class is.
pub(super) enum Escape {
    Node(Node),
    /// `\1`, to be checked against the groups seen so far; with the characters it was written in.
    Group(usize, usize),
}

/// Reads the rest of an escape outside a class.
pub(super) fn in_pattern(tokens: &mut Tokens, c: char, flags: Flags) -> Result<Escape, Refusal> {
    let at = match c {
        'A' => At::TextStart,
        'Z' => At::TextEnd,
        'b' => At::Word {
            negated: false,
            ascii: flags.ascii,
        },
        'B' => At::Word {
            negated: true,
            ascii: flags.ascii,
        },
        '1'..='9' => return group_or_octal(tokens, c, flags),
        _ => {
            let node = match category(c) {
                Some(item) => Node::Class(flags.class(vec![item], false)),
                None => Node::Literal(code(tokens, c, false)?, flags.case()),
            };
            return Ok(Escape::Node(node));
        }
    };
    Ok(Escape::Node(Node::At(at)))
}

fn group_or_octal(tokens: &mut Tokens, c: char, flags: Flags) -> Result<Escape, Refusal> {
    let mut digits = String::from(c);
    digits.push_str(&tokens.take_while(1, |c| c.is_ascii_digit())?);
    let octal = digits.len() == 2 && digits.chars().all(is_octal);
    if let Some(third) = tokens.peek_char().filter(|&c| octal && is_octal(c)) {
        tokens.get()?;
        digits.push(third);
        let code = Code::from_str_radix(&digits, 8).unwrap_or(CODE_MAX);
        if code > 0o377 {
            return Err(octal_too_big(tokens, &digits));
        }
        return Ok(Escape::Node(Node::Literal(code, flags.case())));
    }
    let group = digits.parse().unwrap_or(usize::MAX);
    Ok(Escape::Group(group, digits.len() + 1))
}

fn octal_too_big(tokens: &Tokens, digits: &str) -> Refusal {
    tokens.refuse(
        format!(r"octal escape value \{digits} outside of range 0-0o377"),
        digits.len() + 1,
    )
}

fn is_octal(c: char) -> bool {
    matches!(c, '0'..='7')
}

fn category(c: char) -> Option<Item> {
    let kind = match c.to_ascii_lowercase() {
        'd' => Category::Digit,
        's' => Category::Space,
        'w' => Category::Word,
        _ => return None,
    };
    Some(Item::Category {
        kind,
        negated: c.is_ascii_uppercase(),
    })
}

/// The code point that an escape stands for.
fn code(tokens: &mut Tokens, c: char, in_class: bool) -> Result<Code, Refusal> {
    Ok(match c {
        'a' => 0x07,
        'b' if in_class => 0x08,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        'x' => hex(tokens, c, 2)?,
        'u' => hex(tokens, c, 4)?,
        'U' => hex(tokens, c, 8)?,
        'N' => return Err(named(tokens)),
        '0' => octal(tokens, c)?,
        '1'..='7' if in_class => octal(tokens, c)?,
        c if c.is_ascii_alphanumeric() => return Err(tokens.refuse(format!(r"bad escape \{c}"), 2)),
        c => c.into(),
    })
}

/// The names of all characters are a megabyte; no log filter has needed one.
fn named(tokens: &mut Tokens) -> Refusal {
    let taken = tokens.take('{');
    match taken {
        Err(refusal) => refusal,
        Ok(false) => tokens.refuse("missing {", 0),
        Ok(true) => match tokens.until('}', "character name") {
            Err(refusal) => refusal,
            Ok(_) => Refusal::ours(r"\N{…} (a character by its name) is not supported"),
        },
    }
}

fn octal(tokens: &mut Tokens, c: char) -> Result<Code, Refusal> {
    let digits = format!("{c}{}", tokens.take_while(2, is_octal)?);
    let code = Code::from_str_radix(&digits, 8).unwrap_or(CODE_MAX);
    if code > 0o377 {
        return Err(octal_too_big(tokens, &digits));
    }
    Ok(code)
}

fn hex(tokens: &mut Tokens, c: char, length: usize) -> Result<Code, Refusal> {
    let digits = tokens.take_while(length, |c| c.is_ascii_hexdigit())?;
    if digits.len() < length {
        return Err(tokens.refuse(format!(r"incomplete escape \{c}{digits}"), digits.len() + 2));
    }
    match Code::from_str_radix(&digits, 16) {
        Ok(code) if code <= CODE_MAX => Ok(code),
        _ => Err(tokens.refuse(format!(r"bad escape \{c}{digits}"), digits.len() + 2)),
    }
}

/// Reads a character class, its `[` already taken.
pub(super) fn class(tokens: &mut Tokens, flags: Flags) -> Result<Class, Refusal> {
    let start = tokens.tell() - 1;
    let negated = tokens.take('^')?;
    let mut items = Vec::new();
    loop {
        let this = member(tokens, start)?;
        if this == Token::Char(']') && !items.is_empty() {
            break;
        }
        let low = item(tokens, this)?;
        if !tokens.take('-')? {
            add(&mut items, low);
            continue;
        }
        let that = member(tokens, start)?;
        if that == Token::Char(']') {
            add(&mut items, low);
            add(&mut items, Item::One('-'.into()));
            break;
        }
        let high = item(tokens, that)?;
        let range = range(low, high).ok_or_else(|| bad_range(tokens, this, that))?;
        add(&mut items, range);
    }
    Ok(flags.class(items, negated))
}

fn member(tokens: &mut Tokens, start: usize) -> Result<Token, Refusal> {
    match tokens.get()? {
        Some(token) => Ok(token),
        None => Err(tokens.refuse("unterminated character set", tokens.tell() - start)),
    }
}

fn item(tokens: &mut Tokens, token: Token) -> Result<Item, Refusal> {
    match token {
        Token::Char(c) => Ok(Item::One(c.into())),
        Token::Escape(c) => match category(c) {
            Some(item) => Ok(item),
            None => Ok(Item::One(code(tokens, c, true)?)),
        },
    }
}

/// Adds what is not there yet: a set of one character is read differently from others.
pub(super) fn add(items: &mut Vec<Item>, item: Item) {
    if !items.contains(&item) {
        items.push(item);
    }
}

fn range(low: Item, high: Item) -> Option<Item> {
    match (low, high) {
        (Item::One(low), Item::One(high)) if low <= high => Some(Item::Range(low, high)),
        _ => None,
    }
}

fn bad_range(tokens: &Tokens, this: Token, that: Token) -> Refusal {
    let text = |token| match token {
        Token::Char(c) => c.to_string(),
        Token::Escape(c) => format!(r"\{c}"),
    };
    let written = format!("{}-{}", text(this), text(that));
    let back = written.chars().count();
    tokens.refuse(format!("bad character range {written}"), back)
}
