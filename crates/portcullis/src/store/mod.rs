//! What outlives the daemon: bans, half-full counters, log positions and open sessions, in one database.
//!
//! The engine's [`Entry`] values come in and are kept, all of one step or none, before any layer is told of
//! them; at the start they come out again as [`Saved`]. The file is Fail2Ban's own (contract §7) with tables of
//! ours beside Fail2Ban's, so that either program can take over from the other at any time. Deciding what is
//! still in force is not done here.

mod adopt;
mod case;
mod clock;
mod entries;
mod error;
pub(crate) mod holder;
mod owed;
mod salvage;
mod saved;
mod schema;
mod sqlite;
mod traces;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::diagnostic::Diagnostic;
use portcullis_core::ledger::{Entry, LayerId};
use portcullis_core::time::{Clock, Seconds, Timestamp};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::fault::{self, Step};
pub(crate) use adopt::Adopted;
pub(crate) use clock::{Boot, Kept, Running, resume_clock};
pub(crate) use error::Error;
pub(crate) use saved::{Merged, Saved};
#[cfg(feature = "gcp")]
pub(crate) use sqlite::move_aside;
pub(crate) use traces::Trace;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this file (`dbfile`, or one in the state folder for `dbfile = None`).
    File(PathBuf),
    /// `:memory:`: gone with the process.
    Memory,
}

/// What the configuration says about the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Most lines kept of one ban, 0 for none (`dbmaxmatches`).
    pub(crate) max_matches: u32,
    /// How long Fail2Ban's rows of past bans are kept (`dbpurgeage`).
    pub(crate) purge_age: Seconds,
    /// How long to wait for another process that writes.
    pub(crate) patience: Duration,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(f),
            Place::Memory => f.write_str(":memory:"),
        }
    }
}

impl Place {
    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Place::File(path) => Some(path),
            Place::Memory => None,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_matches: 10,
            purge_age: Seconds::new(86_400),
            patience: Duration::from_secs(5),
        }
    }
}

/// What opening came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    /// There was no database of Fail2Ban's before.
    pub(crate) created: bool,
    /// Fail2Ban's tables were brought from one version to another.
    pub(crate) upgraded: Option<(i64, i64)>,
    /// The copy made before that.
    pub(crate) backup: Option<PathBuf>,
    /// A damaged file was moved there and a new one begun.
    pub(crate) moved_aside: Option<PathBuf>,
    /// What another program had written since.
    pub(crate) adopted: Adopted,
    /// What the user has to be told.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    /// `None` only between the two halves of closing.
    db: Option<Connection>,
    place: Place,
    settings: Settings,
    boot: String,
    running: Running,
    owed: owed::Owed,
    room: sqlite::Room,
}

impl Store {
    /// Opens or creates the database at the wall time `wall`, takes over what another program wrote, and finds
    /// where the clocks stand: [`Store::running`]. All jails are off until [`Entry::Jail`] says otherwise.
    ///
    /// # Errors
    /// Any kind of [`Error`]; a damaged file is none, it is moved aside and reported in [`Opened`].
    pub(crate) fn open(place: Place, settings: Settings, wall: Timestamp) -> Result<(Store, Opened), Error> {
        Store::begin(place, settings, wall, None)
    }

