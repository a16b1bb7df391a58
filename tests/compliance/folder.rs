//! A configuration folder on the disk that both programs read, and what each makes of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use portcullis_core::config::plan::Plan;
use portcullis_core::config::{self, Face, Outcome, ReadError, Request, Tree};
use portcullis_core::diagnostic::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::oracle::Oracle;

/// A folder of its own, gone at the end of the test.
pub(crate) struct Folder {
    place: tempfile::TempDir,
    /// Where log files are looked for in place of the machine's root.
    root: PathBuf,
    /// Fail2Ban's, which configurations may ask for.
    version: String,
}

/// What `-d` comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dump {
    /// These lines, and whether a server would start with them.
    Lines { lines: Vec<String>, usable: bool },
    /// Nothing at all.
    Refused,
}

impl Dump {
    /// In one word, for the tables of cases.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Dump::Refused => "refused",
            Dump::Lines { usable: false, .. } => "no good jail",
            Dump::Lines { lines, .. } if lines.iter().any(|line| line.starts_with("['config-error'")) => "a bad jail",
            Dump::Lines { .. } => "dump",
        }
    }
}

impl Dump {
    /// This one, with the places where the other differs; for a message.
    pub(crate) fn beside(&self, other: &Dump) -> String {
        let (Dump::Lines { lines: ours, .. }, Dump::Lines { lines: theirs, .. }) = (self, other) else {
            return format!("ours {}, theirs {}", self.kind(), other.kind());
        };
        let pairs = ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs);
        let shown = pairs.take(3).map(|(ours, theirs)| format!("- {ours}\n+ {theirs}\n"));
        format!(
            "{} lines, {} lines\n{}",
            ours.len(),
            theirs.len(),
            shown.collect::<String>()
        )
    }
}

impl Folder {
    /// An empty folder below target, to be compared with this oracle.
    pub(crate) fn new(oracle: &mut Oracle) -> Self {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = place.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(place.path().join("etc")).unwrap();
        let version = oracle.ask(&json!({"arguments": ["-V"]}))["version"]
            .as_str()
            .unwrap()
            .to_owned();
        Self { place, root, version }
    }

    /// With a copy of another folder's files.
    pub(crate) fn copy_of(from: &Path, oracle: &mut Oracle) -> Self {
        let folder = Self::new(oracle);
        copy(from, &folder.path(""));
        folder
    }

