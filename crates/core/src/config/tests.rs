//! Folders in memory, and the streams that Fail2Ban 1.1.2.dev1 made of the same files.

use super::plan::Plan;
use super::*;

const FILTER: (&str, &str) = (
    "filter.d/f.conf",
    "[Definition]\nfailregex = ^x <HOST>$\n            ^y <HOST> %(__name__)s\nignoreregex =\n",
);
const ACTION: (&str, &str) = (
    "action.d/a.conf",
    "[Definition]\nactionban = b <ip> <name> <port>\n[Init]\nport = 1\n",
);
const REGEXES: &str = "['multi-set', 'j', 'addfailregex', ['^x <HOST>$', '^y <HOST> Definition']]";
const ADD_ACTION: &str = "['set', 'j', 'addaction', 'a']";
const ACTION_A: &str =
    "['multi-set', 'j', 'action', 'a', [['actionban', 'b <ip> j 1'], ['name', 'j'], ['actname', 'a'], ['port', '1']]]";

/// A folder with the filter and the action above, unless the files given have others.
fn folder(files: &[(&str, &str)]) -> MemoryTree {
    let server = ("fail2ban.conf", "[Definition]\nlogtarget = STDERR\n");
    let all = [server, FILTER, ACTION].into_iter().chain(files.iter().copied());
    MemoryTree(
        all.map(|(path, text)| (format!("/f/{path}"), text.as_bytes().to_vec()))
            .collect(),
    )
}

fn outcome(files: &[(&str, &str)], face: Face) -> Outcome {
    let mut request = Request::new("/f", face, "1.1.2");
    request.allow_no_files = true;
    read(&folder(files), &request)
}

/// What the jails came to, without `add`, `start` and the commands that every folder has.
fn lines(outcome: &Outcome) -> Vec<String> {
    let general = [REGEXES, ADD_ACTION, ACTION_A];
    let dump = dump(&outcome.stream);
    let is_general = |line: &&str| {
        general.contains(line)
            || ["['add'", "['start'"].iter().any(|head| line.starts_with(head))
            || line.split(',').count() == 3 && !line.starts_with("['config")
    };
    dump.lines()
        .filter(|line| !is_general(line))
        .map(str::to_owned)
        .collect()
}

fn check(files: &[(&str, &str)], expect: &[&str]) {
    let outcome = outcome(files, Face::Fail2Ban);
    assert_eq!(lines(&outcome), expect, "{:?}", outcome.diagnostics);
    assert!(outcome.usable);
}

/// Only a jail.conf with one jail, of which the body is given.
fn check_jail(body: &str, expect: &[&str]) {
    check(
        &[("jail.conf", &format!("[j]\nenabled=true\nfilter=f\naction=a\n{body}"))],
        expect,
    );
}

/// What Fail2Ban refuses as a whole, and the code of our complaint.
fn check_refused(files: &[(&str, &str)], code: &str) {
    let outcome = outcome(files, Face::Fail2Ban);
    let codes: Vec<&str> = outcome.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert!(codes.contains(&code), "{codes:?}");
    assert!(!outcome.usable && outcome.stream.is_empty());
}

#[test]
fn a_small_folder_comes_to_the_whole_stream() {
    let outcome = outcome(
        &[("jail.conf", "[j]\nenabled=true\nfilter=f\naction=a\nmaxretry=5\n")],
        Face::Fail2Ban,
    );
    let expect = [
        "['set', 'syslogsocket', 'auto']",
        "['set', 'loglevel', 'INFO']",
        "['set', 'logtarget', 'STDERR']",
        "['set', 'allowipv6', 'auto']",
        "['set', 'dbfile', '/var/lib/fail2ban/fail2ban.sqlite3']",
        "['set', 'dbpurgeage', '1d']",
        "['add', 'j', 'auto']",
        REGEXES,
        "['set', 'j', 'maxretry', 5]",
        ADD_ACTION,
        ACTION_A,
        "['start', 'j']",
    ];
    assert_eq!(dump(&outcome.stream).lines().collect::<Vec<_>>(), expect);
    let (plan, diagnostics) = Plan::from_stream(&outcome.stream, Face::Fail2Ban);
    assert!(diagnostics.is_empty());
    assert_eq!((plan.jails[0].failregex.len(), plan.jails[0].maxretry), (2, 5));
}

