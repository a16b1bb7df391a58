//! What can go wrong with the store, and what to do about it.
//!
//! SQLite's codes come in, with the file they concern; out goes one of a few kinds that the daemon can act on
//! and a person can read.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::holder;

/// Below this many free bytes an I/O error is taken for a full file system: SQLite reports it as a full disk
/// when it writes the log, and as an I/O error when it grows the index of the log.
const CRAMPED: u64 = 64 * 1024;

/// Why the store cannot do what it was asked. Nothing of a failed commit is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The folder of the file is missing and cannot be made.
    #[error("cannot create the directory {} for the database: {source}", path.display())]
    Directory {
        /// The folder
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The file cannot be made or opened.
    #[error("cannot create or open the database {}: {source}", path.display())]
    Open {
        /// The file
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// It is a folder, a device or the like.
    #[error("the database {} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The file may only be read.
    #[error("the database {} is read-only: make the file writable for this process", .0.display())]
    ReadOnly(PathBuf),
    /// The file may be written, its folder may not, and SQLite needs both.
    #[error("cannot write beside the database {} ({reason}): make the directory {} writable for this process", path.display(), folder.display())]
    Folder {
        /// The file
        path: PathBuf,
        /// Its folder
        folder: PathBuf,
        /// What SQLite says
        reason: String,
    },
    /// It holds commands, and others may have written them.
    #[error("{} can be written by others than root, so commands noted in the database {} are not run: make it root's, and chmod go-w", exposed.display(), path.display())]
    Exposed {
        /// The file
        path: PathBuf,
        /// The file, or its folder
        exposed: PathBuf,
    },
    /// Another process writes to it and does not stop.
    #[error("the database {} is locked by another process{holders}", path.display())]
    Locked {
        /// The file
        path: PathBuf,
        /// Who has it open: empty, or `: name (pid N)`
        holders: String,
    },
    /// No room.
    #[error("no room for the database {}: the file system at {} has {free} bytes free; free some space", path.display(), mount.display())]
    Full {
        /// The file
        path: PathBuf,
        /// Where its file system is mounted
        mount: PathBuf,
        /// Bytes free
        free: u64,
    },
    /// A later program wrote it.
    #[error("Attempt to travel to future version of database: {} has version {found} of {whose} tables, and {known} is the newest known here: upgrade this program, or name another dbfile", path.display())]
    Newer {
        /// The file
        path: PathBuf,
        /// `Fail2Ban's` or `portcullis's`
        whose: &'static str,
        /// The version found
        found: i64,
        /// The newest that is understood
        known: i64,
    },
    /// Not a database, or one that contradicts itself.
    #[error("the database {} is damaged: {reason}; the next start moves it aside and begins a new one", path.display())]
    Damaged {
        /// The file
        path: PathBuf,
        /// What SQLite says
        reason: String,
    },
    /// A damaged file could not be put out of the way.
    #[error("the damaged database {} cannot be moved aside: {source}", path.display())]
    Aside {
        /// The file
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// Anything else that SQLite says.
    #[error("the database {}: {source}", path.display())]
    Sqlite {
        /// The file
        path: PathBuf,
        /// SQLite's words
        source: rusqlite::Error,
    },
}

/// Names the kind of `source`, which came up with the database at `path` (`None`: in memory).
pub(super) fn explain(path: Option<&Path>, source: rusqlite::Error) -> Error {
    let Some(path) = path else {
        let path = PathBuf::from(":memory:");
        return Error::Sqlite { path, source };
    };
    let owned = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => full(path),
        Some(ErrorCode::SystemIoFailure) if free_bytes(path).is_some_and(|free| free < CRAMPED) => full(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Locked {
            holders: holders(path),
            path: owned,
        },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged {
            path: owned,
            reason: source.to_string(),
        },
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Error::Folder {
            folder: folder(path).to_owned(),
            path: owned,
            reason: source.to_string(),
        },
        _ => Error::Sqlite { path: owned, source },
    }
}

fn full(path: &Path) -> Error {
    Error::Full {
        path: path.to_owned(),
        mount: mount_point(path),
        free: free_bytes(path).unwrap_or(0),
    }
}

/// Names the kind of an error of the file system itself.
pub(super) fn explain_open(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::StorageFull {
        return full(path);
    }
    let path = path.to_owned();
    Error::Open { path, source }
}

/// The folder that a file stands in; `.` for a bare name.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder(path)).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The topmost folder above `path` on the same device.
fn mount_point(path: &Path) -> PathBuf {
    let start = fs::canonicalize(folder(path)).unwrap_or_else(|_| folder(path).to_owned());
    let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
    let ours = device(&start);
    let top = start.ancestors().take_while(|above| device(above) == ours).last();
    top.unwrap_or(&start).to_owned()
}

/// Which other processes have the file open, behind a colon.
fn holders(path: &Path) -> String {
    let found = holder::known_holders(path);
    if found.is_empty() {
        String::new()
    } else {
        format!(": {}", found.join(", "))
    }
}
