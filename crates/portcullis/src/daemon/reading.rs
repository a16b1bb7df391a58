//! Setting the logs to be read: where each begins, and what the successor of a jail takes over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use crate::enforce::protect::Protected;

use portcullis_core::config::plan::LogPath;
use portcullis_core::engine::{Batch, Input};
use portcullis_core::filter::Sessions;
use portcullis_core::json;
use portcullis_core::ledger::Mark;
use portcullis_core::time::{Seconds, Timestamp};

use super::{Daemon, Message, resolver};

/// Own addresses are gathered again this often (contract §4.1).
const OWN_EVERY: Duration = Duration::from_secs(300);
use crate::matching::{self, Group, News, Reading};
use crate::observe::log::{Level, note as say};
use crate::runner::Begin;
use crate::source::journal::{self, JOURNAL, Journal, Matches, Past};
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

    /// When a jail last read one of its logs of this kind.
    fn read_at(&self, jail: &str, is_meant: impl Fn(&str) -> bool) -> Option<Timestamp> {
        let marks = self
            .marks
            .iter()
            .filter(|((name, path), _)| **name == *jail && is_meant(path) && !LogPath::is_stream(path));
        // Of a file's place that Fail2Ban kept the time is not known.
        let timed = marks.filter(|((_, path), mark)| journal::is_journal(path) || mark.inode != 0);
        timed.map(|(_, mark)| mark.read_at).max()
    }

    fn take_back(&mut self, reading: &Reading) {
        self.sessions
            .insert(Arc::clone(reading.name()), reading.filter().sessions().clone());
        for path in reading.paths() {
            if let Some(mark) = reading.done(path) {
                self.marks
                    .insert((Arc::clone(reading.name()), kept_as(path)), mark.clone());
            }
        }
    }
}

/// The name under which a place in a log is kept: one for all journals, as in Fail2Ban.
fn kept_as(path: &Arc<str>) -> Arc<str> {
    if journal::is_journal(path) {
        JOURNAL.into()
    } else {
        Arc::clone(path)
    }
}

/// A group at work, and what it was set to.
pub(super) struct AtWork {
    group: Group,
    jails: BTreeSet<Arc<str>>,
    paths: BTreeSet<Arc<str>>,
    /// Of these those that are journals
    journals: Vec<Journal>,
}

