//! Judgements about one rule: whether it may be written, whether it has an effect here, who writes it.

use std::collections::BTreeSet;

use ipnet::IpNet;
use portcullis_core::address::Family;
use portcullis_core::cloud::is_sentinel;
use portcullis_core::cloud::reconcile::Host;
use portcullis_core::cloud::rule::{Mark, Rule};
use portcullis_core::cloud::trouble::{Kind, Place, Trouble};

use super::ports::{Door, covered, meets};
use crate::client::finding::Finding;
use crate::client::gcp::amend::networks;
use crate::client::gcp::roles;
use crate::client::gcp::session::{text, texts};
use crate::client::ink::shown;

/// A writer that has not said anything for so long is taken for dead, in seconds.
const DEAD: i64 = 2 * 86_400;

/// What a rule is held against.
pub(super) struct Around<'a> {
    pub(super) host: &'a Host,
    pub(super) doors: &'a [Door],
    /// All rules of the project that could be read
    pub(super) others: &'a [Rule],
    /// What is ours in it, as the books say
    pub(super) ours: &'a BTreeSet<IpNet>,
    /// Now, in seconds since 1970
    pub(super) now: i64,
}

/// Everything about a rule that was read.
pub(super) fn judge(rule: &Rule, around: &Around<'_>) -> Vec<Finding> {
    let family = rule.family().unwrap_or(Family::Inet4);
    let mut found = vec![match rule.unfit(family, &around.host.networks) {
        Some(unfit) => Finding::bad("rule", unfit.to_string()).mend(unfit.mend()),
        None => Finding::ok(
            "rule",
            "is there, is for what comes in, denies, is switched on, and holds no /0",
        ),
    }];
    found.extend(network(rule, around.host));
    found.extend(targets(rule, around.host));
    found.extend(
        covered(&rule.denied, around.doors)
            .into_iter()
            .map(|finding| with_update(finding, rule)),
    );
    found.push(priority(rule, around));
    found.extend(writers(rule, around));
    found.push(list(rule, around.ours));
    found.into_iter().map(|finding| finding.of(&rule.name)).collect()
}

/// Judgements whose mend is a flag get the command that it belongs to.
fn with_update(finding: Finding, rule: &Rule) -> Finding {
    match finding.mend.clone() {
        Some(flag) if flag.starts_with("--") => {
            let name = &rule.name;
            finding.mend(format!("gcloud compute firewall-rules update {name} {flag}"))
        }
        _ => finding,
    }
}

/// A rule that could not be read.
pub(super) fn unread(place: &Place, trouble: &Trouble) -> Finding {
    let finding = match trouble.kind {
        Kind::Missing => Finding::bad("rule", format!("there is no such rule: {trouble}")),
        _ => Finding::bad("rule", format!("it cannot be read: {trouble}")),
    };
    let finding = finding.of(&place.rule);
    match roles::mend(trouble, place) {
        Some(mend) => finding.mend(mend),
        None => finding,
    }
}

/// Whether it lies on a network of this machine's; another one is a matter of [`Rule::unfit`].
fn network(rule: &Rule, host: &Host) -> Option<Finding> {
    if host.networks.is_empty() {
        let text = "whether it lies on this machine's network is not known: nobody names that";
        return Some(Finding::warn("network", text));
    }
    let same = host
        .networks
        .iter()
        .map(|own| portcullis_core::cloud::rule::same_network(&rule.network, own));
    let same: Vec<_> = same.collect();
    use portcullis_core::cloud::rule::Sameness;
    if same.contains(&Sameness::Same) {
        Some(Finding::ok("network", "lies on this machine's network"))
    } else if same.iter().all(|one| *one == Sameness::Different) {
        None
    } else {
        let text = format!(
            "whether {} is this machine's network {} is not known: one is named by number, the other by id",
            rule.network,
            host.networks.join(", ")
        );
        Some(Finding::warn("network", text).mend("gcloud projects describe PROJECT --format='value(projectNumber)'"))
    }
}

/// Whether it acts on this machine.
fn targets(rule: &Rule, host: &Host) -> Option<Finding> {
    if !host.is_on_gce {
        return None;
    }
    Some(match rule.misses(&host.tags, &host.accounts) {
        None => Finding::ok("targets", "acts on this machine"),
        Some(text) => match text.split_once("; mend: ") {
            Some((text, mend)) => Finding::bad("targets", text).mend(mend),
            None => Finding::bad("targets", text),
        },
    })
}

