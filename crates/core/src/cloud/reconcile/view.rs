//! How things stand, for people.

use super::group::{Group, Place};
use super::part::Part;
use super::plan::Around;
use super::{Reconciler, RuleView, View};
use crate::time::Clock;

impl Reconciler {
    /// How things stand, for status, `gcp status` and `gcp plan`.
    #[must_use]
    pub fn view(&self, _now: Clock) -> View {
        let around = Around {
            host: &self.host,
            protected: &self.protected,
            books: &self.books,
        };
        let mut view = View {
            under_way: self.work.as_ref().map(super::work::Work::text),
            writes: self.writes,
            trouble: self.trouble.as_ref().map(|(_, text)| text.clone()),
            ..View::default()
        };
        for group in self.groups.values() {
            view.rules
                .extend(group.parts.iter().map(|part| group.rule_view(part, &around)));
            group.bans_view(&mut view);
        }
        view.rules.sort_by_key(|rule| rule.name != rule.base);
        view
    }
}

impl Group {
    fn rule_view(&self, part: &Part, around: &Around<'_>) -> RuleView {
        let account = around.books.rules.get(&*part.name);
        let draft = self.draft(part, around, false);
        let (draft, fault) = match draft {
            Ok(draft) => (draft, None),
            Err(fault) => (None, Some(fault)),
        };
        let (adds, removes) = draft.map(|draft| (draft.adds, draft.removes)).unwrap_or_default();
        let of_base = self.failing.as_ref().filter(|_| self.is_base(part) && !self.is_ready());
        RuleView {
            name: part.name.to_string(),
            base: self.base().to_owned(),
            read: part.found().map(|found| found.rule.source_ranges.clone()),
            read_at: part.found().map(|found| found.at.wall),
            wanted: part.wanted.iter().copied().collect(),
            foreign: self.foreign(part, around.books),
            adds,
            removes,
            limit: account.and_then(|account| account.limit).or(self.options.max_ranges),
            is_own: self.obeys(part, around.host),
            refused: part
                .refused
                .clone()
                .or(fault)
                .or(of_base.map(|failing| failing.text.clone())),
        }
    }

    fn bans_view(&self, view: &mut View) {
        for (range, ban) in &self.bans {
            match &ban.place {
                Place::Protected(why) => view.protected.push((*range, why.clone())),
                Place::Local(why) => view.local(why),
                Place::Evicted => view.evicted.push(*range),
                Place::Open | Place::In(..) | Place::Freed => {}
            }
            if ban.waits() {
                view.oldest = Some(view.oldest.map_or(ban.since, |oldest| oldest.min(ban.since)));
            }
        }
    }
}

impl View {
    fn local(&mut self, why: &str) {
        let (count, _) = self.local_only.get_or_insert_with(|| (0, why.to_owned()));
        *count += 1;
    }
}
