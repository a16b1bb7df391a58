//! What can still be read of a damaged database: row by row from both ends of each of Fail2Ban's tables, up to where it
//! is damaged.
//!
//! Our own tables are not read: they say more than Fail2Ban's only together, and the bans among the rows are taken over
//! as if Fail2Ban had written them.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params, params_from_iter};

/// Where the jail stands, and the columns, in every table that has anything to tell.
const TABLES: [(&str, usize, &str); 3] = [
    ("logs", 0, "jail, path, firstlinemd5, lastfilepos"),
    ("bans", 0, "jail, ip, timeofban, bantime, bancount, data"),
    ("bips", 1, "ip, jail, timeofban, bantime, bancount, data"),
];

/// Copies what can be read of `aside` into `db`, which is new. Gives the number of rows of `bips`: the bans and the
/// history. The damaged file is not changed.
///
/// # Errors
/// `db` cannot take them; what cannot be read is no error.
pub(super) fn salvage(db: &mut Connection, aside: &Path) -> rusqlite::Result<usize> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(damaged) = Connection::open_with_flags(aside, flags) else {
        return Ok(0);
    };
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in TABLES {
        copy(&damaged, &tx, table)?;
    }
    // Whoever is in `bans` is in `bips` with the last of them; one of the two mostly outlives the damage.
    tx.execute_batch(
        "INSERT OR IGNORE INTO bips(ip, jail, timeofban, bantime, bancount, data)
             SELECT ip, jail, timeofban, bantime, bancount, data FROM bans WHERE ip IS NOT NULL ORDER BY timeofban DESC",
    )?;
    let found = tx.query_row("SELECT count(*) FROM bips", [], |row| row.get::<_, i64>(0))?;
    tx.commit()?;
    Ok(usize::try_from(found).unwrap_or(0))
}

fn copy(damaged: &Connection, tx: &Transaction<'_>, table: (&str, usize, &str)) -> rusqlite::Result<()> {
    let (table, jail, columns) = table;
    let marks = vec!["?"; columns.split(',').count()].join(", ");
    let mut insert = tx.prepare(&format!("INSERT OR IGNORE INTO {table}({columns}) VALUES({marks})"))?;
    let mut list = tx.prepare("INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 0)")?;
    let mut reached = i64::MIN;
    for order in ["", "DESC"] {
        let sql = format!("SELECT rowid, {columns} FROM {table} NOT INDEXED ORDER BY rowid {order}");
        let Ok(mut query) = damaged.prepare(&sql) else {
            return Ok(());
        };
        let width = query.column_count();
        let Ok(mut rows) = query.query([]) else {
            return Ok(());
        };
        while let Ok(Some(row)) = rows.next() {
            let Ok(number) = row.get::<_, i64>(0) else { break };
            if order.is_empty() {
                reached = number;
            } else if number <= reached {
                break;
            }
            let values: Result<Vec<Value>, _> = (1..width).map(|at| row.get(at)).collect();
            let Ok(values) = values else { continue };
            if let Some(Value::Text(name)) = values.get(jail) {
                list.execute(params![name])?;
                insert.execute(params_from_iter(values))?;
            }
        }
    }
    Ok(())
}
