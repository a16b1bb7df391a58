//! The engines behind a pattern: each built at its first use, kept for good, bounded in memory and in steps.
//!
//! A regular pattern runs on the linear engine alone. For any other, a wider pattern on the linear engine
//! rejects most lines first, and only a line that passes is given to the backtracking engine, whose steps are
//! counted: a search that runs out of them says so, and never "no match" (DESIGN invariant 5).

use std::sync::{Arc, OnceLock};

use super::dialect::{Target, translate};
use super::parse::{Parsed, parse};
use super::token::Refusal;
use super::tree::{At, Node};

/// Steps of the backtracking engine on [`Lane::Fast`].
const STEPS: usize = 100_000;
/// How many times as many on [`Lane::Slow`].
const SLOW_FACTOR: usize = 100;
/// Bytes that one compiled program may take; the largest stock pattern takes a fiftieth.
const PROGRAM_MAX: usize = 32 << 20;
/// Up to this estimated weight a linear program is sure to stay far below [`PROGRAM_MAX`], unseen.
const WEIGHT_SURE: u64 = 16 << 20;
/// Instructions of one backtracking program.
const INSTRUCTIONS_MAX: usize = 100_000;
/// The backtracking engine refuses 64 open parentheses; a level of Python's costs at most two of its own.
const NESTING_SURE: usize = 28;
/// Above what 200 levels of Python can become: the linear engine's reader counts each operator as a level.
const NEST_LIMIT: u32 = 4_000;

/// How many steps a search may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The lane of every line: 100,000 steps of the backtracking engine.
    Fast,
    /// The lane of a line that was over budget: 100 times as many.
    Slow,
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
    names: Arc<[String]>,
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
        self.groups().find(|&(own, _)| own == name).and_then(|(_, text)| text)
    }

    /// Every named group with what it holds, in the order of the group numbers.
    pub fn groups(&self) -> impl Iterator<Item = (&str, Option<&'t str>)> {
        self.names.iter().map(String::as_str).zip(self.groups.iter().copied())
    }
}

/// One engine with the way from the named groups to its own group numbers.
struct Engine<R> {
    regex: R,
    slots: Box<[Option<usize>]>,
}

/// The engines of one pattern.
pub(super) struct Matcher {
    /// Python's text after tag expansion.
    text: Box<str>,
    multiline: bool,
    regular: bool,
    /// It has a `$` that an inner newline must not satisfy.
    ends: bool,
    names: Arc<[String]>,
    linear: OnceLock<Option<Engine<regex::Regex>>>,
    /// By [`Lane`], and by whether the text has inner newlines.
    backtrack: [OnceLock<Option<Box<Engine<fancy_regex::Regex>>>>; 4],
}

impl Matcher {
    /// Takes over a text that was read, and makes sure that its engines can be built later.
    ///
    /// # Errors
    /// The program would be larger, or nested deeper, than we allow.
    pub(super) fn new(text: String, multiline: bool, parsed: &Parsed) -> Result<Matcher, Refusal> {
        let regular = !parsed.root.any(Node::is_irregular);
        let ends = parsed.root.any(|node| matches!(node, Node::At(At::End)));
        if regular && parsed.root.weight() > WEIGHT_SURE {
            build_linear(parsed, Target::Linear)?;
        }
        if !regular || (ends && parsed.nesting > NESTING_SURE) {
            build_backtrack(parsed, Target::BacktrackLines, Lane::Fast)?;
        }
        Ok(Matcher {
            text: text.into(),
            multiline,
            regular,
            ends,
            names: parsed.names.iter().map(|(name, _)| name.clone()).collect(),
            linear: OnceLock::new(),
            backtrack: Default::default(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn is_regular(&self) -> bool {
        self.regular
    }

    /// The leftmost match anywhere in the text.
    pub(super) fn search<'t>(&self, text: &'t str, lane: Lane) -> Search<'t> {
        let lines = self.ends && has_inner_newline(text);
        if self.regular && !lines {
            return match self.linear() {
                Some(engine) => self.search_linear(engine, text),
                None => Search::OverBudget,
            };
        }
        if self.linear().is_some_and(|engine| !engine.regex.is_match(text)) {
            return Search::No;
        }
        match self.backtrack(lane, lines) {
            Some(engine) => self.search_backtrack(engine, text),
            None => Search::OverBudget,
        }
    }

    fn search_linear<'t>(&self, engine: &Engine<regex::Regex>, text: &'t str) -> Search<'t> {
        // Groups cost far more than the bare answer, and most lines do not match.
        if !engine.regex.is_match(text) {
            return Search::No;
        }
        let Some(captures) = engine.regex.captures(text) else {
            return Search::No;
        };
        self.found(text, &engine.slots, |slot| {
            captures.get(slot).map(|group| (group.start(), group.end()))
        })
    }

