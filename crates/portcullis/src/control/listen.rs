//! The listening socket: one of its kind, reachable for root, and for a group of readers where there is one.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::wire::unreadable;
use rustix::fs::Gid;
use rustix::net::sockopt::socket_peercred;

use super::peer::{self, Role};
use super::room::Room;
use super::{Asked, session};
use crate::store::holder::named;

/// So long a new daemon waits for one that is about to end, and that one for its clients to be told.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// So often a client is tried to be given a place, with a pause between, before it is turned away.
const TRIES: usize = 50;

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
    /// There is no such group.
    #[error("{0}")]
    Group(String),
}

/// The socket; its file is removed when this is dropped, unless somebody else made it.
pub(crate) struct Listener {
    path: Option<PathBuf>,
    socket: UnixListener,
    readers: Option<Gid>,
    room: Arc<Room>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.hide();
    }
}

/// The daemon's socket: the one that it was given, which stays as it is (contract §8.4), or a new one. Members of the
/// group `readers` may look.
pub(crate) fn open(path: &Path, given: Option<UnixListener>, readers: Option<&str>) -> Result<Listener, Error> {
    let readers = readers.map(peer::group).transpose().map_err(Error::Group)?;
    match given {
        Some(socket) => Ok(Listener {
            path: None,
            socket,
            readers,
            room: Room::new(),
        }),
        None => bind(path, readers),
    }
}

/// Binds the socket. A file that nobody answers at is a leftover and is replaced.
fn bind(path: &Path, readers: Option<Gid>) -> Result<Listener, Error> {
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
                who: holder(&stream),
            });
        }
        thread::sleep(PAUSE);
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::create_dir_all(folder).map_err(wrap)?;
        open_to(folder, readers, 0o750).map_err(wrap)?;
    }
    match fs::symlink_metadata(path) {
        Ok(_) => fs::remove_file(path).map_err(wrap)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrap(error)),
    }
    let socket = UnixListener::bind(path).map_err(wrap)?;
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(wrap)?;
    open_to(path, readers, 0o660).map_err(wrap)?;
    Ok(Listener {
        path: Some(path.to_owned()),
        socket,
        readers,
        room: Room::new(),
    })
}

/// Gives something that is new to the readers' group.
fn open_to(path: &Path, readers: Option<Gid>, mode: u32) -> io::Result<()> {
    let Some(group) = readers else { return Ok(()) };
    std::os::unix::fs::chown(path, None, Some(group.as_raw()))?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Who answers on a socket, as `name (pid N)`.
fn holder(stream: &UnixStream) -> String {
    let Ok(credentials) = socket_peercred(stream) else {
        return "another process".to_owned();
    };
    named(credentials.pid.as_raw_nonzero())
}

impl Listener {
    /// Removes the file, so that nobody else comes. Whoever is there is still answered.
    pub(crate) fn hide(&mut self) {
        if let Some(path) = self.path.take() {
            // Nobody is left to tell, and a stale file does no harm: the next start replaces it.
            let _ = fs::remove_file(path);
        }
    }

    /// Waits until whoever asked has the reply, at most this long.
    pub(crate) fn until_answered(&self, patience: Duration) {
        self.room.until_answered(patience);
    }

    /// Serves connections until the process ends, each on a thread of its own.
    pub(crate) fn serve(&self, engine: impl Fn(Asked) -> bool + Clone + Send + 'static) -> io::Result<()> {
        let (socket, readers) = (self.socket.try_clone()?, self.readers);
        socket.set_nonblocking(false)?;
        let room = Arc::clone(&self.room);
        thread::Builder::new().name("control".into()).spawn(move || {
            loop {
                match socket.accept() {
                    Ok((stream, _)) => welcome(&room, Arc::new(stream), readers, &engine),
                    // Without descriptors there is nothing to do but to wait until some are free again.
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        })?;
        Ok(())
    }
}

/// Gives a client a place and a thread, or turns it away.
fn welcome(
    room: &Arc<Room>,
    stream: Arc<UnixStream>,
    readers: Option<Gid>,
    engine: &(impl Fn(Asked) -> bool + Clone + Send + 'static),
) {
    let role = peer::role(&stream, readers);
    let mut place = room.admit(&stream, role);
    for _ in 0..TRIES {
        if place.is_some() || role != Role::Owner {
            break;
        }
        thread::sleep(PAUSE);
        place = room.admit(&stream, role);
    }
    let Some(place) = place else {
        // As many bytes as these fit without anybody reading them.
        let _ = (&*stream).write(&unreadable("the daemon works for too many clients; ask again"));
        return;
    };
    let engine = engine.clone();
    // Where there is no thread, the client sees its connection closed.
    let _ = thread::Builder::new().name("session".into()).spawn(move || {
        session::run(&place, &engine);
    });
}
