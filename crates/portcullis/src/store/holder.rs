//! Who has a database open.

use std::fs;
use std::path::Path;

/// Which daemon has the database open: Fail2Ban keeps it open all the time, and locks it only while it writes. Whoever
/// else looks into it (a backup, a curious administrator) must not keep us from starting.
pub(crate) fn holder(database: &Path) -> Option<String> {
    let target = fs::canonicalize(database).ok()?;
    let own = std::process::id().to_string();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().into_string().unwrap_or_default();
        if pid == own || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        if !is_daemon(&process.path()) {
            continue;
        }
        let Ok(open) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        if open
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == target))
        {
            return Some(named(&pid));
        }
    }
    None
}

/// Whether a process is one of ours or Fail2Ban's, which is a script: its name comes second.
fn is_daemon(process: &Path) -> bool {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0).take(3).map(String::from_utf8_lossy);
    words.any(|word| {
        let name = Path::new(&*word).file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("portcullis") || name.starts_with("fail2ban-server")
    })
}

/// A process as people know it.
pub(crate) fn named(pid: &str) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} (pid {pid})", name.trim())
}
