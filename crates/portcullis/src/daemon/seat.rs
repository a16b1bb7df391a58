//! The daemon's seat: nobody else may sit on the same state, socket, database or table.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::Place;
use crate::store::holder::{holder, named};
use rustix::fs::{FlockOperation, flock};
use rustix::net::sockopt::socket_peercred;

/// A predecessor that was just killed needs a moment to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Why the seat is taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Somebody sits there.
    #[error("{what} is in use by {who}; stop it first{mend}")]
    Taken {
        what: String,
        who: String,
        mend: &'static str,
    },
    /// The file system refuses.
    #[error("cannot use {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// Held as long as the daemon runs; the kernel frees it when the process ends, however that happens.
pub(super) struct Seat {
    _pid_file: File,
    _table: Option<UnixListener>,
}

/// Takes the seat. `table` names our nftables table, where that is used.
pub(super) fn take(pid_file: &Path, database: &Place, table: Option<&str>) -> Result<Seat, Error> {
    let file = lock(pid_file)?;
    if let Some(who) = database.path().and_then(holder) {
        return Err(Error::Taken {
            what: database.to_string(),
            who,
            mend: ", or give another --state",
        });
    }
    let table = table.map(lock_table).transpose()?;
    Ok(Seat {
        _pid_file: file,
        _table: table,
    })
}

fn lock(path: &Path) -> Result<File, Error> {
    let wrap = |error| Error::Io {
        path: path.to_owned(),
        error,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(wrap)?;
    }
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let mut file = options.map_err(wrap)?;
    let until = Instant::now() + PATIENCE;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(wrap(error.into()));
        }
        if Instant::now() > until {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let who = named(pid.trim());
            return Err(Error::Taken {
                what: path.display().to_string(),
                who,
                mend: ", or give another --state",
            });
        }
        thread::sleep(PAUSE);
    }
    let write = |file: &mut File| {
        file.rewind()?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(wrap)?;
    Ok(file)
}

/// One daemon for each table of each network namespace: an abstract socket lives in the namespace, as the table does.
fn lock_table(table: &str) -> Result<UnixListener, Error> {
    let name = format!("portcullis/table/{table}");
    let wrap = |error| Error::Io {
        path: PathBuf::from(format!("@{name}")),
        error,
    };
    let address = SocketAddr::from_abstract_name(&name).map_err(wrap)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(wrap(error)),
            Err(_) if Instant::now() > until => {
                let peer = UnixStream::connect_addr(&address).and_then(|stream| Ok(socket_peercred(stream)?));
                let who = peer.map_or("another process".to_owned(), |peer| named(peer.pid.as_raw_nonzero()));
                return Err(Error::Taken {
                    what: format!("nftables table inet {table}"),
                    who,
                    mend: "",
                });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
