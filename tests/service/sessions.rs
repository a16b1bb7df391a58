//! What becomes of an established session when its address is banned, and of those of others.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::Dialogue;
use crate::daemon::Daemon;
use crate::namespace::Namespace;
use crate::site::{FAR, FAR_TOO, FAR6, FAR6_TOO, Logs, SERVER, SERVER6, Site};
use crate::{dovecot, wait};

/// Others whose addresses begin as those of the banned do, in text and in bits.
const ALIKE: &str = "198.51.100.1";
const ALIKE6: &str = "2001:db8:2::1";

// By single addresses: those who look like the banned share its /64.
const JAIL: &str = "\
[dovecot]
enabled = true
maxretry = 3
logpath = /var/log/dovecot.log
prefix.ipv6 = 128
";
const KILLING: &str = "\
[DEFAULT]
banaction = nft[kill_sessions=yes]
";

/// So long nothing is heard in a session that hangs.
const SILENCE: Duration = Duration::from_millis(700);
/// How often somebody whom it does not concern says something.
const PACE: Duration = Duration::from_millis(50);
/// More than this they would notice.
const NOTICE: Duration = Duration::from_secs(1);

/// A site with Dovecot, and with the two who look like the banned.
fn site() -> Site {
    let site = Site::new(Logs::Own);
    site.client_machine().address(&format!("{ALIKE}/32"));
    site.client_machine().address(&format!("{ALIKE6}/128"));
    dovecot::start(&site);
    site
}

/// Whatever is done meanwhile, these sessions answer all the time; how slow the slowest answer was.
fn undisturbed<T>(sessions: Vec<(&str, Dialogue)>, act: impl FnOnce() -> T) -> (T, Duration) {
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|threads| {
        let talks: Vec<_> = sessions
            .into_iter()
            .map(|(who, session)| threads.spawn(move || (who, talk(session, is_over))))
            .collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        is_over.store(true, Ordering::Relaxed);
        let mut slowest = Duration::ZERO;
        for talk in talks {
            let talked = talk.join();
            let (who, (answers, worst)) = talked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            assert!(
                answers > 5 && worst < NOTICE,
                "{who}: {answers} answers, the slowest took {worst:?}"
            );
            slowest = slowest.max(worst);
        }
        (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), slowest)
    })
}

fn talk(mut session: Dialogue, is_over: &AtomicBool) -> (usize, Duration) {
    let (mut answers, mut worst) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        session.ask("n NOOP", "n ");
        worst = worst.max(asked.elapsed());
        answers += 1;
        std::thread::sleep(PACE);
    }
    (answers, worst)
}

/// Three failures over other connections of the same address; when the last was over.
fn get_banned(site: &Site, daemon: &Daemon<'_>, address: &str) -> Instant {
    for _ in 0..3 {
        site.client(address).guess_imap();
    }
    let failed = Instant::now();
    daemon.wait_for_ban("dovecot", address);
    failed
}

