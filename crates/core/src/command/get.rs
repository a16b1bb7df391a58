//! `get …`: the value of one option (contract §8.5).

use super::kind::{self, Words};
use super::{Session, action, hand, reads_journal, server};
use crate::address::Id;
use crate::config::extract;
use crate::config::plan::{JailPlan, UseDns};
use crate::exception::Exception;
use crate::pattern::{Flags, Pattern};
use crate::stamp::{Detector, PatternName};
use crate::value::Value;

const UNKNOWN: &str = "Invalid command (no get action or not yet implemented)";

/// The answer to `get OPTION` or `get JAIL OPTION …`.
pub(super) fn get(session: &Session<'_>, words: Words<'_>) -> Result<Value, Exception> {
    let name = words.at(0)?;
    if let Some(value) = name.as_str().and_then(|option| server::get(session, option)) {
        return Ok(value);
    }
    let option = words.at(1)?;
    let jail = || session.jail(name).map(|at| &session.plan.jails[at]);
    match kind::text_for(option, "startswith")? {
        "banned" => hand::banned(session, jail()?, words.from(2)),
        "banip" => {
            let with_time = words.0.get(2).and_then(Value::as_str) == Some("--with-time");
            Ok(hand::ban_list(session, jail()?, with_time))
        }
        "actions" => {
            let names = jail()?.actions.iter().map(|action| Value::from(&*action.name));
            Ok(Value::List(names.collect()))
        }
        "action" => {
            let (action, property) = (words.at(2)?, words.at(3)?);
            action::property(action::find(jail()?, action)?, property)
        }
        "actionproperties" => {
            let name = words.at(2)?;
            action::find(jail()?, name).map(action::properties)
        }
        "actionmethods" => {
            let name = words.at(2)?;
            action::find(jail()?, name).map(action::methods)
        }
        option if is_option(option) => option_of(session, jail()?, option),
        // Where it is not set, nothing tells us from Fail2Ban.
        option => match option.strip_prefix("prefix.") {
            Some(part) if jail().is_ok_and(|jail| jail.prefix.get(part).is_some()) => {
                option_of(session, jail()?, option)
            }
            _ => Err(UNKNOWN.into()),
        },
    }
}

fn is_option(option: &str) -> bool {
    const OPTIONS: [&str; 18] = [
        "logpath",
        "logencoding",
        "journalmatch",
        "ignoreself",
        "ignoreip",
        "ignorecommand",
        "ignorecache",
        "prefregex",
        "failregex",
        "ignoreregex",
        "usedns",
        "findtime",
        "datepattern",
        "logtimezone",
        "maxmatches",
        "maxretry",
        "maxlines",
        "bantime",
    ];
    OPTIONS.contains(&option) || option.starts_with("bantime.")
}

/// One option of a jail.
pub(super) fn option_of(session: &Session<'_>, jail: &JailPlan, option: &str) -> Result<Value, Exception> {
    let given = |kept: Value| jail.given.get(option).cloned().unwrap_or(kept);
    let text = |text: Option<&str>| text.map_or(Value::None, Value::from);
    Ok(match option {
        "idle" => jail.idle.into(),
        "logpath" if reads_journal(jail) => Value::List(Vec::new()),
        "logpath" => Value::List(jail.logpath.iter().map(|log| log.path.as_str().into()).collect()),
        "logencoding" => encoding(session, jail).into(),
        "journalmatch" if reads_journal(jail) => {
            let group = |terms: Vec<String>| Value::List(terms.into_iter().map(Value::from).collect());
            Value::List(journal_matches(jail).into_iter().map(group).collect())
        }
        "journalmatch" => Value::List(Vec::new()),
        "ignoreself" => jail.ignoreself.into(),
        "ignoreip" => ignoreip(jail),
        "ignorecommand" if jail.ignorecommand.is_empty() => given(false.into()),
        "ignorecommand" => given(jail.ignorecommand.as_str().into()),
        "ignorecache" => jail.ignorecache.as_deref().map_or(Ok(Value::None), cache)?,
        "prefregex" => jail
            .prefregex
            .as_deref()
            .map_or("".into(), |regex| expanded(jail, regex, false)),
        "failregex" => list(&jail.failregex, |regex| expanded(jail, regex, true)),
        "ignoreregex" => list(&jail.ignoreregex, |regex| expanded(jail, regex, false)),
        "usedns" => jail.usedns.word().into(),
        "findtime" => given(jail.findtime.whole().into()),
        "datepattern" => datepattern(jail)?,
        "logtimezone" => given(text(jail.logtimezone.as_deref())),
        "maxmatches" => given(i64::from(jail.maxmatches).into()),
        "maxretry" => given(i64::from(jail.maxretry).into()),
        "maxlines" => given(i64::from(jail.maxlines).into()),
        "bantime" => jail.bantime.whole().into(),
        option if option.starts_with("prefix.") => {
            let value = option.strip_prefix("prefix.").and_then(|part| jail.prefix.get(part));
            value.map_or(Value::None, |value| i64::from(value).into())
        }
        _ => given(Value::None),
    })
}

