//! A daemon that cannot enforce: without the right, without nftables in the kernel, with somebody else's table of the
//! same name, with a set that is full. It says so everywhere, and goes on by itself once it can.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::elements;
use crate::house::{House, eventually};

const WHO: &str = "203.0.113.1";
/// So soon the trouble has to be noticed to be over: tries are 1, 2, 4, 8 … seconds apart.
const RETRY: Duration = Duration::from_secs(9);

/// Has the program after the folder's name think that the kernel has no netfilter netlink: a filter of system calls
/// answers for `socket(AF_NETLINK, …, NETLINK_NETFILTER)` that the protocol is not supported.
const WITHOUT_NETFILTER: &str = r#"
import ctypes, os, platform, struct, sys
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 93
steps = [
    (LOAD, 0, 0, 0), (EQUAL, 0, 5, number),
    (LOAD, 0, 0, 16), (EQUAL, 0, 3, 16),
    (LOAD, 0, 0, 32), (EQUAL, 0, 1, 12),
    (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
]
code = b"".join(struct.pack("HBBI", *step) for step in steps)
kept = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(kept)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
"#;

/// A house with one native jail, and what its daemon tells systemd.
struct Powerless {
    house: House,
    systemd: UnixDatagram,
}

impl Powerless {
    fn new() -> Powerless {
        let mut house = House::native();
        let path = house.path("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        house
            .environment
            .push(("NOTIFY_SOCKET".into(), path.display().to_string()));
        Powerless { house, systemd }
    }

    /// Starts, and has somebody to ban.
    fn start(&mut self) {
        self.house.start();
        self.house.fail("plain", WHO);
        self.house.until_banned(&format!("plain {WHO}"));
    }

    /// The last STATUS line that systemd was told since the last look.
    fn told(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let mut last = None;
        while let Ok(length) = self.systemd.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            last = text
                .lines()
                .find_map(|line| line.strip_prefix("STATUS="))
                .map(str::to_owned)
                .or(last);
        }
        last
    }

    /// The trouble is said everywhere, in words that name it.
    fn says(&self, words: &[&str]) {
        let house = &self.house;
        eventually("the log says NOT PROTECTED", || !house.said("NOT PROTECTED").is_empty());
        let has = |what: &str, text: &str| {
            for word in words {
                assert!(text.contains(word), "{what} does not say {word:?}: {text}");
            }
        };
        has("the log", &house.said("NOT PROTECTED").join("\n"));
        let mut told = self.told();
        eventually("systemd is told", || {
            told = self.told().or_else(|| told.take());
            told.as_ref().is_some_and(|told| told.starts_with("NOT PROTECTED: "))
        });
        has("systemd's status", &told.unwrap());
        for verb in ["status", "verify"] {
            let text = house.ask(&[verb]);
            assert_eq!(text.status.code(), Some(2), "{verb}: {text:?}");
            let shown = String::from_utf8_lossy(&text.stdout).into_owned();
            assert!(shown.contains("NOT PROTECTED"), "{verb}: {shown}");
            has(verb, &shown);
            let json = house.json(&[verb]);
            has(verb, &json["not_protected"].to_string());
            assert_ne!(json["protected"], true, "{json}");
        }
        let standing = house.json(&["banned"])[0]["layers"]["nft"].clone();
        assert!(standing.to_string().contains("failed: "), "{standing}");
    }

    /// It is over: said everywhere, and the ban is in the kernel.
    fn is_over(&self) {
        let house = &self.house;
        let begun = Instant::now();
        eventually("it is protected again", || {
            assert!(begun.elapsed() < RETRY, "still not after {RETRY:?}");
            !house
                .said("protected again: every layer does what was decided")
                .is_empty()
        });
        println!("protected again {:?} after the trouble was gone", begun.elapsed());
        self.is_well();
        eventually("systemd is told", || {
            self.told().is_some_and(|told| told == "protected")
        });
    }

    fn is_well(&self) {
        elements::until_equal(&self.house);
        for verb in ["status", "verify"] {
            let output = self.house.ask(&[verb]);
            assert_eq!(output.status.code(), Some(0), "{verb}: {output:?}");
        }
    }

    /// How many seconds it was exposed, as `verify` has it.
    fn unprotected(&self) -> f64 {
        let verified = self.house.json(&["verify"]);
        let layers = verified["layers"].as_array().unwrap();
        let layer = layers.iter().find(|layer| layer["jail"] == "plain").unwrap();
        layer["unprotected"].as_f64().unwrap_or_else(|| panic!("{layer}"))
    }

    fn nft(&self, script: &str) {
        nft(&self.house, script);
    }
}

fn nft(house: &House, script: &str) {
    let mut child = house
        .inside("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{script}");
}

/// The whole ruleset with its handles.
fn ruleset(house: &House) -> String {
    let output = house.inside("nft").args(["-a", "list", "ruleset"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A daemon without `CAP_NET_ADMIN`; with it again after a restart, nothing is lost.
#[test]
fn without_the_right() {
    let mut powerless = Powerless::new();
    let words = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    powerless.house.through = words.map(str::to_owned).into();
    powerless.start();
    powerless.says(&["CAP_NET_ADMIN"]);
    let before = powerless.unprotected();
    std::thread::sleep(Duration::from_millis(600));
    let after = powerless.unprotected();
    assert!(before + 0.5 < after && after < before + 20.0, "{before} {after}");
    assert_eq!(powerless.house.terminate(), Some(0));
    powerless.house.through.clear();
    powerless.house.start();
    powerless.is_well();
}

/// A kernel without nftables.
#[test]
fn without_nftables() {
    let mut powerless = Powerless::new();
    powerless.house.write("launch.py", WITHOUT_NETFILTER);
    let launcher = powerless.house.path("launch.py").display().to_string();
    powerless.house.through = vec!["python3".to_owned(), launcher];
    powerless.start();
    powerless.says(&["this kernel has no netfilter"]);
    assert_eq!(powerless.house.terminate(), Some(0));
    powerless.house.through.clear();
    powerless.house.start();
    powerless.is_well();
}

/// Somebody else's table of our name is never touched, and once it is gone ours is there by itself.
#[test]
fn a_foreign_table_of_the_same_name() {
    let mut powerless = Powerless::new();
    powerless.nft(
        "table inet portcullis {\n  set mine { type ipv4_addr; elements = { 198.51.100.9 } }\n  \
         chain prerouting {\n    type nat hook prerouting priority dstnat; policy accept;\n    \
         ip saddr @mine tcp dport 8080 redirect to :80\n  }\n}\n",
    );
    let before = ruleset(&powerless.house);
    powerless.start();
    powerless.says(&["table inet portcullis was made by another program", "nft list table"]);
    powerless.house.json(&["reload"]);
    powerless.house.ask(&["unban", "192.0.2.77"]);
    assert_eq!(ruleset(&powerless.house), before, "it was touched");
    powerless.nft("delete table inet portcullis");
    powerless.is_over();
    assert!(powerless.unprotected() > 0.0);
}

/// Neither do `flush`, `stop` and a start touch it.
#[test]
fn the_end_leaves_a_foreign_table() {
    let mut powerless = Powerless::new();
    powerless.nft("table inet portcullis {\n  chain other {\n    counter accept\n  }\n  chain prerouting {\n    type nat hook prerouting priority dstnat;\n  }\n}\n");
    let before = ruleset(&powerless.house);
    powerless.start();
    powerless.house.json(&["flush"]);
    assert_eq!(ruleset(&powerless.house), before, "flush");
    assert!(powerless.house.ask(&["stop"]).status.success());
    assert_eq!(powerless.house.wait(), Some(0));
    assert_eq!(ruleset(&powerless.house), before, "stop");
    let state = powerless.house.path("state").display().to_string();
    powerless.house.ask(&["flush", "--state", &state]);
    assert_eq!(ruleset(&powerless.house), before, "flush without a daemon");
}

/// A table that another process owns: only that process may change it, and it goes with it.
#[test]
fn a_table_that_another_process_owns() {
    let mut powerless = Powerless::new();
    let mut owner = own(&powerless.house);
    powerless.start();
    powerless.says(&["table inet portcullis was made by another program"]);
    let held = ruleset(&powerless.house);
    assert!(held.contains("flags owner") && !held.contains("chain"), "{held}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    powerless.is_over();
}

fn own(house: &House) -> Child {
    let mut owner = house
        .inside("nft")
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = owner.stdin.as_mut().unwrap();
    stdin
        .write_all(b"add table inet portcullis { flags owner; }\n")
        .unwrap();
    eventually("it has the table", || ruleset(house).contains("flags owner"));
    owner
}

/// A set that somebody gave a limit is full at once; everybody is banned all the same.
#[test]
fn a_set_at_its_limit() {
    let mut powerless = Powerless::new();
    powerless.start();
    powerless.is_well();
    let listed = powerless.house.kernel();
    let before_set = |line: &&str| line.trim_start().starts_with("set ") && !line.contains("v6");
    let name = listed
        .lines()
        .find(before_set)
        .unwrap()
        .trim()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned();
    // The same table with a limit, as one transaction.
    let limited = listed.replacen(&format!("set {name} {{"), &format!("set {name} {{ size 1;"), 1);
    let limited: String = limited
        .lines()
        .filter(|line| !line.trim_start().starts_with("size "))
        .map(|line| format!("{line}\n"))
        .collect();
    powerless.nft(&format!("delete table inet portcullis\n{limited}"));
    for host in 2..6 {
        powerless.house.fail("plain", &format!("203.0.113.{host}"));
    }
    powerless.house.until_banned("plain 203.0.113.5");
    powerless.is_well();
    assert_eq!(elements::kernel(&powerless.house).len(), 5);
}
