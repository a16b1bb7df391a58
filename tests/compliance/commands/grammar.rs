//! Random commands: every key with words of every kind, too few and too many.

use serde_json::{Value, json};

use crate::chance::Chance;

const JAILS: [&str; 4] = ["a", "b", "c", "absent"];
const ADDRESSES: [&str; 14] = [
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.3",
    "198.51.100.9",
    "203.0.113.7",
    "2001:db8::1",
    "2001:db8::50",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "198.51.100.0/24",
    "2001:db8::/32",
    "some text",
    "host.example",
    "other.example",
];
const REGEXES: [&str; 14] = [
    "^ from <HOST>$",
    "^ <ADDR> x",
    "<F-ID>\\S+</F-ID>",
    "^ <F-MLFID>\\w+</F-MLFID> <F-NOFAIL>x</F-NOFAIL>",
    "<SUBNET>",
    "no id",
    "(",
    "[a",
    "a{2,1}<HOST>",
    "(?P<x>a)(?P<x>b)",
    "",
    "((?i)<HOST>)",
    "<HOST",
    "(?:<HOST>|x",
];
const NUMBERS: [&str; 12] = ["0", "1", "5", "12", "-1", "-7", " 3 ", "1.5", "x", "", "1_0", "٣"];
const TIMES: [&str; 14] = [
    "600",
    "1h",
    "1.5h",
    "1d 2h",
    "1w",
    "-1",
    "30",
    "5m30s",
    "1y",
    "never",
    "1 fortnight",
    "5//0",
    "2*3",
    "1mo",
];
const TRUTHS: [&str; 7] = ["true", "yes", "on", "1", "no", "false", "maybe"];
const ACTIONS: [&str; 3] = ["x", "y", "absent"];
const PROPERTIES: [&str; 8] = [
    "actionban",
    "actionstart",
    "timeout",
    "bantime",
    "port",
    "actionban?family=inet6",
    "banEpoch",
    "name",
];

/// A session: jails first, then anything.
pub(super) fn session(chance: &mut Chance, length: usize) -> Vec<Value> {
    let mut commands = vec![
        json!(["add", "a", "polling"]),
        json!(["add", "b", "polling"]),
        json!(["start", "a"]),
        json!(["set", "a", "addaction", "x"]),
    ];
    while commands.len() < length {
        let one = command(chance);
        let one = if chance.percent(6) { broken(chance, one) } else { one };
        commands.push(one);
    }
    commands
}

/// With a word left out, added or made another kind.
fn broken(chance: &mut Chance, command: Value) -> Value {
    let Value::Array(mut words) = command else {
        return command;
    };
    // `stop` alone ends the server.
    if words[0] == "stop" || words.len() < 2 {
        return Value::Array(words);
    }
    if chance.percent(70) {
        words.truncate(chance.between(1, words.len() as i64 - 1) as usize);
    } else if words[0] != "add" {
        words.push(json!("more"));
    }
    Value::Array(words)
}

fn jail(chance: &mut Chance) -> &'static str {
    let names: &[&'static str] = if chance.percent(75) { &["a"] } else { &JAILS };
    let name: &&'static str = chance.pick(names);
    name
}

