//! Connections that sshd serves for somebody who has logged in.
//!
//! Several of its processes hold one connection. Before the login these are root's monitor, and, once the client has
//! said anything, a child that is confined and runs as an own user without rights. After the login that child is gone:
//! another one runs as the user; root's session is in the monitor itself, or since OpenSSH 9.8 in a child that is
//! root's as well. So, unless the monitor has a child without rights,
//!
//! - a child that is entirely somebody's other than root's serves a session, over the connection that its parent,
//!   root's sshd, holds as well: what is tunnelled through the session is held by the child alone;
//! - a process of root's serves a session if it has a child that leads a session of its own and is no sshd, over the
//!   connection to a port that sshd listens on: sshd starts a shell or a command so, and what it asks before the login,
//!   not.
//!
//! A tunnel of root's without a command is therefore not seen here, and left to logind. Titles of processes are not
//! read: before the login they hold the name that the client gave.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::processes::{Process, Processes};

/// The program that OpenSSH 10 runs before the login.
const BEFORE: &[u8] = b"sshd-auth";
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
    let view = View::new(root, processes);
    let mut sessions: Vec<&Process> = view.sshd.values().filter(|process| view.serves(process)).collect();
    let mut clients = BTreeSet::new();
    // Either list takes the kernel some milliseconds where there is much memory, and the second is rarely needed.
    for list in ["tcp", "tcp6"] {
        if sessions.is_empty() {
            break;
        }
        let sockets = sockets(root, list);
        let ports = view.ports(&sockets);
        sessions.retain(|process| {
            let found = view.clients_of(process, &sockets, &ports);
            clients.extend(&found);
            found.is_empty()
        });
    }
    clients
}

/// All of sshd's processes.
struct View<'p> {
    processes: &'p Processes,
    sshd: BTreeMap<u32, Process>,
    /// Those that have a child that speaks with a client before the login
    waiting: BTreeSet<u32>,
}

impl View<'_> {
    fn new<'p>(root: &Path, processes: &'p Processes) -> View<'p> {
        let unprivileged = unprivileged(root);
        let (mut sshd, mut programs) = (BTreeMap::new(), BTreeMap::new());
        for (process, program) in processes.sshd() {
            programs.insert(process.pid, program);
            sshd.insert(process.pid, process);
        }
        let is_before = |process: &&Process| {
            let parent = sshd.get(&process.parent);
            let confined_itself = process.is_confined && parent.is_some_and(|parent| !parent.is_confined);
            match process.user() {
                Some(user) if user != 0 => unprivileged.contains(&user) || confined_itself,
                _ => programs.get(&process.pid).is_some_and(|name| name.starts_with(BEFORE)),
            }
        };
        let before = sshd.values().filter(is_before);
        View {
            processes,
            waiting: before.map(|process| process.parent).collect(),
            sshd,
        }
    }

    /// Whether this serves somebody who has logged in.
    fn serves(&self, process: &Process) -> bool {
        if self.waiting.contains(&process.pid) || self.waiting.contains(&process.parent) {
            return false;
        }
        match process.user() {
            None => false,
            Some(0) => self.runs_something(process),
            Some(_) => self.sshd.get(&process.parent).is_some_and(Process::is_root),
        }
    }

    fn runs_something(&self, process: &Process) -> bool {
        let children = self.processes.children(process.pid).into_iter();
        let mut others = children.filter(|child| !self.sshd.contains_key(&child.pid));
        others.any(|child| child.session == child.pid)
    }

    /// The ports that sshd listens on; those of tunnels are listened on by whoever serves the session.
    fn ports(&self, sockets: &BTreeMap<u64, Socket>) -> BTreeSet<u16> {
        let listeners = self.sshd.values().filter(|process| process.is_root());
        let listeners = listeners.filter(|process| !self.sshd.contains_key(&process.parent) && !self.serves(process));
        let held = listeners.flat_map(|process| self.processes.sockets(process.pid));
        held.filter_map(|inode| sockets.get(&inode))
            .filter(|socket| socket.client.is_none())
            .map(|socket| socket.port)
            .collect()
    }

    /// Who is at the other end of the connection over which this serves a session.
    fn clients_of(&self, process: &Process, sockets: &BTreeMap<u64, Socket>, ports: &BTreeSet<u16>) -> Vec<IpAddr> {
        let mut held = self.processes.sockets(process.pid);
        if !process.is_root() {
            let parents = self.processes.sockets(process.parent);
            held.retain(|inode| parents.contains(inode));
        }
        let found = held.iter().filter_map(|inode| sockets.get(inode));
        let found = found.filter(|socket| !process.is_root() || ports.contains(&socket.port));
        found.filter_map(|socket| socket.client).collect()
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

/// The TCP sockets of this network namespace that are established or listen, by inode; those of one family.
fn sockets(root: &Path, list: &str) -> BTreeMap<u64, Socket> {
    let list = super::read(&root.join("proc/thread-self/net").join(list), LARGEST_LIST);
    list.split(|byte| *byte == b'\n').skip(1).filter_map(entry).collect()
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
