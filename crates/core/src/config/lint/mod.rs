//! What a configuration says but probably does not mean.
//!
//! In: what came of reading a folder (the outcome and the plan), and the folder once more, because a lint looks at
//! how a value is written, which the stream no longer tells. Out: [`Diagnostic`]s with a mend each. Nothing here
//! changes what is done; a lint that is not sure keeps silent.

mod actions;
mod filters;
mod jails;
mod mends;
mod quoting;
mod server;
#[cfg(test)]
mod tests;

use std::rc::Rc;

pub use mends::improve;

use super::document::{Datum, Document};
use super::expand::Ask;
use super::include::Shelf;
use super::ini::shown_line;
use super::options::parse_bool;
use super::plan::Plan;
use super::text::{Mark, Text};
use super::{Face, Outcome, Tree};
use crate::diagnostic::{Diagnostic, Position, Severity};

/// What is looked at.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The files, the stock included where it shows through
    pub tree: &'a dyn Tree,
    /// The folder of the configuration
    pub base: &'a str,
    /// What came of reading it, in our own face
    pub outcome: &'a Outcome,
    /// What the stream came to
    pub plan: &'a Plan,
    /// The stock alone; its paths are relative (`filter.d/sshd.conf`)
    pub stock: &'a dyn Tree,
}

/// Looks for what is probably not meant. Each finding is told once, under the first jail that has it.
#[must_use]
pub fn lint(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut lint = Lint::new(*subject);
    server::look(&mut lint);
    jails::look(&mut lint);
    filters::look(&mut lint);
    actions::look(&mut lint);
    lint.found
}

/// The line that a position names, as it is shown in a complaint.
#[must_use]
pub fn line_at(tree: &dyn Tree, position: &Position) -> Option<String> {
    shown_line(&tree.read(&position.file).ok()?, u32::try_from(position.line).ok()?)
}

/// Where the options of jails are written, for complaints about what they came to.
pub struct Places<'t> {
    shelf: Shelf<'t>,
    jails: Rc<Document>,
}

impl<'t> Places<'t> {
    /// Reads the jails of a folder; a folder without any has no places.
    #[must_use]
    pub fn new(tree: &'t dyn Tree, base: &str) -> Self {
        let mut shelf = Shelf::new(tree, base, Face::Portcullis);
        let jails = shelf.load("jail").ok().flatten().unwrap_or_default();
        Places { shelf, jails }
    }

    /// Puts the place of a jail's option (its own, or that of `[DEFAULT]`) into a complaint that has none.
    #[must_use]
    pub fn set(&mut self, diagnostic: Diagnostic, jail: &str, option: &str) -> Diagnostic {
        match self.raw(jail, option).map(Text::mark) {
            Some(mark) if diagnostic.position.is_none() => self.at(diagnostic, mark, ""),
            _ => diagnostic,
        }
    }

    /// Puts the place of an option of the server into a complaint that has none.
    #[must_use]
    pub fn set_server(&mut self, diagnostic: Diagnostic, option: &str) -> Diagnostic {
        let document = self.shelf.load("fail2ban").ok().flatten();
        let value = document.as_ref().and_then(|document| {
            let own = document.section("Definition").and_then(|own| own.get(option));
            own.or_else(|| document.defaults.get(option))
        });
        match value.and_then(text_of).map(Text::mark) {
            Some(mark) if diagnostic.position.is_none() => self.at(diagnostic, mark, ""),
            _ => diagnostic,
        }
    }

    /// An option as it is written in the jail or in `[DEFAULT]`, unexpanded.
    #[must_use]
    pub fn text(&self, jail: &str, option: &str) -> Option<&str> {
        self.raw(jail, option).map(Text::as_str)
    }

    /// An option as it is written, that of `[DEFAULT]` if the jail has none.
    fn raw(&self, jail: &str, option: &str) -> Option<&Text> {
        self.own(jail, option)
            .or_else(|| text_of(self.jails.defaults.get(option)?))
    }

    /// An option of the jail's own section as it is written.
    fn own(&self, jail: &str, option: &str) -> Option<&Text> {
        text_of(self.jails.section(jail)?.get(option)?)
    }

