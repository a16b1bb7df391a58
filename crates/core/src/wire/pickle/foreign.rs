//! What a reply of a Fail2Ban server may import and call, read as data.
//!
//! A server answers with exceptions, and with addresses that are pickled as a call of `str`; older protocols spell sets
//! and bytes as calls too. Each of these is known here by its name. Nothing is imported and nothing called: what stands
//! here says which value such a call would give.

use super::Error;
use super::machine::{Machine, Node};
use crate::exception::{Class, Exception};
use crate::value::{Value, repr_bytes};

/// Something that is called, by what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// `str` of a text
    Text,
    /// `set` or `frozenset` of a list
    Set,
    /// An empty dict that remembers its order
    Dict,
    /// `bytes` of nothing
    Bytes,
    /// `_codecs.encode`: bytes from a text
    Encode,
    /// The class of an exception
    Exception(Class),
}

impl Maker {
    /// By the path under which Python 2 and 3 import it.
    pub(super) fn named(module: &str, name: &str) -> Option<Maker> {
        let is_builtin = matches!(module, "builtins" | "__builtin__" | "exceptions");
        Some(match name {
            "str" | "unicode" if is_builtin => Maker::Text,
            "set" | "frozenset" if is_builtin => Maker::Set,
            "bytes" if is_builtin => Maker::Bytes,
            "OrderedDict" if module == "collections" => Maker::Dict,
            "encode" if module == "_codecs" => Maker::Encode,
            _ => {
                let module = if is_builtin { "builtins" } else { module };
                Maker::Exception(Class::named(module, name)?)
            }
        })
    }
}

impl<'b> Machine<'b, '_> {
    /// What a call gives.
    pub(super) fn make(&mut self, maker: usize, arguments: usize) -> Result<(), Error> {
        let wrong = Error::Malformed(self.at);
        let (Some(Node::Maker(maker)), Some(Node::Tuple(items))) = (self.nodes.get(maker), self.nodes.get(arguments))
        else {
            return Err(wrong);
        };
        let first = items.first().copied();
        let content = first.and_then(|index| self.nodes.get(index));
        match (*maker, items.len(), content) {
            (Maker::Text, 0, _) => self.push(Node::Text("")),
            (Maker::Text, 1, Some(Node::Text(_) | Node::Leaf(Value::Str(_)))) => self.refer(first.ok_or(wrong)?),
            (Maker::Set, 0, _) => self.push(Node::Set(Vec::new())),
            (Maker::Set, 1, Some(Node::List(members))) => {
                let members = members.clone();
                self.charge(size_of_val(members.as_slice()))?;
                self.push(Node::Set(members))
            }
            (Maker::Dict, 0, _) => self.push(Node::Dict(Vec::new())),
            (Maker::Bytes, 0, _) => self.push(Node::Text("b''")),
            (Maker::Encode, 2, Some(Node::Text(text))) => {
                let bytes = latin(text).ok_or(wrong)?;
                self.charge(6 * bytes.len())?;
                self.leaf(Value::Str(repr_bytes(&bytes)))
            }
            (Maker::Encode, 2, Some(Node::Leaf(Value::Str(text)))) => {
                let bytes = latin(text).ok_or(wrong)?;
                self.charge(6 * bytes.len())?;
                self.leaf(Value::Str(repr_bytes(&bytes)))
            }
            (Maker::Exception(class), ..) => self.push(Node::Made(Maker::Exception(class), arguments)),
            _ => Err(wrong),
        }
    }

    /// An object that stands where a refusal does: an exception, or what else was said.
    pub(super) fn exception(&mut self, index: usize) -> Result<Exception, Error> {
        let Some(Node::Made(Maker::Exception(class), arguments)) = self.nodes.get(index) else {
            return self.value(index).map(|value| Exception::from(value.to_string()));
        };
        let (class, arguments) = (*class, *arguments);
        match self.value(arguments)? {
            Value::Tuple(arguments) => Ok(Exception { class, arguments }),
            _ => Err(Error::Malformed(self.at)),
        }
    }
}

fn latin(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
