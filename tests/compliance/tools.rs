//! Programs of others that speak to Fail2Ban, unmodified: each is run against a server, and must understand it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::oracle;
use crate::site::{Server, Site};

/// Where the programs are unpacked.
fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    let tools = folder.join("tools");
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
fn munin_understands(server: Server) {
    let site = Site::start(server, "");
    site.ban(&["192.0.2.7", "2001:db8::7"]);
    assert_eq!(munin(&site, "autoconf"), "yes\n");
    let mut values: Vec<String> = munin(&site, "").lines().map(str::to_owned).collect();
    values.sort();
    assert_eq!(values, ["other.value 0", "plain.value 2"]);
    let config = munin(&site, "config");
    for line in [
        "graph_title Hosts blacklisted by fail2ban",
        "plain.label plain",
        "other.label other",
    ] {
        assert!(config.lines().any(|other| other == line), "{config}");
    }
}

#[test]
fn munin_understands_fail2ban() {
    munin_understands(Server::Fail2Ban);
}
