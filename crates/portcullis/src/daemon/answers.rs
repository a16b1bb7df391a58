//! What control sees of the engine, as the JSON that our verbs answer with.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::diagnostic::Severity;
use portcullis_core::engine::{BanView, JailView, LayerView, Query, View};
use portcullis_core::ledger::{Drift, LayerId, Stand, Standing};
use portcullis_core::time::{Clock, Seconds, Timestamp};
use serde::{Serialize, Serializer};

use super::origin::Kind;
use super::{Daemon, notes, setup};
use crate::control::answer::{Action, Banned, File, Held, Jail, Reloaded, Status, Times, state};

/// So many bans are written in a few milliseconds.
const FEW: usize = 1000;

/// The state of a log file with which all is well.
const READING: &str = "reading";

impl Daemon {
    /// `status`, or `status JAIL` with its bans
    pub(super) fn status(&self, view: &View, clock: Clock, with_bans: bool) -> Status {
        // Of one jail, too, whether all of them are well: that is what the exit code says.
        let view_of_all = &self.engine.query(&Query::Status);
        let not_protected = self.not_protected(view_of_all);
        Status {
            protected: not_protected.is_empty() && !self.dry_run,
            not_protected,
            dry_run: self.dry_run,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: rfc3339(clock.to_wall(self.since)),
            database: Some(self.database.to_string()),
            unsaved: self.keeper.unsaved(),
            jails: view.jails.iter().map(|jail| self.jail(jail, with_bans)).collect(),
            diagnostics: self.complaints(),
            source: self.origin.describe(&self.places.config, &self.zone),
            lagging: self.lags(view_of_all),
            configured: rfc3339(self.origin.since()),
            fingerprint: self.origin.fingerprint(),
        }
    }

    /// What a reload came to.
    pub(super) fn reloaded(&self, notes: Vec<String>) -> Reloaded {
        let view = self.engine.query(&Query::Status);
        let not_protected = self.not_protected(&view);
        let held: Vec<Held> = view.jails.iter().filter_map(held).collect();
        Reloaded {
            count: self.setup.started().saturating_sub(held.len()),
            notes,
            held,
            protected: not_protected.is_empty() && !self.dry_run,
            not_protected,
            dry_run: self.dry_run,
        }
    }

    /// Why a jail of that name cannot be asked about.
    pub(super) fn no_such_jail(&self, name: &str) -> String {
        match self.setup.dropped.get(name) {
            Some(reason) => format!("the jail '{name}' is not in force: {reason}"),
            None => format!("Sorry but the jail '{name}' does not exist"),
        }
    }

