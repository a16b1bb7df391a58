//! What a read of a rule tells: which of our entries are there, which vanished, and who is to hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::drift::Difference;
use super::group::{Cause, Group, Place};
use super::part::{Found, Part, Presence};
use super::turn::{EXPIRY, age};
use super::work::{Target, Work};
use super::{Host, Loudness, Output, Reconciler};
use crate::cloud::books::{Claim, Entry, State};
use crate::cloud::desired::rule_number;
use crate::cloud::rule::Rule;
use crate::ledger::Standing;
use crate::time::{Clock, Seconds, Timestamp};

/// Every rule is read so often, with jitter.
const REVIEW: (Seconds, Seconds) = (Seconds::new(27 * 60), Seconds::new(33 * 60));
/// A base rule that may not be written is looked at so often.
const UNFIT: Seconds = Seconds::new(60);
/// As many entries as somebody may take out at a time by hand; more is an accident, or another writer.
const BY_HAND: usize = 3;
/// An entry that was lifted and is back is taken out again as often in a shared rule, where another writer may have
/// put it back by mistake: after that it is theirs.
const PATIENCE: u32 = 3;
/// What a read shows.
#[derive(Default)]
struct Finding {
    entries: Vec<Entry>,
    /// Ours, read there before, and not there
    vanished: Vec<IpNet>,
    /// Ours, read there before, vanished or not
    held: usize,
    /// To be gone, and back again
    back: usize,
    /// Whether something stands there that is to go
    has_leftovers: bool,
}

impl Reconciler {
    pub(super) fn was_read(&mut self, now: Clock, work: &Work, rule: Rule, out: &mut Vec<Output>) {
        let Target { base, rule: name } = &work.target;
        let review = now.steady + self.dice.between(REVIEW.0, REVIEW.1);
        let Some(group) = self.groups.get_mut(base) else { return };
        group.mend(Cause::Read, out);
        group.retry_at = None;
        group.idle_plan = None;
        let before = group.part(name).map(|part| group.foreign(part, &self.books));
        let Some(part) = group.part_mut(name) else { return };
        let was_here = part.found().is_some();
        part.presence = Presence::Here(Box::new(Found::new(rule, now)));
        part.read_by = Some(review);
        if !self.accept(now, base, name, out) || !self.adopt(now.steady, base, name, out) {
            return;
        }
        let Some(group) = self.groups.get_mut(base) else { return };
        let after = group.part(name).map(|part| group.foreign(part, &self.books));
        if before != after || !was_here {
            group.is_dirty = true;
        }
        if group.is_dirty {
            self.replan(now, base, out);
        }
        self.compare(now, base, name, out);
        self.settle_accounts(base);
    }

    /// Whether the rule may be written, as it was read; says so where it may not.
    fn accept(&mut self, now: Clock, base: &Arc<str>, name: &Arc<str>, out: &mut Vec<Output>) -> bool {
        let Some(group) = self.groups.get_mut(base) else {
            return false;
        };
        let Some(part) = group.part(name) else { return false };
        let refusal = group.refusal(now, part, &self.host);
        let is_base = group.is_base(part);
        let is_news = part.refused != refusal;
        group.is_dirty |= is_news;
        if let Some(part) = group.part_mut(name) {
            part.refused.clone_from(&refusal);
            if refusal.is_some() && is_base {
                part.read_by = Some(now.steady + UNFIT);
            }
        }
        match refusal {
            None if is_base => group.mend(Cause::Rule, out),
            None => {}
            Some(text) if is_base => group.fail(text, Cause::Rule, out),
            Some(text) => {
                if is_news {
                    out.push(Output::Note(Loudness::Warning, text));
                }
                let lost = self.lost_claims(base, name);
                self.keep(lost, out);
            }
        }
        let group = self.groups.get(base);
        group
            .and_then(|group| group.part(name))
            .is_some_and(|part| part.refused.is_none())
    }

