//! Netlink's framing, and a socket for the kernel's lists of what it serves.
//!
//! In go requests whose payload is already in bytes, out come the messages of a list, or what became of each request.
//! The kernel works on what is sent while `send` runs and queues its answers before `send` returns.

use std::time::Duration;

use netlink_packet_core::{
    Emitable as _, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NlaBuffer, NlasIterator,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Types of netlink's own messages.
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;

/// Bytes of netlink's header.
const HEADER: usize = 16;

/// Lists come in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// Requests sent at once: were each of them refused, the refusals fit the smallest usual queue.
const AT_ONCE: usize = 100;

/// Appends one message: its header (type, flags besides the request flag, sequence number) and its payload in parts.
pub(super) fn put(bytes: &mut Vec<u8>, (kind, flags, sequence): (u16, u16, u32), parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    header.length = u32::try_from(HEADER + length).unwrap_or(u32::MAX);
    let start = bytes.len();
    bytes.resize(start + header.buffer_len(), 0);
    if let Some(place) = bytes.get_mut(start..) {
        header.emit(place);
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message as it came.
pub(super) struct Incoming<'b> {
    /// Its type
    pub kind: u16,
    /// Its flags
    pub flags: u16,
    /// The number of the request that it answers
    pub sequence: u32,
    /// Whose request that was
    pub port: u32,
    /// What stands behind netlink's header
    pub payload: &'b [u8],
}

impl Incoming<'_> {
    /// The error number that begins an error and the end of a list; none for zero, which means success.
    pub(super) fn errno(&self) -> Option<Errno> {
        let code = i32::from_ne_bytes(self.payload.first_chunk().copied().unwrap_or_default());
        (code != 0).then(|| Errno::from_raw_os_error(code.saturating_abs()))
    }
}

/// The messages of one datagram; ends at the first that cannot be read.
pub(super) fn split(mut bytes: &[u8]) -> Vec<Incoming<'_>> {
    let mut out = Vec::new();
    while let Ok(buffer) = NetlinkBuffer::new_checked(bytes) {
        let length = usize::try_from(buffer.length()).unwrap_or(usize::MAX);
        let Some(payload) = bytes.get(HEADER..length) else {
            break;
        };
        out.push(Incoming {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            port: buffer.port_number(),
            payload,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

/// The attributes in these bytes, up to the first that cannot be read.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

/// One request, its payload in bytes.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Its type
    pub kind: u16,
    /// What stands behind netlink's header
    pub payload: Vec<u8>,
}

/// Opens a socket to one part of the kernel; it closes with the program.
pub(super) fn open(protocol: rustix::net::Protocol, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | flags,
        Some(protocol),
    )
}

/// Makes room for so many bytes of answers: as many as are asked for where that may be forced, else what the system allows.
pub(super) fn widen(fd: &OwnedFd, room: usize) -> Result<(), Errno> {
    sockopt::set_socket_recv_buffer_size_force(fd, room).or_else(|_| sockopt::set_socket_recv_buffer_size(fd, room))
}

/// A socket to one part of the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens one, to `rustix::net::netlink::SOCK_DIAG` for one.
    pub(super) fn open(protocol: rustix::net::Protocol) -> Result<Netlink, Errno> {
        let fd = open(protocol, SocketFlags::empty())?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(10)))?;
        Ok(Netlink {
            fd,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Asks for a list and shows each of its messages to `take`. What changes meanwhile may be missing.
    pub(super) fn list(&mut self, request: &Request, mut take: impl FnMut(&[u8])) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        put(&mut bytes, (request.kind, NLM_F_DUMP, sequence), &[&request.payload]);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        loop {
            let datagram = match self.receive(RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                datagram => datagram?,
            };
            for message in split(datagram).iter().filter(|message| message.sequence == sequence) {
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return message.errno().map_or(Ok(()), Err),
                    _ => take(message.payload),
                }
            }
        }
    }

    /// Gives the requests one after the other; says which of them were refused and why.
    pub(super) fn each(&mut self, requests: &[Request]) -> Result<Vec<(usize, Errno)>, Errno> {
        let mut refused = Vec::new();
        for (part, requests) in requests.chunks(AT_ONCE).enumerate() {
            let first = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            for request in requests {
                self.sequence = self.sequence.wrapping_add(1);
                put(&mut bytes, (request.kind, 0, self.sequence), &[&request.payload]);
            }
            rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
            for (sequence, errno) in self.refusals()? {
                let at = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if at < requests.len() {
                    refused.push((part * AT_ONCE + at, errno));
                }
            }
        }
        Ok(refused)
    }

    /// What waits to be read: the numbers of the requests that were refused.
    fn refusals(&mut self) -> Result<Vec<(u32, Errno)>, Errno> {
        let mut out = Vec::new();
        loop {
            let datagram = match self.receive(RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return Ok(out),
                Err(Errno::INTR) => continue,
                datagram => datagram?,
            };
            let errors = split(datagram)
                .into_iter()
                .filter(|message| message.kind == NLMSG_ERROR);
            out.extend(errors.filter_map(|message| Some((message.sequence, message.errno()?))));
        }
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<&[u8], Errno> {
        let (_, length) = rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), flags)?;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }
}
