//! What Python calls a digit, a word character and a space (contract §3.1).
//!
//! Rust's own classes differ in the corners: Python counts `²` as a word character and a combining accent as none,
//! and takes the four separators U+001C…U+001F for spaces. Dates are found at word boundaries, so the corners matter.

use std::sync::LazyLock;

use regex::Regex;

/// The zeros of all scripts with decimal digits beyond ASCII (Unicode category Nd); the other nine follow each.
const ZEROS: [u32; 65] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136,
    0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0,
    0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
];

static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{L}\p{N}_]$").ok());

/// The value of a decimal digit of any script, as Python's `int()` reads it.
pub(crate) fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    let code = u32::from(c);
    let script = ZEROS.partition_point(|&zero| zero <= code);
    let zero = ZEROS.get(script.checked_sub(1)?)?;
    Some(code - zero).filter(|&value| value < 10)
}

/// Python's `\w`: letters, numbers of any kind, and the underscore.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    let mut bytes = [0; 4];
    WORD.as_ref()
        .is_some_and(|word| word.is_match(c.encode_utf8(&mut bytes)))
}

/// Python's `str.isalnum()` of one character.
pub(crate) fn is_alphanumeric(c: char) -> bool {
    c != '_' && is_word(c)
}

/// Python's `\s` and `str.isspace()`.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_all_scripts() {
        for (c, expect) in [
            ('7', Some(7)),
            ('٣', Some(3)),
            ('９', Some(9)),
            ('\u{1d7d9}', Some(1)),
            ('\u{1fbf9}', Some(9)),
            ('²', None),
            ('x', None),
            ('\u{1fbfa}', None),
        ] {
            assert_eq!(digit(c), expect, "{c}");
        }
    }

    #[test]
    fn words_and_spaces() {
        for (c, word) in [
            ('é', true),
            ('²', true),
            ('_', true),
            ('\u{301}', false),
            ('‿', false),
            ('Ⓐ', false),
        ] {
            assert_eq!(is_word(c), word, "{c}");
        }
        assert!(is_space('\x1e') && is_space('\u{a0}') && !is_space('x'));
        assert!(!is_alphanumeric('_') && is_alphanumeric('ß'));
    }
}
