//! What services write: one table for each log, a message a row.
//!
//! In a text stand, in braces: `ip`, `name` (of the peer), `port`, `user`, `mail` (an address of mail), `domain`, `queue`
//! (an id of Postfix's queue), `session` (of Dovecot), `here` (the server's address), `hex:N` digits, `base:N` letters of
//! base64, `number:LEAST-MOST`, and `words:LEAST-MOST` (bytes of text). `[#]` after a program is its process.

pub(crate) mod auth;
pub(crate) mod mail;
pub(crate) mod system;

/// What filters make of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An attacker's, and matched: by `postfix[mode=aggressive]`, `dovecot` or `sshd[mode=aggressive]`
    Hostile,
    /// A customer's, and matched all the same, without counting as a failure
    Noted,
    /// Not matched, but it has what matched ones have: most of the words, or the start
    Near,
    /// Near, and matched in a stricter mode than those above
    Strict,
    /// Like nothing that is matched
    Plain,
}

impl Kind {
    /// Whether one of the filters matches it.
    #[must_use]
    pub fn is_matched(self) -> bool {
        matches!(self, Self::Hostile | Self::Noted)
    }
}

/// A message of a service.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What filters make of it
    pub kind: Kind,
    /// How often it comes, in proportion to the others that are drawn with it
    pub weight: u32,
    /// What stands before the colon
    pub program: &'static str,
    /// The message, with the marks of this module's description
    pub text: &'static str,
}

/// A row of a table.
pub(crate) const fn row(kind: Kind, weight: u32, program: &'static str, text: &'static str) -> Shape {
    Shape {
        kind,
        weight,
        program,
        text,
    }
}