#[test]
fn files_lie_over_each_other_in_order() {
    let jail = (
        "jail.conf",
        "[j]\nenabled=true\nfilter=f\naction=a\nmaxretry=1\nfindtime=1\n",
    );
    let files = [
        jail,
        ("jail.d/b.conf", "[j]\nmaxretry=2\nfindtime=2\n"),
        ("jail.d/a.conf", "[j]\nfindtime=%(known/findtime)s1\n"),
        ("jail.local", "[j]\nmaxretry = 3%(known/maxretry)s\n"),
        ("jail.d/z.local", "[j]\nbantime=9\n"),
        ("jail.d/.h.conf", "[j]\nbantime=77\n"),
        ("jail.d/x.txt", "[j]\nbantime=78\n"),
    ];
    check(
        &files,
        &[
            "['set', 'j', 'maxretry', 32]",
            "['set', 'j', 'findtime', '2']",
            "['set', 'j', 'bantime', '9']",
        ],
    );
}

#[test]
fn includes() {
    let files = [
        (
            "jail.conf",
            "[INCLUDES]\nbefore = p1.conf\n         p2.conf\n nope.conf\nafter = q.conf\n[DEFAULT]\nenabled=true\n[j]\nfilter=f\naction=a\nbantime=%(k)s\n",
        ),
        ("p1.conf", "[DEFAULT]\nk=1\n"),
        ("p1.local", "[DEFAULT]\nk=%(m)s\nm=11\n"),
        ("p2.conf", "[INCLUDES]\nbefore=sub/p3.conf\n[DEFAULT]\nm=2\n"),
        (
            "sub/p3.conf",
            "[INCLUDES]\nbefore=../p1.conf\n[DEFAULT]\nm=3\nfindtime=33\n",
        ),
        (
            "q.conf",
            "[INCLUDES]\nbefore=jail.conf\n[j]\nmaxretry=%(known/x)s7\nknown/x=8\n",
        ),
    ];
    check(
        &files,
        &[
            "['set', 'j', 'maxretry', 87]",
            "['set', 'j', 'findtime', '33']",
            "['set', 'j', 'bantime', '2']",
        ],
    );
    let files = [
        (
            "jail.conf",
            "[INCLUDES]\nbefore = l1.conf\n[j]\nenabled=true\nfilter=f\naction=a\nmaxretry=1\n",
        ),
        (
            "l1.conf",
            "[INCLUDES]\nbefore=l2.conf\n[j]\nmaxretry=5\nfindtime=%(known/maxretry)s\n",
        ),
        (
            "l2.conf",
            "[INCLUDES]\nbefore=l1.conf\nafter=l1.conf\n[j]\nmaxretry=6\n",
        ),
    ];
    check(
        &files,
        &["['set', 'j', 'maxretry', 1]", "['set', 'j', 'findtime', '5']"],
    );
}

