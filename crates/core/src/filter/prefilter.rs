//! Which patterns of which jails a line can match at all, by one look at it for all of them.
//!
//! In go the filters that read one log, out come for each line the failregexes that are worth a search: those of which
//! a literal is in it, and those that have none. A filter whose matches span lines searches every line.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::Filter;
use crate::pattern::{Literals, Pattern};

/// Up to so many bytes of literals the automaton is the quickest there is, which takes most memory.
const SWIFT_MAX: usize = 4096;
const WORD: usize = 64;

/// The literals of several filters.
#[derive(Clone, Debug)]
pub struct Prefilter {
    automaton: Option<AhoCorasick>,
    /// For each literal, the patterns that it stands for
    owners: Vec<Vec<usize>>,
    /// Where the patterns of each filter begin and end
    shares: Vec<(usize, usize)>,
    /// Patterns to be searched for in every line
    always: Vec<u64>,
    /// And in every line with other characters than those of ASCII
    foreign: Vec<u64>,
    found: Vec<u64>,
    /// The longest literal
    longest: usize,
}

/// The failregexes of one filter that a line may match.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'p> {
    of: Option<(&'p Prefilter, usize)>,
}

/// Those that the text without its date may match.
pub(super) struct Chosen<'p> {
    bits: Option<Cow<'p, [u64]>>,
}

impl Prefilter {
    /// Of these filters, in this order.
    pub fn new<'f>(filters: impl IntoIterator<Item = &'f Filter>) -> Prefilter {
        let mut gathered = Gathered::default();
        let shares = filters.into_iter().map(|filter| gathered.add(filter)).collect();
        let Gathered {
            texts,
            owners,
            always,
            foreign,
        } = gathered;
        let bytes: usize = texts.iter().map(String::len).sum();
        let kind = (bytes <= SWIFT_MAX).then_some(AhoCorasickKind::DFA);
        let automaton = match texts.is_empty() {
            true => Ok(None),
            false => AhoCorasick::builder().kind(kind).build(&texts).map(Some),
        };
        let every = |bits: Vec<u64>| bits.iter().map(|_| u64::MAX).collect();
        Prefilter {
            // What cannot be built leaves nothing out.
            always: if automaton.is_ok() { always } else { every(always) },
            automaton: automaton.unwrap_or_default(),
            owners,
            shares,
            found: vec![0; foreign.len()],
            foreign,
            longest: texts.iter().map(String::len).max().unwrap_or(0),
        }
    }

    /// Looks at a line, or at its bytes before they are decoded, in an encoding that has ASCII within.
    pub fn look(&mut self, line: &[u8]) {
        let is_ascii = line.is_ascii();
        for ((found, always), foreign) in self.found.iter_mut().zip(&self.always).zip(&self.foreign) {
            *found = if is_ascii { *always } else { always | foreign };
        }
        if let Some(automaton) = &self.automaton {
            mark(automaton, &self.owners, line, &mut self.found);
        }
    }

    /// What the line that was looked at last may match of the filter with this number.
    pub fn candidates(&self, filter: usize) -> Candidates<'_> {
        Candidates {
            of: Some((self, filter)),
        }
    }

    fn share<'b>(&self, filter: usize, bits: &'b [u64]) -> &'b [u64] {
        let share = self.shares.get(filter);
        share.and_then(|&(from, to)| bits.get(from..to)).unwrap_or_default()
    }
}

/// Notes the patterns of which a literal is in the text.
fn mark(automaton: &AhoCorasick, owners: &[Vec<usize>], text: &[u8], bits: &mut [u64]) {
    for found in automaton.find_overlapping_iter(text) {
        for &owner in owners.get(found.pattern().as_usize()).into_iter().flatten() {
            if let Some(word) = bits.get_mut(owner / WORD) {
                *word |= 1 << (owner % WORD);
            }
        }
    }
}

impl<'p> Candidates<'p> {
    /// All of them: nothing is known of the line.
    pub const ALL: Candidates<'static> = Candidates { of: None };

    /// Whether the line matches none for sure, wherever its date stands in `before`, the date, and what follows.
    pub(super) fn without(self, before: &str, after: &str) -> Chosen<'p> {
        let Some((prefilter, filter)) = self.of else {
            return Chosen { bits: None };
        };
        let bits = prefilter.share(filter, &prefilter.found);
        if before.is_empty() || after.is_empty() {
            return Chosen {
                bits: Some(Cow::Borrowed(bits)),
            };
        }
        // A literal may come about where the date is cut out.
        let reach = prefilter.longest.saturating_sub(1);
        let head = before
            .as_bytes()
            .get(before.len().saturating_sub(reach)..)
            .unwrap_or_default();
        let tail = after.as_bytes().get(..reach.min(after.len())).unwrap_or_default();
        let mut all = prefilter.found.clone();
        if let Some(automaton) = &prefilter.automaton {
            mark(automaton, &prefilter.owners, &[head, tail].concat(), &mut all);
        }
        Chosen {
            bits: Some(Cow::Owned(prefilter.share(filter, &all).to_vec())),
        }
    }

    /// Whether none of them may match, if the date stands at the beginning or the end of the line.
    #[must_use]
    pub fn are_none(self) -> bool {
        self.of
            .is_some_and(|(prefilter, filter)| prefilter.share(filter, &prefilter.found).iter().all(|&bits| bits == 0))
    }
}

impl Chosen<'_> {
    /// Whether the failregex with this number, from 0, is worth a search.
    pub(super) fn has(&self, number: usize) -> bool {
        let Some(bits) = &self.bits else { return true };
        bits.get(number / WORD)
            .is_some_and(|word| word >> (number % WORD) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bits
            .as_ref()
            .is_some_and(|bits| bits.iter().all(|&bits| bits == 0))
    }
}

/// The literals of filters, while they are gathered.
#[derive(Default)]
struct Gathered {
    texts: Vec<String>,
    owners: Vec<Vec<usize>>,
    always: Vec<u64>,
    foreign: Vec<u64>,
}

impl Gathered {
    fn add(&mut self, filter: &Filter) -> (usize, usize) {
        let from = self.always.len();
        let to = from + filter.failregex.len().div_ceil(WORD);
        self.always.resize(to, 0);
        self.foreign.resize(to, 0);
        let prefix = filter.prefregex.as_ref().and_then(Pattern::literals);
        for (number, regex) in filter.failregex.iter().enumerate() {
            let own = regex.literals().or(prefix).filter(|_| !filter.spans_lines());
            self.pattern(from * WORD + number, own);
        }
        (from, to)
    }

    fn pattern(&mut self, pattern: usize, literals: Option<&Literals>) {
        let set = |bits: &mut Vec<u64>| {
            if let Some(word) = bits.get_mut(pattern / WORD) {
                *word |= 1 << (pattern % WORD);
            }
        };
        let Some(literals) = literals else {
            return set(&mut self.always);
        };
        if literals.ascii_only() {
            set(&mut self.foreign);
        }
        for text in literals.texts() {
            match self.texts.iter().position(|known| known == text) {
                Some(known) => self
                    .owners
                    .get_mut(known)
                    .into_iter()
                    .for_each(|owners| owners.push(pattern)),
                None => {
                    self.texts.push(text.clone());
                    self.owners.push(vec![pattern]);
                }
            }
        }
    }
}
