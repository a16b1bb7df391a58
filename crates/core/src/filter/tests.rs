use super::*;
use crate::ledger::Field;
use crate::value::Value;

fn clock() -> Clock {
    Clock::at(Timestamp::from_seconds(1_124_013_600))
}

fn filter(prefregex: Option<&str>, failregex: &[&str], ignoreregex: &[&str]) -> Filter {
    let mut plan = JailPlan::new("j", "auto");
    plan.prefregex = prefregex.map(str::to_owned);
    plan.failregex = failregex.iter().map(|r| (*r).to_owned()).collect();
    plan.ignoreregex = ignoreregex.iter().map(|r| (*r).to_owned()).collect();
    plan.datepattern = Some("%Y-%m-%d %H:%M:%S".into());
    Filter::new(
        &plan,
        Settings {
            zone: TimeZone::UTC,
            check_all: false,
            check_age: true,
            tell: Tell::Prefixes,
        },
    )
    .unwrap()
}

/// Feeds lines, each with a stamp, and lists the failures as `id user [lines]`.
fn failures(filter: &mut Filter, lines: &[&str]) -> Vec<String> {
    let mut out = Vec::new();
    for line in lines {
        for failure in filter
            .read(clock(), true, &format!("2005-08-14 10:00:00 {line}"), Candidates::ALL)
            .failures
        {
            let user = match failure.data.get("users").or_else(|| failure.data.get("user")) {
                Some(Field::Text(user)) => user.to_string(),
                Some(Field::Set(users)) => users.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"),
                Some(other) => other.to_string(),
                None => "-".into(),
            };
            out.push(format!("{} {user} {}", failure.identity, failure.matches.len()));
        }
    }
    out
}

#[test]
fn first_pattern_wins_and_the_date_is_cut() {
    let mut filter = filter(None, &["^ bad <F-USER>\\w+</F-USER> from <HOST>$", "from <HOST>"], &[]);
    let reading = filter.read(
        clock(),
        true,
        "2005-08-14 10:00:00 bad bob from 192.0.2.1",
        Candidates::ALL,
    );
    assert_eq!(reading.hits.len(), 1);
    assert_eq!(reading.failures[0].identity.to_string(), "192.0.2.1");
    assert_eq!(reading.failures[0].time, clock().wall);
    assert_eq!(
        reading.failures[0].matches,
        ["2005-08-14 10:00:00 bad bob from 192.0.2.1".into()]
    );
}

#[test]
fn prefregex_cuts_and_ignoreregex_sees_the_cut_text() {
    let mut filter = filter(
        Some("^ d: <F-CONTENT>.+</F-CONTENT>$"),
        &["^fail <HOST>$"],
        &["^ d:", "198\\.51"],
    );
    assert_eq!(
        failures(
            &mut filter,
            &["d: fail 192.0.2.1", "d: fail 198.51.100.1", "fail 192.0.2.2"]
        ),
        ["192.0.2.1 - 1"]
    );
}

#[test]
fn old_lines_are_dropped_only_while_catching_up() {
    let mut filter = filter(None, &["from <HOST>"], &[]);
    let old = "2005-08-14 09:00:00 from 192.0.2.1";
    assert_eq!(
        filter.read(clock(), false, old, Candidates::ALL).outcome,
        Outcome::TooOld
    );
    let reading = filter.read(clock(), true, old, Candidates::ALL);
    assert_eq!(
        (reading.outcome, reading.failures[0].time),
        (Outcome::Failed, clock().wall)
    );
    assert!(matches!(reading.age, Age::Odd(_)));
    // The same stamp again is as odd as before: its text was never worth that second.
    let later = Clock::at(clock().wall + Seconds::new(30));
    let again = filter.read(later, true, old, Candidates::ALL);
    assert_eq!(again.failures[0].time, later.wall);
}

