//! What layers are told, and what they answer.

use super::{LayerId, Standing, Ticket};
use crate::address::Id;

/// What a layer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which layer
    pub layer: LayerId,
    /// What to do
    pub order: Order,
}

/// The verbs of a layer (contract §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The jail starts.
    Start,
    /// The jail ends; whatever the layer still holds of it goes.
    Stop,
    /// Make this ban true.
    Ban(Ticket),
    /// The ban is already in force but its end has moved.
    Prolong(Ticket),
    /// End this ban.
    Unban(Ticket),
    /// End all bans of the jail at once; orders to unban each of them follow, for layers that cannot.
    Flush,
    /// The same, because the layer is about to be stopped.
    Vacate,
    /// Whoever is banned offends again, some time after the ban: is it still true?
    Again(Ticket),
    /// The configuration was read again and this layer stays.
    Reload,
}

/// A fact: what became of a change. Only these make a ban *applied*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which layer
    pub layer: LayerId,
    /// Whose ban, where the order had one
    pub id: Option<Id>,
    /// What was ordered
    pub order: OrderKind,
    /// What came of it
    pub result: Result<Standing, String>,
}

/// An order without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// [`Order::Start`]
    Start,
    /// [`Order::Stop`]
    Stop,
    /// [`Order::Ban`]
    Ban,
    /// [`Order::Prolong`]
    Prolong,
    /// [`Order::Unban`]
    Unban,
    /// [`Order::Flush`]
    Flush,
    /// [`Order::Vacate`]
    Vacate,
    /// [`Order::Again`]
    Again,
    /// [`Order::Reload`]
    Reload,
}

impl Order {
    /// The verb alone.
    #[must_use]
    pub fn kind(&self) -> OrderKind {
        match self {
            Order::Start => OrderKind::Start,
            Order::Stop => OrderKind::Stop,
            Order::Ban(_) => OrderKind::Ban,
            Order::Prolong(_) => OrderKind::Prolong,
            Order::Unban(_) => OrderKind::Unban,
            Order::Flush => OrderKind::Flush,
            Order::Vacate => OrderKind::Vacate,
            Order::Again(_) => OrderKind::Again,
            Order::Reload => OrderKind::Reload,
        }
    }

    /// Whose ban, where there is one.
    #[must_use]
    pub fn ticket(&self) -> Option<&Ticket> {
        match self {
            Order::Ban(ticket) | Order::Prolong(ticket) | Order::Unban(ticket) | Order::Again(ticket) => Some(ticket),
            Order::Start | Order::Stop | Order::Flush | Order::Vacate | Order::Reload => None,
        }
    }
}