fn some(chance: &mut Chance, list: &[&'static str], most: usize) -> Vec<Value> {
    (0..chance.below(most + 1)).map(|_| json!(chance.pick(list))).collect()
}

fn command(chance: &mut Chance) -> Value {
    match chance.below(20) {
        0 => control(chance),
        1 => json!({ "tick": chance.pick(&[1, 5, 60, 301, 600, 4000]) }),
        2 | 3 => status(chance),
        4..=6 => get(chance),
        7..=9 => bans(chance),
        10 => action(chance),
        11 => stream(chance),
        _ => set(chance),
    }
}

fn control(chance: &mut Chance) -> Value {
    let jail = *chance.pick(&JAILS);
    match chance.below(12) {
        0..=2 => json!(["add", jail, "polling"]),
        3..=5 => json!(["start", jail]),
        6 => json!(["stop", if jail == "a" { "b" } else { jail }]),
        7 => json!(["ping"]),
        8 => json!(["version"]),
        9 => json!(["echo", jail, 5, null, [1, "x"]]),
        10 => json!(["set", jail, "idle", "off"]),
        _ => json!(["nothing", jail]),
    }
}

fn status(chance: &mut Chance) -> Value {
    let flavor = *chance.pick(&["basic", "short", "stats", "cymru", "other"]);
    match chance.below(6) {
        0 => json!(["status"]),
        1 => json!(["status", jail(chance)]),
        2 => json!(["status", jail(chance), flavor]),
        3 => json!(["status", "--all", flavor]),
        4 => json!(["stats"]),
        _ => json!(["banned"]),
    }
}

fn get(chance: &mut Chance) -> Value {
    const KEYS: [&str; 24] = [
        "logpath",
        "logencoding",
        "journalmatch",
        "ignoreself",
        "ignoreip",
        "ignorecommand",
        "ignorecache",
        "prefregex",
        "failregex",
        "ignoreregex",
        "usedns",
        "findtime",
        "datepattern",
        "logtimezone",
        "maxmatches",
        "maxretry",
        "maxlines",
        "bantime",
        "bantime.wings",
        "bantime.factor",
        "actions",
        "banned",
        "banip",
        "nothing",
    ];
    const SERVER: [&str; 8] = [
        "loglevel",
        "logtarget",
        "syslogsocket",
        "thread",
        "dbfile",
        "dbmaxmatches",
        "dbpurgeage",
        "nothing",
    ];
    match chance.below(6) {
        0 => json!(["get", chance.pick(&SERVER)]),
        1 => json!([
            "get",
            jail(chance),
            "action",
            chance.pick(&ACTIONS),
            chance.pick(&PROPERTIES)
        ]),
        2 => json!([
            "get",
            jail(chance),
            chance.pick(&["actionproperties", "actionmethods"]),
            chance.pick(&ACTIONS)
        ]),
        3 => json!(["get", jail(chance), "banip", "--with-time"]),
        _ => json!(["get", jail(chance), chance.pick(&KEYS)]),
    }
}

fn bans(chance: &mut Chance) -> Value {
    let several = some(chance, &ADDRESSES, 3);
    let command = |words: &[&str], several: Vec<Value>| {
        let words = words.iter().map(|word| json!(word));
        Value::Array(words.chain(several).collect())
    };
    match chance.below(8) {
        0..=2 => command(&["set", jail(chance), "banip"], several),
        3 => command(&["set", jail(chance), "unbanip"], several),
        4 => command(&["set", jail(chance), "unbanip", "--report-absent"], several),
        5 => {
            let address = *chance.pick(&ADDRESSES);
            let lines = some(chance, &["a line", "another"], 3);
            command(&["set", jail(chance), "attempt", address], lines)
        }
        6 => command(&["get", jail(chance), "banned"], several),
        _ => command(&[*chance.pick(&["banned", "unban"])], several),
    }
}

fn action(chance: &mut Chance) -> Value {
    let (jail, action) = (jail(chance), *chance.pick(&ACTIONS));
    let value = json!(chance.pick(&["one <ip>", "5m", "", "60"]));
    match chance.below(5) {
        0 => json!(["set", jail, "addaction", chance.pick(&["x", "y"])]),
        1 => json!(["set", jail, "delaction", action]),
        2 => json!(["multi-set", jail, "action", action, [["port", value], ["name", "n"]]]),
        _ => {
            let property = *chance.pick(&PROPERTIES);
            let value = if property == "timeout" {
                json!(chance.pick(&TIMES))
            } else {
                value
            };
            json!(["set", jail, "action", action, property, value])
        }
    }
}

/// A stream whose jails are whole; what a reload leaves out goes to its default with us only.
fn stream(chance: &mut Chance) -> Value {
    let commands = json!([
        ["set", "c", "maxretry", chance.pick(&NUMBERS)],
        ["set", "c", "addfailregex", chance.pick(&REGEXES)],
        ["set", "a", "maxmatches", 4],
        ["set", "c", "addignoreip", "192.0.2.9"],
    ]);
    json!(["server-stream", commands])
}

fn set(chance: &mut Chance) -> Value {
    let jail = jail(chance);
    let key = *chance.pick(&[
        "maxretry",
        "maxmatches",
        "findtime",
        "bantime",
        "ignoreself",
        "addignoreip",
        "delignoreip",
        "addfailregex",
        "delfailregex",
        "addignoreregex",
        "delignoreregex",
        "prefregex",
        "addlogpath",
        "dellogpath",
        "logencoding",
        "datepattern",
        "logtimezone",
        "ignorecache",
        "bantime.maxtime",
        "bantime.wings",
        "addjournalmatch",
        "idle",
        "nothing",
        "multi",
        "server",
    ]);
    let value = match key {
        "multi" => {
            let regexes = some(chance, &REGEXES, 3);
            return json!([
                "multi-set",
                jail,
                chance.pick(&["addfailregex", "addignoreregex"]),
                regexes
            ]);
        }
        "server" => return server(chance),
        "addlogpath" => {
            let path = json!(format!(
                "FOLDER/{}",
                chance.pick(&["a.log", "b.log", "none.log", "sub"])
            ));
            return match chance.below(4) {
                0 => json!(["set", jail, key, path, chance.pick(&["tail", "head", "middle"])]),
                _ => json!(["set", jail, key, path]),
            };
        }
        "addignoreip" => {
            let entries = some(chance, &ADDRESSES, 3);
            let mut words = vec![json!("set"), json!(jail), json!(key)];
            words.extend(entries);
            return Value::Array(words);
        }
        "idle" => return json!(["set", "b", "idle", chance.pick(&["on", "off", "maybe"])]),
        _ => value(chance, key),
    };
    json!(["set", jail, key, value])
}

fn value(chance: &mut Chance, key: &str) -> Value {
    if !key.ends_with("regex") && key != "bantime" && chance.percent(15) {
        return odd(chance, key);
    }
    json!(chance.pick(match key {
        "maxretry" | "maxmatches" | "delfailregex" | "delignoreregex" => &NUMBERS as &[&str],
        // Another `bantime` is for bans to come (D-092), so that it has a table only.
        "bantime" => &["600", "never", "1 fortnight", "5//0", "10m"],
        "findtime" | "bantime.maxtime" => &TIMES,
        "ignoreself" => &TRUTHS,
        "delignoreip" => &ADDRESSES,
        "addfailregex" | "addignoreregex" | "prefregex" => &REGEXES,
        "dellogpath" => &["FOLDER/a.log", "FOLDER/b.log", "none"],
        "logencoding" => &["latin1", "UTF-8", "ascii", "auto", "nothing"],
        "datepattern" => &["%Y-%m-%d", "%Y\n%m", "%Y\n%Y", "Epoch", "", "{^LN-BEG}%H:%M", "{DATE}"],
        "logtimezone" => &["UTC", "+0200", "CET", "XYZ", "no zone", ""],
        "ignorecache" => &[
            "key=\"<ip>\"",
            "key=a,max-count=x",
            "max-time=5",
            "",
            "key=a,max-time=1h",
            "x"
        ],
        _ => &["x", "5", ""],
    }))
}

/// A word of a kind that does not come from a command line.
fn odd(chance: &mut Chance, key: &str) -> Value {
    if key == "datepattern" || key == "dellogpath" {
        return json!(5);
    }
    if key == "delignoreip" || key == "logencoding" || key == "ignorecache" {
        return json!(chance.pick(&[5, 6]));
    }
    match chance.below(5) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(7),
        3 if key == "logtimezone" => json!(false),
        3 => json!({ "float": "2.5" }),
        _ => json!([]),
    }
}

fn server(chance: &mut Chance) -> Value {
    match chance.below(6) {
        0 => json!(["set", "loglevel", chance.pick(&["info", "DEBUG", "foo", "7"])]),
        1 => json!([
            "set",
            "logtarget",
            chance.pick(&["STDOUT", "STDERR[padding=on]", "x[", "/nowhere/x"])
        ]),
        2 => json!(["set", "dbmaxmatches", chance.pick(&NUMBERS)]),
        3 => json!(["set", "dbpurgeage", chance.pick(&TIMES)]),
        4 => json!(["set", "allowipv6", chance.pick(&["auto", "yes", "no"])]),
        _ => json!(["set", "dbfile", chance.pick(&["None", ":memory:"])]),
    }
}
