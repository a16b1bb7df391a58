//! What must never happen is seen: each test does it in portcullis's name.

use serde_json::{Value, json};

use crate::fake::Fake;
use crate::raw::Raw;
use crate::schema;

const RULE: &str = "/global/firewalls/block-ip";
const ID: &str = "requestId=7f1c3a52-9f0e-4c58-8a53-5a0f6f0f8b11";

/// What is found when portcullis does this to a rule with these sources, which it has read.
fn check(method: &str, query: &str, body: Value, expect: &[&str]) {
    let fake = Fake::start();
    fake.block_ip(&["192.0.2.1/32", "203.0.113.0/24"]);
    fake.forbid(&["10.0.0.0/8", "198.51.100.25/32"]);
    let mut ours = Raw::called(&fake, "portcullis/0.1.0");
    ours.get(RULE);
    let answer = ours.call(method, &format!("{RULE}?{query}"), &body);
    if answer.status == 200 {
        ours.finish(&answer);
    }
    let found = fake.findings();
    let texts: Vec<&str> = found
        .iter()
        .map(|text| text.split("block-ip ").last().unwrap())
        .collect();
    assert_eq!(texts, expect, "{method} {body}");
}

#[test]
fn every_write_is_looked_at() {
    let list = |list: &[&str]| json!({"sourceRanges": list});
    check(
        "PATCH",
        ID,
        list(&["192.0.2.1/32", "203.0.113.0/24", "198.51.100.7/32"]),
        &[],
    );
    check("PATCH", ID, list(&["203.0.113.0/24", "198.51.100.7/32"]), &[]);
    check("PATCH", ID, json!({"description": "[portcullis writer=mail]"}), &[]);
    check("PATCH", "", list(&["203.0.113.0/24"]), &["has no requestId"]);
    check(
        "PATCH",
        ID,
        list(&["192.0.2.1/32"]),
        &["takes out 203.0.113.0/24, which a person had put there"],
    );
    check(
        "PATCH",
        ID,
        list(&["203.0.113.0/24", "10.1.0.0/16"]),
        &["writes 10.1.0.0/16, and 10.0.0.0/8 is forbidden"],
    );
    check(
        "PATCH",
        ID,
        list(&["203.0.113.0/24", "198.51.100.0/24"]),
        &["writes 198.51.100.0/24, and 198.51.100.25/32 is forbidden"],
    );
    check(
        "PATCH",
        ID,
        list(&["203.0.113.0/24", "203.0.113.0/24"]),
        &["writes a range twice"],
    );
    check(
        "PATCH",
        ID,
        json!({"sourceRanges": ["203.0.113.0/24"], "priority": 7}),
        &[r#"sets ["sourceRanges", "priority"]"#],
    );
    check("DELETE", ID, Value::Null, &["deletes what it did not make"]);
    let whole = json!({"name": "block-ip", "denied": [{"IPProtocol": "all"}], "sourceRanges": ["203.0.113.0/24"]});
    check("PUT", ID, whole, &["replaces a whole rule"]);
}

/// An emptied list is found in the request, and again in what becomes of the rule.
#[test]
fn an_emptied_rule_is_found_twice() {
    let fake = Fake::start();
    fake.block_ip(&["192.0.2.1/32"]);
    let mut ours = Raw::called(&fake, "portcullis/0.1.0");
    ours.done("PATCH", &format!("{RULE}?{ID}"), &json!({"sourceRanges": []}));
    let found = fake.findings();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].ends_with("writes an empty list") && found[1].ends_with("denies everybody"),
        "{found:?}"
    );
}

/// A person's edit between reading and writing cannot be kept by anybody, and is not held against portcullis.
#[test]
fn what_could_not_be_known_is_no_finding() {
    let fake = Fake::start();
    fake.block_ip(&["192.0.2.1/32"]);
    let mut ours = Raw::called(&fake, "portcullis/0.1.0");
    ours.get(RULE);
    fake.add("block-ip", &["203.0.113.0/24"]);
    ours.done(
        "PATCH",
        &format!("{RULE}?{ID}"),
        &json!({"sourceRanges": ["192.0.2.1/32", "198.51.100.7/32"]}),
    );
    // Nor what a person does.
    fake.clear("block-ip");
    assert_eq!(fake.findings(), Vec::<String>::new());
}

#[test]
fn rules_that_are_not_ours_to_write() {
    for (field, value) in [("disabled", json!(true)), ("direction", json!("EGRESS"))] {
        let fake = Fake::start();
        fake.block_ip(&["192.0.2.1/32"]);
        fake.set("block-ip", field, value);
        let mut ours = Raw::called(&fake, "portcullis/0.1.0");
        ours.get("/global/firewalls");
        ours.call(
            "PATCH",
            &format!("{RULE}?{ID}"),
            &json!({"sourceRanges": ["198.51.100.7/32"]}),
        );
        let found = fake.findings();
        assert!(
            found.iter().any(|text| text.ends_with("no deny rule in force")),
            "{field}: {found:?}"
        );
    }
}

#[test]
fn nobody_else_may_call() {
    let fake = Fake::start();
    Raw::called(&fake, "curl/8").get("");
    let found = fake.findings();
    assert!(
        found.len() == 1 && found[0].ends_with(r#"comes from "curl/8""#),
        "{found:?}"
    );
    Raw::called(&fake, "google-cloud-sdk gcloud/528.0.0").get("");
    assert_eq!(fake.findings(), Vec::<String>::new());
}

/// The check against the published description sees what differs from it.
#[test]
fn the_description_knows_better() {
    if schema::api().is_none() {
        return;
    }
    let fake = Fake::start();
    fake.block_ip(&["192.0.2.1/32"]);
    let mut raw = Raw::new(&fake);
    raw.get(RULE);
    let good = fake.records().remove(0);
    let check = |change: &dyn Fn(&mut crate::fake::Record), expect: &str| {
        let mut record = good.clone();
        change(&mut record);
        let found = schema::differences(&[record]);
        assert!(found.iter().any(|text| text.ends_with(expect)), "{expect}: {found:?}");
    };
    assert_eq!(schema::differences(std::slice::from_ref(&good)), Vec::<String>::new());
    let answer = |field: &'static str, value: Value| {
        move |record: &mut crate::fake::Record| record.answer.as_mut().unwrap().1[field] = value.clone()
    };
    check(&answer("fingerprint", json!("x")), "a field Firewall.fingerprint");
    check(&answer("priority", json!("10")), "Firewall.priority is \"10\"");
    check(
        &answer("direction", json!("INWARD")),
        "Firewall.direction is \"INWARD\"",
    );
    check(&answer("sourceRanges", json!([1])), "Firewall.sourceRanges is 1");
    check(&answer("id", json!("x")), "Firewall.id is \"x\"");
    check(
        &|record| record.query.push(("colour".to_owned(), "red".to_owned())),
        "a parameter colour",
    );
    check(
        &|record| record.path = record.path.replace("firewalls", "walls"),
        "no such method",
    );
    check(&|record| record.method = "PATCH".to_owned(), "Firewall is null");
    check(&|record| record.body = json!({"a": 1}), "a body");
}
