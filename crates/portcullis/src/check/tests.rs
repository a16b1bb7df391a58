use annotate_snippets::Renderer;
use portcullis_core::config::{Layered, MemoryTree, Scope};
use portcullis_core::diagnostic::{Diagnostic, Position, Severity};

use super::{Report, look, render};
use crate::folder;

const ACTION: &str = "[Definition]\nactionban = ban <ip>\n";
const FILTER: &str = "[Definition]\nfailregex = ^bad <HOST>$\n";

/// Checks one jail with these further options, over a filter and an action of its own.
fn jail(options: &str, filter: &str, action: &str) -> Report {
    let jails = format!("[j]\nenabled = true\nfilter = f\naction = a\nlogpath = /l\n{options}\n");
    let tree = MemoryTree::new(&[
        ("/e/fail2ban.conf", "[Definition]\ndbfile = :memory:\n"),
        ("/e/jail.conf", &jails),
        ("/e/filter.d/f.conf", filter),
        ("/e/action.d/a.conf", action),
        ("/l", ""),
    ]);
    look(&tree, "/e", &folder::stock_tree())
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn a_clean_jail_is_clean() {
    let report = jail("port = smtp,8000:8010\nprotocol = tcp", FILTER, ACTION);
    assert_eq!((codes(&report), report.jails, report.exit()), (vec![], 1, 0));
}

#[test]
fn which_entries_of_which_journal() {
    for (options, expect) in [
        ("backend = systemd\njournalmatch = A=1", ("", 0)),
        ("backend = systemd", ("no-journalmatch", 1)),
        ("backend = systemd[journal=/x]\njournalmatch = A=1", ("bad-backend", 2)),
        ("backend = systemd\njournalmatch = _COMM", ("bad-journalmatch", 2)),
    ] {
        let report = jail(options, FILTER, ACTION);
        let expect_codes: Vec<&str> = Some(expect.0).filter(|code| !code.is_empty()).into_iter().collect();
        assert_eq!((codes(&report), report.exit()), (expect_codes, expect.1), "{options}");
    }
}

#[test]
fn the_real_parts_are_tried() {
    let native = "[Definition]\n[Init]\nlayer = nft\nport = %(port)s\n";
    let kill = "[Definition]\n[Init]\nlayer = nft\nport = 25\nkill_sessions = yes\n";
    assert_eq!(codes(&jail("", FILTER, kill)), [""; 0]);
    for (options, filter, action, expect) in [
        ("", "[Definition]\nfailregex = ^a(b <HOST>\n", ACTION, ("bad-regex", 2)),
        (
            "",
            "[Definition]\nfailregex = ^<HOST>\nignoreregex = [z-a]\n",
            ACTION,
            ("bad-regex", 2),
        ),
        ("datepattern = ^(%%Y", FILTER, ACTION, ("bad-datepattern", 2)),
        ("logencoding = gbk", FILTER, ACTION, ("not-supported", 2)),
        ("ignoreip = 10.0.0.0/255.0.255.0", FILTER, ACTION, ("bad-ignoreip", 2)),
        ("ignoreip = 192.0.2.300", FILTER, ACTION, ("odd-ignoreip", 1)),
        ("ignoreip = file:/nowhere/at/all", FILTER, ACTION, ("bad-ignoreip", 2)),
        (
            "bantime.formula = ban.Time * ban.Cnt",
            FILTER,
            ACTION,
            ("bad-command", 2),
        ),
        ("bantime.factor = 1 / 0", FILTER, ACTION, ("bad-command", 2)),
        ("bantime = 1 fortnight", FILTER, ACTION, ("bad-command", 2)),
        ("", FILTER, "[Definition]\nactionstart = x\n", ("no-actionban", 1)),
        ("", FILTER, "[Definition]\n[Init]\nlayer = ipfw\n", ("no-layer", 2)),
        (
            "",
            FILTER,
            "[Definition]\nactionban = x <ip>\n[Init]\ntimeout = soon\n",
            ("bad-command", 2),
        ),
        ("", FILTER, &native.replace("%(port)s", "70000"), ("bad-port", 2)),
        ("", FILTER, &kill.replace("yes", "yess"), ("bad-action", 2)),
        (
            "",
            FILTER,
            "[Definition]\nactionban = x <ip>\n[Init]\nfamilies = inet5\n",
            ("bad-action", 2),
        ),
    ] {
        let report = jail(options, filter, action);
        assert_eq!(
            (codes(&report), report.exit()),
            (vec![expect.0], expect.1),
            "{options} {filter} {action}"
        );
        assert!(
            report
                .findings
                .iter()
                .all(|finding| finding.jail.as_deref() == Some("j")),
            "{expect:?}"
        );
    }
}

/// What `check` finds in a folder of one jail with these options and this `fail2ban.local`, and where.
fn found_in(options: &str, server: &str) -> Vec<(&'static str, Option<(String, usize)>)> {
    let jails = format!("[j]\nenabled = true\nfilter = f\naction = a\nlogpath = /l\n{options}\n");
    let server = format!("[Definition]\n{server}\n");
    let tree = MemoryTree::new(&[
        ("/e/fail2ban.conf", "[Definition]\ndbfile = :memory:\n"),
        ("/e/fail2ban.local", &server),
        ("/e/jail.conf", &jails),
        ("/e/filter.d/f.conf", FILTER),
        (
            "/e/filter.d/two.conf",
            "[INCLUDES]\nbefore = f.conf\n nothere.conf\nafter = two.local\n[Definition]\n",
        ),
        ("/e/action.d/a.conf", ACTION),
        ("/l", ""),
    ]);
    let findings = look(&tree, "/e", &folder::stock_tree()).findings;
    let place = |at: Position| (at.file.trim_start_matches("/e/").to_owned(), at.line);
    findings
        .into_iter()
        .map(|told| (told.code, told.position.map(place)))
        .collect()
}

#[test]
fn small_slips_are_told_with_their_line() {
    for (options, expect) in [
        ("ignoreself = perhaps", ("odd-truth", "jail.conf", 6)),
        ("bantime.increment = ture", ("odd-truth", "jail.conf", 6)),
        ("ignoreip = 10.0.0.0/99", ("odd-ignoreip", "jail.conf", 6)),
        (
            "ignoreip = 192.0.2.1\n 2001:db8::/129",
            ("odd-ignoreip", "jail.conf", 6),
        ),
        ("usedns = perhaps", ("bad-usedns", "jail.conf", 6)),
        ("logtimezone = Mars/Olympus", ("bad-datepattern", "jail.conf", 6)),
        ("filter = two", ("missing-include", "filter.d/two.conf", 3)),
        ("[INCLUDES]\nafter = nothere.conf", ("missing-include", "jail.conf", 7)),
    ] {
        let options = options.replace(
            "filter = two",
            "[x]\nenabled = true\naction = a\nlogpath = /l\nmaxretry = 9\nfilter = two",
        );
        let (code, file, line) = expect;
        assert_eq!(
            found_in(&options, ""),
            [(code, Some((file.to_owned(), line)))],
            "{options}"
        );
    }
    for (server, code) in [
        ("dbpurgeage = 3 fortnights", "bad-command"),
        ("dbpurgage = 3d", "unknown-option"),
        ("log_level = DEBUG", "unknown-option"),
        ("allowipv6 = perhaps", "odd-truth"),
        ("logtarget = /x[format=\"%%(nothing)s\"]", "bad-logtarget"),
        ("logtarget = SYSLOG[facility=nope]", "bad-logtarget"),
    ] {
        let place = Some(("fail2ban.local".to_owned(), 2));
        assert_eq!(found_in("", server), [(code, place)], "{server}");
    }
    for (options, server) in [
        (
            "ignoreself = no\nbantime.increment =\nbantime.overalljails = %(ignoreself)s",
            "",
        ),
        (
            "ignoreip = 10.0.0.0/8 2001:db8::/128 192.0.2.1/32",
            "allowipv6 = auto\nown_words = x\nsocket = /s",
        ),
        ("[INCLUDES]\nbefore = own.local", "logtarget = SYSLOG[facility=LOCAL0]"),
        ("", "logtarget = /x[format=\"%%(message)s\"]"),
    ] {
        assert_eq!(found_in(options, server), [], "{options} {server}");
    }
}

#[test]
fn prefixes_are_checked() {
    for (options, expect) in [
        ("prefix.ipv6 = 32", ("bad-command", "jail.conf", 6)),
        ("prefix.ipv4 = /16", ("bad-command", "jail.conf", 6)),
        ("prefix.widen = 1", ("bad-command", "jail.conf", 6)),
        ("prefix_ipv6 = 64", ("unknown-option", "jail.conf", 6)),
        (
            "prefix.ipv6 = 56\nprefix.widen = 4",
            ("prefix-without-effect", "jail.conf", 7),
        ),
    ] {
        let (code, file, line) = expect;
        let place = Some((file.to_owned(), line));
        assert_eq!(found_in(options, ""), [(code, place)], "{options}");
    }
    let good = "prefix.ipv6 = 64\nprefix.ipv4 = 32\nprefix.widen = 4\nprefix.widen.ipv6 = 48";
    assert_eq!(found_in(good, ""), []);
}

#[test]
fn a_bad_regex_is_shown_where_it_is_bad() {
    let report = jail(
        "",
        "[Definition]\npre = ^long\nfailregex = %(pre)s a(b <HOST>\n",
        ACTION,
    );
    let place = report
        .findings
        .first()
        .and_then(|finding| finding.position.clone())
        .unwrap();
    assert_eq!((place.line, place.column), (3, 22));
}

/// What an action of the shell means by `port` is its own affair, unless it is the jail's.
#[test]
fn ports_of_the_shell_are_those_of_the_jail() {
    let action = |port: &str| format!("[Definition]\nactionban = x <ip>\n[Init]\nport = {port}\n");
    let told = |options: &str, port: &str| codes(&jail(options, FILTER, &action(port)));
    assert_eq!(told("port = smtpp", "smtpp"), ["bad-port"]);
    assert_eq!(told("port = smtp", "smtp"), Vec::<&str>::new());
    assert_eq!(told("port = smtp", "???"), Vec::<&str>::new());
    assert_eq!(told("", ""), Vec::<&str>::new());
}

/// A jail of two files that one line is wrong for is told of once.
#[test]
fn what_two_jails_share_is_told_once() {
    let jails = "[DEFAULT]\nenabled = true\nfilter = f\naction = a\n[j]\nlogpath = /l\n[k]\nlogpath = /m\n";
    let tree = MemoryTree::new(&[
        ("/e/fail2ban.conf", "[Definition]\ndbfile = :memory:\n"),
        ("/e/jail.conf", jails),
        ("/e/filter.d/f.conf", "[Definition]\nfailregex = ^a(b <HOST>\n"),
        ("/e/action.d/a.conf", ACTION),
        ("/l", ""),
        ("/m", ""),
    ]);
    let report = look(&tree, "/e", &folder::stock_tree());
    let told: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.code, finding.jail.as_deref()))
        .collect();
    assert_eq!(told, [("bad-regex", Some("j, k"))]);
}

