//! A Python regex as its reader sees it: characters, a backslash taken together with what follows it.

/// One character, or a backslash and the character after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    Escape(char),
}

/// Why a regex is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// In Python's words where Python refuses it, without the position.
    pub(super) reason: String,
    /// Where, counted in characters of the regex.
    pub(super) position: Option<usize>,
    /// Python would take it; it is we who do not.
    pub(super) ours: bool,
}

impl Refusal {
    /// A limit of this project, or a part of the dialect it does not have.
    pub(super) fn ours(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            position: None,
            ours: true,
        }
    }

    pub(super) fn anywhere(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            position: None,
            ours: false,
        }
    }
}

/// Reads tokens one by one, one ahead.
pub(super) struct Tokens {
    chars: Vec<char>,
    index: usize,
    next: Option<Token>,
}

impl Tokens {
    /// # Errors
    /// A backslash as the last character: Python sees it one token early, and so before most other faults.
    pub(super) fn new(text: &str) -> Result<Tokens, Refusal> {
        let mut tokens = Tokens {
            chars: text.chars().collect(),
            index: 0,
            next: None,
        };
        tokens.advance()?;
        Ok(tokens)
    }

    fn advance(&mut self) -> Result<(), Refusal> {
        self.next = match (self.chars.get(self.index), self.chars.get(self.index + 1)) {
            (None, _) => None,
            (Some('\\'), Some(&c)) => Some(Token::Escape(c)),
            (Some('\\'), None) => {
                let position = Some(self.chars.len() - 1);
                return Err(Refusal {
                    reason: "bad escape (end of pattern)".to_owned(),
                    position,
                    ours: false,
                });
            }
            (Some(&c), _) => Some(Token::Char(c)),
        };
        self.index += self.ahead();
        Ok(())
    }

    fn ahead(&self) -> usize {
        match self.next {
            None => 0,
            Some(Token::Char(_)) => 1,
            Some(Token::Escape(_)) => 2,
        }
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.next
    }

    pub(super) fn peek_char(&self) -> Option<char> {
        match self.next {
            Some(Token::Char(c)) => Some(c),
            _ => None,
        }
    }

    pub(super) fn get(&mut self) -> Result<Option<Token>, Refusal> {
        let this = self.next;
        self.advance()?;
        Ok(this)
    }

    /// Takes the next token if it is this character.
    pub(super) fn take(&mut self, c: char) -> Result<bool, Refusal> {
        let hit = self.next == Some(Token::Char(c));
        if hit {
            self.advance()?;
        }
        Ok(hit)
    }

    /// Takes up to `most` characters that pass `test`.
    pub(super) fn take_while(&mut self, most: usize, test: fn(char) -> bool) -> Result<String, Refusal> {
        let mut out = String::new();
        for _ in 0..most {
            let Some(c) = self.peek_char().filter(|&c| test(c)) else {
                break;
            };
            out.push(c);
            self.advance()?;
        }
        Ok(out)
    }

    /// Everything up to `end`, which is taken too.
    pub(super) fn until(&mut self, end: char, what: &str) -> Result<String, Refusal> {
        let mut out = String::new();
        loop {
            let this = self.get()?;
            match this {
                None if out.is_empty() => return Err(self.refuse(format!("missing {what}"), 0)),
                None => {
                    let back = out.chars().count();
                    return Err(self.refuse(format!("missing {end}, unterminated name"), back));
                }
                Some(Token::Char(c)) if c == end => break,
                Some(Token::Char(c)) => out.push(c),
                Some(Token::Escape(c)) => out.extend(['\\', c]),
            }
        }
        if out.is_empty() {
            return Err(self.refuse(format!("missing {what}"), 1));
        }
        Ok(out)
    }

    /// Where the next token starts, in characters.
    pub(super) fn tell(&self) -> usize {
        self.index - self.ahead()
    }

    /// Goes back to a position that [`Tokens::tell`] gave.
    pub(super) fn seek(&mut self, position: usize) -> Result<(), Refusal> {
        self.index = position;
        self.advance()
    }

    /// A refusal `back` characters before the next token.
    pub(super) fn refuse(&self, reason: impl Into<String>, back: usize) -> Refusal {
        Refusal {
            reason: reason.into(),
            position: Some(self.tell().saturating_sub(back)),
            ours: false,
        }
    }

    /// The position as Python's messages give it: with line and column where the regex has several lines.
    pub(super) fn place(text: &str, position: usize) -> String {
        let before: String = text.chars().take(position).collect();
        if !text.contains('\n') {
            return format!(" at position {position}");
        }
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        format!(" at position {position} (line {line}, column {column})")
    }
}
