//! A real Postfix that takes no mail from anybody and asks Dovecot about passwords.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::site::{Logs, NEAR_TOO, SERVER, Site};
use crate::wait;

/// The queue's folders: those of the daemons, and those that programs of other users reach.
const PRIVATE: &[&str] = &[
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "incoming", "private", "saved", "trace",
];
const PUBLIC: &[(&str, u32)] = &[("public", 0o710), ("maildrop", 0o730)];

const SERVICES: &str = "\
smtp      inet  n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
anvil     unix  - - n - 1 anvil
proxymap  unix  - - n - - proxymap
error     unix  - - n - - error
postlog   unix-dgram n - n - 1 postlogd
";

/// Starts it and waits until it answers.
pub(crate) fn start(site: &Site) {
    let folder = site.path("postfix");
    fs::create_dir_all(folder.join("etc")).unwrap();
    make_queue(&folder);
    let log = match site.logs() {
        Logs::Own => "maillog_file = /var/log/mail.log",
        Logs::Rsyslog(_) => "maillog_file =",
    };
    let settings = format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
{log}
myhostname = mail.example.com
mydestination = example.com
mynetworks = 127.0.0.0/8
inet_interfaces = all
inet_protocols = all
alias_maps =
alias_database =
local_recipient_maps =
default_transport = error:no mail leaves this machine
local_transport = error:no mail stays here
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unauth_destination
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_client_connection_rate_limit = 0
",
        folder = folder.display(),
        sasl = site.path("dovecot/sasl").display(),
    );
    write_old(&folder.join("etc/main.cf"), &settings);
    write_old(&folder.join("etc/master.cf"), SERVICES);
    let mut command = site.command("/usr/lib/postfix/sbin/master");
    site.start("postfix", command.arg("-d").arg("-c").arg(folder.join("etc")));
    wait::until(
        "Postfix's greeting",
        || site.client(NEAR_TOO).knock(SERVER, 25).is_open().then_some(()),
        || site.read_log("postfix.out") + &site.all_logs(),
    );
}

/// Of a file that was changed a moment ago Postfix thinks that it may still be changing, and waits.
fn write_old(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

fn make_queue(folder: &Path) {
    let postfix = number("postfix", "-u");
    let make = |path: &Path, mode: u32, owner: u32, group: Option<u32>| {
        fs::create_dir(path).unwrap();
        chown(path, Some(owner), group).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    make(&folder.join("data"), 0o700, postfix, None);
    let queue = folder.join("queue");
    make(&queue, 0o755, 0, None);
    make(&queue.join("pid"), 0o755, 0, None);
    for name in PRIVATE {
        make(&queue.join(name), 0o700, postfix, None);
    }
    // The group of "postdrop", which the package makes with it; no other program of ours asks for it.
    let group = group("postdrop");
    for (name, mode) in PUBLIC {
        make(&queue.join(name), *mode, postfix, group);
    }
}

fn number(user: &str, option: &str) -> u32 {
    let output = Command::new("id").args([option, user]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

fn group(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}
