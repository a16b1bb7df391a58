//! `kill_sessions`: what the server's process sees of a ban, and what others do not.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit};

use super::*;

/// A layer with `kill_sessions` for these ports.
fn killing(world: &World, ports: &str, protocol: &str) -> Nft {
    let mut nft = world.at_server(|| Nft::open(TABLE)).unwrap();
    let scope = Scope {
        kill_sessions: true,
        ..scope(ports, protocol, Blocktype::Drop)
    };
    nft.configure(layer("sshd", "nft"), scope);
    tell(&mut nft, "sshd", Order::Start);
    nft
}

/// The thread that ends sessions is born where the ban is made.
fn ban(world: &World, nft: &mut Nft, ids: &[&str]) {
    world.at_server(|| {
        let changes = orders("sshd", ids.iter().map(|id| Order::Ban(hour(id))));
        let answers = nft.apply(NOW, &changes);
        assert!(answers.iter().all(|answer| answer.result == Ok(Standing::Applied)));
    });
}

fn listen(world: &World, address: &str) -> TcpListener {
    world.at_server(|| TcpListener::bind(address).unwrap())
}

/// A connection, the client's end and the server's.
fn connect(world: &World, listener: &TcpListener, from: &str, port: u16) -> (TcpStream, TcpStream) {
    let client = world.dial(from, port).unwrap();
    let (mut server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip().to_canonical(), from.parse::<IpAddr>().unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server.write_all(b"220 ready\r\n").unwrap();
    (client, server)
}

/// Once more after a signal, which ends a read with a time limit.
fn patient(mut read: impl FnMut() -> std::io::Result<usize>) -> Result<usize, ErrorKind> {
    loop {
        match read().map_err(|error| error.kind()) {
            Err(ErrorKind::Interrupted) => {}
            result => return result,
        }
    }
}

/// What the server's process sees of a connection within [`PATIENCE`]: `None` is silence.
fn ending(server: &mut TcpStream) -> Option<ErrorKind> {
    match patient(|| server.read(&mut [0; 16])) {
        Ok(length) => panic!("{length} bytes came"),
        Err(ErrorKind::WouldBlock) => None,
        Err(kind) => Some(kind),
    }
}

fn speaks((client, server): &mut (TcpStream, TcpStream)) -> bool {
    let mut bytes = [0; 4];
    client.write_all(b"NOOP").is_ok() && server.read_exact(&mut bytes).is_ok()
}

#[test]
fn sockets_of_the_banned_end_and_no_others() {
    // Listeners of IPv4, of IPv6, and of both, where clients of IPv4 have mapped addresses.
    for (address, banned, prefix) in [
        ("0.0.0.0:2222", "192.0.2.2", "192.0.2.3"),
        ("[::]:2222", "192.0.2.2", "192.0.2.3"),
        ("[::]:2222", "2001:db8::2", "2001:db8::3"),
    ] {
        let world = World::new();
        let listener = listen(&world, address);
        let elsewhere = listen(&world, &address.replace("2222", "8080"));
        let mut nft = killing(&world, "2222", "tcp");
        let mut theirs = connect(&world, &listener, banned, 2222);
        let mut others = connect(&world, &listener, prefix, 2222);
        let mut another_port = connect(&world, &elsewhere, banned, 8080);
        let begun = Instant::now();
        ban(&world, &mut nft, &[banned]);
        assert_eq!(
            ending(&mut theirs.1),
            Some(ErrorKind::ConnectionAborted),
            "{address} {banned}"
        );
        println!("{address} {banned}: ban to end {:?}", begun.elapsed());
        assert!(speaks(&mut others), "{prefix}");
        assert!(speaks(&mut another_port), "{banned}, port 8080");
    }
}

#[test]
fn without_it_a_session_hangs_and_the_server_waits() {
    let world = World::new();
    let listener = listen(&world, "[::]:2222");
    let mut nft = started(&world);
    let (mut client, mut server) = connect(&world, &listener, "192.0.2.2", 2222);
    ban(&world, &mut nft, &["192.0.2.2"]);
    client.write_all(b"NOOP").unwrap();
    assert_eq!(ending(&mut server), None);
}

#[test]
fn a_network_takes_all_of_its_addresses_along() {
    let world = World::new();
    let listener = listen(&world, "[::]:2222");
    let mut nft = killing(&world, "all", "all");
    let mut within = ["192.0.2.2", "192.0.2.3"].map(|from| connect(&world, &listener, from, 2222));
    let mut beyond = connect(&world, &listener, "192.0.2.130", 2222);
    ban(&world, &mut nft, &["192.0.2.0/25"]);
    for (_, server) in &mut within {
        assert_eq!(ending(server), Some(ErrorKind::ConnectionAborted));
    }
    assert!(speaks(&mut beyond));
}

#[test]
fn connected_udp_ends_too() {
    let world = World::new();
    let socket = |peer: &str| {
        let socket = world.at_server(|| UdpSocket::bind("[::]:2222").unwrap());
        socket.connect(peer).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        move || patient(|| socket.recv(&mut [0; 4])).unwrap_err()
    };
    let mut nft = killing(&world, "2222", "udp");
    let banned = socket("[::ffff:192.0.2.2]:5000");
    ban(&world, &mut nft, &["192.0.2.2"]);
    assert_eq!(banned(), ErrorKind::ConnectionAborted);
    drop(banned);
    let other = socket("[2001:db8::3]:5000");
    ban(&world, &mut nft, &["2001:db8::2"]);
    assert_eq!(other(), ErrorKind::WouldBlock);
}

#[test]
fn a_redirected_port_is_found_behind_its_translation() {
    let world = World::new();
    let listener = listen(&world, "[::]:9999");
    let mut nft = killing(&world, "2222", "tcp");
    world.nft("add table ip nat");
    world.nft("add chain ip nat prerouting { type nat hook prerouting priority dstnat ; }");
    world.nft("add rule ip nat prerouting tcp dport 2222 redirect to :9999");
    let mut theirs = connect(&world, &listener, "192.0.2.2", 2222);
    let mut direct = connect(&world, &listener, "192.0.2.2", 9999);
    ban(&world, &mut nft, &["192.0.2.2"]);
    assert_eq!(ending(&mut theirs.1), Some(ErrorKind::ConnectionAborted));
    assert!(speaks(&mut direct), "the port behind, dialled by itself");
}

#[test]
fn a_ban_that_comes_back_ends_what_got_in_meanwhile() {
    let world = World::new();
    let listener = listen(&world, "[::]:2222");
    let mut nft = killing(&world, "2222", "tcp");
    let mut theirs = connect(&world, &listener, "192.0.2.2", 2222);
    let restored = Ticket {
        restored: true,
        ..hour("192.0.2.2")
    };
    world.at_server(|| tell(&mut nft, "sshd", Order::Ban(restored)));
    assert_eq!(ending(&mut theirs.1), Some(ErrorKind::ConnectionAborted));
}

#[test]
fn who_got_in_while_the_ban_was_gone_is_put_out_by_its_repair() {
    for damage in [
        "delete table inet portcullis",
        "delete element inet portcullis sshd.nft.ip4 { 192.0.2.2 }",
    ] {
        let world = World::new();
        let listener = listen(&world, "[::]:2222");
        let mut nft = killing(&world, "2222", "tcp");
        ban(&world, &mut nft, &["192.0.2.2"]);
        world.nft(damage);
        let mut theirs = connect(&world, &listener, "192.0.2.2", 2222);
        let mut others = connect(&world, &listener, "192.0.2.3", 2222);
        world.at_server(|| nft.mend(NOW)).unwrap().unwrap();
        assert_eq!(ending(&mut theirs.1), Some(ErrorKind::ConnectionAborted), "{damage}");
        assert!(speaks(&mut others));
    }
}

#[test]
fn who_is_freed_in_the_same_breath_keeps_the_session() {
    let world = World::new();
    let listener = listen(&world, "[::]:2222");
    let mut nft = killing(&world, "2222", "tcp");
    let mut theirs = connect(&world, &listener, "192.0.2.2", 2222);
    world.at_server(|| {
        let orders = orders("sshd", [Order::Ban(hour("192.0.2.2")), Order::Unban(hour("192.0.2.2"))]);
        nft.apply(NOW, &orders);
    });
    assert!(speaks(&mut theirs));
}

const EACH: usize = 200;

/// Sessions of the addresses 198.51.100.1 to 20, [`EACH`] of each; both of their ends are sockets of the server.
fn crowd(world: &World, listener: &TcpListener) -> Vec<(u8, TcpStream, TcpStream)> {
    let limit = Rlimit {
        current: Some(15_000),
        maximum: rustix::process::getrlimit(Resource::Nofile).maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    world.ip("link set lo up");
    world.ip("route add local 198.51.100.0/24 dev lo");
    let dial = |host| {
        let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&client, &SocketAddr::from(([198, 51, 100, host], 0))).unwrap();
        rustix::net::connect(&client, &SocketAddr::from(([192, 0, 2, 1], 2222))).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        (host, client.into(), server)
    };
    world.at_server(|| (1..=20).flat_map(|host| [host; EACH]).map(dial).collect())
}

/// Ten addresses of twenty that have many sessions are among two thousand that are banned.
#[test]
fn many_bans_among_many_sockets_cost_one_list() {
    let world = World::new();
    let listener = listen(&world, "[::]:2222");
    let mut nft = killing(&world, "2222", "tcp");
    let sessions = crowd(&world, &listener);
    let ids: Vec<String> = (1..=10)
        .map(|host| format!("198.51.100.{host}"))
        .chain((0..1990).map(|n| format!("203.0.{}.{}", n / 250, n % 250)))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let begun = Instant::now();
    ban(&world, &mut nft, &ids);
    let banned = begun.elapsed();
    let (theirs, mut others): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|(host, ..)| *host <= 10);
    for (_, _, mut server) in theirs {
        assert_eq!(ending(&mut server), Some(ErrorKind::ConnectionAborted));
    }
    let ended = begun.elapsed();
    println!(
        "2000 bans in {banned:?}; {} of {} sockets ended after {ended:?}",
        10 * EACH,
        40 * EACH
    );
    for (host, client, server) in others.iter_mut().step_by(EACH / 2) {
        let mut bytes = [0; 4];
        assert!(
            client.write_all(b"NOOP").is_ok() && server.read_exact(&mut bytes).is_ok(),
            "{host}"
        );
    }
    // One after the other, with the list as long as before.
    let begun = Instant::now();
    for n in 0..200 {
        ban(&world, &mut nft, &[&format!("203.0.113.{n}")]);
    }
    let singles = begun.elapsed();
    let (_, _client, mut server) = others.pop().unwrap();
    ban(&world, &mut nft, &["198.51.100.20"]);
    assert_eq!(ending(&mut server), Some(ErrorKind::ConnectionAborted));
    println!(
        "200 bans one by one in {singles:?}, then one more and its sessions ended {:?}",
        begun.elapsed() - singles
    );
}
