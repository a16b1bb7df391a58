//! The control socket itself: one that was opened by somebody else, and one that a group may read from.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::house::{House, Jail, is_gone, is_root};

/// Opens the socket as systemd does, behind another descriptor, and becomes the program.
const LAUNCHER: &str = "\
import os, socket, sys
ours = socket.socket(socket.AF_UNIX)
ours.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o640)
ours.listen(64)
os.dup2(ours.fileno(), 10)
os.dup2(os.open('/dev/null', os.O_RDONLY), 3)
os.dup2(10, 4)
os.close(10)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='other:fail2ban')
os.execvp(sys.argv[2], sys.argv[2:])
";

const PING: &[u8] = b"\x80\x04]\x8c\x04pinga.<F2B_END_COMMAND>";

/// One request over a connection, and whether there is an answer.
fn is_answered(mut stream: &UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(PING).unwrap();
    let mut bytes = [0; 200];
    let count = stream.read(&mut bytes).unwrap();
    bytes[..count].windows(4).any(|window| window == b"pong")
}

#[test]
fn a_socket_that_systemd_opened() {
    let mut house = House::empty();
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = look",
    }]);
    let look = format!(
        "[Definition]\nactionban = ls -l /proc/self/fd > {}\n",
        house.path("descriptors").display()
    );
    house.write("etc/action.d/look.conf", look);
    let path = house.path("socket");
    house.write("launcher.py", LAUNCHER);
    house.through = ["/usr/bin/python3".to_owned()]
        .into_iter()
        .chain([house.path("launcher.py"), path.clone()].map(|path| path.display().to_string()))
        .collect();
    house.start();
    house.through.clear();
    let socket = || {
        let about = fs::symlink_metadata(&path).unwrap();
        (about.ino(), about.mode() & 0o777)
    };
    let before = socket();
    assert_eq!(before.1, 0o640, "nothing of it is changed");
    assert!(is_answered(&UnixStream::connect(&path).unwrap()));

    // While there is no daemon, clients wait instead of being turned away.
    let daemon = house.daemon();
    kill_process(daemon, Signal::KILL).unwrap();
    while !is_gone(daemon) {
        sleep(Duration::from_millis(1));
    }
    assert!(is_answered(&UnixStream::connect(&path).unwrap()));
    assert_eq!(socket(), before);

    // No action has it.
    house.fail("plain", "192.0.2.1");
    house.until_banned("plain 192.0.2.1");
    crate::house::eventually("the action has looked", || house.read("descriptors").contains("->"));
    assert!(
        !house.read("descriptors").contains("socket:"),
        "{}",
        house.read("descriptors")
    );

    assert_eq!(house.terminate(), Some(0));
    assert_eq!(socket(), before, "it is not removed");
}

#[test]
fn readers_look_and_change_nothing() {
    if !is_root() {
        // Only root can be several users.
        return;
    }
    let mut house = House::new(1);
    fs::set_permissions(house.path(""), Permissions::from_mode(0o755)).unwrap();
    house.through = ["sh", "-c", "exec \"$@\" --socket-group nogroup", "sh"]
        .map(str::to_owned)
        .into();
    house.start();
    let about = fs::metadata(house.path("socket")).unwrap();
    assert_eq!((about.gid(), about.mode() & 0o777), (65_534, 0o660));
    let mut ask = |identity: &[&str], words: &[&str]| {
        house.through = [&["setpriv"], identity]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect();
        let output = house.ask(words);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let members: [&[&str]; 2] = [
        &["--reuid=12345", "--regid=65534", "--clear-groups"],
        &["--reuid=12345", "--regid=12345", "--groups=65534"],
    ];
    for member in members {
        assert_eq!(ask(member, &["banned"]), (Some(0), String::new()), "{member:?}");
        for words in [
            &["ban", "192.0.2.9"][..],
            &["unban", "--all"],
            &["reload"],
            &["stop"],
            &["flush"],
        ] {
            let (code, said) = ask(member, words);
            assert!(
                code == Some(1) && said.contains("may look, and change nothing"),
                "{words:?}: {said}"
            );
        }
    }
    let (code, said) = ask(&["--reuid=12345", "--regid=12345", "--clear-groups"], &["banned"]);
    assert_eq!(code, Some(1), "the file system keeps others out: {said}");
    house.through.clear();
    // Where it does not, the daemon does.
    fs::set_permissions(house.path("socket"), Permissions::from_mode(0o666)).unwrap();
    house.through = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
        .map(str::to_owned)
        .into();
    let output = house.ask(&["banned"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("only root may ask"));
    house.through.clear();
    assert_eq!(
        house.ask(&["ban", "192.0.2.9", "--jail", "plain"]).status.code(),
        Some(0)
    );
}

#[test]
fn a_group_that_there_is_not() {
    let mut house = House::empty();
    house.jails(&[]);
    house.through = ["sh", "-c", "exec \"$@\" --socket-group no-such-group", "sh"]
        .map(str::to_owned)
        .into();
    let output = house.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("no group 'no-such-group'"),
        "{said}"
    );
}
