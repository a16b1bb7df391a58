//! docs/guide/json.md, held against every verb: each field that comes out stands on the page with its type, each field
//! of the page comes out, and the examples of the page have its fields.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use serde_json::Value;

use crate::house::{House, Jail, PROGRAM, stamp};

const PAGE: &str = include_str!("../../docs/guide/json.md");
/// The verbs that ask a daemon, with what they need.
const ASKING: [&[&str]; 8] = [
    &["status"],
    &["banned"],
    &["ban", "192.0.2.1"],
    &["unban", "--all"],
    &["verify"],
    &["reload"],
    &["stop"],
    &["status", "plain"],
];
/// Those that need none.
const OFFLINE: [&str; 6] = ["check", "regex", "try", "stock", "flush", "doctor"];

/// One section of the page: its fields with their types, and its examples.
#[derive(Default)]
struct Section {
    fields: BTreeMap<String, String>,
    examples: Vec<Value>,
}

fn page() -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    for text in PAGE.split("\n## ").skip(1) {
        let (name, body) = text.split_once('\n').unwrap();
        let section = sections.entry(name.to_owned()).or_default();
        for row in body.lines().filter_map(|line| line.strip_prefix("| `")) {
            let mut cells = row.split(" | ");
            let field = cells.next().unwrap().trim_end_matches('`');
            let known = section
                .fields
                .insert(field.to_owned(), cells.next().unwrap().to_owned());
            assert_eq!(known, None, "{name}: {field} twice");
        }
        let blocks = body.split("```json\n").skip(1);
        let examples = blocks.map(|block| block.split("```").next().unwrap());
        section
            .examples
            .extend(examples.map(|text| serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{name}: {e}"))));
    }
    sections
}

/// Whether a value is of a type of the page.
fn is_of(kind: &str, value: &Value) -> bool {
    if let Some(kind) = kind.strip_suffix(" or null") {
        return value.is_null() || is_of(kind, value);
    }
    match kind {
        "text" => value.is_string(),
        "time" => value
            .as_str()
            .is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()),
        "number" => value.is_number(),
        "truth" => value.is_boolean(),
        "object" => value.is_object(),
        "list" => value.as_array().is_some_and(|items| items.iter().all(Value::is_object)),
        "list of texts" => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
        other => panic!("{other} is no type"),
    }
}

/// What came out under one heading of the page, over all runs.
struct Seen<'p> {
    name: &'static str,
    section: &'p Section,
    paths: BTreeSet<String>,
}

impl Seen<'_> {
    /// Takes a document in: every field of it must stand on the page.
    fn take(&mut self, document: &Value) {
        match document {
            Value::Array(items) => items.iter().for_each(|item| self.walk("[]", item)),
            other => self.walk("", other),
        }
    }

    fn walk(&mut self, path: &str, value: &Value) {
        let below = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        match value {
            Value::Object(fields) => {
                let by_name = below("NAME");
                let is_map = |field: &String| *field == by_name || field.starts_with(&format!("{by_name}."));
                let is_map = self.section.fields.keys().any(is_map);
                for (key, value) in fields {
                    self.field(&if is_map { by_name.clone() } else { below(key) }, value);
                }
            }
            Value::Array(items) => {
                for item in items.iter().filter(|item| item.is_object()) {
                    self.walk(&format!("{path}[]"), item);
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, path: &str, value: &Value) {
        let deeper = format!("{path}.");
        match self.section.fields.get(path) {
            Some(kind) => assert!(is_of(kind, value), "{}: {path} is no {kind}: {value}", self.name),
            // An entry of a map that has fields of its own has no row.
            None => assert!(
                path.ends_with("NAME") && self.section.fields.keys().any(|field| field.starts_with(&deeper)),
                "{}: {path} does not stand on the page",
                self.name
            ),
        }
        self.paths.insert(path.to_owned());
        self.walk(path, value);
    }

    /// Every field of the page was seen, and its examples have no other.
    fn close(mut self) {
        let missing: Vec<&String> = self
            .section
            .fields
            .keys()
            .filter(|field| !self.paths.contains(*field))
            .collect();
        assert!(missing.is_empty(), "{}: {missing:?} did not come out", self.name);
        let examples = &self.section.examples;
        assert!(!examples.is_empty(), "{} has no example", self.name);
        examples.iter().for_each(|example| self.take(example));
    }
}

/// Exactly one document, with this exit code; in an error document the code is the same.
fn document(output: &Output, code: i32) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}{errors}");
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?} {errors}"));
    if let Some(exit) = value.get("exit") {
        assert_eq!(*exit, code, "{value}");
        assert!(!errors.is_empty(), "people are told, too: {value}");
    }
    value
}

