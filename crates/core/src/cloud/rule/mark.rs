//! Our mark in a rule's description: who writes the rule, and when it last said so.
//!
//! Whoever may edit rules may write there what they like. So a mark counts only in its exact form, and where more than
//! one stands, none counts.

use super::Mark;

/// Longest description that compute v1 takes, in bytes.
const LONGEST: usize = 2_048;
/// What a mark begins with.
const OPENING: &str = "[portcullis writer=";
/// Longest name of a writer, in bytes: a host's name.
const LONGEST_WRITER: usize = 253;
/// What follows the time where the writer is alone.
const ALONE: &str = " alone";
/// Longest time in bytes: `2026-01-02T03:04:05.123456789+00:00`.
const LONGEST_TIME: usize = 35;

impl Mark {
    /// The mark in a description; none where there is none, or more than one.
    #[must_use]
    pub fn of(description: &str) -> Option<Mark> {
        let (place, length, mark) = find(description, 0)?;
        find(description, place + length).is_none().then_some(mark)
    }

    /// A description with this mark at its end, in place of every older one. The human's text is kept, and cut only
    /// where all would not fit into the 2,048 bytes that compute v1 takes. Of the mark only letters, digits and a few
    /// signs are written; anything else in it becomes `-`.
    #[must_use]
    pub fn write(description: &str, mark: &Mark) -> String {
        let mark = format!(
            "{OPENING}{} at={}{}]",
            plain(&mark.writer, LONGEST_WRITER),
            plain(&mark.at, LONGEST_TIME),
            if mark.is_alone { ALONE } else { "" }
        );
        let mut text = without(cut(description, 2 * LONGEST));
        let room = LONGEST - mark.len() - 1;
        text.truncate(text.floor_char_boundary(room));
        // A cut may have made a mark's beginning of what was none, never a whole one: that ends with a bracket.
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            text.push(' ');
        }
        text + &mark
    }
}

/// The description without marks. Taking one out may join the parts of another, so this goes on until there is none;
/// each time the text gets shorter.
fn without(description: &str) -> String {
    let mut text = description.to_owned();
    while let Some((place, length, _)) = find(&text, 0) {
        let (before, rest) = text.split_at(place);
        let after = rest.get(length..).unwrap_or_default().trim();
        let before = before.trim_end();
        let gap = if before.is_empty() || after.is_empty() { "" } else { " " };
        text = [before, gap, after].concat();
    }
    text
}

/// At most so many bytes of a text, whole characters.
fn cut(text: &str, longest: usize) -> &str {
    text.get(..text.floor_char_boundary(longest)).unwrap_or_default()
}

/// The first mark from this byte on: where it begins, how many bytes it has, and what it says.
fn find(text: &str, from: usize) -> Option<(usize, usize, Mark)> {
    let places = text.get(from..)?.match_indices(OPENING);
    places
        .filter_map(|(place, opening)| {
            let rest = text.get(from + place + opening.len()..)?;
            let (writer, rest) = cut(rest, LONGEST_WRITER + LONGEST_TIME + ALONE.len() + 5).split_once(" at=")?;
            let (what, _) = rest.split_once(']')?;
            let (at, is_alone) = what.strip_suffix(ALONE).map_or((what, false), |at| (at, true));
            let is_mark = is_plain(writer, LONGEST_WRITER) && is_plain(at, LONGEST_TIME);
            let length = opening.len() + writer.len() + " at=".len() + what.len() + 1;
            let (writer, at) = (writer.to_owned(), at.to_owned());
            let mark = Mark { writer, at, is_alone };
            is_mark.then_some((from + place, length, mark))
        })
        .next()
}

/// Whether these are letters, digits and signs as names and times have them, and not too many.
fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && text.chars().all(is_plain_char)
}

fn is_plain_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:+-".contains(c)
}

/// A text made plain.
fn plain(text: &str, longest: usize) -> String {
    let mapped = text
        .chars()
        .take(longest)
        .map(|c| if is_plain_char(c) { c } else { '-' });
    let plain: String = mapped.collect();
    if plain.is_empty() { "-".to_owned() } else { plain }
}
