use portcullis_core::address::Id;
use portcullis_core::config::MemoryTree;

use super::*;

const LINE: &str = "2026-11-22 10:00:00 d[7]: login of root from 192.0.2.1";

/// Runs with the stock and a few files; the time that it took is cut out.
fn output(options: Options) -> (bool, String) {
    let mut tree = MemoryTree::default();
    for (name, text) in crate::stock::files() {
        tree.0.insert(format!("/e/{name}"), text.as_bytes().to_vec());
    }
    let door = "[Definition]\nprefregex = ^ d\\[<F-MLFID>\\d+</F-MLFID>\\]: <F-CONTENT>.+</F-CONTENT>$\n\
                failregex = ^login of <F-USER>\\S+</F-USER> from <HOST>$\n ^<F-NOFAIL>hello</F-NOFAIL> <ADDR>$\n\
                ignoreregex = from 198\\.51\\.100\\.\nmode = loose\n";
    tree.0
        .insert("/e/filter.d/door.conf".to_owned(), door.as_bytes().to_vec());
    let mut out = Vec::new();
    let mut screen = Screen::new(&mut out, false);
    let found = |name: &str| match name {
        "two.example.com" => ["192.0.2.7", "2001:db8::7"]
            .iter()
            .filter_map(|ip| Id::parse(ip).ok())
            .map(Identity::Known)
            .collect(),
        _ => Vec::new(),
    };
    let trial = Trial {
        options: &options,
        zone: TimeZone::UTC,
        look_up: found,
    };
    let good = trial.run(&tree, &mut screen).unwrap() == 0;
    let text = String::from_utf8(out).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("[processed in "));
    (good, lines.map(|line| format!("{line}\n")).collect())
}

fn options(inputs: &[&str]) -> Options {
    Options {
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        config: "/e".to_owned(),
        encoding: "UTF-8".to_owned(),
        log_level: "critical".to_owned(),
        ..Options::default()
    }
}

fn out(inputs: &[&str], token: &str) -> String {
    let (good, text) = output(Options {
        out: Some(token.to_owned()),
        ..options(inputs)
    });
    assert!(good, "{text}");
    text
}

#[test]
fn one_line_and_one_regex_whole() {
    let (good, text) = output(options(&[LINE, "from <HOST>$"]));
    let expect = "
Running tests
=============

Use   failregex line : from <HOST>$
Use      single line : 2026-11-22 10:00:00 d[7]: login of root from 192.0...


Results
=======

Failregex: 1 total
|-  #) [# of hits] regular expression
|   1) [1] from <HOST>$
`-

Ignoreregex: 0 total

Date template hits:
|- [# of hits] date format
|  [1] {^LN-BEG}ExYear(?P<_sep>[-/.])Month(?P=_sep)Day(?:T|  ?)24hour:Minute:Second(?:[.,]Microseconds)?(?:\\s*Zone offset)?
`-

Lines: 1 lines, 0 ignored, 1 matched, 0 missed

";
    assert_eq!((good, text.as_str()), (true, expect));
}

#[test]
fn a_filter_counts_what_is_ignored_and_missed() {
    let log = [
        "2026-11-22 10:00:00 d[7]: login of root from 192.0.2.1",
        "2026-11-22 10:00:01 d[8]: hello 192.0.2.2",
        "2026-11-22 10:00:02 d[9]: login of bob from 198.51.100.3",
        "2026-11-22 10:00:03 e: bell  ",
    ];
    let mut asked = options(&[&log.join("\n"), "door[mode=strict]"]);
    asked.verbose = 2;
    let (good, text) = output(asked);
    assert!(good, "{text}");
    for expect in [
        "Use      filter file : door, basedir: /e\nUse   filter options : {'mode': 'strict'}\n",
        "Real  filter options : {'logtype': 'file', 'mode': 'strict'}\n",
        "Use      multi line : 4 line(s)\n|  1: ",
        "\nPrefregex: 3 total\n|  ^ d\\[(?P<mlfid>\\d+)\\]: (?P<content>.+)$\n|      {'mlfid': '7', 'content': 'login of root from 192.0.2.1'}\n",
        "\nFailregex: 2 total\n",
        "|      192.0.2.1  Sun Nov 22 10:00:00 2026\n",
        "\nIgnoreregex: 1 total\n",
        "Lines: 4 lines, 2 ignored, 1 matched, 1 missed\n\n|- Ignored line(s):\n",
        "|- Missed line(s):\n|  2026-11-22 10:00:03 e: bell\n`-\n",
    ] {
        assert!(text.contains(expect), "{expect}\n---\n{text}");
    }
}

