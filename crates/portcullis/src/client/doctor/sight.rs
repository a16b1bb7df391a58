//! The jails: which are on and blind, because they read nothing, find nothing, or let pass what they should see.

use super::logs::{READING, is_journal, no_log};
use super::scene::Scene;
use super::tail::Trial;
use crate::client::finding::Finding;
use crate::control::answer::File;

/// Of so few lines nothing is concluded.
const FEW: usize = 50;
/// A jail that found nothing in so many lines is told of.
const MANY: u64 = 1000;

pub(super) fn look(scene: &Scene) -> Vec<Finding> {
    let mut found = left_out(scene);
    for jail in scene.jails() {
        let name = &*jail.name;
        if let Some(finding) = blind(scene, name) {
            found.push(finding);
            continue;
        }
        let trials: Vec<&Trial> = scene.trials.iter().filter(|trial| trial.jail == name).collect();
        let before = found.len();
        found.extend(trials.iter().filter_map(|trial| unseen(trial)));
        if found.len() == before {
            found.extend(finds_nothing(scene, name, &trials));
        }
        if found.len() == before && is_journal(jail) {
            let files = scene.jail(name).map_or(&[][..], |jail| &jail.files);
            found.push(journal(files, &scene.typed("reload")).of(format!("jail {name}")));
        } else if found.len() == before && !trials.is_empty() {
            found.push(sees(scene, name, &trials));
        }
    }
    if found.is_empty() && scene.configured.is_some() && scene.jails().next().is_none() {
        let local = scene.places.config.join("jail.local");
        let text = "no jail is switched on: nothing is watched";
        let mend = format!("write [sshd] and below it enabled = true into {}", local.display());
        found.push(Finding::bad("no-jail", text).mend(mend));
    }
    found
}

/// Jails that are switched on and not in force.
fn left_out(scene: &Scene) -> Vec<Finding> {
    let dropped = scene.configured.iter().flat_map(|setup| &setup.dropped);
    dropped
        .map(|(name, reason)| {
            let mend = if reason.contains("log file") {
                no_log(scene, &[])
            } else {
                scene.typed("check")
            };
            let text = format!("it is switched on and not in force: {reason}");
            Finding::bad("jail-dropped", text).of(format!("jail {name}")).mend(mend)
        })
        .collect()
}

/// Why a jail reads nothing at all.
fn blind(scene: &Scene, name: &str) -> Option<Finding> {
    let reason = match scene.jail(name) {
        Some(jail) => jail.blind.clone(),
        None => scene.configured.as_ref()?.blind.get(name).cloned(),
    }?;
    let mend = if reason.contains("log file") {
        let jails: Vec<_> = scene.jails().filter(|jail| *jail.name == *name).collect();
        no_log(scene, &jails)
    } else {
        scene.typed("check")
    };
    let text = format!("it sees nothing: it {reason}");
    Some(Finding::bad("blind", text).of(format!("jail {name}")).mend(mend))
}

/// What a jail that is to read the journal does about it: of these the daemon says that the jail reads them.
fn journal(files: &[File], reload: &str) -> Finding {
    if let Some(file) = files.iter().find(|file| file.path.starts_with('/')) {
        let text = format!("it waits for {}, and by now the journal has its lines", file.path);
        return Finding::bad("journal-unread", text).mend(reload);
    }
    match files.iter().find(|file| file.state != READING) {
        Some(file) => {
            let text = format!("it cannot read the journal: {}", file.state);
            Finding::bad("journal-closed", text).mend(if file.state.contains("not installed") {
                "apt-get install systemd; or set logpath, and backend = auto, where log files are written"
            } else {
                "journalctl -n 1, as the daemon's user, shows what is wrong with it"
            })
        }
        None => Finding::ok("jail", "reads the journal"),
    }
}

/// Attacks that stand in the log, and that the filter lets pass in its mode.
fn unseen(trial: &Trial) -> Option<Finding> {
    let (count, what, mend) = trial.unseen.as_ref()?;
    let text = format!(
        "{count} of the last {} lines of {} are {what} that it does not count",
        trial.lines, trial.path
    );
    let finding = Finding::warn("unseen", text).of(format!("jail {}", trial.jail));
    Some(finding.mend(format!("write {mend} in [{}], then: portcullis reload", trial.jail)))
}

