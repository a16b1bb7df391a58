//! Reader and group together: the lines of a log come once and in order to each jail, whatever its encoding, while
//! the log is written in pieces, rotated, and the run is broken off again and again.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use portcullis_core::config::plan::{JailPlan, UseDns};
use portcullis_core::filter::{Filter, Settings, Tell};
use portcullis_core::ledger::Mark;

use super::*;
use crate::source::{Follow, From, Limits, Reader};

/// A log is read to its end when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(40);

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What survives the end of a run.
#[derive(Default)]
struct Kept {
    lines: BTreeMap<Arc<str>, Vec<String>>,
    marks: BTreeMap<Arc<str>, Mark>,
    said: Vec<String>,
}

impl Kept {
    fn take(&mut self, news: News) {
        match news {
            News::Batch(batch) => {
                for failure in batch.failures {
                    let lines = self.lines.entry(failure.jail).or_default();
                    lines.extend(failure.matches.iter().map(ToString::to_string));
                }
                self.marks
                    .extend(batch.reads.into_iter().map(|(jail, _, mark)| (jail, mark)));
            }
            News::Said { text, .. } => self.said.push(text),
            _ => {}
        }
    }
}

/// Every line that is not empty is a failure.
fn reading(name: &str, path: &Path, done: Option<Mark>) -> Reading {
    let mut plan = JailPlan::new(name, "auto");
    plan.failregex = vec!["^<F-ID>.+</F-ID>$".into()];
    // A line with NUL bytes is no name or address.
    plan.usedns = UseDns::Raw;
    plan.datepattern = Some("{NONE}".into());
    let settings = Settings {
        zone: jiff::tz::TimeZone::UTC,
        check_all: false,
        check_age: false,
        tell: Tell::Failures,
    };
    let filter = Filter::new(&plan, settings).unwrap();
    let encoding = LogEncoding::named(name).unwrap();
    let mut reading = Reading::new(name.into(), filter, encoding, None);
    reading.follow(path.to_str().unwrap().into(), done, true);
    reading
}

/// A run of the jails, which bear the names of their encodings, until nothing more comes or `chunks` were read.
fn run(path: &Path, jails: &[&str], kept: &mut Kept, mut chunks: usize) {
    let marks: Vec<Option<Mark>> = jails.iter().map(|name| kept.marks.get(*name).cloned()).collect();
    let from = begin(path.to_str().unwrap(), marks.clone());
    let first = match &from {
        From::Mark(mark) => Some(mark),
        _ => None,
    };
    let mut readings = Vec::new();
    for (name, mark) in jails.iter().zip(marks) {
        let mut reading = reading(name, path, mark);
        reading.begins(path.to_str().unwrap(), first);
        readings.push(reading);
    }
    let news = RefCell::new(Vec::new());
    let mut worker = Worker {
        jails: readings,
        clock: Running::fresh(),
        careful: None,
        warned: BTreeMap::new(),
        prefilter: None,
        out: |item| {
            news.borrow_mut().push(item);
            Ok(())
        },
    };
    let limits = Limits {
        lines: 3,
        ..Limits::default()
    };
    let reader = Reader::spawn(limits).unwrap();
    let (to, reports) = sync_channel(1);
    reader.add(Follow {
        path: path.to_str().unwrap().into(),
        from,
        to,
        wide: worker.jails.iter().any(Reading::is_wide),
    });
    while let Ok(report) = reports.recv_timeout(QUIET) {
        if let Report::Chunk(chunk) = report {
            if chunks == 0 {
                break;
            }
            chunks -= 1;
            worker.read(&chunk);
        }
    }
    drop(reports);
    news.take().into_iter().for_each(|item| kept.take(item));
}

/// Runs until the first jail has so many lines; a busy machine may be quiet for a while.
fn run_to_end(path: &Path, jails: &[&str], kept: &mut Kept, lines: usize) {
    for _ in 0..50 {
        run(path, jails, kept, usize::MAX);
        if kept.lines.get(jails[0]).is_some_and(|found| found.len() >= lines) {
            return;
        }
    }
}

