//! Judgements about what the credentials may do, and how much room the project has.

use std::collections::BTreeSet;

use portcullis_core::cloud::trouble::{Kind, Place, Trouble};
use serde_json::Value;

use crate::client::finding::{Finding, Level};
use crate::client::gcp::roles;
use crate::client::gcp::session::text;

/// Asked of the rule itself, so that a grant that is bound to the rule's name is seen.
pub(super) const OF_RULE: [&str; 2] = ["compute.firewalls.get", "compute.firewalls.update"];
/// Beside those for rules that are a part of another one.
pub(super) const OF_PARTS: [&str; 2] = ["compute.firewalls.create", "compute.firewalls.delete"];
/// Asked of the project: these cannot be bound to a rule's name.
pub(super) const OF_PROJECT: [&str; 4] = [
    "compute.networks.updatePolicy",
    "compute.globalOperations.get",
    "compute.firewalls.list",
    "compute.projects.get",
];
/// What works without: only something is not shown.
const OPTIONAL: [&str; 1] = ["compute.projects.get"];

/// How a permission came to be known.
pub(super) type Granted = Result<BTreeSet<String>, Trouble>;

/// What a `testIamPermissions` answered.
pub(super) fn granted(answer: &Value) -> BTreeSet<String> {
    crate::client::gcp::session::texts(answer, "permissions")
        .into_iter()
        .collect()
}

/// One finding for all of `wanted` that one role has.
pub(super) fn permissions(place: &Place, wanted: &[&str], answer: &Granted) -> Vec<Finding> {
    let granted = match answer {
        Ok(granted) => granted,
        Err(trouble) => {
            let text = format!(
                "could not be asked what is permitted ({}): {trouble}",
                wanted.join(", ")
            );
            return vec![
                Finding::warn("permission", text)
                    .mend("the permissions show when they are used; docs/guide/gcp.md has the role to grant"),
            ];
        }
    };
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !granted.contains(*name)).collect();
    if missing.is_empty() {
        return vec![Finding::ok("permission", format!("granted: {}", wanted.join(", ")))];
    }
    vec![lacks(place, &missing)]
}

/// Permissions of one role that are not granted, at least one.
fn lacks(place: &Place, names: &[&str]) -> Finding {
    let any = |of: &[&str]| names.iter().any(|name| of.contains(name));
    let mut text = match names {
        [name] => format!("the permission {name} is missing"),
        names => format!("the permissions {} are missing", names.join(", ")),
    };
    let is_needed = |name: &&str| !OPTIONAL.contains(name) && !OF_PARTS.contains(name);
    let is_bad = names.iter().any(is_needed);
    if any(&OPTIONAL) {
        text += ", so the quota of rules cannot be read";
    }
    if any(&OF_PARTS) {
        text += ", so a rule that is full gets no second one, and IPv6 gets none";
    }
    if is_bad {
        text += ": bans do not come to be";
    }
    let level = if is_bad { Level::Bad } else { Level::Warn };
    let role = roles::of(names.first().copied().unwrap_or_default());
    Finding::new(level, "permission", text).mend(role.grant(place, names))
}

/// Whether operations can be followed, found out by asking for one that there is not.
pub(super) fn operations(place: &Place, answer: &Result<Value, Trouble>) -> Finding {
    match answer {
        Err(trouble) if trouble.kind == Kind::Permission => lacks(place, &["compute.globalOperations.get"]),
        Ok(_) => Finding::ok("permission", "operations can be followed"),
        Err(trouble) if trouble.kind == Kind::Missing => Finding::ok("permission", "operations can be followed"),
        Err(trouble) => Finding::warn(
            "permission",
            format!("whether operations can be followed is not known: {trouble}"),
        ),
    }
}

