//! What all looks need, gathered once: where things are, what the folder comes to, what the daemon says.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::config::plan::JailPlan;
use portcullis_core::time::{Clock, Seconds, Timestamp, print_length};
use portcullis_core::wire::Verb;
use rustix::net::sockopt::socket_peercred;

use super::tail::{self, Trial};
use crate::client::{Run, Where, call};
use crate::control::answer::{Jail, Status};
use crate::daemon::{self, Configured};
use crate::place::{self, Places};
use crate::store::Running;

/// A daemon that says nothing for so long is told of as one that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of asking at the socket.
#[derive(Debug)]
pub(super) enum Daemon {
    /// Ours, with how things stand
    Runs(Box<Status>),
    /// Nobody listens
    Nobody,
    /// Somebody takes the connection and does not answer
    Silent,
    /// Somebody else answers, in these words
    Stranger(String),
    /// We may not ask
    Forbidden,
}

impl Daemon {
    /// Whether it is ours and answers.
    pub(super) fn answers(&self) -> bool {
        matches!(self, Daemon::Runs(_))
    }
}

/// Everything.
pub(super) struct Scene {
    pub(super) place: Where,
    pub(super) places: Places,
    /// The state folder, where one was named
    state: Option<PathBuf>,
    /// The socket that was asked
    pub(super) socket: PathBuf,
    pub(super) daemon: Daemon,
    /// Who listens at the socket, as far as the kernel tells
    pub(super) listener: Option<u32>,
    /// What the folder comes to; `None` where there is no folder
    pub(super) configured: Option<Configured>,
    /// What the last lines of the logs come to, by jail and file
    pub(super) trials: Vec<Trial>,
    pub(super) now: Clock,
    /// Where the machine's own files are
    pub(super) root: PathBuf,
}

impl Scene {
    pub(super) fn gather(place: &Where, state: Option<PathBuf>) -> Scene {
        let places = Places::of(&Run::beside(place, state.clone()));
        let now = Running::fresh().now();
        let mut configured = place.config.is_dir().then(|| daemon::configured(&places));
        let trials = configured.as_mut().map(|configured| {
            let readings = std::mem::take(&mut configured.readings);
            tail::try_all(readings, &configured.plan, now)
        });
        let socket = place::socket(place);
        Scene {
            place: place.clone(),
            state,
            daemon: ask(place),
            listener: listener(&socket),
            socket,
            places,
            configured,
            trials: trials.unwrap_or_default(),
            now,
            root: PathBuf::from("/"),
        }
    }

    /// What the daemon says, where one answers.
    pub(super) fn status(&self) -> Option<&Status> {
        match &self.daemon {
            Daemon::Runs(status) => Some(status),
            _ => None,
        }
    }

    /// What the daemon says of a jail.
    pub(super) fn jail(&self, name: &str) -> Option<&Jail> {
        self.status()?.jails.iter().find(|jail| jail.name == name)
    }

    /// The jails that are to read something.
    pub(super) fn jails(&self) -> impl Iterator<Item = &JailPlan> {
        let plan = self.configured.iter().map(|configured| &configured.plan);
        plan.flat_map(|plan| &plan.jails)
            .filter(|jail| jail.started && !jail.idle)
    }

    /// The process of the daemon, or whoever sits in its place.
    pub(super) fn pid(&self) -> Option<u32> {
        self.status().map(|status| status.pid).or(self.listener)
    }

    /// How long ago something was by the wall clock, in words; nothing of what is still to come.
    pub(super) fn ago(&self, then: Timestamp) -> String {
        match (self.now.wall - then).whole() {
            ..=0 => "a moment".to_owned(),
            length => print_length(Seconds::new(length)),
        }
    }

    /// Our verb with the words that say which daemon is meant, to be typed.
    pub(super) fn typed(&self, verb: &str) -> String {
        let mut words = format!("portcullis {verb}");
        if self.place.config != Path::new("/etc/fail2ban") {
            words += &format!(" -c {}", self.place.config.display());
        }
        if let Some(socket) = self.place.socket.as_ref().filter(|_| !verb.starts_with("check")) {
            words += &format!(" --socket {}", socket.display());
        }
        let is_run = |_: &&PathBuf| verb == "run" || verb == "doctor";
        if let Some(state) = self.state.as_ref().filter(is_run) {
            words += &format!(" --state {}", state.display());
        }
        words
    }
}

fn ask(place: &Where) -> Daemon {
    let asked = call::text_within(place, &Verb::Status { jail: None }, PATIENCE);
    match asked {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(status) => Daemon::Runs(Box::new(status)),
            Err(_) => Daemon::Stranger(text),
        },
        Err(call::Error::NoDaemon { error, .. }) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => Daemon::Nobody,
            _ => Daemon::Silent,
        },
        Err(call::Error::Forbidden { .. }) => Daemon::Forbidden,
        Err(error @ (call::Error::Refused(_) | call::Error::Unreadable(_))) => Daemon::Stranger(error.to_string()),
    }
}

/// Who listens at a socket.
fn listener(socket: &Path) -> Option<u32> {
    let stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    let peer = socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

/// What a process is called.
pub(super) fn named(root: &Path, pid: u32) -> String {
    let name = fs::read_to_string(root.join(format!("proc/{pid}/comm"))).unwrap_or_default();
    match name.trim() {
        "" => format!("pid {pid}"),
        name => format!("{name} (pid {pid})"),
    }
}
