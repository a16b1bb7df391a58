//! The log files of a jail, and its remaining settings, as commands (contract §1.8, §6.1).

use super::definition::Known;
use super::document::{Datum, Options};
use super::expand::Problem;
use super::filter::{Commands, FILTER_OPTIONS, set};
use super::include::Shelf;
use super::jail::Stop;
use super::options::split_words;
use super::plan::LogPath;
use super::text::{Mark, Text};
use super::tree::has_magic;
use super::{Face, Request};
use crate::diagnostic::Severity;
use crate::value::Value;

/// Options that are no settings of the server's jail, or go there in another way.
const NO_SETTINGS: &[&str] = &[
    "action",
    "filter",
    "enabled",
    "backend",
    "skip_if_nologs",
    "systemd_if_nologs",
    "logcommand",
];

/// What looking for the log files of a jail came to.
#[derive(Default)]
pub(crate) struct Logs {
    pub(crate) commands: Commands,
    /// The jail reads the journal instead.
    pub(crate) to_journal: bool,
    /// The jail asked to be left out when it has no logs.
    pub(crate) skipped: bool,
}

/// Where a machine keeps its journal.
const JOURNALS: [&str; 2] = ["/var/log/journal/*/*.journal", "/run/log/journal/*/*.journal"];

/// A jail, as far as it matters for its logs.
pub(crate) struct Reader<'j> {
    /// Its name
    pub(crate) name: &'j str,
    /// Its own options
    pub(crate) options: &'j Options,
    /// Whether it has a journalmatch, be it of its filter
    pub(crate) is_matched: bool,
}

/// Looks for the log files of a jail.
pub(crate) fn find(shelf: &mut Shelf<'_>, request: &Request<'_>, reader: &Reader<'_>) -> Result<Logs, Stop> {
    let Reader {
        name: jail, options, ..
    } = *reader;
    let mut logs = Logs::default();
    let backend = options.get("backend").map(Datum::to_text).unwrap_or_default();
    if push_programs(shelf, &mut logs.commands, (reader, backend.as_str()))? {
        return Ok(logs);
    }
    let Some(paths) = options.get("logpath").map(Datum::to_text) else {
        return Ok(logs);
    };
    if backend.as_str().starts_with("systemd") {
        return Ok(logs);
    }
    let mut found = 0;
    for (line, mark) in paths.lines() {
        let (pattern, tail) = line.rsplit_once(' ').unwrap_or((line, "head"));
        // It is the main process' own, wherever it leads for whoever reads this.
        let is_input = pattern == LogPath::INPUT && shelf.face() == Face::Portcullis;
        let files = if is_input {
            vec![pattern.to_owned()]
        } else {
            shelf.tree().glob(pattern)
        };
        found += files.len();
        if files.is_empty() {
            let message = format!("no file is there for the logpath {pattern}");
            let problem = Problem::new("no-log-file", message, mark);
            shelf.report(&problem, Severity::Note, Some(jail));
        }
        for file in files {
            push_path(&mut logs.commands, jail, &file, (tail, mark));
        }
    }
    if found > 0 {
        if shelf.face() == Face::Portcullis {
            push_awaited(shelf, &mut logs.commands, jail, &paths);
        }
        return Ok(logs);
    }
    without_files(shelf, request, (reader, &paths), logs)
}

