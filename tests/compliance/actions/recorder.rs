//! Stands in for `/bin/sh`: writes down what it was called with and does nothing.
//!
//! Into the file that `RECORD` names goes a line for each call: its arguments in hexadecimal, with blanks between. Called
//! under another name than `sh`, it writes down that name, its arguments, and what it is given to read. The
//! exit code is 0; with a number in `FAILS`, some calls end with 1: the same ones for the same number, whatever was called
//! between them. The tests' own commands, whose last line begins with `first ` or `last `, never fail. Other texts in
//! `FAILS`, with `|` between, are commands that fail the first time; with `#1` behind, the second time.

#![forbid(unsafe_code)]

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::exit;

fn main() {
    let Some(record) = env::var_os("RECORD") else { exit(126) };
    let calls = fs::read_to_string(&record).unwrap_or_default();
    let mut words: Vec<Vec<u8>> = env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    let name = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().unwrap_or_default();
    if name != "sh" {
        let mut read = Vec::new();
        if io::stdin().read_to_end(&mut read).is_err() {
            exit(124);
        }
        words.insert(0, name.to_owned().into_vec());
        words.push(read);
    }
    let line = words.iter().map(|word| hexadecimal(word)).collect::<Vec<_>>().join(" ");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&record)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if written.is_err() {
        exit(125);
    }
    let fails = env::var("FAILS").unwrap_or_default();
    let seed = fails.parse::<u64>().ok();
    let script = words.get(1).map_or(&[][..], Vec::as_slice);
    let last = script.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_own = last.starts_with(b"first ") || last.starts_with(b"last ");
    let times = calls.lines().filter(|call| *call == line).count() as u64;
    let fails_once = fails.split('|').any(|listed| {
        let (command, at) = listed.rsplit_once('#').unwrap_or((listed, "0"));
        command.as_bytes() == script && at.parse() == Ok(times)
    });
    let fails = fails_once || seed.is_some_and(|seed| mixed(&[&seed.to_le_bytes(), script, &times.to_le_bytes()]) % 3 == 0);
    exit(i32::from(fails && !is_own))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a, mixed once more.
fn mixed(parts: &[&[u8]]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = parts.iter().copied().flatten().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ (hash >> 29)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}
