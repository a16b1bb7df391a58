//! One shell action of one jail: which families it has started, which hold entries, and what is done when a command
//! fails (contract §5.4, §5.5).

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::action::{Action, Scope, Script, Values, Verb, render};
use portcullis_core::address::Id;
use portcullis_core::ledger::{LayerId, Ticket};
use portcullis_core::time::{Seconds, Timestamp};
use portcullis_core::value::repr_str;

use super::batch::{Due, Member};
use super::{Level, Subject, World, report};
use crate::runner::TemplateId;

/// Where the lines of an action itself come from.
const ACTION: &str = "fail2ban.CommandAction";

/// Where the lines about an action come from.
const ACTIONS: &str = "fail2ban.actions";

/// An environment is not looked after more often than this.
const CHECKS_APART: Seconds = Seconds::new(3);

/// What a family has come to.
#[derive(Clone, Copy, Default)]
pub(super) struct Family {
    pub(super) started: bool,
    pub(super) has_entries: bool,
}

/// How an environment looks after it was checked and perhaps mended.
#[derive(PartialEq)]
enum Sanity {
    Sound,
    /// It is broken and mending it is not worth the while.
    Declined,
    Broken,
}

/// What is logged, and by whom, where a broken environment is not mended.
type Refusal = Option<(&'static str, &'static str)>;

/// One shell action of one jail.
pub(super) struct Shell {
    pub(super) layer: LayerId,
    pub(super) action: Action,
    pub(super) templates: BTreeMap<String, TemplateId>,
    /// In the order in which they came up
    pub(super) families: Vec<(Scope, Family)>,
    /// Operations that stand: an equal command of another family is not run again
    pub(super) done: Vec<(Verb, Scope, String)>,
    /// Whose bans were ordered, and the action's epoch when that succeeded last
    pub(super) told: BTreeMap<Id, Option<u32>>,
    /// Whose bans went with a flush: the orders to unban each of them are still to come
    flushed: BTreeSet<Id>,
    pub(super) epoch: u32,
    lost: bool,
    /// Bans from before the start that it holds and that were not ordered yet
    pub(super) adopted: BTreeMap<Id, Ticket>,
    /// When the environment was looked after last because somebody who is banned offended again
    checked: Option<Timestamp>,
}

impl Shell {
    pub(super) fn new(layer: LayerId, action: Action, templates: BTreeMap<String, TemplateId>) -> Self {
        Shell {
            layer,
            action,
            templates,
            families: Vec::new(),
            done: Vec::new(),
            told: BTreeMap::new(),
            flushed: BTreeSet::new(),
            epoch: 0,
            lost: false,
            adopted: BTreeMap::new(),
            checked: None,
        }
    }

    /// The action was configured anew. What stands still stands where it is the same as before: another option of its
    /// jail must not have it started twice.
    pub(super) fn replace(&mut self, action: Action, templates: BTreeMap<String, TemplateId>) {
        if self.action != action {
            self.done.clear();
        }
        self.action = action;
        self.templates = templates;
    }

    pub(super) fn uses(&self, template: TemplateId) -> bool {
        self.templates.values().any(|id| *id == template)
    }

    pub(super) fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    fn family(&self, scope: Scope) -> Option<Family> {
        self.families
            .iter()
            .find(|(known, _)| *known == scope)
            .map(|(_, family)| *family)
    }

    fn family_mut(&mut self, scope: Scope) -> &mut Family {
        let at = match self.families.iter().position(|(known, _)| *known == scope) {
            Some(at) => at,
            None => {
                self.families.push((scope, Family::default()));
                self.families.len() - 1
            }
        };
        &mut self.families[at].1
    }

    fn is_started(&self, scope: Scope) -> bool {
        self.family(scope).is_some_and(|family| family.started)
    }

    pub(super) fn scopes(&self, which: impl Fn(Family) -> bool) -> Vec<Scope> {
        self.families
            .iter()
            .filter(|(_, family)| which(*family))
            .map(|(scope, _)| *scope)
            .collect()
    }

    /// Runs a command; none at all is a success.
    pub(super) fn run(&self, world: &mut World, verb: Verb, scope: Scope, subject: Subject<'_>) -> bool {
        match self.action.script(verb, scope) {
            Some(script) => {
                let values = world.values(script, &self.layer.jail, subject);
                self.execute(world, script, &values)
            }
            None => true,
        }
    }

    fn execute(&self, world: &mut World, script: &Script, values: &Values) -> bool {
        let Some(template) = self.templates.get(script.text()) else {
            return false;
        };
        let ran = world.run.run(*template, values);
        world.commands += 1;
        let command = render(script.text(), values);
        for (level, text) in report::lines(world.commands, &command, self.action.timeout(), &ran, &[0]) {
            world.log("fail2ban.utils", level, text);
        }
        world.cause = (!ran.succeeded()).then(|| report::cause(&ran));
        ran.succeeded()
    }

