//! Commands that are recognised: many bans at once go to `nft`, `iptables` and `ipset` as one batch. Each test has the
//! real program and the real kernel, in a network namespace of its own.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Output;

use crate::house::{House, Jail, eventually};

const NFT: &str = "[Definition]\n\
    actionstart = nft add table inet t-<name>\n\
    \x20             nft add chain inet t-<name> c \\{ type filter hook input priority -1 \\; \\}\n\
    \x20             nft add set inet t-<name> <set> \\{ type <type> \\; flags interval \\; \\}\n\
    \x20             nft add rule inet t-<name> c <word> saddr @<set> <blocktype>\n\
    actioncheck = nft list set inet t-<name> <set>\n\
    actionban = nft add element inet t-<name> <set> \\{ <ip> \\}\n\
    actionunban = nft delete element inet t-<name> <set> \\{ <ip> \\}\n\
    [Init]\ntype = ipv4_addr\nname = default\nset = s4\nword = ip\nblocktype = drop\n\
    [Init?family=inet6]\ntype = ipv6_addr\nset = s6\nword = ip6\n";

const IPTABLES: &str = "[Definition]\n\
    actionstart = <iptables> -N f2b-<name>\n\
    \x20             <iptables> -I INPUT -p tcp -j f2b-<name>\n\
    actioncheck = <iptables> -n -L INPUT\n\
    actionban = <iptables> -I f2b-<name> 1 -s <ip> -j <blocktype>\n\
    actionunban = <iptables> -D f2b-<name> -s <ip> -j <blocktype>\n\
    [Init]\nname = default\niptables = iptables<make> -w\nmake =\n\
    blocktype = REJECT --reject-with icmp-port-unreachable\n\
    [Init?family=inet6]\niptables = ip6tables<make> -w\n\
    blocktype = REJECT --reject-with icmp6-port-unreachable\n";

const IPSET: &str = "[Definition]\n\
    actionstart = ipset -exist create <set> hash:ip timeout 0 <more>\n\
    \x20             <iptables> -I INPUT -p tcp -m set --match-set <set> src -j DROP\n\
    actioncheck = ipset list -name <set>\n\
    actionban = ipset -exist add <set> <ip> timeout <bantime>\n\
    actionunban = ipset -exist del <set> <ip>\n\
    [Init]\nname = default\niptables = iptables -w\nset = f2b-<name>\nmore =\n\
    [Init?family=inet6]\niptables = ip6tables -w\nset = f2b-<name>6\nmore = family inet6\n";

/// Writes down how a program of the system is called, and calls it. Its names are links to one file, as those of iptables
/// are to theirs.
const LISTENER: &str = "#!/bin/sh\necho \"${0##*/} $*\" >> CALLS\nexec /usr/sbin/${0##*/} \"$@\"\n";

