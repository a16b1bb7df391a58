//! The worst line of every stock filter: what takes a pattern most steps is searched for, at random and led on by the
//! lines that were the worst so far. None of up to 1,000 bytes may use up the steps that a search has, save for the
//! patterns of Fail2Ban's that are named here. Longer ones that do are counted.
//!
//! A pattern is given any text, also where its filter would give it only what a date or a prefregex leaves: what no
//! text can do to a pattern, no line can do to its filter.

mod likely;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use portcullis_core::config::plan::{JailPlan, Plan};
use portcullis_core::config::{Face, FilterName, MemoryTree, filter_options};
use portcullis_core::filter::{Filter, Settings, Tell};
use portcullis_core::pattern::{Lane, Pattern, Search};
use portcullis_core::value::Value;

use crate::chance::{Chance, rounds};
use crate::oracle::{here, sample_logs};
use crate::readings::subject::{self, Subject};
use likely::{Classes, Likely};

/// The steps of [`Lane::Fast`].
const BUDGET: usize = 250_000;
/// Up to so many bytes a line must stay within the budget.
const USUAL: usize = 1_000;
/// The longest lines tried, in bytes.
const LONG: usize = 8_000;
/// Lines that others are made of, per pattern and length.
const KEPT: usize = 8;
/// Texts that are written for a pattern at first.
const WRITTEN: usize = 30;
/// Sample lines that a pattern is given at first.
const SAMPLES: usize = 40;
/// Lines made for a pattern on the machine, per round and length.
const LINES: usize = 20;
/// Lines over budget after which a pattern is left alone.
const ENOUGH: usize = 10;
const SEED: u64 = 0x5EED_0001;

/// Patterns of Fail2Ban's filters, in one mode or in all, that a line of up to [`USUAL`] bytes brings over the budget,
/// by a few per cent: their time grows with the square of the length. Only a search of minutes finds such lines.
const COSTLY: &[(&str, &str)] = &[("apache-noscript", "prefregex")];

/// What is put into lines, once or often.
const PIECES: &[&str] = &[
    " ",
    "  ",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "\"",
    "'",
    "0",
    "1",
    "27",
    ": ",
    "a: ",
    "a",
    "=",
    ",",
    ", ",
    "-",
    "/",
    ".",
    ":",
    "\\",
    "@",
    "x=y ",
    "é",
    "::1",
    "192.0.2.1",
    "2001:db8::1",
    "from ",
    "user ",
    " port 22",
    "\t",
    "\n",
];

/// A line, and the steps that it took.
struct Tried {
    line: String,
    steps: usize,
}

impl Tried {
    /// Steps by the byte. The shortest lines are held back: what every search takes would make them the worst.
    fn rank(&self) -> usize {
        self.steps * 1_000 / (self.line.len() + 100)
    }
}

/// One pattern under search, with the lines that took most so far.
struct Quarry {
    /// The first filter that has it, and which of its patterns it is
    filter: String,
    place: String,
    pattern: Pattern,
    /// It is given several lines at a time
    several: bool,
    likely: Likely,
    samples: Vec<String>,
    /// Of lines up to [`USUAL`] bytes, and of those up to [`LONG`]
    kept: [Vec<Tried>; 2],
    worst: [Option<Tried>; 2],
    /// Lines over budget
    over: [Vec<String>; 2],
    lines: u64,
}

impl Quarry {
    fn try_line(&mut self, which: usize, mut line: String) {
        if !self.several {
            line = line.replace('\n', " ");
        }
        line.truncate(line.floor_char_boundary([USUAL, LONG][which]));
        self.lines += 1;
        let steps = self.pattern.steps(&line, Lane::Fast);
        // Far below the budget a search cannot have run out of anything.
        if steps > BUDGET / 3 && matches!(self.pattern.search(&line, Lane::Fast), Search::OverBudget) {
            self.over[which].push(line.clone());
        }
        let tried = Tried { line, steps };
        if self.worst[which].as_ref().is_none_or(|worst| worst.steps < steps) {
            let line = tried.line.clone();
            self.worst[which] = Some(Tried { line, steps });
        }
        let kept = &mut self.kept[which];
        if kept.iter().all(|other| other.line != tried.line) {
            kept.push(tried);
            kept.sort_by_key(|tried| std::cmp::Reverse(tried.rank()));
            kept.truncate(KEPT);
        }
    }

    /// Lines that somebody wrote, and those that the pattern asks for.
    fn begin(&mut self, dice: &mut Chance) {
        for which in [0, 1] {
            for _ in 0..WRITTEN {
                let text = self.likely.text(dice);
                self.try_line(which, text);
            }
            for _ in 0..SAMPLES.min(self.samples.len()) {
                let line = dice.pick(&self.samples).clone();
                self.try_line(which, line);
            }
        }
    }

