//! `set …` and `multi-set …`: another value for one option; the answer is what `get` says afterwards (contract §8.5).

mod filter;

use super::kind::{self, Words};
use super::{Deed, Session, action, get, hand, server};
use crate::config::plan::Server;
use crate::exception::Exception;
use crate::prefix::Prefix;
use crate::value::Value;

/// Changes the plan. `is_many` is for `multi-set`.
pub(super) fn set(session: &mut Session<'_>, words: Words<'_>, is_many: bool) -> Result<Deed, Exception> {
    let name = words.at(0)?;
    if let Some(option) = name.as_str().filter(|name| Server::OPTIONS.contains(name)) {
        return server::set(session, option, words).map(Deed::Answer);
    }
    let option = words.at(1)?;
    let option = kind::text_for(option, "startswith")?;
    match option {
        "attempt" => return hand::attempt(session, words),
        "banip" => return hand::ban(session, words),
        "unbanip" => return hand::unban_in(session, words),
        "addaction" => return action::add(session, words),
        "delaction" => return action::remove(session, words),
        "action" => return action::set(session, words, is_many),
        "addfailregex" | "addignoreregex" if is_many => {
            filter::add_regexes(session, words, option)?;
            return Ok(Deed::Answer(true.into()));
        }
        _ => {}
    }
    let shown = match (option.strip_prefix("bantime."), option.strip_prefix("prefix.")) {
        (Some(part), _) => {
            increment(session, words, part)?;
            option
        }
        (None, Some(part)) if Prefix::PARTS.contains(&part) => {
            let at = session.jail(words.at(0)?)?;
            session.apply(at, &[Value::from(option), words.at(2)?.clone()])?;
            option
        }
        (None, None) if matches!(option, "addlogcommand" | "dellogcommand") => {
            let at = session.jail(words.at(0)?)?;
            session.apply(at, &[Value::from(option), words.at(2)?.clone()])?;
            "logpath"
        }
        _ => filter::set(session, words, option)?,
    };
    if session.is_quiet {
        return Ok(Deed::Answer(Value::None));
    }
    let at = session.jail(name)?;
    get::option_of(session, &session.plan.jails[at], shown).map(Deed::Answer)
}

/// `set JAIL bantime.PART VALUE`. Any other part than those of `bantime.increment` is kept and does nothing.
fn increment(session: &mut Session<'_>, words: Words<'_>, part: &str) -> Result<(), Exception> {
    let value = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    let is_empty = matches!(value, Value::None) || value.as_str() == Some("");
    let option = Value::from(format!("bantime.{part}"));
    match part {
        "increment" | "overalljails" => {}
        "maxtime" | "rndtime" if !is_empty => {
            kind::number(value)?;
        }
        "multipliers" if !is_empty => {
            for number in kind::text_for(value, "split")?.split(' ') {
                kind::int(&number.into())?;
            }
        }
        "factor" if !is_empty => {
            let error = || Exception::builtin("TypeError", "eval() arg 1 must be a string, bytes or code object");
            value.as_str().ok_or_else(error)?;
        }
        "formula" if !is_empty => {
            let text = "compile() arg 1 must be a string, bytes or AST object";
            value.as_str().ok_or_else(|| Exception::builtin("TypeError", text))?;
        }
        "maxtime" | "rndtime" | "multipliers" | "factor" | "formula" => {}
        _ => {
            let jail = session.change(at);
            let name = format!("bantime.{part}");
            if is_empty {
                jail.given.remove(&name);
            } else {
                jail.given.insert(name, value.clone());
            }
            return Ok(());
        }
    }
    let kept = match (part, value) {
        ("increment" | "overalljails", Value::None | Value::Str(_)) => value.clone(),
        ("increment", other) => kind::truth(other).into(),
        _ => value.clone(),
    };
    let applied = session.apply(at, &[option, kept]);
    applied.map_err(|error| kind::expression(value.as_str().unwrap_or_default(), error.to_string()))
}
