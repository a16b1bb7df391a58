//! The small grammars inside values: `name[opt=value]`, lists of actions, words, shell words, numbers, truths.
//!
//! All follow the Python that Fail2Ban reads them with (contract §1.6, §1.8), error positions included, because
//! the text of an error stands in the command stream.

use std::sync::LazyLock;

use super::document::is_word;
use super::text::{is_space, strip};
use crate::value::{python_digit, repr_str};

/// `name[opt=value,…]`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What stands before the bracket, blanks included
    pub name: String,
    /// The options in order; a name given twice keeps its first place and its last value
    pub options: Vec<(String, String)>,
}

/// Takes `name[opt=value,…][…]` apart (contract §1.6).
///
/// # Errors
/// Text that says what is wrong and where, as Fail2Ban words it.
pub fn extract(text: &str) -> Result<Named, String> {
    const UNEXPECTED: &str = "unexpected option syntax";
    let open = text.find('[');
    let (name, inner) = match open {
        None => (text, None),
        Some(open) => {
            let rest = text.get(open + 1..).unwrap_or_default();
            let trimmed = rest.trim_end_matches(is_space);
            let inner = trimmed.strip_suffix(']').ok_or(UNEXPECTED)?;
            (text.get(..open).unwrap_or_default(), Some(inner))
        }
    };
    if name.is_empty() {
        return Err(UNEXPECTED.to_owned());
    }
    let mut named = Named {
        name: name.to_owned(),
        options: Vec::new(),
    };
    if let Some(inner) = inner {
        extract_list(inner, &mut named.options)?;
    }
    Ok(named)
}

fn extract_list(text: &str, options: &mut Vec<(String, String)>) -> Result<(), String> {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let body = rest.trim_start_matches(is_space);
        let Some((name, tail)) = option_name(body) else {
            let tail = rest.strip_prefix(',').unwrap_or(rest);
            if tail.chars().all(is_space) {
                return Ok(());
            }
            let shown: String = rest.chars().take(25).collect();
            return Err(format!(
                "expected option, wrong syntax at {}: {shown}",
                char_count(text, at)
            ));
        };
        let (value, tail) = option_value(tail);
        let Some(next) = after_separator(tail) else {
            let shown: String = tail.chars().take(25).collect();
            let place = char_count(text, text.len() - tail.len());
            let name = repr_str(name);
            return Err(format!("unexpected syntax at {place} after option {name}: {shown}"));
        };
        set(options, name, strip(value));
        at = text.len() - next.len();
    }
    Ok(())
}

fn char_count(text: &str, bytes: usize) -> usize {
    text.get(..bytes).unwrap_or_default().chars().count()
}

/// Sets an option as a Python dict does.
fn set(options: &mut Vec<(String, String)>, name: &str, value: &str) {
    match options.iter_mut().find(|(key, _)| key == name) {
        Some(pair) => pair.1 = value.to_owned(),
        None => options.push((name.to_owned(), value.to_owned())),
    }
}

/// `name=` or `name?key=value=` at the start: the name, and what follows the sign.
fn option_name(text: &str) -> Option<(&str, &str)> {
    let name = run_of_name(text)?;
    let tail = text.get(name..)?;
    if let Some(condition) = tail.strip_prefix('?')
        && let Some(key) = run_of_name(condition)
        && let Some(value) = condition.get(key..).and_then(|rest| rest.strip_prefix('='))
        && let Some(length) = run_of_name(value)
        && value.get(length..).is_some_and(|rest| rest.starts_with('='))
    {
        let end = name + 1 + key + 1 + length;
        return Some((text.get(..end)?, text.get(end + 1..)?));
    }
    Some((text.get(..name)?, tail.strip_prefix('=')?))
}

/// How many bytes at the start are characters of an option's name.
fn run_of_name(text: &str) -> Option<usize> {
    let end = text
        .find(|c| !(is_word(c) || matches!(c, '-' | '.')))
        .unwrap_or(text.len());
    (end > 0).then_some(end)
}

/// A value in quotes, or bare up to a comma or a closing bracket; and what follows.
fn option_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some((value, rest)) = text.strip_prefix(quote).and_then(|inner| inner.split_once(quote)) {
            return (value, rest);
        }
    }
    let end = text.find([',', ']']).unwrap_or(text.len());
    text.split_at(end)
}

/// What follows the separator behind a value; nothing if there is none where one must be.
fn after_separator(text: &str) -> Option<&str> {
    if text.is_empty() || text == "\n" {
        return Some(text);
    }
    if let Some(rest) = text.strip_prefix(',') {
        return Some(rest);
    }
    text.strip_prefix(']')?.trim_start_matches(is_space).strip_prefix('[')
}

