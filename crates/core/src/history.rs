//! Who was banned before: Fail2Ban's table `bips`, as far as decisions need it.
//!
//! In come the rows that an earlier run kept and each ban that is kept now; out comes how often somebody was banned, in
//! one jail or in all (contract §4.5). Nothing is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::Id;
use crate::handful::Handful;
use crate::time::{Seconds, Timestamp};

/// The last ban of somebody in one jail; over all jails, the sum of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// Which ban it was; 1 is the first.
    pub count: u32,
    /// The failure that it stands on, on the steady clock, to the whole second of the wall clock.
    pub time: Timestamp,
    /// How long it was.
    pub bantime: Seconds,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct History {
    known: BTreeMap<Id, Handful<Past>>,
}

impl History {
    /// Notes the latest ban of somebody in a jail.
    pub fn note(&mut self, jail: &Arc<str>, id: &Id, past: Past) {
        self.known.entry(id.clone()).or_default().insert(jail, past);
    }

    /// Forgets somebody in a jail.
    pub fn forget(&mut self, jail: &str, id: &Id) {
        if let Some(jails) = self.known.get_mut(id) {
            jails.remove(jail);
            if jails.is_empty() {
                self.known.remove(id);
            }
        }
    }

    /// Forgets everybody in a jail.
    pub fn empty(&mut self, jail: &str) {
        self.known.retain(|_, jails| {
            jails.remove(jail);
            !jails.is_empty()
        });
    }

    /// The last ban in one jail.
    #[must_use]
    pub fn of(&self, jail: &str, id: &Id) -> Option<Past> {
        self.known.get(id)?.get(jail).copied()
    }

    /// The bans in all jails: their number, the time of the latest, their length together.
    #[must_use]
    pub fn overall(&self, id: &Id) -> Option<Past> {
        let pasts = self.known.get(id)?.iter().map(|(_, past)| *past);
        pasts.reduce(|all, one| Past {
            count: all.count.saturating_add(one.count),
            time: all.time.max(one.time),
            bantime: Seconds::from_micros(all.bantime.micros().saturating_add(one.bantime.micros())),
        })
    }

    /// Forgets whom Fail2Ban's table forgets: whose ban, taken three times as long, was over `before` (contract §7.3).
    pub fn purge(&mut self, before: Timestamp) {
        self.known.retain(|_, jails| {
            jails.retain(|past| {
                let thrice = Seconds::from_micros(past.bantime.micros().saturating_mul(3));
                past.bantime.is_forever() || past.time >= before || past.time + thrice >= before
            });
            !jails.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_jail_all_jails_and_nobody() {
        let mut history = History::default();
        let id = Id::parse("192.0.2.1").unwrap();
        let past = |count, time, bantime| Past {
            count,
            time: Timestamp::from_seconds(time),
            bantime: Seconds::new(bantime),
        };
        history.note(&"a".into(), &id, past(1, 100, 600));
        history.note(&"a".into(), &id, past(2, 900, 1200));
        history.note(&"b".into(), &id, past(3, 500, 60));
        assert_eq!(history.of("a", &id), Some(past(2, 900, 1200)));
        assert_eq!(history.of("c", &id), None);
        assert_eq!(history.overall(&id), Some(past(5, 900, 1260)));
        history.purge(Timestamp::from_seconds(700));
        assert_eq!(history.of("b", &id), None, "500 + 3 × 60 is before 700");
        history.forget("a", &id);
        assert_eq!(history.overall(&id), None);
    }
}
