//! What a text must hold for a pattern to match in it: a few literals, of which at least one is in each such text.
//!
//! Whoever searches one line for many patterns looks for all their literals at once, and leaves out the patterns of
//! which none was there. Nothing is lost by it: where a tree does not tell, there are no literals, and the pattern
//! is searched for in every line.

use std::collections::BTreeSet;

use super::class::{literal, members};
use super::set::Set;
use super::tree::{Greed, Node, Times};

/// More texts are not spelled out for one part of a pattern.
const TEXTS_MAX: usize = 32;
/// A class of so many characters is spelled out.
const CLASS_MAX: u32 = 4;
/// So many bytes of a literal are kept; more do not make it rarer.
const LENGTH_MAX: usize = 20;
/// A literal that is worth less is in so many lines that it is not worth looking for.
const WORTH_MIN: usize = 8;

/// Texts of ASCII characters, of which at least one is in every text that a pattern matches in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Literals {
    texts: Vec<String>,
    ascii: bool,
    /// They are better than others, however common the letters are
    rare: bool,
}

impl Literals {
    /// The texts; none is empty, and none holds a newline.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Whether this holds only where the text is of ASCII characters: letters outside it match in either case, too.
    pub fn ascii_only(&self) -> bool {
        self.ascii
    }

    /// The literals of a tree, if it has some that are rare enough to be of use.
    pub(super) fn of(root: &Node) -> Option<Literals> {
        let known = Known::of(root);
        let best = better(known.exact, known.best)?;
        (best.worth() >= WORTH_MIN).then(|| best.shortened())
    }

    /// How much they help to tell lines apart: as much as the most common one.
    fn worth(&self) -> usize {
        let of = |text: &String| text.bytes().take(LENGTH_MAX).map(worth).sum();
        let worth: usize = self.texts.iter().map(of).min().unwrap_or(0);
        worth + if self.rare { 3 * LENGTH_MAX } else { 0 }
    }

    /// Whether they are in fewer lines than others, as far as can be told.
    pub(crate) fn are_rarer_than(&self, others: &Literals) -> bool {
        self.worth() > others.worth()
    }

    /// Beginnings that are as good as the whole; what contains another is left out.
    fn shortened(self) -> Literals {
        let mut texts = self.texts.clone();
        texts.iter_mut().for_each(|text| text.truncate(LENGTH_MAX));
        texts.sort_by_key(String::len);
        let mut kept: Vec<String> = Vec::new();
        for text in texts {
            if !kept.iter().any(|other| text.contains(other)) {
                kept.push(text);
            }
        }
        Literals { texts: kept, ..self }
    }

    fn empty() -> Literals {
        Literals {
            texts: vec![String::new()],
            ascii: false,
            rare: false,
        }
    }

    /// Either of two; nothing if they are too many.
    fn or(self, other: Literals) -> Option<Literals> {
        let texts: BTreeSet<String> = self.texts.into_iter().chain(other.texts).collect();
        (texts.len() <= TEXTS_MAX).then(|| Literals {
            texts: texts.into_iter().collect(),
            ascii: self.ascii || other.ascii,
            rare: false,
        })
    }

    /// One behind the other; nothing if they are too many.
    fn then(&self, next: &Literals) -> Option<Literals> {
        if self.texts.len() * next.texts.len() > TEXTS_MAX {
            return None;
        }
        let pairs = |text: &String| {
            next.texts
                .iter()
                .map(move |tail| format!("{text}{tail}"))
                .collect::<Vec<_>>()
        };
        Some(Literals {
            texts: self.texts.iter().flat_map(pairs).collect(),
            ascii: self.ascii || next.ascii,
            rare: false,
        })
    }
}

/// How much a byte helps to tell lines apart: what is in most of them helps little.
fn worth(byte: u8) -> usize {
    match byte {
        b' ' | b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 2,
        b'0'..=b'9' => 1,
        _ => 3,
    }
}

fn better(one: Option<Literals>, other: Option<Literals>) -> Option<Literals> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.worth() >= other.worth() { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// What is known of the text that a node matches.
struct Known {
    /// All that it can be.
    exact: Option<Literals>,
    /// What it contains.
    best: Option<Literals>,
}

impl Known {
    const NOTHING: Known = Known {
        exact: None,
        best: None,
    };

    fn exact(exact: Option<Literals>) -> Known {
        Known { exact, best: None }
    }

    fn of(node: &Node) -> Known {
        match node {
            Node::Look {
                behind: false,
                negated: false,
                body,
            } => Known::ahead(body),
            Node::Empty | Node::At(_) | Node::Look { .. } => Known::exact(Some(Literals::empty())),
            Node::Literal(code, case) => Known::exact(spelled(&literal(*code, *case))),
            Node::Class(class) => Known::exact(spelled(&members(class))),
            Node::Dot(_) | Node::Backref { .. } => Known::NOTHING,
            Node::Capture(_, body) | Node::Plain { body, .. } | Node::Atomic(body) => Known::of(body),
            Node::Concat(parts) => Known::sequence(parts),
            Node::Alternation(arms) => Known::choice(arms.iter()),
            Node::Conditional { yes, no, .. } => Known::choice([&**yes, &**no].into_iter()),
            Node::Repeat(times, body) => Known::repeat(*times, body),
        }
    }

    /// What is looked for ahead is in the text, too. Who asks for it asks for something rare.
    fn ahead(body: &Node) -> Known {
        let known = Known::of(body);
        let best = better(known.exact, known.best);
        Known {
            exact: Some(Literals::empty()),
            best: best
                .filter(|best| best.worth() >= WORTH_MIN)
                .map(|best| Literals { rare: true, ..best }),
        }
    }

    fn sequence(parts: &[Node]) -> Known {
        let mut run = Some(Literals::empty());
        let mut best = None;
        let mut whole = true;
        for part in parts {
            let known = Known::of(part);
            let longer = run
                .as_ref()
                .zip(known.exact.as_ref())
                .and_then(|(run, next)| run.then(next));
            if longer.is_none() {
                whole = false;
                best = better(best, run.take());
            }
            best = better(best, known.best);
            run = longer.or(known.exact).or_else(|| Some(Literals::empty()));
        }
        Known {
            exact: run.clone().filter(|_| whole),
            best: better(best, run),
        }
    }

    fn choice<'n>(mut arms: impl Iterator<Item = &'n Node>) -> Known {
        let Some(first) = arms.next() else {
            return Known::NOTHING;
        };
        arms.fold(Known::of(first), |all, arm| {
            let arm = Known::of(arm);
            let exact = all
                .exact
                .clone()
                .zip(arm.exact.clone())
                .and_then(|(one, other)| one.or(other));
            let best = better(all.exact, all.best).zip(better(arm.exact, arm.best));
            Known {
                exact,
                best: best.and_then(|(one, other)| one.or(other)),
            }
        })
    }

    fn repeat(times: Times, body: &Node) -> Known {
        let known = Known::of(body);
        match times {
            Times {
                min: 0, max: Some(0), ..
            } => Known::exact(Some(Literals::empty())),
            Times {
                min: 0,
                max: Some(1),
                greed,
            } if greed != Greed::Possessive => Known::exact(known.exact.and_then(|exact| exact.or(Literals::empty()))),
            Times { min: 0, .. } => Known::NOTHING,
            Times {
                min: 1, max: Some(1), ..
            } => known,
            Times { .. } => Known {
                exact: None,
                best: better(known.exact, known.best),
            },
        }
    }
}

