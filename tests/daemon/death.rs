//! `kill -9` anywhere: nothing is lost, nothing counts twice.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::house::{House, Jail, append, eventually, failure, is_gone};

fn bans(house: &House) -> usize {
    house.said("[plain] Ban 192.0.2.1").len()
}

#[test]
fn two_failures_a_kill_and_one_more_are_a_ban() {
    let mut house = House::new(3);
    house.start();
    house.fail("plain", "192.0.2.1");
    house.fail("plain", "192.0.2.1");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.1".into(), 2)]));
    house.kill();
    house.start();
    assert_eq!(house.counted("plain")["192.0.2.1"], 2);
    assert!(house.banned().is_empty());
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    house.until_acted("ban plain 192.0.2.1");
    assert_eq!(bans(&house), 1);
    house.kill();
    house.start();
    assert_eq!(house.banned(), ["plain 192.0.2.1"], "a ban outlives the kill");
    sleep(Duration::from_millis(300));
    assert_eq!(bans(&house), 1, "and is no second ban");
}

#[test]
fn lines_written_while_it_was_down_are_read() {
    let mut house = House::new(3);
    house.start();
    house.fail("plain", "192.0.2.1");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.1".into(), 1)]));
    house.kill();
    house.fail("plain", "192.0.2.1");
    house.fail("plain", "192.0.2.1");
    house.fail("plain", "192.0.2.2");
    house.start();
    house.until_banned("plain 192.0.2.1");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.2".into(), 1)]));
    assert_eq!((bans(&house), house.banned().len()), (1, 1));
}

#[test]
fn the_runner_starts_a_killed_daemon_again() {
    let mut house = House::new(3);
    house.start();
    house.fail("plain", "192.0.2.1");
    house.fail("plain", "192.0.2.1");
    house.counts_become("plain", &BTreeMap::from([("192.0.2.1".into(), 2)]));
    let (runner, first) = (house.runner(), house.daemon());
    kill_process(first, Signal::KILL).unwrap();
    house.fail("plain", "192.0.2.1");
    eventually("another daemon is there", || {
        is_gone(first) && house.said("Server ready").len() == 2
    });
    house.until_banned("plain 192.0.2.1");
    assert!(house.daemon() != first && house.runner() == runner);
    assert_eq!(bans(&house), 1);
    let stderr = house.read("stderr");
    assert!(
        stderr.contains("was killed by signal 9; bans stay in force"),
        "{stderr}"
    );
    assert_eq!(house.terminate(), Some(0));
}

/// Numbers that look random and are the same in every run.
pub(crate) fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// A writer that never pauses; the daemon is killed again and again, wherever it stands just then.
fn kills(seed: u64, rounds: u64, whole: bool) {
    let mut house = House::new(1_000_000);
    let mut dice = dice(seed);
    house.start();
    let log = house.log_of("plain");
    let writer = std::thread::spawn({
        let mut dice = self::dice(seed + 1);
        move || {
            let mut written: BTreeMap<String, u64> = BTreeMap::new();
            for _ in 0..rounds * 40 {
                let mut lines = String::new();
                for _ in 0..dice(12) {
                    let who = format!("198.51.100.{}", dice(60));
                    lines += &failure(&who);
                    *written.entry(who).or_default() += 1;
                }
                // Cut anywhere, so that half lines are seen too.
                let cut = usize::try_from(dice(lines.len() as u64 + 1)).unwrap();
                append(&log, &lines.as_bytes()[..cut]);
                sleep(Duration::from_millis(dice(6)));
                append(&log, &lines.as_bytes()[cut..]);
                sleep(Duration::from_millis(dice(12)));
            }
            written
        }
    });
    for _ in 0..rounds {
        sleep(Duration::from_millis(dice(400)));
        if whole {
            house.kill();
            house.start_without_waiting();
        } else {
            let daemon = house.daemon();
            let _ = kill_process(daemon, Signal::KILL);
            eventually("it dies", || is_gone(daemon));
        }
    }
    let written = writer.join().unwrap();
    house.counts_become("plain", &written);
    let lines: u64 = written.values().sum();
    println!(
        "{rounds} kills, {lines} lines of {} addresses, 0 differences",
        written.len()
    );
    assert!(house.said("skipped").is_empty(), "a kill is not the line's fault");
}

#[test]
fn kills_at_any_moment_lose_nothing_and_count_nothing_twice() {
    kills(7, 15, true);
}

#[test]
fn kills_of_the_daemon_alone_lose_nothing_either() {
    kills(11, 6, false);
}

/// A jail that begins with a log which another has read already: it reads from the start, the other counts nothing
/// twice, neither at a reload nor at a start.
#[test]
fn a_jail_that_joins_a_log_later() {
    let mut house = House::empty();
    let many = 1_000_000;
    let path = format!("logpath = {}", house.log_of("plain").display());
    let jail = |name, options| Jail {
        name,
        maxretry: many,
        options,
    };
    house.jails(&[jail("plain", "")]);
    house.start();
    let fail = |house: &House, times: u64| (0..times).for_each(|_| house.fail("plain", "192.0.2.1"));
    let become_all = |house: &House, jails: &[&str], count: u64| {
        jails
            .iter()
            .for_each(|jail| house.counts_become(jail, &[("192.0.2.1".to_owned(), count)].into()));
    };
    fail(&house, 3);
    become_all(&house, &["plain"], 3);
    house.jails(&[jail("plain", ""), jail("second", &path)]);
    house.json(&["reload"]);
    fail(&house, 2);
    become_all(&house, &["plain", "second"], 5);
    house.kill();
    fail(&house, 2);
    house.jails(&[jail("plain", ""), jail("second", &path), jail("third", &path)]);
    house.start();
    become_all(&house, &["plain", "second", "third"], 7);
    // The first is off for a while, and the log is rotated meanwhile.
    house.jails(&[jail("second", &path)]);
    house.json(&["reload"]);
    fail(&house, 1);
    become_all(&house, &["second"], 8);
    sleep(Duration::from_millis(50));
    std::fs::rename(house.log_of("plain"), house.path("log.1")).unwrap();
    fail(&house, 4);
    become_all(&house, &["second"], 12);
    assert_eq!(house.terminate(), Some(0));
    house.jails(&[jail("plain", ""), jail("second", &path)]);
    house.start();
    fail(&house, 1);
    become_all(&house, &["plain", "second"], 13);
}
