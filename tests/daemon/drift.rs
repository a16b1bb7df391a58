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
        let (before, failures) = (self.past(), self.house.said("not mended").len());
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
        let drifts = self.check(name, &answers, &[]);
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
        for failed in self.house.said("not mended").iter().skip(failures) {
            println!("{name}: {failed}");
        }
        self.check_past(name, before, (wall, !leaked.is_empty()));
        if trouble.takes_others && !self.others.is_empty() {
            nft(
                &self.house,
                &format!("table inet filter\ndelete table inet filter\n{}", self.others),
            );
        }
    }

    /// Each answer is a drift that is named, or all is well, and then no packet leaked all the while; how many were drifts.
    /// Where somebody did it again meanwhile, all may have been well for less than the turn of a packet.
    fn check(&self, name: &str, answers: &[Answer], again: &[(Instant, Instant)]) -> usize {
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
            let (asked, answered) = (answer.asked, answer.answered);
            if again.iter().any(|(begun, done)| *begun <= answered && *done >= asked) {
                continue;
            }
            let was_leaking = self.direct.heard_throughout(BANNED, INNOCENT, asked, answered);
            assert!(
                !was_leaking,
                "{name}: verify said that all was well while packets leaked: {json}"
            );
        }
        drifts
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
    assert!(try_nft(house, script), "{script}");
}

fn try_nft(house: &House, script: &str) -> bool {
    let mut command = house.inside("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait().unwrap().success()
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

/// Somebody who never stops: between two mendings `verify` says that not all is well, and at the end all is.
fn again_and_again(name: &str, script: &str) {
    let field = Field::new("");
    let witness = Witness::start(&field.house);
    let begun = Instant::now();
    let mut done = Vec::new();
    while begun.elapsed() < SOON {
        let asked = Instant::now();
        // Sometimes what is to be changed is not there just then.
        if try_nft(&field.house, script) {
            done.push((asked, Instant::now()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = Instant::now();
    while !field.is_well() {
        assert!(ended.elapsed() < SOON, "{name}: never mended");
    }
    std::thread::sleep(Duration::from_millis(250));
    let answers = witness.end();
    let leaked = field.leaked(begun, Instant::now());
    let drifts = field.check(name, &answers, &done);
    let last = leaked.last().map_or(ended, |last| *last);
    assert!(last.saturating_duration_since(ended) < SOON);
    assert!(
        !leaked.is_empty() && drifts > 0,
        "{name}: {} packets, {drifts} drifts",
        leaked.len()
    );
    println!(
        "{name}: {} packets leaked, {drifts} of {} answers drift",
        leaked.len(),
        answers.len()
    );
}

#[test]
fn an_element_deleted_again_and_again() {
    again_and_again(
        "an element is deleted again and again",
        "delete element inet portcullis plain.nft.ip4 { 203.0.113.9 }",
    );
}

#[test]
fn an_accept_inserted_again_and_again() {
    again_and_again(
        "an accept is inserted again and again",
        "insert rule inet portcullis prerouting accept",
    );
}

/// How many bans end or expire together.
fn many() -> usize {
    if std::env::var_os("DAEMON_FULL").is_some() {
        50_000
    } else {
        4_000
    }
}

/// A house, and so many addresses in its file `list`.
fn crowd() -> (House, Vec<String>) {
    let mut house = House::native();
    house.start();
    let address = |at: usize| format!("10.{}.{}.{}", at >> 16, at >> 8 & 255, at & 255);
    let who: Vec<String> = (0..many()).map(address).collect();
    house.write("list", who.join("\n"));
    (house, who)
}

fn ban_all(house: &House, length: &str) {
    let list = house.path("list").display().to_string();
    let output = house.ask(&["ban", "--jail", "plain", "--for", length, "--file", &list]);
    assert!(output.status.success(), "{output:?}");
}

/// How many bans there are, and how long the answer took.
fn count(house: &House) -> (u64, Duration) {
    let begun = Instant::now();
    let status = house.json(&["status"]);
    let jails = status["jails"].as_array().unwrap();
    let jail = jails.iter().find(|jail| jail["name"] == "plain").unwrap();
    (jail["currently_banned"].as_u64().unwrap(), begun.elapsed())
}

fn drifts(house: &House) -> u64 {
    let verified = house.json(&["verify"]);
    let layers = verified["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["drifts"].as_u64().unwrap()).sum()
}

/// Bans that end in one second are over at once in ledger and kernel, nobody takes that for a drift, and the daemon
/// answers meanwhile.
#[test]
fn many_bans_end_together() {
    let (house, who) = crowd();
    let length = if many() > 10_000 { 15 } else { 5 };
    ban_all(&house, &format!("{length}s"));
    let begun = house.json(&["banned"])[0]["times"]["nft"]["decided"].clone();
    let begun: jiff::Timestamp = begun.as_str().unwrap().parse().unwrap();
    let end = begun.as_millisecond() + length * 1000;
    let since_end = || jiff::Timestamp::now().as_millisecond() - end;
    eventually("the kernel has all", || elements::kernel(&house).len() == who.len());
    assert_eq!(count(&house).0, who.len() as u64);
    let mut slowest = Duration::ZERO;
    let over = loop {
        let (left, took) = count(&house);
        slowest = slowest.max(took);
        if left == 0 && elements::kernel(&house).is_empty() {
            break since_end();
        }
        assert!(since_end() < 8000, "{left} are left");
        std::thread::sleep(Duration::from_millis(20));
    };
    println!(
        "{} bans are over {over} ms after their end; the slowest answer took {slowest:?}",
        who.len()
    );
    assert!(over <= 2000, "{over} ms");
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
    assert_eq!(house.said("[plain] Unban ").len(), who.len());
    assert_eq!(
        (drifts(&house), house.said("was changed").len()),
        (0, 0),
        "{:?}",
        house.said("was changed")
    );
    assert!(house.ask(&["verify"]).status.success());
}

/// Elements that somebody has end early have their old end again before that comes.
#[test]
fn many_elements_are_to_end_early() {
    let (house, who) = crowd();
    ban_all(&house, "1h");
    eventually("the kernel has all", || elements::kernel(&house).len() == who.len());
    elements::until_equal(&house);
    let all = who.join(", ");
    let timed = who
        .iter()
        .map(|who| format!("{who} timeout 1s"))
        .collect::<Vec<_>>()
        .join(", ");
    let set = "inet portcullis plain.nft.ip4";
    let begun = Instant::now();
    nft(
        &house,
        &format!("delete element {set} {{ {all} }}\nadd element {set} {{ {timed} }}\n"),
    );
    let changed = begun.elapsed();
    let soonest = || elements::kernel(&house).values().map(|left| left.unwrap_or(0)).min();
    let mut mended = Duration::ZERO;
    eventually("all are back", || {
        mended = begun.elapsed();
        elements::differences(&house).is_empty()
    });
    assert!(soonest() > Some(3000), "{:?}", soonest());
    println!(
        "{} elements were changed in {changed:?}, and all well {:?} after that",
        who.len(),
        mended - changed
    );
    assert!(mended.saturating_sub(changed) <= SOON, "{mended:?}, {changed:?}");
    assert_eq!(house.ask(&["verify"]).status.code(), Some(0));
}
