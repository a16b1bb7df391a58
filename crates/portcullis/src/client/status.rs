//! `status` and `banned`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use portcullis_core::wire::Verb;

use super::{Ask, call, exit};
use crate::control::answer::{Action, Banned, Jail, Progress, Status};
use crate::regex::harmless;

/// Shows how things stand.
pub(crate) fn status(jail: Option<String>, ask: &Ask) -> ExitCode {
    let (status, text) = match call::json::<Status>(ask, &Verb::Status { jail }) {
        Ok(answer) => answer,
        Err(error) => return error.exit(ask.json),
    };
    print(&if ask.json {
        text + "\n"
    } else {
        headline(&status) + &harmless(&page(&status))
    });
    ExitCode::from(if status.protected || status.dry_run {
        exit::DONE
    } else {
        exit::NOT_PROTECTED
    })
}

/// Writes to standard output; a reader that has gone away is no error.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn page(status: &Status) -> String {
    let mut page = String::new();
    let database = status.database.as_deref().unwrap_or("none");
    page += &format!(
        "running since {} (pid {}), database {database}\n",
        status.since, status.pid
    );
    if !status.source.is_empty() {
        page += &format!("configuration: {}\n", status.source);
    }
    for lag in &status.lagging {
        page += &format!("{lag}\n");
    }
    if status.unsaved > 0 {
        page += &format!("{} records are not saved: the database refuses them\n", status.unsaved);
    }
    for jail in &status.jails {
        page += &describe(jail);
    }
    if !status.diagnostics.is_empty() {
        page += "\nconfiguration:\n";
        for line in &status.diagnostics {
            page += &format!("  {line}\n");
        }
    }
    page
}

