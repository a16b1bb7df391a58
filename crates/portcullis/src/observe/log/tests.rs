use super::shape::{MAX_MESSAGE, Shape};
use super::target::facility;
use super::*;
use std::fs;

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn target(name: &str, pairs: &[(&str, &str)]) -> Target {
    Target::read(name, &options(pairs), "auto").unwrap()
}

fn moment() -> Zoned {
    "2026-11-22T15:25:08.810999+01:00[+01:00]".parse().unwrap()
}

/// The line for a target, `PID` in place of our own number.
fn check(name: &str, pairs: &[(&str, &str)], level: Level, message: &str, expect: &str) {
    let text = target(name, pairs)
        .shape
        .line(&moment(), level, "fail2ban.actions", message);
    let pid = std::process::id().to_string();
    assert_eq!(text, expect.replace("PID", &pid), "{name} {pairs:?}");
}

#[test]
fn the_format_of_contract_8_7() {
    let (notice, ban) = (Level::Notice, "[j1] Ban 203.0.113.5");
    let full = "2026-11-22 15:25:08,810 fail2ban.actions        [PID]: NOTICE  [j1] Ban 203.0.113.5";
    for name in ["/var/log/fail2ban.log", "STDOUT", "STDERR", "stderr"] {
        check(name, &[], notice, ban, full);
    }
    check("SYSOUT", &[], notice, ban, &full[24..]);
    check(
        "SYSLOG",
        &[],
        notice,
        ban,
        "fail2ban.actions[PID]: NOTICE [j1] Ban 203.0.113.5",
    );
    check(
        "SYSLOG",
        &[("padding", "on"), ("facility", "AUTH")],
        notice,
        ban,
        &full[24..],
    );
    check("STDOUT", &[("datetime", "off")], notice, ban, &full[24..]);
    check("SYSOUT", &[("datetime", "Yes")], notice, ban, full);
    let bare = "2026-11-22 15:25:08,810 fail2ban.actions[PID]: CRITICAL gone";
    check("/log", &[("padding", "0")], Level::Critical, "gone", bare);
    for (level, name) in [
        (Level::Critical, "CRITICAL"),
        (Level::Error, "ERROR  "),
        (Level::Warning, "WARNING"),
        (Level::Info, "INFO   "),
        (Level::Msg, "MSG    "),
        (Level::Debug, "DEBUG  "),
        (Level::TraceDebug, "TRACE  "),
        (Level::HeavyDebug, "HEAVY  "),
    ] {
        check(
            "SYSOUT",
            &[],
            level,
            "x",
            &format!("fail2ban.actions        [PID]: {name} x"),
        );
    }
}

/// What Python's `%` makes of the same formats.
#[test]
fn formats_of_ones_own() {
    for (format, expect) in [
        ("%(message)s", "Ban é"),
        (
            "%(levelname)10s|%(levelname)-10s|%(name)-4.8s|",
            "    NOTICE|NOTICE    |fail2ban|",
        ),
        (
            "%(levelno)d %(levelno)04d %(levelno)-4d| %(levelno)5.3i",
            "25 0025 25  |   025",
        ),
        ("%(msecs)03d %(msecs).1f %(msecs)08.2f", "810 810.0 00810.00"),
        (
            "%(asctime).10s %(process)s 100%% %(message)7s",
            "2026-11-22 PID 100%   Ban é",
        ),
        ("%(created)d %(created).3f", "1795357508 1795357508.811"),
    ] {
        check(
            "/log",
            &[("format", format), ("padding", "no")],
            Level::Notice,
            "Ban é",
            expect,
        );
    }
    for (time, padding) in [(true, true), (true, false), (false, true), (false, false)] {
        assert_ne!(Shape::of(time, padding).line(&moment(), Level::Info, "x", "y"), "");
    }
}

#[test]
fn the_journal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let journal = UnixDatagram::bind(&path).unwrap();
    let mut wanted = target("SYSTEMD-JOURNAL", &[]);
    wanted.place = Place::Journal(path);
    let log = Log::open(wanted, 0).unwrap();
    log.write(Level::Notice, "fail2ban.actions", "[j] Ban 192.0.2.1\nPRIORITY=0");
    let mut buffer = [0; 1000];
    let count = journal.recv(&mut buffer).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&buffer[..count]),
        "SYSLOG_IDENTIFIER=fail2ban\nPRIORITY=4\nLOGGER=fail2ban.actions\nMESSAGE=[j] Ban 192.0.2.1\\x0aPRIORITY=0\n"
    );
}

