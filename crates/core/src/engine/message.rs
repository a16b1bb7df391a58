//! What goes into the engine and what comes out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::action::{Fetched, Need, Values};
use crate::address::Id;
use crate::allow::{Found, Rule, Stat};
use crate::config::plan::JailPlan;
use crate::exception::Exception;
use crate::filter::{Failure, Sessions};
use crate::history::Past;
use crate::ledger::{Applied, Change, Count, Drift, Entry, LayerId, Mark, Pending, Reading, Ticket};
use crate::time::{Clock, Number, Seconds, Timestamp};
use crate::value::Value;

/// Whom a reply goes to; the shell around the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplyTo(pub u64);

/// Everything that can happen to the engine.
#[derive(Clone, Debug)]
pub enum Input {
    /// The jails as they shall be from now on, all of them.
    Plan(Vec<Arrangement>),
    /// Some jails end and some are new or changed; the others are left alone.
    Amend {
        /// These end, as far as they are there
        gone: BTreeSet<Arc<str>>,
        /// These are as this from now on
        jails: Vec<Arrangement>,
    },
    /// What an earlier run kept: once, after the first plan, and of each jail that starts later, after that.
    Restore(Saved),
    /// Lines were read.
    Batch(Batch),
    /// The host's own addresses, at the start and whenever they were looked up anew.
    Own(BTreeSet<IpAddr>),
    /// The networks that native layers do not ban, at the start and whenever they were gathered anew.
    Protected(Vec<IpNet>),
    /// What was asked for with [`Effect::Ask`].
    Answer(Answer),
    /// A layer did what it was told, or did not.
    Applied(Applied),
    /// A layer was set up anew and lost the bans that it held.
    Lost(LayerId),
    /// A layer was read back, and mended where it differed from what it was told.
    Read(Reading),
    /// A layer cannot follow what was decided, and why; `None` once it can again.
    Failing(LayerId, Option<String>),
    /// Somebody asks for something.
    Request(Request, ReplyTo),
    /// A number that nobody else knows, for random times; comes at the start.
    Seed(u64),
    /// The database was purged of what is older than this; so is what the engine knows of earlier bans.
    Purge(Timestamp),
    /// Nothing more is read for now: how far the counting has come is to be kept.
    Keep,
    /// The server stops for good: everybody is freed (invariant 11).
    Stop,
    /// Time has passed.
    Tick,
}

/// One jail of a plan, with what the shell knows about it.
#[derive(Clone, Debug)]
pub struct Arrangement {
    /// The plan
    pub plan: JailPlan,
    /// Why it must not ban for now, if it must not (invariant 12)
    pub held: Option<String>,
    /// Which of its actions are native layers: these are retried, and renewed when an end moves
    pub native: BTreeSet<Arc<str>>,
    /// Which of them are rules of a cloud's firewall: these say by and by what came of a ban, try again by themselves,
    /// and are told when an end moves
    pub cloud: BTreeSet<Arc<str>>,
    /// Whether the actions that it has already are told that they are reloaded
    pub reloaded: bool,
}

/// What an earlier run kept, times on the steady clock.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// Bans by jail
    pub bans: Vec<(Arc<str>, Ticket)>,
    /// Bans that another program wrote; a negative time of two seconds stands for the jail's own (contract §7.4)
    pub adopted: Vec<(Arc<str>, Ticket)>,
    /// Counters by jail
    pub counts: Vec<(Arc<str>, Id, Count)>,
    /// The last ban of everybody in each jail, in force or not; jails that are no more among them
    pub history: Vec<(Arc<str>, Id, Past)>,
    /// Failures that waited for an answer, by jail, with the numbers under which they are kept
    pub waiting: Vec<(Arc<str>, u64, Pending)>,
}

/// What the engine cannot know by itself. Each is answered once, however long that takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// The addresses of a host name.
    Name {
        /// The name
        name: String,
        /// Whether an `ignoreip` has it; names from log lines, which attackers choose, must not hold those up
        is_listed: bool,
    },
    /// What stands in a file of `ignoreip`, if it has changed.
    List {
        /// The path; a relative one begins at the root
        path: Arc<str>,
        /// How it was when it was read last
        known: Option<Stat>,
    },
    /// What tags of `ignorecommand` or of the key of `ignorecache` stand for.
    Facts {
        /// Comes back in the answer
        number: u64,
        /// The jail
        jail: Arc<str>,
        /// The failure
        ticket: Box<Ticket>,
        /// What is wanted
        needs: BTreeSet<Need>,
    },
    /// How `ignorecommand` ends.
    Command {
        /// Comes back in the answer
        number: u64,
        /// The command with its tags
        script: Arc<str>,
        /// What the tags stand for
        values: Values,
    },
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The addresses of a name; none if it has none.
    Name {
        /// The name
        name: String,
        /// Its addresses
        addresses: Vec<IpAddr>,
    },
    /// How a file is.
    List {
        /// The path
        path: Arc<str>,
        /// What was found
        found: Found,
    },
    /// What was wanted.
    Facts {
        /// The question's
        number: u64,
        /// The facts
        fetched: Fetched,
    },
    /// How `ignorecommand` ended.
    Command {
        /// The question's
        number: u64,
        /// Whether with 0, so that the failure does not count
        ignore: bool,
    },
}

