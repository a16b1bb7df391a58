//! The same answers from portcullis.

use jiff::tz::TimeZone;
use portcullis_core::config::plan::{JailPlan, UseDns};
use portcullis_core::filter::{self, Candidates, Filter, Outcome, Settings, Tell};
use portcullis_core::stamp::{self, Detector, PatternName, Reading};
use portcullis_core::time::{Clock, Timestamp};
use serde_json::{Value, json};

use super::{Case, Way};

/// What a case comes to.
pub(super) struct Answer {
    /// One for each line
    pub(super) rows: Vec<Value>,
    /// Name, hits, weight and regex of each template
    pub(super) ranking: Value,
    /// What `get <jail> datepattern` shows at the start
    pub(super) name: Value,
}

/// Reads the lines of a case.
pub(super) fn answer(case: &Case, zone: &TimeZone) -> Result<Answer, stamp::Error> {
    let mut detector = Detector::new(case.datepattern.as_deref(), case.logtimezone.as_deref(), zone.clone())?;
    let name = match detector.pattern_name() {
        PatternName::Default => json!([null, "Default Detectors"]),
        PatternName::Template { pattern, name } => json!([pattern, name]),
    };
    let (rows, ranking) = if case.way == Way::Detector {
        let rows = case.lines.iter();
        let rows = rows.map(|(now, line)| row(&mut detector, line, Timestamp::from_micros(*now)));
        (rows.collect(), ranking(&detector))
    } else {
        let mut filter = filter(case, zone)?;
        let operating = case.way == Way::Operating;
        let rows = case.lines.iter();
        let rows = rows.map(|(now, line)| failures(&mut filter, line, Timestamp::from_micros(*now), operating));
        (rows.collect(), ranking(filter.detector()))
    };
    Ok(Answer { rows, ranking, name })
}

fn ranking(detector: &Detector) -> Value {
    let templates = detector.templates();
    templates
        .map(|one| json!([one.name, one.hits, format!("{:.6}", one.weight), one.regex]))
        .collect()
}

fn row(detector: &mut Detector, line: &str, now: Timestamp) -> Value {
    let Some(found) = detector.find(line, now) else {
        return Value::Null;
    };
    let read = detector.read_whole(line, &found, now);
    let view = detector.templates().find(|view| view.id == found.template).unwrap();
    let place = |byte: usize| line[..byte].chars().count();
    let reading = match read.reading {
        Reading::At(at) => json!([[at.micros(), read.whole]]),
        Reading::Unreadable => json!("unreadable"),
        Reading::NoText => json!("empty"),
        Reading::Refused(_) => json!("raises"),
    };
    json!([view.name, place(found.start), place(found.end), reading])
}

/// The whole filter, with a pattern that takes every line.
fn filter(case: &Case, zone: &TimeZone) -> Result<Filter, stamp::Error> {
    let mut plan = JailPlan::new("dates", "auto");
    plan.usedns = UseDns::Raw;
    plan.datepattern.clone_from(&case.datepattern);
    plan.logtimezone.clone_from(&case.logtimezone);
    plan.failregex = vec!["^<F-ID>.*</F-ID>$".to_owned()];
    let settings = Settings {
        zone: zone.clone(),
        check_all: false,
        check_age: case.way != Way::Filter,
        tell: Tell::Prefixes,
    };
    Filter::new(&plan, settings).map_err(|error| match error {
        filter::Error::Stamp(error) => error,
        other => panic!("{other}"),
    })
}

fn failures(filter: &mut Filter, line: &str, now: Timestamp, operating: bool) -> Value {
    let reading = filter.read(Clock::at(now), operating, line, Candidates::ALL);
    if reading.outcome == Outcome::Refused {
        return json!("raises");
    }
    let hits = reading.hits.iter().map(|hit| {
        let id = hit.identity.as_ref().map(ToString::to_string);
        let lines: Vec<&str> = hit.matches.iter().map(|line| &**line).collect();
        json!([id, hit.time.map(|at| json!([at.micros(), hit.whole])), lines])
    });
    hits.collect()
}
