//! From the tree of a Python regex to the text that our engines read.
//!
//! Three texts can be made of one tree: one for the linear engine, where the tree is regular; one for the
//! backtracking engine; and a *wider* one for the linear engine, which matches wherever the tree does and maybe
//! elsewhere, so that a line it rejects needs no backtracking. Nothing is written as the user wrote it: every
//! character that could mean something else in the target dialect (`\<`, `[` in a class, `&&`) is escaped anew.

use std::fmt::Write;

use super::tree::{At, Case, Category, Class, Code, Greed, Item, Node, Times};

/// A class that matches nothing.
const NEVER: &str = r"[^\s\S]";

/// What the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The linear engine; the tree must be regular, and the searched text hold no newline but a last one.
    Linear,
    /// The linear engine, for a match wherever the tree matches and maybe elsewhere; no groups.
    Wider,
    /// The backtracking engine, for text with no newline but a last one.
    Backtrack,
    /// The backtracking engine, for any text.
    BacktrackLines,
}

/// A text for an engine, and the engine's number of each Python group (by that group's number); a group that
/// can never take part has none.
pub(super) struct Translation {
    pub(super) text: String,
    pub(super) slots: Vec<Option<usize>>,
}

/// Writes the tree of a regex with that many groups in the dialect of an engine.
pub(super) fn translate(root: &Node, groups: usize, target: Target) -> Translation {
    let unset = vec![None; groups + 1];
    // A conditional may name a group that comes later, so the numbers have to be known before the writing.
    let numbering = Writer {
        target,
        out: String::new(),
        slots: unset.clone(),
        known: unset.clone(),
        next: 1,
    };
    let numbered = numbering.run(root);
    let writing = Writer {
        target,
        out: String::new(),
        slots: unset,
        known: numbered.slots,
        next: 1,
    };
    writing.run(root)
}

struct Writer {
    target: Target,
    out: String,
    /// The engine's numbers as they are given out.
    slots: Vec<Option<usize>>,
    /// The same from an earlier run, complete.
    known: Vec<Option<usize>>,
    next: usize,
}

impl Writer {
    fn run(mut self, root: &Node) -> Translation {
        self.node(root);
        Translation {
            text: self.out,
            slots: self.slots,
        }
    }

    fn engine_group(&self, group: usize) -> Option<usize> {
        self.known.get(group).copied().flatten()
    }

    /// Writes a node where a whole alternation may stand.
    fn node(&mut self, node: &Node) {
        match node {
            Node::Empty => {}
            Node::Literal(code, case) => self.literal(*code, *case),
            Node::Class(class) => self.class(class),
            Node::Dot(true) => self.out.push_str("(?s:.)"),
            Node::Dot(false) => self.out.push('.'),
            Node::At(at) => self.at(*at),
            Node::Capture(group, body) => self.capture(*group, body),
            Node::Plain(body) => self.node(body),
            Node::Concat(parts) => parts.iter().for_each(|part| self.part(part)),
            Node::Alternation(arms) => self.arms(arms),
            Node::Repeat(times, body) => self.repeat(*times, body),
            Node::Look { behind, negated, body } => self.look(*behind, *negated, body),
            Node::Atomic(body) => self.wrapped(if self.wider() { "(?:" } else { "(?>" }, body),
            Node::Backref { group, case, .. } => self.backref(*group, *case),
            Node::Conditional { group, yes, no } => self.conditional(*group, yes, no),
        }
    }

    /// Writes a node where other nodes stand before or after it.
    fn part(&mut self, node: &Node) {
        match node {
            Node::Alternation(_) => self.wrapped("(?:", node),
            Node::Plain(body) => self.part(body),
            _ => self.node(node),
        }
    }

    fn wrapped(&mut self, open: &str, node: &Node) {
        self.out.push_str(open);
        self.node(node);
        self.out.push(')');
    }

    fn wider(&self) -> bool {
        self.target == Target::Wider
    }

    fn arms(&mut self, arms: &[Node]) {
        for (n, arm) in arms.iter().enumerate() {
            if n > 0 {
                self.out.push('|');
            }
            self.part(arm);
        }
    }

    fn capture(&mut self, group: usize, body: &Node) {
        if self.wider() {
            return self.wrapped("(?:", body);
        }
        if let Some(slot) = self.slots.get_mut(group) {
            *slot = Some(self.next);
        }
        self.next += 1;
        self.wrapped("(", body);
    }

