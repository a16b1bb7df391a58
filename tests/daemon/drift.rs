//! Somebody else changes the packet filter under real packets: what leaks is counted, what was changed is put right in
//! two seconds, and `verify` tells the truth meanwhile.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::elements;
use crate::house::{House, Jail, eventually};
use crate::packets::{Ear, Machine, Stream};
use crate::rulesets::{DOCKER, FIREWALLD, OTHER};

const BANNED: &str = "203.0.113.9";
const INNOCENT: &str = "203.0.113.10";
/// How soon everything has to be right again.
const SOON: Duration = Duration::from_secs(2);
/// So long nothing may come of somebody who is not banned: the machine may be busy.
const SILENCE: Duration = Duration::from_millis(700);

/// What is done to the packet filter.
struct Trouble {
    name: &'static str,
    /// What nft is told; or a shell's, where a handle has to be found first
    script: &'static str,
    /// What others' rules say goes with it
    takes_others: bool,
}

const fn trouble(name: &'static str, script: &'static str) -> Trouble {
    let takes_others = false;
    Trouble {
        name,
        script,
        takes_others,
    }
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        name: "the ruleset is flushed",
        script: "flush ruleset",
        takes_others: true,
    },
    trouble("the table is flushed", "flush table inet portcullis"),
    trouble("the table is deleted", "delete table inet portcullis"),
    trouble(
        "an element is deleted",
        "delete element inet portcullis plain.nft.ip4 { 203.0.113.9 }",
    ),
    Trouble {
        name: "another ruleset is loaded",
        script: OTHER,
        takes_others: true,
    },
    trouble(
        "an accept above our jump",
        "insert rule inet portcullis prerouting accept",
    ),
    trouble(
        "an accept in the scope's chain",
        "insert rule inet portcullis plain.nft accept",
    ),
    trouble("the jumps are deleted", "flush chain inet portcullis prerouting"),
    trouble(
        "the base chain is deleted",
        "flush chain inet portcullis prerouting\ndelete chain inet portcullis prerouting",
    ),
    trouble(
        "the table is made dormant",
        "add table inet portcullis { flags dormant; }",
    ),
    trouble(
        "an element is to end early",
        "delete element inet portcullis plain.nft.ip4 { 203.0.113.9 }\n\
         add element inet portcullis plain.nft.ip4 { 203.0.113.9 timeout 1s }",
    ),
    trouble(
        "a set is made again with room for one",
        "flush chain inet portcullis plain.nft\ndelete set inet portcullis plain.nft.ip4\n\
         add set inet portcullis plain.nft.ip4 { type ipv4_addr; flags timeout; size 1; }\n\
         add element inet portcullis plain.nft.ip4 { 198.51.100.99 }\n\
         add rule inet portcullis plain.nft ip saddr @plain.nft.ip4 drop",
    ),
    trouble(
        "an element too many",
        "add element inet portcullis plain.nft.ip4 { 198.51.100.77 }",
    ),
];

/// A server with a container behind it, somebody who sends to both without a pause, and the daemon.
struct Field {
    house: House,
    direct: Ear,
    forwarded: Ear,
    _machines: [Machine; 2],
    stream: Option<Stream>,
    /// The other rules that stand there
    others: &'static str,
}

