//! `logencoding`: the bytes of a line as text (contract §3.3).

/// An encoding of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8; also `auto`, as the locale says in all but very old set-ups
    Utf8,
    /// Seven bits
    Ascii,
    /// Every byte is the character of that number
    Latin1,
}

/// An encoding that we do not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("logencoding '{0}' is not supported yet (supported: auto, utf-8, ascii, latin-1)")]
pub(crate) struct Unsupported(String);

impl Encoding {
    /// By Python's name for it.
    pub(crate) fn named(name: &str) -> Result<Self, Unsupported> {
        let plain: String = name.to_ascii_lowercase().replace(['-', '_', ' '], "");
        match plain.as_str() {
            "auto" | "utf8" | "u8" | "utf" => Ok(Encoding::Utf8),
            "ascii" | "usascii" | "646" => Ok(Encoding::Ascii),
            "latin1" | "iso88591" | "l1" | "latin" | "8859" | "cp819" => Ok(Encoding::Latin1),
            _ => Err(Unsupported(name.to_owned())),
        }
    }

    /// The text of a line without its line end. What is no character of the encoding becomes U+FFFD; the second
    /// value says that this happened.
    pub(crate) fn decode(self, bytes: &[u8]) -> (String, bool) {
        let end = bytes
            .iter()
            .rposition(|b| !matches!(b, b'\r' | b'\n'))
            .map_or(0, |at| at + 1);
        let bytes = bytes.get(..end).unwrap_or_default();
        match self {
            Encoding::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => (text.to_owned(), false),
                Err(_) => (String::from_utf8_lossy(bytes).into_owned(), true),
            },
            Encoding::Ascii => {
                let text = bytes
                    .iter()
                    .map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' })
                    .collect();
                (text, !bytes.is_ascii())
            }
            Encoding::Latin1 => (bytes.iter().map(|b| char::from(*b)).collect(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, bytes: &[u8], expect: &str, odd: bool) {
        assert_eq!(Encoding::named(name).unwrap().decode(bytes), (expect.to_owned(), odd));
    }

    #[test]
    fn names_and_texts() {
        check("auto", "Grüße\r\n".as_bytes(), "Grüße", false);
        check("UTF-8", b"a\xffb", "a\u{fffd}b", true);
        check("ascii", b"a\xc3\xbc", "a\u{fffd}\u{fffd}", true);
        check("iso-8859-1", b"a\xfc", "aü", false);
        assert!(Encoding::named("utf-16").is_err());
    }
}
