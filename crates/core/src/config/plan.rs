//! What is to be done, jail by jail: the command stream after it was applied.

use std::collections::BTreeMap;
use std::sync::Arc;

pub use super::refusal::CommandError;
use crate::prefix::Prefix;
use crate::time::Seconds;
use crate::value::Value;

/// Everything that the stream says.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// What concerns the server as a whole.
    pub server: Server,
    /// The jails, in the order of the stream.
    pub jails: Vec<JailPlan>,
}

/// Server options (contract §2.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `loglevel`, upper case as set by name
    pub loglevel: String,
    /// `logtarget`, with its options in brackets
    pub logtarget: String,
    /// `syslogsocket`
    pub syslogsocket: String,
    /// `allowipv6`: `auto` or a truth
    pub allowipv6: String,
    /// `dbfile`; `None` for `None`
    pub dbfile: Option<String>,
    /// `dbmaxmatches`
    pub dbmaxmatches: u32,
    /// `dbpurgeage`
    pub dbpurgeage: Seconds,
    /// `thread`: the size of a thread's stack in KiB, 0 for the system's; nothing but `get thread` knows of it
    pub stacksize: i64,
    /// What `get` answers where that is of another kind or spelling than what is kept above, by option
    pub given: BTreeMap<String, Value>,
}

impl Server {
    /// The options that `set` takes (contract §8.5).
    pub const OPTIONS: [&str; 8] = [
        "loglevel",
        "logtarget",
        "syslogsocket",
        "allowipv6",
        "thread",
        "dbfile",
        "dbmaxmatches",
        "dbpurgeage",
    ];
}

impl Default for Server {
    fn default() -> Self {
        Server {
            loglevel: "INFO".into(),
            logtarget: "STDOUT".into(),
            syslogsocket: "auto".into(),
            allowipv6: "auto".into(),
            dbfile: Some("/var/lib/fail2ban/fail2ban.sqlite3".into()),
            dbmaxmatches: 10,
            dbpurgeage: Seconds::new(86_400),
            stacksize: 0,
            given: BTreeMap::new(),
        }
    }
}

/// What to do about a host name in place of an address (contract §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UseDns {
    /// Look it up.
    Yes,
    /// Look it up and say so in the log.
    #[default]
    Warn,
    /// `<HOST>` matches addresses only.
    No,
    /// The name itself is the id.
    Raw,
}

impl UseDns {
    /// Its word in a configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            UseDns::Yes => "yes",
            UseDns::Warn => "warn",
            UseDns::No => "no",
            UseDns::Raw => "raw",
        }
    }
}

/// One jail (contract §2.2), with the server's own defaults where the stream is silent.
#[derive(Clone, Debug, PartialEq)]
pub struct JailPlan {
    /// Its name
    pub name: Arc<str>,
    /// `backend`, as given to `add`
    pub backend: String,
    /// `usedns`
    pub usedns: UseDns,
    /// `prefregex`, if any
    pub prefregex: Option<String>,
    /// `failregex`es in order, tags not expanded
    pub failregex: Vec<String>,
    /// `ignoreregex`es in order, tags not expanded
    pub ignoreregex: Vec<String>,
    /// `maxlines`
    pub maxlines: u32,
    /// `datepattern`; `None` for the default list
    pub datepattern: Option<String>,
    /// `logtimezone`
    pub logtimezone: Option<String>,
    /// `logencoding`
    pub logencoding: String,
    /// `journalmatch` groups, each a list of terms
    pub journalmatch: Vec<Vec<String>>,
    /// `logpath`s
    pub logpath: Vec<LogPath>,
    /// `maxretry`
    pub maxretry: u32,
    /// `maxmatches`
    pub maxmatches: u32,
    /// `findtime`
    pub findtime: Seconds,
    /// `bantime`; negative for ever
    pub bantime: Seconds,
    /// `bantime.*` options as given, by their last word (`increment`, `factor`, …)
    pub increment: Vec<(String, String)>,
    /// `prefix.*`: the networks under which addresses are counted and banned
    pub prefix: Prefix,
    /// `ignoreself`
    pub ignoreself: bool,
    /// `ignoreip` entries in order
    pub ignoreip: Vec<String>,
    /// `ignorecommand`; empty for none
    pub ignorecommand: String,
    /// `ignorecache`, as given
    pub ignorecache: Option<String>,
    /// Actions in order
    pub actions: Vec<ActionPlan>,
    /// Whether the stream starts it
    pub started: bool,
    /// Whether it rests (`set JAIL idle on`): what is counted bans nobody until it wakes. The shell around the engine
    /// sets it also for a jail that was not started.
    pub idle: bool,
    /// What `get` answers where that is of another kind or spelling than what is kept above, by option
    pub given: BTreeMap<String, Value>,
}

