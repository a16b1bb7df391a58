//! One INI file, by the rules of Python's `ConfigParser` in its strict mode (contract §1.3).
//!
//! In: the bytes of a file. Out: its sections, every value with the lines that it was written on, and the
//! [`Fault`]s. Whether a fault refuses the file (Fail2Ban's face) or costs a line (ours) is the caller's choice;
//! the document is what is left when the lines at fault are taken out. Nothing is interpolated here.

use std::collections::BTreeSet;

use super::document::{Datum, Document, Options};
use super::text::{Mark, Text, is_space, strip};
use crate::value::repr_str;

/// The largest file that is read, in bytes.
pub(crate) const FILE_CAP: usize = 16 << 20;
/// The longest line that is read, in bytes.
pub(crate) const LINE_CAP: usize = 1 << 20;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The file begins with a byte order mark.
    ByteOrderMark,
    /// Bytes that are no UTF-8, in a comment only.
    CommentBytes,
    /// Bytes that are no UTF-8, in what counts.
    Bytes,
    /// Neither section nor option, and no continuation.
    Nonsense,
    /// Text before the first section.
    NoSection,
    /// A section for the second time.
    SectionTwice(String),
    /// An option for the second time in its section; whether both values were kept.
    OptionTwice { option: String, joined: bool },
    /// Longer than [`LINE_CAP`].
    TooLong,
}

/// A line at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) flaw: Flaw,
    /// Counted from 1
    pub(crate) line: u32,
    /// The section that it stands in, if any
    pub(crate) section: Option<String>,
    /// The option that the line belongs to or seems to set
    pub(crate) option: Option<String>,
}

impl Fault {
    /// Whether something that was meant is not in the document.
    pub(crate) fn loses(&self) -> bool {
        match &self.flaw {
            Flaw::ByteOrderMark | Flaw::CommentBytes | Flaw::SectionTwice(_) => false,
            Flaw::OptionTwice { joined, .. } => !joined,
            Flaw::Bytes | Flaw::Nonsense | Flaw::NoSection | Flaw::TooLong => true,
        }
    }

    /// The exception that Python raises for it.
    pub(crate) fn python_class(&self) -> &'static str {
        match self.flaw {
            Flaw::Nonsense => "ParsingError",
            Flaw::SectionTwice(_) => "DuplicateSectionError",
            Flaw::OptionTwice { .. } => "DuplicateOptionError",
            Flaw::CommentBytes | Flaw::Bytes => "UnicodeDecodeError",
            Flaw::ByteOrderMark | Flaw::NoSection => "MissingSectionHeaderError",
            Flaw::TooLong => "OverflowError",
        }
    }

    /// Whether Fail2Ban refuses the file for it at once (1), at the end of the file (2), or not at all.
    pub(crate) fn refusal(&self) -> Option<u8> {
        match self.flaw {
            Flaw::Nonsense => Some(2),
            Flaw::CommentBytes | Flaw::Bytes => None,
            _ => Some(1),
        }
    }
}

/// Why Fail2Ban does not read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal<'p> {
    /// It is no UTF-8: this file alone is left out.
    Bytes,
    /// This fault refuses the whole configuration.
    Fault(&'p Fault),
}

/// A file as read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) document: Document,
    pub(crate) faults: Vec<Fault>,
}

/// How many bytes Python decodes at a time.
const CHUNK: usize = 8192;