fn encode(encoding: &str, text: &str) -> Vec<u8> {
    let units = text.encode_utf16();
    match encoding {
        "utf-16-be" => units.flat_map(u16::to_be_bytes).collect(),
        _ => units.flat_map(u16::to_le_bytes).collect(),
    }
}

/// Lines of characters with newline bytes in them.
fn lines(dice: &mut Dice, count: usize) -> Vec<String> {
    const LETTERS: [&str; 9] = ["a", "b ", "上", "\u{a0a}", "\u{a00}", "\u{10a}", "\u{1280a}", "\r", "ü"];
    let line = |number| {
        let letters: String = (0..dice.roll(9)).map(|_| LETTERS[dice.roll(LETTERS.len())]).collect();
        format!("{number}:{letters}.")
    };
    (0..count).map(line).collect()
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// What a jail that reads bytes makes of files.
fn as_latin(files: &[Vec<u8>]) -> Vec<String> {
    let mut lines = Vec::new();
    for file in files {
        let mut parts: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
        parts.pop();
        let text = |part: &[u8]| part.iter().map(|byte| char::from(*byte)).collect::<String>();
        let stripped = parts.iter().map(|part| text(part).trim_end_matches('\r').to_owned());
        lines.extend(stripped.filter(|line| !line.is_empty()));
    }
    lines
}

/// Writes random lines in pieces; each piece is met by a run that is broken off somewhere.
fn check(encoding: &str, seed: u64) {
    let mut dice = Dice(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let jails = [encoding, "latin-1"];
    let (mut kept, mut expect, mut files) = (Kept::default(), Vec::new(), vec![Vec::new()]);
    let mut file = append(&path);
    for round in 0..3 {
        let written = lines(&mut dice, 6);
        let ends = ["\n", "\r\n"];
        let text: String = written
            .iter()
            .map(|line| format!("{line}{}", ends[dice.roll(2)]))
            .collect();
        let bytes = encode(encoding, &text);
        files.last_mut().unwrap().extend(&bytes);
        expect.extend(written);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(1 + dice.roll(rest.len()));
            file.write_all(piece).unwrap();
            // The writer goes on in the file that was renamed, mostly in the middle of a line.
            if round == 1 && path.exists() {
                fs::rename(&path, folder.path().join("log.1")).unwrap();
            }
            rest = later;
            let chunks = if dice.roll(2) == 0 { dice.roll(12) } else { usize::MAX };
            run(&path, &jails, &mut kept, chunks);
        }
        if round == 0 {
            // A file of which nothing is known yet is not looked for under another name.
            run_to_end(&path, &jails, &mut kept, expect.len());
        }
        if round == 1 {
            file = append(&path);
            files.push(Vec::new());
        }
    }
    run_to_end(&path, &jails, &mut kept, expect.len());
    assert_eq!(kept.lines.get(encoding), Some(&expect), "{encoding} {seed}");
    assert_eq!(
        kept.lines.get("latin-1"),
        Some(&as_latin(&files)),
        "beside {encoding} {seed}"
    );
}

#[test]
fn utf_16_comes_whole_and_once_over_restarts_and_rotation() {
    for seed in [0, 1, 2, 13] {
        for encoding in ["utf-16-le", "utf-16-be", "utf-16"] {
            check(encoding, seed);
        }
    }
}

#[test]
fn what_is_no_character_is_said_once_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, b"one\nt\xffwo\nt\xfehree\n").unwrap();
    let mut kept = Kept::default();
    run(&path, &["ascii", "utf-8"], &mut kept, usize::MAX);
    let name = path.to_str().unwrap();
    let expect = [
        format!("Error decoding line from '{name}' with 'ascii'."),
        "Consider setting logencoding to appropriate encoding for this jail. Continuing to process line ignoring invalid \
         characters: b't\\xffwo\\n'"
            .to_owned(),
    ];
    assert_eq!(kept.said, expect);
    assert_eq!(kept.lines["utf-8"], ["one", "t\u{fffd}wo", "t\u{fffd}hree"]);
}
