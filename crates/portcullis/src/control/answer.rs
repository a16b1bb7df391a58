//! The JSON that our verbs answer with. The shapes are stable: fields are added, never changed or removed. Each field
//! stands in docs/guide/json.md, and `tests/daemon/json.rs` holds the two together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `status`: how things stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Whether everything that is decided can be enforced
    pub(crate) protected: bool,
    /// Why not, one sentence each; empty when protected
    pub(crate) not_protected: Vec<String>,
    /// Whether nothing is enforced on purpose
    pub(crate) dry_run: bool,
    /// Our version
    pub(crate) version: String,
    /// The daemon's process id
    pub(crate) pid: u32,
    /// Since when it runs (RFC 3339)
    pub(crate) since: String,
    /// The database, and how many records could not be written to it yet
    pub(crate) database: Option<String>,
    /// Records kept in memory because the database refuses them
    pub(crate) unsaved: usize,
    /// The jails by name
    pub(crate) jails: Vec<Jail>,
    /// What is wrong with the configuration, one line each
    pub(crate) diagnostics: Vec<String>,
    /// Where the configuration comes from: files or a client's stream, and what commands changed since
    #[serde(default)]
    pub(crate) source: String,
    /// Where the cloud's firewall lags behind what was decided, while the kernel holds all of it; one sentence each
    #[serde(default)]
    pub(crate) lagging: Vec<String>,
    /// When the configuration in force was read, or taken from a client (RFC 3339)
    #[serde(default)]
    pub(crate) configured: String,
    /// What the files came to when they were read, as a hash; null where the configuration is a client's
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
}

/// One jail in `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Jail {
    pub(crate) name: String,
    /// Counters that are half full
    pub(crate) currently_failed: usize,
    /// Failures counted since the start
    pub(crate) total_failed: u64,
    /// Bans in force
    pub(crate) currently_banned: usize,
    /// Bans since the start
    pub(crate) total_banned: u64,
    /// What it reads
    pub(crate) files: Vec<File>,
    /// Why it must not ban, if it must not
    pub(crate) held: Option<String>,
    /// Why it reads nothing, if it does not
    pub(crate) blind: Option<String>,
    /// Its actions by name: `native`, `shell` or `dry`, and the last failure
    pub(crate) actions: BTreeMap<String, Action>,
    /// Addresses banned; only in `status JAIL`
    pub(crate) banned: Option<Vec<String>>,
    /// What is counted and shown beside (lines over the cap, unknown lines, lines seen but not counted)
    pub(crate) remarks: Vec<String>,
    /// Lines read since it was last set to read
    #[serde(default)]
    pub(crate) lines: u64,
    /// Of these, the ones with a failure
    #[serde(default)]
    pub(crate) matched: u64,
    /// When the last line was read (RFC 3339)
    #[serde(default)]
    pub(crate) last_line: Option<String>,
    /// When the last one with a failure was (RFC 3339)
    #[serde(default)]
    pub(crate) last_match: Option<String>,
}

/// One log file of a jail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) path: String,
    /// `reading`, or what keeps us from it
    pub(crate) state: String,
}

/// One action of a jail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Action {
    /// `native`, `shell` or `dry`
    pub(crate) way: String,
    /// The last failure, until it succeeds again
    pub(crate) failure: Option<String>,
    /// Addresses that it failed to ban, and has not banned since
    #[serde(default)]
    pub(crate) failed: usize,
    /// How often it was found to hold something else than it was told
    #[serde(default)]
    pub(crate) drifts: u64,
    /// The last time, in words
    #[serde(default)]
    pub(crate) last_drift: Option<String>,
    /// For so many seconds in all, since the start, it did not enforce everything that was decided
    #[serde(default)]
    pub(crate) unprotected: f64,
    /// The last such moment (RFC 3339)
    #[serde(default)]
    pub(crate) last_unprotected: Option<String>,
    /// How far it has come, where it bans in a rule of the cloud's firewall
    #[serde(default)]
    pub(crate) cloud: Option<Progress>,
}

