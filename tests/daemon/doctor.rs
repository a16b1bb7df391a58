//! `doctor`: each fault is made in a house, and told with its mend; a house where all is well has none.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::house::{House, Jail, PROGRAM, append, eventually, failure, stamp};

/// What the machine that runs the tests may lack.
const OF_MACHINE: [&str; 3] = ["clock", "unit", "room"];

fn jail<'a>(name: &'a str, options: &'a str) -> Jail<'a> {
    Jail {
        name,
        maxretry: 2,
        options,
    }
}

/// Everything that is found, with this in the environment.
fn found_with(house: &House, environment: &[(&str, &str)]) -> (Value, Option<i32>) {
    let mut command = house.inside(PROGRAM);
    command.env_remove("SSH_CLIENT").env_remove("SSH_CONNECTION");
    command.envs(environment.iter().copied()).arg("doctor").arg("--json");
    for (option, part) in [("-c", "etc"), ("--state", "state"), ("--socket", "socket")] {
        command.arg(option).arg(house.path(part));
    }
    let output = command.output().unwrap();
    let document = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (document, output.status.code())
}

fn found(house: &House) -> (Value, Option<i32>) {
    found_with(house, &[])
}

fn text(finding: &Value, key: &str) -> String {
    finding[key].as_str().unwrap_or_default().to_owned()
}

/// The findings that are to be looked at, but for the machine's own.
fn troubles(document: &Value) -> Vec<&Value> {
    let findings = document["findings"].as_array().unwrap().iter();
    let is_trouble = |finding: &&Value| {
        let (code, level) = (text(finding, "code"), text(finding, "level"));
        ["warn", "bad"].contains(&level.as_str()) && !OF_MACHINE.contains(&code.as_str())
    };
    findings.filter(is_trouble).collect()
}

/// Nothing is wrong, once the packet filter is set up, which a start does not wait for.
fn is_well(house: &House) {
    let mut document = Value::Null;
    eventually("the packet filter is set up", || {
        document = found(house).0;
        let is_it = |finding: &&Value| text(finding, "code") == "nftables";
        !troubles(&document).iter().any(is_it)
    });
    let troubles = troubles(&document);
    assert!(troubles.is_empty(), "{troubles:#?}");
}

/// One finding of this code, and its level, with these words in its sentence and in its mend.
fn tells(house: &House, (code, level): (&str, &str), words: &[&str], mend: &[&str]) {
    let (document, exit) = found(house);
    is_told(&document, (code, level), words, mend);
    let least = match level {
        "bad" => 2,
        "warn" => 1,
        _ => 0,
    };
    assert!(exit.is_some_and(|exit| exit >= least), "{exit:?} of {code}");
}

fn is_told(document: &Value, (code, level): (&str, &str), words: &[&str], mend: &[&str]) {
    let findings = document["findings"].as_array().unwrap();
    let of_code: Vec<&Value> = findings
        .iter()
        .filter(|finding| text(finding, "code") == code)
        .collect();
    let fits = |finding: &&&Value| {
        let said = format!("{}: {}", text(finding, "subject"), text(finding, "text"));
        let mended = text(finding, "mend");
        text(finding, "level") == level
            && words.iter().all(|word| said.contains(word))
            && mend.iter().all(|word| mended.contains(word))
    };
    assert_eq!(
        of_code.iter().filter(fits).count(),
        1,
        "{code} {words:?} {mend:?} in {document:#}"
    );
}

#[test]
fn a_house_where_all_is_well() {
    let mut house = House::native();
    house.start();
    house.fail("plain", "203.0.113.1");
    house.until_banned("plain 203.0.113.1");
    is_well(&house);
    let (document, exit) = found(&house);
    assert_eq!(
        (document["daemon"].as_bool(), document["bad"].as_u64()),
        (Some(true), Some(0))
    );
    assert!(exit.is_some_and(|exit| exit < 2));
    is_told(&document, ("jail", "ok"), &["jail plain", "1 with a failure"], &[]);
    is_told(&document, ("nftables", "ok"), &["inet portcullis"], &[]);
    is_told(&document, ("database", "ok"), &["is whole"], &[]);
    let page = house.ask(&["doctor"]);
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("ok    portcullis ") && !page.contains('\x1b'), "{page}");
    // Nothing was written: neither here nor where no daemon runs.
    let before = fs::read_dir(house.path("state")).unwrap().count();
    house.terminate();
    let ended = fs::read_dir(house.path("state")).unwrap().count();
    tells(
        &house,
        ("daemon", "bad"),
        &["no daemon answers"],
        &["portcullis run", "--state"],
    );
    assert_eq!(fs::read_dir(house.path("state")).unwrap().count(), ended);
    assert!(ended <= before);
}

