//! From the objects on the stack to a value that stands by itself.

use std::collections::BTreeMap;

use super::machine::{Machine, Node};
use super::{Error, foreign::Maker};
use crate::exception::Exception;
use crate::value::Value;

#[derive(Clone, Copy)]
enum Kind {
    List,
    Tuple,
    Dict,
    Set,
    /// The arguments of an exception, which becomes its text
    Exception(Maker),
}

/// A container that is being copied.
struct Open {
    kind: Kind,
    items: Vec<usize>,
    done: Vec<Value>,
}

impl Machine<'_, '_> {
    /// Copies an object out, shared parts once for each place.
    pub(super) fn value(&mut self, root: usize) -> Result<Value, Error> {
        let mut objects = 0_usize;
        let mut open: Vec<Open> = Vec::new();
        let mut next = root;
        loop {
            objects += 1;
            if objects > self.limits.objects || open.len() > self.limits.depth {
                return Err(Error::TooLarge);
            }
            let mut whole = match self.begin(next)? {
                Ok(leaf) => Some(leaf),
                Err(container) => {
                    open.push(container);
                    None
                }
            };
            // Containers that are complete become items of the one around them.
            next = loop {
                let Some(top) = open.last_mut() else {
                    return whole.ok_or(Error::Malformed(self.at));
                };
                top.done.extend(whole.take());
                if let Some(item) = top.items.get(top.done.len()) {
                    break *item;
                }
                if let Some(Open { kind, done, .. }) = open.pop() {
                    whole = Some(self.close(kind, done)?);
                }
            };
        }
    }

    /// A leaf, or a container to be filled.
    fn begin(&mut self, index: usize) -> Result<Result<Value, Open>, Error> {
        let wrong = Error::Malformed(self.at);
        let (kind, items) = match self.nodes.get(index).ok_or(wrong.clone())? {
            Node::Text(text) => {
                let text = *text;
                self.charge(text.len())?;
                return Ok(Ok(Value::from(text)));
            }
            Node::Leaf(value) => {
                let value = value.clone();
                if let Value::Str(text) = &value {
                    self.charge(text.len())?;
                }
                return Ok(Ok(value));
            }
            Node::List(items) => (Kind::List, items),
            Node::Tuple(items) => (Kind::Tuple, items),
            Node::Dict(items) => (Kind::Dict, items),
            Node::Set(items) => (Kind::Set, items),
            Node::Made(maker, arguments) => match self.nodes.get(*arguments) {
                Some(Node::Tuple(items)) => (Kind::Exception(*maker), items),
                _ => return Err(wrong),
            },
            Node::Maker(_) => return Err(wrong),
        };
        let cost = items.len() * (size_of::<usize>() + size_of::<Value>());
        let items = items.clone();
        self.charge(cost)?;
        let done = Vec::with_capacity(items.len());
        Ok(Err(Open { kind, items, done }))
    }

    fn close(&mut self, kind: Kind, done: Vec<Value>) -> Result<Value, Error> {
        Ok(match kind {
            Kind::List => Value::List(done),
            Kind::Tuple => Value::Tuple(done),
            Kind::Set => Value::Set(self.members(done)?),
            Kind::Dict => Value::Dict(self.pairs(done)?),
            Kind::Exception(Maker::Exception(class)) => {
                let exception = Exception { class, arguments: done };
                Value::Str(exception.to_string())
            }
            Kind::Exception(_) => return Err(Error::Malformed(self.at)),
        })
    }

    /// Of members that are equal to Python the first stays.
    fn members(&mut self, items: Vec<Value>) -> Result<Vec<Value>, Error> {
        self.charge(size_of_val(items.as_slice()))?;
        let mut known = BTreeMap::new();
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let key = self.hash(&item)?;
            if known.insert(key, ()).is_none() {
                out.push(item);
            }
        }
        Ok(out)
    }

    /// Of keys that are equal to Python the first stays, with the last value.
    fn pairs(&mut self, items: Vec<Value>) -> Result<Vec<(Value, Value)>, Error> {
        self.charge(size_of_val(items.as_slice()))?;
        let mut known = BTreeMap::new();
        let mut out: Vec<(Value, Value)> = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            let place = *known.entry(self.hash(&key)?).or_insert(out.len());
            match out.get_mut(place) {
                Some((_, former)) => *former = value,
                None => out.push((key, value)),
            }
        }
        Ok(out)
    }

    /// A text that is the same for two keys exactly if Python takes them for one.
    fn hash(&mut self, key: &Value) -> Result<String, Error> {
        let text = canonical(key).ok_or(Error::Malformed(self.at))?.repr();
        self.charge(2 * text.len() + 96)?;
        Ok(text)
    }
}

/// A key with equal numbers written as one; `None` for what cannot be a key.
fn canonical(key: &Value) -> Option<Value> {
    Some(match key {
        Value::Bool(truth) => Value::Int(i64::from(*truth)),
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers in the range of i64")]
        #[expect(clippy::float_cmp, reason = "whether it is whole is what is asked")]
        Value::Float(number) if number.trunc() == *number && number.abs() < 9.2e18 => Value::Int(*number as i64),
        Value::Tuple(items) => Value::Tuple(items.iter().map(canonical).collect::<Option<_>>()?),
        Value::List(_) | Value::Dict(_) | Value::Set(_) => return None,
        other => other.clone(),
    })
}
