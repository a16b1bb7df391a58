//! A second daemon is refused, by name; a full disk is survived.

use std::process::Command;

use crate::house::{House, Jail, eventually};

/// Starts a second daemon that must not start: its exit code and what it says.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_second_daemon_is_refused() {
    let mut house = House::new(1);
    house.start();
    let pid = format!("(pid {})", house.daemon().as_raw_nonzero());
    let command = |socket: &str, state: &str, table: bool| {
        let mut command = house.inside(crate::house::PROGRAM);
        command
            .arg("run")
            .arg("-c")
            .arg(house.path("etc"))
            .arg("--socket")
            .arg(house.path(socket));
        command.arg("--state").arg(house.path(state));
        if !table {
            command.arg("--dry-run");
        }
        command
    };
    let cases = [
        ("the socket", command("socket", "other", false), "/socket is in use by"),
        (
            "the state",
            command("another", "state", false),
            "portcullis.pid is in use by",
        ),
        (
            "the table",
            command("another", "other", true),
            "table inet portcullis is in use by",
        ),
    ];
    for (what, command, text) in cases {
        let (code, said) = refused(command);
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.contains(text) && said.contains(&pid), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: one message, not {said}");
    }
    // The same database, under another state folder.
    let link = house.path("third");
    std::fs::create_dir(&link).unwrap();
    std::os::unix::fs::symlink(house.path("state/fail2ban.sqlite3"), link.join("fail2ban.sqlite3")).unwrap();
    let (code, said) = refused(command("another", "third", false));
    assert!(
        code == Some(1) && said.contains("fail2ban.sqlite3 is in use by") && said.contains(&pid),
        "{said}"
    );
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    house.until_acted("ban plain 192.0.2.1");
}

#[test]
fn whoever_looks_into_the_database_keeps_nobody_out() {
    let mut house = House::new(1);
    house.start();
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    let _open = rusqlite::Connection::open(house.path("state/fail2ban.sqlite3")).unwrap();
    house.kill();
    house.start();
    assert_eq!(house.banned(), ["plain 192.0.2.1"]);
}

#[test]
fn a_full_disk_under_the_database() {
    let mut house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "",
    }]);
    let state = house.path("state").display().to_string();
    let mounted = house
        .inside("mount")
        .args(["-t", "tmpfs", "-o", "size=600k", "tmpfs", &state])
        .status()
        .unwrap();
    assert!(mounted.success());
    house.start();
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    let filler = house.path("state/filler").display().to_string();
    let fill = format!(
        "dd if=/dev/zero of={filler} bs=4k 2>/dev/null; dd if=/dev/zero of={filler}2 bs=1 count=9000 2>/dev/null"
    );
    let _ = house.inside("sh").args(["-c", &fill]).status().unwrap();
    for host in 2..60 {
        house.fail("plain", &format!("192.0.2.{host}"));
    }
    eventually("all are banned", || house.banned().len() == 59);
    house.until_acted("ban plain 192.0.2.59");
    eventually("status says so", || {
        house.json(&["status"])["unsaved"].as_u64().unwrap() > 0
    });
    let page = String::from_utf8_lossy(&house.ask(&["status"]).stdout).into_owned();
    assert!(
        page.starts_with("NOT PROTECTED\n") && page.contains("bans are not saved"),
        "{page}"
    );
    assert!(
        house.said("records wait in memory").len() == 1,
        "{:?}",
        house.said("records wait")
    );
    assert!(
        house
            .inside("rm")
            .args([&filler, &format!("{filler}2")])
            .status()
            .unwrap()
            .success()
    );
    eventually("everything is saved", || house.json(&["status"])["unsaved"] == 0);
    house.until_said("the database takes records again");
    house.kill();
    house.start();
    assert_eq!(house.banned().len(), 59, "and survives");
}
