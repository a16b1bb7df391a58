//! `gcp status`: how the rules stand.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use ipnet::IpNet;
use portcullis_core::cloud::is_sentinel;
use serde::Serialize;

use super::amend::network;
use super::sight::{self, Look, Sight};
use crate::client::exit;
use crate::client::failure::print_line;
use crate::client::ink::{Colour, Ink};
use crate::client::status::print;
use crate::control::answer::{CloudRule, CloudView};

/// `gcp status`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only this rule, with those that are a part of it
    rule: Option<String>,
    /// Print the entries, too, and whose they are
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    look: Look,
}

/// `gcp status --json`
#[derive(Serialize)]
struct Document<'a> {
    daemon: bool,
    problems: &'a [String],
    projects: &'a [CloudView],
}

/// Prints how the rules stand.
pub(super) fn main(options: &Options) -> ExitCode {
    let sight = match sight::look(&options.look, options.rule.as_deref()) {
        Ok(sight) => sight,
        Err(code) => return code,
    };
    if options.look.ask.json {
        print_line(&Document {
            daemon: sight.daemon,
            problems: &sight.problems,
            projects: &sight.clouds,
        });
    } else {
        print(&page(&sight, options.list, Ink::on(std::io::stdout().is_terminal())));
    }
    let is_level = sight.problems.is_empty() && sight.clouds.iter().all(is_level);
    ExitCode::from(if is_level { exit::DONE } else { exit::NOT_PROTECTED })
}

/// Whether a project's rules hold what they shall.
fn is_level(view: &CloudView) -> bool {
    let is_level = |rule: &CloudRule| {
        rule.refused.is_none() && rule.read.is_some() && rule.adds.is_empty() && rule.removes.is_empty()
    };
    view.trouble.is_none() && view.unsaved.is_none() && view.rules.iter().all(is_level)
}

fn page(sight: &Sight, with_list: bool, ink: Ink) -> String {
    let mut text = String::new();
    if !sight.daemon {
        let line = "no daemon runs: nobody keeps these rules level; they were read now";
        text += &format!("{}\n", ink.line(Colour::Yellow, line));
    }
    for problem in &sight.problems {
        text += &format!("{}\n", ink.line(Colour::Red, problem));
    }
    for view in &sight.clouds {
        text += &describe(view, with_list, ink);
    }
    text
}

fn describe(view: &CloudView, with_list: bool, ink: Ink) -> String {
    let name = view.project.as_deref().unwrap_or("(not known yet)");
    let head = format!(
        "project {name}, written by {} for {}",
        view.writer,
        view.layers.join(", ")
    );
    let mut text = format!("{}\n", ink.line(Colour::Bold, &head));
    for (what, why) in [("trouble", &view.trouble), ("the books are not kept", &view.unsaved)] {
        if let Some(why) = why {
            text += &format!("  {}\n", ink.line(Colour::Red, &format!("{what}: {why}")));
        }
    }
    for rule in &view.rules {
        text += &describe_rule(rule, &view.at, with_list, ink);
    }
    let mut say = |line: String| text += &format!("  {}\n", ink.plain(&line));
    if let Some(under_way) = &view.under_way {
        say(format!("under way: {under_way}"));
    }
    if let (Some(lag), Some(oldest)) = (view.lag, &view.oldest) {
        say(format!(
            "the oldest ban has waited to be written for {lag:.1} s, since {oldest}"
        ));
    }
    if !view.protected.is_empty() {
        say(format!("protected and so not written: {}", view.protected.len()));
    }
    if !view.evicted.is_empty() {
        say(format!(
            "no room in the cloud, in the kernel alone: {}",
            view.evicted.len()
        ));
    }
    if view.local_only > 0 {
        let why = view.local_only_why.as_deref().unwrap_or_default();
        say(format!("IPv6, in the kernel alone: {} ({why})", view.local_only));
    }
    if view.writes > 0 {
        say(format!("writes since the start: {}", view.writes));
    }
    text
}

/// Whose an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    Sentinel,
    Others,
}

/// Each entry that was read, with its owner.
fn owners(rule: &CloudRule) -> Vec<(&str, Whose)> {
    let own: BTreeSet<IpNet> = rule
        .wanted
        .iter()
        .chain(&rule.removes)
        .filter_map(|text| network(text))
        .collect();
    let whose = |text: &str| match network(text) {
        Some(net) if is_sentinel(&net) => Whose::Sentinel,
        Some(net) if own.contains(&net) => Whose::Ours,
        _ => Whose::Others,
    };
    let read = rule.read.iter().flatten();
    read.map(|text| (text.as_str(), whose(text))).collect()
}