/// Two mail jails with an action for gcloud, over the stock: nothing is wrong, and what is worth knowing is told once.
#[test]
fn mail_jails_over_the_stock() {
    let jails = "[postfix]\nenabled = true\nfilter = postfix\nlogpath = /l\naction = cloud\n\
                 [dovecot]\nenabled = true\nfilter = dovecot\nlogpath = /l\naction = cloud\n";
    let action = "[Definition]\nactionban = gcloud compute firewall-rules update r --add-source-ranges %(banip)s\n\
                  actionunban = gcloud compute firewall-rules update r --remove-source-ranges %(banip)s\n";
    let over = MemoryTree::new(&[
        ("/e/fail2ban.conf", "[Definition]\ndbfile = :memory:\n"),
        ("/e/jail.local", jails),
        ("/e/action.d/cloud.conf", action),
        ("/l", ""),
    ]);
    let stock = folder::stock_tree();
    let tree = Layered {
        over: &over,
        under: &stock,
        base: "/e",
        scope: Scope::Everything,
    };
    let report = look(&tree, "/e", &stock);
    assert_eq!((report.jails, report.exit()), (2, 0));
    let told: Vec<_> = report.findings.iter().map(placed).collect();
    assert_eq!(
        told,
        [
            ("address-slip", 2, 72),
            ("address-slip", 3, 77),
            ("gcloud-native", 2, 52)
        ]
    );
    let native = report.findings.last().unwrap();
    assert_eq!(native.jail.as_deref(), Some("postfix, dovecot"));
    assert!(
        native.message.contains("done by portcullis itself in the rule r"),
        "{native}"
    );
    assert!(
        native
            .mend
            .as_deref()
            .unwrap_or_default()
            .contains("gcp-firewall[rule=r]")
    );
}

