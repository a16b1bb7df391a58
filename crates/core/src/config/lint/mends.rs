//! Better mends for what the reading itself complained of: it knows the line, this module knows what people do.

use super::super::check_failure_id;
use super::filters::{local_mend, with_host};
use super::point;
use crate::diagnostic::{Diagnostic, Severity};

/// Makes the complaints of a reading more helpful, and drops those that another one says better.
#[must_use]
pub fn improve(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let unseen: Vec<Option<String>> = of_code(&diagnostics, "no-log-file");
    let mut better = Vec::new();
    for mut diagnostic in diagnostics {
        match diagnostic.code {
            "no-failure-id" => failure_id(&mut diagnostic),
            "duplicate-option" => second_list(&mut diagnostic),
            "no-action" => set_mend(
                &mut diagnostic,
                "set action, or banaction, in this jail or in [DEFAULT]",
            ),
            "address-slip" => diagnostic = point_at_slip(diagnostic),
            "no-failregex" => set_mend(&mut diagnostic, "mend its patterns, or name a filter that has some"),
            "no-filter" => set_mend(&mut diagnostic, "set filter in this jail"),
            "no-log-file" => {
                diagnostic.severity = Severity::Warning;
                let mend = missing_log_mend(diagnostic.line.as_deref());
                set_mend(&mut diagnostic, mend);
            }
            "no-log-files" if unseen.contains(&diagnostic.jail) => continue,
            _ => {}
        }
        better.push(diagnostic);
    }
    better
}

fn of_code(diagnostics: &[Diagnostic], code: &str) -> Vec<Option<String>> {
    let told = diagnostics.iter().filter(|told| told.code == code);
    told.map(|told| told.jail.clone()).collect()
}

fn set_mend(diagnostic: &mut Diagnostic, mend: &str) {
    diagnostic.mend.get_or_insert_with(|| mend.to_owned());
}

fn point_at_slip(diagnostic: Diagnostic) -> Diagnostic {
    let line = diagnostic.line.clone().unwrap_or_default().to_lowercase();
    let slip = ["%(banip)s", "%(ip)s"].into_iter().find(|slip| line.contains(slip));
    point(diagnostic, slip.unwrap_or_default())
}

fn missing_log_mend(line: Option<&str>) -> &'static str {
    if line.is_some_and(|line| line.contains(['*', '?'])) {
        "nothing to do if the service is to write one; a reload finds it then"
    } else {
        "nothing to do if the service is to write it: the file will be picked up when it appears"
    }
}

fn failure_id(diagnostic: &mut Diagnostic) {
    if diagnostic.line.as_deref().is_some_and(|line| line.contains("<mode>")) {
        diagnostic
            .message
            .push_str("; the filter does not have the mode that this jail asks for");
        diagnostic.mend = Some("write a mode that the filter's file has patterns for".to_owned());
        return;
    }
    let shown = diagnostic.line.as_deref().and_then(|line| with_host(pattern_of(line)));
    if let Some(shown) = shown {
        diagnostic.mend = Some(format!("put <HOST> where the address stands, such as: {shown}"));
    }
}

/// The value on a line, without `failregex =`.
fn pattern_of(line: &str) -> &str {
    let line = line.trim();
    let value = line.strip_prefix("failregex").map(str::trim_start);
    value
        .and_then(|value| value.strip_prefix(['=', ':']))
        .map_or(line, str::trim)
}

/// A second `failregex = …` in a filter: people mean to add a pattern.
fn second_list(diagnostic: &mut Diagnostic) {
    let (Some(position), Some(line)) = (&diagnostic.position, &diagnostic.line) else {
        return;
    };
    let Some((_, file)) = position.file.rsplit_once("filter.d/") else {
        return;
    };
    let filter = file.trim_end_matches(".conf").trim_end_matches(".local");
    if !line.trim_start().starts_with("failregex") {
        return;
    }
    let pattern = pattern_of(line);
    if check_failure_id(pattern, None).is_err() {
        diagnostic.message.push_str("; besides, this one names no address");
    }
    diagnostic.mend = Some(local_mend(filter, "failregex", pattern));
}
