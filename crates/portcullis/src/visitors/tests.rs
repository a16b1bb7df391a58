//! Made-up machines in a folder, and a real sshd in a network of its own.

mod real;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::sshd::{Socket, entry};
use super::utmp::{Layout, NARROW, WIDE, entries};
use super::*;

const OPEN: &str = "01";
const LISTENING: &str = "0A";
const CLOSING: &str = "08";

/// A machine whose `/proc`, `/run` and `/etc` are made up.
struct Machine {
    folder: tempfile::TempDir,
    connections: String,
}

/// One process of it.
#[derive(Clone, Copy)]
struct Made<'a> {
    pid: u32,
    name: &'a str,
    parent: u32,
    user: u32,
    sockets: &'a [u64],
}

const SSHD: Made = Made {
    pid: 0,
    name: "sshd",
    parent: 100,
    user: 0,
    sockets: &[],
};

impl Machine {
    /// With users, and an sshd that listens on port 22.
    fn new() -> Machine {
        let mut machine = Machine {
            folder: tempfile::tempdir().unwrap(),
            connections: "  sl  local_address rem_address   st\n".to_owned(),
        };
        machine.write(
            "etc/passwd",
            "root:x:0:0::/root:/bin/bash\nsshd:x:103:65534::/run/sshd:/bin/false\n",
        );
        machine.connection(1, 22, "00000000", LISTENING);
        machine.process(&Made {
            pid: 100,
            parent: 1,
            sockets: &[1],
            ..SSHD
        });
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A connection of IPv4; `client` in the kernel's digits.
    fn connection(&mut self, inode: u64, port: u16, client: &str, state: &str) {
        let line = format!(
            "   0: 0A0200C0:{port:04X} {client}:BB32 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"
        );
        self.connections += &line;
        self.write("proc/thread-self/net/tcp", self.connections.clone());
    }

    fn process(&self, made: &Made) {
        self.process_with(made, "");
    }

    /// With further lines of its status, which come first and so count.
    fn process_with(&self, made: &Made, more: &str) {
        let Made {
            pid,
            name,
            parent,
            user,
            sockets,
        } = *made;
        let program = self.path(&format!("proc/{pid}/exe"));
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&program);
        symlink(format!("/usr/sbin/{name}"), program).unwrap();
        // Whoever starts a program over a link of theirs chooses its name.
        let status = format!(
            "Name:\tsshd\n{more}PPid:\t{parent}\nUid:\t{user}\t{user}\t{user}\t{user}\nNSsid:\t{pid}\nSeccomp:\t0\n"
        );
        self.write(&format!("proc/{pid}/status"), status);
        fs::create_dir_all(self.path(&format!("proc/{pid}/fd"))).unwrap();
        for (at, inode) in sockets.iter().enumerate() {
            symlink(
                format!("socket:[{inode}]"),
                self.path(&format!("proc/{pid}/fd/{}", at + 3)),
            )
            .unwrap();
        }
        symlink("/dev/null", self.path(&format!("proc/{pid}/fd/0"))).unwrap();
        let children = self.path(&format!("proc/{parent}/task/{parent}/children"));
        let list = fs::read_to_string(&children).unwrap_or_default();
        self.write(
            &format!("proc/{parent}/task/{parent}/children"),
            format!("{list}{pid} "),
        );
    }

    /// The sessions' clients that are found.
    fn clients(&self) -> Vec<String> {
        below(self.folder.path()).iter().map(IpNet::to_string).collect()
    }
}

#[test]
fn a_user_with_a_process_of_their_own_has_logged_in() {
    let mut machine = Machine::new();
    machine.connection(50, 22, "096433C6", OPEN);
    machine.process(&Made {
        pid: 200,
        sockets: &[50, 51],
        ..SSHD
    });
    assert_eq!(machine.clients(), [""; 0], "the monitor alone");
    machine.process(&Made {
        pid: 201,
        parent: 200,
        user: 1000,
        sockets: &[52, 50],
        ..SSHD
    });
    assert_eq!(machine.clients(), ["198.51.100.9/32"]);
    // A connection that came through the session's tunnel, and one that goes out through it.
    machine.connection(60, 8025, "0A7100CB", OPEN);
    machine.connection(61, 40_000, "0B7100CB", OPEN);
    machine.process(&Made {
        pid: 202,
        parent: 200,
        user: 1000,
        sockets: &[50, 60, 61],
        ..SSHD
    });
    assert_eq!(machine.clients(), ["198.51.100.9/32"]);
}

