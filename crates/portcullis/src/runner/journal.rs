//! The program that prints the journal: started here, its output handed to the daemon, its end told.
//!
//! It is systemd's own, so that it always knows the form of the files at hand, and a process of its own, because a
//! library in ours would die with a file that is cut short under it. What it is told is made here, of an [`Excerpt`] whose
//! every word is checked.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_core::config::{Tree as _, is_journal_field, is_journal_match};
use rustix::process::Pid;

use super::execute::{Running, Watched};
use super::lane::Mailbox;
use super::wire::{Answer, Begin, Excerpt, Outcome, Ran};
use crate::folder::Disk;

/// The program.
const PROGRAM: &str = "journalctl";

/// Where the machine's journals are.
const PLACES: &[&str] = &["/var/log/journal", "/run/log/journal"];

/// So often it is looked whether other files belong to a journal that is given by its files: the program never sees
/// those that are made after its start.
const LOOK: Duration = Duration::from_secs(1);

/// No list of matches is longer, in words; nor a word, in bytes.
const WORDS_MOST: usize = 4096;
const WORD_MOST: usize = 4096;

pub(super) fn run(number: u64, excerpt: &Excerpt, mailbox: &Mailbox, running: &Running) -> io::Result<Ran> {
    let start = Instant::now();
    let (mut child, files) = spawn(excerpt)?;
    let group = Pid::from_child(&child);
    running.begin(group);
    if let Some(output) = child.stdout.take() {
        let output = OwnedFd::from(output);
        mailbox.send_with(&Answer::Journal { number }, &[output.as_fd()]);
    }
    let mut watched = Watched::new(&mut child, group);
    let mut renewed = false;
    while !watched.wait(Instant::now().checked_add(LOOK)) {
        renewed = excerpt.follow && !excerpt.files.is_empty() && stamped(&files_of(excerpt)) != files;
        if renewed || mailbox.is_gone() {
            watched.kill();
            break;
        }
    }
    let mut ran = running.ran(&mut child, start)?;
    if renewed {
        // As if it had come to an end of its own: the next one is given all files.
        ran.outcome = Outcome::Exit(0);
    }
    ran.stderr = watched.complaint();
    Ok(ran)
}

/// A file that belongs to a journal, by its number and not by its name: a rotated one is the same file.
type Stamp = (u64, u64);

/// Starts the program. Returns also which files it was given, where it was given files.
fn spawn(excerpt: &Excerpt) -> io::Result<(Child, Vec<Stamp>)> {
    let files = files_of(excerpt);
    if !has_journal(excerpt, &files) {
        let text = format!("there is no journal ({})", place(excerpt));
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    let stamps = stamped(&files);
    let mut command = command(excerpt, &files)?;
    let child = command
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                io::Error::other("journalctl is not installed (apt-get install systemd), so the journal cannot be read")
            }
            _ => error,
        })?;
    Ok((child, stamps))
}

/// Prints entries of the journal to whoever reads its output: for a verb, which is no daemon.
///
/// # Errors
/// If the excerpt is none, or the program cannot be started.
pub(crate) fn print(excerpt: &Excerpt) -> io::Result<Child> {
    spawn(excerpt).map(|(child, _)| child)
}

fn command(excerpt: &Excerpt, files: &[PathBuf]) -> io::Result<Command> {
    let mut words: Vec<OsString> = ["--output=export", "--no-pager", "--quiet", "--no-tail", "--merge"]
        .map(OsString::from)
        .into();
    let mut option = |name: &str, value: &str| words.push(format!("--{name}={value}").into());
    check(excerpt)?;
    if let Some(directory) = &excerpt.directory {
        option("directory", directory);
    }
    if let Some(namespace) = &excerpt.namespace {
        option("namespace", namespace);
    }
    match &excerpt.begin {
        Begin::Start => {}
        Begin::Cursor(cursor) => option("cursor", cursor),
        Begin::Since(micros) => {
            let micros = (*micros).max(0);
            option("since", &format!("@{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        }
    }
    if !excerpt.fields.is_empty() {
        option("output-fields", &excerpt.fields.join(","));
    }
    for file in files {
        let mut word = OsString::from("--file=");
        word.push(file);
        words.push(word);
    }
    let switches = [
        (excerpt.system, "--system"),
        (excerpt.user, "--user"),
        (excerpt.follow, "--follow"),
    ];
    words.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.into()));
    for (at, group) in excerpt.matches.iter().enumerate() {
        words.extend((at > 0).then(|| "+".into()));
        words.extend(group.iter().map(OsString::from));
    }
    let mut command = Command::new(PROGRAM);
    // Times are written by number; a message of the program is told as it is.
    command.args(words).env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// Refuses what is no value for its place.
fn check(excerpt: &Excerpt) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(ErrorKind::InvalidInput, what.to_owned());
    let is_absolute = |path: &String| Path::new(path).is_absolute();
    let count = excerpt.matches.iter().map(Vec::len).sum::<usize>() + excerpt.fields.len() + excerpt.files.len();
    if count > WORDS_MOST {
        return Err(bad("too many matches of the journal are wanted"));
    }
    if !excerpt.directory.iter().chain(&excerpt.files).all(is_absolute) {
        return Err(bad("a journal must be given by its whole path, from / on"));
    }
    if !excerpt.fields.iter().all(|field| is_journal_field(field)) {
        return Err(bad("a field of the journal has a name that none can have"));
    }
    if let Some(term) = excerpt
        .matches
        .iter()
        .flatten()
        .find(|term| term.len() > WORD_MOST || !is_journal_match(term))
    {
        return Err(bad(&format!("{term:?} is no match of the journal: FIELD=value")));
    }
    if excerpt.matches.iter().any(Vec::is_empty) {
        return Err(bad("a group of matches is empty"));
    }
    let texts = [
        excerpt.namespace.as_deref(),
        match &excerpt.begin {
            Begin::Cursor(cursor) => Some(cursor.as_str()),
            Begin::Start | Begin::Since(_) => None,
        },
    ];
    let is_plain =
        |text: &str| !text.is_empty() && text.len() <= WORD_MOST && text.chars().all(|c| c.is_ascii_graphic());
    if !texts.into_iter().flatten().all(is_plain) {
        return Err(bad("a namespace or a place in the journal is none"));
    }
    Ok(())
}

/// The files of a journal that is given by files, the rotated ones among them: what was not read of them comes first.
fn files_of(excerpt: &Excerpt) -> Vec<PathBuf> {
    let mut files: Vec<String> = Vec::new();
    for pattern in &excerpt.files {
        for file in Disk.glob(pattern) {
            if let Some(stem) = file.strip_suffix(".journal").filter(|stem| !stem.contains('@')) {
                files.extend(Disk.glob(&format!("{}@*.journal", escaped(stem))));
            }
            files.push(file);
        }
    }
    files.sort();
    files.dedup();
    files.into_iter().map(PathBuf::from).collect()
}

/// A name that a pattern takes as it stands.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[') {
            text.extend(['[', c, ']']);
        } else {
            text.push(c);
        }
    }
    text
}

