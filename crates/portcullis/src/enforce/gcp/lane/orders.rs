//! Orders of the engine, and how far the state machines say that bans have come.

use ipnet::IpNet;
use portcullis_core::address::{Id, canonical};
use portcullis_core::cloud::reconcile::Input;
use portcullis_core::ledger::{Applied, Change, LayerId, Order, OrderKind, Standing, Ticket};

use super::{Clouds, SESSIONS_FRESH};
use crate::enforce::answer;
use crate::enforce::protect::{Reach, offender, too_wide};

impl Clouds {
    /// Orders, each answered at once: what comes of it is told later.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Vec<Applied> {
        self.look_who_is_here(SESSIONS_FRESH);
        let answers = changes
            .iter()
            .map(|change| answer(change, Ok(self.order(change))))
            .collect();
        self.is_stale = true;
        answers
    }

    fn order(&mut self, change: &Change) -> Standing {
        let id = &change.layer;
        match &change.order {
            Order::Start => self.open(id),
            Order::Stop => self.close(id),
            Order::Ban(ticket) | Order::Prolong(ticket) => {
                self.open(id);
                return self
                    .ban(id, ticket)
                    .map_or_else(Standing::Protected, |()| Standing::Decided);
            }
            Order::Unban(ticket) => self.unban(id, ticket),
            // Orders to free each follow; whether it is still true is looked at all the time.
            Order::Flush | Order::Vacate | Order::Again(_) | Order::Reload => {}
        }
        Standing::Decided
    }

    /// Refused with the reason.
    fn ban(&mut self, id: &LayerId, ticket: &Ticket) -> Result<(), String> {
        let whole = ticket.id.network().ok_or("not an address")?;
        let range = match too_wide(&whole, Reach::of(ticket)) {
            None => whole,
            Some(reason) => {
                let single = offender(ticket).ok_or_else(|| format!("protected: {reason}"))?;
                let single = IpNet::from(canonical(single));
                self.narrowed.insert((id.clone(), single), ticket.id.clone());
                single
            }
        };
        let (until, bancount) = (ticket.until(), ticket.bancount);
        let Some(layer) = self.layers.get_mut(id) else {
            return Ok(());
        };
        if layer.key.is_none() {
            layer.early.insert(range, (until, bancount));
            return Ok(());
        }
        self.give(id, |id, _| Input::Ban {
            layer: id,
            range,
            until,
            bancount,
        });
        Ok(())
    }

    fn unban(&mut self, id: &LayerId, ticket: &Ticket) {
        let Some(mut range) = ticket.id.network() else { return };
        let single = self
            .narrowed
            .iter()
            .find(|((layer, _), net)| layer == id && **net == ticket.id);
        if let Some(key) = single.map(|(key, _)| key.clone()) {
            self.narrowed.remove(&key);
            range = key.1;
        }
        if let Some(layer) = self.layers.get_mut(id) {
            layer.early.remove(&range);
        }
        self.give(id, |id, _| Input::Unban { layer: id, range });
    }

    pub(super) fn stand(&mut self, layer: LayerId, range: IpNet, standing: Standing) {
        let narrowed = self.narrowed.get(&(layer.clone(), range)).cloned();
        let standing = match (standing, &narrowed) {
            (Standing::Applied | Standing::Verified, Some(net)) => {
                Standing::Protected(format!("narrowed to {}: {net} is too wide", range.addr()))
            }
            (standing, _) => standing,
        };
        self.told.applied.push(Applied {
            id: Some(narrowed.unwrap_or_else(|| Id::from(range))),
            layer,
            order: OrderKind::Ban,
            result: Ok(standing),
        });
    }
}
