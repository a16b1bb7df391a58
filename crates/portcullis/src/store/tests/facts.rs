//! What stands in the file, seen through SQL.

use portcullis_core::ledger::Pending;

use super::*;

/// A failure that waits for its name to be looked up.
fn pending() -> Pending {
    Pending {
        id: Id::Raw("evil.example".into()),
        is_name: true,
        clock: at(-3),
        matches: vec!["a line".into()],
        data: Data::from_iter([("user", Field::Text("root".into()))]),
    }
}

#[test]
fn what_is_kept_comes_back() {
    let bench = Bench::new();
    let (mut store, opened) = bench.open(0);
    assert!(opened.created && opened.diagnostics.is_empty() && opened.upgraded.is_none());
    let forever = ticket("2001:db8::/64", -3, -1);
    let raw = ticket("some/path as id", -2, 60);
    let counter = Entry::Count {
        jail: jail("sshd"),
        id: id("192.0.2.9"),
        count: Some(count(4)),
    };
    let sessions = Entry::Sessions {
        jail: jail("sshd"),
        text: "opaque\n\0text".into(),
    };
    let pending = pending();
    let wait = |number, pending| Entry::Wait {
        jail: jail("sshd"),
        number,
        pending,
    };
    let waits = [(8, Some(&pending)), (7, Some(&pending)), (7, None)];
    let waits = waits.map(|(number, pending)| wait(number, pending.cloned()));
    let entries = [&[ban(&forever), ban(&raw), counter, read(77), sessions], &waits[..]].concat();
    store.commit(at(0), &entries).unwrap();
    let expect = Saved {
        bans: vec![
            (jail("sshd"), restored(forever.clone())),
            (jail("sshd"), restored(raw.clone())),
        ],
        adopted: vec![],
        counts: vec![(jail("sshd"), id("192.0.2.9"), count(4))],
        marks: vec![(jail("sshd"), jail("/var/log/auth.log"), mark(77))],
        sessions: vec![(jail("sshd"), "opaque\n\0text".into())],
        history: [(&forever, -3, -1), (&raw, -2, 60)]
            .map(|(ticket, time, length)| {
                let past = Past {
                    count: 1,
                    time: wall_at(time),
                    bantime: Seconds::new(length),
                };
                (jail("sshd"), ticket.id.clone(), past)
            })
            .into(),
        waiting: vec![(jail("sshd"), 8, pending)],
    };
    assert_eq!(store.load().unwrap(), expect);
    store.close().unwrap();
    let (store, opened) = bench.open(1);
    assert!(!opened.created);
    assert_eq!(opened.adopted, Adopted::default());
    assert_eq!(
        without_history(&store),
        Saved {
            history: vec![],
            ..expect
        }
    );
}

#[test]
fn memory_keeps_too() {
    let (mut store, opened) = Store::open(Place::Memory, Settings::default(), wall_at(0)).unwrap();
    assert!(opened.created);
    store
        .commit(at(0), &[ban(&ticket("192.0.2.1", 0, 60)), read(7)])
        .unwrap();
    let saved = store.load().unwrap();
    assert_eq!((saved.bans.len(), saved.marks.len()), (1, 1));
    store.close().unwrap();
}

