//! `portcullis gcp …` without a daemon, against the fake.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use serde_json::{Value, json};

use crate::fake::{ACCOUNT, EXTERNAL, Fault, PROJECT, Problem};
use crate::house::eventually;
use crate::vm::Vm;

/// Runs a verb; the JSON that it prints, and its exit code.
fn asked(vm: &Vm, words: &[&str]) -> (Value, i32) {
    let output = vm.verb(&[&["gcp"], words, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text);
    let value = value.unwrap_or_else(|error| panic!("{words:?}: {error}: {text} {}", said(&output)));
    (value, output.status.code().unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The worst level of the findings of one kind.
fn level<'v>(document: &'v Value, code: &str) -> Option<&'v str> {
    let findings = document["findings"].as_array().unwrap().iter();
    let levels = findings.filter(|finding| finding["code"] == code);
    let levels = levels.map(|finding| finding["level"].as_str().unwrap());
    levels.max_by_key(|level| ["ok", "warn", "bad"].iter().position(|known| known == level))
}

#[test]
fn entries_by_hand() {
    let vm = Vm::new();
    vm.fake.block_ip(&["203.0.113.0/24"]);
    let (answer, code) = asked(&vm, &["add", "block-ip", "198.51.100.7", "198.51.100.0/25"]);
    assert_eq!((code, &answer["size"]), (0, &json!(3)), "{answer}");
    assert_eq!(answer["added"], json!(["198.51.100.7/32", "198.51.100.0/25"]));
    assert_eq!(
        vm.fake.ranges("block-ip"),
        ["203.0.113.0/24", "198.51.100.7/32", "198.51.100.0/25"]
    );
    let (answer, code) = asked(&vm, &["add", "block-ip", "198.51.100.7"]);
    assert_eq!(
        (code, &answer["writes"]),
        (0, &json!(0)),
        "what is so already costs no write: {answer}"
    );
    let (_, code) = asked(
        &vm,
        &[
            "remove",
            "block-ip",
            "198.51.100.7",
            "198.51.100.0/25",
            "203.0.113.0/24",
        ],
    );
    assert_eq!(code, 0);
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32"], "never empty");
    // A person's entry was taken out, as a person wanted.
    let found = vm.fake.findings();
    assert!(
        found.iter().all(|finding| finding.contains("takes out 203.0.113.0/24")),
        "{found:?}"
    );
}

#[test]
fn what_is_not_written_by_hand() {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.fake
        .make(&json!({"name": "let-in", "allowed": [{"IPProtocol": "all"}], "sourceRanges": ["198.51.100.0/24"]}));
    let check = |words: &[&str], part: &str| {
        let (answer, code) = asked(&vm, words);
        let error = answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{words:?}: {answer}"));
        assert_eq!(code, 1, "{answer}");
        assert!(error.contains(part), "{words:?}: {error}");
    };
    check(&["add", "block-ip", "0.0.0.0/0", "--force"], "everybody");
    check(&["add", "block-ip", "32.0.0.0/7"], "wider than /8");
    check(&["add", "block-ip", "10.1.2.3"], "private");
    check(&["add", "block-ip", EXTERNAL], "external address");
    check(&["add", "block-ip", "35.235.240.7"], "IAP");
    check(&["add", "block-ip", "198.51.100.7", "2001:db8:7::/64"], "IPv4 or IPv6");
    check(&["add", "block-ip", "2001:db8:7::/64"], "IPv4");
    check(&["add", "block-ip", "nobody"], "no address");
    check(&["add", "let-in", "198.51.100.7"], "let in");
    check(
        &["add", "nowhere", "198.51.100.7"],
        "gcloud compute firewall-rules create nowhere",
    );
    check(&["add", "Block", "198.51.100.7"], "no name of a firewall rule");
    check(
        &["add", "nowhere", "198.51.100.7"],
        "gcloud compute firewall-rules list --project",
    );
    check(&["flush", "--yes", "Block"], "no name of a firewall rule");
    check(&["plan", "nowhere"], "portcullis gcp doctor NAME");
    check(
        &["add", "block-ip", "198.51.100.7", "--project", "My Project"],
        "gcloud projects list",
    );
    let (report, code) = asked(&vm, &["selftest", "--rule", "nowhere"]);
    assert_eq!((code, &report["finished"]), (1, &json!(false)), "{report:#}");
    assert!(
        report["mend"].as_str().unwrap().contains("create nowhere"),
        "{report:#}"
    );
    assert_eq!(vm.fake.count("PATCH", "block-ip"), 0);
    let (answer, code) = asked(&vm, &["add", "block-ip", "10.1.2.3", "--force"]);
    assert_eq!(code, 0, "{answer}");
    assert!(answer["notes"][0].as_str().unwrap().contains("--force"), "{answer}");
}

#[test]
fn a_write_is_tried_until_it_is_done() {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.fake.script("PATCH", "block-ip", 1, Fault::Reset { is_done: true });
    let (answer, code) = asked(&vm, &["add", "block-ip", "198.51.100.7"]);
    assert_eq!((code, &answer["size"]), (0, &json!(2)), "{answer}");
    assert_eq!(vm.fake.count("PATCH", "block-ip"), 2);
    vm.fake
        .script("PATCH", "block-ip", 1, Fault::Refused(Problem::busy("the network")));
    let (_, code) = asked(&vm, &["add", "block-ip", "198.51.100.8"]);
    assert_eq!(code, 0);
    vm.fake
        .settings(|settings| _ = settings.lacking.insert("compute.firewalls.update".into()));
    let (answer, code) = asked(&vm, &["add", "block-ip", "198.51.100.9"]);
    assert_eq!(code, 1);
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.contains("compute.firewalls.update") && error.contains("add-iam-policy-binding"),
        "{error}"
    );
}

