//! `portcullis check`: what is wrong in a configuration folder, before a daemon meets it.
//!
//! In: a folder. Out: every complaint of the reading, of the real parts (filters, actions, ports, log files) and of
//! the lints, each once, as text with the line at fault or as JSON. Nothing is started and nothing is changed.

mod deep;
mod render;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::config::plan::Plan;
use portcullis_core::config::{self, Face, Request, Tree, lint};
use portcullis_core::diagnostic::{Diagnostic, Severity};

use crate::folder;

/// What `portcullis check` is told.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Options {
    /// Configuration folder
    #[arg(short = 'c', long = "config", value_name = "DIR", default_value = "/etc/fail2ban")]
    pub(crate) config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a check came to.
pub(crate) struct Report {
    /// The complaints, the worst first
    pub(crate) findings: Vec<Diagnostic>,
    /// How many jails are switched on
    pub(crate) jails: usize,
}

impl Report {
    /// How many findings there are of a severity.
    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// 0 clean (notes do not count), 1 warnings, 2 errors (DESIGN §5).
    fn exit(&self) -> u8 {
        match self.findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Error) => 2,
            Some(Severity::Warning) => 1,
            Some(Severity::Note) | None => 0,
        }
    }
}

/// Checks a folder, prints what was found, and says it again with the exit code.
pub(crate) fn main(options: &Options) -> ExitCode {
    let base = options.config.to_string_lossy();
    let base = base.trim_end_matches('/');
    let report = if options.config.is_dir() {
        let mut report = folder::with(base, |tree| look(tree, base, &folder::stock_tree()));
        folder::name_stock(&mut report.findings, base);
        report
    } else {
        no_folder(base)
    };
    let mut out = std::io::stdout();
    let text = if options.json {
        render::json(&report)
    } else {
        render::text(&report, out.is_terminal())
    };
    // Nobody is left to be told when the reader of our output has gone.
    let _ = out.write_all(text.as_bytes());
    ExitCode::from(report.exit())
}

/// Without a folder there is nothing to look at, and the stock alone was not meant.
fn no_folder(base: &str) -> Report {
    let is_there = std::path::Path::new(base).exists();
    let why = if is_there {
        "is no folder"
    } else {
        "does not exist or cannot be entered"
    };
    let finding = Diagnostic::new(
        Severity::Error,
        "no-folder",
        format!("the configuration folder {base} {why}"),
    );
    Report {
        findings: vec![finding.mend("name the folder with -c")],
        jails: 0,
    }
}

/// Everything that can be found out about a folder.
pub(crate) fn look(tree: &dyn Tree, base: &str, stock: &dyn Tree) -> Report {
    let outcome = config::read(tree, &Request::new(base, Face::Portcullis, env!("CARGO_PKG_VERSION")));
    let (plan, commands) = Plan::from_stream(&outcome.stream, Face::Portcullis);
    let skipped = commands.iter().filter(|told| told.code == SKIPPED).count();
    // A jail that was skipped was told of by the reading already, with its line.
    let commands = commands.into_iter().filter(|told| told.code != SKIPPED);
    let told = outcome.diagnostics.iter().cloned().chain(commands);
    let mut findings = deep::placed(tree, base, told);
    findings.extend(deep::look(tree, base, &outcome, &plan));
    let journal = |jail: &str| {
        plan.jails
            .iter()
            .any(|plan| &*plan.name == jail && deep::is_journal(plan))
    };
    let waits = |told: &Diagnostic| !told.code.starts_with("no-log-file") || !told.jail.as_deref().is_some_and(journal);
    findings.retain(waits);
    let subject = lint::Subject {
        tree,
        base,
        outcome: &outcome,
        plan: &plan,
        stock,
    };
    findings
        .iter_mut()
        .for_each(|finding| name_stock_filter(finding, stock));
    let mut findings = once(lint::improve(findings).into_iter().chain(lint::lint(&subject)));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Report {
        findings,
        jails: plan.jails.len() + skipped,
    }
}

/// A filter that is missing although the stock has one: the folder has a `jail.conf`, so the stock is not used.
fn name_stock_filter(finding: &mut Diagnostic, stock: &dyn Tree) {
    let Some(name) = finding
        .message
        .split('\'')
        .nth(1)
        .filter(|_| finding.code == "missing-file")
    else {
        return;
    };
    let file = format!("filter.d/{name}.conf");
    if finding.message.contains("the filter") && stock.is_file(&file) {
        finding.mend = Some(format!(
            "portcullis brings one: portcullis stock {file} prints it, to be put into {file} here"
        ));
    }
}

/// The code of a command that stands for a jail that was left out.
const SKIPPED: &str = "config-error";

/// Each complaint once; what several jails have in common names them all.
fn once(findings: impl Iterator<Item = Diagnostic>) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = Vec::new();
    for finding in findings {
        let same = all.iter_mut().find(|told| {
            (told.code, &told.position, &told.message) == (finding.code, &finding.position, &finding.message)
        });
        match (same, finding.jail.as_deref()) {
            (None, _) => all.push(finding),
            (Some(told), Some(jail)) => add_jail(told, jail),
            (Some(_), None) => {}
        }
    }
    all
}

fn add_jail(told: &mut Diagnostic, jail: &str) {
    match &mut told.jail {
        Some(jails) if !jails.split(", ").any(|known| known == jail) => {
            jails.push_str(", ");
            jails.push_str(jail);
        }
        Some(_) => {}
        none => *none = Some(jail.to_owned()),
    }
}
