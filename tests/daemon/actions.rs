//! Actions of the whole daemon: lanes of their own, what `verify` says of a difference, protection taken off.

use std::time::Duration;

use crate::house::{House, Jail, eventually};

fn jail<'a>(name: &'a str, options: &'a str) -> Jail<'a> {
    Jail {
        name,
        maxretry: 1,
        options,
    }
}

/// An action with `parallel = yes` holds up nobody, and keeps its own order.
#[test]
fn an_action_that_runs_beside_the_others() {
    let mut house = House::empty();
    let slow = format!(
        "[Definition]\nactionban = sleep 2; echo 'slow <ip>' >> {}\n",
        house.path("acts").display()
    );
    house.write("etc/action.d/slow.conf", slow);
    house.jails(&[
        jail("odd", "action = slow[parallel=yes]\n         note[name=odd]"),
        jail("good", ""),
        jail("bad", "action = slow[parallel=perhaps]"),
    ]);
    house.start();
    house.until_said("parallel = 'perhaps' is neither yes nor no");
    for who in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        house.fail("odd", who);
        house.until_acted(&format!("ban odd {who}"));
    }
    house.fail("good", "192.0.2.9");
    house.until_acted("ban good 192.0.2.9");
    house.until_acted("slow 192.0.2.3");
    let acts = house.acts();
    let at = |act: &str| acts.iter().position(|found| found == act).unwrap();
    assert!(at("ban good 192.0.2.9") < at("slow 192.0.2.2"), "{acts:?}");
    assert!(
        at("slow 192.0.2.1") < at("slow 192.0.2.2") && at("slow 192.0.2.2") < at("slow 192.0.2.3"),
        "{acts:?}"
    );
    house.json(&["reload"]);
    assert!(house.ask(&["unban", "--all"]).status.success());
    house.until_acted("unban odd 192.0.2.3");
}

/// `verify` names what is missing and what is too much, ends with 2, and has it mended.
#[test]
fn a_difference_is_told_and_mended() {
    let mut house = House::empty();
    house.jails(&[jail("plain", "action = nft[type=allports]")]);
    house.start();
    house.fail("plain", "203.0.113.1");
    house.fail("plain", "203.0.113.2");
    eventually("the kernel has both", || {
        ["203.0.113.1", "203.0.113.2"]
            .iter()
            .all(|who| house.kernel().contains(who))
    });
    assert_eq!(house.ask(&["verify"]).status.code(), Some(0));
    let kernel = house.kernel();
    let set = kernel
        .lines()
        .rev()
        .skip_while(|line| !line.contains("203.0.113.1"))
        .find_map(|line| line.trim().strip_prefix("set "));
    let set = set.unwrap().trim_end_matches(" {").to_owned();
    let nft = |verb: &str, who: &str| {
        let element = format!("{{ {who} }}");
        let done = house
            .inside("nft")
            .args([verb, "element", "inet", "portcullis", &set, &element])
            .status();
        assert!(done.unwrap().success());
    };
    // It is mended within milliseconds, so that it takes luck to see it before.
    let told = (0..100).find_map(|_| {
        nft("add", "203.0.113.77");
        nft("delete", "203.0.113.1");
        let output = house.ask(&["verify", "--json"]);
        let verified: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let drift = verified["drift"].as_bool().unwrap();
        assert_eq!(output.status.code(), Some(if drift { 2 } else { 0 }), "{output:?}");
        let layers = verified["layers"].as_array().unwrap();
        let layer = layers.iter().find(|layer| layer["jail"] == "plain").unwrap().clone();
        eventually("it is banned again", || house.kernel().contains("203.0.113.1"));
        eventually("and nobody else", || !house.kernel().contains("203.0.113.77"));
        (layer["missing"] == serde_json::json!(["203.0.113.1"])).then_some((verified, layer))
    });
    let (verified, layer) = told.unwrap();
    assert_eq!(verified["drift"], true);
    assert!(
        verified["not_protected"]
            .to_string()
            .contains("1 of 2 bans were not in force"),
        "{verified}"
    );
    assert_eq!(
        (&layer["state"], &layer["verified"]),
        (&"drift".into(), &1.into()),
        "{layer}"
    );
    eventually("nothing differs", || house.ask(&["verify"]).status.code() == Some(0));
    let status = house.json(&["status", "plain"]);
    let action = &status["jails"][0]["actions"]["nft"];
    assert!(action["drifts"].as_u64().unwrap() > 0, "{action}");
    assert!(action["unprotected"].as_f64().unwrap() > 0.0, "{action}");
    let last = action["last_drift"].as_str().unwrap();
    assert!(last.contains("missing") && last.contains("; mended, "), "{last}");
}

/// `protect = no` takes the protection off one action; the others keep it.
#[test]
fn protection_taken_off_an_action() {
    let mut house = House::empty();
    house.jails(&[
        jail("plain", "action = nft[type=allports]"),
        jail("bare", "action = nft[type=allports, protect=no]"),
    ]);
    house.start();
    for jail in ["plain", "bare"] {
        house.fail(jail, "127.0.0.5");
        house.until_banned(&format!("{jail} 127.0.0.5"));
    }
    let standing = |jail: &str| {
        let banned = house.json(&["banned"]);
        let ban = banned
            .as_array()
            .unwrap()
            .iter()
            .find(|ban| ban["jail"] == jail)
            .cloned()
            .unwrap();
        ban["layers"]["nft"].as_str().unwrap().to_owned()
    };
    eventually("both have answered", || {
        ["plain", "bare"].iter().all(|jail| standing(jail) != "decided")
    });
    assert!(
        standing("plain").starts_with("refused: protected: "),
        "{}",
        standing("plain")
    );
    assert!(
        ["applied", "verified"].contains(&standing("bare").as_str()),
        "{}",
        standing("bare")
    );
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(house.kernel().matches("127.0.0.5").count(), 1, "{}", house.kernel());
}
