//! The engines behind a pattern: each built at its first use, kept for good, bounded in memory and in steps.
//!
//! A pattern that can begin at the beginning of a text only is tried there by the machine, for a few steps. What that
//! does not settle, and all else, goes on as follows. A regular pattern runs on the linear engine alone, or where a text
//! asks for what that engine cannot say, on the machine without going any way twice. For any other, a wider pattern on the linear engine rejects most lines first,
//! and only a line that passes is given to the machine, whose steps are counted: a search that runs out of them says
//! so, and never "no match" (DESIGN invariant 5).

use std::sync::{Arc, OnceLock};

use regex_automata::Input;
use regex_automata::meta::{BuildError, Regex};
use smol_str::SmolStr;

use super::linear::{self, Aim};
use super::machine::{Machine, Spent};
use super::parse::{Parsed, parse};
use super::program::{Program, program};
use super::token::Refusal;
use super::tree::{At, Node};

/// Steps of the machine on [`Lane::Fast`].
const STEPS: usize = 250_000;
/// How many times as many on [`Lane::Slow`].
const SLOW_FACTOR: usize = 100;
/// Steps of the machine where a match can begin in one place only; beyond them the other engines are asked.
const DIRECT_STEPS: usize = 1_000;
/// So many bytes that the linear engine goes through count as a step.
const SCANNED: usize = 64;
/// Up to this estimated weight a linear program is sure to stay far below what one may have, unseen.
const WEIGHT_SURE: u64 = 16 << 20;

/// How many steps a search may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The lane of every line: 250,000 steps of the machine.
    Fast,
    /// The lane of a line that was over budget: 100 times as many.
    Slow,
}

fn steps_of(lane: Lane) -> usize {
    match lane {
        Lane::Fast => STEPS,
        Lane::Slow => STEPS * SLOW_FACTOR,
    }
}

/// What a search found.
#[derive(Debug)]
pub enum Search<'t> {
    /// The pattern does not match anywhere.
    No,
    /// Unknown: the steps ran out before an answer.
    OverBudget,
    /// The leftmost match.
    Found(Found<'t>),
}

/// A match: where it is, and what its groups hold.
#[derive(Clone, Debug)]
pub struct Found<'t> {
    text: &'t str,
    start: usize,
    end: usize,
    /// Per named group, in the order of the group numbers.
    groups: Vec<Option<&'t str>>,
    names: Arc<[SmolStr]>,
}

impl<'t> Found<'t> {
    /// The byte offset in the text at which the match starts.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The byte offset in the text just behind the match.
    pub fn end(&self) -> usize {
        self.end
    }

    /// The matched text.
    pub fn as_str(&self) -> &'t str {
        self.text.get(self.start..self.end).unwrap_or_default()
    }

    /// What a named group holds; nothing if it took no part in the match or does not exist.
    pub fn group(&self, name: &str) -> Option<&'t str> {
        self.groups()
            .find(|&(own, _)| **own == *name)
            .and_then(|(_, text)| text)
    }

    /// Every named group with what it holds, in the order of the group numbers.
    pub fn groups(&self) -> impl Iterator<Item = (&SmolStr, Option<&'t str>)> {
        self.names.iter().zip(self.groups.iter().copied())
    }
}

/// How a linear engine is made of a tree.
type Build = fn(&Node, Aim) -> Result<Regex, Box<BuildError>>;

/// The engines of one pattern.
pub(super) struct Matcher {
    /// Python's text after tag expansion.
    text: Box<str>,
    multiline: bool,
    traits: Traits,
    names: Arc<[SmolStr]>,
    /// The group of each name.
    groups: Box<[usize]>,
    /// For text of ASCII characters, where that makes a difference, and for any.
    linear: [OnceLock<Option<Regex>>; 2],
    /// The same for the question whether there is a match
    bare: [OnceLock<Option<Regex>>; 2],
    stepwise: OnceLock<Option<Box<Program>>>,
    /// Of a regular pattern, for a text where a match can begin in one place only
    direct: OnceLock<Option<Box<Program>>>,
}

/// What of a tree decides which engine may search which text.
#[derive(Clone, Copy)]
struct Traits {
    /// The linear engine can do it.
    regular: bool,
    /// It has a `$` that an inner newline must not satisfy.
    ends: bool,
    /// It asks where words of any script end, which the linear engine knows for ASCII only.
    words: bool,
    /// It can match at the beginning of the text only.
    anchored: bool,
}

