//! Sections and options as Fail2Ban's parser keeps them in memory: ordered as first seen, merged file by file.

use std::collections::BTreeMap;

use super::text::{Mark, Text};
use crate::value::{Value, is_python_letter};

/// A map that remembers the order in which keys came; setting a key again keeps its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ordered<V> {
    entries: Vec<(String, V)>,
    index: BTreeMap<String, usize>,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered {
            entries: Vec::new(),
            index: BTreeMap::new(),
        }
    }
}

impl<V> Ordered<V> {
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        let index = *self.index.get(key)?;
        self.entries.get(index).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let index = *self.index.get(key)?;
        self.entries.get_mut(index).map(|(_, value)| value)
    }

    pub(crate) fn set(&mut self, key: impl Into<String>, value: V) {
        let key = key.into();
        if let Some(old) = self.get_mut(&key) {
            *old = value;
        } else {
            self.index.insert(key.clone(), self.entries.len());
            self.entries.push((key, value));
        }
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }
}

impl<V: Clone> Ordered<V> {
    /// Python's `dict.update`.
    pub(crate) fn update(&mut self, other: &Ordered<V>) {
        for (key, value) in other.iter() {
            self.set(key, value.clone());
        }
    }
}

/// The value of an option: text as read, or what a conversion made of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Datum {
    Text(Text),
    Int(i64),
    Bool(bool),
    None,
}

impl Datum {
    /// Text that no file gave.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Datum::Text(Text::new(text, Mark::default()))
    }

    /// Python's `str()` of it, `None` and numbers included.
    pub(crate) fn to_text(&self) -> Text {
        match self {
            Datum::Text(text) => text.clone(),
            other => Text::new(other.value().to_string(), Mark::default()),
        }
    }

    /// Where it was written.
    pub(crate) fn mark(&self) -> Mark {
        match self {
            Datum::Text(text) => text.mark(),
            _ => Mark::default(),
        }
    }

    /// As it goes into a command.
    pub(crate) fn value(&self) -> Value {
        match self {
            Datum::Text(text) => Value::Str(text.as_str().to_owned()),
            Datum::Int(number) => Value::Int(*number),
            Datum::Bool(truth) => Value::Bool(*truth),
            Datum::None => Value::None,
        }
    }

    /// Python's truth of it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Datum::Text(text) => !text.as_str().is_empty(),
            Datum::Int(number) => *number != 0,
            Datum::Bool(truth) => *truth,
            Datum::None => false,
        }
    }
}

/// The options of one section.
pub(crate) type Options = Ordered<Datum>;

/// The prefix under which overwritten values are kept (contract §1.4).
pub(crate) const KNOWN: &str = "KNOWN/";

/// Everything that one or several merged files say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// `[DEFAULT]`
    pub(crate) defaults: Options,
    /// All other sections, the hidden `KNOWN/…` ones included
    pub(crate) sections: Ordered<Options>,
}

impl Document {
    /// The options of a section; `DEFAULT` is one only if no other has that name.
    pub(crate) fn section(&self, name: &str) -> Option<&Options> {
        self.sections.get(name)
    }

    /// Everything as plain text, `DEFAULT` first.
    pub(crate) fn raw_sections(&self) -> Vec<super::RawSection> {
        let texts = |options: &Options| -> Vec<(String, String)> {
            let pairs = options.iter();
            pairs
                .map(|(key, value)| (key.to_owned(), value.to_text().as_str().to_owned()))
                .collect()
        };
        let defaults = ("DEFAULT".to_owned(), texts(&self.defaults));
        let others = self
            .sections
            .iter()
            .map(|(name, options)| (name.to_owned(), texts(options)));
        std::iter::once(defaults).chain(others).collect()
    }

    /// Lays another file over this one (contract §1.4): what it overwrites goes to `KNOWN/…`, and the options of
    /// `[name?cond]` become `option?cond` of `[name]`.
    pub(crate) fn merge(&mut self, other: &Document) {
        self.defaults.update(&other.defaults);
        for (name, options) in other.sections.iter() {
            match split_condition(name) {
                Some((base, condition)) => {
                    let mut renamed = Options::default();
                    for (key, value) in options.iter().filter(|(key, _)| *key != "__name__") {
                        renamed.set(format!("{key}{condition}"), value.clone());
                    }
                    self.merge_section(base, &renamed);
                }
                None => self.merge_section(name, options),
            }
        }
    }

    fn merge_section(&mut self, name: &str, options: &Options) {
        let Some(present) = self.sections.get(name) else {
            self.sections.set(name, options.clone());
            return;
        };
        let mut replaced = Options::default();
        for (key, value) in present.iter().filter(|(key, _)| options.contains(key)) {
            replaced.set(key, value.clone());
        }
        self.section_mut(&format!("{KNOWN}{name}")).update(&replaced);
        self.section_mut(name).update(options);
    }

    /// Adds options to a section under a prefix; those that carry it already are left out.
    pub(crate) fn merge_prefixed(&mut self, name: &str, options: &Options, prefix: &str) {
        let section = self.section_mut(name);
        for (key, value) in options.iter() {
            if !key.starts_with(prefix) && key != "__name__" {
                section.set(format!("{prefix}{key}"), value.clone());
            }
        }
    }

    fn section_mut(&mut self, name: &str) -> &mut Options {
        if !self.sections.contains(name) {
            self.sections.set(name, Options::default());
        }
        // The entry was made above, so the fallback to the defaults is never taken.
        match self.sections.get_mut(name) {
            Some(section) => section,
            None => &mut self.defaults,
        }
    }
}

/// `Init?family=inet6` → (`Init`, `?family=inet6`): word characters, a question mark, and something after it.
pub(crate) fn split_condition(name: &str) -> Option<(&str, &str)> {
    let at = name.find('?')?;
    let (base, condition) = name.split_at(at);
    let is_word = !base.is_empty() && base.chars().all(is_word);
    let has_rest = condition.len() > 1 && !condition.trim_end_matches('\n').contains('\n') && condition != "?\n";
    (is_word && has_rest).then_some((base, condition))
}

/// A word character of Python's `\w`.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    is_python_letter(c)
}