fn stamped(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| fs::metadata(file).ok().map(|data| (data.dev(), data.ino()));
    let mut stamps: Vec<Stamp> = files.iter().filter_map(stamp).collect();
    stamps.sort_unstable();
    stamps
}

/// Whether there is something to read: the program itself ends well without a single file.
fn has_journal(excerpt: &Excerpt, files: &[PathBuf]) -> bool {
    if !excerpt.files.is_empty() {
        return !files.is_empty();
    }
    let places = excerpt.directory.as_deref();
    let places = places.map_or_else(|| PLACES.to_vec(), |place| vec![place]);
    places.iter().any(|place| holds(Path::new(place), 1))
}

/// Whether a folder or one in it has a file of a journal.
fn holds(folder: &Path, depth: u8) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let is_file = path.extension().is_some_and(|extension| extension == "journal");
        is_file || (depth > 0 && path.is_dir() && holds(&path, depth - 1))
    })
}

fn place(excerpt: &Excerpt) -> String {
    match &excerpt.directory {
        Some(directory) => format!("in {directory}"),
        None if !excerpt.files.is_empty() => format!("in {}", excerpt.files.join(", ")),
        None => format!("in {}", PLACES.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that the program is started with.
    fn words(excerpt: &Excerpt) -> io::Result<Vec<String>> {
        let command = command(excerpt, &[PathBuf::from("/j/a b.journal")])?;
        Ok(command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect())
    }

    #[test]
    fn no_value_is_an_option() {
        let excerpt = Excerpt {
            directory: Some("/j".into()),
            namespace: Some("--file".into()),
            system: true,
            matches: vec![vec!["A=--all".into(), "B=".into()], vec!["C=a b".into()]],
            fields: vec!["MESSAGE".into(), "A".into()],
            begin: Begin::Since(1_500_000_000_000_007),
            follow: true,
            ..Excerpt::default()
        };
        let expect = [
            "--directory=/j",
            "--namespace=--file",
            "--since=@1500000000.000007",
            "--output-fields=MESSAGE,A",
            "--file=/j/a b.journal",
            "--system",
            "--follow",
            "A=--all",
            "B=",
            "+",
            "C=a b",
        ];
        assert_eq!(words(&excerpt).unwrap()[5..], expect);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let plain = Excerpt::default;
        for excerpt in [
            Excerpt {
                directory: Some("j".into()),
                ..plain()
            },
            Excerpt {
                files: vec!["-x".into()],
                ..plain()
            },
            Excerpt {
                namespace: Some("a b".into()),
                ..plain()
            },
            Excerpt {
                begin: Begin::Cursor("s=1\n".into()),
                ..plain()
            },
            Excerpt {
                fields: vec!["A,B".into()],
                ..plain()
            },
            Excerpt {
                matches: vec![vec!["--all".into()]],
                ..plain()
            },
            Excerpt {
                matches: vec![vec!["/usr/bin/x".into()]],
                ..plain()
            },
            Excerpt {
                matches: vec![vec![format!("A={}", "x".repeat(WORD_MOST))]],
                ..plain()
            },
            Excerpt {
                matches: vec![Vec::new()],
                ..plain()
            },
        ] {
            let error = words(&excerpt).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{excerpt:?}");
        }
    }

    #[test]
    fn rotated_files_belong_to_their_journal() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "s[1].journal",
            "s[1]@x-1.journal",
            "s1@x.journal",
            "t.journal",
            "t@y.journal~",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let pattern = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let of = |names: &[&str]| -> Vec<String> {
            let excerpt = Excerpt {
                files: names.iter().map(|name| pattern(name)).collect(),
                ..Excerpt::default()
            };
            let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            files_of(&excerpt).into_iter().map(name).collect()
        };
        assert_eq!(of(&["s*].journal"]), ["s[1].journal", "s[1]@x-1.journal"]);
        assert_eq!(of(&["t.journal", "*.journal"]).len(), 4);
        assert_eq!(of(&["none*"]), [""; 0]);
    }
}
