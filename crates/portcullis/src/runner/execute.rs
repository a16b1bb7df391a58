//! One command: `/bin/sh -c SCRIPT values…`, or a program that reads a batch, in a process group of its own, with a
//! time-out, its output read while it runs so that a talkative one is never stuck on a full pipe (contract §5.3).

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::action;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};

use super::find;
use super::wire::{Outcome, Ran};

/// How much of each output is kept; the rest is read and dropped.
const MAX_OUTPUT: usize = 64 * 1024;

/// Between the friendly and the other signal to a command that takes too long.
const GRACE: Duration = Duration::from_millis(200);

/// Where a child cannot be waited for together with its output, this often it is looked after.
const TICK: Duration = Duration::from_millis(5);

/// What systemd gives a service in its environment, to talk back to it.
const SYSTEMD: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The command that a lane runs just now, so that it can be ended from outside.
#[derive(Default)]
pub(super) struct Running {
    group: Mutex<Option<Pid>>,
    is_over: AtomicBool,
}

impl Running {
    /// Remembers the group of a command that was started. Who killed it before that meant it, too.
    pub(super) fn begin(&self, group: Pid) {
        *self.lock() = Some(group);
        if self.is_over.load(Ordering::Acquire) {
            self.kill();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the command with all that it started, now or as soon as it begins. No further one is meant for this.
    pub(super) fn kill(&self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(group) = *self.lock() {
            // It may have gone by itself in between.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether a command runs.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().is_some()
    }

    /// Collects the child. Its number is free for others only after that, so nothing may kill it from here on.
    pub(super) fn collect(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        let mut group = self.lock();
        let status = child.try_wait();
        *group = None;
        status
    }

    /// Collects a program that printed for the daemon since a time.
    pub(super) fn ran(&self, child: &mut Child, since: Instant) -> std::io::Result<Ran> {
        let ended = match self.collect(child)? {
            Some(status) => outcome(status),
            None => Outcome::CouldNotStart("the program cannot be waited for".to_owned()),
        };
        Ok(Ran {
            duration_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..Ran::nothing(ended)
        })
    }
}

/// What is run.
#[derive(Debug)]
pub(super) enum Task {
    /// By a shell
    Shell(action::Command),
    /// By a program that is given many commands to read
    Batch(action::Batch),
}

/// Runs a command to its end, or to the end of its time.
pub(super) fn execute(task: &Task, timeout: Duration, running: &Running) -> Ran {
    let start = Instant::now();
    let mut child = match spawn(task) {
        Ok(child) => child,
        Err(error) => return Ran::nothing(Outcome::CouldNotStart(error.to_string())),
    };
    let group = Pid::from_child(&child);
    running.begin(group);
    let mut watched = Watched::new(&mut child, group);
    let in_time = watched.wait(start.checked_add(timeout));
    if !in_time {
        watched.kill();
    }
    let status = running.collect(&mut child);
    watched.read();
    let outcome = match (in_time, status) {
        (true, Ok(Some(status))) => outcome(status),
        (true, Ok(None)) => Outcome::CouldNotStart("the command cannot be waited for".to_owned()),
        (true, Err(error)) => Outcome::CouldNotStart(error.to_string()),
        (false, status) => Outcome::TimedOut(status.ok().flatten().map(as_python)),
    };
    Ran {
        outcome,
        stdout: watched.stdout.text(),
        stderr: watched.stderr.text(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Descriptors of ours are closed on exec, the environment is handed on as Fail2Ban does, and the mask is the
/// process' (077).
fn spawn(task: &Task) -> std::io::Result<Child> {
    let mut command = match task {
        Task::Shell(command) => shell(command),
        Task::Batch(batch) => program(batch)?,
    };
    plain(&mut command)
        .current_dir("/")
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What systemd says to the service is not said to a user's program.
pub(super) fn plain(command: &mut Command) -> &mut Command {
    for variable in SYSTEMD {
        command.env_remove(variable);
    }
    command
}

fn shell(command: &action::Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(&command.script).args(&command.values);
    shell.stdin(Stdio::null());
    shell
}

fn program(batch: &action::Batch) -> std::io::Result<Command> {
    let mut program = Command::new(find::program(&batch.invocation)?);
    program.args(&batch.invocation.arguments).stdin(input(&batch.input)?);
    Ok(program)
}

/// A text to read that is there as a whole, so that nobody waits for the other at a full pipe.
fn input(text: &str) -> std::io::Result<Stdio> {
    let mut file = File::from(memfd_create("batch", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

pub(super) fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exit(code),
        (None, signal) => Outcome::Signal(signal.unwrap_or(0)),
    }
}

/// A code, or the negative number of the signal.
fn as_python(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
}

/// A child and its output.
pub(super) struct Watched {
    group: Pid,
    pidfd: Option<OwnedFd>,
    stdout: Output,
    stderr: Output,
}

impl Watched {
    pub(super) fn new(child: &mut Child, group: Pid) -> Self {
        Watched {
            group,
            pidfd: pidfd_open(group, PidfdFlags::empty()).ok(),
            stdout: Output::new(child.stdout.take().map(OwnedFd::from)),
            stderr: Output::new(child.stderr.take().map(OwnedFd::from)),
        }
    }

    /// Waits for the end of the child, reading its output; `false` if the deadline comes first.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> bool {
        loop {
            if self.has_ended() {
                return true;
            }
            let left = deadline.map_or(Duration::from_secs(3600), |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return false;
            }
            self.pause(if self.pidfd.is_some() { left } else { left.min(TICK) });
            self.read();
        }
    }

    /// Sleeps until the child ends, or writes, or the time is up.
    fn pause(&self, time: Duration) {
        let watched: [Option<BorrowedFd<'_>>; 3] = [
            self.pidfd.as_ref().map(AsFd::as_fd),
            self.stdout.pipe.as_ref().map(AsFd::as_fd),
            self.stderr.pipe.as_ref().map(AsFd::as_fd),
        ];
        let mut polled: Vec<PollFd<'_>> = watched
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let time = Timespec::try_from(time).ok();
        // An interrupted sleep is looked at again by the caller.
        let _ = poll(&mut polled, time.as_ref());
    }

    fn read(&mut self) {
        self.stdout.read();
        self.stderr.read();
    }

    /// What it said on its error output.
    pub(super) fn complaint(&mut self) -> String {
        self.read();
        self.stderr.text()
    }

    /// Whether the child has ended; it is not collected, so that its group keeps its number.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    /// Ends the child and all that it started.
    pub(super) fn kill(&mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now().checked_add(GRACE);
        self.wait(deadline);
        // Also where the child itself obeyed: what it started may not have.
        let _ = kill_process_group(self.group, Signal::KILL);
        let deadline = Instant::now().checked_add(Duration::from_secs(1));
        self.wait(deadline);
    }
}

/// One output of a child.
struct Output {
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: Option<OwnedFd>) -> Self {
        let pipe = pipe.filter(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok());
        Output {
            pipe: pipe.map(std::fs::File::from),
            kept: Vec::new(),
        }
    }

    /// Reads what is there, but not without end.
    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..64 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    let room = MAX_OUTPUT.saturating_sub(self.kept.len()).min(length);
                    self.kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}
