//! What a mail server hears: Fail2Ban's own action and our daemon, one after the other, tell the same one.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::count::Count;
use crate::house::{House, Jail, append, eventually, stamp};
use crate::oracle::{self, Oracle};
use crate::site::{Server, Site};

const PORT: u16 = 2525;
/// Nobody listens here.
const CLOSED: u16 = 2526;

/// The mail server, as long as it is needed.
struct Sink(Child);

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sink {
    /// Starts it in the house; `encrypted`: with a certificate that nobody has signed.
    fn start(house: &House, encrypted: bool) -> Sink {
        let up = house.inside("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        let mut command = house.inside(oracle::PYTHON);
        command
            .arg(oracle::here().join("drivers/sink.py"))
            .arg(PORT.to_string())
            .arg(house.path("letters"));
        if encrypted {
            command.arg(certificate(house));
        }
        let sink = Sink(command.spawn().unwrap());
        eventually("the mail server listens", || {
            let test = format!("exec 3<>/dev/tcp/{}/{PORT}", Ipv4Addr::LOCALHOST);
            let mut probe = house.inside("bash");
            probe
                .args(["-c", &test])
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        });
        sink
    }
}

fn certificate(house: &House) -> std::path::PathBuf {
    let file = house.path("certificate.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=nobody", "-keyout"])
        .arg(&file)
        .arg("-out")
        .arg(house.path("own.pem"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    append(&file, &fs::read(house.path("own.pem")).unwrap());
    file
}

/// The letters so far, without their dates, which there must be.
fn letters(house: &House) -> Vec<Value> {
    let mut letters: Vec<Value> = house
        .read("letters")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for letter in &mut letters {
        let text = letter["letter"].as_str().unwrap();
        let (before, after) = text.split_once("\r\nDate: ").unwrap();
        let (date, after) = after.split_once("\r\n").unwrap();
        assert!(date.ends_with(" -0000") && date.len() == 31, "{date}");
        letter["letter"] = json!(format!("{before}\r\n{after}"));
    }
    letters
}

const OPTIONS: [(&str, &str); 4] = [
    ("host", "127.0.0.1:2525"),
    ("sendername", "Jürgen, at the gate"),
    ("dest", "root, refused@example.com, admin@example.com"),
    ("matches", "matches"),
];

fn written(options: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = options
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    format!("action = smtp.py[{}]", pairs.join(", "))
}

/// Start, ban and stop, by both; with and without encryption and a login.
#[test]
fn a_mail_server_hears_the_same() {
    let mut count = Count::of("mails on the wire");
    for encrypted in [false, true] {
        let mut options = OPTIONS.to_vec();
        if encrypted {
            options.extend([
                ("ssl", "yes"),
                ("user", "guard"),
                ("password", "se cret"),
                ("sender", "f2b@example.com"),
            ]);
        }
        let mut house = House::empty();
        house.jails(&[Jail {
            name: "plain",
            maxretry: 2,
            options: &written(&options),
        }]);
        let _sink = Sink::start(&house, encrypted);
        house.start();
        eventually("a letter about the start", || letters(&house).len() == 1);
        let lines = hostile(&house);
        eventually("a letter about the ban", || letters(&house).len() == 2);
        assert!(house.ask(&["stop"]).status.success());
        house.wait();
        let ours = letters(&house);
        let calls = house.read("letters.calls").len();
        fs::remove_file(house.path("letters")).unwrap();
        tell_theirs(&house, &options, &lines);
        // D-136: one connection for a letter, where Fail2Ban makes two; one was ours, to see whether the server is there.
        assert_eq!((calls, house.read("letters.calls").len()), (1 + 3, 1 + 3 + 6));
        let theirs = letters(&house);
        assert_eq!((ours.len(), theirs.len()), (3, 3));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            for part in ["hello", "encrypted", "login", "from", "to", "letter"] {
                count.compare(&ours[part], &theirs[part], || format!("{part}, encrypted: {encrypted}"));
            }
        }
    }
    count.close(36);
}

/// Two failures whose lines would speak to a mail server; answers them as the ban has them.
fn hostile(house: &House) -> Vec<String> {
    let lines = [
        "fail from 192.0.2.7 .\r.\rMAIL FROM:<x>",
        "fail from 192.0.2.7 \u{1b}[2J Jürgen \u{7} =?utf-8?q?x?=",
    ];
    let lines: Vec<String> = lines.iter().map(|line| format!("{} {line}", stamp(0))).collect();
    append(&house.log_of("plain"), format!("{}\n", lines.join("\n")).as_bytes());
    lines
}

/// The same by Fail2Ban's file, in the same house.
fn tell_theirs(house: &House, options: &[(&str, &str)], lines: &[String]) {
    let mut python = house.inside(oracle::PYTHON);
    for (name, value) in oracle::python().get_envs() {
        python.env(name, value.unwrap());
    }
    let mut oracle = Oracle::of(&mut python, "mails");
    let options: serde_json::Map<_, _> = options
        .iter()
        .map(|(name, value)| ((*name).into(), json!(value)))
        .collect();
    for event in ["start", "ban", "stop"] {
        let answer = oracle.ask(&json!({
            "file": oracle::configuration().join("action.d/smtp.py"), "options": options, "event": event, "wire": true,
            "jail": "plain", "bantime": 600, "info": {"ip": "192.0.2.7", "failures": 2, "matches": lines.join("\n")},
        }));
        assert_eq!(answer, Value::Null);
    }
}

/// What is set by hand is in the next mail, by both.
#[test]
fn what_is_set_by_hand() {
    let told = [Server::Portcullis, Server::Fail2Ban].map(|server| {
        let house = House::empty();
        let _sink = Sink::start(&house, false);
        fs::copy(
            oracle::configuration().join("action.d/smtp.py"),
            house.path("etc/action.d/smtp.py"),
        )
        .unwrap();
        let site = Site::start_in(house, server, &written(&OPTIONS));
        eventually("a letter about the start", || letters(&site.house).len() == 1);
        let client = |words: &[&str]| String::from_utf8(site.client(words).stdout).unwrap();
        let mut told = vec![
            client(&["get", "plain", "actions"]),
            client(&["get", "plain", "actionproperties", "smtp"]),
            client(&["get", "plain", "actionmethods", "smtp"]),
            client(&["get", "plain", "action", "smtp", "toaddr"]),
        ];
        for (name, value) in [
            ("toaddr", "other@example.com"),
            ("fromname", "Gate"),
            ("sender", "no one"),
        ] {
            told.push(client(&["set", "plain", "action", "smtp", name, value]));
        }
        site.ban(&["192.0.2.7"]);
        eventually("a letter about the ban", || letters(&site.house).len() == 2);
        let letter = &letters(&site.house)[1];
        assert_eq!(letter["to"], json!(["<other@example.com>"]), "{letter}");
        told.extend(["from", "to", "letter"].map(|part| letter[part].to_string()));
        told
    });
    assert_eq!(told[0], told[1]);
}

/// D-139: a reload takes the action away from Fail2Ban's jail, and says in a mail that the jail has stopped.
#[test]
fn a_reload() {
    let action = written(&OPTIONS);
    let house = House::empty();
    let sink = Sink::start(&house, false);
    fs::copy(
        oracle::configuration().join("action.d/smtp.py"),
        house.path("etc/action.d/smtp.py"),
    )
    .unwrap();
    let site = Site::start_in(house, Server::Fail2Ban, &action);
    assert!(site.client(&["reload"]).status.success());
    let actions = site.client(&["get", "plain", "actions"]);
    assert_eq!(String::from_utf8_lossy(&actions.stdout), "No actions for jail plain\n");
    assert_eq!(subjects(&site.house), ["started", "stopped"]);
    drop((sink, site));

    let mut house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: &action,
    }]);
    let _sink = Sink::start(&house, false);
    house.start();
    assert!(house.ask(&["reload"]).status.success());
    house.fail("plain", "192.0.2.7");
    eventually("a letter about the ban", || subjects(&house) == ["started", "banned"]);
    house.terminate();
    assert_eq!(
        subjects(&house),
        ["started", "banned"],
        "bans stay, and so does the jail"
    );
}

