//! `verify`: what was decided is held against what the layers say that they hold.
//!
//! What is decided is noted in the moment in which the reading is queued. The orders that it rests on stand in front of
//! the reading in its lane, and all later ones behind it, so that nothing under way looks like a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use portcullis_core::address::Id;
use portcullis_core::engine::{Effect, Input, LayerView, Query};
use portcullis_core::ledger::{LayerId, Reading, Stand, Standing};
use portcullis_core::time::{Clock, Timestamp};
use portcullis_core::wire::Reply;

use super::answers::{milliseconds, seconds};
use super::requests::json;
use super::way::Way;
use super::{Daemon, End, Message};
use crate::control::answer::{Layer, Verification, state};
use crate::enforce::Held;

/// What is decided, by jail: who, and until when.
pub(super) type Wish = BTreeMap<Arc<str>, BTreeMap<Id, Option<Timestamp>>>;

/// What the kernel was found to hold, by layer.
type Found = BTreeMap<LayerId, BTreeSet<Id>>;

impl Daemon {
    /// Asks the kernel lane; the answer comes back as a message.
    pub(super) fn read_back(&mut self, reply: Sender<Reply>, out: &mut Vec<Effect>) -> Option<End> {
        // What was decided in this turn is ordered before the reading.
        let clock = self.clock.now();
        self.carry_out(clock, std::mem::take(out));
        let jails: BTreeSet<&Arc<str>> = self.setup.ways.keys().map(|layer| &layer.jail).collect();
        let of = |jail: &Arc<str>| {
            self.engine
                .bans(jail)
                .map(|ban| (ban.id.clone(), ban.until()))
                .collect()
        };
        let wish: Wish = jails.into_iter().map(|jail| (Arc::clone(jail), of(jail))).collect();
        let outbox = self.outbox.clone();
        self.lanes.read_back(Box::new(move |held| {
            let _ = outbox.send(Message::ReadBack(held, wish, reply));
        }));
        None
    }

    /// Compares, and notes which layers are whole.
    pub(super) fn compare(
        &mut self,
        (held, wish): (Result<Vec<Held>, String>, &Wish),
        reply: &Sender<Reply>,
        out: &mut Vec<Effect>,
    ) {
        let mut verification = Verification::default();
        let found = held.map(sorted);
        let ways: Vec<(LayerId, bool, &'static str)> = self
            .setup
            .ways
            .iter()
            .map(|(layer, way)| (layer.clone(), way.is_verifiable(), way.word()))
            .collect();
        let nobody = BTreeMap::new();
        let clock = self.clock.now();
        let view = self.engine.query(&Query::Status);
        for (layer, verifiable, way) in ways {
            if way == Way::CLOUD {
                let mut answer = self.verify_cloud(&layer, &view);
                way.clone_into(&mut answer.way);
                verification.drift |= answer.state == state::DRIFT;
                verification.layers.push(answer);
                continue;
            }
            let wish = wish.get(&layer.jail).unwrap_or(&nobody);
            let found = found.as_ref().ok().filter(|_| verifiable);
            let found = found.map(|found| found.get(&layer).cloned().unwrap_or_default());
            let now = self.clock.now().steady;
            let stand = |id: &Id| self.engine.stand(&layer, id);
            let mut answer = Comparison { now, wish, verifiable }.of(found.as_ref(), stand);
            (answer.jail, answer.action) = (layer.jail.to_string(), layer.action.to_string());
            way.clone_into(&mut answer.way);
            answer.state = word(&answer).to_owned();
            if let Some(held) = answer.held {
                self.conclude(now, (layer, held), &answer, out);
            }
            verification.drift |= !answer.missing.is_empty() || !answer.extra.is_empty();
            verification.layers.push(answer);
        }
        let view = self.engine.query(&Query::Status);
        let past = |answer: &Layer| {
            let jail = view.jails.iter().find(|jail| *jail.name == *answer.jail)?;
            jail.layers.get(&*answer.action)
        };
        for answer in &mut verification.layers {
            if let Some(past) = past(answer) {
                tell_past(answer, past, clock);
            }
        }
        if let Err(error) = &found
            && verification
                .layers
                .iter()
                .any(|layer| layer.verifiable && layer.way != Way::CLOUD)
        {
            let text = format!("the kernel cannot be read: {error}");
            verification.not_protected.push(text);
        }
        verification.not_protected.extend(self.not_protected(&view));
        self.tell_clouds(&view, &mut verification);
        verification
            .not_protected
            .extend(verification.layers.iter().filter_map(absent));
        // A client that has gone away wants no answer.
        let _ = reply.send(json(&verification));
    }

    /// The engine learns of a layer that is whole. What is not, the lane mends right behind the reading, and reports.
    fn conclude(&mut self, now: Timestamp, (layer, held): (LayerId, usize), answer: &Layer, out: &mut Vec<Effect>) {
        if answer.missing.is_empty() && answer.extra.is_empty() {
            let whole = Reading {
                layer,
                held,
                drift: None,
            };
            self.engine.handle(now, Input::Read(whole), out);
        }
    }
}

/// One layer's comparison.
struct Comparison<'w> {
    now: Timestamp,
    wish: &'w BTreeMap<Id, Option<Timestamp>>,
    verifiable: bool,
}

