//! Network namespaces with a cable between them, deleted with every process in them on drop.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How our namespaces are called: this, our process id, a number.
const PREFIX: &str = "portcullis-service";
/// What the tests need, and the package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("postfix", "postfix"),
    ("dovecot", "dovecot-imapd"),
    ("rsyslogd", "rsyslog"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("python3", "python3"),
];

static COUNTER: AtomicU32 = AtomicU32::new(0);
static PREPARED: Once = Once::new();

/// One network namespace.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    /// A new one with a working loopback.
    pub(crate) fn new() -> Namespace {
        PREPARED.call_once(|| {
            demand();
            sweep();
        });
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Lays a cable to another namespace; both ends are called `eth0`.
    pub(crate) fn connect(&self, other: &Namespace) {
        self.connect_by("eth0", other);
    }

    /// Lays a cable to another namespace, where it is called `eth0`.
    pub(crate) fn connect_by(&self, name: &str, other: &Namespace) {
        let cable = [
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &other.name,
        ];
        self.ip(&cable);
        self.ip(&["link", "set", name, "up"]);
        other.ip(&["link", "set", "eth0", "up"]);
    }

    /// Gives `eth0` an address with its prefix length, usable at once.
    pub(crate) fn address(&self, address: &str) {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(&[&["addr", "add", address, "dev", "eth0"], nodad].concat());
    }

    /// Says that a network is reached over `eth0`.
    pub(crate) fn route(&self, network: &str) {
        self.ip(&["route", "add", network, "dev", "eth0"]);
    }

    /// Runs `ip` about this namespace.
    pub(crate) fn ip(&self, words: &[&str]) {
        ip(&[&["-n", self.name.as_str()], words].concat());
    }

    /// A command that will run in here. It sees the given folders in place of the machine's.
    pub(crate) fn command(&self, places: &[(PathBuf, &str)], program: &Path) -> Command {
        // "ip netns exec" makes a mount namespace of its own, so the binds concern this one program.
        let mut script: String = places
            .iter()
            .map(|(ours, theirs)| format!("mount --bind '{}' {theirs} && ", ours.display()))
            .collect();
        script += "exec \"$0\" \"$@\"";
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name, "sh", "-c", &script])
            .arg(program);
        command
    }

    /// Does something in here, such as opening sockets, which then stay here.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let entrance = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        std::thread::scope(|threads| {
            let inside = threads.spawn(move || {
                move_into_link_name_space(entrance.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Ends every process in a namespace by its number, and then the namespace. Never panics: it runs during panics.
fn remove(name: &str) {
    // They may start others while they are counted.
    for _ in 0..100 {
        let inside = processes(name);
        if inside.is_empty() {
            break;
        }
        for pid in inside {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

fn processes(name: &str) -> Vec<Pid> {
    let listed = Command::new("ip").args(["netns", "pids", name]).output();
    let text = listed.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_whitespace()
        .filter_map(|word| Pid::from_raw(word.parse().ok()?))
        .collect()
}

/// Removes what earlier runs left behind that were killed: namespaces of ours whose process is gone.
fn sweep() {
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(name);
        }
    }
}

/// Fails with what is missing: a test that skips itself proves nothing.
fn demand() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests make network namespaces and start mail servers in them: run them as root (tests/run does)"
    );
    let path = std::env::var("PATH").unwrap_or_default();
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
        .map(|(_, package)| *package)
        .collect();
    assert!(
        missing.is_empty(),
        "programs are not in PATH, where /usr/sbin belongs, too; apt-get install {} (tests/run does, without starting a \
         service)",
        missing.join(" ")
    );
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {}: {error}", words.join(" "));
}
