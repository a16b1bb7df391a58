//! Where both programs run: a mount namespace in which `/bin/sh` is a recorder, or is what it always is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::House;
use crate::oracle::{self, PYTHON};

/// What a shell was called with: its arguments, from `-c` on.
pub(super) type Call = Vec<Vec<u8>>;

/// The programs that are given many commands at once, and those beside which they are looked for.
const BATCHED: [&str; 6] = [
    "nft",
    "ipset",
    "iptables",
    "iptables-restore",
    "ip6tables",
    "ip6tables-restore",
];

/// A namespace for lives, and a folder for their files.
pub(super) struct Stage {
    house: House,
}

impl Stage {
    /// One in which every `/bin/sh` writes down what it is called with; so do the programs in its folder `bin`.
    pub(super) fn recording() -> Self {
        let stage = Self::plain();
        let recorder = stage.compile_recorder();
        let mounted = stage
            .command("mount")
            .arg("--bind")
            .arg(&recorder)
            .arg("/bin/sh")
            .status();
        assert!(mounted.unwrap().success(), "root can mount over /bin/sh");
        let folder = stage.path("bin");
        fs::create_dir(&folder).unwrap();
        for name in BATCHED {
            symlink(&recorder, folder.join(name)).unwrap();
        }
        stage
    }

    /// The program that writes down what it is called with.
    pub(super) fn compile_recorder(&self) -> PathBuf {
        let recorder = self.path("recorder");
        let compiled = Command::new("rustc")
            .args(["--edition", "2024", "-C", "opt-level=1", "-C", "debuginfo=0", "-o"])
            .arg(&recorder)
            .arg(oracle::here().join("actions/recorder.rs"))
            .status()
            .unwrap();
        assert!(compiled.success());
        recorder
    }

    /// From now on only the stage's own folder can be written to from inside.
    pub(super) fn make_read_only(&self) {
        let folder = self.path("");
        let mount = |arguments: &[&str]| {
            let mounted = self.command("mount").args(arguments).status().unwrap();
            assert!(mounted.success(), "mount {arguments:?}");
        };
        let folder = folder.to_str().unwrap();
        mount(&["--bind", folder, folder]);
        mount(&["-o", "remount,bind,ro", "/"]);
        let touched = self.command("touch").arg("/etc/written").output().unwrap();
        assert!(!touched.status.success());
    }

    /// One with the machine's own shell.
    pub(super) fn plain() -> Self {
        Self { house: House::empty() }
    }

    /// A file of this stage.
    pub(super) fn path(&self, part: &str) -> PathBuf {
        self.house.path(part)
    }

    /// A program inside, in the zone UTC.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.house.inside(program);
        command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Python with Fail2Ban's modules, inside.
    pub(super) fn python(&self) -> Command {
        let mut command = self.command(PYTHON);
        command
            .env("PYTHONPATH", oracle::modules())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// The calls that a recorder wrote down.
pub(super) fn calls(record: &Path) -> Vec<Call> {
    let text = fs::read_to_string(record).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.split('\n').filter(|line| !line.is_empty());
    lines.map(|line| line.split(' ').map(bytes).collect()).collect()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}
