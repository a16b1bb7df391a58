//! logind's records of sessions, `/run/systemd/sessions/ID`: assignments, one a line.
//!
//! Only root writes them, when PAM opens a session, which sshd lets it do after authentication.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::processes::Processes;

/// Records read, and bytes of each.
const MOST: usize = 4_096;
const LARGEST: u64 = 16 << 10;

/// Where open SSH sessions come from.
pub(super) fn clients(root: &Path, processes: &Processes) -> Vec<IpAddr> {
    let Ok(records) = std::fs::read_dir(root.join("run/systemd/sessions")) else {
        return Vec::new();
    };
    let records = records.flatten().take(MOST);
    records
        .filter_map(|record| client(&super::read(&record.path(), LARGEST), processes))
        .collect()
}

/// The client in one record: of a session of sshd that is open, and whose leader lives. A name in place of an address
/// is what the reverse zone of the client says, and the client may say there what it likes.
fn client(record: &[u8], processes: &Processes) -> Option<IpAddr> {
    let record = std::str::from_utf8(record).ok()?;
    let fields: BTreeMap<&str, &str> = record.lines().filter_map(|line| line.split_once('=')).collect();
    let is = |key: &str, value: &str| fields.get(key).is_some_and(|found| *found == value);
    let is_ssh = fields.get("SERVICE").is_some_and(|service| service.starts_with("ssh"));
    let leader = fields.get("LEADER")?.parse().ok()?;
    let is_open = is("REMOTE", "1") && !is("STATE", "closing") && processes.is_alive(leader);
    fields.get("REMOTE_HOST").filter(|_| is_ssh && is_open)?.parse().ok()
}
