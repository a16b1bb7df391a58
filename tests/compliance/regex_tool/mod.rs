//! `fail2ban-regex` by the same command lines: what both print, and how both end (contract §9).

mod differences;
mod run;

use std::fs;

use crate::count::Count;
use crate::oracle;
use run::{Stage, words};

/// Command lines of a table, and every stock filter with its sample lines in turn through a few options.
fn table() -> Vec<Vec<String>> {
    let lines = include_str!("commands.txt").lines();
    lines.filter(|line| !line.starts_with('#')).map(words).collect()
}

/// Compares command lines, each by two processes under a clock that stands still.
fn compare(name: &'static str, commands: &[Vec<String>], at_least: u64) {
    let stage = Stage::new();
    let mut count = Count::of(name);
    for command in commands {
        let (mut ours, mut theirs) = (stage.ours(command), stage.theirs(command));
        differences::take_out(command, &mut ours, &mut theirs);
        count.compare(&ours, &theirs, || command.join(" "));
    }
    count.close(at_least);
}

#[test]
fn command_lines_of_the_first_half() {
    let table = table();
    compare(
        "command lines of fail2ban-regex, first half",
        &table[..table.len() / 2],
        100,
    );
}

#[test]
fn command_lines_of_the_second_half() {
    let table = table();
    compare(
        "command lines of fail2ban-regex, second half",
        &table[table.len() / 2..],
        100,
    );
}

const OPTIONS: &[&[&str]] = &[
    &[],
    &["-v"],
    &["-o", "row"],
    &["-o", "msg"],
    &["-o", "id"],
    &["-v", "--VD"],
    &["--print-all-matched"],
];

#[test]
fn sample_logs_of_all_filters() {
    let mut commands = Vec::new();
    let mut logs: Vec<_> = fs::read_dir(oracle::sample_logs())
        .unwrap()
        .map(|log| log.unwrap().path())
        .collect();
    logs.sort();
    for (number, log) in logs.iter().filter(|log| log.is_file()).enumerate() {
        let name = log.file_name().unwrap().to_str().unwrap();
        if !oracle::configuration().join(format!("filter.d/{name}.conf")).is_file() {
            continue;
        }
        let mut command = vec![format!("{{logs}}/{name}"), format!("{name}.conf")];
        command.extend(OPTIONS[number % OPTIONS.len()].iter().map(|&option| option.to_owned()));
        commands.push(command);
    }
    compare("stock filters through fail2ban-regex", &commands, 80);
}