impl Parsed {
    /// Why Fail2Ban refuses the file, if it does. What is no UTF-8 is found only when the chunk that holds it is
    /// decoded; a fault in a line before that chunk comes first.
    pub(crate) fn refusal(&self, bytes: &[u8]) -> Option<Refusal<'_>> {
        let refused = self.faults.iter().filter(|fault| fault.refusal().is_some());
        let worst = refused.min_by_key(|fault| (fault.refusal(), fault.line));
        let Err(error) = std::str::from_utf8(bytes) else {
            return worst.map(Refusal::Fault);
        };
        let decoded = match error.error_len() {
            // What stands before half a character at the end has been read by then, but for a carriage return, which
            // may be half a line end.
            None => error.valid_up_to(),
            Some(length) => {
                let lead = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
                let shown = if matches!(lead, 0xc2..=0xf4) { length } else { 0 };
                (error.valid_up_to() + shown) / CHUNK * CHUNK
            }
        };
        let whole = bytes.get(..decoded).unwrap_or_default();
        let lines = split_lines(whole).count() - usize::from(!whole.is_empty() && !whole.ends_with(b"\n"));
        let in_reach =
            |fault: &&Fault| fault.refusal() == Some(1) && usize::try_from(fault.line).is_ok_and(|line| line <= lines);
        match worst.filter(in_reach) {
            Some(fault) => Some(Refusal::Fault(fault)),
            None => Some(Refusal::Bytes),
        }
    }
}

/// What Python says of a fault that refuses a file.
pub(crate) fn python_words(bytes: &[u8], parsed: &Parsed, fault: &Fault, path: &str) -> String {
    let (path, line) = (repr_str(path), fault.line);
    let section = repr_str(fault.section.as_deref().unwrap_or_default());
    match &fault.flaw {
        Flaw::SectionTwice(name) => {
            let name = repr_str(name);
            format!("While reading from {path} [line {line:2}]: section {name} already exists")
        }
        Flaw::OptionTwice { option, .. } => {
            let option = repr_str(option);
            format!("While reading from {path} [line {line:2}]: option {option} in section {section} already exists")
        }
        Flaw::Nonsense => {
            let lines = parsed.faults.iter().filter(|fault| fault.flaw == Flaw::Nonsense);
            let listed = lines.map(|fault| format!("\n\t[line {:2}]: {}", fault.line, python_line(bytes, fault.line)));
            format!("Source contains parsing errors: {path}{}", listed.collect::<String>())
        }
        _ => format!(
            "File contains no section headers.\nfile: {path}, line: {line}\n{}",
            python_line(bytes, line)
        ),
    }
}

/// A line as Python's reader hands it out, with its end, as `repr` shows it.
fn python_line(bytes: &[u8], number: u32) -> String {
    let at = usize::try_from(number).unwrap_or_default().saturating_sub(1);
    let line = split_lines(bytes).nth(at).unwrap_or_default();
    let is_last = split_lines(bytes).nth(at + 1).is_none() && !bytes.ends_with(b"\n") && !bytes.ends_with(b"\r");
    let end = if is_last { "" } else { "\n" };
    repr_str(&format!("{}{end}", String::from_utf8_lossy(line)))
}

/// Reads a file; `file` is its number for the marks.
pub(crate) fn parse(bytes: &[u8], file: u32) -> Parsed {
    let mut parser = Parser {
        file,
        ..Parser::default()
    };
    let body = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => {
            parser.fault(Flaw::ByteOrderMark, 1, None);
            rest
        }
        None => bytes,
    };
    for (index, line) in split_lines(body).enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        parser.take(line, number);
    }
    parser.finish()
}

/// Lines as Python's text mode cuts them: at `\n`, `\r\n` and `\r`, without their ends.
fn split_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes).filter(|bytes| !bytes.is_empty());
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end else {
            rest = None;
            return Some(bytes);
        };
        let (line, tail) = bytes.split_at(end);
        let skip = if tail.starts_with(b"\r\n") { 2 } else { 1 };
        rest = tail.get(skip..).filter(|tail| !tail.is_empty());
        Some(line)
    })
}

/// The lines of a file as text, for showing them in a complaint.
pub(crate) fn shown_line(bytes: &[u8], number: u32) -> Option<String> {
    let line = split_lines(bytes).nth(usize::try_from(number).ok()?.checked_sub(1)?)?;
    let text = String::from_utf8_lossy(line);
    Some(text.chars().take(1000).collect())
}

