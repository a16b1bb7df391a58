//! Actions of a jail by hand: `addaction`, `delaction`, `action NAME PROPERTY|METHOD` (contract §5.4, §8.5).

use std::sync::Arc;

use super::kind::{self, Words};
use super::{Deed, Session};
use crate::config::plan::{ActionPlan, JailPlan};
use crate::exception::Exception;
use crate::value::Value;

/// Properties that every action has, with the values of a new one.
const PROPERTIES: [&str; 9] = [
    "actionban",
    "actioncheck",
    "actionflush",
    "actionreban",
    "actionreload",
    "actionrepair",
    "actionstart",
    "actionstop",
    "actionunban",
];
/// Properties of Fail2Ban's class that cannot be given: two regexes, which are no data, and a counter.
const INNER: [&str; 3] = ["ESCAPE_CRE", "ESCAPE_VN_CRE", "banEpoch"];
const TIMEOUT: i64 = 60;

/// Methods, in the order of their names: whether we have it run, and which argument it must have.
const METHODS: [(&str, bool, Option<&str>); 15] = [
    ("ban", true, Some("aInfo")),
    ("clearAllParams", true, None),
    ("consistencyCheck", true, None),
    ("escapeTag", false, None),
    ("executeCmd", false, None),
    ("flush", true, None),
    ("invalidateBanEpoch", false, None),
    ("prolong", true, Some("aInfo")),
    ("reban", true, Some("aInfo")),
    ("reload", true, None),
    ("replaceDynamicTags", false, None),
    ("replaceTag", false, None),
    ("start", true, None),
    ("stop", true, None),
    ("unban", true, Some("aInfo")),
];

/// The action of a name.
pub(super) fn find<'p>(jail: &'p JailPlan, name: &Value) -> Result<&'p ActionPlan, Exception> {
    let name = kind::hashable(name)?;
    let action = jail.actions.iter().find(|action| Some(&*action.name) == name.as_str());
    action.ok_or_else(|| Exception::key(format!("Invalid Action name: {name}")))
}

/// `get JAIL actionproperties NAME`
pub(super) fn properties(action: &ActionPlan) -> Value {
    let own = action.properties.iter().map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = own.filter(|name| !name.starts_with('_')).collect();
    names.extend(PROPERTIES.iter().chain(&INNER).chain(&["timeout"]));
    names.sort_unstable();
    names.dedup();
    Value::List(names.into_iter().map(Value::from).collect())
}

/// `get JAIL actionmethods NAME`
pub(super) fn methods() -> Value {
    Value::List(METHODS.iter().map(|(name, ..)| Value::from(*name)).collect())
}

/// `get JAIL action NAME PROPERTY`
pub(super) fn property(action: &ActionPlan, name: &Value) -> Result<Value, Exception> {
    let name = attribute(name)?;
    if let Some((_, value)) = action.properties.iter().rev().find(|(key, _)| key == name) {
        return match name {
            "timeout" => kind::number(value),
            _ => Ok(value.clone()),
        };
    }
    match name {
        "timeout" => Ok(TIMEOUT.into()),
        "banEpoch" => Ok(0.into()),
        _ if PROPERTIES.contains(&name) => Ok("".into()),
        _ if INNER.contains(&name) || METHODS.iter().any(|(method, ..)| *method == name) => {
            Err(format!("{name} of an action is not supported as a value").into())
        }
        _ => Err(Exception::builtin(
            "AttributeError",
            format!("'CommandAction' object has no attribute '{name}'"),
        )),
    }
}

fn attribute(name: &Value) -> Result<&str, Exception> {
    let error = || {
        let text = format!("attribute name must be string, not '{}'", name.class());
        Exception::builtin("TypeError", text)
    };
    name.as_str().ok_or_else(error)
}

/// `set JAIL addaction NAME [FILE JSON]`
pub(super) fn add(session: &mut Session<'_>, words: Words<'_>) -> Result<Deed, Exception> {
    let name = words.at(2)?;
    if words.0.len() > 3 {
        words.at(4)?;
    }
    let at = session.jail(words.at(0)?)?;
    kind::hashable(name)?;
    let mut command = vec![Value::from("addaction")];
    command.extend_from_slice(words.from(2));
    session.apply(at, &command)?;
    let answer = if session.is_quiet { Value::None } else { name.clone() };
    Ok(Deed::Answer(answer))
}

/// `set JAIL delaction NAME`
pub(super) fn remove(session: &mut Session<'_>, words: Words<'_>) -> Result<Deed, Exception> {
    let name = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    find(&session.plan.jails[at], name)?;
    session.apply(at, &["delaction".into(), name.clone()])?;
    Ok(Deed::Answer(Value::None))
}

