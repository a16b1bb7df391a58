//! One project's rules as a state machine: one write at a time, followed to its end and read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::books::{Books, Entry, State};
use super::options::Options;
use super::rule::{Mark, Rule};
use super::trouble::Trouble;
use crate::ledger::{LayerId, Standing};
use crate::time::{Clock, Timestamp};

mod dice;
mod draft;
mod drift;
mod group;
mod names;
mod outcome;
mod pace;
mod orphan;
mod part;
mod plan;
mod reading;
#[cfg(test)]
mod tests;
mod turn;
mod view;
mod work;

use dice::Dice;
use group::Group;
use pace::Pace;
use work::Work;

/// What the machine knows about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Who writes: the instance's name, or the host's
    pub writer: String,
    /// The networks that the machine is on, as URLs or `projects/P/global/networks/N`, by project id where that is
    /// known; empty where nobody knows
    pub networks: Vec<String>,
    /// Whether it has an external IPv6 address
    pub has_ipv6: bool,
    /// Whether it runs on a virtual machine of Google's
    pub is_on_gce: bool,
    /// Its target tags and service account, to tell whether a rule meets it
    pub tags: Vec<String>,
    /// The service accounts that it runs as
    pub accounts: Vec<String>,
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub enum Input {
    /// A layer bans in this base rule from now on, with these options.
    Open(LayerId, Options),
    /// A layer is no more, and with it its bans.
    Close(LayerId),
    /// A ban is to be true.
    Ban {
        /// For whom
        layer: LayerId,
        /// Whom; an address is a /32 or /128
        range: IpNet,
        /// When it ends, on the steady clock; never for `None`
        until: Option<crate::time::Timestamp>,
        /// How often this offender was banned: the more, the later it is evicted
        bancount: u32,
    },
    /// A ban is over.
    Unban {
        /// For whom
        layer: LayerId,
        /// Whom
        range: IpNet,
    },
    /// All kept bans have been ordered: from now on what is in the books and not wanted goes.
    Settled,
    /// Networks that are never written, and what they are; all of them.
    Protect(Vec<(IpNet, String)>),
    /// What became of a call.
    Answer(u64, Result<Answer, Trouble>),
    /// Somebody wants everything read and planned again now.
    Review,
    /// Time has passed.
    Tick,
}

/// A call to the API; each is answered once.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// `firewalls.get`
    Read {
        /// The rule
        rule: String,
    },
    /// `firewalls.list`, those whose name begins with the base rule's
    List {
        /// The base rule
        base: String,
    },
    /// `firewalls.patch` with `sourceRanges` and nothing else
    Write {
        /// The rule
        rule: String,
        /// The whole list, never empty
        ranges: Vec<IpNet>,
        /// `requestId`
        request: String,
    },
    /// `firewalls.patch` with `description` and nothing else
    Describe {
        /// The rule
        rule: String,
        /// The whole text
        description: String,
        /// `requestId`
        request: String,
    },
    /// `firewalls.insert`
    Create {
        /// The rule as it shall be, name, description and ranges included
        rule: Box<Rule>,
        /// `requestId`
        request: String,
    },
    /// `firewalls.delete`: only of rules that we made
    Delete {
        /// The rule
        rule: String,
        /// `requestId`
        request: String,
    },
    /// `globalOperations.wait`, again and again until it is DONE
    Follow {
        /// The operation
        operation: String,
    },
}

/// A good answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Call::Read`]
    Rule(Box<Rule>),
    /// To [`Call::List`]
    Rules(Vec<Rule>),
    /// To writes and to [`Call::Follow`]
    Operation {
        /// Its name
        name: String,
        /// Whether it is DONE, and how it ended
        done: Option<Result<(), Trouble>>,
    },
}

