//! What filters and actions have in common: `[Definition]`, `[Init]`, the parameters of the jail, and how the three
//! become one set of values (contract §1.7–1.9).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::document::{Datum, Document, Options, split_condition};
use super::expand::{Ask, Miss, Problem, Vars, replace_tags};
use super::options::{parse_bool, parse_int};
use super::text::Text;
use crate::value::repr_str;

/// What an option is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Bool,
}

/// What stands for an option that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    None,
    Bool(bool),
    Text(&'static str),
}

impl Fallback {
    pub(crate) fn datum(self) -> Datum {
        match self {
            Fallback::None => Datum::None,
            Fallback::Bool(truth) => Datum::Bool(truth),
            Fallback::Text(text) => Datum::plain(text),
        }
    }
}

/// An option that is known by name.
pub(crate) type Known = (&'static str, Kind, Fallback);

/// The options of a jail, in the order of Fail2Ban's table, which is the order of the stream. Those of `prefix.` and
/// `logcommand` are ours; where none is set, the stream has none.
pub(crate) const JAIL_OPTIONS: &[Known] = &[
    ("enabled", Kind::Bool, Fallback::Bool(false)),
    ("backend", Kind::Text, Fallback::Text("auto")),
    ("maxretry", Kind::Int, Fallback::None),
    ("maxmatches", Kind::Int, Fallback::None),
    ("findtime", Kind::Text, Fallback::None),
    ("bantime", Kind::Text, Fallback::None),
    ("bantime.increment", Kind::Bool, Fallback::None),
    ("bantime.factor", Kind::Text, Fallback::None),
    ("bantime.formula", Kind::Text, Fallback::None),
    ("bantime.multipliers", Kind::Text, Fallback::None),
    ("bantime.maxtime", Kind::Text, Fallback::None),
    ("bantime.rndtime", Kind::Text, Fallback::None),
    ("bantime.overalljails", Kind::Bool, Fallback::None),
    ("prefix.ipv4", Kind::Text, Fallback::None),
    ("prefix.ipv6", Kind::Text, Fallback::None),
    ("prefix.widen", Kind::Text, Fallback::None),
    ("prefix.widen.ipv4", Kind::Text, Fallback::None),
    ("prefix.widen.ipv6", Kind::Text, Fallback::None),
    ("ignorecommand", Kind::Text, Fallback::None),
    ("ignoreself", Kind::Bool, Fallback::None),
    ("ignoreip", Kind::Text, Fallback::None),
    ("ignorecache", Kind::Text, Fallback::None),
    ("filter", Kind::Text, Fallback::Text("")),
    ("logtimezone", Kind::Text, Fallback::None),
    ("logencoding", Kind::Text, Fallback::None),
    ("logpath", Kind::Text, Fallback::None),
    ("logcommand", Kind::Text, Fallback::None),
    ("skip_if_nologs", Kind::Bool, Fallback::Bool(false)),
    ("systemd_if_nologs", Kind::Bool, Fallback::Bool(true)),
    ("action", Kind::Text, Fallback::Text("")),
    ("usedns", Kind::Text, Fallback::None),
    ("prefregex", Kind::Text, Fallback::None),
    ("ignoreregex", Kind::Text, Fallback::None),
    ("failregex", Kind::Text, Fallback::None),
    ("maxlines", Kind::Int, Fallback::None),
    ("datepattern", Kind::Text, Fallback::None),
    ("journalmatch", Kind::Text, Fallback::None),
];

/// Converts a value; `Err` if a number is none.
pub(crate) fn convert(kind: Kind, value: &Datum) -> Result<Datum, ()> {
    match (kind, value) {
        (Kind::Int, Datum::Text(text)) => parse_int(text.as_str()).map(Datum::Int).ok_or(()),
        (Kind::Int, Datum::Bool(truth)) => Ok(Datum::Int(i64::from(*truth))),
        (Kind::Bool, Datum::Text(text)) => Ok(Datum::Bool(parse_bool(text.as_str()))),
        (Kind::Bool, value) => Ok(Datum::Bool(value.is_true())),
        (_, value) => Ok(value.clone()),
    }
}

/// Complaints that do not end the reading; the caller knows the jail they belong to.
#[derive(Default)]
pub(crate) struct Remarks(pub(crate) Vec<Problem>);

/// How problems are met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// As Fail2Ban: every problem ends the reading.
    Strict,
    /// An option that nothing depends on is left out; the rest goes on.
    Lenient,
}

/// The reader of one filter or action for one jail.
pub(crate) struct Definition {
    document: Rc<Document>,
    known: &'static [Known],
    /// Parameters, and `[Init]` below them
    pub(crate) init: Options,
    options: Options,
    vars: Vars,
    cache: BTreeMap<String, Option<Text>>,
    care: Care,
    pub(crate) address_names: &'static [&'static str],
    pub(crate) remarks: Remarks,
}