/// Code, line and column.
fn placed(finding: &Diagnostic) -> (&'static str, usize, usize) {
    let place = finding.position.as_ref();
    place.map_or((finding.code, 0, 0), |place| (finding.code, place.line, place.column))
}

#[test]
fn gcloud_commands() {
    let update = |rest: &str| format!("gcloud compute firewall-rules update r {rest}");
    let both = |more: &str| {
        let [ban, unban] = ["add", "remove"].map(|verb| update(&format!("--{verb}-source-ranges <ip>{more}")));
        format!("[Definition]\nactionban = {ban}\nactionunban = {unban}\n")
    };
    let single = update("--source-ranges <ip>");
    let removes = update("--remove-source-ranges <ip>");
    let all = update("--source-ranges \"$all\"");
    for (action, expect, parts) in [
        (both(""), ("gcloud-native", 2, 52), &["done by portcullis itself"][..]),
        (
            format!("[Definition]\nactionban = {single}\nactionunban = {removes}\n"),
            ("gcloud-native", 2, 52),
            &[
                "would replace the whole list of the rule r",
                "write --add-source-ranges <ip>",
            ],
        ),
        (
            both(" --account=x"),
            ("gcloud-flag", 2, 52),
            &[
                "--account changes who acts",
                "no flag --add-source-ranges",
                "nobody is banned",
                "gcp-firewall[rule",
            ],
        ),
        (
            format!("{}[Init]\nnative = no\n", both("")),
            ("gcloud-flag", 2, 52),
            &["left to the shell: native = no"],
        ),
        (
            format!(
                "[Definition]\nactionban =\n sleep 1\n {}\n",
                update("--add-source-ranges <ip>")
            ),
            ("gcloud-flag", 4, 41),
            &["nobody is banned"],
        ),
        (
            format!("[Definition]\nactionban = {single}\nactionunban = {single}\n"),
            ("gcloud-flag", 2, 52),
            &["each ban lifts the one before"],
        ),
        (
            format!("[Definition]\nactionban = {all}\n"),
            ("gcloud-shell", 2, 13),
            &["left to the shell"],
        ),
    ] {
        let report = jail("", FILTER, &action);
        let finding = report.findings.first().unwrap();
        assert_eq!((report.findings.len(), placed(finding)), (1, expect), "{action}");
        for part in parts {
            assert!(finding.to_string().contains(part), "no {part} in {finding}");
        }
    }
}

