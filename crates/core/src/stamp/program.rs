//! A small matching machine for date patterns: leftmost match, first alternative first, as Python's `re`.
//!
//! Nearly every line of every log passes here, so it avoids what a general engine cannot: it keeps captures at no
//! extra cost, needs no tables to be built, and leaves most starting places by one look at a byte. Work is counted;
//! a line that needs too much is handed to the general engine ([`Search::Costly`]), so no line can stall it.

use super::code::{Code, Op, first_bytes, is_pinned};
use super::landmark::Landmark;
use super::letter;
use super::mask::Witness;
use super::shape::{Place, Set, Shape};

/// Steps that each search may take, however short the text is.
const FREE_STEPS: usize = 2000;

/// The ASCII characters that `\w` holds.
const WORD: u128 = 0x07ff_fffe_87ff_fffe_03ff_0000_0000_0000;

/// Marks a group that took no part in the match.
const UNSET: usize = usize::MAX;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Program {
    ops: Vec<Op>,
    sets: Vec<Set>,
    names: Vec<Option<String>>,
    landmark: Option<Landmark>,
    /// Bytes that a match may start with; lead bytes of longer characters count as one.
    first: Box<[bool; 256]>,
    /// The ASCII ones among them.
    first_ascii: u128,
    anchored: bool,
    /// Every match begins at the start of the line, after a bracket there, or after `audit(`.
    pinned: bool,
    /// Every match begins with Fail2Ban's boundary.
    bound: bool,
}

/// Working memory of a search, kept between lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    /// Start and end of each group; number 0 is the whole match.
    slots: Vec<usize>,
    trail: Vec<Trail>,
    /// Where the colons of the line are, if they were looked up for all templates.
    colons: Option<Vec<usize>>,
}

