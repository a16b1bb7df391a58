//! Which files hold the lines between a position and the present, oldest first.
//!
//! Two ways of rotating exist. *Renaming* keeps the inode: the position is in a sibling, the generations after
//! it are younger siblings, and the present file comes last. *Copy and truncate* keeps the name: the position
//! is in the copy, known by the bytes before it, further copies are younger, and the present file begins anew.

use std::io;
use std::path::Path;

use portcullis_core::ledger::Mark;
use portcullis_core::time::Timestamp;

use super::file::{LogFile, Stat};
use super::sibling::{Age, Place, Sibling, siblings};

/// How often a search is begun again because the log was rotated in the middle of it.
const TRIES: usize = 8;

/// A file may bear the time of the tick in which it was made: microseconds, with room to spare.
const TICK: i64 = 20_000;
/// Most siblings that are remembered.
const KNOWN: usize = 1024;

/// The files to read now, in order. The last one is the present file, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    pub(crate) files: Vec<LogFile>,
    /// Whether the position was found again.
    pub(crate) found: bool,
}

/// A sibling that was there at the last search: it was read, or is older than what was asked for.
#[derive(Clone, Debug)]
struct Known {
    stat: Stat,
    head: String,
}

/// What is remembered between searches of one log.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// `None` until the first search: then only times tell what is new.
    known: Option<Vec<Known>>,
}

impl History {
    /// Everything that is there now counts as read.
    pub(crate) fn begin(&mut self, place: &Place) {
        let beside = siblings(place, 0);
        self.younger(beside, &After::Never, None, &[]);
    }

    /// Where to go on from a stored position.
    ///
    /// # Errors
    /// When the present file is there and cannot be opened, for another reason than that it is missing.
    pub(crate) fn resume(&mut self, path: &Path, mark: &Mark) -> io::Result<Generations> {
        let place = Place::of(path);
        let (present, mut beside) = look(path, &place, mark.inode)?;
        let Some(mut present) = present else {
            let (mut files, after) = carrier(&mut beside, mark);
            let found = !files.is_empty() || mark.offset == 0;
            let taken: Vec<Stat> = files.iter().map(|file| file.stat).collect();
            files.extend(self.younger(beside, &after, None, &taken));
            return Ok(Generations { files, found });
        };
        let same = present.stat.may_hold(mark) && present.go_to(mark);
        let renamed = || {
            beside
                .iter()
                .any(|s| s.file.stat.may_hold(mark) && s.file.contains(mark))
        };
        let (mut files, mut found, mut after) = (Vec::new(), true, After::Never);
        if same && mark.offset == 0 {
            // Nothing was read of this file. Copies of it that were made since hold lines that are no longer in it.
            after = After::Begin(mark, present.stat);
        } else if !same && (mark.offset == 0 || renamed() || !present.go_to(mark)) {
            (files, after) = carrier(&mut beside, mark);
            found = !files.is_empty() || mark.offset == 0;
        }
        let taken: Vec<Stat> = files.iter().map(|file| file.stat).collect();
        files.extend(self.younger(beside, &after, Some(&present), &taken));
        files.push(present);
        Ok(Generations { files, found })
    }

    /// What came after `last`, which is held open and no longer stands at the path.
    ///
    /// # Errors
    /// When the present file cannot be opened.
    pub(crate) fn after(&mut self, path: &Path, last: &LogFile, taken: &[Stat]) -> io::Result<Generations> {
        let place = Place::of(path);
        let (present, beside) = look(path, &place, 0)?;
        let Some(mut present) = present else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let stat = last.stat_now()?;
        let mut after = After::Never;
        // An editor may have written the file anew with the same contents; then nothing else has the old ones.
        if stat.links > 0 || last.is_fresh() || !present.go_to(&last.mark()) {
            after = After::Written(stat);
        }
        let mut files = self.younger(beside, &after, Some(&present), taken);
        files.push(present);
        Ok(Generations { files, found: true })
    }

    /// What to read when the contents of `present` are no longer those of `mark`; `present` itself is not in it.
    pub(crate) fn truncated(&mut self, path: &Path, mark: &Mark, present: &LogFile) -> Generations {
        let mut beside = siblings(&Place::of(path), 0);
        beside.retain(|sibling| !sibling.file.stat.same(&present.stat));
        if !Stat::at(path).is_ok_and(|stat| stat.same(&present.stat)) {
            // It was truncated first and then renamed. What is younger comes after it, and is found from there.
            let last = present.stat_now().map_or(i64::MAX, |stat| stat.modified);
            beside.retain(|sibling| sibling.age.modified <= last);
        }
        let (mut files, mut after) = carrier(&mut beside, mark);
        let found = !files.is_empty() || mark.offset == 0;
        if files.is_empty() {
            after = After::Since(mark.read_at);
        }
        let taken: Vec<Stat> = files.iter().map(|file| file.stat).collect();
        files.extend(self.younger(beside, &after, Some(present), &taken));
        files.iter_mut().for_each(|file| file.copy = true);
        Generations { files, found }
    }

    /// Copies that were made of `present` since the last search, before its first line was read.
    pub(crate) fn copies(&mut self, path: &Path, present: &LogFile, taken: &[Stat]) -> Vec<LogFile> {
        let here = || Stat::at(path).is_ok_and(|stat| stat.same(&present.stat));
        if self.known.is_none() || !here() {
            return Vec::new();
        }
        let beside = siblings(&Place::of(path), 0);
        if !here() {
            return Vec::new();
        }
        let mut files = self.younger(beside, &After::Since(present.begun), Some(present), taken);
        files.iter_mut().for_each(|file| file.copy = true);
        files
    }

