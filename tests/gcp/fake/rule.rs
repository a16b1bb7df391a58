//! A firewall rule as the API takes it: what it refuses, and what it fills in (compute.v1, schema `Firewall`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::problem::Problem;

/// The fields that a request may set. `params` is taken and forgotten.
const FIELDS: [&str; 16] = [
    "name",
    "description",
    "network",
    "priority",
    "direction",
    "disabled",
    "logConfig",
    "params",
    "allowed",
    "denied",
    "sourceRanges",
    "destinationRanges",
    "sourceTags",
    "sourceServiceAccounts",
    "targetTags",
    "targetServiceAccounts",
];
/// Fields that only answers have; in a request they are passed over.
const OUTPUT: [&str; 4] = ["id", "kind", "creationTimestamp", "selfLink"];
/// The lists of texts.
const LISTS: [&str; 6] = [
    "sourceRanges",
    "destinationRanges",
    "sourceTags",
    "sourceServiceAccounts",
    "targetTags",
    "targetServiceAccounts",
];
/// The longest description.
const DESCRIPTION: usize = 2048;

/// What a rule is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most entries of a list of ranges
    pub(crate) most: usize,
    /// Whether an address without a prefix length is taken, and one with bits behind its prefix
    pub(crate) is_lax: bool,
}

/// A JSON merge patch (RFC 7396): lists are replaced whole, null takes away.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The rule that a request asks for, checked and with its defaults. The network is checked elsewhere.
pub(crate) fn complete(asked: &Value, limits: Limits) -> Result<Map<String, Value>, Problem> {
    let mut rule = fields(asked)?;
    rule.entry("direction").or_insert(json!("INGRESS"));
    rule.entry("priority").or_insert(json!(1000));
    rule.entry("disabled").or_insert(json!(false));
    rule.entry("logConfig").or_insert(json!({"enable": false}));
    rule.entry("network").or_insert(json!("global/networks/default"));
    rule.entry("description").or_insert(json!(""));
    name(&rule)?;
    scalars(&rule)?;
    protocols(&rule)?;
    for field in LISTS {
        texts(&rule, field)?;
    }
    ends(&rule)?;
    for field in ["sourceRanges", "destinationRanges"] {
        ranges(&rule, field, limits)?;
    }
    everybody(&mut rule);
    Ok(rule)
}

fn fields(asked: &Value) -> Result<Map<String, Value>, Problem> {
    let Value::Object(asked) = asked else {
        return Err(Problem::new(400, "parseError", "The body is no object"));
    };
    let mut rule = Map::new();
    for (field, value) in asked {
        if OUTPUT.contains(&field.as_str()) || field == "params" || value.is_null() {
            continue;
        }
        if !FIELDS.contains(&field.as_str()) {
            return Err(Problem::new(400, "invalid", format!("A rule has no field '{field}'")));
        }
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if !is_empty {
            rule.insert(field.clone(), value.clone());
        }
    }
    Ok(rule)
}

/// A label of RFC 1035 with 1–63 characters.
pub(crate) fn is_label(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 63
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(fits)
        && !name.ends_with('-')
}

fn name(rule: &Map<String, Value>) -> Result<(), Problem> {
    let name = rule.get("name").ok_or_else(|| Problem::required("name"))?;
    if name.as_str().is_some_and(is_label) {
        return Ok(());
    }
    Err(Problem::invalid("name", name, "It is to be a label of RFC 1035."))
}

fn scalars(rule: &Map<String, Value>) -> Result<(), Problem> {
    let check = |field: &str, fits: &dyn Fn(&Value) -> bool| match rule.get(field) {
        Some(value) if !fits(value) => Err(Problem::invalid(field, value, "That is not in its range.")),
        _ => Ok(()),
    };
    check("priority", &|value| {
        value.as_u64().is_some_and(|number| number <= 65_535)
    })?;
    check("direction", &|value| {
        ["INGRESS", "EGRESS"].iter().any(|direction| value == direction)
    })?;
    check("disabled", &Value::is_boolean)?;
    check("description", &|value| {
        value.as_str().is_some_and(|text| text.chars().count() <= DESCRIPTION)
    })?;
    check("network", &Value::is_string)?;
    check("logConfig", &|value| {
        let metadata = value.get("metadata").and_then(Value::as_str);
        let known = metadata.is_none_or(|word| ["INCLUDE_ALL_METADATA", "EXCLUDE_ALL_METADATA"].contains(&word));
        value.get("enable").is_none_or(Value::is_boolean) && value.is_object() && known
    })
}

