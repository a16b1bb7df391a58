//! Rules of ours that the books do not know: books were lost, and the rules' marks tell what is ours all the same.
//!
//! A rule that carries the mark of this machine, and of which nothing was ever written down, is *adopted*: its entries
//! are in the books again, and what of them is not wanted goes as after any restart. Where the mark says that we were
//! alone there, that is every entry; else only those that are banned now, and the others stay and are named. Names
//! under which we may have made rules are looked up once, when nothing else is to be done.

use std::sync::Arc;

use ipnet::IpNet;

use super::group::{Cause, Group};
use super::part::{Found, Part};
use super::work::{Step, Target, Work};
use super::{Loudness, Output, Reconciler};
use crate::cloud::books::{Entry, State};
use crate::cloud::desired::rule_number;
use crate::cloud::is_sentinel;
use crate::cloud::rule::{Mark, Rule};
use crate::cloud::trouble::{Kind, Trouble};
use crate::time::{Clock, Seconds, Timestamp};

/// Entries left in a rule that one line names.
const NAMED: usize = 10;

impl Reconciler {
    /// The next rule that may be there from before the books.
    pub(super) fn probe(&mut self, now: Timestamp) -> Option<Step> {
        let mut ready = self.groups.iter().filter(|(_, group)| {
            let is_held = group.retry_at.is_some_and(|at| at > now);
            !is_held && group.is_ready()
        });
        ready.find_map(|(base, group)| {
            Some(Step::Probe(Target {
                base: Arc::clone(base),
                rule: Arc::clone(group.unseen.last()?),
            }))
        })
    }

    /// There is such a rule. One that carries our mark is a part from now on, and read as one.
    pub(super) fn was_seen(&mut self, now: Timestamp, work: &Work, rule: &Rule, out: &mut Vec<Output>) {
        let Target { base, rule: name } = &work.target;
        let is_ours = Mark::of(&rule.description).is_some_and(|mark| mark.writer == self.host.writer);
        let Some(group) = self.groups.get_mut(base) else { return };
        group.mend(Cause::Read, out);
        group.unseen.retain(|unseen| unseen != name);
        let number = rule_number(group.base(), name);
        let is_free = group.part(name).is_none() && !group.taken.contains_key(name);
        match number.filter(|_| is_ours && is_free) {
            Some(_) => {
                group.join(name);
                if let Some(part) = group.part_mut(name) {
                    part.orphaned_since = Some(now);
                }
            }
            None if is_free => self.know(name, out),
            None => {}
        }
    }

    /// There is no such rule, or nobody lets us see it.
    pub(super) fn was_not_seen(&mut self, now: Clock, work: &Work, trouble: &Trouble, out: &mut Vec<Output>) {
        match trouble.kind {
            Kind::Unknown => {
                let pause = self.pace.back_off(&mut self.dice);
                return self.pace.wait(now.steady, pause);
            }
            Kind::Rate => {
                return self.pace.wait_for_the_minute(now, trouble.retry_after, &mut self.dice);
            }
            Kind::Busy | Kind::Conflict => return self.pause(now.steady, super::outcome::BUSY),
            _ => {}
        }
        let Target { base, rule: name } = &work.target;
        if let Some(group) = self.groups.get_mut(base) {
            group.unseen.retain(|unseen| unseen != name);
        }
        if trouble.kind == Kind::Missing {
            self.know(name, out);
        }
    }

    fn know(&mut self, rule: &Arc<str>, out: &mut Vec<Output>) {
        if !self.books.knows(rule) {
            let rule = rule.to_string();
            self.keep(vec![Entry::Known { rule }], out);
        }
    }

