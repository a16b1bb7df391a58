//! `%(…)s` and `<tag>`: how the values of options are put together (contract §1.5, §1.7).
//!
//! Both run on demand and both can be made to grow without end, so the size of a value, the number of
//! replacements and their depth are capped.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Datum, Document, KNOWN, Options, is_word};
use super::text::{Mark, Text, Weave, is_space};
use crate::value::repr_str;

/// How deep `%(…)s` may nest: Python's own limit.
const DEPTH_CAP: usize = 10;
/// The longest that one option may grow, in bytes.
const SIZE_CAP: usize = 1 << 20;
/// The most `%(…)s` and `%%` that one option may take.
const STEP_CAP: usize = 100_000;
/// The most bytes that replacing the tags of one value may write in one pass.
const WORK_CAP: usize = 256 << 20;
/// How often one tag may be replaced within one option.
const TAG_CAP: usize = 25;

/// Why a value could not be had: what Fail2Ban would raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The stable name for a diagnostic
    pub(crate) code: &'static str,
    /// What is wrong
    pub(crate) message: String,
    /// Where
    pub(crate) mark: Mark,
    /// What to do about it
    pub(crate) mend: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, mark: Mark) -> Self {
        Problem {
            code,
            message: message.into(),
            mark,
            mend: None,
        }
    }

    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The section is not there.
    Section,
    /// The option is not there.
    Option,
    /// It is there, and cannot be put together.
    Bad(Problem),
}

/// Values handed over with a question; they come before the section's own. Names are in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vars(BTreeMap<String, Option<Text>>);

impl Vars {
    /// Takes options as Python does: names lowered, values made text, `None` kept.
    pub(crate) fn new(options: &Options) -> Self {
        let pairs = options.iter().map(|(key, value)| match value {
            Datum::None => (key.to_lowercase(), None),
            value => (key.to_lowercase(), Some(value.to_text())),
        });
        Vars(pairs.collect())
    }
}

/// A question to one section of a document.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) document: &'a Document,
    pub(crate) section: &'a str,
    pub(crate) vars: Option<&'a Vars>,
    /// Names that, where nothing else has them, stand for the tag of the offender's address.
    pub(crate) address_names: &'a [&'a str],
}

/// What a look-up found.
enum Found<'a> {
    Text(&'a Text),
    NotText,
}

/// What is being put together: the pieces, and what nested look-ups may see beside the section.
struct Making {
    out: Weave,
    extra: Vec<(String, Datum)>,
    steps: usize,
}