#[test]
fn cloud_actions() {
    let jails =
        |action: &str| format!("[j]\nenabled = true\nfilter = f\naction = {action}\nlogpath = /l\nport = 0:65535\n");
    let told = |action: &str| {
        let jails = jails(action);
        let over = MemoryTree::new(&[
            ("/e/fail2ban.conf", "[Definition]\ndbfile = :memory:\n"),
            ("/e/jail.conf", &jails),
            ("/e/filter.d/f.conf", FILTER),
            ("/l", ""),
        ]);
        let stock = folder::stock_tree();
        // With a jail.conf, which Fail2Ban's own configuration has.
        let tree = Layered {
            over: &over,
            under: &stock,
            base: "/e",
            scope: Scope::Only(folder::OUR_ACTIONS),
        };
        look(&tree, "/e", &stock)
    };
    for action in [
        "gcp-firewall",
        "gcp-firewall[rule=block-ip, project=mail-1, local=no, max_ranges=100]",
        "gcp-firewall[name=j, port=\"smtp\", protocol=\"tcp\", chain=\"INPUT\"]",
    ] {
        let report = told(action);
        assert_eq!(codes(&report), Vec::<&str>::new(), "{action}: {:?}", report.findings);
    }
    for (action, part) in [
        ("gcp-firewall[rule=Block]", "rule = 'Block'"),
        ("gcp-firewall[local=maybe]", "local = 'maybe' is neither yes nor no"),
        ("gcp-firewall[max_range=5]", "is it max_ranges?"),
    ] {
        let report = told(action);
        assert_eq!(codes(&report), ["bad-action"], "{action}");
        assert!(
            report.findings.iter().all(|finding| finding.message.contains(part)),
            "{:?}",
            report.findings
        );
    }
}

