//! Real files, real threads and real processes.
//!
//! Lines are numbered, so that one that is lost, doubled or out of place shows at once.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Chunk, Follow, From, Limits, Reader, Report};

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A log in a directory of its own, and whoever writes to it.
struct Log {
    folder: TempDir,
    path: PathBuf,
    file: File,
    written: usize,
}

impl Log {
    fn new() -> Log {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.log");
        let file = append(&path);
        Log {
            folder,
            path,
            file,
            written: 0,
        }
    }

    /// Writes the next lines.
    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let line = format!("line {} of the log\n", self.written);
            self.file.write_all(line.as_bytes()).unwrap();
            self.written += 1;
        }
    }

    fn name(&self, suffix: usize) -> PathBuf {
        self.folder.path().join(format!("mail.log.{suffix}"))
    }

    /// Moves `mail.log.1` to `mail.log.2` and so on, as logrotate does.
    fn shift(&self, keep: usize) {
        for number in (1..keep).rev() {
            let _ = fs::rename(self.name(number), self.name(number + 1));
        }
    }

    /// Renames the log; the writer goes on in the old file with `late` lines, then turns to the new one.
    fn rename(&mut self, keep: usize, late: usize) {
        self.shift(keep);
        fs::rename(&self.path, self.name(1)).unwrap();
        self.write(late);
        self.file = append(&self.path);
    }

    /// Copies and truncates the log; the writer pauses in between.
    fn copy_and_truncate(&mut self, keep: usize, pause: Duration) {
        self.shift(keep);
        fs::copy(&self.path, self.name(1)).unwrap();
        sleep(pause);
        self.file.set_len(0).unwrap();
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

fn quick() -> Limits {
    Limits {
        quiet: ms(100),
        poll: ms(500),
        ..Limits::default()
    }
}

/// A reader and what came from it.
struct Seen {
    reader: Reader,
    reports: Receiver<Report>,
    lines: Vec<String>,
    mark: Option<Mark>,
    other: Vec<Report>,
    caught_up: bool,
}

impl Seen {
    fn start(path: &Path, from: From) -> Seen {
        Seen::with(path, from, quick(), 4)
    }

    fn with(path: &Path, from: From, limits: Limits, room: usize) -> Seen {
        let reader = Reader::spawn(limits).unwrap();
        let (to, reports) = sync_channel(room);
        reader.add(Follow {
            path: path.to_str().unwrap().into(),
            from,
            to,
        });
        Seen {
            reader,
            reports,
            lines: Vec::new(),
            mark: None,
            other: Vec::new(),
            caught_up: false,
        }
    }

    fn next(&mut self, patience: Duration) -> Option<Report> {
        let report = self.reports.recv_timeout(patience);
        assert_ne!(report, Err(RecvTimeoutError::Disconnected), "the reader is gone");
        report.ok()
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Chunk(Chunk {
                lines, mark, caught_up, ..
            }) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                self.lines.extend(lines.iter().map(|line| text(&line.bytes)));
                self.mark = Some(mark);
                self.caught_up = caught_up;
            }
            other => self.other.push(other),
        }
    }

    /// Takes reports until there are so many lines.
    fn until(&mut self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.lines.len() < count && Instant::now() < end {
            if let Some(report) = self.next(ms(50)) {
                self.take(report);
            }
        }
    }

    /// Takes reports until one of them is as wanted.
    fn until_report(&mut self, wanted: impl Fn(&Report) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !self.other.iter().any(&wanted) {
            assert!(Instant::now() < end, "not reported; there was {:?}", self.other);
            if let Some(report) = self.next(ms(50)) {
                self.take(report);
            }
        }
    }

    fn until_caught_up(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.caught_up && Instant::now() < end {
            if let Some(report) = self.next(ms(50)) {
                self.take(report);
            }
        }
    }

    /// Every line once and in order, and none after them.
    fn check(&mut self, count: usize) {
        self.until(count);
        while let Some(report) = self.next(ms(50)) {
            self.take(report);
        }
        check(&self.lines, count);
        assert!(
            self.other
                .iter()
                .all(|report| !matches!(report, Report::Rotated { complete: false, .. }))
        );
    }
}

fn check<S: AsRef<str>>(lines: &[S], count: usize) {
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.as_ref(), format!("line {number} of the log"), "at {number}");
    }
    assert_eq!(lines.len(), count);
}

#[test]
fn fifty_renames_under_a_steady_writer() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    seen.until_caught_up();
    for _ in 0..50 {
        log.write(40);
        sleep(ms(8));
        log.write(20);
        log.rename(60, 15);
        log.write(5);
        while let Ok(report) = seen.reports.try_recv() {
            seen.take(report);
        }
    }
    seen.check(log.written);
}

#[test]
fn fifty_copies_and_truncations() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    seen.until_caught_up();
    for round in 0..50 {
        log.write(60);
        sleep(ms(round % 7));
        log.write(10);
        log.copy_and_truncate(60, ms(round % 5));
        // The time of files is kept in ticks; two generations within one could not be told apart.
        sleep(ms(5));
        while let Ok(report) = seen.reports.try_recv() {
            seen.take(report);
        }
    }
    log.write(3);
    seen.check(log.written);
}

