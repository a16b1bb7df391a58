//! Bad input of every kind: one clear message, and the other jails go on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use crate::house::{House, Jail, append, eventually, failure, stamp};

fn jail<'a>(name: &'a str, options: &'a str) -> Jail<'a> {
    Jail {
        name,
        maxretry: 2,
        options,
    }
}

/// The good jail bans.
fn good_goes_on(house: &House) {
    house.fail("good", "192.0.2.1");
    house.fail("good", "192.0.2.1");
    house.until_banned("good 192.0.2.1");
    house.until_acted("ban good 192.0.2.1");
}

/// What `status` says is wrong, as one text a line.
fn wrong(house: &House) -> Vec<String> {
    let status = house.json(&["status"]);
    let texts = ["not_protected", "diagnostics"].map(|key| status[key].as_array().unwrap().clone());
    texts
        .concat()
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// A configuration with one bad jail beside a good one: the parts of the one message that names it, in the log.
fn check(name: &str, options: &str, prepare: impl Fn(&House), parts: &[&str]) {
    let mut house = House::empty();
    house.jails(&[jail("good", ""), jail(name, options)]);
    prepare(&house);
    house.start();
    good_goes_on(&house);
    let log = house.read("fail2ban.log");
    let told: Vec<&str> = log
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .collect();
    assert_eq!(told.len(), 1, "{parts:?} in\n{log}");
    let wrong = wrong(&house);
    assert!(
        wrong.iter().any(|text| parts.iter().all(|part| text.contains(part))),
        "{parts:?} in {wrong:#?}"
    );
    let protected = house.json(&["status"])["protected"].as_bool();
    assert_eq!(protected, Some(false), "a jail that must not ban is not protected");
}

#[test]
fn a_filter_without_host() {
    let write = |house: &House| {
        house.write(
            "etc/filter.d/odd.conf",
            "[Definition]\n\nfailregex = ^\\s*fail from \\S+\n",
        );
    };
    check(
        "odd",
        "filter = odd",
        write,
        &["filter.d/odd.conf:3", "failregex", "<HOST>"],
    );
}

#[test]
fn a_filter_that_does_not_compile() {
    let write = |house: &House| {
        house.write(
            "etc/filter.d/odd.conf",
            "[Definition]\n\nfailregex = ^(fail from <HOST>\n",
        );
    };
    check("odd", "filter = odd", write, &["filter.d/odd.conf:3", "failregex"]);
}

#[test]
fn an_unknown_filter() {
    check("odd", "filter = nowhere", |_| {}, &["jail.local", "nowhere"]);
}

#[test]
fn an_unknown_action() {
    check("odd", "action = nowhere", |_| {}, &["jail.local", "nowhere"]);
}

#[test]
fn a_broken_number() {
    check(
        "odd",
        "findtime = soon",
        |_| {},
        &["jail.local:", "odd", "findtime", "soon"],
    );
}

#[test]
fn byte_order_marks_are_read() {
    let mut house = House::empty();
    house.jails(&[jail("good", "")]);
    for file in [
        "etc/jail.local",
        "etc/filter.d/plain.conf",
        "etc/action.d/note.conf",
        "etc/fail2ban.local",
    ] {
        let text = [b"\xef\xbb\xbf", &*fs::read(house.path(file)).unwrap()].concat();
        house.write(file, text);
    }
    house.start();
    good_goes_on(&house);
}

/// A Korean word in CP949: in a file of its own it takes only that file with it.
#[test]
fn a_configuration_in_cp949_is_named() {
    let mut house = House::empty();
    house.jails(&[jail("good", ""), jail("odd", "filter = odd")]);
    let text = [
        b"[Definition]\n# ".as_slice(),
        b"\xc7\xd1\xb1\xdb",
        b"\nfailregex = ^\\s*fail from <HOST>\n",
    ]
    .concat();
    house.write("etc/filter.d/odd.conf", text);
    house.start();
    good_goes_on(&house);
    let log = house.read("fail2ban.log");
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("odd.conf:2") && line.contains("UTF-8"))
        .collect();
    assert!(told.len() == 1, "{log}");
}

/// Invariant 12: jails whose options may stand in the lines that cannot be read ban nobody anew, until it is mended.
#[test]
fn a_broken_line_where_bans_are_decided() {
    let mut house = House::empty();
    house.jails(&[jail("good", "")]);
    let text = house.read("etc/jail.local");
    house.write(
        "etc/jail.local",
        text.replace("ignoreip =\n", "ignoreip =\nthis is no option at all\n"),
    );
    let line = text.lines().position(|line| line == "ignoreip =").unwrap() + 2;
    house.start();
    for _ in 0..3 {
        house.fail("good", "192.0.2.1");
    }
    house.until_said("192.0.2.1 is not banned, because the jail must not ban");
    assert!(house.banned().is_empty() && house.acts() == ["start good"]);
    let place = format!("jail.local:{line}");
    assert_eq!(
        house
            .said(&place)
            .iter()
            .filter(|line| line.contains("configreader"))
            .count(),
        1,
        "{place}"
    );
    let output = house.ask(&["status"]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.starts_with("NOT PROTECTED\n") && page.contains(&place), "{page}");
    assert_eq!(output.status.code(), Some(2));
    house.write("etc/jail.local", text);
    house.json(&["reload"]);
    house.fail("good", "192.0.2.1");
    house.fail("good", "192.0.2.1");
    house.until_banned("good 192.0.2.1");
}

