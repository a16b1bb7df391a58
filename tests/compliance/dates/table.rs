//! Lines of two tables: that of the module's own tests, whose expectations are not looked at here, and one of more forms.

use serde_json::json;

use super::{Case, Pair, Way};

/// Zones with gaps and folds at different times of the year, of half an hour, of a whole day, and without any.
const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/St_Johns",
    "Asia/Kathmandu",
    "UTC",
];

fn plain(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n").replace("\\e", "\\")
}

/// The cases of a table.
fn cases(table: &str, way: Way) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let (mut kept, mut now, mut case) = (false, 0, None);
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix("@\t") {
            let fields: Vec<&str> = head.split('\t').collect();
            let set = |field: &str| (field != "-").then(|| plain(field));
            cases.extend(case.take().filter(|case: &Case| !case.lines.is_empty()));
            kept = fields[0] == "kept";
            now = fields[3].parse::<i64>().unwrap() * 1_000_000;
            case = Some(Case {
                way,
                datepattern: set(fields[1]),
                logtimezone: set(fields[2]),
                lines: Vec::new(),
            });
            continue;
        }
        let text = line.split_once('\t').map_or(line, |(text, _)| text);
        let open = case.as_mut().unwrap();
        open.lines.push((now, plain(text)));
        if kept {
            // The ranking depends on how much time went by.
            now += 47_000_000;
        } else {
            let next = Case {
                lines: Vec::new(),
                ..open.clone()
            };
            cases.extend(case.replace(next));
        }
    }
    cases.extend(case.filter(|case| !case.lines.is_empty()));
    cases
}

const KNOWN: &str = include_str!("../../../crates/core/src/stamp/dates.txt");
const MORE: &str = include_str!("cases.txt");

#[test]
fn dates_of_the_table_in_seven_zones() {
    let mut pair = Pair::start(
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "dates of the table",
        "rankings of the table",
    );
    let known = cases(KNOWN, Way::Detector);
    known.iter().for_each(|case| pair.compare(case));
    let more = cases(MORE, Way::Detector);
    for zone in ZONES {
        pair.turn_to(zone);
        more.iter().for_each(|case| pair.compare(case));
    }
    assert!(pair.twice > 10, "{} times that come twice", pair.twice);
    assert!(pair.refused > 20, "{} patterns that do not compile", pair.refused);
    pair.dates.close(4000);
    pair.rankings.close(4000);
}

/// D-072: the C library knows no summer time before 1970 where a rule stands for the zone, and reads a time of a whole
/// day that was left out by what it read before.
#[test]
fn what_the_c_library_reads_its_own_way() {
    let posix = "CET-1CEST,M3.5.0,M10.5.0/3";
    for (zone, line, ours, theirs) in [
        (posix, "1945-06-01 02:30:00", -775_870_200, vec![-775_866_600]),
        (
            "Pacific/Apia",
            "2011-12-30 12:00:00",
            1_325_282_400,
            vec![1_325_196_000, 1_325_282_400],
        ),
        (
            "Pacific/Apia",
            "2011-12-29 12:00:00",
            1_325_196_000,
            vec![1_325_196_000],
        ),
    ] {
        let mut pair = Pair::start(zone, "", "");
        let case = Case {
            way: Way::Detector,
            datepattern: Some("%Y-%m-%d %H:%M:%S".to_owned()),
            logtimezone: None,
            lines: vec![(1_718_445_600_000_000, line.to_owned())],
        };
        let times = |row: &serde_json::Value| {
            let times = row[3].as_array().unwrap().iter();
            let mut times: Vec<i64> = times.map(|time| time[0].as_i64().unwrap() / 1_000_000).collect();
            times.sort_unstable();
            times
        };
        assert_eq!(
            times(&super::ours::answer(&case, &pair.zone).unwrap().rows[0]),
            [ours],
            "{line}"
        );
        assert_eq!(times(&pair.oracle.ask(&case.question())["rows"][0]), theirs, "{line}");
    }
}

#[test]
fn dates_through_the_filter() {
    let mut pair = Pair::start(
        "Europe/Berlin",
        "dates through the filter",
        "rankings through the filter",
    );
    for way in [Way::Filter, Way::CatchUp, Way::Operating] {
        cases(MORE, way).iter().for_each(|case| pair.compare(case));
    }
    pair.dates.close(1500);
    pair.rankings.close(1500);
}

/// The time from line to line, in microseconds.
const STEPS: [i64; 5] = [0, 1_500_000, 31_000_000, 61_000_000, 400_000_000];

/// What a log's lines are to each other: the last date stands in for a minute, templates rise.
#[test]
fn sequences_through_the_filter() {
    let mut pair = Pair::start("Europe/Berlin", "dates of sequences", "rankings of sequences");
    for way in [Way::Filter, Way::CatchUp, Way::Operating] {
        for case in cases(MORE, way) {
            // All steps would take minutes; each case meets one of them.
            for step in STEPS.iter().skip(case.lines[0].1.len() % STEPS.len()).take(1) {
                let mut case = case.clone();
                let start = case.lines[0].0;
                let line = case.lines[0].1.clone();
                case.lines = [
                    line.as_str(),
                    "undated",
                    line.as_str(),
                    &format!("x {line}"),
                    "undated",
                    &line,
                ]
                .into_iter()
                .zip(0..)
                .map(|(line, number)| (start + number * step, line.to_owned()))
                .collect();
                pair.compare(&case);
            }
        }
    }
    pair.dates.close(8000);
    pair.rankings.close(2500);
}

#[test]
fn all_zone_abbreviations() {
    let mut pair = Pair::start("Europe/Berlin", "zone abbreviations", "rankings of zone abbreviations");
    let names = pair.oracle.ask(&json!({"abbreviations": true}));
    let names: Vec<String> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 222);
    let mut wrong = vec!["XYZ", "QQ", "CESTX", "BST", "IST", "cet", "Cet", "ABCDEF"];
    wrong.extend(names.iter().map(String::as_str));
    for name in wrong {
        for (datepattern, text) in [
            ("%Y-%m-%d %H:%M %Exz", format!("2024-06-15 12:00 {name}")),
            ("%Y-%m-%d %H:%M %Exz", format!("2024-06-15 12:00 {name}-0130")),
            ("%Y-%m-%d %H:%M %ExZ", format!("2024-06-15 12:00 {name} x")),
            ("%Z %Y-%m-%d %H:%M", format!("{name} 2024-06-15 12:00")),
            ("%b %d %H:%M %ExZ", format!("Jun 15 12:00 {name}")),
        ] {
            pair.compare(&Case {
                way: Way::Detector,
                datepattern: Some(datepattern.to_owned()),
                logtimezone: None,
                lines: vec![(1_718_445_600_000_000, text)],
            });
        }
        for suffix in ["", "+01", "-0130", "+14:45"] {
            pair.compare(&Case {
                way: Way::Detector,
                datepattern: None,
                logtimezone: Some(format!("{name}{suffix}")),
                lines: vec![(1_718_445_600_000_000, "2024-06-15 12:00:00".to_owned())],
            });
        }
    }
    pair.dates.close(2000);
    pair.rankings.close(2000);
}
