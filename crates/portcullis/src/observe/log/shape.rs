//! How a log line looks: a format in Python's `%` notation, as the option `format` of `logtarget` gives it, or one of
//! Fail2Ban's own (contract §8.7).

use std::borrow::Cow;
use std::process;
use std::sync::OnceLock;
use std::time::Instant;

use jiff::Zoned;

use super::{Error, Level};

/// Longest message in bytes; what is beyond is cut off, and marked.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;

/// Widest field; a format of the configuration must not make lines of any length.
const MAX_WIDTH: usize = 1000;

/// The parts of a line, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Attribute, Layout),
}

/// What a record has. Python's places in the source (`lineno`, `funcName`, …) mean nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Asctime,
    Created,
    Levelname,
    Levelno,
    Message,
    Msecs,
    Name,
    Process,
    RelativeCreated,
}

impl Attribute {
    const NAMES: [(&'static str, Attribute); 9] = [
        ("asctime", Attribute::Asctime),
        ("created", Attribute::Created),
        ("levelname", Attribute::Levelname),
        ("levelno", Attribute::Levelno),
        ("message", Attribute::Message),
        ("msecs", Attribute::Msecs),
        ("name", Attribute::Name),
        ("process", Attribute::Process),
        ("relativeCreated", Attribute::RelativeCreated),
    ];

    fn is_text(self) -> bool {
        matches!(
            self,
            Attribute::Asctime | Attribute::Levelname | Attribute::Message | Attribute::Name
        )
    }
}

/// `-`, `0`, width, precision and the letter at the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Layout {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
    /// `s`, `d` or `f`
    conversion: char,
}

impl Shape {
    /// Fail2Ban's own: with the time or without, in columns or not.
    pub(super) fn of(time: bool, padding: bool) -> Shape {
        let time = if time { "%(asctime)s " } else { "" };
        let rest = if padding {
            "%(name)-24s[%(process)d]: %(levelname)-7s %(message)s"
        } else {
            "%(name)s[%(process)d]: %(levelname)s %(message)s"
        };
        // Both are formats; a test reads all four.
        Shape::read(&format!("{time}{rest}")).unwrap_or(Shape(Vec::new()))
    }

    /// Reads a format: `%(NAME)` with `-`, `0`, width, `.precision` and one of `s`, `d`, `i`, `f`; `%%` is a percent
    /// sign.
    ///
    /// # Errors
    /// [`Error::Format`] with what could not be read.
    pub(super) fn read(format: &str) -> Result<Shape, Error> {
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some((text, after)) = rest.split_once('%') {
            pieces.push(Piece::Text(text.to_owned()));
            if let Some(after) = after.strip_prefix('%') {
                pieces.push(Piece::Text("%".to_owned()));
                rest = after;
            } else {
                let refused = || Error::Format(format!("%{}", after.chars().take(30).collect::<String>()));
                let (field, after) = field(after).ok_or_else(refused)?;
                pieces.push(field);
                rest = after;
            }
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Shape(pieces))
    }

    /// What all lines of a logger begin with at one moment, where the message is all that follows: such a line is this
    /// and the message without control characters.
    pub(super) fn head(&self, now: &Zoned, level: Level, logger: &str) -> Option<String> {
        let is_message = |piece: &Piece| matches!(piece, Piece::Field(Attribute::Message, _));
        let (last, before) = match self.0.as_slice() {
            [before @ .., last, Piece::Text(end)] if end.is_empty() => (last, before),
            _ => return None,
        };
        let Piece::Field(
            Attribute::Message,
            Layout {
                width: 0,
                precision: None,
                ..
            },
        ) = last
        else {
            return None;
        };
        (!before.iter().any(is_message)).then(|| self.line(now, level, logger, ""))
    }

