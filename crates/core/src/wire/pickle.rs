//! Python's pickle format, as far as it carries data.
//!
//! Requests are read by [`decode`]: protocols 0 to 5 onto an explicit stack, without recursion, with [`Limits`] on
//! nesting, objects and memory; the memory is counted as it is allocated, and again for each place that a shared object
//! is copied to. Whatever would import or call something is refused by its name. In replies of a Fail2Ban server some
//! calls are expected, such as the one that makes an exception; those on a list are read as data, and nothing is ever
//! called there either. [`encode`] writes what every Python 3 reads.

mod copy;
mod foreign;
mod line;
mod machine;
mod opcode;
mod write;

use crate::exception::Exception;
use crate::value::Value;
use machine::{Machine, Node};

pub use write::encode;
pub(super) use write::write;

/// How much a message may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lists within lists
    pub depth: usize,
    /// Objects, after shared ones were copied to each place
    pub objects: usize,
    /// Bytes that reading it may allocate, the result included
    pub memory: usize,
}

impl Limits {
    /// What a request may come to. A whole configuration has some ten thousand objects, nested about six deep; a list of
    /// 300,000 addresses fits.
    pub const REQUEST: Limits = Limits {
        depth: 32,
        objects: 1_000_000,
        memory: 64 << 20,
    };
    /// What a reply may come to: the list of a million bans fits.
    pub const REPLY: Limits = Limits {
        depth: 64,
        objects: 16_000_000,
        memory: 1 << 30,
    };
}

/// A message that is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends too soon.
    #[error("the pickle ends before it is complete")]
    Truncated,
    /// It wants to import or call something.
    #[error("{0} at byte {1} imports or calls something: refused")]
    Forbidden(String, usize),
    /// It is no pickle we know.
    #[error("{0} at byte {1} is not supported")]
    Unsupported(String, usize),
    /// Its contents contradict its form.
    #[error("malformed pickle at byte {0}")]
    Malformed(usize),
    /// A whole number is larger than any option has.
    #[error("the number at byte {0} has more than 64 bits")]
    Number(usize),
    /// A text holds a surrogate that does not stand for a byte of UTF-8.
    #[error("the text at byte {0} holds bytes that are no UTF-8")]
    Text(usize),
    /// It is larger or deeper than any request.
    #[error("the pickle is too large or too deep")]
    TooLarge,
    /// Others have all memory that messages may take.
    #[error("other requests have all the memory that there is for requests; ask again")]
    Busy,
}

/// Reads one object within [`Limits::REQUEST`].
///
/// # Errors
/// See [`Error`]; nothing in the bytes is ever executed.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    decode_within(bytes, Limits::REQUEST, &mut |_| true)
}

/// Reads one object. Before memory is allocated, `memory` is told how many bytes more; where it says no, the object is
/// refused. It is told too much rather than too little, and in pieces of at most 64 KiB or one text.
///
/// # Errors
/// See [`Error`]; nothing in the bytes is ever executed.
pub fn decode_within(bytes: &[u8], limits: Limits, memory: &mut dyn FnMut(usize) -> bool) -> Result<Value, Error> {
    let mut machine = Machine::new(bytes, limits, memory, false);
    let root = machine.run()?;
    machine.value(root)
}

/// Reads the reply of a server: what was done, or the refusal. A bare text is a refusal too: that is how Fail2Ban
/// answers a request that it could not read.
pub(super) fn decode_reply(bytes: &[u8], limits: Limits) -> Result<Result<Value, Exception>, Error> {
    let mut nowhere = |_| true;
    let mut machine = Machine::new(bytes, limits, &mut nowhere, true);
    let root = machine.run()?;
    let (code, content) = match machine.nodes.get(root) {
        Some(Node::Tuple(items)) => match *items.as_slice() {
            [code, content] => (code, content),
            _ => return Err(Error::Malformed(0)),
        },
        Some(Node::Text(text)) => return Ok(Err(Exception::from(*text))),
        Some(Node::List(items)) => match *items.as_slice() {
            [word] => match machine.nodes.get(word) {
                Some(Node::Text(text)) => return Ok(Err(Exception::from(*text))),
                _ => return Err(Error::Malformed(0)),
            },
            _ => return Err(Error::Malformed(0)),
        },
        _ => return Err(Error::Malformed(0)),
    };
    if matches!(machine.nodes.get(code), Some(Node::Leaf(Value::Int(0)))) {
        return machine.value(content).map(Ok);
    }
    machine.exception(content).map(Err)
}

#[cfg(test)]
mod tests;
