//! Fail2Ban itself, as a process that answers questions: a Python driver of `drivers/` with Fail2Ban's modules in its
//! path. What it says is made in the run and never stored.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Debian's Python, whose version and Unicode tables are part of what is compared.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// The folder of these tests.
pub(crate) fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compliance")
}

/// The folder for what tests leave behind. Cargo names it to these tests, and not to those inside the program.
pub(crate) fn scratch() -> PathBuf {
    option_env!("CARGO_TARGET_TMPDIR").map_or_else(
        || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("tmp"),
        PathBuf::from,
    )
}

/// Where Fail2Ban is unpacked: `etc/fail2ban`, `usr/bin`, `usr/lib/python3/dist-packages`.
///
/// # Panics
/// When it is not there and cannot be fetched.
pub(crate) fn root() -> PathBuf {
    let cache = scratch().join("oracle");
    let root = cache.join("fail2ban");
    if !root.is_dir() {
        let fetched = Command::new(here().join("fetch")).arg(&cache).status().unwrap();
        assert!(fetched.success() && root.is_dir(), "Fail2Ban 1.1 could not be fetched");
    }
    root
}

/// Fail2Ban's stock configuration.
pub(crate) fn configuration() -> PathBuf {
    root().join("etc/fail2ban")
}

/// Fail2Ban's Python modules.
pub(crate) fn modules() -> PathBuf {
    root().join("usr/lib/python3/dist-packages")
}

/// The folder with one file of annotated sample lines for each stock filter.
pub(crate) fn sample_logs() -> PathBuf {
    modules().join("fail2ban/tests/files/logs")
}

/// Python with Fail2Ban's modules, in the zone UTC unless the caller sets another, with UTF-8 for text.
pub(crate) fn python() -> Command {
    let mut command = Command::new(PYTHON);
    command
        .env("PYTHONPATH", modules())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command
}

/// A driver that runs.
pub(crate) struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts `drivers/NAME.py`.
    pub(crate) fn start(name: &str) -> Self {
        Self::of(&mut python(), name)
    }

    /// Starts `drivers/NAME.py` with a command of [`python`] that has more environment.
    pub(crate) fn of(command: &mut Command, name: &str) -> Self {
        let mut process = command
            .arg(here().join("drivers").join(format!("{name}.py")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            questions: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    /// Puts one question and waits for its answer.
    ///
    /// # Panics
    /// When the driver has ended or answers no JSON.
    pub(crate) fn ask(&mut self, question: &Value) -> Value {
        let mut line = question.to_string();
        line.push('\n');
        self.questions.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("the driver answers {answer:?}: {error}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // Without questions the driver ends; waiting for it leaves no process behind.
        self.questions = None;
        let _ = self.process.wait();
    }
}
