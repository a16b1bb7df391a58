//! The last lines of each log, tried with the filter of each jail that reads it: what the daemon would make of them.
//!
//! In: the jails as they would be set to read. Out: one [`Trial`] for each jail and file. The files are only read, at
//! most [`MOST`] bytes from their end, and no jail takes longer than [`PATIENCE`].

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis_core::config::plan::{JailPlan, LogPath, Plan};
use portcullis_core::filter::{Candidates, Filter, Settings, Tell};
use portcullis_core::stamp::Detector;
use portcullis_core::time::{Clock, Timestamp};

use crate::daemon::zone;
use crate::matching::Reading;

/// So much of the end of a file is read.
const MOST: u64 = 512 << 10;
/// A longer line is tried as far as this.
const LONGEST: usize = 64 << 10;
/// No jail takes longer for one file.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the last lines of a file come to in one jail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trial {
    pub(super) jail: String,
    pub(super) path: String,
    /// How many lines were tried
    pub(super) lines: usize,
    /// In how many of them there was a failure
    pub(super) matched: usize,
    /// How many had no date that the jail finds
    pub(super) undated: usize,
    /// How many the filter's prefregex took; `None` where it has none
    pub(super) prefixed: Option<usize>,
    /// The date of the last line, where it has one
    pub(super) last: Option<Timestamp>,
    /// Failures that another mode of the filter would see: how many, what they are, what to write
    pub(super) unseen: Option<(usize, String, String)>,
}

/// Tries every jail on every file of it that can be read.
pub(super) fn try_all(readings: Vec<(Reading, Vec<LogPath>)>, plan: &Plan, now: Clock) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (mut reading, files) in readings {
        // What a program prints cannot be looked at beside the daemon, and standard input is its own.
        for LogPath { path, .. } in files.into_iter().filter(|log| !LogPath::is_stream(&log.path)) {
            let Ok(lines) = last_lines(Path::new(&path)) else {
                continue;
            };
            let name = reading.name().to_string();
            let dates = plan.jails.iter().find(|jail| *jail.name == *name).and_then(Dates::of);
            let mut trial = Trial {
                jail: name,
                path,
                prefixed: reading.parts().0.prefregex().map(|_| 0),
                ..Trial::default()
            };
            // A line that breaks the matcher must not keep us from telling the rest.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                attempt(&mut trial, &mut reading, dates, (&lines, now));
            }));
            trials.push(trial);
        }
    }
    trials
}

/// What finds the dates of a jail's lines, and reads them as they are written: the jail's own filter takes one that is
/// far off as now.
struct Dates {
    detector: Detector,
    reader: Filter,
}

impl Dates {
    fn of(jail: &JailPlan) -> Option<Dates> {
        let (pattern, zone_of_log) = (jail.datepattern.as_deref(), jail.logtimezone.as_deref());
        let without_patterns = JailPlan {
            prefregex: None,
            failregex: Vec::new(),
            ignoreregex: Vec::new(),
            maxlines: 1,
            ..jail.clone()
        };
        let settings = Settings {
            zone: zone(),
            check_all: false,
            check_age: false,
            tell: Tell::Failures,
        };
        Some(Dates {
            detector: Detector::new(pattern, zone_of_log, zone()).ok()?,
            reader: Filter::new(&without_patterns, settings).ok()?,
        })
    }

    /// The date of a line, where it has one.
    fn read(&mut self, now: Clock, line: &str) -> Option<Timestamp> {
        self.detector.find(line, now.wall)?;
        self.reader.read(now, true, line, Candidates::ALL);
        self.reader.last_date().map(|(at, _)| at)
    }
}

fn attempt(trial: &mut Trial, reading: &mut Reading, mut dates: Option<Dates>, (lines, now): (&[Vec<u8>], Clock)) {
    let begun = Instant::now();
    let (filter, encoding, mut unseen) = reading.parts();
    let mut more = 0;
    for bytes in lines {
        if begun.elapsed() > PATIENCE {
            break;
        }
        let text = encoding.encoding.line(bytes).text;
        trial.last = dates.as_mut().and_then(|dates| dates.read(now, &text));
        // As lines that come in now: none is too old to be tried.
        let read = filter.read(now, true, &text, Candidates::ALL);
        trial.lines += 1;
        trial.matched += usize::from(!read.failures.is_empty());
        trial.undated += usize::from(trial.last.is_none());
        if let Some(prefixed) = &mut trial.prefixed {
            *prefixed += usize::from(read.prefix.is_some());
        }
        if let Some(unseen) = unseen.as_mut().filter(|_| read.failures.is_empty()) {
            more += usize::from(
                !unseen
                    .filter
                    .read(now, true, &text, Candidates::ALL)
                    .failures
                    .is_empty(),
            );
        }
    }
    trial.unseen = unseen
        .filter(|_| more > 0)
        .map(|unseen| (more, unseen.what.clone(), unseen.mend.clone()));
}

/// The whole lines at the end of a file.
fn last_lines(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    // Opening a pipe would wait for whoever writes into it.
    if !path.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(MOST);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    // The last one is not whole yet; nor is the first, where the file was cut there.
    lines.pop();
    let cut = usize::from(begin > 0);
    let whole = lines.into_iter().skip(cut).filter(|line| !line.is_empty());
    Ok(whole.map(|line| line.get(..LONGEST).unwrap_or(line).to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "one\n\ntwo\nthr").unwrap();
        assert_eq!(last_lines(&path).unwrap(), [b"one".to_vec(), b"two".to_vec()]);
        let long = "x".repeat(usize::try_from(MOST).unwrap());
        std::fs::write(&path, format!("cut {long}\nlast\n")).unwrap();
        assert_eq!(last_lines(&path).unwrap(), [b"last".to_vec()]);
        assert!(last_lines(folder.path()).is_err());
    }
}
