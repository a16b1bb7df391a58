//! What became of a call: how it goes on, and what each trouble asks for.

use std::sync::Arc;

use ipnet::IpNet;

use super::group::{Cause, Place};
use super::part::Presence;
use super::work::{Task, Work};
use super::{Answer, Call, Loudness, Output, Reconciler};
use crate::cloud::books::Entry;
use crate::cloud::trouble::{self, Kind, Trouble};
use crate::ledger::Standing;
use crate::time::{Clock, Seconds, Timestamp};

/// What a person has to mend is tried again so often.
const MENDING: Seconds = Seconds::new(300);
/// What was refused for reasons of its own.
const REFUSED: Seconds = Seconds::new(60);
/// A used-up quota of rules.
const QUOTA: Seconds = Seconds::new(3600);
/// Another operation is in the way.
pub(super) const BUSY: (Seconds, Seconds) = (Seconds::new(1), Seconds::new(5));
/// The same request is sent again as often; with [`super::pace`]'s waiting times that is two minutes.
const TRIES: u32 = 7;
/// So many calls in a row without an answer, and the layers are said to fail.
const SILENCE: u32 = 3;

impl Reconciler {
    pub(super) fn answer(&mut self, now: Clock, number: u64, result: Result<Answer, Trouble>, out: &mut Vec<Output>) {
        let is_asked = |work: &mut Work| work.number == number && work.retry_at.is_none();
        let Some(work) = self.work.take_if(is_asked) else {
            return;
        };
        if !matches!(&result, Err(trouble) if trouble.kind == Kind::Unknown) {
            self.pace.answered();
        }
        match result {
            Ok(Answer::Rule(rule)) if work.task == Task::Probe => self.was_seen(now.steady, &work, &rule, out),
            Ok(Answer::Rule(rule)) => {
                self.is_token_retried = false;
                self.forget_trouble(false);
                self.was_read(now, &work, *rule, out);
            }
            // Nothing here asks for lists.
            Ok(Answer::Rules(_)) => {}
            Ok(Answer::Operation { name, done: None }) => self.follow(now, work, name, out),
            Ok(Answer::Operation { done: Some(Ok(())), .. }) => self.succeeded(now, &work, out),
            Ok(Answer::Operation {
                done: Some(Err(trouble)),
                ..
            }) => {
                let trouble = over(trouble);
                self.failed(now, work, &trouble, out);
            }
            Err(trouble) if work.operation.is_some() => self.lost_sight(now, work, &trouble, out),
            Err(trouble) => self.failed(now, work, &trouble, out),
        }
    }

    /// The write has become an operation.
    fn follow(&mut self, now: Clock, mut work: Work, name: String, out: &mut Vec<Output>) {
        let is_known = work.operation.as_ref() == Some(&name);
        if !is_known {
            let entry = operation(&work, Some(name.clone()));
            self.keep(vec![entry], out);
        }
        (work.operation, work.attempts) = (Some(name), 0);
        // The driver waits while it asks; one that does not is not to be asked in a tight loop.
        work.retry_at = is_known.then_some(now.steady + Seconds::new(1));
        let is_waiting = work.retry_at.is_some();
        self.work = Some(work);
        if !is_waiting {
            self.ask(out);
        }
    }

    fn succeeded(&mut self, now: Clock, work: &Work, out: &mut Vec<Output>) {
        self.is_token_retried = false;
        self.forget_trouble(true);
        self.keep(vec![operation(work, None)], out);
        self.pace.took(now.steady - work.began);
        if work.is_write() {
            self.writes += 1;
        }
        self.has_just_written = matches!(work.task, Task::Write(_) | Task::Create(_));
        let Some(group) = self.groups.get_mut(&work.target.base) else {
            return;
        };
        group.mend(Cause::Write, out);
        if let Some(part) = group.part_mut(&work.target.rule) {
            part.most_adds = None;
            part.read_by = None;
        }
        match &work.task {
            Task::Write(adds) | Task::Create(adds) => group.applied(&work.target.rule, adds, out),
            Task::Delete => {
                group.parts.retain(|part| part.name != work.target.rule);
                let rule = work.target.rule.to_string();
                self.keep(vec![Entry::Unmake { rule }], out);
            }
            Task::Read | Task::Resume | Task::Claim | Task::Probe => {}
        }
    }