#[test]
fn many_lines_are_counted_but_not_kept() {
    let check = |lines: usize, all: bool, expect: &str| {
        let log = vec!["bell"; lines].join("\n");
        let (_, text) = output(Options {
            print_all_missed: all,
            ..options(&[&log, "from <HOST>"])
        });
        assert!(text.contains(expect), "{lines} {all}: {text}");
    };
    check(19, false, "\n|- Missed line(s):\n|  bell\n");
    check(
        20,
        false,
        "\nMissed line(s): too many to print.  Use --print-all-missed to print all 20 lines\n",
    );
    check(20, true, "\n|- Missed line(s):\n|  bell\n");
}

#[test]
fn tokens() {
    let check = |token: &str, expect: &str| assert_eq!(out(&[LINE, "door"], token), expect, "{token}");
    check("id", "192.0.2.1\n");
    check("ip", "192.0.2.1\n");
    check("msg", &format!("{LINE}\n"));
    check(
        "row",
        "['192.0.2.1',\t1795341600.0,\t{'mlfid': '7', 'user': 'root', 'ip4': '192.0.2.1', 'users': {'root'}}],\n",
    );
    check("user", "root\n");
    check("nothing", "None\n");
    check(
        "<ip>/<family>/<ip-rev>/<F-USER>/<F-NO>/<no>/<failures>",
        "192.0.2.1/inet4/1.2.0.192./root//<no>/0\n",
    );
    check("<msg>!", &format!("{LINE}!\n"));
}

#[test]
fn whole_times_come_with_a_zone() {
    let check = |line: &str, expect: &str| assert_eq!(out(&[line, "from <HOST>"], "<time>"), expect, "{line}");
    check("2026-11-22 10:00:00 from 192.0.2.1", "1795341600.0\n");
    check("2026-11-22 10:00:00+01:00 from 192.0.2.1", "1795338000\n");
    check("1795341600.250 from 192.0.2.1", "1795341600.25\n");
}

#[test]
fn names_stand_for_their_addresses() {
    let log = "from two.example.com\nfrom none.example.com";
    assert_eq!(out(&[log, "from <HOST>"], "id"), "192.0.2.7\n2001:db8::7\n");
    let raw = Options {
        raw: true,
        out: Some("id".to_owned()),
        ..options(&[log, "from <HOST>"])
    };
    assert_eq!(output(raw).1, "two.example.com\nnone.example.com\n");
    let (_, text) = output(options(&[log, "from <HOST>"]));
    assert!(
        text.contains("Lines: 2 lines, 0 ignored, 1 matched, 1 missed"),
        "{text}"
    );
}

#[test]
fn inverted() {
    let asked = Options {
        invert: true,
        out: Some("msg".to_owned()),
        ..options(&["a\nfrom 192.0.2.1\nb", "from <HOST>"])
    };
    assert_eq!(output(asked).1, "a\nb\n");
}

#[test]
fn what_is_wrong_is_said_and_fails() {
    let check = |options: Options, expect: &str| {
        let (good, text) = output(options);
        assert!(!good && text.contains(expect), "{text}");
    };
    check(options(&[LINE, "no host"]), "ERROR: No failure-id group in 'no host'\n");
    check(
        options(&[LINE, "(<HOST>"]),
        "ERROR: Unable to compile regular expression '(",
    );
    check(
        options(&[LINE, "from <HOST>", "(x"]),
        "Use ignoreregex line : (x\nERROR: Unable to compile",
    );
    check(
        options(&[LINE, "door[mode"]),
        "Use   failregex line : door[mode\nERROR: Unable to compile",
    );
    check(
        options(&[LINE, "door[mode=x,=]"]),
        "ERROR: Wrong filter name or options",
    );
    check(
        Options {
            maxlines: -1,
            ..options(&[LINE, "<HOST>"])
        },
        "ERROR: maxlines must be integer greater than zero\n",
    );
    check(
        Options {
            timezone: Some("Europe/Berlin".into()),
            ..options(&[LINE, "<HOST>"])
        },
        "time zone: 'Europe/Berlin'\n",
    );
}

