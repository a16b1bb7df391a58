//! The packet filter itself: whether it can be reached, who else is in it, and what a former Fail2Ban left there.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use portcullis_core::config::parse_bool;
use portcullis_core::config::plan::ActionPlan;

use super::scene::Scene;
use crate::client::finding::Finding;
use crate::daemon::way::Way;
use crate::enforce::ipset;
use crate::enforce::nft::{Part, TABLE, glance};

/// What names of Fail2Ban's chains and tables begin with.
const THEIRS: &str = "f2b-";

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let Some(configured) = &scene.configured else {
        return Vec::new();
    };
    let is_native = configured.layers.values().any(|way| matches!(way, Way::Nft(..)));
    let shells = configured
        .layers
        .values()
        .any(|way| matches!(way, Way::Shell(_) | Way::Beside(_)));
    let mut found = Vec::new();
    let mut parts = older(&scene.root);
    match glance() {
        Ok(seen) => {
            found.extend(table(scene, is_native, &seen));
            parts.extend(seen);
        }
        Err(error) if is_native && scene.status().is_none() => {
            let mend = if rustix::process::geteuid().is_root() {
                "give this machine CAP_NET_ADMIN, and modprobe nf_tables where the kernel lacks it"
            } else {
                "sudo portcullis doctor"
            };
            found.push(Finding::bad("nftables", format!("nftables cannot be reached: {error}")).mend(mend));
        }
        Err(_) => {}
    }
    // A kernel without sets has none that were left.
    let sets = ipset::names().unwrap_or_default();
    found.extend(leftovers((&parts, &sets), &named(scene)));
    found.extend(neighbours(&scene.root, shells));
    found.extend(one_eyed(&configured.plan.server.allowipv6, has_ipv6()));
    found
}

/// The chains of the older iptables, which nftables does not know of; as family stands the program that has them. It is
/// asked only where the kernel says that there are such tables, because asking makes some.
fn older(root: &Path) -> Vec<Part> {
    let tools = [
        ("iptables-legacy", "ip_tables_names"),
        ("ip6tables-legacy", "ip6_tables_names"),
    ];
    let mut parts = Vec::new();
    for (tool, tables) in tools {
        let tables = fs::read_to_string(root.join("proc/net").join(tables)).unwrap_or_default();
        if tables.trim().is_empty() {
            continue;
        }
        // Where the program is not there, nobody can look.
        if let Ok(output) = Command::new(format!("{tool}-save")).output() {
            parts.extend(saved(tool, &String::from_utf8_lossy(&output.stdout)));
        }
    }
    parts
}

/// The chains in what such a program prints.
fn saved(tool: &'static str, text: &str) -> Vec<Part> {
    let mut table = String::new();
    let mut parts = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.trim().clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
            parts.push(Part {
                family: tool,
                table: table.clone(),
                chain: Some(chain.to_owned()),
            });
        }
    }
    parts
}

/// Our own table.
fn table(scene: &Scene, is_native: bool, parts: &[Part]) -> Option<Finding> {
    let is_there = parts.iter().any(|part| part.family == "inet" && part.table == TABLE);
    // A daemon makes the table with the first jail that bans there.
    let is_expected = is_native && scene.status().is_some_and(|status| !status.dry_run);
    match (is_there, is_expected) {
        (true, _) => Some(Finding::ok("nftables", format!("table inet {TABLE} is in place"))),
        (false, true) => {
            let text = format!("table inet {TABLE} is not there: nobody is kept out by it");
            Some(
                Finding::bad("nftables", text)
                    .mend("portcullis verify; it is put back within seconds, or the log says why not"),
            )
        }
        (false, false) => is_native.then(|| Finding::ok("nftables", "nftables can be reached")),
    }
}

/// Names that the configuration gives to what Fail2Ban's actions make: those are no leftovers.
fn named(scene: &Scene) -> BTreeSet<String> {
    let actions = scene
        .jails()
        .flat_map(|jail| jail.actions.iter().map(move |action| (jail, action)));
    let names = actions.flat_map(|(jail, action)| {
        let property = |name: &str| ActionPlan::property(action, name);
        let name = property("name").unwrap_or_else(|| jail.name.to_string());
        let made = [property("table"), property("chain"), property("addr_set")];
        made.into_iter().flatten().chain([format!("{THEIRS}{name}")])
    });
    names.collect()
}

