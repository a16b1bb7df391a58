//! The books of the cloud firewall on disk: what in the rules is ours.
//!
//! They have a file of their own, `cloud.sqlite3` in the state folder, because another thread writes them than the
//! engine's: a call to the API must not go out before its entries are on the disk, and must never wait for a
//! transaction of the engine's, nor the engine for it. What comes in together is kept together or not at all, and is on
//! the disk when [`CloudBooks::keep`] returns.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_core::cloud::books::{Books, Claim, Entry};
use portcullis_core::time::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, Transaction, params};

use crate::store::move_aside;

/// The file's name in the state folder.
pub(crate) const FILE: &str = "cloud.sqlite3";

/// The version of the tables that is written.
const VERSION: i64 = 1;

/// Somebody who looks into the file with another program is waited for so long.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE rules(
    project TEXT NOT NULL,
    rule TEXT NOT NULL,
    base TEXT,
    most INTEGER,
    request TEXT,
    body TEXT,
    at INTEGER,
    operation TEXT,
    PRIMARY KEY(project, rule)) WITHOUT ROWID;
CREATE TABLE claims(
    project TEXT NOT NULL,
    rule TEXT NOT NULL,
    net TEXT NOT NULL,
    claim TEXT NOT NULL CHECK(claim IN ('want', 'held', 'gone')),
    PRIMARY KEY(project, rule, net)) WITHOUT ROWID;
PRAGMA user_version = 1;";

/// The books of all projects.
#[derive(Debug)]
pub(crate) struct CloudBooks {
    db: Connection,
    path: PathBuf,
    loss: Option<String>,
}

/// Why the file cannot be used.
enum Fault {
    /// It is put aside.
    Damaged(String),
    /// It stays as it is.
    Other(String),
}

impl CloudBooks {
    /// Opens the file, or makes it, readable by its owner alone. A damaged one is put aside and a new one begun: then
    /// [`loss`](CloudBooks::loss) says so.
    ///
    /// # Errors
    /// In words: the file cannot be opened or made, or a later version of portcullis has written it.
    pub(crate) fn open(path: &Path) -> Result<CloudBooks, String> {
        let shown = path.display();
        let fault = match prepare(path).and_then(|()| connect(path)) {
            Ok(db) => return Ok(CloudBooks::over(db, path, None)),
            Err(Fault::Other(reason)) => return Err(format!("the books of the cloud firewall {shown}: {reason}")),
            Err(Fault::Damaged(reason)) => reason,
        };
        let now = Timestamp::from_micros(jiff::Timestamp::now().as_microsecond());
        let aside = move_aside(path, now).map_err(|error| error.to_string())?;
        let db = prepare(path)
            .and_then(|()| connect(path))
            .map_err(|fault| match fault {
                Fault::Damaged(reason) | Fault::Other(reason) => {
                    format!("the books of the cloud firewall {shown}: {reason}")
                }
            })?;
        let loss = format!(
            "the books of the cloud firewall {shown} are damaged ({fault}); they were moved to {} and new ones begun: \
             nothing in the rules is known as ours any more. What is in a rule with this machine's mark is taken back; \
             what earlier bans left in a rule without it (own_rule = no) stays until it is taken out by hand",
            aside.display()
        );
        Ok(CloudBooks::over(db, path, Some(loss)))
    }

    fn over(db: Connection, path: &Path, loss: Option<String>) -> CloudBooks {
        CloudBooks {
            db,
            path: path.to_owned(),
            loss,
        }
    }

    /// What was lost when the file was opened: an error for the log.
    pub(crate) fn loss(&self) -> Option<&str> {
        self.loss.as_deref()
    }

