//! Keeping: each entry of a step becomes rows, all in the transaction that the caller opened.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::address::Id;
use portcullis_core::config::plan::LogPath;
use portcullis_core::ledger::{Count, Entry, Field, Mark, Pending, Ticket};
use portcullis_core::time::{Clock, Seconds};
use rusqlite::types::Value;
use rusqlite::{Transaction, params};

use super::adopt::{ALIVE, JOURNAL};
use super::case;
use super::clock::Kept;
use super::owed;

/// Where a counter's `bancount` is kept among its fields; no group of a regex can have such a name.
pub(super) const BANCOUNT: &str = "portcullis-bancount";

/// Writes entries into one transaction.
pub(super) struct Writer<'t> {
    /// The open transaction
    pub(super) tx: &'t Transaction<'t>,
    /// Where the clocks stand
    pub(super) clock: Clock,
    /// Most lines kept of one ban; 0 for none (`dbmaxmatches`)
    pub(super) max_matches: u32,
}

impl Writer<'_> {
    /// Keeps all of them, in order. Of many bans Fail2Ban's rows are owed; `owes` says whether there are such already.
    pub(super) fn keep(&self, entries: &[Entry], is_many: bool, owes: bool) -> rusqlite::Result<()> {
        let mut jails = BTreeSet::new();
        for entry in entries {
            self.list_jail(entry, &mut jails)?;
            if let (true, Some((jail, id))) = (is_many || owes, other_than_new(entry)) {
                owed::pay_one(self.tx, jail, id)?;
            }
            match entry {
                Entry::Jail { jail, enabled } => self.jail(jail, *enabled)?,
                Entry::Ban { jail, ticket } if is_many && !ticket.restored => self.owe(jail, ticket)?,
                Entry::Ban { jail, ticket } => self.ban(jail, ticket)?,
                Entry::Prolong { jail, ticket } => self.own_row(jail, ticket)?,
                Entry::Expire { jail, id } => self.expire(jail, id)?,
                Entry::Lift { jail, id } => self.lift(jail, id)?,
                Entry::Empty { jail } => self.empty(jail)?,
                Entry::Count { jail, id, count } => self.count(jail, id, count.as_ref())?,
                Entry::Read { jail, path, mark } => self.read(jail, path, mark)?,
                Entry::Sessions { jail, text } => self.sessions(jail, text)?,
                Entry::Wait { jail, number, pending } => self.wait(jail, *number, pending.as_ref())?,
            }
        }
        Ok(())
    }

    /// All other tables refer to the list of jails.
    fn list_jail<'e>(&self, entry: &'e Entry, listed: &mut BTreeSet<&'e str>) -> rusqlite::Result<()> {
        let jail: &Arc<str> = match entry {
            Entry::Ban { jail, .. }
            | Entry::Prolong { jail, .. }
            | Entry::Read { jail, .. }
            | Entry::Sessions { jail, .. }
            | Entry::Wait {
                jail, pending: Some(_), ..
            }
            | Entry::Count {
                jail, count: Some(_), ..
            } => jail,
            Entry::Jail { .. }
            | Entry::Expire { .. }
            | Entry::Lift { .. }
            | Entry::Empty { .. }
            | Entry::Wait { pending: None, .. }
            | Entry::Count { count: None, .. } => return Ok(()),
        };
        if listed.insert(jail) {
            self.run(
                "INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)",
                params![jail],
            )?;
        }
        Ok(())
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.tx.prepare_cached(sql)?.execute(values)
    }

    /// The rows of a jail that is stopped stay, for its next start: Fail2Ban's and our own.
    fn jail(&self, jail: &str, enabled: bool) -> rusqlite::Result<()> {
        if enabled {
            self.run(
                "INSERT OR IGNORE INTO jails(name, enabled) VALUES(?1, 1)",
                params![jail],
            )?;
        }
        self.run("UPDATE jails SET enabled = ?2 WHERE name = ?1", params![jail, enabled])?;
        Ok(())
    }

    /// Our row of a ban that Fail2Ban's tables already have, and keep as it was (contract §7.2).
    fn own_row(&self, jail: &str, ticket: &Ticket) -> rusqlite::Result<()> {
        let data = case::encode(&ticket.matches, ticket.failures, &ticket.data, self.max_matches);
        let (time, bantime) = (ticket.time.micros(), ticket.bantime.micros());
        self.run(
            "INSERT OR REPLACE INTO portcullis_bans(jail, id, time, bantime, bancount, data, seen_time, seen_bantime)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6,
                     (SELECT timeofban FROM bips WHERE ip = ?2 AND jail = ?1),
                     (SELECT bantime FROM bips WHERE ip = ?2 AND jail = ?1))",
            params![jail, ticket.id.to_string(), time, bantime, ticket.bancount, data],
        )?;
        Ok(())
    }

    fn ban(&self, jail: &str, ticket: &Ticket) -> rusqlite::Result<()> {
        if ticket.restored {
            return self.own_row(jail, ticket);
        }
        let data = case::encode(&ticket.matches, ticket.failures, &ticket.data, self.max_matches);
        let id = ticket.id.to_string();
        let (time, bantime) = (ticket.time.micros(), ticket.bantime.micros());
        let at = round(self.clock.to_wall(ticket.time).micros());
        let length = length(ticket.bantime);
        self.run(
            "INSERT INTO bans(jail, ip, timeofban, bantime, bancount, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            params![jail, id, at, length, ticket.bancount, data],
        )?;
        self.run(
            "INSERT OR REPLACE INTO bips(jail, ip, timeofban, bantime, bancount, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
            params![jail, id, at, length, ticket.bancount, data],
        )?;
        // The lines and fields are read from `bips`, so that they are stored twice and not three times.
        self.run(
            "INSERT OR REPLACE INTO portcullis_bans(jail, id, time, bantime, bancount, seen_time, seen_bantime)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![jail, id, time, bantime, ticket.bancount, at, length],
        )?;
        Ok(())
    }

    /// Our row alone, with all that Fail2Ban's are to be made of.
    fn owe(&self, jail: &str, ticket: &Ticket) -> rusqlite::Result<()> {
        let data = case::encode(&ticket.matches, ticket.failures, &ticket.data, self.max_matches);
        self.run(
            "INSERT OR REPLACE INTO portcullis_bans(jail, id, time, bantime, bancount, data, raw, seen_time, seen_bantime)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                jail,
                ticket.id.to_string(),
                ticket.time.micros(),
                ticket.bantime.micros(),
                ticket.bancount,
                data,
                owed::OWING,
                round(self.clock.to_wall(ticket.time).micros()),
                length(ticket.bantime)
            ],
        )?;
        Ok(())
    }

    /// Fail2Ban's rows stay. Where its row still looks alive (a clock set back, a length that the jail cut), ours
    /// stays too, marked as over, so that the next start does not take the row for news.
    fn expire(&self, jail: &str, id: &Id) -> rusqlite::Result<()> {
        let id = id.to_string();
        let kept = self.run(
            &format!(
                "UPDATE portcullis_bans AS b SET ended = 1, raw = 0, data = NULL WHERE jail = ?2 AND id = ?3
                     AND EXISTS(SELECT 1 FROM bips f WHERE f.ip = b.id AND f.jail = b.jail AND {ALIVE})"
            ),
            params![self.clock.wall.as_f64(), jail, id],
        )?;
        if kept == 0 {
            self.run(
                "DELETE FROM portcullis_bans WHERE jail = ?1 AND id = ?2",
                params![jail, id],
            )?;
        }
        Ok(())
    }

    fn lift(&self, jail: &str, id: &Id) -> rusqlite::Result<()> {
        let id = id.to_string();
        self.run("DELETE FROM bips WHERE jail = ?1 AND ip = ?2", params![jail, id])?;
        self.run("DELETE FROM bans WHERE jail = ?1 AND ip = ?2", params![jail, id])?;
        self.run(
            "DELETE FROM portcullis_bans WHERE jail = ?1 AND id = ?2",
            params![jail, id],
        )?;
        Ok(())
    }

    fn empty(&self, jail: &str) -> rusqlite::Result<()> {
        for sql in [
            "DELETE FROM bips WHERE jail = ?1",
            "DELETE FROM bans WHERE jail = ?1",
            "DELETE FROM portcullis_bans WHERE jail = ?1",
        ] {
            self.run(sql, params![jail])?;
        }
        Ok(())
    }

    fn count(&self, jail: &str, id: &Id, count: Option<&Count>) -> rusqlite::Result<()> {
        let id = id.to_string();
        let Some(count) = count else {
            self.run(
                "DELETE FROM portcullis_counts WHERE jail = ?1 AND id = ?2",
                params![jail, id],
            )?;
            return Ok(());
        };
        // The lines of a counter become those of the ban, so here the jail's own limit holds, applied already.
        let mut fields = count.data.clone();
        if count.bancount > 0 {
            fields.insert(BANCOUNT, Field::Text(count.bancount.to_string().into()));
        }
        let data = case::encode(&count.matches, count.failures, &fields, u32::MAX);
        self.run(
            "INSERT INTO portcullis_counts(jail, id, first, last, retry, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT(jail, id) DO UPDATE SET first = excluded.first, last = excluded.last, retry = excluded.retry,
                     data = excluded.data",
            params![jail, id, count.first.micros(), count.last.micros(), count.retry, data],
        )?;
        Ok(())
    }

    /// Fail2Ban's row follows, so that it can go on from there if the user goes back to it.
    fn read(&self, jail: &str, path: &str, mark: &Mark) -> rusqlite::Result<()> {
        let head = Some(mark.head.as_str()).filter(|head| !head.is_empty());
        let (position, seconds) = if path == JOURNAL {
            (None, Some(mark.read_at.as_f64()))
        } else {
            (Some(mark.offset.cast_signed()), None)
        };
        // It has no such logs.
        if !LogPath::is_stream(path) {
            self.run(
                "INSERT OR REPLACE INTO logs(jail, path, firstlinemd5, lastfilepos) VALUES(?1, ?2, ?3, COALESCE(?4, ?5))",
                params![jail, path, head, position, seconds],
            )?;
        }
        self.run(
            "INSERT OR REPLACE INTO portcullis_marks(jail, path, device, inode, offset, head, tail, read_at, seen_pos)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, COALESCE(?9, ?10))",
            params![
                jail,
                path,
                mark.device.cast_signed(),
                mark.inode.cast_signed(),
                mark.offset.cast_signed(),
                mark.head,
                mark.tail,
                mark.read_at.micros(),
                position,
                seconds
            ],
        )?;
        Ok(())
    }

    fn sessions(&self, jail: &str, text: &str) -> rusqlite::Result<()> {
        if text.is_empty() {
            self.run("DELETE FROM portcullis_sessions WHERE jail = ?1", params![jail])?;
        } else {
            self.run(
                "INSERT OR REPLACE INTO portcullis_sessions(jail, text) VALUES(?1, ?2)",
                params![jail, text],
            )?;
        }
        Ok(())
    }

    fn wait(&self, jail: &str, number: u64, pending: Option<&Pending>) -> rusqlite::Result<()> {
        let number = number.cast_signed();
        let Some(pending) = pending else {
            self.run("DELETE FROM portcullis_waiting WHERE number = ?1", params![number])?;
            return Ok(());
        };
        let data = case::encode(&pending.matches, 1, &pending.data, u32::MAX);
        let (time, wall) = (pending.clock.steady.micros(), pending.clock.wall.micros());
        self.run(
            "INSERT OR REPLACE INTO portcullis_waiting(number, jail, id, is_name, time, wall, data)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![number, jail, pending.id.to_string(), pending.is_name, time, wall, data],
        )?;
        Ok(())
    }

    /// Where the clocks stood, for the next start.
    pub(super) fn clock(&self, kept: &Kept) -> rusqlite::Result<()> {
        self.run(
            "INSERT OR REPLACE INTO portcullis_clock(one, boot_id, boottime, steady, wall) VALUES(1, ?1, ?2, ?3, ?4)",
            params![
                kept.boot.id,
                kept.boot.micros,
                kept.clock.steady.micros(),
                kept.clock.wall.micros()
            ],
        )?;
        Ok(())
    }
}