    /// What we meant to have in a rule, and is not there, where it is wanted no more.
    fn lost_claims(&self, base: &Arc<str>, name: &Arc<str>) -> Vec<Entry> {
        let part = self.groups.get(base).and_then(|group| group.part(name));
        let claims = self.books.rules.get(&**name).map(|account| &account.claims);
        let absent = claims
            .into_iter()
            .flatten()
            .filter(|(range, _)| part.is_none_or(|part| !part.holds(range)));
        let forget = |(range, _): (&IpNet, &Claim)| Entry::Forget {
            rule: name.to_string(),
            range: *range,
        };
        absent.map(forget).collect()
    }

    /// Compares what was read with the books and the plan.
    fn compare(&mut self, now: Clock, base: &Arc<str>, name: &Arc<str>, out: &mut Vec<Output>) {
        let operation = self.pace.operation();
        let Some(group) = self.groups.get_mut(base) else { return };
        let Some(at) = group.parts.iter().position(|part| part.name == *name) else {
            return;
        };
        let freed: BTreeSet<IpNet> = group
            .bans
            .iter()
            .filter(|(_, ban)| ban.is_freed())
            .map(|(range, _)| *range)
            .collect();
        let Some(part) = group.parts.get(at) else { return };
        let is_obeyed = group.obeys(part, &self.host);
        let patience = if is_obeyed { 0 } else { PATIENCE };
        let Some(part) = group.parts.get_mut(at) else { return };
        let mut finding = part.examine(now.steady, (operation, patience), (&self.books, &freed));
        let is_by_hand = is_obeyed && !finding.is_mass();
        let mut missing = BTreeSet::new();
        let mut taken = Vec::new();
        let Some(part) = group.parts.get_mut(at) else { return };
        if is_by_hand {
            taken = part.suspect(now.steady, operation, &finding.vanished);
        } else {
            part.suspects.clear();
            missing.extend(finding.vanished.iter().copied());
            // Nobody is to take them for taken out by hand later, when some of them are back.
            finding.entries.extend(missing.iter().map(|range| Entry::Put {
                rule: name.to_string(),
                range: *range,
                claim: Claim::Want,
            }));
        }
        if finding.has_leftovers {
            group.loose_since.get_or_insert(now.steady);
        }
        for entry in taken {
            group.free(name, &entry, out);
        }
        let difference = Difference {
            rule: Arc::clone(name),
            missing,
            extra: finding.back,
        };
        self.keep(finding.entries, out);
        if let Some(group) = self.groups.get_mut(base) {
            group.stand(name, out);
            group.report(now.steady, &difference, out);
        }
    }

    /// The rule is not there.
    pub(super) fn was_missing(&mut self, now: Clock, work: &Work, text: String, out: &mut Vec<Output>) {
        let Target { base, rule: name } = &work.target;
        let review = now.steady + self.dice.between(REVIEW.0, REVIEW.1);
        let Some(group) = self.groups.get_mut(base) else { return };
        group.mend(Cause::Read, out);
        group.idle_plan = None;
        let is_base = **name == *group.base();
        let Some(part) = group.part_mut(name) else { return };
        let was_missing = part.is_missing();
        part.presence = Presence::Missing;
        part.refused = None;
        part.suspects.clear();
        part.read_by = Some(if is_base { now.steady + UNFIT } else { review });
        if is_base {
            group.fail(text, Cause::Rule, out);
        }
        if !was_missing {
            group.is_dirty = true;
        }
        if group.is_dirty && group.is_ready() {
            self.replan(now, base, out);
        }
        self.compare_with_nothing(now, (base, name), out);
        self.settle_accounts(base);
    }

