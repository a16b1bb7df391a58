//! Setting the logs to be read: where each begins, and what the successor of a jail takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use crate::enforce::protect::Protected;

use portcullis_core::config::plan::LogPath;
use portcullis_core::filter::Sessions;
use portcullis_core::ledger::Mark;

use super::{Daemon, Message, resolver};

/// Own addresses are gathered again this often (contract §4.1).
const OWN_EVERY: Duration = Duration::from_secs(300);
use crate::json;
use crate::matching::{self, Group, News, Reading};
use crate::observe::log::{Level, note as say};
use crate::source::{Follow, From};
use crate::store;

/// How far jails came and which sessions were open, from an earlier run or an earlier plan.
#[derive(Default)]
pub(super) struct Kept {
    marks: BTreeMap<(Arc<str>, Arc<str>), Mark>,
    sessions: BTreeMap<Arc<str>, Sessions>,
}

impl Kept {
    pub(super) fn from_saved(saved: &store::Saved) -> Self {
        let mut kept = Kept::default();
        kept.add(saved);
        kept
    }

    /// Adds what was kept, of a jail that starts later.
    pub(super) fn add(&mut self, saved: &store::Saved) {
        let marks = saved
            .marks
            .iter()
            .map(|(jail, path, mark)| ((Arc::clone(jail), Arc::clone(path)), mark.clone()));
        self.marks.extend(marks);
        let sessions = saved.sessions.iter().filter_map(|(jail, text)| {
            let value = serde_json::from_str(text).ok()?;
            Some((Arc::clone(jail), Sessions::from_value(&json::to_value(&value))))
        });
        self.sessions.extend(sessions);
    }

    fn take_back(&mut self, reading: &Reading) {
        self.sessions
            .insert(Arc::clone(reading.name()), reading.filter().sessions().clone());
        for path in reading.paths() {
            if let Some(mark) = reading.done(path) {
                self.marks
                    .insert((Arc::clone(reading.name()), Arc::clone(path)), mark.clone());
            }
        }
    }
}

impl Daemon {
    /// Forms the groups and sets the reader to their files.
    pub(super) fn read_logs(&mut self, readings: Vec<(Reading, Vec<LogPath>)>) {
        let mut jails = Vec::new();
        for (mut reading, files) in readings {
            if let Some(sessions) = self.kept.sessions.remove(reading.name()) {
                reading.resume(sessions);
            }
            let paths = files.iter().map(|file| self.follow(&mut reading, file)).collect();
            self.setup.files.insert(reading.name().to_string(), paths);
            jails.push(reading);
        }
        self.kept = Kept::default();
        for group in matching::groups(jails) {
            self.read_group(group);
        }
    }

    fn follow(&self, reading: &mut Reading, file: &LogPath) -> Arc<str> {
        let path: Arc<str> = file.path.as_str().into();
        let kept = self
            .kept
            .marks
            .get(&(Arc::clone(reading.name()), Arc::clone(&path)))
            .cloned();
        let done = kept.or_else(|| file.tail.then(|| end_of(&path)).flatten());
        reading.follow(Arc::clone(&path), done, file.tail);
        path
    }

    fn read_group(&mut self, mut jails: Vec<Reading>) {
        let mut marks: BTreeMap<Arc<str>, Vec<Option<Mark>>> = BTreeMap::new();
        for jail in &jails {
            for path in jail.paths() {
                marks
                    .entry(Arc::clone(path))
                    .or_default()
                    .push(jail.done(path).cloned());
            }
        }
        let begins: BTreeMap<_, _> = marks
            .into_iter()
            .map(|(path, marks)| (Arc::clone(&path), matching::begin(&path, marks)))
            .collect();
        for (path, from) in &begins {
            let mark = match from {
                From::Mark(mark) => Some(mark),
                From::Start | From::End => None,
            };
            jails.iter_mut().for_each(|jail| jail.begins(path, mark));
        }
        let wide: BTreeSet<_> = jails
            .iter()
            .filter(|jail| jail.is_wide())
            .flat_map(|jail| jail.paths().cloned())
            .collect();
        let outbox = self.outbox.clone();
        let group = Group::spawn(jails, self.clock.clone(), self.caution.careful(), move |news| {
            outbox.try_send(Message::News(news)).map_err(error_of)
        });
        match group {
            Ok(group) => {
                for (path, from) in begins {
                    self.reader.add(Follow {
                        wide: wide.contains(&path),
                        path,
                        from,
                        to: group.to.clone(),
                    });
                }
                self.groups.push(group);
            }
            Err(error) => say(
                Level::Critical,
                "fail2ban.filter",
                &format!("cannot read logs: {error}"),
            ),
        }
    }