impl<'a> Ask<'a> {
    fn own(&self) -> Result<Option<&'a Options>, Miss> {
        match self.document.section(self.section) {
            Some(options) => Ok(Some(options)),
            None if self.section == "DEFAULT" => Ok(None),
            None => Err(Miss::Section),
        }
    }

    /// The value of an option, put together.
    pub(crate) fn get(&self, option: &str) -> Result<Datum, Miss> {
        let own = self.own()?;
        let option = option.to_lowercase();
        let handed = self.vars.and_then(|vars| vars.0.get(&option));
        let value = match handed {
            Some(None) => return Ok(Datum::None),
            Some(Some(text)) => text.clone(),
            None => match own
                .and_then(|own| own.get(&option))
                .or_else(|| self.document.defaults.get(&option))
            {
                Some(Datum::Text(text)) => text.clone(),
                Some(Datum::None) => return Ok(Datum::None),
                Some(_) => return Err(Miss::Bad(not_text(&option, Mark::default()))),
                None => return Err(Miss::Option),
            },
        };
        let mut making = Making {
            out: Weave::default(),
            extra: Vec::new(),
            steps: 0,
        };
        self.weave(&option, &value, 1, &mut making).map_err(Miss::Bad)?;
        let made = making.out.finish();
        if made.as_str().is_empty() {
            // Nothing came of it, but it is written somewhere.
            return Ok(Datum::Text(Text::new("", value.mark())));
        }
        Ok(Datum::Text(made))
    }

    /// Like [`Ask::get`], where the name may carry its section: `section/option`, `known/option`,
    /// `default/option` (case counts here).
    pub(crate) fn get_with_section(&self, option: &str) -> Result<Datum, Miss> {
        if let Some((section, name)) = section_option(option) {
            let known = format!("{KNOWN}{}", self.section);
            let sections: &[&str] = match section.to_lowercase().as_str() {
                "known" => &[&known, self.section],
                "default" => &["DEFAULT"],
                _ => &[section],
            };
            for section in sections {
                let ask = Ask {
                    section,
                    vars: None,
                    ..*self
                };
                match ask.get(name) {
                    Err(Miss::Section | Miss::Option) => {}
                    found => return found,
                }
            }
        }
        self.get(option)
    }

    fn weave(&self, option: &str, value: &Text, depth: usize, making: &mut Making) -> Result<(), Problem> {
        if depth > DEPTH_CAP {
            let message = format!("option {} nests %(…)s deeper than {DEPTH_CAP} levels", repr_str(option));
            return Err(Problem::new("interpolation-depth", message, value.mark()));
        }
        let scope = making.extra.len();
        self.map_foreign(value.as_str(), making);
        let result = self.weave_pieces(option, value, depth, making);
        making.extra.truncate(scope);
        result
    }

    fn weave_pieces(&self, option: &str, value: &Text, depth: usize, making: &mut Making) -> Result<(), Problem> {
        let text = value.as_str();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let marks = value.marks_from(at);
            let mark = marks.first().copied().unwrap_or_default();
            let plain = rest.find('%').unwrap_or(rest.len());
            making.out.push(rest.get(..plain).unwrap_or_default(), marks, depth);
            making.check(option, mark)?;
            let Some(sign) = rest.get(plain..).filter(|sign| !sign.is_empty()) else {
                break;
            };
            let marks = value.marks_from(at + plain);
            let mark = marks.first().copied().unwrap_or_default();
            if sign.starts_with("%%") {
                making.out.push("%", marks, depth);
                at += plain + 2;
                continue;
            }
            let Some(name) = variable(sign) else {
                return Err(bad_percent(option, sign, mark));
            };
            at += plain + name.len() + "%()s".len();
            self.weave_variable(option, name, (depth, mark), making)?;
        }
        Ok(())
    }

    fn weave_variable(
        &self,
        option: &str,
        name: &str,
        place: (usize, Mark),
        making: &mut Making,
    ) -> Result<(), Problem> {
        let (depth, mark) = place;
        let name = name.to_lowercase();
        if name == "__name__" {
            // A section's name that holds a percent sign is put together like any other text.
            if self.section.contains('%') {
                return self.weave(option, &Text::new(self.section, mark), depth + 1, making);
            }
            making.out.push(self.section, &[mark], depth + 1);
            return Ok(());
        }
        let found = match making.extra.iter().find(|(key, _)| *key == name) {
            Some((_, Datum::Text(text))) => Some(Found::Text(text)),
            Some(_) => Some(Found::NotText),
            None => self.look_up(&name),
        };
        match found {
            Some(Found::Text(text)) if text.as_str().contains('%') => {
                let text = text.clone();
                self.weave(option, &text, depth + 1, making)
            }
            Some(Found::Text(text)) => {
                let text = text.clone();
                making.out.push(text.as_str(), text.marks(), depth + 1);
                making.check(option, mark)
            }
            Some(Found::NotText) => Err(not_text(option, mark)),
            None if self.address_names.contains(&name.as_str()) => {
                making.out.push("<ip>", &[mark], depth + 1);
                Ok(())
            }
            None => Err(missing(option, self.section, &name, mark)),
        }
    }

    fn look_up(&self, name: &str) -> Option<Found<'a>> {
        match self.vars.and_then(|vars| vars.0.get(name)) {
            Some(Some(text)) => return Some(Found::Text(text)),
            Some(None) => return Some(Found::NotText),
            None => {}
        }
        let own = self.document.section(self.section).and_then(|own| own.get(name));
        match own.or_else(|| self.document.defaults.get(name))? {
            Datum::Text(text) => Some(Found::Text(text)),
            _ => Some(Found::NotText),
        }
    }

    /// Makes `%(section/option)s` of a text known to this level and those below: the raw value of the other
    /// section, or of DEFAULT where it has none.
    fn map_foreign(&self, text: &str, making: &mut Making) {
        let mut rest = text;
        while let Some(at) = rest.find("%(") {
            let Some(tail) = rest.get(at + 2..) else { return };
            rest = tail;
            let Some((name, section, option)) = foreign_name(tail) else {
                continue;
            };
            let is_known = making.extra.iter().any(|(key, _)| key == name) || self.look_up(name).is_some();
            if !is_known && let Some(value) = self.foreign(section, option) {
                making.extra.push((name.to_owned(), value.clone()));
            }
        }
    }

    fn foreign(&self, section: &str, option: &str) -> Option<&'a Datum> {
        let found = match section.to_lowercase().as_str() {
            "default" => None,
            "known" => {
                let known = self.document.section(&format!("{KNOWN}{}", self.section));
                known.and_then(|known| known.get(option))
            }
            _ => self.document.section(section)?.get(option),
        };
        found.or_else(|| self.document.defaults.get(option))
    }
}

