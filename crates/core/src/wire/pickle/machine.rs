//! The stack on which a pickle is built up.

use std::collections::BTreeMap;

use super::foreign::Maker;
use super::{Error, Limits, line, opcode};
use crate::value::{Value, repr_bytes};

/// Memory is asked for in pieces of this many bytes.
const PIECE: usize = 64 << 10;
/// What an object on the stack may cost: vectors double, and are copied while they do.
const NODE: usize = 3 * (size_of::<Node<'_>>() + size_of::<usize>());
/// What one more reference to an object may cost.
const REFERENCE: usize = 3 * size_of::<usize>();
/// What a place in the memo may cost.
const PLACE: usize = 48;

/// An object under construction; containers hold indices, so that a shared object may still grow.
pub(super) enum Node<'b> {
    Leaf(Value),
    Text(&'b str),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Dict(Vec<usize>),
    Set(Vec<usize>),
    /// Something imported, in a reply
    Maker(Maker),
    /// An exception: what makes it, and the tuple of its arguments
    Made(Maker, usize),
}

/// What reading may still allocate.
struct Memory<'m> {
    left: usize,
    drawn: usize,
    more: &'m mut dyn FnMut(usize) -> bool,
}

impl Memory<'_> {
    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        self.left = self.left.checked_sub(bytes).ok_or(Error::TooLarge)?;
        if self.drawn < bytes {
            let wanted = bytes.max(PIECE);
            if !(self.more)(wanted) {
                return Err(Error::Busy);
            }
            self.drawn += wanted;
        }
        self.drawn -= bytes;
        Ok(())
    }
}

pub(super) struct Machine<'b, 'm> {
    bytes: &'b [u8],
    pub(super) at: usize,
    pub(super) nodes: Vec<Node<'b>>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, usize>,
    memory: Memory<'m>,
    pub(super) limits: Limits,
    /// Whether it may import and call what is on the list
    makes: bool,
}

impl<'b, 'm> Machine<'b, 'm> {
    pub(super) fn new(bytes: &'b [u8], limits: Limits, more: &'m mut dyn FnMut(usize) -> bool, makes: bool) -> Self {
        Machine {
            bytes,
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            memory: Memory {
                left: limits.memory,
                drawn: 0,
                more,
            },
            limits,
            makes,
        }
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        self.memory.charge(bytes)
    }

    /// Obeys the opcodes up to the end; the index of the object.
    pub(super) fn run(&mut self) -> Result<usize, Error> {
        loop {
            let at = self.at;
            let opcode = self.byte()?;
            match opcode {
                b'.' => return self.pop(),
                code if opcode::acts(code) => self.act(code, at)?,
                0x80 => {
                    if self.byte()? > 5 {
                        return Err(Error::Unsupported("a protocol above 5".to_owned(), at));
                    }
                }
                0x95 => {
                    let length = self.number(8)?;
                    if length > self.bytes.len() - self.at {
                        return Err(Error::Truncated);
                    }
                }
                b'(' => {
                    self.charge(REFERENCE)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => self.discard()?,
                b'1' => drop(self.since_mark()?),
                b'2' => {
                    let top = *self.stack.last().ok_or(Error::Malformed(at))?;
                    self.refer(top)?;
                }
                b'N' => self.leaf(Value::None)?,
                0x88 => self.leaf(Value::Bool(true))?,
                0x89 => self.leaf(Value::Bool(false))?,
                b'p' | b'q' | b'r' | 0x94 => self.put(opcode)?,
                b'g' | b'h' | b'j' => self.get(opcode)?,
                b']' | b')' | b'}' | 0x8f | b'l' | b't' | b'd' | 0x85..=0x87 | 0x91 => self.container(opcode)?,
                b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode)?,
                0x8c | b'X' | 0x8d | b'U' | b'T' | b'V' | b'S' => self.text(opcode)?,
                b'B' | b'C' | 0x8e if self.makes => self.bytes_shown(opcode)?,
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

    pub(super) fn line(&mut self) -> Result<&'b [u8], Error> {
        let rest = self.bytes.get(self.at..).ok_or(Error::Truncated)?;
        let length = rest.iter().position(|b| *b == b'\n').ok_or(Error::Truncated)?;
        let line = self.take(length)?;
        self.at += 1;
        Ok(line)
    }

    /// A line of ASCII.
    fn word(&mut self) -> Result<&'b str, Error> {
        let at = self.at;
        let line = self.line()?;
        let word = str::from_utf8(line).ok().filter(|word| word.is_ascii());
        word.map(str::trim).ok_or(Error::Malformed(at))
    }

    fn number(&mut self, width: usize) -> Result<usize, Error> {
        let bytes = self.take(width)?;
        let number = bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| Error::TooLarge)
    }

