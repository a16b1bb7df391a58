//! The same operations to Fail2Ban's database class and to the store: equal rows, and equal answers.

use super::*;
use chance::Chance;
use count::Count as Tally;
use oracle::Oracle;
use portcullis_core::history::History;
use portcullis_core::judge;
use serde_json::{Value, json};

#[expect(dead_code, reason = "the comparisons of decisions use all of it")]
#[path = "../../../../../tests/compliance/chance.rs"]
mod chance;
#[path = "../../../../../tests/compliance/count.rs"]
mod count;
#[expect(dead_code, reason = "the comparisons of decisions use all of it")]
#[path = "../../../../../tests/compliance/oracle.rs"]
mod oracle;

/// Jails: ban time, and the most that a ban may last.
const JAILS: [(&str, i64, i64); 4] = [
    ("plain", 600, 600),
    ("forever", -1, -1),
    ("grows", 600, 86_400),
    ("unbounded", 600, -1),
];
const PEOPLE: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.0/24",
    "2001:db8::1",
    "2001:db8:1::/48",
    "token-é",
    "ТОКЕН \u{1f600}",
    "a'; DROP TABLE bans; --",
    "203.0.113.9",
];

/// Both, and the operations that Fail2Ban has not been told yet.
struct Pair {
    bench: Bench,
    store: Store,
    theirs: PathBuf,
    oracle: Oracle,
    steps: Vec<Value>,
    begun: bool,
    chance: Chance,
    /// Seconds after [`NOW`], in quarters
    quarters: i64,
    settings: Settings,
    /// Of two bans in one second neither program says which is the newer
    seconds: std::collections::BTreeSet<(&'static str, i64)>,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let bench = Bench::new();
        let (store, _) = bench.open(0);
        let theirs = bench.dir.path().join("theirs.sqlite3");
        let mut pair = Pair {
            bench,
            store,
            theirs,
            oracle: Oracle::start("database"),
            steps: Vec::new(),
            begun: false,
            chance: Chance(seed),
            quarters: 0,
            settings: Settings::default(),
            seconds: std::collections::BTreeSet::new(),
        };
        pair.advance(0);
        for (name, ..) in JAILS {
            pair.switch(name, true);
        }
        pair
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(wall_at(0).micros() + self.quarters * 250_000)
    }

    fn clock(&self) -> Clock {
        Clock::at(self.wall())
    }

    fn keep(&mut self, entry: Entry) {
        let clock = self.clock();
        self.store.commit(clock, &[entry]).unwrap();
    }

    fn tell(&mut self, step: Value) {
        self.steps.push(step);
    }

    /// Tells Fail2Ban all that waits; its last answer.
    fn ask(&mut self) -> Value {
        let mut question = json!({"steps": std::mem::take(&mut self.steps)});
        if !self.begun {
            self.begun = true;
            let jails: BTreeMap<_, _> = JAILS.iter().map(|(name, own, most)| (*name, [own, most])).collect();
            question["path"] = json!(self.theirs);
            question["now"] = json!(NOW);
            question["jails"] = json!(jails);
        }
        let mut answers = self.oracle.ask(&question);
        assert!(answers.is_array(), "{answers}");
        answers.as_array_mut().unwrap().pop().unwrap()
    }

    fn advance(&mut self, quarters: i64) {
        self.quarters += quarters;
        let now = self.wall().as_f64();
        self.tell(json!(["clock", now]));
    }

    fn switch(&mut self, name: &str, enabled: bool) {
        self.keep(Entry::Jail {
            jail: jail(name),
            enabled,
        });
        self.tell(json!([if enabled { "start" } else { "halt" }, name]));
    }

    fn somebody(&mut self) -> (&'static str, &'static str) {
        let (name, ..) = self.chance.pick(&JAILS);
        let who: &&str = self.chance.pick(&PEOPLE);
        (name, who)
    }

