//! Writes: what is refused at once, and what becomes an operation.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::api::Twist;
use super::http::Request;
use super::operation::{Deed, Operation};
use super::problem::Problem;
use super::rule::{complete, merge};
use super::state::{Busy, Rule, State, stamp};
use super::watch;

/// What is to be done to which rule.
pub(crate) struct Order {
    pub(crate) project: String,
    pub(crate) rule: String,
    pub(crate) deed: Deed,
}

impl State {
    /// Takes a write, or refuses it; answers with its operation.
    pub(crate) fn order(&mut self, request: &Request, twist: &Twist, order: Order) -> Result<Value, Problem> {
        if let Some(known) = self.replayed(request)? {
            return Ok(known);
        }
        let rule = self.project(&order.project)?.rules.get(&order.rule).cloned();
        if watch::is_portcullis(request) {
            let body = match &order.deed {
                Deed::Insert(body) | Deed::Patch(body) | Deed::Update(body) => body.clone(),
                Deed::Delete => Value::Null,
            };
            self.watch.write(request, rule.as_ref(), &body);
        }
        let after = self.checked(&order, rule.as_ref())?;
        let named = after["network"].as_str().unwrap_or_default();
        let network = self.network(&order.project, named)?;
        if rule.as_ref().is_some_and(|rule| rule.body["network"] != network) {
            return Err(Problem::invalid(
                "network",
                &after["network"],
                "A rule does not change its network.",
            ));
        }
        let runs = |name: &&String| self.operations[*name].network == network;
        if self.settings.busy == Busy::Refused && self.under_way.iter().any(|name| runs(&name)) {
            return Err(Problem::busy(network.trim_start_matches(super::state::LINKS)));
        }
        let target = rule.map(|rule| rule.body["id"].as_str().unwrap_or_default().to_owned());
        let operation = self.operation(order, network, twist, target);
        let operation = Operation {
            is_portcullis: watch::is_portcullis(request),
            ..operation
        };
        Ok(self.begin(request, operation))
    }

    /// The operation that this very request began before.
    fn replayed(&self, request: &Request) -> Result<Option<Value>, Problem> {
        let Some(id) = request.parameter("requestId") else {
            return Ok(None);
        };
        if !is_uuid(id) {
            return Err(Problem::new(400, "invalid", format!("'{id}' is no UUID")));
        }
        let Some((call, body, operation)) = self.requests.get(id) else {
            return Ok(None);
        };
        if *call != what(request) || *body != request.body {
            return Err(Problem::new(
                400,
                "invalid",
                format!("'{id}' was the id of another request"),
            ));
        }
        Ok(Some(self.operations[operation].body()))
    }

    /// The rule as it would be.
    fn checked(&mut self, order: &Order, rule: Option<&Rule>) -> Result<Map<String, Value>, Problem> {
        let resource = format!("projects/{}/global/firewalls/{}", order.project, order.rule);
        let limits = self.settings.limits;
        let merged = match (&order.deed, rule) {
            (Deed::Insert(asked), None) => asked.clone(),
            (Deed::Insert(_), Some(_)) => {
                return Err(Problem::new(
                    409,
                    "alreadyExists",
                    format!("'{resource}' is there already"),
                ));
            }
            (_, None) => return Err(Problem::missing(&resource)),
            (Deed::Delete, Some(rule)) => rule.body.clone(),
            (Deed::Patch(patch), Some(rule)) => {
                let mut body = rule.body.clone();
                if !patch.is_object() {
                    return Err(Problem::new(400, "parseError", "The body is no object"));
                }
                merge(&mut body, patch);
                body
            }
            (Deed::Update(asked), Some(_)) => asked.clone(),
        };
        let after = complete(&merged, limits)?;
        if after["name"] != order.rule.as_str() {
            return Err(Problem::invalid(
                "name",
                &after["name"],
                "A rule does not change its name.",
            ));
        }
        if rule.is_some_and(|rule| rule.body["direction"] != after["direction"]) {
            return Err(Problem::invalid(
                "direction",
                &after["direction"],
                "A rule does not turn round.",
            ));
        }
        if matches!(order.deed, Deed::Insert(_)) {
            let coming = |operation: &&Operation| {
                let is_new = matches!(operation.deed, Deed::Insert(_)) && operation.end.is_none();
                is_new && operation.project == order.project
            };
            let coming = self.operations.values().filter(coming).count();
            let project = self.project(&order.project)?;
            if project.rules.len() + coming >= project.most_rules {
                return Err(Problem::rules(project.most_rules));
            }
        }
        Ok(after)
    }

