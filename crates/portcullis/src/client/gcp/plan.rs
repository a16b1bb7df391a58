//! `gcp plan`: what would be written to the rules, and what would not, with the reason.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use ipnet::IpNet;
use portcullis_core::cloud::SENTINELS;
use serde::Serialize;
use serde_json::{Value, json};

use super::amend::network;
use super::sight::{self, Look, Sight};
use crate::client::exit;
use crate::client::failure::print_line;
use crate::client::ink::{Colour, Ink, shown};
use crate::client::status::print;
use crate::control::answer::{CloudProtected, CloudRule, CloudView};

/// `gcp plan`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only this rule, with those that are a part of it
    rule: Option<String>,
    /// Print the body of each request as it would be sent
    #[arg(long)]
    bodies: bool,
    #[command(flatten)]
    look: Look,
}

/// `gcp plan --json`
#[derive(Debug, Serialize)]
struct Document {
    daemon: bool,
    pending: bool,
    calls: usize,
    problems: Vec<String>,
    projects: Vec<Project>,
}

#[derive(Debug, Serialize)]
struct Project {
    project: Option<String>,
    rules: Vec<Rule>,
    protected: Vec<CloudProtected>,
    evicted: Vec<String>,
    local_only: usize,
    local_only_why: Option<String>,
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rule {
    name: String,
    base: String,
    /// Whether it is to be made
    is_new: bool,
    adds: Vec<String>,
    removes: Vec<String>,
    keeps: Vec<String>,
    /// Entries before and after
    size_before: usize,
    size_after: usize,
    foreign: usize,
    limit: Option<usize>,
    refused: Option<String>,
    body: Option<Value>,
    calls: usize,
}

/// Prints the plan.
pub(super) fn main(options: &Options) -> ExitCode {
    let json = options.look.ask.json;
    let sight = match sight::look(&options.look, options.rule.as_deref()) {
        Ok(sight) => sight,
        Err(code) => return code,
    };
    let document = plan(&sight, options.bodies || json);
    if json {
        print_line(&document);
    } else {
        let ink = Ink::on(std::io::stdout().is_terminal());
        print(&page(&document, ink));
    }
    ExitCode::from(code(&document))
}

fn code(document: &Document) -> u8 {
    let is_held =
        |project: &Project| project.trouble.is_some() || project.rules.iter().any(|rule| rule.refused.is_some());
    if document.pending || !document.problems.is_empty() || document.projects.iter().any(is_held) {
        exit::NOT_PROTECTED
    } else {
        exit::DONE
    }
}

fn plan(sight: &Sight, with_bodies: bool) -> Document {
    let projects: Vec<Project> = sight.clouds.iter().map(|view| project(view, with_bodies)).collect();
    let rules = || projects.iter().flat_map(|project| &project.rules);
    Document {
        daemon: sight.daemon,
        pending: rules().any(|rule| rule.calls > 0),
        calls: rules().map(|rule| rule.calls).sum(),
        problems: sight.problems.clone(),
        projects,
    }
}

fn project(view: &CloudView, with_bodies: bool) -> Project {
    Project {
        project: view.project.clone(),
        rules: view.rules.iter().map(|one| rule(one, with_bodies)).collect(),
        protected: view.protected.clone(),
        evicted: view.evicted.clone(),
        local_only: view.local_only,
        local_only_why: view.local_only_why.clone(),
        trouble: view.trouble.clone(),
    }
}

fn rule(view: &CloudRule, with_bodies: bool) -> Rule {
    let target = target(view);
    let read = view.read.clone().unwrap_or_default();
    let removes: BTreeSet<IpNet> = view.removes.iter().filter_map(|text| network(text)).collect();
    let stays = |text: &&String| network(text).is_none_or(|net| !removes.contains(&net));
    let is_changed = !(view.adds.is_empty() && view.removes.is_empty());
    let is_new = view.read.is_none() && is_changed;
    Rule {
        name: view.name.clone(),
        base: view.base.clone(),
        is_new,
        adds: view.adds.clone(),
        removes: view.removes.clone(),
        keeps: read.iter().filter(stays).cloned().collect(),
        size_before: read.len(),
        size_after: target.len(),
        foreign: view.foreign,
        limit: view.limit,
        refused: view.refused.clone(),
        body: (with_bodies && is_changed).then(|| json!({ "sourceRanges": target })),
        calls: match (is_changed && view.refused.is_none(), is_new) {
            (false, _) => 0,
            // Read, written, waited for and read back; a new rule was not there to be read.
            (true, false) => 4,
            (true, true) => 3,
        },
    }
}

/// The list as it will be; never empty.
fn target(view: &CloudRule) -> Vec<String> {
    let removes: BTreeSet<IpNet> = view.removes.iter().filter_map(|text| network(text)).collect();
    let read = view.read.iter().flatten();
    let kept = read.filter(|text| network(text).is_none_or(|net| !removes.contains(&net)));
    let mut target: Vec<String> = kept.chain(&view.adds).cloned().collect();
    if target.is_empty() {
        let all = view.read.iter().flatten().chain(&view.wanted);
        let is_six = all
            .filter_map(|text| network(text))
            .any(|net| matches!(net, IpNet::V6(_)));
        let [four, six] = SENTINELS;
        target.push(if is_six { six } else { four }.to_owned());
    }
    target
}

fn page(document: &Document, ink: Ink) -> String {
    let mut text = String::new();
    if !document.daemon {
        text += "no daemon runs: planned from the configuration, the kept bans and the rules as they are\n";
    }
    for problem in &document.problems {
        text += &format!("{}\n", ink.line(Colour::Red, problem));
    }
    for project in &document.projects {
        text += &describe(project, ink);
    }
    let calls = document.calls;
    text += &match document.pending {
        true => format!("changes are pending: {calls} calls to the API, if each operation ends within one wait\n"),
        false => "nothing is to be written\n".to_owned(),
    };
    text
}

fn describe(project: &Project, ink: Ink) -> String {
    let name = project.project.as_deref().unwrap_or("(not known yet)");
    let mut text = format!("{}\n", ink.line(Colour::Bold, &format!("project {name}")));
    if let Some(trouble) = &project.trouble {
        text += &format!("  {}\n", ink.line(Colour::Red, &format!("trouble: {trouble}")));
    }
    for rule in &project.rules {
        text += &describe_rule(rule, ink);
    }
    for CloudProtected { range, why } in &project.protected {
        text += &format!(
            "  not written: {}\n",
            ink.plain(&format!("{range} is protected: {why}"))
        );
    }
    if !project.evicted.is_empty() {
        let who = shown(&project.evicted, usize::MAX);
        text += &format!(
            "  no room in the cloud for {}; the kernel holds them\n",
            ink.plain(&who)
        );
    }
    if project.local_only > 0 {
        let why = project.local_only_why.as_deref().unwrap_or_default();
        let line = format!("{} IPv6 bans stay in the kernel alone: {why}", project.local_only);
        text += &format!("  {}\n", ink.plain(&line));
    }
    text
}

fn describe_rule(rule: &Rule, ink: Ink) -> String {
    let limit = rule.limit.map_or(String::new(), |limit| format!(" of at most {limit}"));
    let made = if rule.is_new { " (to be made)" } else { "" };
    let head = format!(
        "  {}{made}: {} entries, {} to add, {} to take out, then {}{limit}; somebody else's: {}",
        rule.name,
        rule.size_before,
        rule.adds.len(),
        rule.removes.len(),
        rule.size_after,
        rule.foreign
    );
    let mut text = format!("{}\n", ink.plain(&head));
    if let Some(refused) = &rule.refused {
        text += &format!("    {}\n", ink.line(Colour::Red, &format!("not written: {refused}")));
    }
    for (sign, colour, list) in [
        ("+", Colour::Green, &rule.adds),
        ("-", Colour::Red, &rule.removes),
        ("=", Colour::None, &rule.keeps),
    ] {
        text += &entries(sign, list, ink, colour);
    }
    if let Some(body) = &rule.body {
        let call = if rule.is_new {
            "POST global/firewalls "
        } else {
            "PATCH global/firewalls/"
        };
        text += &ink.plain(&format!("    {call}{} {body}", rule.name));
        text += "\n";
    }
    text
}

/// So many entries of a kind are shown to people.
const MOST_SHOWN: usize = 40;

fn entries(sign: &str, list: &[String], ink: Ink, colour: Colour) -> String {
    let mut text: String = list
        .iter()
        .take(MOST_SHOWN)
        .map(|entry| format!("    {}\n", ink.line(colour, &format!("{sign} {entry}"))))
        .collect();
    if list.len() > MOST_SHOWN {
        text += &format!("    {sign} and {} more (--json has all)\n", list.len() - MOST_SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn view(read: Option<&[&str]>, adds: &[&str], removes: &[&str]) -> CloudRule {
        CloudRule {
            name: "block-ip".into(),
            base: "block-ip".into(),
            read: read.map(strings),
            read_at: Some("2026-11-23T10:00:00Z".into()),
            adds: strings(adds),
            removes: strings(removes),
            ..CloudRule::default()
        }
    }

    #[test]
    fn the_list_that_will_be_sent() {
        let check = |view: CloudRule, body: Option<&[&str]>, calls: usize| {
            let rule = rule(&view, true);
            assert_eq!(rule.body, body.map(|list| json!({ "sourceRanges": list })));
            assert_eq!(rule.calls, calls);
        };
        check(view(Some(&["192.0.2.1/32"]), &[], &[]), None, 0);
        check(
            view(
                Some(&["192.0.2.1/32", "198.51.100.7", "203.0.113.0/24"]),
                &["198.51.100.9/32"],
                &["198.51.100.7/32"],
            ),
            Some(&["192.0.2.1/32", "203.0.113.0/24", "198.51.100.9/32"]),
            4,
        );
        check(
            view(Some(&["198.51.100.7/32"]), &[], &["198.51.100.7/32"]),
            Some(&["192.0.2.1/32"]),
            4,
        );
        check(
            view(Some(&["2001:db8:7::/64"]), &[], &["2001:db8:7::/64"]),
            Some(&["2001:db8::1/128"]),
            4,
        );
        check(view(None, &["198.51.100.7/32"], &[]), Some(&["198.51.100.7/32"]), 3);
        let refused = CloudRule {
            refused: Some("it allows".into()),
            ..view(Some(&[]), &["198.51.100.7/32"], &[])
        };
        check(refused, Some(&["198.51.100.7/32"]), 0);
    }

    #[test]
    fn a_page_that_no_text_of_others_can_paint() {
        let sight = Sight {
            daemon: true,
            clouds: vec![CloudView {
                project: Some("p".into()),
                rules: vec![view(
                    Some(&["192.0.2.1/32", "\x1b[2Jx"]),
                    &["198.51.100.9/32"],
                    &["203.0.113.4/32"],
                )],
                protected: vec![CloudProtected {
                    range: "203.0.113.1/32".into(),
                    why: "this machine's own address".into(),
                }],
                evicted: strings(&["203.0.113.2/32"]),
                local_only: 2,
                local_only_why: Some("no external IPv6 address".into()),
                ..CloudView::default()
            }],
            problems: Vec::new(),
        };
        let document = plan(&sight, false);
        let expect = "project p\n\
                      \x20 block-ip: 2 entries, 1 to add, 1 to take out, then 3; somebody else's: 0\n\
                      \x20   + 198.51.100.9/32\n\
                      \x20   - 203.0.113.4/32\n\
                      \x20   = 192.0.2.1/32\n\
                      \x20   = \\u{1b}[2Jx\n\
                      \x20 not written: 203.0.113.1/32 is protected: this machine's own address\n\
                      \x20 no room in the cloud for 203.0.113.2/32; the kernel holds them\n\
                      \x20 2 IPv6 bans stay in the kernel alone: no external IPv6 address\n\
                      changes are pending: 4 calls to the API, if each operation ends within one wait\n";
        assert_eq!(page(&document, Ink::on(false)), expect);
        assert!(page(&document, Ink::on(true)).contains("\x1b[32m+ 198.51.100.9/32\x1b[0m"));
        assert_eq!(code(&document), exit::NOT_PROTECTED);
    }
}
