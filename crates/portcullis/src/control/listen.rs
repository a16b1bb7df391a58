//! The listening socket: one of its kind, reachable for root alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;

use super::{Asked, session};

/// So long a new daemon waits for one that is about to end.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// Connections at a time; more are turned away, so that a runaway script cannot exhaust the daemon.
const MOST_SESSIONS: usize = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Somebody answers there.
    #[error("{path} is in use by {who}; stop it first, or give another --socket")]
    InUse {
        /// The socket
        path: PathBuf,
        /// Its name and process id
        who: String,
    },
    /// The file system refuses.
    #[error("cannot listen on {path}: {error}")]
    Io {
        /// The socket
        path: PathBuf,
        /// Why
        error: io::Error,
    },
}

/// The socket file, removed when this is dropped.
pub(crate) struct Listener {
    path: PathBuf,
    socket: UnixListener,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nobody is left to tell, and a stale file does no harm: the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds the socket. A file that nobody answers at is a leftover and is replaced.
pub(crate) fn bind(path: &Path) -> Result<Listener, Error> {
    let wrap = |error| Error::Io {
        path: path.to_owned(),
        error,
    };
    // A predecessor that was just killed needs a moment to be gone.
    let until = Instant::now() + PATIENCE;
    while let Ok(stream) = UnixStream::connect(path) {
        if Instant::now() > until {
            return Err(Error::InUse {
                path: path.to_owned(),
                who: peer(&stream),
            });
        }
        thread::sleep(PAUSE);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrap)?;
    }
    match fs::symlink_metadata(path) {
        Ok(_) => fs::remove_file(path).map_err(wrap)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrap(error)),
    }
    let socket = UnixListener::bind(path).map_err(wrap)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(wrap)?;
    Ok(Listener {
        path: path.to_owned(),
        socket,
    })
}

/// Who answers on a socket, as `name (pid N)`.
fn peer(stream: &UnixStream) -> String {
    let Ok(credentials) = socket_peercred(stream) else {
        return "another process".to_owned();
    };
    let pid = credentials.pid.as_raw_nonzero();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim())
}

impl Listener {
    /// Serves connections until the process ends, each on a thread of its own.
    pub(crate) fn serve(&self, engine: impl Fn(Asked) -> bool + Clone + Send + 'static) -> io::Result<()> {
        let socket = self.socket.try_clone()?;
        let open = Arc::new(AtomicUsize::new(0));
        thread::Builder::new().name("control".into()).spawn(move || {
            for stream in socket.incoming().flatten() {
                if open.load(Ordering::Relaxed) >= MOST_SESSIONS {
                    continue;
                }
                let (engine, count) = (engine.clone(), Arc::clone(&open));
                count.fetch_add(1, Ordering::Relaxed);
                let session = thread::Builder::new().name("session".into()).spawn(move || {
                    session::run(&stream, &engine);
                    count.fetch_sub(1, Ordering::Relaxed);
                });
                if session.is_err() {
                    open.fetch_sub(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(())
    }
}
