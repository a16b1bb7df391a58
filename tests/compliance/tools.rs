//! Programs of others that speak to Fail2Ban, unmodified: each is run against a server, and must understand it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::{self, eventually};
use crate::oracle;
use crate::site::{Server, Site};

/// Where the programs are unpacked.
fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    let tools = folder.join("programs");
    if !tools.is_dir() {
        let fetched = Command::new(oracle::here().join("fetch-tools"))
            .arg(&folder)
            .status()
            .unwrap();
        assert!(fetched.success() && tools.is_dir(), "the tools could not be fetched");
    }
    tools
}

/// Munin's plugin `fail2ban`: `ping`, `status`, and `status JAIL` for each jail that the list has.
fn munin(site: &Site, word: &str) -> String {
    let library = tools().join("usr/share/munin");
    let mut plugin = site.inside(Path::new("bash"));
    plugin.arg(library.join("plugins/fail2ban")).arg(word);
    plugin.env("MUNIN_LIBDIR", &library);
    plugin.env("client", site.program("fail2ban-client"));
    plugin.env("config_dir", site.house.path("etc"));
    let output = plugin.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the plugin says of the site, whoever serves it.
fn munin_says(server: Server) -> Vec<Vec<String>> {
    let site = Site::start(server, "");
    site.ban(&["192.0.2.7", "2001:db8::7"]);
    ["autoconf", "", "config"]
        .map(|word| sorted(&munin(&site, word)))
        .to_vec()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn munin_understands_both() {
    let said = munin_says(Server::Portcullis);
    assert_eq!(said[..2], [vec!["yes"], vec!["other.value 0", "plain.value 2"]]);
    for line in [
        "graph_title Hosts blacklisted by fail2ban",
        "plain.label plain",
        "other.label other",
    ] {
        assert!(said[2].iter().any(|other| other == line), "{said:?}");
    }
    assert_eq!(said, munin_says(Server::Fail2Ban));
}

/// What bash offers behind these words, by the completion of Fail2Ban's package, which asks the client and reads its
/// help.
fn completions(site: &Site, words: &str) -> Vec<String> {
    let client = site.house.path("bin/with/fail2ban-client");
    let text = format!(
        "set +u; source {functions}; source {completion}; COMP_LINE='fail2ban-client {words}'; COMP_POINT=${{#COMP_LINE}}\n\
         COMP_WORDS=($COMP_LINE ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); PATH={folder}:$PATH\n\
         _fail2ban fail2ban-client '' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        functions = tools().join("usr/share/bash-completion/bash_completion").display(),
        completion = oracle::root()
            .join("usr/share/bash-completion/completions/fail2ban")
            .display(),
        folder = client.parent().unwrap().display(),
    );
    let output = site.inside(Path::new("bash")).args(["-ic", &text]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut offered = sorted(&String::from_utf8(output.stdout).unwrap());
    offered.dedup();
    offered
}

fn offered(server: Server) -> Vec<(&'static str, Vec<String>)> {
    let site = Site::start(server, "");
    // The completion knows no other configuration than that of the machine.
    let text = format!(
        "#!/bin/sh\nexec {} -c {} \"$@\"\n",
        site.program("fail2ban-client").display(),
        site.house.path("etc").display()
    );
    fs::create_dir(site.house.path("bin/with")).unwrap();
    site.house.write("bin/with/fail2ban-client", text);
    fs::set_permissions(
        site.house.path("bin/with/fail2ban-client"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    [
        "status",
        "get",
        "set",
        "set plain",
        "get plain",
        "get plain action",
        "get plain actionproperties",
        "set plain delaction",
    ]
    .map(|words| (words, completions(&site, words)))
    .to_vec()
}

#[test]
fn a_shell_completes_the_same() {
    let ours = offered(Server::Portcullis);
    let of = |words: &str| &ours.iter().find(|(other, _)| *other == words).unwrap().1;
    assert_eq!(*of("status"), ["other", "plain"]);
    assert!(of("set plain").iter().any(|word| word == "banip"), "{ours:?}");
    assert_eq!(ours, offered(Server::Fail2Ban));
}

/// Whom the filter `recidive` of Fail2Ban finds in a log: by Fail2Ban's own program, and by ours.
fn found_again(log: &Path, filter: &str) -> [String; 2] {
    let mut theirs = oracle::python();
    theirs.arg(oracle::root().join("usr/bin/fail2ban-regex"));
    let mut ours = Command::new(house::PROGRAM);
    ours.arg("regex").env("TZ", "UTC");
    [theirs, ours].map(|mut command| {
        command.arg("-c").arg(oracle::configuration()).args(["-o", "ip"]);
        let output = command.arg(log).arg(filter).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    })
}

#[test]
fn recidive_passes_over_what_layers_say() {
    let site = Site::start(Server::Portcullis, "");
    site.ban(&["192.0.2.7", "2001:db8::7"]);
    eventually("the log has both", || {
        let log = site.house.read("fail2ban.log");
        log.matches("[plain] Applied ").count() == 2 && log.contains("Applied 2001:db8::7 (shell note, ")
    });
    let log = site.house.path("fail2ban.log");
    assert_eq!(found_again(&log, "recidive"), ["192.0.2.7\n2001:db8::7\n"; 2]);
    // In the system log a line has another beginning, and the level may be missing.
    let text = site.house.read("fail2ban.log");
    let said = text.lines().filter_map(|line| line.split_once("[plain] "));
    let more = [
        "Applied 20 bans (nft, within 3 ms)",
        "Refused 192.0.2.9 (nft): protected",
        "Not applied 192.0.2.9 (nft, after 2 s): x",
    ];
    let mut lines = String::new();
    for text in said.map(|(_, text)| text).chain(more) {
        for level in ["", "NOTICE ", "INFO    "] {
            for name in ["fail2ban", "fail2ban.actions", "portcullis.layers"] {
                lines += &format!("Jun 15 12:00:00 mail {name}[7]: {level}[plain] {text}\n");
            }
        }
    }
    site.house.write("short.log", lines);
    for who in found_again(&site.house.path("short.log"), "recidive[logtype=short]") {
        let bans = who
            .lines()
            .filter(|who| ["192.0.2.7", "2001:db8::7"].contains(who))
            .count();
        assert_eq!(bans, who.lines().count(), "{who}");
        // Each ban by both names that are Fail2Ban's, with its level or without one.
        assert_eq!(bans, 2 * 2 * 2, "{who}");
    }
}

/// What logwatch reports of a server's log.
fn logwatch_reports(server: Server) -> String {
    let site = Site::start(server, "");
    site.ban(&["192.0.2.7", "2001:db8::7"]);
    assert!(site.client(&["set", "plain", "unbanip", "192.0.2.7"]).status.success());
    for refused in [&["set", "plain", "bantime", "zz"][..], &["status", "nobody's"]] {
        assert!(!site.client(refused).status.success());
    }
    let log = site.house.path("fail2ban.log");
    eventually("the log has it", || {
        let log = site.house.read("fail2ban.log");
        log.contains("Unban 192.0.2.7")
            && (server == Server::Fail2Ban || log.contains("Applied 192.0.2.7 (shell note, "))
    });
    let library = tools().join("usr/share/logwatch");
    let mut script = site.inside(Path::new("perl"));
    script.arg("-I").arg(library.join("lib"));
    script.arg(library.join("scripts/services/fail2ban"));
    script.env("LOGWATCH_DETAIL_LEVEL", "5").env("LOGWATCH_NUMERIC", "1");
    let output = script.stdin(fs::File::open(log).unwrap()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn logwatch_reports_the_same() {
    let ours = logwatch_reports(Server::Portcullis);
    for part in ["192.0.2.7", "Command ['set', 'plain', 'bantime', 'zz'] has failed"] {
        assert!(ours.contains(part), "{ours}");
    }
    assert_eq!(ours, logwatch_reports(Server::Fail2Ban));
}
