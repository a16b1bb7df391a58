//! The questions of `gcp doctor`: each is one call with its own time limit (the client's, 30 s), and one that is not
//! answered leaves the others as they are.

use std::collections::BTreeSet;

use ipnet::IpNet;
use portcullis_core::cloud::options::Options as RuleOptions;
use portcullis_core::cloud::reconcile::Host;
use portcullis_core::cloud::rule::Rule;
use portcullis_core::cloud::trouble::{Kind, Trouble};
use serde_json::{Value, json};

use super::machine::{self, Machine};
use super::ports::Door;
use super::rights::{self, Granted};
use super::{Options, above, rule};
use crate::client::finding::Finding;
use crate::client::gcp::aims::Aims;
use crate::client::gcp::offline;
use crate::client::gcp::pace::{Pace, Real};
use crate::client::gcp::reach::Line;
use crate::client::gcp::session::{Api as _, text};
use crate::enforce::gcp::metadata::Metadata;
use crate::enforce::gcp::store::CloudBooks;

/// Rules on one page, and pages.
const PAGE: usize = 25;
const PAGES: usize = 40;

/// One rule to be looked at.
struct Subject {
    options: RuleOptions,
    doors: Vec<Door>,
}

/// Everything that is found.
pub(super) fn visit(options: &Options) -> Vec<Finding> {
    let mut pace = Real::new(options.look.ask.json);
    let mut found = Vec::new();
    let metadata = Metadata::read().unwrap_or_else(|error| {
        found.push(Finding::warn("machine", error));
        None
    });
    let seen = seen(metadata.as_ref());
    found.push(machine::place(&seen));
    let subjects = subjects(options, &mut found);
    for subject in &subjects {
        pace.tell(&format!("looking at rule {}", subject.options.rule));
        Visit {
            options,
            machine: &seen,
            metadata: metadata.as_ref(),
            subject,
            pace: &mut pace,
        }
        .make(&mut found);
    }
    // What concerns the machine or the project is the same for each rule.
    let mut told = Vec::new();
    found.retain(|finding| {
        let is_new = !told.contains(finding);
        told.push(finding.clone());
        is_new
    });
    found
}

fn seen(metadata: Option<&Metadata>) -> Machine {
    let host = offline::host(metadata);
    Machine {
        is_on_gce: metadata.is_some(),
        scopes: metadata
            .filter(|data| data.account.is_some())
            .map(|data| data.scopes.clone()),
        instance: metadata.map(|data| data.instance.clone()).unwrap_or_default(),
        zone: metadata.map(|data| data.zone.clone()).unwrap_or_default(),
        has_ipv6: host.has_ipv6,
    }
}

/// The rule that is named, or those of the configuration.
fn subjects(options: &Options, found: &mut Vec<Finding>) -> Vec<Subject> {
    let aims = Aims::read(&options.look.ask.place);
    found.extend(
        aims.problems
            .iter()
            .map(|problem| Finding::bad("configuration", problem.clone())),
    );
    if let Some(name) = &options.rule {
        let doors = aims
            .aims
            .iter()
            .filter(|aim| aim.options.rule == *name)
            .flat_map(|aim| aim.doors.clone())
            .collect();
        return match options.reach.options(name, &options.look.ask.place) {
            Ok(options) => vec![Subject { options, doors }],
            Err(error) => {
                found.push(Finding::bad("configuration", error));
                Vec::new()
            }
        };
    }
    if aims.aims.is_empty() && aims.problems.is_empty() {
        let text = "no jail that is switched on bans in a rule of the cloud's firewall";
        found.push(Finding::bad("configuration", text).mend(
            "give a jail the action gcp-firewall[rule=block-ip], or name the rule: portcullis gcp doctor block-ip",
        ));
    }
    aims.aims
        .into_iter()
        .map(|aim| Subject {
            options: aim.options,
            doors: aim.doors,
        })
        .collect()
}

/// The look at one rule.
struct Visit<'a> {
    options: &'a Options,
    machine: &'a Machine,
    metadata: Option<&'a Metadata>,
    subject: &'a Subject,
    pace: &'a mut Real,
}

