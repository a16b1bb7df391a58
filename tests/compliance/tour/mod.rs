//! A tour through a server's life: the same command lines given to Fail2Ban's client and to ours, each with Fail2Ban's
//! server and with ours. What is printed, what is logged and how each ends must be equal.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::{Value, json};

use super::count::Count;
use super::house::{self, House};
use super::oracle::{self, Oracle};

/// The command lines.
const COMMANDS: &str = include_str!("commands.txt");
/// A server has so long to start, to end, or to write something down.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where our server keeps what is only its own.
const STATE: &str = "PORTCULLIS_STATE";
/// The configuration; FOLDER is where it is.
const CONFIGURATION: &[(&str, &str)] = &[
    ("a.log", ""),
    ("b.log", ""),
    ("other.log", ""),
    ("third.log", ""),
    ("etc/fail2ban.local", ""),
    (
        "etc/fail2ban.conf",
        "[Definition]\nloglevel = INFO\nlogtarget = FOLDER/server.log\nsyslogsocket = auto\nsocket = FOLDER/sock\n\
         pidfile = FOLDER/pid\ndbfile = FOLDER/db\ndbmaxmatches = 10\ndbpurgeage = 1d\n",
    ),
    (
        "etc/filter.d/plain.conf",
        "[Definition]\nfailregex = ^ fail <HOST>$\n            ^ fail <HOST> \u{fc}$\nignoreregex =\n",
    ),
    (
        "etc/action.d/note.conf",
        "[Definition]\nactionstart =\nactionstop =\nactioncheck =\nactionban = echo 'ban <name> <ip>'\n\
         actionunban = echo 'unban <name> <ip>'\n[Init]\nname = default\n",
    ),
    (
        "etc/jail.conf",
        "[DEFAULT]\nbackend = polling\nusedns = no\nbantime = 600\nignoreself = false\n[a]\nenabled = true\n\
         filter = plain\nlogpath = FOLDER/a.log\naction = note[name=a]\n",
    ),
];

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    Fail2Ban,
    Portcullis,
}

impl Make {
    /// The folder of its programs.
    fn folder(self) -> &'static str {
        match self {
            Make::Fail2Ban => "fail2ban",
            Make::Portcullis => "portcullis",
        }
    }
}

/// What came of a command line.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    code: i64,
    out: String,
    err: String,
}

/// A line, what came of it, and in what our server differs.
type Stop = (&'static str, Outcome, Option<&'static str>);

impl Outcome {
    /// As the other server has it: the code and the words of one in the place of the other's, if they are there.
    fn translated(&self, differs: &str) -> Option<Outcome> {
        let differs = differs.replace("\\t", "\t");
        let (ours, theirs) = differs.split_once(" | ").unwrap();
        let ((code, ours), (other, theirs)) = (ours.split_once(' ').unwrap(), theirs.split_once(' ').unwrap());
        let is_there = self.out.contains(ours) && self.code.to_string() == code;
        let code: i64 = other.parse().unwrap();
        let err = match code {
            0 => String::new(),
            _ => self.err.replace(ours, theirs),
        };
        let out = self.out.replace(ours, theirs);
        is_there.then_some(Outcome { code, out, err })
    }
}

/// The lines that are not empty.
fn lines() -> impl Iterator<Item = &'static str> {
    let lines = COMMANDS.lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A folder with a configuration and a network of its own, and a server that is asked by one client.
struct World {
    house: House,
    client: Make,
    server: Make,
    oracle: Oracle,
}

impl World {
    fn new(client: Make, server: Make) -> Self {
        let house = House::empty();
        for folder in ["etc/jail.d", "fail2ban", "portcullis"] {
            fs::create_dir(house.path(folder)).unwrap();
        }
        for name in ["fail2ban-client", "fail2ban-server"] {
            symlink(
                oracle::root().join("usr/bin").join(name),
                house.path("fail2ban").join(name),
            )
            .unwrap();
            symlink(house::PROGRAM, house.path("portcullis").join(name)).unwrap();
        }
        let mut command = house.inside(oracle::PYTHON);
        for (name, value) in oracle::python().get_envs() {
            command.env(name, value.unwrap());
        }
        // Here Fail2Ban's client finds the server that it starts.
        command.env("FAIL2BAN_BIN", house.path(server.folder()));
        command.env(STATE, house.path("state"));
        let world = World {
            client,
            server,
            oracle: Oracle::of(&mut command, "client"),
            house,
        };
        for (file, text) in CONFIGURATION {
            world.write(file, text);
        }
        world
    }

