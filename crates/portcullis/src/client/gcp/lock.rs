//! One hand at a time on a rule: those who write it by hand from this machine wait for each other.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

/// Where root's locks are; nobody else may make files there.
const FOLDER: &str = "/run/portcullis";
/// Another hand is looked after so often.
const LOOK: Duration = Duration::from_millis(100);

/// Held until it is dropped; the file stays, since others may wait for it.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process of this machine writes the rule.
    ///
    /// # Errors
    /// In words: it took longer than `patience`, or there is no place for the lock.
    pub(super) fn take(project: &str, rule: &str, patience: Duration) -> Result<Lock, String> {
        Lock::within(&folder(), project, rule, patience)
    }

    fn within(folder: &Path, project: &str, rule: &str, patience: Duration) -> Result<Lock, String> {
        let path = folder.join(format!("gcp-{}-{rule}.lock", project.replace(['/', '.', ':'], "_")));
        let wrap = |error: std::io::Error| format!("cannot lock {}: {error}", path.display());
        make(folder).map_err(wrap)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&path).map_err(wrap)?;
        let until = Instant::now() + patience;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOOK),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(format!(
                        "another process has been writing rule {rule} for {} s",
                        patience.as_secs()
                    ));
                }
                Err(error) => return Err(wrap(error.into())),
            }
        }
    }
}

/// The folder, where it is not there yet. One that others may write is not used: their file could be anything.
fn make(folder: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(folder)?;
    let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if is_ours {
        Ok(())
    } else {
        Err(std::io::Error::other(
            "its folder belongs to others, or others may write it",
        ))
    }
}

/// Root's, or the user's own.
fn folder() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return FOLDER.into();
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    own.join(format!("portcullis-{}", rustix::process::geteuid().as_raw()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("locks");
        let take = |rule: &str| Lock::within(&folder, "example.com:p", rule, Duration::from_millis(50));
        let first = take("block-ip").unwrap();
        assert!(take("block-ip").is_err_and(|error| error.contains("another process")));
        assert!(take("other").is_ok());
        drop(first);
        assert!(take("block-ip").is_ok());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(take("block-ip").is_err_and(|error| error.contains("others")));
    }
}
