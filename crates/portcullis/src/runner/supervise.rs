//! The main process: it starts the daemon, starts it again when it dies, hands signals on and ends with it.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::handover;
use super::lane::Mailbox;
use super::serve::{Lanes, serve};
use super::wire::{Answer, Notice};

/// The first pause before a daemon is started again; it doubles with each death in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A daemon that lived for so long died of something new.
const HEALTHY: Duration = Duration::from_secs(60);

/// A daemon that was told to end is given so long.
const QUIT_PATIENCE: Duration = Duration::from_secs(10);

/// A command that still runs at the very end is given so long.
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);

/// The code with which a Rust program ends after a panic.
const PANICKED: i32 = 101;

/// Runs the daemon until it ends by itself or is told to, and returns its exit code. `daemon` makes its command;
/// it is told how many times in a row the daemon has died before. Where there is a `socket`, each daemon is handed it
/// over and must take it ([`super::given_socket`]). It must be called in the main thread, because the kernel ends a
/// daemon together with the thread that started it.
///
/// # Errors
/// If signals cannot be caught, or the first daemon cannot be started.
pub(crate) fn supervise(socket: Option<&UnixListener>, mut daemon: impl FnMut(u32) -> Command) -> io::Result<i32> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let signals = listen()?;
    let lanes = Lanes::start()?;
    let mut deaths = 0;
    loop {
        let born = Instant::now();
        let died = match Daemon::start(daemon(deaths), socket, &lanes) {
            Ok(child) => match child.watch(&signals)? {
                End::Finished(code) => {
                    lanes.close(COMMAND_PATIENCE);
                    return Ok(code);
                }
                End::Died(status) => describe(status),
            },
            Err(error) if deaths == 0 => return Err(error),
            Err(error) => format!("cannot be started: {error}"),
        };
        if born.elapsed() >= HEALTHY {
            deaths = 0;
        }
        deaths += 1;
        let pause = pause(deaths, FIRST_PAUSE, LONGEST_PAUSE);
        say(&format!(
            "the daemon {died}; bans stay in force, it is started again in {:.1} s (death {deaths} in a row)",
            pause.as_secs_f64()
        ));
        if told_to_quit(&signals, pause) {
            lanes.close(COMMAND_PATIENCE);
            return Ok(0);
        }
    }
}

/// Catches the signals, SIGCHLD before the first child is born.
fn listen() -> io::Result<Receiver<i32>> {
    let mut caught = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
    let (sender, receiver) = channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in caught.forever() {
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// How long to wait before a program that has ended so often is started again: the first pause, doubled each time.
pub(crate) fn pause(ends: u32, first: Duration, longest: Duration) -> Duration {
    let factor = 1_u32.checked_shl(ends.saturating_sub(1).min(16)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(longest)
}

/// Sleeps, unless a signal says that it is over.
fn told_to_quit(signals: &Receiver<i32>, pause: Duration) -> bool {
    let start = Instant::now();
    loop {
        match signals.recv_timeout(pause.saturating_sub(start.elapsed())) {
            Ok(SIGTERM | SIGINT) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(PANICKED), _) => "died of a panic".to_owned(),
        (Some(code), _) => format!("ended with code {code}"),
        (None, signal) => format!("was killed by signal {}", signal.unwrap_or(0)),
    }
}

/// The daemon owns the log file; this goes to whoever started the service.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "portcullis: {text}");
}

enum End {
    /// With this code, of its own will or ours
    Finished(i32),
    /// Nobody wanted it
    Died(ExitStatus),
}

/// A daemon that runs.
struct Daemon {
    child: Child,
    mailbox: Arc<Mailbox>,
    quitting: Option<Instant>,
}

impl Daemon {
    fn start(mut command: Command, socket: Option<&UnixListener>, lanes: &Arc<Lanes>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        if let Some(socket) = socket {
            handover::give(&ours, socket)?;
        }
        let mailbox = serve(ours, lanes.clone())?;
        // In a group of its own, an interrupt at the terminal reaches it only through us.
        let child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .process_group(0)
            .spawn()?;
        // The command goes out of scope here and with it our copy of the daemon's end of the socket.
        Ok(Daemon {
            child,
            mailbox,
            quitting: None,
        })
    }

    /// Hands signals on until the daemon has ended.
    fn watch(mut self, signals: &Receiver<i32>) -> io::Result<End> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.mailbox.close();
                return Ok(match status.code() {
                    _ if self.quitting.is_some() => End::Finished(status.code().unwrap_or(1)),
                    Some(code) if code != PANICKED => End::Finished(code),
                    _ => End::Died(status),
                });
            }
            match self.next(signals) {
                Ok(SIGTERM | SIGINT) => self.quit(),
                Ok(SIGHUP) => self.tell(Notice::Reload),
                Ok(SIGUSR1) => self.tell(Notice::ReopenLogs),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    say("the daemon does not end and is killed; bans stay in force");
                    self.child.kill()?;
                    self.child.wait()?;
                    self.mailbox.close();
                    return Ok(End::Finished(1));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("signals are no longer caught")),
            }
        }
    }

    fn next(&self, signals: &Receiver<i32>) -> Result<i32, RecvTimeoutError> {
        match self.quitting {
            Some(since) => signals.recv_timeout(QUIT_PATIENCE.saturating_sub(since.elapsed())),
            None => signals.recv().map_err(RecvTimeoutError::from),
        }
    }

    fn quit(&mut self) {
        if self.quitting.is_none() {
            self.quitting = Some(Instant::now());
            self.tell(Notice::Quit);
        }
    }

    fn tell(&self, notice: Notice) {
        self.mailbox.send(&Answer::Notice(notice));
    }
}
