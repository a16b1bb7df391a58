//! How text of others comes to a terminal: harmless, and coloured only where that is a terminal.

use crate::regex::harmless;

/// What a line is painted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    #[cfg(feature = "gcp")]
    None,
    Bold,
    Red,
    Yellow,
    Green,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink(bool);

impl Ink {
    pub(super) fn on(is_terminal: bool) -> Ink {
        Ink(is_terminal)
    }

    /// Text of others on one line.
    pub(super) fn plain(self, text: &str) -> String {
        harmless(text).replace(['\n', '\t'], " ")
    }

    /// The same, painted.
    pub(super) fn line(self, colour: Colour, text: &str) -> String {
        let text = self.plain(text);
        let code = match colour {
            #[cfg(feature = "gcp")]
            Colour::None => return text,
            _ if !self.0 => return text,
            Colour::Bold => "1",
            Colour::Red => "1;31",
            Colour::Yellow => "33",
            Colour::Green => "32",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The first so many of a list, and how many more there are.
#[cfg(feature = "gcp")]
pub(super) fn shown(list: &[String], most: usize) -> String {
    let text = list.get(..most).unwrap_or(list).join(" ");
    match list.len().saturating_sub(most) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