#[test]
fn whoever_sits_at_the_socket() {
    let mut house = House::new(2);
    let listener = UnixListener::bind(house.path("socket")).unwrap();
    let answering = thread::spawn(move || {
        for stream in listener.incoming().take(2).flatten() {
            let mut stream = stream;
            let mut request = [0; 512];
            if stream.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(b"220 mail ESMTP<F2B_END_COMMAND>");
            }
        }
    });
    let pid = std::process::id().to_string();
    tells(
        &house,
        ("stranger", "bad"),
        &[&pid, "no portcullis"],
        &["end it", "portcullis run"],
    );
    answering.join().unwrap();
    fs::remove_file(house.path("socket")).unwrap();
    house.start();
    let daemon = house.daemon();
    kill_process(daemon, Signal::STOP).unwrap();
    tells(&house, ("daemon", "bad"), &["does not answer"], &["kill"]);
    kill_process(daemon, Signal::CONT).unwrap();
    eventually("it answers again", || found(&house).0["daemon"] == true);
}

#[test]
fn a_program_that_was_replaced() {
    let mut house = House::new(2);
    let copy = house.path("copy");
    fs::copy(PROGRAM, &copy).unwrap();
    // The words of the command become those of the copy.
    house.through = [
        "sh".to_owned(),
        "-c".to_owned(),
        format!("exec '{}' \"$@\"", copy.display()),
    ]
    .into();
    house.start();
    is_well(&house);
    fs::remove_file(copy).unwrap();
    house.through.clear();
    let daemon = house.json(&["status"])["pid"].to_string();
    tells(
        &house,
        ("version", "warn"),
        &["was replaced"],
        &[&format!("kill {daemon}"), "portcullis run"],
    );
}

#[test]
fn files_that_are_not_in_force() {
    let mut house = House::new(2);
    house.start();
    is_well(&house);
    house.jails(&[jail("plain", "findtime = 77m")]);
    tells(&house, ("reload", "warn"), &["jail.local"], &["portcullis reload"]);
    house.json(&["reload"]);
    is_well(&house);
    // What is touched and says the same needs no reload.
    house.jails(&[jail("plain", "findtime = 77m")]);
    is_well(&house);
    let good = house.read("etc/jail.local");
    house.write("etc/jail.local", format!("{good}\nbantime = perhaps\n"));
    house.json(&["reload"]);
    tells(
        &house,
        ("last-good", "bad"),
        &["last good one"],
        &["portcullis check", "portcullis reload"],
    );
    house.write("etc/jail.local", good);
    house.json(&["reload"]);
    is_well(&house);
    let local = house.read("etc/fail2ban.local");
    house.write("etc/fail2ban.local", format!("{local}dbpurgeage = 5m\n"));
    house.jails(&[jail("plain", "bantime.increment = true")]);
    house.json(&["reload"]);
    tells(
        &house,
        ("purge", "warn"),
        &["jail plain", "5m", "10m"],
        &["dbpurgeage = 600"],
    );
}

