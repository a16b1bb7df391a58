//! The configuration: what `check` finds in it, and whether what is on disk is what is in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use portcullis_core::diagnostic::{Diagnostic, Severity};

use super::scene::Scene;
use crate::client::finding::Finding;
use crate::control::answer::Status;
use crate::{check, daemon, folder};

/// More findings of `check` than so many are counted only.
const MOST: usize = 20;
/// Names of files that are shown.
const NAMED: usize = 5;
/// Files that are looked at; no configuration has more.
const FILES: usize = 10_000;
/// What of `check` other looks tell, with what they know of the log.
const ELSEWHERE: [&str; 4] = ["unreadable-log", "no-journal", "journal", "no-jail-enabled"];
/// The reader's word for a configuration that is not used because it is damaged.
const LAST_GOOD: &str = "last-good";

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let base = &scene.places.config;
    let Some(configured) = &scene.configured else {
        let text = format!("there is no configuration folder {}", base.display());
        return vec![Finding::bad("configuration", text).mend("name the folder: portcullis doctor -c DIR")];
    };
    let mut found = checked(scene);
    let damaged = configured.diagnostics.iter().filter(|told| told.code == LAST_GOOD);
    found.extend(damaged.map(|told| {
        let finding = Finding::bad("last-good", &told.message);
        let finding = finding.mend(format!(
            "mend what {} names, then: {}",
            scene.typed("check"),
            scene.typed("reload")
        ));
        match &told.jail {
            Some(jail) => finding.of(format!("jail {jail}")),
            None => finding,
        }
    }));
    if let Some(status) = scene.status() {
        let present = daemon::fingerprint(&configured.plan);
        found.extend(stale(scene, status, &present));
    }
    if found.is_empty() {
        let text = format!("{} has nothing to mend", base.display());
        found.push(Finding::ok("configuration", text));
    }
    found
}

/// What `check` says of the folder.
fn checked(scene: &Scene) -> Vec<Finding> {
    let base = scene.places.base();
    let base = base.trim_end_matches('/');
    let mut report = folder::with(base, |tree| check::look(tree, base, &folder::stock_tree()));
    folder::name_stock(&mut report.findings, base);
    let is_ours = |told: &&Diagnostic| {
        told.severity > Severity::Note && !ELSEWHERE.contains(&told.code) && !told.code.starts_with("no-log-file")
    };
    let told: Vec<&Diagnostic> = report.findings.iter().filter(is_ours).collect();
    let mut found: Vec<Finding> = told.iter().take(MOST).map(|told| finding(scene, told)).collect();
    if told.len() > MOST {
        let text = format!("{} more findings in the configuration", told.len() - MOST);
        found.push(Finding::warn("configuration", text).mend(scene.typed("check")));
    }
    found
}

fn finding(scene: &Scene, told: &Diagnostic) -> Finding {
    let place = told.position.as_ref().map_or(String::new(), |at| format!("{at}: "));
    let text = format!("{place}{}", told.message);
    let finding = match told.severity {
        Severity::Error => Finding::bad(told.code, text),
        Severity::Warning | Severity::Note => Finding::warn(told.code, text),
    };
    let finding = finding.mend(told.mend.clone().unwrap_or_else(|| scene.typed("check")));
    match &told.jail {
        Some(jail) => finding.of(format!("jail {jail}")),
        None => finding,
    }
}

/// Whether the daemon has read what is on disk.
fn stale(scene: &Scene, status: &Status, present: &str) -> Option<Finding> {
    let known = status.fingerprint.as_deref()?;
    if known == present {
        return None;
    }
    let read: jiff::Timestamp = status.configured.parse().ok()?;
    let newer = newer(&scene.places.config, read.into());
    let why = if newer.is_empty() {
        "log files that it names have come or gone, or the environment is another".to_owned()
    } else {
        format!("changed since: {}", newer.join(", "))
    };
    let text = format!(
        "what is in force was read at {}, and the files come to something else by now ({why})",
        status.configured
    );
    Some(Finding::warn("reload", text).mend(scene.typed("reload")))
}

/// The files of a folder that were changed since a moment, by their names in it.
fn newer(base: &Path, since: SystemTime) -> Vec<String> {
    let (mut folders, mut names, mut left) = (vec![PathBuf::from(base)], Vec::new(), FILES);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            left = left.saturating_sub(1);
            let Ok(metadata) = entry.path().metadata() else {
                continue;
            };
            if metadata.is_dir() && left > 0 && folder == base {
                folders.push(entry.path());
            } else if metadata.is_file() && metadata.modified().is_ok_and(|changed| changed > since) {
                let path = entry.path();
                let name = path.strip_prefix(base).unwrap_or(&path);
                names.push(name.display().to_string());
            }
        }
    }
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names
}