/// Bytes that the client has sent and nobody has acknowledged.
fn unacknowledged(site: &Site, port: u16) -> u64 {
    let filter = format!("sport = :{port}");
    let mut ss = site.client_machine().command(&[], Path::new("ss"));
    let output = ss.args(["-Htn", &filter]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let column = text.split_whitespace().nth(2).map(str::parse);
    column
        .unwrap_or_else(|| panic!("no socket with port {port}: {text}"))
        .unwrap()
}

fn hangs(site: &Site, session: &mut Dialogue) {
    let answer = session.try_ask("h NOOP", SILENCE);
    let silent = answer
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(silent, "{answer:?}");
    assert!(
        unacknowledged(site, session.port()) > 0,
        "the server's kernel took what was sent"
    );
}

#[test]
fn a_session_hangs_at_once_and_others_never_notice() {
    let site = site();
    let daemon = site.guard(JAIL);
    for (address, neighbours) in [(FAR, [FAR_TOO, ALIKE]), (FAR6, [FAR6_TOO, ALIKE6])] {
        let mut session = site.client(address).log_in();
        assert!(session.try_ask("b NOOP", NOTICE).is_ok(), "before the ban");
        let others = neighbours.map(|other| (other, site.client(other).log_in()));
        let process = process(&site, address);
        undisturbed(others.into(), || {
            get_banned(&site, &daemon, address);
            hangs(&site, &mut session);
        });
        assert!(is_alive(process), "it waits for who will not come");
    }
}

/// The process that serves a logged-in client, by Dovecot's own log.
fn process(site: &Site, address: &str) -> u32 {
    let login = || {
        let log = site.read_log("dovecot.log");
        let line = log
            .lines()
            .rev()
            .find(|line| line.contains(&format!("rip={address},")) && line.contains("mpid="))?;
        line.split_once("mpid=")?.1.split(',').next()?.trim().parse().ok()
    };
    wait::until(&format!("the log-in of {address}"), login, || site.all_logs())
}

fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

fn report(text: &str) {
    // Past the capture of the test harness, which would keep it to itself.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[test]
fn with_kill_sessions_the_servers_process_is_free_at_once() {
    let site = site();
    let daemon = site.guard(&format!("{KILLING}{JAIL}"));
    for (address, neighbours) in [(FAR, [FAR_TOO, ALIKE]), (FAR6, [FAR6_TOO, ALIKE6])] {
        let mut session = site.client(address).log_in();
        let process = process(&site, address);
        let others = neighbours.map(|other| (other, site.client(other).log_in()));
        let (spent, slowest) = undisturbed(others.into(), || {
            for _ in 0..3 {
                site.client(address).guess_imap();
            }
            let failed = Instant::now();
            while is_alive(process) && failed.elapsed() < wait::PATIENCE {
                std::thread::sleep(Duration::from_millis(1));
            }
            let spent = failed.elapsed();
            daemon.wait_for_ban("dovecot", address);
            std::thread::sleep(PACE * 6);
            spent
        });
        assert!(!is_alive(process), "{}", daemon.evidence());
        assert!(
            session.try_ask("c NOOP", SILENCE).is_err(),
            "the session of {address} goes on"
        );
        let log = site.read_log("dovecot.log");
        let mark = format!("imap({})<{process}>", dovecot::USER);
        let farewell = log
            .lines()
            .find(|line| line.contains(&mark) && line.contains("Disconnected"));
        assert!(farewell.is_some(), "{}", daemon.evidence());
        report(&format!(
            "kill_sessions: {address}: last failure → Dovecot's process ended: {spent:?}; slowest answer to others {slowest:?}"
        ));
        let log = site.read_log("fail2ban.log");
        // The last guess may still have its own open, which ends with it.
        let ended = [1, 2].map(|count| format!("kill_sessions: ended {count} sockets"));
        assert!(ended.iter().any(|text| log.contains(text)), "{log}");
    }
}

/// A server behind the machine that bans: what a container is.
struct Behind {
    machine: Namespace,
}

const ROUTER: &str = "203.0.113.1";
const INNER: &str = "203.0.113.5";
const ROUTER6: &str = "2001:db8:3::1";
const INNER6: &str = "2001:db8:3::5";
const RULES: &str = "\
table inet forwarding {
  chain prerouting {
    type nat hook prerouting priority dstnat
    ip daddr 192.0.2.1 tcp dport 143 dnat ip to 203.0.113.5:1143
    ip6 daddr 2001:db8:1::1 tcp dport 143 dnat ip6 to [2001:db8:3::5]:1143
  }
}
";

impl Behind {
    /// Connects it to the router, which passes port 143 on to it.
    fn new(site: &Site) -> Behind {
        let machine = Namespace::new();
        let router = site.server_machine();
        // A new link carries packets at once only where its own addresses are not tried first.
        for end in [&machine, router] {
            end.within(|| fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap());
        }
        router.connect_by("eth1", &machine);
        for (address, inner, clients) in [(ROUTER, INNER, "198.51.100.0/24"), (ROUTER6, INNER6, "2001:db8:2::/48")] {
            let (length, nodad): (_, &[&str]) = if inner.contains(':') {
                (64, &["nodad"])
            } else {
                (24, &[])
            };
            router.ip(&[&["addr", "add", &format!("{address}/{length}"), "dev", "eth1"], nodad].concat());
            machine.address(&format!("{inner}/{length}"));
            machine.ip(&["route", "add", clients, "via", address]);
        }
        router.within(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        let rules = site.path("forwarding.nft");
        fs::write(&rules, RULES).unwrap();
        let output = site.command("nft").arg("-f").arg(rules).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let behind = Behind { machine };
        behind.serve();
        behind
    }

    /// Greets, and says again what is said; until the namespace ends.
    fn serve(&self) {
        let listener = self.machine.within(|| TcpListener::bind("[::]:1143").unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut bytes = [0; 256];
                    let _ = stream.write_all(b"* OK ready\r\n");
                    while let Ok(length @ 1..) = stream.read(&mut bytes) {
                        let _ = stream.write_all(&bytes[..length]);
                    }
                });
            }
        });
    }
}

/// The connections of an address that the router passes on.
fn tracked(site: &Site, address: &str) -> usize {
    let family = if address.contains(':') { "ipv6" } else { "ipv4" };
    let mut command = site.command("conntrack");
    let output = command
        .args(["-L", "-f", family, "-p", "tcp", "-s", address, "--dport", "143"])
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().count()
}

fn forwarded(is_killing: bool) {
    let site = Site::new(Logs::Own);
    let _behind = Behind::new(&site);
    fs::write(site.log("dovecot.log"), "").unwrap();
    let options = if is_killing { KILLING } else { "" };
    let daemon = site.guard(&format!("{options}{JAIL}"));
    for (server, address, neighbour) in [(SERVER, FAR, FAR_TOO), (SERVER6, FAR6, FAR6_TOO)] {
        let dial = |address| {
            let client = site.client(address);
            client.greeted(client.knock(server, 143))
        };
        let mut session = dial(address);
        session.ask("b NOOP", "b NOOP");
        assert_eq!((tracked(&site, address), tracked(&site, neighbour)), (1, 0));
        let others = vec![(neighbour, dial(neighbour))];
        let (spent, slowest) = undisturbed(others, || {
            let begun = Instant::now();
            daemon.ask(&["ban", address, "--jail", "dovecot"]);
            daemon.wait_for_ban("dovecot", address);
            let gone = || (!is_killing || tracked(&site, address) == 0).then(|| begun.elapsed());
            let spent = wait::until("the entry's end", gone, || daemon.evidence());
            hangs(&site, &mut session);
            spent
        });
        assert_eq!(tracked(&site, address), usize::from(!is_killing));
        assert_eq!(tracked(&site, neighbour), 1);
        if is_killing {
            report(&format!(
                "kill_sessions: {address}: forwarded flow gone {spent:?} after the command was begun; slowest answer to \
                 others {slowest:?}"
            ));
        }
    }
}

#[test]
fn a_forwarded_session_hangs_at_once() {
    forwarded(false);
}

#[test]
fn with_kill_sessions_the_forwarded_flow_is_forgotten() {
    forwarded(true);
}
