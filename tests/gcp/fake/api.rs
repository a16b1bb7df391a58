//! The methods of the Compute API: which there are, who may call them, and those that only read.

use std::time::Instant;

use serde_json::{Value, json};

use super::http::{Reply, Request};
use super::operation::Deed;
use super::problem::Problem;
use super::state::{State, WIDE};
use super::write::Order;
use super::{list, watch};

/// What a script does to the operation that a call begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twist {
    pub(crate) fails: Option<Problem>,
    pub(crate) is_held: bool,
}

/// The resource manager's `projects.testIamPermissions` (cloudresourcemanager v1): which of these the account has.
pub(crate) fn permitted(state: &mut State, request: &Request) -> Reply {
    let granted = |state: &mut State| {
        let scopes = scopes_of(state, request)?;
        let name = request.path.strip_prefix("/v1/projects/").unwrap_or_default();
        let name = name
            .strip_suffix(":testIamPermissions")
            .filter(|_| request.method == "POST");
        state.project(name.ok_or_else(|| Problem::missing(&request.path))?)?;
        if !scopes.iter().any(|scope| scope == WIDE) {
            return Err(Problem::scopes());
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let mut asked = super::state::texts(&body["permissions"]);
        asked.retain(|name| !state.settings.lacking.contains(name));
        Ok(if asked.is_empty() {
            json!({})
        } else {
            json!({"permissions": asked})
        })
    };
    match granted(state) {
        Ok(body) => Reply::json(200, &body),
        Err(problem) => problem.reply(),
    }
}

/// Answers a call; `wait` is answered as `get` is, because only the caller can let go of the lock.
pub(crate) fn answer(state: &mut State, request: &Request, twist: &Twist) -> Reply {
    state.watch.call(request);
    match route(state, request, twist) {
        Ok(body) => Reply::json(200, &body),
        Err(problem) => problem.reply(),
    }
}

fn route(state: &mut State, request: &Request, twist: &Twist) -> Result<Value, Problem> {
    let segments = request.segments();
    let ["compute", "v1", "projects", project, path @ ..] = &segments[..] else {
        return Err(Problem::missing(&request.path));
    };
    let scopes = scopes_of(state, request)?;
    let call = Call {
        request,
        twist,
        scopes,
        project: state.project(project)?.id.clone(),
    };
    match (request.method.as_str(), path) {
        ("GET", []) => call.project(state),
        ("GET", ["global", "firewalls"]) => call.rules(state),
        ("GET", ["global", "firewalls", rule]) => call.rule(state, rule),
        ("POST", ["global", "firewalls"]) => {
            let body = call.body()?;
            let name = body["name"].as_str().unwrap_or_default().to_owned();
            call.write(state, &name, Deed::Insert(body))
        }
        ("PATCH", ["global", "firewalls", rule]) => call.write(state, rule, Deed::Patch(call.body()?)),
        ("PUT", ["global", "firewalls", rule]) => call.write(state, rule, Deed::Update(call.body()?)),
        ("DELETE", ["global", "firewalls", rule]) => call.write(state, rule, Deed::Delete),
        ("POST", ["global", "firewalls", rule, "testIamPermissions"]) => call.permissions(state, rule),
        ("GET", ["global", "operations"]) => call.operations(state),
        ("GET", ["global", "operations", name]) | ("POST", ["global", "operations", name, "wait"]) => {
            call.operation(state, name)
        }
        ("GET", ["global", "networks", name]) => call.network(state, name),
        ("GET", ["global", "networks", name, "getEffectiveFirewalls"]) => call.above_network(state, name),
        ("GET", ["zones", zone, "instances", name]) => call.instance(state, zone, name),
        ("GET", ["zones", zone, "instances", name, "getEffectiveFirewalls"]) => call.above_instance(state, zone, name),
        _ => Err(Problem::missing(&request.path)),
    }
}

/// The scopes of the token; those of a token that the metadata server did not give are wide.
fn scopes_of(state: &State, request: &Request) -> Result<Vec<String>, Problem> {
    let header = request.header("authorization").unwrap_or_default();
    let token = header
        .strip_prefix("Bearer ")
        .map(str::trim)
        .filter(|token| !token.is_empty());
    let token = token.ok_or_else(Problem::unauthorized)?;
    if let Some(given) = state.tokens.get(token) {
        let is_good = given.end > Instant::now();
        return is_good.then(|| given.scopes.clone()).ok_or_else(Problem::unauthorized);
    }
    // A token that looks like ours and is not kept was revoked.
    let is_taken = match &state.settings.tokens {
        Some(taken) => taken.contains(token),
        None => !token.starts_with("metadata-token-"),
    };
    is_taken
        .then(|| vec![WIDE.to_owned()])
        .ok_or_else(Problem::unauthorized)
}

/// One call, with whose it is.
struct Call<'c> {
    request: &'c Request,
    twist: &'c Twist,
    scopes: Vec<String>,
    project: String,
}

