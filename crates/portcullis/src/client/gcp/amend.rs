//! Entries into a rule and out of it, by hand: the list is read, changed, written whole and read back, because the API
//! knows no other way and no precondition. What another writer loses us meanwhile is written again.

use std::collections::BTreeSet;

use ipnet::IpNet;
use portcullis_core::address::Family;
use portcullis_core::cloud::aggregate::CEILINGS;
use portcullis_core::cloud::desired::{entry, private};
use portcullis_core::cloud::rule::{Rule, Why};
use portcullis_core::cloud::trouble::{Kind, Trouble};
use portcullis_core::cloud::{SENTINELS, is_sentinel, normal};
use serde_json::Value;

use super::session::{Session, texts};

/// So often a list is written again that another writer has replaced.
const ROUNDS: u32 = 8;

/// What is to become of a rule's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// To be in it afterwards
    pub(super) add: Vec<IpNet>,
    /// Not to be in it afterwards
    pub(super) remove: Vec<IpNet>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Amended {
    /// New in it
    pub(super) added: Vec<IpNet>,
    /// Taken out of it
    pub(super) removed: Vec<IpNet>,
    /// Were as they are to be already
    pub(super) unchanged: Vec<IpNet>,
    /// To be taken out, and not in it by that name: the wider entry that covers them
    pub(super) covered: Vec<(IpNet, IpNet)>,
    /// Entries afterwards
    pub(super) size: usize,
    /// Writes that it took
    pub(super) writes: u32,
    /// Of these, the ones that another writer's had replaced
    pub(super) lost: u32,
    /// Whether a documentation address was put in, so that the list is not empty
    pub(super) sentinel: bool,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The rule is none that may be written.
    #[error("{0}")]
    Unfit(String),
    /// The API would not.
    #[error("{0}")]
    Api(Trouble),
    /// Somebody else's writes came in between again and again.
    #[error(
        "somebody else writes rule {0} at the same time, and our entries were lost {ROUNDS} times; make it a rule that \
             one program alone writes"
    )]
    Lost(String),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Api(trouble)
    }
}

/// Carries it out. `fit` says why a rule as it is read may not be written.
pub(super) fn amend(
    session: &mut Session<'_>,
    rule: &str,
    change: &Change,
    fit: &dyn Fn(&Value) -> Result<(), String>,
) -> Result<Amended, Failure> {
    let (mut amended, mut tries) = (Amended::default(), 0);
    let mut first: Option<BTreeSet<IpNet>> = None;
    loop {
        let read = session.read(rule)?;
        let list = texts(&read, "sourceRanges");
        let target = target(&list, change).map_err(Failure::Unfit)?;
        let before = first.get_or_insert_with(|| networks(&list));
        tell_apart(&mut amended, before, change);
        if amended.writes == 0 || target != list {
            fit(&read).map_err(Failure::Unfit)?;
        }
        if target == list {
            amended.size = list.len();
            return Ok(amended);
        }
        if amended.writes > 0 {
            amended.lost += 1;
        }
        if amended.lost >= ROUNDS {
            return Err(Failure::Lost(rule.to_owned()));
        }
        amended.sentinel |= target
            .iter()
            .any(|text| SENTINELS.contains(&text.as_str()) && !list.contains(text));
        match session.write(rule, &target) {
            Ok(_) => amended.writes += 1,
            // The operation failed, or the list has changed in a way that matters: everything is looked at again.
            Err(trouble) if trouble.kind == Kind::Conflict && tries < ROUNDS => tries += 1,
            Err(trouble) => {
                session.wait_after(trouble, tries)?;
                tries += 1;
            }
        }
    }
}

/// What of a change was done, and what was so before.
fn tell_apart(amended: &mut Amended, before: &BTreeSet<IpNet>, change: &Change) {
    let (had, lacked): (Vec<IpNet>, Vec<IpNet>) = change.add.iter().partition(|net| before.contains(*net));
    let (there, absent): (Vec<IpNet>, Vec<IpNet>) = change.remove.iter().partition(|net| before.contains(*net));
    amended.added = lacked;
    amended.removed = there;
    amended.covered = absent
        .iter()
        .filter_map(|net| Some((*net, *before.iter().find(|wide| wide.contains(net))?)))
        .collect();
    amended.unchanged = had.into_iter().chain(absent).collect();
}

