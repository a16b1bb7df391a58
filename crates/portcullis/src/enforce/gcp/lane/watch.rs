//! What the lane does between orders: time that passes, who lags, what stands on the board, which machine this is.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::cloud::reconcile::{Host, RuleView, View};
use portcullis_core::ledger::LayerId;
use portcullis_core::time::Timestamp;

use super::project::Project;
use super::{Clouds, LATE, Layer, Machine, News, POST_EVERY, POST_TIMES, SESSIONS_EVERY, Tell};
use crate::enforce::Facts;
use crate::enforce::gcp::board::{Key, Posted};
use crate::enforce::gcp::metadata::{Metadata, is_expected};

/// So often a metadata server that must be there is asked before it is done without for now, with pauses that double.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// What is due is not looked at more often.
const SOON: Duration = Duration::from_millis(5);

/// Why it is not known yet where an action bans.
const ASKS: &str = "the metadata server has not answered yet";

/// As long as it is needed, it is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(60);

impl Clouds {
    /// Does what is due, and gives out the facts since the last time.
    pub(crate) fn rest(&mut self) -> Option<Facts> {
        let now = (self.around.clock)();
        if self.asks_again().is_some_and(|due| due.is_zero()) {
            self.ask_machine();
        }
        if !self.layers.is_empty() {
            self.look_who_is_here(SESSIONS_EVERY);
        }
        let keys: Vec<Key> = self.projects.keys().cloned().collect();
        for key in keys {
            let mut out = Vec::new();
            if let Some(project) = self.projects.get_mut(&key) {
                project.rest(now, &mut out);
            }
            self.is_stale |= !out.is_empty();
            out.into_iter().for_each(|output| self.carry_out(&key, output));
        }
        if self.is_stale && self.posted.elapsed() >= self.post_pause || self.late_at.is_some_and(|at| at <= now.steady)
        {
            self.post();
        }
        let told = std::mem::take(&mut self.told);
        (!told.is_empty()).then_some(told)
    }

