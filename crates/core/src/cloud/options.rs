//! The options of an action that bans in a cloud firewall rule.
//!
//! In come the properties of an action, out come [`Options`] of which every value was looked at, or what is wrong with
//! the first that is not usable. Several actions may ban in one rule: [`Options::merge`] makes one set of theirs.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::near_names;
use crate::config::plan::ActionPlan;

/// Entries in one rule: no more is believed, whatever the API may take one day.
const MOST_RANGES: usize = 100_000;
/// Rules of one family.
const MOST_RULES: usize = 100;
/// A file or an address is no longer than this.
const LONGEST: usize = 1024;

/// What stands at the end of every base address of the API.
const API: &str = "/compute/v1/";

/// Our own options.
const OURS: [&str; 10] = [
    "rule",
    "project",
    "endpoint",
    "max_ranges",
    "max_rules",
    "own_rule",
    "local",
    "on_drift",
    "allow_private",
    "token_file",
];

/// What else may stand in such an action: what concerns its twin in the kernel and how it is done, and what
/// `action_` and its like hand to every action. Most of that means nothing to a rule that closes all ports.
const OTHERS: [&str; 32] = [
    "layer",
    "native",
    "parallel",
    "protect",
    "kill_sessions",
    "spare_sessions",
    "blocktype",
    "name",
    "actname",
    "type",
    "port",
    "protocol",
    "chain",
    "bantime",
    "timeout",
    "families",
    "norestored",
    "returntype",
    "actionstart",
    "actionstart_on_demand",
    "actionstop",
    "actioncheck",
    "actionrepair",
    "actionrepair_on_unban",
    "actionban",
    "actionreban",
    "actionunban",
    "actionprolong",
    "actionflush",
    "actionreload",
    "fail2ban_version",
    "fail2ban_confpath",
];

/// What becomes of an entry of ours that somebody else takes out of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDrift {
    /// In a rule that is ours alone it means unban; in a shared one it is put back.
    #[default]
    Respect,
    /// It is put back.
    Reassert,
}

impl OnDrift {
    /// Its word in a configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            OnDrift::Respect => "respect",
            OnDrift::Reassert => "reassert",
        }
    }
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

    /// Reads the properties of an action with `layer = gcp-firewall`. An empty value is the same as none.
    ///
    /// # Errors
    /// Which option is wrong, and what it takes.
    pub fn of(plan: &ActionPlan) -> Result<Options, String> {
        known(plan)?;
        let missing = "rule is missing: the name of the firewall rule, such as block-ip";
        let rule = text(plan, "rule").ok_or(missing)?;
        let mut options = Options::new(&checked_rule(&rule)?);
        options.read(plan)?;
        Ok(options)
    }

    /// Reads every option but `rule`.
    pub(super) fn read(&mut self, plan: &ActionPlan) -> Result<(), String> {
        if let Some(name) = text(plan, "project") {
            self.project = Some(checked_project(&name)?);
        }
        if let Some(address) = text(plan, "endpoint") {
            self.endpoint = Some(endpoint(&address)?);
        }
        if let Some(most) = text(plan, "max_ranges") {
            self.max_ranges = ranges(&most)?;
        }
        if let Some(most) = text(plan, "max_rules") {
            self.max_rules = number(&most, MOST_RULES)
                .ok_or_else(|| format!("max_rules = '{}' is no number from 1 to {MOST_RULES}", shown(&most)))?;
        }
        if let Some(word) = text(plan, "on_drift") {
            self.on_drift = on_drift(&word)?;
        }
        if let Some(path) = text(plan, "token_file") {
            self.token_file = Some(file("token_file", &path)?);
        }
        self.own_rule = truth(plan, "own_rule")?.unwrap_or(self.own_rule);
        self.local = truth(plan, "local")?.unwrap_or(self.local);
        self.allow_private = truth(plan, "allow_private")?.unwrap_or(self.allow_private);
        Ok(())
    }

    /// Takes in the options of another action that bans in the same rule of the same project: what both cannot have
    /// is decided for the stricter, and each such decision is told. `local` is each action's own affair and stays.
    ///
    /// `None` for `project` is the machine's own, which the caller puts in before two are compared.
    ///
    /// # Errors
    /// What cannot be decided: two ways to the API, or two tokens. The options are then as they were.
    pub fn merge(&mut self, other: &Options) -> Result<Vec<String>, String> {
        let rule = &self.rule;
        for (name, one, two) in [
            ("endpoint", &self.endpoint, &other.endpoint),
            ("token_file", &self.token_file, &other.token_file),
        ] {
            if one != two {
                let [one, two] = [one, two].map(|value| value.as_deref().unwrap_or("none").to_owned());
                return Err(format!(
                    "two actions ban in the rule {rule} with different {name} ('{one}' and '{two}'): give both the same"
                ));
            }
        }
        let before = self.words();
        self.max_ranges = [self.max_ranges, other.max_ranges].into_iter().flatten().min();
        self.max_rules = self.max_rules.min(other.max_rules);
        self.own_rule &= other.own_rule;
        self.allow_private &= other.allow_private;
        if self.on_drift != other.on_drift {
            self.on_drift = OnDrift::Reassert;
        }
        let rule = &self.rule;
        let all = before.into_iter().zip(other.words()).zip(self.words());
        let differing = all.filter(|(((_, one), (_, two)), _)| one != two);
        let told = differing.map(|(((name, one), (_, two)), (_, holds))| {
            format!(
                "two actions ban in the rule {rule} with different {name} ('{one}' and '{two}'): '{holds}' holds for both"
            )
        });
        Ok(told.collect())
    }

    /// The options of which the stricter holds, as they are written.
    fn words(&self) -> [(&'static str, String); 5] {
        [
            ("max_ranges", auto(self.max_ranges)),
            ("max_rules", self.max_rules.to_string()),
            ("own_rule", yes(self.own_rule)),
            ("allow_private", yes(self.allow_private)),
            ("on_drift", self.on_drift.word().to_owned()),
        ]
    }
}