/// Whether another rule lets in before it what it denies.
fn priority(rule: &Rule, around: &Around<'_>) -> Finding {
    let about = |other: &&Rule| {
        other
            .allowed
            .iter()
            .any(|part| meets(text(part, "IPProtocol"), &texts(part, "ports"), around.doors))
    };
    let here = |other: &&Rule| !around.host.is_on_gce || other.meets(&around.host.tags, &around.host.accounts);
    let beaten: Vec<&Rule> = rule
        .beaten_by(around.others)
        .into_iter()
        .filter(about)
        .filter(here)
        .collect();
    let Some(lowest) = beaten.iter().map(|other| other.priority).min() else {
        let text = format!("no rule that allows comes before it (priority {})", rule.priority);
        return Finding::ok("priority", text);
    };
    let names: Vec<String> = beaten
        .iter()
        .map(|other| format!("{} ({})", other.name, other.priority))
        .collect();
    let text = format!(
        "comes after rules that allow, so that whoever they let in is not kept out: {} (its priority is {})",
        shown(&names, 5),
        rule.priority
    );
    let finding = Finding::bad("priority", text);
    match lowest {
        0 => finding.mend("give those rules a higher number than 0; equal numbers are enough, since of equals the one that denies wins"),
        lowest => finding.mend(format!("gcloud compute firewall-rules update {} --priority={}", rule.name, lowest.min(10))),
    }
}

/// Who writes it, and whether they live.
fn writers(rule: &Rule, around: &Around<'_>) -> Vec<Finding> {
    let Some(Mark { writer, at, .. }) = Mark::of(&rule.description) else {
        return Vec::new();
    };
    let at_seconds = at.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    let age = at_seconds.ok().map(|at| around.now - at);
    let is_us = writer == around.host.writer;
    let days = age.unwrap_or_default() / 86_400;
    vec![match age {
        None => Finding::warn("writers", format!("its mark names the writer {writer} and no time that could be read")),
        Some(age) if age > DEAD && is_us => {
            Finding::warn("writers", format!("this machine last said {days} days ago, at {at}, that it writes it: is a daemon running?"))
                .mend("systemctl start portcullis")
        }
        Some(age) if age > DEAD => Finding::warn(
            "writers",
            format!("its writer {writer} has said nothing for {days} days; what it left there stays until somebody takes it out"),
        )
        .mend(format!("if that machine is gone: portcullis gcp status {} --list, then portcullis gcp remove {} CIDR…", rule.name, rule.name)),
        Some(_) if is_us => Finding::ok("writers", format!("this machine writes it, and said so at {at}")),
        Some(_) => Finding::warn(
            "writers",
            format!("{writer} writes it too: of two writers at the same moment one may lose an entry, which is put back later"),
        )
        .mend("give each machine a rule of its own (rule=block-ip-NAME); rules that deny add up"),
    }]
}

