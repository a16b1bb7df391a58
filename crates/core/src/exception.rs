//! A refusal in the shape that Fail2Ban's clients know: a Python exception as a value (contract §8.3).

use std::fmt;

use crate::value::Value;

/// Which exception it is. Clients print it by its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// One of Python's own, by its name: `ValueError`, `KeyError`, …
    Builtin(&'static str),
    /// `fail2ban.exceptions.UnknownJailException`, printed as a jail that does not exist
    UnknownJail,
    /// `fail2ban.exceptions.DuplicateJailException`
    DuplicateJail,
    /// `fail2ban.server.failregex.RegexException`
    Regex,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// Its class
    pub class: Class,
    /// What it was made of; most have one text
    pub arguments: Vec<Value>,
}

impl Class {
    /// The module and the name under which Python finds it.
    #[must_use]
    pub fn path(&self) -> (&'static str, &'static str) {
        match self {
            Class::Builtin(name) => ("builtins", name),
            Class::UnknownJail => ("fail2ban.exceptions", "UnknownJailException"),
            Class::DuplicateJail => ("fail2ban.exceptions", "DuplicateJailException"),
            Class::Regex => ("fail2ban.server.failregex", "RegexException"),
        }
    }
}

impl Exception {
    /// One of a class with one argument.
    #[must_use]
    pub fn new(class: Class, argument: impl Into<Value>) -> Self {
        Exception {
            class,
            arguments: vec![argument.into()],
        }
    }

    /// One of Python's own.
    #[must_use]
    pub fn builtin(name: &'static str, text: impl Into<String>) -> Self {
        Exception::new(Class::Builtin(name), text.into())
    }

    /// The system's error about a file, such as `(2, "No such file or directory")`.
    #[must_use]
    pub fn file((number, text): (i32, String), path: &str) -> Self {
        let name = match number {
            1 | 13 => "PermissionError",
            2 => "FileNotFoundError",
            17 => "FileExistsError",
            20 => "NotADirectoryError",
            21 => "IsADirectoryError",
            _ => "OSError",
        };
        Exception {
            class: Class::Builtin(name),
            arguments: vec![i64::from(number).into(), text.into(), path.into()],
        }
    }

    /// A `ValueError`.
    #[must_use]
    pub fn value(text: impl Into<String>) -> Self {
        Exception::new(Class::Builtin("ValueError"), text.into())
    }

    /// A `KeyError`; its text is shown in quotes.
    #[must_use]
    pub fn key(text: impl Into<String>) -> Self {
        Exception::new(Class::Builtin("KeyError"), text.into())
    }

    /// A command with too few words.
    #[must_use]
    pub fn index() -> Self {
        Exception::new(Class::Builtin("IndexError"), "list index out of range")
    }

    /// No jail of that name.
    #[must_use]
    pub fn no_jail(name: impl Into<Value>) -> Self {
        Exception::new(Class::UnknownJail, name)
    }
}

/// A plain `Exception`.
impl From<String> for Exception {
    fn from(text: String) -> Self {
        Exception::new(Class::Builtin("Exception"), text)
    }
}

/// A plain `Exception`.
impl From<&str> for Exception {
    fn from(text: &str) -> Self {
        Exception::from(text.to_owned())
    }
}

/// Python's `str()` of it.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.class, self.arguments.as_slice()) {
            (Class::Builtin("KeyError") | Class::UnknownJail, [only]) => f.write_str(&only.repr()),
            (Class::Builtin(name), [Value::Int(number), Value::Str(text), path])
                if name.ends_with("Error") && path.as_str().is_some() =>
            {
                write!(f, "[Errno {number}] {text}: {}", path.repr())
            }
            (_, []) => Ok(()),
            (_, [only]) => only.fmt(f),
            (_, several) => f.write_str(&Value::Tuple(several.to_vec()).repr()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_as_python_prints_it() {
        assert_eq!(
            Exception::key("Invalid Action name: x").to_string(),
            "'Invalid Action name: x'"
        );
        assert_eq!(Exception::value("x").to_string(), "x");
        assert_eq!(Exception::from("Invalid command").to_string(), "Invalid command");
        let missing = Exception::file((2, "No such file or directory".into()), "/nope");
        assert_eq!(missing.to_string(), "[Errno 2] No such file or directory: '/nope'");
        let two = Exception {
            class: Class::Builtin("OSError"),
            arguments: vec![2.into(), "No such file".into()],
        };
        assert_eq!(two.to_string(), "(2, 'No such file')");
    }
}