    fn ban(&mut self) {
        let (name, who) = self.somebody();
        let before = [0, 1, 2, 3, 100, 4000, 90_000][self.chance.below(7_usize)];
        let time =
            Timestamp::from_micros(self.wall().micros() - before * 1_000_000 - self.chance.below(4_i64) * 250_000);
        if !self.seconds.insert((who, time.as_f64().round_ties_even() as i64)) {
            return;
        }
        let length = [-1.0, 5.0, 600.0, 600.5, 3600.0, 40_000.0, 200_000.0][self.chance.below(7_usize)];
        let many = self.chance.below(14_u32);
        let lines: Vec<String> = (0..many)
            .map(|n| format!("{n} füße \u{1f600} \"'\\ {}", self.quarters))
            .collect();
        let mut data = Data::default();
        let mut told = serde_json::Map::new();
        if self.chance.percent(60) {
            let text = ["root", "", "мария", "x\u{0}y\u{1b}[2J", "\u{fffd}"][self.chance.below(5_usize)];
            data.insert("user", Field::Text(text.into()));
            told.insert("user".to_owned(), json!(text));
        }
        if self.chance.percent(30) {
            let users = ["root", "admin"].map(|user| Field::Text(user.into()));
            data.insert("users", Field::Set(users.into()));
            told.insert("users".to_owned(), json!(["root", "admin"]));
        }
        let ticket = Ticket {
            id: Id::parse(who).unwrap_or_else(|_| Id::Raw(who.to_owned())),
            time,
            bantime: if length < 0.0 {
                Seconds::FOREVER
            } else {
                Seconds::from_f64(length)
            },
            bancount: 1 + self.chance.below(5_u32),
            failures: many + self.chance.below(3_u32),
            matches: lines.iter().map(|line| line.as_str().into()).collect(),
            data,
            restored: false,
        };
        self.tell(json!([
            "ban",
            name,
            who,
            time.as_f64(),
            length,
            ticket.bancount,
            ticket.failures,
            lines,
            told
        ]));
        self.keep(Entry::Ban {
            jail: jail(name),
            ticket,
        });
    }

    fn lift(&mut self) {
        let (name, who) = self.somebody();
        self.keep(Entry::Lift {
            jail: jail(name),
            id: id(who),
        });
        self.tell(json!(["unban", name, who]));
    }

    /// The end of a ban changes no row of Fail2Ban's, so it is told to the store alone.
    fn expire(&mut self) {
        let (name, who) = self.somebody();
        let now = self.wall();
        let bans = self.store.saved_of(name).unwrap().bans;
        let over = bans
            .iter()
            .any(|(_, ban)| ban.id == id(who) && ban.until().is_some_and(|end| end < now));
        if over {
            self.keep(Entry::Expire {
                jail: jail(name),
                id: id(who),
            });
        }
    }

    fn log(&mut self) {
        let (name, _) = self.somebody();
        let offset = self.chance.below(1_000_000_u64);
        let head = ["", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "x"][self.chance.below(3_usize)];
        let path = ["/var/log/auth.log", "/var/log/é"][self.chance.below(2_usize)];
        self.keep(Entry::Read {
            jail: jail(name),
            path: path.into(),
            mark: Mark {
                head: head.to_owned(),
                ..mark(offset)
            },
        });
        let head = Some(head).filter(|head| !head.is_empty());
        self.tell(json!(["log", name, path, offset, head]));
    }

    fn limits(&mut self) {
        self.settings.max_matches = [0, 1, 3, 10][self.chance.below(4_usize)];
        self.settings.purge_age = Seconds::new([60, 3600, 86_400][self.chance.below(3_usize)]);
        self.store.set(self.settings.clone());
        let (matches, age) = (self.settings.max_matches, self.settings.purge_age.whole());
        self.tell(json!(["limits", matches, age]));
    }

    fn step(&mut self) {
        match self.chance.below(100_u32) {
            0..=44 => self.ban(),
            45..=54 => self.lift(),
            55..=64 => self.expire(),
            65..=74 => self.log(),
            75..=89 => {
                let quarters = [1, 4, 40, 2400, 40_000, 400_000][self.chance.below(6_usize)];
                self.advance(quarters);
            }
            90..=92 => self.limits(),
            93..=96 => {
                let (name, on) = (self.somebody().0, self.chance.percent(50));
                self.switch(name, on);
                // Whoever bans is on.
                if !on && self.chance.percent(70) {
                    self.switch(name, true);
                }
            }
            _ => {
                let clock = self.clock();
                self.store.purge(clock).unwrap();
                self.tell(json!(["purge"]));
                for (name, ..) in JAILS {
                    self.switch(name, true);
                }
            }
        }
    }

