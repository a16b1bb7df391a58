//! From where a search is known to fail: a bit for each place of the text, in a row for each place of the program and
//! each state of its loops and groups that makes a difference there.

use std::collections::BTreeMap;

use super::cursor::index;

/// Rows that there may be.
const ROWS_MAX: usize = 1 << 15;
/// Words of 64 places that they may have together: 2 MiB.
const WORDS_MAX: usize = 1 << 18;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row(usize);

/// The table for one program and one text.
#[derive(Default)]
pub(super) struct Failed {
    /// For each place of the program, the rows of its states.
    rows: Vec<BTreeMap<u128, Row>>,
    count: usize,
    /// Words of a row.
    width: usize,
    words: Vec<u64>,
}

impl Failed {
    /// For a program of so many steps, and a text of so many bytes.
    pub(super) fn new(steps: usize, bytes: usize) -> Failed {
        Failed {
            rows: vec![BTreeMap::new(); steps],
            count: 0,
            width: bytes / 64 + 1,
            words: Vec::new(),
        }
    }

    /// The row of a state, if there is one.
    pub(super) fn row(&self, pc: usize, state: u128) -> Option<Row> {
        self.rows.get(pc)?.get(&state).copied()
    }

    /// The row of a state, a new one if need be; nothing if there are too many.
    pub(super) fn row_or_new(&mut self, pc: usize, state: u128) -> Option<Row> {
        if let Some(row) = self.row(pc, state) {
            return Some(row);
        }
        if self.count >= ROWS_MAX || self.words.len() + self.width > WORDS_MAX {
            return None;
        }
        let row = Row(self.words.len());
        self.words.resize(self.words.len() + self.width, 0);
        self.count += 1;
        self.rows.get_mut(pc)?.insert(state, row);
        Some(row)
    }

    /// Notes that the search fails from this place.
    pub(super) fn add(&mut self, row: Row, at: u32) {
        if let Some(word) = self.words.get_mut(row.0 + index(at) / 64) {
            *word |= 1 << (at % 64);
        }
    }

    /// Whether it is known to fail from this place.
    pub(super) fn has(&self, row: Row, at: u32) -> bool {
        self.word(row, at) >> (at % 64) & 1 == 1
    }

    /// The last byte before `at` from which it is not known to fail, but none before `low`.
    pub(super) fn open_before(&self, row: Row, mut at: u32, low: u32) -> u32 {
        while at > low {
            let last = at - 1;
            let open = !self.word(row, last) & u64::MAX >> (63 - last % 64);
            at = last - last % 64;
            if open != 0 {
                return low.max(at + 63 - open.leading_zeros());
            }
        }
        low
    }

    fn word(&self, row: Row, at: u32) -> u64 {
        self.words.get(row.0 + index(at) / 64).copied().unwrap_or_default()
    }
}