    /// The bytes behind their length.
    fn counted(&mut self, opcode: u8) -> Result<&'b [u8], Error> {
        let width = match opcode {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e => 8,
            _ => 4,
        };
        let length = self.number(width)?;
        self.take(length)
    }

    fn text(&mut self, opcode: u8) -> Result<(), Error> {
        let at = self.at;
        let text = match opcode {
            b'V' | b'S' => {
                let line = self.line()?;
                // An escaped character is never shorter than the character.
                self.charge(2 * line.len())?;
                let text = if opcode == b'V' {
                    line::unescape(line)
                } else {
                    line::quoted(line).map(line::Text::Plain)
                };
                match text.ok_or(Error::Malformed(at))? {
                    line::Text::Plain(text) => return self.leaf(Value::Str(text)),
                    line::Text::NoUtf8 => return Err(Error::Text(at)),
                }
            }
            _ => self.counted(opcode)?,
        };
        let is_old = matches!(opcode, b'U' | b'T');
        match str::from_utf8(text) {
            Ok(text) if is_old && !text.is_ascii() => Err(Error::Malformed(at)),
            Ok(text) => self.push(Node::Text(text)),
            Err(_) if is_old => Err(Error::Malformed(at)),
            Err(_) => {
                self.charge(text.len())?;
                match line::restored(text).ok_or(Error::Malformed(at))? {
                    line::Text::Plain(text) => self.leaf(Value::Str(text)),
                    line::Text::NoUtf8 => Err(Error::Text(at)),
                }
            }
        }
    }

    /// Bytes, as Python shows them: no reply has any but in the arguments of an exception.
    fn bytes_shown(&mut self, opcode: u8) -> Result<(), Error> {
        let bytes = self.counted(opcode)?;
        self.charge(5 * bytes.len())?;
        self.leaf(Value::Str(repr_bytes(bytes)))
    }

    /// Numbers.
    fn scalar(&mut self, opcode: u8, at: usize) -> Result<Value, Error> {
        Ok(match opcode {
            b'K' => Value::Int(i64::from(self.byte()?)),
            b'M' => Value::Int(i64::try_from(self.number(2)?).map_err(|_| Error::Malformed(at))?),
            b'J' => Value::Int(line::signed(self.take(4)?).ok_or(Error::Malformed(at))?),
            0x8a | 0x8b => {
                let length = self.number(if opcode == 0x8a { 1 } else { 4 })?;
                Value::Int(line::signed(self.take(length)?).ok_or(Error::Number(at))?)
            }
            b'I' => match self.word()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                digits => Value::Int(line::whole(digits, at)?),
            },
            b'L' => {
                let digits = self.word()?;
                Value::Int(line::whole(digits.strip_suffix('L').unwrap_or(digits), at)?)
            }
            b'F' => Value::Float(self.word()?.parse().map_err(|_| Error::Malformed(at))?),
            b'G' => {
                let bytes: [u8; 8] = self.take(8)?.try_into().map_err(|_| Error::Truncated)?;
                Value::Float(f64::from_be_bytes(bytes))
            }
            _ => return Err(Error::Unsupported(opcode::name(opcode), at)),
        })
    }

    pub(super) fn push(&mut self, node: Node<'b>) -> Result<(), Error> {
        if self.nodes.len() >= self.limits.objects {
            return Err(Error::TooLarge);
        }
        self.charge(NODE)?;
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    /// Puts an object on the stack once more.
    pub(super) fn refer(&mut self, index: usize) -> Result<(), Error> {
        self.charge(REFERENCE)?;
        self.stack.push(index);
        Ok(())
    }

    pub(super) fn leaf(&mut self, value: Value) -> Result<(), Error> {
        self.push(Node::Leaf(value))
    }

    /// The object on top; nothing below the last mark is taken.
    pub(super) fn pop(&mut self) -> Result<usize, Error> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(Error::Malformed(self.at));
        }
        self.stack.pop().ok_or(Error::Malformed(self.at))
    }

    /// What Python's `POP` does: a mark on top goes as an object does.
    fn discard(&mut self) -> Result<(), Error> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, Error> {
        let mark = self
            .marks
            .pop()
            .filter(|mark| *mark <= self.stack.len())
            .ok_or(Error::Malformed(self.at))?;
        self.charge((self.stack.len() - mark) * REFERENCE)?;
        Ok(self.stack.split_off(mark))
    }

    fn last(&mut self, count: usize) -> Result<Vec<usize>, Error> {
        let from = self.stack.len().checked_sub(count);
        let from = from.filter(|from| self.marks.last().is_none_or(|mark| mark <= from));
        self.charge(count * REFERENCE)?;
        Ok(self.stack.split_off(from.ok_or(Error::Malformed(self.at))?))
    }

    fn key(&mut self, opcode: u8) -> Result<u32, Error> {
        let at = self.at;
        let key = match opcode {
            b'p' | b'g' => self.word()?.parse().map_err(|_| Error::Malformed(at))?,
            b'q' | b'h' => usize::from(self.byte()?),
            b'r' | b'j' => self.number(4)?,
            _ => self.memo.len(),
        };
        u32::try_from(key).map_err(|_| Error::TooLarge)
    }

    fn put(&mut self, opcode: u8) -> Result<(), Error> {
        let key = self.key(opcode)?;
        let top = *self.stack.last().ok_or(Error::Malformed(self.at))?;
        self.charge(PLACE)?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn get(&mut self, opcode: u8) -> Result<(), Error> {
        let key = self.key(opcode)?;
        let node = *self.memo.get(&key).ok_or(Error::Malformed(self.at))?;
        self.refer(node)
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
            b'd' => Node::Dict(self.paired()?),
            0x91 => Node::Set(self.since_mark()?),
            other => Node::Tuple(self.last(usize::from(other - 0x84))?),
        };
        self.push(node)
    }

    /// Keys and values since the mark.
    fn paired(&mut self) -> Result<Vec<usize>, Error> {
        let items = self.since_mark()?;
        if items.len().is_multiple_of(2) {
            Ok(items)
        } else {
            Err(Error::Malformed(self.at))
        }
    }

    /// Opcodes that put things into a container below them on the stack.
    fn fill(&mut self, opcode: u8) -> Result<(), Error> {
        let items = match opcode {
            b'a' => self.last(1)?,
            b's' => self.last(2)?,
            b'u' => self.paired()?,
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

    /// Opcodes that import or call: refused in requests, and in replies but for what is on the list.
    fn act(&mut self, opcode: u8, at: usize) -> Result<(), Error> {
        match opcode {
            b'c' => {
                let path = (self.name()?, self.name()?);
                self.import(opcode, path, at)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let path = (self.spelled(module)?, self.spelled(name)?);
                self.import(opcode, path, at)
            }
            b'R' if self.makes => {
                let (arguments, maker) = (self.pop()?, self.pop()?);
                self.make(maker, arguments)
            }
            // The state of an exception is what a program hung on it later; no client shows that.
            b'b' if self.makes => {
                self.pop()?;
                let top = self.stack.last().and_then(|top| self.nodes.get(*top));
                match top {
                    Some(Node::Made(..)) => Ok(()),
                    _ => Err(Error::Forbidden(opcode::name(opcode), at)),
                }
            }
            _ => Err(Error::Forbidden(opcode::name(opcode), at)),
        }
    }

    fn name(&mut self) -> Result<String, Error> {
        let at = self.at;
        let line = self.line()?;
        str::from_utf8(line)
            .map(str::to_owned)
            .map_err(|_| Error::Malformed(at))
    }

    fn spelled(&self, index: usize) -> Result<String, Error> {
        match self.nodes.get(index) {
            Some(Node::Text(text)) => Ok((*text).to_owned()),
            _ => Err(Error::Malformed(self.at)),
        }
    }

    fn import(&mut self, opcode: u8, (module, name): (String, String), at: usize) -> Result<(), Error> {
        let maker = Maker::named(&module, &name).filter(|_| self.makes);
        match maker {
            Some(maker) => self.push(Node::Maker(maker)),
            None => {
                let path: String = format!("{module}.{name}").chars().take(80).collect();
                let what = format!("{} ({})", opcode::name(opcode), path.escape_debug());
                Err(Error::Forbidden(what, at))
            }
        }
    }
}
