//! The log of who came in: sshd, and what else authenticates.

use super::Kind::{Hostile, Near, Noted, Plain};
use super::{Shape, row};

const SSHD: &str = "sshd[#]";
const SESSION: &str = "sshd-session[#]";

/// Messages that filter `sshd[mode=aggressive]` matches. Those that name nobody belong to a session that was named before.
#[rustfmt::skip]
pub(crate) const MATCHED: &[Shape] = &[
    row(Hostile, 40, SSHD, "Failed password for root from {ip} port {port} ssh2"),
    row(Hostile, 30, SSHD, "Failed password for invalid user {user} from {ip} port {port} ssh2"),
    row(Hostile, 6, SESSION, "Failed password for {user} from {ip} port {port} ssh2"),
    row(Hostile, 3, SSHD, "Failed keyboard-interactive/pam for invalid user {user} from {ip} port {port} ssh2"),
    row(Hostile, 3, SSHD, "Failed none for invalid user {user} from {ip} port {port} ssh2"),
    row(Hostile, 25, SSHD, "Invalid user {user} from {ip} port {port}"),
    row(Hostile, 1, SSHD, "Invalid user {base:700} from {ip} port {port}"),
    row(Hostile, 4, SSHD, "error: PAM: Authentication failure for root from {ip}"),
    row(Hostile, 3, SSHD, "error: PAM: User not known to the underlying authentication module for illegal user {user} from {ip}"),
    row(Hostile, 18, SSHD, "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}  user=root"),
    row(Hostile, 8, SSHD, "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={ip}"),
    row(Hostile, 18, SSHD, "Connection closed by authenticating user root {ip} port {port} [preauth]"),
    row(Hostile, 14, SSHD, "Connection closed by invalid user {user} {ip} port {port} [preauth]"),
    row(Hostile, 10, SESSION, "Disconnected from invalid user {user} {ip} port {port} [preauth]"),
    row(Hostile, 10, SSHD, "Disconnected from authenticating user root {ip} port {port} [preauth]"),
    row(Hostile, 14, SSHD, "Received disconnect from {ip} port {port}:11: Bye Bye [preauth]"),
    row(Hostile, 4, SSHD, "Connection reset by {ip} port {port} [preauth]"),
    row(Hostile, 4, SSHD, "Connection closed by {ip} port {port} [preauth]"),
    row(Hostile, 4, SSHD, "error: maximum authentication attempts exceeded for root from {ip} port {port} ssh2 [preauth]"),
    row(Hostile, 2, SSHD, "error: Received disconnect from {ip} port {port}:14: No supported authentication methods available [preauth]"),
    row(Hostile, 2, SSHD, "error: Received disconnect from {ip} port {port}:3: com.jcraft.jsch.JSchException: Auth fail [preauth]"),
    row(Hostile, 4, SSHD, "Did not receive identification string from {ip} port {port}"),
    row(Hostile, 3, SSHD, "fatal: Timeout before authentication for {ip} port {port}"),
    row(Hostile, 3, SSHD, "banner exchange: Connection from {ip} port {port}: invalid format"),
    row(Hostile, 2, SSHD, "Bad protocol version identification '{words:10-200}' from {ip} port {port}"),
    row(Hostile, 3, SSHD, "Unable to negotiate with {ip} port {port}: no matching key exchange method found. Their offer: diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1 [preauth]"),
    row(Hostile, 2, SSHD, "User {user} from {ip} not allowed because not listed in AllowUsers"),
    row(Hostile, 2, SSHD, "User {user} from {ip} not allowed because none of user's groups are listed in AllowGroups"),
    row(Hostile, 1, SSHD, "refused connect from {name} ({ip})"),
    row(Hostile, 2, SSHD, "Disconnecting: Too many authentication failures for root [preauth]"),
    row(Noted, 8, SSHD, "Connection from {ip} port {port} on {here} port 22 rdomain \"\""),
    row(Noted, 4, SSHD, "Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:{base:43}"),
    row(Noted, 2, SSHD, "Accepted password for {user} from {ip} port {port} ssh2"),
    row(Noted, 2, SSHD, "Failed publickey for {user} from {ip} port {port} ssh2: RSA SHA256:{base:43}"),
    row(Noted, 4, SSHD, "Received disconnect from {ip} port {port}:11: disconnected by user"),
];

