//! The help: options, and for the client all of Fail2Ban's commands, described in our own words (contract §8.5).

use std::fmt::Write as _;

use super::Name;

/// Where descriptions begin, and the longest line.
const COLUMN: usize = 44;
const WIDTH: usize = 100;

/// The options that the client and the server share, each with what it does.
pub(crate) const OPTIONS: &[(&str, &str)] = &[
    ("-c, --conf DIR", "configuration folder [/etc/fail2ban]"),
    ("-s, --socket FILE", "socket, in place of the configuration's"),
    ("-p, --pidfile FILE", "pid file, likewise"),
    ("--pname NAME", "name of the server's main thread [fail2ban-server]"),
    (
        "--loglevel LEVEL",
        "how much the server logs, in place of the configuration's",
    ),
    (
        "--logtarget TARGET",
        "where it logs to: a file, STDOUT, STDERR, SYSLOG, SYSOUT, SYSTEMD-JOURNAL",
    ),
    ("--syslogsocket auto|FILE", "where the system log listens"),
    ("-d", "print the configuration as the commands that it comes to"),
    ("--dp, --dump-pretty", "the same, long commands over several lines"),
    ("-t, --test", "test the configuration; before a command, if one follows"),
    ("-i", "ask for commands, one after the other"),
    ("-v, -q", "say more, say less"),
    ("-x", "remove a socket that was left over before the server starts"),
    ("-b", "start the server in the background (so it is without -f)"),
    ("-f", "start the server in the foreground"),
    ("--async", "start the server alone: whoever starts it configures it"),
    (
        "--timeout TIME",
        "how long to wait for a server that starts or ends [30]",
    ),
    ("--str2sec TIME", "print how many seconds a length of time has"),
    ("-h, --help", "print this"),
    (
        "-V, --version",
        "print the version of Fail2Ban that is stood in for, short or long",
    ),
];

