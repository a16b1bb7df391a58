//! What single steps of the way from a line to a ban cost: `cargo bench -p portcullis-core [NAME]`.
//!
//! The lines are those of `bench/logs`, the filters those of our stock. Whole programs are measured by `bench/compare`.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement ends where its set-up fails"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use portcullis_core::address::Id;
use portcullis_core::config::plan::{JailPlan, Plan};
use portcullis_core::config::{Face, MemoryTree, Request, read};
use portcullis_core::filter::{Filter, Identity, Prefilter, Settings, Tell};
use portcullis_core::ledger::{Ledger, Ticket};
use portcullis_core::pattern::{Flags, Lane, Pattern, Search};
use portcullis_core::stamp::Detector;
use portcullis_core::time::{Clock, Seconds, Timestamp};
use portcullis_core::tracker::{Attempt, Limits, Tracker};
use portcullis_logs::{Log, Order, Stamps, Writer};

/// 2026-01-15 12:00:00 UTC
const NOW: u64 = 1_768_478_400;
const LINES: usize = 2000;

fn now() -> Timestamp {
    Timestamp::from_seconds(NOW as i64)
}

fn lines(log: Log, share: u64, stamps: Stamps) -> Vec<String> {
    let order = Order {
        log,
        lines: LINES as u64,
        share,
        seed: 7,
        stamps,
        until: NOW,
        span: 600,
        addresses: 400,
    };
    let mut writer = Writer::new(order).unwrap();
    let (mut all, mut line) = (Vec::new(), String::new());
    while writer.next_line(&mut line).is_some() {
        all.push(line.trim_end_matches('\n').to_owned());
    }
    all
}

/// A jail with a filter of our stock.
fn plan(filter: &str) -> JailPlan {
    let jail = format!(
        "[j]\nenabled = true\nfilter = {filter}\nlogpath = /log\nbackend = polling\nusedns = no\naction =\nfindtime = 1d\n"
    );
    let tree = MemoryTree::new(&[
        ("/f/fail2ban.conf", include_str!("../stock/fail2ban.conf")),
        ("/f/jail.conf", include_str!("../stock/jail.conf")),
        ("/f/jail.local", &jail),
        ("/f/filter.d/common.conf", include_str!("../stock/filter.d/common.conf")),
        (
            "/f/filter.d/postfix.conf",
            include_str!("../stock/filter.d/postfix.conf"),
        ),
        (
            "/f/filter.d/dovecot.conf",
            include_str!("../stock/filter.d/dovecot.conf"),
        ),
        ("/f/filter.d/sshd.conf", include_str!("../stock/filter.d/sshd.conf")),
    ]);
    let outcome = read(&tree, &Request::new("/f", Face::Portcullis, "1.1.1"));
    let (plan, _) = Plan::from_stream(&outcome.stream, Face::Portcullis);
    let found = plan.jails.into_iter().find(|jail| &*jail.name == "j");
    found.unwrap_or_else(|| panic!("{filter}: {:?}", outcome.diagnostics))
}

fn filter(plan: &JailPlan) -> Filter {
    let settings = Settings {
        zone: TimeZone::UTC,
        check_all: false,
        check_age: true,
        tell: Tell::Failures,
    };
    Filter::new(plan, settings).unwrap()
}

/// Every failregex of a filter on every line, without date and prefregex.
fn pattern(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pattern");
    group.throughput(Throughput::Elements(LINES as u64));
    for (name, log, share) in [
        ("postfix[mode=aggressive]", Log::Mail, 100),
        ("dovecot", Log::Mail, 100),
        ("sshd[mode=aggressive]", Log::Auth, 500),
    ] {
        let plan = plan(name);
        let regexes = plan.prefregex.iter().chain(&plan.failregex);
        let patterns: Vec<Pattern> = regexes
            .map(|text| Pattern::new(text, Flags::default()).unwrap())
            .collect();
        let lines = lines(log, share, Stamps::Traditional);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for line in &lines {
                    for pattern in &patterns {
                        black_box(pattern.search(black_box(line), Lane::Fast));
                    }
                }
            });
        });
    }
    group.finish();
}

/// Searches in 1,000 bytes that use up all the steps they may take, each by another kind of step.
fn budget(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("budget");
    let mut measure = |name: &str, regex: &str, piece: &str| {
        let pattern = Pattern::new(regex, Flags::default()).unwrap();
        let text = piece.repeat(999 / piece.len()) + "c";
        assert!(
            matches!(pattern.search(&text, Lane::Fast), Search::OverBudget),
            "{name} is within the budget"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(pattern.search(black_box(&text), Lane::Fast)));
        });
    };
    // What the linear engine is asked first says yes, because it does not look behind and knows no references. A group
    // that is asked for inside itself forbids to remember what failed; one that is to come again makes each of its ends
    // a new state to remember it for.
    for (name, body, letter, piece) in [
        ("choices", "(?:a|a)*[bc]", "a", "a"),
        ("rounds", "(?:a+b?)+c", "a", "a"),
        ("runs", r"\w*\w*\w*\w*\w*c", "a", "a"),
        ("runs of other letters", r"\w*\w*\w*\w*\w*c", "é", "é"),
        ("lazy runs of other letters", r"\w*?\w*?\w*?\w*?\w*?d?", "é", "é"),
        ("classes", r"(?:[^\[\]]|[\w ]|[^:]+)*c", "[ab ]", "ab "),
    ] {
        measure(name, &format!(r"^((?(1)b|){body})(?<!c)$"), piece);
        let remembered = format!(r"^({letter}*?){body}(?<!c)\1$");
        measure(&format!("{name}, remembered"), &remembered, piece);
    }
    measure("references", r"^(a*)a*\1a*\1c(?<!c)$", "a");
    measure("states", r"^(a*)(a*)(a*)(?:a|ab)*c(?<!c)\3\2\1$", "a");
    group.finish();
}

