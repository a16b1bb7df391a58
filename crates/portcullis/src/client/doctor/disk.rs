//! The database and the room around it: whether bans would outlive a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::config::parse_bool;
use portcullis_core::config::plan::JailPlan;
use portcullis_core::time::{Seconds, print_length};
use rusqlite::{Connection, OpenFlags};

use super::scene::Scene;
use crate::client::finding::Finding;

/// Less free room than so much is told of: 100 MB.
const ROOM: u64 = 100_000_000;
/// A larger database is not read through.
const LARGEST: u64 = 256 << 20;
/// Patience with a daemon that writes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Positions in logs.
const MARKS: &str = "SELECT jail, path, device, inode, offset FROM portcullis_marks";

/// How far a jail has come in a log.
pub(super) struct Place {
    pub(super) jail: String,
    pub(super) path: String,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) offset: u64,
}

/// How far all of them have come, as it is kept; nothing where that cannot be read.
pub(super) fn places(scene: &Scene) -> Vec<Place> {
    let number = |row: &rusqlite::Row<'_>, at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let read = |db: &Connection| -> rusqlite::Result<Vec<Place>> {
        let mut query = db.prepare(MARKS)?;
        let rows = query.query_map([], |row| {
            Ok(Place {
                jail: row.get(0)?,
                path: row.get(1)?,
                device: number(row, 2)?,
                inode: number(row, 3)?,
                offset: number(row, 4)?,
            })
        })?;
        rows.collect()
    };
    let opened = database(scene).and_then(|path| open(scene, &path).ok());
    opened.and_then(|opened| read(&opened.db).ok()).unwrap_or_default()
}

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let mut found = Vec::new();
    match database(scene) {
        None => {
            let text = "dbfile = :memory: keeps bans nowhere: a restart frees everybody";
            let mend = "write dbfile = /var/lib/fail2ban/fail2ban.sqlite3 in fail2ban.local";
            found.push(Finding::warn("database", text).mend(mend));
        }
        Some(path) => {
            found.push(file(scene, &path));
            found.extend(aside(&path));
            found.extend(path.parent().and_then(|folder| room(folder, "bans and positions")));
        }
    }
    let logs = scene.root.join("var/log");
    found.extend(room(&logs, "logs"));
    found.extend(forgets(scene));
    found
}

/// The database's file, as the daemon has it or the configuration says.
fn database(scene: &Scene) -> Option<PathBuf> {
    match scene.status().and_then(|status| status.database.clone()) {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_absolute()),
        None => scene.places.kept_database().path().map(Path::to_owned),
    }
}

/// A database that is open for looking.
struct Opened {
    db: Connection,
    /// Where its copy is
    _copy: Option<tempfile::TempDir>,
}

