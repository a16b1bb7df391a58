//! LOG, where it is the journal: its entries, as the program that prints it has them (contract §9).

use std::io::{self, Read};
use std::process::ChildStdout;
use std::vec::IntoIter;

use jiff::tz::TimeZone;
use portcullis_core::encoding::Encoding;
use portcullis_core::time::Timestamp;

use super::lines::Error;
use crate::runner::{self, Begin, Excerpt};
use crate::source::journal::{self, Damage, Entry, Export, Matches};

/// Whether LOG is the journal.
pub(super) fn is_journal(log: &str) -> bool {
    log.starts_with(journal::JOURNAL)
}

/// The entries of a journal, from its first to the one that is its last now.
pub(crate) struct Entries {
    child: std::process::Child,
    output: ChildStdout,
    export: Export,
    encoding: Encoding,
    zone: TimeZone,
    waiting: IntoIter<Entry>,
}

impl Entries {
    /// Of the journal that `log` names, those that match.
    pub(super) fn open(log: &str, matches: &[String], encoding: &str) -> Result<Entries, Error> {
        let wrong = |why: String| Error::Journal(why);
        let excerpt = journal::excerpt(log).map_err(|error| wrong(error.to_string()))?;
        let matches = Matches::new(&[matches.to_vec()]).map_err(|error| wrong(error.to_string()))?;
        let excerpt: Excerpt = journal::wanted(excerpt, &[matches], Begin::Start);
        let encoding = Encoding::named(encoding).map_err(|_| Error::Encoding(encoding.to_owned()))?;
        let mut child = runner::print(&excerpt).map_err(|error| wrong(error.to_string()))?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| wrong("journalctl prints nothing".to_owned()))?;
        Ok(Entries {
            child,
            output,
            export: journal::export(&excerpt),
            encoding,
            zone: TimeZone::system(),
            waiting: Vec::new().into_iter(),
        })
    }

    /// The next entry: when it was written, that as text, and its line.
    pub(super) fn next(&mut self) -> io::Result<Option<(Timestamp, Box<str>, String)>> {
        loop {
            if let Some(entry) = self.waiting.next() {
                let line = entry.line(self.encoding);
                return Ok(Some((entry.at, entry.date, line)));
            }
            let mut piece = vec![0; 64 << 10];
            let length = self.output.read(&mut piece)?;
            if length == 0 {
                return self.end();
            }
            let (mut entries, zone) = (Vec::new(), &self.zone);
            let piece = piece.get(..length).unwrap_or_default();
            let pushed = self
                .export
                .push(piece, |fields| entries.extend(Entry::new(fields, zone)));
            pushed.map_err(|damage: Damage| io::Error::other(damage.to_string()))?;
            self.waiting = entries.into_iter();
        }
    }

    fn end<T>(&mut self) -> io::Result<Option<T>> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(None);
        }
        let mut said = String::new();
        if let Some(errors) = self.child.stderr.take() {
            errors.take(4096).read_to_string(&mut said)?;
        }
        Err(io::Error::other(format!("journalctl: {status}: {}", said.trim())))
    }
}
