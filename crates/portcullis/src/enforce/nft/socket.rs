//! The netlink socket: transactions go out, refusals and dumps come back.
//!
//! The kernel works on a transaction while `send` runs and queues all its answers before `send` returns, so
//! reading until the queue is empty gives all of them, and waiting is never needed.

use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use crate::enforce::Error;

/// `NFNL_SUBSYS_NFTABLES`, the high byte of every message type.
const SUBSYSTEM: u16 = 10;

/// Largest transaction: 100,000 addresses fit, and the kernel copies it in one piece.
pub(super) const LARGEST: usize = 16 << 20;

/// Holds any one datagram: dumps come in pieces of at most 32 KiB, and a refusal carries its message, below 64 KiB.
const DATAGRAM: usize = 256 << 10;

/// One message of a transaction.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// What is said
    pub body: NfTablesMessage,
    /// A message type that the codec has no name for, in place of the body's own
    pub kind: Option<u8>,
    /// Netlink flags beyond the request flag
    pub flags: u16,
}

impl Message {
    /// A message with these flags.
    pub(super) fn new(body: NfTablesMessage, flags: u16) -> Message {
        Message {
            body,
            kind: None,
            flags,
        }
    }
}

/// One message that the kernel did not take, or the transaction as a whole (`at` is `None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Which message of the transaction
    pub at: Option<usize>,
    /// Why
    pub errno: Errno,
}

/// A socket to the kernel's nf_tables.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one; refuses where it could not be used.
    pub(super) fn open() -> Result<Socket, Error> {
        let unavailable = |errno: Errno| {
            Error::Unavailable(match errno {
                Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => {
                    "this kernel has no netfilter netlink: nothing can be banned with nftables".to_owned()
                }
                errno => format!("cannot open a netfilter netlink socket: {errno}"),
            })
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )
        .map_err(unavailable)?;
        // Without the right to force them the ordinary limits stay, and large transactions are split on refusal.
        sockopt::set_socket_send_buffer_size_force(&fd, LARGEST * 2)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&fd, LARGEST * 2))
            .map_err(unavailable)?;
        sockopt::set_socket_recv_buffer_size_force(&fd, LARGEST * 2)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&fd, LARGEST * 2))
            .map_err(unavailable)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(10))).map_err(unavailable)?;
        Ok(Socket {
            fd,
            sequence: 0,
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Sends the messages as one transaction: all of them become true, or none.
    pub(super) fn transact(&mut self, messages: &[Message]) -> Result<(), Vec<Refusal>> {
        let whole = |errno| vec![Refusal { at: None, errno }];
        let first = self.sequence.wrapping_add(1);
        self.sequence = first
            .wrapping_add(u32::try_from(messages.len()).unwrap_or(u32::MAX))
            .wrapping_add(1);
        let mut bytes = Vec::new();
        put(&mut bytes, control(ControlMessage::BatchBegin), 0, first);
        for (n, message) in (1..).zip(messages) {
            let is_last = usize::try_from(n).is_ok_and(|n| n == messages.len());
            let acknowledge = if is_last { NLM_F_ACK } else { 0 };
            let at = bytes.len();
            put(
                &mut bytes,
                inner(message.body.clone()),
                message.flags | acknowledge,
                first.wrapping_add(n),
            );
            if let (Some(kind), Some(place)) = (message.kind, bytes.get_mut(at + 4..at + 6)) {
                place.copy_from_slice(&(SUBSYSTEM << 8 | u16::from(kind)).to_ne_bytes());
            }
        }
        put(&mut bytes, control(ControlMessage::BatchEnd), 0, self.sequence);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty()).map_err(whole)?;
        self.verdict(first, messages.len()).map_or_else(
            |errno| Err(whole(errno)),
            |refusals| {
                if refusals.is_empty() { Ok(()) } else { Err(refusals) }
            },
        )
    }

    /// Reads all answers to a transaction that began with this sequence number.
    fn verdict(&mut self, first: u32, length: usize) -> Result<Vec<Refusal>, Errno> {
        let mut refusals = Vec::new();
        let mut is_answered = false;
        loop {
            let datagram = match self.receive(RecvFlags::DONTWAIT) {
                Ok(datagram) => datagram,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                // Too many refusals to queue: the transaction has failed, and for which messages is lost.
                Err(Errno::NOBUFS) => {
                    refusals.push(Refusal {
                        at: None,
                        errno: Errno::NOBUFS,
                    });
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            for (header, payload) in split(datagram) {
                let NetlinkPayload::Error(error) = payload else {
                    continue;
                };
                let at = usize::try_from(header.sequence_number.wrapping_sub(first)).unwrap_or(usize::MAX);
                if at > length + 1 {
                    continue;
                }
                is_answered = true;
                if let Some(code) = error.code {
                    let errno = Errno::from_raw_os_error(code.get().saturating_abs());
                    refusals.push(Refusal {
                        at: at.checked_sub(1).filter(|at| *at < length),
                        errno,
                    });
                }
            }
        }
        if is_answered || !refusals.is_empty() || length == 0 {
            Ok(refusals)
        } else {
            Err(Errno::PROTO)
        }
    }

    /// Asks for a list and reads it to its end. What does not exist is an empty list.
    pub(super) fn dump(&mut self, request: &NfTablesMessage) -> Result<Vec<NfTablesMessage>, Errno> {
        // The kernel says EINTR where the list changed while it was read; three attempts are plenty.
        let mut attempts = 3;
        loop {
            attempts -= 1;
            match self.dump_once(request) {
                Err(Errno::NOENT) => return Ok(Vec::new()),
                Err(Errno::INTR) if attempts > 0 => {}
                result => return result,
            }
        }
    }

    fn dump_once(&mut self, request: &NfTablesMessage) -> Result<Vec<NfTablesMessage>, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        put(&mut bytes, inner(request.clone()), NLM_F_DUMP, sequence);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        let mut out = Vec::new();
        let mut is_torn = false;
        loop {
            for (header, payload) in split(self.receive(RecvFlags::empty())?) {
                if header.sequence_number != sequence {
                    continue;
                }
                is_torn |= header.flags & netlink_packet_core::NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::Done(_) if is_torn => return Err(Errno::INTR),
                    NetlinkPayload::Done(_) => return Ok(out),
                    NetlinkPayload::Error(error) => {
                        let code = error.code.map_or(0, |code| code.get().saturating_abs());
                        return if code == 0 {
                            Ok(out)
                        } else {
                            Err(Errno::from_raw_os_error(code))
                        };
                    }
                    NetlinkPayload::InnerMessage(message) => {
                        if let NetfilterMessageInner::NfTables(message) = message.inner {
                            out.push(message);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<&[u8], Errno> {
        let (_, length) = rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), flags)?;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }
}

fn control(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM),
        message,
    )
}

fn inner(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// Appends one message.
fn put(bytes: &mut Vec<u8>, message: NetfilterMessage, flags: u16, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    if let Some(place) = bytes.get_mut(start..) {
        message.serialize(place);
    }
}

/// The messages of one datagram; ends at the first that cannot be read.
fn split(mut bytes: &[u8]) -> Vec<(NetlinkHeader, NetlinkPayload<NetfilterMessage>)> {
    let mut out = Vec::new();
    while let Ok(length) = NetlinkBuffer::new_checked(bytes).map(|buffer| buffer.length() as usize) {
        match bytes.get(..length).map(NetlinkMessage::deserialize) {
            Some(Ok(message)) => out.push(message.into_parts()),
            _ => break,
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}
