//! A program whose output is a log, and standard input: started or taken here, read by the daemon.
//!
//! The script is one that was learned; nothing of a log is in it. Its two pipes go to the daemon as they are, so that
//! a reader that waits makes the program wait.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::execute::{Running, Watched, plain};
use super::lane::Mailbox;
use super::wire::{Answer, Outcome, Ran};

/// So often it is looked whether there still is a daemon.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a script to its end.
pub(super) fn run(
    number: u64,
    script: Result<String, String>,
    mailbox: &Mailbox,
    running: &Running,
) -> io::Result<Ran> {
    let script = script.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let start = Instant::now();
    let mut shell = Command::new("/bin/sh");
    let mut child = plain(&mut shell)
        .arg("-c")
        .arg(script)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let group = Pid::from_child(&child);
    running.begin(group);
    if let (Some(output), Some(complaints)) = (child.stdout.take(), child.stderr.take()) {
        let (output, complaints) = (OwnedFd::from(output), OwnedFd::from(complaints));
        mailbox.send_with(&Answer::Program { number }, &[output.as_fd(), complaints.as_fd()]);
    }
    let mut watched = Watched::new(&mut child, group);
    while !watched.wait(Instant::now().checked_add(LOOK)) {
        if mailbox.is_gone() {
            watched.kill();
            break;
        }
    }
    // What it left behind prints on, and would be a second one beside the next. The number is still its own.
    let _ = kill_process_group(group, Signal::KILL);
    running.ran(&mut child, start)
}

/// Hands over standard input. A terminal would stop the daemon, which is in the background of it.
pub(super) fn input(number: u64, mailbox: &Mailbox) {
    let input = io::stdin();
    if input.is_terminal() {
        let why = "standard input is a terminal; start it as PROGRAM | portcullis run".to_owned();
        let ran = Ran::nothing(Outcome::Refused(why));
        return mailbox.send(&Answer::Hushed { number, ran });
    }
    mailbox.send_with(&Answer::Journal { number }, &[input.as_fd()]);
}
