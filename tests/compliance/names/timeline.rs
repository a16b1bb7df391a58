//! Whom a jail ignores, step by step: Fail2Ban's `Filter` and our engine on one clock, with one resolver, the same files
//! and the same commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use portcullis_core::action::render;
use portcullis_core::address::Id;
use portcullis_core::allow::{Found, List, Stat};
use portcullis_core::config::plan::JailPlan;
use portcullis_core::engine::{Answer, Arrangement, Batch, Effect, Engine, Event, Input, Question};
use portcullis_core::filter::{Failure, Identity};
use portcullis_core::ledger::{Data, Field};
use portcullis_core::time::{Clock, Seconds, Timestamp};
use serde_json::{Value, json};

use crate::count::Count;
use crate::names::dice;
use crate::oracle::Oracle;

type Table = BTreeMap<&'static str, Vec<&'static str>>;

/// Our engine and what the daemon would do around it.
struct Ours {
    engine: Engine,
    now: Timestamp,
    names: Table,
    commands: Vec<Vec<String>>,
    lines: Vec<String>,
    counted: bool,
    held: bool,
}

impl Ours {
    fn new(plan: JailPlan, own: &[&str]) -> Ours {
        let mut ours = Ours {
            engine: Engine::new(),
            now: Timestamp::from_seconds(1_000_000_000),
            names: Table::new(),
            commands: Vec::new(),
            lines: Vec::new(),
            counted: false,
            held: false,
        };
        ours.input(Input::Own(own.iter().map(|address| address.parse().unwrap()).collect()));
        ours.input(Input::Plan(vec![Arrangement {
            plan,
            held: None,
            native: BTreeSet::new(),
            cloud: BTreeSet::new(),
            reloaded: true,
        }]));
        ours
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(self.now, input, &mut out);
        for effect in out {
            match effect {
                Effect::Ask(question) => {
                    let answer = self.answer(question);
                    self.input(Input::Answer(answer));
                }
                Effect::Note(Event::Ignored { jail, id, rule }) => {
                    self.lines.push(format!("[{jail}] Ignore {id} by {rule}"));
                }
                Effect::Note(Event::Found { .. }) => self.counted = true,
                Effect::Note(Event::Held { .. }) => self.held = true,
                _ => {}
            }
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Name { name, .. } => {
                let addresses = self.names.get(&*name).into_iter().flatten();
                Answer::Name {
                    addresses: addresses.map(|address| address.parse::<IpAddr>().unwrap()).collect(),
                    name,
                }
            }
            Question::List { path, known } => Answer::List {
                found: read(&Path::new("/").join(&*path), known),
                path,
            },
            Question::Command { number, script, values } => {
                let command = render(&script, &values);
                let parts: Vec<String> = std::iter::once(command.script).chain(command.values).collect();
                let ignore = crc32(parts.join("\0").as_bytes()).is_multiple_of(3);
                self.commands.push(parts);
                Answer::Command { number, ignore }
            }
            Question::Facts { .. } => panic!("nothing here needs facts"),
        }
    }

    fn step(&mut self, time: f64, id: Id, data: &Data, matches: &[String]) -> Value {
        self.now = Timestamp::default() + Seconds::from_f64(time);
        (self.commands, self.lines, self.counted) = (Vec::new(), Vec::new(), false);
        self.input(Input::Batch(Batch {
            clock: Clock::at(self.now),
            failures: vec![Failure {
                jail: "j".into(),
                identity: Identity::Known(id),
                time: self.now,
                data: data.clone(),
                matches: matches.iter().map(|line| line.as_str().into()).collect(),
            }],
            reads: Vec::new(),
            sessions: Vec::new(),
            at_once: true,
        }));
        json!({"ignored": !self.counted, "lines": self.lines, "commands": self.commands})
    }
}

