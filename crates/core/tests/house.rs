//! The house style, as far as a program can see it: sizes, names, and the ban on unsafe code, in the whole workspace.

#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "the crate opens no file; this test reads the workspace's sources"
)]

mod sources;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file above this is printed: it should be taken apart when it is next worked on.
const AIM: usize = 500;
/// A file above this fails.
const LIMIT: usize = 520;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "utils", "util", "common", "helpers", "helper", "types", "manager", "misc",
];

#[test]
fn no_file_grows_without_end() -> io::Result<()> {
    let mut long = Vec::new();
    for file in sources()?.into_iter().filter(|file| !is_test(file)) {
        let lines = lines_without_tests(&fs::read_to_string(&file)?);
        if lines > AIM {
            println!("{}: {lines} lines without tests; the aim is {AIM}", file.display());
        }
        if lines > LIMIT {
            long.push(format!("{}: {lines} lines without tests", file.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
    Ok(())
}

#[test]
fn names_say_what_is_inside() -> io::Result<()> {
    for file in sources()? {
        for part in file.strip_prefix(root()).unwrap_or(&file).with_extension("").iter() {
            let part = part.to_string_lossy();
            assert!(
                !EMPTY_NAMES.contains(&part.as_ref()),
                "{}: `{part}` is no name",
                file.display()
            );
        }
    }
    Ok(())
}

#[test]
fn main_only_starts() -> io::Result<()> {
    for file in sources()?.into_iter().filter(|file| file.ends_with("src/main.rs")) {
        let text = fs::read_to_string(&file)?;
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("mod "))
            .count();
        assert!(lines <= 20, "{}: {lines} lines of code", file.display());
    }
    Ok(())
}

#[test]
fn no_crate_may_use_unsafe_code() -> io::Result<()> {
    let mut roots = 0;
    for file in sources()?.into_iter().filter(|file| is_crate_root(file)) {
        roots += 1;
        let text = fs::read_to_string(&file)?;
        assert!(
            text.lines().any(|line| line == "#![forbid(unsafe_code)]"),
            "{}",
            file.display()
        );
    }
    assert!(roots >= 2, "{roots} crate roots found");
    for member in fs::read_dir(root().join("crates"))? {
        let manifest = fs::read_to_string(member?.path().join("Cargo.toml"))?;
        assert!(manifest.contains("[lints]\nworkspace = true"), "{manifest}");
    }
    Ok(())
}

#[test]
fn bans_begin_and_end_in_the_engine_alone() -> io::Result<()> {
    let core = root().join("crates/core/src");
    let allowed = |file: &Path| {
        ["engine", "ledger", "ledger.rs"]
            .iter()
            .any(|part| file.starts_with(core.join(part)))
    };
    let strangers = naming("Ledger", |file| !allowed(file))?;
    assert!(
        strangers.is_empty(),
        "the ledger is changed by the engine alone, but is named in {strangers:?}"
    );
    assert!(
        !naming("Ledger", |file| allowed(file))?.is_empty(),
        "the ledger has another name now"
    );
    Ok(())
}

/// The trial plays the attacked servers itself, on loopback, before and beside the daemon, and the probe of `verify` has a
/// private network; the daemon opens none. A debug build tries on request that it cannot.
#[test]
fn no_network_port_is_opened() -> io::Result<()> {
    for socket in ["TcpListener", "UdpSocket"] {
        let is_allowed = |file: &Path| {
            let mut parts = file.components();
            let plays = parts.any(|part| part.as_os_str() == "trial" || part.as_os_str() == "probe");
            plays || file.ends_with("sandbox/trial.rs")
        };
        let found = naming(socket, |file| !is_allowed(file))?;
        assert!(found.is_empty(), "{socket} in {found:?}");
    }
    Ok(())
}

#[test]
fn tests_are_not_counted() {
    let check = |text: &str, expect: usize| assert_eq!(lines_without_tests(text), expect, "{text}");
    check("a\nb\n", 2);
    check("a\n#[cfg(test)]\nmod tests;\n", 3);
    check("a\n\n#[cfg(test)]\nmod tests {\n    x\n}\n", 2);
    check("a\n#[cfg(test)]\nmod tests {\n    x {\n    }\n}\nb\n", 2);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All `.rs` files below `crates` and `tests`.
fn sources() -> io::Result<Vec<PathBuf>> {
    let found = sources::below(vec![root().join("crates"), root().join("tests")])?;
    assert!(found.len() > 50, "{} sources found", found.len());
    Ok(found)
}

/// The sources among `these`, tests left out, in which a word stands.
fn naming(word: &str, these: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = sources()?;
    found.retain(|file| !is_test(file) && these(file));
    let mut texts = Vec::new();
    for file in found {
        let text = fs::read_to_string(&file)?;
        if text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|part| part == word)
        {
            texts.push(file);
        }
    }
    Ok(texts)
}

fn is_test(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// A library, a program, or a file of integration tests, each of which is compiled as a crate of its own.
fn is_crate_root(file: &Path) -> bool {
    let beside_src = file
        .parent()
        .and_then(Path::parent)
        .is_some_and(|folder| folder.join("Cargo.toml").is_file());
    let is_source = file.parent().is_some_and(|folder| folder.ends_with("src"));
    beside_src && (!is_source || file.ends_with("src/lib.rs") || file.ends_with("src/main.rs"))
}

/// Lines outside of inline test modules, as rustfmt lays them out.
fn lines_without_tests(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens = lines
            .peek()
            .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && opens {
            let _ = lines.by_ref().find(|line| *line == "}");
        } else {
            count += 1;
        }
    }
    count
}