    fn compare_rows(&mut self, count: &mut Tally) {
        self.tell(json!(["rows"]));
        let theirs = self.ask();
        for table in ["jails", "logs", "bans", "bips"] {
            let ours = rows(&self.bench.sql(), table);
            let theirs = theirs[table]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| plain(row.as_array().unwrap()));
            let mut theirs: Vec<String> = theirs.collect();
            theirs.sort();
            count.equal(u64::try_from(ours.len()).unwrap());
            count.compare(&ours, &theirs, || format!("rows of {table}"));
        }
    }

    fn compare_merged(&mut self, count: &mut Tally) {
        let (name, who) = self.somebody();
        let name = self.chance.percent(50).then_some(name);
        self.tell(json!(["merged", who, name]));
        let theirs = self.ask();
        let merged = self.store.matches_of(who, name).unwrap();
        let ours = merged.map_or(Value::Null, |merged| {
            told(merged.time, merged.failures, &merged.matches, &merged.data)
        });
        count.compare(&ours, &theirs, || format!("all bans of {who} in {name:?}"));
    }

    fn compare_history(&mut self, count: &mut Tally) {
        let (name, who) = self.somebody();
        let mut history = History::default();
        for (jail, id, past) in self.store.load().unwrap().history {
            history.note(&jail, &id, past);
        }
        for name in [Some(name), None] {
            self.tell(json!(["past", who, name]));
            let theirs = self.ask();
            let past = name.map_or_else(|| history.overall(&id(who)), |name| history.of(name, &id(who)));
            let ours = past.map_or(Value::Null, |past| {
                json!([past.count, past.time.seconds(), past.bantime.as_f64()])
            });
            let number = |value: &Value| {
                value
                    .as_array()
                    .map(|all| all.iter().map(Value::as_f64).collect::<Vec<_>>())
            };
            count.compare(&number(&ours), &number(&theirs), || {
                format!("history of {who} in {name:?}")
            });
        }
    }

    fn compare_current(&mut self, count: &mut Tally) {
        let (name, _, most) = *self.chance.pick(&JAILS);
        self.tell(json!(["current", name]));
        let theirs = self.ask();
        let now = Timestamp::from_micros(self.wall().micros() + 1);
        let most = Some(most).filter(|most| *most >= 0).map(Seconds::new);
        let saved = self.store.saved_of(name).unwrap();
        let bans = saved
            .bans
            .into_iter()
            .filter_map(|(_, ban)| judge::restored(ban, now, most));
        let mut ours: Vec<Value> = bans
            .map(|mut ban| {
                let skip = ban.matches.len().saturating_sub(self.settings.max_matches as usize);
                ban.matches.drain(..skip);
                let length = if ban.bantime.is_forever() {
                    -1.0
                } else {
                    ban.bantime.as_f64()
                };
                // The store knows the failure's time to the microsecond, and Fail2Ban's table to the second.
                let time = Timestamp::from_seconds((ban.time.as_f64()).round_ties_even() as i64);
                json!([
                    ban.id.to_string(),
                    length,
                    ban.bancount,
                    told(time, ban.failures, &ban.matches, &ban.data)
                ])
            })
            .collect();
        let mut theirs = theirs.as_array().unwrap().clone();
        for ban in &mut theirs {
            ban[1] = json!(ban[1].as_f64().unwrap());
        }
        for bans in [&mut ours, &mut theirs] {
            // The second that Fail2Ban's table does not know is left out.
            bans.retain(|ban| {
                let (length, time) = (ban[1].as_f64().unwrap(), ban[3][0].as_f64().unwrap());
                length < 0.0 || (time + length - now.as_f64()).abs() > 1.0
            });
            bans.sort_by_key(|ban| ban[0].as_str().unwrap().to_owned());
        }
        count.compare(&ours, &theirs, || format!("in force in {name}"));
    }
}

fn told(time: Timestamp, failures: u32, matches: &[Arc<str>], data: &Data) -> Value {
    json!([
        time.seconds(),
        failures,
        matches.iter().map(|line| &**line).collect::<Vec<_>>(),
        data.iter()
            .map(|(name, field)| (&**name, plain_field(field)))
            .collect::<BTreeMap<_, _>>()
    ])
}

fn plain_field(field: &Field) -> Value {
    match field {
        Field::Text(text) => json!(&**text),
        Field::Tuple(parts) => json!(parts),
        Field::Set(items) => items.iter().map(plain_field).collect(),
    }
}