    /// A trouble, as the log and a person have it.
    fn complaint(&self, work: &Work, trouble: &Trouble) -> String {
        let group = self.groups.get(&work.target.base);
        let part = group.and_then(|group| group.part(&work.target.base));
        let network = part
            .and_then(|part| part.found())
            .map(|found| found.rule.network.clone());
        let network = network.or_else(|| self.host.networks.first().cloned());
        let place = trouble::Place {
            project: group.and_then(|group| group.options.project.clone()),
            rule: work.target.rule.to_string(),
            network: network.map(|url| url.rsplit('/').next().unwrap_or_default().to_owned()),
            instance: self.host.is_on_gce.then(|| self.host.writer.clone()),
            zone: None,
            home: None,
            account: self.host.accounts.first().cloned(),
        };
        let mend = trouble
            .mend(&place)
            .map(|mend| format!("; mend: {mend}"))
            .unwrap_or_default();
        format!("{} failed: {trouble}{mend}", work.text())
    }

    fn forget_trouble(&mut self, is_write: bool) {
        if self.trouble.as_ref().is_some_and(|(of_write, _)| is_write || !of_write) {
            self.trouble = None;
        }
    }

    /// Nobody knows how the operation stands.
    fn lost_sight(&mut self, now: Clock, mut work: Work, trouble: &Trouble, out: &mut Vec<Output>) {
        let text = self.complaint(&work, trouble);
        self.trouble = Some((true, text.clone()));
        let may_pass = trouble.passes() && trouble.kind != Kind::Conflict;
        if may_pass && work.attempts < TRIES {
            let pause = self.pace.back_off(&mut self.dice);
            if trouble.kind == Kind::Rate {
                self.pace.wait_for_the_minute(now, trouble.retry_after, &mut self.dice);
            }
            work.attempts += 1;
            let held = self.pace.held(now.steady);
            work.retry_at = held.max(Some(now.steady + pause));
            self.work = Some(work);
            return;
        }
        self.keep(vec![operation(&work, None)], out);
        let pause = match trouble.kind {
            Kind::Missing => Seconds::ZERO,
            _ => self.pace.operation(),
        };
        let Some(group) = self.groups.get_mut(&work.target.base) else {
            return;
        };
        if !may_pass && trouble.kind != Kind::Missing {
            group.fail(text, Cause::Write, out);
        }
        if let Some(part) = group.part_mut(&work.target.rule) {
            part.read_by = None;
        }
        group.retry_at = Some(now.steady + pause);
    }

    /// A call was refused, or its operation ended with an error, or nobody knows.
    fn failed(&mut self, now: Clock, work: Work, trouble: &Trouble, out: &mut Vec<Output>) {
        if work.task == Task::Probe {
            return self.was_not_seen(now, &work, trouble, out);
        }
        let text = self.complaint(&work, trouble);
        self.trouble = Some((work.is_write(), text.clone()));
        if trouble.kind == Kind::Unknown {
            return self.unanswered(now, work, text, out);
        }
        if work.is_write() || work.operation.is_some() {
            self.keep(vec![operation(&work, None)], out);
        }
        self.read_again(&work);
        match &trouble.kind {
            Kind::Token if !self.is_token_retried => self.is_token_retried = true,
            Kind::Rate => {
                self.pace.wait_for_the_minute(now, trouble.retry_after, &mut self.dice);
                out.push(Output::Note(Loudness::Info, text));
            }
            Kind::Busy => self.pause(now.steady, BUSY),
            Kind::Conflict => self.pause(now.steady, (BUSY.0, BUSY.0)),
            Kind::Missing if work.task == Task::Read => self.was_missing(now, &work, text, out),
            Kind::Missing if !matches!(work.task, Task::Create(_)) => {}
            Kind::Entry(_) => self.bad_entry(now, &work, (trouble, text), out),
            Kind::TooLarge(most) => self.too_large(now, &work, (*most, text), out),
            Kind::Quota | Kind::Permission if matches!(work.task, Task::Create(_)) => {
                self.cannot_create(now, &work, (trouble, text), out);
            }
            Kind::Refused => self.give_up(now, &work, (text, REFUSED), out),
            Kind::Token
            | Kind::Permission
            | Kind::Scope
            | Kind::ApiOff
            | Kind::Credentials
            | Kind::Missing
            | Kind::Quota
            | Kind::Unknown => self.give_up(now, &work, (text, MENDING), out),
        }
    }

