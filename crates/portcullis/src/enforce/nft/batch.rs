//! Elements on their way to the kernel: collected from changes, packed into messages and transactions.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use portcullis_core::ledger::{LayerId, Standing, Ticket};
use portcullis_core::time::{Seconds, Timestamp};

use super::elements::{self, Element};
use super::sets::{self, SetKey};

/// Most elements in one transaction: keeps the longest below [`super::socket::LARGEST`].
const PER_TRANSACTION: usize = 100_000;

/// From 200 years on a ban is for ever: the kernel counts timeouts to 584 years and refuses longer ones.
const FOR_EVER: Seconds = Seconds::new(200 * 31_557_600);

/// What became of one change.
pub(super) type Outcome = Result<Standing, String>;

/// One element on its way, and the changes it answers.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// The element
    pub element: Element,
    /// Whether it comes or goes
    pub is_ban: bool,
    /// Places of the changes
    pub changes: Vec<usize>,
}

/// Elements of one set that go the same way, in one message.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Whose set
    pub layer: LayerId,
    /// Which set
    pub key: SetKey,
    /// Never empty
    pub works: Vec<Work>,
}

/// Changes of elements, collected until a change of structure or the end. The last word about an element counts.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// In the order of their first change
    pub works: Vec<(LayerId, SetKey, Work)>,
    places: HashMap<(LayerId, SetKey, IpAddr), usize>,
}

impl Pending {
    /// Notes a ban (`now` is given) or an unban; answers at once where there is nothing to do.
    pub(super) fn put(
        &mut self,
        at: usize,
        layer: &LayerId,
        ticket: &Ticket,
        now: Option<Timestamp>,
    ) -> Option<Outcome> {
        let Some((key, ip)) = sets::place(&ticket.id) else {
            return Some(Err(format!(
                "'{}' is not an address: nftables cannot hold it",
                ticket.id
            )));
        };
        // A ban that is over already is still made, for a second: the order to end it is on its way.
        let remaining = now
            .and_then(|now| Some((ticket.until()? - now).max(Seconds::new(1))))
            .filter(|remaining| *remaining < FOR_EVER);
        let element = Element { ip, remaining };
        let is_ban = now.is_some();
        let place = *self.places.entry((layer.clone(), key, ip)).or_insert(self.works.len());
        if let Some((_, _, work)) = self.works.get_mut(place) {
            work.element = element;
            work.is_ban = is_ban;
            work.changes.push(at);
        } else {
            let changes = vec![at];
            self.works.push((
                layer.clone(),
                key,
                Work {
                    element,
                    is_ban,
                    changes,
                },
            ));
        }
        None
    }

    /// In chunks of one message each; what ends comes first.
    pub(super) fn chunks(self) -> Vec<Chunk> {
        let mut groups: BTreeMap<(bool, LayerId, SetKey), Vec<Work>> = BTreeMap::new();
        for (layer, key, work) in self.works {
            groups.entry((work.is_ban, layer, key)).or_default().push(work);
        }
        let mut out = Vec::new();
        for ((_, layer, key), works) in groups {
            let mut works = works.into_iter().peekable();
            while works.peek().is_some() {
                let layer = layer.clone();
                let works = works.by_ref().take(elements::PER_MESSAGE).collect();
                out.push(Chunk { layer, key, works });
            }
        }
        out
    }
}

/// Chunks in transactions, in reverse: the last is done first.
pub(super) fn batches(chunks: Vec<Chunk>) -> Vec<Vec<Chunk>> {
    let mut out: Vec<Vec<Chunk>> = Vec::new();
    let mut room = 0;
    for chunk in chunks {
        let length = chunk.works.len();
        match out.last_mut() {
            Some(batch) if length <= room => {
                room -= length;
                batch.push(chunk);
            }
            _ => {
                room = PER_TRANSACTION - length;
                out.push(vec![chunk]);
            }
        }
    }
    out.reverse();
    out
}

impl Chunk {
    /// Whether its elements come or go.
    pub(super) fn is_ban(&self) -> bool {
        self.works.first().is_some_and(|work| work.is_ban)
    }

    /// Answers all its changes.
    pub(super) fn answer(&self, result: &Outcome, answers: &mut [Option<Outcome>]) {
        for at in self.works.iter().flat_map(|work| &work.changes) {
            if let Some(place) = answers.get_mut(*at) {
                *place = Some(result.clone());
            }
        }
    }

    /// Itself in two; for more than one element.
    pub(super) fn halves(mut self) -> [Chunk; 2] {
        let works = self.works.split_off(self.works.len() / 2);
        let second = Chunk {
            layer: self.layer.clone(),
            key: self.key,
            works,
        };
        [self, second]
    }
}
