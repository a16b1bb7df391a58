//! Header fields, folded and encoded as Python's `email` does it with lines of 78 columns.
//!
//! A value is a tree of words and blanks. What fits stays together; where it does not, a line is broken before a blank;
//! a word that is too long for any line, or not ASCII, becomes an encoded word (RFC 2047), and such words are joined.

use super::Error;
use super::body::base64;

/// The longest line.
const WIDTH: usize = 78;
/// What frames an encoded word: `=?utf-8?q?` and `?=`.
const FRAME: usize = 12;
/// Characters that end a line for Python.
const BREAKS: &str = "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}";
/// What a name in front of an address cannot have outside of quotes.
const SPECIALS: &str = "()<>@,:;.\"[]\\";

/// A part of a value.
#[derive(Clone)]
enum Part {
    /// A word or a run of blanks
    Word(String),
    /// A word that is encoded although it is ASCII
    Special(String),
    /// What is never encoded
    Fixed(String),
    /// Parts that stay together if they can
    Group(Vec<Part>),
    /// The same; where some of it is encoded, it is folded for itself first
    Address(Vec<Part>),
}

/// A field of free text.
pub(super) fn text(name: &str, value: &str) -> Result<String, Error> {
    check(value)?;
    Ok(field(name, words(value)))
}

/// The field `From`: a name and an address.
pub(super) fn sender(name: &str, address: &str) -> Result<String, Error> {
    check(name)?;
    check(address)?;
    if name.is_empty() {
        return Ok(field("From", vec![Part::Fixed(address.to_owned())]));
    }
    let shown = if name.is_ascii() && name.contains(|c| SPECIALS.contains(c)) {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        words(&format!("\"{quoted}\""))
    } else {
        words(name)
    };
    let mut parts = vec![Part::Group(shown)];
    parts.push(Part::Word(" ".into()));
    parts.push(Part::Fixed(format!("<{address}>")));
    Ok(field("From", vec![Part::Address(parts)]))
}

/// A field of addresses with commas between them.
pub(super) fn addresses(name: &str, value: &str) -> Result<String, Error> {
    check(value)?;
    let mut parts = Vec::new();
    for (number, one) in value.split(',').enumerate() {
        if number > 0 {
            parts.push(Part::Fixed(",".into()));
        }
        parts.push(Part::Address(words(one)));
    }
    Ok(field(name, parts))
}

