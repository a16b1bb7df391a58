//! The daemon under trial: its folder, its configuration, its logs, and the process itself.
//!
//! It is this same program, started as `portcullis run` on a folder that holds no more than a user's own would: which
//! jails are on, and where their logs are. Whatever way the trial ends, dropping the house ends the daemon and, unless
//! it is to be kept, removes the folder.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_core::address::Id;
use portcullis_core::wire::Verb;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::attack::Log;
use crate::client::{Ask, Where, call};
use crate::control::answer::{Banned, Done, Status};

/// How long the daemon may take until it answers and reads its logs.
const BIRTH: Duration = Duration::from_secs(5);
/// How long it may take to end before it is killed. An interrupted trial is over within a second.
const DEATH: Duration = Duration::from_millis(600);
const GLANCE: Duration = Duration::from_millis(5);

const JAILS: [(&str, &str); 3] = [("postfix", "mail.log"), ("dovecot", "mail.log"), ("sshd", "auth.log")];

/// What the daemon keeps of a ban.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    /// How many failures
    pub(super) failures: u64,
    /// The lines that were counted
    pub(super) lines: Vec<String>,
}

pub(super) struct House {
    folder: TempDir,
    is_kept: bool,
    mail: File,
    auth: File,
    ask: Ask,
    daemon: Option<Child>,
    /// The process that decides, a child of `daemon`
    pid: u32,
}

impl House {
    /// Makes the folder and writes what a user would write.
    pub(super) fn build(keep: bool) -> Result<House, String> {
        let folder = tempfile::Builder::new()
            .prefix("portcullis-try-")
            .disable_cleanup(keep)
            .tempdir();
        let folder = folder.map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let wrap = |error: std::io::Error| format!("cannot write into {}: {error}", folder.path().display());
        for name in ["etc", "log", "state"] {
            fs::create_dir(folder.path().join(name)).map_err(wrap)?;
        }
        // In configuration values a percent sign is doubled.
        let own = folder.path().display().to_string().replace('%', "%%");
        let server = format!("[DEFAULT]\nlogtarget = {own}/state/fail2ban.log\n");
        let jails = JAILS.map(|(jail, log)| format!("[{jail}]\nenabled = true\nlogpath = {own}/log/{log}\n"));
        fs::write(folder.path().join("etc/fail2ban.local"), server).map_err(wrap)?;
        fs::write(folder.path().join("etc/jail.local"), jails.join("\n")).map_err(wrap)?;
        let open = |name: &str| {
            let path = folder.path().join("log").join(name);
            OpenOptions::new().append(true).create(true).open(path).map_err(wrap)
        };
        let (mail, auth) = (open("mail.log")?, open("auth.log")?);
        let place = Where {
            config: folder.path().join("etc"),
            socket: Some(folder.path().join("socket")),
        };
        Ok(House {
            mail,
            auth,
            ask: Ask { place, json: true },
            daemon: None,
            pid: 0,
            is_kept: keep,
            folder,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    fn complaints(&self) -> PathBuf {
        self.folder.path().join("state/stderr")
    }

    /// Starts `portcullis run`.
    pub(super) fn start(&mut self, dry_run: bool) -> Result<(), String> {
        let wrap = |error: std::io::Error| format!("cannot start the daemon: {error}");
        let mut command = Command::new(std::env::current_exe().map_err(wrap)?);
        command.arg("run").arg("-c").arg(&self.ask.place.config);
        command.arg("--state").arg(self.folder.path().join("state"));
        command.arg("--socket").arg(self.folder.path().join("socket"));
        if dry_run {
            command.arg("--dry-run");
        }
        // In a group of its own, an interrupt at the terminal reaches it only through us.
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.complaints()).map_err(wrap)?)
            .spawn();
        self.daemon = Some(child.map_err(wrap)?);
        Ok(())
    }

    /// Waits until it reads its logs. `pause` is called in between and may end the wait.
    pub(super) fn await_ready<E: From<String>>(
        &mut self,
        mut pause: impl FnMut(Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        let born = Instant::now();
        loop {
            self.check_alive()?;
            if let Ok(status) = self.status()
                && status.jails.len() >= JAILS.len()
            {
                self.pid = status.pid;
                return Ok(self.check_ready(&status)?);
            }
            if born.elapsed() > BIRTH {
                let said = self.last_words();
                return Err(format!("the daemon does not answer{said}").into());
            }
            pause(GLANCE)?;
        }
    }

    fn check_ready(&self, status: &Status) -> Result<(), String> {
        if status.protected || status.dry_run {
            return Ok(());
        }
        Err(format!(
            "the daemon cannot protect: {}",
            status.not_protected.join("; ")
        ))
    }

    /// Complains if the daemon is gone, or is not the one that was started.
    pub(super) fn check_alive(&mut self) -> Result<(), String> {
        let ended = self.daemon.as_mut().map(Child::try_wait);
        match ended {
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(status))) => Err(format!("the daemon died ({status}){}", self.last_words())),
            Some(Err(error)) => Err(format!("the daemon cannot be watched: {error}")),
            None => Err("the daemon was not started".to_owned()),
        }
    }

