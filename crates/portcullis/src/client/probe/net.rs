//! The probe's network: one address in a network of its own, joined to the machine by a pair of links, and on the
//! machine's end somebody who echoes.
//!
//! The machine gets no more than a link with one address and a route to one other. Both go with the namespace, which
//! goes with the process, whatever ends that; in the ordinary course they are taken away before.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::thread::UnshareFlags;

use crate::namespace;

/// On a pair of links an answer takes well below a millisecond, so this silence means a drop.
pub(super) const SILENCE: Duration = Duration::from_millis(300);
/// Places that are tried.
const MOST_PLACES: u32 = 512;
/// Pairs of addresses in 198.18.0.0/15.
const PLACES: u32 = 1 << 16;
/// From one place that is tried to the next; a prime number, so that none comes twice and both halves come soon.
const STRIDE: u32 = 32_771;
/// What the links' names begin with; the process id follows.
const PREFIX: &str = "pcp";

/// Whether an address is of the network that probes take theirs from: 198.18.0.0/15, kept for measurements (RFC 2544).
pub(crate) fn is_ours(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 198 && matches!(second, 18 | 19)
}

/// The network, with the two ends of the wire in it.
pub(super) struct Net {
    /// The address that is banned
    pub(super) ip: Ipv4Addr,
    /// Who echoes
    server: SocketAddr,
    link: Option<u32>,
    inside: Inside,
}

impl Net {
    /// Puts it together.
    pub(super) fn build() -> Result<Net, String> {
        remove_leftovers();
        let (host, ip) = place(std::process::id(), &taken()).ok_or("198.18.0.0/15 is in use on this machine")?;
        let refused = |error: Errno| format!("this system allows no network for a probe ({error})");
        let (inside, network) = Inside::enter().map_err(refused)?;
        let name = |end: char| format!("{PREFIX}{}{end}", std::process::id());
        namespace::pair(&name('h'), &name('n'), network.as_fd()).map_err(refused)?;
        let mut net = Net {
            ip,
            server: SocketAddr::new(IpAddr::V4(host), 0),
            link: None,
            inside,
        };
        let link = namespace::index(&name('h')).map_err(refused)?;
        net.link = Some(link);
        let peer = name('n');
        net.inside.call(move || furnish(&peer, ip, host)).map_err(refused)?;
        let own = || {
            namespace::address(link, IpAddr::V4(host))?;
            namespace::up(link)?;
            namespace::reach(IpAddr::V4(ip), link)
        };
        own().map_err(refused)?;
        net.server = echo(host).map_err(|error| format!("nobody can listen on {host}: {error}"))?;
        Ok(net)
    }

    /// Dials and waits for an echo; the connection, if there was one.
    pub(super) fn dial(&self) -> std::io::Result<Option<TcpStream>> {
        let server = self.server;
        self.inside.call(move || {
            let stream = match TcpStream::connect_timeout(&server, SILENCE) {
                Ok(stream) => stream,
                Err(error) => return silence(error),
            };
            stream.set_nodelay(true)?;
            // Closed with nothing left to send, whoever closes it: a goodbye that the ban drops would be sent again for
            // a minute, and keep the namespace that long.
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            Ok(hears(&stream, SILENCE)?.then_some(stream))
        })
    }

    /// Sends a datagram; whether it came back.
    pub(super) fn datagram(&self) -> std::io::Result<bool> {
        let server = self.server;
        self.inside.call(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(SILENCE))?;
            socket.send(b"?")?;
            match socket.recv(&mut [0; 8]) {
                Ok(_) => Ok(true),
                Err(error) => silence(error).map(|answer| answer.unwrap_or(false)),
            }
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            // Where this fails it goes with the namespace.
            let _ = namespace::delete(link);
        }
    }
}

/// Says something on a connection; whether it comes back in this time. Of what was said before and not answered the
/// echo counts as well.
pub(super) fn hears(mut stream: &TcpStream, patience: Duration) -> std::io::Result<bool> {
    stream.write_all(b"?")?;
    listens(stream, patience)
}

/// Whether something comes back in this time.
pub(super) fn listens(mut stream: &TcpStream, patience: Duration) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(patience))?;
    match stream.read(&mut [0; 8]) {
        Ok(count) => Ok(count > 0),
        Err(error) => silence(error).map(|answer| answer.unwrap_or(false)),
    }
}

/// No answer is one; another error is none.
fn silence<T>(error: std::io::Error) -> std::io::Result<Option<T>> {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(None),
        _ => Err(error),
    }
}

/// The thread in the namespace: what it is given is done there.
struct Inside(Sender<Box<dyn FnOnce() + Send>>);

impl Inside {
    /// Starts it; the file stands for its network.
    fn enter() -> Result<(Inside, File), Errno> {
        let (jobs, inbox) = channel::<Box<dyn FnOnce() + Send>>();
        let (ready, entered) = channel();
        let spawned = thread::Builder::new().name("probe".into()).spawn(move || {
            let network = namespace::unshare(UnshareFlags::NEWNET).and_then(|()| {
                let file = File::open("/proc/thread-self/ns/net");
                file.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            });
            let _ = ready.send(network);
            inbox.iter().for_each(|job| job());
        });
        spawned.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        let network = entered.recv().unwrap_or(Err(Errno::IO))?;
        Ok((Inside(jobs), network))
    }