    /// Takes back what is ours in a rule that was read and that the books do not know. Whether the rule may be gone on
    /// with: a write from before the books may still be under way, so that one with our mark is read again first, after
    /// an operation's time.
    pub(super) fn adopt(&mut self, now: Timestamp, base: &Arc<str>, name: &Arc<str>, out: &mut Vec<Output>) -> bool {
        if self.books.knows(name) {
            return true;
        }
        let operation = self.pace.operation();
        let Some(group) = self.groups.get_mut(base) else {
            return false;
        };
        group.unseen.retain(|unseen| unseen != name);
        let Some(part) = group.part(name) else { return false };
        let is_base = group.is_base(part);
        // A part that we made has our mark for a description and nothing besides.
        let description = part.found().map(|found| found.rule.description.as_str());
        let is_trusted = |mark: &Mark| {
            let is_made = || description == Some(&Mark::write("", mark));
            mark.writer == self.host.writer && if is_base { group.options.own_rule } else { is_made() }
        };
        let Some(mark) = part.mark().filter(is_trusted) else {
            self.know(name, out);
            return true;
        };
        let since = part.orphaned_since.unwrap_or(now);
        if now - since <= operation {
            if let Some(part) = group.part_mut(name) {
                part.orphaned_since = Some(since);
                part.read_by = None;
            }
            group.retry_at = Some(since + operation + Seconds::new(1));
            return false;
        }
        let Some(found) = part.found() else { return false };
        let (ours, left) = group.share_out(found, (name, mark.is_alone), &self.books);
        out.push(Output::Note(Loudness::Warning, tell(name, ours.len(), &left)));
        group.is_dirty = true;
        let rule = || name.to_string();
        let known = if is_base {
            Entry::Known { rule: rule() }
        } else {
            Entry::Made {
                rule: rule(),
                base: base.to_string(),
            }
        };
        let put = ours.into_iter().map(|range| Entry::Put {
            rule: rule(),
            range,
            claim: crate::cloud::books::Claim::Held,
        });
        let entries = std::iter::once(known).chain(put).collect();
        self.keep(entries, out);
        true
    }
}

/// What came of taking a rule back, for a person.
fn tell(rule: &str, ours: usize, left: &[IpNet]) -> String {
    let text = format!(
        "rule {rule} carries this machine's mark, and the books of the cloud firewall knew nothing of it: {ours} entries \
         of it are taken back as our own"
    );
    if left.is_empty() {
        return text;
    }
    let named: Vec<String> = left.iter().take(NAMED).map(IpNet::to_string).collect();
    let more = left.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let named = named.join(" ");
    format!(
        "{text}; others have written there as well, so {} that nobody is banned for now stay, whoever put them there: \
         {named}{more}; mend: those that are nobody's, portcullis gcp remove {rule} CIDR…",
        left.len()
    )
}

impl Group {
    /// The names of parts about which the books say nothing, the first of them last.
    pub(super) fn unseen(&self, books: &State) -> Vec<Arc<str>> {
        let unseen = self
            .further()
            .filter(|name| !books.knows(name) && self.part(name).is_none());
        let mut unseen: Vec<Arc<str>> = unseen.map(Arc::from).collect();
        unseen.reverse();
        unseen
    }

    /// The entries of a rule that are in no book: those that are ours, and those of which nobody knows whose they are.
    fn share_out(&self, found: &Found, (name, is_alone): (&str, bool), books: &State) -> (Vec<IpNet>, Vec<IpNet>) {
        let unknown = found
            .ranges
            .iter()
            .copied()
            .filter(|range| !is_sentinel(range) && books.claim(name, range).is_none());
        unknown.partition(|range| is_alone || self.bans.get(range).is_some_and(|ban| !ban.is_freed()))
    }
}

impl Found {
    /// Whether everything in it is ours by the books.
    pub(super) fn is_ours(&self, books: &State) -> bool {
        let mut entries = self.ranges.iter().filter(|range| !is_sentinel(range));
        entries.all(|range| books.claim(&self.rule.name, range).is_some())
    }
}

impl Part {
    /// Whether its mark says that somebody else is alone there.
    pub(super) fn is_another_ones(&self, writer: &str) -> bool {
        self.mark().is_some_and(|mark| mark.is_alone && mark.writer != writer)
    }
}
