//! A flood from banned addresses while the daemon ends, dies, starts and is replaced: not one packet gets in.
//!
//! The flood comes from a namespace of its own over a cable, each packet with another source. What gets in is what a
//! socket behind the filter receives. A neighbour who is not banned sends all the time and must get through, so that
//! silence means the filter and not a broken cable. `FLOOD_BANS` says how many are banned.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket, sockopt};
use rustix::process::{Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::house::{House, PROGRAM, eventually, is_gone};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The first banned address.
const FIRST: u32 = 0x0A40_0000;
const PORT: u16 = 4000;
/// Packets between two short sleeps, so that the daemon, too, gets a turn on a small machine.
const BURST: usize = 64;

/// What was sent and what got in.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    /// How often all banned addresses have sent
    rounds: AtomicU64,
    neighbour_sent: AtomicU64,
    got_in: AtomicU64,
    neighbour_got_in: AtomicU64,
    is_over: AtomicBool,
}

impl Counts {
    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }

    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

/// A server's house and an attacker's namespace, joined by a cable.
struct Siege {
    house: House,
    attacker: Child,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
    bans: u32,
}

impl Siege {
    fn new() -> Siege {
        let bans = std::env::var("FLOOD_BANS").map_or(5_000, |count| count.parse().unwrap());
        let house = House::new(1_000_000);
        let attacker = Command::new("unshare")
            .args(["-n", "--", "sleep", "1000"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let is_there = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        eventually("the attacker has a network", || {
            is_there(attacker.id()).is_some_and(|own| Some(own) != is_there(std::process::id()))
        });
        let siege = Siege {
            house,
            attacker,
            counts: Arc::default(),
            threads: Vec::new(),
            bans,
        };
        siege.cable();
        siege
    }

    fn cable(&self) {
        let attacker = self.attacker.id().to_string();
        let ours = |words: &str| self.house.inside("ip").args(words.split(' ')).status().unwrap();
        let theirs = |words: &str| {
            let mut command = Command::new("nsenter");
            command.args(["-t", &attacker, "-n", "--", "ip"]).args(words.split(' '));
            command.status().unwrap()
        };
        for words in [
            format!("link add s0 type veth peer name a0 netns {attacker}"),
            "link set lo up".to_owned(),
            "link set s0 up".to_owned(),
            format!("address add {SERVER}/24 dev s0"),
        ] {
            assert!(ours(&words).success(), "ip {words}");
        }
        for words in ["link set a0 up", &format!("address add {NEIGHBOUR}/24 dev a0")] {
            assert!(theirs(words).success(), "ip {words}");
        }
        assert!(ours(&format!("route add 10.64.0.0/12 via {NEIGHBOUR}")).success());
    }

    /// The flood, the neighbour and the socket behind the filter.
    fn begin(&mut self) {
        let server = within(self.house.holder(), || UdpSocket::bind((SERVER, PORT)).unwrap());
        sockopt::set_socket_recv_buffer_size_force(&server, 64 << 20).unwrap();
        server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let attacker = self.attacker.id();
        let raw = within(attacker, || {
            socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).unwrap()
        });
        let neighbour = within(attacker, || UdpSocket::bind((NEIGHBOUR, 0)).unwrap());
        let (counts, bans) = (Arc::clone(&self.counts), self.bans);
        self.threads.push(thread::spawn(move || receive(&server, &counts)));
        let counts = Arc::clone(&self.counts);
        self.threads.push(thread::spawn(move || flood(&raw, bans, &counts)));
        let counts = Arc::clone(&self.counts);
        self.threads.push(thread::spawn(move || greet(&neighbour, &counts)));
    }

    /// Waits until every banned address has sent at least twice more.
    fn rounds(&self) {
        let before = Counts::get(&self.counts.rounds);
        eventually("all have sent again", || Counts::get(&self.counts.rounds) >= before + 3);
        // What is under way arrives, and is counted.
        sleep(Duration::from_millis(200));
    }

    /// What of the flood has got in since the last time.
    fn leaked(&self) -> u64 {
        self.counts.got_in.swap(0, Ordering::SeqCst)
    }

    /// Does something to the daemon under the flood: nothing of it may get in, and the neighbour must.
    fn under(&mut self, what: &str, deed: impl FnOnce(&mut House)) {
        let look = |counts: &Counts| [&counts.sent, &counts.neighbour_sent, &counts.neighbour_got_in].map(Counts::get);
        let (before, began) = (look(&self.counts), Instant::now());
        deed(&mut self.house);
        let took = began.elapsed();
        self.rounds();
        let after = look(&self.counts);
        let [sent, calls, heard] = [0, 1, 2].map(|at: usize| after[at] - before[at]);
        let leaked = self.leaked();
        println!(
            "{what}: {:.2} s; {leaked} of {sent} packets from {} banned addresses got in; of a neighbour {heard} of {calls}",
            took.as_secs_f64(),
            self.bans
        );
        assert_eq!(leaked, 0, "{what}");
        assert!(heard > 0 && heard * 10 >= calls * 9, "{what}: {heard} of {calls}");
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        self.counts.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = self.attacker.kill();
        let _ = self.attacker.wait();
    }
}

/// Makes something in the network of a process; sockets made there stay there.
fn within<T: Send>(pid: u32, make: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            let entrance = File::open(format!("/proc/{pid}/ns/net")).unwrap();
            move_into_link_name_space(entrance.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            make()
        });
        made.join().unwrap()
    })
}

