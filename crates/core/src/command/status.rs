//! `status …`: how things stand, in the shapes that Fail2Ban's client prints as trees and tables (contract §8.5).

use super::kind::Words;
use super::{Session, get, hand, reads_journal};
use crate::config::plan::JailPlan;
use crate::engine::{JailView, Query};
use crate::exception::Exception;
use crate::value::Value;

const FLAVORS: [&str; 4] = ["short", "basic", "stats", "cymru"];

/// `status`, `status JAIL [FLAVOR]`, `status --all [FLAVOR]`
pub(super) fn status(session: &mut Session<'_>, words: Words<'_>) -> Result<Value, Exception> {
    let Some(name) = words.0.first() else {
        return Ok(Value::List(overview(session)));
    };
    if words.0.len() > 2 {
        return Err("Invalid command (no status)".into());
    }
    let basic = Value::from("basic");
    let flavor = words.0.get(1).unwrap_or(&basic);
    let all = name.as_str() == Some("--all");
    let at = if all { None } else { Some(session.jail(name)?) };
    let flavor = flavor
        .as_str()
        .filter(|flavor| FLAVORS.contains(flavor))
        .unwrap_or_else(|| {
            let shown = flavor.repr();
            let text = format!("Unsupported extended jail status flavor {shown}. Supported: {FLAVORS:?}");
            session.amended.errors.push(text);
            "basic"
        });
    match at {
        Some(at) => of(session, &session.plan.jails[at], flavor),
        None if flavor == "stats" => Ok(statistics(session)),
        None => {
            let mut shown = overview(session);
            let mut jails = Vec::new();
            for jail in sorted(session) {
                jails.push((Value::from(&*jail.name), of(session, jail, flavor)?));
            }
            shown.push(Value::Dict(jails));
            Ok(Value::List(shown))
        }
    }
}

/// `stats`: the backend and the counts of each jail.
pub(super) fn statistics(session: &Session<'_>) -> Value {
    let jails = sorted(session).into_iter();
    Value::Dict(
        jails
            .map(|jail| (Value::from(&*jail.name), stats(session, jail)))
            .collect(),
    )
}

fn sorted<'s>(session: &'s Session<'_>) -> Vec<&'s JailPlan> {
    let mut jails: Vec<&JailPlan> = session.plan.jails.iter().collect();
    jails.sort_by(|one, other| one.name.cmp(&other.name));
    jails
}

fn pair(name: &str, value: Value) -> Value {
    Value::Tuple(vec![name.into(), value])
}

fn overview(session: &Session<'_>) -> Vec<Value> {
    let names: Vec<&str> = sorted(session).into_iter().map(|jail| &*jail.name).collect();
    vec![
        pair("Number of jail", count(names.len())),
        pair("Jail list", names.join(", ").into()),
    ]
}

fn count(number: impl TryInto<i64>) -> Value {
    number.try_into().unwrap_or(i64::MAX).into()
}

/// How the engine sees a jail; nothing for one that is not in force yet.
fn view(session: &Session<'_>, jail: &JailPlan) -> Option<JailView> {
    let view = session.engine.query(&Query::Counts(jail.name.to_string()));
    view.jails.into_iter().next()
}

fn stats(session: &Session<'_>, jail: &JailPlan) -> Value {
    let view = view(session, jail);
    let of = |pick: fn(&JailView) -> Value| view.as_ref().map_or(Value::Int(0), pick);
    Value::List(vec![
        session.world.backend(&jail.backend).into(),
        Value::Tuple(vec![of(|view| count(view.failing)), of(|view| count(view.failures))]),
        Value::Tuple(vec![of(|view| count(view.banned)), of(|view| count(view.bans_total))]),
    ])
}

fn of(session: &Session<'_>, jail: &JailPlan, flavor: &str) -> Result<Value, Exception> {
    if flavor == "stats" {
        return Ok(stats(session, jail));
    }
    let view = view(session, jail);
    let number = |pick: fn(&JailView) -> Value| view.as_ref().map_or(Value::Int(0), pick);
    let source = if reads_journal(jail) {
        let groups = get::journal_matches(jail);
        let groups: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
        pair("Journal matches", Value::List(vec![groups.join(" + ").into()]))
    } else {
        pair("File list", get::option_of(session, jail, "logpath")?)
    };
    let filter = vec![
        pair("Currently failed", number(|view| count(view.failing))),
        pair("Total failed", number(|view| count(view.failures))),
        source,
    ];
    let mut actions = vec![
        pair("Currently banned", number(|view| count(view.banned))),
        pair("Total banned", number(|view| count(view.bans_total))),
    ];
    if flavor != "short" {
        actions.push(pair("Banned IP list", hand::ids(session, jail)));
    }
    if flavor == "cymru" {
        // Without its library for DNS, Fail2Ban answers just so.
        for what in ["ASN", "Country", "RIR"] {
            actions.push(pair(&format!("Banned {what} list"), Value::List(vec!["error".into()])));
        }
    }
    Ok(Value::List(vec![
        pair("Filter", Value::List(filter)),
        pair("Actions", Value::List(actions)),
    ]))
}
