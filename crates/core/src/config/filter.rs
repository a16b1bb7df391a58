//! A filter of a jail: its file, its parameters, and the commands that come of it (contract §1.8, §2.3).

use super::definition::{Care, Definition, Fallback, Kind, Known};
use super::document::{Datum, Options};
use super::expand::Problem;
use super::include::Shelf;
use super::options::split_shell;
use super::text::{Mark, Text};
use super::{Command, FilterName, RegexCheck};
use crate::diagnostic::Severity;
use crate::pattern;
use crate::value::{Value, repr_str};

/// The options of a filter that the server knows.
pub(crate) const FILTER_OPTIONS: &[Known] = &[
    ("usedns", Kind::Text, Fallback::None),
    ("prefregex", Kind::Text, Fallback::None),
    ("ignoreregex", Kind::Text, Fallback::None),
    ("failregex", Kind::Text, Fallback::None),
    ("maxlines", Kind::Int, Fallback::None),
    ("datepattern", Kind::Text, Fallback::None),
    ("journalmatch", Kind::Text, Fallback::None),
];

/// Sets `logtype` by the backend, unless a parameter or the filter itself sets it (contract §1.8 item 3).
pub(crate) fn apply_logtype(definition: &mut Definition, backend: &str) {
    let given = definition.init.get("logtype").is_some_and(Datum::is_true);
    let own = definition
        .document()
        .section("Definition")
        .is_some_and(|own| own.contains("logtype"));
    if !given && !own {
        let kind = if backend.starts_with("systemd") {
            "journal"
        } else {
            "file"
        };
        definition.init.set("logtype", Datum::plain(kind));
    }
}

/// Commands on their way into the stream, each with the marks of the values that it carries.
#[derive(Default)]
pub(crate) struct Commands {
    pub(crate) list: Vec<(Command, Vec<(String, Mark)>)>,
}

impl Commands {
    pub(crate) fn push(&mut self, command: Command, origins: Vec<(String, Mark)>) {
        self.list.push((command, origins));
    }
}

/// Turns filter options, of a filter or of a jail, into commands (contract §2.2, order of the stream).
pub(crate) fn fill(
    commands: &mut Commands,
    options: &Options,
    jail: &str,
    care: Care,
) -> Result<Vec<Problem>, Problem> {
    let mut remarks = Vec::new();
    let mut first = 0;
    for (name, value) in options.iter().filter(|(_, value)| **value != Datum::None) {
        match name {
            "failregex" | "ignoreregex" => push_regexes(commands, jail, name, &value.to_text()),
            "usedns" | "maxlines" | "prefregex" => {
                let command = set(jail, name, [value.value()]);
                let at = if name == "usedns" { 0 } else { first };
                commands
                    .list
                    .insert(at, (command, vec![(name.to_owned(), value.mark())]));
                first += 1;
            }
            "datepattern" => {
                commands.push(set(jail, name, [value.value()]), vec![(name.to_owned(), value.mark())]);
            }
            "journalmatch" => {
                let problems = push_matches(commands, jail, &value.to_text());
                match (care, problems.first()) {
                    (Care::Strict, Some(problem)) => return Err(problem.clone()),
                    _ => remarks.extend(problems),
                }
            }
            _ => {}
        }
    }
    Ok(remarks)
}

fn push_regexes(commands: &mut Commands, jail: &str, name: &str, text: &Text) {
    let lines: Vec<(&str, Mark)> = text.lines().filter(|(line, _)| !line.is_empty()).collect();
    push_lines(commands, jail, name, &lines);
}

fn push_lines(commands: &mut Commands, jail: &str, name: &str, lines: &[(&str, Mark)]) {
    let origins = lines.iter().map(|(_, mark)| (name.to_owned(), *mark)).collect();
    let verb = format!("add{name}");
    match lines {
        [] => {}
        [(line, _)] => commands.push(set(jail, &verb, [Value::from(*line)]), origins),
        lines => {
            let list = lines.iter().map(|(line, _)| Value::from(*line)).collect();
            let command = vec!["multi-set".into(), jail.into(), verb.into(), Value::List(list)];
            commands.push(command, origins);
        }
    }
}

