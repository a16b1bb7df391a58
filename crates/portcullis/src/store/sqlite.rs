//! The database file: opening it so that a crash cannot hurt it, and putting a damaged one out of the way.
//!
//! While we run, the file is in write-ahead mode: a commit is one append to a log, and after `kill -9` it is
//! either wholly there or not at all. At a clean end the log is folded back, so that the one file is whole and
//! any other program, Fail2Ban among them, finds it as it is used to.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use portcullis_core::diagnostic::{Diagnostic, Severity};
use portcullis_core::time::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{Error, explain, explain_open, folder};
use super::salvage::salvage;
use super::schema;
use super::{Opened, Place, Settings};

/// Pages of memory that SQLite may keep, as kibibytes; a commit larger than this spills into the log file.
const CACHE_KIB: i64 = 1024;

/// The same for a commit of many bans.
const WIDE_CACHE_KIB: i64 = 64 * 1024;

/// A log of so many pages is folded back, SQLite's own measure.
const LOG_PAGES: i64 = 1000;

/// The log file is cut back to this many bytes once its contents have been folded back.
const LOG_BYTES: i64 = 4 * 1024 * 1024;

/// Opens or creates the database, upgrades what is old and moves aside what is damaged.
pub(super) fn open(place: &Place, settings: &Settings, wall: Timestamp) -> Result<(Connection, Opened), Error> {
    let mut opened = Opened::default();
    let Place::File(path) = place else {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_in_memory_with_flags(flags).and_then(|mut db| {
            settle(&db, settings)?;
            bring_up(&mut db, schema::FAIL2BAN)?;
            Ok(db)
        });
        opened.created = true;
        return Ok((db.map_err(|error| explain(None, error))?, opened));
    };
    match open_file(path, settings, wall, &mut opened) {
        Err(Error::Damaged { reason, .. }) => {
            let aside = move_aside(path, wall)?;
            let mut db = open_file(path, settings, wall, &mut opened)?;
            let found = salvage(&mut db, &aside).map_err(|error| explain(Some(path), error))?;
            let rest = match found {
                0 => "nothing of it could be read: bans and log positions kept there are not in force".to_owned(),
                found => {
                    format!("{found} of its bans, past ones among them, could be read and are kept in the new one")
                }
            };
            let text = format!(
                "the database {} is damaged ({reason}); it was moved to {} and a new one begun; {rest}",
                path.display(),
                aside.display()
            );
            opened.diagnostics.push(
                Diagnostic::new(Severity::Error, "database-damaged", text)
                    .mend(format!("what else can be saved: sqlite3 {} .recover", aside.display())),
            );
            opened.moved_aside = Some(aside);
            Ok((db, opened))
        }
        other => other.map(|db| (db, opened)),
    }
}

fn open_file(path: &Path, settings: &Settings, wall: Timestamp, opened: &mut Opened) -> Result<Connection, Error> {
    prepare(path)?;
    let fail = |error| explain(Some(path), error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(fail)?;
    if db.is_readonly("main").map_err(fail)? {
        return Err(Error::ReadOnly(path.to_owned()));
    }
    settle(&db, settings).map_err(fail)?;
    check(&db, path)?;
    let found = schema::versions(&db).map_err(fail)?;
    refuse_newer(found, path)?;
    opened.created = found.fail2ban.is_none();
    let from = found.fail2ban.unwrap_or(schema::FAIL2BAN);
    if from < schema::FAIL2BAN {
        opened.backup = Some(backup(&db, path, wall)?);
        opened.upgraded = Some((from, schema::FAIL2BAN));
    }
    bring_up(&mut db, from).map_err(fail)?;
    let mode: String = db
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(fail)?;
    if mode != "wal" {
        // Some file systems have no shared memory; there each commit is synchronised, which is slower and as safe.
        db.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        opened.diagnostics.push(Diagnostic::new(
            Severity::Note,
            "database-journal",
            format!(
                "the database {} cannot use a write-ahead log here and works in {mode} mode, more slowly",
                path.display()
            ),
        ));
    }
    Ok(db)
}

/// Settings of the connection, none of which touches the file.
fn settle(db: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    db.busy_timeout(settings.patience)?;
    db.set_prepared_statement_cache_capacity(32);
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES)
}

/// Memory for writing many rows, given back when that is over. Meanwhile the log is not folded back either: that waits
/// for the disk.
#[derive(Debug, Default)]
pub(super) struct Room {
    is_wide: bool,
}

impl Room {
    /// Makes room. That a setting cannot be changed costs time and nothing else.
    pub(super) fn widen(&mut self, db: Option<&Connection>) {
        if let (false, Some(db)) = (self.is_wide, db) {
            self.is_wide = true;
            let _ = db.pragma_update(None, "cache_size", -WIDE_CACHE_KIB);
            let _ = db.pragma_update(None, "wal_autocheckpoint", 0);
        }
    }

