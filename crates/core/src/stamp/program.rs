//! A small matching machine for date patterns: leftmost match, first alternative first, as Python's `re`.
//!
//! Nearly every line of every log passes here, so it avoids what a general engine cannot: it keeps captures at no
//! extra cost, needs no tables to be built, and leaves most starting places by one look at a byte. Work is counted;
//! a line that needs too much is handed to the general engine ([`Search::Costly`]), so no line can stall it.

use super::landmark::Landmark;
use super::letter;
use super::shape::{Node, Place, Set, Shape};

/// Operations that a program may have before the general engine takes over.
const MAX_OPS: usize = 2000;

/// Marks a group that took no part in the match.
const UNSET: usize = usize::MAX;

#[derive(Clone, Copy, Debug)]
enum Op {
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

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Program {
    ops: Vec<Op>,
    sets: Vec<Set>,
    names: Vec<Option<String>>,
    landmark: Option<Landmark>,
    /// Bytes that a match may start with; lead bytes of longer characters count as one.
    first: Box<[bool; 256]>,
    anchored: bool,
}

/// Working memory of a search, kept between lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Start and end of each group; number 0 is the whole match.
    slots: Vec<usize>,
    trail: Vec<Trail>,
}

#[derive(Clone, Copy, Debug)]
enum Trail {
    Branch(usize, usize),
    Restore(usize, usize),
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    Found,
    Missing,
    Costly,
}

impl Program {
    /// Compiles a pattern; `None` if it comes out too long.
    pub(super) fn new(shape: &Shape) -> Option<Program> {
        let mut code = Code {
            ops: vec![Op::Save(0)],
            sets: Vec::new(),
        };
        code.emit(&shape.root)?;
        code.ops.extend([Op::Save(1), Op::Done]);
        let Code { ops, sets } = code;
        let anchored = matches!(ops.get(1), Some(Op::At(Place::Start)));
        let first = Box::new(first_bytes(&ops, &sets));
        let landmark = Landmark::of(&shape.root);
        Some(Program {
            ops,
            sets,
            names: shape.names.clone(),
            landmark,
            first,
            anchored,
        })
    }

    /// Names of the groups, the whole match first.
    pub(super) fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// Searches `text` from byte `from`; what stands before is seen by conditions only.
    pub(super) fn search(&self, text: &str, from: usize, scratch: &mut Scratch) -> Search {
        let mut budget = 2000 + 64 * text.len();
        if self.anchored {
            let head = |mark: &Landmark| text.as_bytes().get(..=mark.reach).unwrap_or(text.as_bytes());
            let marked = self
                .landmark
                .as_ref()
                .is_none_or(|mark| mark.next(head(mark), 1).is_some());
            return if from == 0 && marked {
                self.run(text, 0, scratch, &mut budget)
            } else {
                Search::Missing
            };
        }
        let Some(mark) = &self.landmark else {
            return self.search_range(text, (from, text.len()), scratch, &mut budget);
        };
        let mut at = from;
        while let Some(place) = mark.next(text.as_bytes(), at + 1) {
            let nearest = at.max(place.saturating_sub(mark.reach));
            match self.search_range(text, (nearest, place), scratch, &mut budget) {
                Search::Missing => at = place + 1,
                ended => return ended,
            }
        }
        Search::Missing
    }

    /// Tries the starts of a range, its end included.
    fn search_range(
        &self,
        text: &str,
        (from, to): (usize, usize),
        scratch: &mut Scratch,
        budget: &mut usize,
    ) -> Search {
        let bytes = text.as_bytes();
        for at in from..=to {
            let starts = bytes
                .get(at)
                .is_none_or(|&byte| self.first.get(usize::from(byte)) == Some(&true));
            if starts && text.is_char_boundary(at) {
                match self.run(text, at, scratch, budget) {
                    Search::Missing => {}
                    ended => return ended,
                }
            }
        }
        Search::Missing
    }

    fn run(&self, text: &str, start: usize, scratch: &mut Scratch, budget: &mut usize) -> Search {
        scratch.slots.clear();
        scratch.slots.resize(self.names.len() * 2, UNSET);
        scratch.trail.clear();
        let (mut pc, mut at) = (0, start);
        loop {
            if *budget == 0 {
                return Search::Costly;
            }
            *budget -= 1;
            let next = match self.ops.get(pc) {
                None | Some(Op::Done) => return Search::Found,
                Some(&Op::Split(one, other)) => {
                    if self.hopeless(one, text, at) {
                        Some((other, at))
                    } else {
                        scratch.trail.push(Trail::Branch(other, at));
                        Some((one, at))
                    }
                }
                Some(&Op::Jump(to)) => Some((to, at)),
                Some(&Op::Save(slot)) => {
                    if let Some(place) = scratch.slots.get_mut(slot) {
                        // Without a choice to come back to there is nothing to restore.
                        if !scratch.trail.is_empty() {
                            scratch.trail.push(Trail::Restore(slot, *place));
                        }
                        *place = at;
                    }
                    Some((pc + 1, at))
                }
                Some(&Op::One(set)) => self
                    .sets
                    .get(set)
                    .and_then(|&set| step(set, text, at))
                    .map(|after| (pc + 1, after)),
                Some(&Op::At(place)) => holds(place, text, at).then_some((pc + 1, at)),
                Some(&Op::Same(group, fold)) => {
                    let same = scratch.group(group).and_then(|(start, end)| text.get(start..end));
                    same.and_then(|same| again(text, at, same, fold))
                        .map(|after| (pc + 1, after))
                }
            };
            match next.or_else(|| scratch.back()) {
                Some(state) => (pc, at) = state,
                None => return Search::Missing,
            }
        }
    }
}

