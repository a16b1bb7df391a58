//! What an admin sees who made a mistake: being unprotected is never quiet.

use std::fs;

use crate::daemon::Daemon;
use crate::debian;
use crate::site::{Logs, Site};
use crate::wait;

/// Waits for a sentence under NOT PROTECTED, and for the exit code that goes with it.
fn unprotected(daemon: &Daemon<'_>, reason: &str) {
    let told = || {
        let status = daemon.ask(&["status"]);
        (status["protected"] == false && status["not_protected"].to_string().contains(reason)).then_some(())
    };
    wait::until(reason, told, || daemon.evidence());
    assert_eq!(daemon.run(&["status"]).status.code(), Some(2));
}

#[test]
fn one_jail_is_broken_and_the_other_goes_on() {
    let site = Site::new(Logs::Own);
    fs::write(site.log("mail.log"), "").unwrap();
    let daemon = site.guard("[postfix]\nenabled = true\nfilter = postfixx\n[dovecot]\nenabled = true\n");
    unprotected(
        &daemon,
        "'postfix' is not in force: Unable to read the filter 'postfixx'",
    );
    assert_eq!(daemon.jail("dovecot")["files"][0]["state"], "reading");
}

#[test]
fn the_log_is_missing_until_it_appears() {
    let site = Site::new(Logs::Own);
    let daemon = site.guard("[postfix]\nenabled = true\n");
    unprotected(&daemon, "jail 'postfix' sees nothing: /var/log/mail.log: missing");
    fs::write(site.log("mail.log"), "").unwrap();
    let protected = || (daemon.ask(&["status"])["protected"] == true).then_some(());
    wait::until("the log to be read", protected, || daemon.evidence());
}

/// The first user's own pattern, where they put it: at the end of Debian's filter, behind `[Init]`. There it takes the
/// place of the whole list, and it names no address.
#[test]
fn a_pattern_that_takes_the_place_of_all_others() {
    let site = Site::new(Logs::Own);
    fs::write(site.log("mail.log"), "").unwrap();
    let filter = fs::read_to_string(debian::fail2ban().join("filter.d/postfix.conf")).unwrap();
    let filter = filter + include_str!("first-user/failregex.txt");
    site.configuration(&[("filter.d/postfix.conf", &filter)]);
    let daemon = site.guard("[postfix]\nenabled = true\n");
    unprotected(&daemon, "jail 'postfix' sees nothing: it has no failregex");
    let status = daemon.ask(&["status"])["diagnostics"].to_string();
    assert!(status.contains("names no address"), "{status}");
}

#[test]
fn a_jail_that_is_not_there() {
    let site = Site::new(Logs::Own);
    let daemon = site.guard("");
    unprotected(&daemon, "no jail is in force; enable one in jail.local");
    for words in [
        &["status", "nojail"][..],
        &["banned", "--jail", "nojail"],
        &["unban", "192.0.2.7", "--jail", "nojail"],
        &["ban", "192.0.2.7", "--jail", "nojail"],
    ] {
        let output = daemon.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(error.contains("'nojail'"), "{words:?}: {error}");
    }
}
