//! What the [machine](super::machine) remembers of where it has been, to come back to.

use super::cursor::NONE;
use super::failed::Row;

/// A loop in progress.
#[derive(Clone, Copy)]
pub(super) struct Round {
    /// How often its body has matched; at the beginning, none yet is −1.
    pub(super) count: i64,
    /// Where the last optional round began.
    pub(super) last: u32,
    /// The loop around it.
    pub(super) outer: u32,
    /// Where its condition stands in the program.
    pub(super) until: usize,
}

impl Round {
    /// Before the first time, inside that loop, with the condition at that place.
    pub(super) fn first(outer: u32, until: usize) -> Round {
        Round {
            count: -1,
            last: NONE,
            outer,
            until,
        }
    }
}

/// How to go on where the way taken before has failed.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// At the other place.
    Fork,
    /// With one character less, down to this place of the text.
    Less(u32),
    /// With one more; so many were taken.
    More(u32),
    /// Behind the loop.
    Leave,
    /// With another round.
    Again,
    /// A body that is matched for itself has failed. With the body around it.
    Body(u32),
    /// Nowhere: all ways from here have failed, which is noted in that row.
    Failed(Row),
}

#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) kind: Kind,
    pub(super) pc: usize,
    pub(super) at: u32,
    pub(super) round: u32,
    pub(super) rounds: usize,
    /// How many marks were in force; whether they are kept, and from where on.
    pub(super) marked: usize,
    pub(super) keep: bool,
    pub(super) kept: usize,
}
