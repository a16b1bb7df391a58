//! `--log-level`: what Fail2Ban logs of the lines while it tries them, and the lines at which it fails.
//!
//! Only what concerns a line is logged here, not how the configuration is read; levels at which Fail2Ban tells what it
//! does inside are refused (D-074).

use std::io::{self, Write};

use jiff::tz::TimeZone;
use portcullis_core::filter::{Outcome, Reading, Warning};
use portcullis_core::time::Timestamp;
use portcullis_core::value::repr_str;

use super::options::Options;
use super::screen::Screen;
use super::{BROKEN, FAILED, clock};

const ERROR: i64 = 40;
const WARNING: i64 = 30;
/// The level next below the last that is supported.
const INFO: i64 = 20;
/// Odd lines are warned of once in so many seconds.
const DAY: i64 = 86_400;

/// The log of a run.
pub(crate) struct Log {
    level: i64,
    zone: TimeZone,
    next_warning: Timestamp,
    broken: bool,
}

/// A level that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is none.
    Unknown(String),
    /// We cannot do it.
    Unsupported(String),
}

/// Why a run did not come to its end.
pub(crate) struct Halt {
    /// As it is printed
    pub(crate) text: String,
    /// The exit code
    pub(crate) code: u8,
}

impl Halt {
    /// Something that Fail2Ban says is wrong.
    pub(crate) fn new(text: String) -> Halt {
        Halt { text, code: FAILED }
    }

    /// A line at which Fail2Ban fails itself.
    pub(crate) fn broken() -> Halt {
        Halt {
            text: "ERROR: Fail2Ban fails at a line, and ends".to_owned(),
            code: BROKEN,
        }
    }

    /// Says so, where Fail2Ban does; returns the exit code.
    pub(crate) fn tell<W: Write>(&self, screen: &mut Screen<W>) -> io::Result<u8> {
        if self.code == BROKEN {
            writeln!(io::stderr(), "{}", self.text)?;
        } else {
            screen.line(&self.text)?;
        }
        Ok(self.code)
    }
}

impl From<Wrong> for Halt {
    fn from(wrong: Wrong) -> Halt {
        match wrong {
            Wrong::Unknown(level) => Halt {
                text: format!("ERROR: Invalid log level {}", repr_str(&level)),
                code: BROKEN,
            },
            Wrong::Unsupported(what) => Halt::new(format!("ERROR: {what}")),
        }
    }
}

impl Log {
    /// Nothing logged yet.
    pub(crate) fn new(options: &Options, zone: &TimeZone) -> Result<Self, Wrong> {
        let name = options.log_level.as_str();
        let level = level(name).ok_or_else(|| Wrong::Unknown(name.to_owned()))?;
        if level <= INFO {
            let what = format!("--log-level {name} is not supported yet (only notice, warning, error and critical)");
            return Err(Wrong::Unsupported(what));
        }
        if level <= ERROR && (options.verbosity() > 1 || options.log_traceback) {
            let what = format!("--log-level {name} together with -vv or -t is not supported yet");
            return Err(Wrong::Unsupported(what));
        }
        Ok(Log {
            level,
            zone: zone.clone(),
            next_warning: Timestamp::default(),
            broken: false,
        })
    }

    /// Whether Fail2Ban would have failed at a line.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The exit code of a run that came to its end.
    pub(crate) fn ended(&self) -> io::Result<u8> {
        Ok(if self.broken { BROKEN } else { 0 })
    }

    /// Logs what there is to say of a line.
    pub(crate) fn note<W: Write>(&mut self, line: &str, reading: &Reading, screen: &mut Screen<W>) -> io::Result<()> {
        for warning in &reading.warnings {
            match warning {
                Warning::BadDate { text } => {
                    self.say(ERROR, &format!("findFailure failed to parse timeText: {text}"), screen)?;
                }
                Warning::NoDate { text, line } => self.warn(text, line, screen)?,
                Warning::Crowded | Warning::Refused { .. } => {}
            }
        }
        if reading.outcome == Outcome::Refused {
            self.broken = true;
            writeln!(
                io::stderr(),
                "ERROR: Fail2Ban fails at this line, and ends: {}",
                repr_str(line)
            )?;
        }
        Ok(())
    }

    fn warn<W: Write>(&mut self, text: &str, line: &str, screen: &mut Screen<W>) -> io::Result<()> {
        let now = clock().wall;
        if now < self.next_warning {
            return Ok(());
        }
        self.next_warning = Timestamp::from_seconds(now.seconds() + DAY);
        for message in [
            format!("Found a match but no valid date/time found for {}.", repr_str(text)),
            format!("Match without a timestamp: {line}"),
            "Please try setting a custom date pattern (see man page jail.conf(5)).".to_owned(),
        ] {
            self.say(WARNING, &format!("[~jailless~] {message}"), screen)?;
        }
        Ok(())
    }

    fn say<W: Write>(&self, level: i64, message: &str, screen: &mut Screen<W>) -> io::Result<()> {
        if level < self.level {
            return Ok(());
        }
        let now = jiff::Timestamp::from_microsecond(clock().wall.micros()).unwrap_or_default();
        let now = now.to_zoned(self.zone.clone());
        let name = if level == ERROR { "ERROR" } else { "WARNING" };
        screen.line(&format!(
            "{},{:03} fail2ban.filter         [{}]: {name:<7}{:.1}: {message}",
            now.strftime("%Y-%m-%d %H:%M:%S"),
            now.millisecond(),
            std::process::id(),
            name
        ))
    }
}

/// The number of a level, which may be given by its name.
fn level(name: &str) -> Option<i64> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(name.parse().unwrap_or(i64::MAX));
    }
    Some(match name.to_uppercase().as_str() {
        "CRITICAL" | "FATAL" => 50,
        "ERROR" => ERROR,
        "WARNING" | "WARN" => WARNING,
        "NOTICE" => 25,
        "INFO" => INFO,
        "DEBUG" => 10,
        "TRACEDEBUG" => 7,
        "HEAVYDEBUG" => 5,
        "NOTSET" => 0,
        _ => return None,
    })
}
