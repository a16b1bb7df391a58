//! One project's rules as a state machine: one write at a time, followed to its end and read back.

use std::sync::Arc;

use ipnet::IpNet;

use super::books::{Books, Entry};
use super::options::Options;
use super::rule::Rule;
use super::trouble::Trouble;
use crate::ledger::{LayerId, Standing};
use crate::time::Clock;

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

/// One project's rules.
pub struct Reconciler {
    host: Host,
    books: Books,
}

impl Reconciler {
    /// With what was kept. `seed` is a number that nobody else knows; ids of requests come from it.
    #[must_use]
    pub fn new(host: Host, books: Books, seed: u64) -> Reconciler {
        let _ = seed;
        Reconciler { host, books }
    }

    /// One thing that happened, and what is to be done.
    pub fn handle(&mut self, _now: Clock, _input: Input, _out: &mut Vec<Output>) {
        let _ = (&self.host, &self.books);
    }

    /// When [`Input::Tick`] is due at the latest, on the steady clock.
    #[must_use]
    pub fn next_wake(&self) -> Option<crate::time::Timestamp> {
        None
    }

    /// How things stand, for status, `gcp status` and `gcp plan`.
    #[must_use]
    pub fn view(&self, _now: Clock) -> View {
        View::default()
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