/// What each letter is about: the word behind the jail's name.
fn subjects(house: &House) -> Vec<String> {
    let of = |letter: &Value| {
        let text = letter["letter"].as_str().unwrap();
        let (_, subject) = text.split_once("Subject: [Fail2Ban] plain: ").unwrap();
        subject.split(' ').next().unwrap().to_owned()
    };
    letters(house).iter().map(of).collect()
}

/// A mail server that is not there costs the mails and nothing else: they fail as in Fail2Ban, the ban stands.
#[test]
fn without_a_mail_server() {
    let mut house = House::empty();
    let host = format!("127.0.0.1:{CLOSED}");
    let both = format!("{}\n         note[name=plain]", written(&[("host", &host)]));
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: &both,
    }]);
    house.start();
    house.until_said("Failed to start jail 'plain' action 'smtp'");
    house.fail("plain", "192.0.2.8");
    house.until_acted("ban plain 192.0.2.8");
    house.until_said("Failed to execute ban jail 'plain' action 'smtp' info 'ActionInfo(");
    let start = Instant::now();
    assert!(house.ask(&["stop"]).status.success());
    house.wait();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(house.said("Failed to stop jail 'plain' action 'smtp'").len(), 1);
}

/// One that takes the call and says nothing holds up no ban, and `stop` no longer than one time-out.
#[test]
fn a_mail_server_that_says_nothing() {
    let mut house = House::empty();
    let host = format!("127.0.0.1:{CLOSED}");
    let both = format!("{}\n         note[name=plain]", written(&[("host", &host)]));
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: &both,
    }]);
    assert!(
        house
            .inside("ip")
            .args(["link", "set", "lo", "up"])
            .status()
            .unwrap()
            .success()
    );
    let listen = format!("import socket, time; s = socket.create_server(('127.0.0.1', {CLOSED})); time.sleep(600)");
    let _silent = Sink(house.inside(oracle::PYTHON).args(["-c", &listen]).spawn().unwrap());
    eventually("somebody listens", || {
        let list = house.inside("ss").args(["-ltn"]).output().unwrap();
        String::from_utf8_lossy(&list.stdout).contains(&format!(":{CLOSED} "))
    });
    house.start();
    for who in ["192.0.2.8", "192.0.2.9"] {
        house.fail("plain", who);
        house.until_acted(&format!("ban plain {who}"));
    }
    assert_eq!(
        house.said("Failed to start jail 'plain' action 'smtp'"),
        Vec::<String>::new(),
        "still waiting"
    );
    let start = Instant::now();
    assert!(house.ask(&["stop"]).status.success());
    house.wait();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(house.said("the mail server did not answer a moment ago").len(), 3);
}

/// A user's own action in Python is refused by name, with its file and its line, and the rest goes on.
#[test]
fn a_file_of_ones_own() {
    let mut house = House::empty();
    house.write("etc/action.d/own.py", "class Action: pass\n");
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = own.py[a=b]\n         note[name=plain]",
    }]);
    let check = house
        .inside(crate::house::PROGRAM)
        .arg("check")
        .arg("-c")
        .arg(house.path("etc"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(
        shown.contains("own.py") && shown.contains("actionban = PROGRAM <ip>"),
        "{shown}"
    );
    assert!(shown.contains("jail.local:"), "{shown}");
    house.start();
    house.fail("plain", "192.0.2.9");
    house.until_acted("ban plain 192.0.2.9");
    let status = house.ask(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("own.py"), "{status:?}");
}