/// What is wanted done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Keep these together, durably, before any call that follows.
    Keep(Vec<Entry>),
    /// Make this call and answer it under this number.
    Call(u64, Call),
    /// How far a ban has come for a layer.
    Stand {
        /// The layer
        layer: LayerId,
        /// Whose ban, as it was ordered
        range: IpNet,
        /// How far
        standing: Standing,
    },
    /// A layer cannot do what it is told; `None` once it can again. The text names the mend.
    Failing(LayerId, Option<String>),
    /// A person took this out of a rule that is ours alone: it is to be freed in every layer.
    Freed(IpNet, Arc<str>),
    /// A layer was read back, and holds so many of our ranges; what differed, in words, and since when.
    Read(crate::ledger::Reading),
    /// Say this in the log.
    Note(Loudness, String),
}

/// How loud a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loudness {
    /// Worth knowing
    Info,
    /// Something happened
    Notice,
    /// Something is to be looked at
    Warning,
    /// Something does not work
    Error,
}

/// Why a ban is in no rule, where all are full.
pub const NO_ROOM: &str = "there is no room for it in the cloud rules";

/// One project's rules.
///
/// Nothing is called before [`Input::Settled`]. One call is made at a time, whatever the rule, since all rules of a
/// network share its operations; after each operation the rule is read back, and only then are its bans verified. A
/// write is made on a read that is two seconds old at most.
///
/// Whoever has room for a ban in no rule learns so as [`Standing::Failed`]; IPv6 bans that stay in the kernel are
/// [`Standing::Protected`] with a text that begins `IPv6 stays local`: they are no drift.
pub struct Reconciler {
    host: Host,
    books: State,
    dice: Dice,
    pace: Pace,
    groups: BTreeMap<Arc<str>, Group>,
    protected: Vec<(IpNet, String)>,
    is_settled: bool,
    work: Option<Work>,
    wake: Option<Timestamp>,
    calls: u64,
    writes: u64,
    plans: u64,
    has_just_written: bool,
    is_token_retried: bool,
    /// The last trouble, and whether it was a write's
    trouble: Option<(bool, String)>,
}

impl Reconciler {
    /// With what was kept. `seed` is a number that nobody else knows; ids of requests come from it.
    #[must_use]
    pub fn new(host: Host, books: Books, seed: u64) -> Reconciler {
        // As a mark would have it, so that our own is known again.
        let mark = Mark {
            writer: host.writer.clone(),
            at: "-".to_owned(),
            is_alone: false,
        };
        let writer = Mark::of(&Mark::write("", &mark)).map(|mark| mark.writer);
        Reconciler {
            host: Host {
                writer: writer.unwrap_or_default(),
                ..host
            },
            books: books.state(),
            dice: Dice::new(seed),
            pace: Pace::default(),
            groups: BTreeMap::new(),
            protected: Vec::new(),
            is_settled: false,
            work: None,
            wake: None,
            calls: 0,
            writes: 0,
            plans: 0,
            has_just_written: false,
            is_token_retried: false,
            trouble: None,
        }
    }