/// One search: its text, and what it has left.
struct Attempt<'a, W> {
    text: &'a str,
    scratch: &'a mut Scratch,
    witness: &'a mut W,
    budget: usize,
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
        let Code { ops, sets } = Code::of(&shape.root)?;
        let anchored = matches!(ops.get(1), Some(Op::At(Place::Start)));
        let first = Box::new(first_bytes(&ops, &sets));
        let ascii = (0..128).zip(first.iter()).filter(|(_, starts)| **starts);
        let first_ascii = ascii.fold(0, |set, (byte, _): (u8, _)| set | (1 << byte));
        let landmark = Landmark::of(&shape.root);
        let pinned = is_pinned(&ops);
        let bound = matches!(ops.get(1), Some(Op::At(Place::Before)));
        Some(Program {
            ops,
            sets,
            names: shape.names.clone(),
            landmark,
            first,
            first_ascii,
            anchored,
            pinned,
            bound,
        })
    }

    /// Names of the groups, the whole match first.
    pub(super) fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// Searches `text` from byte `from`; what stands before is seen by conditions only. The witness hears all that
    /// decided how the search went.
    pub(super) fn search(&self, text: &str, from: usize, scratch: &mut Scratch, witness: &mut impl Witness) -> Search {
        let allowed = FREE_STEPS + 64 * text.len();
        let mut attempt = Attempt {
            text,
            scratch,
            witness,
            budget: allowed,
        };
        let ended = self.search_from(from, &mut attempt);
        // A shorter text might have been given up.
        if allowed - attempt.budget >= FREE_STEPS {
            witness.lost();
        }
        ended
    }

    fn search_from<W: Witness>(&self, from: usize, attempt: &mut Attempt<'_, W>) -> Search {
        let bytes = attempt.text.as_bytes();
        if self.anchored {
            let marked = self.landmark.as_ref().is_none_or(|mark| {
                // The last of them is what follows the landmark.
                let head = bytes.get(..mark.reach + 2).unwrap_or(bytes);
                let place = mark.next(head, 1);
                mark.tell(head, (1, place), attempt.witness);
                place.is_some()
            });
            return if from == 0 && marked {
                self.run(0, attempt)
            } else {
                Search::Missing
            };
        }
        let Some(mark) = &self.landmark else {
            return self.search_range((from, bytes.len()), attempt);
        };
        let mut at = from;
        while let Some(place) = attempt.next_landmark(mark, at + 1) {
            let nearest = at.max(place.saturating_sub(mark.reach));
            match self.search_range((nearest, place), attempt) {
                Search::Missing => at = place + 1,
                ended => return ended,
            }
        }
        Search::Missing
    }

    /// Tries the starts of a range, its end included.
    fn search_range<W: Witness>(&self, (from, to): (usize, usize), attempt: &mut Attempt<'_, W>) -> Search {
        let text = attempt.text;
        let bytes = text.as_bytes();
        for at in from..=to {
            match bytes.get(at) {
                Some(&byte) => attempt.witness.asked(at, byte, self.first_ascii),
                None => attempt.witness.end(),
            }
            let starts = bytes
                .get(at)
                .is_none_or(|&byte| self.first.get(usize::from(byte)) == Some(&true));
            if starts && text.is_char_boundary(at) && !self.hopeless_start(at, attempt) {
                match self.run(at, attempt) {
                    Search::Missing => {}
                    ended => return ended,
                }
            }
        }
        Search::Missing
    }

    /// Whether the condition that a match begins with fails for sure.
    #[inline]
    fn hopeless_start<W: Witness>(&self, at: usize, attempt: &mut Attempt<'_, W>) -> bool {
        (self.pinned && attempt.far_from_pins(at)) || (self.bound && attempt.inside_word(at))
    }

    fn run<W: Witness>(&self, start: usize, attempt: &mut Attempt<'_, W>) -> Search {
        let text = attempt.text;
        attempt.scratch.begin(self.names.len() * 2);
        let (mut pc, mut at) = (0, start);
        loop {
            if attempt.budget == 0 {
                return Search::Costly;
            }
            attempt.budget -= 1;
            let next = match self.ops.get(pc) {
                None | Some(Op::Done) => return Search::Found,
                Some(&Op::Split(one, other)) => {
                    if self.hopeless(one, at, attempt) {
                        Some((other, at))
                    } else {
                        attempt.scratch.trail.push(Trail::Branch(other, at));
                        Some((one, at))
                    }
                }
                Some(&Op::Jump(to)) => Some((to, at)),
                Some(&Op::Save(slot)) => {
                    attempt.scratch.save(slot, at);
                    Some((pc + 1, at))
                }
                Some(&Op::One(set)) => self
                    .sets
                    .get(set)
                    .and_then(|&set| step(set, text, at, attempt.witness))
                    .map(|after| (pc + 1, after)),
                Some(&Op::At(place)) => holds(place, text, at, attempt.witness).then_some((pc + 1, at)),
                Some(&Op::Same(group, fold)) => attempt.same(group, at, fold).map(|after| (pc + 1, after)),
            };
            match next.or_else(|| attempt.scratch.back()) {
                Some(state) => (pc, at) = state,
                None => return Search::Missing,
            }
        }
    }

    /// Whether an operation fails here for sure: then no choice needs to be kept.
    #[inline]
    fn hopeless<W: Witness>(&self, pc: usize, at: usize, attempt: &mut Attempt<'_, W>) -> bool {
        let Some(&Op::One(set)) = self.ops.get(pc) else {
            return false;
        };
        match (self.sets.get(set), attempt.text.as_bytes().get(at)) {
            (Some(set), Some(&byte)) if byte < 128 => {
                attempt.witness.asked(at, byte, set.ascii);
                set.ascii >> byte & 1 == 0
            }
            (_, Some(_)) => {
                attempt.witness.lost();
                false
            }
            (_, None) => {
                attempt.witness.end();
                false
            }
        }
    }
}

impl<W: Witness> Attempt<'_, W> {
    /// The next place of the landmark at or after a byte.
    fn next_landmark(&mut self, mark: &Landmark, from: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let place = match &self.scratch.colons {
            Some(colons) => mark.next_of(bytes, colons, from),
            None => mark.next(bytes, from),
        };
        mark.tell(bytes, (from, place), self.witness);
        place
    }

    /// Whether none of the conditions that pin a match down can hold at a place.
    fn far_from_pins(&mut self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.text.as_bytes().get(before));
        let Some(&byte) = before.filter(|_| at > 1) else {
            return false;
        };
        self.witness.asked(at - 1, byte, 1 << b'(');
        byte != b'('
    }

    /// Whether there are word characters on both sides of a place.
    #[inline]
    fn inside_word(&mut self, at: usize) -> bool {
        at > 0 && word_after(self.text, at, self.witness) && word_before(self.text, at, self.witness)
    }

    /// The place after a second text of the group.
    fn same(&mut self, group: usize, at: usize, fold: bool) -> Option<usize> {
        let (start, end) = self.scratch.group(group)?;
        let same = self.text.get(start..end)?;
        let after = at + same.len();
        // Equal bytes on both sides compare in the same way.
        for place in (start..end).chain(at..after) {
            match self.text.as_bytes().get(place) {
                Some(&byte) => self
                    .witness
                    .asked(place, byte, 1u128.checked_shl(byte.into()).unwrap_or(0)),
                None => self.witness.end(),
            }
        }
        let here = self.text.get(at..after)?;
        let equal = here == same || (fold && here.eq_ignore_ascii_case(same));
        equal.then_some(after)
    }
}

