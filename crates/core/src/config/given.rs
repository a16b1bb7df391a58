//! What `get` answers of options whose value the plan keeps in another kind: Python keeps whole numbers, floats, truths
//! and texts apart, and so do Fail2Ban's replies (contract §8.5).

use std::collections::BTreeMap;

use super::words::Words;
use crate::time::{Number, parse_length};
use crate::value::Value;

/// Notes the value of `set JAIL OPTION VALUE`, which the plan has taken.
pub(super) fn remember(given: &mut BTreeMap<String, Value>, option: &str, words: Words<'_>) {
    let Some(value) = words.0.get(3) else { return };
    let is_empty = matches!(value, Value::None) || value.as_str() == Some("");
    let kept = match option {
        "maxretry" | "maxmatches" | "maxlines" => words.int(3).map(Value::Int),
        "findtime" => number(value),
        "ignorecommand" | "logtimezone" => Some(value.clone()),
        "bantime.increment" => Some((!is_empty && words.truth(3).unwrap_or_default()).into()),
        "bantime.maxtime" | "bantime.rndtime" if !is_empty => number(value),
        _ if option.starts_with("bantime.") => (!is_empty).then(|| value.clone()),
        _ => return,
    };
    match kept {
        Some(kept) => given.insert(option.to_owned(), kept),
        None => given.remove(option),
    };
}

/// Notes the value of `set OPTION VALUE`.
pub(super) fn remember_server(given: &mut BTreeMap<String, Value>, option: &str, words: Words<'_>) {
    let kept = match option {
        "dbmaxmatches" => words.int(2).map(Value::Int),
        "dbpurgeage" => words.0.get(2).and_then(number),
        _ => return,
    };
    given.extend(kept.map(|kept| (option.to_owned(), kept)));
}

/// A length of time as the number that Python computes.
fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Str(text) => Some(match parse_length(text).ok()? {
            Number::Int(number) => Value::Int(number),
            Number::Float(number) => Value::Float(number),
        }),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => Some(value.clone()),
        _ => None,
    }
}
