//! What counts beside failed log-ins: refused recipients, connections that break off.

use crate::site::{FAR, FAR_TOO, Logs, Site};

/// The stock's postfix jail in a mode.
fn jail(mode: &str) -> String {
    format!("[postfix]\nenabled = true\nmaxretry = 3\nfilter = postfix[mode={mode}]\n")
}

#[test]
fn refused_recipients() {
    let site = Site::with_mail(Logs::Own);
    let daemon = site.guard(&jail("normal"));
    for _ in 0..3 {
        site.client(FAR_TOO).guess_smtp();
    }
    for _ in 0..3 {
        site.client(FAR).relay();
    }
    daemon.wait_for_ban("postfix", FAR);
    assert!(site.client(FAR).smtp().is_dropped());
    // In this mode passwords may be guessed, as in Fail2Ban's.
    assert!(site.client(FAR_TOO).smtp().is_open());
    daemon.wait_for_failures("postfix", 3);
}

/// Each broken-off log-in counts once, whether the password had been sent or not.
#[test]
fn lost_connection_after_auth() {
    let site = Site::with_mail(Logs::Own);
    // What this mode sees of the tests' own first look at the servers.
    let before = 1;
    let daemon = site.guard(&jail("ddos"));
    daemon.wait_for_failures("postfix", before);
    site.client(FAR).hang_up_after_auth();
    site.client(FAR).guess_and_hang_up();
    daemon.wait_for_failures("postfix", before + 2);
    site.client(FAR).hang_up_after_auth();
    daemon.wait_for_ban("postfix", FAR);
    daemon.wait_for_failures("postfix", before + 3);
    let log = site.read_log("mail.log");
    let lost = format!("lost connection after AUTH from unknown[{FAR}]");
    assert_eq!(log.matches(&lost).count(), 3, "{log}");
    assert!(site.client(FAR).smtp().is_dropped());
    assert!(site.client(FAR_TOO).smtp().is_open());
}
