//! A tour through a server's life: the same command lines given to Fail2Ban's client and to ours, each with a server of
//! its own. What is printed, what is logged and how each ends must be equal.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::json;

use super::count::Count;
use super::oracle::{self, Oracle};

/// The command lines.
const COMMANDS: &str = include_str!("commands.txt");
/// A server has so long to start, to end, or to write something down.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Make {
    Fail2Ban,
    Portcullis,
}

/// What came of a command line.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    code: i64,
    out: String,
    err: String,
}

/// A folder with a configuration, and a server that is asked by one client.
struct World {
    folder: tempfile::TempDir,
    client: Make,
    server: Make,
    oracle: Oracle,
}

impl World {
    fn new(client: Make, server: Make) -> Self {
        let mut command = oracle::python();
        command.env("FAIL2BAN_BIN", oracle::root().join("usr/bin"));
        let world = World {
            folder: tempfile::tempdir().unwrap(),
            client,
            server,
            oracle: Oracle::of(&mut command, "client"),
        };
        for folder in ["etc/jail.d", "etc/filter.d", "etc/action.d"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        for log in ["a.log", "b.log", "other.log", "third.log"] {
            world.write(log, "");
        }
        world.write(
            "etc/fail2ban.conf",
            "[Definition]\nloglevel = INFO\nlogtarget = FOLDER/server.log\nsyslogsocket = auto\nsocket = FOLDER/sock\n\
             pidfile = FOLDER/pid\ndbfile = FOLDER/db\ndbmaxmatches = 10\ndbpurgeage = 1d\n",
        );
        world.write(
            "etc/filter.d/plain.conf",
            "[Definition]\nfailregex = ^ fail <HOST>$\n            ^ fail <HOST> \u{fc}$\nignoreregex =\n",
        );
        world.write(
            "etc/action.d/note.conf",
            "[Definition]\nactionstart =\nactionstop =\nactioncheck =\nactionban = echo 'ban <name> <ip>'\n\
             actionunban = echo 'unban <name> <ip>'\n[Init]\nname = default\n",
        );
        world.write(
            "etc/jail.conf",
            "[DEFAULT]\nbackend = polling\nusedns = no\nbantime = 600\nignoreself = false\n[a]\nenabled = true\n\
             filter = plain\nlogpath = FOLDER/a.log\naction = note[name=a]\n",
        );
        world
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    fn name(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    fn write(&self, part: &str, text: &str) {
        let text = text.replace("\\n", "\n").replace("FOLDER", &self.name());
        fs::write(self.path(part), text).unwrap();
    }

    /// Something that is done to the folder or the server.
    fn prepare(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        match (word(), word(), word()) {
            ("!write", file, text) => self.write(file, text),
            ("!remove", file, _) => fs::remove_file(self.path(file)).unwrap(),
            ("!start", ..) => self.start(),
            other => panic!("{other:?}"),
        }
    }

    /// Starts the server in the background, by its own program.
    fn start(&mut self) {
        let etc = self.path("etc");
        let words = ["-c", etc.to_str().unwrap(), "start"].map(str::to_owned);
        let outcome = self.run(self.server, "fail2ban-server", &words, "");
        assert_eq!(
            (outcome.code, outcome.out.as_str()),
            (0, "Server ready\n"),
            "{outcome:?}"
        );
    }

    /// One command line of the client under test.
    fn ask(&mut self, line: &str) -> Outcome {
        let (input, line) = match line.strip_prefix('<') {
            Some(rest) => rest.split_once("> ").unwrap(),
            None => ("", line),
        };
        let etc = self.path("etc").to_str().unwrap().to_owned();
        let line = line.replace("FOLDER", &self.name());
        let mut arguments = vec!["-c".to_owned(), etc];
        arguments.extend(words(&line));
        let outcome = self.run(self.client, "fail2ban-client", &arguments, &input.replace("\\n", "\n"));
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.arg0(program).args(arguments).current_dir("/");
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

    /// Without what is different in each run: times, process ids, the folder.
    fn plain(&self, outcome: Outcome) -> Outcome {
        static TIMES: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d{3})?").unwrap());
        static PROCESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^(TIME \S+ +)\[\d+\]").unwrap());
        let plain = |text: &str| {
            let text = text.replace(&self.name(), "FOLDER");
            let text = TIMES.replace_all(&text, "TIME");
            PROCESS.replace_all(&text, "$1[PID]").into_owned()
        };
        Outcome {
            code: outcome.code,
            out: own_words(&plain(&outcome.out), self.client),
            err: logged(&plain(&outcome.err)),
        }
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

/// Goes the whole way with two servers of a make, and compares what the two clients say.
fn tour(name: &'static str, server: Make, at_least: u64) {
    let mut theirs = World::new(Make::Fail2Ban, Make::Fail2Ban);
    let mut ours = World::new(Make::Portcullis, server);
    let mut count = Count::of(name);
    let lines = COMMANDS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        if line.starts_with('!') {
            theirs.prepare(line);
            ours.prepare(line);
            continue;
        }
        let asked = thread::scope(|scope| {
            let theirs = scope.spawn(|| theirs.ask(line));
            (ours.ask(line), theirs.join().unwrap())
        });
        count.compare(&asked.0, &asked.1, || line.to_owned());
    }
    count.close(at_least);
}

#[test]
fn our_client_with_fail2bans_server() {
    tour("command lines for a server of Fail2Ban", Make::Fail2Ban, 190);
}