impl Field {
    fn new(others: &'static str) -> Field {
        let mut house = House::empty();
        house.jails(&[Jail {
            name: "plain",
            maxretry: 1,
            options: "action = nft[type=allports, protocol=all]\nbantime = 1h",
        }]);
        let (server, attacker, container) = (Machine::of(house.holder()), Machine::new(), Machine::new());
        server.connect(("eth0", "192.0.2.1/24"), &attacker, ("eth0", "192.0.2.66/24"));
        attacker.run("ip addr add 203.0.113.9/32 dev eth0\nip addr add 203.0.113.10/32 dev eth0");
        server.run("ip link set lo up\nip route add 203.0.113.0/24 dev eth0\necho 1 > /proc/sys/net/ipv4/ip_forward");
        server.run("ip link add docker0 type bridge\nip addr add 172.17.0.1/16 dev docker0\nip link set docker0 up");
        server.connect(("veth1", "169.254.77.1/32"), &container, ("eth0", "172.17.0.2/16"));
        server.run("ip link set veth1 master docker0");
        container.run("ip route add default via 172.17.0.1");
        if !others.is_empty() {
            nft(&house, others);
        }
        let (direct, forwarded) = (Ear::open(&server, 2000), Ear::open(&container, 80));
        let to = ["192.0.2.1:2000", "192.0.2.1:8080"];
        let stream = Some(Stream::start(&attacker, &[BANNED, INNOCENT], &to));
        house.start();
        let has_container = others.contains("dnat to");
        eventually("packets arrive", || {
            let heard = |ear: &Ear| !ear.heard(INNOCENT, Instant::now() - SOON, Instant::now()).is_empty();
            heard(&direct) && (!has_container || heard(&forwarded))
        });
        house.fail("plain", BANNED);
        for host in 1..8 {
            house.fail("plain", &format!("198.51.100.{host}"));
        }
        house.until_banned(&format!("plain {BANNED}"));
        elements::until_equal(&house);
        Field {
            house,
            direct,
            forwarded,
            _machines: [attacker, container],
            stream,
            others,
        }
    }

    fn is_well(&self) -> bool {
        elements::differences(&self.house).is_empty() && self.house.ask(&["verify"]).status.code() == Some(0)
    }

    fn past(&self) -> (u64, f64, String) {
        let verified = self.house.json(&["verify"]);
        let layers = verified["layers"].as_array().unwrap();
        let layer = layers.iter().find(|layer| layer["jail"] == "plain").unwrap();
        let number = |name: &str| layer[name].as_f64().unwrap_or_else(|| panic!("{name}: {layer}"));
        let last = layer["last_unprotected"].as_str().unwrap_or_default().to_owned();
        (layer["drifts"].as_u64().unwrap(), number("unprotected"), last)
    }

    fn leaked(&self, begun: Instant, until: Instant) -> Vec<Instant> {
        let mut leaked = self.direct.heard(BANNED, begun, until);
        leaked.extend(self.forwarded.heard(BANNED, begun, until));
        leaked.sort_unstable();
        leaked
    }

    /// Does it, and looks at everything that follows.
    fn suffer(&self, trouble: &Trouble) {
        // What was mended a moment ago is a trouble of its own.
        std::thread::sleep(Duration::from_millis(250));
        let name = trouble.name;
        let before = self.past();
        let witness = Witness::start(&self.house);
        let (begun, wall) = (Instant::now(), jiff::Timestamp::now());
        nft(&self.house, trouble.script);
        let mut repaired = begun;
        while !self.is_well() {
            repaired = Instant::now();
            assert!(begun.elapsed() < SOON * 4, "{name}: never mended");
        }
        let looked = begun.elapsed();
        // What would end early has ended by then.
        std::thread::sleep(Duration::from_millis(if name.contains("early") { 1200 } else { 250 }));
        let until = Instant::now();
        let answers = witness.end();
        let leaked = self.leaked(begun, until);
        let last = leaked.last().map_or(Duration::ZERO, |last| *last - begun);
        assert!(last <= SOON, "{name}: packets leaked for {last:?}");
        assert!(repaired - begun <= SOON, "{name}: mended after {:?}", repaired - begun);
        let drifts = check(name, &answers, &leaked);
        let silence = self.direct.longest_silence(INNOCENT, begun, until);
        assert!(silence < SILENCE, "{name}: nothing of an innocent for {silence:?}");
        if self.others.contains("dnat to") && !trouble.takes_others {
            let silence = self.forwarded.longest_silence(INNOCENT, begun, until);
            assert!(
                silence < SILENCE,
                "{name}: nothing of an innocent behind the bridge for {silence:?}"
            );
        }
        println!(
            "{name}: {} packets leaked in {} ms, all well seen after {} ms; {} answers of verify, {drifts} of them drift",
            leaked.len(),
            last.as_millis(),
            looked.as_millis(),
            answers.len(),
        );
        self.check_past(name, before, (wall, !leaked.is_empty()));
        if trouble.takes_others && !self.others.is_empty() {
            nft(
                &self.house,
                &format!("table inet filter\ndelete table inet filter\n{}", self.others),
            );
        }
    }

