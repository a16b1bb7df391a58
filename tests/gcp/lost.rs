//! Lost books, and rules that are full: what is ours is taken back, and what is not in the rules is said.

use crate::house::{House, eventually};
use crate::vm::Vm;

const WHO: &str = "198.51.100.7";
const RANGE: &str = "198.51.100.7/32";
const BOOKS: &str = "state/cloud.sqlite3";
const SENTINEL: &str = "192.0.2.1/32";

fn vm(options: &str) -> Vm {
    let vm = Vm::new();
    vm.fake.block_ip(&[SENTINEL]);
    vm.jail(options);
    vm
}

/// The books become unreadable while nobody runs.
fn damage(house: &House) {
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(house.path(&format!("{BOOKS}{ending}")));
    }
    house.write(BOOKS, "no database at all ".repeat(100));
}

#[test]
fn damaged_books_are_said_once_and_what_the_mark_covers_is_ours_again() {
    let mut vm = vm("action = gcp-firewall[rule=block-ip, own_rule=yes]");
    vm.house.start();
    vm.house.fail("plain", WHO);
    vm.fake.until_listed("block-ip", RANGE, true);
    eventually("the rule is marked", || {
        let rule = vm.fake.rule("block-ip").unwrap();
        rule.body["description"]
            .as_str()
            .is_some_and(|text| text.contains(" alone]"))
    });
    vm.house.terminate();
    damage(&vm.house);
    vm.house.start();
    vm.house.until_said("1 entries of it are taken back");
    vm.house.ask(&["unban", WHO]);
    vm.house.fail("plain", "198.51.100.99");
    vm.fake.until_listed("block-ip", "198.51.100.99/32", true);
    vm.fake.until_listed("block-ip", RANGE, false);
    assert_eq!(vm.house.said("cloud.sqlite3 are damaged").len(), 1);
}

/// Nobody bans in the cloud any more, and nobody but the lane looks into the books.
#[test]
fn damaged_books_are_said_where_nobody_needs_them_any_more() {
    let mut vm = vm("");
    vm.house.write("state/keep", "");
    damage(&vm.house);
    vm.house.start();
    vm.house.until_said("cloud.sqlite3 are damaged");
    vm.house.terminate();
    vm.house.start();
    eventually("it runs again", || vm.house.said("Server ready").len() > 1);
    assert_eq!(vm.house.said("cloud.sqlite3 are damaged").len(), 1);
}

#[test]
fn full_rules_are_no_proof_of_a_ban() {
    let check = |local: &str, holder: &str| {
        let mut vm = vm(&format!(
            "action = gcp-firewall[rule=block-ip, max_rules=1, max_ranges=3, local={local}]"
        ));
        vm.house.start();
        for host in 1..=5 {
            vm.house.fail("plain", &format!("198.51.100.{}", host * 3));
        }
        eventually("the rule is full", || vm.fake.ranges("block-ip").len() == 3);
        eventually("it is said", || {
            let output = vm.house.ask(&["verify"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let full = "the cloud's rules are full, and 3 bans are not in them";
            text.contains(full) && text.contains(holder) && output.status.code() == Some(2)
        });
        let layers = vm.house.json(&["verify"])["layers"].clone();
        assert!(
            layers.as_array().unwrap().iter().any(|layer| layer["state"] == "full"),
            "{layers}"
        );
        for host in 1..=5 {
            vm.house.ask(&["unban", &format!("198.51.100.{}", host * 3)]);
        }
        eventually("all is well again", || {
            vm.house.ask(&["verify"]).status.code() == Some(0)
        });
    };
    check("yes", "(the kernel holds them)");
    check("no", "nothing else holds them");
}
