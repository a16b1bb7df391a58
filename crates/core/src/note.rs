//! What Fail2Ban's log says of a decision, word for word (contract §4.4, §13.10).
//!
//! In come the engine's events and the clocks; out comes a line without its stamp. Events that Fail2Ban does not know,
//! or says otherwise, have none here.

use jiff::tz::TimeZone;

use crate::engine::Event;
use crate::time::{Clock, Seconds, Timestamp, print_number};

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `DEBUG`
    Debug,
    /// `INFO`
    Info,
    /// `NOTICE`
    Notice,
    /// `WARNING`
    Warning,
    /// `ERROR`
    Error,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How loud
    pub level: Level,
    /// Which part of Fail2Ban says so
    pub logger: &'static str,
    /// The text
    pub text: String,
}

const FILTER: &str = "fail2ban.filter";
const ACTIONS: &str = "fail2ban.actions";
const OBSERVER: &str = "fail2ban.observer";

/// The line of an event. Steady times are shown as the wall clock that they stand for now.
#[must_use]
pub fn note(event: &Event, clock: Clock, zone: &TimeZone) -> Option<Note> {
    let local = |time: Timestamp| local(clock.to_wall(time), zone);
    let (level, logger, text) = match event {
        Event::Attempted { jail, id, time } => {
            (Level::Info, FILTER, format!("[{jail}] Attempt {id} - {}", local(*time)))
        }
        Event::Found { jail, id, time } => (Level::Info, FILTER, format!("[{jail}] Found {id} - {}", local(*time))),
        Event::Banned { jail, id, restored } => {
            let word = if *restored { "Restore Ban" } else { "Ban" };
            (Level::Notice, ACTIONS, format!("[{jail}] {word} {id}"))
        }
        Event::Expired { jail, id } => (Level::Info, ACTIONS, format!("[{jail}] Ignore {id}, expired bantime")),
        Event::Already { jail, id, lateness } => {
            (loudness(*lateness), ACTIONS, format!("[{jail}] {id} already banned"))
        }
        Event::Unbanned { jail, id, repealed } => {
            let word = if *repealed { "Repeal Ban" } else { "Unban" };
            (Level::Notice, ACTIONS, format!("[{jail}] {word} {id}"))
        }
        Event::Bad { jail, id, time, .. } => {
            let text = format!("[{jail}] Found {id}, bad - {}, {}", local(*time), weighed(event));
            (Level::Info, OBSERVER, text)
        }
        Event::Known {
            jail,
            id,
            past,
            from,
            to,
        } => {
            let (count, last) = (past.count, local(past.time));
            let (from, to) = (print_number(*from), print_number(*to));
            let text = format!("[{jail}] IP {id} is bad: {count} # last {last} - incr {from} to {to}");
            (Level::Info, OBSERVER, text)
        }
        Event::Increased {
            jail,
            id,
            count,
            length,
            until,
        } => {
            let (length, until) = match until {
                Some(until) => (print_number(*length), shown(clock.to_wall(*until), zone)),
                None => ("permanent".to_owned(), "infinite".to_owned()),
            };
            let text = format!("[{jail}] Increase Ban {id} ({count} # {length} -> {until})");
            (Level::Notice, OBSERVER, text)
        }
        _ => return None,
    };
    Some(Note { level, logger, text })
}

/// Fail2Ban computes the weight as a float and prints it so, unless it is cut to `maxretry`.
fn weighed(event: &Event) -> String {
    let Event::Bad {
        count,
        weight,
        maxretry,
        ..
    } = event
    else {
        return String::new();
    };
    let is_cut = crate::judge::full_weight(*count) > *maxretry;
    let point = if is_cut { "" } else { ".0" };
    let ban = if weight >= maxretry { ", Ban" } else { "" };
    format!("{count} # -> {weight}{point}{ban}")
}

/// How loud "already banned" is: the later, the stranger (contract §4.3).
fn loudness(lateness: Seconds) -> Level {
    match lateness {
        late if late < Seconds::new(3) => Level::Debug,
        late if late < Seconds::new(60) => Level::Notice,
        _ => Level::Warning,
    }
}

/// A wall time that was read from a log. Ten milliseconds of grace: a second that went over to the steady clock and back
/// may return a moment before itself, if the wall clock was adjusted in between.
fn local(wall: Timestamp, zone: &TimeZone) -> String {
    shown(wall + Seconds::from_micros(10_000), zone)
}

/// A wall time as Fail2Ban prints it; what is beyond the year 9999 is its end.
#[must_use]
pub fn shown(wall: Timestamp, zone: &TimeZone) -> String {
    const LAST: i64 = 253_402_214_400;
    if wall.seconds() >= LAST {
        return "9999-12-31 23:59:59".to_owned();
    }
    let time = jiff::Timestamp::from_second(wall.seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let mut shown = zone.to_datetime(time).to_string();
    shown.replace_range(10..11, " ");
    shown
}
