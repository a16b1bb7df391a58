//! Which base rule a name belongs to, where several actions' rules could be called the same: no two ever write one rule.
//!
//! `block-ip-2` is the second rule of `block-ip`, and may be the base rule of another action. A name that is a base
//! rule's own, or was made for one, is that one's; else it is that of the longest base rule that it could be a part of.
//! The others leave it out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::group::Group;
use super::{Loudness, Output, Reconciler};
use crate::address::Family;
use crate::cloud::desired::{rule_name, rule_number};

impl Reconciler {
    /// Why an action may not ban in this base rule, if it may not: it is a part of another.
    pub(super) fn clash(&self, rule: &str) -> Option<String> {
        let base = self.books.rules.get(rule)?.base.as_deref()?;
        Some(format!(
            "rule {rule} was made by portcullis as one of the further rules of {base}, and no two actions write one rule; \
             mend: make a rule with another name, as gcloud compute firewall-rules create has it, and name that one in \
             the action"
        ))
    }

    /// Settles anew which names each base rule leaves out, and says so.
    pub(super) fn settle_names(&mut self, out: &mut Vec<Output>) {
        let bases: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for base in bases {
            let names = self.groups.get(&base).into_iter().flat_map(Group::names);
            let names = names.filter_map(|name| {
                let owner = self.owner(&name).filter(|owner| *owner != base)?;
                Some((Arc::from(name), owner))
            });
            let taken: BTreeMap<Arc<str>, Arc<str>> = names.collect();
            let Some(group) = self.groups.get_mut(&base).filter(|group| group.taken != taken) else {
                continue;
            };
            group.is_dirty = true;
            group.unseen.retain(|name| !taken.contains_key(name));
            group.parts.retain(|part| !taken.contains_key(&part.name));
            out.extend(taken.first_key_value().map(|(name, owner)| {
                let text = format!(
                    "the further rules of {base} leave out {name}, which is {owner}'s, the rule of another action; a name \
                     for one of the two that does not begin with the other's needs no such care"
                );
                Output::Note(Loudness::Notice, text)
            }));
            group.taken = taken;
        }
    }

    /// The base rule of those in use that a name belongs to.
    pub(super) fn owner(&self, name: &str) -> Option<Arc<str>> {
        let made = self.books.rules.get(name).and_then(|account| account.base.as_deref());
        let made = made.and_then(|base| self.groups.get_key_value(base));
        if let Some((base, _)) = made {
            return Some(Arc::clone(base));
        }
        if let Some((base, _)) = self.groups.get_key_value(name) {
            return Some(Arc::clone(base));
        }
        let mut all = self.groups.keys().filter(|base| rule_number(base, name).is_some());
        let first = all.next()?;
        let longest = all.fold(first, |known, base| if base.len() > known.len() { base } else { known });
        Some(Arc::clone(longest))
    }
}

impl Group {
    /// What its further rules may be called, from the first on.
    pub(super) fn further(&self) -> impl Iterator<Item = String> {
        let most = self.options.max_rules.max(1);
        let families = [Family::Inet4, Family::Inet6].into_iter();
        families.flat_map(move |family| {
            let first = if family == Family::Inet4 { 2 } else { 1 };
            (first..=most).map(move |number| rule_name(self.base(), family, number))
        })
    }

    /// What its further rules may be called, and are.
    fn names(&self) -> impl Iterator<Item = String> {
        let parts = self.parts.iter().filter(|part| !self.is_base(part));
        self.further().chain(parts.map(|part| part.name.to_string()))
    }
}