#[test]
fn percent_interpolation() {
    let jail = "[DEFAULT]\nenabled=false\na=def-a\nb=def-b,a:%(a)s\nc=def-c,b:\"%(b)s\"\nmaxretry=3\n\
        [j]\na=test-a-%(default/a)s\nb=test-b-%(known/b)s\nfilter=f\naction=a\nenabled=yes\n\
        ignorecommand=%(c)s|%(B)s|%(other/a)s|%(other/maxretry)s\n[other]\na=other %(__name__)s %(b)s\n";
    let value =
        "def-c,b:\"test-b-def-b,a:test-a-def-a\"|test-b-def-b,a:test-a-def-a|other j test-b-def-b,a:test-a-def-a|3";
    check(
        &[("jail.conf", jail)],
        &[
            "['set', 'j', 'maxretry', 3]",
            &format!("['set', 'j', 'ignorecommand', '{value}']"),
        ],
    );
    check_jail(
        "ignorecommand=%(fail2ban_version)s %(fail2ban_confpath)s %%x\n",
        &["['set', 'j', 'ignorecommand', '1.1.2 /f %x']"],
    );
    let refused = [
        ("100% sure", "interpolation-syntax"),
        ("%(x", "interpolation-syntax"),
        ("%(nope)s", "interpolation-missing"),
        ("%(Upper/a)s", "interpolation-missing"),
        ("%(ignorecommand)s", "interpolation-depth"),
    ];
    for (value, code) in refused {
        let jail = format!("[j]\nenabled=true\nfilter=f\naction=a\nignorecommand={value}\n[Upper]\na=3\n");
        check_refused(&[("jail.conf", &jail)], code);
    }
}

#[test]
fn interpolation_is_ten_levels_deep_and_bounded() {
    let chain = |count: usize| {
        let links: String = (1..count).map(|at| format!("a{at}=%(a{})s\n", at + 1)).collect();
        format!("[j]\nenabled=true\nfilter=f\naction=a\nignorecommand=%(a1)s\n{links}a{count}=%%x\n")
    };
    check(&[("jail.conf", &chain(9))], &["['set', 'j', 'ignorecommand', '%x']"]);
    check_refused(&[("jail.conf", &chain(10))], "interpolation-depth");
    let links: String = (1..9)
        .map(|at| format!("a{at}={}\n", format!("%(a{})s", at + 1).repeat(20)))
        .collect();
    for last in ["x", "%%", ""] {
        let bomb = format!("[j]\nenabled=true\nfilter=f\naction=a\nignorecommand=%(a1)s\n{links}a9={last}\n");
        check_refused(&[("jail.conf", &bomb)], "too-large");
    }
}

#[test]
fn a_filter_shows_its_values_to_the_jail() {
    let files = [
        (
            "jail.conf",
            "[j]\nenabled=true\nfilter=f[p=Q]\naction=a\nfailregex = %(known/failregex)s\n  ^z <HOST> %(known/p)s\nignorecommand=%(known/logtype)s\n",
        ),
        (
            "filter.d/f.local",
            "[Definition]\nfailregex = %(known/failregex)s\n ^loc <HOST>\n[Init]\np=1\n",
        ),
    ];
    let regexes =
        "['multi-set', 'j', 'addfailregex', ['^x <HOST>$', '^y <HOST> Definition', '^loc <HOST>', '^z <HOST> Q']]";
    check(&files, &[regexes, "['set', 'j', 'ignorecommand', 'file']"]);
    let outcome = outcome(&files, Face::Fail2Ban);
    let origin = |key: &str| {
        outcome
            .origins
            .get(&("j".to_owned(), key.to_owned()))
            .map(ToString::to_string)
    };
    assert_eq!(origin("failregex#1").as_deref(), Some("/f/filter.d/f.conf:2"));
    assert_eq!(origin("failregex#2").as_deref(), Some("/f/filter.d/f.conf:3"));
    assert_eq!(origin("failregex#3").as_deref(), Some("/f/filter.d/f.local:3"));
    assert_eq!(origin("failregex#4").as_deref(), Some("/f/jail.conf:6"));
    assert_eq!(origin("actionban@a").as_deref(), Some("/f/action.d/a.conf:2"));
    let used = &outcome.filters["j"];
    assert_eq!((used.name.as_str(), used.mode_given), ("f", false));
    assert_eq!(used.options.get("p").map(String::as_str), Some("Q"));
}

