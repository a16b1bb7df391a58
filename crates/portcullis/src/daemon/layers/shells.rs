//! A lane of shell actions: the layer, and what its runner has to learn.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::action::JailFacts;
use portcullis_core::ledger::{Applied, Change, LayerId};
use portcullis_core::time::Timestamp;

use super::{Way, Work};
use crate::enforce::Layer;
use crate::enforce::shell::ShellLayer;
use crate::enforce::shell::past::{Past, Present};
use crate::runner::{self, Catalogue, Link};

/// The shell actions of a lane, and the catalogue of their commands.
pub(super) struct Shells {
    pub(super) layer: ShellLayer,
    pub(super) catalogue: Catalogue,
    pub(super) link: Link,
    pub(super) lane: runner::Lane,
}

impl Work for Shells {
    fn put(&mut self, ways: BTreeMap<LayerId, Way>) {
        for (layer, way) in ways {
            if let Way::Shell(action) | Way::Beside(action) = way {
                self.layer.put(&layer, *action, &mut self.catalogue);
            }
        }
        // Where the runner is gone, so is this process in a moment.
        let _ = self.link.learn(self.lane, &self.catalogue);
    }

    fn only(&mut self, layers: &BTreeSet<LayerId>, _: bool) {
        self.layer.retain(layers);
        let layer = &self.layer;
        self.catalogue.keep(|template| layer.uses(template));
        let _ = self.link.learn(self.lane, &self.catalogue);
    }

    fn part(&mut self, facts: &BTreeMap<String, JailFacts>) {
        self.layer.part(facts);
    }

    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        self.layer.apply(now, changes)
    }

    fn lost(&mut self) -> Vec<LayerId> {
        self.layer.take_lost()
    }

    fn inherit(&mut self, now: Timestamp, layer: &LayerId, past: &Past) {
        let templates = ShellLayer::commands_of(past, &mut self.catalogue);
        let _ = self.link.learn(self.lane, &self.catalogue);
        self.layer.inherit(now, layer, past, templates);
    }

    fn settle(&mut self, now: Timestamp, jail: Option<&str>) {
        self.layer.settle(now, jail);
    }

    fn present(&mut self) -> Vec<Present> {
        self.layer.present()
    }
}
