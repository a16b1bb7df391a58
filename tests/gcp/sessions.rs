//! Who is logged in over SSH is not shut out of the machine, and who merely connects is: a real sshd, with clients on
//! another machine.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::house::eventually;
use crate::packets::Machine;
use crate::vm::Vm;

const SERVER: &str = "192.0.2.1";
const ATTACKER: &str = "198.51.100.13";
const ADMIN: &str = "198.51.100.9";
/// A user of every Debian, other than root; nobody runs anything as it.
const USER: &str = "games";
const CONNECTIONS: usize = 50;

/// The machine's sshd, and another machine with its clients. All of them end with it.
struct Ssh {
    others: Machine,
    children: Vec<Child>,
}

impl Ssh {
    fn new(vm: &Vm) -> Ssh {
        let others = Machine::new();
        let server = Machine::of(vm.house.holder());
        server.connect(("cable", "192.0.2.1/24"), &others, ("cable", "192.0.2.2/24"));
        others.run(&format!(
            "ip addr add {ATTACKER}/32 dev lo\nip addr add {ADMIN}/32 dev lo"
        ));
        server.run("ip route add 198.51.100.0/24 via 192.0.2.2");
        // The user's own sshd reads the keys.
        fs::set_permissions(vm.house.path(""), Permissions::from_mode(0o755)).unwrap();
        for key in ["host", "id"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(vm.house.path(key))
                .status();
            assert!(made.unwrap().success(), "ssh-keygen: apt-get install openssh-client");
        }
        let mut ssh = Ssh {
            others,
            children: Vec::new(),
        };
        ssh.serve(vm);
        ssh
    }

    /// sshd as Debian runs it, but for PAM, which would write into the machine's own books.
    fn serve(&mut self, vm: &Vm) {
        let configuration = format!(
            "ListenAddress {SERVER}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             MaxStartups 100\n",
            vm.house.path("host").display(),
            vm.house.path("id.pub").display(),
        );
        vm.house.write("sshd", configuration);
        // A folder of sshd's own is needed in /run; the machine's stays as it is.
        let script = "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f \"$0\"";
        let mut command = vm.house.inside("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(vm.house.path("sshd"));
        self.start(command);
        eventually("sshd listens", || self.knock(ATTACKER).is_some());
    }

    fn start(&mut self, mut command: Command) {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(quiet.spawn().unwrap());
    }

    /// A client that logs in and stays.
    fn log_in(&mut self, vm: &Vm) {
        let mut command = self.others.command("ssh");
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
        ] {
            command.args(["-o", option]);
        }
        let inside = vm.house.path("inside");
        command.args(["-o", "PermitLocalCommand=yes", "-o"]);
        command.arg(format!("LocalCommand=touch {}", inside.display()));
        command
            .args(["-F", "none", "-N", "-b", ADMIN, "-i"])
            .arg(vm.house.path("id"));
        command.arg(format!("{USER}@{SERVER}"));
        self.start(command);
        eventually("somebody is logged in", || inside.exists());
    }

    /// A connection on which sshd has said who it is.
    fn knock(&self, from: &str) -> Option<TcpStream> {
        let [from, to] = [from, SERVER].map(|ip| ip.parse::<IpAddr>().unwrap());
        self.others.within(|| {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&socket, &SocketAddr::new(from, 0)).unwrap();
            connect(&socket, &SocketAddr::new(to, 22)).ok()?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.read_exact(&mut [0; 8]).ok()?;
            Some(stream)
        })
    }

    /// Connections of somebody who does not log in: half of them say nothing, half of them say who they are.
    fn attack(&self) -> Vec<TcpStream> {
        let each = (0..CONNECTIONS).map(|at| {
            let mut stream = self.knock(ATTACKER).unwrap();
            if at % 2 == 0 {
                stream.write_all(b"SSH-2.0-x\r\n").unwrap();
            }
            stream
        });
        each.collect()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // The clients end before the server; each of its processes ends with its connection.
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A machine whose jail bans for the first failure, somebody who is logged in, and somebody who only connects. Both are
/// banned, and the cloud has had the time for it.
fn attacked(options: &str) -> (Vm, Ssh, Vec<TcpStream>) {
    let mut vm = Vm::new();
    vm.fake.block_ip(&["203.0.113.0/24"]);
    vm.jail(&format!("action = gcp-firewall[rule=block-ip{options}]"));
    let mut ssh = Ssh::new(&vm);
    let attackers = ssh.attack();
    ssh.log_in(&vm);
    vm.house.start();
    for who in [ADMIN, ATTACKER] {
        vm.house.fail("plain", who);
        vm.house.until_banned(&format!("plain {who}"));
    }
    vm.fake.until_listed("block-ip", &format!("{ATTACKER}/32"), true);
    // A write that came later had a chance, too.
    vm.house.fail("plain", "198.51.100.20");
    vm.fake.until_listed("block-ip", "198.51.100.20/32", true);
    for change in vm.fake.changes("block-ip") {
        let ranges = change.ranges.unwrap();
        assert!(!ranges.contains(&format!("{ADMIN}/32")) && ranges.contains(&"203.0.113.0/24".to_owned()));
    }
    let said = vm.verb(&["gcp", "plan"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains(ADMIN) && said.contains("the client of an open SSH session"),
        "{said}"
    );
    (vm, ssh, attackers)
}

fn has(vm: &Vm, who: &str) -> bool {
    vm.fake.ranges("block-ip").contains(&format!("{who}/32"))
}

#[test]
fn a_session_is_spared_and_fifty_connections_are_not() {
    let (_vm, ssh, attackers) = attacked(", local=no");
    assert_eq!(attackers.len(), CONNECTIONS);
    // In the cloud alone an open connection goes on.
    assert!(ssh.knock(ATTACKER).is_some());
}

/// The kernel, which would end the session, spares it as well; who logs out is banned like everybody.
#[test]
fn the_kernel_spares_a_session_for_as_long_as_it_lasts() {
    let (vm, mut ssh, mut attackers) = attacked("");
    let kernel = |who: &str| vm.house.kernel().contains(who);
    assert!(kernel(ATTACKER) && !kernel(ADMIN));
    for stream in &mut attackers {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ended = stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert!(matches!(ended, Ok(_) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
    }
    assert!(ssh.children[1].try_wait().unwrap().is_none(), "the session goes on");
    assert!(ssh.knock(ADMIN).is_some(), "and another can be opened");
    let bans = vm.house.json(&["banned"]);
    let ban = bans.as_array().unwrap().iter().find(|ban| ban["ip"] == ADMIN).unwrap();
    let refused = "refused: protected: 198.51.100.9 is the client of an open SSH session";
    assert_eq!(ban["layers"]["gcp-firewall-local"], refused, "{ban}");
    assert_eq!(vm.house.ask(&["verify"]).status.code(), Some(0));

    let _ = ssh.children.pop().map(|mut client| client.kill());
    eventually("the kernel bans who has logged out", || kernel(ADMIN));
    eventually("the cloud as well", || has(&vm, ADMIN));
}