impl Traits {
    fn of(root: &Node) -> Traits {
        Traits {
            regular: !root.any(Node::is_irregular),
            ends: root.any(|node| matches!(node, Node::At(At::End))),
            words: root.any(|node| matches!(node, Node::At(At::Word { .. }))),
            anchored: match root {
                Node::Concat(parts) => parts.first() == Some(&Node::At(At::TextStart)),
                root => *root == Node::At(At::TextStart),
            },
        }
    }

    /// Whether the linear engine alone finds what Python finds in this text.
    fn is_linear_in(self, text: &str, ascii: bool) -> bool {
        let lines = self.ends && has_inner_newline(text);
        let words = self.words && (!ascii || text.is_empty());
        self.regular && !lines && !words
    }

    fn aim(self, ascii: bool) -> Aim {
        Aim {
            ascii,
            wider: !self.regular,
        }
    }
}

impl Matcher {
    /// Takes over a text that was read, and makes sure that its engines can be built later.
    ///
    /// # Errors
    /// The program would be larger than we allow.
    pub(super) fn new(text: String, multiline: bool, parsed: &Parsed) -> Result<Matcher, Refusal> {
        let traits = Traits::of(&parsed.root);
        if traits.regular && parsed.root.weight() > WEIGHT_SURE {
            for ascii in [true, false] {
                linear::build(&parsed.root, traits.aim(ascii))
                    .map_err(|error| Refusal::ours(format!("too large to compile: {error}")))?;
            }
        }
        if !traits.regular || traits.ends || traits.words {
            program(&parsed.root, parsed.groups, traits.regular)
                .map_err(|most| Refusal::ours(format!("too large to compile: more than {most} instructions")))?;
        }
        Ok(Matcher {
            text: text.into(),
            multiline,
            traits,
            names: parsed.names.iter().map(|(name, _)| name.as_str().into()).collect(),
            groups: parsed.names.iter().map(|&(_, group)| group).collect(),
            linear: Default::default(),
            bare: Default::default(),
            stepwise: OnceLock::new(),
            direct: OnceLock::new(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn names(&self) -> &[SmolStr] {
        &self.names
    }

    pub(super) fn is_regular(&self) -> bool {
        self.traits.regular
    }

    /// The leftmost match anywhere in the text, and the steps that the machine took: those of the direct try, and of
    /// the way through the text after it.
    pub(super) fn search<'t>(&self, text: &'t str, lane: Lane) -> (Search<'t>, usize) {
        let mut steps = 0;
        let answer = self.search_counted(text, lane, &mut steps);
        (answer.unwrap_or(Search::OverBudget), steps)
    }

    fn search_counted<'t>(&self, text: &'t str, lane: Lane, steps: &mut usize) -> Result<Search<'t>, Spent> {
        if self.traits.anchored
            && let Ok(answer) = self.search_directly(text, steps)
        {
            return Ok(answer);
        }
        // Only where a word ends is told apart by this; the question itself costs some of what a search does.
        let ascii = self.traits.words && text.is_ascii();
        let linear = self.linear(ascii);
        if self.traits.is_linear_in(text, ascii) {
            return linear.map(|regex| self.search_linear(regex, text)).ok_or(Spent);
        }
        let Some(first) = self.candidate(linear, text, 0) else {
            return Ok(Search::No);
        };
        let mut machine = Machine::new(self.stepwise().ok_or(Spent)?, text, steps_of(lane))?;
        let answer = self.go_through(&mut machine, linear, text, first);
        *steps += machine.taken();
        answer
    }

    /// Whether there is a match, where the linear engine can tell.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        let ascii = self.traits.words && text.is_ascii();
        // Where it is not the pattern itself, it finds more than there is, and never less.
        match self.bare(ascii)?.is_match(text) {
            true => self.traits.is_linear_in(text, ascii).then_some(true),
            false => Some(false),
        }
    }