/// With the last good stream at hand, the jails go on as they were.
#[test]
fn a_broken_line_after_a_good_start() {
    let mut house = House::empty();
    house.jails(&[jail("good", "")]);
    house.start();
    let text = house.read("etc/jail.local");
    house.write(
        "etc/jail.local",
        text.replace("ignoreip =\n", "ignoreip\n  broken\n[[[\n"),
    );
    house.json(&["reload"]);
    good_goes_on(&house);
    assert!(
        wrong(&house)
            .iter()
            .any(|text| text.contains("last good one stays in force"))
    );
    assert_eq!(house.terminate(), Some(0));
    house.start();
    house.fail("good", "192.0.2.2");
    house.fail("good", "192.0.2.2");
    house.until_banned("good 192.0.2.2");
}

/// A header without its bracket takes the jail's name away; the jail stays, until the file says so in one piece.
#[test]
fn a_jail_whose_header_is_broken_stays() {
    let mut house = House::empty();
    house.jails(&[jail("good", ""), jail("other", "")]);
    house.start();
    let text = house.read("etc/jail.local");
    house.write("etc/jail.local", text.replace("[good]", "[good"));
    house.json(&["reload"]);
    good_goes_on(&house);
    assert_eq!(house.terminate(), Some(0));
    house.start();
    house.fail("good", "192.0.2.2");
    house.fail("good", "192.0.2.2");
    house.until_banned("good 192.0.2.2");
    house.jails(&[jail("other", "")]);
    house.json(&["reload"]);
    let names: Vec<_> = house.json(&["status"])["jails"].as_array().unwrap().clone();
    assert!(names.iter().all(|jail| jail["name"] != "good"), "{names:?}");
}

/// A ban time that is none must not become another one.
#[test]
fn a_bantime_that_is_none() {
    let mut house = House::empty();
    house.jails(&[jail("good", "bantime = forever"), jail("other", "")]);
    house.start();
    house.until_said("bantime cannot be 'forever'");
    assert!(house.said("bantime cannot be 'forever'")[0].contains("jail.local:"));
    for who in ["192.0.2.7", "192.0.2.7", "192.0.2.7"] {
        house.fail("good", who);
        house.fail("other", who);
    }
    house.until_banned("other 192.0.2.7");
    house.until_said("[good] 192.0.2.7 is not banned");
    assert_eq!(house.banned(), ["other 192.0.2.7"]);
    assert_eq!(house.ask(&["status"]).status.code(), Some(2));
}

#[test]
fn logs_that_cannot_be_read() {
    let mut house = House::empty();
    let (folder, link, circle) = (house.path("folder"), house.path("link"), house.path("circle"));
    fs::create_dir(&folder).unwrap();
    symlink(house.path("nowhere"), &link).unwrap();
    symlink(&circle, &circle).unwrap();
    let paths: Vec<String> = [&folder, &link, &circle]
        .iter()
        .map(|path| format!("logpath = {}", path.display()))
        .collect();
    house.jails(&[
        jail("good", ""),
        jail("a", &paths[0]),
        jail("b", &paths[1]),
        jail("c", &paths[2]),
    ]);
    house.start();
    good_goes_on(&house);
    for path in [&folder, &link, &circle] {
        let shown = path.display().to_string();
        let about = |line: &&String| line.contains(&shown) && !line.contains("Added");
        assert!(
            house.said(&shown).iter().any(|line| about(&line)),
            "{shown}: {}",
            house.read("fail2ban.log")
        );
        let status = house.json(&["status"]).to_string();
        assert!(status.contains(&shown), "{status}");
    }
    // A log that comes into being later is read from then on.
    append(
        &house.path("nowhere"),
        (failure("192.0.2.7") + &failure("192.0.2.7")).as_bytes(),
    );
    house.until_banned("b 192.0.2.7");
}

