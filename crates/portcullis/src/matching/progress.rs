//! How far a jail has come in one log: what it has read, what an earlier run had read, what waits for its end.

use std::collections::BTreeMap;

use portcullis_core::encoding::Encoding;
use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;

use super::jail::Repeats;
use super::joiner::{Joiner, Whole};
use crate::source::journal::Past;
use crate::source::{Chunk, Ending, Line};

/// Most files of one path in which a line may wait for its end; fewer are watched for late writers.
const GENERATIONS: usize = 8;

/// How far the jail has come in one file.
pub(super) struct Progress {
    /// How far it was read, by an earlier run or by this one
    pub(super) done: Option<Mark>,
    /// Where an earlier run came, while the group reads again what lies before, for another jail
    pub(super) behind: Option<Behind>,
    /// Which entries of a journal are not for it
    pub(super) past: Option<Past>,
    /// The last entry of a journal that was its, until that is kept
    pub(super) place: Option<Mark>,
    /// Up to when the same lines were read elsewhere
    pub(super) floor: Option<Timestamp>,
    /// Whether the end of the file was reached once
    pub(super) operating: bool,
    /// The newest file read under this path
    pub(super) generation: u64,
    /// The beginning of a line that is not whole yet, in each file read under this path
    pub(super) joiners: BTreeMap<u64, Joiner>,
    /// What a program may print again
    pub(super) repeats: Option<Repeats>,
}

/// Where an earlier run of the jail came, in a file that is read again from further up.
pub(super) struct Behind {
    pub(super) mark: Mark,
    /// Whether the group begins in an older file, so that the file of the mark is still to come
    pub(super) elsewhere: bool,
    /// Whether the file of the mark is being read
    pub(super) reached: bool,
}

impl Progress {
    /// The line that `line` makes whole.
    pub(super) fn join<'l>(&mut self, encoding: Encoding, generation: u64, line: Line<'l>) -> Option<Whole<'l>> {
        if line.ending != Ending::Nul && !encoding.is_wide() && self.joiners.is_empty() {
            return Some(Whole::of(line));
        }
        if self.joiners.len() > GENERATIONS {
            self.joiners.pop_first();
        }
        self.joiners.entry(generation).or_default().take(encoding, line)
    }

    /// How far the jail has come with a chunk: a line counts as read once it is whole. Nothing where it is not further
    /// than before.
    pub(super) fn whole(&self, chunk: &Chunk) -> Option<Mark> {
        let joiner = self.joiners.get(&chunk.generation).filter(|joiner| joiner.is_joining());
        let Some(joiner) = joiner else {
            return Some(chunk.mark.clone());
        };
        // What stands before that place is not at hand, so it is not compared.
        let mark = Mark {
            offset: joiner.begin()?,
            tail: String::new(),
            ..chunk.mark.clone()
        };
        let place = |mark: &Mark| (mark.device, mark.inode, mark.offset);
        let is_further = self.done.as_ref().is_none_or(|done| place(done) != place(&mark));
        is_further.then_some(mark)
    }

    /// Whether the jail has read a line that ends at `end`, in an earlier run.
    pub(super) fn has_read(&self, chunk: &Chunk, end: u64) -> bool {
        let Some(behind) = &self.behind else { return false };
        // Late lines stand in another file than the one that the chunk's mark names.
        if chunk.generation < self.generation {
            return false;
        }
        if is_same_file(&behind.mark, &chunk.mark) {
            end <= behind.mark.offset
        } else {
            behind.elsewhere && !behind.reached
        }
    }

    /// Forgets where the earlier run came once that place is behind. A file that begins anew under the same number
    /// has new lines from its first byte.
    pub(super) fn catch_up(&mut self, chunk: &Chunk) {
        let Some(behind) = &mut self.behind else { return };
        if is_same_file(&behind.mark, &chunk.mark) {
            behind.reached = true;
            if chunk.mark.offset > behind.mark.offset {
                self.behind = None;
            }
        } else if behind.reached || !behind.elsewhere {
            self.behind = None;
        }
        if chunk.caught_up {
            self.behind = None;
        }
    }
}

/// Whether two marks lie in the same file: its first line tells, also in a copy; the number alone is given to a new
/// file as soon as the old one is deleted, and stays when a file is truncated.
pub(super) fn is_same_file(one: &Mark, other: &Mark) -> bool {
    if one.head.is_empty() || other.head.is_empty() {
        (one.device, one.inode) == (other.device, other.inode)
    } else {
        one.head == other.head
    }
}
