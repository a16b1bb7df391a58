//! The man page of the configuration's files. Names, kinds and values without an option come from the tables that the
//! files are read by; a test holds the meanings against the same tables.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use portcullis_core::config::catalogue::{Entry, Place, Takes, catalogue};

/// The file of the page; Fail2Ban's name of it is `jail.conf.5`.
pub(super) const NAME: &str = "portcullis-jail.conf.5";

/// An option, or another name, and what it means.
type Meaning = (&'static str, &'static str);

const FILES: [Meaning; 5] = [
    (
        "fail2ban.conf",
        "options of the server itself, in the section [Definition] or in [DEFAULT]",
    ),
    (
        "jail.conf",
        "the jails: a section each, with what holds for all of them in [DEFAULT]. A jail is a filter, the logs it reads, \
         and the actions that ban",
    ),
    (
        "jail.local, jail.d/*.local",
        "what you change or add; an upgrade never touches it",
    ),
    (
        "filter.d/NAME.conf",
        "a filter: the patterns of lines that are failures",
    ),
    ("action.d/NAME.conf", "an action: the commands that ban and free"),
];

/// What is the same in all files, a paragraph each.
const SYNTAX: [&str; 7] = [
    "Each name N is read from N.conf, N.d/*.conf, N.local and N.d/*.local, those of a folder in the order of their names. \
     What is read later takes the place of what was read before, option by option.",
    "The section [INCLUDES] names further files, one in a line, relative to the file that it stands in: those of `before` \
     are read before the file, those of `after` behind it. With each comes the file of the same name that ends with \
     .local, if there is one. One that is not there is passed over.",
    "An option is `name = value` or `name: value`, its name in small or capital letters. The same option or the same \
     section twice in one file is an error. A line that is indented more than the option goes on with its value. A line \
     that begins with # or ; is a comment; so is what follows a ; behind a blank, but not what follows a #.",
    "%(name)s stands for another option of the same section, else of [DEFAULT]; %(section/name)s for one of another \
     section; %(known/name)s for what an earlier file, or the filter, gave to the option; %(__name__)s for the name of \
     the section. %% is a percent sign.",
    "In filters and actions <name> stands for another option of the file or for a parameter of the jail. What is not known \
     by then, such as <ip>, is left for the moment of the ban.",
    "A filter, an action or a backend takes parameters in brackets: name[option=value, option=\"a value with , or ]\"].",
    "A time is a number of seconds, or numbers with units that are added up: s, m, h, d, w, mo (a twelfth of a year), \
     y (365.25 days), as in 1d 12h. -1 is for ever where that makes sense. A truth is 1, on, true or yes; anything else \
     is false.",
];

const SERVER: [Meaning; 9] = [
    (
        "loglevel",
        "how much is logged: CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, or a number",
    ),
    ("logtarget", "where to: a file, STDOUT, STDERR, SYSLOG, SYSTEMD-JOURNAL"),
    ("syslogsocket", "the socket of SYSLOG"),
    ("allowipv6", "whether IPv6 is looked up and banned: auto, or a truth"),
    (
        "dbfile",
        "the database of bans and of positions in logs; None is without one",
    ),
    (
        "dbmaxmatches",
        "how many log lines of a ban are kept in the database; 10 if not set, 0 keeps none",
    ),
    ("dbpurgeage", "how long a ban that is over is kept, as a time"),
    ("socket", "where clients ask the server"),
    ("pidfile", "where the server writes the number of its process"),
];

