//! Fail2Ban's commands on a running daemon: what they change is in force, and nothing of it is lost.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
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
    house.words = ["--stream", "--given", "loglevel=INFO"].map(str::to_owned).into();
    let log = house.path("fail2ban.log").display().to_string();
    house.words.extend(["--given".into(), format!("logtarget={log}")]);
    let pid = house.path("run/server.pid").display().to_string();
    house.words.extend(["--given".into(), format!("pidfile={pid}")]);
    for log in ["log", "other"] {
        append(&house.path(log), b"");
    }
    house.start_without_waiting();
    // It says that it is ready once it has a configuration.
    eventually("the server answers", || {
        UnixStream::connect(house.path("socket")).is_ok()
    });
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

/// A house with a configured server, and its client.
fn configured(jails: &[(&str, &str, u32)]) -> (House, Client) {
    let house = server();
    let mut client = Client::new(&house);
    let jails: Vec<_> = jails
        .iter()
        .map(|(name, log, maxretry)| jail(&house, name, log, *maxretry))
        .collect();
    client.tell(&json!(["server-stream", stream(&house, &jails)]));
    (house, client)
}

/// Writes failures until it is told to stop; how many there were of each address.
fn writer(house: &House, log: &str, who: &'static str) -> (Arc<AtomicBool>, std::thread::JoinHandle<u64>) {
    let (path, ends) = (house.path(log), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&ends);
    let thread = std::thread::spawn(move || {
        let mut count = 0;
        while !told.load(Ordering::Relaxed) {
            append(&path, failure(who).as_bytes());
            count += 1;
            sleep(Duration::from_millis(1));
        }
        count
    });
    (ends, thread)
}

#[test]
fn no_line_is_lost_or_doubled_while_jails_are_changed() {
    let (house, mut client) = configured(&[("one", "log", 1_000_000), ("two", "log", 1_000_000)]);
    let (log_ends, log) = writer(&house, "log", "203.0.113.1");
    let (other_ends, other) = writer(&house, "other", "203.0.113.2");
    let path = house.path("other");
    client.tell(&json!(["set", "one", "addlogpath", path, "head"]));
    for round in 0..15 {
        client.tell(&json!([
            "set",
            "one",
            "addfailregex",
            format!("^never {round} <HOST>$")
        ]));
        client.tell(&json!(["set", "one", "dellogpath", path]));
        client.tell(&json!([
            "set",
            "one",
            "usedns",
            if round % 2 == 0 { "no" } else { "warn" }
        ]));
        client.tell(&json!(["set", "one", "addlogpath", path]));
        client.tell(&json!(["set", "one", "delfailregex", 1]));
        client.tell(&json!(["set", "one", "maxretry", 1_000_000 + round]));
        if round == 7 {
            client.tell(&json!(["set", "two", "idle", "on"]));
        }
    }
    client.tell(&json!(["set", "two", "idle", "off"]));
    for ends in [log_ends, other_ends] {
        ends.store(true, Ordering::Relaxed);
    }
    let (log, other) = (log.join().unwrap(), other.join().unwrap());
    let address = |text: &str| text.to_owned();
    let one = BTreeMap::from([(address("203.0.113.1"), log), (address("203.0.113.2"), other)]);
    house.counts_become("one", &one);
    house.counts_become("two", &BTreeMap::from([(address("203.0.113.1"), log)]));
    let total = client.tell(&json!(["status", "one"]))[0][1][1][1].clone();
    assert_eq!(total, json!(log + other), "each was counted once");
}

#[test]
fn a_change_counts_from_the_answer_on() {
    let (house, mut client) = configured(&[("one", "log", 1_000_000)]);
    let odd = |who: &str| append(&house.path("log"), format!("{} odd from {who}\n", stamp(0)).as_bytes());
    let expect = |pairs: &[(&str, u64)]| pairs.iter().map(|(who, count)| ((*who).to_owned(), *count)).collect();
    append(&house.path("log"), failure("203.0.113.1").as_bytes());
    house.counts_become("one", &expect(&[("203.0.113.1", 1)]));
    client.tell(&json!(["set", "one", "addfailregex", "odd from <HOST>$"]));
    odd("203.0.113.2");
    house.counts_become("one", &expect(&[("203.0.113.1", 1), ("203.0.113.2", 1)]));
    client.tell(&json!(["set", "one", "delfailregex", 1]));
    odd("203.0.113.3");
    append(&house.path("log"), failure("203.0.113.1").as_bytes());
    house.counts_become("one", &expect(&[("203.0.113.1", 2), ("203.0.113.2", 1)]));
    // One more failure is a ban now.
    client.tell(&json!(["set", "one", "maxretry", 3]));
    append(&house.path("log"), failure("203.0.113.1").as_bytes());
    house.until_acted("ban one 203.0.113.1");
    assert_eq!(house.acts().iter().filter(|act| *act == "start one").count(), 1);
}