#[test]
fn logs_that_cannot_be_read() {
    let mut house = House::empty();
    let folder = house.path("dir");
    fs::create_dir(&folder).unwrap();
    let options = format!("logpath = {}", folder.display());
    house.jails(&[jail("plain", ""), jail("gone", ""), jail("folder", &options)]);
    house.start();
    fs::remove_file(house.log_of("gone")).unwrap();
    tells(
        &house,
        ("log-missing", "bad"),
        &["gone", "does not exist"],
        &["logpath"],
    );
    tells(
        &house,
        ("log-folder", "bad"),
        &["dir: it is a folder"],
        &["name the file"],
    );
    house.kill();
    if !crate::house::is_root() {
        return;
    }
    house.jails(&[jail("plain", "")]);
    fs::set_permissions(house.log_of("plain"), Permissions::from_mode(0o600)).unwrap();
    house.as_nobody();
    for (name, _) in [("without a daemon", 0), ("with one", 1)] {
        if name == "with one" {
            for left in ["socket", "state/fail2ban.sqlite3"] {
                let _ = fs::remove_file(house.path(left));
            }
            fs::remove_dir_all(house.path("state")).unwrap();
            fs::create_dir(house.path("state")).unwrap();
            for part in ["state", "fail2ban.log", "stderr"] {
                std::os::unix::fs::chown(house.path(part), Some(65_534), Some(65_534)).unwrap();
            }
            house.start();
            house.through.clear();
        }
        let words = ["nobody", "root:root, mode 0600", "plain"];
        tells(&house, ("log-unreadable", "bad"), &words, &["setfacl -m u:nobody:r"]);
    }
    house.kill();
    house.jails(&[jail("gone", "")]);
    fs::remove_file(house.log_of("gone")).unwrap();
    let told = found(&house).0.to_string();
    assert!(told.contains("log-missing") && !told.contains("no-jail"), "{told}");
}

fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

#[test]
fn logs_to_which_nothing_comes() {
    let house = House::new(2);
    let log = house.log_of("plain");
    age(&log, 30);
    tells(&house, ("log-quiet", "warn"), &["is empty", "24 hours"], &["logpath"]);
    append(&log, failure("203.0.113.1").as_bytes());
    let (document, _) = found(&house);
    assert_eq!(troubles(&document).len(), 1, "only the daemon is missing: {document:#}");
    age(&log, 23);
    append(&log, format!("{} all well\n", stamp(-30 * 3600)).as_bytes());
    age(&log, 30);
    tells(
        &house,
        ("log-quiet", "warn"),
        &["nothing was written to it"],
        &["logpath", "ls -lt"],
    );
}

#[test]
fn dates_of_another_clock() {
    for (off, code, mend) in [
        (2 * 3600, "log-future", "logtimezone = UTC"),
        (-5 * 3600, "log-past", "logtimezone = UTC"),
        (1234, "log-future", "timedatectl"),
    ] {
        let house = House::new(2);
        append(
            &house.log_of("plain"),
            format!("{} fail from 203.0.113.1\n", stamp(off)).as_bytes(),
        );
        tells(&house, (code, "warn"), &["the date of its last line"], &[mend]);
        // Doing as it says mends it.
        let (document, _) = found(&house);
        let findings = document["findings"].as_array().unwrap().iter();
        let mends: Vec<String> = findings.map(|finding| text(finding, "mend")).collect();
        let zone = mends
            .iter()
            .find_map(|mend| mend.split_once("set logtimezone = ")?.1.split(' ').next());
        if let Some(zone) = zone {
            house.jails(&[jail("plain", &format!("logtimezone = {zone}"))]);
            assert!(!found(&house).0.to_string().contains(code), "{zone}");
        }
    }
    let house = House::new(2);
    append(&house.log_of("plain"), "a word without a date\n".repeat(30).as_bytes());
    let mends = ["datepattern", "portcullis regex", "plain"];
    tells(
        &house,
        ("log-undated", "warn"),
        &["finds no date in 30 of the last 30"],
        &mends,
    );
}

