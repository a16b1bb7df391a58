//! The netlink socket: transactions go out, refusals and dumps come back.
//!
//! The kernel works on a transaction while `send` runs and queues all its answers before `send` returns, so
//! reading until the queue is empty gives all of them, and waiting is never needed.

use std::time::{Duration, Instant};

use netlink_packet_core::{Emitable as _, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, ParseableParametrized as _};
use netlink_packet_netfilter::nftables::{ChainAttribute, NfTablesMessage, RuleAttribute, SetAttribute};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, netlink, sockopt};

use super::attributes::{number as number_of, value};
use crate::enforce::Error;
use crate::enforce::netlink::{Incoming, NLMSG_DONE, NLMSG_ERROR, open, put, split, widen};

/// `NFNL_SUBSYS_NFTABLES`, the high byte of every message type.
const SUBSYSTEM: u16 = 10;

/// Types of the messages around a transaction.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// The verb that asks for the number of the ruleset's generation, and the answer's attribute.
const GET_GENERATION: u8 = 16;
const GENERATION_NUMBER: u16 = 1;

/// Netfilter headers: family, version, and a number that is the subsystem around a transaction.
const OF_INET: [u8; 4] = [1, 0, 0, 0];
const OF_ANY: [u8; 4] = [0; 4];
const OF_SUBSYSTEM: [u8; 4] = [0, 0, 0, 10];

/// Bytes of both headers.
const HEADERS: usize = 20;

/// Largest transaction: 100,000 addresses fit, and the kernel copies it in one piece.
pub(super) const LARGEST: usize = 16 << 20;

/// Holds any one datagram: dumps come in pieces of at most 32 KiB, and a refusal carries its message, below 64 KiB.
const DATAGRAM: usize = 256 << 10;

/// One message to the kernel, its attributes already in bytes.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Which verb of nf_tables
    pub kind: u8,
    /// Netlink flags beyond the request flag
    pub flags: u16,
    /// The attributes
    pub body: Vec<u8>,
    /// What it is about, for an error
    pub about: String,
}

impl Message {
    /// A message of the codec's, with these flags.
    pub(super) fn new(message: NfTablesMessage, flags: u16) -> Message {
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        Message {
            kind: message.message_type().into(),
            flags,
            body,
            about: describe(&message),
        }
    }
}

/// One message of a list from the kernel.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    kind: u8,
    family: u8,
    /// When it came
    pub at: Instant,
    /// The attributes
    pub body: Vec<u8>,
}

impl Reply {
    /// The number of its family
    pub(super) fn family(&self) -> u8 {
        self.family
    }

    /// Whether it is of family inet, as our table is.
    pub(super) fn is_inet(&self) -> bool {
        self.family == OF_INET[0]
    }