#[test]
fn a_slow_receiver_loses_nothing_and_holds_up_nobody() {
    let (mut slow, mut brisk) = (Log::new(), Log::new());
    let mut seen = Seen::with(&slow.path, From::Start, Limits { lines: 10, ..quick() }, 1);
    slow.write(1);
    seen.until(1);
    let (to, reports) = sync_channel(4);
    seen.reader.add(Follow {
        path: brisk.path.to_str().unwrap().into(),
        from: From::Start,
        to,
    });
    for _ in 0..8 {
        slow.write(200);
        slow.rename(20, 10);
        sleep(ms(12));
    }
    for _ in 0..5 {
        brisk.write(1);
        let mut count = 0;
        while count < 1 {
            match reports.recv_timeout(PATIENCE).unwrap() {
                Report::Chunk(chunk) => count += chunk.lines.len(),
                other => panic!("{other:?}"),
            }
        }
    }
    seen.check(slow.written);
}

/// Stops the reader at some point, rotates meanwhile, and goes on from the mark.
fn across_restarts(mut rotate: impl FnMut(&mut Log, usize)) {
    let mut log = Log::new();
    let mut lines = Vec::new();
    let mut mark = None;
    for round in 0..12 {
        let from = mark.take().map_or(From::Start, From::Mark);
        let mut seen = Seen::start(&log.path, from);
        log.write(30);
        // Half of the rounds end with lines that were not read.
        seen.until(if round % 2 == 0 { 30 } else { 7 });
        mark = seen.mark.clone();
        lines.append(&mut seen.lines);
        seen.reader.stop();
        log.write(10);
        for _ in 0..round % 4 {
            rotate(&mut log, round);
            log.write(25);
            sleep(ms(12));
        }
    }
    let mut seen = Seen::start(&log.path, From::Mark(mark.unwrap()));
    seen.until(log.written - lines.len());
    lines.append(&mut seen.lines);
    check(&lines, log.written);
}

#[test]
fn renames_between_stop_and_start() {
    across_restarts(|log, _| {
        sleep(ms(12));
        log.rename(60, 4);
    });
}

#[test]
fn copies_and_truncations_between_stop_and_start() {
    across_restarts(|log, _| log.copy_and_truncate(60, ms(12)));
}

#[test]
fn renames_without_shifting_between_stop_and_start() {
    let mut day = 10;
    across_restarts(move |log, _| {
        day += 1;
        sleep(ms(12));
        fs::rename(&log.path, log.folder.path().join(format!("mail.log-202611{day}"))).unwrap();
        log.file = append(&log.path);
    });
}

/// The reader as a process of its own, for stopping it with a signal. It prints what it gets.
#[test]
fn child_reader() {
    let Ok(path) = std::env::var("FOLLOW_THIS") else { return };
    let mut seen = Seen::start(Path::new(&path), From::Start);
    let mut out = std::io::stdout().lock();
    loop {
        match seen.next(PATIENCE) {
            Some(Report::Chunk(chunk)) => {
                for line in chunk.lines {
                    writeln!(out, "\n> {}", String::from_utf8_lossy(&line.bytes)).unwrap();
                }
            }
            Some(other) => writeln!(out, "\n! {other:?}").unwrap(),
            None => return,
        }
        out.flush().unwrap();
    }
}

/// A child that reads, and what it printed.
struct Reading {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Reading {
    fn start(path: &Path) -> Reading {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "source::tests::child_reader",
            "--nocapture",
            "--test-threads=1",
        ]);
        command
            .env("FOLLOW_THIS", path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Reading { child, out }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn until(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        while lines.len() < count {
            line.clear();
            if self.out.read_line(&mut line).unwrap() == 0 {
                break;
            }
            lines.extend(line.strip_prefix("> ").map(|line| line.trim_end().to_owned()));
        }
        lines
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn while_stopped(mut rotate: impl FnMut(&mut Log)) {
    let mut log = Log::new();
    let mut reading = Reading::start(&log.path);
    let mut lines = Vec::new();
    for round in 0..12 {
        log.write(20);
        lines.extend(reading.until(20));
        reading.signal(Signal::STOP);
        log.write(10);
        for _ in 0..round % 5 {
            rotate(&mut log);
            log.write(30);
            sleep(ms(12));
        }
        reading.signal(Signal::CONT);
        let unread = log.written - lines.len();
        lines.extend(reading.until(unread));
    }
    check(&lines, log.written);
}

#[test]
fn renames_while_the_process_is_stopped() {
    while_stopped(|log| {
        sleep(ms(12));
        log.rename(60, 4);
    });
}

#[test]
fn copies_and_truncations_while_the_process_is_stopped() {
    while_stopped(|log| log.copy_and_truncate(60, ms(12)));
}
