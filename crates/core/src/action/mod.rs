//! Actions: from the properties in a plan to what a shell is given.
//!
//! [`Action::compile`] resolves, once and for each family, all that the properties alone decide; it gives a
//! [`Script`] for each verb. [`Script::values`] picks a ticket's values for the tags that are left, and [`render`]
//! puts them in. Nothing is run here, and when what is run is decided by the layer, not by this module.

mod recognise;
mod render;
mod tags;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use recognise::{Batch, Form, Invocation, Operation, Tool};
pub use render::{Command, Values, render};
pub use values::{Context, Fetched, JailFacts, Merged, Need, Scope};

use crate::address::Family;
use crate::config::plan::ActionPlan;
use crate::time::{Number, parse_length};
use crate::value::{Value, repr_float};
use tags::Properties;

/// The commands of an action (contract §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `actionstart`
    Start,
    /// `actionstop`
    Stop,
    /// `actioncheck`
    Check,
    /// `actionrepair`
    Repair,
    /// `actionban`
    Ban,
    /// `actionreban`
    Reban,
    /// `actionunban`
    Unban,
    /// `actionprolong`
    Prolong,
    /// `actionflush`
    Flush,
    /// `actionreload`
    Reload,
}

impl Verb {
    const ALL: [Verb; 10] = [
        Verb::Start,
        Verb::Stop,
        Verb::Check,
        Verb::Repair,
        Verb::Ban,
        Verb::Reban,
        Verb::Unban,
        Verb::Prolong,
        Verb::Flush,
        Verb::Reload,
    ];

    /// The option that holds the command.
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Verb::Start => "actionstart",
            Verb::Stop => "actionstop",
            Verb::Check => "actioncheck",
            Verb::Repair => "actionrepair",
            Verb::Ban => "actionban",
            Verb::Reban => "actionreban",
            Verb::Unban => "actionunban",
            Verb::Prolong => "actionprolong",
            Verb::Flush => "actionflush",
            Verb::Reload => "actionreload",
        }
    }

    /// Whether the command concerns one ban; all others concern a family, which is put in at once.
    #[must_use]
    pub fn has_ticket(self) -> bool {
        matches!(self, Verb::Ban | Verb::Reban | Verb::Unban | Verb::Prolong)
    }
}

/// Why an action cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Properties that need each other.
    #[error("properties contain self referencing definitions and cannot be resolved, fail tag: {tag}, found: {found}")]
    SelfReference {
        /// The property
        tag: String,
        /// The tag in it
        found: String,
    },
    /// A command that no process could be given.
    #[error("the property '{0}' is longer than a command can be, once its tags are resolved")]
    TooLong(String),
    /// `timeout` is no length of time.
    #[error("timeout: {0}")]
    Timeout(#[from] crate::time::NotALength),
    /// `families` names something else than `inet4` and `inet6`.
    #[error("families: '{0}' is neither inet4 nor inet6")]
    Families(String),
}

/// A command of an action: the text of a shell script, in which only tags of the moment are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    text: String,
    tags: BTreeSet<String>,
    fields: bool,
}

impl Script {
    /// A script of which the static tags are resolved already.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let mut tags = BTreeSet::new();
        let mut from = 0;
        while let Some(range) = tags::find(&text, from) {
            tags.insert(tags::name(&text, &range).to_owned());
            from = range.end;
        }
        let fields = text.contains("<F-");
        Script { text, tags, fields }
    }

    /// The text, tags included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What must be fetched before [`Script::values`] can be complete.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<Need> {
        self.tags.iter().filter_map(|tag| values::need(tag)).collect()
    }
}

/// One action of one jail, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    name: Arc<str>,
    families: Vec<Scope>,
    timeout: Number,
    flags: Flags,
    defined: BTreeSet<Verb>,
    scripts: BTreeMap<(Verb, Option<Family>), Script>,
    forms: BTreeMap<(Verb, Option<Family>), Form>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flags {
    on_demand: bool,
    norestored: bool,
    repair_on_unban: bool,
}

impl Action {
    /// Resolves the properties of an action; `ipv6` says whether IPv6 is allowed (contract §2.4, §5.4).
    ///
    /// # Errors
    /// [`Error`], which concerns this action alone.
    pub fn compile(plan: &ActionPlan, ipv6: bool) -> Result<Action, Error> {
        let timeout = timeout(plan)?;
        let properties = properties(plan, timeout);
        let conditional = properties.keys().any(|key| is_conditional(key));
        let flag = |name: &str| last(plan, name).map(Value::is_true);
        Ok(Action {
            name: plan.name.clone(),
            families: families(plan, conditional, ipv6)?,
            timeout,
            flags: Flags {
                on_demand: flag("actionstart_on_demand").unwrap_or(conditional),
                norestored: flag("norestored").unwrap_or(false),
                repair_on_unban: flag("actionrepair_on_unban").unwrap_or(false),
            },
            defined: Verb::ALL
                .into_iter()
                .filter(|verb| defines(&properties, *verb))
                .collect(),
            scripts: scripts(&properties)?,
            forms: BTreeMap::new(),
        })
    }

    /// Finds out which commands can be done together with others of their kind. Without this none is.
    #[must_use]
    pub fn recognised(mut self) -> Action {
        let found = self.scripts.iter().filter_map(|((verb, family), script)| {
            let form = verb.has_ticket().then(|| Form::of(script.text())).flatten()?;
            let start = self.scripts.get(&(Verb::Start, *family)).map_or("", Script::text);
            form.keeps_out(start).then_some(((*verb, *family), form))
        });
        self.forms = found.collect();
        self
    }

