//! A firewall rule as the API gives it, and whether it is one that may be written (compute.v1, schema `Firewall`).
//!
//! In comes JSON that anybody with the right to edit rules may have filled; out go the fields that concern us, capped,
//! the JSON of a rule to be made, and what stands against writing a rule ([`Unfit`]) or against its having an effect.

use serde_json::{Map, Value, json};

use super::SENTINELS;
use crate::address::Family;

mod fitness;
mod mark;
mod network;
#[cfg(test)]
mod tests;

pub use fitness::{Unfit, Why};
pub use network::{Sameness, same_network};

/// Most source ranges, and destination ranges, that are read: four times what the API documents as its limit.
const MOST_RANGES: usize = 20_000;
/// Most entries of every other list; the API takes far fewer.
const MOST_ENTRIES: usize = 1_000;
/// Longest entry of a list, in bytes: a service account's name is the longest that is real.
const LONGEST_ENTRY: usize = 320;
/// Longest description that is read, in bytes; twice what may be written.
const LONGEST_DESCRIPTION: usize = 4_096;
/// Longest URL of a network, in bytes.
const LONGEST_NETWORK: usize = 1_024;
/// The priority of a rule that says none.
const PRIORITY: u16 = 1_000;

/// A rule, as far as it concerns us.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rule {
    /// `name`
    pub name: String,
    /// `network`, a URL
    pub network: String,
    /// `description`
    pub description: String,
    /// `direction` is INGRESS
    pub is_ingress: bool,
    /// `denied`, as it stands; empty for a rule that allows
    pub denied: Vec<Value>,
    /// `allowed`, as it stands
    pub allowed: Vec<Value>,
    /// `disabled`
    pub is_disabled: bool,
    /// `priority`, 0–65535; the lower wins, and of equals the one that denies
    pub priority: u16,
    /// `sourceRanges`, as it stands
    pub source_ranges: Vec<String>,
    /// `sourceTags` and `sourceServiceAccounts`: further sources of the rule
    pub other_sources: Vec<String>,
    /// `destinationRanges`
    pub destination_ranges: Vec<String>,
    /// `targetTags`
    pub target_tags: Vec<String>,
    /// `targetServiceAccounts`
    pub target_accounts: Vec<String>,
    /// `logConfig`, as it stands
    pub log_config: Option<Value>,
}

/// What our mark in a description says: `[portcullis writer=NAME at=TIME]`, or `[portcullis writer=NAME at=TIME alone]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who writes the rule
    pub writer: String,
    /// When it last said so, RFC 3339 in UTC
    pub at: String,
    /// Whether nothing but the writer's own entries stood in the rule then. Whoever writes there as well, or sees that
    /// somebody does, takes the word out.
    pub is_alone: bool,
}

impl Rule {
    /// Reads a rule. Fields that are not known are passed over, lists that are missing are empty; a missing direction
    /// is INGRESS and a missing priority 1,000, as compute v1 documents.
    ///
    /// # Errors
    /// It is no rule, or a field is of another type than documented or larger than is read; which one.
    pub fn from_json(value: &Value) -> Result<Rule, String> {
        let fields = Fields(value.as_object().ok_or("the rule is not an object")?);
        let name = fields.text("name", 63)?;
        if name.is_empty() {
            return Err("the rule has no name".to_owned());
        }
        let mut other_sources = fields.texts("sourceTags", MOST_ENTRIES)?;
        other_sources.extend(fields.texts("sourceServiceAccounts", MOST_ENTRIES)?);
        Ok(Rule {
            name,
            network: fields.text("network", LONGEST_NETWORK)?,
            description: fields.text("description", LONGEST_DESCRIPTION)?,
            is_ingress: matches!(fields.text("direction", LONGEST_ENTRY)?.as_str(), "" | "INGRESS"),
            denied: fields.objects("denied")?,
            allowed: fields.objects("allowed")?,
            is_disabled: fields.truth("disabled")?,
            priority: fields.priority()?,
            source_ranges: fields.texts("sourceRanges", MOST_RANGES)?,
            other_sources,
            destination_ranges: fields.texts("destinationRanges", MOST_RANGES)?,
            target_tags: fields.texts("targetTags", MOST_ENTRIES)?,
            target_accounts: fields.texts("targetServiceAccounts", MOST_ENTRIES)?,
            log_config: fields.0.get("logConfig").filter(|config| config.is_object()).cloned(),
        })
    }

