//! The files beside a log: what it was called before it was rotated, and copies of it.

use std::cmp::{Ordering, Reverse};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{LogFile, Stat};

/// Most entries of a directory that are looked at.
const ENTRIES: usize = 20_000;
/// Most siblings that are kept: the youngest.
const SIBLINGS: usize = 128;
/// How often a directory is read again because it changed meanwhile.
const TRIES: usize = 40;
/// Most symbolic links from a path to its file.
const LINKS: usize = 16;

/// Where the file of a path really lies: logs are rotated there, not where a symbolic link to them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory
    pub(crate) directory: PathBuf,
    /// The name in it
    pub(crate) name: OsString,
}

impl Place {
    /// Follows symbolic links at the end of the path, also where the last one dangles.
    pub(crate) fn of(path: &Path) -> Place {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let Ok(target) = fs::read_link(&path) else { break };
            path = path.parent().unwrap_or(Path::new("/")).join(target);
        }
        Place {
            directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
            name: path.file_name().unwrap_or_default().to_owned(),
        }
    }
}

/// A file beside the log, held open: its name may be another's by now.
#[derive(Debug)]
pub(crate) struct Sibling {
    pub(crate) file: LogFile,
    pub(crate) age: Age,
    /// Whether it is named as rotation names files. Only such a file is read from its beginning.
    pub(crate) rotated: bool,
}

/// What orders generations; the greater, the younger. The time of the last write decides: one writer writes to one
/// generation after the other, and a copy is written after the last line that is in it. File systems keep time in
/// ticks of some milliseconds; within one, the birth and then the names decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) modified: i64,
    born: i64,
    /// What follows the name of the log: `.1`, `-20261122`.
    suffix: Vec<u8>,
}

