//! The values that commands and replies are made of.
//!
//! Fail2Ban's client and server exchange Python objects. [`Value`] holds the data-only part of them; the same
//! type carries the command stream of the configuration, so that a dump, a request on the socket and the
//! configuration in memory are one thing.

use std::fmt::{self, Display};
use std::sync::LazyLock;

use regex::Regex;

/// A Python datum: what a command of the stream, a request or a reply is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// An integer (Python's are unbounded; what does not fit is refused where it is read).
    Int(i64),
    /// A float
    Float(f64),
    /// Text
    Str(String),
    /// A list
    List(Vec<Value>),
    /// A tuple
    Tuple(Vec<Value>),
    /// A dict, in insertion order
    Dict(Vec<(Value, Value)>),
    /// A set, in the order given
    Set(Vec<Value>),
}

impl Value {
    /// Python's name of its class.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Set(_) => "set",
        }
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if this is a list or a tuple.
    #[must_use]
    pub fn as_items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// What a `for` of Python's goes through; nothing of a value that is none to go through.
    #[must_use]
    pub fn each(&self) -> Option<Vec<Value>> {
        match self {
            Value::Str(text) => Some(text.chars().map(|c| c.to_string().into()).collect()),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => Some(items.clone()),
            Value::Dict(pairs) => Some(pairs.iter().map(|(key, _)| key.clone()).collect()),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
        }
    }

    /// Python's `bool()`: whether it is neither nothing, nor nought, nor empty.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::None => false,
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(items) | Value::Tuple(items) | Value::Set(items) => !items.is_empty(),
            Value::Dict(pairs) => !pairs.is_empty(),
        }
    }

    /// Python's `repr()`: what `fail2ban-client -d` prints (behaviour contract §8.1).
    #[must_use]
    pub fn repr(&self) -> String {
        Repr(self).to_string()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

/// Python's `str()`: text bare, all else as [`Value::repr`].
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(text) => f.write_str(text),
            other => Repr(other).fmt(f),
        }
    }
}

struct Repr<'v>(&'v Value);

impl fmt::Display for Repr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::None => f.write_str("None"),
            Value::Bool(true) => f.write_str("True"),
            Value::Bool(false) => f.write_str("False"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => f.write_str(&repr_float(*number)),
            Value::Str(text) => f.write_str(&repr_str(text)),
            Value::List(items) => write_items(f, "[", items, "]"),
            Value::Tuple(items) if items.len() == 1 => write_items(f, "(", items, ",)"),
            Value::Tuple(items) => write_items(f, "(", items, ")"),
            Value::Set(items) if items.is_empty() => f.write_str("set()"),
            Value::Set(items) => write_items(f, "{", items, "}"),
            Value::Dict(pairs) => write_pairs(f, pairs),
        }
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, open: &str, items: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        Repr(item).fmt(f)?;
    }
    f.write_str(close)
}

fn write_pairs(f: &mut fmt::Formatter<'_>, pairs: &[(Value, Value)]) -> fmt::Result {
    f.write_str("{")?;
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{}: {}", Repr(key), Repr(value))?;
    }
    f.write_str("}")
}

/// Python's `repr(float)`: the shortest text that reads back, always with a point or an exponent.
#[must_use]
pub fn repr_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent
            .strip_prefix('-')
            .map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    let text = format!("{number}");
    if text.contains('.') { text } else { text + ".0" }
}

/// Python's `repr(str)`: single quotes unless the text holds one and no double quote; backslash escapes for what
/// does not print.
#[must_use]
pub fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if !prints(c) => out.push_str(&escape(c)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Python's `repr(bytes)`.
#[must_use]
pub fn repr_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    let mut text = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            byte if char::from(*byte) == quote => text.extend(['\\', quote]),
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}

/// Classes of code points as Python 3.11 has them, whose Unicode tables are those of version 14.
static PRINTING: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{age=14.0}&&[^\p{C}\p{Z}]]$").ok());
static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{age=14.0}&&[\p{L}\p{N}]]$").ok());
static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{age=14.0}&&\p{Nd}]$").ok());

fn is_in(class: &LazyLock<Option<Regex>>, c: char) -> bool {
    let mut bytes = [0; 4];
    let text = c.encode_utf8(&mut bytes);
    class.as_ref().is_some_and(|class| class.is_match(text))
}

/// Python's `str.isprintable` of one character.
fn prints(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    is_in(&PRINTING, c)
}

/// Python's `str.isalnum` of one character beyond ASCII.
pub(crate) fn is_python_letter(c: char) -> bool {
    is_in(&LETTER, c)
}

/// The value of a decimal digit of any script, as Python's `int()` reads it.
pub(crate) fn python_digit(c: char) -> Option<u32> {
    if c.is_ascii() || !is_in(&DIGIT, c) {
        return c.to_digit(10);
    }
    // The ten digits of a script stand together, and where several tens do, each begins with its zero.
    let below = (1..=50).map_while(|back| char::from_u32(u32::from(c) - back));
    let before = below.take_while(|&c| is_in(&DIGIT, c)).count();
    u32::try_from(before % 10).ok()
}

/// A code point as a backslash escape.
fn escape(c: char) -> String {
    match u32::from(c) {
        code @ ..0x100 => format!("\\x{code:02x}"),
        code @ ..0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Value, expect: &str) {
        assert_eq!(value.repr(), expect);
    }

    #[test]
    fn repr_is_pythons() {
        check(
            &Value::List(vec!["set".into(), "sshd".into(), 5.into()]),
            "['set', 'sshd', 5]",
        );
        check(&"it's".into(), "\"it's\"");
        check(&"it's \"x\"".into(), "'it\\'s \"x\"'");
        check(&"a\n\\\t\u{1}é".into(), "'a\\n\\\\\\t\\x01é'");
        check(&Value::Tuple(vec![1.into()]), "(1,)");
        check(&Value::Float(5400.0), "5400.0");
        check(&Value::Float(1e22), "1e+22");
        check(&Value::Float(0.00001), "1e-05");
        check(&Value::Dict(vec![("a".into(), Value::None)]), "{'a': None}");
        check(&Value::Set(vec![]), "set()");
        check(&Value::Bool(true), "True");
    }
}
