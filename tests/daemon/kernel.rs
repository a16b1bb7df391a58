//! What the kernel holds while the daemon ends, starts, reads its configuration anew, and frees everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::client::Client;
use crate::house::{House, Jail, append, eventually, failure, is_gone};

const NATIVE: &str = "action = nft[type=allports]";

fn native<'a>(name: &'a str, maxretry: u32, options: &'a str) -> Jail<'a> {
    Jail {
        name,
        maxretry,
        options,
    }
}

/// A house with a native jail and one with a shell action, and a ban in each.
fn house() -> House {
    let mut house = House::empty();
    house.jails(&[native("plain", 1, NATIVE), native("shell", 1, "")]);
    house.start();
    house.fail("plain", "203.0.113.1");
    house.fail("shell", "203.0.113.2");
    eventually("the kernel has it", || house.kernel().contains("203.0.113.1"));
    house.until_acted("ban shell 203.0.113.2");
    house
}

/// Whatever happens to the daemon, the element is never absent.
#[test]
fn restarts_and_reloads_keep_the_ban() {
    let mut house = house();
    let (over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut look = house.inside("nft");
    look.args(["list", "table", "inet", "portcullis"]);
    let watcher = std::thread::spawn({
        let (over, looks) = (Arc::clone(&over), Arc::clone(&looks));
        move || {
            while !over.load(Ordering::Relaxed) {
                let seen = look.output().unwrap();
                assert!(
                    String::from_utf8_lossy(&seen.stdout).contains("203.0.113.1"),
                    "absent after {looks:?} looks"
                );
                looks.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!(house.terminate(), Some(0));
    house.start();
    house.json(&["reload"]);
    kill_process(house.runner(), Signal::HUP).unwrap();
    eventually("it is read again", || house.said("Reload finished").len() == 2);
    house.kill();
    house.start();
    let daemon = house.daemon();
    kill_process(daemon, Signal::KILL).unwrap();
    eventually("another daemon is there", || {
        is_gone(daemon) && house.said("Server ready").len() == 4
    });
    sleep(Duration::from_millis(500));
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    println!(
        "2 ends by signal, 1 death, 2 reloads: present in each of {} looks",
        looks.load(Ordering::Relaxed)
    );
    assert_eq!(house.banned(), ["plain 203.0.113.1", "shell 203.0.113.2"]);
    // A shell action that cannot be asked is cleared and set up anew at each start.
    let acts = house.acts();
    let last: Vec<&str> = acts.iter().rev().take(2).rev().map(String::as_str).collect();
    assert_eq!(last, ["start shell", "ban shell 203.0.113.2"], "{acts:?}");
}

#[test]
fn stop_frees_everybody() {
    let mut house = house();
    assert!(house.ask(&["stop"]).status.success());
    assert_eq!(house.wait(), Some(0));
    assert_eq!(house.kernel(), "", "the table is gone");
    assert_eq!(
        house.acts(),
        [
            "start shell",
            "ban shell 203.0.113.2",
            "unban shell 203.0.113.2",
            "stop shell"
        ]
    );
    assert_eq!(house.ask(&["status"]).status.code(), Some(3), "no daemon");
}

#[test]
fn flush_frees_and_goes_on() {
    let mut house = house();
    assert_eq!(house.json(&["flush"])["count"], 2);
    eventually("the kernel is empty", || !house.kernel().contains("203.0.113."));
    house.until_acted("unban shell 203.0.113.2");
    assert!(house.banned().is_empty());
    assert_eq!(house.acts().len(), 3, "each is told once: {:?}", house.acts());
    house.fail("plain", "203.0.113.1");
    eventually("it bans again", || house.kernel().contains("203.0.113.1"));
    house.json(&["flush"]);
    house.kill();
    house.start();
    assert!(house.banned().is_empty(), "and a restart restores nobody");
}

#[test]
fn flush_without_a_daemon() {
    let mut house = house();
    house.kill();
    assert!(house.kernel().contains("203.0.113.1"));
    let state = house.path("state").display().to_string();
    let flushed = house.json(&["flush", "--state", &state]);
    assert_eq!(flushed["count"], 2, "{flushed}");
    assert_eq!(house.kernel(), "");
    house.start();
    assert!(house.banned().is_empty(), "{:?}", house.banned());
    house.fail("plain", "203.0.113.7");
    eventually("it bans again", || house.kernel().contains("203.0.113.7"));
    assert!(!house.kernel().contains("203.0.113.1 "), "{}", house.kernel());
}

/// The emergency exit must not wait for the other daemon, and must not break its database either.
#[test]
fn flush_beside_a_daemon_on_another_socket() {
    let house = house();
    let state = house.path("state").display().to_string();
    let mut command = house.inside(crate::house::PROGRAM);
    command
        .args(["flush", "--state", &state, "--socket"])
        .arg(house.path("elsewhere"));
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let daemon = format!("(pid {})", house.daemon().as_raw_nonzero());
    assert!(
        error.contains("is in use by portcullis") && error.contains(&daemon),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn reload_keeps_bans_and_counters() {
    let mut house = House::empty();
    let jails = |extra: &[Jail<'_>], maxretry| {
        let mut all = vec![native("plain", maxretry, NATIVE)];
        all.extend(extra.iter().map(|jail| native(jail.name, jail.maxretry, jail.options)));
        house_jails(&all)
    };
    house.write(
        "etc/jail.local",
        jails(&[], 3).replace("@", &house.path("").display().to_string()),
    );
    append(&house.log_of("plain"), b"");
    append(&house.log_of("new"), b"");
    house.start();
    for who in ["203.0.113.1"; 3] {
        house.fail("plain", who);
    }
    house.fail("plain", "203.0.113.2");
    house.until_banned("plain 203.0.113.1");
    house.counts_become("plain", &[("203.0.113.2".to_owned(), 1)].into());
    // One jail more, and a lower threshold for the first.
    let text = jails(&[native("new", 1, NATIVE)], 2).replace("@", &house.path("").display().to_string());
    house.write("etc/jail.local", text);
    assert_eq!(house.json(&["reload"])["count"], 2);
    assert_eq!(house.banned(), ["plain 203.0.113.1"]);
    append(&house.log_of("plain"), failure("203.0.113.2").as_bytes());
    house.until_banned("plain 203.0.113.2");
    house.fail("new", "203.0.113.3");
    house.until_banned("new 203.0.113.3");
    eventually("the kernel has all", || {
        (1..4).all(|host| house.kernel().contains(&format!("203.0.113.{host}")))
    });
    // And without the first.
    let text = house
        .read("etc/jail.local")
        .replacen("enabled = true", "enabled = false", 1);
    house.write("etc/jail.local", text);
    house.json(&["reload"]);
    assert_eq!(house.banned(), ["new 203.0.113.3"]);
    eventually("its bans are gone", || {
        !house.kernel().contains("203.0.113.1 ") && house.kernel().contains("203.0.113.3")
    });
}

fn house_jails(jails: &[Jail<'_>]) -> String {
    let mut text = "[DEFAULT]\nbantime = 10m\nfindtime = 2h\nignoreself = false\n".to_owned();
    for Jail {
        name,
        maxretry,
        options,
    } in jails
    {
        let log = if *name == "plain" { "log" } else { name };
        text +=
            &format!("[{name}]\nenabled = true\nfilter = plain\nmaxretry = {maxretry}\nlogpath = @{log}\n{options}\n");
    }
    text
}

/// Whoever takes bans out of the kernel finds them there again, and stands in the log.
#[test]
fn what_somebody_else_takes_away_comes_back() {
    let mut house = house();
    house.fail("plain", "203.0.113.9");
    eventually("both are there", || house.kernel().contains("203.0.113.9"));
    let mut flush = house.inside("nft");
    assert!(flush.args(["flush", "ruleset"]).status().unwrap().success());
    let begun = std::time::Instant::now();
    eventually("they are back", || {
        ["203.0.113.1", "203.0.113.9"]
            .iter()
            .all(|who| house.kernel().contains(who))
    });
    println!("back after {:?}", begun.elapsed());
    house.until_said("action 'nft' was changed by nft (pid ");
    house.until_said("): the table was gone; mended, ");
    let answer = Client::new(&house).tell(&json!(["set", "plain", "action", "nft", "flush"]));
    assert_eq!(answer, json!(null));
    house.until_said("action 'nft' was changed by a command: 2 elements were missing; mended");
    assert!(house.kernel().contains("203.0.113.9"));
    assert_eq!(house.banned().len(), 3);
    assert_eq!(house.terminate(), Some(0));
    // What nobody orders any more goes when all others have been ordered again.
    let mut add = house.inside("nft");
    let words = "add element inet portcullis plain.nft.ip4 { 203.0.113.77 timeout 1h }";
    assert!(add.args(words.split(' ')).status().unwrap().success());
    house.start();
    eventually("the stray is gone", || !house.kernel().contains("203.0.113.77"));
    assert!(house.kernel().contains("203.0.113.9"));
}
