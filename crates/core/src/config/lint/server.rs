//! Lints of `fail2ban.conf`.

use super::super::server::option_names;
use super::super::text::Mark;
use super::jails::{TRUTHS, meant};
use super::{Lint, text_of};
use crate::diagnostic::{Diagnostic, Severity};

pub(super) fn look(lint: &mut Lint<'_>) {
    let Some(document) = lint.document("fail2ban") else {
        return;
    };
    let mut found: Vec<(Diagnostic, Mark, String)> = Vec::new();
    let own = document.section("Definition").into_iter().flat_map(|own| own.iter());
    for (name, value) in own.chain(document.defaults.iter()) {
        let Some(value) = text_of(value) else { continue };
        if name == "allowipv6" && !is_known_answer(value.as_str()) {
            let message = format!("allowipv6 = {} is taken as no", value.as_str());
            let finding = Diagnostic::new(Severity::Warning, "odd-truth", message);
            found.push((
                finding.mend("write auto, yes or no"),
                value.mark(),
                value.as_str().to_owned(),
            ));
        }
        if option_names().any(|known| known == name) {
            continue;
        }
        if let Some(meant) = meant(name, option_names()) {
            let message = format!("there is no option {name} of the server");
            let finding = Diagnostic::new(Severity::Warning, "unknown-option", message);
            found.push((finding.mend(format!("write {meant}")), value.mark(), name.to_owned()));
        }
    }
    for (finding, mark, part) in found {
        lint.tell(finding, mark, &part);
    }
}

fn is_known_answer(text: &str) -> bool {
    let text = text.to_lowercase();
    text == "auto" || text.contains("%(") || TRUTHS.contains(&text.as_str())
}
