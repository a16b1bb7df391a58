//! The jails: `jail.conf` and its kin, each enabled jail with its filter and actions (contract §1.8–1.11, §2.2).
//!
//! In: the shelf and the request. Out: the commands of the jails, in the outcome. A jail that cannot be read
//! becomes a `config-error` command; in Fail2Ban's face some faults end the whole reading instead.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::action::Action;
use super::definition::{Care, Definition, Fallback, JAIL_OPTIONS, Kind, Known, convert};
use super::document::{Datum, Document, KNOWN, Options};
use super::expand::{Ask, Miss, Problem};
use super::filter::{self, Commands, FILTER_OPTIONS};
use super::include::{Shelf, joined, without_extension};
use super::options::{extract, json_object, near_names, split_entries};
use super::text::{Mark, Text, strip};
use super::{Command, Face, FilterUse, Outcome, Request, care, logpath};
use crate::diagnostic::Severity;
use crate::value::{Value, repr_str};

const FIRST_OPTIONS: &[Known] = &[
    ("enabled", Kind::Bool, Fallback::Bool(false)),
    ("backend", Kind::Text, Fallback::Text("auto")),
    ("filter", Kind::Text, Fallback::Text("")),
];

/// Why a jail is not read.
pub(crate) enum Stop {
    /// Only this jail is left out, in both faces.
    Jail(Problem),
    /// Fail2Ban gives up the whole configuration; we leave out this jail.
    Everything(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Everything(problem)
    }
}

/// An entry of `action`, read.
enum Entry {
    /// `addaction` of a file in Python
    Python(Command, (String, Mark)),
    Shell(Box<Action>),
}

/// What one jail came to.
enum Read {
    Disabled,
    Ready { commands: Commands, starts: bool },
}

/// Reads all jails (or the one asked for) into the outcome. True where Fail2Ban would go on.
pub(crate) fn read_all(shelf: &mut Shelf<'_>, request: &Request<'_>, outcome: &mut Outcome) -> Result<bool, Problem> {
    let Some(document) = shelf.load("jail")? else {
        let message = "Read jails configuration failed. Without jail.conf there are no jails";
        return Err(Problem::new("no-jails", message, Mark::default()));
    };
    let mut document = Document::clone(&document);
    let names = jail_names(&document, request)?;
    document.defaults.set("fail2ban_version", Datum::plain(request.version));
    document.defaults.set("fail2ban_confpath", Datum::plain(shelf.base()));
    let mut any_good = false;
    let mut any_bad = false;
    let mut starts = Vec::new();
    for name in names {
        let mut reader = JailReader {
            shelf,
            request,
            document: &mut document,
            outcome,
            name: &name,
            care: care(request.face),
            marks: BTreeMap::new(),
        };
        match reader.read() {
            Ok(Read::Disabled) => {}
            Ok(Read::Ready {
                commands,
                starts: start,
            }) => {
                any_good = true;
                reader.hold();
                reader.emit(commands);
                if start {
                    starts.push(vec!["start".into(), name.as_str().into()]);
                }
            }
            Err(Stop::Everything(problem)) if request.face == Face::Fail2Ban => return Err(problem),
            Err(Stop::Jail(problem) | Stop::Everything(problem)) => {
                any_bad = true;
                reader.skip(&problem);
            }
        }
    }
    outcome.stream.extend(starts);
    Ok(any_good && !request.all_must_be_good || !any_bad)
}

fn jail_names(document: &Document, request: &Request<'_>) -> Result<Vec<String>, Problem> {
    if let Some(jail) = request.jail {
        if document.section(jail).is_some() {
            return Ok(vec![jail.to_owned()]);
        }
        let message = format!("there is no jail of the name {}", repr_str(jail));
        return Err(Problem::new("no-jail", message, Mark::default()));
    }
    let names = document
        .sections
        .keys()
        .filter(|name| *name != "INCLUDES" && !name.starts_with(KNOWN));
    Ok(names.map(str::to_owned).collect())
}

struct JailReader<'r, 't> {
    shelf: &'r mut Shelf<'t>,
    request: &'r Request<'r>,
    document: &'r mut Document,
    outcome: &'r mut Outcome,
    name: &'r str,
    care: Care,
    /// Where numbers and truths were written, which their conversion forgets.
    marks: BTreeMap<&'static str, Mark>,
}

