//! Who is never written to a cloud rule, besides what no native layer bans ([`protect`](crate::enforce::protect)):
//! ranges of Google's own over which people and names reach the machine, and whoever has an SSH session here.
//!
//! A deny rule of the network is not undone by a login on the machine, so it must not shut out who could do that. But
//! only a session that was *authenticated* counts: whoever merely connects, as often as they like, is not spared. Three
//! witnesses are heard, and each may be missing: logind's records ([`logins`]), utmp ([`utmp`]), and the processes of
//! sshd with the connections that they hold ([`sshd`]). What cannot be read, in a container or without a right, makes
//! the list shorter and is no error.
//!
//! All that is read belongs to root; names of users, titles of processes and names of hosts are not looked at, because
//! those may come from the network.

mod logins;
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

use ipnet::IpNet;
use portcullis_core::address::canonical;

use self::processes::Processes;

/// Ranges of Google's, as it publishes them, from which nobody attacks and without which something stands still.
const RANGES: &[(&str, &str)] = &[
    ("35.235.240.0/20", "Google IAP, the way in for SSH from the console"),
    ("2600:2d00:1:7::/64", "Google IAP, the way in for SSH from the console"),
    ("35.199.192.0/19", "Google Cloud DNS, which forwards queries"),
    ("2600:2d00:1:b029::/64", "Google health checks"),
    ("2600:2d00:1:1::/64", "Google load balancers"),
];

/// What a session's client is called.
const CLIENT: &str = "the client of an open SSH session";

/// Networks that must not be written to a cloud rule now, and what they are. A wider network that holds one of them
/// must not be written either. Cheap enough to be asked before every write; never fails.
pub(crate) fn spared() -> Vec<(IpNet, String)> {
    below(Path::new("/"))
}

/// The same for a machine whose files lie below `root`.
fn below(root: &Path) -> Vec<(IpNet, String)> {
    let processes = Processes::below(root);
    let mut clients: BTreeSet<IpAddr> = BTreeSet::new();
    clients.extend(logins::clients(root, &processes));
    clients.extend(utmp::clients(root, &processes));
    clients.extend(sshd::clients(root, &processes));
    let clients = clients
        .into_iter()
        .map(canonical)
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .map(|ip| (IpNet::from(ip), CLIENT.to_owned()));
    let ranges = RANGES
        .iter()
        .filter_map(|(net, what)| Some((net.parse().ok()?, (*what).to_owned())));
    ranges.chain(clients).collect()
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
