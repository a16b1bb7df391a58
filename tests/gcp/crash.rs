//! `kill -9` in the middle of a write: after a new start the rule is as it should be, and nobody had to help.

use std::time::Duration;

use crate::fake::Fault;
use crate::house::eventually;
use crate::vm::Vm;

const WHO: &str = "198.51.100.7";
const OTHER: &str = "198.51.100.99";
const RANGE: &str = "198.51.100.7/32";
const HUMAN: &str = "203.0.113.0/24";
const RULE: &str = "/firewalls/block-ip";

fn vm() -> Vm {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32", HUMAN]);
    vm.jail("action = gcp-firewall[rule=block-ip]");
    vm
}

/// A ban meets a fault; the daemon is killed as soon as this call has come, and started again in a better world.
fn check(fault: Fault, method: &str, end: &str) {
    let mut vm = vm();
    vm.house.start();
    vm.fake.script("PATCH", RULE, usize::MAX, fault);
    vm.house.fail("plain", WHO);
    vm.fake.until_called(method, end, 1);
    vm.house.kill();
    vm.fake.heal();
    vm.fake.release();
    vm.house.start();
    vm.fake.until_listed("block-ip", RANGE, true);
    assert!(vm.fake.ranges("block-ip").iter().any(|range| range == HUMAN));
    vm.house.until_banned(&format!("plain {WHO}"));
    vm.house.ask(&["unban", WHO]);
    // What goes rides along with what comes.
    vm.house.fail("plain", OTHER);
    vm.fake.until_listed("block-ip", "198.51.100.99/32", true);
    vm.fake.until_listed("block-ip", RANGE, false);
}

#[test]
fn killed_during_the_call() {
    for is_done in [false, true] {
        let lasting = Duration::from_secs(60);
        check(Fault::Silence { is_done, lasting }, "PATCH", RULE);
    }
}

#[test]
fn killed_during_the_wait() {
    check(Fault::Held, "POST", "/wait");
}

/// While the books cannot be written, nothing is: a write that nobody remembers could never be undone.
#[test]
fn killed_before_the_books_are_kept() {
    let mut vm = vm();
    vm.house.start();
    let books = vm.house.path("state/cloud.sqlite3");
    eventually("there are books", || books.exists());
    vm.house.fail("plain", OTHER);
    vm.fake.until_listed("block-ip", "198.51.100.99/32", true);
    let writes = vm.fake.writes("block-ip").len();
    let db = rusqlite::Connection::open(books).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    vm.house.fail("plain", WHO);
    vm.house.until_banned(&format!("plain {WHO}"));
    // Longer than the pause between two writes, and shorter than the books are waited for.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(vm.fake.writes("block-ip").len(), writes);
    vm.house.kill();
    db.execute_batch("ROLLBACK").unwrap();
    vm.house.start();
    vm.fake.until_listed("block-ip", RANGE, true);
}