/// Opens it for reading. Without a daemon a copy is opened: a log of its own that was left beside it would be worked in.
fn open(scene: &Scene, path: &Path) -> Result<Opened, String> {
    let wrap = |error: &dyn std::fmt::Display| error.to_string();
    let (target, copy) = if scene.status().is_some() {
        (path.to_owned(), None)
    } else {
        let length = fs::metadata(path).map_err(|error| wrap(&error))?.len();
        if length > LARGEST {
            return Err(format!("{length} bytes are too many to be looked through"));
        }
        let folder = tempfile::tempdir().map_err(|error| wrap(&error))?;
        let target = folder.path().join("copy.sqlite3");
        fs::copy(path, &target).map_err(|error| wrap(&error))?;
        // There is none where it was closed well.
        let _ = fs::copy(beside(path, "-wal"), beside(&target, "-wal"));
        (target, Some(folder))
    };
    let flags = if copy.is_some() {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let db =
        Connection::open_with_flags(target, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(|error| wrap(&error))?;
    db.busy_timeout(PATIENCE).map_err(|error| wrap(&error))?;
    Ok(Opened { db, _copy: copy })
}

fn beside(path: &Path, part: &str) -> PathBuf {
    PathBuf::from(format!("{}{part}", path.display()))
}

/// Whether it can be read, and is whole.
fn file(scene: &Scene, path: &Path) -> Finding {
    let shown = path.display();
    let length = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => {
            let text = format!("{shown} is no file: bans are not kept over a restart");
            return Finding::bad("database", text)
                .mend(format!("mv {shown} {shown}.away; a new one is made by itself"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("there is no database {shown} yet");
            return if scene.status().is_some() {
                let mend = format!("somebody deleted it under the daemon: {}", super::unit::restart(scene));
                Finding::bad("database", text).mend(mend)
            } else {
                Finding::note("database", text + "; the first start makes it")
            };
        }
        Err(error) => {
            let text = format!("the database {shown} cannot be reached by this user: {error}");
            return Finding::warn("database", text).mend("sudo portcullis doctor");
        }
    };
    if length > LARGEST {
        let text = format!("the database {shown} has {length} bytes, and was not read through for that");
        return Finding::note("database", text).mend("a smaller dbpurgeage in fail2ban.local lets it shrink");
    }
    let checked = open(scene, path).and_then(|opened| {
        let word = opened
            .db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        word.map_err(|error| error.to_string())
    });
    match checked.as_deref() {
        Ok("ok") => Finding::ok("database", format!("{shown} is whole, {length} bytes")),
        Ok(word) => damaged(scene, path, word),
        Err(error) => damaged(scene, path, error),
    }
}

fn damaged(scene: &Scene, path: &Path, why: &str) -> Finding {
    let text = format!("the database {} is damaged: {why}", path.display());
    let mend = format!(
        "start the daemon again: it moves the file aside and takes over what can be read. {}",
        super::unit::restart(scene)
    );
    Finding::bad("database", text).mend(mend)
}

/// What earlier damage left: a file that was moved aside.
fn aside(path: &Path) -> Option<Finding> {
    let name = format!("{}.corrupt-", path.file_name()?.to_string_lossy());
    let names = fs::read_dir(path.parent()?).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|other| other.starts_with(&name) && !other.ends_with("-wal") && !other.ends_with("-shm"))
        .collect();
    names.sort_unstable();
    let last = path.with_file_name(names.pop()?);
    let shown = last.display();
    let text = format!("a damaged database was moved aside to {shown}; what could be read of it was taken over");
    let mend = format!(
        "what else can be saved: sqlite3 {shown} .recover; then delete it. If it comes again, look at the disk"
    );
    Some(Finding::warn("database-aside", text).mend(mend))
}

/// Whether there is room.
fn room(folder: &Path, what: &str) -> Option<Finding> {
    let free = rustix::fs::statvfs(folder).ok()?;
    let bytes = free.f_bavail.saturating_mul(free.f_frsize);
    if bytes >= ROOM {
        return None;
    }
    let shown = folder.display();
    let text = format!("only {bytes} bytes are free at {shown}, where {what} are written");
    Some(
        Finding::warn("room", text)
            .of(shown.to_string())
            .mend(format!("make room: du -xh {shown} | sort -h | tail")),
    )
}

/// Increments that are forgotten before they count.
fn forgets(scene: &Scene) -> Option<Finding> {
    let configured = scene.configured.as_ref()?;
    let age = configured.plan.server.dbpurgeage;
    let grows = |jail: &&JailPlan| {
        jail.increment
            .iter()
            .any(|(key, value)| key == "increment" && parse_bool(value))
    };
    let longest = scene.jails().filter(grows).max_by_key(|jail| jail.bantime)?;
    if age >= longest.bantime || age == Seconds::ZERO {
        return None;
    }
    let text = format!(
        "dbpurgeage is {}, shorter than the bantime of jail {} ({}): whoever comes back is a first offender again",
        print_length(age),
        longest.name,
        print_length(longest.bantime)
    );
    let mend = format!(
        "write dbpurgeage = {} or more under [Definition] in fail2ban.local",
        longest.bantime.whole()
    );
    Some(Finding::warn("purge", text).mend(mend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fail2ban.sqlite3");
        assert_eq!(aside(&path), None);
        for name in [
            "fail2ban.sqlite3.corrupt-1",
            "fail2ban.sqlite3.corrupt-1-wal",
            "other.corrupt-2",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let finding = aside(&path).unwrap();
        assert!(finding.text.contains("fail2ban.sqlite3.corrupt-1;"), "{finding:?}");
        assert!(finding.mend.unwrap().contains(".recover"));
    }
}
