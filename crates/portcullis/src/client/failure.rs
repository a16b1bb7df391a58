//! How our verbs say that something went wrong: a line for people on standard error and, with `--json`, one document
//! on standard output (docs/guide/json.md).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::exit;
use super::status::print;
use crate::control::answer::Failed;
use crate::regex::harmless;

/// The exit code of the verbs that have codes of their own (`check`, `regex`) where the command line is wrong.
const USAGE: u8 = 2;

/// Says it in both forms; the exit code.
pub(crate) fn fail(json: bool, error: &str, exit: u8) -> ExitCode {
    eprintln!("portcullis: {}", harmless(error));
    if json {
        print_document(error, exit);
    }
    ExitCode::from(exit)
}

/// Only the document, for whoever has told people already.
pub(crate) fn print_document(error: &str, exit: u8) {
    print_line(&Failed {
        error: error.to_owned(),
        exit,
    });
}

/// One document on a line of its own.
pub(crate) fn print_line(document: &impl serde::Serialize) {
    // Texts, numbers and lists of them always have a JSON form.
    let text = serde_json::to_string(document).unwrap_or_default();
    print(&(text + "\n"));
}

/// What the reading of the command line ended with: help, the version, or a complaint. `words` are the arguments
/// behind the program's name.
pub(super) fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let _ = error.print();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ExitCode::from(exit::DONE);
    }
    let verb = words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let exit = if ["check", "regex"].contains(&verb) {
        USAGE
    } else {
        exit::REFUSED
    };
    // Behind `--` nothing is an option.
    if words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
    {
        print_document(&complaint(&error.to_string()), exit);
    }
    ExitCode::from(exit)
}

/// The first paragraph of clap's page, on one line: what is wrong, without tips and usage.
fn complaint(page: &str) -> String {
    let lines = page.lines().take_while(|line| !line.trim().is_empty());
    let text: Vec<&str> = lines.map(str::trim).collect();
    let text = text.join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line() {
        for (page, expect) in [
            (
                "error: unexpected argument '--x' found\n\n  tip: …\n\nUsage: portcullis",
                "unexpected argument '--x' found",
            ),
            (
                "error: the following required arguments were not provided:\n  <IP>...\n\nUsage: …",
                "the following required arguments were not provided: <IP>...",
            ),
            ("", ""),
        ] {
            assert_eq!(complaint(page), expect);
        }
    }
}
