//! The metadata server of one machine: `/computeMetadata/v1/…`, as text or as JSON.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Reply, Request};
use super::state::{INSTANCE, NUMBER, PROJECT, State, Token, ZONE};

/// The address that the outside knows.
pub(crate) const EXTERNAL: &str = "203.0.113.25";
/// Its address in the network.
pub(crate) const INTERNAL: &str = "10.156.0.2";
/// The account that it runs as.
pub(crate) const ACCOUNT: &str = "410298375016-compute@developer.gserviceaccount.com";

/// What the server knows, as its recursive JSON has it. Service accounts get their scopes when they are asked for.
pub(crate) fn machine() -> Value {
    let account = json!({"aliases": ["default"], "email": ACCOUNT, "scopes": []});
    let interface = json!({
        "accessConfigs": [{"externalIp": EXTERNAL, "type": "ONE_TO_ONE_NAT"}],
        "dnsServers": ["169.254.169.254"],
        "forwardedIps": [],
        "gateway": "10.156.0.1",
        "ip": INTERNAL,
        "ipAliases": [],
        "mac": "42:01:0a:9c:00:02",
        "mtu": 1460,
        "network": format!("projects/{NUMBER}/networks/default"),
        "subnetmask": "255.255.240.0",
        "targetInstanceIps": [],
    });
    json!({
        "instance": {
            "attributes": {},
            "description": "",
            "hostname": format!("{INSTANCE}.{ZONE}.c.{PROJECT}.internal"),
            "id": 7_312_486_905_517_203_448_u64,
            "machineType": format!("projects/{NUMBER}/machineTypes/e2-small"),
            "maintenanceEvent": "NONE",
            "name": INSTANCE,
            "networkInterfaces": [interface],
            "preempted": "FALSE",
            "serviceAccounts": {ACCOUNT: account, "default": account},
            "tags": ["mail-server"],
            "zone": format!("projects/{NUMBER}/zones/{ZONE}"),
        },
        "project": {
            "attributes": {},
            "numericProjectId": NUMBER,
            "projectId": PROJECT,
        },
        "universe": {"universeDomain": "googleapis.com"},
    })
}

/// The same machine as the Compute API has it (schema `Instance`).
pub(crate) fn instance() -> Value {
    let link = |path: &str| format!("{}projects/{PROJECT}/{path}", super::state::LINKS);
    let outside = json!({
        "kind": "compute#accessConfig",
        "type": "ONE_TO_ONE_NAT",
        "name": "External NAT",
        "natIP": EXTERNAL,
        "networkTier": "PREMIUM",
    });
    let interface = json!({
        "kind": "compute#networkInterface",
        "name": "nic0",
        "network": link("global/networks/default"),
        "networkIP": INTERNAL,
        "stackType": "IPV4_ONLY",
        "accessConfigs": [outside],
    });
    json!({
        "kind": "compute#instance",
        "id": "7312486905517203448",
        "name": INSTANCE,
        "status": "RUNNING",
        "zone": link(&format!("zones/{ZONE}")),
        "selfLink": link(&format!("zones/{ZONE}/instances/{INSTANCE}")),
        "networkInterfaces": [interface],
        "tags": {"items": ["mail-server"], "fingerprint": "dGFncw=="},
        "serviceAccounts": [{"email": ACCOUNT, "scopes": [super::state::WIDE]}],
    })
}

/// Answers one request.
pub(crate) fn answer(state: &mut State, request: &Request) -> Reply {
    let flavoured = |reply: Reply| {
        reply
            .with("Metadata-Flavor", "Google")
            .with("Server", "Metadata Server for VM")
    };
    let plain = |status, text: &str| flavoured(Reply::of(status, "text/html; charset=UTF-8", text));
    let segments = request.segments();
    if segments.is_empty() {
        return flavoured(Reply::of(200, "application/text", "computeMetadata/\n"));
    }
    let ["computeMetadata", "v1", path @ ..] = &segments[..] else {
        return plain(404, "There is nothing here.");
    };
    if request.header("metadata-flavor") != Some("Google") || request.header("x-forwarded-for").is_some() {
        return plain(
            403,
            "The header Metadata-Flavor: Google is missing, or this was forwarded.",
        );
    }
    if request.method != "GET" || request.parameter("wait_for_change").is_some() {
        return plain(400, "This is not known here.");
    }
    if let ["instance", "service-accounts", account, "token"] = path {
        let name = state.metadata["instance"]["serviceAccounts"].get(account);
        return match name {
            Some(_) => flavoured(Reply::json(200, &token(state))),
            None => plain(404, "There is no such account."),
        };
    }
    let mut tree = state.metadata.clone();
    for (_, account) in tree["instance"]["serviceAccounts"]
        .as_object_mut()
        .into_iter()
        .flatten()
    {
        account["scopes"] = json!(state.settings.scopes);
    }
    let Some(found) = path.iter().try_fold(&tree, |value, part| step(value, part)) else {
        return plain(404, "There is no such entry.");
    };
    let is_recursive = request
        .parameter("recursive")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"));
    if request.parameter("alt") == Some("json") || is_recursive {
        return flavoured(Reply::json(200, found));
    }
    flavoured(Reply::of(200, "application/text", text(found)))
}

/// A new token, with the machine's scopes.
fn token(state: &mut State) -> Value {
    let text = format!("metadata-token-{}", state.next());
    let scopes = state.settings.scopes.clone();
    let end = Instant::now() + Duration::from_secs(state.settings.token_life);
    state.tokens.insert(text.clone(), Token { scopes, end });
    json!({"access_token": text, "expires_in": state.settings.token_life, "token_type": "Bearer"})
}

/// `network-interfaces` leads to `networkInterfaces`, `0` to the first.
fn step<'v>(value: &'v Value, part: &str) -> Option<&'v Value> {
    if let Value::Array(list) = value {
        return list.get(part.parse::<usize>().ok()?);
    }
    value.get(part).or_else(|| value.get(camel(part)))
}

fn camel(part: &str) -> String {
    let mut words = part.split('-');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        name += &(first.to_ascii_uppercase() + rest);
    }
    name
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    // The names of accounts are addresses, and stay as they are.
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !name.contains('@') {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// A folder is a list of names, with a stroke behind those of folders; scopes and aliases stand one a line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => list
            .iter()
            .filter_map(Value::as_str)
            .map(|line| format!("{line}\n"))
            .collect(),
        Value::Array(list) => (0..list.len()).map(|place| format!("{place}/\n")).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| kebab(name) + folder(value) + "\n")
            .collect(),
        other => other.to_string(),
    }
}

fn folder(value: &Value) -> &'static str {
    let is_folder = value.is_object() || value.as_array().is_some_and(|list| list.iter().any(Value::is_object));
    if is_folder { "/" } else { "" }
}
