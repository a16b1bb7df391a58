//! Failures of which something must be found out first.
//!
//! Failures of one subject (one id in one jail) are decided in their order: the first asks, later ones stand behind
//! it. Different subjects do not wait for each other, except where `ignorecache` knows both by one key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::message::ReplyTo;
use crate::action::{Fetched, Need};
use crate::address::Id;
use crate::ledger::Pending;
use crate::time::Timestamp;

/// Failures that may wait for the address of a name, and as many for anything else: an attacker whose names answer
/// slowly must not fill the memory, nor crowd out others.
pub const MOST_WAITING: usize = 10_000;
/// … and of one subject, or its jail's `maxretry` where that is more.
const MOST_OF_ONE: usize = 100;

/// Whose failures are decided one after the other: jail, id, and whether that is a name.
pub(super) type Subject = (Arc<str>, Id, bool);

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// A name's addresses
    Name(String),
    /// A file
    List(Arc<str>),
    /// One failure: facts for its tags, or its command
    One(u64),
    /// The verdict under this key of a jail's cache, which another failure is about to find out
    Key(Arc<str>, Vec<String>),
}

/// A failure on its way.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) jail: Arc<str>,
    pub(super) pending: Pending,
    /// When its first question arose
    pub(super) since: Timestamp,
    /// The ban that is in force already, where only its right to be there is asked for
    pub(super) review: Option<Id>,
    /// Whether the store has it
    pub(super) is_kept: bool,
    /// Facts for its tags
    pub(super) fetched: Fetched,
    /// Which facts those are
    pub(super) known: BTreeSet<Need>,
    /// Its key in the jail's cache, once this failure is the one to find out
    pub(super) key: Option<Vec<String>>,
    /// What `ignorecommand` said
    pub(super) ignore: Option<bool>,
    /// Who told it, if no log did
    pub(super) told: Option<Told>,
    /// Whether it counts, once that is decided
    pub(super) counted: Option<bool>,
}

/// A failure told by hand.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// Who wants to know what became of it
    pub(super) to: ReplyTo,
    /// How much it weighs
    pub(super) weight: u32,
}

impl Waiting {
    pub(super) fn new(number: u64, now: Timestamp, jail: Arc<str>, pending: Pending) -> Self {
        Waiting {
            number,
            jail,
            pending,
            since: now,
            review: None,
            is_kept: false,
            fetched: Fetched::default(),
            known: BTreeSet::new(),
            key: None,
            ignore: None,
            told: None,
            counted: None,
        }
    }

    pub(super) fn subject(&self) -> Subject {
        (Arc::clone(&self.jail), self.pending.id.clone(), self.pending.is_name)
    }

    /// What of `needs` is still to be fetched.
    pub(super) fn missing(&self, needs: BTreeSet<Need>) -> BTreeSet<Need> {
        needs.into_iter().filter(|need| !self.known.contains(need)).collect()
    }
}

/// All that wait.
#[derive(Default)]
pub(super) struct Waits {
    next: u64,
    all: BTreeMap<u64, Waiting>,
    named: usize,
    queues: BTreeMap<Subject, VecDeque<u64>>,
    topics: BTreeMap<Topic, BTreeSet<Subject>>,
    keys: BTreeSet<(Arc<str>, Vec<String>)>,
    ready: VecDeque<Subject>,
}

impl Waits {
    /// A number that no failure ever had: the steady clock goes on over restarts.
    pub(super) fn number(&mut self, now: Timestamp) -> u64 {
        let number = self.next.max(u64::try_from(now.micros()).unwrap_or(0));
        self.next = number + 1;
        number
    }

    /// A failure of an earlier run has this number.
    pub(super) fn know_number(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub(super) fn has(&self, subject: &Subject) -> bool {
        self.queues.contains_key(subject)
    }

    /// Whether there is no room for one more. Reviews of bans that are in force get a part of it only, so that
    /// failures have the rest.
    pub(super) fn is_full(&self, waiting: &Waiting) -> bool {
        let count = if waiting.pending.is_name {
            self.named
        } else {
            self.all.len() - self.named
        };
        count
            >= if waiting.review.is_some() {
                MOST_WAITING / 10
            } else {
                MOST_WAITING
            }
    }

    /// Whether so many failures of one subject wait that they decide about it, and further ones would only take the
    /// room of others.
    pub(super) fn is_long(&self, subject: &Subject, maxretry: u32) -> bool {
        let most = MOST_OF_ONE.max(usize::try_from(maxretry).unwrap_or(usize::MAX));
        self.queues.get(subject).is_some_and(|queue| queue.len() >= most)
    }

    /// Puts a failure at the end of its subject's queue.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let queue = self.queues.entry(waiting.subject()).or_default();
        queue.push_back(waiting.number);
        self.put(waiting);
    }

    pub(super) fn put(&mut self, waiting: Waiting) {
        self.named += usize::from(waiting.pending.is_name);
        self.all.insert(waiting.number, waiting);
    }

    /// Takes the first of a queue to decide it; [`Waits::put`] gives it back, [`Waits::done`] ends it.
    pub(super) fn head(&mut self, subject: &Subject) -> Option<Waiting> {
        let number = *self.queues.get(subject)?.front()?;
        self.take(number)
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.all.remove(&number)?;
        self.named -= usize::from(waiting.pending.is_name);
        Some(waiting)
    }

    /// The first of a queue is decided.
    pub(super) fn done(&mut self, subject: &Subject) {
        let Some(queue) = self.queues.get_mut(subject) else {
            return;
        };
        queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(subject);
        }
    }

    /// Notes that a subject waits for an answer, and whether that must be asked for.
    pub(super) fn wait(&mut self, topic: Topic, subject: &Subject) -> bool {
        let is_new = !self.topics.contains_key(&topic);
        self.topics.entry(topic).or_default().insert(subject.clone());
        is_new
    }

    /// There is an answer: whoever waited for it goes on.
    pub(super) fn answered(&mut self, topic: &Topic) {
        self.ready.extend(self.topics.remove(topic).into_iter().flatten());
    }

    /// The failure with a number, to put an answer in.
    pub(super) fn get(&mut self, number: u64) -> Option<&mut Waiting> {
        self.all.get_mut(&number)
    }

    /// The next subject that can go on.
    pub(super) fn ready(&mut self) -> Option<Subject> {
        self.ready.pop_front()
    }

    /// Whether another failure is about to find out the verdict under this key.
    pub(super) fn is_taken(&self, jail: &Arc<str>, key: &[String]) -> bool {
        !self.keys.is_empty() && self.keys.contains(&(Arc::clone(jail), key.to_vec()))
    }

    pub(super) fn take_key(&mut self, jail: &Arc<str>, key: &[String]) {
        self.keys.insert((Arc::clone(jail), key.to_vec()));
    }

    /// The verdict under this key is found out.
    pub(super) fn free_key(&mut self, jail: Arc<str>, key: Vec<String>) {
        let key = (jail, key);
        self.keys.remove(&key);
        self.answered(&Topic::Key(key.0, key.1));
    }

    /// When the oldest question arose.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.all.values().next().map(|waiting| waiting.since)
    }
}
