//! One failure: who is it, is that one exempt, and if not, count (contract §4.1). What is not known is asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use super::jail::Jail;
use super::message::{Answer, Effect, Event, Question};
use super::prefix;
use super::waiting::{Subject, Told, Topic, Waiting};
use crate::action::{Context, JailFacts, Need, Script, Values, render};
use crate::address::Id;
use crate::allow::{Found, Rule, Unknown, Verdict, list_text};
use crate::config::plan::UseDns;
use crate::filter::{Failure, Identity};
use crate::ledger::{Entry, Pending, Ticket};
use crate::time::{Clock, Timestamp};
use crate::tracker::Attempt;

/// What a failure waits for.
enum Ask {
    Unknown(Unknown),
    Facts(u64, BTreeSet<Need>),
    Command(u64, Arc<str>, Values),
    Key(Vec<String>),
}

impl Engine {
    /// A failure from a log.
    pub(super) fn consider_failure(&mut self, now: Timestamp, clock: Clock, failure: Failure, out: &mut Vec<Effect>) {
        // A date later than now is now (contract §3.4 step 7).
        let steady = clock.to_steady(failure.time).min(now);
        let wall = clock.to_wall(steady);
        let (id, is_name) = match failure.identity {
            Identity::Known(id) => (id, false),
            Identity::Name(name) => (Id::Raw(name), true),
        };
        let pending = Pending {
            id,
            is_name,
            clock: Clock { steady, wall },
            matches: failure.matches,
            data: failure.data,
        };
        self.consider(now, failure.jail, pending, out);
    }

    fn consider(&mut self, now: Timestamp, jail: Arc<str>, pending: Pending, out: &mut Vec<Effect>) {
        let number = self.waits.number(now);
        self.enter(now, Waiting::new(number, now, jail, pending), out);
    }

    /// A failure that somebody tells by hand; who asked is answered when it is decided.
    pub(super) fn consider_told(
        &mut self,
        now: Timestamp,
        (jail, pending): (Arc<str>, Pending),
        told: Told,
        out: &mut Vec<Effect>,
    ) {
        let waiting = Waiting {
            told: Some(told),
            ..Waiting::new(self.waits.number(now), now, jail, pending)
        };
        self.enter(now, waiting, out);
    }

    /// A failure that waited when an earlier run ended.
    pub(super) fn consider_again(&mut self, now: Timestamp, kept: (Arc<str>, u64, Pending), out: &mut Vec<Effect>) {
        let (jail, number, pending) = kept;
        let waiting = Waiting {
            is_kept: true,
            ..Waiting::new(number, now, jail, pending)
        };
        self.enter(now, waiting, out);
    }

    /// A ban of an earlier run is in force again; whether it may stay is asked where that is not known at once.
    pub(super) fn review(&mut self, now: Timestamp, jail: &Arc<str>, ticket: &Ticket, out: &mut Vec<Effect>) {
        let steady = ticket.time;
        let pending = Pending {
            id: ticket.offender().map_or_else(|| ticket.id.clone(), Id::Ip),
            is_name: false,
            clock: Clock { steady, wall: steady },
            matches: ticket.matches.clone(),
            data: ticket.data.clone(),
        };
        let number = self.waits.number(now);
        let waiting = Waiting {
            review: Some(ticket.id.clone()),
            ..Waiting::new(number, now, Arc::clone(jail), pending)
        };
        self.enter(now, waiting, out);
    }

    fn enter(&mut self, now: Timestamp, mut waiting: Waiting, out: &mut Vec<Effect>) {
        let is_behind = !self.waits.is_empty() && self.waits.has(&waiting.subject());
        let questions = match is_behind {
            true => Some(Vec::new()),
            false => self.step(now, &mut waiting, out),
        };
        let Some(questions) = questions else {
            return self.finish(waiting, out);
        };
        let subject = waiting.subject();
        let maxretry = self.jails.get(&waiting.jail).map_or(0, |jail| jail.plan.maxretry);
        if self.waits.is_full(&waiting) || self.waits.is_long(&subject, maxretry) {
            if waiting.review.is_none() && waiting.told.is_none() {
                out.push(Effect::Note(Event::TooManyQuestions {
                    jail: Arc::clone(&waiting.jail),
                }));
            }
            return self.finish(waiting, out);
        }
        if !waiting.is_kept && waiting.review.is_none() && waiting.told.is_none() {
            waiting.is_kept = true;
            // Its line must not be read again.
            self.hurry(&waiting.jail);
            out.push(Effect::Record(Entry::Wait {
                jail: Arc::clone(&waiting.jail),
                number: waiting.number,
                pending: Some(waiting.pending.clone()),
            }));
        }
        self.waits.push(waiting);
        self.ask(now, &subject, questions, out);
    }

