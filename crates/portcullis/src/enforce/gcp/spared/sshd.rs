//! Connections that sshd serves for somebody who has logged in.
//!
//! Several of its processes hold one connection. Before the login these are root's monitor, and, once the client has
//! said anything, a child that is confined and runs as an own user without rights. After the login the child runs as
//! the user; root's session is in the monitor itself, or since OpenSSH 9.8 in a child that stays root's. So a
//! connection counts if none of its holders is such a child without rights, and
//!
//! - one holder is entirely somebody's other than root's, and its parent, root's sshd, holds the connection as well:
//!   connections that are tunnelled through a session are held by the user's process alone; or
//! - root holds it, with the port that sshd listens on, and a holder has a child that leads a session of its own and is
//!   no sshd: sshd starts a shell or a command so, and what it asks before the login, not.
//!
//! A tunnel of root's without a command is therefore not seen here, and left to logind. Titles of processes are not
//! read: before the login they hold the name that the client gave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::processes::{Process, Processes};

/// The program that OpenSSH 10 runs before the login.
const BEFORE: &str = "sshd-auth";
/// Whom sshd is built to be before the login, in the distributions that there are.
const UNPRIVILEGED: [&str; 3] = ["sshd", "_sshd", "nobody"];
/// The user id of `nobody`, where the list of users cannot be read.
const NOBODY: u32 = 65_534;

/// The most that is read of the list of users, and of each of the two lists of connections.
const LARGEST_PASSWD: u64 = 1 << 20;
const LARGEST_LIST: u64 = 64 << 20;

/// A TCP socket, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// The local port
    pub port: u16,
    /// The other end of a connection that is established; none for one that listens
    pub client: Option<IpAddr>,
}

/// Clients of sshd that have logged in.
pub(super) fn clients(root: &Path, processes: &Processes) -> BTreeSet<IpAddr> {
    let sshd = processes.sshd();
    if sshd.is_empty() {
        return BTreeSet::new();
    }
    let sockets = sockets(root);
    let view = View {
        processes,
        unprivileged: unprivileged(root),
        sshd: sshd.into_iter().map(|process| (process.pid, process)).collect(),
    };
    let held: BTreeMap<u32, Vec<(u64, Socket)>> = view
        .sshd
        .keys()
        .map(|pid| {
            let inodes = processes.sockets(*pid).into_iter();
            (
                *pid,
                inodes
                    .filter_map(|inode| Some((inode, *sockets.get(&inode)?)))
                    .collect(),
            )
        })
        .collect();
    view.clients(&held)
}

/// All of sshd's processes.
struct View<'p> {
    processes: &'p Processes,
    unprivileged: BTreeSet<u32>,
    sshd: BTreeMap<u32, Process>,
}

impl View<'_> {
    fn clients(&self, held: &BTreeMap<u32, Vec<(u64, Socket)>>) -> BTreeSet<IpAddr> {
        let mut ports = BTreeSet::new();
        let mut connections: BTreeMap<u64, (Socket, Vec<&Process>)> = BTreeMap::new();
        for (pid, sockets) in held {
            let Some(process) = self.sshd.get(pid) else { continue };
            let listens = sockets.iter().filter(|(_, socket)| socket.client.is_none());
            let listens: Vec<u16> = listens.map(|(_, socket)| socket.port).collect();
            if !listens.is_empty() && process.is_root() && !self.sshd.contains_key(&process.parent) {
                // It holds each new connection, too, until the process that will serve it is there.
                ports.extend(listens);
                continue;
            }
            for (inode, socket) in sockets.iter().filter(|(_, socket)| socket.client.is_some()) {
                let (_, holders) = connections.entry(*inode).or_insert((*socket, Vec::new()));
                holders.push(process);
            }
        }
        connections
            .values()
            .filter(|(socket, holders)| self.is_session(holders, ports.contains(&socket.port)))
            .filter_map(|(socket, _)| socket.client)
            .collect()
    }

    /// Whether the connection that these hold is one of somebody who has logged in; `dialled` tells that its port is
    /// one that sshd listens on.
    fn is_session(&self, holders: &[&Process], dialled: bool) -> bool {
        if holders.iter().any(|holder| self.is_before_login(holder)) {
            return false;
        }
        let is_roots_holder = |pid: u32| holders.iter().any(|holder| holder.pid == pid && holder.is_root());
        let is_users = |holder: &Process| holder.user().is_some_and(|user| user != 0);
        holders.iter().any(|holder| {
            (is_users(holder) && is_roots_holder(holder.parent))
                || (dialled && holder.is_root() && self.serves_session(holder))
        })
    }

    /// The child that speaks with a client that nobody knows yet.
    fn is_before_login(&self, process: &Process) -> bool {
        let confined_itself =
            || process.is_confined && self.sshd.get(&process.parent).is_some_and(|parent| !parent.is_confined);
        process.name == BEFORE
            || !process.is_root()
                && (process.user().is_none_or(|user| self.unprivileged.contains(&user)) || confined_itself())
    }

    fn serves_session(&self, process: &Process) -> bool {
        let mut children = self.processes.children(process.pid).into_iter();
        children.any(|child| !child.is_sshd() && child.session == child.pid)
    }
}

/// The user ids that sshd takes before the login.
fn unprivileged(root: &Path) -> BTreeSet<u32> {
    let passwd = super::read(&root.join("etc/passwd"), LARGEST_PASSWD);
    let passwd = String::from_utf8_lossy(&passwd);
    let ids = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let is_meant = UNPRIVILEGED.contains(&fields.next()?);
        fields.nth(1)?.parse().ok().filter(|_| is_meant)
    });
    ids.chain([NOBODY]).filter(|id| *id != 0).collect()
}

/// The TCP sockets of this network namespace that are established or listen, by inode.
fn sockets(root: &Path) -> BTreeMap<u64, Socket> {
    let mut out = BTreeMap::new();
    for name in ["tcp", "tcp6"] {
        let list = super::read(&root.join("proc/thread-self/net").join(name), LARGEST_LIST);
        out.extend(list.split(|byte| *byte == b'\n').skip(1).filter_map(entry));
    }
    out
}

/// One line of `/proc/net/tcp` or `tcp6`.
pub(super) fn entry(line: &[u8]) -> Option<(u64, Socket)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.split_ascii_whitespace().skip(1);
    let [local, remote, state] = [fields.next()?, fields.next()?, fields.next()?];
    let is_established = match state {
        "01" => true,
        "0A" => false,
        _ => return None,
    };
    let (_, port) = local.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let client = if is_established { Some(address(remote)?) } else { None };
    let inode = fields.nth(5)?.parse().ok()?;
    Some((inode, Socket { port, client }))
}

/// `0100007F:0016`: words of four bytes in the byte order of the machine.
fn address(text: &str) -> Option<IpAddr> {
    let (digits, _) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in digits.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.as_slice() {
        four if four.len() == 4 => Some(Ipv4Addr::from(*four.first_chunk()?).into()),
        six => Some(Ipv6Addr::from(<[u8; 16]>::try_from(six).ok()?).into()),
    }
}
