//! Reading a configuration: for a dump, for a test, for a server (contract §8.1).

use portcullis_core::config::{self, FAIL2BAN_VERSION, Face, Outcome, ReadError, Request, Tree};
use portcullis_core::diagnostic::{Diagnostic, Severity};
use portcullis_core::value::{Value, repr_str};

use super::options::{GRAMMAR, Layout, Taken, Wish};
use super::pretty;
use super::session::{Break, Done, Session};
use super::voice::Voice;
use crate::folder::Disk;
use crate::observe::log::Level;

/// The disk, with a word about each file that is read.
struct Watched<'v>(&'v Voice);

impl Tree for Watched<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let read = Disk.read(path);
        if read.is_ok() {
            self.0.debug(&format!("Loading files: [{}]", repr_str(path)));
        }
        read
    }

    fn list(&self, folder: &str) -> Vec<String> {
        Disk.list(folder)
    }

    fn is_dir(&self, path: &str) -> bool {
        Disk.is_dir(path)
    }

    fn is_file(&self, path: &str) -> bool {
        Disk.is_file(path)
    }
}

impl Session {
    /// Takes the command line and does what can be done without a server: whether it went well, or nothing if a
    /// server is needed.
    ///
    /// # Errors
    /// A configuration that fails the test which was asked for before a command.
    pub(super) fn begin(&mut self) -> Done<Option<bool>> {
        let Ok((options, words)) = GRAMMAR.parse(&self.arguments) else {
            self.usage()?;
            return Ok(Some(false));
        };
        let mut wish = Wish {
            words,
            ..Wish::default()
        };
        for (option, value) in options {
            match wish.take(&option, value) {
                Taken::Kept => {}
                Taken::Answer(text) => return Ok(self.print(&text).map(|()| Some(true))?),
                Taken::Wrong(text) => return Ok(self.print(&text).map(|()| Some(false))?),
                Taken::Help => return self.usage().map(|()| Some(true)),
            }
        }
        self.voice = Voice::of(wish.verbose).into();
        self.wish = wish;
        match config::read_early(&Disk, &self.wish.base, &self.wish.overrides()) {
            Ok(early) => self.wish.early = early,
            Err((said, diagnostics)) => {
                diagnostics.iter().for_each(|told| self.complain(told));
                self.print(&format!("ERROR: {said}"))?;
                return Ok(Some(false));
            }
        }
        let setting = |name| self.wish.setting(name);
        self.voice.info(&format!("Using socket file {}", setting("socket")));
        let (pid, level, target) = (setting("pidfile"), setting("loglevel"), setting("logtarget"));
        self.voice.info(&format!(
            "Using pid file {pid}, [{}] logging to {target}",
            level.to_uppercase()
        ));
        self.rehearse()
    }

    /// The dump and the test.
    fn rehearse(&mut self) -> Done<Option<bool>> {
        if self.wish.dump.is_none() && !self.wish.test {
            return Ok(None);
        }
        let outcome = self.read(None)?;
        if let Some(layout) = self.wish.dump {
            self.dump(&outcome, layout)?;
        }
        if !self.wish.test {
            return Ok(Some(outcome.usable));
        }
        if !self.wish.words.is_empty() {
            return match outcome.usable {
                true => Ok(None),
                false => Err(Break::Raised("ERROR: test configuration failed".to_owned())),
            };
        }
        self.print(if outcome.usable {
            "OK: configuration test is successful"
        } else {
            "ERROR: test configuration failed"
        })?;
        Ok(Some(outcome.usable))
    }

    /// Reads the folder: all of it, or one jail. What is wrong is logged.
    pub(super) fn read(&mut self, jail: Option<&str>) -> Done<Outcome> {
        self.flush()?;
        self.voice
            .debug(&format!("Reading config files: {}/jail.conf", self.wish.base));
        let overrides = self.wish.overrides();
        let mut request = Request::new(&self.wish.base, Face::Fail2Ban, FAIL2BAN_VERSION);
        request.jail = jail;
        request.allow_no_files = self.wish.dump.is_some();
        request.all_must_be_good = self.wish.test;
        request.overrides = &overrides;
        let mut outcome = config::read(&Watched(&self.voice), &request);
        let last = outcome.stream.is_empty().then(|| outcome.diagnostics.pop()).flatten();
        outcome.diagnostics.iter().for_each(|told| self.complain(told));
        match (last, jail) {
            (Some(last), Some(jail)) if last.code == "no-jail" => {
                let text = format!("Failed during configuration: No section: {}", repr_str(jail));
                self.voice.error(&text);
            }
            (Some(last), _) => self.voice.error(&format!("Failed during configuration: {last}")),
            (None, _) => {}
        }
        let skipping = if self.wish.test { "" } else { " Skipping..." };
        for jail in outcome.skipped.keys() {
            let text = format!("Errors in jail {}.{skipping}", repr_str(jail));
            self.voice.say(Level::Error, "fail2ban.jailsreader", &text);
        }
        Ok(outcome)
    }

    fn dump(&mut self, outcome: &Outcome, layout: Layout) -> Done<()> {
        if outcome.stream.is_empty() {
            self.print("ERROR: The configuration stream failed because of the invalid syntax.")?;
        }
        for command in &outcome.stream {
            let command = Value::List(command.clone());
            let text = match layout {
                Layout::Plain => command.repr(),
                Layout::Pretty => pretty::pretty(&command),
            };
            self.print(&text)?;
        }
        Ok(())
    }

    fn complain(&self, told: &Diagnostic) {
        let level = match told.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Notice,
        };
        self.voice.say(level, "fail2ban.configreader", &told.to_string());
    }
}
