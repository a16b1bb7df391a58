//! A simulated Compute API: rules, one operation at a time in the network, and what a script has go wrong.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde_json::json;

use crate::cloud::desired::entry;
use crate::cloud::reconcile::{Answer, Call};
use crate::cloud::rule::Rule;
use crate::cloud::trouble::{Kind, Trouble};
use crate::time::{Seconds, Timestamp};

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It never arrives
    LostRequest,
    /// It is done, and nobody learns of it
    LostReply,
    /// It is refused
    Refused(Kind),
    /// It becomes an operation that ends with this
    Ends(Kind),
}

/// A write that is under way.
#[derive(Clone, Debug)]
struct Running {
    name: String,
    ends: Timestamp,
    /// Whose it is, and when the rule was read on which it builds
    writer: (usize, Timestamp),
    effect: Effect,
}

#[derive(Clone, Debug)]
enum Effect {
    List(String, Vec<IpNet>),
    Description(String, String),
    Insert(Box<Rule>),
    Delete(String),
    Nothing(Kind),
}

/// A list that came true.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) writer: usize,
    pub(super) basis: Timestamp,
    pub(super) rule: String,
    pub(super) before: BTreeSet<IpNet>,
    pub(super) after: BTreeSet<IpNet>,
}

pub(super) struct Api {
    pub(super) rules: BTreeMap<String, Rule>,
    running: Option<Running>,
    ended: BTreeMap<String, Result<(), Kind>>,
    requests: BTreeMap<String, (Call, String)>,
    pub(super) cap: usize,
    pub(super) length: Seconds,
    /// How long every call takes, there and back
    pub(super) latency: Seconds,
    pub(super) is_down: bool,
    pub(super) most_rules: usize,
    operations: u64,
    /// Writes that were taken on
    pub(super) writes: usize,
    pub(super) refused_as_busy: usize,
    /// When each write was taken on
    pub(super) written_at: Vec<(Timestamp, Call)>,
}

pub(super) fn trouble(kind: Kind) -> Trouble {
    Trouble {
        kind,
        status: None,
        reason: String::new(),
        message: "simulated".to_owned(),
        retry_after: None,
    }
}

pub(super) fn base_rule(name: &str, ranges: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        network: "https://www.googleapis.com/compute/v1/projects/p/global/networks/default".to_owned(),
        is_ingress: true,
        denied: vec![json!({"IPProtocol": "all"})],
        priority: 10,
        source_ranges: ranges.iter().map(|&range| range.to_owned()).collect(),
        ..Rule::default()
    }
}

pub(super) fn set(rule: &Rule) -> BTreeSet<IpNet> {
    rule.source_ranges.iter().filter_map(|text| entry(text)).collect()
}

impl Api {
    pub(super) fn new(rules: Vec<Rule>) -> Api {
        Api {
            rules: rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect(),
            running: None,
            ended: BTreeMap::new(),
            requests: BTreeMap::new(),
            cap: 5_000,
            length: Seconds::new(5),
            latency: Seconds::from_f64(0.1),
            is_down: false,
            most_rules: 100,
            operations: 0,
            writes: 0,
            refused_as_busy: 0,
            written_at: Vec::new(),
        }
    }

    pub(super) fn ranges(&self, rule: &str) -> BTreeSet<IpNet> {
        self.rules.get(rule).map(set).unwrap_or_default()
    }