/// Groups of commands, each with what it does.
pub(crate) const COMMANDS: &[(&str, &[(&str, &str)])] = &[
    (
        "the server",
        &[
            ("start", "start the server and its jails"),
            ("restart", "stop the server and start it again"),
            (
                "restart [--unban] [--if-exists] <JAIL>",
                "the same as reload --restart … <JAIL>",
            ),
            (
                "reload [--restart] [--unban] [--all]",
                "read the configuration again and put it in force while the server runs; --restart stops and starts every \
                 jail, --unban frees everybody before",
            ),
            (
                "reload [--restart] [--unban] [--if-exists] <JAIL>",
                "the same for one jail; with --if-exists, a server without that jail is no error",
            ),
            ("stop", "free everybody, stop all jails and end the server"),
            ("unban --all", "lift all bans in all jails and in the database"),
            ("unban <IP> ... <IP>", "lift the bans of these addresses, likewise"),
            ("banned", "list the jails, each with whom it bans"),
            (
                "banned <IP> ... <IP>",
                "list in which jails each of these addresses is banned",
            ),
            ("status", "list the jails"),
            (
                "status --all [FLAVOR]",
                "show how each jail stands: basic, short (nobody by address), stats, or cymru (with the networks that \
                 banned addresses belong to)",
            ),
            ("statistics, stats", "show the figures of all jails in a table"),
            ("ping", "ask whether the server answers"),
            ("echo", "have the server send back what follows"),
            ("version", "print the server's version"),
        ],
    ),
    (
        "its log",
        &[
            (
                "set loglevel <LEVEL>",
                "log from this level on: CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACEDEBUG, HEAVYDEBUG or a number",
            ),
            ("get loglevel", "print that level"),
            (
                "set logtarget <TARGET>",
                "log to a file, STDOUT, STDERR, SYSLOG or SYSTEMD-JOURNAL",
            ),
            ("get logtarget", "print where the log goes"),
            (
                "set syslogsocket auto|<SOCKET>",
                "speak to the system log at this socket",
            ),
            ("get syslogsocket", "print that socket"),
            ("flushlogs", "close the log and open it again, after it was rotated"),
        ],
    ),
    (
        "its database",
        &[
            ("set dbfile <FILE>", "keep bans in this file; None keeps none"),
            ("get dbfile", "print that file"),
            ("set dbmaxmatches <INT>", "keep at most so many lines with a ban"),
            ("get dbmaxmatches", "print that number"),
            ("set dbpurgeage <SECONDS>", "forget bans that ended so long ago"),
            ("get dbpurgeage", "print that length of time"),
        ],
    ),
    (
        "jails",
        &[
            ("add <JAIL> <BACKEND>", "make a jail that reads by this backend"),
            ("start <JAIL>", "start it"),
            ("stop <JAIL>", "stop it, free whom it bans, and remove it"),
            (
                "status <JAIL> [FLAVOR]",
                "show how it stands: basic, short, stats or cymru",
            ),
        ],
    ),
    (
        "a jail's options",
        &[
            ("set <JAIL> idle on|off", "let it rest, or go on"),
            (
                "set <JAIL> ignoreself true|false",
                "spare the machine's own addresses, or not",
            ),
            ("set <JAIL> addignoreip <IP>", "spare this address, network or name"),
            ("set <JAIL> delignoreip <IP>", "spare it no longer"),
            (
                "set <JAIL> ignorecommand <VALUE>",
                "spare whom this command approves of",
            ),
            ("set <JAIL> ignorecache <VALUE>", "remember what that command said"),
            (
                "set <JAIL> addlogpath <FILE> ['tail']",
                "read this log from its head, or from its tail on",
            ),
            ("set <JAIL> dellogpath <FILE>", "read it no longer"),
            (
                "set <JAIL> logencoding <ENCODING>",
                "take the logs for text in this encoding",
            ),
            (
                "set <JAIL> addjournalmatch <MATCH>",
                "read what the journal has for this match",
            ),
            ("set <JAIL> deljournalmatch <MATCH>", "read it no longer"),
            (
                "set <JAIL> addfailregex <REGEX>",
                "count lines that match this as failures",
            ),
            ("set <JAIL> delfailregex <INDEX>", "remove such a pattern by its number"),
            ("set <JAIL> addignoreregex <REGEX>", "count no lines that match this"),
            (
                "set <JAIL> delignoreregex <INDEX>",
                "remove such a pattern by its number",
            ),
            (
                "set <JAIL> findtime <TIME>",
                "count failures of the last so many seconds",
            ),
            (
                "set <JAIL> bantime <TIME>",
                "ban for so many seconds, for ever if it is negative",
            ),
            ("set <JAIL> datepattern <PATTERN>", "read dates by this pattern"),
            (
                "set <JAIL> usedns <VALUE>",
                "whether names in a log are looked up: yes, warn, no or raw",
            ),
            (
                "set <JAIL> attempt <IP> [<FAILURE> ... <FAILURE>]",
                "count a failure of this address, with its lines",
            ),
            ("set <JAIL> banip <IP> ... <IP>", "ban these addresses"),
            (
                "set <JAIL> unbanip [--report-absent] <IP> ... <IP>",
                "lift their bans; with the option it is an error if one is not banned",
            ),
            ("set <JAIL> maxretry <RETRY>", "ban after so many failures"),
            (
                "set <JAIL> maxmatches <INT>",
                "remember at most so many lines of an address",
            ),
            ("set <JAIL> maxlines <LINES>", "let patterns span so many lines"),
            (
                "set <JAIL> addaction <ACT> [<PYTHONFILE> <JSON>]",
                "add an action, of shell commands or written in Python with these arguments",
            ),
            ("set <JAIL> delaction <ACT>", "remove an action"),
        ],
    ),
    (
        "an action's commands",
        &[
            (
                "set <JAIL> action <ACT> actionstart <CMD>",
                "what it runs when it starts",
            ),
            ("set <JAIL> action <ACT> actionstop <CMD>", "when it stops"),
            (
                "set <JAIL> action <ACT> actioncheck <CMD>",
                "to see whether it is still in force",
            ),
            ("set <JAIL> action <ACT> actionban <CMD>", "to ban"),
            ("set <JAIL> action <ACT> actionunban <CMD>", "to lift a ban"),
            (
                "set <JAIL> action <ACT> timeout <TIMEOUT>",
                "how many seconds a command may take",
            ),
        ],
    ),
    (
        "any action",
        &[
            (
                "set <JAIL> action <ACT> <PROPERTY> <VALUE>",
                "give a property another value",
            ),
            (
                "set <JAIL> action <ACT> <METHOD> [JSON]",
                "call a method with these arguments",
            ),
        ],
    ),
    (
        "what a jail has",
        &[
            ("get <JAIL> banned", "list whom it bans"),
            (
                "get <JAIL> banned <IP> ... <IP>",
                "1 for each of these that it bans, 0 for the others",
            ),
            ("get <JAIL> logpath", "the logs that it reads"),
            ("get <JAIL> logencoding", "their encoding"),
            ("get <JAIL> journalmatch", "what it reads of the journal"),
            ("get <JAIL> ignoreself", "whether it spares the machine itself"),
            ("get <JAIL> ignoreip", "whom else it spares"),
            ("get <JAIL> ignorecommand", "the command that is asked whom to spare"),
            ("get <JAIL> failregex", "the patterns of failures"),
            ("get <JAIL> ignoreregex", "the patterns that are no failures"),
            ("get <JAIL> findtime", "for how long failures count"),
            ("get <JAIL> bantime", "for how long it bans"),
            ("get <JAIL> datepattern", "by which pattern dates are read"),
            ("get <JAIL> usedns", "whether names are looked up"),
            (
                "get <JAIL> banip [SEP|--with-time]",
                "whom it bans, the first to be free first, with SEP between them [a blank], or each on a line with its \
                 times",
            ),
            ("get <JAIL> maxretry", "how many failures lead to a ban"),
            ("get <JAIL> maxmatches", "how many lines are remembered"),
            ("get <JAIL> maxlines", "how many lines a pattern may span"),
            ("get <JAIL> actions", "its actions"),
        ],
    ),
    (
        "what an action runs",
        &[
            ("get <JAIL> action <ACT> actionstart", "when it starts"),
            ("get <JAIL> action <ACT> actionstop", "when it stops"),
            (
                "get <JAIL> action <ACT> actioncheck",
                "to see whether it is still in force",
            ),
            ("get <JAIL> action <ACT> actionban", "to ban"),
            ("get <JAIL> action <ACT> actionunban", "to lift a ban"),
            ("get <JAIL> action <ACT> timeout", "how many seconds a command may take"),
        ],
    ),
    (
        "what an action has",
        &[
            ("get <JAIL> actionproperties <ACT>", "the names of its properties"),
            ("get <JAIL> actionmethods <ACT>", "the names of its methods"),
            ("get <JAIL> action <ACT> <PROPERTY>", "the value of a property"),
        ],
    ),
];

