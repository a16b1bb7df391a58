//! A Fail2Ban configuration folder, read into the command stream, and the stream made into a [`plan::Plan`].
//!
//! The stream (what `fail2ban-client -d` prints) is the canonical form: files are read into it, the plan is made
//! from it alone, and a client may send it over the socket instead. [`read`] does the first, [`plan::Plan::apply`]
//! the second. Two faces: as Fail2Ban, which refuses what Fail2Ban refuses; and our own, which leaves out the
//! smallest part that is bad, says so, and marks the jails that must not ban until it is mended.

mod action;
mod apply;
pub mod catalogue;
mod complaint;
mod definition;
mod document;
mod expand;
mod filter;
mod given;
mod include;
mod ini;
mod jail;
pub mod lint;
mod logpath;
mod options;
pub mod plan;
mod refusal;
mod server;
mod stream;
mod text;
mod tree;
mod words;

use std::collections::BTreeMap;

pub use apply::split_line;
pub(crate) use options::near_names;
pub use options::{Named, extract, is_journal_field, is_journal_match, parse_bool, parse_int, split_shell};
pub use plan::CommandError;
pub use refusal::Refusal;
pub use stream::{stream_of, stream_value};
pub use tree::{Layered, MemoryTree, ReadError, Scope, Tree};

use crate::diagnostic::{Diagnostic, Position, Severity};
use crate::pattern;
use crate::value::Value;
use definition::Care;
use expand::Problem;
use include::Shelf;

/// One command of the stream, such as `['set', 'sshd', 'maxretry', 5]`.
pub type Command = Vec<Value>;

/// How what is wrong is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Exactly what Fail2Ban refuses is refused.
    Fail2Ban,
    /// The smallest bad part (line, option, jail) is left out, and all else goes on.
    Portcullis,
}

/// The release of Fail2Ban whose behaviour is the measure, and what `%(fail2ban_version)s` becomes.
pub const FAIL2BAN_VERSION: &str = "1.1.1";

/// Judges a failregex, given the jail's prefregex: `Err` says why it cannot be used.
pub type RegexCheck = fn(&str, Option<&str>) -> Result<(), pattern::Error>;

/// What is to be read.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The folder, such as `/etc/fail2ban`
    pub base: &'a str,
    /// How what is wrong is met
    pub face: Face,
    /// Only this jail, as `reload JAIL` asks
    pub jail: Option<&'a str>,
    /// What `%(fail2ban_version)s` becomes
    pub version: &'a str,
    /// Fail2Ban's face: a jail whose log files are all missing is no error (`-d`; contract §6.1)
    pub allow_no_files: bool,
    /// Fail2Ban's face: one bad jail refuses all (`-t`)
    pub all_must_be_good: bool,
    /// Options of the command line that win over `fail2ban.conf`: `loglevel`, `logtarget`, `syslogsocket`
    pub overrides: &'a [(&'a str, &'a str)],
    /// Read `jail` enabled or not, with these options added to its filter's, and no server options (for
    /// `regex LOG JAIL[…]`, contract §9)
    pub forced: Option<&'a [(String, String)]>,
    /// The files of the embedded stock (`filter.d/sshd.conf`), so that a complaint of a missing one can name it
    pub stock: &'a [&'a str],
    /// Our face: a failregex that this refuses is left out
    pub check_regex: RegexCheck,
}

impl<'a> Request<'a> {
    /// Everything in a folder.
    #[must_use]
    pub fn new(base: &'a str, face: Face, version: &'a str) -> Self {
        Request {
            base,
            face,
            jail: None,
            version,
            allow_no_files: face == Face::Portcullis,
            all_must_be_good: false,
            overrides: &[],
            forced: None,
            stock: &[],
            check_regex: check_failure_id,
        }
    }
}

/// The filter of a jail, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FilterUse {
    /// Its name
    pub name: String,
    /// The parameters in brackets, in order
    pub parameters: Vec<(String, String)>,
    /// Whether `mode` is among them
    pub mode_given: bool,
    /// Every value of the filter after all replacements, `mode` and the like included
    pub options: BTreeMap<String, String>,
}

