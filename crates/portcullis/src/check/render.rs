//! Findings as text for people and as JSON for programs.
//!
//! Lines and names come from files that anybody may have written: control characters are spelled out, and of a long
//! line only the part around the fault is shown, so that nothing of it acts on a terminal.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use portcullis_core::diagnostic::{Diagnostic, Position, Severity};
use serde_json::{Value as Json, json};

use super::Report;

/// The most characters of a line that are shown.
const WIDTH: usize = 120;
/// How many of them stand before the fault.
const BEFORE: usize = 40;
/// The most characters of a message or a mend that are shown.
const LONGEST: usize = 1000;
/// The most findings of one code that are shown for one file: a binary file has a fault in every line.
const OF_A_KIND: usize = 10;
/// Wide enough that the renderer cuts nothing that [`Shown`] left.
const RENDER_WIDTH: usize = 1000;

/// The findings and the line at the end, with colours or without.
pub(super) fn text(report: &Report, colours: bool) -> String {
    let renderer = if colours {
        Renderer::styled().hyperlink(false)
    } else {
        Renderer::plain()
    };
    let renderer = renderer.term_width(RENDER_WIDTH);
    let mut out = String::new();
    let mut shown: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for finding in &report.findings {
        let file = finding.position.as_ref().map_or("", |position| &*position.file);
        let count = shown.entry((finding.code, file)).or_default();
        *count += 1;
        if file.is_empty() || *count <= OF_A_KIND {
            out.push_str(&one(&renderer, finding));
            out.push_str("\n\n");
        }
    }
    for ((code, file), count) in shown
        .into_iter()
        .filter(|((_, file), count)| !file.is_empty() && *count > OF_A_KIND)
    {
        let more = count - OF_A_KIND;
        out.push_str(&format!(
            "{more} more of {code} in {} (--json tells all)\n\n",
            capped(&spelled(file))
        ));
    }
    out.push_str(&summary(report));
    out.push('\n');
    out
}

/// One finding.
pub(super) fn one(renderer: &Renderer, finding: &Diagnostic) -> String {
    let level = match finding.severity {
        Severity::Note => Level::NOTE,
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let message = capped(&spelled(&finding.message));
    let title = match &finding.jail {
        Some(jail) => format!("[{}] {message}", capped(&spelled(jail))),
        None => message,
    };
    let mut group = Group::with_title(level.primary_title(title).id(finding.code));
    if let Some(position) = &finding.position {
        let shown = Shown::new(finding, position);
        let path = capped(&spelled(&position.file));
        let mark = AnnotationKind::Primary.span(shown.fault.clone());
        group = group.element(
            Snippet::source(shown.text)
                .line_start(position.line)
                .path(path)
                .annotation(mark),
        );
    }
    if let Some(mend) = &finding.mend {
        group = group.element(Level::HELP.message(capped(&spelled(mend))));
    }
    renderer.render(&[group])
}

/// The visible part of a line, and the bytes of it that are at fault.
struct Shown {
    text: String,
    fault: std::ops::Range<usize>,
}

impl Shown {
    fn new(finding: &Diagnostic, position: &Position) -> Self {
        let line = finding.line.as_deref().unwrap_or_default();
        let fault = fault(line, position.column, finding.code == "bad-regex");
        let length = line.chars().count();
        let start = if length <= WIDTH {
            0
        } else {
            fault.start.saturating_sub(BEFORE).min(length - WIDTH)
        };
        let mut text = String::new();
        let (mut from, mut to) = (0, 0);
        if start > 0 {
            text.push('…');
        }
        for (index, c) in line.chars().enumerate().skip(start).take(WIDTH) {
            if index == fault.start {
                from = text.len();
            }
            push_spelled(&mut text, c);
            if index < fault.end {
                to = text.len();
            }
        }
        if length > start + WIDTH {
            text.push('…');
        }
        Shown {
            fault: from..to.max(from),
            text,
        }
    }
}

/// The characters at fault: from the column to the end of the word, one only where the very place is known, and
/// the whole line where none is.
fn fault(line: &str, column: usize, is_exact: bool) -> std::ops::Range<usize> {
    let chars: Vec<char> = line.chars().collect();
    let first = chars.iter().position(|c| !c.is_whitespace()).unwrap_or(0);
    let last = chars
        .iter()
        .rposition(|c| !c.is_whitespace())
        .map_or(0, |last| last + 1);
    let start = column.saturating_sub(1);
    if start == 0 || start >= chars.len() {
        return first..last;
    }
    if is_exact {
        return start..start + 1;
    }
    let word = chars.iter().skip(start).position(|c| c.is_whitespace());
    start..word.map_or(chars.len(), |length| start + length)
}

/// Text in which nothing acts on a terminal.
pub(super) fn spelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' {
            out.push(' ');
        } else {
            push_spelled(&mut out, c);
        }
    }
    out
}

fn push_spelled(out: &mut String, c: char) {
    match c {
        '\t' => out.push(' '),
        // Marks that turn the direction of what follows, or break the line, are as bad as control characters.
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            out.extend(c.escape_unicode());
        }
        c if c.is_control() => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
}

fn capped(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `3 jails checked: 1 error, 2 warnings`
pub(super) fn summary(report: &Report) -> String {
    let counts = [
        (report.count(Severity::Error), "error"),
        (report.count(Severity::Warning), "warning"),
        (report.count(Severity::Note), "note"),
    ];
    let told: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| number(*count, word))
        .collect();
    let told = if told.is_empty() {
        "nothing to mend".to_owned()
    } else {
        told.join(", ")
    };
    format!("{} checked: {told}", number(report.jails, "jail"))
}

fn number(count: usize, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}

/// The same as one JSON object (docs/guide/check.md).
pub(super) fn json(report: &Report) -> String {
    let findings: Vec<Json> = report.findings.iter().map(json_of).collect();
    let value = json!({
        "findings": findings,
        "summary": {
            "jails": report.jails,
            "errors": report.count(Severity::Error),
            "warnings": report.count(Severity::Warning),
            "notes": report.count(Severity::Note),
        },
    });
    format!("{value:#}\n")
}

fn json_of(finding: &Diagnostic) -> Json {
    let position = finding.position.as_ref();
    json!({
        "severity": match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        "code": finding.code,
        "message": finding.message,
        "file": position.map(|position| &*position.file),
        "line": position.map(|position| position.line),
        "column": position.map(|position| position.column),
        "mend": finding.mend,
        "jail": finding.jail,
    })
}
