//! The lane of the kernel's packet filter: it carries out orders, and between them sees to it that what was ordered stays
//! true.
//!
//! What somebody else touched is mended at once, and what was just made is read back as soon as nothing waits. Besides,
//! all is looked at from time to time, at a pace that follows from what a look costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::ledger::{Applied, Change, Drift, LayerId, OrderKind, Reading, Standing};
use portcullis_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::{Job, Work};
use crate::daemon::way::Way;
use crate::enforce::nft::{Nft, Scope, TABLE, Wake};
use crate::enforce::protect::{Guard, Protected, Spares};
use crate::enforce::{Facts, Held, Layer as _};
use crate::visitors::Visitors;

/// New bans are read back one by one up to this many; more with the whole.
const ONE_BY_ONE: usize = 64;

/// Nobody says that anything changed, and still it is looked at after this long.
const SLOW: Duration = Duration::from_secs(30);

/// A pause between two slow looks is so many times as long as a look: one per cent.
const SLOW_TIMES: u32 = 100;

/// After many new bans, so many times what the last one took.
const MANY_TIMES: u32 = 20;

/// Before bans of layers that spare who is logged in it is looked who that is, unless that was just done; and again and
/// again while somebody is spared.
const VISITORS_FRESH: Duration = Duration::from_millis(500);
const VISITORS_EVERY: Duration = Duration::from_secs(10);

/// However often somebody touches the table, it is mended no sooner than this after the last time, and no sooner than
/// this many times what that took of a processor. How long it waited for others does not count: where the machine is busy, a
/// leak must not be left open for as long again.
const SOON: Duration = Duration::from_millis(200);
const SOON_TIMES: u32 = 4;

/// After a look that failed, doubling up to [`SLOW`].
const AGAIN: Duration = Duration::from_secs(1);

/// The kernel, opened at the first need and again after a failure.
pub(super) struct Kernel {
    clock: Box<dyn Fn() -> Timestamp + Send>,
    visitors: Visitors,
    wake: Wake,
    open: Option<Guard<Nft>>,
    scopes: BTreeMap<LayerId, (Scope, Spares)>,
    protected: Option<Protected>,
    /// When it was last looked who is logged in
    received: Option<Instant>,
    /// Bans that were made and not read back yet
    fresh: Vec<(LayerId, Id)>,
    looks: Looks,
}

/// When the next look at the whole is due.
struct Looks {
    /// Not before this
    earliest: Instant,
    /// Without any reason
    slow: Instant,
    /// Because there is a reason
    is_due: bool,
    /// The pause after the last failures
    failing: Option<Duration>,
    /// What the last one took of a processor
    cost: Duration,
}

impl Looks {
    fn new() -> Looks {
        let now = Instant::now();
        Looks {
            earliest: now,
            slow: now + SLOW,
            is_due: false,
            failing: None,
            cost: Duration::ZERO,
        }
    }

    /// There is much new to be read back.
    fn hasten(&mut self) {
        self.slow = self.slow.min(Instant::now() + self.cost * MANY_TIMES);
    }

    /// When the next one is to be.
    fn next(&self) -> Instant {
        if self.is_due {
            self.earliest
        } else {
            self.slow.max(self.earliest)
        }
    }

    /// One took so much, found something, and everything could be put right, or not. One that found nothing is no
    /// reason to let somebody's next change wait.
    fn taken(&mut self, cost: Duration, found: bool, is_well: bool) {
        let now = Instant::now();
        let pause = if found { SOON } else { Duration::ZERO };
        self.cost = cost;
        self.is_due = !is_well;
        self.failing = (!is_well).then(|| self.failing.map_or(AGAIN, |pause| (pause * 2).min(SLOW)));
        self.earliest = now + self.failing.unwrap_or(pause).max(cost * SOON_TIMES);
        self.slow = now + SLOW.max(cost * SLOW_TIMES);
    }
}

impl Kernel {
    /// Nothing is opened yet. `jobs` is where this lane is given its work.
    pub(super) fn new(clock: impl Fn() -> Timestamp + Send + 'static, visitors: Visitors, jobs: Sender<Job>) -> Kernel {
        Kernel {
            clock: Box::new(clock),
            visitors,
            wake: Arc::new(move || drop(jobs.send(Job::Stirred))),
            open: None,
            scopes: BTreeMap::new(),
            protected: None,
            received: None,
            fresh: Vec::new(),
            looks: Looks::new(),
        }
    }