    /// The body of `firewalls.insert`. Empty lists are left out, but never that of the sources: compute v1 takes a
    /// deny rule without sources for one that denies everybody, so it then holds the sentinel. Destinations of the
    /// other family are left out, since one rule holds one family.
    #[must_use]
    pub fn to_insert(&self) -> Value {
        let family = self.family().unwrap_or(Family::Inet4);
        let mut sources = self.source_ranges.clone();
        if sources.is_empty() {
            sources.extend(SENTINELS.first().map(|&text| text.to_owned()));
        }
        let of_family = |text: &&String| family_of(text) == Some(family);
        let destinations: Vec<&String> = self.destination_ranges.iter().filter(of_family).collect();
        let mut body = json!({
            "name": self.name,
            "network": self.network,
            "direction": if self.is_ingress { "INGRESS" } else { "EGRESS" },
            "priority": self.priority,
            "disabled": self.is_disabled,
            "sourceRanges": sources,
        });
        let lists = [
            ("denied", json!(self.denied)),
            ("allowed", json!(self.allowed)),
            ("destinationRanges", json!(destinations)),
            ("targetTags", json!(self.target_tags)),
            ("targetServiceAccounts", json!(self.target_accounts)),
        ];
        let lists = lists
            .into_iter()
            .filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()));
        if let Some(fields) = body.as_object_mut() {
            fields.extend(lists.map(|(key, list)| (key.to_owned(), list)));
            if !self.description.is_empty() {
                fields.insert("description".to_owned(), json!(self.description));
            }
            if let Some(config) = &self.log_config {
                fields.insert("logConfig".to_owned(), config.clone());
            }
        }
        body
    }

    /// A further rule beside this one, for more ranges or for the other family: it denies the same on the same
    /// network to the same targets with the same priority and log. Its source ranges are empty, to be filled in; a
    /// person's description is not copied.
    #[must_use]
    pub fn shard(&self, name: &str, description: &str) -> Rule {
        Rule {
            name: name.to_owned(),
            description: description.to_owned(),
            source_ranges: Vec::new(),
            other_sources: Vec::new(),
            is_disabled: false,
            ..self.clone()
        }
    }

    /// The family of the source ranges, by the first that is a network at all.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        self.source_ranges.iter().find_map(|text| family_of(text))
    }

    /// Whether this rule acts on a machine with these target tags, running as these service accounts. A rule without
    /// targets acts on every machine of its network.
    #[must_use]
    pub fn meets(&self, tags: &[String], accounts: &[String]) -> bool {
        let is_for_all = self.target_tags.is_empty() && self.target_accounts.is_empty();
        is_for_all || share(&self.target_tags, tags) || share(&self.target_accounts, accounts)
    }

    /// What is wrong where this rule does not act on the machine ([`Rule::meets`]), with the command that mends it.
    #[must_use]
    pub fn misses(&self, tags: &[String], accounts: &[String]) -> Option<String> {
        if self.meets(tags, accounts) {
            return None;
        }
        let name = fitness::clean(&self.name);
        Some(if self.target_tags.is_empty() {
            let (list, project) = (
                fitness::list(&self.target_accounts),
                fitness::project_flag(&self.network),
            );
            format!(
                "rule {name} acts only on machines that run as {list}, which this one does not: what is banned there \
                 is not kept from it; mend: gcloud compute firewall-rules update {name}{project} \
                 --target-service-accounts="
            )
        } else {
            let list = fitness::list(&self.target_tags);
            let first = self
                .target_tags
                .first()
                .map(|tag| fitness::clean(tag))
                .unwrap_or_default();
            format!(
                "rule {name} acts only on machines with the network tag {list}, which this one has not: what is \
                 banned there is not kept from it; mend: gcloud compute instances add-tags VM --zone=ZONE \
                 --tags={first}, with this machine's name and zone"
            )
        })
    }

    /// The rules among `others` that let in what this one denies: compute v1 takes the rule with the lowest priority
    /// number first, and of equals the one that denies. Those are enabled INGRESS rules of the same network that
    /// allow, stand before this one and share a target with it; a network that cannot be compared counts as the same,
    /// and so do targets of different kinds (tags here, service accounts there).
    #[must_use]
    pub fn beaten_by<'r>(&self, others: &'r [Rule]) -> Vec<&'r Rule> {
        let beats = |other: &&Rule| {
            other.is_ingress
                && !other.is_disabled
                && !other.allowed.is_empty()
                && other.priority < self.priority
                && same_network(&self.network, &other.network) != Sameness::Different
                && self.shares_target(other)
        };
        others.iter().filter(beats).collect()
    }

    /// Whether there may be a machine that both rules act on.
    fn shares_target(&self, other: &Rule) -> bool {
        let is_for_all = |rule: &Rule| rule.target_tags.is_empty() && rule.target_accounts.is_empty();
        let is_by_tag = |rule: &Rule| rule.target_accounts.is_empty();
        is_for_all(self)
            || is_for_all(other)
            || is_by_tag(self) != is_by_tag(other)
            || share(&self.target_tags, &other.target_tags)
            || share(&self.target_accounts, &other.target_accounts)
    }
}

