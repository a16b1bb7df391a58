//! Each quirk of the ruling table in `docs/deviations.md` that can be seen without a server: what Fail2Ban makes of it,
//! so that a release that mends it is noticed, and what we make of it.

use std::fs;

use jiff::tz::TimeZone;
use portcullis_core::config::plan::JailPlan;
use portcullis_core::config::{Face, MemoryTree, Request, dump, read};
use portcullis_core::filter::{Candidates, Filter, Settings, Tell};
use portcullis_core::stamp::{Detector, Reading};
use portcullis_core::time::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::commands::last_answers;
use crate::oracle::Oracle;

/// The driver's fixed clock.
const NOW: Timestamp = Timestamp::from_seconds(1_718_445_600);

fn ask(question: &Value) -> Value {
    Oracle::start("rulings").ask(question)
}

/// A folder with one jail `j` and its filter, read by both: the commands that begin with `set j NAME`.
fn both_read(jail: &str, filter: &str, name: &str) -> (Value, Value) {
    let files = [
        ("fail2ban.conf", "[Definition]\n".to_owned()),
        (
            "jail.conf",
            format!("[j]\nenabled = true\nfilter = f\nlogpath = /dev/null\n{jail}\n"),
        ),
        ("filter.d/f.conf", format!("[Definition]\n{filter}\n")),
    ];
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("filter.d")).unwrap();
    for (path, text) in &files {
        fs::write(folder.path().join(path), text).unwrap();
    }
    let head = format!("['set', 'j', '{name}', ");
    let of =
        |lines: &mut dyn Iterator<Item = &str>| -> Value { lines.filter(|line| line.starts_with(&head)).collect() };
    let theirs = ask(&json!({"ask": "dump", "folder": folder.path()}));
    let tree = MemoryTree(
        files
            .iter()
            .map(|(path, text)| (format!("/f/{path}"), text.clone().into_bytes()))
            .collect(),
    );
    let mut request = Request::new("/f", Face::Fail2Ban, "1.1.1");
    request.allow_no_files = true;
    let ours = dump(&read(&tree, &request).stream);
    (
        of(&mut ours.lines()),
        of(&mut theirs.as_array().unwrap().iter().filter_map(Value::as_str)),
    )
}

/// Whom a filter finds in lines that bear a stamp.
fn failures(failregex: &str, line: &str) -> (Value, Value) {
    let line = format!("2024-06-15 10:00:00 {line}");
    let theirs = ask(&json!({"ask": "failures", "failregex": [failregex], "lines": [line]}));
    let mut plan = JailPlan::new("j", "auto");
    plan.failregex = vec![failregex.to_owned()];
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: false,
        tell: Tell::Prefixes,
    };
    let found = Filter::new(&plan, settings)
        .unwrap()
        .read(Clock::at(NOW), true, &line, Candidates::ALL);
    let ours = found
        .failures
        .iter()
        .map(|failure| failure.identity.to_string())
        .collect();
    (ours, theirs)
}

/// What is cut out of a line as its date, and its time in seconds.
fn date(pattern: &str, line: &str) -> (Value, Value) {
    let theirs = ask(&json!({"ask": "date", "pattern": pattern, "line": line}));
    let mut detector = Detector::new(Some(pattern), None, TimeZone::UTC).unwrap();
    let ours = detector.find(line, NOW).map_or(Value::Null, |found| {
        let cut = &line[found.start..found.end];
        match detector.read(line, &found, NOW) {
            Reading::At(time) => json!({"cut": cut, "time": time.micros() as f64 / 1e6}),
            other => json!({"cut": cut, "instead": format!("{other:?}")}),
        }
    });
    (ours, theirs)
}

fn copied(quirk: &Value, (ours, theirs): (Value, Value)) {
    assert_eq!(
        &theirs, quirk,
        "Fail2Ban does something else now: the ruling must be thought over"
    );
    assert_eq!(ours, theirs);
}

#[test]
fn q01_logtype_stays_file_with_auto() {
    copied(
        &json!(["['set', 'j', 'addfailregex', '^ f <HOST>$']"]),
        both_read(
            "backend = auto",
            "failregex = ^ <l_<logtype>> <HOST>$\nl_file = f\nl_journal = j",
            "addfailregex",
        ),
    );
}

#[test]
fn q02_a_number_that_is_none_becomes_none() {
    copied(
        &json!(["['set', 'j', 'maxretry', None]"]),
        both_read("maxretry = three", "failregex = ^ <HOST>$", "maxretry"),
    );
}

#[test]
fn q03_what_looks_like_an_address_is_taken_as_it_stands() {
    copied(&json!(["999.1.1.1"]), failures("^ from <HOST>$", "from 999.1.1.1"));
    copied(&json!(["192.030.0.6"]), failures("^ from <HOST>$", "from 192.030.0.6"));
}

#[test]
fn q04_nofail_needs_a_session() {
    let hello = "a hello 192.0.2.1";
    copied(
        &json!(["192.0.2.1"]),
        failures("^ a <F-NOFAIL>hello</F-NOFAIL> <HOST>$", hello),
    );
    copied(
        &json!([]),
        failures("^ <F-MLFID>a</F-MLFID> <F-NOFAIL>hello</F-NOFAIL> <HOST>$", hello),
    );
}

