//! Counting and banning by prefix, and widening by evidence.

use std::collections::BTreeSet;

use super::*;

fn by_prefix(options: &[(&str, &str)]) -> JailPlan {
    let mut plan = plan("j");
    for (part, value) in [("ipv6", "64")].iter().chain(options) {
        plan.prefix.set(part, value).unwrap();
    }
    plan
}

fn id(text: &str) -> Id {
    Id::parse(text).unwrap()
}

impl Stage {
    fn fail_all(&mut self, whom: &[&str]) {
        for who in whom {
            self.fail("j", who);
        }
    }

    /// Bans one by its failures.
    fn offend(&mut self, who: &str) {
        self.fail_all(&[who; 3]);
    }

    fn ask(&mut self, request: Request) -> i64 {
        self.input(Input::Request(request, ReplyTo(1)));
        let reply = self
            .notes
            .iter()
            .rev()
            .find_map(|note| note.strip_prefix("reply Ok(Int("));
        let reply = reply.and_then(|reply| reply.strip_suffix("))"));
        reply.unwrap_or("-1").parse().unwrap()
    }

    fn unban(&mut self, who: &str) -> i64 {
        self.ask(Request::Unban {
            ids: Some(vec![id(who)]),
            jail: Some("j".into()),
        })
    }

    fn free(&mut self, who: &str) -> i64 {
        self.ask(Request::Free {
            whom: vec![(who.to_owned(), id(who))],
            jail: None,
            report_absent: false,
        })
    }

    fn ban_by_hand(&mut self, who: &str) -> i64 {
        self.ask(Request::Ban {
            ids: vec![id(who)],
            jail: "j".into(),
            bantime: Some(Seconds::new(5000)),
        })
    }

    /// What the layer enforces is what the engine says, and what is kept.
    fn enforced(&self) -> Vec<String> {
        let layer: Vec<String> = self.layer.keys().map(ToString::to_string).collect();
        let ids: BTreeSet<Id> = self.ends().map(|(id, _)| id).collect();
        assert_eq!(self.layer.keys().cloned().collect::<BTreeSet<_>>(), ids);
        let kept: BTreeSet<Id> = self.bans.keys().map(|(_, id)| id.clone()).collect();
        assert_eq!(kept, ids, "kept and in force");
        layer
    }

    fn noted(&self, text: &str) -> usize {
        self.notes.iter().filter(|note| note.contains(text)).count()
    }
}

const HOPS: [&str; 3] = ["2001:db8:1:2::1", "2001:db8:1:2:dead::2", "2001:db8:1:2::3"];

#[test]
fn who_hops_through_a_network_is_banned_with_it() {
    let mut stage = Stage::new(vec![by_prefix(&[])]);
    stage.fail_all(&["2001:db8:1:3::1", "2001:db8:1:4::1"]);
    stage.fail_all(&HOPS);
    assert_eq!(stage.enforced(), ["2001:db8:1:2::/64"]);
    let ticket = stage.bans.values().next().unwrap().clone();
    assert_eq!(ticket.offender(), Some(HOPS[2].parse().unwrap()), "who offended last");
    assert_eq!((ticket.failures, ticket.ip().as_str()), (3, "2001:db8:1:2::/64"));
    assert_eq!(
        stage.noted("Found { jail: \"j\", id: Ip(2001:db8:1:2::1)"),
        1,
        "{:?}",
        stage.notes
    );
    stage.crash();
    assert_eq!(stage.enforced(), ["2001:db8:1:2::/64"]);
    stage.wait(601);
    assert!(stage.enforced().is_empty());
}

#[test]
fn what_is_counted_singly() {
    let check = |plan: JailPlan, whom: [&str; 3], expect: &[&str]| {
        let mut stage = Stage::new(vec![plan]);
        stage.fail_all(&whom);
        stage.offend("2001:db8:9:9::9");
        let mut expect = expect.to_vec();
        expect.push(if stage.plans[0].prefix.is_off() {
            "2001:db8:9:9::9"
        } else {
            "2001:db8:9:9::/64"
        });
        assert_eq!(stage.enforced(), expect, "{whom:?}");
    };
    check(plan("j"), HOPS, &[]);
    check(by_prefix(&[]), ["192.0.2.1", "192.0.2.2", "192.0.2.3"], &[]);
    check(
        by_prefix(&[("ipv4", "24")]),
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
        &["192.0.2.0/24"],
    );
    check(by_prefix(&[]), ["64:ff9b::1", "64:ff9b::2", "64:ff9b::3"], &[]);
    check(by_prefix(&[]), ["fe80::1", "fe80::2", "fe80::3"], &[]);
}

