//! Answers that wait until actions have run, as Fail2Ban's do: whoever lifts a ban may rely on it when the client ends
//! (contract §8.5). Nothing else waits, and no answer for long (D-179).

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use portcullis_core::engine::Event;
use portcullis_core::ledger::{Applied, Change, LayerId, Order};
use portcullis_core::time::Timestamp;
use portcullis_core::wire::Reply;

use super::Daemon;
use super::deeds::Deeds;
use super::tally::{Tally, count_down};

/// No answer waits longer.
const LONGEST: Duration = Duration::from_secs(10);

/// The answers that wait.
#[derive(Default)]
pub(super) struct Held {
    answers: Vec<Answer>,
    pub(super) tally: Tally,
    pub(super) deeds: Deeds,
    /// Orders of the command that is being obeyed, by action: so many are to be done before its answer
    pub(super) command: BTreeMap<LayerId, usize>,
}

struct Answer {
    orders: BTreeMap<LayerId, usize>,
    due: Instant,
    reply: (Sender<Reply>, Reply),
}

impl Held {
    /// An answer waits for orders. It goes out at the next [`Daemon::answer_held`] if there are none.
    pub(super) fn hold(&mut self, orders: BTreeMap<LayerId, usize>, reply: (Sender<Reply>, Reply)) {
        let due = Instant::now() + LONGEST;
        self.answers.push(Answer { orders, due, reply });
    }

    /// An answer waits for all that the actions of a jail have been told and not done yet.
    pub(super) fn hold_open(&mut self, jail: &str, reply: (Sender<Reply>, Reply)) {
        self.hold(self.tally.open(jail), reply);
    }

    /// When the first of them has waited long enough, or something of what was done is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        let answers = self.answers.iter().map(|answer| answer.due);
        answers.chain(self.deeds.due(Instant::now())).min()
    }

    /// Something was decided now.
    pub(super) fn hear(&mut self, event: &Event, now: Timestamp) {
        self.tally.hear(event);
        self.deeds.hear(event, now);
    }

    fn done(&mut self, layer: &LayerId) {
        self.tally.done(layer);
        let waiting = self.answers.iter_mut().map(|answer| &mut answer.orders);
        for orders in waiting.chain([&mut self.command]) {
            count_down(orders, layer);
        }
    }
}

/// Whether the answer to a command that changes the configuration waits for it: Fail2Ban starts actions and restores
/// bans beside.
fn is_awaited(order: &Order) -> bool {
    !matches!(
        order,
        Order::Start | Order::Ban(_) | Order::Prolong(_) | Order::Again(_)
    )
}

impl Daemon {
    /// Orders are about to be handed out: how many of each action are open then.
    pub(super) fn count_orders(&mut self, changes: &[Change]) -> BTreeMap<LayerId, usize> {
        let mut open = BTreeMap::new();
        let of_one = |one: &Change, other: &Change| {
            one.layer == other.layer && is_awaited(&one.order) == is_awaited(&other.order)
        };
        for run in changes.chunk_by(of_one) {
            let Some(first) = run.first().filter(|change| self.lanes.knows(&change.layer)) else {
                continue;
            };
            let count = self.held.tally.order(&first.layer, run.len());
            open.insert(first.layer.clone(), count);
            if is_awaited(&first.order) {
                self.held.command.insert(first.layer.clone(), count);
            }
        }
        open
    }

    /// An action did what it was told at a time, or failed. The engine has not heard of it yet.
    pub(super) fn learn(&mut self, applied: &Applied, now: Timestamp) {
        self.note_deed(applied, now);
        self.held.done(&applied.layer);
        if let Some(stopped) = self.traces.learn(applied) {
            self.keeper.mark(&[], &[stopped]);
        }
    }

    /// Sends the answers that have waited for all they waited for, or long enough; or all.
    pub(super) fn answer_held(&mut self, all: bool) {
        let now = Instant::now();
        let is_ready = |answer: &mut Answer| all || answer.orders.is_empty() || answer.due <= now;
        for answer in self.held.answers.extract_if(.., is_ready) {
            let (sender, reply) = answer.reply;
            // A client that has gone away wants no answer.
            let _ = sender.send(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use portcullis_core::value::Value;

    use super::*;

    #[test]
    fn an_answer_waits_for_its_orders_and_no_others() {
        let layer = |action: &str| LayerId {
            jail: "sshd".into(),
            action: action.into(),
        };
        let (mut held, (sender, _)) = (Held::default(), channel());
        let orders = BTreeMap::from([(layer("mail"), 2)]);
        held.hold(orders, (sender, Reply::Done(Value::None)));
        held.done(&layer("nft"));
        held.done(&layer("mail"));
        assert_eq!(held.answers[0].orders, BTreeMap::from([(layer("mail"), 1)]));
        held.done(&layer("mail"));
        assert!(held.answers[0].orders.is_empty());
        assert!(held.due().unwrap() <= Instant::now() + LONGEST);
    }
}