impl Visit<'_> {
    fn make(&mut self, found: &mut Vec<Finding>) {
        let options = &self.subject.options;
        found.extend(self.ipv6());
        let mut line = match Line::open(options, self.metadata) {
            Ok(line) => line,
            Err(error) => {
                found.push(Finding::bad("configuration", error).of(&options.rule));
                return;
            }
        };
        if line.client.origin().contains("metadata") {
            found.extend(machine::scopes(self.machine, &line.place));
        }
        found.extend(line.client.warning().map(|text| Finding::warn("token", text)));
        if self.options.offline {
            found.push(Finding::warn("api", "the API was not asked (--offline)"));
            return;
        }
        let read = line.send("GET", &format!("global/firewalls/{}", options.rule), None);
        if !self.arrives(&line, &read, found) {
            return;
        }
        let ahead = ahead(line.client.date(), self.pace.wall());
        found.push(machine::clock(ahead));
        self.rights(&mut line, found);
        match read {
            Ok(read) => self.rule(&mut line, &read, found),
            Err(trouble) => found.push(rule::unread(&line.place, &trouble)),
        }
    }

    /// Whether the first answer came from the API and was about the rule.
    fn arrives(&self, line: &Line, read: &Result<Value, Trouble>, found: &mut Vec<Finding>) -> bool {
        let Err(trouble) = read else {
            found.push(machine::token(&line.place, &line.client.origin(), &Ok(())));
            found.push(Finding::ok(
                "api",
                format!("the API answers for project {}", line.project()),
            ));
            return true;
        };
        match trouble.kind {
            Kind::Credentials => {
                found.push(machine::token(
                    &line.place,
                    &line.client.origin(),
                    &Err(trouble.clone()),
                ));
                false
            }
            Kind::Missing | Kind::Permission => true,
            _ => {
                found.push(machine::reach(&line.place, trouble));
                false
            }
        }
    }

    /// Permissions, operations and quota.
    fn rights(&mut self, line: &mut Line, found: &mut Vec<Finding>) {
        let options = &self.subject.options;
        let has_parts = options.max_rules > 1;
        let of_rule: Vec<&str> = rights::OF_RULE
            .into_iter()
            .chain(rights::OF_PARTS.into_iter().filter(|_| has_parts))
            .collect();
        let path = format!("global/firewalls/{}/testIamPermissions", options.rule);
        let answer = line.send("POST", &path, Some(&json!({ "permissions": of_rule })));
        let granted: Granted = answer.map(|answer| rights::granted(&answer));
        if !matches!(&granted, Err(trouble) if trouble.kind == Kind::Missing) {
            found.extend(rights::permissions(&line.place, &of_rule, &granted));
        }
        let of_project = line.client.permitted(&rights::OF_PROJECT);
        let of_project: Granted = of_project.map(|granted| granted.into_iter().collect());
        found.extend(rights::permissions(&line.place, &rights::OF_PROJECT, &of_project));
        let operation = line.send("GET", "global/operations/portcullis-doctor-asks-for-none", None);
        found.push(rights::operations(&line.place, &operation));
        found.push(rights::quota(&line.send("GET", "", None), options.max_rules));
    }

    fn rule(&mut self, line: &mut Line, read: &Value, found: &mut Vec<Finding>) {
        let name = &self.subject.options.rule;
        let rule = match Rule::from_json(read) {
            Ok(rule) => rule,
            Err(error) => {
                found.push(Finding::bad("rule", error).of(name));
                return;
            }
        };
        let others = all_rules(line).unwrap_or_else(|trouble| {
            let text = format!("whether a rule that allows comes before it is not known: {trouble}");
            found.push(Finding::warn("priority", text).of(name));
            Vec::new()
        });
        let host: Host = offline::host(self.metadata);
        let ours = self.ours(line.project());
        let around = rule::Around {
            host: &host,
            doors: &self.subject.doors,
            others: &others,
            ours: &ours,
            now: i64::try_from(self.pace.wall() / 1000).unwrap_or(i64::MAX),
        };
        found.extend(rule::judge(&rule, &around));
        if let Some(metadata) = self.metadata {
            let first = policies_first(line, &rule.network);
            let effective = effective(line, metadata);
            found.extend(above::effective(&line.place, &effective, &self.subject.doors, first));
        }
    }

    /// What the books say is ours in the rule.
    fn ours(&self, project: &str) -> BTreeSet<IpNet> {
        let path = offline::books(&offline::places(&self.options.look));
        let books = path.exists().then(|| CloudBooks::open(&path).ok()).flatten();
        let state = books
            .and_then(|books| books.load(project).ok())
            .map(|books| books.state());
        let rules = state.map(|state| state.rules).unwrap_or_default();
        let account = rules.get(&self.subject.options.rule);
        account
            .into_iter()
            .flat_map(|account| account.claims.keys().copied())
            .collect()
    }

    /// Bans of IPv6 offenders that the cloud would not get.
    fn ipv6(&self) -> Option<Finding> {
        if self.machine.has_ipv6 || !self.machine.is_on_gce {
            return None;
        }
        let kept = offline::kept(&offline::places(&self.options.look)).ok()?;
        let count = kept
            .bans
            .iter()
            .filter(|(_, ticket)| ticket.id.network().is_some_and(|net| net.addr().is_ipv6()))
            .count();
        (count > 0).then(|| {
            let text = format!(
                "{count} bans are of IPv6 addresses, and this machine has no external one: they stay in the kernel"
            );
            Finding::ok("ipv6", text)
        })
    }
}

