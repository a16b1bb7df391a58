//! Lints of the filters that the enabled jails use.

use std::collections::BTreeSet;

use super::super::document::Document;
use super::super::filter::FILTER_OPTIONS;
use super::super::plan::JailPlan;
use super::super::text::Text;
use super::super::{Command, FilterName, FilterUse, Layered, MemoryTree, Scope, filter_options};
use super::jails::{collect_references, meant};
use super::{Lint, line_at, text_of, warning};
use crate::diagnostic::{Position, Severity};
use crate::value::Value;

/// The sections of a filter that are read.
const SECTIONS: [&str; 2] = ["Definition", "Init"];
/// Modes of the postfix filter that leave out failed log-ins, and are not chosen for something narrower.
const WITHOUT_LOGINS: [&str; 2] = ["normal", "more"];

pub(super) fn look(lint: &mut Lint<'_>) {
    let (plan, outcome) = (lint.subject.plan, lint.subject.outcome);
    let mut seen = BTreeSet::new();
    for jail in &plan.jails {
        let Some(used) = outcome.filters.get(&*jail.name) else {
            continue;
        };
        never_matches(lint, jail, used);
        misses_logins(lint, jail, used);
        if !seen.insert(used.name.clone()) {
            continue;
        }
        shadows_stock(lint, jail, used);
        let Some(document) = lint.document(&format!("filter.d/{}", used.name)) else {
            continue;
        };
        let jail = jail.name.to_string();
        list_in_init(lint, &document, (&jail, used));
        comments_in_patterns(lint, &document, &jail);
        unknown_options(lint, &document, &jail);
    }
}

/// A line at the end of a file lands in the last section; in `[Init]` a failregex takes the place of the whole list.
fn list_in_init(lint: &mut Lint<'_>, document: &Document, used: (&str, &FilterUse)) {
    let (jail, used) = used;
    let own = |section: &str, option: &str| {
        document
            .section(section)
            .and_then(|own| text_of(own.get(option)?))
            .cloned()
    };
    for option in ["failregex", "ignoreregex"] {
        let (Some(replaced), Some(stray)) = (own("Definition", option), own("Init", option)) else {
            continue;
        };
        if replaced.as_str().is_empty() || used.parameters.iter().any(|(name, _)| name == option) {
            continue;
        }
        let message = format!(
            "this {option} stands in [Init], where it takes the place of the whole list in [Definition]: none of the patterns of filter {} is in force",
            used.name
        );
        let line = stray.lines().next().map_or("", |(line, _)| line);
        let mend = local_mend(&used.name, option, line);
        lint.tell(warning(jail, "list-in-init", message).mend(mend), stray.mark(), option);
    }
}

/// How one more pattern is added to a filter.
pub(super) fn local_mend(filter: &str, option: &str, line: &str) -> String {
    let mut mend = format!(
        "take the line out, and write filter.d/{filter}.local: [Definition], then {option} = %(known/{option})s, then below it, indented, "
    );
    mend.push_str(&match with_host(line) {
        Some(line) if option == "failregex" => format!("the pattern with <HOST> where the address stands: {line}"),
        _ => "the pattern".to_owned(),
    });
    if filter == "postfix" && line.contains("lost connection") {
        mend.push_str("; or write only filter = postfix[mode=aggressive], which has this case already");
    }
    mend
}

/// A pattern with `<HOST>` where a bracketed word most likely is the address; the cut prefix is left out.
pub(super) fn with_host(line: &str) -> Option<String> {
    const ADDRESSES: [&str; 5] = [r"\[\S+\]", r"\[.*\]", r"\[.+\]", r"\[[^\]]+\]", r"\[[^\]]*\]"];
    let place = ADDRESSES.iter().find(|address| line.contains(*address))?;
    let (before, after) = line.rsplit_once(place)?;
    let before = match before.split_once(".*: ") {
        Some((daemon, message)) if daemon.contains('/') => format!("^{message}"),
        _ => before.to_owned(),
    };
    Some(format!(r"{before}\[<HOST>\]{after}"))
}

/// `…$ # why`: behind the end of the line nothing can match.
fn comments_in_patterns(lint: &mut Lint<'_>, document: &Document, jail: &str) {
    for text in definitions(document, &["failregex", "ignoreregex"]) {
        for (line, mark) in text.lines() {
            let Some((before, _)) = line.split_once(" #") else {
                continue;
            };
            if before.trim_end().ends_with('$') && !before.trim_end().ends_with(r"\$") {
                let message =
                    "a # inside of a line begins no comment: it belongs to the pattern, which so never matches";
                let finding = warning(jail, "inline-comment", message).mend("put the comment on a line of its own");
                lint.tell(finding, mark, "#");
            }
        }
    }
}

fn definitions(document: &Document, options: &[&str]) -> Vec<Text> {
    let own = SECTIONS.iter().filter_map(|section| document.section(section));
    own.flat_map(|own| options.iter().filter_map(|option| text_of(own.get(option)?).cloned()))
        .collect()
}

