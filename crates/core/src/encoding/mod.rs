//! `logencoding`: the bytes of a line as text, as CPython 3.11 decodes them (contract §3.3).
//!
//! In go a name that Python knows and the bytes of a line; out come the text, with U+FFFD in the places and the number
//! in which Python puts it, and whether there was anything to replace. An encoding that is not here is refused by name.

mod names;
mod table;
#[cfg(test)]
mod tests;
mod unicode;

use std::borrow::Cow;
use std::ops::Range;

use unicode::Order;

/// An encoding of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Utf8,
    /// UTF-8 that may begin with a mark
    Utf8Signed,
    /// With a fixed order of bytes, or with a mark that tells it
    Utf16(Option<Order>),
    /// By the number of its table
    Single(usize),
    /// EUC-KR, or cp949, which has all Hangul syllables
    Korean {
        unified: bool,
    },
}

/// A name that stands for none of the encodings that are read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logencoding '{0}' is not supported (supported: {SUPPORTED})")]
pub struct Unsupported(String);

/// What is read, for people.
pub const SUPPORTED: &str =
    "auto, utf-8, utf-16, ascii, iso8859-1 to 16, cp1250 to 1258, koi8-r, koi8-t, koi8-u, euc-kr, cp949";

/// A decoded line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// Whether something in it is no character of the encoding, which Fail2Ban warns of.
    pub odd: bool,
}

impl Encoding {
    /// What `auto` means where the locale says nothing else.
    pub const UTF_8: Encoding = Encoding {
        name: "utf_8",
        kind: Kind::Utf8,
    };

    /// By any of Python's names for it, in any spelling that Python takes: `latin-1`, `L1`, `iso_8859-1`.
    ///
    /// # Errors
    /// For all other names, also of encodings that Python has, and `auto`, which is none.
    pub fn named(name: &str) -> Result<Self, Unsupported> {
        let found = names::find(name).ok_or_else(|| Unsupported(name.to_owned()))?;
        Ok(Encoding {
            name: found.0,
            kind: found.1,
        })
    }

    /// Python's own name for it: `latin_1`, `utf_16_le`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether a newline takes two bytes, so that a newline byte may be half of another character.
    #[must_use]
    pub fn is_wide(self) -> bool {
        matches!(self.kind, Kind::Utf16(_))
    }

    /// Whether the bytes, which begin where a line does, end in a newline.
    #[must_use]
    pub fn ends_line(self, bytes: &[u8]) -> bool {
        let Kind::Utf16(given) = self.kind else {
            return bytes.last() == Some(&b'\n');
        };
        let last = bytes.len().checked_sub(2).filter(|last| last.is_multiple_of(2));
        let unit = |last| unicode::unit(bytes, last, unicode::order(bytes, given).0);
        last.and_then(unit) == Some(u16::from(b'\n'))
    }

    /// The text of any bytes, as Fail2Ban's reader of files makes it: what is no character becomes U+FFFD, and half a
    /// newline at the end is dropped without a word.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Text<'_> {
        let (text, wrong) = self.replace(bytes, false);
        let Some(wrong) = wrong else {
            return Text { text, odd: false };
        };
        let half = bytes.get(..wrong.start).unwrap_or_default();
        let is_half = wrong.end == bytes.len() && matches!(bytes.get(wrong.start), Some(b'\r' | b'\n'));
        if is_half {
            let text = self.replace(half, false).0;
            return Text { text, odd: false };
        }
        Text { text, odd: true }
    }

    /// The text of a whole line without its line end. Its newline may stand in `bytes` or not, but for UTF-16, where
    /// it does.
    #[must_use]
    pub fn line(self, bytes: &[u8]) -> Text<'_> {
        let (mut text, wrong) = self.replace(bytes, true);
        match &mut text {
            Cow::Borrowed(text) => *text = text.trim_end_matches(['\r', '\n']),
            Cow::Owned(text) => text.truncate(text.trim_end_matches(['\r', '\n']).len()),
        }
        let odd = wrong.is_some();
        Text { text, odd }
    }

    /// The text, and the first bytes in it that are no character. `ended` says that a newline follows.
    fn replace(self, bytes: &[u8], ended: bool) -> (Cow<'_, str>, Option<Range<usize>>) {
        match self.kind {
            Kind::Utf8 => unicode::utf8(bytes),
            Kind::Utf8Signed => unicode::utf8(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)),
            Kind::Utf16(order) => {
                let (text, wrong) = unicode::utf16(bytes, order);
                (Cow::Owned(text), wrong)
            }
            Kind::Single(table) => table::single(bytes, table),
            Kind::Korean { unified } => table::korean(bytes, unified, ended),
        }
    }
}
