//! `/run/utmp`: who is logged in, in glibc's fixed records.
//!
//! Programs that may write it for anybody's terminal exist (utempter), so an entry counts only if its process stands
//! below root's sshd.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::processes::Processes;

/// The most that is read: some ten thousand records.
const LARGEST: u64 = 4 << 20;

/// `ut_type` of somebody who is logged in.
const USER_PROCESS: i16 = 7;

/// Where the process id and the name of the client's host begin, in every layout, and how long the latter is.
const PID: usize = 4;
const HOST: usize = 76;
const HOST_LENGTH: usize = 256;

/// How glibc lays out a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of a record
    pub size: usize,
    /// Where `ut_addr_v6` begins
    pub address: usize,
}

/// With times of 32 bits: x86, and what took over its records.
pub(super) const NARROW: Layout = Layout {
    size: 384,
    address: 348,
};
/// With times of 64 bits: aarch64.
pub(super) const WIDE: Layout = Layout {
    size: 400,
    address: 360,
};

/// Where the SSH sessions in utmp come from.
pub(super) fn clients(root: &Path, processes: &Processes) -> Vec<IpAddr> {
    let bytes = super::read(&root.join("run/utmp"), LARGEST);
    entries(&bytes, layout(bytes.len()))
        .filter(|(pid, _)| processes.is_below_sshd(*pid))
        .map(|(_, client)| client)
        .collect()
}

/// The layout of this architecture, unless the file can only have the other one.
fn layout(length: usize) -> Layout {
    let (usual, other) = if cfg!(target_arch = "aarch64") {
        (WIDE, NARROW)
    } else {
        (NARROW, WIDE)
    };
    if !length.is_multiple_of(usual.size) && length.is_multiple_of(other.size) {
        other
    } else {
        usual
    }
}

/// Process and client of everybody who is logged in from elsewhere.
pub(super) fn entries(bytes: &[u8], layout: Layout) -> impl Iterator<Item = (u32, IpAddr)> {
    bytes.chunks_exact(layout.size).filter_map(move |record| {
        let kind = i16::from_ne_bytes(*record.first_chunk()?);
        let pid = u32::from_ne_bytes(*record.get(PID..)?.first_chunk()?);
        let client = address(record.get(layout.address..)?.first_chunk()?).or_else(|| host(record))?;
        (kind == USER_PROCESS).then_some((pid, client))
    })
}

/// `ut_addr_v6`, in network order: an IPv4 address stands in the first four bytes, before zeros.
fn address(bytes: &[u8; 16]) -> Option<IpAddr> {
    let (four, rest) = bytes.split_first_chunk::<4>()?;
    match (*four, rest.iter().all(|byte| *byte == 0)) {
        ([0, 0, 0, 0], true) => None,
        (four, true) => Some(IpAddr::V4(Ipv4Addr::from(four))),
        (_, false) => Some(IpAddr::V6(Ipv6Addr::from(*bytes))),
    }
}

/// `ut_host`, where it is an address.
fn host(record: &[u8]) -> Option<IpAddr> {
    let text = record.get(HOST..HOST + HOST_LENGTH)?;
    let text = text.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