/// The list as it shall be: what is there stays in its place and spelling. Never empty.
///
/// # Errors
/// Why there is no such list.
pub(super) fn target(list: &[String], change: &Change) -> Result<Vec<String>, String> {
    let mut target: Vec<String> = Vec::with_capacity(list.len() + change.add.len());
    let mut held = BTreeSet::new();
    for text in list {
        let Some(net) = network(text) else {
            return Err(format!(
                "the rule holds '{text}', which is no network; it is not written"
            ));
        };
        if change.remove.contains(&net) && !change.add.contains(&net) {
            continue;
        }
        held.insert(net);
        target.push(text.clone());
    }
    for net in &change.add {
        if held.insert(*net) {
            target.push(net.to_string());
        }
    }
    if held.iter().any(|net| matches!(net, IpNet::V4(_))) && held.iter().any(|net| matches!(net, IpNet::V6(_))) {
        let family = if matches!(change.add.first(), Some(IpNet::V6(_))) {
            "IPv4"
        } else {
            "IPv6"
        };
        return Err(format!(
            "the rule holds {family} networks, and IPv4 and IPv6 cannot be in one rule; use another rule for the others"
        ));
    }
    if target.is_empty() {
        let [four, six] = SENTINELS;
        let is_six = list
            .iter()
            .filter_map(|text| network(text))
            .any(|net| matches!(net, IpNet::V6(_)));
        target.push(if is_six { six } else { four }.to_owned());
    }
    Ok(target)
}

/// The networks of a list.
pub(super) fn networks(list: &[String]) -> BTreeSet<IpNet> {
    list.iter().filter_map(|text| network(text)).collect()
}

/// An entry as the API may write it: a network, or a bare address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    entry(text).map(normal)
}

/// Whether a rule may be written. `networks` are the machine's, for entries that are to protect it.
///
/// # Errors
/// Why not, with the mend.
pub(super) fn fit(rule: &Value, change: &Change, networks: &[String]) -> Result<(), String> {
    let rule = Rule::from_json(rule)?;
    let is_six = change
        .add
        .iter()
        .chain(&change.remove)
        .any(|net| matches!(net, IpNet::V6(_)));
    let family = if is_six { Family::Inet6 } else { Family::Inet4 };
    let Some(unfit) = rule.unfit(family, networks) else {
        return Ok(());
    };
    // To take something out of a rule that is switched off or denies too much is harmless, and may be the mend.
    let is_mend = matches!(
        unfit.why,
        Why::Disabled | Why::OtherNetwork(_) | Why::Wide(_) | Why::OtherFamily(_) | Why::OtherSources(_)
    );
    if change.add.is_empty() && is_mend {
        return Ok(());
    }
    Err(format!("{unfit}; mend: {}", unfit.mend()))
}

/// Why somebody is not to be banned by hand, if so. `protected` are networks that never are, and what they are.
///
/// # Errors
/// Nothing overrides this.
pub(super) fn objection(net: &IpNet, protected: &[(IpNet, String)]) -> Result<Option<String>, String> {
    if net.prefix_len() == 0 {
        let (four, six) = CEILINGS;
        let longest = if matches!(net, IpNet::V4(_)) { four } else { six };
        return Err(format!(
            "{net} is everybody, you too; name an address, or networks of /{longest} and longer"
        ));
    }
    if is_sentinel(net) {
        return Err(format!(
            "{net} is the documentation address that keeps a list from being empty; it is put in and taken out by itself"
        ));
    }
    let meets = |other: &IpNet| net.contains(other) || other.contains(net);
    let (four, six) = CEILINGS;
    let widest = if matches!(net, IpNet::V4(_)) { four } else { six };
    Ok(if net.prefix_len() < widest {
        Some(format!("{net} is wider than /{widest}"))
    } else if let Some((other, what)) = protected.iter().find(|(other, _)| meets(other)) {
        Some(format!("{net} is or holds {what} ({other})"))
    } else if private().any(|other| meets(&other)) {
        Some(format!("{net} is private: who comes from there is on your own network"))
    } else {
        None
    })
}

/// A network from the command line, in the only spelling that the API takes.
///
/// # Errors
/// It is none.
pub(super) fn parse(word: &str) -> Result<IpNet, String> {
    network(word.trim())
        .ok_or_else(|| format!("'{word}' is no address and no network (192.0.2.7, 192.0.2.0/24, 2001:db8::/64)"))
}

#[cfg(test)]
mod tests;