#[test]
fn who_merely_connects_has_not_logged_in() {
    let mut machine = Machine::new();
    for attacker in 0..50_u32 {
        let (monitor, child, inode) = (200 + 2 * attacker, 201 + 2 * attacker, u64::from(1_000 + attacker));
        machine.connection(inode, 22, &format!("{:02X}7100CB", attacker + 1), OPEN);
        // What it says is a name becomes a title; the title is not read.
        machine.write(&format!("proc/{monitor}/cmdline"), "sshd: root@pts/0\0");
        machine.write(&format!("proc/{child}/cmdline"), "sshd: x@pts/0 [net]\0");
        machine.process(&Made {
            pid: monitor,
            sockets: &[inode],
            ..SSHD
        });
        let sockets = &[inode];
        match attacker % 5 {
            0 => {} // It has said nothing yet.
            1 => machine.process(&Made {
                pid: child,
                parent: monitor,
                user: 103,
                sockets,
                ..SSHD
            }),
            2 => machine.process(&Made {
                pid: child,
                name: "sshd-auth",
                parent: monitor,
                user: 0,
                sockets,
            }),
            3 => machine.process(&Made {
                pid: child,
                parent: monitor,
                user: 65_534,
                sockets,
                ..SSHD
            }),
            _ => {
                let made = Made {
                    pid: child,
                    parent: monitor,
                    user: 555,
                    sockets,
                    ..SSHD
                };
                machine.process_with(&made, "NoNewPrivs:\t1\n");
            }
        }
    }
    assert_eq!(machine.clients(), [""; 0]);
}

#[test]
fn what_is_asked_before_a_login_is_no_session() {
    let mut machine = Machine::new();
    machine.connection(50, 22, "096433C6", OPEN);
    // A command for keys, and a helper of PAM's with a session of its own.
    machine.process(&Made {
        pid: 200,
        sockets: &[50],
        ..SSHD
    });
    machine.process(&Made {
        pid: 201,
        parent: 200,
        user: 103,
        sockets: &[50],
        ..SSHD
    });
    machine.process(&Made {
        pid: 202,
        name: "keys",
        parent: 200,
        user: 1000,
        sockets: &[],
    });
    machine.process(&Made {
        pid: 203,
        parent: 200,
        sockets: &[50],
        ..SSHD
    });
    machine.process(&Made {
        pid: 204,
        name: "helper",
        parent: 203,
        user: 0,
        sockets: &[],
    });
    // The monitor looks at a user's files as that user for a moment.
    machine.connection(51, 22, "0A7100CB", OPEN);
    machine.process(&Made {
        pid: 300,
        sockets: &[51],
        ..SSHD
    });
    let status = "Name:\tsshd\nPPid:\t300\nUid:\t0\t1000\t0\t1000\nNSsid:\t301\n";
    machine.process(&Made {
        pid: 301,
        parent: 300,
        sockets: &[51],
        ..SSHD
    });
    machine.write("proc/301/status", status);
    assert_eq!(machine.clients(), [""; 0]);
}

#[test]
fn root_has_logged_in_when_sshd_runs_something_for_it() {
    let check = |name: &'static str, monitor_and_child: bool| {
        let mut machine = Machine::new();
        machine.connection(50, 22, "096433C6", OPEN);
        machine.connection(60, 8025, "0A7100CB", OPEN);
        let sockets = &[50, 60];
        let session = if monitor_and_child {
            machine.process(&Made {
                pid: 200,
                name,
                sockets: &[50],
                ..SSHD
            });
            machine.process(&Made {
                pid: 201,
                name,
                parent: 200,
                sockets,
                ..SSHD
            });
            201
        } else {
            machine.process(&Made {
                pid: 200,
                name,
                sockets,
                ..SSHD
            });
            200
        };
        assert_eq!(machine.clients(), [""; 0], "{name}");
        machine.process(&Made {
            pid: 202,
            name,
            parent: session,
            ..SSHD
        });
        assert_eq!(machine.clients(), [""; 0], "{name}: sshd itself is no command");
        let command = Made {
            pid: 203,
            name: "bash",
            parent: session,
            ..SSHD
        };
        machine.process_with(&command, &format!("NSsid:\t{session}\n"));
        assert_eq!(machine.clients(), [""; 0], "{name}: a helper in sshd's own session");
        machine.process(&Made { pid: 204, ..command });
        assert_eq!(machine.clients(), ["198.51.100.9/32"], "{name}");
    };
    check("sshd", false);
    check("sshd-session", true);
}

