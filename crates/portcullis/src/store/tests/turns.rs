//! Fail2Ban and we, in turns on one file; and the clocks from one start to the next.

use super::*;

/// Fail2Ban's version 4 as it stands on disk before we ever saw it, with a few rows.
fn old_file(bench: &Bench, version: i64) {
    let db = bench.sql();
    let lengths = if version < 3 {
        ""
    } else {
        "bantime INTEGER NOT NULL, bancount INTEGER NOT NULL DEFAULT 1,"
    };
    db.execute_batch(&format!(
        "CREATE TABLE fail2banDb(version INTEGER); INSERT INTO fail2banDb VALUES({version});
         CREATE TABLE jails(name TEXT NOT NULL UNIQUE, enabled INTEGER NOT NULL DEFAULT 1);
         CREATE TABLE logs(jail TEXT NOT NULL, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER DEFAULT 0, UNIQUE(jail, path));
         CREATE INDEX logs_path ON logs(path);
         CREATE TABLE bans(jail TEXT NOT NULL, ip TEXT, timeofban INTEGER NOT NULL, {lengths} data JSON);
         CREATE INDEX bans_ip ON bans(ip);
         INSERT INTO jails VALUES('sshd', 1);
         INSERT INTO logs VALUES('sshd', '/var/log/auth.log', 'cafe', 1234);"
    ))
    .unwrap();
    let row = |ip: &str, seconds: i64, bantime: i64| {
        let lengths = if version < 3 {
            String::new()
        } else {
            format!("{bantime}, 3,")
        };
        let time = NOW + seconds;
        db.execute_batch(&format!(
            "INSERT INTO bans VALUES('sshd', '{ip}', {time}, {lengths} CAST('{{\"matches\": [[\"a \", \"date\", \" b\"]], \"failures\": 5}}' AS BLOB))"
        ))
        .unwrap();
    };
    row("192.0.2.1", -200, 100);
    row("192.0.2.2", -300, 600);
    row("192.0.2.2", -100, 600);
    row("192.0.2.3", -100, -1);
    if version >= 4 {
        db.execute_batch(
            "CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,
                 bancount INTEGER NOT NULL DEFAULT 1, data JSON, PRIMARY KEY(ip, jail));
             INSERT OR REPLACE INTO bips SELECT ip, jail, timeofban, bantime, bancount, data FROM bans ORDER BY timeofban;",
        )
        .unwrap();
    }
}

#[test]
fn a_database_of_fail2bans_is_taken_over() {
    let bench = Bench::new();
    old_file(&bench, 4);
    let (store, opened) = bench.open(0);
    assert!(!opened.created && opened.upgraded.is_none() && opened.backup.is_none());
    let (bans, lifted, marks) = (2, 0, 1);
    assert_eq!(opened.adopted, Adopted { bans, lifted, marks });
    let saved = store.load().unwrap();
    assert!(saved.bans.is_empty());
    let seen: Vec<_> = saved
        .adopted
        .iter()
        .map(|(_, t)| {
            (
                t.id.to_string(),
                t.time,
                t.bantime,
                t.bancount,
                t.failures,
                t.matches.join("|"),
            )
        })
        .collect();
    let case = |ip: &str, bantime| {
        (
            ip.to_owned(),
            wall_at(-100),
            Seconds::new(bantime),
            3,
            5,
            "a date b".to_owned(),
        )
    };
    assert_eq!(seen, [case("192.0.2.2", 600), case("192.0.2.3", -1)]);
    let expect = Mark {
        device: 0,
        inode: 0,
        offset: 1234,
        head: "cafe".into(),
        tail: String::new(),
        read_at: wall_at(0),
    };
    assert_eq!(saved.marks, [(jail("sshd"), jail("/var/log/auth.log"), expect)]);
    drop(store);
    // Nobody has looked at them yet: they are still there at the next start, and no news.
    let (store, opened) = bench.open(1);
    assert_eq!(opened.adopted, Adopted::default());
    assert_eq!(store.load().unwrap().adopted, saved.adopted);
}