    /// The failure is decided: nothing keeps it, and nobody waits for it any more.
    fn finish(&mut self, waiting: Waiting, out: &mut Vec<Effect>) {
        if waiting.is_kept {
            out.push(Effect::Record(Entry::Wait {
                jail: Arc::clone(&waiting.jail),
                number: waiting.number,
                pending: None,
            }));
        }
        if let Some(key) = waiting.key {
            self.waits.free_key(waiting.jail, key);
        }
        if let Some(told) = waiting.told {
            let reply = waiting.counted.map(|counted| i64::from(counted).into());
            let reply = reply.ok_or_else(|| "The attempt could not be judged".into());
            out.push(Effect::Reply(told.to, reply));
        }
    }

    fn ask(&mut self, now: Timestamp, subject: &Subject, asks: Vec<Ask>, out: &mut Vec<Effect>) {
        for ask in asks {
            let question = match ask {
                Ask::Unknown(Unknown::Name(name)) => {
                    let is_listed = !subject.2;
                    let is_new = self.waits.wait(Topic::Name(name.clone()), subject);
                    let wanted_more = is_listed && self.listed.insert(name.clone());
                    (is_new || wanted_more).then_some(Question::Name { name, is_listed })
                }
                Ask::Unknown(Unknown::List(path)) => {
                    let is_new = self.waits.wait(Topic::List(Arc::clone(&path)), subject);
                    is_new.then(|| Question::List {
                        known: self.shared.outside.lists.ask(Some(now), &path),
                        path,
                    })
                }
                Ask::Facts(number, needs) => {
                    self.waits.wait(Topic::One(number), subject);
                    self.facts_for(number, needs)
                }
                Ask::Command(number, script, values) => {
                    self.waits.wait(Topic::One(number), subject);
                    Some(Question::Command { number, script, values })
                }
                Ask::Key(key) => {
                    self.waits.wait(Topic::Key(Arc::clone(&subject.0), key), subject);
                    None
                }
            };
            out.extend(question.map(Effect::Ask));
        }
    }

    fn facts_for(&mut self, number: u64, needs: BTreeSet<Need>) -> Option<Question> {
        let waiting = self.waits.get(number)?;
        waiting.known.extend(needs);
        // The answer takes the place of what was known before.
        let needs = waiting.known.clone();
        let jail = Arc::clone(&waiting.jail);
        let ticket = Box::new(ticket(&waiting.pending, self.jails.get(&jail)?));
        Some(Question::Facts {
            number,
            jail,
            ticket,
            needs,
        })
    }

    /// An answer came: what it tells is noted, and whoever waited for it goes on.
    pub(super) fn answer(&mut self, now: Timestamp, answer: Answer, out: &mut Vec<Effect>) {
        let topic = match answer {
            Answer::Name { name, addresses } => {
                let is_listed = self.listed.remove(&name);
                self.shared.outside.names.put(now, name.clone(), addresses, is_listed);
                self.unpark(now, &name, out);
                Topic::Name(name)
            }
            Answer::List { path, found } => {
                if let Found::Failed(reason, _) = &found {
                    let (path, reason) = (Arc::clone(&path), reason.clone());
                    out.push(Effect::Note(Event::ListFailed { path, reason }));
                }
                self.shared.outside.lists.put(&path, found);
                self.note_unread();
                Topic::List(path)
            }
            Answer::Facts { number, fetched } => {
                if let Some(waiting) = self.waits.get(number) {
                    waiting.fetched = fetched;
                }
                Topic::One(number)
            }
            Answer::Command { number, ignore } => {
                if let Some(waiting) = self.waits.get(number) {
                    waiting.ignore = Some(ignore);
                }
                Topic::One(number)
            }
        };
        if matches!(topic, Topic::Name(_) | Topic::List(_)) {
            self.doubt_wide(true);
        }
        self.waits.answered(&topic);
        while let Some(subject) = self.waits.ready() {
            self.go_on(now, &subject, out);
        }
    }

    /// Decides the failures of a subject in their order, up to one that waits.
    fn go_on(&mut self, now: Timestamp, subject: &Subject, out: &mut Vec<Effect>) {
        while let Some(mut waiting) = self.waits.head(subject) {
            match self.step(now, &mut waiting, out) {
                Some(asks) => {
                    self.waits.put(waiting);
                    return self.ask(now, subject, asks, out);
                }
                None => {
                    self.waits.done(subject);
                    self.finish(waiting, out);
                }
            }
        }
    }

