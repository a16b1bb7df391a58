//! What a self-test saw, in a form that may be shared: no token is ever in it, and with `--public` no name either.

use std::time::Duration;

use portcullis_core::cloud::trouble::Trouble;
use serde::Serialize;

use crate::regex::harmless;

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Trial {
    pub(super) name: String,
    /// `done`, or `refused` with what the API said
    pub(super) result: &'static str,
    pub(super) said: String,
    /// Seconds until the operation was over
    pub(super) took: Option<f64>,
}

impl Trial {
    pub(super) fn done(name: &str, said: &str, took: Option<Duration>) -> Trial {
        Trial {
            name: name.to_owned(),
            result: "done",
            said: said.to_owned(),
            took: took.map(|took| took.as_secs_f64()),
        }
    }
}

/// `gcp selftest --json`
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) at: String,
    pub(super) project: String,
    pub(super) network: String,
    /// Whether everything was tried
    pub(super) finished: bool,
    pub(super) calls: u64,
    pub(super) trials: Vec<Trial>,
    /// What mends the first trouble; never in what is shared
    pub(super) mend: Option<String>,
    /// What could not be deleted, with the command
    pub(super) left: Option<String>,
    #[serde(skip)]
    number: String,
    /// Rules that were made, or may have been
    #[serde(skip)]
    pub(super) begun: Vec<String>,
    /// The first trouble that kept something from being tried
    #[serde(skip)]
    pub(super) trouble: Option<Trouble>,
}

impl Report {
    pub(super) fn new(project: &str, network: &str, number: &str) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            at: format!("{:.0}", jiff::Timestamp::now()),
            project: project.to_owned(),
            network: network.to_owned(),
            finished: false,
            calls: 0,
            trials: Vec::new(),
            mend: None,
            left: None,
            number: number.to_owned(),
            begun: Vec::new(),
            trouble: None,
        }
    }

    /// A trial that could not be made.
    pub(super) fn failed(&mut self, name: &str, trouble: &Trouble) {
        self.trials.push(Trial {
            name: name.to_owned(),
            result: "refused",
            said: trouble.to_string(),
            took: None,
        });
        self.trouble.get_or_insert_with(|| trouble.clone());
    }

    /// Without the names of project and network. What is still to be deleted keeps them: its owner must find it.
    pub(super) fn masked(&self) -> Report {
        let network = self.network.rsplit('/').next().unwrap_or_default();
        let mut names = [
            (&*self.project, "PROJECT"),
            (&*self.number, "NUMBER"),
            (network, "NETWORK"),
        ];
        // A name may be a part of another one.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mask = |text: &str| {
            let known = names.iter().filter(|(name, _)| !name.is_empty());
            known.fold(text.to_owned(), |text, (name, word)| replaced(&text, name, word))
        };
        let trial = |trial: &Trial| Trial {
            said: mask(&trial.said),
            ..trial.clone()
        };
        Report {
            project: "PROJECT".to_owned(),
            network: "NETWORK".to_owned(),
            number: String::new(),
            mend: None,
            trials: self.trials.iter().map(trial).collect(),
            ..self.clone()
        }
    }

    pub(super) fn page(&self) -> String {
        let mut text = format!(
            "portcullis {} gcp selftest, {}, project {}, network {}, {} calls\n",
            self.version, self.at, self.project, self.network, self.calls
        );
        for trial in &self.trials {
            let took = trial.took.map_or(String::new(), |took| format!(" ({took:.1} s)"));
            text += &format!(
                "{:18} {}: {}{took}\n",
                trial.name,
                trial.result,
                trial.said.replace('\n', " ")
            );
        }
        if !self.finished {
            text += "not everything was tried\n";
        }
        harmless(&text).into_owned()
    }
}

/// A name replaced where it is a whole word: `default` is a part of many others.
fn replaced(text: &str, name: &str, word: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(name) {
        let is_whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        out += before;
        out += if is_whole { word } else { name };
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_left_out() {
        let mut report = Report::new("mail-1", "projects/mail-1/global/networks/default", "123456789");
        report.trials.push(Trial::done(
            "order",
            "projects/mail-1/global/networks/default of 123456789, default-allow-ssh, mail-12",
            Some(Duration::from_millis(1_250)),
        ));
        report.finished = true;
        let masked = report.masked();
        assert_eq!(
            masked.trials[0].said,
            "projects/PROJECT/global/networks/NETWORK of NUMBER, default-allow-ssh, mail-12"
        );
        let page = masked.page();
        assert!(page.contains("project PROJECT, network NETWORK"), "{page}");
        assert!(
            page.contains("order              done: ") && page.contains("(1.2 s)"),
            "{page}"
        );
        let json = serde_json::to_string(&masked).unwrap();
        assert!(!json.contains("mail-1\"") && !json.contains("123456789"), "{json}");
    }
}