/// An option of a filter that nothing refers to and that is almost one that counts.
fn unknown_options(lint: &mut Lint<'_>, document: &Document, jail: &str) {
    let mut used = BTreeSet::new();
    let mut names = Vec::new();
    let sections = document.sections.iter().map(|(_, options)| options);
    for options in sections.chain([&document.defaults]) {
        for (_, value) in options.iter() {
            let text = value.to_text();
            collect_references(text.as_str(), &mut used);
            used.extend(
                text.as_str()
                    .split('<')
                    .skip(1)
                    .filter_map(|part| Some(part.split_once('>')?.0.to_owned())),
            );
        }
    }
    for own in SECTIONS.iter().filter_map(|section| document.section(section)) {
        names.extend(own.iter().map(|(name, value)| (name.to_owned(), value.mark())));
    }
    let known = || FILTER_OPTIONS.iter().map(|known| known.0);
    for (name, mark) in names.into_iter().filter(|(name, _)| !used.contains(name)) {
        let is_known = known().any(|known| known == name);
        if let Some(meant) = meant(&name, known()).filter(|_| !is_known) {
            let message = format!("there is no option {name}, and nothing refers to it");
            let finding = warning(jail, "unknown-option", message).mend(format!("write {meant}"));
            lint.tell(finding, mark, &name);
        }
    }
}

/// A failregex is searched in what `<F-CONTENT>` of the prefregex holds: what stands before that is cut off, and a
/// pattern that asks for it is never met.
fn never_matches(lint: &mut Lint<'_>, jail: &JailPlan, used: &FilterUse) {
    let Some((head, _)) = jail
        .prefregex
        .as_deref()
        .and_then(|prefregex| prefregex.split_once("<F-CONTENT>"))
    else {
        return;
    };
    let word = used.options.get("_daemon").map_or("", |daemon| leading_word(daemon));
    let word = if word.len() >= 3 && head.contains(word) {
        word
    } else {
        ""
    };
    let origins = &lint.subject.outcome.origins;
    let written = |option: &str| {
        let origin = origins.get(&(jail.name.to_string(), option.to_owned()))?;
        line_at(lint.subject.tree, origin)
    };
    let cuts_prefix = written("prefregex").is_some_and(|line| line.contains("__prefix_line"));
    let mut found = Vec::new();
    for (index, regex) in jail.failregex.iter().enumerate() {
        let option = format!("failregex#{}", index + 1);
        let repeats = cuts_prefix && written(&option).is_some_and(|line| line.contains("%(__prefix_line)s"));
        if repeats {
            found.push((option, "%(__prefix_line)s".to_owned(), regex));
        } else if !word.is_empty() && names_daemon(regex, word) {
            found.push((option, word.to_owned(), regex));
        }
    }
    for (option, part, regex) in found {
        let message = format!(
            "this failregex probably never matches: it asks for '{part}', which the prefregex of filter {} cuts off before the failregexes are searched",
            used.name
        );
        let mut mend = "write only the message that follows, from its first word on".to_owned();
        if used.name == "postfix" && regex.contains("lost connection") {
            mend.push_str(
                "; lost connections are seen by filter = postfix[mode=aggressive] without a line of your own",
            );
        }
        lint.tell_origin(
            warning(&jail.name, "never-matches", message).mend(mend),
            &jail.name,
            &option,
            &part,
        );
    }
}

/// The word that a daemon's pattern begins with: `postfix` of `postfix(-\w+)?/smtpd`.
fn leading_word(pattern: &str) -> &str {
    let start = pattern.trim_start_matches(['^', '(', '?', ':']);
    let end = start
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(start.len());
    let word = start.get(..end).unwrap_or_default();
    // A letter before a quantifier is not sure to be there.
    if start.get(end..).is_some_and(|rest| rest.starts_with(['?', '*', '{'])) {
        ""
    } else {
        word
    }
}

/// Whether a pattern asks for the name of the daemon as the head of a line has it: at its beginning, or with the
/// process number or the second half of its name behind it.
fn names_daemon(regex: &str, word: &str) -> bool {
    let start = regex.trim_start_matches(['^', '.', '*', '+']);
    let begins = start.strip_prefix(word).is_some_and(|rest| {
        ["/", r"\/", r"\[", "[", ".*", r"\S", "(", ":"]
            .iter()
            .any(|next| rest.starts_with(next))
    });
    begins
        || regex.match_indices(word).any(|(at, _)| {
            let is_word_before = regex.get(..at).is_some_and(|before| {
                before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '-' | '_' | '@' | '.'))
            });
            let rest = regex.get(at + word.len()..).unwrap_or_default();
            !is_word_before
                && [r"/smtp", r"\/smtp", r"\[\d", r"\[[0-9"]
                    .iter()
                    .any(|next| rest.starts_with(next))
        })
}

