//! Lints of the jails' own sections.

use std::collections::BTreeSet;

use super::super::definition::{JAIL_OPTIONS, Kind};
use super::super::document::{Document, KNOWN};
use super::super::options::near_names;
use super::super::plan::JailPlan;
use super::super::text::{Mark, Text, strip};
use super::{Lint, text_of, warning};
use crate::diagnostic::{Diagnostic, Severity};

/// Options whose value may well hold a `#`: regexes, shell text, and what is mailed.
const MAY_HOLD_HASH: &[&str] = &[
    "action",
    "failregex",
    "ignoreregex",
    "prefregex",
    "datepattern",
    "journalmatch",
    "ignorecommand",
];

/// Words that people use for an option of another name.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("logfile", "logpath"),
    ("logfiles", "logpath"),
    ("whitelist", "ignoreip"),
    ("ignoreips", "ignoreip"),
    ("banduration", "bantime"),
    ("maxretries", "maxretry"),
    ("retries", "maxretry"),
    ("actions", "action"),
    ("filters", "filter"),
];

pub(super) fn look(lint: &mut Lint<'_>) {
    let document = std::rc::Rc::clone(&lint.places.jails);
    odd_truths(lint, &document);
    none_enabled(lint, &document);
    inline_comments(lint, &document);
    unknown_options(lint, &document);
    for jail in lint.enabled.clone() {
        mode_without_effect(lint, &document, &jail);
    }
    twins(lint);
    idle_prefixes(lint);
}

/// What is counted by networks as wide as the widened ones, or wider, is never widened.
fn idle_prefixes(lint: &mut Lint<'_>) {
    let jails = &lint.subject.plan.jails;
    let found = jails
        .iter()
        .filter_map(|jail| Some((jail.name.to_string(), jail.prefix.without_effect()?)));
    for (jail, part) in found.collect::<Vec<_>>() {
        let counted = part.trim_start_matches("widen.");
        let message =
            format!("prefix.widen has no effect on {counted}: prefix.{counted} counts networks that wide already");
        let mend = format!("make prefix.{part} smaller than prefix.{counted}, or prefix.widen 0");
        let finding = warning(&jail, "prefix-without-effect", message).mend(mend);
        let known = ["prefix.widen", "prefix.widen.ipv4", "prefix.widen.ipv6"];
        let written = known.into_iter().find(|name| {
            let origin = (jail.clone(), (*name).to_owned());
            lint.subject.outcome.origins.contains_key(&origin)
        });
        lint.tell_origin(finding, &jail, written.unwrap_or("prefix.widen"), "");
    }
}

/// The sections that matter: `[DEFAULT]` and the jails that are on.
fn sections<'d>(lint: &Lint<'_>, document: &'d Document) -> Vec<(String, Vec<(&'d str, &'d Text)>)> {
    let mut all = vec![("DEFAULT".to_owned(), texts(document.defaults.iter()))];
    for jail in &lint.enabled {
        if let Some(own) = document.section(jail) {
            all.push((jail.clone(), texts(own.iter())));
        }
    }
    all
}

fn texts<'d>(options: impl Iterator<Item = (&'d str, &'d super::super::document::Datum)>) -> Vec<(&'d str, &'d Text)> {
    options
        .filter_map(|(name, value)| Some((name, text_of(value)?)))
        .collect()
}

/// What is written for true and false.
pub(super) const TRUTHS: [&str; 8] = ["1", "on", "true", "yes", "0", "off", "false", "no"];

/// `enabled = ture` is false without a word; so is `enabled = true # now`. The other truths count where the jail is on.
fn odd_truths(lint: &mut Lint<'_>, document: &Document) {
    let named = document.sections.iter().filter(|(name, _)| !name.starts_with(KNOWN));
    let mut odd = Vec::new();
    for (name, options) in named.chain([("DEFAULT", &document.defaults)]) {
        let counts = name == "DEFAULT" || lint.enabled.iter().any(|jail| jail == name);
        let truths = JAIL_OPTIONS.iter().filter(|known| known.1 == Kind::Bool);
        for option in truths
            .map(|known| known.0)
            .filter(|option| counts || *option == "enabled")
        {
            let Some(value) = options.get(option).and_then(text_of) else {
                continue;
            };
            let text = value.as_str();
            let is_unset = text.is_empty() && option != "enabled";
            if !is_unset && !text.contains("%(") && !TRUTHS.contains(&text.to_lowercase().as_str()) {
                odd.push((name.to_owned(), option, text.to_owned(), value.mark()));
            }
        }
    }
    for (jail, option, text, mark) in odd {
        let so = if option == "enabled" {
            format!(", so jail {jail} is off")
        } else {
            String::new()
        };
        let message = format!("{option} = {text} is taken as false{so}");
        let mend = "write true or false and nothing else; a comment needs a line of its own";
        lint.tell(warning(&jail, "odd-truth", message).mend(mend), mark, &text);
    }
}

