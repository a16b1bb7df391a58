//! Keeping records: at once if the database takes them, in memory and again and again if it does not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::config::plan::Server;
use portcullis_core::engine;
use portcullis_core::ledger::{Entry, LayerId};
use portcullis_core::time::{Clock, Timestamp};

use crate::observe::log::{Level, note as say};
use crate::store::{Merged, Opened, Place, Running, Saved, Settings, Store, Trace};

const DATABASE: &str = "fail2ban.database";
/// How long a database that refused is left alone.
const PAUSE: Duration = Duration::from_secs(2);
/// So long a payment that failed is left alone.
const UNPAID: Duration = Duration::from_secs(60);
/// Above this many unsaved records, those that later ones replace are dropped.
const COMPACT_ABOVE: usize = 4096;

/// The store, and what it has not taken yet.
pub(super) struct Keeper {
    place: Place,
    /// It was not asked for: it holds what there is until a client names a database
    is_stand_in: bool,
    settings: Settings,
    store: Option<Store>,
    /// The clocks of this run, once it has begun
    running: Option<Running>,
    /// What a database that opened late had kept
    late: Option<Saved>,
    unsaved: Vec<Entry>,
    failure: Option<String>,
    next_try: Instant,
    /// When what is owed to Fail2Ban's tables may be paid again
    next_payment: Instant,
}

impl Keeper {
    /// Opens the database. Where that fails the daemon runs all the same, and the records wait.
    pub(super) fn open(place: &Place, server: &Server) -> (Keeper, Running, Saved) {
        let mut keeper = Keeper {
            place: place.clone(),
            is_stand_in: server.dbfile.is_none() && matches!(place, Place::Memory),
            settings: settings(server),
            store: None,
            running: None,
            late: None,
            unsaved: Vec::new(),
            failure: None,
            next_try: Instant::now(),
            next_payment: Instant::now(),
        };
        let saved = keeper.try_open(Running::fresh().now()).unwrap_or_default();
        let running = keeper
            .store
            .as_ref()
            .map_or_else(Running::fresh, |store| store.running().clone());
        keeper.running = Some(running.clone());
        (keeper, running, saved)
    }

    /// Leaves the database for the one at `place` (contract §7.7; that there are no jails, the caller sees to), and gives
    /// what is kept there. Records that the old one has not taken stay with it; if it can take none, they are lost, and
    /// so it is said.
    ///
    /// # Errors
    /// The new one cannot be opened: then the old one goes on.
    pub(super) fn reopen(&mut self, place: &Place, server: &Server, running: &Running) -> Result<Saved, String> {
        let settings = settings(server);
        let joined = Store::join(place.clone(), settings.clone(), running);
        let joined = joined.and_then(|(store, opened)| store.load().map(|saved| (store, opened, saved)));
        let (store, opened, saved) = joined.map_err(|error| error.to_string())?;
        self.leave(running.now());
        announce(place, &opened);
        self.is_stand_in = false;
        (self.place, self.settings, self.store) = (place.clone(), settings, Some(store));
        Ok(saved)
    }

    /// What is kept of one jail, for one that starts while the daemon runs: but for the failures that wait, which the
    /// engine has itself. Nothing, said loudly, where the database cannot be read.
    pub(super) fn saved_of(&mut self, clock: Clock, jail: &str) -> Saved {
        self.next_try = Instant::now();
        self.keep(clock, Vec::new());
        self.pay_all();
        let saved = self.store.as_ref().map(|store| store.saved_of(jail));
        let mut saved = saved.unwrap_or_else(|| Ok(Saved::default())).unwrap_or_else(|error| {
            say(
                Level::Error,
                DATABASE,
                &format!("bans of '{jail}' are not restored: {error}"),
            );
            Saved::default()
        });
        saved.waiting.clear();
        saved
    }

    /// The bans that a database had kept which could be opened only now: once, for the engine to take up.
    pub(super) fn late(&mut self) -> Option<Saved> {
        self.late.take().map(|saved| Saved {
            bans: saved.bans,
            adopted: saved.adopted,
            history: saved.history,
            ..Saved::default()
        })
    }

    /// Whether the database is open, so that what it had kept is known.
    pub(super) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// How many records wait.
    pub(super) fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    /// Why they wait, if they do.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// New `dbmaxmatches` and `dbpurgeage`.
    pub(super) fn set(&mut self, server: &Server) {
        self.settings = settings(server);
        if let Some(store) = &mut self.store {
            store.set(self.settings.clone());
        }
    }

    /// Keeps records, together with those that could not be kept before.
    pub(super) fn keep(&mut self, clock: Clock, entries: Vec<Entry>) {
        let news = !entries.is_empty();
        self.unsaved.extend(latest(entries));
        if self.unsaved.is_empty() || (self.failure.is_some() && Instant::now() < self.next_try) {
            self.compact();
            return;
        }
        if self.store.is_none() {
            self.late = self.try_open(clock);
        }
        let Some(store) = &mut self.store else { return };
        match store.commit(clock, &self.unsaved) {
            Ok(()) => self.recovered(),
            Err(error) => {
                let text = error.to_string();
                self.fail(&text, news);
            }
        }
    }