#[test]
fn a_reload_changes_what_is_other_and_nothing_else() {
    let (house, mut client) = configured(&[("one", "log", 2), ("two", "other", 1)]);
    append(&house.path("other"), failure("203.0.113.1").as_bytes());
    append(&house.path("log"), failure("203.0.113.2").as_bytes());
    house.until_acted("ban two 203.0.113.1");
    house.counts_become("one", &BTreeMap::from([("203.0.113.2".to_owned(), 1)]));
    append(&house.path("third"), b"");
    let jails = [jail(&house, "one", "log", 2), jail(&house, "three", "third", 1)];
    let reload = json!(["reload", "--all", [], stream(&house, &jails)]);
    assert_eq!(client.tell(&reload), json!("OK"));
    assert_eq!(client.tell(&json!(["status"]))[1][1], json!("one, three"));
    house.until_acted("unban two 203.0.113.1");
    house.until_acted("stop two");
    // The counter of before stands.
    append(&house.path("log"), failure("203.0.113.2").as_bytes());
    house.until_acted("ban one 203.0.113.2");
    append(&house.path("third"), failure("203.0.113.3").as_bytes());
    house.until_acted("ban three 203.0.113.3");
    assert_eq!(house.acts().iter().filter(|act| *act == "start one").count(), 1);
    for line in [
        "Reload jail 'one'",
        "Jail 'one' reloaded",
        "Creating new jail 'three'",
        "Reload finished.",
    ] {
        assert_eq!(house.said(line).len(), 1, "{line}");
    }
    // A jail that comes back has its bans again: its rows were kept.
    let jails = [jail(&house, "one", "log", 2), jail(&house, "two", "other", 1)];
    client.tell(&json!(["reload", "--all", [], stream(&house, &jails)]));
    house.until_said("[two] Restore Ban 203.0.113.1");
    assert_eq!(banned(&mut client, "one"), json!(["203.0.113.2"]));
    // A stream that fails names its error, and the jails that it did not come to are as they were.
    let broken = json!([
        "reload",
        "--all",
        [],
        [["add", "one", "auto"], ["set", "one", "addfailregex", "(<HOST>"]]
    ]);
    assert!(client.ask(&broken).is_err());
    assert_eq!(client.tell(&json!(["status"]))[1][1], json!("one, two"));
    append(&house.path("other"), failure("203.0.113.4").as_bytes());
    house.until_acted("ban two 203.0.113.4");
}

#[test]
fn jails_are_added_started_and_stopped_one_by_one() {
    let (house, mut client) = configured(&[]);
    let commands = jail(&house, "one", "log", 1);
    let (start, before) = commands.split_last().unwrap();
    for command in before {
        client.tell(command);
    }
    append(&house.path("log"), failure("203.0.113.1").as_bytes());
    // It is there and reads nothing; a ban by hand is done, without the start of the action.
    assert_eq!(client.tell(&json!(["set", "one", "banip", "203.0.113.2"])), json!(1));
    house.until_acted("ban one 203.0.113.2");
    assert_eq!(banned(&mut client, "one"), json!(["203.0.113.2"]));
    assert_eq!(house.acts(), ["ban one 203.0.113.2"]);
    client.tell(start);
    house.until_acted("ban one 203.0.113.1");
    assert_eq!(house.acts()[1], "start one");
    client.tell(&json!(["stop", "one"]));
    house.until_acted("stop one");
    assert_eq!(house.said("[one] Repeal Ban").len(), 2);
    assert!(client.ask(&json!(["status", "one"])).is_err());
    commands.iter().for_each(|command| drop(client.tell(command)));
    house.until_said("[one] Restore Ban 203.0.113.1");
    house.until_said("[one] Restore Ban 203.0.113.2");
    let bans = |acts: &[String]| acts.iter().filter(|act| act.starts_with("ban one")).count();
    eventually("both are banned again", || bans(&house.acts()) == 4);
    // A method of an action, and an action that comes later.
    client.tell(&json!([
        "set",
        "one",
        "action",
        "note",
        "ban",
        r#"{"aInfo":{"ip":"198.51.100.1"}}"#
    ]));
    house.until_acted("ban one 198.51.100.1");
    let acts = house.path("acts").display().to_string();
    client.tell(&json!(["set", "one", "addaction", "late"]));
    client.tell(&json!([
        "set",
        "one",
        "action",
        "late",
        "actionstart",
        format!("echo 'start late' >> {acts}")
    ]));
    client.tell(&json!([
        "set",
        "one",
        "action",
        "late",
        "actionban",
        format!("echo 'late <ip>' >> {acts}")
    ]));
    append(&house.path("log"), failure("203.0.113.3").as_bytes());
    house.until_acted("late 203.0.113.3");
    assert!(house.acts().contains(&"start late".to_owned()));
    assert!(!house.acts().contains(&"late 203.0.113.1".to_owned()));
}

