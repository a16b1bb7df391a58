//! The programs that an action's commands name, and whether they are there.
//!
//! Commands are the shell's language, and only what is plain in it is taken for a program: the first word of a simple
//! command, without quotes, variables or tags. What is not sure is passed over.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::scene::Scene;

/// Where programs are looked for where nobody says otherwise, as the shell does.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// So much of a script is looked at.
const LONGEST: usize = 64 << 10;
/// Words of the shell that are no programs, or are in it.
const SHELL: &[&str] = &[
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function", "{",
    "}", "!", "[", "[[", "test", "echo", "printf", "true", "false", ":", ".", "source", "cd", "exit", "return", "set",
    "unset", "shift", "export", "readonly", "local", "read", "eval", "exec", "command", "type", "trap", "wait",
    "umask", "ulimit", "break", "continue", "kill", "times", "getopts", "hash", "alias", "time",
];
/// Words after which a command begins.
const BEFORE: &[&str] = &[
    "if", "then", "elif", "else", "while", "until", "do", "!", "{", "exec", "command", "time",
];
/// Programs that come in a package of another name, as Debian has it.
const PACKAGES: &[(&str, &str)] = &[
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("iptables-restore", "iptables"),
    ("ipset", "ipset"),
    ("nft", "nftables"),
    ("sendmail", "default-mta"),
    ("mail", "bsd-mailx"),
    ("whois", "whois"),
    ("gcloud", "google-cloud-cli"),
    ("ufw", "ufw"),
    ("firewall-cmd", "firewalld"),
    ("curl", "curl"),
];

/// Where programs are looked for: the daemon's own folders, where one runs.
pub(super) struct Programs(Vec<PathBuf>);

impl Programs {
    pub(super) fn of(scene: &Scene) -> Programs {
        let of_daemon = scene.status().and_then(|status| {
            let environment = fs::read(scene.root.join(format!("proc/{}/environ", status.pid))).ok()?;
            let mut entries = environment.split(|byte| *byte == 0);
            let entry = entries.find_map(|entry| entry.strip_prefix(b"PATH="))?;
            Some(String::from_utf8_lossy(entry).into_owned())
        });
        let path = of_daemon.unwrap_or_else(|| PATH.to_owned());
        Programs(path.split(':').map(PathBuf::from).collect())
    }

    /// Whether a program of that name can be run.
    pub(super) fn has(&self, name: &str) -> bool {
        if name.contains('/') {
            return is_program(Path::new(name));
        }
        self.0.iter().any(|folder| is_program(&folder.join(name)))
    }
}

fn is_program(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The programs that a script surely calls.
pub(super) fn named(script: &str) -> Vec<String> {
    let script = script.get(..LONGEST).unwrap_or(script);
    let mut names = Vec::new();
    // What stands in quotes is text, and what follows << is the text of a document: behind either nothing is sure.
    let plain = script.split(['"', '\'', '`', '#']).next().unwrap_or_default();
    let plain = plain.split("<<").next().unwrap_or_default();
    for command in plain.split(['\n', ';', '|', '&', '(', ')']) {
        let is_set = |word: &&str| word.split_once('=').is_some_and(|(name, _)| is_name(name));
        let mut words = command.split_whitespace().skip_while(is_set);
        let first = words.find(|word| !BEFORE.contains(word));
        names.extend(first.filter(|word| is_sure(word)).map(str::to_owned));
    }
    names
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_sure(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '+');
    let is_path = word.starts_with('/') || !word.contains('/');
    let begins = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    !SHELL.contains(&word) && begins && is_path && word.chars().all(fits)
}

/// How it comes to be there.
pub(super) fn mend(name: &str) -> String {
    let short = name.rsplit('/').next().unwrap_or(name);
    let package = PACKAGES.iter().find(|(program, _)| *program == short);
    match package {
        Some(("iptables" | "ip6tables" | "ipset", package)) => {
            format!("apt-get install {package}; or use our own: action = nft[type=multiport]")
        }
        Some((_, package)) => format!("apt-get install {package}"),
        None => "install it, or correct its name in the action's file (action.d)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_a_script() {
        let check = |script: &str, expect: &[&str]| assert_eq!(named(script), expect, "{script}");
        check("iptables -w -I f2b-sshd 1 -s <ip> -j DROP", &["iptables"]);
        check(
            "{ iptables -w -C f2b 2>/dev/null; } || { iptables -w -N f2b; }\nip6tables -L",
            &["iptables", "iptables", "ip6tables"],
        );
        check("LANG=C /usr/sbin/sendmail -f x y", &["/usr/sbin/sendmail"]);
        check("if [ -f x ]; then curl x; fi", &["curl"]);
        check("printf %%b \"Subject: ; not-a-program\" | mail", &[]);
        check("echo x | logger", &["logger"]);
        check("<mailcmd> x; $TOOL y; ./relative", &[]);
        check("cat <<E\nnothing here\nE", &["cat"]);
    }

    #[test]
    fn what_is_there() {
        let programs = Programs(vec![PathBuf::from("/bin"), PathBuf::from("/usr/bin")]);
        assert!(programs.has("sh") && programs.has("/bin/sh"));
        assert!(!programs.has("no-such-program") && !programs.has("/bin"));
        assert!(mend("/sbin/ipset").contains("apt-get install ipset"));
        assert!(mend("x").contains("action.d"));
    }
}
