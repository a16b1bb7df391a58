//! One jail's counting by prefix: under whose name a failure counts, and which bans an address lies in.

use ipnet::IpNet;

use super::jail::Jail;
use super::known::Around;
use crate::address::Id;
use crate::allow::Allow;
use crate::ledger::{Field, Ticket};
use crate::prefix::Prefix;
use crate::tracker::Attempt;

/// Who in a network must not be banned with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Nobody,
    /// Somebody, and why
    Somebody(&'static str),
    /// Perhaps somebody: a name's addresses or a file are not known now
    Unknown,
}

impl Around<'_> {
    /// Whether a network may be banned whole by a jail with these rules.
    pub(super) fn within(&self, allow: &Allow, net: &IpNet) -> Within {
        let overlaps = |other: &IpNet| other.contains(net) || net.contains(other);
        if self.protected.iter().any(overlaps) {
            return Within::Somebody("a protected address");
        }
        match allow.has_within(net, &self.known) {
            Some(false) => Within::Nobody,
            Some(true) => Within::Somebody("an address that is exempt"),
            None => Within::Unknown,
        }
    }
}

/// Under whose name a failure of `id` counts: its network, unless somebody in there must not be banned with it. The
/// address itself is then kept beside.
pub(super) fn counted(jail: &Jail, id: &Id, around: &Around<'_>, attempt: &mut Attempt) -> Id {
    if jail.plan.prefix.is_off() {
        return id.clone();
    }
    let Id::Ip(ip) = id else { return id.clone() };
    let net = jail.plan.prefix.counted(*ip);
    let Some(net) = net.filter(|net| around.within(&jail.allow, net) == Within::Nobody) else {
        return id.clone();
    };
    let offender = Field::Text(id.to_string().into());
    attempt.data.insert(Ticket::OFFENDER, offender);
    Id::Net(net)
}

/// A ban of an earlier run as it may be now: of the offender alone where its network holds somebody who is exempt.
pub(super) fn narrowed(ticket: &Ticket, allow: &Allow, around: &Around<'_>) -> Option<Ticket> {
    let (Id::Net(net), Some(offender)) = (&ticket.id, ticket.offender()) else {
        return None;
    };
    if !matches!(around.within(allow, net), Within::Somebody(_)) {
        return None;
    }
    let mut ticket = ticket.clone();
    ticket.data.remove(Ticket::OFFENDER);
    ticket.id = Id::Ip(offender);
    Some(ticket)
}

impl Jail {
    /// The networks around an address that this jail has banned without being told to, from narrow to wide: nobody who
    /// typed an address of such a one could mean anything else. The options that they were banned by may be gone.
    pub(super) fn networks_over(&self, id: &Id) -> Vec<Id> {
        let Id::Ip(ip) = id else { return Vec::new() };
        if !self.ledger.has_networks() {
            return Vec::new();
        }
        let is_ours = |id: &Id| {
            let ban = self.ledger.get(id);
            ban.is_some_and(|ban| ban.ticket.offender().is_some() || ban.ticket.is_widened())
        };
        Prefix::around(*ip).map(Id::Net).filter(is_ours).collect()
    }
}