#[test]
fn old_versions_are_upgraded() {
    for version in [1, 2, 3] {
        let bench = Bench::new();
        old_file(&bench, version);
        let (store, opened) = bench.open(0);
        assert_eq!(opened.upgraded, Some((version, 4)));
        let backup = opened.backup.unwrap();
        assert_eq!(backup, bench.dir.path().join("fail2ban.sqlite3.20260101-000000"));
        let copy = Connection::open(&backup).unwrap();
        assert_eq!(ask(&copy, "SELECT version FROM fail2banDb"), version.to_string());
        assert_eq!(ask(&copy, "SELECT count(*) FROM bans"), "4");
        let expect = if version < 3 { ["3", "-2 1"] } else { ["2", "600 3"] };
        let saved = store.load().unwrap();
        assert_eq!(saved.adopted.len().to_string(), expect[0], "version {version}");
        drop(store);
        assert_eq!(bench.ask("SELECT version FROM fail2banDb"), "4");
        assert_eq!(bench.ask("SELECT count(*) FROM bips"), "3");
        let row = "SELECT bantime || ' ' || bancount FROM bips WHERE ip = '192.0.2.2'";
        assert_eq!(bench.ask(row), expect[1], "version {version}");
        assert_eq!(bench.ask("SELECT lastfilepos FROM logs"), "1234");
        let index =
            "SELECT count(*) FROM sqlite_master WHERE name IN ('bans_ip', 'logs_path') AND tbl_name NOT LIKE '%before'";
        assert_eq!(bench.ask(index), "2");
        assert_eq!(
            bench.ask("SELECT count(*) FROM sqlite_master WHERE name LIKE '%before%'"),
            "0"
        );
        assert_eq!(bench.ask("SELECT count(*) FROM pragma_foreign_key_check"), "0");
    }
}

/// We ban, Fail2Ban runs `sql`, we open again: what became of the ban of 192.0.2.1?
fn check(sql: &str, adopted: (usize, usize, usize), bans: &[(i64, i64)], raw: &[(i64, i64)]) {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    store
        .commit(at(0), &[ban(&ticket("192.0.2.1", 0, 600)), read(50)])
        .unwrap();
    store.close().unwrap();
    bench.run(&sql.replace("NOW", &NOW.to_string()));
    let (store, opened) = bench.open(60);
    let (bans_news, lifted, marks) = adopted;
    let expect = Adopted {
        bans: bans_news,
        lifted,
        marks,
    };
    assert_eq!(opened.adopted, expect, "{sql}");
    let saved = store.load().unwrap();
    let seen = |list: &[(Arc<str>, Ticket)]| -> Vec<(i64, i64)> {
        let shift = (at(60).steady - store.running().now().steady).micros();
        assert!(
            shift.abs() < 60_000_000 + 10_000_000,
            "within the minute that the wall clock jumped"
        );
        list.iter()
            .map(|(_, t)| (t.time.seconds() - NOW, t.bantime.whole()))
            .collect()
    };
    assert_eq!(
        (seen(&saved.bans), seen(&saved.adopted)),
        (bans.to_vec(), raw.to_vec()),
        "{sql}"
    );
}

