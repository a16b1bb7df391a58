//! The words of one command, taken as the kinds that the command wants.

use super::options::{parse_bool, parse_int};
use super::refusal::CommandError;
use crate::time::{Seconds, parse_length};
use crate::value::Value;

/// The words of a command, asked for by their place.
#[derive(Clone, Copy)]
pub(crate) struct Words<'c>(pub(crate) &'c [Value]);

impl<'c> Words<'c> {
    /// The command in short, for a complaint.
    pub(crate) fn head(self) -> String {
        let words = self
            .0
            .iter()
            .take(3)
            .map(|word| word.to_string().chars().take(100).collect());
        words.collect::<Vec<String>>().join(" ")
    }

    pub(crate) fn unknown(self) -> CommandError {
        CommandError::Unknown(self.head())
    }

    pub(crate) fn malformed(self) -> CommandError {
        CommandError::Malformed(self.head())
    }

    pub(crate) fn value(self, at: usize) -> Result<&'c Value, CommandError> {
        self.0.get(at).ok_or_else(|| self.malformed())
    }

    pub(crate) fn text(self, at: usize) -> Result<&'c str, CommandError> {
        self.value(at)?.as_str().ok_or_else(|| self.malformed())
    }

    /// Text, a number or a truth as text.
    pub(crate) fn shown(self, at: usize) -> Result<String, CommandError> {
        match self.value(at)? {
            value @ (Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)) => Ok(value.to_string()),
            _ => Err(self.malformed()),
        }
    }

    /// Text, if it is not empty and not `None`.
    pub(crate) fn maybe(self, at: usize) -> Result<Option<String>, CommandError> {
        match self.value(at)? {
            Value::None => Ok(None),
            Value::Str(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            _ => Err(self.malformed()),
        }
    }

    /// All words from a place on.
    pub(crate) fn texts(self, at: usize) -> Result<Vec<String>, CommandError> {
        let words = self.0.get(at..).unwrap_or_default().iter();
        words
            .map(|word| word.as_str().map(str::to_owned).ok_or_else(|| self.malformed()))
            .collect()
    }

    /// The texts of one list.
    pub(crate) fn list(self, at: usize) -> Result<Vec<String>, CommandError> {
        let items = self.value(at)?.as_items().ok_or_else(|| self.malformed())?;
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| self.malformed()))
            .collect()
    }

    pub(crate) fn int(self, at: usize) -> Option<i64> {
        match self.0.get(at)? {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some(i64::from(*truth)),
            Value::Str(text) => parse_int(text),
            _ => None,
        }
    }

    /// A whole number; one below nought counts as nought, one too large as the largest.
    pub(crate) fn count(self, option: &str, at: usize) -> Result<u32, CommandError> {
        let value = self.value(at)?;
        let number = self
            .int(at)
            .ok_or_else(|| bad(option, value, "it is no whole number"))?;
        Ok(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
    }

    pub(crate) fn at_least_one(self, option: &str, at: usize) -> Result<u32, CommandError> {
        match self.count(option, at)? {
            0 => Err(bad(option, self.value(at)?, "it must be greater than nought")),
            number => Ok(number),
        }
    }

    pub(crate) fn length(self, option: &str, at: usize) -> Result<Seconds, CommandError> {
        let value = self.value(at)?;
        let text = self
            .shown(at)
            .map_err(|_| bad(option, value, "it is no length of time"))?;
        let number = parse_length(&text).map_err(|error| bad(option, value, error.to_string()))?;
        Ok(number.seconds())
    }

    pub(crate) fn truth(self, at: usize) -> Result<bool, CommandError> {
        Ok(match self.value(at)? {
            Value::Str(text) => parse_bool(text),
            Value::Bool(truth) => *truth,
            Value::Int(number) => *number != 0,
            _ => return Err(self.malformed()),
        })
    }
}

/// A value that an option does not take.
pub(crate) fn bad(option: &str, value: &Value, reason: impl Into<String>) -> CommandError {
    CommandError::Value {
        option: option.to_owned(),
        value: value.repr(),
        reason: reason.into(),
    }
}
