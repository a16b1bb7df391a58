//! Every stock filter of Fail2Ban's reads every sample line, its own and everybody else's, in each of its modes: the
//! same lines match, for the same pattern, with the same id, address, user, time and lines.

mod annotations;
mod hostile;
mod made;
pub(crate) mod subject;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use portcullis_core::address::Id;
use portcullis_core::config::plan::UseDns;
use portcullis_core::filter::{
    Age, Candidates, Failure, Filter, Hit, Identity, Outcome, Prefilter, Reading, Settings, Tell, Warning,
};
use portcullis_core::ledger::Field;
use portcullis_core::time::{Clock, Seconds, Timestamp};
use serde_json::{Value, json};

use crate::count::Count;
use crate::oracle::{Oracle, python};
use subject::Subject;

/// The zone of the sample lines (contract §10.2).
pub(super) const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";
/// The time at which they are read: 2005-08-14, 12:00 in that zone.
pub(super) const NOW: i64 = 1_124_013_600;

/// How lines are read.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// What is done about host names
    pub(super) usedns: UseDns,
    /// All patterns are tried and no line is too old, as in Fail2Ban's own sample tests
    pub(super) tool: bool,
    /// The end of the log was reached once
    pub(super) operating: bool,
    /// Older lines are not read, until the end of the log was reached; seconds
    pub(super) findtime: i64,
    /// How far the clock moves from line to line; seconds
    pub(super) step: i64,
}

/// As the server catches up with a log of the last year.
pub(super) const CATCHING_UP: Way = Way {
    usedns: UseDns::Warn,
    tool: false,
    operating: false,
    findtime: 366 * 86_400,
    step: 0,
};

/// As the server follows a log; sessions and dates of the last minute grow old meanwhile.
const FOLLOWING: Way = Way {
    usedns: UseDns::No,
    operating: true,
    findtime: 600,
    step: 2,
    ..CATCHING_UP
};

/// As `fail2ban-regex` does.
pub(super) const TOOL: Way = Way {
    usedns: UseDns::Raw,
    tool: true,
    operating: true,
    ..CATCHING_UP
};

impl Way {
    pub(super) fn usedns(self) -> &'static str {
        match self.usedns {
            UseDns::Yes => "yes",
            UseDns::Warn => "warn",
            UseDns::No => "no",
            UseDns::Raw => "raw",
        }
    }
}

/// What a filter made of all lines: what it found, by line, and the sessions that are still open.
pub(super) struct Readings {
    pub(super) found: BTreeMap<usize, Value>,
    regexes: u64,
    sessions: Vec<String>,
}

/// The two of them.
pub(super) struct Pair {
    oracle: Oracle,
    last_year: i16,
    lines: Vec<String>,
}

impl Pair {
    /// Both, with the lines that they read.
    pub(super) fn new(lines: Vec<String>) -> Self {
        let mut pair = Self {
            oracle: Oracle::of(python().env("TZ", ZONE), "readings"),
            last_year: 0,
            lines: Vec::new(),
        };
        pair.take(lines);
        pair
    }

    /// Gives them other lines.
    fn take(&mut self, lines: Vec<String>) {
        let told = self.oracle.ask(&json!({"lines": &lines}));
        // Which years Fail2Ban takes for years depends on the day of the test.
        self.last_year = i16::try_from(told["year"].as_i64().unwrap()).unwrap() + 3;
        self.lines = lines;
    }

    fn theirs(&mut self, subject: &Subject, way: Way) -> Readings {
        let mut question = json!({
            "usedns": way.usedns(), "tool": way.tool, "operating": way.operating, "findtime": way.findtime,
            "now": NOW, "step": way.step, "journal": subject.journal(),
        });
        subject.ask_into(&mut question);
        let told = self.oracle.ask(&question);
        let list = told["readings"]
            .as_array()
            .unwrap_or_else(|| panic!("{subject}: {told}"));
        let line = |pair: &Value| {
            let number = usize::try_from(pair[0].as_u64().unwrap()).unwrap();
            (number, pair[1].clone())
        };
        Readings {
            found: list.iter().map(line).collect(),
            regexes: told["regexes"].as_u64().unwrap(),
            sessions: serde_json::from_value(told["sessions"].clone()).unwrap(),
        }
    }

