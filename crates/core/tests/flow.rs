//! The order of the modules: each uses only those that stand above it in `lib.rs`.
//!
//! Paths are read from the sources as tokens, so that groups, `super` chains and inline modules count, and text in
//! comments and strings does not.

#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "the crate opens no file; this test reads its sources"
)]

mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

#[test]
fn a_module_uses_only_those_above_it() -> io::Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = listed(&tokens(&fs::read_to_string(src.join("lib.rs"))?));
    assert!(order.len() > 10, "lib.rs lists its modules: {order:?}");
    let mut wrong = Vec::new();
    for file in sources::below(vec![src.clone()])? {
        let module = module_of(file.strip_prefix(&src).unwrap_or(&file));
        for used in uses(&tokens(&fs::read_to_string(&file)?), &module) {
            wrong.extend(judge(&order, &module, &used).map(|fault| format!("{}: {fault}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_module_is_listed() -> io::Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order: BTreeSet<String> = listed(&tokens(&fs::read_to_string(src.join("lib.rs"))?))
        .into_iter()
        .collect();
    let mut there = BTreeSet::new();
    for file in sources::below(vec![src.clone()])? {
        there.extend(module_of(file.strip_prefix(&src).unwrap_or(&file)).into_iter().next());
    }
    assert_eq!(there, order);
    Ok(())
}

#[test]
fn uses_are_found_wherever_they_stand() {
    let check = |module: &[&str], text: &str, expect: &[&str]| {
        let module: Vec<String> = module.iter().map(|&part| part.to_owned()).collect();
        let found = uses(&tokens(text), &module);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expect, "{text}");
    };
    check(&["judge"], "use crate::time::{Clock, Seconds};", &["time"]);
    check(
        &["judge"],
        "use crate::{ledger::{Ban, Mark}, time, wire::*};",
        &["ledger", "time", "wire"],
    );
    check(&["judge"], "fn f() -> crate::engine::Engine {}", &["engine"]);
    check(&["judge"], "pub(crate) fn f() { super::wire::decode() }", &["wire"]);
    check(&["config", "ini"], "use super::text::Text;", &["config"]);
    check(&["config", "ini"], "use super::super::wire;", &["wire"]);
    check(
        &["config", "ini"],
        "use super::{super::{engine, wire::Reply}, tree};",
        &["config", "engine", "wire"],
    );
    check(
        &["judge"],
        "mod tests { use super::*; use super::super::wire::x; } use super::time;",
        &["judge", "time", "wire"],
    );
    check(
        &["judge"],
        "pub(in crate::judge) struct S; pub(super) fn g() {}",
        &["judge"],
    );
    check(&["judge"], "use crate::*;", &["*"]);
    check(&["judge"], "use crate as whole;", &["*"]);
    check(
        &["judge"],
        "// crate::wire\n/* crate::wire /* */ crate::wire */ const A: &str = \"crate::wire\";",
        &[],
    );
    check(
        &["judge"],
        r###"const A: &str = r#"" crate::wire "#; const B: char = '"'; use crate::time;"###,
        &["time"],
    );
    check(
        &["judge"],
        "fn f<'a>(x: &'a str) -> char { '\\'' } use crate::time; // '",
        &["time"],
    );
}

#[test]
fn what_stands_below_is_a_fault() {
    let order = ["time", "judge", "wire"].map(str::to_owned);
    let check = |module: &str, used: &str, fault: bool| {
        assert_eq!(
            judge(&order, &[module.to_owned()], used).is_some(),
            fault,
            "{module} uses {used}"
        );
    };
    check("judge", "time", false);
    check("judge", "judge", false);
    check("judge", "wire", true);
    check("time", "wire", true);
    check("judge", "*", true);
    check("stray", "time", true);
}

/// What is wrong with `module` using `used`.
fn judge(order: &[String], module: &[String], used: &str) -> Option<String> {
    let place = |name: &str| order.iter().position(|listed| listed == name);
    let own = module.first()?;
    match (place(own), place(used)) {
        (Some(own), Some(used)) if used <= own => None,
        (Some(_), Some(_)) => Some(format!("`{own}` uses `{used}`, which stands below it in lib.rs")),
        (None, _) => Some(format!("`{own}` is not listed in lib.rs")),
        (_, None) => Some(format!("`{own}` uses `{used}`, which is no module of lib.rs")),
    }
}

/// `config/ini.rs` is `config::ini`, `config/mod.rs` is `config`, `lib.rs` is the root.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// The modules that `lib.rs` declares, in its order.
fn listed(tokens: &[String]) -> Vec<String> {
    let declared = tokens.windows(3).filter(|three| three[0] == "mod" && three[2] == ";");
    declared.map(|three| three[1].clone()).collect()
}

/// The top modules that a file of `module` names by `crate` or `super`; `*` where it names the crate as a whole.
fn uses(tokens: &[String], module: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = module.to_vec();
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                let named = at >= 2 && tokens[at - 2] == "mod";
                if named {
                    inside.push(tokens[at - 1].clone());
                }
                blocks.push(named);
            }
            "}" if blocks.pop() == Some(true) => drop(inside.pop()),
            "crate" | "super" if tokens.get(at + 1).is_some_and(|next| next != ")") => {
                at = path(tokens, at, &inside, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path from `at`, with the groups in it; where it ends.
fn path(tokens: &[String], mut at: usize, inside: &[String], found: &mut BTreeSet<String>) -> usize {
    // A path stands for the module that its beginning leads to, until a name is met: that one decides.
    let mut place = inside.to_vec();
    let mut decided = false;
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("crate") => place.clear(),
            Some("super") => drop(place.pop()),
            Some("self") => {}
            Some("{") => return group(tokens, at + 1, (&place, decided), found),
            Some(name) if !decided => {
                found.insert(place.first().map_or(name, String::as_str).to_owned());
                decided = true;
            }
            _ => {}
        }
        at += 1;
        if tokens.get(at).is_none_or(|next| next != "::") {
            break;
        }
        at += 1;
    }
    if !decided {
        found.insert(place.first().map_or("*", String::as_str).to_owned());
    }
    at
}

/// Reads the paths of a group whose brace is open; where it ends. What it names below a decided path is no news.
fn group(tokens: &[String], mut at: usize, from: (&[String], bool), found: &mut BTreeSet<String>) -> usize {
    let (place, decided) = from;
    let mut ignored = BTreeSet::new();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "}" => return at + 1,
            "," => at += 1,
            "as" => at += 2,
            _ => at = path(tokens, at, place, if decided { &mut ignored } else { &mut *found }),
        }
    }
    at
}

/// Words and signs of a Rust source, without comments and the insides of literals.
fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        let quiet = first.is_whitespace() || token.starts_with("//") || token.starts_with("/*");
        if !quiet {
            out.push(if token.contains(['"', '\'']) {
                "\"".to_owned()
            } else {
                token.to_owned()
            });
        }
        rest = after;
    }
    out
}

/// The length of a block comment, nested ones included.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string, raw string or character that a text begins with, if it begins with one.
fn literal(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !matches!(c, 'b' | 'r' | 'c'))?;
    let body = text.get(prefix..)?;
    let hashes = body.find(|c| c != '#')?;
    if prefix <= 2 && text[..prefix].contains('r') && body[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let inner = prefix + hashes + 1;
        return Some(text[inner..].find(&end).map_or(text.len(), |at| inner + at + end.len()));
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = body.get(1..)?;
    let is_lifetime = quote == '\'' && !inner.starts_with('\\') && inner.chars().nth(1) != Some('\'');
    if prefix > 1 || is_lifetime {
        return None;
    }
    let mut escaped = false;
    let close = inner.find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(close.map_or(text.len(), |at| prefix + 1 + at + 1))
}
