//! Where the two are known to give shells other commands: what both do, by the ids of `docs/deviations.md`.

use super::life::{JAIL, Life, SIDES, Side};
use super::stage::Stage;
use crate::house::stamp;
use crate::oracle::Oracle;

const FILTER: &str =
    "[Definition]\nfailregex = ^\\s*fail from <ADDR> end$\n\x20           ^\\s*fail id <F-ID>.*</F-ID> end$\n";

/// An action whose commands say what they are.
const PLAIN: &str = "[Definition]\n\
    actionstart = <name> start\nactionstop = <name> stop\nactioncheck = <name> check\n\
    actionban = <name> ban <ip>\nactionunban = <name> unban <ip>\n";

/// What makes an action know families.
const FAMILIES: &str = "[Init]\nfam = 4\n[Init?family=inet6]\nfam = 6\n";

fn jail(actions: &str) -> (&'static str, String) {
    let text = format!(
        "[DEFAULT]\nbackend = polling\nignoreself = false\nignoreip =\nmaxretry = 1\nusedns = no\n\
         [{JAIL}]\nenabled = true\nfilter = free\nlogpath = LOG\naction = {actions}\n"
    );
    ("jail.local", text)
}

/// A life with actions `a` and `b` in the folder; the jail has these.
fn files(action: &str, actions: &str) -> Vec<(&'static str, String)> {
    let server = "[Definition]\ndbfile = FOLDER/theirs.sqlite3\nlogtarget = STDERR\n";
    vec![
        jail(actions),
        ("fail2ban.local", server.to_owned()),
        ("filter.d/free.conf", FILTER.to_owned()),
        ("action.d/a.conf", action.to_owned()),
    ]
}

