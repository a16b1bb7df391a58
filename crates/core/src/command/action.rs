//! Actions of a jail by hand: `addaction`, `delaction`, `action NAME PROPERTY|METHOD` (contract §5.4, §8.5).

use std::sync::Arc;

use super::kind::{self, Words};
use super::{Deed, Session, mail};
use crate::config::plan::{ActionPlan, JailPlan};
use crate::exception::Exception;
use crate::json::to_value;
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
/// What Fail2Ban's class keeps for itself.
const HIDDEN: [&str; 4] = ["_jail", "_logSys", "_name", "_properties"];
const TIMEOUT: i64 = 60;

const OWN: &str = "fail2ban.server.action.CommandAction";
const SHELL: Class = Class {
    name: "CommandAction",
    methods: &[
        Method::new(OWN, "ban", Some("aInfo")),
        Method::new(OWN, "clearAllParams", None),
        Method::new(OWN, "consistencyCheck", None),
        Method::refused(OWN, "escapeTag"),
        Method::refused(OWN, "executeCmd"),
        Method::new(OWN, "flush", None),
        Method::refused(OWN, "invalidateBanEpoch"),
        Method::new(OWN, "prolong", Some("aInfo")),
        Method::new(OWN, "reban", Some("aInfo")),
        Method::new(OWN, "reload", None),
        Method::refused(OWN, "replaceDynamicTags"),
        Method::refused(OWN, "replaceTag"),
        Method::new(OWN, "start", None),
        Method::new(OWN, "stop", None),
        Method::new(OWN, "unban", Some("aInfo")),
    ],
};

/// A class of Fail2Ban's actions, as commands see it.
pub(super) struct Class {
    pub(super) name: &'static str,
    /// In the order of their names
    pub(super) methods: &'static [Method],
}

/// A method of an action.
pub(super) struct Method {
    /// The class that has it, behind its module
    owner: &'static str,
    name: &'static str,
    /// The method that is run for it; none if it is empty
    runs: &'static str,
    /// The argument that it must have
    needs: Option<&'static str>,
}

impl Method {
    pub(super) const fn new(owner: &'static str, name: &'static str, needs: Option<&'static str>) -> Self {
        Method {
            owner,
            name,
            runs: name,
            needs,
        }
    }

    const fn refused(owner: &'static str, name: &'static str) -> Self {
        Method {
            runs: "",
            ..Method::new(owner, name, None)
        }
    }

    /// One that does what another does.
    pub(super) const fn calling(self, runs: &'static str) -> Self {
        Method { runs, ..self }
    }
}

impl Class {
    fn of(action: &ActionPlan) -> Class {
        if mail::is_mail(action) { mail::CLASS } else { SHELL }
    }

    fn method(&self, name: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// Whether it is an attribute that cannot be given.
    fn has_inner(&self, name: &str) -> bool {
        if self.name == SHELL.name {
            INNER.contains(&name)
        } else {
            name == mail::MESSAGE_VALUES
        }
    }
}

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
    if mail::is_mail(action) {
        names.extend(mail::ATTRIBUTES);
    } else {
        names.extend(PROPERTIES.iter().chain(&INNER).chain(&["timeout"]));
    }
    names.sort_unstable();
    names.dedup();
    Value::List(names.into_iter().map(Value::from).collect())
}

/// `get JAIL actionmethods NAME`
pub(super) fn methods(action: &ActionPlan) -> Value {
    let methods = Class::of(action).methods.iter();
    Value::List(methods.map(|method| Value::from(method.name)).collect())
}