    /// Whether Fail2Ban's rows of bans are still to be written, and may be now.
    pub(super) fn owes(&self) -> bool {
        self.store.as_ref().is_some_and(Store::owes) && Instant::now() >= self.next_payment
    }

    /// Writes a piece of them.
    pub(super) fn pay(&mut self) {
        if !self.owes() {
            return;
        }
        if let Some(Err(error)) = self.store.as_mut().map(Store::pay) {
            let text = format!("{error}; bans are kept, but Fail2Ban's own tables lack some of them yet");
            say(Level::Error, DATABASE, &text);
            self.next_payment = Instant::now() + UNPAID;
        }
    }

    fn pay_all(&mut self) {
        while self.owes() {
            self.pay();
        }
    }

    fn recovered(&mut self) {
        if self.failure.take().is_some() {
            say(
                Level::Notice,
                DATABASE,
                &format!("the database takes records again; {} were waiting", self.unsaved.len()),
            );
        }
        self.unsaved.clear();
    }

    fn fail(&mut self, text: &str, news: bool) {
        if self.failure.as_deref() != Some(text) && news {
            let count = self.unsaved.len();
            say(
                Level::Error,
                DATABASE,
                &format!("{text}; bans stay in force, {count} records wait in memory"),
            );
        }
        self.failure = Some(text.to_owned());
        self.next_try = Instant::now() + PAUSE;
        self.compact();
    }

    fn try_open(&mut self, clock: Clock) -> Option<Saved> {
        let (place, settings) = (self.place.clone(), self.settings.clone());
        let opened = match &self.running {
            None => Store::open(place, settings, clock.wall),
            Some(running) => Store::join(place, settings, running),
        };
        let result = opened.and_then(|(store, opened)| store.load().map(|saved| (store, opened, saved)));
        match result {
            Ok((store, opened, saved)) => {
                if !self.is_stand_in {
                    announce(&self.place, &opened);
                }
                self.store = Some(store);
                Some(saved)
            }
            Err(error) => {
                self.fail(&error.to_string(), true);
                None
            }
        }
    }

    /// Keeps a database that stays away from filling the memory.
    fn compact(&mut self) {
        if self.unsaved.len() > COMPACT_ABOVE {
            self.unsaved = latest(std::mem::take(&mut self.unsaved));
        }
    }

    /// Drops what is long past (contract §7.3), and says from when on the steady clock, unless that could not be done.
    pub(super) fn purge(&mut self, clock: Clock) -> Option<Timestamp> {
        match self.store.as_mut()?.purge(clock) {
            Ok(_) => Some(clock.steady - self.settings.purge_age),
            Err(error) => {
                say(Level::Error, DATABASE, &format!("cannot purge: {error}"));
                None
            }
        }
    }

    /// What shell actions of an earlier run had set up.
    pub(super) fn traces(&self) -> Vec<Trace> {
        let traces = self.store.as_ref().map(Store::traces);
        traces.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|error| {
            say(Level::Error, DATABASE, &error.to_string());
            Vec::new()
        })
    }

    /// Notes what shell actions set up, and which have nothing set up any more.
    pub(super) fn mark(&mut self, traces: &[Trace], gone: &[LayerId]) {
        let Some(store) = &mut self.store else { return };
        let marked = if traces.is_empty() { Ok(()) } else { store.mark(traces) };
        let unmarked = if gone.is_empty() { Ok(()) } else { store.unmark(gone) };
        if let Err(error) = marked.and(unmarked) {
            let text = format!("{error}; what shell actions have set up is not noted for the next start");
            say(Level::Error, DATABASE, &text);
        }
    }

    /// All bans of an address taken together, in one jail or in all (contract §7.5).
    pub(super) fn merged(&mut self, ip: &str, jail: Option<&str>) -> Option<Merged> {
        self.pay_all();
        self.store.as_ref()?.matches_of(ip, jail).ok()?
    }

    /// Ends cleanly.
    pub(super) fn close(mut self, clock: Clock) {
        self.leave(clock);
    }

    fn leave(&mut self, clock: Clock) {
        self.next_try = Instant::now();
        self.keep(clock, Vec::new());
        if !self.unsaved.is_empty() {
            let text = format!("{} records were never kept", self.unsaved.len());
            say(Level::Error, DATABASE, &text);
            self.unsaved.clear();
        }
        self.failure = None;
        if let Some(store) = self.store.take() {
            match store.close() {
                Ok(()) if self.is_stand_in => {}
                Ok(()) => say(Level::Info, DATABASE, "Connection to database closed."),
                Err(error) => say(Level::Error, DATABASE, &error.to_string()),
            }
        }
    }
}

