//! `kill_sessions`: whose sessions end after some changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_core::ledger::{Change, LayerId, Order, Standing};

use super::batch::Outcome;
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

fn cover(scope: &Scope) -> Arc<Cover> {
    Arc::new(Cover {
        ports: scope.ports.clone(),
        protocols: scope.protocols.clone(),
    })
}