#[test]
fn a_process_that_calls_itself_sshd_is_believed_nothing() {
    let mut machine = Machine::new();
    machine.connection(50, 40_000, "096433C6", OPEN);
    machine.process(&Made {
        pid: 300,
        parent: 1,
        user: 33,
        sockets: &[50],
        ..SSHD
    });
    machine.process(&Made {
        pid: 301,
        parent: 300,
        user: 33,
        sockets: &[50],
        ..SSHD
    });
    // Nor a program of root's that a user may start, by whatever name.
    let sudo = Made {
        pid: 310,
        name: "sudo",
        parent: 300,
        sockets: &[50],
        ..SSHD
    };
    machine.process(&sudo);
    machine.process(&Made {
        pid: 311,
        parent: 310,
        user: 33,
        sockets: &[50],
        ..SSHD
    });
    // It does not keep others from being spared either: it cannot hold their connections.
    machine.connection(51, 22, "0A6433C6", OPEN);
    machine.connection(52, 22, "0B6433C6", CLOSING);
    machine.process(&Made {
        pid: 400,
        sockets: &[51, 52],
        ..SSHD
    });
    machine.process(&Made {
        pid: 401,
        parent: 400,
        user: 1000,
        sockets: &[51, 52],
        ..SSHD
    });
    assert_eq!(machine.clients(), ["198.51.100.10/32"]);
}

#[test]
fn logind_knows_open_sessions_of_sshd() {
    let check = |record: &str, expect: &[&str]| {
        let machine = Machine::new();
        machine.process(&Made {
            pid: 900,
            name: "sshd",
            parent: 1,
            ..SSHD
        });
        machine.write("run/systemd/sessions/7", record);
        machine.write("run/systemd/sessions/8.ref", "\u{0}\n==\n=");
        assert_eq!(machine.clients(), expect, "{record}");
    };
    let good = "# This is private data. Do not parse.\nUID=1000\nUSER=ann\nACTIVE=1\nSTATE=active\nREMOTE=1\n\
        TYPE=tty\nCLASS=user\nREMOTE_HOST=198.51.100.9\nSERVICE=sshd\nLEADER=900\n";
    check(good, &["198.51.100.9/32"]);
    check(&good.replace("active", "online"), &["198.51.100.9/32"]);
    check(&good.replace("198.51.100.9", "2001:db8::9"), &["2001:db8::9/128"]);
    check(
        &good.replace("198.51.100.9", "::ffff:198.51.100.9"),
        &["198.51.100.9/32"],
    );
    check(&good.replace("198.51.100.9", "127.0.0.1"), &[]);
    check(&good.replace("198.51.100.9", "client.example"), &[]);
    check(&good.replace("active", "closing"), &[]);
    check(&good.replace("REMOTE=1", "REMOTE=0"), &[]);
    check(&good.replace("SERVICE=sshd", "SERVICE=vsftpd"), &[]);
    check(&good.replace("LEADER=900", "LEADER=901"), &[]);
    check(&good.replace("LEADER=900\n", ""), &[]);
    check("", &[]);
}

/// One record of utmp.
fn record(layout: Layout, (kind, pid): (i16, u32), host: &str, address: [u8; 16]) -> Vec<u8> {
    let mut bytes = vec![0; layout.size];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &kind.to_ne_bytes());
    put(4, &pid.to_ne_bytes());
    put(8, b"pts/0");
    put(44, b"ann");
    put(76, host.as_bytes());
    put(layout.address, &address);
    bytes
}

fn four(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    bytes
}

