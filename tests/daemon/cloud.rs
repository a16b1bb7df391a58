//! Bans in the cloud's firewall where nobody answers: the kernel has them at once, everything says that the cloud lags,
//! and nothing else is slower for it. `tests/gcp` has an API that answers.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::elements;
use crate::house::{House, Jail, eventually};

const WHO: &str = "203.0.113.1";
/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9/compute/v1/";
/// A loaded machine takes this long to do something that takes milliseconds.
const SOON: Duration = Duration::from_secs(5);

fn house(action: &str) -> House {
    let house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: &format!("action = {action}"),
    }]);
    house
}

fn nowhere(more: &str) -> String {
    format!("gcp-firewall[rule=block-ip, project=mail-1, endpoint=\"{NOWHERE}\"{more}]")
}

/// One action of the jail, as `status` has it.
fn action(house: &House, name: &str) -> Value {
    let status = house.json(&["status"]);
    let jails = status["jails"].as_array().unwrap();
    let jail = jails.iter().find(|jail| jail["name"] == "plain").unwrap();
    jail["actions"][name].clone()
}

fn layer(verified: &Value, action: &str) -> Value {
    let layers = verified["layers"].as_array().unwrap();
    let found = layers
        .iter()
        .find(|layer| layer["jail"] == "plain" && layer["action"] == action);
    found.unwrap_or_else(|| panic!("{verified}")).clone()
}

fn until_lagging(house: &House) {
    eventually("the cloud is said to lag", || {
        !house.json(&["status"])["lagging"].as_array().unwrap().is_empty()
    });
}

