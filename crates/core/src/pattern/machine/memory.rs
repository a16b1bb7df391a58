//! What the [machine](super) remembers of the ways that failed, so that a long search goes none of them twice.
//!
//! Whether a search can still succeed from somewhere follows from the place in the program and in the text, from the
//! loops around in the innermost body that is matched for itself, and from the groups that are asked for: of a loop from
//! how often it has gone round, as far as its bounds tell that apart, and whether its last round began here. What the
//! other groups hold has no part in it, so that leaving out a way that fails does not change what is found.

use super::super::choice::{Kind, Round};
use super::super::cursor::{NONE, index, place};
use super::super::failed::{Failed, Row};
use super::super::joins::Joins;
use super::super::program::Step;
use super::{Machine, Spent};

impl Machine<'_, '_> {
    /// Whether the search has taken long enough for a memory to pay.
    #[inline]
    pub(super) fn remembers(&self) -> bool {
        self.steps < self.late
    }

    /// Whether the search is known to fail from here; if not, it will be known once it has.
    pub(super) fn will_fail(&mut self, pc: usize, at: u32) -> Result<bool, Spent> {
        let program = self.program;
        let Some(joins) = &program.joins else {
            self.late = 0;
            return Ok(false);
        };
        if !joins.meet_at(pc) {
            return Ok(false);
        }
        self.spend(joins.cost())?;
        let state = self.state(joins, Some(at));
        let failed = self
            .failed
            .get_or_insert_with(|| Failed::new(program.steps.len(), self.text.0.len()));
        let Some(row) = state.and_then(|state| failed.row_or_new(pc, state)) else {
            return Ok(false);
        };
        if failed.has(row, at) {
            return Ok(true);
        }
        self.choose(Kind::Failed(row), pc, at, false)?;
        Ok(false)
    }

    /// What is known of a place of the program, for places of the text behind those where rounds of the loops began.
    pub(super) fn row_behind(&mut self, pc: usize) -> Result<Option<Row>, Spent> {
        let program = self.program;
        let Some(joins) = self.failed.as_ref().and(program.joins.as_ref()) else {
            return Ok(None);
        };
        self.spend(joins.cost())?;
        let state = self.state(joins, None);
        Ok(state.and_then(|state| self.failed.as_ref()?.row(pc, state)))
    }

    /// Notes that the search fails from a place: of each byte of its character, so that going back finds no gap in it.
    pub(super) fn note_failed(&mut self, row: Row, at: u32) {
        let behind = self.text.next(at).map_or(at + 1, |(_, to)| to);
        if let Some(failed) = &mut self.failed {
            (at..behind).for_each(|byte| failed.add(row, byte));
        }
    }

    /// Whether the search is known to fail from that place of the text.
    pub(super) fn has_failed(&self, row: Option<Row>, at: u32) -> bool {
        row.zip(self.failed.as_ref())
            .is_some_and(|(row, failed)| failed.has(row, at))
    }

    /// The last place before one that is known to fail, not below `low`, from which the search may succeed.
    pub(super) fn open_before(&self, row: Option<Row>, at: u32, low: u32) -> u32 {
        let open = row.zip(self.failed.as_ref());
        let open = open.map_or(low, |(row, failed)| failed.open_before(row, at, low));
        place(self.text.0.floor_char_boundary(index(open)))
    }

    /// All that decides whether the search can succeed from a place in the program and in the text, as a number that
    /// stands for nothing else at this place of the program.
    fn state(&self, joins: &Joins, at: Option<u32>) -> Option<u128> {
        let mut state = 0_u128;
        let mut add = |digit: u128, of: u128| -> Option<()> {
            state = state.checked_mul(of)?.checked_add(digit)?;
            Some(())
        };
        for group in &joins.asked {
            add(u128::from(self.span(*group).is_some()), 2)?;
        }
        let places = u128::try_from(self.text.0.len()).ok()? + 2;
        for group in &joins.quoted {
            for mark in [group * 2 - 2, group * 2 - 1] {
                let place = self.marks.get(..self.marked)?.get(mark).filter(|place| **place != NONE);
                add(place.map_or(0, |place| u128::from(*place) + 1), places)?;
            }
        }
        let outside = self.choices.get(index(self.body)).map_or(NONE, |body| body.round);
        let mut round = self.round;
        while round != outside {
            let own = self.rounds.get(index(round))?;
            let (count, of) = self.counted(own)?;
            add(count, of)?;
            add(u128::from(at == Some(own.last)), 2)?;
            round = own.outer;
        }
        Some(state)
    }

    /// How often a loop has gone round, as far as its bounds tell that apart, and how many such counts there are.
    fn counted(&self, round: &Round) -> Option<(u128, u128)> {
        let Step::Until(times, ..) = self.program.steps.get(round.until)? else {
            return None;
        };
        let most = u128::from(times.max.unwrap_or(times.min));
        let count = u128::try_from(round.count + 1).ok()?;
        Some((count.min(most), most + 1))
    }
}