    fn ours(&self, subject: &Subject, way: Way) -> Readings {
        let mut filter = filter(subject, way, self.last_year);
        let mut prefilter = Prefilter::new([&filter]);
        let mut found = BTreeMap::new();
        for (number, line) in self.lines.iter().enumerate() {
            let moved = way.step * i64::try_from(number).unwrap();
            let now = Clock::at(Timestamp::from_seconds(NOW + moved));
            // As the daemon does; the tool tries every failregex.
            prefilter.look(line.as_bytes());
            let candidates = match way.tool {
                true => Candidates::ALL,
                false => prefilter.candidates(0),
            };
            let reading = if subject.journal() {
                let shown = jiff::Timestamp::from_second(now.wall.seconds()).unwrap();
                let shown = shown.strftime("%Y-%m-%dT%H:%M:%S").to_string();
                filter.read_entry(now, way.operating, (now.wall, &shown), (line, candidates))
            } else {
                filter.read(now, way.operating, line, candidates)
            };
            if let Some(told) = told(&reading, now, way) {
                found.insert(number, told);
            }
        }
        let sessions = filter.sessions().to_value();
        let name =
            |session: &portcullis_core::value::Value| session.as_items().unwrap()[0].as_str().unwrap().to_owned();
        Readings {
            found,
            regexes: filter.failregex().len() as u64,
            sessions: sessions.as_items().unwrap().iter().map(name).collect(),
        }
    }

    /// Lets both read all lines and counts every line as a comparison; what was found is added to `failures`.
    fn compare(&mut self, subject: &Subject, way: Way, count: &mut Count, failures: &mut usize) -> Readings {
        let theirs = self.theirs(subject, way);
        let ours = self.ours(subject, way);
        for (number, line) in self.lines.iter().enumerate() {
            let (ours, theirs) = (ours.found.get(&number), theirs.found.get(&number));
            *failures += usize::from(theirs.is_some_and(|told| told["hits"] != json!([])));
            if ours.is_none() && theirs.is_none() {
                count.equal(1);
            } else {
                count.compare(&ours, &theirs, || format!("{subject}, line {number}: {line}"));
            }
        }
        count.compare(&ours.regexes, &theirs.regexes, || format!("{subject}: failregexes"));
        count.compare(&ours.sessions, &theirs.sessions, || format!("{subject}: open sessions"));
        theirs
    }
}

/// Our filter of a stock filter.
fn filter(subject: &Subject, way: Way, last_year: i16) -> Filter {
    let mut plan = subject.plan(way.usedns());
    plan.findtime = Seconds::new(way.findtime);
    let settings = Settings {
        zone: TimeZone::posix(ZONE).unwrap(),
        check_all: way.tool,
        check_age: !way.tool,
        tell: Tell::Prefixes,
    };
    let mut filter = Filter::new(&plan, settings).unwrap_or_else(|error| panic!("{subject}: {error}"));
    filter.accept_years_to(last_year).unwrap();
    filter
}

/// A reading as the driver tells it; nothing where nothing came of the line.
fn told(reading: &Reading, now: Clock, way: Way) -> Option<Value> {
    let refused = reading.outcome == Outcome::Refused;
    let told = warnings(reading);
    let counts = |identity: &Identity| way.usedns != UseDns::No || matches!(identity, Identity::Known(_));
    let hits: Vec<Value> = reading
        .hits
        .iter()
        .filter(|hit| match &hit.identity {
            Some(identity) => counts(identity),
            None => way.tool,
        })
        .map(|hit| self::hit(hit, way))
        .collect();
    let tickets = reading
        .failures
        .iter()
        .filter(|failure| counts(&failure.identity) && !way.tool);
    let tickets: Vec<Value> = tickets.map(|failure| ticket(failure, now)).collect();
    let nothing = !refused && told.is_empty() && hits.is_empty() && tickets.is_empty();
    (!nothing).then(|| json!({"refused": refused, "told": told, "hits": hits, "tickets": tickets}))
}