    /// One line without its end. Control characters of the message are written as `\x1b`.
    pub(super) fn line(&self, now: &Zoned, level: Level, logger: &str, message: &str) -> String {
        let mut out = String::with_capacity(message.len() + 80);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(Attribute::Message, layout) => layout.text(&harmless(message), &mut out),
                Piece::Field(Attribute::Name, layout) => layout.text(logger, &mut out),
                Piece::Field(Attribute::Levelname, layout) => layout.text(level.name(), &mut out),
                Piece::Field(Attribute::Asctime, layout) => layout.text(&stamp(now), &mut out),
                Piece::Field(attribute, layout) => layout.number(number(*attribute, now, level), &mut out),
            }
        }
        out
    }
}

/// One field after its `%`, and what follows it.
fn field(text: &str) -> Option<(Piece, &str)> {
    let (name, mut rest) = text.strip_prefix('(')?.split_once(')')?;
    let attribute = Attribute::NAMES.iter().find(|known| known.0 == name)?.1;
    let mut layout = Layout::default();
    while let Some(flag @ ('-' | '0')) = rest.chars().next() {
        layout.left |= flag == '-';
        layout.zeros |= flag == '0';
        rest = rest.get(1..)?;
    }
    (layout.width, rest) = count(rest)?;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = count(after)?;
        layout.precision = Some(precision);
        rest = after;
    }
    let letter = rest.chars().next()?;
    layout.conversion = match letter {
        'i' => 'd',
        's' | 'd' | 'f' => letter,
        _ => return None,
    };
    if attribute.is_text() != (letter == 's') && !(letter == 's' && attribute == Attribute::Process) {
        return None;
    }
    Some((Piece::Field(attribute, layout), rest.get(1..)?))
}

/// The number at the beginning, 0 where there is none, and what follows it.
fn count(text: &str) -> Option<(usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let number = if number.is_empty() { 0 } else { number.parse().ok()? };
    (number <= MAX_WIDTH).then_some((number, rest))
}

impl Layout {
    fn text(&self, text: &str, out: &mut String) {
        let cut = self.precision.unwrap_or(usize::MAX);
        let end = text.char_indices().nth(cut).map_or(text.len(), |(at, _)| at);
        self.pad(text.get(..end).unwrap_or(text), ' ', out);
    }

    fn number(&self, number: f64, out: &mut String) {
        let text = match self.conversion {
            'f' => format!("{number:.*}", self.precision.unwrap_or(6)),
            // Python cuts towards zero.
            _ => format!("{:0>1$}", number.trunc(), self.precision.unwrap_or(0)),
        };
        let fill = if self.zeros && self.conversion != 's' { '0' } else { ' ' };
        self.pad(&text, fill, out);
    }

    fn pad(&self, text: &str, fill: char, out: &mut String) {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', missing));
        } else {
            out.extend(std::iter::repeat_n(fill, missing));
            out.push_str(text);
        }
    }
}

fn stamp(now: &Zoned) -> String {
    format!("{},{:03}", now.strftime("%Y-%m-%d %H:%M:%S"), now.millisecond())
}

fn number(attribute: Attribute, now: &Zoned, level: Level) -> f64 {
    static START: OnceLock<Instant> = OnceLock::new();
    match attribute {
        Attribute::Created => now.timestamp().as_microsecond() as f64 / 1e6,
        Attribute::Msecs => f64::from(now.millisecond()),
        Attribute::Levelno => f64::from(level.number()),
        Attribute::RelativeCreated => START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3,
        _ => f64::from(process::id()),
    }
}

/// The message without control characters, cut to its longest.
pub(super) fn harmless(message: &str) -> Cow<'_, str> {
    let is_plain = |byte: &u8| (0x20..0x7f).contains(byte);
    if message.len() <= MAX_MESSAGE && message.as_bytes().iter().all(is_plain) {
        return Cow::Borrowed(message);
    }
    let mut out = String::with_capacity(message.len());
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    for c in message.get(..end).unwrap_or_default().chars() {
        if c.is_control() && c != '\t' {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    if end < message.len() {
        out.push_str(" […]");
    }
    Cow::Owned(out)
}
