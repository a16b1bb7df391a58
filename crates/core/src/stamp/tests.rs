use std::fmt::Write as _;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

mod twin;

const NOON: Timestamp = Timestamp::from_seconds(1_718_445_600);

fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn detector(datepattern: Option<&str>) -> Detector {
    let mut detector = Detector::new(datepattern, None, zone()).unwrap();
    detector.accept_years_to(2027).unwrap();
    detector
}

fn plain(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n").replace("\\e", "\\")
}

/// The row of the table that this line comes to.
fn row(detector: &mut Detector, line: &str, now: Timestamp) -> String {
    let Some(found) = detector.find(line, now) else {
        return "none".to_owned();
    };
    let reading = match detector.read(line, &found, now) {
        Reading::At(at) => at.micros().to_string(),
        Reading::Unreadable => "unreadable".to_owned(),
        Reading::NoText => "notext".to_owned(),
        Reading::Refused(_) => "refused".to_owned(),
    };
    let view = detector.templates().find(|view| view.id == found.template).unwrap();
    format!("{}..{}\t{reading}\t{}", found.start, found.end, view.name)
}

/// What a head line of the table asks for.
struct Section {
    kept: bool,
    datepattern: Option<String>,
    logtimezone: Option<String>,
    now: Timestamp,
}

impl Section {
    fn new(head: &str) -> Section {
        let fields: Vec<&str> = head.split('\t').collect();
        let set = |field: &str| (field != "-").then(|| plain(field));
        Section {
            kept: fields[1] == "kept",
            datepattern: set(fields[2]),
            logtimezone: set(fields[3]),
            now: Timestamp::from_seconds(fields[4].parse().unwrap()),
        }
    }

    fn detector(&self) -> Detector {
        let zone = zone();
        let mut detector = Detector::new(self.datepattern.as_deref(), self.logtimezone.as_deref(), zone).unwrap();
        detector.accept_years_to(2027).unwrap();
        detector
    }
}