#[test]
fn a_doctor_who_finds_nothing_and_one_who_does() {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32", "203.0.113.0/24"]);
    let (answer, _) = asked(&vm, &["doctor", "block-ip"]);
    assert_eq!(answer["bad"], 0, "{answer:#}");
    for code in [
        "machine",
        "token",
        "scopes",
        "api",
        "clock",
        "permission",
        "quota",
        "rule",
        "network",
        "targets",
        "effective",
    ] {
        assert_eq!(level(&answer, code), Some("ok"), "{code}: {answer:#}");
    }
    let check = |code: &str, expect: &str| {
        let (answer, exit) = asked(&vm, &["doctor", "block-ip"]);
        assert_eq!(level(&answer, code), Some(expect), "{code}: {answer:#}");
        let least = if expect == "bad" { 2 } else { 1 };
        assert!(exit >= least, "{code}: {exit}");
    };
    let let_in = |priority: u16| json!({"name": "let-in", "priority": priority, "allowed": [{"IPProtocol": "tcp"}], "sourceRanges": ["0.0.0.0/0"]});
    vm.fake.make(&let_in(5));
    check("priority", "bad");
    vm.fake.delete("let-in");
    vm.fake.disable("block-ip");
    check("rule", "bad");
    vm.fake.set("block-ip", "disabled", json!(false));
    vm.fake.set("block-ip", "targetTags", json!(["web"]));
    check("targets", "bad");
    vm.fake.set("block-ip", "targetTags", json!([]));
    let lacks = |name: &str| vm.fake.settings(|settings| settings.lacking = [name.to_owned()].into());
    lacks("compute.networks.updatePolicy");
    check("permission", "bad");
    lacks("compute.instances.getEffectiveFirewalls");
    check("policies", "warn");
    lacks("compute.projects.get");
    check("quota", "warn");
    vm.fake.settings(|settings| {
        settings.lacking.clear();
        settings.scopes = vec!["https://www.googleapis.com/auth/devstorage.read_only".to_owned()];
    });
    vm.fake.revoke();
    check("scopes", "bad");
    let (answer, _) = asked(&vm, &["doctor", "block-ip", "--offline"]);
    assert_eq!(level(&answer, "scopes"), Some("bad"), "{answer:#}");
}

