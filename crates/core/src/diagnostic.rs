//! What is wrong with an input, where, and what to do about it.
//!
//! Reading never stops at the first fault: it returns what could be read together with a list of these. The
//! shell around the core renders them once, with the line and a caret.

use std::fmt;
use std::sync::Arc;

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file, as the user would name it.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Probably not what was meant.
    Warning,
    /// A line, an option, a jail or a file is not in force because of it.
    Error,
}

/// One complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// A short stable name, such as `no-failure-id`, for scripts and for the guide.
    pub code: &'static str,
    /// What is wrong: one sentence, without the position.
    pub message: String,
    /// Where, if it is somewhere.
    pub position: Option<Position>,
    /// The line at fault, as read.
    pub line: Option<String>,
    /// What to do about it: one sentence.
    pub mend: Option<String>,
    /// The jail that it concerns, if it concerns one.
    pub jail: Option<String>,
}

impl Diagnostic {
    /// A complaint that has no position yet.
    #[must_use]
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            severity,
            code,
            message: message.into(),
            position: None,
            line: None,
            mend: None,
            jail: None,
        }
    }

    /// The same, with its place and the line at fault.
    #[must_use]
    pub fn at(mut self, position: Position, line: impl Into<String>) -> Self {
        self.position = Some(position);
        self.line = Some(line.into());
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// The same, of one jail.
    #[must_use]
    pub fn jail(mut self, jail: impl Into<String>) -> Self {
        self.jail = Some(jail.into());
        self
    }
}

/// One line for a log: position, message, mend.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.position {
            write!(f, "{position}: ")?;
        }
        if let Some(jail) = &self.jail {
            write!(f, "[{jail}] ")?;
        }
        f.write_str(&self.message)?;
        if let Some(mend) = &self.mend {
            write!(f, " ({mend})")?;
        }
        Ok(())
    }
}
