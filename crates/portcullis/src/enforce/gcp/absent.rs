//! The cloud's lane of a program that was built without the feature `gcp`: no action is ever given to it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_core::cloud::options::Options;
use portcullis_core::ledger::{Applied, Change, LayerId};
use portcullis_core::time::Clock;

use super::board::Board;
use crate::enforce::Facts;
use crate::visitors::Visitors;

/// There is nobody who would tell anything.
pub(crate) enum News {}

/// What the lane is given by the daemon.
pub(crate) struct Around {
    pub(crate) clock: Arc<dyn Fn() -> Clock + Send + Sync>,
    pub(crate) books: PathBuf,
    pub(crate) visitors: Visitors,
    pub(crate) tell: Arc<dyn Fn(News) + Send + Sync>,
}

/// Nothing.
pub(crate) struct Clouds;

impl Clouds {
    pub(crate) fn new(_: Around, _: Board) -> Clouds {
        Clouds
    }

    pub(crate) fn put(&mut self, _: &LayerId, _: Options) {}

    pub(crate) fn only(&mut self, _: &BTreeSet<LayerId>, _: bool) {}

    pub(crate) fn apply(&mut self, _: &[Change]) -> Vec<Applied> {
        Vec::new()
    }

    pub(crate) fn hear(&mut self, news: News) {
        match news {}
    }

    pub(crate) fn review(&mut self) {}

    pub(crate) fn spare(&mut self, _: Vec<(IpNet, String)>) {}

    pub(crate) fn drain(&mut self, answer: Sender<()>) {
        drop(answer);
    }

    pub(crate) fn rest(&mut self) -> Option<Facts> {
        None
    }

    pub(crate) fn pause(&self) -> Option<Duration> {
        None
    }
}