    /// Takes the groups down. What they were given is still worked off, and their last words are taken.
    pub(super) fn stop_reading(&mut self, inbox: &Receiver<Message>) {
        // Groups that wait for the end of this turn would wait for ever.
        self.caution.through.clear();
        for path in self.setup.files.values().flatten() {
            self.reader.remove(Arc::clone(path));
        }
        let groups: Vec<_> = std::mem::take(&mut self.groups).into_iter().map(Group::close).collect();
        let mut late = std::collections::VecDeque::new();
        while !groups.iter().all(matching::Closing::is_done) {
            late.extend(inbox.recv_timeout(Duration::from_millis(2)).ok());
            late.extend(inbox.try_iter());
            late.retain(|message| !matches!(message, Message::News(News::Through(_))));
        }
        late.extend(inbox.try_iter());
        for group in groups {
            for reading in group.jails() {
                self.kept.take_back(&reading);
            }
        }
        // Batches are counted now; everything else is put back in line behind them.
        let (batches, others): (Vec<_>, Vec<_>) = late
            .into_iter()
            .partition(|message| matches!(message, Message::News(News::Batch(_))));
        for message in batches {
            if let Message::News(News::Batch(batch)) = message {
                self.step(portcullis_core::engine::Input::Batch(batch));
            }
        }
        self.later.extend(others);
    }

    /// Own addresses change, and looking up own names may take long: on a thread of its own.
    pub(super) fn gather_own(&mut self) {
        self.own_due = Instant::now() + OWN_EVERY;
        if let Ok(protected) = Protected::gather() {
            self.lanes.protect(protected.clone());
            self.protected = protected;
        }
        let outbox = self.outbox.clone();
        let _ = thread::Builder::new().name("own".into()).spawn(move || {
            let _ = outbox.send(Message::Own(resolver::own_addresses_and_names()));
        });
    }

    /// What a group says beside failures.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Batch(_) => {}
            News::Through(sender) => self.caution.through.push(sender),
            News::File { path, state, loud } => {
                if loud {
                    say(Level::Notice, "fail2ban.filter", &format!("{path}: {state}"));
                }
                self.files.insert(path, state);
                if loud {
                    self.tell_systemd();
                }
            }
            News::Said {
                logger, warning, text, ..
            } => {
                say(if warning { Level::Warning } else { Level::Info }, logger, &text);
            }
            News::Remark { jail, kind, text } => {
                let key = (jail.to_string(), kind);
                if kind == "unseen" && !self.remarks.contains_key(&key) {
                    say(Level::Warning, "fail2ban.filter", &format!("[{jail}] {text}"));
                }
                self.remarks.insert(key, text);
            }
        }
    }
}

fn error_of(error: std::sync::mpsc::TrySendError<Message>) -> std::sync::mpsc::TrySendError<News> {
    use std::sync::mpsc::TrySendError::{Disconnected, Full};
    match error {
        Full(Message::News(news)) => Full(news),
        Disconnected(Message::News(news)) => Disconnected(news),
        // Nothing else is sent this way.
        Full(_) | Disconnected(_) => Disconnected(News::nothing()),
    }
}

/// The mark of a file's present end.
fn end_of(path: &str) -> Option<Mark> {
    let metadata = fs::metadata(path).ok()?;
    Some(Mark {
        device: metadata.dev(),
        inode: metadata.ino(),
        offset: metadata.len(),
        head: String::new(),
        tail: String::new(),
        read_at: portcullis_core::time::Timestamp::default(),
    })
}