    /// A complaint about a line; its column is where `part` stands in it.
    fn at(&mut self, diagnostic: Diagnostic, mark: Mark, part: &str) -> Diagnostic {
        self.shelf.complain(diagnostic.clone(), mark);
        let placed = self.shelf.diagnostics.pop().unwrap_or(diagnostic);
        point(placed, part)
    }
}

/// Sets the column of a complaint to where `part` stands in its line.
fn point(mut diagnostic: Diagnostic, part: &str) -> Diagnostic {
    if let (Some(position), Some(line)) = (&mut diagnostic.position, &diagnostic.line)
        && let Some((before, _)) = line.split_once(part)
    {
        position.column = before.chars().count() + 1;
    }
    diagnostic
}

fn text_of(value: &Datum) -> Option<&Text> {
    match value {
        Datum::Text(text) => Some(text),
        _ => None,
    }
}

/// A round of looking.
struct Lint<'a> {
    subject: Subject<'a>,
    places: Places<'a>,
    /// The jails that are switched on, in order
    enabled: Vec<String>,
    found: Vec<Diagnostic>,
}

impl<'a> Lint<'a> {
    fn new(subject: Subject<'a>) -> Self {
        let places = Places::new(subject.tree, subject.base);
        let sections = places.jails.sections.keys();
        let enabled = sections.filter(|name| *name != "INCLUDES" && !name.starts_with(super::document::KNOWN));
        let enabled = enabled.filter(|name| is_enabled(&places.jails, name));
        let enabled = enabled.map(str::to_owned).collect();
        Lint {
            subject,
            places,
            enabled,
            found: Vec::new(),
        }
    }

    /// The document of a filter or an action, such as `filter.d/sshd`.
    fn document(&mut self, name: &str) -> Option<Rc<Document>> {
        self.places.shelf.load(name).ok().flatten()
    }

    /// Tells of a line, unless that was told of another jail already.
    fn tell(&mut self, diagnostic: Diagnostic, mark: Mark, part: &str) {
        let placed = self.places.at(diagnostic, mark, part);
        self.push(placed);
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        let is_same = |told: &Diagnostic| {
            told.code == diagnostic.code && told.position == diagnostic.position && told.message == diagnostic.message
        };
        if !self.found.iter().any(is_same) {
            self.found.push(diagnostic);
        }
    }

    /// Tells of what a jail's option came to, at the line that says it: `part` is looked for in that line and in
    /// those that continue it.
    fn tell_origin(&mut self, diagnostic: Diagnostic, jail: &str, option: &str, part: &str) {
        let origin = self.subject.outcome.origins.get(&(jail.to_owned(), option.to_owned()));
        let Some(origin) = origin else {
            self.push(diagnostic);
            return;
        };
        let mut placed = diagnostic;
        placed.position = Some(origin.clone());
        self.push(pointed(self.subject.tree, placed, part));
    }
}

/// Moves a complaint about a value that begins at its position to where `part` stands: in that line, or in one of those
/// that continue it. One whose line cannot be read has no place.
#[must_use]
pub fn pointed(tree: &dyn Tree, mut diagnostic: Diagnostic, part: &str) -> Diagnostic {
    let Some(mut place) = diagnostic.position.take() else {
        return diagnostic;
    };
    let bytes = tree.read(&place.file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().skip(place.line.saturating_sub(1)).take(CONTINUED_MOST);
    let offset = lines
        .enumerate()
        .find(|(_, line)| line.contains(part))
        .map(|(offset, _)| offset);
    place.line += offset.unwrap_or(0);
    match line_at(tree, &place) {
        Some(line) => point(diagnostic.at(place, line), part),
        None => diagnostic,
    }
}

/// How many lines below the beginning of a value a part of it is looked for.
const CONTINUED_MOST: usize = 60;

fn is_enabled(jails: &Document, name: &str) -> bool {
    let ask = Ask {
        document: jails,
        section: name,
        vars: None,
        address_names: &[],
    };
    ask.get("enabled")
        .is_ok_and(|value| parse_bool(value.to_text().as_str()))
}

/// A warning of one jail.
fn warning(jail: &str, code: &'static str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Severity::Warning, code, message).jail(jail)
}