    /// As [`Store::open`], in the middle of a run: the times that the database holds become readings of the clocks of
    /// this run, `running`, instead of those going on where the database's stopped.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn join(place: Place, settings: Settings, running: &Running) -> Result<(Store, Opened), Error> {
        let clock = running.now();
        let (mut store, opened) = Store::begin(place, settings, clock.wall, Some(clock))?;
        store.running = running.clone();
        Ok((store, opened))
    }

    fn begin(place: Place, settings: Settings, wall: Timestamp, onto: Option<Clock>) -> Result<(Store, Opened), Error> {
        let boot = Boot::read();
        let (mut db, mut opened) = sqlite::open(&place, &settings, wall)?;
        let (clock, adopted) =
            take_over(&mut db, &boot, wall, onto).map_err(|error| error::explain(place.path(), error))?;
        opened.adopted = adopted;
        let store = Store {
            db: Some(db),
            place,
            settings,
            running: Running::from(clock.steady, boot.micros),
            boot: boot.id,
            owed: owed::Owed::default(),
            room: sqlite::Room::default(),
        };
        Ok((store, opened))
    }

    /// The clocks of this run; copy it before the store goes to its thread.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Changes `dbmaxmatches` and `dbpurgeage`.
    pub(crate) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Keeps all entries in one transaction, and where the clocks stand. Of many new bans only what a start of ours needs
    /// is written: [`Store::pay`] does the rest.
    ///
    /// # Errors
    /// Nothing of the entries is kept, and the same entries can be given again.
    pub(crate) fn commit(&mut self, clock: Clock, entries: &[Entry]) -> Result<(), Error> {
        let max_matches = self.settings.max_matches;
        let kept = self.kept(clock);
        let owes = self.owed.any;
        let is_many = is_many(entries);
        if is_large(entries) {
            self.room.widen(self.db.as_ref());
        }
        if is_many {
            // The jails of the rows are listed with them: none needs to be looked up for each row.
            sqlite::check_references(self.db.as_ref(), false);
        }
        let result = self.write(|tx| {
            let writer = entries::Writer { tx, clock, max_matches };
            writer.keep(entries, is_many, owes)?;
            writer.clock(&kept)?;
            if entries.iter().any(|entry| matches!(entry, Entry::Ban { .. })) {
                fault::reach(Step::Commit);
            }
            Ok(())
        });
        if is_many {
            sqlite::check_references(self.db.as_ref(), true);
            if result.is_ok() {
                self.owed.more();
            }
        }
        result
    }

    /// Whether rows of Fail2Ban's are owed, or memory is to be given back.
    pub(crate) fn owes(&self) -> bool {
        self.owed.any || self.room.is_wide()
    }

    /// Writes a piece of what is owed; after the last, memory is given back.
    ///
    /// # Errors
    /// Nothing is written, and it can be tried again; at the latest the next start does it.
    pub(crate) fn pay(&mut self) -> Result<(), Error> {
        if !self.owed.any {
            self.room.narrow(self.db.as_ref());
            return Ok(());
        }
        let owed = std::mem::take(&mut self.owed);
        let result = self.write(|tx| owed::pay_piece(tx, &owed));
        self.owed = owed;
        self.owed.less(result?);
        Ok(())
    }

    /// All that is kept.
    ///
    /// # Errors
    /// As SQLite has them.
    pub(crate) fn load(&self) -> Result<Saved, Error> {
        self.read(|db| saved::load(db, None))
    }

    /// What is kept of one jail: for a jail that starts while the daemon runs. A jail that was stopped has everything
    /// still; the rule of contract §7.4 is yet to be applied to its bans, some of which may be over.
    ///
    /// # Errors
    /// As SQLite has them.
    pub(crate) fn saved_of(&self, jail: &str) -> Result<Saved, Error> {
        self.read(|db| saved::load(db, Some(jail)))
    }

    /// Drops Fail2Ban's rows of long past bans and jails that are off and empty, ours with them (contract
    /// §7.3). Gives the number of bans dropped.
    ///
    /// # Errors
    /// Nothing is dropped.
    pub(crate) fn purge(&mut self, clock: Clock) -> Result<usize, Error> {
        let age = self.settings.purge_age;
        let kept = self.kept(clock);
        let owes = self.owed.any;
        let dropped = self.write(|tx| {
            if owes {
                // A ban whose rows are still owed is not to look like one without any.
                owed::pay_all(tx)?;
            }
            let past = clock.wall - age;
            let bans = tx.execute("DELETE FROM bans WHERE timeofban < ?1", [past.as_f64()])?;
            // A ban that the steady clock still holds in force keeps its row: a row that is gone reads as lifted.
            let bips = tx.execute(
                "DELETE FROM bips AS f WHERE timeofban < ?1 AND bantime <> -1 AND timeofban + bantime * 3 < ?1
                     AND NOT EXISTS(SELECT 1 FROM portcullis_bans b WHERE b.id = f.ip AND b.jail = f.jail
                         AND NOT b.ended AND (b.bantime < 0 OR b.time + b.bantime >= ?2))",
                params![past.seconds(), clock.steady.micros()],
            )?;
            tx.execute(
                "DELETE FROM portcullis_bans AS b WHERE NOT ended AND bantime >= 0 AND time + bantime < ?1
                     AND NOT EXISTS(SELECT 1 FROM bips f WHERE f.ip = b.id AND f.jail = b.jail)",
                [clock.steady.micros()],
            )?;
            adopt::forget_ended(tx, clock)?;
            tx.execute(
                "DELETE FROM jails WHERE enabled = 0
                     AND NOT EXISTS(SELECT 1 FROM bans WHERE jail = jails.name)
                     AND NOT EXISTS(SELECT 1 FROM bips WHERE jail = jails.name)",
                [],
            )?;
            entries::Writer {
                tx,
                clock,
                max_matches: 0,
            }
            .clock(&kept)?;
            Ok(bans + bips)
        })?;
        self.owed.less(None);
        Ok(dropped)
    }

    /// All bans of `ip` merged, of one jail or of all: `<ipmatches>`, `<ipjailfailures>` and their like
    /// (contract §7.5). Nothing if there was none.
    ///
    /// # Errors
    /// As SQLite has them.
    pub(crate) fn matches_of(&self, ip: &str, jail: Option<&str>) -> Result<Option<Merged>, Error> {
        self.read(|db| saved::merged(db, ip, jail, self.settings.max_matches))
    }

    /// Keeps what shell actions have set up, in the place of what was kept of the same ones.
    ///
    /// # Errors
    /// Nothing is kept.
    pub(crate) fn mark(&mut self, traces: &[Trace]) -> Result<(), Error> {
        self.write(|tx| traces::keep(tx, traces))
    }

    /// These shell actions have nothing set up any more.
    ///
    /// # Errors
    /// All of them still count as standing.
    pub(crate) fn unmark(&mut self, layers: &[LayerId]) -> Result<(), Error> {
        self.write(|tx| traces::forget(tx, layers))
    }

    /// What shell actions have set up, as far as it is known.
    ///
    /// # Errors
    /// As SQLite has them. Commands that somebody else may have written are not given either: they are run as we are.
    pub(crate) fn traces(&self) -> Result<Vec<Trace>, Error> {
        let traces = self.read(traces::load)?;
        match self.place.path() {
            Some(path) if !traces.is_empty() => sqlite::check_rights(path).map(|()| traces),
            _ => Ok(traces),
        }
    }

    /// Ends cleanly: the one file is whole afterwards. Dropping the store does the same without an answer.
    ///
    /// # Errors
    /// The data are safe, but part of them is still in the log beside the file.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        let owes = self.owed.any;
        let off = self.write(|tx| {
            if owes {
                owed::pay_all(tx)?;
            }
            // As Fail2Ban leaves them; bans and positions stay.
            tx.execute("UPDATE jails SET enabled = 0 WHERE enabled <> 0", [])
        });
        let closed = self.db.take().map_or(Ok(()), |db| sqlite::close(db, self.place.path()));
        off.and(closed)
    }

    fn kept(&self, clock: Clock) -> Kept {
        Kept {
            boot: Boot {
                id: self.boot.clone(),
                micros: clock::since_boot(),
            },
            clock,
        }
    }

    fn read<T>(&self, step: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let db = self.db.as_ref().ok_or(rusqlite::Error::InvalidQuery);
        db.and_then(step)
            .map_err(|error| error::explain(self.place.path(), error))
    }

    fn write<T>(&mut self, step: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, Error> {
        let db = self.db.as_mut().ok_or(rusqlite::Error::InvalidQuery);
        db.and_then(|db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = step(&tx)?;
            tx.commit()?;
            Ok(result)
        })
        .map_err(|error| error::explain(self.place.path(), error))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            // Whoever wants to know calls `close`; the data are safe either way.
            let _ = sqlite::close(db, self.place.path());
        }
    }
}