/// As another user, without rights to one of two logs.
#[test]
fn a_log_that_must_not_be_read() {
    if !crate::house::is_root() {
        // Whoever is not root cannot become somebody else; the daemon as that user is what the others test.
        return;
    }
    let mut house = House::empty();
    house.jails(&[jail("good", ""), jail("secret", "")]);
    fs::set_permissions(house.path("secret"), fs::Permissions::from_mode(0o0)).unwrap();
    house.as_nobody();
    house.start();
    good_goes_on(&house);
    house.until_said("secret: cannot be read: permission denied");
    append(
        &house.path("secret"),
        (failure("192.0.2.7") + &failure("192.0.2.7")).as_bytes(),
    );
    fs::set_permissions(house.path("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    house.until_banned("secret 192.0.2.7");
    // Nobody may not touch the packet filter either (invariant 13).
    eventually("it says so", || {
        house.said("NOT PROTECTED").iter().any(|line| line.contains("manual"))
    });
    let output = house.ask(&["status"]);
    assert!(
        output.stdout.starts_with(b"NOT PROTECTED\n"),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.status.code(), Some(2));
}

/// Whoever writes the log must not move the cursor of whoever asks who is banned.
#[test]
fn what_a_log_line_names_does_not_drive_the_terminal() {
    let mut house = House::empty();
    house.write(
        "etc/filter.d/named.conf",
        "[Definition]\nfailregex = ^\\s*user <F-ID>.*</F-ID> bad$\n",
    );
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "filter = named",
    }]);
    house.start();
    let line = format!("{} user a\x1b]0;own\x07\x1b[31mx bad\n", stamp(0));
    append(&house.log_of("plain"), line.as_bytes());
    eventually("somebody is banned", || !house.banned().is_empty());
    for words in [&["banned"][..], &["status"], &["status", "plain"]] {
        let shown = house.ask(words).stdout;
        assert!(!shown.contains(&0x1b), "{words:?}: {}", String::from_utf8_lossy(&shown));
    }
    assert!(String::from_utf8_lossy(&house.ask(&["banned"]).stdout).contains("a\\u{1b}]0;own\\u{7}"));
}

#[test]
fn rubbish_in_the_log() {
    let mut house = House::empty();
    house.jails(&[jail("good", ""), jail("other", "")]);
    house.start();
    let log = house.log_of("good");
    let long = vec![b'x'; 10 << 20];
    let mut dice = crate::death::dice(3);
    let binary: Vec<u8> = (0..200_000).map(|_| dice(256).to_le_bytes()[0]).collect();
    append(&log, failure("192.0.2.1").as_bytes());
    append(&log, format!("{} ", stamp(0)).as_bytes());
    append(&log, &long);
    append(&log, b"\n\0\0\0\xff\xfe\xc0\xaf\n\n\r\n");
    append(&log, &binary);
    append(&log, b"\n");
    append(&log, failure("192.0.2.1").as_bytes());
    house.until_banned("good 192.0.2.1");
    let remarks = house.json(&["status", "good"])["jails"][0]["remarks"].to_string();
    assert!(
        remarks.contains("longer than the cap") && remarks.contains("invalid bytes"),
        "{remarks}"
    );
    assert_eq!(
        house.said("Error decoding line from").len(),
        1,
        "said once, counted always"
    );
    house.fail("other", "192.0.2.2");
    house.fail("other", "192.0.2.2");
    house.until_banned("other 192.0.2.2");
    assert_eq!(house.banned().len(), 2);
}

#[test]
fn an_action_that_fails() {
    let mut house = House::empty();
    house.write(
        "etc/action.d/fails.conf",
        "[Definition]\nactionban = echo no reason >&2; exit 1\n",
    );
    house.jails(&[jail("good", ""), jail("odd", "action = fails")]);
    house.start();
    house.fail("odd", "192.0.2.9");
    house.fail("odd", "192.0.2.9");
    house.until_said("[odd] action 'fails' failed for 192.0.2.9");
    good_goes_on(&house);
    assert!(
        wrong(&house)
            .iter()
            .any(|text| text.contains("'odd'") && text.contains("'fails'") && text.contains('1'))
    );
    let banned = house.json(&["banned", "--jail", "odd"]);
    assert!(
        banned[0]["layers"]["fails"].as_str().unwrap().starts_with("failed: "),
        "{banned}"
    );
    assert_eq!(house.ask(&["status"]).status.code(), Some(2));
}

/// A hanging action ends with its time-out; the kernel, the socket and reading do not wait for it.
#[test]
fn an_action_that_hangs() {
    let mut house = House::empty();
    house.write(
        "etc/action.d/hangs.conf",
        "[Definition]\nactionban = sleep 100\n[Init]\ntimeout = 3\n",
    );
    house.jails(&[
        jail("odd", "action = hangs"),
        jail("native", "action = nft[type=allports]"),
        jail("good", ""),
    ]);
    house.start();
    house.fail("odd", "192.0.2.9");
    house.fail("odd", "192.0.2.9");
    house.until_banned("odd 192.0.2.9");
    let start = Instant::now();
    house.fail("native", "203.0.113.9");
    house.fail("native", "203.0.113.9");
    eventually("the kernel has it", || house.kernel().contains("203.0.113.9"));
    let took = start.elapsed();
    assert!(took < Duration::from_millis(2500), "{took:?}");
    println!("beside a hanging action the kernel has a ban after {took:?}");
    good_goes_on(&house);
    house.until_said("[odd] action 'hangs' failed for 192.0.2.9");
    house.until_said("timed out after 3 seconds");
}