    /// Start, stop, flush or reload of some families; an equal command of two families is run once.
    fn operate(
        &mut self,
        world: &mut World,
        verb: Verb,
        scopes: &[Scope],
        after: impl Fn(&mut Self, Scope),
    ) -> Result<(), String> {
        let mut all = true;
        for scope in scopes {
            let text = self.action.script(verb, *scope).map(|script| script.text().to_owned());
            let is_done = |(v, s, t): &(Verb, Scope, String)| *v == verb && s != scope && Some(t) == text.as_ref();
            let ok = self.done.iter().any(is_done) || self.run(world, verb, *scope, Subject::Scope(*scope));
            all &= ok;
            if ok {
                after(self, *scope);
            }
            match text.filter(|_| ok) {
                Some(text) => {
                    self.done.retain(|(v, s, _)| (*v, s) != (verb, scope));
                    self.done.push((verb, *scope, text));
                }
                None => self.forget(verb, *scope),
            }
        }
        // Only a start and a stop stand until their opposite.
        if !matches!(verb, Verb::Start | Verb::Stop) {
            self.done.retain(|(v, _, _)| *v != verb);
        }
        if all { Ok(()) } else { Err(self.operation_error(verb)) }
    }

    fn operation_error(&self, verb: Verb) -> String {
        let operation = match verb {
            Verb::Start => "starting",
            Verb::Stop => "stopping",
            Verb::Flush => "flushing",
            _ => "reloading",
        };
        let jail = repr_str(&self.layer.jail);
        format!(
            "Error {operation} action Jail({jail})/{}: 'Script error'",
            self.layer.action
        )
    }

    /// What was done for a family stands no more, nor does what others had of the same command.
    fn forget(&mut self, verb: Verb, scope: Scope) {
        let at = self.done.iter().position(|(v, s, _)| (*v, *s) == (verb, scope));
        if let Some((_, _, text)) = at.map(|at| self.done.remove(at)) {
            self.done.retain(|(v, _, t)| *v != verb || *t != text);
        }
    }

    /// Starts a family even where that is left to its first ban; `None` starts with the jail.
    pub(super) fn start(&mut self, world: &mut World, scope: Option<Scope>) -> Result<(), String> {
        let scopes = match scope {
            Some(Scope::Raw) => self.action.families().to_vec(),
            Some(scope) => vec![scope],
            None if self.action.on_demand() => return Ok(()),
            None => {
                let all = self.action.families().iter().copied();
                all.filter(|scope| !self.is_started(*scope)).collect()
            }
        };
        self.operate(world, Verb::Start, &scopes, |this, scope| {
            this.forget(Verb::Stop, scope);
            *this.family_mut(scope) = Family {
                started: true,
                has_entries: false,
            };
        })
    }

    /// Stops one family, or all.
    fn stop(&mut self, world: &mut World, scope: Option<Scope>) -> Result<(), String> {
        let scopes = match scope {
            None | Some(Scope::Raw) => {
                let started = self.scopes(|family| family.started);
                self.families.clear();
                started
            }
            Some(scope) if self.family(scope).is_none() => return Ok(()),
            Some(scope) => {
                *self.family_mut(scope) = Family::default();
                vec![scope]
            }
        };
        self.operate(world, Verb::Stop, &scopes, |this, scope| {
            this.forget(Verb::Start, scope);
        })
    }

    /// The action ends; what it holds has been freed before.
    pub(super) fn end(&mut self, world: &mut World) -> Result<(), String> {
        let stopped = self.stop(world, None);
        if let Err(error) = &stopped {
            let (jail, action) = (&self.layer.jail, &self.layer.action);
            let text = format!("Failed to stop jail '{jail}' action '{action}': {error}");
            world.log(ACTIONS, Level::Error, text);
        }
        self.done.clear();
        self.told.clear();
        self.adopted.clear();
        self.flushed.clear();
        stopped
    }

    pub(super) fn reload(&mut self, world: &mut World) -> Result<(), String> {
        let started = self.scopes(|family| family.started);
        self.operate(world, Verb::Reload, &started, |_, _| ())
    }

    /// Bans; whom it holds in this epoch already it is not told of again.
    pub(super) fn order_ban(&mut self, world: &mut World, ticket: &Ticket) -> Result<(), String> {
        match self.prepare_ban(world, ticket)? {
            Some(due) => self.carry_out(world, due, ticket),
            None => Ok(()),
        }
    }

