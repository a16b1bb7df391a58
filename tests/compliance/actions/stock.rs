//! Each of the stock's 65 action files, with hostile values in every tag. Every command goes to a shell here, as
//! `native = no` has it; what goes another way is compared in `batches`.

use std::fs;
use std::sync::Mutex;
use std::thread;

use super::life::{JAIL, Life, Side, shown, stock};
use super::stage::Stage;
use crate::chance;
use crate::count::Count;
use crate::house::stamp;
use crate::oracle::{self, Oracle};

/// So many lives go on at a time; they mostly wait.
const AT_ONCE: usize = 12;

/// A filter that sees addresses, and names of which it says itself that they are who is banned.
pub(super) const FILTER: &str = "[Definition]\n\
    failregex = ^\\s*fail user <F-USER>.*</F-USER> from <ADDR> end$\n\
    \x20           ^\\s*fail user <F-USER>.*</F-USER> id <F-ID>.*</F-ID> end$\n";

/// An action of the tests, before and behind the stock's, so that their order is seen too.
const MARK: &str = "[Definition]\n\
    actionstart = <name> start\n\
    actionstop = <name> stop\n\
    actionban = <name> ban <fid> \"<F-USER>\" <bancount> <restored>\n\
    actionunban = <name> unban <fid> '<matches>' <F-NONE> <none>\n\
    actionreload = <name> reload\n";

/// Bytes that a shell, a decoder or a terminal could stumble over.
const HOSTILE: &[u8] = b"it's \"x\" $(touch c) `touch c`; touch c & touch c | touch c > c < c * ? ~ # ! \\ {a,b} [c] ^ % \xff\xfe \xc3\xa9 \x1b[2J \t$HOME ${IFS}$IFS<ip> <matches>";

pub(super) fn files(action: &str) -> Vec<(&'static str, String)> {
    let jail = format!(
        "[DEFAULT]\nbackend = polling\nignoreself = false\nignoreip =\nmaxretry = 2\nusedns = no\n\
         [{JAIL}]\nenabled = true\nfilter = hostile\nlogpath = LOG\n\
         action = mark[name=first]\n         {action}\n         mark[name=last, actname=last]\n"
    );
    let server = "[Definition]\ndbfile = FOLDER/theirs.sqlite3\nlogtarget = STDERR\n".to_owned();
    vec![
        ("jail.local", jail),
        ("fail2ban.local", server),
        ("filter.d/hostile.conf", FILTER.to_owned()),
        ("action.d/mark.conf", MARK.to_owned()),
    ]
}

/// An action of which nothing is done together. To Fail2Ban it is an option like any other.
fn in_shells(name: &str) -> String {
    format!("{name}[native=no]")
}

/// Two failures of somebody, which are a ban.
pub(super) fn failures(who: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for _ in 0..2 {
        for part in [stamp(0).as_bytes(), b" fail user ", HOSTILE, b" ", who, b" end\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}

const V4: &[u8] = b"from 192.0.2.1";
const OTHER: &[u8] = b"from 192.0.2.99";
const LATER: &[u8] = b"from 2001:db8::99";
const V6: &[u8] = b"from 2001:db8::1";
const RAW: &[u8] = b"id o'brien; $(touch c) `x` \"<ip>\" *";

/// Everything that happens to a jail.
fn whole_life(life: &mut Life<'_>) {
    life.start();
    life.until("last start", 1);
    for who in [OTHER, V6, RAW] {
        life.log(&failures(who));
    }
    let lines = failures(V4);
    life.log(&lines);
    life.until("last ban", 4);
    life.order(
        &["set", JAIL, "unbanip", "192.0.2.1"],
        &["unban", "192.0.2.1", "--jail", JAIL],
    );
    life.until("last unban", 1);
    // The same lines: Fail2Ban may still know those of the ban that was lifted (`<ipjailmatches>`), if its observer was
    // quicker than its actions then.
    life.log(&lines);
    life.until("last ban", 5);
    life.stop();
    life.start();
    life.until("last start", 2);
    life.until("last ban", 9);
    life.log(&failures(LATER));
    life.until("last ban", 10);
    life.order(&["unban", "--all"], &["unban", "--all"]);
    life.until("last unban", 10);
    life.stop();
}

/// A jail in which commands fail. Never more than one is banned at a time: what of several is done after a repair is a
/// difference of its own (D-021).
fn broken_life(life: &mut Life<'_>) {
    life.start();
    life.until("last start", 1);
    life.log(&failures(V4));
    life.until("last ban", 1);
    life.order(
        &["set", JAIL, "unbanip", "192.0.2.1"],
        &["unban", "192.0.2.1", "--jail", JAIL],
    );
    life.until("last unban", 1);
    life.log(&failures(V6));
    life.until("last ban", 2);
    life.order(
        &["set", JAIL, "unbanip", "2001:db8::1"],
        &["unban", "2001:db8::1", "--jail", JAIL],
    );
    life.until("last unban", 2);
    life.log(&failures(V4));
    life.until("last ban", 3);
    life.stop();
}

/// The calls of both in pairs, up to the first difference.
fn compare(count: &mut Count, name: &str, life: &Life<'_>) {
    let (theirs, ours) = (life.calls(Side::Theirs), life.calls(Side::Ours));
    let none = Vec::new();
    for at in 0..theirs.len().max(ours.len()) {
        let (theirs, ours) = (theirs.get(at).unwrap_or(&none), ours.get(at).unwrap_or(&none));
        count.compare(&shown(ours), &shown(theirs), || format!("{name}, command {at}"));
        if theirs != ours {
            break;
        }
    }
}

/// Each of these in a life of its own, several at a time.
pub(super) fn in_lives(names: Vec<String>, each: impl Fn(&Stage, &mut Oracle, &str) + Sync) {
    let stage = Stage::recording();
    let waiting = Mutex::new(names.into_iter());
    let next = || waiting.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut oracle = Oracle::of(&mut stage.python(), "servers");
                while let Some(name) = next() {
                    each(&stage, &mut oracle, &name);
                }
            });
        }
    });
}