    /// As the codec understands it.
    pub(super) fn read(&self) -> Option<NfTablesMessage> {
        NfTablesMessage::parse_with_param(&self.body, self.kind).ok()
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
        let fd = open(netlink::NETFILTER, SocketFlags::empty()).map_err(unavailable)?;
        // Without the right to force them the ordinary limits stay, and large transactions are split on refusal.
        sockopt::set_socket_send_buffer_size_force(&fd, LARGEST * 2)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&fd, LARGEST * 2))
            .map_err(unavailable)?;
        widen(&fd, LARGEST * 2).map_err(unavailable)?;
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
        let size: usize = messages.iter().map(|message| message.body.len() + 2 * HEADERS).sum();
        let mut bytes = Vec::with_capacity(size + 2 * HEADERS);
        put(&mut bytes, (BATCH_BEGIN, 0, first), &[&OF_SUBSYSTEM]);
        self.sequence = first;
        for (at, message) in messages.iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let acknowledge = if at + 1 == messages.len() { NLM_F_ACK } else { 0 };
            let head = (message_type(message.kind), message.flags | acknowledge, self.sequence);
            put(&mut bytes, head, &[&OF_INET, &message.body]);
        }
        self.sequence = self.sequence.wrapping_add(1);
        put(&mut bytes, (BATCH_END, 0, self.sequence), &[&OF_SUBSYSTEM]);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty()).map_err(whole)?;
        let refusals = self.verdict(first, messages.len()).map_err(whole)?;
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
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
            for message in split(datagram) {
                let at = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                if message.kind != NLMSG_ERROR || at > length + 1 {
                    continue;
                }
                is_answered = true;
                if let Some(errno) = message.errno() {
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
    pub(super) fn dump(&mut self, request: &Message) -> Result<Vec<Reply>, Errno> {
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

    /// The same of every family, in one attempt.
    pub(super) fn dump_everything(&mut self, request: &Message) -> Result<Vec<Reply>, Errno> {
        self.ask(request, OF_ANY, NLM_F_DUMP)
    }

    fn dump_once(&mut self, request: &Message) -> Result<Vec<Reply>, Errno> {
        self.ask(request, OF_INET, NLM_F_DUMP)
    }

    /// Asks for what the request names one by one; refused with "no such file" where one of it is not there.
    pub(super) fn get(&mut self, request: &Message) -> Result<Vec<Reply>, Errno> {
        self.ask(request, OF_INET, NLM_F_ACK)
    }

    /// The number of transactions that the kernel's whole ruleset has seen.
    pub(super) fn generation(&mut self) -> Result<u32, Errno> {
        let request = Message {
            kind: GET_GENERATION,
            flags: 0,
            body: Vec::new(),
            about: String::new(),
        };
        let replies = self.ask(&request, OF_INET, NLM_F_ACK)?;
        let number = replies.iter().find_map(|reply| value(&reply.body, GENERATION_NUMBER));
        number.map(number_of).ok_or(Errno::PROTO)
    }

    /// The number that messages about our own transactions carry.
    pub(super) fn port(&self) -> Result<u32, Errno> {
        SocketAddrNetlink::try_from(rustix::net::getsockname(&self.fd)?).map(|address| address.pid())
    }

    fn ask(&mut self, request: &Message, family: [u8; 4], how: u16) -> Result<Vec<Reply>, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            (message_type(request.kind), how, sequence),
            &[&family, &request.body],
        );
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())?;
        let mut out = Vec::new();
        let mut is_torn = false;
        loop {
            let datagram = self.receive(RecvFlags::empty())?;
            let at = Instant::now();
            for message in split(datagram)
                .into_iter()
                .filter(|message| message.sequence == sequence)
            {
                is_torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match message.errno() {
                            Some(errno) => Err(errno),
                            None if is_torn => Err(Errno::INTR),
                            None => Ok(out),
                        };
                    }
                    kind => out.push(Reply {
                        kind: u8::try_from(kind & 0xff).unwrap_or_default(),
                        family: message.payload.first().copied().unwrap_or_default(),
                        at,
                        body: message.payload.get(OF_INET.len()..).unwrap_or_default().to_vec(),
                    }),
                }
            }
        }
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<&[u8], Errno> {
        let (_, length) = rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), flags)?;
        Ok(self.buffer.get(..length).unwrap_or_default())
    }
}

const fn message_type(kind: u8) -> u16 {
    SUBSYSTEM << 8 | kind as u16
}

/// The verb of a message, where it is one of nf_tables.
pub(super) fn verb(message: &Incoming<'_>) -> Option<u8> {
    let [high, low] = message.kind.to_be_bytes();
    (u16::from(high) == SUBSYSTEM).then_some(low)
}

/// The family that a message is about, and its attributes.
pub(super) fn body<'b>(message: &Incoming<'b>) -> Option<(u8, &'b [u8])> {
    Some((*message.payload.first()?, message.payload.get(OF_INET.len()..)?))
}

/// What a message was about, for an error.
fn describe(body: &NfTablesMessage) -> String {
    let verb = match body {
        NfTablesMessage::DeleteTable(_)
        | NfTablesMessage::DeleteChain(_)
        | NfTablesMessage::DeleteRule(_)
        | NfTablesMessage::DeleteSet(_)
        | NfTablesMessage::DeleteSetElement(_) => "delete",
        _ => "create",
    };
    let name = match body {
        NfTablesMessage::NewTable(_) | NfTablesMessage::DeleteTable(_) => "the table".to_owned(),
        NfTablesMessage::NewChain(m) | NfTablesMessage::DeleteChain(m) => {
            let name = m.attributes.iter().find_map(|a| match a {
                ChainAttribute::Name(name) => Some(name.as_str()),
                _ => None,
            });
            format!("chain {}", name.unwrap_or_default())
        }
        NfTablesMessage::NewRule(m) | NfTablesMessage::DeleteRule(m) => {
            let name = m.attributes.iter().find_map(|a| match a {
                RuleAttribute::Chain(name) => Some(name.as_str()),
                _ => None,
            });
            format!("a rule of chain {}", name.unwrap_or_default())
        }
        NfTablesMessage::NewSet(m) | NfTablesMessage::DeleteSet(m) => {
            let name = m.attributes.iter().find_map(|a| match a {
                SetAttribute::Name(name) => Some(name.as_str()),
                _ => None,
            });
            format!("set {}", name.unwrap_or_default())
        }
        _ => "elements".to_owned(),
    };
    format!("{verb} {name}")
}
