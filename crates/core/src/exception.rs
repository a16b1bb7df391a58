//! A refusal in the shape that Fail2Ban's clients know: a Python exception as a value (contract §8.3).

use std::fmt;

use crate::value::Value;

/// Which exception it is. Clients print it by its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One of Python's own, by its name: `ValueError`, `KeyError`, …
    Builtin(&'static str),
    /// `fail2ban.exceptions.UnknownJailException`, printed as a jail that does not exist
    UnknownJail,
    /// `fail2ban.exceptions.DuplicateJailException`
    DuplicateJail,
    /// `fail2ban.server.failregex.RegexException`
    Regex,
    /// One of Python's library, by its module and its name
    Library(&'static str, &'static str),
}

/// Python's own exceptions, by name in order.
const BUILTINS: &[&str] = &[
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "BytesWarning",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "DeprecationWarning",
    "EOFError",
    "EncodingWarning",
    "Exception",
    "ExceptionGroup",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "FutureWarning",
    "GeneratorExit",
    "ImportError",
    "ImportWarning",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PendingDeprecationWarning",
    "PermissionError",
    "ProcessLookupError",
    "RecursionError",
    "ReferenceError",
    "ResourceWarning",
    "RuntimeError",
    "RuntimeWarning",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SyntaxWarning",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "UnicodeWarning",
    "UserWarning",
    "ValueError",
    "Warning",
    "ZeroDivisionError",
];

/// Those that print the number and the text of an error of the system.
const SYSTEM: &[&str] = &[
    "BlockingIOError",
    "BrokenPipeError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "FileExistsError",
    "FileNotFoundError",
    "InterruptedError",
    "IsADirectoryError",
    "NotADirectoryError",
    "OSError",
    "PermissionError",
    "ProcessLookupError",
    "TimeoutError",
];

/// Exceptions of Python's library that Fail2Ban's commands let through.
const LIBRARY: &[(&str, &str)] = &[
    ("binascii", "Error"),
    ("configparser", "Error"),
    ("configparser", "NoOptionError"),
    ("configparser", "NoSectionError"),
    ("fail2ban.server.asyncserver", "AsyncServerException"),
    ("json.decoder", "JSONDecodeError"),
    ("re", "error"),
    ("socket", "gaierror"),
    ("socket", "herror"),
    ("sqlite3", "DatabaseError"),
    ("sqlite3", "IntegrityError"),
    ("sqlite3", "InterfaceError"),
    ("sqlite3", "OperationalError"),
    ("sqlite3", "ProgrammingError"),
    ("sre_constants", "error"),
    ("subprocess", "CalledProcessError"),
    ("subprocess", "TimeoutExpired"),
];

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
            Class::Library(module, name) => (module, name),
        }
    }

    /// The class that Python finds there, if it is one that a Fail2Ban server answers with.
    #[must_use]
    pub fn named(module: &str, name: &str) -> Option<Class> {
        if module == "builtins" {
            let found = BUILTINS.binary_search(&name).ok()?;
            return BUILTINS.get(found).map(|name| Class::Builtin(name));
        }
        let own = [Class::UnknownJail, Class::DuplicateJail, Class::Regex].into_iter();
        let library = LIBRARY.iter().map(|(module, name)| Class::Library(module, name));
        own.chain(library).find(|class| class.path() == (module, name))
    }

    /// Whether its text is shown in quotes, as `KeyError` does.
    fn quotes(self) -> bool {
        matches!(self, Class::Builtin("KeyError") | Class::UnknownJail)
    }

    /// Whether it is about an error of the system, with a number and a text.
    fn is_of_the_system(self) -> bool {
        matches!(self, Class::Builtin(name) if SYSTEM.contains(&name))
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

    /// Python's `repr()` of it.
    #[must_use]
    pub fn repr(&self) -> String {
        // The path of the system's errors is none of their arguments.
        let shown = if self.class.is_of_the_system() { 2 } else { usize::MAX };
        let arguments: Vec<String> = self.arguments.iter().take(shown).map(Value::repr).collect();
        format!("{}({})", self.class.path().1, arguments.join(", "))
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
            (class, [only]) if class.quotes() => f.write_str(&only.repr()),
            (class, [number, text, path @ ..]) if class.is_of_the_system() && path.len() < 2 => {
                write!(f, "[Errno {number}] {text}")?;
                path.first().map_or(Ok(()), |path| write!(f, ": {}", path.repr()))
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
        assert_eq!(two.to_string(), "[Errno 2] No such file");
        let named = Exception {
            class: Class::Builtin("FileNotFoundError"),
            arguments: vec![2.into(), "No such file".into(), "/x".into()],
        };
        assert_eq!(named.to_string(), "[Errno 2] No such file: '/x'");
        let several = Exception {
            class: Class::Builtin("ValueError"),
            arguments: vec![2.into(), "b".into()],
        };
        assert_eq!(several.to_string(), "(2, 'b')");
        assert_eq!(Exception::no_jail("x").to_string(), "'x'");
    }

    #[test]
    fn repr_is_pythons() {
        assert_eq!(Exception::no_jail("x").repr(), "UnknownJailException('x')");
        assert_eq!(Exception::value("it's").repr(), "ValueError(\"it's\")");
        let missing = Exception::file((2, "No such file or directory".into()), "/nope");
        assert_eq!(missing.repr(), "FileNotFoundError(2, 'No such file or directory')");
    }

    #[test]
    fn classes_are_found_by_their_paths() {
        assert!(BUILTINS.is_sorted());
        for class in [
            Class::Builtin("ValueError"),
            Class::UnknownJail,
            Class::Regex,
            Class::Library("json.decoder", "JSONDecodeError"),
        ] {
            let (module, name) = class.path();
            assert_eq!(Class::named(module, name), Some(class));
        }
        for (module, name) in [("builtins", "eval"), ("os", "system"), ("builtins", "")] {
            assert_eq!(Class::named(module, name), None);
        }
    }
}
