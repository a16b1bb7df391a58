//! What the engine's events read like in the log: Fail2Ban's lines, word for word where it has them (contract §13.10).

use jiff::tz::TimeZone;
use portcullis_core::address::text;
use portcullis_core::engine::Event;
use portcullis_core::time::{Clock, Seconds, Timestamp};
use portcullis_core::value::repr_str;

use crate::observe::log::{Level, note as say};

const FILTER: &str = "fail2ban.filter";
const ACTIONS: &str = "fail2ban.actions";
const JAIL: &str = "fail2ban.jail";
const DNS: &str = "fail2ban.ipdns";

/// Writes an event into the log. Steady times are shown as the wall clock they stand for now.
pub(super) fn note(event: &Event, clock: Clock, zone: &TimeZone) {
    match event {
        Event::Found { jail, id, time } => {
            say(
                Level::Info,
                FILTER,
                &format!("[{jail}] Found {id} - {}", local(clock.to_wall(*time), zone)),
            );
        }
        Event::Ignored { jail, id, rule } => {
            say(Level::Info, FILTER, &format!("[{jail}] Ignore {id} by {rule}"));
        }
        Event::Banned { jail, id, restored } => {
            let word = if *restored { "Restore Ban" } else { "Ban" };
            say(Level::Notice, ACTIONS, &format!("[{jail}] {word} {id}"));
        }
        Event::Expired { jail, id } => {
            say(Level::Info, ACTIONS, &format!("[{jail}] Ignore {id}, expired bantime"));
        }
        Event::Already { jail, id, lateness } => {
            say(loudness(*lateness), ACTIONS, &format!("[{jail}] {id} already banned"));
        }
        Event::Unbanned { jail, id, repealed } => {
            let word = if *repealed { "Repeal Ban" } else { "Unban" };
            say(Level::Notice, ACTIONS, &format!("[{jail}] {word} {id}"));
        }
        Event::Started { jail } => say(Level::Info, JAIL, &format!("Jail '{jail}' started")),
        Event::Stopped { jail } => say(Level::Info, JAIL, &format!("Jail '{jail}' stopped")),
        other => note_own(other),
    }
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
        Event::TooManyQuestions { jail } => {
            let text = format!("[{jail}] too many failures wait for look-ups or commands; one was not counted");
            say(Level::Error, FILTER, &text);
        }
        _ => {}
    }
}

/// How loud "already banned" is: the later, the stranger (contract §4.3).
fn loudness(lateness: Seconds) -> Level {
    match lateness {
        late if late < Seconds::new(3) => Level::Debug,
        late if late < Seconds::new(60) => Level::Notice,
        _ => Level::Warning,
    }
}

/// A wall time as Fail2Ban prints it. Ten milliseconds of grace: a second that went over to the steady clock and back
/// may return a moment before itself, if the wall clock was adjusted in between.
fn local(wall: Timestamp, zone: &TimeZone) -> String {
    let time = jiff::Timestamp::from_second((wall + Seconds::from_micros(10_000)).seconds())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
