//! A firewall rule as the API gives it, and whether it is one that may be written (compute.v1, schema `Firewall`).

use serde_json::Value;

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

/// What our mark in a description says: `[portcullis writer=NAME at=TIME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who writes the rule
    pub writer: String,
    /// When it last said so, RFC 3339 in UTC
    pub at: String,
}
