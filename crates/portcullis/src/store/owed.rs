//! Fail2Ban's rows of many bans at once, which are written when the bans are in force.
//!
//! A ban has a row in three tables with eight indexes. Of a few bans all of that is one transaction. Of many, our own
//! row alone is kept before any layer is told, with all that is known, and marked as *owing*; Fail2Ban's rows follow,
//! a piece at a time, between other work: the orders of an attack do not wait for what only another program reads. A
//! start after a death pays first what is still owed, before it looks for what others wrote.

use portcullis_core::address::Id;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// So many bans of one step make it one of many.
pub(super) const MANY: usize = 256;

/// What `raw` says of a row that owes.
pub(super) const OWING: i64 = 2;

/// Rows that are paid at once: some ten milliseconds.
const PIECE: i64 = 2048;

/// What is owed, and how far it is paid.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Whether there may be rows that owe
    pub(super) any: bool,
    /// Rows up to this jail and id are paid
    paid: (String, String),
}

impl Owed {
    /// New rows that owe may stand anywhere.
    pub(super) fn more(&mut self) {
        *self = Owed {
            any: true,
            ..Owed::default()
        };
    }

    /// What is left after a payment up to there.
    pub(super) fn less(&mut self, paid: Option<(String, String)>) {
        match paid {
            Some(paid) => self.paid = paid,
            None => *self = Owed::default(),
        }
    }
}

/// Pays a piece. How far it came, or nothing where all is paid.
pub(super) fn pay_piece(tx: &Transaction<'_>, owed: &Owed) -> rusqlite::Result<Option<(String, String)>> {
    let (jail, id) = (&owed.paid.0, &owed.paid.1);
    let last = tx
        .prepare_cached(
            "SELECT jail, id FROM portcullis_bans WHERE (jail, id) > (?1, ?2) AND raw = ?3
                 ORDER BY jail, id LIMIT 1 OFFSET ?4",
        )?
        .query_row(params![jail, id, OWING, PIECE - 1], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    match &last {
        Some((last_jail, last_id)) => pay(
            tx,
            "(b.jail, b.id) > (?2, ?3) AND (b.jail, b.id) <= (?4, ?5)",
            params![OWING, jail, id, last_jail, last_id],
        )?,
        None => pay(tx, "(b.jail, b.id) > (?2, ?3)", params![OWING, jail, id])?,
    }
    Ok(last)
}

/// Pays all.
pub(super) fn pay_all(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    pay(tx, "1", params![OWING])
}

/// Pays what is owed of one ban, before its rows change otherwise.
pub(super) fn pay_one(tx: &Transaction<'_>, jail: &str, id: &Id) -> rusqlite::Result<()> {
    pay(tx, "b.jail = ?2 AND b.id = ?3", params![OWING, jail, id.to_string()])
}

/// Whether a row owes.
pub(super) fn is_any(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM portcullis_bans WHERE raw = ?1 LIMIT 1")?
        .exists([OWING])
}

/// The lines and fields move to Fail2Ban's rows. Where Fail2Ban has written a younger one since, that one stays.
fn pay(tx: &Transaction<'_>, which: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<()> {
    let run = |sql: String| tx.prepare_cached(&sql)?.execute(values);
    let rows = format!(
        "(jail, ip, timeofban, bantime, bancount, data)
             SELECT b.jail, b.id, b.seen_time, b.seen_bantime, b.bancount, b.data
             FROM portcullis_bans b WHERE b.raw = ?1 AND {which}"
    );
    run(format!("INSERT INTO bans{rows}"))?;
    run(format!(
        "INSERT OR REPLACE INTO bips{rows}
             AND NOT EXISTS(SELECT 1 FROM bips f WHERE f.ip = b.id AND f.jail = b.jail AND f.timeofban > b.seen_time)"
    ))?;
    run(format!(
        "UPDATE portcullis_bans AS b SET raw = 0, data = NULL WHERE b.raw = ?1 AND {which}"
    ))?;
    Ok(())
}
