//! What another program wrote into Fail2Ban's tables while we were not looking becomes ours.
//!
//! Each row of our own tables remembers what stood in Fail2Ban's (`seen_*`), and both are written in one
//! transaction. So whatever differs at the start was written by another hand afterwards, and that hand wins:
//! - a row of `bips` that is new or changed, and not certainly over, becomes a `raw` ban: no jail has looked at
//!   it yet, and the rule of contract §7.4 is still to be applied to it;
//! - a ban of ours whose row in `bips` is gone was lifted by hand;
//! - a position in `logs` that moved becomes a mark without inode and tail.
//!
//! A database that only ever Fail2Ban wrote is the case in which all rows are new.

use portcullis_core::time::{Clock, Seconds};
use rusqlite::{Transaction, params};

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Bans that are new or changed
    pub(crate) bans: usize,
    /// Bans of ours that somebody else lifted or let run out
    pub(crate) lifted: usize,
    /// Log positions that are new or moved
    pub(crate) marks: usize,
}

/// The name under which Fail2Ban keeps a position in the journal: a wall time, not an offset (contract §6.6).
pub(super) const JOURNAL: &str = "systemd-journal";

/// Whether a row of `bips` (as `f`) may still be in force at the wall time `?1`. A negative length is for ever,
/// or unknown.
pub(super) const ALIVE: &str = "(f.bantime < 0 OR f.timeofban + f.bantime > ?1)";

/// Takes over whatever differs. `clock` is where the clocks stand now.
pub(super) fn adopt(tx: &Transaction<'_>, clock: Clock) -> rusqlite::Result<Adopted> {
    let now = clock.wall.as_f64();
    // One look tells that nobody else wrote, which is how nearly every start finds it.
    if !differs(tx, now)? {
        forget_ended(tx, clock)?;
        return Ok(Adopted {
            marks: adopt_marks(tx, clock)?,
            ..Adopted::default()
        });
    }
    let lifted = tx.execute(
        "DELETE FROM portcullis_bans AS b WHERE seen_time IS NOT NULL
             AND NOT EXISTS(SELECT 1 FROM bips f WHERE f.ip = b.id AND f.jail = b.jail)",
        [],
    )?;
    let replaced = tx.execute(
        &format!(
            "DELETE FROM portcullis_bans AS b WHERE EXISTS(SELECT 1 FROM bips f WHERE f.ip = b.id AND f.jail = b.jail
                 AND (f.timeofban IS NOT b.seen_time OR f.bantime IS NOT b.seen_bantime) AND NOT {ALIVE})"
        ),
        [now],
    )?;
    let bans = adopt_bans(tx, clock)?;
    forget_ended(tx, clock)?;
    Ok(Adopted {
        bans,
        lifted: lifted + replaced,
        marks: adopt_marks(tx, clock)?,
    })
}

/// Whether a row of `bips` is new and alive, is gone, or is not what stood there when our own row was written. New ones
/// show by their number: more are alive than have a row of ours.
fn differs(tx: &Transaction<'_>, now: f64) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT COALESCE(max(CASE WHEN f.ip IS NULL THEN b.seen_time IS NOT NULL
                 ELSE f.timeofban IS NOT b.seen_time OR f.bantime IS NOT b.seen_bantime END), 0)
             OR count(CASE WHEN {ALIVE} THEN 1 END) <> (SELECT count(*) FROM bips f WHERE {ALIVE})
         FROM portcullis_bans b LEFT JOIN bips f ON f.ip = b.id AND f.jail = b.jail"
    );
    tx.query_row(&sql, [now], |row| row.get(0))
}

fn adopt_bans(tx: &Transaction<'_>, clock: Clock) -> rusqlite::Result<usize> {
    let shift: Seconds = clock.steady - clock.wall;
    adopt_jails(tx, "bips")?;
    tx.execute(
        &format!(
            "INSERT OR REPLACE INTO portcullis_bans(jail, id, time, bantime, bancount, raw, seen_time, seen_bantime)
             SELECT f.jail, f.ip, CAST(f.timeofban * 1000000 + ?2 AS INTEGER), CAST(f.bantime * 1000000 AS INTEGER),
                 f.bancount, 1, f.timeofban, f.bantime
             FROM bips f LEFT JOIN portcullis_bans b ON b.jail = f.jail AND b.id = f.ip
             WHERE {ALIVE} AND f.ip <> ''
                 AND typeof(f.timeofban) IN ('integer', 'real') AND typeof(f.bantime) IN ('integer', 'real')
                 AND (b.id IS NULL OR f.timeofban IS NOT b.seen_time OR f.bantime IS NOT b.seen_bantime)"
        ),
        params![clock.wall.as_f64(), shift.micros()],
    )
}

fn adopt_marks(tx: &Transaction<'_>, clock: Clock) -> rusqlite::Result<usize> {
    adopt_jails(tx, "logs")?;
    tx.execute(
        "INSERT OR REPLACE INTO portcullis_marks(jail, path, device, inode, offset, head, tail, read_at, seen_pos)
         SELECT l.jail, l.path, 0, 0,
             CASE WHEN l.path = ?2 THEN 0 ELSE max(0, CAST(l.lastfilepos AS INTEGER)) END,
             COALESCE(CAST(l.firstlinemd5 AS TEXT), ''), '',
             CASE WHEN l.path = ?2 THEN CAST(ROUND(l.lastfilepos * 1000000) AS INTEGER) ELSE ?1 END, l.lastfilepos
         FROM logs l LEFT JOIN portcullis_marks m ON m.jail = l.jail AND m.path = l.path
         WHERE l.path IS NOT NULL AND typeof(l.lastfilepos) IN ('integer', 'real')
             AND (m.path IS NULL OR l.lastfilepos IS NOT m.seen_pos OR COALESCE(l.firstlinemd5, '') IS NOT m.head)",
        params![clock.wall.micros(), JOURNAL],
    )
}

/// A file edited by hand may name jails that are not listed; our tables refer to that list.
fn adopt_jails(tx: &Transaction<'_>, table: &str) -> rusqlite::Result<()> {
    tx.execute_batch(&format!(
        "INSERT OR IGNORE INTO jails(name, enabled) SELECT DISTINCT jail, 0 FROM {table} WHERE jail IS NOT NULL"
    ))
}

/// The note that a ban is over is needed only while Fail2Ban's row says otherwise.
pub(super) fn forget_ended(tx: &Transaction<'_>, clock: Clock) -> rusqlite::Result<usize> {
    tx.execute(
        &format!(
            "DELETE FROM portcullis_bans AS b WHERE ended AND NOT EXISTS(
                 SELECT 1 FROM bips f WHERE f.ip = b.id AND f.jail = b.jail AND {ALIVE})"
        ),
        [clock.wall.as_f64()],
    )
}