/// What is no address, and what is a network already, is banned as it stands.
#[test]
fn ids_that_are_no_addresses_stay() {
    for who in ["somebody", "2001:db8:1:2:3::/80", "192.0.2.0/28"] {
        let mut stage = Stage::new(vec![by_prefix(&[("ipv4", "24")])]);
        stage.offend(who);
        assert_eq!(stage.enforced(), [who]);
    }
}

/// A network with somebody in it who must not be banned is not counted as one: everybody there answers for himself.
#[test]
fn a_network_with_somebody_exempt_is_not_banned_whole() {
    let spared = |entry: &str| {
        let mut plan = by_prefix(&[]);
        plan.ignoreip.push(entry.into());
        Stage::new(vec![plan])
    };
    let mut stages = vec![
        spared("2001:db8:1:2::99"),
        spared("2001:db8:1:2:3::/80"),
        spared("2001:db8:1:2::42/128"),
        Stage::new(vec![by_prefix(&[])]),
        Stage::new(vec![by_prefix(&[])]),
    ];
    stages[3].input(Input::Own(BTreeSet::from(["2001:db8:1:2::99".parse().unwrap()])));
    stages[4].input(Input::Protected(vec!["2001:db8:1:2::1:0/112".parse().unwrap()]));
    for stage in &mut stages {
        stage.fail_all(&HOPS);
        assert!(stage.enforced().is_empty());
        stage.fail_all(&[HOPS[0], HOPS[0]]);
        assert_eq!(stage.enforced(), [HOPS[0]]);
        stage.offend("2001:db8:1:3::1");
        assert_eq!(stage.enforced(), [HOPS[0], "2001:db8:1:3::/64"], "the next one is");
    }
}

/// The single address is asked for: a network begins where nobody is exempt.
#[test]
fn whoever_is_exempt_is_asked_for_singly() {
    let mut plan = by_prefix(&[]);
    plan.ignoreip.push("2001:db8:1:2::/96".into());
    let mut stage = Stage::new(vec![plan]);
    stage.offend("2001:db8:1:2::1");
    assert!(stage.enforced().is_empty());
    assert_eq!(stage.noted("Ignored { jail: \"j\", id: Ip(2001:db8:1:2::1)"), 3);
    stage.offend("2001:db8:1:2:ffff::1");
    assert_eq!(stage.enforced(), ["2001:db8:1:2:ffff::1"]);
}

/// A file and a command are asked with the address that offended, also for a ban that an earlier run left.
#[test]
fn files_and_commands_are_asked_for_the_address() {
    let mut plan = by_prefix(&[]);
    plan.ignorecommand = "true <ip>".into();
    let mut stage = Stage::new(vec![plan]);
    for _ in 0..3 {
        stage.fail("j", HOPS[1]);
        let Some(Question::Command { number, values, .. }) = stage.asked.pop() else {
            panic!("{:?}", stage.asked);
        };
        assert_eq!(values.tags.get("ip").map(String::as_str), Some(HOPS[1]));
        stage.input(Input::Answer(Answer::Command { number, ignore: false }));
    }
    assert_eq!(stage.enforced(), ["2001:db8:1:2::/64"]);
    stage.crash();
    let Some(Question::Command { number, values, .. }) = stage.asked.pop() else {
        panic!("{:?}", stage.asked);
    };
    assert_eq!(values.tags.get("ip").map(String::as_str), Some(HOPS[1]));
    stage.input(Input::Answer(Answer::Command { number, ignore: true }));
    assert!(
        stage.enforced().is_empty(),
        "the ban of the network goes with its offender"
    );
}

#[test]
fn a_ban_of_an_earlier_run_is_narrowed_where_somebody_is_exempt_now() {
    let mut stage = Stage::new(vec![by_prefix(&[])]);
    stage.fail_all(&HOPS);
    let mut plan = by_prefix(&[]);
    plan.ignoreip.push("2001:db8:1:2::99".into());
    stage.layer.clear();
    stage.crash_into(vec![plan.clone()]);
    assert_eq!(stage.enforced(), [HOPS[2]], "the last offender alone");
    plan.ignoreip.push(HOPS[2].into());
    stage.layer.clear();
    stage.crash_into(vec![plan]);
    assert!(stage.enforced().is_empty());
}