/// Chains and tables of a Fail2Ban that is gone. They go on dropping whom it banned last.
fn leftovers((parts, sets): (&[Part], &[String]), own: &BTreeSet<String>) -> Option<Finding> {
    let tables: BTreeSet<String> = parts
        .iter()
        .filter(|part| part.table.starts_with(THEIRS) && !own.contains(&part.table))
        .map(|part| format!("nft delete table {} {}", part.family, part.table))
        .collect();
    let in_tables = |part: &&Part| !part.table.starts_with(THEIRS);
    let chains: BTreeSet<(&str, &str)> = parts
        .iter()
        .filter(in_tables)
        .filter_map(|part| Some((part.family, part.chain.as_deref()?)))
        .filter(|(_, chain)| chain.starts_with(THEIRS) && !own.contains(*chain))
        .collect();
    let is_own = |name: &str| own.contains(name) || name.strip_suffix('6').is_some_and(|name| own.contains(name));
    let sets: BTreeSet<&str> = sets.iter().map(String::as_str).collect();
    let sets = sets.into_iter().filter(|set| set.starts_with(THEIRS) && !is_own(set));
    let sets: BTreeSet<&str> = sets.collect();
    if tables.is_empty() && chains.is_empty() && sets.is_empty() {
        return None;
    }
    let named: Vec<&str> = chains.iter().map(|(_, chain)| *chain).collect();
    let named = named
        .into_iter()
        .chain(tables.iter().filter_map(|table| table.rsplit(' ').next()));
    let named: BTreeSet<&str> = named.chain(sets.iter().copied()).collect();
    let named: Vec<&str> = named.into_iter().collect();
    let text = format!(
        "a former Fail2Ban left rules in the kernel, which go on dropping whom it banned: {}",
        named.join(", ")
    );
    let mut mend: Vec<String> = tables.into_iter().collect();
    let older = ["iptables-legacy", "ip6tables-legacy"].map(|tool| (tool, tool));
    for (family, tool) in [("ip", "iptables"), ("ip6", "ip6tables")].into_iter().chain(older) {
        if chains.iter().any(|(own, _)| *own == family) {
            mend.push(format!("{tool}-save | grep -v {THEIRS} | {tool}-restore"));
        }
    }
    mend.extend(sets.iter().map(|set| format!("ipset destroy {set}")));
    Some(Finding::warn("leftovers", text).mend(mend.join("\n")))
}

/// Other programs that write rules, and what is known of them.
fn neighbours(root: &Path, shells: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let says = |path: &str, key: &str, value: &str| {
        text(path).lines().any(|line| {
            let pair = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            pair.is_some_and(|(own, is)| own.eq_ignore_ascii_case(key) && is.eq_ignore_ascii_case(value))
        })
    };
    let own = "the table inet portcullis is another than its own, and stays";
    let lost = "rules that actions put there by iptables are gone after it; portcullis reload puts them back";
    let what = if shells { lost } else { own };
    if says("etc/ufw/ufw.conf", "ENABLED", "yes") {
        let text = format!("ufw is on; ufw reload and ufw disable write its rules anew: {what}");
        found.push(Finding::note("neighbour", text).of("ufw"));
    }
    if is_running(root, "firewalld") {
        let text = format!("firewalld runs; firewall-cmd --reload writes its rules anew: {what}");
        found.push(Finding::note("neighbour", text).of("firewalld"));
    }
    if is_running(root, "dockerd") {
        let text = if shells {
            "Docker runs; packets to published ports do not pass the chain INPUT, where actions of iptables ban: \
             containers are not protected by them"
        } else {
            "Docker runs; bans act before its forwarding, so that published ports are protected, too"
        };
        let finding = Finding::note("neighbour", text).of("docker");
        found.push(if shells {
            finding.mend("use action = nft[type=allports], or chain = DOCKER-USER in the action")
        } else {
            finding
        });
    }
    let flushes = text("etc/nftables.conf")
        .lines()
        .any(|line| line.trim().starts_with("flush ruleset"));
    let is_unit = root.join("etc/systemd/system/sysinit.target.wants/nftables.service");
    if flushes && is_unit.symlink_metadata().is_ok() {
        let text = "systemctl reload nftables begins with flush ruleset, which empties every table, ours too; the daemon \
                    puts its own back within a moment";
        let mend =
            "write flush table inet filter, or what the file makes, in place of flush ruleset in /etc/nftables.conf";
        found.push(Finding::note("neighbour", text).of("nftables.service").mend(mend));
    }
    found
}

