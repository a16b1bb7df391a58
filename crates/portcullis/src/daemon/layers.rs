//! The layers and their threads: one lane for the kernel, one for the cloud's firewall, one for all shell actions, some
//! for those that run beside them, one for mails, one that only pretends.
//!
//! A lane takes orders in their order and sends facts back. A slow lane fills its own queue and nothing else
//! (invariant 7).

mod cloud;
mod kernel;
mod shells;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use portcullis_core::action::JailFacts;
use portcullis_core::ledger::{Applied, Change, LayerId};
use portcullis_core::time::Timestamp;

use self::cloud::Cloud;
use self::kernel::Kernel;
use super::way::Way;
use crate::enforce::dry::Dry;
use crate::enforce::mail::MailLayer;
use crate::enforce::protect::Protected;
use crate::enforce::shell::past::{Past, Present};
use crate::enforce::shell::{ShellLayer, Through};
use crate::enforce::{Facts, Held, Layer};
use crate::fault::{self, Step};
use crate::runner::{self, Catalogue, Link};
use cloud::Errand;
pub(super) use cloud::Sky;
use shells::Shells;

/// Orders taken at once, so that facts come back while a long queue is worked off.
const AT_ONCE: usize = 4096;

/// What a lane's thread is told.
enum Job {
    /// These actions are done this way from now on.
    Put(BTreeMap<LayerId, Way>),
    /// These are the counters of jails that end, until told otherwise.
    Part(BTreeMap<String, JailFacts>),
    /// Do this.
    Changes(Timestamp, Vec<Change>),
    /// All other actions are no more; whatever is left of them goes. Where all that was kept of their bans has been
    /// ordered, what a former run left besides goes as well.
    Only(BTreeSet<LayerId>, bool),
    /// Somebody else touched what the layer holds.
    Stirred,
    /// This is what an earlier run has left of an action.
    Inherit(Timestamp, LayerId, Box<Past>),
    /// All bans that were kept are ordered, of a jail or of all.
    Settle(Timestamp, Option<String>),
    /// Say what shell actions have set up and hold.
    Present(Sender<Vec<Present>>),
    /// What must never be banned was gathered again.
    Protect(Protected),
    /// Say what the layer holds.
    Read(ReadBack),
    /// What concerns the cloud alone.
    Cloud(Errand),
    /// Do this by itself, for somebody who waits for what comes of it.
    Call(Timestamp, Change, Called),
}

/// Takes what came of an order that was given by hand.
pub(crate) type Called = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Takes what a layer was found to hold.
pub(crate) type ReadBack = Box<dyn FnOnce(Result<Vec<Held>, String>) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nft,
    Shell,
    Mail,
    /// One of the lanes for actions that run beside the others
    Beside(u8),
    Dry,
    Cloud,
}

impl Kind {
    fn of(way: &Way) -> Kind {
        match way {
            Way::Nft(..) => Kind::Nft,
            Way::Shell(_) => Kind::Shell,
            Way::Mail(_) => Kind::Mail,
            Way::Beside(_) => Kind::Beside(0),
            Way::Dry { .. } => Kind::Dry,
            Way::Cloud(_) => Kind::Cloud,
        }
    }
}

/// All lanes.
pub(crate) struct Lanes {
    lanes: BTreeMap<Kind, Lane>,
    kinds: BTreeMap<LayerId, Kind>,
    /// Starts a lane beside the others, when an action first asks for one
    beside: Box<dyn Fn(u8) -> std::io::Result<Lane> + Send>,
    next_beside: u8,
}

struct Lane {
    jobs: Sender<Job>,
    waiting: Arc<AtomicUsize>,
}

