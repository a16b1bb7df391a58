//! What is counted while the lines go by. Only what will be printed is kept.

use std::collections::BTreeMap;

use portcullis_core::filter::{Buffered, Captured, Filter, Hit, Identity, Prefilter, Reading};
use portcullis_core::time::{Clock, Timestamp};

use super::lines::Tested;
use super::options::Options;

/// Lines of one kind that are printed without being asked for, when `--maxlines` says nothing else.
const USUAL: i64 = 20;

/// A failregex or ignoreregex with its hits.
#[derive(Default)]
pub(crate) struct Hits {
    /// How often it matched
    pub(crate) count: u64,
    /// Who, when, and whether two others had matched the line before; only when they are printed
    pub(crate) found: Vec<(Option<String>, Option<Timestamp>, bool)>,
}

/// Lines of one kind.
#[derive(Default)]
pub(crate) struct Kept {
    /// How many there were; a line of a match that spans lines was counted as missed before
    pub(crate) count: i64,
    /// Those that may be printed
    pub(crate) lines: Vec<String>,
}

/// All counts.
pub(crate) struct Tally {
    /// By number of the failregex
    pub(crate) fail: BTreeMap<usize, Hits>,
    /// By number of the ignoreregex
    pub(crate) ignore: BTreeMap<usize, u64>,
    /// Lines that the prefregex took
    pub(crate) prefix: u64,
    /// What it captured of the first of them
    pub(crate) prefixes: Vec<Captured>,
    /// Lines that failed
    pub(crate) matched: Kept,
    /// Lines that an ignoreregex took or that only inform
    pub(crate) ignored: Kept,
    /// All others
    pub(crate) missed: Kept,
    /// Fewer lines than this are printed
    pub(crate) most: i64,
    keep_found: bool,
    names: Names,
    /// What the prefregex captured when it was tried last
    last_prefix: Option<Captured>,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new(options: &Options, names: Names) -> Self {
        Tally {
            fail: BTreeMap::new(),
            ignore: BTreeMap::new(),
            prefix: 0,
            prefixes: Vec::new(),
            matched: Kept::default(),
            ignored: Kept::default(),
            missed: Kept::default(),
            most: if options.maxlines > 0 { options.maxlines } else { USUAL },
            keep_found: options.verbosity() > 0,
            names,
            last_prefix: None,
        }
    }

    /// All lines that were tried.
    pub(crate) fn tested(&self) -> i64 {
        self.matched.count + self.ignored.count + self.missed.count
    }

    /// Reads a line; with the lines that waited for it.
    pub(crate) fn read(
        &self,
        (filter, prefilter): (&mut Filter, &mut Prefilter),
        clock: Clock,
        line: Tested<'_>,
    ) -> (Vec<Buffered>, Reading) {
        let before: Vec<Buffered> = filter
            .buffered()
            .iter()
            .skip(usize::from(filter.is_buffer_full()))
            .cloned()
            .collect();
        (before, line.read((filter, prefilter), clock))
    }

    /// Counts what a line was.
    pub(crate) fn line(
        &mut self,
        options: &Options,
        filter: &Filter,
        (before, reading): (Vec<Buffered>, Reading),
        line: &str,
    ) {
        for used in before.iter().filter(|line| !filter.buffered().contains(line)) {
            self.matched_after_all(options, &used.whole());
        }
        let mut ignored = reading.ignored_by.is_some();
        let mut counted = 0;
        for hit in &reading.hits {
            for id in self.names.of(hit) {
                let several = counted > 1;
                let hits = self.fail.entry(hit.regex).or_default();
                hits.count += 1;
                if self.keep_found {
                    hits.found.push((id.map(|id| id.to_string()), hit.time, several));
                }
                ignored |= hit.nofail;
                counted += u64::from(!hit.nofail);
            }
        }
        self.note(reading);
        let (kept, keep_all, keep_none) = if ignored {
            (&mut self.ignored, options.print_all_ignored, options.print_no_ignored)
        } else if counted > 0 {
            (&mut self.matched, options.print_all_matched, !options.print_all_matched)
        } else {
            (&mut self.missed, options.print_all_missed, options.print_no_missed)
        };
        kept.count += 1;
        if !keep_none && (keep_all || kept.count <= self.most.saturating_add(1)) {
            kept.lines.push(line.to_owned());
        }
    }

    /// A line that was missed by itself turned out to be part of a match.
    fn matched_after_all(&mut self, options: &Options, line: &str) {
        if let Some(place) = self.missed.lines.iter().position(|missed| missed == line) {
            self.missed.lines.remove(place);
        }
        if options.print_all_matched {
            self.matched.lines.push(line.to_owned());
        }
        self.matched.count += 1;
        self.missed.count -= 1;
    }

    fn note(&mut self, reading: Reading) {
        for number in reading.ignored {
            *self.ignore.entry(number).or_default() += 1;
        }
        // Where an ignoreregex took the line before the prefregex was tried, Fail2Ban counts what that made of the
        // line before.
        let untried = reading.prefix.is_none() && reading.ignored_by.is_some();
        if !untried {
            self.last_prefix.clone_from(&reading.prefix);
        }
        if let Some(prefix) = self.last_prefix.clone() {
            self.prefix += 1;
            if self.keep_found && i64::try_from(self.prefixes.len()).is_ok_and(|kept| kept <= self.most) {
                self.prefixes.push(prefix);
            }
        }
    }
}

/// Looks up host names, each once.
pub(crate) struct Names {
    known: BTreeMap<String, Vec<Identity>>,
    look_up: fn(&str) -> Vec<Identity>,
}

impl Names {
    /// Nothing looked up yet.
    pub(crate) fn new(look_up: fn(&str) -> Vec<Identity>) -> Self {
        Names {
            known: BTreeMap::new(),
            look_up,
        }
    }

    /// Whom a match stands for: every address of a host name, and nobody if it has none.
    pub(crate) fn of(&mut self, hit: &Hit) -> Vec<Option<Identity>> {
        match &hit.identity {
            Some(Identity::Name(name)) => {
                let found = self.known.entry(name.clone()).or_insert_with(|| (self.look_up)(name));
                found.iter().cloned().map(Some).collect()
            }
            other => vec![other.clone()],
        }
    }
}
