//! Real processes: shells as commands, and this test binary itself as runner and as daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis_core::action::{Form, Invocation, Values};
use portcullis_core::time::Number;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::serve::{Lanes, serve};
use super::wire::{self, Answer, Request};
use super::*;

/// A runner in this process and the daemon's end of its socket.
struct Stage {
    link: Link,
    catalogue: Catalogue,
    events: Receiver<Event>,
    lanes: Arc<Lanes>,
}

impl Stage {
    fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let lanes = Lanes::start().unwrap();
        serve(theirs, lanes.clone()).unwrap();
        let (sender, events) = channel();
        Stage {
            link: Link::new(ours, sender).unwrap(),
            catalogue: Catalogue::default(),
            events,
            lanes,
        }
    }

    fn learn(&mut self, script: &str, timeout: f64) -> TemplateId {
        let id = self.catalogue.add(script, Number::Float(timeout));
        self.link.learn(Lane::Actions, &self.catalogue).unwrap();
        id
    }

    fn run(&mut self, script: &str) -> Ran {
        let id = self.learn(script, 20.0);
        self.link.run(id, &Values::default(), Lane::Actions)
    }
}

fn values(tags: &[(&str, &str)]) -> Values {
    Values {
        tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        fields: BTreeMap::new(),
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(5));
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

/// A process that is gone, or only waits to be collected.
fn is_dead(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return true;
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn outcomes() {
    let mut stage = Stage::new();
    for (script, outcome, stdout, stderr) in [
        ("exit 0", Outcome::Exit(0), "", ""),
        ("echo out; echo err >&2; exit 3", Outcome::Exit(3), "out\n", "err\n"),
        ("kill -TERM $$", Outcome::Signal(15), "", ""),
        ("printf 'a\\377b'; pwd", Outcome::Exit(0), "a\u{fffd}b/\n", ""),
        ("cat", Outcome::Exit(0), "", ""),
    ] {
        let ran = stage.run(script);
        assert_eq!(
            (ran.outcome, &*ran.stdout, &*ran.stderr),
            (outcome, stdout, stderr),
            "{script}"
        );
    }
    assert!(matches!(stage.run("a\0b").outcome, Outcome::CouldNotStart(_)));
    assert!(stage.run("").succeeded());
}

#[test]
fn no_descriptor_of_ours_is_handed_on() {
    let (one, _other) = UnixStream::pair().unwrap();
    let ours = fs::read_link(format!("/proc/self/fd/{}", one.as_raw_fd())).unwrap();
    let listed = Stage::new().run("ls -l /proc/self/fd").stdout;
    assert!(
        listed.contains("/dev/null") && !listed.contains(&*ours.to_string_lossy()),
        "{listed}"
    );
}

#[test]
fn the_environment_is_handed_on() {
    let ran = Stage::new().run("echo \"$PATH\"");
    assert_eq!(ran.stdout.trim_end(), std::env::var("PATH").unwrap());
}

#[test]
fn the_runner_renders_and_hostile_values_stay_values() {
    let mut stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let hostile = format!("';`touch {0}`$(touch {0})\n\"|&\\", witness.display());
    let id = stage.learn("printf '%s' \"<matches>\" <ip>", 20.0);
    let ran = stage.link.run(
        id,
        &values(&[("matches", &hostile), ("ip", "192.0.2.1")]),
        Lane::Actions,
    );
    assert_eq!(ran.stdout, format!("{hostile}192.0.2.1"));
    assert!(!witness.exists());
}

#[test]
fn more_than_ten_values_arrive() {
    let mut stage = Stage::new();
    let names: Vec<String> = (0..14).map(|n| format!("t{n}")).collect();
    let texts: Vec<String> = (0..14).map(|n| format!("<{n}>")).collect();
    let script = names
        .iter()
        .map(|name| format!("printf %s \"<{name}>\";"))
        .collect::<String>();
    let tags: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(texts.iter().map(String::as_str))
        .collect();
    let id = stage.learn(&script, 20.0);
    assert_eq!(stage.link.run(id, &values(&tags), Lane::Actions).stdout, texts.concat());
}

#[test]
fn a_talkative_command_does_not_hang() {
    let mut stage = Stage::new();
    let ran = stage.run("head -c 1000000 /dev/zero | tr '\\0' a; head -c 1000000 /dev/zero | tr '\\0' b >&2");
    assert_eq!(ran.outcome, Outcome::Exit(0));
    assert_eq!((ran.stdout, ran.stderr), ("a".repeat(65_536), "b".repeat(65_536)));
}

#[test]
fn a_command_that_leaves_a_child_behind_is_not_waited_for() {
    let ran = Stage::new().run("sleep 15 & echo started");
    assert_eq!((ran.outcome, ran.stdout.as_str()), (Outcome::Exit(0), "started\n"));
    assert!(ran.duration_ms < 10_000);
}

#[test]
fn the_timeout_ends_all_that_was_started() {
    let mut stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "trap '' TERM; (trap '' TERM; echo $$; sleep 300) & echo $! > {}; echo begun; wait; sleep 300",
        file.display()
    );
    let id = stage.learn(&script, 0.5);
    let ran = stage.link.run(id, &Values::default(), Lane::Actions);
    assert_eq!(ran.outcome, Outcome::TimedOut(Some(-9)));
    assert!(ran.stdout.contains("begun") && ran.duration_ms >= 700, "{ran:?}");
    let grandchild = pid(&fs::read_to_string(file).unwrap());
    eventually("the grandchild ends", || is_dead(grandchild));
    let id = stage.learn("sleep 300", 0.1);
    let ran = stage.link.run(id, &Values::default(), Lane::Actions);
    assert_eq!(ran.outcome, Outcome::TimedOut(Some(-15)));
}

#[test]
fn one_lane_keeps_the_order_and_the_other_does_not_wait() {
    let mut stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order");
    let script = format!("sleep 0.0<n>; echo <n> >> {}", file.display());
    let id = stage.learn(&script, 20.0);
    let started: Vec<_> = (0..8)
        .rev()
        .map(|n| stage.link.start(id, &values(&[("n", &n.to_string())]), Lane::Actions))
        .collect();
    for ran in started {
        assert!(ran.recv().unwrap().succeeded());
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "7\n6\n5\n4\n3\n2\n1\n0\n");

    let hung = stage.learn("sleep 300", 3.0);
    let quick = stage.learn("exit 0", 3.0);
    let hanging = stage.link.start(hung, &Values::default(), Lane::Actions);
    let ignore = |stage: &Stage| stage.link.run(quick, &Values::default(), Lane::Ignore);
    assert!(
        matches!(ignore(&stage).outcome, Outcome::Refused(_)),
        "each lane has its own"
    );
    stage.link.learn(Lane::Ignore, &stage.catalogue).unwrap();
    assert!(ignore(&stage).succeeded());
    assert!(hanging.try_recv().is_err());
    assert!(matches!(hanging.recv().unwrap().outcome, Outcome::TimedOut(_)));
}

#[test]
fn at_the_end_a_running_command_is_killed_and_no_other_begins() {
    let mut stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("begun");
    let id = stage.learn(&format!("echo x >> {}; sleep 300", file.display()), 300.0);
    let first = stage.link.start(id, &Values::default(), Lane::Actions);
    let _second = stage.link.start(id, &Values::default(), Lane::Actions);
    eventually("the command has begun", || file.exists());
    stage.lanes.close(Duration::from_millis(50));
    assert_eq!(first.recv().unwrap().outcome, Outcome::Signal(9));
    sleep(Duration::from_millis(50));
    assert_eq!(fs::read_to_string(file).unwrap(), "x\n");
}

fn item(template: TemplateId, element: &str) -> Item {
    Item {
        template,
        element: element.to_owned(),
        bantime: Some(60),
    }
}

/// A daemon in the wrong hands gets no program started that it was not to start, and nothing into it but addresses.
#[test]
fn only_recognised_templates_and_addresses_make_a_batch() {
    let mut stage = Stage::new();
    let ipset = stage.learn("ipset -exist add nobody-has-this <ip> timeout <bantime>", 20.0);
    let nft = stage.learn("nft add element inet t s { <ip> }", 20.0);
    let shell = stage.learn("echo <ip>", 20.0);
    let refused = |items: Vec<Item>| match stage.link.batch(items, Lane::Actions).outcome {
        Outcome::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    let good = || item(ipset, "192.0.2.1");
    for hostile in [
        "",
        "bob",
        "192.0.2.1 timeout 5",
        "192.0.2.1\nflush x",
        "1.2.3.4; rm",
        "-exist",
    ] {
        assert_eq!(
            refused(vec![good(), item(ipset, hostile)]),
            "a value is no address",
            "{hostile}"
        );
    }
    assert_eq!(
        refused(vec![good(), item(shell, "192.0.2.1")]),
        "a template is for no batch"
    );
    assert_eq!(
        refused(vec![good(), item(nft, "192.0.2.1")]),
        "the commands make no batch"
    );
    assert_eq!(refused(Vec::new()), "the commands make no batch");
    assert_eq!(refused(vec![good(); BATCH_MOST + 1]), "the batch is too long");
    assert_eq!(
        refused(vec![item(TemplateId(99), "192.0.2.1")]),
        "template 99 was not learned"
    );
    let late = Item {
        bantime: Some(-1),
        ..good()
    };
    assert_eq!(refused(vec![late]), "the commands make no batch");
    let in_other_lane = stage.link.batch(vec![good()], Lane::Ignore).outcome;
    assert!(matches!(in_other_lane, Outcome::Refused(_)));
}

#[test]
fn the_program_of_a_batch_stands_beside_the_one_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    for place in [&first, &second] {
        fs::create_dir(place).unwrap();
    }
    let path = std::env::join_paths([&first, &second]).unwrap();
    let make = |place: &Path, name: &str, mode: u32| {
        fs::write(place.join(name), "").unwrap();
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let form = |script: &str| Form::of(script).unwrap().invocation().clone();
    let iptables = form("iptables -w -I c -s <ip> -j DROP");
    let found = |invocation: &Invocation| find::program_in(invocation, &path).ok();
    assert_eq!(found(&iptables), None);
    make(&second, "multi", 0o755);
    symlink("multi", second.join("iptables")).unwrap();
    assert_eq!(found(&iptables), None, "nothing restores");
    symlink("multi", second.join("iptables-restore")).unwrap();
    assert_eq!(found(&iptables), Some(second.join("iptables-restore")));
    make(&first, "iptables", 0o644);
    assert_eq!(found(&iptables), Some(second.join("iptables-restore")), "no program");
    fs::remove_file(first.join("iptables")).unwrap();
    make(&first, "iptables", 0o755);
    make(&first, "iptables-restore", 0o755);
    assert_eq!(found(&iptables), None, "they are of two makes");
    let nft = form("nft add element inet t s { <ip> }");
    make(&second, "nft", 0o755);
    assert_eq!(found(&nft), Some(second.join("nft")));
    let placed = form("/usr/sbin/nft add element inet t s { <ip> }");
    assert_eq!(found(&placed), Some("/usr/sbin/nft".into()));
}

#[test]
fn only_learned_templates_run() {
    let mut stage = Stage::new();
    let run = |stage: &Stage, id| stage.link.run(id, &Values::default(), Lane::Actions).outcome;
    assert!(matches!(run(&stage, TemplateId(7)), Outcome::Refused(_)));
    let old = stage.learn("exit 4", 5.0);
    assert_eq!(run(&stage, old), Outcome::Exit(4));
    let new = stage.learn("exit 5", 5.0);
    assert_eq!(stage.catalogue.add("exit 5", Number::Int(5)), new);
    stage.catalogue.keep(|id| id == new);
    stage.link.learn(Lane::Actions, &stage.catalogue).unwrap();
    assert!(matches!(run(&stage, old), Outcome::Refused(_)));
    assert_eq!(run(&stage, new), Outcome::Exit(5));
    let again = stage.catalogue.add("exit 4", Number::Int(5));
    assert!(again != old && again != new);
}

#[test]
fn a_closed_socket_is_told_and_nobody_waits_for_ever() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (sender, events) = channel();
    let link = Link::new(ours, sender).unwrap();
    let waiting = link.start(TemplateId(0), &Values::default(), Lane::Actions);
    drop(theirs);
    assert_eq!(events.recv(), Ok(Event::Gone));
    assert!(waiting.recv().is_err());
    let ran = link.run(TemplateId(0), &Values::default(), Lane::Actions);
    assert!(matches!(ran.outcome, Outcome::CouldNotStart(_)));
    assert!(Stage::new().events.try_recv().is_err());
}

#[test]
fn frames_are_capped_and_whole() {
    let message = Request::Learn {
        lane: Lane::Actions,
        templates: Vec::new(),
    };
    let mut bytes = Vec::new();
    wire::send(&mut bytes, &message).unwrap();
    assert_eq!(wire::receive::<Request>(&mut bytes.as_slice()).unwrap(), Some(message));
    assert!(wire::receive::<Request>(&mut &b""[..]).unwrap().is_none());
    for bad in [
        &b"\xff\xff\xff\xff"[..],
        b"\0\0\0\x05{}",
        b"\0\0\0\x02{}",
        &bytes[..bytes.len() - 1],
    ] {
        assert!(wire::receive::<Request>(&mut &*bad).is_err(), "{bad:?}");
    }
}

const ROLE: &str = "PORTCULLIS_TEST_ROLE";
const FOLDER: &str = "PORTCULLIS_TEST_FOLDER";

/// This test binary as another process.
fn role(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "runner::tests::the_other_processes", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder);
    command
}