/// The quota of firewall rules, from `projects.get`.
pub(super) fn quota(answer: &Result<Value, Trouble>, most_rules: usize) -> Finding {
    let project = match answer {
        Ok(project) => project,
        Err(trouble) => {
            let text = format!("the quota of firewall rules cannot be read: {trouble}");
            return Finding::warn("quota", text).mend(
                "the role portcullisProject (docs/guide/gcp-role-project.yaml) has compute.projects.get; or look at IAM & Admin > Quotas",
            );
        }
    };
    let quotas = project.get("quotas").and_then(Value::as_array);
    let found = quotas
        .into_iter()
        .flatten()
        .find(|quota| text(quota, "metric") == "FIREWALLS");
    let number = |name: &str| found.and_then(|quota| quota.get(name)).and_then(Value::as_f64);
    let (Some(limit), Some(usage)) = (number("limit"), number("usage")) else {
        return Finding::warn("quota", "the project does not say how many firewall rules it may have");
    };
    let text = format!("{usage:.0} of {limit:.0} firewall rules are used");
    let further = most_rules.saturating_sub(1);
    // Numbers of rules are small; no figure is lost.
    #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
    let room = limit - usage >= further as f64;
    if room {
        Finding::ok("quota", text)
    } else {
        let text = format!("{text}: there is no room for the {further} further rules of max_rules");
        Finding::warn("quota", text)
            .mend("ask for more under IAM & Admin > Quotas (metric FIREWALLS), or lower max_rules")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::gcp::pace::tests::trouble;

    fn place() -> Place {
        Place {
            project: Some("p".into()),
            ..Place::default()
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_command() {
        let answer = Ok(granted(&json!({"permissions": ["compute.firewalls.get"]})));
        let found = permissions(&place(), &OF_RULE, &answer);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, Level::Bad);
        let mend = found[0].mend.as_deref().unwrap();
        assert!(
            mend.contains("add-iam-policy-binding p ") && mend.contains("compute.firewalls.update"),
            "{mend}"
        );
        assert_eq!(permissions(&place(), &OF_RULE[..1], &answer)[0].level, Level::Ok);
        let optional = permissions(&place(), &["compute.projects.get", "compute.firewalls.create"], &answer);
        assert!(optional.iter().all(|finding| finding.level == Level::Warn));
        let unknown = permissions(&place(), &OF_RULE, &Err(trouble(Kind::Unknown)));
        assert_eq!((unknown.len(), unknown[0].level), (1, Level::Warn));
        let none = permissions(&place(), &OF_PROJECT, &Ok(granted(&json!({}))));
        assert_eq!((none.len(), none[0].level), (1, Level::Bad));
        assert!(
            none[0]
                .text
                .contains("compute.networks.updatePolicy, compute.globalOperations.get")
        );
        assert!(none[0].mend.as_deref().unwrap().contains("gcp-role-project.yaml"));
    }

    #[test]
    fn an_operation_that_there_is_not() {
        let check =
            |answer: Result<Value, Trouble>, level: Level| assert_eq!(operations(&place(), &answer).level, level);
        check(Ok(json!({})), Level::Ok);
        check(Err(trouble(Kind::Missing)), Level::Ok);
        check(Err(trouble(Kind::Permission)), Level::Bad);
        check(Err(trouble(Kind::Unknown)), Level::Warn);
    }

    #[test]
    fn room_for_further_rules() {
        let check = |answer: Result<Value, Trouble>, most: usize, level: Level, text: &str| {
            let finding = quota(&answer, most);
            assert_eq!(finding.level, level);
            assert!(finding.text.contains(text), "{}", finding.text);
        };
        let project = |usage: f64| {
            Ok(json!({"quotas": [{"metric": "NETWORKS"}, {"metric": "FIREWALLS", "limit": 100.0, "usage": usage}]}))
        };
        check(project(12.0), 10, Level::Ok, "12 of 100");
        check(project(91.0), 10, Level::Ok, "91 of 100");
        check(project(95.0), 10, Level::Warn, "9 further rules");
        check(project(100.0), 1, Level::Ok, "100 of 100");
        check(Ok(json!({})), 1, Level::Warn, "does not say");
        check(Err(trouble(Kind::Permission)), 1, Level::Warn, "cannot be read");
    }
}