    fn guard(&mut self) -> Result<&mut Guard<Nft>, String> {
        if self.open.is_none() {
            let mut nft = Nft::open(TABLE).map_err(|error| error.to_string())?;
            if let Err(error) = nft.listen(Arc::clone(&self.wake)) {
                log::warn!(
                    "changes of the packet filter are noticed only every {} s: {error}",
                    SLOW.as_secs()
                );
            }
            let protected = match self.protected.take() {
                Some(protected) => protected,
                None => Protected::gather().map_err(|error| format!("cannot find out own addresses: {error}"))?,
            };
            let mut guard = Guard::new(nft, protected);
            for (layer, (scope, spares)) in &self.scopes {
                guard.inner().configure(layer.clone(), scope.clone());
                guard.oblige(layer.clone(), *spares);
            }
            self.open = Some(guard);
        }
        self.open
            .as_mut()
            .ok_or_else(|| "the kernel's packet filter is not open".to_owned())
    }

    /// Looks who is logged in, where that matters for these changes.
    fn receive(&mut self, changes: &[Change]) {
        let is_fresh = self.received.is_some_and(|at| at.elapsed() < VISITORS_FRESH);
        let Some(guard) = self.open.as_mut().filter(|_| !is_fresh) else {
            return;
        };
        if guard.concerns_visitors(changes) {
            guard.receive((self.visitors)());
            self.received = Some(Instant::now());
        }
    }

    /// When it is to be looked whether those are still logged in who are spared for it.
    fn next_visit(&self) -> Option<Instant> {
        let guard = self.open.as_ref().filter(|guard| guard.is_withholding());
        guard.and(self.received).map(|at| at + VISITORS_EVERY)
    }

    /// Bans who was spared and is logged in no more.
    fn bid_farewell(&mut self) -> Vec<Applied> {
        let now = (self.clock)();
        let is_due = self.next_visit().is_some_and(|at| at <= Instant::now());
        let Some(guard) = self.open.as_mut().filter(|_| is_due) else {
            return Vec::new();
        };
        guard.receive((self.visitors)());
        self.received = Some(Instant::now());
        let due = guard.due();
        if due.is_empty() {
            return Vec::new();
        }
        let applied = guard.apply(now, &due);
        self.remember(&applied);
        applied
    }

    /// Bans that were made are to be read back, but for those that were taken back since.
    fn remember(&mut self, applied: &[Applied]) {
        let is_made = |fact: &&Applied| {
            let is_ban = matches!(fact.order, OrderKind::Ban | OrderKind::Prolong);
            is_ban && fact.result == Ok(Standing::Applied)
        };
        for fact in applied.iter().filter(is_made) {
            if self.fresh.len() > ONE_BY_ONE {
                break;
            }
            self.fresh.extend(fact.id.clone().map(|id| (fact.layer.clone(), id)));
        }
        // Of more the rest was not noted, and the whole is read back.
        if self.fresh.len() > ONE_BY_ONE {
            return;
        }
        for fact in applied.iter().filter(|fact| fact.order == OrderKind::Unban) {
            self.fresh
                .retain(|(layer, id)| (layer, Some(id)) != (&fact.layer, fact.id.as_ref()));
        }
    }

    /// Reads back what was just made.
    fn prove(&mut self) -> Vec<Applied> {
        if self.fresh.len() > ONE_BY_ONE {
            self.fresh.clear();
            self.looks.hasten();
            return Vec::new();
        }
        let fresh = std::mem::take(&mut self.fresh);
        let Some(guard) = self.open.as_mut().filter(|_| !fresh.is_empty()) else {
            return Vec::new();
        };
        let Some(Ok(held)) = guard.holds(&fresh) else {
            self.looks.is_due = true;
            return Vec::new();
        };
        let verified = |((layer, id), is_held): ((LayerId, Id), bool)| {
            is_held.then_some(Applied {
                layer,
                id: Some(id),
                order: OrderKind::Ban,
                result: Ok(Standing::Verified),
            })
        };
        fresh.into_iter().zip(held).filter_map(verified).collect()
    }

