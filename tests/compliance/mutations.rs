//! Fail2Ban's stock with faults put in: whatever a slip of the pen makes of it, both programs make the same of that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::chance::{Chance, patience};
use super::count::Count;
use super::dumps::{compare_dump, enable, jails, stock};
use super::folder::{Dump, Folder};
use super::oracle::Oracle;

/// What people write into such files, in the right place or in a wrong one.
const TOKENS: &[&str] = &[
    "%",
    "%%",
    "%(",
    ")s",
    "%(__name__)s",
    "%(known/failregex)s",
    "%(default/bantime)s",
    "%(port)s",
    "%(nothing)s",
    "%(sshd/port)s",
    "%(KNOWN/failregex)s",
    "<",
    ">",
    "<HOST>",
    "<name>",
    "<known/chain>",
    "<mode>",
    "<port>",
    "<Definition/failregex>",
    "[",
    "]",
    "[mode=x]",
    "[mode=\"x\"]",
    "?family=inet6",
    "\"",
    "'",
    ",",
    "=",
    ":",
    ";",
    " ;",
    "#",
    " # ",
    "\t",
    " ",
    "\\",
    "é",
    "\u{a0}",
    "\u{2028}",
    "\r",
    "$",
    "{",
    "}",
    "/",
    "|",
    "true",
    "0",
];

/// Lines to put somewhere.
const LINES: &[&str] = &[
    "",
    " ",
    "# words",
    "; words",
    "    # words",
    "[DEFAULT]",
    "[Definition]",
    "[Init]",
    "[Init?family=inet6]",
    "[INCLUDES]",
    "[sshd]",
    "[",
    "[]",
    "[a]b",
    "before = none.conf",
    "after = common.conf",
    "enabled = true",
    "filter =",
    "action = %(action_)s",
    "action = nftables[type=x]",
    "port = %(port)s",
    "mode = <mode>",
    "failregex = ^x <HOST>",
    "            ^y <HOST>$",
    "words",
    " words",
    "x",
    "maxretry = three",
    "maxlines = 2",
    "logtype = journal",
    "backend = systemd",
    "journalmatch = A=b 'c d' + _E=f",
    "journalmatch = 'open",
    "= x",
    "__name__ = x",
    "known/failregex = x",
    "actionban = <actionban>",
    "usedns = no",
    "logpath = /nowhere\n /nor here",
    "\u{feff}",
    "skip_if_nologs = yes",
    "name = other",
    "blocktype = <rejecttype>",
    "ignoreip = 192.0.2.1, ,198.51.100.2",
];

/// One change of a text.
fn change(text: &str, dice: &mut Chance) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    // Comments are most of the stock, and changing them changes little.
    let live: Vec<usize> = (0..lines.len())
        .filter(|&at| !lines[at].trim().is_empty() && !lines[at].starts_with('#') || dice.one_in(40))
        .collect();
    if live.is_empty() {
        return format!("{text}\n{}", dice.pick(LINES));
    }
    let at = *dice.pick(&live);
    let other = *dice.pick(&live);
    match dice.below(14) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines.swap(at, other),
        3 => {
            let line = lines.remove(at);
            lines.insert(other.min(lines.len()), line);
        }
        4 => lines[at] = format!("{}{}", dice.pick(&[" ", "\t", "    ", "        "]), lines[at]),
        5 => lines[at] = lines[at].trim_start().to_owned(),
        6 | 7 => lines.insert(at, (*dice.pick(LINES)).to_owned()),
        8 => {
            let next = if at + 1 < lines.len() {
                lines.remove(at + 1)
            } else {
                String::new()
            };
            lines[at].push_str(&next);
        }
        9 => lines[at] = spliced(&lines[at], dice, 0, "\n"),
        10 => {
            let cut = dice.below(4);
            lines[at] = spliced(&lines[at], dice, cut, "");
        }
        11 => lines[at] = at_a_sign(&lines[at], dice),
        _ => {
            let token = dice.pick(TOKENS);
            lines[at] = spliced(&lines[at], dice, 0, token);
        }
    }
    lines.join("\n")
}

