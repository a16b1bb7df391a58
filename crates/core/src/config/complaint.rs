//! The faults of a file in words: what is wrong, what is done about it, and how to mend it.

use super::Face;
use super::expand::Problem;
use super::ini::{Fault, Flaw};
use super::text::Mark;
use crate::diagnostic::Severity;

/// How much a fault matters in our face.
pub(crate) fn severity(fault: &Fault) -> Severity {
    match fault.flaw {
        Flaw::ByteOrderMark | Flaw::CommentBytes => Severity::Note,
        Flaw::SectionTwice(_) | Flaw::OptionTwice { joined: true, .. } => Severity::Warning,
        _ => Severity::Error,
    }
}

/// A fault in words; in our face with what is done about it.
pub(crate) fn explain(fault: &Fault, file: u32, face: Face) -> Problem {
    let mark = Mark { file, line: fault.line };
    let (code, what, done, mend) = match &fault.flaw {
        Flaw::ByteOrderMark => (
            "byte-order-mark",
            "the file begins with a byte order mark, which Fail2Ban refuses".to_owned(),
            "",
            "save the file as UTF-8 without a byte order mark",
        ),
        Flaw::CommentBytes => (
            "comment-not-utf8",
            "this comment is no UTF-8; Fail2Ban refuses such a file".to_owned(),
            "",
            "save the file as UTF-8",
        ),
        Flaw::Bytes => (
            "not-utf8",
            "this line is no UTF-8".to_owned(),
            LEFT_OUT,
            "save the file as UTF-8",
        ),
        Flaw::Nonsense => (
            "no-option",
            "this line is neither [section] nor name = value".to_owned(),
            LEFT_OUT,
            "indent it if it continues the line above, or begin it with # if it is a comment",
        ),
        Flaw::NoSection => (
            "no-section",
            "this line stands before the first [section]".to_owned(),
            LEFT_OUT,
            "put the name of a section above it, such as [DEFAULT]",
        ),
        Flaw::SectionTwice(name) => (
            "duplicate-section",
            format!("section [{name}] stands in this file already"),
            "; both are taken together",
            "move the options to the first of the two",
        ),
        Flaw::OptionTwice { option, joined: true } => (
            "duplicate-option",
            format!("{option} is set in this section already"),
            "; the values are joined",
            "write one list, with further lines indented",
        ),
        Flaw::OptionTwice { option, joined: false } => (
            "duplicate-option",
            format!("{option} is set in this section already"),
            "; the first value stands",
            "keep one of the two; a list goes on in further lines that are indented",
        ),
        Flaw::TooLong => (
            "line-too-long",
            "this line is longer than 1 MiB".to_owned(),
            LEFT_OUT,
            "break the line up",
        ),
    };
    let done = if face == Face::Portcullis { done } else { "" };
    Problem::new(code, what + done, mark).mend(mend)
}

/// What is done about most faults.
const LEFT_OUT: &str = ", so it is left out";
