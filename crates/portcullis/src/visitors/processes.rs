//! What `/proc` says of processes, as far as root or the kernel says it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// How sshd's programs are called: `sshd`, and since OpenSSH 9.8 `sshd-session` and `sshd-auth` beside it.
const SSHD: &[u8] = b"sshd";

/// Entries of `/proc` looked at, descriptors and children of one process, and bytes of one file.
const MOST_PROCESSES: usize = 100_000;
const MOST_DESCRIPTORS: usize = 4_096;
const MOST_CHILDREN: usize = 1_024;
const STATUS: usize = 4 << 10;
const LARGEST: u64 = 16 << 10;

/// How far a process may stand below sshd: shells within shells.
const DEPTH: usize = 16;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: u32,
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
}

/// A machine's processes.
pub(super) struct Processes {
    folder: PathBuf,
    /// The same, open; none where there is none
    open: Option<OwnedFd>,
}

impl Processes {
    pub(super) fn below(root: &Path) -> Processes {
        let folder = root.join("proc");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Processes {
            open: rustix::fs::open(&folder, flags, Mode::empty()).ok(),
            folder,
        }
    }

    /// One of them.
    pub(super) fn get(&self, pid: u32) -> Option<Process> {
        let mut status = [0; STATUS];
        let mut file = File::open(self.folder.join(format!("{pid}/status"))).ok()?;
        // The kernel gives it all at once.
        let length = file.read(&mut status).ok()?;
        parse(pid, &String::from_utf8_lossy(status.get(..length)?))
    }

    /// Whether there is such a process; also where those of others are not shown, as to a service with `ProtectProc=`.
    pub(super) fn is_alive(&self, pid: u32) -> bool {
        let hides_others = || self.folder == Path::new("/proc") && self.get(1).is_none();
        self.get(pid).is_some() || hides_others() && answers(pid)
    }

    /// Those that run sshd, and the names of their programs.
    pub(super) fn sshd(&self) -> Vec<(Process, Vec<u8>)> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let pids = entries.flatten().filter_map(|entry| number(&entry.file_name()));
        let programs = pids
            .take(MOST_PROCESSES)
            .filter_map(|pid| Some((pid, self.program(pid)?)));
        programs
            .filter(|(_, name)| name.starts_with(SSHD))
            .filter_map(|(pid, name)| Some((self.get(pid)?, name)))
            .collect()
    }

    /// The name of its program's file. The name that a process itself has would not do: whoever starts a program of
    /// root's over a link chooses it. It is asked of every process, and takes the kernel one call.
    fn program(&self, pid: u32) -> Option<Vec<u8>> {
        let path = rustix::fs::readlinkat(self.open.as_ref()?, format!("{pid}/exe"), Vec::new()).ok()?;
        let name = path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
        Some(name.to_vec())
    }

    /// Whether root's sshd is among its forebears.
    pub(super) fn is_below_sshd(&self, pid: u32) -> bool {
        let runs_sshd = |pid| self.program(pid).is_some_and(|name| name.starts_with(SSHD));
        let mut process = self.get(pid);
        for _ in 0..DEPTH {
            match process {
                Some(found) if found.is_root() && runs_sshd(found.pid) => return true,
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

/// Whether a signal would find it, allowed or not.
fn answers(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// The text of `/proc/PID/status`. The kernel escapes line breaks in the name.
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
        parent: first("PPid")?,
        session: first("NSsid").unwrap_or(0),
        users,
        is_confined: first("NoNewPrivs") == Some(1),
    })
}
