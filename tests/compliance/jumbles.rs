//! Configurations thrown together: a few names that ask for each other in all the ways there are, across a jail, a
//! filter and an action of several files each.

use std::fmt::Write as _;

use super::chance::Chance;
use super::count::Count;
use super::dumps::compare_dump;
use super::folder::Folder;
use super::mutations::kinds;
use super::oracle::Oracle;

/// The names. Some are options that are sent, most are not.
const NAMES: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "x_1",
    "failregex",
    "bantime",
    "maxlines",
    "mode",
    "actionban",
    "name",
];

/// Sections that a value may ask.
const SECTIONS: &[&str] = &[
    "known",
    "default",
    "other",
    "Definition",
    "Init",
    "KNOWN",
    "DEFAULT",
    "door",
    "known/door",
];

/// One piece of a value. Mostly it asks for one of the names from a place on, so that few ask in a circle.
fn piece(dice: &mut Chance, from: usize) -> String {
    let from = if dice.one_in(30) { 0 } else { from };
    let name = *dice.pick(NAMES.get(from..).filter(|names| !names.is_empty()).unwrap_or(&["z"]));
    let section = *dice.pick(SECTIONS);
    match dice.below(30) {
        0..=2 => format!("%({name})s"),
        3 => format!("%(known/{name})s"),
        4 => format!("%(default/{name})s"),
        5 if dice.one_in(8) => format!("%({section}/{name})s"),
        6..=8 => format!("<{name}>"),
        9 => format!("<known/{name}>"),
        10 | 11 => format!("<{section}/{name}>"),
        12 => format!("<x_<{name}>>"),
        13 => format!(
            "<{}>",
            dice.pick(&[
                "ip", "HOST", "bantime", "matches", "family", "actname", "logpath", "NAME"
            ])
        ),
        14 => "%%".to_owned(),
        15 if dice.one_in(6) => (*dice.pick(&[
            "%(__name__)s",
            "%(fail2ban_version)s",
            "%(A)s",
            "<>",
            "< a>",
            "<<a>",
            "%(nothing)s",
        ]))
        .to_owned(),
        16 => (*dice.pick(&["\n  ", " ", "é", "'", "\"", ",", "]", "1", "-1"])).to_owned(),
        _ => (*dice.pick(&["1", "u", "v w", "2", "^z", "k", ""])).to_owned(),
    }
}

fn value(dice: &mut Chance, from: usize) -> String {
    (0..dice.below(4)).map(|_| piece(dice, from)).collect()
}

/// A section with some of the names, each once; in the defaults all of them.
fn section(header: &str, dice: &mut Chance) -> String {
    let mut text = format!("[{header}]\n");
    let all = header == "DEFAULT";
    for (at, name) in NAMES.iter().enumerate() {
        if all || dice.one_in(3) {
            let condition = if dice.one_in(25) && !all { "?family=inet6" } else { "" };
            writeln!(text, "{name}{condition} = {}", value(dice, at + 1)).unwrap();
        }
    }
    if all { text + "z = last\n" } else { text }
}

/// `name[option=value,…]`
fn entry(name: &str, dice: &mut Chance) -> String {
    let mut text = name.to_owned();
    for _ in 0..dice.below(6_u32).saturating_sub(3) {
        let quote = *dice.pick(&["", "\"", "'"]);
        let option = *dice.pick(&[
            "a",
            "b",
            "c",
            "mode",
            "name",
            "actname",
            "a?family=inet6",
            "bantime",
            "logtype",
            "failregex",
        ]);
        write!(text, "[{option}={quote}{}{quote}]", value(dice, 0)).unwrap();
    }
    text
}

/// The sections of a filter or an action; some are left out.
fn definition(dice: &mut Chance) -> String {
    let mut text = String::new();
    for header in ["DEFAULT", "Definition", "other", "Init", "Init?family=inet6"] {
        if !dice.one_in(3) || ["DEFAULT", "Definition"].contains(&header) {
            text.push_str(&section(header, dice));
        }
    }
    text
}

fn throw_together(folder: &Folder, dice: &mut Chance) -> String {
    let mut all = String::new();
    let mut write = |name: &str, text: String| {
        writeln!(all, "--- {name}\n{text}").unwrap();
        folder.write(name, text);
    };
    let mut jail = section("DEFAULT", dice);
    for name in ["door", "other"] {
        let (filter, action) = (entry("part", dice), entry("part", dice));
        let second = entry("part", dice);
        let logs = *dice.pick(&["", "logpath = <a>\n", "backend = systemd\n", "logpath = %(a)s\n"]);
        let own = section(name, dice);
        write!(
            jail,
            "{own}enabled = true\nfilter = {filter}\naction = {action}\n  {second}\n{logs}"
        )
        .unwrap();
    }
    write("jail.conf", jail);
    write(
        "jail.local",
        if dice.one_in(2) {
            section("door", dice)
        } else {
            String::new()
        },
    );
    for kind in ["filter", "action"] {
        write(&format!("{kind}.d/part.conf"), definition(dice));
        write(
            &format!("{kind}.d/part.local"),
            if dice.one_in(2) {
                definition(dice)
            } else {
                String::new()
            },
        );
    }
    all
}

#[test]
fn names_that_ask_for_each_other() {
    let mut oracle = Oracle::start("configuration");
    let folder = Folder::new(&mut oracle);
    folder.write("fail2ban.conf", "[Definition]\n");
    let mut count = Count::of("configurations thrown together");
    let mut dice = Chance(4);
    kinds("thrown together", 1500, || {
        let all = throw_together(&folder, &mut dice);
        compare_dump(&folder, &mut oracle, &mut count, || all).0
    });
    count.close(1500);
}
