use super::*;

/// Commands in short: words between blanks, `[a|b]` for a list.
fn command(text: &str) -> Command {
    let word = |word: &str| match word.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
        Some(list) => Value::List(list.split('|').map(Value::from).collect()),
        None => Value::from(word),
    };
    text.split(' ').map(word).collect()
}

fn jail(commands: &[&str]) -> (JailPlan, Vec<String>) {
    let mut stream = vec![command("add j auto")];
    stream.extend(commands.iter().map(|text| command(text)));
    let (plan, diagnostics) = Plan::from_stream(&stream, Face::Portcullis);
    let messages = diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect();
    (plan.jails.into_iter().next().unwrap(), messages)
}

#[test]
fn an_unknown_backend_makes_no_jail() {
    let stream = [
        command("add j systemdd"),
        command("add k Polling"),
        command("add l systemd[journalflags=1]"),
    ];
    let (plan, diagnostics) = Plan::from_stream(&stream, Face::Portcullis);
    assert_eq!(plan.jails.len(), 2);
    assert!(
        diagnostics[0]
            .message
            .contains("backend cannot be 'systemdd': it must be one of auto, polling"),
        "{diagnostics:?}"
    );
}

#[test]
fn every_setting_finds_its_place() {
    let (mut plan, messages) = jail(&[
        "set j usedns raw",
        "set j prefregex ^p",
        "set j maxlines 3",
        "multi-set j addignoreregex [^x|^y]",
        "set j addignoreregex ^z",
        "multi-set j addfailregex [^a<HOST>|^b<HOST>]",
        "set j addfailregex ^c<HOST>",
        "set j datepattern %Y",
        "set j addjournalmatch _A=1 + _B=2",
        "set j maxretry 7",
        "set j maxmatches 8",
        "set j findtime 10m",
        "set j bantime 1.5h",
        "set j bantime.increment True",
        "set j bantime.maxtime 1w",
        "set j bantime.maxtime 2w",
        "set j ignorecommand /bin/x",
        "set j ignoreself no",
        "set j addignoreip 192.0.2.1 198.51.100.0/24 192.0.2.1",
        "set j ignorecache key=\"<ip>\",max-count=5",
        "set j logtimezone UTC+0300",
        "set j logencoding latin1",
        "set j addlogpath /l1 head",
        "set j addlogpath /l2 tail",
        "set j addaction a",
        "set j action a timeout 5",
        "start j",
    ]);
    assert!(messages.is_empty(), "{messages:?}");
    let mut expect = JailPlan::new("j", "auto");
    expect.usedns = UseDns::Raw;
    expect.prefregex = Some("^p".into());
    expect.maxlines = 3;
    expect.ignoreregex = vec!["^x".into(), "^y".into(), "^z".into()];
    expect.failregex = vec!["^a<HOST>".into(), "^b<HOST>".into(), "^c<HOST>".into()];
    expect.datepattern = Some("%Y".into());
    expect.journalmatch = vec![vec!["_A=1".into(), "+".into(), "_B=2".into()]];
    expect.maxretry = 7;
    expect.maxmatches = 8;
    expect.findtime = Seconds::new(600);
    expect.bantime = Seconds::new(5400);
    expect.increment = vec![("increment".into(), "True".into()), ("maxtime".into(), "2w".into())];
    expect.ignorecommand = "/bin/x".into();
    expect.ignoreself = false;
    expect.ignoreip = vec!["192.0.2.1".into(), "198.51.100.0/24".into()];
    expect.ignorecache = Some("key=\"<ip>\",max-count=5".into());
    expect.logtimezone = Some("UTC+0300".into());
    expect.logencoding = "latin1".into();
    let log = |path: &str, tail| LogPath {
        path: path.into(),
        tail,
    };
    expect.logpath = vec![log("/l1", false), log("/l2", true)];
    expect.actions = vec![ActionPlan {
        name: "a".into(),
        properties: vec![("timeout".into(), "5".into())],
    }];
    expect.started = true;
    let given = std::mem::take(&mut plan.given);
    assert_eq!(plan, expect);
    assert_eq!(given["findtime"], Value::Int(600));
    assert_eq!(given["bantime.increment"], Value::Bool(true));
}

