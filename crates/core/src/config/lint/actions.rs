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
            gcloud_flags(lint, &jail.name, action);
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

/// Flags that `gcloud compute firewall-rules update` does not have, in any track.
fn gcloud_flags(lint: &mut Lint<'_>, jail: &str, action: &ActionPlan) {
    for (option, text) in
        commands(action).filter(|(_, text)| text.contains("gcloud") && text.contains("firewall-rules"))
    {
        for flag in ["--add-source-ranges", "--remove-source-ranges"] {
            if !text.contains(flag) {
                continue;
            }
            let message = format!("gcloud has no flag {flag}: the command fails each time, and nobody is banned by it");
            let mend = "portcullis's own cloud action comes later; until then use --source-ranges with the whole list, and never an empty one, which means everybody";
            let finding = warning(jail, "gcloud-flag", message).mend(mend);
            lint.tell_origin(finding, jail, &format!("{option}@{}", action.name), flag);
        }
    }
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
