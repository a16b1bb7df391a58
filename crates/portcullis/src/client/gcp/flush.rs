//! `gcp flush`: all that is ours goes out of the rules, while no daemon runs; the sentinels and what is somebody else's
//! stay.
//!
//! A daemon that runs is not asked: it would write its bans again, because they are in force. Whoever wants nobody
//! banned says `portcullis flush`, which frees everybody everywhere.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_core::cloud::books::{Account, Entry};
use portcullis_core::cloud::options::Options as RuleOptions;
use portcullis_core::cloud::trouble::Kind;
use portcullis_core::wire::Verb;
use serde::Serialize;

use super::aims::Aims;
use super::amend::{self, Change, Failure};
use super::lock::Lock;
use super::offline;
use super::pace::{Pace as _, Real};
use super::reach::{self, Line, Reach};
use super::session::Session;
use super::sight::Look;
use crate::client::failure::{fail, print_line};
use crate::client::{call, exit, status::print};
use crate::control::answer::Failed;
use crate::enforce::gcp::metadata::Metadata;
use crate::enforce::gcp::store::CloudBooks;
use crate::regex::harmless;

/// For one rule.
const PATIENCE: Duration = Duration::from_secs(300);

/// `gcp flush`
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Only this rule
    rule: Option<String>,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    look: Look,
}

/// `gcp flush --json`
#[derive(Debug, Serialize)]
struct Document {
    count: usize,
    rules: Vec<Emptied>,
    notes: Vec<String>,
    #[serde(flatten)]
    failed: Option<Failed>,
}

/// One rule.
#[derive(Debug, Serialize)]
struct Emptied {
    project: String,
    rule: String,
    removed: Vec<String>,
    size: usize,
}

/// What is ours in one rule.
struct Holding {
    project: String,
    rule: String,
    account: Account,
}

/// Takes everything out.
pub(super) fn main(options: &Options) -> ExitCode {
    let json = options.look.ask.json;
    if !matches!(
        call::text(&options.look.ask.place, &Verb::ping()),
        Err(call::Error::NoDaemon { .. })
    ) {
        let error = "a daemon runs, and would write its bans into the rules again; portcullis flush frees everybody in \
                     every layer, portcullis unban IP one; to empty the rules alone, stop it first (systemctl stop portcullis, \
                     which leaves every ban in force)";
        return fail(json, error, exit::REFUSED);
    }
    match run(options) {
        Ok(Some(document)) => tell(json, &document),
        Ok(None) => fail(json, "nothing was done", exit::REFUSED),
        Err(error) => fail(json, &error, exit::REFUSED),
    }
}

fn tell(json: bool, document: &Document) -> ExitCode {
    if let Some(failed) = &document.failed {
        eprintln!("portcullis: {}", harmless(&failed.error));
    }
    if json {
        print_line(document);
    } else {
        let mut text = String::new();
        for Emptied {
            project,
            rule,
            removed,
            size,
        } in &document.rules
        {
            let count = removed.len();
            text += &format!("rule {rule} of project {project}: {count} entries taken out, {size} stay\n");
        }
        for note in &document.notes {
            text += &format!("note: {note}\n");
        }
        print(&harmless(&text));
    }
    ExitCode::from(document.failed.as_ref().map_or(exit::DONE, |failed| failed.exit))
}

fn run(options: &Options) -> Result<Option<Document>, String> {
    options.rule.as_deref().map_or(Ok(()), reach::named)?;
    let places = offline::places(&options.look);
    let path = offline::books(&places);
    let mut document = Document {
        count: 0,
        rules: Vec::new(),
        notes: vec!["no daemon runs".to_owned()],
        failed: None,
    };
    if !path.exists() {
        document.notes.push(format!(
            "{} is not there: nothing in any rule is known as ours",
            path.display()
        ));
        return Ok(Some(document));
    }
    let mut books = CloudBooks::open(&path)?;
    document.notes.extend(books.loss().map(str::to_owned));
    let holdings = holdings(&books, options.rule.as_deref())?;
    if holdings.is_empty() {
        document.notes.push("nothing in any rule is ours".to_owned());
        return Ok(Some(document));
    }
    if !options.yes && !is_agreed(&holdings) {
        return Ok(None);
    }
    let machine = Metadata::read().unwrap_or_default();
    let aims = Aims::read(&options.look.ask.place);
    let mut errors = Vec::new();
    for holding in &holdings {
        match empty(options, &aims, machine.as_ref(), holding) {
            Ok((emptied, note)) => {
                document.count += emptied.removed.len();
                document.notes.extend(note);
                forget(&mut books, holding)?;
                document.rules.push(emptied);
            }
            Err(error) => errors.push(format!("rule {} of project {}: {error}", holding.rule, holding.project)),
        }
    }
    let kept = offline::kept(&places).map_or(0, |kept| kept.bans.len());
    if kept > 0 {
        document.notes.push(format!(
            "{kept} bans are still kept, and the next start writes those of them that belong into a rule again; portcullis flush \
             forgets them"
        ));
    }
    document.failed = (!errors.is_empty()).then(|| Failed {
        error: errors.join("; "),
        exit: exit::REFUSED,
    });
    Ok(Some(document))
}