    /// Everything about one project.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn load(&self, project: &str) -> Result<Books, String> {
        self.read(project).map_err(|error| self.explain(&error))
    }

    /// The projects about which something is known.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn projects(&self) -> Result<Vec<String>, String> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT project FROM rules UNION SELECT project FROM claims ORDER BY project";
            self.db.prepare_cached(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.explain(&error))
    }

    /// Keeps entries about one project: all of them or none, on the disk before this returns.
    ///
    /// # Errors
    /// They are not kept.
    pub(crate) fn keep(&mut self, project: &str, entries: &[Entry]) -> Result<(), String> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write(project, entries).map_err(|error| self.explain(&error))
    }

    fn read(&self, project: &str) -> rusqlite::Result<Books> {
        let mut entries = Vec::new();
        let mut rules = self.db.prepare_cached(
            "SELECT rule, base, most, request, body, at, operation FROM rules WHERE project = ?1 ORDER BY rule",
        )?;
        let mut rows = rules.query([project])?;
        while let Some(row) = rows.next()? {
            account(row, &mut entries)?;
        }
        let mut claims = self
            .db
            .prepare_cached("SELECT rule, net, claim FROM claims WHERE project = ?1 ORDER BY rule, net")?;
        let mut rows = claims.query([project])?;
        while let Some(row) = rows.next()? {
            entries.push(put(row)?);
        }
        Ok(Books { entries })
    }

    fn write(&mut self, project: &str, entries: &[Entry]) -> rusqlite::Result<()> {
        let tx = self.db.transaction()?;
        for entry in entries {
            keep_one(&tx, project, entry)?;
        }
        tx.commit()
    }

    fn explain(&self, error: &rusqlite::Error) -> String {
        format!("the books of the cloud firewall {}: {error}", self.path.display())
    }
}

fn keep_one(tx: &Transaction<'_>, project: &str, entry: &Entry) -> rusqlite::Result<()> {
    let set = |rule: &str, column: &str, value: &dyn rusqlite::ToSql| {
        let sql = format!(
            "INSERT INTO rules(project, rule, {column}) VALUES(?1, ?2, ?3)
             ON CONFLICT(project, rule) DO UPDATE SET {column} = excluded.{column}"
        );
        tx.prepare_cached(&sql)?
            .execute(params![project, rule, value])
            .map(drop)
    };
    match entry {
        Entry::Put { rule, range, claim } => tx
            .prepare_cached("INSERT OR REPLACE INTO claims(project, rule, net, claim) VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![project, rule, range.to_string(), word(*claim)])
            .map(drop),
        Entry::Forget { rule, range } => tx
            .prepare_cached("DELETE FROM claims WHERE project = ?1 AND rule = ?2 AND net = ?3")?
            .execute(params![project, rule, range.to_string()])
            .map(drop),
        Entry::Intend {
            rule,
            request,
            body,
            at,
        } => {
            set(rule, "request", request)?;
            set(rule, "body", body)?;
            set(rule, "at", &at.micros())?;
            set(rule, "operation", &None::<String>)
        }
        Entry::Operation { rule, operation } => {
            if operation.is_none() {
                set(rule, "request", &None::<String>)?;
            }
            set(rule, "operation", operation)
        }
        Entry::Limit { rule, most } => set(rule, "most", &i64::try_from(*most).unwrap_or(i64::MAX)),
        Entry::Made { rule, base } => set(rule, "base", base),
        Entry::Known { rule } => tx
            .prepare_cached("INSERT OR IGNORE INTO rules(project, rule) VALUES(?1, ?2)")?
            .execute([project, rule])
            .map(drop),
        Entry::Unmake { rule } => {
            tx.execute("DELETE FROM rules WHERE project = ?1 AND rule = ?2", [project, rule])?;
            tx.execute("DELETE FROM claims WHERE project = ?1 AND rule = ?2", [project, rule])?;
            Ok(())
        }
    }
}

fn account(row: &Row<'_>, entries: &mut Vec<Entry>) -> rusqlite::Result<()> {
    let rule: String = row.get("rule")?;
    let rule = || rule.clone();
    // That there is a row is all that is to be known.
    entries.push(Entry::Known { rule: rule() });
    if let Some(base) = row.get("base")? {
        entries.push(Entry::Made { rule: rule(), base });
    }
    if let Some(most) = row.get::<_, Option<i64>>("most")? {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        entries.push(Entry::Limit { rule: rule(), most });
    }
    if let Some(request) = row.get("request")? {
        entries.push(Entry::Intend {
            rule: rule(),
            request,
            body: row.get("body")?,
            at: Timestamp::from_micros(row.get("at")?),
        });
    }
    let operation: Option<String> = row.get("operation")?;
    if operation.is_some() {
        entries.push(Entry::Operation {
            rule: rule(),
            operation,
        });
    }
    Ok(())
}

fn put(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let wrong = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let range: String = row.get("net")?;
    let claim: String = row.get("claim")?;
    Ok(Entry::Put {
        rule: row.get("rule")?,
        range: range.parse::<IpNet>().map_err(|error| wrong(1, Box::new(error)))?,
        claim: claim_of(&claim).ok_or_else(|| wrong(2, format!("'{}' is no claim", claim.escape_default()).into()))?,
    })
}

fn word(claim: Claim) -> &'static str {
    match claim {
        Claim::Want => "want",
        Claim::Held => "held",
        Claim::Gone => "gone",
    }
}