/// What the daemon does for a file.
fn read(path: &Path, known: Option<Stat>) -> Found {
    let Ok(metadata) = fs::metadata(path) else {
        return Found::Failed("no file".into(), None);
    };
    let stat = Stat {
        modified: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        inode: metadata.ino(),
        size: metadata.len(),
    };
    if known == Some(stat) {
        return Found::Same;
    }
    match List::parse(&fs::read_to_string(path).unwrap()) {
        Ok(list) => Found::Read(stat, list),
        Err(error) => Found::Failed(error.to_string(), Some(stat)),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

const IDS: &[&str] = &[
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "192.0.2.4",
    "10.1.2.3",
    "10.0.0.0/24",
    "10.0.0.0/7",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8::9",
    "198.51.100.1",
    "alice",
    "one.example",
    "999.1.1.1",
    "203.0.113.9",
];
const ENTRIES: &[&str] = &[
    "192.0.2.1",
    "10.0.0.0/8",
    "2001:db8::/126",
    "one.example",
    "two.example",
    "192.0.2.2/31",
    "alice",
    "10.0.0.0/25",
    "2001:db8::9",
    "::ffff:192.0.2.4",
];
const CONTENTS: &[&str] = &[
    "",
    "192.0.2.1",
    "192.0.2.2,192.0.2.3",
    "# 192.0.2.1\n192.0.2.4;x\n10.0.0.0/8 ; c",
    "listed.example",
    "alice\n2001:db8::/64",
    "alice 192.0.2.9",
    "10.0.0.0\t#c",
    "10.0.0.0 192.0.2.128/25",
    "one.example, 192.0.2.1",
    "10.0.0.0/255.0.255.0 192.0.2.1",
    "192.0.2.3\r# x\r192.0.2.4",
];
const ADDRESSES: &[&str] = &["192.0.2.1", "192.0.2.3", "2001:db8::2", "10.1.2.3", "203.0.113.9"];
const COMMANDS: &[&str] = &[
    "",
    "",
    "check <ip>",
    "check <ip> <F-USER> <fid> <family> <ip-rev> <jail.name>",
    "x '<matches>' <failures> <time> <bancount> <bantime> <restored><br><nope><F-NOPE><sp><F-ID>",
    "<F-USER> <raw-ticket> <F-*>",
];
const CACHES: &[(&str, &str)] = &[
    ("<ip>", "300"),
    ("<fid> <family>", "30"),
    ("x", "2"),
    ("<F-KIND>", "1h"),
    ("<time>", "0"),
];
const USERS: &[&str] = &["root", "ad min", "x;y$(z)", "ö", "<ip>"];
const GAPS: &[f64] = &[
    0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.5, 2.0, 30.0, 59.0, 61.0, 62.5, 150.0, 300.0, 301.0,
];

/// One scenario after the other, from one row of numbers.
struct Play<D> {
    dice: D,
    folder: tempfile::TempDir,
    touched: u64,
}

impl<D: FnMut(u64) -> u64> Play<D> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from((self.dice)(from.len() as u64)).unwrap()]
    }

    fn chance(&mut self, one_in: u64) -> bool {
        (self.dice)(one_in) == 0
    }

    fn rewrite(&mut self, name: &str) {
        let path = self.folder.path().join(name);
        if self.chance(5) {
            let _ = fs::remove_file(path);
            return;
        }
        fs::write(&path, self.pick(CONTENTS)).unwrap();
        self.touched += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_000 + self.touched * 40);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    fn names(&mut self) -> Table {
        let mut table = Table::new();
        for name in ["one.example", "two.example", "listed.example"] {
            let count = (self.dice)(3);
            table.insert(name, (0..count).map(|_| self.pick(ADDRESSES)).collect());
        }
        table
    }

    fn plan(&mut self) -> (JailPlan, Value) {
        let mut plan = JailPlan::new("j", "auto");
        plan.started = true;
        (plan.maxretry, plan.ignoreself) = (1_000_000, !self.chance(4));
        for _ in 0..(self.dice)(6) {
            let entry = match (self.dice)(4) {
                0 => {
                    let name = self.pick(&["a", "b"]);
                    format!("file:/{}/{name}", self.folder.path().display())
                }
                _ => self.pick(ENTRIES).to_owned(),
            };
            if !plan.ignoreip.contains(&entry) {
                plan.ignoreip.push(entry);
            }
        }
        plan.ignorecommand = self.pick(COMMANDS).to_owned();
        let mut cache = Value::Null;
        if self.chance(2) {
            let ((key, lasts), most) = (self.pick(CACHES), (self.dice)(4));
            plan.ignorecache = Some(format!("key=\"{key}\", max-count={most}, max-time={lasts}"));
            cache = json!({"key": key, "max-count": most.to_string(), "max-time": lasts});
        }
        let begin = json!({
            "ignoreself": plan.ignoreself, "ignoreip": plan.ignoreip, "cache": cache, "own": ["198.51.100.1"],
            "command": if plan.ignorecommand.is_empty() { Value::Bool(false) } else { plan.ignorecommand.as_str().into() },
        });
        (plan, begin)
    }
}

