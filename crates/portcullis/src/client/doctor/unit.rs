//! systemd's unit: whether it starts us with the machine; and what is typed to start us, or whoever writes the logs.

use std::fs;
use std::path::Path;

use super::scene::Scene;
use crate::client::finding::Finding;

/// Names that our unit may have.
const NAMES: [&str; 2] = ["fail2ban.service", "portcullis.service"];
/// Where units are, the stronger first.
const FOLDERS: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    judge(&scene.root).into_iter().collect()
}

/// A unit that is there.
struct Unit {
    name: &'static str,
    /// Whether it starts us, and not Fail2Ban
    is_ours: bool,
}

fn judge(root: &Path) -> Option<Finding> {
    if !is_systemd(root) {
        return None;
    }
    let Some(unit) = unit(root) else {
        let text = "no unit of systemd's starts the daemon: after the next start of the machine nothing is watched";
        return Some(Finding::note("unit", text).mend("install the package; it brings fail2ban.service"));
    };
    let is_enabled = is_enabled(root, unit.name);
    let name = unit.name;
    match (unit.is_ours, is_enabled) {
        (true, true) => Some(Finding::ok("unit", format!("{name} starts it with the machine"))),
        (true, false) => {
            let text = format!("{name} is not enabled: after the next start of the machine nothing is watched");
            Some(Finding::warn("unit", text).mend(format!("systemctl enable {name}")))
        }
        (false, true) => {
            let text = format!("{name} starts Fail2Ban, not portcullis, with the machine");
            Some(Finding::warn("unit", text).mend(format!(
                "systemctl disable --now {name}, and let a unit start portcullis run"
            )))
        }
        (false, false) => None,
    }
}

/// Ours, where there is one.
fn unit(root: &Path) -> Option<Unit> {
    let found = NAMES.iter().filter_map(|&name| {
        let text = FOLDERS
            .iter()
            .find_map(|folder| fs::read_to_string(root.join(folder).join(name)).ok())?;
        let mut starts = text.lines().filter_map(|line| line.strip_prefix("ExecStart="));
        let is_ours = starts.any(|command| command.contains("portcullis"));
        Some(Unit { name, is_ours })
    });
    found.max_by_key(|unit| unit.is_ours)
}

/// Whether anything wants it, by whatever name.
fn is_enabled(root: &Path, name: &str) -> bool {
    let system = root.join("etc/systemd/system");
    let folders = fs::read_dir(system).into_iter().flatten().flatten();
    let mut wants = folders.filter(|entry| entry.file_name().to_string_lossy().ends_with(".wants"));
    wants.any(|folder| folder.path().join(name).symlink_metadata().is_ok())
}

fn is_systemd(root: &Path) -> bool {
    root.join("run/systemd/system").is_dir()
}

/// What is typed to start the daemon.
pub(super) fn start(scene: &Scene) -> String {
    typed(scene, "start")
}

/// What is typed to start it again.
pub(super) fn restart(scene: &Scene) -> String {
    typed(scene, "restart")
}

fn typed(scene: &Scene, verb: &str) -> String {
    let ours = unit(&scene.root).filter(|unit| unit.is_ours && is_systemd(&scene.root));
    match (ours, scene.pid()) {
        (Some(unit), _) => format!("systemctl {verb} {}", unit.name),
        (None, Some(pid)) if verb == "restart" => {
            let run = scene.typed("run");
            format!("kill {pid} (bans stay in force), wait until it is gone, then start it as before: {run}")
        }
        (None, _) => scene.typed("run"),
    }
}

/// What to look at where nothing is logged.
pub(super) fn logger(scene: &Scene) -> &'static str {
    if scene.root.join("usr/sbin/rsyslogd").exists() {
        "systemctl status rsyslog says whether log files are written at all"
    } else {
        "journalctl -n 20 shows whether the service logs at all"
    }
}

/// The name of a user or a group by its number; the number where it has none.
pub(super) fn name_of(root: &Path, file: &str, number: u32) -> String {
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, _, own) = (parts.next()?, parts.next()?, parts.next()?);
        (own.parse() == Ok(number)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::finding::Level;

    #[test]
    fn units_of_a_machine() {
        let check = |files: &[(&str, &str)], expect: Option<(Level, &str)>| {
            let root = tempfile::tempdir().unwrap();
            for (file, text) in files {
                let path = root.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let found = judge(root.path());
            let found = found
                .as_ref()
                .map(|finding| (finding.level, finding.mend.clone().unwrap_or_default()));
            assert_eq!(found.as_ref().map(|(level, mend)| (*level, mend.as_str())), expect);
        };
        let on = ("run/systemd/system/x", "");
        let ours = (
            "lib/systemd/system/fail2ban.service",
            "[Service]\nExecStart=/usr/bin/portcullis run\n",
        );
        let theirs = (
            "lib/systemd/system/fail2ban.service",
            "[Service]\nExecStart=/usr/bin/fail2ban-server -xf start\n",
        );
        let wanted = ("etc/systemd/system/multi-user.target.wants/fail2ban.service", "");
        check(&[], None);
        check(
            &[on],
            Some((Level::Note, "install the package; it brings fail2ban.service")),
        );
        check(&[on, ours], Some((Level::Warn, "systemctl enable fail2ban.service")));
        check(&[on, ours, wanted], Some((Level::Ok, "")));
        check(&[on, theirs], None);
        let mend = "systemctl disable --now fail2ban.service, and let a unit start portcullis run";
        check(&[on, theirs, wanted], Some((Level::Warn, mend)));
    }

    #[test]
    fn names_by_number() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\nadm:x:4:syslog\n").unwrap();
        assert_eq!(name_of(root.path(), "etc/group", 4), "adm");
        assert_eq!(name_of(root.path(), "etc/group", 5), "5");
    }
}