    /// Decides, or says what must be known first.
    fn step(&mut self, now: Timestamp, waiting: &mut Waiting, out: &mut Vec<Effect>) -> Option<Vec<Ask>> {
        self.shared
            .outside
            .names
            .forget(self.waits.oldest().map_or(now, |oldest| oldest.min(now)));
        let usedns = self.jails.get(&waiting.jail)?.plan.usedns;
        match (&waiting.pending.id, waiting.pending.is_name) {
            (Id::Raw(_), true) if usedns == UseDns::No => None,
            (Id::Raw(name), true) => {
                let name = name.clone();
                self.resolve(now, name, waiting, out)
            }
            _ => self.decide(now, waiting, out),
        }
    }

    /// A failure by name is one of each address of that name.
    fn resolve(&mut self, now: Timestamp, name: String, waiting: &Waiting, out: &mut Vec<Effect>) -> Option<Vec<Ask>> {
        let Some(addresses) = self.shared.outside.names.get(&name, waiting.since).map(<[_]>::to_vec) else {
            return Some(vec![Ask::Unknown(Unknown::Name(name))]);
        };
        let warn = self.jails.get(&waiting.jail)?.plan.usedns == UseDns::Warn;
        if warn && !addresses.is_empty() {
            out.push(Effect::Note(Event::Resolved {
                name,
                addresses: addresses.clone(),
            }));
        }
        for address in addresses {
            let pending = Pending {
                id: Id::Ip(address),
                is_name: false,
                ..waiting.pending.clone()
            };
            self.consider(now, Arc::clone(&waiting.jail), pending, out);
        }
        None
    }

    fn decide(&mut self, now: Timestamp, waiting: &mut Waiting, out: &mut Vec<Effect>) -> Option<Vec<Ask>> {
        let jail = self.jails.get_mut(&waiting.jail)?;
        if let (None, Some((script, _))) = (&waiting.key, &jail.cache) {
            let missing = waiting.missing(script.needs());
            if !missing.is_empty() {
                return Some(vec![Ask::Facts(waiting.number, missing)]);
            }
            let key = key(script, waiting, jail);
            let cached = jail.cache.as_mut().and_then(|(_, cache)| cache.get(now, &key));
            if let Some(allowed) = cached {
                let judged = if allowed { Judged::Silently } else { Judged::Counts };
                self.pass_judgement(now, waiting, judged, out);
                return None;
            }
            if self.waits.is_taken(&waiting.jail, &key) {
                return Some(vec![Ask::Key(key)]);
            }
            self.waits.take_key(&waiting.jail, &key);
            waiting.key = Some(key);
        }
        let (judged, keep) = match self.rule(waiting)? {
            Ok(judged) => judged,
            Err(asks) => return Some(asks),
        };
        if keep
            && let Some(key) = &waiting.key
            && let Some((_, cache)) = self.jails.get_mut(&waiting.jail)?.cache.as_mut()
        {
            cache.put(now, key.clone(), !matches!(judged, Judged::Counts));
        }
        self.pass_judgement(now, waiting, judged, out);
        None
    }

    /// What the jail's rules say, and whether its cache keeps that.
    fn rule(&self, waiting: &Waiting) -> Option<Result<(Judged, bool), Vec<Ask>>> {
        let jail = self.jails.get(&waiting.jail)?;
        let known = self.shared.outside.around(waiting.since).known;
        Some(match jail.allow.judge(&waiting.pending.id, &known) {
            Verdict::Allowed(rule, keep) => Ok((Judged::Ignored(rule), keep)),
            Verdict::Ask(unknown) => Err(unknown.into_iter().map(Ask::Unknown).collect()),
            Verdict::Counts => command(waiting, jail),
        })
    }

