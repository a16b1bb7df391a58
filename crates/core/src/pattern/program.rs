//! A tree as a program for the [machine](super::machine), which goes back and forth as CPython does.

use super::ahead::{Ahead, Ways};
use super::class::{literal, members};
use super::joins::Joins;
use super::set::Set;
use super::tree::{At, Case, Greed, Node, Times};

/// Instructions that one program may have.
const INSTRUCTIONS_MAX: usize = 100_000;

/// Up to so many instructions it is found out what each way of two can begin with, which goes over all of them.
const WAYS_MAX: usize = 4_000;

/// What one character is tested for.
#[derive(Debug)]
pub(super) enum Test {
    Char(char),
    Set(Box<Members>),
    /// Everything but a newline.
    Dot,
    Any,
}

/// A set with the ASCII half as bits.
#[derive(Debug)]
pub(super) struct Members {
    ascii: u128,
    all: Set,
}

impl Members {
    /// Whether a character of ASCII is in it.
    #[inline]
    pub(super) fn has_ascii(&self, byte: u8) -> bool {
        self.ascii >> byte & 1 == 1
    }
}

impl Test {
    #[inline]
    pub(super) fn passes(&self, c: char) -> bool {
        match self {
            Test::Char(own) => *own == c,
            Test::Set(set) if c.is_ascii() => set.ascii >> u32::from(c) & 1 == 1,
            Test::Set(set) => set.all.contains(c.into()),
            Test::Dot => c != '\n',
            Test::Any => true,
        }
    }

    /// Whether a character outside ASCII may pass.
    pub(super) fn may_be_foreign(&self) -> bool {
        match self {
            Test::Char(own) => !own.is_ascii(),
            Test::Set(set) => set.all.ranges().last().is_some_and(|&(_, high)| high >= 0x80),
            Test::Dot | Test::Any => true,
        }
    }

    fn of(set: Set) -> Test {
        if let [(low, high)] = *set.ranges()
            && low == high
            && let Some(c) = char::from_u32(low)
        {
            return Test::Char(c);
        }
        let ascii = (0..128)
            .filter(|&code| set.contains(code))
            .fold(0, |bits, code| bits | 1 << code);
        Test::Set(Box::new(Members { ascii, all: set }))
    }
}

/// What must follow behind a run.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) ahead: Ahead,
    /// None of the run's own characters can be its beginning: the run gives none back.
    pub(super) is_apart: bool,
}

/// One instruction. Places in the program are absolute.
#[derive(Debug)]
pub(super) enum Step {
    One(Test),
    /// Several characters, one after the other.
    Text(Box<str>),
    At(At),
    /// Notes where a group begins (even) or ends (odd).
    Mark(usize),
    Jump(usize),
    /// Goes on at the first place, and at the second if that fails.
    Fork(usize, usize, Option<Box<Ways>>),
    /// A repeated character, and what must follow behind the last.
    Run(Test, Times, Option<Box<Follow>>),
    /// Begins a loop, whose condition stands at the place.
    Enter(usize),
    /// The condition of a loop whose body begins at the place; behind the loop it goes on with the next step. The ways are
    /// the body and what is behind the loop.
    Until(Times, usize, Option<Box<Ways>>),
    /// Its body follows, the place is behind it.
    Atomic(usize),
    /// Its body follows.
    Look {
        back: u64,
        negated: bool,
        end: usize,
    },
    /// The end of the whole, or of a body that is matched for itself.
    Done,
    Same(usize, Case),
    /// Goes on if the group is set, else at the place.
    IfSet(usize, usize),
}

impl Step {
    /// Goes on into a body or behind it, first behind it if the body is to come as seldom as it can.
    fn fork(body: usize, behind: usize, lazy: bool) -> Step {
        match lazy {
            true => Step::Fork(behind, body, None),
            false => Step::Fork(body, behind, None),
        }
    }
}

/// A program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) groups: usize,
    /// It counts nothing and looks at nothing but the next character, so that a place in it and a place in the text
    /// need to be tried together only once.
    pub(super) flat: bool,
    /// Where ways meet; nothing if no failure may be remembered, nor foreseen.
    pub(super) joins: Option<Joins>,
}

impl Program {
    /// The same, which goes every way and gives back every character.
    #[cfg(test)]
    pub(super) fn blind(mut self) -> Program {
        for step in &mut self.steps {
            match step {
                Step::Run(_, _, follow) => *follow = None,
                Step::Fork(_, _, ways) | Step::Until(_, _, ways) => *ways = None,
                _ => {}
            }
        }
        self
    }
}