    pub(super) fn pause(&mut self, now: Timestamp, (least, most): (Seconds, Seconds)) {
        let pause = self.dice.between(least, most);
        self.pace.wait(now, pause);
    }

    /// What was planned on what was read before may be wrong.
    pub(super) fn read_again(&mut self, work: &Work) {
        let group = self.groups.get_mut(&work.target.base);
        if let Some(part) = group.and_then(|group| group.part_mut(&work.target.rule)) {
            part.read_by = None;
            if matches!(work.task, Task::Create(_)) {
                part.presence = Presence::Unknown;
            }
        }
    }

    /// A person has to do something, or the API is against it: said once, and tried again after a while.
    fn give_up(&mut self, now: Clock, work: &Work, (text, pause): (String, Seconds), out: &mut Vec<Output>) {
        self.is_token_retried = false;
        let cause = if work.is_write() { Cause::Write } else { Cause::Read };
        if let Some(group) = self.groups.get_mut(&work.target.base) {
            group.fail(text, cause, out);
            group.retry_at = Some(now.steady + pause);
        }
    }

    /// Nobody knows whether it was done. The same request may be sent again: it is done once. In a rule that others
    /// write as well the list may be out of date by then, so there it is planned anew on a new read.
    fn unanswered(&mut self, now: Clock, mut work: Work, text: String, out: &mut Vec<Output>) {
        let pause = self.pace.back_off(&mut self.dice);
        let is_silent = self.pace.unanswered() >= SILENCE;
        if let Some(group) = self.groups.get_mut(&work.target.base) {
            if is_silent {
                let cause = if work.is_write() { Cause::Write } else { Cause::Read };
                group.fail(text, cause, out);
            }
            let is_alone = group.options.own_rule || !matches!(work.task, Task::Write(_));
            if work.is_write() && is_alone && work.attempts < TRIES {
                work.attempts += 1;
                work.retry_at = Some(now.steady + pause);
                self.work = Some(work);
                return;
            }
        }
        self.read_again(&work);
        self.pace.wait(now.steady, pause);
    }

    /// One entry is refused: it is left out by name, and the rest is written. Where nobody says which it is, halves
    /// are tried.
    fn bad_entry(&mut self, now: Clock, work: &Work, (trouble, text): (&Trouble, String), out: &mut Vec<Output>) {
        let place = match trouble.kind {
            Kind::Entry(place) => place,
            _ => None,
        };
        let (Task::Write(adds) | Task::Create(adds)) = &work.task else {
            return self.give_up(now, work, (text, REFUSED), out);
        };
        let sent = ranges(&work.call);
        let named = place.and_then(|place| sent.get(place).copied());
        let bad = named.or_else(|| adds.first().copied().filter(|_| adds.len() == 1));
        let is_ours = |range: &IpNet| adds.contains(range) || self.books.claim(&work.target.rule, range).is_some();
        match bad {
            Some(bad) if is_ours(&bad) => {
                let Some(group) = self.groups.get_mut(&work.target.base) else {
                    return;
                };
                let bans: Vec<IpNet> = group.touching(&bad).map(|(range, _)| *range).collect();
                let words = trouble.message.clone();
                group
                    .quarantine
                    .extend(bans.into_iter().map(|range| (range, words.clone())));
                group.is_dirty = true;
                let text = format!(
                    "{bad} is left out of rule {}: the API refuses it ({trouble})",
                    work.target.rule
                );
                out.push(Output::Note(Loudness::Warning, text));
            }
            None if adds.len() > 1 => {
                let group = self.groups.get_mut(&work.target.base);
                if let Some(part) = group.and_then(|group| group.part_mut(&work.target.rule)) {
                    part.most_adds = Some(adds.len() / 2);
                }
            }
            _ => self.give_up(now, work, (text, MENDING), out),
        }
    }

