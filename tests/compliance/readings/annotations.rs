//! The second opinion: what the sample files themselves say of their lines (contract §10.2).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use portcullis_core::filter::{Candidates, Filter, Hit, Identity};
use portcullis_core::ledger::Field;
use portcullis_core::time::{Clock, Timestamp};
use serde_json::{Map, Value, json};

use super::subject::{self, Options, Subject};
use super::{NOW, TOOL, ZONE};
use crate::count::Count;
use crate::oracle::{Oracle, sample_logs};

/// A line of a sample file that is meant for the test.
pub(super) enum Mark {
    /// `fileOptions`: options of all that follows
    Common(Options),
    /// `filterOptions`: the sets of options under which the next lines are read
    Options(Vec<Options>),
    /// `addFILE`: another file to read afterwards
    File(String),
    /// `failJSON`: what is to be found in the next line
    Expect(Map<String, Value>),
}

impl Mark {
    /// Reads a mark, if the line is one.
    pub(super) fn of(line: &str) -> Option<Self> {
        let rest = line.strip_prefix('#')?.trim_start_matches('#');
        let (word, json) = rest.strip_prefix(' ').unwrap_or(rest).split_once(':')?;
        if !["fileOptions", "filterOptions", "addFILE", "failJSON"].contains(&word) {
            return None;
        }
        let json: Value = serde_json::from_str(json).unwrap();
        let options = |json| serde_json::from_value(json).unwrap();
        Some(match (word, json) {
            ("fileOptions", json) => Self::Common(options(json)),
            ("filterOptions", Value::Array(list)) => Self::Options(list.into_iter().map(options).collect()),
            ("filterOptions", json) => Self::Options(vec![options(json)]),
            ("addFILE", json) => Self::File(json.as_str().unwrap().to_owned()),
            (_, json) => Self::Expect(json.as_object().unwrap().clone()),
        })
    }
}

/// A filter that is being read through its sample files.
struct Course<'o> {
    name: String,
    oracle: &'o mut Oracle,
    count: &'o mut Count,
    last_year: i16,
    /// One for each set of options, with what it learned on the way
    filters: BTreeMap<Options, Filter>,
    /// The failregexes that found something, and all that there are
    used: BTreeSet<String>,
    all: BTreeSet<String>,
}

impl Course<'_> {
    /// Whether a condition of the sample file holds; it is written in Python.
    fn holds(&mut self, condition: &str, options: &Options) -> bool {
        let names = json!({"name": self.name, "opts": options});
        let told = self.oracle.ask(&json!({"condition": condition, "names": names}));
        told["holds"].as_bool().unwrap_or_else(|| panic!("{condition}: {told}"))
    }

    fn file(&mut self, file: &str) -> Vec<String> {
        let mut more = Vec::new();
        let mut common = Options::new();
        let mut sets = vec![Options::new()];
        let mut expect = Map::new();
        for (number, line) in subject::read(&sample_logs().join(file)).iter().enumerate() {
            match Mark::of(line) {
                Some(Mark::Common(options)) => common = options,
                Some(Mark::File(name)) => more.push(name),
                Some(Mark::Expect(told)) => expect = told,
                Some(Mark::Options(list)) => {
                    let merged = |options: Options| common.clone().into_iter().chain(options).collect::<Options>();
                    sets = list.into_iter().map(merged).collect();
                }
                None if expect.is_empty() && (line.trim().is_empty() || line.starts_with('#')) => {}
                None => {
                    let expect = std::mem::take(&mut expect);
                    for options in &sets {
                        let place = format!("{} {options:?}, {file}:{}", self.name, number + 1);
                        self.line(line, options, &expect, &place);
                    }
                }
            }
        }
        more
    }

    fn line(&mut self, line: &str, options: &Options, expect: &Map<String, Value>, place: &str) {
        let conditions = [
            options.get("test.condition").map(String::as_str),
            expect.get("constraint").and_then(Value::as_str),
        ];
        if !conditions
            .into_iter()
            .flatten()
            .all(|condition| self.holds(condition, options))
        {
            return;
        }
        let subject = Subject {
            filter: self.name.clone(),
            options: subject::plain(options),
            commands: Vec::new(),
        };
        let last_year = self.last_year;
        let filter = self
            .filters
            .entry(subject.options.clone())
            .or_insert_with(|| super::filter(&subject, TOOL, last_year));
        self.all
            .extend(filter.failregex().iter().map(|regex| regex.expanded().to_owned()));
        let clock = Clock::at(Timestamp::from_seconds(NOW));
        let reading = if subject.journal() {
            let prefix = options.get("test.prefix-line").map_or("", String::as_str);
            filter.read_entry(
                clock,
                true,
                (clock.wall, "2005-08-14T10:00:00"),
                (&format!("{prefix}{line}"), Candidates::ALL),
            )
        } else {
            filter.read(clock, true, line, Candidates::ALL)
        };
        let regexes: Vec<String> = filter
            .failregex()
            .iter()
            .map(|regex| regex.expanded().to_owned())
            .collect();
        self.used
            .extend(reading.hits.iter().map(|hit| regexes[hit.regex].clone()));
        let failures: Vec<&Hit> = reading
            .hits
            .iter()
            .filter(|hit| hit.identity.is_some() && !hit.nofail)
            .collect();
        let matches = expect.get("match").and_then(Value::as_bool).unwrap_or(false);
        self.count
            .compare(&failures.len(), &usize::from(matches), || format!("{place}: {line}"));
        for hit in failures {
            for (name, told) in expect {
                if let Some(ours) = said(hit, name, told) {
                    self.count.compare(&ours, told, || format!("{place}: {name} of {line}"));
                }
            }
        }
    }
}

