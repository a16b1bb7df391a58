//! Putting in force what commands changed: the jails concerned, and of these only what is other than before.
//!
//! In comes what a command amended in the plan; out goes a new arrangement of these jails for the engine, new readings
//! for those that read otherwise, and nothing for the rest: their filters and threads go on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use portcullis_core::command::Amended;
use portcullis_core::config::plan::{JailPlan, LogPath, Plan, Server};
use portcullis_core::engine::{Input, ReplyTo, Request, Saved};
use portcullis_core::exception::Exception;
use portcullis_core::value::repr_str;

use super::setup::{self, MANUAL, Setup};
use super::{Daemon, Message, keeper, logging, resolver};
use crate::matching::Reading;
use crate::observe::log::{Level, note as say};
use crate::sandbox;
use crate::store::{self, Place};

/// Nobody waits for the answer.
const NOBODY: ReplyTo = ReplyTo(0);
/// Complaints that come from making a jail ready, and go when it is made ready anew.
const MADE: &[&str] = &[
    "jail-dropped",
    "jail-blind",
    "no-action",
    "action-dropped",
    setup::GCLOUD,
    setup::ALONE,
];

/// What is to be done about the jails.
#[derive(Default)]
struct Steps {
    /// These end
    gone: BTreeSet<Arc<str>>,
    /// These are as this, with a new reading or not, told that they are reloaded or not
    put: Vec<(JailPlan, bool, bool)>,
    /// Readings of these are taken down
    down: BTreeSet<Arc<str>>,
    /// These begin, and take up what is kept of them
    begun: Vec<Arc<str>>,
}

impl Daemon {
    /// Puts in force what a command changed. What of the server cannot be is as `before`.
    ///
    /// # Errors
    /// What a client is told of a server option that cannot be put in force.
    pub(super) fn amend(
        &mut self,
        before: &Server,
        amended: &Amended,
        inbox: &Receiver<Message>,
    ) -> Result<(), Exception> {
        let result = self.amend_server(before, &amended.server);
        for jail in &amended.freed {
            let (ids, jail) = (None, Some(Arc::clone(jail)));
            self.step(Input::Request(Request::Unban { ids, jail }, NOBODY));
        }
        let steps = self.steps(amended);
        self.rearrange(steps, amended.is_stream, inbox);
        self.watch_protection();
        result
    }

    fn steps(&self, amended: &Amended) -> Steps {
        let mut steps = Steps::default();
        let sets = [&amended.jails, &amended.restarted, &amended.reloaded];
        let names: BTreeSet<&Arc<str>> = sets.into_iter().flatten().collect();
        for name in names {
            let restarted = amended.restarted.contains(name);
            let old = self.setup.jails.get(name).filter(|_| !restarted);
            if self.setup.jails.contains_key(name) && restarted {
                steps.gone.insert(Arc::clone(name));
                steps.down.insert(Arc::clone(name));
            }
            let Some(new) = self.plan.jails.iter().find(|jail| jail.name == *name) else {
                steps.gone.insert(Arc::clone(name));
                steps.down.insert(Arc::clone(name));
                continue;
            };
            // What could not be read with is tried again, or its complaint would go and nothing else.
            let is_blind = self.setup.blind.contains_key(&**name);
            let alike = !is_blind && old.is_some_and(|old| setup::reads(old) && setup::read_alike(old, new));
            if !(alike && setup::reads(new)) {
                steps.down.insert(Arc::clone(name));
            }
            if new.started && !old.is_some_and(|old| old.started) {
                steps.begun.push(Arc::clone(name));
            }
            let anew = setup::reads(new) && !alike;
            steps.put.push((new.clone(), anew, amended.reloaded.contains(name)));
        }
        steps
    }