fn offline(words: &[&str]) -> Output {
    Command::new(PROGRAM).args(words).arg("--json").output().unwrap()
}

/// Runs under one heading, each with its exit code.
fn holds<'r>(name: &'static str, runs: impl IntoIterator<Item = (Output, i32)> + 'r) {
    let sections = page();
    let section = sections.get(name).unwrap_or_else(|| panic!("no section {name}"));
    let mut seen = Seen {
        name,
        section,
        paths: BTreeSet::new(),
    };
    for (output, code) in runs {
        seen.take(&document(&output, code));
    }
    seen.close();
}

/// Two jails: one bans in the kernel and by a shell action, the other may not ban.
fn house() -> House {
    let house = House::empty();
    house.jails(&[
        Jail {
            name: "plain",
            maxretry: 1,
            options: "action = note[name=plain]\n         nft[type=allports]\n         \
                      gcp-firewall[rule=block-ip, project=mail-1, endpoint=http://127.0.0.1:9/compute/v1/]",
        },
        Jail {
            name: "held",
            maxretry: 3,
            options: "ignoreip = 10.0.0.0/255.0.255.0",
        },
    ]);
    house
}

#[test]
fn verbs_that_ask_the_daemon() {
    let mut house = house();
    house.start();
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    let ask = |words: &[&str]| house.ask(&[words, &["--json"]].concat());
    holds("ban", [(ask(&["ban", "198.51.100.7", "127.0.0.1", "--for", "-1"]), 0)]);
    holds(
        "banned",
        [(ask(&["banned"]), 0), (ask(&["banned", "--jail", "plain"]), 0)],
    );
    let text = String::from_utf8(house.ask(&["banned"]).stdout).unwrap();
    let mut parts: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    parts.sort_unstable();
    let who: Vec<_> = parts.iter().map(|parts| (parts.len(), parts[0], parts[1])).collect();
    assert_eq!(who, [(5, "192.0.2.1", "plain"), (5, "198.51.100.7", "manual")]);
    assert_eq!(parts[1][3], "-");
    let status = ask(&["status", "plain"]);
    let banned = &document(&status, 2)["jails"][0]["banned"];
    assert_eq!(*banned, serde_json::json!(["192.0.2.1"]));
    assert_eq!(
        document(&ask(&["status", "held"]), 2)["jails"][0]["banned"],
        serde_json::json!([])
    );
    holds("status", [(ask(&["status"]), 2), (status, 2)]);
    holds("verify", [(ask(&["verify"]), 2), (ask(&["verify", "--probe"]), 2)]);
    let reload = ask(&["reload"]);
    let answer = document(&reload, 2);
    assert_eq!(
        (&answer["count"], &answer["protected"]),
        (&1.into(), &false.into()),
        "{answer}"
    );
    assert_eq!(answer["held"][0]["jail"], "held");
    holds("reload", [(reload, 2)]);
    holds(
        "doctor",
        [(ask(&["doctor"]), 2), (offline(&["doctor", "-c", "/nowhere"]), 2)],
    );
    errors(&house);
    holds("unban", [(ask(&["unban", "192.0.2.1"]), 0)]);
    assert_eq!(document(&ask(&["stop"]), 0)["count"], 1, "the ban by hand");
    assert_eq!(house.wait(), Some(0));
}

/// The fields of an object, by name.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// An error document, and nothing beside.
fn error(output: &Output, code: i32, text: &str) {
    let value = document(output, code);
    assert_eq!(keys(&value), ["error", "exit"], "{value}");
    assert!(value["error"].as_str().unwrap().contains(text), "{text}: {value}");
}

/// What the daemon refuses.
fn errors(house: &House) {
    for words in [
        &["status", "nojail"][..],
        &["banned", "--jail", "nojail"],
        &["ban", "192.0.2.1", "--jail", "nojail"],
        &["unban", "192.0.2.1", "--jail", "nojail"],
    ] {
        error(&house.ask(&[words, &["--json"]].concat()), 1, "nojail");
    }
    error(&house.ask(&["ban", "127.0.0.1", "--json"]), 1, "127.0.0.1");
}

