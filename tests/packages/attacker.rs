//! The other end of the cable: a network namespace with many addresses, from which the machine is attacked.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::machine::{HERE, Machine, text};

/// The addresses that attack.
pub(crate) const BANNED: &str = "203.0.113.5";
pub(crate) const OTHER: &str = "203.0.113.6";

/// Tries to connect every few milliseconds until its input ends, and says how often, and how often it came through.
const FLOOD: &str = "
import select, socket, sys, time
who, there, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
waiting, sent, connected = [], 0, 0
print('begun', flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    one = socket.socket()
    one.setblocking(False)
    one.bind((who, 0))
    try:
        one.connect((there, port))
    except BlockingIOError:
        waiting.append(one)
    except OSError:
        one.close()
    sent += 1
    if len(waiting) > 300:
        waiting.pop(0).close()
    time.sleep(0.003)
    for ready in select.select([], waiting, [], 0)[1]:
        connected += ready.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        waiting.remove(ready)
        ready.close()
print(sent, connected)
";

/// Fails to log in by IMAP, or by SMTP, so many times.
const GUESS: &str = "
import socket, sys
who, there, port, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in range(times):
    with socket.create_connection((there, port), timeout=20, source_address=(who, 0)) as one:
        one.recv(500)
        if port == 143:
            lines = [b'a login bob wrong']
        else:
            lines = [b'EHLO client.example', b'AUTH PLAIN AGJvYgB3cm9uZw==', b'QUIT']
        for line in lines:
            one.sendall(line + b'\\r\\n')
            one.recv(500)
";

pub(crate) struct Attacker {
    keeper: Child,
}

/// One that never pauses.
pub(crate) struct Flood {
    child: Child,
}

impl Attacker {
    /// Lays the cable.
    pub(crate) fn of(machine: &Machine) -> Attacker {
        let mut keeper = Command::new("unshare")
            .args(["-n", "--", "sh", "-c", "ip link set lo up; echo; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is in its namespace once it says something.
        keeper.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let attacker = Attacker { keeper };
        let inside = format!(
            "ip link add cable type veth peer name cable netns {}
             ip addr add {HERE}/24 dev cable
             ip link set cable up
             ip route add 203.0.113.0/24 dev cable",
            attacker.keeper.id()
        );
        let script = format!("set -e\n{inside}");
        let leader = machine.leader().to_string();
        // The namespace's number is meant as we see it, so only the network is entered.
        let laid = Command::new("nsenter")
            .args(["-t", &leader, "-n", "sh", "-c", &script])
            .output()
            .unwrap();
        assert!(laid.status.success(), "{}", text(&laid.stderr));
        let other = format!(
            "set -e
             ip link set cable up
             for who in {BANNED} {OTHER}; do ip addr add $who/32 dev cable; done
             ip route add 198.51.100.0/24 dev cable src {BANNED}"
        );
        let ready = attacker.command("sh").args(["-c", &other]).output().unwrap();
        assert!(ready.status.success(), "{}", text(&ready.stderr));
        attacker
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.keeper.id().to_string(), "-n", "--", program]);
        command
    }

    /// Guesses a password so often.
    pub(crate) fn guess(&self, who: &str, port: u16, times: usize) {
        let words = [who, HERE, &port.to_string(), &times.to_string()];
        let done = self
            .command("python3")
            .args(["-c", GUESS])
            .args(words)
            .output()
            .unwrap();
        // Who is banned in the middle of it does not come to its end.
        println!(
            "guesses of {who} at {port}: {} {}",
            done.status,
            text(&done.stderr).lines().last().unwrap_or("")
        );
    }

    /// Begins to connect without a pause.
    pub(crate) fn flood(&self, who: &str, port: u16) -> Flood {
        let mut child = self
            .command("python3")
            .args(["-c", FLOOD, who, HERE, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        Flood { child }
    }

    /// Whether somebody gets a connection.
    pub(crate) fn connects(&self, who: &str, port: u16) -> bool {
        let flood = self.flood(who, port);
        std::thread::sleep(std::time::Duration::from_millis(500));
        flood.end().1 > 0
    }
}

impl Flood {
    /// Ends it: how often it tried, and how often it came through.
    pub(crate) fn end(mut self) -> (u64, u64) {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.wait().unwrap();
        let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