    /// How long nothing is due.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let steady = (self.around.clock)().steady;
        let until = |at: Timestamp| Duration::from_micros(u64::try_from((at - steady).micros()).unwrap_or(0));
        let wakes = self.projects.values().filter_map(Project::next_wake);
        let wakes = wakes.map(|at| until(at).max(SOON));
        let books = self.projects.values().filter_map(|project| project.patience());
        let post = self
            .is_stale
            .then(|| self.post_pause.saturating_sub(self.posted.elapsed()));
        let here = self.here_at.map(|at| SESSIONS_EVERY.saturating_sub(at.elapsed()));
        let late = self.late_at.map(until).into_iter().chain(self.asks_again());
        wakes.chain(books).chain(post).chain(here).chain(late).min()
    }

    /// In how long the metadata server is asked again, because a layer cannot do without it.
    fn asks_again(&self) -> Option<Duration> {
        let is_needed = matches!(self.machine, Machine::Known(None)) && is_expected();
        let waits = is_needed
            && self
                .layers
                .values()
                .any(|layer| layer.key.is_none() && layer.failing.is_some());
        waits.then(|| ASK_AGAIN.saturating_sub(self.asked.elapsed()))
    }

    /// Asks the machine's own server who and where it is, on a thread that lives no longer than that.
    pub(super) fn ask_machine(&mut self) {
        self.asked = Instant::now();
        let tell = Arc::clone(&self.around.tell);
        let spawned = thread::Builder::new().name("gcp-machine".into()).spawn(move || {
            let machine = read_machine(&tell);
            tell(News::Machine(machine));
        });
        if spawned.is_err() {
            (self.around.tell)(News::Machine(None));
        }
    }

    /// Puts up how everything stands, and tells who lags.
    fn post(&mut self) {
        let began = Instant::now();
        (self.is_stale, self.late_at) = (false, None);
        let now = (self.around.clock)();
        let mut projects = BTreeMap::new();
        for (key, project) in &self.projects {
            let layers = self.layers.iter().filter(|(_, layer)| layer.key.as_ref() == Some(key));
            let posted = Posted {
                key: key.clone(),
                writer: project.writer.clone(),
                layers: layers
                    .map(|(id, layer)| (id.clone(), layer.options.rule.clone()))
                    .collect(),
                view: project.view(now),
                unsaved: project.unsaved(),
                fault: project.fault.clone(),
                at: now,
            };
            projects.insert(key.clone(), Arc::new(posted));
        }
        let homeless = self.layers.iter().filter(|(_, layer)| layer.key.is_none());
        let asks = matches!(self.machine, Machine::Asked(None)).then_some(ASKS);
        let why = |layer: &Layer| layer.failing.clone().or_else(|| asks.map(str::to_owned));
        let homeless = homeless.filter_map(|(id, layer)| Some((id.clone(), why(layer)?)));
        let homeless: BTreeMap<LayerId, String> = homeless.collect();
        let is_level = |posted: &Arc<Posted>| posted.fault.is_some() || is_level(&posted.view);
        if projects.values().all(is_level) {
            for answer in self.drains.drain(..) {
                // Whoever asked may have given up.
                let _ = answer.send(());
            }
        }
        self.tell_lags(&projects, now.steady);
        self.board
            .change(|posts| (posts.projects, posts.homeless) = (projects, homeless));
        self.posted = Instant::now();
        self.post_pause = (self.posted - began).saturating_mul(POST_TIMES).min(POST_EVERY);
    }

    /// What keeps each layer from following, where that is other than it was.
    fn tell_lags(&mut self, projects: &BTreeMap<Key, Arc<Posted>>, now: Timestamp) {
        for (id, layer) in &mut self.layers {
            let posted = layer.key.as_ref().and_then(|key| projects.get(key));
            let late = posted.and_then(|posted| posted.view.oldest).map(|oldest| oldest + LATE);
            if let Some(late) = late.filter(|late| *late > now) {
                self.late_at = Some(self.late_at.map_or(late, |at| at.min(late)));
            }
            let fault = posted.and_then(|posted| posted.fault.clone());
            let books = posted.and_then(|posted| posted.unsaved.as_ref());
            let lag = fault.or_else(|| layer.failing.clone());
            let lag = lag.or_else(|| late.filter(|late| *late <= now).map(|_| why_late(posted)));
            let lag = lag.or_else(|| books.map(|error| format!("its books are not kept: {error}")));
            if layer.lag != lag {
                layer.lag.clone_from(&lag);
                self.told.failing.push((id.clone(), lag));
            }
        }
    }
}

/// Whether nothing is left to write.
fn is_level(view: &View) -> bool {
    let is_level = |rule: &RuleView| rule.adds.is_empty() && rule.removes.is_empty() || rule.refused.is_some();
    view.under_way.is_none() && view.rules.iter().all(is_level)
}

fn why_late(posted: Option<&Arc<Posted>>) -> String {
    let view: Option<&View> = posted.map(|posted| &posted.view);
    let text = format!("bans have waited for more than {} s", LATE.whole());
    match view.and_then(|view| view.trouble.as_ref().or(view.under_way.as_ref())) {
        Some(why) => format!("{text}: {why}"),
        None => text,
    }
}

fn read_machine(tell: &Tell) -> Option<Box<Metadata>> {
    for number in 0..TRIES {
        match Metadata::read() {
            Ok(metadata) => return metadata.map(Box::new),
            Err(reason) => tell(News::Unknown(reason)),
        }
        if number + 1 < TRIES {
            thread::sleep(PAUSE * 2_u32.pow(number));
        }
    }
    None
}

/// A machine that is none of Google's.
pub(super) fn plain_host() -> Host {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    Host {
        writer: if name.is_empty() { "unknown" } else { name }.to_owned(),
        ..Host::default()
    }
}
