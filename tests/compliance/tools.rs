//! Programs of others that speak to Fail2Ban, unmodified: each is run against a server, and must understand it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::eventually;
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
        site.house.read("fail2ban.log").contains("Unban 192.0.2.7")
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