    /// The rule takes fewer entries than thought. Where the API does not say how many, the limits that it is known to
    /// have had are tried.
    fn too_large(&mut self, now: Clock, work: &Work, (most, text): (Option<usize>, String), out: &mut Vec<Output>) {
        let sent = ranges(&work.call).len();
        let guess = [5_000, 256].into_iter().find(|&limit| limit < sent);
        let most = most
            .filter(|&most| most < sent)
            .or(guess)
            .unwrap_or(sent.saturating_sub(1));
        if most < 2 {
            return self.give_up(now, work, (text, MENDING), out);
        }
        let rule = work.target.rule.to_string();
        out.push(Output::Note(
            Loudness::Notice,
            format!("rule {rule} takes {most} entries: what is beyond goes into further rules"),
        ));
        self.keep(vec![Entry::Limit { rule, most }], out);
        self.pace.forgive();
        if let Some(group) = self.groups.get_mut(&work.target.base) {
            group.is_dirty = true;
        }
    }

    /// There are no further rules to be had: what has no room is evicted, and IPv6 stays in the kernel.
    fn cannot_create(&mut self, now: Clock, work: &Work, (trouble, text): (&Trouble, String), out: &mut Vec<Output>) {
        let pause = if trouble.kind == Kind::Quota { QUOTA } else { MENDING };
        let Some(group) = self.groups.get_mut(&work.target.base) else {
            return;
        };
        let is_first_six = group.part(&work.target.rule).is_some_and(|part| {
            part.family == crate::address::Family::Inet6
                && crate::cloud::desired::rule_number(group.base(), &part.name).is_some_and(|(_, number)| number == 1)
        });
        let is_news = group.closed.is_none() && group.local_six.is_none();
        let until = now.steady + pause;
        if is_first_six {
            group.local_six = Some((until, text.clone()));
        } else {
            group.closed = Some((until, text.clone()));
        }
        group.is_dirty = true;
        if is_news {
            out.push(Output::Note(Loudness::Warning, text));
        }
    }
}

impl super::group::Group {
    /// These entries were written; they were not read back.
    fn applied(&mut self, rule: &Arc<str>, entries: &[IpNet], out: &mut Vec<Output>) {
        for entry in entries {
            let bans: Vec<IpNet> = self.touching(entry).map(|(range, _)| *range).collect();
            for range in bans {
                let Some(ban) = self.bans.get_mut(&range) else { continue };
                let is_here = matches!(&ban.place, Place::In(here, by) if here == rule && by == entry);
                if is_here && !ban.is_verified() {
                    ban.stand(&Standing::Applied, out);
                }
            }
        }
    }
}

fn operation(work: &Work, operation: Option<String>) -> Entry {
    Entry::Operation {
        rule: work.target.rule.to_string(),
        operation,
    }
}

/// The list that a call sent.
pub(super) fn ranges(call: &Call) -> Vec<IpNet> {
    match call {
        Call::Write { ranges, .. } => ranges.clone(),
        Call::Create { rule, .. } => {
            let texts = rule.source_ranges.iter();
            texts.filter_map(|text| crate::cloud::desired::entry(text)).collect()
        }
        _ => Vec::new(),
    }
}

/// An operation that ended with an error is over, whatever the error: nothing is sent again under its id.
fn over(mut trouble: Trouble) -> Trouble {
    if trouble.kind == Kind::Unknown {
        trouble.kind = Kind::Conflict;
    }
    trouble
}
