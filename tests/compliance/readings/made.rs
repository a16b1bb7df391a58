//! Filters that nobody ships: each asks for what no stock filter does, or does in one way only.

mod table;

use portcullis_core::config::plan::UseDns;
use serde_json::json;

use super::subject::{Options, Subject};
use super::{CATCHING_UP, FOLLOWING, Pair, TOOL, Tell, Way};
use crate::chance::Chance;
use crate::count::Count;
use table::{MADE, Made};

impl Made {
    fn subject(&self) -> Subject {
        let verb = |verb: &str| match verb {
            "+" => "addfailregex".to_owned(),
            "-" => "addignoreregex".to_owned(),
            other => other.to_owned(),
        };
        Subject {
            filter: self.name.to_owned(),
            options: Options::new(),
            commands: self
                .commands
                .iter()
                .map(|(name, value)| (verb(name), (*value).to_owned()))
                .collect(),
        }
    }

    /// Each line once, then all of them in any order.
    fn lines(&self) -> Vec<String> {
        let mut dice = Chance(7);
        let more = (0..200).map(|_| self.lines[dice.below(self.lines.len())]);
        self.lines.iter().copied().chain(more).map(str::to_owned).collect()
    }
}

#[test]
fn filters_that_nobody_ships() {
    let mut count = Count::of("readings, filters that nobody ships");
    let mut pair = Pair::new(Vec::new());
    let mut failures = 0;
    for made in MADE {
        pair.take(made.lines());
        for usedns in [UseDns::Yes, UseDns::Warn, UseDns::No, UseDns::Raw] {
            for way in [CATCHING_UP, FOLLOWING, TOOL] {
                pair.compare(&made.subject(), Way { usedns, ..way }, &mut count, &mut failures);
            }
        }
    }
    println!("{} filters, {failures} readings", MADE.len());
    assert!(failures > 20_000, "{failures}");
    count.close(50_000);
}

/// Two hundred sessions at once, which Fail2Ban's memory does not hold, with time passing.
#[test]
fn more_sessions_than_are_kept() {
    let mut count = Count::of("readings, more sessions than are kept");
    let sessions = Made {
        name: "many sessions",
        commands: &[
            ("prefregex", r"^ <F-MLFID>\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$"),
            ("+", "^<F-NOFAIL>open</F-NOFAIL> <HOST>$"),
            ("+", r"^bad <F-USER>\w+</F-USER>$"),
            ("+", "^<F-NOFAIL><F-MLFFORGET>end</F-MLFFORGET></F-NOFAIL>"),
        ],
        lines: &[],
    };
    let mut dice = Chance(11);
    let words = ["open 192.0.2.1", "bad bob", "bad al", "open 192.0.2.2", "end"];
    let line = |_| {
        format!(
            "2005-08-14 11:58:00 {} {}",
            dice.below(200),
            words[dice.below(words.len())]
        )
    };
    let mut pair = Pair::new((0..4_000).map(line).collect());
    let mut failures = 0;
    for step in [0, 1, 3, 10] {
        pair.compare(
            &sessions.subject(),
            Way { step, ..FOLLOWING },
            &mut count,
            &mut failures,
        );
    }
    assert!(failures > 500, "{failures}");
    count.close(16_000);
}

/// D-052: a prefix longer than its address.
#[test]
fn prefixes_longer_than_an_address() {
    let made = Made {
        name: "long prefixes",
        commands: &[("+", "^ a <SUBNET>$")],
        lines: &[
            "2005-08-14 11:59:30 a 192.0.2.1/33",
            "2005-08-14 11:59:30 a 2001:db8::1/129",
        ],
    };
    let mut pair = Pair::new(made.lines.iter().map(|line| (*line).to_owned()).collect());
    let id = |readings: &super::Readings, line: usize| readings.found[&line]["hits"][0][1].clone();
    let (theirs, ours) = (pair.theirs(&made.subject(), TOOL), pair.ours(&made.subject(), TOOL));
    assert_eq!(id(&theirs, 0), json!(["network /33", "192.0.2.1"]));
    assert_eq!(id(&ours, 0), json!(["address", "192.0.2.1"]));
    assert_eq!(id(&theirs, 1), json!(["network /129", "2001:db8::1"]));
    assert_eq!(id(&ours, 1), json!(["address", "2001:db8::1"]));
}

/// D-051: a group under a name of Fail2Ban's own. There every match of it fails.
#[test]
fn groups_under_names_of_fail2bans_own() {
    let made = Made {
        name: "own names",
        commands: &[("+", "^ a <F-MATCHES>x</F-MATCHES> <HOST>$")],
        lines: &["2005-08-14 11:59:30 a x 192.0.2.1"],
    };
    let mut pair = Pair::new(vec![made.lines[0].to_owned()]);
    let theirs = pair.theirs(&made.subject(), CATCHING_UP);
    assert_eq!(
        theirs.found[&0],
        json!({"refused": true, "told": [], "hits": [], "tickets": []})
    );
    let plan = made.subject().plan("warn");
    let settings = portcullis_core::filter::Settings {
        zone: jiff::tz::TimeZone::UTC,
        check_all: false,
        check_age: true,
        tell: Tell::Prefixes,
    };
    let ours = portcullis_core::filter::Filter::new(&plan, settings).err().unwrap();
    assert_eq!(ours.to_string(), "a group of the name matches is not supported yet");
}
