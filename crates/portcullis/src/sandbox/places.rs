//! Where the daemon may write: Landlock.
//!
//! Reading is not limited: logs, lists of addresses and included files may be anywhere, and commands name new ones.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::list;

/// The newest interface of the kernel that is asked for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V5;

/// Where logs usually are: `set logtarget` names others there.
const LOGS: &str = "/var/log";
/// Nothing is written there.
const NOTHING: &str = "/dev/null";
/// Folders that mean the whole machine: of these a file alone.
const TOO_MUCH: [&str; 7] = ["/", "/dev", "/etc", "/home", "/root", "/usr", "/var"];

/// Why writing is not limited.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("this kernel has no Landlock, or it is off")]
    Missing,
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
}

/// The places that the daemon writes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// With all that is below
    pub(crate) folders: BTreeSet<PathBuf>,
    pub(crate) files: BTreeSet<PathBuf>,
}

/// The places that go with these files, which it writes, and these folders. A file is replaced, rotated, and has others
/// beside it, so that it takes its folder with it; and where it is a link, the folder that it leads to as well.
pub(crate) fn written(files: &[PathBuf], folders: &[PathBuf]) -> Written {
    let mut written = Written::default();
    written.files.insert(NOTHING.into());
    written.folders.insert(LOGS.into());
    written.folders.extend(folders.iter().map(|folder| real(folder)));
    for file in files {
        for file in [file.clone(), real(file)] {
            match file.parent() {
                Some(folder) if !TOO_MUCH.iter().any(|much| folder == Path::new(much)) => {
                    written.folders.insert(real(folder));
                }
                _ => {
                    written.files.insert(file);
                }
            }
        }
    }
    written
}

/// The same without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// From now on this thread and those that it starts write nowhere else, and bind no TCP port where the kernel can refuse
/// that. In words, what that means.
pub(super) fn confine(written: &Written) -> Result<String, Error> {
    let rights = AccessFs::from_write(NEWEST);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(rights)?
        .handle_access(AccessNet::BindTcp)?
        .create()?;
    for folder in &written.folders {
        ruleset = allow(ruleset, folder, rights)?;
    }
    for file in &written.files {
        ruleset = allow(ruleset, file, rights & AccessFs::from_file(NEWEST))?;
    }
    let status = ruleset.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(Error::Missing);
    }
    Ok(format!("writes only below {}", list(&written.folders)))
}

/// What is not there cannot be written either.
fn allow(ruleset: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(place) => ruleset.add_rule(PathBeneath::new(place, rights)),
        Err(_) => Ok(ruleset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_its_folder_with_it_but_for_those_that_mean_everything() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for name in ["state", "logs"] {
            std::fs::create_dir(base.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(base.join("logs/real.log"), base.join("state/link.log")).unwrap();
        std::fs::write(base.join("logs/real.log"), "").unwrap();
        let check = |files: &[&str], folders: &[&str], expect: (&[&str], &[&str])| {
            let whole = |paths: &[&str]| paths.iter().map(|path| base.join(path)).collect::<Vec<PathBuf>>();
            let mut found = written(&whole(files), &whole(folders));
            assert!(found.files.remove(Path::new(NOTHING)) && found.folders.remove(Path::new(LOGS)));
            let expect = Written {
                folders: whole(expect.0).into_iter().collect(),
                files: whole(expect.1).into_iter().collect(),
            };
            assert_eq!(found, expect, "{files:?} {folders:?}");
        };
        check(&["state/database"], &[], (&["state"], &[]));
        check(&["state/link.log"], &[], (&["state", "logs"], &[]));
        check(&["gone/database"], &["state"], (&["gone", "state"], &[]));
        check(&["/dev/stdout", "/etc/log"], &[], (&[], &["/dev/stdout", "/etc/log"]));
    }
}