/// Cuts so many characters out somewhere and puts a text in their place.
fn spliced(line: &str, dice: &mut Chance, cut: usize, text: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let at = dice.below(chars.len() + 1);
    let tail = chars.iter().skip(at + cut);
    chars
        .iter()
        .take(at)
        .copied()
        .chain(text.chars())
        .chain(tail.copied())
        .collect()
}

/// Takes a sign of the grammar away, doubles it or makes it another.
fn at_a_sign(line: &str, dice: &mut Chance) -> String {
    const SIGNS: &str = "%()<>[]\"'=,?:;/_";
    let chars: Vec<char> = line.chars().collect();
    let signs: Vec<usize> = (0..chars.len()).filter(|&at| SIGNS.contains(chars[at])).collect();
    if signs.is_empty() {
        return line.to_owned();
    }
    let at = *dice.pick(&signs);
    let new = match dice.below(3) {
        0 => String::new(),
        1 => format!("{0}{0}", chars[at]),
        _ => (*dice.pick(TOKENS)).to_owned(),
    };
    let tail = chars.iter().skip(at + 1);
    chars
        .iter()
        .take(at)
        .copied()
        .chain(new.chars())
        .chain(tail.copied())
        .collect()
}

/// jail.conf with two of its jails only.
fn reduced(text: &str, keep: &[&str]) -> String {
    let mut out = String::new();
    let mut kept = true;
    for line in text.split_inclusive('\n') {
        if let Some(name) = line
            .trim_end()
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            kept = ["INCLUDES", "DEFAULT"].contains(&name) || keep.contains(&name);
        }
        if kept {
            out.push_str(line);
        }
    }
    out
}

/// So many changes of the stock, from one seed.
fn many(name: &'static str, seed: u64, changes: u64) {
    let mut oracle = Oracle::start("configuration");
    let folder = stock(&mut oracle);
    let whole = folder.read("jail.conf");
    let names = jails(&folder);
    let mut dice = Chance(seed);
    let mut count = Count::of(name);
    let mut files = Vec::new();
    kinds(name, changes, || {
        if files.is_empty() || dice.one_in(20) {
            let pair = [dice.pick(&names).as_str(), dice.pick(&names).as_str()];
            folder.write("jail.conf", reduced(&whole, &pair));
            enable(&folder, BTreeSet::from(pair));
            files = folder.files_read().into_iter().collect();
        }
        one(&folder, &files, &mut oracle, (&mut dice, &mut count))
    });
    count.close(changes);
}

/// Runs so many cases, or as long as COMPLIANCE_MINUTES says, and prints what they come to.
pub(crate) fn kinds(name: &str, at_least: u64, mut case: impl FnMut() -> Dump) {
    let end = Instant::now() + patience();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut made = 0;
    while made < at_least || Instant::now() < end {
        made += 1;
        *kinds.entry(case().kind()).or_default() += 1;
    }
    println!("{name}: {kinds:?}");
    for kind in ["dump", "a bad jail", "refused"] {
        assert!(kinds.contains_key(kind), "{name}: none is {kind}");
    }
}

fn one(folder: &Folder, files: &[String], oracle: &mut Oracle, tools: (&mut Chance, &mut Count)) -> Dump {
    let (dice, count) = tools;
    let file = dice.pick(files);
    let before = folder.read(file);
    let mut text = before.clone();
    for _ in 0..=dice.below(3) {
        text = change(&text, dice);
    }
    folder.write(file, &text);
    let told = || format!("{file}\n{}", difference(&before, &text));
    let (dump, _) = compare_dump(folder, oracle, count, told);
    folder.write(file, before);
    dump
}

/// The lines that only one of two texts has.
fn difference(before: &str, after: &str) -> String {
    let only = |one: &str, other: &str, sign: &str| -> String {
        let known: BTreeSet<&str> = other.split('\n').collect();
        let lines = one.split('\n').filter(|line| !known.contains(line));
        lines.map(|line| format!("    {sign} {line:?}\n")).collect()
    };
    only(before, after, "before") + &only(after, before, "after")
}

#[test]
fn the_stock_with_faults() {
    many("faults in the stock, first half", 1, 1000);
}

#[test]
fn the_stock_with_other_faults() {
    many("faults in the stock, second half", 2, 1000);
}