#[test]
fn whoever_wrote_last_is_right() {
    check("", (0, 0, 0), &[(0, 600)], &[]);
    // Banned anew by Fail2Ban: the steady clock stands a minute behind the wall, which jumped.
    let anew = "UPDATE bips SET timeofban = NOW + 30, bantime = 900";
    check(anew, (1, 0, 0), &[], &[(30 - 60, 900)]);
    let longer = "UPDATE bips SET bantime = 900";
    check(longer, (1, 0, 0), &[], &[(-60, 900)]);
    // Banned anew and over already.
    check(
        "UPDATE bips SET timeofban = NOW + 30, bantime = 10",
        (0, 1, 0),
        &[],
        &[],
    );
    check("DELETE FROM bips; DELETE FROM bans", (0, 1, 0), &[], &[]);
    check(
        "PRAGMA foreign_keys = OFF; INSERT INTO bips VALUES('192.0.2.2', 'new', NOW + 40, 600, 1, '{}')",
        (1, 0, 0),
        &[(0, 600)],
        &[(40 - 60, 600)],
    );
    check(
        "INSERT INTO bips VALUES('', 'sshd', NOW + 40, 600, 1, '{}')",
        (0, 0, 0),
        &[(0, 600)],
        &[],
    );
    check(
        "INSERT INTO bips VALUES('192.0.2.2', 'sshd', 'x', 'y', 1, '{}')",
        (0, 0, 0),
        &[(0, 600)],
        &[],
    );
    check("UPDATE logs SET lastfilepos = 70", (0, 0, 1), &[(0, 600)], &[]);
    check("UPDATE logs SET firstlinemd5 = 'other'", (0, 0, 1), &[(0, 600)], &[]);
    // Fail2Ban's own purge drops the jail with all that hangs on it.
    check(
        "PRAGMA foreign_keys = ON; DELETE FROM bips; DELETE FROM bans; DELETE FROM jails",
        (0, 0, 0),
        &[],
        &[],
    );
}

#[test]
fn what_a_jail_made_of_an_adopted_ban_stands() {
    let bench = Bench::new();
    old_file(&bench, 4);
    let (mut store, _) = bench.open(0);
    let taken: Vec<Ticket> = store.load().unwrap().adopted.into_iter().map(|(_, t)| t).collect();
    // The jail cuts the permanent one and takes up both; nothing is added to Fail2Ban's tables.
    let mut cut = taken[1].clone();
    cut.bantime = Seconds::new(300);
    store.commit(at(0), &[ban(&taken[0]), ban(&cut)]).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM bans"), "4");
    assert_eq!(bench.ask("SELECT bantime FROM bips WHERE ip = '192.0.2.3'"), "-1");
    drop(store);
    let (mut store, opened) = bench.open(1);
    assert_eq!(opened.adopted, Adopted::default());
    let saved = store.load().unwrap();
    assert!(saved.adopted.is_empty());
    assert_eq!(
        saved.bans,
        [(jail("sshd"), taken[0].clone()), (jail("sshd"), cut.clone())]
    );
    // The cut one runs out. Fail2Ban's row says for ever, and still it does not come back.
    let expire = Entry::Expire {
        jail: jail("sshd"),
        id: cut.id,
    };
    store.commit(at(250), &[expire]).unwrap();
    drop(store);
    let (mut store, opened) = bench.open(251);
    assert_eq!(opened.adopted, Adopted::default());
    assert_eq!(store.load().unwrap().bans, [(jail("sshd"), taken[0].clone())]);
    // A new ban of the same offender is a new ban.
    store.commit(at(260), &[ban(&ticket("192.0.2.3", 260, 50))]).unwrap();
    assert_eq!(store.load().unwrap().bans.len(), 2);
}

#[test]
fn a_clock_set_back_does_not_bring_a_ban_back() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    store.commit(at(0), &[ban(&ticket("192.0.2.1", 0, 600))]).unwrap();
    // Ten minutes later the ban is over; the wall clock has been set back an hour meanwhile.
    let clock = Clock {
        steady: wall_at(601),
        wall: wall_at(601 - 3600),
    };
    let expire = Entry::Expire {
        jail: jail("sshd"),
        id: id("192.0.2.1"),
    };
    store.commit(clock, &[expire]).unwrap();
    drop(store);
    let (store, opened) = bench.open(610 - 3600);
    assert_eq!(opened.adopted, Adopted::default());
    assert_eq!(without_history(&store), Saved::default());
    drop(store);
    // Once Fail2Ban's row is over too, the note about it goes.
    let _ = bench.open(601);
    assert_eq!(bench.ask("SELECT count(*) FROM portcullis_bans"), "0");
}

