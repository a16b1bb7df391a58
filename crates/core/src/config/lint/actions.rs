//! Lints of the actions that the enabled jails use.

use super::super::expand::next_tag;
use super::super::plan::ActionPlan;
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

/// Tags whose text the log's writers choose, beside the captured fields.
const LOG_TAGS: [&str; 5] = ["matches", "ipmatches", "ipjailmatches", "raw-ticket", "ip-host"];

pub(super) fn look(lint: &mut Lint<'_>) {
    let plan = lint.subject.plan;
    for jail in &plan.jails {
        for action in &jail.actions {
            gcloud_flags(lint, &jail.name, action);
            loose_tags(lint, &jail.name, action);
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
fn loose_tags(lint: &mut Lint<'_>, jail: &str, action: &ActionPlan) {
    for (option, text) in commands(action) {
        let Some(tag) = loose_tag(text) else { continue };
        let message = format!(
            "{tag} holds text of the log and stands outside of double quotes in {option}: the shell splits it and expands wildcards in it"
        );
        let finding = warning(jail, "loose-tag", message).mend(format!("write \"{tag}\""));
        lint.tell_origin(finding, jail, &format!("{option}@{}", action.name), tag);
    }
}

/// What encloses a place in a shell command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Double,
    Single,
    Command,
}

/// The first tag with log text that is in no quotes. Here-documents and what stands behind an `=` are no words to be
/// split, and are left alone.
fn loose_tag(text: &str) -> Option<&str> {
    if text.contains("<<") {
        return None;
    }
    let mut inside: Vec<Inside> = Vec::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let mut width = c.len_utf8();
        let innermost = inside.last().copied();
        match (c, innermost) {
            ('\'', Some(Inside::Single)) | ('"', Some(Inside::Double)) | (')', Some(Inside::Command)) => {
                inside.pop();
            }
            (_, Some(Inside::Single)) => {}
            ('\\', _) => width += rest.chars().nth(1).map_or(0, char::len_utf8),
            ('"', _) => inside.push(Inside::Double),
            ('\'', None | Some(Inside::Command)) => inside.push(Inside::Single),
            ('(', innermost) if before == '$' || innermost == Some(Inside::Command) => inside.push(Inside::Command),
            ('<', None | Some(Inside::Command)) if before != '=' => {
                if let Some(tag) = log_tag(rest) {
                    return Some(tag);
                }
            }
            _ => {}
        }
        before = c;
        rest = rest.get(width..).unwrap_or_default();
    }
    None
}

/// The tag with log text that a text begins with.
fn log_tag(text: &str) -> Option<&str> {
    let (start, end) = next_tag(text, 0)?;
    let tag = text.get(..end).filter(|_| start == 0)?;
    let name = tag.trim_start_matches('<').trim_end_matches('>');
    (LOG_TAGS.contains(&name) || name.starts_with("F-")).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_in_double_quotes_are_not_loose() {
        let cases = [
            ("echo <matches>", Some("<matches>")),
            ("echo \"<matches>\"", None),
            ("echo \"$(echo <matches>)\"", Some("<matches>")),
            ("echo \"$(echo \"<matches>\")\"", None),
            ("echo 'a' <F-USER>", Some("<F-USER>")),
            ("echo \\\"<matches>", Some("<matches>")),
            ("text=<matches>; echo \"$text\"", None),
            ("cat <<E\n<matches>\nE", None),
            ("ban <ip> <bantime>", None),
            ("echo '<matches>'", None),
        ];
        for (text, expect) in cases {
            assert_eq!(loose_tag(text), expect, "{text}");
        }
    }
}
