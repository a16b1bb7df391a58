//! Failures by name, and names that are spared: Fail2Ban's filter and our daemon in one network with one made-up name
//! server, slow and silent answers among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::count::Count;
use crate::house::{House, Jail, append, eventually, failure};
use crate::nameserver::{Names, Said, addresses, pointer};
use crate::oracle::{Oracle, python};

/// Who fails in each jail, in this order; some more than once.
const WHO: &[&str] = &[
    "192.0.2.1",
    "four.example",
    "six.example",
    "both.example",
    "both.example",
    "alias.example",
    "chain.example",
    "none.example",
    "broken.example",
    "hang.example",
    "late.example",
    "empty.example",
    "many.example",
    "BOTH.example",
    "203.0.113.9",
    "spared.example",
    "192.0.2.77",
    "2001:db8::77",
    "192.0.2.78",
    "2001:db8::7",
    "1.2.3",
    "999.1.1.1",
    "16909060",
    "0x7f.1",
    "::ffff:192.0.2.4",
    "label..example",
    "both.example.",
    "under_score.example",
    "10.1.2.3",
    "198.51.100.9",
    "198.51.100.78",
    "127.0.0.1",
    "::1",
    "a-very-long-label-a-very-long-label-a-very-long-label-a-very-long.example",
    "mapped.example",
    "late.example",
    "in-hosts.example",
    "loose.example",
    LAST,
];

/// Whoever has this one has read all.
const LAST: &str = "203.0.113.251";

fn serve(house: &House) -> Names {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let hosts = "127.0.0.1 localhost\n192.0.2.33 in-hosts.example\n";
    let names = Names::serve(house, "timeout:1 attempts:1", hosts);
    names.say("four.example", addresses(&["192.0.2.11", "192.0.2.12"]));
    names.say("six.example", addresses(&["2001:db8::11"]));
    names.say("both.example", addresses(&["192.0.2.13", "2001:db8::13"]));
    names.say("alias.example", Said::Alias("both.example".into()));
    names.say("chain.example", Said::Alias("alias.example".into()));
    names.say("broken.example", Said::Error(2));
    names.say("hang.example", Said::Silence);
    names.say(
        "late.example",
        Said::Late(600, Box::new(addresses(&["192.0.2.14", "2001:db8::14"]))),
    );
    names.say("empty.example", Said::Addresses(Vec::new()));
    let many: Vec<String> = (1..120).map(|n| format!("203.0.113.{n}")).collect();
    names.say(
        "many.example",
        addresses(&many.iter().map(String::as_str).collect::<Vec<_>>()),
    );
    names.say("spared.example", addresses(&["192.0.2.77", "2001:db8::77"]));
    names.say(
        "slowly-spared.example",
        Said::Late(400, Box::new(addresses(&["192.0.2.78"]))),
    );
    names.say("mapped.example", addresses(&["::ffff:192.0.2.15", "192.0.2.16"]));
    names.say("under_score.example", addresses(&["192.0.2.17"]));
    names.say("loose.example", addresses(&["127.0.0.1", "198.51.100.9", "10.9.9.9"]));
    names.say(&host, Said::Alias("own.example".into()));
    names.say("own.example", addresses(&["198.51.100.78"]));
    names.say(&pointer("192.0.2.1"), Said::Pointer("one.example".into()));
    names.say(&pointer("192.0.2.13"), Said::Pointer("both.example".into()));
    names.say(&pointer("2001:db8::7"), Said::Pointer("seven.example".into()));
    names.say(&pointer("192.0.2.77"), Said::Error(2));
    names
}

/// A second interface, so that own addresses are more than the loopback.
fn interface(house: &House, ipv6: bool) {
    let script = format!(
        "echo {} > /proc/sys/net/ipv6/conf/all/disable_ipv6; \
         ip addr add 198.51.100.9/32 dev lo && (ip addr add 2001:db8:9::9/128 dev lo || true)",
        u8::from(!ipv6)
    );
    let made = house.inside("sh").args(["-c", &script]).status().unwrap();
    assert!(made.success(), "{script}");
}

