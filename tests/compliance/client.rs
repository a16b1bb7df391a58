//! The programs `fail2ban-client` and `fail2ban-server` without a server: their own processes, with the same command
//! lines.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use super::count::Count;
use super::dumps::{enable, jails, stock};
use super::folder::Folder;
use super::oracle::{self, Oracle};

/// Command lines that print the same; `DIR` is a good folder, `BAD` one with a bad jail among good ones, `FAULT` one
/// that cannot be read, `EARLY` one whose fail2ban.conf cannot.
const SAME: &[&str] = &[
    "-c DIR -d",
    "-c DIR/ -dc . -s DIR",
    "-dc DIR//",
    "--conf=DIR --dp",
    "--co DIR --dump-p",
    "-c DIR -t",
    "-c DIR -d -t",
    "-c DIR --test -q --dp",
    "-c DIR -d --loglevel debug --logtarget=SYSLOG --syslogsocket /x",
    "-c DIR -s a -p b --loglevel 5 --logtarget c --syslogsocket d -d",
    "-c DIR -d status",
    "-c BAD -d",
    "-c BAD -t",
    "-c BAD -dt",
    "-c FAULT -d",
    "-c FAULT -t",
    "-c EARLY -d",
    "-c EARLY -t",
    "-c NOWHERE -d",
    "-c NOWHERE -s a -p b --loglevel 5 --logtarget c --syslogsocket d -d",
    "-c DIR --loglevel loud -d",
    "-V",
    "-qV",
    "--vers",
    "--str2sec 1d12h",
    "--str2 1.5h",
    "--str2sec=-1",
    "--timeout 1m -V",
];

/// Those that end the same way and begin with the same line: the texts that follow are our own (D-043).
const OWN_WORDS: &[&str] = &[
    "-h",
    "--help",
    "--bogus",
    "--d -c DIR",
    "-c DIR -X",
    "--test=1",
    "-c",
    "--str2sec 1x",
    "--timeout x -V",
];

fn run(command: &mut Command, name: &str, line: &str) -> Output {
    let folder = line.split(' ').find(|word| word.starts_with('/')).unwrap_or("/");
    command
        .current_dir(folder)
        .args(line.split(' '))
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn theirs(name: &str, line: &str) -> Output {
    let program = oracle::root().join("usr/bin").join(name);
    run(oracle::python().arg(program), name, line)
}

fn ours(name: &str, line: &str) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_portcullis")).arg0(name), name, line)
}

/// Whether the client's last word is that nothing came of the command line.
fn never_began(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .ends_with("Init of command line failed")
}

/// Standard output as text.
fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Compares one command line; where the words are our own, their beginning.
fn compare(name: &str, line: &str, own_words: bool, count: &mut Count) {
    let (ours, theirs) = (ours(name, line), theirs(name, line));
    let told = || format!("{name} {line}\n{}", String::from_utf8_lossy(&ours.stderr));
    let codes = (ours.status.code(), theirs.status.code());
    let began = (never_began(&ours), never_began(&theirs));
    count.compare(&(codes.0, began.0), &(codes.1, began.1), told);
    let cut = |text: String| match text.strip_prefix("ERROR: ") {
        _ if !own_words => text,
        Some(_) => "ERROR: ".to_owned(),
        None => text.lines().next().unwrap_or_default().to_owned(),
    };
    let (ours, theirs) = (cut(printed(&ours)), cut(printed(&theirs)));
    let lines = ours.lines().zip(theirs.lines());
    let first = lines.into_iter().find(|(ours, theirs)| ours != theirs);
    count.compare(&(ours == theirs, first), &(true, None), || {
        format!("what {name} {line} prints")
    });
}

#[test]
fn command_lines() {
    let mut oracle = Oracle::start("configuration");
    let good = stock(&mut oracle);
    let names = jails(&good);
    enable(&good, names.iter().map(String::as_str));
    good.write("jail.d/logs.local", "[DEFAULT]\nbackend = systemd\n");
    for jail in &names {
        good.write(
            &format!("jail.d/{jail}.local"),
            format!("[{jail}]\nbackend = systemd\n"),
        );
    }
    let [bad, fault, early] = [0; 3].map(|_| Folder::copy_of(&good.path(""), &mut oracle));
    bad.write("jail.d/zz.local", "[sshd]\nfilter = nothing\n");
    fault.write("filter.d/sshd.local", "[Definition]\nwords\n");
    early.write(
        "fail2ban.local",
        "# words\n[Definition]\nloglevel = INFO\nwords\n  more\nother words",
    );
    // What is longer than a line is printed in pieces, and names that begin with a dot stand for files nearby.
    let long = "a 'quoted' word and \"another\" \\n é ".repeat(40);
    let many = "\n  printf one more line".repeat(60);
    good.write("filter.d/near.conf", "[Definition]\nfailregex = ^<HOST> near\n");
    good.write(
        "action.d/long.conf",
        format!(
            "[Definition]\nactionban = {long}{many}\nactionunban = {}\n",
            "y".repeat(1500)
        ),
    );
    good.write(
        "jail.d/near.local",
        "[near]\nenabled = true\nfilter = ./filter.d/near\naction = long\n",
    );
    let mut count = Count::of("command lines of fail2ban-client and fail2ban-server");
    for name in ["fail2ban-client", "fail2ban-server"] {
        // The two share their command line, so every third is enough for the other.
        let step = if name == "fail2ban-client" { 1 } else { 3 };
        for pattern in SAME.iter().chain(OWN_WORDS).step_by(step) {
            let places = [("DIR", &good), ("BAD", &bad), ("FAULT", &fault), ("EARLY", &early)];
            let line = places.iter().fold((*pattern).to_owned(), |line, (word, folder)| {
                line.replace(word, &folder.base())
            });
            compare(name, &line, OWN_WORDS.contains(pattern), &mut count);
        }
    }
    count.close(90);
}