#[test]
fn one_address_frees_its_network() {
    for free in [Stage::unban, Stage::free] {
        let mut stage = Stage::new(vec![by_prefix(&[])]);
        stage.fail_all(&HOPS);
        stage.offend("2001:db8:1:3::1");
        assert!(stage.engine.is_banned("j", &id("2001:db8:1:2::77")));
        assert!(!stage.engine.is_banned("j", &id("2001:db8:1:4::77")));
        let over = stage.engine.networks_over(None, &id("2001:db8:1:2::77"));
        assert_eq!(over, [("j".into(), id("2001:db8:1:2::/64"))]);
        assert_eq!(free(&mut stage, "2001:db8:1:4::77"), 0);
        assert_eq!(free(&mut stage, "2001:db8:1:2::77"), 1);
        assert_eq!(stage.enforced(), ["2001:db8:1:3::/64"]);
        assert!(
            stage.history.keys().all(|(_, known)| *known != id("2001:db8:1:2::/64")),
            "and is forgotten"
        );
        stage.crash();
        assert_eq!(stage.enforced(), ["2001:db8:1:3::/64"]);
    }
}

/// Bans by prefix outlive the options; an address in them must still be freed.
#[test]
fn one_address_frees_its_network_also_without_the_options() {
    for free in [Stage::unban, Stage::free] {
        let mut stage = Stage::new(vec![by_prefix(&[])]);
        stage.fail_all(&HOPS);
        stage.ban_by_hand("2001:db8:1:3::/64");
        stage.layer.clear();
        stage.crash_into(vec![plan("j")]);
        assert_eq!(stage.enforced(), ["2001:db8:1:2::/64", "2001:db8:1:3::/64"]);
        assert!(stage.engine.is_banned("j", &id("2001:db8:1:2::77")));
        assert_eq!(free(&mut stage, "2001:db8:1:3::77"), 0, "that one was typed");
        assert_eq!(free(&mut stage, "2001:db8:1:2::77"), 1);
        assert_eq!(stage.enforced(), ["2001:db8:1:3::/64"]);
    }
}

/// By hand is banned what was typed; freeing an address in a network that was typed is no business of the prefix.
#[test]
fn by_hand_counts_what_was_typed() {
    let mut stage = Stage::new(vec![by_prefix(&[])]);
    assert_eq!(stage.ban_by_hand("2001:db8:1:2::5"), 1);
    assert_eq!(stage.ban_by_hand("2001:db8:1:3::/64"), 1);
    assert_eq!(stage.enforced(), ["2001:db8:1:2::5", "2001:db8:1:3::/64"]);
    assert_eq!(stage.unban("2001:db8:1:3::5"), 0);
    assert_eq!(stage.unban("2001:db8:1:2::/64"), 1);
    assert_eq!(stage.enforced(), ["2001:db8:1:3::/64"]);
}

/// Who comes back with another address of his network is known, and banned longer.
#[test]
fn networks_grow() {
    let mut plan = by_prefix(&[]);
    plan.increment = vec![("increment".into(), "true".into())];
    let mut stage = Stage::new(vec![plan]);
    let length = |stage: &Stage| stage.bans.values().next().map(|ticket| ticket.bantime.whole());
    stage.fail_all(&HOPS);
    assert_eq!(length(&stage), Some(600));
    stage.wait(700);
    stage.crash();
    stage.offend("2001:db8:1:2:abcd::1");
    assert_eq!(length(&stage), Some(1200));
}

fn widening() -> Stage {
    Stage::new(vec![by_prefix(&[("widen", "3")])])
}

const NEIGHBOURS: [&str; 3] = ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:4::1"];
const NETWORKS: [&str; 3] = ["2001:db8:1:2::/64", "2001:db8:1:3::/64", "2001:db8:1:4::/64"];
const WIDE: &str = "2001:db8:1::/56";