impl Lanes {
    /// Starts the threads. Facts go to `facts`.
    pub(crate) fn start(
        shell: impl Fn(Through) -> ShellLayer + Send + 'static,
        mails: MailLayer,
        link: Link,
        sky: Sky,
        facts: impl Fn(Facts) + Clone + Send + 'static,
    ) -> std::io::Result<Lanes> {
        let mut lanes = BTreeMap::new();
        let (clock, visitors) = (Arc::clone(&sky.clock), Arc::clone(&sky.visitors));
        let kernel = move |jobs: &Sender<Job>| Kernel::new(move || clock().steady, visitors, jobs.clone());
        lanes.insert(Kind::Nft, Lane::start_with("nft", kernel, facts.clone())?);
        let cloud = |jobs: &Sender<Job>| Cloud::new(sky, jobs.clone());
        lanes.insert(Kind::Cloud, Lane::start_with("cloud", cloud, facts.clone())?);
        let told = facts.clone();
        let shells = move |name: &str, lane| {
            let shells = Shells {
                layer: shell(Through(link.clone(), lane)),
                catalogue: Catalogue::default(),
                link: link.clone(),
                lane,
            };
            Lane::start(name, shells, told.clone())
        };
        lanes.insert(Kind::Shell, shells("shell", runner::Lane::Actions)?);
        lanes.insert(Kind::Mail, Lane::start("mail", mails, facts.clone())?);
        lanes.insert(Kind::Dry, Lane::start("dry", Pretence(Dry), facts)?);
        Ok(Lanes {
            lanes,
            kinds: BTreeMap::new(),
            beside: Box::new(move |number| shells("beside", runner::Lane::Beside(number))),
            next_beside: 0,
        })
    }

    /// The lane of an action. One that is in force keeps its lane of shell actions, where its state is; others of
    /// `parallel = yes` take the lanes beside in turn.
    fn kind(&mut self, id: &LayerId, way: &Way) -> Kind {
        let is_shell = |kind: &Kind| matches!(kind, Kind::Shell | Kind::Beside(_));
        let wanted = Kind::of(way);
        if let Some(kept) = self.kinds.get(id).filter(|kind| is_shell(kind) && is_shell(&wanted)) {
            return *kept;
        }
        if !matches!(wanted, Kind::Beside(_)) {
            return wanted;
        }
        let number = self.next_beside;
        let kind = Kind::Beside(number);
        if let Entry::Vacant(place) = self.lanes.entry(kind) {
            match (self.beside)(number) {
                Ok(lane) => drop(place.insert(lane)),
                // Without a thread of its own it waits for the others.
                Err(_) => return Kind::Shell,
            }
        }
        self.next_beside = (number + 1) % runner::BESIDE_MOST;
        kind
    }

    /// Says how each action is done, before the orders that follow from a new plan.
    pub(crate) fn put(&mut self, ways: &BTreeMap<LayerId, Way>) {
        for (id, way) in ways {
            let kind = self.kind(id, way);
            self.kinds.insert(id.clone(), kind);
        }
        for (kind, lane) in &self.lanes {
            let own = ways.iter().filter(|(id, _)| self.kinds.get(*id) == Some(kind));
            let own: BTreeMap<_, _> = own.map(|(id, way)| (id.clone(), way.clone())).collect();
            if !own.is_empty() {
                lane.send(Job::Put(own));
            }
        }
    }

    /// Forgets all other actions, after the orders that end them. `is_all` says that every ban that was kept has been
    /// ordered by now: what the kernel holds besides is nobody's.
    pub(crate) fn only(&mut self, ways: &BTreeMap<LayerId, Way>, is_all: bool) {
        self.kinds.retain(|id, _| ways.contains_key(id));
        for (kind, lane) in &self.lanes {
            let own = self.kinds.iter().filter(|(_, own)| *own == kind);
            lane.send(Job::Only(own.map(|(id, _)| id.clone()).collect(), is_all));
        }
    }

    /// Whether an action is in force, so that its orders are carried out.
    pub(crate) fn knows(&self, layer: &LayerId) -> bool {
        self.kinds.contains_key(layer)
    }

    /// Says the counters of jails ahead of the orders that end them, and nothing behind these.
    pub(crate) fn part(&self, facts: &BTreeMap<String, JailFacts>) {
        for (kind, lane) in &self.lanes {
            if matches!(kind, Kind::Shell | Kind::Beside(_)) {
                lane.send(Job::Part(facts.clone()));
            }
        }
    }

    /// Hands out orders, each lane its own in their order.
    pub(crate) fn order(&self, now: Timestamp, changes: Vec<Change>) {
        let mut sorted: BTreeMap<Kind, Vec<Change>> = BTreeMap::new();
        for change in changes {
            if let Some(kind) = self.kinds.get(&change.layer) {
                sorted.entry(*kind).or_default().push(change);
            }
        }
        for (kind, changes) in sorted {
            if let Some(lane) = self.lanes.get(&kind) {
                lane.send(Job::Changes(now, changes));
            }
        }
    }