impl Call<'_> {
    /// Whether the account may do this to that.
    fn may(&self, state: &State, permissions: &[&str], resource: &str) -> Result<(), Problem> {
        let covers = |scope: &String| {
            let name = scope.rsplit('/').next().unwrap_or_default();
            let reads = permissions
                .iter()
                .all(|name| name.ends_with(".get") || name.ends_with(".list"));
            ["cloud-platform", "compute"].contains(&name) || (name == "compute.readonly" && reads)
        };
        if !self.scopes.iter().any(covers) {
            return Err(Problem::scopes());
        }
        let lacks = permissions.iter().find(|name| state.settings.lacking.contains(**name));
        let resource = format!("projects/{}/{resource}", self.project);
        lacks.map_or(Ok(()), |name| {
            Err(Problem::forbidden(name, resource.trim_end_matches('/')))
        })
    }

    fn body(&self) -> Result<Value, Problem> {
        let body = serde_json::from_slice(&self.request.body);
        body.map_err(|error| Problem::new(400, "parseError", error.to_string()))
    }

    /// A write to a rule, with the permissions that it takes.
    fn write(&self, state: &mut State, rule: &str, deed: Deed) -> Result<Value, Problem> {
        let permission = match deed {
            Deed::Insert(_) => "compute.firewalls.create",
            Deed::Delete => "compute.firewalls.delete",
            Deed::Patch(_) | Deed::Update(_) => "compute.firewalls.update",
        };
        self.may(state, &[permission], &format!("global/firewalls/{rule}"))?;
        self.may(state, &["compute.networks.updatePolicy"], "global/networks/default")?;
        let order = Order {
            project: self.project.clone(),
            rule: rule.to_owned(),
            deed,
        };
        state.order(self.request, self.twist, order)
    }

    fn project(&self, state: &mut State) -> Result<Value, Problem> {
        self.may(state, &["compute.projects.get"], "")?;
        let project = state.project(&self.project)?;
        let quota = json!({"metric": "FIREWALLS", "limit": project.most_rules, "usage": project.rules.len()});
        let other = json!({"metric": "NETWORKS", "limit": 15, "usage": project.networks.len()});
        Ok(json!({
            "kind": "compute#project",
            "id": project.number.to_string(),
            "name": project.id,
            "selfLink": project.link("").trim_end_matches('/'),
            "creationTimestamp": super::state::stamp(),
            "quotas": [quota, other],
        }))
    }

    fn rules(&self, state: &mut State) -> Result<Value, Problem> {
        self.may(state, &["compute.firewalls.list"], "global/firewalls")?;
        let most = state.settings.page;
        let project = state.project(&self.project)?;
        let rules: Vec<_> = project.rules.values().cloned().collect();
        let link = project.link("global/firewalls");
        let bodies = rules.iter().map(|rule| rule.body.clone()).collect();
        let page = list::page(self.request, "compute#firewallList", &link, bodies, most)?;
        if watch::is_portcullis(self.request) {
            let told = page["items"].as_array().cloned().unwrap_or_default();
            for rule in rules.iter().filter(|rule| told.contains(&rule.body)) {
                state.watch.told(rule);
            }
        }
        Ok(page)
    }

    fn rule(&self, state: &mut State, name: &str) -> Result<Value, Problem> {
        self.may(state, &["compute.firewalls.get"], &format!("global/firewalls/{name}"))?;
        let rule = state.project(&self.project)?.rules.get(name).cloned();
        let rule =
            rule.ok_or_else(|| Problem::missing(&format!("projects/{}/global/firewalls/{name}", self.project)))?;
        if watch::is_portcullis(self.request) {
            state.watch.told(&rule);
        }
        Ok(rule.body)
    }

    /// Which of these the account has.
    fn permissions(&self, state: &mut State, rule: &str) -> Result<Value, Problem> {
        if !state.project(&self.project)?.rules.contains_key(rule) {
            return Err(Problem::missing(&format!(
                "projects/{}/global/firewalls/{rule}",
                self.project
            )));
        }
        let mut asked = super::state::texts(&self.body()?["permissions"]);
        if let Some(strange) = asked.iter().find(|name| !name.starts_with("compute.firewalls.")) {
            let message = format!("'{strange}' is no permission on a rule");
            return Err(Problem::new(400, "invalid", message));
        }
        asked.retain(|name| !state.settings.lacking.contains(name));
        Ok(if asked.is_empty() {
            json!({})
        } else {
            json!({"permissions": asked})
        })
    }

    fn operations(&self, state: &mut State) -> Result<Value, Problem> {
        self.may(state, &["compute.globalOperations.list"], "global/operations")?;
        let link = state.project(&self.project)?.link("global/operations");
        let own = state
            .operations
            .values()
            .filter(|operation| operation.project == self.project);
        let bodies = own.map(super::operation::Operation::body).collect();
        list::page(
            self.request,
            "compute#operationList",
            &link,
            bodies,
            state.settings.page,
        )
    }

    fn operation(&self, state: &mut State, name: &str) -> Result<Value, Problem> {
        let path = format!("global/operations/{name}");
        self.may(state, &["compute.globalOperations.get"], &path)?;
        let operation = state
            .operations
            .get(name)
            .filter(|operation| operation.project == self.project);
        let body = operation.map(super::operation::Operation::body);
        body.ok_or_else(|| Problem::missing(&format!("projects/{}/{path}", self.project)))
    }

    fn network(&self, state: &mut State, name: &str) -> Result<Value, Problem> {
        let path = format!("global/networks/{name}");
        self.may(state, &["compute.networks.get"], &path)?;
        let network = state.project(&self.project)?.networks.get(name).cloned();
        network.ok_or_else(|| Problem::missing(&format!("projects/{}/{path}", self.project)))
    }

    fn above_network(&self, state: &mut State, name: &str) -> Result<Value, Problem> {
        let path = format!("global/networks/{name}");
        self.may(state, &["compute.networks.getEffectiveFirewalls"], &path)?;
        let network = state.project(&self.project)?.networks.get(name).cloned();
        let network = network.ok_or_else(|| Problem::missing(&format!("projects/{}/{path}", self.project)))?;
        effective(state, &[network["selfLink"].clone()])
    }

    fn machine(&self, state: &mut State, zone: &str, name: &str) -> Result<Value, Problem> {
        let found = state.project(&self.project)?.instances.get(name).cloned();
        let found = found.filter(|machine| machine["zone"].as_str().is_some_and(|link| link.ends_with(zone)));
        let path = format!("projects/{}/zones/{zone}/instances/{name}", self.project);
        found.ok_or_else(|| Problem::missing(&path))
    }

    fn instance(&self, state: &mut State, zone: &str, name: &str) -> Result<Value, Problem> {
        self.may(
            state,
            &["compute.instances.get"],
            &format!("zones/{zone}/instances/{name}"),
        )?;
        self.machine(state, zone, name)
    }

    fn above_instance(&self, state: &mut State, zone: &str, name: &str) -> Result<Value, Problem> {
        let path = format!("zones/{zone}/instances/{name}");
        self.may(state, &["compute.instances.getEffectiveFirewalls"], &path)?;
        let machine = self.machine(state, zone, name)?;
        let wanted = self.request.parameter("networkInterface");
        let wanted =
            wanted.ok_or_else(|| Problem::new(400, "required", "The parameter 'networkInterface' is needed"))?;
        let interfaces = machine["networkInterfaces"].as_array().cloned().unwrap_or_default();
        let interface = interfaces.iter().find(|interface| interface["name"] == wanted);
        let interface = interface.ok_or_else(|| Problem::new(400, "invalid", format!("There is no '{wanted}'")))?;
        effective(state, &[interface["network"].clone()])
    }
}

/// The rules of a network, and the policies beside them.
fn effective(state: &State, networks: &[Value]) -> Result<Value, Problem> {
    let rules = state.projects.values().flat_map(|project| project.rules.values());
    let here: Vec<_> = rules
        .map(|rule| &rule.body)
        .filter(|body| networks.contains(&body["network"]))
        .collect();
    let mut body = json!({});
    if !here.is_empty() {
        body["firewalls"] = json!(here);
    }
    if !state.policies.is_empty() {
        body["firewallPolicys"] = json!(state.policies);
    }
    Ok(body)
}
