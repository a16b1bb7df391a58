//! The output of programs, and standard input, as logs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::house::{House, Jail, append, eventually, failure};

/// So high that nobody is banned: failures are counted one by one.
const NEVER: u32 = 1_000_000;

fn jail<'a>(name: &'a str, maxretry: u32, options: &'a str) -> Jail<'a> {
    Jail {
        name,
        maxretry,
        options,
    }
}

/// A program in the house that writes down its number at each start.
fn program(house: &House, script: &str) -> String {
    let place = |part: &str| house.path(part).display().to_string();
    let script = script.replace("LOG", &place("out"));
    house.write("program", format!("echo $$ >> {}\n{script}\n", place("pids")));
    append(&house.path("out"), b"");
    format!("logcommand = sh {}", place("program"))
}

/// The programs that were started, in order.
fn started(house: &House) -> Vec<Pid> {
    let pids = house.read("pids");
    pids.lines()
        .map(|line| Pid::from_raw(line.parse().unwrap()).unwrap())
        .collect()
}

fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok() && !crate::house::is_gone(pid)
}

fn counts(expect: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expect.iter().map(|(who, count)| ((*who).to_owned(), *count)).collect()
}

fn fail(house: &House, who: &str, count: usize) {
    (0..count).for_each(|_| append(&house.path("out"), failure(who).as_bytes()));
}

#[test]
fn jails_share_a_program_and_a_reload_keeps_it() {
    let mut house = House::empty();
    let logcommand = program(&house, "exec tail -n +1 -F LOG");
    let with_backend = format!("backend = command\n{logcommand}");
    let both = [jail("one", NEVER, &with_backend), jail("two", NEVER, &logcommand)];
    house.jails(&both);
    fail(&house, "192.0.2.1", 3);
    house.start();
    house.counts_become("one", &counts(&[("192.0.2.1", 3)]));
    house.counts_become("two", &counts(&[("192.0.2.1", 3)]));
    let files = house.json(&["status", "one"])["jails"][0]["files"].to_string();
    assert!(files.contains("command:sh") && files.contains("\"reading\""), "{files}");
    assert!(house.ask(&["reload"]).status.success());
    fail(&house, "192.0.2.1", 2);
    house.counts_become("two", &counts(&[("192.0.2.1", 5)]));
    // A jail that goes leaves the program to the other.
    house.jails(&both[..1]);
    assert!(house.ask(&["reload"]).status.success());
    fail(&house, "192.0.2.2", 1);
    house.counts_become("one", &counts(&[("192.0.2.1", 5), ("192.0.2.2", 1)]));
    let [only] = started(&house)[..] else {
        panic!("{:?}", started(&house))
    };
    assert!(is_alive(only));
    // The last one takes it along.
    house.jails(&[jail("plain", NEVER, "")]);
    assert!(house.ask(&["reload"]).status.success());
    eventually("nobody wants the program any more", || !is_alive(only));
}

#[test]
fn what_is_printed_again_is_counted_once_and_ends_are_told() {
    let mut house = House::empty();
    let logcommand = program(&house, "cat LOG\nprintf 'gone \\033[31m\\n' >&2\nexit 3");
    house.jails(&[jail("one", NEVER, &logcommand), jail("file", 1, "")]);
    fail(&house, "192.0.2.1", 2);
    house.start();
    house.until_said("the program ended with code 3: \"gone \\u{1b}[31m\"; it is started again");
    fail(&house, "192.0.2.1", 2);
    house.until_said("NOT PROTECTED: jail 'one' sees nothing: command:sh");
    house.counts_become("one", &counts(&[("192.0.2.1", 4)]));
    let doctor = house.json(&["doctor"]).to_string();
    assert!(
        doctor.contains("log-program") && doctor.contains("run it by hand and see: sh -c"),
        "{doctor}"
    );
    house.fail("file", "192.0.2.9");
    house.until_banned("file 192.0.2.9");
    // Nor after a death, or a restart.
    let before = started(&house).len();
    kill_process(house.daemon(), Signal::KILL).unwrap();
    eventually("it is started again", || started(&house).len() > before);
    fail(&house, "192.0.2.2", 1);
    house.counts_become("one", &counts(&[("192.0.2.1", 4), ("192.0.2.2", 1)]));
    house.terminate();
    fail(&house, "192.0.2.2", 1);
    house.start();
    house.counts_become("one", &counts(&[("192.0.2.1", 4), ("192.0.2.2", 2)]));
    let told = house.said("it says on its error output").len();
    assert!((1..=30).contains(&told), "{told}");
}

