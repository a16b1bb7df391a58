//! What stands against writing a rule, each with the command that mends it.

use std::fmt;

use ipnet::IpNet;

use super::network::{Place, Sameness, same_network};
use super::{Rule, SENTINELS};
use crate::address::Family;
use crate::cloud::desired::{entry, family, name_besides};

/// An entry of somebody else's with fewer bits than these stops every write: compute v1 turns an emptied list into
/// `0.0.0.0/0`, and what lies near that is hardly meant.
pub(crate) const WIDE: u8 = 8;
/// The longest list that a mending command spells out, in bytes.
const SPELT_OUT: usize = 1_000;
/// Names that are shown of a list.
const SHOWN: usize = 5;
/// Bytes that are shown of one name.
const SHOWN_BYTES: usize = 64;

/// Why a rule is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its direction is EGRESS: it looks at traffic that leaves
    Egress,
    /// It allows: an attacker in its list would be let in
    Allows,
    /// It neither denies nor allows
    DeniesNothing,
    /// It is disabled, which is how people switch it off
    Disabled,
    /// It lies on another network than the machine: this one
    OtherNetwork(String),
    /// An entry of its list is no network: this one
    Entry(String),
    /// It holds a range from /0 to /7, as an emptied list becomes: this one
    Wide(String),
    /// An entry belongs to the other family than the rule is for: this one
    OtherFamily(String),
    /// It has source tags or service accounts besides, and so denies more than its list: these
    OtherSources(Vec<String>),
}

/// A rule that is not written, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What stands against it
    pub why: Why,
    /// Its name, fit to be shown
    name: String,
    /// Where to go in a command: ` --project=P`, or nothing
    project: String,
    /// The network where a rule is needed
    network: String,
    /// The command's value where the list is to be set anew
    list: String,
}

impl Rule {
    /// What stands against writing addresses of this family into the rule, the most dangerous first. `networks` are
    /// those of the machine, in any spelling; where none is known, or spellings cannot be compared, no network is
    /// another one.
    #[must_use]
    pub fn unfit(&self, family: Family, networks: &[String]) -> Option<Unfit> {
        let why = self
            .fault(networks)
            .or_else(|| self.wrong_entry(family))
            .or_else(|| self.further_sources())?;
        let mut network = self.network.as_str();
        if let (Why::OtherNetwork(_), Some(own)) = (&why, networks.first()) {
            network = own;
        }
        Some(Unfit {
            name: clean(&self.name),
            project: project_flag(network),
            network: Place::of(network).map(|place| clean(place.name)).unwrap_or_default(),
            list: match &why {
                Why::Wide(wide) => self.list_without(wide, family),
                _ => String::new(),
            },
            why,
        })
    }

    /// What stands against the rule whatever is in it.
    fn fault(&self, networks: &[String]) -> Option<Why> {
        let is_other = |own: &String| same_network(&self.network, own) == Sameness::Different;
        if !self.is_ingress {
            return Some(Why::Egress);
        }
        if !self.allowed.is_empty() {
            return Some(Why::Allows);
        }
        if self.denied.is_empty() {
            return Some(Why::DeniesNothing);
        }
        if self.is_disabled {
            return Some(Why::Disabled);
        }
        let is_elsewhere = !networks.is_empty() && networks.iter().all(is_other);
        is_elsewhere.then(|| Why::OtherNetwork(self.network.clone()))
    }

    /// The entry that stands against it: one that is no network before one that is too wide before one of the other
    /// family.
    fn wrong_entry(&self, wanted: Family) -> Option<Why> {
        let first = |is_wrong: fn(Option<IpNet>, Family) -> bool| {
            self.source_ranges
                .iter()
                .find(|text| is_wrong(entry(text), wanted))
                .cloned()
        };
        let unread = first(|net, _| net.is_none()).map(Why::Entry);
        let wide = || first(|net, _| net.is_some_and(|net| net.prefix_len() < WIDE)).map(Why::Wide);
        let other = || first(|net, wanted| net.is_some_and(|net| family(&net) != wanted)).map(Why::OtherFamily);
        unread.or_else(wide).or_else(other)
    }

    fn further_sources(&self) -> Option<Why> {
        (!self.other_sources.is_empty()).then(|| Why::OtherSources(self.other_sources.clone()))
    }