/// The whole help of a program, without the last line end.
pub(super) fn text(name: Name) -> String {
    let mut out = match name {
        Name::Client => format!("Usage: {} [OPTIONS] <COMMAND>\n", name.text()),
        Name::Server => format!("Usage: {} [OPTIONS]\n", name.text()),
    };
    out += "\nportcullis, which stands in for the program of this name of Fail2Ban.\n\nOptions:\n";
    rows(OPTIONS, &mut out);
    if name == Name::Client {
        for (title, commands) in COMMANDS {
            let _ = write!(out, "\nCommands: {title}\n");
            rows(commands, &mut out);
        }
    }
    let _ = write!(out, "\nReport bugs to {}/issues", env!("CARGO_PKG_REPOSITORY"));
    out
}

fn rows(rows: &[(&str, &str)], out: &mut String) {
    for (name, meaning) in rows {
        let mut line = format!("    {name}");
        if line.len() + 2 > COLUMN {
            let _ = writeln!(out, "{line}");
            line.clear();
        }
        line = format!("{line:<COLUMN$}");
        let mut is_fresh = true;
        for word in meaning.split_whitespace() {
            if !is_fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(out, "{line}");
                line = " ".repeat(COLUMN);
                is_fresh = true;
            }
            if !is_fresh {
                line.push(' ');
            }
            line += word;
            is_fresh = false;
        }
        let _ = writeln!(out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_there_and_no_line_is_too_long() {
        assert_eq!(COMMANDS.iter().map(|(_, commands)| commands.len()).sum::<usize>(), 96);
        let text = text(Name::Client);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!super::text(Name::Server).contains("Commands"));
    }

    /// Debian's completion for bash looks for four blanks and these brackets.
    #[test]
    fn a_shell_finds_the_commands() {
        let text = text(Name::Client);
        for begin in [
            "start <JAIL> ",
            "set <JAIL> banip ",
            "get <JAIL> action <ACT> ",
            "set dbfile ",
        ] {
            assert!(text.contains(&format!("\n    {begin}")), "{begin}");
        }
        assert!(!text.contains(" JAIL "), "{text}");
    }
}
