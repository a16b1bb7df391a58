//! Bans that are decided at once, or unbans: the commands of those whose form is recognised are given to their programs
//! together, with the same result ([decision 0013](../../../../../docs/decisions/0013-recognised-commands.md)).
//!
//! In come orders of one kind that follow each other, out goes what came of each. What an action has started and holds,
//! and what the log says, is as if each command had been run by itself. Where a batch fails, each of its commands *is* run
//! by itself, with all that Fail2Ban does about failures; so a batch can only succeed, or cost some time.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::action::{Command, Form, Invocation, Operation, Tool, Verb};
use portcullis_core::address::Family;
use portcullis_core::ledger::{Change, Order};
use portcullis_core::time::Number;

use super::{Level, ShellLayer, World, report};
use crate::runner::{BATCH_MOST, Item, Outcome, Ran, TemplateId};

/// Where the lines of commands come from.
const UTILS: &str = "fail2ban.utils";

/// What is to be run for a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) verb: Verb,
    /// How Fail2Ban's log calls it
    pub(super) word: &'static str,
    /// How its error calls it
    pub(super) doing: &'static str,
}

impl Due {
    pub(super) const UNBAN: Due = Due {
        verb: Verb::Unban,
        word: "unban",
        doing: "unbanning",
    };

    /// Fail2Ban's log says `ban` here, too.
    pub(super) const PROLONG: Due = Due {
        verb: Verb::Prolong,
        word: "ban",
        doing: "prolonging",
    };

    /// A ban, or one again, for which the action may have a command of its own.
    pub(super) fn ban(again: bool, has_reban: bool) -> Due {
        Due {
            verb: if again && has_reban { Verb::Reban } else { Verb::Ban },
            word: if again { "reban" } else { "ban" },
            doing: "banning",
        }
    }
}

/// Which commands go together: those of one program, started in one way, and of one family, so that a ban that a program
/// does not take holds up only its like. `nft` takes no network into a set without intervals, as Fail2Ban's stock makes
/// them: there networks go by themselves.
type Batch = (Invocation, Family, bool);

/// One command of a batch.
pub(super) struct Member {
    batch: Batch,
    item: Item,
    command: Command,
    timeout: Number,
}

impl Member {
    pub(super) fn new(
        form: &Form,
        template: TemplateId,
        operation: &Operation,
        command: Command,
        timeout: Number,
    ) -> Member {
        // In a chain the order of rules is seen, in a set that of elements is not.
        let is_apart = form.invocation().tool == Tool::Nft && operation.element().contains('/');
        let item = Item {
            template,
            element: operation.element().to_owned(),
            bantime: operation.bantime(),
        };
        Member {
            batch: (form.invocation().clone(), operation.family(), is_apart),
            item,
            command,
            timeout,
        }
    }
}

/// How many orders at the front may be obeyed together: bans alone, or unbans alone, and of nobody twice. Whoever is no
/// address goes alone: the first such ban starts all families of an action anew (contract §5.4).
pub(super) fn stretch(changes: &[Change]) -> usize {
    let Some(first) = changes.first().filter(|change| is_ban(&change.order).is_some()) else {
        return changes.len().min(1);
    };
    let kind = is_ban(&first.order);
    let mut seen = BTreeSet::new();
    let is_new = |change: &&Change| {
        let ticket = change.order.ticket();
        is_ban(&change.order) == kind
            && ticket.is_some_and(|ticket| ticket.address().family().is_some())
            && seen.insert((change.layer.clone(), ticket.map(|ticket| ticket.id.clone())))
    };
    changes.iter().take_while(is_new).count().max(1)
}

/// Whether an order bans; `None` if it neither bans nor unbans.
fn is_ban(order: &Order) -> Option<bool> {
    match order {
        Order::Ban(_) => Some(true),
        Order::Unban(_) => Some(false),
        _ => None,
    }
}

/// What has become of an order.
enum Turn {
    /// It is done, or failed for good.
    Over(Result<(), String>),
    /// Its command is still to be run by itself.
    Left(Due),
    /// Nothing has been done for it.
    Untouched,
}

impl ShellLayer {
    /// Obeys orders of one [`stretch`]: first those whose commands go together, then the others in their order.
    pub(super) fn obey_together(&mut self, changes: &[Change]) -> Vec<Result<(), String>> {
        let mut batches: BTreeMap<Batch, Vec<(usize, Member)>> = BTreeMap::new();
        let mut turns = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            let (turn, member) = self.prepare(change);
            turns.push(turn);
            if let Some(member) = member {
                batches.entry(member.batch.clone()).or_default().push((at, member));
            }
        }
        for members in batches.into_values() {
            for part in members.chunks(BATCH_MOST) {
                if !self.world.run_together(part) {
                    continue;
                }
                for (at, _) in part {
                    self.note(changes.get(*at), turns.get_mut(*at));
                }
            }
        }
        let left = changes.iter().zip(turns);
        left.map(|(change, turn)| self.finish(change, turn)).collect()
    }

    /// What comes before the command of an order, and the command if it is for a batch.
    fn prepare(&mut self, change: &Change) -> (Turn, Option<Member>) {
        let untouched = (Turn::Untouched, None);
        let (Some(shell), Some(ticket)) = (self.shells.get_mut(&change.layer), change.order.ticket()) else {
            return untouched;
        };
        let is_ban = matches!(change.order, Order::Ban(_));
        if !shell.is_recognised(is_ban, ticket) {
            return untouched;
        }
        let due = if is_ban {
            shell.prepare_ban(&mut self.world, ticket)
        } else {
            Ok(shell.prepare_unban(ticket))
        };
        match due {
            Ok(Some(due)) => (Turn::Left(due), shell.member(&mut self.world, due, ticket)),
            over => (Turn::Over(self.world.explain(over.map(drop))), None),
        }
    }

    /// An order's command was run together with others.
    fn note(&mut self, change: Option<&Change>, turn: Option<&mut Turn>) {
        let (Some(change), Some(turn)) = (change, turn) else {
            return;
        };
        let (shell, ticket) = (self.shells.get_mut(&change.layer), change.order.ticket());
        if let (Turn::Left(due), Some(shell), Some(ticket)) = (&*turn, shell, ticket) {
            shell.note(*due, ticket);
            *turn = Turn::Over(Ok(()));
        }
    }

    fn finish(&mut self, change: &Change, turn: Turn) -> Result<(), String> {
        match (turn, self.shells.get_mut(&change.layer), change.order.ticket()) {
            (Turn::Over(result), ..) => result,
            (Turn::Left(due), Some(shell), Some(ticket)) => {
                let result = shell.carry_out(&mut self.world, due, ticket);
                self.world.explain(result)
            }
            _ => self.obey(change),
        }
    }
}

impl World {
    /// Runs commands together and says whether that went well; one alone is left to a shell.
    fn run_together(&mut self, members: &[(usize, Member)]) -> bool {
        if members.len() < 2 {
            return false;
        }
        let ran = self
            .run
            .batch(members.iter().map(|(_, member)| member.item.clone()).collect());
        if !ran.succeeded() {
            let text = format!("{} commands failed together: {}", members.len(), report::cause(&ran));
            self.log(UTILS, Level::Debug, text);
            return false;
        }
        let alone = Ran::nothing(Outcome::Exit(0));
        for (_, member) in members {
            self.commands += 1;
            for (level, text) in report::lines(self.commands, &member.command, member.timeout, &alone, &[0]) {
                self.log(UTILS, level, text);
            }
        }
        true
    }
}
