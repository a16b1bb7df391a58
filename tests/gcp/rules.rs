//! What the fake takes as a rule, and what it makes of it.

use serde_json::{Value, json};

use crate::fake::{Fake, PROJECT, Project};
use crate::raw::Raw;

const RULE: &str = "/global/firewalls/block-ip";
const RULES: &str = "/global/firewalls";

/// A deny rule with these fields besides.
fn rule(fields: Value) -> Value {
    let mut rule = json!({"name": "new", "denied": [{"IPProtocol": "all"}]});
    for (name, value) in fields.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

/// What inserting a rule answers, and which field is complained about.
fn check_insert(fields: Value, expect: &str) {
    let fake = Fake::start();
    fake.settings(|settings| settings.limits.most = 3);
    let answer = Raw::new(&fake).call("POST", RULES, &rule(fields.clone()));
    let message = answer.body["error"]["message"].as_str().unwrap_or_default();
    let field = message
        .split("'resource.")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let got = [answer.short(), field.unwrap_or_default().to_owned()].join(" ");
    assert_eq!(got.trim(), expect, "{fields}: {message}");
}

#[test]
fn a_rule_is_refused_or_taken() {
    check_insert(json!({"sourceRanges": ["198.51.100.7/32"]}), "200");
    check_insert(json!({"sourceRanges": ["2001:db8::/64"]}), "200");
    // The lists.
    check_insert(
        json!({"sourceRanges": ["2001:db8::/64", "198.51.100.7/32"]}),
        "400 invalid sourceRanges[1]",
    );
    check_insert(
        json!({"sourceRanges": ["198.51.100.7/32", "2001:db8::/64"]}),
        "400 invalid sourceRanges[1]",
    );
    check_insert(
        json!({"sourceRanges": ["198.51.100.0/24", "203.0.113.7/24"]}),
        "400 invalid sourceRanges[1]",
    );
    check_insert(json!({"sourceRanges": ["198.51.100.7"]}), "400 invalid sourceRanges[0]");
    check_insert(json!({"sourceRanges": ["nobody"]}), "400 invalid sourceRanges[0]");
    check_insert(json!({"sourceRanges": [7]}), "400 invalid sourceRanges");
    check_insert(json!({"sourceRanges": "198.51.100.7/32"}), "400 invalid sourceRanges");
    let four = ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"];
    check_insert(json!({"sourceRanges": four}), "413 fieldSizeTooLarge sourceRanges");
    // Names.
    let longest = "a".repeat(63);
    check_insert(json!({"name": longest}), "200");
    for name in ["", "A", "1a", "a-", "a_b", &"a".repeat(64), "ä"] {
        check_insert(json!({"name": name}), "400 invalid name");
    }
    check_insert(json!({"name": null}), "400 required name");
    // The rest.
    check_insert(json!({"priority": 65535}), "200");
    check_insert(json!({"priority": 65536}), "400 invalid priority");
    check_insert(json!({"priority": "10"}), "400 invalid priority");
    check_insert(json!({"direction": "INWARD"}), "400 invalid direction");
    check_insert(json!({"denied": null}), "400 invalid");
    check_insert(json!({"allowed": [{"IPProtocol": "tcp"}]}), "400 invalid");
    check_insert(
        json!({"denied": [{"ports": ["25"]}]}),
        "400 required denied[0].IPProtocol",
    );
    check_insert(
        json!({"denied": [{"IPProtocol": "icmp", "ports": ["1"]}]}),
        "400 invalid denied[0].IPProtocol",
    );
    check_insert(
        json!({"direction": "EGRESS", "sourceRanges": ["192.0.2.1/32"]}),
        "400 invalid",
    );
    check_insert(
        json!({"targetTags": ["a"], "targetServiceAccounts": ["b"]}),
        "400 invalid",
    );
    check_insert(
        json!({"logConfig": {"enable": true, "metadata": "SOME"}}),
        "400 invalid logConfig",
    );
    check_insert(json!({"network": "global/networks/other"}), "404 notFound");
    check_insert(json!({"network": "default"}), "400 invalid network");
    check_insert(json!({"ranges": []}), "400 invalid");
    check_insert(json!({"description": "x".repeat(2049)}), "400 invalid description");
}

#[test]
fn the_largest_size_is_said() {
    let fake = Fake::start();
    for most in [256, 5000] {
        fake.settings(|settings| settings.limits.most = most);
        let ranges = |count: usize| {
            let text = |place| format!("198.18.{}.{}/32", place / 256, place % 256);
            json!({"sourceRanges": (0..count).map(text).collect::<Vec<_>>()})
        };
        fake.block_ip(&["192.0.2.1/32"]);
        let mut raw = Raw::new(&fake);
        raw.done("PATCH", RULE, &ranges(most));
        assert_eq!(fake.ranges("block-ip").len(), most);
        let answer = raw.call("PATCH", RULE, &ranges(most + 1));
        assert_eq!(answer.short(), "413 fieldSizeTooLarge");
        let said = format!("maximum size {most} element(s); actual size {}.", most + 1);
        assert!(answer.text.contains(&said), "{answer:?}");
        fake.delete("block-ip");
    }
}

#[test]
fn what_is_missing_is_filled_in() {
    let fake = Fake::start();
    let mut raw = Raw::new(&fake);
    raw.done("POST", RULES, &rule(json!({})));
    let body = raw.get("/global/firewalls/new").body;
    let expect = json!({
        "kind": "compute#firewall", "name": "new", "direction": "INGRESS", "priority": 1000, "disabled": false,
        "denied": [{"IPProtocol": "all"}], "sourceRanges": ["0.0.0.0/0"], "logConfig": {"enable": false},
        "network": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/default"),
        "selfLink": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/firewalls/new"),
    });
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&body[name], value, "{name}");
    }
    assert!(body["id"].as_str().unwrap().parse::<u64>().is_ok());
    assert!(
        body["creationTimestamp"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    assert_eq!((body.get("fingerprint"), body.get("etag")), (None, None));
}

/// A merge patch: what is not named stays, lists are replaced whole, null takes away.
#[test]
fn a_patch_changes_what_it_names() {
    let fake = Fake::start();
    fake.block_ip(&["203.0.113.0/24", "192.0.2.1/32"]);
    fake.set("block-ip", "description", json!("by hand"));
    fake.set("block-ip", "targetTags", json!(["mail"]));
    fake.set(
        "block-ip",
        "logConfig",
        json!({"enable": true, "metadata": "EXCLUDE_ALL_METADATA"}),
    );
    let mut raw = Raw::new(&fake);
    let before = raw.get(RULE).body;
    raw.done("PATCH", RULE, &json!({"sourceRanges": ["198.51.100.7/32"]}));
    let mut expect = before;
    expect["sourceRanges"] = json!(["198.51.100.7/32"]);
    assert_eq!(raw.get(RULE).body, expect);
    raw.done(
        "PATCH",
        RULE,
        &json!({"targetTags": null, "logConfig": {"enable": false}}),
    );
    expect.as_object_mut().unwrap().shift_remove("targetTags");
    expect["logConfig"]["enable"] = json!(false);
    assert_eq!(raw.get(RULE).body, expect);
}

/// The trap. That an insert without sources means everybody is documented and recorded; for a patch it is our guess.
#[test]
fn a_list_without_entries_means_everybody() {
    for nothing in [json!([]), Value::Null] {
        let fake = Fake::start();
        fake.block_ip(&["198.51.100.7/32"]);
        Raw::new(&fake).done("PATCH", RULE, &json!({"sourceRanges": nothing}));
        assert_eq!(fake.ranges("block-ip"), ["0.0.0.0/0"]);
    }
    let fake = Fake::start();
    fake.block_ip(&["198.51.100.7/32"]);
    fake.set("block-ip", "sourceTags", json!(["bad"]));
    Raw::new(&fake).done("PATCH", RULE, &json!({"sourceRanges": []}));
    assert_eq!(fake.ranges("block-ip"), Vec::<String>::new());
}

#[test]
fn a_patch_is_refused_as_an_insert_is() {
    let fake = Fake::start();
    fake.block_ip(&["198.51.100.7/32"]);
    let mut raw = Raw::new(&fake);
    let mut check = |method: &str, path: &str, body: Value, expect: &str| {
        let answer = raw.call(method, path, &body);
        assert_eq!(answer.short(), expect, "{method} {path} {body}: {}", answer.text);
    };
    check(
        "PATCH",
        RULE,
        json!({"sourceRanges": ["198.51.100.7/24"]}),
        "400 invalid",
    );
    check(
        "PATCH",
        RULE,
        json!({"sourceRanges": ["198.51.100.7/32", "::1/128"]}),
        "400 invalid",
    );
    check("PATCH", RULE, json!({"name": "other"}), "400 invalid");
    check("PATCH", RULE, json!({"direction": "EGRESS"}), "400 invalid");
    check(
        "PATCH",
        RULE,
        json!({"allowed": [{"IPProtocol": "tcp"}]}),
        "400 invalid",
    );
    check("PATCH", RULE, json!(["198.51.100.7/32"]), "400 parseError");
    check("PATCH", RULE, Value::Null, "400 parseError");
    check(
        "PATCH",
        "/global/firewalls/other",
        json!({"sourceRanges": ["198.51.100.7/32"]}),
        "404 notFound",
    );
    check(
        "PUT",
        "/global/firewalls/other",
        rule(json!({"name": "other"})),
        "404 notFound",
    );
    check("DELETE", "/global/firewalls/other", Value::Null, "404 notFound");
    check("GET", "/global/firewalls/other", Value::Null, "404 notFound");
    check("GET", "/global/networks/other", Value::Null, "404 notFound");
    check("GET", "/global/operations/other", Value::Null, "404 notFound");
    check("POST", RULES, rule(json!({"name": "block-ip"})), "409 alreadyExists");
    assert_eq!(fake.ranges("block-ip"), ["198.51.100.7/32"]);
}

#[test]
fn an_update_replaces_the_rule() {
    let fake = Fake::start();
    fake.block_ip(&["198.51.100.7/32"]);
    let before = fake.rule("block-ip").unwrap().body;
    let body = rule(json!({"name": "block-ip", "sourceRanges": ["203.0.113.0/24"], "priority": 7}));
    Raw::new(&fake).done("PUT", RULE, &body);
    let after = fake.rule("block-ip").unwrap().body;
    assert_eq!(after["id"], before["id"]);
    assert_eq!(after["creationTimestamp"], before["creationTimestamp"]);
    assert_eq!(
        (&after["priority"], &after["sourceRanges"]),
        (&json!(7), &json!(["203.0.113.0/24"]))
    );
    Raw::new(&fake).done("DELETE", RULE, &Value::Null);
    assert!(fake.rule("block-ip").is_none());
}

#[test]
fn a_project_takes_so_many_rules() {
    let fake = Fake::start();
    fake.with(|state| state.projects.get_mut(PROJECT).unwrap().most_rules = 2);
    fake.block_ip(&["198.51.100.7/32"]);
    let mut raw = Raw::new(&fake);
    let quota = |raw: &mut Raw| {
        let quotas = raw.get("").body["quotas"].clone();
        let quota = quotas
            .as_array()
            .unwrap()
            .iter()
            .find(|quota| quota["metric"] == "FIREWALLS");
        quota.unwrap().clone()
    };
    assert_eq!(quota(&mut raw), json!({"metric": "FIREWALLS", "limit": 2, "usage": 1}));
    raw.done("POST", RULES, &rule(json!({})));
    assert_eq!(quota(&mut raw)["usage"], 2);
    let answer = raw.call("POST", RULES, &rule(json!({"name": "third"})));
    assert_eq!(answer.short(), "403 quotaExceeded");
}

/// Under a shared VPC the rule lies on another project's network; the number of a project is as good as its id.
#[test]
fn a_network_has_more_than_one_name() {
    let fake = Fake::start();
    fake.with(|state| {
        let mut host = Project::new("host-project", 771);
        host.add_network("shared");
        state.projects.insert("host-project".to_owned(), host);
    });
    let link = "https://www.googleapis.com/compute/v1/projects/host-project/global/networks/shared";
    let mut raw = Raw::new(&fake);
    let names = [
        link,
        "projects/host-project/global/networks/shared",
        "https://compute.googleapis.com/compute/v1/projects/771/global/networks/shared",
    ];
    for (place, network) in names.iter().enumerate() {
        let name = format!("rule-{place}");
        raw.done("POST", RULES, &rule(json!({"name": name, "network": network})));
        assert_eq!(fake.rule(&name).unwrap().body["network"], link);
    }
    let answer = raw.call(
        "PATCH",
        "/global/firewalls/rule-0",
        &json!({"network": "global/networks/default"}),
    );
    assert_eq!(answer.short(), "400 invalid");
}
