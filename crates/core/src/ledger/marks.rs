//! Marks of bans by prefix: fields beside those captured from log lines, so that they outlive a restart with them.

use std::net::IpAddr;

use super::{Field, Ledger, Ticket};
use crate::address::Id;

impl Ticket {
    /// The field with the address that offended last, where its network is counted and banned for it. No group of a
    /// regex can be called so.
    pub const OFFENDER: &str = "prefix.offender";
    /// The field that a ban has which rests on others in its network: on how many.
    pub const WIDENED: &str = "prefix.widened";
    /// The field of a ban that a wider one no longer rests on, because somebody lifted that by hand.
    pub const PARDONED: &str = "prefix.pardoned";

    /// The address that offended last, where the ban is of its network.
    #[must_use]
    pub fn offender(&self) -> Option<IpAddr> {
        match self.data.get(Ticket::OFFENDER)? {
            Field::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Whether the ban rests on others in its network.
    #[must_use]
    pub fn is_widened(&self) -> bool {
        self.data.contains_key(Ticket::WIDENED)
    }
}

impl Ledger {
    /// Puts a field without a value into a ban; the ban as it is then.
    pub fn mark(&mut self, id: &Id, field: &str) -> Option<Ticket> {
        let ticket = &mut self.bans.get_mut(id)?.ticket;
        ticket.data.insert(field, Field::Text("".into()));
        Some(ticket.clone())
    }

    /// Takes a field out of a ban and makes it one by hand; the ban as it is then.
    pub fn own_up(&mut self, id: &Id, field: &str) -> Option<Ticket> {
        let ticket = &mut self.bans.get_mut(id)?.ticket;
        ticket.data.remove(field);
        ticket.failures = 0;
        Some(ticket.clone())
    }
}
