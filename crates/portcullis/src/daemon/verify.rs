//! `verify`: the native layers are read back and held against the ledger.

use std::collections::BTreeSet;
use std::sync::mpsc::Sender;

use portcullis_core::address::Id;
use portcullis_core::engine::{BanView, Effect, Input, Query, View};
use portcullis_core::ledger::{Applied, LayerId, OrderKind, Standing};
use portcullis_core::wire::Reply;

use super::requests::json;
use super::way::Way;
use super::{Daemon, End, Message};
use crate::control::answer::{Layer, Verification};
use crate::enforce::Held;

impl Daemon {
    /// Asks the kernel lane; the answer comes back as a message.
    pub(super) fn read_back(&self, reply: Sender<Reply>) -> Option<End> {
        let outbox = self.outbox.clone();
        self.lanes.read_back(Box::new(move |held| {
            let _ = outbox.send(Message::ReadBack(held, reply));
        }));
        None
    }

    /// Compares, marks what was found as verified, and orders again what is missing.
    pub(super) fn compare(&mut self, held: Result<Vec<Held>, String>, reply: &Sender<Reply>, out: &mut Vec<Effect>) {
        let view = self.engine.query(&Query::Banned);
        let mut verification = Verification {
            not_protected: self.not_protected(&view),
            ..Verification::default()
        };
        let held = held.unwrap_or_else(|error| {
            verification
                .not_protected
                .push(format!("the kernel cannot be read: {error}"));
            Vec::new()
        });
        for (layer, way) in &self.setup.ways {
            let decided = decided(&view, layer);
            let mut answer = Layer {
                jail: layer.jail.to_string(),
                action: layer.action.to_string(),
                decided: decided.len(),
                ..Layer::default()
            };
            if matches!(way, Way::Nft(..)) {
                let found: BTreeSet<Id> = held
                    .iter()
                    .filter(|held| held.layer == *layer)
                    .map(|held| held.id.clone())
                    .collect();
                answer.held = Some(found.len());
                answer.missing = decided.difference(&found).map(ToString::to_string).collect();
                answer.extra = found.difference(&decided).map(ToString::to_string).collect();
                let now = self.clock.now().steady;
                for id in decided.intersection(&found) {
                    self.engine.handle(now, verified(layer, id), out);
                }
                if !answer.missing.is_empty() {
                    self.engine.handle(now, Input::Lost(layer.clone()), out);
                }
            }
            verification.drift |= !answer.missing.is_empty() || !answer.extra.is_empty();
            verification.layers.push(answer);
        }
        // A client that has gone away wants no answer.
        let _ = reply.send(json(&verification));
    }
}

/// Whom a layer is to hold: not those that it refuses to.
fn decided(view: &View, layer: &LayerId) -> BTreeSet<Id> {
    let bans = view
        .jails
        .iter()
        .filter(|jail| jail.name == layer.jail)
        .flat_map(|jail| &jail.bans);
    let standing = |ban: &&BanView| ban.layers.get(&layer.action).map(|stand| stand.standing.clone());
    let held = bans.filter(|ban| !matches!(standing(ban), None | Some(Standing::Protected(_))));
    held.map(|ban| ban.id.clone()).collect()
}

fn verified(layer: &LayerId, id: &Id) -> Input {
    Input::Applied(Applied {
        layer: layer.clone(),
        id: Some(id.clone()),
        order: OrderKind::Ban,
        result: Ok(Standing::Verified),
    })
}
