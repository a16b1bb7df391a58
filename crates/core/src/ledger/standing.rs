//! How far bans have come in the layers, what layers were found to hold, and for how long they did not hold it.

use super::LayerId;
use crate::time::{Seconds, Timestamp};

/// How far a ban has come in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Decided and not confirmed yet.
    Decided,
    /// The layer confirmed it; it was not read back.
    Applied,
    /// The layer was read back and holds it.
    Verified,
    /// Protected addresses are not enforced at native layers; the reason is the text.
    Protected(String),
    /// The layer refused or failed; retried.
    Failed(String),
    /// `--dry-run`: printed, not enforced.
    Dry,
}

/// How far a ban has come in one layer, and when it came there. All times are on the steady clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// How far
    pub standing: Standing,
    /// When it was ordered
    pub decided: Timestamp,
    /// When the layer's last confirmation came
    pub applied: Option<Timestamp>,
    /// When it was last read back
    pub verified: Option<Timestamp>,
}

impl Stand {
    /// A ban that is ordered now.
    #[must_use]
    pub fn new(now: Timestamp) -> Stand {
        Stand {
            standing: Standing::Decided,
            decided: now,
            applied: None,
            verified: None,
        }
    }

    /// It has come so far now.
    pub fn reach(&mut self, now: Timestamp, standing: Standing) {
        match standing {
            Standing::Decided => (self.decided, self.applied, self.verified) = (now, None, None),
            Standing::Applied => (self.applied, self.verified) = (Some(now), None),
            Standing::Verified => {
                self.applied.get_or_insert(now);
                self.verified = Some(now);
            }
            Standing::Failed(_) | Standing::Protected(_) => (self.applied, self.verified) = (None, None),
            Standing::Dry => {}
        }
        self.standing = standing;
    }

    /// The same, where the whole layer was read back at a time: what was applied before is verified.
    #[must_use]
    pub fn read(mut self, at: Option<Timestamp>) -> Stand {
        if let (Some(at), Some(applied), Standing::Applied | Standing::Verified) = (at, self.applied, &self.standing)
            && applied < at
        {
            self.standing = Standing::Verified;
            self.verified = self.verified.max(Some(at));
        }
        self
    }
}

/// A fact: a layer was read back, and holds what it was told up to then, after what differed was mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which layer
    pub layer: LayerId,
    /// How many bans it was found to hold, before anything was mended
    pub held: usize,
    /// What differed, if anything did
    pub drift: Option<Drift>,
}

/// How a layer differed from what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Since when it may have differed, on the steady clock: the moment that it was said to change, or else when it was
    /// last known to be whole
    pub since: Timestamp,
    /// When it was mended, on the steady clock; `None` where that failed
    pub until: Option<Timestamp>,
    /// Bans that it did not enforce, all of them where packets came past it
    pub missing: usize,
    /// Addresses that nobody ordered
    pub extra: usize,
    /// Bans that would have ended at another time
    pub moved: usize,
    /// What was wrong, in words: `the table was gone`, `2 elements were missing`
    pub what: String,
    /// Who did it, where that is known: program and process id
    pub by: Option<String>,
}

/// For how long a layer did not enforce what was decided: the union of the spans in which it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// All spans that are over
    total: Seconds,
    /// The beginning of the one that is not
    since: Option<Timestamp>,
    /// The last one that is over; a drift that is found afterwards may reach into it
    last: Option<(Timestamp, Timestamp)>,
    drifts: u64,
}

impl Exposure {
    /// Whether it does not, from now on or still.
    pub fn set(&mut self, now: Timestamp, is_exposed: bool) {
        match self.since {
            None if is_exposed => self.since = Some(now),
            Some(since) if !is_exposed => {
                self.since = None;
                self.add(since, now);
            }
            _ => {}
        }
    }

    /// A drift was found; one without missing bans let nobody in.
    pub fn drift(&mut self, drift: &Drift) {
        self.drifts += 1;
        self.span(drift);
    }

    /// The span of a drift that was found before, as it is known now. Where something else keeps the layer from
    /// enforcing, that goes on.
    pub fn span(&mut self, drift: &Drift) {
        if drift.missing == 0 {
            return;
        }
        match (self.since, drift.until) {
            (Some(since), _) => self.since = Some(since.min(drift.since)),
            (None, None) => self.since = Some(drift.since),
            (None, Some(until)) => self.add(drift.since, until),
        }
    }

    fn add(&mut self, since: Timestamp, until: Timestamp) {
        let until = until.max(since);
        match self.last {
            // What both have is counted once.
            Some((first, last)) if since <= last && until >= first => {
                self.total = plus(plus(self.total, first - since), until - last);
                self.last = Some((first.min(since), last.max(until)));
            }
            Some((first, _)) if until < first => self.total = plus(self.total, until - since),
            _ => {
                self.total = plus(self.total, until - since);
                self.last = Some((since, until));
            }
        }
    }

    /// How long in all, up to now.
    #[must_use]
    pub fn total(&self, now: Timestamp) -> Seconds {
        let mut closed = self.clone();
        closed.set(now, false);
        closed.total
    }

    /// The last moment at which it did not; now, if it does not now.
    #[must_use]
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        if self.since.is_some() {
            Some(now)
        } else {
            self.last.map(|(_, until)| until)
        }
    }

    /// How many drifts were found.
    #[must_use]
    pub fn drifts(&self) -> u64 {
        self.drifts
    }
}

fn plus(total: Seconds, more: Seconds) -> Seconds {
    Seconds::from_micros(total.micros().saturating_add(more.micros().max(0)))
}
