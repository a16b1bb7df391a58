//! What goes wrong, class by class.

use ipnet::IpNet;

use super::api::Fault;
use super::scenes::{nets, own, with_sentinel};
use super::stage::Stage;
use crate::cloud::options::Options;
use crate::cloud::reconcile::{Call, Input};
use crate::cloud::trouble::Kind;
use crate::ledger::Standing;
use crate::time::{Clock, Seconds};

/// After a ban whose write goes wrong in this way: seconds until it is in the rule, at most.
fn check(options: Options, fault: &Fault, within: i64) {
    let mut stage = Stage::single(options, &[crate::cloud::SENTINELS[0]]);
    stage.run(Seconds::new(70));
    // The read goes well, then the write does not.
    stage.ban(0, "198.51.100.1/32");
    stage.writers[0].faults = vec![fault.clone()];
    stage.run(Seconds::new(within));
    let standing = stage.writers[0].standings.get(&"198.51.100.1/32".parse().unwrap());
    let view = stage.writers[0].reconciler.view(Clock::at(stage.now));
    assert_eq!(
        standing,
        Some(&Standing::Verified),
        "{fault:?}: {view:?} {:?}",
        stage.api.written_at
    );
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&["198.51.100.1/32"]),
        "{fault:?}"
    );
    assert_eq!(stage.writers[0].failing, None, "{fault:?}");
}

#[test]
fn each_trouble_passes_in_its_time() {
    for options in [Options::new("block-ip"), own()] {
        for (fault, within) in [
            (Fault::LostRequest, 20),
            (Fault::LostReply, 20),
            (Fault::Refused(Kind::Token), 12),
            (Fault::Refused(Kind::Rate), 75),
            (Fault::Refused(Kind::Busy), 15),
            (Fault::Refused(Kind::Conflict), 15),
            (Fault::Refused(Kind::Unknown), 15),
            (Fault::Refused(Kind::Missing), 15),
            (Fault::Refused(Kind::Permission), 320),
            (Fault::Refused(Kind::Scope), 320),
            (Fault::Refused(Kind::ApiOff), 320),
            (Fault::Refused(Kind::Credentials), 320),
            (Fault::Refused(Kind::Refused), 75),
            (Fault::Ends(Kind::Unknown), 25),
            (Fault::Ends(Kind::Busy), 25),
            (Fault::Ends(Kind::Rate), 90),
            (Fault::Ends(Kind::Permission), 330),
        ] {
            // Once for the read that comes first, once for the write, once for what follows it.
            check(options.clone(), &fault, within);
            for ahead in 1..=2 {
                let mut stage = Stage::single(options.clone(), &[crate::cloud::SENTINELS[0]]);
                stage.run(Seconds::new(70));
                stage.ban(0, "198.51.100.1/32");
                stage.run(Seconds::from_f64(0.05));
                // The first call is on its way by now, and goes well.
                for _ in 1..ahead {
                    stage.run(Seconds::from_f64(0.2));
                }
                stage.writers[0].faults = vec![fault.clone()];
                stage.run(Seconds::new(within + 60));
                assert_eq!(
                    stage.api.ranges("block-ip"),
                    with_sentinel(&["198.51.100.1/32"]),
                    "{fault:?} {ahead}"
                );
                assert_eq!(stage.writers[0].failing, None, "{fault:?} {ahead}");
                let standing = stage.writers[0].standings.get(&"198.51.100.1/32".parse().unwrap());
                assert_eq!(standing, Some(&Standing::Verified), "{fault:?} {ahead}");
            }
        }
    }
}

#[test]
fn a_missing_permission_is_said_once_with_its_mend() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    stage.run(Seconds::new(10));
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::from_f64(0.05));
    stage.writers[0].faults = vec![Fault::Refused(Kind::Permission)];
    stage.run(Seconds::new(60));
    let text = stage.writers[0].failing.clone().unwrap();
    assert!(text.contains("gcloud projects add-iam-policy-binding"), "{text}");
    assert_eq!(stage.api.writes, 0);
    // Whoever asks for a review is not kept waiting.
    stage.hear(0, Input::Review);
    stage.run(Seconds::new(10));
    assert_eq!(stage.writers[0].failing, None);
    assert_eq!(stage.api.writes, 1);
}