/// How far an action has come that bans in a rule of the cloud's firewall.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The project; null while nobody knows which
    pub(crate) project: Option<String>,
    /// The rule that it bans in, and those that are a part of it
    pub(crate) rules: Vec<String>,
    /// Bans that it is to make true
    pub(crate) decided: usize,
    /// Of these, the ones that the API has confirmed
    pub(crate) applied: usize,
    /// Of these, the ones that were read back
    pub(crate) verified: usize,
    /// Of these, the ones that wait to be written
    pub(crate) pending: usize,
    /// For how long the oldest of them has waited, in seconds
    pub(crate) lag: Option<f64>,
    /// Entries of the rules that are somebody else's
    pub(crate) foreign: usize,
    /// Bans that found no room
    pub(crate) evicted: usize,
    /// When the rules were last read (RFC 3339)
    pub(crate) read: Option<String>,
    /// What keeps it from being level, with the mend
    pub(crate) trouble: Option<String>,
    /// What is to be known beside, one sentence each
    pub(crate) remarks: Vec<String>,
}

/// One entry of `banned`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Banned {
    pub(crate) ip: String,
    pub(crate) jail: String,
    /// The last failure before the ban (RFC 3339)
    pub(crate) since: String,
    /// The end (RFC 3339); null for ever
    pub(crate) until: Option<String>,
    /// How far it has come, by action: `decided`, `applied`, `verified`, `dry`, `protected: …`, `failed: …`
    pub(crate) layers: BTreeMap<String, String>,
    /// When it came so far, by action
    #[serde(default)]
    pub(crate) times: BTreeMap<String, Times>,
}

/// When a ban came how far in one layer (RFC 3339, with milliseconds).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// When the layer was told
    pub(crate) decided: String,
    /// When it confirmed that
    pub(crate) applied: Option<String>,
    /// When it was last read back
    pub(crate) verified: Option<String>,
}

/// `cloud`: the rules of each project that are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clouds {
    pub(crate) projects: Vec<CloudView>,
}

/// The rules of one project, as they stand and as they shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CloudView {
    /// The project; null while nobody knows which
    pub(crate) project: Option<String>,
    /// The API's base address
    pub(crate) endpoint: String,
    /// Who writes
    pub(crate) writer: String,
    /// The layers that ban there, as `JAIL/ACTION`
    pub(crate) layers: Vec<String>,
    /// Each rule, base rules first
    pub(crate) rules: Vec<CloudRule>,
    /// Bans that are not written because they are protected
    pub(crate) protected: Vec<CloudProtected>,
    /// Bans that found no room
    pub(crate) evicted: Vec<String>,
    /// How many IPv6 bans stay in the kernel alone; 0 where none do
    pub(crate) local_only: usize,
    /// Why they do
    pub(crate) local_only_why: Option<String>,
    /// Since when the oldest ban waits to be written (RFC 3339, with milliseconds)
    pub(crate) oldest: Option<String>,
    /// The same in seconds, up to the moment of `at`
    pub(crate) lag: Option<f64>,
    /// The write or the operation that is under way
    pub(crate) under_way: Option<String>,
    /// Writes that ended well since the start
    pub(crate) writes: u64,
    /// The last trouble, with its mend; null once a call went well
    pub(crate) trouble: Option<String>,
    /// Why the books are not kept, where they are not
    pub(crate) unsaved: Option<String>,
    /// When this was true (RFC 3339, with milliseconds)
    pub(crate) at: String,
}

/// One rule in [`CloudView`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CloudRule {
    pub(crate) name: String,
    /// The base rule that it is a part of; itself
    pub(crate) base: String,
    /// What was read last, in its order; null where it was not read yet
    pub(crate) read: Option<Vec<String>>,
    /// When that was (RFC 3339)
    pub(crate) read_at: Option<String>,
    /// What it shall hold
    pub(crate) wanted: Vec<String>,
    /// Entries that are somebody else's
    pub(crate) foreign: usize,
    /// To be added
    pub(crate) adds: Vec<String>,
    /// To be taken out
    pub(crate) removes: Vec<String>,
    /// Most entries that it takes, as far as that is known
    pub(crate) limit: Option<usize>,
    /// Whether it is ours alone
    pub(crate) is_own: bool,
    /// Why it is not written, with the mend
    pub(crate) refused: Option<String>,
}

/// A ban that is not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CloudProtected {
    pub(crate) range: String,
    /// Why
    pub(crate) why: String,
}

/// `verify`: what is decided, held against what the layers hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verification {
    /// Whether a layer holds less or more than was decided
    pub(crate) drift: bool,
    /// Why what is decided may not be in force; empty when protected
    pub(crate) not_protected: Vec<String>,
    /// Where the cloud's firewall lags behind what was decided, while the kernel holds all of it; one sentence each
    #[serde(default)]
    pub(crate) lagging: Vec<String>,
    /// The layers, by jail and action
    pub(crate) layers: Vec<Layer>,
    /// What the client's `--probe` found; the daemon knows nothing of it
    #[serde(default)]
    pub(crate) probe: Option<Probe>,
}

