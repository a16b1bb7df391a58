//! The stock's commands in the machine's own shell, with values that would like to be commands. Everything that a command
//! calls is a stand-in that writes down its arguments, and nothing but one folder can be written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_core::action::{Action, Context, Fetched, JailFacts, Merged, Scope, Script, Verb, render};
use portcullis_core::address::Id;
use portcullis_core::ledger::{Data, Field, Ticket};
use portcullis_core::time::{Clock, Seconds, Timestamp};
use serde_json::Value;

use super::life::{configure, contains, stock};
use super::stage::{Stage, calls};
use super::stock::FILTER;
use crate::folder;
use crate::house::PROGRAM;
use crate::oracle;

/// Texts that would make the file `CANARY` if a shell read any of them as program text.
const TRICKS: [&str; 12] = [
    "'; >CANARY; '",
    "\"; >CANARY; \"",
    "$(>CANARY)",
    "`>CANARY`",
    "; >CANARY #",
    "| >CANARY",
    "& >CANARY &",
    "x\n>CANARY\ny",
    "x\r>CANARY",
    "${x:=$(>CANARY)}",
    ")>CANARY;(",
    "\\$(>CANARY) \\' >CANARY \\",
];

const VERBS: [Verb; 10] = [
    Verb::Start,
    Verb::Check,
    Verb::Repair,
    Verb::Ban,
    Verb::Reban,
    Verb::Prolong,
    Verb::Unban,
    Verb::Flush,
    Verb::Reload,
    Verb::Stop,
];

/// A shell whose commands do nothing.
struct Bench {
    stage: Stage,
    stubs: PathBuf,
    canary: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let stage = Stage::plain();
        let recorder = stage.compile_recorder();
        let stubs = stage.path("stubs");
        fs::create_dir(&stubs).unwrap();
        for word in words(&oracle::configuration().join("action.d")) {
            std::os::unix::fs::symlink(&recorder, stubs.join(word)).unwrap();
        }
        stage.make_read_only();
        let canary = stage.path("canary");
        Bench { stage, stubs, canary }
    }

    /// Runs a command as the runner does; what it called, into `record`.
    fn run(&self, command: &portcullis_core::action::Command, record: &Path) {
        let mut shell = self.stage.command("/usr/bin/env");
        shell.arg(format!("PATH={}", self.stubs.display()));
        shell.arg(format!("RECORD={}", record.display()));
        shell.args(["/usr/bin/timeout", "-s", "KILL", "5", "/bin/sh", "-c"]);
        shell.arg(&command.script).args(&command.values);
        shell.current_dir("/").output().unwrap();
    }
}

/// Everything in the stock's actions that could be the name of a program.
fn words(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for name in stock(folder.parent().unwrap()) {
        let text = fs::read_to_string(folder.join(format!("{name}.conf"))).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_.+-".contains(c));
        let names = words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
        all.extend(names.map(str::to_owned));
    }
    all
}

fn ticket(id: Id, text: &str) -> Ticket {
    Ticket {
        id,
        time: Timestamp::from_seconds(1_700_000_000),
        bantime: Seconds::new(600),
        bancount: 1,
        failures: 2,
        matches: vec![text.into(), text.into()],
        data: Data::from_iter([("user", Field::Text(text.into()))]),
        restored: false,
    }
}

/// All commands of an action for one ticket.
fn commands(action: &Action, ticket: &Ticket, text: &str) -> Vec<portcullis_core::action::Command> {
    let merged = Merged {
        failures: 2,
        matches: ticket.matches.clone(),
    };
    let fetched = Fetched {
        ip_host: Some(text.to_owned()),
        everywhere: Some(merged.clone()),
        in_jail: Some(merged),
        full_hostname: "host.example".to_owned(),
        short_hostname: "host".to_owned(),
    };
    let jail = JailFacts {
        name: "j".to_owned(),
        bantime: Seconds::new(600),
        ..JailFacts::default()
    };
    let context = Context {
        clock: Clock::at(ticket.time),
        jail: &jail,
        fetched: &fetched,
    };
    let scope = Scope::of(ticket);
    let values = |verb: Verb, script: &Script| match verb {
        Verb::Check | Verb::Repair => script.values_of_machine(&fetched),
        verb if verb.has_ticket() => script.values(ticket, &context),
        _ => script.values_without_ticket(scope, &context),
    };
    let scripts = VERBS
        .iter()
        .filter_map(|verb| Some((*verb, action.script(*verb, scope)?)));
    scripts
        .map(|(verb, script)| render(script.text(), &values(verb, script)))
        .collect()
}

