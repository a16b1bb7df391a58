//! An action of a jail: its file, its parameters, and the commands that come of it (contract §1.9, §2.4).

use std::rc::Rc;

use super::definition::{Care, Definition, Fallback, Kind, Known};
use super::document::{Datum, Document, Options};
use super::expand::Problem;
use super::filter::{Commands, set};
use super::text::{Mark, Text};
use crate::value::Value;

/// The options of an action that the server runs or obeys; all others are tags.
pub(crate) const ACTION_OPTIONS: &[Known] = &[
    ("actionstart", Kind::Text, Fallback::None),
    ("actionstart_on_demand", Kind::Bool, Fallback::None),
    ("actionstop", Kind::Text, Fallback::None),
    ("actionflush", Kind::Text, Fallback::None),
    ("actionreload", Kind::Text, Fallback::None),
    ("actioncheck", Kind::Text, Fallback::None),
    ("actionrepair", Kind::Text, Fallback::None),
    ("actionrepair_on_unban", Kind::Bool, Fallback::None),
    ("actionban", Kind::Text, Fallback::None),
    ("actionprolong", Kind::Text, Fallback::None),
    ("actionreban", Kind::Text, Fallback::None),
    ("actionunban", Kind::Text, Fallback::None),
    ("norestored", Kind::Bool, Fallback::None),
];

/// Tags that hold log text or change from ban to ban: left for the server.
const RUN_TIME_TAGS: &[&str] = &["matches", "ipmatches", "ipjailmatches", "timeout", "bantime"];

/// What people write for the offender's address where `<ip>` was meant.
const ADDRESS_NAMES: &[&str] = &["banip", "ip"];

/// One action of one jail.
pub(crate) struct Action {
    pub(crate) definition: Definition,
    jail: String,
    /// The name within the jail
    name: String,
}

impl Action {
    /// An action of a file, named at a place, with the parameters of the jail's `action` entry.
    pub(crate) fn new(
        document: Rc<Document>,
        (file, mark): (&str, Mark),
        jail: &str,
        mut options: Options,
        care: Care,
    ) -> Self {
        let made = |text: &str| Datum::Text(Text::new(text, mark));
        let given = options.get("name").map(Datum::to_text);
        if given.is_none() {
            options.set("name", made(jail));
        }
        let given = given.as_ref().map_or(jail, |text| text.as_str());
        let name = match options.get("actname") {
            Some(name) => name.to_text().as_str().to_owned(),
            None if given == jail => file.to_owned(),
            None => match given.strip_prefix(jail) {
                Some(rest) => format!("{file}{rest}"),
                None => format!("{file}-{given}"),
            },
        };
        if !options.contains("actname") {
            options.set("actname", made(&name));
        }
        let mut definition = Definition::new(document, ACTION_OPTIONS, options, care);
        if care == Care::Lenient {
            definition.address_names = ADDRESS_NAMES;
        }
        Action {
            definition,
            jail: jail.to_owned(),
            name,
        }
    }

    /// `addaction`, and the properties.
    pub(crate) fn push_commands(&mut self, commands: &mut Commands) -> Result<(), Problem> {
        let values = self.definition.combined(RUN_TIME_TAGS)?;
        let is_known = |name: &str| ACTION_OPTIONS.iter().any(|(known, _, _)| *known == name);
        let known = values.iter().filter(|(name, _)| is_known(name));
        let init = self.definition.init.iter();
        let tags = init.filter(|(name, _)| !is_known(name) && !name.starts_with("known/"));
        let pairs: Vec<(&str, &Datum)> = known.chain(tags).collect();
        commands.push(set(&self.jail, "addaction", [self.name.as_str().into()]), Vec::new());
        let origins: Vec<(String, Mark)> = pairs
            .iter()
            .map(|(name, value)| (format!("{name}@{}", self.name), value.mark()))
            .collect();
        let lists: Vec<Value> = pairs.iter().map(|(name, value)| pair(name, value)).collect();
        match lists.as_slice() {
            [] => {}
            [Value::List(single)] => {
                let mut command = set(&self.jail, "action", [self.name.as_str().into()]);
                command.extend(single.iter().cloned());
                commands.push(command, origins);
            }
            _ => {
                let head = ["multi-set".into(), self.jail.as_str().into(), "action".into()];
                let mut command = Vec::from(head);
                command.extend([self.name.as_str().into(), Value::List(lists)]);
                commands.push(command, origins);
            }
        }
        Ok(())
    }

    /// Where the file writes `%(banip)s` or `%(ip)s` for the tag `<ip>`, which Fail2Ban refuses.
    pub(crate) fn address_slips(&self) -> Vec<(Mark, &'static str)> {
        let document = self.definition.document();
        let mut slips = Vec::new();
        for (_, options) in document.sections.iter() {
            for (_, value) in options.iter() {
                let Datum::Text(text) = value else { continue };
                for (line, mark) in text.lines() {
                    let line = line.to_lowercase();
                    let slip = ADDRESS_NAMES.iter().find(|name| line.contains(&format!("%({name})s")));
                    slips.extend(slip.map(|name| (mark, *name)));
                }
            }
        }
        slips
    }
}

fn pair(name: &str, value: &Datum) -> Value {
    Value::List(vec![name.into(), value.value()])
}
