//! The layers that make bans true.
//!
//! In come [`Change`]s, decided and already stored; out go [`Applied`] facts, one for each change, and on
//! asking what a layer really holds. A layer decides nothing and reads no clock: the steady `now` comes with
//! each call. What must never be banned stands in [`protect`], in front of the native layers.

pub(crate) mod dry;
pub(crate) mod gcp;
pub(crate) mod ipset;
pub(crate) mod mail;
mod netlink;
pub(crate) mod nft;
pub(crate) mod ports;
pub(crate) mod protect;
pub(crate) mod sessions;
pub(crate) mod shell;

use ipnet::IpNet;
use portcullis_core::address::Id;
use portcullis_core::ledger::{Applied, Change, LayerId, Reading, Standing};
use portcullis_core::time::{Seconds, Timestamp};

/// One place where bans become true: the kernel, a cloud firewall, a shell action.
pub(crate) trait Layer: Send {
    /// Makes the changes true, in order, in as few transactions as possible; one answer for each change, in
    /// the order of the changes. `now` is the steady clock's reading.
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied>;

    /// What the layer holds now, or `None` if it cannot be read back at all.
    fn held(&mut self) -> Option<Result<Vec<Held>, Error>>;

    /// Compares what the layer holds with what it was told, and repairs what differs in the same call; one reading for
    /// each layer that was started, with what was wrong before. `None` where nothing can be read back.
    fn mend(&mut self, _now: Timestamp) -> Option<Result<Vec<Reading>, Error>> {
        None
    }

    /// Whether the layer holds each of these bans, without reading everything; of some that it does hold it may say
    /// no, and then mending is due. `None` where nothing can be read back.
    fn holds(&mut self, _bans: &[(LayerId, Id)]) -> Option<Result<Vec<bool>, Error>> {
        None
    }
}

/// Facts from a lane, for the engine and the daemon.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// One for each order, and of layers that answer later, how far bans have come
    pub(crate) applied: Vec<Applied>,
    /// Layers that lost what they held: their bans are to be ordered again
    pub(crate) lost: Vec<LayerId>,
    /// Layers that were read back
    pub(crate) readings: Vec<Reading>,
    /// Layers that cannot follow what was decided, and why; or can again
    pub(crate) failing: Vec<(LayerId, Option<String>)>,
    /// Who was taken out of a rule of the cloud's by a person
    pub(crate) freed: Vec<IpNet>,
}

impl Facts {
    /// Whether there is nothing to be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.applied.is_empty()
            && self.lost.is_empty()
            && self.readings.is_empty()
            && self.failing.is_empty()
            && self.freed.is_empty()
    }
}

/// One ban as a layer holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Whose action holds it
    pub layer: LayerId,
    /// Who is banned
    pub id: Id,
    /// How long it still lasts; `None` for ever
    pub remaining: Option<Seconds>,
}

/// Why a layer cannot do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The layer cannot be used at all here; nothing is enforced by it.
    #[error("{0}")]
    Unavailable(String),
    /// The kernel refused one thing.
    #[error("cannot {what}: {errno}")]
    Refused {
        /// What was tried: verb, table, set or chain, element
        what: String,
        /// The kernel's reason
        errno: rustix::io::Errno,
    },
    /// The kernel answered what cannot be understood.
    #[error("cannot {what}: {reason}")]
    Answer {
        /// What was tried
        what: String,
        /// What is wrong with the answer
        reason: String,
    },
    /// A name that the layer cannot keep.
    #[error(
        "the names of jail '{jail}' and action '{action}' are too long for nftables (together at most {most} bytes)"
    )]
    TooLong {
        /// The jail
        jail: String,
        /// The action
        action: String,
        /// The most bytes that both may have together
        most: usize,
    },
}

/// The answer to one change.
fn answer(change: &Change, result: Result<Standing, String>) -> Applied {
    Applied {
        layer: change.layer.clone(),
        id: change.order.ticket().map(|ticket| ticket.id.clone()),
        order: change.order.kind(),
        result,
    }
}