/// A row as text, its JSON with its keys in order.
fn plain(row: &[Value]) -> String {
    let cell = |cell: &Value| match cell {
        Value::String(text) if text.starts_with('{') => serde_json::from_str::<BTreeMap<String, Value>>(text)
            .map_or_else(|_| text.clone(), |value| format!("{value:?}")),
        other => other.to_string(),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(" ")
}

fn rows(db: &Connection, table: &str) -> Vec<String> {
    let mut query = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let width = query.column_count();
    let cell = |value: rusqlite::types::Value| match value {
        rusqlite::types::Value::Null => Value::Null,
        rusqlite::types::Value::Integer(number) => json!(number),
        rusqlite::types::Value::Real(number) => json!(number),
        rusqlite::types::Value::Text(text) => json!(text),
        rusqlite::types::Value::Blob(bytes) => json!(String::from_utf8_lossy(&bytes)),
    };
    let row = |row: &rusqlite::Row<'_>| {
        let cells: Vec<Value> = (0..width).map(|at| row.get(at).map(cell)).collect::<Result<_, _>>()?;
        Ok(plain(&cells))
    };
    let mut rows: Vec<String> = query.query_map([], row).unwrap().map(Result::unwrap).collect();
    rows.sort();
    rows
}

#[test]
fn the_store_does_as_fail2bans_database() {
    let mut count = Tally::of("operations on the database");
    for seed in chance::rounds(6) {
        let mut pair = Pair::new(seed);
        for number in 0..1000 {
            pair.step();
            if number % 10 == 0 {
                pair.compare_merged(&mut count);
                pair.compare_history(&mut count);
                pair.compare_current(&mut count);
            }
            if number % 100 == 99 {
                pair.compare_rows(&mut count);
            }
        }
    }
    count.close(3000);
}

#[test]
fn the_lines_of_one_who_was_freed_are_forgotten() {
    let mut pair = Pair::new(0);
    let case = |lines: &[&str]| Ticket {
        matches: lines.iter().map(|line| (*line).into()).collect(),
        ..ticket("192.0.2.1", 0, 600)
    };
    pair.keep(ban(&case(&["one"])));
    pair.tell(json!([
        "ban",
        "plain",
        "192.0.2.1",
        wall_at(0).as_f64(),
        600,
        1,
        3,
        ["one"],
        {}
    ]));
    pair.tell(json!(["merged", "192.0.2.1", null, false]));
    let before = pair.ask();
    pair.tell(json!(["unban", "plain", "192.0.2.1"]));
    pair.tell(json!(["merged", "192.0.2.1", null, false]));
    // D-141: Fail2Ban remembers what it was asked once, until the next ban.
    assert_eq!((pair.ask(), &before[2]), (before.clone(), &json!(["one"])));
    assert_eq!(
        pair.store.matches_of("192.0.2.1", None).unwrap().unwrap().matches,
        ["one".into()]
    );
    pair.keep(Entry::Lift {
        jail: jail("sshd"),
        id: id("192.0.2.1"),
    });
    assert_eq!(pair.store.matches_of("192.0.2.1", None).unwrap(), None);
}