    /// What is wrong with the configuration; mere notes are for `check`.
    pub(super) fn complaints(&self) -> Vec<String> {
        let wrong = self
            .setup
            .diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity > Severity::Note);
        wrong.map(ToString::to_string).collect()
    }

    /// Why what is decided is not, or may not be, in force.
    pub(super) fn not_protected(&self, view: &View) -> Vec<String> {
        // First, because more may follow from it, and one reason is all that systemd shows.
        let lost = setup::lost(&self.setup.diagnostics);
        let lost = lost.map(|place| format!("part of the configuration was not read: {place}"));
        let mut reasons: Vec<String> = lost.collect();
        for jail in &view.jails {
            let name = &jail.name;
            if let Some(held) = &jail.held {
                reasons.push(format!("jail '{name}' must not ban: {held}"));
            }
            let alone = jail.layers.iter().filter(|(action, _)| !self.has_twin(name, action));
            for (action, layer) in alone {
                reasons.extend(failing(layer).map(|why| format!("jail '{name}', action '{action}' {why}")));
            }
        }
        reasons.extend(self.lags_alone(view));
        let dropped = self.setup.dropped.iter();
        reasons.extend(dropped.map(|(name, reason)| format!("'{name}' is not in force: {reason}")));
        let blind = self.setup.blind.iter();
        reasons.extend(blind.map(|(name, reason)| format!("jail '{name}' sees nothing: it {reason}")));
        reasons.extend(view.jails.iter().filter_map(|jail| self.waits_for_files(&jail.name)));
        if let Some(failure) = self.keeper.failure() {
            reasons.push(format!("bans are not saved: {failure}"));
        }
        if self.origin.kind == Kind::Waiting {
            reasons.push("no configuration yet: a client is to send it (fail2ban-client reload)".to_owned());
        } else if self.setup.started() == 0 && self.setup.dropped.is_empty() {
            reasons.push("no jail is in force; enable one in jail.local".to_owned());
        }
        reasons
    }

    /// A jail that reads none of its log files, and why.
    fn waits_for_files(&self, jail: &str) -> Option<String> {
        let files = self.setup.files.get(jail)?;
        let states: Vec<File> = files.iter().map(|path| self.file(path)).collect();
        let first = states.first()?;
        let reads = states.iter().any(|file| file.state == READING);
        (!reads).then(|| format!("jail '{jail}' sees nothing: {}: {}", first.path, first.state))
    }

    fn jail(&self, jail: &JailView, with_bans: bool) -> Jail {
        let name = jail.name.to_string();
        let mut remarks: Vec<String> = self
            .remarks
            .iter()
            .filter(|((owner, _), _)| *owner == name)
            .map(|(_, text)| text.clone())
            .collect();
        if jail.evicted > 0 {
            remarks.push(format!("{} counters were dropped for want of room", jail.evicted));
        }
        if jail.emptied > 0 {
            remarks.push(format!("{} counters lost their lines for want of room", jail.emptied));
        }
        let files = self.setup.files.get(&name).into_iter().flatten();
        let seen = self.setup.seen.get(&name).cloned().unwrap_or_default();
        Jail {
            currently_failed: jail.failing,
            total_failed: jail.failures,
            currently_banned: jail.banned,
            total_banned: jail.bans_total,
            files: files.map(|path| self.file(path)).collect(),
            held: jail.held.clone(),
            blind: self.setup.blind.get(&name).cloned(),
            actions: jail
                .layers
                .iter()
                .map(|(action, layer)| (action.to_string(), self.action(&name, action, layer)))
                .collect(),
            banned: with_bans.then(|| jail.bans.iter().map(|ban| ban.id.to_string()).collect()),
            remarks,
            lines: seen.lines(),
            matched: seen.matched(),
            last_line: seen.last_line().map(rfc3339),
            last_match: seen.last_match().map(rfc3339),
            name,
        }
    }

    fn file(&self, path: &str) -> File {
        let state = self.files.get(path).cloned().unwrap_or_else(|| READING.to_owned());
        File {
            path: path.to_owned(),
            state,
        }
    }

    fn action(&self, jail: &str, action: &str, layer: &LayerView) -> Action {
        let way = self
            .setup
            .ways
            .iter()
            .find(|(id, _)| *id.jail == *jail && *id.action == *action);
        let clock = self.clock.now();
        let wall = |at: Timestamp| milliseconds(clock.to_wall(at));
        let drift = |drift: &Drift| {
            let when = wall(drift.until.unwrap_or(drift.since));
            format!("{when}: {}", notes::account(drift))
        };
        Action {
            way: way.map_or("none", |(_, way)| way.word()).to_owned(),
            failure: layer.failure.clone(),
            failed: layer.failed,
            drifts: layer.exposure.drifts(),
            last_drift: layer.drift.as_ref().map(drift),
            unprotected: seconds(layer.exposure.total(clock.steady)),
            last_unprotected: layer.exposure.last(clock.steady).map(wall),
            cloud: way.and_then(|(id, way)| self.cloud_progress(id, way.cloud()?, layer)),
        }
    }
}

