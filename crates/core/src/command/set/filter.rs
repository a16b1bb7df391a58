//! Options of a jail's filter and of its bans.

use crate::allow::list_path;
use crate::command::kind::{self, Words};
use crate::command::{Session, get, reads_journal};
use crate::config::plan::JailPlan;
use crate::config::{extract, is_journal_match};
use crate::exception::{Class, Exception};
use crate::pattern::Pattern;
use crate::stamp::{self, Detector};
use crate::value::Value;

/// Sets an option, and says which one shows what came of it.
pub(super) fn set<'o>(session: &mut Session<'_>, words: Words<'_>, option: &'o str) -> Result<&'o str, Exception> {
    let name = words.at(0)?;
    match option {
        "idle" => {
            let word = words.at(2)?.as_str();
            let idle = match word {
                Some("on") => true,
                Some("off") => false,
                _ => return Err("Invalid idle option, must be 'on' or 'off'".into()),
            };
            let at = session.jail(name)?;
            session.change(at).idle = idle;
        }
        "ignoreself" => plain(session, words, |value| Ok(kind::truth(value).into()))?,
        "ignorecommand" => plain(session, words, |value| match value {
            Value::None | Value::Str(_) => Ok(value.clone()),
            _ => Err("ignorecommand takes a text".into()),
        })?,
        "findtime" => plain(session, words, kind::number)?,
        "bantime" => plain(session, words, |value| kind::int(&kind::number(value)?).map(Value::Int))?,
        "usedns" => plain(session, words, |value| match value {
            Value::Bool(_) => Ok(value.clone()),
            other => kind::text_for(other, "lower").map(Value::from),
        })?,
        "datepattern" => plain(session, words, datepattern)?,
        "logtimezone" => plain(session, words, zone)?,
        "maxretry" | "maxmatches" | "maxlines" => whole(session, words, option)?,
        "logencoding" => encoding(session, words)?,
        "ignorecache" => cache(session, words)?,
        "addignoreip" => add_ignoreip(session, words)?,
        "delignoreip" => remove_ignoreip(session, words)?,
        "addlogpath" => add_log(session, words)?,
        "dellogpath" => {
            let path = words.at(2)?;
            let at = session.jail(name)?;
            kind::hashable(path)?;
            let path = path.as_str();
            session.change(at).logpath.retain(|log| Some(log.path.as_str()) != path);
        }
        "addjournalmatch" | "deljournalmatch" => journal(session, words, option == "addjournalmatch")?,
        "prefregex" => prefregex(session, words)?,
        "addfailregex" | "addignoreregex" => {
            let value = words.at(2)?;
            let at = session.jail(name)?;
            add_regex(session, at, option, value)?;
        }
        "delfailregex" | "delignoreregex" => remove_regex(session, words, option)?,
        _ => {
            let shown = Value::from(option).repr();
            return Err(format!("Invalid command {shown} (no set action or not yet implemented)").into());
        }
    }
    Ok(match option {
        "addlogpath" | "dellogpath" => "logpath",
        other => other
            .strip_prefix("add")
            .or_else(|| other.strip_prefix("del"))
            .unwrap_or(other),
    })
}

/// `multi-set JAIL addfailregex LIST`
pub(super) fn add_regexes(session: &mut Session<'_>, words: Words<'_>, option: &str) -> Result<(), Exception> {
    let list = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    for regex in kind::items(list)? {
        add_regex(session, at, option, &regex)?;
    }
    Ok(())
}

fn plain(
    session: &mut Session<'_>,
    words: Words<'_>,
    read: impl Fn(&Value) -> Result<Value, Exception>,
) -> Result<(), Exception> {
    let value = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    session.apply(at, &[words.at(1)?.clone(), read(value)?])
}

/// A number, which is read before the jail is looked for.
fn whole(session: &mut Session<'_>, words: Words<'_>, option: &str) -> Result<(), Exception> {
    let number = kind::int(words.at(2)?)?;
    let at = session.jail(words.at(0)?)?;
    if option == "maxlines" && number <= 0 {
        return Err(Exception::value("maxlines must be integer greater than zero"));
    }
    session.apply(at, &[option.into(), number.into()])
}