    fn path(&self, part: &str) -> PathBuf {
        self.house.path(part)
    }

    fn name(&self) -> String {
        let etc = self.path("etc");
        etc.parent().unwrap().to_str().unwrap().to_owned()
    }

    fn write(&self, part: &str, text: &str) {
        let text = text.replace("\\n", "\n").replace("FOLDER", &self.name());
        fs::write(self.path(part), text).unwrap();
    }

    /// Goes the whole way: what came of each line, and in what our server differs there.
    fn tour(mut self) -> Vec<Stop> {
        let mut outcomes = Vec::new();
        let mut differs = None;
        for line in lines() {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default();
            match (word(), word(), word()) {
                ("!write", file, text) => self.write(file, text),
                ("!remove", file, _) => fs::remove_file(self.path(file)).unwrap(),
                ("!server", _, words) => differs = Some(words),
                ("!start", ..) => outcomes.push((line, self.start(&line[1..]), differs.take())),
                ("!restart", ..) => outcomes.push((line, self.restart(), differs.take())),
                _ => outcomes.push((line, self.ask(line), differs.take())),
            }
        }
        outcomes
    }

    /// Starts the server in the background. Fail2Ban's client starts whichever it finds, ours only its own (D-161).
    fn start(&mut self, line: &str) -> Outcome {
        if self.client == Make::Fail2Ban || self.server == Make::Portcullis {
            return self.ask(line);
        }
        let outcome = self.run(self.server, "fail2ban-server", &self.arguments(line), "");
        self.plain(outcome)
    }

    fn restart(&mut self) -> Outcome {
        if self.client == Make::Fail2Ban || self.server == Make::Portcullis {
            return self.ask("restart");
        }
        let (stopped, started) = (self.ask("stop"), self.start("start"));
        Outcome {
            code: started.code,
            out: stopped.out + &started.out,
            err: stopped.err + &started.err,
        }
    }

    fn arguments(&self, line: &str) -> Vec<String> {
        let mut arguments = vec!["-c".to_owned(), self.path("etc").to_str().unwrap().to_owned()];
        arguments.extend(words(&line.replace("FOLDER", &self.name())));
        arguments
    }

    /// One command line of the client under test.
    fn ask(&mut self, line: &str) -> Outcome {
        let (input, line) = match line.strip_prefix('<') {
            Some(rest) => rest.split_once("> ").unwrap(),
            None => ("", line),
        };
        let outcome = self.run(
            self.client,
            "fail2ban-client",
            &self.arguments(line),
            &input.replace("\\n", "\n"),
        );
        self.plain(outcome)
    }

    fn run(&mut self, make: Make, program: &str, arguments: &[String], input: &str) -> Outcome {
        if make == Make::Fail2Ban {
            let question = json!({"program": program, "arguments": arguments, "input": input});
            let answer = self.oracle.ask(&question);
            let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
            return Outcome {
                code: answer["code"].as_i64().unwrap(),
                out: text("out"),
                err: text("err"),
            };
        }
        // Files, not pipes: a server in the background must not keep us waiting.
        let file = |name: &str| fs::File::create(self.path(name)).unwrap();
        let own = self.path(make.folder()).join(program);
        let mut command = self.house.inside(own.to_str().unwrap());
        command.args(arguments).current_dir("/").env(STATE, self.path("state"));
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").stdin(Stdio::piped());
        let mut child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or(());
        let status = child.wait().unwrap();
        let text = |name: &str| String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap();
        Outcome {
            code: status.code().unwrap().into(),
            out: text("out"),
            err: text("err"),
        }
    }

    fn plain(&self, outcome: Outcome) -> Outcome {
        Outcome {
            code: outcome.code,
            out: own_words(&self.undated(&outcome.out), self.client),
            err: logged(&self.undated(&outcome.err)),
        }
    }