/// What came of reading a folder.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The commands in order
    pub stream: Vec<Command>,
    /// What is wrong, in the order in which it was met
    pub diagnostics: Vec<Diagnostic>,
    /// False where Fail2Ban would give up (exit code 255)
    pub usable: bool,
    /// Where an option of a jail is written: `maxretry`, `prefregex`, `failregex#3` (counted from 1 over the whole
    /// jail; also `ignoreregex#`, `journalmatch#`, `logpath#`), `actionban@NAME`
    pub origins: BTreeMap<(String, String), Position>,
    /// The filter of each jail that has one
    pub filters: BTreeMap<String, FilterUse>,
    /// Jails that must begin no new ban, and why: a file that says whom to spare, for how long or how to ban was
    /// not read whole (our face only)
    pub held: BTreeMap<String, String>,
    /// Enabled jails that cannot be, and why
    pub skipped: BTreeMap<String, String>,
    /// The lines of `logpath` of jails that read the journal because no such log is there
    pub awaited: BTreeMap<String, Vec<String>>,
}

/// Reads a folder.
#[must_use]
pub fn read(tree: &dyn Tree, request: &Request<'_>) -> Outcome {
    let mut shelf = Shelf::new(tree, request.base, request.face);
    let mut outcome = Outcome::default();
    let result = read_parts(&mut shelf, request, &mut outcome);
    if let Err(problem) = &result {
        shelf.report(problem, Severity::Error, None);
        outcome.stream.clear();
        outcome.origins.clear();
    }
    outcome.usable = result == Ok(true);
    outcome.diagnostics = shelf.diagnostics;
    outcome
}

/// The options that Fail2Ban's client needs before all else, by name: `socket`, `pidfile` and those of the log, from
/// `fail2ban.conf` unless the command line gave them (contract §8.1).
///
/// # Errors
/// What Fail2Ban prints then, and what is wrong with its place.
pub fn read_early(tree: &dyn Tree, base: &str, given: &[(&str, &str)]) -> Result<Early, (String, Vec<Diagnostic>)> {
    let mut shelf = Shelf::new(tree, base, Face::Fail2Ban);
    let said = match server::early(&mut shelf, given) {
        Ok(Some(early)) => return Ok(early),
        Ok(None) => "Read fail2ban configuration failed.".to_owned(),
        Err(problem) => {
            shelf.report(&problem, Severity::Error, None);
            match problem.code {
                "bad-loglevel" => problem
                    .message
                    .replacen("there is no log level", "Invalid log level", 1),
                "no-folder" => format!("Base configuration directory {} does not exist ", shelf.base()),
                _ => shelf.python_words(problem.mark).unwrap_or(problem.message),
            }
        }
    };
    Err((said, shelf.diagnostics))
}

/// Options with their values.
pub type Early = Vec<(String, String)>;

/// One file as Python's `ConfigParser` has it before values are put together: `DEFAULT` and the other sections in
/// order, each with its options. For comparing the two.
///
/// # Errors
/// The class of Python's exception, and the line that it names (0 where it names none).
pub fn raw_sections(bytes: &[u8]) -> Result<Vec<RawSection>, (&'static str, u32)> {
    let parsed = ini::parse(bytes, 1);
    match parsed.refusal(bytes) {
        None => Ok(parsed.document.raw_sections()),
        Some(ini::Refusal::Bytes) => Err(("UnicodeDecodeError", 0)),
        Some(ini::Refusal::Fault(fault)) => Err((fault.python_class(), fault.line)),
    }
}

/// A section's name, and its options with their values.
pub type RawSection = (String, Vec<(String, String)>);

/// One option of `fail2ban.conf` that is no part of the stream: `socket`, `pidfile` (contract §2.1).
#[must_use]
pub fn server_option(tree: &dyn Tree, base: &str, name: &'static str) -> Option<String> {
    server::read_one(&mut Shelf::new(tree, base, Face::Portcullis), name)
}