/// Which section the parser is in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Default,
    Named(String),
}

/// Where the lines of a value go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Nothing began yet: a deeper line is an option of its own.
    None,
    /// The option that is being read.
    Option(String),
    /// An option or line that was dropped: what continues it goes as well.
    Dropped,
}

struct Parser {
    file: u32,
    place: Option<Place>,
    target: Target,
    indent: usize,
    lines: Vec<(String, Mark)>,
    /// The value that stands already, when a second one is joined to it.
    joined: Option<Text>,
    seen: BTreeSet<(Option<String>, String)>,
    parsed: Parsed,
}

impl Default for Parser {
    fn default() -> Self {
        Parser {
            file: 0,
            place: None,
            target: Target::None,
            indent: 0,
            lines: Vec::new(),
            joined: None,
            seen: BTreeSet::new(),
            parsed: Parsed::default(),
        }
    }
}

/// A line after its comment was taken off.
struct Stripped<'l> {
    value: &'l str,
    has_comment: bool,
}

/// Takes comments off: whole lines that begin with `#` or `;`, and the rest of a line from a `;` that begins it
/// or stands behind a blank.
fn strip_comment(line: &str) -> Stripped<'_> {
    if strip(line).starts_with(['#', ';']) {
        return Stripped {
            value: "",
            has_comment: true,
        };
    }
    let comment = line.match_indices(';').find(|(at, _)| {
        line.get(..*at)
            .is_none_or(|before| before.is_empty() || before.ends_with(is_space))
    });
    match comment {
        Some((at, _)) => Stripped {
            value: strip(line.get(..at).unwrap_or_default()),
            has_comment: true,
        },
        None => Stripped {
            value: strip(line),
            has_comment: false,
        },
    }
}

/// `[header]`, up to the last bracket of the line.
fn section_header(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('[')?;
    let end = inner.rfind(']')?;
    inner.get(..end).filter(|header| !header.is_empty())
}

impl Parser {
    fn take(&mut self, bytes: &[u8], number: u32) {
        if bytes.len() > LINE_CAP {
            self.fault(Flaw::TooLong, number, None);
            self.drop_line(0);
            return;
        }
        let text = String::from_utf8_lossy(bytes);
        let is_utf8 = matches!(text, std::borrow::Cow::Borrowed(_));
        let stripped = strip_comment(&text);
        if !is_utf8 {
            if stripped.value.contains('\u{fffd}') {
                self.bad_bytes(&text, stripped.value, number);
                return;
            }
            self.fault(Flaw::CommentBytes, number, None);
        }
        if stripped.value.is_empty() {
            if !stripped.has_comment && matches!(self.target, Target::Option(_)) {
                self.lines.push((String::new(), self.mark(number)));
            }
            return;
        }
        let indent = text.chars().take_while(|&c| is_space(c)).count();
        if self.target != Target::None && indent > self.indent {
            if matches!(self.target, Target::Option(_)) {
                self.lines.push((stripped.value.to_owned(), self.mark(number)));
            }
            return;
        }
        self.begin(stripped.value, indent, number);
    }

    fn bad_bytes(&mut self, line: &str, value: &str, number: u32) {
        let indent = line.chars().take_while(|&c| is_space(c)).count();
        let continues = self.target != Target::None && indent > self.indent;
        let option = match (&self.target, continues) {
            (Target::Option(name), true) => Some(name.clone()),
            _ => split_option(value).map(|(name, _)| name.to_lowercase()),
        };
        self.fault(Flaw::Bytes, number, option);
        if !continues {
            self.drop_line(indent);
        }
    }

