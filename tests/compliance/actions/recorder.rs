//! Stands in for `/bin/sh`: writes down what it was called with and does nothing.
//!
//! Into the file that `RECORD` names goes a line for each call: its arguments in hexadecimal, with blanks between. The
//! exit code is 0; with a number in `FAILS`, every fourth call or so ends with 1, the same ones for the same number.

#![forbid(unsafe_code)]

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::process::exit;

fn main() {
    let Some(record) = env::var_os("RECORD") else { exit(126) };
    let calls = fs::read(&record).unwrap_or_default();
    let number = calls.iter().filter(|byte| **byte == b'\n').count() as u64;
    let words = env::args_os().skip(1).map(|word| hexadecimal(&word.into_vec()));
    let line = words.collect::<Vec<_>>().join(" ") + "\n";
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&record)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    let seed = env::var("FAILS").ok().and_then(|text| text.parse::<u64>().ok());
    let fails = seed.is_some_and(|seed| mixed(seed.wrapping_mul(1 << 20).wrapping_add(number)) % 4 == 0);
    exit(if written.is_err() { 125 } else { i32::from(fails) })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let bits = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
