//! Debian 12's `/etc/fail2ban`, fetched through apt into a folder under `target/` and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

static FETCHING: Mutex<()> = Mutex::new(());

/// The folder, as the package has it.
///
/// # Panics
/// When apt cannot fetch the package.
pub(crate) fn fail2ban() -> PathBuf {
    let cache = root();
    let folder = cache.join("etc/fail2ban");
    let _alone = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !folder.join("jail.conf").is_file() {
        let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fetch(fresh.path());
        // Another run of the tests may have been faster; then its copy is as good.
        let _ = fs::rename(fresh.path().join("root"), &cache);
    }
    assert!(
        folder.join("jail.conf").is_file(),
        "{} is incomplete: remove it",
        cache.display()
    );
    folder
}

/// Where the package is unpacked.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-fail2ban")
}

fn fetch(folder: &Path) {
    let download = Command::new("apt-get")
        .args(["download", "fail2ban"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        download.status.success(),
        "Debian's fail2ban package cannot be downloaded: {}run `apt-get update` first, and see that a Debian mirror can \
         be reached",
        String::from_utf8_lossy(&download.stderr)
    );
    let package = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .next()
        .unwrap();
    let unpack = Command::new("dpkg")
        .arg("-x")
        .arg(package)
        .arg(folder.join("root"))
        .output()
        .unwrap();
    assert!(
        unpack.status.success(),
        "dpkg: {}",
        String::from_utf8_lossy(&unpack.stderr)
    );
}

/// Whom Fail2Ban's own `fail2ban-regex` finds in a log with a filter of a configuration folder: one address a failure.
pub(crate) fn found(configuration: &Path, log: &Path, filter: &str) -> Vec<String> {
    let root = root();
    let output = Command::new("/usr/bin/python3")
        .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"))
        .arg(root.join("usr/bin/fail2ban-regex"))
        .arg("-c")
        .arg(configuration)
        .args(["-o", "ip"])
        .args([log, Path::new(filter)])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && error.is_empty(),
        "fail2ban-regex: {text}{error}"
    );
    text.lines().map(str::to_owned).collect()
}

/// Copies a folder with what is in it; links are followed.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, new) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &new);
        } else {
            fs::copy(&path, &new).unwrap();
        }
    }
}