#[test]
fn filter_options_of_filter_and_jail() {
    let files = [
        (
            "jail.conf",
            "[j]\nenabled=true\nfilter=f\naction=a\nusedns=raw\nprefregex=^a\nmaxlines=3\ndatepattern=%%Y\njournalmatch=_A=1 + \"_B=2 3\"\n  _C=4\n",
        ),
        (
            "filter.d/f.local",
            "[Init]\nmaxlines=5\nusedns=no\nprefregex=^p\njournalmatch=_X=1\ndatepattern=^%%d\n",
        ),
    ];
    let expect = [
        "['set', 'j', 'usedns', 'raw']",
        "['set', 'j', 'prefregex', '^a']",
        "['set', 'j', 'maxlines', 3]",
        "['set', 'j', 'usedns', 'no']",
        "['set', 'j', 'maxlines', 5]",
        "['set', 'j', 'prefregex', '^p']",
        "['set', 'j', 'addjournalmatch', '_X=1']",
        "['set', 'j', 'datepattern', '^%d']",
        "['set', 'j', 'datepattern', '%Y']",
        "['set', 'j', 'addjournalmatch', '_A=1', '+', '_B=2 3']",
        "['set', 'j', 'addjournalmatch', '_C=4']",
    ];
    check(&files, &expect);
}

#[test]
fn tags_of_a_filter() {
    let files = [
        ("jail.conf", "[j]\nenabled=true\nfilter=g\naction=a\n"),
        (
            "filter.d/g.conf",
            "[INCLUDES]\nbefore=common.conf\nafter=g-after.local\n[DEFAULT]\n_daemon=sshd\n[Definition]\nfailregex=^%(__prefix_line)sfail <HOST> <lt_<logtype>/x> <Definition/known/x>\n",
        ),
        (
            "filter.d/common.conf",
            "[DEFAULT]\n__prefix_line=<lt_<logtype>/__prefix_line>\n[lt_file]\n__prefix_line=FILE %(_daemon)s \nx=XF\n",
        ),
        ("filter.d/common.local", "[lt_file]\nx=LOC %(known/x)s <known/x>\n"),
        (
            "filter.d/g-after.local",
            "[Definition]\nignoreregex=<lt_file/x> <default/_daemon> <nope/x>\n",
        ),
    ];
    let expect = [
        "['set', 'j', 'addignoreregex', 'LOC XF <known/x> sshd <nope/x>']",
        "['set', 'j', 'addfailregex', '^FILE sshdfail <HOST> LOC XF <known/x> <Definition/known/x>']",
    ];
    check(&files, &expect);
}

