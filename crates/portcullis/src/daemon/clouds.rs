//! The cloud's firewall as the daemon tells of it: who lags, how far each action has come, what a person took out.
//!
//! What stands on the lane's board is read, and nobody waits for the lane or the API. Where the kernel holds a ban as
//! well, a cloud that lags lets nobody in; it is said all the same, everywhere.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use portcullis_core::address::Id;
use portcullis_core::cloud::desired::entry;
use portcullis_core::cloud::reconcile::{NO_ROOM, RuleView, View as Rules};
use portcullis_core::cloud::{is_sentinel, normal};
use portcullis_core::config::plan::Plan;
use portcullis_core::engine::{Effect, Input, LayerView, ReplyTo, Request, View};
use portcullis_core::ledger::{Drift, LayerId, Stand, Standing};
use portcullis_core::time::Timestamp;

use super::answers::{milliseconds, rfc3339, seconds};
use super::notes::account;
use super::way::{Cloud, Way};
use super::{Daemon, Message, SERVER};
use crate::control::answer::{CloudProtected, CloudRule, CloudView, Clouds, Layer, Progress, Verification, state};
use crate::enforce::gcp::board::{Posted, Posts};
use crate::observe::log::{Level, note as say};

/// The end of everything waits so long for the cloud.
const LAST_WRITE: Duration = Duration::from_secs(10);

/// How often facts are taken meanwhile.
const PAUSE: Duration = Duration::from_millis(20);

/// So many addresses are named in a sentence.
const FEW: usize = 5;

impl Daemon {
    /// The layers that ban in the cloud, with the words in which each says that it lags, if it does.
    fn lagging(&self, view: &View) -> Vec<(&LayerId, &Cloud, String)> {
        let ways = self.setup.ways.iter();
        let clouds = ways.filter_map(|(id, way)| Some((id, way.cloud()?)));
        let lag = |id: &LayerId| {
            let jail = view.jails.iter().find(|jail| jail.name == id.jail)?;
            let layer = jail.layers.get(&id.action)?;
            let open = |drift: &&Drift| drift.until.is_none() && drift.missing > 0;
            let drift = || layer.drift.as_ref().filter(open).map(account);
            layer.lag.clone().or_else(drift)
        };
        clouds.filter_map(|(id, cloud)| Some((id, cloud, lag(id)?))).collect()
    }

    /// How many bans of an action found no room in its rules.
    fn without_room(&self, id: &LayerId) -> usize {
        if self.engine.progress(id).failed == 0 {
            return 0;
        }
        let is_without = |stand: &Stand| matches!(&stand.standing, Standing::Failed(why) if **why == *NO_ROOM);
        let stands = self
            .engine
            .bans(&id.jail)
            .filter_map(|ban| self.engine.stand(id, &ban.id));
        stands.filter(|stand| is_without(stand)).count()
    }

    /// What `verify` says of clouds that do not hold everything.
    pub(super) fn tell_clouds(&self, view: &View, verification: &mut Verification) {
        let (held, alone) = self.full();
        verification.lagging = self.lags(view);
        verification.lagging.extend(held);
        verification.not_protected.extend(alone);
    }

    /// The actions whose rules are full: where the kernel holds all bans, and where nothing does. It is counted ban by
    /// ban, and so only where somebody asks; the lane says by name who finds no room when that happens.
    fn full(&self) -> (Vec<String>, Vec<String>) {
        let clouds = self.setup.ways.iter().filter_map(|(id, way)| Some((id, way.cloud()?)));
        let full = clouds.filter_map(|(id, cloud)| {
            let what = full(self.without_room(id))?;
            let local = cloud.options.local;
            let holder = if local {
                "the kernel holds them"
            } else {
                "nothing else holds them: local = no"
            };
            let LayerId { jail, action } = id;
            Some((local, format!("jail '{jail}', action '{action}': {what} ({holder})")))
        });
        let (held, alone): (Vec<_>, Vec<_>) = full.partition(|(local, _)| *local);
        let text = |all: Vec<(bool, String)>| all.into_iter().map(|(_, text)| text).collect();
        (text(held), text(alone))
    }

