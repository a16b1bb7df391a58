//! The files of the first user, letter for letter but for the command of the action, which writes a file here.

use std::fs;

use crate::daemon::Daemon;
use crate::site::{FAR, FAR_TOO, FAR6, Logs, Site};
use crate::syslog::Stamps;
use crate::{debian, wait};

const JAILS: &str = include_str!("first-user/jail.local");
const ACTION: &str = include_str!("first-user/gcloud-ban.conf");
/// What the action writes instead of calling the cloud.
const CALLS: &str = "gcloud-calls";

/// Their server: both mail servers log into one file through rsyslog.
fn site() -> Site {
    Site::with_mail(Logs::Rsyslog(Stamps::Traditional))
}

/// Their files over Debian 12's, whose own enabled jails are taken away.
fn over_debian<'s>(site: &'s Site, jails: &str) -> Daemon<'s> {
    let folder = site.path("etc");
    debian::copy(&debian::fail2ban(), &folder);
    fs::remove_dir_all(folder.join("jail.d")).unwrap();
    site.configuration(&[("jail.local", jails), ("action.d/gcloud-ban.conf", ACTION)]);
    Daemon::start(site)
}

fn guess_passwords(site: &Site) {
    for _ in 0..3 {
        site.client(FAR).guess_smtp();
        site.client(FAR_TOO).guess_imap();
    }
}

fn call(flag: &str, ip: &str) -> String {
    format!("compute firewall-rules update block-ip --{flag}-source-ranges {ip}\n")
}

fn calls(site: &Site, expected: &[String]) {
    let all_there = || {
        let calls = site.read_log(CALLS);
        let mut rest = expected.iter().filter(|call| !calls.contains(*call));
        rest.next().is_none().then_some(())
    };
    wait::until(&format!("calls {expected:?}"), all_there, || {
        site.read_log(CALLS) + &site.all_logs()
    });
    assert_eq!(
        site.read_log(CALLS).lines().count(),
        expected.len(),
        "{}",
        site.read_log(CALLS)
    );
}

/// Both kinds of failed log-ins reach the cloud's firewall, and so do the unbans.
fn everybody_is_banned(site: &Site, daemon: &Daemon<'_>) {
    guess_passwords(site);
    daemon.wait_for_ban("postfix", FAR);
    daemon.wait_for_ban("dovecot", FAR_TOO);
    let mut expected = vec![call("add", FAR), call("add", FAR_TOO)];
    calls(site, &expected);
    assert_eq!(daemon.ask(&["unban", FAR])["count"], 1);
    expected.push(call("remove", FAR));
    calls(site, &expected);
}

#[test]
fn over_the_stock() {
    let site = site();
    site.configuration(&[("jail.local", JAILS), ("action.d/gcloud-ban.conf", ACTION)]);
    everybody_is_banned(&site, &Daemon::start(&site));
}

#[test]
fn over_debian_with_the_mode_that_sees_passwords() {
    let site = site();
    let jails = JAILS.replace("filter   = postfix\n", "filter   = postfix[mode=auth]\n");
    assert_ne!(jails, JAILS);
    everybody_is_banned(&site, &over_debian(&site, &jails));
}

/// Debian's postfix filter does not count password guessing in its default mode: then nor do we, but we say so.
#[test]
fn over_debian_as_written() {
    let site = site();
    let daemon = over_debian(&site, JAILS);
    guess_passwords(&site);
    daemon.wait_for_ban("dovecot", FAR_TOO);
    let remark = "3 SASL failures seen, not counted: use `filter = postfix[mode=extra]`";
    let remarks = || {
        daemon.jail("postfix")["remarks"]
            .to_string()
            .contains(remark)
            .then_some(())
    };
    wait::until("the remark", remarks, || daemon.evidence());
    assert_eq!(daemon.standing("postfix", FAR), None);
    assert_eq!(daemon.jail("postfix")["total_failed"], 0);
    let fail2ban = || debian::found(&site.path("etc"), &site.log("mail.log"), "postfix");
    assert_eq!(fail2ban(), Vec::<String>::new());
    let log = site.read_log("fail2ban.log");
    assert!(log.contains("SASL failures seen, not counted"), "{log}");
    // What it counts, it bans for.
    for _ in 0..3 {
        site.client(FAR6).relay();
    }
    daemon.wait_for_ban("postfix", FAR6);
    calls(&site, &[call("add", FAR_TOO), call("add", FAR6)]);
    assert_eq!(fail2ban(), [FAR6; 3]);
}
