//! Python's pickle format, as far as it carries data.
//!
//! [`decode`] reads protocols 0 to 5 onto an explicit stack: no recursion, and caps on size, depth and the number of
//! objects, counted after shared objects were copied out. [`encode`] writes what every Python 3 reads.

use crate::value::Value;

/// Lists within lists; requests need about six.
const DEEPEST: usize = 32;
/// Objects in a message.
const MOST_OBJECTS: usize = 1_000_000;

/// A message that is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too soon.
    #[error("the pickle ends before it is complete")]
    Truncated,
    /// It wants to import or call something.
    #[error("opcode {0:#04x} at byte {1} imports or calls something: refused")]
    Forbidden(u8, usize),
    /// It is no pickle we know.
    #[error("opcode {0:#04x} at byte {1} is not supported")]
    Unsupported(u8, usize),
    /// Its contents contradict its form.
    #[error("malformed pickle at byte {0}")]
    Malformed(usize),
    /// It is larger or deeper than any request.
    #[error("the pickle is too large or too deep")]
    TooLarge,
}

/// Reads one object.
///
/// # Errors
/// See [`Error`]; nothing in the bytes is ever executed.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::new(),
    };
    let root = machine.run()?;
    machine.value(root)
}

type Memo = std::collections::BTreeMap<u32, usize>;

/// An object under construction; containers hold indices, so that a shared object may still grow.
enum Node {
    Leaf(Value),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<usize>),
    Set(Vec<usize>),
}

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: Memo,
}