    /// The siblings to be read whole. Those that are there now count as known from here on, but for copies of
    /// what still stands in the present file: when that is truncated, the copy is where the lines are. Each
    /// sibling is judged once, because the file may be truncated at any moment.
    fn younger(
        &mut self,
        beside: Vec<Sibling>,
        after: &After,
        present: Option<&LogFile>,
        taken: &[Stat],
    ) -> Vec<LogFile> {
        let (mut files, mut known): (Vec<LogFile>, Vec<Known>) = (Vec::new(), Vec::new());
        for Sibling { file, age, rotated } in beside {
            let stat = file.stat;
            if present.is_some_and(|present| present.stat.same(&stat) || is_copy(&file, present)) {
                continue;
            }
            let head = file.first_line().unwrap_or_default();
            let before = self.known.iter().flatten();
            let seen = taken.iter().any(|other| other.same(&stat))
                || known.iter().any(|other| other.stat.same(&stat))
                || before.clone().any(|other| other.stat.same(&stat) && other.head == head);
            if rotated && stat.size > 0 && !seen && after.is_before(&stat, &age) {
                files.push(file);
            }
            known.push(Known { stat, head });
        }
        let before = self.known.take().unwrap_or_default();
        let gone = before
            .into_iter()
            .filter(|old| !known.iter().any(|new| new.stat.same(&old.stat)));
        let gone: Vec<Known> = gone.take(KNOWN).collect();
        known.extend(gone);
        self.known = Some(known);
        files
    }
}

/// What a sibling must be younger than.
enum After<'a> {
    /// A sibling, in the order of age
    Sibling(Age),
    /// A file that was written last at that time
    Written(Stat),
    /// The time of a mark whose file is gone
    Read(&'a Mark),
    /// The time of a mark at the beginning of a file: only copies of the file, which are made after it, can hold
    /// lines of it. A generation that was renamed is older than the file, even where a late writer adds to it
    Begin(&'a Mark, Stat),
    /// A time, within a tick of the file system
    Since(Timestamp),
    /// None is
    Never,
}

impl After<'_> {
    fn is_before(&self, stat: &Stat, age: &Age) -> bool {
        match self {
            After::Sibling(other) => other < age,
            After::Written(last) => last.modified <= stat.modified,
            After::Read(mark) => mark.read_at.micros() < stat.modified / 1000,
            After::Begin(mark, present) => {
                let copy = present.born == 0 || present.born < stat.born;
                copy && mark.read_at.micros() < stat.modified / 1000
            }
            After::Since(time) => time.micros() <= stat.modified / 1000 + TICK,
            After::Never => false,
        }
    }
}

/// The present file and its siblings, as they stand at one moment: if the log is renamed between the two looks,
/// both are taken again.
fn look(path: &Path, place: &Place, inode: u64) -> io::Result<(Option<LogFile>, Vec<Sibling>)> {
    let mut tries = 0;
    loop {
        let present = match LogFile::open(path) {
            Ok(file) => Some(file),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        let beside = siblings(place, inode);
        let now = Stat::at(path).ok();
        let same = match (&present, now) {
            (Some(file), Some(now)) => file.stat.same(&now),
            (None, None) => true,
            _ => false,
        };
        tries += 1;
        if same || tries == TRIES {
            return Ok((present, beside));
        }
    }
}

/// Whether an error says that there is nothing at a path.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The file beside the log in which the position is, moved to it; and what comes after it.
fn carrier<'m>(beside: &mut Vec<Sibling>, mark: &'m Mark) -> (Vec<LogFile>, After<'m>) {
    let renamed = beside
        .iter()
        .position(|s| s.file.stat.may_hold(mark) && s.file.contains(mark));
    let Some(index) = renamed.or_else(|| copy(beside, mark)) else {
        return (Vec::new(), After::Read(mark));
    };
    let Sibling { mut file, age, .. } = beside.remove(index);
    if !file.go_to(mark) {
        return (Vec::new(), After::Read(mark));
    }
    file.copy = renamed.is_none();
    (vec![file], After::Sibling(age))
}

/// The sibling that is a copy with the position in it: rather such as was made after the position was read, rather
/// such as rotation names, and the oldest of them. A backup that was made before the copy is the beginning of it.
fn copy(beside: &[Sibling], mark: &Mark) -> Option<usize> {
    if mark.offset == 0 {
        return None;
    }
    let made = |s: &Sibling| s.file.stat.born.max(s.age.modified) / 1000 + TICK >= mark.read_at.micros();
    let mut found: Vec<(usize, &Sibling)> = beside
        .iter()
        .enumerate()
        .filter(|(_, s)| s.file.contains(mark))
        .collect();
    found.sort_by_key(|(_, sibling)| (!made(sibling), !sibling.rotated));
    let further = found
        .windows(2)
        .take_while(|pair| matches!(pair, [(_, a), (_, b)] if a.file.is_beginning_of(&b.file)));
    let index = further.count();
    found.get(index).map(|(index, _)| *index)
}

/// Whether a sibling is a copy of what still stands in the present file. A generation that was renamed was not
/// written after the present file was made.
fn is_copy(file: &LogFile, present: &LogFile) -> bool {
    file.stat.modified > present.stat.born && file.stat.size > 0 && file.is_beginning_of(present)
}