fn read_parts(shelf: &mut Shelf<'_>, request: &Request<'_>, outcome: &mut Outcome) -> Result<bool, Problem> {
    if request.forced.is_none() {
        outcome.stream = server::read(shelf, request.overrides)?;
    }
    jail::read_all(shelf, request, outcome)
}

/// The values of one filter alone, for `regex LOG FILTER[…]` (contract §9).
#[derive(Clone, Debug, PartialEq)]
pub struct FilterAlone {
    /// The commands, for a jail called `fail2ban-regex-jail`
    pub stream: Vec<Command>,
    /// Every value of the filter after all replacements, `mode` and the like included
    pub options: BTreeMap<String, String>,
    /// The names of the parameters, and of the options of `[Init]` behind them
    pub parameters: Vec<String>,
    /// What is wrong, but not so wrong that it could not be read
    pub diagnostics: Vec<Diagnostic>,
}

/// Which filter [`filter_options`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterName<'a> {
    /// `filter.d/NAME` of the folder, with its `.local` and its `.d`; the name has no extension
    Stock(&'a str),
    /// This file, with what it includes
    Path(&'a str),
}

/// Reads one filter without a jail. `backend` decides between the `file` and the `journal` form of a filter.
///
/// # Errors
/// The complaints, if there is no such filter or Fail2Ban would refuse it.
pub fn filter_options(
    tree: &dyn Tree,
    base: &str,
    name: FilterName<'_>,
    parameters: &[(String, String)],
    backend: &str,
) -> Result<FilterAlone, Vec<Diagnostic>> {
    let mut shelf = Shelf::new(tree, base, Face::Fail2Ban);
    match filter::read_alone(&mut shelf, name, parameters, backend) {
        Ok(Some(alone)) => Ok(FilterAlone {
            stream: alone.commands,
            parameters: alone.parameters,
            options: alone
                .values
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_text().as_str().to_owned()))
                .collect(),
            diagnostics: shelf.diagnostics,
        }),
        Ok(None) => Err(shelf.diagnostics),
        Err(problem) => {
            shelf.report(&problem, Severity::Error, None);
            Err(shelf.diagnostics)
        }
    }
}

/// The text of `fail2ban-client -d`: one command a line, as Python prints it.
#[must_use]
pub fn dump(stream: &[Command]) -> String {
    let mut text = String::new();
    for command in stream {
        text.push_str(&Value::List(command.clone()).repr());
        text.push('\n');
    }
    text
}

/// Whether a failregex, or the prefregex before it, names what is to be banned: by a tag such as `<HOST>`,
/// `<ADDR>`, `<F-ID>`, or by a group of that meaning (contract §3.5). A look at the text only.
///
/// # Errors
/// [`pattern::Error::NoFailureId`] if neither does.
pub fn check_failure_id(regex: &str, prefregex: Option<&str>) -> Result<(), pattern::Error> {
    const TAGS: [&str; 8] = [
        "<HOST>", "<ADDR>", "<IP4>", "<IP6>", "<DNS>", "<SUBNET>", "<F-ID", "<F-IP4",
    ];
    const MORE: [&str; 5] = ["<F-IP6", "<F-DNS", "<F-MLFID", "(?P<fid>", "(?P<mlfid>"];
    const GROUPS: [&str; 4] = ["(?P<ip4>", "(?P<ip6>", "(?P<dns>", "(?P<host>"];
    let names_id = |text: &str| TAGS.iter().chain(&MORE).chain(&GROUPS).any(|tag| text.contains(tag));
    if names_id(regex) || prefregex.is_some_and(names_id) {
        return Ok(());
    }
    Err(pattern::Error::NoFailureId(regex.to_owned()))
}

/// How problems are met in a face.
fn care(face: Face) -> Care {
    match face {
        Face::Fail2Ban => Care::Strict,
        Face::Portcullis => Care::Lenient,
    }
}

#[cfg(test)]
mod tests;