impl JailReader<'_, '_> {
    fn read(&mut self) -> Result<Read, Stop> {
        let mut first = self.options(FIRST_OPTIONS)?;
        let forced = self.request.forced;
        for (name, value) in forced.unwrap_or_default() {
            first.set(name.clone(), Datum::plain(value.clone()));
        }
        if forced.is_none() && !first.get("enabled").is_some_and(Datum::is_true) {
            return Ok(Read::Disabled);
        }
        let mut filter = self.filter(&first)?;
        let options = self.options(JAIL_OPTIONS)?;
        let mut actions = Commands::default();
        if let Some(filter) = &mut filter {
            filter.read(&options, false)?;
        }
        self.actions(&options, &mut actions)?;
        let mut commands = Commands::default();
        if let Some(filter) = &mut filter {
            let values = filter.combined(&[])?;
            self.remarks(&mut filter.remarks.0);
            let mut problems = filter::fill(&mut commands, &values, self.name, self.care)?;
            self.remarks(&mut problems);
        }
        let mut problems = filter::fill(&mut commands, &options, self.name, self.care)?;
        self.remarks(&mut problems);
        if self.care == Care::Lenient {
            for problem in filter::drop_refused(&mut commands, self.name, self.request.check_regex) {
                self.report(&problem, Severity::Error);
            }
        }
        self.finish(commands, &options, actions)
    }

    fn finish(&mut self, mut commands: Commands, options: &Options, actions: Commands) -> Result<Read, Stop> {
        let mut backend = options.get("backend").map_or(Value::from("auto"), Datum::value);
        let is_match = |command: &Command| command.get(2).and_then(Value::as_str) == Some("addjournalmatch");
        let reader = logpath::Reader {
            name: self.name,
            options,
            is_matched: commands.list.iter().any(|(command, _)| is_match(command)),
        };
        let logs = logpath::find(self.shelf, self.request, &reader)?;
        if logs.skipped {
            let text = format!("Jail '{}' skipped, because of missing log files.", self.name);
            let mut only = Commands::default();
            only.push(vec!["config-error".into(), text.into()], Vec::new());
            return Ok(Read::Ready {
                commands: only,
                starts: false,
            });
        }
        if logs.to_journal {
            backend = "systemd".into();
            let paths = options.get("logpath").map(Datum::to_text).unwrap_or_default();
            let lines = paths.lines().map(|(line, _)| line.to_owned()).collect();
            self.outcome.awaited.insert(self.name.to_owned(), lines);
        }
        logpath::push_settings(&mut commands, self.name, options);
        commands.list.extend(logs.commands.list);
        commands.list.extend(actions.list);
        let add = vec!["add".into(), self.name.into(), backend];
        let mark = options.get("backend").map(Datum::mark).unwrap_or_default();
        commands.list.insert(0, (add, vec![("backend".to_owned(), mark)]));
        Ok(Read::Ready { commands, starts: true })
    }

    /// Reads options of the jail's section and converts them.
    fn options(&mut self, known: &[Known]) -> Result<Options, Stop> {
        let mut options = Options::default();
        for &(name, kind, fallback) in known {
            match self.ask(self.name, name) {
                Ok(value) => {
                    self.marks.insert(name, value.mark());
                    if let Some(value) = self.converted((name, kind, fallback), &value) {
                        options.set(name, value);
                    }
                }
                Err(Miss::Bad(problem)) => self.bad_option(name, problem)?,
                Err(Miss::Section | Miss::Option) if fallback == Fallback::None => {}
                Err(Miss::Section | Miss::Option) => options.set(name, fallback.datum()),
            }
        }
        Ok(options)
    }

    fn ask(&self, section: &str, option: &str) -> Result<Datum, Miss> {
        let ask = Ask {
            document: self.document,
            section,
            vars: None,
            address_names: &[],
        };
        ask.get(option)
    }

    /// A value as its kind has it. Of a number that is none, Fail2Ban makes `None`; we take the one of `[DEFAULT]`.
    fn converted(&mut self, option: Known, value: &Datum) -> Option<Datum> {
        let (name, kind, fallback) = option;
        if let Ok(converted) = convert(kind, value) {
            return Some(converted);
        }
        let shown = repr_str(value.to_text().as_str());
        let problem = Problem::new("not-a-number", format!("{name} is no number: {shown}"), value.mark())
            .mend("write digits only; until then the default is taken");
        self.report(&problem, Severity::Warning);
        if self.care == Care::Strict {
            return Some(fallback.datum());
        }
        let default = self.ask("DEFAULT", name).ok()?;
        convert(kind, &default).ok()
    }

    /// An option that cannot be put together: what a jail is nothing without ends it, whom to spare and for how long
    /// holds it, the rest is left out.
    fn bad_option(&mut self, name: &str, problem: Problem) -> Result<(), Stop> {
        const NEEDED: [&str; 11] = [
            "enabled",
            "backend",
            "filter",
            "action",
            "logpath",
            "logcommand",
            "prefregex",
            "failregex",
            "ignoreregex",
            "datepattern",
            "journalmatch",
        ];
        if self.care == Care::Strict || NEEDED.contains(&name) {
            return Err(Stop::Everything(problem));
        }
        self.report(&problem, Severity::Error);
        if name == "ignoreip" || name.starts_with("bantime") || name == "ignorecommand" {
            let reason = format!("{name} cannot be put together: {}", problem.message);
            self.outcome.held.entry(self.name.to_owned()).or_insert(reason);
        }
        Ok(())
    }

