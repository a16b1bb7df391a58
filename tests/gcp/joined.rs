//! The daemon joined with the cloud: what it says of the rules, what lifts a ban, what a person does to a rule, and how it
//! ends.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::fake::{EXTERNAL, INTERNAL};
use crate::house::eventually;
use crate::vm::Vm;

const WHO: &str = "198.51.100.7";
const OTHER: &str = "198.51.100.99";
const THEIRS: &str = "203.0.113.128/25";

fn vm(options: &str) -> Vm {
    let mut vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32", THEIRS]);
    vm.jail(&format!("action = gcp-firewall[rule=block-ip{options}]"));
    vm.house.start();
    vm
}

impl Vm {
    fn ban(&self, who: &str) {
        self.house.fail("plain", who);
        self.house.until_banned(&format!("plain {who}"));
    }

    fn until_listed(&self, who: &str, is_listed: bool) {
        self.fake.until_listed("block-ip", &format!("{who}/32"), is_listed);
    }

    fn until_standing(&self, who: &str, word: &str) {
        eventually(&format!("{who} is {word}"), || {
            let banned = self.house.json(&["banned"]);
            let mut all = banned.as_array().unwrap().iter();
            all.any(|ban| ban["ip"] == who && ban["layers"]["gcp-firewall"] == word)
        });
    }

    fn progress(&self) -> Value {
        let status = self.house.json(&["status"]);
        let mut jails = status["jails"].as_array().unwrap().iter();
        let jail = jails.find(|jail| jail["name"] == "plain").unwrap();
        jail["actions"]["gcp-firewall"]["cloud"].clone()
    }
}

#[test]
fn a_ban_is_written_read_back_and_lifted() {
    let vm = vm("");
    vm.ban(WHO);
    vm.until_listed(WHO, true);
    vm.until_standing(WHO, "read back");
    let verified = vm.house.ask(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    // How the rules stand is put up for others a moment later.
    eventually("it is put up", || vm.progress()["read"] != Value::Null);
    let progress = vm.progress();
    assert_eq!(
        (&progress["decided"], &progress["verified"], &progress["pending"]),
        (&1.into(), &1.into(), &0.into())
    );
    assert_eq!(
        (&progress["project"], &progress["foreign"]),
        (&"fake-project".into(), &1.into()),
        "{progress}"
    );
    let remarks = progress["remarks"].to_string();
    assert!(
        remarks.contains("192.0.2.1/32 in rule block-ip is nobody's address"),
        "{remarks}"
    );
    assert!(vm.house.kernel().contains(WHO), "the twin has it");
    vm.ban(OTHER);
    vm.until_listed(OTHER, true);
    vm.house.json(&["flush"]);
    vm.until_listed(WHO, false);
    vm.until_listed(OTHER, false);
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32", THEIRS]);
    assert!(!vm.house.kernel().contains(WHO));
}

/// What must not be written is not, whoever bans it.
#[test]
fn own_addresses_are_never_written() {
    let vm = vm("");
    vm.fake.forbid(&[&format!("{EXTERNAL}/32"), &format!("{INTERNAL}/32")]);
    vm.ban(EXTERNAL);
    vm.ban(WHO);
    vm.until_listed(WHO, true);
    eventually("it is refused", || {
        let banned = vm.house.json(&["banned"]);
        let mut all = banned.as_array().unwrap().iter();
        let own = all.find(|ban| ban["ip"] == EXTERNAL).unwrap();
        own["layers"]["gcp-firewall"].as_str().unwrap().starts_with("refused: ")
    });
    assert!(!vm.fake.ranges("block-ip").contains(&format!("{EXTERNAL}/32")));
}

/// Somebody deletes their own address in the console, and may log in again.
#[test]
fn what_a_person_takes_out_is_freed_everywhere() {
    let vm = vm(", own_rule=yes");
    vm.ban(WHO);
    vm.until_standing(WHO, "read back");
    eventually("the rule is marked", || {
        vm.fake
            .rule("block-ip")
            .is_some_and(|rule| rule.body.to_string().contains("[portcullis writer="))
    });
    // A write may build on a reading of two seconds ago, and would undo what was done since.
    sleep(Duration::from_millis(2500));
    vm.fake.remove("block-ip", &[&format!("{WHO}/32")]);
    let text = format!("{WHO}/32 was taken out of rule block-ip by hand: it is freed everywhere");
    // The rule is read again when there is something to write.
    vm.ban(OTHER);
    eventually("it is said and done", || {
        !vm.house.said(&text).is_empty() && vm.house.banned() == [format!("plain {OTHER}")]
    });
    assert!(!vm.house.kernel().contains(WHO));
    assert!(!vm.fake.ranges("block-ip").contains(&format!("{WHO}/32")));
    assert_eq!(vm.house.said(&text).len(), 1);
}

/// SIGTERM and `kill -9` keep what is in the rule; `stop` empties it in one write.
#[test]
fn an_end_keeps_and_a_stop_empties() {
    let mut vm = vm("");
    for who in [WHO, OTHER] {
        vm.ban(who);
        vm.until_listed(who, true);
    }
    vm.house.terminate();
    assert_eq!(vm.fake.ranges("block-ip").len(), 4);
    vm.house.start();
    vm.until_standing(WHO, "read back");
    vm.house.kill();
    vm.house.start();
    vm.until_standing(OTHER, "read back");
    assert_eq!(vm.fake.ranges("block-ip").len(), 4);
    let before = vm.fake.writes("block-ip").len();
    let stopped = vm.house.ask(&["stop", "--json"]);
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    vm.house.wait();
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32", THEIRS]);
    assert_eq!(vm.fake.writes("block-ip").len(), before + 1, "one write");
}

/// `kill -9` at each step of a write: the next start brings it to its end by itself.
#[test]
fn a_death_at_each_step_of_a_write() {
    for step in ["cloud-keep", "cloud-kept", "cloud-write", "cloud-wait"] {
        let mut vm = Vm::new();
        vm.fake.block_ip(&["192.0.2.1/32", THEIRS]);
        vm.jail("action = gcp-firewall[rule=block-ip]");
        vm.house.environment.push(("PORTCULLIS_FAULT".into(), step.into()));
        vm.house.start();
        let before = vm.house.daemon();
        vm.house.fail("plain", WHO);
        eventually(&format!("the daemon dies at {step}"), || {
            vm.house.said("Server ready").len() > 1 && vm.house.daemon() != before
        });
        vm.until_listed(WHO, true);
        vm.until_standing(WHO, "read back");
        assert_eq!(vm.fake.ranges("block-ip").len(), 3, "{step}");
    }
}