    /// All that was in the rule has vanished with it, and nobody meant the single entries.
    fn compare_with_nothing(&mut self, now: Clock, (base, name): (&Arc<str>, &Arc<str>), out: &mut Vec<Output>) {
        let Some(group) = self.groups.get_mut(base) else { return };
        let Some(part) = group.part(name) else { return };
        let account = self.books.rules.get(&**name);
        let rule = || name.to_string();
        let mut missing = BTreeSet::new();
        let mut entries = Vec::new();
        for (&range, claim) in account.map(|account| &account.claims).into_iter().flatten() {
            match (part.wanted.contains(&range), claim) {
                (true, Claim::Held) => {
                    missing.insert(range);
                    entries.push(Entry::Put {
                        rule: rule(),
                        range,
                        claim: Claim::Want,
                    });
                }
                (true, Claim::Want | Claim::Gone) => {}
                (false, _) => entries.push(Entry::Forget { rule: rule(), range }),
            }
        }
        if part.wanted.is_empty() && !group.is_base(part) && account.is_some() {
            entries.push(Entry::Unmake { rule: rule() });
        }
        let difference = Difference {
            rule: Arc::clone(name),
            missing,
            extra: 0,
        };
        self.keep(entries, out);
        if let Some(group) = self.groups.get_mut(base) {
            let is_kept =
                |part: &Part| !part.is_missing() || !part.wanted.is_empty() || *part.name == *group.options.rule;
            group.parts.retain(is_kept);
            group.stand(name, out);
            group.report(now.steady, &difference, out);
        }
    }

    /// A group for which nobody bans any more, and of which nothing is left, is no concern of ours.
    fn settle_accounts(&mut self, base: &Arc<str>) {
        let Some(group) = self.groups.get(base) else { return };
        let is_left = |part: &Part| {
            let account = self.books.rules.get(&*part.name);
            account.is_some_and(|account| !account.claims.is_empty() || account.base.is_some())
        };
        if group.layers.is_empty() && group.bans.is_empty() && !group.parts.iter().any(is_left) {
            self.groups.remove(base);
        }
    }
}

impl Finding {
    /// Whether more vanished than a person takes out by hand. One alone is always somebody's.
    fn is_mass(&self) -> bool {
        let vanished = self.vanished.len();
        vanished > BY_HAND || vanished > 1 && vanished * 10 > self.held
    }
}

impl Part {
    /// Holds what was read against the books.
    fn examine(
        &mut self,
        now: Timestamp,
        (operation, patience): (Seconds, u32),
        (books, freed): (&State, &BTreeSet<IpNet>),
    ) -> Finding {
        let mut finding = Finding::default();
        let rule = || self.name.to_string();
        let mut look_again = None;
        for (&range, &claim) in books
            .rules
            .get(&*self.name)
            .map(|account| &account.claims)
            .into_iter()
            .flatten()
        {
            let is_there = self.found().is_some_and(|found| found.set.contains(&range));
            let is_wanted = self.wanted.contains(&range);
            if is_wanted {
                finding.held += usize::from(claim == Claim::Held || is_there);
            }
            if is_wanted {
                self.returns.remove(&range);
                self.absent.remove(&range);
            } else if is_there && self.absent.remove(&range).is_some() {
                let returns = self.returns.entry(range).or_insert(0);
                *returns += 1;
                if *returns > patience {
                    // Whoever puts it back again and again, or where nobody else writes, means it.
                    self.returns.remove(&range);
                    finding.entries.push(Entry::Forget { rule: rule(), range });
                    continue;
                }
                finding.back += 1;
            }
            match (is_there, is_wanted) {
                (true, true) if claim != Claim::Held => finding.entries.push(Entry::Put {
                    rule: rule(),
                    range,
                    claim: Claim::Held,
                }),
                (true, true) => {}
                (true, false) => finding.has_leftovers = true,
                (false, true) if claim == Claim::Held => finding.vanished.push(range),
                (false, true) => {}
                (false, false) if freed.iter().any(|net| net.contains(&range) || range.contains(net)) => {}
                (false, false) => {
                    let again = stays_away(&mut self.absent, range, (now, operation));
                    if again.is_none() {
                        self.returns.remove(&range);
                        finding.entries.push(Entry::Forget { rule: rule(), range });
                    }
                    look_again = look_again.max(again);
                }
            }
        }
        if let Some(at) = look_again {
            self.read_before(at);
        }
        let is_empty = self.wanted.is_empty() && self.is_bare();
        self.empty_since = self.empty_since.or(Some(now)).filter(|_| is_empty);
        finding
    }

