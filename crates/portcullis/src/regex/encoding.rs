//! The bytes of a line as text (contract §3.3).

/// An encoding of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8
    Utf8,
    /// Seven bits
    Ascii,
    /// Every byte is the character of that number
    Latin1,
}

impl Encoding {
    /// By Python's name for it; nothing for one that we do not read.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let plain: String = name.to_ascii_lowercase().replace(['-', '_', ' '], "");
        match plain.as_str() {
            "auto" | "utf8" | "u8" | "utf" => Some(Encoding::Utf8),
            "ascii" | "usascii" | "646" => Some(Encoding::Ascii),
            "latin1" | "iso88591" | "l1" | "latin" | "8859" | "cp819" => Some(Encoding::Latin1),
            _ => None,
        }
    }

    /// The text; what is no character becomes U+FFFD.
    pub(crate) fn decode(self, bytes: &[u8]) -> std::borrow::Cow<'_, str> {
        match self {
            Encoding::Utf8 => String::from_utf8_lossy(bytes),
            Encoding::Ascii => {
                let character = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' };
                bytes.iter().map(character).collect::<String>().into()
            }
            Encoding::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into(),
        }
    }
}