#[test]
fn control_characters_are_written_out() {
    for (message, expect) in [
        ("tab\tstays, é \u{202e}日本 too", "tab\tstays, é \u{202e}日本 too"),
        ("\u{1b}[2Jgone", "\\x1b[2Jgone"),
        ("a\r\nb\0", "a\\x0d\\x0ab\\x00"),
        ("\u{7f}\u{9b}31m\u{85}", "\\x7f\\x9b31m\\x85"),
        ("\\x1b as text", "\\x1b as text"),
    ] {
        check(
            "SYSLOG",
            &[],
            Level::Info,
            message,
            &format!("fail2ban.actions[PID]: INFO {expect}"),
        );
    }
    let long = "é".repeat(MAX_MESSAGE);
    let text = target("SYSLOG", &[]).shape.line(&moment(), Level::Info, "x", &long);
    assert!(text.len() < MAX_MESSAGE + 100 && text.ends_with("é […]"));
}

#[test]
fn what_is_refused() {
    let refused =
        |name: &str, pairs: &[(&str, &str)]| Target::read(name, &options(pairs), "auto").unwrap_err().to_string();
    for format in [
        "%(lineno)d",
        "%(message)d",
        "%(levelno)x",
        "%s",
        "50%",
        "%(name",
        "%(name)9999s",
        "%(name)*s",
    ] {
        let said = refused("/x", &[("format", format)]);
        assert!(
            said.starts_with("the log's format cannot be read from \"%"),
            "{format}: {said}"
        );
    }
    assert_eq!(
        unknown_facility(&options(&[("facility", "LOCAL8")])).unwrap(),
        "Unable to set facility 'LOCAL8', using 'DAEMON'"
    );
    assert_eq!(target("SYSLOG", &[("facility", "LOCAL8")]), target("SYSLOG", &[]));
    assert_eq!(facility("local7").unwrap(), 23);
    let error = Log::open(target("/nonexistent/x.log", &[]), 0).unwrap_err().to_string();
    assert!(error.starts_with("Unable to log to \"/nonexistent/x.log\""), "{error}");
    for (text, number) in [("INFO", 20), ("notice", 25), ("HEAVYDEBUG", 5), ("18", 18)] {
        assert_eq!(Level::threshold(text).unwrap(), number);
    }
    assert!(Level::threshold("LOUD").is_err());
}