/// All rules of the project: what comes before ours may have any name.
fn all_rules(line: &mut Line) -> Result<Vec<Rule>, Trouble> {
    let (mut rules, mut token) = (Vec::new(), String::new());
    for _ in 0..PAGES {
        let page = match token.as_str() {
            "" => String::new(),
            token => format!("&pageToken={}", escaped(token)),
        };
        let answer = line.send("GET", &format!("global/firewalls?maxResults={PAGE}{page}"), None)?;
        let items = answer.get("items").and_then(Value::as_array);
        // One that is not understood is no rule that could be compared.
        rules.extend(
            items
                .into_iter()
                .flatten()
                .filter_map(|item| Rule::from_json(item).ok()),
        );
        text(&answer, "nextPageToken").clone_into(&mut token);
        if token.is_empty() {
            break;
        }
    }
    Ok(rules)
}

/// A text as it may stand in a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Whether the network looks at its policies before its rules; `None` where that cannot be read.
fn policies_first(line: &mut Line, network: &str) -> Option<bool> {
    let (_, path) = network
        .split_once("/projects/")
        .or_else(|| network.split_once("projects/"))?;
    let answer = line.client.get(&format!("projects/{path}")).ok()?;
    Some(text(&answer, "networkFirewallPolicyEnforcementOrder") == "BEFORE_CLASSIC_FIREWALL")
}

/// What is in force for this machine, as the API says.
fn effective(line: &mut Line, machine: &Metadata) -> Result<Value, Trouble> {
    let Metadata {
        project,
        zone,
        instance,
        ..
    } = machine;
    let path =
        format!("projects/{project}/zones/{zone}/instances/{instance}/getEffectiveFirewalls?networkInterface=nic0");
    line.client.get(&path)
}

/// How far our clock is ahead of the API's, in seconds.
fn ahead(date: Option<&str>, wall_ms: u64) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(date?).ok()?.timestamp().as_second();
    Some(i64::try_from(wall_ms / 1000).ok()? - theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_by_the_header() {
        let date = Some("Mon, 23 Nov 2026 10:00:00 GMT");
        let noon = 1_795_428_000_000;
        assert_eq!(ahead(date, noon), Some(0));
        assert_eq!(ahead(date, noon + 90_999), Some(90));
        assert_eq!(ahead(date, noon - 1_000), Some(-1));
        assert_eq!(ahead(Some("yesterday"), noon), None);
        assert_eq!(ahead(None, noon), None);
    }

    #[test]
    fn tokens_of_pages_are_escaped() {
        assert_eq!(escaped("a+b/c=&d"), "a%2Bb%2Fc%3D%26d");
    }
}
