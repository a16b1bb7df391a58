//! Who is never counted: own addresses and the jail's `ignoreip` (contract §4.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::address::Id;

/// Why somebody is not counted; the text is what Fail2Ban's log says after *by*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An own address
    Own,
    /// A listed address or network
    Ip,
    /// A listed host name
    Dns,
}

impl Rule {
    /// As the log prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::Own => "ignoreself rule",
            Rule::Ip => "ip",
            Rule::Dns => "dns",
        }
    }
}

/// The answer to *is this one allowed?*
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not counted, and why.
    Allowed(Rule),
    /// Counted.
    Counts,
    /// These names must be looked up first.
    Ask(Vec<String>),
}

/// The `ignoreip` list and `ignoreself` of one jail.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    ignoreself: bool,
    single: BTreeSet<Id>,
    listed: Vec<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Net(Id),
    Name(String),
}

/// An `ignoreip` entry that cannot be honoured. The jail must not ban until it can (invariant 12).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `file:…`
    #[error("ignoreip = {0}: lists in files are not supported yet")]
    File(String),
    /// A mask such as 255.0.255.0
    #[error("ignoreip = {0}: {1}")]
    Mask(String, crate::address::BadMask),
}

/// Addresses of names, as far as they are known.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

impl Allow {
    /// From a jail's options.
    ///
    /// # Errors
    /// The first entry that cannot be honoured.
    pub fn new(ignoreself: bool, ignoreip: &[String]) -> Result<Self, Error> {
        let mut allow = Allow {
            ignoreself,
            ..Allow::default()
        };
        for text in ignoreip {
            if text.starts_with("file:") {
                return Err(Error::File(text.clone()));
            }
            match Id::parse(text).map_err(|error| Error::Mask(text.clone(), error))? {
                id @ Id::Ip(_) => {
                    allow.single.insert(id);
                }
                id @ Id::Net(_) => allow.listed.push(Entry::Net(id)),
                Id::Raw(name) => allow.listed.push(Entry::Name(name)),
            }
        }
        Ok(allow)
    }

    /// Whether `id` is exempt. Entries are tried in their order; a name that is not known yet stops there, because
    /// nobody may be counted whom a later answer would have let pass.
    #[must_use]
    pub fn judge(&self, id: &Id, own: &BTreeSet<IpAddr>, names: &Names) -> Verdict {
        if let Id::Ip(ip) = id
            && self.ignoreself
            && own.contains(ip)
        {
            return Verdict::Allowed(Rule::Own);
        }
        if self.single.contains(id) {
            return Verdict::Allowed(Rule::Ip);
        }
        let mut unknown = Vec::new();
        for entry in &self.listed {
            match entry {
                Entry::Net(net) if net.contains(id) => return Verdict::Allowed(Rule::Ip),
                Entry::Net(_) => {}
                Entry::Name(name) => match (names.get(name), id) {
                    (Some(addresses), Id::Ip(ip)) if addresses.contains(ip) => return Verdict::Allowed(Rule::Dns),
                    (None, Id::Ip(_)) => unknown.push(name.clone()),
                    _ => {}
                },
            }
        }
        if unknown.is_empty() {
            Verdict::Counts
        } else {
            Verdict::Ask(unknown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_contract_4_1() {
        let entries = ["127.0.0.1/8", "2001:db8::/32", "192.0.2.7", "mail.example.com"].map(str::to_owned);
        let allow = Allow::new(true, &entries).unwrap();
        let own = BTreeSet::from(["198.51.100.1".parse().unwrap()]);
        let mut names = Names::new();
        let check = |id: &str, names: &Names| allow.judge(&Id::parse(id).unwrap(), &own, names);
        assert_eq!(check("198.51.100.1", &names), Verdict::Allowed(Rule::Own));
        assert_eq!(check("192.0.2.7", &names), Verdict::Allowed(Rule::Ip));
        assert_eq!(check("127.1.2.3", &names), Verdict::Allowed(Rule::Ip));
        assert_eq!(check("2001:db8::5", &names), Verdict::Allowed(Rule::Ip));
        assert_eq!(
            check("203.0.113.1", &names),
            Verdict::Ask(vec!["mail.example.com".into()])
        );
        names.insert("mail.example.com".into(), vec!["203.0.113.1".parse().unwrap()]);
        assert_eq!(check("203.0.113.1", &names), Verdict::Allowed(Rule::Dns));
        assert_eq!(check("203.0.113.2", &names), Verdict::Counts);
        assert_eq!(
            check("mail.example.com", &names),
            Verdict::Counts,
            "a raw id is not matched by equality"
        );
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error() {
        assert!(Allow::new(true, &["file:/etc/allowed".into()]).is_err());
        assert!(Allow::new(true, &["10.0.0.0/255.0.255.0".into()]).is_err());
    }
}
