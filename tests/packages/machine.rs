//! A machine of its own: a copy of the tree, booted by systemd in namespaces.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Generous, because the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// The address of the machine on the cable.
pub(crate) const HERE: &str = "198.51.100.1";

/// What a command inside finds in its environment.
const ENVIRONMENT: [&str; 5] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "TERM=dumb",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
];

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    container: Child,
    leader: u32,
}

/// Below `target/`, where the tree and the package are kept.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages")
}

/// The project's own folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The suite of the tree: Debian 12, or what PACKAGES_SUITE names.
pub(crate) fn suite() -> String {
    std::env::var("PACKAGES_SUITE").unwrap_or_else(|_| "bookworm".to_owned())
}

fn tree() -> PathBuf {
    let made = Command::new(root().join("tests/packages/tree"))
        .arg(cache())
        .arg(suite())
        .output()
        .unwrap();
    assert!(made.status.success(), "no tree: {}", text(&made.stderr));
    cache().join(suite())
}

/// The program that is tested: that of the other tests, or what PACKAGES_PROGRAM names, such as the static one.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("PACKAGES_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_portcullis").into(), PathBuf::from)
}

/// Its package, which is made once for all tests of a run.
pub(crate) fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        fs::create_dir_all(cache()).unwrap();
        let made = cache().join(format!("package-{}", stamp()));
        if !made.exists() {
            make(&made);
        }
        let file = fs::read_dir(&made).unwrap().next().unwrap().unwrap();
        file.path()
    })
}

/// Makes the package into a folder, which is there only when the package is whole; those of before go.
fn make(made: &Path) {
    let folder = tempfile::tempdir_in(cache()).unwrap();
    let out = folder.path().join("out");
    let built = Command::new(root().join("pkg/deb/build"))
        .args([&program(), &out])
        .env("COMPRESSION", "-Zgzip -z1")
        .output()
        .unwrap();
    assert!(built.status.success(), "no package: {}", text(&built.stderr));
    let old = fs::read_dir(cache()).unwrap().flatten();
    for entry in old.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"package-")) {
        let _ = fs::remove_dir_all(entry.path());
    }
    // Another process may have been faster.
    if let Err(error) = fs::rename(&out, made) {
        assert!(made.exists(), "{error}");
    }
}

/// Another one whenever anything changes that goes into the package.
fn stamp() -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = vec![program()];
    left.extend(["pkg", "stock", "docs/guide", "CHANGELOG.md", "Cargo.toml"].map(|name| root().join(name)));
    while let Some(path) = left.pop() {
        let about = fs::metadata(&path).unwrap();
        (&path, about.len(), about.modified().unwrap()).hash(&mut hasher);
        if about.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    hasher.finish()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>, why: impl FnOnce() -> String) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "never: {what}\n{}", why());
        sleep(Duration::from_millis(100));
    }
}

impl Machine {
    /// Boots a copy of the tree, with our package in `/root`.
    pub(crate) fn boot() -> Machine {
        let tree = tree();
        let folder = tempfile::tempdir_in(cache()).unwrap();
        for part in ["upper/root", "work", "root"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let package = package();
        let place = folder.path().join("upper/root").join(package.file_name().unwrap());
        fs::copy(package, place).unwrap();
        let mut machine = Machine {
            container: start(&tree, folder.path()),
            folder,
            leader: 0,
        };
        machine.wait_for_boot();
        machine
    }

    fn wait_for_boot(&mut self) {
        let first = self.container.id();
        let console = self.folder.path().join("console");
        until(
            "systemd has booted",
            || {
                if let Some(status) = self.container.try_wait().unwrap() {
                    panic!("systemd-nspawn: {status}: {}", text(&fs::read(&console).unwrap()));
                }
                let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
                self.leader = children.split_whitespace().next()?.parse().ok()?;
                let state = text(&self.run("systemctl is-system-running").stdout);
                ["running", "degraded"].contains(&state.trim()).then_some(())
            },
            || text(&fs::read(&console).unwrap_or_default()),
        );
    }

    /// The process that is number 1 inside.
    pub(crate) fn leader(&self) -> u32 {
        self.leader
    }

    /// What a shell of root's says to this.
    pub(crate) fn run(&self, script: &str) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.leader.to_string(), "-a", "--", "env", "-i"])
            .args(ENVIRONMENT)
            .args([
                "timeout",
                "-k",
                "5",
                "100",
                "/bin/sh",
                "-c",
                &format!("cd /root\n{script}"),
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The same, which must succeed; its standard output.
    pub(crate) fn type_in(&self, script: &str) -> String {
        let output = self.run(script);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "$ {script}\n{out}{error}\n{}", self.journal());
        println!("# {script}\n{out}{error}");
        out
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let place = self.folder.path().join("root").join(path.trim_start_matches('/'));
        let inside = PathBuf::from(format!("/proc/{}/root", self.leader)).join(path.trim_start_matches('/'));
        assert!(!place.exists(), "the copy is mounted for the machine alone");
        fs::create_dir_all(inside.parent().unwrap()).unwrap();
        fs::write(inside, content).unwrap();
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(format!("/proc/{}/root{path}", self.leader)).is_ok()
    }

    /// What the service said last.
    pub(crate) fn journal(&self) -> String {
        text(
            &self
                .run("journalctl -u fail2ban --no-pager -n 30; tail -n 20 /var/log/fail2ban.log")
                .stdout,
        )
    }

    /// Installs our package as people do.
    pub(crate) fn install(&self) -> String {
        self.type_in("apt-get install -y ./portcullis_*.deb 2>&1")
    }

    pub(crate) fn until_said(&self, script: &str, expect: &str) -> String {
        until(
            &format!("{script}: {expect}"),
            || {
                let said = text(&self.run(script).stdout);
                said.contains(expect).then_some(said)
            },
            || text(&self.run(script).stdout) + &self.journal(),
        )
    }

    /// Who is banned by the server that runs, whoever's it is: `jail address`, sorted.
    pub(crate) fn banned(&self) -> Vec<String> {
        let script = "for jail in dovecot postfix; do
            fail2ban-client get $jail banip | tr ' ' '\\n' | sed \"/^\\$/d; s/^/$jail /\"
        done";
        let said = text(&self.run(script).stdout);
        let mut banned: Vec<String> = said.lines().map(str::to_owned).collect();
        banned.sort();
        banned
    }
}

/// The mount of the copy ends with the container, and the container with us. Landlock is there, as it would be on a
/// machine.
fn start(tree: &Path, folder: &Path) -> Child {
    let script = "mount -t overlay overlay -o lowerdir=$1,upperdir=$2/upper,workdir=$2/work $2/root || exit 1
        [ -d /run/systemd/system ] || keep=--keep-unit
        exec systemd-nspawn --boot --quiet --register=no $keep --private-network --console=pipe \
            '--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self' \
            --machine=portcullis-test-$$ -D $2/root";
    let console = fs::File::create(folder.join("console")).unwrap();
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--",
        ])
        .args(["sh", "-c", script, "sh"])
        .args([tree, folder])
        .stdin(Stdio::null())
        .stdout(console.try_clone().unwrap())
        .stderr(console)
        .spawn()
        .unwrap()
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With its first process everything in it goes.
        if self.leader > 0 {
            let _ = Command::new("kill").args(["-KILL", &self.leader.to_string()]).status();
        }
        let _ = self.container.kill();
        let _ = self.container.wait();
    }
}