#[test]
fn actions_and_their_names() {
    let files = [
        (
            "jail.conf",
            "[j]\nenabled=true\nfilter=f\naction=fam[blocktype=DROP]\n  fam[actname=f2, name=j-x, blocktype?family=inet6=\"X6\", actionstart_on_demand=false]\n  fam[name=other]\n  x.py[a=\"ü\",actname=n]\n",
        ),
        (
            "action.d/fam.conf",
            "[Definition]\nactionban = <blocktype> <fam> <out> <name>\nactionunban=<known/out> <default/q> <matches>\n[Init]\nout=/o\nfam=four\nblocktype=B4\n[Init?family=inet6]\nfam=six\nblocktype=B6\n[DEFAULT]\nq=QQ\n",
        ),
    ];
    let expect = [
        "['set', 'j', 'addaction', 'fam']",
        "['multi-set', 'j', 'action', 'fam', [['actionban', '<blocktype> <fam> /o j'], ['actionunban', '/o QQ <matches>'], ['blocktype', 'DROP'], ['name', 'j'], ['actname', 'fam'], ['out', '/o'], ['fam', 'four'], ['fam?family=inet6', 'six'], ['blocktype?family=inet6', 'DROP']]]",
        "['set', 'j', 'addaction', 'f2']",
        "['multi-set', 'j', 'action', 'f2', [['actionban', '<blocktype> <fam> /o j-x'], ['actionunban', '/o QQ <matches>'], ['actionstart_on_demand', False], ['actname', 'f2'], ['name', 'j-x'], ['blocktype?family=inet6', 'X6'], ['out', '/o'], ['fam', 'four'], ['blocktype', 'B4'], ['fam?family=inet6', 'six']]]",
        "['set', 'j', 'addaction', 'fam-other']",
        "['multi-set', 'j', 'action', 'fam-other', [['actionban', '<blocktype> <fam> /o other'], ['actionunban', '/o QQ <matches>'], ['name', 'other'], ['actname', 'fam-other'], ['out', '/o'], ['fam', 'four'], ['blocktype', 'B4'], ['fam?family=inet6', 'six'], ['blocktype?family=inet6', 'B6']]]",
        "['set', 'j', 'addaction', 'n', '/f/action.d/x.py', '{\"a\": \"\\\\u00fc\"}']",
    ];
    check(&files, &expect);
    let circle = (
        "action.d/a.conf",
        "[Definition]\nactionban=x <foo>\nfoo=<bar>\nbar=<foo>\n",
    );
    let jail = ("jail.conf", "[j]\nenabled=true\nfilter=f\naction=a\n");
    check_refused(&[jail, circle], "tag-recursion");
    let growing = format!(
        "[Definition]\nactionban=<o>\no={}\np={}\nq={}\n",
        "<p>".repeat(1000),
        "<q>".repeat(1000),
        "q".repeat(1000)
    );
    check_refused(&[jail, ("action.d/a.conf", &growing)], "too-large");
}

#[test]
fn settings_of_a_jail() {
    check_jail(
        "bantime.increment=On\nbantime.overalljails=2\nignoreself=no\n",
        &[
            "['set', 'j', 'bantime.increment', True]",
            "['set', 'j', 'bantime.overalljails', False]",
            "['set', 'j', 'ignoreself', False]",
        ],
    );
    check_jail(
        "ignoreip = 127.0.0.1/8 ::1,,192.0.2.1\t x\n  file:/a,b\n",
        &["['set', 'j', 'addignoreip', '127.0.0.1/8', '::1', '192.0.2.1', 'x', 'file:/a', 'b']"],
    );
    check_jail(
        "maxretry=abc\nmaxmatches= 1_0 \n",
        &["['set', 'j', 'maxretry', None]", "['set', 'j', 'maxmatches', 10]"],
    );
    check_jail("[j?x]\nbantime=3\n", &[]);
}

#[test]
fn prefixes_stand_in_the_stream_where_they_are_set() {
    check_jail(
        "bantime.increment=no\nignoreself=no\nprefix.widen.ipv6=48\nprefix.ipv6 = 64\nprefix.widen=4\n",
        &[
            "['set', 'j', 'bantime.increment', False]",
            "['set', 'j', 'prefix.ipv6', '64']",
            "['set', 'j', 'prefix.widen', '4']",
            "['set', 'j', 'prefix.widen.ipv6', '48']",
            "['set', 'j', 'ignoreself', False]",
        ],
    );
    let outcome = outcome(
        &[("jail.conf", "[j]\nenabled=true\nfilter=f\nprefix.ipv6=9\n")],
        Face::Portcullis,
    );
    let (plan, refusals) = Plan::from_stream_by_option(&outcome.stream, Face::Portcullis);
    let refused: Vec<_> = refusals
        .iter()
        .filter_map(|refusal| refusal.option.as_deref())
        .collect();
    assert_eq!(refused, ["prefix.ipv6"]);
    assert!(plan.jails[0].prefix.is_off(), "a wrong value widens nothing");
    let place = &outcome.origins[&("j".to_owned(), "prefix.ipv6".to_owned())];
    assert_eq!((&*place.file, place.line), ("/f/jail.conf", 4));
}