/// Does nothing of itself; the tests below start it as a runner or as a daemon.
#[test]
fn the_other_processes() {
    let Ok(role_name) = std::env::var(ROLE) else { return };
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    if let Some(script) = role_name.strip_prefix("runner-of-shell:") {
        let code = supervise(None, |deaths| {
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", script, "daemon", &deaths.to_string()])
                .current_dir(folder);
            command
        });
        std::process::exit(code.unwrap());
    }
    match role_name.as_str() {
        "runner" => std::process::exit(supervise(None, |_| role("daemon", folder)).unwrap()),
        "daemon" => daemon(folder),
        other => panic!("{other}"),
    }
}

/// A daemon that writes down what it is told. It does not end when the runner is gone, so that only the kernel can
/// have ended it.
fn daemon(folder: &Path) {
    let (sender, events) = channel();
    let link = Link::from_stdin(sender).unwrap();
    let mut catalogue = Catalogue::default();
    let id = catalogue.add("umask; echo <x>", Number::Int(5));
    link.learn(Lane::Actions, &catalogue).unwrap();
    let ran = link.run(id, &values(&[("x", "$HOME")]), Lane::Actions);
    fs::write(folder.join("ran"), ran.stdout).unwrap();
    fs::write(folder.join("part"), std::process::id().to_string()).unwrap();
    fs::rename(folder.join("part"), folder.join("daemon")).unwrap();
    for event in events {
        fs::write(folder.join(format!("{event:?}")), "").unwrap();
        if event == Event::Notice(Notice::Quit) {
            std::process::exit(42);
        }
    }
    sleep(Duration::from_secs(30));
}

