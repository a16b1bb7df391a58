//! Who asks, and what they may: root and the daemon's own user everything, a group of readers to look.

use std::fs;
use std::os::unix::net::UnixStream;

use rustix::fs::Gid;
use rustix::net::sockopt::socket_peercred;

/// What somebody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything
    Owner,
    /// Look, and change nothing
    Reader,
    /// Nothing
    Stranger,
}

/// What the process on the other side may, as the kernel knows it from the time when it connected.
pub(super) fn role(stream: &UnixStream, readers: Option<Gid>) -> Role {
    let Ok(peer) = socket_peercred(stream) else {
        return Role::Stranger;
    };
    if peer.uid.is_root() || peer.uid == rustix::process::geteuid() {
        return Role::Owner;
    }
    let Some(readers) = readers else { return Role::Stranger };
    let status = || fs::read_to_string(format!("/proc/{}/status", peer.pid.as_raw_nonzero())).unwrap_or_default();
    if peer.gid == readers || has_group(&status(), peer.uid.as_raw(), readers.as_raw()) {
        Role::Reader
    } else {
        Role::Stranger
    }
}

/// Whether a process, by its `/proc/PID/status`, is of this user and has this group. The kernel tells a peer's further
/// groups only by a socket option that needs `unsafe`. By the time we look the number may be another process's; since
/// the user must be the same, it is then one to whom the system gave the group as well.
fn has_group(status: &str, uid: u32, gid: u32) -> bool {
    let numbers = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .map(|word| word.parse::<u32>().ok())
    };
    numbers("Uid:").count() > 0
        && numbers("Uid:").all(|number| number == Some(uid))
        && numbers("Groups:").any(|number| number == Some(gid))
}

/// A group of `/etc/group` by its name, or any by its number.
///
/// # Errors
/// A sentence for whoever starts the daemon.
pub(super) fn group(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Gid::from_raw(number));
    }
    let table = fs::read_to_string("/etc/group").map_err(|error| format!("cannot read /etc/group: {error}"))?;
    let number = group_in(&table, name);
    number.map(Gid::from_raw).ok_or_else(|| {
        format!("--socket-group: there is no group '{name}' in /etc/group; its number is understood too")
    })
}

fn group_in(table: &str, name: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_name() {
        let table = "root:x:0:\nadm:x:4:syslog,alice\nadmins:x:1004:\nbad\n";
        assert_eq!(group_in(table, "adm"), Some(4));
        assert_eq!(group_in(table, "admins"), Some(1004));
        assert_eq!(group_in(table, "ad"), None);
        assert_eq!(group_in(table, "bad"), None);
        assert_eq!(group("1234"), Ok(Gid::from_raw(1234)));
    }

    #[test]
    fn further_groups() {
        let status = "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t4 24 1000 \n";
        assert!(has_group(status, 1000, 4));
        assert!(!has_group(status, 1000, 2), "a part of a number");
        assert!(!has_group(status, 1001, 4), "another user's process");
        let mixed = status.replace("Uid:\t1000", "Uid:\t0");
        assert!(!has_group(&mixed, 1000, 4), "a set-user-id program");
        assert!(!has_group("", 1000, 4));
    }

    #[test]
    fn the_own_user_may_everything() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert_eq!(role(&ours, None), Role::Owner);
    }
}