/// The programs whose output a jail reads, in place of any files. Returns whether there are some.
fn push_programs(
    shelf: &Shelf<'_>,
    commands: &mut Commands,
    (reader, backend): (&Reader<'_>, &str),
) -> Result<bool, Stop> {
    let Reader { name, options, .. } = *reader;
    let is_ours = shelf.face() == Face::Portcullis;
    let text = options.get("logcommand").map(Datum::to_text).unwrap_or_default();
    let programs: Vec<_> = text.lines().filter(|(line, _)| !line.trim().is_empty()).collect();
    let kind = backend.split('[').next().unwrap_or_default().trim().to_lowercase();
    let mark = options.get("backend").map(Datum::mark).unwrap_or_default();
    let wrong = |code, message: &str, mend: &str| Err(Stop::Jail(Problem::new(code, message, mark).mend(mend)));
    if kind == "command" && kind != backend.to_lowercase() && is_ours {
        let mend = "write backend = command, and the program into logcommand";
        return wrong("bad-backend", "the backend command has no options", mend);
    }
    if kind == "command" && programs.is_empty() && is_ours {
        let mend = "add logcommand = PROGRAM WITH ITS WORDS, such as: docker logs -f --since 1m mail 2>&1";
        return wrong("no-logcommand", "backend = command, and no logcommand says which", mend);
    }
    if kind == "systemd" && !programs.is_empty() {
        let mend = "take one of both away";
        return wrong(
            "two-logs",
            "a jail reads the journal or the output of logcommand, not both",
            mend,
        );
    }
    for (line, mark) in &programs {
        let command = set(name, "addlogcommand", [line.trim().into()]);
        commands.push(command, vec![("logcommand".to_owned(), *mark)]);
    }
    Ok(!programs.is_empty())
}

fn without_files(
    shelf: &mut Shelf<'_>,
    request: &Request<'_>,
    (reader, paths): (&Reader<'_>, &Text),
    mut logs: Logs,
) -> Result<Logs, Stop> {
    let Reader { name, options, .. } = *reader;
    let is_true = |option: &str| options.get(option).is_some_and(Datum::is_true);
    let backend = options.get("backend").map(Datum::to_text).unwrap_or_default();
    let has_match = options.get("journalmatch").is_some_and(|value| *value != Datum::None);
    // Fail2Ban looks at the jail's own match alone (D-214).
    let is_ours = request.face == Face::Portcullis && reader.is_matched;
    let has_match = has_match || is_ours && JOURNALS.iter().any(|place| !shelf.tree().glob(place).is_empty());
    let turns = backend.as_str().starts_with("auto") && is_true("systemd_if_nologs") && has_match;
    let goes_on = if turns {
        " Jail will monitor systemd journal."
    } else {
        ""
    };
    let message = format!("Have not found any log file for '{name}' jail.{goes_on}");
    let problem = Problem::new("no-log-files", message, paths.mark());
    if turns {
        logs.to_journal = true;
    } else if is_true("skip_if_nologs") {
        logs.skipped = true;
    } else if request.face == Face::Portcullis {
        push_awaited(shelf, &mut logs.commands, name, paths);
    } else if !request.allow_no_files {
        return Err(Stop::Everything(problem));
    }
    shelf.report(&problem, Severity::Warning, Some(name));
    Ok(logs)
}

/// Files that are not there yet are named all the same, so that they are followed when they appear.
fn push_awaited(shelf: &Shelf<'_>, commands: &mut Commands, jail: &str, paths: &Text) {
    for (line, mark) in paths.lines() {
        let (path, tail) = line.rsplit_once(' ').unwrap_or((line, "head"));
        if !path.is_empty() && path != LogPath::INPUT && !has_magic(path) && shelf.tree().glob(path).is_empty() {
            push_path(commands, jail, path, (tail, mark));
        }
    }
}

fn push_path(commands: &mut Commands, jail: &str, path: &str, rest: (&str, Mark)) {
    let (tail, mark) = rest;
    let command = set(jail, "addlogpath", [path.into(), tail.into()]);
    commands.push(command, vec![("logpath".to_owned(), mark)]);
}

/// The settings that are neither regexes nor files nor actions.
pub(crate) fn push_settings(commands: &mut Commands, jail: &str, options: &Options) {
    let is_filters = |name: &str| FILTER_OPTIONS.iter().any(|option: &Known| option.0 == name);
    for (name, value) in options.iter() {
        if name == "logpath" || NO_SETTINGS.contains(&name) || is_filters(name) {
            continue;
        }
        let command = if name == "ignoreip" {
            let text = value.to_text();
            set(jail, "addignoreip", split_words(text.as_str()).map(Value::from))
        } else {
            set(jail, name, [value.value()])
        };
        commands.push(command, vec![(name.to_owned(), value.mark())]);
    }
}
