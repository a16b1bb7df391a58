use super::super::{MemoryTree, Request, read};
use super::*;

const ACTION: &str = "[Definition]\nactionban = ban <ip>\n";
const PLAIN: &str = "[Definition]\nfailregex = ^bad <HOST>$\n";
const MODES: &str = "[Definition]\nmode = more\n_daemon = postfix/smtpd\nre-more = ^reject <HOST>\n\
                     re-extra = ^SASL failed <HOST>\nprefregex = ^postfix/smtpd: <F-CONTENT>.*</F-CONTENT>$\n\
                     failregex = <re-<mode>>\n[Init]\nmaxlines = 1\n";
const JAIL: &str = "[j]\nenabled = true\nfilter = f\naction = a\nlogpath = /l\n";

/// What is found in a folder: the reading's own complaints, made better, and the lints.
fn found(files: &[(&str, &str)], stock: &MemoryTree) -> Vec<Diagnostic> {
    let named: Vec<(String, &str)> = files.iter().map(|(name, text)| (format!("/e/{name}"), *text)).collect();
    let mut all: Vec<(&str, &str)> = named.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let mut defaults = Vec::new();
    let has = |name: &str| files.iter().any(|(file, _)| *file == name);
    for (file, text) in [
        ("jail.conf", ""),
        ("fail2ban.conf", ""),
        ("action.d/a.conf", ACTION),
        ("filter.d/f.conf", PLAIN),
        ("filter.d/postfix.conf", MODES),
    ] {
        if !has(file) {
            defaults.push((format!("/e/{file}"), text));
        }
    }
    all.extend(defaults.iter().map(|(path, text)| (path.as_str(), *text)));
    all.push(("/l", ""));
    let tree = MemoryTree::new(&all);
    let outcome = read(&tree, &Request::new("/e", Face::Portcullis, "1.1.0"));
    let (plan, _) = Plan::from_stream(&outcome.stream, Face::Portcullis);
    let subject = Subject {
        tree: &tree,
        base: "/e",
        outcome: &outcome,
        plan: &plan,
        stock,
    };
    let mut all = improve(outcome.diagnostics.clone());
    all.extend(lint(&subject));
    all
}

/// The finding of a code: its line number and column, and its mend.
fn of<'f>(code: &str, found: &'f [Diagnostic]) -> Option<(usize, usize, &'f str)> {
    let told = found.iter().find(|told| told.code == code)?;
    let place = told
        .position
        .as_ref()
        .map_or((0, 0), |position| (position.line, position.column));
    Some((place.0, place.1, told.mend.as_deref().unwrap_or_default()))
}

/// A fault is found at its place with a mend that says `mend`, and is gone once mended.
fn check(code: &str, bad: (&str, &str), expect: (usize, usize, &str), mended: &str) {
    let stock = MemoryTree::default();
    let (file, text) = bad;
    let folder = |text| {
        let jail = if file == "jail.local" { text } else { JAIL };
        found(&[(file, text), ("jail.local", jail)], &stock)
    };
    let told = folder(text);
    let (line, column, mend) = of(code, &told).unwrap_or_else(|| panic!("{code} is not found: {told:#?}"));
    assert_eq!((line, column), (expect.0, expect.1), "{code}");
    assert!(mend.contains(expect.2), "{code}: {mend}");
    let told = folder(mended);
    assert_eq!(of(code, &told), None, "{code} in {mended}");
}

#[test]
fn jail_options() {
    let jail = |more: &str| format!("{JAIL}{more}\n");
    for (code, bad, expect, mended) in [
        ("odd-truth", "enabled = ture", (7, 11, "true or false"), ""),
        (
            "inline-comment",
            "bantime = 1h # long",
            (6, 14, "line of its own"),
            "bantime = 1h",
        ),
        (
            "inline-comment",
            "port = smtp # mail",
            (6, 13, "line of its own"),
            "port = smtp\n# mail",
        ),
        (
            "unknown-option",
            "max_retry = 3",
            (6, 1, "write maxretry"),
            "maxretry = 3",
        ),
        (
            "unknown-option",
            "find_time = 3m",
            (6, 1, "write findtime"),
            "findtime = 3m",
        ),
        (
            "unknown-option",
            "maxretries = 3",
            (6, 1, "write maxretry"),
            "maxretry = 4",
        ),
        (
            "unknown-option",
            "logpat = /x",
            (6, 1, "write logpath"),
            "logpat = /x\nport = %(logpat)s",
        ),
        (
            "unknown-option",
            "ignoreregx = x",
            (6, 1, "write ignoreregex"),
            "ignoreregex = x",
        ),
        ("mode-without-effect", "mode = extra", (6, 1, "take the line out"), ""),
    ] {
        let bad = if code == "odd-truth" {
            format!("{JAIL}[k]\n{bad}\n")
        } else {
            jail(bad)
        };
        check(code, ("jail.local", &bad), expect, &jail(mended));
    }
}

