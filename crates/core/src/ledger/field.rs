//! What was captured from a log line beside the address.

use std::fmt;

use smol_str::SmolStr;

use crate::value::Value;

/// A value captured from a log line, as actions and the database see it. Most texts are short and stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A text
    Text(SmolStr),
    /// Texts combined to one value (`<F-TUPLE_ID>`); parts that took no part in the match are there, too
    Tuple(Vec<Option<String>>),
    /// Several values, each once (the `users` of one session), in the order seen
    Set(Vec<Field>),
}

impl Field {
    /// The value as Fail2Ban's data has it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Field::Text(text) => text.as_str().into(),
            Field::Tuple(parts) => {
                let part = |part: &Option<String>| part.as_deref().map_or(Value::None, Value::from);
                Value::Tuple(parts.iter().map(part).collect())
            }
            Field::Set(items) => Value::Set(items.iter().map(Field::to_value).collect()),
        }
    }

    /// A text or a combined one, as [`Field::to_value`] or a store that knows no tuples has it.
    #[must_use]
    pub fn from_value(value: &Value) -> Option<Field> {
        let part = |part: &Value| match part {
            Value::None => Some(None),
            Value::Str(text) => Some(Some(text.clone())),
            _ => None,
        };
        match value {
            Value::Str(text) => Some(Field::Text(text.as_str().into())),
            parts => parts
                .as_items()?
                .iter()
                .map(part)
                .collect::<Option<_>>()
                .map(Field::Tuple),
        }
    }

    /// What Python takes for true: a text that is not empty, any other value.
    #[must_use]
    pub fn is_true(&self) -> bool {
        !matches!(self, Field::Text(text) if text.is_empty())
    }
}

impl fmt::Display for Field {
    /// As Python's `str` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Text(text) => f.write_str(text),
            other => f.write_str(&other.to_value().repr()),
        }
    }
}