/// A daemon with one jail that bans by this action, and programs that are listened to.
fn house(file: &str, action: &str) -> House {
    let mut house = House::empty();
    let bin = house.path("bin");
    fs::create_dir(&bin).unwrap();
    let calls = house.path("calls").display().to_string();
    house.write("bin/listener", LISTENER.replace("CALLS", &calls));
    fs::set_permissions(bin.join("listener"), Permissions::from_mode(0o755)).unwrap();
    for make in ["", "-legacy"] {
        for name in ["iptables", "ip6tables"] {
            symlink("listener", bin.join(format!("{name}{make}"))).unwrap();
            symlink("listener", bin.join(format!("{name}{make}-restore"))).unwrap();
        }
    }
    for name in ["nft", "ipset"] {
        symlink("listener", bin.join(name)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    house.environment.push(("PATH".to_owned(), path));
    house.write("etc/action.d/act.conf", file);
    let options = format!("action = {action}");
    house.jails(&[Jail {
        name: "mass",
        maxretry: 1,
        options: &options,
    }]);
    house.start();
    house
}

fn addresses(many: usize) -> Vec<String> {
    let v4 = (0..many / 2).map(|n| format!("198.51.{}.{}", 100 + n / 250, n % 250 + 1));
    let v6 = (0..many / 2).map(|n| format!("2001:db8::{:x}", n + 1));
    v4.chain(v6).collect()
}

fn order(house: &House, verb: &str, who: &[String]) -> Output {
    let mut words = vec![verb];
    words.extend(who.iter().map(String::as_str));
    words.extend(["--jail", "mass"]);
    house.ask(&words)
}

/// How many of these a program lists.
fn held(house: &House, list: &[&str], who: &[String]) -> usize {
    let output = house.inside("sh").args(["-c", &list.join("; ")]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: BTreeSet<&str> = text
        .split(|c: char| c.is_whitespace() || c == ',' || c == '{' || c == '}')
        .map(|word| word.trim_end_matches("/32").trim_end_matches("/128"))
        .collect();
    who.iter().filter(|who| words.contains(who.as_str())).count()
}

fn way(house: &House) -> String {
    let status = house.json(&["status", "mass"]);
    let text = status.to_string();
    let found = ["batch", "shell"]
        .into_iter()
        .find(|word| text.contains(&format!("\"{word}\"")));
    found.unwrap_or_default().to_owned()
}

/// Bans many, frees half of them, and looks at the kernel.
fn many(house: &House, list: &[&str]) {
    let all = addresses(300);
    assert!(order(house, "ban", &all).status.success());
    eventually("all are in the kernel", || held(house, list, &all) == all.len());
    let half: Vec<String> = all.iter().step_by(2).cloned().collect();
    assert!(order(house, "unban", &half).status.success());
    eventually("half of them is out of it", || held(house, list, &half) == 0);
    assert_eq!(held(house, list, &all), all.len() - half.len());
    // Of the few that come before the others are decided, one or the other goes alone.
    let calls = house.read("calls");
    let batches = calls
        .lines()
        .filter(|call| ["-f -", "restore"].iter().any(|word| call.contains(word)));
    let batches = batches.count();
    assert!(batches >= 4 && calls.lines().count() < 100, "{calls}");
}

#[test]
fn many_bans_by_nft() {
    let house = house(NFT, "act[name=m]");
    assert_eq!(way(&house), "batch");
    many(&house, &["nft list ruleset"]);
    let removed = house.inside("nft").args(["delete", "table", "inet", "t-m"]).status();
    assert!(removed.unwrap().success());
    // The batch fails, each is tried by itself, the first repairs, and who was in the table comes back.
    let more: Vec<String> = (1..=20).map(|n| format!("203.0.113.{n}")).collect();
    assert!(order(&house, "ban", &more).status.success());
    let all = addresses(300);
    let kept: Vec<String> = all.into_iter().skip(1).step_by(2).take(75).chain(more).collect();
    eventually("all are there again", || {
        held(&house, &["nft list ruleset"], &kept) == kept.len()
    });
}

#[test]
fn many_bans_by_iptables() {
    let house = house(IPTABLES, "act[name=m]");
    assert_eq!(way(&house), "batch");
    many(&house, &["iptables -S", "ip6tables -S"]);
}

#[test]
fn many_bans_by_the_older_iptables() {
    let house = house(IPTABLES, "act[name=m, make=-legacy]");
    assert_eq!(way(&house), "batch");
    many(&house, &["iptables-legacy -S", "ip6tables-legacy -S"]);
}

#[test]
fn many_bans_by_ipset() {
    let house = house(IPSET, "act[name=m]");
    assert_eq!(way(&house), "batch");
    many(&house, &["ipset list"]);
}

/// `native = no` leaves all to shells, and a word that is neither is refused.
#[test]
fn an_action_that_is_not_to_be_recognised() {
    let house_of = |options: &str| house(NFT, &format!("act[name=m, {options}]"));
    assert_eq!(way(&house_of("native=yes")), "batch");
    assert_eq!(way(&house_of("native=no")), "shell");
    house_of("native=maybe").until_said("native = 'maybe' is neither yes nor no");
    // Rules that let in are no bans.
    assert_eq!(way(&house_of("blocktype=accept")), "shell");
}
