//! What a layer is told of a rule that was read: that it holds what it should, or how it differed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::Output;
use super::group::{Ban, Group, Place};
use super::part::Part;
use crate::ledger::{Drift, LayerId, Reading};
use crate::time::{Seconds, Timestamp};

/// Reads of the rules of a group that lie no further apart count as one.
const ROUND: Seconds = Seconds::new(120);

/// What differs from what was there before, and is to be mended.
pub(super) struct Difference {
    pub(super) rule: Arc<str>,
    pub(super) missing: BTreeSet<IpNet>,
    pub(super) extra: usize,
}

impl Group {
    /// Tells the layers what differed, or that nothing does.
    pub(super) fn report(&mut self, now: Timestamp, difference: &Difference, out: &mut Vec<Output>) {
        self.forget_drift(&difference.rule);
        if difference.missing.is_empty() && difference.extra == 0 {
            if self.adrift.is_empty() && self.is_round(now) {
                self.whole_at = Some(now);
                let held = self.count(|ban| ban.is_verified());
                out.extend(self.layers.keys().map(|layer| reading(layer, &held, None)));
            }
            return;
        }
        let is_missing = |ban: &Ban| {
            let place = &ban.place;
            matches!(place, Place::In(rule, by) if *rule == difference.rule && difference.missing.contains(by))
        };
        let (held, missing) = (self.count(|ban| ban.is_verified()), self.count(is_missing));
        for layer in self.layers.keys() {
            let missing = missing.get(layer).copied().unwrap_or(0);
            if missing > 0 || difference.extra > 0 {
                let drift = difference.drift(self.whole_at.unwrap_or(now), missing);
                out.push(reading(layer, &held, Some(drift)));
            }
        }
        let news = difference
            .missing
            .iter()
            .map(|range| (Arc::clone(&difference.rule), *range));
        self.adrift.extend(news);
        // The layers are told that all is well again by a round of reads.
        for part in self.parts.iter_mut().filter(|part| part.name != difference.rule) {
            part.read_by = None;
        }
    }

    /// What is back in a rule, or wanted no more, is adrift no more.
    fn forget_drift(&mut self, name: &Arc<str>) {
        let Some(part) = self.parts.iter().find(|part| part.name == *name) else {
            return self.adrift.retain(|(rule, _)| rule != name);
        };
        self.adrift
            .retain(|(rule, range)| rule != name || part.wanted.contains(range) && !part.holds(range));
    }

    /// Whether all rules were read by now, and nothing was written since.
    fn is_round(&self, now: Timestamp) -> bool {
        let is_read = |part: &Part| part.found().is_some_and(|found| found.at.steady + ROUND >= now);
        let mut used = self
            .parts
            .iter()
            .filter(|part| self.is_base(part) || !part.wanted.is_empty());
        let is_unread = |ban: &Ban| ban.is_confirmed() && !ban.is_verified();
        used.all(is_read) && !self.bans.values().any(is_unread)
    }

    fn count(&self, counts: impl Fn(&Ban) -> bool) -> BTreeMap<LayerId, usize> {
        let mut all: BTreeMap<LayerId, usize> = BTreeMap::new();
        for layer in self.bans.values().filter(|ban| counts(ban)).flat_map(Ban::layers) {
            match all.get_mut(layer) {
                Some(count) => *count += 1,
                None => _ = all.insert(layer.clone(), 1),
            }
        }
        all
    }
}

fn reading(layer: &LayerId, held: &BTreeMap<LayerId, usize>, drift: Option<Drift>) -> Output {
    Output::Read(Reading {
        layer: layer.clone(),
        held: held.get(layer).copied().unwrap_or(0),
        drift,
    })
}

impl Difference {
    fn drift(&self, since: Timestamp, missing: usize) -> Drift {
        let rule = &self.rule;
        let what = match (self.missing.len(), self.extra) {
            (0, extra) => format!("{extra} lifted entries were back in rule {rule}"),
            (gone, 0) => format!("{gone} entries were missing from rule {rule}"),
            (gone, extra) => {
                format!("{gone} entries were missing from rule {rule}, and {extra} lifted ones were back")
            }
        };
        Drift {
            since,
            until: None,
            missing,
            extra: self.extra,
            moved: 0,
            what,
            by: None,
        }
    }
}
