//! A text with places in it, for the [machine](super::machine): byte offsets in 32 bits, as many of them are kept.

use super::set::within;
use super::tables::WORD;
use super::tree::At;

/// No place, and no loop or choice.
pub(super) const NONE: u32 = u32::MAX;

/// A text of less than 4 GiB.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'t>(pub(super) &'t str);

impl<'t> Cursor<'t> {
    pub(super) fn between(self, from: u32, to: u32) -> Option<&'t str> {
        self.0.get(index(from)..index(to))
    }

    /// The byte at a place.
    pub(super) fn byte(self, at: u32) -> Option<u8> {
        self.0.as_bytes().get(index(at)).copied()
    }

    /// The place behind these characters, if they stand here.
    pub(super) fn goes_on_with(self, at: u32, text: &str) -> Option<u32> {
        let end = index(at) + text.len();
        (self.0.as_bytes().get(index(at)..end)? == text.as_bytes()).then(|| place(end))
    }

    /// The character at a place, and the place behind it.
    #[inline]
    pub(super) fn next(self, at: u32) -> Option<(char, u32)> {
        let at = index(at);
        let byte = *self.0.as_bytes().get(at)?;
        if byte < 0x80 {
            return Some((char::from(byte), place(at + 1)));
        }
        let c = self.0.get(at..)?.chars().next()?;
        Some((c, place(at + c.len_utf8())))
    }

    /// How many characters of ASCII pass from a place on, at most so many.
    #[inline]
    pub(super) fn passing(self, at: u32, most: usize, test: impl Fn(u8) -> bool) -> usize {
        let rest = self.0.as_bytes().get(index(at)..).unwrap_or_default();
        let bytes = rest.iter().take(most);
        bytes.take_while(|&&byte| byte < 0x80 && test(byte)).count()
    }

    /// How many characters of ASCII pass before a place, one after the other backwards, none before `low`.
    #[inline]
    pub(super) fn passing_back(self, at: u32, low: u32, test: impl Fn(u8) -> bool) -> usize {
        let bytes = self.0.as_bytes().get(index(low)..index(at)).unwrap_or_default();
        let bytes = bytes.iter().rev();
        bytes.take_while(|&&byte| byte < 0x80 && test(byte)).count()
    }

    /// The character before a place, and the place where it begins.
    #[inline]
    pub(super) fn previous(self, at: u32) -> Option<(char, u32)> {
        let at = index(at);
        let byte = *self.0.as_bytes().get(at.checked_sub(1)?)?;
        if byte < 0x80 {
            return Some((char::from(byte), place(at - 1)));
        }
        let c = self.0.get(..at)?.chars().next_back()?;
        Some((c, place(at - c.len_utf8())))
    }

    /// Whether a position of a regex holds at a place.
    pub(super) fn is_at(self, position: At, at: u32) -> bool {
        let rest = self.0.as_bytes().get(index(at)..).unwrap_or_default();
        match position {
            At::TextStart => at == 0,
            At::TextEnd => rest.is_empty(),
            At::LineStart => self.previous(at).is_none_or(|(c, _)| c == '\n'),
            At::LineEnd => rest.first().is_none_or(|&byte| byte == b'\n'),
            At::End => rest.is_empty() || rest == b"\n",
            // In an empty text Python finds neither.
            At::Word { .. } if self.0.is_empty() => false,
            At::Word { negated, ascii } => {
                let is_word = |(c, _): (char, u32)| match ascii {
                    true => c.is_ascii_alphanumeric() || c == '_',
                    false => within(WORD, c.into()),
                };
                let here = self.next(at).is_some_and(is_word);
                (here != self.previous(at).is_some_and(is_word)) != negated
            }
        }
    }
}

/// A place as an index.
#[inline]
pub(super) fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// An index as a place.
#[inline]
pub(super) fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}
