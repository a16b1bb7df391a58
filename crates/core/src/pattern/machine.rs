//! The engine for what no automaton can do: it goes through the text and back again as CPython's does, step by step,
//! so that it finds what CPython finds, and the steps are counted.
//!
//! What Python's groups hold after loops, look-around and failed alternatives follows from the order in which they
//! are set and put back; therefore the places where CPython keeps them are the places where this machine does.

mod memory;
mod stretch;
#[cfg(test)]
mod tests;

use super::ahead::Ways;
use super::choice::{Choice, Kind, Round};
use super::cursor::{Cursor, NONE, index, place};
use super::failed::Failed;
use super::program::{Program, Step};
use super::room::Room;
use super::tree::{Greed, Times};

/// Choices that may be open at a time.
const CHOICES_MAX: usize = 1 << 20;
/// Marks that may be kept at a time.
const KEPT_MAX: usize = 1 << 23;
/// Bits for the places that were tried.
const TRIED_MAX: usize = 1 << 28;
/// Steps after which it is remembered what has failed; nearly all searches take fewer.
const FORGETFUL: usize = 2_000;

/// The steps ran out, or the memory did.
#[derive(Debug)]
pub(super) struct Spent;

/// A search in one text.
pub(super) struct Machine<'p, 't> {
    program: &'p Program,
    text: Cursor<'t>,
    marks: Vec<u32>,
    /// The marks below this are in force.
    marked: usize,
    round: u32,
    rounds: Vec<Round>,
    choices: Vec<Choice>,
    kept: Vec<u32>,
    /// The innermost body that is matched for itself.
    body: u32,
    given: usize,
    /// Of those given, the steps that are left.
    steps: usize,
    /// With fewer steps left than these, it is remembered what has failed.
    late: usize,
    failed: Option<Failed>,
    tried: Vec<u64>,
}

impl<'p, 't> Machine<'p, 't> {
    /// A machine that may take so many steps.
    ///
    /// # Errors
    /// The text is too long for it.
    pub(super) fn new(program: &'p Program, text: &'t str, steps: usize) -> Result<Self, Spent> {
        if u32::try_from(text.len()).is_err() {
            return Err(Spent);
        }
        let bits = program.steps.len().saturating_mul(text.len() + 1);
        let linear = program.flat && bits <= TRIED_MAX;
        let given = if linear { usize::MAX } else { steps };
        let Room {
            mut marks,
            rounds,
            choices,
            kept,
        } = Room::take();
        marks.clear();
        marks.resize(program.groups * 2, NONE);
        Ok(Machine {
            program,
            text: Cursor(text),
            marks,
            marked: 0,
            round: NONE,
            rounds,
            choices,
            kept,
            body: NONE,
            given,
            steps: given,
            late: if program.flat {
                0
            } else {
                given.saturating_sub(FORGETFUL)
            },
            failed: None,
            tried: if linear { vec![0; bits / 64 + 1] } else { Vec::new() },
        })
    }