#[test]
fn enough_neighbours_ban_the_neighbourhood() {
    let mut stage = widening();
    for (at, who) in NEIGHBOURS.iter().enumerate() {
        assert_eq!(stage.enforced(), NETWORKS[..at]);
        stage.offend(who);
        stage.wait(100);
    }
    let with_wide = |networks: &[&str]| {
        let ids: BTreeSet<Id> = networks.iter().chain(&[WIDE]).map(|net| id(net)).collect();
        ids.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(stage.enforced(), with_wide(&NETWORKS));
    let ends: BTreeMap<Id, _> = stage.ends().collect();
    assert_eq!(ends[&id(WIDE)], ends[&id(NETWORKS[2])], "as long as the longest");
    assert!(stage.bans[&("j".into(), id(WIDE))].failures > 0, "nobody typed it");
    stage.crash();
    assert_eq!(stage.enforced(), with_wide(&NETWORKS));
    assert_eq!(stage.noted("NotWidened"), 0);
    stage.wait(250);
    assert_eq!(stage.enforced(), with_wide(&NETWORKS));
    stage.wait(100);
    assert_eq!(stage.enforced(), NETWORKS[1..], "the evidence is too weak now");
    stage.wait(300);
    assert!(stage.enforced().is_empty());
}

#[test]
fn freeing_one_lifts_the_wide_ban_and_leaves_the_others() {
    for freed in ["2001:db8:1:3::7", NETWORKS[1], WIDE, "2001:db8:1:9::1"] {
        let mut stage = widening();
        NEIGHBOURS.iter().for_each(|who| stage.offend(who));
        stage.offend("2001:db8:1:5::1");
        assert_eq!(stage.enforced().len(), 5);
        // Who frees a whole network by Fail2Ban's command frees it alone where it is banned itself.
        let count = stage.free(freed);
        let left: &[&str] = match freed {
            WIDE | "2001:db8:1:9::1" => &["2001:db8:1:2::/64", "2001:db8:1:3::/64", "2001:db8:1:4::/64"],
            _ => &["2001:db8:1:2::/64", "2001:db8:1:4::/64"],
        };
        let expect: Vec<&str> = left.iter().copied().chain(["2001:db8:1:5::/64"]).collect();
        assert_eq!(stage.enforced(), expect, "{freed}");
        assert_eq!(usize::try_from(count).unwrap(), 5 - expect.len());
        stage.crash();
        assert_eq!(stage.enforced(), expect, "{freed}: nor does a restart bring it back");
        stage.offend("2001:db8:1:6::1");
        stage.offend("2001:db8:1:7::1");
        assert_eq!(stage.enforced().len(), expect.len() + 2, "two are not enough");
        stage.offend("2001:db8:1:8::1");
        assert!(stage.enforced().contains(&WIDE.to_owned()), "three new ones are");
    }
}

#[test]
fn a_neighbourhood_with_somebody_exempt_is_not_banned_and_that_is_said_once() {
    let mut plan = by_prefix(&[("widen", "3")]);
    plan.ignoreip.push("2001:db8:1:99::1".into());
    let mut stage = Stage::new(vec![plan]);
    NEIGHBOURS.iter().for_each(|who| stage.offend(who));
    stage.offend("2001:db8:1:5::1");
    assert_eq!(stage.enforced().len(), 4);
    assert_eq!(stage.noted("NotWidened"), 1);
    let mut stage = widening();
    NEIGHBOURS.iter().for_each(|who| stage.offend(who));
    stage.input(Input::Own(BTreeSet::from(["2001:db8:1:99::1".parse().unwrap()])));
    assert_eq!(stage.enforced(), NETWORKS, "also where that is known later");
    stage.input(Input::Own(BTreeSet::new()));
    assert_eq!(stage.enforced().len(), 4);
}

/// Bans by hand are no evidence, and a wide ban that somebody types is his.
#[test]
fn hands_and_evidence() {
    let mut stage = widening();
    NEIGHBOURS.iter().for_each(|who| assert_eq!(stage.ban_by_hand(who), 1));
    assert_eq!(stage.enforced().len(), 3);
    NEIGHBOURS.iter().for_each(|who| stage.offend(who));
    assert_eq!(stage.enforced().len(), 7);
    assert_eq!(stage.ban_by_hand(WIDE), 0, "it is banned already");
    let kept = &stage.bans[&("j".into(), id(WIDE))];
    assert!(!kept.is_widened() && kept.failures == 0, "{kept:?}");
    stage.wait(700);
    assert!(
        stage.enforced().contains(&WIDE.to_owned()),
        "not with the evidence: {:?}",
        stage.enforced()
    );
    assert_eq!(stage.unban(WIDE), 4);
    assert!(stage.enforced().is_empty());
}

/// A pardon is kept also of a ban whose later end was still to be kept.
#[test]
fn a_pardon_outlives_a_later_end() {
    let mut stage = widening();
    NEIGHBOURS.iter().for_each(|who| stage.offend(who));
    stage.wait(100);
    for _ in 0..3 {
        let failure = failure("j", Identity::Known(id(NEIGHBOURS[0])), stage.now);
        stage.lines_of(vec![failure], stage.offset + 1, false);
    }
    assert_eq!(stage.unban(NEIGHBOURS[1]), 2);
    let kept = &stage.bans[&("j".into(), id(NETWORKS[0]))];
    assert!(kept.data.contains_key(Ticket::PARDONED), "{kept:?}");
}

#[test]
fn other_options_after_a_reload() {
    let mut stage = widening();
    NEIGHBOURS.iter().for_each(|who| stage.offend(who));
    let reload = |stage: &mut Stage, options: &[(&str, &str)]| {
        stage.input(Input::Plan(vec![arrangement(by_prefix(options))]));
        stage.enforced().len()
    };
    assert_eq!(stage.enforced().len(), 4);
    assert_eq!(reload(&mut stage, &[("widen", "4")]), 3);
    assert_eq!(reload(&mut stage, &[("widen", "2"), ("widen.ipv6", "48")]), 4);
    assert!(stage.enforced().contains(&"2001:db8:1::/48".to_owned()));
    assert_eq!(reload(&mut stage, &[]), 3);
}

/// What may happen to somebody of a few neighbourhoods.
#[derive(Clone, Debug)]
enum Step {
    Offend(u16),
    Unban(u16),
    UnbanWide(u16),
    Free(u16),
    Wait(i64),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u16..12).prop_map(Step::Offend),
        1 => (0_u16..12).prop_map(Step::Unban),
        1 => (0_u16..2).prop_map(Step::UnbanWide),
        1 => (0_u16..12).prop_map(Step::Free),
        3 => (1_i64..300).prop_map(Step::Wait),
        1 => Just(Step::Crash),
    ]
}

