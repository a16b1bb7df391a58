//! One offender's case as the JSON text in a `data` column (contract §7.1).
//!
//! Fail2Ban keeps one flat object: `matches`, `failures`, and the captured groups beside them. It reads
//! whatever we write and we read whatever it wrote, which is why reading accepts any shape of value.

use std::sync::Arc;

use portcullis_core::ledger::{Data, Field};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// Longest text kept of one line or one captured field, in bytes.
pub(super) const MAX_TEXT: usize = 16 * 1024;

/// Longest `data` that is read; a larger one counts as empty.
const MAX_BLOB: usize = 16 * 1024 * 1024;

/// What nearly every ban by hand has, and every entry of a list of many.
const BY_HAND: &[u8] = br#"{"matches":[],"failures":0}"#;

/// Most captured fields kept of one case.
const MAX_FIELDS: usize = 256;

/// What a `data` column says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Case {
    /// The lines, oldest first.
    pub(super) matches: Vec<Arc<str>>,
    /// Real attempts, if it says.
    pub(super) failures: Option<u32>,
    /// Captured groups.
    pub(super) data: Data,
}

/// The newest `max_matches` lines (none for 0), the attempts, and the groups, as JSON text.
pub(super) fn encode(matches: &[Arc<str>], failures: u32, data: &Data, max_matches: u32) -> Vec<u8> {
    if matches.is_empty() && failures == 0 && data.is_empty() {
        return BY_HAND.to_vec();
    }
    let newest = usize::try_from(max_matches).unwrap_or(usize::MAX);
    let lines = matches.get(matches.len().saturating_sub(newest)..);
    let shown = Shown {
        lines: lines.filter(|_| newest > 0 || matches.is_empty()),
        failures,
        data,
    };
    serde_json::to_vec(&shown).unwrap_or_default()
}

/// A case as it is written.
struct Shown<'c> {
    lines: Option<&'c [Arc<str>]>,
    failures: u32,
    data: &'c Data,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(lines) = self.lines {
            let lines: Vec<&str> = lines.iter().map(|line| cut(line)).collect();
            map.serialize_entry("matches", &lines)?;
        }
        map.serialize_entry("failures", &self.failures)?;
        for (name, field) in self.data.iter().take(MAX_FIELDS) {
            // A group of that name would hide the case's own entry.
            if !["matches", "failures"].contains(&&**name) {
                map.serialize_entry(&**name, &Written(field))?;
            }
        }
        map.end()
    }
}

/// A field as it is written.
struct Written<'c>(&'c Field);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Text(text) => serializer.serialize_str(cut(text)),
            Field::Tuple(parts) => {
                serializer.collect_seq(parts.iter().take(MAX_FIELDS).map(|part| part.as_deref().map(cut)))
            }
            Field::Set(items) => serializer.collect_seq(items.iter().take(MAX_FIELDS).map(Written)),
        }
    }
}

/// At most [`MAX_TEXT`] bytes of it, cut between characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

/// Reads JSON text of any origin; what is no JSON object reads as an empty case.
pub(super) fn decode(bytes: &[u8]) -> Case {
    let mut case = Case::default();
    if bytes == BY_HAND {
        case.failures = Some(0);
        return case;
    }
    if bytes.len() > MAX_BLOB {
        return case;
    }
    let Ok(Value::Object(object)) = serde_json::from_str(&String::from_utf8_lossy(bytes)) else {
        return case;
    };
    for (name, value) in object {
        match (name.as_str(), value) {
            ("matches", Value::Array(lines)) => case.matches = lines.iter().map(|text| line(text).into()).collect(),
            ("failures", number) => {
                case.failures = number.as_u64().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
            }
            ("matches", _) | (_, Value::Null) => {}
            (_, value) if case.data.len() < MAX_FIELDS => {
                case.data.insert(name, field(&value));
            }
            _ => {}
        }
    }
    case
}

/// A line is one text, or the three parts around its date.
fn line(value: &Value) -> String {
    match value {
        Value::Array(parts) => parts.iter().map(text).collect(),
        other => text(other),
    }
}

fn field(value: &Value) -> Field {
    match value {
        Value::Array(items) => Field::Set(items.iter().map(item).collect()),
        other => Field::Text(text(other).into()),
    }
}

fn item(value: &Value) -> Field {
    let part = |part: &Value| (!part.is_null()).then(|| text(part));
    match value {
        Value::Array(parts) => Field::Tuple(parts.iter().take(MAX_FIELDS).map(part).collect()),
        other => Field::Text(text(other).into()),
    }
}

/// As Python's `str` would have it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text).to_owned(),
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, matches: &[&str], failures: Option<u32>, data: &[(&str, Field)]) {
        let case = decode(json.as_bytes());
        let lines: Vec<&str> = case.matches.iter().map(|line| &**line).collect();
        assert_eq!(lines, matches, "{json}");
        assert_eq!(case.failures, failures, "{json}");
        let expect: Data = data.iter().map(|(k, v)| (*k, v.clone())).collect();
        assert_eq!(case.data, expect, "{json}");
    }

    #[test]
    fn what_others_wrote() {
        let text = |t: &str| Field::Text(t.into());
        check(
            r#"{"matches": ["a", ["b", "date", "c"]], "failures": 3}"#,
            &["a", "bdatec"],
            Some(3),
            &[],
        );
        check(
            r#"{"user": "root", "users": ["x", "é"], "n": 5, "ok": true, "none": null}"#,
            &[],
            None,
            &[
                ("n", text("5")),
                ("ok", text("True")),
                ("user", text("root")),
                ("users", Field::Set(vec![text("x"), text("é")])),
            ],
        );
        check(r#"{"failures": -1, "matches": "no list"}"#, &[], None, &[]);
        check(r#"{"failures": 99999999999}"#, &[], Some(u32::MAX), &[]);
        for junk in ["", "{", "[]", "7", "{\"a\": NaN}", &"[".repeat(100_000)] {
            check(junk, &[], None, &[]);
        }
        assert_eq!(decode(b"{\"user\": \"\xff\"}").data["user"], text("\u{fffd}"));
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let lines: Vec<Arc<str>> = (0..5).map(|n| n.to_string().into()).collect();
        let kept = |max| decode(&encode(&lines, 5, &Data::default(), max)).matches;
        assert_eq!(kept(10), lines);
        assert_eq!(kept(2), ["3".into(), "4".into()]);
        assert!(kept(0).is_empty());
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long: Arc<str> = format!("{}é", "x".repeat(MAX_TEXT - 1)).into();
        let fields = Data::from_iter([("user", Field::Text((&*long).into()))]);
        let case = decode(&encode(&[long], 1, &fields, 10));
        assert_eq!(case.matches, ["x".repeat(MAX_TEXT - 1).into()]);
        assert_eq!(case.data["user"], Field::Text("x".repeat(MAX_TEXT - 1).into()));
    }

    #[test]
    fn a_group_does_not_hide_the_case() {
        let fields = Data::from_iter([
            ("failures", Field::Text("x".into())),
            ("matches", Field::Text("x".into())),
        ]);
        let case = decode(&encode(&["line".into()], 2, &fields, 10));
        assert_eq!((case.failures, case.matches), (Some(2), vec!["line".into()]));
        assert!(case.data.is_empty());
    }
}