#[test]
fn the_rows_of_a_ban() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let mut first = ticket("192.0.2.1", 0, 600);
    first.time = Timestamp::from_micros((NOW * 1_000_000) + 500_001);
    first.matches = (0..12).map(|n| format!("line {n}").into()).collect();
    let mut second = ticket("192.0.2.1", 100, -1);
    second.bancount = 2;
    store.commit(at(0), &[ban(&first), ban(&second)]).unwrap();
    for (sql, expect) in [
        ("SELECT version FROM fail2banDb", "4"),
        ("SELECT name || enabled FROM jails", "sshd1"),
        ("SELECT count(*) FROM bans", "2"),
        ("SELECT count(*) FROM bips", "1"),
        ("SELECT min(timeofban) - 1767225600 FROM bans", "1"),
        ("SELECT bantime FROM bans ORDER BY timeofban LIMIT 1", "600"),
        ("SELECT timeofban - 1767225600 FROM bips WHERE ip = '192.0.2.1'", "100"),
        ("SELECT bantime FROM bips", "-1"),
        ("SELECT bancount FROM bips", "2"),
        ("SELECT group_concat(DISTINCT typeof(data)) FROM bans", "blob"),
        (
            "SELECT typeof(timeofban) || typeof(bantime) FROM bips",
            "integerinteger",
        ),
        ("SELECT json_extract(CAST(data AS TEXT), '$.failures') FROM bips", "3"),
        ("SELECT json_extract(CAST(data AS TEXT), '$.users[1]') FROM bips", "b"),
        (
            "SELECT json_array_length(CAST(data AS TEXT), '$.matches') FROM bans ORDER BY timeofban LIMIT 1",
            "10",
        ),
        (
            "SELECT json_extract(CAST(data AS TEXT), '$.matches[0]') FROM bans ORDER BY timeofban LIMIT 1",
            "line 2",
        ),
        ("SELECT instr(CAST(data AS TEXT), 'line two é') > 0 FROM bips", "1"),
    ] {
        assert_eq!(bench.ask(sql), expect, "{sql}");
    }
    let lift = Entry::Lift {
        jail: jail("sshd"),
        id: id("192.0.2.1"),
    };
    store.commit(at(0), &[lift]).unwrap();
    assert_eq!(
        bench.ask(
            "SELECT (SELECT count(*) FROM bans) + (SELECT count(*) FROM bips) + (SELECT count(*) FROM portcullis_bans)"
        ),
        "0"
    );
}

#[test]
fn expiry_and_restored_bans_leave_fail2bans_rows() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let case = ticket("192.0.2.1", 0, 600);
    store
        .commit(at(0), &[ban(&case), ban(&restored(case.clone()))])
        .unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM bans"), "1");
    assert_eq!(store.load().unwrap().bans, [(jail("sshd"), restored(case))]);
    let expire = Entry::Expire {
        jail: jail("sshd"),
        id: id("192.0.2.1"),
    };
    store.commit(at(700), &[expire]).unwrap();
    assert_eq!(without_history(&store), Saved::default());
    assert_eq!(
        bench.ask("SELECT (SELECT count(*) FROM bans) + (SELECT count(*) FROM bips)"),
        "2"
    );
    assert_eq!(bench.ask("SELECT count(*) FROM portcullis_bans"), "0");
}

#[test]
fn jails_and_logs() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let jail_is = |enabled| Entry::Jail {
        jail: jail("sshd"),
        enabled,
    };
    let enabled = "SELECT enabled FROM jails";
    store.commit(at(0), &[jail_is(true)]).unwrap();
    assert_eq!(bench.ask(enabled), "1");
    store.commit(at(0), &[read(10), read(20)]).unwrap();
    assert_eq!(
        bench.ask("SELECT firstlinemd5 || lastfilepos || count(*) FROM logs"),
        "0123201"
    );
    store.commit(at(0), &[jail_is(false)]).unwrap();
    assert_eq!(bench.ask(enabled), "0");
    store.commit(at(0), &[jail_is(true)]).unwrap();
    assert_eq!(bench.ask(enabled), "1");
    store.close().unwrap();
    // Opening turns all jails off.
    let (mut store, _) = bench.open(0);
    assert_eq!(bench.ask(enabled), "0");
    // A jail that is off and has no bans goes with its log positions, and with ours.
    assert_eq!(store.purge(at(0)).unwrap(), 0);
    assert_eq!(
        bench.ask("SELECT (SELECT count(*) FROM jails) + (SELECT count(*) FROM logs) + (SELECT count(*) FROM portcullis_marks)"),
        "0"
    );
    let mut empty = mark(0);
    empty.head.clear();
    let journal = Mark {
        read_at: Timestamp::from_micros(1_500_000),
        ..mark(0)
    };
    for (path, mark) in [("/var/log/empty", empty), ("systemd-journal", journal)] {
        let (jail, path) = (jail("sshd"), path.into());
        store.commit(at(0), &[Entry::Read { jail, path, mark }]).unwrap();
    }
    assert_eq!(
        bench.ask("SELECT firstlinemd5 FROM logs WHERE path = '/var/log/empty'"),
        "NULL"
    );
    assert_eq!(
        bench.ask("SELECT lastfilepos FROM logs WHERE path = 'systemd-journal'"),
        "1.5"
    );
}

