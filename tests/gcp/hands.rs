//! A person's hand in the rule: what they put there stays, and whom they take out is free.

use crate::house::eventually;
use crate::vm::Vm;

const FREED: &str = "198.51.100.7";
const RANGE: &str = "198.51.100.7/32";
const HUMAN: &str = "203.0.113.0/24";

fn vm(options: &str) -> Vm {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32", HUMAN]);
    vm.jail(&format!("action = gcp-firewall[rule=block-ip{options}]"));
    vm
}

/// Bans somebody, and waits until the rule has it and was read back.
fn ban(vm: &Vm, who: &str) {
    let before = vm.fake.count("GET", "/block-ip");
    vm.house.fail("plain", who);
    vm.fake.until_listed("block-ip", &format!("{who}/32"), true);
    vm.fake.until_called("GET", "/block-ip", before + 1);
}

/// In a rule that others may write it may be a lost update, and is put back.
#[test]
fn in_a_shared_rule_it_is_put_back() {
    let mut vm = vm("");
    vm.house.start();
    ban(&vm, FREED);
    vm.fake.remove("block-ip", &[RANGE]);
    ban(&vm, "198.51.100.20");
    vm.fake.until_listed("block-ip", RANGE, true);
    assert!(vm.house.banned().contains(&format!("plain {FREED}")));
}

/// The person's off switch is not touched, and the kernel holds on.
#[test]
fn a_rule_that_is_off_stays_off() {
    let mut vm = vm("");
    vm.fake.disable("block-ip");
    vm.house.start();
    vm.house.fail("plain", FREED);
    vm.house.until_banned(&format!("plain {FREED}"));
    eventually("the kernel has it", || vm.house.kernel().contains(FREED));
    vm.fake.until_called("GET", "/block-ip", 1);
    vm.house.until_said("disabled");
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32", HUMAN]);
}

/// Without a metadata server, a project and a file with a token are enough; the file is read anew.
#[test]
fn a_token_file_is_enough() {
    let mut vm = Vm::elsewhere();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.jail("action = gcp-firewall[rule=block-ip]");
    vm.house.start();
    ban(&vm, FREED);
    vm.house.write("token", "another-token\n");
    vm.fake
        .settings(|settings| settings.tokens = Some(["another-token".to_owned()].into()));
    ban(&vm, "198.51.100.20");
    assert_eq!(vm.fake.count("GET", "/token"), 0, "nobody asks the metadata server");
}

/// The token of the metadata server is renewed when it is refused.
#[test]
fn a_revoked_token_is_renewed() {
    let mut vm = vm("");
    vm.house.start();
    ban(&vm, FREED);
    vm.fake.revoke();
    ban(&vm, "198.51.100.20");
    assert!(vm.fake.count("GET", "/token") >= 2);
}
