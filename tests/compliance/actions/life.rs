//! One jail from its first start to its last stop, in both programs at once: the same folder, the same log, the same
//! orders. Each step waits until both have done it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stage::{Call, Stage, calls};
use crate::house::PROGRAM;
use crate::oracle::Oracle;

/// Generous, because the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the jail.
pub(super) const JAIL: &str = "j";

/// A jail in both programs.
pub(super) struct Life<'s> {
    stage: &'s Stage,
    oracle: &'s mut Oracle,
    folder: PathBuf,
    fails: Option<String>,
    theirs: Option<i64>,
    ours: Option<Child>,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Theirs,
    Ours,
}

pub(super) const SIDES: [Side; 2] = [Side::Theirs, Side::Ours];

impl Side {
    fn file(self, name: &str) -> String {
        match self {
            Side::Theirs => format!("theirs-{name}"),
            Side::Ours => format!("ours-{name}"),
        }
    }
}

impl<'s> Life<'s> {
    /// A jail with these files in its configuration folder, beside Fail2Ban's own stock.
    pub(super) fn new(stage: &'s Stage, oracle: &'s mut Oracle, name: &str, files: &[(&str, String)]) -> Self {
        let folder = stage.path(name);
        configure(&folder, files);
        Self {
            stage,
            oracle,
            folder,
            fails: None,
            theirs: None,
            ours: None,
        }
    }

    /// Some commands are to end with 1, the same ones in both programs.
    pub(super) fn failing(mut self, fails: impl ToString) -> Self {
        self.fails = Some(fails.to_string());
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Appends to the log.
    pub(super) fn log(&self, lines: &[u8]) {
        let path = self.path("log");
        let mut log = OpenOptions::new().create(true).append(true).open(path).unwrap();
        log.write_all(lines).unwrap();
    }

    /// Starts both programs.
    pub(super) fn start(&mut self) {
        self.start_theirs();
        let state = self.path("state");
        fs::create_dir_all(&state).unwrap();
        let mut command = self.stage.command("unshare");
        // Without a network of its own, it would find the tables of the others.
        command
            .args(["-n", "--", PROGRAM, "run", "-c"])
            .arg(self.path("etc"))
            .arg("--state")
            .arg(state)
            .arg("--socket")
            .arg(self.path("ours-socket"));
        for (name, value) in self.environment(Side::Ours) {
            command.env(name, value);
        }
        let out = OpenOptions::new().create(true).append(true).open(self.path("ours-out"));
        let out = out.unwrap();
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out);
        self.ours = Some(command.spawn().unwrap());
    }

    fn start_theirs(&mut self) {
        let path = |name: &str| self.path(&Side::Theirs.file(name)).display().to_string();
        let arguments = json!([
            "-f",
            "-c",
            self.path("etc"),
            "-s",
            path("socket"),
            "-p",
            path("pid"),
            "--logtarget",
            path("log"),
            "--loglevel",
            "INFO",
            "start"
        ]);
        let environment: std::collections::BTreeMap<_, _> = self.environment(Side::Theirs).collect();
        let question = json!(["start", arguments, environment, path("out")]);
        self.theirs = Some(self.oracle.ask(&question).as_i64().unwrap());
    }