    /// Gives it back.
    pub(super) fn narrow(&mut self, db: Option<&Connection>) {
        if let (true, Some(db)) = (self.is_wide, db) {
            self.is_wide = false;
            let _ = db.pragma_update(None, "cache_size", -CACHE_KIB);
            let _ = db.execute_batch("PRAGMA shrink_memory");
            let _ = db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES);
        }
    }

    /// Whether there is more than usual.
    pub(super) fn is_wide(&self) -> bool {
        self.is_wide
    }
}

/// Whether the database looks up what rows refer to; not within a transaction.
pub(super) fn check_references(db: Option<&Connection>, on: bool) {
    if let Some(db) = db {
        let _ = db.pragma_update(None, "foreign_keys", on);
    }
}

/// Makes the folder (its last level only) and the file, readable by us alone as Fail2Ban makes it.
fn prepare(path: &Path) -> Result<(), Error> {
    let folder = folder(path);
    if !folder.exists() {
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(|source| Error::Directory {
                path: folder.to_owned(),
                source,
            })?;
    }
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(_) => Err(Error::NotAFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map(drop)
            .map_err(|error| explain_open(path, error)),
        Err(error) => Err(explain_open(path, error)),
    }
}

/// Reads the whole file once: damage found now costs the old file, damage found later costs the ban being kept.
fn check(db: &Connection, path: &Path) -> Result<(), Error> {
    let verdict: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| explain(Some(path), error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Error::Damaged {
        path: path.to_owned(),
        reason: verdict,
    })
}

/// Refuses a file that others than root and we may write or replace.
pub(super) fn check_rights(path: &Path) -> Result<(), Error> {
    let us = rustix::process::geteuid().as_raw();
    let is_safe = |meta: &fs::Metadata| {
        let by_group = meta.mode() & 0o020 != 0 && meta.gid() != 0;
        (meta.uid() == 0 || meta.uid() == us) && meta.mode() & 0o002 == 0 && !by_group
    };
    let exposed = [path, folder(path)]
        .into_iter()
        .find(|place| !fs::metadata(place).is_ok_and(|meta| is_safe(&meta)));
    exposed.map_or(Ok(()), |exposed| {
        Err(Error::Exposed {
            path: path.to_owned(),
            exposed: exposed.to_owned(),
        })
    })
}

fn refuse_newer(found: schema::Versions, path: &Path) -> Result<(), Error> {
    let refuse = |whose, found: Option<i64>, known| match found {
        Some(found) if found > known => Err(Error::Newer {
            path: path.to_owned(),
            whose,
            found,
            known,
        }),
        _ => Ok(()),
    };
    refuse("Fail2Ban's", found.fail2ban, schema::FAIL2BAN)?;
    refuse("portcullis's", found.ours, schema::OURS)
}

fn bring_up(db: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if from < schema::FAIL2BAN {
        schema::upgrade(&tx, from)?;
    }
    schema::create(&tx)?;
    tx.commit()
}

/// A whole copy beside the file, under Fail2Ban's name for it (contract §7.6); one of the same second stays.
fn backup(db: &Connection, path: &Path, wall: Timestamp) -> Result<PathBuf, Error> {
    let copy = beside(path, &format!(".{}", stamp(wall, "%Y%m%d-%H%M%S")));
    if !copy.exists() {
        db.execute("VACUUM INTO ?1", [copy.to_string_lossy()])
            .map_err(|error| explain(Some(path), error))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).map_err(|error| explain_open(&copy, error))?;
    }
    Ok(copy)
}

/// Renames a damaged file and its log to `FILE.corrupt-<UTC>`; nothing is ever deleted.
///
/// # Errors
/// It cannot be renamed.
pub(crate) fn move_aside(path: &Path, wall: Timestamp) -> Result<PathBuf, Error> {
    let fail = |source| Error::Aside {
        path: path.to_owned(),
        source,
    };
    let name = format!(".corrupt-{}", stamp(wall, "%Y%m%dT%H%M%SZ"));
    let mut aside = beside(path, &name);
    let mut again = 1;
    while aside.exists() {
        again += 1;
        aside = beside(path, &format!("{name}-{again}"));
    }
    // The log goes first: a log beside a file that it does not belong to would be applied to the new one.
    for part in ["-wal", "-journal", "-shm", ""] {
        match fs::rename(beside(path, part), beside(&aside, part)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(fail)?,
        }
    }
    Ok(aside)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn stamp(wall: Timestamp, format: &str) -> String {
    let time = jiff::Timestamp::from_microsecond(wall.micros()).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// Folds the log back into the file. The file stays whole and safe if that fails, with the log beside it.
pub(super) fn close(db: Connection, path: Option<&Path>) -> Result<(), Error> {
    let folded = if path.is_some() {
        db.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0))
            .map(drop)
    } else {
        Ok(())
    };
    let closed = db.close().map_err(|(_, error)| error);
    folded.and(closed).map_err(|error| explain(path, error))
}
