//! The real Fail2Ban and portcullis by turns on one database and the same logs: whoever comes next has every ban in force
//! with the time that is left, goes on in the logs where the other stopped, and finds every row that it left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::server::Server;
use crate::count::Count;
use crate::house::{House, append, eventually, stamp};

const JAILS: &[&str] = &["plain", "forever", "grow"];
/// Bans that stand in the database at the first start.
const PLAIN: u32 = 3000;
const FOREVER: u32 = 2000;
/// Those who are banned in the jail whose bans grow, at every turn again.
const KNOWN: [&str; 4] = ["192.0.2.201", "192.0.2.202", "2001:db8:9::1", "2001:db8:9::2"];
/// How long a known one is banned the sixth time.
const SIXTH: i64 = 3 * 1300;

/// A house whose folder both programs read. A jail with bans of an hour, one with bans for ever of whatever a line says,
/// one whose first five bans last three seconds, and the sixth more than an hour.
fn house() -> House {
    let house = House::empty();
    house.write(
        "etc/fail2ban.local",
        format!(
            "[Definition]\ndbfile = {}\nlogtarget = {}\ndbpurgeage = 1d\n",
            house.path("state/fail2ban.sqlite3").display(),
            house.path("fail2ban.log").display()
        ),
    );
    house.write(
        "etc/filter.d/user.conf",
        "[Definition]\nfailregex = ^\\s*fail of <F-USER>\\S+</F-USER> by <F-ID>\\S+</F-ID>\n",
    );
    let jail = |name: &str, options: &str| {
        fs::write(house.path(name), "").unwrap();
        let log = house.path(name);
        format!(
            "[{name}]\nenabled = true\nmaxretry = 1\nlogpath = {}\n{options}\n",
            log.display()
        )
    };
    let jails = [
        "[DEFAULT]\nbantime = 1h\nfindtime = 2h\nignoreself = false\nignoreip =\nusedns = no\nbackend = polling\n\
         prefix.ipv6 = 128\n"
            .to_owned(),
        jail("plain", "filter = plain"),
        jail("forever", "filter = user\nbantime = -1"),
        jail(
            "grow",
            "filter = plain\nbantime = 3\nbantime.increment = true\nbantime.multipliers = 1 1 1 1 1 1300 2600",
        ),
    ];
    house.write("etc/jail.local", jails.concat());
    house
}

/// All rows of a table, as text.
type Rows = BTreeMap<String, usize>;

fn open(house: &House) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    Connection::open_with_flags(house.path("state/fail2ban.sqlite3"), flags).unwrap()
}

fn rows(db: &Connection, sql: &str) -> Vec<Vec<Cell>> {
    let mut query = db.prepare(sql).unwrap();
    let width = query.column_count();
    let row = |row: &rusqlite::Row<'_>| (0..width).map(|at| row.get::<_, Cell>(at)).collect();
    query.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// The four tables of Fail2Ban's, but for the pseudo-jail (D-140).
fn tables(house: &House) -> BTreeMap<&'static str, Rows> {
    let db = open(house);
    let read = |(table, column, columns): (&'static str, &str, &str)| {
        let mut all = Rows::new();
        for row in rows(
            &db,
            &format!("SELECT {columns} FROM {table} WHERE {column} <> 'manual'"),
        ) {
            *all.entry(show(&row)).or_default() += 1;
        }
        (table, all)
    };
    [
        ("bans", "jail", "*"),
        ("bips", "jail", "*"),
        ("logs", "jail", "*"),
        ("jails", "name", "name"),
    ]
    .map(read)
    .into()
}

fn show(row: &[Cell]) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Blob(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        other => format!("{other:?}"),
    };
    row.iter().map(cell).collect::<Vec<_>>().join(" ")
}

