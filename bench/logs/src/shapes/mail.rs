//! A mail server's log: Postfix and Dovecot, and what stands around them.

use super::Kind::{Hostile, Near, Plain, Strict};
use super::{Shape, row};

const SMTPD: &str = "postfix/smtpd[#]";
const SUBMISSION: &str = "postfix/submission/smtpd[#]";
const SMTPS: &str = "postfix/smtps/smtpd[#]";
const POSTSCREEN: &str = "postfix/postscreen[#]";
const CLEANUP: &str = "postfix/cleanup[#]";
const SMTP: &str = "postfix/smtp[#]";

/// Messages that filter `postfix` matches, the first of them failed passwords.
#[rustfmt::skip]
pub(crate) const POSTFIX_HOSTILE: &[Shape] = &[
    row(Hostile, 30, SMTPD, "warning: {name}[{ip}]: SASL LOGIN authentication failed: authentication failure, sasl_username={user}"),
    row(Hostile, 20, SUBMISSION, "warning: unknown[{ip}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"),
    row(Hostile, 12, SMTPS, "warning: {name}[{ip}]: SASL PLAIN authentication failed: authentication failure, sasl_username={mail}"),
    row(Hostile, 4, SUBMISSION, "warning: {name}[{ip}]: SASL CRAM-MD5 authentication failed: {base:72}"),
    row(Hostile, 12, SMTPD, "lost connection after CONNECT from {name}[{ip}]"),
    row(Hostile, 6, SMTPD, "lost connection after EHLO from {name}[{ip}]"),
    row(Hostile, 3, SMTPS, "lost connection after UNKNOWN from {name}[{ip}]"),
    row(Hostile, 12, SUBMISSION, "disconnect from {name}[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3"),
    row(Hostile, 6, SMTPD, "disconnect from {name}[{ip}] ehlo=2 starttls=1 auth=0/{number:2-12} rset=1 commands=4/{number:7-40}"),
    row(Hostile, 9, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.dnsbl.example; https://dnsbl.example/query/ip/{ip}; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Hostile, 8, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 550 5.1.1 <{mail}>: Recipient address rejected: User unknown in virtual mailbox table; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Hostile, 8, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 454 4.7.1 <{mail}>: Relay access denied; from=<{mail}> to=<{mail}> proto=SMTP helo=<{domain}>"),
    row(Hostile, 4, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 450 4.7.1 <{domain}>: Helo command rejected: Host not found; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Hostile, 4, SMTPD, "NOQUEUE: reject: EHLO from {name}[{ip}]: 504 5.5.2 <{user}>: Helo command rejected: need fully-qualified hostname; proto=SMTP helo=<{user}>"),
    row(Hostile, 4, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 450 4.1.8 <{mail}>: Sender address rejected: Domain not found; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Hostile, 1, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 554 5.7.1 <{mail}>: Relay access denied; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{base:900}>"),
    row(Hostile, 1, SMTPD, "improper command pipelining after EHLO from {name}[{ip}]: {words:40-1500}"),
    row(Hostile, 4, SMTPD, "too many errors after AUTH from {name}[{ip}]"),
    row(Hostile, 5, SMTPD, "warning: hostname {domain} does not resolve to address {ip}: Name or service not known"),
    row(Hostile, 3, SMTPD, "warning: Connection rate limit exceeded: {number:31-400} from {name}[{ip}] for service smtp"),
    row(Hostile, 2, SMTPD, "warning: Message delivery request rate limit exceeded: {number:31-90} from {name}[{ip}] for service submission"),
    row(Hostile, 5, POSTSCREEN, "PREGREET {number:8-90} after 0.0{number:1-9} from [{ip}]:{port}: EHLO {domain}\\r\\n"),
    row(Hostile, 4, POSTSCREEN, "HANGUP after {number:0-9}.{number:1-9} from [{ip}]:{port} in tests before SMTP handshake"),
    row(Hostile, 6, POSTSCREEN, "NOQUEUE: reject: RCPT from [{ip}]:{port}: 550 5.7.1 Service unavailable; client [{ip}] blocked using bl.dnsbl.example; from=<{mail}>, to=<{mail}>, proto=ESMTP, helo=<{domain}>"),
    row(Hostile, 2, POSTSCREEN, "COMMAND TIME LIMIT from [{ip}]:{port} after CONNECT"),
    row(Hostile, 1, POSTSCREEN, "COMMAND COUNT LIMIT from [{ip}]:{port} after NOOP"),
    row(Hostile, 2, SMTPD, "{queue}: milter-reject: RCPT from {name}[{ip}]: 550 5.7.1 Command rejected; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
];

/// Messages that filter `dovecot` matches.
#[rustfmt::skip]
pub(crate) const DOVECOT_HOSTILE: &[Shape] = &[
    row(Hostile, 22, "dovecot", "imap-login: Disconnected (auth failed, 1 attempts in {number:2-9} secs): user=<{mail}>, method=PLAIN, rip={ip}, lip={here}, TLS, session=<{session}>"),
    row(Hostile, 9, "dovecot", "pop3-login: Aborted login (auth failed, {number:2-5} attempts in {number:6-40} secs): user=<{user}>, method=PLAIN, rip={ip}, lip={here}, session=<{session}>"),
    row(Hostile, 9, "dovecot", "imap-login: Login aborted: Logged out (auth failed, 1 attempts in {number:2-9} secs) (auth_failed): user=<{mail}>, method=LOGIN, rip={ip}, lip={here}, TLS, session=<{session}>"),
    row(Hostile, 4, "dovecot", "managesieve-login: Disconnected: Too many invalid commands. (auth failed, {number:1-3} attempts in {number:3-30} secs): user=<{user}>, method=PLAIN, rip={ip}, lip={here}, TLS, session=<{session}>"),
    row(Hostile, 3, "dovecot", "imap-login: Disconnected (tried to use disallowed plaintext auth): user=<>, rip={ip}, lip={here}, session=<{session}>"),
    row(Hostile, 12, "dovecot", "auth: passwd-file({mail},{ip},<{session}>): unknown user"),
    row(Hostile, 9, "dovecot", "auth-worker({number:900-32000}): sql({mail},{ip},<{session}>): Password mismatch"),
    row(Hostile, 6, "dovecot", "auth-worker({number:900-32000}): conn unix:auth-worker (pid={number:900-32000},uid=106): auth-worker<{number:1-900}>: sql({mail},{ip},<{session}>): unknown user"),
    row(Hostile, 5, "dovecot", "auth: pam({user},{ip},<{session}>): pam_authenticate() failed: Authentication failure (Password mismatch?)"),
    row(Hostile, 5, "auth", "pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot ruser={user} rhost={ip}"),
    row(Hostile, 2, "dovecot", "submission-login: Disconnected: Connection closed (auth failed, 1 attempts in {number:2-9} secs): user=<{base:400}>, method=PLAIN, rip={ip}, lip={here}, TLS, session=<{session}>"),
];

/// What no filter matches, some of it nearly.
#[rustfmt::skip]
pub(crate) const PEACEFUL: &[Shape] = &[
    row(Near, 6, SUBMISSION, "warning: {name}[{ip}]: SASL LOGIN authentication failed: Connection lost to authentication server"),
    row(Near, 6, SMTPD, "lost connection after DATA ({number:400-90000} bytes) from {name}[{ip}]"),
    row(Near, 5, SUBMISSION, "lost connection after AUTH from {name}[{ip}]"),
    row(Near, 40, SMTPD, "disconnect from {name}[{ip}] ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7"),
    row(Near, 20, SUBMISSION, "disconnect from {name}[{ip}] ehlo=2 starttls=1 auth=1 mail=1 rcpt={number:1-4} data=1 quit=1 commands=8"),
    row(Near, 4, SMTPD, "NOQUEUE: reject: RCPT from {name}[{ip}]: 451 4.3.5 Server configuration problem; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Near, 4, SMTPD, "NOQUEUE: filter: RCPT from {name}[{ip}]: <{mail}>: Sender address triggers FILTER smtp-amavis:[::1]:10024; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Near, 4, CLEANUP, "{queue}: reject: header Subject: {words:20-300} from {name}[{ip}]; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>: 5.7.1 message content rejected"),
    row(Near, 3, CLEANUP, "{queue}: warning: header Received: from {domain} ({name} [{ip}]) by {domain} with ESMTP; {words:100-900} from {name}[{ip}]; from=<{mail}> to=<{mail}> proto=ESMTP helo=<{domain}>"),
    row(Near, 6, SMTP, "{queue}: to=<{mail}>, relay={domain}[{ip}]:25, delay={number:1-40}, delays=0.1/0/1.2/0.4, dsn=5.1.1, status=bounced (host {domain}[{ip}] said: 550 5.1.1 <{mail}>: Recipient address rejected: User unknown in virtual mailbox table (in reply to RCPT TO command))"),
    row(Near, 5, SMTP, "{queue}: host {domain}[{ip}] said: 450 4.7.1 Service unavailable; try again later (in reply to RCPT TO command)"),
    row(Near, 3, "postfix/trivial-rewrite[#]", "warning: do not list domain {domain} in BOTH mydestination and virtual_mailbox_domains"),
    row(Plain, 60, SMTPD, "connect from {name}[{ip}]"),
    row(Plain, 45, SMTPD, "{queue}: client={name}[{ip}]"),
    row(Plain, 20, SUBMISSION, "{queue}: client={name}[{ip}], sasl_method=PLAIN, sasl_username={mail}"),
    row(Plain, 55, CLEANUP, "{queue}: message-id=<{hex:24}@{domain}>"),
    row(Plain, 8, CLEANUP, "{queue}: message-id=<{base:500}@{domain}>"),
    row(Plain, 65, "postfix/qmgr[#]", "{queue}: from=<{mail}>, size={number:900-90000000}, nrcpt={number:1-9} (queue active)"),
    row(Plain, 65, "postfix/qmgr[#]", "{queue}: removed"),
    row(Plain, 45, SMTP, "{queue}: to=<{mail}>, relay={domain}[{ip}]:25, delay={number:1-40}.{number:1-9}, delays=0.2/0.01/0.3/0.9, dsn=2.0.0, status=sent (250 2.0.0 OK {number:1000000000-1999999999} {hex:16} - gsmtp)"),
    row(Plain, 12, SMTP, "{queue}: to=<{mail}>, relay=none, delay={number:100-90000}, delays=90/0.1/30/0, dsn=4.4.1, status=deferred (connect to {domain}[{ip}]:25: Connection timed out)"),
    row(Plain, 4, SMTP, "{queue}: to=<{mail}>, orig_to=<{mail}>, relay={domain}[{ip}]:25, conn_use={number:2-9}, delay=3, dsn=2.6.0, status=sent (250 2.6.0 <{base:200}@{domain}> {words:200-1200})"),
    row(Plain, 25, SMTP, "Untrusted TLS connection established to {domain}[{ip}]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits)"),
    row(Plain, 30, SMTPD, "Anonymous TLS connection established from {name}[{ip}]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature ECDSA (P-256)"),
    row(Plain, 30, "postfix/lmtp[#]", "{queue}: to=<{mail}>, relay={domain}[private/dovecot-lmtp], delay=0.{number:10-99}, delays=0.2/0/0.01/0.1, dsn=2.0.0, status=sent (250 2.0.0 <{mail}> {base:22} Saved)"),
    row(Plain, 8, "postfix/local[#]", "{queue}: to=<{mail}>, relay=local, delay=0.0{number:1-9}, delays=0.02/0/0/0.01, dsn=2.0.0, status=sent (delivered to command: procmail -a \"$EXTENSION\")"),
    row(Plain, 8, "postfix/pickup[#]", "{queue}: uid={number:0-1200} from=<{user}>"),
    row(Plain, 4, "postfix/bounce[#]", "{queue}: sender non-delivery notification: {queue}"),
    row(Plain, 10, "postfix/anvil[#]", "statistics: max connection rate {number:1-90}/60s for (smtp:{ip}) at Jan 15 11:5{number:0-9}:0{number:0-9}"),
    row(Plain, 8, "postfix/anvil[#]", "statistics: max cache size {number:1-900} at Jan 15 11:5{number:0-9}:0{number:0-9}"),
    row(Plain, 20, POSTSCREEN, "CONNECT from [{ip}]:{port} to [{here}]:25"),
    row(Plain, 16, POSTSCREEN, "PASS OLD [{ip}]:{port}"),
    row(Plain, 2, "postfix/tlsmgr[#]", "updating the session cache of smtpd: {number:10-9000} entries, {number:1-99} were too old"),
    row(Plain, 1, "postfix/master[#]", "reload -- version 3.7.{number:1-11}, configuration /etc/postfix"),
    row(Near, 20, "dovecot", "imap({mail})<{number:900-32000}><{session}>: Disconnected: Logged out in={number:50-9000} out={number:300-900000} deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count={number:0-9} body_bytes={number:0-90000}"),
    row(Near, 8, "dovecot", "imap({mail})<{number:900-32000}><{session}>: Disconnected: Connection closed (IDLE running for 0.001 + waiting input for {number:10-1700} secs, 2 B in + 10 B out, state=wait-input) in={number:50-9000} out={number:300-900000}"),
    row(Near, 5, "dovecot", "imap-login: Disconnected: Inactivity during authentication (client didn't send anything): user=<>, rip={ip}, lip={here}, TLS, session=<{session}>"),
    row(Near, 3, "dovecot", "auth: Warning: auth client {number:0-90} disconnected with {number:1-9} pending requests: Connection reset by peer"),
    row(Strict, 8, "dovecot", "imap-login: Disconnected (no auth attempts in {number:0-30} secs): user=<>, rip={ip}, lip={here}, TLS, session=<{session}>"),
    row(Strict, 3, "dovecot", "pop3-login: Disconnected (disconnected before auth was ready, waited {number:0-9} secs): user=<>, rip={ip}, lip={here}, session=<{session}>"),
    row(Plain, 45, "dovecot", "imap-login: Login: user=<{mail}>, method=PLAIN, rip={ip}, lip={here}, mpid={number:900-32000}, TLS, session=<{session}>"),
    row(Plain, 15, "dovecot", "pop3-login: Login: user=<{mail}>, method=PLAIN, rip={ip}, lip={here}, mpid={number:900-32000}, session=<{session}>"),
    row(Plain, 25, "dovecot", "lmtp({mail})<{number:900-32000}><{base:22}>: msgid=<{hex:24}@{domain}>: saved mail to INBOX"),
    row(Plain, 15, "dovecot", "lmtp({number:900-32000}): Connect from local"),
    row(Plain, 8, "dovecot", "lmtp({mail})<{number:900-32000}><{base:22}>: sieve: msgid=<{hex:24}@{domain}>: stored mail into mailbox '{words:6-60}'"),
    row(Plain, 3, "dovecot", "indexer-worker({mail})<{number:900-32000}><{base:22}>: Indexed {number:1-900} messages in INBOX (UIDs {number:1-900}..{number:1000-9000})"),
    row(Plain, 2, "dovecot", "imap({mail})<{number:900-32000}><{session}>: Warning: Mailbox INBOX: UID={number:1-9000}: {words:60-700}"),
    row(Plain, 12, "opendkim[#]", "{queue}: {name} [{ip}] not internal"),
    row(Plain, 12, "opendkim[#]", "{queue}: DKIM-Signature field added (s=mail, d={domain})"),
    row(Plain, 6, "opendmarc[#]", "{queue}: {domain} pass ({number:0-9}.{number:0-99} ms, policy none)"),
    row(Plain, 10, "amavis[#]", "({number:900-32000}-{number:1-20}) Passed CLEAN RelayedInbound, [{ip}]:{port} [{ip}] <{mail}> -> <{mail}>, Queue-ID: {queue}, Message-ID: <{hex:24}@{domain}>, mail_id: {base:12}, Hits: -{number:0-6}.{number:1-9}, size: {number:900-900000}, queued_as: {queue}, {number:90-9000} ms"),
    row(Plain, 6, "spamd[#]", "spamd: result: . {number:0-4} - {words:60-1400} scantime={number:0-9}.{number:1-9},size={number:900-90000},user={user},required_score=5.0,mid=<{hex:24}@{domain}>"),
    row(Plain, 4, "policyd-spf[#]", "prepend Received-SPF: Pass (mailfrom) identity=mailfrom; client-ip={ip}; helo={domain}; envelope-from={mail}; receiver={domain}"),
    row(Plain, 2, "clamd[#]", "SelfCheck: Database status OK. {words:20-200}"),
];
