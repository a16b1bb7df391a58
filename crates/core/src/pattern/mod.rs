//! A Fail2Ban regex, compiled: Python's dialect and Fail2Ban's tags in, a bounded search out (contract §3.1,
//! §3.2).
//!
//! [`Pattern::new`] expands the tags, reads the text as Python's `re` would, and refuses what Python refuses;
//! the engines are built at the first search, because one compiled regex per pattern costs much memory.
//! What the groups mean (`alt_user`, `mlfid`, …) is the filter's business: here they are plain groups.

mod ahead;
mod branch;
mod case;
mod choice;
mod class;
mod cursor;
mod escape;
mod failed;
mod group;
mod joins;
mod linear;
mod literal;
mod machine;
mod matcher;
mod parse;
mod program;
mod room;
mod set;
mod tables;
mod tags;
#[cfg(test)]
mod tests;
mod token;
mod tree;

use std::fmt;
use std::sync::Arc;

pub use literal::Literals;
use matcher::Matcher;
pub use matcher::{Found, Lane, Search};
use smol_str::SmolStr;
use token::{Refusal, Tokens};

/// The longest regex taken, in bytes as configured. The longest stock one has 2,365.
const SOURCE_MAX: usize = 64 << 10;
/// The longest regex taken after the tags in it are expanded, in bytes.
const EXPANDED_MAX: usize = 256 << 10;

/// The groups that can name the one who failed, or tie lines together (contract §3.1).
const FAILURE_IDS: [&str; 5] = ["fid", "ip4", "ip6", "dns", "mlfid"];

/// How a regex is to be read, from the state of its jail when it was added.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Python's `re.MULTILINE`: failregexes added while `maxlines` is above 1.
    pub multiline: bool,
    /// `usedns` was `no`: `<HOST>` means `<ADDR>`.
    pub host_is_addr: bool,
}

/// Why a regex cannot be used; the texts are Fail2Ban's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing but white space.
    #[error("Cannot add empty regex")]
    Empty,
    /// Python would not compile it.
    #[error("Unable to compile regular expression '{regex}':\n{reason}")]
    Compile {
        /// The text after tag expansion.
        regex: String,
        /// Python's words, with the position where it gives one.
        reason: String,
        /// The position in `regex`, counted in characters.
        offset: Option<usize>,
    },
    /// Neither this regex nor its prefregex has a group that names an offender. [`Pattern::new`] does not
    /// raise it, as it does not see the prefregex.
    #[error("No failure-id group in '{0}'")]
    NoFailureId(String),
    /// Python would compile it, we do not.
    #[error("Unable to compile regular expression '{regex}':\n{what}")]
    Unsupported {
        /// The text after tag expansion, or its beginning if it is too long.
        regex: String,
        /// Which limit or which construct.
        what: String,
    },
}

/// A failregex, ignoreregex or prefregex, ready to search. A clone shares all with its original.
#[derive(Clone)]
pub struct Pattern {
    inner: Arc<Inner>,
}

struct Inner {
    source: String,
    literals: Option<Literals>,
    matcher: Matcher,
}

impl Pattern {
    /// Expands the tags of a regex and reads it whole.
    ///
    /// # Errors
    /// What Fail2Ban would refuse, and by name what we do not support: more than 64 KiB, parentheses deeper
    /// than 200, a compiled size above 32 MiB or 100,000 instructions, and `\N{…}`.
    pub fn new(source: &str, flags: Flags) -> Result<Pattern, Error> {
        if source.len() > SOURCE_MAX {
            return Err(too_long(source, SOURCE_MAX));
        }
        let expanded = tags::expand(source, flags.host_is_addr);
        if expanded.len() > EXPANDED_MAX {
            return Err(too_long(&expanded, EXPANDED_MAX));
        }
        if expanded.chars().all(is_python_space) {
            return Err(Error::Empty);
        }
        let expanded = tags::localise_flags(&expanded);
        let parsed = parse::parse(&expanded, flags.multiline).map_err(|refusal| error(&expanded, refusal))?;
        let literals = Literals::of(&parsed.root);
        let matcher = Matcher::new(expanded.clone(), flags.multiline, &parsed);
        let matcher = matcher.map_err(|refusal| error(&expanded, refusal))?;
        Ok(Pattern {
            inner: Arc::new(Inner {
                source: source.to_owned(),
                literals,
                matcher,
            }),
        })
    }

    /// The regex as configured.
    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// The Python regex after tag expansion, as `get <jail> failregex` prints it.
    pub fn expanded(&self) -> &str {
        self.inner.matcher.text()
    }

    /// The named groups, in the order of their numbers.
    pub fn group_names(&self) -> &[SmolStr] {
        self.inner.matcher.names()
    }

    /// Whether a group names an offender or ties lines together: fid, ip4, ip6, dns or mlfid.
    pub fn has_failure_id(&self) -> bool {
        self.group_names()
            .iter()
            .any(|name| FAILURE_IDS.contains(&name.as_str()))
    }

    /// Texts of which at least one is in every text that it matches in, where that can be told.
    pub fn literals(&self) -> Option<&Literals> {
        self.inner.literals.as_ref()
    }

    /// Whether every search takes time linear in the text, so that [`Search::OverBudget`] cannot happen (save
    /// for a `$` without MULTILINE in a text of several lines).
    pub fn is_linear(&self) -> bool {
        self.inner.matcher.is_regular()
    }

    /// Whether there is a match, where the linear engine alone can tell; it is quicker than a search.
    pub fn is_match(&self, text: &str) -> Option<bool> {
        self.inner.matcher.is_match(text)
    }

    /// Searches the leftmost match anywhere in the text, as Python's `search` does.
    pub fn search<'t>(&self, text: &'t str, lane: Lane) -> Search<'t> {
        self.inner.matcher.search(text, lane).0
    }

    /// The steps of the machine that a [`Pattern::search`] of this text takes, for those who look for costly lines. A
    /// search that the linear engine answers takes none beyond the 1,000 of a first try at the beginning. Steps that
    /// would go over the budget are not taken, so that only the search tells whether it was enough.
    pub fn steps(&self, text: &str, lane: Lane) -> usize {
        self.inner.matcher.search(text, lane).1
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source()).finish()
    }
}

fn error(expanded: &str, refusal: Refusal) -> Error {
    let regex = expanded.to_owned();
    if refusal.ours {
        return Error::Unsupported {
            regex,
            what: refusal.reason,
        };
    }
    let place = refusal
        .position
        .map(|position| Tokens::place(expanded, position))
        .unwrap_or_default();
    Error::Compile {
        regex,
        reason: format!("{}{place}", refusal.reason),
        offset: refusal.position,
    }
}

fn too_long(text: &str, most: usize) -> Error {
    let regex = text.chars().take(100).chain("…".chars()).collect();
    Error::Unsupported {
        regex,
        what: format!("a regex longer than {most} bytes is not supported"),
    }
}

/// What Python's `strip` takes off.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