#[test]
fn the_schema_is_fail2bans() {
    let bench = Bench::new();
    bench.open(0).0.close().unwrap();
    let columns = |table: &str| {
        bench.ask(&format!(
            "SELECT group_concat(name || ' ' || type || ' ' || \"notnull\" || ' ' || COALESCE(dflt_value, '') || ' ' || pk, ', ')
             FROM pragma_table_info('{table}')"
        ))
    };
    let bans = "timeofban INTEGER 1  0, bantime INTEGER 1  0, bancount INTEGER 1 1 0, data JSON 0  0";
    assert_eq!(columns("fail2banDb"), "version INTEGER 0  0");
    assert_eq!(columns("jails"), "name TEXT 1  0, enabled INTEGER 1 1 0");
    assert_eq!(
        columns("logs"),
        "jail TEXT 1  0, path TEXT 0  0, firstlinemd5 TEXT 0  0, lastfilepos INTEGER 0 0 0"
    );
    assert_eq!(columns("bans"), format!("jail TEXT 1  0, ip TEXT 0  0, {bans}"));
    assert_eq!(columns("bips"), format!("ip TEXT 1  1, jail TEXT 1  2, {bans}"));
    let indexes =
        "SELECT group_concat(name || '(' || (SELECT group_concat(name) FROM pragma_index_info(m.name)) || ')', ' ')
        FROM (SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name) m";
    assert_eq!(
        bench.ask(indexes),
        "bans_ip(ip) bans_jail_ip(jail,ip) bans_jail_timeofban_ip(jail,timeofban) bips_ip(ip) bips_timeofban(timeofban) \
         jails_name(name) logs_jail_path(jail,path) logs_path(path)"
    );
    let unique = "SELECT group_concat((SELECT group_concat(name) FROM pragma_index_info(i.name)), ' ')
        FROM (SELECT name FROM pragma_index_list('logs') WHERE \"unique\" ORDER BY name) i";
    assert_eq!(bench.ask(unique), "jail,path jail,path,firstlinemd5");
    for (table, rule) in [("logs", "CASCADE"), ("bans", "NO ACTION"), ("bips", "NO ACTION")] {
        let key =
            format!("SELECT \"table\" || \"from\" || \"to\" || on_delete FROM pragma_foreign_key_list('{table}')");
        assert_eq!(bench.ask(&key), format!("jailsjailname{rule}"));
    }
    // Nothing that SQLite did not know in 2013.
    assert_eq!(
        bench.ask("SELECT count(*) FROM sqlite_master WHERE sql LIKE '%STRICT%'"),
        "0"
    );
}

#[test]
fn a_clean_end_leaves_one_plain_file() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    store.commit(at(0), &[read(1)]).unwrap();
    let files = || std::fs::read_dir(bench.dir.path()).unwrap().count();
    assert_eq!(files(), 3);
    drop(store);
    assert_eq!(files(), 1);
    let header = std::fs::read(bench.path()).unwrap();
    assert_eq!(header[18..20], [1, 1], "rollback mode");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(bench.path()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn purge_follows_the_contract() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let day = 86_400;
    let entries = [
        ban(&ticket("192.0.2.1", -2 * day, 600)),
        ban(&ticket("192.0.2.2", -2 * day, -1)),
        // Its length three times over reaches into the last day.
        ban(&ticket("192.0.2.3", -2 * day, day / 2)),
        ban(&ticket("192.0.2.4", -day + 10, 600)),
        // Long over on the wall clock, and in force on the steady one.
        ban(&ticket("192.0.2.5", -2 * day, 599)),
    ];
    store.commit(at(0), &entries).unwrap();
    let over = ["192.0.2.1", "192.0.2.3", "192.0.2.4"].map(|ip| Entry::Expire {
        jail: jail("sshd"),
        id: id(ip),
    });
    store.commit(at(0), &over).unwrap();
    // The wall clock was set two days ahead.
    let clock = Clock {
        steady: wall_at(-2 * day + 100),
        wall: wall_at(0),
    };
    assert_eq!(store.purge(clock).unwrap(), 4 + 1);
    assert_eq!(bench.ask("SELECT group_concat(ip) FROM bans"), "192.0.2.4");
    assert_eq!(
        bench.ask("SELECT group_concat(substr(ip, 9)) FROM (SELECT ip FROM bips ORDER BY ip)"),
        "2,3,4,5"
    );
    assert_eq!(store.load().unwrap().bans.len(), 2);
}

#[test]
fn bans_merged() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let with = |jail: &str, seconds: i64, range: std::ops::Range<u32>, user: &str| {
        let mut ticket = ticket("192.0.2.1", seconds, 600);
        ticket.matches = range.map(|n| n.to_string().into()).collect();
        ticket.data = Data::from_iter([("user", Field::Text(user.into()))]);
        Entry::Ban {
            jail: jail.into(),
            ticket,
        }
    };
    let entries = [
        with("a", 0, 0..4, "old"),
        with("b", 10, 4..9, "mid"),
        with("a", 20, 9..13, "new"),
    ];
    store.commit(at(0), &entries).unwrap();
    bench.run("INSERT INTO jails VALUES('c', 0); INSERT INTO bans VALUES('c', '192.0.2.1', 5, 5, 1, '{}')");
    let all = store.matches_of("192.0.2.1", None).unwrap().unwrap();
    assert_eq!(all.matches, (3..13).map(|n| n.to_string().into()).collect::<Vec<_>>());
    assert_eq!((all.failures, all.time), (10, Timestamp::from_seconds(5)));
    assert_eq!(all.data["user"], Field::Text("old".into()));
    let one = store.matches_of("192.0.2.1", Some("b")).unwrap().unwrap();
    assert_eq!((one.matches.len(), one.failures, one.time), (5, 3, wall_at(10)));
    assert_eq!(store.matches_of("192.0.2.2", None).unwrap(), None);
}