fn list(texts: &[String], show: impl Fn(&str) -> Value) -> Value {
    Value::List(texts.iter().map(|text| show(text)).collect())
}

/// How the regexes of a jail are read.
pub(super) fn flags(jail: &JailPlan, is_failregex: bool) -> Flags {
    Flags {
        multiline: is_failregex && jail.maxlines > 1,
        host_is_addr: jail.usedns == UseDns::No,
    }
}

/// A regex with its tags replaced.
fn expanded(jail: &JailPlan, regex: &str, is_failregex: bool) -> Value {
    let pattern = Pattern::new(regex, flags(jail, is_failregex));
    pattern.map_or_else(|_| regex.into(), |pattern| pattern.expanded().into())
}

fn encoding(session: &Session<'_>, jail: &JailPlan) -> String {
    if jail.logencoding.eq_ignore_ascii_case("auto") {
        return session.world.encoding();
    }
    jail.logencoding.clone()
}

/// The groups of journal matches, taken apart at `+`.
pub(super) fn journal_matches(jail: &JailPlan) -> Vec<Vec<String>> {
    let groups = jail.journalmatch.iter();
    let parts = groups.flat_map(|group| group.split(|term| term == "+"));
    parts.map(<[String]>::to_vec).collect()
}

/// Networks, names and files in their order, then single addresses, which Fail2Ban has in no order.
fn ignoreip(jail: &JailPlan) -> Value {
    let (mut single, mut listed) = (Vec::new(), Vec::new());
    for entry in &jail.ignoreip {
        if let Some(path) = crate::allow::list_path(entry) {
            listed.push(crate::allow::list_text(&path).into());
            continue;
        }
        match Id::parse(entry) {
            Ok(id @ Id::Ip(_)) => single.push(Value::from(id.to_string())),
            Ok(id) => listed.push(id.to_string().into()),
            Err(_) => listed.push(entry.as_str().into()),
        }
    }
    listed.append(&mut single);
    Value::List(listed)
}

/// `ignorecache`: the key, how many verdicts are kept, and for how many seconds.
pub(super) fn cache(text: &str) -> Result<Value, Exception> {
    let options = extract(&format!("cache[{text}]")).map_err(Exception::value)?.options;
    let find = |name: &str| {
        let option = options.iter().find(|(option, _)| option == name);
        option.map(|(_, value)| Value::from(value.as_str()))
    };
    if options.is_empty() {
        return Ok(Value::None);
    }
    let key = find("key").ok_or_else(|| Exception::key("key"))?;
    let count = find("max-count").map_or(Ok(100), |count| kind::int(&count))?;
    let time = find("max-time").map_or(Ok(Value::Int(300)), |time| kind::number(&time))?;
    Ok(Value::List(vec![key, count.into(), time]))
}

/// The pattern and the name of the first of one or two templates.
fn datepattern(jail: &JailPlan) -> Result<Value, Exception> {
    let detector = Detector::new(jail.datepattern.as_deref(), None, jiff::tz::TimeZone::UTC);
    let detector = detector.map_err(|error| Exception::value(error.to_string()))?;
    Ok(Value::Tuple(match detector.pattern_name() {
        PatternName::Default => vec![Value::None, "Default Detectors".into()],
        PatternName::Template { pattern, name } => vec![pattern.map_or(Value::None, Value::from), name.into()],
    }))
}
