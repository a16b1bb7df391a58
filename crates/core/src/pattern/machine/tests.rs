//! A machine that remembers what failed, and one that looks at the next character before it goes a way, find what one
//! finds that goes every way: over random irregular patterns, in random texts, the same end and the same groups from every
//! place.

use super::super::parse::{Parsed, parse};
use super::super::program::{Program, program};
use super::Machine;

const PATTERNS: u64 = 20_000;
const STEPS: usize = 100_000;

/// Random numbers from a seed (`SplitMix64`).
struct Maker {
    seed: u64,
    groups: usize,
    closed: Vec<usize>,
}

impl Maker {
    fn below(&mut self, end: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((bits ^ (bits >> 31)) % 1_000_003).unwrap() % end
    }

    fn pick(&mut self, of: &[&str]) -> String {
        of[self.below(of.len())].to_owned()
    }

    /// One of so many groups that are closed.
    fn known(&mut self, count: usize) -> usize {
        let which = self.below(count);
        self.closed[which]
    }

    fn text(&mut self) -> String {
        let length = 4 + self.below(14);
        (0..length)
            .map(|_| self.pick(&["a", "a", "a", "b", "b", "c", "é"]))
            .collect()
    }

    fn arms(&mut self, depth: usize) -> String {
        let count = [1, 1, 1, 2, 2, 3][self.below(6)];
        let arms: Vec<_> = (0..count).map(|_| self.sequence(depth)).collect();
        arms.join("|")
    }

    fn sequence(&mut self, depth: usize) -> String {
        let count = if depth == 0 { 2 + self.below(4) } else { self.below(4) };
        (0..count).map(|_| self.part(depth)).collect()
    }

    fn part(&mut self, depth: usize) -> String {
        let atom = self.atom(depth);
        let times = [
            "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{2,}", "{,3}?", "{1,3}", "{2,4}", "*+", "++",
        ];
        match self.below(2) {
            0 if !atom.ends_with(['$', '^']) => format!("{atom}{}", self.pick(&times)),
            _ => atom,
        }
    }

    fn atom(&mut self, depth: usize) -> String {
        match self.below(if depth > 3 { 6 } else { 19 }) {
            0..=3 => self.pick(&["a", "a", "b", "[ab]", ".", "[^c]", r"\w", "é", "aa"]),
            4 => match self.closed.len() {
                0 => "b".to_owned(),
                count => format!(r"(?:\{})", self.known(count)),
            },
            5 => self.pick(&[r"\b", "$", "(?<=a)", "(?<!b)", "(?!b)", "(?=a)"]),
            6..=8 => format!("(?:{})", self.arms(depth + 1)),
            9..=12 => {
                self.groups += 1;
                let group = self.groups;
                let body = self.arms(depth + 1);
                self.closed.push(group);
                format!("({body})")
            }
            13 => format!("(?>{})", self.arms(depth + 1)),
            14 => format!("(?={})", self.arms(depth + 1)),
            15 => format!("(?!{})", self.arms(depth + 1)),
            // Behind the first, only texts of one length are allowed.
            16 => format!(
                "(?<{}{})",
                self.pick(&["=", "!"]),
                self.pick(&["a(?:a|b)", "(?:[ab]|(?=a).)", "b", "(?>a|b)a"])
            ),
            _ => {
                let group = match self.closed.len() {
                    // One that is open, or comes later, may be asked for, too.
                    count if count == 0 || self.below(8) == 0 => 1 + self.below(self.groups + 1),
                    count => self.known(count),
                };
                let (yes, no) = (self.sequence(depth + 1), self.sequence(depth + 1));
                format!("(?({group}){yes}|{no})")
            }
        }
    }
}

/// The ends and groups of the matches from every place on, or nothing if the steps do not suffice; and the steps.
fn found(program: &Program, text: &str, remember: bool) -> (Option<Vec<String>>, usize) {
    let mut machine = Machine::new(program, text, STEPS).unwrap();
    if remember {
        machine.remember();
    }
    let places = (0..=text.len()).filter(|&at| text.is_char_boundary(at));
    let each = |start: usize| {
        machine.match_at(start).ok().map(|end| {
            let groups: Vec<_> = (1..=program.groups).map(|group| machine.span(group)).collect();
            end.map_or_else(String::new, |end| format!("{start}-{end}: {groups:?}"))
        })
    };
    (places.map(each).collect(), machine.taken())
}

#[test]
fn what_is_remembered_or_seen_changes_nothing() {
    let (mut compared, mut matches, mut fewer, mut unknown, mut forgetful, mut seen) = (0, 0, 0, 0, 0, 0);
    for seed in 0..PATTERNS {
        let mut maker = Maker {
            seed: seed * 1_000_003,
            groups: 0,
            closed: Vec::new(),
        };
        let source = maker.arms(0);
        let Ok(Parsed { root, groups, .. }) = parse(&source, false) else {
            continue;
        };
        let blind = program(&root, groups, false).unwrap().blind();
        let program = program(&root, groups, false).unwrap();
        forgetful += usize::from(program.joins.is_none());
        for _ in 0..4 {
            let text = maker.text();
            let (plain, most) = found(&program, &text, false);
            let (remembered, steps) = found(&program, &text, true);
            let (unseen, every) = found(&blind, &text, false);
            if let (Some(plain), Some(remembered), Some(unseen)) = (&plain, &remembered, &unseen) {
                assert_eq!(plain, remembered, "{source} on {text:?}");
                assert_eq!(plain, unseen, "{source} on {text:?}");
                seen += usize::from(most < every);
                compared += 1;
                matches += plain.iter().filter(|found| !found.is_empty()).count();
                fewer += usize::from(steps < most);
            } else {
                unknown += 1;
            }
        }
    }
    println!(
        "{compared} compared, {matches} matches, {fewer} in fewer steps, {unknown} unknown, {forgetful} forgetful, {seen} by sight"
    );
    assert!(compared > PATTERNS && fewer > 1_000 && forgetful > 100 && seen > 10_000);
}

/// The first way through the group ends it, and fails; CPython leaves that end there, where the second way asks for it.
#[test]
fn a_group_that_is_asked_for_inside_itself_forbids_it() {
    for (source, text) in [
        (r"((\w)(?:[ax]*|(?(1)xf|y)))(?<=f)", "aaxf"),
        (r"((\w)(?:[ax]*|(?(1)xf|y)))e", "aaxfe"),
    ] {
        let Parsed { root, groups, .. } = parse(source, false).unwrap();
        let program = program(&root, groups, false).unwrap();
        let plain = found(&program, text, false).0.unwrap();
        assert_eq!(found(&program, text, true).0.unwrap(), plain, "{source}");
        assert!(
            plain[1].starts_with(&format!("1-{}", text.len())),
            "{source}: {plain:?}"
        );
    }
}
