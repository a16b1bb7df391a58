//! Real files, real threads and real processes.
//!
//! Lines are numbered, so that one that is lost, doubled or out of place shows at once.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Chunk, Follow, From, Limits, Reader, Report, turns};

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

/// Has a path followed, and gives what comes of it: at most so many reports wait.
fn follow(reader: &Reader, path: &Path, from: From, room: usize) -> Receiver<Report> {
    let (to, reports) = sync_channel(room);
    reader.add(Follow {
        path: path.to_str().unwrap().into(),
        from,
        to,
        wide: false,
    });
    reports
}

fn lines_of(chunk: &Chunk) -> impl Iterator<Item = String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    chunk.lines.iter().map(move |line| text(line.bytes))
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
        let reports = follow(&reader, path, from, room);
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
            Report::Chunk(chunk) => {
                assert!(chunk.caught_up || !chunk.lines.is_empty(), "a chunk without news");
                self.lines.extend(lines_of(&chunk));
                self.mark = Some(chunk.mark);
                self.caught_up = chunk.caught_up;
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
    let reports = follow(&seen.reader, &brisk.path, From::Start, 4);
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

/// The lines that have come by now.
fn come(reports: &Receiver<Report>) -> Vec<String> {
    let lines = |report| match report {
        Report::Chunk(chunk) => lines_of(&chunk).collect(),
        _ => Vec::new(),
    };
    reports.try_iter().flat_map(lines).collect()
}

/// Logs with many chunks come a few at a time, each whole in the end, and a line in another one does not wait for them.
#[test]
fn what_is_behind_comes_by_turns_and_what_is_new_at_once() {
    const LINES: usize = 100;
    let at_a_time = turns::at_a_time();
    let reader = Reader::spawn(Limits { lines: 10, ..quick() }).unwrap();
    let follow = |log: &Log| follow(&reader, &log.path, From::Start, 4);
    let big: Vec<Log> = std::iter::repeat_with(Log::new).take(4 * at_a_time).collect();
    let mut new = Log::new();
    let fresh = follow(&new);
    let reports: Vec<_> = big
        .into_iter()
        .map(|mut log| {
            log.write(LINES);
            (follow(&log), log)
        })
        .collect();
    sleep(ms(200));
    let mut seen: Vec<Vec<String>> = reports.iter().map(|(reports, _)| come(reports)).collect();
    // Each has the chunk in which it showed that there is more.
    assert!(seen.iter().all(|lines| lines.len() >= 10));
    let further = seen.iter().filter(|lines| lines.len() > 10).count();
    assert!((at_a_time..seen.len()).contains(&further), "{further} at a time");
    new.write(1);
    while !matches!(fresh.recv_timeout(PATIENCE).unwrap(), Report::Chunk(chunk) if !chunk.lines.is_empty()) {}
    let end = Instant::now() + 4 * PATIENCE;
    while seen.iter().any(|lines| lines.len() < LINES) && Instant::now() < end {
        for (lines, (reports, _)) in seen.iter_mut().zip(&reports) {
            lines.extend(come(reports));
        }
        sleep(ms(1));
    }
    seen.iter().for_each(|lines| check(lines, LINES));
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
        drop(seen.reader);
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

/// Whatever chunk was the last to be kept: going on behind it gives exactly the rest.
fn from_every_mark(mut rotate: impl FnMut(&mut Log)) {
    let mut log = Log::new();
    let limits = Limits { lines: 4, ..quick() };
    let mut seen = Seen::with(&log.path, From::Start, limits, 4);
    seen.until_caught_up();
    let mut marks = Vec::new();
    for _ in 0..6 {
        log.write(17);
        sleep(ms(12));
        rotate(&mut log);
        log.write(6);
        while seen.lines.len() < log.written {
            let report = seen.next(PATIENCE).unwrap();
            seen.take(report);
            marks.extend(seen.mark.clone().map(|mark| (seen.lines.len(), mark)));
        }
    }
    seen.check(log.written);
    marks.dedup();
    assert!(marks.len() > 20);
    for (count, mark) in marks {
        let mut rest = Seen::start(&log.path, From::Mark(mark.clone()));
        rest.until_caught_up();
        let mut lines: Vec<String> = seen.lines.iter().take(count).cloned().collect();
        lines.append(&mut rest.lines);
        assert_eq!(lines, seen.lines, "after {count} at {mark:?}");
    }
}

#[test]
fn every_mark_is_a_place_to_go_on_after_renames() {
    from_every_mark(|log| log.rename(20, 3));
}

#[test]
fn every_mark_is_a_place_to_go_on_after_copies() {
    from_every_mark(|log| log.copy_and_truncate(20, ms(3)));
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
                for line in chunk.lines.iter() {
                    writeln!(out, "\n> {}", String::from_utf8_lossy(line.bytes)).unwrap();
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
        Reading::spawn(Reading::command(path))
    }

    fn as_nobody(path: &Path) -> Reading {
        use std::os::unix::process::CommandExt;
        let mut command = Reading::command(path);
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        Reading::spawn(command)
    }

    fn command(path: &Path) -> Command {
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
        command
    }

    fn spawn(mut command: Command) -> Reading {
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

#[test]
fn one_copy_that_is_overwritten_each_time() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    seen.until_caught_up();
    for round in 0..20 {
        log.write(60);
        log.copy_and_truncate(1, ms(round % 5));
        sleep(ms(5));
        while let Ok(report) = seen.reports.try_recv() {
            seen.take(report);
        }
        // With one copy only, the next rotation destroys what was not read yet, and even the place where the
        // last line was read; that is reported, though here nothing is lost.
        seen.until(log.written);
    }
    log.write(3);
    seen.until(log.written);
    check(&seen.lines, log.written);
}

#[test]
fn a_file_that_grew_past_the_position_after_a_truncation() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    log.write(20);
    seen.until(20);
    let (mark, mut lines) = (seen.mark.clone().unwrap(), seen.lines.clone());
    drop(seen.reader);
    log.write(5);
    sleep(ms(12));
    log.copy_and_truncate(5, ms(0));
    log.write(100);
    let mut seen = Seen::start(&log.path, From::Mark(mark));
    seen.until(105);
    lines.append(&mut seen.lines);
    check(&lines, 125);
}

#[test]
fn a_position_at_the_beginning_survives_a_copy_and_truncation() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    seen.until_caught_up();
    let mark = seen.mark.clone().unwrap();
    assert_eq!((mark.offset, &*mark.head, &*mark.tail), (0, "", ""));
    drop(seen.reader);
    sleep(ms(12));
    log.write(10);
    log.copy_and_truncate(5, ms(0));
    log.write(10);
    Seen::start(&log.path, From::Mark(mark)).check(20);
}

/// `cp -p` gives the copy the time of the last line in it.
#[test]
fn copies_that_keep_the_time_of_the_file() {
    across_restarts(|log, _| {
        log.shift(60);
        let done = Command::new("cp").arg("-p").arg(&log.path).arg(log.name(1)).status();
        assert!(done.unwrap().success());
        log.file.set_len(0).unwrap();
        sleep(ms(12));
    });
}

#[test]
fn both_ways_of_rotating_by_turns() {
    let mut turn = 0;
    let mut rotate = |log: &mut Log| {
        turn += 1;
        sleep(ms(12));
        if turn % 2 == 0 {
            log.rename(60, 4);
        } else {
            log.copy_and_truncate(60, ms(12));
        }
    };
    while_stopped(&mut rotate);
    across_restarts(|log, _| rotate(log));
    from_every_mark(rotate);
}

#[test]
fn files_and_directories_that_appear_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/mail.log");
    let limits = Limits {
        poll: Duration::from_secs(60),
        ..quick()
    };
    for from in [From::Start, From::End] {
        let mut seen = Seen::with(&path, from, limits, 4);
        seen.until_report(|report| matches!(report, Report::Missing { .. }));
        fs::create_dir(folder.path().join("a")).unwrap();
        sleep(ms(20));
        fs::create_dir(folder.path().join("a/b")).unwrap();
        fs::write(&path, "line 0 of the log\n").unwrap();
        seen.check(1);
        assert!(matches!(seen.other[1], Report::Appeared { .. }));
        // The directory is replaced by another.
        fs::rename(folder.path().join("a"), folder.path().join("old")).unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(&path, "line 1 of the log\n").unwrap();
        seen.check(2);
        drop(seen);
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        fs::remove_dir_all(folder.path().join("old")).unwrap();
    }
}

