//! Python's `pprint` of a command, as `--dump-pretty` shows it: lists that are longer than a line are shown item by
//! item, and texts that are, in pieces.

use portcullis_core::value::{Value, repr_str};

/// The longest line, in characters.
const WIDTH: usize = 1000;
/// How much deeper each list stands.
const STEP: usize = 2;

/// The text of one command, without the last line end.
pub(crate) fn pretty(value: &Value) -> String {
    let mut out = String::new();
    show(value, 0, 0, &mut out);
    out
}

/// Shows a value that begins at a column, with so many characters to follow it on its last line.
fn show(value: &Value, column: usize, after: usize, out: &mut String) {
    let text = value.repr();
    if length(&text) <= WIDTH.saturating_sub(column + after) {
        out.push_str(&text);
        return;
    }
    match value {
        Value::List(items) => show_list(items, column, after + 1, out),
        Value::Str(text) => out.push_str(&pieces(text, column, after).join(&line_end(column))),
        _ => out.push_str(&text),
    }
}

fn show_list(items: &[Value], column: usize, after: usize, out: &mut String) {
    let column = column + STEP;
    out.push('[');
    out.push_str(&" ".repeat(STEP - 1));
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
            out.push_str(&line_end(column));
        }
        let is_last = index + 1 == items.len();
        show(item, column, if is_last { after } else { 1 }, out);
    }
    out.push(']');
}

fn line_end(column: usize) -> String {
    format!("\n{}", " ".repeat(column))
}

/// A text that is too long for a line, cut at its line ends, and where a line is still too long, behind blanks.
fn pieces(text: &str, column: usize, after: usize) -> Vec<String> {
    let room = WIDTH.saturating_sub(column);
    let lines = lines(text);
    let mut pieces = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let last_room = room.saturating_sub(if index + 1 == lines.len() { after } else { 0 });
        let whole = repr_str(line);
        if length(&whole) <= last_room {
            pieces.push(whole);
        } else {
            pieces.extend(parts(line, room, last_room));
        }
    }
    pieces
}

/// A line in parts that fit, each as long as can be.
fn parts(line: &str, room: usize, last_room: usize) -> Vec<String> {
    let words = words(line);
    let mut parts = Vec::new();
    let mut current = String::new();
    for (index, word) in words.iter().enumerate() {
        let room = if index + 1 == words.len() { last_room } else { room };
        let longer = format!("{current}{word}");
        if length(&repr_str(&longer)) <= room {
            current = longer;
            continue;
        }
        if !current.is_empty() {
            parts.push(repr_str(&current));
        }
        current = (*word).to_owned();
    }
    if !current.is_empty() {
        parts.push(repr_str(&current));
    }
    parts
}

/// Lines with their ends, as Python's `splitlines` cuts them.
fn lines(text: &str) -> Vec<&str> {
    let is_end = |c: char| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((at, end)) = rest.char_indices().find(|&(_, c)| is_end(c)) {
        let tail = rest.get(at..).unwrap_or_default();
        let length = if tail.starts_with("\r\n") { 2 } else { end.len_utf8() };
        let (line, next) = rest.split_at(at + length);
        lines.push(line);
        rest = next;
    }
    lines.extend(Some(rest).filter(|rest| !rest.is_empty()));
    lines
}

/// Words, each with the blanks behind it.
fn words(line: &str) -> Vec<&str> {
    let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let mut words = Vec::new();
    let mut start = 0;
    let mut behind_blank = false;
    for (at, c) in line.char_indices() {
        if behind_blank && !is_space(c) {
            words.extend(line.get(start..at));
            start = at;
        }
        behind_blank = is_space(c);
    }
    words.extend(line.get(start..).filter(|rest| !rest.is_empty()));
    words
}

fn length(text: &str) -> usize {
    text.chars().count()
}