/// A rule allows or denies.
fn protocols(rule: &Map<String, Value>) -> Result<(), Problem> {
    let lists: Vec<_> = ["allowed", "denied"]
        .into_iter()
        .filter_map(|field| rule.get(field).map(|list| (field, list)))
        .collect();
    let [(field, list)] = lists[..] else {
        let message = "One of 'allowed' and 'denied' is needed, and not both";
        return Err(Problem::new(400, "invalid", message));
    };
    let entries = list.as_array();
    let entries = entries.ok_or_else(|| Problem::invalid(field, list, "It is to be a list."))?;
    for (place, entry) in entries.iter().enumerate() {
        let field = format!("{field}[{place}].IPProtocol");
        let protocol = entry["IPProtocol"].as_str().ok_or_else(|| Problem::required(&field))?;
        let has_ports = ["tcp", "udp", "sctp", "6", "17", "132"].contains(&protocol);
        if entry.get("ports").is_some_and(|ports| !has_ports || !ports.is_array()) {
            return Err(Problem::invalid(&field, &entry["IPProtocol"], "It has no such ports."));
        }
    }
    Ok(())
}

fn texts(rule: &Map<String, Value>, field: &str) -> Result<(), Problem> {
    let Some(list) = rule.get(field) else { return Ok(()) };
    let texts = list.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    if texts {
        return Ok(());
    }
    Err(Problem::invalid(field, list, "It is to be a list of texts."))
}

/// Which ends of a connection may be named together.
fn ends(rule: &Map<String, Value>) -> Result<(), Problem> {
    let has = |field: &str| rule.contains_key(field);
    let is_egress = rule["direction"] == "EGRESS";
    let sources = ["sourceRanges", "sourceTags", "sourceServiceAccounts"];
    let wrong = if is_egress && sources.iter().any(|field| has(field)) {
        "A rule for EGRESS has no sources"
    } else if (has("sourceTags") || has("targetTags")) && (has("sourceServiceAccounts") || has("targetServiceAccounts"))
    {
        "Tags and service accounts do not go together"
    } else {
        return Ok(());
    };
    Err(Problem::new(400, "invalid", wrong))
}

/// One family, no bits behind the prefix, not too many.
fn ranges(rule: &Map<String, Value>, field: &str, limits: Limits) -> Result<(), Problem> {
    let Some(Value::Array(list)) = rule.get(field) else {
        return Ok(());
    };
    if list.len() > limits.most {
        return Err(Problem::too_large(field, limits.most, list.len()));
    }
    let mut first = None;
    for (place, entry) in list.iter().enumerate() {
        let refused = |why: &str| Problem::invalid(&format!("{field}[{place}]"), entry, why);
        let text = entry.as_str().unwrap_or_default();
        let net = network(text, limits.is_lax).map_err(refused)?;
        let is_v4 = net.addr().is_ipv4();
        if *first.get_or_insert(is_v4) != is_v4 {
            return Err(refused("IPv4 and IPv6 are not taken in one rule."));
        }
    }
    Ok(())
}

fn network(text: &str, is_lax: bool) -> Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().ok().filter(|_| is_lax).map(IpNet::from);
    let net: IpNet = text
        .parse()
        .ok()
        .or_else(address)
        .ok_or("It is no range of addresses.")?;
    if net.trunc() != net && !is_lax {
        return Err("It has bits behind its prefix.");
    }
    Ok(net)
}

/// Nobody named is everybody.
fn everybody(rule: &mut Map<String, Value>) {
    let sources = ["sourceRanges", "sourceTags", "sourceServiceAccounts"];
    if rule["direction"] == "INGRESS" && !sources.iter().any(|field| rule.contains_key(*field)) {
        rule.insert("sourceRanges".to_owned(), json!(["0.0.0.0/0"]));
    }
    if rule["direction"] == "EGRESS" && !rule.contains_key("destinationRanges") {
        rule.insert("destinationRanges".to_owned(), json!(["0.0.0.0/0"]));
    }
}
