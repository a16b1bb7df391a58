//! From an offence to a ban: how long, and from when.
//!
//! The first ban of an offender lasts `bantime` from its last failure. (Longer bans for repeated offences are
//! refused by name where the plan is checked.)

use crate::address::Id;
use crate::ledger::{Count, Ticket};
use crate::time::{Seconds, Timestamp};

/// The sentence for a full counter.
#[must_use]
pub fn sentence(id: Id, count: Count, bantime: Seconds) -> Ticket {
    Ticket {
        id,
        time: count.last,
        bantime,
        bancount: 0,
        failures: count.failures,
        matches: count.matches,
        data: count.data,
        restored: false,
    }
}

/// A ban by hand, from now.
#[must_use]
pub fn by_hand(id: Id, now: Timestamp, bantime: Seconds) -> Ticket {
    Ticket {
        id,
        time: now,
        bantime,
        bancount: 0,
        failures: 0,
        matches: Vec::new(),
        data: std::collections::BTreeMap::new(),
        restored: false,
    }
}

/// A ban kept from an earlier run, under the jail's present `bantime`: `None` if it is over (contract §7.4).
/// A longer or permanent ban than the jail now gives is cut to what it gives.
#[must_use]
pub fn restored(mut ticket: Ticket, now: Timestamp, bantime: Seconds) -> Option<Ticket> {
    if !bantime.is_forever() && (ticket.bantime.is_forever() || ticket.bantime > bantime) {
        ticket.bantime = bantime;
    }
    ticket.restored = true;
    // The live engine ends a ban when now is past its end, so its last instant still counts here.
    let alive = ticket.until().is_none_or(|until| until >= now);
    alive.then_some(ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(time: i64, bantime: i64) -> Ticket {
        let mut ticket = by_hand(
            Id::parse("192.0.2.1").unwrap(),
            Timestamp::from_seconds(time),
            Seconds::new(bantime),
        );
        ticket.bancount = 1;
        ticket
    }

    #[test]
    fn restore_cuts_to_the_present_bantime() {
        let now = Timestamp::from_seconds(1000);
        let check = |time, own, jail, expect: Option<i64>| {
            let left = restored(ticket(time, own), now, Seconds::new(jail)).map(|t| t.bantime.whole());
            assert_eq!(left, expect, "{time} {own} {jail}");
        };
        check(900, 600, 600, Some(600));
        check(100, 600, 600, None);
        check(100, 3600, 600, None);
        check(900, 3600, 600, Some(600));
        check(100, -1, 600, None);
        check(900, -1, -1, Some(-1));
        check(900, 600, -1, Some(600));
        check(100, 600, -1, None);
    }
}