    /// Where the cloud lags behind, while the kernel holds everything.
    pub(super) fn lags(&self, view: &View) -> Vec<String> {
        let lagging = self.lagging(view).into_iter();
        let held = lagging.filter(|(_, cloud, _)| cloud.options.local);
        held.map(|(id, _, why)| {
            let LayerId { jail, action } = id;
            format!("the cloud lags in jail '{jail}', action '{action}': {why} (the kernel holds its bans)")
        })
        .collect()
    }

    /// The same where nothing else holds what it does not.
    pub(super) fn lags_alone(&self, view: &View) -> Vec<String> {
        let lagging = self.lagging(view).into_iter();
        let alone = lagging.filter(|(_, cloud, _)| !cloud.options.local);
        alone
            .map(|(id, _, why)| {
                let LayerId { jail, action } = id;
                format!("jail '{jail}', action '{action}' lags: {why}, and nothing else holds its bans (local = no)")
            })
            .collect()
    }

    /// Whether the kernel holds whatever a layer in the cloud does not.
    pub(super) fn has_twin(&self, jail: &Arc<str>, action: &Arc<str>) -> bool {
        let (jail, action) = (Arc::clone(jail), Arc::clone(action));
        let way = self.setup.ways.get(&LayerId { jail, action });
        way.and_then(Way::cloud).is_some_and(|cloud| cloud.options.local)
    }

    /// Whom a person took out of a rule that is ours alone is freed everywhere: somebody may have locked themselves out.
    /// The lane has said so.
    pub(super) fn free_everywhere(&mut self, freed: &[IpNet], out: &mut Vec<Effect>) {
        let now = self.clock.now().steady;
        for range in freed {
            let (ids, jail) = (Some(vec![Id::from(*range)]), None);
            self.engine
                .handle(now, Input::Request(Request::Unban { ids, jail }, ReplyTo(0)), out);
        }
    }

    /// Says who must not be in a cloud's rule: whom native layers spare, and whom jails ignore.
    pub(super) fn spare_in_clouds(&self) {
        let mut spared = ignored(&self.plan);
        spared.extend(self.ignored_by_name());
        spared.extend_from_slice(self.protected.entries());
        self.lanes.spare(spared);
    }

