//! What people and machines see of enforcement: `verify` under load, what failed, the times of a ban, and the probe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::house::{House, Jail, eventually, is_root};

fn house() -> House {
    let mut house = House::empty();
    house.jails(&[
        Jail {
            name: "plain",
            maxretry: 1,
            options: "action = nft[type=allports]",
        },
        Jail {
            name: "shell",
            maxretry: 1,
            options: "",
        },
    ]);
    house.start();
    house
}

fn layer(verified: &Value, jail: &str) -> Value {
    let layers = verified["layers"].as_array().unwrap();
    layers.iter().find(|layer| layer["jail"] == jail).unwrap().clone()
}

/// What is under way is no difference, however much of it there is.
#[test]
fn verify_is_exact_under_load() {
    let house = house();
    let list: String = (0..1000)
        .map(|n| format!("203.0.113.{}\n198.51.{}.{}\n", n % 250, n / 200, n % 200))
        .collect();
    house.write("list", list);
    let over = Arc::new(AtomicBool::new(false));
    let commands = [
        vec![
            "ban".to_owned(),
            "--jail=plain".into(),
            "--file".into(),
            house.path("list").display().to_string(),
        ],
        vec!["unban".to_owned(), "--all".into(), "--jail=plain".into()],
    ];
    let mut turns: Vec<_> = commands
        .map(|words| {
            let mut command = house.inside(crate::house::PROGRAM);
            command.args(words).arg("--socket").arg(house.path("socket"));
            command
        })
        .into();
    let changer = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(turns[count % 2].output().unwrap().status.success());
                count += 1;
            }
            count
        }
    });
    let mut most = 0;
    for _ in 0..15 {
        let verified = house.json(&["verify"]);
        assert_eq!(verified["drift"], false, "{verified}");
        let layer = layer(&verified, "plain");
        assert_eq!(layer["decided"], layer["verified"], "{layer}");
        most = most.max(layer["held"].as_u64().unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let count = changer.join().unwrap();
    println!("15 readings during {count} changes, with up to {most} bans: none differed");
    assert!(count > 2 && most > 0, "{count} {most}");
}

#[test]
fn a_ban_tells_how_far_it_came_and_when() {
    let house = house();
    house.fail("plain", "203.0.113.1");
    house.fail("shell", "203.0.113.2");
    house.until_acted("ban shell 203.0.113.2");
    eventually("both are applied", || {
        let banned = house.json(&["banned"]);
        let bans = banned.as_array().unwrap().iter();
        bans.filter(|ban| {
            ban["layers"]
                .as_object()
                .unwrap()
                .values()
                .all(|word| word == "applied" || word == "verified")
        })
        .count()
            == 2
    });
    let times = |house: &House, at: usize, action: &str| house.json(&["banned"])[at]["times"][action].clone();
    let verified = house.json(&["verify"]);
    let (native, shell) = (layer(&verified, "plain"), layer(&verified, "shell"));
    assert_eq!((&native["state"], &native["verified"]), (&"verified".into(), &1.into()));
    assert_eq!(
        (&shell["state"], &shell["applied"]),
        (&"applied (not verifiable)".into(), &1.into())
    );
    assert_eq!((&shell["held"], &shell["read"]), (&Value::Null, &Value::Null));
    let moment = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let native = times(&house, 0, "nft");
    let order = ["decided", "applied", "verified"].map(|word| moment(&native[word]));
    assert!(order.is_sorted(), "{native}");
    assert_eq!(times(&house, 1, "note")["verified"], Value::Null);
}

/// Without the right to the packet filter, nothing says that all is well.
#[test]
fn what_failed_is_counted_until_it_is_done() {
    if !is_root() {
        return;
    }
    let mut house = House::native();
    house.as_nobody();
    house.start();
    house.fail("plain", "203.0.113.1");
    house.fail("plain", "203.0.113.2");
    let status = || house.json(&["status"]);
    eventually("both failed", || status()["jails"].to_string().contains("\"failed\":2"));
    let status = status();
    let reasons = status["not_protected"].to_string();
    assert!(
        reasons.contains("action 'nft' fails: 2 addresses not banned: "),
        "{reasons}"
    );
    let text = house.ask(&["status"]).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        text.contains("FAILING: 2 addresses not banned") && text.contains("unprotected for "),
        "{text}"
    );
    let verified = house.ask(&["verify"]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(2), "{text}");
    assert!(
        text.starts_with("NOT PROTECTED: ") && text.contains("failing"),
        "{text}"
    );
    assert!(text.lines().last().unwrap().starts_with("what to do: "), "{text}");
    let told = house.said("NOT PROTECTED: jail 'plain', action 'nft' fails");
    assert_eq!(told.len(), 1, "more of the same is no news: {told:?}");
}

