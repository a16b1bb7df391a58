//! How the [machine](super) takes a stretch of text at once: a repeated character, or what a group holds once more.

use super::super::case::folded;
use super::super::choice::{Choice, Kind};
use super::super::cursor::{Cursor, NONE, index, place};
use super::super::program::{Follow, Step, Test};
use super::super::tree::{Case, Greed, Times};
use super::{Machine, Spent};

/// So many characters of a run count as a step.
const RUN: usize = 16;
/// As so many characters counts one outside ASCII, which is decoded and looked for in a table.
const FOREIGN: usize = 20;

/// The work of passing one character, between these places.
fn work(end: u32, begin: u32) -> usize {
    if end - begin > 1 { FOREIGN } else { 1 }
}

/// Whether what must follow a run can begin at a place.
fn may_end(follow: Option<&Follow>, text: Cursor<'_>, at: u32) -> bool {
    follow.is_none_or(|follow| follow.ahead.allows(text.byte(at)))
}

impl<'p> Machine<'p, '_> {
    /// Takes up to `most` characters that pass, and says how many they were.
    fn take(&mut self, test: &Test, mut at: u32, most: Option<u32>) -> Result<(u32, u32), Spent> {
        let (mut count, mut work) = (0, 0);
        loop {
            let left = most.map_or(usize::MAX, |most| index(most - count));
            let plain = match test {
                Test::Char(own) => self.text.passing(at, left, |byte| char::from(byte) == *own),
                Test::Set(set) => self.text.passing(at, left, |byte| set.has_ascii(byte)),
                Test::Dot => self.text.passing(at, left, |byte| byte != b'\n'),
                Test::Any => self.text.passing(at, left, |_| true),
            };
            (at, count) = (at + place(plain), count.saturating_add(place(plain)));
            work += plain;
            if plain == left {
                break;
            }
            // What stopped it may be a character of another script.
            match self.text.next(at) {
                Some((c, to)) if !c.is_ascii() && test.passes(c) => {
                    (at, count) = (to, count.saturating_add(1));
                    work += FOREIGN;
                }
                _ => break,
            }
        }
        self.spend(work / RUN)?;
        Ok((at, count))
    }

    pub(super) fn run(
        &mut self,
        (test, follow): (&'p Test, Option<&Follow>),
        times: Times,
        pc: usize,
        at: u32,
    ) -> Result<Option<(usize, u32)>, Spent> {
        let (low, count) = self.take(test, at, Some(times.min))?;
        if count < times.min {
            return Ok(None);
        }
        let keep = self.round != NONE;
        if times.greed == Greed::Lazy {
            self.choose(Kind::More(count), pc, low, keep)?;
            return Ok(may_end(follow, self.text, low).then_some((pc + 1, low)));
        }
        let (high, _) = self.take(test, low, times.max.map(|max| max - times.min))?;
        if let Some(follow) = follow.filter(|follow| follow.is_apart) {
            return Ok(follow.ahead.allows(self.text.byte(high)).then_some((pc + 1, high)));
        }
        if times.greed == Greed::Greedy && high > low {
            self.choose(Kind::Less(low), pc, high, keep)?;
        }
        Ok(Some((pc + 1, high)))
    }

    /// A run gives back characters until what follows can match.
    pub(super) fn one_less(&mut self, mut choice: Choice, low: u32) -> Result<Option<(usize, u32)>, Spent> {
        let Some(Step::Run(_, _, follow)) = self.program.steps.get(choice.pc) else {
            return Ok(None);
        };
        let row = self.row_behind(choice.pc + 1)?;
        let mut given = 0;
        while choice.at > low {
            let passed = follow.as_ref().map_or(0, |follow| {
                self.text
                    .passing_back(choice.at, low, |byte| !follow.ahead.allows(Some(byte)))
            });
            given += passed;
            choice.at -= place(passed);
            if choice.at == low {
                break;
            }
            let mut to = self.text.previous(choice.at).map_or(low, |(_, to)| to);
            given += work(choice.at, to);
            if may_end(follow.as_deref(), self.text, to) && self.has_failed(row, to) {
                // Places that are known to fail are passed by 64 at a time.
                let open = self.open_before(row, to, low);
                given += 1 + index(to - open) / 64;
                to = open;
            }
            choice.at = to;
            if !may_end(follow.as_deref(), self.text, to) {
                continue;
            }
            if to > low {
                self.choose_still(choice);
            } else {
                self.drop_kept(&choice);
            }
            self.spend(given / RUN)?;
            return Ok(Some((choice.pc + 1, to)));
        }
        self.drop_kept(&choice);
        self.spend(given / RUN)?;
        Ok(None)
    }

    /// A run takes characters until what follows can match.
    pub(super) fn one_more(&mut self, mut choice: Choice, mut count: u32) -> Result<Option<(usize, u32)>, Spent> {
        let Some(Step::Run(test, times, follow)) = self.program.steps.get(choice.pc) else {
            return Ok(None);
        };
        let row = self.row_behind(choice.pc + 1)?;
        let mut taken = 0;
        loop {
            let more = times.max.is_none_or(|max| count < max);
            let Some((_, to)) = self.text.next(choice.at).filter(|&(c, _)| more && test.passes(c)) else {
                self.drop_kept(&choice);
                self.spend(taken / RUN)?;
                return Ok(None);
            };
            taken += work(to, choice.at);
            choice.at = to;
            count = count.saturating_add(1);
            if may_end(follow.as_deref(), self.text, to) && !self.has_failed(row, to) {
                choice.kind = Kind::More(count);
                self.choose_still(choice);
                self.spend(taken / RUN)?;
                return Ok(Some((choice.pc + 1, to)));
            }
        }
    }

    /// The end of a text that is the same as what a group holds.
    pub(super) fn same(&mut self, group: usize, case: Case, mut at: u32) -> Result<Option<u32>, Spent> {
        let Some((mut from, to)) = self.span(group) else {
            return Ok(None);
        };
        self.spend(index(to - from) / RUN)?;
        while from < to {
            let (Some((theirs, next_from)), Some((ours, next_at))) = (self.text.next(from), self.text.next(at)) else {
                return Ok(None);
            };
            if theirs != ours && folded(case, theirs.into()) != folded(case, ours.into()) {
                return Ok(None);
            }
            (from, at) = (next_from, next_at);
        }
        Ok(Some(at))
    }
}