    /// Where a file of the configuration is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("etc").join(name)
    }

    /// The folder as the command line names it.
    pub(crate) fn base(&self) -> String {
        self.place.path().join("etc").to_str().unwrap().to_owned()
    }

    /// Writes a file of the configuration.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file of the configuration.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Takes all files of the configuration away.
    pub(crate) fn clear(&self) {
        fs::remove_dir_all(self.path("")).unwrap();
        fs::create_dir(self.path("")).unwrap();
    }

    /// Makes an empty log file below the private root.
    pub(crate) fn log(&self, path: &str) {
        let path = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    /// What Fail2Ban makes of the folder, and its own words.
    pub(crate) fn theirs(&self, oracle: &mut Oracle) -> (Dump, Value) {
        let answer = self.ask(oracle, "-d");
        let out = answer["out"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let usable = answer["ended"].as_bool().unwrap();
        let dump = if out.starts_with("ERROR: ") {
            Dump::Refused
        } else {
            let lines = out.lines().map(str::to_owned).collect();
            Dump::Lines { lines, usable }
        };
        (dump, answer)
    }

    /// Whether it passes Fail2Ban's `-t`, for which all jails must be good and have their log files.
    pub(crate) fn passes_theirs(&self, oracle: &mut Oracle) -> bool {
        self.ask(oracle, "-t")["ended"].as_bool().unwrap()
    }

    /// Whether it passes ours.
    pub(crate) fn passes_ours(&self) -> bool {
        let base = self.base();
        let mut request = Request::new(&base, Face::Fail2Ban, &self.version);
        request.all_must_be_good = true;
        let disk = Disk::below(&self.root);
        config::read_early(&disk, &base, &[]).is_ok() && config::read(&disk, &request).usable
    }

    fn ask(&self, oracle: &mut Oracle, option: &str) -> Value {
        let arguments = json!(["-c", self.base(), option]);
        oracle.ask(&json!({"arguments": arguments, "root": self.root, "folder": self.base()}))
    }

    /// What we make of it under Fail2Ban's face.
    pub(crate) fn ours(&self) -> (Dump, Outcome) {
        let base = self.base();
        let mut request = Request::new(&base, Face::Fail2Ban, &self.version);
        request.allow_no_files = true;
        let disk = Disk::below(&self.root);
        let mut outcome = config::read(&disk, &request);
        // The client asks for its own options first.
        if let Err((_, diagnostics)) = config::read_early(&disk, &base, &[]) {
            outcome = Outcome {
                diagnostics,
                ..Outcome::default()
            };
        }
        let dump = if outcome.stream.is_empty() {
            Dump::Refused
        } else {
            let lines = config::dump(&outcome.stream).lines().map(str::to_owned).collect();
            let usable = outcome.usable;
            Dump::Lines { lines, usable }
        };
        (dump, outcome)
    }

    /// The files that reading it looks at, relative to the folder.
    pub(crate) fn files_read(&self) -> BTreeSet<String> {
        let disk = Disk::below(&self.root);
        let base = self.base();
        let mut request = Request::new(&base, Face::Fail2Ban, &self.version);
        request.allow_no_files = true;
        let outcome = config::read(&disk, &request);
        assert!(!outcome.stream.is_empty(), "{:?}", outcome.diagnostics);
        let seen = disk.seen.into_inner();
        let inside = seen.iter().filter_map(|path| path.strip_prefix(&base));
        inside.map(|path| path.trim_start_matches('/').to_owned()).collect()
    }

    /// The complaints about a line that do not name its file and number, with the line as it stands there.
    pub(crate) fn misplaced(&self, outcome: &Outcome) -> Vec<String> {
        let faults = outcome.diagnostics.iter().filter(|told| is_fault(told));
        faults
            .filter(|told| !is_placed(told))
            .map(|told| format!("{told:?}"))
            .collect()
    }
}

/// What a folder on the machine's own disk comes to, under Fail2Ban's face.
pub(crate) fn plan(base: &str) -> Plan {
    let mut request = Request::new(base, Face::Fail2Ban, config::FAIL2BAN_VERSION);
    request.allow_no_files = true;
    let outcome = config::read(&Disk::below(Path::new("/")), &request);
    assert!(!outcome.stream.is_empty(), "{:?}", outcome.diagnostics);
    Plan::from_stream(&outcome.stream, Face::Fail2Ban).0
}

fn is_placed(told: &Diagnostic) -> bool {
    let Some(place) = &told.position else { return false };
    let bytes = fs::read(&*place.file).unwrap();
    let text = String::from_utf8_lossy(&bytes)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let line = text.split('\n').nth(place.line - 1);
    line.is_some_and(|line| told.line.as_ref().is_some_and(|told| line.starts_with(told.as_str())))
}

/// Whether a complaint is about something that stands in a line.
fn is_fault(told: &Diagnostic) -> bool {
    const NOWHERE: [&str; 6] = [
        "no-folder",
        "not-found",
        "unreadable",
        "no-jails",
        "no-server-options",
        "no-jail",
    ];
    told.severity == Severity::Error && !NOWHERE.contains(&told.code)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The disk; log files are looked for below a folder.
struct Disk<'r> {
    root: &'r Path,
    seen: RefCell<BTreeSet<String>>,
}

impl<'r> Disk<'r> {
    fn below(root: &'r Path) -> Self {
        let seen = RefCell::default();
        Self { root, seen }
    }
}

impl Tree for Disk<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let read = fs::read(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => ReadError::NotFound,
            _ => ReadError::Other(error.to_string()),
        });
        if read.is_ok() {
            self.seen.borrow_mut().insert(path.to_owned());
        }
        read
    }

    fn list(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    fn is_dir(&self, path: &str) -> bool {
        Path::new(path).is_dir()
    }

    fn is_file(&self, path: &str) -> bool {
        Path::new(path).is_file()
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        if pattern.is_empty() {
            Vec::new()
        } else {
            Rooted(self).glob(pattern)
        }
    }
}

/// The disk as it looks from the private root.
struct Rooted<'d, 'r>(&'d Disk<'r>);

impl Rooted<'_, '_> {
    fn inside(&self, path: &str) -> String {
        let root = self.0.root.to_str().unwrap();
        format!("{root}/{}", path.trim_start_matches('/'))
    }
}

impl Tree for Rooted<'_, '_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.0.read(&self.inside(path))
    }

    fn list(&self, dir: &str) -> Vec<String> {
        self.0.list(&self.inside(dir))
    }

    fn is_dir(&self, path: &str) -> bool {
        self.0.is_dir(&self.inside(path))
    }

    fn is_file(&self, path: &str) -> bool {
        self.0.is_file(&self.inside(path))
    }
}
