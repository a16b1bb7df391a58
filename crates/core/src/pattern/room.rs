//! What a [machine](super::machine) needs room for: kept from one search to the next, because most are short.

use std::cell::Cell;

use super::choice::{Choice, Round};

/// Lists of up to so many elements are used again.
const MOST: usize = 4096;

thread_local! {
    static LAST: Cell<Room> = Cell::default();
}

/// Lists that grow with a search.
#[derive(Default)]
pub(super) struct Room {
    pub(super) marks: Vec<u32>,
    pub(super) rounds: Vec<Round>,
    pub(super) choices: Vec<Choice>,
    pub(super) kept: Vec<u32>,
}

impl Room {
    /// The lists of the search before, or new ones.
    pub(super) fn take() -> Room {
        let mut room = LAST.take();
        room.rounds.clear();
        room.choices.clear();
        room.kept.clear();
        room
    }

    /// Keeps them for the next search, unless they have grown large.
    pub(super) fn give_back(self) {
        let most = self.choices.capacity().max(self.kept.capacity());
        if most.max(self.rounds.capacity()) <= MOST {
            LAST.set(self);
        }
    }
}