/// One pattern a line; a list of patterns is as good.
fn datepattern(value: &Value) -> Result<Value, Exception> {
    let lines = match value {
        Value::List(items) | Value::Tuple(items) => {
            let texts: Result<Vec<_>, _> = items.iter().map(kind::text).collect();
            texts?.join("\n")
        }
        Value::None => return Err("datepattern None is not supported".into()),
        other => kind::text(other)?.to_owned(),
    };
    match Detector::new(Some(&lines), None, jiff::tz::TimeZone::UTC) {
        Ok(_) => Ok(lines.into()),
        Err(error) => Err(Exception::value(error.to_string())),
    }
}

fn zone(value: &Value) -> Result<Value, Exception> {
    if matches!(value, Value::None) {
        return Ok(Value::None);
    }
    let text = kind::text(value)?;
    match Detector::new(None, Some(text), jiff::tz::TimeZone::UTC) {
        Err(stamp::Error::Zone(_)) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            Err(Exception::key(text))
        }
        Err(error) => Err(Exception::value(error.to_string())),
        Ok(_) => Ok(text.into()),
    }
}

fn encoding(session: &mut Session<'_>, words: Words<'_>) -> Result<(), Exception> {
    let value = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    let name = kind::text_for(value, "lower")?;
    if name.contains('\0') {
        return Err(Exception::value("embedded null character"));
    }
    if !name.eq_ignore_ascii_case("auto") && !session.world.knows_encoding(name) {
        return Err(Exception::builtin("LookupError", format!("unknown encoding: {name}")));
    }
    session.apply(at, &["logencoding".into(), name.into()])
}

fn cache(session: &mut Session<'_>, words: Words<'_>) -> Result<(), Exception> {
    let value = words.at(2)?;
    let error = || {
        let text = format!("can only concatenate str (not \"{}\") to str", value.class());
        Exception::builtin("TypeError", text)
    };
    let text = value.as_str().ok_or_else(error)?;
    extract(&format!("cache[{text}]")).map_err(Exception::value)?;
    let at = session.jail(words.at(0)?)?;
    get::cache(text)?;
    session.apply(at, &["ignorecache".into(), text.into()])
}

/// Those before a bad one are taken.
fn add_ignoreip(session: &mut Session<'_>, words: Words<'_>) -> Result<(), Exception> {
    for entry in words.from(2) {
        let at = session.jail(words.at(0)?)?;
        let text = kind::text(entry)?;
        if text.is_empty() {
            continue;
        }
        if !text.starts_with("file:") {
            kind::id(entry)?;
        }
        session.apply(at, &["addignoreip".into(), text.into()])?;
    }
    if session.is_quiet {
        return Ok(());
    }
    session.jail(words.at(0)?).map(|_| ())
}

fn remove_ignoreip(session: &mut Session<'_>, words: Words<'_>) -> Result<(), Exception> {
    let entry = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    if matches!(entry, Value::None) {
        session.change(at).ignoreip.clear();
        return Ok(());
    }
    let text = kind::text(entry)?;
    let same_file = |known: &&String| list_path(known).is_some() && list_path(known) == list_path(text);
    let known = session.plan.jails[at].ignoreip.iter().find(same_file).cloned();
    let entry = known.map_or_else(|| entry.clone(), Value::from);
    let absent = || Exception::value("list.remove(x): x not in list");
    session.apply(at, &["delignoreip".into(), entry]).map_err(|_| absent())
}

