//! Who looks at this: whether they could shut themselves out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use portcullis_core::address::{Id, canonical};
use portcullis_core::allow::{Allow, Known, Lists, Names, Verdict};
use portcullis_core::time::Timestamp;

use super::scene::Scene;
use crate::client::finding::Finding;
use crate::visitors::visitors;

/// Variables in which sshd says where its client is.
const VARIABLES: [&str; 2] = ["SSH_CLIENT", "SSH_CONNECTION"];

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let given = VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
    let own = given
        .filter_map(|text| text.split_whitespace().next()?.parse().ok())
        .map(canonical);
    let mut clients: BTreeSet<IpAddr> = own.collect();
    clients.extend(visitors().iter().map(ipnet::IpNet::addr));
    clients.into_iter().filter_map(|client| judge(scene, client)).collect()
}

fn judge(scene: &Scene, client: IpAddr) -> Option<Finding> {
    let open = scene.jails().filter(|jail| !is_spared(&jail.ignoreip, client));
    let open: Vec<&str> = open.map(|jail| &*jail.name).collect();
    if open.is_empty() {
        return None;
    }
    let text = format!(
        "{client}, from where somebody is logged in over SSH, stands in no ignoreip of {}",
        open.join(", ")
    );
    let local = scene.places.config.join("jail.local");
    let mend = format!(
        "if it is always yours, write ignoreip = 127.0.0.1/8 ::1 {client} under [DEFAULT] in {}",
        local.display()
    );
    Some(Finding::note("you", text).mend(mend))
}

/// Whether a list spares somebody, as far as it can be told without asking name servers.
fn is_spared(ignoreip: &[String], client: IpAddr) -> bool {
    let known = Known {
        own: &BTreeSet::new(),
        names: &Names::default(),
        lists: &Lists::default(),
        since: Timestamp::default(),
    };
    let allow = Allow::new(false, ignoreip);
    allow.is_ok_and(|allow| matches!(allow.judge(&Id::Ip(client), &known), Verdict::Allowed(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_spared() {
        let client: IpAddr = "198.51.100.7".parse().unwrap();
        for (list, expect) in [
            (&["127.0.0.1/8", "198.51.100.0/24"][..], true),
            (&["198.51.100.7"], true),
            (&["mail.example.org"], false),
            (&[], false),
        ] {
            let list: Vec<String> = list.iter().map(|&entry| entry.to_owned()).collect();
            assert_eq!(is_spared(&list, client), expect, "{list:?}");
        }
    }
}
