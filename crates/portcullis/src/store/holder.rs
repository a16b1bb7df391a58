//! Who has a database open.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Says which processes have a file open.
type Witness = Box<dyn Fn(&Path) -> Vec<String> + Send + Sync>;

/// Who looks in place of a process that may not.
static WITNESS: OnceLock<Witness> = OnceLock::new();

/// From now on `witness` is asked who has a file open: a confined process is not told by the kernel.
pub(crate) fn ask(witness: impl Fn(&Path) -> Vec<String> + Send + Sync + 'static) {
    // There is one runner, and so the first witness is as good as any.
    let _ = WITNESS.set(Box::new(witness));
}

/// Which other processes have a file open, as far as anybody may look for us.
pub(super) fn known_holders(file: &Path) -> Vec<String> {
    let Some(witness) = WITNESS.get() else {
        return holders(file);
    };
    let own = pid_of(std::process::id());
    let mut found = witness(file);
    found.retain(|process| !process.ends_with(&own));
    found
}

/// Which daemon has the database open: Fail2Ban keeps it open all the time, and locks it only while it writes. Whoever
/// else looks into it (a backup, a curious administrator) must not keep us from starting.
pub(crate) fn holder(database: &Path) -> Option<String> {
    let target = fs::canonicalize(database).ok()?;
    let mut daemons = others().filter(|(_, process)| is_daemon(process));
    daemons
        .find(|(_, process)| has_open(process, &target))
        .map(|(pid, _)| named(pid))
}

/// Which other processes have a file open, as far as we may look.
pub(crate) fn holders(file: &Path) -> Vec<String> {
    let Ok(target) = fs::canonicalize(file) else {
        return Vec::new();
    };
    let holding = others().filter(|(_, process)| has_open(process, &target));
    holding.map(|(pid, _)| named(pid)).collect()
}

/// All processes but this one, each with its folder.
fn others() -> impl Iterator<Item = (u32, PathBuf)> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    processes.filter(move |(pid, _)| *pid != own)
}

fn has_open(process: &Path, target: &Path) -> bool {
    let mut open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    open.any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == target))
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

/// A process as people know it. Its name is its own choice.
pub(crate) fn named(pid: impl Display + Copy) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} {}", name.trim().escape_debug(), pid_of(pid))
}

fn pid_of(pid: impl Display) -> String {
    format!("(pid {pid})")
}