    fn filter(&mut self, first: &Options) -> Result<Option<Definition>, Stop> {
        let entry = first.get("filter").map(Datum::to_text).unwrap_or_default();
        if entry.as_str().is_empty() {
            let message = format!("No filter set for jail {}", self.name);
            self.report(&Problem::new("no-filter", message, Mark::default()), Severity::Warning);
            return Ok(None);
        }
        let named = extract(entry.as_str()).map_err(|reason| {
            let text = format!("Invalid filter definition {}: {reason}", repr_str(entry.as_str()));
            Stop::Jail(Problem::new("bad-filter", text, entry.mark()))
        })?;
        let mut init = Options::default();
        for (name, value) in named.options.iter().chain(self.request.forced.unwrap_or_default()) {
            init.set(name.clone(), Datum::Text(Text::new(value.clone(), entry.mark())));
        }
        let document = self.part("filter", &named.name, entry.mark())?;
        let mut filter = Definition::new(document, FILTER_OPTIONS, init, self.care);
        let backend = first.get("backend").map(Datum::to_text).unwrap_or_default();
        filter::apply_logtype(&mut filter, backend.as_str());
        filter.read(first, true)?;
        let values = filter.combined(&[])?;
        self.remarks(&mut filter.remarks.0);
        self.document
            .merge_prefixed(self.name, &as_text(&values, self.care), "known/");
        let options = values
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_text().as_str().to_owned()));
        let used = FilterUse {
            mode_given: named.options.iter().any(|(name, _)| name == "mode"),
            name: named.name,
            parameters: named.options,
            options: options.collect(),
        };
        self.outcome.filters.insert(self.name.to_owned(), used);
        Ok(Some(filter))
    }

    /// The document of a filter or an action; without one, the jail cannot be.
    fn part(&mut self, kind: &str, name: &str, mark: Mark) -> Result<Rc<Document>, Stop> {
        let before = self.shelf.diagnostics.len();
        if let Some(document) = self.shelf.load(&part_name(kind, name))? {
            return Ok(document);
        }
        // The shelf complained of the missing name already; the jail's own complaint says it with its line.
        let is_missing = |at: usize| {
            self.shelf
                .diagnostics
                .get(at)
                .is_some_and(|told| told.code == "not-found")
        };
        if self.care == Care::Lenient && is_missing(before) {
            self.shelf.diagnostics.truncate(before);
        }
        let article = if kind == "filter" { "the filter" } else { "action" };
        let text = format!("Unable to read {article} {}", repr_str(name));
        Err(Stop::Jail(
            Problem::new("missing-file", text, mark).mend(self.missing_mend(kind, name)),
        ))
    }

    fn missing_mend(&self, kind: &str, name: &str) -> String {
        let file = format!("{kind}.d/{name}.conf");
        if self.request.stock.contains(&file.as_str()) {
            return format!("the embedded stock has {file}; `portcullis stock {file}` prints it");
        }
        let folder = format!("{}/{kind}.d", self.shelf.base());
        let files = self.shelf.tree().list(&folder).into_iter();
        let names = files.filter_map(|file| Some(file.strip_suffix(".conf")?.to_owned()));
        let near = near_names(strip(name), names);
        match near.as_slice() {
            [] => format!("there is no {folder}/{name}.conf or .local; write it, or name another {kind}"),
            near => format!("there is no {folder}/{name}.conf; was {} meant?", near.join(" or ")),
        }
    }

    /// Reads all actions before any is turned into commands: a bad entry costs the jail only, while tags that
    /// cannot be resolved in a jail that is otherwise good end everything in Fail2Ban's face.
    fn actions(&mut self, options: &Options, commands: &mut Commands) -> Result<(), Stop> {
        let list = options.get("action").map(Datum::to_text).unwrap_or_default();
        let Some(entries) = split_entries(list.as_str()) else {
            let problem = Problem::new(
                "bad-action",
                "the list of actions is too tangled to be split",
                list.mark(),
            );
            return Err(Stop::Jail(problem));
        };
        let mut prepared = Vec::new();
        for (offset, entry) in &entries {
            prepared.push(self.action(&list.part(*offset, entry), options)?);
        }
        for entry in prepared {
            match entry {
                Entry::Python(command, origin) => commands.push(command, vec![origin]),
                Entry::Shell(mut action) => {
                    action.push_commands(commands)?;
                    self.remarks(&mut action.definition.remarks.0);
                }
            }
        }
        if entries.is_empty() {
            let message = format!("No actions were defined for {}", self.name);
            self.report(&Problem::new("no-action", message, Mark::default()), Severity::Warning);
        }
        Ok(())
    }

    fn action(&mut self, entry: &Text, options: &Options) -> Result<Entry, Stop> {
        let mut named = extract(entry.as_str()).map_err(|reason| {
            let text = format!("Invalid action definition {}: {reason}", repr_str(entry.as_str()));
            Stop::Jail(Problem::new("bad-action", text, entry.mark()))
        })?;
        if named.name.ends_with(".py") {
            let given = named.options.iter().position(|(name, _)| name == "actname");
            let name = match given {
                Some(at) => named.options.remove(at).1,
                None => without_extension(&named.name).to_owned(),
            };
            let path = joined(&format!("{}/action.d", self.shelf.base()), &named.name);
            let json = json_object(&named.options);
            let origin = (format!("addaction@{name}"), entry.mark());
            let command = filter::set(self.name, "addaction", [name.into(), path.into(), json.into()]);
            return Ok(Entry::Python(command, origin));
        }
        let mut init = Options::default();
        for (name, value) in named.options {
            init.set(name, Datum::Text(Text::new(value, entry.mark())));
        }
        let document = self.part("action", &named.name, entry.mark())?;
        let mut action = Action::new(document, (&named.name, entry.mark()), self.name, init, self.care);
        action.definition.read(options, false)?;
        if self.care == Care::Lenient {
            for (mark, name) in action.address_slips() {
                let place = self.shelf.position(mark);
                let mut told = self.shelf.diagnostics.iter();
                if told.any(|told| told.code == "address-slip" && told.position == place) {
                    continue;
                }
                let problem = Problem::new("address-slip", format!("%({name})s is understood as <ip>"), mark)
                    .mend("write <ip>: Fail2Ban refuses the whole configuration otherwise");
                self.report(&problem, Severity::Note);
            }
        }
        Ok(Entry::Shell(Box::new(action)))
    }

    fn remarks(&mut self, problems: &mut Vec<Problem>) {
        for problem in problems.drain(..) {
            self.report(&problem, Severity::Warning);
        }
    }

    fn report(&mut self, problem: &Problem, severity: Severity) {
        self.shelf.report(problem, severity, Some(self.name));
    }

    /// Puts the commands of the jail into the stream, and notes where their values are written.
    fn emit(&mut self, commands: Commands) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (command, origins) in commands.list {
            for (option, mark) in origins {
                let mark = match self.marks.get(option.as_str()) {
                    Some(known) if mark == Mark::default() => *known,
                    _ => mark,
                };
                let is_list = matches!(
                    option.as_str(),
                    "failregex" | "ignoreregex" | "journalmatch" | "logpath" | "logcommand"
                );
                let key = if is_list {
                    let count = counts.entry(option.clone()).or_insert(0);
                    *count += 1;
                    format!("{option}#{count}")
                } else {
                    option
                };
                if let Some(position) = self.shelf.position(mark) {
                    self.outcome.origins.insert((self.name.to_owned(), key), position);
                }
            }
            self.outcome.stream.push(command);
        }
    }

    /// Puts a jail that cannot be read into the stream as an error.
    fn skip(&mut self, problem: &Problem) {
        let text = format!(
            "Jail '{}' skipped, because of wrong configuration: {}",
            self.name, problem.message
        );
        self.report(problem, Severity::Error);
        self.outcome.held.remove(self.name);
        self.outcome
            .skipped
            .insert(self.name.to_owned(), problem.message.clone());
        self.outcome.stream.push(vec!["config-error".into(), text.into()]);
    }

    /// Marks the jail if a file that it depends on was damaged.
    fn hold(&mut self) {
        let damage = &self.shelf.damage;
        let reason = damage.jails.get(self.name).or(damage.all.as_ref());
        if let Some(reason) = reason {
            self.outcome
                .held
                .entry(self.name.to_owned())
                .or_insert_with(|| reason.clone());
        }
    }
}

/// `filter.d/NAME`; a name that begins with `/` or `./` is a path of its own (contract §1.1).
fn part_name(kind: &str, name: &str) -> String {
    if name.starts_with("./") {
        return name.to_owned();
    }
    joined(&format!("{kind}.d"), name)
}

/// The filter's values as the jail sees them: `%(known/maxlines)s` of a converted number makes Fail2Ban fail, and we
/// take it as text.
fn as_text(values: &Options, care: Care) -> Options {
    let mut texts = Options::default();
    for (name, value) in values.iter() {
        let value = match (care, value) {
            (Care::Strict, value) => value.clone(),
            (Care::Lenient, Datum::None) => continue,
            (Care::Lenient, value) => Datum::Text(value.to_text()),
        };
        texts.set(name, value);
    }
    texts
}