const FILTER: &str = "fail2ban.filter";

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
        let wanted = self
            .groups
            .iter()
            .flat_map(|group| group.paths.iter().cloned())
            .collect();
        self.outputs.keep(&wanted);
    }

    fn follow(&self, reading: &mut Reading, file: &LogPath) -> Arc<str> {
        let path: Arc<str> = file.path.as_str().into();
        let kept = self
            .kept
            .marks
            .get(&(Arc::clone(reading.name()), kept_as(&path)))
            .cloned();
        if journal::is_journal(&path) {
            let jail = self.setup.jails.get(reading.name());
            let findtime = jail.map_or(Seconds::ZERO, |jail| jail.findtime);
            if reading.matches().is_empty() && !reading.follows(&path) {
                let text = format!(
                    "[{}] Jail started without 'journalmatch' set. Jail regexs will be checked against all journal \
                     entries, which is not advised for performance reasons.",
                    reading.name()
                );
                say(Level::Notice, "fail2ban.filtersystemd", &text);
            }
            let now = self.clock.now().wall;
            let oldest = now - findtime;
            // What it read in files meanwhile stands in the journal, too.
            let files = self.kept.read_at(reading.name(), |path| path != JOURNAL);
            let past = match files.filter(|at| kept.as_ref().is_none_or(|mark| mark.read_at < *at)) {
                Some(at) => Past::Until(at.max(oldest).min(now)),
                None => Past::of(kept.as_ref(), &path, (oldest, now)),
            };
            reading.follow_journal(Arc::clone(&path), kept, past);
            return path;
        }
        if LogPath::is_stream(&path) {
            reading.follow_output(Arc::clone(&path), kept);
            return path;
        }
        let elsewhere = self.kept.read_at(reading.name(), |path| path == JOURNAL);
        let elsewhere = elsewhere.filter(|at| kept.as_ref().is_none_or(|mark| mark.read_at < *at));
        let done = kept.or_else(|| file.tail.then(|| end_of(&path)).flatten());
        reading.follow(Arc::clone(&path), done, file.tail);
        if let Some(time) = elsewhere {
            reading.begin_after(&path, time);
        }
        path
    }

    fn read_group(&mut self, mut jails: Vec<Reading>) {
        let begins = begins_of(&jails);
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
        let journals = journals_of(&jails);
        let outputs: BTreeSet<_> = jails.iter().flat_map(Reading::paths).cloned().collect();
        let outputs: Vec<_> = outputs.into_iter().filter(|path| LogPath::is_stream(path)).collect();
        let group = Group::spawn(jails, self.clock.clone(), self.caution.careful(), self.way_in());
        match group {
            Ok(group) => {
                let paths = begins.keys().chain(journals.keys()).chain(&outputs).cloned().collect();
                let journals = journals.into_iter().filter_map(|(path, wish)| {
                    let read = self.read_journal(path, wish, &group);
                    read.inspect_err(|error| say(Level::Critical, FILTER, &format!("cannot read the journal: {error}")))
                        .ok()
                });
                let journals = journals.collect();
                for path in outputs {
                    self.read_output(&path, wide.contains(&path), &group);
                }
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
                    journals,
                });
            }
            Err(error) => say(
                Level::Critical,
                "fail2ban.filter",
                &format!("cannot read logs: {error}"),
            ),
        }
    }

    fn read_journal(&self, path: Arc<str>, wish: Wish, group: &Group) -> std::io::Result<Journal> {
        let careful = self.caution.careful();
        let order = journal::Order {
            path,
            begin: wish.begin,
            matches: wish.matches,
            to: group.to.clone(),
            one_by_one: Box::new(move || careful.as_ref().is_some_and(|careful| !careful.is_over())),
        };
        Journal::read(order, self.link.clone())
    }

    fn read_output(&mut self, path: &Arc<str>, wide: bool, group: &Group) {
        let careful = self.caution.careful();
        let one_by_one = move || careful.as_ref().is_some_and(|careful| !careful.is_over());
        let to = (group.to.clone(), wide);
        if let Err(error) = self.outputs.give(path, to, one_by_one) {
            say(Level::Critical, FILTER, &format!("cannot read {path}: {error}"));
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
            self.outputs.hold(path);
            self.reader.remove(Arc::clone(path));
        }
        let close = |group: AtWork| {
            // What reads a journal holds on to its group until it has ended.
            drop(group.journals);
            group.group.close()
        };
        let closing: Vec<_> = groups.into_iter().map(close).collect();
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
            Message::News(News::Batch(batch)) => {
                let input = self.arrived(batch);
                self.step(input);
            }
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

    /// How a group tells us something, unless too much is on its way already.
    fn way_in(&self) -> impl Fn(News) -> Result<(), TrySendError<News>> + Send + 'static {
        let (outbox, backlog) = (self.outbox.clone(), Arc::clone(&self.backlog));
        move |news| {
            if !backlog.has_room() {
                return Err(TrySendError::Full(news));
            }
            let count = news.failures();
            backlog.add(count);
            outbox.try_send(Message::News(news)).map_err(|error| {
                backlog.less(count);
                error_of(error)
            })
        }
    }

    /// A run of lines for the engine, which is no longer on its way.
    pub(super) fn arrived(&self, batch: Batch) -> Input {
        self.backlog.less(batch.failures.len());
        Input::Batch(batch)
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
                let is_lasting = journal::is_journal(&path) || LogPath::is_stream(&path);
                self.files.insert(path, state);
                // A log file may be missing for a moment while it is rotated; a journal may not.
                if loud && is_lasting {
                    self.watch_protection();
                } else if loud {
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

/// Where the group of these jails begins each log file.
fn begins_of(jails: &[Reading]) -> BTreeMap<Arc<str>, From> {
    let mut marks: BTreeMap<Arc<str>, Vec<Option<Mark>>> = BTreeMap::new();
    for jail in jails {
        for path in jail
            .paths()
            .filter(|path| !journal::is_journal(path) && !LogPath::is_stream(path))
        {
            marks
                .entry(Arc::clone(path))
                .or_default()
                .push(jail.done(path).cloned());
        }
    }
    marks
        .into_iter()
        .map(|(path, marks)| (Arc::clone(&path), matching::begin(&path, marks)))
        .collect()
}

/// What the jails of a group want of one journal.
struct Wish {
    begin: Begin,
    matches: Vec<Matches>,
}

fn journals_of(jails: &[Reading]) -> BTreeMap<Arc<str>, Wish> {
    let paths: BTreeSet<&Arc<str>> = jails.iter().flat_map(Reading::paths).collect();
    let journals = paths.into_iter().filter(|path| journal::is_journal(path));
    let wish = |path: &Arc<str>| {
        let readers = || jails.iter().filter(|jail| jail.follows(path));
        let begin = journal::begin(readers().filter_map(|jail| jail.past(path)));
        let matches = readers().map(|jail| jail.matches().clone()).collect();
        (Arc::clone(path), Wish { begin, matches })
    };
    journals.map(wish).collect()
}

fn error_of(error: TrySendError<Message>) -> TrySendError<News> {
    use TrySendError::{Disconnected, Full};
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