    fn rearrange(&mut self, steps: Steps, is_stream: bool, inbox: &Receiver<Message>) {
        let mut ready = Setup::empty(Plan::default(), self.places.manner());
        // What a client sends as a whole has no values that had to be guessed.
        for (plan, _, reloaded) in &steps.put {
            if *reloaded || steps.gone.contains(&plan.name) {
                self.setup.held.remove(&*plan.name);
            }
        }
        ready.held.clone_from(&self.setup.held);
        let names: BTreeSet<Arc<str>> = steps.put.iter().map(|(plan, ..)| Arc::clone(&plan.name)).collect();
        for (plan, anew, reloaded) in &steps.put {
            ready.live(plan.clone(), *anew, *reloaded);
        }
        let files = ready.readings.iter().flat_map(|(_, files)| files);
        let paths = files.map(|file| file.path.as_str().into()).collect();
        let taken = self.stop_groups(&steps.down, &paths, inbox);
        let jails = std::mem::take(&mut ready.arrangements);
        let is_fewer = self.forget(&steps.gone, &names);
        for name in &steps.gone {
            say(
                Level::Debug,
                "fail2ban.jail",
                &format!("Stopping jail {}", repr_str(name)),
            );
        }
        if !steps.gone.is_empty() {
            let (gone, jails) = (steps.gone.clone(), Vec::new());
            self.part_with(Input::Amend { gone, jails }, |name| steps.gone.contains(name));
        }
        self.traces.put(&ready.layers, &self.plan);
        self.spare_in_clouds();
        self.lanes.put(&ready.layers);
        let commands = jails.iter().map(|jail| jail.plan.ignorecommand.as_str());
        self.inquiries.learn(commands);
        if !jails.is_empty() {
            let gone = BTreeSet::new();
            self.step(Input::Amend { gone, jails });
        }
        for jail in &steps.begun {
            self.take_up(jail);
        }
        let readings = std::mem::take(&mut ready.readings);
        self.install(ready, steps.put.into_iter().map(|(plan, ..)| plan));
        if is_fewer || is_stream {
            self.lanes.only(&self.setup.ways, self.keeper.is_open());
        }
        if is_stream {
            self.bury();
        }
        self.look_up_ignored();
        self.read_again(taken, readings, &steps.down);
    }

    /// Drops what is installed of these jails; whether that were actions that are to go.
    fn forget(&mut self, gone: &BTreeSet<Arc<str>>, anew: &BTreeSet<Arc<str>>) -> bool {
        let is_meant = |name: &str| gone.contains(name) || anew.contains(name);
        let installed = &mut self.setup;
        let before = installed.ways.len();
        installed.ways.retain(|id, _| !is_meant(&id.jail));
        installed.blind.retain(|name, _| !is_meant(name));
        installed
            .dropped
            .retain(|name, _| !is_meant(name.split('/').next().unwrap_or(name)));
        installed.diagnostics.retain(|diagnostic| {
            let jail = diagnostic.jail.as_deref().unwrap_or_default();
            !is_meant(jail) || (!MADE.contains(&diagnostic.code) && !gone.contains(jail))
        });
        for name in gone {
            installed.jails.remove(name);
            installed.files.remove(&**name);
            installed.held.remove(&**name);
            self.remarks.retain(|(jail, _), _| **jail != **name);
        }
        before != installed.ways.len()
    }

    fn install(&mut self, ready: Setup, plans: impl Iterator<Item = JailPlan>) {
        let installed = &mut self.setup;
        installed.ways.extend(ready.layers);
        installed.blind.extend(ready.blind);
        installed.dropped.extend(ready.dropped);
        installed.diagnostics.extend(ready.diagnostics);
        installed.jails.extend(plans.map(|plan| (Arc::clone(&plan.name), plan)));
    }

