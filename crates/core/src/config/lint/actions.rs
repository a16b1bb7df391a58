//! Lints of the actions that the enabled jails use.

use super::super::plan::{ActionPlan, JailPlan};
use super::quoting::loose_tag;
use super::{Lint, warning};

/// The options whose value a shell runs.
const COMMANDS: [&str; 10] = [
    "actionstart",
    "actionstop",
    "actioncheck",
    "actionrepair",
    "actionban",
    "actionreban",
    "actionunban",
    "actionprolong",
    "actionflush",
    "actionreload",
];

pub(super) fn look(lint: &mut Lint<'_>) {
    let plan = lint.subject.plan;
    for jail in &plan.jails {
        for action in &jail.actions {
            loose_tags(lint, jail, action);
        }
    }
}

/// The commands of an action with the names of their options.
fn commands(action: &ActionPlan) -> impl Iterator<Item = (&str, &str)> {
    let texts = action
        .properties
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    texts.filter(|(name, _)| COMMANDS.contains(&name.split('?').next().unwrap_or_default()))
}

/// Log text outside of double quotes: the shell cuts it into words and reads its wildcards.
fn loose_tags(lint: &mut Lint<'_>, jail: &JailPlan, action: &ActionPlan) {
    let regexes = jail.failregex.iter().chain(&jail.prefregex);
    let any_name = regexes.clone().any(|regex| regex.contains("<F-ID>"));
    for (option, _) in commands(action) {
        let Some(loose) = loose_tag(action, option, any_name) else {
            continue;
        };
        let tag = &loose.tag;
        let whose = if ["<ip>", "<fid>"].contains(&tag.as_str()) {
            "is any text here, because the filter says with <F-ID> who is banned,"
        } else {
            "holds text of the log"
        };
        let message = format!(
            "{tag} {whose} and stands outside of double quotes in {option}: the shell splits it and expands wildcards in it"
        );
        let finding = warning(&jail.name, "loose-tag", message).mend(format!("write \"{tag}\""));
        lint.tell_origin(finding, &jail.name, &format!("{}@{}", loose.option, action.name), tag);
    }
}