    /// Without what is different in each run: times, process ids, the folder.
    fn undated(&self, text: &str) -> String {
        static TIMES: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d{3})?").unwrap());
        static PROCESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^(TIME \S+ +)\[\d+\]").unwrap());
        let text = text.replace(&self.name(), "FOLDER");
        let text = TIMES.replace_all(&text, "TIME");
        PROCESS.replace_all(&text, "$1[PID]").into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that fails leaves no server behind.
        let Ok(pid) = fs::read_to_string(self.path("pid")) else {
            return;
        };
        if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let start = Instant::now();
            while Path::new("/proc").join(pid.as_raw_nonzero().to_string()).exists() && start.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Without what is told in our own words: how the interactive client greets, and why a command line is wrong (D-043).
fn own_words(text: &str, client: Make) -> String {
    static GREETINGS: LazyLock<[Regex; 2]> = LazyLock::new(|| {
        [
            r"(?m)^Fail2Ban v1\.1\.\d reads .*\n.*\n\n",
            r"(?m)^portcullis, in place of Fail2Ban's client\. .*\n\n",
        ]
        .map(|form| Regex::new(form).unwrap())
    });
    static ERROR: LazyLock<Regex> = LazyLock::new(|| Regex::new("(?m)^ERROR: .*$").unwrap());
    let greeting = &GREETINGS[usize::from(client == Make::Portcullis)];
    let text = greeting.replace(text, "GREETING\n");
    ERROR.replace_all(&text, "ERROR: ").into_owned()
}

/// What must be equal of the log: warnings and errors of the program itself. What is below them is told in our own
/// words (D-158), and so are complaints about a configuration, but for their beginning (D-043).
fn logged(text: &str) -> String {
    let own = |line: &&str| line.contains(" fail2ban  ") || line.contains(" fail2ban.beautifier ");
    let grave = |line: &&str| line.contains("]: ERROR ") || line.contains("]: WARNING ");
    let lines = text.lines().filter(own).filter(grave);
    let cut = |line: &str| match line.split_once("Failed during configuration: ") {
        Some((before, why)) if !why.starts_with("No section: ") => format!("{before}Failed during configuration"),
        _ => line.to_owned(),
    };
    lines.map(|line| cut(line) + "\n").collect()
}

/// The words of a line; either quote keeps blanks, two single quotes in a row stand for one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quote = matches!(first, '\'' | '"').then_some(first);
        let body = quote.map_or(rest, |_| &rest[1..]);
        let end = body.find(quote.unwrap_or(' ')).unwrap_or(body.len());
        words.push(body[..end].to_owned());
        rest = body[end..].trim_start_matches(quote.unwrap_or(' ')).trim_start();
    }
    words
}

/// Compares what the clients say on the whole way.
fn compare(name: &'static str, server: Make, ours: &[Stop], theirs: &[Stop]) {
    let mut count = Count::of(name);
    for ((line, ours, differs), (_, theirs, _)) in ours.iter().zip(theirs) {
        let differs = differs.filter(|_| server == Make::Portcullis);
        let ours = differs.map_or_else(|| Some(ours.clone()), |differs| ours.translated(differs));
        count.compare(&ours.as_ref(), &Some(theirs), || (*line).to_owned());
    }
    count.close(350);
}

/// All go the way at the same time, and Fail2Ban's own client with its own server once for all.
#[test]
fn either_client_with_either_server() {
    let pairs = [
        (
            "command lines for a server of Fail2Ban",
            Make::Portcullis,
            Make::Fail2Ban,
        ),
        ("command lines of Fail2Ban's client", Make::Fail2Ban, Make::Portcullis),
        ("command lines among ourselves", Make::Portcullis, Make::Portcullis),
    ];
    let go = |client, server| World::new(client, server).tour();
    thread::scope(|scope| {
        let theirs = scope.spawn(move || go(Make::Fail2Ban, Make::Fail2Ban));
        let tours = pairs.map(|(_, client, server)| scope.spawn(move || go(client, server)));
        let theirs = theirs.join().unwrap();
        for ((name, _, server), tour) in pairs.into_iter().zip(tours) {
            compare(name, server, &tour.join().unwrap(), &theirs);
        }
    });
}