impl Comparison<'_> {
    /// `found` is what the layer was found to hold, `stand` how far a ban has come in it by now.
    fn of<'s>(&self, found: Option<&BTreeSet<Id>>, stand: impl Fn(&Id) -> Option<&'s Stand>) -> Layer {
        let mut answer = Layer {
            verifiable: self.verifiable,
            held: found.map(BTreeSet::len),
            ..Layer::default()
        };
        let mut refused = BTreeSet::new();
        for (id, until) in self.wish {
            // What was lifted meanwhile is no matter of this reading any more.
            let Some(stand) = stand(id) else { continue };
            // No native layer can hold what is no address.
            let is_text = self.verifiable && id.family().is_none();
            if is_text || matches!(stand.standing, Standing::Protected(_)) {
                refused.insert(id);
                continue;
            }
            answer.decided += 1;
            match stand.standing {
                Standing::Applied | Standing::Verified => answer.applied += 1,
                Standing::Failed(_) => answer.failed += 1,
                Standing::Decided | Standing::Protected(_) | Standing::Dry => {}
            }
            match found {
                Some(found) if found.contains(id) => answer.verified += 1,
                // The kernel's own timer may have ended what ended between the two moments.
                Some(_) if until.is_none_or(|until| until > self.now) => answer.missing.push(id.to_string()),
                _ => {}
            }
        }
        let is_extra = |id: &&Id| !self.wish.contains_key(*id) || refused.contains(*id);
        let extra = found.into_iter().flatten().filter(is_extra);
        answer.extra = extra.map(ToString::to_string).collect();
        answer
    }
}

/// How a layer stands, of what is known now.
fn word(answer: &Layer) -> &'static str {
    if answer.way == Way::DRY {
        state::DRY
    } else if !answer.missing.is_empty() || !answer.extra.is_empty() {
        state::DRIFT
    } else if answer.failed > 0 {
        state::FAILING
    } else if answer.held.is_some() {
        state::VERIFIED
    } else if answer.verifiable {
        state::UNREADABLE
    } else if answer.applied < answer.decided {
        state::DECIDED
    } else {
        state::APPLIED
    }
}

/// What the engine knows of the time before.
fn tell_past(answer: &mut Layer, past: &LayerView, clock: Clock) {
    let wall = |at: Timestamp| milliseconds(clock.to_wall(at));
    answer.drifts = past.exposure.drifts();
    answer.unprotected = seconds(past.exposure.total(clock.steady));
    let last = past.exposure.last(clock.steady);
    let last = if answer.missing.is_empty() {
        last
    } else {
        Some(clock.steady)
    };
    answer.last_unprotected = last.map(wall);
    answer.read = answer.read.take().or_else(|| past.read.map(wall));
}

