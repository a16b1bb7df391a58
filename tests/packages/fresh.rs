//! A fresh Debian without any Fail2Ban: the first user's seven steps as they type them, and what systemd does to the
//! service.

use crate::attacker::{Attacker, BANNED, OTHER};
use crate::machine::{Machine, text};

const JAILS: &str = include_str!("../service/first-user/jail.local");
const ACTION: &str = include_str!("../gcp/first-user/gcloud-ban.conf");
const PATTERN: &str = include_str!("../service/first-user/failregex.txt");

/// Counts what of the banned address comes past our table.
const WATCH: &str = "nft 'add table inet watch
    add chain inet watch in { type filter hook input priority 10; }
    add rule inet watch in ip saddr 203.0.113.5 tcp flags syn counter'";

/// Their mail server asks Dovecot for passwords.
const SASL: &str = "service auth {\n  unix_listener /var/spool/postfix/private/auth {\n    mode = 0660\n    user = postfix\n    group = postfix\n  }\n}\n";

pub(crate) fn mail_server() -> Machine {
    let machine = Machine::boot();
    machine.write("/etc/dovecot/conf.d/99-sasl.conf", SASL);
    machine.type_in(
        "postconf -e smtpd_sasl_auth_enable=yes smtpd_sasl_type=dovecot smtpd_sasl_path=private/auth
         systemctl restart dovecot postfix",
    );
    machine
}

/// Nobody who is banned gets in while this is done.
pub(crate) fn lets_nobody_in(machine: &Machine, attacker: &Attacker, port: u16, what: &str, deed: impl FnOnce()) {
    let flood = attacker.flood(BANNED, port);
    deed();
    let (tried, connected) = flood.end();
    println!("{what}: {tried} tries, {connected} connections");
    assert!(tried > 20, "{what}: only {tried} tries");
    assert_eq!(connected, 0, "{what}: {tried} tries\n{}", machine.journal());
    let counted = machine.type_in("nft list table inet watch");
    assert!(counted.contains("packets 0 "), "{what}: {counted}");
}

/// The steps, but for the look into the cloud, which there is none of here: tests/gcp has it.
fn the_seven_steps(machine: &Machine) {
    machine.type_in("sudo apt-get install -y ./portcullis_*.deb");
    machine.write("/etc/fail2ban/action.d/gcloud-ban.conf", ACTION);
    machine.write("/etc/fail2ban/jail.local", JAILS);
    machine.type_in("grep mdre-auth /etc/fail2ban/filter.d/postfix.conf");
    machine.type_in("sudo systemctl restart fail2ban");
    let log = text(&machine.run("sudo timeout 2 tail -f /var/log/fail2ban.log").stdout);
    assert!(
        log.contains("Server ready") && log.contains("Jail 'dovecot' started"),
        "{log}"
    );
    confined(machine);
    let line = PATTERN.trim_end();
    machine.write("/root/pattern", &format!("{line}\n"));
    machine.type_in("sudo tee -a /etc/fail2ban/filter.d/postfix.conf </root/pattern");
    machine.type_in("sudo systemctl restart fail2ban");
}

/// Under the unit, too, the daemon gives up all that it can, and what is open to it is known.
fn confined(machine: &Machine) {
    let said = machine.type_in("grep ' sandbox: ' /var/log/fail2ban.log");
    let folders = "writes only below /run/fail2ban, /var/lib/fail2ban, /var/lib/portcullis, /var/log;";
    for part in [
        folders,
        "no new privileges;",
        "no capabilities but net_admin",
        "no programs, no listeners",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("not given up"), "{said}");
}

/// Other processes are hidden from the service, and still it is known who is logged in.
#[test]
fn who_is_logged_in_is_spared() {
    let machine = mail_server();
    let attacker = Attacker::of(&machine);
    machine.install();
    let jails =
        "[DEFAULT]\nbanaction = nft[type=allports, spare_sessions=yes]\nmaxretry = 3\n[dovecot]\nenabled = true\n";
    machine.write("/etc/fail2ban/jail.local", jails);
    machine.type_in("systemctl restart fail2ban");
    let record = format!(
        "UID=1000\nUSER=ann\nACTIVE=1\nSTATE=active\nREMOTE=1\nTYPE=tty\nCLASS=user\nREMOTE_HOST={OTHER}\n\
         SERVICE=sshd\nLEADER={}",
        machine.type_in("systemctl show -p MainPID --value dovecot")
    );
    machine.write("/run/systemd/sessions/99", &record);
    for who in [OTHER, BANNED] {
        attacker.guess(who, 143, 4);
        machine.until_said("fail2ban-client get dovecot banip", who);
    }
    let kernel = machine.until_said("nft list table inet portcullis", BANNED);
    assert!(!kernel.contains(OTHER), "{kernel}");
    let banned = machine.type_in("portcullis banned");
    assert!(banned.contains("the client of an open SSH session"), "{banned}");
    machine.type_in("rm /run/systemd/sessions/99");
    machine.until_said("nft list table inet portcullis", OTHER);
}