/// A process that is killed if its test fails.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Kept {
    fn start(mut command: Command) -> Self {
        Kept(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    fn lines(&mut self) -> Vec<String> {
        let lines = BufReader::new(self.0.stderr.take().unwrap()).lines();
        lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with("portcullis:"))
            .collect()
    }
}

#[test]
fn signals_reach_the_daemon_and_its_code_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = Kept::start(role("runner", folder.path()));
    let seen = |name: &str| eventually(name, || folder.path().join(name).exists());
    seen("daemon");
    assert_eq!(fs::read_to_string(folder.path().join("ran")).unwrap(), "0077\n$HOME\n");
    runner.signal(Signal::HUP);
    seen("Notice(Reload)");
    runner.signal(Signal::USR1);
    seen("Notice(ReopenLogs)");
    runner.signal(Signal::TERM);
    assert_eq!(runner.code(), Some(42));
}

#[test]
fn the_daemon_dies_with_a_killed_runner() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = Kept::start(role("runner", folder.path()));
    let file = folder.path().join("daemon");
    eventually("the daemon is up", || file.exists());
    let daemon = pid(&fs::read_to_string(&file).unwrap());
    assert!(!is_dead(daemon));
    runner.signal(Signal::KILL);
    assert_eq!(runner.code(), None);
    eventually("the daemon is dead", || is_dead(daemon));
    assert!(!folder.path().join("Gone").exists() || is_dead(daemon));
}