/// The rules in which something is ours.
fn holdings(books: &CloudBooks, rule: Option<&str>) -> Result<Vec<Holding>, String> {
    let mut holdings = Vec::new();
    for project in books.projects()? {
        for (name, account) in books.load(&project)?.state().rules {
            let base = account.base.as_deref().unwrap_or(&name);
            let is_meant = rule.is_none_or(|rule| rule == name || rule == base);
            if is_meant && !account.claims.is_empty() {
                holdings.push(Holding {
                    project: project.clone(),
                    rule: name,
                    account,
                });
            }
        }
    }
    Ok(holdings)
}

/// Asks whoever sits at a terminal; a script has said what it wants.
fn is_agreed(holdings: &[Holding]) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return true;
    }
    let names: Vec<String> = holdings
        .iter()
        .map(|holding| {
            format!(
                "{} of {} ({} entries)",
                holding.rule,
                holding.project,
                holding.account.claims.len()
            )
        })
        .collect();
    eprint!(
        "Take all entries of ours out of {}? [y/N] ",
        harmless(&names.join(", "))
    );
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.is_ok() && ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())
}

/// Takes ours out of one rule.
fn empty(
    options: &Options,
    aims: &Aims,
    machine: Option<&Metadata>,
    holding: &Holding,
) -> Result<(Emptied, Option<String>), String> {
    let base = holding.account.base.as_deref().unwrap_or(&holding.rule);
    let known = aims.of(base).cloned();
    let mut rule_options: RuleOptions = match known {
        Some(known) => known,
        None => options.reach.options(base, &options.look.ask.place)?,
    };
    rule_options.project = Some(holding.project.clone());
    let mut line = Line::open(&rule_options, machine)?;
    let _lock = Lock::take(&holding.project, &holding.rule, PATIENCE)?;
    let mut pace = Real::new(options.look.ask.json);
    let ours: Vec<IpNet> = holding.account.claims.keys().copied().collect();
    pace.tell(&format!("taking {} entries out of rule {}", ours.len(), holding.rule));
    let mut session = Session::new(&mut line, &mut pace, PATIENCE);
    if let Some(operation) = &holding.account.operation {
        // What was under way when the daemon ended would come after us and bring everything back. How it ended, the
        // list shows.
        let begun = session.pace.now();
        let _ = session.follow(serde_json::json!({ "name": operation }), begun);
    }
    let change = Change {
        add: Vec::new(),
        remove: ours,
    };
    let amended = amend::amend(&mut session, &holding.rule, &change, &|rule| {
        amend::fit(rule, &change, &[])
    });
    let (removed, size, gone) = match amended {
        Ok(amended) => (amended.removed, amended.size, None),
        Err(Failure::Api(trouble)) if trouble.kind == Kind::Missing => (
            Vec::new(),
            0,
            Some(format!("rule {} is not there any more", holding.rule)),
        ),
        Err(Failure::Api(trouble)) => return Err(line.explain(&trouble)),
        Err(other) => return Err(other.to_string()),
    };
    let made = holding.account.base.as_ref().filter(|_| gone.is_none()).map(|_| {
        let Holding { project, rule, .. } = holding;
        format!(
            "portcullis made rule {rule}; it may go: gcloud compute firewall-rules delete {rule} --project {project}"
        )
    });
    let emptied = Emptied {
        project: holding.project.clone(),
        rule: holding.rule.clone(),
        removed: removed.iter().map(ToString::to_string).collect(),
        size,
    };
    Ok((emptied, gone.or(made)))
}

/// Nothing in the rule is ours any more.
fn forget(books: &mut CloudBooks, holding: &Holding) -> Result<(), String> {
    let rule = || holding.rule.clone();
    let mut entries: Vec<Entry> = holding
        .account
        .claims
        .keys()
        .map(|range| Entry::Forget {
            rule: rule(),
            range: *range,
        })
        .collect();
    entries.push(Entry::Operation {
        rule: rule(),
        operation: None,
    });
    books.keep(&holding.project, &entries)
}
