//! Lists with their pages and filters, and what lies above a rule.

use serde_json::{Value, json};

use crate::fake::{Fake, INSTANCE, NUMBER, PROJECT, ZONE};
use crate::raw::Raw;

const RULES: &str = "/global/firewalls";

fn names(body: &Value) -> Vec<&str> {
    let items = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

fn fake_with(rules: &[&str]) -> Fake {
    let fake = Fake::start();
    for name in rules {
        fake.make(&json!({"name": name, "sourceRanges": ["192.0.2.1/32"]}));
    }
    fake
}

#[test]
fn pages_follow_each_other() {
    let fake = fake_with(&["a", "b", "c", "d", "e"]);
    let mut raw = Raw::new(&fake);
    let (mut all, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let body = raw.get(&format!("{RULES}?maxResults=2{token}")).body;
        all.extend(names(&body).into_iter().map(str::to_owned));
        pages += 1;
        let Some(next) = body["nextPageToken"].as_str() else {
            break;
        };
        token = format!("&pageToken={next}");
    }
    assert_eq!((all.join(""), pages), ("abcde".to_owned(), 3));
    fake.settings(|settings| settings.page = 4);
    let body = raw.get(RULES).body;
    assert_eq!(names(&body).len(), 4, "the service may give less than was asked for");
    assert!(body["nextPageToken"].is_string());
    assert_eq!(raw.get(&format!("{RULES}?maxResults=501")).status, 400);
    assert_eq!(raw.get(&format!("{RULES}?pageToken=x")).status, 400);
}

#[test]
fn filters_choose() {
    let fake = fake_with(&["block-ip", "block-ip-2", "block-ipv6", "my-block-ip"]);
    fake.set("block-ip-2", "priority", json!(7));
    let mut raw = Raw::new(&fake);
    let mut check = |filter: &str, expect: Option<&[&str]>| {
        let coded: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = raw.get(&format!("{RULES}?filter={coded}"));
        match expect {
            Some(expect) => assert_eq!(names(&answer.body), expect, "{filter}"),
            None => assert_eq!(answer.short(), "400 invalid", "{filter}"),
        }
    };
    check("name = block-ip", Some(&["block-ip"]));
    check("name=\"block-ip\"", Some(&["block-ip"]));
    check("name != block-ip", Some(&["block-ip-2", "block-ipv6", "my-block-ip"]));
    check("name eq block-ip", Some(&["block-ip"]));
    check("name eq block-ip.*", Some(&["block-ip", "block-ip-2", "block-ipv6"]));
    check(
        "name eq \".*\\bblock-ip\\b.*\"",
        Some(&["block-ip", "block-ip-2", "my-block-ip"]),
    );
    check("(name eq block-ip.*) (priority = 7)", Some(&["block-ip-2"]));
    check("name:block-ip*", Some(&["block-ip", "block-ip-2", "block-ipv6"]));
    check("name eq nothing", Some(&[]));
    check("name ~ block", None);
    check("block-ip", None);
    check("name eq (", None);
    let body = raw.get(&format!("{RULES}?filter=name%20eq%20nothing")).body;
    assert_eq!(body.get("items"), None);
}

#[test]
fn projects_go_by_id_and_number() {
    let fake = fake_with(&[]);
    let mut raw = Raw::new(&fake);
    let body = raw.get("").body;
    assert_eq!(
        (&body["name"], &body["id"]),
        (&json!(PROJECT), &json!(NUMBER.to_string()))
    );
    let body = raw.get("/global/networks/default").body;
    assert!(
        body["selfLink"]
            .as_str()
            .unwrap()
            .ends_with("projects/fake-project/global/networks/default")
    );
    assert_eq!(body["networkFirewallPolicyEnforcementOrder"], "AFTER_CLASSIC_FIREWALL");
}

#[test]
fn what_lies_above_a_rule() {
    let fake = fake_with(&["block-ip"]);
    let mut raw = Raw::new(&fake);
    let machine = format!("/zones/{ZONE}/instances/{INSTANCE}");
    assert_eq!(raw.get(&machine).body["networkInterfaces"][0]["name"], "nic0");
    let above = format!("{machine}/getEffectiveFirewalls");
    assert_eq!(raw.get(&above).short(), "400 required");
    assert_eq!(
        raw.get(&format!("{above}?networkInterface=nic1")).short(),
        "400 invalid"
    );
    let nic0 = format!("{above}?networkInterface=nic0");
    assert_eq!(raw.get(&nic0).body["firewalls"][0]["name"], "block-ip");
    assert_eq!(raw.get(&nic0).body.get("firewallPolicys"), None);
    let rule =
        json!({"priority": 100, "action": "allow", "direction": "INGRESS", "match": {"srcIpRanges": ["0.0.0.0/0"]}});
    let policy = json!({"name": "771", "type": "HIERARCHY", "shortName": "corporate", "rules": [rule]});
    fake.with(|state| state.policies.push(policy.clone()));
    assert_eq!(raw.get(&nic0).body["firewallPolicys"], json!([policy]));
    let network = raw.get("/global/networks/default/getEffectiveFirewalls").body;
    assert_eq!(network["firewalls"][0]["name"], "block-ip");
    assert_eq!(network["firewallPolicys"], json!([policy]));
    assert_eq!(raw.get("/zones/elsewhere/instances/mail").status, 404);
}
