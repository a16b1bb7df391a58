//! What a doctor finds, and how it is printed: `doctor` looks at the machine and the daemon, `gcp doctor` at the cloud.

use serde_json::{Value, json};

use super::ink::{Colour, Ink};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it is to be
    Ok,
    /// Only to be known
    Note,
    /// It works, or could not be looked at; somebody should know
    Warn,
    /// Attacks are not seen, or bans do not come to be
    Bad,
}

impl Level {
    /// For machines.
    fn word(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warn => "warn",
            Level::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// A word for machines
    pub(super) code: &'static str,
    pub(super) level: Level,
    /// What it is about, where it is about one thing of several: a rule, a jail, a file
    pub(super) subject: Option<String>,
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
            subject: None,
            text: text.into(),
            mend: None,
        }
    }

    pub(super) fn ok(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Ok, code, text)
    }

    pub(super) fn note(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Note, code, text)
    }

    pub(super) fn warn(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Warn, code, text)
    }

    pub(super) fn bad(code: &'static str, text: impl Into<String>) -> Finding {
        Finding::new(Level::Bad, code, text)
    }

    pub(super) fn of(mut self, subject: impl Into<String>) -> Finding {
        self.subject = Some(subject.into());
        self
    }

    pub(super) fn mend(mut self, mend: impl Into<String>) -> Finding {
        self.mend = Some(mend.into());
        self
    }
}

/// All findings, with what they come to.
#[derive(Debug)]
pub(super) struct Document {
    daemon: bool,
    findings: Vec<Finding>,
    /// What the subject of a finding is called in JSON
    subject: &'static str,
}

impl Document {
    pub(super) fn new(daemon: bool, subject: &'static str, findings: Vec<Finding>) -> Document {
        Document {
            daemon,
            findings,
            subject,
        }
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// 0 well, 1 something to look at, 2 attacks are not seen or bans do not come to be.
    pub(super) fn exit(&self) -> u8 {
        match self.findings.iter().map(|finding| finding.level).max() {
            Some(Level::Bad) => 2,
            Some(Level::Warn) => 1,
            Some(Level::Note | Level::Ok) | None => 0,
        }
    }

    /// For programs (docs/guide/json.md).
    pub(super) fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "code": finding.code,
                "level": finding.level.word(),
                self.subject: finding.subject,
                "text": finding.text,
                "mend": finding.mend,
            })
        };
        json!({
            "daemon": self.daemon,
            "ok": self.count(Level::Ok),
            "notes": self.count(Level::Note),
            "warnings": self.count(Level::Warn),
            "bad": self.count(Level::Bad),
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(super) fn page(&self, ink: Ink) -> String {
        let mut text: String = self.findings.iter().map(|finding| line(finding, ink)).collect();
        text += &format!("{} ok, ", self.count(Level::Ok));
        match self.count(Level::Note) {
            0 => {}
            1 => text += "1 note, ",
            notes => text += &format!("{notes} notes, "),
        }
        text += &format!(
            "{} to look at, {} bad\n",
            self.count(Level::Warn),
            self.count(Level::Bad)
        );
        text
    }
}

fn line(finding: &Finding, ink: Ink) -> String {
    let (word, colour) = match finding.level {
        Level::Ok => ("ok  ", Colour::Green),
        Level::Note => ("note", Colour::Bold),
        Level::Warn => ("warn", Colour::Yellow),
        Level::Bad => ("BAD ", Colour::Red),
    };
    let subject = finding.subject.as_ref();
    let subject = subject.map_or(String::new(), |subject| format!("{subject}: "));
    let mut text = format!(
        "{}  {}\n",
        ink.line(colour, word),
        ink.plain(&format!("{subject}{}", finding.text))
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
        let document = Document::new(false, "rule", findings.clone());
        let expect = "ok    runs on a virtual machine of Google's\n\
                      BAD   block-ip: there is none\n\
                      \x20     first\n\
                      \x20     second \\u{1b}[2J\n\
                      1 ok, 0 to look at, 1 bad\n";
        assert_eq!(document.page(Ink::on(false)), expect);
        assert!(document.page(Ink::on(true)).contains("\x1b[1;31mBAD \x1b[0m"));
        assert_eq!(document.exit(), 2);
        let exit = |findings: &[Finding]| Document::new(true, "rule", findings.to_vec()).exit();
        assert_eq!((exit(&findings[..1]), exit(&[Finding::warn("clock", "late")])), (0, 1));
        let noted = Document::new(true, "subject", vec![Finding::note("you", "known").of("here")]);
        assert_eq!(
            (noted.exit(), noted.page(Ink::on(false)).as_str()),
            (0, "note  here: known\n0 ok, 1 note, 0 to look at, 0 bad\n")
        );
        assert_eq!(noted.json()["findings"][0]["subject"], "here");
    }
}
