//! What the engine's events read like in the log: Fail2Ban's lines, word for word where it has them (contract §13.10).

use std::net::IpAddr;

use jiff::tz::TimeZone;
use portcullis_core::address::{Id, text};
use portcullis_core::engine::Event;
use portcullis_core::ledger::{Drift, LayerId};
use portcullis_core::note;
use portcullis_core::time::Clock;
use portcullis_core::value::repr_str;

use super::answers::seconds;
use super::setup::MANUAL;
use crate::client::probe;
use crate::observe::log::{Level, note as say};

const FILTER: &str = "fail2ban.filter";
const ACTIONS: &str = "fail2ban.actions";
const JAIL: &str = "fail2ban.jail";
const OBSERVER: &str = "fail2ban.observer";
const DNS: &str = "fail2ban.ipdns";

/// Writes an event into the log. Steady times are shown as the wall clock they stand for now.
pub(super) fn note(event: &Event, clock: Clock, zone: &TimeZone, dry_run: bool) {
    if dry_run && let Some((jail, text)) = in_a_dry_run(event) {
        return say(Level::Notice, ACTIONS, &format!("[{jail}] {text} (dry run)"));
    }
    if let Some(text) = of_a_probe(event) {
        return say(Level::Info, ACTIONS, &format!("[{MANUAL}] {text}"));
    }
    if let Some(note) = note::note(event, clock, zone) {
        return say(level(note.level), note.logger, &note.text);
    }
    match event {
        Event::Ignored { jail, id, rule } => {
            say(Level::Info, FILTER, &format!("[{jail}] Ignore {id} by {rule}"));
        }
        Event::Started { jail } => say(Level::Info, JAIL, &format!("Jail '{jail}' started")),
        Event::Stopped { jail } => say(Level::Info, JAIL, &format!("Jail '{jail}' stopped")),
        Event::Emptied { .. } => say(Level::Debug, ACTIONS, "  Flush ban list"),
        Event::Absent { whom } => say(Level::Msg, ACTIONS, &format!("{whom} is not banned")),
        other => note_own(other),
    }
}

/// A ban that is only decided must not read like one: jail `recidive` counts `Ban`, and so do people (D-168).
fn in_a_dry_run(event: &Event) -> Option<(&str, String)> {
    match event {
        Event::Banned { jail, id, restored } => {
            let again = if *restored { " again" } else { "" };
            Some((jail, format!("would ban {id}{again}")))
        }
        Event::Unbanned { jail, id, .. } => Some((jail, format!("would unban {id}"))),
        Event::Increased { jail, id, count, .. } => Some((jail, format!("would ban {id} longer ({count})"))),
        _ => None,
    }
}

/// A probe is nobody's offence: jail `recidive` must not count it (D-185). Nobody else is banned by hand out of a network
/// that no attacker can come from.
fn of_a_probe(event: &Event) -> Option<String> {
    let (jail, id, text) = match event {
        Event::Banned { jail, id, .. } => (jail, id, "is banned"),
        Event::Unbanned { jail, id, .. } => (jail, id, "is free again"),
        _ => return None,
    };
    let is_probe = **jail == *MANUAL && matches!(id, Id::Ip(IpAddr::V4(ip)) if probe::is_ours(*ip));
    is_probe.then(|| format!("Probe: {id} {text}"))
}

/// Events that Fail2Ban does not know, or says otherwise.
fn note_own(event: &Event) {
    match event {
        Event::Held { jail, id, reason } => {
            let text = format!("[{jail}] {id} is not banned, because the jail must not ban: {reason}");
            say(Level::Error, ACTIONS, &text);
        }
        Event::Resolved { name, addresses } => {
            let list: Vec<String> = addresses.iter().map(|ip| format!("'{}'", text(*ip))).collect();
            let text = format!("Determined IP using DNS Lookup: {name} = {{{}}}", list.join(", "));
            say(Level::Warning, DNS, &text);
        }
        Event::ListFailed { path, reason } => {
            let text = format!("Retrieving IPs set from {} failed: {reason}", repr_str(path));
            say(Level::Warning, DNS, &text);
        }
        Event::LayerFailed { layer, id, error } => {
            let whom = id.as_ref().map_or(String::new(), |id| format!(" for {id}"));
            let text = format!("[{}] action '{}' failed{whom}: {error}", layer.jail, layer.action);
            say(Level::Error, ACTIONS, &text);
        }
        Event::Drifted { layer, drift } => note_drift(layer, drift),
        Event::GrowthFailed { jail, id, error } => {
            let text = format!("[{jail}] bantime.formula has no result for {id}, who is banned for bantime: {error}");
            say(Level::Error, OBSERVER, &text);
        }
        Event::TooManyQuestions { jail } => {
            let text = format!("[{jail}] too many failures wait for look-ups or commands; one was not counted");
            say(Level::Error, FILTER, &text);
        }
        _ => {}
    }
}

fn note_drift(layer: &LayerId, drift: &Drift) {
    let by = drift.by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    let (jail, action) = (&layer.jail, &layer.action);
    let text = format!("[{jail}] action '{action}' was changed{by}: {}", account(drift));
    say(Level::Warning, ACTIONS, &text);
}

/// What differed, and what came of it.
pub(super) fn account(drift: &Drift) -> String {
    let Drift { what, missing, .. } = drift;
    let bans = match missing {
        1 => "1 ban".to_owned(),
        missing => format!("{missing} bans"),
    };
    match (drift.until, missing) {
        (Some(_), 0) => format!("{what}; mended, every ban was in force"),
        (Some(until), _) => {
            let (length, verb) = (seconds(until - drift.since), if *missing == 1 { "was" } else { "were" });
            format!("{what}; mended, {bans} {verb} not in force for at most {length:.3} s")
        }
        (None, 0) => format!("{what}; not mended, every ban is in force"),
        (None, _) => {
            let verb = if *missing == 1 { "is" } else { "are" };
            format!("{what}; not mended, {bans} {verb} not in force")
        }
    }
}

fn level(level: note::Level) -> Level {
    match level {
        note::Level::Debug => Level::Debug,
        note::Level::Info => Level::Info,
        note::Level::Notice => Level::Notice,
        note::Level::Warning => Level::Warning,
        note::Level::Error => Level::Error,
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::time::{Seconds, Timestamp};

    use super::*;

    #[test]
    fn what_a_drift_reads_like() {
        let since = Timestamp::from_seconds(1000);
        let account = |missing, micros: Option<i64>| {
            account(&Drift {
                since,
                until: micros.map(|micros| since + Seconds::from_micros(micros)),
                missing,
                extra: 0,
                moved: 0,
                what: "the table was gone".into(),
                by: Some("nft (pid 4711)".into()),
            })
        };
        assert_eq!(
            account(12, Some(11_001)),
            "the table was gone; mended, 12 bans were not in force for at most 0.012 s"
        );
        assert_eq!(
            account(1, Some(0)),
            "the table was gone; mended, 1 ban was not in force for at most 0.000 s"
        );
        assert_eq!(
            account(0, Some(5)),
            "the table was gone; mended, every ban was in force"
        );
        assert_eq!(
            account(2, None),
            "the table was gone; not mended, 2 bans are not in force"
        );
    }
}
