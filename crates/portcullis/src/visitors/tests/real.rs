//! A real sshd, in a network of its own, with clients that have logged in and many that have not.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::UnshareFlags;

use super::*;
use crate::namespace::unshare;

const PATIENCE: Duration = Duration::from_secs(20);
const SERVER: &str = "192.0.2.1";
/// A user of every Debian, other than root; nobody runs anything as it.
const USER: &str = "games";

/// sshd and its clients, in the network of the thread that made it; ended on drop.
struct Bench {
    folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Bench {
    fn new() -> Bench {
        for program in ["/usr/sbin/sshd", "/usr/bin/ssh"] {
            let is_there = Path::new(program).exists();
            assert!(
                is_there,
                "{program} is missing: apt-get install openssh-server openssh-client"
            );
        }
        unshare(UnshareFlags::NEWNET).expect("a network of its own needs root");
        run("ip link set lo up");
        for last in [9, 10, 11, 12, 13] {
            run(&format!("ip address add 198.51.100.{last}/32 dev lo"));
        }
        run(&format!("ip address add {SERVER}/32 dev lo"));
        run("ip address add 2001:db8::9/128 dev lo");
        run("ip address add 2001:db8::1/128 dev lo");
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench {
            folder,
            children: Vec::new(),
        };
        // The user's own sshd reads the keys.
        fs::set_permissions(bench.folder.path(), Permissions::from_mode(0o755)).unwrap();
        for key in ["host", "id"] {
            run(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", bench.path(key)));
        }
        bench
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// sshd as Debian runs it, but for PAM, which would write into the machine's own books.
    fn serve(&mut self) {
        let configuration = format!(
            "Port 22\nListenAddress {SERVER}\nListenAddress 2001:db8::1\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPidFile none\nMaxStartups 100\nGatewayPorts yes\nPermitRootLogin yes\n",
            self.path("host"),
            self.path("id.pub"),
        );
        fs::write(self.path("conf"), configuration).unwrap();
        // A folder of sshd's own is needed in /run; the machine's stays as it is.
        let script = "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, &self.path("conf")]);
        self.start(command);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((SERVER, 22)).is_err() {
            assert!(Instant::now() < until, "sshd does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client that logs in.
    fn log_in(&mut self, from: &str, user: &str, words: &[&str]) {
        let server = if from.contains(':') { "2001:db8::1" } else { SERVER };
        let mut command = Command::new("ssh");
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-F", "none", "-i", &self.path("id"), "-b", from]);
        command.arg(format!("{user}@{server}")).args(words);
        self.start(command);
    }

    fn start(&mut self, mut command: Command) {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(quiet.spawn().unwrap());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The clients end before the server; each of its processes ends with its connection.
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

fn clients() -> Vec<String> {
    visitors().iter().map(IpNet::to_string).collect()
}

/// Asks until the answer is this one.
fn expect(clients_of: &[&str]) {
    let until = Instant::now() + PATIENCE;
    while clients() != clients_of {
        assert!(Instant::now() < until, "{:?}, and not {clients_of:?}", clients());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Connections of somebody who does not log in: half of them say nothing, half of them say who they are.
fn attack(from: &str, times: usize) -> Vec<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let each = (0..times).map(|at| {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        connect(&socket, &SocketAddr::new(SERVER.parse().unwrap(), 22)).unwrap();
        let mut stream = TcpStream::from(socket);
        let mut greeting = [0; 8];
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_exact(&mut greeting).unwrap();
        if at % 2 == 0 {
            stream.write_all(b"SSH-2.0-x\r\n").unwrap();
        }
        stream
    });
    each.collect()
}

#[test]
fn fifty_connections_before_the_login_spare_nobody() {
    thread::spawn(|| {
        let mut bench = Bench::new();
        bench.serve();
        expect(&[]);
        let attackers = attack("198.51.100.13", 50);
        thread::sleep(Duration::from_millis(300));
        expect(&[]);
        bench.log_in("198.51.100.9", USER, &["-N", "-R", "8025:192.0.2.1:7025"]);
        expect(&["198.51.100.9/32"]);
        bench.log_in("198.51.100.10", "root", &["-R", "8026:192.0.2.1:7025", "exec sleep 60"]);
        expect(&["198.51.100.9/32", "198.51.100.10/32"]);
        bench.log_in("2001:db8::9", USER, &["-N"]);
        let all = ["198.51.100.9/32", "198.51.100.10/32", "2001:db8::9/128"];
        expect(&all);
        tunnelled(&all);
        assert_eq!(attackers.len(), 50);
        drop(attackers);
        // Who logs out is not spared any more.
        let _ = bench.children.pop().map(|mut client| client.kill());
        expect(&all[..2]);
        drop(bench);
        expect(&[]);
    })
    .join()
    .unwrap();
}

/// Those who come through somebody's tunnel have not logged in.
fn tunnelled(all: &[&str]) {
    let behind = TcpListener::bind((SERVER, 7025)).unwrap();
    let mut open = Vec::new();
    for port in [8025, 8026] {
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect((SERVER, port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "port {port}: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        open.push((stream, behind.accept().unwrap()));
    }
    assert_eq!(clients(), all);
}