    /// The name within the jail.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The families that are started with the jail, unless on demand.
    #[must_use]
    pub fn families(&self) -> &[Scope] {
        &self.families
    }

    /// How long a command may take.
    #[must_use]
    pub fn timeout(&self) -> Number {
        self.timeout
    }

    /// Whether a family is started only with its first ban.
    #[must_use]
    pub fn on_demand(&self) -> bool {
        self.flags.on_demand
    }

    /// Whether bans that come from the database are not for this action.
    #[must_use]
    pub fn norestored(&self) -> bool {
        self.flags.norestored
    }

    /// Whether a failed unban or flush is worth a repair.
    #[must_use]
    pub fn repair_on_unban(&self) -> bool {
        self.flags.repair_on_unban
    }

    /// Whether the configuration has this command, be it that its tags leave nothing of it: what has no
    /// `actionflush`, `actionreban`, `actionprolong` or `actioncheck` is done another way, or not at all.
    #[must_use]
    pub fn defines(&self, verb: Verb) -> bool {
        self.defined.contains(&verb)
    }

    /// The command; `None` where there is nothing to do.
    #[must_use]
    pub fn script(&self, verb: Verb, scope: Scope) -> Option<&Script> {
        self.scripts.get(&(verb, scope.family()))
    }

    /// The form of a command that can be done together with others of its kind.
    #[must_use]
    pub fn form(&self, verb: Verb, scope: Scope) -> Option<&Form> {
        self.forms.get(&(verb, scope.family()))
    }

    /// Whether any command can be done together with others of its kind.
    #[must_use]
    pub fn is_recognised(&self) -> bool {
        !self.forms.is_empty()
    }

    /// All commands, with those of all families.
    pub fn scripts(&self) -> impl Iterator<Item = &Script> {
        self.scripts.values()
    }
}

/// The value of a property as the server takes it; `None` and a missing property are the same to tags.
fn last<'p>(plan: &'p ActionPlan, name: &str) -> Option<&'p Value> {
    let (_, value) = plan.properties.iter().rev().find(|(key, _)| key == name)?;
    (*value != Value::None).then_some(value)
}

fn timeout(plan: &ActionPlan) -> Result<Number, Error> {
    Ok(match last(plan, "timeout") {
        None => Number::Int(60),
        Some(Value::Int(number)) => Number::Int(*number),
        Some(Value::Float(number)) => Number::Float(*number),
        Some(other) => parse_length(&other.to_string())?,
    })
}

/// `name?family=value`, the name of word characters only.
fn is_conditional(key: &str) -> bool {
    key.split_once("?family=")
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

fn families(plan: &ActionPlan, conditional: bool, ipv6: bool) -> Result<Vec<Scope>, Error> {
    let named = last(plan, "families").map(ToString::to_string).unwrap_or_default();
    let words = named.split([' ', ',', '\n', '\t']).filter(|word| !word.is_empty());
    let mut families = Vec::new();
    for word in words {
        families.push(match word {
            "inet4" => Scope::Family(Family::Inet4),
            "inet6" => Scope::Family(Family::Inet6),
            _ => return Err(Error::Families(word.to_owned())),
        });
    }
    if !families.is_empty() {
        return Ok(families);
    }
    Ok(match (conditional, ipv6) {
        (true, true) => vec![Scope::Family(Family::Inet4), Scope::Family(Family::Inet6)],
        (true, false) => vec![Scope::Family(Family::Inet4)],
        (false, _) => vec![Scope::Whole],
    })
}

/// The properties as text, with what every action has.
fn properties(plan: &ActionPlan, timeout: Number) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = Verb::ALL
        .iter()
        .filter(|verb| **verb != Verb::Prolong)
        .map(|verb| (verb.option().to_owned(), String::new()))
        .collect();
    all.insert("banEpoch".to_owned(), "0".to_owned());
    for (key, value) in &plan.properties {
        // The ban time is the ticket's, whatever was set (contract §2.4).
        if !key.starts_with('_') && key != "bantime" {
            match value {
                Value::None => all.remove(key),
                value => all.insert(key.clone(), value.to_string()),
            };
        }
    }
    let timeout = match timeout {
        Number::Int(number) => number.to_string(),
        Number::Float(number) => repr_float(number),
    };
    all.insert("timeout".to_owned(), timeout);
    all
}

fn defines(properties: &BTreeMap<String, String>, verb: Verb) -> bool {
    let text = properties.get(verb.option()).map_or("", String::as_str);
    !(if verb == Verb::Prolong { text.trim() } else { text }).is_empty()
}

fn scripts(properties: &BTreeMap<String, String>) -> Result<BTreeMap<(Verb, Option<Family>), Script>, Error> {
    let mut scripts = BTreeMap::new();
    for family in [None, Some(Family::Inet4), Some(Family::Inet6)] {
        let name = family.map(|family| family.to_string());
        let resolved = Properties::resolve(properties, name.as_deref())?;
        for verb in Verb::ALL {
            // Prolonging has no default, so that its tag would stand for itself.
            let unset =
                verb == Verb::Prolong && properties.get(verb.option()).is_none_or(|text| text.trim().is_empty());
            let mut text = if unset {
                String::new()
            } else {
                resolved.command(verb.option())?
            };
            if let Some(name) = name.as_ref().filter(|_| !verb.has_ticket()) {
                let values = Values {
                    tags: BTreeMap::from([("family".to_owned(), name.clone())]),
                    fields: BTreeMap::new(),
                };
                text = render(&text, &values).script;
            }
            if !text.is_empty() {
                scripts.insert((verb, family), Script::new(text));
            }
        }
    }
    Ok(scripts)
}
