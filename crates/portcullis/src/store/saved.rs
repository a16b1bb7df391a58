//! Reading: what a start takes up again, and the questions that tags, increments and tools ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::address::Id;
use portcullis_core::history::Past;
use portcullis_core::ledger::{Count, Data, Field, Mark, Pending, Ticket};
use portcullis_core::time::{Clock, Seconds, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::case::{self, Case};
use super::clock::{Boot, Kept};
use super::entries::BANCOUNT;

/// What `raw` says of a ban that another program wrote.
const ADOPTED: i64 = 1;

/// Most rows of history that one question reads; newer ones come first.
const MAX_ROWS: i64 = 10_000;

/// All that was kept, all times on the steady clock as it goes on now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    /// Bans in force at the last commit; those that ran out since are among them, since a layer may still hold
    /// them. Their `bancount` is as stored.
    pub(crate) bans: Vec<(Arc<str>, Ticket)>,
    /// Bans that Fail2Ban wrote and that no jail has looked at yet: the rule of contract §7.4 is still to be
    /// applied, a `bantime` of −2 s among it (the jail's own). They stay here, start after start, until
    /// [`Entry::Ban`](portcullis_core::ledger::Entry) with `restored`, `Expire` or `Lift` says what became of them.
    pub(crate) adopted: Vec<(Arc<str>, Ticket)>,
    /// Half-full counters.
    pub(crate) counts: Vec<(Arc<str>, Id, Count)>,
    /// How far each log was read. A mark that Fail2Ban wrote has device, inode and tail empty, and its own
    /// reading time is unknown; for the name `systemd-journal` `read_at` is the place and the offset is 0.
    pub(crate) marks: Vec<(Arc<str>, Arc<str>, Mark)>,
    /// Open sessions, as each jail's filter wrote them.
    pub(crate) sessions: Vec<(Arc<str>, String)>,
    /// The last ban of everybody in each jail, over or not (contract §4.5).
    pub(crate) history: Vec<(Arc<str>, Id, Past)>,
    /// Failures that waited for an answer, in their order, with their numbers.
    pub(crate) waiting: Vec<(Arc<str>, u64, Pending)>,
}

/// All bans of one address, merged (contract §7.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// The time of the oldest, on the wall clock.
    pub(crate) time: Timestamp,
    /// Attempts of all of them.
    pub(crate) failures: u32,
    /// The newest lines, oldest first, at most `dbmaxmatches`.
    pub(crate) matches: Vec<Arc<str>>,
    /// Captured fields; of two with one name the older stands.
    pub(crate) data: Data,
}

/// What the last commit kept of the clocks.
pub(super) fn clock(db: &Connection) -> rusqlite::Result<Option<Kept>> {
    db.query_row(
        "SELECT boot_id, boottime, steady, wall FROM portcullis_clock",
        [],
        |row| {
            Ok(Kept {
                boot: Boot {
                    id: row.get(0)?,
                    micros: row.get(1)?,
                },
                clock: Clock {
                    steady: Timestamp::from_micros(row.get(2)?),
                    wall: Timestamp::from_micros(row.get(3)?),
                },
            })
        },
    )
    .optional()
}

/// Everything of one jail, or of all. A row that some other program made unreadable is left out, as Fail2Ban does.
pub(super) fn load(db: &Connection, jail: Option<&str>) -> rusqlite::Result<Saved> {
    let mut loading = Loading {
        db,
        jail,
        names: Names::default(),
        saved: Saved::default(),
    };
    loading.bans()?;
    loading.counts()?;
    loading.history()?;
    loading.waiting()?;
    loading.marks()?;
    loading.sessions()?;
    Ok(loading.saved)
}

struct Loading<'d> {
    db: &'d Connection,
    jail: Option<&'d str>,
    names: Names,
    saved: Saved,
}

