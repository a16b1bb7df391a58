//! The lane of the cloud's firewall: orders are answered at once, and what comes of them is told later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ipnet::IpNet;
use portcullis_core::ledger::{Applied, Change, LayerId};
use portcullis_core::time::{Clock, Timestamp};

use super::{Job, Kind, Lanes, Work};
use crate::daemon::way::Way;
use crate::enforce::Facts;
use crate::enforce::gcp::board::Board;
use crate::enforce::gcp::lane::{Around, Clouds, News};
use crate::visitors::Visitors;

/// A job that is the cloud's alone.
pub(super) enum Errand {
    /// What one of its threads found out.
    News(News),
    /// Who is never written was gathered again.
    Spare(Vec<(IpNet, String)>),
    /// Read everything and plan it again.
    Review,
    /// Write what waits, and answer when nothing is left to write.
    Drain(Sender<()>),
}

/// What the lane is given by the daemon.
pub(crate) struct Sky {
    pub(crate) clock: Arc<dyn Fn() -> Clock + Send + Sync>,
    /// The file of the books
    pub(crate) books: PathBuf,
    pub(crate) board: Board,
    pub(crate) visitors: Visitors,
}

/// The rules in the cloud.
pub(super) struct Cloud(Clouds);

impl Cloud {
    /// `jobs` is where this lane is given its work.
    pub(super) fn new(sky: Sky, jobs: Sender<Job>) -> Cloud {
        let around = Around {
            clock: sky.clock,
            books: sky.books,
            visitors: sky.visitors,
            tell: Arc::new(move |news| drop(jobs.send(Job::Cloud(Errand::News(news))))),
        };
        Cloud(Clouds::new(around, sky.board))
    }
}

impl Lanes {
    /// What must not be in a cloud's rule was gathered again.
    pub(crate) fn spare(&self, spared: Vec<(IpNet, String)>) {
        self.cloud(Errand::Spare(spared));
    }

    fn cloud(&self, errand: Errand) {
        if let Some(lane) = self.lanes.get(&Kind::Cloud) {
            lane.send(Job::Cloud(errand));
        }
    }

    /// Has everything in the cloud read and planned again.
    pub(crate) fn review(&self) {
        self.cloud(Errand::Review);
    }

    /// Has everything in the cloud written that waits; an answer comes when nothing is left.
    pub(crate) fn drain(&self) -> Receiver<()> {
        let (answer, answers) = channel();
        self.cloud(Errand::Drain(answer));
        answers
    }
}

impl Work for Cloud {
    fn put(&mut self, ways: BTreeMap<LayerId, Way>) {
        for (layer, way) in ways {
            if let Way::Cloud(cloud) = way {
                self.0.put(&layer, cloud.options);
            }
        }
    }

    fn only(&mut self, layers: &BTreeSet<LayerId>, is_all: bool) {
        self.0.only(layers, is_all);
    }

    fn apply(&mut self, _: Timestamp, changes: &[Change]) -> Vec<Applied> {
        self.0.apply(changes)
    }

    fn errand(&mut self, errand: Errand) {
        match errand {
            Errand::News(news) => self.0.hear(news),
            Errand::Spare(spared) => self.0.spare(spared),
            Errand::Review => self.0.review(),
            Errand::Drain(answer) => self.0.drain(answer),
        }
    }

    fn rest(&mut self, _: bool) -> Option<Facts> {
        self.0.rest()
    }

    fn pause(&self) -> Option<Duration> {
        self.0.pause()
    }
}
