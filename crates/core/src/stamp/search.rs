//! The one seam between date templates and the engines that search for them.
//!
//! What is written in the small language of dates runs on [`Program`]; everything else on the general engine,
//! which also takes the lines that would cost the small machine too much.

use std::collections::BTreeSet;

use fancy_regex::Regex;

use super::mask::Witness;
use super::program::{Program, Scratch, Search};
use super::shape;

/// A regex that looks for a date.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    program: Option<Program>,
    source: String,
    general: Option<Box<Regex>>,
    names: Vec<Option<String>>,
}

/// The general engine gave up: whether the line holds a date is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Engine {
    /// Compiles a regex in Python's dialect.
    ///
    /// # Errors
    /// The reason, as text, if it is none.
    pub(super) fn new(source: &str) -> Result<Engine, String> {
        // A pattern that begins with `%k` leaves its question mark to the boundary, which then asks for nothing.
        let source = &source.replace(r"(?=^|\b|\W)?", "");
        let program = shape::parse(source).ok().and_then(|shape| Program::new(&shape));
        let mut engine = Engine {
            program,
            source: source.to_owned(),
            general: None,
            names: Vec::new(),
        };
        if let Some(program) = &engine.program {
            engine.names = program.names().to_vec();
        } else {
            let regex = general(source)?;
            engine.names = regex.capture_names().map(|name| name.map(str::to_owned)).collect();
            engine.general = Some(Box::new(regex));
        }
        Ok(engine)
    }

    /// Names of the groups in their order, the whole match first.
    pub(super) fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// Searches from byte `from` on; if it finds something, `scratch` holds the groups.
    ///
    /// # Errors
    /// [`Exhausted`] if the general engine ran out of steps.
    pub(super) fn search(
        &self,
        text: &str,
        from: usize,
        scratch: &mut Scratch,
        witness: &mut impl Witness,
    ) -> Result<bool, Exhausted> {
        let program = self.program.as_ref();
        match program.map(|program| program.search(text, from, scratch, witness)) {
            Some(Search::Found) => return Ok(true),
            Some(Search::Missing) => return Ok(false),
            Some(Search::Costly) | None => witness.lost(),
        }
        match &self.general {
            Some(regex) => self.search_compiled(regex, text, from, scratch),
            None => self.search_compiled(&general(&self.source).map_err(|_| Exhausted)?, text, from, scratch),
        }
    }

    fn search_compiled(
        &self,
        regex: &Regex,
        text: &str,
        from: usize,
        scratch: &mut Scratch,
    ) -> Result<bool, Exhausted> {
        let Some(groups) = regex.captures_from_pos(text, from).map_err(|_| Exhausted)? else {
            return Ok(false);
        };
        scratch.keep(
            groups
                .iter()
                .map(|group| group.map(|group| (group.start(), group.end()))),
        );
        Ok(true)
    }
}

fn general(source: &str) -> Result<Regex, String> {
    if flags_inside(source) {
        return Err("global flags not at the start of the expression".to_owned());
    }
    let mut known = BTreeSet::new();
    let names = source.split("(?P<").skip(1).filter_map(|tail| tail.split_once('>'));
    for (name, _) in names {
        if !known.insert(name) {
            return Err(format!("the group '{name}' is there twice"));
        }
    }
    Regex::new(source).map_err(|error| error.to_string())
}

/// Flags for the whole regex may stand at its start only; so says Python since 3.11.
fn flags_inside(source: &str) -> bool {
    source.match_indices("(?").any(|(at, _)| {
        let (head, tail) = source.split_at(at);
        let flags = tail
            .get(2..)
            .and_then(|tail| tail.split_once(')'))
            .map_or("", |(flags, _)| flags);
        at > 0 && !head.ends_with('\\') && !flags.is_empty() && flags.bytes().all(|b| b.is_ascii_lowercase())
    })
}
