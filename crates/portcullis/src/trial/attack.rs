//! The play: who dials the server, in which order, and what Postfix, Dovecot and sshd write about it.
//!
//! Everybody here lives in a documentation range. The lines are such as the three servers write, with the names that
//! their clients choose in them, two of them made to look like somebody else's failure.

use std::net::IpAddr;

use super::wire::{IMAP, SERVER, SERVER6, SMTP, SSH};

/// Rounds that are played. Attackers come back in each, also after they are banned.
const ROUNDS: usize = 6;
/// The names that attackers guess, one a round.
const GUESSES: [&str; ROUNDS] = ["info", "admin", "sales", "test", "office", "backup"];

/// Which log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    Mail,
    Auth,
}

/// Somebody who dials the server.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) ip: IpAddr,
    /// The port they dial
    pub(super) port: u16,
    /// Who they are and what they do
    pub(super) story: &'static str,
    /// The jail that must ban them; `None` for the honest
    pub(super) jail: Option<&'static str>,
    part: Part,
}

/// What a client does when it is their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    GuessSmtp,
    GuessImap,
    GuessRoot,
    GuessUser,
    FrameSmtp,
    FrameSsh,
    Alice,
    Bob,
    Carol,
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    /// Index into the cast
    pub(super) client: usize,
    pub(super) log: Log,
    /// What the server writes, without time and host. The failure, if there is one, comes last but for `after`
    pub(super) lines: Vec<String>,
    /// What it writes when the client hangs up
    pub(super) after: Vec<String>,
}

