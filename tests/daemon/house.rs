//! A house for one daemon: a configuration of its own, a state folder, logs, and a network namespace that outlives it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");
/// Generous, because the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct House {
    folder: tempfile::TempDir,
    holder: Child,
    run: Option<Child>,
    pub(crate) environment: Vec<(String, String)>,
    /// Further words for `run`
    pub(crate) words: Vec<String>,
    /// What the program is started through, inside the namespace
    pub(crate) through: Vec<String>,
    /// Standard input of the next start
    pub(crate) input: Option<Stdio>,
}

/// What a jail of the tests looks like; the filter sees `fail from ADDRESS`.
pub(crate) struct Jail<'a> {
    pub(crate) name: &'a str,
    pub(crate) maxretry: u32,
    pub(crate) options: &'a str,
}

impl House {
    /// A house with one jail `plain` that reads the log `log`.
    pub(crate) fn new(maxretry: u32) -> House {
        let house = House::empty();
        house.jails(&[Jail {
            name: "plain",
            maxretry,
            options: "",
        }]);
        house
    }

    /// A house with one jail `plain` that bans for the first failure, in the kernel.
    pub(crate) fn native() -> House {
        let house = House::empty();
        house.jails(&[Jail {
            name: "plain",
            maxretry: 1,
            options: "action = nft[type=allports]",
        }]);
        house
    }

    /// A house without jails.
    pub(crate) fn empty() -> House {
        let folder = tempfile::tempdir().unwrap();
        for part in ["etc/filter.d", "etc/action.d", "state"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let house = House {
            holder: namespace(),
            folder,
            run: None,
            environment: Vec::new(),
            words: Vec::new(),
            through: Vec::new(),
            input: None,
        };
        let log = house.path("fail2ban.log");
        house.write(
            "etc/fail2ban.local",
            format!("[Definition]\nlogtarget = {}\n", log.display()),
        );
        house.write(
            "etc/filter.d/plain.conf",
            "[Definition]\nfailregex = ^\\s*fail from <HOST>\n",
        );
        let note = |what: &str| format!("echo '{what} <name> <ip>' >> <file>");
        let action = format!(
            "[Definition]\nactionstart = echo 'start <name>' >> <file>\nactionstop = echo 'stop <name>' >> <file>\n\
             actionban = {}\nactionunban = {}\n[Init]\nname = default\nfile = {}\n",
            note("ban"),
            note("unban"),
            house.path("acts").display()
        );
        house.write("etc/action.d/note.conf", &action);
        house
    }

    /// Writes `jail.local` with these jails; each reads the log of its name, `plain` the log `log`.
    pub(crate) fn jails(&self, jails: &[Jail<'_>]) {
        let mut text = "[DEFAULT]\nbantime = 10m\nfindtime = 2h\nignoreself = false\nignoreip =\n".to_owned();
        for Jail {
            name,
            maxretry,
            options,
        } in jails
        {
            let log = self.log_of(name);
            text += &format!("[{name}]\nenabled = true\nmaxretry = {maxretry}\n");
            if !options.contains("filter =") {
                text += "filter = plain\n";
            }
            if !options.contains("logpath") {
                text += &format!("logpath = {}\n", log.display());
            }
            if !options.contains("action") {
                text += &format!("action = note[name={name}]\n");
            }
            text += &format!("{options}\n");
            OpenOptions::new().create(true).append(true).open(log).unwrap();
        }
        self.write("etc/jail.local", &text);
    }

    pub(crate) fn log_of(&self, jail: &str) -> PathBuf {
        self.path(if jail == "plain" { "log" } else { jail })
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    pub(crate) fn write(&self, part: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(part), text).unwrap();
    }

    /// A path as it is inside the house, where something may be mounted over it.
    pub(crate) fn within(&self, part: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.path(part).display()))
    }

