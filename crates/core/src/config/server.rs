//! `fail2ban.conf`: the options of the server (contract §2.1).

use super::Command;
use super::Face;
use super::definition::{Fallback, Kind, Known, convert};
use super::document::{Datum, Document, Options};
use super::expand::{Ask, Miss, Problem};
use super::include::Shelf;
use super::text::Mark;
use crate::diagnostic::Severity;
use crate::value::{Value, python_digit, repr_str};

/// Read before all else, for the client itself; they win over [`OPTIONS`], as do those of the command line.
const EARLY: &[Known] = &[
    ("loglevel", Kind::Text, Fallback::Text("INFO")),
    ("logtarget", Kind::Text, Fallback::Text("/var/log/fail2ban.log")),
    ("syslogsocket", Kind::Text, Fallback::Text("auto")),
];

const OPTIONS: &[Known] = &[
    ("allowipv6", Kind::Text, Fallback::Text("auto")),
    (
        "dbfile",
        Kind::Text,
        Fallback::Text("/var/lib/fail2ban/fail2ban.sqlite3"),
    ),
    ("dbmaxmatches", Kind::Int, Fallback::None),
    ("dbpurgeage", Kind::Text, Fallback::Text("1d")),
];

/// In which order they go into the stream: the log first, so that trouble with the database is written down.
const ORDER: &[&str] = &[
    "syslogsocket",
    "loglevel",
    "logtarget",
    "allowipv6",
    "dbfile",
    "dbmaxmatches",
    "dbpurgeage",
];

/// Level names that Python's logging has once Fail2Ban added its own, and other words that it takes for one.
const LEVELS: &[&str] = &[
    "CRITICAL",
    "ERROR",
    "WARNING",
    "NOTICE",
    "INFO",
    "MSG",
    "DEBUG",
    "TRACEDEBUG",
    "HEAVYDEBUG",
    "FATAL",
    "WARN",
    "NOTSET",
    "BASIC_FORMAT",
];

/// Where a client finds the server.
const PLACES: [Known; 2] = [
    ("socket", Kind::Text, Fallback::Text("/var/run/fail2ban/fail2ban.sock")),
    ("pidfile", Kind::Text, Fallback::Text("/var/run/fail2ban/fail2ban.pid")),
];

/// All options that something reads.
pub(crate) fn options() -> impl Iterator<Item = Known> + Clone {
    EARLY.iter().chain(OPTIONS).chain(&PLACES).copied()
}

/// Their names.
pub(crate) fn option_names() -> impl Iterator<Item = &'static str> + Clone {
    options().map(|option| option.0)
}

/// Reads `fail2ban.conf` into the first commands of the stream.
pub(crate) fn read(shelf: &mut Shelf<'_>, overrides: &[(&str, &str)]) -> Result<Vec<Command>, Problem> {
    let document = match shelf.load("fail2ban")? {
        Some(document) => document,
        None if shelf.face() == Face::Fail2Ban => {
            let message = "the options of the server (fail2ban.conf) cannot be read";
            return Err(Problem::new("no-server-options", message, Mark::default()));
        }
        None => {
            // Without the file, the built-in options do as well.
            for told in &mut shelf.diagnostics {
                if told.code == "not-found" {
                    told.severity = Severity::Note;
                }
            }
            std::rc::Rc::new(Document::default())
        }
    };
    let mut values = Options::default();
    for option in EARLY.iter().chain(OPTIONS) {
        let given = overrides.iter().find(|(name, _)| *name == option.0);
        let value = match given {
            Some((_, value)) => Some(Datum::plain(*value)),
            None => option_value(shelf, &document, "Definition", *option)?,
        };
        if let Some(value) = value {
            values.set(option.0, value);
        }
    }
    check_level(shelf, &mut values)?;
    let mut stream = Vec::new();
    if document.section("Thread").is_some() {
        let size = option_value(shelf, &document, "Thread", ("stacksize", Kind::Int, Fallback::None))?;
        if let Some(size) = size {
            let pairs = vec![("stacksize".into(), size.value())];
            stream.push(vec!["set".into(), "thread".into(), Value::Dict(pairs)]);
        }
    }
    for name in ORDER {
        match values.get(name) {
            None => {}
            Some(value) => stream.push(vec!["set".into(), (*name).into(), value.value()]),
        }
    }
    Ok(stream)
}

