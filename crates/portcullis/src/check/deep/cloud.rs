//! Actions that ban in a firewall rule of the cloud: our own, and gcloud's commands, recognised or not.

use portcullis_core::cloud::gcloud::{self, Change};
use portcullis_core::cloud::options::Options;
use portcullis_core::config::lint;
use portcullis_core::config::plan::{ActionPlan, JailPlan};
use portcullis_core::diagnostic::{Diagnostic, Severity};

use super::Deep;
use crate::daemon::way;

impl Deep<'_> {
    /// `layer = gcp-firewall`: every option is looked at, and nobody is asked.
    pub(super) fn firewall(&mut self, jail: &JailPlan, action: &ActionPlan) {
        let Err(reason) = Options::of(action) else { return };
        self.not_in_force("bad-action", jail, action, &reason);
    }

    /// Commands of gcloud. The environment that they would run in is the daemon's, which is not known here.
    pub(super) fn gcloud(&mut self, jail: &JailPlan, action: &ActionPlan) {
        let finding = match recognised(action) {
            Ok(None) => return,
            Ok(Some(found)) => {
                let mend = match found.ban {
                    Change::Replace => "write --add-source-ranges <ip>".to_owned(),
                    Change::Add | Change::Remove => {
                        format!("action = gcp-firewall[rule={}] says the same", found.options.rule)
                    }
                };
                Diagnostic::new(Severity::Note, "gcloud-native", found.said()).mend(mend)
            }
            Err(reason) => left_to_the_shell(action, &reason),
        };
        let place = commands(action).find_map(|(option, text)| Some((option.to_owned(), flag(text)?)));
        let (option, flag) = place.unwrap_or_else(|| ("actionban".to_owned(), "gcloud"));
        let placed = self.placed(jail, finding, &format!("{option}@{}", action.name), "action");
        self.found.push(lint::pointed(self.tree, placed, flag));
    }
}

fn recognised(action: &ActionPlan) -> Result<Option<gcloud::Recognised>, String> {
    let is_about = commands(action).any(|(_, text)| gcloud::is_about(text));
    if is_about && way::option(action, "native") == Ok(Some(false)) {
        return Err("native = no".to_owned());
    }
    gcloud::of_action(action, |_| None)
}

/// A command that gcloud refuses, or that does another thing than it seems to, bans nobody, and Fail2Ban's log alone
/// would say so.
fn left_to_the_shell(action: &ActionPlan, reason: &str) -> Diagnostic {
    let flags: Vec<&str> = commands(action).filter_map(|(_, text)| flag(text)).collect();
    let (severity, code, effect) = match flags.first() {
        None => (Severity::Note, "gcloud-shell", String::new()),
        Some(&"--source-ranges") => (
            Severity::Warning,
            "gcloud-flag",
            "; there --source-ranges replaces the whole list, so that each ban lifts the one before".to_owned(),
        ),
        Some(flag) => (
            Severity::Warning,
            "gcloud-flag",
            format!("; gcloud has no flag {flag}: the command fails each time, and nobody is banned by it"),
        ),
    };
    let message = format!("action {} is left to the shell: {reason}{effect}", action.name);
    Diagnostic::new(severity, code, message).mend("write action = gcp-firewall[rule=NAME], which needs no gcloud")
}

/// The flag of a command that gcloud does not have, or that replaces the list by one address.
fn flag(text: &str) -> Option<&'static str> {
    if !gcloud::is_about(text) {
        return None;
    }
    let missing = [Change::Add, Change::Remove].map(Change::flag);
    let missing = missing.into_iter().find(|flag| text.contains(flag));
    let single = ["=<ip>", " <ip>", "=\"<ip>\"", " \"<ip>\"", "='<ip>'", " '<ip>'"];
    let flag = Change::Replace.flag();
    let replaces = || single.into_iter().any(|value| text.contains(&format!("{flag}{value}")));
    missing.or_else(|| replaces().then_some(flag))
}

/// The commands of an action with the names of their options.
fn commands(action: &ActionPlan) -> impl Iterator<Item = (&str, &str)> {
    let texts = action
        .properties
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    texts.filter(|(name, _)| name.starts_with("action"))
}
