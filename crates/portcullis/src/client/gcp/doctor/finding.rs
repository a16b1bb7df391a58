//! What `gcp doctor` finds, and how it is printed.

use serde::Serialize;

use crate::client::gcp::ink::{Colour, Ink};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it is to be
    Ok,
    /// It works, or could not be looked at; somebody should know
    Warn,
    /// Bans do not come to be
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// A word for machines
    pub(super) code: &'static str,
    pub(super) level: Level,
    /// The rule that it is about, where it is about one
    pub(super) rule: Option<String>,
    /// What was found, one sentence
    pub(super) text: String,
    /// What to do about it
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn new(level: Level, code: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            code,
            level,
            rule: None,
            text: text.into(),
            mend: None,
        }
    }

    pub(super) fn ok(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, code, text)
    }

    pub(super) fn warn(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Warn, code, text)
    }

    pub(super) fn bad(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Bad, code, text)
    }

    pub(super) fn of(mut self, rule: &str) -> Finding {
        self.rule = Some(rule.to_owned());
        self
    }

    pub(super) fn mend(mut self, mend: impl Into<String>) -> Finding {
        self.mend = Some(mend.into());
        self
    }
}

/// `gcp doctor --json`
#[derive(Debug, Serialize)]
pub(super) struct Document {
    daemon: bool,
    ok: usize,
    warnings: usize,
    bad: usize,
    findings: Vec<Finding>,
}

impl Document {
    pub(super) fn new(daemon: bool, findings: Vec<Finding>) -> Document {
        let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
        Document {
            daemon,
            ok: count(Level::Ok),
            warnings: count(Level::Warn),
            bad: count(Level::Bad),
            findings,
        }
    }

    /// 0 well, 1 something to look at, 2 bans do not come to be.
    pub(super) fn exit(&self) -> u8 {
        match (self.bad, self.warnings) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 2,
        }
    }

    pub(super) fn page(&self, ink: Ink) -> String {
        let mut text: String = self.findings.iter().map(|finding| line(finding, ink)).collect();
        text += &format!("{} ok, {} to look at, {} bad\n", self.ok, self.warnings, self.bad);
        text
    }
}

fn line(finding: &Finding, ink: Ink) -> String {
    let (word, colour) = match finding.level {
        Level::Ok => ("ok  ", Colour::Green),
        Level::Warn => ("warn", Colour::Yellow),
        Level::Bad => ("BAD ", Colour::Red),
    };
    let rule = finding.rule.as_ref().map_or(String::new(), |rule| format!("{rule}: "));
    let mut text = format!(
        "{}  {}\n",
        ink.line(colour, word),
        ink.plain(&format!("{rule}{}", finding.text))
    );
    // A mend may have several lines: commands to be copied.
    for line in finding.mend.iter().flat_map(|mend| mend.lines()) {
        text += &format!("      {}\n", ink.plain(line));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_its_exit() {
        let findings = vec![
            Finding::ok("machine", "runs on a virtual machine of Google's"),
            Finding::bad("rule", "there is none")
                .of("block-ip")
                .mend("first\nsecond \x1b[2J"),
        ];
        let document = Document::new(false, findings.clone());
        let expect = "ok    runs on a virtual machine of Google's\n\
                      BAD   block-ip: there is none\n\
                      \x20     first\n\
                      \x20     second \\u{1b}[2J\n\
                      1 ok, 0 to look at, 1 bad\n";
        assert_eq!(document.page(Ink::on(false)), expect);
        assert!(document.page(Ink::on(true)).contains("\x1b[1;31mBAD \x1b[0m"));
        assert_eq!(document.exit(), 2);
        let exit = |findings: &[Finding]| Document::new(true, findings.to_vec()).exit();
        assert_eq!((exit(&findings[..1]), exit(&[Finding::warn("clock", "late")])), (0, 1));
    }
}
