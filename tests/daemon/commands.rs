//! Fail2Ban's commands on a running daemon: what they change is in force, and nothing of it is lost.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::client::Client;
use crate::house::{House, append, eventually, failure, is_gone, stamp};

/// A server that waits for its configuration.
fn server() -> House {
    let mut house = House::empty();
    house.options = ["--stream", "--given", "loglevel=INFO"].map(str::to_owned).into();
    let log = house.path("fail2ban.log").display().to_string();
    house.options.extend(["--given".into(), format!("logtarget={log}")]);
    let pid = house.path("run/server.pid").display().to_string();
    house.options.extend(["--given".into(), format!("pidfile={pid}")]);
    for log in ["log", "other"] {
        append(&house.path(log), b"");
    }
    house.start();
    house
}

/// What a client sends for one jail that reads `log`.
fn jail(house: &House, name: &str, log: &str, maxretry: u32) -> Vec<Value> {
    let acts = house.path("acts").display().to_string();
    let action = json!([
        ["actionstart", format!("echo 'start {name}' >> {acts}")],
        ["actionstop", format!("echo 'stop {name}' >> {acts}")],
        ["actionban", format!("echo 'ban {name} <ip>' >> {acts}")],
        ["actionunban", format!("echo 'unban {name} <ip>' >> {acts}")],
    ]);
    vec![
        json!(["add", name, "auto"]),
        json!(["set", name, "maxretry", maxretry]),
        json!(["set", name, "findtime", "2h"]),
        json!(["set", name, "bantime", 600]),
        json!(["set", name, "ignoreself", false]),
        json!(["set", name, "addfailregex", "^\\s*fail from <HOST>"]),
        json!(["set", name, "addlogpath", house.path(log), "head"]),
        json!(["set", name, "addaction", "note"]),
        json!(["multi-set", name, "action", "note", action]),
        json!(["start", name]),
    ]
}

fn stream(house: &House, jails: &[Vec<Value>]) -> Value {
    let database = house.path("state/fail2ban.sqlite3");
    let server = vec![json!(["set", "dbfile", database]), json!(["set", "dbpurgeage", "1d"])];
    let commands: Vec<Value> = server.into_iter().chain(jails.iter().flatten().cloned()).collect();
    json!(commands)
}

fn banned(client: &mut Client, jail: &str) -> Value {
    client.tell(&json!(["get", jail, "banned"]))
}

#[test]
fn a_server_is_configured_by_a_stream() {
    let mut house = server();
    let mut client = Client::new(&house);
    assert_eq!(
        client.tell(&json!(["status"])),
        json!([["Number of jail", 0], ["Jail list", ""]])
    );
    assert_eq!(house.said("NOT PROTECTED"), Vec::<String>::new());
    assert_eq!(
        house.read("run/server.pid"),
        format!("{}\n", house.runner().as_raw_nonzero())
    );
    assert!(house.said("Starting Fail2ban v").len() == 1);
    let one = stream(&house, &[jail(&house, "one", "log", 2)]);
    client.tell(&json!(["server-stream", one]));
    assert_eq!(client.tell(&json!(["server-status"])), json!("Server ready"));
    house.until_said("Jail 'one' started");
    for _ in 0..2 {
        append(&house.path("log"), failure("203.0.113.1").as_bytes());
    }
    house.until_acted("ban one 203.0.113.1");
    assert_eq!(banned(&mut client, "one"), json!(["203.0.113.1"]));
    assert!(
        house.json(&["status"])["source"]
            .as_str()
            .unwrap()
            .starts_with("stream of a client (since ")
    );
    // It is all there again after `kill -9` of the daemon, and nobody asked a client.
    let before = house.daemon();
    kill_process(before, Signal::KILL).unwrap();
    eventually("the daemon is gone", || is_gone(before));
    eventually("another daemon answers", || {
        house.ask(&["status"]).status.code() != Some(3)
    });
    assert_eq!(banned(&mut client, "one"), json!(["203.0.113.1"]));
    append(&house.path("log"), failure("203.0.113.2").as_bytes());
    append(&house.path("log"), failure("203.0.113.2").as_bytes());
    house.until_acted("ban one 203.0.113.2");
    assert_eq!(client.tell(&json!(["stop"])), json!(null));
    assert_eq!(house.wait(), Some(0));
    house.until_acted("stop one");
    assert!(!house.path("run/server.pid").exists());
    assert!(!house.said("Exiting Fail2ban").is_empty());
}