fn add_log(session: &mut Session<'_>, words: Words<'_>) -> Result<(), Exception> {
    let path = words.at(2)?;
    let tail = match words.0.get(3) {
        None => "head",
        Some(_) if words.0.len() > 4 => return Err(Exception::value("Only one file can be added at a time")),
        Some(word) => match kind::text_for(word, "lower")?.to_lowercase().as_str() {
            "tail" => "tail",
            "head" => "head",
            _ => return Err(Exception::value("File option must be 'head' or 'tail'")),
        },
    };
    let at = session.jail(words.at(0)?)?;
    let jail = &session.plan.jails[at];
    if reads_journal(jail) {
        return Ok(());
    }
    kind::hashable(path)?;
    let error = || {
        let text = format!("expected str, bytes or os.PathLike object, not {}", path.class());
        Exception::builtin("TypeError", text)
    };
    let text = path.as_str().ok_or_else(error)?;
    if jail.logpath.iter().any(|log| log.path == text) {
        session.amended.errors.push(format!("{text} already exists"));
        return Ok(());
    }
    if text.contains('\0') {
        return Err(Exception::value("embedded null byte"));
    }
    if !session.read_before(&session.plan.jails[at].name, text) {
        let read = session.world.can_read(text);
        read.map_err(|error| Exception::file(error, text))?;
    }
    session.apply(at, &["addlogpath".into(), text.into(), tail.into()])
}

/// Matches are the journal's; other sources take no notice.
fn journal(session: &mut Session<'_>, words: Words<'_>, is_new: bool) -> Result<(), Exception> {
    let at = session.jail(words.at(0)?)?;
    let jail = &session.plan.jails[at];
    if !reads_journal(jail) {
        return Ok(());
    }
    let mut groups = get::journal_matches(jail);
    let terms: Vec<String> = words.from(2).iter().map(ToString::to_string).collect();
    if is_new {
        if terms.iter().any(|term| term != "+" && !is_journal_match(term)) {
            return Err(Exception::value("Invalid match"));
        }
        groups.extend(terms.split(|term| term == "+").map(<[String]>::to_vec));
    } else {
        let shown = || Value::List(words.from(2).to_vec()).repr();
        let found = groups.iter().position(|group| *group == terms);
        let found = found.ok_or_else(|| Exception::value(format!("Match {} not found", shown())))?;
        groups.remove(found);
    }
    session.change(at).journalmatch = groups;
    Ok(())
}

fn refused(error: &crate::pattern::Error) -> Exception {
    Exception::new(Class::Regex, error.to_string())
}

fn prefregex(session: &mut Session<'_>, words: Words<'_>) -> Result<(), Exception> {
    let value = words.at(2)?;
    let at = session.jail(words.at(0)?)?;
    if !value.is_true() {
        session.change(at).prefregex = None;
        return Ok(());
    }
    let text = kind::text(value)?;
    Pattern::new(text, get::flags(&session.plan.jails[at], false)).map_err(|error| refused(&error))?;
    session.apply(at, &["prefregex".into(), text.into()])
}

fn add_regex(session: &mut Session<'_>, at: usize, option: &str, value: &Value) -> Result<(), Exception> {
    let text = kind::text(value)?;
    let jail = &session.plan.jails[at];
    let is_failregex = option == "addfailregex";
    let pattern = Pattern::new(text, get::flags(jail, is_failregex)).map_err(|error| refused(&error))?;
    if is_failregex && !pattern.has_failure_id() && !prefix_has_id(jail) {
        return Err(refused(&crate::pattern::Error::NoFailureId(
            pattern.expanded().to_owned(),
        )));
    }
    session.apply(at, &[option.into(), text.into()])
}

fn prefix_has_id(jail: &JailPlan) -> bool {
    let prefix = jail.prefregex.as_deref();
    let prefix = prefix.and_then(|regex| Pattern::new(regex, get::flags(jail, false)).ok());
    prefix.is_some_and(|prefix| prefix.has_failure_id())
}

/// By its number, from the end if that is negative; one that is not there is an error in the log only.
fn remove_regex(session: &mut Session<'_>, words: Words<'_>, option: &str) -> Result<(), Exception> {
    let number = kind::int(words.at(2)?)?;
    let at = session.jail(words.at(0)?)?;
    let jail = session.change(at);
    let list = match option {
        "delfailregex" => &mut jail.failregex,
        _ => &mut jail.ignoreregex,
    };
    let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let place = if number < 0 {
        number.saturating_add(length)
    } else {
        number
    };
    match usize::try_from(place).ok().filter(|place| *place < list.len()) {
        Some(place) => {
            list.remove(place);
        }
        None => {
            let text = format!("Cannot remove regular expression. Index {number} is not valid");
            session.amended.errors.push(text);
        }
    }
    Ok(())
}