/// One layer in `verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub(crate) jail: String,
    pub(crate) action: String,
    /// `native`, `shell`, `mail` or `dry`
    #[serde(default)]
    pub(crate) way: String,
    /// How it stands in a word, see [`state`]
    #[serde(default)]
    pub(crate) state: String,
    /// Whether it can be read back
    #[serde(default)]
    pub(crate) verifiable: bool,
    /// Bans that the layer is to make true
    pub(crate) decided: usize,
    /// Of these, the ones that it has confirmed
    #[serde(default)]
    pub(crate) applied: usize,
    /// Of these, the ones that were found in it now
    #[serde(default)]
    pub(crate) verified: usize,
    /// Of these, the ones that it refused, or failed to carry out
    #[serde(default)]
    pub(crate) failed: usize,
    /// Bans that it was found to hold; null where it cannot be read back
    pub(crate) held: Option<usize>,
    /// Decided and not held: mended right after
    pub(crate) missing: Vec<String>,
    /// Held and not decided
    pub(crate) extra: Vec<String>,
    /// As in [`Action`]
    #[serde(default)]
    pub(crate) drifts: u64,
    /// As in [`Action`]
    #[serde(default)]
    pub(crate) unprotected: f64,
    /// As in [`Action`]
    #[serde(default)]
    pub(crate) last_unprotected: Option<String>,
    /// When it was last read back and found whole, or mended (RFC 3339)
    #[serde(default)]
    pub(crate) read: Option<String>,
}

/// The words for how a layer stands.
pub(crate) mod state {
    /// Everything that was decided was found in it, and nothing else.
    pub(crate) const VERIFIED: &str = "verified";
    /// It cannot be read back, and has confirmed everything.
    pub(crate) const APPLIED: &str = "applied (not verifiable)";
    /// It cannot be read back, and is still at work.
    pub(crate) const DECIDED: &str = "decided (not verifiable)";
    /// It holds less or more than was decided.
    pub(crate) const DRIFT: &str = "drift";
    /// It failed to carry out something.
    pub(crate) const FAILING: &str = "failing";
    /// It could not be read back now.
    pub(crate) const UNREADABLE: &str = "unreadable";
    /// The cloud's rules were read, and hold everything; whether packets are dropped by them nobody can see from here.
    pub(crate) const READ_BACK: &str = "read back";
    /// The cloud is still at work, and not late.
    pub(crate) const PENDING: &str = "pending";
    /// The cloud's rules are full, and do not hold everything.
    pub(crate) const FULL: &str = "full";
    /// The cloud does not follow.
    pub(crate) const LAGGING: &str = "lagging";
    /// It enforces nothing, on purpose.
    pub(crate) const DRY: &str = "dry";
}

/// What a packet of a probe found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// `proven`, `not dropped` or `inconclusive`
    pub(crate) result: String,
    /// Why it is not proven
    pub(crate) reason: Option<String>,
    /// The address that was banned
    pub(crate) address: Option<String>,
    /// Whether a new connection was dropped
    pub(crate) tcp: Option<bool>,
    /// Whether a datagram was
    pub(crate) udp: Option<bool>,
    /// Whether a connection that was open before the ban hung
    pub(crate) established: Option<bool>,
    /// Whether it got through again after the ban
    pub(crate) freed: Option<bool>,
    /// From the request to ban to the first packet without an answer, in milliseconds
    pub(crate) ms: Option<f64>,
}

/// What a request that changes something came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// How many bans it made or lifted
    pub(crate) count: usize,
    /// What is to be known beside
    pub(crate) notes: Vec<String>,
}

/// What a reload came to: as [`Done`], with what is not in force afterwards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// Jails in force
    pub(crate) count: usize,
    /// Complaints about the configuration
    pub(crate) notes: Vec<String>,
    /// Jails that are read and may not ban
    pub(crate) held: Vec<Held>,
    /// As in [`Status`]
    pub(crate) protected: bool,
    /// As in [`Status`]
    pub(crate) not_protected: Vec<String>,
    /// As in [`Status`]
    pub(crate) dry_run: bool,
}

/// A jail that may not ban.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) jail: String,
    /// Why
    pub(crate) reason: String,
}

/// What could not be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// Why, one sentence
    pub(crate) error: String,
    /// The exit code
    pub(crate) exit: u8,
}