/// Who is to be in force now by the rows alone (contract §7.4): `jail id` and the end, none for never.
fn alive(house: &House) -> BTreeMap<String, Option<i64>> {
    let db = open(house);
    let now = jiff::Timestamp::now().as_second();
    let sql = format!(
        "SELECT jail, ip, timeofban, bantime FROM bips
         WHERE jail IN ('plain', 'forever', 'grow') AND (bantime = -1 OR timeofban + bantime > {now})"
    );
    let mut query = db.prepare(&sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let (jail, ip): (String, String) = (row.get(0)?, row.get(1)?);
        let (time, length): (i64, i64) = (row.get(2)?, row.get(3)?);
        Ok((format!("{jail} {ip}"), (length >= 0).then_some(time + length)))
    };
    query.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// What portcullis has in force.
fn ours(house: &House) -> BTreeMap<String, Option<i64>> {
    let banned = house.json(&["banned"]);
    let entry = |ban: &Value| {
        let until = ban["until"].as_str();
        let until = until.map(|text| text.parse::<jiff::Timestamp>().unwrap().as_second());
        (
            format!("{} {}", ban["jail"].as_str().unwrap(), ban["ip"].as_str().unwrap()),
            until,
        )
    };
    banned.as_array().unwrap().iter().map(entry).collect()
}

/// What Fail2Ban has in force, by its client.
fn theirs(house: &House, server: &Server) -> BTreeMap<String, Option<i64>> {
    let mut all = BTreeMap::new();
    for jail in JAILS {
        for line in server.client(house, &["get", jail, "banip", "--with-time"]).lines() {
            let Some((ip, rest)) = line.split_once('\t') else {
                continue;
            };
            let ip = ip.trim();
            let (length, end) = rest.split_once(" + ").unwrap().1.split_once(" = ").unwrap();
            let end = (length != "-1").then(|| {
                let end = end.trim().parse::<jiff::civil::DateTime>().unwrap();
                let end = end.to_zoned(jiff::tz::TimeZone::system()).unwrap();
                end.timestamp().as_second()
            });
            all.insert(format!("{jail} {ip}"), end);
        }
    }
    all
}

/// Both have the same bans with ends that are a second apart at most; those that end about now are left out.
fn compare_force(
    count: &mut Count,
    what: &str,
    got: &BTreeMap<String, Option<i64>>,
    want: &BTreeMap<String, Option<i64>>,
) {
    let now = jiff::Timestamp::now().as_second();
    let names: BTreeSet<&String> = got.keys().chain(want.keys()).collect();
    for name in names {
        let (got, want) = (got.get(name), want.get(name));
        let soon = [got, want].into_iter().flatten().flatten().any(|end| *end <= now + 3);
        let near = match (got, want) {
            (Some(Some(one)), Some(Some(other))) => one.abs_diff(*other) <= 1,
            (one, other) => one == other,
        };
        if !soon {
            count.compare(&near, &true, || {
                format!("{what}: {name}: {got:?}, and the rows say {want:?}")
            });
        }
    }
}

/// All rows that were there are there still, but for those that `changes` names.
fn compare_rows(
    count: &mut Count,
    what: &str,
    (before, after): (&BTreeMap<&str, Rows>, &BTreeMap<&str, Rows>),
    changes: &dyn Fn(&str) -> bool,
) {
    for table in ["bans", "bips", "jails"] {
        let (before, after) = (&before[table], &after[table]);
        for (row, times) in before.iter().filter(|(row, _)| !changes(row)) {
            count.compare(&after.get(row), &Some(times), || format!("{what}: {table}: {row}"));
        }
        for row in after.keys().filter(|row| !changes(row) && !before.contains_key(*row)) {
            count.compare(&Some(row), &None, || format!("{what}: {table}: new {row}"));
        }
    }
}

/// The addresses of a jail's lines: of both kinds, networks, and words.
fn who(jail: &str, number: u32) -> String {
    match (jail, number % 4) {
        ("forever", 0) => format!("token-é-{number}"),
        ("forever", 1) => format!("2001:db8:{number:x}::/48"),
        ("plain", 0) if number < 1000 => format!("203.0.113.{}", number / 4),
        _ => format!("2001:db8::{number:x}"),
    }
}

/// A line, `ago` seconds old, whose user is one of several that no one wants to read.
fn line(jail: &str, who: &str, ago: i64, number: u32) -> Vec<u8> {
    let users: [&[u8]; 4] = ["müller".as_bytes(), b"m\xfcller", "\u{1f600}\"\\".as_bytes(), b"root"];
    let user = users[usize::try_from(number).unwrap() % 4];
    let mut line = format!("{} fail ", stamp(-ago)).into_bytes();
    if jail == "forever" {
        line.extend([b"of ", user, b" by ", who.as_bytes()].concat());
    } else {
        line.extend(format!("from {who}").into_bytes());
    }
    line.extend(format!(" session {number}\n").into_bytes());
    line
}

/// The story, as it goes on.
struct Story {
    house: House,
    count: Count,
    /// Lines so far, so that no two are the same
    number: u32,
    /// How often the known ones were banned
    bans: i64,
    /// The end of a line that has begun, and whose it is
    half: Option<(String, Vec<u8>)>,
    /// What Fail2Ban keeps of a ban besides
    shapes: BTreeSet<String>,
    /// Whose rows this turn changes: `jail id`
    touched: BTreeSet<String>,
}

impl Story {
    /// Lines of new ones in every log: `jail id`.
    fn lines(&mut self) -> BTreeSet<String> {
        let mut new = BTreeSet::new();
        if let Some((name, rest)) = self.half.take() {
            append(&self.house.path("plain"), &rest);
            self.touched.insert(name.clone());
            new.insert(name);
        }
        for (jail, kind) in [
            ("plain", 3),
            ("forever", 4),
            ("forever", 5),
            ("forever", 6),
            ("plain", 7),
        ] {
            let (who, line) = self.line(jail, kind);
            append(&self.house.path(jail), &line);
            self.touched.insert(format!("{jail} {who}"));
            new.insert(format!("{jail} {who}"));
        }
        new
    }

    /// A line of somebody new.
    fn line(&mut self, jail: &str, kind: u32) -> (String, Vec<u8>) {
        self.number += 1;
        let number = 0x8000 + 8 * self.number + kind;
        let who = who(jail, number);
        let line = line(jail, &who, 0, number);
        (who, line)
    }

    /// Whom the log of a run has found: each as often as it says.
    fn found(log: &str) -> Vec<String> {
        let found = |line: &str| {
            let (head, tail) = line.split_once("] Found ")?;
            Some(format!("{} {}", head.rsplit_once('[')?.1, tail.split_once(" - ")?.0))
        };
        let mut found: Vec<String> = log.lines().filter_map(found).collect();
        found.sort();
        found
    }

    fn compare_found(&mut self, what: &str, log: &str, new: &BTreeSet<String>) {
        let found: BTreeSet<_> = Story::found(log).into_iter().collect();
        self.count
            .compare(&Story::found(log).len(), &new.len(), || format!("{what}: lines read"));
        self.count.compare(&found, new, || format!("{what}: who was found"));
    }

    fn compare_kept(&mut self, what: &str, before: &BTreeMap<&str, Rows>) {
        let touched = std::mem::take(&mut self.touched);
        let changes = |row: &str| {
            touched.iter().any(|name| {
                let (jail, id) = name.split_once(' ').unwrap();
                row.contains(&format!("Text({id:?}) Text({jail:?})"))
                    || row.contains(&format!("Text({jail:?}) Text({id:?})"))
            })
        };
        compare_rows(&mut self.count, what, (before, &tables(&self.house)), &changes);
    }

    /// The known ones were banned once more.
    fn compare_known(&mut self, what: &str) {
        self.bans += 1;
        let expect = (self.bans, if self.bans < 6 { 3 } else { SIXTH });
        for who in KNOWN {
            let sql = format!("SELECT bancount, bantime FROM bips WHERE jail = 'grow' AND ip = '{who}'");
            let mut row = (0, 0);
            eventually("the ban is kept", || {
                row = open(&self.house)
                    .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap_or_default();
                row.0 >= self.bans
            });
            self.count.compare(&row, &expect, || format!("{what}: ban of {who}"));
        }
        self.touched.extend(KNOWN.map(|who| format!("grow {who}")));
    }

    /// Fail2Ban comes, and goes.
    fn their_turn(&mut self, what: &str) {
        let before = tables(&self.house);
        let missed = self.lines();
        let was = alive(&self.house);
        let server = Server::start(&self.house);
        let number = was.len() + missed.len();
        eventually("Fail2Ban has restored", || {
            server.said().matches("] Restore Ban ").count() >= was.len()
        });
        server.until_said("] Ban ", missed.len());
        eventually("all of them", || theirs(&self.house, &server).len() >= number);
        compare_force(
            &mut self.count,
            what,
            &theirs(&self.house, &server),
            &alive(&self.house),
        );
        server.client(&self.house, &[&["set", "grow", "banip"][..], &KNOWN].concat());
        self.compare_known(what);
        let now = self.lines();
        server.until_said("] Ban ", missed.len() + KNOWN.len() + now.len());
        self.free(what, 0, |house, jail, who| {
            server.client(house, &["set", jail, "unbanip", who])
        });
        self.half();
        if self.bans < 6 {
            server.until_said("] Unban 192.0.2.201", 1);
        }
        let said = server.stop(&self.house);
        let all = &missed | &now;
        self.compare_found(what, &said, &all);
        self.compare_kept(what, &before);
    }

    /// portcullis comes, is killed in between where it is told so, and goes.
    fn our_turn(&mut self, what: &str, kills: u32) {
        let before = tables(&self.house);
        let missed = self.lines();
        let was = alive(&self.house);
        let log = self.house.read("fail2ban.log").len();
        self.house.start();
        let got = self.until_banned(&missed);
        compare_force(&mut self.count, what, &got, &alive(&self.house));
        let lost = was.keys().filter(|name| !got.contains_key(*name)).count();
        self.count
            .compare(&lost, &0, || format!("{what}: bans lost at the start"));
        self.house.json(&[&["ban"][..], &KNOWN, &["--jail", "grow"]].concat());
        self.compare_known(what);
        let now = self.lines();
        self.until_banned(&now);
        if kills > 0 {
            self.house.kill();
            self.house.start();
            compare_force(&mut self.count, what, &ours(&self.house), &alive(&self.house));
        }
        self.free(what, 2, |house, jail, who| {
            house.json(&["unban", who, "--jail", jail]).to_string()
        });
        self.half();
        if self.bans < 6 {
            eventually("the short bans are over", || {
                let said = self.house.read("fail2ban.log");
                said.get(log..)
                    .is_some_and(|said| said.contains(&format!("] Unban {}", KNOWN[0])))
            });
        }
        if kills > 1 {
            self.house.kill();
            // Who is killed cannot say that its jails are off; whoever opens the database next does.
            let on = self.count_of("jails WHERE enabled = 1 AND name <> 'manual'");
            self.count.compare(&on, &3, || format!("{what}: jails that are on"));
        } else {
            assert_eq!(self.house.terminate(), Some(0));
            let on = self.count_of("jails WHERE enabled <> 0");
            self.count.compare(&on, &0, || format!("{what}: jails that are on"));
        }
        let shapes = shapes(&self.house);
        for name in &missed | &now {
            let known = self.shapes.contains(&shapes[&name]);
            self.count
                .compare(&known, &true, || format!("{what}: {name} is kept as {}", shapes[&name]));
        }
        // D-140: the jail of bans by hand stands among the others.
        let manual = self.count_of("jails WHERE name = 'manual'");
        self.count.compare(&manual, &1, || format!("{what}: the pseudo-jail"));
        let said = self
            .house
            .read("fail2ban.log")
            .get(log..)
            .unwrap_or_default()
            .to_owned();
        let all = &missed | &now;
        self.compare_found(what, &said, &all);
        self.compare_kept(what, &before);
    }

    /// Waits until portcullis has all of them in force, and gives whom it has.
    fn until_banned(&self, who: &BTreeSet<String>) -> BTreeMap<String, Option<i64>> {
        let mut got = BTreeMap::new();
        eventually("all are banned", || {
            got = ours(&self.house);
            who.iter().all(|who| got.contains_key(who))
        });
        got
    }

    fn count_of(&self, what: &str) -> i64 {
        let count = open(&self.house).query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0));
        count.unwrap()
    }

    /// Somebody is freed by hand: two who were there at the beginning.
    fn free(&mut self, what: &str, kind: u32, free: impl Fn(&House, &str, &str) -> String) {
        for jail in ["plain", "forever"] {
            self.number += 1;
            let who = who(jail, 4 * self.number + kind);
            free(&self.house, jail, &who);
            let of = format!("WHERE jail = '{jail}' AND ip = '{who}'");
            let sql = format!("SELECT (SELECT count(*) FROM bips {of}) + (SELECT count(*) FROM bans {of})");
            let mut left = 1;
            eventually("he is freed", || {
                left = open(&self.house).query_row(&sql, [], |row| row.get(0)).unwrap_or(1);
                left == 0
            });
            self.count.compare(&left, &0, || format!("{what}: rows of {who}"));
            self.touched.insert(format!("{jail} {who}"));
        }
    }

    /// A line that is finished only after the program is gone, and so is the next one's.
    fn half(&mut self) {
        let (who, mut line) = self.line("plain", 1);
        let rest = line.split_off(line.len() - 9);
        append(&self.house.path("plain"), &line);
        self.half = Some((format!("plain {who}"), rest));
        // So that it is seen, and the positions are kept even by a program that is killed.
        sleep(Duration::from_secs(3));
    }
}

