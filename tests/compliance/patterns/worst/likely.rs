//! Texts that a regex likely matches, written from its own literals and classes.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use portcullis_core::pattern::Pattern;

use super::super::pattern;
use crate::chance::Chance;

/// A part of a regex, as far as it says what can be written for it.
enum Part {
    Text(char),
    /// One of these characters
    Class(String),
    Concat(Vec<Part>),
    Either(Vec<Part>),
    Times(Box<Part>, usize, Option<usize>),
    Group(usize, Box<Part>),
    Again(usize),
    /// What is looked for ahead or behind takes no room, but a text that has it there takes more steps
    Look(Box<Part>),
}

/// Writes texts for one regex.
pub(super) struct Likely(Part);

impl Likely {
    pub(super) fn of(regex: &str, classes: &mut Classes) -> Self {
        let mut reader = Reader {
            chars: regex.chars().peekable(),
            classes,
            groups: 0,
            names: BTreeMap::new(),
        };
        Self(reader.either())
    }

    pub(super) fn text(&self, dice: &mut Chance) -> String {
        let mut writer = Writer {
            dice,
            text: String::new(),
            groups: BTreeMap::new(),
        };
        writer.write(&self.0);
        writer.text
    }
}

/// The characters of classes, so that each class is asked once.
#[derive(Default)]
pub(super) struct Classes(BTreeMap<String, String>);

impl Classes {
    /// The characters that a class has, of those that logs have.
    fn members(&mut self, class: &str) -> String {
        let ask = || {
            let Ok(pattern) = pattern(&format!("^{class}$"), false) else {
                return String::new();
            };
            let has = |c: &char| is_in(&pattern, *c);
            (' '..='~').chain("\t\nßé٣".chars()).filter(has).collect()
        };
        self.0.entry(class.to_owned()).or_insert_with(ask).clone()
    }
}

fn is_in(pattern: &Pattern, c: char) -> bool {
    use portcullis_core::pattern::{Lane, Search};
    matches!(pattern.search(&c.to_string(), Lane::Fast), Search::Found(found) if !found.as_str().is_empty())
}

/// Reads a regex that is known to be sound.
struct Reader<'r> {
    chars: Peekable<Chars<'r>>,
    classes: &'r mut Classes,
    groups: usize,
    names: BTreeMap<String, usize>,
}

impl Reader<'_> {
    fn either(&mut self) -> Part {
        let mut arms = vec![self.concat()];
        while self.chars.next_if_eq(&'|').is_some() {
            arms.push(self.concat());
        }
        Part::Either(arms)
    }

    fn concat(&mut self) -> Part {
        let mut parts = Vec::new();
        while let Some(c) = self.chars.next_if(|c| !"|)".contains(*c)) {
            let part = match c {
                '^' | '$' => continue,
                '.' => self.class("."),
                '[' => self.set(),
                '\\' => self.escape(),
                '(' => self.group(),
                c => Part::Text(c),
            };
            parts.push(self.times(part));
        }
        Part::Concat(parts)
    }

    fn times(&mut self, part: Part) -> Part {
        let (least, most) = match self.chars.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => match self.counts() {
                Some(counts) => counts,
                None => return part,
            },
            _ => return part,
        };
        self.chars.next();
        self.chars.next_if(|c| "?+".contains(*c));
        Part::Times(Box::new(part), least, most)
    }

    /// `{2,3}`, up to its brace; other braces stand for themselves.
    fn counts(&mut self) -> Option<(usize, Option<usize>)> {
        let inner: String = self.chars.clone().skip(1).take_while(|c| *c != '}').collect();
        let (least, most) = inner.split_once(',').unwrap_or((&inner, &inner));
        let known = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if !known(least) || !known(most) || inner.is_empty() {
            return None;
        }
        self.chars.nth(inner.len());
        Some((least.parse().unwrap_or(0), most.parse().ok()))
    }

    fn class(&mut self, class: &str) -> Part {
        Part::Class(self.classes.members(class))
    }

    fn set(&mut self) -> Part {
        let mut text = "[".to_owned();
        text.extend(self.chars.next_if_eq(&'^'));
        text.extend(self.chars.next_if_eq(&']'));
        while let Some(c) = self.chars.next() {
            text.push(c);
            match c {
                '\\' => text.extend(self.chars.next()),
                ']' => break,
                _ => {}
            }
        }
        self.class(&text)
    }

    fn escape(&mut self) -> Part {
        match self.chars.next() {
            Some('b' | 'B' | 'A' | 'Z') | None => Part::Concat(Vec::new()),
            Some(digit @ '1'..='9') => Part::Again(digit.to_digit(10).map_or(0, |n| n as usize)),
            Some(c) if c.is_ascii_alphanumeric() => self.class(&format!("\\{c}")),
            Some(c) => Part::Text(c),
        }
    }

    /// What stands in parentheses, the first of them read.
    fn group(&mut self) -> Part {
        if self.chars.next_if_eq(&'?').is_none() {
            return self.capture();
        }
        match self.chars.next() {
            Some('P') if self.chars.next_if_eq(&'=').is_some() => {
                let name = self.until(')');
                Part::Again(self.names.get(&name).copied().unwrap_or(0))
            }
            Some('P') => {
                self.chars.next();
                let name = self.until('>');
                self.names.insert(name, self.groups + 1);
                self.capture()
            }
            Some('<') => {
                self.chars.next();
                self.look()
            }
            Some('=' | '!') => self.look(),
            Some('(') => {
                self.until(')');
                self.closed()
            }
            Some(':' | '>') => self.closed(),
            // Flags, for the whole or for a group
            _ => {
                while self.chars.next_if(|c| c.is_ascii_alphabetic() || *c == '-').is_some() {}
                self.chars.next_if_eq(&':');
                self.closed()
            }
        }
    }

    fn capture(&mut self) -> Part {
        self.groups += 1;
        let number = self.groups;
        Part::Group(number, Box::new(self.closed()))
    }

    fn look(&mut self) -> Part {
        Part::Look(Box::new(self.closed()))
    }

    fn closed(&mut self) -> Part {
        let part = self.either();
        self.chars.next_if_eq(&')');
        part
    }

    fn until(&mut self, end: char) -> String {
        self.chars.by_ref().take_while(|c| *c != end).collect()
    }
}

struct Writer<'d> {
    dice: &'d mut Chance,
    text: String,
    groups: BTreeMap<usize, String>,
}

impl Writer<'_> {
    fn write(&mut self, part: &Part) {
        // Counts within counts would make a text of any size.
        if self.text.len() > super::LONG {
            return;
        }
        match part {
            Part::Text(c) => self.text.push(*c),
            Part::Class(members) => {
                let nth = self.dice.below(members.chars().count().max(1));
                self.text.extend(members.chars().nth(nth));
            }
            Part::Concat(parts) => parts.iter().for_each(|part| self.write(part)),
            Part::Either(arms) => {
                let nth = self.dice.below(arms.len());
                self.write(&arms[nth]);
            }
            Part::Times(body, least, most) => {
                let room = most.map_or(usize::MAX, |most| most - least);
                let more = if self.dice.one_in(12) { 60 } else { 4 };
                let many = self.dice.below(room.min(more) + 1);
                (0..least + many).for_each(|_| self.write(body));
            }
            Part::Group(number, body) => {
                let start = self.text.len();
                self.write(body);
                self.groups.insert(*number, self.text[start..].to_owned());
            }
            Part::Again(number) => self.text.push_str(self.groups.get(number).map_or("", String::as_str)),
            Part::Look(body) if self.dice.one_in(8) => self.write(body),
            Part::Look(_) => {}
        }
    }
}