fn none_enabled(lint: &mut Lint<'_>, document: &Document) {
    // Where a file could not be read, nobody knows which jails it would have switched on.
    let is_error = |told: &Diagnostic| told.severity == Severity::Error;
    if !lint.enabled.is_empty() || lint.subject.outcome.diagnostics.iter().any(is_error) {
        return;
    }
    let known = ["sshd", "postfix"]
        .into_iter()
        .find(|name| document.section(name).is_some());
    let mend = format!(
        "write [{}] and below it enabled = true into jail.local",
        known.unwrap_or("sshd")
    );
    let finding = Diagnostic::new(
        Severity::Warning,
        "no-jail-enabled",
        "no jail is enabled, so nothing is watched",
    );
    lint.push(finding.mend(mend));
}

/// A `#` behind a value belongs to the value.
fn inline_comments(lint: &mut Lint<'_>, document: &Document) {
    let mut found = Vec::new();
    for (section, options) in sections(lint, document) {
        for (name, value) in options {
            let own_text = name == "enabled" || MAY_HOLD_HASH.iter().any(|hash| name.starts_with(hash));
            if own_text || !is_known(name) && !matches!(name, "port" | "protocol" | "mode" | "banaction") {
                continue;
            }
            let line = value.lines().find(|(line, _)| comment_in(line).is_some());
            found.extend(line.map(|(line, mark)| (section.clone(), name.to_owned(), line.to_owned(), mark)));
        }
    }
    for (section, name, line, mark) in found {
        let Some(comment) = comment_in(&line) else { continue };
        let message = format!("a # inside of a line begins no comment: it belongs to the value of {name}");
        let finding = warning(&section, "inline-comment", message).mend("put the comment on a line of its own");
        lint.tell(finding, mark, comment);
    }
}

/// The part of a value from a `#` that follows a blank.
fn comment_in(line: &str) -> Option<&str> {
    let at = line.find(" #").or_else(|| line.find("\t#"))?;
    line.get(at + 1..)
}

fn is_known(name: &str) -> bool {
    JAIL_OPTIONS.iter().any(|known| known.0 == name)
}

/// An option that nothing reads, and whose name is almost that of one that counts.
fn unknown_options(lint: &mut Lint<'_>, document: &Document) {
    let used = references(document);
    let mut found = Vec::new();
    for (section, options) in sections(lint, document) {
        for (name, value) in options {
            // `action_`, `action_mw` and their like are lists to choose from, by custom of Fail2Ban's own files; whoever
            // sets `action` chooses none.
            if is_known(name) || used.contains(name) || name.starts_with("action_") {
                continue;
            }
            found.extend(
                meant(name, JAIL_OPTIONS.iter().map(|known| known.0))
                    .map(|meant| (section.clone(), name.to_owned(), meant, value.mark())),
            );
        }
    }
    for (section, name, meant, mark) in found {
        let message = format!("there is no option {name}, and nothing refers to it");
        let finding = warning(&section, "unknown-option", message).mend(format!("write {meant}"));
        lint.tell(finding, mark, &name);
    }
}

/// Every name that some value of the jails refers to by `%(…)s`.
fn references(document: &Document) -> BTreeSet<String> {
    let all = document.sections.iter().map(|(_, options)| options);
    let mut names = BTreeSet::new();
    for options in all.chain([&document.defaults]) {
        for (_, text) in texts(options.iter()) {
            collect_references(text.as_str(), &mut names);
        }
    }
    names
}

pub(super) fn collect_references(text: &str, names: &mut BTreeSet<String>) {
    for part in text.split("%(").skip(1) {
        let Some((name, _)) = part.split_once(')') else {
            continue;
        };
        let name = name.to_lowercase();
        names.extend(name.rsplit_once('/').map(|(_, name)| name.to_owned()));
        names.insert(name);
    }
}