#[test]
fn a_missing_filter_of_the_stock_is_named() {
    let report = jail(
        "[k]\nenabled = true\nfilter = sshd\naction = a\nlogpath = /l",
        FILTER,
        ACTION,
    );
    assert_eq!((codes(&report), report.jails), (vec!["missing-file"], 2));
    let mend = report.findings.first().and_then(|finding| finding.mend.as_deref());
    assert!(
        mend.is_some_and(|mend| mend.contains("portcullis stock filter.d/sshd.conf")),
        "{mend:?}"
    );
}

fn finding(code: &'static str, line: &str, column: usize) -> Diagnostic {
    let position = Position {
        file: "/e/jail.local".into(),
        line: 7,
        column,
    };
    Diagnostic::new(Severity::Warning, code, "it is odd")
        .at(position, line)
        .mend("mend it")
        .jail("j")
}

#[test]
fn findings_as_text() {
    let renderer = Renderer::plain().term_width(1000);
    let check = |finding: &Diagnostic, expect: &str| assert_eq!(render::one(&renderer, finding), expect);
    check(
        &finding("odd-truth", "enabled = ture now", 11),
        "warning[odd-truth]: [j] it is odd\n --> /e/jail.local:7:11\n  |\n7 | enabled = ture now\n  |           ^^^^\n  |\n  = help: mend it",
    );
    check(
        &finding("bad-regex", "failregex = ^a(b <HOST>", 15),
        "warning[bad-regex]: [j] it is odd\n --> /e/jail.local:7:15\n  |\n7 | failregex = ^a(b <HOST>\n  |               ^\n  |\n  = help: mend it",
    );
    check(
        &Diagnostic::new(Severity::Error, "no-jails", "no jails"),
        "error[no-jails]: no jails",
    );
}

/// Nothing of the user's files acts on a terminal, and long lines are cut around the fault.
#[test]
fn text_of_files_is_harmless() {
    let nasty = "port = \u{1b}]0;title\u{7}\u{9b}31m\u{202e}\tx\r";
    let mut told = finding("bad-port", nasty, 1);
    told.message = format!("odd {nasty}\u{1b}[2J");
    told.jail = Some("\u{1b}c".into());
    told.mend = Some("\u{8}\u{8}".into());
    let report = Report {
        findings: vec![
            told,
            finding(
                "bad-regex",
                &format!("{}!{}", "a".repeat(500_000), "b".repeat(500_000)),
                500_001,
            ),
        ],
        jails: 1,
    };
    for colours in [false, true] {
        let text = render::text(&report, colours);
        let bare = if colours {
            text.replace("\u{1b}[", "")
        } else {
            text.clone()
        };
        assert!(
            !bare.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{bare:?}"
        );
        assert!(text.len() < 2_000, "{}", text.len());
    }
    let text = render::text(&report, false);
    let shown = format!("7 | …{}!{}…\n  | {}^\n", "a".repeat(40), "b".repeat(79), " ".repeat(41));
    assert!(text.contains(&shown), "{text}");
}

#[test]
fn many_of_a_kind_are_counted() {
    let findings: Vec<Diagnostic> = (0..25).map(|_| finding("not-utf8", "x", 1)).collect();
    let text = render::text(&Report { findings, jails: 2 }, false);
    assert!(
        text.ends_with("15 more of not-utf8 in /e/jail.local (--json tells all)\n\n2 jails checked: 25 warnings\n"),
        "{text}"
    );
}

#[test]
fn the_last_line_counts() {
    let check = |severities: &[Severity], jails, expect: &str| {
        let findings = severities
            .iter()
            .map(|severity| Diagnostic::new(*severity, "x", "x"))
            .collect();
        assert_eq!(render::summary(&Report { findings, jails }), expect);
    };
    use Severity::{Error, Note, Warning};
    check(&[Warning, Error, Warning], 3, "3 jails checked: 1 error, 2 warnings");
    check(&[Note], 1, "1 jail checked: 1 note");
    check(&[], 0, "0 jails checked: nothing to mend");
}

#[test]
fn findings_as_json() {
    let report = Report {
        findings: vec![finding("bad-port", "port = x", 8)],
        jails: 1,
    };
    let value: serde_json::Value = serde_json::from_str(&render::json(&report)).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "findings": [{
                "severity": "warning", "code": "bad-port", "message": "it is odd", "file": "/e/jail.local",
                "line": 7, "column": 8, "mend": "mend it", "jail": "j",
            }],
            "summary": {"jails": 1, "errors": 0, "warnings": 1, "notes": 0},
        })
    );
}