/// What a ban's `data` says, without what differs from one to the next: numbers, and whose it is. A line in three parts
/// is one line.
fn shape(ip: &str, data: &[u8]) -> String {
    let mut data: BTreeMap<String, Value> = serde_json::from_slice(data).unwrap();
    for line in data
        .get_mut("matches")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(parts) = line.as_array() {
            *line = parts.iter().filter_map(Value::as_str).collect::<String>().into();
        }
    }
    let text = serde_json::to_string(&data).unwrap().replace(ip, "WHO");
    let parts = text.split(|c: char| c.is_ascii_digit());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("#")
}

/// The shapes of all rows of a table with lines, by jail.
fn shapes(house: &House) -> BTreeMap<String, String> {
    let db = open(house);
    let mut query = db
        .prepare("SELECT jail, ip, CAST(data AS BLOB) FROM bips WHERE jail IN ('plain', 'forever')")
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let (jail, ip, data): (String, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let shape = format!("{jail} {}", shape(&ip, &data));
        Ok((format!("{jail} {ip}"), shape))
    };
    query.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn bans_go_to_and_fro() {
    let mut story = Story {
        house: house(),
        count: Count::of("the database by turns"),
        number: 0,
        bans: 0,
        half: None,
        shapes: BTreeSet::new(),
        touched: BTreeSet::new(),
    };
    for (jail, many) in [("plain", PLAIN), ("forever", FOREVER)] {
        let lines = (1..=many).map(|n| line(jail, &who(jail, n), i64::from(3000 - 3000 * n / many), n));
        append(&story.house.path(jail), &lines.collect::<Vec<_>>().concat());
    }
    let server = Server::start(&story.house);
    server.until_said("] Ban ", usize::try_from(PLAIN + FOREVER).unwrap());
    server.client(&story.house, &["set", "plain", "banip", "198.51.100.0/24"]);
    server.until_said("] Ban ", usize::try_from(PLAIN + FOREVER).unwrap() + 1);
    server.stop(&story.house);
    assert_eq!(alive(&story.house).len(), 5001);
    story.shapes = shapes(&story.house).into_values().collect();
    for (round, kills) in [("first", 0), ("second", 1), ("third", 2)] {
        story.our_turn(&format!("the {round} turn of ours"), kills);
        story.their_turn(&format!("the {round} turn of theirs"));
    }
    story.count.close(60_000);
}