#[test]
fn q05_an_epoch_within_date_is_a_word() {
    let pattern = r"^[^\[]*\[({DATE})";
    copied(&Value::Null, date(pattern, "host [1709618889] x"));
    copied(
        &json!({"cut": "Epoch", "time": 1_718_409_600.0}),
        date(pattern, "host [Epoch] x"),
    );
}

#[test]
fn q06_a_plain_group_makes_the_first_token_the_date() {
    copied(
        &json!({"cut": "2024", "time": 1_709_596_800.0}),
        date("%Y (at|on) %m-%d", "2024 on 03-05 x"),
    );
}

#[test]
fn q07_an_unknown_zone_drops_the_line() {
    let (ours, theirs) = date("%Z %b %d %H:%M:%S", "XYZ Mar  5 07:08:09 x");
    assert_eq!(theirs["error"], "KeyError");
    assert!(ours["instead"].as_str().unwrap().starts_with("Refused"), "{ours}");
}

#[test]
fn q08_a_name_is_not_ignored_by_its_text() {
    let theirs = ask(&json!({"ask": "ignored", "entries": ["alice.invalid"], "identity": "alice.invalid"}));
    assert_eq!(theirs, json!(false));
}

#[test]
fn q09_entries_after_a_list_in_a_file() {
    let entries = ["file:/dev/null", "192.0.2.1"];
    let theirs = ask(&json!({"ask": "ignored", "entries": entries, "identity": "192.0.2.1"}));
    assert_eq!(theirs["error"], "TypeError");
}

#[test]
fn q10_the_eleventh_value() {
    let values: Vec<_> = ('a'..='k').map(String::from).collect();
    let theirs = ask(&json!({"ask": "command", "values": values}));
    assert!(theirs[0].as_str().unwrap().contains("k=$10 "), "{theirs}");
}

#[test]
fn q11_a_talkative_command() {
    let theirs = ask(&json!({"ask": "run", "script": "head -c 100000 /dev/zero", "timeout": 1}));
    assert_eq!(theirs, json!(false));
}

/// What Fail2Ban keeps over a reload that no longer says it, and what we make of it.
fn mended(lines: &[&str], theirs: &Value, ours: &Value) {
    let answers = last_answers(lines);
    assert_eq!(&answers.1, theirs, "Fail2Ban does something else now");
    assert_eq!(&answers.0, ours);
}

const PLAIN: &str = r#"reload --all #[] #[["add","j","polling"],["set","j","addaction","a"],["start","j"]]"#;

#[test]
fn q12_properties_of_an_action_that_are_no_longer_configured() {
    let text = "'CommandAction' object has no attribute 'port'";
    mended(
        &[
            "add j polling",
            "start j",
            "set j addaction a",
            "set j action a port ssh",
            PLAIN,
            "get j action a port",
        ],
        &json!({"value": "ssh"}),
        &json!({"error": "AttributeError", "arguments": [text], "text": text}),
    );
}

#[test]
fn q16_statistic_is_a_dict() {
    let dict = json!({"value": {"dict": [["j", ["polling", {"tuple": [0, 0]}, {"tuple": [1, 1]}]]]}});
    copied(
        &dict,
        last_answers(&["add j polling", "set j banip 192.0.2.1", "statistic"]),
    );
}

#[test]
fn q17_the_stats_of_one_jail_are_a_list() {
    let list = json!({"value": ["polling", {"tuple": [0, 0]}, {"tuple": [1, 1]}]});
    copied(
        &list,
        last_answers(&["add j polling", "set j banip 192.0.2.1", "status j stats"]),
    );
}

#[test]
fn q18_options_that_are_no_longer_configured() {
    mended(
        &["add j polling", "start j", "set j maxretry 9", PLAIN, "get j maxretry"],
        &json!({"value": 9}),
        &json!({"value": 3}),
    );
}

#[test]
fn q19_a_stream_that_fails_half_way() {
    let bad = concat!(
        r#"reload --all #[] #[["add","a","polling"],["start","a"],["add","b","polling"],"#,
        r#"["set","b","addfailregex","("],["start","b"],["add","c","polling"],["start","c"]]"#
    );
    let begin = [
        "add a polling",
        "start a",
        "add b polling",
        "start b",
        "add c polling",
        "start c",
    ];
    let lines: Vec<&str> = begin
        .into_iter()
        .chain(["set b maxretry 8", "set c banip 192.0.2.1", bad, "banned"])
        .collect();
    mended(
        &lines,
        &json!({"value": [{"dict": [["a", []]]}]}),
        &json!({"value": [{"dict": [["a", []]]}, {"dict": [["b", []]]}, {"dict": [["c", ["192.0.2.1"]]]}]}),
    );
    let kept: Vec<&str> = lines.iter().copied().chain(["get b maxretry"]).collect();
    assert_eq!(last_answers(&kept).0, json!({"value": 8}));
}