    fn check_past(&self, name: &str, before: (u64, f64, String), (wall, leaked): (jiff::Timestamp, bool)) {
        let after = self.past();
        assert!(
            after.0 > before.0,
            "{name}: the drift was not counted: {before:?} {after:?}"
        );
        if !leaked {
            return;
        }
        assert!(
            after.1 > before.1,
            "{name}: no second was counted: {before:?} {after:?}"
        );
        let last: jiff::Timestamp = after.2.parse().unwrap();
        let off = last.as_millisecond() - wall.as_millisecond();
        assert!(
            (-1000..=2500).contains(&off),
            "{name}: last unprotected {off} ms after it was"
        );
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // Packets stop before their machines go.
        self.stream.take();
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

/// One answer of `verify`: when it was asked and answered, and what it was.
struct Answer {
    asked: Instant,
    answered: Instant,
    code: Option<i32>,
    json: Value,
}

/// Somebody who asks `verify` again and again.
struct Witness {
    over: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    asking: JoinHandle<()>,
}

impl Witness {
    fn start(house: &House) -> Witness {
        let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, notes) = (Arc::clone(&over), Arc::clone(&answers));
        let socket = house.path("socket");
        let mut command = Command::new(crate::house::PROGRAM);
        command.args(["verify", "--json", "--socket"]).arg(socket);
        let asking = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let output = command.output().unwrap();
                let answered = Instant::now();
                let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
                let code = output.status.code();
                notes.lock().unwrap().push(Answer {
                    asked,
                    answered,
                    code,
                    json,
                });
            }
        });
        Witness { over, answers, asking }
    }

    fn end(self) -> Vec<Answer> {
        self.over.store(true, Ordering::Relaxed);
        self.asking.join().unwrap();
        std::mem::take(&mut self.answers.lock().unwrap())
    }
}

/// Each answer is a drift that is named, or all is well, and then no packet leaked all the while; how many were drifts.
fn check(name: &str, answers: &[Answer], leaked: &[Instant]) -> usize {
    assert!(!answers.is_empty(), "{name}: verify was never answered");
    let mut drifts = 0;
    for answer in answers {
        let json = &answer.json;
        if json["drift"] == true {
            drifts += 1;
            assert_eq!(answer.code, Some(2), "{name}: {json}");
            let layers = json["layers"].as_array().unwrap();
            let names = |what: &str| layers.iter().any(|layer| !layer[what].as_array().unwrap().is_empty());
            assert!(names("missing") || names("extra"), "{name}: {json}");
            continue;
        }
        if answer.code == Some(2) {
            assert!(!json["not_protected"].as_array().unwrap().is_empty(), "{name}: {json}");
            continue;
        }
        assert_eq!(answer.code, Some(0), "{name}: {json}");
        let was_leaking = leaked.iter().any(|at| *at < answer.asked) && leaked.iter().any(|at| *at > answer.answered);
        assert!(
            !was_leaking,
            "{name}: verify said that all was well while packets leaked: {json}"
        );
    }
    drifts
}

#[test]
fn alone_in_the_packet_filter() {
    let field = Field::new("");
    TROUBLES.iter().for_each(|trouble| field.suffer(trouble));
}

#[test]
fn beside_a_container_engine() {
    let field = Field::new(DOCKER);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(100));
    assert!(
        field.leaked(begun, Instant::now()).is_empty(),
        "the forwarded port is covered"
    );
    TROUBLES.iter().for_each(|trouble| field.suffer(trouble));
}

#[test]
fn beside_a_firewall_manager() {
    let field = Field::new(FIREWALLD);
    TROUBLES.iter().for_each(|trouble| field.suffer(trouble));
}
