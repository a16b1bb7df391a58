//! Files that were read to their end and replaced, and may still get lines from a writer that holds them open.

use std::collections::VecDeque;

use portcullis_core::ledger::Mark;

use super::file::{Fill, LogFile, Scratch, Stat};
use super::{Limits, Lines};

/// Most files that are watched for late writers.
const OPEN: usize = 4;
/// Most files that are remembered after that.
const CLOSED: usize = 16;

/// The replaced files of one path.
#[derive(Debug, Default)]
pub(crate) struct Late {
    open: Vec<(u64, LogFile)>,
    closed: VecDeque<Mark>,
}

/// What a late writer wrote.
pub(crate) struct LateLines {
    pub(crate) generation: u64,
    pub(crate) lines: Lines,
    /// The place behind them
    pub(crate) mark: Mark,
}

impl Late {
    /// Watches a file from now on.
    pub(crate) fn add(&mut self, generation: u64, file: LogFile) {
        self.open.push((generation, file));
        if self.open.len() > OPEN {
            self.close(0);
        }
    }

    /// The files that are held open.
    pub(crate) fn files(&self) -> impl Iterator<Item = &LogFile> {
        self.open.iter().map(|(_, file)| file)
    }

    /// The next lines that were written late, if there are any. A file that was quiet for long is let go.
    pub(crate) fn read(&mut self, scratch: &mut Scratch, limits: &Limits) -> Option<LateLines> {
        let mut index = 0;
        while let Some((generation, file)) = self.open.get_mut(index) {
            let mut lines = Lines::default();
            let fill = file.fill(scratch, limits, &mut lines);
            if lines.is_empty() && file.is_partial() && file.is_quiet(limits.quiet) {
                file.finish(&mut lines);
            }
            if !lines.is_empty() {
                let (generation, mark) = (*generation, file.mark());
                return Some(LateLines {
                    generation,
                    lines,
                    mark,
                });
            }
            let lost = matches!(fill, Err(_) | Ok(Fill::Replaced(_)));
            if lost || file.grown.elapsed() > limits.grace {
                self.close(index);
            } else {
                index += 1;
            }
        }
        None
    }

    /// Whether a file is one that was read and closed.
    pub(crate) fn was_read(&self, file: &LogFile) -> bool {
        self.closed
            .iter()
            .any(|mark| file.stat.may_hold(mark) && file.contains(mark))
    }

    /// A file that was replaced may come back to the path: it is read on where it was left.
    pub(crate) fn take_back(&mut self, file: LogFile) -> LogFile {
        if let Some(index) = self.open.iter().position(|(_, old)| old.stat.same(&file.stat)) {
            return self.open.remove(index).1;
        }
        let mut file = file;
        if let Some(mark) = self.closed.iter().rev().find(|mark| file.stat.may_hold(mark)) {
            file.go_to(mark);
        }
        file
    }

    /// What the files are that are held open.
    pub(crate) fn stats(&self) -> impl Iterator<Item = Stat> {
        self.files().map(|file| file.stat)
    }

    fn close(&mut self, index: usize) {
        let (_, file) = self.open.remove(index);
        self.closed.push_back(file.mark());
        if self.closed.len() > CLOSED {
            self.closed.pop_front();
        }
    }
}
