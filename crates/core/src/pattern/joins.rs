//! Where several ways through a program can meet, so that it is worth remembering from where a search has failed, and
//! what decides about that beside the place in the program, the place in the text and the loops in progress.

use super::program::Step;

/// Of one program.
#[derive(Debug)]
pub(super) struct Joins {
    meet: Box<[bool]>,
    /// Groups of which is asked whether they are set.
    pub(super) asked: Box<[usize]>,
    /// Groups whose text must come again.
    pub(super) quoted: Box<[usize]>,
}

impl Joins {
    /// Nothing where a failed way may leave behind what a later one reads. That is the end of a group which is still
    /// open: outside of loops it is not put back, because every way on to a match sets it anew. Only a question for the
    /// group inside itself comes before that.
    pub(super) fn of(steps: &[Step]) -> Option<Joins> {
        let mut ways = vec![0_u8; steps.len()];
        let (mut asked, mut quoted) = (Vec::new(), Vec::new());
        let mut open = Vec::new();
        for (pc, step) in steps.iter().enumerate() {
            for (to, many) in leads_to(pc, step) {
                if let Some(ways) = ways.get_mut(to) {
                    *ways = ways.saturating_add(many);
                }
            }
            match step {
                Step::Mark(mark) if mark % 2 == 0 => open.push(mark / 2 + 1),
                Step::Mark(_) => drop(open.pop()),
                Step::IfSet(group, _) | Step::Same(group, _) if open.contains(group) => return None,
                Step::IfSet(group, _) => asked.push(*group),
                Step::Same(group, _) => quoted.push(*group),
                _ => {}
            }
        }
        for groups in [&mut asked, &mut quoted] {
            groups.sort_unstable();
            groups.dedup();
        }
        asked.retain(|group| !quoted.contains(group));
        Some(Joins {
            meet: ways.into_iter().map(|ways| ways > 1).collect(),
            asked: asked.into(),
            quoted: quoted.into(),
        })
    }

    /// Steps that it costs to look up what is known: the ends of groups make many states.
    pub(super) fn cost(&self) -> usize {
        1 + 7 * self.quoted.len().min(2)
    }

    /// Whether several ways may come to this place of the program at the same place of a text.
    pub(super) fn meet_at(&self, pc: usize) -> bool {
        self.meet.get(pc).copied().unwrap_or_default()
    }
}

/// The places where a step goes on, and how many ways it makes to each: more than one, for all that matters, where it
/// may come to the same place of the text from several.
fn leads_to(pc: usize, step: &Step) -> impl Iterator<Item = (usize, u8)> {
    let next = pc + 1;
    let (one, other) = match step {
        Step::Run(_, times, _) => (Some((next, if times.max == Some(times.min) { 1 } else { 2 })), None),
        Step::Until(times, body, _) => (Some((next, if times.max.is_some() { 2 } else { 1 })), Some((*body, 1))),
        Step::Atomic(end) => (Some((next, 1)), Some((*end, 2))),
        Step::Look { end, .. } => (Some((next, 1)), Some((*end, 1))),
        Step::Fork(one, other, _) => (Some((*one, 1)), Some((*other, 1))),
        Step::IfSet(_, no) => (Some((next, 1)), Some((*no, 1))),
        Step::Jump(to) => (Some((*to, 1)), None),
        // A loop is come back to from its body, which may end here from several places.
        Step::Enter(until) => (Some((*until, 2)), None),
        Step::Done => (None, None),
        Step::One(_) | Step::Text(_) | Step::At(_) | Step::Mark(_) | Step::Same(..) => (Some((next, 1)), None),
    };
    one.into_iter().chain(other)
}
