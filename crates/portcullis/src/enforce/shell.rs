//! A layer of shell actions: what is run when, as Fail2Ban does it (contract §5.4, §5.5).
//!
//! In come changes, out go facts and, on the way, commands for the runner. The commands of one layer run strictly one at
//! a time; actions with `parallel = yes` are in layers of their own. Nothing can be read back from a shell, so that a
//! ban ends at *applied*. What one action has started and holds is in [`state`], what Fail2Ban's log says about a command
//! in [`report`], and which commands are run together in [`batch`].

mod batch;
pub(crate) mod report;
pub(crate) mod past;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::action::{Action, Context, Fetched, JailFacts, Need, Scope, Script, Values};
use portcullis_core::ledger::{Applied, Change, LayerId, Order, Standing, Ticket};
use portcullis_core::time::{Clock, Timestamp};

use super::{Error, Held, Layer, answer};
use crate::runner::{Catalogue, Item, Lane, Link, Ran, TemplateId};
use state::Shell;

/// What runs commands: the link to the runner, or a test.
pub(crate) trait Run: Send {
    /// Runs a template to its end.
    fn run(&mut self, template: TemplateId, values: &Values) -> Ran;

    /// Runs commands, all for one program, as one batch of it.
    fn batch(&mut self, items: Vec<Item>) -> Ran;
}

/// A lane of the runner.
pub(crate) struct Through(pub(crate) Link, pub(crate) Lane);

impl Run for Through {
    fn run(&mut self, template: TemplateId, values: &Values) -> Ran {
        self.0.run(template, values, self.1)
    }

    fn batch(&mut self, items: Vec<Item>) -> Ran {
        self.0.batch(items, self.1)
    }
}

/// What a layer of commands must know beyond its orders, and where its log goes.
pub(crate) trait Surroundings: Send {
    /// Both clocks, at a reading of the steady one.
    fn clock(&mut self, now: Timestamp) -> Clock;
    /// A jail's counters.
    fn jail(&mut self, jail: &str) -> JailFacts;

    /// Counters of jails that end, as they were; nothing for those that are there.
    fn part(&mut self, _: &BTreeMap<String, JailFacts>) {}
    /// What a script needs from elsewhere; asked for only where it needs something.
    fn fetch(&mut self, needs: &BTreeSet<Need>, jail: &str, ticket: Option<&Ticket>) -> Fetched;
    /// Takes a log line.
    fn log(&mut self, line: Line);
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Fail2Ban's name of the part that speaks
    pub(crate) logger: &'static str,
    /// How loud
    pub(crate) level: Level,
    /// The text
    pub(crate) text: String,
}

/// Fail2Ban's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// `DEBUG`
    Debug,
    /// `INFO`
    Info,
    /// `NOTICE`
    Notice,
    /// `ERROR`
    Error,
    /// `CRITICAL`
    Critical,
}

/// Shell actions that wait for each other.
pub(crate) struct ShellLayer {
    shells: BTreeMap<LayerId, Shell>,
    world: World,
}

/// Everything around an action.
struct World {
    run: Box<dyn Run>,
    surroundings: Box<dyn Surroundings>,
    now: Timestamp,
    commands: u64,
    /// How the last command failed, if it did
    cause: Option<String>,
}

impl ShellLayer {
    /// A layer without actions.
    pub(crate) fn new(run: Box<dyn Run>, surroundings: Box<dyn Surroundings>) -> Self {
        ShellLayer {
            shells: BTreeMap::new(),
            world: World {
                run,
                surroundings,
                now: Timestamp::default(),
                commands: 0,
                cause: None,
            },
        }
    }

    /// Counters of jails that end: what stops them is told these until the next call.
    pub(crate) fn part(&mut self, facts: &BTreeMap<String, JailFacts>) {
        self.world.surroundings.part(facts);
    }

    /// Puts an action in place and its scripts into the catalogue, which the runner must learn before the next
    /// order. One that is there already keeps what it has started and holds: that is a reload.
    pub(crate) fn put(&mut self, layer: &LayerId, action: Action, catalogue: &mut Catalogue) {
        let templates = entries(&action, catalogue);
        match self.shells.get_mut(layer) {
            Some(shell) => shell.replace(action, templates),
            None => {
                self.shells
                    .insert(layer.clone(), Shell::new(layer.clone(), action, templates));
            }
        }
    }

    /// Takes all other actions away; they have to be stopped first.
    pub(crate) fn retain(&mut self, layers: &BTreeSet<LayerId>) {
        self.shells.retain(|layer, _| layers.contains(layer));
    }

