//! The options of an action that bans in a cloud firewall rule.

use crate::config::plan::ActionPlan;

/// What becomes of an entry of ours that somebody else takes out of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDrift {
    /// In a rule that is ours alone it means unban; in a shared one it is put back.
    #[default]
    Respect,
    /// It is put back.
    Reassert,
}

/// `gcp-firewall[rule=…]`, or a recognised gcloud command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The base rule (RFC 1035 label, 1–63)
    pub rule: String,
    /// The project that holds the rule; that of the machine for `None`
    pub project: Option<String>,
    /// The API's base address, with `…/compute/v1/`; Google's own for `None`
    pub endpoint: Option<String>,
    /// Entries in one rule; learned from the API for `None`
    pub max_ranges: Option<usize>,
    /// Rules of one family, the base rule among them; 1–100
    pub max_rules: usize,
    /// Whether nobody else writes the rule
    pub own_rule: bool,
    /// Whether a ban is also made in the kernel, for all ports
    pub local: bool,
    /// What to do about entries that vanish
    pub on_drift: OnDrift,
    /// Whether private ranges may be banned there
    pub allow_private: bool,
    /// A file with an access token, in place of credentials
    pub token_file: Option<String>,
}

impl Options {
    /// With its defaults.
    #[must_use]
    pub fn new(rule: &str) -> Options {
        Options {
            rule: rule.to_owned(),
            project: None,
            endpoint: None,
            max_ranges: None,
            max_rules: 10,
            own_rule: false,
            local: true,
            on_drift: OnDrift::Respect,
            allow_private: false,
            token_file: None,
        }
    }

    /// Reads the properties of an action with `layer = gcp-firewall`.
    ///
    /// # Errors
    /// Which option is wrong, and what it takes.
    pub fn of(_plan: &ActionPlan) -> Result<Options, String> {
        Err("not yet".to_owned())
    }
}
