//! Who is logged in on this machine over SSH: nobody who can mend what we do is to be shut out by it.
//!
//! Only a session that was *authenticated* counts: whoever merely connects, as often as they like, is no visitor. Three
//! witnesses are heard, and each may be missing: logind's records ([`logind`]), utmp ([`utmp`]), and the processes of
//! sshd with the connections that they hold ([`sshd`]). What cannot be read, in a container or without a right, makes
//! the list shorter and is no error.
//!
//! All that is read belongs to root; names of users, titles of processes and names of hosts are not looked at, because
//! those may come from the network.

mod logind;
mod processes;
mod sshd;
#[cfg(test)]
mod tests;
mod utmp;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use portcullis_core::address::canonical;

use self::processes::Processes;

/// What a visitor's address is called.
pub(crate) const VISITOR: &str = "the client of an open SSH session";

/// Says who that is now; it asks whoever may know.
pub(crate) type Visitors = Arc<dyn Fn() -> BTreeSet<IpNet> + Send + Sync>;

/// Where the SSH sessions that are open now come from, each a single address. It takes some milliseconds and never
/// fails.
pub(crate) fn visitors() -> BTreeSet<IpNet> {
    below(Path::new("/"))
}

/// The same for a machine whose files lie below `root`.
fn below(root: &Path) -> BTreeSet<IpNet> {
    let processes = Processes::below(root);
    let mut clients: BTreeSet<IpAddr> = BTreeSet::new();
    clients.extend(logind::clients(root, &processes));
    clients.extend(utmp::clients(root, &processes));
    clients.extend(sshd::clients(root, &processes));
    let clients = clients.into_iter().map(canonical);
    let others = clients.filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    others.map(IpNet::from).collect()
}

/// The beginning of a file, at most so many bytes; nothing if it cannot be read.
fn read(path: &Path, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error stands.
        let _ = file.take(most).read_to_end(&mut bytes);
    }
    bytes
}
