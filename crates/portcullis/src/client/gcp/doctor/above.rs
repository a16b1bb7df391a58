//! Judgements about what is looked at before the rule: hierarchical policies and those of the network.

use portcullis_core::cloud::trouble::{Kind, Place, Trouble};
use serde_json::Value;

use super::ports::{Door, meets};
use crate::client::finding::Finding;
use crate::client::gcp::roles;
use crate::client::gcp::session::{text, texts};

/// What it takes to see all that is in force for a machine.
const SEES: &str = "compute.instances.getEffectiveFirewalls";

/// What the API says is in force for this machine, from `instances.getEffectiveFirewalls`.
pub(super) fn effective(
    place: &Place,
    answer: &Result<Value, Trouble>,
    doors: &[Door],
    policies_first: Option<bool>,
) -> Vec<Finding> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) => return vec![unseen(place, trouble)],
    };
    let rule = &*place.rule;
    let rules = answer.get("firewalls").and_then(Value::as_array);
    let mut found = Vec::new();
    if rules.into_iter().flatten().any(|other| text(other, "name") == rule) {
        found.push(Finding::ok("effective", "is in force for this machine, as the API says").of(rule));
    } else {
        let text = "is not in force for this machine: its network or its targets are others";
        found.push(Finding::bad("effective", text).of(rule).mend(format!(
            "gcloud compute firewall-rules describe {rule}\nand compare network, targetTags and targetServiceAccounts with the machine's"
        )));
    }
    let policies = answer.get("firewallPolicys").and_then(Value::as_array);
    for policy in policies.into_iter().flatten() {
        found.extend(policy_findings(rule, policy, doors, policies_first));
    }
    found
}

/// Without the permission nobody can say that packets are dropped.
fn unseen(place: &Place, trouble: &Trouble) -> Finding {
    let why = match trouble.kind {
        Kind::Permission => format!("the permission {SEES} is missing"),
        _ => trouble.to_string(),
    };
    let text = format!(
        "what stands above the rule cannot be seen ({why}): a ban in the cloud is read back, and never verified"
    );
    // It is asked of the machine, which may lie in another project than the rule.
    let home = Place {
        project: place.home.clone().or_else(|| place.project.clone()),
        ..place.clone()
    };
    let mend = match trouble.kind {
        Kind::Permission => Some(roles::of(SEES).grant(&home, &[SEES])),
        _ => trouble.mend(&home),
    };
    let finding = Finding::warn("policies", text);
    match mend {
        Some(mend) => finding.mend(mend),
        None => finding,
    }
}

/// The allowing rules of one policy that are looked at before VPC rules.
fn policy_findings(rule: &str, policy: &Value, doors: &[Door], policies_first: Option<bool>) -> Vec<Finding> {
    let kind = text(policy, "type");
    let name = [
        text(policy, "shortName"),
        text(policy, "displayName"),
        text(policy, "name"),
    ];
    let name = name
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("(without a name)");
    let is_before = match kind {
        "HIERARCHY" | "SYSTEM_GLOBAL" | "SYSTEM_REGIONAL" => true,
        "NETWORK" | "NETWORK_REGIONAL" => policies_first.unwrap_or(false),
        _ => true,
    };
    if !is_before {
        return Vec::new();
    }
    let rules = policy.get("rules").and_then(Value::as_array);
    let over = |other: &&Value| decides(other) && lets_in(other, doors);
    rules
        .into_iter()
        .flatten()
        .filter(over)
        .map(|other| {
            let number = other.get("priority").and_then(Value::as_i64).unwrap_or_default();
            let sources = sources(other);
            let text = format!(
                "the {} policy '{name}' is looked at before it, and its rule {number} lets {sources} in: a ban does not hold there",
                kind.to_lowercase().replace('_', " ")
            );
            let mend = "narrow that rule, make it goto_next, or have the policy's owner do so; the kernel's layer holds all the same";
            if sources == "everybody" {
                Finding::bad("policies", text).of(rule).mend(mend)
            } else {
                Finding::warn("policies", text).of(rule).mend(mend)
            }
        })
        .collect()
}

/// Whether a policy's rule ends the search by letting in.
fn decides(rule: &Value) -> bool {
    text(rule, "action") == "allow"
        && text(rule, "direction") != "EGRESS"
        && rule.get("disabled").and_then(Value::as_bool) != Some(true)
}