#[test]
fn what_is_not_supported_is_named() {
    let check = |options: Options, expect: &str| assert!(options.unsupported().unwrap().contains(expect), "{expect}");
    check(
        Options {
            debuggex: true,
            ..options(&[LINE, "sshd"])
        },
        "--debuggex",
    );
    assert_eq!(options(&[LINE, "sshd"]).unsupported(), None);
}

#[test]
fn levels_of_the_log() {
    let at = |level: &str| Options {
        log_level: level.to_owned(),
        ..options(&["30/Feb/2026:12:00:00 from 192.0.2.1", "from <HOST>"])
    };
    assert!(
        output(at("debug"))
            .1
            .contains("ERROR: --log-level debug is not supported yet")
    );
    assert!(output(at("no such")).1.ends_with("=============\n\n"));
    let parse = "ERROR  E: findFailure failed to parse timeText: 30/Feb/2026:12:00:00\n";
    let warn = "WARNINGW: [~jailless~] Match without a timestamp: 30/Feb/2026:12:00:00 from 192.0.2.1\n";
    for (level, error, warning) in [("critical", false, false), ("Error", true, false), ("25", true, true)] {
        let text = output(at(level)).1;
        assert_eq!((text.contains(parse), text.contains(warn)), (error, warning), "{level}");
    }
}

/// Where Fail2Ban fails at a line, the run ends.
#[test]
fn a_line_that_ends_the_run() {
    let mut asked = options(&[
        "11:00 from 192.0.2.1\n5 11:00 from 192.0.2.2\n11:00 from 192.0.2.3",
        "from <HOST>",
    ]);
    asked.datepattern = Some("(?:%d )?%H:%M".to_owned());
    let (good, text) = output(asked.clone());
    assert!(!good && text.ends_with("`-\n\n"), "{text}");
    asked.out = Some("id".to_owned());
    assert_eq!(output(asked), (false, "192.0.2.1\n".to_owned()));
}

/// The samples of the repository, with the stock: each line that must fail or must not.
#[test]
fn a_log_file_by_the_stock() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/samples");
    for (filter, least) in [("postfix", 10), ("dovecot", 10), ("sshd", 10)] {
        let log = format!("{folder}/{filter}.log");
        let ids = out(&[&log, &format!("{filter}[mode=aggressive]")], "id");
        assert!(ids.lines().count() >= least, "{filter}: {ids}");
    }
}

#[test]
fn bytes_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    std::fs::write(
        &path,
        b"# from 192.0.2.9\n\nfrom 192.0.2.1\r\n\xff from 192.0.2.2\nfrom 192.0.2.3",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    // The last line has no end yet.
    assert_eq!(
        out(&[path, "from <HOST>"], "msg"),
        "from 192.0.2.1\n\u{fffd} from 192.0.2.2\n"
    );
    let latin = Options {
        encoding: "latin-1".into(),
        out: Some("msg".into()),
        ..options(&[path, "from <HOST>"])
    };
    assert_eq!(output(latin).1, "from 192.0.2.1\n\u{ff} from 192.0.2.2\n");
    let other = Options {
        encoding: "gbk".into(),
        ..options(&[path, "from <HOST>"])
    };
    assert_eq!(
        output(other),
        (
            false,
            "\nRunning tests\n=============\n\nUse   failregex line : from <HOST>\nERROR: unknown encoding: gbk\n"
                .to_owned()
        )
    );
}

#[test]
fn a_terminal_is_not_driven_by_a_log() {
    let mut out = Vec::new();
    Screen::new(&mut out, true).line("a\u{1b}[31m\tb\u{9b}c").unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "a\\u{1b}[31m\tb\\u{9b}c\n");
}