    /// Lines made of the worst ones, and beside them of any.
    fn go_on(&mut self, dice: &mut Chance, lines: usize) {
        for which in [0, 1] {
            // That it can be over budget need not be shown again and again.
            if self.over[which].len() >= ENOUGH {
                continue;
            }
            for _ in 0..lines {
                let mut line = match dice.below(10) {
                    0 => dice.pick(&self.samples).clone(),
                    1 | 2 => self.likely.text(dice),
                    _ => dice.pick(&self.kept[which]).line.clone(),
                };
                for _ in 0..=dice.below(3) {
                    let other = match dice.below(3) {
                        0 => dice.pick(&self.samples).clone(),
                        1 => self.likely.text(dice),
                        _ => dice.pick(&self.kept[which]).line.clone(),
                    };
                    line = changed(dice, &line, &other);
                }
                self.try_line(which, line);
            }
        }
    }

    /// Whether it is one of those of Fail2Ban's that go over budget.
    fn is_known(&self) -> bool {
        let Self { filter, place, .. } = self;
        let is = |(name, which): &(&str, &str)| filter.starts_with(&format!("{name} {{")) && place == which;
        COSTLY.iter().any(is)
    }

    fn steps(&self, which: usize) -> usize {
        self.worst[which].as_ref().map_or(0, |worst| worst.steps)
    }

    /// Which pattern, how many steps, how many bytes.
    fn told(&self, which: usize) -> String {
        let Self { filter, place, .. } = self;
        let bytes = self.worst[which].as_ref().map_or(0, |worst| worst.line.len());
        format!("{} steps, {bytes} bytes: {filter}, {place}", self.steps(which))
    }
}

/// A line in another shape.
fn changed(dice: &mut Chance, line: &str, other: &str) -> String {
    let place = |dice: &mut Chance, text: &str| text.floor_char_boundary(dice.below(text.len() + 1));
    let (one, two) = (place(dice, line), place(dice, line));
    let (from, to) = (one.min(two), one.max(two));
    // What repeats is mostly short.
    let near = line.floor_char_boundary(to.min(from + 1 + dice.below(12)));
    let there = place(dice, other);
    let times = |dice: &mut Chance| {
        2 + if dice.one_in(3) {
            dice.below(199)
        } else {
            dice.below(20)
        }
    };
    let (head, tail) = line.split_at(from);
    match dice.below(12) {
        0 => format!("{head}{}{}", line[from..to].repeat(times(dice)), &line[to..]),
        1 | 2 => format!("{head}{}{}", line[from..near].repeat(times(dice)), &line[near..]),
        3 => format!("{head}{}{tail}", dice.pick(PIECES)),
        4 | 5 => format!("{head}{}{tail}", dice.pick(PIECES).repeat(times(dice))),
        6 => head.to_owned(),
        7 => format!("{head}{}", &line[to..]),
        8 => {
            let middle = place(dice, &line[from..to]);
            format!(
                "{head}{}{}{}",
                &line[from + middle..to],
                &line[from..from + middle],
                &line[to..]
            )
        }
        9 => format!("{line}{}{other}", dice.pick(&["", " ", "\n"])),
        10 => format!("{head}{}", &other[there..]),
        _ => format!("{head}{other}{tail}"),
    }
}

/// Every pattern of some filters, each once.
#[derive(Default)]
struct Hunt {
    filters: BTreeSet<String>,
    quarries: BTreeMap<(String, bool), Quarry>,
    classes: Classes,
}

impl Hunt {
    fn add(&mut self, name: &str, plan: &JailPlan, samples: &[String]) {
        let settings = Settings {
            zone: TimeZone::UTC,
            check_all: true,
            check_age: false,
            tell: Tell::Prefixes,
        };
        let filter = Filter::new(plan, settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.filters.insert(name.to_owned());
        let numbered = |what: &'static str, list: &[Pattern]| -> Vec<(String, Pattern)> {
            let one = |(at, pattern): (usize, &Pattern)| (format!("{what} {}", at + 1), pattern.clone());
            list.iter().enumerate().map(one).collect()
        };
        let mut all = numbered("failregex", filter.failregex());
        all.extend(numbered("ignoreregex", filter.ignoreregex()));
        all.extend(
            filter
                .prefregex()
                .map(|prefregex| ("prefregex".to_owned(), prefregex.clone())),
        );
        for (place, pattern) in all {
            let lines = plan.maxlines > 1 && place.starts_with("failregex");
            let key = (pattern.expanded().to_owned(), lines);
            let quarry = || Quarry {
                filter: name.to_owned(),
                likely: Likely::of(pattern.expanded(), &mut self.classes),
                place,
                pattern,
                several: lines,
                samples: samples.to_vec(),
                kept: Default::default(),
                worst: Default::default(),
                over: Default::default(),
                lines: 0,
            };
            self.quarries.entry(key).or_insert_with(quarry);
        }
    }

    /// The search itself, and what it comes to.
    fn run(mut self, whose: &str, least: u64) {
        let mut dice = Chance(SEED);
        for quarry in self.quarries.values_mut() {
            quarry.begin(&mut dice);
        }
        for round in rounds(least) {
            for quarry in self.quarries.values_mut() {
                // What has no steps to run out of is looked at now and then only.
                match quarry.pattern.is_linear() {
                    true if !round.is_multiple_of(20) => {}
                    true => quarry.go_on(&mut dice, 4),
                    false => quarry.go_on(&mut dice, LINES),
                }
            }
        }
        self.tell(whose);
    }

