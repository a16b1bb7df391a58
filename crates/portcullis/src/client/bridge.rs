//! `bridge`: whoever is banned stays out while one server takes another's seat. For the package's scripts: they start
//! it before the old server goes, tell it (SIGUSR1) when the new one was started, and it takes itself away when the new
//! one has every ban in force.
//!
//! The bans are asked of the server that runs, ours or Fail2Ban's, and put into a table of the kernel of their own, on
//! all ports. Each has an end there, so that a bridge that is killed keeps nobody out for long.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::ledger::{Change, LayerId, Order, Standing, Ticket};
use portcullis_core::time::Seconds;
use portcullis_core::value::Value;
use portcullis_core::wire::Verb;

use super::failure::fail;
use super::{Ask, Where, call, exit};
use crate::control::answer::Banned;
use crate::enforce::Layer as _;
use crate::enforce::nft::{Blocktype, Nft, Scope, flush_everything};
use crate::enforce::ports::Ports;
use crate::enforce::protect::{Protected, Reach, Verdict};
use crate::store::Running;

/// Its table: that of a daemon must stay free for the daemon.
const TABLE: &str = "portcullis_bridge";
/// The new server is asked this often.
const PAUSE: Duration = Duration::from_millis(250);
/// Fail2Ban lists a ban before its action has run; the last one is given so long.
const GRACE: Duration = Duration::from_secs(2);

/// `bridge`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// A file that says, by its process id, that the bans are held
    #[arg(long, value_name = "FILE")]
    pid: PathBuf,
    /// Go after so many seconds, whatever the new server says
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    #[command(flatten)]
    place: Where,
}

/// Holds the bans until the new server does.
pub(crate) fn main(options: &Options) -> ExitCode {
    match hold(options) {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => fail(false, &error, exit::REFUSED),
    }
}

fn hold(options: &Options) -> Result<(), String> {
    let (told, over) = signals().map_err(|error| format!("signals cannot be caught: {error}"))?;
    let wanted = banned(&options.place)?;
    let until = Instant::now() + Duration::from_secs(options.seconds.into());
    let held = put_up(&wanted, options.seconds)?;
    let written = fs::write(&options.pid, format!("{}\n", std::process::id()));
    println!("{held} banned addresses are held");
    while written.is_ok() && Instant::now() < until && !over.load(Ordering::Acquire) {
        if told.load(Ordering::Acquire) && has_all(&options.place, &wanted) {
            thread::sleep(GRACE);
            break;
        }
        thread::sleep(PAUSE);
    }
    let gone = flush_everything(TABLE).map_err(|error| error.to_string());
    // Whoever waits for it sees that it is over.
    let _ = fs::remove_file(&options.pid);
    let shown = |path: &Path| path.display().to_string();
    written.map_err(|error| format!("cannot write {}: {error}", shown(&options.pid)))?;
    gone.map(drop)
}

/// Flags that are raised by SIGUSR1 (the new server was started) and by SIGTERM and SIGINT (enough).
fn signals() -> std::io::Result<(Arc<AtomicBool>, Arc<AtomicBool>)> {
    let (told, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&told))?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&over))?;
    }
    Ok((told, over))
}

/// Whom the server that runs has banned, as Fail2Ban's command `banned` lists them.
fn banned(place: &Where) -> Result<BTreeSet<Id>, String> {
    let reply = call::value(place, &Verb::Command(vec!["banned".into()])).map_err(|error| error.to_string())?;
    Ok(ids(&reply))
}

/// The addresses and networks in such a list: of jails, each with its bans.
fn ids(reply: &Value) -> BTreeSet<Id> {
    let mut found = BTreeSet::new();
    let Value::List(jails) = reply else { return found };
    for jail in jails {
        let Value::Dict(lists) = jail else { continue };
        for (_, list) in lists {
            let Value::List(list) = list else { continue };
            let named = list.iter().filter_map(|id| match id {
                Value::Str(text) => Id::parse(text).ok(),
                _ => None,
            });
            found.extend(named.filter(|id| !matches!(id, Id::Raw(_))));
        }
    }
    found
}

/// Puts them into the kernel, for so many seconds at most; how many.
fn put_up(wanted: &BTreeSet<Id>, seconds: u32) -> Result<usize, String> {
    let now = Running::fresh().now().steady;
    let protected = Protected::gather().unwrap_or_else(|_| Protected::new([], []));
    let layer = LayerId {
        jail: "bridge".into(),
        action: "nft".into(),
    };
    let allowed = |id: &&Id| matches!(protected.judge(id, None, Reach::ByHand), Verdict::Allowed(_));
    let ban = |id: &Id| Change {
        layer: layer.clone(),
        order: Order::Ban(Ticket {
            id: id.clone(),
            time: now,
            bantime: Seconds::new(seconds.into()),
            bancount: 1,
            failures: 0,
            matches: Vec::new(),
            data: portcullis_core::ledger::Data::default(),
            restored: true,
        }),
    };
    let start = Change {
        layer: layer.clone(),
        order: Order::Start,
    };
    let changes: Vec<Change> = std::iter::once(start)
        .chain(wanted.iter().filter(allowed).map(ban))
        .collect();
    let mut nft = Nft::open(TABLE).map_err(|error| error.to_string())?;
    nft.configure(
        layer.clone(),
        Scope {
            ports: Ports::All,
            protocols: Vec::new(),
            blocktype: Blocktype::Drop,
            kill_sessions: false,
        },
    );
    let mut held = 0;
    for applied in nft.apply(now, &changes).iter().skip(1) {
        match &applied.result {
            Ok(Standing::Failed(why)) | Err(why) => return Err(format!("the bans are not held: {why}")),
            Ok(_) => held += 1,
        }
    }
    Ok(held)
}

/// Whether the server that runs now has all of them, with nothing left to do.
fn has_all(place: &Where, wanted: &BTreeSet<Id>) -> bool {
    if !banned(place).is_ok_and(|banned| banned.is_superset(wanted)) {
        return false;
    }
    let ask = Ask {
        place: place.clone(),
        json: true,
    };
    // Fail2Ban's server does not know the question, and has nothing more to say.
    match call::json::<Vec<Banned>>(&ask, &Verb::Banned { jail: None }) {
        // One layer is enough: that of a cloud may lag for long, and the kernel holds its bans meanwhile.
        Ok((bans, _)) => bans.iter().all(|ban| ban.layers.values().any(|word| word != "decided")),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_a_server() {
        let list = |ids: &[&str]| Value::List(ids.iter().map(|id| Value::Str((*id).to_owned())).collect());
        let jail = |name: &str, ids: &[&str]| Value::Dict(vec![(name.into(), list(ids))]);
        let reply = Value::List(vec![
            jail("a", &["203.0.113.5", "2001:db8::1"]),
            jail("b", &[]),
            jail("c", &["203.0.113.5", "198.51.100.0/24", "a user"]),
        ]);
        let found: Vec<String> = ids(&reply).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        for id in ["203.0.113.5", "2001:db8::1", "198.51.100.0/24"] {
            assert!(found.iter().any(|other| other == id), "{found:?}");
        }
        assert!(ids(&Value::None).is_empty());
        assert!(ids(&Value::List(vec![Value::None])).is_empty());
    }
}