/// What keeps a jail from finding anything, as far as can be told from lines.
fn finds_nothing(scene: &Scene, name: &str, trials: &[&Trial]) -> Option<Finding> {
    let (read, matched) = scene.jail(name).map_or((0, 0), |jail| (jail.lines, jail.matched));
    let tried: usize = trials.iter().map(|trial| trial.lines).sum();
    if matched > 0 || trials.iter().any(|trial| trial.matched > 0) {
        return None;
    }
    let subject = format!("jail {name}");
    let log = trials.first().map_or("LOG", |trial| &trial.path);
    let filter = scene.configured.as_ref().and_then(|setup| setup.filters.get(name));
    let mend = match filter {
        Some(filter) => format!("this shows what the filter sees and misses: portcullis regex {log} {filter}"),
        None => format!("this shows what a pattern sees: portcullis regex {log} 'FAILREGEX'"),
    };
    let prefixed: Option<usize> = trials.iter().map(|trial| trial.prefixed).sum();
    if tried >= FEW && prefixed == Some(0) {
        let text = format!("none of the last {tried} lines of {log} is of the service that its filter is for");
        return Some(
            Finding::warn("other-log", text)
                .of(subject)
                .mend(mend + "\nand correct logpath or filter"),
        );
    }
    let lines = read.max(u64::try_from(tried).unwrap_or(u64::MAX));
    if lines < MANY {
        return None;
    }
    let text = format!("it found nothing in {lines} lines: nobody attacks, or it is blind");
    Some(Finding::warn("never-matched", text).of(subject).mend(mend))
}

/// That all is well, with numbers.
fn sees(scene: &Scene, name: &str, trials: &[&Trial]) -> Finding {
    let text = match scene.jail(name) {
        Some(jail) => {
            let last = jail
                .last_match
                .as_ref()
                .map_or(String::new(), |at| format!(", the last at {at}"));
            format!("{} lines read, {} with a failure{last}", jail.lines, jail.matched)
        }
        None => {
            let sum = |of: fn(&Trial) -> usize| trials.iter().map(|trial| of(trial)).sum::<usize>();
            match sum(|trial| trial.lines) {
                0 => "there is no line yet".to_owned(),
                lines => format!(
                    "finds failures in {} of the last {lines} lines",
                    sum(|trial| trial.matched)
                ),
            }
        }
    };
    Finding::ok("jail", text).of(format!("jail {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jail_that_is_to_read_the_journal() {
        let check = |path: &str, state: &str, expect: (&str, Option<&str>)| {
            let file = File {
                path: path.into(),
                state: state.into(),
            };
            let finding = journal(&[file], "portcullis reload");
            let mend = finding.mend.as_deref().and_then(|mend| mend.split(';').next());
            assert_eq!((finding.code, mend), expect, "{finding:?}");
        };
        check("systemd", READING, ("jail", None));
        check(
            "/var/log/mail.log",
            READING,
            ("journal-unread", Some("portcullis reload")),
        );
        let none = "journalctl is not installed (apt-get install systemd), so the journal cannot be read";
        check("systemd", none, ("journal-closed", Some("apt-get install systemd")));
        let mend = "journalctl -n 1, as the daemon's user, shows what is wrong with it";
        check(
            "systemd",
            "journalctl ended with code 1",
            ("journal-closed", Some(mend)),
        );
        assert_eq!(journal(&[], "").code, "jail");
    }

    #[test]
    fn attacks_that_are_let_pass() {
        let trial = |unseen: Option<usize>| Trial {
            jail: "postfix".into(),
            path: "/var/log/mail.log".into(),
            lines: 400,
            unseen: unseen.map(|count| (count, "SASL failures".into(), "filter = postfix[mode=extra]".into())),
            ..Trial::default()
        };
        assert_eq!(unseen(&trial(None)), None);
        let finding = unseen(&trial(Some(12))).unwrap();
        assert_eq!(
            finding.text,
            "12 of the last 400 lines of /var/log/mail.log are SASL failures that it does not count"
        );
        let mend = "write filter = postfix[mode=extra] in [postfix], then: portcullis reload";
        assert_eq!(finding.mend.as_deref(), Some(mend));
    }
}
