//! Two network namespaces joined by a cable: a server with the layer under test, and clients that dial it.
//!
//! Nothing here touches the machine's own ruleset. The namespaces carry the process's number in their names and
//! go when the test ends, however it ends. They need root; without it the tests fail and say so.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Long enough for a veth and a shared machine; a dropped packet costs one wait.
pub(super) const PATIENCE: Duration = Duration::from_millis(700);

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(super) struct World {
    pub(super) server: String,
    client: String,
    is_over: Arc<AtomicBool>,
}

impl World {
    pub(super) fn new() -> World {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}-{number}", std::process::id());
        let world = World {
            server: format!("pcs-s-{tag}"),
            client: format!("pcs-c-{tag}"),
            is_over: Arc::default(),
        };
        let (s, c) = (&world.server, &world.client);
        for line in [
            format!("netns add {s}"),
            format!("netns add {c}"),
            format!("-n {s} link add s0 type veth peer name c0 netns {c}"),
            format!("-n {s} link set lo up"),
            format!("-n {s} link set s0 up"),
            format!("-n {c} link set c0 up"),
            format!("-n {s} address add 192.0.2.1/24 dev s0"),
            format!("-n {s} address add 2001:db8::1/64 dev s0 nodad"),
            format!("-n {c} address add 192.0.2.2/24 dev c0"),
            format!("-n {c} address add 192.0.2.3/24 dev c0"),
            format!("-n {c} address add 192.0.2.130/24 dev c0"),
            format!("-n {c} address add 2001:db8::2/64 dev c0 nodad"),
            format!("-n {c} address add 2001:db8::3/64 dev c0 nodad"),
            format!("-n {c} address add 2001:db8:0:1::9/64 dev c0 nodad"),
            format!("-n {s} route add 2001:db8:0:1::/64 dev s0"),
        ] {
            run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        world
    }

    /// Runs `work` inside the server's namespace; sockets made there stay there.
    pub(super) fn at_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.server, work)
    }

    /// What nft prints, in the server's namespace.
    pub(super) fn nft(&self, line: &str) -> String {
        let mut words = vec!["netns", "exec", self.server.as_str(), "nft"];
        words.extend(line.split(' '));
        run("ip", &words)
    }

    /// Runs `ip` on the server.
    pub(super) fn ip(&self, line: &str) -> String {
        let mut words = vec!["-n", self.server.as_str()];
        words.extend(line.split(' '));
        run("ip", &words)
    }

    /// Listens on a port of the server and sends back what comes.
    pub(super) fn echo(&self, port: u16) {
        let listener = self.at_server(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let is_over = Arc::clone(&self.is_over);
        std::thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    open.push(stream);
                }
                for stream in &mut open {
                    let mut bytes = [0; 16];
                    if let Ok(length @ 1..) = stream.read(&mut bytes) {
                        drop(stream.write_all(&bytes[..length]));
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
    }

    /// Dials the server from this address.
    pub(super) fn dial(&self, from: &str, port: u16) -> rustix::io::Result<TcpStream> {
        self.dial_for(PATIENCE, from, port)
    }

    /// Dials the server from this address, and waits that long for an answer.
    pub(super) fn dial_for(&self, patience: Duration, from: &str, port: u16) -> rustix::io::Result<TcpStream> {
        let from: IpAddr = from.parse().unwrap();
        let (family, to): (_, IpAddr) = if from.is_ipv4() {
            (AddressFamily::INET, "192.0.2.1".parse().unwrap())
        } else {
            (AddressFamily::INET6, "2001:db8::1".parse().unwrap())
        };
        within(&self.client, || {
            let fd = rustix::net::socket(family, SocketType::STREAM, None)?;
            sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(patience))?;
            sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(PATIENCE))?;
            rustix::net::bind(&fd, &SocketAddr::new(from, 0))?;
            rustix::net::connect(&fd, &SocketAddr::new(to, port))?;
            Ok(TcpStream::from(fd))
        })
    }

    /// Whether a new connection from this address gets an answer.
    pub(super) fn reaches(&self, from: &str, port: u16) -> bool {
        self.dial(from, port).is_ok_and(|mut stream| is_alive(&mut stream))
    }
}

/// Whether what is sent comes back.
pub(super) fn is_alive(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut bytes).is_ok()
}

impl Drop for World {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for name in [&self.client, &self.server] {
            drop(Command::new("ip").args(["netns", "delete", name]).status());
        }
    }
}

pub(super) fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/var/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "`{program} {}` failed: {complaint}(these tests make network namespaces: they need root, ip and nft)",
        words.join(" "),
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