    fn search_linear<'t>(&self, regex: &Regex, text: &'t str) -> Search<'t> {
        // Groups cost far more than the bare answer, and most lines do not match.
        if !regex.is_match(text) {
            return Search::No;
        }
        let mut captures = regex.create_captures();
        regex.captures(text, &mut captures);
        let Some(whole) = captures.get_match() else {
            return Search::No;
        };
        let groups = self.groups.iter().map(|&group| captures.get_group(group));
        self.found(
            text,
            whole.start(),
            whole.end(),
            groups.map(|span| text.get(span?.range())),
        )
    }

    /// Where a match can begin in one place only, most texts are told apart by their first characters, and the groups
    /// of the others come at no further cost.
    fn search_directly<'t>(&self, text: &'t str, steps: &mut usize) -> Result<Search<'t>, Spent> {
        let mut machine = Machine::new(self.direct().ok_or(Spent)?, text, DIRECT_STEPS)?;
        let answer = machine.match_at(0);
        *steps += machine.taken();
        Ok(match answer? {
            Some(end) => {
                let groups = self.groups.iter().map(|&group| machine.group(group));
                self.found(text, 0, end, groups)
            }
            None => Search::No,
        })
    }

    /// The machine at every place, from the first on, where the linear engine finds that a match may begin.
    fn go_through<'t>(
        &self,
        machine: &mut Machine<'_, 't>,
        linear: Option<&Regex>,
        text: &'t str,
        first: usize,
    ) -> Result<Search<'t>, Spent> {
        let mut next = Some(first);
        while let Some(start) = next {
            machine.spend((text.len() - start) / SCANNED + 1)?;
            if let Some(end) = machine.match_at(start)? {
                let groups = self.groups.iter().map(|&group| machine.group(group));
                return Ok(self.found(text, start, end, groups));
            }
            let behind = text
                .get(start..)
                .and_then(|rest| rest.chars().next())
                .map(|c| start + c.len_utf8());
            next = behind.and_then(|from| self.candidate(linear, text, from));
        }
        Ok(Search::No)
    }

    /// The first place from here on where a match may begin.
    fn candidate(&self, linear: Option<&Regex>, text: &str, from: usize) -> Option<usize> {
        match linear {
            _ if self.traits.anchored && from > 0 => None,
            Some(regex) if self.traits.anchored => regex.is_match(text).then_some(0),
            // Where an inner newline satisfies its `$`, it finds more than there is, and never less.
            Some(regex) => regex.search(&Input::new(text).range(from..)).map(|found| found.start()),
            None => Some(from),
        }
    }

    fn found<'t>(
        &self,
        text: &'t str,
        start: usize,
        end: usize,
        groups: impl Iterator<Item = Option<&'t str>>,
    ) -> Search<'t> {
        Search::Found(Found {
            text,
            start,
            end,
            groups: groups.collect(),
            names: Arc::clone(&self.names),
        })
    }

    /// The linear engine for [`Matcher::is_match`].
    fn bare(&self, ascii: bool) -> Option<&Regex> {
        self.built(&self.bare, ascii, linear::build_bare)
    }

    /// The linear engine: of the pattern itself if it is regular, else of a wider one.
    fn linear(&self, ascii: bool) -> Option<&Regex> {
        self.built(&self.linear, ascii, linear::build)
    }

    /// An engine that is built at its first use.
    fn built<'e>(&self, engines: &'e [OnceLock<Option<Regex>>; 2], ascii: bool, build: Build) -> Option<&'e Regex> {
        let cell = engines.get(usize::from(!ascii))?;
        cell.get_or_init(|| build(&self.parsed()?.root, self.traits.aim(ascii)).ok())
            .as_ref()
    }

    fn stepwise(&self) -> Option<&Program> {
        let cell = &self.stepwise;
        cell.get_or_init(|| self.program(self.traits.regular)).as_deref()
    }

    /// For one place of a text; what is irregular has one program for both.
    fn direct(&self) -> Option<&Program> {
        match self.traits.regular {
            true => self.direct.get_or_init(|| self.program(false)).as_deref(),
            false => self.stepwise(),
        }
    }

    fn program(&self, flat: bool) -> Option<Box<Program>> {
        let parsed = self.parsed()?;
        program(&parsed.root, parsed.groups, flat).ok().map(Box::new)
    }

    /// Whether every engine that a search may ask for can be built.
    #[cfg(test)]
    pub(super) fn builds(&self) -> bool {
        let linear = || [true, false].iter().all(|&ascii| self.linear(ascii).is_some());
        (!self.traits.regular || linear()) && self.stepwise().is_some()
    }

    /// The tree is read anew for each engine, as reading is quick and a kept tree costs memory.
    fn parsed(&self) -> Option<Parsed> {
        parse(&self.text, self.multiline).ok()
    }
}

fn has_inner_newline(text: &str) -> bool {
    text.strip_suffix('\n').unwrap_or(text).contains('\n')
}