fn refused(error: &pattern::Error, mark: Mark) -> Problem {
    match error {
        pattern::Error::NoFailureId(_) => {
            let why = "it names no address: neither it nor the prefregex holds <HOST>, <ADDR> or <F-ID>";
            Problem::new("no-failure-id", format!("this failregex is left out: {why}"), mark)
                .mend("put <HOST> where the address stands")
        }
        pattern::Error::Compile { reason: why, .. } | pattern::Error::Unsupported { what: why, .. } => {
            Problem::new("bad-regex", format!("this failregex is left out: {why}"), mark)
                .mend("mend the pattern, or take the line out")
        }
        pattern::Error::Empty => {
            Problem::new("bad-regex", format!("this failregex is left out: {error}"), mark).mend("take the line out")
        }
    }
}

/// Takes out each failregex that the check refuses; says which, and whether none is left.
pub(crate) fn drop_refused(commands: &mut Commands, jail: &str, check: RegexCheck) -> Vec<Problem> {
    let word = |command: &Command, at: usize| command.get(at).and_then(Value::as_str).map(str::to_owned);
    let is = |command: &Command, verb: &str| word(command, 2).as_deref() == Some(verb);
    let mut later = commands.list.iter().rev();
    let prefregex = later.find_map(|(command, _)| is(command, "prefregex").then(|| word(command, 3)).flatten());
    let mut problems = Vec::new();
    for (command, origins) in std::mem::take(&mut commands.list) {
        if !is(&command, "addfailregex") {
            commands.push(command, origins);
            continue;
        }
        let regexes = match command.get(3) {
            Some(Value::List(list)) => list.as_slice(),
            single => single.map(std::slice::from_ref).unwrap_or_default(),
        };
        let mut kept = Vec::new();
        for (regex, (_, mark)) in regexes.iter().filter_map(Value::as_str).zip(origins) {
            match check(regex, prefregex.as_deref()) {
                Ok(()) => kept.push((regex, mark)),
                Err(error) => problems.push(refused(&error, mark)),
            }
        }
        push_lines(commands, jail, "failregex", &kept);
    }
    if !commands.list.iter().any(|(command, _)| is(command, "addfailregex")) {
        let message = format!("jail {jail} has no failregex, so it never finds anything");
        problems.push(Problem::new("no-failregex", message, Mark::default()));
    }
    problems
}

fn push_matches(commands: &mut Commands, jail: &str, text: &Text) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (line, mark) in text.lines().filter(|(line, _)| !line.is_empty()) {
        match split_shell(line) {
            Ok(words) => commands.push(
                set(jail, "addjournalmatch", words.into_iter().map(Value::Str)),
                vec![("journalmatch".to_owned(), mark)],
            ),
            Err(reason) => {
                let message = format!("journalmatch {} cannot be split into words: {reason}", repr_str(line));
                problems.push(Problem::new("bad-quotes", message, mark).mend("close the quotation"));
            }
        }
    }
    problems
}

/// `['set', JAIL, VERB, …]`
pub(crate) fn set(jail: &str, verb: &str, values: impl IntoIterator<Item = Value>) -> Command {
    let mut command: Command = vec!["set".into(), jail.into(), verb.into()];
    command.extend(values);
    command
}

/// One filter without a jail.
pub(crate) struct Alone {
    pub(crate) commands: Vec<Command>,
    pub(crate) values: Options,
    /// The names of the parameters, and of the options of `[Init]` behind them.
    pub(crate) parameters: Vec<String>,
}

/// One filter without a jail; `None` if there is no such filter (contract §9).
pub(crate) fn read_alone(
    shelf: &mut Shelf<'_>,
    name: FilterName<'_>,
    parameters: &[(String, String)],
    backend: &str,
) -> Result<Option<Alone>, Problem> {
    const JAIL: &str = "fail2ban-regex-jail";
    let document = match name {
        FilterName::Stock(name) => shelf.load(&format!("filter.d/{name}"))?,
        FilterName::Path(path) => shelf.load_file(path)?,
    };
    let Some(document) = document else {
        return Ok(None);
    };
    let mut init = Options::default();
    for (name, value) in parameters {
        init.set(name.clone(), Datum::plain(value.clone()));
    }
    let mut definition = Definition::new(document, FILTER_OPTIONS, init, Care::Strict);
    apply_logtype(&mut definition, backend);
    definition.read(&Options::default(), false)?;
    let values = definition.combined(&[])?;
    for problem in std::mem::take(&mut definition.remarks.0) {
        shelf.report(&problem, Severity::Warning, None);
    }
    let mut commands = Commands::default();
    fill(&mut commands, &values, JAIL, Care::Strict)?;
    let commands = commands.list.into_iter().map(|(command, _)| command).collect();
    let parameters = definition.init.iter().map(|(name, _)| name.to_owned()).collect();
    Ok(Some(Alone {
        commands,
        values,
        parameters,
    }))
}