#[test]
fn undated_lines_take_the_last_date_within_a_minute() {
    let mut filter = filter(None, &["from <HOST>"], &[]);
    filter.read(clock(), true, "2005-08-14 09:59:30 hello", Candidates::ALL);
    let reading = filter.read(clock(), true, "undated from 192.0.2.1", Candidates::ALL);
    assert_eq!(reading.failures[0].time, clock().wall - Seconds::new(30));
    assert!(matches!(reading.warnings[..], [Warning::NoDate { .. }]));
}

/// The table of contract §13.2, on a filter in the shape of sshd's.
#[test]
fn sessions() {
    let pre = "^ <F-MLFID>\\[\\d+\\]</F-MLFID> <F-CONTENT>.+</F-CONTENT>$";
    let regexes = [
        "^<F-NOFAIL>Connection from</F-NOFAIL> <HOST>$",
        "^User <F-USER>\\w+</F-USER> not allowed$",
        "^<F-NOFAIL><F-MLFFORGET>Connection closed</F-MLFFORGET></F-NOFAIL> by <HOST>$",
        "^<F-NOFAIL>Failed publickey</F-NOFAIL> for <F-USER>\\w+</F-USER> from <HOST>$",
        "^Failed password for <F-USER>\\w+</F-USER> from <HOST>$",
        "^<F-MLFFORGET><F-MLFGAINED>Accepted</F-MLFGAINED></F-MLFFORGET> \\w+ for <F-USER>\\w+</F-USER>(?: from <HOST>)?$",
    ];
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["[1] Connection from 192.0.2.1", "[1] User root not allowed"],
            &["192.0.2.1 root 2"],
        ),
        (
            &["[2] User bob not allowed", "[2] Connection closed by 192.0.2.2"],
            &["192.0.2.2 bob 2"],
        ),
        (
            &[
                "[3] Failed password for al from 192.0.2.3",
                "[3] Accepted password for al",
            ],
            &["192.0.2.3 al 1"],
        ),
        (
            &[
                "[4] Failed publickey for al from 192.0.2.4",
                "[4] Failed publickey for eve from 192.0.2.4",
                "[4] Accepted password for eve",
            ],
            &["192.0.2.4 al+eve 2", "192.0.2.4 al+eve 1"],
        ),
    ];
    let mut filter = filter(Some(pre), &regexes, &[]);
    for (lines, expect) in cases {
        assert_eq!(failures(&mut filter, lines), *expect, "{lines:?}");
    }
    // [1] is still open; the closed and the gained ones are forgotten.
    assert_eq!(filter.sessions().len(), 1);
}