impl Ord for Age {
    fn cmp(&self, other: &Age) -> Ordering {
        let by_name = match (index(&self.suffix), index(&other.suffix)) {
            (Some(one), Some(two)) => Reverse(one).cmp(&Reverse(two)),
            (one, two) => one
                .is_some()
                .cmp(&two.is_some())
                .then_with(|| self.suffix.cmp(&other.suffix)),
        };
        (self.modified, self.born)
            .cmp(&(other.modified, other.born))
            .then(by_name)
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Age) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A name in the directory, and what it stood for.
struct Name {
    path: PathBuf,
    stat: Stat,
    age: Age,
    rotated: bool,
}

/// All files beside the log that may have come from it, the oldest first; and any file with the inode number
/// `inode`, whatever its name. Compressed files, and those that cannot be opened, are left out.
///
/// Files are renamed in a row while the directory is read, so that one may be passed over. Two readings have to
/// agree in every name and every file, also in the files opened between them: then all show the same moment.
pub(crate) fn siblings(place: &Place, inode: u64) -> Vec<Sibling> {
    let mut attempt = 0;
    loop {
        let (names, whole) = list(place, inode);
        let mut stands = whole;
        let mut found = Vec::new();
        for name in &names {
            match LogFile::open(&name.path) {
                Ok(file) => {
                    stands &= file.stat.same(&name.stat);
                    let (age, rotated) = (name.age.clone(), name.rotated);
                    found.push(Sibling { file, age, rotated });
                }
                Err(error) => stands &= error.kind() != ErrorKind::NotFound,
            }
        }
        let (again, whole) = list(place, inode);
        let same = |(one, two): (&Name, &Name)| one.path == two.path && one.stat.same(&two.stat);
        stands &= whole && names.len() == again.len() && names.iter().zip(&again).all(same);
        attempt += 1;
        if stands || attempt == TRIES {
            found.sort_by(|one, two| one.age.cmp(&two.age));
            return found;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// One reading, by name, and whether every name was still there when it was looked at.
fn list(place: &Place, inode: u64) -> (Vec<Name>, bool) {
    let Ok(entries) = fs::read_dir(&place.directory) else {
        return (Vec::new(), true);
    };
    let mut whole = true;
    let mut found = Vec::new();
    for entry in entries.take(ENTRIES).filter_map(Result::ok) {
        let name = entry.file_name();
        let suffix = suffix(&place.name, &name);
        if name == place.name || (suffix.is_none() && entry.ino() != inode) {
            continue;
        }
        let path = entry.path();
        // A symbolic link beside the log is another name for something, not a generation of it.
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            whole = false;
            continue;
        };
        let Ok(stat) = Stat::of(&metadata) else { continue };
        let rotated = suffix.as_deref().is_some_and(is_rotation);
        let (modified, born) = (stat.modified, stat.born);
        let age = Age {
            modified,
            born,
            suffix: suffix.unwrap_or_default(),
        };
        found.push(Name {
            path,
            stat,
            age,
            rotated,
        });
    }
    found.sort_by_key(|name| Reverse(name.age.modified));
    found.truncate(SIBLINGS);
    found.sort_by(|one, two| one.path.cmp(&two.path));
    (found, whole)
}

/// What a sibling's name has more than the log's: behind it (`mail.log.1`), or before the extension
/// (`mail-20261122.log`).
fn suffix(log: &OsStr, name: &OsStr) -> Option<Vec<u8>> {
    const COMPRESSED: [&str; 8] = ["gz", "xz", "bz2", "zst", "lz4", "lzma", "Z", "zip"];
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    if extension.is_some_and(|extension| COMPRESSED.contains(&extension)) {
        return None;
    }
    if let Some(suffix) = name.as_bytes().strip_prefix(log.as_bytes()) {
        return Some(suffix.to_vec());
    }
    let stem = Path::new(log).file_stem()?.as_bytes();
    let extension = log.as_bytes().get(stem.len()..).filter(|text| !text.is_empty())?;
    let suffix = name.as_bytes().strip_prefix(stem)?.strip_suffix(extension)?;
    is_rotation(suffix).then(|| suffix.to_vec())
}

/// Whether rotation makes such names: a separator, then a number or a date, or `old`. A log of its own beside
/// ours (`syslog` and `syslog-ng.log`) is none.
fn is_rotation(suffix: &[u8]) -> bool {
    let Some((first, rest)) = suffix.split_first() else {
        return false;
    };
    let date = |byte: &u8| byte.is_ascii_digit() || b".-_:+TZ@".contains(byte);
    b".-_@".contains(first)
        && ([&b"old"[..], b"prev"].contains(&rest) || rest.iter().any(u8::is_ascii_digit) && rest.iter().all(date))
}

/// The number of `.1`, `.2`, …, where higher is older; dates are no such number.
fn index(suffix: &[u8]) -> Option<u32> {
    let digits = suffix.get(1..).filter(|digits| digits.len() < 6)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(log: &str, name: &str, expect: Option<bool>) {
        let suffix = suffix(OsStr::new(log), OsStr::new(name));
        assert_eq!(suffix.map(|suffix| is_rotation(&suffix)), expect, "{log} {name}");
    }

    #[test]
    fn names_of_rotation() {
        for name in [
            "mail.log.1",
            "mail.log.12",
            "mail.log-20261122",
            "mail.log.2026-11-22_10:00",
            "mail.log.old",
        ] {
            check("mail.log", name, Some(true));
        }
        for name in ["mail-20261122.log", "mail.1.log"] {
            check("mail.log", name, Some(true));
        }
        for name in [
            "mail.log.bak",
            "mail.log.err",
            "mail.logs",
            "mail.log.1.bak",
            "mail.log.",
        ] {
            check("mail.log", name, Some(false));
        }
        check("syslog", "syslog-ng.log", Some(false));
        for name in [
            "mail.log.2.gz",
            "mail.log.1.zst",
            "mail.err",
            "mail.warn.log",
            "daemon.log",
        ] {
            check("mail.log", name, None);
        }
    }

    #[test]
    fn higher_numbers_are_older_within_one_tick() {
        let age = |suffix: &str, modified| Age {
            modified,
            born: 1,
            suffix: suffix.into(),
        };
        let mut all = [age(".2", 5), age(".10", 5), age(".3", 9), age(".1", 5)];
        all.sort();
        let names: Vec<&[u8]> = all.iter().map(|age| &*age.suffix).collect();
        assert_eq!(names, [b".10".as_slice(), b".2", b".1", b".3"]);
    }
}
