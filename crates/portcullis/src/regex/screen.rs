//! Where the output goes.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Prints lines. On a terminal, control characters of log text are escaped, as who writes into a log must not drive
/// the terminal of who reads it; elsewhere the bytes are Fail2Ban's.
pub(crate) struct Screen<W: Write> {
    out: W,
    escape: bool,
}

impl Screen<BufWriter<StdoutLock<'static>>> {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let escape = stdout.is_terminal();
        Screen {
            out: BufWriter::with_capacity(1 << 16, stdout.lock()),
            escape,
        }
    }
}

impl Screen<io::Sink> {
    /// Prints nothing.
    pub(crate) fn nowhere() -> Self {
        Screen {
            out: io::sink(),
            escape: false,
        }
    }
}

impl<W: Write> Screen<W> {
    /// Prints to anything; `escape` as on a terminal.
    pub(crate) fn new(out: W, escape: bool) -> Self {
        Screen { out, escape }
    }

    /// One line; the text may hold line ends of its own.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        if self.escape {
            writeln!(self.out, "{}", harmless(text))
        } else {
            writeln!(self.out, "{text}")
        }
    }

    /// Hands everything on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// A list between its corners; nothing for an empty one.
    pub(crate) fn list(&mut self, header: Option<&str>, items: &[String]) -> io::Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        if let Some(header) = header {
            self.line(&format!("|- {header}"))?;
        }
        for item in items {
            self.line(&format!("|  {item}"))?;
        }
        self.line("`-")
    }
}

/// A text in which no control character is left but tabs and line ends.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) {
        Cow::Owned(text.chars().map(shown).collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

fn shown(c: char) -> String {
    if is_unsafe(c) {
        c.escape_default().to_string()
    } else {
        c.to_string()
    }
}