impl Loading<'_> {
    fn bans(&mut self) -> rusqlite::Result<()> {
        let mut bans = prepare(
            self.db,
            self.jail,
            "SELECT b.jail, b.id, b.time, b.bantime, b.bancount, b.raw, COALESCE(b.data, f.data)
         FROM (SELECT * FROM portcullis_bans WHERE {of} AND NOT ended) b
             LEFT JOIN bips f ON f.ip = b.id AND f.jail = b.jail
         ORDER BY b.jail, b.id",
        )?;
        let mut rows = bans.query([self.jail])?;
        while let Some(row) = rows.next()? {
            let Some(id) = text(row, 1)? else {
                continue;
            };
            let case = data(row, 6)?;
            let ticket = Ticket {
                id: identity(id),
                time: Timestamp::from_micros(whole(row, 2)?),
                bantime: Seconds::from_micros(whole(row, 3)?),
                bancount: tally(whole(row, 4)?),
                failures: case.failures.unwrap_or(1),
                matches: case.matches,
                data: case.data,
                restored: true,
            };
            let jail = self.names.get(row, 0)?;
            if whole(row, 5)? != ADOPTED {
                self.saved.bans.push((jail, ticket));
            } else {
                self.saved.adopted.push((jail, ticket));
            }
        }
        Ok(())
    }

    fn counts(&mut self) -> rusqlite::Result<()> {
        let mut counts = prepare(
            self.db,
            self.jail,
            "SELECT jail, id, first, last, retry, data FROM portcullis_counts WHERE {of} ORDER BY jail, last, id",
        )?;
        let mut rows = counts.query([self.jail])?;
        while let Some(row) = rows.next()? {
            let Some(id) = text(row, 1)? else {
                continue;
            };
            let mut case = data(row, 5)?;
            let bancount = match case.data.remove(BANCOUNT) {
                Some(Field::Text(text)) => text.parse().unwrap_or(0),
                _ => 0,
            };
            let count = Count {
                bancount,
                first: Timestamp::from_micros(whole(row, 2)?),
                last: Timestamp::from_micros(whole(row, 3)?),
                retry: tally(whole(row, 4)?),
                failures: case.failures.unwrap_or(1),
                matches: case.matches,
                data: case.data,
            };
            self.saved.counts.push((self.names.get(row, 0)?, identity(id), count));
        }
        Ok(())
    }

    fn history(&mut self) -> rusqlite::Result<()> {
        // Fail2Ban's table has wall times.
        let behind = clock(self.db)?.map_or(Seconds::ZERO, |kept| kept.clock.steady - kept.clock.wall);
        let mut bips = prepare(
            self.db,
            self.jail,
            "SELECT jail, ip, CAST(timeofban * 1000000 AS INTEGER), CAST(bantime * 1000000 AS INTEGER), bancount
         FROM bips WHERE {of} AND typeof(timeofban) IN ('integer', 'real') AND typeof(bantime) IN ('integer', 'real')",
        )?;
        let mut rows = bips.query([self.jail])?;
        while let Some(row) = rows.next()? {
            let Some(id) = text(row, 1)? else {
                continue;
            };
            let past = Past {
                count: tally(whole(row, 4)?),
                time: Timestamp::from_micros(whole(row, 2)?) + behind,
                bantime: Seconds::from_micros(whole(row, 3)?),
            };
            self.saved.history.push((self.names.get(row, 0)?, identity(id), past));
        }
        Ok(())
    }

    fn waiting(&mut self) -> rusqlite::Result<()> {
        let mut waiting = prepare(
            self.db,
            self.jail,
            "SELECT jail, number, id, is_name, time, wall, data FROM portcullis_waiting WHERE {of} ORDER BY number",
        )?;
        let mut rows = waiting.query([self.jail])?;
        while let Some(row) = rows.next()? {
            let Some(id) = text(row, 2)? else {
                continue;
            };
            let is_name = whole(row, 3)? != 0;
            let case = data(row, 6)?;
            let pending = Pending {
                id: if is_name { Id::Raw(id) } else { identity(id) },
                is_name,
                clock: Clock {
                    steady: Timestamp::from_micros(whole(row, 4)?),
                    wall: Timestamp::from_micros(whole(row, 5)?),
                },
                matches: case.matches,
                data: case.data,
            };
            self.saved
                .waiting
                .push((self.names.get(row, 0)?, whole(row, 1)?.cast_unsigned(), pending));
        }
        Ok(())
    }

    fn marks(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT jail, path, device, inode, offset, head, tail, read_at FROM portcullis_marks
             WHERE {of} ORDER BY jail, path";
        let mut marks = prepare(self.db, self.jail, sql)?;
        let mut rows = marks.query([self.jail])?;
        while let Some(row) = rows.next()? {
            let mark = Mark {
                device: row.get::<_, i64>(2)?.cast_unsigned(),
                inode: row.get::<_, i64>(3)?.cast_unsigned(),
                offset: row.get::<_, i64>(4)?.cast_unsigned(),
                head: row.get(5)?,
                tail: row.get(6)?,
                read_at: Timestamp::from_micros(row.get(7)?),
            };
            let (jail, path) = (self.names.get(row, 0)?, self.names.get(row, 1)?);
            self.saved.marks.push((jail, path, mark));
        }
        Ok(())
    }

    fn sessions(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT jail, text FROM portcullis_sessions WHERE {of} ORDER BY jail";
        let mut sessions = prepare(self.db, self.jail, sql)?;
        let mut rows = sessions.query([self.jail])?;
        while let Some(row) = rows.next()? {
            self.saved.sessions.push((self.names.get(row, 0)?, row.get(1)?));
        }
        Ok(())
    }
}

