mod facts;
mod force;
mod many;
mod parity;
mod rights;
mod turns;

use super::*;
use portcullis_core::address::Id;
use portcullis_core::history::Past;
use portcullis_core::ledger::{Count, Data, Field, Mark, Ticket};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// 2026-01-01 00:00:00 UTC, in seconds.
const NOW: i64 = 1_767_225_600;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("fail2ban.sqlite3")
    }

    /// Opens at `wall` seconds after [`NOW`].
    fn open(&self, wall: i64) -> (Store, Opened) {
        open(&self.path(), wall).unwrap()
    }

    /// Another program's look at the file.
    fn sql(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn run(&self, sql: &str) {
        self.sql().execute_batch(sql).unwrap();
    }

    /// One column of one row, as text.
    fn ask(&self, sql: &str) -> String {
        ask(&self.sql(), sql)
    }
}

/// All that is kept but for bans that are over: those stay until they are purged, and where the wall clock was set in
/// between, their times stand elsewhere on the steady one.
fn without_history(store: &Store) -> Saved {
    let mut saved = store.load().unwrap();
    saved.history.clear();
    saved
}

fn ask(db: &Connection, sql: &str) -> String {
    let value: rusqlite::types::Value = db.query_row(sql, [], |row| row.get(0)).unwrap();
    match value {
        rusqlite::types::Value::Null => "NULL".to_owned(),
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Real(r) => r.to_string(),
        rusqlite::types::Value::Text(t) => t,
        rusqlite::types::Value::Blob(b) => String::from_utf8(b).unwrap(),
    }
}

fn open(path: &Path, wall: i64) -> Result<(Store, Opened), Error> {
    let settings = Settings {
        patience: Duration::from_millis(200),
        ..Settings::default()
    };
    Store::open(Place::File(path.to_owned()), settings, wall_at(wall))
}

fn wall_at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + seconds)
}

fn at(seconds: i64) -> Clock {
    Clock::at(wall_at(seconds))
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

fn ticket(ip: &str, seconds: i64, bantime: i64) -> Ticket {
    Ticket {
        id: id(ip),
        time: wall_at(seconds),
        bantime: Seconds::new(bantime),
        bancount: 1,
        failures: 3,
        matches: vec!["line one".into(), "line two é".into()],
        data: Data::from_iter([
            ("user", Field::Text("root".into())),
            (
                "users",
                Field::Set(vec![Field::Text("a".into()), Field::Text("b".into())]),
            ),
        ]),
        restored: false,
    }
}

fn restored(ticket: Ticket) -> Ticket {
    Ticket {
        restored: true,
        ..ticket
    }
}

fn jail(name: &str) -> Arc<str> {
    name.into()
}

fn ban(ticket: &Ticket) -> Entry {
    Entry::Ban {
        jail: jail("sshd"),
        ticket: ticket.clone(),
    }
}

fn read(offset: u64) -> Entry {
    Entry::Read {
        jail: jail("sshd"),
        path: jail("/var/log/auth.log"),
        mark: mark(offset),
    }
}

fn mark(offset: u64) -> Mark {
    Mark {
        device: u64::MAX,
        inode: 1 << 63,
        offset,
        head: "0123".into(),
        tail: "4567".into(),
        read_at: wall_at(0),
    }
}

fn count(retry: u32) -> Count {
    Count {
        first: wall_at(-5),
        last: wall_at(-1),
        retry,
        failures: 2,
        matches: (0..20).map(|n| format!("line {n}").into()).collect(),
        data: Data::from_iter([("user", Field::Text("root".into()))]),
        bancount: 2,
    }
}
