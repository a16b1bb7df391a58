//! `gcp add` and `gcp remove`: entries of a rule by hand, with or without a daemon and a configuration.

use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_core::cloud::trouble::Kind;
use serde::Serialize;

use super::amend::{self, Amended, Change, Failure};
use super::lock::Lock;
use super::offline;
use super::pace::{Pace as _, Real};
use super::reach::{Line, Reach};
use super::session::Session;
use super::sight::Look;
use crate::client::failure::{fail, print_line};
use crate::client::{Ask, call, exit, status::print};
use crate::enforce::gcp::metadata::Metadata;
use crate::enforce::gcp::spared::spared;
use crate::enforce::gcp::store::CloudBooks;
use crate::enforce::protect::Protected;
use crate::regex::harmless;

/// `gcp add` and `gcp remove`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// The rule
    #[arg(value_name = "NAME")]
    rule: String,
    /// Addresses or networks, all of one family
    #[arg(value_name = "CIDR", required = true)]
    ranges: Vec<String>,
    /// Also what is protected, private, or wider than /8 (IPv6: /19)
    #[arg(long)]
    force: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    look: Look,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Remove,
}

/// `gcp add --json`, `gcp remove --json`
#[derive(Serialize)]
struct Document {
    project: String,
    rule: String,
    added: Vec<String>,
    removed: Vec<String>,
    unchanged: Vec<String>,
    size: usize,
    writes: u32,
    lost: u32,
    notes: Vec<String>,
}

/// Changes the list, reads it back and says what came of it.
pub(super) fn main(options: &Options, verb: Verb) -> ExitCode {
    match run(options, verb) {
        Ok(document) if options.look.ask.json => print_line(&document),
        Ok(document) => print(&page(&document)),
        Err(error) => return fail(options.look.ask.json, &error, exit::REFUSED),
    }
    ExitCode::from(exit::DONE)
}

fn run(options: &Options, verb: Verb) -> Result<Document, String> {
    let nets = options
        .ranges
        .iter()
        .map(|word| amend::parse(word))
        .collect::<Result<Vec<IpNet>, String>>()?;
    let is_mixed =
        nets.iter().any(|net| matches!(net, IpNet::V4(_))) && nets.iter().any(|net| matches!(net, IpNet::V6(_)));
    if is_mixed {
        return Err("a rule takes either IPv4 or IPv6, not both; name two rules, one after the other".to_owned());
    }
    let machine = Metadata::read().unwrap_or_default();
    let mut notes = spellings(&options.ranges, &nets);
    if verb == Verb::Add {
        notes.extend(objections(&nets, machine.as_ref(), options.force)?);
    }
    let rule_options = options.reach.options(&options.rule, &options.look.ask.place)?;
    let mut line = Line::open(&rule_options, machine.as_ref())?;
    let project = line.project().to_owned();
    let patience = Duration::from_secs(options.timeout);
    let _lock = Lock::take(&project, &options.rule, patience)?;
    let mut pace = Real::new(options.look.ask.json);
    pace.tell(&format!("reading rule {} of project {project}", options.rule));
    let change = match verb {
        Verb::Add => Change {
            add: nets,
            remove: Vec::new(),
        },
        Verb::Remove => Change {
            add: Vec::new(),
            remove: nets,
        },
    };
    let networks = match &machine {
        Some(machine) if !options.force => machine.host().networks,
        _ => Vec::new(),
    };
    let mut session = Session::new(&mut line, &mut pace, patience);
    let amended = amend::amend(&mut session, &options.rule, &change, &|rule| {
        amend::fit(rule, &change, &networks)
    });
    let amended = amended.map_err(|failure| match failure {
        Failure::Api(trouble) if matches!(trouble.kind, Kind::TooLarge(_)) => {
            format!("{trouble}; the rule is full: take something out, or use another rule")
        }
        Failure::Api(trouble) => line.explain(&trouble),
        other => other.to_string(),
    })?;
    notes.extend(remarks(&amended));
    notes.extend(booked(&options.look, &project, &options.rule, &amended));
    if verb == Verb::Add && is_daemon_there(&options.look.ask) {
        notes.push(
            "a daemon runs here: to it these entries are somebody else's, and stay until they are taken out by hand"
                .into(),
        );
    }
    Ok(document(project, &options.rule, &amended, notes))
}

fn document(project: String, rule: &str, amended: &Amended, notes: Vec<String>) -> Document {
    let strings = |nets: &[IpNet]| nets.iter().map(ToString::to_string).collect();
    Document {
        project,
        rule: rule.to_owned(),
        added: strings(&amended.added),
        removed: strings(&amended.removed),
        unchanged: strings(&amended.unchanged),
        size: amended.size,
        writes: amended.writes,
        lost: amended.lost,
        notes,
    }
}

/// What was written in another way than it is taken.
fn spellings(words: &[String], nets: &[IpNet]) -> Vec<String> {
    let differs = |(word, net): &(&String, &IpNet)| word.contains('/') && word.trim() != net.to_string();
    let pairs = words.iter().zip(nets).filter(differs);
    pairs.map(|(word, net)| format!("{word} is taken as {net}")).collect()
}

