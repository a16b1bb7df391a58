//! Local sockets, through `NETLINK_SOCK_DIAG`: the kernel's list of them, and `SOCK_DESTROY`.

use std::collections::HashSet;

use netlink_packet_core::{Emitable as _, Parseable as _};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY};
use portcullis_core::address::canonical;
use rustix::io::Errno;
use rustix::net::netlink;

use super::flows::Landing;
use super::victims::Victims;
use crate::enforce::netlink::{Netlink, Request};
use crate::enforce::ports::Protocol;

/// `TCP_NEW_SYN_RECV`: a connection whose handshake is not over; the library stops before it.
const NEW_SYN_RECV: u32 = 1 << 12;

/// The way to the kernel's sockets.
pub(super) struct Sockets(Netlink);

impl Sockets {
    pub(super) fn open() -> Result<Sockets, Errno> {
        Netlink::open(netlink::SOCK_DIAG).map(Sockets)
    }

    /// Orders to destroy what the banned have open by a protocol, and what their flows `landed` in.
    pub(super) fn find(
        &mut self,
        protocol: Protocol,
        victims: &Victims,
        landed: &HashSet<Landing>,
    ) -> Result<Vec<Request>, Errno> {
        let (v4, v6) = victims.families();
        let mut out = Vec::new();
        // A socket of IPv6 may have a client of IPv4.
        for (family, _) in [(AF_INET, v4), (AF_INET6, v4 || v6)]
            .iter()
            .filter(|(_, wanted)| *wanted)
        {
            out.extend(self.find_in(*family, protocol, victims, landed)?);
        }
        Ok(out)
    }

    fn find_in(
        &mut self,
        family: u8,
        protocol: Protocol,
        victims: &Victims,
        landed: &HashSet<Landing>,
    ) -> Result<Vec<Request>, Errno> {
        let request = |kind, states, socket_id| {
            let request = InetRequest {
                family,
                protocol: protocol.number(),
                extensions: ExtensionFlags::empty(),
                states,
                socket_id,
            };
            let mut payload = vec![0; request.buffer_len()];
            request.emit(&mut payload);
            Request { kind, payload }
        };
        let anybody = if family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        };
        let mut out = Vec::new();
        self.0
            .list(&request(SOCK_DIAG_BY_FAMILY, states(protocol), anybody), |payload| {
                let Ok(InetResponseHeader { socket_id, .. }) = InetResponseHeader::parse(payload) else {
                    return;
                };
                let (remote, port) = (canonical(socket_id.destination_address), socket_id.source_port);
                let landing = Landing {
                    protocol: protocol.number(),
                    client: (remote, socket_id.destination_port),
                    port,
                };
                if victims.strike(remote, protocol.number(), port) || landed.contains(&landing) {
                    // Its cookie goes along, so that a later socket with the same addresses is not meant.
                    out.push(request(SOCK_DESTROY, StateFlags::empty(), socket_id));
                }
            })?;
        Ok(out)
    }

    /// Destroys them. A refusal for one that has ended meanwhile is none.
    pub(super) fn destroy(&mut self, orders: &[Request]) -> Result<Vec<Errno>, Errno> {
        super::carry_out(&mut self.0, orders)
    }
}

/// Of TCP all that holds something; of UDP, what is connected.
fn states(protocol: Protocol) -> StateFlags {
    if protocol == Protocol::Udp {
        return StateFlags::ESTABLISHED;
    }
    let nothing = StateFlags::LISTEN | StateFlags::TIME_WAIT | StateFlags::CLOSE;
    (StateFlags::all() - nothing).union(StateFlags::from_bits_retain(NEW_SYN_RECV))
}