    /// What an earlier run has left of an action, before its first order; of one that is configured no more, too.
    pub(crate) fn inherit(&self, now: Timestamp, layer: LayerId, past: Past) {
        let kind = self.kinds.get(&layer).copied();
        let kind = kind.filter(|kind| matches!(kind, Kind::Shell | Kind::Beside(_)));
        if let Some(lane) = self.lanes.get(&kind.unwrap_or(Kind::Shell)) {
            lane.send(Job::Inherit(now, layer, Box::new(past)));
        }
    }

    /// All bans that were kept are ordered, of a jail or of all.
    pub(crate) fn settle(&self, now: Timestamp, jail: Option<&str>) {
        for lane in self.shells() {
            lane.send(Job::Settle(now, jail.map(str::to_owned)));
        }
    }

    /// What shell actions have set up and hold, one answer from each lane; then the channel closes.
    pub(crate) fn present(&self) -> Receiver<Vec<Present>> {
        let (answer, answers) = channel();
        for lane in self.shells() {
            lane.send(Job::Present(answer.clone()));
        }
        answers
    }

    fn shells(&self) -> impl Iterator<Item = &Lane> {
        let is_shell = |kind: &Kind| matches!(kind, Kind::Shell | Kind::Beside(_));
        self.lanes
            .iter()
            .filter(move |(kind, _)| is_shell(kind))
            .map(|(_, lane)| lane)
    }

    /// Gives one order by hand, behind those that wait; the engine hears nothing of it.
    pub(crate) fn call(&self, now: Timestamp, change: Change, take: Called) {
        match self.kinds.get(&change.layer).and_then(|kind| self.lanes.get(kind)) {
            Some(lane) => lane.send(Job::Call(now, change, take)),
            None => take(Err("the action is not in force".to_owned())),
        }
    }

    /// What must never be banned was gathered again.
    pub(crate) fn protect(&self, protected: Protected) {
        if let Some(lane) = self.lanes.get(&Kind::Nft) {
            lane.send(Job::Protect(protected));
        }
    }

    /// Reads the kernel layer back, behind the orders that wait.
    pub(crate) fn read_back(&self, take: ReadBack) {
        if let Some(lane) = self.lanes.get(&Kind::Nft) {
            lane.send(Job::Read(take));
        }
    }

    /// Orders that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes
            .values()
            .map(|lane| lane.waiting.load(Ordering::Relaxed))
            .sum()
    }
}

impl Lane {
    fn start(name: &str, work: impl Work, facts: impl Fn(Facts) + Send + 'static) -> std::io::Result<Lane> {
        Lane::start_with(name, |_| work, facts)
    }

    /// Starts one whose work gives itself jobs.
    fn start_with<W: Work>(
        name: &str,
        make: impl FnOnce(&Sender<Job>) -> W,
        facts: impl Fn(Facts) + Send + 'static,
    ) -> std::io::Result<Lane> {
        let (jobs, inbox) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let mut work = make(&jobs);
        thread::Builder::new().name(name.into()).spawn(move || {
            run(&mut work, &inbox, &left, &facts);
        })?;
        Ok(Lane { jobs, waiting })
    }

    fn send(&self, job: Job) {
        self.waiting.fetch_add(job.orders(), Ordering::Relaxed);
        // A lane ends only with the daemon.
        let _ = self.jobs.send(job);
    }
}