    /// What is to be run for a ban, its family started before that where this is left to the first ban.
    pub(super) fn prepare_ban(&mut self, world: &mut World, ticket: &Ticket) -> Result<Option<Due>, String> {
        self.adopted.remove(&ticket.id);
        let since = self.told.get(&ticket.id).copied().flatten();
        if ticket.restored && self.action.norestored() || since == Some(self.epoch) {
            return Ok(None);
        }
        self.flushed.remove(&ticket.id);
        let again = since.is_some();
        if again {
            let (jail, action) = (&self.layer.jail, repr_str(&self.layer.action));
            let text = format!("[{jail}] Reban {}, action {action}", ticket.id);
            world.log(ACTIONS, Level::Notice, text);
        }
        let due = Due::ban(again, self.action.defines(Verb::Reban));
        self.told.entry(ticket.id.clone()).or_default();
        let scope = Scope::of(ticket);
        if self.action.on_demand() && !self.is_started(scope) {
            let result = self.start(world, Some(scope));
            self.complain(world, due, ticket, &result);
            result?;
        }
        Ok(Some(due))
    }

    /// What is to be run for an unban, if there is anything to take away.
    pub(super) fn prepare_unban(&mut self, ticket: &Ticket) -> Option<Due> {
        self.told.remove(&ticket.id);
        self.adopted.remove(&ticket.id);
        let was_flushed = self.flushed.remove(&ticket.id);
        let has_entries = self.family(Scope::of(ticket)).is_some_and(|family| family.has_entries);
        (has_entries && !was_flushed).then_some(Due::UNBAN)
    }