/// `get JAIL action NAME PROPERTY`
pub(super) fn property(action: &ActionPlan, name: &Value) -> Result<Value, Exception> {
    let name = attribute(name)?;
    let class = Class::of(action);
    let is_shell = class.name == SHELL.name;
    // What begins with an underscore is how we keep the file and its options.
    let mut own = action.properties.iter().rev().filter(|(key, _)| !key.starts_with('_'));
    if let Some((_, value)) = own.find(|(key, _)| key == name) {
        return match name {
            "timeout" if is_shell => kind::number(value),
            _ => Ok(value.clone()),
        };
    }
    if class.has_inner(name) && name != "banEpoch" || class.method(name).is_some() {
        return Err(format!("{name} of an action is not supported as a value").into());
    }
    let value = match name {
        _ if !is_shell => mail::attribute(action, name),
        "timeout" => Some(TIMEOUT.into()),
        "banEpoch" => Some(0.into()),
        _ => PROPERTIES.contains(&name).then(|| "".into()),
    };
    value.ok_or_else(|| {
        let text = format!("'{}' object has no attribute '{name}'", class.name);
        Exception::builtin("AttributeError", text)
    })
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
    // In a stream, an action that cannot be is the trouble of its jail alone.
    if let Some(file) = words.0.get(3).and_then(Value::as_str).filter(|_| !session.is_quiet) {
        let read = session.world.can_read(file);
        read.map_err(|error| Exception::file(error, file))?;
    }
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
    let class = Class::of(find(&session.plan.jails[at], name)?);
    if is_many {
        for pair in kind::items(words.at(3)?)? {
            set_one(session, at, name, &pair)?;
        }
        return Ok(Deed::Answer(true.into()));
    }
    let key = words.at(3)?;
    let attribute = attribute(key)?;
    if let Some(method) = class.method(attribute) {
        return call(session, at, words, method);
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
        other => return Err(kind::no_items(other)),
    };
    let key = attribute(items.first().ok_or_else(|| short(kind))?)?;
    if Class::of(find(&session.plan.jails[at], name)?).method(key).is_some() {
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
    let class = Class::of(find(&session.plan.jails[at], action)?);
    let is_shell = class.name == SHELL.name;
    // Other names with a first underscore are settings of a file that only other settings use.
    if key.starts_with("__") || HIDDEN.contains(&key) || class.has_inner(key) && key != "banEpoch" {
        return Err(format!("{key} of an action cannot be set").into());
    }
    let value = match key {
        "banEpoch" if is_shell => return Ok(()),
        "timeout" if is_shell => kind::number(value)?,
        _ => value.clone(),
    };
    session.apply(at, &["action".into(), action.clone(), key.into(), value])
}

fn call(session: &mut Session<'_>, at: usize, words: Words<'_>, method: &Method) -> Result<Deed, Exception> {
    let arguments = match words.0.get(4) {
        Some(text) => json(text)?,
        None => Value::Dict(Vec::new()),
    };
    if session.is_quiet {
        return Ok(Deed::Answer(Value::None));
    }
    fits(method, &arguments)?;
    if method.name == "clearAllParams" {
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
        method: method.runs.to_owned(),
        arguments,
    })
}

/// Whether a method can be called with these arguments.
fn fits(method: &Method, arguments: &Value) -> Result<(), Exception> {
    let Method {
        owner,
        name,
        runs,
        needs,
    } = *method;
    let class = owner.rsplit('.').next().unwrap_or(owner);
    let error = |text: String| Err(Exception::builtin("TypeError", text));
    let Value::Dict(pairs) = arguments else {
        let kind = arguments.class();
        return error(format!(
            "{owner}.{name}() argument after ** must be a mapping, not {kind}"
        ));
    };
    if runs.is_empty() {
        return Err(format!("{name} of an action is not supported").into());
    }
    let given: Vec<String> = pairs.iter().map(|(name, _)| name.to_string()).collect();
    let takes = |given: &String| name == "reload" || Some(given.as_str()) == needs;
    if let Some(other) = given.iter().find(|name| !takes(name)) {
        return error(format!("{class}.{name}() got an unexpected keyword argument '{other}'"));
    }
    if let (Some(missing), true) = (needs, given.is_empty()) {
        return error(format!(
            "{class}.{name}() missing 1 required positional argument: '{missing}'"
        ));
    }
    Ok(())
}

/// The arguments of a method.
fn json(text: &Value) -> Result<Value, Exception> {
    let error = || {
        let text = format!("the JSON object must be str, bytes or bytearray, not {}", text.class());
        Exception::builtin("TypeError", text)
    };
    let read = serde_json::from_str(text.as_str().ok_or_else(error)?);
    read.map(|read| to_value(&read))
        .map_err(|error| Exception::value(error.to_string()))
}
