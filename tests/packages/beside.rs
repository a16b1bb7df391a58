//! Beside Debian's own fail2ban: its seat is taken with every ban, and given back with every ban.

use crate::attacker::Attacker;
use crate::fresh::lets_nobody_in;
use crate::machine::{Machine, text, until};

const JAILS: &str = include_str!("../service/first-user/jail.local");
const ACTION: &str = include_str!("../gcp/first-user/gcloud-ban.conf");

/// Half of them in each jail; one address is in both.
const BANS: usize = 1000;

/// What Fail2Ban needs beside their files: the kernel bans as well, and longer for those who come back.
const MORE: &str = "[DEFAULT]
bantime = 1d
bantime.increment = true
[sshd]
enabled = false
[postfix]
action = gcloud-ban
         %(action_)s
[dovecot]
action = gcloud-ban
         %(action_)s
";

/// Bans of different lengths, counts and ages, as Fail2Ban writes them.
const FILL: &str = "python3 - <<'END'
import sqlite3, time
base, now = sqlite3.connect('/var/lib/fail2ban/fail2ban.sqlite3'), int(time.time())
for number in range(1000):
    jail = ('postfix', 'dovecot')[number % 2]
    who = '203.0.113.5' if number < 2 else f'10.9.{number // 250}.{number % 250 + 1}'
    row = (who, jail, now - 60, 86400 * (1 + number % 3), 1 + number % 5, '{\"matches\": [], \"failures\": 3}')
    base.execute('insert into bips(ip, jail, timeofban, bantime, bancount, data) values(?, ?, ?, ?, ?, ?)', row)
base.commit()
END";

/// Everything that is kept of bans and positions, in one order.
const KEPT: &str = "python3 - <<'END'
import sqlite3
base = sqlite3.connect('/var/lib/fail2ban/fail2ban.sqlite3')
for row in base.execute('select jail, ip, timeofban, bantime, bancount from bips order by 1, 2'):
    print(*row)
for row in base.execute('select jail, path, firstlinemd5, lastfilepos from logs order by 1, 2'):
    print(*row)
END";

/// Debian's fail2ban with the first user's files, holding its bans. `%(banip)s` is written as Fail2Ban takes it, and
/// gcloud is there but does nothing.
fn fail2ban() -> (Machine, Attacker) {
    let machine = Machine::boot();
    let attacker = Attacker::of(&machine);
    machine.write("/usr/bin/gcloud", "#!/bin/sh\nexit 0\n");
    machine.type_in("chmod 755 /usr/bin/gcloud; touch /var/log/mail.log");
    machine.write(
        "/etc/fail2ban/action.d/gcloud-ban.conf",
        &ACTION.replace("%(banip)s", "<ip>"),
    );
    machine.write("/etc/fail2ban/jail.local", JAILS);
    machine.write("/etc/fail2ban/jail.d/more.local", MORE);
    machine.type_in("apt-get install -y --no-install-recommends fail2ban");
    // Ubuntu 22.04 leaves that to people.
    machine.type_in("systemctl enable --quiet --now fail2ban 2>&1");
    machine.until_said("fail2ban-client ping", "pong");
    machine.type_in("systemctl stop fail2ban");
    machine.type_in(FILL);
    machine.type_in("systemctl start fail2ban");
    until(
        "Fail2Ban has restored its bans",
        || (machine.banned().len() == BANS).then_some(()),
        || machine.journal(),
    );
    machine.type_in(
        "nft 'add table inet watch
        add chain inet watch in { type filter hook input priority 10; }
        add rule inet watch in ip saddr 203.0.113.5 tcp dport { 25, 143 } tcp flags syn counter'",
    );
    (machine, attacker)
}

fn is_ours(machine: &Machine) -> bool {
    let exe = text(
        &machine
            .run("readlink /proc/$(systemctl show -p MainPID --value fail2ban)/exe")
            .stdout,
    );
    exe.trim() == "/usr/bin/portcullis"
}