    /// Runs what is due for a ticket, with all that Fail2Ban does if it fails.
    pub(super) fn carry_out(&mut self, world: &mut World, due: Due, ticket: &Ticket) -> Result<(), String> {
        let result = match self.process(world, due.verb, ticket) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("Error {} {}", due.doing, ticket.ip())),
            Err(error) => Err(error),
        };
        if result.is_ok() {
            self.note(due, ticket);
        }
        self.complain(world, due, ticket, &result);
        result
    }

    /// What was due for a ticket is done.
    pub(super) fn note(&mut self, due: Due, ticket: &Ticket) {
        if !matches!(due.verb, Verb::Ban | Verb::Reban) {
            return;
        }
        *self.family_mut(Scope::of(ticket)) = Family {
            started: true,
            has_entries: true,
        };
        self.told.insert(ticket.id.clone(), Some(self.epoch));
    }

    /// Whether orders of this kind may be for a batch.
    pub(super) fn is_recognised(&self, is_ban: bool, ticket: &Ticket) -> bool {
        let verb = if is_ban { Verb::Ban } else { Verb::Unban };
        self.action.form(verb, Scope::of(ticket)).is_some()
    }

    /// The command that is due as one of a batch, if it is for one.
    pub(super) fn member(&self, world: &mut World, due: Due, ticket: &Ticket) -> Option<Member> {
        let scope = Scope::of(ticket);
        let form = self.action.form(due.verb, scope)?;
        let script = self.action.script(due.verb, scope)?;
        let template = *self.templates.get(script.text())?;
        let values = world.values(script, &self.layer.jail, Subject::Ticket(ticket));
        let operation = form.operation(&values)?;
        let command = render(script.text(), &values);
        Some(Member::new(form, template, &operation, command, self.action.timeout()))
    }

    /// Somebody who is banned offends again: who was banned before a repair is banned once more, otherwise the
    /// environment is checked (contract §4.3).
    pub(super) fn order_again(&mut self, world: &mut World, ticket: &Ticket) -> Result<(), String> {
        let since = self.told.get(&ticket.id).copied().flatten();
        if since.is_some_and(|epoch| epoch < self.epoch) {
            return self.order_ban(world, ticket);
        }
        if self.checked.is_some_and(|at| world.now <= at + CHECKS_APART) {
            return Ok(());
        }
        self.checked = Some(world.now);
        self.check_consistency(world, None)
    }

    pub(super) fn order_prolong(&mut self, world: &mut World, ticket: &Ticket) -> Result<(), String> {
        if !self.action.defines(Verb::Prolong) || (ticket.restored && self.action.norestored()) {
            return Ok(());
        }
        self.carry_out(world, Due::PROLONG, ticket)
    }

    pub(super) fn order_unban(&mut self, world: &mut World, ticket: &Ticket) -> Result<(), String> {
        match self.prepare_unban(ticket) {
            Some(due) => self.carry_out(world, due, ticket),
            None => Ok(()),
        }
    }

    /// Ends all bans at once, if the action can: then the orders to unban each are not for it, even where that failed.
    pub(super) fn flush(&mut self, world: &mut World, at_stop: bool) -> Result<(), String> {
        let (jail, action) = (self.layer.jail.clone(), self.layer.action.clone());
        if !self.action.defines(Verb::Flush) {
            return Ok(());
        }
        self.flushed = std::mem::take(&mut self.told).into_keys().collect();
        world.log(
            ACTIONS,
            Level::Notice,
            format!("[{jail}] Flush ticket(s) with {action}"),
        );
        let holding = self.scopes(|family| family.started && family.has_entries);
        let result = self.operate(world, Verb::Flush, &holding, |this, scope| {
            this.family_mut(scope).has_entries = false;
        });
        if let Err(error) = &result {
            let text = format!("Failed to flush bans in jail '{jail}' action '{action}': {error}");
            world.log(ACTIONS, Level::Error, text);
            world.log(ACTIONS, Level::Info, "No flush occurred, do consistency check");
            let declined = at_stop && !self.action.repair_on_unban();
            let refusal = (ACTIONS, "Invariant check failed. Flush is impossible.");
            self.check_consistency(world, declined.then_some(refusal))?;
        }
        result
    }

    /// Runs a ticket's command, once more if it fails and its environment is sound or could be mended.
    fn process(&mut self, world: &mut World, verb: Verb, ticket: &Ticket) -> Result<bool, String> {
        let scope = Scope::of(ticket);
        if self.run(world, verb, scope, Subject::Ticket(ticket)) {
            return Ok(true);
        }
        if self.action.defines(Verb::Check) {
            let is_unban = verb == Verb::Unban;
            let refusal = (is_unban && !self.action.repair_on_unban())
                .then_some((ACTION, "Invariant check failed. Unban is impossible."));
            if self.check(world, scope, refusal, !is_unban)? != Sanity::Sound {
                return Ok(false);
            }
        }
        Ok(self.run(world, verb, scope, Subject::Ticket(ticket)))
    }

    /// Checks the environment of a family and mends it if need be.
    fn check(&mut self, world: &mut World, scope: Scope, refusal: Refusal, force: bool) -> Result<Sanity, String> {
        // An action that knows no families is started as a whole, whatever is banned with it.
        let as_whole = self.family(scope).is_none()
            && self.family(Scope::Whole).is_some()
            && self.action.script(Verb::Start, scope) == self.action.script(Verb::Start, Scope::Whole);
        let state = if as_whole { Scope::Whole } else { scope };
        if !force && scope != Scope::Raw && self.family(state).is_none() {
            return Ok(Sanity::Sound);
        }
        if self.run(world, Verb::Check, scope, Subject::Machine) {
            return Ok(Sanity::Sound);
        }
        if let Some((logger, text)) = refusal {
            world.log(logger, Level::Error, text);
            return Ok(Sanity::Declined);
        }
        let text = "Invariant check failed. Trying to restore a sane environment";
        world.log(ACTION, Level::Error, text);
        self.epoch += 1;
        let mended = self.mend(world, scope, state, force)?;
        let mut checked = || !self.is_started(state) || self.run(world, Verb::Check, scope, Subject::Machine);
        if mended && checked() {
            // Nothing is ordered again in an environment that is still broken: that would go on for ever.
            self.lost = true;
            return Ok(Sanity::Sound);
        }
        world.log(ACTION, Level::Critical, "Unable to restore environment");
        Ok(Sanity::Broken)
    }

    /// Repairs the environment, or stops and starts it where there is no command for that.
    fn mend(&mut self, world: &mut World, scope: Scope, state: Scope, force: bool) -> Result<bool, String> {
        if self.action.script(Verb::Repair, scope).is_some() {
            let repaired = self.run(world, Verb::Repair, scope, Subject::Machine);
            *self.family_mut(state) = Family {
                started: repaired,
                has_entries: false,
            };
            return Ok(repaired);
        }
        // A stop may well fail in a broken environment; what counts is the start, which is due in any case.
        let _ = self.stop(world, Some(state));
        self.forget(Verb::Start, state);
        if force || !self.action.on_demand() {
            self.start(world, Some(state))?;
        }
        Ok(true)
    }
    /// Checks all families that are started.
    fn check_consistency(&mut self, world: &mut World, refusal: Refusal) -> Result<(), String> {
        if !self.action.defines(Verb::Check) {
            return Ok(());
        }
        for scope in self.scopes(|family| family.started) {
            if self.check(world, scope, refusal, true)? == Sanity::Broken {
                *self.family_mut(scope) = Family::default();
                self.forget(Verb::Start, scope);
            }
        }
        Ok(())
    }

    /// Logs that a ticket's command failed.
    fn complain(&self, world: &mut World, due: Due, ticket: &Ticket, result: &Result<(), String>) {
        let Err(error) = result else { return };
        let Due { verb, word, .. } = due;
        let empty = Script::new("");
        let script = self.action.script(verb, Scope::of(ticket)).unwrap_or(&empty);
        let (jail, action) = (self.layer.jail.clone(), &self.layer.action);
        let info = world.with_context(script, &jail, Some(ticket), |context| script.describe(ticket, context));
        let text = format!("Failed to execute {word} jail '{jail}' action '{action}' info '{info}': {error}");
        world.log(ACTIONS, Level::Error, text);
    }
}
