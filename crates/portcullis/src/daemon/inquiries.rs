//! What the engine asks for, found out beside it: slow answers delay nobody (invariant 7).
//!
//! A question goes to a pool by its kind, and its answer comes back as a message. Names that attackers choose have a
//! pool of their own, so that slow name servers of theirs hold up neither the names nor the files of `ignoreip`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use portcullis_core::action::{Values, render};
use portcullis_core::allow::{Found, List, Stat};
use portcullis_core::engine::{Answer, Question};
use portcullis_core::time::Number;
use portcullis_core::value::repr_str;

use super::resolver;
use super::surroundings::Around;
use crate::enforce::shell::{Surroundings as _, report};
use crate::observe::log::{Level, note as say};
use crate::observe::words_of;
use crate::runner::{Catalogue, Lane, Link, Outcome, TemplateId};

const DNS: &str = "fail2ban.ipdns";
/// Look-ups of names from log lines at a time; their name servers may take half a minute to fail.
const FROM_LINES: usize = 8;
/// Names and files of `ignoreip` at a time.
const LISTED: usize = 4;
/// Reverse names and earlier bans for tags at a time.
const FACTS: usize = 8;
/// Ignore commands at a time, as many as the runner has lanes for.
const COMMANDS: usize = 4;
/// An ignore command may take so long (contract §5.3).
const TIMEOUT: Number = Number::Int(60);
/// A longer file of addresses is not read: at twenty bytes an entry this is a million.
const MOST_LISTED: u64 = 20 * 1024 * 1024;

/// Threads that answer questions.
pub(super) struct Inquiries {
    lines: Sender<Question>,
    listed: Sender<Question>,
    facts: Sender<Question>,
    commands: Sender<(Question, Option<TemplateId>)>,
    link: Link,
    catalogue: Catalogue,
    scripts: BTreeMap<String, TemplateId>,
}

impl Inquiries {
    /// Starts the pools; answers go to `answer`.
    pub(super) fn start(
        link: Link,
        around: &Around,
        answer: impl Fn(Answer) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (facts, commands) = (around.clone(), link.clone());
        let look = |question| look(question);
        Ok(Inquiries {
            lines: pool("resolver", FROM_LINES, look, answer.clone())?,
            listed: pool("allowed", LISTED, look, answer.clone())?,
            facts: pool("facts", FACTS, move |question| fetch(&facts, question), answer.clone())?,
            commands: pool(
                "ignore",
                COMMANDS,
                move |(question, template)| run(&commands, question, template),
                answer,
            )?,
            link,
            catalogue: Catalogue::default(),
            scripts: BTreeMap::new(),
        })
    }

    /// Has the runner learn the ignore commands. Older ones stay: what waits may still need them.
    pub(super) fn learn<'s>(&mut self, scripts: impl Iterator<Item = &'s str>) {
        for script in scripts.filter(|script| !script.is_empty()) {
            let template = self.catalogue.add(script, TIMEOUT);
            self.scripts.insert(script.to_owned(), template);
        }
        // Where the runner is gone, so is this process in a moment.
        let _ = self.link.learn(Lane::Ignore, &self.catalogue);
    }

    /// Asks.
    pub(super) fn ask(&self, question: Question) {
        // The pools end only with the process.
        let _ = match &question {
            Question::Name { is_listed: false, .. } => self.lines.send(question).is_ok(),
            Question::Name { .. } | Question::List { .. } => self.listed.send(question).is_ok(),
            Question::Facts { .. } => self.facts.send(question).is_ok(),
            Question::Command { script, .. } => {
                let template = self.scripts.get(&**script).copied();
                self.commands.send((question, template)).is_ok()
            }
        };
    }
}

/// Threads that share one queue of questions.
fn pool<Q: Send + 'static>(
    name: &str,
    count: usize,
    work: impl Fn(Q) -> Option<Answer> + Clone + Send + 'static,
    answer: impl Fn(Answer) + Clone + Send + 'static,
) -> std::io::Result<Sender<Q>> {
    let (questions, waiting) = channel();
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..count {
        let (waiting, work, answer) = (Arc::clone(&waiting), work.clone(), answer.clone());
        thread::Builder::new().name(name.into()).spawn(move || {
            while let Some(question) = next(&waiting) {
                work(question).into_iter().for_each(&answer);
            }
        })?;
    }
    Ok(questions)
}