impl Program {
    /// Whether an operation fails here for sure: then no choice needs to be kept.
    #[inline]
    fn hopeless(&self, pc: usize, text: &str, at: usize) -> bool {
        match (self.ops.get(pc), text.as_bytes().get(at)) {
            (Some(&Op::One(set)), Some(&byte)) if byte < 128 => {
                self.sets.get(set).is_some_and(|set| set.ascii >> byte & 1 == 0)
            }
            _ => false,
        }
    }
}

impl Scratch {
    /// Goes back to the last choice, undoing what was kept since.
    fn back(&mut self) -> Option<(usize, usize)> {
        loop {
            match self.trail.pop()? {
                Trail::Branch(pc, at) => return Some((pc, at)),
                Trail::Restore(slot, old) => {
                    if let Some(place) = self.slots.get_mut(slot) {
                        *place = old;
                    }
                }
            }
        }
    }

    /// Takes over the groups that another engine found.
    pub(super) fn keep(&mut self, groups: impl Iterator<Item = Option<(usize, usize)>>) {
        self.slots.clear();
        self.slots
            .extend(groups.flat_map(|group| group.map_or([UNSET, UNSET], |(start, end)| [start, end])));
    }

    /// Bytes of a group of the last match.
    pub(super) fn group(&self, group: usize) -> Option<(usize, usize)> {
        match (self.slots.get(group * 2), self.slots.get(group * 2 + 1)) {
            (Some(&start), Some(&end)) if start != UNSET && end != UNSET => Some((start, end)),
            _ => None,
        }
    }
}

/// The place after one character of the set.
#[inline]
fn step(set: Set, text: &str, at: usize) -> Option<usize> {
    let byte = *text.as_bytes().get(at)?;
    if byte < 128 {
        return (set.ascii >> byte & 1 == 1).then_some(at + 1);
    }
    if !set.may_be_wide() {
        return None;
    }
    let c = text.get(at..)?.chars().next()?;
    set.holds_wide(c).then_some(at + c.len_utf8())
}

/// The place after a second `same`.
fn again(text: &str, at: usize, same: &str, fold: bool) -> Option<usize> {
    let end = at + same.len();
    let here = text.get(at..end)?;
    let equal = here == same || (fold && here.eq_ignore_ascii_case(same));
    equal.then_some(end)
}

/// Whether the character before the place is a word character.
fn word_before(text: &str, at: usize) -> bool {
    match at.checked_sub(1).and_then(|before| text.as_bytes().get(before)) {
        None => false,
        Some(&byte) if byte < 128 => byte.is_ascii_alphanumeric() || byte == b'_',
        Some(_) => text
            .get(..at)
            .and_then(|head| head.chars().next_back())
            .is_some_and(letter::is_word),
    }
}

fn word_after(text: &str, at: usize) -> bool {
    match text.as_bytes().get(at) {
        None => false,
        Some(&byte) if byte < 128 => byte.is_ascii_alphanumeric() || byte == b'_',
        Some(_) => text
            .get(at..)
            .and_then(|tail| tail.chars().next())
            .is_some_and(letter::is_word),
    }
}

fn holds(place: Place, text: &str, at: usize) -> bool {
    let end = text.len();
    match place {
        Place::Start => at == 0,
        Place::End => at == end || (at + 1 == end && text.ends_with('\n')),
        Place::WordEdge => word_before(text, at) != word_after(text, at),
        Place::Before => {
            at == 0 || (at < end && !word_after(text, at)) || word_before(text, at) != word_after(text, at)
        }
        Place::After => at == end || !word_after(text, at) || !word_before(text, at),
        Place::Bracket => at == 1 && text.starts_with('['),
        Place::Audit => at
            .checked_sub("audit(".len())
            .is_some_and(|start| text.get(start..at) == Some("audit(") && !word_before(text, start)),
    }
}

/// A program in the making.
struct Code {
    ops: Vec<Op>,
    sets: Vec<Set>,
}

impl Code {
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
fn first_bytes(ops: &[Op], sets: &[Set]) -> [bool; 256] {
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
