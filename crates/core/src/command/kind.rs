//! Words as the kinds that Fail2Ban takes them for, with the exceptions that Python raises where they are of another.

use crate::address::{BadMask, Id};
use crate::config::{parse_bool, parse_int};
use crate::exception::Exception;
use crate::time::{Number, length};
use crate::value::{Value, repr_str};

/// The words of a command behind its verb.
#[derive(Clone, Copy)]
pub(super) struct Words<'w>(pub(super) &'w [Value]);

impl<'w> Words<'w> {
    pub(super) fn at(self, place: usize) -> Result<&'w Value, Exception> {
        self.0.get(place).ok_or_else(Exception::index)
    }

    pub(super) fn from(self, place: usize) -> &'w [Value] {
        self.0.get(place..).unwrap_or_default()
    }
}

fn type_error(text: String) -> Exception {
    Exception::builtin("TypeError", text)
}

/// Text for Python's `re`.
pub(super) fn text(value: &Value) -> Result<&str, Exception> {
    let error = || type_error(format!("expected string or bytes-like object, got '{}'", value.class()));
    value.as_str().ok_or_else(error)
}

/// Text of which a method is called.
pub(super) fn text_for<'v>(value: &'v Value, method: &str) -> Result<&'v str, Exception> {
    value.as_str().ok_or_else(|| no_attribute(value, method))
}

/// Text whose length is asked for.
pub(super) fn sized(value: &Value) -> Result<&str, Exception> {
    let error = || type_error(format!("object of type '{}' has no len()", value.class()));
    value.as_str().ok_or_else(error)
}

/// What has no first or second item.
pub(super) fn no_items(value: &Value) -> Exception {
    type_error(format!("'{}' object is not subscriptable", value.class()))
}

/// A method or a property that a value does not have.
pub(super) fn no_attribute(value: &Value, name: &str) -> Exception {
    let text = format!("'{}' object has no attribute '{name}'", value.class());
    Exception::builtin("AttributeError", text)
}

/// `bool()`, with Fail2Ban's words for a truth.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Str(text) => parse_bool(text),
        other => other.is_true(),
    }
}

/// `int()`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float beyond all whole numbers is the last of them"
)]
pub(super) fn int(value: &Value) -> Result<i64, Exception> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Bool(truth) => Ok(i64::from(*truth)),
        Value::Float(number) if number.is_nan() => Err(Exception::value("cannot convert float NaN to integer")),
        Value::Float(number) if number.is_infinite() => Err(Exception::builtin(
            "OverflowError",
            "cannot convert float infinity to integer",
        )),
        Value::Float(number) => Ok(*number as i64),
        Value::Str(text) => parse_int(text).ok_or_else(|| {
            let shown = repr_str(text);
            Exception::value(format!("invalid literal for int() with base 10: {shown}"))
        }),
        other => Err(type_error(format!(
            "int() argument must be a string, a bytes-like object or a real number, not '{}'",
            other.class()
        ))),
    }
}

/// `float()`.
#[expect(clippy::cast_precision_loss, reason = "as Python does it")]
pub(super) fn float(value: &Value) -> Result<f64, Exception> {
    match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Bool(truth) => Ok(f64::from(u8::from(*truth))),
        Value::Float(number) => Ok(*number),
        Value::Str(text) => text.trim().parse().map_err(|_| {
            let shown = repr_str(text);
            Exception::value(format!("could not convert string to float: {shown}"))
        }),
        other => Err(type_error(format!(
            "float() argument must be a string or a real number, not '{}'",
            other.class()
        ))),
    }
}

/// A length of time: a number as it is, or an expression. What is wrong with an expression is said in our words (D-110).
pub(super) fn number(value: &Value) -> Result<Value, Exception> {
    if matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)) {
        return Ok(value.clone());
    }
    let text = text(value)?;
    let amount = length(text).map_err(|reason| expression(text, reason))?;
    match Number::of(&amount) {
        Some(Number::Int(number)) => Ok(Value::Int(number)),
        Some(Number::Float(number)) => Ok(Value::Float(number)),
        None => Err(Exception::value("a length of time is a finite number")),
    }
}

/// What Python raises over an expression, as far as its class can be known.
pub(super) fn expression(text: &str, reason: String) -> Exception {
    let word = text.trim();
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') {
        return Exception::builtin("NameError", format!("name '{word}' is not defined"));
    }
    if reason.contains("division") || reason.contains("modulo") {
        return Exception::builtin("ZeroDivisionError", reason);
    }
    Exception::builtin("SyntaxError", reason)
}

/// What is a key of a dict: no list, dict or set.
pub(super) fn hashable(value: &Value) -> Result<&Value, Exception> {
    match value {
        Value::List(_) | Value::Dict(_) | Value::Set(_) => {
            Err(type_error(format!("unhashable type: '{}'", value.class())))
        }
        Value::Tuple(items) => items
            .iter()
            .try_for_each(|item| hashable(item).map(|_| ()))
            .map(|()| value),
        other => Ok(other),
    }
}

/// The items that a `for` goes through.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, Exception> {
    let error = || type_error(format!("'{}' object is not iterable", value.class()));
    value.each().ok_or_else(error)
}

/// An address, a network or any other text that can be banned.
pub(super) fn id(value: &Value) -> Result<Id, Exception> {
    Id::parse(sized(hashable(value)?)?).map_err(mask)
}

/// A mask that is none.
pub(super) fn mask(error: BadMask) -> Exception {
    Exception::value(error.to_string())
}
