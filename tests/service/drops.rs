//! Failed log-ins over real connections end in packets that the kernel drops, for that client alone.

use crate::client::{Client, Knock};
use crate::daemon::Daemon;
use crate::site::{FAR, FAR_TOO, FAR6, FAR6_TOO, Logs, NEAR, NEAR_TOO, NEAR6, NEAR6_TOO, Site};
use crate::syslog::Stamps;

/// The stock's jails for a server whose Postfix and Dovecot keep logs of their own.
const OWN_LOGS: &str = "\
[DEFAULT]
maxretry = 3
[postfix]
enabled = true
[dovecot]
enabled = true
logpath = /var/log/dovecot.log
";
/// The same, with both in one file.
const ONE_LOG: &str = "\
[DEFAULT]
maxretry = 3
[postfix]
enabled = true
[dovecot]
enabled = true
";

/// A way to fail, and the door that closes then.
struct Attack {
    jail: &'static str,
    fail: fn(&Client<'_>),
    knock: for<'s> fn(&Client<'s>) -> Knock,
}

const SASL: Attack = Attack {
    jail: "postfix",
    fail: |client| client.guess_smtp(),
    knock: |client| client.smtp(),
};
const IMAP: Attack = Attack {
    jail: "dovecot",
    fail: |client| client.guess_imap(),
    knock: |client| client.imap(),
};

/// Two failures harm nobody; at the third the attacker is dropped and the neighbour is not.
fn attack(site: &Site, daemon: &Daemon<'_>, attack: &Attack, attacker: &str, neighbour: &str) {
    let door = |address| (attack.knock)(&site.client(address));
    let before = daemon.jail(attack.jail)["total_failed"].as_u64().unwrap();
    for _ in 0..2 {
        (attack.fail)(&site.client(attacker));
    }
    daemon.wait_for_failures(attack.jail, before + 2);
    assert!(door(attacker).is_open(), "{attacker} is shut out too early");
    (attack.fail)(&site.client(attacker));
    daemon.wait_for_ban(attack.jail, attacker);
    let knock = door(attacker);
    assert!(knock.is_dropped(), "{attacker}: {knock:?}\n{}", daemon.evidence());
    assert!(door(neighbour).is_open(), "{neighbour} is shut out with {attacker}");
}

fn unban(site: &Site, daemon: &Daemon<'_>, attack: &Attack, attacker: &str) {
    assert_eq!(daemon.ask(&["unban", attacker])["count"], 1);
    assert_eq!(daemon.standing(attack.jail, attacker), None);
    let knock = (attack.knock)(&site.client(attacker));
    assert!(
        knock.is_open(),
        "{attacker} is free, but: {knock:?}\n{}",
        daemon.evidence()
    );
}

#[test]
fn sasl_failures() {
    let site = Site::with_mail(Logs::Own);
    let daemon = site.guard(OWN_LOGS);
    attack(&site, &daemon, &SASL, FAR, FAR_TOO);
    // The ban is the jail's ports' only.
    assert!(site.client(FAR).imap().is_open());
    unban(&site, &daemon, &SASL, FAR);
}

#[test]
fn imap_failures_in_dovecots_own_log() {
    let site = Site::with_mail(Logs::Own);
    let daemon = site.guard(OWN_LOGS);
    attack(&site, &daemon, &IMAP, FAR, FAR_TOO);
    site.client(FAR_TOO).log_in();
    unban(&site, &daemon, &IMAP, FAR);
    site.client(FAR).log_in();
}

#[test]
fn the_ban_ends_by_itself() {
    let site = Site::with_mail(Logs::Own);
    let daemon = site.guard(&OWN_LOGS.replace("[DEFAULT]", "[DEFAULT]\nbantime = 6"));
    attack(&site, &daemon, &SASL, FAR, FAR_TOO);
    crate::wait::until(
        "the ban's end",
        || site.client(FAR).smtp().is_open().then_some(()),
        || daemon.evidence(),
    );
    daemon.assert_nobody_banned();
    let log = site.read_log("fail2ban.log");
    assert!(log.contains(&format!("[postfix] Unban {FAR}")), "{log}");
}

#[test]
fn ipv6() {
    let site = Site::with_mail(Logs::Own);
    let daemon = site.guard(OWN_LOGS);
    attack(&site, &daemon, &SASL, FAR6, FAR6_TOO);
    attack(&site, &daemon, &IMAP, FAR6, FAR6_TOO);
    assert_eq!(daemon.ask(&["unban", FAR6])["count"], 2);
    assert!(site.client(FAR6).smtp().is_open());
    assert!(site.client(FAR6).imap().is_open());
}

/// An attacker on the server's own network is dropped alone: the neighbours, and the server itself, are not.
#[test]
fn on_the_servers_own_network() {
    let site = Site::with_mail(Logs::Own);
    let daemon = site.guard(OWN_LOGS);
    attack(&site, &daemon, &SASL, NEAR6, NEAR6_TOO);
    attack(&site, &daemon, &IMAP, NEAR, NEAR_TOO);
    unban(&site, &daemon, &SASL, NEAR6);
    unban(&site, &daemon, &IMAP, NEAR);
}

/// Postfix and Dovecot through rsyslog, as Debian has it, in one file.
fn through_rsyslog(stamps: Stamps, looks_right: fn(&str) -> bool) {
    let site = Site::with_mail(Logs::Rsyslog(stamps));
    let daemon = site.guard(ONE_LOG);
    attack(&site, &daemon, &SASL, FAR, FAR_TOO);
    attack(&site, &daemon, &IMAP, FAR6, FAR6_TOO);
    let log = site.read_log("mail.log");
    assert!(log.lines().all(looks_right), "{log}");
}

#[test]
fn traditional_stamps() {
    // "Nov 22 18:51:07 host"
    through_rsyslog(Stamps::Traditional, |line| {
        line.get(3..4) == Some(" ") && line.get(9..10) == Some(":")
    });
}

#[test]
fn iso_stamps() {
    // "2025-11-22T18:51:07.123456+00:00 host"
    through_rsyslog(Stamps::Iso, |line| {
        line.get(10..11) == Some("T") && line.get(19..20) == Some(".")
    });
}