#[test]
fn an_api_that_does_not_answer_slows_nothing() {
    let mut house = house(&nowhere(""));
    let begun = Instant::now();
    house.start();
    assert!(begun.elapsed() < SOON, "the start took {:?}", begun.elapsed());
    house.fail("plain", WHO);
    let begun = Instant::now();
    eventually("the kernel has it", || elements::kernel(&house).contains_key(WHO));
    assert!(begun.elapsed() < SOON, "the ban took {:?}", begun.elapsed());
    let rules = house.kernel();
    assert!(
        rules.contains("gcp-firewall-local") && !rules.contains("dport"),
        "{rules}"
    );
    until_lagging(&house);
    let begun = Instant::now();
    let status = house.json(&["status"]);
    let verified = house.json(&["verify"]);
    assert!(begun.elapsed() < SOON, "answers took {:?}", begun.elapsed());
    assert_eq!(
        (&status["protected"], &status["not_protected"]),
        (&true.into(), &Value::Array(Vec::new())),
        "{status}"
    );
    let said = status["lagging"][0].as_str().unwrap();
    assert!(
        said.contains("the cloud lags") && said.contains("action 'gcp-firewall'"),
        "{said}"
    );
    house.until_said("the cloud lags in jail 'plain', action 'gcp-firewall': ");
    let (cloud, twin) = (action(&house, "gcp-firewall"), action(&house, "gcp-firewall-local"));
    assert_eq!((&cloud["way"], &twin["way"]), (&"cloud".into(), &"native".into()));
    let progress = &cloud["cloud"];
    assert_eq!(
        (&progress["decided"], &progress["pending"]),
        (&1.into(), &1.into()),
        "{progress}"
    );
    assert_eq!(
        (&progress["project"], &progress["rules"][0]),
        (&"mail-1".into(), &"block-ip".into())
    );
    assert!(progress["lag"].as_f64().unwrap() > 0.0);
    assert_eq!(layer(&verified, "gcp-firewall")["state"], "lagging");
    assert_eq!(layer(&verified, "gcp-firewall-local")["state"], "verified");
    for (verb, code) in [("verify", 2), ("status", 0)] {
        let output = house.ask(&[verb]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(
            text.contains("the cloud lags in jail 'plain', action 'gcp-firewall'"),
            "{text}"
        );
    }
    let banned = house.json(&["banned"]);
    assert_eq!(banned[0]["layers"]["gcp-firewall"], "decided");
    lift_and_restart(house);
}

/// One unban lifts both; a restart keeps what is banned; the end of everything does not wait for long.
fn lift_and_restart(mut house: House) {
    assert_eq!(house.json(&["unban", WHO])["count"], 1);
    eventually("the kernel frees it", || !elements::kernel(&house).contains_key(WHO));
    assert_eq!(action(&house, "gcp-firewall")["cloud"]["decided"], 0);
    house.fail("plain", "203.0.113.2");
    house.until_banned("plain 203.0.113.2");
    let begun = Instant::now();
    assert_eq!(house.terminate(), Some(0));
    assert!(begun.elapsed() < SOON, "SIGTERM took {:?}", begun.elapsed());
    house.start();
    house.until_banned("plain 203.0.113.2");
    assert_eq!(action(&house, "gcp-firewall")["cloud"]["decided"], 1);
    let begun = Instant::now();
    assert!(house.ask(&["stop"]).status.success());
    assert_eq!(house.wait(), Some(0));
    assert!(
        begun.elapsed() < SOON + Duration::from_secs(10),
        "stop took {:?}",
        begun.elapsed()
    );
}

/// `local = no`: nothing holds the bans meanwhile, and that is what is said.
#[test]
fn alone_it_is_not_protected() {
    let mut house = house(&nowhere(", local=no"));
    house.start();
    house.until_said("bans in the cloud alone (local = no)");
    house.fail("plain", WHO);
    house.until_banned(&format!("plain {WHO}"));
    let alone = "jail 'plain', action 'gcp-firewall' lags";
    house.until_said(&format!("NOT PROTECTED: {alone}"));
    let verified = house.ask(&["verify"]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(2), "{text}");
    assert!(text.contains(alone), "{text}");
    assert_eq!(house.ask(&["status"]).status.code(), Some(2));
    assert!(elements::kernel(&house).is_empty());
    assert_eq!(action(&house, "gcp-firewall-local"), Value::Null);
}

/// The recipe as it is published: gcloud has no such flags, and is not asked.
#[test]
fn the_published_commands_are_done_by_ourselves() {
    let mut house = house("block");
    let command = |verb: &str| format!("gcloud compute firewall-rules update block-ip --{verb}-source-ranges <ip>");
    let text = format!(
        "[Definition]\nactionban = {}\nactionunban = {}\n",
        command("add"),
        command("remove")
    );
    house.write("etc/action.d/block.conf", text);
    for (name, value) in [
        ("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", NOWHERE),
        ("CLOUDSDK_CORE_PROJECT", "mail-1"),
        // Whoever runs the tests may have set it for a gcloud of theirs.
        ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", ""),
    ] {
        house.environment.push((name.to_owned(), value.to_owned()));
    }
    house.start();
    house.fail("plain", WHO);
    eventually("the kernel has it", || elements::kernel(&house).contains_key(WHO));
    until_lagging(&house);
    let cloud = action(&house, "block");
    assert_eq!(cloud["way"], "cloud");
    let remarks = cloud["cloud"]["remarks"].to_string();
    assert!(
        remarks.contains("done by portcullis itself in the rule block-ip"),
        "{remarks}"
    );
    assert_eq!(house.said("done by portcullis itself in the rule block-ip").len(), 1);
    assert!(house.kernel().contains("block-local"));
}

/// A command that is not known word for word is left to the shell, and why is said once; so it is with `native = no`.
#[test]
fn other_commands_are_left_to_the_shell() {
    let mut house = house("block");
    let command =
        |verb: &str| format!("gcloud --account=me compute firewall-rules update r --{verb}-source-ranges <ip>");
    let text = format!(
        "[Definition]\nactionban = {}\nactionunban = {}\n",
        command("add"),
        command("remove")
    );
    house.write("etc/action.d/block.conf", text);
    house.start();
    assert_eq!(action(&house, "block")["way"], "shell");
    assert_eq!(
        house.said("is left to the shell").len(),
        1,
        "{:?}",
        house.said("gcloud")
    );
}

/// A reload keeps what is decided, and a rule of another name is told all of it.
#[test]
fn a_reload_with_another_rule() {
    let mut house = house(&nowhere(""));
    house.start();
    house.fail("plain", WHO);
    house.until_banned(&format!("plain {WHO}"));
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: &format!("action = {}", nowhere("").replace("block-ip", "block-other")),
    }]);
    house.json(&["reload"]);
    eventually("the other rule is named", || {
        let progress = action(&house, "gcp-firewall")["cloud"].clone();
        progress["rules"][0] == "block-other" && progress["decided"] == 1
    });
    assert!(elements::kernel(&house).contains_key(WHO));
}
