//! Real connections inside the private network: the server's open ports, and clients that dial them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// The server.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Its ports, as mail and shell servers have them.
pub(super) const SMTP: u16 = 25;
pub(super) const IMAP: u16 = 143;
pub(super) const SSH: u16 = 22;

/// A connection over the loopback takes well below a millisecond, so this silence means a drop.
const SILENCE: Duration = Duration::from_millis(250);

/// Opens the server's ports. They close with the process.
pub(super) fn open(ipv6: bool) -> std::io::Result<()> {
    let any = if ipv6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    for port in [SMTP, IMAP, SSH] {
        let listener = TcpListener::bind((any, port))?;
        thread::Builder::new()
            .name(format!("port {port}"))
            .spawn(move || listener.incoming().for_each(drop))?;
    }
    Ok(())
}

/// Dials the server from this address. Says whether it answered; silence is a drop, and anything else (a refusal, an
/// address that cannot be used) is an error, because it proves nothing.
pub(super) fn dial(from: IpAddr, port: u16) -> Result<bool, Errno> {
    let (family, to) = match from {
        IpAddr::V4(_) => (AddressFamily::INET, IpAddr::V4(SERVER)),
        IpAddr::V6(_) => (AddressFamily::INET6, IpAddr::V6(SERVER6)),
    };
    let fd = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match from {
        IpAddr::V4(_) => sockopt::set_ip_freebind(&fd, true)?,
        IpAddr::V6(_) => sockopt::set_ipv6_freebind(&fd, true)?,
    }
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(SILENCE))?;
    rustix::net::bind(&fd, &SocketAddr::new(from, 0))?;
    match rustix::net::connect(&fd, &SocketAddr::new(to, port)) {
        Ok(()) => Ok(true),
        Err(Errno::INPROGRESS | Errno::AGAIN | Errno::TIMEDOUT) => Ok(false),
        Err(error) => Err(error),
    }
}
