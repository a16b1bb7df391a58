//! From a group's bans to what each of its rules is to hold, and where each ban is to be made true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::draft::beyond;
use super::group::{Group, Place};
use super::part::Part;
use super::{Host, Loudness, Output};
use crate::address::Family;
use crate::cloud::books::{Claim, State};
use crate::cloud::desired::{self, Desired, MAX_RANGES, Present, Situation, rule_name};
use crate::cloud::is_sentinel;
use crate::ledger::Standing;
use crate::time::Clock;

/// What a group is planned and written by, besides itself.
pub(super) struct Around<'a> {
    pub(super) host: &'a Host,
    pub(super) protected: &'a [(IpNet, String)],
    pub(super) books: &'a State,
}

/// What stands before the reason why a ban of an IPv6 address is in the kernel alone.
const LOCAL: &str = "IPv6 stays local: ";
/// Bans without room that one line names.
const NAMED: usize = 10;

impl Group {
    /// Plans anew. Gives the entries of the books that turned out to be wanted no more, by rule.
    pub(super) fn plan(&mut self, now: Clock, around: &Around<'_>, out: &mut Vec<Output>) -> Vec<(Arc<str>, IpNet)> {
        self.reopen(now);
        let desired = self.desire(around);
        for part in &mut self.parts {
            part.wanted.clear();
        }
        for share in &desired.shares {
            if self.part(&share.rule).is_none() {
                self.parts.push(Part::new(&share.rule, share.family));
            }
            if let Some(part) = self.part_mut(&share.rule) {
                part.wanted = share.ranges.iter().copied().collect();
            }
        }
        let base = self.options.rule.clone();
        self.parts.sort_by_key(|part| desired::rule_number(&base, &part.name));
        self.place(&desired, out);
        self.name_evicted(&desired, out);
        self.is_dirty = false;
        self.unwanted(around.books)
    }

    /// What was known for a time only is open again.
    fn reopen(&mut self, now: Clock) {
        if self.closed.as_ref().is_some_and(|(until, _)| *until <= now.steady) {
            self.closed = None;
        }
        if self.local_six.as_ref().is_some_and(|(until, _)| *until <= now.steady) {
            self.local_six = None;
        }
    }

    /// The most entries that a rule takes, the sentinel among them.
    pub(super) fn most(&self, books: &State) -> usize {
        let of = |part: &Part| books.rules.get(&*part.name).and_then(|account| account.limit);
        let learned = self.parts.iter().filter_map(of).min();
        let set = self.options.max_ranges.unwrap_or(MAX_RANGES);
        learned.map_or(set, |learned| learned.min(set))
    }

    fn desire(&self, around: &Around<'_>) -> Desired {
        let in_force = |(range, ban): (&IpNet, &super::group::Ban)| desired::Ban {
            range: *range,
            until: ban.until(),
            bancount: ban.bancount(),
        };
        let is_open =
            |(range, ban): &(&IpNet, &super::group::Ban)| !ban.is_freed() && !self.quarantine.contains_key(*range);
        let bans: Vec<desired::Ban> = self.bans.iter().filter(is_open).map(in_force).collect();
        let ipv6 = self.ipv6(around.host);
        Desired::of(&Situation {
            base: self.base(),
            bans: &bans,
            protected: around.protected,
            max_ranges: self.most(around.books),
            max_rules: self.options.max_rules,
            allow_private: self.options.allow_private,
            ipv6: ipv6.as_ref().copied().map_err(String::as_str),
            present: &self.present(around.books),
        })
    }

    /// Whether there may be rules for IPv6; else why not.
    fn ipv6(&self, host: &Host) -> Result<(), String> {
        if !host.has_ipv6 {
            return Err("this machine has no external IPv6 address".to_owned());
        }
        if let Some((_, why)) = &self.local_six {
            return Err(why.clone());
        }
        let six = rule_name(self.base(), Family::Inet6, 1);
        if let Some(owner) = self.taken.get(six.as_str()) {
            return Err(format!(
                "rule {six} is {owner}'s, the rule of another action; mend: give one of the two another name"
            ));
        }
        let part = self.part(&six);
        if let Some(why) = part.and_then(|part| part.refused.clone()) {
            return Err(why);
        }
        let is_there = part.is_some_and(|part| !part.is_missing());
        match &self.closed {
            Some((_, why)) if !is_there => Err(why.clone()),
            _ => Ok(()),
        }
    }