impl Making {
    fn check(&mut self, option: &str, mark: Mark) -> Result<(), Problem> {
        self.steps += 1;
        if self.out.len() > SIZE_CAP || self.steps > STEP_CAP {
            return Err(too_large(option, mark));
        }
        Ok(())
    }
}

/// The `name` of a leading `%(name)s`.
fn variable(sign: &str) -> Option<&str> {
    let inner = sign.strip_prefix("%(")?;
    let end = inner.find(')')?;
    inner.get(end..)?.strip_prefix(")s")?;
    inner.get(..end).filter(|name| !name.is_empty())
}

/// `section/option)s…` → (`section/option`, `section`, `option`).
fn foreign_name(tail: &str) -> Option<(&str, &str, &str)> {
    let end = tail.find(')')?;
    tail.get(end..)?.strip_prefix(")s")?;
    let name = tail.get(..end)?;
    let (section, option) = name.split_once('/')?;
    let fits = !option.is_empty() && is_section_name(section);
    fits.then_some((name, section, option))
}

/// `section/option` as a tag has it.
fn section_option(name: &str) -> Option<(&str, &str)> {
    let (section, option) = name.split_once('/')?;
    let option = option.strip_suffix('\n').unwrap_or(option);
    let fits = is_section_name(section) && !option.is_empty() && !option.contains(|c| is_space(c) || c == '>');
    fits.then_some((section, option))
}

fn is_section_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| is_word(c) || c == '-')
}

fn missing(option: &str, section: &str, name: &str, mark: Mark) -> Problem {
    let message = format!(
        "option {} in section {} asks for %({name})s, which no option in reach is called",
        repr_str(option),
        repr_str(section)
    );
    Problem::new("interpolation-missing", message, mark).mend(format!(
        "set {name} in the same section or in [DEFAULT], or write %% for a percent sign"
    ))
}

fn bad_percent(option: &str, sign: &str, mark: Mark) -> Problem {
    let shown: String = sign.chars().take(25).collect();
    let message = format!(
        "option {} has a percent sign that begins no %(name)s: {}",
        repr_str(option),
        repr_str(&shown)
    );
    Problem::new("interpolation-syntax", message, mark).mend("write %% for a percent sign")
}

fn not_text(option: &str, mark: Mark) -> Problem {
    let message = format!("option {} asks for a value that is no text", repr_str(option));
    Problem::new("interpolation-type", message, mark)
}

fn too_large(option: &str, mark: Mark) -> Problem {
    let message = format!(
        "option {} grows beyond all bounds when it is put together",
        repr_str(option)
    );
    Problem::new("too-large", message, mark)
}