/// The bridge is gone, and with it what it held.
fn crossed(machine: &Machine) {
    until(
        "the new server holds every ban",
        || (!machine.exists("/run/portcullis-bridge.pid")).then_some(()),
        || text(&machine.run("nft list tables; fail2ban-client banned").stdout) + &machine.journal(),
    );
    assert!(!machine.type_in("nft list tables").contains("bridge"));
}

/// One machine sees both stories, because it takes Fail2Ban long to have its bans in force.
#[test]
fn the_seat_is_taken_and_given_back_and_kept() {
    let (machine, attacker) = fail2ban();
    taken_and_given_back(&machine, &attacker);
    fail2ban_goes_and_takes_nothing_of_ours(&machine, &attacker);
}

fn taken_and_given_back(machine: &Machine, attacker: &Attacker) {
    let (banned, kept) = (machine.banned(), machine.type_in(KEPT));
    assert_eq!(banned.len(), BANS);
    let files = machine.type_in("cd /etc/fail2ban; find . -type f | sort | xargs md5sum");

    lets_nobody_in(machine, attacker, 143, "Fail2Ban to portcullis", || {
        machine.install();
        crossed(machine);
    });
    assert!(is_ours(machine));
    assert_eq!(machine.banned(), banned);
    assert_eq!(machine.type_in(KEPT), kept);
    assert_eq!(
        machine.type_in("cd /etc/fail2ban; find . -type f | sort | xargs md5sum"),
        files,
        "no file of theirs changes"
    );
    assert!(machine.type_in("fail2ban-python -c 'print(1)'").starts_with('1'));
    let page = machine.type_in("zcat /usr/share/man/man5/jail.conf.5.gz");
    assert!(page.contains("portcullis"), "{page}");

    lets_nobody_in(machine, attacker, 143, "portcullis to Fail2Ban", || {
        machine.type_in("apt-get remove -y portcullis");
        crossed(machine);
    });
    assert!(!is_ours(machine));
    // Whichever the system has: 1.0.2 on Debian 12, 0.11.2 on Ubuntu 22.04.
    let theirs = machine.type_in("dpkg-query -W -f '${Version}' fail2ban");
    let theirs = theirs.split('-').next().unwrap();
    assert!(machine.type_in("fail2ban-client version").starts_with(theirs));
    assert_eq!(machine.banned(), banned);
    assert_eq!(rows(&machine.type_in(KEPT)), rows(&kept));
    assert_eq!(machine.type_in("dpkg-divert --list '*fail2ban*'"), "");
    machine.type_in("apt-get purge -y portcullis");
    assert_eq!(machine.banned(), banned, "the purge leaves Fail2Ban whole");
    assert_eq!(
        machine.type_in("cd /etc/fail2ban; find . -type f | sort | xargs md5sum"),
        files
    );
    assert_eq!(machine.type_in("dpkg --verify fail2ban"), "");
}

/// Without the log positions, which Fail2Ban rewrites as it reads.
fn rows(kept: &str) -> Vec<&str> {
    kept.lines().filter(|line| !line.contains("/var/log/")).collect()
}

fn fail2ban_goes_and_takes_nothing_of_ours(machine: &Machine, attacker: &Attacker) {
    let banned = machine.banned();
    machine.install();
    crossed(machine);
    for (what, command) in [
        ("removed", "apt-get remove -y fail2ban"),
        ("purged", "apt-get purge -y fail2ban"),
    ] {
        lets_nobody_in(machine, attacker, 143, what, || {
            machine.type_in(command);
            machine.until_said("fail2ban-client ping", "pong");
        });
        assert!(is_ours(machine), "{what}");
        assert_eq!(machine.banned(), banned, "{what}");
        assert_eq!(machine.type_in("systemctl is-enabled fail2ban"), "enabled\n", "{what}");
        for file in [
            "/var/lib/fail2ban/fail2ban.sqlite3",
            "/var/log/fail2ban.log",
            "/etc/fail2ban/jail.local",
        ] {
            assert!(machine.exists(file), "{file} after it was {what}");
        }
    }
    lets_nobody_in(machine, attacker, 143, "a restart after it", || {
        machine.type_in("systemctl restart fail2ban");
    });
    assert_eq!(machine.banned(), banned);
    assert_eq!(machine.type_in("dpkg --verify portcullis"), "");
}