#[test]
fn the_table_of_dates() {
    let table = include_str!("dates.txt");
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let mut section = Section::new(lines.next().unwrap());
    let mut detector = section.detector();
    let (mut rows, mut wrong) = (0, String::new());
    for line in lines {
        if line.starts_with("@\t") {
            section = Section::new(line);
            detector = section.detector();
            continue;
        }
        if !section.kept {
            detector = section.detector();
        }
        let (text, expect) = line.split_once('\t').unwrap();
        let got = row(&mut detector, &plain(text), section.now);
        // Where Fail2Ban fails on the place itself, there is no cut to compare.
        let same = got == plain(expect) || (expect.ends_with('*') && got.contains("\trefused\t"));
        if !same {
            writeln!(wrong, "{:?} {text}\n   {got}\n   {expect}", section.datepattern).unwrap();
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(rows > 600, "{rows}");
}

fn check_error(datepattern: Option<&str>, logtimezone: Option<&str>, expect: &str) {
    let error = Detector::new(datepattern, logtimezone, zone()).unwrap_err();
    assert!(error.to_string().contains(expect), "{error}");
}

#[test]
fn what_is_refused() {
    check_error(Some("%q"), None, "'%q' is no token");
    check_error(Some("50% x"), None, "'% x' is no token");
    check_error(Some("%Y %Y"), None, "'Y' is there twice");
    check_error(Some("(%Y"), None, "unable to compile");
    check_error(
        Some("%H:%M\n%H:%M"),
        None,
        "There is already a template with name 24hour:Minute",
    );
    check_error(None, Some("XYZ"), "Unknown or unsupported time zone: 'XYZ'");
    check_error(None, Some("Europe/Berlin"), "Unknown or unsupported time zone");
}

#[test]
fn the_default_list() {
    let detector = detector(None);
    let views: Vec<_> = detector.templates().collect();
    assert_eq!(views.len(), 31);
    assert_eq!(views.iter().filter(|view| view.base_weight == 100.0).count(), 14);
    assert_eq!(views[7].name, "{^LN-BEG}Epoch");
    assert!(views[21].regex.contains("(?P<selinux>"));
    let iso = views[14].regex;
    assert!(iso.starts_with(r"(?=^|\b|\W)((?P<Y>20[012]\d)(?P<_sep>[-/.])"), "{iso}");
    assert!(iso.ends_with(r"(?=\b|\W|$)"), "{iso}");
    assert_eq!(
        Detector::new(Some("{^LN-BEG}"), None, zone())
            .unwrap()
            .templates()
            .count(),
        17
    );
    assert_eq!(
        Detector::new(Some("^{DATE}"), None, zone())
            .unwrap()
            .templates()
            .count(),
        17
    );
}

#[test]
fn names_of_patterns() {
    let name = |datepattern: Option<&str>| match detector(datepattern).pattern_name() {
        PatternName::Default => "default".to_owned(),
        PatternName::Template { pattern, name } => format!("{} / {name}", pattern.unwrap_or("-")),
    };
    assert_eq!(name(None), "default");
    assert_eq!(name(Some("{^LN-BEG}")), "default");
    assert_eq!(name(Some("{^LN-BEG}epoch")), "- / {^LN-BEG}Epoch");
    assert_eq!(name(Some("{^LN-BEG}%b %d")), "{^LN-BEG}%b %d / {^LN-BEG}MON Day");
    assert_eq!(name(Some("{NONE}")), "{UNB}^ / ^");
}

#[test]
fn the_year_follows_the_clock() {
    let line = "2031-03-05 07:08:09";
    let mut early = Detector::new(None, None, zone()).unwrap();
    assert_eq!(early.find(line, NOON), None);
    let mut late = Detector::new(None, None, zone()).unwrap();
    assert!(late.find(line, Timestamp::from_seconds(1_900_000_000)).is_some());
}

#[test]
fn winners_rise_and_idle_templates_sink() {
    let mut detector = detector(None);
    let mut at = NOON;
    let mut feed = |line: &str| {
        let found = detector.find(line, at).unwrap();
        at = at + crate::time::Seconds::new(200);
        let place = detector.templates().position(|view| view.id == found.template).unwrap();
        (found.template, place)
    };
    // The line-bound copies come first, the unbound patterns from 14 on; a winner goes to the first unused place.
    assert_eq!(feed("2024-03-05 07:08:09 a"), (0, 0));
    assert_eq!(feed("some words 2024-03-05 07:08:09"), (14, 1));
    assert_eq!(feed("some words 05/Mar/2024:07:08:09"), (18, 2));
    // Weighing less than an anchored one, a template passes it only when that was idle for five minutes.
    assert_eq!(feed("some words 2024-03-05 07:08:09"), (14, 0));
}

#[test]
fn a_line_that_would_cost_too_much_is_told() {
    let mut detector = detector(Some(r"(?:a?a?a?a?a?a?a?a?a?a?)?[ab]+[ab]+[ab]+[ab]+c%Y"));
    assert_eq!(detector.find(&"ab".repeat(2000), NOON), None);
    assert_eq!(detector.exhausted(), 1);
}

fn date_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[0-9]{1,4}[-/.: T]",
        "(Mon|jan|Feb 29|Zulu|CEST|audit\\(|@4|AM)[ ]?",
        "20[0-2][0-9]-(0[1-9]|1[0-2])-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9]",
        "(Jan|Mar) {1,2}[0-3]?[0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]",
        "\\PC{0,4}",
        "[é²日٣ſ\u{301}\u{a0}\n \\[\\]<>]{1,3}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_lines(lines in prop::collection::vec(date_like(), 1..12), bound in any::<bool>()) {
        let mut detector = detector(bound.then_some("{^LN-BEG}"));
        for line in &lines {
            if let Some(found) = detector.find(line, NOON) {
                prop_assert!(line.get(found.start..found.end).is_some(), "{found:?} in {line:?}");
                let _ = detector.read(line, &found, NOON);
            }
        }
    }

    #[test]
    fn any_pattern(pattern in "(\\{(UNB|DATE|EPOCH|LEPOCH|NONE|\\^LN-BEG)\\}|%[a-zA-Z%]|%Ex[YymdHklMSZz]|[\\^$*+?(){}\\[\\]|\\\\.]|[ :/a-z0-9é\n-]){0,12}", lines in prop::collection::vec(date_like(), 0..4)) {
        let Ok(mut detector) = Detector::new(Some(&pattern), None, zone()) else { return Ok(()) };
        for line in &lines {
            if let Some(found) = detector.find(line, NOON) {
                prop_assert!(line.get(found.start..found.end).is_some(), "{found:?} in {line:?}");
                let _ = detector.read(line, &found, NOON);
            }
        }
    }

    /// A detector that has one template only must find what a fresh one finds: the last place is a short cut.
    #[test]
    fn the_short_cut_changes_nothing(lines in prop::collection::vec(date_like(), 1..8)) {
        let pattern = "^%Y-%m-%d %H:%M:%S";
        let mut kept = detector(Some(pattern));
        for line in &lines {
            prop_assert_eq!(row(&mut kept, line, NOON), row(&mut detector(Some(pattern)), line, NOON));
        }
    }
}
