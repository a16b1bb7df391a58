//! Elements on their way to the kernel: collected from changes, packed into messages and transactions.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use portcullis_core::ledger::{LayerId, OrderKind, Standing, Ticket};
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
    /// Whether what is remembered may be wrong, so that it is written in any case
    pub is_doubted: bool,
    /// Places of the changes
    pub changes: Vec<usize>,
}

/// What is done with an element, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// It goes.
    End,
    /// It is there, or may be, and gets another end.
    Renew,
    /// It is not there and comes.
    Add,
}

/// Elements of one set that go the same way, in one message.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// What is done with them
    pub step: Step,
    /// Whose set
    pub layer: LayerId,
    /// Which set
    pub key: SetKey,
    /// Never empty
    pub works: Vec<(Element, Vec<usize>)>,
}

/// Changes of elements, collected until a change of structure or the end. The last word about an element counts.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// In the order of their first change
    pub works: Vec<(LayerId, SetKey, Work)>,
    places: HashMap<(LayerId, SetKey, IpAddr), usize>,
}

impl Pending {
    /// Notes an order for an element; answers at once where there is nothing to do.
    pub(super) fn put(
        &mut self,
        now: Timestamp,
        at: usize,
        layer: &LayerId,
        (order, ticket): (OrderKind, &Ticket),
    ) -> Option<Outcome> {
        let Some((key, ip)) = sets::place(&ticket.id) else {
            return Some(Err(format!(
                "'{}' is not an address: nftables cannot hold it",
                ticket.id
            )));
        };
        let is_ban = order != OrderKind::Unban;
        // A ban that is over already is still made, for a second: the order to end it is on its way.
        let end = ticket.until().map(|until| until.max(now + Seconds::new(1)));
        let end = end.filter(|end| is_ban && *end - now < FOR_EVER);
        let element = Element { ip, end };
        let is_doubted = order == OrderKind::Again;
        let place = *self.places.entry((layer.clone(), key, ip)).or_insert(self.works.len());
        if let Some((_, _, work)) = self.works.get_mut(place) {
            work.element = element;
            work.is_ban = is_ban;
            work.is_doubted |= is_doubted;
            work.changes.push(at);
        } else {
            let work = Work {
                element,
                is_ban,
                is_doubted,
                changes: vec![at],
            };
            self.works.push((layer.clone(), key, work));
        }
        None
    }

    /// By set.
    pub(super) fn groups(self) -> BTreeMap<(LayerId, SetKey), Vec<Work>> {
        let mut groups: BTreeMap<(LayerId, SetKey), Vec<Work>> = BTreeMap::new();
        for (layer, key, work) in self.works {
            groups.entry((layer, key)).or_default().push(work);
        }
        groups
    }
}

/// In chunks of one message each.
pub(super) fn chunks(
    step: Step,
    (layer, key): (&LayerId, SetKey),
    works: impl IntoIterator<Item = (Element, Vec<usize>)>,
) -> Vec<Chunk> {
    let mut works = works.into_iter().peekable();
    let mut out = Vec::new();
    while works.peek().is_some() {
        out.push(Chunk {
            step,
            layer: layer.clone(),
            key,
            works: works.by_ref().take(elements::PER_MESSAGE).collect(),
        });
    }
    out
}

/// Chunks in transactions, in reverse: the last is done first.
pub(super) fn batches(mut chunks: Vec<Chunk>) -> Vec<Vec<Chunk>> {
    chunks.sort_by_key(|chunk| chunk.step);
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
    /// Answers all its changes.
    pub(super) fn answer(&self, result: &Outcome, answers: &mut [Option<Outcome>]) {
        for at in self.works.iter().flat_map(|(_, changes)| changes) {
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
            works,
            ..self
        };
        [self, second]
    }
}
