//! Verdicts that are kept for a while: `ignorecache` (contract §4.1).

use std::collections::BTreeMap;

use crate::time::{Seconds, Timestamp};

/// Verdicts by key, the oldest dropped first. A verdict that is put again keeps its place in that order, as in
/// Fail2Ban.
#[derive(Clone, Debug)]
pub struct Cache {
    most: usize,
    lasts: Seconds,
    verdicts: BTreeMap<Vec<String>, Verdict>,
    order: BTreeMap<u64, Vec<String>>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Verdict {
    allowed: bool,
    until: Timestamp,
    place: u64,
}

impl Cache {
    /// An empty one for `most` verdicts (one at least), each believed for so long.
    #[must_use]
    pub fn new(most: usize, lasts: Seconds) -> Self {
        Cache {
            most,
            lasts,
            verdicts: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
        }
    }

    /// What was found out under this key.
    pub fn get(&mut self, now: Timestamp, key: &[String]) -> Option<bool> {
        let verdict = self.verdicts.get(key)?;
        if verdict.until > now {
            return Some(verdict.allowed);
        }
        self.order.remove(&verdict.place);
        self.verdicts.remove(key);
        None
    }

    /// Keeps a verdict. A full cache makes room: outdated ones go until one that is none has gone, too.
    pub fn put(&mut self, now: Timestamp, key: Vec<String>, allowed: bool) {
        if self.verdicts.len() >= self.most {
            while let Some((_, oldest)) = self.order.pop_first() {
                let gone = self.verdicts.remove(&oldest);
                if gone.is_some_and(|gone| gone.until > now) && self.verdicts.len() < self.most {
                    break;
                }
            }
        }
        let place = self.verdicts.get(&key).map_or(self.next, |old| old.place);
        self.next = self.next.max(place + 1);
        self.order.insert(place, key.clone());
        let until = now + self.lasts;
        self.verdicts.insert(key, Verdict { allowed, until, place });
    }
}
