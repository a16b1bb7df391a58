//! What the client prints for a reply: Fail2Ban's own printer, and our client, which a false server gives the same
//! replies, byte for byte as Fail2Ban's server pickles them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::chance::{Chance, rounds};
use super::count::Count;
use super::oracle::Oracle;

/// Ends a message in both directions.
const END: &[u8] = b"<F2B_END_COMMAND>";
/// What the interactive client prints before it takes a line.
const PROMPT: &str = "fail2ban> ";
/// So many commands are given to one client.
const BATCH: usize = 400;
/// Random pairs, besides those of all commands with all made values.
const RANDOM: u64 = 2500;

/// Commands of all kinds; each is paired with every value of [`made`].
const COMMANDS: &[&str] = &[
    "ping",
    "version",
    "start j",
    "stop",
    "stop j",
    "add j",
    "flushlogs",
    "echo a b",
    "status",
    "status j",
    "status --all",
    "status --all stats",
    "stats",
    "statistics",
    "statistic",
    "set syslogsocket auto",
    "get logtarget",
    "get loglevel",
    "get dbfile",
    "get dbpurgeage",
    "get dbmaxmatches",
    "get j logpath",
    "set j addlogpath f",
    "get j logencoding",
    "get j journalmatch",
    "set j deljournalmatch a b",
    "get j datepattern",
    "get j ignoreip",
    "set j delignoreip x",
    "get j failregex",
    "set j addignoreregex x",
    "get j actions",
    "get j actionproperties",
    "get j actionproperties a",
    "get j actionmethods a",
    "get j banip",
    "get j banip ,",
    "get j banip --with-time",
    "set j banip 192.0.2.1",
    "get j banned",
    "banned",
    "unban --all",
    "nonsense",
];

/// One question to the driver: a command with a reply, or with an error.
type Pair = Value;

fn pair(command: &str, reply: &Value) -> Pair {
    json!({"command": command.split(' ').collect::<Vec<_>>(), "reply": reply})
}

fn refusal(command: &str, class: &str, arguments: &Value) -> Pair {
    json!({"command": command.split(' ').collect::<Vec<_>>(), "error": [class, arguments]})
}

/// Replies as a server gives them, and some that it never would.
fn made() -> Vec<Value> {
    let jail = json!([
        {"tuple": ["Filter", [{"tuple": ["Currently failed", 1]}, {"tuple": ["Total failed", 4]},
            {"tuple": ["File list", ["/var/log/a", "/var/log/ü b"]]}]]},
        {"tuple": ["Actions", [{"tuple": ["Currently banned", 2]}, {"tuple": ["Total banned", 3]},
            {"tuple": ["Banned IP list", [{"address": "192.0.2.1"}, {"address": "2001:db8::1"}]]}]]},
    ]);
    let server = json!([{"tuple": ["Number of jail", 2]}, {"tuple": ["Jail list", "j, k"]}]);
    let mut all = server.as_array().unwrap().clone();
    all.push(json!({"dict": [["j", jail], ["k", jail]]}));
    let mut nobody = server.as_array().unwrap().clone();
    nobody.push(json!({"dict": []}));
    let row = |backend: &str, a: u64, b: u64| json!([backend, {"tuple": [a, 4]}, {"tuple": [b, 123_456]}]);
    vec![
        jail,
        server,
        all.into(),
        nobody.into(),
        json!({"dict": [["sshd", row("polling", 1, 2)], ["a name that is long ü", row("pyinotify and more", 1000, 0)]]}),
        json!({"dict": [["sshd", ["polling", {"tuple": [1]}, {"tuple": [2, 3]}]]]}),
        json!(["polling", {"tuple": [1, 2]}, {"tuple": [3, 4]}]),
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(20),
        json!(33),
        json!(50),
        json!(-1),
        json!({"float": "1.5"}),
        json!({"float": "86400.0"}),
        json!({"float": "1e40"}),
        json!({"float": "inf"}),
        json!({"float": "-0.0"}),
        json!(""),
        json!("pong"),
        json!("it's \"quoted\" \\ \n\t\u{1b}[31m\u{7f}\u{85}\u{2028}é€𝄞\u{fffe}"),
        json!([]),
        json!({"tuple": []}),
        json!({"dict": []}),
        json!({"set": []}),
        json!(["one"]),
        json!(["/var/log/a", "ü\u{1b}]0;x\u{7}", "'c'"]),
        json!([["_SYSTEMD_UNIT=a", "+"], ["B=c"]]),
        json!([{"address": "192.0.2.0/24"}, {"address": "name"}, "text"]),
        json!([1, null, "x"]),
        json!({"set": ["only"]}),
        json!({"tuple": ["%d", "Day (x)"]}),
        json!({"tuple": [null, "Default Detectors"]}),
        json!({"tuple": [null, {"tuple": ["a"]}]}),
        json!({"tuple": [5]}),
        json!({"tuple": ["a", "b", "c"]}),
        json!({"dict": [["a", 1], ["b", [null]]]}),
        json!({"dict": [[0, null], [1, "x"]]}),
        json!([{"dict": [["j1", [{"address": "203.0.113.5"}]]]}, {"dict": [["j2", []]]}]),
        json!(["203.0.113.5 \t2026-11-22 15:25:08 + 600 = 2026-11-22 15:35:08"]),
    ]
}

