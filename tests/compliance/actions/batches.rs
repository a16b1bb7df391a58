//! Many bans at once, and many unbans: where commands go to their program together, they are still Fail2Ban's commands, and
//! all that goes to shells keeps its order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

use super::life::{JAIL, Life, Side, contains, shown, stock};
use super::stage::Call;
use super::stock::{failures, files, in_lives};
use crate::count::Count;
use crate::oracle;

/// The stock's actions of which the commands are known word for word.
const RECOGNISED: [&str; 11] = [
    "firewallcmd-ipset",
    "iptables",
    "iptables-allports",
    "iptables-ipset",
    "iptables-ipset-proto6",
    "iptables-ipset-proto6-allports",
    "iptables-multiport",
    "iptables-new",
    "nftables",
    "nftables-allports",
    "nftables-multiport",
];

/// Who is banned: of both families, and one who is no address.
const WHO: [&str; 9] = [
    "192.0.2.1",
    "2001:db8::1",
    "192.0.2.2",
    "192.0.2.3",
    "x; touch c #",
    "2001:db8::2",
    "192.0.2.4",
    "2001:db8::3",
    "192.0.2.5",
];

/// Some of them, who are freed together.
const FREED: [&str; 5] = ["192.0.2.1", "192.0.2.3", "192.0.2.4", "2001:db8::1", "2001:db8::3"];

/// Many bans, some unbans, the end.
fn crowded_life(life: &mut Life<'_>) {
    life.start();
    life.until("last start", 1);
    let of = |who: &&str| {
        let word = if who.contains(' ') { "id" } else { "from" };
        failures(format!("{word} {who}").as_bytes())
    };
    life.log(&WHO.iter().flat_map(of).collect::<Vec<u8>>());
    life.until("last ban", WHO.len());
    let theirs = [&["set", JAIL, "unbanip"], &FREED[..]].concat();
    let ours = [&["unban"], &FREED[..], &["--jail", JAIL]].concat();
    life.order(&theirs, &ours);
    life.until("last unban", FREED.len());
    life.stop();
}

/// The commands that a call stands for: itself, or all that a program was given to read.
fn commands(call: &Call) -> Vec<String> {
    let text = |at: usize| String::from_utf8(call[at].clone()).unwrap();
    if call[0] == b"-c" {
        return vec![shown(call)];
    }
    let (name, arguments) = (text(0), (1..call.len() - 1).map(text).collect::<Vec<_>>().join(" "));
    let read = text(call.len() - 1);
    let lines = read.lines();
    match (name.as_str(), arguments.as_str()) {
        ("nft", "-f -") => lines.flat_map(elements).collect(),
        ("ipset", "-exist restore") => lines.map(|line| format!("ipset -exist {line}")).collect(),
        ("iptables-restore" | "ip6tables-restore", "--noflush -w") => {
            let lines: Vec<&str> = lines.collect();
            let ["*filter", rules @ .., "COMMIT"] = lines.as_slice() else {
                panic!("{read}");
            };
            let program = name.trim_end_matches("-restore");
            rules.iter().map(|rule| format!("{program} -w {rule}")).collect()
        }
        _ => panic!("{name} {arguments}"),
    }
}

/// `add element … { a, b }` as Fail2Ban has it, once for each.
fn elements(line: &str) -> Vec<String> {
    let (head, list) = line.strip_suffix(" }").unwrap().split_once(" { ").unwrap();
    let of = |element| {
        shown(&vec![
            b"-c".to_vec(),
            format!(r"nft {head} \{{ {element} \}}").into_bytes(),
        ])
    };
    list.split(", ").map(of).collect()
}

/// How often each command was run.
fn multiset(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for command in calls.iter().flat_map(commands) {
        *all.entry(command).or_insert(0) += 1;
    }
    all
}

/// The calls of the tests' own actions, which stand before and behind the stock's.
fn marks(calls: &[Call]) -> Vec<String> {
    let is_mark =
        |call: &&Call| call[0] == b"-c" && [&b"first "[..], b"last "].iter().any(|mark| contains(&call[1], mark));
    calls.iter().filter(is_mark).map(shown).collect()
}

/// The stock's commands in which nobody is named: they start, check and stop.
fn operations(calls: &[Call]) -> Vec<String> {
    let names = |call: &Call| {
        call.iter()
            .any(|word| WHO.iter().any(|who| contains(word, who.as_bytes())))
    };
    let own: BTreeSet<String> = marks(calls).into_iter().collect();
    let others = calls.iter().filter(|call| call[0] == b"-c" && !names(call)).map(shown);
    others.filter(|command| !own.contains(command)).collect()
}

/// The stock's actions that have to do with one of the programs at all.
fn possible() -> Vec<String> {
    let folder = oracle::configuration();
    let text = |name: &str| fs::read_to_string(folder.join(format!("action.d/{name}.conf"))).unwrap();
    let mut names = stock(&folder);
    names.retain(|name| {
        let own = text(name);
        let base = own.lines().find_map(|line| line.strip_prefix("before = "));
        let all = base.map_or_else(String::new, |file| text(file.trim().trim_end_matches(".conf"))) + &own;
        ["nft", "ipset", "iptables"].iter().any(|program| all.contains(program))
    });
    names
}

#[test]
fn what_goes_together_is_what_fail2ban_runs() {
    let count = Mutex::new(Count::of("commands of many bans at once"));
    let batched = Mutex::new(BTreeSet::new());
    in_lives(possible(), |stage, oracle, name| {
        let mut life = Life::new(stage, oracle, name, &files(name));
        crowded_life(&mut life);
        let (theirs, ours) = (life.calls(Side::Theirs), life.calls(Side::Ours));
        let mut count = count.lock().unwrap();
        count.compare(&multiset(&ours), &multiset(&theirs), || format!("{name}, all commands"));
        count.compare(&marks(&ours), &marks(&theirs), || {
            format!("{name}, order of other actions")
        });
        count.compare(&operations(&ours), &operations(&theirs), || {
            format!("{name}, order of operations")
        });
        let together: Vec<usize> = ours
            .iter()
            .filter(|call| call[0] != b"-c")
            .map(|call| commands(call).len())
            .collect();
        if !together.is_empty() {
            // Three bans; behind the one who is no address, two of each family; three and two unbans.
            count.compare(&together, &vec![3, 2, 2, 3, 2], || format!("{name}, batches"));
            batched.lock().unwrap().insert(name.to_owned());
        }
    });
    count.into_inner().unwrap().close(80);
    assert_eq!(batched.into_inner().unwrap(), RECOGNISED.map(str::to_owned).into());
}