/// Whose rows an entry changes that is no new ban.
fn other_than_new(entry: &Entry) -> Option<(&str, &Id)> {
    match entry {
        Entry::Prolong { jail, ticket } => Some((jail, &ticket.id)),
        Entry::Ban { jail, ticket } if ticket.restored => Some((jail, &ticket.id)),
        Entry::Expire { jail, id } | Entry::Lift { jail, id } => Some((jail, id)),
        _ => None,
    }
}

/// A length of ban in seconds, as Fail2Ban keeps it: whole, or with the fraction of a random time; −1 for ever.
fn length(bantime: Seconds) -> Value {
    if bantime.micros() % 1_000_000 == 0 {
        Value::Integer(bantime.whole())
    } else {
        Value::Real(bantime.as_f64())
    }
}

/// Microseconds to whole seconds as Python rounds: a half goes to the even neighbour.
fn round(micros: i64) -> i64 {
    let (whole, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    match rest.cmp(&500_000) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole.rem_euclid(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_second() {
        for (micros, seconds) in [
            (1_499_999, 1),
            (1_500_000, 2),
            (2_500_000, 2),
            (2_500_001, 3),
            (-500_000, 0),
            (-1_500_000, -2),
            (0, 0),
        ] {
            assert_eq!(round(micros), seconds, "{micros}");
        }
        assert_eq!(length(Seconds::FOREVER), Value::Integer(-1));
        assert_eq!(length(Seconds::from_f64(1.5)), Value::Real(1.5));
    }
}
