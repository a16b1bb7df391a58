//! Host names in `ignoreip`: what they resolve to is not written into a cloud's rule.
//!
//! The engine asks for a name when a failure needs it (contract §4.6). A ban may come from elsewhere, from a jail that
//! ignores nobody or from a person's hand, so names are looked up here as well: at the start, after a change of the
//! configuration, and every few minutes, on a thread of its own that nobody waits for. A name that does not resolve any more
//! keeps the addresses that it had.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::thread;

use ipnet::IpNet;
use portcullis_core::address::Id;
use portcullis_core::allow::list_path;
use portcullis_core::cloud::normal;
use portcullis_core::config::plan::Plan;

use super::{Daemon, Message, resolver};

/// What the thread says.
pub(super) enum Found {
    /// The addresses of a name, where there is an answer
    Name(String, Option<Vec<IpAddr>>),
    /// That was the last one
    End,
}

/// What is known of the names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Without any address: it never had one
    addresses: BTreeMap<String, Vec<IpAddr>>,
    is_under_way: bool,
    /// Somebody asked for them meanwhile
    is_due: bool,
}

impl Names {
    /// Whether that is news.
    fn take(&mut self, name: String, addresses: Option<Vec<IpAddr>>) -> bool {
        let known = self.addresses.entry(name).or_default();
        match addresses {
            Some(addresses) if *known != addresses => *known = addresses,
            _ => return false,
        }
        true
    }

    /// What jails ignore by a name, and which jail does.
    fn ignored(&self, plan: &Plan) -> Vec<(IpNet, String)> {
        let of = |(jail, name): (String, String)| {
            let addresses = self.addresses.get(&name).cloned().unwrap_or_default();
            let why = format!("{name}, in ignoreip of jail '{jail}'");
            addresses
                .into_iter()
                .map(move |ip| (normal(IpNet::from(ip)), why.clone()))
        };
        named(plan).flat_map(of).collect()
    }
}

impl Daemon {
    /// Looks up what is ignored by a name, where anybody bans in a cloud.
    pub(super) fn look_up_ignored(&mut self) {
        let names: BTreeSet<String> = named(&self.plan).map(|(_, name)| name).collect();
        if !self.has_cloud() || names.is_empty() {
            return;
        }
        self.names.is_due = self.names.is_under_way;
        if self.names.is_under_way {
            return;
        }
        let outbox = self.outbox.clone();
        let look = move || {
            // Where nobody listens any more, the daemon has ended.
            for name in names {
                let addresses = resolver::look_up(&name).ok();
                let _ = outbox.send(Message::Names(Found::Name(name, addresses)));
            }
            let _ = outbox.send(Message::Names(Found::End));
        };
        self.names.is_under_way = thread::Builder::new().name("ignored".into()).spawn(look).is_ok();
    }

    /// Takes what was looked up.
    pub(super) fn hear_names(&mut self, found: Found) {
        if let Found::Name(name, addresses) = found {
            if self.names.take(name, addresses) {
                self.spare_in_clouds();
            }
            return;
        }
        self.names.is_under_way = false;
        let names: BTreeSet<String> = named(&self.plan).map(|(_, name)| name).collect();
        self.names.addresses.retain(|name, _| names.contains(name));
        if self.names.is_due {
            self.look_up_ignored();
        }
    }

    /// An answer that the engine got is news here, too.
    pub(super) fn hear_name(&mut self, name: &str, addresses: &[IpAddr]) {
        let known = self.names.addresses.get_mut(name);
        if let Some(known) = known.filter(|known| !addresses.is_empty() && *known != addresses) {
            *known = addresses.to_vec();
            self.spare_in_clouds();
        }
    }

    /// Whom jails ignore by a name.
    pub(super) fn ignored_by_name(&self) -> Vec<(IpNet, String)> {
        self.names.ignored(&self.plan)
    }
}

/// Each jail with a name that it ignores.
fn named(plan: &Plan) -> impl Iterator<Item = (String, String)> {
    let of = |text: &String| match Id::parse(text) {
        Ok(Id::Raw(name)) if list_path(text).is_none() => Some(name),
        _ => None,
    };
    let jails = plan.jails.iter();
    jails.flat_map(move |jail| {
        let names = jail.ignoreip.iter().filter_map(of);
        names.map(|name| (jail.name.to_string(), name))
    })
}

#[cfg(test)]
mod tests {
    use portcullis_core::config::plan::JailPlan;

    use super::*;

    #[test]
    fn names_and_what_they_had() {
        let mut jail = JailPlan::new("mail", "auto");
        let entries = [
            "192.0.2.1",
            "friend.example",
            "10.0.0.0/8",
            "file:/allowed",
            "none.example",
        ];
        jail.ignoreip = entries.map(str::to_owned).into();
        let mut plan = Plan::default();
        plan.jails.push(jail);
        let all: Vec<_> = named(&plan).map(|(_, name)| name).collect();
        assert_eq!(all, ["friend.example", "none.example"]);
        let mut names = Names::default();
        let mut check = |address: Option<&str>, is_news: bool, expect: &str| {
            let addresses = address.map(|text| vec![text.parse().unwrap()]);
            assert!(!names.take("none.example".to_owned(), None));
            assert_eq!(names.take("friend.example".to_owned(), addresses), is_news);
            let why = "friend.example, in ignoreip of jail 'mail'".to_owned();
            assert_eq!(names.ignored(&plan), [(expect.parse().unwrap(), why)]);
        };
        check(Some("198.51.100.7"), true, "198.51.100.7/32");
        check(Some("198.51.100.7"), false, "198.51.100.7/32");
        check(Some("198.51.100.8"), true, "198.51.100.8/32");
        check(None, false, "198.51.100.8/32");
        check(Some("2001:db8::1"), true, "2001:db8::1/128");
    }
}