/// `set JAIL action NAME PROPERTY VALUE`, `set JAIL action NAME METHOD [JSON]`, `multi-set JAIL action NAME LIST`
pub(super) fn set(session: &mut Session<'_>, words: Words<'_>, is_many: bool) -> Result<Deed, Exception> {
    let name = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    find(&session.plan.jails[at], name)?;
    if is_many {
        for pair in kind::items(words.at(3)?)? {
            set_one(session, at, name, &pair)?;
        }
        return Ok(Deed::Answer(true.into()));
    }
    let key = words.at(3)?;
    let attribute = attribute(key)?;
    if METHODS.iter().any(|(method, ..)| *method == attribute) {
        return call(session, at, words, attribute);
    }
    set_property(session, at, (name, attribute), words.at(4)?)?;
    if session.is_quiet {
        return Ok(Deed::Answer(Value::None));
    }
    property(find(&session.plan.jails[at], name)?, key).map(Deed::Answer)
}

fn set_one(session: &mut Session<'_>, at: usize, name: &Value, pair: &Value) -> Result<(), Exception> {
    let short = |kind: &str| Exception::builtin("IndexError", format!("{kind} index out of range"));
    let (items, kind) = match pair {
        Value::List(items) => (items.clone(), "list"),
        Value::Tuple(items) => (items.clone(), "tuple"),
        Value::Str(_) => (kind::items(pair)?, "string"),
        other => {
            let text = format!("'{}' object is not subscriptable", other.class());
            return Err(Exception::builtin("TypeError", text));
        }
    };
    let key = attribute(items.first().ok_or_else(|| short(kind))?)?;
    if METHODS.iter().any(|(method, ..)| *method == key) {
        return Err(format!("{key} within a list of properties is not supported").into());
    }
    set_property(session, at, (name, key), items.get(1).ok_or_else(|| short(kind))?)
}

fn set_property(
    session: &mut Session<'_>,
    at: usize,
    (action, key): (&Value, &str),
    value: &Value,
) -> Result<(), Exception> {
    if key.starts_with('_') || INNER.contains(&key) && key != "banEpoch" {
        return Err(format!("{key} of an action cannot be set").into());
    }
    let value = match key {
        "banEpoch" => return Ok(()),
        "timeout" => kind::number(value)?,
        _ => value.clone(),
    };
    session.apply(at, &["action".into(), action.clone(), key.into(), value])
}

fn call(session: &mut Session<'_>, at: usize, words: Words<'_>, method: &str) -> Result<Deed, Exception> {
    let arguments = match words.0.get(4) {
        Some(text) => json(text)?,
        None => Value::Dict(Vec::new()),
    };
    if session.is_quiet {
        return Ok(Deed::Answer(Value::None));
    }
    let Value::Dict(pairs) = &arguments else {
        let class = arguments.class();
        return Err(Exception::builtin(
            "TypeError",
            format!("fail2ban.server.action.CommandAction.{method}() argument after ** must be a mapping, not {class}"),
        ));
    };
    let wanted = METHODS.iter().find(|(name, ..)| *name == method);
    let Some((_, true, needs)) = wanted else {
        return Err(format!("{method} of an action is not supported").into());
    };
    let given: Vec<String> = pairs.iter().map(|(name, _)| name.to_string()).collect();
    let takes = |name: &String| method == "reload" || Some(name.as_str()) == *needs;
    if let Some(other) = given.iter().find(|name| !takes(name)) {
        return Err(Exception::builtin(
            "TypeError",
            format!("CommandAction.{method}() got an unexpected keyword argument '{other}'"),
        ));
    }
    if let (Some(missing), true) = (needs, given.is_empty()) {
        return Err(Exception::builtin(
            "TypeError",
            format!("CommandAction.{method}() missing 1 required positional argument: '{missing}'"),
        ));
    }
    if method == "clearAllParams" {
        let name = words.at(2)?.as_str();
        let jail = session.change(at);
        let action = jail.actions.iter_mut().find(|action| Some(&*action.name) == name);
        if let Some(action) = action {
            let is_cleared = |name: &str| name == "timeout" || PROPERTIES.contains(&name);
            action.properties.retain(|(name, _)| !is_cleared(name));
        }
        return Ok(Deed::Answer(Value::None));
    }
    let jail = &session.plan.jails[at];
    Ok(Deed::Call {
        jail: Arc::clone(&jail.name),
        action: Arc::clone(&find(jail, words.at(2)?)?.name),
        method: method.to_owned(),
        arguments,
    })
}

/// The arguments of a method.
fn json(text: &Value) -> Result<Value, Exception> {
    let error = || {
        let text = format!("the JSON object must be str, bytes or bytearray, not {}", text.class());
        Exception::builtin("TypeError", text)
    };
    let read = serde_json::from_str(text.as_str().ok_or_else(error)?);
    read.map(plain).map_err(|error| Exception::value(error.to_string()))
}

fn plain(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(truth) => truth.into(),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Float(number.as_f64().unwrap_or_default()), Value::Int),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(plain).collect()),
        serde_json::Value::Object(pairs) => Value::Dict(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), plain(value)))
                .collect(),
        ),
    }
}