#[test]
fn the_first_users_machine() {
    let machine = mail_server();
    let attacker = Attacker::of(&machine);
    the_seven_steps(&machine);
    assert_eq!(
        machine.type_in("stat -c '%a %U:%G' /var/log/fail2ban.log"),
        "640 root:adm\n"
    );
    assert_eq!(machine.type_in("systemctl is-enabled fail2ban"), "enabled\n");
    assert!(
        machine
            .type_in("systemctl status portcullis")
            .contains("fail2ban.service")
    );
    machine.until_said("systemctl show -p StatusText fail2ban", "rotected");
    let verified = machine.run("systemd-analyze verify --man=no fail2ban.service portcullis.socket");
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{}",
        text(&verified.stderr)
    );

    machine.type_in(WATCH);
    attacker.guess(BANNED, 143, 4);
    machine.until_said("fail2ban-client get dovecot banip", BANNED);
    attacker.guess(OTHER, 25, 4);
    machine.until_said("fail2ban-client get postfix banip", OTHER);
    machine.until_said("nft list table inet portcullis", BANNED);
    machine.type_in("nft reset counters table inet watch >/dev/null; nft flush table inet watch");
    machine.type_in("nft add rule inet watch in ip saddr 203.0.113.5 tcp flags syn counter");

    systemd_at_work(&machine, &attacker);
    broken(&machine, &attacker);
    freed(&machine, &attacker);
}

/// Restart, reload, a death and a hang let nobody in.
fn systemd_at_work(machine: &Machine, attacker: &Attacker) {
    lets_nobody_in(machine, attacker, 143, "restart and reload", || {
        for verb in ["restart", "reload", "restart", "reload-or-restart", "try-restart"] {
            machine.type_in(&format!("systemctl {verb} fail2ban"));
        }
    });
    lets_nobody_in(machine, attacker, 143, "kill -9 of everything", || {
        machine.type_in("systemctl kill -s KILL fail2ban; sleep 2");
        machine.until_said("systemctl is-active fail2ban", "active");
        machine.until_said("fail2ban-client ping", "pong");
    });
    lets_nobody_in(machine, attacker, 143, "a daemon that hangs", || {
        let drop_in = "mkdir -p /run/systemd/system/fail2ban.service.d
            printf '[Service]\\nWatchdogSec=3\\n' >/run/systemd/system/fail2ban.service.d/soon.conf
            systemctl daemon-reload && systemctl restart fail2ban";
        machine.type_in(drop_in);
        // It lives on for as long as it is well, although nothing happens.
        let pid = machine.type_in("sleep 5; systemctl show -p MainPID fail2ban");
        assert_eq!(
            machine.type_in("systemctl show -p MainPID,NRestarts fail2ban"),
            format!("{pid}NRestarts=0\n")
        );
        machine.type_in("pkill -STOP -P $(systemctl show -p MainPID --value fail2ban)");
        machine.until_said("systemctl show -p NRestarts fail2ban", "NRestarts=1");
        machine.until_said("fail2ban-client ping", "pong");
        machine.type_in(
            "rm -r /run/systemd/system/fail2ban.service.d; systemctl daemon-reload; systemctl restart fail2ban",
        );
    });
}

/// What cannot be read is named with file and line, and what was in force stays.
fn broken(machine: &Machine, attacker: &Attacker) {
    let before = machine.banned();
    lets_nobody_in(machine, attacker, 143, "a broken configuration", || {
        machine.type_in("cp /etc/fail2ban/jail.local /root/good");
        machine.write(
            "/etc/fail2ban/jail.local",
            "[dovecot]\nenabled = true\nmaxretry = 3\n[postfix\nfilter = nothing-of-that-name\n",
        );
        let reload = machine.run("systemctl reload fail2ban");
        assert!(!reload.status.success(), "a reload that went wrong says so");
        let status = text(&machine.run("systemctl status -l --no-pager fail2ban").stdout);
        assert!(status.contains("active (running)"), "{status}");
        assert!(status.contains("/etc/fail2ban/jail.local:4"), "{status}");
        assert_eq!(machine.banned(), before);
        machine.type_in("systemctl restart fail2ban");
        machine.until_said("systemctl show -p StatusText fail2ban", "/etc/fail2ban/jail.local:4");
        assert_eq!(machine.banned(), before);
        machine.type_in("cp /root/good /etc/fail2ban/jail.local; systemctl restart fail2ban");
    });
    assert_eq!(machine.banned(), before);
}