#[test]
fn an_entry_that_is_refused_is_left_out_by_name() {
    for place in [Some(1), None] {
        let mut stage = Stage::single(Options::new("block-ip"), &[]);
        stage.run(Seconds::new(10));
        for number in 1..=4 {
            stage.ban(0, &format!("198.51.100.{number}/32"));
        }
        stage.run(Seconds::from_f64(0.05));
        // Without a place three halves are tried: 4 of them, 2, 1.
        let times = if place.is_some() { 1 } else { 5 };
        let bad = "198.51.100.1/32".parse::<IpNet>().unwrap();
        stage.writers[0].faults = Vec::new();
        let mut refused = 0;
        for _ in 0..200 {
            stage.run(Seconds::from_f64(0.1));
            let is_bad = stage.writers[0].is_about_to_write(&bad);
            if let Some(at) = is_bad.filter(|_| refused < times) {
                refused += 1;
                stage.writers[0].fail_flight(Fault::Refused(Kind::Entry(place.map(|_| at))));
            }
        }
        stage.run(Seconds::new(30));
        assert_eq!(
            stage.api.ranges("block-ip"),
            with_sentinel(&["198.51.100.2/32", "198.51.100.3/32", "198.51.100.4/32"]),
            "{place:?}"
        );
        assert!(
            matches!(stage.writers[0].standings.get(&bad), Some(Standing::Failed(_))),
            "{place:?}"
        );
        assert!(
            stage.writers[0]
                .notes
                .iter()
                .any(|note| note.contains("198.51.100.1/32")),
            "{place:?}"
        );
    }
}

#[test]
fn without_room_for_more_rules_the_least_valuable_is_evicted_by_name() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    stage.api.cap = 4;
    stage.api.most_rules = 1;
    for number in 1..=5 {
        let until = stage.now + Seconds::new(100_000 * number);
        stage.ban_until(0, &format!("198.51.100.{}/32", 2 * number), Some(until));
    }
    stage.ban(0, "2001:db8:1::/64");
    stage.run(Seconds::new(120));
    assert_eq!(
        stage.api.ranges("block-ip"),
        with_sentinel(&["198.51.100.6/32", "198.51.100.8/32", "198.51.100.10/32"])
    );
    assert!(
        stage.writers[0]
            .notes
            .iter()
            .any(|note| note.contains("198.51.100.2/32, 198.51.100.4/32"))
    );
    let view = stage.writers[0].reconciler.view(Clock::at(stage.now));
    assert_eq!(
        view.evicted.iter().copied().collect::<std::collections::BTreeSet<_>>(),
        nets(&["198.51.100.2/32", "198.51.100.4/32"])
    );
    assert_eq!(view.local_only.map(|(count, _)| count), Some(1));
    let six = stage.writers[0].standings.get(&"2001:db8:1::/64".parse().unwrap());
    assert!(
        matches!(six, Some(Standing::Protected(why)) if why.starts_with("IPv6 stays local")),
        "{six:?}"
    );
    stage.api.most_rules = 10;
    stage.run(Seconds::new(2 * 3600));
    assert_eq!(stage.api.rules.len(), 3);
}

#[test]
fn an_id_is_used_again_only_for_the_same_list_of_which_nobody_knows() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    let list = |stage: &Stage| -> Vec<(Vec<IpNet>, String)> {
        let calls = stage.api.written_at.iter();
        let writes = calls.filter_map(|(_, call)| match call {
            Call::Write { ranges, request, .. } => Some((ranges.clone(), request.clone())),
            _ => None,
        });
        writes.collect()
    };
    for _ in 0..3 {
        stage.ban(0, "198.51.100.1/32");
        stage.run(Seconds::new(20));
        stage.unban(0, "198.51.100.1/32");
        stage.run(Seconds::new(90));
    }
    let writes = list(&stage);
    assert_eq!(writes.len(), 6);
    let ids: std::collections::BTreeSet<&String> = writes.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 6, "each list was written, and its id is used up");
}

#[test]
fn a_process_that_dies_while_its_operation_runs_follows_it_to_its_end() {
    let mut stage = Stage::single(Options::new("block-ip"), &[]);
    stage.ban(0, "198.51.100.1/32");
    stage.run(Seconds::new(2));
    stage.start(0);
    stage.run(Seconds::new(20));
    assert_eq!(stage.api.writes, 1);
    assert_eq!(stage.api.refused_as_busy, 0);
    assert_eq!(
        stage.writers[0].standings.get(&"198.51.100.1/32".parse().unwrap()),
        Some(&Standing::Verified)
    );
}