/// Whether so many bans begin at once that the layers must not wait for all of their rows.
fn is_many(entries: &[Entry]) -> bool {
    let is_new = |entry: &&Entry| matches!(entry, Entry::Ban { ticket, .. } if !ticket.restored);
    entries.len() >= owed::MANY && entries.iter().filter(is_new).take(owed::MANY).count() >= owed::MANY
}

/// Whether so much is written that it must not spill into the log and be read back. Counters and bans that
/// were altered, many of them once a second while a log is caught up with, may: nothing waits for them.
fn is_large(entries: &[Entry]) -> bool {
    let others = entries
        .iter()
        .filter(|entry| !matches!(entry, Entry::Count { .. } | Entry::Prolong { .. }));
    others.take(owed::MANY).count() >= owed::MANY || entries.iter().any(|entry| matches!(entry, Entry::Empty { .. }))
}

/// The start of a run: clocks, jails off, and what others wrote. One transaction, so that a crash repeats it. `onto` are
/// the clocks of a run that has begun already.
fn take_over(
    db: &mut Connection,
    boot: &Boot,
    wall: Timestamp,
    onto: Option<Clock>,
) -> rusqlite::Result<(Clock, Adopted)> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let last = saved::clock(&tx)?;
    let resumed = resume_clock(boot, wall, last.as_ref());
    let clock = onto.unwrap_or(resumed);
    let since = last.as_ref().map_or(Seconds::ZERO, |last| last.shift(boot));
    let shift = clock.steady + since - resumed.steady;
    if shift != Seconds::ZERO {
        tx.execute("UPDATE portcullis_bans SET time = time + ?1", params![shift.micros()])?;
        tx.execute(
            "UPDATE portcullis_counts SET first = first + ?1, last = last + ?1",
            params![shift.micros()],
        )?;
        tx.execute(
            "UPDATE portcullis_waiting SET time = time + ?1",
            params![shift.micros()],
        )?;
    }
    tx.execute("UPDATE jails SET enabled = 0 WHERE enabled <> 0", [])?;
    if owed::is_any(&tx)? {
        owed::pay_all(&tx)?;
    }
    let adopted = adopt::adopt(&tx, clock)?;
    let kept = Kept {
        boot: boot.clone(),
        clock,
    };
    entries::Writer {
        tx: &tx,
        clock,
        max_matches: 0,
    }
    .clock(&kept)?;
    tx.commit()?;
    Ok((clock, adopted))
}