#[test]
fn a_failed_step_keeps_nothing() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    store.commit(at(0), &[read(1)]).unwrap();
    bench.run("CREATE TRIGGER no BEFORE INSERT ON bans WHEN NEW.ip = '192.0.2.2' BEGIN SELECT RAISE(ABORT, 'no'); END");
    let entries = [
        ban(&ticket("192.0.2.1", 0, 60)),
        read(2),
        ban(&ticket("192.0.2.2", 0, 60)),
    ];
    let error = store.commit(at(0), &entries).unwrap_err();
    assert!(error.to_string().contains("fail2ban.sqlite3: no"), "{error}");
    let saved = store.load().unwrap();
    assert_eq!((saved.bans.len(), saved.marks[0].2.offset), (0, 1));
    bench.run("DROP TRIGGER no");
    store.commit(at(0), &entries).unwrap();
    assert_eq!(store.load().unwrap().bans.len(), 2);
}

/// A ban is marked without another end, and the mark outlives the run.
#[test]
fn marks_of_a_ban_are_kept() {
    let bench = Bench::new();
    let (mut store, _) = bench.open(0);
    let mut case = ticket("192.0.2.1", -3, 600);
    store.commit(at(0), &[ban(&case)]).unwrap();
    case.data.insert(Ticket::PARDONED, Field::Text("".into()));
    case.failures = 0;
    let marked = Entry::Prolong {
        jail: jail("sshd"),
        ticket: case.clone(),
    };
    store.commit(at(1), &[marked]).unwrap();
    assert_eq!(store.load().unwrap().bans, [(jail("sshd"), restored(case))]);
}
