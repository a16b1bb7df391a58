//! What a text must go on with behind a repeated character, so that places where it does not need no try.

use super::program::{Step, Test};
use super::tree::At;

/// The bytes of which one must follow, and whether the text may end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ahead {
    bytes: [u64; 4],
    end: bool,
}

/// What two ways can begin with.
#[derive(Debug)]
pub(super) struct Ways {
    first: Option<Ahead>,
    second: Option<Ahead>,
}

impl Ways {
    /// Those that begin at these places of a program.
    pub(super) fn of(steps: &[Step], first: usize, second: usize) -> Option<Box<Ways>> {
        let (first, second) = (Ahead::of(steps, first), Ahead::of(steps, second));
        (first.is_some() || second.is_some()).then(|| Box::new(Ways { first, second }))
    }

    /// Which of them may be gone where a text goes on so.
    pub(super) fn open(&self, byte: Option<u8>) -> (bool, bool) {
        let is_open = |way: &Option<Ahead>| way.as_ref().is_none_or(|ahead| ahead.allows(byte));
        (is_open(&self.first), is_open(&self.second))
    }
}

impl Ahead {
    /// Behind which the steps from `place` on can match at all; nothing where anything may follow.
    pub(super) fn of(steps: &[Step], place: usize) -> Option<Ahead> {
        let mut ahead = Ahead::default();
        let mut seen = vec![false; steps.len()];
        let mut open = vec![place];
        while let Some(pc) = open.pop() {
            if std::mem::replace(seen.get_mut(pc)?, true) {
                continue;
            }
            match steps.get(pc)? {
                Step::One(test) => ahead.add(test),
                Step::Text(text) => ahead.byte(*text.as_bytes().first()?),
                Step::Run(test, times, _) => {
                    ahead.add(test);
                    open.extend((times.min == 0).then_some(pc + 1));
                }
                Step::At(At::End | At::LineEnd) => {
                    ahead.end = true;
                    ahead.byte(b'\n');
                }
                Step::At(At::TextEnd) => ahead.end = true,
                Step::At(_) | Step::Mark(_) | Step::Atomic(_) => open.push(pc + 1),
                Step::Jump(to) | Step::Enter(to) | Step::Look { end: to, .. } => open.push(*to),
                Step::Fork(one, other, _) => open.extend([*one, *other]),
                Step::Until(_, body, _) => open.extend([*body, pc + 1]),
                Step::IfSet(_, no) => open.extend([pc + 1, *no]),
                Step::Done | Step::Same(..) => return None,
            }
        }
        Some(ahead)
    }

    /// Whether a run of characters that pass the test ends where this can begin, and nowhere before: none of them is
    /// allowed.
    pub(super) fn excludes(&self, test: &Test) -> bool {
        let mut passing = Ahead::default();
        passing.add(test);
        self.bytes
            .iter()
            .zip(passing.bytes)
            .all(|(own, passing)| own & passing == 0)
    }

    /// Whether a text may go on so; nothing is its end.
    pub(super) fn allows(&self, byte: Option<u8>) -> bool {
        let Some(byte) = byte else { return self.end };
        let word = self.bytes.get(usize::from(byte / 64)).copied().unwrap_or(u64::MAX);
        word >> (byte % 64) & 1 == 1
    }

    fn byte(&mut self, byte: u8) {
        if let Some(word) = self.bytes.get_mut(usize::from(byte / 64)) {
            *word |= 1 << (byte % 64);
        }
    }

    fn add(&mut self, test: &Test) {
        for byte in 0..0x80 {
            if test.passes(char::from(byte)) {
                self.byte(byte);
            }
        }
        if test.may_be_foreign() {
            (0x80..=0xff).for_each(|byte| self.byte(byte));
        }
    }
}
