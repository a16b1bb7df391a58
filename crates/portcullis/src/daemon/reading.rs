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
use portcullis_core::engine::Input;
use portcullis_core::filter::Sessions;
use portcullis_core::json;
use portcullis_core::ledger::Mark;

use super::{Daemon, Message, resolver};

/// Own addresses are gathered again this often (contract §4.1).
const OWN_EVERY: Duration = Duration::from_secs(300);
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

    /// Adds what was kept, of a jail that starts later. What is known from this run is newer.
    pub(super) fn add(&mut self, saved: &store::Saved) {
        let marks = saved
            .marks
            .iter()
            .map(|(jail, path, mark)| ((Arc::clone(jail), Arc::clone(path)), mark.clone()));
        for (key, mark) in marks {
            self.marks.entry(key).or_insert(mark);
        }
        let sessions = saved.sessions.iter().filter_map(|(jail, text)| {
            let value = serde_json::from_str(text).ok()?;
            Some((Arc::clone(jail), Sessions::from_value(&json::to_value(&value))))
        });
        for (jail, open) in sessions {
            self.sessions.entry(jail).or_insert(open);
        }
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

/// A group at work, and what it was set to.
pub(super) struct AtWork {
    group: Group,
    jails: BTreeSet<Arc<str>>,
    paths: BTreeSet<Arc<str>>,
}

impl Daemon {
    /// Sets jails to read their files.
    pub(super) fn read_logs(&mut self, readings: Vec<(Reading, Vec<LogPath>)>) {
        let mut jails = Vec::new();
        for (mut reading, files) in readings {
            if let Some(sessions) = self.kept.sessions.remove(reading.name()) {
                reading.resume(sessions);
            }
            let paths = files.iter().map(|file| self.follow(&mut reading, file)).collect();
            self.setup.files.insert(reading.name().to_string(), paths);
            self.setup
                .seen
                .insert(reading.name().to_string(), Arc::clone(reading.seen()));
            jails.push(reading);
        }
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
        let names = jails.iter().map(|jail| Arc::clone(jail.name())).collect();
        let outbox = self.outbox.clone();
        let group = Group::spawn(jails, self.clock.clone(), self.caution.careful(), move |news| {
            outbox.try_send(Message::News(news)).map_err(error_of)
        });
        match group {
            Ok(group) => {
                let paths = begins.keys().cloned().collect();
                for (path, from) in begins {
                    self.reader.add(Follow {
                        wide: wide.contains(&path),
                        path,
                        from,
                        to: group.to.clone(),
                    });
                }
                self.groups.push(AtWork {
                    group,
                    jails: names,
                    paths,
                });
            }
            Err(error) => say(
                Level::Critical,
                "fail2ban.filter",
                &format!("cannot read logs: {error}"),
            ),
        }
    }

    /// Takes all groups down.
    pub(super) fn stop_reading(&mut self, inbox: &Receiver<Message>) {
        let groups = std::mem::take(&mut self.groups);
        self.take_down(groups, inbox);
    }

    /// Takes down the groups of these jails and paths, and gives back the readings with how far they came.
    pub(super) fn stop_groups(
        &mut self,
        jails: &BTreeSet<Arc<str>>,
        paths: &BTreeSet<Arc<str>>,
        inbox: &Receiver<Message>,
    ) -> Vec<Reading> {
        let is_meant = |group: &AtWork| !group.jails.is_disjoint(jails) || !group.paths.is_disjoint(paths);
        let (meant, others) = std::mem::take(&mut self.groups).into_iter().partition(is_meant);
        self.groups = others;
        self.take_down(meant, inbox)
    }

    /// What the groups were given is still worked off, and their last words are taken. Messages of this turn that were
    /// not taken yet wait in `later`, ahead of those in the inbox.
    fn take_down(&mut self, groups: Vec<AtWork>, inbox: &Receiver<Message>) -> Vec<Reading> {
        if groups.is_empty() {
            return Vec::new();
        }
        // Groups that wait for the end of this turn would wait for ever; what they wait for is done.
        self.caution.through.clear();
        for path in groups.iter().flat_map(|group| &group.paths) {
            self.reader.remove(Arc::clone(path));
        }
        let closing: Vec<_> = groups.into_iter().map(|group| group.group.close()).collect();
        for message in std::mem::take(&mut self.later) {
            self.sort(message);
        }
        while !closing.iter().all(matching::Closing::is_done) {
            if let Ok(message) = inbox.recv_timeout(Duration::from_millis(2)) {
                self.sort(message);
            }
        }
        while let Ok(message) = inbox.try_recv() {
            self.sort(message);
        }
        let readings: Vec<Reading> = closing.into_iter().flat_map(matching::Closing::jails).collect();
        for reading in &readings {
            self.kept.take_back(reading);
        }
        readings
    }

    /// Batches are counted now, in their order; everything else is put back in line behind them.
    fn sort(&mut self, message: Message) {
        match message {
            Message::News(News::Batch(batch)) => self.step(Input::Batch(batch)),
            Message::News(News::Through(_)) => {}
            other => self.later.push_back(other),
        }
    }

    /// Own addresses change, and looking up own names may take long: on a thread of its own.
    pub(super) fn gather_own(&mut self) {
        self.own_due = Instant::now() + OWN_EVERY;
        if let Ok(protected) = Protected::gather() {
            self.lanes.protect(protected.clone());
            self.protected = protected;
            self.spare_in_clouds();
            self.step(Input::Protected(self.protected.networks()));
        }
        self.look_up_ignored();
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
