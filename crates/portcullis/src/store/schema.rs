//! The tables: Fail2Ban's, column for column as its version 4 has them, and our own beside them.
//!
//! Both live in one file so that one transaction covers them (contract §7). Our definitions keep to what
//! SQLite understood in 2013: Fail2Ban has to open the file with whatever SQLite its Python brings, and a
//! definition that SQLite cannot read makes the whole file unreadable.

use rusqlite::{Connection, OptionalExtension, Transaction};

/// Fail2Ban's schema version that is written and upgraded to.
pub(super) const FAIL2BAN: i64 = 4;

/// Version of our own tables.
pub(super) const OURS: i64 = 1;

const VERSION: &str = "CREATE TABLE IF NOT EXISTS fail2banDb(version INTEGER);";

const JAILS: &str = "
CREATE TABLE IF NOT EXISTS jails(
    name TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS jails_name ON jails(name);";

const LOGS: &str = "
CREATE TABLE IF NOT EXISTS logs(
    jail TEXT NOT NULL,
    path TEXT,
    firstlinemd5 TEXT,
    lastfilepos INTEGER DEFAULT 0,
    FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE,
    UNIQUE(jail, path),
    UNIQUE(jail, path, firstlinemd5));
CREATE INDEX IF NOT EXISTS logs_path ON logs(path);
CREATE INDEX IF NOT EXISTS logs_jail_path ON logs(jail, path);";

const BANS: &str = "
CREATE TABLE IF NOT EXISTS bans(
    jail TEXT NOT NULL,
    ip TEXT,
    timeofban INTEGER NOT NULL,
    bantime INTEGER NOT NULL,
    bancount INTEGER NOT NULL DEFAULT 1,
    data JSON,
    FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX IF NOT EXISTS bans_jail_timeofban_ip ON bans(jail, timeofban);
CREATE INDEX IF NOT EXISTS bans_jail_ip ON bans(jail, ip);
CREATE INDEX IF NOT EXISTS bans_ip ON bans(ip);";

const BIPS: &str = "
CREATE TABLE IF NOT EXISTS bips(
    ip TEXT NOT NULL,
    jail TEXT NOT NULL,
    timeofban INTEGER NOT NULL,
    bantime INTEGER NOT NULL,
    bancount INTEGER NOT NULL DEFAULT 1,
    data JSON,
    PRIMARY KEY(ip, jail),
    FOREIGN KEY(jail) REFERENCES jails(name));
CREATE INDEX IF NOT EXISTS bips_timeofban ON bips(timeofban);
CREATE INDEX IF NOT EXISTS bips_ip ON bips(ip);";

/// Our own tables. Times are microseconds on the steady clock, but for `read_at` and `wall`.
///
/// `seen_*` is what stood in Fail2Ban's table when the row was last written: if that table says something else
/// later, another program wrote there. `raw` is 1 for a ban taken from Fail2Ban's row that no jail has looked at
/// yet, and 2 for one whose rows in Fail2Ban's tables are still owed; `ended` one that is over while Fail2Ban's row still
/// looks alive.
///
/// Rows of bans and counters are up to some kilobytes, which are slow to put in order: the tables grow at their end, and only
/// what they are found by is in order. Files of earlier versions, in which the rows are in order, are used as they are.
///
/// The list of all tables fits into the file's first page, so that a hole elsewhere hides none of them: no blanks.
const OWN: &str = "
CREATE TABLE IF NOT EXISTS portcullis_meta(version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS portcullis_clock(\
    one INTEGER PRIMARY KEY CHECK(one = 1),\
    boot_id TEXT NOT NULL,\
    boottime INTEGER NOT NULL,\
    steady INTEGER NOT NULL,\
    wall INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS portcullis_bans(\
    jail TEXT NOT NULL REFERENCES jails(name) ON DELETE CASCADE,\
    id TEXT NOT NULL,\
    time INTEGER NOT NULL,\
    bantime INTEGER NOT NULL,\
    bancount INTEGER NOT NULL,\
    data BLOB,\
    raw INTEGER NOT NULL DEFAULT 0,\
    ended INTEGER NOT NULL DEFAULT 0,\
    seen_time INTEGER,\
    seen_bantime INTEGER,\
    PRIMARY KEY(jail, id));
CREATE TABLE IF NOT EXISTS portcullis_counts(\
    jail TEXT NOT NULL REFERENCES jails(name) ON DELETE CASCADE,\
    id TEXT NOT NULL,\
    first INTEGER NOT NULL,\
    last INTEGER NOT NULL,\
    retry INTEGER NOT NULL,\
    data BLOB,\
    PRIMARY KEY(jail, id));
CREATE TABLE IF NOT EXISTS portcullis_marks(\
    jail TEXT NOT NULL REFERENCES jails(name) ON DELETE CASCADE,\
    path TEXT NOT NULL,\
    device INTEGER NOT NULL,\
    inode INTEGER NOT NULL,\
    offset INTEGER NOT NULL,\
    head TEXT NOT NULL,\
    tail TEXT NOT NULL,\
    read_at INTEGER NOT NULL,\
    seen_pos NUMERIC,\
    PRIMARY KEY(jail, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS portcullis_waiting(\
    number INTEGER NOT NULL PRIMARY KEY,\
    jail TEXT NOT NULL REFERENCES jails(name) ON DELETE CASCADE,\
    id TEXT NOT NULL,\
    is_name INTEGER NOT NULL,\
    time INTEGER NOT NULL,\
    wall INTEGER NOT NULL,\
    data BLOB);
CREATE TABLE IF NOT EXISTS portcullis_sessions(\
    jail TEXT NOT NULL PRIMARY KEY REFERENCES jails(name) ON DELETE CASCADE,\
    text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS portcullis_actions(\
    jail TEXT NOT NULL,\
    action TEXT NOT NULL,\
    boot_id, network, families, clean, definition, told,\
    PRIMARY KEY(jail, action)) WITHOUT ROWID;";

/// What a file holds before anything is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// Fail2Ban's, if its tables are there; a table without a row is taken for the present version, since
    /// Fail2Ban creates table and row in one go.
    pub(super) fail2ban: Option<i64>,
    /// Ours, if our tables are there.
    pub(super) ours: Option<i64>,
}

/// Reads both versions.
pub(super) fn versions(db: &Connection) -> rusqlite::Result<Versions> {
    let read = |table: &str, sql: &str| -> rusqlite::Result<Option<i64>> {
        if !has_table(db, table)? {
            return Ok(None);
        }
        let version = db.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).optional()?;
        Ok(Some(version.flatten().unwrap_or(FAIL2BAN)))
    };
    Ok(Versions {
        fail2ban: read("fail2banDb", "SELECT version FROM fail2banDb LIMIT 1")?,
        ours: read("portcullis_meta", "SELECT max(version) FROM portcullis_meta")?,
    })
}

/// Whether there is a table of this name.
pub(super) fn has_table(db: &Connection, name: &str) -> rusqlite::Result<bool> {
    db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

/// Brings Fail2Ban's tables from an older version to the present one (contract §7.6).
pub(super) fn upgrade(tx: &Transaction<'_>, from: i64) -> rusqlite::Result<()> {
    tx.execute_batch(VERSION)?;
    tx.execute_batch(JAILS)?;
    if from < 2 && has_table(tx, "logs")? {
        adopt_jails(tx, "logs")?;
        tx.execute_batch("ALTER TABLE logs RENAME TO logs_before; DROP INDEX IF EXISTS logs_path; DROP INDEX IF EXISTS logs_jail_path;")?;
        tx.execute_batch(LOGS)?;
        tx.execute_batch(
            "INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos)
                 SELECT jail, path, firstlinemd5, lastfilepos FROM logs_before;
             DROP TABLE logs_before;",
        )?;
    }
    if from < 3 && has_table(tx, "bans")? {
        adopt_jails(tx, "bans")?;
        tx.execute_batch(
            "ALTER TABLE bans RENAME TO bans_before; DROP INDEX IF EXISTS bans_jail_timeofban_ip;
             DROP INDEX IF EXISTS bans_jail_ip; DROP INDEX IF EXISTS bans_ip;",
        )?;
        tx.execute_batch(BANS)?;
        // -2 says that the length was not recorded; the jail's own is put in its place at restore.
        tx.execute_batch(
            "INSERT INTO bans(jail, ip, timeofban, bantime, bancount, data)
                 SELECT jail, ip, timeofban, -2, 1, data FROM bans_before ORDER BY rowid;
             DROP TABLE bans_before;",
        )?;
    }
    if from < 4 && !has_table(tx, "bips")? {
        tx.execute_batch(BIPS)?;
        if has_table(tx, "bans")? {
            tx.execute_batch(
                "INSERT OR REPLACE INTO bips(ip, jail, timeofban, bantime, bancount, data)
                     SELECT ip, jail, timeofban, bantime, bancount, data FROM bans
                     WHERE ip IS NOT NULL ORDER BY timeofban;",
            )?;
        }
    }
    tx.execute("UPDATE fail2banDb SET version = ?1", [FAIL2BAN])?;
    Ok(())
}

/// Rows of old files may name jails that are no longer listed; the constraint of the new tables wants them.
fn adopt_jails(tx: &Transaction<'_>, table: &str) -> rusqlite::Result<()> {
    tx.execute_batch(&format!(
        "INSERT OR IGNORE INTO jails(name, enabled) SELECT DISTINCT jail, 0 FROM {table};"
    ))
}

/// Creates whatever is missing.
pub(super) fn create(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    for part in [VERSION, JAILS, LOGS, BANS, BIPS, OWN] {
        tx.execute_batch(part)?;
    }
    tx.execute(
        "INSERT INTO fail2banDb(version) SELECT ?1 WHERE NOT EXISTS(SELECT 1 FROM fail2banDb)",
        [FAIL2BAN],
    )?;
    tx.execute(
        "INSERT INTO portcullis_meta(version) SELECT ?1 WHERE NOT EXISTS(SELECT 1 FROM portcullis_meta)",
        [OURS],
    )?;
    Ok(())
}