/// Finding the date of every line, and reading it.
fn date(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("date");
    group.throughput(Throughput::Elements(LINES as u64));
    for (name, stamps) in [
        ("traditional", Stamps::Traditional),
        ("iso", Stamps::Iso),
        ("mixed", Stamps::Mixed),
    ] {
        let lines = lines(Log::Mail, 100, stamps);
        let mut detector = Detector::new(Some("{^LN-BEG}"), None, TimeZone::UTC).unwrap();
        group.bench_function(format!("find, {name}"), |bencher| {
            bencher.iter(|| {
                lines
                    .iter()
                    .filter_map(|line| detector.find(black_box(line), now()))
                    .count()
            });
        });
        group.bench_function(format!("find and read, {name}"), |bencher| {
            bencher.iter(|| {
                for line in &lines {
                    let found = detector.find(black_box(line), now()).unwrap();
                    black_box(detector.read(line, &found, now()));
                }
            });
        });
    }
    group.finish();
}

fn id(number: u32) -> Id {
    Id::Ip(std::net::Ipv4Addr::from(0xC612_0000 | number).into())
}

fn attempt() -> Attempt {
    Attempt {
        time: now(),
        matches: vec!["a line".into()],
        data: Default::default(),
        weight: 1,
    }
}

fn limits() -> Limits {
    Limits {
        maxretry: 5,
        findtime: Seconds::new(600),
        maxmatches: 5,
        most: 100_000,
        most_bytes: usize::MAX,
    }
}

/// Failures of so many attackers in turn, each five times.
fn tracker(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tracker");
    for attackers in [100, 20_000] {
        group.throughput(Throughput::Elements(u64::from(attackers) * 5));
        group.bench_function(format!("{attackers} attackers"), |bencher| {
            bencher.iter_batched_ref(
                || Tracker::new(limits()),
                |tracker| {
                    (0..attackers * 5)
                        .filter_map(|number| tracker.count(&id(number % attackers), attempt()))
                        .count()
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn ticket(id: Id) -> Ticket {
    Ticket {
        id,
        time: now(),
        bantime: Seconds::new(600),
        bancount: 1,
        failures: 5,
        matches: Vec::new(),
        data: Default::default(),
        restored: false,
    }
}

/// So many bans begin and end.
fn ledger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    for bans in [100, 20_000_u32] {
        group.throughput(Throughput::Elements(u64::from(bans)));
        group.bench_function(format!("{bans} bans"), |bencher| {
            bencher.iter_batched_ref(
                Ledger::default,
                |ledger| {
                    for number in 0..bans {
                        ledger.enter(now(), ticket(id(number)), &[]);
                    }
                    while ledger.expire(now() + Seconds::new(601)).is_some() {}
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// From lines to bans, without files, threads and database.
fn end_to_end(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("end to end");
    group.throughput(Throughput::Elements(LINES as u64));
    for (name, log, share) in [
        ("postfix[mode=aggressive]", Log::Mail, 100),
        ("dovecot", Log::Mail, 100),
        ("sshd[mode=aggressive]", Log::Auth, 500),
        ("postfix[mode=aggressive], quiet", Log::Quiet, 0),
    ] {
        let plan = plan(name.split(", ").next().unwrap_or(name));
        let lines = lines(log, share, Stamps::Traditional);
        let filter = filter(&plan);
        let mut reader = (Prefilter::new([&filter]), filter);
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || (Tracker::new(limits()), Ledger::default()),
                |(tracker, ledger)| bans(&mut reader, &lines, tracker, ledger),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn bans(
    (prefilter, filter): &mut (Prefilter, Filter),
    lines: &[String],
    tracker: &mut Tracker,
    ledger: &mut Ledger,
) -> usize {
    let actions: [Arc<str>; 0] = [];
    for line in lines {
        prefilter.look(line.as_bytes());
        for failure in filter
            .read(Clock::at(now()), true, line, prefilter.candidates(0))
            .failures
        {
            let Identity::Known(id) = failure.identity else {
                continue;
            };
            let attempt = Attempt {
                time: failure.time,
                matches: failure.matches,
                data: failure.data,
                weight: 1,
            };
            if tracker.count(&id, attempt).is_some() {
                ledger.enter(now(), ticket(id), &actions);
            }
        }
    }
    ledger.len()
}

criterion_group!(benches, pattern, budget, date, tracker, ledger, end_to_end);
criterion_main!(benches);
