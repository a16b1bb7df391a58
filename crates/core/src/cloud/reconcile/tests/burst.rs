//! Many bans at once, and an API that is away for an hour.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::scenes::own;
use super::stage::Stage;
use crate::cloud::is_sentinel;
use crate::cloud::options::Options;
use crate::cloud::reconcile::Call;
use crate::ledger::Standing;
use crate::time::{Clock, Seconds, Timestamp};

/// Two operations of 5 s, with the calls around each: a read, the write, the wait, the read back.
const TWO_OPERATIONS: f64 = 2.0 * 5.7;

/// Addresses that no two of which are neighbours, so that none can be put together.
fn address(number: u32) -> String {
    let address = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(45, 0, 0, 0)) + number * 2);
    format!("{address}/32")
}

#[test]
fn ten_thousand_bans_in_a_minute_are_few_writes_and_none_waits_long() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    stage.run(Seconds::new(10));
    let began = stage.now;
    let mut oldest = Seconds::ZERO;
    for number in 0..10_000 {
        stage.ban(0, &address(number));
        stage.run(Seconds::from_f64(0.006));
        if number % 500 == 0 {
            let view = stage.writers[0].reconciler.view(Clock::at(stage.now));
            oldest = oldest.max(view.oldest.map_or(Seconds::ZERO, |since| stage.now - since));
        }
    }
    stage.run(Seconds::new(60));
    assert!(stage.api.writes <= 20, "{} writes", stage.api.writes);
    let lag = lag(&stage, began, Seconds::from_f64(0.006), 10_000);
    assert!(lag <= Seconds::from_f64(TWO_OPERATIONS), "a ban waited for {lag:?}");
    // Written, run, and read back on top of it.
    assert!(oldest <= Seconds::new(16), "a ban was not confirmed for {oldest:?}");
    let sizes: Vec<usize> = stage.api.rules.values().map(|rule| rule.source_ranges.len()).collect();
    assert_eq!(sizes, [5_000, 5_000, 10_003 - 10_000]);
    let all = |standing: &Standing| *standing == Standing::Verified;
    assert!(stage.writers[0].standings.values().all(all));
    assert_eq!(stage.writers[0].standings.len(), 10_000);
    // A plan is made at most once for a write, and once more for each read that it leads to.
    assert!(stage.writers[0].reconciler.plans <= 3 * stage.api.writes as u64 + 2);
}

/// The longest time from a ban, one of so many that came so far apart, to the end of the write that has it.
fn lag(stage: &Stage, began: Timestamp, apart: Seconds, bans: usize) -> Seconds {
    let mut seen: BTreeSet<IpNet> = BTreeSet::new();
    let mut longest = Seconds::ZERO;
    for (at, call) in &stage.api.written_at {
        let ranges: BTreeSet<IpNet> = match call {
            Call::Write { ranges, .. } => ranges.iter().copied().collect(),
            Call::Create { rule, .. } => super::api::set(rule),
            _ => BTreeSet::new(),
        };
        for range in ranges
            .into_iter()
            .filter(|range| !is_sentinel(range) && seen.insert(*range))
        {
            let IpNet::V4(four) = range else { continue };
            let number = (u32::from(four.addr()) - u32::from(std::net::Ipv4Addr::new(45, 0, 0, 0))) / 2;
            let ordered = began + Seconds::from_micros(i64::from(number) * apart.micros());
            longest = longest.max(*at - ordered);
        }
    }
    assert_eq!(seen.len(), bans);
    longest
}

/// The limit of a rule is learned from a refusal, which costs no operation; and a mark that grows old is renewed when
/// nothing waits.
#[test]
fn neither_a_limit_nor_a_mark_costs_a_ban_an_operation() {
    let mut stage = Stage::single(own(), &[]);
    stage.api.cap = 100;
    stage.run(Seconds::new(10));
    stage.run(Seconds::new(24 * 3600 - 20));
    let (began, before) = (stage.now, stage.api.written_at.len());
    for number in 0..200 {
        stage.ban(0, &address(number));
        stage.run(Seconds::from_f64(0.3));
    }
    stage.run(Seconds::new(60));
    let lag = lag(&stage, began, Seconds::from_f64(0.3), 200);
    assert!(lag <= Seconds::from_f64(TWO_OPERATIONS), "a ban waited for {lag:?}");
    let since = stage.api.written_at.iter().skip(before);
    let is_mark: Vec<bool> = since.map(|(_, call)| matches!(call, Call::Describe { .. })).collect();
    assert_eq!(is_mark.iter().position(|is_mark| *is_mark), Some(is_mark.len() - 1));
    assert_eq!(stage.api.rules.len(), 3);
}

#[test]
fn an_hour_without_the_api_loses_nothing_and_costs_one_write_a_rule() {
    let check = |options: Options| {
        let mut stage = Stage::single(options, &[]);
        stage.api.cap = 100;
        stage.ban(0, &address(0));
        stage.run(Seconds::new(60));
        let writes = stage.api.writes;
        stage.api.is_down = true;
        for number in 1..150 {
            stage.ban(0, &address(number));
            stage.run(Seconds::new(24));
        }
        assert_eq!(stage.api.writes, writes);
        assert!(stage.writers[0].failing.is_some());
        let view = stage.writers[0].reconciler.view(Clock::at(stage.now));
        assert!(view.trouble.is_some() && view.oldest.is_some());
        stage.api.is_down = false;
        stage.run(Seconds::new(180));
        // The limit of a rule is learned by one more that is refused.
        assert_eq!(stage.api.writes, writes + 2);
        assert_eq!(stage.writers[0].failing, None);
        let in_rules = stage
            .api
            .rules
            .values()
            .flat_map(super::api::set)
            .filter(|range| !is_sentinel(range))
            .count();
        assert_eq!(in_rules, 150);
    };
    check(Options::new("block-ip"));
    check(own());
}

#[test]
fn fifty_thousand_bans_are_kept_and_one_more_is_one_write() {
    let mut stage = Stage::single(
        Options {
            max_rules: 12,
            ..Options::new("block-ip")
        },
        &[],
    );
    stage.writers[0].wanted = (0..50_000)
        .map(|number| (address(number).parse().unwrap(), None))
        .collect();
    stage.start(0);
    stage.run(Seconds::new(600));
    let writes = stage.api.writes;
    let plans = stage.writers[0].reconciler.plans;
    stage.ban(0, &address(50_001));
    stage.run(Seconds::new(30));
    assert_eq!(stage.api.writes, writes + 1);
    assert!(stage.writers[0].reconciler.plans <= plans + 2);
    let sizes: Vec<usize> = stage.api.rules.values().map(|rule| rule.source_ranges.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 50_001 + sizes.len());
}