/// What a matching group found in a run of lines, and how far it came.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The clocks when the lines were read; failure times are on the wall clock
    pub clock: Clock,
    /// Failures in order
    pub failures: Vec<Failure>,
    /// How far each jail has read each file
    pub reads: Vec<(Arc<str>, Arc<str>, Mark)>,
    /// Sessions of filters that changed
    pub sessions: Vec<(Arc<str>, Sessions)>,
    /// Whether this is the end of what there is to read, so that counters and positions are to be kept at once
    pub at_once: bool,
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Ban these by hand.
    Ban {
        /// Whom
        ids: Vec<Id>,
        /// In which jail
        jail: Arc<str>,
        /// How long, if not as the jail does
        bantime: Option<Seconds>,
    },
    /// Lift bans and forget them.
    Unban {
        /// Whom; everybody for `None`
        ids: Option<Vec<Id>>,
        /// In which jail; in all for `None`
        jail: Option<Arc<str>>,
    },
    /// A failure that is told by hand (`set JAIL attempt`). It is answered with 1 if it counts, with 0 if the jail
    /// ignores it, and not before that is known.
    Attempt {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// Its lines; each weighs 1, and none as much as one
        lines: Vec<String>,
    },
    /// Lift bans as Fail2Ban's `unbanip` and `unban` do: a network frees all whose address is in it, a name those whose
    /// address it has, which is asked for before there is an answer.
    Free {
        /// Whom, in the words of the command and as ids
        whom: Vec<(String, Id)>,
        /// In which jail; in all for `None`
        jail: Option<Arc<str>>,
        /// Whether somebody who is not banned is an error, after the others are freed
        report_absent: bool,
    },
}

/// What the engine wants done, in this order of importance: records are kept before changes are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Keep this.
    Record(Entry),
    /// Tell this to a layer.
    Change(Change),
    /// Find this out and answer with [`Input::Answer`]; until then everything else goes on.
    Ask(Question),
    /// Answer a request: how many it concerned, or why not.
    Reply(ReplyTo, Result<Value, Exception>),
    /// Say this in the log.
    Note(Event),
}

/// What the log says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A failure was counted.
    Found {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// When, on the steady clock
        time: Timestamp,
    },
    /// A failure was told by hand, and counted.
    Attempted {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// When, on the steady clock
        time: Timestamp,
    },
    /// A failure of somebody who was banned before counts more than once.
    Bad {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// When, on the steady clock
        time: Timestamp,
        /// How many bans there were
        count: u32,
        /// How much it counts
        weight: u32,
        /// How much is a ban
        maxretry: u32,
    },
    /// Somebody who is banned was banned before.
    Known {
        /// The jail
        jail: Arc<str>,
        /// Whom
        id: Id,
        /// The last ban, or all of them together
        past: Past,
        /// How long the jail bans
        from: Number,
        /// How long this one is banned
        to: Number,
    },
    /// A ban has another length than the jail's.
    Increased {
        /// The jail
        jail: Arc<str>,
        /// Whom
        id: Id,
        /// Which ban it is
        count: u32,
        /// How long
        length: Number,
        /// Until when, on the steady clock; `None` for ever
        until: Option<Timestamp>,
    },
    /// The formula for longer bans has no result; the ban lasts as the jail says.
    GrowthFailed {
        /// The jail
        jail: Arc<str>,
        /// Whom
        id: Id,
        /// Why
        error: String,
    },
    /// A failure was not counted.
    Ignored {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// Why
        rule: Rule,
    },
    /// A ban begins.
    Banned {
        /// The jail
        jail: Arc<str>,
        /// Whom
        id: Id,
        /// Whether it was kept from an earlier run
        restored: bool,
    },
    /// So many in one neighbourhood are banned that the whole of it is, from now on.
    Widened {
        /// The jail
        jail: Arc<str>,
        /// The neighbourhood
        id: Id,
        /// How many
        count: usize,
    },
    /// The same, but somebody in there must not be banned with the others.
    NotWidened {
        /// The jail
        jail: Arc<str>,
        /// The neighbourhood
        id: Id,
        /// How many
        count: usize,
        /// Who
        whom: &'static str,
    },
    /// A ban would be over before it begins.
    Expired {
        /// The jail
        jail: Arc<str>,
        /// Whom
        id: Id,
    },
    /// An offence by somebody who is banned already.
    Already {
        /// The jail
        jail: Arc<str>,
        /// Whom
        id: Id,
        /// New failure minus the failure that the ban stands on
        lateness: Seconds,
    },
    /// A ban ends.
    Unbanned {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// Whether the server or the jail stops
        repealed: bool,
    },
    /// A layer is emptied at once.
    Flushed {
        /// The layer
        layer: LayerId,
    },
    /// Everybody in a jail is freed at once.
    Emptied {
        /// The jail
        jail: Arc<str>,
    },
    /// Somebody who was to be freed is not banned.
    Absent {
        /// Who, in the words of the command
        whom: String,
    },
    /// An offence in a jail that must not ban.
    Held {
        /// The jail
        jail: Arc<str>,
        /// Whose
        id: Id,
        /// Why
        reason: String,
    },
    /// A failure counts for the addresses of a name, and the jail wants to be told (`usedns = warn`).
    Resolved {
        /// The name
        name: String,
        /// Its addresses
        addresses: Vec<IpAddr>,
    },
    /// A file of `ignoreip` could not be read.
    ListFailed {
        /// Its path
        path: Arc<str>,
        /// Why
        reason: String,
    },
    /// A layer failed.
    LayerFailed {
        /// The layer
        layer: LayerId,
        /// Whose ban, if it was one
        id: Option<Id>,
        /// What happened
        error: String,
    },
    /// A layer was found to differ from what it was told.
    Drifted {
        /// The layer
        layer: LayerId,
        /// How
        drift: Drift,
    },
    /// A jail is in force.
    Started {
        /// The jail
        jail: Arc<str>,
    },
    /// A jail is no more.
    Stopped {
        /// The jail
        jail: Arc<str>,
    },
    /// More was waiting for answers than the cap allows; the failure was not counted.
    TooManyQuestions {
        /// The jail
        jail: Arc<str>,
    },
}
