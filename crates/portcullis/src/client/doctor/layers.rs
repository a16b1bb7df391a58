//! The actions: whether they do what they are told, and whether the programs are there that they call.

use std::collections::BTreeMap;

use portcullis_core::ledger::LayerId;

use super::program::{self, Programs};
use super::scene::Scene;
use crate::client::finding::Finding;
use crate::control::answer::{Action, Status};
use crate::daemon::way::Way;

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let Some(configured) = &scene.configured else {
        return Vec::new();
    };
    let mut found = failing(scene);
    found.extend(calls(scene, &configured.layers));
    if configured.layers.values().any(|way| way.cloud().is_some()) {
        let text =
            "bans go to a rule of the cloud's firewall; token, rights and rule are looked at by portcullis gcp doctor";
        found.push(Finding::note("cloud", text));
    }
    if found.is_empty() && !configured.layers.is_empty() {
        found.push(Finding::ok("actions", "every action can do what it is told"));
    }
    found
}

/// What the daemon says of its layers.
fn failing(scene: &Scene) -> Vec<Finding> {
    let Some(status) = scene.status() else {
        return Vec::new();
    };
    let jails = status.jails.iter();
    let actions = jails.flat_map(|jail| jail.actions.iter().map(|(name, action)| (&jail.name, name, action)));
    actions
        .filter_map(|(jail, name, action)| judge(status, (jail, name), action))
        .collect()
}

fn judge(status: &Status, (jail, name): (&str, &str), action: &Action) -> Option<Finding> {
    let subject = format!("jail {jail}, action {name}");
    let cloud = action.cloud.as_ref().and_then(|cloud| cloud.trouble.as_ref());
    if let Some(trouble) = cloud {
        let text = format!("the cloud's rule does not follow: {trouble}");
        let whose = format!("jail '{jail}', action '{name}'");
        // Where the kernel holds the same bans, nobody gets in meanwhile.
        let finding = if status.not_protected.iter().any(|reason| reason.contains(&whose)) {
            Finding::bad("cloud", text)
        } else {
            Finding::warn("cloud", text)
        };
        return Some(finding.of(subject).mend("portcullis gcp doctor"));
    }
    if let Some(failure) = &action.failure {
        let text = match action.failed {
            0 => format!("it fails: {failure}"),
            1 => format!("it fails, 1 address is not banned: {failure}"),
            failed => format!("it fails, {failed} addresses are not banned: {failure}"),
        };
        let mend = if action.way == "native" {
            "run the daemon as root, or give its unit CAP_NET_ADMIN; modprobe nf_tables where the kernel lacks it"
        } else {
            "the log has the command and what it said: grep -i error /var/log/fail2ban.log | tail"
        };
        return Some(Finding::bad("action", text).of(subject).mend(mend));
    }
    let drift = action.last_drift.as_ref().filter(|_| action.drifts > 0)?;
    let text = format!("others changed what it holds {} times, at last {drift}", action.drifts);
    let mend = "it was mended; find out who flushes the ruleset: a firewall that is loaded again, a script, a timer";
    Some(Finding::note("drift", text).of(subject).mend(mend))
}

/// Programs that are not there, with the actions that call them.
fn calls(scene: &Scene, layers: &BTreeMap<LayerId, Way>) -> Vec<Finding> {
    let programs = Programs::of(scene);
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (layer, way) in layers {
        let (Way::Shell(action) | Way::Beside(action)) = way else {
            continue;
        };
        let scripts = action.scripts().flat_map(|script| program::named(script.text()));
        let mut names: Vec<String> = scripts.filter(|name| !programs.has(name)).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let user = format!("jail {}, action {}", layer.jail, layer.action);
            missing.entry(name).or_default().push(user);
        }
    }
    missing
        .into_iter()
        .map(|(name, users)| {
            let text = format!(
                "the program {name} is not there, which is called by {}",
                users.join("; ")
            );
            Finding::bad("program", text)
                .of(name.as_str())
                .mend(program::mend(&name))
        })
        .collect()
}