#[test]
fn a_long_list_is_banned_in_parts_and_answered_once() {
    let (house, mut client) = configured(&[]);
    client.tell(&json!(["add", "many", "auto"]));
    let ban = |jail: &str, first: u32| {
        let addresses = (first..first + 5_000).map(|number| Ipv4Addr::from(0x0A80_0000 + number).to_string());
        let words = ["set", jail, "banip"].into_iter().map(str::to_owned);
        json!(words.chain(addresses).collect::<Vec<String>>())
    };
    assert_eq!(client.tell(&ban("many", 0)), json!(5_000));
    // Those who are banned already are not counted, in whichever part they are.
    assert_eq!(client.tell(&ban("many", 3_000)), json!(3_000));
    assert_eq!(banned(&mut client, "many").as_array().unwrap().len(), 8_000);
    assert_eq!(house.said("[many] Ban 10.128.").len(), 8_000);
    assert!(client.ask(&ban("none", 0)).is_err());
}

#[test]
fn an_idle_jail_goes_on_where_it_was() {
    let (house, mut client) = configured(&[("one", "log", 1)]);
    assert_eq!(client.tell(&json!(["set", "one", "idle", "on"])), json!(true));
    append(&house.path("log"), failure("203.0.113.1").as_bytes());
    sleep(Duration::from_millis(700));
    assert_eq!(banned(&mut client, "one"), json!([]));
    assert_eq!(client.tell(&json!(["set", "one", "idle", "off"])), json!(false));
    house.until_acted("ban one 203.0.113.1");
}

#[test]
fn server_options_are_in_force_at_once() {
    let (house, mut client) = configured(&[("one", "log", 1)]);
    let log = house.path("fail2ban.log");
    let refused = client
        .ask(&json!(["set", "logtarget", "/nowhere/at/all.log"]))
        .unwrap_err();
    assert_eq!(refused, json!(["Exception", "Failed to change log target"]));
    assert_eq!(client.tell(&json!(["get", "logtarget"])), json!(log));
    fs::rename(&log, house.path("old.log")).unwrap();
    assert_eq!(client.tell(&json!(["flushlogs"])), json!("rolled over"));
    client.tell(&json!(["set", "one", "maxretry", 4]));
    assert!(house.read("fail2ban.log").contains("maxRetry: 4"));
    client.tell(&json!(["set", "loglevel", "ERROR"]));
    client.tell(&json!(["set", "one", "maxretry", 5]));
    assert!(!house.read("fail2ban.log").contains("maxRetry: 5"));
    let new = house.path("new.log");
    client.tell(&json!(["set", "loglevel", "INFO"]));
    client.tell(&json!(["set", "logtarget", new]));
    client.tell(&json!(["set", "one", "maxretry", 6]));
    assert!(house.read("new.log").contains("maxRetry: 6"));
    // Sleeping holds up nobody.
    client.send(&json!(["sleep", 2]));
    let (begun, mut second) = (Instant::now(), Client::new(&house));
    assert_eq!(second.tell(&json!(["ping"])), json!("pong"));
    assert!(begun.elapsed() < Duration::from_millis(1900));
    assert_eq!(client.receive(), Ok(json!(null)));
    assert!(begun.elapsed() > Duration::from_millis(1900));
    // A signal that means the files elsewhere means nothing to a server without any.
    kill_process(house.runner(), Signal::HUP).unwrap();
    assert_eq!(second.tell(&json!(["status"]))[1][1], json!("one"));
}