impl Definition {
    pub(crate) fn new(document: Rc<Document>, known: &'static [Known], init: Options, care: Care) -> Self {
        Definition {
            document,
            known,
            init,
            options: Options::default(),
            vars: Vars::default(),
            cache: BTreeMap::new(),
            care,
            address_names: &[],
            remarks: Remarks::default(),
        }
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    fn ask<'a>(&'a self, section: &'a str, vars: Option<&'a Vars>) -> Ask<'a> {
        Ask {
            document: &self.document,
            section,
            vars,
            address_names: self.address_names,
        }
    }

    /// Reads the options, with the options of the jail below the parameters. With `all`, every option of
    /// `[Definition]` is read, not only those known by name.
    pub(crate) fn read(&mut self, jail: &Options, all: bool) -> Result<(), Problem> {
        let mut above = jail.clone();
        above.update(&self.init);
        self.vars = Vars::new(&above);
        let mut options = Options::default();
        for (name, _, _) in self.known.iter().filter(|(name, _, _)| !above.contains(name)) {
            match self.ask("Definition", Some(&self.vars)).get(name) {
                Ok(value) => options.set(*name, value),
                Err(Miss::Section) => options.set(*name, Datum::None),
                Err(Miss::Option) => {}
                Err(Miss::Bad(problem)) => return Err(problem),
            }
        }
        self.options = options;
        self.read_init(&above)?;
        if all {
            self.read_rest()?;
        }
        Ok(())
    }

    fn read_init(&mut self, above: &Options) -> Result<(), Problem> {
        let document = Rc::clone(&self.document);
        let Some(own) = document.section("Init") else {
            return Ok(());
        };
        for name in own.keys().filter(|name| *name != "__name__") {
            // An option that is called `known/…` itself is looked at only if nothing set it before.
            if name.starts_with("known/") && self.init.contains(name) {
                continue;
            }
            let Some(value) = self.read_plain("Init", name)? else {
                continue;
            };
            if !name.starts_with("known/") {
                self.init.set(format!("known/{name}"), value.clone());
            }
            if self.init.contains(name) {
                continue;
            }
            let given = split_condition(name).and_then(|(base, _)| above.get(base));
            let value = match given {
                Some(Datum::None) | None => value,
                Some(given) => given.clone(),
            };
            self.init.set(name, value);
        }
        Ok(())
    }

    fn read_rest(&mut self) -> Result<(), Problem> {
        let document = Rc::clone(&self.document);
        let Some(own) = document.section("Definition") else {
            return Ok(());
        };
        for name in own.keys() {
            if name == "__name__" || self.options.contains(name) {
                continue;
            }
            if let Some(value) = self.read_plain("Definition", name)? {
                self.options.set(name, value);
            }
        }
        Ok(())
    }

    /// The value of an option without the jail's; `None` if it was left out for a problem.
    fn read_plain(&mut self, section: &str, name: &str) -> Result<Option<Datum>, Problem> {
        match self.ask(section, None).get(name) {
            Ok(value) => Ok(Some(value)),
            Err(Miss::Section | Miss::Option) => Ok(None),
            Err(Miss::Bad(problem)) if self.care == Care::Strict => Err(problem),
            Err(Miss::Bad(problem)) => {
                self.remarks.0.push(problem);
                Ok(None)
            }
        }
    }

    /// All values with their tags replaced, known options converted. Tags in `ignore` stay, as do those that have a
    /// conditional variant, which the server resolves for each family.
    pub(crate) fn combined(&mut self, ignore: &[&str]) -> Result<Options, Problem> {
        let mut values = self.options.clone();
        values.update(&self.init);
        let mut ignored: BTreeSet<String> = ignore.iter().map(|&name| name.to_owned()).collect();
        ignored.extend(
            values
                .keys()
                .filter_map(split_condition)
                .map(|(base, _)| base.to_owned()),
        );
        let mut cache = std::mem::take(&mut self.cache);
        let replaced = replace_tags(&values, &ignored, &mut |name| self.section_tag(name, &mut cache));
        self.cache = cache;
        let mut replaced = replaced?;
        self.convert_known(&mut replaced);
        Ok(replaced)
    }

    /// A tag that the values themselves do not have: looked up once and remembered, as Fail2Ban does, even though
    /// the jail's options may be others at the second reading.
    fn section_tag(&self, name: &str, cache: &mut BTreeMap<String, Option<Text>>) -> Result<Option<Text>, Problem> {
        if let Some(value) = cache.get(name) {
            return Ok(value.clone());
        }
        let value = match self.ask("Definition", Some(&self.vars)).get_with_section(name) {
            Ok(Datum::None) | Err(Miss::Section | Miss::Option) => None,
            Ok(value) => Some(value.to_text()),
            Err(Miss::Bad(problem)) => return Err(problem),
        };
        cache.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn convert_known(&mut self, values: &mut Options) {
        for &(name, kind, fallback) in self.known {
            let Some(value) = values
                .get(name)
                .filter(|value| **value != Datum::None && kind != Kind::Text)
            else {
                continue;
            };
            let converted = convert(kind, value).unwrap_or_else(|()| {
                let shown = repr_str(value.to_text().as_str());
                let message = format!("{name} is no number: {shown}; the default is taken");
                self.remarks.0.push(Problem::new("not-a-number", message, value.mark()));
                fallback.datum()
            });
            values.set(name, converted);
        }
    }
}
