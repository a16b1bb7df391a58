//! Writes take their time, and only one goes on in a network.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::{Busy, Fake, Fault, Problem};
use crate::raw::Raw;

const RULE: &str = "/global/firewalls/block-ip";

fn start() -> (Fake, Raw) {
    let fake = Fake::start();
    fake.block_ip(&["192.0.2.1/32"]);
    let raw = Raw::new(&fake);
    (fake, raw)
}

fn ranges(list: &[&str]) -> Value {
    json!({"sourceRanges": list})
}

#[test]
fn a_write_runs_first_and_is_done_later() {
    let (fake, mut raw) = start();
    fake.settings(|settings| settings.pace = Duration::from_millis(300));
    let began = Instant::now();
    let answer = raw.call("PATCH", RULE, &ranges(&["198.51.100.7/32"]));
    assert_eq!(
        (&answer.body["status"], &answer.body["progress"]),
        (&json!("RUNNING"), &json!(0))
    );
    assert_eq!(answer.body["operationType"], "patch");
    assert!(answer.body["id"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!(fake.ranges("block-ip"), ["192.0.2.1/32"]);
    let path = format!("/global/operations/{}", answer.operation());
    assert_eq!(raw.get(&path).body["status"], "RUNNING");
    // `wait` blocks until it is over.
    let end = raw.call("POST", &format!("{path}/wait"), &Value::Null);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        (&end.body["status"], &end.body["progress"]),
        (&json!("DONE"), &json!(100))
    );
    assert_eq!(end.body["targetId"], fake.rule("block-ip").unwrap().body["id"]);
    assert_eq!(fake.ranges("block-ip"), ["198.51.100.7/32"]);
    let (called, changed) = (fake.records()[0].at, fake.changes("block-ip")[1].at);
    assert!(
        changed - called >= Duration::from_millis(300),
        "it takes effect when it ends"
    );
    assert_eq!(raw.get(&path).body, end.body);
    let list = raw.get("/global/operations").body;
    assert_eq!(list["items"], json!([end.body]));
}

#[test]
fn wait_has_its_own_patience() {
    let (fake, mut raw) = start();
    fake.script("PATCH", RULE, 1, Fault::Held);
    fake.settings(|settings| settings.patience = Duration::from_millis(100));
    let answer = raw.call("PATCH", RULE, &ranges(&["198.51.100.7/32"]));
    let wait = format!("/global/operations/{}/wait", answer.operation());
    for _ in 0..2 {
        assert_eq!(raw.call("POST", &wait, &Value::Null).body["status"], "RUNNING");
    }
    fake.release();
    assert_eq!(raw.finish(&answer)["status"], "DONE");
    assert_eq!(fake.ranges("block-ip"), ["198.51.100.7/32"]);
}

#[test]
fn an_operation_can_end_with_an_error() {
    let (fake, mut raw) = start();
    fake.script("PATCH", RULE, 1, Fault::Fails(Problem::operations()));
    let answer = raw.call("PATCH", RULE, &ranges(&["198.51.100.7/32"]));
    let end = raw.finish(&answer);
    assert_eq!(end["httpErrorStatusCode"], 403);
    assert_eq!(end["error"]["errors"][0]["code"], "QUOTA_EXCEEDED");
    assert_eq!(fake.ranges("block-ip"), ["192.0.2.1/32"]);
    // A rule that is gone by then.
    let answer = raw.call("PATCH", RULE, &ranges(&["198.51.100.7/32"]));
    fake.delete("block-ip");
    assert_eq!(raw.finish(&answer)["httpErrorStatusCode"], 404);
}

#[test]
fn a_second_write_to_a_network_is_refused_or_waits() {
    let (fake, mut raw) = start();
    fake.make(&json!({"name": "other", "sourceRanges": ["192.0.2.1/32"]}));
    let first = raw.call("PATCH", RULE, &ranges(&["198.51.100.7/32"]));
    for path in [RULE, "/global/firewalls/other"] {
        let second = raw.call("PATCH", path, &ranges(&["198.51.100.8/32"]));
        assert_eq!(second.short(), "400 resourceNotReady");
    }
    raw.finish(&first);
    fake.settings(|settings| settings.busy = Busy::Queued);
    let lists = [["198.51.100.9/32"], ["198.51.100.10/32"]];
    let writes: Vec<_> = lists
        .iter()
        .map(|list| raw.call("PATCH", RULE, &ranges(list)))
        .collect();
    for (write, list) in writes.iter().zip(lists) {
        raw.finish(write);
        assert_eq!(fake.ranges("block-ip"), list);
    }
}

/// The same id and the same body are the same request; the same id with another body is a mistake.
#[test]
fn a_request_is_known_by_its_id() {
    let (fake, mut raw) = start();
    let path = |id: &str| format!("{RULE}?requestId={id}");
    let id = "7f1c3a52-9f0e-4c58-8a53-5a0f6f0f8b11";
    let first = raw.call("PATCH", &path(id), &ranges(&["198.51.100.7/32"]));
    let second = raw.call("PATCH", &path(id), &ranges(&["198.51.100.7/32"]));
    assert_eq!(first.operation(), second.operation());
    raw.finish(&first);
    fake.remove("block-ip", &["198.51.100.7/32"]);
    let third = raw.call("PATCH", &path(id), &ranges(&["198.51.100.7/32"]));
    assert_eq!(
        (third.operation(), &third.body["status"]),
        (first.operation(), &json!("DONE"))
    );
    assert_eq!(fake.ranges("block-ip"), ["0.0.0.0/0"], "it is not done again");
    let other = raw.call("PATCH", &path(id), &ranges(&["198.51.100.8/32"]));
    assert_eq!(other.short(), "400 invalid");
    for id in [
        "1",
        "00000000-0000-0000-0000-000000000000",
        "7f1c3a52-9f0e-4c58-8a53-5a0f6f0f8bxx",
    ] {
        let answer = raw.call("PATCH", &path(id), &ranges(&["198.51.100.9/32"]));
        assert_eq!(answer.short(), "400 invalid", "{id}");
    }
}

/// A person edits while an operation runs: its list replaces theirs, because no precondition exists.
#[test]
fn a_person_edits_meanwhile() {
    let (fake, mut raw) = start();
    let answer = raw.call("PATCH", RULE, &ranges(&["192.0.2.1/32", "198.51.100.7/32"]));
    fake.add("block-ip", &["203.0.113.0/24"]);
    assert_eq!(fake.ranges("block-ip"), ["192.0.2.1/32", "203.0.113.0/24"]);
    raw.finish(&answer);
    assert_eq!(fake.ranges("block-ip"), ["192.0.2.1/32", "198.51.100.7/32"]);
    fake.disable("block-ip");
    assert_eq!(raw.get(RULE).body["disabled"], true);
    fake.clear("block-ip");
    assert_eq!(fake.ranges("block-ip"), ["0.0.0.0/0"]);
    let lists: Vec<_> = fake
        .changes("block-ip")
        .into_iter()
        .filter_map(|change| change.ranges)
        .collect();
    let lengths: Vec<_> = lists.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 2, 2, 2, 1]);
    fake.delete("block-ip");
    assert_eq!(fake.changes("block-ip").last().unwrap().ranges, None);
    assert_eq!(raw.get(RULE).status, 404);
}