/// The postfix filter without failed log-ins, which is what most people want it for.
fn misses_logins(lint: &mut Lint<'_>, jail: &JailPlan, used: &FilterUse) {
    let mode = used.options.get("mode").map_or("", String::as_str);
    if used.name != "postfix" || sees_logins(&jail.failregex) || used.mode_given && !WITHOUT_LOGINS.contains(&mode) {
        return;
    }
    // A jail without a log reads the journal, where the other's lines may well be.
    let shares = |other: &JailPlan| {
        other.logpath.is_empty()
            || jail.logpath.is_empty()
            || other.logpath.iter().any(|log| jail.logpath.contains(log))
    };
    let elsewhere = lint
        .subject
        .plan
        .jails
        .iter()
        .any(|other| shares(other) && sees_logins(&other.failregex));
    if elsewhere || !mode_extra_sees_logins(lint, used) {
        return;
    }
    let (which, severity, mend) = if used.mode_given {
        (
            "mode",
            Severity::Note,
            "write mode = extra in this jail if password guessing is to be banned too",
        )
    } else {
        (
            "the default mode",
            Severity::Warning,
            "write filter = postfix[mode=extra]",
        )
    };
    let message =
        format!("{which} '{mode}' of filter postfix does not see SASL failures: password guessing is not noticed");
    let mut finding = warning(&jail.name, "misses-logins", message).mend(mend);
    finding.severity = severity;
    let option = if used.mode_given { "mode" } else { "filter" };
    let place = lint
        .places
        .raw(&jail.name, option)
        .or_else(|| lint.places.raw(&jail.name, "filter"));
    let mark = place.map(Text::mark).unwrap_or_default();
    lint.tell(finding, mark, "");
}

fn sees_logins(patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| pattern.contains("SASL"))
}

/// Whether the same filter in mode `extra` has what is missing. Of a file that cannot be read as Fail2Ban reads it,
/// the text has to do.
fn mode_extra_sees_logins(lint: &mut Lint<'_>, used: &FilterUse) -> bool {
    let given = used.parameters.iter().filter(|(name, _)| name != "mode").cloned();
    let parameters: Vec<(String, String)> = given.chain([("mode".to_owned(), "extra".to_owned())]).collect();
    let name = FilterName::Stock(&used.name);
    if let Ok(alone) = filter_options(lint.subject.tree, lint.subject.base, name, &parameters, "auto") {
        return sees_logins(&patterns(&alone.stream));
    }
    let document = lint.document(&format!("filter.d/{}", used.name));
    document
        .as_deref()
        .and_then(|document| document.section("Definition"))
        .is_some_and(|own| {
            own.iter()
                .filter_map(|(_, value)| text_of(value))
                .any(|text| text.as_str().contains("SASL"))
        })
}

/// The failregexes of a stream.
fn patterns(stream: &[Command]) -> Vec<String> {
    let adds = stream
        .iter()
        .filter(|command| command.get(2).and_then(Value::as_str) == Some("addfailregex"));
    adds.filter_map(|command| command.last())
        .flat_map(|value| match value {
            Value::List(list) => list.clone(),
            single => vec![single.clone()],
        })
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// A file of one's own in place of one of the stock, that sees less than it.
fn shadows_stock(lint: &mut Lint<'_>, jail: &JailPlan, used: &FilterUse) {
    let (tree, stock, base) = (lint.subject.tree, lint.subject.stock, lint.subject.base);
    let shows = tree.read(&format!("{base}/jail.conf")).ok() == stock.read("jail.conf").ok();
    let path = format!("{base}/filter.d/{}.conf", used.name);
    let Ok(ours) = stock.read(&format!("filter.d/{}.conf", used.name)) else {
        return;
    };
    if !shows || tree.read(&path).is_ok_and(|bytes| bytes == ours) {
        return;
    }
    let nothing = MemoryTree::default();
    let alone = Layered {
        over: &nothing,
        under: stock,
        base: "/stock",
        scope: Scope::Everything,
    };
    let name = FilterName::Stock(&used.name);
    let Ok(ours) = filter_options(&alone, "/stock", name, &used.parameters, &jail.backend) else {
        return;
    };
    let (ours, theirs) = (patterns(&ours.stream).len(), jail.failregex.len());
    if theirs >= ours {
        return;
    }
    let message = format!(
        "{path} takes the place of the filter that portcullis brings, which has {ours} patterns; this one has {theirs}"
    );
    let mend = format!(
        "put what is your own into filter.d/{}.local, which is read over the file of the stock",
        used.name
    );
    let place = Position {
        file: path.as_str().into(),
        line: 1,
        column: 1,
    };
    let line = line_at(tree, &place).unwrap_or_default();
    lint.push(warning(&jail.name, "shadows-stock", message).mend(mend).at(place, line));
}
