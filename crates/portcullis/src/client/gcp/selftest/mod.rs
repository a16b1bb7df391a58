//! `gcp selftest`: what the API really does, tried on deny rules of its own whose target tag no machine has.
//!
//! What no document settles is tried: how long operations take, which spellings of addresses it accepts and how it
//! gives them back, what it does with two writes at a time, with a request that comes twice, with a list that is too
//! long, and with one that is empty. The last would deny everybody, so it is tried only on a rule that was just made here,
//! after a look that it still meets nobody. What was made is deleted at the end, also after Ctrl-C.

mod report;
mod trials;

use std::process::ExitCode;
use std::time::Duration;

use portcullis_core::cloud::trouble::{Kind, Trouble};
use serde_json::{Value, json};

use self::report::{Report, Trial};
use self::trials::{Bench, GENTLE, TRIALS};
use super::offline;
use super::pace::{Pace, Real};
use super::reach::{Line, Reach};
use super::roles::{self, SCRATCH};
use super::session::{Api as _, Session};
use super::sight::Look;
use crate::client::failure::{fail, print_line};
use crate::client::{exit, status::print};
use crate::enforce::gcp::metadata::Metadata;
use crate::regex::harmless;

/// For all of it, and for putting it away.
const PATIENCE: Duration = Duration::from_secs(1800);
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(300);
/// So long a binding for the test holds.
const BINDING: Duration = Duration::from_secs(3600);

/// `gcp selftest`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Try only what is harmless, on this rule that is there: an entry 192.0.2.2/32 in and out again
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Network for the rules that are made [default: this machine's, else default]
    #[arg(long, value_name = "NAME", conflicts_with = "rule")]
    network: Option<String>,
    /// Try also how many entries a rule takes: a few large writes
    #[arg(long, conflicts_with = "rule")]
    limit: bool,
    /// Leave the names of project and network out of the report
    #[arg(long)]
    public: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    look: Look,
}

/// Tries everything, puts away what was made, and prints the report.
pub(super) fn main(options: &Options) -> ExitCode {
    let json = options.look.ask.json;
    let report = match run(options) {
        Ok(report) => report,
        Err(error) => return fail(json, &error, exit::REFUSED),
    };
    for text in report.mend.iter().chain(&report.left) {
        eprintln!("portcullis: {}", harmless(text));
    }
    let report = if options.public { report.masked() } else { report };
    if json {
        print_line(&report);
    } else {
        print(&report.page());
    }
    ExitCode::from(if report.left.is_some() || !report.finished {
        exit::REFUSED
    } else {
        exit::DONE
    })
}

fn run(options: &Options) -> Result<Report, String> {
    let machine = Metadata::read().unwrap_or_default();
    let mut pace = Real::careful(options.look.ask.json);
    let name = match &options.rule {
        Some(rule) => rule.clone(),
        None => format!("{SCRATCH}{:08x}", pace.random() >> 32),
    };
    let rule_options = options.reach.options(&name, &options.look.ask.place)?;
    let mut line = Line::open(&rule_options, machine.as_ref())?;
    let place = line.place.clone();
    let project = line.project().to_owned();
    // Half an hour of patience is for the trials, not for credentials that are not there.
    if let Err(trouble) = line.send("GET", "global/firewalls?maxResults=1", None)
        && matches!(trouble.kind, Kind::Credentials | Kind::Unknown)
    {
        return Err(line.explain(&trouble));
    }
    let own = offline::host(machine.as_ref()).networks.into_iter().next();
    let network = match (&options.network, own) {
        (Some(name), _) => format!("projects/{project}/global/networks/{}", checked(name)?),
        (None, Some(own)) => own,
        (None, None) => format!("projects/{project}/global/networks/default"),
    };
    let mut report = Report::new(
        &project,
        &network,
        machine.as_ref().map_or("", |machine| &machine.number),
    );
    let mut clean = pace.clean();
    if options.rule.is_some() {
        let mut session = Session::new(&mut line, &mut pace, PATIENCE);
        let bench = Bench::on(&name);
        report.finished = trials(&mut session, &bench, GENTLE.iter(), &mut report) && report.trouble.is_none();
        report.mend = report.trouble.as_ref().and_then(|trouble| roles::mend(trouble, &place));
        return Ok(report);
    }
    let bench = Bench::on(&name);
    let mut session = Session::new(&mut line, &mut pace, PATIENCE);
    match made(&mut session, &bench, &network, &mut report.begun) {
        Ok(trial) => {
            report.trials.push(trial);
            let chosen = TRIALS
                .iter()
                .filter(|(name, _)| *name != trials::LIMIT || options.limit);
            report.finished = trials(&mut session, &bench, chosen, &mut report);
        }
        Err(trouble) => report.failed("make", &trouble),
    }
    let mut session = Session::new(&mut line, &mut clean, PATIENCE_AT_THE_END);
    put_away(&mut session, &mut report);
    report.calls += session.calls;
    let end = format!("{:.0}", jiff::Timestamp::now() + BINDING);
    let trouble = report.trouble.as_ref();
    report.mend = trouble.and_then(|trouble| roles::mend_scratch(trouble, &place, &end));
    Ok(report)
}

