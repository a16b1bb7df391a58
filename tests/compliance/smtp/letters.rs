//! Letters, as values.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::action::{JailFacts, Merged};
use portcullis_core::address::Id;
use portcullis_core::ledger::{Data, Ticket};
use portcullis_core::mail::{Error, Letter, Mail};
use portcullis_core::time::{Seconds, Timestamp};
use serde_json::{Value, json};

use crate::chance::{Chance, rounds};
use crate::count::Count;
use crate::oracle::{self, Oracle};

/// When all letters are written.
const TIME: i64 = 1_795_361_182;

/// What a letter is about.
#[derive(Clone, Debug)]
struct Case {
    options: Vec<(&'static str, String)>,
    event: &'static str,
    jail: String,
    machine: String,
    ip: String,
    bantime: i64,
    failures: u32,
    matches: Vec<String>,
}

fn case() -> Case {
    Case {
        options: vec![("host", "localhost:25".into())],
        event: "ban",
        jail: "sshd".into(),
        machine: "mx1".into(),
        ip: "192.0.2.7".into(),
        bantime: 600,
        failures: 5,
        matches: vec!["a line".into()],
    }
}

impl Case {
    fn with(mut self, name: &'static str, value: &str) -> Case {
        self.options.push((name, value.to_owned()));
        self
    }

    fn lines(self, lines: &[&str]) -> Case {
        let matches = lines.iter().map(|line| (*line).to_owned()).collect();
        Case { matches, ..self }.with("matches", "matches")
    }

    fn theirs(&self, oracle: &mut Oracle) -> Value {
        let options: BTreeMap<_, _> = self.options.iter().cloned().collect();
        let text = self.matches.join("\n");
        oracle.ask(&json!({
            "file": oracle::configuration().join("action.d/smtp.py"), "options": options, "event": self.event,
            "jail": self.jail, "machine": self.machine, "bantime": self.bantime, "time": TIME,
            "info": {"ip": self.ip, "failures": self.failures, "matches": text,
                     "ipmatches": format!("{text}\nearlier"), "ipjailmatches": format!("{text}\nhere")},
        }))
    }

    fn ours(&self) -> Value {
        let options = self
            .options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mail = match Mail::new(&options.collect()) {
            Ok(mail) => mail,
            Err(error) => return json!({"error": error.to_string()}),
        };
        match mail.write(&self.letter(&mail), Timestamp::from_seconds(TIME)) {
            Ok(text) => json!({"sender": mail.sender, "recipients": mail.recipients, "text": text}),
            Err(error) => json!({"error": error.to_string()}),
        }
    }