#[test]
fn utmp_is_read_in_both_layouts() {
    let six = "2001:db8::9".parse::<std::net::Ipv6Addr>().unwrap().octets();
    for layout in [NARROW, WIDE] {
        let bytes = [
            record(layout, (2, 0), "6.1.0-boot", [0; 16]),
            record(layout, (7, 901), "somewhere.example", four([198, 51, 100, 9])),
            record(layout, (7, 902), "2001:db8::9", six),
            record(layout, (7, 903), "203.0.113.3", [0; 16]),
            record(layout, (7, 904), "", [0; 16]),
            record(layout, (8, 905), "203.0.113.5", four([203, 0, 113, 5])),
            vec![7; layout.size - 1],
        ]
        .concat();
        let found: Vec<(u32, String)> = entries(&bytes, layout).map(|(pid, ip)| (pid, ip.to_string())).collect();
        let expect = [(901, "198.51.100.9"), (902, "2001:db8::9"), (903, "203.0.113.3")];
        assert_eq!(found, expect.map(|(pid, ip)| (pid, ip.to_owned())));
    }
}

#[test]
fn an_entry_of_utmp_counts_below_sshd() {
    let machine = Machine::new();
    machine.process(&Made { pid: 200, ..SSHD });
    machine.process(&Made {
        pid: 201,
        parent: 200,
        user: 1000,
        ..SSHD
    });
    machine.process(&Made {
        pid: 202,
        name: "bash",
        parent: 201,
        user: 1000,
        sockets: &[],
    });
    // A program of the web server's user that has an entry made for its terminal.
    machine.process(&Made {
        pid: 300,
        name: "apache2",
        parent: 1,
        user: 33,
        sockets: &[],
    });
    machine.process(&Made {
        pid: 301,
        name: "sshd",
        parent: 300,
        user: 33,
        sockets: &[],
    });
    machine.process(&Made {
        pid: 302,
        name: "circle",
        parent: 302,
        user: 33,
        sockets: &[],
    });
    let entry = |pid, last| record(NARROW, (7, pid), "", four([198, 51, 100, last]));
    let other = |pid, last| record(WIDE, (7, pid), "", four([198, 51, 100, last]));
    machine.write(
        "run/utmp",
        [entry(202, 9), entry(301, 10), entry(302, 11), entry(999, 12)].concat(),
    );
    assert_eq!(machine.clients(), ["198.51.100.9/32"]);
    machine.write("run/utmp", [other(202, 9), other(301, 10)].concat());
    assert_eq!(machine.clients(), ["198.51.100.9/32"], "the other architecture's");
}

#[test]
fn connections_are_read_from_the_kernels_list() {
    let check = |line: &str, expect: Option<(u64, u16, Option<&str>)>| {
        let expect = expect.map(|(inode, port, client)| {
            let client = client.map(|ip| ip.parse().unwrap());
            (inode, Socket { port, client })
        });
        assert_eq!(entry(line.as_bytes()), expect, "{line}");
    };
    let rest = "00000000:00000000 00:00000000 00000000     0        0 7611901 1 0000000000000000 100 0 0 10 0";
    let four = |state: &str| format!("   5: 0A0200C0:0016 096433C6:BB38 {state} {rest}");
    check(&four("01"), Some((7_611_901, 22, Some("198.51.100.9"))));
    check(&four("0A"), Some((7_611_901, 22, None)));
    for state in ["02", "03", "06", "08", "0B", "zz", ""] {
        check(&four(state), None);
    }
    let six = format!("   0: B80D0120000000000000000001000000:0016 B80D0120000000000000000009000000:BB38 01 {rest}");
    check(&six, Some((7_611_901, 22, Some("2001:db8::9"))));
    for junk in [
        "",
        "5:",
        "5: x y 01",
        "5: 0:16 096433C6:1 01 a b c d e 1",
        "5: a:16 \u{e9}96433C6:1 01 a b c d e 1",
    ] {
        assert!(
            entry(junk.as_bytes()).is_none_or(|(_, socket)| socket.port == 22),
            "{junk}"
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    /// Whatever stands in these files, there is an answer.
    #[test]
    fn any_bytes_have_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1_000)) {
        let machine = Machine::new();
        for name in ["run/utmp", "run/systemd/sessions/1", "proc/100/status", "proc/thread-self/net/tcp6", "etc/passwd"] {
            machine.write(name, &bytes);
        }
        proptest::prop_assert!(machine.clients().is_empty());
        let _ = entry(&bytes);
        let _ = entries(&bytes, NARROW).count() + entries(&bytes, WIDE).count();
    }
}
