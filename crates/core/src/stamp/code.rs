//! From the tree of a pattern to the operations of the small machine.

use super::shape::{Node, Place, Set};

/// Operations that a program may have before the general engine takes over.
const MAX_OPS: usize = 2000;

/// A step of the machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// One character of the set with this number.
    One(usize),
    At(Place),
    Save(usize),
    Same(usize, bool),
    /// Try the first, and come back for the second.
    Split(usize, usize),
    Jump(usize),
    Done,
}

/// A program in the making.
pub(super) struct Code {
    pub(super) ops: Vec<Op>,
    pub(super) sets: Vec<Set>,
}

impl Code {
    /// The operations of a pattern, between those that keep the whole match; `None` if they are too many.
    pub(super) fn of(root: &Node) -> Option<Code> {
        let mut code = Code {
            ops: vec![Op::Save(0)],
            sets: Vec::new(),
        };
        code.emit(root)?;
        code.ops.extend([Op::Save(1), Op::Done]);
        Some(code)
    }

    fn emit(&mut self, node: &Node) -> Option<()> {
        if self.ops.len() > MAX_OPS {
            return None;
        }
        match node {
            Node::One(set) => {
                let known = self.sets.iter().position(|known| known == set);
                if known.is_none() {
                    self.sets.push(*set);
                }
                self.ops.push(Op::One(known.unwrap_or(self.sets.len() - 1)));
            }
            Node::At(place) => self.ops.push(Op::At(*place)),
            Node::Same(group, fold, _) => self.ops.push(Op::Same(*group, *fold)),
            Node::Group(None, inner) => self.emit(inner)?,
            Node::Group(Some(group), inner) => {
                self.ops.push(Op::Save(group * 2));
                self.emit(inner)?;
                self.ops.push(Op::Save(group * 2 + 1));
            }
            Node::All(parts) => {
                for part in parts {
                    self.emit(part)?;
                }
            }
            Node::Any(branches) => self.emit_any(branches)?,
            Node::Repeat(inner, least, most, greedy) => self.emit_repeat(inner, (*least, *most), *greedy)?,
        }
        Some(())
    }

    fn emit_any(&mut self, branches: &[Node]) -> Option<()> {
        let mut ends = Vec::new();
        let (last, others) = branches.split_last()?;
        for branch in others {
            let split = self.ops.len();
            self.ops.push(Op::Done);
            self.emit(branch)?;
            ends.push(self.ops.len());
            self.ops.push(Op::Done);
            *self.ops.get_mut(split)? = Op::Split(split + 1, self.ops.len());
        }
        self.emit(last)?;
        for end in ends {
            *self.ops.get_mut(end)? = Op::Jump(self.ops.len());
        }
        Some(())
    }

    fn emit_repeat(&mut self, inner: &Node, (least, most): (usize, Option<usize>), greedy: bool) -> Option<()> {
        for _ in 0..least {
            self.emit(inner)?;
        }
        let choice = |go: usize, leave: usize| {
            if greedy {
                Op::Split(go, leave)
            } else {
                Op::Split(leave, go)
            }
        };
        let Some(most) = most else {
            let split = self.ops.len();
            self.ops.push(Op::Done);
            self.emit(inner)?;
            self.ops.push(Op::Jump(split));
            *self.ops.get_mut(split)? = choice(split + 1, self.ops.len());
            return Some(());
        };
        let mut splits = Vec::new();
        for _ in least..most {
            splits.push(self.ops.len());
            self.ops.push(Op::Done);
            self.emit(inner)?;
        }
        for split in splits {
            *self.ops.get_mut(split)? = choice(split + 1, self.ops.len());
        }
        Some(())
    }
}

/// Every byte that can be the first of a match; all of them if the pattern can match nothing.
pub(super) fn first_bytes(ops: &[Op], sets: &[Set]) -> [bool; 256] {
    let mut seen = vec![false; ops.len()];
    let mut open = vec![0];
    let mut first = [false; 256];
    while let Some(pc) = open.pop() {
        let Some(mark) = seen.get_mut(pc) else { continue };
        if std::mem::replace(mark, true) {
            continue;
        }
        match ops.get(pc) {
            Some(&Op::One(set)) => {
                let Some(set) = sets.get(set) else { continue };
                for (byte, starts) in (0..=255u8).zip(first.iter_mut()) {
                    *starts |= if byte < 128 {
                        set.ascii >> byte & 1 == 1
                    } else {
                        set.may_be_wide()
                    };
                }
            }
            Some(Op::At(_) | Op::Save(_)) => open.push(pc + 1),
            Some(&Op::Split(one, other)) => open.extend([one, other]),
            Some(&Op::Jump(to)) => open.push(to),
            Some(Op::Same(..) | Op::Done) | None => return [true; 256],
        }
    }
    first
}

/// Whether all that a match can begin with is bound to the start of the line or to `audit(`.
pub(super) fn is_pinned(ops: &[Op]) -> bool {
    let mut seen = vec![false; ops.len()];
    let mut open = vec![0];
    while let Some(pc) = open.pop() {
        let Some(mark) = seen.get_mut(pc) else { return false };
        if std::mem::replace(mark, true) {
            continue;
        }
        match ops.get(pc) {
            Some(Op::At(Place::Start | Place::Bracket | Place::Audit)) => {}
            Some(Op::At(_) | Op::Save(_)) => open.push(pc + 1),
            Some(&Op::Split(one, other)) => open.extend([one, other]),
            Some(&Op::Jump(to)) => open.push(to),
            Some(Op::One(_) | Op::Same(..) | Op::Done) | None => return false,
        }
    }
    true
}