#[test]
fn a_list_of_actions_may_wait_to_be_chosen() {
    let told = |name: &str| {
        let jail = format!("[DEFAULT]\n{name} = a\n\n{JAIL}");
        found(&[("jail.local", &jail)], &MemoryTree::default())
    };
    assert_eq!(of("unknown-option", &told("action_")), None);
    assert!(of("unknown-option", &told("max_retry")).is_some());
}

#[test]
fn a_mode_reaches_the_filter_only_if_it_is_passed_on() {
    let jail = |filter: &str, mode: &str| {
        format!("[j]\nenabled = true\naction = a\nlogpath = /l\nmode = {mode}\nfilter = {filter}\n")
    };
    let bad = jail("postfix", "extra");
    let good = jail("postfix[mode=%(mode)s]", "extra");
    check(
        "mode-without-effect",
        ("jail.local", &bad),
        (5, 1, "postfix[mode=%(mode)s]"),
        &good,
    );
    check(
        "mode-without-effect",
        ("jail.local", &bad),
        (5, 1, ""),
        &jail("postfix", "more"),
    );
    check(
        "misses-logins",
        ("jail.local", &bad),
        (6, 1, "postfix[mode=extra]"),
        &good,
    );
    // The filter written over a jail of another file is what is to be mended.
    let stock = MemoryTree::default();
    let told = found(
        &[
            ("jail.conf", "[j]\nmode = extra\nfilter = postfix[mode=%(mode)s]\n"),
            (
                "jail.local",
                "[j]\nenabled = true\nfilter = postfix\naction = a\nlogpath = /l\n",
            ),
        ],
        &stock,
    );
    assert_eq!(of("mode-without-effect", &told).map(|(line, ..)| line), Some(3));
}

#[test]
fn chosen_modes_are_left_alone() {
    let severity = |jails: &str| {
        let told = found(&[("jail.local", jails)], &MemoryTree::default());
        told.iter()
            .find(|told| told.code == "misses-logins")
            .map(|told| told.severity)
    };
    let jail = |name: &str, mode: &str| {
        format!("[{name}]\nenabled = true\naction = a\nlogpath = /l\nfilter = postfix[mode={mode}]\n")
    };
    assert_eq!(severity(&jail("j", "more")), Some(Severity::Note));
    assert_eq!(severity(&jail("j", "rbl")), None);
    assert_eq!(
        severity(&(jail("j", "more") + &jail("k", "extra"))),
        None,
        "another jail sees them"
    );
}

#[test]
fn filters() {
    let stray = "[Definition]\nfailregex = ^bad <HOST>$\n[Init]\nfailregex = worse <HOST>\n";
    check(
        "list-in-init",
        ("filter.d/f.conf", stray),
        (4, 1, "%(known/failregex)s"),
        PLAIN,
    );
    let comment = "[Definition]\nfailregex = ^bad <HOST>$ # the bad\n";
    check(
        "inline-comment",
        ("filter.d/f.conf", comment),
        (2, 26, "line of its own"),
        PLAIN,
    );
    let typo = "[Definition]\nfailregex = ^bad <HOST>$\nignoreregx = ^good\n";
    check(
        "unknown-option",
        ("filter.d/f.conf", typo),
        (3, 1, "write ignoreregex"),
        PLAIN,
    );
    let cut = |regex: &str| {
        format!(
            "[Definition]\n_daemon = thingd\nprefregex = ^thingd: <F-CONTENT>.*</F-CONTENT>$\nfailregex = ^fine <HOST>\n            {regex}\n"
        )
    };
    let good = cut("^bad thingd <HOST>");
    for (bad, column) in [
        ("^thingd.*: bad <HOST>", 14),
        ("thingd/sub.*: bad <HOST>", 13),
        (r"\S+ thingd\[\d+\]: bad <HOST>", 17),
    ] {
        check(
            "never-matches",
            ("filter.d/f.conf", &cut(bad)),
            (5, column, "only the message"),
            &good,
        );
    }
    let common = |regex: &str| {
        format!(
            "[DEFAULT]\n__prefix_line = x:\n[Definition]\nprefregex = ^%(__prefix_line)s<F-CONTENT>.*</F-CONTENT>$\nfailregex = {regex}\n"
        )
    };
    let bad = common("^%(__prefix_line)sbad <HOST>");
    check(
        "never-matches",
        ("filter.d/f.conf", &bad),
        (5, 14, "only the message"),
        &common("^bad <HOST>"),
    );
}