/// The part of what was kept that the engine takes up again.
pub(super) fn remembered(saved: Saved) -> engine::Saved {
    let Saved {
        bans,
        adopted,
        counts,
        history,
        waiting,
        ..
    } = saved;
    engine::Saved {
        bans,
        adopted,
        counts,
        history,
        waiting,
    }
}

/// What a record is about, where a later one of the same replaces it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'e> {
    Count(&'e str, &'e Id),
    Read(&'e str, &'e str),
    Sessions(&'e str),
    Wait(u64),
}

impl Subject<'_> {
    fn of(entry: &Entry) -> Option<Subject<'_>> {
        match entry {
            Entry::Count { jail, id, .. } => Some(Subject::Count(jail, id)),
            Entry::Read { jail, path, .. } => Some(Subject::Read(jail, path)),
            Entry::Sessions { jail, .. } => Some(Subject::Sessions(jail)),
            Entry::Wait { number, .. } => Some(Subject::Wait(*number)),
            _ => None,
        }
    }
}

/// Without what a later record replaces: many lines of one turn move the same counter.
fn latest(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<bool> = entries
        .iter()
        .rev()
        .map(|entry| Subject::of(entry).is_none_or(|subject| seen.insert(subject)))
        .collect();
    entries.retain(|_| kept.pop().unwrap_or(true));
    entries
}

fn settings(server: &Server) -> Settings {
    Settings {
        max_matches: server.dbmaxmatches,
        purge_age: server.dbpurgeage,
        ..Settings::default()
    }
}

fn announce(place: &Place, opened: &Opened) {
    say(
        Level::Info,
        DATABASE,
        &format!("Connected to fail2ban persistent database '{place}'"),
    );
    if opened.created {
        say(Level::Warning, DATABASE, "New database created. Version '4'");
    }
    if let Some((from, to)) = opened.upgraded {
        if let Some(backup) = &opened.backup {
            let copy = backup.display();
            say(
                Level::Info,
                DATABASE,
                &format!("Upgrade database: {copy} from version '{from}'"),
            );
            say(Level::Info, DATABASE, &format!("  Database backup created: {copy}"));
        }
        say(
            Level::Warning,
            DATABASE,
            &format!("Database updated from '{from}' to '{to}'"),
        );
    }
    for diagnostic in &opened.diagnostics {
        say(Level::Error, DATABASE, &diagnostic.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::address::Id;
    use portcullis_core::judge;
    use portcullis_core::time::Seconds;

    fn ban(keeper: &mut Keeper, running: &Running, ip: &str) {
        let clock = running.now();
        let ticket = judge::by_hand(Id::parse(ip).unwrap(), clock.steady, Seconds::new(600));
        let jail = "j".into();
        keeper.keep(clock, vec![Entry::Ban { jail, ticket }]);
    }

    #[test]
    fn another_database() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| Place::File(folder.path().join(name)));
        let server = Server::default();
        let (mut keeper, running, saved) = Keeper::open(&one, &server);
        assert_eq!(saved, Saved::default());
        ban(&mut keeper, &running, "192.0.2.1");
        assert_eq!(keeper.reopen(&two, &server, &running).unwrap(), Saved::default());
        ban(&mut keeper, &running, "192.0.2.2");
        // One that cannot be opened changes nothing.
        let none = Place::File(folder.path().to_owned());
        assert!(keeper.reopen(&none, &server, &running).is_err());
        assert_eq!(keeper.saved_of(running.now(), "j").bans.len(), 1);
        let back = keeper.reopen(&one, &server, &running).unwrap();
        assert_eq!(back.bans[0].1.id, Id::parse("192.0.2.1").unwrap());
        assert_eq!(keeper.saved_of(running.now(), "j").bans, back.bans);
        assert_eq!(keeper.saved_of(running.now(), "other"), Saved::default());
        let memory = keeper.reopen(&Place::Memory, &server, &running).unwrap();
        assert_eq!(memory, Saved::default());
        keeper.close(running.now());
    }

    #[test]
    fn the_last_state_of_a_turn_is_kept_in_its_place() {
        let count = |who: &str| Entry::Count {
            jail: "j".into(),
            id: Id::parse(who).unwrap(),
            count: None,
        };
        let sessions = |text: &str| Entry::Sessions {
            jail: "j".into(),
            text: text.to_owned(),
        };
        let lift = || Entry::Lift {
            jail: "j".into(),
            id: Id::parse("192.0.2.1").unwrap(),
        };
        let (one, two) = (count("192.0.2.1"), count("192.0.2.2"));
        let entries = vec![
            one.clone(),
            sessions("a"),
            lift(),
            two.clone(),
            lift(),
            one.clone(),
            sessions("b"),
        ];
        assert_eq!(latest(entries), [lift(), two, lift(), one, sessions("b")]);
    }
}
