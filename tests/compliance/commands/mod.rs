//! Fail2Ban's commands: the same answers, in kind and value, and the same exceptions, as its own server gives.

mod deviations;
mod grammar;
mod ours;
mod table;

use std::fs;

use portcullis_core::address::Id;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chance::{Chance, rounds};
use crate::count::Count;
use crate::oracle::{self, Oracle};
use ours::Ours;

/// The fixed clock.
const NOW: i64 = 1_718_445_600;
/// Stands for the folder of the test in a command.
const FOLDER: &str = "FOLDER";

/// What both answer to a session of commands.
struct Both {
    ours: Vec<Value>,
    theirs: Vec<Value>,
}

/// Logs for jails to read.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for log in ["a.log", "b.log"] {
        fs::write(folder.path().join(log), "").unwrap();
    }
    fs::create_dir(folder.path().join("sub")).unwrap();
    let mail = "action.d/smtp.py";
    fs::copy(oracle::configuration().join(mail), folder.path().join("smtp.py")).unwrap();
    folder
}

/// `all_end`: bans end also in jails that do not run (D-112).
fn ask(oracle: &mut Oracle, commands: &[Value], database: Option<&str>, all_end: bool) -> Both {
    let folder = folder();
    let commands = json!(commands)
        .to_string()
        .replace(FOLDER, folder.path().to_str().unwrap());
    let commands: Value = serde_json::from_str(&commands).unwrap();
    let theirs = oracle.ask(&json!({
        "now": NOW, "database": database, "commands": commands, "all_end": all_end,
    }));
    let mut ours = Ours::new(NOW, database);
    let theirs = theirs.as_array().unwrap_or_else(|| panic!("{theirs}")).iter();
    let commands = commands.as_array().unwrap().iter();
    Both {
        ours: commands.clone().map(|command| ours.obey(command)).collect(),
        theirs: theirs.cloned().collect(),
    }
}

/// What both answer to the last of some lines, as they are.
pub(crate) fn last_answers(lines: &[&str]) -> (Value, Value) {
    let commands: Vec<Value> = lines.iter().map(|line| table::command(line)).collect();
    let mut both = ask(&mut Oracle::start("commands"), &commands, None, false);
    (both.ours.pop().unwrap(), both.theirs.pop().unwrap())
}

/// What Fail2Ban leaves to chance is put in order, and what D-110 allows is left out.
fn tidy(command: &Value, mut reply: Value) -> Value {
    let is_list = |word: &Value| word.as_str().is_some_and(|word| word.ends_with("ignoreip"));
    if command.as_array().is_some_and(|words| words.iter().any(is_list))
        && let Some(list) = reply.get_mut("value").and_then(Value::as_array_mut)
    {
        let single = |entry: &Value| matches!(entry.as_str().map(Id::parse), Some(Ok(Id::Ip(_))));
        list.sort_by_key(|entry| {
            if single(entry) {
                entry.to_string()
            } else {
                String::new()
            }
        });
    }
    if reply["error"] == "SyntaxError" {
        return json!({ "error": "SyntaxError" });
    }
    reply
}

fn compare(count: &mut Count, commands: &[Value], both: &Both) {
    for (at, (ours, theirs)) in both.ours.iter().zip(&both.theirs).enumerate() {
        let tidy = |reply: &Value| tidy(&commands[at], reply.clone());
        count.compare(&tidy(ours), &tidy(theirs), || {
            let before = at.saturating_sub(6);
            format!("{} after {}", commands[at], json!(commands[before..at]))
        });
    }
}

#[test]
fn every_command_good_and_bad() {
    let mut count = Count::of("commands of a table");
    let mut oracle = Oracle::start("commands");
    for (database, lines) in table::sessions() {
        let commands: Vec<Value> = lines.iter().map(|line| table::command(line)).collect();
        let both = ask(&mut oracle, &commands, database, false);
        compare(&mut count, &commands, &both);
    }
    count.close(400);
}

#[test]
fn random_commands() {
    let mut count = Count::of("random commands");
    let mut oracle = Oracle::start("commands");
    for seed in rounds(150) {
        let mut chance = Chance(seed);
        let commands = grammar::session(&mut chance, 60);
        let database = chance.percent(50).then_some(":memory:");
        let both = ask(&mut oracle, &commands, database, true);
        compare(&mut count, &commands, &both);
    }
    count.close(9000);
}
