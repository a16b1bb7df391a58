//! Host names in `ignoreip`: what they resolve to is not in the cloud's rule, whoever bans it.

use crate::house::{Jail, eventually};
use crate::nameserver::{Names, Said, addresses};
use crate::vm::Vm;

const FRIEND: &str = "198.51.100.7";
const MOVED: &str = "198.51.100.8";
const OTHER: &str = "198.51.100.9";

/// One jail ignores a name; another one bans whom it stands for, as a person does by hand.
#[test]
fn what_a_name_stands_for_is_not_written() {
    let mut vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    let jail = |name, options| Jail {
        name,
        maxretry: 1,
        options,
    };
    vm.house.jails(&[
        jail("plain", "action = gcp-firewall[rule=block-ip]"),
        jail("other", "ignoreip = friend.example silent.example"),
    ]);
    let names = Names::serve(&vm.house, "timeout:1 attempts:1", "127.0.0.1 localhost\n");
    names.say("friend.example", addresses(&[FRIEND]));
    // One that is never answered holds up nobody: neither bans nor the names beside it, once it was given up.
    names.say("silent.example", Said::Silence);
    vm.house.start();
    vm.house.fail("plain", OTHER);
    vm.fake.until_listed("block-ip", &format!("{OTHER}/32"), true);
    vm.house.fail("plain", FRIEND);
    until_spared(&vm, FRIEND, "friend.example, in ignoreip of jail 'other'");
    assert!(vm.house.kernel().contains(FRIEND), "the jail's own decision stands");
    names.say("friend.example", addresses(&[MOVED]));
    assert!(vm.house.ask(&["reload"]).status.success());
    vm.house.fail("plain", MOVED);
    until_spared(&vm, MOVED, "friend.example");
    // Whom it stood for before is like anybody else.
    vm.fake.until_listed("block-ip", &format!("{FRIEND}/32"), true);
    assert!(!vm.fake.ranges("block-ip").contains(&format!("{MOVED}/32")));
}

/// It is banned, and not in the rule, and that is said.
fn until_spared(vm: &Vm, who: &str, why: &str) {
    vm.house.until_banned(&format!("plain {who}"));
    eventually(&format!("{who} is spared"), || {
        let banned = vm.house.json(&["banned"]);
        let mut all = banned.as_array().unwrap().iter();
        let ban = all.find(|ban| ban["ip"] == who).unwrap();
        let layer = ban["layers"]["gcp-firewall"].as_str().unwrap();
        layer.starts_with("refused: ") && layer.contains(why)
    });
    vm.fake.until_listed("block-ip", &format!("{who}/32"), false);
}