fn auto(most: Option<usize>) -> String {
    most.map_or_else(|| "auto".to_owned(), |most| most.to_string())
}

fn yes(truth: bool) -> String {
    if truth { "yes" } else { "no" }.to_owned()
}

/// A property without blanks around it, if it says anything.
fn text(plan: &ActionPlan, name: &str) -> Option<String> {
    let text = plan.property(name)?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Cut, and without what a terminal would act upon, for a complaint.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// An option that nobody reads is a slip of the pen, or asks for something that there is not.
fn known(plan: &ActionPlan) -> Result<(), String> {
    for (key, _) in &plan.properties {
        let name = key.split('?').next().unwrap_or_default();
        if name != key && OURS.contains(&name) {
            return Err(format!("{} cannot differ by family: write {name}", shown(key)));
        }
        if OURS.contains(&name) || OTHERS.contains(&name) || key.starts_with('_') || key.starts_with("known/") {
            continue;
        }
        let near = near_names(&name.to_lowercase(), OURS.iter().map(|name| (*name).to_owned()));
        let name = shown(name);
        return Err(match near.as_slice() {
            [] => format!("there is no option {name}; there are {}", OURS.join(", ")),
            near => format!("there is no option {name}; is it {}?", near.join(" or ")),
        });
    }
    Ok(())
}

/// A yes or a no; a slip of the pen must not be read as either.
fn truth(plan: &ActionPlan, name: &str) -> Result<Option<bool>, String> {
    let Some(word) = text(plan, name) else {
        return Ok(None);
    };
    match word.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(Some(true)),
        "no" | "false" | "off" | "0" => Ok(Some(false)),
        _ => Err(format!("{name} = '{}' is neither yes nor no", shown(&word))),
    }
}

fn number(text: &str, most: usize) -> Option<usize> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain)?;
    (1..=most).contains(&number).then_some(number)
}

fn ranges(text: &str) -> Result<Option<usize>, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    let wrong = || {
        let text = shown(text);
        format!("max_ranges = '{text}' is neither auto nor a number from 1 to {MOST_RANGES}")
    };
    number(text, MOST_RANGES).map(Some).ok_or_else(wrong)
}