/// What no filter matches, some of it nearly.
#[rustfmt::skip]
pub(crate) const PEACEFUL: &[Shape] = &[
    row(Near, 10, SSHD, "pam_unix(sshd:auth): check pass; user unknown"),
    row(Near, 8, SSHD, "Postponed keyboard-interactive for invalid user {user} from {ip} port {port} ssh2 [preauth]"),
    row(Near, 5, SSHD, "reverse mapping checking getaddrinfo for {domain} [{ip}] failed."),
    row(Near, 4, SSHD, "fatal: ssh_dispatch_run_fatal: Connection from {ip} port {port}: Broken pipe [preauth]"),
    row(Near, 3, SSHD, "userauth_pubkey: signature algorithm ssh-rsa not in PubkeyAcceptedAlgorithms [preauth]"),
    row(Near, 8, SSHD, "Disconnected from user {user} {ip} port {port}"),
    row(Near, 3, SSHD, "input_userauth_request: invalid user {user} [preauth]"),
    row(Near, 2, SSHD, "error: kex_exchange_identification: banner line contains invalid characters"),
    row(Near, 2, SSHD, "error: key_exchange: {words:40-600} [preauth]"),
    row(Plain, 20, SSHD, "pam_unix(sshd:session): session opened for user {user}(uid={number:1000-1200}) by (uid=0)"),
    row(Plain, 20, SSHD, "pam_unix(sshd:session): session closed for user {user}"),
    row(Plain, 6, SSHD, "Starting session: shell on pts/{number:0-20} for {user} from {ip} port {port} id 0"),
    row(Plain, 4, SSHD, "Close session: user {user} from {ip} port {port} id 0"),
    row(Plain, 6, SSHD, "Transferred: sent {number:1000-900000}, received {number:1000-900000} bytes"),
    row(Plain, 5, SSHD, "subsystem request for sftp by user {user}"),
    row(Plain, 1, SSHD, "Server listening on 0.0.0.0 port 22."),
    row(Plain, 8, "sftp-server[#]", "session opened for local user {user} from [{ip}]"),
    row(Plain, 10, "sftp-server[#]", "open \"/srv/{words:10-300}\" flags READ mode 0666"),
    row(Plain, 10, "sudo", "{user} : TTY=pts/{number:0-20} ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/apt-get update"),
    row(Plain, 2, "sudo", "{user} : TTY=pts/{number:0-20} ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/rsync {words:200-1700}"),
    row(Plain, 10, "sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by {user}(uid={number:1000-1200})"),
    row(Plain, 10, "sudo", "pam_unix(sudo:session): session closed for user root"),
    row(Plain, 3, "su[#]", "(to root) {user} on pts/{number:0-20}"),
    row(Plain, 14, "CRON[#]", "pam_unix(cron:session): session opened for user {user}(uid={number:0-1200}) by (uid=0)"),
    row(Plain, 14, "CRON[#]", "pam_unix(cron:session): session closed for user {user}"),
    row(Plain, 8, "CRON[#]", "({user}) CMD (   cd / && run-parts --report /etc/cron.hourly)"),
    row(Plain, 8, "systemd-logind[#]", "New session {number:1-90000} of user {user}."),
    row(Plain, 8, "systemd-logind[#]", "Session {number:1-90000} logged out. Waiting for processes to exit."),
    row(Plain, 6, "systemd-logind[#]", "Removed session {number:1-90000}."),
    row(Plain, 2, "polkitd[#]", "Registered Authentication Agent for unix-process:{number:900-32000}:{number:90000-9000000} (system bus name :1.{number:10-900}, locale en_US.UTF-8)"),
    row(Plain, 2, "dbus-daemon[#]", "[system] Successfully activated service 'org.freedesktop.{user}'"),
    row(Plain, 1, "useradd[#]", "new user: name={user}, UID={number:1000-1200}, GID={number:1000-1200}, home=/home/{user}, shell=/bin/bash, from=none"),
];