#[test]
fn log_files() {
    let jail = "[j]\nenabled=true\nfilter=f\naction=a\nlogpath=/nope/x tail\n  /f/jail.conf tail\n  /f/fil*.d head\n /f/*2ban.conf other\n";
    let expect = [
        "['set', 'j', 'addlogpath', '/f/jail.conf', 'tail']",
        "['set', 'j', 'addlogpath', '/f/filter.d', 'head']",
        "['set', 'j', 'addlogpath', '/f/fail2ban.conf', 'other']",
    ];
    check(&[("jail.conf", jail)], &expect);
    let ours = outcome(&[("jail.conf", jail)], Face::Portcullis);
    assert!(lines(&ours).contains(&"['set', 'j', 'addlogpath', '/nope/x', 'tail']".to_owned()));
    check_jail(
        "skip_if_nologs=true\nlogpath=/nope\n",
        &["['config-error', \"Jail 'j' skipped, because of missing log files.\"]"],
    );
    let journal = outcome(
        &[(
            "jail.conf",
            "[j]\nenabled=true\nfilter=f\njournalmatch=_A=1\nlogpath=/nope\n",
        )],
        Face::Fail2Ban,
    );
    assert!(
        journal
            .stream
            .contains(&vec!["add".into(), "j".into(), "systemd".into()])
    );
    let mut request = Request::new("/f", Face::Fail2Ban, "1");
    let tree = folder(&[("jail.conf", "[j]\nenabled=true\nfilter=f\nlogpath=/nope\n")]);
    assert!(!read(&tree, &request).usable);
    request.allow_no_files = true;
    assert!(read(&tree, &request).usable);
}

#[test]
fn who_turns_to_the_journal() {
    let jail = "[j]\nenabled=true\nfilter=g\naction=a\nlogpath=/nope/*.log tail\n";
    let filter = "[Definition]\nfailregex = ^<HOST>\njournalmatch = _A=1\n";
    for (face, journal, backend) in [
        (Face::Fail2Ban, "/var/log/journal/m/system.journal", "auto"),
        (Face::Portcullis, "/var/log/journal/m/system.journal", "systemd"),
        (Face::Portcullis, "/run/log/journal/m/system.journal", "systemd"),
        (Face::Portcullis, "/var/log/syslog", "auto"),
    ] {
        let mut tree = folder(&[("jail.conf", jail), ("filter.d/g.conf", filter)]);
        tree.0.insert(journal.to_owned(), Vec::new());
        let mut request = Request::new("/f", face, "1.1.2");
        request.allow_no_files = true;
        let outcome = read(&tree, &request);
        let add = vec!["add".into(), "j".into(), backend.into()];
        assert!(outcome.stream.contains(&add), "{face:?} {journal}");
        let awaited = outcome.awaited.get("j").map(Vec::as_slice).unwrap_or_default();
        assert_eq!(awaited == ["/nope/*.log tail"], backend == "systemd", "{awaited:?}");
    }
}

#[test]
fn a_bad_jail_is_left_out() {
    let jails = |filter: &str, action: &str| {
        format!("[DEFAULT]\nenabled=true\n[k]\nfilter={filter}\naction={action}\n[j]\nfilter=f\naction=a\n")
    };
    let cases = [
        (jails("nope", "a"), "Unable to read the filter 'nope'"),
        (
            jails("f[", "a"),
            "Invalid filter definition 'f[': unexpected option syntax",
        ),
        (jails("f", "it's"), "Unable to read action \"it's\""),
        (
            jails("f", "a[x=1"),
            "Invalid action definition 'a[x=1': unexpected option syntax",
        ),
    ];
    for (jail, reason) in &cases {
        let message = format!("Jail 'k' skipped, because of wrong configuration: {reason}");
        let expect = vec![Value::from("config-error"), message.into()];
        for face in [Face::Fail2Ban, Face::Portcullis] {
            let outcome = outcome(&[("jail.conf", jail)], face);
            assert!(
                outcome.stream.contains(&expect) && outcome.usable,
                "{}",
                dump(&outcome.stream)
            );
            assert_eq!(outcome.skipped.get("k").map(String::as_str), Some(*reason));
        }
    }
    assert!(!outcome(&[("jail.conf", "[k]\nenabled=true\nfilter=nope\n")], Face::Fail2Ban).usable);
}

