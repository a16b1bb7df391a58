//! Options of the server as a whole: `set|get loglevel`, `logtarget`, … (contract §2.1, §8.5).

use super::Session;
use super::kind::{self, Words};
use crate::config::extract;
use crate::config::plan::Plan;
use crate::exception::Exception;
use crate::time::Seconds;
use crate::value::{Value, repr_str};

/// The names that Python's logging has for levels, Fail2Ban's own among them.
const LEVELS: [&str; 12] = [
    "CRITICAL",
    "FATAL",
    "ERROR",
    "WARN",
    "WARNING",
    "NOTICE",
    "INFO",
    "DEBUG",
    "MSG",
    "HEAVYDEBUG",
    "TRACEDEBUG",
    "NOTSET",
];
const FAILED_TARGET: &str = "Failed to change log target";

/// `get OPTION`; nothing where that is no option of the server.
pub(super) fn get(session: &Session<'_>, option: &str) -> Option<Value> {
    let server = &session.plan.server;
    let given = |option: &str, kept: i64| server.given.get(option).cloned().unwrap_or(Value::Int(kept));
    let kept = |value: Value| if server.dbfile.is_some() { value } else { Value::None };
    Some(match option {
        "loglevel" => server.loglevel.as_str().into(),
        "logtarget" => target(session.plan).into(),
        "syslogsocket" => server.syslogsocket.as_str().into(),
        "thread" => Value::Dict(vec![("stacksize".into(), server.stacksize.into())]),
        "dbfile" => server.dbfile.as_deref().map_or(Value::None, Value::from),
        "dbmaxmatches" => kept(given(option, i64::from(server.dbmaxmatches))),
        "dbpurgeage" => kept(given(option, server.dbpurgeage.whole())),
        _ => return None,
    })
}

/// The log's target without its options.
pub(super) fn target(plan: &Plan) -> String {
    let target = &plan.server.logtarget;
    extract(target).map_or_else(|_| target.clone(), |named| named.name)
}

/// `set OPTION VALUE`
pub(super) fn set(session: &mut Session<'_>, option: &str, words: Words<'_>) -> Result<Value, Exception> {
    match option {
        "loglevel" => loglevel(session, words.at(1)?)?,
        "logtarget" => logtarget(session, words.at(1)?)?,
        "syslogsocket" => {
            let path = words.at(1)?.as_str().ok_or("syslogsocket takes a text")?;
            path.clone_into(&mut session.plan.server.syslogsocket);
        }
        "allowipv6" => {
            let value = words.at(1)?;
            session.plan.server.allowipv6 = match value.as_str() {
                Some("auto") => "auto".to_owned(),
                _ => Value::Bool(kind::truth(value)).to_string(),
            };
            session.amended.server.insert(option.to_owned());
            return Ok(value.clone());
        }
        "thread" => return thread(session, words.at(1)?),
        "dbfile" => dbfile(session, words.at(1)?)?,
        _ if session.plan.server.dbfile.is_none() => return Ok(Value::None),
        "dbmaxmatches" => apply(session, option, kind::int(words.at(1)?)?.into())?,
        _ => apply(session, option, kind::number(words.at(1)?)?)?,
    }
    session.amended.server.insert(option.to_owned());
    Ok(get(session, option).unwrap_or(Value::None))
}

fn apply(session: &mut Session<'_>, option: &str, value: Value) -> Result<(), Exception> {
    session.plan.apply(&["set".into(), option.into(), value])?;
    Ok(())
}

fn loglevel(session: &mut Session<'_>, value: &Value) -> Result<(), Exception> {
    let level = kind::text_for(value, "upper")?.to_uppercase();
    let is_number = !level.is_empty() && level.chars().all(|c| c.is_ascii_digit());
    if level != session.plan.server.loglevel && !is_number && !LEVELS.contains(&level.as_str()) {
        return Err(Exception::value(format!("Invalid log level {}", repr_str(&level))));
    }
    session.plan.server.loglevel = level;
    Ok(())
}

fn logtarget(session: &mut Session<'_>, value: &Value) -> Result<(), Exception> {
    let text = kind::text(value)?;
    let name = extract(text).map_err(Exception::value)?.name;
    if name == target(session.plan) {
        return Ok(());
    }
    let server = &mut session.plan.server;
    if name.eq_ignore_ascii_case("SYSLOG") && server.syslogsocket == "auto" {
        "/dev/log".clone_into(&mut server.syslogsocket);
    }
    if !session.world.can_log(text, &server.syslogsocket) {
        return Err(FAILED_TARGET.into());
    }
    text.clone_into(&mut server.logtarget);
    Ok(())
}

fn thread(session: &mut Session<'_>, value: &Value) -> Result<Value, Exception> {
    /// No thread has a smaller stack than this, in bytes.
    const LEAST: i64 = 32 << 10;
    let Value::Dict(pairs) = value else {
        return Err(kind::no_attribute(value, "items"));
    };
    for (option, value) in pairs {
        if option.as_str() != Some("stacksize") {
            return Err(Exception::key(format!("unknown option {}", option.repr())));
        }
        let size = kind::int(value)?;
        let bytes = size.saturating_mul(1024);
        if bytes < 0 {
            return Err(Exception::value("size must be 0 or a positive value"));
        }
        if bytes != 0 && bytes < LEAST {
            return Err(Exception::value(format!("size not valid: {bytes} bytes")));
        }
        session.plan.server.stacksize = size;
    }
    Ok(Value::None)
}

fn dbfile(session: &mut Session<'_>, value: &Value) -> Result<(), Exception> {
    let current = session.plan.server.dbfile.as_deref();
    if current.is_some() && current == value.as_str() {
        return Ok(());
    }
    let file = kind::text_for(value, "lower")?;
    let is_none = file.to_lowercase() == "none";
    if current.is_none() && is_none {
        return Ok(());
    }
    if !session.plan.jails.is_empty() {
        let text = "Cannot change database when there are jails present";
        return Err(Exception::builtin("RuntimeError", text));
    }
    let server = &mut session.plan.server;
    server.dbfile = (!is_none).then(|| file.to_owned());
    // Another database begins with its own defaults.
    (server.dbmaxmatches, server.dbpurgeage) = (10, Seconds::new(86_400));
    server.given.remove("dbmaxmatches");
    server.given.remove("dbpurgeage");
    Ok(())
}