/// What we say under a word of an annotation; `None` where it asks nothing. Addresses are compared as such, since an
/// annotation may spell them otherwise.
fn said(hit: &Hit, name: &str, told: &Value) -> Option<Value> {
    let field = |name: &str| hit.fields.iter().find(|(own, _)| **own == *name)?.1.as_ref();
    let text = |field: &Field| match field {
        Field::Set(items) => {
            let mut items: Vec<String> = items.iter().map(Field::to_string).collect();
            items.sort();
            json!(items)
        }
        other => json!(other.to_string()),
    };
    match name {
        "match" | "desc" | "constraint" => None,
        "time" => told.as_str().map(|told| {
            let at = DateTime::strptime("%Y-%m-%dT%H:%M:%S%.f", told)
                .unwrap()
                .to_zoned(TimeZone::posix(ZONE).unwrap())
                .unwrap();
            let same = hit.time.map(Timestamp::micros) == Some(at.timestamp().as_microsecond());
            if same {
                json!(told)
            } else {
                json!(hit.time.map(Timestamp::as_f64))
            }
        }),
        "attempts" => Some(field(name).map_or_else(|| json!(hit.matches.len()), text)),
        "host" => {
            let id = hit.identity.as_ref().map(Identity::to_string);
            let address = |text: &str| {
                text.parse::<std::net::IpAddr>()
                    .map(portcullis_core::address::canonical)
                    .ok()
            };
            let same = told
                .as_str()
                .and_then(address)
                .is_some_and(|told| id.as_deref().and_then(address) == Some(told));
            Some(if same {
                told.clone()
            } else {
                field(name).map_or_else(|| json!(id), text)
            })
        }
        _ => Some(match told {
            Value::Array(list) => {
                let mut list = list.clone();
                list.sort_by_key(Value::to_string);
                let ours = field(name).map(text);
                if ours == Some(Value::Array(list)) {
                    told.clone()
                } else {
                    json!(ours)
                }
            }
            _ => json!(field(name).map(text)),
        }),
    }
}

/// Every annotation holds for what we read, under all the options that its file names, and every failregex is used by
/// some line, as Fail2Ban's own test has it.
#[test]
fn annotations_of_the_samples_hold() {
    let mut count = Count::of("readings, annotations of the samples");
    let mut oracle = Oracle::start("readings");
    let year = oracle.ask(&json!({"lines": []}))["year"].as_i64().unwrap();
    for name in subject::names() {
        let mut course = Course {
            name: name.clone(),
            oracle: &mut oracle,
            count: &mut count,
            last_year: i16::try_from(year).unwrap() + 3,
            filters: BTreeMap::new(),
            used: BTreeSet::new(),
            all: BTreeSet::new(),
        };
        let mut files = VecDeque::from([name.clone()]);
        while let Some(file) = files.pop_front() {
            files.extend(course.file(&file));
        }
        let unused: Vec<_> = course.all.difference(&course.used).collect();
        course
            .count
            .compare(&unused, &Vec::new(), || format!("{name}: failregexes without a line"));
    }
    count.close(4_000);
}