#[test]
fn a_file_that_is_deleted_and_made_again() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    for _ in 0..10 {
        log.write(1);
        seen.until(log.written);
        log.write(10);
        fs::remove_file(&log.path).unwrap();
        log.write(3);
        log.file = append(&log.path);
    }
    log.write(1);
    // What was unread when the file was deleted is still there for who holds it open.
    seen.check(log.written);
    let mark = seen.mark.clone().unwrap();
    drop(seen);
    fs::remove_file(&log.path).unwrap();
    drop(log.file);
    fs::write(&log.path, "line 0 of the log\nline 1 of the log\n").unwrap();
    let mut seen = Seen::start(&log.path, From::Mark(mark));
    seen.until(2);
    check(&seen.lines, 2);
    assert!(
        seen.other
            .iter()
            .any(|report| matches!(report, Report::Rotated { complete: false, .. }))
    );
}

#[test]
fn long_lines_are_cut_and_memory_is_not_used_up() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    for _ in 0..10 {
        log.file.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    log.file.write_all(b"y\nshort\n").unwrap();
    seen.until(2);
    assert_eq!(seen.lines[0].len(), 64 << 10);
    assert_eq!(seen.lines[1], "short");
    assert_eq!(
        seen.mark.as_ref().unwrap().head,
        "",
        "a first line of 10 MB is not hashed again and again"
    );
    // A hole of 200 MB, as a writer leaves that does not append, is no line of 200 MB.
    drop(log.file);
    log.file = OpenOptions::new().write(true).open(&log.path).unwrap();
    log.file.write_all_at(b"after the hole\n", 200 << 20).unwrap();
    seen.until(3);
    assert_eq!(seen.lines[2], "after the hole");
}