#[test]
fn what_fail2ban_refuses() {
    let cases = [
        ("[j]\na=1\nA=2\n", "duplicate-option"),
        ("[j]\na=1\n[j]\n", "duplicate-section"),
        ("a=1\n[j]\n", "no-section"),
        ("[j]\nnonsense\n", "no-option"),
        ("\u{feff}[j]\n", "byte-order-mark"),
    ];
    for (jail, code) in cases {
        check_refused(&[("jail.conf", jail)], code);
    }
    check_refused(&[], "no-jails");
    check_refused(
        &[
            ("jail.conf", "[j]\n"),
            ("fail2ban.conf", "[Definition]\nloglevel=LOUD\n"),
        ],
        "bad-loglevel",
    );
    let mut tree = folder(&[("jail.conf", "[j]\n")]);
    tree.0.insert("/f/jail.local".to_owned(), b"# \xb0\xa1\n[j]\n".to_vec());
    let outcome = read(&tree, &Request::new("/f", Face::Fail2Ban, "1"));
    assert!(
        !outcome.usable
            && outcome
                .diagnostics
                .iter()
                .any(|diagnostic| diagnostic.code == "not-utf8")
    );
}

/// Our face: what is left of one jail, the codes of the complaints, and whether the jail is held.
fn check_ours(files: &[(&str, &str)], expect: &[&str], codes: &[&str], held: bool) {
    let outcome = outcome(files, Face::Portcullis);
    assert_eq!(lines(&outcome), expect);
    let told: Vec<&str> = outcome.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(told, codes, "{:?}", outcome.diagnostics);
    assert_eq!(outcome.held.contains_key("j"), held, "{:?}", outcome.held);
}

#[test]
fn our_face_leaves_out_the_smallest_bad_part() {
    let jail = |body: &str| format!("[DEFAULT]\nenabled=true\nmaxretry=4\n[j]\nfilter=f\n{body}");
    let ours = |body: &str, expect: &[&str], codes: &[&str], held: bool| {
        let local = ("jail.d/a.conf", "[j]\naction=a\n");
        check_ours(&[("jail.conf", &jail(body)), local], expect, codes, held);
    };
    let retry = "['set', 'j', 'maxretry', 4]";
    ours("nonsense\n", &[retry], &["no-option"], false);
    ours(
        "bantime=5\nnonsense\n",
        &[retry, "['set', 'j', 'bantime', '5']"],
        &["no-option"],
        true,
    );
    ours(
        "bantime=5\nbantime=6\n",
        &[retry, "['set', 'j', 'bantime', '5']"],
        &["duplicate-option"],
        true,
    );
    ours(
        "findtime=5\nfindtime=6\n",
        &[retry, "['set', 'j', 'findtime', '5']"],
        &["duplicate-option"],
        false,
    );
    ours(
        "ignoreip=192.0.2.1\nignoreip=192.0.2.2\n",
        &[retry, "['set', 'j', 'addignoreip', '192.0.2.1', '192.0.2.2']"],
        &["duplicate-option"],
        false,
    );
    ours("maxretry=many\n", &[retry], &["not-a-number"], false);
    ours("findtime=%(nope)s\n", &[retry], &["interpolation-missing"], false);
    ours("ignoreip=%(nope)s\n", &[retry], &["interpolation-missing"], true);
    ours(
        "failregex=no address\n",
        &[retry],
        &["no-failure-id", "no-failregex"],
        false,
    );
}

