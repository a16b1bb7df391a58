//! The guide to Google's cloud in its two languages, and the files that it ships: both say to type the same, every link
//! leads somewhere, the roles are roles, and the guard of the metadata server loads and guards.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, thread};

use rustix::thread::UnshareFlags;

const LANGUAGES: [&str; 2] = ["gcp.md", "gcp.ko.md"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide")
}

fn text(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// What stands between fences, each with its language, and what stands outside.
fn blocks(text: &str) -> (Vec<String>, String) {
    let parts: Vec<&str> = text.split("\n```").collect();
    assert_eq!(parts.len() % 2, 1, "each fence is closed");
    let inside = parts.iter().skip(1).step_by(2).map(|part| (*part).to_owned()).collect();
    (inside, parts.iter().step_by(2).copied().collect::<Vec<_>>().join("\n"))
}

fn headings(prose: &str) -> Vec<&str> {
    prose.lines().filter(|line| line.starts_with('#')).collect()
}

/// Commands that stand in a sentence or in a table.
fn commands(prose: &str) -> BTreeSet<String> {
    let words = prose.replace('\n', " ");
    let spans = words.split('`').skip(1).step_by(2);
    let is_command = |span: &&str| {
        ["gcloud ", "portcullis ", "sudo ", "timedatectl "]
            .iter()
            .any(|start| span.starts_with(start))
    };
    spans.filter(is_command).map(str::to_owned).collect()
}

#[test]
fn both_languages_say_to_type_the_same() {
    let [english, korean] = LANGUAGES.map(text);
    let [(typed, english), (typed_too, korean)] = [&english, &korean].map(|text| blocks(text));
    assert!(typed.len() > 10 && commands(&english).len() > 10);
    assert_eq!(typed, typed_too);
    assert_eq!(commands(&english), commands(&korean));
    let levels = |prose: &str| -> Vec<usize> {
        let headings = headings(prose).into_iter();
        headings
            .map(|line| line.bytes().take_while(|byte| *byte == b'#').count())
            .collect()
    };
    assert_eq!(levels(&english), levels(&korean));
    let rows = |prose: &str| prose.lines().filter(|line| line.starts_with('|')).count();
    assert_eq!(rows(&english), rows(&korean), "rows of tables");
    let items = |prose: &str| {
        let numbered = |line: &&str| {
            line.split_once(". ")
                .is_some_and(|(number, _)| number.parse::<u8>().is_ok())
        };
        let is_item = |line: &&str| line.starts_with("- ") || numbered(line);
        prose.lines().filter(is_item).count()
    };
    assert_eq!(items(&english), items(&korean), "items of lists");
}

/// As they are made of headings by those who show Markdown.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for name in LANGUAGES {
        let (_, prose) = blocks(&text(name));
        let anchors: BTreeSet<String> = headings(&prose).into_iter().map(anchor).collect();
        let targets: Vec<&str> = prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .collect();
        assert!(targets.len() > 5, "{name}");
        for target in targets {
            let is_there = match target.strip_prefix('#') {
                Some(anchor) => anchors.contains(anchor),
                None => folder().join(target).is_file(),
            };
            assert!(is_there, "{name}: {target}");
        }
    }
}

#[test]
fn the_roles_are_roles() {
    let mut all = BTreeSet::new();
    for (name, id) in [
        ("gcp-role.yaml", "portcullis"),
        ("gcp-role-project.yaml", "portcullisProject"),
    ] {
        let text = text(name);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let (fields, permissions) = lines.split_at(4);
        for (line, key) in fields
            .iter()
            .zip(["title: ", "description: ", "stage: GA", "includedPermissions:"])
        {
            assert!(line.starts_with(key), "{name}: {line}");
            assert!(!line[key.len()..].contains(": "), "{name}: {line}");
        }
        for line in permissions {
            let permission = line.strip_prefix("- compute.").unwrap();
            assert!(
                permission.chars().all(|c| c.is_ascii_alphabetic() || c == '.'),
                "{name}: {line}"
            );
            assert!(all.insert(permission.to_owned()), "{name}: {line} stands twice");
        }
        for page in LANGUAGES {
            let page = self::text(page);
            assert!(page.contains(&format!(
                "gcloud iam roles create {id} --project=$PROJECT --file={name}"
            )));
            assert!(page.contains(&format!("--role=projects/$PROJECT/roles/{id} ")));
        }
    }
    for needed in [
        "firewalls.get",
        "firewalls.update",
        "networks.updatePolicy",
        "globalOperations.get",
    ] {
        assert!(all.contains(needed), "{needed}");
    }
}

fn run(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status().unwrap();
    assert!(status.success(), "{program} {words:?}");
}

/// Whether somebody gets through to the metadata server.
fn reaches(user: u32, port: u16) -> bool {
    let mut command = Command::new("timeout");
    command.args(["1", "bash", "-c", &format!("exec 3<>/dev/tcp/169.254.169.254/{port}")]);
    command.uid(user).gid(user).stderr(std::process::Stdio::null());
    command.status().unwrap().success()
}

/// In a network of this thread's own.
#[test]
fn the_guard_leaves_the_metadata_server_to_root() {
    let guarded = || {
        #[expect(
            deprecated,
            reason = "the successor is marked unsafe for its flag FILES alone, which is not used here"
        )]
        rustix::thread::unshare(UnshareFlags::NEWNET).expect("a network of its own needs root");
        let file = folder().join("gcp-metadata-guard.nft").display().to_string();
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["address", "add", "169.254.169.254/32", "dev", "lo"]);
        let _servers = [80, 53].map(|port| TcpListener::bind(("169.254.169.254", port)).unwrap());
        assert!(reaches(0, 80) && reaches(65_534, 80), "before");
        run("nft", &["-c", "-f", &file]);
        assert!(reaches(65_534, 80), "checking changes nothing");
        run("nft", &["-f", &file]);
        run("nft", &["-f", &file]);
        assert!(reaches(0, 80), "root");
        assert!(!reaches(65_534, 80), "somebody else");
        assert!(reaches(65_534, 53), "names are for everybody");
        run("nft", &["delete", "table", "inet", "metadata_guard"]);
        assert!(reaches(65_534, 80), "after");
    };
    thread::spawn(guarded).join().unwrap();
}