/// The process ends between the two lines of a session.
#[test]
fn sessions_outlive_a_restart() {
    let regexes = [
        "^User <F-USER>\\w+</F-USER> not allowed$",
        "^<F-NOFAIL>Connection closed</F-NOFAIL> by <HOST>$",
    ];
    let make = || {
        filter(
            Some("^ <F-MLFID>\\[\\d+\\]</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
            &regexes,
            &[],
        )
    };
    let mut first = make();
    assert!(failures(&mut first, &["[2] User bob not allowed"]).is_empty());
    let kept = first.changed_sessions().unwrap().to_value();
    assert!(first.changed_sessions().is_none());
    let mut second = make();
    second.resume(Sessions::from_value(&kept));
    assert_eq!(
        failures(&mut second, &["[2] Connection closed by 192.0.2.2"]),
        ["192.0.2.2 bob 2"]
    );
    assert!(Sessions::from_value(&Value::List(vec![Value::None, Value::List(vec![])])).is_empty());
}

#[test]
fn sessions_are_bounded() {
    let mut filter = filter(
        Some("^ <F-MLFID>\\[\\d+\\]</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
        &["^<F-NOFAIL>hello</F-NOFAIL> <HOST>$"],
        &[],
    );
    for number in 0..1000 {
        filter.read(
            clock(),
            true,
            &format!("2005-08-14 10:00:00 [{number}] hello 192.0.2.1"),
            Candidates::ALL,
        );
    }
    assert_eq!(filter.sessions().len(), 100);
}

#[test]
fn a_pattern_without_an_id_is_refused() {
    let mut plan = JailPlan::new("j", "auto");
    plan.failregex = vec!["lost connection after UNKNOWN".into()];
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: true,
        tell: Tell::Prefixes,
    };
    let error = Filter::new(&plan, settings).err().unwrap().to_string();
    assert!(error.contains("No failure-id group"), "{error}");
}

/// Two sessions in one log: the lines that a match skips are there for the next one.
#[test]
fn matches_that_span_lines_use_lines_up() {
    let mut plan = JailPlan::new("j", "auto");
    plan.failregex = vec!["^ (?P<__id>\\w) bad$<SKIPLINES>^ (?P=__id) end <HOST>$".into()];
    plan.maxlines = 5;
    plan.datepattern = Some("%Y-%m-%d %H:%M:%S".into());
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: true,
        tell: Tell::Prefixes,
    };
    let mut filter = Filter::new(&plan, settings).unwrap();
    let lines = [
        "a bad",
        "b bad",
        "a end 192.0.2.1",
        "a end 192.0.2.1",
        "b end 192.0.2.2",
    ];
    assert_eq!(failures(&mut filter, &lines), ["192.0.2.1 - 2", "192.0.2.2 - 2"]);
    let left: Vec<String> = filter.buffered().iter().map(Buffered::text).collect();
    assert_eq!(left, [" a end 192.0.2.1"]);
}

/// However many lines are asked for, and however long they are: what is kept has an end (D-050).
#[test]
fn the_memory_for_lines_is_bounded() {
    let mut plan = JailPlan::new("j", "auto");
    plan.failregex = vec!["^never <HOST>$".into()];
    plan.maxlines = 1_000_000;
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: true,
        tell: Tell::Prefixes,
    };
    let mut filter = Filter::new(&plan, settings).unwrap();
    let long = "x".repeat(6 << 20);
    let crowded = [(); 4].map(|()| {
        filter
            .read(clock(), true, &long, Candidates::ALL)
            .warnings
            .contains(&Warning::Crowded)
    });
    assert_eq!((crowded, filter.buffered().len()), ([false, false, true, true], 2));
}

/// A match that names nobody, now or later: the next pattern sees an empty line, as in Fail2Ban.
#[test]
fn a_match_that_names_nobody_puts_the_line_away() {
    let mut filter = filter(None, &["^ bad(?: from <ADDR>)?", "^ bad by <ADDR>"], &[]);
    let reading = filter.read(clock(), true, "2005-08-14 10:00:00 bad by 192.0.2.1", Candidates::ALL);
    assert!(reading.failures.is_empty());
}

/// One value of several parts, some of which took no part.
#[test]
fn parts_are_combined() {
    let mut filter = filter(
        None,
        &["^ <F-ID>\\w+</F-ID>@<F-TUPLE_ID><ADDR></F-TUPLE_ID>(?: <F-TUPLE_ID_1>x</F-TUPLE_ID_1>)?$"],
        &[],
    );
    let reading = filter.read(clock(), true, "2005-08-14 10:00:00 bob@192.0.2.1", Candidates::ALL);
    let failure = &reading.failures[0];
    assert_eq!(failure.identity.to_string(), "('bob', '192.0.2.1', None)");
    assert_eq!(failure.data["ip"], Field::Text("192.0.2.1".into()));
    let parts = ["bob", "192.0.2.1"].map(|part| Some(part.to_owned()));
    assert_eq!(
        failure.data["fid"],
        Field::Tuple(parts.into_iter().chain([None]).collect())
    );
}