/// Each permission that is missing is mended by the guide's roles, with this machine's names in the commands.
#[test]
fn a_doctor_who_names_the_roles() {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    let check = |lacking: &str, role: &str, condition: &str| {
        vm.fake
            .settings(|settings| settings.lacking = [lacking.to_owned()].into());
        let (answer, _) = asked(&vm, &["doctor", "block-ip"]);
        let findings = answer["findings"].as_array().unwrap().iter();
        let mends: Vec<&str> = findings.filter_map(|finding| finding["mend"].as_str()).collect();
        let make = format!("\ngcloud iam roles create {role} --project={PROJECT} --title=");
        let bind = format!(
            "\ngcloud projects add-iam-policy-binding {PROJECT} --member=serviceAccount:{ACCOUNT} \
             --role=projects/{PROJECT}/roles/{role} --condition={condition}\n"
        );
        let update = format!("roles update {role} --project={PROJECT} --add-permissions={lacking}\n");
        let is_whole = |mend: &&str| [&make, &bind, &update].iter().all(|part| mend.contains(*part));
        assert!(mends.iter().any(is_whole), "{lacking}: {mends:#?}");
    };
    let named = format!(
        "\"title=block-ip,expression=resource.name.startsWith('projects/{PROJECT}/global/firewalls/block-ip')\""
    );
    check("compute.firewalls.get", "portcullis", &named);
    check("compute.firewalls.update", "portcullis", &named);
    check("compute.firewalls.create", "portcullis", &named);
    check("compute.networks.updatePolicy", "portcullisProject", "None");
    check("compute.globalOperations.get", "portcullisProject", "None");
    check("compute.instances.getEffectiveFirewalls", "portcullisProject", "None");
}

