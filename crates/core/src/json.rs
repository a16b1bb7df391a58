//! Python values as JSON and back: the arguments that a client gives, and what we keep ourselves.

use serde_json::Value as Json;

use crate::value::Value;

/// A value as JSON. Tuples and sets become lists; keys become texts.
#[must_use]
pub fn from_value(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::Str(text) => Json::String(text.clone()),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().map(from_value).collect(),
        Value::Dict(pairs) => Json::Object(
            pairs
                .iter()
                .map(|(key, value)| (key.to_string(), from_value(value)))
                .collect(),
        ),
    }
}

/// JSON as a value.
#[must_use]
pub fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Float(number.as_f64().unwrap_or(0.0)), Value::Int),
        Json::String(text) => Value::Str(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(to_value).collect()),
        Json::Object(pairs) => Value::Dict(
            pairs
                .iter()
                .map(|(key, value)| (key.as_str().into(), to_value(value)))
                .collect(),
        ),
    }
}