/// Whoever is banned and was not found gets in.
fn absent(layer: &Layer) -> Option<String> {
    let (missing, decided) = (layer.missing.len(), layer.decided);
    (missing > 0).then(|| {
        let (jail, action) = (&layer.jail, &layer.action);
        format!("jail '{jail}', action '{action}': {missing} of {decided} bans were not in force")
    })
}

fn sorted(held: Vec<Held>) -> Found {
    let mut found = Found::new();
    for Held { layer, id, .. } in held {
        found.entry(layer).or_default().insert(id);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1000);

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    /// Bans as `ID STANDING [END]`; `gone` is one that was lifted after the reading was queued.
    fn compare(wish: &[(&str, &str, Option<i64>)], found: Option<&[&str]>) -> Layer {
        let standing = |word: &str| match word {
            "decided" => Standing::Decided,
            "applied" => Standing::Applied,
            "failed" => Standing::Failed("full".into()),
            _ => Standing::Protected("own".into()),
        };
        let stand = |word: &str| {
            let mut stand = Stand::new(NOW);
            stand.reach(NOW, standing(word));
            stand
        };
        let stands: BTreeMap<Id, Stand> = wish
            .iter()
            .filter(|(_, word, _)| *word != "gone")
            .map(|(who, word, _)| (id(who), stand(word)))
            .collect();
        let wish = wish
            .iter()
            .map(|(who, _, until)| (id(who), until.map(Timestamp::from_seconds)))
            .collect();
        let found: Option<BTreeSet<Id>> = found.map(|found| found.iter().map(|who| id(who)).collect());
        let comparison = Comparison {
            now: NOW,
            wish: &wish,
            verifiable: found.is_some(),
        };
        comparison.of(found.as_ref(), |id| stands.get(id))
    }

    #[test]
    fn what_is_under_way_is_no_difference() {
        let wish = [
            ("192.0.2.1", "applied", None),
            ("192.0.2.2", "applied", Some(999)),
            ("192.0.2.3", "applied", Some(1001)),
            ("192.0.2.4", "failed", None),
            ("192.0.2.5", "protected", None),
            ("192.0.2.6", "gone", None),
            ("192.0.2.7", "gone", None),
            ("a name", "failed", None),
        ];
        let layer = compare(&wish, Some(&["192.0.2.1", "192.0.2.7", "192.0.2.99"]));
        assert_eq!(layer.missing, ["192.0.2.3", "192.0.2.4"]);
        assert_eq!(layer.extra, ["192.0.2.99"]);
        let numbers = (layer.decided, layer.applied, layer.verified, layer.failed, layer.held);
        assert_eq!(numbers, (4, 3, 1, 1, Some(3)));
        assert_eq!(
            compare(&wish, Some(&["192.0.2.5"])).extra,
            ["192.0.2.5"],
            "refused and held"
        );
    }

    #[test]
    fn words() {
        let word = |wish: &[_], found| word(&compare(wish, found)).to_owned();
        let (done, open) = ([("192.0.2.1", "applied", None)], [("192.0.2.1", "decided", None)]);
        let failed = [("192.0.2.1", "failed", None)];
        assert_eq!(word(&done, Some(&["192.0.2.1"])), state::VERIFIED);
        assert_eq!(word(&done, Some(&[])), state::DRIFT);
        assert_eq!(word(&done, None), state::APPLIED);
        assert_eq!(word(&open, None), state::DECIDED);
        assert_eq!(word(&failed, None), state::FAILING);
        let names = [("a name", "applied", None)];
        assert_eq!(compare(&names, None).decided, 1, "a command may ban any text");
    }
}