    fn operation(&mut self, order: Order, network: String, twist: &Twist, target: Option<String>) -> Operation {
        let here = self.under_way.iter().map(|name| &self.operations[name]);
        let here = here.filter(|operation| operation.network == network);
        let (mut from, mut waits) = (Instant::now(), false);
        for operation in here {
            match operation.due {
                Some(due) => from = from.max(due),
                None => waits = true,
            }
        }
        let number = self.next();
        Operation {
            name: format!("operation-{number}-fake"),
            number,
            project: order.project,
            rule: order.rule,
            target: target.unwrap_or_else(|| self.next().to_string()),
            network,
            deed: order.deed,
            is_portcullis: false,
            inserted: stamp(),
            due: (!twist.is_held && !waits).then(|| from + self.settings.pace),
            fails: twist.fails.clone(),
            end: None,
        }
    }

    fn begin(&mut self, request: &Request, operation: Operation) -> Value {
        if let Some(id) = request.parameter("requestId") {
            let known = (what(request), request.body.clone(), operation.name.clone());
            self.requests.insert(id.to_owned(), known);
        }
        let body = operation.body();
        self.under_way.push_back(operation.name.clone());
        self.operations.insert(operation.name.clone(), operation);
        body
    }

    /// Lets the held operations end, one after another.
    pub(crate) fn release(&mut self) {
        let mut due = Instant::now();
        for name in self.under_way.clone() {
            let operation = self.operations.get_mut(&name).expect("it is under way");
            if operation.due.is_none() {
                due += self.settings.pace;
                operation.due = Some(due);
            }
        }
    }
}

/// A request's method and path.
fn what(request: &Request) -> String {
    format!("{} {}", request.method, request.path)
}

/// A UUID in its usual spelling, and not the one of nothing but zeros.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    lengths == [8, 4, 4, 4, 12] && digits && text.bytes().any(|byte| byte != b'-' && byte != b'0')
}

/// A rule as a person makes it in the console; what is missing is filled in.
pub(crate) fn by_hand(state: &mut State, project: &str, asked: &Value) {
    let mut asked = asked.clone();
    if asked.get("allowed").is_none() && asked.get("denied").is_none() {
        asked["denied"] = json!([{"IPProtocol": "all"}]);
    }
    let limits = super::rule::Limits {
        is_lax: true,
        ..state.settings.limits
    };
    let mut body = Value::Object(complete(&asked, limits).expect("a rule for a test"));
    let name = asked["name"].as_str().expect("a rule has a name").to_owned();
    let named = body["network"].as_str().unwrap_or_default().to_owned();
    body["network"] = json!(state.network(project, &named).expect("the network is there"));
    body["kind"] = json!("compute#firewall");
    body["id"] = json!(state.next().to_string());
    body["creationTimestamp"] = json!(stamp());
    let project = state.project(project).expect("the project is there");
    body["selfLink"] = json!(project.link(&format!("global/firewalls/{name}")));
    let by_hand = super::state::texts(&body["sourceRanges"]).into_iter().collect();
    let rule = Rule {
        body,
        by_hand,
        is_made: false,
    };
    project.rules.insert(name.clone(), rule);
    let id = project.id.clone();
    state.note(&id, &name);
}