#[test]
fn binary_rubbish_is_only_bytes() {
    let mut log = Log::new();
    let reader = Reader::spawn(quick()).unwrap();
    let reports = follow(&reader, &log.path, From::Start, 64);
    let rubbish: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    log.file.write_all(&rubbish).unwrap();
    log.file.write_all(b"\n").unwrap();
    let mut bytes = Vec::new();
    while bytes.len() < rubbish.len() {
        if let Report::Chunk(chunk) = reports.recv_timeout(PATIENCE).unwrap() {
            for line in chunk.lines.iter() {
                bytes.extend_from_slice(line.bytes);
                bytes.push(b'\n');
                assert_eq!(line.end, bytes.len() as u64);
            }
        }
    }
    assert_eq!(bytes[..rubbish.len()], rubbish);
}

#[test]
fn an_unterminated_line_waits_for_its_end() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    log.file.write_all(b"line 0 of").unwrap();
    seen.until_caught_up();
    assert!(seen.lines.is_empty());
    log.file.write_all(b" the log\nline 1 of").unwrap();
    seen.until(1);
    // Nothing will complete it once the file is replaced, but its writer gets some time.
    fs::rename(&log.path, log.name(1)).unwrap();
    sleep(ms(30));
    log.file.write_all(b" the log\nline 2 of the log").unwrap();
    log.file = append(&log.path);
    log.written = 3;
    log.write(2);
    seen.check(5);
}

#[test]
fn a_late_writer_in_the_old_file() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    log.write(5);
    seen.until(5);
    let mut late = append(&log.path);
    log.rename(5, 0);
    log.write(5);
    seen.until(10);
    late.write_all(b"line 10 of the log\n").unwrap();
    seen.check(11);
    let mark = seen.mark.clone().unwrap();
    assert_eq!(
        mark.offset,
        fs::metadata(&log.path).unwrap().len(),
        "the mark is where reading goes on"
    );
}

#[test]
fn the_end_of_a_file_is_a_place_to_begin() {
    let mut log = Log::new();
    fs::write(&log.path, "old\n".repeat(1000)).unwrap();
    fs::write(log.name(1), "older\n".repeat(1000)).unwrap();
    let mut seen = Seen::start(&log.path, From::End);
    seen.until_caught_up();
    log.write(5);
    log.rename(5, 2);
    log.write(1);
    seen.check(8);
}

#[test]
fn a_position_that_fail2ban_stored() {
    let mut log = Log::new();
    log.write(30);
    let bytes = fs::read(&log.path).unwrap();
    let first = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let head = super::file::hex(&bytes[..first]);
    let mark = |head: &str| Mark {
        device: 0,
        inode: 0,
        offset: (first * 10) as u64,
        head: head.to_owned(),
        tail: String::new(),
        read_at: Timestamp::from_seconds(0),
    };
    let mut seen = Seen::start(&log.path, From::Mark(mark(&head)));
    seen.until(20);
    assert_eq!(seen.lines[0], "line 10 of the log");
    log.rename(5, 0);
    let mut seen = Seen::start(&log.path, From::Mark(mark(&head)));
    seen.until(20);
    assert_eq!(seen.lines[0], "line 10 of the log");
    assert_eq!(head, "3371d3b94d124eac24a5f096be1ae59f4ce054ab");
}