    /// Whether the process that decides is still the first one.
    pub(super) fn is_same_daemon(&self) -> bool {
        self.status().is_ok_and(|status| status.pid == self.pid)
    }

    /// The last lines that the daemon said or logged.
    fn last_words(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let text = read(self.complaints()) + &read(self.folder.path().join("state/fail2ban.log"));
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(5);
        let last: Vec<String> = lines.iter().skip(from).map(|line| format!("\n    {line}")).collect();
        if last.is_empty() {
            String::new()
        } else {
            format!("; its last words:{}", last.concat())
        }
    }

    /// Appends a line to a log, as syslog would.
    pub(super) fn write(&mut self, log: Log, text: &str) -> Result<(), String> {
        let stamp = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.6f%:z");
        let file = match log {
            Log::Mail => &mut self.mail,
            Log::Auth => &mut self.auth,
        };
        let line = format!("{stamp} mail {text}\n");
        file.write_all(line.as_bytes())
            .map_err(|error| format!("cannot write the log: {error}"))
    }

    fn status(&self) -> Result<Status, String> {
        self.call(&Verb::Status { jail: None })
    }

    /// Who is banned, as the daemon says.
    pub(super) fn banned(&self) -> Result<Vec<Banned>, String> {
        self.call(&Verb::Banned { jail: None })
    }

    /// Lifts the bans of one address; how many there were.
    pub(super) fn unban(&self, ip: IpAddr) -> Result<usize, String> {
        let ids = Some(vec![Id::Ip(ip)]);
        let done: Done = self.call(&Verb::Unban { ids, jail: None })?;
        Ok(done.count)
    }

    fn call<T: serde::de::DeserializeOwned>(&self, verb: &Verb) -> Result<T, String> {
        call::json(&self.ask, verb)
            .map(|(answer, _)| answer)
            .map_err(|error| error.to_string())
    }

    /// What the daemon has written into its database about a ban.
    pub(super) fn evidence(&self, ban: &Banned) -> Result<Evidence, String> {
        let path = self.folder.path().join("state/fail2ban.sqlite3");
        let data = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(&path, flags)?;
            let sql = "SELECT data FROM bans WHERE ip = ?1 AND jail = ?2 ORDER BY timeofban DESC LIMIT 1";
            db.query_row(sql, [&ban.ip, &ban.jail], |row| {
                Ok(row.get_ref(0)?.as_bytes()?.to_vec())
            })
        };
        let data = data().map_err(|error| format!("the database does not tell about {}: {error}", ban.ip))?;
        Ok(read_evidence(&data))
    }
}

/// A ban's `data` in Fail2Ban's schema.
fn read_evidence(data: &[u8]) -> Evidence {
    let data: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
    let lines = data.get("matches").and_then(|lines| lines.as_array());
    let text = |line: &serde_json::Value| match line {
        serde_json::Value::Array(pieces) => pieces.iter().filter_map(|piece| piece.as_str()).collect(),
        line => line.as_str().unwrap_or_default().to_owned(),
    };
    Evidence {
        failures: data.get("failures").and_then(serde_json::Value::as_u64).unwrap_or(0),
        lines: lines.into_iter().flatten().map(text).collect(),
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        let number = |pid: u32| i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = number(daemon.id()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let told = Instant::now();
        while matches!(daemon.try_wait(), Ok(None)) {
            if told.elapsed() > DEATH {
                // The process that decides ends with its parent; the kernel sees to that.
                let _ = daemon.kill();
                let _ = daemon.wait();
                return;
            }
            thread::sleep(GLANCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_read_in_both_shapes() {
        let read = |text: &str| read_evidence(text.as_bytes());
        let evidence = read(r#"{"matches": ["one", ["two", " and ", "a half"]], "failures": 5}"#);
        assert_eq!(
            (evidence.failures, evidence.lines),
            (5, vec!["one".to_owned(), "two and a half".to_owned()])
        );
        assert_eq!(read("no JSON"), Evidence::default());
    }
}