/// The warnings by the name of what Fail2Ban remembers them under.
fn warnings(reading: &Reading) -> Vec<&'static str> {
    let word = |warning: &Warning| match warning {
        Warning::NoDate { .. } => Some("_next_noTimeWarn"),
        Warning::BadDate { .. } => Some("unreadable date"),
        Warning::Refused { .. } | Warning::Crowded => None,
    };
    let age = match reading.age {
        Age::Usual => None,
        Age::Odd(_) => Some("_next_simByTimeWarn"),
        Age::Old(_) => Some("_next_ignByTimeWarn"),
    };
    let (bad, other): (Vec<_>, Vec<_>) = age
        .into_iter()
        .chain(reading.warnings.iter().filter_map(word))
        .partition(|word| *word == "unreadable date");
    other.into_iter().chain(bad).collect()
}

fn hit(hit: &Hit, way: Way) -> Value {
    let fields = hit
        .fields
        .iter()
        .map(|(name, field)| json!([&**name, field.as_ref().map(self::field)]));
    json!([
        hit.regex,
        hit.identity.as_ref().map(identity),
        hit.time.map(Timestamp::micros),
        hit.whole,
        if way.tool { fields.collect() } else { Vec::new() },
        if way.tool { texts(&hit.matches) } else { Vec::new() },
    ])
}

fn ticket(failure: &Failure, now: Clock) -> Value {
    let data: serde_json::Map<String, Value> = failure
        .data
        .iter()
        .map(|(name, field)| (name.to_string(), self::field(field)))
        .collect();
    let time = failure.time.min(now.wall);
    json!([
        identity(&failure.identity),
        time.micros(),
        texts(&failure.matches),
        data
    ])
}

fn texts(matches: &[Arc<str>]) -> Vec<&str> {
    matches.iter().map(|line| &**line).collect()
}

fn identity(identity: &Identity) -> Value {
    let kind = match identity {
        Identity::Known(Id::Ip(_)) => "address".to_owned(),
        Identity::Known(Id::Net(net)) => format!("network /{}", net.prefix_len()),
        Identity::Known(Id::Raw(_)) => "text".to_owned(),
        Identity::Name(_) => "name".to_owned(),
    };
    json!([kind, identity.to_string()])
}

fn field(field: &Field) -> Value {
    match field {
        Field::Text(text) => json!(&**text),
        Field::Tuple(parts) => json!({"tuple": parts}),
        Field::Set(items) => {
            let mut items = items.clone();
            items.sort_by_key(Field::to_string);
            json!({"set": items.iter().map(self::field).collect::<Vec<_>>()})
        }
    }
}

/// One half of the filters, so that two tests share the work.
fn read_all(way: Way, lines: Vec<String>, half: usize, row: &'static str) {
    let mut count = Count::of(row);
    let mut pair = Pair::new(lines);
    let (mut subjects, mut failures) = (0, 0);
    for subject in Subject::all().into_iter().skip(half).step_by(2) {
        pair.compare(&subject, way, &mut count, &mut failures);
        subjects += 1;
    }
    println!(
        "{row}: {subjects} filters in their modes, {} lines, {failures} readings",
        pair.lines.len()
    );
    let most = subjects * u64::try_from(pair.lines.len()).unwrap();
    assert!(subjects > 60 && failures > 500, "{subjects} {failures}");
    count.close(most);
}

/// The lines that services wrote; in a long run the annotations beside them, too, which are lines as any other.
fn lines() -> Vec<String> {
    match std::env::var_os("COMPLIANCE_MINUTES") {
        Some(_) => subject::lines(),
        None => subject::log_lines(),
    }
}

#[test]
fn catching_up_first_half() {
    read_all(CATCHING_UP, lines(), 0, "readings, catching up, first half");
}

#[test]
fn catching_up_second_half() {
    read_all(CATCHING_UP, lines(), 1, "readings, catching up, second half");
}

#[test]
fn following_first_half() {
    read_all(FOLLOWING, subject::log_lines(), 0, "readings, following, first half");
}

#[test]
fn following_second_half() {
    read_all(FOLLOWING, subject::log_lines(), 1, "readings, following, second half");
}

#[test]
fn all_patterns_first_half() {
    read_all(TOOL, subject::log_lines(), 0, "readings, all patterns, first half");
}

#[test]
fn all_patterns_second_half() {
    read_all(TOOL, subject::log_lines(), 1, "readings, all patterns, second half");
}