#[test]
fn steady_times_go_on() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let start = store.running().now().steady;
    let mut case = ticket("192.0.2.1", 0, 600);
    case.time = start;
    let counter = Entry::Count {
        jail: jail("sshd"),
        id: id("192.0.2.1"),
        count: Some(count(1)),
    };
    let clock = Clock {
        steady: start,
        wall: wall_at(0),
    };
    store.commit(clock, &[ban(&case), counter]).unwrap();
    drop(store);
    // The same boot: the wall clock was set forth a day while we were down, and the ban is not over.
    let (store, _) = bench.open(86_400);
    let passed = store.running().now().steady - start;
    assert!(passed >= Seconds::ZERO && passed < Seconds::new(60), "{passed:?}");
    assert_eq!(store.load().unwrap().bans[0].1.time, start);
    drop(store);
    // Another boot, a day and an hour later by the wall: the ban is a day old by what was known then, as the
    // last reading of the wall said a day.
    bench.run("UPDATE portcullis_clock SET boot_id = 'another'");
    let (store, _) = bench.open(90_000);
    let age = store.running().now().steady - store.load().unwrap().bans[0].1.time;
    assert!(age >= Seconds::new(3600) && age < Seconds::new(3660), "{age:?}");
    let saved = store.load().unwrap();
    let (_, _, counter) = &saved.counts[0];
    let (first, last) = (counter.last - counter.first, saved.bans[0].1.time - counter.last);
    assert_eq!(first, Seconds::new(4));
    assert_eq!(last, start - count(1).last);
}

#[test]
fn a_jail_that_stops_keeps_what_its_next_start_takes_up() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let other = |ticket: Ticket| Entry::Ban {
        jail: jail("other"),
        ticket,
    };
    let counter = Entry::Count {
        jail: jail("sshd"),
        id: id("192.0.2.9"),
        count: Some(count(2)),
    };
    let mine = ticket("192.0.2.1", 0, 600);
    let entries = [ban(&mine), other(ticket("192.0.2.1", 0, 60)), read(7), counter];
    store.commit(at(0), &entries).unwrap();
    let all = store.saved_of("sshd").unwrap();
    assert_eq!(
        (all.bans.len(), all.history.len(), all.counts.len(), all.marks.len()),
        (1, 1, 1, 1)
    );
    let stop = Entry::Jail {
        jail: jail("sshd"),
        enabled: false,
    };
    store.commit(at(10), &[stop]).unwrap();
    let saved = store.saved_of("sshd").unwrap();
    assert_eq!(saved.bans, [(jail("sshd"), restored(mine))]);
    assert_eq!((saved.history, saved.marks), (all.history, all.marks));
    assert!(saved.counts.is_empty());
    assert_eq!(store.saved_of("other").unwrap().bans.len(), 1);
    assert_eq!(store.saved_of("sshd' OR '1").unwrap(), Saved::default());
    // What runs out while the jail is off is dropped with Fail2Ban's rows, and the jail with it.
    let late = 600 * 3 + 86_400 + 1;
    assert_eq!(store.purge(at(late)).unwrap(), 4);
    assert_eq!(bench.ask("SELECT group_concat(name) FROM jails"), "other");
    assert_eq!(bench.ask("SELECT count(*) FROM portcullis_bans"), "0");
}

#[test]
fn a_database_joined_in_the_middle_of_a_run_stands_on_its_clocks() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    // A steady clock that is far from the wall.
    let clock = Clock {
        steady: wall_at(-5000),
        wall: wall_at(0),
    };
    let mut old = ticket("192.0.2.1", 0, 600);
    old.time = wall_at(-5100);
    store.commit(clock, &[ban(&old)]).unwrap();
    store.close().unwrap();
    let running = Running::from(wall_at(3_000_000), clock::since_boot());
    let now = running.now().steady;
    let (store, _) = Store::join(Place::File(bench.path()), Settings::default(), &running).unwrap();
    let saved = store.load().unwrap();
    let ago = (now - saved.bans[0].1.time).as_f64();
    assert!((99.0..160.0).contains(&ago), "{ago} seconds ago");
    let (ran, own) = (store.running().now().steady, running.now().steady);
    assert!((own - ran).as_f64().abs() < 1.0);
}