    /// After everybody was freed: what is still in the cloud's rules is given a moment to go. What is left then.
    pub(super) fn drain_clouds(&mut self, inbox: &Receiver<Message>) -> Vec<String> {
        if self.dry_run {
            return Vec::new();
        }
        let (due, answer) = (Instant::now() + LAST_WRITE, self.lanes.drain());
        while Instant::now() < due {
            match answer.recv_timeout(PAUSE) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Vec::new(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            for message in inbox.try_iter() {
                if let Message::Facts(facts, _) = message {
                    self.hear_last(facts);
                }
            }
        }
        let posts = self.cloud.read();
        let rules = posts.projects.values().flat_map(|posted| posted.view.rules.iter());
        let left: Vec<String> = rules.filter_map(still_there).collect();
        left.iter().for_each(|text| say(Level::Warning, SERVER, text));
        left
    }

    /// Whether any action bans in a cloud.
    pub(super) fn has_cloud(&self) -> bool {
        self.setup.ways.values().any(|way| way.cloud().is_some())
    }

    /// What is to be known when everybody is freed.
    pub(super) fn cloud_follows(&self) -> Vec<String> {
        let text = "the cloud's rules follow in some seconds: 'portcullis status' says when they have";
        self.has_cloud().then(|| text.to_owned()).into_iter().collect()
    }

    /// How far an action has come.
    pub(super) fn cloud_progress(&self, id: &LayerId, cloud: &Cloud, layer: &LayerView) -> Option<Progress> {
        let clock = self.clock.now();
        let (posts, known) = (self.cloud.read(), self.engine.progress(id));
        let mut progress = Progress {
            decided: known.decided,
            applied: known.applied,
            verified: known.verified,
            pending: known.pending,
            lag: known.oldest.map(|oldest| seconds(clock.steady - oldest)),
            rules: vec![cloud.options.rule.clone()],
            trouble: layer.lag.clone(),
            ..Progress::default()
        };
        progress.remarks.extend(cloud.said.clone());
        if let Some(posted) = posts.of(id) {
            tell(&mut progress, posted, id);
        }
        if !cloud.options.local {
            let text = "bans are in the cloud alone (local = no): late by seconds, and open connections go on";
            progress.remarks.push(text.to_owned());
        }
        Some(progress)
    }

    /// All rules of all projects.
    pub(super) fn clouds(&self) -> Clouds {
        let Posts { projects, homeless } = self.cloud.read();
        let mut views: Vec<CloudView> = projects.values().map(|posted| view(posted)).collect();
        views.extend(homeless.iter().map(|(layer, why)| CloudView {
            layers: vec![name(layer)],
            trouble: Some(why.clone()),
            at: milliseconds(self.clock.now().wall),
            ..CloudView::default()
        }));
        Clouds { projects: views }
    }

    /// One layer in `verify`, of what is known by now: the API is not waited for.
    pub(super) fn verify_cloud(&self, id: &LayerId, view: &View) -> Layer {
        let known = self.engine.progress(id);
        let jail = view.jails.iter().find(|jail| jail.name == id.jail);
        let layer = jail.and_then(|jail| jail.layers.get(&id.action));
        let posts = self.cloud.read();
        let read = posts.of(id).and_then(|posted| read_at(posted, id));
        let lags = layer.is_some_and(|layer| layer.lag.is_some());
        let open = |layer: &LayerView| layer.drift.as_ref().is_some_and(|drift| drift.until.is_none());
        let word = if lags {
            state::LAGGING
        } else if layer.is_some_and(open) {
            state::DRIFT
        } else if known.failed > 0 && known.failed == self.without_room(id) {
            state::FULL
        } else if known.failed > 0 {
            state::FAILING
        } else if known.verified < known.decided {
            state::PENDING
        } else {
            state::READ_BACK
        };
        Layer {
            jail: id.jail.to_string(),
            action: id.action.to_string(),
            state: word.to_owned(),
            verifiable: true,
            decided: known.decided,
            applied: known.applied,
            verified: known.verified,
            failed: known.failed,
            held: read.map(|_| known.verified),
            read: read.map(rfc3339),
            ..Layer::default()
        }
    }
}

/// That so many bans are not in the cloud, with what can be done about it; nothing where there are none.
fn full(count: usize) -> Option<String> {
    let bans = if count == 1 { "ban is" } else { "bans are" };
    (count > 0).then(|| {
        format!(
            "the cloud's rules are full, and {count} {bans} not in them; mend: more rules (max_rules, at most 100), or bans \
             that end sooner"
        )
    })
}

/// The networks that jails ignore, and which jail does.
pub(crate) fn ignored(plan: &Plan) -> Vec<(IpNet, String)> {
    let jails = plan.jails.iter();
    let ignored = jails.flat_map(|jail| jail.ignoreip.iter().map(move |text| (&jail.name, text)));
    ignored
        .filter_map(|(jail, text)| Some((normal(entry(text.trim())?), format!("in ignoreip of jail '{jail}'"))))
        .collect()
}

/// What of ours is still in a rule, in words.
fn still_there(rule: &RuleView) -> Option<String> {
    let what = match (&rule.read, rule.removes.len()) {
        (Some(_), 0) => return None,
        (Some(_), 1) => "1 entry of ours is".to_owned(),
        (Some(_), count) => format!("{count} entries of ours are"),
        (None, _) => "nobody knows what of ours is".to_owned(),
    };
    let name = &rule.name;
    let mend = "it goes at the next start, or with 'portcullis gcp flush'";
    Some(format!("{what} still in the firewall rule {name}: {mend}"))
}

/// When the rules of a layer were last read, all of them.
fn read_at(posted: &Posted, id: &LayerId) -> Option<Timestamp> {
    let rules = posted.rules(id);
    let own = posted.view.rules.iter().filter(|rule| rules.contains(&rule.name));
    own.filter_map(|rule| rule.read_at).min()
}

/// What the rules say of an action.
fn tell(progress: &mut Progress, posted: &Posted, id: &LayerId) {
    let names = posted.rules(id);
    let rules: Vec<&RuleView> = posted
        .view
        .rules
        .iter()
        .filter(|rule| names.contains(&rule.name))
        .collect();
    progress.project = Some(posted.key.project.clone());
    progress.rules = names.iter().cloned().collect();
    progress.foreign = rules.iter().map(|rule| rule.foreign).sum();
    progress.evicted = posted.view.evicted.len();
    progress.read = read_at(posted, id).map(rfc3339);
    let trouble = posted.view.trouble.clone();
    progress.trouble = progress.trouble.take().or(trouble).or_else(|| posted.unsaved.clone());
    progress.remarks.extend(remarks(&posted.view, &rules));
}

/// What the numbers do not say.
fn remarks(view: &Rules, rules: &[&RuleView]) -> Vec<String> {
    let mut remarks = Vec::new();
    for rule in rules {
        remarks.extend(
            rule.refused
                .iter()
                .map(|why| format!("rule {} is not written: {why}", rule.name)),
        );
        let held = rule.read.iter().flatten();
        let is_sentinel = |text: &&String| text.parse().is_ok_and(|net| is_sentinel(&net));
        if let Some(sentinel) = held.clone().find(is_sentinel) {
            remarks.push(format!(
                "{sentinel} in rule {} is nobody's address: it keeps the list from being empty, which would deny everybody",
                rule.name
            ));
        }
        if rule.foreign > 0 {
            let (foreign, rule) = (rule.foreign, &rule.name);
            remarks.push(format!(
                "{foreign} entries in rule {rule} are somebody else's, and stay"
            ));
        }
    }
    if !view.evicted.is_empty() {
        let first: Vec<String> = view.evicted.iter().take(FEW).map(ToString::to_string).collect();
        let more = view.evicted.len() - first.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        remarks.push(format!(
            "no room in the rules for {}{more}: the kernel alone holds them",
            first.join(" ")
        ));
    }
    if let Some((count, why)) = &view.local_only {
        remarks.push(format!("{count} IPv6 bans are in the kernel alone: {why}"));
    }
    remarks
}

fn name(layer: &LayerId) -> String {
    format!("{}/{}", layer.jail, layer.action)
}

/// One project in the words of the answer.
pub(crate) fn view(posted: &Posted) -> CloudView {
    let Posted { view, at, .. } = posted;
    let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
    CloudView {
        project: Some(posted.key.project.clone()),
        endpoint: posted.key.endpoint.clone(),
        writer: posted.writer.clone(),
        layers: posted.layers.keys().map(name).collect(),
        rules: view.rules.iter().map(rule).collect(),
        protected: view
            .protected
            .iter()
            .map(|(range, why)| CloudProtected {
                range: range.to_string(),
                why: why.clone(),
            })
            .collect(),
        evicted: texts(&view.evicted),
        local_only: view.local_only.as_ref().map_or(0, |(count, _)| *count),
        local_only_why: view.local_only.as_ref().map(|(_, why)| why.clone()),
        oldest: view.oldest.map(|oldest| milliseconds(at.to_wall(oldest))),
        lag: view.oldest.map(|oldest| seconds(at.steady - oldest)),
        under_way: view.under_way.clone(),
        writes: view.writes,
        trouble: posted.fault.clone().or_else(|| view.trouble.clone()),
        unsaved: posted.unsaved.clone(),
        at: milliseconds(at.wall),
    }
}

fn rule(rule: &RuleView) -> CloudRule {
    let texts = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
    CloudRule {
        name: rule.name.clone(),
        base: rule.base.clone(),
        read: rule.read.clone(),
        read_at: rule.read_at.map(rfc3339),
        wanted: texts(&rule.wanted),
        foreign: rule.foreign,
        adds: texts(&rule.adds),
        removes: texts(&rule.removes),
        limit: rule.limit,
        is_own: rule.is_own,
        refused: rule.refused.clone(),
    }
}