/// Writes the program of a tree with that many groups. A flat one is possible for a regular tree only.
///
/// # Errors
/// How many instructions there may be, where there are more.
pub(super) fn program(root: &Node, groups: usize, flat: bool) -> Result<Program, usize> {
    let mut writer = Writer {
        steps: Vec::new(),
        flat,
        loops: 0,
    };
    writer.node(root)?;
    writer.push(Step::Done)?;
    // A flat program notes at each fork that it was there, and goes on from it as it comes.
    let joins = (!flat).then(|| Joins::of(&writer.steps)).flatten();
    Ok(Program {
        // What a way leaves behind that fails at its first character is seen where there are no joins, and there only.
        steps: match joins {
            Some(_) => looking_ahead(writer.steps),
            None => writer.steps,
        },
        groups,
        flat,
        joins,
    })
}

/// Tells each run what must follow it, and where there are two ways what they can begin with.
fn looking_ahead(mut steps: Vec<Step>) -> Vec<Step> {
    let is_short = steps.len() <= WAYS_MAX;
    for place in 0..steps.len() {
        let found = match steps.get(place) {
            Some(Step::Run(test, ..)) => (follow(&steps, test, place), None),
            Some(&Step::Fork(first, second, _)) if is_short => (None, Ways::of(&steps, first, second)),
            Some(&Step::Until(_, body, _)) if is_short => (None, Ways::of(&steps, body, place + 1)),
            _ => continue,
        };
        match steps.get_mut(place) {
            Some(Step::Run(_, _, follow)) => *follow = found.0,
            Some(Step::Fork(_, _, ways) | Step::Until(_, _, ways)) => *ways = found.1,
            _ => {}
        }
    }
    steps
}

fn follow(steps: &[Step], test: &Test, place: usize) -> Option<Box<Follow>> {
    let ahead = Ahead::of(steps, place + 1)?;
    let is_apart = ahead.excludes(test);
    Some(Box::new(Follow { ahead, is_apart }))
}

struct Writer {
    steps: Vec<Step>,
    flat: bool,
    /// How many loops are around
    loops: usize,
}

impl Writer {
    fn here(&self) -> usize {
        self.steps.len()
    }

    /// Adds a step, and says where it stands.
    fn push(&mut self, step: Step) -> Result<usize, usize> {
        if self.steps.len() >= INSTRUCTIONS_MAX {
            return Err(INSTRUCTIONS_MAX);
        }
        self.steps.push(step);
        Ok(self.steps.len() - 1)
    }

    /// Puts a step whose place was kept free.
    fn put(&mut self, at: usize, step: Step) {
        if let Some(place) = self.steps.get_mut(at) {
            *place = step;
        }
    }

    fn node(&mut self, node: &Node) -> Result<(), usize> {
        match node {
            Node::Empty => {}
            Node::Plain { body, .. } => self.node(body)?,
            Node::Literal(..) | Node::Class(_) | Node::Dot(_) => {
                if let Some(test) = test(node) {
                    self.push(Step::One(test))?;
                }
            }
            Node::At(at) => drop(self.push(Step::At(*at))?),
            Node::Capture(group, body) => {
                self.push(Step::Mark(group * 2 - 2))?;
                self.node(body)?;
                self.push(Step::Mark(group * 2 - 1))?;
            }
            Node::Concat(parts) => self.sequence(parts)?,
            Node::Alternation(arms) => self.arms(arms)?,
            Node::Repeat(times, body) => self.repeat(*times, body)?,
            Node::Look { behind, negated, body } => {
                let back = if *behind { body.width().0 } else { 0 };
                let negated = *negated;
                self.apart(|own| own.node(body), |end| Step::Look { back, negated, end })?;
            }
            Node::Atomic(body) => self.apart(|own| own.node(body), Step::Atomic)?,
            Node::Backref { group, case, .. } => drop(self.push(Step::Same(*group, *case))?),
            Node::Conditional { group, yes, no } => self.conditional(*group, yes, no)?,
        }
        Ok(())
    }