/// The options that a client needs before all else, in Fail2Ban's order, those given left aside; nothing if there is
/// no such file.
pub(crate) fn early(shelf: &mut Shelf<'_>, given: &[(&str, &str)]) -> Result<Option<Vec<(String, String)>>, Problem> {
    let is_given = |option: &Known| given.iter().any(|(name, _)| *name == option.0);
    let mut values = Options::default();
    if !PLACES.iter().chain(EARLY).all(is_given) {
        let Some(document) = shelf.load("fail2ban")? else {
            return Ok(None);
        };
        for option in PLACES.iter().chain(EARLY) {
            if let Some(value) = option_value(shelf, &document, "Definition", *option)? {
                values.set(option.0, value);
            }
        }
    }
    for (name, value) in given {
        values.set(*name, Datum::plain(*value));
    }
    check_level(shelf, &mut values)?;
    let text = |option: &Known| {
        let value = values.get(option.0)?;
        Some((option.0.to_owned(), value.to_text().as_str().to_owned()))
    };
    Ok(Some(PLACES.iter().chain(EARLY).filter_map(text).collect()))
}

/// One option of `fail2ban.conf` that is no part of the stream, such as `socket`; nothing if it is not set or cannot
/// be read.
pub(crate) fn read_one(shelf: &mut Shelf<'_>, name: &'static str) -> Option<String> {
    let document = shelf.load("fail2ban").ok()??;
    let option = (name, Kind::Text, Fallback::None);
    let value = option_value(shelf, &document, "Definition", option).ok()??;
    Some(value.to_text().as_str().to_owned()).filter(|text| !text.is_empty())
}

/// The value of an option, or its fallback; none if there is neither. Fail2Ban goes on with `None` where a number is
/// none or the section is missing; we take the option for unset then.
fn option_value(
    shelf: &mut Shelf<'_>,
    document: &Document,
    section: &str,
    option: Known,
) -> Result<Option<Datum>, Problem> {
    let (name, kind, fallback) = option;
    let ask = Ask {
        document,
        section,
        vars: None,
        address_names: &[],
    };
    let strict = shelf.face() == Face::Fail2Ban;
    let unset = (fallback != Fallback::None).then(|| fallback.datum());
    let after_fault = if strict { Some(fallback.datum()) } else { unset.clone() };
    match ask.get(name) {
        Ok(value) => Ok(match convert(kind, &value) {
            Ok(converted) => Some(converted),
            Err(()) => {
                let shown = repr_str(value.to_text().as_str());
                let problem = Problem::new("not-a-number", format!("{name} is no number: {shown}"), value.mark());
                shelf.report(&problem, Severity::Warning, None);
                after_fault
            }
        }),
        Err(Miss::Section) => Ok(after_fault),
        Err(Miss::Option) => Ok(unset),
        Err(Miss::Bad(problem)) if strict => Err(problem),
        Err(Miss::Bad(problem)) => {
            shelf.report(&problem, Severity::Error, None);
            Ok(unset)
        }
    }
}

fn check_level(shelf: &mut Shelf<'_>, values: &mut Options) -> Result<(), Problem> {
    let Some(value) = values.get("loglevel") else {
        return Ok(());
    };
    let text = value.to_text();
    let level = text.as_str();
    let is_number = !level.is_empty() && level.chars().all(|c| python_digit(c).is_some());
    if is_number || LEVELS.contains(&level.to_uppercase().as_str()) {
        return Ok(());
    }
    let problem = Problem::new(
        "bad-loglevel",
        format!("there is no log level {}", repr_str(level)),
        text.mark(),
    )
    .mend("write one of CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG");
    if shelf.face() == Face::Fail2Ban {
        return Err(problem);
    }
    shelf.report(&problem, Severity::Error, None);
    values.set("loglevel", Datum::plain("INFO"));
    Ok(())
}