/// One packet after another, each from the next banned address: their IP header is our own.
fn flood(raw: &OwnedFd, bans: u32, counts: &Counts) {
    let to = SocketAddrV4::new(SERVER, 0);
    let mut packet = [0_u8; 36];
    packet[0] = 0x45;
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[16..20].copy_from_slice(&SERVER.octets());
    packet[20..22].copy_from_slice(&4001_u16.to_be_bytes());
    packet[22..24].copy_from_slice(&PORT.to_be_bytes());
    packet[24..26].copy_from_slice(&16_u16.to_be_bytes());
    for (at, number) in (0..bans).cycle().enumerate() {
        packet[12..16].copy_from_slice(&(FIRST + number).to_be_bytes());
        if sendto(raw, &packet, SendFlags::empty(), &to).is_ok() {
            Counts::add(&counts.sent);
        }
        if number + 1 == bans {
            Counts::add(&counts.rounds);
        }
        if at % BURST == 0 {
            if counts.is_over.load(Ordering::SeqCst) {
                return;
            }
            sleep(Duration::from_micros(500));
        }
    }
}

/// Somebody who is not banned says a word every few milliseconds.
fn greet(neighbour: &UdpSocket, counts: &Counts) {
    while !counts.is_over.load(Ordering::SeqCst) {
        if neighbour.send_to(b"good day", (SERVER, PORT)).is_ok() {
            Counts::add(&counts.neighbour_sent);
        }
        sleep(Duration::from_millis(3));
    }
}

fn receive(server: &UdpSocket, counts: &Counts) {
    let mut room = [0; 64];
    while !counts.is_over.load(Ordering::SeqCst) {
        match server.recv_from(&mut room) {
            Ok((_, from)) if from.ip() == NEIGHBOUR => Counts::add(&counts.neighbour_got_in),
            Ok(_) => Counts::add(&counts.got_in),
            Err(_) => {}
        }
    }
}

/// The list of the banned, one a line.
fn list(bans: u32) -> String {
    (0..bans)
        .map(|number| format!("{}\n", Ipv4Addr::from(FIRST + number)))
        .collect()
}

/// The same program at another path, as an upgrade puts it there.
fn upgrade(house: &mut House) {
    assert_eq!(house.terminate(), Some(0));
    let other = house.path("portcullis-new");
    std::fs::copy(PROGRAM, &other).unwrap();
    house.through = ["sh", "-c", &format!("shift; exec {} \"$@\"", other.display()), "sh"]
        .map(str::to_owned)
        .into();
    house.start();
    let daemon = house.daemon().as_raw_nonzero();
    assert_eq!(std::fs::read_link(format!("/proc/{daemon}/exe")).unwrap(), other);
    house.through.clear();
}

#[test]
fn no_packet_of_a_banned_address_gets_in() {
    let mut siege = Siege::new();
    siege.house.start();
    siege.begin();
    siege.rounds();
    assert!(siege.leaked() > 0, "nobody is banned yet, and all can send");
    siege.house.write("banned", list(siege.bans));
    let began = Instant::now();
    let banned = siege.house.path("banned").display().to_string();
    let answer = siege.house.json(&["ban", "--file", &banned, "--for", "1d"]);
    assert_eq!(answer["count"], siege.bans, "{answer}");
    eventually("the flood has stopped", || {
        siege.leaked();
        siege.rounds();
        siege.leaked() == 0
    });
    println!(
        "{} bans, and no packet {:.2} s later",
        siege.bans,
        began.elapsed().as_secs_f64()
    );
    siege.under("nothing happens", |_| {});
    siege.under("SIGTERM and a start", |house| {
        assert_eq!(house.terminate(), Some(0));
        house.start();
    });
    siege.under("kill -9 of the daemon", |house| {
        let (first, starts) = (house.daemon(), house.said("Server ready").len());
        kill_process(first, Signal::KILL).unwrap();
        eventually("another daemon is there", || {
            is_gone(first) && house.said("Server ready").len() > starts
        });
    });
    siege.under("kill -9 of both and a start", |house| {
        house.kill();
        house.start();
    });
    siege.under("reload", |house| drop(house.json(&["reload"])));
    siege.under("another program in its place", upgrade);
    assert_eq!(siege.house.banned().len(), usize::try_from(siege.bans).unwrap());
    siege.house.json(&["unban", "--all"]);
    eventually("the flood is back", || siege.leaked() > 0);
    siege.rounds();
    let (before, rounds) = (siege.leaked(), Counts::get(&siege.counts.rounds));
    siege.rounds();
    let back = siege.leaked();
    println!(
        "after unban --all: {before}, then {back} packets in {} rounds",
        Counts::get(&siege.counts.rounds) - rounds
    );
    assert!(back >= u64::from(siege.bans), "everybody is free: {back}");
}
