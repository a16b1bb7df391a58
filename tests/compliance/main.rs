//! The same input to Fail2Ban 1.1 and to portcullis: what both make of it must be equal. A difference is allowed only
//! under an id of `docs/deviations.md`, which the test then names.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where its set-up fails")]

mod actions;
mod beautifier;
mod chance;
mod client;
mod client_cases;
mod commands;
mod count;
mod database;
mod dates;
mod dumps;
mod encodings;
mod expressions;
mod folder;
#[expect(dead_code, reason = "the tests of the daemon use all of it")]
#[path = "../daemon/house.rs"]
mod house;
mod ini;
mod journal;
mod jumbles;
mod mutations;
mod names;
#[path = "../daemon/nameserver.rs"]
mod nameserver;
mod oracle;
mod patterns;
mod readings;
mod regex_tool;
mod rulings;
mod site;
mod smtp;
mod timelines;
mod tour;
mod wire;
mod tools;

use serde_json::json;

#[test]
fn the_oracle_is_the_one_that_is_meant() {
    let version = oracle::Oracle::start("version").ask(&json!({}));
    let fail2ban = version["fail2ban"].as_str().unwrap();
    assert!(["1.1.0", "1.1.1"].contains(&fail2ban), "Fail2Ban {fail2ban}");
    assert_eq!(
        version["python"],
        json!([3, 11]),
        "the tables of our patterns are CPython 3.11's"
    );
    assert_eq!(version["unicode"], "14.0.0");
}