    /// The list as a command's value, without an entry; never empty. A long one is made by a command of its own.
    fn list_without(&self, wide: &str, family: Family) -> String {
        let rest: Vec<&str> = self
            .source_ranges
            .iter()
            .map(String::as_str)
            .filter(|text| *text != wide)
            .collect();
        let text = rest.join(",");
        if rest.is_empty() {
            return sentinel(family).to_owned();
        }
        if text.len() <= SPELT_OUT {
            return text;
        }
        format!(
            "\"$(gcloud compute firewall-rules describe {}{} --format='value[delimiter=\",\"](sourceRanges)' | tr , '\\n' \
             | grep -vxF {wide} | paste -sd,)\"",
            clean(&self.name),
            project_flag(&self.network)
        )
    }
}

impl Unfit {
    /// The command that mends it, with what else is to be done.
    #[must_use]
    pub fn mend(&self) -> String {
        let Unfit {
            name, project, list, ..
        } = self;
        let update = format!("gcloud compute firewall-rules update {name}{project}");
        match &self.why {
            Why::Egress | Why::Allows | Why::DeniesNothing | Why::OtherNetwork(_) => self.another(),
            Why::Disabled => format!("{update} --no-disabled"),
            Why::Entry(_) => format!(
                "look at the list and take that entry out: gcloud compute firewall-rules describe {name}{project} \
                 --format='value(sourceRanges)'"
            ),
            Why::Wide(_) => format!("{update} --source-ranges={list}"),
            Why::OtherFamily(_) => self.another(),
            Why::OtherSources(sources) => {
                let has_accounts = sources.iter().any(|source| source.contains('@'));
                let has_tags = sources.iter().any(|source| !source.contains('@'));
                let tags = if has_tags { " --source-tags=" } else { "" };
                let accounts = if has_accounts {
                    " --source-service-accounts="
                } else {
                    ""
                };
                format!("{update}{tags}{accounts}")
            }
        }
    }

    /// A rule of its own, where this one cannot be made fit.
    fn another(&self) -> String {
        let other = name_besides(&self.name);
        let network = if self.network.is_empty() {
            "default"
        } else {
            &self.network
        };
        format!(
            "make a rule of its own and name it in the action (rule={other}): gcloud compute firewall-rules create \
             {other}{} --network={network} --direction=INGRESS --action=DENY --rules=all --priority=100 \
             --source-ranges={}",
            self.project,
            sentinel(Family::Inet4)
        )
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} is not written: ", self.name)?;
        match &self.why {
            Why::Egress => f.write_str("it is for traffic that leaves (EGRESS), not for what comes in"),
            Why::Allows => f.write_str("it allows, so that whoever is added to its list would be let in"),
            Why::DeniesNothing => f.write_str("it denies nothing"),
            Why::Disabled => f.write_str("it is disabled, as if it did not exist"),
            Why::OtherNetwork(network) => {
                let name = Place::of(network).map_or(network.as_str(), |place| place.name);
                write!(
                    f,
                    "it lies on network {}, this machine on {}",
                    clean(name),
                    self.network
                )
            }
            Why::Entry(text) => write!(
                f,
                "its entry '{}' is no network, and writing replaces the list",
                clean(text)
            ),
            Why::Wide(text) => write!(f, "it holds {}, which denies nearly everybody", clean(text)),
            Why::OtherFamily(text) => {
                write!(
                    f,
                    "it holds {}, and a rule takes either IPv4 or IPv6, not both",
                    clean(text)
                )
            }
            Why::OtherSources(sources) => {
                write!(f, "it denies more than its list, namely {} as well", list(sources))
            }
        }
    }
}

/// Where a command goes, by a network's spelling: ` --project=P`, or nothing.
pub(super) fn project_flag(network: &str) -> String {
    let project = Place::of(network).and_then(|place| place.project);
    project
        .map(|project| format!(" --project={}", clean(project)))
        .unwrap_or_default()
}

/// The sentinel of a family.
fn sentinel(family: Family) -> &'static str {
    let [four, six] = SENTINELS;
    if family == Family::Inet4 { four } else { six }
}

/// The first of a list, fit to be shown.
pub(super) fn list(items: &[String]) -> String {
    let mut text = items
        .iter()
        .take(SHOWN)
        .map(|item| clean(item))
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > SHOWN {
        text.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    text
}

/// A text from outside, fit to be shown and to stand in a command: of other signs than names, addresses and URLs are
/// made of, and of what is too long, nothing is left but `?` and `…`.
pub(super) fn clean(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-._:/@".contains(c) {
            c
        } else {
            '?'
        }
    };
    let mut shown: String = text.chars().take(SHOWN_BYTES).map(plain).collect();
    if text.chars().nth(SHOWN_BYTES).is_some() {
        shown.push('…');
    }
    shown
}