impl Scratch {
    /// Looks up the colons of a line, for the searches that follow, until [`Scratch::turn`].
    pub(super) fn survey(&mut self, line: &str) {
        let mut places = self.colons.take().unwrap_or_default();
        places.clear();
        places.extend(
            line.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b':')
                .map(|(at, _)| at),
        );
        self.colons = Some(places);
    }

    /// Another text is searched next.
    pub(super) fn turn(&mut self) {
        self.colons = None;
    }

    fn begin(&mut self, slots: usize) {
        self.slots.clear();
        self.slots.resize(slots, UNSET);
        self.trail.clear();
    }

    fn save(&mut self, slot: usize, at: usize) {
        if let Some(place) = self.slots.get_mut(slot) {
            // Without a choice to come back to there is nothing to restore.
            if !self.trail.is_empty() {
                self.trail.push(Trail::Restore(slot, *place));
            }
            *place = at;
        }
    }

    /// The groups of the last match.
    pub(super) fn slots(&self) -> &[usize] {
        &self.slots
    }

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
        pair(&self.slots, group)
    }
}

/// Start and end of a group.
pub(super) fn pair(slots: &[usize], group: usize) -> Option<(usize, usize)> {
    match (slots.get(group * 2), slots.get(group * 2 + 1)) {
        (Some(&start), Some(&end)) if start != UNSET && end != UNSET => Some((start, end)),
        _ => None,
    }
}

/// The place after one character of the set.
#[inline]
fn step(set: Set, text: &str, at: usize, witness: &mut impl Witness) -> Option<usize> {
    let Some(&byte) = text.as_bytes().get(at) else {
        witness.end();
        return None;
    };
    if byte < 128 {
        witness.asked(at, byte, set.ascii);
        return (set.ascii >> byte & 1 == 1).then_some(at + 1);
    }
    witness.lost();
    if !set.may_be_wide() {
        return None;
    }
    let c = text.get(at..)?.chars().next()?;
    set.holds_wide(c).then_some(at + c.len_utf8())
}

/// Whether the character before the place is a word character.
fn word_before(text: &str, at: usize, witness: &mut impl Witness) -> bool {
    match at.checked_sub(1).and_then(|before| text.as_bytes().get(before)) {
        None => false,
        Some(&byte) if byte < 128 => {
            witness.asked(at - 1, byte, WORD);
            WORD >> byte & 1 == 1
        }
        Some(_) => {
            witness.lost();
            let head = text.get(..at);
            head.and_then(|head| head.chars().next_back())
                .is_some_and(letter::is_word)
        }
    }
}

fn word_after(text: &str, at: usize, witness: &mut impl Witness) -> bool {
    match text.as_bytes().get(at) {
        None => {
            witness.end();
            false
        }
        Some(&byte) if byte < 128 => {
            witness.asked(at, byte, WORD);
            WORD >> byte & 1 == 1
        }
        Some(_) => {
            witness.lost();
            let tail = text.get(at..);
            tail.and_then(|tail| tail.chars().next()).is_some_and(letter::is_word)
        }
    }
}

fn holds(place: Place, text: &str, at: usize, witness: &mut impl Witness) -> bool {
    let end = text.len();
    match place {
        Place::Start => at == 0,
        Place::End => {
            witness.lost();
            at == end || (at + 1 == end && text.ends_with('\n'))
        }
        Place::WordEdge => word_before(text, at, witness) != word_after(text, at, witness),
        Place::Before => {
            let after = word_after(text, at, witness);
            at == 0 || (at < end && !after) || word_before(text, at, witness) != after
        }
        Place::After => !word_after(text, at, witness) || !word_before(text, at, witness),
        Place::Bracket => at == 1 && holds_text("[", text, at, witness),
        Place::Audit => holds_text("audit(", text, at, witness) && !word_before(text, at - "audit(".len(), witness),
    }
}

/// Whether a text stands before the place.
fn holds_text(what: &str, text: &str, at: usize, witness: &mut impl Witness) -> bool {
    let Some(start) = at.checked_sub(what.len()) else {
        return false;
    };
    for (place, expected) in (start..at).zip(what.bytes()) {
        match text.as_bytes().get(place) {
            Some(&byte) => {
                witness.asked(place, byte, 1 << expected);
                if byte != expected {
                    return false;
                }
            }
            None => return false,
        }
    }
    true
}
