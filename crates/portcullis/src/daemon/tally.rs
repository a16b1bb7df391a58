//! How many bans came and went, told at DEBUG when the actions of a jail have done their part (contract §13.10).

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::engine::{Event, Query};
use portcullis_core::ledger::LayerId;
use portcullis_core::value::repr_str;

use super::Daemon;
use crate::observe::log::{Level, is_told, note as say};

/// What is not told yet.
#[derive(Default)]
pub(super) struct Tally {
    counts: BTreeMap<Arc<str>, Count>,
    /// Orders of each action of which nothing is known yet
    ordered: BTreeMap<LayerId, usize>,
}

/// One jail's.
#[derive(Default)]
struct Count {
    banned: usize,
    unbanned: usize,
    /// Whether everybody was freed at once
    emptied: bool,
}

impl Count {
    fn is_silent(&self) -> bool {
        self.banned == 0 && self.unbanned == 0 && !self.emptied
    }

    /// The lines of a jail with so many bans in all and so many in force.
    fn lines(&self, jail: &str, (total, size): (u64, usize)) -> Vec<String> {
        let mut lines = Vec::new();
        let whose = format!("{size} ticket(s) in {}", repr_str(jail));
        if self.unbanned > 0 || self.emptied {
            let indent = if self.emptied { "  " } else { "" };
            lines.push(format!("{indent}Unbanned {}, {whose}", self.unbanned));
        }
        if self.banned > 0 {
            lines.push(format!("Banned {} / {total}, {whose}", self.banned));
        }
        lines
    }
}

impl Tally {
    /// Something was decided.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Banned { jail, .. } => self.count(jail).banned += 1,
            Event::Unbanned { jail, .. } => self.count(jail).unbanned += 1,
            Event::Emptied { jail } => self.count(jail).emptied = true,
            _ => {}
        }
    }

    /// An action was told so many things: how many of its orders are open now.
    pub(super) fn order(&mut self, layer: &LayerId, more: usize) -> usize {
        let open = self.ordered.entry(layer.clone()).or_default();
        *open += more;
        *open
    }

    /// The orders of a jail's actions that are open.
    pub(super) fn open(&self, jail: &str) -> BTreeMap<LayerId, usize> {
        let ordered = self.ordered.iter().filter(|(layer, _)| *layer.jail == *jail);
        ordered.map(|(layer, open)| (layer.clone(), *open)).collect()
    }

    /// Whether an action was told something of which nothing is known yet.
    pub(super) fn is_open(&self, layer: &LayerId) -> bool {
        self.ordered.contains_key(layer)
    }

    /// An action did what it was told, or failed.
    pub(super) fn done(&mut self, layer: &LayerId) {
        count_down(&mut self.ordered, layer);
    }

    fn count(&mut self, jail: &Arc<str>) -> &mut Count {
        self.counts.entry(Arc::clone(jail)).or_default()
    }

    /// What can be told now: of jails whose actions have nothing left to do.
    fn take(&mut self) -> BTreeMap<Arc<str>, Count> {
        let is_settled = |jail: &Arc<str>| !self.ordered.keys().any(|layer| layer.jail == *jail);
        let all = std::mem::take(&mut self.counts).into_iter();
        let (settled, open) = all.partition(|(jail, _)| is_settled(jail));
        self.counts = open;
        settled
    }
}

/// One order fewer.
pub(super) fn count_down(orders: &mut BTreeMap<LayerId, usize>, layer: &LayerId) {
    if let Some(open) = orders.get_mut(layer) {
        *open = open.saturating_sub(1);
        if *open == 0 {
            orders.remove(layer);
        }
    }
}

impl Daemon {
    /// Tells what can be told.
    pub(super) fn tell_tally(&mut self) {
        let mut settled = self.held.tally.take();
        settled.retain(|_, count| !count.is_silent());
        if settled.is_empty() || self.dry_run || !is_told(Level::Debug) {
            return;
        }
        let view = self.engine.query(&Query::Status);
        for (jail, count) in settled {
            let now = view.jails.iter().find(|view| view.name == jail);
            let now = now.map_or((0, 0), |view| (view.bans_total, view.banned));
            for line in count.lines(&jail, now) {
                say(Level::Debug, "fail2ban.actions", &line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_is_told_of_when_its_actions_are_done() {
        let (jail, mut tally) = (Arc::<str>::from("sshd"), Tally::default());
        tally.hear(&Event::Emptied {
            jail: Arc::clone(&jail),
        });
        let layer = LayerId {
            jail: Arc::clone(&jail),
            action: "nft".into(),
        };
        assert_eq!(tally.order(&layer, 1), 1);
        assert!(tally.take().is_empty());
        tally.done(&layer);
        let told = tally.take();
        assert_eq!(
            told["sshd"].lines("sshd", (7, 0)),
            ["  Unbanned 0, 0 ticket(s) in 'sshd'"]
        );
        assert!(tally.take().is_empty());
    }

    #[test]
    fn bans_and_their_ends_have_a_line_each() {
        let count = Count {
            banned: 2,
            unbanned: 1,
            ..Count::default()
        };
        let lines = count.lines("a", (9, 3));
        assert_eq!(
            lines,
            ["Unbanned 1, 3 ticket(s) in 'a'", "Banned 2 / 9, 3 ticket(s) in 'a'"]
        );
    }
}