    /// Counts something that was done for this search elsewhere.
    ///
    /// # Errors
    /// The steps have run out.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        self.steps = self.steps.checked_sub(steps).ok_or(Spent)?;
        Ok(())
    }

    /// How many steps were taken.
    pub(super) fn taken(&self) -> usize {
        self.given - self.steps
    }

    /// Remembers what fails from now on.
    #[cfg(test)]
    pub(super) fn remember(&mut self) {
        self.late = self.steps + 1;
    }

    /// Where a match that begins at this place ends.
    ///
    /// # Errors
    /// The steps, or the memory, have run out.
    pub(super) fn match_at(&mut self, start: usize) -> Result<Option<usize>, Spent> {
        self.marked = 0;
        self.round = NONE;
        self.body = NONE;
        self.rounds.clear();
        self.choices.clear();
        self.kept.clear();
        let mut next = Some((0, place(start)));
        while let Some((pc, at)) = next {
            self.spend(1)?;
            next = match self.program.steps.get(pc) {
                Some(Step::Done) if self.body == NONE => return Ok(Some(index(at))),
                Some(_) if self.remembers() && self.will_fail(pc, at)? => None,
                Some(step) => self.step(step, pc, at)?,
                None => None,
            };
            if next.is_none() {
                next = self.fail()?;
            }
        }
        Ok(None)
    }

    /// The text that a group holds.
    pub(super) fn group(&self, group: usize) -> Option<&'t str> {
        let (from, to) = self.span(group)?;
        self.text.between(from, to)
    }

    /// One step: where to go on, or nothing if it fails.
    fn step(&mut self, step: &'p Step, pc: usize, at: u32) -> Result<Option<(usize, u32)>, Spent> {
        Ok(match step {
            Step::One(test) => self
                .text
                .next(at)
                .filter(|&(c, _)| test.passes(c))
                .map(|(_, to)| (pc + 1, to)),
            Step::Text(text) => self.text.goes_on_with(at, text).map(|to| (pc + 1, to)),
            Step::At(position) => self.text.is_at(*position, at).then_some((pc + 1, at)),
            Step::Mark(mark) => {
                self.mark(*mark, at);
                Some((pc + 1, at))
            }
            Step::Jump(to) => Some((*to, at)),
            Step::Fork(first, second, ways) => self.fork((*first, *second), ways.as_deref(), pc, at)?,
            Step::Run(test, times, follow) => self.run((test, follow.as_deref()), *times, pc, at)?,
            Step::Enter(until) => {
                self.enter(Round::first(self.round, *until));
                Some((*until, at))
            }
            Step::Until(times, body, ways) => self.until(*times, (*body, ways.as_deref()), pc, at)?,
            Step::Atomic(_) => {
                self.begin(pc, at, false)?;
                Some((pc + 1, at))
            }
            Step::Look { back, negated, end } => self.look(*back, *negated, *end, (pc, at))?,
            Step::Done => self.done(at),
            Step::Same(group, case) => self.same(*group, *case, at)?.map(|to| (pc + 1, to)),
            Step::IfSet(group, no) => Some((if self.span(*group).is_some() { pc + 1 } else { *no }, at)),
        })
    }

    fn fork(
        &mut self,
        (first, second): (usize, usize),
        ways: Option<&Ways>,
        pc: usize,
        at: u32,
    ) -> Result<Option<(usize, u32)>, Spent> {
        match self.open(ways, at) {
            (true, true) => {}
            (true, false) => return Ok(Some((first, at))),
            (false, is_open) => return Ok(is_open.then_some((second, at))),
        }
        if self.was_tried(pc, at) {
            return Ok(None);
        }
        let keep = self.program.flat || self.round != NONE;
        self.choose(Kind::Fork, second, at, keep)?;
        Ok(Some((first, at)))
    }

    /// Which of two ways may be gone from a place.
    fn open(&self, ways: Option<&Ways>, at: u32) -> (bool, bool) {
        ways.map_or((true, true), |ways| ways.open(self.text.byte(at)))
    }

    /// Notes that this step is tried at this place; true if it was tried before.
    fn was_tried(&mut self, pc: usize, at: u32) -> bool {
        let bit = index(at) * self.program.steps.len() + pc;
        let Some(word) = self.tried.get_mut(bit / 64) else {
            return false;
        };
        let mask = 1 << (bit % 64);
        let before = *word & mask != 0;
        *word |= mask;
        before
    }

    fn mark(&mut self, mark: usize, at: u32) {
        if mark >= self.marked {
            if let Some(between) = self.marks.get_mut(self.marked..mark) {
                between.fill(NONE);
            }
            self.marked = mark + 1;
        }
        if let Some(place) = self.marks.get_mut(mark) {
            *place = at;
        }
    }

    /// Where a group was begun and ended, if both happened, in this order.
    fn span(&self, group: usize) -> Option<(u32, u32)> {
        let begin = group.checked_mul(2)?.checked_sub(2)?;
        if begin + 1 >= self.marked {
            return None;
        }
        let (from, to) = (*self.marks.get(begin)?, *self.marks.get(begin + 1)?);
        (from != NONE && to != NONE && from <= to).then_some((from, to))
    }

    /// Leaves a choice behind, with the marks if they are to be put back.
    fn choose(&mut self, kind: Kind, pc: usize, at: u32, keep: bool) -> Result<(), Spent> {
        let kept = self.kept.len();
        if keep {
            self.kept
                .extend_from_slice(self.marks.get(..self.marked).unwrap_or_default());
        }
        if self.choices.len() >= CHOICES_MAX || self.kept.len() > KEPT_MAX {
            return Err(Spent);
        }
        self.choices.push(Choice {
            kind,
            pc,
            at,
            round: self.round,
            rounds: self.rounds.len(),
            marked: self.marked,
            keep,
            kept,
        });
        Ok(())
    }

    /// Begins a body that is matched for itself.
    fn begin(&mut self, pc: usize, at: u32, keep: bool) -> Result<(), Spent> {
        let body = place(self.choices.len());
        self.choose(Kind::Body(self.body), pc, at, keep)?;
        self.body = body;
        Ok(())
    }

    fn enter(&mut self, round: Round) {
        self.round = place(self.rounds.len());
        self.rounds.push(round);
    }

    /// Puts back what was when a choice was left.
    fn restore(&mut self, choice: &Choice) {
        if choice.keep {
            let marks = self.marks.iter_mut().take(choice.marked);
            marks
                .zip(self.kept.iter().skip(choice.kept))
                .for_each(|(mark, old)| *mark = *old);
        }
        self.marked = choice.marked;
        self.round = choice.round;
        self.rounds.truncate(choice.rounds);
    }

    /// The way taken has failed: the next one, from the last choice.
    fn fail(&mut self) -> Result<Option<(usize, u32)>, Spent> {
        while let Some(choice) = self.choices.pop() {
            self.spend(1)?;
            let next = self.other_way(choice)?;
            if next.is_some() {
                return Ok(next);
            }
        }
        Ok(None)
    }

    fn other_way(&mut self, choice: Choice) -> Result<Option<(usize, u32)>, Spent> {
        let Choice { kind, pc, at, .. } = choice;
        if let Kind::Body(outer) = kind {
            self.body = outer;
            return Ok(self.body_failed(&choice));
        }
        if let Kind::Failed(row) = kind {
            self.note_failed(row, at);
            return Ok(None);
        }
        self.restore(&choice);
        match kind {
            Kind::Less(low) => return self.one_less(choice, low),
            Kind::More(count) => return self.one_more(choice, count),
            _ => self.drop_kept(&choice),
        }
        match kind {
            Kind::Leave => {
                self.round = self.this_round().outer;
                Ok(Some((pc + 1, at)))
            }
            Kind::Again => Ok(self.another_round(pc, at)),
            _ => Ok(Some((pc, at))),
        }
    }

    fn drop_kept(&mut self, choice: &Choice) {
        self.kept.truncate(choice.kept);
    }

    /// Leaves a choice behind once more, as it was.
    fn choose_still(&mut self, choice: Choice) {
        self.kept
            .truncate(choice.kept + if choice.keep { choice.marked } else { 0 });
        self.choices.push(choice);
    }

    fn this_round(&self) -> Round {
        self.rounds
            .get(index(self.round))
            .copied()
            .unwrap_or(Round::first(NONE, 0))
    }

    fn until(
        &mut self,
        times: Times,
        (body, ways): (usize, Option<&Ways>),
        pc: usize,
        at: u32,
    ) -> Result<Option<(usize, u32)>, Spent> {
        let round = self.this_round();
        let count = round.count + 1;
        if count < i64::from(times.min) {
            self.enter(Round { count, ..round });
            return Ok(Some((body, at)));
        }
        let (may_repeat, may_leave) = self.open(ways, at);
        if times.greed == Greed::Lazy && may_repeat {
            if !may_leave {
                return Ok(self.another_round(pc, at));
            }
            // The marks are kept if what follows the loop is itself in one.
            self.choose(Kind::Again, pc, at, round.outer != NONE)?;
        } else if may_repeat && times.max.is_none_or(|max| count < i64::from(max)) && at != round.last {
            if may_leave {
                self.choose(Kind::Leave, pc, at, true)?;
            }
            self.enter(Round {
                count,
                last: at,
                ..round
            });
            return Ok(Some((body, at)));
        }
        self.round = round.outer;
        Ok(may_leave.then_some((pc + 1, at)))
    }

    fn another_round(&mut self, pc: usize, at: u32) -> Option<(usize, u32)> {
        let Some(&Step::Until(times, body, _)) = self.program.steps.get(pc) else {
            return None;
        };
        let round = self.this_round();
        let count = round.count + 1;
        if times.max.is_some_and(|max| count >= i64::from(max)) || at == round.last {
            return None;
        }
        self.enter(Round {
            count,
            last: at,
            ..round
        });
        Some((body, at))
    }

    fn look(
        &mut self,
        back: u64,
        negated: bool,
        end: usize,
        (pc, at): (usize, u32),
    ) -> Result<Option<(usize, u32)>, Spent> {
        let mut from = at;
        for _ in 0..back {
            match self.text.previous(from) {
                Some((_, to)) => from = to,
                None => return Ok(negated.then_some((end, at))),
            }
        }
        self.begin(pc, at, negated && self.round != NONE)?;
        Ok(Some((pc + 1, from)))
    }

    /// A body that is matched for itself has matched.
    fn done(&mut self, at: u32) -> Option<(usize, u32)> {
        let begun = index(self.body);
        let choice = self.choices.get(begun).copied()?;
        self.choices.truncate(begun);
        self.round = choice.round;
        self.rounds.truncate(choice.rounds);
        self.drop_kept(&choice);
        if let Kind::Body(outer) = choice.kind {
            self.body = outer;
        }
        match self.program.steps.get(choice.pc)? {
            Step::Look { negated, end, .. } => (!negated).then_some((*end, choice.at)),
            Step::Atomic(end) => Some((*end, at)),
            _ => None,
        }
    }

    fn body_failed(&mut self, choice: &Choice) -> Option<(usize, u32)> {
        let next = match self.program.steps.get(choice.pc) {
            Some(&Step::Look { negated: true, end, .. }) => {
                self.restore(choice);
                Some((end, choice.at))
            }
            _ => None,
        };
        self.drop_kept(choice);
        next
    }
}

impl Drop for Machine<'_, '_> {
    fn drop(&mut self) {
        let room = Room {
            marks: std::mem::take(&mut self.marks),
            rounds: std::mem::take(&mut self.rounds),
            choices: std::mem::take(&mut self.choices),
            kept: std::mem::take(&mut self.kept),
        };
        room.give_back();
    }
}