    /// Sets the new readings to work, and those whose group was taken down for the sake of others.
    fn read_again(&mut self, taken: Vec<Reading>, new: Vec<(Reading, Vec<LogPath>)>, down: &BTreeSet<Arc<str>>) {
        let (former, same): (Vec<_>, Vec<_>) = taken.into_iter().partition(|reading| down.contains(reading.name()));
        for name in down {
            self.setup.files.remove(&**name);
        }
        let mut readings: Vec<(Reading, Vec<LogPath>)> = new;
        for old in former {
            let successor = readings.iter_mut().find(|(reading, _)| reading.name() == old.name());
            if let Some((reading, _)) = successor {
                reading.succeed(old);
            }
        }
        for reading in same {
            let files = self.setup.jails.get(reading.name()).map(setup::files);
            readings.push((reading, files.unwrap_or_default()));
        }
        self.read_logs(readings);
    }

    fn amend_server(&mut self, before: &Server, names: &BTreeSet<String>) -> Result<(), Exception> {
        let has = |name: &str| names.contains(name);
        let mut result = Ok(());
        if has("loglevel") {
            logging::level(&self.plan.server.loglevel);
        }
        let is_elsewhere = |now: &Server| now.logtarget != before.logtarget || now.syslogsocket != before.syslogsocket;
        if (has("logtarget") || has("syslogsocket")) && is_elsewhere(&self.plan.server) {
            let now = self.plan.server.clone();
            if let Err(error) = logging::change(&now) {
                say(Level::Error, super::SERVER, &error);
                self.plan.server.logtarget.clone_from(&before.logtarget);
                self.plan.server.syslogsocket.clone_from(&before.syslogsocket);
                result = Err(Exception::from("Failed to change log target"));
            }
        }
        if has("allowipv6") {
            resolver::allow_ipv6(&self.plan.server.allowipv6);
        }
        if has("dbfile") && self.plan.server.dbfile != before.dbfile {
            result = result.and(self.change_database(before));
        }
        if has("dbmaxmatches") || has("dbpurgeage") {
            self.keeper.set(&self.plan.server);
        }
        result
    }

    fn change_database(&mut self, before: &Server) -> Result<(), Exception> {
        let place = match &self.plan.server.dbfile {
            None if self.places.is_stream => Place::Memory,
            _ => self.places.database(&self.plan.server),
        };
        if place == self.database {
            return Ok(());
        }
        if let Some(who) = place.path().and_then(|path| self.link.holder(path)) {
            self.plan.server.dbfile.clone_from(&before.dbfile);
            return Err(Exception::from(format!("{place} is in use by {who}; stop it first")));
        }
        match self.keeper.reopen(&place, &self.plan.server, &self.clock) {
            Ok(saved) => {
                self.database = place;
                self.traces.take_up(&mut self.keeper);
                self.adopt(saved);
                Ok(())
            }
            Err(error) => {
                self.plan.server.dbfile.clone_from(&before.dbfile);
                let place = place.path().unwrap_or(Path::new(""));
                Err(Exception::from(sandbox::explain(place, error)))
            }
        }
    }

    /// What a database knows that was opened before any jail: who was banned before, and the bans by hand.
    fn adopt(&mut self, saved: store::Saved) {
        let by_hand = has_bans_by_hand(&saved);
        let history = keeper::remembered(saved).history;
        self.step(Input::Restore(Saved {
            history,
            ..Saved::default()
        }));
        if by_hand {
            self.open_manual();
        }
    }

    /// The pseudo-jail of bans by hand, where it is not there yet: a server that takes its configuration from a client
    /// makes it when it is needed first.
    pub(super) fn open_manual(&mut self) {
        if self.setup.ways.keys().any(|id| *id.jail == *MANUAL) {
            return;
        }
        let mut ready = Setup::empty(Plan::default(), self.places.manner());
        ready.manual();
        self.lanes.put(&ready.layers);
        let jails = std::mem::take(&mut ready.arrangements);
        let gone = BTreeSet::new();
        self.step(Input::Amend { gone, jails });
        self.install(ready, std::iter::empty());
        self.take_up(MANUAL);
    }
}

/// Whether the pseudo-jail has bans.
pub(super) fn has_bans_by_hand(saved: &store::Saved) -> bool {
    saved
        .bans
        .iter()
        .chain(&saved.adopted)
        .any(|(jail, _)| **jail == *MANUAL)
}