/// The line that people add to the postfix filter to ban connections that break off.
#[test]
fn a_line_added_to_a_filter() {
    const LINE: &str = r"failregex = postfix/smtpd.*: lost connection after UNKNOWN from \S+\[\S+\]";
    const SHOWN: &str = r": ^lost connection after UNKNOWN from \S+\[<HOST>\]";
    let jail = "[j]\nenabled = true\nfilter = postfix\naction = a\nlogpath = /l\n";
    let with = |filter: &str| {
        found(
            &[("filter.d/postfix.conf", filter), ("jail.local", jail)],
            &MemoryTree::default(),
        )
    };
    let told = with(&format!("{MODES}{LINE}\n"));
    for code in ["no-failure-id", "list-in-init"] {
        let (line, _, mend) = of(code, &told).unwrap();
        assert_eq!(line, 10, "{code}");
        assert!(mend.contains(SHOWN), "{mend}");
    }
    assert!(
        of("list-in-init", &told)
            .unwrap()
            .2
            .contains("postfix[mode=aggressive]")
    );
    let told = with(&MODES.replace("[Init]", &format!("{LINE}\n[Init]")));
    let (line, _, mend) = of("duplicate-option", &told).unwrap();
    assert_eq!(line, 8);
    assert!(
        mend.contains("filter.d/postfix.local") && mend.contains(SHOWN) && mend.contains("mode=aggressive"),
        "{mend}"
    );
    let told = with(&format!("[Definition]\n{LINE}\n"));
    assert!(of("no-failure-id", &told).unwrap().2.contains(SHOWN));
}

#[test]
fn a_file_in_place_of_the_stock() {
    let stock = MemoryTree::new(&[
        ("jail.conf", ""),
        (
            "filter.d/f.conf",
            "[Definition]\nfailregex = ^bad <HOST>$\n            ^worse <HOST>$\n",
        ),
    ]);
    let told = |filter: &str, jails: &str| {
        let files = [("filter.d/f.conf", filter), ("jail.local", JAIL), ("jail.conf", jails)];
        of("shadows-stock", &found(&files, &stock)).is_some()
    };
    assert!(told(PLAIN, ""));
    assert!(!told(&format!("{PLAIN}            ^worst <HOST>\n"), ""));
    assert!(
        !told(PLAIN, "[DEFAULT]\nport = 1\n"),
        "with a jail.conf of one's own there is no stock"
    );
}

#[test]
fn actions() {
    let action = |ban: &str| format!("[Definition]\nactionban = {ban}\n");
    let loose = action("cd /tmp\n            mail <matches>");
    let good = action("mail \"<matches>\" <ip>");
    check(
        "loose-tag",
        ("action.d/a.conf", &loose),
        (3, 18, "\"<matches>\""),
        &good,
    );
    check(
        "address-slip",
        ("action.d/a.conf", &action("ban %(banip)s")),
        (2, 17, "write <ip>"),
        ACTION,
    );
}

#[test]
fn jails_together() {
    let twin = JAIL.replace("[j]", "[k]");
    let other = twin.replace("filter = f", "filter = f\nmaxretry = 9");
    check(
        "same-watch",
        ("jail.local", &format!("{JAIL}{twin}")),
        (10, 1, "keep one"),
        &format!("{JAIL}{other}"),
    );
    check(
        "no-jail-enabled",
        ("jail.local", "[sshd]\nfilter = f\n"),
        (0, 0, "[sshd]"),
        JAIL,
    );
    check(
        "no-action",
        ("jail.local", "[j]\nenabled = true\nfilter = f\nlogpath = /l\n"),
        (0, 0, "banaction"),
        JAIL,
    );
    let lost = JAIL.replace("/l", "/var/log/none");
    check(
        "no-log-file",
        ("jail.local", &lost),
        (5, 1, "picked up when it appears"),
        JAIL,
    );
}
