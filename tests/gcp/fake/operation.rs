//! Operations: a write is answered at once, runs for a while, and takes effect when it ends.

use std::time::Instant;

use serde_json::{Value, json};

use super::problem::Problem;
use super::rule::{complete, merge};
use super::state::{LINKS, Rule, State, stamp};

/// What an operation does to its rule.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Insert(Value),
    Patch(Value),
    Update(Value),
    Delete,
}

impl Deed {
    fn kind(&self) -> &'static str {
        match self {
            Deed::Insert(_) => "insert",
            Deed::Patch(_) => "patch",
            Deed::Update(_) => "update",
            Deed::Delete => "delete",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) project: String,
    pub(crate) rule: String,
    /// The rule's number
    pub(crate) target: String,
    /// The full address of the network that it works on
    pub(crate) network: String,
    pub(crate) deed: Deed,
    pub(crate) is_portcullis: bool,
    pub(crate) inserted: String,
    /// When it ends; never for `None`, until it is released
    pub(crate) due: Option<Instant>,
    /// The error that it ends with, whatever it would do
    pub(crate) fails: Option<Problem>,
    /// How and when it ended
    pub(crate) end: Option<(Option<Problem>, String)>,
}

impl Operation {
    /// As it is answered (schema `Operation`).
    pub(crate) fn body(&self) -> Value {
        let path = |rest: &str| format!("{LINKS}projects/{}/global/{rest}", self.project);
        let mut body = json!({
            "kind": "compute#operation",
            "id": self.number.to_string(),
            "name": self.name,
            "operationType": self.deed.kind(),
            "targetLink": path(&format!("firewalls/{}", self.rule)),
            "targetId": self.target,
            "status": if self.end.is_some() { "DONE" } else { "RUNNING" },
            "user": "mail@fake-project.example",
            "progress": if self.end.is_some() { 100 } else { 0 },
            "insertTime": self.inserted,
            "startTime": self.inserted,
            "selfLink": path(&format!("operations/{}", self.name)),
        });
        let Some((error, at)) = &self.end else { return body };
        body["endTime"] = json!(at);
        if let Some(problem) = error {
            let entry = json!({"code": problem.code(), "message": problem.message});
            body["error"] = json!({"errors": [entry]});
            body["httpErrorStatusCode"] = json!(problem.status);
            body["httpErrorMessage"] = json!("refused");
        }
        body
    }
}

impl State {
    /// Ends every operation whose time has come, in the order of their ends.
    pub(crate) fn settle(&mut self) {
        let now = Instant::now();
        loop {
            let due = |name: &String| self.operations[name].due.filter(|due| *due <= now);
            let ended = self
                .under_way
                .iter()
                .filter_map(|name| Some((due(name)?, name.clone())));
            let Some((_, name)) = ended.min() else { return };
            self.under_way.retain(|other| *other != name);
            self.end(&name);
        }
    }

    fn end(&mut self, name: &str) {
        let operation = self.operations[name].clone();
        let problem = match operation.fails.clone() {
            Some(problem) => Some(problem),
            None => self.perform(&operation).err(),
        };
        self.note(&operation.project, &operation.rule);
        let ended = self.operations.get_mut(name).expect("it was read above");
        ended.end = Some((problem, stamp()));
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), Problem> {
        let limits = self.settings.limits;
        let resource = format!("projects/{}/global/firewalls/{}", operation.project, operation.rule);
        let number = operation.target.clone();
        let project = self.project(&operation.project)?;
        let before = project.rules.get(&operation.rule).cloned();
        let merged = match (&operation.deed, &before) {
            (Deed::Insert(_), Some(_)) => {
                return Err(Problem::new(409, "alreadyExists", format!("'{resource}' is there")));
            }
            (Deed::Insert(asked), None) => asked.clone(),
            (_, None) => return Err(Problem::missing(&resource)),
            (Deed::Delete, Some(_)) => {
                project.rules.remove(&operation.rule);
                return Ok(());
            }
            (Deed::Patch(patch), Some(rule)) => {
                let mut body = rule.body.clone();
                merge(&mut body, patch);
                body
            }
            (Deed::Update(asked), Some(_)) => asked.clone(),
        };
        let mut body = Value::Object(complete(&merged, limits)?);
        let created = before
            .as_ref()
            .map_or_else(|| json!(stamp()), |rule| rule.body["creationTimestamp"].clone());
        body["kind"] = json!("compute#firewall");
        body["id"] = json!(number);
        body["creationTimestamp"] = created;
        body["network"] = json!(operation.network);
        body["selfLink"] = json!(project.link(&format!("global/firewalls/{}", operation.rule)));
        let mut rule = before.clone().unwrap_or(Rule {
            body: Value::Null,
            by_hand: Default::default(),
            is_made: operation.is_portcullis,
        });
        rule.body = body;
        // What somebody else than portcullis wrote is a person's.
        let (old, new) = (before.map(|rule| rule.ranges()).unwrap_or_default(), rule.ranges());
        if !operation.is_portcullis {
            rule.by_hand
                .extend(new.iter().filter(|range| !old.contains(range)).cloned());
        }
        rule.by_hand.retain(|range| new.contains(range));
        if operation.is_portcullis {
            self.watch.state(&old, &rule);
        }
        let project = self.project(&operation.project)?;
        project.rules.insert(operation.rule.clone(), rule);
        Ok(())
    }
}