/// What a client's words cannot say: commands with values of other kinds, and configurations.
fn typed() -> Vec<Value> {
    vec![
        json!({"reload": "--all", "options": []}),
        // Fail2Ban's bans out of the database come after its answer.
        json!(["sleep", 1.5]),
        json!(["ping"]),
        json!([]),
        json!([1]),
        json!([["ping"]]),
        json!(["set", "a", "bantime", 77]),
        json!(["set", "a", "findtime", 77.5]),
        json!(["set", "a", "maxretry", true]),
        json!(["set", "a", "idle", true]),
        json!(["set", "a", "idle", false]),
        json!(["set", "a", "usedns", false]),
        json!(["set", "a", "logtimezone", null]),
        json!(["set", "loglevel", 20]),
        json!(["set", "dbmaxmatches", 7]),
        json!(["set", "dbpurgeage", 3600]),
        json!(["get", "dbpurgeage"]),
        json!(["get", "thread"]),
        json!(["set", "thread", {"stacksize": 0}]),
        json!(["set", "thread", {"nothing": 0}]),
        json!(["multi-set", "a", "addfailregex", ["^ one <HOST>$", "^ two <HOST>$"]]),
        json!(["multi-set", "a", "addfailregex", ["^ one <HOST>$", "^ two $"]]),
        json!(["multi-set", "a", "addignoreregex", ["^ spare"]]),
        json!(["multi-set", "a", "action", "note", [["name", "x"], ["timeout", 7]]]),
        json!(["get", "a", "action", "note", "name"]),
        json!(["get", "a", "action", "note", "timeout"]),
        json!(["get", "a", "failregex"]),
        json!(["get", "a", "ignoreregex"]),
        json!([
            "server-stream",
            [["set", "a", "maxretry", 4], ["set", "a", "bantime", "5m"]]
        ]),
        json!(["server-stream", [["set", "a", "maxretry", "none"]]]),
        json!(["server-stream", []]),
        json!(["get", "a", "maxretry"]),
        json!(["get", "a", "bantime"]),
        json!(["set", "a", "banip", ["192.0.2.61", "192.0.2.62"]]),
        json!(["get", "a", "banip"]),
        json!(["set", "a", "attempt", ["192.0.2.63"]]),
        json!(["status", "a", "stats"]),
        json!(["status", "--all", "stats"]),
        json!({"reload": "a", "options": []}),
        json!({"reload": "--all", "options": []}),
        json!({"reload": "--all", "options": ["--unban"]}),
        json!({"reload": "a", "options": ["--if-exists"]}),
        json!(["reload", "nojail", [], []]),
        json!(["reload", "nojail", ["--if-exists"], []]),
        json!(["reload"]),
        json!(["reload", "a"]),
        json!({"reload": "a", "options": ["--restart", "--unban"]}),
        json!({"reload": "--all", "options": ["--restart"]}),
        json!(["status"]),
        json!(["status", "a"]),
        json!(["stop", "a"]),
        json!(["status"]),
        json!(["stop"]),
    ]
}

/// The lines of the tour as a client sends them. Those in which our server differs are looked at above.
fn spoken() -> Vec<Value> {
    let client = ["start", "stop", "stop --all"];
    let mut spoken = Vec::new();
    let mut differs = false;
    for line in lines() {
        let words = words(line);
        let is_client = client.contains(&line) || ["restart", "reload"].contains(&words[0].as_str());
        let is_sent = !is_client && !line.starts_with(['!', '<', '-']);
        if is_sent && !differs {
            spoken.push(json!(words));
        }
        differs = line.starts_with("!server");
    }
    spoken.extend(typed());
    spoken
}

/// What a server answers to all of it.
fn replies(server: Make) -> Vec<String> {
    let mut world = World::new(Make::Fail2Ban, server);
    let started = world.start("start");
    assert_eq!(
        (started.code, started.out.as_str()),
        (0, "Server ready\n"),
        "{started:?}"
    );
    let commands = json!(spoken()).to_string().replace("FOLDER", &world.name());
    let commands: Value = serde_json::from_str(&commands).unwrap();
    let question = json!({"socket": world.path("sock"), "folder": world.path("etc"), "commands": commands});
    let answer = Oracle::start("replies").ask(&question);
    let replies = answer.as_array().unwrap_or_else(|| panic!("{answer}"));
    let plain = |reply: &Value| world.undated(reply.as_str().unwrap());
    replies.iter().map(plain).collect()
}