#[test]
fn a_file_is_appended_to_and_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fail2ban.log");
    let name = path.to_str().unwrap();
    let log = Log::open(target(name, &[]), 20).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    log.write(Level::Notice, "fail2ban.actions", "one");
    log.write(Level::Debug, "fail2ban.actions", "not this");
    let old = dir.path().join("fail2ban.log.1");
    fs::rename(&path, &old).unwrap();
    log.write(Level::Notice, "fail2ban.actions", "two");
    log.reopen().unwrap();
    log.set_threshold(10);
    log.write(Level::Debug, "fail2ban.actions", "three");
    let lines = |path: &Path| {
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let ends = |path: &Path| {
        lines(path)
            .iter()
            .map(|l| l.rsplit(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ends(&old), ["one", "two"]);
    assert_eq!(ends(&path), ["three"]);
    // A new target that cannot be had leaves the former one in force.
    assert!(log.retarget(target("/nonexistent/x.log", &[])).is_err());
    let record = log::Record::builder()
        .level(log::Level::Warn)
        .target("fail2ban.server")
        .args(format_args!("four"))
        .build();
    log::Log::log(&log, &record);
    assert!(lines(&path)[1].contains(" fail2ban.server         ["));
    assert!(lines(&path)[1].ends_with("]: WARNING four"));
}

#[test]
fn a_full_disk_is_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Log::open(target("/dev/full", &[]), 20).unwrap();
    for _ in 0..3 {
        log.write(Level::Info, "fail2ban.filter", "lost");
    }
    log.retarget(target(path.to_str().unwrap(), &[])).unwrap();
    log.write(Level::Info, "fail2ban.filter", "kept");
    log.write(Level::Info, "fail2ban.filter", "kept too");
    let text = fs::read_to_string(&path).unwrap();
    let ends: Vec<&str> = text.lines().filter_map(|line| line.split("]: ").nth(1)).collect();
    let told = "ERROR   3 log message(s) were lost: the log could not be written";
    assert_eq!(ends, [told, "INFO    kept", "INFO    kept too"]);
}

/// Lines that come together are the same lines, in their order, and none is lost in silence.
#[test]
fn many_lines_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(target(path.to_str().unwrap(), &[]), Level::Info.number()).unwrap();
    let line = |level, text: String| Line {
        level,
        logger: "fail2ban.actions",
        text,
    };
    let lines = (0..3000).map(|n| {
        let level = if n % 3 == 0 { Level::Debug } else { Level::Notice };
        line(level, format!("[j] Ban {n}\n"))
    });
    log.write_all(lines);
    let text = fs::read_to_string(&path).unwrap();
    let expect = (0..3000).filter(|n| n % 3 != 0);
    assert_eq!(text.lines().count(), 2000);
    for (line, n) in text.lines().zip(expect) {
        assert!(line.ends_with(&format!("NOTICE  [j] Ban {n}\\x0a")), "{line}");
    }
    let full = Log::open(target("/dev/full", &[]), Level::Info.number()).unwrap();
    full.write_all((0..50).map(|n| line(Level::Notice, n.to_string())));
    full.retarget(target(path.to_str().unwrap(), &[])).unwrap();
    full.write_all((50..52).map(|n| line(Level::Notice, n.to_string())));
    let text = fs::read_to_string(&path).unwrap();
    let last: Vec<&str> = text.lines().skip(2000).collect();
    assert!(last[0].contains("50 log message(s) were lost"), "{last:?}");
    assert!(last[1].ends_with(" 50") && last[2].ends_with(" 51"), "{last:?}");
}

#[test]
fn a_torn_line_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Log::open(target(path.to_str().unwrap(), &[]), 20).unwrap();
    fs::write(&path, "half a li").unwrap();
    log.output().torn = true;
    log.write(Level::Info, "fail2ban.filter", "next");
    log.write(Level::Info, "fail2ban.filter", "last");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((text.lines().count(), text.lines().next()), (3, Some("half a li")));
}

#[test]
fn the_system_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = path.to_str().unwrap();
    let open = |pairs: &[(&str, &str)]| Target::read("SYSLOG", &options(pairs), socket).unwrap();
    assert!(Log::open(open(&[]), 20).is_err(), "nobody listens");
    let mut listener = UnixDatagram::bind(&path).unwrap();
    let log = Log::open(open(&[]), 0).unwrap();
    let pid = std::process::id();
    let told = |listener: &UnixDatagram, level, expect: &str| {
        log.write(level, "fail2ban.jail", "é");
        let mut buffer = [0; 200];
        listener.set_nonblocking(true).unwrap();
        let length = listener.recv(&mut buffer).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&buffer[..length]),
            expect.replace("PID", &pid.to_string())
        );
    };
    told(&listener, Level::Notice, "<29>fail2ban.jail[PID]: NOTICE é\0");
    told(&listener, Level::Critical, "<26>fail2ban.jail[PID]: CRITICAL é\0");
    // The system log is restarted.
    fs::remove_file(&path).unwrap();
    listener = UnixDatagram::bind(&path).unwrap();
    told(&listener, Level::Info, "<30>fail2ban.jail[PID]: INFO é\0");
    log.retarget(open(&[("facility", "auth")])).unwrap();
    told(&listener, Level::Error, "<35>fail2ban.jail[PID]: ERROR é\0");
    // One that does not read holds nobody up.
    for _ in 0..10_000 {
        log.write(Level::Info, "fail2ban.jail", "flood");
    }
    assert!(log.output().lost > 0);
    drop(listener);
}

#[test]
fn what_libraries_say_stays_out() {
    for (logger, is_written) in [
        ("fail2ban", true),
        ("fail2ban.actions", true),
        ("portcullis::enforce::nft::mend", true),
        ("rustls::client::hs", false),
        ("reqwest::connect", false),
        ("", false),
    ] {
        assert_eq!(super::is_ours(logger), is_written, "{logger}");
    }
}