#[test]
fn a_program_ends_with_the_daemon_and_all_that_it_started() {
    let mut house = House::empty();
    let script = "trap '' TERM HUP INT\n(trap '' TERM; echo $BASHPID > /dev/null; exec sleep 3001) &\n\
                  echo $! >> PIDS\nprintf 'half a line'\nsleep 0.2\nprintf ' \\377fail from 192.0.2.1\\n'\n\
                  head -c 100000 /dev/zero | tr '\\0' x; echo\nfor n in $(seq 100); do echo $n >&2; done\n\
                  while :; do sleep 0.05; done";
    let script = script.replace("PIDS", &house.path("pids").display().to_string());
    let logcommand = program(&house, &script);
    house.write(
        "etc/filter.d/half.conf",
        "[Definition]\nfailregex = ^half a line \\S?fail from <HOST>$\ndatepattern = {NONE}\n",
    );
    let options = format!("{logcommand}\nfilter = half");
    house.jails(&[jail("one", 1, &options)]);
    house.start();
    house.until_banned("one 192.0.2.1");
    eventually("the long line is cut", || {
        let remarks = house.json(&["status", "one"])["jails"][0]["remarks"].to_string();
        remarks.contains("1 lines were longer than the cap") && remarks.contains("1 lines held invalid bytes")
    });
    eventually("the program complains", || {
        house.said("it says on its error output").len() == 10
    });
    let first = started(&house);
    assert_eq!(first.len(), 2, "the program and its child");
    // Another daemon has another program.
    kill_process(house.daemon(), Signal::KILL).unwrap();
    eventually("there is another", || started(&house).len() == 4);
    eventually("the first is gone", || !first.iter().any(|pid| is_alive(*pid)));
    let second = started(&house)[2..].to_vec();
    assert!(second.iter().all(|pid| is_alive(*pid)));
    assert_eq!(house.terminate(), Some(0));
    assert!(!second.iter().any(|pid| is_alive(*pid)), "nothing outlives the service");
}

#[test]
fn a_program_that_is_not_there_is_told_at_once() {
    let mut house = House::empty();
    house.write("etc/fail2ban.conf", "[Definition]\n");
    house.jails(&[
        jail("one", 1, "logcommand = /nowhere/dockr logs -f mail"),
        jail("file", 1, ""),
    ]);
    house.start();
    house.until_said("NOT PROTECTED: jail 'one' sees nothing: command:/nowhere/dockr logs -f mail: cannot be read: the program cannot be run (code 127)");
    // It is mended while the daemon runs, and taken away again.
    let mended = house.path("out").display().to_string();
    append(&house.path("out"), b"");
    let reply = |words: &[&str]| String::from_utf8_lossy(&house.client(words).stdout).into_owned();
    reply(&["set", "one", "dellogcommand", "/nowhere/dockr logs -f mail"]);
    let shown = reply(&["set", "one", "addlogcommand", &format!("tail -F {mended}")]);
    assert_eq!(
        shown,
        format!("Current monitored log file(s):\n`- command:tail -F {mended}\n")
    );
    fail(&house, "192.0.2.3", 1);
    house.until_banned("one 192.0.2.3");
    house.until_said("protected again");
}

#[test]
fn contradictions_are_refused_by_name() {
    let house = House::empty();
    let check = |options: &str, expect: &str| {
        house.jails(&[jail("one", 1, options)]);
        let output = house
            .inside(crate::house::PROGRAM)
            .args(["check", "-c"])
            .arg(house.path("etc"))
            .output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_ne!(output.status.code(), Some(0), "{options}");
        assert!(text.contains(expect), "{options}: {text}");
    };
    check("backend = command", "no logcommand says which");
    check(
        "backend = command[a=b]\nlogcommand = x",
        "the backend command has no options",
    );
    check(
        "backend = systemd\nlogcommand = x",
        "the journal or the output of logcommand, not both",
    );
}

#[test]
fn standard_input_is_a_log_until_it_ends() {
    let mut house = House::empty();
    house.jails(&[
        jail("one", 1, "logpath = /dev/stdin"),
        jail("two", 2, "logpath = /dev/stdin"),
    ]);
    let (read, mut write) = std::io::pipe().unwrap();
    house.input = Some(Stdio::from(read));
    house.start();
    write.write_all(failure("192.0.2.1").as_bytes()).unwrap();
    house.until_banned("one 192.0.2.1");
    assert!(house.ask(&["reload"]).status.success());
    // Another daemon goes on with what is left.
    kill_process(house.daemon(), Signal::KILL).unwrap();
    house.daemon();
    write.write_all(failure("192.0.2.1").as_bytes()).unwrap();
    house.until_acted("ban two 192.0.2.1");
    drop(write);
    house.until_said("jail 'one' sees nothing: /dev/stdin: cannot be read: standard input has ended");
    assert!(house.ask(&["reload"]).status.success());
    eventually("a reload does not hide it", || {
        house.json(&["status"]).to_string().contains("standard input has ended")
    });
    assert_eq!(house.terminate(), Some(0));
}

#[test]
fn the_tool_reads_standard_input() {
    let house = House::empty();
    let input = house.path("input");
    fs::write(
        &input,
        "2005-08-14 11:59:59 fail from 192.0.2.1\nother\nfail from 192.0.2.2",
    )
    .unwrap();
    let run = |verb: &str| {
        let mut command = house.inside(crate::house::PROGRAM);
        command.args([verb, "-", "fail from <HOST>$"]);
        let output = command.stdin(fs::File::open(&input).unwrap()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = run("regex");
    assert!(text.contains("Use   standard input\n"), "{text}");
    assert!(
        text.contains("Lines: 3 lines, 0 ignored, 2 matched, 1 missed"),
        "{text}"
    );
}