    /// Parts one after the other; plain characters together.
    fn sequence(&mut self, parts: &[Node]) -> Result<(), usize> {
        let mut rest = parts;
        while let Some((part, others)) = rest.split_first() {
            let text: String = rest.iter().map_while(plain).collect();
            let many = text.chars().count();
            if self.flat || many < 2 {
                self.node(part)?;
                rest = others;
            } else {
                self.push(Step::Text(text.into()))?;
                rest = rest.get(many..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// A body that is matched for itself, behind the step that says how.
    fn apart(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), usize>,
        step: impl FnOnce(usize) -> Step,
    ) -> Result<(), usize> {
        let head = self.push(Step::Done)?;
        body(self)?;
        self.push(Step::Done)?;
        let end = self.here();
        self.put(head, step(end));
        Ok(())
    }

    fn arms(&mut self, arms: &[Node]) -> Result<(), usize> {
        let Some((last, others)) = arms.split_last() else {
            return Ok(());
        };
        let mut exits = Vec::with_capacity(others.len());
        for arm in others {
            let fork = self.push(Step::Done)?;
            self.node(arm)?;
            exits.push(self.push(Step::Done)?);
            self.put(fork, Step::Fork(fork + 1, self.here(), None));
        }
        self.node(last)?;
        let end = self.here();
        exits.into_iter().for_each(|exit| self.put(exit, Step::Jump(end)));
        Ok(())
    }

    fn conditional(&mut self, group: usize, yes: &Node, no: &Node) -> Result<(), usize> {
        let head = self.push(Step::Done)?;
        self.node(yes)?;
        let exit = self.push(Step::Done)?;
        self.put(head, Step::IfSet(group, self.here()));
        self.node(no)?;
        self.put(exit, Step::Jump(self.here()));
        Ok(())
    }

    fn repeat(&mut self, times: Times, body: &Node) -> Result<(), usize> {
        if self.flat {
            return self.unrolled(times, body);
        }
        if let Some(test) = test(body) {
            return self.push(Step::Run(test, times, None)).map(drop);
        }
        if self.loops == 0 && (times.min, times.max) == (0, Some(1)) && body.width().0 > 0 {
            match times.greed {
                Greed::Greedy => return self.optional(body, false),
                Greed::Lazy => return self.optional(body, true),
                Greed::Possessive => {}
            }
        }
        if times.greed == Greed::Possessive {
            let greedy = Times {
                greed: Greed::Greedy,
                ..times
            };
            return self.apart(|own| own.counted(greedy, body), Step::Atomic);
        }
        self.counted(times, body)
    }

    /// A body that may be left out. Outside loops no group in it can have been set before, so that nothing but the
    /// place needs to be remembered.
    fn optional(&mut self, body: &Node, lazy: bool) -> Result<(), usize> {
        let head = self.push(Step::Done)?;
        self.node(body)?;
        let (on, end) = (head + 1, self.here());
        self.put(head, Step::fork(on, end, lazy));
        Ok(())
    }

    fn counted(&mut self, times: Times, body: &Node) -> Result<(), usize> {
        let head = self.push(Step::Done)?;
        self.loops += 1;
        let written = self.node(body);
        self.loops -= 1;
        written?;
        let until = self.push(Step::Until(times, head + 1, None))?;
        self.put(head, Step::Enter(until));
        Ok(())
    }

    /// The body as often as it may come, without a counter; it always takes a character.
    fn unrolled(&mut self, times: Times, body: &Node) -> Result<(), usize> {
        for _ in 0..times.min {
            self.node(body)?;
        }
        let lazy = times.greed == Greed::Lazy;
        let Some(max) = times.max else {
            let head = self.push(Step::Done)?;
            self.node(body)?;
            self.push(Step::Jump(head))?;
            self.put(head, Step::fork(head + 1, self.here(), lazy));
            return Ok(());
        };
        let mut forks = Vec::new();
        for _ in times.min..max {
            forks.push(self.push(Step::Done)?);
            self.node(body)?;
        }
        let end = self.here();
        forks
            .into_iter()
            .for_each(|at| self.put(at, Step::fork(at + 1, end, lazy)));
        Ok(())
    }
}

/// A character that stands for itself.
fn plain(node: &Node) -> Option<char> {
    match node {
        Node::Literal(code, Case::Exact) => char::from_u32(*code),
        _ => None,
    }
}

/// The test of a node that is one character; what matches none is a set without members.
fn test(node: &Node) -> Option<Test> {
    Some(match node {
        Node::Literal(code, case) => Test::of(literal(*code, *case)),
        Node::Class(class) => Test::of(members(class)),
        Node::Dot(false) => Test::Dot,
        Node::Dot(true) => Test::Any,
        Node::Plain { body, .. } => test(body)?,
        _ => return None,
    })
}