/// `ignorecache`, read (contract §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// Under what a verdict is kept: a text with tags
    pub key: String,
    /// How many verdicts are kept
    pub most: usize,
    /// For how long
    pub lasts: Seconds,
}

/// A log to follow: a file, or the output of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPath {
    /// The file, or the name of what is none
    pub path: String,
    /// Whether to begin at its end (`tail`)
    pub tail: bool,
}

impl LogPath {
    /// Standard input of the main process, as a log.
    pub const INPUT: &str = "/dev/stdin";
    /// What stands before a program whose output is a log (`logcommand`): together they are the name of that log
    /// wherever a file has its path.
    const PROGRAM: &str = "command:";

    /// The output of a program, a script for `/bin/sh`.
    #[must_use]
    pub fn of_program(script: &str) -> LogPath {
        LogPath {
            path: format!("{}{script}", LogPath::PROGRAM),
            tail: false,
        }
    }

    /// The program whose output the log with this name is.
    #[must_use]
    pub fn program(path: &str) -> Option<&str> {
        path.strip_prefix(LogPath::PROGRAM)
    }

    /// Whether a log with this name is no file: a program's output, or standard input.
    #[must_use]
    pub fn is_stream(path: &str) -> bool {
        path == LogPath::INPUT || LogPath::program(path).is_some()
    }
}

/// One action of a jail: its name and its properties in stream order, `?family=` keys included.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionPlan {
    /// The name within the jail (`actname`)
    pub name: Arc<str>,
    /// `actionban`, `actionstart`, `timeout`, `port`, …, unexpanded
    pub properties: Vec<(String, Value)>,
}

impl ActionPlan {
    /// The property that names the file of an action written in Python. Fail2Ban shows no property that begins with an
    /// underscore.
    pub const FILE: &str = "__file__";
    /// The property with the options of such an action: a JSON object.
    pub const OPTIONS: &str = "__options__";

    /// A property as text, if there is one of that name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<String> {
        self.properties
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.to_string())
    }
}

impl JailPlan {
    /// A jail as `add` makes it, with the server's defaults.
    #[must_use]
    pub fn new(name: &str, backend: &str) -> Self {
        JailPlan {
            name: name.into(),
            backend: backend.to_owned(),
            usedns: UseDns::Warn,
            prefregex: None,
            failregex: Vec::new(),
            ignoreregex: Vec::new(),
            maxlines: 1,
            datepattern: None,
            logtimezone: None,
            logencoding: "auto".into(),
            journalmatch: Vec::new(),
            logpath: Vec::new(),
            maxretry: 3,
            maxmatches: 5,
            findtime: Seconds::new(600),
            bantime: Seconds::new(600),
            increment: Vec::new(),
            prefix: Prefix::default(),
            ignoreself: true,
            ignoreip: Vec::new(),
            ignorecommand: String::new(),
            ignorecache: None,
            actions: Vec::new(),
            started: false,
            idle: false,
            given: BTreeMap::new(),
        }
    }
}