/// The same by hand: who is banned until when, and whether that is evidence.
#[derive(Default)]
struct Model {
    bans: BTreeMap<u16, (Timestamp, bool)>,
}

impl Model {
    const LEAST: usize = 3;

    /// Hosts 0 to 5 live in one /56, the others in another.
    fn is_wide(&self, wide: u16) -> bool {
        let evidence = self
            .bans
            .iter()
            .filter(|(host, (_, counts))| **host / 6 == wide && *counts);
        evidence.count() >= Model::LEAST
    }

    fn shrink(&mut self, wide: u16) {
        if self.is_wide(wide) {
            self.bans
                .iter_mut()
                .filter(|(host, _)| **host / 6 == wide)
                .for_each(|(_, (_, counts))| *counts = false);
        }
    }

    fn enforced(&self) -> BTreeSet<Id> {
        let bans = self.bans.keys().map(|host| net(*host));
        let wide = (0..2).filter(|wide| self.is_wide(*wide)).map(wide_net);
        bans.chain(wide).collect()
    }
}

fn net(host: u16) -> Id {
    id(&format!("2001:db8:{:x}:{:x}::/64", 1 + host / 6, host % 6))
}

fn address(host: u16) -> String {
    format!("2001:db8:{:x}:{:x}::7", 1 + host / 6, host % 6)
}

fn wide_net(wide: u16) -> Id {
    id(&format!("2001:db8:{:x}::/56", 1 + wide))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// After anything: in force are the bans and those neighbourhoods that have enough of them, and nothing else.
    #[test]
    fn enforced_are_the_bans_and_what_they_are_evidence_for(steps in prop::collection::vec(step(), 1..60)) {
        let mut stage = widening();
        let mut model = Model::default();
        for step in steps {
            match step.clone() {
                Step::Offend(host) => {
                    let until = stage.now + Seconds::new(600);
                    stage.offend(&address(host));
                    let ban = model.bans.entry(host).or_insert((until, true));
                    ban.0 = until;
                }
                Step::Unban(host) => {
                    stage.unban(&address(host));
                    model.shrink(host / 6);
                    model.bans.remove(&host);
                }
                Step::Free(host) => {
                    stage.free(&net(host).to_string());
                    model.shrink(host / 6);
                    model.bans.remove(&host);
                }
                Step::UnbanWide(wide) => {
                    // Our verb frees everybody in a network.
                    stage.unban(&wide_net(wide).to_string());
                    model.bans.retain(|host, _| host / 6 != wide);
                }
                Step::Wait(seconds) => stage.wait(seconds),
                Step::Crash => stage.crash(),
            }
            let now = stage.now;
            model.bans.retain(|_, (until, _)| *until >= now);
            let enforced: BTreeSet<Id> = stage.enforced().iter().map(|text| id(text)).collect();
            prop_assert_eq!(enforced, model.enforced(), "after {:?}", step);
        }
    }
}
