//! The static half of tag substitution: an action's own properties put into its commands (contract §5.1).
//!
//! In go the properties as text and a family, out comes each command with every tag resolved that a property
//! can resolve. What is left in angle brackets is for the moment of a ban, or is not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::Error;

/// How often one tag may be put into one property before it counts as self-reference.
const MAX_REPLACED: u32 = 25;

/// A command may grow to this many bytes; a single argument of a process cannot be longer than 128 KiB.
const MAX_COMMAND: usize = 120 * 1024;

/// Properties of these names hold what attackers wrote, so their static values are escaped with backslashes.
const ESCAPED: [&str; 3] = ["matches", "ipmatches", "ipjailmatches"];

/// The characters that a shell may act upon (contract §5.2).
pub(super) fn acts_in_a_shell(c: char) -> bool {
    matches!(
        c,
        '\\' | '#'
            | '&'
            | ';'
            | '`'
            | '|'
            | '*'
            | '?'
            | '~'
            | '<'
            | '>'
            | '^'
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '}'
            | '$'
    ) || matches!(c, '\'' | '"' | '\n' | '\r')
}

/// The first tag at or after `from`, brackets included: `<`, then anything but blank and angle brackets, then `>`.
pub(super) fn find(text: &str, from: usize) -> Option<Range<usize>> {
    let mut open = None;
    for (at, byte) in text.bytes().enumerate().skip(from) {
        match (byte, open) {
            (b'<', _) => open = Some(at),
            (b'>', Some(start)) if at > start + 1 => return Some(start..at + 1),
            (b' ' | b'>', _) => open = None,
            _ => {}
        }
    }
    None
}

/// The name of the tag at `range`.
pub(super) fn name<'t>(text: &'t str, range: &Range<usize>) -> &'t str {
    text.get(range.start + 1..range.end.saturating_sub(1)).unwrap_or("")
}

/// Replaces each tag by what `value` makes of its name; `None` leaves it. What was put in is not looked at again.
pub(super) fn replace(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(range) = find(text, done) {
        out.push_str(text.get(done..range.start).unwrap_or(""));
        match value(name(text, &range)) {
            Some(value) => out.push_str(&value),
            None => out.push_str(text.get(range.clone()).unwrap_or("")),
        }
        done = range.end;
    }
    out.push_str(text.get(done..).unwrap_or(""));
    out
}

/// The tags that mean the same everywhere.
pub(super) fn constant(tag: &str) -> Option<String> {
    match tag {
        "br" => Some("\n".to_owned()),
        "sp" => Some(" ".to_owned()),
        _ => None,
    }
}

/// An action's properties for one family, resolved among each other.
pub(super) struct Properties {
    resolved: BTreeMap<String, String>,
    condition: Option<String>,
}

impl Properties {
    /// Resolves the properties; `family` prefers the `name?family=…` variants.
    pub(super) fn resolve(properties: &BTreeMap<String, String>, family: Option<&str>) -> Result<Self, Error> {
        let mut this = Properties {
            resolved: properties.clone(),
            condition: family.map(|family| format!("?family={family}")),
        };
        let names: Vec<String> = properties.keys().cloned().collect();
        let mut done = BTreeSet::new();
        let mut counts: BTreeMap<&str, BTreeMap<String, u32>> = BTreeMap::new();
        loop {
            let mut again = false;
            for tag in &names {
                if ESCAPED.contains(&tag.as_str()) || done.contains(tag) {
                    continue;
                }
                let before = this.resolved.get(tag).cloned().unwrap_or_default();
                let mut count = counts.get(tag.as_str()).cloned().unwrap_or_default();
                let after = this.expand(tag, before.clone(), &mut count)?;
                if after != before && find(&after, 0).is_some() {
                    counts.insert(tag, count);
                    again = true;
                }
                if !after.contains('<') {
                    done.insert(tag.clone());
                }
                this.resolved.insert(tag.clone(), after);
            }
            if !again {
                return Ok(this);
            }
        }
    }

    /// One property, with every tag in it that another property can fill.
    fn expand(&self, tag: &str, mut value: String, count: &mut BTreeMap<String, u32>) -> Result<String, Error> {
        let mut from = 0;
        while let Some(range) = find(&value, from) {
            let found = name(&value, &range).to_owned();
            if ESCAPED.contains(&found.as_str()) {
                from = range.end;
                continue;
            }
            let times = count.entry(found.clone()).or_insert(0);
            if found == tag || *times > MAX_REPLACED {
                return Err(Error::SelfReference {
                    tag: tag.to_owned(),
                    found,
                });
            }
            let Some(replacement) = self.get(&found) else {
                from = range.end;
                continue;
            };
            *times += 1;
            let pattern = format!("<{found}>");
            let added = value.matches(&pattern).count().saturating_mul(replacement.len());
            if value.len().saturating_add(added) > MAX_COMMAND {
                return Err(Error::TooLong(tag.to_owned()));
            }
            value = value.replace(&pattern, replacement);
            from = range.start;
        }
        Ok(value)
    }

    /// The resolved property, its variant for the family first.
    fn get(&self, tag: &str) -> Option<&str> {
        let variant = self
            .condition
            .as_ref()
            .and_then(|condition| self.resolved.get(&format!("{tag}{condition}")));
        variant.or_else(|| self.resolved.get(tag)).map(String::as_str)
    }

    /// The command that is the property `verb`, with all that can be filled in filled in.
    pub(super) fn command(&self, verb: &str) -> Result<String, Error> {
        let mut text = format!("<{verb}>");
        for _ in 0..=MAX_REPLACED {
            let mut room = MAX_COMMAND.saturating_sub(text.len());
            let mut fits = true;
            let next = replace(&text, |tag| {
                let value = match self.get(tag) {
                    Some(value) if ESCAPED.contains(&tag) => backslashed(value),
                    Some(value) => value.to_owned(),
                    None => constant(tag)?,
                };
                fits &= value.len() <= room;
                room = room.saturating_sub(value.len());
                fits.then_some(value)
            });
            if !fits {
                return Err(Error::TooLong(verb.to_owned()));
            }
            if next == text || !next.contains('<') {
                return Ok(next);
            }
            text = next;
        }
        Err(Error::SelfReference {
            tag: verb.to_owned(),
            found: verb.to_owned(),
        })
    }
}

fn backslashed(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if acts_in_a_shell(c) {
            out.push('\\');
        }
        out.push(match c {
            '\n' => 'n',
            '\r' => 'r',
            c => c,
        });
    }
    out
}