/// One entry of a list of actions, with the blanks behind it: a name with its brackets, or a run without blanks.
static ENTRY: LazyLock<Option<fancy_regex::Regex>> = LazyLock::new(|| {
    let name = r"[\w\-_.]+(?:\?[\w\-_.]+=[\w\-_.]+)?";
    let option = format!(r#"{name}=(?:"[^"]*"|'[^']*'|[^,\]]*)\s*(?:,|\]\s*\[)?\s*"#);
    fancy_regex::Regex::new(&format!(
        r"(?s)(?:[^\[\s]+(?:\s*\[\s*(?:{option})*\])?\s*|\S+)(?=\n\s*|\s+|$)"
    ))
    .ok()
});

/// Splits a list of actions at blanks outside of brackets (contract §1.6); gives the byte offset of each entry.
/// Nothing if the text is too tangled to be split within reason.
pub(crate) fn split_entries(text: &str) -> Option<Vec<(usize, &str)>> {
    let mut entries = Vec::new();
    for found in ENTRY.as_ref()?.find_iter(text) {
        let found = found.ok()?;
        let entry = found.as_str().trim_matches(is_space);
        let lead = found.as_str().len() - found.as_str().trim_start_matches(is_space).len();
        if !entry.is_empty() {
            entries.push((found.start() + lead, entry));
        }
    }
    Some(entries)
}

/// Words between blanks and commas.
pub(crate) fn split_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| is_space(c) || c == ',').filter(|word| !word.is_empty())
}

/// Whether a field of systemd's journal can have this name.
#[must_use]
pub fn is_journal_field(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_letter)
}

/// Whether a word of `journalmatch` is a match: a field that programs or the journal's daemon set, and its value
/// (contract §6.6).
#[must_use]
pub fn is_journal_match(term: &str) -> bool {
    let parts = term.split_once('=').filter(|_| !term.contains('\0'));
    parts.is_some_and(|(name, _)| is_journal_field(name) && !name.starts_with("__"))
}

/// Words as a POSIX shell quotes them, without any expansion (contract §1.8).
///
/// # Errors
/// A quotation or an escape that does not end.
pub fn split_shell(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') => {
                let next = chars.next().ok_or("No escaped character")?;
                let word = word.get_or_insert_default();
                if !matches!(next, '\\' | '"') {
                    word.push('\\');
                }
                word.push(next);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => {
                let next = chars.next().ok_or("No escaped character")?;
                word.get_or_insert_default().push(next);
            }
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("No closing quotation");
    }
    words.extend(word);
    Ok(words)
}

/// Python's `int()` of text: blanks around it, a sign, digits of any script with single underscores between them. Numbers of
/// more than 64 bits are refused.
#[must_use]
pub fn parse_int(text: &str) -> Option<i64> {
    let text = strip(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let well_placed = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    if !well_placed || digits.is_empty() {
        return None;
    }
    let mut plain = String::from(if text.starts_with('-') { "-" } else { "" });
    for c in digits.chars().filter(|&c| c != '_') {
        plain.push(char::from_digit(python_digit(c)?, 10)?);
    }
    plain.parse().ok()
}

/// A truth: `1`, `on`, `true` and `yes` in any case are true, all else is false (contract §1.11).
#[must_use]
pub fn parse_bool(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

/// A flat JSON object of texts, as Python's `json.dumps` writes it: ASCII only.
pub(crate) fn json_object(pairs: &[(String, String)]) -> String {
    let items: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{}: {}", json_text(key), json_text(value)))
        .collect();
    format!("{{{}}}", items.join(", "))
}

fn json_text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

/// The names most like a wanted one, nearest first, three at most.
pub(crate) fn near_names(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let limit = wanted.chars().count().div_ceil(3).max(1);
    let mut near: Vec<(usize, String)> = names
        .filter(|name| name.len() <= 100 && wanted.len() <= 100)
        .map(|name| (distance(wanted, &name), name))
        .filter(|(distance, name)| *distance <= limit || name.starts_with(wanted) || wanted.starts_with(name.as_str()))
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many letters must be changed, added or taken away to make one word the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut next = vec![index + 1];
        let mut left = index + 1;
        for ((b, &above), &diagonal) in other.iter().zip(row.iter().skip(1)).zip(&row) {
            left = (diagonal + usize::from(a != *b)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