fn run(work: &mut impl Work, inbox: &Receiver<Job>, left: &AtomicUsize, facts: &impl Fn(Facts)) {
    let (mut left_over, mut was_full) = (None, false);
    loop {
        let job = match left_over.take().map_or_else(|| inbox.try_recv(), Ok) {
            Ok(job) => job,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                work.rest(true).into_iter().for_each(facts);
                match next(inbox, work.pause()) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let orders = job.orders();
        if let Job::Changes(now, changes) = job {
            let (now, changes) = gather(now, changes, inbox, &mut left_over);
            for part in changes.chunks(AT_ONCE) {
                // After as many as go at once the rest of a large batch follows, in this job or in the next.
                if was_full {
                    fault::reach(Step::Between);
                }
                was_full = part.len() == AT_ONCE;
                work.behind(left.load(Ordering::Relaxed));
                let applied = work.apply(now, part);
                fault::reach(Step::Facts);
                left.fetch_sub(part.len(), Ordering::Relaxed);
                facts(Facts {
                    applied,
                    lost: work.lost(),
                    ..Facts::default()
                });
            }
        } else {
            work.take(job);
            left.fetch_sub(orders, Ordering::Relaxed);
        }
        // What somebody else did to a layer does not wait for a long queue.
        work.rest(false).into_iter().for_each(facts);
    }
}

fn next(inbox: &Receiver<Job>, pause: Option<Duration>) -> Result<Job, RecvTimeoutError> {
    match pause {
        Some(pause) => inbox.recv_timeout(pause),
        None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

impl Job {
    /// How many orders it holds.
    fn orders(&self) -> usize {
        match self {
            Job::Changes(_, changes) => changes.len(),
            Job::Call(..) => 1,
            _ => 0,
        }
    }
}

/// Orders that wait already come along: many at once are done faster than one after the other. `next` is the first that
/// is something else.
fn gather(
    mut now: Timestamp,
    mut changes: Vec<Change>,
    inbox: &Receiver<Job>,
    next: &mut Option<Job>,
) -> (Timestamp, Vec<Change>) {
    while changes.len() < AT_ONCE && next.is_none() {
        match inbox.try_recv() {
            Ok(Job::Changes(later, more)) => {
                now = later;
                changes.extend(more);
            }
            other => {
                *next = other.ok();
                break;
            }
        }
    }
    (now, changes)
}

/// A layer with what its lane must do around it.
trait Work: Send + 'static {
    fn put(&mut self, ways: BTreeMap<LayerId, Way>);
    fn only(&mut self, layers: &BTreeSet<LayerId>, is_all: bool);
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied>;
    fn part(&mut self, _: &BTreeMap<String, JailFacts>) {}
    fn protect(&mut self, _: Protected) {}
    fn inherit(&mut self, _: Timestamp, _: &LayerId, _: &Past) {}
    fn settle(&mut self, _: Timestamp, _: Option<&str>) {}
    fn present(&mut self) -> Vec<Present> {
        Vec::new()
    }
    /// So many orders wait, those that come next among them.
    fn behind(&mut self, _: usize) {}
    fn lost(&mut self) -> Vec<LayerId> {
        Vec::new()
    }
    fn held(&mut self) -> Result<Vec<Held>, String> {
        Ok(Vec::new())
    }
    /// Does an order that was given by hand.
    fn call(&mut self, now: Timestamp, change: &Change) -> Vec<Applied> {
        self.apply(now, std::slice::from_ref(change))
    }
    fn stirred(&mut self) {}
    fn errand(&mut self, _: Errand) {}
    /// Between jobs, or when none is left: looks after what is held.
    fn rest(&mut self, _is_idle: bool) -> Option<Facts> {
        None
    }
    /// How long nothing needs to be looked after; for ever where that is `None`.
    fn pause(&self) -> Option<Duration> {
        None
    }

    /// One job that holds no orders of the engine.
    fn take(&mut self, job: Job) {
        match job {
            Job::Put(ways) => self.put(ways),
            Job::Part(facts) => self.part(&facts),
            Job::Only(layers, is_all) => self.only(&layers, is_all),
            Job::Protect(protected) => self.protect(protected),
            Job::Read(take) => take(self.held()),
            Job::Stirred => self.stirred(),
            Job::Cloud(errand) => self.errand(errand),
            Job::Inherit(now, layer, past) => self.inherit(now, &layer, &past),
            Job::Settle(now, jail) => self.settle(now, jail.as_deref()),
            Job::Present(answer) => {
                // Who asked may have given up.
                let _ = answer.send(self.present());
            }
            Job::Call(now, change, take) => {
                let applied = self.call(now, &change);
                let result = applied.into_iter().next().map_or(Ok(()), |fact| fact.result.map(drop));
                take(result);
            }
            Job::Changes(..) => {}
        }
    }
}

impl Work for MailLayer {
    fn put(&mut self, ways: BTreeMap<LayerId, Way>) {
        for (layer, way) in ways {
            if let Way::Mail(mail) = way {
                self.put(layer, *mail);
            }
        }
    }

    fn only(&mut self, layers: &BTreeSet<LayerId>, _: bool) {
        self.retain(layers);
    }

    fn behind(&mut self, waiting: usize) {
        self.wait(waiting);
    }

    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        Layer::apply(self, now, changes)
    }
}

struct Pretence(Dry);

impl Work for Pretence {
    fn put(&mut self, _: BTreeMap<LayerId, Way>) {}
    fn only(&mut self, _: &BTreeSet<LayerId>, _: bool) {}
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        self.0.apply(now, changes)
    }
}