    fn environment(&self, side: Side) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let record = self.path(&side.file("record")).display().to_string();
        let fails = self.fails.clone().map(|fails| ("FAILS", fails));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.stage.path("bin").display());
        [Some(("RECORD", record)), fails, Some(("PATH", path))]
            .into_iter()
            .flatten()
    }

    /// What a program gave to shells.
    pub(super) fn calls(&self, side: Side) -> Vec<Call> {
        calls(&self.path(&side.file("record")))
    }

    /// Waits until both have run so many commands in which a text stands.
    pub(super) fn until(&self, text: &str, many: usize) {
        self.until_in(&SIDES, text, many);
    }

    /// Waits until these have.
    pub(super) fn until_in(&self, sides: &[Side], text: &str, many: usize) {
        let start = Instant::now();
        for side in sides.iter().copied() {
            while self.count(side, text) < many && start.elapsed() < PATIENCE {
                sleep(Duration::from_millis(20));
            }
            assert!(self.count(side, text) >= many, "{side:?}: never {many} times '{text}'");
        }
    }

    fn count(&self, side: Side, text: &str) -> usize {
        let holds = |call: &&Call| call.get(1).is_some_and(|script| contains(script, text.as_bytes()));
        self.calls(side).iter().filter(holds).count()
    }

    /// Gives an order: to Fail2Ban as its command, to us as our verb.
    pub(super) fn order(&mut self, theirs: &[&str], ours: &[&str]) {
        self.order_theirs(theirs);
        let output = self.verb(ours);
        assert!(output.status.success(), "{ours:?}: {output:?}");
    }

    fn order_theirs(&mut self, command: &[&str]) {
        let reply = self.ask_theirs(command);
        assert_eq!(reply[0], 0, "{command:?}: {reply}");
    }

    /// What Fail2Ban answers to a command: a code and a text.
    pub(super) fn ask_theirs(&mut self, command: &[&str]) -> Value {
        let socket = self.path(&Side::Theirs.file("socket"));
        self.oracle.ask(&json!(["send", socket, command]))
    }

    /// What comes of one of our verbs.
    pub(super) fn verb(&self, words: &[&str]) -> Output {
        let mut command = self.stage.command(PROGRAM);
        command.args(words).arg("--socket").arg(self.path("ours-socket"));
        command.arg("-c").arg(self.path("etc")).output().unwrap()
    }

    /// Writes other files into the folder, and has both read it again.
    pub(super) fn reload(&mut self, files: &[(&str, String)]) {
        write(&self.folder, files);
        let client = crate::oracle::root().join("usr/bin/fail2ban-client");
        let socket = self.path(&Side::Theirs.file("socket"));
        let mut theirs = self.stage.python();
        theirs.arg(client).arg("-c").arg(self.path("etc")).arg("-s").arg(socket);
        let output = theirs.arg("reload").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let output = self.verb(&["reload"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Stops both and waits for their ends.
    pub(super) fn stop(&mut self) {
        self.order_theirs(&["stop"]);
        // It may end before its answer arrives; that it has ended is seen below.
        let _ = self.verb(&["stop"]);
        let start = Instant::now();
        let child = self.theirs.take().unwrap();
        while self.oracle.ask(&json!(["ended", child])).is_null() {
            assert!(start.elapsed() < PATIENCE, "Fail2Ban does not end");
            sleep(Duration::from_millis(20));
        }
        let mut ours = self.ours.take().unwrap();
        while ours.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "portcullis does not end");
            sleep(Duration::from_millis(20));
        }
    }

    /// What both said, for a message.
    pub(super) fn told(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read(self.path(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().rev().take(30).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!(
            "theirs:\n{}\n{}\nours:\n{}\n",
            tail("theirs-out"),
            tail("theirs-log"),
            tail("ours-out")
        )
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        if let Some(mut ours) = self.ours.take() {
            let _ = ours.kill();
            let _ = ours.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.told());
        }
    }
}

/// Makes a folder with Fail2Ban's own stock in `etc`, these files beside it, and an empty log, for which `LOG` stands.
pub(super) fn configure(folder: &Path, files: &[(&str, String)]) {
    let etc = folder.join("etc");
    let stock = crate::oracle::configuration();
    for part in ["filter.d", "action.d"] {
        fs::create_dir_all(etc.join(part)).unwrap();
        for entry in fs::read_dir(stock.join(part)).unwrap() {
            let entry = entry.unwrap();
            symlink(entry.path(), etc.join(part).join(entry.file_name())).unwrap();
        }
    }
    for part in ["fail2ban.conf", "jail.conf", "paths-debian.conf", "paths-common.conf"] {
        symlink(stock.join(part), etc.join(part)).unwrap();
    }
    write(folder, files);
    fs::write(folder.join("log"), "").unwrap();
}

/// Writes files of the configuration.
fn write(folder: &Path, files: &[(&str, String)]) {
    let here = |part: &str| folder.join(part).display().to_string();
    for (name, text) in files {
        let text = text.replace("LOG", &here("log")).replace("FOLDER", &here(""));
        fs::write(folder.join("etc").join(name), text).unwrap();
    }
}

/// Whether bytes stand within others.
pub(super) fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// A command as text for a message.
pub(super) fn shown(call: &Call) -> String {
    let words = call.iter().skip(1).map(|word| word.escape_ascii().to_string());
    words.collect::<Vec<_>>().join(" ⏎ ")
}

/// The names of the stock's action files, without their ending.
pub(super) fn stock(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("action.d")).unwrap();
    let names = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".conf").map(str::to_owned))
        .collect();
    names.sort_unstable();
    names
}
