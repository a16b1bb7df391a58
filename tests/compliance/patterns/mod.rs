//! Python's regex dialect: the regexes of Fail2Ban's filters on its sample lines, every character, every construct, and
//! regexes made up at random, each against CPython's `re` as Fail2Ban uses it.

mod characters;
mod dialect;
mod fuzz;
mod worst;

use std::collections::BTreeMap;

use portcullis_core::pattern::{Error, Flags, Lane, Pattern, Search};
use serde_json::{Value, json};

use crate::count::Count;
use crate::oracle::{self, Oracle};

/// What a search found: start, end, named groups; or how it ended without an answer.
fn search(pattern: &Pattern, text: &str) -> Value {
    let found = match pattern.search(text, Lane::Fast) {
        Search::OverBudget => pattern.search(text, Lane::Slow),
        found => found,
    };
    match found {
        Search::No => Value::Null,
        Search::OverBudget => json!("over budget"),
        Search::Found(found) => {
            let groups: Vec<_> = found.groups().map(|(_, text)| text).collect();
            json!([found.start(), found.end(), groups])
        }
    }
}

fn pattern(source: &str, multiline: bool) -> Result<Pattern, Error> {
    let host_is_addr = false;
    Pattern::new(
        source,
        Flags {
            multiline,
            host_is_addr,
        },
    )
}

/// The `n`-th part of a list, as text.
fn text(of: &Value, n: usize) -> &str {
    of[n].as_str().unwrap()
}

#[test]
fn stock_regexes_on_sample_lines() {
    let mut oracle = Oracle::start("patterns");
    let stock = oracle.ask(&json!({"stock": oracle::configuration(), "logs": oracle::sample_logs()}));
    let texts: Vec<_> = stock["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect();
    let mut expansions = Count::of("stock regexes expanded");
    let mut searches = Count::of("stock regexes on sample lines");
    let mut distinct = BTreeMap::new();
    for regex in stock["regexes"].as_array().unwrap() {
        let multiline = regex[3].as_bool().unwrap();
        let pattern = pattern(text(regex, 1), multiline).unwrap_or_else(|error| panic!("{regex}: {error}"));
        expansions.compare(&pattern.expanded(), &text(regex, 2), || text(regex, 0).to_owned());
        distinct.insert((pattern.expanded().to_owned(), multiline), (text(regex, 0), pattern));
    }
    for dates in [false, true] {
        let own = || {
            distinct
                .values()
                .filter(move |(place, _)| place.starts_with("date ") == dates)
        };
        let linear = own().filter(|(_, pattern)| pattern.is_linear()).count();
        let of = if dates { "dates" } else { "filters" };
        println!(
            "{linear} of {} distinct regexes of {of} are on the linear engine",
            own().count()
        );
    }
    for ((expanded, multiline), (place, pattern)) in &distinct {
        let theirs = oracle.ask(&json!({"regex": expanded, "multiline": multiline}));
        let theirs = theirs.as_array().unwrap_or_else(|| panic!("{place}: {theirs}"));
        compare_on_lines(&mut searches, (place, pattern), &texts, theirs);
    }
    expansions.close(500);
    searches.close(1_000_000);
}

/// Compares the searches of one regex in all texts; theirs are those that found something, with the text's number.
fn compare_on_lines(searches: &mut Count, (place, pattern): (&str, &Pattern), texts: &[&str], theirs: &[Value]) {
    let mut next = theirs.iter().peekable();
    for (number, line) in texts.iter().enumerate() {
        let hit = next.next_if(|hit| hit[0].as_u64() == u64::try_from(number).ok());
        let expected = hit.map_or(Value::Null, |hit| json!([hit[1], hit[2], hit[3]]));
        searches.compare(&search(pattern, line), &expected, || format!("{place} on {line:?}"));
    }
}