fn headline(status: &Status) -> String {
    let (colour, plain) = if std::io::stdout().is_terminal() {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    if status.dry_run {
        return "DRY RUN: bans are decided and logged, nothing is enforced\n".to_owned();
    }
    if status.protected {
        return "protected: every layer does what was decided\n".to_owned();
    }
    let mut text = format!("{colour}NOT PROTECTED{plain}\n");
    for reason in &status.not_protected {
        text += &format!("  {}\n", harmless(reason));
    }
    text
}

fn describe(jail: &Jail) -> String {
    let mut text = format!(
        "\n{}: {} banned ({} in all), {} failing ({} failures in all)\n",
        jail.name, jail.currently_banned, jail.total_banned, jail.currently_failed, jail.total_failed
    );
    for (what, why) in [("may not ban", &jail.held), ("sees nothing", &jail.blind)] {
        if let Some(why) = why {
            text += &format!("  {what}: {why}\n");
        }
    }
    for file in &jail.files {
        text += &format!("  {}: {}\n", file.path, file.state);
    }
    for (name, action) in &jail.actions {
        text += &format!("  action {name}: {}\n", describe_action(action));
    }
    for remark in &jail.remarks {
        text += &format!("  {remark}\n");
    }
    if let Some(banned) = jail.banned.as_ref().filter(|banned| !banned.is_empty()) {
        text += &format!("  banned: {}\n", banned.join(" "));
    }
    text
}

fn describe_action(action: &Action) -> String {
    let mut text = action.way.clone();
    if let Some(failure) = &action.failure {
        text += &match action.failed {
            0 => format!(", FAILING: {failure}"),
            1 => format!(", FAILING: 1 address not banned: {failure}"),
            failed => format!(", FAILING: {failed} addresses not banned: {failure}"),
        };
    }
    if action.unprotected > 0.0 {
        text += &format!("\n    unprotected for {:.3} s in all", action.unprotected);
        if let Some(last) = &action.last_unprotected {
            text += &format!(", the last time at {last}");
        }
    }
    if let Some(cloud) = &action.cloud {
        text += &describe_cloud(cloud);
    }
    if let Some(drift) = &action.last_drift {
        text += &match action.drifts {
            0 | 1 => format!("\n    changed by others at {drift}"),
            drifts => format!("\n    changed by others {drifts} times, at last {drift}"),
        };
    }
    text
}

fn describe_cloud(cloud: &Progress) -> String {
    let project = cloud.project.as_deref().unwrap_or("not known yet");
    let mut text = format!(
        ", rule {} of project {project}\n    {} decided, {} applied, {} read back, {} pending",
        cloud.rules.join(" "),
        cloud.decided,
        cloud.applied,
        cloud.verified,
        cloud.pending
    );
    if let Some(lag) = cloud.lag {
        text += &format!(", the oldest for {lag:.1} s");
    }
    if let Some(read) = &cloud.read {
        text += &format!("; last read at {read}");
    }
    for line in cloud.trouble.iter().chain(&cloud.remarks) {
        text += &format!("\n    {line}");
    }
    text
}

/// Lists who is banned.
pub(crate) fn banned(jail: Option<String>, ask: &Ask) -> ExitCode {
    let (banned, text) = match call::json::<Vec<Banned>>(ask, &Verb::Banned { jail }) {
        Ok(answer) => answer,
        Err(error) => return error.exit(ask.json),
    };
    if ask.json {
        print(&(text + "\n"));
    } else if !std::io::stdout().is_terminal() {
        print(&harmless(&lines(&banned)));
    } else if banned.is_empty() {
        print("nobody is banned\n");
    } else {
        print(&harmless(&table(&banned)));
    }
    ExitCode::from(exit::DONE)
}

/// For other programs: a line for each ban, with tabs between its parts and nothing else.
fn lines(banned: &[Banned]) -> String {
    let line = |ban: &Banned| {
        let until = ban.until.as_deref().unwrap_or("-");
        // What a filter takes for an address may hold anything.
        let part = |text: &str| text.replace('\t', "\\t").replace('\n', "\\n");
        let (ip, jail, since, layers) = (part(&ban.ip), part(&ban.jail), &ban.since, part(&layers(ban)));
        format!("{ip}\t{jail}\t{since}\t{until}\t{layers}\n")
    };
    banned.iter().map(line).collect()
}

fn layers(ban: &Banned) -> String {
    let layers: Vec<String> = ban
        .layers
        .iter()
        .map(|(name, standing)| format!("{name} {standing}"))
        .collect();
    layers.join(", ")
}

fn table(banned: &[Banned]) -> String {
    let width = |of: fn(&Banned) -> usize, least| banned.iter().map(of).max().unwrap_or(0).max(least);
    let (ip, jail) = (width(|b| b.ip.len(), 7), width(|b| b.jail.len(), 4));
    let mut text = format!(
        "{:ip$}  {:jail$}  {:20}  {:20}  LAYERS\n",
        "ADDRESS", "JAIL", "SINCE", "UNTIL"
    );
    for ban in banned {
        let until = ban.until.as_deref().unwrap_or("for ever");
        text += &format!(
            "{:ip$}  {:jail$}  {:20}  {until:20}  {}\n",
            ban.ip,
            ban.jail,
            ban.since,
            layers(ban)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_ban_whatever_it_is_called() {
        let ban = Banned {
            ip: "a\tb\nc".into(),
            jail: "j".into(),
            since: "s".into(),
            until: None,
            layers: [("nft".to_owned(), "failed: x\ny".to_owned())].into(),
            ..Banned::default()
        };
        assert_eq!(lines(&[ban]), "a\\tb\\nc\tj\ts\t-\tnft failed: x\\ny\n");
    }
    #[test]
    fn what_an_action_is_said_to_do() {
        let check = |action: Action, expect: &str| assert_eq!(describe_action(&action), expect);
        let native = || Action {
            way: "native".into(),
            ..Action::default()
        };
        check(native(), "native");
        let failure = Some("the set is full".to_owned());
        check(
            Action {
                failure,
                failed: 2,
                unprotected: 1.5,
                last_unprotected: Some("T".into()),
                ..native()
            },
            "native, FAILING: 2 addresses not banned: the set is full\n    unprotected for 1.500 s in all, the last time at T",
        );
        check(
            Action {
                drifts: 3,
                last_drift: Some("T: the table was gone; mended, 1 ban was not in force for at most 0.012 s".into()),
                ..native()
            },
            "native\n    changed by others 3 times, at last T: the table was gone; mended, 1 ban was not in force for at most 0.012 s",
        );
    }
}