    fn present(&self, books: &State) -> BTreeMap<String, Present> {
        let mut all = BTreeMap::new();
        for part in &self.parts {
            let account = books.rules.get(&*part.name);
            let claims = account.map(|account| &account.claims);
            // What is planned or meant and not there has no place yet that it would have to keep; what is there keeps
            // its own, and takes up no more than all that is there. A rule that vanished is made again as it was.
            let ours: BTreeSet<IpNet> = match part.found() {
                Some(found) => {
                    let is_ours = |range: &&IpNet| {
                        self.bans.contains_key(*range) || claims.is_some_and(|claims| claims.contains_key(*range))
                    };
                    found.ranges.iter().filter(is_ours).copied().collect()
                }
                None => {
                    let held = claims.into_iter().flatten().filter(|(_, claim)| **claim != Claim::Gone);
                    held.map(|(range, _)| *range).collect()
                }
            };
            let present = Present {
                ours,
                foreign: self.foreign(part, books),
                limit: account.and_then(|account| account.limit),
                is_closed: part.refused.is_some() || self.closed.is_some() && part.is_missing() && !self.is_base(part),
            };
            all.insert(part.name.to_string(), present);
        }
        let closed = || Present {
            is_closed: true,
            ..Present::default()
        };
        all.extend(self.taken.keys().map(|name| (name.to_string(), closed())));
        if self.closed.is_some() {
            let families = [Family::Inet4, Family::Inet6];
            let names = families.iter().flat_map(|&family| {
                (1..=self.options.max_rules).map(move |number| rule_name(self.base(), family, number))
            });
            for name in names.filter(|name| *name != self.options.rule) {
                all.entry(name).or_insert_with(closed);
            }
        }
        all
    }

    /// Whether this is the rule that the configuration names.
    pub(super) fn is_base(&self, part: &Part) -> bool {
        *part.name == *self.options.rule
    }

    /// Entries that are somebody else's and take up room. What we ban as well is counted with our own.
    pub(super) fn foreign(&self, part: &Part, books: &State) -> usize {
        let Some(found) = part.found() else { return 0 };
        let is_foreign = |range: &&IpNet| {
            !is_sentinel(range) && !self.bans.contains_key(*range) && books.claim(&part.name, range).is_none()
        };
        found.ranges.iter().filter(is_foreign).count()
    }

    /// Each ban learns where it is to be made true.
    fn place(&mut self, desired: &Desired, out: &mut Vec<Output>) {
        let names: Vec<Arc<str>> = desired
            .shares
            .iter()
            .map(|share| Arc::from(share.rule.as_str()))
            .collect();
        let protected: BTreeMap<IpNet, &String> = desired.protected.iter().map(|(range, why)| (*range, why)).collect();
        let local: BTreeSet<IpNet> = desired.local.iter().copied().collect();
        let reads: BTreeMap<&str, &Part> = self.parts.iter().map(|part| (&*part.name, part)).collect();
        // What stands there already is confirmed by a look, not by a write.
        let mut unread: BTreeSet<Arc<str>> = BTreeSet::new();
        for (range, ban) in &mut self.bans {
            if ban.is_freed() {
                continue;
            }
            let place = desired
                .places
                .get(range)
                .and_then(|place| Some((names.get(place.share)?, place.range)));
            if let Some((rule, entry)) = place {
                if !matches!(ban.place, Place::In(..) | Place::Open) {
                    ban.stand(&Standing::Decided, out);
                }
                ban.place = Place::In(Arc::clone(rule), entry);
                if !ban.is_confirmed() && reads.get(&**rule).is_some_and(|part| part.holds(&entry)) {
                    unread.insert(Arc::clone(rule));
                }
                continue;
            }
            let (place, standing) = if let Some(why) = protected.get(range) {
                (Place::Protected((*why).clone()), Standing::Protected((*why).clone()))
            } else if let Some(words) = self.quarantine.get(range) {
                (
                    Place::Evicted,
                    Standing::Failed(format!("the API refuses this entry: {words}")),
                )
            } else if local.contains(range) {
                let why = desired.local_because.clone().unwrap_or_default();
                (Place::Local(why.clone()), Standing::Protected(format!("{LOCAL}{why}")))
            } else {
                (Place::Evicted, Standing::Failed(super::NO_ROOM.to_owned()))
            };
            ban.place = place;
            ban.stand(&standing, out);
        }
        for part in self.parts.iter_mut().filter(|part| unread.contains(&part.name)) {
            part.read_by = None;
        }
    }

    /// Bans that found no room are named, once.
    fn name_evicted(&mut self, desired: &Desired, out: &mut Vec<Output>) {
        let evicted: BTreeSet<IpNet> = desired.evicted.iter().copied().collect();
        let news: Vec<String> = evicted.difference(&self.evicted).map(IpNet::to_string).collect();
        if !news.is_empty() {
            let rest = news.len().saturating_sub(NAMED);
            let more = if rest > 0 {
                format!(" and {rest} more")
            } else {
                String::new()
            };
            let named = news.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let why = self
                .closed
                .as_ref()
                .map(|(_, why)| format!(" ({why})"))
                .unwrap_or_default();
            let text = format!(
                "the rules of {} are full{why}: evicted {named}{more}; the kernel still holds all bans",
                self.base()
            );
            out.push(Output::Note(Loudness::Warning, text));
        }
        self.evicted = evicted;
    }

    /// What is ours by the books and not wanted.
    fn unwanted(&self, books: &State) -> Vec<(Arc<str>, IpNet)> {
        let mut all = Vec::new();
        for part in &self.parts {
            let claims = books.rules.get(&*part.name).map(|account| &account.claims);
            let ours = claims.into_iter().flatten().filter(|(_, claim)| **claim != Claim::Gone);
            let going = beyond(ours.map(|(range, _)| range), part.wanted.iter());
            all.extend(going.map(|range| (Arc::clone(&part.name), *range)));
        }
        all
    }
}