    fn call<T, E>(&self, job: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Errno> + Send + 'static,
    {
        let (told, answer) = channel();
        let job = move || {
            let _ = told.send(job());
        };
        // The thread lives as long as this does.
        if self.0.send(Box::new(job)).is_err() {
            return Err(Errno::IO.into());
        }
        answer.recv().unwrap_or_else(|_| Err(Errno::IO.into()))
    }
}

/// Inside: the address, and the way to the machine's end.
fn furnish(link: &str, ip: Ipv4Addr, host: Ipv4Addr) -> Result<(), Errno> {
    let link = namespace::index(link)?;
    namespace::address(link, IpAddr::V4(ip))?;
    namespace::up(link)?;
    namespace::reach(IpAddr::V4(host), link)
}

/// Echoes what comes by TCP and by UDP, on one port, until the process ends.
fn echo(host: Ipv4Addr) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((host, 0))?;
    let server = listener.local_addr()?;
    let socket = UdpSocket::bind(server)?;
    let start = |what: &str, work: Box<dyn FnOnce() + Send>| thread::Builder::new().name(what.into()).spawn(work);
    start(
        "echo udp",
        Box::new(move || {
            let mut text = [0; 64];
            while let Ok((count, from)) = socket.recv_from(&mut text) {
                let _ = socket.send_to(text.get(..count).unwrap_or_default(), from);
            }
        }),
    )?;
    start(
        "echo tcp",
        Box::new(move || {
            for stream in listener.incoming().flatten() {
                let _ = thread::Builder::new().spawn(move || answer(&stream));
            }
        }),
    )?;
    Ok(server)
}

fn answer(mut stream: &TcpStream) {
    let mut text = [0; 64];
    let _ = stream.set_nodelay(true);
    while let Ok(count @ 1..) = stream.read(&mut text) {
        if stream.write_all(text.get(..count).unwrap_or_default()).is_err() {
            return;
        }
    }
}

/// Networks that this machine has, or has a route to, the default route left out: address and mask.
fn taken() -> Vec<(u32, u32)> {
    let list = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let own = if_addrs::get_if_addrs().unwrap_or_default();
    let own = own.into_iter().filter_map(|interface| match interface.ip() {
        IpAddr::V4(ip) => Some((u32::from(ip), u32::MAX)),
        IpAddr::V6(_) => None,
    });
    routes(&list).into_iter().chain(own).collect()
}

/// The networks in the text of `/proc/net/route`: hexadecimal, in the byte order of the machine.
fn routes(text: &str) -> Vec<(u32, u32)> {
    let network = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
        let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?;
        (mask != 0).then_some((u32::from_be(address), u32::from_be(mask)))
    };
    text.lines().skip(1).filter_map(network).collect()
}

/// A pair of addresses that nobody uses: the machine's end, and the one to be banned. Another process tries another one
/// first.
fn place(pid: u32, taken: &[(u32, u32)]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    let places = (0..MOST_PLACES).map(|try_number| {
        let place = pid.wrapping_add(try_number.wrapping_mul(STRIDE)) % PLACES;
        (base + 2 * place, base + 2 * place + 1)
    });
    let is_free = |ip: u32| taken.iter().all(|(network, mask)| ip & mask != network & mask);
    let mut free = places.filter(|(host, ip)| is_free(*host) && is_free(*ip));
    free.next().map(|(host, ip)| (host.into(), ip.into()))
}

/// Links of probes that are no more: only where something else kept their namespace.
fn remove_leftovers() {
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let name = &interface.name;
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix('h'));
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = namespace::index(name).and_then(namespace::delete);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_uses() {
        let net = |text: &str, length: u32| (u32::from(text.parse::<Ipv4Addr>().unwrap()), u32::MAX << (32 - length));
        let of = |pid, taken: &[_]| place(pid, taken).map(|(host, ip)| format!("{host} {ip}"));
        assert_eq!(of(3, &[]).as_deref(), Some("198.18.0.6 198.18.0.7"));
        assert_eq!(of(65_539, &[]).as_deref(), Some("198.18.0.6 198.18.0.7"));
        assert_eq!(
            of(3, &[net("198.18.0.0", 16)]).as_deref(),
            Some("198.19.0.12 198.19.0.13"),
            "a tunnel may have one half"
        );
        assert_eq!(of(3, &[net("198.18.0.0", 15)]), None);
        assert!(of(3, &[net("198.18.0.7", 32)]).is_some_and(|found| !found.ends_with("198.18.0.7")));
        assert!(is_ours(Ipv4Addr::new(198, 19, 255, 255)) && !is_ours(Ipv4Addr::new(198, 20, 0, 0)));
    }

    #[test]
    fn routes_of_the_machine() {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let line = |to, mask| {
            format!(
                "eth0\t{}\t{}\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
                hex(to),
                hex([0; 4]),
                hex(mask)
            )
        };
        let text = "Iface\tDestination\n".to_owned() + &line([0; 4], [0; 4]) + &line([198, 18, 0, 0], [255, 254, 0, 0]);
        let found = (u32::from(Ipv4Addr::new(198, 18, 0, 0)), u32::MAX << 17);
        assert_eq!(routes(&text), [found]);
    }
}