/// What keeps a layer from enforcing everything, to follow its name. Up to the first colon it is the same whatever the
/// numbers are, so that the same trouble is not told twice.
fn failing(layer: &LayerView) -> impl Iterator<Item = String> {
    let failure = layer.failure.as_ref().map(|failure| match layer.failed {
        0 => format!("fails: {failure}"),
        1 => format!("fails: 1 address not banned: {failure}"),
        failed => format!("fails: {failed} addresses not banned: {failure}"),
    });
    let open = |drift: &&Drift| drift.until.is_none() && drift.missing > 0;
    let drift = layer.drift.as_ref().filter(open);
    let drift = drift.map(|drift| format!("was changed: {}", notes::account(drift)));
    failure.into_iter().chain(drift)
}

fn held(jail: &JailView) -> Option<Held> {
    let reason = jail.held.clone()?;
    Some(Held {
        jail: jail.name.to_string(),
        reason,
    })
}

/// `banned`: one entry after the other, so that a hundred thousand are never there at a time.
pub(super) struct Bans {
    pub(super) view: View,
    pub(super) clock: Clock,
    /// Layers of which reading back is no proof that packets are dropped
    pub(super) clouds: BTreeSet<LayerId>,
}

impl Bans {
    /// Whether there are so many that the wheel should not wait until they are written.
    pub(super) fn are_many(&self) -> bool {
        self.view.jails.iter().map(|jail| jail.bans.len()).sum::<usize>() > FEW
    }

    fn entry(&self, jail: &JailView, ban: &BanView) -> Banned {
        let wall = |at: Timestamp| self.clock.to_wall(at);
        let times = |stand: &Stand| Times {
            decided: milliseconds(wall(stand.decided)),
            applied: stand.applied.map(|at| milliseconds(wall(at))),
            verified: stand.verified.map(|at| milliseconds(wall(at))),
        };
        let layers = || ban.layers.iter();
        let word = |action: &Arc<str>, standing: &Standing| {
            let (jail, action) = (Arc::clone(&jail.name), Arc::clone(action));
            let is_cloud = || self.clouds.contains(&LayerId { jail, action });
            match standing {
                Standing::Verified if is_cloud() => state::READ_BACK.to_owned(),
                standing => word(standing),
            }
        };
        Banned {
            ip: ban.id.to_string(),
            jail: jail.name.to_string(),
            since: rfc3339(wall(ban.since)),
            until: ban.until.map(|until| rfc3339(wall(until))),
            layers: layers()
                .map(|(action, stand)| (action.to_string(), word(action, &stand.standing)))
                .collect(),
            times: layers()
                .map(|(action, stand)| (action.to_string(), times(stand)))
                .collect(),
        }
    }
}

impl Serialize for Bans {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let jails = self.view.jails.iter();
        serializer.collect_seq(jails.flat_map(|jail| jail.bans.iter().map(|ban| self.entry(jail, ban))))
    }
}

fn word(standing: &Standing) -> String {
    match standing {
        Standing::Decided => "decided".into(),
        Standing::Applied => "applied".into(),
        Standing::Verified => "verified".into(),
        Standing::Protected(reason) => format!("refused: {reason}"),
        Standing::Failed(reason) => format!("failed: {reason}"),
        Standing::Dry => "dry".into(),
    }
}

/// A wall time for machines.
pub(super) fn rfc3339(wall: Timestamp) -> String {
    jiff::Timestamp::from_second(wall.seconds())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// The same, with milliseconds.
pub(super) fn milliseconds(wall: Timestamp) -> String {
    let stamp = jiff::Timestamp::from_millisecond(wall.micros().div_euclid(1000));
    format!("{:.3}", stamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// A length of time in seconds, to the millisecond and never too short.
pub(super) fn seconds(length: Seconds) -> f64 {
    let millis = length.micros().div_euclid(1000) + i64::from(length.micros() % 1000 > 0);
    Seconds::from_micros(millis.saturating_mul(1000)).as_f64()
}
