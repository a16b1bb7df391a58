//! What the daemon cannot do any more once it is ready, tried from inside its own process; and that it can do without.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::house::{House, Jail, eventually};

/// Deeds and what came of them, as the daemon's own threads tried.
fn tried(house: &mut House, outside: &Path) -> BTreeMap<String, String> {
    fs::write(outside.join("old"), "x").unwrap();
    let trial = house.path("state/trial");
    for (name, path) in [
        ("PORTCULLIS_SANDBOX_TRIAL", &trial),
        ("PORTCULLIS_SANDBOX_OUTSIDE", &outside.to_owned()),
    ] {
        house.environment.push((name.to_owned(), path.display().to_string()));
    }
    house.start();
    let text = house.read("state/trial");
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(deed, result)| (deed.to_owned(), result.to_owned()))
        .collect()
}

#[test]
fn what_the_daemon_does_not_need_it_cannot_do() {
    let mut house = House::native();
    let outside = tempfile::tempdir().unwrap();
    let tried = tried(&mut house, outside.path());
    // Nobody was started before it was confined: its own thread, and the one that tries.
    assert_eq!(tried["threads"], "2");
    let refused = [
        "write outside",
        "append outside",
        "remove outside",
        "make a folder outside",
        "listen on TCP",
        "start a program",
        "load a kernel module",
        "change the owner of a file",
        "look at the first process",
    ];
    for deed in refused {
        assert_eq!(tried[deed], "PermissionDenied", "{deed}: {tried:?}");
    }
    assert_eq!(tried["read outside"], "done", "{tried:?}");
    assert_eq!(tried.len(), refused.len() + 2, "{tried:?}");
    assert_eq!(fs::read_to_string(outside.path().join("old")).unwrap(), "x");
    let said = house.said("sandbox: ");
    assert_eq!(said.len(), 1, "{said:?}");
    let parts = [
        "no new privileges",
        "writes only below ",
        "no capabilities but net_admin",
        "no programs",
        "no listeners",
    ];
    for part in parts {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    // What it is there for goes on.
    house.fail("plain", "198.51.100.7");
    eventually("the kernel has the ban", || house.kernel().contains("198.51.100.7"));
    let seccomp = fs::read_to_string(format!("/proc/{}/status", house.daemon().as_raw_nonzero())).unwrap();
    assert!(
        seccomp.contains("Seccomp:\t2") && seccomp.contains("NoNewPrivs:\t1"),
        "{seccomp}"
    );
}

/// The runner keeps everything, so that actions run as before.
#[test]
fn actions_may_do_what_the_daemon_may_not() {
    let mut house = House::empty();
    let outside = tempfile::tempdir().unwrap();
    let mark = outside.path().join("mark");
    let action = format!(
        "[Definition]\nactionban = ip addr add 192.0.2.77/32 dev lo; touch {0}; chown 1 {0}; mount -t tmpfs none {1}\n",
        mark.display(),
        outside.path().display()
    );
    house.write("etc/action.d/deeds.conf", action);
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = deeds",
    }]);
    house.start();
    house.fail("plain", "198.51.100.7");
    eventually("the action is done", || {
        let banned = house.json(&["banned"]);
        banned[0]["layers"]["deeds"]
            .as_str()
            .is_some_and(|stands| stands.starts_with("applied"))
    });
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&mark).unwrap());
    let address = house.inside("ip").args(["addr", "show", "dev", "lo"]).output().unwrap();
    let has_address = String::from_utf8_lossy(&address.stdout).contains("192.0.2.77");
    let mounted = house
        .inside("mountpoint")
        .arg("-q")
        .arg(outside.path())
        .status()
        .unwrap();
    assert!(owner == 1 && has_address && mounted.success());
}

/// Without the sandbox the same deeds are done, so that the trial can tell.
#[test]
fn on_request_there_is_no_sandbox() {
    let check = |through: &[&str], words: &[&str]| {
        let mut house = House::native();
        house.through = through.iter().map(|word| (*word).to_owned()).collect();
        house.words = words.iter().map(|word| (*word).to_owned()).collect();
        house.start();
        assert_eq!(house.said("no sandbox: the daemon keeps all its rights").len(), 1);
        let status = fs::read_to_string(format!("/proc/{}/status", house.daemon().as_raw_nonzero())).unwrap();
        assert!(
            status.contains("Seccomp:\t0") && status.contains("NoNewPrivs:\t0"),
            "{status}"
        );
    };
    check(&[], &["--no-sandbox"]);
    check(&["env", "PORTCULLIS_SANDBOX=off"], &[]);
}

/// A place that the daemon was not told of at its start is refused by name, and what is open stays open.
#[test]
fn a_new_place_for_the_log_needs_a_new_start() {
    let mut house = House::native();
    house.write("etc/fail2ban.conf", "[Definition]\n");
    house.start();
    let outside = tempfile::tempdir().unwrap();
    let new = outside.path().join("log");
    let answer = house.client(&["set", "logtarget", new.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&answer.stderr).into_owned() + &String::from_utf8_lossy(&answer.stdout);
    assert!(!answer.status.success() && !new.exists(), "{said}");
    let before = house.said("] Ban ").len();
    house.fail("plain", "198.51.100.7");
    eventually("the log goes on where it was", || house.said("] Ban ").len() > before);
    house.until_said("; the sandbox of this daemon lets it write below ");
    let other = house.path("other.log");
    let answer = house.client(&["set", "logtarget", other.to_str().unwrap()]);
    assert!(answer.status.success() && other.exists());
}
