//! What must never happen, whoever drives the fake: looked at in every request and at every change.
//!
//! It holds portcullis to account, which it knows by its `User-Agent`. gcloud and the raw requests of these tests may
//! do what they like; anybody else is a finding by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::http::Request;
use super::state::Rule;

/// Documentation addresses that stand in place of nobody.
const SENTINELS: [&str; 2] = ["192.0.2.1/32", "2001:db8::1/128"];

#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// Networks that are never written
    pub(crate) forbidden: Vec<IpNet>,
    /// What was found, in words
    pub(crate) found: Vec<String>,
    /// Each rule as portcullis read it last
    read: BTreeMap<String, Rule>,
}

/// Whether portcullis sends this.
pub(crate) fn is_portcullis(request: &Request) -> bool {
    agent(request).starts_with("portcullis/")
}

fn agent(request: &Request) -> &str {
    request.header("user-agent").unwrap_or_default()
}

impl Watch {
    /// Any call to the API.
    pub(crate) fn call(&mut self, request: &Request) {
        let known = ["portcullis/", "google-cloud-sdk ", "raw/"];
        if !known.iter().any(|name| agent(request).starts_with(name)) {
            self.find(request, &format!("comes from {:?}", agent(request)));
        }
    }

    /// Portcullis was told what a rule holds.
    pub(crate) fn told(&mut self, rule: &Rule) {
        self.read.insert(link(rule), rule.clone());
    }

    /// A write by portcullis, before anything is made of it; the rule as it is, and the body.
    pub(crate) fn write(&mut self, request: &Request, rule: Option<&Rule>, body: &Value) {
        if request.parameter("requestId").is_none() {
            self.find(request, "has no requestId");
        }
        let fields: Vec<&str> = body
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        match request.method.as_str() {
            "PATCH" if fields == ["sourceRanges"] => self.list(request, rule, body),
            "PATCH" if fields == ["description"] => {}
            "PATCH" => self.find(request, &format!("sets {fields:?}")),
            "POST" => self.list(request, None, body),
            "DELETE" if rule.is_some_and(|rule| !rule.is_made) => self.find(request, "deletes what it did not make"),
            "DELETE" => {}
            _ => self.find(request, "replaces a whole rule"),
        }
    }

    /// A list that is to be written.
    fn list(&mut self, request: &Request, rule: Option<&Rule>, body: &Value) {
        let texts = super::state::texts(&body["sourceRanges"]);
        if texts.is_empty() {
            self.find(request, "writes an empty list");
        }
        let nets: Vec<IpNet> = texts.iter().filter_map(|text| network(text)).collect();
        let mut sorted = nets.clone();
        sorted.sort();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            self.find(request, "writes a range twice");
        }
        let there: Vec<IpNet> = rule.map(nets_of).unwrap_or_default();
        for net in nets.iter().filter(|net| !there.contains(net)) {
            let is_forbidden = |other: &&IpNet| other.contains(net) || net.contains(*other);
            if let Some(other) = self.forbidden.iter().find(is_forbidden) {
                let text = format!("writes {net}, and {other} is forbidden");
                self.find(request, &text);
            }
        }
        if let Some(seen) = rule.and_then(|rule| self.read.get(&link(rule))).cloned() {
            self.seen(request, &seen, &nets);
        }
    }

    /// What portcullis had read when it wrote.
    fn seen(&mut self, request: &Request, seen: &Rule, nets: &[IpNet]) {
        let body = &seen.body;
        if body["direction"] != "INGRESS" || body.get("denied").is_none() || body["disabled"] == true {
            self.find(request, "writes a rule that is no deny rule in force");
        }
        for text in &seen.by_hand {
            let is_kept = network(text).is_none_or(|net| nets.contains(&net));
            if !is_kept && !SENTINELS.contains(&text.as_str()) {
                self.find(request, &format!("takes out {text}, which a person had put there"));
            }
        }
    }

    /// A rule that portcullis has changed, and what it held before.
    pub(crate) fn state(&mut self, before: &[String], rule: &Rule) {
        let nets = nets_of(rule);
        let is_new = |net: &IpNet| !before.iter().any(|text| network(text) == Some(*net));
        if nets.iter().any(|net| net.prefix_len() == 0 && is_new(net)) {
            self.found.push(format!("{} denies everybody", link(rule)));
        }
        if nets.iter().any(|net| net.addr().is_ipv4()) && nets.iter().any(|net| net.addr().is_ipv6()) {
            self.found.push(format!("{} holds both families", link(rule)));
        }
    }

    fn find(&mut self, request: &Request, what: &str) {
        self.found.push(format!("{} {} {what}", request.method, request.path));
    }
}

fn link(rule: &Rule) -> String {
    rule.body["selfLink"].as_str().unwrap_or_default().to_owned()
}

fn nets_of(rule: &Rule) -> Vec<IpNet> {
    rule.ranges().iter().filter_map(|text| network(text)).collect()
}

/// A range, however somebody wrote it.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).map(|net: IpNet| net.trunc())
}
