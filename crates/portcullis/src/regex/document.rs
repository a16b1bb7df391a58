//! The results as one JSON document (docs/guide/json.md). The shape is stable: fields are added, never changed or
//! removed.

use portcullis_core::pattern::Pattern;
use portcullis_core::time::Timestamp;
use serde::Serialize;

use super::report::Report;
use super::tally::{Hits, Kept};

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    lines: Counts,
    /// How long it took
    seconds: f64,
    prefregex: Option<Prefix>,
    failregex: Vec<Fail>,
    ignoreregex: Vec<Ignore>,
    /// Every known form of a date
    datepatterns: Vec<Template>,
    /// Null where they are not asked for or are too many
    matched_lines: Option<Vec<String>>,
    ignored_lines: Option<Vec<String>>,
    missed_lines: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Counts {
    tested: i64,
    matched: i64,
    ignored: i64,
    missed: i64,
}

#[derive(Debug, Serialize)]
struct Prefix {
    pattern: String,
    hits: u64,
}

#[derive(Debug, Serialize)]
struct Fail {
    /// From 1
    number: usize,
    pattern: String,
    hits: u64,
    /// Who; null unless asked for with `-v`
    found: Option<Vec<Found>>,
}

#[derive(Debug, Serialize)]
struct Found {
    /// Null where the match names nobody
    id: Option<String>,
    /// RFC 3339; null where the line has no date
    time: Option<String>,
}

#[derive(Debug, Serialize)]
struct Ignore {
    number: usize,
    pattern: String,
    hits: u64,
}

#[derive(Debug, Serialize)]
struct Template {
    name: String,
    hits: u64,
}

impl Document {
    /// The same figures that the text shows.
    pub(super) fn new(report: &Report<'_>) -> Document {
        let (tally, filter, options) = (report.tally, report.filter, report.options);
        let verbose = options.verbosity() > 0;
        let templates = filter.detector().templates();
        Document {
            lines: Counts {
                tested: tally.tested(),
                matched: tally.matched.count,
                ignored: tally.ignored.count,
                missed: tally.missed.count,
            },
            seconds: report.took.as_secs_f64(),
            prefregex: filter.prefregex().map(|prefix| Prefix {
                pattern: prefix.expanded().to_owned(),
                hits: tally.prefix,
            }),
            failregex: numbered(filter.failregex())
                .map(|(number, regex)| fail(number, regex, tally.fail.get(&number), verbose))
                .collect(),
            ignoreregex: numbered(filter.ignoreregex())
                .map(|(number, regex)| Ignore {
                    number: number + 1,
                    pattern: regex.source().to_owned(),
                    hits: tally.ignore.get(&number).copied().unwrap_or_default(),
                })
                .collect(),
            datepatterns: templates
                .map(|template| Template {
                    name: template.name.to_string(),
                    hits: template.hits,
                })
                .collect(),
            matched_lines: options.print_all_matched.then(|| tally.matched.lines.clone()),
            ignored_lines: listed(
                &tally.ignored,
                (options.print_no_ignored, options.print_all_ignored),
                tally.most,
            ),
            missed_lines: listed(
                &tally.missed,
                (options.print_no_missed, options.print_all_missed),
                tally.most,
            ),
        }
    }
}

fn numbered(regexes: &[Pattern]) -> impl Iterator<Item = (usize, &Pattern)> {
    regexes.iter().enumerate()
}

fn fail(number: usize, regex: &Pattern, hits: Option<&Hits>, verbose: bool) -> Fail {
    let found = hits.map(|hits| hits.found.as_slice()).unwrap_or_default();
    let found = found.iter().map(|(id, time, _)| Found {
        id: id.clone(),
        time: time.map(rfc3339),
    });
    Fail {
        number: number + 1,
        pattern: regex.source().to_owned(),
        hits: hits.map_or(0, |hits| hits.count),
        found: verbose.then(|| found.collect()),
    }
}

/// The lines of a kind, where they would be printed.
fn listed(kept: &Kept, (none, all): (bool, bool), most: i64) -> Option<Vec<String>> {
    (!none && (all || kept.count < most)).then(|| kept.lines.clone())
}

fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.micros())
        .unwrap_or_default()
        .to_string()
}
