//! What the daemon gives up once it knows its places: whoever takes it over by a line of a log has little of root left.
//!
//! In come the places that it writes to; out goes what was given up, and what could not be, in words. It is given up by
//! the thread that asks, and by all that this one starts later, so it must be asked for before any other is started.
//! The runner, which runs actions, gives up nothing ([`docs/guide/sandbox.md`]).

mod calls;
mod places;
mod rights;
#[cfg(debug_assertions)]
mod trial;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) use self::places::{Written, written};

/// Without which nothing is given up, where it says `off`.
const VARIABLE: &str = "PORTCULLIS_SANDBOX";

/// The places that this process writes to, once it is confined to them.
static CONFINED: OnceLock<BTreeSet<PathBuf>> = OnceLock::new();

/// What came of it, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    /// What the daemon cannot do any more, and what it can on purpose
    pub(crate) up: Vec<String>,
    /// What it still can although it should not, and why
    pub(crate) not: Vec<String>,
}

impl Given {
    fn tell<E: std::fmt::Display>(&mut self, result: Result<String, E>, what: &str) -> bool {
        let is_done = result.is_ok();
        match result {
            Ok(text) => self.up.push(text),
            Err(error) => self.not.push(format!("{what} ({error})")),
        }
        is_done
    }
}

/// Whether somebody wants no sandbox.
pub(crate) fn is_off() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|word| word == "off")
}

/// Gives up what can be given up. `written` are the places to write to; none where they are not known yet.
pub(crate) fn enter(written: Option<&Written>) -> Given {
    let mut given = Given::default();
    let quiet = rustix::thread::set_no_new_privs(true);
    given.tell(quiet.map(|()| "no new privileges".to_owned()), "new privileges");
    let is_confined = match written {
        Some(written) => {
            let is_confined = given.tell(places::confine(written), "writing anywhere");
            if is_confined {
                CONFINED.get_or_init(|| written.folders.clone());
            }
            is_confined
        }
        None => {
            let text = "writing is not limited (a client says later where the database and the log are)";
            given.up.push(text.to_owned());
            false
        }
    };
    given.tell(rights::drop(is_confined), "capabilities");
    given.tell(calls::forbid(), "system calls");
    #[cfg(debug_assertions)]
    trial::run();
    given
}

/// Why a file cannot be written, if the sandbox has to do with it.
pub(crate) fn explain(path: &Path, error: String) -> String {
    let folders = CONFINED.get().filter(|_| path.is_absolute());
    match folders.filter(|folders| !folders.iter().any(|folder| path.starts_with(folder))) {
        Some(folders) => format!(
            "{error}; the sandbox of this daemon lets it write below {} alone, as its configuration said when it was \
             started: put the new place into fail2ban.local and start it again",
            list(folders)
        ),
        None => error,
    }
}

/// Folders, for people.
fn list(paths: &BTreeSet<PathBuf>) -> String {
    let texts: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    texts.join(", ")
}