    fn repeat(&mut self, times: Times, body: &Node) {
        if times.max == Some(0) {
            return;
        }
        let possessive = times.greed == Greed::Possessive && !self.wider();
        if possessive {
            self.out.push_str("(?>");
        }
        if body.width().1 == 0 {
            self.repeat_nothing(times, body);
        } else {
            self.repeated(body);
            self.quantifier(times);
        }
        if possessive {
            self.out.push(')');
        }
    }

    /// What never takes a character is tried once by Python, and the backtracking engine would refuse to repeat
    /// it.
    fn repeat_nothing(&mut self, times: Times, body: &Node) {
        if times.min > 0 {
            return self.part(body);
        }
        self.out.push_str("(?:");
        if times.greed == Greed::Lazy {
            self.out.push('|');
            self.part(body);
        } else {
            self.part(body);
            self.out.push('|');
        }
        self.out.push(')');
    }

    fn repeated(&mut self, body: &Node) {
        match body {
            Node::Plain(inner) if !matches!(**inner, Node::Repeat(..)) => self.repeated(inner),
            Node::Literal(..) | Node::Class(_) | Node::Dot(_) | Node::Capture(..) => self.node(body),
            _ => self.wrapped("(?:", body),
        }
    }

    fn quantifier(&mut self, times: Times) {
        match (times.min, times.max) {
            (0, None) => self.out.push('*'),
            (1, None) => self.out.push('+'),
            (0, Some(1)) => self.out.push('?'),
            (min, None) => self.write(format_args!("{{{min},}}")),
            (min, Some(max)) if min == max => self.write(format_args!("{{{min}}}")),
            (min, Some(max)) => self.write(format_args!("{{{min},{max}}}")),
        }
        if times.greed == Greed::Lazy {
            self.out.push('?');
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn at(&mut self, at: At) {
        let text = match at {
            At::TextStart => r"\A",
            At::TextEnd => r"\z",
            At::LineStart => "(?m:^)",
            At::End if self.target == Target::BacktrackLines => r"(?=\n?\z)",
            At::LineEnd | At::End => "(?m:$)",
            At::Word {
                negated: false,
                ascii: false,
            } => r"\b",
            At::Word {
                negated: true,
                ascii: false,
            } => r"\B",
            At::Word { ascii: true, .. } if self.wider() => "",
            At::Word { negated: false, .. } => {
                "(?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))"
            }
            At::Word { negated: true, .. } => "(?:(?<=[0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<![0-9A-Za-z_])(?![0-9A-Za-z_]))",
        };
        self.out.push_str(text);
    }

    fn look(&mut self, behind: bool, negated: bool, body: &Node) {
        if self.wider() {
            return;
        }
        let open = match (behind, negated) {
            (false, false) => "(?=",
            (false, true) => "(?!",
            (true, false) => "(?<=",
            (true, true) => "(?<!",
        };
        self.wrapped(open, body);
    }

    fn backref(&mut self, group: usize, case: Case) {
        match (self.wider(), self.engine_group(group)) {
            (true, _) => self.out.push_str("(?s:.*)"),
            (false, None) => self.out.push_str(NEVER),
            (false, Some(slot)) if case == Case::Exact => self.write(format_args!(r"\k<{slot}>")),
            (false, Some(slot)) => self.write(format_args!(r"(?i:\k<{slot}>)")),
        }
    }

    fn conditional(&mut self, group: usize, yes: &Node, no: &Node) {
        if *yes == Node::Empty && *no == Node::Empty {
            return;
        }
        match (self.wider(), self.engine_group(group)) {
            (true, _) => self.out.push_str("(?:"),
            (false, Some(slot)) => self.write(format_args!("(?({slot})")),
            // A group that can never be set: its engine would not know it.
            (false, None) => return self.part(no),
        }
        self.part(yes);
        self.out.push('|');
        self.part(no);
        self.out.push(')');
    }

    fn literal(&mut self, code: Code, case: Case) {
        let Some(c) = char::from_u32(code) else {
            return self.out.push_str(NEVER);
        };
        match case {
            Case::Ascii if c.is_ascii_alphabetic() => {
                self.write(format_args!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()));
            }
            Case::Unicode if is_any_i(code) => self.out.push_str(ANY_I_CLASS),
            Case::Unicode if !c.is_ascii() || c.is_ascii_alphabetic() => self.write(format_args!("(?i:{c})")),
            _ => self.character(c),
        }
    }

    fn character(&mut self, c: char) {
        match c {
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => {
                self.out.extend(['\\', c]);
            }
            c if c.is_control() => self.write(format_args!(r"\x{{{:x}}}", u32::from(c))),
            c => self.out.push(c),
        }
    }

    fn class(&mut self, class: &Class) {
        let mut ranges = Vec::new();
        let mut categories = Vec::new();
        for item in &class.items {
            match *item {
                Item::Range(low, high) => ranges.push((low, high)),
                Item::Category { kind, negated } => categories.push((kind, negated)),
            }
        }
        match class.case {
            Case::Exact => {}
            Case::Ascii => add_ascii_case(&mut ranges),
            Case::Unicode => add_dotless_i(&mut ranges),
        }
        let ranges: Vec<_> = ranges.into_iter().flat_map(without_surrogates).collect();
        if ranges.is_empty() && categories.is_empty() {
            return self.out.push_str(if class.negated { "(?s:.)" } else { NEVER });
        }
        let fold = class.case == Case::Unicode && !ranges.is_empty();
        if fold {
            self.out.push_str("(?i:");
        }
        self.out.push_str(if class.negated { "[^" } else { "[" });
        ranges.into_iter().for_each(|range| self.range(range));
        for (kind, negated) in categories {
            self.out.push_str(category(kind, negated, class.ascii));
        }
        self.out.push_str(if fold { "])" } else { "]" });
    }

    fn range(&mut self, (low, high): (Code, Code)) {
        self.class_character(low);
        if high > low {
            self.out.push('-');
            self.class_character(high);
        }
    }

    fn class_character(&mut self, code: Code) {
        match char::from_u32(code) {
            Some(c) if c.is_ascii_alphanumeric() => self.out.push(c),
            _ => self.write(format_args!(r"\x{{{code:x}}}")),
        }
    }
}

/// The members of Python's categories. Its word characters are letters, numbers of every kind and `_`: neither
/// the marks nor the connectors that Unicode's `\w` takes; and four separators count as space.
fn category(kind: Category, negated: bool, ascii: bool) -> &'static str {
    match (kind, negated, ascii) {
        (Category::Digit, false, false) => r"\d",
        (Category::Digit, true, false) => r"\D",
        (Category::Space, false, false) => r"\s\x{1c}-\x{1f}",
        (Category::Space, true, false) => r"[^\s\x{1c}-\x{1f}]",
        (Category::Word, false, false) => r"\p{L}\p{N}_",
        (Category::Word, true, false) => r"[^\p{L}\p{N}_]",
        (Category::Digit, false, true) => "0-9",
        (Category::Digit, true, true) => "[^0-9]",
        (Category::Space, false, true) => r"\x{9}-\x{d}\x{20}",
        (Category::Space, true, true) => r"[^\x{9}-\x{d}\x{20}]",
        (Category::Word, false, true) => "0-9A-Za-z_",
        (Category::Word, true, true) => "[^0-9A-Za-z_]",
    }
}

