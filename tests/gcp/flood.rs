//! Far more bans than one rule takes, faster than the API: few writes, shards one after another, nobody left out.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::house::{Jail, append, failure};
use crate::vm::Vm;

/// A rule takes so many here, instead of 5,000.
const MOST: usize = 250;
/// How many are banned, twice as many as fit into one rule.
const BANS: u32 = 500;
/// How long the attack lasts.
const ATTACK: Duration = Duration::from_secs(8);
/// How long an operation runs.
const PACE: Duration = Duration::from_secs(1);

/// No two of these are neighbours, so that nothing can be put together without loss.
fn attacker(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number * 2)
}

#[test]
fn twice_as_many_as_a_rule_takes() {
    let mut vm = Vm::new();
    vm.fake.settings(|settings| {
        settings.limits.most = MOST;
        settings.pace = PACE;
    });
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = gcp-firewall[rule=block-ip]",
    }]);
    vm.house.start();
    let began = Instant::now();
    for number in 0..BANS {
        append(
            &vm.house.log_of("plain"),
            failure(&attacker(number).to_string()).as_bytes(),
        );
        std::thread::sleep((ATTACK * number / BANS).saturating_sub(began.elapsed()));
    }
    vm.fake.until("everybody is denied", |state| {
        let rules = state.projects[crate::fake::PROJECT].rules.values();
        let nets = rules.flat_map(|rule| rule.ranges());
        let (single, wide): (BTreeSet<IpNet>, _) = nets
            .map(|range| range.parse::<IpNet>().unwrap())
            .partition(|net| net.prefix_len() == 32);
        let wide: Vec<IpNet> = BTreeSet::into_iter(wide).collect();
        (0..BANS)
            .map(|number| IpNet::from(IpAddr::from(attacker(number))))
            .all(|net| single.contains(&net) || wide.iter().any(|other| other.contains(&net)))
    });
    let records = vm.fake.records();
    let writes = records
        .iter()
        .filter(|record| ["PATCH", "POST"].contains(&record.method.as_str()));
    let writes = writes.filter(|record| record.path.contains("/firewalls")).count();
    assert!(writes <= 20, "{writes} writes");
    let rules = vm.fake.with(|state| state.projects[crate::fake::PROJECT].rules.len());
    assert!(rules >= 3, "{rules} rules");
}
