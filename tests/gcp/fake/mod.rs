//! A fake of the Compute API and of the metadata server, as strict as what is known of them allows.
//!
//! It listens on a random port of the loopback of its network namespace, with one thread a connection, and keeps its
//! state behind one lock. Operations end by the clock: whoever asks next sees them ended, in their order.
//!
//! Names, statuses, reasons and the order of calls are facts: Google's own client drives it, and every call and answer
//! is held against the published description of the API. Our guesses, where no record of the service is known: how the
//! refusals of mixed families, of bits behind a prefix and of bare addresses look; that a busy network refuses a
//! change of a rule; that a patch takes effect when its operation ends, and replaces what others wrote meanwhile;
//! that a list emptied by a patch means everybody, as it is known of a rule made without sources. To pass against it
//! proves the protocol, not the service.

mod api;
mod fault;
mod http;
mod human;
mod list;
mod metadata;
mod operation;
mod problem;
mod record;
mod rule;
mod server;
mod state;
mod watch;
mod write;

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::Value;

pub(crate) use fault::Fault;
pub(crate) use metadata::{ACCOUNT, EXTERNAL, INTERNAL};
pub(crate) use problem::Problem;
pub(crate) use record::Record;
pub(crate) use state::{Busy, Change, INSTANCE, NUMBER, PROJECT, Project, Rule, Settings, State, WIDE, ZONE};

use crate::schema;

/// What all threads share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rung when something changes that somebody may wait for
    bell: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle();
        state
    }
}

/// A running fake. When it goes, every call and every answer is held against the published schema, and nothing may
/// have been found that must never happen.
pub(crate) struct Fake {
    shared: Arc<Shared>,
    address: SocketAddr,
    end: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// In the network namespace of this thread.
    pub(crate) fn start() -> Fake {
        Fake::listening(None)
    }

    /// In another network namespace, whose loopback is up.
    pub(crate) fn start_in(namespace: File) -> Fake {
        Fake::listening(Some(namespace))
    }

    fn listening(namespace: Option<File>) -> Fake {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new()),
            bell: Condvar::new(),
        });
        let (end, other) = UnixStream::pair().unwrap();
        let (address, thread) = server::start(Arc::clone(&shared), namespace, other);
        Fake {
            shared,
            address,
            end,
            thread: Some(thread),
        }
    }

    /// Everything, to look at or to change.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.shared.lock());
        self.shared.bell.notify_all();
        result
    }

    /// For `CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/compute/v1/", self.address)
    }

    /// For `GCE_METADATA_HOST` and `GCE_METADATA_ROOT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Changes how the service behaves.
    pub(crate) fn settings(&self, act: impl FnOnce(&mut Settings)) {
        self.with(|state| act(&mut state.settings));
    }

    /// The next `times` calls with this method (any for `*`) and this text in their path meet a fault.
    pub(crate) fn script(&self, method: &str, path: &str, times: usize, fault: Fault) {
        self.with(|state| state.script.add(method, path, times, fault));
    }

    /// Takes all faults away.
    pub(crate) fn heal(&self) {
        self.with(|state| state.script.clear());
    }

    /// Lets the held operations end.
    pub(crate) fn release(&self) {
        self.with(State::release);
    }

    /// The tokens that the metadata server gave so far are good for nothing any more.
    pub(crate) fn revoke(&self) {
        self.with(|state| state.tokens.clear());
    }

    /// Networks that portcullis must never write.
    pub(crate) fn forbid(&self, networks: &[&str]) {
        let networks = networks.iter().map(|text| text.parse::<IpNet>().unwrap());
        self.with(|state| state.watch.forbidden.extend(networks));
    }

    /// A rule of the machine's project.
    pub(crate) fn rule(&self, name: &str) -> Option<Rule> {
        self.with(|state| state.projects[PROJECT].rules.get(name).cloned())
    }

    /// Its source ranges; none without the rule.
    pub(crate) fn ranges(&self, name: &str) -> Vec<String> {
        self.rule(name).map(|rule| rule.ranges()).unwrap_or_default()
    }

    /// All calls so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.with(|state| state.records.clone())
    }

    /// How often a call came, by its method and the end of its path.
    pub(crate) fn count(&self, method: &str, end: &str) -> usize {
        self.records().iter().filter(|record| record.is(method, end)).count()
    }

    /// The lists that were written to a rule and taken.
    pub(crate) fn writes(&self, rule: &str) -> Vec<Vec<String>> {
        let end = format!("/firewalls/{rule}");
        let records = self.records();
        let taken = records
            .iter()
            .filter(|record| record.is("PATCH", &end) && record.status() == Some(200));
        let lists = taken.filter_map(|record| record.body.get("sourceRanges"));
        lists.map(state::texts).collect()
    }

    /// How a rule's sources changed.
    pub(crate) fn changes(&self, rule: &str) -> Vec<Change> {
        let all = self.with(|state| state.changes.clone());
        all.into_iter().filter(|change| change.rule == rule).collect()
    }

    /// What was found that must never happen; it is forgotten by that.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.watch.found))
    }

    /// Waits until something holds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        let mut state = self.shared.lock();
        while !holds(&state) {
            assert!(Instant::now() < deadline, "never: {what}");
            let soon = Duration::from_millis(20);
            let (woken, _) = self
                .shared
                .bell
                .wait_timeout(state, soon)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.settle();
        }
    }

    /// Waits until a rule lists a range, or no longer does.
    pub(crate) fn until_listed(&self, rule: &str, range: &str, is_listed: bool) {
        let what = format!("{rule} has {range}: {is_listed}");
        self.until(&what, |state| {
            let rule = state.projects[PROJECT].rules.get(rule);
            rule.is_some_and(|rule| rule.ranges().iter().any(|there| there == range)) == is_listed
        });
    }

    /// Waits until so many such calls have come in, answered or not.
    pub(crate) fn until_called(&self, method: &str, end: &str, times: usize) {
        self.until(&format!("{method} {end} comes {times} times"), |state| {
            state.records.iter().filter(|record| record.is(method, end)).count() >= times
        });
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.with(|state| state.is_over = true);
        let _ = self.end.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let records = self.records();
        if std::thread::panicking() {
            let last: Vec<String> = records.iter().rev().take(12).rev().map(brief).collect();
            eprintln!("--- calls\n{}", last.join("\n"));
            return;
        }
        assert_eq!(self.findings(), Vec::<String>::new(), "what must never happen");
        assert_eq!(
            schema::differences(&records),
            Vec::<String>::new(),
            "not in compute.v1.json"
        );
    }
}

/// A call in one line.
fn brief(record: &Record) -> String {
    let body: String = match &record.body {
        Value::Null => String::new(),
        body => body.to_string().chars().take(300).collect(),
    };
    let status = record
        .status()
        .map_or("no answer".to_owned(), |status| status.to_string());
    let agent = record.agent.split(' ').next().unwrap_or_default();
    format!("{} {} {body} → {status} ({agent})", record.method, record.path)
}