    fn search_backtrack<'t>(&self, engine: &Engine<fancy_regex::Regex>, text: &'t str) -> Search<'t> {
        match engine.regex.captures(text) {
            Err(_) => Search::OverBudget,
            Ok(None) => Search::No,
            Ok(Some(captures)) => self.found(text, &engine.slots, |slot| {
                captures.get(slot).map(|group| (group.start(), group.end()))
            }),
        }
    }

    fn found<'t>(
        &self,
        text: &'t str,
        slots: &[Option<usize>],
        span: impl Fn(usize) -> Option<(usize, usize)>,
    ) -> Search<'t> {
        let Some((start, end)) = span(0) else { return Search::No };
        let held = |slot: &Option<usize>| slot.and_then(&span).and_then(|(start, end)| text.get(start..end));
        let groups = slots.iter().map(held).collect();
        Search::Found(Found {
            text,
            start,
            end,
            groups,
            names: Arc::clone(&self.names),
        })
    }

    /// The linear engine: of the pattern itself if it is regular, else of a wider one.
    fn linear(&self) -> Option<&Engine<regex::Regex>> {
        let target = if self.regular { Target::Linear } else { Target::Wider };
        self.linear
            .get_or_init(|| build_linear(&self.parsed()?, target).ok())
            .as_ref()
    }

    fn backtrack(&self, lane: Lane, lines: bool) -> Option<&Engine<fancy_regex::Regex>> {
        let target = if lines {
            Target::BacktrackLines
        } else {
            Target::Backtrack
        };
        let cell = self
            .backtrack
            .get(usize::from(lane == Lane::Slow) * 2 + usize::from(lines))?;
        cell.get_or_init(|| build_backtrack(&self.parsed()?, target, lane).ok().map(Box::new))
            .as_deref()
    }

    /// Whether every engine that a search may ask for can be built.
    #[cfg(test)]
    pub(super) fn builds(&self) -> bool {
        let lanes = [Lane::Fast, Lane::Slow];
        let backtracks = |lines| lanes.iter().all(|&lane| self.backtrack(lane, lines).is_some());
        (!self.regular || self.linear().is_some())
            && (self.regular || backtracks(false))
            && (!self.ends || backtracks(true))
    }

    /// The tree is read anew for each engine, as reading is quick and a kept tree costs memory.
    fn parsed(&self) -> Option<Parsed> {
        parse(&self.text, self.multiline).ok()
    }
}

fn has_inner_newline(text: &str) -> bool {
    text.strip_suffix('\n').unwrap_or(text).contains('\n')
}

fn build_linear(parsed: &Parsed, target: Target) -> Result<Engine<regex::Regex>, Refusal> {
    let translation = translate(&parsed.root, parsed.groups, target);
    let regex = regex::RegexBuilder::new(&translation.text)
        .size_limit(PROGRAM_MAX)
        .nest_limit(NEST_LIMIT)
        .build()
        .map_err(|error| Refusal::ours(format!("too large or too deep to compile: {error}")))?;
    Ok(Engine {
        regex,
        slots: named_slots(parsed, &translation.slots),
    })
}

fn build_backtrack(parsed: &Parsed, target: Target, lane: Lane) -> Result<Engine<fancy_regex::Regex>, Refusal> {
    let translation = translate(&parsed.root, parsed.groups, target);
    let steps = if lane == Lane::Slow { STEPS * SLOW_FACTOR } else { STEPS };
    let regex = fancy_regex::RegexBuilder::new(&translation.text)
        .backtrack_limit(steps)
        .delegate_size_limit(PROGRAM_MAX)
        .max_prog_size(INSTRUCTIONS_MAX)
        .build()
        .map_err(|error| Refusal::ours(format!("too large or too deep to compile: {error}")))?;
    Ok(Engine {
        regex,
        slots: named_slots(parsed, &translation.slots),
    })
}

fn named_slots(parsed: &Parsed, slots: &[Option<usize>]) -> Box<[Option<usize>]> {
    parsed
        .names
        .iter()
        .map(|&(_, group)| slots.get(group).copied().flatten())
        .collect()
}
