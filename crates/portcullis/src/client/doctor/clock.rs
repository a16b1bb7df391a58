//! The clock: dates of log lines are held against it, and bans in the cloud are signed by it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use portcullis_core::time::Timestamp;

use super::scene::Scene;
use super::unit;
use crate::client::finding::Finding;
use crate::daemon::zone;

/// What is set right by hand.
const MEND: &str = "timedatectl set-ntp true";

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let mut found = vec![synchronised(&scene.root)];
    found.extend(moved(scene));
    found
}

/// Whether somebody sets it. The kernel knows, and may be asked only by a call that no safe library has.
fn synchronised(root: &Path) -> Finding {
    let has = |path: &str| root.join(path).exists();
    let zone = zone();
    let zone = zone.iana_name().unwrap_or("of no name");
    let told = format!("dates without a zone are read in zone {zone}");
    if has("run/systemd/timesync/synchronized") {
        return Finding::ok("clock", format!("it is set over the network; {told}"));
    }
    let others = [
        ("run/chrony/chronyd.pid", "chrony", "chronyc tracking"),
        ("run/chronyd.pid", "chrony", "chronyc tracking"),
        ("run/ntpd.pid", "ntpd", "ntpq -p"),
        ("run/ntpsec/ntpd.pid", "ntpd", "ntpq -p"),
    ];
    if let Some((_, who, ask)) = others.iter().find(|(path, ..)| has(path)) {
        return Finding::ok("clock", format!("{who} sets it ({ask} says how well); {told}"));
    }
    if has("run/systemd/timesync") {
        let text = format!("systemd-timesyncd runs and has not set it yet: no time server answers; {told}");
        return Finding::warn("clock", text).mend("timedatectl timesync-status; let UDP port 123 out");
    }
    let text = format!("whether it is set over the network is not known; {told}");
    Finding::note("clock", text).mend(MEND)
}

/// Whether the zone was changed under the daemon.
fn moved(scene: &Scene) -> Option<Finding> {
    let status = scene.status()?;
    let started: jiff::Timestamp = status.since.parse().ok()?;
    let changed = fs::symlink_metadata(scene.root.join("etc/localtime")).ok()?;
    let changed = Timestamp::from_seconds(changed.mtime());
    (changed > Timestamp::from_seconds(started.as_second())).then(|| {
        let text = "the machine's time zone was changed since the daemon started: it reads dates in the former one";
        Finding::warn("zone", text).mend(unit::restart(scene))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::finding::Level;

    #[test]
    fn who_sets_the_clock() {
        for (files, level, word) in [
            (&[][..], Level::Note, "not known"),
            (&["run/systemd/timesync/clock"], Level::Warn, "no time server answers"),
            (
                &["run/systemd/timesync/clock", "run/systemd/timesync/synchronized"],
                Level::Ok,
                "over the network",
            ),
            (&["run/chrony/chronyd.pid"], Level::Ok, "chronyc tracking"),
        ] {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
            let finding = synchronised(root.path());
            assert!(finding.level == level && finding.text.contains(word), "{finding:?}");
        }
    }
}