/// What stands in it.
fn list(rule: &Rule, ours: &BTreeSet<IpNet>) -> Finding {
    let all = networks(&rule.source_ranges);
    let foreign: Vec<String> = all
        .iter()
        .filter(|net| !is_sentinel(net) && !ours.contains(net))
        .map(ToString::to_string)
        .collect();
    let text = format!(
        "holds {} entries, {} of them somebody else's",
        rule.source_ranges.len(),
        foreign.len()
    );
    match foreign.is_empty() {
        true => Finding::ok("list", text),
        false => Finding::ok("list", format!("{text}, which stay: {}", shown(&foreign, 5))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::ports::tests::door;
    use super::*;
    use crate::client::finding::Level;

    const NOW: i64 = 1_795_000_000;

    fn rule(change: Value) -> Rule {
        let mut rule = json!({
            "name": "block-ip", "network": "projects/p/global/networks/default", "direction": "INGRESS", "priority": 1000,
            "denied": [{"IPProtocol": "all"}], "sourceRanges": ["192.0.2.1/32", "203.0.113.0/24"],
        });
        for (key, value) in change.as_object().unwrap() {
            rule[key] = value.clone();
        }
        Rule::from_json(&rule).unwrap()
    }

    fn host() -> Host {
        Host {
            writer: "vm-1".into(),
            networks: vec!["projects/p/global/networks/default".into()],
            is_on_gce: true,
            tags: vec!["mail".into()],
            ..Host::default()
        }
    }

    /// The worst finding of one kind.
    fn check(change: Value, others: &[Rule], code: &str, expect: Option<(Level, &str)>) {
        let doors = [door("tcp", &[25])];
        let ours = BTreeSet::new();
        let host = host();
        let around = Around {
            host: &host,
            doors: &doors,
            others,
            ours: &ours,
            now: NOW,
        };
        let found = judge(&rule(change.clone()), &around);
        let worst = found
            .iter()
            .filter(|finding| finding.code == code)
            .max_by_key(|finding| finding.level);
        match (worst, expect) {
            (None, None) => {}
            (Some(finding), Some((level, text))) => {
                assert_eq!(finding.level, level, "{change} {finding:?}");
                let all = format!("{} {}", finding.text, finding.mend.as_deref().unwrap_or_default());
                assert!(all.contains(text), "{all}");
                assert_eq!(finding.subject.as_deref(), Some("block-ip"));
            }
            (found, expect) => panic!("{change}: {found:?}, not {expect:?}"),
        }
    }

    #[test]
    fn a_rule_by_itself() {
        check(json!({}), &[], "rule", Some((Level::Ok, "is there")));
        check(
            json!({"denied": [], "allowed": [{"IPProtocol": "all"}]}),
            &[],
            "rule",
            Some((Level::Bad, "let in")),
        );
        check(
            json!({"disabled": true}),
            &[],
            "rule",
            Some((Level::Bad, "--no-disabled")),
        );
        check(
            json!({"sourceRanges": ["0.0.0.0/0"]}),
            &[],
            "rule",
            Some((Level::Bad, "--source-ranges=192.0.2.1/32")),
        );
        check(json!({}), &[], "network", Some((Level::Ok, "this machine's network")));
        check(
            json!({"network": "projects/p/global/networks/other"}),
            &[],
            "rule",
            Some((Level::Bad, "network")),
        );
        check(
            json!({"network": "projects/p/global/networks/other"}),
            &[],
            "network",
            None,
        );
        check(json!({}), &[], "targets", Some((Level::Ok, "acts on this machine")));
        check(
            json!({"targetTags": ["web"]}),
            &[],
            "targets",
            Some((Level::Bad, "add-tags")),
        );
        check(
            json!({"denied": [{"IPProtocol": "tcp", "ports": ["587"]}]}),
            &[],
            "protocols",
            Some((Level::Warn, "update block-ip --rules=all")),
        );
        check(
            json!({}),
            &[],
            "list",
            Some((
                Level::Ok,
                "2 entries, 1 of them somebody else's, which stay: 203.0.113.0/24",
            )),
        );
    }

    #[test]
    fn rules_before_it() {
        let allow = |priority: u16, ports: &[&str], more: Value| {
            let mut rule = json!({
                "name": "let-in", "network": "projects/p/global/networks/default", "priority": priority,
                "allowed": [{"IPProtocol": "tcp", "ports": ports}], "sourceRanges": ["0.0.0.0/0"],
            });
            for (key, value) in more.as_object().unwrap() {
                rule[key] = value.clone();
            }
            Rule::from_json(&rule).unwrap()
        };
        let check = |other: Rule, expect: (Level, &str)| check(json!({}), &[other], "priority", Some(expect));
        check(
            allow(900, &["25"], json!({})),
            (Level::Bad, "update block-ip --priority=10"),
        );
        check(allow(5, &["20-30"], json!({})), (Level::Bad, "--priority=5"));
        check(allow(0, &["25"], json!({})), (Level::Bad, "equal numbers"));
        check(allow(1000, &["25"], json!({})), (Level::Ok, "no rule"));
        check(allow(900, &["22"], json!({})), (Level::Ok, "no rule"));
        check(
            allow(900, &["25"], json!({"targetTags": ["web"]})),
            (Level::Ok, "no rule"),
        );
        check(
            allow(900, &["25"], json!({"targetTags": ["mail"]})),
            (Level::Bad, "let-in (900)"),
        );
        check(allow(900, &["25"], json!({"disabled": true})), (Level::Ok, "no rule"));
    }

    #[test]
    fn who_writes_it() {
        let mark = |writer: &str, age: i64| {
            let at = jiff::Timestamp::from_second(NOW - age).unwrap();
            json!({"description": format!("bans [portcullis writer={writer} at={at}]")})
        };
        check(json!({}), &[], "writers", None);
        check(
            mark("vm-1", 60),
            &[],
            "writers",
            Some((Level::Ok, "this machine writes it")),
        );
        check(
            mark("vm-1", 3 * 86_400),
            &[],
            "writers",
            Some((Level::Warn, "3 days ago")),
        );
        check(mark("vm-2", 60), &[], "writers", Some((Level::Warn, "rule of its own")));
        check(
            mark("vm-2", 3 * 86_400),
            &[],
            "writers",
            Some((Level::Warn, "nothing for 3 days")),
        );
    }
}