/// The members of a set, where they are few. Those outside ASCII are left to texts that are not ASCII.
fn spelled(set: &Set) -> Option<Literals> {
    let inside: Vec<(u32, u32)> = set.ranges().iter().filter(|range| range.0 < 0x80).copied().collect();
    let many = inside.iter().map(|(low, high)| high.min(&0x7f) - low + 1).sum::<u32>();
    if inside.is_empty() || many > CLASS_MAX || set.contains(u32::from(b'\n')) {
        return None;
    }
    let chars = inside
        .iter()
        .flat_map(|&(low, high)| low..=high.min(0x7f))
        .filter_map(char::from_u32);
    Some(Literals {
        texts: chars.map(String::from).collect(),
        ascii: set.ranges().iter().any(|&(_, high)| high >= 0x80),
        rare: false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pattern::{Flags, Lane, Pattern, Search};

    fn of(regex: &str) -> Option<Literals> {
        Pattern::new(regex, Flags::default()).unwrap().literals().cloned()
    }

    fn check(regex: &str, expect: &[&str]) {
        let literals = of(regex);
        let texts = literals.as_ref().map_or(&[][..], Literals::texts);
        assert_eq!(texts, expect, "{regex}");
    }

    #[test]
    fn what_every_match_contains() {
        check(
            r"^Failed password for (?P<user>\S+) from <HOST>",
            &["Failed password for "],
        );
        check(
            r"^(?:Illegal|Invalid) user .*? from <HOST>",
            &["Illegal user ", "Invalid user "],
        );
        check(
            r"reject: (?:RCPT|VRFY)? from",
            &["reject:  from", "reject: RCPT from", "reject: VRFY from"],
        );
        check(r"(?:lost connection|timeout)? <HOST>", &[]);
        check(r"\d+ auth(?! quit)entication \S+", &[" authentication "]);
        check(r"(?:ab)+cdefgh \[(?:x|y)z", &["cdefgh [xz", "cdefgh [yz"]);
        check(r"[Ff]ailure in [a-z]+ module", &["Failure in ", "failure in "]);
        check(r"abc\ndefghijk", &["defghijk"]);
        check(r"(?P<a>long literal)|\S+", &[]);
        check(r"from <HOST>", &["from "]);
        check(r" \S+ \d", &[]);
        check(r"disconnect(?= from \S+(?: a=\d+)* auth=0/[1-9])", &[" auth=0/"]);
        check(r"disconnect(?! from \S+ auth=0/[1-9])", &["disconnect"]);
    }

    #[test]
    fn letters_that_fold_to_others() {
        let literals = of(r"(?i)kex").unwrap();
        assert!(literals.ascii_only());
        assert_eq!(literals.texts().len(), 8);
        assert!(!of("(?ai)dxmf").unwrap().ascii_only());
    }

    fn part() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-c:]{1,6}",
            Just(r"\d".to_owned()),
            Just("[ab]".to_owned()),
            Just("(?!b)".to_owned()),
            Just("(?=[a-c]*ab)".to_owned()),
            Just("(?<=a)".to_owned()),
            Just(".".to_owned()),
            Just("$".to_owned()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..4).prop_map(|arms| format!("(?:{})", arms.join("|"))),
                (inner.clone(), "[?*+]|\\{2\\}|\\{1,2\\}").prop_map(|(body, times)| format!("(?:{body}){times}")),
                inner.prop_map(|body| format!("(?i:{body})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_match_without_a_literal(regex in part(), text in "[a-cA-C:0-1\n]{0,24}") {
            let Ok(pattern) = Pattern::new(&regex, Flags::default()) else { return Ok(()) };
            let (Some(literals), Search::Found(found)) = (pattern.literals(), pattern.search(&text, Lane::Fast)) else {
                return Ok(());
            };
            let held = literals.texts().iter().any(|literal| text.contains(literal.as_str()));
            prop_assert!(held, "{} in {:?} at {:?}: {:?}", regex, text, found.as_str(), literals);
        }
    }
}
