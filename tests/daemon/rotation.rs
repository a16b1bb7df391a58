//! Logs that are rotated under a steady writer, while the daemon reads, is stopped, is killed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::death::dice;
use crate::house::{House, append, failure};

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Rename,
    CopyTruncate,
}

/// Generations that are kept; the youngest is `.1`.
const KEPT: usize = 60;

fn older(log: &Path, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", log.display()))
}

/// File systems keep the time of files in ticks; two generations within one could not be told apart.
const TICK: Duration = Duration::from_millis(12);

/// As logrotate does it: every generation moves on by one, and the log becomes the first.
fn rotate(log: &Path, way: Way) {
    for number in (1..KEPT).rev() {
        if older(log, number).exists() {
            fs::rename(older(log, number), older(log, number + 1)).unwrap();
        }
    }
    if way == Way::Rename {
        fs::rename(log, older(log, 1)).unwrap();
        fs::write(log, "").unwrap();
    } else {
        // The writer pauses here; what a writer adds between the two steps is lost to everybody.
        fs::copy(log, older(log, 1)).unwrap();
        sleep(Duration::from_millis(3));
        OpenOptions::new().write(true).open(log).unwrap().set_len(0).unwrap();
    }
}

/// What is done to the daemon every few rotations.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Stop,
    Kill,
}

fn check(way: Way, rotations: u64, trouble: Trouble, seed: u64) {
    let mut house = House::new(1_000_000);
    let log = house.log_of("plain");
    house.start();
    house.until_placed();
    let mut dice = dice(seed);
    let mut written: BTreeMap<String, u64> = BTreeMap::new();
    for rotation in 0..rotations {
        let daemon = (trouble == Trouble::Stop && rotation % 5 == 0).then(|| house.daemon());
        if let Some(daemon) = daemon {
            kill_process(daemon, Signal::STOP).unwrap();
        }
        let down = trouble == Trouble::Kill && rotation % 6 == 0;
        if down {
            house.kill();
        }
        let rounds = 1 + dice(4);
        for round in 0..rounds {
            // The address says between which rotations a line was written.
            let who = format!("10.0.{rotation}.{round}");
            for _ in 0..dice(8) {
                append(&log, failure(&who).as_bytes());
                *written.entry(who.clone()).or_default() += 1;
            }
            sleep(TICK);
            rotate(&log, way);
            sleep(Duration::from_millis(dice(10)));
        }
        if let Some(daemon) = daemon {
            kill_process(daemon, Signal::CONT).unwrap();
        }
        if down {
            house.start_without_waiting();
        }
    }
    house.counts_become("plain", &written);
    let lines: u64 = written.values().sum();
    let (name, what) = match (way, trouble) {
        (Way::Rename, _) => ("renames", trouble),
        (Way::CopyTruncate, _) => ("copytruncates", trouble),
    };
    let beside = match what {
        Trouble::None => "",
        Trouble::Stop => ", daemon stopped meanwhile",
        Trouble::Kill => ", daemon killed and started meanwhile",
    };
    println!("{rotations} times 1 to 4 {name}{beside}: {lines} lines, 0 differences");
}

#[test]
fn renames() {
    check(Way::Rename, 50, Trouble::None, 1);
}

#[test]
fn copytruncates() {
    check(Way::CopyTruncate, 50, Trouble::None, 2);
}

#[test]
fn renames_while_it_is_stopped() {
    check(Way::Rename, 20, Trouble::Stop, 3);
}

#[test]
fn copytruncates_while_it_is_stopped() {
    check(Way::CopyTruncate, 20, Trouble::Stop, 4);
}

#[test]
fn renames_while_it_is_down() {
    check(Way::Rename, 24, Trouble::Kill, 5);
}

#[test]
fn copytruncates_while_it_is_down() {
    check(Way::CopyTruncate, 24, Trouble::Kill, 6);
}

/// A writer that keeps its descriptor writes into the renamed file until it is told to open anew.
#[test]
fn a_late_writer() {
    let mut house = House::new(1_000_000);
    let log = house.log_of("plain");
    house.start();
    let mut written = 0;
    for _ in 0..10 {
        let old = OpenOptions::new().append(true).open(&log).unwrap();
        for step in 0..6 {
            let at = old.metadata().unwrap().len();
            let line = failure("192.0.2.1");
            old.write_all_at(line.as_bytes(), at).unwrap();
            written += 1;
            if step == 2 {
                rotate(&log, Way::Rename);
            }
            sleep(Duration::from_millis(4));
        }
    }
    house.counts_become("plain", &BTreeMap::from([("192.0.2.1".into(), written)]));
}
