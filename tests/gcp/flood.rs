//! Far more bans than one rule takes, faster than the API: few writes, shards one after another, nobody left out, and
//! the kernel ahead of it all the while.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use crate::fake::Fake;
use crate::house::{append, failure};
use crate::monitor::Monitor;
use crate::vm::{Vm, attacker};

/// How much of it there is.
struct Size {
    /// A rule takes so many
    most: usize,
    bans: u32,
    /// How long the attack lasts
    attack: Duration,
    /// How long an operation runs
    pace: Duration,
    /// The latest that the kernel may have a ban; generous where other tests run beside
    kernel: Duration,
}

/// As real as it gets with `GCP_FLOOD=full`, for which nothing else should run; a tenth of it otherwise.
fn size() -> Size {
    if std::env::var("GCP_FLOOD").is_ok_and(|size| size == "full") {
        return Size {
            most: 5_000,
            bans: 10_000,
            attack: Duration::from_secs(60),
            pace: Duration::from_secs(5),
            kernel: Duration::from_millis(50),
        };
    }
    Size {
        most: 250,
        bans: 500,
        attack: Duration::from_secs(8),
        pace: Duration::from_secs(1),
        kernel: Duration::from_secs(2),
    }
}

/// One failure each, evenly over the time that the attack lasts. When each was in the log.
fn attack(vm: &Vm, size: &Size) -> Vec<Instant> {
    let (began, log) = (Instant::now(), vm.house.log_of("plain"));
    let one = |number| {
        sleep((size.attack * number / size.bans).saturating_sub(began.elapsed()));
        append(&log, failure(&attacker(number).to_string()).as_bytes());
        Instant::now()
    };
    (0..size.bans).map(one).collect()
}

/// When each network was first there.
fn first(lists: impl Iterator<Item = (Instant, Vec<String>)>) -> BTreeMap<Ipv4Net, Instant> {
    let mut first = BTreeMap::new();
    for (at, list) in lists {
        for range in list {
            let net: Ipv4Net = range.parse().unwrap();
            first.entry(net).or_insert(at);
        }
    }
    first
}

/// When each was first denied by a rule in force.
fn denied(fake: &Fake) -> BTreeMap<Ipv4Net, Instant> {
    let changes = fake.with(|state| state.changes.clone()).into_iter();
    first(changes.map(|change| (change.at, change.ranges.unwrap_or_default())))
}

/// When each was first in a write that was taken.
fn sent(fake: &Fake) -> BTreeMap<Ipv4Net, Instant> {
    let taken = fake.records().into_iter().filter(|record| record.status() == Some(200));
    let lists = taken.filter_map(|record| Some((record.at, record.body.get("sourceRanges")?.clone())));
    let list = |list: Value| serde_json::from_value(list).unwrap();
    first(lists.map(|(at, ranges)| (at, list(ranges))))
}

/// The longest time from a failure to when its address was first there.
fn longest(failed: &[Instant], first: &BTreeMap<Ipv4Net, Instant>) -> Duration {
    let waits = (0..).zip(failed).map(|(number, &failed)| {
        let who = attacker(number);
        let at = first_of(first, who);
        at.unwrap_or_else(|| panic!("{who} is nowhere")).duration_since(failed)
    });
    waits.max().unwrap()
}

/// When one address was first there, by itself or as part of a network.
fn first_of(first: &BTreeMap<Ipv4Net, Instant>, who: Ipv4Addr) -> Option<Instant> {
    let widths = (8..=32).rev();
    let nets = widths.map(|width| Ipv4Net::new(who, width).unwrap().trunc());
    nets.filter_map(|net| first.get(&net).copied()).min()
}

/// When the writes of rules came in.
fn writes(fake: &Fake) -> Vec<Instant> {
    let is_write = |method: &str| ["PATCH", "POST"].contains(&method);
    let records = fake.records().into_iter();
    let writes = records.filter(|record| is_write(&record.method) && record.path.contains("/firewalls"));
    writes.map(|record| record.at).collect()
}

#[test]
fn twice_as_many_as_a_rule_takes() {
    let size = size();
    let mut vm = Vm::new();
    vm.fake.settings(|settings| {
        settings.limits.most = size.most;
        settings.pace = size.pace;
    });
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.jail("action = gcp-firewall[rule=block-ip]");
    vm.house.start();
    let monitor = Monitor::start(&vm.house);
    let failed = attack(&vm, &size);
    vm.fake.until("everybody is denied", |state| {
        let rules = state.projects[crate::fake::PROJECT].rules.values();
        let nets = rules.flat_map(|rule| rule.ranges());
        let nets: Vec<IpNet> = nets.map(|range| range.parse().unwrap()).collect();
        let singles = IpNet::aggregate(&nets)
            .into_iter()
            .map(|net| 1_u64 << (32 - net.prefix_len()));
        singles.sum::<u64>() > u64::from(size.bans)
    });
    let (sent, denied) = (longest(&failed, &sent(&vm.fake)), longest(&failed, &denied(&vm.fake)));
    let kernel = (0..).zip(&failed).map(|(number, &failed)| {
        let who = attacker(number);
        let at = monitor.seen(IpAddr::V4(who));
        at.unwrap_or_else(|| panic!("the kernel never had {who}"))
            .saturating_duration_since(failed)
    });
    let kernel = kernel.max().unwrap();
    let writes = writes(&vm.fake);
    // What an operation takes whoever makes it: from one write to the next, with the look at the rule between them.
    let turn = writes
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]))
        .max()
        .unwrap();
    let rules = vm.fake.with(|state| state.projects[crate::fake::PROJECT].rules.len());
    println!(
        "{} bans: {} writes to {rules} rules, at most {turn:?} apart; on the way to the cloud after at most {sent:?}, in \
         force there after at most {denied:?}, in the kernel after at most {kernel:?}",
        size.bans,
        writes.len()
    );
    assert!(writes.len() <= 20, "{} writes", writes.len());
    assert!(rules >= 3, "{rules} rules");
    // The one that runs, and where a rule gets full, the one that fills it; then its own.
    assert!(sent <= 2 * turn, "sent after {sent:?}, and an operation takes {turn:?}");
    assert!(
        denied <= 3 * turn,
        "in force after {denied:?}, and an operation takes {turn:?}"
    );
    assert!(kernel <= size.kernel, "the kernel had one only after {kernel:?}");
}
