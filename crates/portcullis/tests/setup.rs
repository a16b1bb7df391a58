//! `tests/run` installs packages on people's machines. While it does, no service may start, and afterwards what kept
//! services from starting must be what it was before, however the installation ended.
//!
//! The script's own functions run here, on a policy file of the test's; apt and its kin are replaced.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const OWN: &str = "#!/bin/sh\n# somebody's own\nexit 0\n";

#[test]
fn services_are_forbidden_meanwhile_and_allowed_again() {
    check("return 0", None, Some(0));
    check("return 0", Some(OWN), Some(0));
}

#[test]
fn a_failed_or_interrupted_installation_leaves_nothing_behind() {
    for before in [None, Some(OWN)] {
        check("return 100", before, Some(100));
        check("kill -INT $BASHPID; sleep 5", before, Some(130));
        check("kill -TERM $BASHPID; sleep 5", before, Some(143));
        check("kill -HUP $BASHPID; sleep 5", before, Some(129));
    }
}

#[test]
fn the_next_run_tidies_up_after_a_killed_one() {
    for before in [None, Some(OWN)] {
        let bench = Bench::new(before);
        assert_eq!(bench.install("kill -KILL $BASHPID"), None);
        assert!(bench.policy().is_some_and(|text| text.contains("exit 101")));
        assert_eq!(bench.install("return 0"), Some(0));
        bench.is_as(before);
    }
}

#[test]
fn a_link_is_put_back_as_a_link() {
    let bench = Bench::new(None);
    std::os::unix::fs::symlink("/bin/true", bench.path()).unwrap();
    assert_eq!(bench.install("return 0"), Some(0));
    assert_eq!(fs::read_link(bench.path()).unwrap(), Path::new("/bin/true"));
}

fn check(apt_get: &str, before: Option<&str>, code: Option<i32>) {
    let bench = Bench::new(before);
    assert_eq!(bench.install(apt_get), code, "{apt_get}");
    bench.is_as(before);
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(before: Option<&str>) -> Bench {
        let bench = Bench {
            dir: tempfile::tempdir().unwrap(),
        };
        if let Some(text) = before {
            fs::write(bench.path(), text).unwrap();
            fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        bench
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("policy-rc.d")
    }

    fn policy(&self) -> Option<String> {
        fs::read_to_string(self.path()).ok()
    }

    /// Runs the script's `install`; `apt_get` is what apt-get does when it installs. Its exit code, if it has one.
    fn install(&self, apt_get: &str) -> Option<i32> {
        let script = format!(
            r#"
            source "$1"
            dpkg-query() {{ :; }}
            debconf-set-selections() {{ cat >/dev/null; }}
            apt-get() {{
                case "$*" in *install*) ;; *) return 0 ;; esac
                local answer=0; "$POLICY" || answer=$?
                [ "$answer" -eq 101 ] || exit 99
                {apt_get}
            }}
            install postfix
            "#
        );
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/run");
        // A shell cannot trap what was ignored when it began, and whoever runs the tests in the background ignores SIGINT.
        let mut bash = Command::new("env");
        bash.args(["--default-signal", "bash", "-c", &script, "bash"]).arg(run);
        bash.env("POLICY", self.path()).output().unwrap().status.code()
    }

    fn is_as(&self, before: Option<&str>) {
        assert_eq!(self.policy().as_deref(), before);
        let files = fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(files, usize::from(before.is_some()), "files were left behind");
    }
}