/// Python lets the four kinds of i match each other, which Unicode's simple folding does not.
const ANY_I: [Code; 4] = [0x49, 0x69, 0x130, 0x131];
const ANY_I_CLASS: &str = r"[Ii\x{130}\x{131}]";

fn is_any_i(code: Code) -> bool {
    ANY_I.contains(&code)
}

fn add_dotless_i(ranges: &mut Vec<(Code, Code)>) {
    if ranges
        .iter()
        .any(|&(low, high)| ANY_I.iter().any(|code| (low..=high).contains(code)))
    {
        ranges.extend([(0x49, 0x49), (0x69, 0x69), (0x130, 0x131)]);
    }
}

fn add_ascii_case(ranges: &mut Vec<(Code, Code)>) {
    let mut other = Vec::new();
    for &(low, high) in ranges.iter() {
        for (first, last, shift) in [(0x41, 0x5a, 0x20), (0x61, 0x7a, -0x20_i32)] {
            let (from, to) = (low.max(first), high.min(last));
            if from <= to {
                other.push((from.saturating_add_signed(shift), to.saturating_add_signed(shift)));
            }
        }
    }
    ranges.extend(other);
}

/// The parts of a range that Unicode text can hold.
fn without_surrogates((low, high): (Code, Code)) -> impl Iterator<Item = (Code, Code)> {
    [(low, high.min(0xd7ff)), (low.max(0xe000), high)]
        .into_iter()
        .filter(|(low, high)| low <= high)
}