/// Whether a process of that name runs.
fn is_running(root: &Path, name: &str) -> bool {
    let processes = fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    let mut numbers = processes.filter(|process| {
        process
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|b| b.is_ascii_digit())
    });
    numbers.any(|process| fs::read_to_string(process.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
}

/// Bans without IPv6 on a machine that has it.
fn one_eyed(allowipv6: &str, address: Option<IpAddr>) -> Option<Finding> {
    let address = address?;
    let is_off = !allowipv6.eq_ignore_ascii_case("auto") && !parse_bool(allowipv6);
    is_off.then(|| {
        let text = format!(
            "allowipv6 = {allowipv6}, and this machine is reached by IPv6 ({address}): who comes that way is not banned"
        );
        Finding::warn("ipv6", text).mend("write allowipv6 = auto under [Definition] in fail2ban.local")
    })
}

/// An address by which the world reaches this machine.
fn has_ipv6() -> Option<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses = interfaces.iter().map(if_addrs::Interface::ip);
    addresses.find(|ip| match ip {
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unique_local(),
        IpAddr::V4(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(family: &'static str, table: &str, chain: Option<&str>) -> Part {
        Part {
            family,
            table: table.to_owned(),
            chain: chain.map(str::to_owned),
        }
    }

    #[test]
    fn what_fail2ban_left() {
        let parts = [
            part("ip", "filter", Some("f2b-sshd")),
            part("ip", "filter", Some("INPUT")),
            part("inet", "f2b-table", None),
            part("inet", "f2b-table", Some("f2b-chain")),
            part("inet", "portcullis", None),
        ];
        let sets = ["f2b-sshd", "f2b-sshd6", "other"].map(str::to_owned);
        let finding = leftovers((&parts, &sets), &BTreeSet::new()).unwrap();
        assert!(
            finding.text.ends_with("banned: f2b-sshd, f2b-sshd6, f2b-table"),
            "{finding:?}"
        );
        let mend = "nft delete table inet f2b-table\niptables-save | grep -v f2b- | iptables-restore\nipset destroy f2b-sshd\n\
                    ipset destroy f2b-sshd6";
        assert_eq!(finding.mend.as_deref(), Some(mend));
        let own = ["f2b-sshd", "f2b-table"].map(str::to_owned).into();
        assert_eq!(leftovers((&parts, &sets), &own), None);
        let text = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n-A INPUT -j f2b-sshd\nCOMMIT\n";
        let parts = saved("ip6tables-legacy", text);
        assert_eq!(parts[1], part("ip6tables-legacy", "filter", Some("f2b-sshd")));
        let finding = leftovers((&parts, &[]), &BTreeSet::new()).unwrap();
        let mend = "ip6tables-legacy-save | grep -v f2b- | ip6tables-legacy-restore";
        assert_eq!(finding.mend.as_deref(), Some(mend));
        assert!(finding.text.ends_with("banned: f2b-sshd"), "{finding:?}");
    }

    #[test]
    fn who_else_writes_rules() {
        let root = tempfile::tempdir().unwrap();
        assert!(neighbours(root.path(), false).is_empty());
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/ufw/ufw.conf", "# x\nENABLED=yes\n");
        put("proc/12/comm", "dockerd\n");
        put("proc/13/comm", "firewalld\n");
        put("etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\n");
        put("etc/systemd/system/sysinit.target.wants/nftables.service", "");
        let subjects = |shells| -> Vec<String> {
            let found = neighbours(root.path(), shells).into_iter();
            found.filter_map(|finding| finding.subject).collect()
        };
        assert_eq!(subjects(false), ["ufw", "firewalld", "docker", "nftables.service"]);
        let docker = |shells| neighbours(root.path(), shells)[2].mend.clone();
        assert!(docker(true).unwrap().contains("DOCKER-USER") && docker(false).is_none());
    }

    #[test]
    fn ipv6_that_is_left_open() {
        let address: Option<IpAddr> = Some("2001:db8::1".parse().unwrap());
        for (option, expect) in [("auto", false), ("yes", false), ("no", true), ("false", true)] {
            assert_eq!(one_eyed(option, address).is_some(), expect, "{option}");
        }
        assert_eq!(one_eyed("no", None), None);
    }
}