/// A query of which `{of}` stands for whose rows they are: two forms, so that one jail's are found by their index.
fn prepare<'d>(db: &'d Connection, jail: Option<&str>, sql: &str) -> rusqlite::Result<Statement<'d>> {
    let of = if jail.is_some() { "jail = ?1" } else { "?1 IS NULL" };
    db.prepare(&sql.replace("{of}", of))
}

/// Merges what `bans` holds of `ip`, in one jail or in all, newest first (contract §7.5).
pub(super) fn merged(db: &Connection, ip: &str, jail: Option<&str>, max: u32) -> rusqlite::Result<Option<Merged>> {
    let mut bans = db.prepare_cached(
        "SELECT timeofban, data FROM bans WHERE ip = ?1 AND (?2 IS NULL OR jail = ?2)
         ORDER BY timeofban DESC, rowid LIMIT ?3",
    )?;
    let mut rows = bans.query(params![ip, jail, MAX_ROWS])?;
    let room = usize::try_from(max).unwrap_or(usize::MAX);
    let mut merged: Option<Merged> = None;
    while let Some(row) = rows.next()? {
        let case = data(row, 1)?;
        let all = merged.get_or_insert_with(|| Merged {
            time: Timestamp::default(),
            failures: 0,
            matches: Vec::new(),
            data: Data::default(),
        });
        let more = case.matches.len().min(room.saturating_sub(all.matches.len()));
        // The newest of the older ban's lines go in front of what the newer ones left room for.
        let mut lines: Vec<Arc<str>> = case.matches.into_iter().rev().take(more).collect();
        lines.reverse();
        lines.append(&mut all.matches);
        all.matches = lines;
        all.failures = all.failures.saturating_add(case.failures.unwrap_or(1));
        all.data.extend(case.data);
        all.time = Timestamp::from_seconds(whole(row, 0)?);
    }
    Ok(merged)
}

/// One allocation for each jail and path, however many rows name it.
#[derive(Default)]
struct Names(BTreeMap<String, Arc<str>>);

impl Names {
    fn get(&mut self, row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
        let name = row.get_ref(column)?.as_str()?;
        if let Some(known) = self.0.get(name) {
            return Ok(Arc::clone(known));
        }
        let shared: Arc<str> = name.into();
        self.0.insert(name.to_owned(), Arc::clone(&shared));
        Ok(shared)
    }
}

/// A mask that is no mask leaves the id as text.
fn identity(text: String) -> Id {
    Id::parse(&text).unwrap_or(Id::Raw(text))
}

/// Text of any spelling; nothing for NULL.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(_) | ValueRef::Null => None,
    })
}

/// A number of any kind, as a whole one. Columns of SQLite hold what was put into them.
fn whole(row: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => number,
        ValueRef::Real(number) => Seconds::from_f64(number).whole(),
        ValueRef::Text(_) | ValueRef::Blob(_) | ValueRef::Null => 0,
    })
}

fn tally(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

fn data(row: &Row<'_>, column: usize) -> rusqlite::Result<Case> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => case::decode(bytes),
        _ => Case::default(),
    })
}