/// Refuses whom nobody wants to ban; notes where that was overridden.
fn objections(nets: &[IpNet], machine: Option<&Metadata>, force: bool) -> Result<Vec<String>, String> {
    let mut protected: Vec<(IpNet, String)> = Protected::gather()
        .map(|all| all.entries().to_vec())
        .unwrap_or_default();
    protected.extend(spared());
    protected.extend(offline::own(machine));
    let mut notes = Vec::new();
    for net in nets {
        match amend::objection(net, &protected)? {
            Some(why) if force => notes.push(format!("{why}; written because of --force")),
            Some(why) => return Err(format!("{why}; nothing was written (--force does it all the same)")),
            None => {}
        }
    }
    Ok(notes)
}

fn remarks(amended: &Amended) -> Vec<String> {
    let mut notes: Vec<String> = amended
        .covered
        .iter()
        .map(|(net, wide)| format!("{net} is not an entry of the rule, but {wide} covers it and stays"))
        .collect();
    if amended.sentinel {
        notes.push("a documentation address was put in: a deny rule whose list is empty denies everybody".to_owned());
    }
    if amended.lost > 0 {
        notes.push(format!(
            "somebody else wrote the list at the same time; written again {} times",
            amended.lost
        ));
    }
    notes
}

/// What of it the books say is ours: written for a ban, and not by hand.
fn booked(look: &Look, project: &str, rule: &str, amended: &Amended) -> Vec<String> {
    let path = offline::books(&offline::places(look));
    let books = path.exists().then(|| CloudBooks::open(&path).ok()).flatten();
    let state = books
        .and_then(|books| books.load(project).ok())
        .map(|books| books.state());
    let is_ours = |net: &&IpNet| state.as_ref().is_some_and(|state| state.claim(rule, net).is_some());
    let removed = amended.removed.iter().filter(is_ours).map(|net| {
        format!("{net} was written for a ban, and taking it out may mean that the ban is lifted, or that it is put back; to lift a ban: \
                 portcullis unban {net}")
    });
    let present = amended
        .unchanged
        .iter()
        .filter(is_ours)
        .map(|net| format!("{net} was written for a ban, and goes when that ends"));
    removed.chain(present).collect()
}

fn is_daemon_there(ask: &Ask) -> bool {
    let asked = call::text(&ask.place, &portcullis_core::wire::Verb::ping());
    !matches!(asked, Err(call::Error::NoDaemon { .. }))
}

fn page(document: &Document) -> String {
    let mut text = String::new();
    for (word, list) in [
        ("added", &document.added),
        ("taken out", &document.removed),
        ("unchanged", &document.unchanged),
    ] {
        if !list.is_empty() {
            text += &format!("{word}: {}\n", list.join(" "));
        }
    }
    let Document {
        rule, project, size, ..
    } = document;
    text += &format!("rule {rule} of project {project} holds {size} entries, read back\n");
    for note in &document.notes {
        text += &format!("note: {note}\n");
    }
    harmless(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let amended = Amended {
            removed: nets(&["198.51.100.7/32"]),
            unchanged: nets(&["203.0.113.7/32"]),
            covered: vec![(nets(&["203.0.113.7/32"])[0], nets(&["203.0.113.0/24"])[0])],
            size: 1,
            writes: 2,
            lost: 1,
            sentinel: true,
            ..Amended::default()
        };
        let document = document("p".into(), "block-ip", &amended, remarks(&amended));
        let expect = "taken out: 198.51.100.7/32\n\
                      unchanged: 203.0.113.7/32\n\
                      rule block-ip of project p holds 1 entries, read back\n\
                      note: 203.0.113.7/32 is not an entry of the rule, but 203.0.113.0/24 covers it and stays\n\
                      note: a documentation address was put in: a deny rule whose list is empty denies everybody\n\
                      note: somebody else wrote the list at the same time; written again 1 times\n";
        assert_eq!(page(&document), expect);
    }

    #[test]
    fn host_bits_and_bare_addresses() {
        let words = ["198.51.100.7", "203.0.113.7/24"].map(str::to_owned);
        let nets: Vec<IpNet> = words.iter().map(|word| amend::parse(word).unwrap()).collect();
        assert_eq!(spellings(&words, &nets), ["203.0.113.7/24 is taken as 203.0.113.0/24"]);
    }

    #[test]
    fn protected_unless_forced() {
        let machine = Metadata {
            interfaces: vec![crate::enforce::gcp::metadata::Interface {
                external4: vec!["198.51.100.9".parse().unwrap()],
                ..Default::default()
            }],
            ..Metadata::default()
        };
        let own = ["198.51.100.0/24".parse().unwrap()];
        let error = objections(&own, Some(&machine), false).unwrap_err();
        assert!(error.contains("external address"), "{error}");
        assert_eq!(objections(&own, Some(&machine), true).unwrap().len(), 1);
        assert!(objections(&["0.0.0.0/0".parse().unwrap()], None, true).is_err());
    }
}