/// A file of an earlier version as it stood on disk, with what such files may hold.
fn old_file(path: &Path, version: i64) {
    let lengths = |text: &'static str| if version < 3 { "" } else { text };
    let unique = if version < 2 { "path" } else { "jail, path" };
    let db = Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "CREATE TABLE fail2banDb(version INTEGER); INSERT INTO fail2banDb VALUES({version});
         CREATE TABLE jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
         CREATE INDEX jails_name ON jails(name);
         CREATE TABLE logs(jail TEXT NOT NULL, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER DEFAULT 0,
             FOREIGN KEY(jail) REFERENCES jails(name) ON DELETE CASCADE, UNIQUE({unique}));
         CREATE INDEX logs_path ON logs(path);
         CREATE TABLE bans(jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, {}
             data JSON, FOREIGN KEY(jail) REFERENCES jails(name));
         CREATE INDEX bans_jail_timeofban_ip ON bans(jail, timeofban);
         CREATE INDEX bans_jail_ip ON bans(jail, ip);
         CREATE INDEX bans_ip ON bans(ip);
         INSERT INTO jails VALUES('sshd', 1), ('postfix', 0), ('empty', 1);
         INSERT INTO logs VALUES('sshd', '/var/log/auth.log', 'cafe', 1234), ('postfix', '/var/log/é', NULL, 0);",
        lengths("bantime INTEGER NOT NULL, bancount INTEGER NOT NULL default 1,")
    ))
    .unwrap();
    let mut chance = Chance(u64::try_from(version).unwrap());
    for number in 0..300 {
        let name = ["sshd", "postfix"][chance.below(2_usize)];
        let who = chance.pick(&PEOPLE).replace('\'', "''");
        // No two at one time: of those neither program says which is the last.
        let time = NOW - number * 1000;
        let length = lengths(["600, 2,", "-1, 1,", "90000, 7,", "600.5, 1,"][chance.below(4_usize)]);
        let data = [
            "NULL",
            "'{}'",
            "CAST('{\"matches\": [[\"a\", \"b\", \"é\"]], \"failures\": 5}' AS BLOB)",
        ];
        let data = data[chance.below(3_usize)];
        let sql = format!("INSERT INTO bans VALUES('{name}', '{who}', {time}, {length} {data})");
        db.execute_batch(&sql).unwrap();
    }
}

#[test]
fn old_files_are_upgraded_as_fail2ban_does() {
    let mut count = Tally::of("rows of upgraded databases");
    for version in 1..=3 {
        let bench = Bench::new();
        let theirs = bench.dir.path().join("theirs.sqlite3");
        old_file(&bench.path(), version);
        std::fs::copy(bench.path(), &theirs).unwrap();
        let before = std::fs::read(&theirs).unwrap();
        let question = json!({"path": theirs, "jails": {}, "now": NOW, "steps": [["rows"]]});
        let answer = Oracle::start("database").ask(&question);
        let (store, opened) = bench.open(0);
        assert_eq!(opened.upgraded, Some((version, 4)));
        drop(store);
        for table in ["jails", "logs", "bans", "bips", "fail2banDb"] {
            let ours = rows(&bench.sql(), table);
            let rows = answer[0][table].as_array().unwrap_or_else(|| panic!("{answer}"));
            let mut theirs: Vec<String> = rows.iter().map(|row| plain(row.as_array().unwrap())).collect();
            theirs.sort();
            count.compare(&ours, &theirs, || format!("{table} of version {version}"));
            count.equal(u64::try_from(ours.len()).unwrap());
        }
        // Both leave the file as it was beside it, under one name.
        let stamp = "20260101-000000";
        let copy = bench.dir.path().join(format!("theirs.sqlite3.{stamp}"));
        assert_eq!(std::fs::read(copy).unwrap(), before);
        let copy = bench.dir.path().join(format!("fail2ban.sqlite3.{stamp}"));
        assert_eq!(opened.backup, Some(copy.clone()));
        let copy = Connection::open(copy).unwrap();
        assert_eq!(ask(&copy, "SELECT version FROM fail2banDb"), version.to_string());
        assert_eq!(rows(&copy, "bans").len(), 300);
    }
    count.close(900);
}

#[test]
fn a_link_to_a_database() {
    let bench = Bench::new();
    old_file(&bench.path(), 3);
    let link = bench.dir.path().join("link");
    std::os::unix::fs::symlink(bench.path(), &link).unwrap();
    let (store, opened) = open(&link, 0).unwrap();
    assert_eq!(opened.backup, Some(bench.dir.path().join("link.20260101-000000")));
    store.close().unwrap();
    assert!(link.is_symlink(), "the link is still one");
    assert_eq!(bench.ask("SELECT version FROM fail2banDb"), "4");
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let bench = Bench::new();
    drop(bench.open(0));
    bench.run("UPDATE fail2banDb SET version = 5");
    let before = std::fs::read(bench.path()).unwrap();
    // Fail2Ban does not start with it; what we do instead is D-142.
    let question = json!({"path": bench.path(), "jails": {}, "now": NOW, "steps": []});
    assert_eq!(Oracle::start("database").ask(&question)["error"], "NotImplementedError");
    assert!(matches!(open(&bench.path(), 0), Err(Error::Newer { found: 5, .. })));
    assert_eq!(std::fs::read(bench.path()).unwrap(), before);
}
