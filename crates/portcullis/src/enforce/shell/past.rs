//! What an earlier run of the daemon has set up with shell actions: taken over where it stands, otherwise ended with the
//! commands it was made with, so that nothing is set up twice.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::action::{Action, Scope, Verb};
use portcullis_core::address::{Family as AddressFamily, Id};
use portcullis_core::ledger::{LayerId, Ticket};
use portcullis_core::time::Timestamp;

use super::state::{Family, Shell};
use super::{Level, ShellLayer, Subject, World, entries};
use crate::runner::{Catalogue, TemplateId};

const ACTIONS: &str = "fail2ban.actions";

/// What an earlier run has left of one action.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// The action as it was then
    pub(crate) action: Box<Action>,
    /// Whether it is the same now, and the daemon ended with all orders done: then a check decides
    pub(crate) is_sound: bool,
    /// The families that it had started
    pub(crate) families: Vec<Scope>,
    /// Whose bans it holds; after an unclean end, may hold
    pub(crate) held: Vec<Ticket>,
}

/// What an action has set up and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    /// Whose
    pub(crate) layer: LayerId,
    /// The families that are started
    pub(crate) families: Vec<Scope>,
    /// Whose bans it was told, with success
    pub(crate) told: Vec<Id>,
}

impl Past {
    /// Whether its bans stand until they are taken away: then what is left of it must be. A mail, or what is not told of
    /// restored bans, leaves nothing.
    fn is_firewall(&self) -> bool {
        !self.action.norestored() && (self.action.defines(Verb::Unban) || self.action.defines(Verb::Flush))
    }
}

/// A scope as it is kept.
pub(crate) fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Whole => "whole",
        Scope::Family(AddressFamily::Inet4) => "inet4",
        Scope::Family(AddressFamily::Inet6) => "inet6",
        Scope::Raw => "raw",
    }
}

/// A kept scope.
pub(crate) fn scope(word: &str) -> Option<Scope> {
    let all = [
        Scope::Whole,
        Scope::Family(AddressFamily::Inet4),
        Scope::Family(AddressFamily::Inet6),
        Scope::Raw,
    ];
    all.into_iter().find(|scope| self::word(*scope) == word)
}

impl ShellLayer {
    /// Makes the commands ready that end what is left; the runner must learn them before [`ShellLayer::inherit`].
    pub(crate) fn commands_of(past: &Past, catalogue: &mut Catalogue) -> BTreeMap<String, TemplateId> {
        entries(&past.action, catalogue)
    }

    /// Takes over what an earlier run has left of an action, before the first order to it; of one that is no more there
    /// is only an end to be made.
    pub(crate) fn inherit(
        &mut self,
        now: Timestamp,
        layer: &LayerId,
        past: &Past,
        templates: BTreeMap<String, TemplateId>,
    ) {
        self.world.now = now;
        if let Some(shell) = self.shells.get_mut(layer)
            && past.is_sound
            && shell.adopt(&mut self.world, past)
        {
            return;
        }
        if past.is_firewall() {
            let mut old = Shell::new(layer.clone(), (*past.action).clone(), templates);
            old.clear(&mut self.world, past);
        }
        self.world.cause = None;
    }

    /// All bans that were kept have been ordered: those that are still held and were not are over.
    pub(crate) fn settle(&mut self, now: Timestamp, jail: Option<&str>) {
        self.world.now = now;
        let meant = |layer: &LayerId| jail.is_none_or(|jail| *layer.jail == *jail);
        for (_, shell) in self.shells.iter_mut().filter(|(layer, _)| meant(layer)) {
            for ticket in std::mem::take(&mut shell.adopted).into_values() {
                // What fails is in the log.
                let _ = shell.order_unban(&mut self.world, &ticket);
            }
        }
        self.world.cause = None;
    }

    /// What all actions have set up and hold.
    pub(crate) fn present(&self) -> Vec<Present> {
        let present = |(layer, shell): (&LayerId, &Shell)| Present {
            layer: layer.clone(),
            families: shell.scopes(|family| family.started),
            told: shell.holds(),
        };
        self.shells.iter().map(present).collect()
    }
}

impl Shell {
    /// Counts as started, with these bans, if its check says so for each family.
    fn adopt(&mut self, world: &mut World, past: &Past) -> bool {
        let is_sound = self.action.defines(Verb::Check)
            && past
                .families
                .iter()
                .all(|scope| self.run(world, Verb::Check, *scope, Subject::Machine));
        if !is_sound {
            return false;
        }
        self.stand(past);
        self.adopted = past
            .held
            .iter()
            .map(|ticket| (ticket.id.clone(), ticket.clone()))
            .collect();
        let text = format!(
            "[{}] Action {} stands from before the restart, with {} ban(s)",
            self.layer.jail,
            self.layer.action,
            past.held.len()
        );
        world.log(ACTIONS, Level::Info, text);
        true
    }

    fn stand(&mut self, past: &Past) {
        let holding: BTreeSet<Scope> = past.held.iter().map(Scope::of).collect();
        for scope in &past.families {
            let family = Family {
                started: true,
                has_entries: *scope == Scope::Whole || holding.contains(scope),
            };
            self.families.push((*scope, family));
            if let Some(script) = self.action.script(Verb::Start, *scope) {
                self.done.push((Verb::Start, *scope, script.text().to_owned()));
            }
        }
        let epoch = Some(self.epoch);
        self.told = past.held.iter().map(|ticket| (ticket.id.clone(), epoch)).collect();
    }

    /// Flushes and stops what an earlier run has left.
    fn clear(&mut self, world: &mut World, past: &Past) {
        let text = format!(
            "[{}] Action {} may stand from before the restart: it is cleared, then set up anew",
            self.layer.jail, self.layer.action
        );
        world.log(ACTIONS, Level::Info, text);
        self.stand(past);
        for (_, family) in &mut self.families {
            family.has_entries = true;
        }
        // What is not there any more cannot be taken away: failures are in the log, and the start decides.
        let _ = self.flush(world, true);
        for ticket in &past.held {
            let _ = self.order_unban(world, ticket);
        }
        let _ = self.end(world);
    }

    fn holds(&self) -> Vec<Id> {
        let held = |(id, since): (&Id, &Option<u32>)| (*since == Some(self.epoch)).then(|| id.clone());
        self.told.iter().filter_map(held).collect()
    }
}
