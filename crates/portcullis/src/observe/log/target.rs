//! `logtarget`: where the log goes, and how its lines look (contract §2.1, §8.7).

use std::fmt;
use std::path::PathBuf;

use portcullis_core::config::parse_bool;

use super::Error;
use super::shape::Shape;

/// The journal's socket for messages (systemd's *Native Journal Protocol*).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where to log, and in which shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) place: Place,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Stdout,
    Stderr,
    /// The socket, and the facility's number.
    Syslog(PathBuf, u8),
    /// The socket.
    Journal(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(f),
            Place::Stdout => f.write_str("standard output"),
            Place::Stderr => f.write_str("standard error"),
            Place::Syslog(..) => f.write_str("the system log"),
            Place::Journal(_) => f.write_str("the journal"),
        }
    }
}

impl Target {
    /// Standard error, in Fail2Ban's own shape.
    pub(super) fn stderr() -> Target {
        Target {
            place: Place::Stderr,
            shape: Shape::of(true, true),
        }
    }

    /// Reads a `logtarget`, already split into its name and the options in brackets; `syslogsocket` is `auto` or
    /// a path. Options that Fail2Ban does not know are ignored, as it does. `INHERITED` is standard output, which
    /// whoever started the program has directed.
    ///
    /// # Errors
    /// [`Error::Format`].
    pub(crate) fn read(name: &str, options: &[(String, String)], syslogsocket: &str) -> Result<Target, Error> {
        let option = |name: &str| {
            let given = options.iter().rev().find(|(n, _)| n == name);
            given.map(|(_, value)| value.as_str())
        };
        let (place, time, padding) = match name.to_uppercase().as_str() {
            "STDOUT" | "INHERITED" => (Place::Stdout, true, true),
            "SYSOUT" => (Place::Stdout, false, true),
            "STDERR" => (Place::Stderr, true, true),
            "SYSLOG" => {
                let socket = if syslogsocket == "auto" {
                    "/dev/log"
                } else {
                    syslogsocket
                };
                let facility = option("facility").and_then(facility).unwrap_or(DAEMON);
                (Place::Syslog(socket.into(), facility), false, false)
            }
            "SYSTEMD-JOURNAL" => (Place::Journal(JOURNAL.into()), false, false),
            _ => (Place::File(name.into()), true, true),
        };
        let shape = match option("format").filter(|format| !format.is_empty()) {
            Some(format) => Shape::read(format)?,
            None => Shape::of(
                option("datetime").map_or(time, parse_bool),
                option("padding").map_or(padding, parse_bool),
            ),
        };
        Ok(Target { place, shape })
    }
}

/// The facility that a log has without another, and with one that there is not.
const DAEMON: u8 = 3;

/// The number of a facility (RFC 5424, table 1), by its short name.
pub(super) fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP",
    ];
    let upper = name.to_uppercase();
    if let Some(number) = (0..).zip(NAMES).find(|(_, known)| *known == upper) {
        return Some(number.0);
    }
    let local = upper.strip_prefix("LOCAL").and_then(|number| number.parse::<u8>().ok());
    local.filter(|number| *number <= 7).map(|number| 16 + number)
}

/// What is said of a facility that there is not, as Fail2Ban says it.
pub(crate) fn unknown_facility(options: &[(String, String)]) -> Option<String> {
    let (_, name) = options.iter().rev().find(|(name, _)| name == "facility")?;
    let complaint = format!("Unable to set facility '{name}', using 'DAEMON'");
    facility(name).is_none().then_some(complaint)
}
