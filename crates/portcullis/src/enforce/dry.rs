//! The layer of `--dry-run`: says in the log what it would do, and does nothing.

use portcullis_core::ledger::{Applied, Change, Order, Standing, Ticket};
use portcullis_core::time::Timestamp;

use super::{Error, Held, Layer, answer};

/// A layer that only prints.
#[derive(Debug, Default)]
pub(crate) struct Dry;

impl Layer for Dry {
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        changes
            .iter()
            .map(|change| {
                log::info!("[{}] dry run: {}", change.layer.jail, sentence(now, change));
                answer(change, Ok(Standing::Dry))
            })
            .collect()
    }

    fn held(&mut self) -> Option<Result<Vec<Held>, Error>> {
        None
    }
}

/// What would be done, in words.
fn sentence(now: Timestamp, change: &Change) -> String {
    let action = &change.layer.action;
    match &change.order {
        Order::Start => format!("would start {action}"),
        Order::Stop => format!("would stop {action} and end its bans"),
        Order::Again(ticket) => format!("would look whether {action} still holds {}", ticket.id),
        Order::Flush | Order::Vacate => format!("would end all bans of {action}"),
        Order::Reload => format!("would read the configuration of {action} again"),
        Order::Unban(ticket) => format!("would unban {} with {action}", ticket.id),
        Order::Ban(ticket) => format!("would ban {} with {action} {}", ticket.id, length(now, ticket)),
        Order::Prolong(ticket) => format!("would prolong {} with {action} {}", ticket.id, length(now, ticket)),
    }
}

fn length(now: Timestamp, ticket: &Ticket) -> String {
    match ticket.until() {
        Some(until) => format!("for {}", until - now),
        None => "for ever".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::address::Id;
    use portcullis_core::ledger::{Data, LayerId, OrderKind};
    use portcullis_core::time::Seconds;

    use super::*;

    fn change(order: Order) -> Change {
        let layer = LayerId {
            jail: "sshd".into(),
            action: "nft".into(),
        };
        Change { layer, order }
    }

    fn ticket(bantime: Seconds) -> Ticket {
        Ticket {
            id: Id::parse("192.0.2.7").unwrap(),
            time: Timestamp::from_seconds(1000),
            bantime,
            bancount: 1,
            failures: 5,
            matches: Vec::new(),
            data: Data::default(),
            restored: false,
        }
    }

    #[test]
    fn says_what_it_would_do() {
        let now = Timestamp::from_seconds(1000);
        for (order, expect) in [
            (Order::Start, "would start nft"),
            (
                Order::Ban(ticket(Seconds::new(600))),
                "would ban 192.0.2.7 with nft for 10m",
            ),
            (
                Order::Prolong(ticket(Seconds::FOREVER)),
                "would prolong 192.0.2.7 with nft for ever",
            ),
            (
                Order::Unban(ticket(Seconds::new(600))),
                "would unban 192.0.2.7 with nft",
            ),
            (Order::Stop, "would stop nft and end its bans"),
        ] {
            assert_eq!(sentence(now, &change(order)), expect);
        }
    }

    #[test]
    fn answers_every_change_as_dry() {
        let changes = [change(Order::Start), change(Order::Ban(ticket(Seconds::FOREVER)))];
        let answers = Dry.apply(Timestamp::from_seconds(1000), &changes);
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|a| a.result == Ok(Standing::Dry)));
        assert_eq!(
            (answers[1].order, answers[1].id.clone()),
            (OrderKind::Ban, Id::parse("192.0.2.7").ok())
        );
        assert!(Dry.held().is_none());
    }
}
