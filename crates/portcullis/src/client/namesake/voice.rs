//! What Fail2Ban's programs log on standard error, in its formats: the usual one, and from the second `-v` on those
//! with the thread (contract §8.1).

use std::io::{self, Write};
use std::time::Instant;

use jiff::Zoned;

use crate::observe::log::{Level, Log};
use crate::regex::harmless;

/// The logger of the two programs.
const LOGGER: &str = "fail2ban";

/// The program's log.
pub(super) struct Voice {
    /// Nothing until the options are known: what matters is then said bare, as Python does without a handler.
    log: Option<Log>,
    verbose: i8,
    born: Instant,
}

impl Voice {
    /// Before the options are known.
    pub(super) fn bare() -> Self {
        Voice {
            log: None,
            verbose: 1,
            born: Instant::now(),
        }
    }

    /// At a verbosity: 1 without `-v` and `-q`.
    pub(super) fn of(verbose: i8) -> Self {
        let threshold = match verbose {
            ..=0 => Level::Error,
            1 => Level::Warning,
            2 => Level::Info,
            3 => Level::Debug,
            _ => Level::HeavyDebug,
        };
        Voice {
            log: Some(Log::to_stderr(threshold)),
            verbose,
            born: Instant::now(),
        }
    }

    pub(super) fn error(&self, text: &str) {
        self.say(Level::Error, LOGGER, text);
    }

    pub(super) fn warning(&self, text: &str) {
        self.say(Level::Warning, LOGGER, text);
    }

    pub(super) fn info(&self, text: &str) {
        self.say(Level::Info, LOGGER, text);
    }

    pub(super) fn debug(&self, text: &str) {
        self.say(Level::Debug, LOGGER, text);
    }

    /// One line of a logger.
    pub(super) fn say(&self, level: Level, logger: &str, text: &str) {
        match &self.log {
            Some(log) if self.verbose < 3 => log.write(level, logger, text),
            Some(_) if level.number() < self.threshold() => {}
            Some(_) => self.say_more(level, logger, text),
            None if level >= Level::Warning => {
                let _ = writeln!(io::stderr(), "{}", harmless(text));
            }
            None => {}
        }
    }

    fn threshold(&self) -> u8 {
        if self.verbose > 3 { 5 } else { 10 }
    }

    fn say_more(&self, level: Level, logger: &str, text: &str) {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let level = level.name();
        let line = if self.verbose > 3 {
            let since = self.born.elapsed().as_millis();
            format!(" +{since:5} {thread:X} {logger:<25.25} {level:<5.5} {text}")
        } else {
            let now = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
            format!(" {now:<15} {thread:X} {level:<5.5} {text}")
        };
        let _ = writeln!(io::stderr(), "{}", harmless(&line));
    }
}
