//! Capabilities: what is left of root.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// The packet filter and the sockets of the banned; logs of any owner.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::DAC_READ_SEARCH);

/// The database and the log may be somebody else's; only where nothing but their folders can be written.
const WHERE_CONFINED: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

const NAMES: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::NET_ADMIN, "net_admin"),
    (CapabilitySet::DAC_READ_SEARCH, "dac_read_search"),
    (CapabilitySet::DAC_OVERRIDE, "dac_override"),
];

/// Keeps what the daemon needs of what it has, and gives up the rest for good. In words, what is left.
///
/// # Errors
/// What the kernel has against it.
pub(super) fn drop(is_confined: bool) -> Result<String, Errno> {
    let wanted = if is_confined { KEPT.union(WHERE_CONFINED) } else { KEPT };
    let mut mine = capabilities(None)?;
    let left = mine.permitted.intersection(wanted);
    mine.permitted = left;
    mine.effective = left;
    mine.inheritable = CapabilitySet::empty();
    set_capabilities(None, mine)?;
    let names = NAMES.iter().filter(|(right, _)| left.contains(*right));
    let names: Vec<&str> = names.map(|(_, name)| *name).collect();
    Ok(if names.is_empty() {
        "no capabilities".to_owned()
    } else {
        format!("no capabilities but {}", names.join(", "))
    })
}