/// Name, `usedns`, whether own addresses are spared, `ignoreip`.
const JAILS: &[(&str, &str, bool, &[&str])] = &[
    ("yes", "yes", false, &[]),
    (
        "warn",
        "warn",
        true,
        &[
            "spared.example",
            "slowly-spared.example",
            "10.0.0.0/8",
            "none.example",
            "hang.example",
        ],
    ),
    ("no", "no", true, &["spared.example"]),
    ("raw", "raw", false, &["spared.example", "192.0.2.1"]),
];

const REGEX: &str = r"^\s*fail from <HOST>(?: |$)";

/// Asks Fail2Ban inside the house.
fn ask(house: &House, question: &Value) -> Value {
    let mut command = house.inside("env");
    let settings = python();
    for (name, value) in settings.get_envs() {
        let value = value.unwrap_or_default();
        command.arg(format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
    }
    command.arg(settings.get_program());
    let answer = Oracle::of(&mut command, "naming").ask(question);
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

/// Starts a daemon with all jails.
fn start(house: &mut House, names: &Names) {
    house.write(
        "etc/filter.d/plain.conf",
        format!("[Definition]\nfailregex = {REGEX}\n"),
    );
    let options: Vec<String> = JAILS
        .iter()
        .map(|(_, usedns, own, spared)| {
            let spared = spared.join(" ");
            format!("usedns = {usedns}\nignoreself = {own}\nignoreip = {spared}\nprefix.ipv6 = 128\n")
        })
        .collect();
    let jail = |((name, ..), options): (&(&'static str, _, _, _), &'static str)| Jail {
        name,
        maxretry: 1_000_000,
        options,
    };
    let options = options.into_iter().map(|options| &*options.leak());
    house.jails(&JAILS.iter().zip(options).map(jail).collect::<Vec<_>>());
    house.start();
    // Own names are found out beside the start (D-107).
    eventually("own names are asked for", || names.asked(&host()) > 1);
    std::thread::sleep(Duration::from_secs(1));
}

fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.to_lowercase()
}

fn compare(ipv6: bool, count: &mut Count) {
    let mut house = House::empty();
    let names = serve(&house);
    interface(&house, ipv6);
    start(&mut house, &names);
    let lines: Vec<String> = WHO.iter().map(|who| failure(who)).collect();
    let mut question = json!({"hosts": []});
    for (name, usedns, own, spared) in JAILS {
        append(&house.log_of(name), lines.concat().as_bytes());
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        question["jails"][*name] =
            json!({"usedns": usedns, "ignoreself": own, "ignoreip": spared, "failregex": REGEX, "lines": lines});
    }
    let theirs = ask(&house, &question);
    assert_eq!(theirs["ipv6"], json!(ipv6));
    eventually("all is read and nothing waits", || {
        let has_read = |(name, ..): &(&str, _, _, _)| house.counted(name).contains_key(LAST);
        JAILS.iter().all(has_read) && house.waiting() == 0
    });
    for (name, ..) in JAILS {
        let expect: BTreeMap<String, u64> = serde_json::from_value(theirs["jails"][*name]["counts"].clone()).unwrap();
        assert!(expect.len() > 5, "{expect:?}");
        let ours = house.counted(name);
        let all: BTreeSet<&String> = expect.keys().chain(ours.keys()).collect();
        for id in all {
            count.compare(&ours.get(id), &expect.get(id), || format!("{name}, IPv6 {ipv6}: {id}"));
        }
    }
    let theirs: Vec<&str> = theirs["said"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    compare_lines(&house.read("fail2ban.log"), &theirs, count);
}

/// Who is spared and why, and what became of look-ups, in the words of both logs.
fn compare_lines(ours: &str, theirs: &[&str], count: &mut Count) {
    let ours: Vec<String> = ours.lines().filter_map(remark).collect();
    for kind in [" Ignore ", "Determined IP", "Unable to find"] {
        let sorted = |lines: &mut dyn Iterator<Item = &str>| {
            let mut lines: Vec<String> = lines.filter(|line| line.contains(kind)).map(in_order).collect();
            lines.sort();
            // A line and an ignoreip that want a name at once have it looked up twice (D-108).
            if kind.starts_with("Unable") {
                lines.dedup();
            }
            lines
        };
        let ours = sorted(&mut ours.iter().map(String::as_str));
        let theirs = sorted(&mut theirs.iter().copied());
        assert!(theirs.len() >= 5, "{theirs:?}");
        count.compare(&ours, &theirs, || format!("lines: {kind}"));
    }
}

/// The text of a log line that is about names or about who is spared.
fn remark(line: &str) -> Option<String> {
    let text = line.split("]: ").nth(1)?;
    let text = text.trim_start_matches(|c: char| c.is_ascii_uppercase()).trim_start();
    ["Ignore ", "Determined IP", "Unable to find"]
        .iter()
        .any(|kind| text.contains(kind))
        .then(|| text.to_owned())
}

/// A Python set has no order.
fn in_order(line: &str) -> String {
    match line.split_once(" = {") {
        Some((name, set)) => {
            let mut items: Vec<&str> = set.trim_end_matches('}').split(", ").collect();
            items.sort_unstable();
            format!("{name} = {items:?}")
        }
        None => line.to_owned(),
    }
}

#[test]
fn failures_by_name_and_names_that_are_spared() {
    let mut count = Count::of("names, counts by address and lines");
    compare(true, &mut count);
    compare(false, &mut count);
    count.close(100);
}

/// `<ip-host>`, `<fq-hostname>` and `<sh-hostname>` in an action.
#[test]
fn names_in_actions() {
    let mut house = House::empty();
    let _names = serve(&house);
    interface(&house, true);
    let tags = house.path("tags");
    house.write(
        "etc/action.d/tags.conf",
        format!(
            "[Definition]\nactionban = echo '<ip> <ip-host> <fq-hostname> <sh-hostname>' >> {}\n",
            tags.display()
        ),
    );
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1,
        options: "action = tags\nusedns = raw\nprefix.ipv6 = 128\n",
    }]);
    house.start();
    let who = [
        "192.0.2.1",
        "192.0.2.13",
        "2001:db8::7",
        "203.0.113.200",
        "both.example",
        "192.0.2.77",
    ];
    who.iter().for_each(|who| house.fail("plain", who));
    eventually("all are banned", || house.read("tags").lines().count() == who.len());
    let theirs = ask(&house, &json!({"jails": {}, "hosts": who}));
    let mut count = Count::of("names in actions");
    for (who, line) in who.iter().zip(house.read("tags").lines()) {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let expect = format!(
            "{who} {} {} {host}",
            text(&theirs["hosts"][*who]),
            text(&theirs["full"])
        );
        count.compare(&line.to_owned(), &expect, || (*who).to_owned());
    }
    count.close(6);
}