/// Names that are Fail2Ban's own are refused (D-051).
#[test]
fn reserved_names() {
    let mut plan = JailPlan::new("j", "auto");
    plan.failregex = vec!["^<F-MATCHES>a</F-MATCHES> <HOST>$".into()];
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: true,
        tell: Tell::Prefixes,
    };
    let error = Filter::new(&plan, settings).err().unwrap().to_string();
    assert_eq!(error, "a group of the name matches is not supported yet");
}

/// The same text, found by another template or by one that looks beyond it, is another date.
#[test]
fn a_date_is_more_than_its_text() {
    let mut plan = JailPlan::new("j", "auto");
    plan.failregex = vec!["from <HOST>".into()];
    plan.datepattern = Some("^(%H:%M:%S) %Y-%m-%d".into());
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: false,
        tell: Tell::Prefixes,
    };
    let mut filter = Filter::new(&plan, settings).unwrap();
    let mut time = |line| filter.read(clock(), true, line, Candidates::ALL).failures[0].time;
    let first = time("09:00:00 2005-08-13 from 192.0.2.1");
    assert_eq!(time("09:00:00 2005-08-14 from 192.0.2.1"), first + Seconds::new(86_400));
}

/// What tools print of a match: all groups in the order of the regexes, and the users as they came.
#[test]
fn fields_keep_their_order() {
    let mut filter = filter(
        Some("^ <F-MLFID>\\[\\d+\\]</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
        &["^no <F-USER>\\w+</F-USER>(?P<zz>!)? <ADDR>$"],
        &[],
    );
    let reading = filter.read(
        clock(),
        true,
        "2005-08-14 10:00:00 [1] no bob 192.0.2.1",
        Candidates::ALL,
    );
    let names: Vec<&str> = reading.hits[0].fields.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["mlfid", "user", "ip4", "users"]);
    assert!(!reading.hits[0].whole);
    let prefix = reading.prefix.unwrap();
    assert_eq!(
        prefix[1],
        ("content".into(), Some(Field::Text("no bob 192.0.2.1".into())))
    );
}

/// Most lines share their date with the line before, but the same text is not always the same date.
#[test]
fn the_same_text_may_be_another_date() {
    let read = |datepattern: &str, lines: &[(i64, &str)]| -> Vec<i64> {
        let mut plan = JailPlan::new("j", "auto");
        plan.failregex = vec!["from <HOST>".to_owned()];
        plan.datepattern = Some(datepattern.to_owned());
        let settings = Settings {
            zone: TimeZone::UTC,
            check_all: false,
            check_age: false,
            tell: Tell::Prefixes,
        };
        let mut filter = Filter::new(&plan, settings).unwrap();
        let times = lines.iter().map(|(now, line)| {
            let now = Clock::at(Timestamp::from_seconds(*now));
            filter.read(now, false, line, Candidates::ALL).failures[0]
                .time
                .seconds()
        });
        times.collect()
    };
    // Only the year is cut out: the rest of the date stands outside.
    let lines = [
        (1_124_013_600, "2005-08-14 from 192.0.2.1"),
        (1_124_013_600, "2005-08-15 from 192.0.2.1"),
    ];
    assert_eq!(read("(%Y)-%m-%d", &lines), [1_123_977_600, 1_124_064_000]);
    // 2005-08-14 10:00:00, and two seconds later the time that was to come is past.
    let lines = [
        (1_124_013_600, "10:00:01 from 192.0.2.1"),
        (1_124_013_602, "10:00:01 from 192.0.2.1"),
    ];
    assert_eq!(read("%H:%M:%S", &lines), [1_123_927_201, 1_124_013_601]);
    // More than a day ahead is the year before, until it is a day ahead.
    let lines = [
        (1_124_013_600, "Aug 15 10:00:01 from 192.0.2.1"),
        (1_124_013_602, "Aug 15 10:00:01 from 192.0.2.1"),
    ];
    assert_eq!(read("%b %d %H:%M:%S", &lines), [1_092_564_001, 1_124_100_001]);
}
