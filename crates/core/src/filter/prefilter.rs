//! Which patterns of which jails a line can match at all, by one look at it for all of them.
//!
//! In go the filters that read one log, out come for each line the failregexes that are worth a search: those of which
//! a literal is in it (and one of the prefregex's, where that has some), and those that have none. A filter whose
//! matches span lines searches every line.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, AhoCorasickKind, Span};

use super::Filter;
use crate::pattern::{Literals, Pattern};

/// Up to so many bytes of literals the automaton is the quickest there is, which takes most memory.
const SWIFT_MAX: usize = 2048;
/// Up to so many literals are looked for by whole vectors of bytes.
const PACKED_MAX: usize = 64;
const WORD: usize = 64;

/// The literals of several filters.
#[derive(Clone, Debug)]
pub struct Prefilter {
    gate: Gate,
    automaton: Option<AhoCorasick>,
    /// For each literal, the patterns that it stands for
    owners: Vec<Owners>,
    /// Where the patterns of each filter begin and end, in words
    shares: Vec<(usize, usize)>,
    always: Marks,
    /// And in every line with other characters than those of ASCII
    foreign: Marks,
    found: Marks,
    /// What `found` comes to: patterns of which both are there
    chosen: Vec<u64>,
    /// The longest literal
    longest: usize,
    /// In the text that is gone through: where the gate opens next
    opens: usize,
}

/// What a line must hold for any literal to be worth a look.
#[derive(Clone, Debug)]
enum Gate {
    /// One of these
    Packed(Searcher),
    /// One of the automaton's
    Open,
}

/// The patterns that a literal stands for.
#[derive(Clone, Debug, Default)]
struct Owners {
    /// By a text of the pattern itself
    own: Vec<usize>,
    /// By one of its prefregex
    prefix: Vec<usize>,
}

/// Of each pattern, whether a text of its own was found, and one of its prefregex.
#[derive(Clone, Debug, Default)]
struct Marks {
    own: Vec<u64>,
    prefix: Vec<u64>,
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
        let bytes: usize = gathered.texts.iter().map(String::len).sum();
        let kind = (bytes <= SWIFT_MAX).then_some(AhoCorasickKind::DFA);
        let automaton = match gathered.texts.is_empty() {
            true => Ok(None),
            false => AhoCorasick::builder().kind(kind).build(&gathered.texts).map(Some),
        };
        let Gathered {
            texts,
            owners,
            mut always,
            foreign,
            ..
        } = gathered;
        if automaton.is_err() {
            // What cannot be built leaves nothing out.
            always.own.fill(u64::MAX);
            always.prefix.fill(u64::MAX);
        }
        Prefilter {
            gate: Gate::of(&gathered.keys),
            automaton: automaton.unwrap_or_default(),
            owners,
            shares,
            found: always.clone(),
            chosen: vec![0; always.own.len()],
            always,
            foreign,
            longest: texts.iter().map(String::len).max().unwrap_or(0),
            opens: 0,
        }
    }

    /// Another text is gone through from now on with [`Prefilter::look_in`].
    pub fn begin(&mut self) {
        self.opens = 0;
    }

    /// Looks at a line within a text of many, which come in their order: where no line holds anything, they are passed by
    /// together.
    pub fn look_in(&mut self, text: &[u8], line: Range<usize>) {
        if self.opens <= line.start {
            self.opens = self.gate.opens(text, line.start);
        }
        let opens = self.opens < line.end;
        self.find(text.get(line).unwrap_or_default(), |_| opens);
    }

    /// Looks at a line, or at its bytes before they are decoded, in an encoding that has ASCII within.
    pub fn look(&mut self, line: &[u8]) {
        self.find(line, |gate| gate.opens(line, 0) < line.len());
    }

    fn find(&mut self, line: &[u8], opens: impl FnOnce(&Gate) -> bool) {
        self.found.copy(&self.always);
        let is_foreign = !self.foreign.are_none() && !line.is_ascii();
        if is_foreign {
            self.found.add(&self.foreign);
        }
        if (is_foreign || opens(&self.gate))
            && let Some(automaton) = &self.automaton
        {
            self.found.mark(automaton, &self.owners, line);
        }
        self.found.both(&mut self.chosen);
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

    /// What the text may match when a literal comes about where the date is cut out.
    fn across(&self, filter: usize, before: &str, after: &str) -> Vec<u64> {
        let reach = self.longest.saturating_sub(1);
        let (before, after) = (before.as_bytes(), after.as_bytes());
        let head = before.get(before.len().saturating_sub(reach)..).unwrap_or_default();
        let tail = after.get(..reach.min(after.len())).unwrap_or_default();
        let (mut found, mut all) = (self.found.clone(), self.chosen.clone());
        if let Some(automaton) = &self.automaton {
            // What was found before is found again only where the gate let the line through.
            found.mark(automaton, &self.owners, before);
            found.mark(automaton, &self.owners, after);
            found.mark(automaton, &self.owners, &[head, tail].concat());
        }
        found.both(&mut all);
        self.share(filter, &all).to_vec()
    }
}