/// Whether two lists have an entry in common.
fn share(some: &[String], others: &[String]) -> bool {
    some.iter().any(|one| others.contains(one))
}

/// The family of a range as a rule holds it: a network, or a bare address.
fn family_of(text: &str) -> Option<Family> {
    super::desired::entry(text).map(|net| super::desired::family(&net))
}

/// The fields of a rule, read by type.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// A text; empty where it is missing.
    fn text(&self, key: &str, longest: usize) -> Result<String, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) if text.len() <= longest => Ok(text.clone()),
            Some(Value::String(text)) => Err(format!("{key} has {} bytes, more than {longest}", text.len())),
            Some(_) => Err(format!("{key} is not a text")),
        }
    }

    fn list(&self, key: &str, most: usize) -> Result<&[Value], String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(items)) if items.len() <= most => Ok(items),
            Some(Value::Array(items)) => Err(format!("{key} has {} entries, more than {most}", items.len())),
            Some(_) => Err(format!("{key} is not a list")),
        }
    }

    fn texts(&self, key: &str, most: usize) -> Result<Vec<String>, String> {
        let text = |(place, item): (usize, &Value)| match item.as_str() {
            Some(text) if text.len() <= LONGEST_ENTRY => Ok(text.to_owned()),
            Some(_) => Err(format!("{key}[{place}] has more than {LONGEST_ENTRY} bytes")),
            None => Err(format!("{key}[{place}] is not a text")),
        };
        self.list(key, most)?.iter().enumerate().map(text).collect()
    }

    fn objects(&self, key: &str) -> Result<Vec<Value>, String> {
        let items = self.list(key, MOST_ENTRIES)?;
        match items.iter().position(|item| !item.is_object()) {
            Some(place) => Err(format!("{key}[{place}] is not an object")),
            None => Ok(items.to_vec()),
        }
    }

    fn truth(&self, key: &str) -> Result<bool, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(_) => Err(format!("{key} is neither true nor false")),
        }
    }

    fn priority(&self) -> Result<u16, String> {
        match self.0.get("priority") {
            None | Some(Value::Null) => Ok(PRIORITY),
            Some(value) => value
                .as_u64()
                .and_then(|number| u16::try_from(number).ok())
                .ok_or_else(|| "priority is no number from 0 to 65535".to_owned()),
        }
    }
}
