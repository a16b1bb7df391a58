//! Which date Fail2Ban finds in a line, and what it reads it as: template, place, time, and the ranking of the
//! templates afterwards (contract §3.4, §3.7–3.9).

mod chance;
mod ours;
mod table;

use jiff::tz::TimeZone;
use portcullis_core::stamp;
use serde_json::{Value, json};

use crate::count::Count;
use crate::oracle::{self, Oracle};

/// The way of a line to the time of its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The date detector alone.
    Detector,
    /// The whole filter, as `fail2ban-regex` sets it up: no line is too old.
    Filter,
    /// The whole filter while it catches up: old lines are left out.
    CatchUp,
    /// The whole filter in operation: odd dates become now.
    Operating,
}

/// The lines that one detector reads, each with the wall clock in microseconds.
#[derive(Clone, Debug)]
struct Case {
    way: Way,
    datepattern: Option<String>,
    logtimezone: Option<String>,
    lines: Vec<(i64, String)>,
}

impl Case {
    #[expect(clippy::cast_precision_loss, reason = "53 bits hold these microseconds")]
    fn question(&self) -> Value {
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|(now, line)| json!([*now as f64 / 1e6, line]))
            .collect();
        let mut question = json!({"datepattern": self.datepattern, "logtimezone": self.logtimezone, "lines": lines});
        match self.way {
            Way::Detector => {}
            Way::Filter => question["age"] = Value::Null,
            Way::CatchUp => question["age"] = json!("catching up"),
            Way::Operating => question["age"] = json!("operating"),
        }
        question
    }
}

/// Fail2Ban in one zone, and what was compared there.
struct Pair {
    zone: TimeZone,
    oracle: Oracle,
    dates: Count,
    rankings: Count,
    /// Times that come twice, and differ as D-007 says.
    twice: u64,
    /// Times too far away for us, which differ as D-071 says.
    far: u64,
    /// Date patterns that do not compile, and are refused as D-028 says.
    refused: u64,
}

impl Pair {
    /// `zone` is a POSIX rule or a name of the zone database, for both alike.
    fn start(zone: &str, dates: &'static str, rankings: &'static str) -> Pair {
        Pair {
            zone: TimeZone::posix(zone).or_else(|_| TimeZone::get(zone)).unwrap(),
            oracle: Oracle::of(oracle::python().env("TZ", zone), "dates"),
            dates: Count::of(dates),
            rankings: Count::of(rankings),
            twice: 0,
            far: 0,
            refused: 0,
        }
    }

    /// Turns to another zone; the counts go on.
    fn turn_to(&mut self, zone: &str) {
        self.zone = TimeZone::posix(zone).or_else(|_| TimeZone::get(zone)).unwrap();
        self.oracle = Oracle::of(oracle::python().env("TZ", zone), "dates");
    }

    fn compare(&mut self, case: &Case) {
        let mut theirs = with_one_word(&self.oracle.ask(&case.question()));
        let told = |what: &str| format!("{what} of {case:?}");
        let ours = match ours::answer(case, &self.zone) {
            Ok(ours) => ours,
            Err(error) => {
                self.compare_refusals(case, &error, &theirs);
                return;
            }
        };
        if theirs["error"] != Value::Null || theirs["broken"] != Value::Null {
            let nothing = Value::Null;
            self.dates.compare(&nothing, &theirs, || told("refusal"));
            return;
        }
        let rows = theirs["rows"].as_array_mut().unwrap();
        for ((row, mine), (_, line)) in rows.iter_mut().zip(&ours.rows).zip(&case.lines) {
            self.twice += u64::from(first_of_two(row));
            self.far += u64::from(at_the_end_of_time(row));
            if row == "raises" && mine[3] == "raises" {
                // It failed before it came to the place.
                self.dates.equal(1);
                continue;
            }
            self.dates.compare(mine, row, || format!("{line:?} of {case:?}"));
        }
        self.rankings
            .compare(&ours.ranking, &theirs["ranking"], || told("ranking"));
        self.rankings.compare(&ours.name, &theirs["name"], || told("name"));
    }

    /// Fail2Ban compiles a date pattern at its first use and then fails on every line; we refuse it at once (D-028).
    fn compare_refusals(&mut self, case: &Case, error: &stamp::Error, theirs: &Value) {
        let same = match error {
            stamp::Error::Regex { regex, .. } => {
                self.refused += 1;
                theirs["broken"].as_str() == Some(regex)
            }
            stamp::Error::Token { .. } => theirs["error"] == "TypeError",
            stamp::Error::Duplicate(_) => theirs["text"] == json!(error.to_string()),
            // An abbreviation that nobody knows is named by us, and is all that Fail2Ban says (D-070).
            stamp::Error::Zone(zone) if theirs["error"] == "KeyError" => {
                let name = zone.split(['+', '-']).next().unwrap();
                theirs["text"] == json!(format!("'{name}'"))
            }
            stamp::Error::Zone(_) => theirs["text"] == json!(error.to_string()),
        };
        self.dates
            .compare(&true, &same, || format!("{error} for {theirs} of {case:?}"));
    }
}

/// Where Fail2Ban reads two times, by what the C library read before, ours is the first of them (D-007): the row is cut
/// down to it. True if there were two.
fn first_of_two(row: &mut Value) -> bool {
    let Some(times) = row.get_mut(3).and_then(Value::as_array_mut) else {
        return false;
    };
    times.sort_by_key(|time| time[0].as_i64());
    let two = times.len() == 2;
    times.truncate(1);
    two
}

/// Where Fail2Ban reads a time that no count of microseconds holds, ours is the last one that does (D-071): the row is
/// changed to it. True if it was one.
fn at_the_end_of_time(row: &mut Value) -> bool {
    let far = |time: &&mut Value| time.as_f64().is_some_and(|time| time >= 2f64.powi(63));
    // The place of the time in what the detector says, and in what the filter says.
    ["/3/0/0", "/0/1/0"]
        .iter()
        .any(|place| match row.pointer_mut(place).filter(far) {
            Some(time) => {
                *time = json!(i64::MAX);
                true
            }
            None => false,
        })
}

/// Fail2Ban shows `%Exk` as `Ex%k` or as it is, by the order of a set, which changes from run to run; we as the former
/// (D-073).
fn with_one_word(answer: &Value) -> Value {
    let name = |text: &str| text.replace("%Exk", "Ex%k").replace("%Exl", "Ex%l");
    let mut answer = answer.clone();
    for place in ["/rows", "/ranking"] {
        let rows = answer.pointer_mut(place).and_then(Value::as_array_mut);
        for row in rows.into_iter().flatten() {
            if let Some(Value::String(text)) = row.get_mut(0) {
                *text = name(text);
            }
        }
    }
    if let Some(Value::String(text)) = answer.pointer_mut("/name/1") {
        *text = name(text);
    }
    answer
}