fn claim_of(word: &str) -> Option<Claim> {
    match word {
        "want" => Some(Claim::Want),
        "held" => Some(Claim::Held),
        "gone" => Some(Claim::Gone),
        _ => None,
    }
}

/// Makes the file, or takes it from others than its owner.
fn prepare(path: &Path) -> Result<(), Fault> {
    let fail = |error: io::Error| Fault::Other(error.to_string());
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => Err(Fault::Other("is no file".to_owned())),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(fail)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            made.map_err(fail)?;
            // What is in the file is on the disk before a call goes out, and so must be its name.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
            folder.map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(|error| fault(&error))?;
    match settle(&mut db) {
        Ok(None) => Ok(db),
        Ok(Some(found)) if found > VERSION => Err(Fault::Other(format!(
            "they are of version {found}, which a later portcullis has written; this one knows {VERSION}"
        ))),
        Ok(Some(_)) => Err(Fault::Damaged("the file holds something else".to_owned())),
        Err(error) => Err(fault(&error)),
    }
}

/// Brings the connection and the tables into order; otherwise the version that was found.
fn settle(db: &mut Connection) -> rusqlite::Result<Option<i64>> {
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // A write-ahead log where the file system has shared memory; a journal, as durable and slower, elsewhere.
    db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let table = "SELECT 1 FROM sqlite_schema LIMIT 1";
    let is_new = version == 0 && db.query_row(table, [], |_| Ok(())).optional()?.is_none();
    if is_new {
        let tx = db.transaction()?;
        tx.execute_batch(TABLES)?;
        tx.commit()?;
    } else if version != VERSION {
        return Ok(Some(version));
    }
    check(db)?;
    Ok(None)
}

/// Reads the whole file once: damage that shows later would cost a ban.
fn check(db: &Connection) -> rusqlite::Result<()> {
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(verdict)));
    }
    let mut claims = db.prepare("SELECT rule, net, claim FROM claims")?;
    let mut rows = claims.query([])?;
    while let Some(row) = rows.next()? {
        put(row)?;
    }
    let mut rules = db.prepare("SELECT rule, base, most, request, body, at, operation FROM rules")?;
    let mut rows = rules.query([])?;
    while let Some(row) = rows.next()? {
        account(row, &mut Vec::new())?;
    }
    Ok(())
}

/// Whether the file is at fault, or what is around it.
fn fault(error: &rusqlite::Error) -> Fault {
    let is_damage = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        // No such table or column.
        Some(ErrorCode::Unknown) => true,
        Some(_) => false,
        None => true,
    };
    if is_damage {
        Fault::Damaged(error.to_string())
    } else {
        Fault::Other(error.to_string())
    }
}

#[cfg(test)]
mod tests;