const JAIL: [Meaning; 37] = [
    ("enabled", "whether the jail is on"),
    (
        "backend",
        "where lines come from: auto (the files of logpath, or the journal where there are none), systemd (the journal), \
         polling or pyinotify (the files), command (the output of logcommand)",
    ),
    ("maxretry", "so many failures of one address within findtime are a ban"),
    ("maxmatches", "how many log lines of an address are kept; 0 keeps none"),
    (
        "findtime",
        "the time within which failures count, in seconds or as a time",
    ),
    (
        "bantime",
        "how long a ban lasts, in seconds or as a time; -1 is for ever",
    ),
    (
        "bantime.increment",
        "whether those who come back are banned for longer; it takes a database",
    ),
    ("bantime.factor", "what the longer ban is multiplied by"),
    (
        "bantime.formula",
        "how the longer ban is reckoned from ban.Time and ban.Count, in Fail2Ban's way of writing it",
    ),
    (
        "bantime.multipliers",
        "numbers, one for each ban of the address, that bantime is multiplied by; the last one goes on. They win over the formula",
    ),
    ("bantime.maxtime", "what a longer ban lasts at most, as a time"),
    (
        "bantime.rndtime",
        "up to so much is added to a longer ban by chance, as a time",
    ),
    (
        "bantime.overalljails",
        "whether bans of other jails count when those who come back are known",
    ),
    (
        "prefix.ipv4",
        "ours: the network, 24 to 32 bits, under which an IPv4 address is counted and banned",
    ),
    ("prefix.ipv6", "ours: the same for IPv6, 48 to 128 bits"),
    (
        "prefix.widen",
        "ours: so many bans in one wider network ban the whole of it; 0 is off",
    ),
    ("prefix.widen.ipv4", "ours: that network, in bits"),
    ("prefix.widen.ipv6", "ours: the same for IPv6"),
    (
        "ignorecommand",
        "a command that is asked about an address: one that ends with 0 spares it",
    ),
    ("ignoreself", "whether this machine's own addresses are spared"),
    (
        "ignoreip",
        "addresses, networks and names that are never banned, blanks or commas between them; file:PATH reads a list",
    ),
    (
        "ignorecache",
        "how long answers of ignorecommand hold: key=\"<ip>\", max-count=100, max-time=5m",
    ),
    ("filter", "the filter, with its parameters"),
    ("logtimezone", "the zone of times that name none, such as UTC+01:00"),
    ("logencoding", "the encoding of the log; auto is this system's"),
    (
        "logpath",
        "the log files, one in a line; * and ? may stand for names. The word head or tail behind a blank says where \
         reading begins. /dev/stdin is the standard input of the daemon",
    ),
    (
        "logcommand",
        "programs, one in a line for /bin/sh, whose output is the log instead of logpath; one that ends is started \
         again",
    ),
    (
        "skip_if_nologs",
        "whether a jail without any log file is left out rather than an error",
    ),
    (
        "systemd_if_nologs",
        "whether backend = auto reads the journal where there is no log file",
    ),
    ("action", "the actions, with their parameters, blanks between them"),
    (
        "usedns",
        "names in place of addresses: yes looks them up, warn does and says so, no passes them over, raw takes the name",
    ),
    (
        "prefregex",
        "what a line must match first; <F-CONTENT> of it is what the other patterns see",
    ),
    (
        "ignoreregex",
        "patterns, one in a line, of lines that are no failure although they look like one",
    ),
    (
        "failregex",
        "patterns, one in a line, of failures; <HOST> or <ADDR> stands where the address is",
    ),
    ("maxlines", "how many lines are looked at together"),
    (
        "datepattern",
        "how times are written, as strptime(3) does, one in a line",
    ),
    (
        "journalmatch",
        "entries of the journal that are read, as words FIELD=VALUE with + between alternatives",
    ),
];

const FILTER: [Meaning; 7] = [
    ("usedns", "as in a jail"),
    ("prefregex", "as in a jail"),
    ("ignoreregex", "as in a jail"),
    (
        "failregex",
        "as in a jail; %(known/failregex)s in a jail are the filter's own",
    ),
    ("maxlines", "as in a jail"),
    ("datepattern", "as in a jail"),
    ("journalmatch", "as in a jail"),
];

const ACTION: [Meaning; 13] = [
    ("actionstart", "before the first ban, or when the jail starts"),
    (
        "actionstart_on_demand",
        "whether actionstart waits for the first ban; it does where something is written for one family of addresses alone",
    ),
    ("actionstop", "when the jail stops"),
    (
        "actionflush",
        "frees everybody at once, in place of actionunban for each",
    ),
    ("actionreload", "after a reload"),
    (
        "actioncheck",
        "after a command that failed: whether what actionstart made is still there",
    ),
    ("actionrepair", "mends it, in place of actionstop and actionstart"),
    (
        "actionrepair_on_unban",
        "whether it is mended also when an unban failed",
    ),
    ("actionban", "bans <ip>"),
    ("actionprolong", "tells of a ban that lasts longer than was said"),
    ("actionreban", "bans again after a repair; actionban if not set"),
    ("actionunban", "frees <ip>"),
    ("norestored", "whether bans from the database are kept from this action"),
];