/// A jail for each stock action, and the actions by their names.
fn actions(folder_of: &Path, filter: &str, more: &str) -> BTreeMap<String, Action> {
    let names = stock(&oracle::configuration());
    assert_eq!(names.len(), 65);
    let jails: String = names
        .iter()
        .map(|name| format!("[j-{name}]\nenabled = true\nfilter = hostile\nlogpath = LOG\naction = {name}\n"))
        .collect();
    let files = [
        ("jail.local", format!("{jails}{more}")),
        ("filter.d/hostile.conf", filter.to_owned()),
        (
            "action.d/eval.conf",
            "[Definition]\nactionban = eval \"echo <matches>\"\n".to_owned(),
        ),
    ];
    configure(folder_of, &files);
    let plan = folder::plan(folder_of.join("etc").to_str().unwrap());
    let compiled = plan.jails.iter().map(|jail| {
        let name = jail.name.strip_prefix("j-").unwrap().to_owned();
        (name, Action::compile(&jail.actions[0], true).unwrap())
    });
    compiled.collect()
}

#[test]
fn no_value_is_ever_read_as_a_program() {
    let bench = Bench::new();
    let eval = "[j-eval]\nenabled = true\nfilter = hostile\nlogpath = LOG\naction = eval\n";
    let mut actions = actions(&bench.stage.path("etc-canary"), FILTER, eval);
    let careless = actions.remove("eval").unwrap();
    let record = bench.stage.path("called");
    let mut ran = 0;
    for (number, action) in actions.values().enumerate() {
        for offset in 0..3 {
            // Each action meets a quarter of the tricks in each kind of ticket, all of them together in one.
            let tricks: Vec<&str> = TRICKS
                .iter()
                .copied()
                .cycle()
                .skip(number + offset * 4)
                .take(4)
                .collect();
            let text = tricks.join(" ").replace("CANARY", bench.canary.to_str().unwrap());
            let id = match offset {
                0 => Id::parse("192.0.2.1").unwrap(),
                1 => Id::parse("2001:db8::1").unwrap(),
                _ => Id::Raw(text.clone()),
            };
            for command in commands(action, &ticket(id, &text), &text) {
                bench.run(&command, &record);
                ran += 1;
                assert!(!bench.canary.exists(), "{command:?}");
            }
        }
    }
    let called = calls(&record).len();
    println!("{ran} commands of 65 stock actions called {called} programs, no canary");
    assert!(ran > 600 && called > 600, "{ran} {called}");
    // And it does sing: an action that has its values evaluated.
    let text = "$(>CANARY)".replace("CANARY", bench.canary.to_str().unwrap());
    for command in commands(&careless, &ticket(Id::parse("192.0.2.1").unwrap(), &text), &text) {
        bench.run(&command, &record);
    }
    assert!(bench.canary.exists());
}

/// The files in which `check` finds a value outside of quotes.
fn named(bench: &Bench, folder: &Path) -> BTreeSet<String> {
    let mut check = bench.stage.command(PROGRAM);
    let output = check
        .args(["check", "--json", "-c"])
        .arg(folder.join("etc"))
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let loose = findings.iter().filter(|finding| finding["code"] == "loose-tag");
    let files = loose.map(|finding| {
        assert!(finding["line"].as_u64().is_some(), "{finding}");
        assert!(finding["mend"].as_str().unwrap().contains("write \"<"), "{finding}");
        Path::new(finding["file"].as_str().unwrap())
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    });
    files.collect()
}

/// A stock action and the files that it includes.
fn closure(name: &str) -> BTreeSet<String> {
    let path = oracle::configuration().join("action.d").join(format!("{name}.conf"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let included = text.lines().filter_map(|line| line.strip_prefix("before = "));
    let mut all: BTreeSet<String> = included
        .flat_map(|file| closure(file.trim().trim_end_matches(".conf")))
        .collect();
    all.insert(name.to_owned());
    all
}

/// Where a shell splits a value, `check` says so.
#[test]
fn check_names_what_a_shell_splits() {
    let bench = Bench::new();
    let (plain, free) = (bench.stage.path("etc-plain"), bench.stage.path("etc-free"));
    actions(
        &plain,
        "[Definition]\nfailregex = ^fail user <F-USER>.*</F-USER> from <ADDR>$\n",
        "",
    );
    let actions = actions(&free, FILTER, "");
    let (of_lines, of_names) = (named(&bench, &plain), named(&bench, &free));
    let mut split = BTreeSet::new();
    for (name, action) in &actions {
        let record = bench.stage.path(&format!("called-{name}"));
        let text = "xaax xbbx";
        for command in commands(action, &ticket(Id::Raw(text.to_owned()), "line"), "host") {
            bench.run(&command, &record);
        }
        let is_torn = |word: &Vec<u8>| contains(word, b"xaax") && !contains(word, text.as_bytes());
        if calls(&record).iter().flatten().any(is_torn) {
            split.insert(name.clone());
        }
    }
    println!("check names {} files for log lines: {of_lines:?}", of_lines.len());
    println!(
        "check names {} files where a filter says who is banned: {of_names:?}",
        of_names.len()
    );
    println!("{} actions really split a name: {split:?}", split.len());
    let missed: Vec<_> = split
        .iter()
        .filter(|name| closure(name).is_disjoint(&of_names))
        .collect();
    assert!(missed.is_empty(), "not named: {missed:?}");
    assert!(split.len() > 20, "{split:?}");
    assert!(of_lines.is_subset(&of_names), "{of_lines:?}");
}
