//! What differs on purpose, each under its id of `docs/deviations.md`: both outputs are checked, and then made one.

use super::run::Ended;

/// Where a command line is one that is known to differ, checks how, and leaves nothing to be compared of that.
pub(super) fn take_out(command: &[String], ours: &mut Ended, theirs: &mut Ended) {
    for part in [users, help, levels, matches, debuggex, datepattern, zone, files] {
        if part(command, ours, theirs) {
            theirs.clone_from(ours);
        }
    }
    ours.text = without_process(&ours.text);
    theirs.text = without_process(&theirs.text);
}

fn has(command: &[String], word: &str) -> bool {
    command.iter().any(|own| own == word)
}

/// D-029: the names of a set come in any order from Fail2Ban, and sorted they are ours.
fn users(_: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    let sorted = |text: &str| {
        let mut lines = Vec::new();
        for line in text.split('\n') {
            let set = line.find("'users': {").map(|at| at + "'users': {".len());
            let set = set.or_else(|| line.starts_with("{'").then_some(1));
            let Some((start, length)) = set.and_then(|start| Some((start, line[start..].find('}')?))) else {
                lines.push(line.to_owned());
                continue;
            };
            let mut names: Vec<&str> = line[start..start + length].split(", ").collect();
            names.sort_unstable();
            lines.push(format!(
                "{}{}{}",
                &line[..start],
                names.join(", "),
                &line[start + length..]
            ));
        }
        lines.join("\n")
    };
    ours.text = sorted(&ours.text);
    theirs.text = sorted(&theirs.text);
    false
}

/// D-075: the help has our own words, and every option of Fail2Ban's.
fn help(_: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    if !theirs.text.starts_with("Usage: ") || ours.code != theirs.code {
        return false;
    }
    let options = theirs.text.split([' ', ',', '=', '\n']).filter(|word| {
        let name = word.strip_prefix("--").unwrap_or_default();
        name.len() > 1 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    });
    let missing: Vec<&str> = options.filter(|option| !ours.text.contains(option)).collect();
    assert!(missing.is_empty(), "the help does not name {missing:?}");
    ours.text
        .contains("Usage: fail2ban-regex [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]")
}

/// D-074: what Fail2Ban tells of its inside is refused.
fn levels(command: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    let level = ["info", "HeavyDebug", "10"]
        .into_iter()
        .find(|level| has(command, level));
    level.is_some_and(|level| {
        let what = format!("ERROR: --log-level {level} is not supported yet");
        ours.code == Some(255) && ours.text.contains(&what) && theirs.code == Some(0)
    })
}

/// D-077: the lines of a match as tuples of Python are refused.
fn matches(command: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    let what = "ERROR: --out matches is not supported yet";
    has(command, "matches")
        && ours.code == Some(255)
        && ours.text.starts_with(what)
        && theirs.code == Some(0)
        && theirs.text.lines().all(|line| line.starts_with("[('"))
}

/// D-027: addresses of a web site are refused.
fn debuggex(command: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    has(command, "-D")
        && ours.code == Some(255)
        && ours.text.starts_with("ERROR: --debuggex is not supported")
        && theirs.code == Some(0)
}

/// D-028: a date pattern that does not compile is refused before the first line.
fn datepattern(command: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    if has(command, "%q") {
        let refused = |ended: &Ended, what: &str| ended.code == Some(255) && ended.text.contains(what);
        return refused(ours, "ERROR: datepattern '%q': '%q' is no token")
            && refused(theirs, "ERROR: Failed to set datepattern '%q'");
    }
    has(command, "(%H")
        && ours.code == Some(255)
        && ours.text.contains("ERROR: datepattern: unable to compile")
        && theirs.code == Some(1)
        && !theirs.text.contains("Results")
}

/// D-070: an abbreviation that nobody knows.
fn zone(command: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    has(command, "XYZ")
        && ours.code == theirs.code
        && ours.text.contains("ERROR: Unknown or unsupported time zone: 'XYZ'")
        && theirs.text.contains("ERROR: 'XYZ'")
}

/// D-078: what is wrong with a file is said in our own words.
fn files(_: &[String], ours: &mut Ended, theirs: &mut Ended) -> bool {
    let around = |text: &str| {
        let (before, rest) = text.split_once("Wrong config file: ")?;
        let after = rest.split_once("ERROR: ")?.1;
        Some((before.to_owned(), after.to_owned()))
    };
    let (mine, other) = (around(&ours.text), around(&theirs.text));
    mine.is_some() && mine == other && ours.code == theirs.code
}

/// A line of the log names the process, which is another for each.
fn without_process(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        match (line.split_once(" fail2ban.filter         ["), line.split_once("]: ")) {
            (Some((before, _)), Some((_, after))) => out.push_str(&format!("{before} fail2ban.filter: {after}")),
            _ => out.push_str(line),
        }
    }
    out
}