    fn tell(&self, whose: &str) {
        let lines: u64 = self.quarries.values().map(|quarry| quarry.lines).sum();
        let (linear, counted): (Vec<_>, Vec<_>) = self.quarries.values().partition(|quarry| quarry.pattern.is_linear());
        for (which, most) in [USUAL, LONG].into_iter().enumerate() {
            let over: usize = self.quarries.values().map(|quarry| quarry.over[which].len()).sum();
            println!("worst lines of {whose} up to {most} bytes: {over} over budget");
            for list in [&counted, &linear] {
                let mut worst: BTreeMap<&str, &Quarry> = BTreeMap::new();
                for quarry in list {
                    let most = worst.entry(&quarry.filter).or_insert(quarry);
                    if quarry.steps(which) > most.steps(which) {
                        *most = quarry;
                    }
                }
                let mut worst: Vec<_> = worst.into_values().collect();
                worst.sort_by_key(|quarry| std::cmp::Reverse(quarry.steps(which)));
                let kind = if std::ptr::eq(list, &linear) {
                    "linear"
                } else {
                    "counted"
                };
                worst
                    .iter()
                    .take(5)
                    .for_each(|quarry| println!("    {kind}: {}", quarry.told(which)));
            }
        }
        let worst = self.quarries.values().max_by_key(|quarry| quarry.steps(0));
        println!(
            "worst lines of {whose}: {} filters in their modes, {} patterns, {} of them on the machine, {lines} lines; \
             the worst: {}",
            self.filters.len(),
            self.quarries.len(),
            counted.len(),
            worst.map_or_else(String::new, |quarry| quarry.told(0)),
        );
        let over = self
            .quarries
            .values()
            .filter_map(|quarry| Some((quarry, over(quarry)?)));
        let (known, new): (Vec<_>, Vec<_>) = over.partition(|(quarry, _)| quarry.is_known());
        known
            .iter()
            .for_each(|(_, told)| println!("over budget, as known: {told}"));
        let new: Vec<String> = new.into_iter().map(|(_, told)| told).collect();
        assert!(new.is_empty(), "over budget, seed {SEED:#x}:\n{}", new.join("\n"));
    }
}

/// The shortest usual line that a pattern has too few steps for.
fn over(quarry: &Quarry) -> Option<String> {
    let line = quarry.over[0].iter().min_by_key(|line| line.len())?;
    let steps = quarry.pattern.steps(line, Lane::Slow);
    let Quarry { filter, place, .. } = quarry;
    Some(format!(
        "{filter}, {place}: {steps} steps for {} bytes: {line:?}",
        line.len()
    ))
}

/// Our stock, in the modes that its samples name.
fn ours() -> Hunt {
    let stock: PathBuf = here().join("../../stock/filter.d");
    let mut hunt = Hunt::default();
    let entries = fs::read_dir(&stock).unwrap().flatten();
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (format!("/etc/filter.d/{name}"), fs::read(entry.path()).unwrap())
    });
    let tree = MemoryTree(files.collect());
    for name in ["postfix", "dovecot", "sshd"] {
        let text = fs::read_to_string(here().join(format!("../samples/{name}.log"))).unwrap();
        let variants = text.lines().find_map(|line| line.strip_prefix("# variants ")).unwrap();
        for variant in variants.split(' ') {
            let parameters = match variant.split_once('=') {
                _ if variant == "default" => Vec::new(),
                Some((option, value)) => vec![(option.to_owned(), value.to_owned())],
                None => vec![("mode".to_owned(), variant.to_owned())],
            };
            let read = filter_options(&tree, "/etc", FilterName::Stock(name), &parameters, "auto").unwrap();
            let add: Vec<Value> = vec!["add".into(), "fail2ban-regex-jail".into(), "auto".into()];
            let stream: Vec<_> = std::iter::once(add).chain(read.stream).collect();
            let (plan, refused) = Plan::from_stream(&stream, Face::Fail2Ban);
            assert!(refused.is_empty(), "{refused:?}");
            hunt.add(&format!("{name}[{variant}]"), &plan.jails[0], &written(&text));
        }
    }
    hunt
}

/// The lines that a service wrote, of a file of samples.
fn written(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    match lines.is_empty() {
        true => vec![String::new()],
        false => lines,
    }
}

fn theirs() -> Hunt {
    let mut hunt = Hunt::default();
    for subject in Subject::all() {
        let samples: &Path = &sample_logs().join(&subject.filter);
        let text = match samples.is_file() {
            true => subject::read(samples).join("\n"),
            false => String::new(),
        };
        hunt.add(&subject.to_string(), &subject.plan("warn"), &written(&text));
    }
    hunt
}

#[test]
fn of_our_filters() {
    ours().run("our filters", 40);
}

#[test]
fn of_fail2bans_filters() {
    theirs().run("Fail2Ban's filters", 40);
}