    /// These vanished from a rule that is ours alone. Gives those that are still not there after an operation's time:
    /// somebody took them out.
    fn suspect(&mut self, now: Timestamp, operation: Seconds, vanished: &[IpNet]) -> Vec<IpNet> {
        let still: BTreeSet<&IpNet> = vanished.iter().collect();
        self.suspects.retain(|range, _| still.contains(range));
        let mut taken = Vec::new();
        let mut look_again = None;
        for range in vanished {
            let again = stays_away(&mut self.suspects, *range, (now, operation));
            if again.is_none() {
                taken.push(*range);
            }
            look_again = look_again.max(again);
        }
        if let Some(at) = look_again {
            self.read_before(at);
        }
        taken
    }
}

/// A range was not there when the rule was read. When to look again; none once it was away for longer than an operation
/// takes, and is not counted any more.
fn stays_away(
    away: &mut BTreeMap<IpNet, Timestamp>,
    range: IpNet,
    (now, operation): (Timestamp, Seconds),
) -> Option<Timestamp> {
    let first = *away.entry(range).or_insert(now);
    let is_over = now - first > operation;
    if is_over {
        away.remove(&range);
    }
    (!is_over).then(|| first + operation + Seconds::new(1))
}

impl Group {
    /// Why a rule as it was read is not to be written.
    fn refusal(&self, now: Clock, part: &Part, host: &Host) -> Option<String> {
        let rule = &part.found()?.rule;
        if let Some(unfit) = rule.unfit(part.family, &host.networks) {
            return Some(format!("{unfit}; mend: {}", unfit.mend()));
        }
        let is_first = rule_number(self.base(), &part.name).is_some_and(|(_, number)| number == 1);
        let Some(mark) = part.mark() else {
            let text = "carries no mark of portcullis: it is somebody else's, and another is made";
            return (!is_first).then(|| format!("rule {} {text}", part.name));
        };
        let is_other = self.options.own_rule && mark.writer != host.writer && age(&mark, now) < EXPIRY;
        is_other.then(|| {
            format!(
                "rule {} is written by {}, which last said so at {}; mend: give each machine a rule of its own, or set \
                 own_rule = no on all of them",
                part.name, mark.writer, mark.at
            )
        })
    }

    /// A person took this entry out: what it covered is freed.
    fn free(&mut self, rule: &Arc<str>, entry: &IpNet, out: &mut Vec<Output>) {
        let bans: Vec<IpNet> = self.touching(entry).map(|(range, _)| *range).collect();
        let mut freed = BTreeSet::new();
        for range in bans {
            let Some(ban) = self.bans.get_mut(&range) else { continue };
            if matches!(&ban.place, Place::In(here, by) if here == rule && by == entry) {
                freed.extend(ban.ranges());
                ban.place = Place::Freed;
            }
        }
        if let Some(part) = self.part_mut(rule) {
            part.wanted.remove(entry);
        }
        self.is_dirty = true;
        let text = format!("{entry} was taken out of rule {rule} by hand: it is freed everywhere");
        out.push(Output::Note(Loudness::Notice, text));
        let why: Arc<str> = format!("taken out of rule {rule} by hand").into();
        out.extend(freed.into_iter().map(|range| Output::Freed(range, Arc::clone(&why))));
    }

    /// The bans of a rule that was read have come so far.
    fn stand(&mut self, name: &Arc<str>, out: &mut Vec<Output>) {
        let Some(part) = self.parts.iter().find(|part| part.name == *name) else {
            return;
        };
        for ban in self.bans.values_mut() {
            let Place::In(rule, entry) = &ban.place else { continue };
            if rule != name {
                continue;
            }
            if part.holds(entry) {
                ban.stand(&Standing::Verified, out);
            } else if ban.is_confirmed() && !part.suspects.contains_key(entry) {
                ban.stand(&Standing::Decided, out);
            }
        }
    }
}