/// A stop frees everybody until the next start; removing the package frees for good, and a purge leaves nothing.
fn freed(machine: &Machine, attacker: &Attacker) {
    machine.type_in("systemctl stop fail2ban");
    assert!(!machine.type_in("nft list tables").contains("portcullis"));
    assert!(attacker.connects(BANNED, 143), "everybody is free");
    machine.type_in("systemctl start fail2ban");
    machine.until_said("nft list table inet portcullis", BANNED);
    assert!(!attacker.connects(BANNED, 143), "a start bans again");
    machine.type_in("apt-get remove -y portcullis");
    assert!(attacker.connects(BANNED, 143), "everybody is free");
    assert!(
        machine.exists("/etc/fail2ban/jail.conf"),
        "what may have been edited stays"
    );
    machine.type_in("apt-get purge -y portcullis");
    for gone in [
        "/etc/fail2ban/jail.conf",
        "/etc/fail2ban/filter.d",
        "/etc/logrotate.d/fail2ban",
        "/var/lib/portcullis",
        "/var/lib/fail2ban",
        "/var/log/fail2ban.log",
        "/usr/bin/fail2ban-client",
    ] {
        assert!(!machine.exists(gone), "{gone} is still there");
    }
    assert!(machine.exists("/etc/fail2ban/jail.local"), "that is the user's");
    let left =
        machine.type_in("dpkg-divert --list '*fail2ban*'; systemctl list-unit-files --no-legend 'fail2ban*' || true");
    assert_eq!(left, "");
}

/// What shell actions do, in the words of users: the packet filter, files, mail, other users, slower programs.
const DEEDS: &str = "[Definition]
actionban = mkdir -p /var/lib/theirs && cd /var/lib/theirs
            iptables -I INPUT -s <ip> -j DROP
            nft 'add table inet theirs'
            echo 'ALL: <ip>' >>/etc/hosts.deny
            echo <ip> >list && chown nobody list && kill -0 1
            date >/run/last-ban; date >/opt/last-ban; date >/tmp/last-ban; date >/root/last-ban
            printf 'Subject: banned\\n\\n<ip> is banned\\n' | sendmail root
            su -s /bin/sh -c 'id -un' nobody >who
            nice -n 5 id -un >nice
            touch /usr/theirs 2>refused
            mount -t tmpfs none /mnt 2>>refused
            unshare --net true 2>>refused
            date >done
";

/// The hardening of the unit leaves the commands of actions what they need, and nothing that no action needs.
#[test]
fn actions_keep_what_they_need() {
    let machine = Machine::boot();
    machine.install();
    machine.write("/etc/fail2ban/action.d/deeds.conf", DEEDS);
    machine.write(
        "/etc/fail2ban/jail.local",
        "[sshd]\nenabled = true\naction = deeds\nlogpath = /var/log/mail.log\n",
    );
    machine.type_in("touch /var/log/mail.log; systemctl restart fail2ban");
    machine.type_in("fail2ban-client set sshd banip 203.0.113.9");
    machine.until_said("cat /var/lib/theirs/done", "20");
    for (look, expect) in [
        ("iptables -S INPUT", "-s 203.0.113.9/32 -j DROP"),
        ("nft list tables", "inet theirs"),
        ("cat /etc/hosts.deny", "ALL: 203.0.113.9"),
        ("stat -c %U /var/lib/theirs/list", "nobody"),
        ("cat /var/lib/theirs/who", "nobody"),
        ("cat /var/lib/theirs/nice", "root"),
        ("cat /run/last-ban /opt/last-ban /root/last-ban", "20"),
        ("cat /var/mail/*", "203.0.113.9 is banned"),
        (
            "cat /var/lib/theirs/refused",
            "touch: cannot touch '/usr/theirs': Read-only file system",
        ),
        ("cat /var/lib/theirs/refused", "mount: /mnt: "),
        (
            "cat /var/lib/theirs/refused",
            "unshare: unshare failed: Operation not permitted",
        ),
    ] {
        machine.until_said(look, expect);
    }
    assert!(!machine.exists("/usr/theirs"));
    // What a command has in /tmp is its own.
    assert!(!machine.exists("/tmp/last-ban"));
}
