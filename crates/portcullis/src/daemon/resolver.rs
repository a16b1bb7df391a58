//! Name look-ups beside the engine: slow ones delay nobody.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Look-ups at a time. The names come from attackers, and their name servers may take half a minute to fail.
const AT_ONCE: usize = 8;
/// The longest host name (RFC 1035 §2.3.4).
const LONGEST: usize = 253;

/// A pool of threads that ask the system's resolver.
pub(super) struct Resolver {
    names: Sender<String>,
}

impl Resolver {
    /// Starts the pool; answers go to `answer`, empty where there is none.
    pub(super) fn start(answer: impl Fn(String, Vec<IpAddr>) + Clone + Send + 'static) -> std::io::Result<Self> {
        let (names, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..AT_ONCE {
            let (waiting, answer) = (Arc::clone(&waiting), answer.clone());
            thread::Builder::new()
                .name("resolver".into())
                .spawn(move || serve(&waiting, &answer))?;
        }
        Ok(Resolver { names })
    }

    /// Asks for a name.
    pub(super) fn ask(&self, name: String) {
        // The pool ends only with the process.
        let _ = self.names.send(name);
    }
}

fn serve(waiting: &Mutex<Receiver<String>>, answer: &impl Fn(String, Vec<IpAddr>)) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(name) = next else { return };
        let addresses = if is_host_name(&name) {
            look_up(&name)
        } else {
            Vec::new()
        };
        answer(name, addresses);
    }
}

fn look_up(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    let mut addresses: Vec<IpAddr> = found
        .into_iter()
        .flatten()
        .map(|address| portcullis_core::address::canonical(address.ip()))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Letters, digits, dots, hyphens and underscores: what else a log says is no name to bother a resolver with.
fn is_host_name(name: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= LONGEST && name.chars().all(allowed)
}