/// Whether it is about ports that the jails guard.
fn lets_in(rule: &Value, doors: &[Door]) -> bool {
    let layers = rule.pointer("/match/layer4Configs").and_then(Value::as_array);
    let Some(layers) = layers else { return true };
    layers
        .iter()
        .any(|layer| meets(text(layer, "ipProtocol"), &texts(layer, "ports"), doors))
}

/// Whom it lets in.
fn sources(rule: &Value) -> String {
    let Some(matched) = rule.get("match") else {
        return "everybody".to_owned();
    };
    let ranges = texts(matched, "srcIpRanges");
    if ranges.iter().any(|range| range.ends_with("/0")) {
        return "everybody".to_owned();
    }
    let kinds = [
        "srcAddressGroups",
        "srcFqdns",
        "srcRegionCodes",
        "srcThreatIntelligences",
        "srcSecureTags",
        "srcNetworks",
    ];
    let others: Vec<String> = kinds.iter().flat_map(|kind| texts(matched, kind)).collect();
    match (ranges.is_empty(), others.is_empty()) {
        (true, true) => "everybody".to_owned(),
        _ => crate::client::ink::shown(&[ranges, others].concat(), 5),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ports::tests::door;
    use super::*;
    use crate::client::finding::Level;
    use crate::client::gcp::pace::tests::trouble;

    fn place(rule: &str) -> Place {
        Place {
            project: Some("rules".into()),
            home: Some("machines".into()),
            rule: rule.into(),
            ..Place::default()
        }
    }

    fn policy(kind: &str, rule: Value) -> Value {
        json!({
            "firewalls": [{"name": "block-ip"}, {"name": "default-allow-ssh"}],
            "firewallPolicys": [{"type": kind, "shortName": "org", "rules": [rule]}],
        })
    }

    #[test]
    fn what_is_looked_at_first() {
        let smtp = [door("tcp", &[25])];
        let all = || {
            json!({"action": "allow", "direction": "INGRESS", "priority": 5, "match": {
            "srcIpRanges": ["0.0.0.0/0"], "layer4Configs": [{"ipProtocol": "tcp", "ports": ["25", "587"]}]}})
        };
        let check = |kind: &str, rule: Value, first: Option<bool>, expect: Option<Level>| {
            let found = effective(&place("block-ip"), &Ok(policy(kind, rule.clone())), &smtp, first);
            assert_eq!(found[0].level, Level::Ok);
            assert_eq!(found.get(1).map(|finding| finding.level), expect, "{kind} {rule}");
        };
        check("HIERARCHY", all(), None, Some(Level::Bad));
        check("NETWORK", all(), None, None);
        check("NETWORK", all(), Some(true), Some(Level::Bad));
        let with = |pointer: &str, value: Value| {
            let mut rule = all();
            *rule.pointer_mut(pointer).unwrap() = value;
            rule
        };
        check("HIERARCHY", with("/action", "deny".into()), None, None);
        check("HIERARCHY", with("/action", "goto_next".into()), None, None);
        check("HIERARCHY", with("/direction", "EGRESS".into()), None, None);
        check(
            "HIERARCHY",
            with("/match/layer4Configs/0/ports", json!(["22"])),
            None,
            None,
        );
        check(
            "HIERARCHY",
            with("/match/layer4Configs/0/ipProtocol", "all".into()),
            None,
            Some(Level::Bad),
        );
        check(
            "HIERARCHY",
            with("/match/srcIpRanges", json!(["203.0.113.0/24"])),
            None,
            Some(Level::Warn),
        );
        check(
            "HIERARCHY",
            with("/match/srcIpRanges", json!([])),
            None,
            Some(Level::Bad),
        );
    }

    #[test]
    fn not_in_force_and_not_seen() {
        let found = effective(
            &place("other"),
            &Ok(policy("HIERARCHY", json!({"action": "deny"}))),
            &[],
            None,
        );
        assert_eq!((found[0].level, found[0].code), (Level::Bad, "effective"));
        let found = effective(&place("block-ip"), &Err(trouble(Kind::Permission)), &[], None);
        assert_eq!(found[0].level, Level::Warn);
        assert!(found[0].text.contains("read back, and never verified"));
        let mend = found[0].mend.as_deref().unwrap();
        assert!(
            mend.contains("roles update portcullisProject --project=machines --add-permissions=compute.instances.get")
        );
    }
}