    /// One thing that happened, and what is to be done.
    pub fn handle(&mut self, now: Clock, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Open(layer, options) => self.open(layer, options, out),
            Input::Close(layer) => {
                for group in self.groups.values_mut() {
                    if group.layers.contains_key(&layer) {
                        group.close(now.steady, &layer);
                    }
                }
            }
            Input::Ban {
                layer,
                range,
                until,
                bancount,
            } => {
                if let Some(group) = self.group_of(&layer) {
                    group.ban(now.steady, (layer.clone(), range, until, bancount));
                    group.tell(&layer, &range, out);
                }
            }
            Input::Unban { layer, range } => {
                if let Some(group) = self.group_of(&layer) {
                    group.unban(now.steady, &layer, &range);
                }
            }
            Input::Settled => {
                self.settle(now.steady);
                self.settle_names(out);
            }
            Input::Protect(networks) => {
                if self.protected != networks {
                    self.protected = networks;
                    self.groups.values_mut().for_each(|group| group.is_dirty = true);
                }
            }
            Input::Answer(number, result) => self.answer(now, number, result, out),
            Input::Review => self.review(),
            Input::Tick => {}
        }
        self.advance(now, out);
    }

    /// When [`Input::Tick`] is due at the latest, on the steady clock.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.wake
    }

    /// Whether the call that is to be answered only looks whether there is a rule from before the books: that there is
    /// none is no trouble.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.task == work::Task::Probe)
    }

    fn group_of(&mut self, layer: &LayerId) -> Option<&mut Group> {
        self.groups.values_mut().find(|group| group.layers.contains_key(layer))
    }

    fn open(&mut self, layer: LayerId, options: Options, out: &mut Vec<Output>) {
        let base: Arc<str> = options.rule.as_str().into();
        if let Some(clash) = self.clash(&base) {
            return out.push(Output::Failing(layer, Some(clash)));
        }
        let books = &self.books;
        let group = self
            .groups
            .entry(base)
            .or_insert_with(|| Group::from_books(options.clone(), books));
        let told = group.open(layer.clone(), options);
        out.extend(told.into_iter().map(|text| Output::Note(Loudness::Warning, text)));
        if let Some(failing) = &group.failing {
            out.push(Output::Failing(layer, Some(failing.text.clone())));
        }
        self.settle_names(out);
    }

    /// All that was kept is ordered. What is ours in a rule for which nobody bans any more is to go as well.
    fn settle(&mut self, now: Timestamp) {
        self.is_settled = true;
        for (rule, account) in &self.books.rules {
            if account.claims.is_empty() && account.base.is_none() {
                continue;
            }
            // What another writer made as a part has no base in our books, and is a part all the same.
            let base = account.base.as_deref().map(Arc::from);
            let base = base
                .or_else(|| self.owner(rule))
                .unwrap_or_else(|| rule.as_str().into());
            let options = || Group::from_books(Options::new(&base), &self.books);
            self.groups.entry(Arc::clone(&base)).or_insert_with(options).join(rule);
        }
        for group in self.groups.values_mut() {
            group.loose_since.get_or_insert(now);
        }
    }

    /// Everything is read, and planned, anew; what waited for a person's mend is tried.
    fn review(&mut self) {
        for group in self.groups.values_mut() {
            // Whoever asks wants it done: what may go waits no longer.
            group.loose_since = group.loose_since.map(|_| Timestamp::default());
            group.retry_at = None;
            group.closed = None;
            group.local_six = None;
            group.is_dirty = true;
            group.parts.iter_mut().for_each(|part| part.read_by = None);
        }
    }
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// Each rule, base rules first
    pub rules: Vec<RuleView>,
    /// Bans that are not written because they are protected, and why
    pub protected: Vec<(IpNet, String)>,
    /// Bans that found no room
    pub evicted: Vec<IpNet>,
    /// IPv6 bans that stay in the kernel alone, and why
    pub local_only: Option<(usize, String)>,
    /// Since when the oldest ban waits to be written, on the steady clock
    pub oldest: Option<crate::time::Timestamp>,
    /// The write or the operation that is under way
    pub under_way: Option<String>,
    /// Writes that ended well since the start
    pub writes: u64,
    /// The last trouble, with its mend; none once a call went well
    pub trouble: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleView {
    /// Its name
    pub name: String,
    /// The base rule that it is a part of; itself
    pub base: String,
    /// What was read last, in its order
    pub read: Option<Vec<String>>,
    /// When that was, on the wall clock
    pub read_at: Option<crate::time::Timestamp>,
    /// What it shall hold
    pub wanted: Vec<IpNet>,
    /// Entries that are somebody else's
    pub foreign: usize,
    /// To be added
    pub adds: Vec<IpNet>,
    /// To be taken out
    pub removes: Vec<IpNet>,
    /// Most entries that it takes, as far as that is known
    pub limit: Option<usize>,
    /// Whether it is ours alone
    pub is_own: bool,
    /// Why it is not written, with the mend
    pub refused: Option<String>,
}