fn check(value: &str) -> Result<(), Error> {
    if value.contains(|c| BREAKS.contains(c)) {
        return Err(Error::LineBreak);
    }
    Ok(())
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// Words and the blanks between them. Where an encoded word begins, the word is encoded, so that it is read as it
/// stands.
fn words(value: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_blank(c) != is_blank(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let mut marks = word.match_indices("=?").filter_map(|(at, _)| rest.get(at + 2..));
        let is_special = marks.any(is_encoded);
        parts.push(if is_special {
            Part::Special(word.to_owned())
        } else {
            Part::Word(word.to_owned())
        });
        rest = after;
    }
    parts
}

/// Whether this, behind `=?`, is an encoded word: `CHARSET?q?TEXT?=`.
fn is_encoded(text: &str) -> bool {
    let mut pieces = text.splitn(4, '?').skip(1);
    let kind = pieces.next().unwrap_or_default();
    pieces.next().is_some()
        && kind.len() == 1
        && "qQbB".contains(kind)
        && pieces.next().is_some_and(|end| end.starts_with('='))
}

fn field(name: &str, parts: Vec<Part>) -> String {
    let mut folder = Folder::new(&format!("{name}: "));
    folder.put(Part::Group(parts));
    let mut out = folder.lines.join("\r\n");
    out.push_str("\r\n");
    out
}

impl Part {
    fn text(&self) -> String {
        match self {
            Part::Word(text) | Part::Special(text) | Part::Fixed(text) => text.clone(),
            Part::Group(parts) | Part::Address(parts) => parts.iter().map(Part::text).collect(),
        }
    }

    fn must_be_encoded(&self) -> bool {
        match self {
            Part::Word(text) => !text.is_ascii(),
            Part::Special(_) => true,
            Part::Fixed(_) => false,
            Part::Group(parts) | Part::Address(parts) => parts.iter().any(Part::must_be_encoded),
        }
    }
}

/// The lines as they grow. They are ASCII, so that bytes are columns.
struct Folder {
    lines: Vec<String>,
    /// Where in its line the last encoded word begins, to be joined with the next one
    joint: Option<usize>,
    /// The encoded words of the last line: from, to, what they say
    encoded: Vec<(usize, usize, String)>,
}

impl Folder {
    fn new(start: &str) -> Self {
        Folder {
            lines: vec![start.to_owned()],
            joint: None,
            encoded: Vec::new(),
        }
    }

    fn line(&mut self) -> &mut String {
        if self.lines.is_empty() {
            self.lines.push(String::new());
        }
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    fn column(&self) -> usize {
        self.lines.last().map_or(0, String::len)
    }

    fn begin_line(&mut self, text: String) {
        self.lines.push(text);
        self.encoded.clear();
    }

    /// Takes the blank off the end of the line.
    fn steal(&mut self) -> String {
        let line = self.line();
        match line.pop() {
            Some(blank) if is_blank(blank) => blank.to_string(),
            Some(other) => {
                line.push(other);
                String::new()
            }
            None => String::new(),
        }
    }

    fn put(&mut self, part: Part) {
        let text = part.text();
        if part.must_be_encoded() {
            self.put_encoded(part, &text);
        } else if text.len() <= WIDTH.saturating_sub(self.column()) {
            self.line().push_str(&text);
        } else if text.len() < WIDTH && self.break_before(&text) {
            self.joint = None;
        } else {
            match part {
                Part::Group(parts) | Part::Address(parts) => parts.into_iter().for_each(|part| self.put(part)),
                Part::Word(_) | Part::Special(_) => self.encode(&text),
                Part::Fixed(_) if self.break_before(&text) => {}
                Part::Fixed(_) => self.line().push_str(&text),
            }
        }
    }

    fn put_encoded(&mut self, part: Part, text: &str) {
        match part {
            Part::Address(parts) => {
                self.joint = None;
                let mut alone = Folder::new("");
                alone.put(Part::Group(parts.clone()));
                match alone.lines.as_slice() {
                    [line] => {
                        if line.len() > WIDTH.saturating_sub(self.column()) {
                            let blank = self.steal();
                            self.begin_line(blank);
                        }
                        self.line().push_str(line);
                    }
                    _ => parts.into_iter().for_each(|part| self.put(part)),
                }
            }
            Part::Group(parts) => parts.into_iter().for_each(|part| self.put(part)),
            Part::Word(_) | Part::Special(_) | Part::Fixed(_) => self.encode(text),
        }
    }

    /// Begins a line with the text, if there is a blank to begin it with.
    fn break_before(&mut self, text: &str) -> bool {
        let blank = self.steal();
        if blank.is_empty() && !text.starts_with(is_blank) {
            return false;
        }
        self.begin_line(blank + text);
        true
    }

    /// Adds encoded words, joined with those that end the line.
    fn encode(&mut self, text: &str) {
        let mut text = match self.joint {
            Some(at) => self.take_back(at) + text,
            None => text.to_owned(),
        };
        if text.starts_with(is_blank) {
            let blank = text.remove(0);
            if self.column() == WIDTH {
                let stolen = self.steal();
                self.begin_line(stolen);
            }
            self.line().push(blank);
        }
        let after = if text.ends_with(is_blank) { text.pop() } else { None };
        let mut joint = self.joint.unwrap_or(self.column());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let room = WIDTH.saturating_sub(self.column());
            if room <= FRAME {
                self.begin_line(" ".into());
                continue;
            }
            let (word, shown) = fitting(rest, room);
            let from = self.column();
            self.line().push_str(&shown);
            self.encoded.push((from, from + shown.len(), word.to_owned()));
            rest = rest.get(word.len()..).unwrap_or_default();
            if !rest.is_empty() {
                self.begin_line(" ".into());
                joint = self.column();
            }
        }
        self.line().extend(after);
        self.joint = Some(joint);
    }

    /// Takes back what stands in the last line from a column on, and says what it reads as.
    fn take_back(&mut self, at: usize) -> String {
        let line = self.lines.last().cloned().unwrap_or_default();
        let is_inside = self.encoded.iter().any(|(from, to, _)| *from < at && at < *to);
        if at >= line.len() || is_inside {
            return String::new();
        }
        let mut read = String::new();
        let mut done = at;
        for (from, to, word) in self.encoded.iter().filter(|(from, ..)| *from >= at) {
            read.push_str(line.get(done..*from).unwrap_or_default());
            read.push_str(word);
            done = *to;
        }
        read.push_str(line.get(done..).unwrap_or_default());
        self.encoded.retain(|(from, ..)| *from < at);
        self.line().truncate(at);
        read
    }
}

/// As much of the text as an encoded word of so many columns takes, and that word.
fn fitting(text: &str, room: usize) -> (&str, String) {
    let most = room - FRAME;
    let mut end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    loop {
        let word = text.get(..end).unwrap_or_default();
        let shown = encoded_word(word);
        if shown.len() <= room || word.is_empty() {
            return (word, shown);
        }
        end = word.char_indices().next_back().map_or(0, |(at, _)| at);
    }
}

/// RFC 2047: in the form that is shorter, the readable one first.
fn encoded_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-!*+/ ".contains(&byte);
    let readable: usize = word.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    let short = word.len().div_ceil(3) * 4;
    // Some columns more are worth being readable.
    if readable < short + 5 {
        let mut shown = String::with_capacity(readable);
        for byte in word.bytes() {
            match byte {
                b' ' => shown.push('_'),
                byte if is_plain(byte) => shown.push(char::from(byte)),
                byte => shown.push_str(&format!("={byte:02X}")),
            }
        }
        format!("=?utf-8?q?{shown}?=")
    } else {
        format!("=?utf-8?b?{}?=", base64(word.as_bytes()))
    }
}