/// While look-ups hang, failures of others are counted at once; Fail2Ban's filter stands still.
#[test]
fn no_line_waits_for_a_look_up() {
    let mut house = House::empty();
    let names = Names::serve(&house, "timeout:4 attempts:1", "127.0.0.1 localhost\n");
    names.say("spared.example", addresses(&["192.0.2.200"]));
    for number in 0..20 {
        names.say(&format!("hang{number}.example"), Said::Silence);
    }
    house.jails(&[Jail {
        name: "plain",
        maxretry: 1_000_000,
        options: "usedns = warn\nignoreip = spared.example\n",
    }]);
    house.start();
    (0..20).for_each(|number| house.fail("plain", &format!("hang{number}.example")));
    eventually("they wait", || {
        house.waiting() == 20 && names.asked("hang0.example") > 0
    });
    let mut worst = Duration::ZERO;
    for number in 1..=20 {
        let who = format!("192.0.2.{number}");
        let begin = Instant::now();
        house.fail("plain", &who);
        while house.said(&format!("[plain] Found {who} -")).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{who} waits");
            std::thread::sleep(Duration::from_millis(1));
        }
        worst = worst.max(begin.elapsed());
    }
    house.fail("plain", "192.0.2.200");
    house.until_said("[plain] Ignore 192.0.2.200 by dns");
    assert_eq!(house.waiting(), 20, "and the look-ups still hang");
    let lines = [failure("hang0.example"), failure("192.0.2.1")];
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    let jails =
        json!({"plain": {"usedns": "warn", "ignoreself": false, "ignoreip": [], "failregex": REGEX, "lines": lines}});
    let theirs = ask(&house, &json!({"jails": jails, "hosts": []}));
    let seconds = theirs["jails"]["plain"]["seconds"].as_f64().unwrap();
    println!(
        "20 look-ups hang: another address is counted after {} ms at most; Fail2Ban's filter stands still for {seconds:.1} s",
        worst.as_millis()
    );
    assert!(worst < Duration::from_secs(2) && seconds > 3.0);
}