/// Replaces `<tag>`s within all values by each other until nothing changes (contract §1.7). Tags in `ignore` stay;
/// `more` is asked for what the values themselves do not have. Values that did not change are left as they are.
pub(crate) fn replace_tags(
    values: &Options,
    ignore: &BTreeSet<String>,
    more: &mut dyn FnMut(&str) -> Result<Option<Text>, Problem>,
) -> Result<Options, Problem> {
    let mut tags = values.clone();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut counts: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    loop {
        let mut again = false;
        for tag in values.keys() {
            if ignore.contains(tag) || done.contains(tag) {
                continue;
            }
            let Some(value) = tags.get(tag).map(Datum::to_text) else {
                continue;
            };
            let mut pass = TagPass {
                tag,
                tags: &tags,
                ignore,
                counts: counts.remove(tag).unwrap_or_default(),
            };
            let replaced = pass.run(&value, more)?;
            let has_more = next_tag(replaced.as_str(), 0).is_some();
            let has_sign = replaced.as_str().contains('<');
            counts.insert(tag, pass.counts);
            if replaced.as_str() != value.as_str() {
                again |= has_more;
                tags.set(tag, Datum::Text(replaced));
            }
            if !has_sign {
                done.insert(tag);
            }
        }
        if !again {
            return Ok(tags);
        }
    }
}

/// One pass over one value.
struct TagPass<'p> {
    tag: &'p str,
    tags: &'p Options,
    ignore: &'p BTreeSet<String>,
    counts: BTreeMap<String, usize>,
}

impl TagPass<'_> {
    fn run(
        &mut self,
        value: &Text,
        more: &mut dyn FnMut(&str) -> Result<Option<Text>, Problem>,
    ) -> Result<Text, Problem> {
        let mut value = value.clone();
        let mut from = 0;
        let mut work = 0;
        while let Some((start, end)) = next_tag(value.as_str(), from) {
            let name = value.as_str().get(start + 1..end - 1).unwrap_or_default().to_owned();
            if self.ignore.contains(&name) {
                from = end;
                continue;
            }
            let count = self.counts.get(&name).copied();
            if name == self.tag || count.unwrap_or(1) > TAG_CAP {
                return Err(self_reference(self.tag, &name, value.mark()));
            }
            let replacement = match self.tags.get(&name) {
                Some(Datum::None) | None => more(&name)?,
                Some(datum) => Some(datum.to_text()),
            };
            let Some(replacement) = replacement else {
                from = end;
                continue;
            };
            value = replace_all(&value, &format!("<{name}>"), &replacement);
            work += value.as_str().len();
            if value.as_str().len() > SIZE_CAP || work > WORK_CAP {
                return Err(too_large(self.tag, value.mark()));
            }
            *self.counts.entry(name).or_insert(0) += 1;
            from = start;
        }
        Ok(value)
    }
}

fn replace_all(value: &Text, needle: &str, replacement: &Text) -> Text {
    let mut weave = Weave::default();
    let mut at = 0;
    for (hit, _) in value.as_str().match_indices(needle) {
        weave.push(value.as_str().get(at..hit).unwrap_or_default(), value.marks_from(at), 0);
        weave.push(replacement.as_str(), replacement.marks(), 1);
        at = hit + needle.len();
        if weave.len() > SIZE_CAP {
            break;
        }
    }
    weave.push(value.as_str().get(at..).unwrap_or_default(), value.marks_from(at), 0);
    weave.finish()
}

/// The next `<tag>` at or behind `from`: its place with the brackets. A tag holds no blank and no bracket.
pub(crate) fn next_tag(text: &str, from: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut open: Option<usize> = None;
    for (at, &byte) in bytes.iter().enumerate().skip(from) {
        match (byte, open) {
            (b'<', _) => open = Some(at),
            (b' ', _) => open = None,
            (b'>', Some(start)) if at > start + 1 => return Some((start, at + 1)),
            (b'>', _) => open = None,
            _ => {}
        }
    }
    None
}

fn self_reference(tag: &str, found: &str, mark: Mark) -> Problem {
    let message = format!(
        "the tags of {} refer to themselves (by <{found}>) and cannot be resolved",
        repr_str(tag)
    );
    Problem::new("tag-recursion", message, mark).mend(format!("take <{found}> out of one of the options in the circle"))
}
