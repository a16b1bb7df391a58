//! Real packets: namespaces with cables between them, senders that never pause, and receivers that note when what came.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Between two packets of a sender.
const BETWEEN: Duration = Duration::from_millis(1);

/// What is looked at around a time, and a pause of the sender in which something may have been other.
const AROUND: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(5);

/// A machine: a network namespace and the process that keeps it.
pub(crate) struct Machine {
    keeper: Option<Child>,
    pid: u32,
}

impl Machine {
    /// One of its own.
    pub(crate) fn new() -> Machine {
        let mut keeper = Command::new("unshare")
            .args(["-n", "--", "sh", "-c", "ip link set lo up; echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is in its namespace once it says something.
        let mut word = [0];
        std::io::Read::read_exact(keeper.stdout.as_mut().unwrap(), &mut word).unwrap();
        let pid = keeper.id();
        let keeper = Some(keeper);
        Machine { keeper, pid }
    }

    /// The one that another process keeps.
    pub(crate) fn of(pid: u32) -> Machine {
        Machine { keeper: None, pid }
    }

    /// Runs `ip` and other tools here, a command a line.
    pub(crate) fn run(&self, script: &str) {
        let output = self.command("sh").args(["-ec", script]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {error}");
    }

    /// Lays a cable to another machine, with an address at each end.
    pub(crate) fn connect(&self, (name, address): (&str, &str), other: &Machine, (there, theirs): (&str, &str)) {
        let pid = other.pid;
        self.run(&format!(
            "ip link add {name} type veth peer name {there} netns {pid}\nip addr add {address} dev {name}\nip link set {name} up"
        ));
        other.run(&format!("ip addr add {theirs} dev {there}\nip link set {there} up"));
    }

    /// A command inside this machine's network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid.to_string(), "-n", "--", program]);
        command
    }

    /// Does something in this machine's network.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let entrance = File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        std::thread::scope(|threads| {
            let inside = threads.spawn(move || {
                move_into_link_name_space(entrance.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap()
        })
    }

    fn socket(&self, address: &str) -> UdpSocket {
        let address: SocketAddr = address.parse().unwrap();
        self.within(move || UdpSocket::bind(address)).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
    }
}

/// Packets from one address after the other, again and again, until it is dropped.
pub(crate) struct Stream {
    over: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Stream {
    pub(crate) fn start(from: &Machine, addresses: &[&str], to: &[&str]) -> Stream {
        let sockets: Vec<UdpSocket> = addresses
            .iter()
            .map(|address| from.socket(&format!("{address}:0")))
            .collect();
        let to: Vec<SocketAddr> = to.iter().map(|to| to.parse().unwrap()).collect();
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let sender = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                for socket in &sockets {
                    for to in &to {
                        // A route that is not there yet, or an answer that says so.
                        let _ = socket.send_to(b"knock", to);
                    }
                }
                std::thread::sleep(BETWEEN);
            }
        });
        let sender = Some(sender);
        Stream { over, sender }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}

/// Notes what arrives at a port.
pub(crate) struct Ear {
    over: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<(Instant, SocketAddr)>>>,
    listener: Option<JoinHandle<()>>,
}

impl Ear {
    pub(crate) fn open(at: &Machine, port: u16) -> Ear {
        let socket = at.socket(&format!("0.0.0.0:{port}"));
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (over, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, notes) = (Arc::clone(&over), Arc::clone(&heard));
        let listener = std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while !told.load(Ordering::Relaxed) {
                match socket.recv_from(&mut buffer) {
                    Ok((_, from)) => notes.lock().unwrap().push((Instant::now(), from)),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let listener = Some(listener);
        Ear { over, heard, listener }
    }

    /// When packets of an address came, within a time.
    pub(crate) fn heard(&self, who: &str, from: Instant, until: Instant) -> Vec<Instant> {
        let who: std::net::IpAddr = who.parse().unwrap();
        let heard = self.heard.lock().unwrap();
        let is_meant = |(at, of): &&(Instant, SocketAddr)| of.ip() == who && *at >= from && *at <= until;
        heard.iter().filter(is_meant).map(|(at, _)| *at).collect()
    }

    /// Whether packets of one address came all the while and a little before and after it, as surely as those of another:
    /// each has its turn after the other, not one turn of the first was left out, and no pause hides anything.
    pub(crate) fn heard_throughout(&self, who: &str, other: &str, from: Instant, until: Instant) -> bool {
        let [who, other]: [std::net::IpAddr; 2] = [who, other].map(|ip| ip.parse().unwrap());
        let heard = self.heard.lock().unwrap();
        let is_within = |(at, _): &&(Instant, SocketAddr)| *at >= from - AROUND && *at <= until + AROUND;
        let turns: Vec<_> = heard.iter().filter(is_within).collect();
        let is_missed = |pair: &[&(Instant, SocketAddr)]| {
            pair.iter().all(|(_, of)| of.ip() == other) || pair[1].0 - pair[0].0 > PAUSE
        };
        turns.iter().any(|(_, of)| of.ip() == who) && !turns.windows(2).any(is_missed)
    }

    /// The longest time in which nothing of an address came, within a time.
    pub(crate) fn longest_silence(&self, who: &str, from: Instant, until: Instant) -> Duration {
        let heard = self.heard(who, from, until);
        let ends = heard.iter().copied().chain([until]);
        let starts = [from].into_iter().chain(heard.iter().copied());
        let pauses = starts
            .zip(ends)
            .map(|(start, end)| end.saturating_duration_since(start));
        pauses.max().unwrap_or_default()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}