    /// Reads the whole back and mends it, if that is due.
    fn look(&mut self) -> Vec<Reading> {
        let Some(guard) = self.open.as_mut().filter(|_| Instant::now() >= self.looks.next()) else {
            return Vec::new();
        };
        let (begun, now) = (spent(), (self.clock)());
        let readings = match guard.mend(now) {
            Some(Ok(readings)) => readings,
            Some(Err(error)) => self
                .scopes
                .keys()
                .map(|layer| unread(now, layer, &error.to_string()))
                .collect(),
            None => Vec::new(),
        };
        let is_well = |reading: &Reading| reading.drift.as_ref().is_none_or(|drift| drift.until.is_some());
        let found = readings.iter().any(|reading| reading.drift.is_some());
        self.looks
            .taken(spent().saturating_sub(begun), found, readings.iter().all(is_well));
        readings
    }
}

/// What this thread has had of a processor.
fn spent() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// What is said of a layer that cannot be read back.
fn unread(now: Timestamp, layer: &LayerId, error: &str) -> Reading {
    Reading {
        layer: layer.clone(),
        held: 0,
        drift: Some(Drift {
            since: now,
            until: None,
            missing: 0,
            extra: 0,
            moved: 0,
            what: format!("it cannot be read back: {error}"),
            by: None,
        }),
    }
}

impl Work for Kernel {
    fn put(&mut self, ways: BTreeMap<LayerId, Way>) {
        for (layer, way) in ways {
            let Way::Nft(scope, spares) = way else { continue };
            if let Some(guard) = &mut self.open {
                guard.inner().configure(layer.clone(), scope.clone());
                guard.oblige(layer.clone(), spares);
            }
            self.scopes.insert(layer, (scope, spares));
        }
    }

    fn only(&mut self, layers: &BTreeSet<LayerId>, is_all: bool) {
        self.scopes.retain(|layer, _| layers.contains(layer));
        if let Ok(guard) = self.guard() {
            // What cannot be removed now is tried again with each look, and found again at the next start.
            let _ = guard.inner().remove_orphans(layers);
            if is_all {
                guard.inner().complete();
            }
        }
    }

    fn apply(&mut self, _: Timestamp, changes: &[Change]) -> Vec<Applied> {
        // What waited for long has less time left than when it was ordered.
        let now = (self.clock)();
        if self.guard().is_ok() {
            self.receive(changes);
        }
        let applied = match self.guard() {
            Ok(guard) => guard.apply(now, changes),
            Err(reason) => changes.iter().map(|change| failed(change, &reason)).collect(),
        };
        self.remember(&applied);
        applied
    }

    fn call(&mut self, _: Timestamp, change: &Change) -> Vec<Applied> {
        let now = (self.clock)();
        let guard = match self.guard() {
            Ok(guard) => guard,
            Err(reason) => return vec![failed(change, &reason)],
        };
        let kept = guard.inner().keep(change).map(|kept| (guard.narrowed(), kept));
        let applied = guard.apply(now, std::slice::from_ref(change));
        if let Some((narrowed, kept)) = kept {
            guard.put_back(narrowed);
            guard.inner().put_back(Some(kept));
        }
        applied
    }

    fn held(&mut self) -> Result<Vec<Held>, String> {
        // Whoever asks is told what is there now; what is wrong is put right after it.
        self.looks.is_due = true;
        match self.guard()?.held() {
            Some(held) => held.map_err(|error| error.to_string()),
            None => Ok(Vec::new()),
        }
    }

    fn protect(&mut self, protected: Protected) {
        match &mut self.open {
            Some(guard) => guard.protect(protected),
            None => self.protected = Some(protected),
        }
    }

    fn stirred(&mut self) {
        self.looks.is_due = true;
    }

    fn rest(&mut self, is_idle: bool) -> Option<Facts> {
        let mut applied = self.bid_farewell();
        if is_idle {
            applied.extend(self.prove());
        }
        if let Some(guard) = &mut self.open {
            self.looks.is_due |= guard.inner().is_suspect();
        }
        // Without a reason it waits until nothing else is to be done.
        let readings = if is_idle || self.looks.is_due {
            self.look()
        } else {
            Vec::new()
        };
        let facts = Facts {
            applied,
            readings,
            ..Facts::default()
        };
        (!facts.is_empty()).then_some(facts)
    }

    fn pause(&self) -> Option<Duration> {
        self.open.as_ref()?;
        let next = [Some(self.looks.next()), self.next_visit()]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }
}

fn failed(change: &Change, reason: &str) -> Applied {
    let id = change.order.ticket().map(|ticket| ticket.id.clone());
    Applied {
        layer: change.layer.clone(),
        id,
        order: change.order.kind(),
        result: Err(reason.to_owned()),
    }
}