#[test]
fn the_same_objects_come_back() {
    let mut count = Count::of("replies as Fail2Ban's client unpickles them");
    let (ours, theirs) = thread::scope(|scope| {
        let theirs = scope.spawn(|| replies(Make::Fail2Ban));
        (replies(Make::Portcullis), theirs.join().unwrap())
    });
    for (command, (ours, theirs)) in spoken().iter().zip(ours.iter().zip(&theirs)) {
        count.compare(ours, theirs, || command.to_string());
    }
    count.close(320);
}

/// What a command of contract §8.5 is told by: its first word, and the option of `set JAIL`, `get JAIL` or the server.
fn kind_of(line: &str) -> Option<String> {
    const SERVER: [&str; 8] = [
        "loglevel",
        "logtarget",
        "syslogsocket",
        "dbfile",
        "dbmaxmatches",
        "dbpurgeage",
        "thread",
        "allowipv6",
    ];
    let words = words(line.trim_start_matches('!'));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [first, ..] if first.starts_with(['<', '-']) => None,
        [verb @ ("set" | "get"), option, ..] if SERVER.contains(option) => Some(format!("{verb} {option}")),
        ["set" | "get", _] => None,
        [verb @ ("set" | "get" | "multi-set"), _, option, ..] => Some(format!("{verb} JAIL {option}")),
        [verb @ ("status" | "banned" | "stop" | "start"), _, ..] => Some(format!("{verb} …")),
        [first, ..] => Some((*first).to_owned()),
        [] => None,
    }
}

/// The commands that the contract lists, and what is not documented there but obeyed.
const DOCUMENTED: &[&str] = &[
    "start",
    "restart",
    "stop",
    "reload",
    "unban",
    "banned",
    "banned …",
    "status",
    "status …",
    "stats",
    "statistic",
    "statistics",
    "ping",
    "echo",
    "version",
    "flushlogs",
    "help",
    "set loglevel",
    "get loglevel",
    "set logtarget",
    "get logtarget",
    "set syslogsocket",
    "get syslogsocket",
    "set dbfile",
    "get dbfile",
    "set dbmaxmatches",
    "get dbmaxmatches",
    "set dbpurgeage",
    "get dbpurgeage",
    "set allowipv6",
    "set thread",
    "get thread",
    "add",
    "start …",
    "stop …",
    "config-error",
    "sleep",
    "server-status",
    "server-stream",
    "multi-set JAIL addfailregex",
];

/// Options of a jail, to be set, to be read, or both.
const OPTIONS: [&str; 3] = [
    "addignoreip delignoreip addlogpath dellogpath addjournalmatch deljournalmatch addfailregex delfailregex \
     addignoreregex delignoreregex attempt banip unbanip addaction delaction idle",
    "banned logpath journalmatch ignoreip failregex ignoreregex banip actions actionproperties actionmethods",
    "ignoreself ignorecommand ignorecache logencoding prefregex findtime bantime bantime.increment datepattern \
     logtimezone usedns maxretry maxmatches maxlines action",
];

#[test]
fn no_command_is_left_out() {
    let calls: Vec<&str> = lines()
        .filter(|line| !line.starts_with('!') || line.starts_with("!start") || line.starts_with("!restart"))
        .collect();
    let kinds: BTreeSet<String> = calls.iter().filter_map(|line| kind_of(line)).collect();
    let [set, get, both] = OPTIONS.map(|options| options.split_whitespace());
    let set = set.chain(both.clone()).map(|option| format!("set JAIL {option}"));
    let get = get.chain(both).map(|option| format!("get JAIL {option}"));
    let wanted: BTreeSet<String> = DOCUMENTED
        .iter()
        .map(|kind| (*kind).to_owned())
        .chain(set)
        .chain(get)
        .collect();
    let missing: Vec<_> = wanted.difference(&kinds).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut count = Count::of("documented commands in the tour");
    count.equal(u64::try_from(wanted.len()).unwrap());
    count.close(90);
    assert!(calls.len() >= 350, "{}", calls.len());
}
