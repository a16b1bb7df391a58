//! The API is away: bans go on in the kernel as if nothing were, everybody who asks is told which layer lags, and when
//! the API is back nothing is missing.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::Fault;
use crate::house::{eventually, is_gone};
use crate::monitor::Monitor;
use crate::vm::{Vm, attacker};

/// How long it is away, and how long between two bans.
struct Length {
    outage: Duration,
    between: Duration,
    /// The latest that the kernel may have a ban; generous where other tests run beside
    kernel: Duration,
}

/// An hour with `GCP_OUTAGE=full`, for which nothing else should run.
fn length() -> Length {
    if std::env::var("GCP_OUTAGE").is_ok_and(|length| length == "full") {
        return Length {
            outage: Duration::from_secs(3_600),
            between: Duration::from_secs(4),
            kernel: Duration::from_millis(50),
        };
    }
    Length {
        outage: Duration::from_secs(12),
        between: Duration::from_millis(200),
        kernel: Duration::from_secs(2),
    }
}

/// What `verify` exits with, and how each action stands.
fn verified(vm: &Vm) -> (Option<i32>, Vec<(String, String)>) {
    let output = vm.house.ask(&["verify", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = answer["layers"].as_array().unwrap().iter().map(|layer| {
        let text = |field: &str| layer[field].as_str().unwrap().to_owned();
        (text("action"), text("state"))
    });
    (output.status.code(), layers.collect())
}

#[test]
fn without_the_api_nothing_is_lost_and_nothing_slowed() {
    let length = length();
    let mut vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32", "203.0.113.0/24"]);
    vm.jail("bantime = 1d\naction = gcp-firewall[rule=block-ip]");
    vm.house.start();
    let monitor = Monitor::start(&vm.house);
    vm.house.fail("plain", &attacker(0).to_string());
    vm.fake.until_listed("block-ip", &format!("{}/32", attacker(0)), true);
    eventually("all is well", || verified(&vm).0 == Some(0));

    vm.fake
        .script("*", "/compute/", usize::MAX, Fault::Reset { is_done: false });
    let (began, mut failed) = (Instant::now(), vec![Instant::now()]);
    while began.elapsed() < length.outage {
        vm.house
            .fail("plain", &attacker(u32::try_from(failed.len()).unwrap()).to_string());
        failed.push(Instant::now());
        sleep(length.between);
    }
    let bans = u32::try_from(failed.len()).unwrap();
    eventually("the kernel has all of them", || {
        monitor.seen(IpAddr::V4(attacker(bans - 1))).is_some()
    });
    let slowest = slowest(&monitor, &failed);
    let (code, layers) = verified(&vm);
    assert_eq!(code, Some(2), "{layers:?}");
    for (action, expect) in [("gcp-firewall", "lagging"), ("gcp-firewall-local", "verified")] {
        let state = layers
            .iter()
            .find(|(name, _)| name == action)
            .map(|(_, state)| state.as_str());
        assert_eq!(state, Some(expect), "{layers:?}");
    }
    let calls = vm.fake.records().len();

    // A crash in between changes nothing.
    let daemon = vm.house.daemon();
    vm.house.kill();
    assert!(is_gone(daemon));
    vm.house.start();
    let (healed, before) = (Instant::now(), writes(&vm));
    vm.fake.heal();
    vm.fake.until("everybody is denied", |state| {
        let listed = state.projects[crate::fake::PROJECT].rules["block-ip"].ranges();
        (0..bans).all(|number| listed.contains(&format!("{}/32", attacker(number))))
    });
    let back = healed.elapsed();
    eventually("all is well again", || verified(&vm).0 == Some(0));
    assert!(vm.fake.ranges("block-ip").contains(&"203.0.113.0/24".to_owned()));
    let written = writes(&vm) - before;
    println!(
        "away for {:?}: {calls} calls; {bans} bans, in the kernel after at most {slowest:?}; in the cloud {back:?} after it \
         was back, with {written} writes",
        length.outage
    );
    assert!(slowest <= length.kernel, "the kernel had one only after {slowest:?}");
    assert!(written <= 2, "{written} writes");
}

/// The longest time from a failure to its ban in the kernel, of those while the API was away.
fn slowest(monitor: &Monitor, failed: &[Instant]) -> Duration {
    let waits = (0..).zip(failed).skip(1).map(|(number, failed)| {
        let who = attacker(number);
        let seen = monitor.seen(IpAddr::V4(who));
        seen.unwrap_or_else(|| panic!("the kernel never had {who}"))
            .saturating_duration_since(*failed)
    });
    waits.max().unwrap()
}

/// The writes that were taken so far.
fn writes(vm: &Vm) -> usize {
    vm.fake.writes("block-ip").len()
}