#[test]
fn our_face_understands_the_address_slip() {
    let jail = ("jail.conf", "[j]\nenabled=true\nfilter=f\naction=a\n");
    let action = (
        "action.d/a.conf",
        "[Definition]\nactionban = x %(banip)s\nactionunban = y %(ip)s\n",
    );
    check_refused(&[jail, action], "interpolation-missing");
    let outcome = outcome(&[jail, action], Face::Portcullis);
    let text = dump(&outcome.stream);
    assert!(
        text.contains("['actionban', 'x <ip>'], ['actionunban', 'y <ip>']"),
        "{text}"
    );
    let lines: Vec<usize> = outcome
        .diagnostics
        .iter()
        .filter_map(|told| Some(told.position.as_ref()?.line))
        .collect();
    assert_eq!(lines, [2, 3]);
}

#[test]
fn one_filter_alone() {
    let tree = folder(&[(
        "filter.d/g.conf",
        "[Definition]\nfailregex = <m-<mode>>\nm-a = ^a <HOST>\nm-b = ^b <HOST> <logtype>\n[Init]\nmode = a\n",
    )]);
    let read = |name, parameters: &[(&str, &str)]| {
        let parameters: Vec<(String, String)> = parameters
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect();
        filter_options(&tree, "/f", name, &parameters, "auto").map(|alone| dump(&alone.stream))
    };
    let expect = |regex: &str| Ok(format!("['set', 'fail2ban-regex-jail', 'addfailregex', '{regex}']\n"));
    assert_eq!(read(FilterName::Stock("g"), &[]), expect("^a <HOST>"));
    assert_eq!(read(FilterName::Stock("g"), &[("mode", "b")]), expect("^b <HOST> file"));
    assert_eq!(
        read(
            FilterName::Path("/f/filter.d/g.conf"),
            &[("logtype", "x"), ("mode", "b")]
        ),
        expect("^b <HOST> x")
    );
    assert!(read(FilterName::Stock("h"), &[]).is_err());
    let forced = [("mode".to_owned(), "b".to_owned())];
    let mut request = Request::new("/f", Face::Fail2Ban, "1");
    request.jail = Some("j");
    request.forced = Some(&forced);
    let mut tree = tree;
    tree.0.insert("/f/jail.conf".to_owned(), b"[j]\nfilter=g\n".to_vec());
    let stream = super::read(&tree, &request).stream;
    assert!(
        dump(&stream).contains("'addfailregex', '^b <HOST> file'"),
        "{}",
        dump(&stream)
    );
    assert_eq!(stream.first(), Some(&vec!["add".into(), "j".into(), "auto".into()]));
}

proptest::proptest! {
    /// Whatever the files hold, both faces come to an end with a stream that can be applied.
    #[test]
    fn any_files_come_to_an_end(jail: Vec<u8>, soup in proptest::collection::vec(0usize..18, 0..60), byte: u8) {
        const PIECES: [&str; 18] = ["[", "]", "\n", "=", "%(", ")s", "<", ">", " ", "\n  ", "failregex", "action=a[x=", "'", "\"", "?family=inet6", "\u{feff}", "known/a", "a"];
        let text: String = soup.iter().filter_map(|at| PIECES.get(*at).copied()).collect();
        let head = "[DEFAULT]\nenabled=true\nfilter=f\n[j]\n";
        for body in [jail.clone(), [head.as_bytes(), text.as_bytes(), &[byte], &jail].concat()] {
            let mut tree = folder(&[("filter.d/f.local", &format!("[Definition]\n{text}"))]);
            tree.0.insert("/f/jail.conf".to_owned(), body);
            for face in [Face::Fail2Ban, Face::Portcullis] {
                let outcome = read(&tree, &Request::new("/f", face, "1"));
                let _ = Plan::from_stream(&outcome.stream, face);
            }
        }
    }
}
