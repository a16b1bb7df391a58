//! The text of a letter, encoded for its way as Python's `email` chooses: as it is where it is ASCII with short lines,
//! in base64 or quoted-printable else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest line that may stay as it is; also where quoted-printable breaks lines.
const WIDTH: usize = 78;
/// Bytes in a line of base64 that has 76 columns.
const BYTES: usize = 57;
/// So many lines decide between the encodings.
const TRIED: usize = 10;

/// The encoding's name, and the text in it, with line ends of carriage return and newline.
pub(super) fn encode(text: &str) -> (&'static str, String) {
    let lines = lines(text);
    let longest = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    if longest <= WIDTH {
        return if text.is_ascii() {
            ("7bit", together(&lines, "\r\n"))
        } else {
            ("base64", wrapped(together(&lines, "\n").as_bytes()))
        };
    }
    let first = together(lines.get(..TRIED).unwrap_or(&lines), "\r\n");
    let quoted = quoted(&first);
    // The other one is held against it with its last newline.
    if quoted.replace("\r\n", "\n").len() > base64(first.as_bytes()).len() + 1 {
        ("base64", wrapped(together(&lines, "\r\n").as_bytes()))
    } else if lines.len() <= TRIED {
        ("quoted-printable", quoted)
    } else {
        ("quoted-printable", self::quoted(&together(&lines, "\n")))
    }
}

/// Lines as bytes have them: ended by newline, carriage return, or both.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        lines.push(line);
        rest = after.strip_prefix("\r\n").or(after.get(1..)).unwrap_or_default();
    }
    lines
}

fn together(lines: &[&str], end: &str) -> String {
    lines.iter().flat_map(|line| [line, end]).collect()
}

/// Base64 without line breaks.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn wrapped(bytes: &[u8]) -> String {
    bytes.chunks(BYTES).map(|part| base64(part) + "\r\n").collect()
}

/// Quoted-printable (RFC 2045).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for line in lines(text) {
        quote_line(line, &mut out);
        out.push_str("\r\n");
    }
    out
}

/// One line, broken where it is too long, never within an escape.
fn quote_line(line: &str, out: &mut String) {
    let mut whole = String::with_capacity(line.len());
    for byte in line.bytes() {
        match byte {
            b'=' => whole.push_str("=3D"),
            b'\t' | b' '..=b'~' => whole.push(char::from(byte)),
            byte => whole.push_str(&format!("={byte:02X}")),
        }
    }
    let bytes = whole.as_bytes();
    let mut start = 0;
    while start + WIDTH < bytes.len() {
        let stop = start + WIDTH - 1;
        let cut = match (bytes.get(stop - 2), bytes.get(stop - 1)) {
            (Some(b'='), _) => stop - 2,
            (_, Some(b'=')) => stop - 1,
            _ => stop,
        };
        out.push_str(whole.get(start..cut).unwrap_or_default());
        out.push_str("=\r\n");
        start = cut;
    }
    let rest = whole.get(start..).unwrap_or_default();
    let Some(blank) = rest.chars().next_back().filter(|c| matches!(c, ' ' | '\t')) else {
        out.push_str(rest);
        return;
    };
    // A blank that ends a line may get lost, so that it is escaped, or something comes after it.
    out.push_str(rest.get(..rest.len() - 1).unwrap_or_default());
    let escaped = if blank == ' ' { "=20" } else { "=09" };
    match WIDTH + 1 - rest.len() {
        0 | 1 => {
            out.push_str("=\r\n");
            out.push_str(escaped);
        }
        2 => {
            out.push(blank);
            out.push_str("=\r\n");
        }
        _ => out.push_str(escaped),
    }
}