#[test]
fn whom_a_jail_ignores() {
    let mut play = Play {
        dice: dice(41),
        folder: tempfile::tempdir().unwrap(),
        touched: 0,
    };
    let mut oracle = Oracle::start("ignoring");
    let mut count = Count::of("ignoring, decisions with lines and commands");
    let (mut ignored, mut refused, mut by) = (0, 0, BTreeMap::<String, u32>::new());
    for scenario in 0..250 {
        play.rewrite("a");
        play.rewrite("b");
        let (plan, begin) = play.plan();
        let told = format!("{scenario}: {begin}");
        refused += behind_a_file(&plan.ignoreip, &oracle.ask(&json!({"begin": begin})), &told);
        let mut ours = Ours::new(plan, &["198.51.100.1"]);
        ours.names = play.names();
        let mut time = 1_000_000_000.0;
        for step in 0..40 {
            time += play.pick(GAPS);
            // When Fail2Ban asks for a name depends on more than the decision (on the order in a Python set, for one),
            // so that names change only when all it knows of them is old.
            if play.chance(5) {
                ours.names = play.names();
                time += 301.0;
            }
            if play.chance(4) {
                let name = play.pick(&["a", "b"]);
                play.rewrite(name);
            }
            let (id, user, kind) = (play.pick(IDS), play.pick(USERS), play.pick(&["p", "q"]));
            let matches = vec![format!("line of {user}")];
            let data = json!({"matches": matches, "fid": id, "kind": kind, "user": user});
            let question =
                json!({"steps": [{"time": time, "names": ours.names, "id": id, "is_ip": true, "data": data}]});
            let theirs = oracle.ask(&question)[0].clone();
            let fields = [("user", user), ("kind", kind), ("fid", id)];
            let fields = Data::from_iter(fields.map(|(name, text)| (name, Field::Text(text.into()))));
            let mine = ours.step(time, Id::parse(id).unwrap(), &fields, &matches);
            ignored += u32::from(theirs["ignored"] == json!(true));
            let rule = theirs["lines"][0].as_str().map_or("silently, or counted", |line| {
                let rule = line.split(" by ").nth(1).unwrap();
                if rule.starts_with("file:") { "file" } else { rule }
            });
            *by.entry(rule.to_owned()).or_default() += 1;
            count.compare(&mine, &theirs, || format!("{told}\n    step {step}: {question}"));
        }
    }
    println!("{ignored} ignored; {by:?}; {refused} entries behind a file, which Fail2Ban refuses (D-102)");
    assert!(
        refused > 20 && by.len() == 6 && by.values().all(|many| *many > 50),
        "{by:?}"
    );
    count.close(10_000);
}

/// How long a name is believed: it changes at any time, and an address of either meaning fails.
#[test]
fn how_long_names_are_believed() {
    let mut play = Play {
        dice: dice(5),
        folder: tempfile::tempdir().unwrap(),
        touched: 0,
    };
    let mut oracle = Oracle::start("ignoring");
    let mut count = Count::of("ignoring, age of names");
    let mut old = 0;
    for _ in 0..40 {
        let mut plan = JailPlan::new("j", "auto");
        plan.started = true;
        (plan.maxretry, plan.ignoreip) = (1_000_000, vec!["one.example".to_owned()]);
        let begin = json!({"ignoreself": true, "ignoreip": plan.ignoreip, "cache": null, "own": [], "command": false});
        oracle.ask(&json!({"begin": begin}));
        let mut ours = Ours::new(plan, &[]);
        let mut time = 1_000_000_000.0;
        for _ in 0..40 {
            time += play.pick(GAPS);
            if play.chance(3) {
                ours.names = play.names();
            }
            let id = play.pick(&["192.0.2.1", "192.0.2.3", "2001:db8::2", "203.0.113.9"]);
            let step = json!({"time": time, "names": ours.names, "id": id, "is_ip": true, "data": {"matches": []}});
            let theirs = oracle.ask(&json!({"steps": [step]}))[0].clone();
            let mine = ours.step(time, Id::parse(id).unwrap(), &Data::default(), &[]);
            let now = ours
                .names
                .get("one.example")
                .is_some_and(|addresses| addresses.contains(&id));
            old += u32::from(theirs["ignored"] != json!(now));
            count.compare(&mine, &theirs, || step.to_string());
        }
    }
    assert!(old > 100, "decided by an older answer: {old}");
    count.close(1600);
}

