//! What shell actions have set up, over the end of the daemon and its next start.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::house::{House, Jail, eventually};

/// Writes everything down; `check` looks whether `sound` is there.
const NOTING: &str = "[Definition]\nactionstart = echo 'start <name>' >> <file>\nactionstop = echo 'stop <name>' >> <file>\n\
    actionban = echo 'ban <name> <ip> <restored>' >> <file>\nactionunban = echo 'unban <name> <ip>' >> <file>\n\
    [Init]\nname = default\nfile = FILE\n";

/// A firewall in which rules stand twice if it is started twice, as Fail2Ban's stock makes it.
const NFT: &str = "[Definition]\n\
    actionstart = nft add table inet t\n\
    \x20             nft add chain inet t c \\{ type filter hook input priority -1 \\; \\}\n\
    \x20             nft add set inet t s \\{ type ipv4_addr \\; \\}\n\
    \x20             nft add rule inet t c ip saddr @s drop\n\
    actionflush = nft flush set inet t s\n\
    actionstop = nft delete table inet t\n\
    actioncheck = nft list chain inet t c | grep -q '@s '\n\
    actionban = nft add element inet t s \\{ <ip> \\}\n\
    actionunban = nft delete element inet t s \\{ <ip> \\}\n";

fn house(action: &str, more: &str) -> House {
    let house = House::empty();
    let text = NOTING.replace("FILE", &house.path("acts").display().to_string());
    house.write(
        "etc/action.d/noting.conf",
        text.replace("[Init]", &format!("{more}[Init]")),
    );
    house.write("etc/action.d/wall.conf", NFT);
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: action,
    }]);
    house
}

/// What was done since the last look.
fn acts(house: &House) -> Vec<String> {
    let acts = house.acts();
    house.write("acts", "");
    acts
}

fn banned(house: &mut House) {
    house.start();
    house.fail("plain", "203.0.113.1");
    house.fail("plain", "203.0.113.2");
    house.until_acted("ban plain 203.0.113.1 0");
    house.until_acted("ban plain 203.0.113.2 0");
    assert_eq!(acts(house).len(), 3);
}

fn with_check(house: &House) -> &'static str {
    house.write("sound", "");
    "action = noting[name=plain]"
}

#[test]
fn a_clean_end_leaves_it_and_the_start_takes_it_over() {
    let mut house = house("", "");
    let sound = house.path("sound").display().to_string();
    let check = format!("actioncheck = test -e {sound}\n");
    let text = house
        .read("etc/action.d/noting.conf")
        .replace("[Init]", &format!("{check}[Init]"));
    house.write("etc/action.d/noting.conf", text);
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: with_check(&house),
    }]);
    banned(&mut house);
    assert_eq!(house.terminate(), Some(0));
    house.start();
    house.fail("plain", "203.0.113.3");
    house.until_acted("ban plain 203.0.113.3 0");
    assert_eq!(acts(&house), ["ban plain 203.0.113.3 0"], "nothing is told twice");
    assert_eq!(house.banned().len(), 3);
    // Who is freed after that is freed in it.
    assert!(house.ask(&["unban", "203.0.113.1"]).status.success());
    house.until_acted("unban plain 203.0.113.1");
    acts(&house);
    assert_eq!(house.terminate(), Some(0));
    // Where the check says that it is gone, it is made anew.
    fs::remove_file(house.path("sound")).unwrap();
    house.start();
    house.until_acted("ban plain 203.0.113.3 1");
    let acts = acts(&house);
    assert!(
        acts.iter().filter(|act| act.starts_with("start")).count() == 1,
        "{acts:?}"
    );
    assert!(acts.contains(&"ban plain 203.0.113.2 1".to_owned()), "{acts:?}");
}

#[test]
fn after_a_death_it_is_cleared_and_set_up_anew() {
    let mut house = house("action = noting[name=plain]", "");
    banned(&mut house);
    house.kill();
    house.start();
    house.until_acted("ban plain 203.0.113.2 1");
    let expected = [
        "unban plain 203.0.113.1",
        "unban plain 203.0.113.2",
        "stop plain",
        "start plain",
        "ban plain 203.0.113.1 1",
        "ban plain 203.0.113.2 1",
    ];
    assert_eq!(acts(&house), expected);
    // It ends with the commands that it was made with, not with those that are configured by then.
    house.kill();
    let text = house
        .read("etc/action.d/noting.conf")
        .replace("echo 'stop", "echo 'other stop");
    house.write("etc/action.d/noting.conf", text);
    house.start();
    house.until_acted("ban plain 203.0.113.2 1");
    assert_eq!(acts(&house), expected);
    assert!(house.ask(&["stop"]).status.success());
    assert_eq!(house.wait(), Some(0));
    house.write("acts", "");
    house.start();
    house.until_acted("ban plain 203.0.113.2 1");
    assert_eq!(
        acts(&house),
        expected[3..],
        "after a stop nothing is left to be cleared"
    );
}