fn next<Q>(waiting: &Mutex<Receiver<Q>>) -> Option<Q> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn look(question: Question) -> Option<Answer> {
    match question {
        Question::Name { name, .. } => {
            let addresses = resolver::look_up(&name).unwrap_or_else(|reason| {
                let text = format!("Unable to find a corresponding IP address for {name}: {reason}");
                say(Level::Warning, DNS, &text);
                Vec::new()
            });
            Some(Answer::Name { name, addresses })
        }
        Question::List { path, known } => {
            let found =
                read_list(&Path::new("/").join(&*path), known).unwrap_or_else(|reason| Found::Failed(reason, None));
            Some(Answer::List { path, found })
        }
        Question::Facts { .. } | Question::Command { .. } => None,
    }
}

/// Reads a file of addresses, unless it is as it was.
pub(crate) fn read_list(path: &Path, known: Option<Stat>) -> Result<Found, String> {
    let explain = |error: std::io::Error| {
        let text = words_of(&error);
        let number = error
            .raw_os_error()
            .map_or(String::new(), |number| format!("[Errno {number}] "));
        format!("{number}{text}: {}", repr_str(&path.to_string_lossy()))
    };
    // A pipe would never end.
    if !fs::metadata(path).map_err(explain)?.is_file() {
        return Err(format!("{} is no file", repr_str(&path.to_string_lossy())));
    }
    let file = fs::File::open(path).map_err(explain)?;
    let metadata = file.metadata().map_err(explain)?;
    let stat = Stat {
        modified: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        inode: metadata.ino(),
        size: metadata.len(),
    };
    if known == Some(stat) {
        return Ok(Found::Same);
    }
    let mut bytes = Vec::new();
    file.take(MOST_LISTED + 1).read_to_end(&mut bytes).map_err(explain)?;
    Ok(match parse(bytes) {
        Ok(list) => Found::Read(stat, list),
        Err(reason) => Found::Failed(reason, Some(stat)),
    })
}

fn parse(bytes: Vec<u8>) -> Result<List, String> {
    if bytes.len() as u64 > MOST_LISTED {
        return Err(format!("it is longer than {MOST_LISTED} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    List::parse(&text).map_err(|error| error.to_string())
}

fn fetch(around: &Around, question: Question) -> Option<Answer> {
    let Question::Facts {
        number,
        jail,
        ticket,
        needs,
    } = question
    else {
        return None;
    };
    let fetched = around.clone().fetch(&needs, &jail, Some(&ticket));
    Some(Answer::Facts { number, fetched })
}

/// Runs `ignorecommand`: 0 spares, 1 does not, and nor does anything else, which is an error (contract §4.1).
fn run(link: &Link, question: Question, template: Option<TemplateId>) -> Option<Answer> {
    let Question::Command { number, script, values } = question else {
        return None;
    };
    let ignore = template.is_some_and(|template| spares(link, number, (&script, template), &values));
    Some(Answer::Command { number, ignore })
}

fn spares(link: &Link, number: u64, (script, template): (&str, TemplateId), values: &Values) -> bool {
    let ran = link.run(template, values, Lane::Ignore);
    let command = render(script, values);
    for (level, text) in report::lines(number, &command, TIMEOUT, &ran, &[0, 1]) {
        say(level.into(), "fail2ban.utils", &text);
    }
    ran.outcome == Outcome::Exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let missing = read_list(&path, None).unwrap_err();
        assert_eq!(
            missing,
            format!("[Errno 2] No such file or directory: '{}'", path.display())
        );
        assert!(read_list(folder.path(), None).unwrap_err().ends_with("is no file"));
        fs::write(&path, "192.0.2.1 # x\n").unwrap();
        let Ok(Found::Read(stat, list)) = read_list(&path, None) else {
            panic!("it can be read")
        };
        assert_eq!(list, List::parse("192.0.2.1").unwrap());
        assert_eq!(read_list(&path, Some(stat)), Ok(Found::Same));
        fs::write(&path, "192.0.2.1\n192.0.2.2\n").unwrap();
        assert!(matches!(read_list(&path, Some(stat)), Ok(Found::Read(..))));
        fs::write(&path, b"\xff").unwrap();
        assert!(matches!(read_list(&path, Some(stat)), Ok(Found::Failed(_, Some(_)))));
        fs::write(&path, "10.0.0.0/255.0.255.0").unwrap();
        let Ok(Found::Failed(reason, Some(stat))) = read_list(&path, None) else {
            panic!("it cannot be used")
        };
        assert!(reason.contains("invalid mask"), "{reason}");
        assert_eq!(read_list(&path, Some(stat)), Ok(Found::Same));
    }
}