/// The option that a name that is none was probably meant for.
pub(super) fn meant(name: &str, mut known: impl Iterator<Item = &'static str> + Clone) -> Option<&'static str> {
    let bare = |text: &str| text.replace(['_', '-', '.'], "").to_lowercase();
    let wanted = bare(name);
    if let Some(same) = known.clone().find(|known| bare(known) == wanted) {
        return Some(same);
    }
    if let Some((_, other)) = OTHER_WORDS.iter().find(|(word, _)| *word == wanted) {
        return known.find(|known| known == other);
    }
    // Short names are near to too many others, and a name with a tail (`action_mail`) is a variable.
    if wanted.len() < 6 || name.contains(['_', '-', '/']) {
        return None;
    }
    let near = |known: &&'static str| {
        known.len().abs_diff(wanted.len()) <= 1
            && known.chars().next() == wanted.chars().next()
            && !near_names(&wanted, std::iter::once(bare(known))).is_empty()
    };
    let candidates: Vec<&'static str> = known.filter(|known| known.len() >= 6).filter(near).collect();
    let nearest = near_names(&wanted, candidates.iter().map(|known| bare(known)));
    let nearest = nearest.first()?;
    candidates.into_iter().find(|known| bare(known) == *nearest)
}

/// A jail's `mode` reaches the filter only through `filter = NAME[mode=%(mode)s]`.
fn mode_without_effect(lint: &mut Lint<'_>, document: &Document, jail: &str) {
    let Some(used) = lint.subject.outcome.filters.get(jail) else {
        return;
    };
    let Some(own) = document.section(jail) else { return };
    let Some(mode) = own.get("mode").and_then(text_of) else {
        return;
    };
    let refers = own
        .iter()
        .filter_map(|(_, value)| text_of(value))
        .any(|text| text.as_str().contains("%(mode)s"));
    let (wanted, name) = (strip(mode.as_str()), &used.name);
    let in_force = used.options.get("mode");
    if used.mode_given || refers || wanted.contains("%(") || in_force.is_some_and(|mode| mode == wanted) {
        return;
    }
    let filter = lint.places.raw(jail, "filter").map(Text::mark).unwrap_or_default();
    let own_filter = lint.places.own(jail, "filter").is_some();
    let (message, mend) = match in_force {
        Some(in_force) => (
            format!(
                "mode = {wanted} has no effect: filter = {name} does not pass it on, so the filter's own mode '{in_force}' is in force"
            ),
            format!("write filter = {name}[mode=%(mode)s] in jail {jail}"),
        ),
        None => (
            format!("mode = {wanted} has no effect: filter {name} has no modes"),
            "take the line out".to_owned(),
        ),
    };
    // Where the filter was written over a jail that stands in another file, that later line is what is to be mended.
    let at: Mark = if own_filter && filter.file != mode.mark().file {
        filter
    } else {
        mode.mark()
    };
    lint.tell(warning(jail, "mode-without-effect", message).mend(mend), at, "");
}

/// Two jails that do the same to the same lines.
fn twins(lint: &mut Lint<'_>) {
    let jails = &lint.subject.plan.jails;
    let mut found = Vec::new();
    for (index, jail) in jails.iter().enumerate() {
        let same = jails.iter().take(index).find(|other| same_lines(jail, other));
        found.extend(same.map(|other| (jail, other)));
    }
    for (jail, other) in found {
        let message = format!(
            "jail {} reads the same lines with the same filter as jail {}, and counts alike",
            jail.name, other.name
        );
        let finding = warning(&jail.name, "same-watch", message);
        let mend = "keep one of them; several actions may stand in one jail, one a line";
        lint.tell_origin(finding.mend(mend), &jail.name, "logpath#1", "");
    }
}

fn same_lines(one: &JailPlan, other: &JailPlan) -> bool {
    let shares_log = one
        .logpath
        .iter()
        .any(|log| other.logpath.iter().any(|theirs| theirs.path == log.path));
    shares_log
        && !one.failregex.is_empty()
        && one.failregex == other.failregex
        && one.prefregex == other.prefregex
        && (one.maxretry, one.findtime, one.bantime) == (other.maxretry, other.findtime, other.bantime)
}