/// Errors of all classes.
fn errors() -> Vec<(&'static str, Value)> {
    let mut errors = vec![
        ("UnknownJailException", json!(["x'y"])),
        ("UnknownJailException", json!([5])),
        ("UnknownJailException", json!([])),
        ("DuplicateJailException", json!(["ü\u{1b}"])),
        ("DuplicateJailException", json!([null])),
        ("RegexException", json!(["Unable to compile\n(x"])),
        ("IndexError", json!(["list index out of range"])),
        ("IndexError", json!([])),
        ("FileNotFoundError", json!([2, "No such file or directory", "/x'"])),
        ("OSError", json!([13, "Permission denied"])),
        ("OSError", json!(["plain"])),
        ("JSONDecodeError", json!(["Expecting value", "{\n x", 3])),
    ];
    let plain = [
        "Exception",
        "ValueError",
        "KeyError",
        "AttributeError",
        "RuntimeError",
        "LookupError",
        "TypeError",
        "NotImplementedError",
    ];
    for class in plain {
        for arguments in [
            json!([]),
            json!(["some 'text'\n"]),
            json!([5]),
            json!(["a", {"tuple": [1]}]),
        ] {
            errors.push((class, arguments));
        }
    }
    errors
}

/// A text with something in it that a printer may stumble over.
fn text(dice: &mut Chance) -> String {
    const PIECES: &[&str] = &[
        "a",
        "b ",
        "'",
        "\"",
        "\\",
        "\n",
        "\t",
        "\u{1b}[2J",
        "\u{0}",
        "é",
        "\u{ad}",
        "\u{200b}",
        "漢",
        "𝄞",
        "%s",
        "192.0.2.1",
        "\u{9b}",
        "\u{202e}",
        "|-",
        "`-",
        "--all",
    ];
    (0..dice.below(4)).map(|_| *dice.pick(PIECES)).collect()
}

/// A random value, of lists mostly.
fn value(dice: &mut Chance, depth: u64) -> Value {
    let many = |dice: &mut Chance| (0..dice.below(4)).map(|_| value(dice, depth + 1)).collect::<Vec<_>>();
    let kind = dice.below(if depth > 4 { 7 } else { 16 });
    match kind {
        0 => json!(null),
        1 => json!(dice.percent(50)),
        2 => json!(dice.between(-3, 60)),
        3 => json!({"float": dice.pick(&["0.0", "1.0", "-2.5", "1e300", "nan", "0.1"])}),
        4..=6 => json!(text(dice)),
        7..=10 => many(dice).into(),
        11..=13 => json!({"tuple": many(dice)}),
        14 => {
            let pairs: Vec<Value> = (0..dice.below(3))
                .map(|at| json!([format!("{at}{}", text(dice)), value(dice, depth + 1)]))
                .collect();
            json!({"dict": pairs})
        }
        // The order of a larger set is not Python's to say.
        _ => json!({"set": [text(dice)]}),
    }
}