fn describe_rule(rule: &CloudRule, at: &str, with_list: bool, ink: Ink) -> String {
    let owners = owners(rule);
    let count = |whose: Whose| owners.iter().filter(|(_, other)| *other == whose).count();
    let mut head = match &rule.read {
        None => format!("{}: not read yet", rule.name),
        Some(read) => format!(
            "{}: {} entries, {} ours, {} somebody else's",
            rule.name,
            read.len(),
            count(Whose::Ours),
            count(Whose::Others)
        ),
    };
    if let Some(limit) = rule.limit {
        head += &format!(", at most {limit}");
    }
    head += if rule.is_own {
        "; ours alone"
    } else {
        "; shared with others"
    };
    let mut text = format!("  {}\n", ink.plain(&head));
    let mut say = |colour: Colour, line: String| text += &format!("    {}\n", ink.line(colour, &line));
    if let Some(refused) = &rule.refused {
        say(Colour::Red, format!("NOT WRITTEN: {refused}"));
    }
    if let Some(read_at) = &rule.read_at {
        let age = age(read_at, at).map_or(String::new(), |age| format!(", {age} s ago"));
        say(Colour::None, format!("read at {read_at}{age}"));
    }
    let (adds, removes) = (rule.adds.len(), rule.removes.len());
    if adds + removes > 0 {
        say(Colour::Yellow, format!("to add: {adds}, to take out: {removes}"));
    }
    if let Some((sentinel, _)) = owners.iter().find(|(_, whose)| *whose == Whose::Sentinel) {
        let why = "is a documentation address that nobody has: it keeps the list from being empty, which would deny everybody";
        say(Colour::None, format!("{sentinel} {why}"));
    }
    if with_list {
        for (entry, whose) in owners {
            let word = match whose {
                Whose::Ours => "ours",
                Whose::Sentinel => "sentinel",
                Whose::Others => "somebody else's",
            };
            say(Colour::None, format!("{entry}  {word}"));
        }
    }
    text
}

/// Whole seconds between two times.
fn age(then: &str, now: &str) -> Option<i64> {
    let (then, now): (jiff::Timestamp, jiff::Timestamp) = (then.parse().ok()?, now.parse().ok()?);
    Some(now.as_second() - then.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> CloudRule {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        CloudRule {
            name: "block-ip".into(),
            base: "block-ip".into(),
            read: Some(list(&["192.0.2.1/32", "198.51.100.7", "203.0.113.0/24"])),
            read_at: Some("2026-11-23T10:00:00Z".into()),
            wanted: list(&["198.51.100.7/32"]),
            foreign: 1,
            limit: Some(5000),
            is_own: true,
            ..CloudRule::default()
        }
    }

    fn sight(rule: CloudRule) -> Sight {
        Sight {
            daemon: true,
            problems: Vec::new(),
            clouds: vec![CloudView {
                project: Some("p".into()),
                writer: "vm-1".into(),
                layers: vec!["sshd/gcp-firewall".into()],
                rules: vec![rule],
                at: "2026-11-23T10:00:12.500Z".into(),
                ..CloudView::default()
            }],
        }
    }

    #[test]
    fn a_rule_with_its_list() {
        let expect = "project p, written by vm-1 for sshd/gcp-firewall\n\
                      \x20 block-ip: 3 entries, 1 ours, 1 somebody else's, at most 5000; ours alone\n\
                      \x20   read at 2026-11-23T10:00:00Z, 12 s ago\n\
                      \x20   192.0.2.1/32 is a documentation address that nobody has: it keeps the list from being empty, \
                      which would deny everybody\n\
                      \x20   192.0.2.1/32  sentinel\n\
                      \x20   198.51.100.7  ours\n\
                      \x20   203.0.113.0/24  somebody else's\n";
        assert_eq!(page(&sight(rule()), true, Ink::on(false)), expect);
    }

    #[test]
    fn what_is_not_level() {
        let check = |change: fn(&mut CloudView), expect: bool| {
            let mut sight = sight(rule());
            change(&mut sight.clouds[0]);
            assert_eq!(is_level(&sight.clouds[0]), expect);
        };
        check(|_| {}, true);
        check(|view| view.trouble = Some("403".into()), false);
        check(|view| view.unsaved = Some("disk full".into()), false);
        check(|view| view.rules[0].read = None, false);
        check(|view| view.rules[0].adds.push("198.51.100.9/32".into()), false);
        check(|view| view.rules[0].removes.push("198.51.100.7/32".into()), false);
        check(|view| view.rules[0].refused = Some("it allows".into()), false);
    }
}
