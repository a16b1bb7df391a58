//! The kernel's twin of an action in the cloud is our own: Fail2Ban's client never meets it, and it goes with its action.

use std::process::Output;

use crate::house::{Jail, eventually};
use crate::vm::Vm;

const ACTION: &str = "[Definition]\n\
    actionban = gcloud compute firewall-rules update block-ip --add-source-ranges <ip>\n\
    actionunban = gcloud compute firewall-rules update block-ip --remove-source-ranges <ip>\n";
const TWIN: &str = "cloud-local";
/// Banned in one jail, and in both.
const ONE: &str = "198.51.100.7";
const BOTH: &str = "198.51.100.8";

/// Two jails that ban in one rule, and write down what they do.
fn vm() -> Vm {
    let mut vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.house.write("etc/action.d/cloud.conf", ACTION);
    let jail = |name| Jail {
        name,
        maxretry: 1,
        options: match name {
            "plain" => "action = cloud\n note[name=plain]",
            _ => "action = cloud\n note[name=other]",
        },
    };
    vm.house.jails(&[jail("plain"), jail("other")]);
    vm.house.start();
    vm
}

impl Vm {
    /// Fail2Ban's client: what it prints, and whether it ended well.
    fn client(&self, words: &[&str]) -> (String, bool) {
        let Output { stdout, stderr, status } = self.house.client(words);
        (
            String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned(),
            status.success(),
        )
    }

    fn tell(&self, words: &[&str]) -> String {
        let (text, is_done) = self.client(words);
        assert!(is_done, "{words:?}: {text}");
        text
    }

    /// The kernel's twin of a jail, as `status` has it.
    fn has_twin(&self, jail: &str) -> bool {
        let status = self.house.json(&["status"]);
        let jails = status["jails"].as_array().unwrap();
        let found = jails.iter().find(|one| one["name"] == jail).unwrap();
        found["actions"].get(TWIN).is_some()
    }

    fn ban_in(&self, jail: &str, who: &str) {
        self.house.fail(jail, who);
        self.house.until_banned(&format!("{jail} {who}"));
        self.until_held(who, true);
    }

    fn until_held(&self, who: &str, is_held: bool) {
        self.fake.until_listed("block-ip", &format!("{who}/32"), is_held);
        eventually(&format!("the kernel: {who} {is_held}"), || {
            self.house.kernel().contains(who) == is_held
        });
    }
}

#[test]
fn clients_never_see_it() {
    let vm = vm();
    vm.ban_in("plain", ONE);
    assert!(vm.has_twin("plain"));
    let shown = vm.tell(&["get", "plain", "actions"]);
    assert!(shown.contains("cloud") && shown.contains("note"), "{shown}");
    let asked: [&[&str]; 10] = [
        &["get", "plain", "actions"],
        &["get", "plain", "actionproperties", "cloud"],
        &["get", "plain", "actionmethods", "cloud"],
        &["get", "plain", "action", "cloud", "actionban"],
        &["get", "plain", "banip", "--with-time"],
        &["status"],
        &["status", "plain"],
        &["status", "--all", "stats"],
        &["banned"],
        &["-d"],
    ];
    for words in asked {
        let text = vm.tell(words);
        assert!(!text.contains("local"), "{words:?}: {text}");
    }
    let refused: [&[&str]; 7] = [
        &["get", "plain", "actionproperties", TWIN],
        &["get", "plain", "actionmethods", TWIN],
        &["get", "plain", "action", TWIN, "actionban"],
        &["set", "plain", "action", TWIN, "timeout", "5"],
        &["set", "plain", "action", TWIN, "ban", "{}"],
        &["set", "plain", "action", TWIN, "stop"],
        &["set", "plain", "delaction", TWIN],
    ];
    for words in refused {
        let (text, is_done) = vm.client(words);
        assert!(!is_done && text.contains("Invalid Action name"), "{words:?}: {text}");
    }
    assert!(vm.has_twin("plain") && vm.house.kernel().contains(ONE));
}

#[test]
fn it_goes_and_comes_with_its_action() {
    let vm = vm();
    vm.ban_in("plain", ONE);
    for jail in ["plain", "other"] {
        vm.ban_in(jail, BOTH);
    }
    vm.tell(&["set", "plain", "delaction", "cloud"]);
    assert!(!vm.tell(&["get", "plain", "actions"]).contains("cloud"));
    assert!(!vm.has_twin("plain") && vm.has_twin("other"));
    eventually("the kernel frees it", || !vm.house.kernel().contains(ONE));
    // What goes from the rule rides along with what comes.
    vm.ban_in("other", "198.51.100.10");
    vm.fake.until_listed("block-ip", &format!("{ONE}/32"), false);
    assert!(vm.fake.ranges("block-ip").contains(&format!("{BOTH}/32")));
    assert!(vm.house.kernel().contains(BOTH), "the other jail's twin has it");
    // The bans themselves stand: other actions hold them.
    assert!(vm.house.banned().contains(&format!("plain {ONE}")));
    assert!(!vm.house.read("acts").contains("unban"), "{}", vm.house.read("acts"));
    vm.tell(&["set", "plain", "addaction", "cloud"]);
    for line in ACTION.lines().skip(1) {
        let (property, value) = line.split_once(" = ").unwrap();
        vm.tell(&["set", "plain", "action", "cloud", property.trim(), value]);
    }
    assert!(vm.has_twin("plain"));
    assert!(!vm.tell(&["get", "plain", "actions"]).contains("local"));
    vm.ban_in("plain", "198.51.100.9");
    // Whoever is banned is banned by it, too: a native layer holds what is decided.
    vm.until_held(ONE, true);
    // An action that is called like the twin would be leaves the cloud's action without one, and is left alone.
    vm.tell(&["set", "other", "addaction", TWIN]);
    assert!(vm.tell(&["get", "other", "actions"]).contains(TWIN));
    eventually("that is said", || {
        vm.house
            .json(&["status"])
            .to_string()
            .contains("its twin in the kernel would be")
    });
}