#[test]
fn errors_have_one_form() {
    let house = House::new(1);
    for words in ASKING {
        error(&house.ask(&[words, &["--json"]].concat()), 3, "no daemon answers");
        error(
            &offline(&[words, &["--bogus"]].concat()),
            1,
            "unexpected argument '--bogus'",
        );
    }
    for (verb, code) in OFFLINE.iter().zip([2, 2, 1, 1, 1, 1]) {
        error(&offline(&[verb, "--bogus"]), code, "unexpected argument '--bogus'");
    }
    for (words, code, text) in [
        (&["ban"][..], 1, "<IP>"),
        (&["ban", "nobody"], 1, "'nobody' is no address"),
        (&["ban", "192.0.2.1", "--for", "a while"], 1, "a while"),
        (&["ban", "--file", "/nowhere/list"], 1, "/nowhere/list"),
        (&["unban", "192.0.2.300"], 1, "192.0.2.300"),
        (&["nothing"], 1, "nothing"),
        (&["regex", "x"], 255, "provide both"),
        (&["regex", "x", "a(b <HOST>"], 255, "a(b"),
        (&["regex", "x", "<HOST>", "-o", "ip"], 2, "--out"),
        (&["stock", "filter.d/nothing.conf"], 1, "nothing.conf"),
    ] {
        error(&offline(words), code, text);
    }
    let (sections, mut examples) = (page(), 0);
    for example in &sections["errors"].examples {
        assert_eq!(keys(example), ["error", "exit"]);
        examples += 1;
    }
    assert!(examples > 0 && sections["errors"].fields.len() == 2);
}

#[test]
fn a_reload_that_leaves_nothing_out() {
    let mut house = house();
    house.start();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "",
    }]);
    let answer = document(&house.ask(&["reload", "--json"]), 0);
    assert_eq!(
        (&answer["count"], &answer["protected"]),
        (&1.into(), &true.into()),
        "{answer}"
    );
    // One that cannot be used at all is refused by its reason.
    house.jails(&[Jail {
        name: "broken",
        maxretry: 1,
        options: "logencoding = gbk",
    }]);
    let reload = house.ask(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr);
    assert_eq!(reload.status.code(), Some(2), "{said}");
    assert!(said.contains("NOT PROTECTED: 'broken' is not in force"), "{said}");
    assert_eq!(String::from_utf8_lossy(&reload.stdout), "jails in force: 0\n");
    error(&house.ask(&["status", "broken", "--json"]), 1, "is not in force");
}

#[test]
fn flush_with_and_without_a_daemon() {
    let mut house = House::new(1);
    house.start();
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    let state = house.path("state").display().to_string();
    let words = ["flush", "--state", &state, "--json"];
    let first = house.ask(&words);
    house.kill();
    holds("flush", [(first, 0), (house.ask(&words), 0)]);
    std::fs::remove_file(house.path("state/fail2ban.sqlite3")).unwrap();
    std::fs::create_dir(house.path("state/fail2ban.sqlite3")).unwrap();
    let half = document(&house.ask(&words), 1);
    assert_eq!(keys(&half), ["count", "error", "exit", "notes"], "{half}");
}

#[test]
fn verbs_that_need_no_daemon() {
    let house = House::new(1);
    house.write("etc/filter.d/odd.conf", "[Definition]\nfailregex = ^a(b <HOST>\n");
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "filter = odd",
    }]);
    let etc = house.path("etc").display().to_string();
    holds(
        "check",
        [
            (offline(&["check", "-c", &etc]), 2),
            (offline(&["check", "-c", "/nowhere"]), 2),
        ],
    );
    let line = format!("{} sshd[7]: fail from 192.0.2.1", stamp(0));
    let whole = [
        (
            offline(&[
                "regex",
                &line,
                "fail from <HOST>",
                "passed",
                "-v",
                "--print-all-matched",
            ]),
            0,
        ),
        (offline(&["regex", "-c", &etc, "nothing", "sshd"]), 0),
        (offline(&["regex", "fail from 192.0.2.1", "fail from <HOST>"]), 0),
    ];
    let found = document(&whole[0].0, 0);
    assert_eq!(found["failregex"][0]["found"][0]["id"], "192.0.2.1");
    assert_eq!(found["matched_lines"], serde_json::json!([line]));
    assert_eq!(
        found["lines"],
        serde_json::json!({"tested": 1, "matched": 1, "ignored": 0, "missed": 0})
    );
    holds("regex", whole);
    holds("stock", [(offline(&["stock"]), 0)]);
    let file = offline(&["stock", "filter.d/sshd.conf"]);
    let text = offline_text(&["stock", "filter.d/sshd.conf"]);
    assert_eq!(document(&file, 0)["text"], text);
    holds("stock FILE", [(file, 0)]);
    holds("try", [(offline(&["try", "--dry-run"]), 0)]);
}

fn offline_text(words: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
