//! What `/proc` says of processes, as far as root or the kernel says it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How sshd's programs are called: `sshd`, and since OpenSSH 9.8 `sshd-session` and `sshd-auth` beside it.
const SSHD: &str = "sshd";

/// Entries of `/proc` looked at, descriptors and children of one process, and bytes of one file.
const MOST_PROCESSES: usize = 100_000;
const MOST_DESCRIPTORS: usize = 4_096;
const MOST_CHILDREN: usize = 1_024;
const LARGEST: u64 = 16 << 10;

/// How far a process may stand below sshd: shells within shells.
const DEPTH: usize = 16;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: u32,
    /// The name of its program, at most 15 bytes
    pub name: String,
    pub parent: u32,
    /// The process that leads its session
    pub session: u32,
    /// User ids: real, effective, saved, of file accesses
    pub users: [u32; 4],
    /// Whether it gave up to gain rights by a program that it starts
    pub is_confined: bool,
}

impl Process {
    /// The one user that it is in every respect.
    pub(super) fn user(&self) -> Option<u32> {
        let [user, ..] = self.users;
        self.users.iter().all(|other| *other == user).then_some(user)
    }

    pub(super) fn is_root(&self) -> bool {
        self.user() == Some(0)
    }

    pub(super) fn is_sshd(&self) -> bool {
        self.name.starts_with(SSHD)
    }
}

/// A machine's processes.
pub(super) struct Processes {
    folder: PathBuf,
}

impl Processes {
    pub(super) fn below(root: &Path) -> Processes {
        Processes {
            folder: root.join("proc"),
        }
    }

    /// One of them.
    pub(super) fn get(&self, pid: u32) -> Option<Process> {
        let status = super::read(&self.folder.join(format!("{pid}/status")), LARGEST);
        parse(pid, &String::from_utf8_lossy(&status))
    }

    /// Those that run sshd.
    pub(super) fn sshd(&self) -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let pids = entries.flatten().filter_map(|entry| number(&entry.file_name()));
        pids.take(MOST_PROCESSES)
            .filter(|pid| self.is_named_sshd(*pid))
            .filter_map(|pid| self.get(pid))
            .collect()
    }

    /// The quickest question there is: it is asked of every process.
    fn is_named_sshd(&self, pid: u32) -> bool {
        let mut start = [0; SSHD.len()];
        File::open(self.folder.join(format!("{pid}/comm")))
            .and_then(|mut file| file.read_exact(&mut start))
            .is_ok_and(|()| start == *SSHD.as_bytes())
    }

    /// Whether one of root's sshd is among its forebears.
    pub(super) fn is_below_sshd(&self, pid: u32) -> bool {
        let mut process = self.get(pid);
        for _ in 0..DEPTH {
            match process {
                Some(found) if found.is_sshd() && found.is_root() => return true,
                Some(found) if found.parent > 1 => process = self.get(found.parent),
                _ => return false,
            }
        }
        false
    }

    /// Its children; none where the kernel does not tell.
    pub(super) fn children(&self, pid: u32) -> Vec<Process> {
        let list = super::read(&self.folder.join(format!("{pid}/task/{pid}/children")), LARGEST);
        let list = String::from_utf8_lossy(&list).into_owned();
        let pids = list.split_ascii_whitespace().take(MOST_CHILDREN);
        pids.filter_map(|pid| self.get(pid.parse().ok()?)).collect()
    }

    /// The inodes of the sockets that it holds.
    pub(super) fn sockets(&self, pid: u32) -> BTreeSet<u64> {
        let Ok(entries) = std::fs::read_dir(self.folder.join(format!("{pid}/fd"))) else {
            return BTreeSet::new();
        };
        let targets = entries.flatten().take(MOST_DESCRIPTORS);
        targets
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter_map(|target| {
                target
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            })
            .collect()
    }
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// The text of `/proc/PID/status`. The kernel escapes line breaks in names.
fn parse(pid: u32, status: &str) -> Option<Process> {
    let value = |key: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let first = |key: &str| value(key)?.split_ascii_whitespace().next()?.parse().ok();
    let mut users = value("Uid")?.split_ascii_whitespace().map_while(|id| id.parse().ok());
    let users = [users.next()?, users.next()?, users.next()?, users.next()?];
    Some(Process {
        pid,
        name: value("Name")?.to_owned(),
        parent: first("PPid")?,
        session: first("NSsid").unwrap_or(0),
        users,
        is_confined: first("NoNewPrivs") == Some(1),
    })
}
