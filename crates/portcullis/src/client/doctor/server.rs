//! The daemon: whether it runs, whether it is the one that is installed, and what it says is wrong.

use std::fs;
use std::path::Path;

use super::scene::{Daemon, Scene, named};
use super::unit;
use crate::client::finding::Finding;
use crate::control::answer::Status;

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let mut found = match &scene.daemon {
        Daemon::Runs(status) => runs(scene, status),
        other => vec![absent(scene, other)],
    };
    found.extend(beside(&scene.root));
    found
}

/// Why it does not answer.
fn absent(scene: &Scene, daemon: &Daemon) -> Finding {
    let socket = scene.socket.display();
    let who = scene.listener.map(|pid| named(&scene.root, pid));
    match daemon {
        Daemon::Silent => {
            let who = who.unwrap_or_else(|| "the daemon".to_owned());
            let text = format!("{who} takes connections at {socket} and does not answer: it hangs");
            Finding::bad("daemon", text).mend(unit::restart(scene))
        }
        Daemon::Stranger(words) => {
            let who = who.unwrap_or_else(|| "another program".to_owned());
            let words: String = words.chars().take(100).collect();
            let text = format!("{who} listens at {socket}, and is no portcullis: it says {words:?}");
            let mend = format!(
                "end it (systemctl status {} names its unit), then: {}",
                pid(scene),
                unit::start(scene)
            );
            Finding::bad("stranger", text).mend(mend)
        }
        Daemon::Forbidden => {
            let text =
                format!("this user may not ask the daemon at {socket}, so half of what is to be known is missing");
            Finding::warn("daemon", text).mend("sudo portcullis doctor")
        }
        Daemon::Nobody | Daemon::Runs(_) => {
            let text = format!("no daemon answers at {socket}: no log is read, and nobody new is banned");
            Finding::bad("daemon", text).mend(unit::start(scene))
        }
    }
}

fn pid(scene: &Scene) -> String {
    scene.listener.map_or("PID".to_owned(), |pid| pid.to_string())
}

fn runs(scene: &Scene, status: &Status) -> Vec<Finding> {
    let text = format!(
        "portcullis {} runs since {} (pid {})",
        status.version, status.since, status.pid
    );
    let mut found = vec![Finding::ok("daemon", text)];
    found.extend(version(scene, status));
    if status.dry_run {
        let text = "it was told --dry-run: bans are decided and logged, nothing is enforced";
        found.push(Finding::warn("dry-run", text).mend("start it without --dry-run"));
    }
    let reasons = status.not_protected.iter().filter(|reason| !is_told_elsewhere(reason));
    found.extend(reasons.map(|reason| {
        let text = format!("NOT PROTECTED: {reason}");
        Finding::bad("not-protected", text).mend(mend_of(scene, reason))
    }));
    found
}

/// Whether a reason has findings of its own, with more to say: logs that are not read, actions that fail.
fn is_told_elsewhere(reason: &str) -> bool {
    reason.contains("' sees nothing: ") || reason.contains("', action '") && reason.contains(" fails: ")
}

fn mend_of(scene: &Scene, reason: &str) -> String {
    let check = scene.typed("check");
    if reason.contains("' must not ban: ") || reason.contains("' is not in force: ") {
        format!("{check} names file and line; mend it, then: {}", scene.typed("reload"))
    } else if reason.starts_with("part of the configuration") {
        format!("{check}; then: {}", scene.typed("reload"))
    } else if reason.starts_with("bans are not saved") {
        let database = scene.status().and_then(|status| status.database.clone());
        let database = database.unwrap_or_else(|| "the database".to_owned());
        format!("make room for {database}, or let the daemon write there; it tries again by itself")
    } else if reason.starts_with("no configuration yet") {
        "fail2ban-client reload".to_owned()
    } else if reason.starts_with("no jail is in force") {
        let local = scene.places.config.join("jail.local");
        format!(
            "write enabled = true under a jail, such as [sshd], in {}; then: {}",
            local.display(),
            scene.typed("reload")
        )
    } else {
        scene.typed("status")
    }
}

/// Whether what runs is what is installed.
fn version(scene: &Scene, status: &Status) -> Option<Finding> {
    let ours = env!("CARGO_PKG_VERSION");
    let text = if status.version != ours {
        format!(
            "the daemon that runs is version {}, this program is {ours}",
            status.version
        )
    } else if is_replaced(&scene.root, status.pid) {
        "the program was replaced since the daemon started: the one that runs is no longer there".to_owned()
    } else {
        return None;
    };
    Some(Finding::warn("version", text).mend(unit::restart(scene)))
}

/// Whether the file that a process runs was deleted or replaced.
fn is_replaced(root: &Path, pid: u32) -> bool {
    let program = fs::read_link(root.join(format!("proc/{pid}/exe")));
    program.is_ok_and(|program| program.to_string_lossy().ends_with(" (deleted)"))
}

/// Fail2Ban's own server, of the same network: it bans the same addresses by other rules, and lifts them by other times.
fn beside(root: &Path) -> Vec<Finding> {
    let network = |pid: &str| fs::read_link(root.join(format!("proc/{pid}/ns/net"))).ok();
    let own = network("self");
    let processes = fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let numbers = processes.filter_map(|process| process.file_name().into_string().ok());
    let numbers = numbers.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers
        .filter(|pid| is_fail2ban(&root.join("proc").join(pid)) && network(pid) == own)
        .map(|pid| {
            let text = format!(
                "Fail2Ban runs beside it (pid {pid}): both read the logs, and each lifts bans by its own clock"
            );
            let mend =
                format!("systemctl status {pid} names the unit that starts it: stop and disable that, or kill {pid}");
            Finding::warn("fail2ban", text).mend(mend)
        })
        .collect()
}

/// Whether a process is Fail2Ban's server: a script, so that its name comes behind Python's.
fn is_fail2ban(process: &Path) -> bool {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    let names: Vec<String> = words
        .split(|byte| *byte == 0)
        .take(4)
        .map(|word| {
            let word = String::from_utf8_lossy(word).into_owned();
            word.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    let is_python = names.first().is_some_and(|name| name.starts_with("python"));
    is_python && names.iter().skip(1).any(|name| name == "fail2ban-server")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn processes_of_a_machine() {
        let root = tempfile::tempdir().unwrap();
        let process = |pid: &str, words: &str, exe: &str, network: &str| {
            let folder = root.path().join("proc").join(pid);
            fs::create_dir_all(folder.join("ns")).unwrap();
            fs::write(folder.join("cmdline"), words.replace(' ', "\0")).unwrap();
            symlink(exe, folder.join("exe")).unwrap();
            symlink(network, folder.join("ns/net")).unwrap();
        };
        process("self", "portcullis doctor", "/usr/bin/portcullis", "net:[1]");
        process(
            "7",
            "/usr/bin/python3 /usr/bin/fail2ban-server -xf start",
            "/usr/bin/python3",
            "net:[1]",
        );
        process(
            "8",
            "/usr/bin/python3 -s /usr/bin/fail2ban-server",
            "/usr/bin/python3",
            "net:[2]",
        );
        process("9", "fail2ban-server -f", "/usr/bin/portcullis (deleted)", "net:[1]");
        let found = beside(root.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("(pid 7)"), "{found:?}");
        assert!(found[0].mend.as_ref().unwrap().contains("kill 7"), "{found:?}");
        assert!(is_replaced(root.path(), 9) && !is_replaced(root.path(), 7) && !is_replaced(root.path(), 1));
    }
}