impl<'b> Machine<'b> {
    fn run(&mut self) -> Result<usize, Error> {
        loop {
            let at = self.at;
            let opcode = self.byte()?;
            match opcode {
                b'.' => return self.stack.pop().ok_or(Error::Malformed(at)),
                b'c' | 0x93 | b'R' | b'i' | b'o' | b'b' | 0x81 | 0x92 | b'P' | b'Q' | 0x82..=0x84 | 0x97 | 0x98 => {
                    return Err(Error::Forbidden(opcode, at));
                }
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.since_mark()?),
                b'N' => self.leaf(Value::None)?,
                0x88 => self.leaf(Value::Bool(true))?,
                0x89 => self.leaf(Value::Bool(false))?,
                b'p' | b'q' | b'r' | 0x94 => self.put(opcode)?,
                b'g' | b'h' | b'j' => self.get(opcode)?,
                b']' | b')' | b'}' | 0x8f | b'l' | b't' | b'd' | 0x85..=0x87 | 0x91 => self.container(opcode)?,
                b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode)?,
                _ => {
                    let value = self.scalar(opcode, at)?;
                    self.leaf(value)?;
                }
            }
        }
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.bytes.get(self.at).ok_or(Error::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Error> {
        let end = self.at.checked_add(count).ok_or(Error::TooLarge)?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'b str, Error> {
        let rest = self.bytes.get(self.at..).ok_or(Error::Truncated)?;
        let length = rest.iter().position(|b| *b == b'\n').ok_or(Error::Truncated)?;
        let start = self.at;
        let line = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| Error::Malformed(start))
    }

    fn number(&mut self, width: usize) -> Result<usize, Error> {
        let bytes = self.take(width)?;
        let number = bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| Error::TooLarge)
    }

    fn text(&mut self, width: usize) -> Result<Value, Error> {
        let length = self.number(width)?;
        let start = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Value::from)
            .map_err(|_| Error::Malformed(start))
    }

    /// Numbers and texts.
    fn scalar(&mut self, opcode: u8, at: usize) -> Result<Value, Error> {
        Ok(match opcode {
            b'K' => Value::Int(i64::from(self.byte()?)),
            b'M' => Value::Int(i64::try_from(self.number(2)?).map_err(|_| Error::Malformed(at))?),
            b'J' => Value::Int(signed(self.take(4)?).ok_or(Error::Malformed(at))?),
            0x8a => {
                let length = usize::from(self.byte()?);
                Value::Int(signed(self.take(length)?).ok_or(Error::TooLarge)?)
            }
            b'I' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                digits => Value::Int(digits.trim().parse().map_err(|_| Error::Malformed(at))?),
            },
            b'L' => {
                let digits = self.line()?;
                Value::Int(digits.trim_end_matches('L').parse().map_err(|_| Error::Malformed(at))?)
            }
            b'F' => Value::Float(self.line()?.parse().map_err(|_| Error::Malformed(at))?),
            b'G' => {
                let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| Error::Truncated)?;
                Value::Float(f64::from_be_bytes(bytes))
            }
            b'V' => Value::Str(unescape(self.line()?, true).ok_or(Error::Malformed(at))?),
            b'S' => Value::Str(quoted(self.line()?).ok_or(Error::Malformed(at))?),
            0x8c | b'U' => self.text(1)?,
            b'X' | b'T' => self.text(4)?,
            0x8d => self.text(8)?,
            _ => return Err(Error::Unsupported(opcode, at)),
        })
    }

    fn push(&mut self, node: Node) -> Result<(), Error> {
        if self.nodes.len() >= MOST_OBJECTS {
            return Err(Error::TooLarge);
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn leaf(&mut self, value: Value) -> Result<(), Error> {
        self.push(Node::Leaf(value))
    }

    fn pop(&mut self) -> Result<usize, Error> {
        self.stack.pop().ok_or(Error::Malformed(self.at))
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, Error> {
        let mark = self
            .marks
            .pop()
            .filter(|mark| *mark <= self.stack.len())
            .ok_or(Error::Malformed(self.at))?;
        Ok(self.stack.split_off(mark))
    }

    fn last(&mut self, count: usize) -> Result<Vec<usize>, Error> {
        let from = self.stack.len().checked_sub(count).ok_or(Error::Malformed(self.at))?;
        Ok(self.stack.split_off(from))
    }

    fn key(&mut self, opcode: u8) -> Result<u32, Error> {
        let at = self.at;
        let key = match opcode {
            b'p' | b'g' => self.line()?.trim().parse().map_err(|_| Error::Malformed(at))?,
            b'q' | b'h' => usize::from(self.byte()?),
            b'r' | b'j' => self.number(4)?,
            _ => self.memo.len(),
        };
        u32::try_from(key).map_err(|_| Error::TooLarge)
    }

    fn put(&mut self, opcode: u8) -> Result<(), Error> {
        let key = self.key(opcode)?;
        let top = *self.stack.last().ok_or(Error::Malformed(self.at))?;
        if self.memo.len() >= MOST_OBJECTS {
            return Err(Error::TooLarge);
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, opcode: u8) -> Result<(), Error> {
        let key = self.key(opcode)?;
        let node = *self.memo.get(&key).ok_or(Error::Malformed(self.at))?;
        if self.stack.len() >= MOST_OBJECTS {
            return Err(Error::TooLarge);
        }
        self.stack.push(node);
        Ok(())
    }

    /// Opcodes that make a container.
    fn container(&mut self, opcode: u8) -> Result<(), Error> {
        let node = match opcode {
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            0x8f => Node::Set(Vec::new()),
            b'l' => Node::List(self.since_mark()?),
            b't' => Node::Tuple(self.since_mark()?),
            b'd' => Node::Dict(self.since_mark()?),
            0x91 => Node::Set(self.since_mark()?),
            other => Node::Tuple(self.last(usize::from(other - 0x84))?),
        };
        self.push(node)
    }

    /// Opcodes that put things into a container below them on the stack.
    fn fill(&mut self, opcode: u8) -> Result<(), Error> {
        let items = match opcode {
            b'a' => self.last(1)?,
            b's' => self.last(2)?,
            _ => self.since_mark()?,
        };
        let target = *self.stack.last().ok_or(Error::Malformed(self.at))?;
        match (opcode, self.nodes.get_mut(target)) {
            (b'a' | b'e', Some(Node::List(list))) => list.extend(items),
            (b's' | b'u', Some(Node::Dict(pairs))) => pairs.extend(items),
            (0x90, Some(Node::Set(set))) => set.extend(items),
            _ => return Err(Error::Malformed(self.at)),
        }
        Ok(())
    }

    /// Copies the object out, shared parts once for each place.
    fn value(&self, root: usize) -> Result<Value, Error> {
        struct Open<'n> {
            kind: &'n Node,
            items: &'n [usize],
            done: Vec<Value>,
        }
        let mut objects = 0_usize;
        let mut open: Vec<Open<'_>> = Vec::new();
        let mut next = Some(root);
        loop {
            let mut finished = None;
            if let Some(index) = next.take() {
                objects += 1;
                if objects > MOST_OBJECTS || open.len() > DEEPEST {
                    return Err(Error::TooLarge);
                }
                match self.nodes.get(index).ok_or(Error::Malformed(self.at))? {
                    Node::Leaf(value) => finished = Some(value.clone()),
                    kind @ (Node::List(items) | Node::Tuple(items) | Node::Dict(items) | Node::Set(items)) => {
                        open.push(Open {
                            kind,
                            items,
                            done: Vec::new(),
                        });
                    }
                }
            }
            let Some(top) = open.last_mut() else {
                return finished.ok_or(Error::Malformed(self.at));
            };
            top.done.extend(finished);
            match top.items.get(top.done.len()) {
                Some(item) => next = Some(*item),
                None => {
                    let Some(Open { kind, done, .. }) = open.pop() else {
                        return Err(Error::Malformed(self.at));
                    };
                    let whole = close(kind, done);
                    match open.last_mut() {
                        Some(outer) => outer.done.push(whole),
                        None => return Ok(whole),
                    }
                }
            }
        }
    }
}

fn close(kind: &Node, done: Vec<Value>) -> Value {
    match kind {
        Node::List(_) => Value::List(done),
        Node::Set(_) => Value::Set(done),
        Node::Dict(_) => {
            let mut pairs = Vec::with_capacity(done.len() / 2);
            let mut items = done.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            Value::Dict(pairs)
        }
        Node::Tuple(_) | Node::Leaf(_) => Value::Tuple(done),
    }
}

/// A little-endian two's complement number of up to eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 8 {
        return None;
    }
    let Some(last) = bytes.last() else { return Some(0) };
    let fill = if last & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [fill; 8];
    for (to, from) in wide.iter_mut().zip(bytes) {
        *to = *from;
    }
    Some(i64::from_le_bytes(wide))
}

