//! `norestored` on actions that ban in the cloud (D-207): the rule holds whoever is banned, and nothing is told again.

use crate::house::eventually;
use crate::vm::Vm;

const WHO: &str = "198.51.100.7";
const RANGE: &str = "198.51.100.7/32";

/// A daemon that has banned somebody in the rule, and has read that back.
fn banned(action: &str) -> Vm {
    let mut vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.house.write(
        "etc/action.d/cloud.conf",
        "[Definition]\n\
         actionban = gcloud compute firewall-rules update block-ip --add-source-ranges <ip>\n\
         actionunban = gcloud compute firewall-rules update block-ip --remove-source-ranges <ip>\n\
         norestored = 1\n",
    );
    vm.jail(&format!("action = {action}"));
    vm.house.start();
    vm.house.until_said("norestored has no effect");
    vm.house.fail("plain", WHO);
    vm.fake.until_listed("block-ip", RANGE, true);
    until_read_back(&vm);
    vm
}

fn until_read_back(vm: &Vm) {
    eventually("it is read back", || {
        let banned = vm.house.json(&["banned"]);
        let layers = banned[0]["layers"].as_object();
        layers.is_some_and(|layers| layers.values().any(|state| state == "read back"))
    });
}

fn check(action: &str) {
    let mut vm = banned(action);
    let writes = vm.fake.count("PATCH", "block-ip");
    assert_eq!(vm.house.terminate(), Some(0));
    vm.house.start();
    until_read_back(&vm);
    vm.house.kill();
    vm.house.start();
    until_read_back(&vm);
    assert_eq!(vm.fake.count("PATCH", "block-ip"), writes, "nothing is told again");
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32", RANGE]);
    // After everybody was freed, who is banned still comes back with the next start.
    assert!(vm.house.ask(&["stop"]).status.success());
    vm.house.wait();
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32"]);
    vm.house.start();
    vm.fake.until_listed("block-ip", RANGE, true);
    // It leaves the rule although it is a restored one.
    vm.house.json(&["unban", WHO]);
    vm.house.fail("plain", "198.51.100.8");
    vm.fake.until_listed("block-ip", RANGE, false);
}

#[test]
fn ours() {
    check("gcp-firewall[rule=block-ip, norestored=yes]");
}

#[test]
fn gclouds() {
    check("cloud");
}