#[test]
fn what_cannot_be_applied_is_named_and_left_out() {
    let cases = [
        ("set j wings on", "unknown command set j wings"),
        ("set j bantime.wings 1", "unknown command bantime.wings"),
        ("set j banip 192.0.2.1", "unknown command set j banip"),
        ("set k maxretry 5", "there is no jail of the name 'k'"),
        ("add j auto", "the jail 'j' is there already"),
        ("set j maxretry abc", "maxretry cannot be 'abc': it is no whole number"),
        (
            "set j maxlines 0",
            "maxlines cannot be '0': it must be greater than nought",
        ),
        ("set j action b timeout 5", "jail 'j' has no action of the name 'b'"),
        (
            "set j addlogpath /x middle",
            "addlogpath cannot be 'middle': it begins at head or at tail",
        ),
        ("set j usedns maybe", "usedns cannot be 'maybe'; no is taken"),
        (
            "set j addaction p /x.py {}",
            "action 'p' of jail 'j' is written in Python (/x.py), which is not supported",
        ),
        ("set j", "set j lacks what it needs, or has it in another form"),
        (
            "set j ignorecache max-count=5",
            "ignorecache cannot be 'max-count=5': it needs key=\"…\"",
        ),
    ];
    for (text, expect) in cases {
        assert_eq!(jail(&[text]).1, [expect], "{text}");
    }
    let (plan, messages) = jail(&["set j addaction p /x.py {}", "set j action p a b", "set j maxretry 4"]);
    assert_eq!((plan.maxretry, messages.len()), (4, 1));
}

#[test]
fn in_fail2bans_face_the_first_error_ends_it() {
    let stream: Vec<Command> = ["add j auto", "set j maxretry x", "set j maxretry 9", "start j"]
        .map(command)
        .into();
    let (plan, diagnostics) = Plan::from_stream(&stream, Face::Fail2Ban);
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(plan.jails[0], JailPlan::new("j", "auto"));
    let (plan, _) = Plan::from_stream(&stream, Face::Portcullis);
    assert!(plan.jails[0].started && plan.jails[0].maxretry == 9);
}

#[test]
fn a_list_of_properties_is_taken_whole_or_not_at_all() {
    let mut plan = Plan::default();
    plan.apply(&command("add j auto")).unwrap();
    plan.apply(&command("set j addaction a")).unwrap();
    let pairs = |pairs: &[(&str, &str)]| {
        let list = pairs
            .iter()
            .map(|(key, value)| Value::List(vec![(*key).into(), (*value).into()]))
            .collect();
        let mut words = command("multi-set j action a");
        words.push(Value::List(list));
        words
    };
    plan.apply(&pairs(&[
        ("actionban", "x <ip>"),
        ("bantime", "5"),
        ("actionban", "y <ip>"),
    ]))
    .unwrap();
    assert!(plan.apply(&pairs(&[("actionban", "z"), ("timeout", "soon")])).is_err());
    let action = &plan.jails[0].actions[0];
    assert_eq!(action.properties, [("actionban".to_owned(), Value::from("y <ip>"))]);
}

#[test]
fn the_server() {
    let mut plan = Plan::default();
    let commands = [
        "set loglevel debug",
        "set logtarget SYSLOG[facility=AUTH]",
        "set dbfile None",
        "set dbpurgeage 2d",
        "set dbmaxmatches 4",
        "set allowipv6 yes",
        "set syslogsocket /s",
        "set thread x",
        "config-error text",
    ];
    for text in commands {
        plan.apply(&command(text)).unwrap();
    }
    let server = &plan.server;
    assert_eq!((server.loglevel.as_str(), server.dbfile.as_deref()), ("DEBUG", None));
    assert_eq!((server.dbpurgeage, server.dbmaxmatches), (Seconds::new(172_800), 4));
    assert_eq!(
        (server.logtarget.as_str(), server.allowipv6.as_str()),
        ("SYSLOG[facility=AUTH]", "yes")
    );
    assert!(plan.apply(&command("set dbpurgeage soon")).is_err());
    assert!(plan.apply(&command("status")).is_err());
}