#[test]
fn a_report_of_what_the_service_does() {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    let (report, code) = asked(&vm, &["selftest", "--public", "--limit"]);
    assert_eq!((code, &report["finished"]), (0, &json!(true)), "{report:#}");
    assert!(!report.to_string().contains(PROJECT), "{report:#}");
    let said = |name: &str| {
        let trials = report["trials"].as_array().unwrap();
        let trial = trials.iter().find(|trial| trial["name"] == name);
        trial.unwrap_or_else(|| panic!("{name}"))["said"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(said("host bits").starts_with("refused"), "{report:#}");
    assert!(said("both families").starts_with("refused"), "{report:#}");
    assert!(said("same requestId").starts_with("the same operation"), "{report:#}");
    assert!(said("limit").starts_with("5000 entries are taken"), "{report:#}");
    assert!(said("empty list").ends_with("0.0.0.0/0"), "{report:#}");
    let rules = vm
        .fake
        .with(|state| state.projects[PROJECT].rules.keys().cloned().collect::<Vec<_>>());
    assert_eq!(rules, ["block-ip"], "what was made is gone");
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32"]);
    // What no daemon may ever do was done, on rules that meet nobody.
    let found = vm.fake.findings();
    assert!(
        found.iter().all(|finding| finding.contains("portcullis-selftest-")),
        "{found:?}"
    );
    let (report, code) = asked(&vm, &["selftest", "--rule", "block-ip"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(vm.fake.ranges("block-ip"), ["192.0.2.1/32"]);
}

/// The guide's binding is to the rule's name: what is refused is said with what permits it, and names nobody who would
/// not be named.
#[test]
fn a_report_that_is_not_permitted() {
    let vm = Vm::new();
    vm.fake.block_ip(&["192.0.2.1/32"]);
    vm.fake
        .settings(|settings| _ = settings.lacking.insert("compute.firewalls.create".into()));
    let bind = format!(
        "gcloud projects add-iam-policy-binding {PROJECT} --member=serviceAccount:{ACCOUNT} \
         --role=projects/{PROJECT}/roles/portcullis --condition=\"title=portcullis-selftest-until,\
         expression=resource.name.startsWith('projects/{PROJECT}/global/firewalls/portcullis-selftest-') && request.time < "
    );
    let (report, code) = asked(&vm, &["selftest"]);
    assert_eq!((code, &report["finished"]), (1, &json!(false)), "{report:#}");
    assert!(report["mend"].as_str().unwrap().contains(&bind), "{report:#}");
    let output = vm.verb(&["gcp", "selftest", "--public"]);
    assert!(said(&output).contains(&bind), "{}", said(&output));
    assert!(!String::from_utf8_lossy(&output.stdout).contains(PROJECT), "{output:?}");
    let help = vm.verb(&["gcp", "selftest", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("the guide's binding does not permit"), "{help}");
    assert_eq!(
        report["left"],
        Value::Null,
        "what was refused is not to be deleted: {report:#}"
    );
    // What the guide's binding permits is enough for this.
    let (report, code) = asked(&vm, &["selftest", "--rule", "block-ip"]);
    assert_eq!((code, &report["mend"]), (0, &Value::Null), "{report:#}");
}

/// A daemon that has banned somebody in the rule, in which there was an entry of a person's.
fn banned() -> Vm {
    let mut vm = Vm::new();
    vm.fake.block_ip(&["203.0.113.0/28"]);
    vm.jail("action = gcp-firewall[rule=block-ip]");
    vm.house.start();
    vm.house.fail("plain", WHO);
    vm.fake.until_listed("block-ip", "198.51.100.7/32", true);
    // How the rules stand is put up for others a moment later.
    eventually("it is put up", || asked(&vm, &["status"]).0["daemon"] == true);
    vm
}

const WHO: &str = "198.51.100.7";

#[test]
fn plan_and_status_with_a_daemon_and_without() {
    let mut vm = banned();
    let level = |vm: &Vm, words: &[&str], daemon: bool| {
        let mut last = Value::Null;
        eventually(&format!("{words:?} says that all is level"), || {
            let (answer, code) = asked(vm, words);
            assert_eq!(answer["daemon"], daemon, "{answer:#}");
            last = answer;
            code == 0
        });
        last
    };
    for daemon in [true, false] {
        let status = level(&vm, &["status", "block-ip"], daemon);
        let rule = &status["projects"][0]["rules"][0];
        assert_eq!(
            (&rule["name"], &rule["foreign"]),
            (&json!("block-ip"), &json!(1)),
            "{status:#}"
        );
        assert_eq!(rule["wanted"], json!(["198.51.100.7/32"]), "{status:#}");
        assert_eq!(level(&vm, &["plan"], daemon)["calls"], 0);
        if daemon {
            assert_eq!(vm.house.terminate(), Some(0));
        }
    }
    // Nobody keeps the rule level now.
    let writes = vm.fake.count("PATCH", "block-ip");
    vm.fake.remove("block-ip", &["198.51.100.7/32"]);
    let (plan, code) = asked(&vm, &["plan", "block-ip"]);
    let rule = &plan["projects"][0]["rules"][0];
    assert_eq!((code, &plan["pending"]), (2, &json!(true)), "{plan:#}");
    assert_eq!(rule["adds"], json!(["198.51.100.7/32"]), "{plan:#}");
    let body = rule["body"]["sourceRanges"].as_array().unwrap();
    assert!(
        body.contains(&json!("203.0.113.0/28")) && body.contains(&json!("198.51.100.7/32")),
        "{plan:#}"
    );
    assert_eq!(vm.fake.count("PATCH", "block-ip"), writes, "a plan writes nothing");
    let output = vm.verb(&["gcp", "status", "--list"]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains("203.0.113.0/28  somebody else's"), "{page}");
    assert_eq!(output.status.code(), Some(2), "{page}");
    let (error, code) = asked(&vm, &["status", "other"]);
    assert!(
        code == 1 && error["error"].as_str().unwrap().contains("'other'"),
        "{error}"
    );
}

#[test]
fn ours_goes_and_theirs_stays() {
    let mut vm = banned();
    let (error, code) = asked(&vm, &["flush", "--yes"]);
    assert!(
        code == 1 && error["error"].as_str().unwrap().contains("portcullis flush"),
        "{error}"
    );
    let (answer, _) = asked(&vm, &["add", "block-ip", "198.51.100.9"]);
    assert!(
        answer["notes"][0].as_str().unwrap().contains("somebody else's"),
        "{answer}"
    );
    assert_eq!(vm.house.terminate(), Some(0));
    let (answer, code) = asked(&vm, &["flush", "--yes"]);
    assert_eq!((code, &answer["count"]), (0, &json!(1)), "{answer:#}");
    assert_eq!(answer["rules"][0]["removed"], json!(["198.51.100.7/32"]));
    let ranges = vm.fake.ranges("block-ip");
    assert!(ranges.contains(&"203.0.113.0/28".to_owned()) && ranges.contains(&"198.51.100.9/32".to_owned()));
    assert!(!ranges.contains(&"198.51.100.7/32".to_owned()));
    let (answer, code) = asked(&vm, &["flush", "--yes"]);
    assert_eq!((code, &answer["count"]), (0, &json!(0)), "{answer:#}");
}

/// The page of the documents' fields, held against what the verbs print: neither has one that the other has not.
#[test]
fn the_page_of_json_has_every_field_and_no_other() {
    let mut vm = banned();
    vm.house.fail("plain", EXTERNAL);
    vm.house.until_banned(&format!("plain {EXTERNAL}"));
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut ask = |vm: &Vm, words: &[&'static str]| {
        let (answer, _) = asked(vm, words);
        assert!(answer.get("error").is_none(), "{words:?}: {answer:#}");
        fields("", &answer, seen.entry(words[0]).or_default());
        answer
    };
    eventually("the protected one is known", || {
        ask(&vm, &["status"])["projects"][0]["protected"][0] != Value::Null
    });
    ask(&vm, &["plan"]);
    ask(&vm, &["doctor"]);
    ask(&vm, &["add", "block-ip", "198.51.100.9"]);
    ask(&vm, &["remove", "block-ip", "198.51.100.9"]);
    ask(&vm, &["selftest"]);
    assert_eq!(vm.house.terminate(), Some(0));
    ask(&vm, &["flush", "--yes"]);
    // What was taken out is wanted still: a plan with a body, and with somebody who is protected.
    let plan = ask(&vm, &["plan"]);
    assert_eq!(plan["pending"], true, "{plan:#}");
    ask(&vm, &["status"]);
    for (verb, seen) in &seen {
        // The two that edit are one section.
        let name = format!("gcp {}", if *verb == "remove" { "add" } else { verb });
        let (rows, example) = section(&name);
        assert_eq!(*seen, rows, "gcp {verb}: what it prints, and what stands on the page");
        let mut shown = BTreeSet::new();
        fields("", &example, &mut shown);
        let unknown: Vec<_> = shown.difference(&rows).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?} are in the example alone");
    }
    assert_eq!(seen.len(), 7, "every verb");
    let found = vm.fake.findings();
    let is_known = |finding: &String| finding.contains("portcullis-selftest-");
    assert!(found.iter().all(is_known), "{found:?}");
}

/// A section of the page: the fields in its table, and its example.
fn section(name: &str) -> (BTreeSet<String>, Value) {
    let page = include_str!("../../docs/guide/json.md");
    let (_, rest) = page
        .split_once(&format!("\n## {name}\n"))
        .unwrap_or_else(|| panic!("no section {name}"));
    let text = rest.split("\n## ").next().unwrap();
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let example = text
        .split("\n```json\n")
        .nth(1)
        .and_then(|rest| rest.split("\n```").next());
    let example = serde_json::from_str(example.unwrap_or_else(|| panic!("{name} has no example")));
    (rows.map(str::to_owned).collect(), example.unwrap())
}

/// The paths of all fields of a document, as the page has them.
fn fields(path: &str, value: &Value, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                seen.insert(path.clone());
                fields(&path, value, seen);
            }
        }
        Value::Array(items) => items
            .iter()
            .filter(|item| item.is_object())
            .for_each(|item| fields(&format!("{path}[]"), item, seen)),
        _ => {}
    }
}
