//! The options that `fail2ban-client` and `fail2ban-server` share (contract §8.1).

use portcullis_core::config::{Early, FAIL2BAN_VERSION};
use portcullis_core::time::{Number, parse_length};
use portcullis_core::value::repr_float;

use super::getopt::Grammar;

/// How long to wait for a server that starts or ends, in seconds, unless `--timeout` says another.
const PATIENCE: f64 = 30.0;

/// All options.
pub(super) const GRAMMAR: Grammar = Grammar {
    short: "hc:s:p:xfbdtviqV",
    long: &[
        "loglevel=",
        "logtarget=",
        "syslogsocket=",
        "test",
        "async",
        "conf=",
        "pidfile=",
        "pname=",
        "socket=",
        "timeout=",
        "str2sec=",
        "help",
        "version",
        "dp",
        "dump-pretty",
    ],
};

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    /// Configuration folder
    pub(super) base: String,
    /// Options of the command line that win over the configuration's
    pub(super) given: Vec<(String, String)>,
    /// `socket`, `pidfile` and those of the log, as given or configured
    pub(super) early: Early,
    pub(super) dump: Option<Layout>,
    pub(super) test: bool,
    pub(super) interactive: bool,
    /// Remove a socket that is there
    pub(super) force: bool,
    pub(super) background: bool,
    /// The server is started by a client, which configures it
    pub(super) is_async: bool,
    /// What the main thread of the server is called
    pub(super) pname: Option<String>,
    /// In seconds
    pub(super) timeout: f64,
    /// 1 without `-v` and `-q`
    pub(super) verbose: i8,
    /// What stands behind the options
    pub(super) words: Vec<String>,
}

/// How a dump looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Plain,
    Pretty,
}

/// What one option means beyond itself.
pub(super) enum Taken {
    /// Go on
    Kept,
    /// Print this, and that was all
    Answer(String),
    /// Print this, and nothing comes of the command line
    Wrong(String),
    /// Print the help
    Help,
}

impl Default for Wish {
    fn default() -> Self {
        Wish {
            base: "/etc/fail2ban".to_owned(),
            given: Vec::new(),
            early: Vec::new(),
            dump: None,
            test: false,
            interactive: false,
            force: false,
            background: true,
            is_async: false,
            pname: None,
            timeout: PATIENCE,
            verbose: 1,
            words: Vec::new(),
        }
    }
}

impl Wish {
    /// Takes one option.
    pub(super) fn take(&mut self, option: &str, value: String) -> Taken {
        match option {
            "-c" | "--conf" => self.base = value,
            "-s" => self.give("socket", value),
            "-p" => self.give("pidfile", value),
            "--socket" | "--pidfile" | "--loglevel" | "--logtarget" | "--syslogsocket" => {
                self.give(option.trim_start_matches('-'), value);
            }
            "--pname" => self.pname = Some(value),
            "-d" => self.dump = Some(Layout::Plain),
            "--dp" | "--dump-pretty" => self.dump = Some(Layout::Pretty),
            "-t" | "--test" => self.test = true,
            "-i" => self.interactive = true,
            "-x" => self.force = true,
            "-b" => self.background = true,
            "-f" => self.background = false,
            "--async" => self.is_async = true,
            "-v" => self.verbose = self.verbose.saturating_add(1),
            "-q" => self.verbose = self.verbose.saturating_sub(1),
            "--timeout" | "--str2sec" => return self.length(option, &value),
            "-h" | "--help" => return Taken::Help,
            "-V" => return Taken::Answer(FAIL2BAN_VERSION.to_owned()),
            "--version" => return Taken::Answer(format!("Fail2Ban v{FAIL2BAN_VERSION}")),
            _ => {}
        }
        Taken::Kept
    }

    fn length(&mut self, option: &str, value: &str) -> Taken {
        match parse_length(value) {
            Ok(length) if option == "--timeout" => {
                self.timeout = length.as_f64();
                Taken::Kept
            }
            Ok(Number::Int(seconds)) => Taken::Answer(seconds.to_string()),
            Ok(Number::Float(seconds)) => Taken::Answer(repr_float(seconds)),
            Err(error) => Taken::Wrong(format!("ERROR: {error}")),
        }
    }

    fn give(&mut self, option: &str, value: String) {
        self.given.retain(|(name, _)| name != option);
        self.given.push((option.to_owned(), value));
    }

    /// The options that were given, for the reader of configurations.
    pub(super) fn overrides(&self) -> Vec<(&str, &str)> {
        let pairs = self.given.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// One of the early options.
    pub(super) fn setting(&self, name: &str) -> &str {
        let found = self.early.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}