#[test]
fn a_daemon_that_dies_is_started_again_and_told_how_often() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo $1 >> deaths; if [ $1 -lt 3 ]; then kill -9 $$; fi; exit 7";
    let start = Instant::now();
    let mut runner = Kept::start(role(&format!("runner-of-shell:{script}"), folder.path()));
    let lines = runner.lines();
    assert_eq!(runner.code(), Some(7));
    assert!(start.elapsed() >= Duration::from_millis(700));
    assert_eq!(
        fs::read_to_string(folder.path().join("deaths")).unwrap(),
        "0\n1\n2\n3\n"
    );
    assert_eq!(lines.len(), 3);
    assert_eq!(
        lines[1],
        "portcullis: the daemon was killed by signal 9; bans stay in force, it is started again in 0.2 s (death 2 in a row)"
    );
}

#[test]
fn a_runner_that_waits_to_start_again_can_be_told_to_quit() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo $1 >> deaths; kill -9 $$";
    let mut runner = Kept::start(role(&format!("runner-of-shell:{script}"), folder.path()));
    let deaths = || fs::read_to_string(folder.path().join("deaths")).unwrap_or_default();
    eventually("some deaths", || deaths().lines().count() >= 4);
    // The fourth needs a moment to be dead; the pause after it is 0.8 s.
    sleep(Duration::from_millis(200));
    runner.signal(Signal::INT);
    assert_eq!(runner.code(), Some(0));
}

#[test]
fn answers_survive_the_way() {
    let ran = Ran::nothing(Outcome::TimedOut(Some(-9)));
    let answer = Answer::Ran { number: 9, ran };
    let mut bytes = Vec::new();
    wire::send(&mut bytes, &answer).unwrap();
    assert_eq!(wire::receive::<Answer>(&mut bytes.as_slice()).unwrap(), Some(answer));
}
