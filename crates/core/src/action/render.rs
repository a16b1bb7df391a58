//! The dynamic half of tag substitution: a ban's values put into a command, without a shell ever reading them as
//! program text (contract §5.2, §13.8).
//!
//! In go a script and the values of its tags, out comes what `/bin/sh -c` is given. This is the only place where
//! text that attackers wrote meets a shell, and both processes use it.

use std::collections::BTreeMap;

use super::tags::{self, acts_in_a_shell};

/// A value longer than this is cut: one argument of a process holds 128 KiB, and a ban must not fail for length.
const MAX_VALUE: usize = 64 * 1024;

/// Harmless values beyond this many bytes in all go beside the script, so that itself it stays below 128 KiB.
const MAX_INSERTED: usize = 6 * 1024;

/// The values of one ban for one script: only those that the script asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Values {
    /// Tags by name: `ip`, `jail.name`, `matches`, …
    pub tags: BTreeMap<String, String>,
    /// What the filter captured, for `<F-NAME>`, by its name in small letters
    pub fields: BTreeMap<String, String>,
}

/// What is run: `/bin/sh -c script values…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The text that the shell reads
    pub script: String,
    /// The positional parameters, from `$0` on
    pub values: Vec<String>,
}

/// Puts the values into the script (contract §5.2): a harmless one as it is, any other as a variable that the
/// script's first line sets from a positional parameter. Tags that have no value stay; unknown `<F-NAME>` vanish.
///
/// NUL bytes, which no argument can hold, are left out: one in a log line must not make its ban fail.
#[must_use]
pub fn render(script: &str, values: &Values) -> Command {
    let mut variables = Variables::default();
    let mut text = tags::replace(script, |tag| match values.tags.get(tag) {
        Some(value) => Some(variables.insert(tag, value)),
        None => tags::constant(tag),
    });
    if text.contains('<') {
        text = tags::replace(&text, |tag| {
            let name = field_name(tag)?;
            Some(match values.fields.get(&name) {
                Some(value) => variables.insert(&format!("F_{name}"), value),
                None => String::new(),
            })
        });
    }
    variables.command(text)
}

/// The field that a tag `F-NAME` names; `None` for other tags.
fn field_name(tag: &str) -> Option<String> {
    let name = tag.strip_prefix("F-")?;
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) {
        return None;
    }
    Some(match name {
        "ID" => "fid".to_owned(),
        "PORT" => "fport".to_owned(),
        _ => name.to_ascii_lowercase(),
    })
}

/// The shell variables of one command, in the order of their first use.
#[derive(Default)]
struct Variables {
    set: Vec<(String, String)>,
    inserted: usize,
}

impl Variables {
    /// What stands in the script for this value.
    fn insert(&mut self, tag: &str, value: &str) -> String {
        let value = fit(value);
        if self.inserted + value.len() <= MAX_INSERTED && !value.contains(acts_in_a_shell) {
            self.inserted += value.len();
            return value;
        }
        let name: String = tag
            .chars()
            .map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' })
            .collect();
        let name = format!("f2bV_{name}");
        let reference = format!("${name}");
        match self.set.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.set.push((name, value)),
        }
        reference
    }

    fn command(self, text: String) -> Command {
        if self.set.is_empty() {
            return Command {
                script: text,
                values: Vec::new(),
            };
        }
        let mut script = String::with_capacity(text.len() + self.set.len() * 24);
        for (index, (name, _)) in self.set.iter().enumerate() {
            // A shell reads `$10` as `$1` and a nought.
            let assignment = if index < 10 {
                format!("{name}=${index} ")
            } else {
                format!("{name}=${{{index}}} ")
            };
            script.push_str(&assignment);
        }
        script.push('\n');
        script.push_str(&text);
        Command {
            script,
            values: self.set.into_iter().map(|(_, value)| value).collect(),
        }
    }
}

/// The value without NUL, cut at a character boundary.
fn fit(value: &str) -> String {
    let mut end = value.len().min(MAX_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or("").replace('\0', "")
}