    /// When the operation that is under way ends.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.running.as_ref().map(|running| running.ends)
    }

    /// What is over by now comes true.
    pub(super) fn settle(&mut self, now: Timestamp) -> Option<Change> {
        let running = self.running.take_if(|running| running.ends <= now)?;
        let (mut change, mut end) = (None, Ok(()));
        let mut listed = |rule: String, before, after| {
            change = Some(Change {
                writer: running.writer.0,
                basis: running.writer.1,
                rule,
                before,
                after,
            });
        };
        match running.effect {
            Effect::List(name, ranges) => match self.rules.get_mut(&name) {
                Some(rule) => {
                    let before = set(rule);
                    rule.source_ranges = ranges.iter().map(IpNet::to_string).collect();
                    listed(name, before, set(rule));
                }
                None => end = Err(Kind::Missing),
            },
            Effect::Description(name, text) => match self.rules.get_mut(&name) {
                Some(rule) => rule.description = text,
                None => end = Err(Kind::Missing),
            },
            Effect::Insert(rule) => {
                listed(rule.name.clone(), BTreeSet::new(), set(&rule));
                self.rules.insert(rule.name.clone(), *rule);
            }
            Effect::Delete(name) => {
                let before = self.rules.remove(&name).map(|rule| set(&rule)).unwrap_or_default();
                listed(name, before, BTreeSet::new());
            }
            Effect::Nothing(kind) => end = Err(kind),
        }
        self.ended.insert(running.name, end);
        change
    }

    /// One call that has arrived. `None` for an answer that comes when the operation ends.
    pub(super) fn call(
        &mut self,
        now: Timestamp,
        writer: (usize, Timestamp),
        call: &Call,
        end: Option<Kind>,
    ) -> Option<Result<Answer, Trouble>> {
        Some(match call {
            Call::Read { rule } => self.rules.get(rule).map_or_else(
                || Err(trouble(Kind::Missing)),
                |rule| Ok(Answer::Rule(Box::new(rule.clone()))),
            ),
            Call::List { base } => {
                let rules = self.rules.values().filter(|rule| rule.name.starts_with(base));
                Ok(Answer::Rules(rules.cloned().collect()))
            }
            Call::Follow { operation } => {
                if self.running.as_ref().is_some_and(|running| running.name == *operation) {
                    return None;
                }
                match self.ended.get(operation) {
                    Some(end) => Ok(Answer::Operation {
                        name: operation.clone(),
                        done: Some(end.clone().map_err(trouble)),
                    }),
                    None => Err(trouble(Kind::Missing)),
                }
            }
            Call::Write { request, .. }
            | Call::Describe { request, .. }
            | Call::Create { request, .. }
            | Call::Delete { request, .. } => self.change(now, (writer, request), call, end),
        })
    }

    fn change(
        &mut self,
        now: Timestamp,
        (writer, request): ((usize, Timestamp), &str),
        call: &Call,
        end: Option<Kind>,
    ) -> Result<Answer, Trouble> {
        if let Some((former, name)) = self.requests.get(request) {
            assert_eq!(former, call, "an id of a request is used for another body");
            let done = self.ended.get(name).map(|end| end.clone().map_err(trouble));
            return Ok(Answer::Operation {
                name: name.clone(),
                done,
            });
        }
        if self.running.is_some() {
            self.refused_as_busy += 1;
            return Err(trouble(Kind::Busy));
        }
        let effect = self.effect(call)?;
        self.operations += 1;
        self.writes += 1;
        self.written_at.push((now, call.clone()));
        let name = format!("operation-{}", self.operations);
        self.requests.insert(request.to_owned(), (call.clone(), name.clone()));
        self.running = Some(Running {
            name: name.clone(),
            ends: now + self.length,
            writer,
            effect: end.map_or(effect, Effect::Nothing),
        });
        Ok(Answer::Operation { name, done: None })
    }

    fn effect(&self, call: &Call) -> Result<Effect, Trouble> {
        let there = |rule: &String| {
            self.rules
                .contains_key(rule)
                .then_some(())
                .ok_or(trouble(Kind::Missing))
        };
        let fits = |count: usize| {
            assert!(count > 0, "a list is empty");
            (count <= self.cap)
                .then_some(())
                .ok_or(trouble(Kind::TooLarge(Some(self.cap))))
        };
        Ok(match call {
            Call::Write { rule, ranges, .. } => {
                there(rule)?;
                fits(ranges.len())?;
                Effect::List(rule.clone(), ranges.clone())
            }
            Call::Describe { rule, description, .. } => {
                there(rule)?;
                Effect::Description(rule.clone(), description.clone())
            }
            Call::Create { rule, .. } => {
                fits(rule.source_ranges.len())?;
                if self.rules.contains_key(&rule.name) {
                    return Err(trouble(Kind::Conflict));
                }
                if self.rules.len() >= self.most_rules {
                    return Err(trouble(Kind::Quota));
                }
                Effect::Insert(rule.clone())
            }
            Call::Delete { rule, .. } => {
                there(rule)?;
                Effect::Delete(rule.clone())
            }
            Call::Read { .. } | Call::List { .. } | Call::Follow { .. } => return Err(trouble(Kind::Refused)),
        })
    }
}