#[test]
fn links_and_backups_are_not_generations() {
    let mut log = Log::new();
    log.write(10);
    let link = log.folder.path().join("link.log");
    std::os::unix::fs::symlink(&log.path, &link).unwrap();
    fs::hard_link(&log.path, log.name(7)).unwrap();
    fs::write(log.folder.path().join("mail.log-ng.log"), "another log\n").unwrap();
    let mut seen = Seen::start(&link, From::Start);
    seen.until(10);
    fs::copy(&log.path, log.name(8)).unwrap();
    log.write(5);
    for _ in 0..3 {
        sleep(ms(12));
        log.rename(5, 2);
        log.write(5);
    }
    fs::write(log.folder.path().join("mail.log-ng.log"), "another log\n").unwrap();
    seen.check(log.written);
    let (mark, written) = (seen.mark.clone().unwrap(), log.written);
    drop(seen);
    sleep(ms(12));
    log.write(2);
    log.rename(5, 1);
    log.write(1);
    let mut seen = Seen::start(&link, From::Mark(mark));
    seen.until(4);
    assert_eq!(seen.lines[0], format!("line {written} of the log"));
    assert_eq!(seen.lines.len(), 4);
}

#[test]
fn a_file_written_anew_with_the_same_contents_is_not_read_again() {
    let mut log = Log::new();
    let mut seen = Seen::start(&log.path, From::Start);
    log.write(10);
    seen.until(10);
    let anew = log.folder.path().join("anew");
    fs::copy(&log.path, &anew).unwrap();
    fs::rename(&anew, &log.path).unwrap();
    log.file = append(&log.path);
    log.write(5);
    seen.check(15);
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail.log");
    let is_refused = |error: &'static str| move |report: &Report| matches!(report, Report::Unreadable { error: text, .. } if text.contains(error));
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let mut seen = Seen::start(&path, From::Start);
    seen.until_report(is_refused("not a regular file"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    seen.until_report(is_refused("symbolic links"));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "line 0 of the log\n").unwrap();
    seen.check(1);
    for device in ["/dev/zero", "/tmp"] {
        Seen::start(Path::new(device), From::Start).until_report(is_refused("not a regular file"));
    }
}

/// Root may read everything, so the reader runs as somebody else.
#[test]
fn a_file_that_must_not_be_read_and_then_may() {
    use std::os::unix::fs::PermissionsExt;
    let mut log = Log::new();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(log.folder.path(), 0o755);
    mode(&log.path, 0);
    log.write(1);
    let mut reading = Reading::as_nobody(&log.path);
    let mut line = String::new();
    while !line.contains("Unreadable") {
        line.clear();
        assert!(reading.out.read_line(&mut line).unwrap() > 0);
    }
    assert!(line.contains("permission denied"), "{line}");
    mode(&log.path, 0o644);
    check(&reading.until(1), 1);
}

#[test]
fn orders_while_it_runs() {
    let (mut log, mut other) = (Log::new(), Log::new());
    let mut seen = Seen::start(&log.path, From::Start);
    let reports = follow(&seen.reader, &other.path, From::Start, 4);
    other.write(1);
    while !matches!(reports.recv_timeout(PATIENCE), Ok(Report::Chunk(chunk)) if chunk.lines.len() == 1) {}
    seen.reader.remove(other.path.to_str().unwrap().into());
    while reports.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Disconnected) {}
    log.write(1);
    seen.check(1);
    seen.reader.limit(Limits { line: 4, ..quick() });
    log.write(1);
    seen.until(2);
    assert_eq!(seen.lines[1], "line");
}

#[test]
fn a_line_arrives_at_once() {
    let mut log = Log::new();
    let mut seen = Seen::with(
        &log.path,
        From::Start,
        Limits {
            poll: Duration::from_secs(60),
            ..quick()
        },
        4,
    );
    seen.until_caught_up();
    let mut times: Vec<Duration> = (1..=50)
        .map(|count| {
            sleep(ms(3));
            let begin = Instant::now();
            log.write(1);
            while seen.lines.len() < count {
                let report = seen.next(PATIENCE).unwrap();
                seen.take(report);
            }
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("median {:?}, longest {:?}", times[25], times[49]);
    // Far from the millisecond that it takes, because the machine may be busy, and farther from any polling.
    assert!(times[25] < ms(50), "{times:?}");
}
