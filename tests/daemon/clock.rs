//! The wall clock steps; bans and counters do not care.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::house::{House, Jail, append, eventually, stamp};

const HOUR: i64 = 3600;

/// The library that shows a process another wall clock; it leaves the count since boot alone.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let mut found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("install the package faketime")
}

/// A house whose wall clock can be set.
fn house(bantime: u64) -> House {
    let mut house = House::empty();
    let options = format!("bantime = {bantime}\nfindtime = 10m");
    house.jails(&[Jail {
        name: "plain",
        maxretry: 3,
        options: &options,
    }]);
    let environment = [
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", house.path("clock").display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_DONT_RESET", "1".into()),
    ];
    house.environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    set(&house, 0);
    house
}

/// Sets the daemon's wall clock `off` seconds away from the true one.
fn set(house: &House, off: i64) {
    house.write("clock.new", format!("{off:+}\n"));
    fs::rename(house.path("clock.new"), house.path("clock")).unwrap();
}

/// A failure as a service on the same machine writes it: with the same wall clock.
fn fail(house: &House, off: i64) {
    append(
        &house.log_of("plain"),
        format!("{} fail from 192.0.2.1\n", stamp(off)).as_bytes(),
    );
    sleep(Duration::from_millis(60));
}

fn is_banned(house: &House) -> bool {
    !house.banned().is_empty()
}

fn ends_in_time(steps: &[i64]) {
    const BANTIME: u64 = 7;
    let mut house = house(BANTIME);
    house.start();
    let start = Instant::now();
    for _ in 0..3 {
        fail(&house, 0);
    }
    house.until_banned("plain 192.0.2.1");
    for off in steps {
        set(&house, *off);
        sleep(Duration::from_millis(1200));
        assert!(
            is_banned(&house),
            "lifted by a step of {off} s after {:?}",
            start.elapsed()
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(BANTIME - 1),
        "the machine is too slow for this test"
    );
    eventually("the ban ends", || !is_banned(&house));
    let lasted = start.elapsed().as_secs_f64();
    // The stamp of the last failure has whole seconds, so the ban may begin almost a second earlier.
    assert!(lasted > 5.5 && lasted < 11.0, "lasted {lasted} s");
    println!("steps of the clock {steps:?} s: a ban of {BANTIME} s lasted {lasted:.1} s");
    house.until_acted("unban plain 192.0.2.1");
    assert_eq!(
        house.acts(),
        ["start plain", "ban plain 192.0.2.1", "unban plain 192.0.2.1"]
    );
}

#[test]
fn a_clock_that_jumps_forth_and_back_lifts_no_ban() {
    ends_in_time(&[HOUR, 0, HOUR]);
}

#[test]
fn a_clock_that_jumps_back_stretches_no_ban() {
    ends_in_time(&[-HOUR, -2 * HOUR, -HOUR]);
}

#[test]
fn counters_go_on_over_a_step() {
    for off in [HOUR, -HOUR] {
        let mut house = house(600);
        house.start();
        fail(&house, 0);
        fail(&house, 0);
        house.counts_become("plain", &[("192.0.2.1".to_owned(), 2)].into());
        set(&house, off);
        fail(&house, off);
        house.until_banned("plain 192.0.2.1");
        // And over a restart while the clock is elsewhere.
        house.kill();
        set(&house, -off);
        house.start();
        assert!(is_banned(&house), "a restart at {off} s lifts nothing");
    }
}

#[test]
fn the_library_does_set_the_clock() {
    let mut house = house(600);
    set(&house, -48 * HOUR);
    house.start();
    let line = house.said("Server ready").remove(0);
    let (today, written) = (stamp(0), line.split(' ').next().unwrap().to_owned());
    assert!(!today.starts_with(&written), "{line}");
}