    fn pass_judgement(&mut self, now: Timestamp, waiting: &mut Waiting, judged: Judged, out: &mut Vec<Effect>) {
        let id = &waiting.pending.id;
        let Some(jail) = self.jails.get_mut(&waiting.jail) else {
            return;
        };
        waiting.counted = Some(matches!(judged, Judged::Counts));
        match judged {
            Judged::Counts if waiting.review.is_some() => {}
            Judged::Counts => {
                let mut attempt = Attempt {
                    time: waiting.pending.clock.steady,
                    matches: std::mem::take(&mut waiting.pending.matches),
                    data: std::mem::take(&mut waiting.pending.data),
                    weight: waiting.told.as_ref().map_or(1, |told| told.weight),
                };
                let (name, id, time) = (Arc::clone(&waiting.jail), id.clone(), attempt.time);
                out.push(Effect::Note(if waiting.told.is_some() {
                    Event::Attempted { jail: name, id, time }
                } else {
                    Event::Found { jail: name, id, time }
                }));
                let around = self.shared.outside.around(waiting.since);
                let counted = prefix::counted(jail, &waiting.pending.id, &around, &mut attempt);
                let mut turn = self.shared.turn(now);
                jail.count(&mut turn, &counted, attempt, out);
            }
            Judged::Silently | Judged::Ignored(_) => {
                if let Judged::Ignored(rule) = judged {
                    out.push(Effect::Note(Event::Ignored {
                        jail: Arc::clone(&waiting.jail),
                        id: id.clone(),
                        rule,
                    }));
                }
                if let Some(banned) = &waiting.review {
                    jail.excuse(banned, out);
                }
            }
        }
    }

    /// Jails whose files of addresses were never read must not ban (invariant 12).
    pub(super) fn note_unread(&mut self) {
        for jail in self.jails.values_mut() {
            let failed = |path: &Arc<str>| {
                let reason = self.shared.outside.lists.failure(path)?;
                Some(format!("ignoreip = {}: {reason}", list_text(path)))
            };
            jail.unread = jail.allow.lists().find_map(failed);
        }
    }

    /// Has all files of addresses read, so that one that cannot be is seen before it matters.
    pub(super) fn glance_at_lists(&mut self, out: &mut Vec<Effect>) {
        let paths: BTreeSet<Arc<str>> = self
            .jails
            .values()
            .flat_map(|jail| jail.allow.lists().cloned())
            .filter(|path| !path.is_empty())
            .collect();
        self.shared.outside.lists.only(&paths);
        for path in paths {
            let known = self.shared.outside.lists.ask(None, &path);
            out.push(Effect::Ask(Question::List { path, known }));
        }
        self.note_unread();
    }
}

/// How a failure was judged.
enum Judged {
    Ignored(Rule),
    /// Ignored by a cached verdict, which Fail2Ban does not log
    Silently,
    Counts,
}

fn command(waiting: &Waiting, jail: &Jail) -> Result<(Judged, bool), Vec<Ask>> {
    match (&jail.command, waiting.ignore) {
        (None, _) | (Some(_), Some(false)) => Ok((Judged::Counts, true)),
        (Some(_), Some(true)) => Ok((Judged::Ignored(Rule::Command), true)),
        (Some(script), None) => {
            let missing = waiting.missing(script.needs());
            Err(vec![if missing.is_empty() {
                Ask::Command(waiting.number, script.text().into(), values(script, waiting, jail))
            } else {
                Ask::Facts(waiting.number, missing)
            }])
        }
    }
}

/// The key of a failure in its jail's cache: the text and what would stand beside it in a command.
fn key(script: &Script, waiting: &Waiting, jail: &Jail) -> Vec<String> {
    let command = render(script.text(), &values(script, waiting, jail));
    std::iter::once(command.script).chain(command.values).collect()
}

fn values(script: &Script, waiting: &Waiting, jail: &Jail) -> Values {
    let ticket = ticket(&waiting.pending, jail);
    let facts = facts(jail);
    let context = Context {
        clock: waiting.pending.clock,
        jail: &facts,
        fetched: &waiting.fetched,
    };
    let mut values = script.values(&ticket, &context);
    if let Some(raw) = values.tags.get_mut("raw-ticket")
        && let Some(rest) = raw.strip_prefix("Ban")
    {
        *raw = format!("Fail{rest}");
    }
    values
}

/// A failure as a ticket that nothing was counted for yet.
fn ticket(pending: &Pending, jail: &Jail) -> Ticket {
    Ticket {
        id: pending.id.clone(),
        time: pending.clock.steady,
        bantime: jail.plan.bantime,
        bancount: 0,
        failures: 0,
        matches: pending.matches.clone(),
        data: pending.data.clone(),
        restored: false,
    }
}

fn facts(jail: &Jail) -> JailFacts {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    JailFacts {
        name: jail.plan.name.to_string(),
        bantime: jail.plan.bantime,
        banned: count(jail.ledger.len()),
        banned_total: jail.ledger.total(),
        found: count(jail.tracker.len()),
        found_total: jail.tracker.total(),
    }
}
