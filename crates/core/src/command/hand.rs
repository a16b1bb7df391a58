//! Bans and failures by hand, and who is banned (contract §8.5).

use std::sync::Arc;

use super::kind::{self, Words};
use super::{Deed, Session};
use crate::address::Id;
use crate::config::plan::JailPlan;
use crate::engine::Request;
use crate::exception::Exception;
use crate::ledger::Ticket;
use crate::time::Timestamp;
use crate::value::Value;

/// `set JAIL attempt IP [LINE…]`
pub(super) fn attempt(session: &Session<'_>, words: Words<'_>) -> Result<Deed, Exception> {
    let at = session.jail(words.at(0)?)?;
    let missing = || {
        let text = "Filter.addAttempt() missing 1 required positional argument: 'ip'";
        Exception::builtin("TypeError", text)
    };
    let id = kind::id(words.0.get(2).ok_or_else(missing)?)?;
    Ok(Deed::Ask(Request::Attempt {
        jail: Arc::clone(&session.plan.jails[at].name),
        id,
        lines: words.from(3).iter().map(ToString::to_string).collect(),
    }))
}

/// `set JAIL banip IP…`
pub(super) fn ban(session: &Session<'_>, words: Words<'_>) -> Result<Deed, Exception> {
    let at = session.jail(words.at(0)?)?;
    let ids: Result<Vec<Id>, _> = words.from(2).iter().map(kind::id).collect();
    Ok(Deed::Ask(Request::Ban {
        ids: ids?,
        jail: Arc::clone(&session.plan.jails[at].name),
        bantime: None,
    }))
}

/// `set JAIL unbanip [--report-absent] IP…`
pub(super) fn unban_in(session: &Session<'_>, words: Words<'_>) -> Result<Deed, Exception> {
    let report_absent = words.at(2)?.as_str() == Some("--report-absent");
    let whom = words.from(if report_absent { 3 } else { 2 });
    let at = session.jail(words.at(0)?)?;
    Ok(Deed::Ask(Request::Free {
        whom: meant(whom)?,
        jail: Some(Arc::clone(&session.plan.jails[at].name)),
        report_absent,
    }))
}

/// `unban --all`, `unban IP…`
pub(super) fn unban(words: &[Value]) -> Result<Deed, Exception> {
    if let [only] = words
        && only.as_str() == Some("--all")
    {
        return Ok(Deed::Ask(Request::Unban { ids: None, jail: None }));
    }
    Ok(Deed::Ask(Request::Free {
        whom: meant(words)?,
        jail: None,
        report_absent: false,
    }))
}

/// Who is to be freed; a mask that is none is nobody's.
fn meant(words: &[Value]) -> Result<Vec<(String, Id)>, Exception> {
    let id = |word: &Value| {
        let text = kind::sized(word)?.to_owned();
        let id = Id::parse(&text).unwrap_or_else(|_| Id::Raw(text.clone()));
        Ok((text, id))
    };
    words.iter().map(id).collect()
}

/// Who is banned in a jail, in the order in which the bans were made. There may be a million of them.
pub(super) fn ids(session: &Session<'_>, jail: &JailPlan) -> Value {
    list(session.engine.bans(&jail.name))
}

fn list<'t>(bans: impl IntoIterator<Item = &'t Ticket>) -> Value {
    Value::List(bans.into_iter().map(|ban| ban.id.to_string().into()).collect())
}

/// `get JAIL banned [IP…]`: all, or whether these are.
pub(super) fn banned(session: &Session<'_>, jail: &JailPlan, whom: &[Value]) -> Result<Value, Exception> {
    if whom.is_empty() {
        return Ok(ids(session, jail));
    }
    let is_banned = |word: &Value| -> Result<Value, Exception> {
        if !session.engine.has_bans(&jail.name) {
            return Ok(0.into());
        }
        let is_banned = session.engine.is_banned(&jail.name, &kind::id(word)?);
        Ok(i64::from(is_banned).into())
    };
    match whom {
        [only] => is_banned(only),
        several => several.iter().map(is_banned).collect::<Result<_, _>>().map(Value::List),
    }
}

/// `banned [IP…]`: who is banned in each jail, or in which jails these are.
pub(super) fn banned_in_all(session: &Session<'_>, whom: &[Value]) -> Result<Value, Exception> {
    let mut found = Vec::new();
    if whom.is_empty() {
        for jail in &session.plan.jails {
            let banned = ids(session, jail);
            found.push(Value::Dict(vec![(Value::from(&*jail.name), banned)]));
        }
    }
    for word in whom {
        let mut jails = Vec::new();
        for jail in &session.plan.jails {
            if banned(session, jail, std::slice::from_ref(word))? == Value::Int(1) {
                jails.push(Value::from(&*jail.name));
            }
        }
        found.push(Value::List(jails));
    }
    Ok(Value::List(found))
}

/// `get JAIL banip [--with-time]`: by the end of the bans, those of one end in the order in which they were made.
pub(super) fn ban_list(session: &Session<'_>, jail: &JailPlan, with_time: bool) -> Value {
    let mut bans: Vec<&Ticket> = session.engine.bans(&jail.name).collect();
    bans.sort_by_key(|ban| ban.until().unwrap_or(Timestamp::from_seconds(i64::MAX)));
    if !with_time {
        return list(bans);
    }
    let line = |ban: &&Ticket| {
        let until = ban.until().map_or_else(
            || "9999-12-31 23:59:59".to_owned(),
            |until| session.world.local_time(until),
        );
        let since = session.world.local_time(ban.time);
        format!("{} \t{since} + {} = {until}", ban.id, ban.bantime.whole()).into()
    };
    Value::List(bans.iter().map(line).collect())
}
