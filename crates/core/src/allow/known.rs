//! What is known of names and files, and for how long that is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::List;
use crate::time::{Seconds, Timestamp};

/// Answers about names are believed this long (contract §4.6).
const NAMES_LAST: Seconds = Seconds::new(300);
/// Names from log lines kept at most. Those of `ignoreip` are as many as were configured.
const MOST_NAMES: usize = 1000;
/// A file is looked at again after this, and after this where it could not be read (contract §4.1).
const LISTS_LAST: Seconds = Seconds::new(1);
const FAILED_LAST: Seconds = Seconds::new(61);

/// Addresses of names, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: BTreeMap<String, Name>,
    ends: BTreeSet<(Timestamp, String)>,
    from_lines: BTreeSet<(Timestamp, String)>,
}

#[derive(Clone, Debug)]
struct Name {
    addresses: Vec<IpAddr>,
    until: Timestamp,
}

impl Names {
    /// The addresses of a name, where they were believed at `since` or later.
    #[must_use]
    pub fn get(&self, name: &str, since: Timestamp) -> Option<&[IpAddr]> {
        let name = self.known.get(name).filter(|name| name.until > since)?;
        Some(&name.addresses)
    }

    /// Takes an answer; `is_listed` where an `ignoreip` wants it.
    pub fn put(&mut self, now: Timestamp, name: String, addresses: Vec<IpAddr>, is_listed: bool) {
        self.drop(&name);
        if !is_listed {
            if self.from_lines.len() >= MOST_NAMES
                && let Some((_, oldest)) = self.from_lines.first().cloned()
            {
                self.drop(&oldest);
            }
            self.from_lines.insert((now + NAMES_LAST, name.clone()));
        }
        let until = now + NAMES_LAST;
        self.ends.insert((until, name.clone()));
        self.known.insert(name, Name { addresses, until });
    }

    /// Forgets what was believed only before `time`.
    pub fn forget(&mut self, time: Timestamp) {
        while let Some((until, name)) = self.ends.first()
            && *until <= time
        {
            let name = name.clone();
            self.drop(&name);
        }
    }

    fn drop(&mut self, name: &str) {
        if let Some(old) = self.known.remove(name) {
            let key = (old.until, name.to_owned());
            self.ends.remove(&key);
            self.from_lines.remove(&key);
        }
    }
}

/// By what a changed file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Modification time in nanoseconds
    pub modified: i64,
    /// Inode number
    pub inode: u64,
    /// Length in bytes
    pub size: u64,
}

/// What came of looking at a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is as it was when it was looked at last.
    Same,
    /// It was read.
    Read(Stat, List),
    /// It cannot be used, and why; by what it is known, where that will be so until it is changed.
    Failed(String, Option<Stat>),
}

/// The files that `ignoreip` names.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    files: BTreeMap<Arc<str>, File>,
}

#[derive(Clone, Debug, Default)]
struct File {
    asked: Option<Timestamp>,
    until: Option<Timestamp>,
    stat: Option<Stat>,
    list: List,
    was_read: bool,
    failure: Option<String>,
}

impl Lists {
    /// What stands in a file, where that was believed at `since` or later. A file that could not be read stands as
    /// it was read last; one that never could is empty.
    #[must_use]
    pub fn get(&self, path: &str, since: Timestamp) -> Option<&List> {
        let file = self.files.get(path)?;
        (since <= file.until?).then_some(&file.list)
    }

    /// A file is asked for, because a failure waits for it since now, or only to see whether it can be read; what it
    /// was known by.
    pub fn ask(&mut self, now: Option<Timestamp>, path: &Arc<str>) -> Option<Stat> {
        let file = self.files.entry(Arc::clone(path)).or_default();
        file.asked = now;
        file.stat
    }

    /// Takes an answer.
    pub fn put(&mut self, path: &str, found: Found) {
        let Some(file) = self.files.get_mut(path) else { return };
        let Some(asked) = file.asked else {
            // A glance: what stands in the file is for the first failure to see.
            match found {
                Found::Failed(reason, _) => file.failure = Some(reason),
                Found::Read(..) => (file.failure, file.until) = (None, None),
                // A file that could not be understood is not better for being the same.
                Found::Same => {}
            }
            return;
        };
        file.until = Some(asked + LISTS_LAST);
        match found {
            Found::Same => {}
            Found::Read(stat, list) => {
                (file.stat, file.list, file.was_read) = (Some(stat), list, true);
                file.failure = None;
            }
            Found::Failed(reason, stat) => {
                file.stat = stat.or(file.stat);
                file.until = Some(asked + FAILED_LAST);
                file.failure = Some(reason);
            }
        }
    }

    /// Why nothing is known of a file; `None` where it was read, be it long ago, or not asked for yet.
    #[must_use]
    pub fn failure(&self, path: &str) -> Option<&str> {
        let file = self.files.get(path).filter(|file| !file.was_read)?;
        file.failure.as_deref()
    }

    /// Forgets all other files.
    pub fn only(&mut self, paths: &BTreeSet<Arc<str>>) {
        self.files.retain(|path, _| paths.contains(path));
    }
}