/// D-102: exactly the entries that stand behind a file are refused by Fail2Ban, where it must compare them with it.
fn behind_a_file(entries: &[String], answer: &Value, told: &str) -> usize {
    let refused: Vec<bool> =
        serde_json::from_value(answer["refused"].clone()).unwrap_or_else(|_| panic!("{answer}: {told}"));
    let first = entries
        .iter()
        .position(|entry| entry.starts_with("file:"))
        .unwrap_or(entries.len());
    for (at, (entry, refused)) in entries.iter().zip(&refused).enumerate() {
        assert_eq!(*refused, at > first && !entry.starts_with("file:"), "{entry} in {told}");
    }
    refused.iter().filter(|refused| **refused).count()
}

fn one(oracle: &mut Oracle, begin: &Value, id: &str, is_ip: bool) -> Value {
    let begun = oracle.ask(&json!({"begin": begin}));
    assert!(begun["error"].is_null(), "{begun}");
    let data = json!({"matches": ["line"], "user": "x;y"});
    let step = json!({"time": 1_000_000_000.5, "names": {}, "id": id, "is_ip": is_ip, "data": data});
    oracle.ask(&json!({"steps": [step]}))[0].clone()
}

/// The differences that docs/deviations.md names, both outputs of each.
#[test]
fn where_we_do_otherwise() {
    let mut oracle = Oracle::start("ignoring");
    let data = Data::from_iter([("user", Field::Text("x;y".into()))]);
    let mut plan = JailPlan::new("j", "auto");
    plan.started = true;
    plan.maxretry = 1;
    let begin = |entries: &[String], cache: Value| json!({"ignoreself": false, "ignoreip": entries, "cache": cache, "own": [], "command": false});
    let ours = |plan: &JailPlan, id: &str| {
        let mut ours = Ours::new(plan.clone(), &[]);
        let decided = ours.step(1_000_000_000.5, Id::parse(id).unwrap(), &data, &["line".into()]);
        (decided["ignored"] == json!(true), ours.held)
    };
    // D-103: a key with a value that a shell acts upon.
    plan.ignorecache = Some("key=\"<F-USER>\"".into());
    let theirs = one(&mut oracle, &begin(&[], json!({"key": "<F-USER>"})), "192.0.2.1", true);
    assert_eq!(theirs["failed"], json!("unhashable type: 'list'"));
    assert_eq!(ours(&plan, "192.0.2.1"), (false, false));
    plan.ignorecache = None;
    // D-105: a file that was never read holds the jail.
    let folder = tempfile::tempdir().unwrap();
    let missing = vec![format!("file:/{}/none", folder.path().display())];
    plan.ignoreip = missing.clone();
    let theirs = one(&mut oracle, &begin(&missing, Value::Null), "192.0.2.1", true);
    assert_eq!(theirs["ignored"], json!(false));
    assert_eq!(ours(&plan, "192.0.2.1"), (false, true), "counted, and not banned");
    // D-106: a text that is an id because of `usedns = raw` is looked for in files, too.
    fs::write(folder.path().join("list"), "alice").unwrap();
    let list = vec![format!("file:/{}/list", folder.path().display())];
    plan.ignoreip = list.clone();
    assert_eq!(
        one(&mut oracle, &begin(&list, Value::Null), "alice", true)["ignored"],
        json!(true)
    );
    assert_eq!(
        one(&mut oracle, &begin(&list, Value::Null), "alice", false)["ignored"],
        json!(false)
    );
    assert_eq!(ours(&plan, "alice"), (true, false));
}
