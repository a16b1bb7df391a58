//! What the cloud holds: projects with their networks, rules, machines and operations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fault::Script;
use super::operation::Operation;
use super::problem::Problem;
use super::record::Record;
use super::rule::Limits;
use super::watch::Watch;

/// The project whose machine the metadata server speaks for.
pub(crate) const PROJECT: &str = "fake-project";
/// Its number, under which the metadata server names networks.
pub(crate) const NUMBER: u64 = 410_298_375_016;
/// The zone of every machine.
pub(crate) const ZONE: &str = "europe-west3-c";
/// The machine that the metadata server speaks for.
pub(crate) const INSTANCE: &str = "mail";
/// How links begin, wherever the API is reached.
pub(crate) const LINKS: &str = "https://www.googleapis.com/compute/v1/";
/// The scope that covers every method.
pub(crate) const WIDE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// What a second write to a network meets while an operation runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// 400 `resourceNotReady`
    Refused,
    /// It is taken, and runs afterwards
    Queued,
}

/// How the service behaves.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long an operation runs
    pub(crate) pace: Duration,
    /// The longest that `wait` blocks
    pub(crate) patience: Duration,
    pub(crate) busy: Busy,
    pub(crate) limits: Limits,
    /// Permissions that the account lacks
    pub(crate) lacking: BTreeSet<String>,
    /// The scopes of the machine's service account
    pub(crate) scopes: Vec<String>,
    /// The tokens that are taken besides those of the metadata server; any for `None`
    pub(crate) tokens: Option<BTreeSet<String>>,
    /// How long a token of the metadata server lives, in seconds
    pub(crate) token_life: u64,
    /// The most entries of one page of a list
    pub(crate) page: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pace: Duration::from_millis(60),
            patience: Duration::from_secs(120),
            busy: Busy::Refused,
            limits: Limits {
                most: 5000,
                is_lax: false,
            },
            lacking: BTreeSet::new(),
            scopes: vec![WIDE.to_owned()],
            tokens: None,
            token_life: 3599,
            page: 500,
        }
    }
}

/// A rule with what people put into it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// As it is answered
    pub(crate) body: Value,
    /// Entries that a person put there, or that were there before all else
    pub(crate) by_hand: BTreeSet<String>,
    /// Whether portcullis made it
    pub(crate) is_made: bool,
}

impl Rule {
    /// Its source ranges, as they stand.
    pub(crate) fn ranges(&self) -> Vec<String> {
        texts(&self.body["sourceRanges"])
    }
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[derive(Clone, Debug)]
pub(crate) struct Project {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) networks: BTreeMap<String, Value>,
    pub(crate) rules: BTreeMap<String, Rule>,
    pub(crate) instances: BTreeMap<String, Value>,
    /// The most rules
    pub(crate) most_rules: usize,
}

impl Project {
    pub(crate) fn new(id: &str, number: u64) -> Project {
        let mut project = Project {
            id: id.to_owned(),
            number,
            networks: BTreeMap::new(),
            rules: BTreeMap::new(),
            instances: BTreeMap::new(),
            most_rules: 100,
        };
        project.add_network("default");
        project
    }

    pub(crate) fn add_network(&mut self, name: &str) {
        let network = json!({
            "kind": "compute#network",
            "id": (self.number + self.networks.len() as u64 + 7).to_string(),
            "creationTimestamp": stamp(),
            "name": name,
            "selfLink": self.link(&format!("global/networks/{name}")),
            "autoCreateSubnetworks": true,
            "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
            "routingConfig": {"routingMode": "REGIONAL"},
        });
        self.networks.insert(name.to_owned(), network);
    }

    /// The full address of something in it.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{LINKS}projects/{}/{path}", self.id)
    }
}

/// Everything, behind one lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) projects: BTreeMap<String, Project>,
    pub(crate) operations: BTreeMap<String, Operation>,
    /// In the order of their ends
    pub(crate) under_way: VecDeque<String>,
    /// Which request had this id: method and path, body, operation
    pub(crate) requests: BTreeMap<String, (String, Vec<u8>, String)>,
    pub(crate) script: Script,
    pub(crate) records: Vec<Record>,
    pub(crate) changes: Vec<Change>,
    pub(crate) watch: Watch,
    /// Tokens that the metadata server gave
    pub(crate) tokens: BTreeMap<String, Token>,
    /// What the metadata server says of its machine and project
    pub(crate) metadata: Value,
    /// Firewall policies above the rules, as `getEffectiveFirewalls` gives them
    pub(crate) policies: Vec<Value>,
    pub(crate) counter: u64,
    pub(crate) is_over: bool,
}

/// What a token of the metadata server is good for.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) scopes: Vec<String>,
    pub(crate) end: Instant,
}

/// A rule's sources after something changed them.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) rule: String,
    /// None once the rule is gone
    pub(crate) ranges: Option<Vec<String>>,
}

impl State {
    pub(crate) fn new() -> State {
        let mut state = State::default();
        state.projects.insert(PROJECT.to_owned(), Project::new(PROJECT, NUMBER));
        state.metadata = super::metadata::machine();
        let machine = super::metadata::instance();
        let project = state.projects.get_mut(PROJECT).expect("it was put there");
        project.instances.insert(INSTANCE.to_owned(), machine);
        state
    }

    /// A number that was not used before.
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        5_000_000_000_000_000_000 + self.counter
    }

    /// A project by its id or its number.
    pub(crate) fn project(&mut self, name: &str) -> Result<&mut Project, Problem> {
        let found = self.projects.values_mut();
        let mut found = found.filter(|project| project.id == name || project.number.to_string() == name);
        found
            .next()
            .ok_or_else(|| Problem::missing(&format!("projects/{name}")))
    }

    /// The full address of a network that a rule of this project names, in any of the ways that are taken.
    pub(crate) fn network(&mut self, project: &str, named: &str) -> Result<String, Problem> {
        let short = named.split_once("/projects/").map_or(named, |(_, rest)| rest);
        let short = short.trim_start_matches("projects/");
        let parts: Vec<&str> = short.split('/').collect();
        let (owner, name) = match parts[..] {
            [owner, "global", "networks", name] => (owner, name),
            ["global", "networks", name] => (project, name),
            _ => {
                return Err(Problem::invalid(
                    "network",
                    &json!(named),
                    "It is no address of a network.",
                ));
            }
        };
        let project = self.project(owner)?;
        let path = format!("global/networks/{name}");
        if project.networks.contains_key(name) {
            return Ok(project.link(&path));
        }
        Err(Problem::missing(&format!("projects/{}/{path}", project.id)))
    }

    /// Writes down how a rule's sources are now.
    pub(crate) fn note(&mut self, project: &str, rule: &str) {
        let ranges = self.projects[project].rules.get(rule).map(Rule::ranges);
        self.changes.push(Change {
            at: Instant::now(),
            rule: rule.to_owned(),
            ranges,
        });
    }
}

/// The wall clock as the service writes it.
pub(crate) fn stamp() -> String {
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(-7));
    let now = jiff::Timestamp::now().to_zoned(zone);
    now.strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string()
}