/// Address, port, the jail that must ban, part, story.
type Row = (&'static str, u16, Option<&'static str>, Part, &'static str);

const CAST: [Row; 9] = [
    (
        "203.0.113.7",
        SMTP,
        Some("postfix"),
        Part::GuessSmtp,
        "guesses passwords over SMTP",
    ),
    (
        "203.0.113.80",
        IMAP,
        Some("dovecot"),
        Part::GuessImap,
        "guesses passwords over IMAP",
    ),
    (
        "198.51.100.23",
        SSH,
        Some("sshd"),
        Part::GuessRoot,
        "guesses root's password over SSH",
    ),
    (
        "2001:db8:bad::5",
        SSH,
        Some("sshd"),
        Part::GuessUser,
        "guesses users over SSH, by IPv6",
    ),
    (
        "198.51.100.66",
        SMTP,
        Some("postfix"),
        Part::FrameSmtp,
        "forges a user name over SMTP, so that bob looks guilty",
    ),
    (
        "198.51.100.99",
        SSH,
        Some("sshd"),
        Part::FrameSsh,
        "forges a user name over SSH, so that bob looks guilty",
    ),
    (
        "192.0.2.20",
        IMAP,
        None,
        Part::Alice,
        "alice: one wrong password, then the right one",
    ),
    (
        "192.0.2.30",
        SMTP,
        None,
        Part::Bob,
        "bob: sends mail; named in the forged lines",
    ),
    (
        "2001:db8:900d::40",
        SSH,
        None,
        Part::Carol,
        "carol: logs in with her key, by IPv6",
    ),
];

/// Everybody; without IPv6, those who can come.
pub(super) fn cast(ipv6: bool) -> Vec<Client> {
    let client = |(ip, port, jail, part, story): Row| {
        let ip: IpAddr = ip.parse().ok()?;
        (ipv6 || ip.is_ipv4()).then_some(Client {
            ip,
            port,
            story,
            jail,
            part,
        })
    };
    CAST.into_iter().filter_map(client).collect()
}

/// The scenes in their order: the attackers take turns, the honest come in between.
pub(super) fn script(cast: &[Client]) -> Vec<Scene> {
    let mut scenes = Vec::new();
    for round in 0..ROUNDS {
        for (index, client) in cast.iter().enumerate() {
            scenes.extend(scene(index, client, round));
        }
    }
    scenes
}

fn scene(index: usize, client: &Client, round: usize) -> Option<Scene> {
    let number = 2100 + round * 10 + index;
    let bob = "192.0.2.30";
    let name = GUESSES.get(round).copied().unwrap_or("info");
    let (log, lines, after) = match client.part {
        Part::GuessSmtp => smtp(client, number, &format!("{name}@example.org")),
        Part::FrameSmtp => smtp(
            client,
            number,
            &format!("x: warning: unknown[{bob}]: SASL LOGIN authentication failed: no"),
        ),
        Part::GuessImap => imap(client, round, &format!("{name}@example.org")),
        Part::GuessRoot => ssh(client, number, "root", true),
        Part::GuessUser => ssh(client, number, name, false),
        Part::FrameSsh => ssh(client, number, &format!("root from {bob} port 22 ssh2"), false),
        Part::Alice => alice(client, round)?,
        Part::Bob => bob_sends(client, number, round)?,
        Part::Carol => carol(client, number, round)?,
    };
    Some(Scene {
        client: index,
        log,
        lines,
        after,
    })
}

type Written = (Log, Vec<String>, Vec<String>);

fn smtp(client: &Client, number: usize, name: &str) -> Written {
    let (ip, program) = (client.ip, format!("postfix/smtpd[{number}]:"));
    let lines = vec![
        format!("{program} connect from unknown[{ip}]"),
        format!(
            "{program} warning: unknown[{ip}]: SASL LOGIN authentication failed: (reason unavailable), sasl_username={name}"
        ),
    ];
    let after = format!("{program} disconnect from unknown[{ip}] ehlo=1 auth=0/1 quit=1 commands=2/3");
    (Log::Mail, lines, vec![after])
}

fn imap(client: &Client, round: usize, name: &str) -> Written {
    let line = format!(
        "dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{name}>, method=PLAIN, rip={}, lip={}, TLS, session=<4tSdo{round}3gYarAAAIH>",
        client.ip,
        server(client)
    );
    (Log::Mail, vec![line], Vec::new())
}

fn ssh(client: &Client, number: usize, name: &str, is_known: bool) -> Written {
    let (ip, port, program) = (client.ip, 40_000 + number, format!("sshd[{number}]:"));
    let (lines, kind) = if is_known {
        let failed = format!("{program} Failed password for {name} from {ip} port {port} ssh2");
        (vec![failed], "authenticating")
    } else {
        let invalid = format!("{program} Invalid user {name} from {ip} port {port}");
        let failed = format!("{program} Failed password for invalid user {name} from {ip} port {port} ssh2");
        (vec![invalid, failed], "invalid")
    };
    let after = format!("{program} Connection closed by {kind} user {name} {ip} port {port} [preauth]");
    (Log::Auth, lines, vec![after])
}

fn alice(client: &Client, round: usize) -> Option<Written> {
    match round {
        1 => Some(imap(client, round, "alice@example.org")),
        2 => {
            let line = format!(
                "dovecot: imap-login: Login: user=<alice@example.org>, method=PLAIN, rip={}, lip={}, mpid=2199, TLS, session=<9ZHqo23gYarAAAIH>",
                client.ip,
                server(client)
            );
            Some((Log::Mail, vec![line], Vec::new()))
        }
        _ => None,
    }
}

fn bob_sends(client: &Client, number: usize, round: usize) -> Option<Written> {
    let (ip, program) = (client.ip, format!("postfix/submission/smtpd[{number}]:"));
    let lines = vec![
        format!("{program} connect from bob.example.net[{ip}]"),
        format!(
            "{program} 4VxQ9{round}2Kz1: client=bob.example.net[{ip}], sasl_method=PLAIN, sasl_username=bob@example.org"
        ),
    ];
    let after =
        format!("{program} disconnect from bob.example.net[{ip}] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1");
    round.is_multiple_of(2).then_some((Log::Mail, lines, vec![after]))
}

fn carol(client: &Client, number: usize, round: usize) -> Option<Written> {
    let line = format!(
        "sshd[{number}]: Accepted publickey for carol from {} port {} ssh2: ED25519 SHA256:3Jq0vTn2Y8k5wZr7uXcD1hLmB4pSfG6aEoNyQiVtKsU",
        client.ip,
        40_000 + number
    );
    (round == 3).then_some((Log::Auth, vec![line], Vec::new()))
}

fn server(client: &Client) -> IpAddr {
    if client.ip.is_ipv4() {
        SERVER.into()
    } else {
        SERVER6.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ipv6_nobody_comes_by_it() {
        for (ipv6, attackers, honest) in [(true, 6, 3), (false, 5, 2)] {
            let cast = cast(ipv6);
            assert_eq!(cast.iter().filter(|client| client.jail.is_some()).count(), attackers);
            assert_eq!(cast.iter().filter(|client| client.jail.is_none()).count(), honest);
            assert!(ipv6 || cast.iter().all(|client| client.ip.is_ipv4()));
            assert!(script(&cast).iter().all(|scene| scene.client < cast.len()));
        }
    }
}
