//! Careful reading, after the daemon died: which line is in hand is written down before it is looked at.
//!
//! One that was in hand at two deaths is skipped at the next start (DESIGN §2 rule 6). Only one line is in hand at a
//! time in all groups, and until the engine is through with it: so the line that is blamed is the one that did it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::source::Chunk;

/// In hand at so many deaths, a line is skipped.
const DEADLY: u32 = 2;
/// A record is padded to this, so that it is written over the one before in a single step.
const RECORD: usize = 4096;

/// A line, as it is known again in the next life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Place {
    path: String,
    device: u64,
    inode: u64,
    end: u64,
    /// The jail that reads it, or nothing once all have
    jail: String,
}

/// A place, and at how many deaths it was in hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    place: Place,
    deaths: u32,
}

/// The record on disk, and what an earlier life left there.
pub(crate) struct Careful {
    hand: Mutex<Hand>,
    before: Option<Record>,
    over: AtomicBool,
}

/// The line in hand.
pub(super) struct Hand {
    file: File,
}

impl Careful {
    /// Opens the record. What stands in it was in hand when the daemon died.
    ///
    /// # Errors
    /// As the file system has them.
    pub(crate) fn open(path: &Path) -> std::io::Result<Careful> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        let mut text = String::new();
        // What cannot be read blames nobody.
        let _ = file.read_to_string(&mut text);
        let before = serde_json::from_str(text.trim_end()).ok().map(|record: Record| Record {
            deaths: record.deaths.saturating_add(1),
            ..record
        });
        Ok(Careful {
            hand: Mutex::new(Hand { file }),
            before,
            over: AtomicBool::new(false),
        })
    }

    /// Nothing has happened for long enough: reading goes on as usual.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits until no other group has a line in hand.
    pub(super) fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line in hand for a jail, or for the engine. Returns whether it is to be skipped.
    pub(super) fn take(&self, hand: &Hand, chunk: &Chunk, end: u64, jail: &str) -> bool {
        let place = Place {
            path: chunk.path.to_string(),
            device: chunk.mark.device,
            inode: chunk.mark.inode,
            end,
            jail: jail.to_owned(),
        };
        let deaths = match &self.before {
            Some(before) if before.place == place => before.deaths,
            _ => 0,
        };
        if deaths >= DEADLY {
            return true;
        }
        hand.write(&Record { place, deaths });
        false
    }

    /// Puts the line down.
    pub(super) fn put_down(&self, hand: &Hand) {
        hand.write(&Record::default());
    }
}

impl Hand {
    fn write(&self, record: &Record) {
        let Ok(mut text) = serde_json::to_vec(record) else {
            return;
        };
        text.resize(text.len().max(RECORD), b' ');
        // Where it cannot be written, no line is ever blamed, and reading goes on.
        let _ = self.file.write_all_at(&text, 0);
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::ledger::Mark;
    use portcullis_core::time::Timestamp;

    use super::*;

    fn chunk() -> Chunk {
        Chunk {
            path: "/log".into(),
            generation: 1,
            lines: crate::source::Lines::default(),
            mark: Mark {
                device: 1,
                inode: 2,
                offset: 0,
                head: String::new(),
                tail: String::new(),
                read_at: Timestamp::default(),
            },
            caught_up: false,
            started: false,
        }
    }

    /// A life that takes this line in hand and dies; whether it skipped it.
    fn life(path: &Path, end: u64) -> bool {
        let careful = Careful::open(path).unwrap();
        let hand = careful.hand();
        careful.take(&hand, &chunk(), end, "jail")
    }

    #[test]
    fn two_deaths_at_the_same_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lives: Vec<bool> = [10, 10, 10].map(|end| life(file.path(), end)).into();
        assert_eq!(lives, [false, false, true]);
    }

    #[test]
    fn deaths_at_different_lines_blame_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for end in [10, 20, 10, 20, 20] {
            assert!(!life(file.path(), end));
        }
        assert!(life(file.path(), 20));
    }

    #[test]
    fn a_line_put_down_is_not_blamed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for _ in 0..4 {
            let careful = Careful::open(file.path()).unwrap();
            let hand = careful.hand();
            assert!(!careful.take(&hand, &chunk(), 10, "jail"));
            careful.put_down(&hand);
        }
    }
}