/// The parts of the page about options: title, what it says first, the place, the meanings.
const PARTS: [(&str, &str, Place, &[Meaning]); 4] = [
    (
        "OPTIONS OF JAILS",
        "In the section of a jail, or in [DEFAULT] for all of them. Any other option means nothing by itself and is there \
         for %(name)s, as port and banaction are. Options of a filter that stand in a jail win over the filter's.",
        Place::Jail,
        &JAIL,
    ),
    (
        "OPTIONS OF THE SERVER",
        "In fail2ban.conf. Options of the command line win over them.",
        Place::Server,
        &SERVER,
    ),
    (
        "OPTIONS OF FILTERS",
        "In [Definition] or [Init] of a filter. A parameter of the jail wins over [Init], and [Init] over [Definition].",
        Place::Filter,
        &FILTER,
    ),
    (
        "OPTIONS OF ACTIONS",
        "Commands of the shell in [Definition] of an action, and when they run. What [Init] and the parameters give is a \
         tag; timeout there is the time that a command may take, 60 seconds if not set. An option with ?family=inet6 \
         behind its name is for IPv6 alone.",
        Place::Action,
        &ACTION,
    ),
];

/// The page.
pub(super) fn page() -> Roff {
    let mut page = Roff::new();
    let source = format!("portcullis {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["jail.conf", "5", "", &source, ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("jail.conf, fail2ban.conf - what portcullis bans, and how")]);
    section(
        &mut page,
        "DESCRIPTION",
        "Below /etc/fail2ban, or the folder that -c names; the same files as Fail2Ban's:",
    );
    for (name, meaning) in FILES {
        entry(&mut page, [bold(name)], meaning);
    }
    page.control("PP", []);
    page.text([roman(
        "Where there is no jail.conf, the stock of the program stands below what is there (portcullis stock). \
         portcullis check reads everything as the service would and names what is wrong, with file and line.",
    )]);
    page.control("SH", ["READING"]);
    for paragraph in SYNTAX {
        page.control("PP", []);
        page.text([roman(paragraph)]);
    }
    for (title, first, place, meanings) in PARTS {
        section(&mut page, title, first);
        for known in catalogue(place) {
            option(&mut page, &known, meanings);
        }
    }
    example(&mut page);
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(
        "portcullis(1), portcullis-check(1), portcullis-reload(1), fail2ban-client(1), fail2ban-regex(1)",
    )]);
    page
}

fn section(page: &mut Roff, title: &str, first: &str) {
    page.control("SH", [title]);
    page.text([roman(first)]);
}

fn entry<const MANY: usize>(page: &mut Roff, names: [Inline; MANY], meaning: &str) {
    page.control("TP", []);
    page.text(names);
    page.text([roman(meaning)]);
}

fn option(page: &mut Roff, known: &Entry, meanings: &[Meaning]) {
    let meaning = meanings.iter().find(|(name, _)| *name == known.name);
    let (_, meaning) = meaning.copied().unwrap_or_default();
    let takes = match known.takes {
        Takes::Text => "",
        Takes::Number => " number",
        Takes::Truth => " truth",
    };
    let unset = known
        .unset
        .as_ref()
        .map_or(String::new(), |unset| format!(" (not set: {unset})"));
    entry(page, [bold(known.name), italic(takes), roman(unset)], meaning);
}

fn example(page: &mut Roff) {
    section(page, "EXAMPLE", "/etc/fail2ban/jail.local:");
    page.control("PP", []);
    page.control("nf", []);
    page.text([roman(
        "[DEFAULT]\nbantime = 1h\n\n[dovecot]\nenabled = true\nmaxretry = 3\nlogpath = /var/log/mail.log",
    )]);
    page.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_its_meaning_and_no_other_name_has() {
        for (title, _, place, meanings) in PARTS {
            let known: Vec<&str> = catalogue(place).iter().map(|entry| entry.name).collect();
            let told: Vec<&str> = meanings.iter().map(|(name, _)| *name).collect();
            assert_eq!(told.len(), known.len(), "{title}");
            for name in known {
                assert!(told.contains(&name), "{title}: {name}");
            }
        }
    }

    #[test]
    fn what_an_option_takes_and_what_holds_without_it() {
        let text = page().to_roff();
        for part in [
            "maxretry\\fR\\fI number\\fR (not set: 3)",
            "enabled\\fR\\fI truth\\fR (not set: false)",
            "bantime\\fR\\fI\\fR (not set: 600)",
            "dbpurgeage\\fR\\fI\\fR (not set: 1d)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