#[test]
fn a_reader_that_does_not_keep_up() {
    let mut house = House::new(2);
    house.start();
    let lines: String = (0..30_000)
        .map(|_| format!("{} nothing of importance is here\n", stamp(0)))
        .collect();
    append(&house.log_of("plain"), lines.as_bytes());
    let length = i64::try_from(lines.len()).unwrap();
    eventually("all of it is read", || house.placed("plain") == length);
    let (document, _) = found(&house);
    assert!(!document.to_string().contains("backlog"), "{document:#}");
    // As a reader leaves it that stood still a while ago.
    let db = rusqlite::Connection::open(house.path("state/fail2ban.sqlite3")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.execute("UPDATE portcullis_marks SET offset = 0", []).unwrap();
    tells(
        &house,
        ("backlog", "warn"),
        &[&length.to_string(), "plain"],
        &["portcullis doctor", "kill"],
    );
    drop(db);
    house.kill();
    tells(
        &house,
        ("backlog", "note"),
        &[&length.to_string(), "when it starts"],
        &[],
    );
}

#[test]
fn jails_that_are_on_and_blind() {
    let mut house = House::empty();
    house.write(
        "etc/filter.d/service.conf",
        "[Definition]\nprefregex = ^ ?service\\[\\d+\\]: <F-CONTENT>.+</F-CONTENT>$\nfailregex = ^fail from <HOST>\n",
    );
    house.write("etc/filter.d/odd.conf", "[Definition]\nfailregex = ^a(b <HOST>\n");
    house.jails(&[
        jail("other", "filter = service"),
        jail("idle", ""),
        jail("odd", "filter = odd"),
    ]);
    house.start();
    let lines: String = (0..60)
        .map(|_| format!("{} other[1]: fail from 203.0.113.1\n", stamp(0)))
        .collect();
    append(&house.log_of("other"), lines.as_bytes());
    let lines: String = (0..1200).map(|_| format!("{} all is well\n", stamp(0))).collect();
    append(&house.log_of("idle"), lines.as_bytes());
    eventually("they are read", || {
        house.json(&["status", "idle"])["jails"][0]["lines"] == 1200
    });
    tells(
        &house,
        ("blind", "bad"),
        &["jail odd", "no failregex"],
        &["portcullis check"],
    );
    let log = house.log_of("other").display().to_string();
    let mend = [&*format!("portcullis regex {log} service"), "logpath"];
    tells(
        &house,
        ("other-log", "warn"),
        &["jail other", "none of the last 60 lines"],
        &mend,
    );
    let mend = ["portcullis regex", "plain"];
    tells(
        &house,
        ("never-matched", "warn"),
        &["jail idle", "nothing in 1200 lines"],
        &mend,
    );
    house.fail("idle", "203.0.113.1");
    eventually("it is found", || {
        house.json(&["status", "idle"])["jails"][0]["matched"] == 1
    });
    assert!(!found(&house).0.to_string().contains("never-matched"));
    house.kill();
    house.jails(&[]);
    tells(&house, ("no-jail", "bad"), &["no jail"], &["enabled = true"]);
}

#[test]
fn attacks_that_the_default_mode_lets_pass() {
    let house = House::empty();
    // The stock's own filter sees them in each mode; this one has Fail2Ban's modes.
    house.write(
        "etc/filter.d/postfix.conf",
        "[Definition]\nfailregex = <mdre-<mode>>\nmdre-more = ^ ?host postfix/smtpd\\[\\d+\\]: reject <HOST>$\n\
         mdre-auth = ^ ?host postfix/smtpd\\[\\d+\\]: SASL failed <HOST>$\nmdre-extra = <mdre-auth>\nmode = more\n",
    );
    house.jails(&[jail("mail", "filter = postfix")]);
    for _ in 0..12 {
        append(
            &house.log_of("mail"),
            format!("{} host postfix/smtpd[7]: SASL failed 203.0.113.1\n", stamp(0)).as_bytes(),
        );
    }
    let words = ["jail mail", "12 of the last 12 lines", "SASL failures"];
    tells(&house, ("unseen", "warn"), &words, &["filter = postfix[mode=extra]"]);
    assert!(!found(&house).0.to_string().contains("misses-logins"), "once is enough");
}

#[test]
fn actions_that_cannot_do_what_they_are_told() {
    let mut house = House::empty();
    house.write(
        "etc/action.d/lost.conf",
        "[Definition]\nactionban = no-such-program add <ip>\nactionunban = no-such-program del <ip>\n",
    );
    house.jails(&[jail("plain", "action = lost")]);
    house.start();
    let mend = ["action.d"];
    tells(
        &house,
        ("program", "bad"),
        &["no-such-program", "jail plain, action lost"],
        &mend,
    );
    house.fail("plain", "203.0.113.1");
    house.fail("plain", "203.0.113.1");
    house.until_banned("plain 203.0.113.1");
    eventually("it fails", || {
        house.json(&["status", "plain"])["jails"][0]["actions"]["lost"]["failed"] == 1
    });
    tells(
        &house,
        ("action", "bad"),
        &["jail plain, action lost", "1 address is not banned"],
        &["fail2ban.log"],
    );
}

#[test]
fn what_stands_in_the_kernel() {
    let mut house = House::native();
    let run = |program: &str, words: &str| {
        let status = house.inside(program).args(words.split(' ')).status().unwrap();
        assert!(status.success(), "{program} {words}");
    };
    run("nft", "add table inet f2b-table");
    run("nft", "add chain inet f2b-table f2b-chain");
    run("nft", "add table ip filter");
    run("nft", "add chain ip filter f2b-sshd");
    run("ipset", "create f2b-sshd hash:ip");
    run("iptables-legacy", "-N f2b-mail");
    let mend = [
        "nft delete table inet f2b-table",
        "\niptables-save | grep -v f2b- | iptables-restore",
        "\niptables-legacy-save | grep -v f2b- | iptables-legacy-restore",
        "ipset destroy f2b-sshd",
    ];
    tells(&house, ("leftovers", "warn"), &["f2b-mail, f2b-sshd, f2b-table"], &mend);
    run("iptables-legacy", "-X f2b-mail");
    // Those of a jail that is at work are none.
    house.jails(&[
        jail("plain", "action = nft[type=allports]"),
        jail("sshd", "filter = plain\naction = note[name=sshd, table=f2b-table]"),
    ]);
    assert!(!found(&house).0.to_string().contains("leftovers"));
    run("nft", "delete table inet f2b-table");
    run("nft", "delete chain ip filter f2b-sshd");
    run("ipset", "destroy f2b-sshd");
    house.start();
    is_well(&house);
}

#[test]
fn without_the_right_to_the_kernel() {
    let mut house = House::native();
    house.through = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
        .map(str::to_owned)
        .into();
    tells(&house, ("nftables", "bad"), &["cannot be reached"], &["CAP_NET_ADMIN"]);
    house.start();
    house.fail("plain", "203.0.113.1");
    house.until_banned("plain 203.0.113.1");
    eventually("the layer fails", || {
        !house.json(&["status", "plain"])["jails"][0]["actions"]["nft"]["failure"].is_null()
    });
    tells(
        &house,
        ("action", "bad"),
        &["jail plain, action nft"],
        &["CAP_NET_ADMIN"],
    );
}

#[test]
fn who_could_be_locked_out() {
    let house = House::new(2);
    let client = [("SSH_CLIENT", "198.51.100.7 50022 22")];
    let (document, _) = found_with(&house, &client);
    is_told(
        &document,
        ("you", "note"),
        &["198.51.100.7", "plain"],
        &["ignoreip", "198.51.100.7"],
    );
    house.jails(&[jail("plain", "ignoreip = 198.51.100.0/24")]);
    let (document, _) = found_with(&house, &client);
    assert!(!document.to_string().contains("198.51.100.7"), "{document:#}");
}

#[test]
fn databases_that_keep_nothing() {
    let mut house = House::new(2);
    house.start();
    house.fail("plain", "203.0.113.1");
    house.until_placed();
    house.terminate();
    let path = house.path("state/fail2ban.sqlite3");
    let mut bytes = fs::read(&path).unwrap();
    bytes[..100].fill(7);
    fs::write(&path, bytes).unwrap();
    tells(
        &house,
        ("database", "bad"),
        &["is damaged"],
        &["takes over", "portcullis run"],
    );
    house.start();
    tells(
        &house,
        ("database-aside", "warn"),
        &["fail2ban.sqlite3.corrupt-"],
        &[".recover"],
    );
    fs::remove_file(&path).unwrap();
    tells(&house, ("database", "bad"), &["no database"], &["deleted it", "kill"]);
    house.kill();
    for entry in fs::read_dir(house.path("state")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("fail2ban.sqlite3") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    fs::create_dir(&path).unwrap();
    tells(&house, ("database", "bad"), &["is no file"], &["mv "]);
}

#[test]
fn a_disk_that_is_nearly_full() {
    let house = House::new(2);
    let state = house.path("state").display().to_string();
    let mounted = house
        .inside("mount")
        .args(["-t", "tmpfs", "-o", "size=50m", "tmpfs", &state])
        .status();
    assert!(mounted.unwrap().success());
    let (document, exit) = found(&house);
    assert_eq!(exit, Some(2));
    is_told(&document, ("room", "warn"), &[&state, "bytes are free"], &["du -xh"]);
}