    /// The file's text; nothing if there is none yet.
    pub(crate) fn read(&self, part: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(part)).unwrap_or_default()).into_owned()
    }

    /// Appends one failure now.
    pub(crate) fn fail(&self, jail: &str, who: &str) {
        append(&self.log_of(jail), failure(who).as_bytes());
    }

    /// A command inside the house's namespace.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-n", "-m"]);
        if !is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.arg("--").args(&self.through).arg(program);
        command
    }

    /// The daemon's command line.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.inside(PROGRAM);
        command
            .arg("run")
            .arg("-c")
            .arg(self.path("etc"))
            .arg("--state")
            .arg(self.path("state"));
        command.arg("--socket").arg(self.path("socket"));
        command.args(&self.words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// From now on everything runs as nobody, without any rights.
    pub(crate) fn as_nobody(&mut self) {
        let own = |path: &Path| std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        for part in ["", "state"] {
            own(&self.path(part));
        }
        self.through = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            .map(str::to_owned)
            .into();
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let before = self.read("fail2ban.log").matches("Server ready").count();
        self.start_without_waiting();
        eventually("the server is ready", || {
            if let Some(status) = self.run.as_mut().unwrap().try_wait().unwrap() {
                panic!(
                    "ended with {status}: {}",
                    fs::read_to_string(self.folder.path().join("stderr")).unwrap()
                );
            }
            self.read("fail2ban.log").matches("Server ready").count() > before
        });
    }

    pub(crate) fn start_without_waiting(&mut self) {
        assert!(self.run.is_none());
        let stderr = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("stderr"))
            .unwrap();
        let mut command = self.command();
        let input = self.input.take().unwrap_or_else(Stdio::null);
        self.run = Some(
            command
                .stdin(input)
                .stdout(Stdio::null())
                .stderr(stderr)
                .spawn()
                .unwrap(),
        );
    }

    /// The main process.
    pub(crate) fn runner(&self) -> Pid {
        Pid::from_child(self.run.as_ref().unwrap())
    }

    /// The daemon proper: the runner's child.
    pub(crate) fn daemon(&self) -> Pid {
        let mut found = None;
        eventually("there is a daemon", || {
            let runner = self.runner().as_raw_nonzero();
            let children = fs::read_to_string(format!("/proc/{runner}/task/{runner}/children")).unwrap_or_default();
            let daemon = |pid: &&str| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                words.split(|byte| *byte == 0).nth(1) == Some(b"daemon")
            };
            found = children
                .split_whitespace()
                .find(daemon)
                .and_then(|pid| Pid::from_raw(pid.parse().unwrap()));
            found.is_some()
        });
        found.unwrap()
    }

    /// `kill -9` of the main process, which takes the daemon with it.
    pub(crate) fn kill(&mut self) {
        let daemon = self.daemon();
        let mut run = self.run.take().unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        eventually("the daemon goes with its runner", || is_gone(daemon));
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        kill_process(self.runner(), Signal::TERM).unwrap();
        self.wait()
    }

    /// Waits for the end of the main process.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut run = self.run.take().unwrap();
        let mut status = None;
        eventually("the daemon ends", || {
            status = run.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Fail2Ban's client: its output as it is. It wants a `fail2ban.conf`.
    pub(crate) fn client(&self, words: &[&str]) -> Output {
        let mut command = self.inside(PROGRAM);
        command.arg("client").arg("-c").arg(self.path("etc"));
        command.arg("-s").arg(self.path("socket")).args(words);
        command.output().unwrap()
    }

    /// One of our verbs: its output as it is.
    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        let mut command = self.inside(PROGRAM);
        command
            .args(words)
            .arg("-c")
            .arg(self.path("etc"))
            .arg("--socket")
            .arg(self.path("socket"));
        command.output().unwrap()
    }

    /// One of our verbs: its JSON.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = self.ask(&[words, &["--json"]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Who is banned, as `jail ip`.
    pub(crate) fn banned(&self) -> Vec<String> {
        let banned = self.json(&["banned"]);
        let entry = |ban: &Value| format!("{} {}", ban["jail"].as_str().unwrap(), ban["ip"].as_str().unwrap());
        banned.as_array().unwrap().iter().map(entry).collect()
    }

    pub(crate) fn until_banned(&self, who: &str) {
        eventually(&format!("{who} is banned"), || {
            self.banned().iter().any(|ban| ban == who)
        });
    }

    /// How many failures wait for an answer, as the database has it.
    pub(crate) fn waiting(&self) -> i64 {
        let db = self.database().unwrap();
        db.query_row("SELECT count(*) FROM portcullis_waiting", [], |row| row.get(0))
            .unwrap()
    }

    /// The process that keeps the namespaces.
    pub(crate) fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// Waits until the position in a log without failures is kept.
    pub(crate) fn until_placed(&self) {
        eventually("the position is kept", || {
            let db = self.database();
            let sql = "SELECT count(*) FROM portcullis_marks";
            db.is_some_and(|db| {
                db.query_row(sql, [], |row| row.get::<_, i64>(0))
                    .is_ok_and(|count| count > 0)
            })
        });
    }

    /// How far a jail has read its log, as it is kept.
    pub(crate) fn placed(&self, jail: &str) -> i64 {
        let sql = "SELECT offset FROM portcullis_marks WHERE jail = ?1";
        let offset = self
            .database()
            .and_then(|db| db.query_row(sql, [jail], |row| row.get(0)).ok());
        offset.unwrap_or_default()
    }

    /// The database as another program sees it, if it is there yet.
    pub(crate) fn database(&self) -> Option<rusqlite::Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = rusqlite::Connection::open_with_flags(self.within("state/fail2ban.sqlite3"), flags).ok()?;
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        Some(db)
    }

    /// The failures in the kept counters of a jail, by address.
    pub(crate) fn counted(&self, jail: &str) -> BTreeMap<String, u64> {
        let Some(db) = self.database() else {
            return BTreeMap::new();
        };
        let Ok(mut rows) = db.prepare("SELECT id, data FROM portcullis_counts WHERE jail = ?1") else {
            return BTreeMap::new();
        };
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?));
        let rows = rows.query_map([jail], row).unwrap().map(Result::unwrap);
        rows.map(|(id, data)| {
            let data: Value = serde_json::from_slice(&data).unwrap();
            (id, data["failures"].as_u64().unwrap())
        })
        .collect()
    }

    /// Waits until the counters are as `expect` says, and looks again a little later whether they stay so.
    pub(crate) fn counts_become(&self, jail: &str, expect: &BTreeMap<String, u64>) {
        let deadline = Instant::now() + PATIENCE;
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        while total(&self.counted(jail)) < total(expect) && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(300));
        let counted = self.counted(jail);
        let differ: Vec<_> = expect
            .iter()
            .filter(|(who, count)| counted.get(*who) != Some(count))
            .collect();
        let got: Vec<_> = differ.iter().map(|(who, _)| counted.get(*who)).collect();
        assert!(counted == *expect, "expected {differ:?}, got {got:?}");
    }

    /// The daemon's log lines that hold a text.
    pub(crate) fn said(&self, text: &str) -> Vec<String> {
        self.read("fail2ban.log")
            .lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn until_said(&self, text: &str) {
        eventually(&format!("the log says {text:?}"), || !self.said(text).is_empty());
    }

    /// What shell actions did, in order.
    pub(crate) fn acts(&self) -> Vec<String> {
        self.read("acts").lines().map(str::to_owned).collect()
    }

    pub(crate) fn until_acted(&self, text: &str) {
        eventually(&format!("an action does {text:?}"), || {
            self.acts().iter().any(|act| act == text)
        });
    }

    /// What the kernel holds: the text of our table, empty without one.
    pub(crate) fn kernel(&self) -> String {
        let output = self
            .inside("nft")
            .args(["list", "table", "inet", "portcullis"])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut run) = self.run.take() {
            // A daemon that a test has stopped would not see its runner go.
            if let Some(daemon) = children_of(run.id()) {
                let _ = kill_process(daemon, Signal::KILL);
            }
            let _ = run.kill();
            let _ = run.wait();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        if std::thread::panicking() {
            let log = self.read("fail2ban.log");
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("] Found ")).collect();
            let last = lines
                .iter()
                .rev()
                .take(25)
                .rev()
                .copied()
                .collect::<Vec<_>>()
                .join("\n");
            eprintln!("--- log\n{last}\n--- stderr\n{}", self.read("stderr"));
        }
    }
}

fn children_of(pid: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

/// A process that keeps a network namespace.
fn namespace() -> Child {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    let mut holder = command
        .args(["-n", "-m", "--", "sh", "-c", "echo; exec sleep 5000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is in its namespace once it says something.
    let mut word = [0];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut word).unwrap();
    holder
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a process is dead, and all its threads with it: one that is dying may still take a connection.
pub(crate) fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return true;
    };
    let threads = rest.split(' ').nth(17).and_then(|count| count.parse().ok());
    rest.starts_with('Z') && threads.is_none_or(|count: u32| count <= 1)
}

/// A log line of a failure now. No two are the same, as with the process and session numbers of real services.
pub(crate) fn failure(who: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1000);
    format!(
        "{} fail from {who} session {}\n",
        stamp(0),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

/// The wall clock as log lines have it, `off` seconds away.
pub(crate) fn stamp(off: i64) -> String {
    let now = jiff::Zoned::now().saturating_add(jiff::SignedDuration::from_secs(off));
    now.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn append(path: &Path, bytes: &[u8]) {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(15));
    }
}