#[test]
fn bans_by_hand_show_while_there_are_any() {
    let (house, mut client) = configured(&[("one", "log", 1)]);
    assert_eq!(client.tell(&json!(["status"]))[1][1], json!("one"));
    assert!(house.ask(&["ban", "203.0.113.9"]).status.success());
    assert_eq!(client.tell(&json!(["status"]))[1][1], json!("manual, one"));
    assert_eq!(
        client.tell(&json!(["banned"])),
        json!([{"one": []}, {"manual": ["203.0.113.9"]}])
    );
    assert!(client.ask(&json!(["set", "manual", "maxretry", 1])).is_err());
    assert!(client.ask(&json!(["stop", "manual"])).is_err());
    eventually("the kernel has it", || house.kernel().contains("203.0.113.9"));
    // What a client sends is about its own jails.
    let stream = stream(&house, &[jail(&house, "one", "log", 1)]);
    let reload = |stream: &Value| json!(["reload", "--all", [], stream]);
    assert_eq!(client.tell(&reload(&stream)), json!("OK"));
    assert_eq!(client.tell(&json!(["stop", "--all"])), json!(null));
    assert_eq!(client.tell(&json!(["banned"])), json!([{"manual": ["203.0.113.9"]}]));
    assert!(house.kernel().contains("203.0.113.9"));
    assert_eq!(client.tell(&reload(&json!(jail(&house, "one", "log", 1)))), json!("OK"));
    // The daemon that follows a death keeps it, too.
    let before = house.daemon();
    kill_process(before, Signal::KILL).unwrap();
    eventually("the daemon is gone", || is_gone(before));
    eventually("another daemon answers", || {
        house.ask(&["status"]).status.code() != Some(3)
    });
    assert!(house.kernel().contains("203.0.113.9"));
    assert_eq!(
        client.tell(&json!(["set", "manual", "unbanip", "203.0.113.9"])),
        json!(1)
    );
    assert_eq!(client.tell(&json!(["status"]))[1][1], json!("one"));
}

#[test]
fn files_and_commands_live_together() {
    let mut house = House::new(5);
    house.start();
    let mut client = Client::new(&house);
    let maxretry = json!(["get", "plain", "maxretry"]);
    let source = |house: &House| house.json(&["status"])["source"].as_str().unwrap().to_owned();
    assert!(source(&house).starts_with("files "));
    assert!(!source(&house).contains("changed"));
    assert_eq!(client.tell(&json!(["set", "plain", "maxretry", 2])), json!(2));
    assert!(
        source(&house).contains("changed by 1 command since"),
        "{}",
        source(&house)
    );
    // After a death it is as it was.
    let before = house.daemon();
    kill_process(before, Signal::KILL).unwrap();
    eventually("the daemon is gone", || is_gone(before));
    eventually("another daemon answers", || {
        house.ask(&["status"]).status.code() != Some(3)
    });
    assert_eq!(client.tell(&maxretry), json!(2));
    house.fail("plain", "203.0.113.1");
    house.fail("plain", "203.0.113.1");
    house.until_acted("ban plain 203.0.113.1");
    // An ordinary start begins with the files.
    assert_eq!(house.terminate(), Some(0));
    house.start();
    assert_eq!(client.tell(&maxretry), json!(5));
    client.tell(&json!(["set", "plain", "maxretry", 3]));
    let notes = house.json(&["reload"])["notes"].to_string();
    assert!(notes.contains("changed by 1 command since"), "{notes}");
    assert_eq!(client.tell(&maxretry), json!(5));
    assert_eq!(house.banned(), ["plain 203.0.113.1"]);
}

#[test]
fn a_database_in_use_is_refused() {
    let mut other = House::new(5);
    other.start();
    let house = server();
    let mut client = Client::new(&house);
    let refused = client.ask(&json!(["set", "dbfile", other.path("state/fail2ban.sqlite3")]));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("is in use by portcullis (pid "), "{text}");
}