fn checked(network: &str) -> Result<&str, String> {
    let is_name = portcullis_core::cloud::options::is_rule(network);
    is_name
        .then_some(network)
        .ok_or_else(|| format!("'{}' is no name of a network", network.escape_default()))
}

/// Makes both rules; how long the first took.
fn made(session: &mut Session<'_>, bench: &Bench, network: &str, begun: &mut Vec<String>) -> Result<Trial, Trouble> {
    let mut first = None;
    for rule in bench.rules() {
        session.pace.tell(&format!("making rule {rule}"));
        let ended = session.change("POST", "global/firewalls", Some(&scratch(rule, bench, network)));
        // Of one that was refused nothing is left; of one whose answer was lost something may be.
        if !matches!(&ended, Err(trouble) if is_refusal(trouble)) {
            begun.push(rule.to_owned());
        }
        first.get_or_insert(ended?);
    }
    let took = first.map(|ended| ended.took);
    Ok(Trial::done("make", "a rule was made", took))
}

/// Whether the API has said that it did nothing.
fn is_refusal(trouble: &Trouble) -> bool {
    matches!(trouble.status, Some(400..=499)) && !matches!(trouble.kind, Kind::Unknown | Kind::Conflict)
}

/// A rule that meets no machine: its only target is a tag with the rule's own random name.
fn scratch(rule: &str, bench: &Bench, network: &str) -> Value {
    json!({
        "name": rule,
        "network": network,
        "description": "made by portcullis gcp selftest; meets no machine; may be deleted",
        "direction": "INGRESS",
        "priority": 65_534,
        "denied": [{"IPProtocol": "all"}],
        "sourceRanges": ["192.0.2.1/32"],
        "targetTags": [bench.tag()],
    })
}

/// One after the other; `false` where somebody wanted to stop.
fn trials<'t>(
    session: &mut Session<'_>,
    bench: &Bench,
    trials: impl Iterator<Item = &'t trials::Try>,
    report: &mut Report,
) -> bool {
    for (name, attempt) in trials {
        if !session.pace.pause(Duration::ZERO) {
            return false;
        }
        session.pace.tell(&format!("trying: {name}"));
        match attempt(session, bench) {
            Ok((said, took)) => report.trials.push(Trial::done(name, &said, took)),
            Err(trouble) => report.failed(name, &trouble),
        }
    }
    report.calls += session.calls;
    true
}

/// Deletes what was made; what could not be is named with the command.
fn put_away(session: &mut Session<'_>, report: &mut Report) {
    let mut left = Vec::new();
    for rule in report.begun.clone() {
        session.pace.tell(&format!("deleting rule {rule}"));
        match session.change("DELETE", &format!("global/firewalls/{rule}"), None) {
            Ok(ended) => report
                .trials
                .push(Trial::done("delete", "the rule was deleted", Some(ended.took))),
            Err(trouble) if trouble.kind == Kind::Missing => {}
            Err(trouble) => {
                report.trouble.get_or_insert_with(|| trouble.clone());
                left.push((rule, trouble));
            }
        }
    }
    let text: Vec<String> = left
        .iter()
        .map(|(rule, trouble)| {
            let project = &report.project;
            format!("rule {rule} is still there ({trouble}): gcloud compute firewall-rules delete {rule} --project {project}")
        })
        .collect();
    report.left = (!text.is_empty()).then(|| text.join("; "));
}

#[cfg(test)]
mod tests;