    /// Whether an action still uses this template.
    pub(crate) fn uses(&self, template: TemplateId) -> bool {
        self.shells.values().any(|shell| shell.uses(template))
    }

    fn obey(&mut self, change: &Change) -> Result<(), String> {
        let result = match self.shells.get_mut(&change.layer) {
            Some(shell) => shell.obey(&mut self.world, &change.order),
            None => Err(format!("Invalid Action name: {}", change.layer.action)),
        };
        self.world.explain(result)
    }

    /// The actions that were started anew since this was last asked, and so lost what they held: their bans are
    /// to be ordered again (contract §5.5, the ban epoch).
    pub(crate) fn take_lost(&mut self) -> Vec<LayerId> {
        let lost = self
            .shells
            .iter_mut()
            .filter_map(|(layer, shell)| shell.take_lost().then(|| layer.clone()));
        lost.collect()
    }
}

/// Puts an action's scripts into the catalogue; gives the templates by their text.
fn entries(action: &Action, catalogue: &mut Catalogue) -> BTreeMap<String, TemplateId> {
    action
        .scripts()
        .map(|script| (script.text().to_owned(), catalogue.add(script.text(), action.timeout())))
        .collect()
}

impl Layer for ShellLayer {
    fn apply(&mut self, now: Timestamp, changes: &[Change]) -> Vec<Applied> {
        self.world.now = now;
        let mut facts = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while !rest.is_empty() {
            let (these, others) = rest.split_at(batch::stretch(rest));
            let results = match these {
                [one] => vec![self.obey(one)],
                these => self.obey_together(these),
            };
            let answers = these.iter().zip(results);
            facts.extend(answers.map(|(change, result)| answer(change, result.map(|()| Standing::Applied))));
            rest = others;
        }
        facts
    }

    fn held(&mut self) -> Option<Result<Vec<Held>, Error>> {
        None
    }
}

impl Shell {
    /// Does what is ordered, and puts a failure into the log as Fail2Ban does.
    fn obey(&mut self, world: &mut World, order: &Order) -> Result<(), String> {
        let (jail, action) = (self.layer.jail.clone(), self.layer.action.clone());
        let result = match order {
            Order::Start => self.start(world, None),
            Order::Stop => return self.end(world),
            Order::Ban(ticket) => return self.order_ban(world, ticket),
            Order::Prolong(ticket) => return self.order_prolong(world, ticket),
            Order::Unban(ticket) => return self.order_unban(world, ticket),
            Order::Again(ticket) => return self.order_again(world, ticket),
            Order::Flush => return self.flush(world, false),
            Order::Vacate => return self.flush(world, true),
            Order::Reload => return self.reload(world),
        };
        if let Err(error) = &result {
            let text = format!("Failed to start jail '{jail}' action '{action}': {error}");
            world.log("fail2ban.actions", Level::Error, text);
        }
        result
    }
}

impl World {
    /// Fail2Ban's words do not say why; status is to.
    fn explain(&mut self, result: Result<(), String>) -> Result<(), String> {
        let cause = self.cause.take();
        result.map_err(|error| match cause {
            Some(cause) => format!("{error} ({cause})"),
            None => error,
        })
    }

    fn log(&mut self, logger: &'static str, level: Level, text: impl Into<String>) {
        let text = text.into();
        self.surroundings.log(Line { logger, level, text });
    }

    /// What is around a ticket, or a jail, for this script.
    fn with_context<T>(
        &mut self,
        script: &Script,
        jail: &str,
        ticket: Option<&Ticket>,
        make: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        let needs = script.needs();
        let fetched = if needs.is_empty() {
            Fetched::default()
        } else {
            self.surroundings.fetch(&needs, jail, ticket)
        };
        let clock = self.surroundings.clock(self.now);
        let jail = self.surroundings.jail(jail);
        make(&Context {
            clock,
            jail: &jail,
            fetched: &fetched,
        })
    }

    /// The values of an operation: of a ticket, of a family, or of a check, which sees only the machine.
    fn values(&mut self, script: &Script, jail: &str, subject: Subject<'_>) -> Values {
        match subject {
            Subject::Ticket(ticket) => self.with_context(script, jail, Some(ticket), |c| script.values(ticket, c)),
            Subject::Scope(scope) => self.with_context(script, jail, None, |c| script.values_without_ticket(scope, c)),
            Subject::Machine => self.with_context(script, jail, None, |c| script.values_of_machine(c.fetched)),
        }
    }
}

/// Whom a command concerns.
#[derive(Clone, Copy)]
enum Subject<'s> {
    Ticket(&'s Ticket),
    Scope(Scope),
    Machine,
}