/// A protocol 0 string literal in its quotes.
fn quoted(line: &str) -> Option<String> {
    let quote = line.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = line.strip_prefix(quote)?.strip_suffix(quote)?;
    unescape(inner, false)
}

/// Python's escapes: `\uXXXX` alone in a unicode line, the common ones in a literal.
fn unescape(text: &str, unicode_only: bool) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let kind = chars.next()?;
        let digits = match kind {
            'u' => 4,
            'U' => 8,
            'x' if !unicode_only => 2,
            _ => 0,
        };
        if digits > 0 {
            let hex: String = chars.by_ref().take(digits).collect();
            out.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
            continue;
        }
        match kind {
            'n' if !unicode_only => out.push('\n'),
            'r' if !unicode_only => out.push('\r'),
            't' if !unicode_only => out.push('\t'),
            '\\' | '\'' | '"' if !unicode_only => out.push(kind),
            other => out.extend(['\\', other]),
        }
    }
    Some(out)
}

/// Writes a value as a complete pickle (protocol 4, without frames and memo).
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = vec![0x80, 4];
    write(value, &mut out);
    out.push(b'.');
    out
}

/// Writes a value without header and end, for replies that put something around it. Replies are our own, so that
/// their depth is known.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(b'N'),
        Value::Bool(true) => out.push(0x88),
        Value::Bool(false) => out.push(0x89),
        Value::Int(number) => write_int(*number, out),
        Value::Float(number) => {
            out.push(b'G');
            out.extend(number.to_be_bytes());
        }
        Value::Str(text) => write_str(text, out),
        Value::List(items) => write_items(b"](", items, b'e', out),
        Value::Tuple(items) => write_items(b"(", items, b't', out),
        Value::Set(items) => write_items(&[0x8f, b'('], items, 0x90, out),
        Value::Dict(pairs) => {
            out.extend(b"}(");
            for (key, value) in pairs {
                write(key, out);
                write(value, out);
            }
            out.push(b'u');
        }
    }
}

fn write_items(open: &[u8], items: &[Value], close: u8, out: &mut Vec<u8>) {
    out.extend(open);
    for item in items {
        write(item, out);
    }
    out.push(close);
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = u8::try_from(number) {
        out.extend([b'K', byte]);
    } else if let Ok(short) = i32::try_from(number) {
        out.push(b'J');
        out.extend(short.to_le_bytes());
    } else {
        out.extend([0x8a, 8]);
        out.extend(number.to_le_bytes());
    }
}

fn write_str(text: &str, out: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(length) => out.extend([0x8c, length]),
        Err(_) => {
            out.push(0x8d);
            out.extend((text.len() as u64).to_le_bytes());
        }
    }
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests;