/// Lives through `act`; the scripts of both, Fail2Ban's first.
fn scripts(fails: &str, files: &[(&str, String)], act: impl FnOnce(&mut Life<'_>)) -> [Vec<String>; 2] {
    let stage = Stage::recording();
    let mut oracle = Oracle::of(&mut stage.python(), "servers");
    let mut life = Life::new(&stage, &mut oracle, "life", files).failing(fails);
    life.start();
    act(&mut life);
    life.stop();
    SIDES.map(|side: Side| {
        let calls = life.calls(side).into_iter();
        calls.map(|call| String::from_utf8(call[1].clone()).unwrap()).collect()
    })
}

fn fail(life: &mut Life<'_>, who: &[&str]) {
    let lines: String = who.iter().map(|who| format!("{} fail {who} end\n", stamp(0))).collect();
    life.log(lines.as_bytes());
}

/// D-021: ours orders the bans again that were in force before a repair.
#[test]
fn after_a_repair() {
    let action = format!("{PLAIN}{FAMILIES}");
    let files = files(&action, "a[name=a]\n         a[name=z, actname=z]");
    let [theirs, ours] = scripts("a ban 192.0.2.3|a check", &files, |life| {
        fail(life, &["from 192.0.2.2", "from 192.0.2.1"]);
        life.until("z ban", 2);
        fail(life, &["from 192.0.2.3"]);
        life.until("z ban", 3);
        // Ours goes on after the last action of the ban.
        std::thread::sleep(std::time::Duration::from_secs(1));
    });
    let broken = [
        "a ban 192.0.2.3",
        "a check",
        "a stop",
        "a start",
        "a check",
        "a ban 192.0.2.3",
        "z ban 192.0.2.3",
    ];
    let at = theirs.iter().position(|script| script == broken[0]).unwrap();
    assert_eq!(theirs[at..at + broken.len()], broken);
    let mut expect = theirs;
    for (place, again) in ["a ban 192.0.2.2", "a ban 192.0.2.1"].into_iter().enumerate() {
        expect.insert(at + broken.len() + place, again.to_owned());
    }
    assert_eq!(ours, expect);
}

/// D-020: ours really stops and starts an action that knows no families.
#[test]
fn a_repair_without_families() {
    let [theirs, ours] = scripts("a ban 192.0.2.3|a check", &files(PLAIN, "a[name=a]"), |life| {
        fail(life, &["from 192.0.2.3"]);
        life.until("a ban 192.0.2.3", 2);
    });
    let all = |middle: &[&str]| -> Vec<String> {
        let (first, last) = (
            ["a start", "a ban 192.0.2.3", "a check"],
            ["a ban 192.0.2.3", "a unban 192.0.2.3", "a stop"],
        );
        let words = first.iter().chain(middle).chain(&last);
        words.map(|word| (*word).to_owned()).collect()
    };
    assert_eq!(ours, all(&["a stop", "a start", "a check"]));
    assert_eq!(theirs, all(&["a check"]));
}

/// D-125: Fail2Ban runs an equal flush of both families the first time only.
#[test]
fn an_equal_flush_of_both_families() {
    let action = format!("{PLAIN}actionflush = a flush\n{FAMILIES}");
    let [theirs, ours] = scripts(
        "",
        &files(&action, "a[name=a]\n         a[name=z, actname=z, actionflush=]"),
        |life| {
            for round in 1..=2 {
                fail(life, &["from 192.0.2.1", "from 2001:db8::1"]);
                life.until("z ban", 2 * round);
                life.order(&["unban", "--all"], &["unban", "--all"]);
                life.until("z unban", 2 * round);
            }
        },
    );
    let flushes = |scripts: &[String]| scripts.iter().filter(|script| *script == "a flush").count();
    assert_eq!((flushes(&theirs), flushes(&ours)), (1, 2), "{theirs:?}\n{ours:?}");
    let without =
        |scripts: &[String]| -> Vec<String> { scripts.iter().filter(|script| *script != "a flush").cloned().collect() };
    assert_eq!(without(&ours), without(&theirs));
}

/// D-129: a repair that fails while everybody is freed ends the whole command in Fail2Ban; ours frees them elsewhere.
#[test]
fn a_repair_that_fails_while_everybody_is_freed() {
    let action = format!("{PLAIN}actionflush = a flush\n{FAMILIES}");
    let files = files(&action, "a[name=a]\n         a[name=z, actname=z, actionflush=]");
    let [theirs, ours] = scripts("a flush|a check|a start#1", &files, |life| {
        fail(life, &["from 192.0.2.1"]);
        life.until("z ban", 1);
        assert_eq!(life.ask_theirs(&["unban", "--all"])[0], 1);
        assert!(life.verb(&["unban", "--all"]).status.success());
        life.until_in(&[Side::Ours], "z unban", 1);
    });
    let both = ["z start", "z ban 192.0.2.1", "a flush", "a check", "a stop", "a start"];
    let expect = |more: &[&str]| -> Vec<String> {
        let words = ["a start", "a ban 192.0.2.1"]
            .iter()
            .chain(&both)
            .chain(more)
            .chain(&["z stop"]);
        words.map(|word| (*word).to_owned()).collect()
    };
    assert_eq!(theirs, expect(&[]));
    assert_eq!(ours, expect(&["z unban 192.0.2.1"]));
}

/// D-126: ours starts an action that a reload adds, and tells it of the bans in force; Fail2Ban forgets it.
#[test]
fn an_action_that_a_reload_adds() {
    let [theirs, ours] = scripts("", &files(PLAIN, "a[name=a]"), |life| {
        life.until("a start", 1);
        fail(life, &["from 192.0.2.1"]);
        life.until("a ban", 1);
        life.reload(&[jail("a[name=a]\n         a[name=b, actname=b]")]);
        fail(life, &["from 192.0.2.2"]);
        life.until("a ban 192.0.2.2", 1);
    });
    let of_b = |scripts: &[String]| -> Vec<String> {
        scripts
            .iter()
            .filter(|script| script.starts_with("b "))
            .cloned()
            .collect()
    };
    assert!(of_b(&theirs).is_empty(), "{theirs:?}");
    let (bans, unbans) = (
        ["b ban 192.0.2.1", "b ban 192.0.2.2"],
        ["b unban 192.0.2.1", "b unban 192.0.2.2"],
    );
    assert_eq!(of_b(&ours), [&["b start"][..], &bans, &unbans, &["b stop"]].concat());
}

/// An action that a reload takes away has its bans freed there, and is stopped; the others are told of the reload.
#[test]
fn an_action_that_a_reload_takes_away() {
    let action = format!("{PLAIN}actionreload = <name> reload <word>\n[Init]\nword = x\n");
    let three = "a[name=a]\n         a[name=b, actname=b]\n         a[name=c, actname=c, actionflush=c flush]";
    let [theirs, ours] = scripts("", &files(&action, three), |life| {
        life.until("c start", 1);
        fail(life, &["from 192.0.2.2", "from 192.0.2.1"]);
        life.until("c ban", 2);
        life.reload(&[jail("a[name=a, word=y]")]);
        life.until("b stop", 1);
        fail(life, &["from 192.0.2.3"]);
        life.until("a ban 192.0.2.3", 1);
    });
    assert_eq!(ours, theirs);
    assert!(ours.contains(&"a reload y".to_owned()), "{ours:?}");
}

/// D-127: counts are those of the moment at which a command is made.
#[test]
fn counts_are_those_of_the_moment() {
    let action = PLAIN.replace(
        "ban <ip>",
        "ban <ip> <jail.name> <jail.banned> <jail.banned_total> <jail.found_total>",
    );
    let [theirs, ours] = scripts("", &files(&action, "a[name=a]"), |life| {
        fail(life, &["from 192.0.2.1"]);
        life.until("a ban", 1);
        fail(life, &["from 192.0.2.2", "from 192.0.2.3", "from 192.0.2.4"]);
        life.until("a ban", 4);
    });
    assert_eq!(
        (&ours[1], &theirs[1]),
        (&theirs[1], &format!("a ban 192.0.2.1 {JAIL} 1 1 1"))
    );
    let banned = |script: &String| -> u32 { script.split(' ').nth(4).unwrap().parse().unwrap() };
    let counts = |scripts: &[String]| -> Vec<u32> { scripts[2..5].iter().map(banned).collect() };
    assert_eq!(counts(&theirs), [2, 3, 4]);
    assert!(
        counts(&ours)
            .iter()
            .zip([2, 3, 4])
            .all(|(count, least)| (least..=4).contains(count)),
        "{ours:?}"
    );
}

/// D-128: a text that is no name has no name, and its ban goes on.
#[test]
fn the_name_of_a_text() {
    let action = PLAIN.replace("ban <ip>", "ban <ip-host>");
    let [theirs, ours] = scripts(
        "",
        &files(&action, "a[name=a]\n         a[name=z, actname=z, actionban=z ban]"),
        |life| {
            fail(life, &["id bob", "id björn.."]);
            life.until("z ban", 2);
        },
    );
    let bans = |scripts: &[String]| scripts.iter().filter(|script| script.starts_with("a ban")).count();
    assert_eq!((bans(&theirs), bans(&ours)), (1, 2), "{theirs:?}\n{ours:?}");
    assert!(
        ours.iter()
            .filter(|script| script.starts_with("a ban"))
            .all(|script| script == "a ban None")
    );
}