#[test]
fn what_is_configured_no_more_is_ended() {
    let mut house = house("action = noting[name=plain]", "");
    banned(&mut house);
    assert_eq!(house.terminate(), Some(0));
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = wall",
    }]);
    house.start();
    house.until_acted("stop plain");
    let expected = ["unban plain 203.0.113.1", "unban plain 203.0.113.2", "stop plain"];
    assert_eq!(acts(&house), expected);
}

#[test]
fn who_wants_no_restored_bans_hears_of_each_once() {
    let mut house = house("action = noting[name=plain]", "norestored = true\n");
    banned(&mut house);
    for _ in 0..2 {
        house.kill();
        house.start();
    }
    assert_eq!(house.terminate(), Some(0));
    house.start();
    house.fail("plain", "203.0.113.3");
    house.until_acted("ban plain 203.0.113.3 0");
    let acts = acts(&house);
    assert!(
        acts.iter()
            .all(|act| act == "start plain" || act == "ban plain 203.0.113.3 0"),
        "{acts:?}"
    );
    assert_eq!(house.banned().len(), 3);
}

#[test]
fn flush_without_a_daemon_undoes_it() {
    let mut house = house("action = noting[name=plain]\n         wall", "");
    banned(&mut house);
    eventually("it is in the kernel", || ruleset(&house).contains("203.0.113.2"));
    house.kill();
    let state = house.path("state").display().to_string();
    let flushed = house.json(&["flush", "--state", &state]);
    assert_eq!(flushed["count"], 2, "{flushed}");
    assert!(flushed["notes"].to_string().contains("2 shell action(s)"), "{flushed}");
    let expected = ["unban plain 203.0.113.1", "unban plain 203.0.113.2", "stop plain"];
    assert_eq!(acts(&house), expected);
    assert_eq!(ruleset(&house), "");
    house.start();
    assert!(house.banned().is_empty());
    assert_eq!(acts(&house), ["start plain"]);
}

fn ruleset(house: &House) -> String {
    let output = house.inside("nft").args(["list", "ruleset"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The element and the rule that looks for it are there at every look, and once.
#[test]
fn in_the_kernel_it_stands_once_and_all_the_time() {
    let mut house = house("action = wall", "");
    house.start();
    house.fail("plain", "203.0.113.1");
    eventually("it is in the kernel", || ruleset(&house).contains("203.0.113.1"));
    let before = ruleset(&house);
    let (over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut look = house.inside("nft");
    look.args(["list", "ruleset"]);
    let watcher = std::thread::spawn({
        let (over, looks, before) = (Arc::clone(&over), Arc::clone(&looks), before.clone());
        move || {
            while !over.load(Ordering::Relaxed) {
                let seen = look.output().unwrap();
                assert_eq!(String::from_utf8_lossy(&seen.stdout), before, "after {looks:?} looks");
                looks.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..2 {
        assert_eq!(house.terminate(), Some(0));
        house.start();
    }
    eventually("the bans are ordered", || house.banned().len() == 1);
    over.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    println!(
        "2 restarts: the same in each of {} looks",
        looks.load(Ordering::Relaxed)
    );
    house.kill();
    house.start();
    // What is made anew comes last, whichever came last before.
    let tables = |text: &str| {
        text.split("\ntable ")
            .map(|table| table.trim().replace("table ", ""))
            .collect::<BTreeSet<_>>()
    };
    eventually("the kernel is as before", || {
        tables(&ruleset(&house)) == tables(&before)
    });
    assert_eq!(house.banned(), ["plain 203.0.113.1"]);
}

#[test]
fn what_started_before_the_database_opened_is_noted_then() {
    let mut house = house("action = noting[name=plain]", "");
    banned(&mut house);
    assert_eq!(house.terminate(), Some(0));
    let other = rusqlite::Connection::open(house.path("state/fail2ban.sqlite3")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    house.start();
    house.until_said("is locked by another process");
    house.fail("plain", "203.0.113.3");
    house.until_acted("ban plain 203.0.113.3 0");
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    eventually("it is noted as standing, after no clean end", || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let db = house.database().unwrap();
        let sql = "SELECT count(*) FROM portcullis_actions WHERE action = 'noting' AND NOT clean";
        db.query_row(sql, [], |row| row.get::<_, i64>(0))
            .is_ok_and(|count| count == 1)
    });
    house.kill();
    acts(&house);
    house.start();
    house.until_acted("ban plain 203.0.113.3 1");
    let acts = acts(&house);
    assert_eq!(acts.iter().filter(|act| *act == "stop plain").count(), 1, "{acts:?}");
}