/// The probe's packets are dropped, and nothing stays of it.
#[test]
fn a_probe_proves_a_drop_and_leaves_nothing() {
    let house = house();
    let output = house.ask(&["verify", "--probe", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let verified: Value = serde_json::from_str(&text).unwrap();
    let probe = &verified["probe"];
    assert_eq!(
        (output.status.code(), &probe["result"]),
        (Some(0), &"proven".into()),
        "{text}"
    );
    for field in ["tcp", "udp", "established", "freed"] {
        assert_eq!(probe[field], true, "{field}: {text}");
    }
    println!("dropped {} ms after the request", probe["ms"]);
    assert!(house.banned().is_empty());
    eventually("the kernel forgets it", || !house.kernel().contains("198.1"));
    let links = house.inside("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    assert!(!links.contains("pcp"), "{links}");
    assert!(house.said("] Ban ").is_empty(), "recidive counts such lines");
    assert_eq!(house.said("[manual] Probe: 198.1").len(), 2);
    let kept = house.database().unwrap();
    let count = kept.query_row("SELECT count(*) FROM bans", [], |row| row.get::<_, i64>(0));
    assert_eq!(count.unwrap(), 0, "no history");
    for word in ["status", "banned"] {
        assert!(!String::from_utf8_lossy(&house.ask(&[word]).stdout).contains("198.1"));
    }
}

/// What the machine itself drops proves nothing; an interrupted probe frees its address.
#[test]
fn a_probe_that_finds_out_nothing_says_so() {
    let house = house();
    let rules = "table inet other { chain in { type filter hook input priority 10; policy drop; }; }";
    assert!(house.inside("nft").arg(rules).status().unwrap().success());
    let output = house.ask(&["verify", "--probe"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("probe: inconclusive: a connection got no answer before any ban"),
        "{text}"
    );
    assert!(text.lines().last().unwrap().starts_with("what to do: "), "{text}");
    let delete = ["delete", "table", "inet", "other"];
    assert!(house.inside("nft").args(delete).status().unwrap().success());
    let mut probe = house.inside(crate::house::PROGRAM);
    probe
        .args(["verify", "--probe", "--json", "--socket"])
        .arg(house.path("socket"));
    let probe = probe.stdout(std::process::Stdio::piped()).spawn().unwrap();
    house.until_said("is banned");
    rustix::process::kill_process(rustix::process::Pid::from_child(&probe), rustix::process::Signal::TERM).unwrap();
    let output = probe.wait_with_output().unwrap();
    assert!(output.status.code().is_some(), "it ends by itself: {:?}", output.status);
    assert!(house.banned().is_empty());
}

#[test]
fn a_probe_that_is_killed_leaves_no_link() {
    let house = house();
    let mut probe = house.inside(crate::house::PROGRAM);
    probe.args(["verify", "--probe", "--socket"]).arg(house.path("socket"));
    let mut probe = probe.stdout(std::process::Stdio::null()).spawn().unwrap();
    house.until_said("is banned");
    probe.kill().unwrap();
    probe.wait().unwrap();
    eventually("the link goes with the process", || {
        let links = house.inside("ip").args(["-o", "link"]).output().unwrap();
        !String::from_utf8_lossy(&links.stdout).contains("pcp")
    });
}
