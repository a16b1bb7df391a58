//! The recipe of the first user, letter for letter but for the log's path, against the fake.

use std::fs;

use crate::debian;
use crate::house::eventually;
use crate::vm::Vm;

const JAILS: &str = include_str!("../service/first-user/jail.local");
const ACTION: &str = include_str!("first-user/gcloud-ban.conf");
/// What a person had put into the rule.
const HUMAN: &str = "203.0.113.0/24";
/// Who guesses passwords over SMTP.
const GUESSER: &str = "198.51.100.7";
/// Who does so over IMAP.
const READER: &str = "198.51.100.8";

/// Their files over the embedded stock.
fn vm() -> Vm {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32", HUMAN]);
    let log = vm.house.path("mail.log").display().to_string();
    assert_eq!(JAILS.matches("/var/log/mail.log").count(), 2);
    vm.house
        .write("etc/jail.local", JAILS.replace("/var/log/mail.log", &log));
    vm.house.write("etc/action.d/gcloud-ban.conf", ACTION);
    vm.house.write("mail.log", "");
    vm
}

fn guess_smtp(vm: &Vm) {
    for pid in 4101..4104 {
        vm.log(
            "mail.log",
            &format!(
                "postfix/smtpd[{pid}]: warning: unknown[{GUESSER}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"
            ),
        );
    }
}

fn guess_imap(vm: &Vm) {
    for session in ["a1", "b2", "c3"] {
        vm.log(
            "mail.log",
            &format!(
                "dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<info>, method=PLAIN, \
                 rip={READER}, lip=192.0.2.25, TLS, session=<{session}>"
            ),
        );
    }
}

fn one(address: &str) -> String {
    format!("{address}/32")
}

/// Somebody else is banned, so that what goes rides along with what comes.
fn another(vm: &Vm, who: &str) {
    for pid in 4201..4204 {
        let text = format!("postfix/smtpd[{pid}]: warning: unknown[{who}]: SASL PLAIN authentication failed: x");
        vm.log("mail.log", &text);
    }
    vm.fake.until_listed("block-ip", &one(who), true);
}

#[test]
fn attackers_reach_the_rule_and_leave_it() {
    let mut vm = vm();
    vm.house.start();
    guess_smtp(&vm);
    guess_imap(&vm);
    for who in [GUESSER, READER] {
        vm.fake.until_listed("block-ip", &one(who), true);
    }
    assert!(
        vm.fake.writes("block-ip").len() <= 2,
        "{:?}",
        vm.fake.writes("block-ip")
    );
    if let Some(listed) = vm.described("block-ip") {
        for range in [&one(GUESSER), &one(READER), HUMAN] {
            assert!(listed.iter().any(|there| there == range), "{range}: {listed:?}");
        }
    }
    vm.house.until_banned(&format!("postfix {GUESSER}"));
    vm.house.until_banned(&format!("dovecot {READER}"));
    vm.house.ask(&["unban", GUESSER]);
    another(&vm, "198.51.100.9");
    vm.fake.until_listed("block-ip", &one(GUESSER), false);
    let left = vm.fake.ranges("block-ip");
    assert!(
        left.contains(&one(READER)) && left.contains(&HUMAN.to_owned()),
        "{left:?}"
    );
}

#[test]
fn a_ban_ends_after_bantime() {
    let mut vm = vm();
    fs::create_dir_all(vm.house.path("etc/jail.d")).unwrap();
    vm.house.write("etc/jail.d/short.local", "[dovecot]\nbantime = 3\n");
    vm.house.start();
    guess_imap(&vm);
    vm.fake.until_listed("block-ip", &one(READER), true);
    eventually("the time is over", || vm.house.banned().is_empty());
    another(&vm, GUESSER);
    vm.fake.until_listed("block-ip", &one(READER), false);
    let listed = vm.described("block-ip").unwrap_or_else(|| vm.fake.ranges("block-ip"));
    assert!(
        listed.contains(&HUMAN.to_owned()) && !listed.contains(&one(READER)),
        "{listed:?}"
    );
}

/// Debian's own configuration does not count failures of SASL in its default mode, and neither do we, but we say so.
#[test]
fn over_debian_one_half_is_seen() {
    let mut vm = vm();
    let folder = vm.house.path("etc");
    debian::copy(&debian::fail2ban(), &vm.house.path("debian"));
    fs::remove_dir_all(vm.house.path("debian/jail.d")).unwrap();
    debian::copy(&vm.house.path("debian"), &folder);
    let file = folder.join("jail.local");
    let mine = fs::read_to_string(&file).unwrap();
    assert!(mine.contains("gcloud-ban"), "the first user's file was replaced");
    vm.house.start();
    guess_smtp(&vm);
    guess_imap(&vm);
    vm.fake.until_listed("block-ip", &one(READER), true);
    let remark = "3 SASL failures seen, not counted: use `filter = postfix[mode=extra]`";
    eventually("the unseen failures are named", || {
        vm.house.json(&["status", "postfix"]).to_string().contains(remark)
    });
    vm.house.until_said("SASL failures seen, not counted");
    assert_eq!(vm.house.banned(), [format!("dovecot {READER}")]);
    let listed = vm.described("block-ip").unwrap_or_else(|| vm.fake.ranges("block-ip"));
    assert!(
        listed.contains(&HUMAN.to_owned()) && !listed.contains(&one(GUESSER)),
        "{listed:?}"
    );
}