    fn letter(&self, mail: &Mail) -> Letter {
        match self.event {
            "start" => return mail.about_start(&self.jail, &self.machine),
            "stop" => return mail.about_stop(&self.jail, &self.machine),
            _ => {}
        }
        let mut matches: Vec<Arc<str>> = self.matches.iter().map(|line| line.as_str().into()).collect();
        let ticket = Ticket {
            id: Id::parse(&self.ip).unwrap_or_else(|_| Id::Raw(self.ip.clone())),
            time: Timestamp::from_seconds(TIME),
            bantime: Seconds::new(86_400),
            bancount: 1,
            failures: self.failures,
            matches: matches.clone(),
            data: Data::default(),
            restored: false,
        };
        let jail = JailFacts {
            name: self.jail.clone(),
            bantime: Seconds::new(self.bantime),
            ..JailFacts::default()
        };
        let is_here = self.options.contains(&("matches", "ipjailmatches".to_owned()));
        matches.push(if is_here { "here" } else { "earlier" }.into());
        let merged = Merged { failures: 9, matches };
        let merged = (!mail.needs().is_empty()).then_some(&merged);
        mail.about_ban(&ticket, &jail, &self.machine, merged)
    }
}

/// Compares one letter; where Python's `email` garbles the subject (D-137), ours has to be whole.
fn compare(case: &Case, oracle: &mut Oracle, count: &mut Count) -> bool {
    let (ours, mut theirs) = (case.ours(), case.theirs(oracle));
    if theirs["error"].is_string() && ours["error"].is_string() {
        count.equal(1);
        return false;
    }
    let shown = theirs.as_object_mut().and_then(|answer| answer.remove("subject"));
    let meant = Mail::new(&BTreeMap::new())
        .map(|mail| case.letter(&mail).subject)
        .unwrap();
    if shown.is_some_and(|shown| shown != json!(meant)) {
        let text = ours["text"].as_str().unwrap();
        count.compare(&is_safe(text), &true, || format!("D-137 {case:?}: {text}"));
        return true;
    }
    count.compare(&ours, &theirs, || format!("{case:?}"));
    false
}

/// Whether the head has no other fields than those that are meant, and nothing but ASCII.
fn is_safe(text: &str) -> bool {
    let head = text.split("\r\n\r\n").next().unwrap();
    let fields: Vec<&str> = head
        .split("\r\n")
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let expect = [
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
        "Subject",
        "From",
        "To",
        "Date",
    ];
    text.is_ascii() && fields == expect
}

fn hostile() -> Vec<Case> {
    let many = |what: &str, times: usize| what.repeat(times);
    let lines = |text: String| case().lines(&[&text]);
    let ip = |text: &str| Case {
        ip: text.into(),
        ..case()
    };
    vec![
        ip("192.0.2.7\r\nBcc: everybody@example.com"),
        ip("user\nname"),
        ip("a\u{2028}b"),
        ip("Jürgen Großfürst"),
        ip("from ünter to ä and back"),
        ip(&many("ü", 300)),
        ip(&many("x", 300)),
        ip(&many(" ", 200)),
        ip(&(many("word ", 40) + "ö")),
        ip("\u{0}\u{1}\u{7f}\t\u{8}"),
        ip("=?utf-8?q?=41=0d=0aBcc:_x?="),
        lines("\r\n.\r\nMAIL FROM:<x@example.com>\r\n".into()),
        lines(".".into()),
        lines("..\n.a\n\n.".into()),
        lines("a\rb\r\r\nc\n\r".into()),
        lines("nul \u{0} bell \u{7} escape \u{1b}[2J".into()),
        lines("Jürgen \u{fffd}\u{fffd} 漢字".into()),
        lines(many("ü", 200)),
        lines(many("=", 500)),
        lines(many("x", 500)),
        lines(many("x ", 500)),
        lines(many("a\tb ", 19) + "  "),
        lines(many("漢", 400)),
        lines(many("one line of a log, as they are\n", 40) + &many("y", 200)),
        lines(many("eine Zeile für sich\n", 40) + &many("ä", 200)),
        lines(many(&(many("x", 90) + "\n"), 11_000)),
        lines("From here\n>From there\nContent-Type: text/html\n\n<script>".into()),
        lines(String::new()),
    ]
}

fn plain() -> Vec<Case> {
    let mut cases = Vec::new();
    for event in ["start", "stop", "ban"] {
        for machine in ["mx1", "a-rather-long-name.of-a-machine.example.com"] {
            for jail in ["sshd", "postfix-sasl", "pässe", "a jail with blanks"] {
                for ip in ["192.0.2.7", "2001:db8:1234:5678:9abc:def0:1234:5678"] {
                    let (jail, machine, ip) = (jail.into(), machine.into(), ip.into());
                    cases.push(Case {
                        event,
                        machine,
                        jail,
                        ip,
                        ..case()
                    });
                }
            }
        }
    }
    for matches in ["none", "matches", "ipmatches", "ipjailmatches", ""] {
        cases.push(case().with("matches", matches));
    }
    for name in [
        "",
        "Fail2Ban, Inc.",
        "Jürgen",
        "Jürgen, Söhne & Co.",
        "a \"b\" \\c",
        "two  blanks",
        "(x)",
        "x@y",
    ] {
        cases.push(case().with("sendername", name));
        cases.push(case().with("sendername", name).with("sender", "fail2ban@example.com"));
    }
    let long = (0..9)
        .map(|n| format!("user{n}@example.com"))
        .collect::<Vec<_>>()
        .join(", ");
    for dest in ["root", "a@example.com, b@example.org", "Bob B <bob@example.com>", &long] {
        cases.push(case().with("dest", dest));
    }
    cases.push(Case {
        bantime: -1,
        failures: 0,
        ..case()
    });
    cases
}

#[test]
fn letters_are_fail2bans() {
    let mut oracle = Oracle::start("mails");
    let mut count = Count::of("letters");
    for case in plain() {
        assert!(!compare(&case, &mut oracle, &mut count), "{case:?}");
    }
    let garbled = hostile()
        .iter()
        .filter(|case| compare(case, &mut oracle, &mut count))
        .count();
    assert!(garbled > 0, "D-137 is none any more");
    count.close(80);
}

/// Words of all kinds, in the subject and in the lines.
#[test]
fn letters_of_anything_are_fail2bans() {
    let mut oracle = Oracle::start("mails");
    let mut count = Count::of("random letters");
    let mut garbled = 0;
    for round in rounds(1500) {
        let mut chance = Chance(round);
        let jail = anything(&mut chance, 3);
        let (ip, text) = (anything(&mut chance, 12), anything(&mut chance, 60));
        let case = Case { jail, ip, ..case() }.lines(&text.split('\n').collect::<Vec<_>>());
        garbled += u64::from(compare(&case, &mut oracle, &mut count));
    }
    println!("subjects that Python's email garbles: {garbled}");
    count.close(1500);
}

fn anything(chance: &mut Chance, most: usize) -> String {
    const WORDS: [&str; 16] = [
        "a",
        "ü",
        " ",
        "  ",
        "word",
        "wörter",
        "=?",
        "?=",
        ".",
        "\t",
        "192.0.2.7",
        "漢字",
        "-",
        "=3D",
        "averyverylongword",
        "(",
    ];
    let mut text = String::new();
    for _ in 0..=chance.below(most) {
        text.push_str(chance.pick::<&str>(&WORDS));
        if most > 20 && chance.one_in(8) {
            text.push('\n');
        }
        if chance.one_in(2) {
            text.push(' ');
        }
    }
    text
}

/// D-135: the default host, and any without a port, stops Fail2Ban 1.1.1 before the first word.
#[test]
fn a_host_without_a_port() {
    let mut oracle = Oracle::start("mails");
    let case = Case {
        options: Vec::new(),
        ..case()
    };
    let theirs = case.theirs(&mut oracle);
    assert_eq!(theirs["error"], "ValueError", "{theirs}");
    assert_eq!(case.ours()["recipients"], json!(["root"]));
    let mail = Mail::new(&BTreeMap::new()).unwrap();
    assert_eq!((mail.host.as_str(), mail.port), ("localhost", 25));
}

/// D-135: without a blank behind the comma, Fail2Ban takes both for one recipient, whom no mail server knows.
#[test]
fn recipients_without_blanks() {
    let mut oracle = Oracle::start("mails");
    let case = case().with("dest", "a@example.com,b@example.org");
    let (ours, theirs) = (case.ours(), case.theirs(&mut oracle));
    assert_eq!(theirs["recipients"], json!(["a@example.com,b@example.org"]));
    assert_eq!(ours["recipients"], json!(["a@example.com", "b@example.org"]));
    assert_eq!(ours["text"], theirs["text"]);
}

/// Options that there are not, in both.
#[test]
fn unknown_options() {
    let mut oracle = Oracle::start("mails");
    let case = case().with("subject", "x");
    assert_eq!(case.theirs(&mut oracle)["error"], "TypeError");
    let options = BTreeMap::from([("subject".to_owned(), "x".to_owned())]);
    assert_eq!(Mail::new(&options), Err(Error::Option("subject".into())));
}