fn on_drift(word: &str) -> Result<OnDrift, String> {
    let known = [OnDrift::Respect, OnDrift::Reassert];
    let found = known.into_iter().find(|known| word.eq_ignore_ascii_case(known.word()));
    found.ok_or_else(|| format!("on_drift = '{}' is neither respect nor reassert", shown(word)))
}

/// A file named from the root, so that it is the same whoever reads it.
fn file(name: &str, path: &str) -> Result<String, String> {
    let fits = path.starts_with('/') && path.len() <= LONGEST && !path.contains(char::is_control);
    let wrong = || {
        format!(
            "{name} = '{}' is no file named from the root, such as /etc/portcullis/token",
            shown(path)
        )
    };
    fits.then(|| path.to_owned()).ok_or_else(wrong)
}

/// Whether this is an RFC 1035 label, as the API has them for names of rules: `[a-z]([-a-z0-9]{0,61}[a-z0-9])?`.
#[must_use]
pub fn is_rule(name: &str) -> bool {
    is_label(name) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

/// Whether this can be a project: an id, with its domain where it has one (`example.com:mail`), or a number. This is
/// the API's own pattern (compute.v1, parameter `project`); ids made today have 6 to 30 characters.
#[must_use]
pub fn is_project(name: &str) -> bool {
    let (domain, id) = match name.split_once(':') {
        Some((domain, id)) => (Some(domain), id),
        None => (None, name),
    };
    let is_number = (1..=19).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |domain: &str| domain.len() <= 253 && domain.contains('.') && domain.split('.').all(is_label);
    domain.is_none_or(fits) && (is_number || is_label(id) && id.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Small letters, digits and hyphens, no hyphen at either end, 1–63.
fn is_label(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

pub(super) fn checked_rule(name: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "rule = '{}' is no name of a firewall rule: small letters, digits and hyphens, a letter first, at most 63",
            shown(name)
        )
    };
    is_rule(name).then(|| name.to_owned()).ok_or_else(wrong)
}

pub(super) fn checked_project(name: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "project = '{}' is neither the id of a project (small letters, digits and hyphens, a letter first) nor its number",
            shown(name)
        )
    };
    is_project(name).then(|| name.to_owned()).ok_or_else(wrong)
}

/// A base address of the API, completed to `…/compute/v1/`; also for those that the environment names.
///
/// # Errors
/// What is wrong with it: plain http elsewhere than on this machine, another path, a user or a query in it.
pub fn endpoint(address: &str) -> Result<String, String> {
    let text = address.trim();
    let wrong = |what: &str| format!("endpoint = '{}' {what}", shown(text));
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let is_plain = match scheme.to_ascii_lowercase().as_str() {
        "https" => false,
        "http" => true,
        _ => return Err(wrong("is no address that begins with https://")),
    };
    let is_odd = |c: char| !c.is_ascii_graphic() || "\\\"'<>`{}|^?#@%".contains(c);
    if text.len() > LONGEST || rest.contains(is_odd) {
        return Err(wrong("holds more than a host, a port and a path"));
    }
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(server).ok_or_else(|| wrong("names no host"))?;
    if is_plain && !is_loopback(host) {
        return Err(wrong(
            "is plain http, which is for this machine alone (127.0.0.1, [::1], localhost): write https",
        ));
    }
    let path = match path.trim_end_matches('/') {
        "" => API.to_owned(),
        bare if format!("{bare}/").ends_with(API) => format!("{bare}/"),
        _ => return Err(wrong("does not end in /compute/v1/")),
    };
    let scheme = if is_plain { "http" } else { "https" };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{}{port}{path}", host.to_ascii_lowercase()))
}

/// The host, in brackets where it is an IPv6 address, and the port.
fn host_and_port(server: &str) -> Option<(&str, Option<u16>)> {
    let end = match server.strip_prefix('[') {
        Some(_) => server.find(']')? + 1,
        None => server.find(':').unwrap_or(server.len()),
    };
    let (host, rest) = server.split_at(end);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(fits),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) => Some(
            digits
                .parse()
                .ok()
                .filter(|port| *port > 0 && !digits.starts_with('+'))?,
        ),
        None if rest.is_empty() => None,
        None => return None,
    };
    is_host.then_some((host, port))
}

fn is_loopback(host: &str) -> bool {
    let inner = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || inner.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || inner.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}
