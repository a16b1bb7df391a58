//! `kill_sessions`: whose sessions end after some changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_core::ledger::{Change, LayerId, Order, Standing};

use super::batch::{Chunk, Outcome, Step};
use super::sets::SetKey;
use super::wish::Wish;
use super::{Scope, sets};
use crate::enforce::sessions::{Cover, Victim};

/// Who was banned by these changes and is so in the kernel, in scopes that end sessions. A ban that comes back after a
/// restart counts too: the crash may have come between the ban and the end of its sessions.
pub(super) fn victims(
    scopes: &BTreeMap<LayerId, Scope>,
    changes: &[Change],
    answers: &[Option<Outcome>],
) -> Vec<Victim> {
    let killing = scopes.iter().filter(|(_, scope)| scope.kill_sessions);
    let covers: BTreeMap<&LayerId, Arc<Cover>> = killing.map(|(layer, scope)| (layer, cover(scope))).collect();
    if covers.is_empty() {
        return Vec::new();
    }
    let mut victims: BTreeMap<(&LayerId, IpNet), Victim> = BTreeMap::new();
    for (change, answer) in changes.iter().zip(answers) {
        let net = change.order.ticket().and_then(|ticket| sets::network(&ticket.id));
        let (Some(cover), Some(net)) = (covers.get(&change.layer), net) else {
            continue;
        };
        match (&change.order, answer) {
            // Who offends although banned has come in while the ban was gone.
            (Order::Ban(_) | Order::Again(_), Some(Ok(Standing::Applied))) => {
                let cover = Arc::clone(cover);
                victims.insert((&change.layer, net), Victim { net, cover });
            }
            (Order::Unban(_), _) => drop(victims.remove(&(&change.layer, net))),
            _ => {}
        }
    }
    victims.into_values().collect()
}

/// Who could get in for a while, because an element was missing or the whole layer leaked, in a scope that ends sessions.
pub(super) fn returned(scope: Option<&Scope>, wish: Option<&Wish>, leaks: bool, work: &[Chunk]) -> Vec<Victim> {
    let (Some(scope), Some(wish)) = (scope.filter(|scope| scope.kill_sessions), wish) else {
        return Vec::new();
    };
    let cover = cover(scope);
    let victim = |key: SetKey, ip| {
        let net = IpNet::new(ip, key.prefix).ok()?;
        let cover = Arc::clone(&cover);
        Some(Victim { net, cover })
    };
    if leaks {
        let members = wish
            .sets
            .iter()
            .flat_map(|(key, set)| set.iter().map(|(ip, _)| (*key, ip)));
        return members.filter_map(|(key, ip)| victim(key, ip)).collect();
    }
    let missing = work.iter().filter(|chunk| chunk.step == Step::Add);
    let elements = missing.flat_map(|chunk| chunk.works.iter().map(|(element, _)| (chunk.key, element.ip)));
    elements.filter_map(|(key, ip)| victim(key, ip)).collect()
}

fn cover(scope: &Scope) -> Arc<Cover> {
    Arc::new(Cover {
        ports: scope.ports.clone(),
        protocols: scope.protocols.clone(),
    })
}