/// What the client printed for each command, and what it logged in all.
fn ours(folder: &Path, replies: &[Vec<u8>], commands: &[String]) -> (Vec<String>, Vec<String>) {
    let socket = folder.join("socket");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let program = env!("CARGO_BIN_EXE_portcullis");
    let mut client = Command::new(program);
    client.arg0("fail2ban-client").args(["-i", "-s"]).arg(&socket);
    client.args([
        "-p",
        "p",
        "--loglevel",
        "INFO",
        "--logtarget",
        "STDERR",
        "--syslogsocket",
        "auto",
    ]);
    client
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.env("LC_ALL", "C.UTF-8").spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    let lines: String = commands.iter().map(|line| format!("{line}\n")).collect();
    let writer = thread::spawn(move || input.write_all((lines + "exit\n").as_bytes()).unwrap());
    let replies = replies.to_vec();
    let server = thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            while !request.ends_with(END) {
                let count = stream.read(&mut chunk).unwrap();
                request.extend_from_slice(&chunk[..count]);
            }
            stream.write_all(&[reply.as_slice(), END].concat()).unwrap();
            let _ = stream.read_to_end(&mut request);
        }
    });
    let output = client.wait_with_output().unwrap();
    writer.join().unwrap();
    server.join().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let logged = String::from_utf8(output.stderr).unwrap();
    let printed = printed.split(PROMPT).skip(1).map(str::to_owned).collect();
    (printed, logged.lines().map(bare).collect())
}

/// A line of the log as the driver has it: logger, level, message.
fn bare(line: &str) -> String {
    let rest = line.get(24..).unwrap_or_default();
    let (logger, rest) = rest.split_once('[').unwrap_or_default();
    let (_, rest) = rest.split_once("]: ").unwrap_or_default();
    let (level, message) = rest.split_at_checked(8).unwrap_or_default();
    format!("{} {} {message}", logger.trim_end(), level.trim_end())
}

/// The same, with control characters as our log writes them (it must not drive a terminal).
fn harmless(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

fn compare(pairs: &[Pair], folder: &Path, oracle: &mut Oracle, count: &mut Count) {
    let theirs: Vec<Value> = pairs.iter().map(|pair| oracle.ask(pair)).collect();
    let wire = |answer: &Value| {
        let digits = answer["wire"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(byte).collect::<Vec<_>>()
    };
    let replies: Vec<Vec<u8>> = theirs.iter().map(wire).collect();
    let quoted = |word: &Value| format!("'{}'", word.as_str().unwrap());
    let line = |pair: &Value| {
        pair["command"]
            .as_array()
            .unwrap()
            .iter()
            .map(quoted)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let commands: Vec<String> = pairs.iter().map(line).collect();
    let (printed, logged) = ours(folder, &replies, &commands);
    for (at, (pair, theirs)) in pairs.iter().zip(&theirs).enumerate() {
        let ours = printed.get(at).cloned().unwrap_or_default();
        let theirs = theirs["printed"].as_str().unwrap().to_owned();
        count.compare(&ours, &theirs, || pair.to_string());
    }
    let theirs: Vec<String> = theirs
        .iter()
        .flat_map(|answer| answer["logged"].as_array().unwrap().clone())
        .map(|line| harmless(line.as_str().unwrap()))
        .collect();
    let first = logged.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
    count.compare(&(logged.len(), first), &(theirs.len(), None), || {
        "what is logged".to_owned()
    });
}

#[test]
fn replies_are_printed_as_fail2ban_prints_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut oracle = Oracle::start("beautifier");
    let mut count = Count::of("replies printed by fail2ban-client");
    let mut pairs: Vec<Pair> = Vec::new();
    for command in COMMANDS {
        pairs.extend(made().iter().map(|reply| pair(command, reply)));
    }
    for (class, arguments) in errors() {
        pairs.extend(["status j", "get j nothing"].map(|command| refusal(command, class, &arguments)));
    }
    for pairs in pairs.chunks(BATCH) {
        compare(pairs, folder.path(), &mut oracle, &mut count);
    }
    let mut dice = Chance(4);
    for _ in rounds(RANDOM / BATCH as u64) {
        let random = |_| pair(COMMANDS[dice.below(COMMANDS.len())], &value(&mut dice, 0));
        let pairs: Vec<Pair> = (0..BATCH).map(random).collect();
        compare(&pairs, folder.path(), &mut oracle, &mut count);
    }
    count.close(4000);
}
