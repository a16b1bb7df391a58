//! What comes with the program: the package itself, man pages, completions, units.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::machine::{self, Machine, package, root, text};

/// As `systemd-analyze security` counts: 0 is a service that can do nothing, 10 one that can do everything.
const EXPOSURE: f64 = 3.0;

/// The package, unpacked.
fn unpacked() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("dpkg")
        .arg("-x")
        .arg(package())
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    folder
}

fn said(program: &str, words: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs it"));
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn lintian_finds_no_error() {
    let (_, found) = said(
        "lintian",
        &["--allow-root", "--fail-on", "error", package().to_str().unwrap()],
    );
    println!("{found}");
    let errors: Vec<&str> = found.lines().filter(|line| line.starts_with("E:")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let control = said("dpkg-deb", &["-f", package().to_str().unwrap()]).1;
    for part in ["Depends: ", "ucf", "Provides: fail2ban"] {
        assert!(control.contains(part), "{part}: {control}");
    }
    // A static program needs no library; another one runs on Ubuntu 22.04, which has 2.35.
    if let Some((_, rest)) = control.split_once("libc6 (>= 2.") {
        let minor: u32 = rest.split(')').next().unwrap().parse().unwrap();
        assert!((2..=35).contains(&minor), "{control}");
    } else {
        assert!(std::env::var_os("PACKAGES_PROGRAM").is_some(), "{control}");
    }
}

#[test]
fn man_pages_render() {
    let folder = unpacked();
    let section = |name| fs::read_dir(folder.path().join("usr/share/man").join(name)).unwrap();
    let pages: Vec<_> = section("man1").chain(section("man5")).flatten().collect();
    assert!(pages.len() > 22, "{}", pages.len());
    for page in pages {
        let path = page.path();
        let output = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8")
            .env("MANROFFSEQ", "")
            // One page is another's second name.
            .current_dir(folder.path().join("usr/share/man"))
            .output()
            .expect("man; tests/run installs it");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{path:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.len() > 500, "{path:?} is empty");
    }
}

#[test]
fn bash_completes() {
    let folder = unpacked();
    let completions = folder.path().join("usr/share/bash-completion/completions");
    let check = |program: &str, line: &[&str], expect: &[&str]| {
        let script = "source \"$1\"; program=$2; shift 2
            COMP_WORDS=(\"$program\" \"$@\") COMP_CWORD=$#
            $(complete -p \"$program\" | sed 's/.*-F \\([^ ]*\\).*/\\1/') \"$program\" \"${!#}\" \"${COMP_WORDS[COMP_CWORD-1]}\"
            printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Command::new("bash")
            .args(["--norc", "-c", script, "bash"])
            .arg(completions.join(program))
            .arg(program)
            .args(line)
            .output()
            .unwrap();
        let offered = text(&output.stdout);
        for word in expect {
            assert!(
                offered.lines().any(|line| line.trim() == *word),
                "{program} {line:?}: {offered}{}",
                text(&output.stderr)
            );
        }
    };
    check("portcullis", &["ba"], &["ban", "banned"]);
    check("portcullis", &["status", "--j"], &["--json"]);
    check("portcullis", &["gcp", "pl"], &["plan"]);
    check("fail2ban-client", &["st"], &["start", "status", "stop", "stats"]);
    check("fail2ban-client", &["--l"], &["--loglevel", "--logtarget"]);
    check("fail2ban-server", &["--pn"], &["--pname"]);
    check("fail2ban-regex", &["--date"], &["--datepattern"]);
}

#[test]
fn fish_completes() {
    let folder = unpacked();
    let file = folder.path().join("usr/share/fish/vendor_completions.d");
    let check = |program: &str, line: &str, expect: &str| {
        let script = format!(
            "source {}; complete -C '{line}'",
            file.join(format!("{program}.fish")).display()
        );
        let (_, offered) = said("fish", &["--no-config", "-c", &script]);
        assert!(
            offered.lines().any(|line| line.split('\t').next() == Some(expect)),
            "{line}: {offered}"
        );
    };
    check("portcullis", "portcullis ba", "banned");
    check("fail2ban-client", "fail2ban-client flush", "flushlogs");
    check("fail2ban-regex", "fail2ban-regex --date", "--datepattern");
}

#[test]
fn zsh_takes_the_completions() {
    let folder = unpacked();
    let functions = folder.path().join("usr/share/zsh/vendor-completions");
    let script = format!(
        "fpath=({} $fpath); autoload -Uz compinit && compinit -D -u
         for program in portcullis fail2ban-client fail2ban-server fail2ban-regex; do
             autoload +X -Uz _$program && print $program is completed by $_comps[$program]
         done",
        functions.display()
    );
    let (good, offered) = said("zsh", &["-f", "-c", &script]);
    for program in ["portcullis", "fail2ban-client", "fail2ban-server", "fail2ban-regex"] {
        let line = format!("{program} is completed by _{program}");
        assert!(good && offered.contains(&line), "{offered}");
    }
}

#[test]
fn the_unit_exposes_little() {
    let folder = unpacked();
    let service = folder.path().join("usr/lib/systemd/system/fail2ban.service");
    let (_, table) = said(
        "systemd-analyze",
        &["security", "--no-pager", "--offline=true", service.to_str().unwrap()],
    );
    let line = table
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .unwrap_or_else(|| panic!("{table}"));
    println!("{line}");
    let figure = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
    let figure: f64 = figure.unwrap().parse().unwrap();
    assert!(figure <= EXPOSURE, "{table}");
}

/// What is unpacked by hand has the program, its names, units, papers and the stock.
fn has_all_of_a_tarball(out: &Path) {
    let mut files = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let tarball = files.find(|path| path.extension().is_some_and(|end| end == "xz"));
    let (_, list) = said("tar", &["-tJf", tarball.unwrap().to_str().unwrap()]);
    for part in [
        "/bin/portcullis",
        "/bin/fail2ban-client",
        "/systemd/fail2ban.service",
        "/systemd/stopped",
        "/pages/man/portcullis-jail.conf.5",
        "/pages/bash/portcullis.bash",
        "/stock/jail.conf",
        "/LICENSE-MIT",
    ] {
        assert!(list.lines().any(|line| line.ends_with(part)), "{part}: {list}");
    }
}

/// The repository of a release, handed out by a plain web server: apt takes it by its key, and refuses it changed.
#[test]
fn a_repository_that_any_web_server_hands_out() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    let command = |program: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(words)
            .env("GNUPGHOME", &keys)
            .env("COMPRESSION", "-Zgzip -z1");
        command
            .env("PROGRAM", machine::program())
            .env("STATIC_PROGRAM", machine::program())
            .env("XZ_OPT", "-0")
            .env("KEY", "release@portcullis.invalid");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{program:?} {words:?}: {}", text(&done.stderr));
    };
    let key = [
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-gen-key",
        "release@portcullis.invalid",
    ];
    command(Path::new("gpg"), &key);
    let out = folder.path().join("out");
    command(&root().join("pkg/release"), &[out.to_str().unwrap()]);
    let sums = Command::new("sha256sum")
        .args(["-c", "SHA256SUMS"])
        .current_dir(&out)
        .output()
        .unwrap();
    assert!(sums.status.success(), "{}", text(&sums.stdout));
    has_all_of_a_tarball(&out);

    let machine = Machine::boot();
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&out)
        .args(["-c", "apt"])
        .output()
        .unwrap();
    fs::write(format!("/proc/{}/root/root/apt.tar", machine.leader()), packed.stdout).unwrap();
    machine.type_in(
        "rm portcullis_*.deb; tar -xf apt.tar; cp apt/portcullis.gpg /usr/share/keyrings/portcullis.gpg
         ip link set lo up
         systemd-run --quiet --working-directory=/root/apt python3 -m http.server 8000 --bind 127.0.0.1
         echo 'deb [signed-by=/usr/share/keyrings/portcullis.gpg] http://127.0.0.1:8000 stable main' >/etc/apt/sources.list
         rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*; sleep 1",
    );
    machine.type_in("apt-get update 2>&1 && apt-get install -y portcullis 2>&1");
    machine.until_said("fail2ban-client ping", "pong");
    machine.type_in("rm -rf /var/lib/apt/lists/*; sed -i s/portcullis/portculliz/ apt/dists/stable/InRelease apt/dists/stable/Release");
    let changed = machine.run("apt-get update 2>&1");
    assert!(
        text(&changed.stdout).contains("BADSIG") || !changed.status.success(),
        "{}",
        text(&changed.stdout)
    );
}