    fn begin(&mut self, value: &str, indent: usize, number: u32) {
        if let Some(header) = section_header(value) {
            self.close();
            self.indent = indent;
            self.target = Target::None;
            self.open_section(header, number);
            return;
        }
        if self.place.is_none() {
            self.fault(
                Flaw::NoSection,
                number,
                split_option(value).map(|(name, _)| name.to_lowercase()),
            );
            self.indent = indent;
            return;
        }
        let Some((name, first)) = split_option(value) else {
            let option = match &self.target {
                Target::Option(name) => Some(name.clone()),
                _ => None,
            };
            self.fault(Flaw::Nonsense, number, option);
            let follows_header = self.target == Target::None;
            self.drop_line(indent);
            if follows_header {
                // Without an option above, a deeper line continues nothing.
                self.target = Target::None;
            }
            return;
        };
        self.close();
        self.indent = indent;
        self.open_option(name.to_lowercase(), first, number);
    }

    fn drop_line(&mut self, indent: usize) {
        self.close();
        self.indent = indent;
        self.target = Target::Dropped;
    }

    fn open_section(&mut self, header: &str, number: u32) {
        if header == "DEFAULT" {
            self.place = Some(Place::Default);
            return;
        }
        self.place = Some(Place::Named(header.to_owned()));
        if self.parsed.document.sections.contains(header) {
            self.fault(Flaw::SectionTwice(header.to_owned()), number, None);
        } else {
            self.parsed.document.sections.set(header, Options::default());
        }
    }

    fn open_option(&mut self, option: String, first: &str, number: u32) {
        let place = self.section_name();
        let is_first = self.seen.insert((place, option.clone()));
        if option.is_empty() {
            self.fault(Flaw::Nonsense, number, None);
        }
        if option.is_empty() && is_first {
            return;
        }
        if !is_first {
            // Nobody may lose an exemption to a slip; of all else the first value stands.
            let joined = option == "ignoreip";
            let flaw = Flaw::OptionTwice {
                option: option.clone(),
                joined,
            };
            self.fault(flaw, number, Some(option.clone()));
            if !joined {
                self.target = Target::Dropped;
                return;
            }
            self.joined = self.options().and_then(|options| match options.get(&option) {
                Some(Datum::Text(text)) => Some(text.clone()),
                _ => None,
            });
        }
        self.target = Target::Option(option);
        self.lines = vec![(strip(first).to_owned(), self.mark(number))];
    }

    /// Writes the option that was being read.
    fn close(&mut self) {
        let Target::Option(option) = std::mem::replace(&mut self.target, Target::None) else {
            return;
        };
        let mut lines = std::mem::take(&mut self.lines);
        if let Some(text) = self.joined.take() {
            let before = text.lines().map(|(line, mark)| (line.to_owned(), mark));
            lines = before.chain(lines).collect();
        }
        let value = Datum::Text(Text::from_lines(lines));
        if let Some(options) = self.options() {
            options.set(option, value);
        }
    }

    fn finish(mut self) -> Parsed {
        self.close();
        self.parsed
    }

    fn options(&mut self) -> Option<&mut Options> {
        match self.place.as_ref()? {
            Place::Default => Some(&mut self.parsed.document.defaults),
            Place::Named(name) => self.parsed.document.sections.get_mut(name),
        }
    }

    fn section_name(&self) -> Option<String> {
        match self.place.as_ref()? {
            Place::Default => None,
            Place::Named(name) => Some(name.clone()),
        }
    }

    fn mark(&self, line: u32) -> Mark {
        Mark { file: self.file, line }
    }

    fn fault(&mut self, flaw: Flaw, line: u32, option: Option<String>) {
        let section = match &self.place {
            None => None,
            Some(Place::Default) => Some("DEFAULT".to_owned()),
            Some(Place::Named(name)) => Some(name.clone()),
        };
        self.parsed.faults.push(Fault {
            flaw,
            line,
            section,
            option,
        });
    }
}

/// `name = value` or `name: value`; the first of the two signs counts.
fn split_option(value: &str) -> Option<(&str, &str)> {
    let at = value.find(['=', ':'])?;
    let (name, rest) = value.split_at(at);
    Some((name.trim_end_matches(is_space), rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