impl Gate {
    fn of(keys: &[String]) -> Gate {
        if keys.len() > PACKED_MAX {
            return Gate::Open;
        }
        let mut builder = packed::Config::new().builder();
        builder.extend(keys);
        builder.build().map_or(Gate::Open, Gate::Packed)
    }

    /// The first place from here on where one of its literals begins; the end of the text where there is none.
    fn opens(&self, text: &[u8], from: usize) -> usize {
        match self {
            Gate::Packed(searcher) => searcher
                .find_in(text, Span::from(from..text.len()))
                .map_or(text.len(), |found| found.start()),
            Gate::Open => from,
        }
    }
}

impl Marks {
    fn copy(&mut self, other: &Marks) {
        self.own.copy_from_slice(&other.own);
        self.prefix.copy_from_slice(&other.prefix);
    }

    fn add(&mut self, other: &Marks) {
        let own = self.own.iter_mut().zip(&other.own);
        own.chain(self.prefix.iter_mut().zip(&other.prefix))
            .for_each(|(bits, more)| *bits |= more);
    }

    /// Notes the patterns of which a literal is in the text.
    fn mark(&mut self, automaton: &AhoCorasick, owners: &[Owners], text: &[u8]) {
        for found in automaton.find_overlapping_iter(text) {
            let Some(owners) = owners.get(found.pattern().as_usize()) else {
                continue;
            };
            owners.own.iter().for_each(|&pattern| set(&mut self.own, pattern));
            owners.prefix.iter().for_each(|&pattern| set(&mut self.prefix, pattern));
        }
    }

    /// Both are there.
    fn both(&self, into: &mut [u64]) {
        for ((into, own), prefix) in into.iter_mut().zip(&self.own).zip(&self.prefix) {
            *into = own & prefix;
        }
    }

    fn are_none(&self) -> bool {
        self.own.iter().chain(&self.prefix).all(|&bits| bits == 0)
    }

    fn grow(&mut self, words: usize) {
        self.own.resize(words, 0);
        self.prefix.resize(words, 0);
    }
}

fn set(bits: &mut [u64], pattern: usize) {
    if let Some(word) = bits.get_mut(pattern / WORD) {
        *word |= 1 << (pattern % WORD);
    }
}

impl<'p> Candidates<'p> {
    /// All of them: nothing is known of the line.
    pub const ALL: Candidates<'static> = Candidates { of: None };

    /// Whether the line matches none for sure, wherever its date stands.
    #[must_use]
    pub fn are_none(self) -> bool {
        self.of
            .is_some_and(|(prefilter, filter)| prefilter.share(filter, &prefilter.chosen).iter().all(|&bits| bits == 0))
    }

    /// Those that what stands before the date and behind it, put together, may match.
    pub(super) fn without_date(self, before: &str, after: &str) -> Chosen<'p> {
        let bits = self
            .of
            .map(|(prefilter, filter)| match before.is_empty() || after.is_empty() {
                true => Cow::Borrowed(prefilter.share(filter, &prefilter.chosen)),
                false => Cow::Owned(prefilter.across(filter, before, after)),
            });
        Chosen { bits }
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
    owners: Vec<Owners>,
    always: Marks,
    foreign: Marks,
    /// The texts of which a line must hold one, unless a pattern is always searched for
    keys: Vec<String>,
}

impl Gathered {
    fn add(&mut self, filter: &Filter) -> (usize, usize) {
        let from = self.always.own.len();
        let to = from + filter.failregex.len().div_ceil(WORD);
        self.always.grow(to);
        self.foreign.grow(to);
        let usable = |literals: &&Literals| !filter.spans_lines() && !literals.texts().is_empty();
        let prefix = filter.prefregex.as_ref().and_then(Pattern::literals).filter(usable);
        for (number, regex) in filter.failregex.iter().enumerate() {
            self.pattern(from * WORD + number, regex.literals().filter(usable), prefix);
        }
        (from, to)
    }

    fn pattern(&mut self, pattern: usize, own: Option<&Literals>, prefix: Option<&Literals>) {
        if own.is_none() {
            set(&mut self.always.own, pattern);
        }
        if prefix.is_none() {
            set(&mut self.always.prefix, pattern);
        }
        let rarest = match (own, prefix) {
            (Some(own), Some(prefix)) if prefix.are_rarer_than(own) => Some(prefix),
            (own, prefix) => own.or(prefix),
        };
        self.keys.extend(rarest.into_iter().flat_map(Literals::texts).cloned());
        self.keys.sort_unstable();
        self.keys.dedup();
        for text in own.into_iter().flat_map(Literals::texts) {
            self.owned(text, |owners| owners.own.push(pattern));
        }
        for text in prefix.into_iter().flat_map(Literals::texts) {
            self.owned(text, |owners| owners.prefix.push(pattern));
        }
        if own.is_some_and(Literals::ascii_only) {
            set(&mut self.foreign.own, pattern);
        }
        if prefix.is_some_and(Literals::ascii_only) {
            set(&mut self.foreign.prefix, pattern);
        }
    }

    fn owned(&mut self, text: &str, by: impl FnMut(&mut Owners)) {
        let known = self.texts.iter().position(|known| known == text);
        let place = known.unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.owners.push(Owners::default());
            self.texts.len() - 1
        });
        self.owners.get_mut(place).into_iter().for_each(by);
    }
}