#[test]
fn whole_lives_of_all_stock_actions() {
    let names = stock(&oracle::configuration());
    assert_eq!(names.len(), 65, "{names:?}");
    let count = Mutex::new(Count::of("commands of stock actions"));
    in_lives(names, |stage, oracle, name| {
        let mut life = Life::new(stage, oracle, name, &files(&in_shells(name)));
        whole_life(&mut life);
        compare(&mut count.lock().unwrap(), name, &life);
    });
    count.into_inner().unwrap().close(2000);
}

/// How an option begins that checks the environment.
const CHECKED: &str = "actioncheck = ";

#[test]
fn lives_with_failing_commands() {
    let folder = oracle::configuration().join("action.d");
    let checks = |name: &String| {
        let text = fs::read_to_string(folder.join(format!("{name}.conf"))).unwrap();
        text.lines()
            .any(|line| line.starts_with(CHECKED) && line.len() > CHECKED.len())
            || text.contains("before = iptables.conf")
    };
    let names: Vec<String> = stock(&oracle::configuration()).into_iter().filter(checks).collect();
    assert!(names.len() >= 10, "{names:?}");
    let count = Mutex::new(Count::of("commands of stock actions that fail"));
    let rounds = if chance::patience().is_zero() { 1 } else { 10 };
    let repaired = Mutex::new(Vec::new());
    in_lives(names, |stage, oracle, name| {
        for seed in 1..=rounds {
            let mut life = Life::new(stage, oracle, &format!("{name}-{seed}"), &files(&in_shells(name))).failing(seed);
            broken_life(&mut life);
            let (theirs, ours) = (life.calls(Side::Theirs), life.calls(Side::Ours));
            let at = theirs.iter().zip(&ours).position(|(theirs, ours)| theirs != ours);
            let knows_families = families(name);
            match at {
                Some(at) if !knows_families => {
                    // D-020: after a failed check, what started the action or ends it.
                    assert!(
                        at > 0 && theirs.contains(&ours[at]),
                        "{name} {seed}: {}",
                        shown(&ours[at])
                    );
                    count.lock().unwrap().equal(at as u64);
                    repaired.lock().unwrap().push(name.to_owned());
                }
                _ => compare(&mut count.lock().unwrap(), &format!("{name} {seed}"), &life),
            }
        }
    });
    println!("D-020: {:?}", repaired.into_inner().unwrap());
    count.into_inner().unwrap().close(200);
}

/// Whether a stock action has options of its own for a family.
fn families(name: &str) -> bool {
    let folder = oracle::configuration().join("action.d");
    let text = fs::read_to_string(folder.join(format!("{name}.conf"))).unwrap();
    let before = text.lines().find_map(|line| line.strip_prefix("before = "));
    text.contains("?family=") || before.is_some_and(|file| families(file.trim().trim_end_matches(".conf")))
}
